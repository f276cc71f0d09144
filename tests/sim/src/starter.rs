//! Clients start executions, and do with them whatever can be done: they pause, resume and cancel them, send signals, have a
//! step that failed done once more; and they ask for approvals of their own.

use crate::flows::{self, SIGNAL};
use crate::party::{Asking, PartyDoing, Purpose, Role};
use crate::plan::MS;
use crate::tally::Met;
use crate::world::{What, World};
use serde::Deserialize;
use serde_json::json;
use synod_ledger::{EntityKey, Subject};
use synod_protocol::approval::{Need, RequestApproval, ResubmitApproval};
use synod_protocol::command::CancelTask;
use synod_protocol::workflow::{
    ChangeExecution, ExecutionChange, RetryExecution, SignalExecution, StartExecution,
};
use synod_protocol::{Command, EntityId, Id, Json, Workspace};

/// Of those whose run waits for something, so many do something about it.
const CARING: u32 = 8_500;

/// What a client has to do with executions.
#[derive(Debug, Default)]
pub(crate) struct Starter {
    started: Vec<Id>,
    /// Approvals that it has asked for.
    asked: u32,
}

/// What an event of an execution says, as far as anybody cares.
#[derive(Deserialize)]
struct Heard {
    execution_id: Id,
    #[serde(default)]
    step: String,
}

impl World {
    /// A client has to do with an execution: it starts one, mostly.
    pub(crate) fn runs(&mut self, party: usize) {
        let Role::Client(client) = &self.parties[party].role else { return };
        let known = client.starter.started.len();
        let which = self.rng.index(known.max(1));
        let Role::Client(client) = &self.parties[party].role else { return };
        let one = client.starter.started.get(which).cloned();
        let command = match (one, self.rng.below(12)) {
            (Some(id), 0) => changed(ExecutionChange::Cancel, id),
            (Some(id), 1 | 2) => changed(ExecutionChange::Pause, id),
            (Some(id), 3) => changed(ExecutionChange::Resume, id),
            (Some(id), 4) => signal(id),
            (Some(id), 5) => return self.looks_at(party, &id),
            (Some(id), 6) => match self.a_child_of(&id) {
                Some(task_id) => Command::CancelTask(CancelTask { task_id, reason: Some("by hand".into()) }),
                None => return,
            },
            (_, 7 | 8) => return self.requests(party),
            _ => return self.starts(party),
        };
        self.ask(party, command, Purpose::Other);
    }

    fn starts(&mut self, party: usize) {
        let (workflow, definition, input) = flows::any(&mut self.rng, self.plan.agents);
        let Role::Client(client) = &mut self.parties[party].role else { return };
        let name = format!("e{party}-{}", client.starter.started.len());
        let (Ok(execution_id), Ok(workflow_id)) = (name.parse::<Id>(), workflow.parse()) else { return };
        client.starter.started.push(execution_id.clone());
        let definition = Some(definition);
        let start = StartExecution { execution_id, workflow_id, input, hash: None, definition, labels: None };
        self.ask(party, Command::StartExecution(Box::new(start)), Purpose::Other);
    }

    /// An approval that belongs to no execution.
    fn requests(&mut self, party: usize) {
        let Role::Client(client) = &mut self.parties[party].role else { return };
        client.starter.asked += 1;
        let Ok(approval_id) = format!("y{party}-{}", client.starter.asked).parse() else { return };
        let rng = &mut self.rng;
        let request = RequestApproval {
            approval_id,
            title: "May it be?".into(),
            show: Json::of(&rng.below(1_000)).unwrap_or_default(),
            approvers: vec!["anna".into(), "bob".into(), "role:legal".into()],
            required: rng.happens(3_000).then(|| vec!["role:legal".into()]),
            need: Some([Need::Any, Need::Any, Need::Quorum(2), Need::All][rng.index(4)]),
            expires_after_ms: Some(rng.between(300, 2_500)),
            auto_approve_after_ms: rng.happens(2_500).then(|| rng.between(200, 1_500)),
            response_schema: None,
            max_revisions: Some(rng.between(1, 3) as u32),
            labels: None,
        };
        self.ask(party, Command::RequestApproval(Box::new(request)), Purpose::Other);
    }

    fn looks_at(&mut self, party: usize, id: &Id) {
        let shard = self.shard_of(id.as_str());
        let meta = crate::client::meta(format!("look-{party}"));
        let key = EntityKey { workspace: Workspace::default_name(), id: id.clone().into() };
        let read = Some(Subject::Execution(key));
        self.knock(&Asking { party, life: 0, ask: 0, shard, command: None, read, meta, asked_at: self.now });
    }

    fn a_child_of(&mut self, id: &Id) -> Option<EntityId> {
        let runs = self.watch.shard(self.shard_of(id.as_str())).ledger.runs();
        let all = runs.live_tasks_of(id);
        if all.is_empty() { None } else { Some(all[self.rng.index(all.len())].clone()) }
    }

    // --- what they hear ---------------------------------------------------------------------------------------------

    /// An event was published, and somebody may do something about it.
    pub(crate) fn hears(&mut self, ty: &str, value: &Json) {
        let pause = self.rng.between(1, if self.calm { 100 } else { 700 }) * MS;
        let command = match ty {
            "synod.approval.required" => return self.wanted(value),
            "synod.approval.changes_requested" => self.resubmission(value),
            "synod.execution.paused" => self.cares(value).map(|id| changed(ExecutionChange::Resume, id)),
            "synod.execution.step_started" => {
                let waits = value.to::<Heard>().is_ok_and(|heard| heard.step == "signal");
                if waits { self.cares(value).map(signal) } else { None }
            }
            "synod.execution.failed" if self.rng.happens(self.plan.people.retrying) => self.retry(value),
            _ => None,
        };
        let Some(command) = command else { return };
        let party = self.plan.agents + self.rng.index(self.plan.clients);
        self.says(party, command, pause);
    }

    /// A client says something, in a while.
    pub(crate) fn says(&mut self, party: usize, command: Command, pause: u64) {
        self.after(pause, What::Party(party, 0, PartyDoing::Says(Box::new(command))));
    }

    /// Of which execution it is, where somebody cares.
    fn cares(&mut self, value: &Json) -> Option<Id> {
        let heard = value.to::<Heard>().ok()?;
        self.rng.happens(CARING).then_some(heard.execution_id)
    }

    fn retry(&mut self, value: &Json) -> Option<Command> {
        let execution_id = value.to::<Heard>().ok()?.execution_id;
        let runs = self.watch.shard(self.shard_of(execution_id.as_str())).ledger.runs();
        let (step, items) = runs.failed_step(&execution_id)?;
        self.met(Met::RetriedByHand);
        Some(Command::RetryExecution(RetryExecution { execution_id, step, items: Some(items) }))
    }

    fn resubmission(&mut self, value: &Json) -> Option<Command> {
        #[derive(Deserialize)]
        struct Changes {
            approval_id: EntityId,
        }
        let approval_id = value.to::<Changes>().ok()?.approval_id;
        // What belongs to an execution is asked again by that; now and then somebody tries all the same.
        let tries = approval_id.as_str().starts_with('y') || self.rng.happens(500);
        let show = json!({"again": self.rng.below(2)}).into();
        tries.then_some(Command::ResubmitApproval(ResubmitApproval { approval_id, title: None, show }))
    }
}

fn changed(change: ExecutionChange, execution_id: Id) -> Command {
    Command::ChangeExecution(change, ChangeExecution { execution_id, reason: None })
}

fn signal(execution_id: Id) -> Command {
    let (name, payload) = (SIGNAL.to_owned(), flows::payload());
    Command::SignalExecution(SignalExecution { execution_id, name, payload })
}
