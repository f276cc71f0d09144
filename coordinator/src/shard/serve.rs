//! Serving: the one loop in which everything that can happen to a shard happens, one thing at a time.

mod explain;
mod holdings;
mod lists;
mod told;
mod unclaimed;

use super::inbound::{self, Read};
use super::life::Waiters;
use super::performer::{
    Confirmed, Done, Performer, Poisonous, directory_record, pauses_record, workflow_record,
};
use super::permits::{Asker, Heard, Semaphores};
use super::{Ask, archive, fleet};
use crate::duties;
use crate::health::Phase;
use crate::statistics::Participation;
use crate::{Shared, moments, snapshots};
use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use synod_infra::kafka::{PartitionReader, Producer, RawRecord, ReadError, Start};
use synod_infra::telemetry::names;
use synod_infra::telemetry::spans::{self, Span};
use synod_ledger::{
    Answer, Answered, Append, Doubt, Effect, EntityKey, Folded, Input, Limits, NegotiationKey, Next, Owner,
    Past, Released, Subject, TaskKey, TaskState, Ticket, Wanted,
};
use synod_protocol::event::{Event, What};
use synod_protocol::{Error, Json, Timestamp, Workspace, topics};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Commands read at a time.
const BATCH: usize = 256;
/// Commands passed on to other partitions that may wait for their acknowledgement.
const PASSING_LIMIT: usize = 256;
/// An owner that has appended nothing for so long appends a sign of life, by which it learns whether it still is one.
const IDLE: Duration = Duration::from_secs(10);
/// How often the newest floor is noted, by which the ledger is trimmed later.
const FLOOR_EVERY: Duration = Duration::from_secs(60);
/// The offset under which effects are performed that no step owes.
const NO_STEP: u64 = u64::MAX;
/// How long what was heard of permits that are out elsewhere is believed, at least.
const LOOK_AGAIN: Duration = Duration::from_millis(60);
/// How often an owner whose tasks hold permits looks whether Redis has lost them; well under the time in which Redis then grants
/// none.
const LOOK_AT_ERA: Duration = Duration::from_millis(500);
/// How long what is in flight may take when the shard is given up in good order.
const FINISH: Duration = Duration::from_secs(5);

/// A shard at which nothing happens turns so often all the same.
const TURN_AT_LEAST: Duration = Duration::from_millis(500);

/// How often it is looked how long tasks and approvals wait, and at how many of them.
const AGES_EVERY: Duration = Duration::from_secs(2);
const AGED: usize = 10_000;

/// Why serving ended.
pub(super) enum Ended {
    Stopped,
    Doubt(Why),
    DataLost(String),
}

/// What ended an epoch.
#[derive(Debug, thiserror::Error)]
pub(super) enum Why {
    #[error(transparent)]
    Append(#[from] Doubt),
    #[error("an append could not be sent: {0}")]
    NotSent(String),
    #[error("a receiver has heard a newer owner, or could not be reached for good")]
    Overtaken,
    #[error("the commands topic cannot be read: {0}")]
    Read(ReadError),
    #[error("a misplaced command could not be passed on: {0}")]
    NotPassedOn(String),
    #[error("the core is stuck: {0}")]
    Stuck(String),
}

impl Why {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Why::Append(Doubt::UnexpectedOffset { .. }) => "unexpected_offset",
            Why::Append(Doubt::NoOffset(_)) => "no_offset",
            Why::Append(Doubt::NotAppended(..)) => "not_appended",
            Why::NotSent(_) => "not_sent",
            Why::Overtaken => "overtaken",
            Why::Read(_) => "read",
            Why::NotPassedOn(_) => "not_passed_on",
            Why::Stuck(_) => "stuck",
        }
    }
}

/// What comes back from Kafka's polling threads and the performer.
enum Back {
    Acked { n: u64, outcome: Result<Option<u64>, String> },
    PassedOn { offset: u64, outcome: Result<(), String> },
}

/// A record of the commands topic, in its order.
enum Queued {
    /// Read at this time of the shard's.
    Ready(Box<Input>, Timestamp),
    Passing {
        offset: u64,
        partition: u32,
        done: bool,
    },
}

/// By which door a command came, and when.
type Came = (&'static str, Instant);

/// One epoch of one shard.
pub(super) struct Serving<'a> {
    shared: Arc<Shared>,
    shard: u32,
    owner: Owner,
    began: (Timestamp, Instant),
    producer: Option<Producer>,
    performer: Performer,
    poisonous: Poisonous,
    back: (mpsc::UnboundedSender<Back>, mpsc::UnboundedReceiver<Back>),
    confirmed: Confirmed,
    done: mpsc::UnboundedReceiver<Done>,
    asker: Asker,
    heard: mpsc::UnboundedReceiver<Heard>,
    /// When it is next looked whether permits have come back elsewhere, and whether Redis still has those that are held.
    looks_at: (Instant, Instant),
    asks: &'a mut mpsc::Receiver<Ask>,
    waiters: &'a mut Waiters,
    tickets: BTreeMap<Ticket, oneshot::Sender<Answer>>,
    next_ticket: Ticket,
    queue: VecDeque<Queued>,
    /// What is not proven yet: its number, when it was sent, and whence it came.
    sent_at: VecDeque<(u64, Instant, Option<Came>)>,
    /// The end of the commands topic as seen after the claim; until it is reached nothing else is decided.
    until: Option<u64>,
    waiting_told: usize,
    appended_at: Instant,
    /// For attempts that nobody takes from their inbox.
    looked: unclaimed::Looked,
    /// Spans of what is not proven yet.
    told: told::Unproven,
    /// When it was last looked how long who waits has waited.
    aged_at: Instant,
    /// Floors that proven steps carry, and since when: what is old enough is trimmed.
    floors: VecDeque<(Instant, u64)>,
}

impl<'a> Serving<'a> {
    pub(super) fn new(
        shared: Arc<Shared>,
        shard: u32,
        folded: Folded,
        claimed_at: Instant,
        asks: &'a mut mpsc::Receiver<Ask>,
        waiters: &'a mut Waiters,
    ) -> Serving<'a> {
        let began = (folded.now, claimed_at);
        let limits = Limits {
            record_bytes: shared.config.limits.record_bytes,
            image_within: shared.config.image_within.clamp(100, 1_000_000),
            live_bytes: shared.config.live_bytes,
        };
        let (owner, owed) = Owner::with(shard, folded, limits, shared.config.rules.clone());
        let (told, done) = mpsc::unbounded_channel();
        let poisonous = Poisonous::default();
        let semaphores = Semaphores::new(shared.clone(), shard, owner.epoch());
        let (epoch, known) = (owner.epoch(), poisonous.clone());
        let confirmed = Confirmed::default();
        let tells = (confirmed.clone(), told);
        let performer = Performer::start(shared.clone(), shard, epoch, known, semaphores.clone(), tells);
        let (tell, heard) = mpsc::unbounded_channel();
        let asker = Asker::start(semaphores, tell);
        // So that the era begins with the mesh, and not with the first who wants a permit.
        asker.look_at_the_era();
        let mut serving = Serving {
            shared,
            shard,
            owner,
            began,
            producer: None,
            performer,
            poisonous,
            back: mpsc::unbounded_channel(),
            confirmed,
            done,
            asker,
            heard,
            looks_at: (Instant::now(), Instant::now()),
            asks,
            waiters,
            tickets: BTreeMap::new(),
            next_ticket: 0,
            queue: VecDeque::new(),
            sent_at: VecDeque::new(),
            until: None,
            waiting_told: 0,
            appended_at: Instant::now(),
            looked: unclaimed::Looked::default(),
            told: told::Unproven::default(),
            aged_at: Instant::now(),
            floors: VecDeque::new(),
        };
        serving.shared.shards[shard as usize].appends(serving.owner.epoch());
        serving.count_held();
        serving.release(owed);
        serving
    }

    /// The shard's time: that of the claim, plus our monotonic time since.
    fn now(&self) -> Timestamp {
        self.began.0.plus_millis(u64::try_from(self.began.1.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn ticket(&mut self, answer: oneshot::Sender<Answer>) -> Ticket {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, answer);
        self.next_ticket
    }

    fn is_full(&self) -> bool {
        self.owner.in_flight() >= self.shared.config.in_flight_limit
            || self.owner.owed() >= self.shared.config.owed_limit
    }

    fn is_catching_up(&self) -> bool {
        self.until.is_some()
    }

    /// Decides one input and appends what it did.
    fn handle(&mut self, input: &Input, ticket: Option<Ticket>) -> Result<(), Why> {
        let _on_every_line = span_of(self.shard, input).entered();
        let came = match input {
            Input::Command { meta, .. } => {
                Some((if meta.offset.is_some() { "kafka" } else { "http" }, Instant::now()))
            }
            _ => None,
        };
        let mut released = Vec::new();
        let command = told::command(self.shard, input);
        let append = self.decide(input, ticket, &mut released);
        let mut told = Vec::new();
        if let Some(Append { workspace: Some(workspace), events, .. }) = &append {
            self.happened(workspace, events);
            if spans::on() {
                told = self.ends(workspace, events);
            }
        }
        if let Some((trace, mut span)) = command {
            span.happened("decided");
            told.push(if self.goes_on_in(input, &trace) { span } else { span.ends_its_part() });
        }
        match append {
            Some(append) => {
                self.told.wait(append.n, told);
                self.send(append, "step", came)?;
                if let Some(image) = self.owner.image() {
                    self.send(image, "image", None)?;
                }
            }
            None => told.into_iter().for_each(Span::end),
        }
        self.release(released);
        Ok(())
    }

    fn send(&mut self, append: Append, kind: &'static str, came: Option<Came>) -> Result<(), Why> {
        let Append { n, key, bytes, .. } = append;
        self.appended_at = Instant::now();
        let producer = match &self.producer {
            Some(producer) => producer.clone(),
            None => {
                let producer = self.shared.kafka.ledger().map_err(|e| Why::NotSent(e.to_string()))?;
                self.producer.insert(producer).clone()
            }
        };
        let back = self.back.0.clone();
        self.shared.shards[self.shard as usize].appends(self.owner.epoch() + n);
        let out = synod_infra::kafka::Outgoing::to(topics::LEDGER)
            .partition(self.shard as i32)
            .key(key)
            .payload(bytes);
        producer
            .send(out, move |delivery| {
                let outcome = delivery.map(|acked| acked.known_offset()).map_err(|e| e.to_string());
                // The loop is gone when the epoch is over.
                let _ = back.send(Back::Acked { n, outcome });
            })
            .map_err(|e| Why::NotSent(e.to_string()))?;
        metrics::counter!(names::LEDGER_RECORDS_TOTAL, "kind" => kind).increment(1);
        if self.sent_at.is_empty() {
            self.shared.status.flying(self.shard, Some(Instant::now()));
        }
        self.sent_at.push_back((n, Instant::now(), came));
        Ok(())
    }

    /// Tells those who wait what has happened in memory; nothing leaves by it.
    fn happened(&mut self, workspace: &Workspace, events: &[Event]) {
        for event in events {
            match &event.what {
                What::TaskCompleted(_)
                | What::TaskFailed(_)
                | What::TaskCancelled(_)
                | What::TaskDeadLettered(_) => {
                    let key = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
                    self.task_ended(&key);
                    self.tell_waiters(&Subject::Task(key));
                }
                What::TaskAssigned(assigned) => {
                    metrics::counter!(names::PICKS_TOTAL, "rule" => assigned.choice.rule.clone())
                        .increment(1);
                    let key = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
                    if assigned.attempt == 1
                        && let Some(task) = self.owner.state().task(&key)
                    {
                        let waited = self.owner.state().now.millis_since(task.submitted_at);
                        metrics::histogram!(names::TASK_WAIT_SECONDS).record(waited as f64 / 1000.0);
                    }
                }
                What::NegotiationOpened(opened) => {
                    let protocol = opened.protocol.clone();
                    self.shared.statistics.negotiation_opened(workspace, &protocol);
                    metrics::counter!(names::NEGOTIATIONS_OPENED_TOTAL, "protocol" => protocol).increment(1);
                }
                What::ExecutionStarted(started) => {
                    self.shared.statistics.execution_began(workspace, started.workflow_id.as_str());
                    metrics::counter!(names::EXECUTIONS_STARTED_TOTAL).increment(1);
                }
                What::ExecutionCompleted(_) | What::ExecutionFailed(_) | What::ExecutionCancelled(_) => {
                    let key = EntityKey::of(workspace, &event.entity);
                    self.execution_ended(&key);
                    self.tell_waiters(&Subject::Execution(key));
                }
                What::ApprovalRequired(_) => {
                    self.shared.statistics.approval_began(workspace);
                    metrics::counter!(names::APPROVALS_REQUIRED_TOTAL).increment(1);
                }
                What::ApprovalGranted(ended)
                | What::ApprovalRejected(ended)
                | What::ApprovalChangesRequested(ended)
                | What::ApprovalCancelled(ended)
                | What::ApprovalTimedOut(ended) => {
                    let status = ended.status.as_str();
                    metrics::counter!(names::APPROVALS_ENDED_TOTAL, "status" => status).increment(1);
                    let key = EntityKey::of(workspace, &event.entity);
                    if let Some(it) = self.owner.state().approval(&key) {
                        let took = it.ended_at.map_or(0, |at| at.millis_since(it.asked_at));
                        metrics::histogram!(names::APPROVAL_SECONDS, "status" => status)
                            .record(took as f64 / 1000.0);
                        self.shared.statistics.approval_ended(workspace, it);
                    }
                    self.tell_waiters(&Subject::Approval(key));
                }
                What::NegotiationDecided(_) | What::NegotiationFailed(_) | What::NegotiationCancelled(_) => {
                    let (workspace, negotiation) = (workspace.clone(), event.entity.clone());
                    let key = NegotiationKey { workspace, negotiation };
                    self.negotiation_ended(&key);
                    self.tell_waiters(&Subject::Negotiation(key));
                }
                _ => {}
            }
        }
    }

    fn task_ended(&self, key: &TaskKey) {
        let Some(task) = self.owner.state().task(key) else { return };
        let status = task.status.as_str();
        metrics::counter!(names::TASKS_ENDED_TOTAL, "status" => status).increment(1);
        let took = task.completed_at.map_or(0, |at| at.millis_since(task.submitted_at));
        metrics::histogram!(names::TASK_SECONDS, "status" => status).record(took as f64 / 1000.0);
        let correlation_id = &task.submitted.correlation_id;
        tracing::debug!(task = %key.task, correlation_id, status, took, "a task has ended");
    }

    fn negotiation_ended(&self, key: &NegotiationKey) {
        let Some(it) = self.owner.state().negotiation(key) else { return };
        let (status, protocol) = (it.status.as_str(), it.opened.protocol.clone());
        metrics::counter!(names::NEGOTIATIONS_ENDED_TOTAL, "status" => status, "protocol" => protocol.clone())
            .increment(1);
        let took = it.ended_at.map_or(0, |at| at.millis_since(it.opened_at));
        metrics::histogram!(names::NEGOTIATION_SECONDS, "status" => status, "protocol" => protocol.clone())
            .record(took as f64 / 1000.0);
        metrics::counter!(names::NEGOTIATION_ROUNDS_TOTAL, "protocol" => protocol.clone())
            .increment(it.rounds.len() as u64);
        let took_part = Participation::of(&it.rounds);
        self.shared.statistics.negotiation_ended(&key.workspace, it, &took_part);
        for (how, many) in [
            ("answered", took_part.answered),
            ("abstained", took_part.abstained),
            ("silent", took_part.silent),
            ("gone", took_part.gone),
        ] {
            metrics::counter!(names::NEGOTIATION_PARTICIPANTS_TOTAL, "protocol" => protocol.clone(), "how" => how)
                .increment(many);
        }
        let correlation_id = &it.opened.correlation_id;
        tracing::debug!(negotiation = %key.negotiation, correlation_id, status, took, "a negotiation has ended");
    }

    fn execution_ended(&self, key: &EntityKey) {
        let Some(run) = self.owner.state().execution(key) else { return };
        self.shared.statistics.execution_ended(&key.workspace, run);
        let status = run.status().as_str();
        metrics::counter!(names::EXECUTIONS_ENDED_TOTAL, "status" => status).increment(1);
        let took = run.ended_at().map_or(0, |at| at.millis_since(run.started_at()));
        metrics::histogram!(names::EXECUTION_SECONDS, "status" => status).record(took as f64 / 1000.0);
        let correlation_id = &run.started().correlation_id;
        tracing::debug!(execution = %key.id, correlation_id, status, took, "an execution has ended");
    }

    fn tell_waiters(&mut self, subject: &Subject) {
        for answer in self.waiters.remove(subject).unwrap_or_default() {
            let ticket = self.ticket(answer);
            let mut released = Vec::new();
            self.owner.read(ticket, subject, &mut released);
            self.release(released);
        }
    }

    /// Whether it is known here and has not ended.
    fn goes_on(&self, subject: &Subject) -> bool {
        // A certificate is of what has ended, and is refused until then.
        let waits = !matches!(subject, Subject::Certificate(_));
        waits && subject.standing(self.owner.state()).is_some_and(|standing| !standing.is_over)
    }

    /// Answers those whose task or negotiation ended while the shard changed epochs.
    fn tell_who_waited(&mut self) {
        let over: Vec<Subject> =
            self.waiters.keys().filter(|subject| !self.goes_on(subject)).cloned().collect();
        for subject in over {
            self.tell_waiters(&subject);
        }
    }

    /// Lets out what is proven.
    fn release(&mut self, released: Vec<Released>) {
        for item in released {
            match item {
                Released::Effects { offset, effects } => {
                    for effect in effects {
                        if let Effect::Directory(entry) = &effect {
                            snapshots::heard(&self.shared, entry);
                            // This coordinator knows at once; the others by the topic.
                            self.shared.fleet.learn((**entry).clone(), offset);
                        }
                        if let Effect::DirectoryRemoval(key) = &effect {
                            self.shared.fleet.forget(key, offset);
                            self.shared.statistics.forget(key);
                        }
                        if let Effect::DirectoryWorkflow(workflow) = &effect {
                            self.shared.definitions.learn((**workflow).clone(), offset);
                        }
                        if let Effect::DirectoryPauses(pauses) = &effect {
                            self.shared.fleet.learn_pauses(pauses.clone(), offset);
                            snapshots::halted(&self.shared, pauses);
                        }
                        self.performer.perform(offset, effect);
                    }
                }
                Released::Past(ticket, past) => self.look_up(ticket, past),
                Released::Again(effects) => {
                    effects.into_iter().for_each(|effect| self.performer.perform(NO_STEP, effect));
                }
                Released::Answer(ticket, answer) => {
                    if let Some(sender) = self.tickets.remove(&ticket) {
                        // Who asked may have gone.
                        let _ = sender.send(answer);
                    }
                }
            }
        }
    }

    /// Has an answer looked for that has left memory; nobody else waits for that.
    fn look_up(&mut self, ticket: Ticket, past: Past) {
        let Some(sender) = self.tickets.remove(&ticket) else { return };
        let (shared, shard) = (self.shared.clone(), self.shard);
        tokio::spawn(async move {
            // Who asked may have gone.
            let _ = sender.send(archive::answer(&shared, shard, past).await);
        });
    }

    fn came_back(&mut self, back: Back) -> Result<(), Why> {
        match back {
            Back::Acked { n, outcome } => {
                let released = self.owner.acked(n, outcome)?;
                while let Some((_, at, came)) =
                    self.sent_at.front().filter(|(m, ..)| *m <= self.owner.proven())
                {
                    metrics::histogram!(names::KAFKA_APPEND_SECONDS).record(at.elapsed());
                    if let Some((door, began)) = came {
                        metrics::histogram!(names::COMMAND_SECONDS, "door" => *door).record(began.elapsed());
                    }
                    self.sent_at.pop_front();
                }
                self.shared.status.flying(self.shard, self.sent_at.front().map(|(_, at, _)| *at));
                self.told.proven(self.owner.proven());
                self.release(released);
                Ok(())
            }
            Back::PassedOn { outcome: Err(why), .. } => Err(Why::NotPassedOn(why)),
            Back::PassedOn { offset: at, outcome: Ok(()) } => {
                for queued in &mut self.queue {
                    if let Queued::Passing { offset, done, .. } = queued
                        && *offset == at
                    {
                        *done = true;
                    }
                }
                Ok(())
            }
        }
    }

    /// Notes what has been confirmed since the last time.
    fn note_confirmed(&mut self) {
        for offset in self.confirmed.take() {
            self.owner.confirmed(offset, 1);
        }
    }

    fn was_done(&mut self, done: &Done) -> Result<(), Why> {
        match done {
            Done::GivenBack(offset, by) => {
                self.owner.given_back(by);
                self.owner.confirmed(*offset, 1);
                Ok(())
            }
            Done::Overtaken => Err(Why::Overtaken),
        }
    }

    /// What became of permits that were asked for: the task is given out, or they are given up.
    fn was_told(&mut self, heard: Heard) -> Result<(), Why> {
        let Heard::Answered(wanted, answered) = heard else { return Err(Why::Overtaken) };
        if let Answered::Unknown(why) = &answered {
            tracing::debug!(shard = self.shard, task = %wanted.by.task.task, why, "permits cannot be taken yet");
        }
        if let Some(input) = self.owner.answered(&wanted, &answered) {
            self.handle(&input, None)?;
        }
        if matches!(answered, Answered::Granted(_)) && !self.is_assigned(&wanted) {
            self.asker.give_up(wanted);
        }
        Ok(())
    }

    fn is_assigned(&self, wanted: &Wanted) -> bool {
        let task = self.owner.state().task(&wanted.by.task);
        task.and_then(TaskState::current).is_some_and(|attempt| attempt.seen.attempt == wanted.by.attempt)
    }

    /// Looks whether permits have come back elsewhere, and whether Redis still has those that are held.
    fn look_at_permits(&mut self) {
        let now = Instant::now();
        if now >= self.looks_at.0 && self.owner.looks() {
            self.owner.look_again();
            // Not all shards at the same moment.
            let jitter = u64::from(uuid::Uuid::new_v4().as_bytes()[0]) % 40;
            self.looks_at.0 = now + LOOK_AGAIN + Duration::from_millis(jitter);
        }
        if now >= self.looks_at.1 && self.owner.holds_permits() {
            self.asker.look_at_the_era();
            self.looks_at.1 = now + LOOK_AT_ERA;
        }
    }

    /// Takes a record of the commands topic into the queue.
    fn arrived(&mut self, record: RawRecord) -> Result<(), Why> {
        let partitions = self.shared.config.partitions;
        let read_at = self.now();
        match inbound::read(&record, read_at, self.shard, partitions, &self.shared.config.limits) {
            Read::Here(input) => self.queue.push_back(Queued::Ready(Box::new(input), read_at)),
            Read::Poison(input) => {
                if let Input::Poison { offset, error, .. } = &input {
                    let _on_every_line = span_of(self.shard, &input).entered();
                    tracing::warn!(shard = self.shard, offset, %error, "a command cannot be read");
                    let mut kept = self.poisonous.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.insert(*offset, record);
                }
                self.queue.push_back(Queued::Ready(Box::new(input), read_at));
            }
            Read::There(partition) => {
                let offset = record.offset.unsigned_abs();
                let back = self.back.0.clone();
                let producer = self.shared.kafka.effects().map_err(|e| Why::NotPassedOn(e.to_string()))?;
                producer
                    .send(inbound::passed_on(record, partition), move |delivery| {
                        let outcome = delivery.map(|_| ()).map_err(|e| e.to_string());
                        let _ = back.send(Back::PassedOn { offset, outcome });
                    })
                    .map_err(|e| Why::NotPassedOn(e.to_string()))?;
                self.queue.push_back(Queued::Passing { offset, partition, done: false });
            }
        }
        Ok(())
    }

    /// Decides what stands at the head of the queue, as far as there is room.
    fn advance(&mut self) -> Result<(), Why> {
        while !self.is_full() {
            match self.queue.front() {
                Some(Queued::Ready(..) | Queued::Passing { done: true, .. }) => {}
                Some(Queued::Passing { done: false, .. }) | None => break,
            }
            match self.queue.pop_front() {
                Some(Queued::Ready(mut input, read_at)) => {
                    input.has_waited(self.now().millis_since(read_at));
                    if let Input::Command { command, meta } = &*input {
                        metrics::counter!(names::COMMANDS_TOTAL, "door" => "kafka", "type" => command.ce_type())
                            .increment(1);
                        let (ce_id, correlation_id) = (&meta.ce_id, meta.correlation_id.as_deref());
                        tracing::trace!(
                            shard = self.shard,
                            ce_id,
                            correlation_id,
                            ty = command.ce_type(),
                            "a command"
                        );
                    }
                    self.handle(&input, None)?;
                }
                Some(Queued::Passing { offset, partition, .. }) => {
                    self.handle(&Input::PassedOn { offset, partition }, None)?;
                }
                None => break,
            }
        }
        Ok(())
    }

    fn asked(&mut self, ask: Ask) -> Result<(), Why> {
        match ask {
            Ask::Command { command, meta, answer } => {
                metrics::counter!(names::COMMANDS_TOTAL, "door" => "http", "type" => command.ce_type())
                    .increment(1);
                if command.is_admission() && self.is_full() {
                    let why = format!(
                        "{} records are unproven and {} steps owe effects on this shard",
                        self.owner.in_flight(),
                        self.owner.owed()
                    );
                    let _ = answer.send(Err(Error::overloaded(why, 100)));
                    return Ok(());
                }
                let ticket = self.ticket(answer);
                let meta = synod_ledger::Meta { age_ms: self.age(&meta), ..meta };
                self.handle(&Input::Command { command, meta }, Some(ticket))
            }
            Ask::Read { subject, answer } => {
                let ticket = self.ticket(answer);
                let mut released = Vec::new();
                match &subject {
                    Subject::Task(key) => {
                        let waits_for = self.why_waiting(key);
                        self.owner.read_task(ticket, key, waits_for, &mut released);
                    }
                    _ => self.owner.read(ticket, &subject, &mut released),
                }
                self.release(released);
                Ok(())
            }
            Ask::Explain { task, answer } => {
                let explained = self.explain(&task);
                self.tell(answer, explained);
                Ok(())
            }
            Ask::Ended { subject, answer } => {
                if self.goes_on(&subject) {
                    let waiting = self.waiters.entry(subject).or_default();
                    waiting.retain(|sender| !sender.is_closed());
                    waiting.push(answer);
                } else {
                    let ticket = self.ticket(answer);
                    let mut released = Vec::new();
                    self.owner.read(ticket, &subject, &mut released);
                    self.release(released);
                }
                Ok(())
            }
            Ask::List { listing, answer } => {
                let listed = self.listed(&listing);
                self.tell(answer, listed);
                Ok(())
            }
            Ask::Steps { execution, after, limit, answer } => {
                let steps = self.steps(&execution, after.as_ref(), limit);
                self.tell(answer, steps);
                Ok(())
            }
            Ask::Show { answer } => {
                self.show();
                self.tell(answer, Ok((Json::null(), false)));
                Ok(())
            }
            Ask::Judged { agent, incarnation, lost, reason } => {
                self.handle(&Input::Judged { agent, incarnation, lost, reason }, None)
            }
            Ask::Unclaimed { task, attempt, reason } => {
                self.handle(&Input::Unclaimed { task, attempt, reason }, None)
            }
            Ask::Forget { agent, incarnation, kept_ms } => {
                self.handle(&Input::Forget { agent, incarnation, kept_ms }, None)
            }
            Ask::Attempts { pause, answer } => {
                let told = fleet::attempts(&self.shared, self.shard, self.owner.state(), &pause);
                self.tell(answer, told);
                Ok(())
            }
            Ask::Away { kept_ms, answer } => {
                let told = fleet::away(self.owner.state(), self.now(), kept_ms);
                self.tell(answer, told);
                Ok(())
            }
        }
    }

    /// Answers with what memory shows, once that is proven.
    fn tell(&mut self, answer: oneshot::Sender<Answer>, told: Answer) {
        let ticket = self.ticket(answer);
        let mut released = Vec::new();
        self.owner.tell(ticket, told, &mut released);
        self.release(released);
    }

    /// Through the quick door a command's age is its time against the shard's.
    fn age(&self, meta: &synod_ledger::Meta) -> u64 {
        // The door has put the command's time, in ms since the epoch, where its age belongs; 0 for none.
        if meta.age_ms == 0 { 0 } else { self.now().millis_since(Timestamp::from_millis(meta.age_ms as i64)) }
    }

    /// What the shard does of its own accord: fires what is due, takes back what is held by those who are gone, gives
    /// out what waits. `true` when there is more of it than one turn should do.
    fn turn(&mut self) -> Result<bool, Why> {
        // Before anyone is looked for: who makes room meanwhile must know that somebody waits.
        self.tell_waiting();
        let more = loop {
            let (now, room) = (self.now(), !self.is_full());
            let next = self.owner.next(now, &*self.shared.fleet.lock(), room);
            match next {
                Next::Input(input) => {
                    self.handle(&input, None)?;
                    if let Input::HolderGone { task, reason, .. } = &input {
                        let what = format!("task {} taken back: {reason}", task.task);
                        self.shared.duties.ran(duties::FAILOVER, Ok(what));
                    }
                }
                Next::Permits(wanted) => self.asker.want(wanted),
                Next::Nothing => break false,
                Next::Later => break true,
                Next::Stuck(key) => {
                    return Err(Why::Stuck(format!("the timer of task {} does not go away", key.task)));
                }
            }
        };
        if self.appended_at.elapsed() > IDLE
            && !self.is_catching_up()
            && let Some(sign) = self.owner.sign_of_life()
        {
            self.send(sign, "image", None)?;
        }
        self.tell_waiting();
        Ok(more)
    }

    fn tell_waiting(&mut self) {
        let waiting = self.owner.state().waiting();
        self.shared.fleet.waiting_changed(self.waiting_told, waiting);
        self.waiting_told = waiting;
    }

    /// Lets go of what lies below a floor that has been one for long enough.
    fn trim(&mut self) {
        let Some(kept) = self.shared.config.ledger_kept else { return };
        let newest = self.owner.trim_to();
        if self.floors.back().is_none_or(|(at, floor)| *floor < newest && at.elapsed() > FLOOR_EVERY) {
            self.floors.push_back((Instant::now(), newest));
        }
        let mut below = None;
        while self.floors.front().is_some_and(|(at, _)| at.elapsed() > kept) {
            below = self.floors.pop_front().map(|(_, floor)| floor);
        }
        if let Some(below) = below.filter(|below| *below > 0) {
            let (shared, shard) = (self.shared.clone(), self.shard);
            tokio::spawn(async move {
                match shared.kafka.trim_ledger(shard, below).await {
                    Ok(()) => tracing::info!(shard, below, "the ledger is trimmed below a floor"),
                    Err(error) => tracing::warn!(shard, below, %error, "the ledger is not trimmed"),
                }
            });
        }
    }

    /// Rewrites what the directory says of this shard's agents where it is older than what the ledger says.
    fn mend_directory(&self) -> Result<(), Why> {
        for (key, agent) in self.owner.state().agents() {
            let entry = agent.directory_entry(key);
            let known = self.shared.fleet.lock().registry.get(key).map(|m| m.entry.clone());
            if known.as_ref() == Some(&entry) || (known.is_none() && entry.gone) {
                continue;
            }
            let offset = self.owner.epoch();
            self.shared.fleet.learn(entry.clone(), offset);
            let out =
                directory_record(self.shard, offset, &entry).map_err(|e| Why::NotSent(e.to_string()))?;
            let producer = self.shared.kafka.effects().map_err(|e| Why::NotSent(e.to_string()))?;
            let sent = producer.send(out, |delivery| {
                if let Err(error) = delivery {
                    tracing::error!(%error, "the directory was not mended");
                }
            });
            sent.map_err(|e| Why::NotSent(e.to_string()))?;
        }
        Ok(())
    }

    /// Says again what the newest versions of this shard's workflows are, where this coordinator knows them otherwise.
    fn mend_workflows(&self) -> Result<(), Why> {
        let offset = self.owner.epoch();
        for (key, workflow) in self.owner.state().workflows() {
            let view = workflow.view(key);
            if self.shared.definitions.get(key).as_ref() == Some(&view) {
                continue;
            }
            self.shared.definitions.learn(view.clone(), offset);
            let out = workflow_record(self.shard, offset, &view).map_err(|e| Why::NotSent(e.to_string()))?;
            let producer = self.shared.kafka.effects().map_err(|e| Why::NotSent(e.to_string()))?;
            let sent = producer.send(out, |delivery| {
                if let Err(error) = delivery {
                    tracing::error!(%error, "a workflow was not said again");
                }
            });
            sent.map_err(|e| Why::NotSent(e.to_string()))?;
        }
        Ok(())
    }

    /// Says again what of the fleet is paused, where this coordinator knows it otherwise.
    fn mend_pauses(&self) -> Result<(), Why> {
        if self.shard != topics::partition(topics::FLEET_ROOT.as_bytes(), self.shared.config.partitions) {
            return Ok(());
        }
        let pauses = self.owner.state().pauses().view();
        if self.shared.fleet.lock().pauses.all() == pauses.pauses.as_slice() {
            return Ok(());
        }
        let offset = self.owner.epoch();
        self.shared.fleet.learn_pauses(pauses.clone(), offset);
        let out = pauses_record(self.shard, offset, &pauses).map_err(|e| Why::NotSent(e.to_string()))?;
        let producer = self.shared.kafka.effects().map_err(|e| Why::NotSent(e.to_string()))?;
        let sent = producer.send(out, |delivery| {
            if let Err(error) = delivery {
                tracing::error!(%error, "what is paused was not said again");
            }
        });
        sent.map_err(|e| Why::NotSent(e.to_string()))
    }

    /// Hands over once more what Redis has lost, once that is known.
    fn redeliver(&mut self) {
        if self.shared.shards[self.shard as usize].has_to_redeliver() {
            let mut released = Vec::new();
            self.owner.redeliver(&mut released);
            self.release(released);
        }
    }

    /// Looks how long who waits has waited.
    fn look_at_ages(&mut self) {
        if self.aged_at.elapsed() < AGES_EVERY {
            return;
        }
        self.aged_at = Instant::now();
        let now = self.now();
        let age = |since: Option<Timestamp>| since.map_or(0, |since| now.millis_since(since));
        let (task, approval) = self.owner.state().waits_since(AGED);
        self.shared.status.shard(self.shard, |s| s.oldest_ms = (age(task), age(approval)));
    }

    fn show(&self) {
        let phase = if self.is_catching_up() { Phase::CatchingUp } else { Phase::Serving };
        let state = self.owner.state();
        self.shared.status.shard(self.shard, |s| {
            s.phase = phase;
            s.owner = Some(self.shared.config.id.to_string());
            s.epoch = Some(self.owner.epoch());
            s.moved_to(state.position(), self.owner.proven());
            (s.in_flight, s.owed, s.waiting) = (self.owner.in_flight(), self.owner.owed(), state.waiting());
            s.tasks = state.counts();
            s.live = state.live_others();
            s.trouble = None;
        });
    }

    fn wake_at(&self) -> Instant {
        let now = self.now();
        let due = self.owner.state().next_deadline().map(|at| Duration::from_millis(at.millis_since(now)));
        let now = moments::next(TURN_AT_LEAST);
        let wake = due.map_or(now, |due| now.min(Instant::now() + due));
        if self.owner.looks() && !self.is_catching_up() { wake.min(self.looks_at.0) } else { wake }
    }
}

fn root_of(input: &Input) -> Option<&str> {
    match input {
        Input::Command { command, .. } => Some(command.root()),
        _ => None,
    }
}

/// What every line about an input says: which shard, which piece of work, which command.
fn span_of(shard: u32, input: &Input) -> tracing::Span {
    let meta = match input {
        Input::Command { meta, .. } => Some(meta),
        Input::Poison { meta, .. } => meta.as_ref(),
        _ => None,
    };
    match meta {
        // Of the highest level, so that no filter takes the ids from the lines that it lets through.
        Some(meta) => tracing::error_span!(
            "input",
            shard,
            causation_id = meta.ce_id,
            // A piece of work that was given none is told by its root, as in the ledger.
            correlation_id = meta.correlation_id.as_deref().or(root_of(input)),
            trace_id = meta.traceparent.as_deref().and_then(|trace| trace.get(3..35))
        ),
        None => tracing::Span::none(),
    }
}

/// Serves until a doubt, a loss or `stop`.
pub(super) async fn serve(mut serving: Serving<'_>, stop: &CancellationToken) -> Ended {
    let ended = match run(&mut serving, stop).await {
        Ok(ended) => ended,
        Err(why) => Ended::Doubt(why),
    };
    serving.shared.status.flying(serving.shard, None);
    serving.shared.fleet.waiting_changed(serving.waiting_told, 0);
    // Tickets are dropped here: who waits for an unproven answer is told to repeat.
    ended
}

async fn run(s: &mut Serving<'_>, stop: &CancellationToken) -> Result<Ended, Why> {
    let (topic, shard) = (topics::COMMANDS, s.shard as i32);
    let wait = Duration::from_secs(15);
    let log = s.shared.kafka.readers.watermarks(topic, shard, wait).await.map_err(Why::Read)?;
    let position = s.owner.state().position();
    let (low, high) = (log.low.unsigned_abs(), log.high.unsigned_abs());
    if position > high || (position < low && position > 0) {
        return Ok(Ended::DataLost(format!(
            "{topic} partition {shard}: the ledger has handled it up to offset {position}, the topic holds {low} to {high}"
        )));
    }
    if let Some(why) = another_topic(s, low).await? {
        return Ok(Ended::DataLost(why));
    }
    let start = position.max(low);
    let mut reader: PartitionReader =
        s.shared.kafka.readers.open(topic, shard, Start::Offset(start as i64)).map_err(Why::Read)?;
    s.until = Some(high).filter(|high| *high > start);
    if s.until.is_none() {
        s.owner.caught_up();
    }
    s.mend_directory()?;
    s.mend_pauses()?;
    s.mend_workflows()?;
    s.tell_who_waited();
    s.show();
    let (mut members, mut room) = (s.shared.fleet.members(), s.shared.fleet.room());
    let (mut shown_at, confirmed) = (Instant::now(), s.confirmed.clone());
    loop {
        s.note_confirmed();
        s.advance()?;
        if s.until.is_some_and(|until| reader.position().is_some_and(|at| at.unsigned_abs() >= until))
            && s.queue.is_empty()
        {
            s.until = None;
            s.owner.caught_up();
            s.show();
            continue;
        }
        s.look_at_permits();
        let more = s.turn()?;
        if shown_at.elapsed() > Duration::from_millis(200) {
            s.show();
            s.trim();
            s.redeliver();
            s.take_back();
            s.look_at_ages();
            shown_at = Instant::now();
        }
        let is_full = s.is_full();
        let (reads, serves) = (!is_full && s.queue.len() < PASSING_LIMIT, !s.is_catching_up());
        let wake = s.wake_at();
        tokio::select! {
            () = stop.cancelled() => return finish(s).await,
            Some(back) = s.back.1.recv() => {
                s.came_back(back)?;
                while let Ok(back) = s.back.1.try_recv() {
                    s.came_back(back)?;
                }
            }
            Some(done) = s.done.recv() => {
                s.was_done(&done)?;
                while let Ok(done) = s.done.try_recv() {
                    s.was_done(&done)?;
                }
            }
            () = confirmed.come(), if is_full => {}
            Some(heard) = s.heard.recv() => {
                s.was_told(heard)?;
                while let Ok(heard) = s.heard.try_recv() {
                    s.was_told(heard)?;
                }
            }
            Some(ask) = s.asks.recv(), if serves => {
                s.asked(ask)?;
                for _ in 0..BATCH {
                    match s.asks.try_recv() {
                        Ok(ask) => s.asked(ask)?,
                        Err(_) => break,
                    }
                }
            }
            batch = reader.next_batch(BATCH, Duration::from_secs(3600)), if reads => {
                match batch {
                    Ok(records) => for record in records {
                        s.arrived(record)?;
                    },
                    Err(error @ ReadError::PositionLost { .. }) => return Ok(Ended::DataLost(error.to_string())),
                    Err(error) => return Err(Why::Read(error)),
                }
            }
            Ok(()) = members.changed() => s.owner.fleet_changed(),
            Ok(()) = room.changed(), if serves => s.owner.there_is_room(),
            () = std::future::ready(()), if more => {}
            () = tokio::time::sleep_until(wake) => {}
        }
    }
}

/// Whether the commands topic is another than the one that was read: its last record that was taken is not the same.
async fn another_topic(s: &Serving<'_>, low: u64) -> Result<Option<String>, Why> {
    let Some(last) = s.owner.state().last_input().filter(|last| last.offset >= low) else { return Ok(None) };
    let (topic, at) = (topics::COMMANDS, last.offset as i64);
    let mut found = None;
    let read = s.shared.kafka.readers.read_through(
        topic,
        s.shard as i32,
        at,
        at,
        Duration::from_secs(15),
        |record| {
            let ce_id = record.header_pairs().find(|(name, _)| *name == "ce_id").and_then(|(_, value)| value);
            found = Some((record.offset, ce_id.map(|id| String::from_utf8_lossy(id).into_owned())));
            ControlFlow::Break(())
        },
    );
    read.await.map_err(Why::Read)?;
    let is_it = found.as_ref().is_some_and(|(offset, id)| *offset == at && id.as_ref() == Some(&last.ce_id));
    Ok((!is_it).then(|| {
        let found = found.and_then(|(_, id)| id).unwrap_or_else(|| "none".into());
        format!(
            "{topic} partition {}: offset {at} was command {} when it was handled, and is {found} now",
            s.shard, last.ce_id
        )
    }))
}

/// Gives the shard up in good order: takes nothing more, and waits for what is in flight and owed.
async fn finish(s: &mut Serving<'_>) -> Result<Ended, Why> {
    let (until, confirmed) = (Instant::now() + FINISH, s.confirmed.clone());
    loop {
        s.note_confirmed();
        if s.owner.in_flight() == 0 && s.owner.owed() == 0 {
            break;
        }
        tokio::select! {
            () = confirmed.come() => {}
            Some(back) = s.back.1.recv() => s.came_back(back)?,
            Some(done) = s.done.recv() => s.was_done(&done)?,
            () = tokio::time::sleep_until(until) => break,
        }
    }
    Ok(Ended::Stopped)
}
