//! Typed publishing beside bare rdkafka: how many per second, and how long one takes.

use super::figures::{Outcome, Samples, Side, Verdict};
use super::process::Process;
use super::site::{LIMIT, Site};
use super::{BenchError, Effort};
use agent_sdk::TypedEvent;
use futures::stream::{self, StreamExt as _};
use serde::{Deserialize, Serialize};
use std::time::{Duration, Instant};
use synod_infra::kafka::bare::BareProducer;
use synod_protocol::{Envelope, Timestamp};

/// Publishes in flight, in every arm.
const IN_FLIGHT: usize = 4096;
/// Bytes of the value.
const VALUE_BYTES: usize = 200;
/// Bytes of the value that are not text: `{"text":""}`.
const AROUND_TEXT: usize = 11;

/// An event with a value of 200 bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Note {
    text: String,
}

impl Note {
    fn new() -> Note {
        Note { text: "x".repeat(VALUE_BYTES - AROUND_TEXT) }
    }
}

impl TypedEvent for Note {
    const TOPIC: &'static str = "bench.notes.v1";
    const TYPE: &'static str = "bench.note";
    const PARTITIONS: u32 = 1;

    fn key(&self) -> String {
        "note".to_owned()
    }
}

/// The headers that a typed event has, of the lengths that it has them.
fn headers() -> Vec<(&'static str, String)> {
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    let envelope = Envelope {
        time: Some(now),
        traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        ..Envelope::new(uuid::Uuid::now_v7().to_string(), "/synod-bench", Note::TYPE)
    };
    envelope.to_headers()
}

/// One arm's round: how many per second, and this process' processor time for each.
#[derive(Default)]
struct Arm {
    rate: Samples,
    cpu_us: Samples,
}

impl Arm {
    async fn round<F: Future<Output = Result<(), BenchError>>>(
        &mut self,
        count: usize,
        publish: impl Fn() -> F,
    ) -> Result<(), BenchError> {
        let (began, cpu) = (Instant::now(), Process::own().cpu()?);
        let mut all = stream::iter(0..count).map(|_| publish()).buffer_unordered(IN_FLIGHT);
        while let Some(published) = all.next().await {
            published?;
        }
        let (took, cpu) = (began.elapsed(), Process::own().cpu()? - cpu);
        self.rate.one(count as f64 / took.as_secs_f64());
        self.cpu_us.one(cpu.as_secs_f64() * 1e6 / count as f64);
        Ok(())
    }
}

/// Typed publish of 200 B with thousands in flight.
pub(super) async fn rate(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, count) = effort.of((9, 100_000), (2, 10_000));
    let brokers = &site.dialling.kafka.brokers;
    // The topic is made, and all are connected, before it is measured.
    let note = Note::new();
    site.mesh.publish(&note).await?;
    let value = serde_json::to_vec(&note)?;
    let headers = headers();
    let at_once = BareProducer::new(brokers, Some(Duration::ZERO))?;
    let lingering = BareProducer::new(brokers, None)?;
    let bare = |producer: &BareProducer, with: bool| {
        let (producer, value, headers) = (producer.clone(), &value, &headers);
        async move {
            let headers = if with { headers.as_slice() } else { &[] };
            Ok(producer.append(Note::TOPIC, "note", headers, value, LIMIT).await?)
        }
    };
    let [mut ours, mut same, mut naked, mut linger] = <[Arm; 4]>::default();
    for round in 0..=rounds {
        if round == 1 {
            // The first round was for warming up.
            [ours, same, naked, linger] = Default::default();
        }
        same.round(count, || bare(&at_once, true)).await?;
        ours.round(count, || async { Ok(site.mesh.publish(&note).await.map(drop)?) }).await?;
        naked.round(count, || bare(&at_once, false)).await?;
        linger.round(count, || bare(&lingering, false)).await?;
    }
    let scene = "publish";
    let mut rows = Vec::new();
    for (arm, name) in [
        (&same, "bare"),
        (&ours, "synod"),
        (&naked, "bare, no headers"),
        (&linger, "bare, no headers, linger"),
    ] {
        rows.push(arm.rate.row(scene, name, "1/s"));
        rows.push(arm.cpu_us.row(scene, format!("{name}: CPU"), "us"));
    }
    let goal = "typed publish of 200 B, rate over bare rdkafka with the same record";
    let verdicts = vec![
        Verdict::goal(goal, ours.rate.over(&same.rate), Side::AtLeast, 0.90),
        Verdict::told("the same over bare rdkafka without headers", ours.rate.over(&naked.rate)),
        Verdict::told("the same over that with linger 5 ms", ours.rate.over(&linger.rate)),
    ];
    Ok(Outcome { rows, verdicts })
}

/// Publish and wait, one at a time.
pub(super) async fn wait(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, calls) = effort.of((30, 100), (3, 30));
    let note = Note::new();
    site.mesh.publish(&note).await?;
    let value = serde_json::to_vec(&note)?;
    let bare = BareProducer::new(&site.dialling.kafka.brokers, Some(Duration::ZERO))?;
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    for round in 0..=rounds {
        let (mut o, mut t) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
        for _ in 0..calls {
            let began = Instant::now();
            bare.append(Note::TOPIC, "note", &headers(), &value, LIMIT).await?;
            t.push(micros(began));
            let began = Instant::now();
            site.mesh.publish(&note).await?;
            o.push(micros(began));
        }
        if round > 0 {
            ours.round(o);
            theirs.round(t);
        }
    }
    let rows = vec![theirs.row("wait", "bare", "us"), ours.row("wait", "synod", "us")];
    let goal = "typed publish and wait, p50 over bare rdkafka";
    let verdicts = vec![Verdict::goal(goal, ours.over(&theirs), Side::AtMost, 1.05)];
    Ok(Outcome { rows, verdicts })
}

/// Microseconds since then.
pub(super) fn micros(began: Instant) -> f64 {
    began.elapsed().as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_value_has_the_bytes_that_are_told() {
        assert_eq!(serde_json::to_vec(&Note::new()).unwrap().len(), VALUE_BYTES);
    }
}
