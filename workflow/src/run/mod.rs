//! One run of a workflow, as a state machine.
//!
//! [`Run::decide`] takes what happened and says in events ([`What`]) what follows; the state changes by [`Run::apply`] alone, so
//! that a run folded from its events is the run itself. Time is an argument.
//!
//! It always ends: a step whose dependency failed or was cancelled is cancelled; what a block leaves over when it is over is
//! skipped; so everything that somebody waits for is over some day, but for a signal or an approval without a time limit.

mod child;
mod words;

pub use child::{Child, ChildKind};
pub use words::{Ask, Input, Opening, Outcome, Request, Revision};

use crate::workflow::Workflow;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::event::What;
use synod_protocol::workflow::{Execution, ExecutionBrief, ExecutionStarted, ExecutionStatus, StepDoing};
use synod_protocol::{Code, EntityId, Error, Timestamp, Workspace};

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
#[derive(Clone, Debug)]
pub struct Run {
    workflow: Workflow,
    started: ExecutionStarted,
    status: ExecutionStatus,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl PartialEq for Run {
    fn eq(&self, other: &Run) -> bool {
        self.started == other.started && self.status == other.status
    }
}

impl Run {
    /// The output of a doing of a step, if it has one.
    pub fn output_of(&self, _step: &str, _items: &[u32]) -> Option<synod_protocol::Json> {
        None
    }

    /// How one ends of which the next step would not fit into a record.
    pub fn too_large(&self) -> Option<What> {
        None
    }

    /// Begins a run: the run after it, and what follows.
    ///
    /// # Errors
    /// The input does not fit the definition's schema: `unprocessable` at `/input`.
    pub fn start(_workflow: &Workflow, _opening: Opening, _now: Timestamp) -> Result<(Run, Outcome), Error> {
        Err(Error::new(Code::Internal, "runs are not begun yet"))
    }

    /// What an input does; `self` is changed by it, so that a working copy is what it should be called on.
    ///
    /// # Errors
    /// Nothing follows from it, and nothing was changed: `invalid_transition` with the status that stands in the way,
    /// `not_found` for a step or a signal that nobody knows.
    pub fn decide(&mut self, _now: Timestamp, _input: Input) -> Result<Outcome, Error> {
        Err(Error::new(Code::Internal, "runs do not go on yet"))
    }

    /// The state right after a run began.
    pub fn new(started: &ExecutionStarted, workflow: &Workflow, now: Timestamp) -> Run {
        Run {
            workflow: workflow.clone(),
            started: started.clone(),
            status: started.status,
            started_at: now,
            ended_at: None,
        }
    }

    /// The state after an event; total.
    pub fn apply(&mut self, _what: &What, _now: Timestamp) {}

    /// Whether something could happen now that was left for [`Input::GoOn`], since one input does only so much.
    pub fn goes_on(&self) -> bool {
        false
    }

    /// When [`Input::Due`] is due next; none when it is over.
    pub fn next_deadline(&self) -> Option<Timestamp> {
        None
    }

    /// What it takes in memory, in bytes, about.
    pub fn weight(&self) -> usize {
        size_of::<Run>()
    }

    /// Which child an id names; none where no doing of a step has such a child.
    pub fn child(&self, id: &EntityId) -> Option<Child> {
        Child::read(&self.workflow, &self.started.execution_id, id)
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
        }
    }

    /// It as a reader sees it, with its first 200 doings of steps.
    pub fn view(&self, workspace: &Workspace) -> Execution {
        Execution {
            execution_id: self.started.execution_id.clone(),
            workspace: workspace.clone(),
            workflow_id: self.started.workflow_id.clone(),
            hash: self.started.hash.clone(),
            status: self.status,
            paused_because: None,
            input: self.started.input.clone(),
            output: None,
            output_left_out: false,
            error: None,
            steps: self.steps(None, synod_protocol::workflow::STEPS_SHOWN),
            step_counts: BTreeMap::new(),
            usage: synod_protocol::workflow::Usage::default(),
            labels: self.started.labels.clone(),
            started_at: self.started_at,
            ended_at: self.ended_at,
            correlation_id: self.started.correlation_id.clone(),
        }
    }

    /// It in short.
    pub fn brief(&self, workspace: &Workspace) -> ExecutionBrief {
        ExecutionBrief {
            execution_id: self.started.execution_id.clone(),
            workspace: workspace.clone(),
            workflow_id: self.started.workflow_id.clone(),
            hash: self.started.hash.clone(),
            status: self.status,
            step_counts: BTreeMap::new(),
            labels: self.started.labels.clone(),
            started_at: self.started_at,
            ended_at: self.ended_at,
        }
    }

    /// The doings of steps after one, at most so many, in the order of the definition and then of the items.
    pub fn steps(&self, _after: Option<&Key>, _limit: usize) -> Vec<StepDoing> {
        Vec::new()
    }

    /// The doing of a step with this id, for these items: whether or not it has begun.
    pub fn key(&self, step: &str, items: &[u32]) -> Option<Key> {
        let step = self.workflow.number(step)?;
        (items.len() == self.workflow.maps_around(step)).then(|| Key { step, items: items.to_vec() })
    }
}

/// A run as it is kept in an image.
#[derive(Serialize, Deserialize)]
struct RunImage {
    started: ExecutionStarted,
    started_at: Timestamp,
}

impl From<&Run> for RunImage {
    fn from(run: &Run) -> RunImage {
        RunImage { started: run.started.clone(), started_at: run.started_at }
    }
}

impl Serialize for Run {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        RunImage::from(self).serialize(s)
    }
}

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Run, D::Error> {
        let image = RunImage::deserialize(d)?;
        let workflow = Workflow::parse(image.started.definition.as_str())
            .map_err(|_| serde::de::Error::custom("the definition of the execution can be read no more"))?;
        Ok(Run::new(&image.started, &workflow, image.started_at))
    }
}
