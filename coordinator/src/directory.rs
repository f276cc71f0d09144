//! What a coordinator hears of the fleet: the directory topic, heartbeats on both ways, and its judgement.

use crate::fleet::{Inside, SharedFleet};
use crate::{Shared, doubts, duties, moments};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::{AgentKey, Cause, Doubt, Heard};
use synod_infra::kafka::{RawRecord, Start};
use synod_infra::redis::RedisError;
use synod_infra::redis::presence::{Beat, Listening};
use synod_protocol::command::Delivery;
use synod_protocol::view::{DirectoryEntry, Health, Heartbeat, Pauses};
use synod_protocol::workflow::Workflow;
use synod_protocol::{Incarnation, Position, Workspace, codec, topics};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a read may stall before it is begun again.
const STALL: Duration = Duration::from_secs(10);
/// How often the heartbeats in Redis are looked at where there are few agents; where there are more than a thousand,
/// so much less often, down to once a second.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The least often.
const LOOK_AT_LEAST: Duration = Duration::from_secs(1);
/// Agents of which all heartbeats are looked at that often.
const FEW: usize = 1_000;
/// How often the silent are judged.
const JUDGE_EVERY: Duration = Duration::from_millis(100);

/// Reads the whole directory before any shard serves; answers where each partition is followed from.
pub(crate) async fn read_all(shared: &Shared) -> Vec<i64> {
    let mut positions = Vec::new();
    for partition in 0..shared.config.partitions {
        let position = loop {
            let read = shared.kafka.readers.read_to_end(topics::AGENTS, partition as i32, STALL, |record| {
                learn(shared, &record);
                ControlFlow::Continue(())
            });
            match read.await {
                Ok(position) => break position,
                Err(error) => {
                    tracing::warn!(partition, %error, "the directory cannot be read yet");
                    shared.status.kafka(Err(error.to_string()));
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        };
        positions.push(position);
    }
    shared.status.kafka(Ok(()));
    positions
}

/// Follows one partition of the directory.
pub(crate) async fn follow(shared: Arc<Shared>, partition: u32, position: i64, stop: CancellationToken) {
    read(&shared, topics::AGENTS, partition, Start::Offset(position), &stop, |record| {
        learn(&shared, record);
    })
    .await;
}

/// Hears the agents that have no Redis.
pub(crate) async fn hear_kafka(shared: Arc<Shared>, partition: u32, stop: CancellationToken) {
    read(&shared, topics::HEARTBEATS, partition, Start::End, &stop, |record| {
        let Ok(envelope) = record.envelope() else { return };
        let payload = record.payload.as_deref().unwrap_or_default();
        match codec::decode::<Heartbeat>(envelope.content_type, payload, &shared.config.limits) {
            Ok(beat) => {
                let key = AgentKey { workspace: envelope.workspace, agent: beat.agent_id };
                shared.fleet.heard(&key, &beat.incarnation, None);
                let doubt = shared.fleet.holds(&key, &beat.incarnation, &beat.in_flight);
                doubt_the_hung(
                    &shared,
                    doubt.map(|doubt| (key, beat.incarnation, doubt)).into_iter().collect(),
                );
            }
            Err(error) => tracing::debug!(%error, "a heartbeat that cannot be read"),
        }
    })
    .await;
}

/// Reads a partition as it grows, whatever happens in between.
async fn read(
    shared: &Shared,
    topic: &str,
    partition: u32,
    start: Start,
    stop: &CancellationToken,
    mut each: impl FnMut(&RawRecord),
) {
    let mut start = start;
    while !stop.is_cancelled() {
        let opened = shared.kafka.readers.open(topic, partition as i32, start);
        let mut reader = match opened {
            Ok(reader) => reader,
            Err(error) => {
                tracing::warn!(topic, partition, %error, "cannot be read yet");
                pause(stop).await;
                continue;
            }
        };
        loop {
            let batch = tokio::select! {
                batch = reader.next_batch(500, Duration::from_secs(3600)) => batch,
                () = stop.cancelled() => return,
            };
            match batch {
                Ok(records) => {
                    records.iter().for_each(&mut each);
                    let duty =
                        if topic == topics::AGENTS { duties::DIRECTORY } else { duties::HEARTBEATS_KAFKA };
                    shared
                        .duties
                        .ran(duty, Ok(format!("{} records of partition {partition}", records.len())));
                }
                Err(error) => {
                    tracing::warn!(topic, partition, %error, "reading begins anew");
                    break;
                }
            }
        }
        // The directory is read again from its beginning: what is known already changes nothing.
        start = if topic == topics::AGENTS { Start::Beginning } else { Start::End };
        drop(reader);
        pause(stop).await;
    }
}

async fn pause(stop: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(Duration::from_millis(500)) => {}
        () = stop.cancelled() => {}
    }
}

fn learn(shared: &Shared, record: &RawRecord) {
    let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
    let Some(Position { offset, .. }) = record.envelope().ok().and_then(|envelope| envelope.position) else {
        tracing::warn!(key, "a record of the directory without a position");
        return;
    };
    let value = record.payload.as_deref();
    match value {
        None => match agent_of(key) {
            Some(agent) => {
                shared.fleet.forget(&agent, offset);
                shared.statistics.forget(&agent);
            }
            None => tracing::warn!(key, "the directory removes what is no agent"),
        },
        Some(value) if key == topics::FLEET_KEY => match serde_json::from_slice::<Pauses>(value) {
            Ok(pauses) => shared.fleet.learn_pauses(pauses, offset),
            Err(error) => tracing::error!(%error, "what of the fleet is paused cannot be read"),
        },
        Some(value) if key.starts_with(topics::WORKFLOW_KEY) => {
            match serde_json::from_slice::<Workflow>(value) {
                Ok(workflow) => shared.definitions.learn(workflow, offset),
                Err(error) => tracing::error!(key, %error, "a workflow in the directory cannot be read"),
            }
        }
        Some(value) => match serde_json::from_slice::<DirectoryEntry>(value) {
            Ok(entry) => shared.fleet.learn(entry, offset),
            Err(error) => tracing::warn!(key, %error, "a directory entry that cannot be read"),
        },
    }
}

/// Whose entry stands under this key.
fn agent_of(key: &str) -> Option<AgentKey> {
    let (workspace, agent) = match key.split_once('/') {
        Some((workspace, agent)) => (workspace.parse().ok()?, agent),
        None => (Workspace::default_name(), key),
    };
    Some(AgentKey { workspace, agent: agent.parse().ok()? })
}

/// Whoever was heard of within so many milliseconds speaks.
const HEARD_MS: u64 = 1_100;

/// A look or a judgement that comes so late says more about us than about the agents: the process was starved,
/// stopped, or has only just begun.
const LATE: Duration = Duration::from_millis(1_200);

/// Looks at the heartbeats of the agents that have Redis, and whether Redis takes any.
pub(crate) async fn hear_redis(shared: Arc<Shared>, stop: CancellationToken) {
    let mut heartbeats = Listening::new(shared.redis.clone());
    let mut looked = Instant::now();
    loop {
        let (taken, beats) = heartbeats.look(&shared.config.id).await;
        let now = shared.fleet.now_ms();
        if looked.elapsed() > LATE {
            pardon(&shared.fleet, now, &Whom::WhoHasRedis, "the last look at the heartbeats was late");
        }
        looked = Instant::now();
        let crowd = u32::try_from(beats.as_ref().map_or(0, Vec::len) / FEW).unwrap_or(u32::MAX);
        let every = LOOK_EVERY.saturating_mul(1 + crowd).min(LOOK_AT_LEAST);
        let heard = match (&taken, &beats) {
            (Ok(()), Ok(beats)) => Ok(format!("{} agents have beaten", beats.len())),
            (Err(error), _) | (Ok(()), Err(error)) => Err(error.to_string()),
        };
        shared.duties.ran(duties::HEARTBEATS, heard);
        let hung = listen(&shared.fleet, now, taken, beats);
        doubt_the_hung(&shared, hung);
        tokio::select! {
            () = tokio::time::sleep_until(moments::after(every)) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Takes in a look at the heartbeats. Silence through Redis says nothing of an agent while a write of our own is
/// refused as well (no memory, a replica, a disk that is full), nor while we cannot read.
fn listen(
    fleet: &SharedFleet,
    now_ms: u64,
    taken: Result<(), RedisError>,
    beats: Result<Vec<Arc<Beat>>, RedisError>,
) -> Vec<Hung> {
    let mut hung = Vec::new();
    if let Err(error) = taken {
        pardon(fleet, now_ms, &Whom::WhoHasRedis, &format!("Redis takes no writes: {error}"));
    }
    match beats {
        Ok(beats) => {
            for beat in beats {
                let key = AgentKey { workspace: beat.workspace.clone(), agent: beat.agent_id.clone() };
                fleet.heard(&key, &beat.incarnation, Some(beat.beat));
                if let Some(doubt) = fleet.holds(&key, &beat.incarnation, &beat.in_flight) {
                    hung.push((key, beat.incarnation.clone(), doubt));
                }
            }
        }
        Err(error) => {
            // It is we who cannot hear: nobody is lost by that.
            pardon(fleet, now_ms, &Whom::WhoHasRedis, &format!("heartbeats cannot be read: {error}"));
        }
    }
    hung
}

/// An agent that had work past its time limit, and the doubt that it still has.
type Hung = (AgentKey, Incarnation, Option<Doubt>);

fn doubt_the_hung(shared: &Shared, hung: Vec<Hung>) {
    for (key, incarnation, doubt) in hung {
        let doubt = doubt.ok_or("it has let go of the work that was past its time limit");
        doubts::set(shared, &key, &incarnation, Cause::Hung, doubt);
    }
}

/// Judges who has been silent for too long, and who is heard of again.
pub(crate) async fn judge(shared: Arc<Shared>, stop: CancellationToken) {
    let mut judged = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep_until(moments::next(JUDGE_EVERY)) => {}
            () = stop.cancelled() => return,
        }
        let (now, late) = (shared.fleet.now_ms(), judged.elapsed() > LATE);
        judged = Instant::now();
        if late || shared.status.is_stalled() {
            // Kafka does not answer us, or we were kept from listening: it is not they who are silent.
            pardon(
                &shared.fleet,
                now,
                &Whom::All,
                "this coordinator was late itself, or Kafka does not answer it",
            );
            shared
                .duties
                .ran(duties::JUDGING, Err("this coordinator was late, or Kafka does not answer it".into()));
            continue;
        }
        let pools = {
            let mut fleet = shared.fleet.lock();
            fleet.registry.tick(now);
            fleet.registry.pools()
        };
        shared.duties.ran(duties::PERFORMANCE, Ok(format!("{pools} pools of agents")));
        let words = words(&shared.fleet, now);
        shared.duties.ran(duties::JUDGING, Ok(format!("{} words said", words.len())));
        for (key, incarnation, word) in words {
            match word {
                Word::Doubt(doubt) => doubts::set(&shared, &key, &incarnation, Cause::Silence, Ok(doubt)),
                Word::NoDoubt(cause) => {
                    doubts::set(&shared, &key, &incarnation, cause, Err("it is heard of again"));
                }
                Word::Judged(lost, reason) => shared.judged(&key, &incarnation, lost, reason),
            }
        }
    }
}

/// Who is given the whole time again.
enum Whom {
    /// Everyone: we could not hear.
    All,
    /// Those who are heard through Redis; the others are judged as ever.
    WhoHasRedis,
}

/// Gives them the whole time again: it was we who could not hear, or they who could not speak.
fn pardon(fleet: &SharedFleet, now_ms: u64, whom: &Whom, why: &str) {
    tracing::debug!(why, "nobody is judged for now");
    let mut inside = fleet.lock();
    let Inside { registry, silence, .. } = &mut *inside;
    let has_redis =
        |key: &AgentKey| registry.get(key).is_none_or(|member| member.entry.delivery == Delivery::Redis);
    silence.pardon(now_ms, |key| matches!(whom, Whom::All) || has_redis(key));
}

/// What is to be said of a process start.
enum Word {
    /// By this coordinator alone.
    Doubt(Doubt),
    /// No more of this cause.
    NoDoubt(Cause),
    /// To its shard: whether it is lost.
    Judged(bool, String),
}

fn words(fleet: &SharedFleet, now: u64) -> Vec<(AgentKey, Incarnation, Word)> {
    let inside = fleet.lock();
    let mut words = Vec::new();
    for (key, member) in inside.registry.iter() {
        let (entry, doubts) = (&member.entry, member.doubts());
        let mut say = |word| words.push((key.clone(), entry.incarnation.clone(), word));
        let through_kafka = entry.delivery != Delivery::Redis;
        let doubted = doubts.of(Cause::Silence).map(|doubt| doubt.lost);
        match inside.silence.judge(key, &entry.incarnation, through_kafka, now) {
            Heard::Lost(why) if doubted != Some(true) && entry.health != Health::Lost => {
                say(Word::Doubt(Doubt { lost: true, since_ms: now, why }));
            }
            Heard::Suspected(why) if doubted.is_none() && entry.health != Health::Lost => {
                say(Word::Doubt(Doubt { lost: false, since_ms: now, why }));
            }
            Heard::Well if doubted.is_some() => say(Word::NoDoubt(Cause::Silence)),
            _ => {}
        }
        let heard = inside.heard_since_loss(key, &entry.incarnation, now);
        let heard = heard.is_some_and(|at| now.saturating_sub(at) < HEARD_MS);
        match (entry.health, doubts.worst()) {
            (Health::Lost, None) if heard => {
                let by = if through_kafka { "Kafka" } else { "Redis" };
                say(Word::Judged(false, format!("heartbeats through {by} again")));
            }
            (Health::Lost, _) => {}
            // Present or not, it speaks.
            _ if heard && doubts.of(Cause::Absence).is_some_and(|doubt| doubt.lost) => {
                say(Word::NoDoubt(Cause::Absence));
            }
            // Said before, but the shard may not have had the time to take it.
            (_, Some(doubt)) if doubt.lost => say(Word::Judged(true, doubt.why.clone())),
            _ => {}
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const STARTS: [&str; 2] =
        ["0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10", "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c11"];

    /// One agent that has Redis and one that has not.
    fn two() -> SharedFleet {
        let fleet = crate::fleet::tests::empty();
        for (name, start, delivery) in
            [("r", STARTS[0], json!("redis")), ("k", STARTS[1], json!({"kafka": {"topic": "synod.inbox.k"}}))]
        {
            let entry = json!({"agent_id": name, "workspace": "w", "incarnation": start, "status": "idle",
                "health": "healthy", "capabilities": ["c"], "max_concurrency": 1, "labels": {}, "resources": {},
                "delivery": delivery, "registered_at": "2027-01-15T08:00:00.000Z", "gone": false});
            fleet.learn(serde_json::from_value(entry).unwrap(), 1);
        }
        fleet
    }

    fn beat(number: u64) -> Beat {
        let beat = json!({"workspace": "w", "agent_id": "r", "incarnation": STARTS[0], "beat": number, "in_flight": []});
        serde_json::from_value(beat).unwrap()
    }

    /// Looks, so many times in a row from a moment on; then who is lost.
    fn lost(
        fleet: &SharedFleet,
        from_ms: u64,
        looks: u64,
        taken: &Result<(), RedisError>,
        beats: &Result<Vec<Arc<Beat>>, RedisError>,
    ) -> Vec<String> {
        let mut now_ms = from_ms;
        for _ in 0..looks {
            now_ms += 500;
            listen(fleet, now_ms, taken.clone(), beats.clone());
        }
        let lost = |word: &Word| matches!(word, Word::Doubt(doubt) if doubt.lost);
        let words = words(fleet, now_ms).into_iter().filter(|(.., word)| lost(word));
        words.map(|(key, ..)| key.agent.to_string()).collect()
    }

    #[test]
    fn silence_through_redis_counts_only_while_redis_takes_writes() {
        let refused = || RedisError::Refused("OOM command not allowed".into());
        let cannot_read = || RedisError::Timeout { limit: LATE };
        let silent = Ok(vec![Arc::new(beat(7))]);
        assert_eq!(lost(&two(), 0, 8, &Ok(()), &silent), ["k", "r"], "silent, though it could speak");
        assert_eq!(lost(&two(), 0, 8, &Err(refused()), &silent), ["k"], "it cannot speak");
        assert_eq!(lost(&two(), 0, 8, &Ok(()), &Err(cannot_read())), ["k"], "we cannot hear");

        let fleet = two();
        assert_eq!(lost(&fleet, 0, 60, &Err(refused()), &silent), ["k"]);
        assert_eq!(lost(&fleet, 30_000, 5, &Ok(()), &silent), ["k"], "it has the whole time again");
        assert_eq!(lost(&fleet, 32_500, 1, &Ok(()), &silent), ["k", "r"], "and no more");
    }
}
