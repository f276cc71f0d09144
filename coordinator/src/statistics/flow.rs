//! How executions and approvals have gone: how many began, how they ended, and how long that took.
//!
//! Counted as attempts are: by the coordinator that has the shard, from its start on, in memory.

use super::Latency;
use super::negotiations::DecidingView;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Workflows whose executions are counted each by itself; those beyond count for all together alone.
const WORKFLOWS_LIMIT: usize = 100;

/// What was counted of things that begin and end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    begun: u64,
    /// By the status in which they ended.
    ended: BTreeMap<String, u64>,
    /// From the beginning to the end, in ms.
    took_ms: u64,
    latency: Latency,
}

impl Tally {
    fn end(&mut self, status: &str, took_ms: u64) {
        *self.ended.entry(status.to_owned()).or_default() += 1;
        self.took_ms = self.took_ms.saturating_add(took_ms);
        self.latency.add(Latency::bucket(took_ms), 1);
    }

    fn merge(&mut self, other: &Tally) {
        self.begun = self.begun.saturating_add(other.begun);
        for (status, times) in &other.ended {
            let known = self.ended.entry(status.clone()).or_default();
            *known = known.saturating_add(*times);
        }
        self.took_ms = self.took_ms.saturating_add(other.took_ms);
        self.latency.merge(&other.latency);
    }
}

/// What was counted of a workspace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Flow {
    executions: Tally,
    workflows: BTreeMap<String, Tally>,
    approvals: Tally,
}

impl Flow {
    fn of_executions(&mut self, workflow: &str, count: impl Fn(&mut Tally)) {
        count(&mut self.executions);
        if let Some(tally) = self.of_workflow(workflow) {
            count(tally);
        }
    }

    fn of_workflow(&mut self, workflow: &str) -> Option<&mut Tally> {
        if !self.workflows.contains_key(workflow) && self.workflows.len() < WORKFLOWS_LIMIT {
            self.workflows.insert(workflow.to_owned(), Tally::default());
        }
        self.workflows.get_mut(workflow)
    }

    /// An execution of this workflow began.
    pub(super) fn execution_began(&mut self, workflow: &str) {
        self.of_executions(workflow, |tally| tally.begun += 1);
    }

    /// One has ended.
    pub(super) fn execution_ended(&mut self, workflow: &str, status: &str, took_ms: u64) {
        self.of_executions(workflow, |tally| tally.end(status, took_ms));
    }

    /// People were asked.
    pub(super) fn approval_began(&mut self) {
        self.approvals.begun += 1;
    }

    /// An approval is over.
    pub(super) fn approval_ended(&mut self, status: &str, took_ms: u64) {
        self.approvals.end(status, took_ms);
    }

    /// Adds what another coordinator has counted.
    pub(crate) fn merge(&mut self, other: &Flow) {
        self.executions.merge(&other.executions);
        self.approvals.merge(&other.approvals);
        for (workflow, tally) in &other.workflows {
            if let Some(known) = self.of_workflow(workflow) {
                known.merge(tally);
            }
        }
    }
}

/// How things have gone that begin and end, since the coordinators started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct TallyView {
    /// Begun.
    pub(crate) begun: u64,
    /// Ended, by the status in which they did. An execution that goes on by a retry ends once more.
    pub(crate) ended: BTreeMap<String, u64>,
    /// From the beginning to the end; absent while none has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) took: Option<DecidingView>,
}

/// Executions and approvals of a workspace, since the coordinators started.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FlowView {
    /// All executions.
    pub(crate) executions: TallyView,
    /// The same by workflow; the first hundred of which there were any.
    pub(crate) workflows: BTreeMap<String, TallyView>,
    /// All approvals.
    pub(crate) approvals: TallyView,
}

impl FlowView {
    /// What was counted.
    pub(crate) fn of(flow: &Flow) -> FlowView {
        let workflows = flow.workflows.iter().map(|(id, tally)| (id.clone(), TallyView::of(tally)));
        FlowView {
            executions: TallyView::of(&flow.executions),
            workflows: workflows.collect(),
            approvals: TallyView::of(&flow.approvals),
        }
    }
}

impl TallyView {
    fn of(tally: &Tally) -> TallyView {
        let at = |share| tally.latency.percentile(share);
        let ended = tally.ended.values().sum::<u64>().max(1);
        let took = at(0.5).zip(at(0.99)).map(|(p50_ms, p99_ms)| DecidingView {
            mean_ms: tally.took_ms as f64 / ended as f64,
            p50_ms,
            p99_ms,
        });
        TallyView { begun: tally.begun, ended: tally.ended.clone(), took }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_them_is_counted_and_parts_add_up() {
        let (mut whole, mut parts) = (Flow::default(), [Flow::default(), Flow::default()]);
        for n in 0..10_u64 {
            for flow in [&mut whole, &mut parts[(n % 2) as usize]] {
                flow.execution_began("w");
                flow.approval_began();
                let (run, asked) = if n < 7 { ("completed", "approved") } else { ("failed", "timed_out") };
                flow.execution_ended("w", run, 100);
                flow.approval_ended(asked, 1_000);
            }
        }
        let [mut sum, other] = parts;
        sum.merge(&other);
        assert_eq!(sum, whole);
        let json = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Flow>(&json).unwrap(), whole, "as it goes between coordinators");
        let view = FlowView::of(&whole);
        assert_eq!(view.workflows["w"], view.executions);
        let ended = [("completed".to_owned(), 7), ("failed".to_owned(), 3)].into();
        assert_eq!((view.executions.begun, view.executions.ended), (10, ended));
        assert_eq!(view.approvals.ended["timed_out"], 3);
        let took = view.approvals.took.unwrap();
        assert!((took.mean_ms - 1_000.0).abs() < 1e-9 && (1_000..=1_091).contains(&took.p50_ms), "{took:?}");
        assert_eq!(FlowView::of(&Flow::default()).approvals.took, None);
    }

    #[test]
    fn a_hundred_workflows_are_counted_each_by_itself() {
        let (mut flow, mut more) = (Flow::default(), Flow::default());
        for n in 0..150 {
            flow.execution_began(&format!("w{n}"));
            more.execution_began(&format!("x{n}"));
        }
        flow.merge(&more);
        assert_eq!((flow.executions.begun, flow.workflows.len()), (300, WORKFLOWS_LIMIT));
    }
}
