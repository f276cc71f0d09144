//! Agents: they register, take work when they have room, and complete, fail, decline or forget it; they die in the
//! middle of it and start anew, or stand still and go on as if nothing had been.

use crate::mishap::Mishap;
use crate::node::agent_key;
use crate::party::{Purpose, Role};
use crate::plan::MS;
use crate::redis::Body;
use crate::rng::Rng;
use crate::tally::Met;
use crate::world::{Call, What, World};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use synod_ledger::TaskKey;
use synod_protocol::command::{CompleteTask, Delivery, FailTask, Failure, RegisterAgent, ReportProgress};
use synod_protocol::negotiation::Ask;
use synod_protocol::view::{Assignment, Withdrawal};
use synod_protocol::{Code, Command, EntityId, Id, Incarnation, Json, Workspace};

use crate::party::PartyDoing;

/// What tasks ask for; each agent can do all of it.
pub(crate) const CAPABILITIES: [&str; 2] = ["c", "d"];

/// Attempts that it has had are remembered, so many.
const HAD_LIMIT: usize = 1_000;

/// An agent's own.
#[derive(Debug)]
pub(crate) struct Agent {
    number: usize,
    pub(crate) id: Id,
    room: usize,
    by_kafka: bool,
    /// The attempts that it works on.
    held: BTreeMap<String, ()>,
    had: BTreeSet<String>,
    /// What came through Kafka and waits for room.
    handed: VecDeque<Body>,
    is_registered: bool,
    taking: bool,
}

/// Work in hand.
#[derive(Debug)]
pub(crate) struct Work {
    attempt_id: String,
    assignment: Assignment,
    stage: Stage,
}

#[derive(Debug, PartialEq, Eq)]
enum Stage {
    Begun,
    Result,
    SecondResult,
}

impl Agent {
    pub(crate) fn new(number: usize, rng: &mut Rng) -> Agent {
        // Nothing but letters and digits, which is an id.
        let id = format!("a{number}").parse().unwrap_or_else(|_| unreachable!());
        Agent {
            number,
            id,
            room: rng.between(1, 3) as usize,
            by_kafka: rng.happens(3_000),
            held: BTreeMap::new(),
            had: BTreeSet::new(),
            handed: VecDeque::new(),
            is_registered: false,
            taking: false,
        }
    }

    /// Whether its registration was answered.
    pub(crate) fn is_registered(&self) -> bool {
        self.is_registered
    }

    /// Its how-manieth process start.
    pub(crate) fn incarnation(&self, life: u32) -> Incarnation {
        let text = format!("0190f7a2-7c3e-7cc1-8f5e-{:04x}{life:08x}", self.number);
        text.parse().unwrap_or_else(|_| unreachable!())
    }
}

impl World {
    /// The party behind an agent's id.
    pub(crate) fn agent_of(&self, id: &str) -> Option<usize> {
        self.parties
            .iter()
            .position(|party| matches!(&party.role, Role::Agent(agent) if agent.id.as_str() == id))
    }

    /// A process start.
    pub(crate) fn start_agent(&mut self, party: usize) {
        let who = &mut self.parties[party];
        if who.up {
            return;
        }
        (who.life, who.up, who.paused_until) = (who.life + 1, true, 0);
        who.pending.clear();
        if let Some(agent) = who.agent() {
            agent.held.clear();
            agent.had.clear();
            agent.handed.clear();
            (agent.is_registered, agent.taking) = (false, false);
        }
        let life = who.life;
        self.note(None, || format!("agent a{party} starts, life {life}"));
        self.register(party);
        self.after(300 * MS, What::Party(party, life, PartyDoing::Look));
    }

    pub(crate) fn register(&mut self, party: usize) {
        let life = self.parties[party].life;
        let Some(agent) = self.parties[party].agent() else { return };
        let topic = format!("synod.inbox.{}", agent.id);
        let register = RegisterAgent {
            agent_id: agent.id.clone(),
            incarnation: agent.incarnation(life),
            capabilities: CAPABILITIES.iter().filter_map(|name| name.parse().ok()).collect(),
            max_concurrency: Some(agent.room as u32),
            labels: None,
            resources: None,
            delivery: Some(if agent.by_kafka { Delivery::Kafka { topic } } else { Delivery::Redis }),
            description: None,
        };
        self.ask(party, Command::RegisterAgent(register), Purpose::Register);
    }

    /// Its registration was answered; refused, it is of no use any more, and starts anew.
    pub(crate) fn registered(&mut self, party: usize, refused: Option<Code>) {
        if refused.is_some() {
            return self.kill_agent(party);
        }
        let life = self.parties[party].life;
        if let Some(agent) = self.parties[party].agent() {
            agent.is_registered = true;
        }
        self.after(0, What::Party(party, life, PartyDoing::Look));
    }

    pub(crate) fn kill_agent(&mut self, party: usize) {
        let who = &mut self.parties[party];
        if !who.up {
            return;
        }
        who.up = false;
        who.silent_from = self.now;
        if let Some(agent) = who.agent() {
            let id = agent.id.clone();
            self.watch.leaves(&id);
        }
        self.note(None, || format!("agent a{party} dies"));
        self.met(Met::AgentDeath);
        let soon = self.calm || self.rng.happens(4_000);
        let again = self.rng.between(1, if soon { 30 } else { 1_500 }) * MS;
        self.after(again, What::Mishap(Mishap::AgentStarts { party }));
    }

    pub(crate) fn pause_agent(&mut self, party: usize, how_long: u64) {
        let who = &mut self.parties[party];
        if who.up && who.paused_until <= self.now {
            (who.paused_until, who.silent_from) = (self.now + how_long, self.now);
            self.met(Met::AgentPause);
            self.note(None, || format!("agent a{party} stands still for {} ms", how_long / MS));
        }
    }

    /// Something has come into its inbox.
    pub(crate) fn wakes_agent(&mut self, party: usize) {
        let (delay, life) = (self.latency(), self.parties[party].life);
        self.after(delay, What::Party(party, life, PartyDoing::Took(None)));
    }

    /// A regular look, also for what a lost connection has left behind.
    pub(crate) fn look(&mut self, party: usize) {
        let life = self.parties[party].life;
        self.after(400 * MS, What::Party(party, life, PartyDoing::Look));
        if self.is_superseded(party) {
            // A registration of an earlier process start came after ours: only a later one helps.
            self.met(Met::AgentSuperseded);
            return self.kill_agent(party);
        }
        self.takes_more(party);
    }

    /// Whether the mesh knows another process start of an agent that has registered.
    fn is_superseded(&self, party: usize) -> bool {
        let Role::Agent(agent) = &self.parties[party].role else { return false };
        let key = agent_key(&agent.id);
        let state = self.watch.shard(self.shard_of(agent.id.as_str())).ledger.state();
        let ours = agent.incarnation(self.parties[party].life);
        agent.is_registered && state.agent(&key).is_some_and(|known| *known.incarnation() != ours)
    }

    fn takes_more(&mut self, party: usize) {
        let life = self.parties[party].life;
        let Some(agent) = self.parties[party].agent() else { return };
        if !agent.is_registered || agent.taking || agent.held.len() >= agent.room {
            return;
        }
        if agent.by_kafka {
            if let Some(body) = agent.handed.pop_front() {
                self.begin(party, body);
            }
            return;
        }
        agent.taking = true;
        let delay = self.latency();
        self.after(delay, What::Redis(Call::Take { agent: party, life }));
    }

    /// What it took; nothing may also mean that there is something to take now.
    pub(crate) fn took(&mut self, party: usize, body: Option<Body>) {
        let Some(agent) = self.parties[party].agent() else { return };
        match body {
            None if agent.taking => agent.taking = false,
            None => self.takes_more(party),
            Some(body) => {
                agent.taking = false;
                self.begin(party, body);
            }
        }
    }

    pub(crate) fn handed(&mut self, party: usize, body: Body) {
        let Some(agent) = self.parties[party].agent() else { return };
        agent.handed.push_back(body);
        self.takes_more(party);
    }

    /// Begins on what it has been given, or drops what it is no longer to do.
    fn begin(&mut self, party: usize, body: Body) {
        let life = self.parties[party].life;
        let Some(agent) = self.parties[party].agent() else { return };
        let Some(attempt_id) = body.attempt_id else {
            if let Ok(back) = body.value.to::<Withdrawal>() {
                agent.held.remove(&format!("{}#{}", back.task_id, back.attempt));
            }
            return self.takes_more(party);
        };
        if agent.had.len() >= HAD_LIMIT {
            agent.had.pop_first();
        }
        if !agent.had.insert(attempt_id.clone()) {
            return self.takes_more(party);
        }
        if let Ok(ask) = body.value.to::<Ask>() {
            self.is_asked(party, &ask);
            return self.takes_more(party);
        }
        let Ok(assignment) = body.value.to::<Assignment>() else { return };
        agent.held.insert(attempt_id.clone(), ());
        let takes = self.rng.between(1, if self.calm { 30 } else { 250 }) * MS;
        let stage = if self.rng.happens(4_000) { Stage::Begun } else { Stage::Result };
        let work = Work { attempt_id, assignment, stage };
        self.after(takes, What::Party(party, life, PartyDoing::Done(Box::new(work))));
        self.takes_more(party);
    }

    /// It says something of its work.
    pub(crate) fn done(&mut self, party: usize, work: Work) {
        let life = self.parties[party].life;
        let Some(agent) = self.parties[party].agent() else { return };
        if !agent.held.contains_key(&work.attempt_id) && work.stage != Stage::SecondResult {
            return;
        }
        let Assignment { task_id, attempt, attempt_token, .. } = work.assignment.clone();
        let later = self.rng.between(1, if self.calm { 20 } else { 200 }) * MS;
        if work.stage == Stage::Begun {
            let (progress, note, partial) = (self.rng.happens(5_000).then_some(0.5), None, None);
            let is_progress = progress.is_some();
            let report = ReportProgress { task_id, attempt, attempt_token, progress, note, partial };
            let command =
                if is_progress { Command::ProgressTask(report) } else { Command::StartTask(report) };
            self.ask(party, command, Purpose::Other);
            let next = Box::new(Work { stage: Stage::Result, ..work });
            return self.after(later, What::Party(party, life, PartyDoing::Done(next)));
        }
        agent.held.remove(&work.attempt_id);
        if self.rng.happens(self.plan.silent_work) {
            self.met(Met::Hung);
        } else {
            if work.stage == Stage::SecondResult {
                self.met(Met::AnsweredTwice);
            } else if self.is_over(&task_id, attempt) {
                self.met(Met::AnsweredLate);
            }
            let failure = |retryable| Failure { code: "c".into(), message: "m".into(), retryable };
            let command = if self.rng.happens(self.plan.failing_work) {
                let error = failure(!self.rng.happens(2_000));
                Command::FailTask(FailTask { task_id, attempt, attempt_token, error })
            } else if !task_id.as_str().ends_with(":then") && self.rng.happens(self.plan.declined_work) {
                Command::DeclineTask(FailTask { task_id, attempt, attempt_token, error: failure(true) })
            } else {
                let output = Json::of(&self.rng.below(1_000)).unwrap_or_default();
                Command::CompleteTask(CompleteTask {
                    task_id,
                    attempt,
                    attempt_token,
                    output,
                    confidence: None,
                    usage: None,
                })
            };
            self.ask(party, command, Purpose::Other);
        }
        if work.stage == Stage::Result && self.rng.happens(self.plan.second_results) {
            let next = Box::new(Work { stage: Stage::SecondResult, ..work });
            self.after(later, What::Party(party, life, PartyDoing::Done(next)));
        }
        self.takes_more(party);
    }

    /// Whether the ledger has another attempt of a task in force than this one, or none.
    fn is_over(&self, task: &EntityId, attempt: u32) -> bool {
        let state = self.watch.shard(self.shard_of(task.root())).ledger.state();
        let key = TaskKey { workspace: Workspace::default_name(), task: task.clone() };
        let current = state.task(&key).and_then(|task| task.current()).map(|current| current.seen.attempt);
        current != Some(attempt)
    }
}
