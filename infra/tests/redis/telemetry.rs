//! Logs and metrics, in a process of their own since they are set once per process.

use super::process::Actor;
use std::io::Read;
use synod_infra::telemetry::{self, Logs, trace, work_span};
use synod_protocol::Envelope;
use tracing::Instrument;

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// What the actor does between `init` and its last word.
pub(super) async fn speak(logs: &Logs) {
    let envelope = Envelope {
        correlation_id: Some("corr-1".into()),
        causation_id: Some("cause-1".into()),
        traceparent: Some(TRACE.into()),
        ..Envelope::new("id-1", "/test", "synod.task.submit")
    };
    let deep = || async { tracing::info!("deep inside") }.instrument(tracing::info_span!("inner"));
    async { deep().await }.instrument(work_span(&envelope)).await;
    work_span(&Envelope::new("id-2", "/test", "synod.task.submit"))
        .in_scope(|| tracing::warn!("uncorrelated"));
    let before = logs.filter();
    logs.set("warn").unwrap();
    work_span(&envelope).in_scope(|| {
        tracing::info!("too quiet");
        tracing::warn!("loud enough");
    });
    let refused = logs.set("info,=[").unwrap_err().to_string();
    assert!(refused.contains("info,=[") && logs.filter() == "warn" && logs.set(" ").is_err());
    logs.set(&before).unwrap();
    tracing::info!("heard again");
}

#[test]
fn every_line_carries_the_ids_of_what_caused_it() {
    let mut actor = Actor::start("log", "");
    let said: (String, String, String) = serde_json::from_str(&actor.hear()).unwrap();
    let mut stderr = String::new();
    actor.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    let lines: Vec<serde_json::Value> = stderr.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let line =
        |message: &str| lines.iter().find(|l| l["message"] == message).unwrap_or_else(|| panic!("{stderr}"));

    let work = &line("deep inside")["spans"][0];
    let check = |field: &str, value: &str| assert_eq!(work[field], value, "{field} in {work}");
    check("correlation_id", "corr-1");
    check("causation_id", "cause-1");
    check("ce_id", "id-1");
    check("workspace", "default");
    check("trace_id", "4bf92f3577b34da6a3ce929d0e0e4736");
    // At the top of the line too, once, and whatever is logged besides.
    for message in ["deep inside", "loud enough"] {
        let line = line(message);
        assert_eq!(line["correlation_id"], "corr-1", "{line}");
        assert_eq!(line["trace_id"], TRACE[3..35], "{line}");
    }
    assert!(!stderr.contains("too quiet") && line("heard again").get("correlation_id").is_none(), "{stderr}");
    let begun = &line("uncorrelated")["spans"][0];
    assert_eq!(begun["correlation_id"], "id-2", "a message without one begins a correlation: {begun}");

    assert!(said.0.contains("log subscriber already"), "{}", said.0);
    assert!(said.1.contains("metrics recorder already"), "{}", said.1);
    let metrics = said.2;
    for wanted in
        ["synod_redis_connects_total 2", "synod_redis_call_seconds_bucket", "# HELP synod_redis_call_seconds"]
    {
        assert!(metrics.contains(wanted), "{wanted} in {metrics}");
    }
}

#[test]
fn a_filter_that_does_not_read_is_refused_and_shown() {
    let config = telemetry::TelemetryConfig { filter: "info,=[".into(), ..Default::default() };
    let error = telemetry::init(&config).unwrap_err().to_string();
    assert!(error.contains("info,=["), "{error}");
}

#[test]
fn a_trace_goes_on_through_an_envelope() {
    let parent = trace::continue_or_begin(Some(TRACE));
    let child = trace::child(&parent);
    assert_eq!(child.trace_id, parent.trace_id);
    assert_eq!(trace::continue_or_begin(Some(&child.to_string())), child);
}
