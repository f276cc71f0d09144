//! Whose process is gone, told by the subscription that it held: looked at a few dozen times a second where work is held.
//!
//! ```text
//! who holds work (every 25 ms), everyone in turn (every 250 ms) --PUBSUB NUMSUB--> Absence --> doubted in the registry
//!                                                                                         --> said to the agent's shard
//! ```
//!
//! A doubt is this coordinator's own and takes effect at once: no more work, then its work to others. What the ledger says
//! is decided by the owner of the agent's shard, which looks by itself (`directory::judge`).

use crate::{Shared, doubts, duties, moments};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::{Absence, AgentKey, Cause, Doubt, Looked, Sight, Verdict};
use synod_infra::redis::presence::{Heartbeats, Presence};
use synod_infra::redis::{RedisError, keys};
use synod_protocol::Incarnation;
use synod_protocol::command::Delivery;
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
        let looked = watch.look().await;
        let outcome = looked.as_ref().map(|_| format!("{} away", watch.absence.away().count()));
        watch.shared.duties.ran(duties::PRESENCE, outcome.map_err(ToString::to_string));
        let busy = match looked {
            Ok(busy) => busy,
            Err(error) => {
                // We cannot see: whoever comes back is looked at by another connection then.
                tracing::debug!(%error, "presence cannot be looked at");
                false
            }
        };
        tokio::select! {
            () = tokio::time::sleep_until(moments::after(if busy { HOLDERS_EVERY } else { SOME_EVERY })) => {}
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
        let (wanted, newcomers, busy) = self.wanted();
        if wanted.is_empty() {
            return Ok(false);
        }
        let channels: Vec<String> =
            wanted.iter().map(|(key, start)| keys::presence(&key.workspace, &key.agent, start)).collect();
        let seen = self.presence.present(&channels).await?;
        let sight = |there: &bool| if *there { Sight::There } else { Sight::Absent };
        let mut agents: BTreeMap<AgentKey, (Incarnation, Sight)> = wanted
            .into_iter()
            .zip(&seen.present)
            .map(|((key, incarnation), there)| (key, (incarnation, sight(there))))
            .collect();
        // Whatever they said last was said before this look.
        let missed: Vec<_> = agents
            .iter()
            .filter(|(_, (_, sight))| *sight == Sight::Absent)
            .map(|(key, _)| (&key.workspace, &key.agent))
            .collect();
        for beat in self.heartbeats.of(&missed).await? {
            let key = AgentKey { workspace: beat.workspace, agent: beat.agent_id };
            if let Some((incarnation, sight)) = agents.get_mut(&key)
                && beat.present
                && beat.incarnation == *incarnation
                && newcomers.contains(&key)
            {
                *sight = Sight::Left;
            }
            self.shared.fleet.heard(&key, &beat.incarnation, Some(beat.beat));
        }
        let now_ms = self.shared.fleet.now_ms();
        let agents: Vec<_> =
            agents.into_iter().map(|(key, (incarnation, sight))| (key, incarnation, sight)).collect();
        let looked = Looked { server: &seen.run_id, connection: seen.connection, agents: &agents };
        let back = self.absence.look(now_ms, &looked);
        let fleet = self.shared.fleet.clone();
        let verdicts =
            self.absence.verdicts(now_ms, |key, incarnation| fleet.heard_at(key, incarnation, now_ms));
        for (key, incarnation) in back {
            let why = "its presence subscription stands again";
            doubts::set(&self.shared, &key, &incarnation, Cause::Absence, Err(why));
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

    /// Whom to look for now, which of them for the first time, and whether there is anyone who holds work.
    fn wanted(&mut self) -> (BTreeMap<AgentKey, Incarnation>, BTreeSet<AgentKey>, bool) {
        let mut inside = self.shared.fleet.lock();
        let mut wanted: BTreeMap<AgentKey, Incarnation> = inside.registry.holders().collect();
        let busy = !wanted.is_empty();
        // Nobody is missed who was never seen: newcomers are looked for at once, and their own word counts.
        let newcomers = inside.newcomers();
        let is_known = |(key, start): &(AgentKey, Incarnation)| {
            inside.registry.get(key).is_some_and(|member| {
                member.entry.incarnation == *start && member.entry.delivery == Delivery::Redis
            })
        };
        let newcomers: Vec<_> = newcomers.into_iter().filter(is_known).collect();
        wanted.extend(newcomers.iter().cloned());
        let newcomers = newcomers.into_iter().map(|(key, _)| key).collect();
        wanted.extend(self.absence.away().map(|(key, start)| (key.clone(), start.clone())));
        if self.some_at.elapsed() >= SOME_EVERY || self.after.is_none() {
            self.some_at = Instant::now();
            let some: Vec<_> = inside.registry.present_from(self.after.as_ref()).take(SOME).collect();
            self.after = some.last().filter(|_| some.len() == SOME).map(|(key, _)| key.clone());
            wanted.extend(some);
            self.absence.retain(|key| inside.registry.get(key).is_some());
        }
        (wanted, newcomers, busy)
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
        let doubt = Doubt { lost, since_ms: now_ms, why };
        doubts::set(&self.shared, key, incarnation, Cause::Absence, Ok(doubt));
    }
}
