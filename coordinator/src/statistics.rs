//! What each agent has done: attempts by outcome, how long they took, how busy it was.
//!
//! Each coordinator counts the attempts that its own shards gave, from its start on, in memory. What is shown is the sum over
//! all coordinators that answer, so that it is the same from each; the part of one that ends goes with it. How long they took is
//! a histogram with eight buckets to each doubling: a percentile is the upper bound of its bucket, at most 9.1 % above.

mod flow;
mod negotiations;

pub(crate) use flow::{Flow, FlowView, TallyView};
pub(crate) use negotiations::{NegotiationStatisticsView, Participation, Tallies, merge};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use synod_fleet::AgentKey;
use synod_negotiation::Negotiation;
use synod_protocol::Workspace;
use synod_protocol::view::Outcome;
use synod_workflow::approval::Approval;
use synod_workflow::run::Run;
use utoipa::ToSchema;

/// Agents that are counted each by itself; those beyond count for the fleet alone.
const AGENTS_LIMIT: usize = 50_000;
/// Buckets to a doubling.
const STEPS: f64 = 8.0;
/// The greatest bucket: about 12 days.
const LAST: u8 = 239;

/// How long attempts took: for each bucket that has any, how many. Bucket 0 is up to 1 ms, bucket n up to 2^(n/8) ms.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Latency(Vec<(u8, u64)>);

impl Latency {
    fn bucket(ms: u64) -> u8 {
        if ms <= 1 {
            return 0;
        }
        let step = ((ms as f64).log2() * STEPS - 1e-9).ceil();
        (step as u64).min(u64::from(LAST)) as u8
    }

    fn add(&mut self, bucket: u8, times: u64) {
        match self.0.binary_search_by_key(&bucket, |(known, _)| *known) {
            Ok(at) => self.0[at].1 = self.0[at].1.saturating_add(times),
            Err(at) => self.0.insert(at, (bucket, times)),
        }
    }

    fn merge(&mut self, other: &Latency) {
        for (bucket, times) in &other.0 {
            self.add((*bucket).min(LAST), *times);
        }
    }

    /// By which this share of them had ended, in ms.
    fn percentile(&self, share: f64) -> Option<u64> {
        let all: u64 = self.0.iter().map(|(_, times)| times).sum();
        let wanted = ((all as f64) * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        let bucket = self.0.iter().find(|(_, times)| {
            seen += times;
            seen >= wanted
        })?;
        Some((f64::from(bucket.0) / STEPS).exp2().ceil() as u64)
    }
}

/// What was counted of one agent, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    pub(crate) assigned: u64,
    pub(crate) started: u64,
    pub(crate) completed: u64,
    pub(crate) failed: u64,
    pub(crate) timed_out: u64,
    pub(crate) declined: u64,
    pub(crate) lost: u64,
    pub(crate) withdrawn: u64,
    pub(crate) cancelled: u64,
    /// Time of attempts that have ended, in ms: two at a time count twice.
    pub(crate) busy_ms: u64,
    /// How often one of its breakers opened.
    #[serde(default)]
    pub(crate) breaker_opened: u64,
    pub(crate) latency: Latency,
}

impl Counts {
    fn ended(&mut self, outcome: Outcome, took_ms: Option<u64>) {
        let count = match outcome {
            Outcome::Completed => &mut self.completed,
            Outcome::Failed => &mut self.failed,
            Outcome::TimedOut => &mut self.timed_out,
            Outcome::Declined => &mut self.declined,
            Outcome::Lost => &mut self.lost,
            Outcome::Withdrawn => &mut self.withdrawn,
            Outcome::Cancelled => &mut self.cancelled,
        };
        *count += 1;
        let Some(ms) = took_ms else { return };
        self.busy_ms = self.busy_ms.saturating_add(ms);
        if matches!(outcome, Outcome::Completed | Outcome::Failed | Outcome::TimedOut) {
            self.latency.add(Latency::bucket(ms), 1);
        }
    }

    pub(crate) fn merge(&mut self, other: &Counts) {
        let pairs = [
            (&mut self.assigned, other.assigned),
            (&mut self.started, other.started),
            (&mut self.completed, other.completed),
            (&mut self.failed, other.failed),
            (&mut self.timed_out, other.timed_out),
            (&mut self.declined, other.declined),
            (&mut self.lost, other.lost),
            (&mut self.withdrawn, other.withdrawn),
            (&mut self.cancelled, other.cancelled),
            (&mut self.busy_ms, other.busy_ms),
            (&mut self.breaker_opened, other.breaker_opened),
        ];
        for (ours, theirs) in pairs {
            *ours = ours.saturating_add(theirs);
        }
        self.latency.merge(&other.latency);
    }
}

/// How long attempts took from being given to their end, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct LatencyView {
    /// Half of them at most so long.
    pub(crate) p50_ms: u64,
    /// Nine of ten.
    pub(crate) p90_ms: u64,
    /// Ninety-nine of a hundred.
    pub(crate) p99_ms: u64,
}

/// What one agent has done, or all of a workspace, since its coordinators started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct StatisticsView {
    /// Attempts given.
    pub(crate) assigned: u64,
    /// Attempts that were said to be worked on; short ones end without that word.
    pub(crate) started: u64,
    /// With a result.
    pub(crate) completed: u64,
    /// With an error.
    pub(crate) failed: u64,
    /// Not in time.
    pub(crate) timed_out: u64,
    /// Not wanted.
    pub(crate) declined: u64,
    /// Gone with the agent.
    pub(crate) lost: u64,
    /// Taken back.
    pub(crate) withdrawn: u64,
    /// Their tasks were cancelled.
    pub(crate) cancelled: u64,
    /// Of those that completed, failed or ran out of time; absent while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) latency: Option<LatencyView>,
    /// The share of its slots that was in use by attempts that have ended, 0 to 1.
    pub(crate) utilisation: f64,
    /// How often a breaker opened.
    pub(crate) breaker_opened: u64,
}

impl StatisticsView {
    /// `slot_ms`: the time that was there to be used, over all slots.
    pub(crate) fn of(counts: &Counts, slot_ms: u64) -> StatisticsView {
        let at = |share| counts.latency.percentile(share);
        let latency = at(0.5).zip(at(0.9)).zip(at(0.99));
        let latency = latency.map(|((p50_ms, p90_ms), p99_ms)| LatencyView { p50_ms, p90_ms, p99_ms });
        let utilisation = if slot_ms == 0 { 0.0 } else { counts.busy_ms as f64 / slot_ms as f64 };
        StatisticsView {
            assigned: counts.assigned,
            started: counts.started,
            completed: counts.completed,
            failed: counts.failed,
            timed_out: counts.timed_out,
            declined: counts.declined,
            lost: counts.lost,
            withdrawn: counts.withdrawn,
            cancelled: counts.cancelled,
            latency,
            utilisation: utilisation.min(1.0),
            breaker_opened: counts.breaker_opened,
        }
    }
}

#[derive(Debug, Default)]
struct Book {
    agents: BTreeMap<AgentKey, Counts>,
    workspaces: BTreeMap<Workspace, Counts>,
    negotiations: BTreeMap<Workspace, Tallies>,
    flow: BTreeMap<Workspace, Flow>,
}

/// What this coordinator has counted.
#[derive(Debug, Default)]
pub(crate) struct Statistics(Mutex<Book>);

impl Statistics {
    fn lock(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, key: &AgentKey, act: impl Fn(&mut Counts)) {
        let mut book = self.lock();
        match book.workspaces.get_mut(&key.workspace) {
            Some(counts) => act(counts),
            None => act(book.workspaces.entry(key.workspace.clone()).or_default()),
        }
        let has_room = book.agents.len() < AGENTS_LIMIT;
        match book.agents.get_mut(key) {
            Some(counts) => act(counts),
            None if has_room => act(book.agents.entry(key.clone()).or_default()),
            None => {}
        }
    }

    /// An attempt was given.
    pub(crate) fn assigned(&self, key: &AgentKey) {
        self.count(key, |counts| counts.assigned += 1);
    }

    /// An agent works on an attempt.
    pub(crate) fn started(&self, key: &AgentKey) {
        self.count(key, |counts| counts.started += 1);
    }

    /// An attempt has ended, after so long.
    pub(crate) fn ended(&self, key: &AgentKey, outcome: Outcome, took_ms: Option<u64>) {
        self.count(key, |counts| counts.ended(outcome, took_ms));
    }

    /// A breaker of an agent's has opened.
    #[allow(dead_code, reason = "breakers are asked by the coordinator in a change of their own")]
    pub(crate) fn breaker_opened(&self, key: &AgentKey) {
        self.count(key, |counts| counts.breaker_opened += 1);
    }

    /// A negotiation was opened.
    pub(crate) fn negotiation_opened(&self, workspace: &Workspace, protocol: &str) {
        negotiations::opened(self.lock().negotiations.entry(workspace.clone()).or_default(), protocol);
    }

    /// One has ended.
    pub(crate) fn negotiation_ended(
        &self,
        workspace: &Workspace,
        it: &Negotiation,
        took_part: &Participation,
    ) {
        negotiations::ended(self.lock().negotiations.entry(workspace.clone()).or_default(), it, took_part);
    }

    /// What was counted of all negotiations, by protocol.
    pub(crate) fn of_negotiations(&self, workspace: &Workspace) -> Tallies {
        self.lock().negotiations.get(workspace).cloned().unwrap_or_default()
    }

    fn flow(&self, workspace: &Workspace, count: impl FnOnce(&mut Flow)) {
        count(self.lock().flow.entry(workspace.clone()).or_default());
    }

    /// An execution of this workflow began.
    pub(crate) fn execution_began(&self, workspace: &Workspace, workflow: &str) {
        self.flow(workspace, |flow| flow.execution_began(workflow));
    }

    /// One has ended.
    pub(crate) fn execution_ended(&self, workspace: &Workspace, run: &Run) {
        let took_ms = run.ended_at().map_or(0, |at| at.millis_since(run.started_at()));
        let (workflow, status) = (run.started().workflow_id.as_str(), run.status().as_str());
        self.flow(workspace, |flow| flow.execution_ended(workflow, status, took_ms));
    }

    /// People were asked.
    pub(crate) fn approval_began(&self, workspace: &Workspace) {
        self.flow(workspace, Flow::approval_began);
    }

    /// An approval is over.
    pub(crate) fn approval_ended(&self, workspace: &Workspace, it: &Approval) {
        let took_ms = it.ended_at.map_or(0, |at| at.millis_since(it.asked_at));
        self.flow(workspace, |flow| flow.approval_ended(it.status.as_str(), took_ms));
    }

    /// What was counted of executions and approvals.
    pub(crate) fn of_flow(&self, workspace: &Workspace) -> Flow {
        self.lock().flow.get(workspace).cloned().unwrap_or_default()
    }

    /// An agent is forgotten; what it did still counts for its workspace.
    pub(crate) fn forget(&self, key: &AgentKey) {
        self.lock().agents.remove(key);
    }

    /// What was counted of one.
    pub(crate) fn of_agent(&self, key: &AgentKey) -> Counts {
        self.lock().agents.get(key).cloned().unwrap_or_default()
    }

    /// What was counted of all.
    pub(crate) fn of_workspace(&self, workspace: &Workspace) -> Counts {
        self.lock().workspaces.get(workspace).cloned().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_at_most_a_step_above() {
        let mut latency = Latency::default();
        assert_eq!(latency.percentile(0.5), None);
        for ms in 1..=1_000 {
            latency.add(Latency::bucket(ms), 1);
        }
        for (share, exact) in [(0.001, 1.0), (0.5, 500.0), (0.9, 900.0), (0.99, 990.0), (1.0, 1_000.0)] {
            let told = latency.percentile(share).unwrap() as f64;
            assert!((exact..=exact * 1.0906 + 1.0).contains(&told), "{share}: {told} for {exact}");
        }
        assert_eq!(Latency::bucket(0), 0);
        assert_eq!(Latency::bucket(u64::MAX), LAST);
        assert!(latency.0.len() <= 81, "{}", latency.0.len());
    }

    #[test]
    fn parts_add_up_to_the_whole() {
        let (whole, parts) = (Statistics::default(), [Statistics::default(), Statistics::default()]);
        let key = AgentKey { workspace: "w".parse().unwrap(), agent: "a".parse().unwrap() };
        for n in 0..100_u64 {
            let outcome = if n % 10 == 0 { Outcome::Failed } else { Outcome::Completed };
            for statistics in [&whole, &parts[(n % 2) as usize]] {
                statistics.assigned(&key);
                statistics.started(&key);
                statistics.ended(&key, outcome, Some(n * 7));
            }
        }
        let mut sum = parts[0].of_agent(&key);
        sum.merge(&parts[1].of_agent(&key));
        assert_eq!(sum, whole.of_agent(&key));
        assert_eq!(sum, whole.of_workspace(&key.workspace));
        let json = serde_json::to_string(&sum).unwrap();
        assert_eq!(serde_json::from_str::<Counts>(&json).unwrap(), sum, "as it goes between coordinators");
        let view = StatisticsView::of(&sum, sum.busy_ms * 4);
        assert_eq!((view.completed, view.failed, view.utilisation), (90, 10, 0.25));
        whole.forget(&key);
        assert_eq!(whole.of_agent(&key), Counts::default());
        assert_eq!(whole.of_workspace(&key.workspace).completed, 90);
    }
}
