//! An agent on nothing but Kafka: what the contract lets a client in any language be.

use super::BenchError;
use super::site::{LIMIT, Site};
use std::time::Duration;
use synod_infra::kafka::{Outgoing, PartitionReader, Producer, RawRecord, Readers, Start, TopicMaker};
use synod_protocol::command::{AgentChange, ChangeAgent, CompleteTask, Delivery, RegisterAgent};
use synod_protocol::view::{Assignment, Heartbeat};
use synod_protocol::{
    Capability, Command, ContentType, Envelope, Id, Incarnation, Limits, Timestamp, codec, topics,
};
use tokio::task::JoinHandle;

/// Between two signs of life.
const BEAT: Duration = Duration::from_secs(1);

/// A registered agent, working until it is ended.
pub(super) struct PlainAgent {
    who: Who,
    work: JoinHandle<Result<(), BenchError>>,
}

#[derive(Clone)]
struct Who {
    agent_id: Id,
    incarnation: Incarnation,
    producer: Producer,
}

impl PlainAgent {
    /// Registers it with a topic of its own, and waits until the mesh knows it.
    pub(super) async fn start(site: &Site, capability: &str) -> Result<PlainAgent, BenchError> {
        let agent_id: Id = format!("{capability}-0").parse()?;
        let topic = format!("{}{agent_id}", topics::INBOX_PREFIX);
        let maker = TopicMaker::new(&site.dialling.kafka);
        maker.ensure_one(&topic, 1, 0, LIMIT).await?;
        let who = Who {
            incarnation: Incarnation::from(uuid::Uuid::now_v7()),
            producer: Producer::new(&site.dialling.kafka)?,
            agent_id: agent_id.clone(),
        };
        let readers = Readers::new(&site.dialling.kafka)?;
        let inbox = readers.open(&topic, 0, Start::Beginning)?;
        who.send(&Command::RegisterAgent(RegisterAgent {
            agent_id,
            incarnation: who.incarnation.clone(),
            capabilities: vec![capability.parse::<Capability>()?],
            max_concurrency: Some(8),
            labels: None,
            resources: None,
            delivery: Some(Delivery::Kafka { topic }),
            description: None,
        }))?;
        let work = tokio::spawn(work(who.clone(), inbox));
        let known = async {
            while site.client.agent(who.agent_id.as_str()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await; // the condition is asked again
            }
        };
        let late = |_| BenchError::Missing(format!("agent {} is not registered", who.agent_id));
        tokio::time::timeout(LIMIT, known).await.map_err(late)?;
        Ok(PlainAgent { who, work })
    }

    /// Takes it out of the fleet.
    pub(super) async fn end(self) -> Result<(), BenchError> {
        self.work.abort();
        if let Ok(ended) = self.work.await {
            ended?;
        }
        let Who { agent_id, incarnation, .. } = self.who.clone();
        let change = ChangeAgent { agent_id, incarnation: Some(incarnation), reason: None };
        self.who.send(&Command::ChangeAgent(AgentChange::Deregister, change))?;
        let unsent = |error| BenchError::Missing(format!("the good-bye of an agent: {error}"));
        self.who.producer.flush(LIMIT).await.map_err(unsent)
    }
}

impl Who {
    fn send(&self, command: &Command) -> Result<(), BenchError> {
        let envelope = envelope(command.ce_type());
        let payload = command.encode(ContentType::Json)?;
        let out = Outgoing::to(topics::COMMANDS).key(command.root()).envelope(&envelope).payload(payload);
        Ok(self.producer.send(out, told)?)
    }

    fn beat(&self) -> Result<(), BenchError> {
        let beat = Heartbeat {
            agent_id: self.agent_id.clone(),
            incarnation: self.incarnation.clone(),
            in_flight: Vec::new(),
            load: None,
        };
        let envelope = envelope("synod.agent.heartbeat");
        let payload = serde_json::to_vec(&beat)?;
        let out =
            Outgoing::to(topics::HEARTBEATS).key(self.agent_id.as_str()).envelope(&envelope).payload(payload);
        Ok(self.producer.send(out, told)?)
    }

    /// Hands the input back as the output.
    fn serve(&self, record: &RawRecord) -> Result<(), BenchError> {
        if record.envelope()?.ty != "synod.task.assigned" {
            return Ok(());
        }
        let payload = record.payload.as_deref().unwrap_or_default();
        let work: Assignment = codec::decode(ContentType::Json, payload, &Limits::default())?;
        self.send(&Command::CompleteTask(CompleteTask {
            task_id: work.task_id,
            attempt: work.attempt,
            attempt_token: work.attempt_token,
            output: work.input,
            confidence: None,
            usage: None,
        }))
    }
}

/// A command's envelope, with the time.
pub(super) fn envelope(ty: &str) -> Envelope {
    let now = jiff::Timestamp::now().as_millisecond();
    Envelope {
        time: Some(Timestamp::from_millis(now)),
        ..Envelope::new(uuid::Uuid::now_v7().to_string(), "/synod-bench", ty)
    }
}

/// For records whose acknowledgement nobody waits for: what follows from them is waited for.
pub(super) fn told(delivery: synod_infra::kafka::Delivery) {
    if let Err(error) = delivery {
        tracing::error!(%error, "a record was not acknowledged");
    }
}

async fn work(who: Who, mut inbox: PartitionReader) -> Result<(), BenchError> {
    let mut beat = tokio::time::interval(BEAT);
    loop {
        tokio::select! {
            _ = beat.tick() => who.beat()?,
            came = inbox.next(LIMIT) => {
                if let Some(record) = came? {
                    who.serve(&record)?;
                }
            }
        }
    }
}
