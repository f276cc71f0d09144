//! The owner of a shard, as a pure machine: inputs in, appends out, and what is proven released.
//!
//! A record is proven when its own acknowledgement and that of every earlier record of the epoch carried
//! exactly the expected offset, `epoch + n`. Until then nothing leaves: effects, answers, rejections and
//! reads wait. Every doubt ends the epoch; the shell then claims anew and folds.

use crate::agenda::{Agenda, Answered, Next, Wanted};
use crate::decide::{Context, Decision, Input, Meta, decide_among};
use crate::effect::{Effect, Told, again, asked_again, effects, had, holds, shown, told};
use crate::fold::Folded;
use crate::memory::{Bases, Moved, Thing};
use crate::past::Past;
use crate::planted::{self, Bug};
use crate::recent::Recent;
use crate::record::{Door, Image, InputRef, Kind, Step, VERSION};
use crate::rules::{Rules, Try};
use crate::state::{State, TaskKey};
use crate::subject::Subject;
use crate::why::why_waiting;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use synod_fleet::Fleet;
use synod_fleet::queue::Refused;
use synod_protocol::event::What;
use synod_protocol::view::{Task, WaitsFor};
use synod_protocol::{Code, Command, EntityId, Error, Event, Json, Timestamp, Workspace, topics};

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
    /// An answer that has left memory and is to be looked for.
    Past(Ticket, Past),
    /// Work that is in force, once more; see [`Owner::redeliver`]. Not to be confirmed.
    Again(Vec<Effect>),
}

/// When who was refused for want of room may ask again, in milliseconds.
const RETRY_AFTER_MS: u64 = 1_000;

/// What an owner keeps to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest record, in bytes.
    pub record_bytes: usize,
    /// Each live thing is imaged within about so many records, so that a fold has no more than these to read; with
    /// more live things than half of it, within twice as many records as there are things.
    pub image_within: u64,
    /// What tasks that have not ended may weigh together, in bytes; over it new ones are refused as `overloaded`.
    pub live_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { record_bytes: 900 * 1024, image_within: 20_000, live_bytes: 128 << 20 }
    }
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
    /// No floor may pass this while the effects are owed.
    needs: u64,
    /// What the record's proof will do to the bases.
    moved: Vec<Moved>,
    /// The floor that it carries.
    floor: u64,
    tells: Vec<Tell>,
}

/// What waits for proof beside a record's own effects.
enum Tell {
    One(Ticket, Told),
    Again(Vec<Effect>),
}

/// The owner of one shard for one epoch.
pub struct Owner {
    shard: u32,
    epoch: u64,
    born: u64,
    state: State,
    agenda: Agenda,
    recent: Recent,
    sent: u64,
    proven: u64,
    flights: VecDeque<Flight>,
    /// Offset of each proven step with unconfirmed effects; how many, and what it needs.
    owed: BTreeMap<u64, (usize, u64)>,
    /// What the owed steps need, the least first.
    needed: BTreeSet<(u64, u64)>,
    /// The proven bases of all live things.
    bases: Bases,
    trim_to: u64,
    nothing_yet: bool,
    limits: Limits,
    /// Things whose image would be longer than a record may be; they hold the floor back.
    too_large: BTreeSet<Thing>,
    /// Why this epoch is over, once it is.
    doubt: Option<Doubt>,
    /// Who asked after that.
    stranded: Vec<Ticket>,
}

impl Owner {
    /// The owner after its fold, and what its predecessors may have left undone.
    pub fn new(shard: u32, folded: Folded, limits: Limits) -> (Owner, Vec<Released>) {
        Owner::with(shard, folded, limits, Rules::default())
    }

    /// The same, whose tasks wait by these rules.
    pub fn with(shard: u32, folded: Folded, limits: Limits, rules: Rules) -> (Owner, Vec<Released>) {
        let nothing_yet = folded.counted == 0;
        let mut owner = Owner {
            shard,
            epoch: folded.epoch,
            born: folded.born,
            agenda: Agenda::new(rules, &folded.state),
            state: folded.state,
            recent: folded.recent,
            sent: 0,
            proven: 0,
            flights: VecDeque::new(),
            owed: BTreeMap::new(),
            needed: BTreeSet::new(),
            bases: folded.bases,
            trim_to: folded.trim_to,
            nothing_yet,
            limits,
            too_large: BTreeSet::new(),
            doubt: None,
            stranded: Vec::new(),
        };
        let mut released = Vec::new();
        for owed in folded.owed {
            let told = told(&owner.state, &owner.recent, &owed.step);
            let effects = effects(&owner.state, shard, owed.offset, &owed.step, told);
            owner.release(owed.offset, owed.needs, effects, &mut released);
        }
        // Redis may have been wiped since: what is in force is handed over once more, and dropped where it is known.
        owner.redeliver(&mut released);
        (owner, released)
    }

    /// The state in memory, ahead of proof: for deciding and waking, never to be shown.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What the shard does next of its own accord: to be asked after every input, until it says `Nothing`.
    pub fn next(&mut self, now: Timestamp, fleet: &dyn Fleet, room: bool) -> Next {
        if self.doubt.is_some() {
            return Next::Nothing;
        }
        let now = now.max(self.state.now);
        self.agenda.next(&mut self.state, now, fleet, room)
    }

    /// Every command that stood in the topic when the claim was made has been handled.
    pub fn caught_up(&mut self) {
        self.agenda.caught_up();
    }

    /// Whether such commands are still to come; until then nothing is done but them.
    pub fn is_catching_up(&self) -> bool {
        self.agenda.is_catching_up()
    }

    /// Agents have come, changed or gone.
    pub fn fleet_changed(&mut self) {
        self.agenda.fleet_changed();
    }

    /// Some agent may have room that had none.
    pub fn there_is_room(&mut self) {
        self.agenda.there_is_room();
    }

    /// Why a task waits, as far as it is its shard's business; `None`: it does not wait, or is not known.
    pub fn why_waiting(&self, key: &TaskKey) -> Option<WaitsFor> {
        why_waiting(&self.state, &self.agenda, key)
    }

    /// What became of permits that were [wanted](Next::Permits). `Some` is to be handled now; whatever was granted and does not
    /// lead to an assignment is to be given back.
    pub fn answered(&mut self, wanted: &Wanted, answer: &Answered) -> Option<Input> {
        self.agenda.answered(wanted, answer).filter(|_| self.doubt.is_none())
    }

    /// The permits of this attempt were given back.
    pub fn given_back(&mut self, by: &Try) {
        self.agenda.given_back(by);
    }

    /// Whether somebody waits for permits that may come back without a word to us.
    pub fn looks(&self) -> bool {
        self.agenda.looks()
    }

    /// Permits that were out elsewhere may have come back: to be told about ten times a second while it [looks](Owner::looks).
    pub fn look_again(&mut self) {
        self.agenda.look_again();
    }

    /// Checks what must hold of the state and of who waits.
    ///
    /// # Errors
    /// What does not.
    pub fn invariants(&self) -> Result<(), String> {
        crate::invariants(&self.state)?;
        self.agenda.invariants(&self.state)
    }

    /// Whether an attempt in force holds permits.
    pub fn holds_permits(&self) -> bool {
        self.agenda.holds_permits()
    }

    /// Hands over all work in force that reaches its agent through Redis once more, and holds its permits: Redis has lost
    /// what it held.
    pub fn redeliver(&mut self, released: &mut Vec<Released>) {
        let held = self.state.holders().flat_map(|agent| self.state.held_by(agent));
        // Permits first: nobody else may take them.
        let (mut effects, mut work) = (Vec::new(), Vec::new());
        for (task, _) in held {
            effects.extend(holds(&self.state, task, self.state.now));
            work.extend(again(&self.state, self.shard, task));
        }
        effects.append(&mut work);
        for (key, it) in self.state.negotiations.timed() {
            effects.extend(asked_again(&self.state, self.shard, key, it));
        }
        match self.flights.back_mut() {
            _ if effects.is_empty() || self.doubt.is_some() => {}
            Some(flight) => flight.tells.push(Tell::Again(effects)),
            None => released.push(Released::Again(effects)),
        }
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
        if planted::is(Bug::DoneEarly) {
            return end;
        }
        self.owed.keys().next().map_or(end, |first| end.min(*first))
    }

    /// Where a fold may begin: at the least proven base, and at what the owed steps need.
    fn floor(&self) -> u64 {
        if planted::is(Bug::FloorPastLive) {
            return self.bases.greatest().unwrap_or(self.born);
        }
        let needed =
            self.needed.first().filter(|_| !planted::is(Bug::FloorPastOwed)).map(|(needs, _)| *needs);
        [self.bases.least(), needed].into_iter().flatten().min().unwrap_or(self.born)
    }

    /// The newest floor that a proven step carries: below it the ledger may be trimmed, and never beyond.
    pub fn trim_to(&self) -> u64 {
        self.trim_to
    }

    /// The offset at which the next record should land.
    pub fn next_offset(&self) -> u64 {
        self.epoch + self.sent + 1
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
        let cx = Context {
            now: cx.now.max(self.state.now),
            seed: cx.seed,
            fleet: cx.fleet,
            protocols: cx.protocols,
            definitions: cx.definitions,
        };
        // Deciding changes nothing, so a defect in it leaves everything as it was.
        let decided = catch_unwind(AssertUnwindSafe(|| {
            decide_among(&self.state, &cx, &self.agenda, self.limits.record_bytes, input)
        }));
        let mut decision = decided.unwrap_or_else(|_| Decision {
            rejected: Some(Error::new(Code::Internal, "the core could not decide this command")),
            ..Decision::default()
        });
        if self.has_no_room(&decision) {
            let why = format!("what has not ended in this shard weighs {} bytes", self.live_weight());
            decision =
                Decision { rejected: Some(Error::overloaded(why, RETRY_AFTER_MS)), ..Decision::default() };
        } else if let Err(error) = self.admit(&cx, &decision, input) {
            decision = Decision { rejected: Some(error), ..Decision::default() };
        }
        if is_recorded(input, &decision) {
            match self.append(&cx, input, &mut decision) {
                Ok((append, told)) => {
                    if let (Some(ticket), Some(flight)) = (ticket, self.flights.back_mut()) {
                        let told = if decision.repeat { told.again() } else { told };
                        flight.tells.push(Tell::One(ticket, told));
                    }
                    return Some(append);
                }
                Err(error) => decision = Decision { rejected: Some(error), ..Decision::default() },
            }
        }
        if let Some(ticket) = ticket {
            // Nothing was made where nothing was recorded.
            let told = self.tells(&decision).again();
            self.tell_one(ticket, told, released);
        }
        None
    }

    /// Whether this would be one task or negotiation too many.
    fn has_no_room(&self, decision: &Decision) -> bool {
        let first = decision.events.first().map(|event| &event.what);
        let is_new = matches!(
            first,
            Some(
                What::TaskSubmitted(_)
                    | What::NegotiationOpened(_)
                    | What::WorkflowDefined(_)
                    | What::ExecutionStarted(_)
                    | What::ApprovalRequired(_)
            )
        );
        is_new && self.live_weight() >= self.limits.live_bytes
    }

    /// What has not ended weighs so much, in bytes.
    fn live_weight(&self) -> usize {
        let State { negotiations, workflows, executions, approvals, .. } = &self.state;
        let flow = workflows.live_weight() + executions.live_weight() + approvals.live_weight();
        self.state.live_weight + negotiations.live_weight() + flow
    }

    /// Whether a new task that has to wait is taken in.
    fn admit(&self, cx: &Context<'_>, decision: &Decision, input: &Input) -> Result<(), Error> {
        let [Event { entity, what: What::TaskSubmitted(task) }] = &decision.events[..] else { return Ok(()) };
        let Input::Command { meta, .. } = input else { return Ok(()) };
        let key = TaskKey { workspace: meta.workspace.clone(), task: entity.clone() };
        self.agenda.admit(&key, task, cx.now).map_err(|refused| {
            let retry_after_ms = match refused {
                Refused::TooLate { wait_ms, left_ms, .. } => wait_ms.saturating_sub(left_ms),
                Refused::Full { .. } | Refused::WorkspaceFull { .. } => RETRY_AFTER_MS,
            };
            Error::overloaded(
                refused.to_string(),
                retry_after_ms.clamp(RETRY_AFTER_MS / 10, RETRY_AFTER_MS * 60),
            )
        })
    }

    /// What a decision tells who asked.
    fn tells(&self, decision: &Decision) -> Told {
        match (&decision.past, &decision.rejected, &decision.subject) {
            (Some(Past::Command { at }), ..) => had(&self.state, &self.recent, *at),
            (Some(past), ..) => Told::Past(past.clone()),
            (None, Some(error), _) => Told::refused(error.clone()),
            (None, None, Some(subject)) => shown(&self.state, subject),
            (None, None, None) => {
                Told::refused(Error::new(Code::Internal, "the input has no entity to show"))
            }
        }
    }

    /// Builds the step, takes it into the state and puts it in flight.
    fn append(
        &mut self,
        cx: &Context<'_>,
        input: &Input,
        decision: &mut Decision,
    ) -> Result<(Append, Told), Error> {
        let (workspace, root, mut input_ref) = written(input);
        match &decision.past {
            Some(Past::Command { at }) => input_ref.repeats = Some(*at),
            Some(Past::Again { at, body, .. }) => {
                (input_ref.repeats, input_ref.body) = (Some(*at), Some(body.clone()));
            }
            _ => {}
        }
        // What the core cannot decide is kept for people to look at.
        let is_defect = decision.rejected.as_ref().is_some_and(|e| e.code == Code::Internal);
        input_ref.poison |= is_defect && input_ref.offset.is_some();
        let floor = self.floor();
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
            floor,
            done: self.done(),
        };
        let mut bytes = write(&step)?;
        if bytes.len() > self.limits.record_bytes {
            // Never appended as it is: what it would have done is refused instead, on record.
            let error = Error::new(
                Code::PayloadTooLarge,
                format!(
                    "the ledger record would have {} bytes, the limit is {}",
                    bytes.len(),
                    self.limits.record_bytes
                ),
            );
            step.events.clear();
            match self.ends_all_the_same(input) {
                Some(end) => step.events.push(end),
                None => {
                    step.rejected = Some(error.clone());
                    *decision = Decision { rejected: Some(error), ..Decision::default() };
                }
            }
            bytes = write(&step)?;
        }
        self.sent += 1;
        let offset = self.epoch + step.n;
        let needs = self.state.needs(offset, &step);
        let moved = self.state.take(offset, &step);
        self.recent.step(&step);
        let told = self.tells(decision);
        let effects = effects(&self.state, self.shard, offset, &step, told.clone());
        if let Some(workspace) = &step.workspace {
            let mut before = None;
            for event in &step.events {
                // Most steps are about one entity, several times.
                if before.replace(&event.entity) != Some(&event.entity) {
                    let key = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
                    self.agenda.see(&self.state, &key);
                }
            }
        }
        if step.events.iter().any(|e| matches!(e.what, What::TaskReassigned(_))) {
            self.agenda.there_is_room();
        }
        self.flights.push_back(Flight {
            n: step.n,
            acked: false,
            effects,
            needs,
            moved,
            floor,
            tells: Vec::new(),
        });
        let key = step.root.unwrap_or_default();
        Ok((Append { n: step.n, key, bytes, workspace: step.workspace, events: step.events }, told))
    }

    /// A negotiation or an execution whose time is up has to end: refused, its timer would fire for ever.
    fn ends_all_the_same(&self, input: &Input) -> Option<Event> {
        if let Input::ExecutionDue(key) | Input::ExecutionGoesOn(key) = input {
            let what = self.state.execution(key)?.does_not_fit()?;
            return Some(Event { entity: key.id.clone(), what });
        }
        let Input::NegotiationDue(key) = input else { return None };
        let what = self.state.negotiation(key)?.too_large().filter(|_| !planted::is(Bug::TimerForEver))?;
        Some(Event { entity: key.negotiation.clone(), what })
    }

    /// The image of whatever has gone longest without one, if that is due; to be asked after every append.
    pub fn image(&mut self) -> Option<Append> {
        let offset = self.next_offset();
        let is_due = |base: u64| offset.saturating_sub(base) >= (self.limits.image_within / 2).max(1);
        let mut oldest = self.state.by_base.iter().take_while(|(base, _)| is_due(*base));
        let thing =
            oldest.find(|(_, thing)| !self.too_large.contains(thing)).map(|(_, thing)| thing.clone())?;
        self.append_image(&thing)
    }

    /// An image of the shard itself: a record that changes nothing, by which an idle owner learns whether it still is one.
    pub fn sign_of_life(&mut self) -> Option<Append> {
        self.append_image(&Thing::Shard)
    }

    fn append_image(&mut self, thing: &Thing) -> Option<Append> {
        if self.doubt.is_some() {
            return None;
        }
        let of = self.state.image(thing)?;
        let n = self.sent + 1;
        let image = Image { v: VERSION, kind: Kind::Image, epoch: self.epoch, n, of };
        let bytes = serde_json::to_vec(&image).ok().filter(|bytes| bytes.len() <= self.limits.record_bytes);
        let Some(bytes) = bytes else {
            self.too_large.insert(thing.clone());
            return None;
        };
        self.sent = n;
        let offset = self.epoch + n;
        let moved = self.state.imaged(thing, offset);
        let key = match thing {
            Thing::Task(key) => key.task.root().to_owned(),
            Thing::Agent(key) => key.agent.to_string(),
            Thing::Negotiation(key) => key.negotiation.root().to_owned(),
            Thing::Workflow(key) | Thing::Execution(key) | Thing::Approval(key) => key.id.root().to_owned(),
            Thing::Shard | Thing::Seen(_) => String::new(),
        };
        let (effects, tells) = (Vec::new(), Vec::new());
        self.flights.push_back(Flight { n, acked: false, effects, needs: offset, moved, floor: 0, tells });
        Some(Append { n, key, bytes, workspace: None, events: Vec::new() })
    }

    /// Things whose image would be longer than a record may be.
    pub fn too_large(&self) -> usize {
        self.too_large.len()
    }

    /// Answers a read: with what memory shows now, once all that was appended before is proven.
    pub fn read(&mut self, ticket: Ticket, subject: &Subject, released: &mut Vec<Released>) {
        let told = shown(&self.state, subject).again();
        self.tell_one(ticket, told, released);
    }

    /// Answers a read of a task, and says why it waits.
    pub fn read_task(
        &mut self,
        ticket: Ticket,
        key: &TaskKey,
        waits_for: Option<WaitsFor>,
        released: &mut Vec<Released>,
    ) {
        let waits = waits_for.and_then(|waits_for| Some((waits_for, self.state.task(key)?)));
        let Some((waits_for, task)) = waits else {
            return self.read(ticket, &Subject::Task(key.clone()), released);
        };
        let view = Task { waits_for: Some(waits_for), ..task.view(&key.workspace) };
        let json = Json::of(&view);
        let json = json.map_err(|e| Error::new(Code::Internal, format!("a task cannot be written: {e}")));
        self.tell_one(ticket, Told::Now(json.map(|json| (json, false))), released);
    }

    /// Releases an answer once all that was appended before it is proven.
    pub fn tell(&mut self, ticket: Ticket, answer: Answer, released: &mut Vec<Released>) {
        self.tell_one(ticket, Told::Now(answer), released);
    }

    fn tell_one(&mut self, ticket: Ticket, told: Told, released: &mut Vec<Released>) {
        match self.flights.back_mut() {
            _ if self.doubt.is_some() => self.stranded.push(ticket),
            Some(flight) if !planted::is(Bug::AnsweredUnproven) => flight.tells.push(Tell::One(ticket, told)),
            _ => released.push(told.to(ticket)),
        }
    }

    /// An append's acknowledgement, as it came: with an offset, without, or as a failure.
    ///
    /// # Errors
    /// The epoch is over, for good: every later call says so again. What was released before remains true.
    pub fn acked(&mut self, n: u64, outcome: Result<Option<u64>, String>) -> Result<Vec<Released>, Doubt> {
        let expected = self.epoch + n;
        let doubt = match outcome {
            Err(_) if planted::is(Bug::NumberGivenTwice) && n == self.sent => {
                self.sent -= 1;
                self.flights.pop_back();
                None
            }
            Ok(Some(_)) if planted::is(Bug::OffsetUnchecked) => None,
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
        if planted::is(Bug::ReleasedAlone)
            && let Some(flight) = self.flights.iter_mut().find(|flight| flight.n == n)
        {
            let (offset, needs, effects) =
                (self.epoch + n, flight.needs, std::mem::take(&mut flight.effects));
            self.release(offset, needs, effects, &mut released);
        }
        while self.flights.front().is_some_and(|flight| flight.acked) {
            let Some(flight) = self.flights.pop_front() else { break };
            self.proven = flight.n;
            self.nothing_yet = false;
            self.bases.take(&flight.moved);
            self.trim_to = self.trim_to.max(flight.floor);
            self.release(self.epoch + flight.n, flight.needs, flight.effects, &mut released);
            released.extend(flight.tells.into_iter().map(|tell| match tell {
                Tell::One(ticket, told) => told.to(ticket),
                Tell::Again(effects) => Released::Again(effects),
            }));
        }
        Ok(released)
    }

    fn release(&mut self, offset: u64, needs: u64, effects: Vec<Effect>, released: &mut Vec<Released>) {
        if !effects.is_empty() {
            self.owed.insert(offset, (effects.len(), needs));
            self.needed.insert((needs, offset));
            released.push(Released::Effects { offset, effects });
        }
    }

    /// So many effects of the step at `offset` have reached their receivers.
    pub fn confirmed(&mut self, offset: u64, effects: usize) {
        if let Some((left, needs)) = self.owed.get_mut(&offset) {
            *left = left.saturating_sub(effects);
            if *left == 0 {
                self.needed.remove(&(*needs, offset));
                self.owed.remove(&offset);
            }
        }
    }

    /// Everyone who waits for an answer that this epoch can no longer give.
    pub fn abandoned(self) -> impl Iterator<Item = Ticket> {
        let tells = self.flights.into_iter().flat_map(|flight| flight.tells);
        let waiting = tells.filter_map(|tell| match tell {
            Tell::One(ticket, _) => Some(ticket),
            Tell::Again(_) => None,
        });
        waiting.chain(self.stranded)
    }
}

/// Every position passed is on record, and so is every command that was not had before, whatever it came to; the
/// same command again through the quick door changes nothing and needs none.
fn is_recorded(input: &Input, decision: &Decision) -> bool {
    match input {
        Input::Command { .. } if planted::is(Bug::RefusalUnrecorded) && decision.rejected.is_some() => false,
        Input::Poison { .. } | Input::PassedOn { .. } => true,
        Input::Command { meta, .. } if meta.offset.is_some() => true,
        Input::Command { .. } => {
            let had_no_room = decision.rejected.as_ref().is_some_and(|error| error.code == Code::Overloaded);
            !had_no_room && !matches!(decision.past, Some(Past::Command { .. }))
        }
        Input::Due(_)
        | Input::Dispatch(_)
        | Input::Permitted { .. }
        | Input::HolderGone { .. }
        | Input::Unclaimed { .. }
        | Input::Judged { .. }
        | Input::NegotiationDue(_)
        | Input::ParticipantGone { .. }
        | Input::ParticipantsThere(_)
        | Input::ApprovalDue(_)
        | Input::ExecutionDue(_)
        | Input::ExecutionGoesOn(_)
        | Input::AgentDue(_)
        | Input::Forget { .. } => !decision.events.is_empty(),
    }
}

impl Told {
    fn refused(error: Error) -> Told {
        Told::Now(Err(error))
    }

    /// The same, of an entity that this command has not made.
    fn again(self) -> Told {
        match self {
            Told::Now(Ok((json, _))) => Told::Now(Ok((json, false))),
            other => other,
        }
    }

    fn to(self, ticket: Ticket) -> Released {
        match self {
            Told::Now(answer) => Released::Answer(ticket, answer),
            Told::Past(past) => Released::Past(ticket, past),
        }
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
        Input::Dispatch(key)
        | Input::Permitted { task: key, .. }
        | Input::HolderGone { task: key, .. }
        | Input::Unclaimed { task: key, .. } => {
            (Some(key.workspace.clone()), Some(key.task.root().to_owned()), InputRef::of(Door::Fleet))
        }
        Input::NegotiationDue(key) => {
            let root = key.negotiation.root().to_owned();
            (Some(key.workspace.clone()), Some(root), InputRef::of(Door::Timer))
        }
        Input::ApprovalDue(key) | Input::ExecutionDue(key) | Input::ExecutionGoesOn(key) => {
            (Some(key.workspace.clone()), Some(key.id.root().to_owned()), InputRef::of(Door::Timer))
        }
        Input::ParticipantGone { negotiation: key, .. } | Input::ParticipantsThere(key) => {
            let root = key.negotiation.root().to_owned();
            (Some(key.workspace.clone()), Some(root), InputRef::of(Door::Fleet))
        }
        Input::AgentDue(agent) | Input::Forget { agent, .. } => {
            (Some(agent.workspace.clone()), Some(agent.agent.to_string()), InputRef::of(Door::Timer))
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
        Command::OrderBreaker(c) => c.agent_id.clone().into(),
        Command::AppraiseAgent(c) => c.agent_id.clone().into(),
        Command::ReportError(c) => c.agent_id.clone().into(),
        Command::PauseFleet(_) | Command::ResumeFleet(_) => topics::FLEET_ROOT.parse().ok()?,
        Command::SubmitTask(c) => c.task_id.clone(),
        Command::StartTask(c) | Command::ProgressTask(c) => c.task_id.clone(),
        Command::CompleteTask(c) => c.task_id.clone(),
        Command::FailTask(c) | Command::DeclineTask(c) => c.task_id.clone(),
        Command::CancelTask(c) => c.task_id.clone(),
        Command::OpenNegotiation(c) => c.negotiation_id.clone(),
        Command::RespondNegotiation(c) => c.negotiation_id.clone(),
        Command::CancelNegotiation(c) => c.negotiation_id.clone(),
        Command::DefineWorkflow(c) => c.workflow_id.clone().into(),
        Command::StartExecution(c) => c.execution_id.clone().into(),
        Command::ChangeExecution(_, c) => c.execution_id.clone().into(),
        Command::SignalExecution(c) => c.execution_id.clone().into(),
        Command::RetryExecution(c) => c.execution_id.clone().into(),
        Command::RequestApproval(c) => c.approval_id.clone(),
        Command::DecideApproval(c) => c.approval_id.clone(),
        Command::ResubmitApproval(c) => c.approval_id.clone(),
    })
}
