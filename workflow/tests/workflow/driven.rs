//! A run that is driven by hand: after each input, all events folded give the run, and so does its image.

use serde_json::{Value, json};
use std::collections::BTreeSet;
use synod_protocol::approval::{ApprovalEnded, ApprovalStatus, Decision, DecisionMade};
use synod_protocol::command::{Failure, SubmitTask};
use synod_protocol::event::{Event, What};
use synod_protocol::workflow::{Execution, ExecutionStatus, StepDoing, StepStatus, Usage};
use synod_protocol::{EntityId, Error, Json, Timestamp, Workspace};
use synod_workflow::Workflow;
use synod_workflow::run::{Ask, Input, Opening, Outcome, Request, Run};

pub(crate) fn opening(input: Value) -> Opening {
    Opening {
        execution_id: "wf_1".parse().unwrap(),
        input: input.into(),
        labels: [("team".to_owned(), "red".to_owned())].into(),
        correlation_id: "c".into(),
        traceparent: None,
        body: "b".into(),
    }
}

pub(crate) fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(ms)
}

pub(crate) fn failure(code: &str, retryable: bool) -> Failure {
    Failure { code: code.into(), message: format!("it is {code}"), retryable }
}

pub(crate) fn value(json: &Json) -> Value {
    json.to().unwrap()
}

pub(crate) struct Driven {
    pub(crate) run: Run,
    folded: Run,
    pub(crate) now: i64,
    /// Everything that was ever asked.
    pub(crate) asked: Vec<Ask>,
    pub(crate) taken_back: BTreeSet<EntityId>,
    pub(crate) whats: Vec<What>,
    /// Inputs that it took, those included that only go on.
    pub(crate) inputs: usize,
}

impl Driven {
    pub(crate) fn new(text: &str, input: Value) -> Driven {
        Driven::of(&Workflow::parse(text).unwrap(), input)
    }

    pub(crate) fn of(workflow: &Workflow, input: Value) -> Driven {
        let now = 1_000;
        let (run, outcome) = Run::start(workflow, opening(input), at(now)).unwrap();
        let What::ExecutionStarted(started) = &outcome.whats[0] else { panic!("{:?}", outcome.whats) };
        let folded = Run::new(started, workflow, at(now));
        let (asked, taken_back, whats) = (Vec::new(), BTreeSet::new(), Vec::new());
        let mut driven = Driven { run: run.clone(), folded, now, asked, taken_back, whats, inputs: 1 };
        driven.follow(run, outcome);
        driven.go_on();
        driven
    }

    /// Takes an input and all that it left for later.
    pub(crate) fn take(&mut self, input: Input) -> Result<Vec<What>, Error> {
        let from = self.whats.len();
        self.take_one(input)?;
        self.go_on();
        Ok(self.whats[from..].to_vec())
    }

    pub(crate) fn take_one(&mut self, input: Input) -> Result<(), Error> {
        let mut copy = self.run.clone();
        let outcome = copy.decide(at(self.now), input);
        if outcome.is_err() {
            assert_eq!(copy, self.run, "a refusal changes nothing");
        }
        self.inputs += 1;
        self.follow(copy, outcome?);
        Ok(())
    }

    fn go_on(&mut self) {
        while self.run.goes_on() {
            let before = self.whats.len();
            self.take_one(Input::GoOn).unwrap();
            assert!(self.whats.len() > before, "it says that it goes on and does not");
        }
    }

    fn follow(&mut self, run: Run, outcome: Outcome) {
        for what in &outcome.whats {
            let event = Event { entity: "wf_1".parse().unwrap(), what: what.clone() };
            let read: Event = serde_json::from_str(&serde_json::to_string(&event).unwrap()).unwrap();
            self.folded.apply(&read.what, at(self.now));
        }
        same(&self.folded, &run, "a fold is the run");
        let text = serde_json::to_string(&run).unwrap();
        same(&serde_json::from_str::<Run>(&text).unwrap(), &run, "an image is the run");
        for ask in outcome.asks {
            assert!(self.asked.iter().all(|other| other.id != ask.id), "{} was asked before", ask.id);
            self.asked.push(ask);
        }
        for child in outcome.taken_back {
            assert!(self.asked.iter().any(|ask| ask.id == child.id), "{} was never asked", child.id);
            assert!(self.taken_back.insert(child.id.clone()), "{} is taken back twice", child.id);
        }
        assert!(run.children().all(|child| !self.taken_back.contains(&child.id)));
        self.whats.extend(outcome.whats);
        self.run = run;
    }

    pub(crate) fn done(&mut self, child: &str, output: Value) -> Vec<What> {
        self.done_with(child, output, None, None)
    }

    pub(crate) fn done_with(
        &mut self,
        child: &str,
        output: Value,
        confidence: Option<f64>,
        usage: Option<Usage>,
    ) -> Vec<What> {
        let (child, agent_id) = (id(child), Some("agent-1".parse().unwrap()));
        self.take(Input::Completed { child, output: output.into(), confidence, agent_id, usage }).unwrap()
    }

    pub(crate) fn fails(&mut self, child: &str, retryable: bool) -> Vec<What> {
        let failure = failure("boom", retryable);
        self.take(Input::Failed { child: id(child), failure, usage: None }).unwrap()
    }

    /// An approval is over.
    pub(crate) fn decided(&mut self, child: &str, status: ApprovalStatus, revision: u32) -> Vec<What> {
        let decision = match status {
            ApprovalStatus::Approved => Some(Decision::Approve),
            ApprovalStatus::Rejected => Some(Decision::Reject),
            ApprovalStatus::ChangesRequested => Some(Decision::RequestChanges),
            ApprovalStatus::Cancelled => Some(Decision::Cancel),
            ApprovalStatus::Pending | ApprovalStatus::TimedOut => None,
        };
        let decision = decision.map(|decision| DecisionMade {
            decision,
            approver: Some("ann".into()),
            roles: BTreeSet::new(),
            at: at(self.now),
            comment: Some(format!("as for {revision}")),
            meaning: None,
            response_data: Some(json!({"tone": "warm"}).into()),
            shown: "s".into(),
        });
        let ended = ApprovalEnded { approval_id: id(child), status, revision, decision, execution_id: None };
        self.take(Input::Decided(Box::new(ended))).unwrap()
    }

    /// What is due next happens.
    pub(crate) fn tick(&mut self) {
        let due = self.run.next_deadline().expect("nothing is due").as_millis();
        self.now = self.now.max(due);
        self.take(Input::Due).unwrap();
    }

    pub(crate) fn step(&self, id: &str) -> Option<StepDoing> {
        self.step_for(id, &[])
    }

    pub(crate) fn step_for(&self, id: &str, items: &[u32]) -> Option<StepDoing> {
        self.run.step(&self.run.key(id, items).unwrap())
    }

    pub(crate) fn is(&self, id: &str) -> Option<StepStatus> {
        self.step(id).map(|step| step.status)
    }

    pub(crate) fn input(&self, id: &str, items: &[u32]) -> Value {
        value(&self.step_for(id, items).unwrap().input.unwrap())
    }

    /// What is asked and not over, by id without the execution's.
    pub(crate) fn under_way(&self) -> Vec<String> {
        self.run.children().map(|child| child.id.as_str()["wf_1:".len()..].to_owned()).collect()
    }

    pub(crate) fn ask(&self, child: &str) -> &Request {
        let child = id(child);
        &self.asked.iter().find(|ask| ask.id == child).unwrap_or_else(|| panic!("{child} was not asked")).what
    }

    pub(crate) fn task(&self, child: &str) -> (&SubmitTask, Value) {
        let Request::Task(task, told) = self.ask(child) else { panic!("{child} is no task") };
        (task, told.as_ref().map_or(Value::Null, value))
    }

    pub(crate) fn view(&self) -> Execution {
        self.run.view(&Workspace::default_name())
    }

    pub(crate) fn output(&self) -> Value {
        self.view().output.as_ref().map_or(Value::Null, value)
    }

    pub(crate) fn status(&self) -> ExecutionStatus {
        self.run.status()
    }

    /// The code of why it failed.
    pub(crate) fn why(&self) -> String {
        self.view().error.map(|why| why.code).unwrap_or_default()
    }
}

/// Two runs that have to be equal; where they are not, the lines that differ.
fn same(one: &Run, other: &Run, why: &str) {
    if one == other {
        return;
    }
    let lines = |run: &Run| format!("{run:#?}").lines().map(str::to_owned).collect::<Vec<_>>();
    let (one, other) = (lines(one), lines(other));
    let differ: Vec<_> = one.iter().zip(&other).filter(|(one, other)| one != other).take(20).collect();
    panic!("{why}: {} and {} lines, such as {differ:#?}", one.len(), other.len());
}

pub(crate) fn id(child: &str) -> EntityId {
    format!("wf_1:{child}").parse().unwrap()
}
