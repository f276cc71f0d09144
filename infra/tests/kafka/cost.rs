//! What our producer costs over bare rdkafka, both arms in one run. Not a test of the machine: run it on a quiet
//! one, with `cargo test -p synod-infra --test kafka -- --ignored --nocapture cost`.

use crate::bed::{Bed, SOON};
use rdkafka::ClientConfig;
use rdkafka::producer::{DeliveryResult, FutureProducer, FutureRecord, ProducerContext, ThreadedProducer};
use rdkafka::util::Timeout;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use synod_infra::kafka::{KafkaConfig, Outgoing, Producer};
use synod_protocol::{ContentType, Envelope};

const RECORDS: usize = 200_000;
const WAITS: usize = 2_000;

struct Counting(Arc<AtomicUsize>);

impl rdkafka::ClientContext for Counting {}
impl ProducerContext for Counting {
    type DeliveryOpaque = ();
    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        assert!(result.is_ok());
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn bare(config: &KafkaConfig) -> ClientConfig {
    let mut bare = ClientConfig::new();
    bare.set("bootstrap.servers", &config.brokers)
        .set("enable.idempotence", "true")
        .set("acks", "all")
        .set("message.timeout.ms", "0")
        .set("linger.ms", "0")
        .set("socket.nagle.disable", "true");
    bare
}

async fn bare_rate(config: &KafkaConfig, topic: &str) -> f64 {
    let acked = Arc::new(AtomicUsize::new(0));
    let producer: ThreadedProducer<Counting> =
        bare(config).create_with_context(Counting(acked.clone())).unwrap();
    let payload = [b'x'; 200];
    let start = Instant::now();
    for _ in 0..RECORDS {
        loop {
            let record =
                rdkafka::producer::BaseRecord::to(topic).partition(0).key("key").payload(&payload[..]);
            match producer.send(record) {
                Ok(()) => break,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    }
    while acked.load(Ordering::Relaxed) < RECORDS {
        tokio::task::yield_now().await;
    }
    RECORDS as f64 / start.elapsed().as_secs_f64()
}

async fn our_rate(config: &KafkaConfig, topic: &str) -> f64 {
    let producer = Producer::new(config).unwrap();
    let acked = Arc::new(AtomicUsize::new(0));
    let start = Instant::now();
    for _ in 0..RECORDS {
        let mut out = Outgoing::to(topic).partition(0).key("key").payload([b'x'; 200]);
        loop {
            let acked = acked.clone();
            let sent = producer.send(out, move |delivery| {
                assert!(delivery.is_ok());
                acked.fetch_add(1, Ordering::Relaxed);
            });
            match sent {
                Ok(()) => break,
                Err(synod_infra::kafka::SendError::QueueFull(back)) => out = *back,
                Err(error) => panic!("{error}"),
            }
            tokio::task::yield_now().await;
        }
    }
    while acked.load(Ordering::Relaxed) < RECORDS {
        tokio::task::yield_now().await;
    }
    RECORDS as f64 / start.elapsed().as_secs_f64()
}

fn median(mut waits: Vec<Duration>) -> f64 {
    waits.sort_unstable();
    waits[waits.len() / 2].as_secs_f64() * 1e6
}

fn envelope() -> Envelope {
    Envelope { content_type: ContentType::Json, ..Envelope::new("id", "/tests", "test.note") }
}

async fn bare_wait(producer: &FutureProducer, topic: &str) -> Duration {
    let envelope = envelope();
    let payload = "x".repeat(198);
    let start = Instant::now();
    let mut headers = rdkafka::message::OwnedHeaders::new();
    for (key, value) in envelope.to_headers() {
        headers = headers.insert(rdkafka::message::Header { key, value: Some(&value) });
    }
    let payload = serde_json::to_vec(&payload).unwrap();
    let record = FutureRecord::to(topic).key("key").payload(&payload).headers(headers);
    producer.send(record, Timeout::After(SOON)).await.unwrap();
    start.elapsed()
}

async fn our_wait(producer: &Producer, topic: &str) -> Duration {
    let envelope = envelope();
    let payload = "x".repeat(198);
    let start = Instant::now();
    producer.publish(topic, "key", &envelope, &payload, SOON).await.unwrap();
    start.elapsed()
}

/// Rounds of both arms, in turn, so that what else the machine does falls on both.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run it on a quiet machine"]
async fn over_bare_rdkafka() {
    let bed = Bed::real();
    let topic = bed.topic(1).await;
    for _ in 0..4 {
        let bare = bare_rate(&bed.config, &topic).await;
        let ours = our_rate(&bed.config, &topic).await;
        println!("200 B, acks=all: bare {bare:.0}/s, ours {ours:.0}/s, ratio {:.3}", ours / bare);
    }
    let (bare_producer, our_producer): (FutureProducer, _) =
        (bare(&bed.config).create().unwrap(), bed.producer());
    let (mut bare, mut ours) = (Vec::new(), Vec::new());
    for round in 0..WAITS {
        let (b, o) = (bare_wait(&bare_producer, &topic).await, our_wait(&our_producer, &topic).await);
        if round >= WAITS / 10 {
            bare.push(b);
            ours.push(o);
        }
    }
    let (bare, ours) = (median(bare), median(ours));
    println!("publish and wait, p50: bare {bare:.0} us, ours {ours:.0} us, ratio {:.3}", ours / bare);
}

/// User and system time of this process so far, in clock ticks of 10 ms.
fn cpu_ticks() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

async fn reading(bed: &Bed, place: &str) {
    let topics = [bed.topic(8).await, bed.topic(8).await, bed.topic(8).await];
    let (readers, producer) = (bed.readers(), bed.producer());
    let all = || topics.iter().flat_map(|topic| (0..8).map(move |partition| (topic, partition)));
    for (topic, partition) in all() {
        crate::bed::fill(&producer, topic, partition, 1).await;
    }
    let mut open: Vec<_> = all()
        .map(|(topic, p)| readers.open(topic, p, synod_infra::kafka::Start::Offset(0)).unwrap())
        .collect();
    for reader in &mut open {
        reader.next(SOON).await.unwrap().unwrap();
    }
    let before = cpu_ticks();
    tokio::time::sleep(Duration::from_secs(3)).await; // the measured rest
    println!("{place}: 24 readers at rest use {:.2} % of one core", (cpu_ticks() - before) as f64 / 3.0);

    let mut hops = Vec::new();
    for _ in 0..500 {
        let start = Instant::now();
        producer.send(Outgoing::to(&topics[0]).partition(0).payload("x"), |_| {}).unwrap();
        open[0].next(SOON).await.unwrap().unwrap();
        hops.push(start.elapsed());
    }
    println!("{place}: produced to read, p50 {:.0} us", median(hops));
    let mut opened = Vec::new();
    let mut folded = Vec::new();
    for _ in 0..30 {
        open.pop();
        let start = Instant::now();
        open.push(readers.open(&topics[2], 7, synod_infra::kafka::Start::Offset(0)).unwrap());
        open.last_mut().unwrap().next(SOON).await.unwrap().unwrap();
        opened.push(start.elapsed());
        let start = Instant::now();
        let each = |_| std::ops::ControlFlow::Continue(());
        readers.read_through(&topics[0], 0, 0, 500, SOON, each).await.unwrap();
        folded.push(start.elapsed());
    }
    println!(
        "{place}: opened to first record, p50 {:.0} us; fold of 501, p50 {:.0} us",
        median(opened),
        median(folded)
    );
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement: run it on a quiet machine"]
async fn of_reading() {
    reading(&Bed::embedded(), "embedded").await;
    reading(&Bed::real(), "real").await;
}
