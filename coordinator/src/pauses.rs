//! What of the fleet gets no work, as every coordinator follows it: the check that stands before every choice.
//!
//! A pause is decided in the ledger ([`synod_ledger::PausesInForce`]) and comes here through the directory. While one covers
//! a task nobody is chosen for it; one that halts also takes its attempts back, wherever they run.

use crate::fleet::{Inside, SharedFleet};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use synod_fleet::{AgentKey, Choice, Departure, Fleet, Need, RuleError};
use synod_infra::telemetry::names;
use synod_protocol::command::Delivery;
use synod_protocol::command::PauseMode;
use synod_protocol::track::WorkRecord;
use synod_protocol::view::{Pause, Pauses};
use synod_protocol::{Capability, Id, Incarnation, WorkKind, Workspace};

/// The pauses in force, by the newest word of their shard.
#[derive(Debug, Default)]
pub(crate) struct Following {
    pauses: Vec<Pause>,
    /// The ledger offset that they stand for.
    offset: Option<u64>,
}

impl Following {
    /// Takes a word that stands for this ledger offset; whether it changes anything.
    fn learn(&mut self, pauses: Pauses, offset: u64) -> bool {
        if self.offset.is_some_and(|known| known > offset) {
            return false;
        }
        self.offset = Some(offset);
        let changed = self.pauses != pauses.pauses;
        self.pauses = pauses.pauses;
        changed
    }

    pub(crate) fn covering<'a>(
        &'a self,
        workspace: &'a Workspace,
        capability: Option<&'a Capability>,
    ) -> impl Iterator<Item = &'a Pause> {
        self.pauses.iter().filter(move |pause| pause.covers(workspace, capability))
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[Pause] {
        &self.pauses
    }
}

impl SharedFleet {
    /// Returns once a pause of this scope is followed here, or so much time has passed.
    pub(crate) async fn follows(&self, pause: &Pause, within: Duration) {
        let mut changes = self.members();
        let followed = async {
            loop {
                changes.borrow_and_update();
                let is_it = |known: &Pause| {
                    (&known.workspace, &known.capability) == (&pause.workspace, &pause.capability)
                };
                if self.lock().pauses.all().iter().any(is_it) || changes.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(within, followed).await.is_err() {
            tracing::warn!(?pause, "a pause is on record and not yet followed here");
        }
    }

    /// Takes what is paused by a ledger offset of the fleet's shard.
    pub(crate) fn learn_pauses(&self, pauses: Pauses, offset: u64) {
        let changed = self.lock().pauses.learn(pauses, offset);
        if changed {
            self.changed();
        }
    }
}

/// Whom a shard may choose: the registry, behind the pauses.
impl Fleet for Inside {
    fn choose(&self, need: &Need<'_>) -> Option<Choice> {
        let is_paused = self.pauses.covering(need.workspace, need.capability).next().is_some();
        if is_paused {
            return None;
        }
        let began = Instant::now();
        let choice = self.registry.choose(need);
        metrics::histogram!(names::CHOICE_SECONDS).record(began.elapsed());
        choice
    }

    fn check_rule(&self, name: &str) -> Result<(), RuleError> {
        self.registry.check_rule(name)
    }

    fn gone(&self, agent: &AgentKey, incarnation: &Incarnation) -> Option<Departure> {
        self.registry.gone(agent, incarnation)
    }

    fn suspected(&self, agent: &AgentKey, incarnation: &Incarnation) -> Option<&str> {
        self.registry.suspected(agent, incarnation)
    }

    fn halted(&self, workspace: &Workspace, capability: Option<&Capability>) -> Option<String> {
        let halting = self.pauses.covering(workspace, capability).find(|p| p.mode == PauseMode::Halt)?;
        let reason = halting.reason.as_deref().unwrap_or("no reason given");
        Some(format!("it was halted: {reason}"))
    }

    fn present(&self, agent: &AgentKey) -> Option<(Incarnation, Delivery)> {
        self.registry.present(agent)
    }

    fn able(
        &self,
        workspace: &Workspace,
        capability: Option<&Capability>,
        labels: &BTreeMap<String, String>,
    ) -> Vec<Id> {
        self.registry.able(workspace, capability, labels)
    }

    fn track_record(&self, agent: &AgentKey, kind: &WorkKind) -> Option<WorkRecord> {
        self.registry.track_record(agent, kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pauses(value: &serde_json::Value) -> Pauses {
        serde_json::from_value(json!({ "pauses": value })).unwrap()
    }

    #[test]
    fn who_is_covered_waits_and_a_halt_takes_back() {
        let since = "2027-01-15T08:00:00.000Z";
        let (ours, other): (Workspace, Workspace) = ("w".parse().unwrap(), "v".parse().unwrap());
        let (c, d): (Capability, Capability) = ("c".parse().unwrap(), "d".parse().unwrap());
        let check = |fleet: &SharedFleet, want: [bool; 4]| {
            let inside = fleet.lock();
            let asked = [(&ours, Some(&c)), (&ours, Some(&d)), (&ours, None), (&other, Some(&c))];
            let got = asked.map(|(w, capability)| inside.pauses.covering(w, capability).next().is_some());
            assert_eq!(got, want);
        };
        let fleet = crate::fleet::tests::empty();
        check(&fleet, [false; 4]);
        let one = json!([{"workspace": "w", "capability": "c", "mode": "drain", "since": since}]);
        fleet.learn_pauses(pauses(&one), 5);
        check(&fleet, [true, false, false, false]);
        assert_eq!(fleet.lock().halted(&ours, Some(&c)), None, "what runs may finish");
        fleet.learn_pauses(
            pauses(&json!([{"workspace": "w", "mode": "halt", "reason": "fire", "since": since}])),
            6,
        );
        check(&fleet, [true, true, true, false]);
        assert_eq!(fleet.lock().halted(&ours, None).as_deref(), Some("it was halted: fire"));
        fleet.learn_pauses(pauses(&one), 5);
        check(&fleet, [true, true, true, false]);
        fleet.learn_pauses(pauses(&json!([{"mode": "drain", "since": since}])), 7);
        check(&fleet, [true; 4]);
        fleet.learn_pauses(pauses(&json!([])), 8);
        check(&fleet, [false; 4]);
    }
}
