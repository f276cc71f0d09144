//! Submit to result through the quick door, beside one bare publish-and-wait.

use super::figures::{Outcome, Samples, Side, Verdict};
use super::publish::micros;
use super::site::{LIMIT, Site, end};
use super::{BenchError, Effort};
use agent_sdk::task;
use std::time::{Duration, Instant};
use synod_infra::kafka::bare::BareProducer;
use synod_protocol::Json;

/// Where the bare arm writes.
const TOPIC: &str = "bench.bare.v1";
/// What the one agent may do at a time; only one task is there at a time.
const CONCURRENCY: u32 = 8;

pub(super) async fn measure(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, calls) = effort.of((30, 50), (3, 20));
    site.topics(&[TOPIC]).await?;
    let bare = BareProducer::new(&site.dialling.kafka.brokers, Some(Duration::ZERO))?;
    let capability = site.named("door");
    let agents = site.echoes(&capability, 1, CONCURRENCY).await?;
    let value = [b'x'; 200];
    let input = "x".repeat(200);
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for round in 0..=rounds {
        let (mut o, mut t) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
        for _ in 0..calls {
            let began = Instant::now();
            bare.append(TOPIC, "key", &[], &value, LIMIT).await?;
            t.push(micros(began));
            let began = Instant::now();
            site.client.call::<Json>(task(&capability).input(&input), LIMIT).await?;
            o.push(micros(began));
        }
        // The first was for warming up.
        if round > 0 {
            ours.round(o);
            theirs.round(t);
        }
    }
    end(agents).await?;
    let rows = vec![
        theirs.row("door", "bare, publish and wait", "us"),
        ours.row("door", "synod, submit to result", "us"),
    ];
    let goal = "submit to result through the quick door, p50 over one bare publish-and-wait";
    Ok(Outcome { rows, verdicts: vec![Verdict::goal(goal, ours.over(&theirs), Side::AtMost, 3.5)] })
}
