//! The fleet as a whole over HTTP: paused, resumed, and what has not stopped.

use super::agent_list::shards_serve;
use super::answer::{self, Problem, Refusal};
use super::gather::{Cover, gather};
use super::request::{Caller, JsonBody, Params, json_body};
use crate::Shared;
use crate::door::{self, Came};
use crate::shard::{Ask, Attempts, NAMED, Running};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use synod_ledger::Subject;
use synod_protocol::command::{PauseFleet, PauseMode, ResumeFleet};
use synod_protocol::view::{Pause, Pauses};
use synod_protocol::{Capability, Code, Command, Error, Json, Timestamp, Workspace, topics};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

/// How long a coordinator may take to follow a pause that is on record.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);
/// How long the owners may take.
const GATHER: Duration = Duration::from_secs(5);

/// A pause in force, and what it has come to.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PauseView {
    /// What is paused.
    pause: Pause,
    /// Agents that get no work by it.
    agents: u64,
    /// Attempts that have not stopped: in force, or taken back and held all the same by their agents' heartbeats.
    not_stopped_total: u64,
    /// The first thousand of them.
    not_stopped: Vec<Running>,
}

/// `GET /v1/fleet`
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct FleetView {
    /// Everything that keeps tasks of this workspace waiting.
    pauses: Vec<PauseView>,
}

/// What a pause has come to at once.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct PauseAnswer {
    /// What is paused.
    pause: Pause,
    /// Agents that it concerns.
    agents: u64,
    /// Attempts that were in force when it was asked for.
    attempts: u64,
    /// Attempts that had not stopped when it was answered.
    not_stopped_total: u64,
    /// The first thousand of them.
    not_stopped: Vec<Running>,
}

/// What of the fleet gets no work, and what runs there all the same.
#[utoipa::path(get, path = "/v1/fleet", responses(
    (status = 200, description = "The pauses in force", body = FleetView),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_fleet(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Response, Refusal> {
    let Pauses { pauses } = in_force(&shared, &caller.workspace, caller.came).await?;
    let concerned =
        pauses.into_iter().filter(|p| p.workspace.as_ref().is_none_or(|w| *w == caller.workspace));
    let mut views = Vec::new();
    for pause in concerned {
        let cover = Cover { came: Came::FromClient, shards: (0..shared.config.partitions).collect() };
        let Attempts { not_stopped_total, not_stopped, .. } =
            attempts(&shared, &cover, &caller.workspace, &pause).await?;
        views.push(PauseView { agents: agents(&shared, &pause), pause, not_stopped_total, not_stopped });
    }
    json(&FleetView { pauses: views })
}

/// The pauses in force, of all workspaces, as their shard has them.
#[utoipa::path(get, path = "/v1/fleet/pauses", responses(
    (status = 200, description = "The pauses", body = Pauses),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_pauses(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
) -> Result<Response, Refusal> {
    json(&in_force(&shared, &caller.workspace, caller.came).await?)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScopeParams {
    /// Tasks that ask for this alone.
    #[param(value_type = Option<String>)]
    capability: Option<Capability>,
    /// Of every workspace.
    everything: Option<bool>,
    /// Only once this coordinator keeps to a pause of that scope, or a second has passed.
    followed: Option<bool>,
}

/// Attempts of a scope that have not stopped: in force, or taken back and still held by what heartbeats say.
#[utoipa::path(get, path = "/v1/fleet/attempts", params(ScopeParams), responses(
    (status = 200, description = "The attempts", body = Attempts),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_attempts(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    Params(scope): Params<ScopeParams>,
) -> Result<Response, Refusal> {
    let cover = Cover::of(&headers, shared.config.partitions)?;
    let pause = pause_of(&caller.workspace, scope.capability, scope.everything, PauseMode::Drain, None);
    if scope.followed.unwrap_or(false) {
        shared.fleet.follows(&pause, FOLLOWED_WITHIN).await;
    }
    json(&attempts(&shared, &cover, &caller.workspace, &pause).await?)
}

/// Pauses the workspace, a capability of it, or everything: nothing of it is assigned until it is resumed.
#[utoipa::path(post, path = "/v1/fleet/pause", request_body = Option<PauseFleet>, responses(
    (status = 200, description = "It is on record, and what it concerns", body = PauseAnswer),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn pause_fleet(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let asked: PauseFleet = json_body(&body, &shared.config.limits)?.unwrap_or_default();
    let mode = asked.mode.unwrap_or_default();
    let wanted =
        pause_of(&caller.workspace, asked.capability.clone(), asked.everything, mode, asked.reason.clone());
    let cover = Cover { came: Came::FromClient, shards: (0..shared.config.partitions).collect() };
    let before = attempts(&shared, &cover, &caller.workspace, &wanted).await?;
    let Pauses { pauses } = decided(&shared, &caller, Command::PauseFleet(asked)).await?;
    let is_it = |p: &Pause| (&p.workspace, &p.capability) == (&wanted.workspace, &wanted.capability);
    let pause = pauses.into_iter().find(is_it).unwrap_or(wanted);
    // Once it is answered, every coordinator that can be asked keeps to it.
    shared.fleet.follows(&pause, FOLLOWED_WITHIN).await;
    let after = attempts(&shared, &cover, &caller.workspace, &pause).await?;
    json(&PauseAnswer {
        agents: agents(&shared, &pause),
        attempts: before.in_force,
        not_stopped_total: after.not_stopped_total,
        not_stopped: after.not_stopped,
        pause,
    })
}

/// Takes a pause back; others that cover the same go on.
#[utoipa::path(post, path = "/v1/fleet/resume", request_body = Option<ResumeFleet>, responses(
    (status = 200, description = "The pauses that are left", body = Pauses),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn resume_fleet(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let asked: ResumeFleet = json_body(&body, &shared.config.limits)?.unwrap_or_default();
    json(&decided(&shared, &caller, Command::ResumeFleet(asked)).await?)
}

fn json<T: Serialize>(value: &T) -> Result<Response, Refusal> {
    let text = serde_json::to_string(value).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    Ok(answer::json(StatusCode::OK, text))
}

fn pause_of(
    workspace: &Workspace,
    capability: Option<Capability>,
    everything: Option<bool>,
    mode: PauseMode,
    reason: Option<String>,
) -> Pause {
    let workspace = (!everything.unwrap_or(false)).then(|| workspace.clone());
    Pause { workspace, capability, mode, reason, since: Timestamp::default() }
}

async fn decided(shared: &Shared, caller: &Caller, command: Command) -> Result<Pauses, Error> {
    command.check()?;
    let envelope = caller.envelope(command.ce_type(), topics::FLEET_ROOT);
    let (entity, _) = door::decided(shared, command, &envelope, None, caller.came).await?.entity()?;
    entity.to().map_err(|e| Error::new(Code::Internal, format!("the pauses do not read: {e}")))
}

/// The pauses, as the owner of their shard has them.
async fn in_force(shared: &Shared, workspace: &Workspace, came: Came) -> Result<Pauses, Error> {
    let shard = topics::partition(topics::FLEET_ROOT.as_bytes(), shared.config.partitions);
    let json =
        door::of_owner(shared, shard, workspace, "/v1/fleet/pauses", came, || here(shared, shard)).await?;
    json.to().map_err(|e| Error::unavailable(format!("the owner's answer does not read: {e}")))
}

async fn here(shared: &Shared, shard: u32) -> Result<Json, Error> {
    door::certain(shared, shard).await?;
    let until = Instant::now() + door::ANSWER;
    let read =
        shared.shards[shard as usize].ask(until, |answer| Ask::Read { subject: Subject::Fleet, answer });
    Ok(read.await?.0)
}

/// Agents that a pause keeps from work, as this coordinator knows the fleet.
fn agents(shared: &Shared, pause: &Pause) -> u64 {
    let inside = shared.fleet.lock();
    let concerned = inside.registry.iter().filter(|(key, member)| {
        pause.workspace.as_ref().is_none_or(|workspace| *workspace == key.workspace)
            && pause.capability.as_ref().is_none_or(|wanted| member.entry.capabilities.contains(wanted))
    });
    concerned.count() as u64
}

/// Attempts of a scope that have not stopped, of all shards that are to be covered.
async fn attempts(
    shared: &Shared,
    cover: &Cover,
    workspace: &Workspace,
    pause: &Pause,
) -> Result<Attempts, Error> {
    let until = Instant::now() + GATHER;
    let mut path = format!("/v1/fleet/attempts?everything={}", pause.workspace.is_none());
    if pause.since > Timestamp::default() {
        path.push_str("&followed=true");
    }
    if let Some(capability) = &pause.capability {
        path.push_str(&format!("&capability={}", door::escaped(capability.as_str())));
    }
    let here = |shards| attempts_here(shared, shards, pause, until).boxed();
    let there = |address: String, shards: Vec<u32>| {
        let path = &path;
        async move {
            let body = shared.forward.get(&address, path, Some(workspace), Some(&shards), GATHER).await?;
            serde_json::from_slice(&body)
                .map_err(|e| Error::unavailable(format!("the attempts of {address} do not read: {e}")))
        }
        .boxed()
    };
    let mut all = Attempts::default();
    for part in gather(shared, cover, until, here, there).await? {
        all.in_force += part.in_force;
        all.not_stopped_total += part.not_stopped_total;
        all.not_stopped.extend(part.not_stopped);
    }
    all.not_stopped.sort();
    all.not_stopped.truncate(NAMED);
    Ok(all)
}

async fn attempts_here(
    shared: &Shared,
    shards: Vec<u32>,
    pause: &Pause,
    until: Instant,
) -> Result<Attempts, Error> {
    shards_serve(shared, &shards, until).await?;
    let mut all = Attempts::default();
    for shard in shards {
        let pause = pause.clone();
        let told = shared.shards[shard as usize].ask(until, |answer| Ask::Attempts { pause, answer }).await?;
        let part: Attempts = told.0.to().map_err(|e| Error::new(Code::Internal, e.to_string()))?;
        all.in_force += part.in_force;
        all.not_stopped_total += part.not_stopped_total;
        all.not_stopped.extend(part.not_stopped);
    }
    Ok(all)
}
