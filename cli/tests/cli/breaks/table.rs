//! The breaks, in the order of `synod validate --list`.

use super::http::Lie::{self, Answers, Hears, Says, Tells, Without};
use super::http::Route;
use super::wire::Change::{self, Down, Late, Up};
use super::wire::Kind;
use super::{Break, By, Red};
use axum::http::Method;
use serde_json::json;
use std::time::Duration;

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const PUT: Method = Method::PUT;
const METRICS: Route = Route { method: GET, path: "/metrics", with: "" };

/// A coordinator that is lied about.
const fn http(
    check: &'static str,
    method: Method,
    path: &'static str,
    lie: Lie,
    says: &'static str,
) -> Break {
    Break { check, by: By::Http(Route { method, path, with: "" }, lie), red: Red::Reason(says) }
}

/// The same, of requests that have this in them only.
const fn http_with(
    check: &'static str,
    method: Method,
    path: &'static str,
    with: &'static str,
    lie: Lie,
    says: &'static str,
) -> Break {
    Break { check, by: By::Http(Route { method, path, with }, lie), red: Red::Reason(says) }
}

/// A Kafka or a Redis that is changed.
const fn kafka(check: &'static str, change: Change, says: &'static str) -> Break {
    Break { check, by: By::Wire(Kind::Kafka, change), red: Red::Reason(says) }
}

const fn redis(check: &'static str, change: Change, says: &'static str) -> Break {
    Break { check, by: By::Wire(Kind::Redis, change), red: Red::Reason(says) }
}

/// A figure that is as this says it is, and judged by its goal.
const fn figure(check: &'static str, by: By, name: &'static str, is_so: fn(f64) -> bool) -> Break {
    Break { check, by, red: Red::Figure(name, is_so) }
}

pub(super) static BREAKS: [Break; 59] = [
    http("http answers", GET, "/readyz", Answers(503, r#""no shard is served""#), "503"),
    kafka(
        "kafka answers",
        Down("synod.commands.v1", "synod.commands.v0"),
        "there is no topic synod.commands.v1",
    ),
    redis("redis answers", Down("+PONG\r\n", "-LOADING from disk\r\n"), "from disk"),
    kafka(
        "topics are as they should be",
        Down("synod.heartbeats.v1", "synod.heartbeats.v0"),
        "synod.heartbeats.v1",
    ),
    http(
        "every shard has one owner and advances",
        GET,
        "/v1/status",
        Tells(|status| status["shards"][0]["owner"] = json!("somebody")),
        "sees other owners",
    ),
    kafka("typed messages in json", Down("naïve", "naive!"), "naive!"),
    kafka("typed messages in bincode", Down("naïve", "naive!"), "naive!"),
    redis("quick door: submit, agent, result", Down(r#""n":12"#, r#""n":13"#), "13"),
    kafka("kafka door: submit, agent, reply", Down("-kafka-", "-other-"), "is not about the task"),
    kafka("kafka door takes bincode", Up("application/x-bincode", "application/x-bincod3"), "x-bincod3"),
    http(
        "one command through both doors is one task",
        GET,
        "/v1/tasks/*",
        Tells(|task| task["attempts"].as_array_mut().unwrap().push(json!({}))),
        "2 attempts",
    ),
    http("malformed json is refused", POST, "/v1/tasks", Answers(202, "{}"), "invalid_argument is promised"),
    http_with(
        "an unknown type is refused",
        POST,
        "/v1/commands",
        "synod.task.obey",
        Answers(202, "{}"),
        "invalid_argument is promised",
    ),
    kafka(
        "an unknown type is refused",
        Down("\"invalid_argument\"", "\"invalid_argum3nt\""),
        "invalid_argum3nt",
    ),
    http(
        "an unknown field is refused",
        POST,
        "/v1/tasks",
        Hears(|task| drop(task.as_object_mut().unwrap().remove("inputs"))),
        "invalid_argument is promised",
    ),
    http("an unknown task is not found", GET, "/v1/tasks/*", Answers(200, "{}"), "not_found is promised"),
    kafka("an unknown task is not found", Down("\"not_found\"", "\"not_f0und\""), "not_f0und"),
    http(
        "an id with another body is refused",
        POST,
        "/v1/tasks",
        Hears(|task| task["input"] = json!(1)),
        "already_exists is promised",
    ),
    http_with(
        "a wrong token is fenced",
        POST,
        "/v1/commands",
        "forged",
        Answers(200, "{}"),
        "fenced is promised",
    ),
    kafka("a wrong token is fenced", Down("\"fenced\"", "\"f3nced\""), "f3nced"),
    http(
        "a forbidden reply target is refused",
        POST,
        "/v1/commands",
        Without("synod-reply-to"),
        "invalid_argument is promised",
    ),
    http(
        "a cancelled task stays cancelled",
        GET,
        "/v1/tasks/*",
        Tells(|task| task["status"] = json!("completed")),
        "ended as \"completed\"",
    ),
    http(
        "what is done is not cancelled",
        POST,
        "/v1/tasks/*/cancel",
        Answers(200, "{}"),
        "invalid_transition is promised",
    ),
    http(
        "a failure is tried again",
        POST,
        "/v1/tasks",
        Hears(|task| task["retry"]["max_attempts"] = json!(1)),
        "dead_lettered",
    ),
    http(
        "a deadline ends what nobody does",
        GET,
        "/v1/tasks/*",
        Tells(|task| task["error"]["code"] = json!("timeout")),
        "timeout",
    ),
    http(
        "a choice is explained by its rule",
        POST,
        "/v1/tasks",
        Hears(|task| task["strategy"] = json!("random")),
        "asked for least_connections, it was chosen by",
    ),
    http(
        "who is shut out gets nothing",
        POST,
        "/v1/agents/*/breaker",
        Answers(200, "{}"),
        "it waited for null",
    ),
    http(
        "one task of a key runs at a time",
        POST,
        "/v1/tasks",
        Hears(|task| drop(task.as_object_mut().unwrap().remove("concurrency_key"))),
        "the second waited for null",
    ),
    http("what is paused gets no work", POST, "/v1/fleet/*", Answers(200, "{}"), "it waited for null"),
    http(
        "a snapshot shows the fleet",
        GET,
        "/v1/snapshots/*",
        Tells(|snapshot| snapshot["items"] = json!([])),
        "is not in it",
    ),
    http(
        "a stale write of state is refused",
        PUT,
        "/v1/state/*",
        Without("if-match"),
        "conflict is promised",
    ),
    http(
        "what loses in a conflict is kept",
        GET,
        "/v1/state/*/history",
        Tells(|history| drop(history["items"].as_array_mut().unwrap().remove(2))),
        "the history is",
    ),
    http(
        "a batch of state is whole or nothing",
        GET,
        "/v1/state/*",
        Answers(200, r#"{"value": 1}"#),
        "not_found is promised",
    ),
    http(
        "a change of state is told",
        GET,
        "/v1/subscriptions/*/stream",
        Says("\"value\":3", "\"value\":2"),
        "was told",
    ),
    kafka("a change of state is mirrored", Down("\"here\"", "\"gone\""), "gone"),
    http_with(
        "a lock has one holder, and fences the last",
        POST,
        "/v1/locks/*",
        "\"second\"",
        Answers(200, r#"{"token": 1}"#),
        "conflict is promised",
    ),
    http_with(
        "a lock has one holder, and fences the last",
        POST,
        "/v1/locks/*",
        "\"wait_ms\":10000",
        Tells(|lease| lease["token"] = json!(1)),
        "token 1 is not above",
    ),
    http(
        "counters and budgets keep their bounds",
        POST,
        "/v1/counters/*",
        Hears(|asked| drop(asked.as_object_mut().unwrap().remove("ceiling"))),
        "conflict is promised",
    ),
    http(
        "a queue delivers again, then buries",
        POST,
        "/v1/queues/*",
        Hears(|message| message["max_deliveries"] = json!(9)),
        "after two deliveries it is not dead",
    ),
    redis(
        "a receipt that is over is fenced",
        Down("*2\r\n$6\r\nfenced\r\n", "*2\r\n$4\r\ndone\r\n"),
        "fenced is promised",
    ),
    http(
        "an agent's memory is handed over",
        GET,
        "/v1/memory/*/*",
        Tells(|copy| copy["provenance"] = json!(null)),
        "the copy is",
    ),
    http(
        "a vote is sealed, and decided once",
        GET,
        "/v1/negotiations/*",
        Tells(|it| it["rounds"][0]["answers"]["a"]["response"] = json!("x")),
        "shown before its round had closed",
    ),
    http_with(
        "every protocol decides as it says",
        POST,
        "/v1/negotiations/*/responses",
        "\"participant\":\"c\"",
        Hears(|said| said["response"] = json!("patch")),
        "vote: /decided of its outcome is \"patch\"",
    ),
    http(
        "without a quorum nothing is decided",
        POST,
        "/v1/negotiations",
        Tells(|it| it["status"] = json!("decided")),
        "nobody answered, and it is \"decided\"",
    ),
    http(
        "a certificate is recomputed",
        GET,
        "/v1/negotiations/*/certificate",
        Tells(|it| it["outcome"]["decided"] = json!("no")),
        "the certificate does not hold",
    ),
    http(
        "a decision starts what it should",
        POST,
        "/v1/negotiations",
        Hears(|it| drop(it["then"].as_object_mut().unwrap().remove("task"))),
        "not_found",
    ),
    http(
        "a broken workflow is refused",
        POST,
        "/v1/workflows/definitions",
        Hears(|it| it["steps"][0]["depends_on"] = json!([])),
        "unprocessable is promised",
    ),
    http_with(
        "a workflow runs, with people in it",
        POST,
        "/v1/approvals/*/decisions",
        "stranger",
        Hears(|it| it["approver"] = json!("anna")),
        "permission_denied is promised",
    ),
    http(
        "what is cancelled starts nothing",
        POST,
        "/v1/executions/*/cancel",
        Answers(202, "{}"),
        "invalid_transition is promised",
    ),
    http(
        "who listens is told of an approval",
        GET,
        "/v1/events/stream",
        Says("synod.approval.required", "synod.approval.expired"),
        "was told where synod.approval.required",
    ),
    http(
        "events are complete and in order",
        GET,
        "/v1/events",
        Tells(|page| page["items"].as_array_mut().unwrap().reverse()),
        "HTTP tells",
    ),
    kafka(
        "the ledger tells a task's life",
        Down("synod.task.completed", "synod.task.cancelled"),
        "Some(\"synod.task.cancelled\")",
    ),
    kafka("a dead letter is redriven, and put away", Down("\"discarded\"", "\"d1scarded\""), "still listed"),
    kafka("what is handed back comes again when due", Down("\"seven\"", "\"s3ven\""), "s3ven"),
    // It says nowhere to come again on, and is a dead letter.
    kafka(
        "what is handed back comes again when due",
        Up("synod-retry-to", "synod-retry-no"),
        "nothing came on validate.retries",
    ),
    http(
        "a killed agent's work goes to another",
        GET,
        "/v1/tasks/*",
        Tells(|task| {
            if let Some(first) = task["attempts"].get_mut(0) {
                first["outcome"] = json!("timed_out");
            }
        }),
        "timed_out",
    ),
    http(
        "a breaker opens, tries, and closes",
        GET,
        "/v1/agents/*",
        Tells(|agent| agent["breakers"] = json!([{ "status": "open" }])),
        "open before anything has failed",
    ),
    http(
        "a breaker opens, tries, and closes",
        GET,
        "/v1/agents/*",
        Tells(|agent| {
            if !agent["breakers"].to_string().contains("\"open\"") {
                agent["breakers"] = json!([{ "status": "half_open" }]);
            }
        }),
        "it is not closed",
    ),
    kafka("the ledger replays clean", Down("\"attempt\":1", "\"attempt\":2"), "attempt"),
];

/// Those of what kills a coordinator or wipes Redis.
pub(super) static DISRUPTIVE: [Break; 2] = [
    http_with(
        "a killed coordinator's shards go on",
        POST,
        "/v1/tasks",
        "-taken-over-",
        Answers(202, "{}"),
        "there is no task",
    ),
    http(
        "Redis is wiped, and all is there again",
        GET,
        "/v1/state/*",
        Tells(|entry| entry["value"] = json!("older")),
        "older",
    ),
];

/// Every answer of Kafka and of Redis is late by this.
const KAFKA_LATE: Duration = Duration::from_millis(420);
const REDIS_LATE: Duration = Duration::from_millis(3);
/// As many messages as are measured, in as many round trips as they take at least: 4,096 are under way at a time.
const MESSAGES: f64 = 20_000.0;
const ROUND_TRIPS: f64 = MESSAGES / 4_096.0;

/// Those of what is measured.
pub(super) static MEASURED: [Break; 3] = [
    figure(
        "figures of the bus",
        By::Wire(Kind::Kafka, Late(KAFKA_LATE)),
        "messages through the bus",
        |per_s| per_s <= MESSAGES / (ROUND_TRIPS * KAFKA_LATE.as_secs_f64()),
    ),
    figure("figures of Redis", By::Wire(Kind::Redis, Late(REDIS_LATE)), "an operation of Redis, p50", |ms| {
        ms >= REDIS_LATE.as_secs_f64() * 1e3
    }),
    figure(
        "figures of a coordinator",
        // It has 9 before the first digit of the bytes that it uses.
        By::Http(METRICS, Says("process_resident_memory_bytes ", "process_resident_memory_bytes 9")),
        "a coordinator with 100 agents, 100 tasks/s: memory",
        |mb| mb >= 900.0,
    ),
];
