//! What a decision starts. What cannot be started is told with the decision, never passed over in silence.

use serde::{Deserialize, Serialize};
use synod_protocol::command::SubmitTask;
use synod_protocol::negotiation::{
    NegotiationDecided, NegotiationOpened, STARTS_BYTES, Starts, ThenEvent, ThenState, ThenTask, task_id,
};
use synod_protocol::{EntityId, Error, Id, Json, Limits};

/// The priority of a task that an urgent decision starts.
const FIRST: u8 = 9;

/// What this decision starts, and the task among it; `None` where nothing was wanted.
pub fn starts(
    opened: &NegotiationOpened,
    decided: &NegotiationDecided,
) -> Option<(Starts, Option<SubmitTask>)> {
    let then = opened.then.as_ref()?;
    let mut starts = Starts::default();
    // All of it stands in one record with the decision.
    let mut left = STARTS_BYTES.saturating_sub(decided.outcome.as_str().len());
    let mut fits = |what: &str, bytes: usize| match left.checked_sub(bytes) {
        Some(rest) => {
            left = rest;
            Ok(())
        }
        None => Err(format!(
            "{what}: the decision and what it starts would have more than {STARTS_BYTES} bytes together"
        )),
    };
    let mut task = None;
    if let Some(wanted) = &then.task {
        let made = task_of(opened, decided, wanted);
        match made.and_then(|made| fits("the task", made.input.as_str().len()).map(|()| made)) {
            Ok(made) => task = Some(made),
            Err(why) => starts.not_started.push(why),
        }
    }
    if let Some(wanted) = &then.state {
        let bytes = wanted.value.as_ref().map_or(0, |value| value.as_str().len());
        let checked = wanted.put(&decided.outcome).map_err(|error| not_written(wanted, &error));
        match checked.and_then(|_| fits("the write of shared state", bytes)) {
            Ok(()) => starts.state = Some(wanted.clone()),
            Err(why) => starts.not_started.push(why),
        }
    }
    if let Some(wanted) = &then.event {
        match fits("the event", wanted.data.as_ref().map_or(0, |data| data.as_str().len())) {
            Ok(()) => starts.event = Some(wanted.clone()),
            Err(why) => starts.not_started.push(why),
        }
    }
    Some((starts, task))
}

fn not_written(wanted: &ThenState, error: &Error) -> String {
    format!("the write of shared state under {}: {}", wanted.key, error.message)
}

fn task_of(
    opened: &NegotiationOpened,
    decided: &NegotiationDecided,
    wanted: &ThenTask,
) -> Result<SubmitTask, String> {
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
    let agent_id = match wanted.winner == Some(true) {
        true => {
            let named = decided.outcome.to::<Outcome>();
            Some(named.map_err(|_| "the task: the outcome names no winner".to_owned())?.winner)
        }
        false => wanted.agent_id.clone(),
    };
    let none = Json::null();
    let input = Input {
        negotiation_id: &opened.negotiation_id,
        outcome: &decided.outcome,
        input: wanted.input.as_ref().unwrap_or(&none),
    };
    let input =
        Json::of(&input).map_err(|error| format!("the task: its input cannot be written: {error}"))?;
    let why = |error: Error| format!("the task: {}", error.message);
    Limits::default().check_size(input.as_str().len()).map_err(why)?;
    Ok(SubmitTask {
        capability: wanted.capability.clone(),
        agent_id,
        timeout_ms: wanted.timeout_ms,
        priority: wanted.priority.or(opened.urgent.then_some(FIRST)),
        ..SubmitTask::for_anyone(task_id(&opened.negotiation_id).map_err(why)?, input)
    })
}

/// The value of the event that this decision publishes.
///
/// # Errors
/// It cannot be written.
pub fn event_value(decided: &NegotiationDecided, event: &ThenEvent) -> Result<Json, serde_json::Error> {
    #[derive(Serialize)]
    struct Value<'a> {
        negotiation_id: &'a EntityId,
        outcome: &'a Json,
        data: &'a Option<Json>,
    }
    let (negotiation_id, outcome) = (&decided.negotiation_id, &decided.outcome);
    Json::of(&Value { negotiation_id, outcome, data: &event.data })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Known, Opening, Protocols, open};
    use serde_json::{Value, json};
    use synod_protocol::Timestamp;
    use synod_protocol::event::What;

    /// What is started by an outcome, and why the rest is not.
    fn check(then: &Value, outcome: &Value, want: (bool, bool, bool), why: &[&str]) {
        let body = json!({"negotiation_id": "n", "protocol": "vote", "participants": ["a"], "then": then,
            "rules": {"candidates": ["x"], "method": "plurality"}});
        let now = Timestamp::from_millis(1_000);
        let (seed, invited, correlation_id) = ("00".to_owned(), Vec::new(), "n".to_owned());
        let known = Known::default();
        let opening = Opening { now, seed, invited, correlation_id, traceparent: None, known };
        let command = serde_json::from_value(body).unwrap();
        let events = open(Protocols::standard(), &command, opening).unwrap();
        let What::NegotiationOpened(opened) = &events[0] else { panic!("{events:?}") };
        let decided = serde_json::from_value(json!({"negotiation_id": "n", "status": "decided",
            "outcome": outcome, "explanation": [], "seed": "00", "deciding_ms": 1}));
        let (starts, task) = starts(opened, &decided.unwrap()).unwrap();
        assert_eq!((task.is_some(), starts.state.is_some(), starts.event.is_some()), want);
        let told: Vec<bool> =
            starts.not_started.iter().zip(why).map(|(told, why)| told.starts_with(why)).collect();
        assert!(told.len() == starts.not_started.len() && !told.contains(&false), "{:?}", starts.not_started);
    }

    #[test]
    fn what_only_the_outcome_shows_is_told() {
        let all = json!({"task": {"capability": "c"}, "state": {"key": "k"}, "event": {"type": "t"}});
        check(&all, &json!("z"), (true, true, true), &[]);
        let winner = json!({"task": {"winner": true}, "event": {"type": "t"}});
        check(&winner, &json!({"winner": "a"}), (true, false, true), &[]);
        check(&winner, &json!(7), (false, false, true), &["the task: the outcome names no winner"]);
        // An input has room for less than an outcome, shared state for more.
        let outcome = json!("z".repeat(270_000));
        check(&all, &outcome, (false, true, true), &["the task: the payload has 2700"]);
        let outcome = json!("z".repeat(530_000));
        let why = ["the task: the payload", "the write of shared state under k: the value has 5300"];
        check(&all, &outcome, (false, false, true), &why);
        // Not in one record with the decision.
        let event = json!({"event": {"type": "t", "data": "d".repeat(200_000)}});
        check(&event, &outcome, (false, false, false), &["the event: the decision and what it starts"]);
    }
}
