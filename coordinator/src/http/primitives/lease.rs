//! What locks and semaphores share over HTTP.

use crate::Shared;
use crate::http::answer::{self, Refusal};
use crate::http::request::json_body;
use axum::http::StatusCode;
use axum::response::Response;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use synod_infra::primitives::leases::Ask;
use synod_protocol::primitives::locks::{Break, check_token};
use synod_protocol::{Error, Json, Name};
use utoipa::IntoParams;

/// Whose lease.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct Owned {
    /// Who holds it.
    owner: String,
    /// Under which token.
    token: u64,
}

impl Owned {
    pub(super) fn said(&self) -> String {
        format!("{}\0{}", self.token, self.owner)
    }

    pub(super) fn checked(self) -> Result<(Name, u64), Error> {
        check_token(self.token)?;
        let owner = self.owner.parse().map_err(|error: Error| error.with_field("/owner"))?;
        Ok((owner, self.token))
    }
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// Only names that begin so; it is plain text.
    pub(super) prefix: Option<String>,
    /// 1 to 1,000; 100 by default.
    pub(super) limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// After which name the page begins.
pub(super) fn cursor(params: &ListParams) -> Result<Option<Name>, Error> {
    let Some(cursor) = &params.cursor else { return Ok(None) };
    let prefix = params.prefix.as_deref().unwrap_or("");
    let after = cursor.parse().ok().filter(|name: &Name| name.as_str().starts_with(prefix));
    let wrong = || Error::invalid("cursor is none that a page before has given").with_field("/cursor");
    after.ok_or_else(wrong).map(Some)
}

pub(super) fn ask(owner: Name, ttl_ms: u64, wait_ms: u64) -> Ask {
    Ask { owner, ttl_ms, wait: Duration::from_millis(wait_ms), watched: false }
}

/// A body that must be there.
pub(super) fn decoded<T: DeserializeOwned>(body: &[u8], shared: &Shared) -> Result<T, Error> {
    json_body(body, &shared.config.limits)?
        .ok_or_else(|| Error::invalid("the body is empty, it must be a JSON object"))
}

/// The token of a body that may be empty.
pub(super) fn read_break(body: &[u8], shared: &Shared) -> Result<Option<u64>, Error> {
    match body.trim_ascii().is_empty() {
        true => Ok(None),
        false => Ok(decoded::<Break>(body, shared)?.token),
    }
}

pub(super) fn json<T: Serialize>(value: &T) -> Result<Response, Refusal> {
    Ok(answer::shown(StatusCode::OK, value)?)
}

pub(super) fn listed<T: Serialize>(items: &[T], next: Option<&Name>) -> Result<Response, Refusal> {
    let items: Vec<Json> = items.iter().map(answer::as_json).collect::<Result<_, _>>()?;
    Ok(answer::page(&items, next.map(Name::as_str)))
}
