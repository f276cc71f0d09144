//! The quick door: a command through HTTP goes straight to its shard's loop.
//!
//! When the shard cannot answer in time the command is produced to the topic instead, which is durable: the
//! answer is then "accepted, not yet decided". Both doors meet in the same deduplication by `ce_id`.

use crate::Shared;
use crate::shard::Ask;
use std::time::Duration;
use synod_infra::kafka::Outgoing;
use synod_ledger::{Meta, Subject, TaskKey};
use synod_protocol::http::Message;
use synod_protocol::{Code, Command, EntityId, Envelope, Error, Json, Workspace, topics};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a shard may take to answer a command.
const ANSWER: Duration = Duration::from_secs(5);
/// How long Kafka may take to take a command that no shard answered.
const PRODUCE: Duration = Duration::from_secs(2);

/// What became of a command.
pub(crate) enum Taken {
    /// The ledger has it; `made` if it made the entity.
    Decided { entity: Json, made: bool },
    /// Kafka has it; it will be decided.
    Accepted,
}

/// Hands a command to its shard and waits for its answer.
pub(crate) async fn command(shared: &Shared, message: &Message) -> Result<Taken, Error> {
    let command = message.command(&shared.config.limits)?;
    decided(shared, command, &message.envelope, Some(message)).await
}

/// Hands over a command that is no CloudEvent of the client's own, so it is not produced in its place.
pub(crate) async fn decided(
    shared: &Shared,
    command: Command,
    envelope: &Envelope,
    fallback: Option<&Message>,
) -> Result<Taken, Error> {
    let shard = topics::partition(command.root().as_bytes(), shared.config.partitions);
    let (root, admission) = (command.root().to_owned(), command.is_admission());
    let meta = Meta {
        ce_id: envelope.id.clone(),
        workspace: envelope.workspace.clone(),
        // The shard's loop knows the shard's time; it turns this into an age.
        age_ms: envelope.time.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(1)),
        offset: None,
        reply_to: envelope.reply_to.clone(),
        correlation_id: envelope.correlation_id.clone(),
        traceparent: envelope.traceparent.clone(),
    };
    let command = Box::new(command);
    let asked = shared.shards[shard as usize]
        .ask(Instant::now() + ANSWER, |answer| Ask::Command { command, meta, answer })
        .await;
    match (asked, fallback) {
        (Ok((entity, made)), _) => Ok(Taken::Decided { entity, made }),
        (Err(error), Some(message)) if error.code == Code::Unavailable => {
            tracing::debug!(%error, admission, "no shard answered; the command goes to the topic");
            produce(shared, message, &root, shard, error).await
        }
        (Err(error), _) => Err(error),
    }
}

async fn produce(
    shared: &Shared,
    message: &Message,
    root: &str,
    shard: u32,
    why: Error,
) -> Result<Taken, Error> {
    let out = Outgoing::to(topics::COMMANDS)
        .partition(shard as i32)
        .key(root)
        .envelope(&message.envelope)
        .payload(message.data.clone());
    let (sender, acked) = oneshot::channel();
    let producer = shared.kafka.effects().map_err(|e| Error::unavailable(format!("Kafka: {e}")))?;
    let sent = producer.send(out, move |delivery| {
        // Who asked may have gone.
        let _ = sender.send(delivery);
    });
    sent.map_err(|e| Error::unavailable(format!("Kafka: {e}")))?;
    match tokio::time::timeout(PRODUCE, acked).await {
        Ok(Ok(Ok(_))) => Ok(Taken::Accepted),
        _ => Err(why),
    }
}

/// A task, now or once it has ended.
pub(crate) async fn task(
    shared: &Shared,
    workspace: &Workspace,
    id: &EntityId,
    wait: Duration,
) -> Result<Json, Error> {
    let shard = &shared.shards[topics::partition(id.root().as_bytes(), shared.config.partitions) as usize];
    let key = TaskKey { workspace: workspace.clone(), task: id.clone() };
    if !wait.is_zero() {
        let task = key.clone();
        let ended = shard.ask(Instant::now() + wait, |answer| Ask::Ended { task, answer }).await;
        match ended {
            Ok((entity, _)) => return Ok(entity),
            // Not ended in time, or the epoch changed meanwhile: what it is now is the answer.
            Err(error) if error.code == Code::Unavailable => {}
            Err(error) => return Err(error),
        }
    }
    let subject = Subject::Task(key);
    shard.ask(Instant::now() + ANSWER, |answer| Ask::Read { subject, answer }).await.map(|(entity, _)| entity)
}
