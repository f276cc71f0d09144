//! What the mesh tells of itself: log lines, metrics, traces.
//!
//! Library code only speaks (`tracing`, `metrics`); who listens is decided here, once, by a binary.
//! Logs go to standard error, since standard output belongs to data.

mod metrics;
pub mod names;
pub mod spans;
pub mod trace;

pub use metrics::Metrics;
pub use trace::TraceContext;

use std::io::IsTerminal;
use synod_protocol::Envelope;
use tracing::Span;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people: one line each, in colour on a terminal unless `NO_COLOR` is set.
    #[default]
    Pretty,
    /// For machines: one JSON object each, with the fields of every span around it.
    Json,
}

/// What a binary wants to hear.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// How a line looks.
    pub format: LogFormat,
    /// Directives of `tracing_subscriber::EnvFilter`, such as `info,synod_infra=debug`.
    pub filter: String,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        TelemetryConfig { format: LogFormat::Pretty, filter: "info".to_owned() }
    }
}

/// Why telemetry is not as asked for.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter does not read.
    #[error("the log filter {filter:?} does not read: {why}; an example is info,synod_infra=debug")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        why: String,
    },
    /// This process has one already; only its binary may set it, once.
    #[error("this process has a {0} already")]
    AlreadySet(&'static str),
    /// The exporter of spans could not be started.
    #[error("spans cannot be exported: {0}")]
    Spans(String),
    /// The recorder of metrics could not be made.
    #[error("metrics cannot be recorded: {0}")]
    Metrics(String),
}

/// Installs the logs of this process, on standard error. For binaries only, once.
///
/// # Errors
/// `Filter`, or `AlreadySet` when there is a subscriber.
pub fn init(config: &TelemetryConfig) -> Result<(), TelemetryError> {
    let filter = EnvFilter::try_new(&config.filter)
        .map_err(|e| TelemetryError::Filter { filter: config.filter.clone(), why: e.to_string() })?;
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.format {
        LogFormat::Pretty => {
            let colour =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            registry.with(lines.with_ansi(colour)).try_init()
        }
        LogFormat::Json => registry.with(lines.json().flatten_event(true).with_span_list(true)).try_init(),
    }
    .map_err(|_| TelemetryError::AlreadySet("log subscriber"))
}

/// A span for the work that a message causes: every line in it carries the message's ids.
///
/// A message without a correlation id begins one: its own id.
pub fn work_span(envelope: &Envelope) -> Span {
    let trace = envelope.traceparent.as_deref().and_then(TraceContext::parse);
    tracing::info_span!(
        "work",
        ce_id = %envelope.id,
        ce_type = %envelope.ty,
        workspace = %envelope.workspace,
        correlation_id = %envelope.correlation_id.as_ref().unwrap_or(&envelope.id),
        causation_id = envelope.causation_id.as_deref(),
        trace_id = trace.map(|t| t.to_string()).as_deref().and_then(|t| t.get(3..35)),
    )
}
