//! Answers: an entity as it is, or a problem (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use synod_protocol::{Applied, Code, Error, Json, Timestamp};
use utoipa::ToSchema;

/// `application/problem+json` with our `code`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem {
    /// `about:blank`: `code` says what it is.
    #[serde(rename = "type")]
    ty: &'static str,
    /// The HTTP status' phrase.
    title: String,
    /// The HTTP status.
    status: u16,
    /// One sentence.
    detail: String,
    /// What kind of refusal.
    code: Code,
    /// The same sentence.
    message: String,
    /// The offending place, as a JSON pointer.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// `invalid_transition`: the entity's status.
    #[serde(skip_serializing_if = "Option::is_none")]
    entity_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current_version: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_id: Option<String>,
    /// Of a write on Redis that failed: whether it was done all the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    applied: Option<Applied>,
    /// `conflict` of a lock: who holds it, and until when.
    #[serde(skip_serializing_if = "Option::is_none")]
    holder: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
    /// `conflict` of a counter: its value.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<i64>,
}

/// One page of a list, as the description shows it; [`page`] writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only its shape is of use")]
pub(crate) struct Page<T> {
    /// What is on it.
    items: Vec<T>,
    /// As `cursor`, for the next page; null: there is none.
    next_cursor: Option<String>,
}

/// An error that answers as a problem.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) Error);

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        Refusal(error)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        problem(self.0, status)
    }
}

/// A problem under another status than its code's own (405, 415).
pub(crate) fn problem(mut error: Error, status: StatusCode) -> Response {
    if error.code == Code::Internal && error.error_id.is_none() {
        let id = uuid::Uuid::now_v7().to_string();
        tracing::error!(error_id = id, %error, "an internal error was answered");
        error.error_id = Some(id);
    }
    let retry_after = error.retry_after_ms.map(|ms| ms.div_ceil(1000).max(1));
    let body = Problem {
        ty: "about:blank",
        title: status.canonical_reason().unwrap_or("Error").to_owned(),
        status: status.as_u16(),
        detail: error.message.clone(),
        code: error.code,
        message: error.message,
        field: error.field,
        entity_status: error.status,
        current_version: error.current_version,
        retry_after_ms: error.retry_after_ms,
        oldest: error.oldest,
        error_id: error.error_id,
        applied: error.applied,
        holder: error.holder,
        expires_at: error.expires_at,
        value: error.value,
    };
    let text = serde_json::to_string(&body).unwrap_or_default();
    let mut response = (status, [(header::CONTENT_TYPE, "application/problem+json")], text).into_response();
    if let Some(seconds) = retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// JSON text as it is.
pub(crate) fn json(status: StatusCode, text: String) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// Something of ours as JSON.
///
/// # Errors
/// `internal`: it has no JSON form.
pub(crate) fn as_json<T: Serialize + ?Sized>(value: &T) -> Result<Json, Error> {
    Json::of(value).map_err(|e| Error::new(Code::Internal, format!("an answer has no JSON form: {e}")))
}

/// Something of ours as the answer.
///
/// # Errors
/// `internal`: it has no JSON form.
pub(crate) fn shown<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Result<Response, Error> {
    Ok(json(status, as_json(value)?.as_str().to_owned()))
}

/// An entity, with where it is.
pub(crate) fn entity(status: StatusCode, entity: &Json, location: Option<String>) -> Response {
    let mut response = json(status, entity.as_str().to_owned());
    if let Some(location) = location.and_then(|l| HeaderValue::from_str(&l).ok()) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    response
}

/// One page of a list.
pub(crate) fn page(items: &[Json], next_cursor: Option<&str>) -> Response {
    let mut text = String::from("{\"items\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        text.push_str(item.as_str());
    }
    text.push_str("],\"next_cursor\":");
    text.push_str(&serde_json::to_string(&next_cursor).unwrap_or_default());
    text.push('}');
    json(StatusCode::OK, text)
}
