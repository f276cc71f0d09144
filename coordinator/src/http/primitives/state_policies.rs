//! What becomes of conflicting writes of keys with a prefix, over HTTP.

use super::state::{Refused, read};
use crate::Shared;
use crate::http::answer::{self, Problem};
use crate::http::api::Api;
use crate::http::request::{Caller, JsonUpTo, Segments, named};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use std::sync::Arc;
use synod_protocol::primitives::state::{Policy, Rules, Strategy};
use synod_protocol::{Error, Json, Name};
use utoipa::ToSchema;
use utoipa_axum::routes;

/// Bytes of a policy's body.
const BODY: usize = 64 * 1024;

pub(crate) fn routes() -> Api {
    Api::new().routes(routes!(list_policies)).routes(routes!(get_policy, put_policy, delete_policy))
}

/// The policy of a prefix.
#[derive(Debug, Serialize, ToSchema)]
struct PolicyView {
    prefix: String,
    strategy: Strategy,
    rules: Rules,
}

impl PolicyView {
    fn of(prefix: &str, policy: Policy) -> PolicyView {
        PolicyView { prefix: prefix.to_owned(), strategy: policy.strategy, rules: policy.rules }
    }
}

/// A list of policies.
#[derive(Debug, Serialize, ToSchema)]
struct PolicyList {
    items: Vec<PolicyView>,
    next_cursor: Option<String>,
}

/// The policies of the workspace, in order of their prefixes; there are at most 256.
#[utoipa::path(get, path = "/v1/state-policies", responses(
    (status = 200, description = "All policies", body = PolicyList),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
async fn list_policies(State(shared): State<Arc<Shared>>, caller: Caller) -> Result<Response, Refused> {
    let policies = shared.state.policies(&caller.workspace).await?;
    let items =
        policies.into_iter().map(|(prefix, policy)| answer::as_json(&PolicyView::of(&prefix, policy)));
    let items: Vec<Json> = items.collect::<Result<_, _>>()?;
    Ok(answer::page(&items, None))
}

/// The policy of a prefix.
#[utoipa::path(get, path = "/v1/state-policies/{prefix}", params(("prefix" = String, Path, description = "The prefix, percent-encoded")), responses(
    (status = 200, description = "The policy", body = PolicyView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
async fn get_policy(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(prefix): Segments<String>,
) -> Result<Response, Refused> {
    let prefix: Name = named(&prefix)?;
    let policy = shared.state.policies(&caller.workspace).await?.remove(prefix.as_str());
    let policy = policy.ok_or_else(|| Error::not_found("policy of the prefix", prefix.as_str()))?;
    Ok(answer::shown(StatusCode::OK, &PolicyView::of(prefix.as_str(), policy))?)
}

/// Sets the policy of a prefix. Of several prefixes that a key has the longest decides; a write that says its strategy
/// itself follows that. May be repeated.
#[utoipa::path(put, path = "/v1/state-policies/{prefix}", params(("prefix" = String, Path, description = "The prefix, percent-encoded")), request_body = Policy, responses(
    (status = 200, description = "Set", body = PolicyView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; some keys may follow it already: repeat it", body = Problem, content_type = "application/problem+json")))]
async fn put_policy(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(prefix): Segments<String>,
    JsonUpTo(body): JsonUpTo<BODY>,
) -> Result<Response, Refused> {
    let prefix: Name = named(&prefix)?;
    let policy = read::<Policy>(&body, BODY)?.checked()?;
    shared.state.set_policy(&caller.workspace, &prefix, &policy).await?;
    Ok(answer::shown(StatusCode::OK, &PolicyView::of(prefix.as_str(), policy))?)
}

/// Takes the policy of a prefix away: `reject` holds again, or what a shorter prefix says.
#[utoipa::path(delete, path = "/v1/state-policies/{prefix}", params(("prefix" = String, Path, description = "The prefix, percent-encoded")), responses(
    (status = 204, description = "Taken away"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
async fn delete_policy(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(prefix): Segments<String>,
) -> Result<Response, Refused> {
    let prefix: Name = named(&prefix)?;
    match shared.state.remove_policy(&caller.workspace, &prefix).await? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(Error::not_found("policy of the prefix", prefix.as_str()).into()),
    }
}
