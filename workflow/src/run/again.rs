//! What begins again: a revision that people want, a step that is retried by hand.

use super::apply::is_null;
use super::doing::{Asked, Doing, EARLIER, Held, Left, Past};
use super::{Key, Run};
use crate::workflow::Role;
use serde_json::json;
use std::collections::BTreeSet;
use synod_protocol::approval::DecisionMade;
use synod_protocol::workflow::{ExecutionStatus, RevisionDone, StepRetried, StepRevised, StepStatus};
use synod_protocol::{Json, Timestamp};

impl Run {
    /// From a step on up to the approval that asked for it, all is done again.
    pub(super) fn revised(&mut self, e: &StepRevised, now: Timestamp) {
        let Some(approval) = self.named(&e.step, &e.items) else { return };
        let mut asked_for = e.feedback.clone();
        asked_for.response_data = asked_for.response_data.filter(|data| !is_null(data));
        let Some(from) = self.workflow.number(&e.from).map(|from| self.key_for(from, &approval.items)) else {
            return;
        };
        let parent =
            self.doings.get(&approval).and_then(|doing| self.attempt_child(&approval, doing.attempt));
        let (reopened, again) = self.between(&from, &approval);
        for key in again {
            let own = key == approval;
            let decision = own.then(|| asked_for.clone());
            let Some(mut past) = self.doings.get(&key).map(|doing| self.past_of(&key, doing, decision))
            else {
                continue;
            };
            if own {
                past.anew.asked = parent.as_ref().map(|parent| Asked {
                    parent: parent.id.clone(),
                    number: e.revision,
                    feedback: asked_for.clone(),
                });
            } else if key == from {
                past.anew.feedback = Some(feedback(e.revision, &asked_for));
            }
            self.remember(&key, past);
        }
        for key in reopened {
            self.reopen(&key, now);
        }
        self.rebuild();
    }

    /// What a revision does again: blocks that are reopened, since only a part of them is, and doings.
    pub(super) fn between(&self, from: &Key, approval: &Key) -> (Vec<Key>, Vec<Key>) {
        let graph = self.workflow.graph();
        let mut before = graph.ancestors(approval.step);
        before.insert(approval.step);
        let mut steps: BTreeSet<usize> = self.after(from.step).intersection(&before).copied().collect();
        steps.insert(from.step);
        // One whose fallback was done is done again as a whole: what was done in it is not what it gave.
        let fell_back = |step: usize| {
            let doing = self.doings.get(&self.key_for(step, &approval.items));
            doing.is_some_and(|doing| doing.fell_back)
        };
        let around = |step: usize| {
            step != from.step && self.workflow.within(step).contains(&from.step) && !fell_back(step)
        };
        let (reopened, mut again): (BTreeSet<usize>, BTreeSet<usize>) =
            steps.into_iter().partition(|step| around(*step));
        let inside: Vec<usize> = again.iter().flat_map(|step| self.workflow.within(*step)).collect();
        again.extend(inside);
        let doings = |step: usize| {
            let items = &approval.items[..self.shared_maps(step, approval.step).min(approval.items.len())];
            self.doings_of(step, items).map(|(key, _)| key.clone()).collect::<Vec<_>>()
        };
        (reopened.into_iter().flat_map(doings).collect(), again.into_iter().flat_map(doings).collect())
    }

    /// What is kept of a doing that is done again in another revision.
    fn past_of(&self, key: &Key, doing: &Doing, decision: Option<DecisionMade>) -> Past {
        let mut anew = doing.anew.clone();
        let output = self.output_json(key);
        if decision.is_some() || output.is_some() {
            anew.earlier.push(RevisionDone { revision: anew.revised + 1, output, decision });
        }
        let surplus = anew.earlier.len().saturating_sub(EARLIER);
        anew.earlier.drain(..surplus);
        anew.revised += 1;
        (anew.feedback, anew.asked) = (None, None);
        Past { attempt: doing.attempt, anew, failure: None }
    }

    /// A step that failed for good is done once more, and so is what it kept from being done.
    pub(super) fn retried(&mut self, e: &StepRetried, now: Timestamp) {
        let Some(key) = self.named(&e.step, &e.items) else { return };
        if self.status.is_final() {
            self.status = ExecutionStatus::Running;
            (self.ended_at, self.output, self.failure) = (None, None, None);
            self.output_left_out = false;
            for step in self.workflow.clone().members(None) {
                self.begin_left(&Key { step, items: Vec::new() }, now);
            }
        }
        let mut failed = self.open_around(&key, now).unwrap_or_default();
        self.drop_doing(&key);
        failed.push(key);
        while let Some(one) = failed.pop() {
            failed.extend(self.drop_cancelled_after(&one, now));
        }
        self.rebuild();
    }

    /// Whether all that is around a doing is open, or failed and can be opened again.
    pub(super) fn can_be_open_around(&self, key: &Key) -> bool {
        let can = |around: &Key| {
            let status = self.doings.get(around).map(|doing| doing.status);
            matches!(status, Some(StepStatus::Running | StepStatus::Failed))
        };
        !self.is_fallback(key)
            && self.around(key).iter().all(|around| can(around) && !self.is_fallback(around))
    }

    /// Opens again what failed around a doing: those blocks, or nothing where one of them is over for good.
    fn open_around(&mut self, key: &Key, now: Timestamp) -> Option<Vec<Key>> {
        if !self.can_be_open_around(key) {
            return None;
        }
        let failed =
            |around: &Key| self.doings.get(around).is_some_and(|doing| doing.status == StepStatus::Failed);
        let failed: Vec<Key> = self.around(key).into_iter().filter(failed).collect();
        for around in &failed {
            self.reopen(around, now);
            self.begin_left_inside(around, now);
        }
        Some(failed)
    }

    /// The blocks around a doing, from the outside in.
    pub(super) fn around(&self, key: &Key) -> Vec<Key> {
        let mut around: Vec<Key> = std::iter::successors(self.parent(key), |key| self.parent(key)).collect();
        around.reverse();
        around
    }

    /// What was left over in a block that is open again: what was under way goes on, what had not begun may begin.
    fn begin_left_inside(&mut self, block: &Key, now: Timestamp) {
        let members = match self.doings.get(block).and_then(|doing| doing.items.as_ref()) {
            Some(items) => self.bodies(block, 0..u32::try_from(items.all.len()).unwrap_or(u32::MAX)),
            None => self.members(block),
        };
        members.iter().for_each(|member| self.begin_left(member, now));
    }

    fn begin_left(&mut self, key: &Key, now: Timestamp) {
        let Some(left) = self.doings.get(key).and_then(|doing| doing.left) else { return };
        let is_block = self.workflow.members(Some(key.step)).next().is_some();
        let fell_back = self.workflow.fallback(key.step).map(|step| self.key_for(step, &key.items));
        if left == Left::Open
            && is_block
            && !fell_back.is_some_and(|fallback| self.doings.contains_key(&fallback))
        {
            self.reopen(key, now);
            return self.begin_left_inside(key, now);
        }
        self.drop_doing(key);
    }

    /// Whatever waited for a step and was cancelled for that begins anew: the blocks that are open again for that.
    fn drop_cancelled_after(&mut self, failed: &Key, now: Timestamp) -> Vec<Key> {
        let mut reopened = Vec::new();
        for step in self.after(failed.step) {
            let items = &failed.items[..self.shared_maps(step, failed.step).min(failed.items.len())];
            let cancelled = self
                .doings_of(step, items)
                .filter(|(_, doing)| doing.status == StepStatus::Cancelled && doing.left.is_none());
            let cancelled: Vec<Key> = cancelled.map(|(key, _)| key.clone()).collect();
            for key in cancelled {
                if let Some(around) = self.open_around(&key, now) {
                    reopened.extend(around);
                    self.drop_doing(&key);
                }
            }
        }
        reopened
    }

    /// A doing and all within it is as if it had not begun, but for its attempts and why the last failed.
    fn drop_doing(&mut self, key: &Key) {
        let mut all: Vec<Key> = self.inside(key).map(|(key, _)| key.clone()).collect();
        all.push(key.clone());
        for key in all {
            if let Some(doing) = self.doings.get(&key) {
                let failure =
                    doing.failure.clone().filter(|_| doing.status == StepStatus::Failed && doing.attempt > 0);
                let past = Past { attempt: doing.attempt, anew: doing.anew.clone(), failure };
                self.remember(&key, past);
            }
        }
    }

    /// In place of a doing what is kept of it. The index is made anew after.
    fn remember(&mut self, key: &Key, past: Past) {
        self.doings.remove_mut(key);
        self.past.insert_mut(key.clone(), past);
    }

    /// What is kept of earlier doings goes into the doing that begins.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(past) = self.past.get(key) {
            self.index.weight -= past.weight();
            self.index.held -= past.anew.held();
            self.past.remove_mut(key);
        }
    }

    /// A block that was over goes on; it is given its time anew.
    fn reopen(&mut self, key: &Key, now: Timestamp) {
        let due_at = self.time_limit(key, now);
        if let Some(doing) = self.doings.get_mut(key) {
            doing.reopen();
            doing.due_at = due_at;
        }
        if let Some(fallback) = self.workflow.fallback(key.step) {
            self.drop_doing(&self.key_for(fallback, &key.items));
        }
    }

    /// Everything that waits for a step, directly or not.
    fn after(&self, step: usize) -> BTreeSet<usize> {
        let graph = self.workflow.graph();
        let (mut seen, mut left) = (BTreeSet::new(), graph.after(step).to_vec());
        while let Some(next) = left.pop() {
            if seen.insert(next) {
                left.extend(graph.after(next));
            }
        }
        seen
    }

    /// How many maps two steps stand in together.
    fn shared_maps(&self, one: usize, other: usize) -> usize {
        let bodies = |step: usize| {
            let all = std::iter::successors(Some(step), |step| self.workflow.place(*step)?.parent);
            all.filter(|step| self.workflow.role(*step) == Role::Body).collect::<BTreeSet<_>>()
        };
        bodies(one).intersection(&bodies(other)).count()
    }
}

/// A request for changes as the first step that is done again is told it.
fn feedback(revision: u32, decision: &DecisionMade) -> Json {
    let data = decision.response_data.as_ref().map(|data| Held::new(data.clone()));
    let data = data.map(|data| super::doing::readable(data.json()).unwrap_or_default());
    json!({
        "revision": revision,
        "comment": decision.comment,
        "response_data": data,
        "approver": decision.approver,
    })
    .into()
}
