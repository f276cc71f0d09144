//! Submit to result through Kafka, beside the bare two hops.
//!
//! ```text
//!   bare:       produce --ping--> consume, produce --pong--> consume
//!   all Kafka:  produce --commands--> coordinator --inbox--> agent --commands--> coordinator --events--> consume
//!   SDK agent:  produce --commands--> coordinator --Redis--> agent --HTTP------> coordinator --events--> consume
//! ```

use super::figures::{Outcome, Samples, Side, Verdict};
use super::plain_agent::{PlainAgent, envelope, told};
use super::publish::micros;
use super::site::{LIMIT, Site, end};
use super::{BenchError, Effort};
use std::time::{Duration, Instant};
use synod_infra::kafka::bare::{BareError, BareProducer, BareReader};
use synod_infra::kafka::{Outgoing, PartitionReader, Producer, Readers, Start};
use synod_protocol::command::SubmitTask;
use synod_protocol::{Command, ContentType, EntityId, Id, Json, topics};
use tokio::task::JoinHandle;

const PING: &str = "bench.ping.v1";
const PONG: &str = "bench.pong.v1";

pub(super) async fn measure(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, calls) = effort.of((30, 50), (3, 20));
    let two_hops = TwoHops::start(site).await?;
    let (plain, sdk) = (site.named("plain"), site.named("sdk"));
    let plain_agent = PlainAgent::start(site, &plain).await?;
    let agents = site.echoes(&sdk, 1, 8).await?;
    let mut submitter = Submitter::open(site).await?;
    let [mut bare, mut all_kafka, mut with_sdk] = <[Samples; 3]>::default();
    for round in 0..=rounds {
        let [mut b, mut k, mut s] = <[Vec<f64>; 3]>::default();
        for _ in 0..calls {
            b.push(two_hops.go().await?);
            k.push(submitter.go(&plain).await?);
            s.push(submitter.go(&sdk).await?);
        }
        // The first was for warming up.
        if round > 0 {
            bare.round(b);
            all_kafka.round(k);
            with_sdk.round(s);
        }
    }
    plain_agent.end().await?;
    end(agents).await?;
    two_hops.end().await?;
    let rows = vec![
        bare.row("hops", "bare, two hops", "us"),
        all_kafka.row("hops", "synod, agent on Kafka", "us"),
        with_sdk.row("hops", "synod, agent on the SDK", "us"),
    ];
    let goal = "submit to result through Kafka, the agent on Kafka too, p50 over the bare two hops";
    let other = "submit to result through Kafka, the agent on the SDK, p50 over the bare two hops";
    let verdicts = vec![
        Verdict::goal(goal, all_kafka.over(&bare), Side::AtMost, 2.2),
        Verdict::goal(other, with_sdk.over(&bare), Side::AtMost, 2.2),
    ];
    Ok(Outcome { rows, verdicts })
}

/// Produce, consume, produce, consume.
struct TwoHops {
    producer: BareProducer,
    pongs: BareReader,
    echo: JoinHandle<Result<(), BareError>>,
}

impl TwoHops {
    async fn start(site: &Site) -> Result<TwoHops, BenchError> {
        site.topics(&[PING, PONG]).await?;
        let brokers = &site.dialling.kafka.brokers;
        let pings = BareReader::at_end(brokers, PING, 0, LIMIT).await?;
        let back = BareProducer::new(brokers, Some(Duration::ZERO))?;
        let echo = tokio::spawn(async move {
            loop {
                // Waits as long as the other scenes' turns take.
                match pings.next(LIMIT).await {
                    Ok(value) => back.send(PONG, "key", &value)?,
                    Err(BareError::Nothing(_)) => {}
                    Err(error) => return Err(error),
                }
            }
        });
        Ok(TwoHops {
            producer: BareProducer::new(brokers, Some(Duration::ZERO))?,
            pongs: BareReader::at_end(brokers, PONG, 0, LIMIT).await?,
            echo,
        })
    }

    async fn go(&self) -> Result<f64, BenchError> {
        let began = Instant::now();
        self.producer.send(PING, "key", &[b'x'; 200])?;
        self.pongs.next(LIMIT).await?;
        Ok(micros(began))
    }

    async fn end(self) -> Result<(), BenchError> {
        self.echo.abort();
        match self.echo.await {
            Ok(ended) => Ok(ended?),
            Err(_) => Ok(()),
        }
    }
}

/// A client that knows nothing but Kafka.
struct Submitter {
    producer: Producer,
    /// The partitions of the events topic.
    events: Vec<PartitionReader>,
}

impl Submitter {
    async fn open(site: &Site) -> Result<Submitter, BenchError> {
        let readers = Readers::new(&site.dialling.kafka)?;
        let mut events = Vec::new();
        for partition in 0..site.partitions.cast_signed() {
            let end = readers.watermarks(topics::EVENTS, partition, LIMIT).await?.high;
            events.push(readers.open(topics::EVENTS, partition, Start::Offset(end))?);
        }
        Ok(Submitter { producer: Producer::new(&site.dialling.kafka)?, events })
    }

    async fn go(&mut self, capability: &str) -> Result<f64, BenchError> {
        let task_id: EntityId = Id::made("task_", uuid::Uuid::now_v7()).into();
        let input = Json::of(&"x".repeat(200))?;
        let submit = Command::SubmitTask(SubmitTask::new(task_id.clone(), capability.parse()?, input));
        let shards = u32::try_from(self.events.len()).unwrap_or(1);
        let shard = topics::partition(task_id.root().as_bytes(), shards) as usize;
        let began = Instant::now();
        let out = Outgoing::to(topics::COMMANDS)
            .key(task_id.root())
            .envelope(&envelope(submit.ce_type()))
            .payload(submit.encode(ContentType::Json)?);
        self.producer.send(out, told)?;
        loop {
            let came = self.events[shard].next(LIMIT).await?;
            let event = came.ok_or_else(|| BenchError::Missing(format!("task {task_id} does not end")))?;
            let event = event.envelope()?;
            if event.subject.as_deref() != Some(task_id.as_str()) {
                continue;
            }
            match event.ty.as_str() {
                "synod.task.completed" => return Ok(micros(began)),
                "synod.task.failed" | "synod.task.dead_lettered" => {
                    return Err(BenchError::Missing(format!("task {task_id} failed")));
                }
                _ => {}
            }
        }
    }
}
