//! What is common to requests: who asks, how long they wait, and what is no route.

use super::WAIT_LIMIT;
use super::answer::{Refusal, problem};
use crate::Shared;
use crate::door::Came;
use axum::extract::{FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::redis::Once;
use synod_protocol::http::BATCH_LIMIT;
use synod_protocol::trace::TraceParent;
use synod_protocol::{Code, ContentType, Envelope, Error, Id, Limits, Timestamp, Workspace, codec};

/// Who asks, and the piece of work that it belongs to.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) workspace: Workspace,
    /// The agent that asks, if it says so.
    pub(crate) agent: Option<Id>,
    pub(crate) idempotency_key: Option<String>,
    /// From a client, or passed on by another coordinator.
    pub(crate) came: Came,
    correlation_id: Option<String>,
    traceparent: Option<String>,
}

impl Caller {
    /// Who is told of as having written: the agent, or `anonymous`.
    pub(crate) fn by(&self) -> String {
        self.agent.as_ref().map_or("anonymous".to_owned(), Id::to_string)
    }

    /// What makes this request the same as an earlier one, if it has an `Idempotency-Key`: the route with what it names,
    /// and all that it says.
    pub(crate) fn once(&self, route: &str, said: &[u8]) -> Option<Once> {
        let key = self.idempotency_key.as_ref()?;
        let text = format!("{}\0{route}\0{key}", self.workspace);
        let said = [self.by().as_bytes(), b"\0", said].concat();
        Some(Once {
            key: blake3::hash(text.as_bytes()).to_hex().to_string(),
            said: blake3::hash(&said).to_hex().to_string(),
        })
    }

    /// An envelope for a command that this request makes. With an idempotency key, its id follows from it.
    pub(crate) fn envelope(&self, ty: &str, about: &str) -> Envelope {
        let id = match &self.idempotency_key {
            Some(key) => {
                Id::derived(&format!("{ty}-"), &self.workspace, &format!("{about}\0{key}")).to_string()
            }
            None => uuid::Uuid::now_v7().to_string(),
        };
        Envelope {
            workspace: self.workspace.clone(),
            correlation_id: self.correlation_id.clone(),
            traceparent: self.traceparent.clone(),
            ..Envelope::new(id, "/synod/http", ty)
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Caller, Refusal> {
        let text = |name: &str| -> Result<Option<String>, Error> {
            let mut values = parts.headers.get_all(name).iter();
            let Some(value) = values.next() else { return Ok(None) };
            if values.next().is_some() {
                return Err(Error::invalid(format!("header {name} stands twice; each may stand once")));
            }
            let text = std::str::from_utf8(value.as_bytes());
            let text = text.map_err(|_| Error::invalid(format!("header {name} is not UTF-8")))?;
            Ok(Some(text.to_owned()))
        };
        let workspace = text("synod-workspace")?.map_or(Ok(Workspace::default_name()), |t| t.parse())?;
        let agent = text("synod-agent")?.map(|t| t.parse()).transpose()?;
        let idempotency_key = text("idempotency-key")?;
        if idempotency_key.as_ref().is_some_and(|k| k.is_empty() || k.len() > 255) {
            return Err(Error::invalid("Idempotency-Key must have 1 to 255 bytes").into());
        }
        // A bad trace is ignored, as the recommendation says.
        let traceparent = text("traceparent")?.filter(|t| TraceParent::parse(t).is_some());
        let came = Came::of(&parts.headers);
        let correlation_id = text("synod-correlation-id")?;
        Ok(Caller { workspace, agent, idempotency_key, came, correlation_id, traceparent })
    }
}

/// A query string, refused as a problem.
pub(crate) struct Params<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Params<T>, Refusal> {
        Ok(Params(read_query(&parts.uri)?))
    }
}

/// Reads the query string of an address.
pub(super) fn read_query<T: DeserializeOwned>(uri: &Uri) -> Result<T, Error> {
    let Query(params) = Query::<T>::try_from_uri(uri).map_err(|error| {
        // Its source says what is wrong, without axum's words around it: `limit: invalid digit found in string`.
        let why = error.source().map_or_else(|| error.body_text(), ToString::to_string);
        let refused = Error::invalid(format!("the query string: {why}"));
        let is_name = |text: &str| text.bytes().all(|byte| byte == b'_' || byte.is_ascii_alphanumeric());
        match why.split_once(": ") {
            Some((name, _)) if is_name(name) => refused.with_field(format!("/{name}")),
            _ => refused,
        }
    })?;
    Ok(params)
}

/// The segments of a path, refused as a problem.
pub(crate) struct Segments<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Segments<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Segments<T>, Refusal> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(segments)) => Ok(Segments(segments)),
            Err(error) => Err(Error::invalid(format!("the path: {}", error.body_text())).into()),
        }
    }
}

/// The body, within limits, refused as a problem.
pub(crate) struct Body(pub(crate) Vec<u8>);

/// Bytes of a body: a command twice over, or a batch of small ones.
fn body_limit(limits: &Limits) -> usize {
    limits.payload_bytes.saturating_mul(2).max(BATCH_LIMIT * 4096)
}

/// Of a body that is too large so much is read and thrown away before it is refused: a client that is still
/// sending when the connection closes may never see why.
const THROWN_AWAY: usize = 32 << 20;

impl axum::extract::FromRequest<Arc<Shared>> for Body {
    type Rejection = Refusal;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<Body, Refusal> {
        Ok(Body(read_body(request, body_limit(&shared.config.limits)).await?))
    }
}

/// The bytes of a body, of which there may be so many.
async fn read_body(request: Request, limit: usize) -> Result<Vec<u8>, Error> {
    let mut chunks = request.into_body().into_data_stream();
    let (mut bytes, mut came) = (Vec::new(), 0usize);
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|e| Error::invalid(format!("the body cannot be read: {e}")))?;
        came = came.saturating_add(chunk.len());
        if came <= limit {
            bytes.extend_from_slice(&chunk);
        } else if came > limit.saturating_add(THROWN_AWAY) {
            break;
        }
    }
    if came > limit {
        let said = format!("the request's body has more than {limit} bytes, which is the limit here");
        return Err(Error::new(Code::PayloadTooLarge, said));
    }
    Ok(bytes)
}

/// The same where it can only be a JSON object, or nothing: another content type, if one is named, is 415.
pub(crate) struct JsonBody(pub(crate) Vec<u8>);

impl axum::extract::FromRequest<Arc<Shared>> for JsonBody {
    type Rejection = Response;

    async fn from_request(request: Request, shared: &Arc<Shared>) -> Result<JsonBody, Response> {
        is_json(&request)?;
        let Body(bytes) = Body::from_request(request, shared).await.map_err(IntoResponse::into_response)?;
        // What reads an object of ours would read it from an array as well, member by member.
        if bytes.trim_ascii_start().first().is_some_and(|first| *first != b'{') {
            return Err(Refusal(Error::invalid("the body must be a JSON object")).into_response());
        }
        Ok(JsonBody(bytes))
    }
}

/// The same with a limit of its own, in bytes.
pub(crate) struct JsonUpTo<const LIMIT: usize>(pub(crate) Vec<u8>);

impl<const LIMIT: usize, S: Sync> axum::extract::FromRequest<S> for JsonUpTo<LIMIT> {
    type Rejection = Response;

    async fn from_request(request: Request, _: &S) -> Result<JsonUpTo<LIMIT>, Response> {
        is_json(&request)?;
        let read = read_body(request, LIMIT).await;
        read.map(JsonUpTo).map_err(|error| Refusal(error).into_response())
    }
}

fn is_json(request: &Request) -> Result<(), Response> {
    let media = request.headers().get("content-type").map(|v| String::from_utf8_lossy(v.as_bytes()));
    match media.filter(|media| ContentType::parse(media) != Ok(ContentType::Json)) {
        Some(media) => Err(unknown_media(&media)),
        None => Ok(()),
    }
}

/// Reads a body that may be empty.
///
/// # Errors
/// `invalid_argument`, with the offending place.
pub(crate) fn json_body<T: DeserializeOwned>(body: &[u8], limits: &Limits) -> Result<Option<T>, Error> {
    if body.is_empty() {
        return Ok(None);
    }
    codec::decode(ContentType::Json, body, limits).map(Some)
}

/// Reads a name from the path.
pub(crate) fn named<T: std::str::FromStr<Err = Error>>(text: &str) -> Result<T, Refusal> {
    text.parse().map_err(Refusal)
}

/// `wait_ms`, checked.
pub(crate) fn waited(wait_ms: Option<u64>) -> Result<Duration, Refusal> {
    let wait = Duration::from_millis(wait_ms.unwrap_or(0));
    if wait > WAIT_LIMIT {
        let limit = WAIT_LIMIT.as_millis();
        return Err(Error::invalid(format!("wait_ms is {}, it must be 0 to {limit}", wait.as_millis()))
            .with_field("/wait_ms")
            .into());
    }
    Ok(wait)
}

/// `limit` of a page: 1 to 1,000, 100 by default.
pub(crate) fn page_limit(limit: Option<usize>) -> Result<usize, Refusal> {
    match limit.unwrap_or(100) {
        n @ 1..=1000 => Ok(n),
        n => Err(Error::invalid(format!("limit is {n}, it must be 1 to 1000")).with_field("/limit").into()),
    }
}

pub(crate) async fn unknown_route(request: Request) -> Response {
    Refusal(Error::new(Code::NotFound, format!("there is no route {}", request.uri().path()))).into_response()
}

pub(crate) async fn unknown_method(request: Request) -> Response {
    let said = format!("{} is not possible on {}", request.method(), request.uri().path());
    problem(Error::invalid(said), StatusCode::METHOD_NOT_ALLOWED)
}

/// 415, as HTTP means it.
pub(crate) fn unknown_media(said: &str) -> Response {
    let error = Error::invalid(format!("content-type {said:?} is not taken here; send application/json"));
    problem(error, StatusCode::UNSUPPORTED_MEDIA_TYPE)
}

/// Now, by this coordinator's wall clock; for people only.
pub(crate) fn now() -> Timestamp {
    crate::fleet::wall_clock()
}

/// The refusal of a body under an id; `derived`: the id was made of an `Idempotency-Key`, which is what was used twice then.
pub(crate) fn of_key(mut error: Error, derived: bool) -> Error {
    if derived && error.code == Code::AlreadyExists {
        error.code = Code::Unprocessable;
        error.message = "this Idempotency-Key was used with another body".into();
    }
    error
}
