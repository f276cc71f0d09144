//! One run of a workflow, as a state machine.
//!
//! [`Run::decide`] takes what happened and says in events ([`What`](synod_protocol::event::What)) what follows; the state changes by [`Run::apply`] alone, so
//! that a run folded from its events is the run itself. Time is an argument.
//!
//! ```text
//!   Input ──▶ decide ──▶ whats ──▶ apply ──▶ doings ──▶ index (what may start, what is over, what is due)
//!                └─────▶ asks, taken_back: what others are to do, or not to do any more
//! ```
//!
//! It always ends: a step whose dependency failed or was cancelled is cancelled; what a block leaves over when it is over is
//! skipped; so everything that somebody waits for is over some day, but for a signal or an approval without a time limit.
//!
//! What one input does is bounded, since it has to fit into one record of the ledger: what is left is done by
//! [`Input::GoOn`]. The output of a block is in no event: it follows from those of its steps.

mod again;
mod apply;
mod asks;
mod block;
mod child;
mod decide;
mod doing;
mod finish;
mod image;
mod index;
mod record;
mod start;
mod values;
mod view;
mod words;

pub use child::{Child, ChildKind};
pub use decide::{BYTES, carried_by};
pub use words::{Ask, Input, Opening, Outcome, Request, Revision};

use crate::workflow::Workflow;
use doing::{Doing, Held, Past};
use index::Index;
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use synod_protocol::command::Failure;
use synod_protocol::workflow::{ExecutionStarted, ExecutionStatus, Usage};
use synod_protocol::{EntityId, Json, Timestamp};

/// Bytes of all results in one run, what its maps go over included: 8 MiB. With more it fails as `run_too_large`.
pub const RESULTS_BYTES: usize = 8 * 1024 * 1024;
/// Doings of steps in one run: 100,000. With more it fails as `run_too_large`.
pub const DOINGS_MAX: usize = 100_000;
/// Tasks and negotiations of one run that may be under way at once where its definition does not say: 1,000.
pub const CONCURRENCY: u32 = 1_000;
/// Approvals of one run that may be pending at once: 500. They do not count for its concurrency.
pub const APPROVALS: u32 = 500;
/// Milliseconds that one attempt may take where neither its step nor its run has a time limit: 24 hours. Otherwise it is what is
/// left of that, 7 days at most.
pub const ATTEMPT_MS: u64 = 24 * 3_600_000;

/// One doing of a step: its number in the document, and in each `map` around it, from the outside in, for which item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The step's number.
    pub step: usize,
    /// For which items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<u32>,
}

/// One run. Cheap to clone: copies share what they have in common.
#[derive(Clone)]
pub struct Run {
    workflow: Workflow,
    started: Arc<ExecutionStarted>,
    input: Held,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    status: ExecutionStatus,
    paused_because: Option<String>,
    output: Option<Json>,
    output_left_out: bool,
    failure: Option<Failure>,
    /// Attempts that were begun, waits included.
    attempts: u64,
    usage: Usage,
    /// It was resumed: its budget counts no more.
    budget_lifted: bool,
    doings: RedBlackTreeMapSync<Key, Doing>,
    /// Of those that are to begin anew.
    past: RedBlackTreeMapSync<Key, Past>,
    /// What follows from the rest.
    index: Index,
}

impl fmt::Debug for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Run")
            .field("id", &self.started.execution_id)
            .field("hash", &self.workflow.hash())
            .field("status", &self.status)
            .field("failure", &self.failure)
            .field("doings", &self.doings.iter().collect::<Vec<_>>())
            .field("past", &self.past.iter().collect::<Vec<_>>())
            .field("index", &self.index)
            .finish_non_exhaustive()
    }
}

/// Two runs are equal if they stand alike and what follows from that does too.
impl PartialEq for Run {
    fn eq(&self, other: &Run) -> bool {
        self.workflow.hash() == other.workflow.hash()
            && self.started == other.started
            && (self.started_at, self.ended_at, self.status)
                == (other.started_at, other.ended_at, other.status)
            && self.paused_because == other.paused_because
            && (&self.output, self.output_left_out) == (&other.output, other.output_left_out)
            && self.failure == other.failure
            && (self.attempts, self.usage, self.budget_lifted)
                == (other.attempts, other.usage, other.budget_lifted)
            && self.doings == other.doings
            && self.past == other.past
            && self.index == other.index
    }
}

impl Run {
    /// The state right after a run began, by the event that says so.
    pub fn new(started: &ExecutionStarted, workflow: &Workflow, now: Timestamp) -> Run {
        let mut run = Run {
            workflow: workflow.clone(),
            input: Held::new(started.input.clone()),
            started: Arc::new(started.clone()),
            started_at: now,
            ended_at: None,
            status: started.status,
            paused_because: None,
            output: None,
            output_left_out: false,
            failure: None,
            attempts: 0,
            usage: Usage::default(),
            budget_lifted: false,
            doings: RedBlackTreeMapSync::new_sync(),
            past: RedBlackTreeMapSync::new_sync(),
            index: Index::default(),
        };
        run.rebuild();
        run
    }

    /// How it stands.
    pub fn status(&self) -> ExecutionStatus {
        self.status
    }

    /// As it was started.
    pub fn started(&self) -> &ExecutionStarted {
        &self.started
    }

    /// When it began.
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// When it was over.
    pub fn ended_at(&self) -> Option<Timestamp> {
        self.ended_at
    }

    /// Labels to find it by.
    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.started.labels
    }

    /// Its workflow.
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// Takes another copy of the same workflow for its own, so that many runs hold one. One with another hash is left aside.
    pub fn share(&mut self, workflow: &Workflow) {
        if workflow.hash() == self.workflow.hash() {
            self.workflow = workflow.clone();
            if self.started.definition.as_str() == workflow.document().as_str() {
                Arc::make_mut(&mut self.started).definition = workflow.document().clone();
            }
        }
    }

    /// Which child an id names, be it under way, over or still to come; none where no doing of a step has such a child.
    pub fn child(&self, id: &EntityId) -> Option<Child> {
        Child::read(&self.workflow, &self.started.execution_id, id)
    }

    /// A step's doing for these items, whether or not it has begun; none where there is no such step, or it stands in more or
    /// fewer maps.
    pub fn key(&self, step: &str, items: &[u32]) -> Option<Key> {
        let step = self.workflow.number(step)?;
        (items.len() == self.workflow.maps_around(step)).then(|| Key { step, items: items.to_vec() })
    }

    /// Whether something could happen now that was left for [`Input::GoOn`], since one input does only so much.
    pub fn goes_on(&self) -> bool {
        !self.status.is_final()
            && (self.top_end().is_some() || self.next_over().is_some() || self.next_ready().is_some())
    }

    /// When [`Input::Due`] is due next, which may be past where there was more to do than one input does; none when it is over.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        match self.status.is_final() {
            true => None,
            false => self.deadline().into_iter().chain(self.next_timer()).min(),
        }
    }

    /// What it takes in memory, in bytes, about; its workflow, which many share, is not counted.
    pub fn weight(&self) -> usize {
        size_of::<Run>() + doing::len(&self.started.input) + self.index.weight
    }

    /// When its time is up.
    fn deadline(&self) -> Option<Timestamp> {
        self.workflow.definition().deadline_ms.map(|ms| self.started_at.plus_millis(ms))
    }

    /// A step as one that is within `items` sees it.
    fn key_for(&self, step: usize, items: &[u32]) -> Key {
        Key { step, items: items[..self.workflow.maps_around(step).min(items.len())].to_vec() }
    }

    fn parent(&self, key: &Key) -> Option<Key> {
        let parent = self.workflow.place(key.step)?.parent?;
        Some(self.key_for(parent, &key.items))
    }

    /// The doing that an event names.
    fn named(&self, step: &str, items: &[u32]) -> Option<Key> {
        Some(Key { step: self.workflow.number(step)?, items: items.to_vec() })
    }

    /// A step's name.
    fn name(&self, key: &Key) -> &str {
        self.workflow.place(key.step).map_or("", |place| place.id.as_str())
    }

    /// The doings of one step that are within these items.
    fn doings_of<'r>(&'r self, step: usize, items: &'r [u32]) -> impl Iterator<Item = (&'r Key, &'r Doing)> {
        let first = Key { step, items: items.to_vec() };
        self.doings
            .range(first..)
            .take_while(move |(key, _)| key.step == step && key.items.starts_with(items))
    }

    /// Every doing within another, itself not among them.
    fn inside<'r>(&'r self, key: &'r Key) -> impl Iterator<Item = (&'r Key, &'r Doing)> {
        self.workflow.within(key.step).skip(1).flat_map(move |step| self.doings_of(step, &key.items))
    }
}
