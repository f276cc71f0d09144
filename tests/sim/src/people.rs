//! People who decide approvals: as they should; twice, with the same or with something else; when its time is up; not at all;
//! or people whom nobody has asked.

use crate::flows;
use crate::plan::{MS, People};
use crate::tally::Met;
use crate::world::World;
use serde::Deserialize;
use std::collections::BTreeSet;
use synod_protocol::approval::{DecideApproval, Decision, Need};
use synod_protocol::{Command, EntityId, Json, Timestamp};

/// Those who may be asked, and the role that the last of them decides in.
const PEOPLE: [(&str, Option<&str>); 3] = [("anna", None), ("bob", None), ("carl", Some("legal"))];

/// What of an approval they look at.
#[derive(Deserialize)]
struct Wanted {
    approval_id: EntityId,
    approvers: Vec<String>,
    need: Need,
    expires_at: Timestamp,
    revision: u32,
    max_revisions: u32,
    shown: String,
}

impl World {
    /// Somebody is asked for an approval, and it is decided.
    pub(crate) fn wanted(&mut self, value: &Json) {
        let Ok(wanted) = value.to::<Wanted>() else { return };
        let rates = self.plan.people.clone();
        if self.rng.happens(rates.strangers) {
            self.met(Met::StrangerDecided);
            self.will_decide(&wanted, ("eve", Some("nobody")), Decision::Approve, 1);
        }
        if self.rng.happens(rates.silent) {
            return;
        }
        let decision = flows::decision(&wanted.approval_id, wanted.revision < wanted.max_revisions);
        let asked = |(name, role): &(&str, Option<&str>)| {
            let in_it = |entry: &str| role.is_some_and(|role| entry.strip_prefix("role:") == Some(role));
            let fits = |entry: &String| entry == name || in_it(entry);
            wanted.approvers.iter().any(fits)
        };
        let all: Vec<_> = PEOPLE.into_iter().filter(asked).collect();
        let many = match (decision, wanted.need) {
            (Decision::Approve, Need::All) => all.len(),
            (Decision::Approve, Need::Quorum(many)) => many as usize,
            _ => 1,
        };
        let first = if all.len() > many { self.rng.index(all.len()) } else { 0 };
        for at in 0..many.min(all.len()) {
            let who = all[(first + at) % all.len()];
            let takes = self.takes(&wanted, &rates);
            self.will_decide(&wanted, who, decision, takes);
            if self.rng.happens(rates.twice) {
                self.met(Met::DecidedTwice);
                let same = self.rng.happens(5_000);
                let other = [Decision::Reject, Decision::Cancel, Decision::Approve][self.rng.index(3)];
                let again = takes + self.rng.below(300) * MS;
                self.will_decide(&wanted, who, if same { decision } else { other }, again);
            }
        }
    }

    /// How long somebody takes to make up his mind.
    fn takes(&mut self, wanted: &Wanted, rates: &People) -> u64 {
        let left = wanted.expires_at.millis_since(self.timestamp()) * MS;
        if self.rng.happens(rates.late) && left < 10_000 * MS {
            self.met(Met::DecidedLate);
            return (left + self.rng.below(30) * MS).saturating_sub(15 * MS);
        }
        self.rng.between(1, if self.calm { 100 } else { 700 }) * MS
    }

    fn will_decide(
        &mut self,
        wanted: &Wanted,
        (who, role): (&str, Option<&str>),
        decision: Decision,
        takes: u64,
    ) {
        let decide = DecideApproval {
            approval_id: wanted.approval_id.clone(),
            decision,
            approver: who.to_owned(),
            roles: role.map(|role| BTreeSet::from([role.to_owned()])),
            comment: None,
            meaning: None,
            response_data: None,
            shown: self.rng.happens(5_000).then(|| wanted.shown.clone()),
        };
        let party = self.plan.agents + self.rng.index(self.plan.clients);
        self.says(party, Command::DecideApproval(decide), takes);
    }
}
