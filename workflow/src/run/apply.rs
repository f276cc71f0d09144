//! Events into state. Total: any event of the run's own changes it, and nothing else does.

use super::{Doing, Event, Failure, Key, Run, RunStatus, Status};
use crate::definition::{Kind, OnFailure};
use crate::workflow::{Role, Workflow};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

impl Run {
    /// A run from all its events, the first of which began it.
    pub fn fold<'e>(workflow: &Workflow, id: &str, events: impl IntoIterator<Item = &'e Event>) -> Run {
        let mut run = Run::empty(workflow, id);
        events.into_iter().for_each(|event| run.apply(event));
        run.restore();
        run
    }

    pub(super) fn empty(workflow: &Workflow, id: &str) -> Run {
        Run {
            workflow: workflow.clone(),
            id: id.to_owned(),
            status: RunStatus::Running,
            input: Json::Null,
            output: Json::Null,
            failure: None,
            started_at: 0,
            doings: BTreeMap::new(),
            ready: BTreeSet::new(),
            timers: BTreeSet::new(),
            top_good: 0,
            top_bad: 0,
            working: 0,
            started: 0,
            tokens: 0,
            money_micros: 0,
            budget_lifted: false,
        }
    }

    /// One event.
    pub fn apply(&mut self, event: &Event) {
        match event {
            Event::RunStarted { input, at } => {
                self.input = input.clone();
                self.started_at = *at;
            }
            Event::StepStarted { key, attempt, request, at, wake_at } => {
                self.begin(key, *at);
                self.started += 1;
                self.working += u32::from(self.is_work(key));
                self.change(key, |doing| {
                    doing.attempt = *attempt;
                    doing.request = request.clone();
                    doing.wake_at = *wake_at;
                });
            }
            Event::BlockOpened { key, branch, items, at } => {
                self.begin(key, *at);
                self.change(key, |doing| {
                    doing.branch = *branch;
                    doing.items = items.clone().unwrap_or_default();
                });
            }
            Event::AttemptFailed { key, failure, retry_at } => {
                self.working -= u32::from(self.is_work(key));
                self.change(key, |doing| {
                    doing.failure = Some(failure.clone());
                    doing.wake_at = *retry_at;
                    doing.status = Status::Retrying;
                });
            }
            Event::FallbackOpened { key, failure } => {
                self.stop_work(key);
                self.change(key, |doing| {
                    doing.failure = Some(failure.clone());
                    doing.status = Status::FallingBack;
                    doing.wake_at = None;
                });
            }
            Event::StepEnded { key, status, output, confidence, failure, at } => {
                self.end(key, *status, (output, *confidence), failure.as_ref(), *at);
            }
            Event::Spent { tokens, money_micros } => {
                self.tokens = self.tokens.saturating_add(*tokens);
                self.money_micros = self.money_micros.saturating_add(*money_micros);
            }
            Event::RunPaused { .. } => self.status = RunStatus::Paused,
            Event::RunResumed {} => {
                self.status = RunStatus::Running;
                self.budget_lifted = true;
            }
            Event::RunEnded { status, output, failure, .. } => {
                self.status = *status;
                self.output = output.clone();
                self.failure = failure.clone();
                self.ready.clear();
            }
        }
    }

    /// A doing is there from now on, unless it was before.
    fn begin(&mut self, key: &Key, at: u64) {
        self.ready.remove(key);
        let limit = self.workflow.step(key.step).and_then(|step| step.timeout_ms);
        if let Some(doing) = self.doings.get_mut(key) {
            doing.status = Status::Running;
            return;
        }
        let due_at = limit.map(|limit| at.saturating_add(limit));
        self.doings.insert(key.clone(), Doing { due_at, ..blank(Status::Running, at) });
        self.timers.extend(due_at.map(|at| (at, key.clone())));
        let is_body = self.workflow.role(key.step) == Role::Body;
        if let Some(parent) = self.parent(key).and_then(|parent| self.doings.get_mut(&parent)) {
            parent.open += 1;
            parent.begun += u32::from(is_body);
        }
    }

    /// Changes a doing; its timers follow.
    fn change(&mut self, key: &Key, change: impl FnOnce(&mut Doing)) {
        let Some(doing) = self.doings.get_mut(key) else { return };
        let before = doing.wake_at;
        change(doing);
        if before != doing.wake_at {
            if let Some(at) = before {
                self.timers.remove(&(at, key.clone()));
            }
            // What is due in all and what is due next may be one moment; the set holds it once, and both are looked at.
            self.timers.extend(doing.wake_at.map(|at| (at, key.clone())));
            self.timers.extend(doing.due_at.map(|at| (at, key.clone())));
        }
    }

    fn end(
        &mut self,
        key: &Key,
        status: Status,
        (output, confidence): (&Json, Option<f64>),
        failure: Option<&Failure>,
        at: u64,
    ) {
        self.ready.remove(key);
        let began = self.doings.contains_key(key);
        if began {
            self.stop_work(key);
        }
        let doing = self.doings.entry(key.clone()).or_insert_with(|| blank(status, at));
        for timer in doing.wake_at.take().into_iter().chain(doing.due_at.take()) {
            self.timers.remove(&(timer, key.clone()));
        }
        doing.status = status;
        doing.output = output.clone();
        doing.confidence = confidence;
        doing.failure = failure.cloned().or(doing.failure.take());
        doing.ended_at = Some(at);
        if self.workflow.role(key.step) == Role::Fallback {
            return;
        }
        let good = self.is_good(key);
        let (open, is_body) = (u32::from(began), self.workflow.role(key.step) == Role::Body);
        match self.parent(key) {
            None => {
                self.top_good += u32::from(good);
                self.top_bad += u32::from(!good);
            }
            Some(parent) => {
                if let Some(parent) = self.doings.get_mut(&parent) {
                    parent.open -= open.min(parent.open);
                    parent.begun += u32::from(is_body && !began);
                    parent.good += u32::from(good);
                    parent.bad += u32::from(!good);
                }
            }
        }
    }

    /// An attempt of it is under way no more.
    fn stop_work(&mut self, key: &Key) {
        let running =
            self.doings.get(key).is_some_and(|doing| doing.status == Status::Running && doing.attempt > 0);
        self.working -= u32::from(running && self.is_work(key));
    }

    /// Whether somebody works on it while it runs, so that it counts against the run's concurrency.
    pub(super) fn is_work(&self, key: &Key) -> bool {
        let kind = self.workflow.step(key.step).map(|step| &step.kind);
        matches!(kind, Some(Kind::Task(_) | Kind::Agent(_) | Kind::Negotiation(_)))
    }

    /// Whether what waits for it may go on.
    pub(super) fn is_good(&self, key: &Key) -> bool {
        match self.doings.get(key).map(|doing| doing.status) {
            Some(Status::Completed | Status::Skipped) => true,
            Some(Status::Failed) => self.goes_on(key),
            _ => false,
        }
    }

    /// Whether its failure is nothing to others.
    fn goes_on(&self, key: &Key) -> bool {
        self.workflow.step(key.step).and_then(|step| step.on_failure) == Some(OnFailure::Continue)
    }
}

fn blank(status: Status, at: u64) -> Doing {
    Doing {
        status,
        attempt: 0,
        request: Json::Null,
        output: Json::Null,
        confidence: None,
        failure: None,
        started_at: at,
        ended_at: None,
        branch: None,
        items: Vec::new(),
        begun: 0,
        open: 0,
        good: 0,
        bad: 0,
        wake_at: None,
        due_at: None,
    }
}
