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
    if let Some(because) = explanation["waiting"]["because"].as_str() {
        lines.push(because.to_owned());
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
        ], "waiting": {"because": "it waits for an agent that can do c: there is none"}});
        assert_eq!(
            told(&explanation),
            "task t is waiting\n\
             attempt 1: agent a, by performance out of 12 with room (cost 0.123, room 4); lost: no presence\n\
             attempt 2: agent b, by random out of 1 with room\n\
             it waits for an agent that can do c: there is none\n"
        );
    }
}
