//! What must hold of a ledger alone, whoever wrote it: a reader of its records from the shard's birth on, by the rules
//! of the design. What `synod replay` checks too is the core's own [`Audit`]; the rest is here.

use crate::runs::Runs;
use crate::talks::Talks;
use std::collections::{BTreeMap, BTreeSet};
use synod_ledger::{Audit, Fold, Keep, Record, State, Step, Verdict, Window, invariants};
use synod_protocol::{Code, EntityId, Timestamp, Workspace};

/// What a record is.
#[derive(Debug)]
pub enum Seen {
    /// A new epoch.
    Claim,
    /// A step that counts.
    Counts(Box<Step>),
    /// An image that counts.
    Image,
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
    /// It submitted a task that had left memory: what it comes to depends on the body of the first.
    Submitted,
}

/// A reader of one ledger from its birth on that believes nothing.
#[derive(Debug)]
pub struct LedgerCheck {
    end: u64,
    born: Option<u64>,
    epoch: Option<u64>,
    n: u64,
    /// A record of the newest epoch counts behind its place.
    displaced: bool,
    audit: Audit,
    fold: Fold,
    position: u64,
    had: BTreeMap<(Workspace, String), (Came, Option<EntityId>, Timestamp)>,
    /// Commands that came again when they were forgotten, and were refused for their age.
    too_old: BTreeSet<(Workspace, String)>,
    /// Commands for which there was no room.
    turned_away: BTreeSet<(Workspace, String)>,
    window: Window,
    ended: BTreeMap<EntityId, &'static str>,
    talks: Talks,
    runs: Runs,
    steps: u64,
    images: u64,
    claims: u64,
}

impl LedgerCheck {
    /// A reader of a shard that keeps so much in memory.
    pub fn new(keep: Keep) -> LedgerCheck {
        let window = keep.window;
        LedgerCheck {
            end: 0,
            born: None,
            epoch: None,
            n: 0,
            displaced: false,
            audit: Audit::new(window),
            fold: Fold::whole(keep),
            position: 0,
            had: BTreeMap::new(),
            too_old: BTreeSet::new(),
            turned_away: BTreeSet::new(),
            window,
            ended: BTreeMap::new(),
            talks: Talks::new(window),
            runs: Runs::new(window),
            steps: 0,
            images: 0,
            claims: 0,
        }
    }

    /// Takes the record at the next offset.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn see(&mut self, at: Timestamp, bytes: &[u8]) -> Result<Seen, String> {
        let offset = self.end;
        self.end += 1;
        let wrong = |why: String| format!("record {offset}: {why}");
        let record = Record::read(bytes).ok();
        let ought = match &record {
            Some(Record::Claim(_)) => Verdict::Claim,
            Some(Record::Step(step)) => self.numbered(step.epoch, step.n),
            Some(Record::Image(image)) => self.numbered(image.epoch, image.n),
            None => Verdict::Void,
        };
        let taken = self.fold.record(offset, Some(at), bytes).map_err(|e| wrong(e.to_string()))?;
        ensure(taken == ought, || wrong(format!("a fold takes it as {taken:?}, and it is {ought:?}")))?;
        let audited = match &record {
            Some(record) => self.audit.record(offset, record, ought),
            None => self.audit.foreign(offset),
        };
        audited.map_err(|violation| violation.to_string())?;
        match (ought, record) {
            (Verdict::Claim, _) => {
                self.born.get_or_insert(offset);
                (self.epoch, self.n, self.displaced) = (Some(offset), 0, false);
                self.claims += 1;
                Ok(Seen::Claim)
            }
            (Verdict::Counts, Some(Record::Step(step))) => {
                self.counted(offset);
                self.steps += 1;
                self.position(&step).map_err(wrong)?;
                self.command(&step).map_err(wrong)?;
                self.ends(&step);
                self.talks.see(&step, self.fold.state()).map_err(wrong)?;
                self.runs.see(&step, self.fold.state()).map_err(wrong)?;
                Ok(Seen::Counts(step))
            }
            (Verdict::Counts, Some(_)) => {
                self.counted(offset);
                self.images += 1;
                Ok(Seen::Image)
            }
            (Verdict::Counts | Verdict::Void, _) => Ok(Seen::Void),
        }
    }

    fn numbered(&self, epoch: u64, n: u64) -> Verdict {
        if self.epoch == Some(epoch) && n == self.n + 1 { Verdict::Counts } else { Verdict::Void }
    }

    fn counted(&mut self, offset: u64) {
        self.n += 1;
        self.displaced |= self.epoch.is_none_or(|epoch| epoch + self.n != offset);
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
        let input = &step.input;
        let (Some(workspace), Some(ce_id)) = (&step.workspace, &input.ce_id) else { return Ok(()) };
        let key = (workspace.clone(), ce_id.clone());
        if !step.is_had() && step.rejected.is_some() && !input.poison {
            self.turned_away.insert(key);
            return Ok(());
        }
        if input.poison || input.passed_on_to.is_some() {
            return Ok(());
        }
        let came = match (&step.rejected, input.repeats, &input.body) {
            (Some(error), ..) => Came::Refused(error.code),
            (None, Some(_), Some(_)) => Came::Submitted,
            (None, Some(_), None) => {
                return ensure(self.had.contains_key(&key), || {
                    format!("{ce_id} is called a repeat, and is none")
                });
            }
            (None, None, _) => Came::Taken,
        };
        match self.had.get(&key) {
            None => {
                self.had.insert(key, (came, input.entity.clone(), step.now));
                Ok(())
            }
            // Forgotten, and known to be too old.
            Some((_, _, at))
                if came == Came::Refused(Code::InvalidArgument)
                    && step.now.millis_since(*at) > self.window.ms =>
            {
                self.too_old.insert(key);
                Ok(())
            }
            Some((before, ..)) => Err(format!("{ce_id} was {before:?} and now is {came:?}, once more")),
        }
    }

    fn ends(&mut self, step: &Step) {
        for event in &step.events {
            let how = event.what.ce_type().strip_prefix("synod.task.");
            if let Some(how) =
                how.filter(|how| matches!(*how, "completed" | "failed" | "cancelled" | "dead_lettered"))
            {
                self.ended.insert(event.entity.clone(), how);
            }
        }
    }

    /// The state after what counts so far.
    pub fn state(&self) -> &State {
        self.fold.state()
    }

    /// What became of a command.
    pub fn came(&self, workspace: &Workspace, ce_id: &str) -> Option<Came> {
        self.had.get(&(workspace.clone(), ce_id.to_owned())).map(|(came, ..)| *came)
    }

    /// Whether a command came again when it was forgotten, and was refused for its age.
    pub fn was_too_old(&self, workspace: &Workspace, ce_id: &str) -> bool {
        self.too_old.contains(&(workspace.clone(), ce_id.to_owned()))
    }

    /// Whether there was no room for a command.
    pub fn was_turned_away(&self, workspace: &Workspace, ce_id: &str) -> bool {
        self.turned_away.contains(&(workspace.clone(), ce_id.to_owned()))
    }

    /// The entity that a command was about when it was first had.
    pub fn about(&self, workspace: &Workspace, ce_id: &str) -> Option<&EntityId> {
        self.had.get(&(workspace.clone(), ce_id.to_owned()))?.1.as_ref()
    }

    /// How a task has ended.
    pub fn ended(&self, task: &EntityId) -> Option<&'static str> {
        self.ended.get(task).copied()
    }

    /// Its negotiations.
    pub(crate) fn talks(&self) -> &Talks {
        &self.talks
    }

    /// The same, to tell of what the ledger does not know.
    pub(crate) fn talks_mut(&mut self) -> &mut Talks {
        &mut self.talks
    }

    /// Its executions.
    pub(crate) fn runs(&self) -> &Runs {
        &self.runs
    }

    /// The same, to be asked what was met.
    pub(crate) fn runs_mut(&mut self) -> &mut Runs {
        &mut self.runs
    }

    /// The latest claim.
    pub fn epoch(&self) -> Option<u64> {
        self.epoch
    }

    /// The first claim.
    pub fn born(&self) -> Option<u64> {
        self.born
    }

    /// Whether a record of the newest epoch counts behind the offset at which its author expected it.
    pub fn is_displaced(&self) -> bool {
        self.displaced
    }

    /// The next position of the commands topic.
    pub fn next_position(&self) -> u64 {
        self.position
    }

    /// Claims, steps that count, images that count, and records that do not.
    pub fn counts(&self) -> (u64, u64, u64, u64) {
        (self.claims, self.steps, self.images, self.end - self.claims - self.steps - self.images)
    }

    /// The first task, negotiation, execution or approval that is known and has not ended; an execution that waits for a signal
    /// or is paused may do so for ever.
    pub fn first_live(&self) -> Option<String> {
        let mut tasks = self.state().tasks();
        let task = tasks.find(|(_, task)| !task.status.is_final()).map(|(key, _)| &key.task);
        task.or(self.talks.first_live()).or(self.runs.first_live()).map(ToString::to_string)
    }

    /// What must hold of the state.
    ///
    /// # Errors
    /// What does not.
    pub fn check_state(&self) -> Result<(), String> {
        invariants(self.state())
    }
}

pub(crate) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(why()) }
}

/// Whether two states are the same once both have let go of what they would by their next step, and whose back-off is
/// over stands in line in both.
///
/// # Errors
/// The first difference.
pub fn same_state(found: &State, had: &State) -> Result<(), String> {
    let awake = |state: &State| {
        let mut state = state.settled();
        state.wake_retries(Timestamp::from_millis(i64::MAX));
        state
    };
    let (found, had) = (awake(found), awake(had));
    if found == had {
        return Ok(());
    }
    let (found, had) = (format!("{found:#?}"), format!("{had:#?}"));
    let (found, had): (Vec<_>, Vec<_>) = (found.lines().collect(), had.lines().collect());
    let at = found.iter().zip(&had).position(|(a, b)| a != b).unwrap_or(found.len().min(had.len()));
    let around =
        |lines: &[&str]| lines[at.saturating_sub(8).min(lines.len())..(at + 3).min(lines.len())].join("\n");
    Err(format!("\n{}\ninstead of\n{}", around(&found), around(&had)))
}
