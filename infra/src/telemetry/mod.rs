//! What the mesh tells of itself: log lines, metrics, traces.
//!
//! Library code only speaks (`tracing`, `metrics`); who listens is decided here, once, by a binary.
//! Logs go to standard error, since standard output belongs to data.

mod json;
mod metrics;
pub mod names;
pub mod spans;
pub mod trace;

pub use metrics::Metrics;
pub use trace::TraceContext;

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use synod_protocol::Envelope;
use tracing::Span;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

/// Bytes that a filter may have.
const FILTER_BYTES: usize = 4_096;

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

/// What of this process' logs can be changed while it runs; a cheap clone.
#[derive(Clone, Debug)]
pub struct Logs {
    filter: reload::Handle<EnvFilter, Registry>,
    text: Arc<Mutex<String>>,
}

impl Logs {
    /// The filter in force.
    pub fn filter(&self) -> String {
        self.text.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Another filter, from now on.
    ///
    /// # Errors
    /// `Filter`: it does not read, or has more than 4,096 bytes; the one in force stays.
    pub fn set(&self, filter: &str) -> Result<(), TelemetryError> {
        let read = read(filter)?;
        let mut text = self.text.lock().unwrap_or_else(PoisonError::into_inner);
        self.filter
            .reload(read)
            .map_err(|e| TelemetryError::Filter { filter: filter.to_owned(), why: e.to_string() })?;
        filter.clone_into(&mut text);
        Ok(())
    }
}

fn read(filter: &str) -> Result<EnvFilter, TelemetryError> {
    let wrong = |why: String| TelemetryError::Filter { filter: filter.chars().take(200).collect(), why };
    if filter.len() > FILTER_BYTES {
        return Err(wrong(format!("it has {} bytes, {FILTER_BYTES} at most", filter.len())));
    }
    // None would be taken for one that lets nothing through but errors.
    if filter.trim().is_empty() {
        return Err(wrong("it is empty".to_owned()));
    }
    EnvFilter::try_new(filter).map_err(|e| wrong(e.to_string()))
}

/// Installs the logs of this process, on standard error. For binaries only, once.
///
/// # Errors
/// `Filter`, or `AlreadySet` when there is a subscriber.
pub fn init(config: &TelemetryConfig) -> Result<Logs, TelemetryError> {
    let (filter, handle) = reload::Layer::new(read(&config.filter)?);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    match config.format {
        LogFormat::Pretty => {
            let colour =
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
            registry.with(lines.with_ansi(colour)).try_init()
        }
        LogFormat::Json => {
            let line = tracing_subscriber::fmt::format().json().flatten_event(true).with_span_list(true);
            registry.with(lines.fmt_fields(JsonFields::new()).event_format(json::JsonLine(line))).try_init()
        }
    }
    .map_err(|_| TelemetryError::AlreadySet("log subscriber"))?;
    Ok(Logs { filter: handle, text: Arc::new(Mutex::new(config.filter.clone())) })
}

/// A span for the work that a message causes: every line in it carries the message's ids.
///
/// A message without a correlation id begins one: its own id.
pub fn work_span(envelope: &Envelope) -> Span {
    let trace = envelope.traceparent.as_deref().and_then(TraceContext::parse);
    // Of the highest level, so that no filter takes the ids from the lines that it lets through.
    tracing::error_span!(
        "work",
        ce_id = %envelope.id,
        ce_type = %envelope.ty,
        workspace = %envelope.workspace,
        correlation_id = %envelope.correlation_id.as_ref().unwrap_or(&envelope.id),
        causation_id = envelope.causation_id.as_deref(),
        trace_id = trace.map(|t| t.to_string()).as_deref().and_then(|t| t.get(3..35)),
    )
}
