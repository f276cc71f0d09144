//! An explanation of a task in sentences: how each of its agents was chosen, and what it waits for.

use serde_json::Value;

/// In sentences.
pub(crate) fn told(explanation: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let mut lines =
        vec![format!("task {} is {}", text(&explanation["task_id"]), text(&explanation["status"]))];
    for attempt in explanation["attempts"].as_array().into_iter().flatten() {
        let choice = &attempt["choice"];
        let mut line = format!("attempt {}: agent {}", attempt["attempt"], text(&attempt["agent_id"]));
        if let Some(rule) = choice["rule"].as_str() {
            line.push_str(&format!(", by {rule} out of {} with room", choice["candidates"]));
        }
        let figures = choice["figures"].as_object().into_iter().flatten();
        let figures: Vec<String> = figures.map(|(name, value)| format!("{name} {}", figure(value))).collect();
        if !figures.is_empty() {
            line.push_str(&format!(" ({})", figures.join(", ")));
        }
        if let Some(outcome) = attempt["outcome"].as_str() {
            line.push_str(&format!("; {outcome}"));
            if let Some(why) = attempt["why"].as_str().filter(|_| outcome != "completed") {
                line.push_str(&format!(": {why}"));
            }
        }
        lines.push(line);
    }
    let waiting = &explanation["waiting"];
    if let Some(message) = waiting["message"].as_str() {
        lines.push(format!("it waits: {message}"));
    }
    if let Some(agents) = waiting["agents"].as_object() {
        let said = [
            ("full", "full"),
            ("unwell", "not well or not at work"),
            ("shut", "kept from work by a breaker"),
            ("unfit", "without what it requires"),
            ("avoided", "that declined it"),
            ("ready", "that could take it now"),
        ];
        let counts = said.iter().filter_map(|(name, how)| {
            let count = agents.get(*name)?.as_u64().filter(|count| *count > 0)?;
            Some(format!("{count} {how}"))
        });
        let counts: Vec<String> = counts.collect();
        lines.push(match counts.is_empty() {
            true => "no agent has that capability".to_owned(),
            false => format!("agents that are able: {}", counts.join(", ")),
        });
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Whole numbers as such, others with three places at most.
fn figure(value: &Value) -> String {
    let number = value.as_f64().unwrap_or_default();
    let text = format!("{number:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_choice_is_told_with_its_figures_and_what_came_of_it() {
        let explanation = json!({"task_id": "t", "status": "waiting", "attempts": [
            {"attempt": 1, "agent_id": "a", "outcome": "lost", "why": "no presence",
                "choice": {"rule": "performance", "candidates": 12, "in_flight": 1, "figures": {"cost": 0.12345, "room": 4.0}}},
            {"attempt": 2, "agent_id": "b", "choice": {"rule": "random", "candidates": 1, "in_flight": 0}},
        ], "waiting": {"reason": "agent", "message": "no agent with capability c was found that is well and has room",
                "agents": {"able": 3, "avoided": 0, "unfit": 0, "unwell": 1, "shut": 0, "full": 2, "ready": 0}}});
        assert_eq!(
            told(&explanation),
            "task t is waiting\n\
             attempt 1: agent a, by performance out of 12 with room (cost 0.123, room 4); lost: no presence\n\
             attempt 2: agent b, by random out of 1 with room\n\
             it waits: no agent with capability c was found that is well and has room\n\
             agents that are able: 2 full, 1 not well or not at work\n"
        );
    }
}
