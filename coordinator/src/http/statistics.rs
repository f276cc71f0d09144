//! What agents have done, over HTTP: of one, and of a workspace, with how its negotiations, executions and approvals went.
//!
//! A client is answered with the sum over all coordinators; one coordinator asks another for its part.

use super::answer::{self, Problem, Refusal};
use super::request::{Caller, Segments, named};
use crate::Shared;
use crate::door::Came;
use crate::fleet::wall_clock;
use crate::statistics::{
    Counts, Flow, FlowView, NegotiationStatisticsView, StatisticsView, Tallies, TallyView, merge,
};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use futures::future::join_all;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::AgentKey;
use synod_protocol::view::{AgentStatus, Breaker, Health};
use synod_protocol::{Code, Error, Id, Workspace};
use utoipa::ToSchema;

/// How long another coordinator may take.
const ASK: Duration = Duration::from_secs(1);

/// What one coordinator has counted.
#[derive(Debug, Serialize, Deserialize)]
struct Part {
    counts: Counts,
    /// Of negotiations, by protocol.
    #[serde(default)]
    negotiations: Tallies,
    /// Of executions and approvals.
    #[serde(default)]
    flow: Flow,
    /// How long it has counted, in ms.
    counted_ms: u64,
}

/// What one agent has done.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct AgentStatisticsView {
    /// Whose.
    agent_id: Id,
    /// What it is doing.
    status: AgentStatus,
    /// Whether it can be counted on.
    health: Health,
    /// Its circuit breaker.
    breaker: Breaker,
    /// How long this process start has been registered, in ms, by this coordinator's wall clock. Durable.
    uptime_ms: u64,
    /// Process starts after its first. Durable.
    restarts: u64,
    /// Attempts.
    attempts: StatisticsView,
    /// Coordinators that did not answer: their part is missing.
    missing: Vec<String>,
}

/// What all agents of a workspace have done, and how its negotiations, executions and approvals went.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FleetStatisticsView {
    /// How many there are, by status.
    agents: BTreeMap<String, u64>,
    /// Attempts that they may hold together.
    capacity: u64,
    /// Attempts that they hold, as far as this coordinator knows.
    in_flight: u64,
    /// Process starts after the first, of all of them. Durable.
    restarts: u64,
    /// Attempts.
    attempts: StatisticsView,
    /// Negotiations, by protocol.
    negotiations: BTreeMap<String, NegotiationStatisticsView>,
    /// Executions.
    executions: TallyView,
    /// Executions by workflow; the first hundred of which there were any.
    workflows: BTreeMap<String, TallyView>,
    /// Approvals.
    approvals: TallyView,
    /// Coordinators that did not answer: their part is missing.
    missing: Vec<String>,
}

/// What one agent has done.
#[utoipa::path(get, path = "/v1/agents/{id}/statistics", params(("id" = String, Path, description = "The agent's id")),
    responses(
    (status = 200, description = "Its statistics", body = AgentStatisticsView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn agent_statistics(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, Refusal> {
    let key = AgentKey { workspace: caller.workspace.clone(), agent: named(&id)? };
    let ours = part(&shared, shared.statistics.of_agent(&key));
    if caller.came == Came::PassedOn {
        return json(&ours);
    }
    let now = wall_clock();
    let known = {
        let inside = shared.fleet.lock();
        inside.registry.get(&key).map(|member| {
            let entry = &member.entry;
            let slots = u64::from(entry.max_concurrency);
            let uptime_ms = now.millis_since(entry.registered_at);
            let breaker = crate::breakers::plain(&inside.guards, &key);
            (crate::fleet::status_of(member), member.health(), breaker, slots, uptime_ms, entry.restarts)
        })
    };
    let Some((status, health, breaker, slots, uptime_ms, restarts)) = known else {
        return Err(Error::not_found("agent", key.agent.as_str()).into());
    };
    let path = format!("/v1/agents/{}/statistics", crate::door::escaped(key.agent.as_str()));
    let (Part { counts, counted_ms, .. }, missing) = gathered(&shared, &caller.workspace, &path, ours).await;
    let attempts = StatisticsView::of(&counts, slots.saturating_mul(uptime_ms.min(counted_ms)));
    let agent_id = key.agent;
    json(&AgentStatisticsView { agent_id, status, health, breaker, uptime_ms, restarts, attempts, missing })
}

/// What all agents of the workspace have done.
#[utoipa::path(get, path = "/v1/statistics", responses(
    (status = 200, description = "The fleet's statistics", body = FleetStatisticsView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn fleet_statistics(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Response, Refusal> {
    let (statistics, workspace) = (&shared.statistics, &caller.workspace);
    let ours = Part {
        negotiations: statistics.of_negotiations(workspace),
        flow: statistics.of_flow(workspace),
        ..part(&shared, statistics.of_workspace(workspace))
    };
    if caller.came == Came::PassedOn {
        return json(&ours);
    }
    let (Part { counts, negotiations, flow, counted_ms }, missing) =
        gathered(&shared, &caller.workspace, "/v1/statistics", ours).await;
    let negotiations = NegotiationStatisticsView::of(&negotiations);
    let FlowView { executions, workflows, approvals } = FlowView::of(&flow);
    let now = wall_clock();
    let mut agents: BTreeMap<String, u64> = BTreeMap::new();
    let (mut capacity, mut in_flight, mut restarts, mut slot_ms) = (0_u64, 0_u64, 0_u64, 0_u64);
    {
        let inside = shared.fleet.lock();
        for (_, member) in inside.registry.after(&caller.workspace, None) {
            let entry = &member.entry;
            let slots = u64::from(entry.max_concurrency);
            *agents.entry(crate::fleet::status_of(member).as_str().to_owned()).or_default() += 1;
            (capacity, restarts) = (capacity + slots, restarts + entry.restarts);
            in_flight += u64::from(member.in_flight());
            let present_ms = now.millis_since(entry.registered_at).min(counted_ms);
            slot_ms = slot_ms.saturating_add(slots.saturating_mul(present_ms));
        }
    }
    let attempts = StatisticsView::of(&counts, slot_ms);
    json(&FleetStatisticsView {
        agents,
        capacity,
        in_flight,
        restarts,
        attempts,
        negotiations,
        executions,
        workflows,
        approvals,
        missing,
    })
}

fn json<T: Serialize>(value: &T) -> Result<Response, Refusal> {
    let text = serde_json::to_string(value).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    Ok(answer::json(StatusCode::OK, text))
}

fn part(shared: &Shared, counts: Counts) -> Part {
    let counted_ms = shared.fleet.now_ms();
    Part { counts, negotiations: Tallies::new(), flow: Flow::default(), counted_ms }
}

/// The sum over all coordinators, since when the longest of them counts, and who did not answer.
async fn gathered(shared: &Shared, workspace: &Workspace, path: &str, ours: Part) -> (Part, Vec<String>) {
    let mut sum = ours;
    let others = shared.tenures.others();
    let asked = others.iter().map(|(id, address)| async move {
        let body = shared.forward.get(address, path, Some(workspace), None, ASK).await;
        let read = |body: Vec<u8>| {
            serde_json::from_slice::<Part>(&body)
                .map_err(|e| Error::unavailable(format!("the part of {address} does not read: {e}")))
        };
        (id, body.and_then(read))
    });
    let mut missing = Vec::new();
    for (id, told) in join_all(asked).await {
        match told {
            Ok(part) => {
                sum.counts.merge(&part.counts);
                merge(&mut sum.negotiations, &part.negotiations);
                sum.flow.merge(&part.flow);
                sum.counted_ms = sum.counted_ms.max(part.counted_ms);
            }
            Err(error) => {
                tracing::debug!(coordinator = %id, %error, "its part of the statistics is missing");
                missing.push(id.to_string());
            }
        }
    }
    (sum, missing)
}
