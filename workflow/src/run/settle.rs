//! What follows from a step's end: for those that wait for it, for the block around it, for the run.

use super::decide::Step;
use super::{Event, Failure, Key, RunStatus, Status};
use crate::definition::{Join, Kind};
use crate::workflow::Role;
use serde_json::{Map, Value as Json};
use std::collections::BTreeSet;

impl Step<'_> {
    /// A block is open: its first steps may start, and those of the way not taken are skipped.
    pub(super) fn opened(&mut self, key: &Key) {
        let members = self.run.members(key);
        if let Some(Kind::Condition(_)) = self.run.workflow.step(key.step).map(|step| &step.kind) {
            let taken: BTreeSet<usize> = members.iter().map(|member| member.step).collect();
            for step in self.run.workflow.clone().children(Some(key.step)) {
                if !taken.contains(&step) && self.run.workflow.role(step) != Role::Fallback {
                    self.left_over(&self.run.key_for(step, &key.items), Status::Skipped, None);
                }
            }
        }
        // Of a map only so many are looked at as may be open; the others follow one by one.
        let wide = if self.is_map(key) { self.run.width(key) } else { usize::MAX };
        self.look.extend(members.into_iter().take(wide));
        self.joined(key);
    }

    fn is_map(&self, key: &Key) -> bool {
        matches!(self.run.workflow.step(key.step).map(|step| &step.kind), Some(Kind::Map(_)))
    }

    /// A step is over for good.
    pub(super) fn ended(&mut self, key: &Key, status: Status, output: Json, confidence: Option<f64>) {
        self.over(key, status, output, confidence, None);
    }

    /// A step has failed for good: its fallback comes, or it is over.
    pub(super) fn failed(&mut self, key: &Key, failure: Failure) {
        if self.is_ended(key) {
            return;
        }
        self.take_back_inside(key);
        let workflow = self.run.workflow.clone();
        let fallback = workflow.children(Some(key.step)).find(|step| workflow.role(*step) == Role::Fallback);
        let falls = self.run.doings.get(key).is_some_and(|doing| doing.status == Status::FallingBack);
        let in_time =
            self.run.doings.get(key).is_none_or(|doing| doing.due_at.is_none_or(|at| at > self.now));
        match fallback.filter(|_| !falls && in_time) {
            Some(fallback) => {
                if !self.run.doings.contains_key(key) {
                    // It failed before it began: it is there from now on, so that its fallback stands in something.
                    self.record(Event::BlockOpened {
                        key: key.clone(),
                        branch: None,
                        items: None,
                        at: self.now,
                    });
                }
                // Its steps are over by then, one way or another.
                self.leave_inside(key);
                self.record(Event::FallbackOpened { key: key.clone(), failure });
                let fallback = self.run.key_for(fallback, &key.items);
                self.look.push_back(fallback);
            }
            None => self.over(key, Status::Failed, Json::Null, None, Some(failure)),
        }
    }

    /// Not needed: neither is what is within it.
    pub(super) fn skip(&mut self, key: &Key) {
        self.left_over(key, Status::Skipped, None);
        self.settled(key);
    }

    /// What it needed failed.
    pub(super) fn cancel(&mut self, key: &Key, why: &Failure) {
        self.left_over(key, Status::Cancelled, Some(why));
        self.settled(key);
    }

    fn over(
        &mut self,
        key: &Key,
        status: Status,
        output: Json,
        confidence: Option<f64>,
        failure: Option<Failure>,
    ) {
        if self.is_ended(key) {
            return;
        }
        self.leave_inside(key);
        self.record(Event::StepEnded { key: key.clone(), status, output, confidence, failure, at: self.now });
        self.settled(key);
    }

    /// Whoever waited for it may go on.
    fn settled(&mut self, key: &Key) {
        self.wake(key);
        match self.run.parent(key) {
            None => self.top_ended(key),
            Some(parent) if self.run.workflow.role(key.step) == Role::Fallback => {
                self.fell_back(&parent, key);
            }
            Some(parent) => {
                self.joined(&parent);
                self.next_item(&parent);
            }
        }
    }

    /// Whether it is over already, or the run is.
    fn is_ended(&self, key: &Key) -> bool {
        self.run.is_over() || self.run.doings.get(key).is_some_and(|doing| doing.ended_at.is_some())
    }

    /// Looks at every step that waits for this one.
    fn wake(&mut self, key: &Key) {
        let workflow = self.run.workflow.clone();
        for step in workflow.started_by(key.step) {
            let depth = workflow.maps_around(*step);
            if depth <= key.items.len() {
                self.look.push_back(self.run.key_for(*step, &key.items));
                continue;
            }
            // It stands in a map that this does not: each of its doings may go on.
            let Some(above) = workflow.place(*step).and_then(|place| place.parent) else { continue };
            let first = Key { step: above, items: key.items.clone() };
            let open = self
                .run
                .doings
                .range(first..)
                .take_while(|(other, _)| other.step == above && other.items.starts_with(&key.items));
            let blocks: Vec<Key> = open.map(|(block, _)| block.clone()).collect();
            for block in blocks {
                self.look.extend(self.run.members(&block).into_iter().filter(|member| member.step == *step));
            }
        }
    }

    /// The next item of a map, where one is left.
    fn next_item(&mut self, map: &Key) {
        let Some(doing) = self.run.doings.get(map).filter(|doing| doing.status == Status::Running) else {
            return;
        };
        if self.is_map(map) && (doing.begun as usize) < doing.items.len() {
            let begun = doing.begun;
            let body =
                self.run.workflow.children(Some(map.step)).find(|s| self.run.workflow.role(*s) == Role::Body);
            let at = |item| {
                body.map(|step| Key { step, items: map.items.iter().copied().chain([item]).collect() })
            };
            // They begin in order, so that the next is mostly the one after those that have begun.
            let next = at(begun).filter(|next| !self.run.doings.contains_key(next));
            let next = next.or_else(|| {
                self.run.members(map).into_iter().find(|member| !self.run.doings.contains_key(member))
            });
            self.look.extend(next);
        }
    }

    /// A fallback is over: so is what it stood in for.
    fn fell_back(&mut self, parent: &Key, fallback: &Key) {
        let Some(doing) = self.run.doings.get(fallback) else { return };
        let (status, output, confidence) = (doing.status, doing.output.clone(), doing.confidence);
        match status {
            Status::Completed | Status::Skipped => self.ended(parent, Status::Completed, output, confidence),
            _ => {
                let why = self.run.doings.get(parent).and_then(|doing| doing.failure.clone());
                let why = why.unwrap_or_else(|| Failure::new("fallback_failed", "its fallback failed"));
                self.over(parent, Status::Failed, Json::Null, None, Some(why));
            }
        }
    }

    /// Whether a block is over, by its join.
    fn joined(&mut self, key: &Key) {
        let Some(doing) = self.run.doings.get(key).filter(|doing| doing.status == Status::Running) else {
            return;
        };
        let (good, bad) = (doing.good as usize, doing.bad as usize);
        let within = self.static_members(key);
        // The way not taken was skipped; that is no success of a step.
        let (join, all, good) = match self.run.workflow.step(key.step).map(|step| &step.kind) {
            Some(Kind::Map(map)) => (map.join, doing.items.len(), good),
            Some(Kind::Parallel(parallel)) => (parallel.join, within, good),
            Some(Kind::Condition(condition)) => {
                let then = condition.then.len();
                let taken = if doing.branch == Some(true) { then } else { within - then };
                (None, taken, good.saturating_sub(within - taken))
            }
            _ => (None, within, good),
        };
        let (reached, lost) = match join.unwrap_or(Join::All) {
            Join::All => (good == all, bad > 0),
            Join::Any => (good > 0, bad == all),
            Join::AtLeast(many) => (good >= many as usize, all.saturating_sub(bad) < many as usize),
            Join::Partial => (good + bad == all, false),
        };
        if lost {
            let members = self.run.members(key);
            let bad_one = members.iter().filter(|member| !self.run.is_good(member));
            let first = bad_one.filter_map(|member| self.run.doings.get(member)?.failure.clone()).next();
            let message = first.map_or_else(|| "there was nothing to complete".to_owned(), |why| why.message);
            self.failed(key, Failure::new("steps_failed", format!("{bad} of {all} steps failed: {message}")));
        } else if reached {
            self.take_back_inside(key);
            let output = self.run.block_output(key);
            self.ended(key, Status::Completed, output, None);
        }
    }

    fn static_members(&self, key: &Key) -> usize {
        let children = self.run.workflow.children(Some(key.step));
        children.filter(|step| self.run.workflow.role(*step) != Role::Fallback).count()
    }

    /// What is under way within a block is taken back.
    fn take_back_inside(&mut self, key: &Key) {
        if self.run.workflow.children(Some(key.step)).next().is_none() {
            return;
        }
        let inside: Vec<Key> = self
            .run
            .doings
            .iter()
            .filter(|(other, doing)| doing.ended_at.is_none() && self.is_inside(other, key))
            .map(|(other, _)| other.clone())
            .collect();
        let why = Failure::new("not_needed", "the block around it is over");
        for other in inside {
            self.record_left(&other, Status::Cancelled, Some(&why));
        }
    }

    /// Whether one doing is within another.
    fn is_inside(&self, other: &Key, block: &Key) -> bool {
        let mut at = self.run.parent(other);
        while let Some(parent) = at {
            if parent == *block {
                return true;
            }
            at = self.run.parent(&parent);
        }
        false
    }

    /// What has not begun within a step that is over is skipped, so that nobody waits for it for ever. What a map does for each
    /// item is known to nobody outside.
    fn leave_inside(&mut self, key: &Key) {
        if self.is_map(key) {
            return;
        }
        for step in self.run.workflow.clone().children(Some(key.step)) {
            let inside = self.run.key_for(step, &key.items);
            if !self.run.doings.contains_key(&inside) && self.run.workflow.role(step) != Role::Fallback {
                self.left_over(&inside, Status::Skipped, None);
            }
        }
    }

    /// It and all that is within it is left over.
    fn left_over(&mut self, key: &Key, status: Status, why: Option<&Failure>) {
        self.record_left(key, status, why);
        if self.is_map(key) {
            return;
        }
        for step in self.run.workflow.clone().children(Some(key.step)) {
            if self.run.workflow.role(step) != Role::Fallback {
                let inside = self.run.key_for(step, &key.items);
                self.left_over(&inside, status, why);
            }
        }
    }

    fn record_left(&mut self, key: &Key, status: Status, why: Option<&Failure>) {
        if self.run.doings.get(key).is_some_and(|doing| doing.ended_at.is_some()) {
            return;
        }
        let failure = why.cloned();
        let ended = Event::StepEnded {
            key: key.clone(),
            status,
            output: Json::Null,
            confidence: None,
            failure,
            at: self.now,
        };
        self.record(ended);
        self.wake(key);
    }

    /// A step at the top is over; perhaps the run is.
    fn top_ended(&mut self, key: &Key) {
        if self.run.is_over() {
            return;
        }
        let all = self.run.workflow.children(None).count();
        if self.run.top_bad > 0 {
            let why = self.run.doings.get(key).and_then(|doing| doing.failure.clone());
            self.end_run(RunStatus::Failed, Json::Null, why);
        } else if self.run.top_good as usize == all {
            let output = self.run_output();
            match output {
                Ok(output) => self.end_run(RunStatus::Completed, output, None),
                Err(why) => self.end_run(RunStatus::Failed, Json::Null, Some(why)),
            }
        }
    }

    fn run_output(&self) -> Result<Json, Failure> {
        if let Some(template) = self.run.workflow.output_template() {
            return self.run.filled(None, Some(template)).map_err(Failure::from);
        }
        let last =
            self.run.workflow.children(None).filter(|step| self.run.workflow.graph().after(*step).is_empty());
        let mut output = Map::new();
        for key in last.map(|step| Key { step, items: Vec::new() }) {
            if let (Some(id), Some(doing)) = (self.run.id_of(&key), self.run.doings.get(&key)) {
                output.insert(id.to_string(), doing.output.clone());
            }
        }
        Ok(Json::Object(output))
    }

    /// The run is over: what is under way is taken back.
    pub(super) fn end_run(&mut self, status: RunStatus, output: Json, failure: Option<Failure>) {
        let open: Vec<Key> = self
            .run
            .doings
            .iter()
            .filter(|(_, doing)| doing.ended_at.is_none())
            .map(|(key, _)| key.clone())
            .collect();
        let why = Failure::new("run_over", "the run is over");
        for key in open {
            self.record_left(&key, Status::Cancelled, Some(&why));
        }
        self.record(Event::RunEnded { status, output, failure, at: self.now });
        self.look.clear();
    }
}
