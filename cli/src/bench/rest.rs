//! A hundred agents and nothing to do: what the coordinator uses all the same.

use super::figures::{Outcome, Samples, Side, Verdict};
use super::site::{Site, end};
use super::{BenchError, Effort};
use std::time::{Duration, Instant};

const AGENTS: usize = 100;

pub(super) async fn measure(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, settle, window) = effort.of(
        (6, Duration::from_secs(5), Duration::from_secs(10)),
        (2, Duration::from_secs(1), Duration::from_secs(2)),
    );
    let agents = site.echoes(&site.named("rest"), AGENTS, 1).await?;
    tokio::time::sleep(settle).await; // the time is what is measured
    let (mut cpu, mut memory) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        let before = (Instant::now(), site.coordinator.cpu()?);
        tokio::time::sleep(window).await; // the time is what is measured
        let used = (site.coordinator.cpu()? - before.1).as_secs_f64();
        cpu.one(100.0 * used / before.0.elapsed().as_secs_f64());
        memory.one(site.coordinator.resident_bytes()? as f64 / (1024.0 * 1024.0));
    }
    end(agents).await?;
    let rows =
        vec![cpu.row("rest", "coordinator: CPU", "% core"), memory.row("rest", "coordinator: memory", "MiB")];
    let verdicts = vec![
        Verdict::goal("at rest with 100 agents, MiB of memory", memory.spread(), Side::AtMost, 40.0),
        Verdict::goal("at rest with 100 agents, % of a core", cpu.spread(), Side::AtMost, 1.0),
    ];
    Ok(Outcome { rows, verdicts })
}
