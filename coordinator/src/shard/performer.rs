//! Performs effects, and says which are confirmed. Every one is idempotent, so a doubt means doing it again.
//!
//! Kafka's go out at once and are confirmed by their acknowledgements; Redis' go in pipelined batches, in
//! order. What fails for now is tried again; what its receiver refuses because a newer owner has been there
//! is never confirmed: the newer owner issues it again, and ours is over.

mod confirmed;
mod sending;
mod state;
mod todo;

use super::archive;
use super::permits::{Fenced, Semaphores};
use crate::Shared;
pub(super) use confirmed::Confirmed;
pub(crate) use sending::Sending;
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use synod_fleet::AgentKey;
use synod_infra::kafka::{Outgoing, RawRecord, ReadError, TopicError, dead_letter};
use synod_infra::redis::RedisError;
use synod_infra::redis::inbox::{self, Delivered, Inboxes};
use synod_infra::redis::reply::{Reply, reply};
use synod_infra::redis::view::ViewWrite;
use synod_infra::telemetry::names;
use synod_ledger::{Effect, Past, Try};
use synod_protocol::command::Delivery;
use synod_protocol::http::Message;
use synod_protocol::view::{DirectoryEntry, Pauses};
use synod_protocol::workflow::Workflow;
use synod_protocol::{Envelope, Id, Json, Position, ReplyTo, Workspace, topics};
use todo::{Todo, Work};
use tokio::sync::mpsc;

/// Effects of Redis in one pipeline.
const BATCH: usize = 256;
/// First and longest pause before trying again.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));

/// Events of which somebody may want to know within a few milliseconds, and which are few: they are not gathered.
const AT_ONCE: &str = "synod.agent.";

/// The header by which an agent with a topic of its own knows what goes ahead of ordinary work.
const URGENT: &str = "synod-urgent";

/// What the performer says to the serving loop that it is to hear at once.
pub(super) enum Done {
    /// An effect of the step at this offset is confirmed, by which this attempt's permits have been given back.
    GivenBack(u64, Box<Try>),
    /// A receiver has seen a newer owner of this shard.
    Overtaken,
}

/// Commands that could not be read, until their copies are in the dead-letter topic; by offset.
pub(super) type Poisonous = Arc<Mutex<BTreeMap<u64, RawRecord>>>;

/// The serving loop's side.
pub(super) struct Performer {
    work: Work,
    task: tokio::task::JoinHandle<()>,
}

impl Performer {
    /// Starts one for this shard and epoch. What it may hold is bounded by the loop's limit on what is owed.
    pub(super) fn start(
        shared: Arc<Shared>,
        shard: u32,
        epoch: u64,
        poisonous: Poisonous,
        semaphores: Semaphores,
        (confirmed, done): (Confirmed, mpsc::UnboundedSender<Done>),
    ) -> Performer {
        let (work, todo) = todo::channel();
        let again = work.again();
        let performing = Performing { shared, shard, epoch, poisonous, semaphores, confirmed, done, again };
        Performer { work, task: tokio::spawn(performing.run(todo)) }
    }

    /// Takes an effect of the step at `offset`.
    pub(super) fn perform(&self, offset: u64, effect: Effect) {
        self.work.add(offset, effect);
    }
}

impl Drop for Performer {
    fn drop(&mut self) {
        // What was not performed is issued again by the next owner.
        self.task.abort();
    }
}

struct Performing {
    shared: Arc<Shared>,
    shard: u32,
    epoch: u64,
    poisonous: Poisonous,
    semaphores: Semaphores,
    confirmed: Confirmed,
    done: mpsc::UnboundedSender<Done>,
    /// What comes back: a reply whose answer was looked up, what could not be done yet.
    again: mpsc::UnboundedSender<(u64, Effect)>,
}

/// An effect for Redis.
enum ForRedis {
    Deliver(inbox::Delivery),
    Reply(Reply),
    View(ViewWrite),
    Hold(Box<Try>, Vec<String>, u64),
    GiveBack(Box<Try>, Vec<String>),
}

impl ForRedis {
    fn is_urgent(&self) -> bool {
        matches!(self, ForRedis::Deliver(delivery) if delivery.urgent)
    }
}

impl Performing {
    async fn run(self, mut todo: Todo) {
        let mut redis: VecDeque<(u64, ForRedis)> = VecDeque::new();
        let mut pause = PAUSE.0;
        let (mut batch, mut kafka) = (Vec::with_capacity(BATCH), Vec::with_capacity(BATCH));
        loop {
            if redis.is_empty() && !todo.wait(&mut batch).await {
                return;
            }
            todo.fill(&mut batch);
            // What is urgent goes ahead of what waits to be tried again, too.
            let mut ahead = redis.iter().take_while(|(_, item)| item.is_urgent()).count();
            for (offset, effect) in batch.drain(..) {
                match self.for_redis(effect) {
                    Ok(item) if item.is_urgent() => {
                        redis.insert(ahead, (offset, item));
                        ahead += 1;
                    }
                    Ok(item) => redis.push_back((offset, item)),
                    Err(effect) => kafka.push((offset, effect)),
                }
            }
            // Agents wait for what goes to Redis: it is sent first, and the rest while that is on its way.
            let others = async {
                for (offset, effect) in kafka.drain(..) {
                    self.begin(offset, *effect).await;
                }
            };
            let (flushed, ()) = tokio::join!(self.flush(&mut redis), others);
            if flushed {
                pause = PAUSE.0;
            } else {
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(PAUSE.1);
            }
        }
    }

    /// What of this is for Redis; the effect itself if it is not.
    fn for_redis(&self, effect: Effect) -> Result<ForRedis, Box<Effect>> {
        match effect {
            Effect::Deliver {
                agent, delivery: Delivery::Redis, attempt_id, urgent, envelope, value, ..
            } => {
                let envelope = Envelope { epoch: Some(self.epoch), ..*envelope };
                Ok(ForRedis::Deliver(inbox::Delivery {
                    workspace: agent.workspace,
                    agent: agent.agent,
                    shard: self.shard,
                    epoch: self.epoch,
                    attempt_id,
                    urgent,
                    body: Message::structured(&envelope, &value),
                }))
            }
            Effect::HoldPermits { by, permits, for_ms } => Ok(ForRedis::Hold(Box::new(by), permits, for_ms)),
            Effect::GiveBack { by, permits } => Ok(ForRedis::GiveBack(Box::new(by), permits)),
            Effect::Reply { to: ReplyTo::Redis(key), envelope, value } => {
                Ok(ForRedis::Reply(Reply { key, body: Message::structured(&envelope, &value) }))
            }
            Effect::View { kind, workspace, id, offset, value } => Ok(ForRedis::View(ViewWrite {
                workspace,
                kind,
                id,
                offset,
                body: value.as_str().to_owned(),
                ttl: self.shared.config.view_kept,
            })),
            other => Err(Box::new(other)),
        }
    }

    fn confirm(&self, offset: u64, kind: &'static str) {
        self.confirmed.add(offset, kind);
    }

    /// Begins an effect that is not for Redis.
    async fn begin(&self, offset: u64, effect: Effect) {
        let kind = effect.kind();
        match effect {
            Effect::Publish { root, envelope, value } => {
                let out = record(topics::EVENTS, &envelope, &root, &value).partition(self.shard as i32);
                if envelope.ty.starts_with(AT_ONCE) {
                    self.produce(offset, kind, out).await;
                } else {
                    self.shared.gathered.event(self.sending(offset, kind, out)).await;
                }
            }
            Effect::Command { root, envelope, value } => {
                let shard = topics::partition(root.as_bytes(), self.shared.config.partitions);
                let out = record(topics::COMMANDS, &envelope, &root, &value).partition(shard as i32);
                self.produce(offset, kind, out).await;
            }
            Effect::Directory(entry) => match directory_record(self.shard, offset, &entry) {
                Ok(out) => self.produce(offset, kind, out).await,
                Err(error) => {
                    tracing::error!(%error, "a directory entry cannot be written");
                    self.confirm(offset, kind);
                }
            },
            Effect::DirectoryRemoval(key) => {
                self.produce(offset, kind, removal_record(self.shard, offset, &key)).await;
            }
            Effect::DirectoryWorkflow(workflow) => match workflow_record(self.shard, offset, &workflow) {
                Ok(out) => self.produce(offset, kind, out).await,
                Err(error) => {
                    tracing::error!(%error, "a workflow cannot be written into the directory");
                    self.confirm(offset, kind);
                }
            },
            Effect::DirectoryPauses(pauses) => match pauses_record(self.shard, offset, &pauses) {
                Ok(out) => self.produce(offset, kind, out).await,
                Err(error) => {
                    tracing::error!(%error, "what is paused cannot be written");
                    self.confirm(offset, kind);
                }
            },
            Effect::Deliver {
                delivery: Delivery::Kafka { topic }, urgent, root, envelope, value, ..
            } => {
                let envelope = Envelope { epoch: Some(self.epoch), ..*envelope };
                if self.topic_is_there(&topic).await {
                    let out = record(&topic, &envelope, &root, &value);
                    // A topic has one order: the receiver may look for this ahead of its turn.
                    let out = if urgent { out.header(URGENT, "true") } else { out };
                    self.produce(offset, kind, out).await;
                } else {
                    self.confirm(offset, kind);
                }
            }
            Effect::Reply { to: ReplyTo::Kafka(topic), envelope, value } => {
                if self.topic_is_there(&topic).await {
                    let key = envelope.subject.clone().unwrap_or_default();
                    self.produce(offset, kind, record(&topic, &envelope, &key, &value)).await;
                } else {
                    self.confirm(offset, kind);
                }
            }
            Effect::ReplyPast { to, envelope, past } => self.look_up(offset, to, envelope, past),
            Effect::PutState { workspace, key, put, by, request } => {
                self.put_state(offset, (workspace, key), put, by, request);
            }
            Effect::Deliver { delivery: Delivery::Redis, .. }
            | Effect::HoldPermits { .. }
            | Effect::GiveBack { .. }
            | Effect::View { .. }
            | Effect::Reply { to: ReplyTo::Redis(_), .. } => {
                tracing::error!(kind, "an effect for Redis has come the wrong way");
            }
            Effect::DeadLetter { offset: at, error } => match self.undecodable(at).await {
                Ok(Some(raw)) => {
                    let letter = dead_letter(&raw, "synod-coordinator", 1, &error.to_string());
                    metrics::counter!(names::DEAD_LETTERS_TOTAL, "topic" => topics::COMMANDS).increment(1);
                    self.produce(offset, kind, letter).await;
                }
                Ok(None) | Err(ReadError::PositionLost { .. }) => {
                    tracing::warn!(at, %error, "a command that could not be read is no longer there to be copied");
                    self.confirm(offset, kind);
                }
                Err(hindrance) => {
                    tracing::warn!(at, %hindrance, "a command that could not be read cannot be copied yet");
                    let (back, again) = (self.again.clone(), Effect::DeadLetter { offset: at, error });
                    tokio::spawn(async move {
                        tokio::time::sleep(PAUSE.1).await;
                        // The performer ends with the epoch; the next owner issues it again.
                        let _ = back.send((offset, again));
                    });
                }
            },
        }
    }

    /// Looks for an answer that has left memory; others do not wait for it.
    fn look_up(&self, offset: u64, to: ReplyTo, envelope: Box<Envelope>, past: Past) {
        let (shared, shard, back) = (self.shared.clone(), self.shard, self.again.clone());
        tokio::spawn(async move {
            let mut envelope = envelope;
            let value = match archive::answer(&shared, shard, past).await {
                Ok((value, _)) => value,
                Err(error) => {
                    envelope.ty = "synod.rejected".to_owned();
                    Json::of(&error).unwrap_or_default()
                }
            };
            // The performer ends with the epoch; the next owner issues it again.
            let _ = back.send((offset, Effect::Reply { to, envelope, value }));
        });
    }

    /// Makes a topic that a client has named. One that Kafka refuses for good is not waited for: the attempt
    /// will time out and be tried elsewhere, the reply can be read over HTTP.
    async fn topic_is_there(&self, topic: &str) -> bool {
        let mut pause = PAUSE.0;
        loop {
            match self.shared.kafka.ensure_topic(topic).await {
                Ok(()) => return true,
                Err(TopicError::Refused { message, .. }) => {
                    tracing::warn!(topic, message, "the topic cannot be made");
                    return false;
                }
                Err(error) => tracing::warn!(topic, %error, "the topic cannot be made yet"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// Hands a record to Kafka; its acknowledgement confirms it.
    async fn produce(&self, offset: u64, kind: &'static str, out: Outgoing) {
        self.sending(offset, kind, out).begin(&self.shared.kafka).await;
    }

    fn sending(&self, offset: u64, kind: &'static str, out: Outgoing) -> Sending {
        Sending { offset, kind, out, confirmed: self.confirmed.clone(), done: self.done.clone() }
    }

    /// The record that could not be read: as it came, or read again by its new owner.
    async fn undecodable(&self, at: u64) -> Result<Option<RawRecord>, ReadError> {
        let kept = self.poisonous.lock().unwrap_or_else(PoisonError::into_inner).remove(&at);
        if kept.is_some() {
            return Ok(kept);
        }
        let mut found = None;
        let (from, stall) = (at as i64, Duration::from_secs(10));
        let read = self.shared.kafka.readers.read_through(
            topics::COMMANDS,
            self.shard as i32,
            from,
            from,
            stall,
            |r| {
                if r.offset == from {
                    found = Some(r);
                }
                ControlFlow::Break(())
            },
        );
        read.await?;
        Ok(found)
    }

    /// Performs what is for Redis, in order; `false` when something must be tried again.
    async fn flush(&self, redis: &mut VecDeque<(u64, ForRedis)>) -> bool {
        let (mut deliveries, mut replies, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        let (mut views, mut permits) = (Vec::new(), VecDeque::new());
        for (offset, item) in redis.drain(..) {
            match item {
                ForRedis::Hold(..) | ForRedis::GiveBack(..) => permits.push_back((offset, item)),
                ForRedis::Deliver(delivery) => deliveries.push((offset, delivery)),
                ForRedis::Reply(reply) => replies.push((offset, reply)),
                ForRedis::View(view) => {
                    views.push(view);
                    self.confirm(offset, "view");
                }
            }
        }
        if !deliveries.is_empty() {
            let batch = deliveries.iter().map(|(_, d)| d.clone()).collect();
            let outcomes = Inboxes::new(self.shared.redis.clone()).deliver(batch).await;
            for ((offset, delivery), outcome) in deliveries.into_iter().zip(outcomes) {
                match outcome {
                    Ok(Delivered::Accepted | Delivered::AlreadyThere) => self.confirm(offset, "deliver"),
                    Ok(Delivered::Fenced { newest }) => {
                        tracing::warn!(shard = self.shard, newest, "an inbox has heard a newer owner");
                        let _ = self.done.send(Done::Overtaken);
                    }
                    Err(error) => failed.push((offset, ForRedis::Deliver(delivery), error)),
                }
            }
        }
        if !replies.is_empty() {
            let batch = replies.iter().map(|(_, r)| r.clone()).collect();
            let outcomes = reply(&self.shared.redis, batch).await;
            for ((offset, body), outcome) in replies.into_iter().zip(outcomes) {
                match outcome {
                    Ok(()) => self.confirm(offset, "reply"),
                    Err(RedisError::Full { .. }) => {
                        // Nobody reads it: sixty seconds of answers are enough.
                        self.confirmed.refused(offset, "reply");
                    }
                    Err(error) => failed.push((offset, ForRedis::Reply(body), error)),
                }
            }
        }
        for view in views {
            self.shared.gathered.view(self.shard, view).await;
        }
        self.permits(&mut permits).await;
        let all = failed.is_empty() && permits.is_empty();
        redis.append(&mut permits);
        for (offset, item, error) in failed {
            tracing::debug!(%error, "an effect for Redis is tried again");
            metrics::counter!(names::EFFECTS_TOTAL, "kind" => "redis", "outcome" => "failed").increment(1);
            redis.push_back((offset, item));
        }
        all
    }
}

impl Performing {
    /// Holds permits and gives them back, in order; what is left must be tried again, in the same order: an attempt's end
    /// never goes before its beginning.
    async fn permits(&self, items: &mut VecDeque<(u64, ForRedis)>) {
        while let Some((_, first)) = items.front() {
            let holds = matches!(first, ForRedis::Hold(..));
            let run = items.iter().take_while(|(_, item)| matches!(item, ForRedis::Hold(..)) == holds);
            let outcomes = if holds {
                let of = |(_, item): &(u64, ForRedis)| match item {
                    ForRedis::Hold(by, permits, for_ms) => Some(((**by).clone(), permits.clone(), *for_ms)),
                    _ => None,
                };
                let batch: Vec<(Try, Vec<String>, u64)> = run.filter_map(of).collect();
                let batch: Vec<_> = batch.iter().map(|(by, permits, ms)| (by, &permits[..], *ms)).collect();
                self.semaphores.hold(&batch).await
            } else {
                let of = |(_, item): &(u64, ForRedis)| match item {
                    ForRedis::GiveBack(by, permits) => Some(((**by).clone(), permits.clone())),
                    _ => None,
                };
                let batch: Vec<(Try, Vec<String>)> = run.filter_map(of).collect();
                let batch: Vec<_> = batch.iter().map(|(by, permits)| (by, &permits[..])).collect();
                self.semaphores.give_back(&batch).await.into_iter().map(|done| done.map(Ok)).collect()
            };
            for outcome in outcomes {
                match outcome {
                    Err(error) => {
                        tracing::debug!(%error, "permits are held or given back later");
                        metrics::counter!(names::EFFECTS_TOTAL, "kind" => "permits", "outcome" => "failed")
                            .increment(1);
                        return;
                    }
                    Ok(Err(Fenced)) => {
                        tracing::warn!(shard = self.shard, "permits were held by a newer owner");
                        let _ = self.done.send(Done::Overtaken);
                        items.pop_front();
                    }
                    Ok(Ok(())) => match items.pop_front() {
                        Some((offset, ForRedis::GiveBack(by, _))) => {
                            metrics::counter!(names::EFFECTS_TOTAL, "kind" => "permits", "outcome" => "confirmed")
                                .increment(1);
                            // The loop is gone when the epoch is over.
                            let _ = self.done.send(Done::GivenBack(offset, by));
                        }
                        Some((offset, _)) => self.confirm(offset, "permits"),
                        None => return,
                    },
                }
            }
        }
    }
}

fn record(topic: &str, envelope: &Envelope, key: &str, value: &Json) -> Outgoing {
    Outgoing::to(topic).envelope(envelope).key(key).payload(value.as_str())
}

/// The directory's record of an agent, standing for the ledger's record at `offset`. The default workspace's
/// agents are keyed by their id; others by `<workspace>/<id>`, so that compaction keeps both.
pub(super) fn directory_record(
    shard: u32,
    offset: u64,
    entry: &DirectoryEntry,
) -> Result<Outgoing, serde_json::Error> {
    let envelope = Envelope {
        position: Some(Position { shard, offset }),
        workspace: entry.workspace.clone(),
        subject: Some(entry.agent_id.to_string()),
        ..Envelope::new(
            format!("{shard}-{offset}-directory"),
            format!("/synod/shards/{shard}"),
            "synod.agent.entry",
        )
    };
    let key = directory_key(&entry.workspace, &entry.agent_id);
    Ok(record(topics::AGENTS, &envelope, &key, &Json::of(entry)?).partition(shard as i32))
}

fn directory_key(workspace: &Workspace, agent: &Id) -> String {
    if *workspace == Workspace::default_name() {
        return agent.to_string();
    }
    format!("{workspace}/{agent}")
}

/// What removes an agent from the directory: its key with no value, standing for the ledger's record at `offset`.
fn removal_record(shard: u32, offset: u64, key: &AgentKey) -> Outgoing {
    let envelope = Envelope {
        position: Some(Position { shard, offset }),
        workspace: key.workspace.clone(),
        subject: Some(key.agent.to_string()),
        ..Envelope::new(
            format!("{shard}-{offset}-directory"),
            format!("/synod/shards/{shard}"),
            "synod.agent.removed",
        )
    };
    let out = Outgoing::to(topics::AGENTS).envelope(&envelope).partition(shard as i32);
    out.key(directory_key(&key.workspace, &key.agent))
}

/// The directory's record of a workflow's newest version, standing for the ledger's record at `offset`.
pub(super) fn workflow_record(
    shard: u32,
    offset: u64,
    workflow: &Workflow,
) -> Result<Outgoing, serde_json::Error> {
    let (workspace, id) = (&workflow.workspace, &workflow.workflow_id);
    let key = format!("{}{workspace}/{id}", topics::WORKFLOW_KEY);
    let envelope = Envelope {
        position: Some(Position { shard, offset }),
        workspace: workspace.clone(),
        ..Envelope::new(
            format!("{shard}-{offset}-workflow-{id}"),
            format!("/synod/shards/{shard}"),
            "synod.workflow.newest",
        )
    };
    let out = record(topics::AGENTS, &envelope, &key, &Json::of(workflow)?);
    Ok(out.partition(shard as i32))
}

/// The directory's record of what is paused, standing for the ledger's record at `offset`.
pub(super) fn pauses_record(shard: u32, offset: u64, pauses: &Pauses) -> Result<Outgoing, serde_json::Error> {
    let envelope = Envelope {
        position: Some(Position { shard, offset }),
        ..Envelope::new(
            format!("{shard}-{offset}-pauses"),
            format!("/synod/shards/{shard}"),
            "synod.fleet.pauses",
        )
    };
    let out = record(topics::AGENTS, &envelope, topics::FLEET_KEY, &Json::of(pauses)?);
    Ok(out.partition(shard as i32))
}
