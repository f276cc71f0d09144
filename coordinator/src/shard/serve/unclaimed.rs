//! Attempts that nobody takes from their inbox, while another agent would: taken back, and given to that one.
//!
//! Choosing goes by what is known of an agent's load, so that several coordinators may give it more than it takes at a time. What is
//! taken out of the inbox nobody has had: no work is done twice by it. Agents on Kafka topics cannot give back.

use super::Serving;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use synod_fleet::AgentKey;
use synod_infra::redis::inbox::{Inboxes, TakeBack};
use synod_ledger::TaskKey;
use synod_protocol::command::Delivery;
use synod_protocol::view::TaskStatus;
use tokio::time::Instant;

/// How often they are looked for.
const EVERY: Duration = Duration::from_millis(500);
/// How many are taken back at a time.
const AT_A_TIME: usize = 64;
/// How many held attempts are looked at to find them.
const LOOKED_AT: usize = 5_000;

/// How far looking has come.
pub(super) struct Looked {
    at: Instant,
    /// Whose attempts were looked at last; the next look goes on behind.
    after: Option<AgentKey>,
    /// What was found is being taken back.
    busy: Arc<AtomicBool>,
}

impl Default for Looked {
    fn default() -> Looked {
        Looked { at: Instant::now(), after: None, busy: Arc::default() }
    }
}

impl Serving<'_> {
    /// Has those taken back that have waited for longer than is allowed, if that is due.
    pub(super) fn take_back(&mut self) {
        if self.looked.at.elapsed() < EVERY
            || self.is_catching_up()
            || self.looked.busy.load(Ordering::Acquire)
        {
            return;
        }
        self.looked.at = Instant::now();
        let late = self.late();
        if late.is_empty() {
            return;
        }
        let busy = self.looked.busy.clone();
        busy.store(true, Ordering::Release);
        let (shared, shard, epoch) = (self.shared.clone(), self.shard, self.owner.epoch());
        tokio::spawn(async move {
            let inboxes = Inboxes::new(shared.redis.clone());
            for (agent, attempts) in late {
                let AgentKey { workspace, agent } = agent;
                let attempt_ids = attempts.keys().cloned().collect();
                let back = TakeBack { workspace, agent: agent.clone(), shard, epoch, attempt_ids };
                match inboxes.take_back(back).await {
                    Ok(taken) => {
                        for (task, attempt, ms) in taken.iter().filter_map(|id| attempts.get(id).cloned()) {
                            tracing::info!(task = %task.task, attempt, %agent, ms, "taken back from an inbox");
                            let reason = format!("it waited {ms} ms in the inbox of agent {agent}");
                            shared.shards[shard as usize].unclaimed(task, attempt, reason).await;
                        }
                    }
                    Err(error) => tracing::debug!(%agent, %error, "an inbox could not be looked through"),
                }
            }
            busy.store(false, Ordering::Release);
        });
    }

    /// Those that have waited for too long and that somebody else has room for: by agent, by the attempt's id.
    fn late(&mut self) -> BTreeMap<AgentKey, BTreeMap<String, (TaskKey, u32, u64)>> {
        let (now, limit) = (self.now(), self.shared.config.unclaimed_after);
        let limit_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        let state = self.owner.state();
        let mut late: BTreeMap<AgentKey, BTreeMap<_, _>> = BTreeMap::new();
        let fleet = self.shared.fleet.lock();
        let after = self.looked.after.take();
        let holders = state.holders().skip_while(|agent| after.as_ref().is_some_and(|after| *agent <= after));
        let held = holders.flat_map(|agent| state.held_by(agent).map(move |(key, _)| (agent, key)));
        let mut found = 0;
        for (looked, (agent, key)) in held.enumerate() {
            if looked >= LOOKED_AT || found >= AT_A_TIME {
                self.looked.after = Some(agent.clone());
                break;
            }
            let Some(task) = state.task(key).filter(|task| task.status == TaskStatus::Assigned) else {
                continue;
            };
            let Some(current) = task.current().filter(|current| current.delivery == Delivery::Redis) else {
                continue;
            };
            let waited_ms = now.millis_since(current.seen.started_at);
            if waited_ms < limit_ms || task.submitted.agent_id.is_some() {
                continue;
            }
            let avoid: BTreeSet<_> = task.avoid.iter().chain([&agent.agent]).cloned().collect();
            if fleet.registry.pick(&task.need_avoiding(&key.workspace, &avoid, 0)).is_none() {
                continue;
            }
            let id = synod_ledger::attempt_id(&key.task, current.seen.attempt);
            late.entry(agent.clone()).or_default().insert(id, (key.clone(), current.seen.attempt, waited_ms));
            found += 1;
        }
        late
    }
}
