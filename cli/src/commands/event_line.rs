//! An event on one line, for people; or as one JSON object or YAML document.

use crate::output::{Column, Format};
use crate::terminal::harmless;
use serde_json::{Value, json};

/// A table of events.
pub(super) const COLUMNS: [Column; 5] = [
    Column::new("TIME", "/time"),
    Column::new("POSITION", "/position"),
    Column::new("ENTITY", "/entity"),
    Column::new("EVENT", "/event"),
    Column::new("WHAT", "/what"),
];

/// One row of it.
pub(super) fn row(event: &Value) -> Value {
    json!({
        "time": event["time"],
        "position": position(event),
        "entity": event["entity"],
        "event": short_type(event),
        "what": what(event),
    })
}

/// One line (or document), with its line feed.
pub(super) fn line(event: &Value, format: Format) -> String {
    match format {
        Format::Json => format!("{event}\n"),
        // A `Value` always has a YAML form: its keys are strings.
        Format::Yaml => format!("---\n{}", serde_yaml_ng::to_string(event).unwrap_or_default()),
        Format::Table => {
            let text = |value: &Value| harmless(value.as_str().unwrap_or("-"));
            format!(
                "{}  {}  {:<24} {}\n",
                text(&event["time"]),
                text(&event["entity"]),
                harmless(&short_type(event)),
                harmless(&what(event))
            )
            .replace(" \n", "\n")
        }
    }
}

/// Where it stands in the ledger.
pub(super) fn position(event: &Value) -> Option<String> {
    event["position"].as_str().map(str::to_owned)
}

/// `synod.task.completed` without `synod.`.
pub(super) fn short_type(event: &Value) -> String {
    let ty = event["type"].as_str().unwrap_or("-");
    ty.strip_prefix("synod.").unwrap_or(ty).to_owned()
}

/// What tells most of its value.
pub(super) fn what(event: &Value) -> String {
    let data = &event["data"];
    let mut parts = Vec::new();
    let mut say = |name: &str, value: &Value| match value {
        Value::Null => {}
        Value::String(text) => parts.push(format!("{name} {text}")),
        other => parts.push(format!("{name} {other}")),
    };
    say("step", &data["step"]);
    say("items", &data["items"]);
    say("attempt", &data["attempt"]);
    if event["type"].as_str().is_some_and(|ty| ty.starts_with("synod.task.")) {
        say("agent", &data["agent_id"]);
        say("for", &data["capability"]);
    } else {
        say("status", &data["status"]);
        say("health", &data["health"]);
    }
    say("progress", &data["progress"]);
    say("why", &data["reason"]);
    say("why", &data["error"]["message"]);
    say("ms", &data["processing_ms"]);
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_fits_on_one_line_whatever_is_in_it() {
        let event = json!({
            "time": "2026-11-21T08:00:00.000Z", "entity": "t1", "type": "synod.task.attempt_failed",
            "data": {"attempt": 2, "agent_id": "a", "error": {"message": "evil\u{1b}[2J\nnews"}}
        });
        assert_eq!(
            line(&event, Format::Table),
            "2026-11-21T08:00:00.000Z  t1  task.attempt_failed      attempt 2, agent a, why evil\\u{1b}[2J\\nnews\n"
        );
        assert_eq!(serde_json::from_str::<Value>(&line(&event, Format::Json)).unwrap(), event);
    }
}
