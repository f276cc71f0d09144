//! Who may ask: with `CoordinatorConfig::keys`, whoever shows one of them.

use super::answer::Refusal;
use crate::Shared;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use synod_protocol::{Code, Error};

/// What is asked without a key, by whoever looks after the process: it tells nothing of the mesh's work.
const FREE: [&str; 2] = ["/livez", "/readyz"];

/// Lets the request in, or refuses it before anything of it is looked at.
pub(super) async fn let_in(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let keys = &shared.config.keys;
    if keys.is_empty() || FREE.contains(&request.uri().path()) {
        return next.run(request).await;
    }
    match key_of(request.headers()) {
        Some(key) if keys.lets_in(key) => next.run(request).await,
        Some(_) => refused("this API key is not one of the coordinator's"),
        None => refused(
            "an API key is wanted: Authorization: Bearer KEY, or X-Api-Key: KEY; clients of ours take it from SYNOD_API_KEY",
        ),
    }
}

fn key_of(headers: &HeaderMap) -> Option<&[u8]> {
    if let Some(key) = headers.get("x-api-key") {
        return Some(key.as_bytes());
    }
    let (scheme, key) = headers.get(header::AUTHORIZATION)?.as_bytes().split_at_checked(7)?;
    scheme.eq_ignore_ascii_case(b"bearer ").then_some(key)
}

fn refused(why: &str) -> Response {
    let mut response = Refusal(Error::new(Code::Unauthenticated, why)).into_response();
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}
