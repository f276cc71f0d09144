//! One run of a workflow, as a state machine.
//!
//! [`Run::decide`] takes what happened and says in [`Event`]s what follows; the state changes by [`Run::apply`] alone, so that a
//! run folded from its events is the run itself. Time is an argument. What is owed follows from the events: a step that was
//! started is to be done, one that was cancelled is to be taken back.
//!
//! It always ends: a step whose dependency failed or was cancelled is cancelled; what a block leaves over when it is over is
//! skipped; so everything that somebody waits for is over some day, but for a signal or an approval without a time limit.
//!
//! Absent: revisions of approvals, consultations, retrying a step by hand. Their settings are in the definition already.

mod apply;
mod decide;
mod settle;
mod values;

use crate::workflow::Workflow;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// One doing of a step: its number in the document, and in each `map` around it, from the outside in, for which item.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The step's number.
    pub step: usize,
    /// For which items.
    pub items: Vec<u32>,
}

/// Why something failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub code: String,
    /// For people.
    pub message: String,
    /// Whether another attempt may succeed.
    pub retryable: bool,
}

impl Failure {
    fn new(code: &str, message: impl Into<String>) -> Failure {
        Failure { code: code.into(), message: message.into(), retryable: false }
    }
}

/// How one doing of a step stands. One that is not there has not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Under way; a block is while its steps are.
    Running,
    /// Between two attempts.
    Retrying,
    /// It has failed, and its fallback is under way.
    FallingBack,
    /// Done.
    Completed,
    /// Not needed.
    Skipped,
    /// Failed for good.
    Failed,
    /// Taken back, or what it needed failed.
    Cancelled,
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Under way.
    Running,
    /// Starts nothing; what is under way goes on.
    Paused,
    /// Over, with an output.
    Completed,
    /// Over: a step that was needed failed, or the time was up.
    Failed,
    /// Over: somebody said so.
    Cancelled,
}

/// What came from outside.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// An attempt, an approval or a negotiation has a result.
    Completed {
        /// Of which.
        key: Key,
        /// Which attempt.
        attempt: u32,
        /// The result.
        output: Json,
        /// How sure, 0 to 1.
        confidence: Option<f64>,
        /// Tokens that it took.
        tokens: u64,
        /// Money that it took, in millionths.
        money_micros: u64,
    },
    /// An attempt failed.
    Failed {
        /// Of which.
        key: Key,
        /// Which attempt.
        attempt: u32,
        /// Why.
        failure: Failure,
    },
    /// A signal.
    Signal {
        /// Its name.
        name: String,
        /// What it brings.
        payload: Json,
    },
    /// Time has passed.
    Tick,
    /// Start nothing more.
    Pause,
    /// Go on; a budget that is used up counts no more.
    Resume,
    /// End it.
    Cancel,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The run began.
    RunStarted {
        /// With this.
        input: Json,
        /// When, in milliseconds.
        at: u64,
    },
    /// An attempt is to be made; for approvals, negotiations and waits the only one.
    StepStarted {
        /// Of which.
        key: Key,
        /// From 1.
        attempt: u32,
        /// The step's own fields with expressions filled in.
        request: Json,
        /// When.
        at: u64,
        /// When something is due by itself: the end of a wait.
        wake_at: Option<u64>,
    },
    /// A block is open: its steps may start.
    BlockOpened {
        /// Which.
        key: Key,
        /// Of a condition: which way.
        branch: Option<bool>,
        /// Of a map: the items.
        items: Option<Vec<Json>>,
        /// When.
        at: u64,
    },
    /// An attempt failed; without `retry_at` it was the last.
    AttemptFailed {
        /// Of which.
        key: Key,
        /// Why.
        failure: Failure,
        /// When the next is due.
        retry_at: Option<u64>,
    },
    /// A step failed for good, and its fallback may start.
    FallbackOpened {
        /// Which.
        key: Key,
        /// Why.
        failure: Failure,
    },
    /// A step is over.
    StepEnded {
        /// Which.
        key: Key,
        /// How.
        status: Status,
        /// With what; null where it has none.
        output: Json,
        /// How sure.
        confidence: Option<f64>,
        /// Why, where it failed or was cancelled.
        failure: Option<Failure>,
        /// When.
        at: u64,
    },
    /// Agents reported what a step took.
    Spent {
        /// Tokens.
        tokens: u64,
        /// Money in millionths.
        money_micros: u64,
    },
    /// Nothing starts any more.
    RunPaused {
        /// Why.
        why: String,
    },
    /// It goes on.
    RunResumed {},
    /// The run is over.
    RunEnded {
        /// How.
        status: RunStatus,
        /// Its output.
        output: Json,
        /// Why it failed.
        failure: Option<Failure>,
        /// When.
        at: u64,
    },
}

/// Why an input changes nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The run is over.
    #[error("the run is over")]
    Over(RunStatus),
    /// No attempt of that number is under way.
    #[error("attempt {attempt} of step {} is not under way", .key.step)]
    NotUnderWay {
        /// Of which.
        key: Key,
        /// Which.
        attempt: u32,
    },
    /// Nobody waits for it.
    #[error("no step waits for the signal `{0}`")]
    NoSuchSignal(String),
    /// The input does not fit the definition's schema.
    #[error("the input does not fit: {0}")]
    Input(String),
    /// It is paused, or is not.
    #[error("the run is {0:?}")]
    Standing(RunStatus),
}

/// One doing of a step.
#[derive(Clone, Debug, PartialEq)]
pub struct Doing {
    /// How it stands.
    pub status: Status,
    /// Attempts so far.
    pub attempt: u32,
    /// What the latest attempt was given.
    pub request: Json,
    /// Its output.
    pub output: Json,
    /// How sure.
    pub confidence: Option<f64>,
    /// Why it failed, or why its latest attempt did.
    pub failure: Option<Failure>,
    /// When it began.
    pub started_at: u64,
    /// When it was over.
    pub ended_at: Option<u64>,
    branch: Option<bool>,
    items: Vec<Json>,
    /// Of a map: how many items have been begun.
    begun: u32,
    /// Of a block: steps that are under way, over and good, over and bad.
    open: u32,
    good: u32,
    bad: u32,
    wake_at: Option<u64>,
    due_at: Option<u64>,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    workflow: Workflow,
    id: String,
    status: RunStatus,
    input: Json,
    output: Json,
    failure: Option<Failure>,
    started_at: u64,
    doings: BTreeMap<Key, Doing>,
    /// What could start but for a limit or a pause.
    ready: BTreeSet<Key>,
    timers: BTreeSet<(u64, Key)>,
    top_good: u32,
    top_bad: u32,
    /// Attempts under way that somebody works on.
    working: u32,
    started: u64,
    tokens: u64,
    money_micros: u64,
    budget_lifted: bool,
}

impl Run {
    /// How it stands.
    pub fn status(&self) -> RunStatus {
        self.status
    }

    /// Its output once it is completed; null before.
    pub fn output(&self) -> &Json {
        &self.output
    }

    /// Why it failed.
    pub fn failure(&self) -> Option<&Failure> {
        self.failure.as_ref()
    }

    /// Every doing so far.
    pub fn doings(&self) -> impl Iterator<Item = (&Key, &Doing)> {
        self.doings.iter()
    }

    /// One doing.
    pub fn doing(&self, key: &Key) -> Option<&Doing> {
        self.doings.get(key)
    }

    /// Its workflow.
    pub fn workflow(&self) -> &Workflow {
        &self.workflow
    }

    /// When a [`Input::Tick`] is due next, in milliseconds.
    pub fn next_deadline(&self) -> Option<u64> {
        let deadline = self.workflow.definition().deadline_ms.map(|ms| self.started_at.saturating_add(ms));
        // What is due already and waits for room is not due again.
        let first = self.timers.iter().find(|(_, key)| !self.ready.contains(key)).map(|(at, _)| *at);
        match self.is_over() {
            true => None,
            false => deadline.into_iter().chain(first).min(),
        }
    }

    fn is_over(&self) -> bool {
        !matches!(self.status, RunStatus::Running | RunStatus::Paused)
    }

    /// How many maps are around a step.
    fn depth(&self, step: usize) -> usize {
        self.workflow.maps_around(step)
    }

    /// A step as one that is within `items` sees it.
    fn key_for(&self, step: usize, items: &[u32]) -> Key {
        Key { step, items: items[..self.depth(step).min(items.len())].to_vec() }
    }

    fn parent(&self, key: &Key) -> Option<Key> {
        let parent = self.workflow.place(key.step)?.parent?;
        Some(self.key_for(parent, &key.items))
    }
}
