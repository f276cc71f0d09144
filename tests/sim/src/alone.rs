//! An execution once more, alone and undisturbed: one process that never dies, whatever is asked is answered at once, in the
//! order in which it was asked. What its children come to is what they came to in the ledger; where it did not come to that, what
//! their script says.

use crate::book::{Book, End};
use crate::flows::{self, Fate, SIGNAL};
use std::collections::VecDeque;
use synod_protocol::approval::{ApprovalEnded, ApprovalStatus, Decision, DecisionMade};
use synod_protocol::command::Failure;
use synod_protocol::workflow::ExecutionStatus;
use synod_protocol::{EntityId, Error, Json, Timestamp, Workspace};
use synod_workflow::Workflow;
use synod_workflow::run::{Ask, Input, Opening, Request, Run};

/// Inputs that one of these executions takes at most.
const INPUTS: usize = 1_000;

/// How an execution ends that was started like this one and is left alone.
///
/// # Errors
/// It comes to no end.
pub(crate) fn undisturbed(
    book: &Book,
    workflow: &Workflow,
) -> Result<(ExecutionStatus, Option<Json>), String> {
    let started = book.started.clone();
    let opening = Opening {
        execution_id: started.execution_id,
        input: started.input,
        labels: started.labels,
        correlation_id: started.correlation_id,
        traceparent: None,
        body: started.body,
    };
    let mut now = Timestamp::from_millis(0);
    let (mut run, outcome) = Run::start(workflow, opening, now).map_err(|error| error.to_string())?;
    let mut asked: VecDeque<Ask> = outcome.asks.into();
    for _ in 0..INPUTS {
        if run.status().is_final() {
            let view = run.view(&Workspace::default_name());
            return Ok((view.status, view.output));
        }
        let inputs = if let Some(ask) = asked.pop_front() {
            if run.waits_for(&ask.id) { answered(book, &ask, now)? } else { continue }
        } else if run.goes_on() {
            Input::GoOn
        } else if book.signalled && waits_for_signal(&run) {
            Input::Signal { name: SIGNAL.to_owned(), payload: flows::payload() }
        } else {
            now = run.next_deadline().ok_or("left alone, it waits for ever")?.max(now);
            Input::Due
        };
        let outcome = run.decide(now, inputs).map_err(|error: Error| error.to_string())?;
        asked.extend(outcome.asks);
    }
    Err(format!("left alone, it takes {INPUTS} inputs and more"))
}

fn waits_for_signal(run: &Run) -> bool {
    let signal = run.key("signal", &[]).and_then(|key| run.step(&key));
    signal.is_some_and(|step| !step.status.is_final())
}

fn answered(book: &Book, ask: &Ask, now: Timestamp) -> Result<Input, String> {
    let id = ask.id.clone();
    let recorded = book.kids.get(&id).filter(|kid| kid.counted).and_then(|kid| kid.end.clone());
    let end = recorded.unwrap_or_else(|| scripted(&id, &ask.what, now));
    Ok(match end {
        End::Done(output, confidence) => {
            Input::Completed { child: id, output, confidence, agent_id: None, usage: None }
        }
        End::Failed(failure) => Input::Failed { child: id, failure, usage: None },
        End::Decided(ended) => Input::Decided(Box::new(ended)),
    })
}

fn scripted(id: &EntityId, what: &Request, now: Timestamp) -> End {
    match what {
        Request::Task(..) => match flows::fate(id) {
            Fate::Done { output, confidence } => End::Done(output.into(), confidence),
            Fate::Fails { retryable } => {
                End::Failed(Failure { code: "c".into(), message: "m".into(), retryable })
            }
        },
        Request::Negotiation(_) => End::Done(serde_json::json!({"decided": "x"}).into(), None),
        Request::Approval(asked, revision) => {
            let revision = revision.as_ref().map_or(1, |revision| revision.number);
            let decision = flows::decision(id, asked.max_revisions.is_some_and(|most| revision < most));
            let status = match decision {
                Decision::Approve => ApprovalStatus::Approved,
                Decision::Reject => ApprovalStatus::Rejected,
                Decision::RequestChanges => ApprovalStatus::ChangesRequested,
                Decision::Cancel => ApprovalStatus::Cancelled,
            };
            let made = DecisionMade {
                decision,
                approver: Some("anna".into()),
                roles: std::collections::BTreeSet::new(),
                at: now,
                comment: None,
                meaning: None,
                response_data: None,
                shown: String::new(),
            };
            let (approval_id, decision, execution_id) = (id.clone(), Some(made), None);
            End::Decided(ApprovalEnded { approval_id, status, revision, decision, execution_id })
        }
    }
}
