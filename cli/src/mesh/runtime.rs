//! The asynchronous half of a command: its runtime, from first to last.

use crate::output::Stop;
use std::time::Duration;

/// How long what is left (blocked threads of clients) may take after the command's own work is done.
const LEFTOVERS: Duration = Duration::from_millis(200);

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
    runtime.shutdown_timeout(LEFTOVERS);
    result
}
