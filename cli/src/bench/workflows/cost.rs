//! What one run of three steps leaves and asks: records and their bytes by topic, requests to Kafka by kind.

use super::super::figures::{Outcome, Samples};
use super::super::site::{LIMIT, Site};
use super::super::{BenchError, Effort};
use super::peer::Peer;
use super::three;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;
use synod_infra::kafka::{RawRecord, Readers};
use synod_infra::telemetry::names;
use synod_protocol::topics;

/// What a run may leave records in.
const TOPICS: [&str; 4] = [topics::COMMANDS, topics::LEDGER, topics::EVENTS, topics::AGENTS];
const IN_FLIGHT: [usize; 2] = [1, 64];
/// Longer than it is between two statistics of a Kafka client: what it did is in its figures by then.
const TOLD: Duration = Duration::from_millis(5_500);

pub(super) async fn of_runs(site: &Site, synod: &Peer, effort: Effort) -> Result<Outcome, BenchError> {
    let mut outcome = Outcome::default();
    let mut asked = requests(site).await?;
    for (in_flight, runs) in IN_FLIGHT.into_iter().zip(effort.of([500, 5_000], [20, 200])) {
        let readers = Readers::new(&site.dialling.kafka)?;
        let ends = ends(site, &readers).await?;
        let input = three::input();
        stream::iter(0..runs)
            .map(|_| synod.run(&input))
            .buffer_unordered(in_flight)
            .try_collect::<Vec<()>>()
            .await?;
        let after = requests(site).await?;
        let mut add = |what: String, unit, count: u64| {
            let mut samples = Samples::default();
            samples.one(count as f64 / f64::from(runs));
            let name = format!("a run, {in_flight} in flight: {what}");
            outcome.rows.push(samples.row("workflows", name, unit));
        };
        for topic in TOPICS {
            let (records, bytes) = since(site, &readers, topic, &ends[topic]).await?;
            add(topic.to_owned(), "records", records);
            add(topic.to_owned(), "bytes", bytes);
        }
        for (kind, count) in &after {
            add(format!("coordinator's {kind}"), "requests", count - asked.get(kind).unwrap_or(&0));
        }
        asked = after;
    }
    Ok(outcome)
}

/// Where each partition of each topic ends.
async fn ends(site: &Site, readers: &Readers) -> Result<BTreeMap<&'static str, Vec<i64>>, BenchError> {
    let mut all = BTreeMap::new();
    for topic in TOPICS {
        let mut ends = Vec::new();
        for partition in 0..site.partitions.cast_signed() {
            ends.push(readers.watermarks(topic, partition, LIMIT).await?.high);
        }
        all.insert(topic, ends);
    }
    Ok(all)
}

/// Records that have come since, and the bytes of their keys, values and headers.
async fn since(site: &Site, readers: &Readers, topic: &str, from: &[i64]) -> Result<(u64, u64), BenchError> {
    let (mut records, mut bytes) = (0, 0);
    for (partition, from) in (0..site.partitions.cast_signed()).zip(from) {
        let high = readers.watermarks(topic, partition, LIMIT).await?.high;
        if high <= *from {
            continue;
        }
        let each = |record: RawRecord| {
            bytes += weight(&record) as u64;
            ControlFlow::Continue(())
        };
        records += readers.read_through(topic, partition, *from, high - 1, LIMIT, each).await?;
    }
    Ok((records, bytes))
}

fn weight(record: &RawRecord) -> usize {
    let size = |value: &Option<Vec<u8>>| value.as_ref().map_or(0, Vec::len);
    let headers = record.headers.iter().map(|(name, value)| name.len() + size(value));
    size(&record.key) + size(&record.payload) + headers.sum::<usize>()
}

/// Requests that the coordinator's Kafka clients have sent so far, by kind.
async fn requests(site: &Site) -> Result<BTreeMap<String, u64>, BenchError> {
    tokio::time::sleep(TOLD).await; // the statistics' own interval
    let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build()?;
    let text = http.get(format!("{}/metrics", site.dialling.http)).send().await?.error_for_status()?;
    Ok(requests_in(&text.text().await?))
}

fn requests_in(metrics: &str) -> BTreeMap<String, u64> {
    let line = |line: &str| {
        let rest = line.strip_prefix(names::KAFKA_REQUESTS_TOTAL)?.strip_prefix("{kind=\"")?;
        let (kind, count) = rest.split_once("\"} ")?;
        Some((kind.to_owned(), count.parse().ok()?))
    };
    metrics.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_from_what_metrics_say() {
        let metrics = "# HELP x\nsynod_kafka_requests_total{kind=\"Produce\"} 12\nsynod_kafka_requests_total{kind=\"Fetch\"} 7\n\
                       synod_shards_owned 8\n";
        let expected = BTreeMap::from([("Fetch".to_owned(), 7), ("Produce".to_owned(), 12)]);
        assert_eq!(requests_in(metrics), expected);
    }
}
