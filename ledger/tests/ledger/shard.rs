//! A shard on the bench: its owner, its log, its fleet and its time. What is appended is acknowledged at once, unless
//! a test holds the appends itself with [`Shard::decide`].

use crate::log::{Log, read};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use synod_fleet::queue::Permit;
use synod_fleet::{AgentKey, Registry};
use synod_ledger::{
    Answer, Answered, Append, Context, Effect, EntityKey, Holding, Input, Limits as Ceilings, Meta,
    NegotiationKey, Next, Owner, Past, Released, Rules, State, Step, Subject, TaskKey, TaskState, Ticket,
    Try, Wanted, invariants,
};
use synod_protocol::event::What;
use synod_protocol::negotiation::{Ask, NegotiationStatus};
use synod_protocol::view::{Assignment, Pauses};
use synod_protocol::{
    Code, Command, ContentType, Envelope, Error, Event, Incarnation, Json, Limits, Timestamp, Workspace,
};

/// Room enough for every record here.
pub(crate) const RECORD_LIMIT: usize = 100_000;
/// What owners keep to here; nothing is imaged unless a test wants it.
pub(crate) const CEILINGS: Ceilings =
    Ceilings { record_bytes: RECORD_LIMIT, image_within: 1_000_000, live_bytes: 1 << 30 };
/// When everything begins.
pub(crate) const DAWN: i64 = 1_800_000_000_000;

pub(crate) fn at(ms: u64) -> Timestamp {
    Timestamp::from_millis(DAWN).plus_millis(ms)
}

pub(crate) fn command(ty: &str, body: &Value) -> Command {
    Command::decode(ty, ContentType::Json, body.to_string().as_bytes(), &Limits::default()).unwrap()
}

pub(crate) fn meta(ce_id: &str, offset: Option<u64>) -> Meta {
    Meta {
        ce_id: ce_id.to_owned(),
        workspace: Workspace::default_name(),
        age_ms: 0,
        waited_ms: 0,
        offset,
        reply_to: None,
        correlation_id: None,
        traceparent: None,
    }
}

pub(crate) fn task_key(id: &str) -> TaskKey {
    TaskKey { workspace: Workspace::default_name(), task: id.parse().unwrap() }
}

pub(crate) fn agent_key(id: &str) -> AgentKey {
    AgentKey { workspace: Workspace::default_name(), agent: id.parse().unwrap() }
}

pub(crate) fn negotiation_key(id: &str) -> NegotiationKey {
    NegotiationKey { workspace: Workspace::default_name(), negotiation: id.parse().unwrap() }
}

/// An agent's how-manieth process start.
pub(crate) fn start(number: u64) -> Incarnation {
    format!("0190f7a2-7c3e-7cc1-8f5e-{number:012x}").parse().unwrap()
}

/// A submission for capability `c`, with `more` over it; `null` takes a field away.
pub(crate) fn submission(id: &str, more: &Value) -> Value {
    let mut body = json!({"task_id": id, "capability": "c", "input": {"x": 1}});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

pub(crate) fn registration(id: &str, number: u64, more: &Value) -> Value {
    let mut body = json!({"agent_id": id, "incarnation": start(number).as_str(), "capabilities": ["c"]});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    body
}

/// One event, as it was told to the world.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) entity: String,
    pub(crate) ty: &'static str,
    pub(crate) what: What,
}

/// See the module.
pub(crate) struct Shard {
    pub(crate) owner: Owner,
    pub(crate) log: Log,
    pub(crate) fleet: Registry,
    pub(crate) now: Timestamp,
    /// Every event, in order.
    pub(crate) told: Vec<Told>,
    /// Work handed to agents, in order, with whom it was handed to.
    pub(crate) work: Vec<(String, Assignment)>,
    /// What participants of negotiations were asked, in order.
    pub(crate) asks: Vec<Ask>,
    /// What decisions wrote to shared state, in order: key, by whom, value.
    pub(crate) written: Vec<(String, String, Value)>,
    /// Events of decisions' own types, in order: `ce_id`, `ce_type`, value.
    pub(crate) announced: Vec<(String, String, Value)>,
    /// What was asked of entities of any shard, in order: headers and value.
    pub(crate) commands: Vec<(Envelope, Value)>,
    /// What of the fleet is paused, by the directory.
    pub(crate) pauses: Pauses,
    /// What the directory was told of workflows.
    pub(crate) workflows: Vec<synod_protocol::workflow::Workflow>,
    /// Word to agents that work is taken back, or that they stand otherwise: to whom, `ce_type`, attempt or revision.
    pub(crate) notices: Vec<(String, String, u64)>,
    /// Replies: `ce_type` and value.
    pub(crate) replies: Vec<(String, Value)>,
    /// Answers to those who waited.
    pub(crate) answers: Vec<(Ticket, Answer)>,
    /// Answers that have left memory.
    pub(crate) past: Vec<(Ticket, Past)>,
    /// Work handed over once more.
    pub(crate) again: Vec<Effect>,
    /// Who holds a permit, by its name: as Redis has it.
    pub(crate) held: BTreeMap<String, BTreeSet<Try>>,
    /// Why permits cannot be asked for.
    pub(crate) no_permits: Option<String>,
    /// How often they were.
    pub(crate) asked: usize,
    /// Whether the answers do not come.
    pub(crate) unanswered: bool,
    /// Whether the owner does not hear that its effects are performed.
    pub(crate) unheard: bool,
    pub(crate) rules: Rules,
    shadow: State,
    made: u64,
}

impl Shard {
    /// A new shard, just claimed.
    pub(crate) fn new() -> Shard {
        Shard::by(Rules::default())
    }

    /// The same, whose tasks wait by these rules.
    pub(crate) fn by(rules: Rules) -> Shard {
        let mut log = Log::default();
        log.claim("first", at(0));
        let (mut owner, _) = Owner::with(0, log.fold(), CEILINGS, rules.clone());
        owner.caught_up();
        Shard {
            owner,
            log,
            fleet: Registry::default(),
            now: at(0),
            told: Vec::new(),
            work: Vec::new(),
            asks: Vec::new(),
            written: Vec::new(),
            announced: Vec::new(),
            commands: Vec::new(),
            pauses: Pauses::default(),
            workflows: Vec::new(),
            notices: Vec::new(),
            replies: Vec::new(),
            answers: Vec::new(),
            past: Vec::new(),
            again: Vec::new(),
            held: BTreeMap::new(),
            no_permits: None,
            asked: 0,
            unanswered: false,
            unheard: false,
            rules,
            shadow: State::default(),
            made: 0,
        }
    }

    /// A new shard with these agents, each with room for one task of capability `c`.
    pub(crate) fn with(agents: &[&str]) -> Shard {
        let mut shard = Shard::new();
        for id in agents {
            shard.ask("synod.agent.register", &registration(id, 1, &json!({}))).unwrap();
        }
        shard.told.clear();
        shard
    }

    /// Decides and leaves the append to the caller.
    pub(crate) fn decide(
        &mut self,
        input: &Input,
        ticket: Option<Ticket>,
    ) -> (Option<Append>, Vec<Released>) {
        self.made += 1;
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.made.to_le_bytes());
        let mut released = Vec::new();
        let cx = Context {
            now: self.now,
            seed,
            fleet: &self.fleet,
            protocols: synod_negotiation::Protocols::standard(),
            definitions: &synod_ledger::NoDefinitions,
        };
        let append = self.owner.handle(&cx, input, ticket, &mut released);
        if let Some(append) = &append {
            self.check(append);
        }
        (append, released)
    }

    /// Each event's status is the entity's status after it, and the indexes follow from the entities.
    fn check(&mut self, append: &Append) {
        let step = read(&append.bytes);
        assert_eq!(step.events, append.events, "what is written is what happened");
        let workspace = step.workspace.clone().unwrap_or_default();
        for event in &step.events {
            let one = Step { events: vec![event.clone()], ..step.clone() };
            self.shadow.take(self.owner.epoch() + append.n, &one);
            let after = match &event.what {
                What::AgentRegistered(e) => (e.status.as_str(), self.agent_status(e.agent_id.as_str())),
                What::AgentDeregistered(e) | What::AgentLost(e) | What::AgentStatusChanged(e) => {
                    (e.status.as_str(), self.agent_status(e.agent_id.as_str()))
                }
                What::AgentAppraised(e) => (e.status.as_str(), self.agent_status(e.agent_id.as_str())),
                What::AgentBreakerOrdered(e) => (e.status.as_str(), self.agent_status(e.agent_id.as_str())),
                What::AgentRemoved(e) => {
                    assert!(self.shadow.agent(&agent_key(e.agent_id.as_str())).is_none());
                    ("", "")
                }
                What::FleetPaused(_) | What::FleetResumed(_) => ("", ""),
                what if what.ce_type().starts_with("synod.negotiation.") => {
                    let key =
                        NegotiationKey { workspace: workspace.clone(), negotiation: event.entity.clone() };
                    let said: Value = event.public_value().unwrap().to().unwrap();
                    let said: NegotiationStatus = serde_json::from_value(said["status"].clone()).unwrap();
                    (said.as_str(), self.shadow.negotiation(&key).unwrap().status.as_str())
                }
                What::WorkflowDefined(_) => ("", ""),
                what if !what.ce_type().starts_with("synod.task.") => {
                    let key = EntityKey { workspace: workspace.clone(), id: event.entity.clone() };
                    let subject = match what.ce_type().starts_with("synod.execution.") {
                        true => Subject::Execution(key),
                        false => Subject::Approval(key),
                    };
                    let said: Value = event.public_value().unwrap().to().unwrap();
                    let standing = subject.standing(&self.shadow).unwrap().status;
                    (if said["status"] == standing { standing } else { "another" }, standing)
                }
                _ => {
                    let key = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
                    (status_of(event), self.shadow.task(&key).unwrap().status.as_str())
                }
            };
            assert_eq!(after.0, after.1, "the status in {}", event.what.ce_type());
            self.count(&workspace, event);
            let ty = event.what.ce_type();
            self.told.push(Told { entity: event.entity.to_string(), ty, what: event.what.clone() });
        }
        self.owner.invariants().unwrap();
        invariants(&self.shadow).unwrap();
    }

    fn agent_status(&self, id: &str) -> &'static str {
        self.shadow.agent(&agent_key(id)).unwrap().status.as_str()
    }

    /// Tells the fleet who was given work and who is done with it.
    fn count(&mut self, workspace: &Workspace, event: &Event) {
        let Some(holding) = self.shadow.holding(workspace, event) else { return };
        let Holding { agent, incarnation, end, .. } = holding;
        match end {
            None => self.fleet.given(&agent, &incarnation, 0),
            Some(end) => self.fleet.ended(&agent, &incarnation, 0, end.outcome),
        }
    }

    /// Lets an input happen, its append acknowledged at once.
    pub(crate) fn happen(&mut self, input: &Input, ticket: Option<Ticket>) -> Option<u64> {
        let (append, released) = self.decide(input, ticket);
        self.perform(released);
        let append = append?;
        let offset = self.log.append(self.now, append.bytes);
        let released = self.owner.acked(append.n, Ok(Some(offset))).unwrap();
        self.perform(released);
        Some(offset)
    }

    /// Performs what was released, and confirms it.
    pub(crate) fn perform(&mut self, released: Vec<Released>) {
        for one in released {
            match one {
                Released::Answer(ticket, answer) => self.answers.push((ticket, answer)),
                Released::Past(ticket, past) => self.past.push((ticket, past)),
                Released::Again(effects) => self.again.extend(effects),
                Released::Effects { offset, effects } => {
                    let count = effects.len();
                    effects.into_iter().for_each(|effect| self.effect(offset, effect));
                    if !self.unheard {
                        self.owner.confirmed(offset, count);
                    }
                }
            }
        }
    }

    fn effect(&mut self, offset: u64, effect: Effect) {
        match effect {
            Effect::Publish { envelope, value, .. } => {
                assert!(!value.as_str().contains("token\""), "published: {value:?}");
                if !envelope.ty.starts_with("synod.") {
                    self.announced.push((envelope.id, envelope.ty, value.to().unwrap()));
                }
            }
            Effect::PutState { key, put, by, .. } => {
                self.written.push((key.to_string(), by.to_string(), put.value.to().unwrap()));
            }
            Effect::Deliver { envelope, value, .. } if envelope.ty == "synod.negotiation.asked" => {
                self.asks.push(value.to().unwrap());
            }
            Effect::Deliver { agent, attempt_id: Some(_), value, .. } => {
                self.work.push((agent.agent.to_string(), value.to().unwrap()));
            }
            Effect::Deliver { agent, envelope, value, .. } => {
                let value = value.to::<Value>().unwrap();
                let attempt = value["attempt"].as_u64().or(value["revision"].as_u64()).unwrap();
                self.notices.push((agent.agent.to_string(), envelope.ty, attempt));
            }
            Effect::Reply { envelope, value, .. } => self.replies.push((envelope.ty, value.to().unwrap())),
            Effect::Command { envelope, value, .. } => self.commands.push((*envelope, value.to().unwrap())),
            Effect::Directory(entry) => {
                self.fleet.learn(*entry, offset);
            }
            Effect::DirectoryRemoval(key) => {
                self.fleet.forget(&key, offset);
            }
            Effect::DirectoryWorkflow(workflow) => self.workflows.push(*workflow),
            Effect::DirectoryPauses(pauses) => self.pauses = pauses,
            Effect::ReplyPast { past, .. } => self.past.push((u64::MAX, past)),
            Effect::HoldPermits { by, permits, for_ms } => {
                assert!(for_ms >= 30_000, "{by:?} outlasts a take-over");
                for permit in permits {
                    self.held.entry(permit).or_default().insert(by.clone());
                }
            }
            Effect::GiveBack { by, permits } => {
                for permit in permits {
                    self.held.entry(permit).or_default().remove(&by);
                }
                self.owner.given_back(&by);
            }
            Effect::DeadLetter { .. } | Effect::View { .. } => {}
        }
    }

    /// Permits are taken where all coordinators take them; what leads to nothing is given back.
    fn take(&mut self, wanted: &Wanted) {
        self.asked += 1;
        if self.unanswered {
            return;
        }
        let out = |shard: &Shard, permit: &Permit| {
            shard.held.get(&permit.to_string()).map_or(0, BTreeSet::len) as u32
        };
        let none = wanted.permits.iter().find(|(permit, most)| out(self, permit) >= *most);
        let answer = match (&self.no_permits, none) {
            (Some(why), _) => Answered::Unknown(why.clone()),
            (None, Some((permit, _))) => Answered::Refused(permit.clone(), out(self, permit)),
            (None, None) => {
                for (permit, _) in &wanted.permits {
                    self.held.entry(permit.to_string()).or_default().insert(wanted.by.clone());
                }
                Answered::Granted(wanted.permits.iter().map(|(permit, _)| out(self, permit)).collect())
            }
        };
        let input = self.owner.answered(wanted, &answer);
        let assigned = input.and_then(|input| self.happen(&input, None)).is_some();
        if !assigned && matches!(answer, Answered::Granted(_)) {
            for held in self.held.values_mut() {
                held.remove(&wanted.by);
            }
        }
    }

    /// Asks through the quick door, under this `ce_id`, and is answered.
    pub(crate) fn ask_as(&mut self, ce_id: &str, ty: &str, body: &Value) -> Answer {
        let input = Input::Command { command: Box::new(command(ty, body)), meta: meta(ce_id, None) };
        let ticket = self.answers.len() as Ticket;
        self.happen(&input, Some(ticket));
        let answer = self.answers.iter().rev().find(|(to, _)| *to == ticket).expect("an answer").1.clone();
        self.settle();
        answer
    }

    /// Asks through the quick door.
    pub(crate) fn ask(&mut self, ty: &str, body: &Value) -> Answer {
        let ce_id = format!("ce-{}", self.made);
        self.ask_as(&ce_id, ty, body)
    }

    /// Asks through Kafka, from this position, with a reply asked for; says what was replied.
    pub(crate) fn ask_kafka(&mut self, ce_id: &str, offset: u64, ty: &str, body: &Value) -> (String, Value) {
        let meta =
            Meta { reply_to: Some("redis:synod:reply:x".parse().unwrap()), ..meta(ce_id, Some(offset)) };
        self.happen(&Input::Command { command: Box::new(command(ty, body)), meta }, None);
        self.settle();
        self.replies.last().expect("a reply").clone()
    }

    /// Asks where the answer may have left memory.
    pub(crate) fn happen_asked(&mut self, ty: &str, body: &Value) {
        let ce_id = format!("ce-{}", self.made);
        let input = Input::Command { command: Box::new(command(ty, body)), meta: meta(&ce_id, None) };
        self.happen(&input, Some(0));
    }

    pub(crate) fn submit(&mut self, id: &str, more: &Value) -> Answer {
        self.ask("synod.task.submit", &submission(id, more))
    }

    /// What the agent says of the work that it was last given for this task.
    pub(crate) fn result(&mut self, verb: &str, task: &str, more: &Value) -> Answer {
        let work = &self.work.iter().rev().find(|(_, w)| w.task_id.as_str() == task).expect("work").1;
        let mut body =
            json!({"task_id": task, "attempt": work.attempt, "attempt_token": work.attempt_token.clone()});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.ask(&format!("synod.task.{verb}"), &body)
    }

    /// Whoever holds the task leaves in good order.
    pub(crate) fn leave_holder(&mut self, task: &str) {
        let (agent, incarnation) = self.task(task).holder().map(|(a, i)| (a.clone(), i.clone())).unwrap();
        let leave = json!({"agent_id": agent, "reason": "goes home"});
        self.ask("synod.agent.deregister", &leave).unwrap();
        let (task, reason) = (task_key(task), format!("agent {agent} has left"));
        self.happen(&Input::HolderGone { task, incarnation, lost: false, reason }, None);
        self.settle();
    }

    /// Whoever holds the task dies, and is noticed.
    pub(crate) fn lose_holder(&mut self, task: &str) {
        let (agent, incarnation) = self.task(task).holder().map(|(a, i)| (a.clone(), i.clone())).unwrap();
        let agent = agent_key(agent.as_str());
        let held: Vec<_> = self.owner.state().held_by(&agent).map(|(key, _)| key.clone()).collect();
        let reason = "no sign of life".to_owned();
        self.happen(
            &Input::Judged { agent, incarnation: incarnation.clone(), lost: true, reason: reason.clone() },
            None,
        );
        for task in held {
            let (incarnation, reason) = (incarnation.clone(), reason.clone());
            self.happen(&Input::HolderGone { task, incarnation, lost: true, reason }, None);
        }
        self.settle();
    }

    /// Time passes; all that is due by itself happens at its own moment.
    pub(crate) fn wait(&mut self, ms: u64) {
        let until = self.now.plus_millis(ms);
        while let Some(next) = self.owner.state().next_deadline().filter(|next| *next <= until) {
            self.now = self.now.max(next);
            self.turn();
        }
        self.now = until;
    }

    /// What the shard does of its own accord.
    pub(crate) fn turn(&mut self) {
        loop {
            match self.owner.next(self.now, &self.fleet, true) {
                Next::Input(input) => {
                    let due = matches!(input, Input::Due(_));
                    let offset = self.happen(&input, None);
                    assert!(offset.is_some() || !due, "what is due is on record");
                }
                Next::Later => {}
                Next::Permits(wanted) => self.take(&wanted),
                Next::Nothing => return,
                other => panic!("{other:?}"),
            }
        }
    }

    /// Gives those who wait in lines to whoever has room, as the shell does after each change.
    pub(crate) fn settle(&mut self) {
        if self.owner.state().next_deadline().is_some_and(|due| due <= self.now) {
            // What is due in this very moment has not been looked at: the word of the fleet comes first.
            let state = self.owner.state();
            let waiting: Vec<_> =
                state.tasks().map(|(key, _)| key).filter(|key| state.waits(key)).cloned().collect();
            for key in waiting {
                self.happen(&Input::Dispatch(key), None);
            }
            return;
        }
        self.owner.there_is_room();
        loop {
            match self.owner.next(self.now, &self.fleet, true) {
                Next::Input(input) => drop(self.happen(&input, None)),
                Next::Later => {}
                Next::Permits(wanted) => self.take(&wanted),
                Next::Nothing => return,
                other => panic!("{other:?}"),
            }
        }
    }

    pub(crate) fn task(&self, id: &str) -> &TaskState {
        self.owner.state().task(&task_key(id)).expect("a task")
    }

    /// What has happened to an entity, in short: `submitted assigned completed`.
    pub(crate) fn story(&self, entity: &str) -> String {
        let short = |told: &Told| told.ty.rsplit('.').next().unwrap().to_owned();
        self.told.iter().filter(|t| t.entity == entity).map(short).collect::<Vec<_>>().join(" ")
    }

    /// Reads an entity.
    pub(crate) fn read(&mut self, subject: &Subject) -> Answer {
        let mut released = Vec::new();
        self.owner.read(u64::MAX, subject, &mut released);
        self.perform(released);
        self.answers.pop().expect("an answer").1
    }

    /// The owner dies; another claims the shard and folds. Returns what it issues again.
    pub(crate) fn succeed(&mut self) -> Vec<Released> {
        self.log.claim("another", self.now);
        let (owner, released) = Owner::with(0, self.log.fold(), CEILINGS, self.rules.clone());
        self.owner = owner;
        self.owner.caught_up();
        released
    }
}

/// The status that an event's value carries.
fn status_of(event: &Event) -> &'static str {
    match &event.what {
        What::TaskSubmitted(e) => e.status,
        What::TaskAssigned(e) => e.status,
        What::TaskStarted(e) => e.status,
        What::TaskProgressed(e) => e.status,
        What::TaskAttemptFailed(e) | What::TaskDeclined(e) => e.status,
        What::TaskRetryScheduled(e) => e.status,
        What::TaskReassigned(e) => e.status,
        What::TaskCompleted(e) => e.status,
        What::TaskFailed(e) | What::TaskDeadLettered(e) => e.status,
        What::TaskCancelled(e) => e.status,
        other => panic!("no task's event: {other:?}"),
    }
    .as_str()
}

/// The entity of an answer, and whether the command made it.
pub(crate) fn taken(answer: &Answer) -> (Value, bool) {
    let (entity, made) = answer.as_ref().expect("taken");
    (Json::to(entity).unwrap(), *made)
}

/// The code of a refusal, and the status that it carries.
pub(crate) fn refused(answer: &Answer) -> (Code, Option<&str>) {
    let Err(Error { code, status, .. }) = answer else { panic!("refused, not {answer:?}") };
    (*code, status.as_deref())
}
