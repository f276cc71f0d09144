//! Runs of workflows as the ledger tells them: what began and ended, which result of which step counted, which children were under way,
//! what people were asked and what they decided.
//!
//! It knows no state machine: that a step's end stands in the record of its child's end, and that nothing comes after a run's
//! end, is read from the records alone.

use crate::script::Doing;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use synod_ledger::Step;
use synod_protocol::Json;
use synod_protocol::approval::{ApprovalEnded, ApprovalStatus, DecisionMade};
use synod_protocol::event::{Event, What};
use synod_protocol::workflow::{ExecutionEnded, StepCompleted, StepStarted};

/// What a run does at which it may be struck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A step was given to an agent.
    Given,
    /// A step's result counts.
    Completed,
    /// People were asked.
    Asked,
}

/// One such turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turned {
    /// Where the run lives.
    pub shard: u32,
    /// The task or the approval, or the run and its step.
    pub what: String,
    /// The agent that it was given to.
    pub holder: Option<String>,
}

/// What there was to look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Ran {
    /// Runs that were started.
    pub started: u64,
    /// Those that completed.
    pub completed: u64,
    /// Those that ended otherwise.
    pub failed: u64,
    /// Steps that were completed, blocks and waits among them.
    pub steps: u64,
    /// Attempts of steps that failed.
    pub failures: u64,
    /// Steps of which a result was taken back to be done again, for people wanted it otherwise.
    pub revisions: u64,
    /// Approvals asked.
    pub approvals: u64,
    /// Signals taken.
    pub signals: u64,
    /// Runs under way when somebody claimed their shard: once for each.
    pub claimed_under_way: u64,
    /// Approvals pending when somebody claimed their shard: once for each.
    pub claimed_pending: u64,
    /// Steps that were taken back from agents that were lost with them.
    pub lost_holding: u64,
}

/// What the ledger says of one run.
#[derive(Clone, Debug, Default)]
pub(super) struct RunBook {
    pub(super) started: u32,
    pub(super) ended: u32,
    pub(super) input: Option<Json>,
    pub(super) end: Option<ExecutionEnded>,
    /// What each counted result of a step called itself, in their order; nothing where it has no name.
    pub(super) done: BTreeMap<Doing, Vec<Option<String>>>,
    pub(super) signals: u32,
    /// The task or approval of each step's latest attempt.
    children: BTreeMap<Doing, String>,
    /// What has begun and not ended.
    live: BTreeSet<String>,
}

/// What the ledger says of one approval.
#[derive(Clone, Debug, Default)]
pub(super) struct AskedBook {
    pub(super) required: u32,
    pub(super) ended: u32,
    pub(super) status: Option<ApprovalStatus>,
    /// By whom, in the order in which it was said.
    pub(super) decided: Vec<String>,
}

/// All runs of all shards.
#[derive(Debug, Default)]
pub(super) struct Runs {
    all: HashMap<String, RunBook>,
    approvals: BTreeMap<String, AskedBook>,
    /// Runs under way, and approvals pending, by shard.
    under_way: BTreeMap<u32, BTreeSet<String>>,
    pending: BTreeMap<u32, BTreeSet<String>>,
    given: (u64, Option<Turned>),
    completed: (u64, Option<Turned>),
    asked: (u64, Option<Turned>),
    ran: Ran,
    doubled: Vec<String>,
    strange: Vec<String>,
}

impl Runs {
    pub(super) fn all(&self) -> &HashMap<String, RunBook> {
        &self.all
    }

    /// The approvals of a run, by their ids.
    pub(super) fn approvals_of(&self, run: &str) -> impl Iterator<Item = (&String, &AskedBook)> {
        let (from, to) = (format!("{run}:"), format!("{run};"));
        self.approvals.range(from..to)
    }

    pub(super) fn approval(&self, id: &str) -> Option<&AskedBook> {
        self.approvals.get(id)
    }

    pub(super) fn ran(&self) -> Ran {
        self.ran
    }

    /// How many such turns there were, and the latest.
    pub(super) fn turned(&self, turn: Turn) -> (u64, Option<&Turned>) {
        let (count, latest) = match turn {
            Turn::Given => &self.given,
            Turn::Completed => &self.completed,
            Turn::Asked => &self.asked,
        };
        (*count, latest.as_ref())
    }

    pub(super) fn doubled(&self) -> &[String] {
        &self.doubled
    }

    pub(super) fn strange(&self) -> &[String] {
        &self.strange
    }

    /// Somebody has claimed a shard.
    pub(super) fn claimed(&mut self, shard: u32) {
        let count = |of: &BTreeMap<u32, BTreeSet<String>>| of.get(&shard).map_or(0, |some| some.len() as u64);
        self.ran.claimed_under_way += count(&self.under_way);
        self.ran.claimed_pending += count(&self.pending);
    }

    /// Takes in a step that counts.
    pub(super) fn step(&mut self, shard: u32, step: &Step) {
        self.events(shard, &step.events);
    }

    pub(super) fn events(&mut self, shard: u32, events: &[Event]) {
        // Of a run that had ended before nothing may be told any more.
        let mut over = BTreeSet::new();
        for event in events {
            let root = event.entity.root();
            if self.all.get(root).is_some_and(|run| run.ended > 0) {
                over.insert(root.to_owned());
            }
        }
        let (mut touched, mut ended, mut counted) = (BTreeSet::new(), Vec::new(), Vec::new());
        for event in events {
            let (id, root) = (event.entity.as_str(), event.entity.root());
            if over.contains(root) {
                let what = event.what.ce_type();
                self.strange.push(format!("{what} of {id}, whose run had ended"));
            }
            self.own(shard, root, &event.what, &mut counted);
            if id != root {
                self.child(shard, id, root, &event.what);
                if event.what.is_end() {
                    ended.push((id, &event.what));
                }
            }
            touched.insert(root);
        }
        for run in touched {
            let Some(told) = self.all.get(run) else { continue };
            if told.ended > 0 && !told.live.is_empty() {
                self.strange.push(format!("{run} has ended, and these of it have not: {:?}", told.live));
            }
        }
        self.agree(&ended, &counted);
    }

    /// Each result of a child is that of one step, told in the same record, and each step's result is that of a child.
    fn agree(&mut self, ended: &[(&str, &What)], counted: &[(String, Option<Json>)]) {
        for (child, what) in ended {
            let times = counted.iter().filter(|(of, _)| of == child).count();
            let is_known = self.all.contains_key(child.split(':').next().unwrap_or_default());
            let wants = match what {
                What::TaskCompleted(_) | What::ApprovalGranted(_) => usize::from(is_known),
                _ => continue,
            };
            if times > wants {
                self.doubled.push(format!("the result of {child} counts {times} times"));
            } else if times < wants {
                self.strange.push(format!("{child} has a result, and its run does not hear of it"));
            }
        }
        for (child, output) in counted {
            let of = ended.iter().find(|(id, _)| id == child).map(|(_, what)| *what);
            let agrees = match (of, output) {
                (Some(What::TaskCompleted(e)), Some(output)) => e.output == *output,
                // A result that does not fit, or one of people, is none of the child's own words.
                (Some(_), _) => true,
                (None, output) => output.is_none(),
            };
            if !agrees {
                self.doubled
                    .push(format!("a step counts {output:?} of {child}, which says nothing of the kind now"));
            }
        }
    }

    /// What happens to a run itself. `counted`: each step that this record ends by its child, with the child and the result.
    fn own(&mut self, shard: u32, run: &str, what: &What, counted: &mut Vec<(String, Option<Json>)>) {
        let ran = &mut self.ran;
        match what {
            What::ExecutionStarted(e) => {
                let told = self.all.entry(run.to_owned()).or_default();
                told.started += 1;
                told.input = Some(e.input.clone());
                ran.started += 1;
                self.under_way.entry(shard).or_default().insert(run.to_owned());
                return;
            }
            What::ExecutionCompleted(_) => ran.completed += 1,
            What::ExecutionFailed(_) | What::ExecutionCancelled(_) => ran.failed += 1,
            What::ExecutionStepCompleted(_) => ran.steps += 1,
            What::ExecutionStepFailed(_) => ran.failures += 1,
            What::ExecutionRevised(_) => ran.revisions += 1,
            What::ExecutionSignalled(_) => ran.signals += 1,
            _ => {}
        }
        if !what.ce_type().starts_with("synod.execution.") {
            return;
        }
        let Some(told) = self.all.get_mut(run) else {
            return self.strange.push(format!("{} of {run}, which was never started", what.ce_type()));
        };
        match what {
            What::ExecutionStepStarted(StepStarted { step, items, child: Some(child), .. }) => {
                told.children.insert((step.clone(), items.clone()), child.to_string());
            }
            What::ExecutionStepCompleted(e) => {
                let doing = (e.step.clone(), e.items.clone());
                if let (Some(child), Some(_)) = (told.children.get(&doing), &e.output) {
                    counted.push((child.clone(), e.output.clone()));
                    self.completed.0 += 1;
                    self.completed.1 = Some(Turned { shard, what: child.clone(), holder: None });
                }
                told.done.entry(doing).or_default().push(nonce(e));
            }
            What::ExecutionStepFailed(e) => {
                let child = told.children.get(&(e.step.clone(), e.items.clone()));
                counted.extend(child.map(|child| (child.clone(), None)));
            }
            What::ExecutionSignalled(_) => told.signals += 1,
            What::ExecutionCompleted(e) | What::ExecutionFailed(e) | What::ExecutionCancelled(e) => {
                told.ended += 1;
                told.end = Some(e.clone());
                self.under_way.entry(shard).or_default().remove(run);
            }
            _ => {}
        }
    }

    /// What happens to a task or an approval of a run.
    fn child(&mut self, shard: u32, id: &str, run: &str, what: &What) {
        let Some(told) = self.all.get_mut(run) else { return };
        match what {
            What::TaskSubmitted(_) | What::NegotiationOpened(_) | What::ApprovalRequired(_) => {
                told.live.insert(id.to_owned());
            }
            what if what.is_end() => {
                told.live.remove(id);
            }
            _ => {}
        }
        match what {
            What::TaskAssigned(e) => {
                let holder = Some(e.agent_id.to_string());
                self.given = (self.given.0 + 1, Some(Turned { shard, what: id.to_owned(), holder }));
            }
            What::TaskReassigned(e) if e.lost => self.ran.lost_holding += 1,
            What::ApprovalRequired(_) => {
                self.ran.approvals += 1;
                self.approvals.entry(id.to_owned()).or_default().required += 1;
                self.pending.entry(shard).or_default().insert(id.to_owned());
                self.asked = (self.asked.0 + 1, Some(Turned { shard, what: id.to_owned(), holder: None }));
            }
            What::ApprovalSigned(e) => self.decided(id, Some(&e.decision)),
            What::ApprovalGranted(e)
            | What::ApprovalRejected(e)
            | What::ApprovalChangesRequested(e)
            | What::ApprovalCancelled(e)
            | What::ApprovalTimedOut(e) => {
                let ApprovalEnded { status, decision, .. } = e;
                self.decided(id, decision.as_ref());
                let asked = self.approvals.entry(id.to_owned()).or_default();
                asked.ended += 1;
                asked.status = Some(*status);
                self.pending.entry(shard).or_default().remove(id);
            }
            _ => {}
        }
    }

    fn decided(&mut self, id: &str, decision: Option<&DecisionMade>) {
        let asked = self.approvals.entry(id.to_owned()).or_default();
        asked.decided.extend(decision.and_then(|decision| decision.approver.clone()));
    }
}

/// Whether a run or an approval ends by this.
pub(super) fn is_end(what: &What) -> bool {
    let ty = what.ce_type();
    what.is_end() && (ty.starts_with("synod.execution.") || ty.starts_with("synod.approval."))
}

/// What a result calls itself.
fn nonce(e: &StepCompleted) -> Option<String> {
    let output: serde_json::Value = e.output.as_ref()?.to().ok()?;
    output["nonce"].as_str().map(str::to_owned)
}
