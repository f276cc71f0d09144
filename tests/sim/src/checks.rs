//! What must hold of a ledger alone, whoever wrote it: pure functions over its records, from the shard's birth on.
//!
//! They follow the rules of the design and share no code with the owner or the fold, except for the state that a
//! step makes of the one before (`State::take`).

use std::collections::{BTreeMap, BTreeSet};
use synod_ledger::{Record, State, Step, invariants};
use synod_protocol::event::{Event, What};
use synod_protocol::{Code, EntityId, Timestamp, Workspace};

/// What a record is.
#[derive(Debug)]
pub enum Seen {
    /// A new epoch.
    Claim,
    /// A step that counts.
    Counts(Box<Step>),
    /// As if it were not there.
    Void,
}

/// What became of a command when it was first had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Came {
    /// It was taken.
    Taken,
    /// It was refused.
    Refused(Code),
}

/// A reader of one ledger from its birth on that believes nothing.
#[derive(Debug, Default)]
pub struct LedgerCheck {
    end: u64,
    born: Option<u64>,
    epoch: Option<u64>,
    n: u64,
    /// The state after what counts so far.
    pub state: State,
    now: Timestamp,
    position: u64,
    done: u64,
    had: BTreeMap<(Workspace, String), (Came, Option<EntityId>)>,
    ended: BTreeMap<(Workspace, EntityId), &'static str>,
    counted: u64,
    void: u64,
}

impl LedgerCheck {
    /// Takes the record at the next offset.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn see(&mut self, bytes: &[u8]) -> Result<Seen, String> {
        let offset = self.end;
        self.end += 1;
        match Record::read(bytes) {
            Ok(Record::Claim(_)) => {
                self.born.get_or_insert(offset);
                (self.epoch, self.n) = (Some(offset), 0);
                Ok(Seen::Claim)
            }
            Ok(Record::Step(step)) if self.epoch == Some(step.epoch) && step.n == self.n + 1 => {
                self.n = step.n;
                self.counted += 1;
                self.step(offset, &step).map_err(|why| format!("record {offset}: {why}"))?;
                Ok(Seen::Counts(step))
            }
            Ok(Record::Step(_)) | Err(_) => {
                self.void += 1;
                Ok(Seen::Void)
            }
        }
    }

    fn step(&mut self, offset: u64, step: &Step) -> Result<(), String> {
        ensure(step.now >= self.now, || format!("its time {} is before {}", step.now, self.now))?;
        self.now = step.now;
        ensure(step.done >= self.done && step.done <= offset, || {
            format!("done is {}, after {}", step.done, self.done)
        })?;
        self.done = step.done;
        ensure(step.floor <= offset && Some(step.floor) >= self.born, || format!("floor is {}", step.floor))?;
        self.position(step)?;
        self.command(step)?;
        for event in &step.events {
            self.end_of(step, event)?;
        }
        self.state.take(step);
        Ok(())
    }

    /// Every position of the commands topic once, none left out.
    fn position(&mut self, step: &Step) -> Result<(), String> {
        let Some(position) = step.input.offset else { return Ok(()) };
        ensure(position == self.position, || {
            format!("it has command {position}, the next is {}", self.position)
        })?;
        self.position += 1;
        Ok(())
    }

    /// One `ce_id`, one application, one answer.
    fn command(&mut self, step: &Step) -> Result<(), String> {
        let (Some(workspace), Some(ce_id)) = (&step.workspace, &step.input.ce_id) else { return Ok(()) };
        if step.input.poison || step.input.passed_on_to.is_some() {
            return ensure(step.events.is_empty(), || "what cannot be read has done something".into());
        }
        let came = step.rejected.as_ref().map_or(Came::Taken, |error| Came::Refused(error.code));
        match self.had.get(&(workspace.clone(), ce_id.clone())) {
            None => {
                let had = (came, step.input.entity.clone());
                self.had.insert((workspace.clone(), ce_id.clone()), had);
                Ok(())
            }
            Some((before, _)) => {
                ensure(step.events.is_empty(), || format!("{ce_id} is applied a second time"))?;
                ensure(*before == came, || format!("{ce_id} was {before:?} and now is {came:?}"))
            }
        }
    }

    /// One end for each task.
    fn end_of(&mut self, step: &Step, event: &Event) -> Result<(), String> {
        let how = event.what.ce_type();
        let Some(workspace) = &step.workspace else { return Err("events without a workspace".into()) };
        let key = (workspace.clone(), event.entity.clone());
        if event.what.ce_type().starts_with("synod.task.") {
            ensure(!self.ended.contains_key(&key), || {
                format!("{how} of task {}, which has ended", event.entity)
            })?;
        }
        if matches!(
            event.what,
            What::TaskCompleted(_) | What::TaskFailed(_) | What::TaskDeadLettered(_) | What::TaskCancelled(_)
        ) {
            self.ended.insert(key, how);
        }
        Ok(())
    }

    /// What became of a command.
    pub fn came(&self, workspace: &Workspace, ce_id: &str) -> Option<Came> {
        self.had.get(&(workspace.clone(), ce_id.to_owned())).map(|(came, _)| *came)
    }

    /// The entity that a command was about when it was first had.
    pub fn about(&self, workspace: &Workspace, ce_id: &str) -> Option<&EntityId> {
        self.had.get(&(workspace.clone(), ce_id.to_owned()))?.1.as_ref()
    }

    /// The latest claim.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// The first claim.
    pub fn born(&self) -> Option<u64> {
        self.born
    }

    /// The next position of the commands topic.
    pub fn next_position(&self) -> u64 {
        self.position
    }

    /// Records that counted, and that did not.
    pub fn counts(&self) -> (u64, u64) {
        (self.counted, self.void)
    }

    /// Tasks that are known and have not ended.
    pub fn live(&self) -> BTreeSet<String> {
        let live = self.state.tasks().filter(|(_, task)| !task.status.is_final());
        live.map(|(key, _)| key.task.to_string()).collect()
    }

    /// What must hold of the state.
    ///
    /// # Errors
    /// What does not.
    pub fn check_state(&self) -> Result<(), String> {
        invariants(&self.state)
    }
}

pub(crate) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// Checks a whole ledger, from its birth.
///
/// # Errors
/// The first thing found wrong, and where.
pub fn check_ledger<'a>(records: impl IntoIterator<Item = &'a [u8]>) -> Result<LedgerCheck, String> {
    let mut check = LedgerCheck::default();
    for bytes in records {
        check.see(bytes)?;
    }
    check.check_state()?;
    Ok(check)
}

/// Whether two states are the same, as far as can be told cheaply: entities one by one, and the indexes by what can be
/// asked of them. Tasks whose back-off is over may stand in their line in one and not yet in the other.
///
/// # Errors
/// The first difference.
pub fn same_state(found: &State, had: &State) -> Result<(), String> {
    ensure(found.position == had.position, || format!("position {} and {}", found.position, had.position))?;
    ensure(found.now == had.now, || format!("now {} and {}", found.now, had.now))?;
    ensure(found.counts == had.counts, || format!("counts {:?} and {:?}", found.counts, had.counts))?;
    ensure(found.seen.len() == had.seen.len(), || {
        format!("{} and {} commands had", found.seen.len(), had.seen.len())
    })?;
    let (mut theirs, mut ours) = (had.tasks(), found.tasks());
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => break,
            (a, b) if a != b => return Err(format!("task\n  {a:?}\nand\n  {b:?}")),
            _ => {}
        }
    }
    let (mut theirs, mut ours) = (had.agents(), found.agents());
    loop {
        match (ours.next(), theirs.next()) {
            (None, None) => return Ok(()),
            (a, b) if a != b => return Err(format!("agent\n  {a:?}\nand\n  {b:?}")),
            _ => {}
        }
    }
}
