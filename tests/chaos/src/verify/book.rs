//! What the ledger says, read as a stranger reads it: from its beginning, by the counting rule.

use super::runs::{self, Runs, Turn, Turned};
use super::talks::{Awarded, Talked, Talks};
use std::collections::HashMap;
use synod_ledger::{Audit, Counting, Fold, Record, Verdict, invariants};
use synod_protocol::Timestamp;
use synod_protocol::event::What;
use synod_protocol::view::TaskStatus;

/// All shards' ledgers, as far as they have been read.
#[derive(Debug)]
pub struct Book {
    shards: Vec<Shard>,
    tasks: HashMap<String, TaskBook>,
    ended: u64,
    strange: Vec<String>,
    /// Agents that were given up, each time with why.
    lost: Vec<(String, String)>,
    talks: Talks,
    runs: Runs,
}

/// What the ledger says of one task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskBook {
    /// How often it was submitted.
    pub submitted: u32,
    /// How often it ended.
    pub ended: u32,
    /// How it ended last.
    pub status: Option<TaskStatus>,
    /// By which agent's which attempt, where it was completed.
    pub by: Option<(String, u32)>,
    /// What the completing doing called itself.
    pub nonce: Option<String>,
    /// Why it ended without a result.
    pub why: Option<String>,
    /// What it is for, as its input says.
    pub key: Option<String>,
}

/// A claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// Its offset: the epoch.
    pub epoch: u64,
    /// Who.
    pub owner: String,
    /// The broker's time of it, Unix ms.
    pub at_ms: i64,
    /// The broker's time of the first step that counts in this epoch.
    pub first_step_ms: Option<i64>,
}

/// An audit that has found nothing yet, or none.
#[derive(Debug)]
struct Watch(Option<Audit>);

impl Default for Watch {
    fn default() -> Watch {
        Watch(Some(Audit::default()))
    }
}

#[derive(Debug, Default)]
struct Shard {
    fold: Fold,
    counting: Counting,
    /// Until it has found something: what follows is not judged rightly any more.
    audit: Watch,
    /// The next offset to be read.
    next: u64,
    /// How many events each record has told, by offset; `None` where it does not count.
    told: Vec<Option<u32>>,
    /// Offsets of records in which a task, a run or an approval ended: the index of that event.
    ends: Vec<(u64, u32)>,
    /// How often each position of the commands topic was handled.
    handled: Vec<u8>,
    claims: Vec<Claimed>,
    /// The broker's times of steps that count.
    times: Vec<i64>,
    steps: u64,
    void: u64,
}

impl Book {
    /// An empty one for so many shards.
    pub fn new(shards: u32) -> Book {
        let shards = (0..shards).map(|_| Shard::default()).collect();
        Book {
            shards,
            tasks: HashMap::new(),
            ended: 0,
            strange: Vec::new(),
            lost: Vec::new(),
            talks: Talks::default(),
            runs: Runs::default(),
        }
    }

    /// Agents that were given up, each time with why.
    pub fn lost(&self) -> &[(String, String)] {
        &self.lost
    }

    /// The latest award, and what there was of negotiations so far.
    pub fn negotiations(&self) -> (Option<&Awarded>, Talked) {
        (self.talks.latest(), self.talks.talked())
    }

    /// How many turns of this kind runs of workflows have taken so far, and the latest.
    pub fn turned(&self, turn: Turn) -> (u64, Option<&Turned>) {
        self.runs.turned(turn)
    }

    pub(super) fn runs(&self) -> &Runs {
        &self.runs
    }

    pub(super) fn talks(&self) -> &Talks {
        &self.talks
    }

    /// The offset to be read next of a shard.
    pub fn next(&self, shard: u32) -> u64 {
        self.shards[shard as usize].next
    }

    /// Takes the next record of a shard.
    pub fn record(&mut self, shard: u32, offset: u64, at_ms: Option<i64>, bytes: &[u8]) {
        let book = &mut self.shards[shard as usize];
        book.next = offset + 1;
        let at = at_ms.map(Timestamp::from_millis);
        let verdict = match book.fold.record(offset, at, bytes) {
            Ok(verdict) => verdict,
            Err(error) => return self.strange.push(format!("shard {shard} at {offset}: {error}")),
        };
        book.told.resize(offset as usize + 1, None);
        let record = Record::read(bytes);
        if let Some(audit) = &mut book.audit.0 {
            let audited = match &record {
                Ok(record) => audit.record(offset, record, verdict),
                Err(_) => audit.foreign(offset),
            };
            if let Err(violation) = audited {
                self.strange.push(format!("shard {shard}: {violation}"));
                book.audit.0 = None;
            }
        }
        let Ok(record) = record else {
            book.void += 1;
            return;
        };
        if book.counting.see(offset, &record) != verdict {
            self.strange.push(format!("shard {shard} at {offset}: two readers differ on whether it counts"));
        }
        match (verdict, record) {
            (Verdict::Void, _) => book.void += 1,
            (_, Record::Claim(claim)) => {
                self.talks.claimed(shard);
                self.runs.claimed(shard);
                book.claims.push(Claimed {
                    epoch: offset,
                    owner: claim.owner,
                    at_ms: at_ms.unwrap_or_default(),
                    first_step_ms: None,
                });
            }
            (_, Record::Step(step)) => {
                book.steps += 1;
                self.talks.step(shard, &step);
                self.runs.step(shard, &step);
                book.times.extend(at_ms);
                book.told[offset as usize] = Some(step.events.len() as u32);
                if let Some(claim) = book.claims.last_mut() {
                    claim.first_step_ms = claim.first_step_ms.or(at_ms);
                }
                if let Some(position) = step.input.offset {
                    let position = position as usize;
                    if book.handled.len() <= position {
                        book.handled.resize(position + 1, 0);
                    }
                    book.handled[position] = book.handled[position].saturating_add(1);
                }
                for (index, event) in step.events.iter().enumerate() {
                    if let What::AgentLost(lost) = &event.what {
                        let why = lost.reason.clone().unwrap_or_default();
                        self.lost.push((lost.agent_id.to_string(), why));
                    }
                    let ends = one(&mut self.tasks, event.entity.as_str(), &event.what);
                    self.ended += u64::from(ends);
                    if ends || runs::is_end(&event.what) {
                        book.ends.push((offset, index as u32));
                    }
                }
            }
            #[allow(unreachable_patterns)] // images, once there are some: they repeat what steps have said
            _ => {}
        }
    }

    /// The tasks.
    pub fn tasks(&self) -> &HashMap<String, TaskBook> {
        &self.tasks
    }

    /// How many ends of tasks have been read.
    pub fn ended(&self) -> u64 {
        self.ended
    }

    /// The claims of a shard, in order.
    pub fn claims(&self, shard: u32) -> &[Claimed] {
        &self.shards[shard as usize].claims
    }

    /// How many shards there are.
    pub fn shards(&self) -> u32 {
        self.shards.len() as u32
    }

    /// Steps that count, and records that do not.
    pub fn counts(&self) -> (u64, u64) {
        self.shards.iter().fold((0, 0), |(steps, void), s| (steps + s.steps, void + s.void))
    }

    /// The broker's time of a shard's first step at or after this, Unix ms.
    pub fn first_step_after(&self, shard: u32, ms: i64) -> Option<i64> {
        let times = &self.shards[shard as usize].times;
        times.get(times.partition_point(|at| *at < ms)).copied()
    }

    /// How many events the record at this place told; `None` where it does not count.
    pub(super) fn told(&self, shard: u32, offset: u64) -> Option<u32> {
        *self.shards.get(shard as usize)?.told.get(offset as usize)?
    }

    /// Every end of a task, a run or an approval: shard, offset, index.
    pub(super) fn ends(&self) -> impl Iterator<Item = (u32, u64, u32)> {
        let all = self.shards.iter().enumerate();
        all.flat_map(|(shard, s)| s.ends.iter().map(move |(offset, index)| (shard as u32, *offset, *index)))
    }

    /// How often a position of the commands topic was handled.
    pub(super) fn handled(&self, shard: u32, position: u64) -> u8 {
        let handled = &self.shards[shard as usize].handled;
        handled.get(position as usize).copied().unwrap_or(0)
    }

    /// Positions handled more than once, and positions passed over: shard, position, how often.
    pub(super) fn mishandled(&self) -> Vec<(u32, u64, u8)> {
        let mut found = Vec::new();
        for (shard, book) in self.shards.iter().enumerate() {
            let wrong = book.handled.iter().enumerate().filter(|(_, times)| **times != 1);
            found.extend(wrong.map(|(position, times)| (shard as u32, position as u64, *times)));
        }
        found
    }

    /// What is not as a ledger should be: jumps, records that cannot be read, a state that breaks an invariant.
    pub(super) fn strange(&self) -> Vec<String> {
        let mut strange = self.strange.clone();
        for (shard, book) in self.shards.iter().enumerate() {
            if let Err(why) = invariants(book.fold.state()) {
                strange.push(format!("shard {shard}: {why}"));
            }
        }
        strange
    }
}

/// Takes an event in; whether it ends a task.
fn one(tasks: &mut HashMap<String, TaskBook>, entity: &str, what: &What) -> bool {
    let text = |value: serde_json::Value, name: &str| value[name].as_str().map(str::to_owned);
    let status = match what {
        What::TaskSubmitted(submitted) => {
            let task = tasks.entry(entity.to_owned()).or_default();
            task.submitted += 1;
            task.key = submitted.input.to().ok().and_then(|value| text(value, "key"));
            return false;
        }
        What::TaskCompleted(completed) => {
            let task = tasks.entry(entity.to_owned()).or_default();
            task.by = Some((completed.agent_id.to_string(), completed.attempt));
            task.nonce = completed.output.to().ok().and_then(|value| text(value, "nonce"));
            completed.status
        }
        What::TaskFailed(ended) | What::TaskDeadLettered(ended) => {
            tasks.entry(entity.to_owned()).or_default().why = Some(ended.error.to_string());
            ended.status
        }
        What::TaskCancelled(cancelled) => cancelled.status,
        _ => return false,
    };
    let task = tasks.entry(entity.to_owned()).or_default();
    task.ended += 1;
    task.status = Some(status);
    true
}
