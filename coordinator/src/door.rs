//! The quick door: a command through HTTP goes straight to its shard's loop, here or at the shard's owner.
//!
//! When no owner can answer in time the command is produced to the topic instead, which is durable: the
//! answer is then "accepted, not yet decided". Both doors meet in the same deduplication by `ce_id`. Reads go
//! the same way and are answered by the owner alone: an older state is no answer.

use crate::Shared;
use crate::forward::{FORWARDED, Told};
use crate::shard::{Ask, Unanswered};
use axum::http::HeaderMap;
use std::time::Duration;
use synod_infra::kafka::Outgoing;
use synod_infra::telemetry::spans;
use synod_ledger::tenure::Route;
use synod_ledger::{Meta, Subject};
use synod_protocol::http::Message;
use synod_protocol::{Code, Command, ContentType, EntityId, Envelope, Error, Json, Workspace, topics};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a shard may take to answer a command.
pub(crate) const ANSWER: Duration = Duration::from_secs(5);
/// How long an owner is looked for.
pub(crate) const FIND: Duration = Duration::from_millis(2_500);
/// How long Kafka may take to take a command that no shard answered.
const PRODUCE: Duration = Duration::from_secs(2);
/// An owner that did not answer is tried again after this, unless another is known sooner.
const AGAIN: Duration = Duration::from_millis(50);

/// Whether a request comes from a client or was passed on by another coordinator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    FromClient,
    PassedOn,
}

impl Came {
    pub(crate) fn of(headers: &HeaderMap) -> Came {
        if headers.contains_key(FORWARDED) { Came::PassedOn } else { Came::FromClient }
    }
}

/// Who is to be asked about a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    Here,
    There(String),
}

/// What became of a command.
pub(crate) enum Taken {
    /// The ledger has it; `made` if it made the entity.
    Decided { entity: Json, made: bool },
    /// Kafka has it; it will be decided.
    Accepted,
}

impl Taken {
    /// The entity, and whether the command made it; where nothing else is taken for an answer.
    ///
    /// # Errors
    /// `internal`: it was only accepted.
    pub(crate) fn entity(self) -> Result<(Json, bool), Error> {
        match self {
            Taken::Decided { entity, made } => Ok((entity, made)),
            Taken::Accepted => {
                Err(Error::new(Code::Internal, "a command was accepted without being decided"))
            }
        }
    }
}

/// Finds out who owns a shard; waits while it changes hands.
///
/// # Errors
/// `unavailable`: nobody is known in time; or the request was passed on to us, and the shard is not ours.
pub(crate) async fn find(shared: &Shared, shard: u32, came: Came, until: Instant) -> Result<Where, Error> {
    if shared.tenures.route(shard) == Route::Here {
        return Ok(Where::Here);
    }
    let mut changes = shared.tenures.changes();
    loop {
        changes.borrow_and_update();
        match shared.tenures.route(shard) {
            Route::Here => return Ok(Where::Here),
            Route::There { address, .. } if came == Came::FromClient => return Ok(Where::There(address)),
            // The one before lets go of it this moment: it will be ours.
            Route::There { .. } if shared.tenures.is_ours(shard) => {}
            Route::There { id, .. } => {
                return Err(Error::unavailable(format!(
                    "shard {shard} is not owned here but by {id}; ask again"
                )));
            }
            Route::Soon | Route::Nobody => {}
        }
        let nobody = || Error::unavailable(format!("shard {shard} has no owner just now; ask again"));
        match tokio::time::timeout_at(until, changes.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) | Err(_) => return Err(nobody()),
        }
    }
}

/// Returns when somebody else than this one is to be asked.
pub(crate) async fn moved(shared: &Shared, shard: u32, from: &str) {
    let mut changes = shared.tenures.changes();
    loop {
        changes.borrow_and_update();
        match shared.tenures.route(shard) {
            Route::There { address, .. } if address == from => {}
            Route::Nobody => {}
            _ => return,
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Asks the owner of a shard: here by `here`, elsewhere by the same path. What an owner cannot answer just now is
/// asked again, of whoever it is then, until `FIND` is over.
///
/// # Errors
/// The owner's; `unavailable` when none answers in time.
pub(crate) async fn of_owner<F: Future<Output = Result<Json, Error>>>(
    shared: &Shared,
    shard: u32,
    workspace: &Workspace,
    path: &str,
    came: Came,
    here: impl Fn() -> F,
) -> Result<Json, Error> {
    let until = Instant::now() + FIND;
    loop {
        let told = match find(shared, shard, came, until).await? {
            Where::Here => here().await,
            Where::There(address) => {
                let got = shared.forward.get(&address, path, Some(workspace), None, ANSWER);
                tokio::select! {
                    got = got => got.and_then(json),
                    () = moved(shared, shard, &address) => Err(Error::unavailable("the shard has moved")),
                }
            }
        };
        match told {
            Err(error)
                if error.code == Code::Unavailable && came == Came::FromClient && Instant::now() < until =>
            {
                a_moment(shared).await;
            }
            told => return told,
        }
    }
}

/// Waits a moment, or until the shard's route changes.
pub(crate) async fn a_moment(shared: &Shared) {
    let mut changes = shared.tenures.changes();
    let _ = tokio::time::timeout(AGAIN, changes.changed()).await;
}

/// Before a read is answered here: whether nobody else has written to the shard's ledger. An owner that was not
/// heard of for a while (stopped, or cut from Redis) may have been replaced without knowing it.
///
/// # Errors
/// `unavailable`: somebody has, or Kafka does not say.
pub(crate) async fn certain(shared: &Shared, shard: u32) -> Result<(), Error> {
    if shared.tenures.is_sure(shard) {
        return Ok(());
    }
    let readers = &shared.kafka.readers;
    let log = readers.watermarks(topics::LEDGER, shard as i32, FIND).await;
    let log = log.map_err(|error| Error::unavailable(format!("Kafka: {error}")))?;
    let known = shared.shards[shard as usize].end();
    if known > 0 && log.high.unsigned_abs() > known {
        return Err(Error::unavailable(format!("shard {shard} has changed hands; ask again")));
    }
    Ok(())
}

/// Hands a command to its shard and waits for its answer.
pub(crate) async fn command(shared: &Shared, message: &Message, came: Came) -> Result<Taken, Error> {
    let command = message.command(&shared.config.limits)?;
    decided(shared, command, &message.envelope, Some(message), came).await
}

/// Hands over a command; one that is no CloudEvent of the client's own is not produced in its place.
pub(crate) async fn decided(
    shared: &Shared,
    command: Command,
    envelope: &Envelope,
    fallback: Option<&Message>,
    came: Came,
) -> Result<Taken, Error> {
    let root = command.root().to_owned();
    let shard = topics::partition(root.as_bytes(), shared.config.partitions);
    match answered(shared, shard, command, envelope, came).await {
        Err(error) if error.code == Code::Unavailable && came == Came::FromClient => match fallback {
            Some(message) => {
                tracing::debug!(%error, shard, "no shard answered; the command goes to the topic");
                produce(shared, message, &root, shard, error).await
            }
            None => Err(error),
        },
        other => other,
    }
}

/// The answer of the shard, here or at its owner; asked again, under the same ids, where it has moved to.
async fn answered(
    shared: &Shared,
    shard: u32,
    command: Command,
    envelope: &Envelope,
    came: Came,
) -> Result<Taken, Error> {
    let (until, found_by) = (Instant::now() + ANSWER, Instant::now() + FIND);
    let mut encoded: Option<(Envelope, Json)> = None;
    loop {
        let why = match find(shared, shard, came, found_by).await? {
            Where::Here => match ask(shared, shard, command.clone(), envelope, until).await {
                Ok(taken) => return Ok(taken),
                Err(Unanswered::Refused(error)) => return Err(error),
                Err(Unanswered::Elsewhere(error)) => error,
            },
            Where::There(address) => {
                let (envelope, data) = match &encoded {
                    Some(encoded) => encoded,
                    None => encoded.insert(in_json(&command, envelope)?),
                };
                let told = tokio::select! {
                    told = shared.forward.command(&address, shard, envelope, data) => told,
                    () = moved(shared, shard, &address) => Told::NotThere("the shard has moved".to_owned()),
                    () = tokio::time::sleep_until(until) => Told::NotThere("no answer in time".to_owned()),
                };
                match told {
                    Told::Decided { entity, made } => return Ok(Taken::Decided { entity, made }),
                    Told::Refused(error) => return Err(error),
                    Told::NotThere(why) => Error::unavailable(format!("the owner of shard {shard}: {why}")),
                }
            }
        };
        if Instant::now() >= found_by || came == Came::PassedOn {
            return Err(why);
        }
        a_moment(shared).await;
    }
}

fn in_json(command: &Command, envelope: &Envelope) -> Result<(Envelope, Json), Error> {
    let internal = |why: String| Error::new(Code::Internal, why);
    let data = command.encode(ContentType::Json)?;
    let text = String::from_utf8(data).map_err(|e| internal(e.to_string()))?;
    let json = Json::parse(&text).map_err(|e| internal(e.to_string()))?;
    Ok((Envelope { content_type: ContentType::Json, ..envelope.clone() }, json))
}

/// The trace that a command belongs to; one of its own where its sender named none.
pub(crate) fn trace_of(envelope: &Envelope) -> String {
    let own = || spans::trace_of(envelope.workspace.as_str(), &envelope.id).to_string();
    envelope.traceparent.clone().unwrap_or_else(own)
}

async fn ask(
    shared: &Shared,
    shard: u32,
    command: Command,
    envelope: &Envelope,
    until: Instant,
) -> Result<Taken, Unanswered> {
    let meta = Meta {
        ce_id: envelope.id.clone(),
        workspace: envelope.workspace.clone(),
        // The shard's loop knows the shard's time; it turns this into an age.
        waited_ms: 0,
        age_ms: envelope.time.map_or(0, |t| u64::try_from(t.as_millis()).unwrap_or(1)),
        offset: None,
        reply_to: envelope.reply_to.clone(),
        correlation_id: envelope.correlation_id.clone(),
        traceparent: Some(trace_of(envelope)),
    };
    let command = Box::new(command);
    let ask = |answer| Ask::Command { command, meta, answer };
    let (entity, made) = shared.shards[shard as usize].ask(until, ask).await?;
    Ok(Taken::Decided { entity, made })
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

/// An entity, now or once it has ended; elsewhere it is asked for by its path, such as `/v1/tasks/a`.
///
/// # Errors
/// The owner's; `unavailable` when none answers in time.
pub(crate) async fn entity(
    shared: &Shared,
    (workspace, id): (&Workspace, &EntityId),
    path: &str,
    subject: &Subject,
    (wait, came): (Duration, Came),
) -> Result<Json, Error> {
    let shard = topics::partition(id.root().as_bytes(), shared.config.partitions);
    let wait_until = Instant::now() + wait;
    // From the last answer that was none: how long an owner is looked for.
    let mut found_by = Instant::now() + FIND;
    loop {
        let left = wait_until.saturating_duration_since(Instant::now());
        let left = if shared.closing.is_cancelled() { Duration::ZERO } else { left };
        let asked_at = Instant::now();
        let told = match find(shared, shard, came, found_by).await? {
            Where::Here => entity_here(shared, shard, subject, left).await,
            Where::There(address) => {
                let path = match left.as_millis() {
                    0 => path.to_owned(),
                    ms => format!("{path}?wait_ms={ms}"),
                };
                let limit = left + ANSWER;
                tokio::select! {
                    told = shared.forward.get(&address, &path, Some(workspace), None, limit) => told.and_then(json),
                    () = moved(shared, shard, &address) => Err(Error::unavailable("the shard has moved")),
                    () = shared.closing.cancelled(), if !left.is_zero() => Err(Error::unavailable("this coordinator ends")),
                }
            }
        };
        match told {
            Err(error) if error.code == Code::Unavailable && came == Came::FromClient => {
                // A wait that was cut off in its middle has all the time again.
                if asked_at.elapsed() > FIND {
                    found_by = Instant::now() + FIND;
                }
                if Instant::now() >= found_by {
                    return Err(error);
                }
                a_moment(shared).await;
            }
            told => return told,
        }
    }
}

async fn entity_here(shared: &Shared, shard: u32, subject: &Subject, wait: Duration) -> Result<Json, Error> {
    certain(shared, shard).await?;
    let handle = &shared.shards[shard as usize];
    if !wait.is_zero() {
        let subject = subject.clone();
        let ended = tokio::select! {
            ended = handle.ask(Instant::now() + wait, |answer| Ask::Ended { subject, answer }) => ended,
            () = shared.closing.cancelled() => Err(Unanswered::Refused(Error::unavailable("this coordinator ends"))),
        };
        match ended.map_err(Error::from) {
            Ok((entity, _)) => return Ok(entity),
            // Not ended in time, or the epoch changed meanwhile: what it is now is the answer.
            Err(error) if error.code == Code::Unavailable => {}
            Err(error) => return Err(error),
        }
        certain(shared, shard).await?;
    }
    let subject = subject.clone();
    let read = handle.ask(Instant::now() + ANSWER, |answer| Ask::Read { subject, answer }).await;
    Ok(read?.0)
}

/// An answer's body.
pub(crate) fn json(body: Vec<u8>) -> Result<Json, Error> {
    let read = String::from_utf8(body).map_err(|e| e.to_string());
    let read = read.and_then(|text| Json::parse(&text).map_err(|e| e.to_string()));
    read.map_err(|why| Error::unavailable(format!("the owner's answer does not read: {why}")))
}

/// A part of a path or query: all but unreserved characters and colons is percent-encoded.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
