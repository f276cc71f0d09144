//! A run that nothing disturbs: the state machine alone, in memory, with the answers of the script.

use super::{AT_FIRST, Answer, NEVER, SAYS_SO, Script, answer, step_of};
use serde_json::{Value, json};
use std::collections::{BTreeMap, VecDeque};
use synod_protocol::approval::{ApprovalEnded, ApprovalStatus, Decision, DecisionMade};
use synod_protocol::command::Failure;
use synod_protocol::event::What;
use synod_protocol::workflow::ExecutionEnded;
use synod_protocol::{EntityId, Json, Timestamp};
use synod_workflow::run::{Ask, Input, Opening, Outcome, Request, Run};

/// It begins some day; no end depends on when.
const BEGINS_MS: i64 = 1_800_000_000_000;
/// No run here takes so many turns.
const TURNS: usize = 2_000;

/// One doing of a step: its name and, in each map around it, for which item.
pub type Doing = (String, Vec<u32>);

/// How such a run ends, and what is done by then.
#[derive(Debug)]
pub struct Undisturbed {
    /// Its end.
    pub end: ExecutionEnded,
    /// How often each step was completed: once, and once more for each revision.
    pub done: BTreeMap<Doing, usize>,
    /// Every approval that was asked for, and how it ended.
    pub approvals: BTreeMap<String, ApprovalStatus>,
    /// Everything that happened to it, by what it took in.
    pub turns: Vec<Vec<What>>,
}

impl Undisturbed {
    /// Plays it. `nonce` says what the k-th result (from 0) of a step called itself.
    ///
    /// # Errors
    /// Why it does not come to an end: the script or the definition is wrong.
    pub fn play(run: &str, nonce: &dyn Fn(&Doing, usize) -> String) -> Result<Undisturbed, String> {
        let script = Script::of(run).ok_or_else(|| format!("{run} names no script"))?;
        let workflow = script.workflow()?;
        let opening = Opening {
            execution_id: run.parse().map_err(|error: synod_protocol::Error| error.message)?,
            input: script.input().into(),
            labels: BTreeMap::new(),
            correlation_id: run.to_owned(),
            traceparent: None,
            body: String::new(),
        };
        let now = Timestamp::from_millis(BEGINS_MS);
        let (it, outcome) = Run::start(&workflow, opening, now).map_err(|error| error.message)?;
        let mut play = Play { script, it, now, asks: VecDeque::new(), turns: Vec::new(), nonce };
        let mut approvals = BTreeMap::new();
        play.comes(outcome);
        while play.it.ended_at().is_none() {
            match play.asks.pop_front() {
                Some(Ask { id, what: Request::Task(task, feedback) }) => {
                    play.works(&id, &task.input, feedback.as_ref())?;
                }
                Some(Ask { id, what: Request::Approval(_, revision) }) => {
                    let revision = revision.map_or(1, |revision| revision.number);
                    approvals.insert(id.to_string(), play.decides(&id, revision)?);
                }
                Some(ask) => return Err(format!("nobody answers {}", ask.id)),
                None => play.time_passes()?,
            }
        }
        let Play { turns, .. } = play;
        let mut done = BTreeMap::new();
        for what in turns.iter().flatten() {
            if let What::ExecutionStepCompleted(e) = what {
                *done.entry((e.step.clone(), e.items.clone())).or_default() += 1;
            }
        }
        let end = turns.iter().flatten().find_map(ended).cloned().ok_or("it is over, and nothing says so")?;
        Ok(Undisturbed { end, done, approvals, turns })
    }
}

/// The end of an execution.
fn ended(what: &What) -> Option<&ExecutionEnded> {
    match what {
        What::ExecutionCompleted(e) | What::ExecutionFailed(e) | What::ExecutionCancelled(e) => Some(e),
        _ => None,
    }
}

struct Play<'a> {
    script: Script,
    it: Run,
    now: Timestamp,
    asks: VecDeque<Ask>,
    turns: Vec<Vec<What>>,
    nonce: &'a dyn Fn(&Doing, usize) -> String,
}

impl Play<'_> {
    fn comes(&mut self, outcome: Outcome) {
        self.turns.push(outcome.whats);
        self.asks.retain(|ask| outcome.taken_back.iter().all(|child| child.id != ask.id));
        self.asks.extend(outcome.asks);
    }

    fn takes(&mut self, input: Input) -> Result<(), String> {
        if self.turns.len() > TURNS {
            return Err(format!("it is not over after {TURNS} turns"));
        }
        let outcome = self.it.decide(self.now, input).map_err(|error| error.message)?;
        self.comes(outcome);
        while self.it.goes_on() {
            let outcome = self.it.decide(self.now, Input::GoOn).map_err(|error| error.message)?;
            self.comes(outcome);
        }
        Ok(())
    }

    /// An agent does a step.
    fn works(&mut self, id: &EntityId, input: &Json, feedback: Option<&Json>) -> Result<(), String> {
        let read = |json: &Json| json.to::<Value>().map_err(|error| error.to_string());
        let (input, feedback) = (read(input)?, feedback.map(read).transpose()?);
        let failed =
            |retryable| Input::Failed { child: id.clone(), failure: failure(retryable), usage: None };
        let taken = match answer(id.as_str(), &input, feedback.as_ref()) {
            Some(Answer::Fails) => failed(true),
            Some(Answer::Never) => failed(false),
            Some(Answer::Value(value)) => {
                let key = self.it.child(id).ok_or_else(|| format!("{id} is no child"))?.key;
                let doing = (step_of(id.as_str()).0.to_owned(), key.items);
                let before = self.turns.iter().flatten().filter(|what| completes(what, &doing)).count();
                let output = json!({"value": value, "nonce": (self.nonce)(&doing, before)});
                let child = id.clone();
                Input::Completed {
                    child,
                    output: output.into(),
                    confidence: None,
                    agent_id: None,
                    usage: None,
                }
            }
            None => return Err(format!("{id} is given {input}, which the script does not know")),
        };
        self.takes(taken)
    }

    /// People decide, and whoever sends the signal does so.
    fn decides(&mut self, id: &EntityId, revision: u32) -> Result<ApprovalStatus, String> {
        let (step, _) = step_of(id.as_str());
        if let Some((name, payload)) = self.script.signal(step) {
            self.takes(Input::Signal { name: name.to_owned(), payload: payload.into() })?;
        }
        let last = self.script.decides(step, revision).pop().ok_or_else(|| format!("nobody decides {id}"))?;
        let status = status_after(last.decision);
        let decision = DecisionMade {
            decision: last.decision,
            approver: Some(last.person.to_owned()),
            roles: last.roles.iter().map(|role| (*role).to_owned()).collect(),
            at: self.now,
            comment: Some(self.script.comment(step, revision)),
            meaning: None,
            response_data: None,
            shown: String::new(),
        };
        self.takes(Input::Decided(Box::new(ApprovalEnded {
            approval_id: id.clone(),
            status,
            revision,
            decision: Some(decision),
            execution_id: None,
        })))?;
        Ok(status)
    }

    fn time_passes(&mut self) -> Result<(), String> {
        let due = self.it.next_deadline().ok_or("it waits for what never comes")?;
        self.now = self.now.max(due);
        self.takes(Input::Due)
    }
}

fn completes(what: &What, doing: &Doing) -> bool {
    matches!(what, What::ExecutionStepCompleted(e) if e.step == doing.0 && e.items == doing.1)
}

/// How an approval stands after the decision that ends it.
fn status_after(decision: Decision) -> ApprovalStatus {
    match decision {
        Decision::Approve => ApprovalStatus::Approved,
        Decision::Reject => ApprovalStatus::Rejected,
        Decision::RequestChanges => ApprovalStatus::ChangesRequested,
        Decision::Cancel => ApprovalStatus::Cancelled,
    }
}

/// How an agent of the script fails.
fn failure(retryable: bool) -> Failure {
    let code = if retryable { AT_FIRST } else { NEVER };
    Failure { code: code.into(), message: SAYS_SO.into(), retryable }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_protocol::workflow::ExecutionStatus;
    use synod_workflow::Workflow;

    fn play(n: u64) -> Undisturbed {
        Undisturbed::play(&format!("run-{n}"), &|(step, items), k| format!("{step}{items:?}{k}")).unwrap()
    }

    #[test]
    fn each_definition_has_twenty_steps_and_comes_to_its_end() {
        for n in 0..80 {
            let (name, text) = Script { n }.definition();
            let workflow = Workflow::parse(text).unwrap();
            let count = (0..).take_while(|number| workflow.place(*number).is_some()).count();
            assert_eq!(count, 20, "{name}");
            let undisturbed = play(n);
            let rejected = n % 40 == 38;
            let status = if rejected { ExecutionStatus::Failed } else { ExecutionStatus::Completed };
            assert_eq!(undisturbed.end.status, status, "{name} {n}: {:?}", undisturbed.end);
        }
    }

    #[test]
    fn what_is_done_and_asked_follows_the_script() {
        let chain = play(0);
        assert_eq!(chain.approvals.len(), 0);
        let done =
            |it: &Undisturbed, step: &str| it.done.get(&(step.to_owned(), vec![])).copied().unwrap_or(0);
        assert_eq!(done(&chain, "even_two") + done(&chain, "odd_two"), 1);
        assert_eq!((done(&chain, "lenient"), done(&chain, "maybe"), done(&chain, "shape")), (0, 1, 1));
        // Of 6: one request for changes, then it is released; `draft` is done twice, `facts` too.
        let review = play(6);
        let asked: Vec<&str> = review.approvals.keys().map(String::as_str).collect();
        assert_eq!(asked, ["run-6:finance", "run-6:legal", "run-6:review", "run-6:review:2"]);
        assert_eq!((done(&review, "draft"), done(&review, "facts"), done(&review, "last")), (2, 2, 1));
        let output: Value = review.end.output.unwrap().to().unwrap();
        assert_eq!((&output["revision"], &output["all"][4]["nonce"]), (&json!(2), &json!("last[]0")));
        let rejected = play(38);
        assert_eq!(rejected.end.error.unwrap().code, "rejected");
        let gate = play(3);
        assert_eq!(gate.approvals.len(), 5);
        let output: Value = gate.end.output.unwrap().to().unwrap();
        assert_eq!(output["signal"], json!({"from": 3}));
    }
}
