//! Whose process is gone, told by the subscription that it held: looked at a few dozen times a second where work is held.
//!
//! ```text
//! who holds work (every 25 ms), everyone in turn (every 250 ms) --PUBSUB NUMSUB--> Absence --> doubted in the registry
//!                                                                                         --> said to the agent's shard
//! ```
//!
//! A doubt is this coordinator's own and takes effect at once: no more work, then its work to others. What the ledger says
//! is decided by the owner of the agent's shard, which looks by itself (`directory::judge`).

use crate::Shared;
use crate::fleet::wall_clock;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::{Absence, AgentKey, Cause, Doubt, Looked, Verdict};
use synod_infra::kafka::Outgoing;
use synod_infra::redis::presence::{Heartbeats, Presence};
use synod_infra::redis::{RedisError, keys};
use synod_protocol::event::{AgentChanged, What};
use synod_protocol::view::Health;
use synod_protocol::{Envelope, Incarnation, Json, topics};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often those who hold work are looked for.
const HOLDERS_EVERY: Duration = Duration::from_millis(25);
/// How often some of all are.
const SOME_EVERY: Duration = Duration::from_millis(250);
/// How many of all at a time.
const SOME: usize = 1_000;

/// Looks until `stop`.
pub(crate) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let mut watch = Watch {
        presence: Presence::new(shared.redis.clone()),
        heartbeats: Heartbeats::new(shared.redis.clone()),
        absence: Absence::default(),
        some_at: Instant::now(),
        after: None,
        with_most: 0,
        shared,
    };
    loop {
        let busy = match watch.look().await {
            Ok(busy) => busy,
            Err(error) => {
                // We cannot see: whoever comes back is looked at by another connection then.
                tracing::debug!(%error, "presence cannot be looked at");
                false
            }
        };
        tokio::select! {
            () = tokio::time::sleep(if busy { HOLDERS_EVERY } else { SOME_EVERY }) => {}
            () = watch.shared.fleet.work_is_held(), if !busy => {}
            () = stop.cancelled() => return,
        }
    }
}

struct Watch {
    shared: Arc<Shared>,
    presence: Presence,
    heartbeats: Heartbeats,
    absence: Absence,
    some_at: Instant,
    /// Whom the last look at some of all ended with.
    after: Option<AgentKey>,
    with_most: usize,
}

impl Watch {
    /// One look; whether the next should be soon.
    async fn look(&mut self) -> Result<bool, RedisError> {
        let (wanted, busy) = self.wanted();
        if wanted.is_empty() {
            return Ok(false);
        }
        let channels: Vec<String> =
            wanted.iter().map(|(key, start)| keys::presence(&key.workspace, &key.agent, start)).collect();
        let seen = self.presence.present(&channels).await?;
        let agents: Vec<(AgentKey, Incarnation, bool)> = wanted
            .into_iter()
            .zip(&seen.present)
            .map(|((key, incarnation), present)| (key, incarnation, *present))
            .collect();
        // Whatever they said last was said before this look.
        let missed: Vec<_> = agents
            .iter()
            .filter(|(_, _, there)| !there)
            .map(|(key, ..)| (&key.workspace, &key.agent))
            .collect();
        for beat in self.heartbeats.of(&missed).await? {
            let key = AgentKey { workspace: beat.workspace, agent: beat.agent_id };
            self.shared.fleet.heard(&key, &beat.incarnation, Some(beat.beat));
        }
        let now_ms = self.shared.fleet.now_ms();
        let looked = Looked { server: &seen.run_id, connection: seen.connection, agents: &agents };
        let back = self.absence.look(now_ms, &looked);
        let fleet = self.shared.fleet.clone();
        let verdicts =
            self.absence.verdicts(now_ms, |key, incarnation| fleet.heard_at(key, incarnation, now_ms));
        for (key, incarnation) in back {
            self.is_back(&key, &incarnation);
        }
        for (key, incarnation, verdict) in verdicts {
            self.doubts(&key, &incarnation, verdict, now_ms);
        }
        let with_most = self.absence.with_most();
        if with_most > self.with_most {
            tracing::warn!(agents = with_most, "most agents vanished at once: their heartbeats will tell");
        }
        self.with_most = with_most;
        Ok(busy || self.absence.away().next().is_some())
    }

    /// Whom to look for now, and whether there is anyone who holds work.
    fn wanted(&mut self) -> (BTreeMap<AgentKey, Incarnation>, bool) {
        let inside = self.shared.fleet.lock();
        let mut wanted: BTreeMap<AgentKey, Incarnation> = inside.registry.holders().collect();
        let busy = !wanted.is_empty();
        wanted.extend(self.absence.away().map(|(key, start)| (key.clone(), start.clone())));
        if self.some_at.elapsed() >= SOME_EVERY || self.after.is_none() {
            self.some_at = Instant::now();
            let some: Vec<_> = inside.registry.present_from(self.after.as_ref()).take(SOME).collect();
            self.after = some.last().filter(|_| some.len() == SOME).map(|(key, _)| key.clone());
            wanted.extend(some);
            self.absence.retain(|key| inside.registry.get(key).is_some());
        }
        (wanted, busy)
    }

    fn is_back(&self, key: &AgentKey, incarnation: &Incarnation) {
        let fleet = &self.shared.fleet;
        let Some(health) = fleet.doubt(key, incarnation, Cause::Absence, None) else { return };
        tracing::info!(agent = %key.agent, "present again");
        if health == Health::Lost {
            self.shared.judged(key, incarnation, false, "its presence subscription stands again".into());
        } else {
            self.tell(
                key,
                incarnation,
                health,
                "its presence subscription stands again",
                What::AgentStatusChanged,
            );
        }
    }

    fn doubts(&self, key: &AgentKey, incarnation: &Incarnation, verdict: Verdict, now_ms: u64) {
        let (lost, why) = match verdict {
            Verdict::Suspected { looks, away_ms } => {
                (false, format!("no presence in Redis on {looks} looks in a row, for {away_ms} ms"))
            }
            Verdict::Lost { away_ms } => {
                (true, format!("no presence in Redis and no heartbeat for {away_ms} ms"))
            }
        };
        let doubt = Doubt { lost, since_ms: now_ms, why: why.clone() };
        if self.shared.fleet.doubt(key, incarnation, Cause::Absence, Some(doubt)).is_none() {
            return;
        }
        tracing::info!(agent = %key.agent, %incarnation, lost, why, "in doubt");
        if lost {
            self.shared.judged(key, incarnation, true, why);
        } else {
            self.tell(key, incarnation, Health::Suspected, &why, What::AgentSuspected);
        }
    }

    /// Publishes what no record stands behind, if the agent's shard is ours or it holds work of ours.
    fn tell(
        &self,
        key: &AgentKey,
        incarnation: &Incarnation,
        health: Health,
        why: &str,
        what: impl Fn(AgentChanged) -> What,
    ) {
        let shared = &self.shared;
        let shard = topics::partition(key.agent.as_str().as_bytes(), shared.config.partitions);
        let known = shared.fleet.lock().registry.get(key).map(|m| (m.entry.status, m.in_flight()));
        let Some((status, in_flight)) = known.filter(|(_, held)| *held > 0 || shared.tenures.holds(shard))
        else {
            return;
        };
        tracing::debug!(agent = %key.agent, in_flight, "told");
        let changed = AgentChanged {
            agent_id: key.agent.clone(),
            incarnation: incarnation.clone(),
            status,
            health,
            reason: Some(why.to_owned()),
        };
        let ty = what(changed.clone()).ce_type();
        let source = format!("/synod/coordinators/{}", shared.config.id);
        let envelope = Envelope {
            time: Some(wall_clock()),
            workspace: key.workspace.clone(),
            subject: Some(key.agent.to_string()),
            ..Envelope::new(uuid::Uuid::now_v7().to_string(), source, ty)
        };
        let sent = Json::of(&changed).map_err(|error| error.to_string()).and_then(|value| {
            let out = Outgoing::to(topics::EVENTS)
                .envelope(&envelope)
                .key(key.agent.as_str())
                .payload(value.as_str())
                .partition(shard as i32);
            let producer = shared.kafka.effects().map_err(|error| error.to_string())?;
            let report = |delivery: Result<_, _>| {
                if let Err(error) = delivery {
                    tracing::warn!(%error, "an event about an agent was not published");
                }
            };
            producer.send(out, report).map_err(|error| error.to_string())
        });
        if let Err(error) = sent {
            tracing::warn!(error, "an event about an agent was not published");
        }
    }
}
