//! What a coordinator hears of the fleet: the directory topic, heartbeats on both ways, and its judgement.

use crate::Shared;
use crate::fleet::SharedFleet;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::AgentKey;
use synod_infra::kafka::{RawRecord, Start};
use synod_infra::redis::presence::Heartbeats;
use synod_protocol::command::Delivery;
use synod_protocol::view::{DirectoryEntry, Health, Heartbeat};
use synod_protocol::{Incarnation, codec, topics};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How long a read may stall before it is begun again.
const STALL: Duration = Duration::from_secs(10);
/// How often the heartbeats in Redis are looked at, and the silent judged.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Reads the whole directory before any shard serves; answers where each partition is followed from.
pub(crate) async fn read_all(shared: &Shared) -> Vec<i64> {
    let mut positions = Vec::new();
    for partition in 0..shared.config.partitions {
        let position = loop {
            let fleet = shared.fleet.clone();
            let read = shared.kafka.readers.read_to_end(topics::AGENTS, partition as i32, STALL, |record| {
                learn(&fleet, &record);
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
        learn(&shared.fleet, record);
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
                Ok(records) => records.iter().for_each(&mut each),
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

fn learn(fleet: &SharedFleet, record: &RawRecord) {
    let position = record.envelope().ok().and_then(|envelope| envelope.position);
    let entry = record.payload.as_deref().map(serde_json::from_slice::<DirectoryEntry>);
    match (position, entry) {
        (Some(position), Some(Ok(entry))) => fleet.learn(entry, position.offset),
        (_, None) => {}
        (_, Some(Err(error))) => tracing::warn!(%error, "a directory entry that cannot be read"),
        (None, Some(Ok(entry))) => {
            tracing::warn!(agent = %entry.agent_id, "a directory entry without a position");
        }
    }
}

/// A look or a judgement that comes so late says more about us than about the agents: the process was starved,
/// stopped, or has only just begun.
const LATE: Duration = Duration::from_millis(1_200);

/// Looks at the heartbeats of the agents that have Redis.
pub(crate) async fn hear_redis(shared: Arc<Shared>, stop: CancellationToken) {
    let heartbeats = Heartbeats::new(shared.redis.clone());
    let mut looked = Instant::now();
    loop {
        let looks = heartbeats.beats().await;
        if looked.elapsed() > LATE {
            pardon(&shared, "the last look at the heartbeats was late");
        }
        looked = Instant::now();
        match looks {
            Ok(beats) => {
                for beat in beats {
                    let key = AgentKey { workspace: beat.workspace, agent: beat.agent_id };
                    shared.fleet.heard(&key, &beat.incarnation, Some(beat.beat));
                }
            }
            Err(error) => {
                // It is we who cannot hear: nobody is lost by that.
                pardon(&shared, &format!("heartbeats cannot be read: {error}"));
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// Judges who has been silent for too long, and who is heard of again.
pub(crate) async fn judge(shared: Arc<Shared>, stop: CancellationToken) {
    let limit = u64::try_from(shared.config.lost_after.as_millis()).unwrap_or(u64::MAX);
    let mut judged = Instant::now();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY / 2) => {}
            () = stop.cancelled() => return,
        }
        let (now, late) = (shared.fleet.now_ms(), judged.elapsed() > LATE);
        judged = Instant::now();
        if late || shared.status.is_stalled() {
            // Kafka does not answer us, or we were kept from listening: it is not they who are silent.
            pardon(&shared, "this coordinator was late itself, or Kafka does not answer it");
            continue;
        }
        for (key, incarnation, lost, reason) in verdicts(&shared.fleet, now, limit) {
            let shard = topics::partition(key.agent.as_str().as_bytes(), shared.config.partitions);
            if shared.tenures.holds(shard) {
                shared.shards[shard as usize].judged(key, incarnation, lost, reason);
            }
        }
    }
}

/// Gives everyone the whole time again: it was we who could not hear.
fn pardon(shared: &Shared, why: &str) {
    tracing::debug!(why, "nobody is judged for now");
    let now = shared.fleet.now_ms();
    shared.fleet.lock().silence.pardon(now);
}

fn verdicts(fleet: &SharedFleet, now: u64, limit: u64) -> Vec<(AgentKey, Incarnation, bool, String)> {
    let inside = fleet.lock();
    let mut out = Vec::new();
    for (key, member) in inside.registry.iter() {
        let entry = &member.entry;
        let Some(silent) = inside.silence.since(key, &entry.incarnation, now) else { continue };
        let heard = inside.silence.since_heard(key, &entry.incarnation, now);
        let by = if entry.delivery == Delivery::Redis { "Redis" } else { "Kafka" };
        match entry.health {
            Health::Healthy | Health::Suspected | Health::Draining if silent > limit => {
                let reason = format!("no heartbeat through {by} for {silent} ms, the limit is {limit} ms");
                out.push((key.clone(), entry.incarnation.clone(), true, reason));
            }
            Health::Lost if heard.is_some_and(|ms| ms < limit / 3) => {
                let reason = format!("heartbeats through {by} again");
                out.push((key.clone(), entry.incarnation.clone(), false, reason));
            }
            _ => {}
        }
    }
    out
}
