//! Every metric that Synod has. Units are base units: seconds, bytes; counters end in `_total`.
//!
//! Labels have few values: never an id, never a text that a client chooses.

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// Calls to Redis, from asking for a connection to the answer.
pub const REDIS_CALL_SECONDS: &str = "synod_redis_call_seconds";
/// Calls to Redis that failed; `kind` is the error's.
pub const REDIS_ERRORS_TOTAL: &str = "synod_redis_errors_total";
/// Shared connections opened; more than one per process is a reconnect.
pub const REDIS_CONNECTS_TOTAL: &str = "synod_redis_connects_total";

/// From produce to acknowledgement.
pub const KAFKA_APPEND_SECONDS: &str = "synod_kafka_append_seconds";
/// Produces that failed; `topic`.
pub const KAFKA_ERRORS_TOTAL: &str = "synod_kafka_errors_total";
/// Requests sent to Kafka, as of the clients' last statistics; `kind` is Kafka's name of the request.
pub const KAFKA_REQUESTS_TOTAL: &str = "synod_kafka_requests_total";

/// Commands taken; `door` (kafka, http), `type`.
pub const COMMANDS_TOTAL: &str = "synod_commands_total";
/// From taking a command to its record being proven; `door`.
pub const COMMAND_SECONDS: &str = "synod_command_seconds";
/// Ledger records appended; `kind` (claim, step, image).
pub const LEDGER_RECORDS_TOTAL: &str = "synod_ledger_records_total";
/// Epochs that ended by a doubt; `why`.
pub const EPOCHS_LOST_TOTAL: &str = "synod_epochs_lost_total";
/// Shards that this process owns.
pub const SHARDS_OWNED: &str = "synod_shards_owned";
/// Commands that wait in the topic, over the shards owned.
pub const COMMANDS_WAITING: &str = "synod_commands_waiting";
/// Folding a shard, from claim to serving.
pub const FOLD_SECONDS: &str = "synod_fold_seconds";
/// Effects performed; `kind`, `outcome` (confirmed, refused, failed).
pub const EFFECTS_TOTAL: &str = "synod_effects_total";
/// Effects not yet confirmed.
pub const EFFECTS_PENDING: &str = "synod_effects_pending";
/// Records copied to a dead letter topic; `topic`.
pub const DEAD_LETTERS_TOTAL: &str = "synod_dead_letters_total";
/// Records that were handed back and have left their tier; `tier`, `outcome` (`passed_on` to their topic, `dead_lettered`).
pub const RETRIES_TOTAL: &str = "synod_retries_total";

/// Changes of shared state that the mirror has.
pub const STATE_MIRRORED_TOTAL: &str = "synod_state_mirrored_total";

/// Tasks that ended; `status`.
pub const TASKS_ENDED_TOTAL: &str = "synod_tasks_ended_total";
/// From a task's submission to its end; `status`.
pub const TASK_SECONDS: &str = "synod_task_seconds";
/// Executions that were started.
pub const EXECUTIONS_STARTED_TOTAL: &str = "synod_executions_started_total";
/// Executions that ended; `status`.
pub const EXECUTIONS_ENDED_TOTAL: &str = "synod_executions_ended_total";
/// From an execution's start to its end; `status`.
pub const EXECUTION_SECONDS: &str = "synod_execution_seconds";
/// Approvals that people were asked for.
pub const APPROVALS_REQUIRED_TOTAL: &str = "synod_approvals_required_total";
/// Approvals that ended; `status`.
pub const APPROVALS_ENDED_TOTAL: &str = "synod_approvals_ended_total";
/// Choosing an agent for one attempt, the whole fleet looked at.
pub const CHOICE_SECONDS: &str = "synod_choice_seconds";
/// Negotiations that ended; `status`, `protocol`.
pub const NEGOTIATIONS_ENDED_TOTAL: &str = "synod_negotiations_ended_total";
/// Negotiations that were opened; `protocol`.
pub const NEGOTIATIONS_OPENED_TOTAL: &str = "synod_negotiations_opened_total";
/// Rounds of negotiations that ended; `protocol`.
pub const NEGOTIATION_ROUNDS_TOTAL: &str = "synod_negotiation_rounds_total";
/// Participants asked in rounds of negotiations that ended; `protocol`, `how` (`answered`, `abstained`, `silent`, `gone`).
pub const NEGOTIATION_PARTICIPANTS_TOTAL: &str = "synod_negotiation_participants_total";
/// From a negotiation's opening to its end; `status`, `protocol`.
pub const NEGOTIATION_SECONDS: &str = "synod_negotiation_seconds";
/// Agents; `health`.
pub const AGENTS: &str = "synod_agents";
/// Breakers that changed; `state`: what to.
pub const BREAKER_CHANGES_TOTAL: &str = "synod_breaker_changes_total";

/// HTTP requests; `route` (the pattern), `method`, `status`.
pub const HTTP_REQUESTS_TOTAL: &str = "synod_http_requests_total";
/// From a request's head to its answer's; `route`, `method`.
pub const HTTP_REQUEST_SECONDS: &str = "synod_http_request_seconds";

/// Spans that ended; `outcome` (`exported`, `unsampled`, `dropped` for want of room, `failed` at the receiver, `refused` by it).
pub const SPANS_TOTAL: &str = "synod_spans_total";
/// From sending spans to the receiver's answer, tries that came to nothing included.
pub const SPAN_EXPORT_SECONDS: &str = "synod_span_export_seconds";

/// Shards that came to this process, and that it let go; `to` (`claimed`, `released`).
pub const SHARD_CHANGES_TOTAL: &str = "synod_shard_changes_total";
/// Commands that wait in the topic, of each shard that this process owns; `shard`.
pub const SHARD_LAG: &str = "synod_shard_lag";
/// How long the oldest command waits in the topic, over the shards owned.
pub const OLDEST_COMMAND_SECONDS: &str = "synod_oldest_command_age_seconds";
/// Tasks that have not ended, over the shards owned; `status`: those that are `waiting` are the queue before the fleet.
pub const TASKS: &str = "synod_tasks";
/// From a task's submission to its first assignment: how long it waited for an agent.
pub const TASK_WAIT_SECONDS: &str = "synod_task_wait_seconds";
/// How long the oldest task waits for an agent, over the shards owned.
pub const OLDEST_TASK_SECONDS: &str = "synod_oldest_task_age_seconds";
/// How long the oldest approval waits for people, over the shards owned.
pub const OLDEST_APPROVAL_SECONDS: &str = "synod_oldest_approval_age_seconds";
/// Executions that have not ended, over the shards owned.
pub const EXECUTIONS: &str = "synod_executions";
/// Negotiations that have not ended, over the shards owned.
pub const NEGOTIATIONS: &str = "synod_negotiations";
/// Approvals that wait for people, over the shards owned.
pub const APPROVALS: &str = "synod_approvals";
/// From asking people to the end of an approval; `status`.
pub const APPROVAL_SECONDS: &str = "synod_approval_seconds";
/// Agents chosen; `rule` (the balancing rule).
pub const PICKS_TOTAL: &str = "synod_picks_total";
/// Breakers that are there, as this coordinator has them; `state`.
pub const BREAKERS: &str = "synod_breakers";
/// Webhooks sent; `outcome` (`delivered`, `failed`: to be tried again, `dead`: given up).
pub const WEBHOOKS_TOTAL: &str = "synod_webhooks_total";
/// Records that wait in a Kafka producer for their acknowledgement; `client`.
pub const KAFKA_QUEUE_RECORDS: &str = "synod_kafka_queue_records";
/// Their bytes; `client`.
pub const KAFKA_QUEUE_BYTES: &str = "synod_kafka_queue_bytes";
/// Brokers to which a Kafka client is connected; `client`.
pub const KAFKA_BROKERS_UP: &str = "synod_kafka_brokers_up";
/// Round trip to the slowest broker, mean of the last interval; `client`.
pub const KAFKA_ROUND_TRIP_SECONDS: &str = "synod_kafka_round_trip_mean_seconds";
/// Requests that could not be sent to Kafka, were sent again or were not answered; `client`.
pub const KAFKA_REQUESTS_FAILED_TOTAL: &str = "synod_kafka_requests_failed_total";
/// Connections of the pool to Redis; `state` (`used`, `idle`).
pub const REDIS_POOL_CONNECTIONS: &str = "synod_redis_pool_connections";
/// Callers that wait for one.
pub const REDIS_POOL_WAITING: &str = "synod_redis_pool_waiting";

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A name, its kind, its labels, its help text.
type Metric = (&'static str, Kind, &'static [&'static str], &'static str);

/// Every name above; `render` shows them.
const ALL: &[Metric] = &[
    (REDIS_CALL_SECONDS, Kind::Histogram, &[], "Calls to Redis, from asking for a connection to the answer"),
    (REDIS_ERRORS_TOTAL, Kind::Counter, &["kind"], "Calls to Redis that failed, by kind"),
    (REDIS_CONNECTS_TOTAL, Kind::Counter, &[], "Shared connections to Redis opened"),
    (KAFKA_APPEND_SECONDS, Kind::Histogram, &[], "From produce to acknowledgement"),
    (KAFKA_ERRORS_TOTAL, Kind::Counter, &["topic"], "Produces that failed, by topic"),
    (KAFKA_REQUESTS_TOTAL, Kind::Counter, &["kind"], "Requests sent to Kafka, by kind"),
    (COMMANDS_TOTAL, Kind::Counter, &["door", "type"], "Commands taken, by door and type"),
    (
        COMMAND_SECONDS,
        Kind::Histogram,
        &["door"],
        "From taking a command to its record being proven, by door",
    ),
    (LEDGER_RECORDS_TOTAL, Kind::Counter, &["kind"], "Ledger records appended, by kind"),
    (EPOCHS_LOST_TOTAL, Kind::Counter, &["why"], "Epochs that ended by a doubt, by why"),
    (SHARDS_OWNED, Kind::Gauge, &[], "Shards that this process owns"),
    (COMMANDS_WAITING, Kind::Gauge, &[], "Commands that wait in the topic, over the shards owned"),
    (FOLD_SECONDS, Kind::Histogram, &[], "Folding a shard, from claim to serving"),
    (EFFECTS_TOTAL, Kind::Counter, &["kind", "outcome"], "Effects performed, by kind and outcome"),
    (EFFECTS_PENDING, Kind::Gauge, &[], "Effects not yet confirmed"),
    (DEAD_LETTERS_TOTAL, Kind::Counter, &["topic"], "Records copied to a dead letter topic, by topic"),
    (
        RETRIES_TOTAL,
        Kind::Counter,
        &["tier", "outcome"],
        "Records handed back that have left their tier, by tier and outcome",
    ),
    (STATE_MIRRORED_TOTAL, Kind::Counter, &[], "Changes of shared state that the mirror has"),
    (TASKS_ENDED_TOTAL, Kind::Counter, &["status"], "Tasks that ended, by status"),
    (TASK_SECONDS, Kind::Histogram, &["status"], "From a task's submission to its end, by status"),
    (EXECUTIONS_STARTED_TOTAL, Kind::Counter, &[], "Executions that were started"),
    (EXECUTIONS_ENDED_TOTAL, Kind::Counter, &["status"], "Executions that ended, by status"),
    (EXECUTION_SECONDS, Kind::Histogram, &["status"], "From an execution's start to its end, by status"),
    (APPROVALS_REQUIRED_TOTAL, Kind::Counter, &[], "Approvals that people were asked for"),
    (APPROVALS_ENDED_TOTAL, Kind::Counter, &["status"], "Approvals that ended, by status"),
    (CHOICE_SECONDS, Kind::Histogram, &[], "Choosing an agent for one attempt"),
    (
        NEGOTIATIONS_ENDED_TOTAL,
        Kind::Counter,
        &["status", "protocol"],
        "Negotiations that ended, by status and protocol",
    ),
    (NEGOTIATIONS_OPENED_TOTAL, Kind::Counter, &["protocol"], "Negotiations that were opened, by protocol"),
    (
        NEGOTIATION_ROUNDS_TOTAL,
        Kind::Counter,
        &["protocol"],
        "Rounds of negotiations that ended, by protocol",
    ),
    (
        NEGOTIATION_PARTICIPANTS_TOTAL,
        Kind::Counter,
        &["protocol", "how"],
        "Participants asked in rounds of negotiations that ended, by protocol and how they took part",
    ),
    (
        NEGOTIATION_SECONDS,
        Kind::Histogram,
        &["status", "protocol"],
        "From a negotiation's opening to its end, by status and protocol",
    ),
    (AGENTS, Kind::Gauge, &["health"], "Agents, by health"),
    (BREAKER_CHANGES_TOTAL, Kind::Counter, &["state"], "Breakers that changed, by what to"),
    (
        HTTP_REQUESTS_TOTAL,
        Kind::Counter,
        &["route", "method", "status"],
        "HTTP requests, by route, method and status",
    ),
    (
        HTTP_REQUEST_SECONDS,
        Kind::Histogram,
        &["route", "method"],
        "From a request's head to its answer's, by route and method",
    ),
    (SPANS_TOTAL, Kind::Counter, &["outcome"], "Spans that ended, by outcome"),
    (SPAN_EXPORT_SECONDS, Kind::Histogram, &[], "From sending spans to the receiver's answer"),
    (SHARD_CHANGES_TOTAL, Kind::Counter, &["to"], "Shards that came to this process, and that it let go"),
    (SHARD_LAG, Kind::Gauge, &["shard"], "Commands that wait in the topic, by shard owned"),
    (OLDEST_COMMAND_SECONDS, Kind::Gauge, &[], "How long the oldest command waits in the topic"),
    (TASKS, Kind::Gauge, &["status"], "Tasks that have not ended, by status"),
    (TASK_WAIT_SECONDS, Kind::Histogram, &[], "From a task's submission to its first assignment"),
    (OLDEST_TASK_SECONDS, Kind::Gauge, &[], "How long the oldest task waits for an agent"),
    (OLDEST_APPROVAL_SECONDS, Kind::Gauge, &[], "How long the oldest approval waits for people"),
    (EXECUTIONS, Kind::Gauge, &[], "Executions that have not ended"),
    (NEGOTIATIONS, Kind::Gauge, &[], "Negotiations that have not ended"),
    (APPROVALS, Kind::Gauge, &[], "Approvals that wait for people"),
    (
        APPROVAL_SECONDS,
        Kind::Histogram,
        &["status"],
        "From asking people to the end of an approval, by status",
    ),
    (PICKS_TOTAL, Kind::Counter, &["rule"], "Agents chosen, by rule"),
    (BREAKERS, Kind::Gauge, &["state"], "Breakers, by state"),
    (WEBHOOKS_TOTAL, Kind::Counter, &["outcome"], "Webhooks sent, by outcome"),
    (KAFKA_QUEUE_RECORDS, Kind::Gauge, &["client"], "Records that wait in a Kafka producer, by client"),
    (KAFKA_QUEUE_BYTES, Kind::Gauge, &["client"], "Bytes that wait in a Kafka producer, by client"),
    (KAFKA_BROKERS_UP, Kind::Gauge, &["client"], "Brokers to which a Kafka client is connected, by client"),
    (KAFKA_ROUND_TRIP_SECONDS, Kind::Gauge, &["client"], "Round trip to the slowest broker, by client"),
    (KAFKA_REQUESTS_FAILED_TOTAL, Kind::Counter, &["client"], "Requests to Kafka that failed, by client"),
    (REDIS_POOL_CONNECTIONS, Kind::Gauge, &["state"], "Connections of the pool to Redis, by state"),
    (REDIS_POOL_WAITING, Kind::Gauge, &[], "Callers that wait for a connection of the pool to Redis"),
];

/// Every metric for people: name, kind, labels, meaning.
pub fn all() -> impl Iterator<Item = (&'static str, &'static str, &'static [&'static str], &'static str)> {
    ALL.iter().map(|(name, kind, labels, help)| {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        (*name, kind, *labels, *help)
    })
}

/// Upper bounds of the buckets of every histogram of seconds: 100 µs to 60 s.
pub(crate) const SECONDS_BUCKETS: [f64; 16] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0];

/// Tells the recorder in force what each name means.
pub(crate) fn describe_all() {
    for (name, kind, _, help) in ALL {
        match kind {
            Kind::Counter => describe_counter!(*name, *help),
            Kind::Gauge => describe_gauge!(*name, *help),
            Kind::Histogram => describe_histogram!(*name, Unit::Seconds, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let distinct: BTreeSet<&str> = ALL.iter().map(|(name, ..)| *name).collect();
        assert_eq!(distinct.len(), ALL.len());
        for (name, kind, ..) in ALL {
            assert!(name.starts_with("synod_"), "{name}");
            match kind {
                Kind::Counter => assert!(name.ends_with("_total"), "{name}"),
                Kind::Histogram => assert!(name.ends_with("_seconds"), "{name}"),
                Kind::Gauge => assert!(!name.ends_with("_total"), "{name}"),
            }
        }
    }
}
