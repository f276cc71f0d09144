//! The owner of a shard, as a pure machine: inputs in, appends out, and what is proven released.
//!
//! A record is proven when its own acknowledgement and that of every earlier record of the epoch carried
//! exactly the expected offset, `epoch + n`. Until then nothing leaves: effects, answers, rejections and
//! reads wait. Every doubt ends the epoch; the shell then claims anew and folds.

use crate::decide::{Context, Decision, Input, Meta, Subject, decide};
use crate::effect::{Effect, effects, shown};
use crate::fold::Folded;
use crate::record::{Door, InputRef, Kind, Step, VERSION};
use crate::state::{State, answered};
use std::collections::{BTreeMap, VecDeque};
use synod_protocol::{Command, EntityId, Error, Event, Json, Timestamp, Workspace};

/// By which the shell finds who waits for an answer.
pub type Ticket = u64;

/// An answer: the entity as JSON, and whether the command made it; or the refusal.
pub type Answer = Result<(Json, bool), Error>;

/// What the shell must append to the ledger.
#[derive(Debug)]
pub struct Append {
    /// The record's number in this epoch.
    pub n: u64,
    /// The record's key.
    pub key: String,
    /// The record.
    pub bytes: Vec<u8>,
    /// The root's workspace.
    pub workspace: Option<Workspace>,
    /// What happened, for the fleet's counts: known in memory, not yet proven.
    pub events: Vec<Event>,
}

/// What has been proven and may leave.
#[derive(Debug)]
pub enum Released {
    /// What a step owes; each is to be confirmed by [`Owner::confirmed`].
    Effects {
        /// The step's offset.
        offset: u64,
        /// What it owes.
        effects: Vec<Effect>,
    },
    /// An answer to somebody who waits.
    Answer(Ticket, Answer),
}

/// Why an epoch is over.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum Doubt {
    /// Somebody else writes, or a record is missing or doubled.
    #[error("record {n} landed at offset {found}, expected {expected}: somebody else has claimed the shard")]
    UnexpectedOffset {
        /// Which record.
        n: u64,
        /// Where it should be.
        expected: u64,
        /// Where it is.
        found: u64,
    },
    /// An acknowledgement that says nothing.
    #[error("record {0} was acknowledged without an offset")]
    NoOffset(u64),
    /// Not appended, or perhaps appended.
    #[error("record {0} could not be appended: {1}")]
    NotAppended(u64, String),
}

/// A record on its way.
struct Flight {
    n: u64,
    acked: bool,
    effects: Vec<Effect>,
    answers: Vec<(Ticket, Answer)>,
}

/// The owner of one shard for one epoch.
pub struct Owner {
    shard: u32,
    epoch: u64,
    born: u64,
    state: State,
    sent: u64,
    proven: u64,
    flights: VecDeque<Flight>,
    /// Offset of each proven step with unconfirmed effects, and how many.
    owed: BTreeMap<u64, usize>,
    nothing_yet: bool,
    record_limit: usize,
    /// Why this epoch is over, once it is.
    doubt: Option<Doubt>,
    /// Who asked after that.
    stranded: Vec<Ticket>,
}

impl Owner {
    /// The owner after its fold, and what its predecessors may have left undone.
    pub fn new(shard: u32, folded: Folded, record_limit: usize) -> (Owner, Vec<Released>) {
        let nothing_yet = folded.counted == 0;
        let mut owner = Owner {
            shard,
            epoch: folded.epoch,
            born: folded.born,
            state: folded.state,
            sent: 0,
            proven: 0,
            flights: VecDeque::new(),
            owed: BTreeMap::new(),
            nothing_yet,
            record_limit,
            doubt: None,
            stranded: Vec::new(),
        };
        let mut released = Vec::new();
        for (offset, step) in folded.owed {
            let subject = answered(&owner.state, &step);
            let effects = effects(&owner.state, shard, offset, &step, subject.as_ref());
            owner.release(offset, effects, &mut released);
        }
        (owner, released)
    }

    /// The state in memory, ahead of proof: for deciding and waking, never to be shown.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Puts tasks whose back-off is over into their lines.
    pub fn wake_retries(&mut self, now: Timestamp) {
        self.state.wake_retries(now);
    }

    /// This epoch.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Records appended and not yet proven.
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// Steps whose effects are not confirmed.
    pub fn owed(&self) -> usize {
        self.owed.len()
    }

    /// Records of this epoch that are proven.
    pub fn proven(&self) -> u64 {
        self.proven
    }

    fn done(&self) -> u64 {
        let end = if self.nothing_yet { self.born } else { self.epoch + 1 + self.proven };
        self.owed.keys().next().map_or(end, |first| end.min(*first))
    }

    /// Decides an input on the state in memory. `Some` is to be appended; `None` needed no record.
    ///
    /// The answer for `ticket`, if any, is released once it may leave. After a [`Doubt`] nothing is decided any more.
    pub fn handle(
        &mut self,
        cx: &Context<'_>,
        input: &Input,
        ticket: Option<Ticket>,
        released: &mut Vec<Released>,
    ) -> Option<Append> {
        if self.doubt.is_some() {
            self.stranded.extend(ticket);
            return None;
        }
        let cx = Context { now: cx.now.max(self.state.now), seed: cx.seed, fleet: cx.fleet };
        let mut decision = decide(&self.state, &cx, input);
        if is_recorded(&self.state, input, &decision) {
            let append = self.append(&cx, input, &mut decision);
            match append {
                Ok(append) => {
                    if let (Some(ticket), Some(flight)) = (ticket, self.flights.back_mut()) {
                        let answer = answer(&self.state, &decision);
                        flight.answers.push((ticket, answer));
                    }
                    return Some(append);
                }
                Err(error) => decision = Decision { rejected: Some(error), ..Decision::default() },
            }
        }
        if let Some(ticket) = ticket {
            let answer = answer(&self.state, &decision);
            self.tell(ticket, answer, released);
        }
        None
    }

    /// Builds the step, takes it into the state and puts it in flight.
    fn append(&mut self, cx: &Context<'_>, input: &Input, decision: &mut Decision) -> Result<Append, Error> {
        let (workspace, root, input_ref) = written(input);
        let mut step = Step {
            v: VERSION,
            kind: Kind::Step,
            epoch: self.epoch,
            n: self.sent + 1,
            now: cx.now,
            workspace,
            root,
            input: input_ref,
            events: std::mem::take(&mut decision.events),
            rejected: decision.rejected.clone(),
            floor: self.born,
            done: self.done(),
        };
        let mut bytes = write(&step)?;
        if bytes.len() > self.record_limit {
            // Never appended as it is: what it would have done is refused instead, on record.
            let error = Error::new(
                synod_protocol::Code::PayloadTooLarge,
                format!(
                    "the ledger record would have {} bytes, the limit is {}",
                    bytes.len(),
                    self.record_limit
                ),
            );
            step.events.clear();
            step.rejected = Some(error.clone());
            *decision = Decision { rejected: Some(error), ..Decision::default() };
            bytes = write(&step)?;
        }
        self.sent += 1;
        self.state.take(&step);
        let subject = answered(&self.state, &step);
        let effects = effects(&self.state, self.shard, self.epoch + step.n, &step, subject.as_ref());
        self.flights.push_back(Flight { n: step.n, acked: false, effects, answers: Vec::new() });
        let key = step.root.unwrap_or_default();
        Ok(Append { n: step.n, key, bytes, workspace: step.workspace, events: step.events })
    }

    /// Answers a read: with what memory shows now, once all that was appended before is proven.
    pub fn read(&mut self, ticket: Ticket, subject: &Subject, released: &mut Vec<Released>) {
        let answer = shown(&self.state, subject).map(|json| (json, false)).map_err(|_| absent(subject));
        self.tell(ticket, answer, released);
    }

    /// Releases an answer once all that was appended before it is proven.
    pub fn tell(&mut self, ticket: Ticket, answer: Answer, released: &mut Vec<Released>) {
        match self.flights.back_mut() {
            _ if self.doubt.is_some() => self.stranded.push(ticket),
            Some(flight) => flight.answers.push((ticket, answer)),
            None => released.push(Released::Answer(ticket, answer)),
        }
    }

    /// An append's acknowledgement, as it came: with an offset, without, or as a failure.
    ///
    /// # Errors
    /// The epoch is over, for good: every later call says so again. What was released before remains true.
    pub fn acked(&mut self, n: u64, outcome: Result<Option<u64>, String>) -> Result<Vec<Released>, Doubt> {
        let expected = self.epoch + n;
        let doubt = match outcome {
            Err(why) => Some(Doubt::NotAppended(n, why)),
            Ok(None) => Some(Doubt::NoOffset(n)),
            Ok(Some(found)) if found != expected => Some(Doubt::UnexpectedOffset { n, expected, found }),
            Ok(Some(_)) => None,
        };
        self.doubt = self.doubt.take().or(doubt);
        if let Some(doubt) = &self.doubt {
            return Err(doubt.clone());
        }
        if let Some(index) = n.checked_sub(self.proven + 1)
            && let Some(flight) = self.flights.get_mut(index as usize)
        {
            flight.acked = true;
        }
        let mut released = Vec::new();
        while self.flights.front().is_some_and(|flight| flight.acked) {
            let Some(flight) = self.flights.pop_front() else { break };
            self.proven = flight.n;
            self.nothing_yet = false;
            self.release(self.epoch + flight.n, flight.effects, &mut released);
            released
                .extend(flight.answers.into_iter().map(|(ticket, answer)| Released::Answer(ticket, answer)));
        }
        Ok(released)
    }

    fn release(&mut self, offset: u64, effects: Vec<Effect>, released: &mut Vec<Released>) {
        if !effects.is_empty() {
            self.owed.insert(offset, effects.len());
            released.push(Released::Effects { offset, effects });
        }
    }

    /// So many effects of the step at `offset` have reached their receivers.
    pub fn confirmed(&mut self, offset: u64, effects: usize) {
        if let Some(left) = self.owed.get_mut(&offset) {
            *left = left.saturating_sub(effects);
            if *left == 0 {
                self.owed.remove(&offset);
            }
        }
    }

    /// Everyone who waits for an answer that this epoch can no longer give.
    pub fn abandoned(self) -> impl Iterator<Item = Ticket> {
        let waiting = self.flights.into_iter().flat_map(|flight| flight.answers).map(|(ticket, _)| ticket);
        waiting.chain(self.stranded)
    }
}

/// Every position passed is on record, and so is every command that was not had before, whatever it came to; the
/// same command again through the quick door changes nothing and needs none.
fn is_recorded(state: &State, input: &Input, decision: &Decision) -> bool {
    match input {
        Input::Poison { .. } | Input::PassedOn { .. } => true,
        Input::Command { meta, .. } if meta.offset.is_some() => true,
        Input::Command { meta, .. } => state.seen.get(&meta.workspace, &meta.ce_id).is_none(),
        Input::Due(_) | Input::Dispatch(_) | Input::HolderGone { .. } | Input::Judged { .. } => {
            !decision.events.is_empty()
        }
    }
}

fn answer(state: &State, decision: &Decision) -> Answer {
    match (&decision.rejected, &decision.subject) {
        (Some(error), _) => Err(error.clone()),
        (None, Some(subject)) => shown(state, subject).map(|json| (json, !decision.repeat)),
        (None, None) => Err(Error::new(synod_protocol::Code::Internal, "the input has no entity to show")),
    }
}

fn absent(subject: &Subject) -> Error {
    match subject {
        Subject::Task(key) => Error::not_found("task", key.task.as_str()),
        Subject::Agent(key) => Error::not_found("agent", key.agent.as_str()),
    }
}

fn write(step: &Step) -> Result<Vec<u8>, Error> {
    serde_json::to_vec(step)
        .map_err(|e| Error::new(synod_protocol::Code::Internal, format!("a step cannot be written: {e}")))
}

/// What a step says of its input.
fn written(input: &Input) -> (Option<Workspace>, Option<String>, InputRef) {
    let of_meta = |meta: &Meta| InputRef {
        ce_id: Some(meta.ce_id.clone()),
        offset: meta.offset,
        reply_to: meta.reply_to.clone(),
        correlation_id: meta.correlation_id.clone(),
        traceparent: meta.traceparent.clone(),
        ..InputRef::of(if meta.offset.is_some() { Door::Kafka } else { Door::Http })
    };
    match input {
        Input::Command { command, meta } => {
            let entity = entity_of(command);
            let input = InputRef { ty: Some(command.ce_type().to_owned()), entity, ..of_meta(meta) };
            (Some(meta.workspace.clone()), Some(command.root().to_owned()), input)
        }
        Input::Poison { offset, meta, .. } => {
            let read = meta.as_ref().map_or_else(|| InputRef::of(Door::Kafka), of_meta);
            let workspace = meta.as_ref().map(|m| m.workspace.clone());
            (workspace, None, InputRef { offset: Some(*offset), poison: true, ..read })
        }
        Input::PassedOn { offset, partition } => {
            let input = InputRef {
                offset: Some(*offset),
                passed_on_to: Some(*partition),
                ..InputRef::of(Door::Kafka)
            };
            (None, None, input)
        }
        Input::Due(key) => {
            (Some(key.workspace.clone()), Some(key.task.root().to_owned()), InputRef::of(Door::Timer))
        }
        Input::Dispatch(key) | Input::HolderGone { task: key, .. } => {
            (Some(key.workspace.clone()), Some(key.task.root().to_owned()), InputRef::of(Door::Fleet))
        }
        Input::Judged { agent, .. } => {
            (Some(agent.workspace.clone()), Some(agent.agent.to_string()), InputRef::of(Door::Fleet))
        }
    }
}

fn entity_of(command: &Command) -> Option<EntityId> {
    Some(match command {
        Command::RegisterAgent(c) => c.agent_id.clone().into(),
        Command::ChangeAgent(_, c) => c.agent_id.clone().into(),
        Command::SubmitTask(c) => c.task_id.clone(),
        Command::StartTask(c) | Command::ProgressTask(c) => c.task_id.clone(),
        Command::CompleteTask(c) => c.task_id.clone(),
        Command::FailTask(c) | Command::DeclineTask(c) => c.task_id.clone(),
        Command::CancelTask(c) => c.task_id.clone(),
    })
}
