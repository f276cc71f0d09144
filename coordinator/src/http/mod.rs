//! The HTTP API: thin routes over the door, the shards and the fleet.

mod agent_list;
mod agents;
mod answer;
mod api;
mod approvals;
mod commands;
mod contexts;
mod events;
mod events_stream;
mod executions;
mod fleet;
mod gather;
mod guard;
mod kind;
mod limits;
mod log_level;
mod measures;
mod negotiations;
mod operate;
mod pages;
mod primitives;
mod request;
mod requests;
mod snapshots;
mod statistics;
mod steps;
mod streaming;
mod tasks;
mod tools;
mod workflows;

pub use limits::HttpLimits;
pub(crate) use limits::serve;

use crate::{Shared, reference};
use api::Api;
use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use std::sync::Arc;
use std::time::{Duration, Instant};
use synod_infra::telemetry::names;
use utoipa_axum::routes;

/// Longest wait that a client may ask for.
pub(crate) const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// All routes that are described.
pub(crate) fn api() -> Api {
    Api::new()
        .routes(routes!(commands::post_commands))
        .routes(routes!(tasks::post_task, tasks::list_tasks))
        .routes(routes!(tasks::get_task))
        .routes(routes!(tasks::cancel_task))
        .routes(routes!(agent_list::list_agents))
        .routes(routes!(agents::get_agent, agents::deregister_agent))
        .routes(routes!(tasks::explain_task))
        .routes(routes!(agents::change_agent))
        .routes(routes!(agents::order_breaker))
        .routes(routes!(contexts::get_context))
        .routes(routes!(snapshots::post_snapshot, snapshots::list_snapshots))
        .routes(routes!(snapshots::get_snapshot, snapshots::delete_snapshot))
        .routes(routes!(snapshots::compare_snapshots))
        .routes(routes!(statistics::agent_statistics))
        .routes(routes!(statistics::fleet_statistics))
        .routes(routes!(fleet::get_fleet))
        .routes(routes!(fleet::get_pauses))
        .routes(routes!(fleet::get_attempts))
        .routes(routes!(fleet::pause_fleet))
        .routes(routes!(fleet::resume_fleet))
        .routes(routes!(negotiations::post_negotiation, negotiations::list_negotiations))
        .routes(routes!(negotiations::get_negotiation))
        .routes(routes!(negotiations::get_certificate))
        .routes(routes!(negotiations::post_response))
        .routes(routes!(negotiations::cancel_negotiation))
        .routes(routes!(approvals::post_approval, approvals::list_approvals))
        .routes(routes!(approvals::get_approval))
        .routes(routes!(approvals::post_decision))
        .routes(routes!(approvals::post_revision))
        .routes(routes!(workflows::define_workflow))
        .routes(routes!(workflows::list_workflows))
        .routes(routes!(workflows::get_workflow))
        .routes(routes!(workflows::execute_workflow))
        .routes(routes!(executions::post_execution, executions::list_executions))
        .routes(routes!(executions::get_execution))
        .routes(routes!(steps::list_steps))
        .routes(routes!(executions::cancel_execution))
        .routes(routes!(executions::pause_execution))
        .routes(routes!(executions::resume_execution))
        .routes(routes!(executions::signal_execution))
        .routes(routes!(executions::retry_execution))
        .routes(routes!(tools::list_tools))
        .routes(routes!(tools::post_coordinate))
        .routes(routes!(tools::post_aggregate_votes))
        .routes(routes!(tools::post_resolve_conflict))
        .routes(routes!(requests::post_fuse_signals))
        .routes(routes!(requests::post_assess_risk))
        .routes(routes!(requests::post_divide_resources))
        .routes(routes!(requests::post_decide_by_consensus))
        .routes(routes!(requests::post_declare_emergency))
        .routes(routes!(events::list_events))
        .routes(routes!(events_stream::stream_events))
        .routes(routes!(operate::get_status))
        .routes(routes!(operate::livez))
        .routes(routes!(operate::readyz))
        .routes(routes!(measures::get_metrics))
        .routes(routes!(log_level::get_log_level, log_level::put_log_level))
        .merge(primitives::routes())
}

/// All routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let (openapi, asyncapi) = (reference::openapi(), reference::asyncapi());
    let (routes, _) = api().split();
    routes
        .route("/openapi.json", get(async || answer::json(StatusCode::OK, openapi)))
        .route("/asyncapi.json", get(async || answer::json(StatusCode::OK, asyncapi)))
        // Between coordinators; no part of the API.
        .route("/v1/snapshots/part", get(snapshots::get_part))
        .fallback(request::unknown_route)
        .method_not_allowed_fallback(request::unknown_method)
        .layer(middleware::from_fn_with_state(shared.clone(), guard::let_in))
        .layer(middleware::from_fn(measured))
        .with_state(shared)
}

/// Counts and times every request by its route's pattern.
async fn measured(request: Request, next: Next) -> Response {
    let began = Instant::now();
    let method = request.method().to_string();
    let route =
        request.extensions().get::<MatchedPath>().map_or("unmatched".to_owned(), |p| p.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!(names::HTTP_REQUESTS_TOTAL, "route" => route.clone(), "method" => method.clone(), "status" => status)
        .increment(1);
    metrics::histogram!(names::HTTP_REQUEST_SECONDS, "route" => route, "method" => method)
        .record(began.elapsed());
    response
}
