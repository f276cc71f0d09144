//! Queues over HTTP. Any coordinator answers: they are in Redis.

use crate::Shared;
use crate::http::answer::{self, Problem, Refusal};
use crate::http::api::Api;
use crate::http::request::{Caller, JsonBody, Params, Segments, named, page_limit};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use synod_protocol::primitives::queue::{
    Ack, Acked, DeadLetter, EnqueuedItems, Extend, Extended, LeaseRequest, LeasedItems, Nack, Nacked,
    NewMessage, NewMessages, QueueStatus, checked_batch,
};
use synod_protocol::{ContentType, Error, Limits, Name, codec};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

pub(crate) fn routes() -> Api {
    Api::new()
        .routes(routes!(enqueue, get_queue))
        .routes(routes!(lease))
        .routes(routes!(ack))
        .routes(routes!(nack))
        .routes(routes!(extend))
        .routes(routes!(list_dead))
        .routes(routes!(redrive))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct DeadParams {
    /// 1 to 1,000; 100 by default. A page also ends before its payloads have more than 4 MiB.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One page of dead messages.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadList {
    items: Vec<DeadLetter>,
    next_cursor: Option<String>,
}

/// Puts one message, or several, into a queue: all of them, or none. A message whose id was there within 24 h is not
/// taken again, whatever became of it.
#[utoipa::path(post, path = "/v1/queues/{name}", request_body(content = NewMessages,
    description = "One message (`payload` and what goes with it), or `{\"messages\": [...]}`"),
    params(("name" = String, Path, description = "The queue")), responses(
    (status = 201, description = "`{\"message_id\", \"duplicate\"}` for one message, `{\"items\": [...]}` for several", body = EnqueuedItems),
    (status = "4XX", description = "Refused: nothing was put in. 429 `overloaded`: the queue is full", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it may have been done", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn enqueue(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let queue: Name = named(&name)?;
    let once = caller.once(&format!("POST /v1/queues/{queue}"), &body);
    let several = has_messages(&body, &shared.config.limits)?;
    let messages = if several {
        let asked: NewMessages = body_of(&body, &shared.config.limits)?;
        checked_batch(&asked.messages, "/messages")?
    } else {
        vec![body_of::<NewMessage>(&body, &shared.config.limits)?.checked("")?]
    };
    let mut items = shared.queues.enqueue_checked(&caller.workspace, &queue, messages, once.as_ref()).await?;
    match items.pop() {
        Some(only) if !several => Ok(answer::shown(StatusCode::CREATED, &only)?),
        last => {
            items.extend(last);
            Ok(answer::shown(StatusCode::CREATED, &EnqueuedItems { items })?)
        }
    }
}

/// Takes messages for a while, those of the highest priority first, and of these the first that came; waits for one if
/// asked to.
#[utoipa::path(post, path = "/v1/queues/{name}/lease", request_body = LeaseRequest,
    params(("name" = String, Path, description = "The queue")), responses(
    (status = 200, description = "The messages; none when nothing came", body = LeasedItems),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; what was leased without an answer has used up a delivery", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn lease(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let queue: Name = named(&name)?;
    let asked: LeaseRequest = body_of(&body, &shared.config.limits)?;
    let once = caller.once(&format!("POST /v1/queues/{queue}/lease"), &body);
    let closing = shared.closing.cancelled();
    let items = shared.queues.lease_until(&caller.workspace, &queue, &asked, once.as_ref(), closing).await?;
    Ok(answer::shown(StatusCode::OK, &LeasedItems { items })?)
}

/// Says that a message is done, under the receipt of its delivery. The same again, within an hour, is answered alike.
#[utoipa::path(post, path = "/v1/queues/{name}/{message}/ack", request_body = Ack, params(
    ("name" = String, Path, description = "The queue"), ("message" = String, Path, description = "The message's id")), responses(
    (status = 200, description = "It is done", body = Acked),
    (status = 409, description = "`fenced`: the receipt is not the one of its delivery, or its lease has ended", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn ack(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments((name, message)): Segments<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let (queue, id): (Name, Name) = (named(&name)?, named(&message)?);
    let Ack { receipt } = body_of(&body, &shared.config.limits)?;
    let once = caller.once(&format!("POST /v1/queues/{queue}\0{id}/ack"), &body);
    shared.queues.ack(&caller.workspace, &queue, &id, &receipt, once.as_ref()).await?;
    Ok(answer::shown(StatusCode::OK, &Acked { message_id: message })?)
}

/// Says that a message is not done: it can be leased again after the delay, or is dead after its last delivery.
#[utoipa::path(post, path = "/v1/queues/{name}/{message}/nack", request_body = Nack, params(
    ("name" = String, Path, description = "The queue"), ("message" = String, Path, description = "The message's id")), responses(
    (status = 200, description = "Where it is now", body = Nacked),
    (status = 409, description = "`fenced`: the receipt is not the one of its delivery, or its lease has ended", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn nack(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments((name, message)): Segments<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let (queue, id): (Name, Name) = (named(&name)?, named(&message)?);
    let asked: Nack = body_of(&body, &shared.config.limits)?;
    let once = caller.once(&format!("POST /v1/queues/{queue}\0{id}/nack"), &body);
    let now = shared.queues.nack(&caller.workspace, &queue, &id, &asked, once.as_ref()).await?;
    Ok(answer::shown(StatusCode::OK, &Nacked { message_id: message, now })?)
}

/// Keeps a message for longer, from now.
#[utoipa::path(post, path = "/v1/queues/{name}/{message}/extend", request_body = Extend, params(
    ("name" = String, Path, description = "The queue"), ("message" = String, Path, description = "The message's id")), responses(
    (status = 200, description = "Until when", body = Extended),
    (status = 409, description = "`fenced`: the receipt is not the one of its delivery, or its lease has ended", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn extend(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments((name, message)): Segments<(String, String)>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let (queue, id): (Name, Name) = (named(&name)?, named(&message)?);
    let asked: Extend = body_of(&body, &shared.config.limits)?;
    let once = caller.once(&format!("POST /v1/queues/{queue}\0{id}/extend"), &body);
    let leased_until = shared.queues.extend(&caller.workspace, &queue, &id, &asked, once.as_ref()).await?;
    Ok(answer::shown(StatusCode::OK, &Extended { message_id: message, leased_until })?)
}

/// A queue as it is now. One that was never used is empty.
#[utoipa::path(get, path = "/v1/queues/{name}", params(("name" = String, Path, description = "The queue")), responses(
    (status = 200, description = "The queue", body = QueueStatus),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_queue(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Response, Refusal> {
    Ok(answer::shown(StatusCode::OK, &shared.queues.status(&caller.workspace, &named(&name)?).await?)?)
}

/// The messages that have had their last delivery, the first to die first.
#[utoipa::path(get, path = "/v1/queues/{name}/dead", params(("name" = String, Path, description = "The queue"), DeadParams), responses(
    (status = 200, description = "One page", body = DeadList),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_dead(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    Params(params): Params<DeadParams>,
) -> Result<Response, Refusal> {
    let (queue, limit) = (named(&name)?, page_limit(params.limit)?);
    let after = params.cursor.as_deref().map(super::place).transpose()?.unwrap_or(0);
    let page = shared.queues.dead(&caller.workspace, &queue, after, limit).await?;
    let next_cursor = page.next.map(|n| n.to_string());
    Ok(answer::shown(StatusCode::OK, &DeadList { items: page.items, next_cursor })?)
}

/// Makes a dead message ready again, behind all of its priority, its deliveries counted anew.
#[utoipa::path(post, path = "/v1/queues/{name}/dead/{message}/redrive", params(
    ("name" = String, Path, description = "The queue"), ("message" = String, Path, description = "The message's id")), responses(
    (status = 200, description = "It can be leased", body = Acked),
    (status = 404, description = "There is no such dead message", body = Problem, content_type = "application/problem+json"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn redrive(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments((name, message)): Segments<(String, String)>,
) -> Result<Response, Refusal> {
    let (queue, id): (Name, Name) = (named(&name)?, named(&message)?);
    let once = caller.once(&format!("POST /v1/queues/{queue}\0{id}/redrive"), b"");
    shared.queues.redrive(&caller.workspace, &queue, &id, once.as_ref()).await?;
    Ok(answer::shown(StatusCode::OK, &Acked { message_id: message })?)
}

/// Whether the body is of several messages.
fn has_messages(body: &[u8], limits: &Limits) -> Result<bool, Error> {
    #[derive(Deserialize)]
    struct Which {
        messages: Option<IgnoredAny>,
    }
    body_of::<Which>(body, limits).map(|which| which.messages.is_some())
}

/// Reads a body that must be an object. Its size was checked as it came; what is in it has limits of its own.
pub(super) fn body_of<T: DeserializeOwned>(body: &[u8], limits: &Limits) -> Result<T, Error> {
    // A struct also reads from an array.
    if body.trim_ascii_start().first() != Some(&b'{') {
        return Err(Error::invalid("the body must be a JSON object"));
    }
    // The body's own braces are around what may be nested as deeply as it is allowed to.
    let roomy = Limits { payload_bytes: usize::MAX, nesting: limits.nesting.saturating_add(4), ..*limits };
    codec::decode(ContentType::Json, body, &roomy)
}
