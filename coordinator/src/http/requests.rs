//! What people want most, in one short body each: each opens a negotiation and answers as opening one does.

use super::answer::{Problem, Refusal};
use super::kind::WaitParams;
use super::negotiations;
use super::request::{Caller, JsonBody, Params};
use crate::Shared;
use axum::extract::State;
use axum::response::Response;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use synod_negotiation::requests::{
    AssessRisk, DecideByConsensus, DeclareEmergency, DivideResources, FuseSignals, Request,
};
use synod_protocol::negotiation::NegotiationView;
use synod_protocol::{ContentType, codec};

/// Fuses signals, those given and those of the agents that are asked.
#[utoipa::path(post, path = "/v1/tools/fuse_signals", params(WaitParams), request_body = FuseSignals, responses(
    (status = 200, description = "It was there already, or it has ended within `wait_ms`", body = NegotiationView),
    (status = 201, description = "Made", body = NegotiationView),
    (status = 202, description = "Made, and not ended within `wait_ms`", body = NegotiationView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_fuse_signals(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<WaitParams>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    requested::<FuseSignals>(&shared, &caller, &params, &body).await
}

/// Assesses a risk, in rounds where agents are asked.
#[utoipa::path(post, path = "/v1/tools/assess_risk", params(WaitParams), request_body = AssessRisk, responses(
    (status = 200, description = "It was there already, or it has ended within `wait_ms`", body = NegotiationView),
    (status = 201, description = "Made", body = NegotiationView),
    (status = 202, description = "Made, and not ended within `wait_ms`", body = NegotiationView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_assess_risk(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<WaitParams>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    requested::<AssessRisk>(&shared, &caller, &params, &body).await
}

/// Divides what is scarce among those whose demands are given and the agents that are asked.
#[utoipa::path(post, path = "/v1/tools/divide_resources", params(WaitParams), request_body = DivideResources, responses(
    (status = 200, description = "It was there already, or it has ended within `wait_ms`", body = NegotiationView),
    (status = 201, description = "Made", body = NegotiationView),
    (status = 202, description = "Made, and not ended within `wait_ms`", body = NegotiationView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_divide_resources(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<WaitParams>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    requested::<DivideResources>(&shared, &caller, &params, &body).await
}

/// Decides yes or no by a threshold.
#[utoipa::path(post, path = "/v1/tools/decide_by_consensus", params(WaitParams), request_body = DecideByConsensus, responses(
    (status = 200, description = "It was there already, or it has ended within `wait_ms`", body = NegotiationView),
    (status = 201, description = "Made", body = NegotiationView),
    (status = 202, description = "Made, and not ended within `wait_ms`", body = NegotiationView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_decide_by_consensus(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<WaitParams>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    requested::<DecideByConsensus>(&shared, &caller, &params, &body).await
}

/// Declares an emergency and answers with who comes.
#[utoipa::path(post, path = "/v1/tools/declare_emergency", params(WaitParams), request_body = DeclareEmergency, responses(
    (status = 200, description = "It was there already, or it has ended within `wait_ms`", body = NegotiationView),
    (status = 201, description = "Made", body = NegotiationView),
    (status = 202, description = "Made, and not ended within `wait_ms`", body = NegotiationView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_declare_emergency(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<WaitParams>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    requested::<DeclareEmergency>(&shared, &caller, &params, &body).await
}

async fn requested<R: Request + DeserializeOwned>(
    shared: &Shared,
    caller: &Caller,
    params: &WaitParams,
    body: &[u8],
) -> Result<Response, Refusal> {
    let wait = params.wait()?;
    let request: R = codec::decode(ContentType::Json, body, &shared.config.limits)?;
    negotiations::requested(shared, caller, &request, wait).await
}
