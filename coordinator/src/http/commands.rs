//! `POST /v1/commands`: CloudEvents over HTTP, binary, structured or batch.

use super::answer::{self, Problem, Refusal};
use super::request::{Body, unknown_media};
use crate::Shared;
use crate::door::{self, Came, Taken};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use synod_infra::telemetry::spans::{self, Kind, Scope, Span};
use synod_infra::telemetry::{TraceContext, trace};
use synod_protocol::http::{BATCH, Message, STRUCTURED};
use synod_protocol::{ContentType, Error, Json};
use utoipa::ToSchema;

/// What became of one command of a batch.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BatchItem {
    /// The command's `ce_id`.
    ce_id: String,
    /// The HTTP status that it would have had alone.
    status: u16,
    /// The entity, once the ledger has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    entity: Option<Json>,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Error>,
}

/// The quick door: a command, answered when the ledger has it.
#[utoipa::path(post, path = "/v1/commands",
    params(
        ("ce-specversion" = Option<String>, Header, description = "Binary mode: `1.0`"),
        ("ce-id" = Option<String>, Header, description = "Binary mode: makes the command idempotent, 1 to 256 bytes"),
        ("ce-source" = Option<String>, Header, description = "Binary mode: who says so, a URI reference"),
        ("ce-type" = Option<String>, Header, description = "Binary mode: what is asked, such as `synod.task.submit`")),
    request_body(
        content((serde_json::Value = "application/json"), (serde_json::Value = "application/cloudevents+json"),
            (Vec<serde_json::Value> = "application/cloudevents-batch+json")),
        description = "A CloudEvent: its value in binary mode, or all of it in structured mode, or a batch of those"),
    responses(
        (status = 200, description = "The entity; or one result per command of a batch", body = serde_json::Value),
        (status = 202, description = "Kafka has it, the ledger not yet"),
        (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
        (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_commands(
    State(shared): State<Arc<Shared>>,
    headers: HeaderMap,
    Body(body): Body,
) -> Response {
    let came = Came::of(&headers);
    let media = headers.get("content-type").and_then(|v| v.to_str().ok()).unwrap_or("application/json");
    let essence = media.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        STRUCTURED => match Message::from_structured(&body, &shared.config.limits) {
            Ok(message) => one(&shared, &message, came).await,
            Err(error) => Refusal(error).into_response(),
        },
        BATCH => batch(&shared, &body, came).await,
        essence if ContentType::parse(essence).is_ok() => match binary(&headers, body) {
            Ok(message) => one(&shared, &message, came).await,
            Err(error) => Refusal(error).into_response(),
        },
        _ => unknown_media(media),
    }
}

fn binary(headers: &HeaderMap, body: Vec<u8>) -> Result<Message, Error> {
    let mut pairs = Vec::with_capacity(headers.len());
    for (name, value) in headers {
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Error::invalid(format!("header {name} is not UTF-8; percent-encode it")));
        match text {
            Ok(text) => pairs.push((name.as_str(), text)),
            // Of headers that are none of ours nothing is expected.
            Err(error) if is_ours(name.as_str()) => return Err(error),
            Err(_) => {}
        }
    }
    Message::from_binary(pairs, body)
}

fn is_ours(name: &str) -> bool {
    name.starts_with("ce-") || name.starts_with("synod-") || name == "content-type"
}

async fn one(shared: &Shared, message: &Message, came: Came) -> Response {
    match door::command(shared, message, came).await {
        Ok(Taken::Decided { entity, .. }) => answer::entity(StatusCode::OK, &entity, None),
        Ok(Taken::Accepted) => StatusCode::ACCEPTED.into_response(),
        Err(error) => Refusal(error).into_response(),
    }
}

/// Tells of a request in which several pieces of work met.
fn met<E>(messages: &[Result<Message, E>]) {
    if !spans::on() || messages.len() < 2 {
        return;
    }
    let mut span = Span::new(trace::begin(), Scope::Coordinator, Kind::Consumer, "receive commands")
        .with("messaging.operation.type", "receive")
        .with("messaging.batch.message_count", messages.len())
        .ends_its_part();
    let traces = messages.iter().flatten().filter_map(|message| message.envelope.traceparent.as_deref());
    traces.filter_map(TraceContext::parse).for_each(|to| span.links(to));
    span.end();
}

/// Commands of a batch are decided side by side, except that those of one shard keep their order.
async fn batch(shared: &Shared, body: &[u8], came: Came) -> Response {
    let messages = match Message::from_batch(body, &shared.config.limits) {
        Ok(messages) => messages,
        Err(error) => return Refusal(error).into_response(),
    };
    met(&messages);
    // Each is handed to its shard when its future is first polled, which join_all does in order.
    let items = messages.into_iter().map(|message| async move {
        let message = match message {
            Ok(message) => message,
            Err((ce_id, error)) => {
                return BatchItem {
                    ce_id,
                    status: error.code.http_status(),
                    entity: None,
                    error: Some(error),
                };
            }
        };
        let ce_id = message.envelope.id.clone();
        match door::command(shared, &message, came).await {
            Ok(Taken::Decided { entity, made }) => {
                // A coordinator that passed it on may have to answer "created".
                let status = if made && came == Came::PassedOn { 201 } else { 200 };
                BatchItem { ce_id, status, entity: Some(entity), error: None }
            }
            Ok(Taken::Accepted) => BatchItem { ce_id, status: 202, entity: None, error: None },
            Err(error) => {
                BatchItem { ce_id, status: error.code.http_status(), entity: None, error: Some(error) }
            }
        }
    });
    let items = futures::future::join_all(items).await;
    match serde_json::to_string(&items) {
        Ok(text) => answer::json(StatusCode::OK, text),
        Err(error) => Refusal(Error::new(synod_protocol::Code::Internal, error.to_string())).into_response(),
    }
}
