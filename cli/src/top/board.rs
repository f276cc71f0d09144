//! What is shown, as the mesh told it at one moment, and as rows.

use crate::mesh::{Api, Query, segment};
use crate::terminal::{harmless, thousands};
use futures::future::try_join_all;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use synod_protocol::Error;

/// Rows of each kind that are asked for; of more it is said that there are more.
const ROWS: usize = 200;
/// A mesh that takes longer than this to tell is taken for one that does not answer.
const ASK: Duration = Duration::from_secs(4);

/// One of the lists that can be looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pane {
    /// Agents.
    #[default]
    Fleet,
    /// Shards and their owners.
    Shards,
    /// Queues of messages.
    Queues,
    /// Approvals that wait for people, and executions that run.
    Work,
}

impl Pane {
    /// All of them, in the order of their keys.
    pub const ALL: [Pane; 4] = [Pane::Fleet, Pane::Shards, Pane::Queues, Pane::Work];

    /// What it is called.
    pub fn title(self) -> &'static str {
        match self {
            Pane::Fleet => "fleet",
            Pane::Shards => "shards",
            Pane::Queues => "queues",
            Pane::Work => "workflows",
        }
    }
}

/// Everything that is shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Board {
    /// `GET /v1/status`
    pub status: Value,
    /// `GET /v1/statistics`
    pub statistics: Value,
    /// `GET /v1/agents`
    pub agents: Listed,
    /// `GET /v1/queues/{name}` of those that were named: the mesh keeps no list of them.
    pub queues: Listed,
    /// `GET /v1/executions?status=running`
    pub executions: Listed,
    /// `GET /v1/approvals?status=pending`
    pub approvals: Listed,
}

/// The first page of a list.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Listed {
    /// What is on it.
    pub items: Vec<Value>,
    /// Whether there are more.
    pub more: bool,
}

/// One pane's rows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// Over its columns.
    pub titles: Vec<&'static str>,
    /// One below the other; nothing in them acts upon a terminal.
    pub rows: Vec<Vec<String>>,
    /// Whether the mesh has more than was asked for.
    pub more: bool,
    /// What is said where there are no rows.
    pub none: &'static str,
}

impl Board {
    /// Asks for all of it at once; of queues for these.
    ///
    /// # Errors
    /// The first refusal; `unavailable` where not all is told in time.
    pub async fn fetch(api: &Api, queues: &[String]) -> Result<Board, Error> {
        let list = async |path: &str, status: Option<&str>| {
            let mut query = vec![("limit", ROWS.to_string())];
            query.extend(status.map(|status| ("status", status.to_owned())));
            let mut page = get(api, path, &query).await?;
            let more = !page["next_cursor"].is_null();
            let Value::Array(items) = page["items"].take() else { return Ok(Listed::default()) };
            Ok(Listed { items, more })
        };
        let named = async || {
            let one = async |name: &String| get(api, &format!("/v1/queues/{}", segment(name)), &[]).await;
            let items = try_join_all(queues.iter().map(one)).await?;
            Ok(Listed { items, more: false })
        };
        let asked = async {
            let (status, statistics, agents, queues, executions, approvals) = tokio::try_join!(
                get(api, "/v1/status", &[]),
                get(api, "/v1/statistics", &[]),
                list("/v1/agents", None),
                named(),
                list("/v1/executions", Some("running")),
                list("/v1/approvals", Some("pending")),
            )?;
            Ok(Board { status, statistics, agents, queues, executions, approvals })
        };
        let late =
            || Error::unavailable(format!("{} does not tell all within {} s", api.url(), ASK.as_secs()));
        tokio::time::timeout(ASK, asked).await.unwrap_or_else(|_| Err(late()))
    }

    /// The rows of one pane in which this text stands, in whatever letters; all where it is empty.
    pub fn listing(&self, pane: Pane, filter: &str) -> Listing {
        let mut listing = match pane {
            Pane::Fleet => fleet(&self.agents),
            Pane::Shards => shards(&self.status),
            Pane::Queues => queues(&self.queues),
            Pane::Work => work(&self.approvals, &self.executions),
        };
        let wanted = filter.to_lowercase();
        let has = |row: &Vec<String>| row.iter().any(|cell| cell.to_lowercase().contains(&wanted));
        listing.rows.retain(has);
        listing
    }

    /// How much there is of everything, in one line.
    pub fn summary(&self) -> String {
        let counts = |of: &Value| {
            let counts = of.as_object().into_iter().flatten();
            let all: Vec<String> = counts
                .filter_map(|(name, count)| Some((name, count.as_u64().filter(|count| *count > 0)?)))
                .map(|(name, count)| format!("{} {}", thousands(count), harmless(name)))
                .collect();
            if all.is_empty() { "none".to_owned() } else { all.join(" ") }
        };
        let coordinators = self.status["coordinators"].as_object().map_or(0, serde_json::Map::len);
        let slots = format!("{}/{}", text(&self.statistics["in_flight"]), text(&self.statistics["capacity"]));
        format!(
            "coordinators {coordinators}   agents {}   slots {slots}   tasks {}",
            counts(&self.status["agents"]),
            counts(&self.status["tasks"])
        )
    }

    /// What the coordinator complains of; empty when it is ready.
    pub fn troubles(&self) -> Vec<String> {
        let troubles = self.status["troubles"].as_array().into_iter().flatten();
        troubles.filter_map(Value::as_str).map(harmless).collect()
    }
}

async fn get(api: &Api, path: &str, query: Query<'_>) -> Result<Value, Error> {
    api.get(path, query, Duration::ZERO).await
}

/// One value in one cell.
fn text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => harmless(text),
        Value::Number(number) => number.as_u64().map_or_else(|| number.to_string(), thousands),
        Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
        other => harmless(&other.to_string()),
    }
}

/// Milliseconds as one says them.
fn age(value: &Value) -> String {
    match value.as_u64() {
        None => "-".to_owned(),
        Some(ms) if ms < 10_000 => format!("{:.1} s", ms as f64 / 1e3),
        Some(ms) if ms < 600_000 => format!("{} s", ms / 1_000),
        Some(ms) if ms < 36_000_000 => format!("{} min", ms / 60_000),
        Some(ms) => format!("{} h", thousands(ms / 3_600_000)),
    }
}

/// Of a moment the time of day: what is shown here is of today, mostly.
fn clock(value: &Value) -> String {
    let moment = value.as_str().unwrap_or_default();
    harmless(moment.get(11..19).unwrap_or("-"))
}

fn fleet(agents: &Listed) -> Listing {
    let row = |agent: &Value| {
        let holds = format!("{}/{}", text(&agent["in_flight"]), text(&agent["max_concurrency"]));
        vec![
            text(&agent["agent_id"]),
            text(&agent["status"]),
            text(&agent["health"]),
            text(&agent["breaker"]),
            holds,
            clock(&agent["last_seen_at"]),
            text(&agent["capabilities"]),
        ]
    };
    Listing {
        titles: vec!["AGENT", "STATUS", "HEALTH", "BREAKER", "HOLDS", "SEEN", "CAPABILITIES"],
        rows: agents.items.iter().map(row).collect(),
        more: agents.more,
        none: "none",
    }
}

fn shards(status: &Value) -> Listing {
    let row = |shard: &Value| {
        vec![
            text(&shard["shard"]),
            text(&shard["owner"]),
            text(&shard["phase"]),
            text(&shard["lag"]),
            age(&shard["oldest_waiting_ms"]),
            text(&shard["waiting"]),
            text(&shard["in_flight"]),
            text(&shard["owed"]),
            text(&shard["trouble"]),
        ]
    };
    Listing {
        titles: vec!["SHARD", "OWNER", "PHASE", "LAG", "OLDEST", "WAITING", "UNPROVEN", "OWED", "TROUBLE"],
        rows: status["shards"].as_array().into_iter().flatten().map(row).collect(),
        more: false,
        none: "none",
    }
}

fn queues(queues: &Listed) -> Listing {
    let row = |queue: &Value| {
        vec![
            text(&queue["name"]),
            text(&queue["ready"]),
            text(&queue["leased"]),
            text(&queue["delayed"]),
            text(&queue["dead"]),
            age(&queue["oldest_age_ms"]),
            text(&queue["waiting_consumers"]),
            text(&queue["bytes"]),
        ]
    };
    Listing {
        titles: vec!["QUEUE", "READY", "LEASED", "DELAYED", "DEAD", "OLDEST", "CONSUMERS", "BYTES"],
        rows: queues.items.iter().map(row).collect(),
        more: queues.more,
        none: "none; name them with --queue",
    }
}

/// What waits for people comes first: nothing goes on there by itself.
fn work(approvals: &Listed, executions: &Listed) -> Listing {
    let approval = |one: &Value| {
        vec![
            "approval".to_owned(),
            text(&one["approval_id"]),
            clock(&one["created_at"]),
            format!("{} for {}", text(&one["title"]), text(&one["approvers"])),
        ]
    };
    let execution = |one: &Value| {
        let counts = one["step_counts"].as_object().into_iter().flatten();
        let steps: Vec<String> =
            counts.map(|(status, n)| format!("{} {}", text(n), harmless(status))).collect();
        vec![
            "execution".to_owned(),
            text(&one["execution_id"]),
            clock(&one["started_at"]),
            format!("{}: {}", text(&one["workflow_id"]), steps.join(", ")),
        ]
    };
    let rows = approvals.items.iter().map(approval).chain(executions.items.iter().map(execution));
    Listing {
        titles: vec!["KIND", "ID", "SINCE", "WHAT"],
        rows: rows.collect(),
        more: approvals.more || executions.more,
        none: "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nothing_that_a_terminal_acts_upon_gets_into_a_row() {
        let evil = "a\u{1b}[2J\n";
        let item = json!({"agent_id": evil, "status": evil, "name": evil, "title": evil, "approvers": [evil], "workflow_id": evil,
            "last_seen_at": "2026-01-01T\u{1b}\u{1b}\u{1b}\u{1b}\u{1b}\u{1b}\u{1b}\u{1b}Z", "step_counts": {evil: 1}, "owner": evil});
        let listed = Listed { items: vec![item.clone()], more: false };
        let status = json!({"shards": [item], "troubles": [evil], "agents": {evil: 1}});
        let board = Board {
            status,
            statistics: Value::Null,
            agents: listed.clone(),
            queues: listed.clone(),
            executions: listed.clone(),
            approvals: listed,
        };
        let rows = Pane::ALL.map(|pane| board.listing(pane, "").rows);
        let cells = rows.iter().flatten().flatten().cloned().chain(board.troubles()).chain([board.summary()]);
        for cell in cells {
            assert!(!cell.contains(char::is_control), "{cell:?}");
        }
    }

    #[test]
    fn times_are_said_as_one_says_them() {
        let check = |ms: Value, said: &str| assert_eq!(age(&ms), said);
        check(json!(null), "-");
        check(json!(950), "0.9 s");
        check(json!(59_999), "59 s");
        check(json!(3_600_000), "60 min");
        check(json!(360_000_000), "100 h");
    }
}
