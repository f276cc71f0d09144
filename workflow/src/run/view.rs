//! How readers see a run.

use super::doing::Doing;
use super::{Child, Key, Run};
use serde_json::json;
use std::collections::BTreeMap;
use std::ops::Bound;
use synod_protocol::workflow::{Execution, ExecutionBrief, STEPS_SHOWN, StepDoing, StepStatus};
use synod_protocol::{EntityId, Workspace};

/// Every status of a doing.
const STATUSES: [StepStatus; 8] = [
    StepStatus::Running,
    StepStatus::Consulting,
    StepStatus::Retrying,
    StepStatus::FallingBack,
    StepStatus::Completed,
    StepStatus::Skipped,
    StepStatus::Failed,
    StepStatus::Cancelled,
];

impl Run {
    /// It as a reader sees it, with its first 200 doings of steps.
    pub fn view(&self, workspace: &Workspace) -> Execution {
        Execution {
            execution_id: self.started.execution_id.clone(),
            workspace: workspace.clone(),
            workflow_id: self.started.workflow_id.clone(),
            hash: self.started.hash.clone(),
            status: self.status,
            paused_because: self.paused_because.clone(),
            input: self.started.input.clone(),
            output: self.output.clone(),
            output_left_out: self.output_left_out,
            error: self.failure.clone(),
            steps: self.steps(None, STEPS_SHOWN),
            step_counts: self.step_counts(),
            usage: self.usage,
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
            step_counts: self.step_counts(),
            labels: self.started.labels.clone(),
            started_at: self.started_at,
            ended_at: self.ended_at,
        }
    }

    /// The doings of steps after one, at most so many, in the order of the definition and then of the items.
    pub fn steps(&self, after: Option<&Key>, limit: usize) -> Vec<StepDoing> {
        let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(key.clone()));
        let range = self.doings.range((from, Bound::Unbounded));
        range.take(limit).map(|(key, doing)| self.shown(key, doing)).collect()
    }

    /// One doing of a step; none where it has not begun.
    pub fn step(&self, key: &Key) -> Option<StepDoing> {
        self.doings.get(key).map(|doing| self.shown(key, doing))
    }

    fn shown(&self, key: &Key, doing: &Doing) -> StepDoing {
        let kind = self.workflow.step(key.step).map_or("", |step| step.kind.name());
        let child =
            (doing.attempt > doing.attempts_before).then(|| self.attempt_child(key, doing.attempt)).flatten();
        StepDoing {
            step: self.name(key).to_owned(),
            items: key.items.clone(),
            kind: kind.to_owned(),
            status: doing.status,
            attempts: doing.attempt,
            revision: doing.anew.revised + 1,
            input: child.as_ref().and_then(|_| self.given(key)),
            child: child.map(|child| child.id),
            output: self.output_json(key),
            confidence: doing.confidence,
            advice: doing.advice.as_ref().map(|said| said.json().clone()),
            error: doing.failure.clone(),
            agent_id: doing.agent_id.clone(),
            earlier: doing.anew.earlier.clone(),
            started_at: doing.started_at,
            ended_at: doing.ended_at,
        }
    }

    fn step_counts(&self) -> BTreeMap<StepStatus, u64> {
        let counted =
            STATUSES.into_iter().map(|status| (status, u64::from(self.index.counts[status as usize])));
        counted.filter(|(_, count)| *count > 0).collect()
    }

    /// Every child under way.
    pub fn children(&self) -> impl Iterator<Item = Child> {
        self.open(None).filter_map(|key| self.child_under_way(key))
    }

    /// Whether a child is under way.
    pub fn waits_for(&self, id: &EntityId) -> bool {
        let child = self.child(id).and_then(|child| self.child_under_way(&child.key));
        child.is_some_and(|child| child.id == *id)
    }

    /// A doing's status in a message.
    pub(super) fn status_of(&self, doing: &Doing) -> String {
        json!(doing.status).as_str().unwrap_or_default().to_owned()
    }
}
