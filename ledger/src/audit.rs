//! What must hold of a sequence of records, whoever wrote it; shared by the simulation and `synod replay`.
//!
//! [`crate::invariants`] looks at the state after a record, this looks at the records themselves: it takes the word of
//! neither the counting rule nor the core, and works out again from the records alone what may follow what. It keeps
//! what is live and, for the deduplication window, what has ended: memory as a shard's own, not as the ledger's length.
//!
//! ```text
//! (offset, &Record, Verdict) ──> Audit ──> Ok, or the first Violation
//! ```

mod remembered;

use crate::approvals;
use crate::counting::Verdict;
use crate::executions;
use crate::record::{Door, Image, Imaged, Record, Step, TaskImage};
use crate::seen::Window;
use remembered::Remembered;
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::event::{Event, What};
use synod_protocol::{Timestamp, Workspace};

/// What was found wrong, and at which record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset}: {what}")]
pub struct Violation {
    /// The record.
    pub offset: u64,
    /// What is wrong with it.
    pub what: Wrong,
}

/// What can be wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Records are missing, or come twice.
    #[error("it follows offset {after}")]
    Jump {
        /// The record before it.
        after: u64,
    },
    /// The rule by which records count was not kept.
    #[error(
        "it was taken as {taken:?} and is {ought:?}: the newest claim is {epoch:?}, the last number of it {n}"
    )]
    Counting {
        /// What the reader made of it.
        taken: Verdict,
        /// What it is.
        ought: Verdict,
        /// The newest claim.
        epoch: Option<u64>,
        /// The number of the last record that counts.
        n: u64,
    },
    /// A position of the commands topic was passed twice or out of order.
    #[error("it passes position {position} of the commands, and {before} was passed before it")]
    Position {
        /// What it passes.
        position: u64,
        /// What was passed last.
        before: u64,
    },
    /// A command did something a second time, or after it had been refused.
    #[error("command {ce_id:?} does something, and was had at offset {first}")]
    Again {
        /// Which.
        ce_id: String,
        /// Where it was had.
        first: u64,
    },
    /// A refusal, or what was not ours to read, did something.
    #[error("it is {0} and has events all the same")]
    Idle(&'static str),
    /// A task was submitted though it was there.
    #[error("{task} is submitted, and was at offset {first}")]
    Submitted {
        /// Which.
        task: String,
        /// Where it was.
        first: u64,
    },
    /// Something happened to a task that nobody submitted.
    #[error("{event} of {task}, which nobody submitted")]
    Nobodys {
        /// What.
        event: &'static str,
        /// Which.
        task: String,
    },
    /// An image shows something else than what happened.
    #[error("an image of {of} shows {shown}, and it is {is}")]
    Image {
        /// Of what.
        of: String,
        /// What it shows.
        shown: String,
        /// What it should.
        is: String,
    },
    /// Something happened to a task after its end.
    #[error("{event} of {task}, which ended as {ended} at offset {at}")]
    AfterTheEnd {
        /// What.
        event: &'static str,
        /// Which.
        task: String,
        /// How it ended.
        ended: &'static str,
        /// Where.
        at: u64,
    },
    /// An attempt was given twice or left out.
    #[error("attempt {attempt} of {task} is given after attempt {before}")]
    Attempt {
        /// Which.
        attempt: u32,
        /// Of what.
        task: String,
        /// The last that was given.
        before: u32,
    },
    /// The shard's time ran back.
    #[error("its time {now} is before {before}")]
    Time {
        /// Its own.
        now: Timestamp,
        /// That of the last that counts.
        before: Timestamp,
    },
    /// A fold cannot begin there.
    #[error("its floor {0} is a record that does not count")]
    Floor(u64),
    /// `done` or `floor` promises what cannot be.
    #[error("its {field} is {found}, which is not within {least} to {most}")]
    Promise {
        /// `done` or `floor`.
        field: &'static str,
        /// What it says.
        found: u64,
        /// What it may not be below.
        least: u64,
        /// What it may not be beyond.
        most: u64,
    },
}

/// Stands for a name in a workspace.
type Print = [u8; 16];

/// A task that has ended.
#[derive(Clone, Copy, Debug)]
struct Ended {
    at: u64,
    how: &'static str,
}

/// A task that has not.
#[derive(Clone, Copy, Debug)]
struct Live {
    since: u64,
    /// The last that was given; `None` while that is not known, after a floor.
    attempts: Option<u32>,
}

/// Records that are no floor, remembered at most.
const NO_FLOOR_KEPT: usize = 100_000;

/// Goes through a shard's records, from its beginning or a floor on.
#[derive(Clone, Debug)]
pub struct Audit {
    window: Window,
    /// Where it begins, if not at the ledger's beginning: what was before is not known.
    floor: Option<u64>,
    last: Option<u64>,
    epoch: Option<u64>,
    n: u64,
    position: Option<u64>,
    now: Timestamp,
    done: u64,
    /// Void records, and claims that are no birth, from the newest floor on.
    no_floor: BTreeSet<u64>,
    had: Remembered<u64>,
    live: BTreeMap<Print, Live>,
    ended: Remembered<Ended>,
}

impl Default for Audit {
    fn default() -> Audit {
        Audit::new(Window::default())
    }
}

impl Audit {
    /// Of a shard that deduplicates within this window.
    pub fn new(window: Window) -> Audit {
        Audit {
            window,
            floor: None,
            last: None,
            epoch: None,
            n: 0,
            position: None,
            now: Timestamp::default(),
            done: 0,
            no_floor: BTreeSet::new(),
            had: Remembered::default(),
            live: BTreeMap::new(),
            ended: Remembered::default(),
        }
    }

    /// The same, from a recorded floor on: the record there counts by definition, and what happens to a task that
    /// has not been met is taken as it comes.
    pub fn from_floor(window: Window, floor: u64) -> Audit {
        Audit { floor: Some(floor), ..Audit::new(window) }
    }

    /// Takes the next record, and what its reader made of it.
    ///
    /// # Errors
    /// The first thing that is wrong with it. What follows a violation is not judged rightly any more.
    pub fn record(&mut self, offset: u64, record: &Record, verdict: Verdict) -> Result<(), Violation> {
        let judged = self.follows(offset).and_then(|()| self.judged(offset, record, verdict));
        judged.map_err(|what| Violation { offset, what })
    }

    /// Takes the next record, which is none of ours, or none that this build can read and that counts.
    ///
    /// # Errors
    /// It does not follow the one before it.
    pub fn foreign(&mut self, offset: u64) -> Result<(), Violation> {
        let followed = self.follows(offset).map_err(|what| Violation { offset, what });
        self.is_no_floor(offset);
        followed
    }

    /// Tasks that have not come to a final state.
    pub fn live_tasks(&self) -> usize {
        self.live.len()
    }

    /// The offset by which the task was submitted that has been live for longest.
    pub fn oldest_live(&self) -> Option<u64> {
        self.live.values().map(|live| live.since).min()
    }

    fn follows(&mut self, offset: u64) -> Result<(), Wrong> {
        match self.last.replace(offset) {
            Some(after) if after + 1 != offset => Err(Wrong::Jump { after }),
            _ => Ok(()),
        }
    }

    fn judged(&mut self, offset: u64, record: &Record, taken: Verdict) -> Result<(), Wrong> {
        let place = match record {
            Record::Claim(_) => None,
            Record::Step(step) => Some((step.epoch, step.n)),
            Record::Image(image) => Some((image.epoch, image.n)),
        };
        let begins = self.floor == Some(offset);
        if let (true, Some((epoch, n))) = (begins, place) {
            (self.epoch, self.n) = (Some(epoch), n.saturating_sub(1));
        }
        let ought = place.map_or(Verdict::Claim, |(epoch, n)| self.numbered(epoch, n));
        if taken != ought {
            return Err(Wrong::Counting { taken, ought, epoch: self.epoch, n: self.n });
        }
        match (ought, record) {
            (Verdict::Claim, _) => {
                let birth = begins || self.floor.is_none() && self.epoch.is_none();
                (self.epoch, self.n) = (Some(offset), 0);
                if !birth {
                    self.is_no_floor(offset);
                }
            }
            (Verdict::Void, _) => self.is_no_floor(offset),
            (Verdict::Counts, Record::Step(step)) => {
                self.n += 1;
                self.step(offset, step)?;
            }
            (Verdict::Counts, Record::Image(image)) => {
                self.n += 1;
                self.image(offset, image)?;
            }
            (Verdict::Counts, Record::Claim(_)) => {}
        }
        Ok(())
    }

    fn is_no_floor(&mut self, offset: u64) {
        if self.no_floor.len() < NO_FLOOR_KEPT {
            self.no_floor.insert(offset);
        }
    }

    fn numbered(&self, epoch: u64, n: u64) -> Verdict {
        match self.epoch == Some(epoch) && n == self.n + 1 {
            true => Verdict::Counts,
            false => Verdict::Void,
        }
    }

    fn step(&mut self, offset: u64, step: &Step) -> Result<(), Wrong> {
        if step.now < self.now {
            return Err(Wrong::Time { now: step.now, before: self.now });
        }
        self.now = step.now;
        self.promises(offset, step)?;
        self.passes(step)?;
        let Some(workspace) = &step.workspace else {
            return idle(step, "of no workspace");
        };
        self.command(offset, workspace, step)?;
        for event in &step.events {
            self.event(offset, workspace, event)?;
        }
        self.had.forget(self.now, self.window);
        self.ended.forget(self.now, self.window);
        Ok(())
    }

    /// `done` never runs back, and neither it nor `floor` speaks of what is yet to come.
    fn promises(&mut self, offset: u64, step: &Step) -> Result<(), Wrong> {
        let within = |field, found: u64, least, most| match (least..=most).contains(&found) {
            true => Ok(()),
            false => Err(Wrong::Promise { field, found, least, most }),
        };
        within("done", step.done, self.done, offset)?;
        within("floor", step.floor, 0, offset)?;
        self.done = step.done;
        if self.no_floor.contains(&step.floor) {
            return Err(Wrong::Floor(step.floor));
        }
        self.no_floor = self.no_floor.split_off(&step.floor);
        Ok(())
    }

    fn passes(&mut self, step: &Step) -> Result<(), Wrong> {
        let Some(position) = step.input.offset else { return Ok(()) };
        match self.position.replace(position) {
            Some(before) if position <= before => Err(Wrong::Position { position, before }),
            _ => Ok(()),
        }
    }

    /// A command does something once, and what was refused, passed on or unreadable does nothing.
    fn command(&mut self, offset: u64, workspace: &Workspace, step: &Step) -> Result<(), Wrong> {
        let input = &step.input;
        if step.rejected.is_some() {
            idle(step, "refused")?;
        }
        if input.passed_on_to.is_some() {
            return idle(step, "passed on");
        }
        if input.poison {
            return idle(step, "unreadable");
        }
        if input.repeats.is_some() {
            return idle(step, "a repeat");
        }
        let comes_in = matches!(input.door, Door::Kafka | Door::Http) && step.is_had();
        let Some(ce_id) = input.ce_id.as_ref().filter(|_| comes_in) else {
            return Ok(());
        };
        let print = print(workspace, ce_id);
        match self.had.get(&print) {
            Some(first) if !step.events.is_empty() => {
                Err(Wrong::Again { ce_id: ce_id.clone(), first: *first })
            }
            Some(_) => Ok(()),
            None => {
                self.had.insert(self.now, print, offset);
                Ok(())
            }
        }
    }

    fn event(&mut self, offset: u64, workspace: &Workspace, event: &Event) -> Result<(), Wrong> {
        let name = event.what.ce_type();
        if crate::negotiations::is_about_one(&event.what) {
            return self.negotiation_event(offset, workspace, event);
        }
        if executions::is_about_one(&event.what) {
            return self.execution_event(offset, workspace, event);
        }
        if approvals::is_about_one(&event.what) {
            return self.approval_event(offset, workspace, event);
        }
        if !name.starts_with("synod.task.") {
            return Ok(());
        }
        let (print, task) = (print(workspace, event.entity.as_str()), || format!("task {}", event.entity));
        if matches!(event.what, What::TaskSubmitted(_)) {
            return self.begins(offset, print, 0, task);
        }
        let live = self.goes_on(offset, print, name, task)?;
        match &event.what {
            What::TaskAssigned(assigned) => {
                let before = live.attempts.replace(assigned.attempt);
                if let Some(before) = before.filter(|before| assigned.attempt != before + 1) {
                    return Err(Wrong::Attempt { attempt: assigned.attempt, task: task(), before });
                }
            }
            _ => self.ends(offset, print, &event.what),
        }
        Ok(())
    }
}

impl Audit {
    /// Something begins, once.
    fn begins(
        &mut self,
        offset: u64,
        print: Print,
        attempts: u32,
        task: impl Fn() -> String,
    ) -> Result<(), Wrong> {
        let first = self.live.get(&print).map(|live| live.since);
        if let Some(first) = first.or_else(|| self.ended.get(&print).map(|ended| ended.at)) {
            return Err(Wrong::Submitted { task: task(), first });
        }
        self.live.insert(print, Live { since: offset, attempts: Some(attempts) });
        Ok(())
    }

    /// What an event happens to: it has begun and is not over. Behind a floor it may have begun before.
    fn goes_on(
        &mut self,
        offset: u64,
        print: Print,
        event: &'static str,
        task: impl Fn() -> String,
    ) -> Result<&mut Live, Wrong> {
        if self.floor.is_some() && !self.ended.knows(&print) {
            self.live.entry(print).or_insert(Live { since: offset, attempts: None });
        }
        let ended = &self.ended;
        self.live.get_mut(&print).ok_or_else(|| match ended.get(&print) {
            Some(Ended { at, how }) => Wrong::AfterTheEnd { event, task: task(), ended: how, at: *at },
            None => Wrong::Nobodys { event, task: task() },
        })
    }

    /// It is over, if that is what happened to it.
    fn ends(&mut self, offset: u64, print: Print, what: &What) {
        if what.is_end() {
            self.live.remove(&print);
            self.ended.insert(self.now, print, Ended { at: offset, how: what.ce_type() });
        }
    }

    /// A negotiation is opened once, its rounds close one after the other, and it ends once.
    fn negotiation_event(&mut self, offset: u64, workspace: &Workspace, event: &Event) -> Result<(), Wrong> {
        let name = event.what.ce_type();
        let print = print_of(workspace, 1, event.entity.as_str());
        let task = || format!("negotiation {}", event.entity);
        if matches!(event.what, What::NegotiationOpened(_)) {
            return self.begins(offset, print, 1, task);
        }
        let live = self.goes_on(offset, print, name, task)?;
        match &event.what {
            What::NegotiationRoundClosed(closed) => {
                if let Some(open) = live.attempts.filter(|open| *open != closed.round) {
                    return Err(Wrong::Attempt { attempt: closed.round, task: task(), before: open });
                }
                live.attempts = Some(closed.next.as_ref().map_or(closed.round, |next| next.round));
            }
            _ => self.ends(offset, print, &event.what),
        }
        Ok(())
    }

    /// An execution begins once and ends once, but for a step that is retried by hand, by which it goes on.
    fn execution_event(&mut self, offset: u64, workspace: &Workspace, event: &Event) -> Result<(), Wrong> {
        let name = event.what.ce_type();
        let print = print_of(workspace, 2, event.entity.as_str());
        let execution = || format!("execution {}", event.entity);
        match &event.what {
            What::ExecutionStarted(_) => return self.begins(offset, print, 0, execution),
            // Its end may have been forgotten here and not in memory, where it stays for a time of its own.
            What::ExecutionRetried(_) if !self.live.contains_key(&print) => {
                self.ended.remove(&print);
                self.live.insert(print, Live { since: offset, attempts: None });
                return Ok(());
            }
            _ => {}
        }
        self.goes_on(offset, print, name, execution)?;
        self.ends(offset, print, &event.what);
        Ok(())
    }

    /// An approval is asked for once, and is decided once.
    fn approval_event(&mut self, offset: u64, workspace: &Workspace, event: &Event) -> Result<(), Wrong> {
        let name = event.what.ce_type();
        let print = print_of(workspace, 3, event.entity.as_str());
        let approval = || format!("approval {}", event.entity);
        if matches!(event.what, What::ApprovalRequired(_)) {
            return self.begins(offset, print, 0, approval);
        }
        self.goes_on(offset, print, name, approval)?;
        self.ends(offset, print, &event.what);
        Ok(())
    }

    /// What an image shows of something that begins and ends is what happened to it; `attempts`: as [`Live`] has it.
    fn life_image(
        &mut self,
        offset: u64,
        print: Print,
        (of, status, is_over): (String, &str, bool),
        attempts: Option<u32>,
    ) -> Result<(), Wrong> {
        let shows = |is: String| Wrong::Image { of, shown: status.to_owned(), is };
        match (self.live.get(&print), self.ended.get(&print)) {
            (Some(_), _) if is_over => Err(shows("live".to_owned())),
            (None, Some(ended)) if !is_over => Err(shows(format!("over: {}", ended.how))),
            (Some(_), _) | (None, Some(_)) => Ok(()),
            (None, None) if self.floor.is_none() && !is_over => Err(shows("nobody's".to_owned())),
            (None, None) if is_over => {
                self.ended.insert(self.now, print, Ended { at: offset, how: "an image shows" });
                Ok(())
            }
            (None, None) => {
                self.live.insert(print, Live { since: offset, attempts });
                Ok(())
            }
        }
    }

    /// What an image shows is what happened, as far as that was met.
    fn image(&mut self, offset: u64, image: &Image) -> Result<(), Wrong> {
        match &image.of {
            Imaged::Shard(shard) => match self.position.map(|last| last + 1) {
                Some(next) if next != shard.position => Err(Wrong::Image {
                    of: "the shard".to_owned(),
                    shown: format!("position {}", shard.position),
                    is: format!("at {next}"),
                }),
                Some(_) => Ok(()),
                None => {
                    self.position = shard.position.checked_sub(1);
                    Ok(())
                }
            },
            Imaged::Task(task) => self.task_image(offset, task),
            Imaged::Negotiation(it) => {
                let (status, print) = (it.state.status, print_of(&it.workspace, 1, it.id.as_str()));
                let shown = (format!("negotiation {}", it.id), status.as_str(), status.is_final());
                self.life_image(offset, print, shown, u32::try_from(it.state.rounds.len()).ok())
            }
            Imaged::Execution(it) => {
                let (status, print) = (it.state.status(), print_of(&it.workspace, 2, it.id.as_str()));
                let shown = (format!("execution {}", it.id), status.as_str(), status.is_final());
                self.life_image(offset, print, shown, None)
            }
            Imaged::Approval(it) => {
                let (status, print) = (it.state.status, print_of(&it.workspace, 3, it.id.as_str()));
                let shown = (format!("approval {}", it.id), status.as_str(), status.is_final());
                self.life_image(offset, print, shown, None)
            }
            Imaged::Agent(_) | Imaged::Seen(_) | Imaged::Workflow(_) => Ok(()),
        }
    }

    fn task_image(&mut self, offset: u64, image: &TaskImage) -> Result<(), Wrong> {
        let print = print(&image.workspace, image.id.as_str());
        let status = image.state.status;
        let attempts = u32::try_from(image.state.attempts.len()).unwrap_or(u32::MAX);
        let shows = |is: String| Wrong::Image {
            of: format!("task {}", image.id),
            shown: format!("{} after {attempts} attempts", status.as_str()),
            is,
        };
        match (self.live.get_mut(&print), self.ended.get(&print)) {
            (Some(live), _) => match live.attempts {
                _ if status.is_final() => Err(shows("live".to_owned())),
                Some(given) if given != attempts => Err(shows(format!("live after {given}"))),
                _ => {
                    live.attempts = Some(attempts);
                    Ok(())
                }
            },
            (None, Some(ended)) if !status.is_final() => Err(shows(format!("over: {}", ended.how))),
            (None, Some(_)) => Ok(()),
            (None, None) if self.floor.is_none() && !status.is_final() => Err(shows("nobody's".to_owned())),
            (None, None) if status.is_final() => {
                self.ended.insert(self.now, print, Ended { at: offset, how: "an image shows" });
                Ok(())
            }
            (None, None) => {
                self.live.insert(print, Live { since: offset, attempts: Some(attempts) });
                Ok(())
            }
        }
    }
}

fn idle(step: &Step, what: &'static str) -> Result<(), Wrong> {
    match step.events.is_empty() {
        true => Ok(()),
        false => Err(Wrong::Idle(what)),
    }
}

fn print(workspace: &Workspace, name: &str) -> Print {
    print_of(workspace, 0, name)
}

fn print_of(workspace: &Workspace, kind: u8, name: &str) -> Print {
    let mut hash = blake3::Hasher::new();
    hash.update(workspace.as_str().as_bytes()).update(&[kind]).update(name.as_bytes());
    let mut print = [0; 16];
    print.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    print
}

#[cfg(test)]
mod tests;
