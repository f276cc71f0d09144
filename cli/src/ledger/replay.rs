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
use synod_ledger::{Audit, Fold, Record, Verdict, invariants};
use synod_protocol::view::TaskStatus;

/// Records before a violation that are told with it.
const BEFORE: usize = 8;
/// Records after it.
const AFTER: usize = 4;
/// A state is checked again after one record for so many things in it, so that checking costs no more than a few
/// times the fold.
const THINGS_PER_RECORD: usize = 64;

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

/// Replays what there is of a shard, and says at which record it went wrong if it did.
///
/// # Errors
/// The source cannot be read.
pub async fn replay(source: &Source, extent: Extent, schedule: Schedule) -> Result<Replayed, SourceError> {
    let first = once(source, extent, schedule).await?;
    let Some(found) = &first.violation else { return Ok(first) };
    let before = found.right_until.map_or(extent.from, |right| right + 1);
    if found.offset <= before {
        return Ok(first);
    }
    // Seen late: the same again, looking at each state of the stretch in which it happened.
    let closer =
        once(source, extent.until(Some(found.offset + AFTER as u64)), Schedule::Beyond(before)).await?;
    let violation = closer.violation.or(first.violation.clone());
    Ok(Replayed { violation, ..first })
}

async fn once(source: &Source, extent: Extent, schedule: Schedule) -> Result<Replayed, SourceError> {
    let mut run = Run::new(extent.shard, schedule);
    source.read(extent, |entry| run.take(entry)).await?;
    Ok(run.end())
}

/// One pass over a shard.
struct Run {
    schedule: Schedule,
    fold: Fold,
    audit: Audit,
    report: Replayed,
    /// The next check comes when so many records have been read.
    next: u64,
    right_until: Option<u64>,
    before: VecDeque<Entry>,
    found: Option<(u64, String)>,
    after: usize,
}

impl Run {
    fn new(shard: u32, schedule: Schedule) -> Run {
        Run {
            schedule,
            fold: Fold::default(),
            audit: Audit::default(),
            report: Replayed { shard, ..Replayed::default() },
            next: 1,
            right_until: None,
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
        if due {
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
            Ok(record) => self.audit.record(offset, &record, verdict),
            Err(_) => self.audit.foreign(offset),
        };
        audited.map_err(|violation| violation.what.to_string())
    }

    fn check(&mut self, offset: u64) {
        self.report.states_checked += 1;
        let state = self.fold.state();
        let things = state.tasks().count() + state.agents().count() + state.seen.len();
        self.next = self.report.records + (things / THINGS_PER_RECORD).max(1) as u64;
        match invariants(state) {
            Ok(()) => self.right_until = Some(offset),
            Err(why) => self.found = Some((offset, why)),
        }
    }

    fn end(mut self) -> Replayed {
        if let (None, Some(last)) = (&self.found, self.report.to)
            && self.right_until != Some(last)
        {
            self.check(last);
        }
        let counts = |(status, count): (&TaskStatus, &u64)| (status.as_str(), *count);
        self.report.tasks =
            self.fold.state().counts.iter().filter(|(_, count)| **count > 0).map(counts).collect();
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
        Err(why) => why.to_string(),
    };
    Near { offset: entry.offset, what }
}

#[cfg(test)]
mod tests;
