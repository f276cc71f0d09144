//! Tools: decide in one go what has been answered already, of which nothing is kept; and short bodies that open a durable
//! negotiation.

use super::answer::{self, Page, Problem, Refusal};
use super::request::{Caller, JsonBody};
use crate::Shared;
use crate::fleet::wall_clock;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use std::sync::Arc;
use synod_negotiation::tools::{
    AggregateVotes, Coordinate, Coordinated, ResolveConflict, aggregate_votes, coordinate, resolve_conflict,
};
use synod_protocol::{Code, ContentType, Error, Json, codec};
use utoipa::ToSchema;

/// A tool.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tool {
    /// Its name, the end of its path.
    name: &'static str,
    /// What it does.
    description: &'static str,
    /// Where it is posted to.
    path: &'static str,
}

const TOOLS: [Tool; 8] = [
    Tool {
        name: "coordinate",
        description: "Decides by any protocol what all participants have answered already",
        path: "/v1/tools/coordinate",
    },
    Tool {
        name: "aggregate_votes",
        description: "Counts ballots by one of eight methods",
        path: "/v1/tools/aggregate_votes",
    },
    Tool {
        name: "resolve_conflict",
        description: "Says what conflicting sources say together, or that they do not agree, and in which camps",
        path: "/v1/tools/resolve_conflict",
    },
    Tool {
        name: "fuse_signals",
        description: "Opens a negotiation: one value or label from signals, those given and those of agents",
        path: "/v1/tools/fuse_signals",
    },
    Tool {
        name: "assess_risk",
        description: "Opens a negotiation: one level of risk, from rounds of anonymous estimates",
        path: "/v1/tools/assess_risk",
    },
    Tool {
        name: "divide_resources",
        description: "Opens a negotiation: who gets how much of what is scarce",
        path: "/v1/tools/divide_resources",
    },
    Tool {
        name: "decide_by_consensus",
        description: "Opens a negotiation: yes or no, where a share of the voters agrees",
        path: "/v1/tools/decide_by_consensus",
    },
    Tool {
        name: "declare_emergency",
        description: "Opens a negotiation: calls the roles of a procedure, then a list, and reports who comes",
        path: "/v1/tools/declare_emergency",
    },
];

/// The tools that there are.
#[utoipa::path(get, path = "/v1/tools", responses(
    (status = 200, description = "The tools", body = Page<Tool>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_tools(_: Caller) -> Result<Response, Refusal> {
    let tools: Vec<Json> = TOOLS.iter().map(answer::as_json).collect::<Result<_, _>>()?;
    Ok(answer::page(&tools, None))
}

/// Decides at once by any protocol what all have answered already, such as an auction of the bids given.
#[utoipa::path(post, path = "/v1/tools/coordinate", request_body = Coordinate, responses(
    (status = 200, description = "The outcome", body = Coordinated),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_coordinate(
    State(shared): State<Arc<Shared>>,
    _: Caller,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let protocols = shared.config.protocols.clone();
    told(&shared, &body, move |input| coordinate(&protocols, input, wall_clock())).await
}

/// Counts ballots.
#[utoipa::path(post, path = "/v1/tools/aggregate_votes", request_body = AggregateVotes, responses(
    (status = 200, description = "The outcome, as of protocol `vote`", body = serde_json::Value),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_aggregate_votes(
    State(shared): State<Arc<Shared>>,
    _: Caller,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    told(&shared, &body, aggregate_votes).await
}

/// Resolves what sources say differently.
#[utoipa::path(post, path = "/v1/tools/resolve_conflict", request_body = ResolveConflict, responses(
    (status = 200, description = "The outcome, as of protocol `resolve`", body = serde_json::Value),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn post_resolve_conflict(
    State(shared): State<Arc<Shared>>,
    _: Caller,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    told(&shared, &body, |input| resolve_conflict(input, wall_clock())).await
}

/// Works it out beside what must not wait for it.
async fn told(
    shared: &Shared,
    body: &[u8],
    tool: impl FnOnce(&Json) -> Result<Json, Error> + Send + 'static,
) -> Result<Response, Refusal> {
    let input: Json = codec::decode(ContentType::Json, body, &shared.config.limits)?;
    let outcome = tokio::task::spawn_blocking(move || tool(&input)).await;
    let outcome =
        outcome.map_err(|error| Error::new(Code::Internal, format!("the tool failed: {error}")))??;
    Ok(answer::entity(StatusCode::OK, &outcome, None))
}
