//! Runs that wait for somebody's approval: what ten thousand of them take while nobody comes.

use super::super::figures::{Outcome, Samples, Side, Verdict};
use super::super::site::Site;
use super::super::{BenchError, Effort};
use agent_sdk::workflow::{ExecutionHandle, execution};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;
use std::time::{Duration, Instant};
use synod_workflow::definition::build::{approval, workflow};

/// Runs that are started, or cancelled, at a time.
const AT_A_TIME: usize = 64;
/// What they may take, in millions of bytes.
const MEGABYTES: f64 = 100.0;
/// What "no processor time" is held against, in percent of a core: half of what a mesh with a hundred agents may take at rest.
const CPU: f64 = 0.5;

pub(super) async fn measure(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let (runs, window) = effort.of((10_000, Duration::from_secs(20)), (500, Duration::from_secs(1)));
    let id = site.named("waiting");
    let asks = workflow(&id)
        .step(approval("release", "Release?", ["role:editor"]).inside("show", json!("${{ input }}")))
        .build()
        .map_err(|wrong| BenchError::Missing(format!("a definition of an approval: {wrong}")))?;
    site.client.define_workflow(&asks).await?;
    let before = (resident(site)?, idle(site, window).await?);
    let began = Instant::now();
    let input = super::three::input();
    let start = |_| site.client.start(execution(&id).input(&input));
    let handles: Vec<ExecutionHandle> =
        stream::iter(0..runs).map(start).buffer_unordered(AT_A_TIME).try_collect().await?;
    let took = began.elapsed();
    let idle = idle(site, window).await?;
    let held = resident(site)?;
    for handle in [handles.first(), handles.last()].into_iter().flatten() {
        let now = handle.get().await?;
        if now.status.is_final() {
            return Err(BenchError::Missing(format!("a run that waits: it is {:?}", now.status)));
        }
    }
    stream::iter(&handles)
        .map(|handle| handle.cancel("it has been measured"))
        .buffer_unordered(AT_A_TIME)
        .try_collect::<Vec<()>>()
        .await?;
    let one = |figure: f64| {
        let mut samples = Samples::default();
        samples.one(figure);
        samples
    };
    let (megabytes, cpu) = (one((held - before.0) / 1e6), one(idle - before.1));
    let name = |what: &str| format!("{runs} runs waiting{what}");
    Ok(Outcome {
        rows: vec![
            one(before.0 / 1e6).row("workflows", "before: coordinator's memory", "MB"),
            one(held / 1e6).row("workflows", name(": coordinator's memory"), "MB"),
            one(before.1).row("workflows", "before: coordinator's CPU", "% core"),
            one(idle).row("workflows", name(": coordinator's CPU"), "% core"),
            one(runs as f64 / took.as_secs_f64()).row("workflows", name(": started"), "1/s"),
        ],
        verdicts: vec![
            Verdict::goal(
                name(": memory that they take, in MB"),
                megabytes.spread(),
                Side::AtMost,
                MEGABYTES,
            ),
            Verdict::goal(name(": % of a core that they take"), cpu.spread(), Side::AtMost, CPU),
        ],
    })
}

fn resident(site: &Site) -> Result<f64, BenchError> {
    Ok(site.coordinator.resident_bytes()? as f64)
}

/// Percent of a core that the coordinator uses while nobody asks it anything.
async fn idle(site: &Site, window: Duration) -> Result<f64, BenchError> {
    let before = (Instant::now(), site.coordinator.cpu()?);
    tokio::time::sleep(window).await; // the time is what is measured
    let used = site.coordinator.cpu()? - before.1;
    Ok(100.0 * used.as_secs_f64() / before.0.elapsed().as_secs_f64())
}
