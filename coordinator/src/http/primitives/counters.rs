//! Counters, budgets and rate limits over HTTP.

use super::lease::{decoded, json};
use crate::Shared;
use crate::http::answer::{Problem, Refusal};
use crate::http::api::Api;
use crate::http::request::{Caller, JsonBody, Segments, named};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use std::sync::Arc;
use synod_infra::primitives::budgets::Budgets;
use synod_infra::primitives::counters::Counters;
use synod_infra::primitives::limits::RateLimits;
use synod_protocol::Name;
use synod_protocol::primitives::counters::{
    Add, Budget, Counter, Reservation, Reserve, Return, SetBudget, Spend, Take, Taken,
};
use utoipa_axum::routes;

pub(super) fn routes() -> Api {
    Api::new()
        .routes(routes!(add_to_counter, get_counter, delete_counter))
        .routes(routes!(set_budget, get_budget, delete_budget))
        .routes(routes!(reserve_budget))
        .routes(routes!(spend_budget))
        .routes(routes!(return_budget))
        .routes(routes!(take_limit))
}

/// Adds to a counter, which begins at 0. Outside `floor` or `ceiling` (inclusive, after adding): 409 `conflict` with
/// `value`, and nothing is changed; beyond an i64: 400. The same `operation_id` within 24 h: the first answer again,
/// refusals too.
#[utoipa::path(post, path = "/v1/counters/{name}", params(("name" = String, Path, description = "The counter's name")), request_body = Add, responses(
    (status = 200, description = "Added", body = Counter),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it was done all the same", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn add_to_counter(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let add: Add = decoded(&body, &shared)?;
    let once = caller.once(&format!("POST counters/{name}"), &body);
    json(&Counters::new(shared.redis.clone()).add(&caller.workspace, &name, &add, once.as_ref()).await?)
}

/// A counter's value; 0 if nobody has added to it.
#[utoipa::path(get, path = "/v1/counters/{name}", params(("name" = String, Path, description = "The counter's name")), responses(
    (status = 200, description = "Its value", body = Counter),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_counter(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Response, Refusal> {
    json(&Counters::new(shared.redis.clone()).get(&caller.workspace, &named(&name)?).await?)
}

/// Sets a budget's limit, which makes it if there is none. Below what is spent and reserved nothing can be reserved any
/// more; what is reserved stays.
#[utoipa::path(put, path = "/v1/budgets/{name}", params(("name" = String, Path, description = "The budget's name")), request_body = SetBudget, responses(
    (status = 200, description = "As it stands", body = Budget),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn set_budget(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let set: SetBudget = decoded(&body, &shared)?;
    let once = caller.once(&format!("PUT budgets/{name}"), &body);
    json(&Budgets::new(shared.redis.clone()).set(&caller.workspace, &name, &set, once.as_ref()).await?)
}

/// How a budget stands.
#[utoipa::path(get, path = "/v1/budgets/{name}", params(("name" = String, Path, description = "The budget's name")), responses(
    (status = 200, description = "As it stands", body = Budget),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_budget(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Response, Refusal> {
    json(&Budgets::new(shared.redis.clone()).get(&caller.workspace, &named(&name)?).await?)
}

/// Sets a part of a budget aside: until it is spent, returned, or `ttl_ms` is over. Not as much is left: 409 `conflict`
/// with what remains as `value`.
#[utoipa::path(post, path = "/v1/budgets/{name}/reserve", params(("name" = String, Path, description = "The budget's name")), request_body = Reserve, responses(
    (status = 200, description = "Reserved", body = Reservation),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it was done all the same", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn reserve_budget(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let reserve: Reserve = decoded(&body, &shared)?;
    let once = caller.once(&format!("POST budgets/{name}/reserve"), &body);
    json(
        &Budgets::new(shared.redis.clone())
            .reserve(&caller.workspace, &name, &reserve, once.as_ref())
            .await?,
    )
}

/// Spends from a reservation, in as many parts as may be. More than is left of it: 409 `conflict` with what is left as
/// `value`; a reservation that has run out, was returned, or never was: 409 `fenced`.
#[utoipa::path(post, path = "/v1/budgets/{name}/spend", params(("name" = String, Path, description = "The budget's name")), request_body = Spend, responses(
    (status = 200, description = "Spent", body = Reservation),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it was done all the same", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn spend_budget(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let spend: Spend = decoded(&body, &shared)?;
    let once = caller.once(&format!("POST budgets/{name}/spend"), &body);
    json(&Budgets::new(shared.redis.clone()).spend(&caller.workspace, &name, &spend, once.as_ref()).await?)
}

/// Gives back what is left of a reservation; one that has run out, was returned, or never was: 409 `fenced`.
#[utoipa::path(post, path = "/v1/budgets/{name}/return", params(("name" = String, Path, description = "The budget's name")), request_body = Return, responses(
    (status = 200, description = "Returned", body = Reservation),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it was done all the same", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn return_budget(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let Return { reservation } = decoded(&body, &shared)?;
    let once = caller.once(&format!("POST budgets/{name}/return"), &body);
    let budgets = Budgets::new(shared.redis.clone());
    json(&budgets.give_back(&caller.workspace, &name, &reservation, once.as_ref()).await?)
}

/// Takes from a rate limit, all or none: a token bucket of `burst`, refilled at `rate_per_s`. Too few is no error:
/// `allowed` is false, and `retry_after_ms` says when there will be as many.
#[utoipa::path(post, path = "/v1/limits/{name}", params(("name" = String, Path, description = "The rate limit's name")), request_body = Take, responses(
    (status = 200, description = "Whether it may be done now", body = Taken),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now; `applied` says whether it was done all the same", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn take_limit(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let name: Name = named(&name)?;
    let take: Take = decoded(&body, &shared)?;
    let once = caller.once(&format!("POST limits/{name}"), &body);
    json(&RateLimits::new(shared.redis.clone()).take(&caller.workspace, &name, &take, once.as_ref()).await?)
}

/// Forgets a counter and its operation ids: it is 0 again. What is not there is forgotten already.
#[utoipa::path(delete, path = "/v1/counters/{name}", params(("name" = String, Path, description = "The counter's name")), responses(
    (status = 204, description = "It is forgotten"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete_counter(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Response, Refusal> {
    Counters::new(shared.redis.clone()).remove(&caller.workspace, &named(&name)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Forgets a budget with its reservations and operation ids. What is not there is forgotten already.
#[utoipa::path(delete, path = "/v1/budgets/{name}", params(("name" = String, Path, description = "The budget's name")), responses(
    (status = 204, description = "It is forgotten"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete_budget(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(name): Segments<String>,
) -> Result<Response, Refusal> {
    Budgets::new(shared.redis.clone()).remove(&caller.workspace, &named(&name)?).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
