//! Metrics in this process, shown as Prometheus text. It opens no port: `/metrics` is a route of the API.

use super::TelemetryError;
use super::names;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use metrics_process::Collector;
use std::time::Duration;

/// How often histograms that nobody reads are folded, so that their samples do not pile up.
const UPKEEP_EVERY: Duration = Duration::from_secs(5);

/// The metrics of this process; a cheap clone.
#[derive(Clone)]
pub struct Metrics {
    handle: PrometheusHandle,
}

impl Metrics {
    /// Installs the recorder of this process. For binaries only, once.
    ///
    /// # Errors
    /// `AlreadySet` when there is one; `Metrics` when it cannot be made.
    pub fn install() -> Result<Metrics, TelemetryError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&names::SECONDS_BUCKETS)
            .map_err(|e| TelemetryError::Metrics(e.to_string()))?
            .build_recorder();
        let handle = recorder.handle();
        metrics::set_global_recorder(recorder).map_err(|_| TelemetryError::AlreadySet("metrics recorder"))?;
        names::describe_all();
        Collector::default().describe();
        let upkeep = handle.clone();
        std::thread::Builder::new()
            .name("metrics-upkeep".to_owned())
            .spawn(move || {
                loop {
                    std::thread::sleep(UPKEEP_EVERY);
                    upkeep.run_upkeep();
                }
            })
            .map_err(|e| TelemetryError::Metrics(e.to_string()))?;
        Ok(Metrics { handle })
    }

    /// Everything measured so far, in the Prometheus text format, and what this process uses now.
    pub fn render(&self) -> String {
        Collector::default().collect();
        self.handle.render()
    }
}
