//! The asynchronous half of a command: its runtime, from first to last.

use crate::output::Stop;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use synod_infra::telemetry::spans::Exporter;

/// How long what is left (blocked threads of clients) may take after the command's own work is done.
const LEFTOVERS: Duration = Duration::from_millis(200);

/// Sending what spans are left may take so long when the work is done: a receiver that hangs holds up nobody.
const LAST_SPANS: Duration = Duration::from_secs(1);

/// Whoever tells of this process' spans; ended with its work.
static EXPORTER: Mutex<Option<Exporter>> = Mutex::new(None);

/// Has what is left of spans sent when this process' work is done.
pub fn tell_at_the_end(exporter: Exporter) {
    *EXPORTER.lock().unwrap_or_else(PoisonError::into_inner) = Some(exporter);
}

/// Runs a command's work to its end on a runtime of its own.
///
/// # Errors
/// The work's, or no runtime can be made.
pub fn run<T>(work: impl Future<Output = Result<T, Stop>>) -> Result<T, Stop> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Stop::Failed(format!("no runtime can be made: {error}")))?;
    let result = runtime.block_on(Box::pin(work));
    let exporter = EXPORTER.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(exporter) = exporter
        && !runtime.block_on(exporter.shutdown(LAST_SPANS))
    {
        tracing::info!("the OTLP receiver did not take the last spans within {} ms", LAST_SPANS.as_millis());
    }
    runtime.shutdown_timeout(LEFTOVERS);
    result
}
