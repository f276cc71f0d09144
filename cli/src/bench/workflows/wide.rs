//! A thousand steps side by side in one run, beside the same thousand tasks submitted bare.

use super::super::figures::{Outcome, Samples, Side, Verdict};
use super::super::site::{LIMIT, Site, end};
use super::super::{BenchError, Effort};
use agent_sdk::task;
use agent_sdk::workflow::execution;
use futures::future::try_join_all;
use serde_json::{Value, json};
use std::time::Instant;
use synod_protocol::Json;
use synod_workflow::definition::build::{self, map, workflow};

const STEPS: usize = 1_000;
const AGENTS: usize = 8;
const CONCURRENCY: u32 = 128;

pub(super) async fn measure(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let rounds = effort.of(12, 2);
    let (id, capability) = (site.named("wide"), site.named("wide-step"));
    let agents = site.echoes(&capability, AGENTS, CONCURRENCY).await?;
    let step = build::task("one", &capability).input(json!("${{ item }}"));
    let wide = workflow(&id)
        .step(map("all", "input", step).inside("concurrency", json!(STEPS)))
        .set("output", json!("${{ size(steps.all.output) }}"))
        .build()
        .map_err(|wrong| BenchError::Missing(format!("a definition of a map: {wrong}")))?;
    site.client.define_workflow(&wide).await?;
    let items: Vec<u32> = (0..).take(STEPS).collect();
    let (mut steps, mut bare) = (Samples::default(), Samples::default());
    for round in 0..=rounds {
        let began = Instant::now();
        let calls = items.iter().map(|n| site.client.call::<Json>(task(&capability).input(n), LIMIT));
        try_join_all(calls).await?;
        let alone = began.elapsed();
        let began = Instant::now();
        let done = site.client.execute::<Value>(execution(&id).input(&items), LIMIT).await?;
        let together = began.elapsed();
        if done.output != json!(STEPS) {
            let why = format!("{STEPS} steps, of which {} came to a result", done.output);
            return Err(BenchError::Missing(why));
        }
        // The first was for warming up.
        if round > 0 {
            bare.one(alone.as_secs_f64() * 1e3);
            steps.one(together.as_secs_f64() * 1e3);
        }
    }
    end(agents).await?;
    Ok(Outcome {
        rows: vec![
            bare.row("workflows", format!("{STEPS} tasks, submitted bare and all at once"), "ms"),
            steps.row("workflows", format!("one run of {STEPS} steps side by side"), "ms"),
        ],
        verdicts: vec![Verdict::goal(
            format!("{STEPS} steps side by side over the same tasks submitted bare"),
            steps.over(&bare),
            Side::AtMost,
            2.0,
        )],
    })
}
