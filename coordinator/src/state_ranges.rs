//! The ranges of shared state, while no relay mirrors them: all are served from the start, and what is over is swept.

use crate::Shared;
use std::sync::Arc;
use std::time::Duration;
use synod_protocol::primitives::state::RANGES;
use tokio_util::sync::CancellationToken;

/// How often what is over is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
/// Entries that are swept in one go.
const SWEPT: usize = 128;

/// Opens every range once Redis answers, and sweeps until `stop`.
pub(crate) async fn serve(shared: Arc<Shared>, stop: CancellationToken) {
    let mut open = false;
    loop {
        if !open {
            let opened = shared.state.open_all().await;
            open = opened.is_ok();
            if let Err(error) = opened {
                tracing::debug!(%error, "the ranges of shared state are not open");
            }
        }
        for range in 0..RANGES {
            let swept = tokio::select! {
                swept = shared.state.sweep(range, SWEPT) => swept,
                () = stop.cancelled() => return,
            };
            if let Err(error) = swept {
                tracing::debug!(%error, range, "what is over is not swept");
                break;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(SWEEP_EVERY) => {}
            () = stop.cancelled() => return,
        }
    }
}
