//! Clients: they submit, cancel, look, say the same again, and now and then send what nobody can read.

use crate::agent::{Agent, CAPABILITIES};
use crate::broker::Produced;
use crate::party::{Asking, Party, PartyDoing, Purpose, Role};
use crate::plan::MS;
use crate::serve::deadline;
use crate::world::{Back, Request, What, World};
use std::rc::Rc;
use synod_ledger::{Meta, Subject, TaskKey};
use synod_protocol::command::{CancelTask, RetryPolicy, SubmitTask};
use synod_protocol::{Command, EntityId, Json, Workspace};

/// A client's own.
#[derive(Debug, Default)]
pub(crate) struct Client {
    deeds: usize,
    tasks: Vec<EntityId>,
    pub(crate) opener: crate::opener::Opener,
    pub(crate) starter: crate::starter::Starter,
}

impl World {
    /// Everybody comes.
    pub(crate) fn people(&mut self) {
        for agent in 0..self.plan.agents {
            let agent = Agent::new(agent, &mut self.rng);
            self.parties.push(Party { up: false, ..Party::new(Role::Agent(agent)) });
        }
        for party in 0..self.plan.agents {
            let delay = self.rng.below(300 * MS);
            self.after(delay, What::Mishap(crate::mishap::Mishap::AgentStarts { party }));
        }
        for client in 0..self.plan.clients {
            let deeds = self.plan.deeds / self.plan.clients;
            self.parties.push(Party::new(Role::Client(Client { deeds, ..Client::default() })));
            self.after(0, What::Party(self.plan.agents + client, 0, PartyDoing::Deed));
        }
    }

    /// A client does something, and will do something else later.
    pub(crate) fn deed(&mut self, party: usize) {
        let Role::Client(client) = &mut self.parties[party].role else { return };
        if client.deeds == 0 || self.calm {
            return;
        }
        client.deeds -= 1;
        let known = client.tasks.len();
        let mean = self.plan.calm_at * self.plan.clients as u64 / self.plan.deeds.max(1) as u64;
        let pause = if self.rng.happens(3_000) { 0 } else { self.rng.below(mean * 2) };
        self.after(pause, What::Party(party, 0, PartyDoing::Deed));
        if self.rng.happens(self.plan.poison) {
            return self.send_poison(party);
        }
        if self.rng.happens(self.plan.repeats) && self.repeat(party) {
            return;
        }
        if self.rng.happens(self.plan.negotiating) {
            return self.negotiates(party);
        }
        if self.rng.happens(self.plan.running) {
            return self.runs(party);
        }
        let which = self.rng.index(known.max(1));
        let Role::Client(client) = &self.parties[party].role else { return };
        match (self.rng.below(10), client.tasks.get(which).cloned()) {
            (0, Some(task_id)) => {
                let cancel = CancelTask { task_id, reason: None };
                self.ask(party, Command::CancelTask(cancel), Purpose::Other);
            }
            (1, Some(task_id)) => self.read(party, &task_id),
            _ => self.submit(party),
        }
    }

    fn submit(&mut self, party: usize) {
        let rng = &mut self.rng;
        let Role::Client(client) = &mut self.parties[party].role else { return };
        let name = format!("t{party}-{}", client.tasks.len());
        // Some of its tasks are children, which live where their root does.
        let name = if client.tasks.is_empty() || !rng.happens(1_000) {
            name
        } else {
            format!("{}:{name}", client.tasks[rng.index(client.tasks.len())].root())
        };
        let (Ok(task_id), Ok(capability)) =
            (name.parse::<EntityId>(), CAPABILITIES[rng.index(CAPABILITIES.len())].parse())
        else {
            return;
        };
        client.tasks.push(task_id.clone());
        let mut submit = SubmitTask::new(task_id, capability, Json::null());
        submit.timeout_ms = Some(rng.between(200, 1_500));
        submit.priority = Some(rng.below(10) as u8);
        submit.retry_on_suspect = Some(rng.below(3) == 0);
        submit.retry = Some(RetryPolicy {
            max_attempts: Some(rng.between(1, 4) as u32),
            initial_backoff_ms: Some(rng.between(20, 300)),
            max_backoff_ms: Some(1_000),
            multiplier: None,
        });
        if self.plan.keyed > 0 && rng.happens(self.plan.keyed) {
            submit.concurrency_key = format!("k{}", rng.below(2)).parse().ok();
        }
        if self.plan.declined_work > 0 {
            // Once all have declined it, only time ends it.
            submit.deadline = Some(deadline(self.plan.calm_at, 5_000 * MS));
        }
        if rng.happens(1_500) {
            submit.deadline = Some(deadline(self.now, rng.below(3_000) * MS));
        }
        if rng.happens(1_000) {
            submit.capability = "nobody-can".parse().ok();
            submit.deadline = Some(deadline(self.now, rng.below(2_000) * MS));
        } else if rng.happens(1_000) {
            submit.capability = None;
            submit.agent_id = format!("a{}", rng.index(self.plan.agents)).parse().ok();
        }
        self.ask(party, Command::SubmitTask(submit), Purpose::Submit);
    }

    /// Says again what it has said, perhaps through the other door, perhaps under another's `ce_id`.
    fn repeat(&mut self, party: usize) -> bool {
        let sent = &self.parties[party].sent;
        if sent.is_empty() {
            return false;
        }
        let mut again = sent[self.rng.index(sent.len())].clone();
        let other = &sent[self.rng.index(sent.len())];
        // One `ce_id`, one workspace, one shard: elsewhere it is another command.
        if self.rng.happens(1_500) && other.shard == again.shard {
            again.command = Rc::clone(&other.command);
        }
        self.ask_as(party, again, Purpose::Other);
        true
    }

    fn read(&mut self, party: usize, task: &EntityId) {
        let shard = self.shard_of(task.root());
        let meta = meta(format!("read-{party}"));
        let read = Some(subject_of_task(task));
        let asking = Asking { party, life: 0, ask: 0, shard, command: None, read, meta, asked_at: self.now };
        self.knock(&asking);
    }

    fn send_poison(&mut self, party: usize) {
        let shard = self.rng.below(u64::from(self.plan.shards)) as u32;
        let readable = self.rng.happens(5_000);
        let meta = readable.then(|| meta(format!("poison-{party}-{}", self.now)));
        let delay = self.latency();
        self.after(
            delay,
            What::Broker(Request::Produce { shard, produced: Produced::Poison { meta }, back: Back::Nobody }),
        );
    }
}

pub(crate) fn meta(ce_id: String) -> Meta {
    Meta {
        ce_id,
        workspace: Workspace::default_name(),
        age_ms: 0,
        waited_ms: 0,
        offset: None,
        reply_to: None,
        correlation_id: None,
        traceparent: None,
    }
}

/// What a read of a task asks for.
fn subject_of_task(task: &EntityId) -> Subject {
    Subject::Task(TaskKey { workspace: Workspace::default_name(), task: task.clone() })
}
