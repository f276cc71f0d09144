//! What a decision starts.

use serde::{Deserialize, Serialize};
use synod_protocol::command::SubmitTask;
use synod_protocol::negotiation::{NegotiationDecided, NegotiationOpened};
use synod_protocol::{EntityId, Id, Json};

/// The task that this decision starts, if it starts one. Where it is for the winner and the outcome names none, there is none.
pub fn task_of(opened: &NegotiationOpened, decided: &NegotiationDecided) -> Option<SubmitTask> {
    #[derive(Serialize)]
    struct Input<'a> {
        negotiation_id: &'a EntityId,
        outcome: &'a Json,
        input: &'a Json,
    }
    #[derive(Deserialize)]
    struct Outcome {
        #[serde(alias = "decided")]
        winner: Id,
    }
    let then = opened.then.as_ref()?.task.as_ref()?;
    let winner = then.winner == Some(true);
    let agent_id = match winner {
        true => Some(decided.outcome.to::<Outcome>().ok()?.winner),
        false => then.agent_id.clone(),
    };
    let none = Json::null();
    let input = Input {
        negotiation_id: &opened.negotiation_id,
        outcome: &decided.outcome,
        input: then.input.as_ref().unwrap_or(&none),
    };
    let task_id = format!("{}:then", opened.negotiation_id).parse().ok()?;
    Some(SubmitTask {
        capability: then.capability.clone(),
        agent_id,
        timeout_ms: then.timeout_ms,
        ..SubmitTask::for_anyone(task_id, Json::of(&input).ok()?)
    })
}
