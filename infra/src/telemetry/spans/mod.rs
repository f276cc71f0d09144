//! Spans: what one process did for one piece of work, told to an OTLP receiver.
//!
//! ```text
//!   hot path --record--> inbox (bounded) --sorter--> ready (bounded) --sender--> POST /v1/traces
//!                           |                 |                          `- away or hanging: tried again, then given up
//!                           `- full: dropped  `- not sampled: held until its part of the work has ended,
//!                                                kept if that failed or was slow (hold.rs)
//! ```
//!
//! Nobody waits for any of it: what does not fit is dropped, and counted. Where no receiver was named there is no thread, and
//! [`on`] is one load of an atomic.

mod config;
mod export;
mod hold;
mod span;
mod wire;

pub use config::{SpanConfig, SpanConfigError};
pub use span::{Kind, Scope, Span, Value};

use super::TelemetryError;
use super::names;
use super::trace::TraceContext;
use export::Inbox;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

static ON: AtomicBool = AtomicBool::new(false);
static RECORDER: OnceLock<Recorder> = OnceLock::new();

struct Recorder {
    inbox: Arc<Inbox>,
    threshold: u64,
    payloads: bool,
}

/// Whether spans are told to anybody: what is only made for a span need not be made otherwise.
#[inline]
pub fn on() -> bool {
    ON.load(Ordering::Relaxed)
}

/// Whether spans may carry what tasks are given and return.
pub fn payloads() -> bool {
    on() && RECORDER.get().is_some_and(|recorder| recorder.payloads)
}

/// Whether a trace that begins here is sampled, whatever comes of it: the same for the same id in every process of the same
/// ratio.
pub fn samples(trace_id: &[u8; 16]) -> bool {
    let [.., a, b, c, d, e, f, g, h] = *trace_id;
    // As OpenTelemetry's ratio sampler: the low 8 bytes, without their first bit.
    let draw = u64::from_be_bytes([a, b, c, d, e, f, g, h]) >> 1;
    draw < RECORDER.get().map_or_else(|| threshold(config::SAMPLE), |recorder| recorder.threshold)
}

/// Of the 63 bits that are drawn; a ratio of 1 takes all.
fn threshold(sample: f64) -> u64 {
    (sample.clamp(0.0, 1.0) * (1u64 << 63) as f64) as u64
}

/// Tells of a span that has ended. Never waits; where nobody listens, nothing happens.
pub fn record(span: Span) {
    if !on() {
        return;
    }
    let Some(recorder) = RECORDER.get() else { return };
    if !recorder.inbox.put(span) {
        metrics::counter!(names::SPANS_TOTAL, "outcome" => "dropped").increment(1);
    }
}

/// The exporter of this process. Dropped, it goes on until the process ends, and what has not been sent by then is lost.
#[must_use = "what has not been sent at the end of the process is lost; `shutdown` sends it"]
#[derive(Debug)]
pub struct Exporter {
    inbox: Arc<Inbox>,
    ended: oneshot::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Exporter {
    /// Begins to tell of spans. For binaries only, once.
    ///
    /// # Errors
    /// `AlreadySet` when there is one; `Spans` when it cannot be started.
    pub fn install(config: SpanConfig) -> Result<Exporter, TelemetryError> {
        let inbox = Arc::new(Inbox::new(config.queue));
        let recorder =
            Recorder { inbox: inbox.clone(), threshold: threshold(config.sample), payloads: config.payloads };
        RECORDER.set(recorder).map_err(|_| TelemetryError::AlreadySet("exporter of spans"))?;
        let (tell, ended) = oneshot::channel();
        let thread = export::start(config, inbox.clone(), tell)?;
        ON.store(true, Ordering::Relaxed);
        Ok(Exporter { inbox, ended, thread })
    }

    /// Sends what is there, and ends; after `limit` whatever came of it. Whether all was taken.
    pub async fn shutdown(self, limit: Duration) -> bool {
        ON.store(false, Ordering::Relaxed);
        self.inbox.close();
        let ended = tokio::time::timeout(limit, self.ended).await.is_ok_and(|told| told.is_ok());
        // A thread that still waits for its receiver ends with the process.
        ended && self.thread.join().is_ok()
    }
}

/// The trace that a piece of work belongs to whose sender named none: it follows from the work's id, so that whoever asks gets
/// the same.
pub fn trace_of(workspace: &str, id: &str) -> TraceContext {
    let derived = TraceContext::of(workspace, id);
    TraceContext { flags: u8::from(samples(&derived.trace_id)), ..derived }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_takes_its_share() {
        let share = |sample: f64| {
            let ids = (0..10_000).map(|n| TraceContext::of("w", &n.to_string()).trace_id);
            let draw = |id: [u8; 16]| u64::from_be_bytes(id[8..].try_into().unwrap()) >> 1;
            ids.filter(|id| draw(*id) < threshold(sample)).count()
        };
        assert_eq!((share(0.0), share(1.0)), (0, 10_000));
        assert!((800..1_200).contains(&share(0.1)), "{}", share(0.1));
    }

    #[test]
    fn without_an_exporter_nothing_is_on() {
        assert!(!on() && !payloads());
        record(Span::new(super::super::trace::begin(), Scope::Client, Kind::Internal, "nobody hears it"));
    }
}
