//! The fleet as a list: filtered, sorted, page by page.
//!
//! Each owner filters and sorts the agents of its shards and gives at most a page of them; the pages are merged where the
//! client asked. Views are made for what is shown alone.

use super::answer::{self, Page, Problem, Refusal};
use super::gather::{Cover, gather};
use super::request::{Caller, Params};
use crate::Shared;
use crate::door;
use crate::fleet::{Inside, status_of, wall_clock};
use crate::shard::Ask;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use futures::FutureExt as _;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::{AgentKey, Member};
use synod_protocol::view::{Agent, AgentStatus, Health};
use synod_protocol::{Capability, Code, Error, Id, Timestamp, Workspace, topics};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

/// How long a list may take.
const LIST: Duration = Duration::from_secs(5);
/// Agents of one page at most.
const LIMIT: usize = 10_000;

/// By what agents are sorted; their ids decide between equals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Sort {
    /// Their ids.
    #[default]
    AgentId,
    /// When they were last heard of.
    LastSeen,
    /// The attempts that they hold.
    InFlight,
    /// The share of their capacity that is in use.
    Load,
}

/// Which first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Order {
    /// The least.
    #[default]
    Asc,
    /// The greatest.
    Desc,
}

#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// 1 to 10,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before, under the same filter and order.
    cursor: Option<String>,
    /// Who can do this.
    #[param(value_type = Option<String>)]
    capability: Option<Capability>,
    /// Who does this: `idle`, `running`, `paused`, `completed` or `error`.
    status: Option<AgentStatus>,
    /// Who stands so: `healthy`, `suspected`, `lost` or `draining`.
    health: Option<Health>,
    /// Who has this label: `name=value`.
    label: Option<String>,
    /// `agent_id` by default.
    sort: Option<Sort>,
    /// `asc` by default.
    order: Option<Order>,
}

/// Where an agent stands in the order.
type Rank = (u64, Id);

/// What is asked, checked.
struct Asked {
    limit: usize,
    after: Option<Rank>,
    capability: Option<Capability>,
    status: Option<AgentStatus>,
    health: Option<Health>,
    label: Option<(String, String)>,
    sort: Sort,
    order: Order,
}

impl ListParams {
    fn check(&self) -> Result<Asked, Error> {
        let limit = self.limit.unwrap_or(100);
        if !(1..=LIMIT).contains(&limit) {
            return Err(
                Error::invalid(format!("limit is {limit}, it must be 1 to {LIMIT}")).with_field("/limit")
            );
        }
        let label = self.label.as_deref().map(|label| {
            let (name, value) = label
                .split_once('=')
                .ok_or_else(|| Error::invalid("label has no '='; it is name=value").with_field("/label"))?;
            Ok::<_, Error>((name.to_owned(), value.to_owned()))
        });
        let sort = self.sort.unwrap_or_default();
        let after = self.cursor.as_deref().map(|cursor| {
            let (value, id) = if sort == Sort::AgentId { ("0", cursor) } else { cursor.split_once('~')? };
            Some((value.parse().ok()?, id.parse().ok()?))
        });
        let after = after.map(|read| {
            read.ok_or_else(|| Error::invalid("this is no cursor of this order").with_field("/cursor"))
        });
        Ok(Asked {
            limit,
            after: after.transpose()?,
            capability: self.capability.clone(),
            status: self.status,
            health: self.health,
            label: label.transpose()?,
            sort,
            order: self.order.unwrap_or_default(),
        })
    }
}

fn load(in_flight: u32, capacity: u32) -> u64 {
    u64::from(in_flight) * 1_000_000 / u64::from(capacity.max(1))
}

impl Asked {
    fn wants(&self, member: &Member) -> bool {
        let entry = &member.entry;
        self.capability.as_ref().is_none_or(|wanted| entry.capabilities.contains(wanted))
            && self.status.is_none_or(|wanted| status_of(member) == wanted)
            && self.health.is_none_or(|wanted| member.health() == wanted)
            && self.label.as_ref().is_none_or(|(name, value)| entry.labels.get(name) == Some(value))
    }

    fn rank(
        &self,
        agent_id: &Id,
        last_seen: impl FnOnce() -> Timestamp,
        in_flight: u32,
        capacity: u32,
    ) -> Rank {
        let value = match self.sort {
            Sort::AgentId => 0,
            Sort::LastSeen => u64::try_from(last_seen().as_millis()).unwrap_or(0),
            Sort::InFlight => u64::from(in_flight),
            Sort::Load => load(in_flight, capacity),
        };
        (value, agent_id.clone())
    }

    fn rank_of(&self, agent: &Agent) -> Rank {
        self.rank(&agent.agent_id, || agent.last_seen_at, agent.in_flight, agent.max_concurrency)
    }

    fn compare(&self, a: &Rank, b: &Rank) -> Ordering {
        match self.order {
            Order::Asc => a.cmp(b),
            Order::Desc => b.cmp(a),
        }
    }

    fn is_behind(&self, rank: &Rank) -> bool {
        self.after.as_ref().is_none_or(|after| self.compare(after, rank) == Ordering::Less)
    }

    fn cursor(&self, agent: &Agent) -> String {
        let (value, id) = self.rank_of(agent);
        if self.sort == Sort::AgentId { id.to_string() } else { format!("{value}~{id}") }
    }
}

/// The agents of the workspace that match, in order. Where they are sorted by what changes, so may the pages meanwhile.
#[utoipa::path(get, path = "/v1/agents", params(ListParams), responses(
    (status = 200, description = "A page of agents", body = Page<Agent>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_agents(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let asked = params.check()?;
    let cover = Cover::of(&headers, shared.config.partitions)?;
    let until = Instant::now() + LIST;
    let path = format!("/v1/agents?{}", query.unwrap_or_default());
    let (shared, workspace) = (&*shared, caller.workspace);
    let here = |shards| listed_here(shared, shards, &workspace, &asked, until).boxed();
    let there = |address, shards| listed_there(shared, address, shards, &path, &workspace).boxed();
    let (mut agents, mut more) = (Vec::new(), false);
    let parts = gather(shared, &cover, until, here, there).await?;
    let is_merged = parts.len() > 1;
    for part in parts {
        more |= part.next_cursor.is_some();
        agents.extend(part.items);
    }
    if is_merged {
        agents.sort_by_cached_key(|agent| asked.rank_of(agent));
        if asked.order == Order::Desc {
            agents.reverse();
        }
    }
    more |= agents.len() > asked.limit;
    agents.truncate(asked.limit);
    let next_cursor = agents.last().filter(|_| more).map(|agent| asked.cursor(agent));
    let text = serde_json::to_string(&Part { items: agents, next_cursor });
    Ok(answer::json(StatusCode::OK, text.map_err(|e| Error::new(Code::Internal, e.to_string()))?))
}

/// The agents of some shards, in order.
#[derive(Serialize, Deserialize)]
struct Part {
    items: Vec<Agent>,
    next_cursor: Option<String>,
}

async fn listed_here(
    shared: &Shared,
    shards: Vec<u32>,
    workspace: &Workspace,
    asked: &Asked,
    until: Instant,
) -> Result<Part, Error> {
    shards_serve(shared, &shards, until).await?;
    Ok(Part { items: matching(shared, &shards, workspace, asked), next_cursor: None })
}

/// Each shard is asked for nothing but an answer: then it serves, and the fleet is as it knows it.
pub(super) async fn shards_serve(shared: &Shared, shards: &[u32], until: Instant) -> Result<(), Error> {
    let each = shards.iter().map(|shard| async move {
        door::certain(shared, *shard).await?;
        shared.shards[*shard as usize].ask(until, |answer| Ask::Show { answer }).await?;
        Ok::<_, Error>(())
    });
    futures::future::try_join_all(each).await.map(drop)
}

/// One agent more than a page, so that it shows whether there is another.
fn matching(shared: &Shared, shards: &[u32], workspace: &Workspace, asked: &Asked) -> Vec<Agent> {
    let (now, wall) = (shared.fleet.now_ms(), wall_clock());
    let all = shards.len() == shared.config.partitions as usize;
    let of_these = |key: &AgentKey| {
        all || shards.contains(&topics::partition(key.agent.as_str().as_bytes(), shared.config.partitions))
    };
    let inside: &Inside = &shared.fleet.lock();
    let view = |(key, member): (&AgentKey, &Member)| inside.view(key, member, now, wall);
    if asked.sort == Sort::AgentId && asked.order == Order::Asc {
        let after = asked.after.as_ref().map(|(_, id)| id);
        let found = inside.registry.after(workspace, after);
        let found = found.filter(|(key, member)| of_these(key) && asked.wants(member));
        return found.take(asked.limit + 1).map(view).collect();
    }
    let found = inside.registry.after(workspace, None);
    let found = found.filter(|(key, member)| of_these(key) && asked.wants(member));
    let ranked = found.map(|(key, member)| {
        let last_seen = || inside.last_seen(key, member, now, wall);
        (asked.rank(&key.agent, last_seen, member.in_flight(), member.entry.max_concurrency), (key, member))
    });
    let mut ranked: Vec<_> = ranked.filter(|(rank, _)| asked.is_behind(rank)).collect();
    ranked.sort_unstable_by(|(a, _), (b, _)| asked.compare(a, b));
    ranked.into_iter().take(asked.limit + 1).map(|(_, found)| view(found)).collect()
}

async fn listed_there(
    shared: &Shared,
    address: String,
    shards: Vec<u32>,
    path: &str,
    workspace: &Workspace,
) -> Result<Part, Error> {
    let body = shared.forward.get(&address, path, Some(workspace), Some(&shards), LIST).await?;
    serde_json::from_slice(&body)
        .map_err(|e| Error::unavailable(format!("the list of {address} does not read: {e}")))
}
