//! A shard's ledger folded again, by the same core that runs in production, and checked as it goes.
//!
//! ```text
//! record ──┬─> Fold ── verdict, state ──> invariants   what must hold of a state
//!          └─> Audit                                   what must hold of the records
//! ```

use super::{Entry, Extent, Source, SourceError};
use serde::Serialize;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use synod_ledger::{Audit, Fold, Folded, Imaged, Keep, Record, State, Verdict, Window, floor_of, invariants};
use synod_protocol::view::TaskStatus;

/// Records before a violation that are told with it.
const BEFORE: usize = 8;
/// Records after it.
const AFTER: usize = 4;
/// A state is checked again after one record for so many things in it, so that checking costs no more than a few
/// times the fold.
const THINGS_PER_RECORD: usize = 64;

/// Recorded floors that are tried: a fold that begins there must come to the same state.
const FLOORS_TRIED: usize = 3;
/// Recorded floors that are remembered for that, evenly spread.
const FLOORS_KEPT: usize = 256;

/// When the state is checked; the records are judged one by one in any case, and the last state always.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// After each record while the state is small, then less and less often.
    Affordable,
    /// After every so many records, at least 1.
    Every(u64),
    /// After each record beyond this offset, and not before.
    Beyond(u64),
}

/// What came of a shard.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Replayed {
    /// Which.
    pub shard: u32,
    /// The first offset read; absent where there was none.
    pub from: Option<u64>,
    /// The last.
    pub to: Option<u64>,
    /// Records read.
    pub records: u64,
    /// Steps and images that count.
    pub counted: u64,
    /// Those that do not, others' records included.
    pub void: u64,
    /// Claims.
    pub claims: u64,
    /// The newest claim.
    pub epoch: Option<u64>,
    /// Tasks by where they stand, those that have left memory included.
    pub tasks: BTreeMap<&'static str, u64>,
    /// How often the state was checked.
    pub states_checked: u64,
    /// From how many recorded floors a second fold came to the state of the first.
    pub floors_checked: u64,
    /// The first thing found wrong.
    pub violation: Option<Found>,
}

/// Something that must not be.
#[derive(Clone, Debug, Serialize)]
pub struct Found {
    /// The record after which it was found.
    pub offset: u64,
    /// What.
    pub what: String,
    /// The last record after which the state was found right.
    pub right_until: Option<u64>,
    /// Records around it, in order.
    pub around: Vec<Near>,
}

/// A record in short.
#[derive(Clone, Debug, Serialize)]
pub struct Near {
    /// Its place.
    pub offset: u64,
    /// What it is, and what it did.
    pub what: String,
}

/// Replays what there is of a shard, and says at which record it went wrong if it did. A log that was trimmed is read from
/// the first floor that a record of it names.
///
/// # Errors
/// The source cannot be read.
pub async fn replay(source: &Source, extent: Extent, schedule: Schedule) -> Result<Replayed, SourceError> {
    let begins = match extent.from {
        0 => None,
        _ => first_floor(source, extent).await?,
    };
    let extent = Extent { from: begins.map_or(extent.from, |begin| begin.floor), ..extent };
    let run = once(source, extent, begins, schedule).await?;
    let (claim, floors) = (run.report.epoch, run.floors.clone());
    let first = run.end();
    let Some(found) = &first.violation else {
        return floors_agree(source, extent, begins, claim, &floors, first).await;
    };
    let before = found.right_until.map_or(extent.from, |right| right + 1);
    if found.offset <= before {
        return Ok(first);
    }
    // Seen late: the same again, looking at each state of the stretch in which it happened.
    let near = extent.until(Some(found.offset + AFTER as u64));
    let closer = once(source, near, begins, Schedule::Beyond(before)).await?.end();
    let violation = closer.violation.or(first.violation.clone());
    Ok(Replayed { violation, ..first })
}

async fn once(
    source: &Source,
    extent: Extent,
    begins: Option<Begin>,
    schedule: Schedule,
) -> Result<Run, SourceError> {
    let mut run = Run::new(extent.shard, begins, schedule);
    source.read(extent, |entry| run.take(entry)).await?;
    Ok(run)
}

/// Where a fold of a trimmed log begins.
#[derive(Clone, Copy, Debug)]
struct Begin {
    floor: u64,
    /// The first step that names this floor: by then everything has been met again, and not before.
    complete_at: u64,
}

/// The oldest floor that any record of a trimmed log names and that is still there; a recorded floor is always valid.
async fn first_floor(source: &Source, extent: Extent) -> Result<Option<Begin>, SourceError> {
    let mut first: Option<Begin> = None;
    let each = |entry: Entry| {
        let floor = floor_of(entry.offset, entry.bytes()).filter(|floor| *floor >= extent.from);
        if let Some(floor) = floor.filter(|floor| first.is_none_or(|first| *floor < first.floor)) {
            first = Some(Begin { floor, complete_at: entry.offset });
        }
        // None can be older than the log's own beginning.
        let found = first.is_some_and(|first| first.floor == extent.from);
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    source.read(extent, each).await?;
    Ok(first)
}

/// Whether a new owner, which folds from a floor through its claim, comes to the same state from there.
async fn floors_agree(
    source: &Source,
    extent: Extent,
    begins: Option<Begin>,
    claim: Option<u64>,
    floors: &[(u64, u64)],
    mut report: Replayed,
) -> Result<Replayed, SourceError> {
    // Those that were recorded before the newest claim, and lie beyond where this fold began.
    let Some(claim) = claim else { return Ok(report) };
    let usable =
        floors.iter().filter(|(at, floor)| *at < claim && *floor > extent.from).map(|(_, floor)| *floor);
    let mut tried: Vec<u64> = usable.collect();
    tried.dedup();
    let stride = tried.len().div_ceil(FLOORS_TRIED).max(1);
    // The newest first: the one that the claim's author used.
    let tried: Vec<u64> = tried.into_iter().rev().step_by(stride).collect();
    if tried.is_empty() {
        return Ok(report);
    }
    let through = extent.until(Some(claim));
    let whole = folded(source, through, begins).await?;
    for floor in tried {
        let other =
            folded(source, Extent { from: floor, ..through }, Some(Begin { floor, complete_at: claim }))
                .await?;
        let differs = match (&whole, &other) {
            (Ok(whole), Ok(other)) => difference(whole, other),
            (_, Err(why)) | (Err(why), _) => Some(why.clone()),
        };
        if let Some(what) = differs {
            let what = format!("from floor {floor}, the fold through the claim at {claim}: {what}");
            report.violation = Some(Found { offset: floor, what, right_until: None, around: Vec::new() });
            return Ok(report);
        }
        report.floors_checked += 1;
    }
    Ok(report)
}

async fn folded(
    source: &Source,
    extent: Extent,
    begins: Option<Begin>,
) -> Result<Result<Folded, String>, SourceError> {
    let (mut fold, mut trouble) = (fold_from(begins), None);
    let each = |entry: Entry| match fold.record(entry.offset, entry.appended_at(), entry.bytes()) {
        Ok(_) => ControlFlow::Continue(()),
        Err(error) => {
            trouble = Some(error.to_string());
            ControlFlow::Break(())
        }
    };
    source.read(extent, each).await?;
    Ok(match trouble {
        Some(why) => Err(why),
        None => fold.finish().map_err(|error| error.to_string()),
    })
}

fn fold_from(begins: Option<Begin>) -> Fold {
    match begins {
        None => Fold::whole(Keep::default()),
        Some(begin) => Fold::from_floor(Keep::default(), begin.floor),
    }
}

/// In what two folds of the same differ.
fn difference(whole: &Folded, other: &Folded) -> Option<String> {
    if whole.state == other.state && (whole.epoch, whole.now) == (other.epoch, other.now) {
        return None;
    }
    let tasks = |state: &State| state.tasks().count();
    Some(format!(
        "another state: position {} and {}, {} and {} tasks in memory, {} and {} commands had, time {} and {}",
        other.state.position(),
        whole.state.position(),
        tasks(&other.state),
        tasks(&whole.state),
        other.state.seen(),
        whole.state.seen(),
        other.now,
        whole.now,
    ))
}

/// One pass over a shard.
struct Run {
    schedule: Schedule,
    /// From here on the state is whole.
    whole_from: u64,
    fold: Fold,
    audit: Audit,
    report: Replayed,
    /// The next check comes when so many records have been read.
    next: u64,
    right_until: Option<u64>,
    /// Floors as they changed: the step that named each first, and the floor.
    floors: Vec<(u64, u64)>,
    before: VecDeque<Entry>,
    found: Option<(u64, String)>,
    after: usize,
}

impl Run {
    fn new(shard: u32, begins: Option<Begin>, schedule: Schedule) -> Run {
        Run {
            schedule,
            whole_from: begins.map_or(0, |begin| begin.complete_at),
            fold: fold_from(begins),
            audit: begins
                .map_or_else(Audit::default, |begin| Audit::from_floor(Window::default(), begin.floor)),
            report: Replayed { shard, ..Replayed::default() },
            next: 1,
            right_until: None,
            floors: Vec::new(),
            before: VecDeque::new(),
            found: None,
            after: 0,
        }
    }

    fn take(&mut self, entry: Entry) -> ControlFlow<()> {
        if self.found.is_some() {
            self.after += 1;
        } else {
            self.judge(&entry);
        }
        self.before.push_back(entry);
        if self.before.len() > BEFORE + 1 + self.after {
            self.before.pop_front();
        }
        if self.after == AFTER { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    fn judge(&mut self, entry: &Entry) {
        let offset = entry.offset;
        self.report.from.get_or_insert(offset);
        self.report.to = Some(offset);
        self.report.records += 1;
        if let Err(what) = self.folded(entry) {
            self.found = Some((offset, what));
            return;
        }
        let due = match self.schedule {
            Schedule::Affordable => self.report.records >= self.next,
            Schedule::Every(count) => self.report.records.is_multiple_of(count.max(1)),
            Schedule::Beyond(after) => offset >= after,
        };
        if due && offset >= self.whole_from {
            self.check(offset);
        }
    }

    fn folded(&mut self, entry: &Entry) -> Result<(), String> {
        let (offset, bytes) = (entry.offset, entry.bytes());
        let verdict = self.fold.record(offset, entry.appended_at(), bytes).map_err(|e| e.to_string())?;
        match verdict {
            Verdict::Claim => {
                self.report.claims += 1;
                self.report.epoch = Some(offset);
            }
            Verdict::Counts => self.report.counted += 1,
            Verdict::Void => self.report.void += 1,
        }
        let audited = match Record::read(bytes) {
            Ok(record) => {
                if let (Verdict::Counts, Record::Step(step)) = (verdict, &record) {
                    self.names(offset, step.floor);
                }
                self.audit.record(offset, &record, verdict)
            }
            Err(_) => self.audit.foreign(offset),
        };
        audited.map_err(|violation| violation.what.to_string())
    }

    /// Every other one goes when they are too many.
    fn names(&mut self, offset: u64, floor: u64) {
        if self.floors.last().is_some_and(|(_, last)| *last == floor) {
            return;
        }
        if self.floors.len() == FLOORS_KEPT {
            let mut keep = false;
            self.floors.retain(|_| {
                keep = !keep;
                keep
            });
        }
        self.floors.push((offset, floor));
    }

    fn check(&mut self, offset: u64) {
        self.report.states_checked += 1;
        let state = self.fold.state();
        let things = state.tasks().count() + state.agents().count() + state.seen();
        self.next = self.report.records + (things / THINGS_PER_RECORD).max(1) as u64;
        match invariants(state) {
            Ok(()) => self.right_until = Some(offset),
            Err(why) => self.found = Some((offset, why)),
        }
    }

    fn end(mut self) -> Replayed {
        if let (None, Some(last)) = (&self.found, self.report.to)
            && self.right_until != Some(last)
            && last >= self.whole_from
        {
            self.check(last);
        }
        let counts = |(status, count): (TaskStatus, u64)| (status.as_str(), count);
        self.report.tasks =
            self.fold.state().counts().into_iter().filter(|(_, count)| *count > 0).map(counts).collect();
        self.report.violation = self.found.map(|(offset, what)| Found {
            offset,
            what,
            right_until: self.right_until,
            around: self.before.iter().map(near).collect(),
        });
        self.report
    }
}

/// A record in short, for who looks for what went wrong.
fn near(entry: &Entry) -> Near {
    let what = match Record::read(entry.bytes()) {
        Ok(Record::Claim(claim)) => format!("claim by {}", claim.owner),
        Ok(Record::Step(step)) => {
            let mut what = format!("step {}/{} by {}", step.epoch, step.n, step.input.door.as_str());
            let mut say = |name: &str, value: Option<String>| {
                what.extend(value.map(|value| format!(", {name} {value}")));
            };
            say("position", step.input.offset.map(|offset| offset.to_string()));
            say("ce_id", step.input.ce_id.clone());
            say("refused:", step.rejected.as_ref().map(|error| error.to_string()));
            for event in &step.events {
                let ty = event.what.ce_type();
                what.push_str(&format!("; {} {}", ty.strip_prefix("synod.").unwrap_or(ty), event.entity));
            }
            what
        }
        Ok(Record::Image(image)) => {
            let of = match &image.of {
                Imaged::Shard(_) => "the shard".to_owned(),
                Imaged::Seen(seen) => format!("the commands of block {}", seen.block),
                Imaged::Task(task) => format!("task {}", task.id),
                Imaged::Agent(agent) => format!("agent {}", agent.id),
                Imaged::Negotiation(it) => format!("negotiation {}", it.id),
                Imaged::Workflow(it) => format!("workflow {}", it.id),
                Imaged::Execution(it) => format!("execution {}", it.id),
                Imaged::Approval(it) => format!("approval {}", it.id),
            };
            format!("image {}/{} of {of}", image.epoch, image.n)
        }
        Err(why) => why.to_string(),
    };
    Near { offset: entry.offset, what }
}

#[cfg(test)]
mod tests;
