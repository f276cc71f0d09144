//! What a snapshot shows, collected: every owner tells its shards and their agents, all at the same time.
//!
//! A shard answers in its own loop, once all that it shows is proven. What an agent holds and has done is told by each
//! coordinator for the shards that it owns, and added up. A shard that cannot be asked is named; its agents are told as
//! the directory has them.

use crate::Shared;
use crate::door::{self, Came, Where};
use crate::fleet::{Inside, wall_clock};
use crate::health::ShardStatus;
use crate::shard::Ask;
use futures::future::{Either, join_all};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;
use synod_fleet::{AgentKey, Member};
use synod_protocol::snapshot::{AgentMoment, PartTold, ShardMissing, ShardMoment};
use synod_protocol::view::{AgentStatistics, AgentStatus};
use synod_protocol::{Error, Id, Timestamp, Workspace, topics};
use tokio::time::Instant;

/// How long an owner is looked for.
const FIND: Duration = Duration::from_millis(250);
/// How long one may take to tell its part.
const ANSWER: Duration = Duration::from_secs(1);
/// Where a coordinator tells its part to another.
pub(crate) const PART: &str = "/v1/snapshots/part";

/// What one coordinator tells.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Part {
    coordinator: String,
    /// The agents of its shards.
    agents: BTreeMap<Workspace, Vec<AgentMoment>>,
    /// What agents of others' shards hold and have done for its own.
    elsewhere: BTreeMap<Workspace, Vec<Share>>,
    shards: Vec<ShardMoment>,
    missing: Vec<ShardMissing>,
}

/// What an agent holds and has done for the shards of one coordinator.
#[derive(Debug, Serialize, Deserialize)]
struct Share {
    agent_id: Id,
    in_flight: u32,
    statistics: AgentStatistics,
}

/// What all of them told.
#[derive(Debug, Default)]
pub(super) struct Collected {
    pub(super) agents: BTreeMap<Workspace, Vec<AgentMoment>>,
    pub(super) shards: Vec<ShardMoment>,
    pub(super) missing: Vec<ShardMissing>,
    pub(super) parts: Vec<PartTold>,
}

/// Asks every owner at once, for the agents of one workspace or of all.
pub(super) async fn everything(shared: &Shared, workspace: Option<&Workspace>) -> Collected {
    let began = Instant::now();
    let us = || u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (groups, mut missing) = owners(shared).await;
    let asked = groups.into_iter().map(|(at, shards)| async move {
        let asked_us = us();
        let told = match &at {
            None => Either::Left(async { Ok(part_here(shared, &shards, workspace).await) }),
            Some(address) => Either::Right(part_there(shared, address, &shards, workspace)),
        };
        let told = tokio::time::timeout(ANSWER, told).await;
        let told = told.unwrap_or_else(|_| Err(Error::unavailable("its owner has not answered in time")));
        let who = at.unwrap_or_else(|| shared.config.id.to_string());
        (shards, told, PartTold { coordinator: who, asked_us, answered_us: us() })
    });
    let (mut collected, mut shares) = (Collected::default(), Vec::new());
    for (shards, told, mut when) in join_all(asked).await {
        match told {
            Ok(part) => {
                when.coordinator = part.coordinator;
                collected.parts.push(when);
                collected.shards.extend(part.shards);
                missing.extend(part.missing);
                for (workspace, mut agents) in part.agents {
                    collected.agents.entry(workspace).or_default().append(&mut agents);
                }
                shares.push(part.elsewhere);
            }
            Err(error) => {
                let why = |shard| ShardMissing { shard, why: error.to_string() };
                missing.extend(shards.into_iter().map(why));
            }
        }
    }
    missing.sort_by_key(|missing| missing.shard);
    if !missing.is_empty() {
        by_hearsay(shared, workspace, &missing, &mut collected.agents);
    }
    collected.missing = missing;
    for agents in collected.agents.values_mut() {
        agents.sort_by(|a, b| a.agent_id.cmp(&b.agent_id));
    }
    collected.shards.sort_by_key(|shard| shard.shard);
    shares.into_iter().for_each(|shares| add(&mut collected.agents, shares));
    collected
}

/// Every shard's owner: `None` for us, else an address. Those without one in time are missing.
async fn owners(shared: &Shared) -> (BTreeMap<Option<String>, Vec<u32>>, Vec<ShardMissing>) {
    let until = Instant::now() + FIND;
    let found = (0..shared.config.partitions)
        .map(|shard| async move { (shard, door::find(shared, shard, Came::FromClient, until).await) });
    let (mut groups, mut missing) = (BTreeMap::<_, Vec<u32>>::new(), Vec::new());
    for (shard, found) in join_all(found).await {
        match found {
            Ok(Where::Here) => groups.entry(None).or_default().push(shard),
            Ok(Where::There(address)) => groups.entry(Some(address)).or_default().push(shard),
            Err(error) => missing.push(ShardMissing { shard, why: error.to_string() }),
        }
    }
    (groups, missing)
}

async fn part_there(
    shared: &Shared,
    address: &str,
    shards: &[u32],
    workspace: Option<&Workspace>,
) -> Result<Part, Error> {
    let path = if workspace.is_some() { PART.to_owned() } else { format!("{PART}?all=true") };
    let body = shared.forward.get(address, &path, workspace, Some(shards), ANSWER).await?;
    serde_json::from_slice(&body)
        .map_err(|e| Error::unavailable(format!("what {address} tells for a snapshot does not read: {e}")))
}

/// What this coordinator tells: these shards, their agents, and what it has given to others' agents.
pub(crate) async fn part_here(shared: &Shared, shards: &[u32], workspace: Option<&Workspace>) -> Part {
    let until = Instant::now() + ANSWER;
    let asked = shards.iter().map(|shard| async move { (*shard, shown(shared, *shard, until).await) });
    let mut part = Part { coordinator: shared.config.id.to_string(), ..Part::default() };
    let mut told = Vec::with_capacity(shards.len());
    for (shard, shown) in join_all(asked).await {
        match shown {
            Ok(moment) => {
                told.push(shard);
                part.shards.push(moment);
            }
            Err(error) => part.missing.push(ShardMissing { shard, why: error.to_string() }),
        }
    }
    let (now_ms, wall) = (shared.fleet.now_ms(), wall_clock());
    let inside = shared.fleet.lock();
    for (key, member) in of(&inside, workspace) {
        if told.contains(&shard_of(shared, key)) {
            let moment = moment(&inside, key, member, now_ms, wall);
            part.agents.entry(key.workspace.clone()).or_default().push(moment);
        } else if member.given_here() > 0 || member.statistics != AgentStatistics::default() {
            let share = Share {
                agent_id: key.agent.clone(),
                in_flight: member.given_here(),
                statistics: member.statistics,
            };
            part.elsewhere.entry(key.workspace.clone()).or_default().push(share);
        }
    }
    part
}

/// A shard as it is now, once all of that is proven.
async fn shown(shared: &Shared, shard: u32, until: Instant) -> Result<ShardMoment, Error> {
    door::certain(shared, shard).await?;
    shared.shards[shard as usize].ask(until, |answer| Ask::Show { answer }).await?;
    let status = shared.status.shards().into_iter().find(|status| status.shard == shard).unwrap_or_default();
    let ShardStatus { epoch, position, in_flight, owed, waiting, lag, tasks, .. } = status;
    Ok(ShardMoment {
        shard,
        owner: shared.config.id.clone(),
        epoch,
        position,
        in_flight: in_flight as u64,
        owed: owed as u64,
        waiting: waiting as u64,
        lag,
        tasks,
    })
}

fn shard_of(shared: &Shared, key: &AgentKey) -> u32 {
    topics::partition(key.agent.as_str().as_bytes(), shared.config.partitions)
}

/// The agents of one workspace or of all, in order.
fn of<'a>(
    inside: &'a Inside,
    workspace: Option<&'a Workspace>,
) -> impl Iterator<Item = (&'a AgentKey, &'a Member)> {
    inside
        .registry
        .iter()
        .filter(move |(key, _)| workspace.is_none_or(|workspace| key.workspace == *workspace))
}

fn moment(inside: &Inside, key: &AgentKey, member: &Member, now_ms: u64, wall: Timestamp) -> AgentMoment {
    let entry = &member.entry;
    let silent = inside.silence.since_heard(key, &entry.incarnation, now_ms);
    let at_work = member.given_here() > 0 && entry.status == AgentStatus::Idle;
    AgentMoment {
        agent_id: key.agent.clone(),
        incarnation: entry.incarnation.clone(),
        status: if at_work { AgentStatus::Running } else { entry.status },
        health: member.health(),
        breaker: crate::breakers::plain(&inside.guards, key),
        in_flight: member.given_here(),
        max_concurrency: entry.max_concurrency,
        statistics: member.statistics,
        last_seen_at: silent.map_or(entry.registered_at, |ms| wall.minus_millis(ms)),
        hearsay: false,
    }
}

/// The agents of shards that could not be asked, as this coordinator has heard of them.
fn by_hearsay(
    shared: &Shared,
    workspace: Option<&Workspace>,
    missing: &[ShardMissing],
    agents: &mut BTreeMap<Workspace, Vec<AgentMoment>>,
) {
    let (now_ms, wall) = (shared.fleet.now_ms(), wall_clock());
    let inside = shared.fleet.lock();
    for (key, member) in of(&inside, workspace) {
        let shard = shard_of(shared, key);
        if missing.iter().any(|missing| missing.shard == shard) {
            let moment = moment(&inside, key, member, now_ms, wall);
            // What it holds and has done for our own shards comes with our own share.
            let (in_flight, statistics) = (0, AgentStatistics::default());
            agents.entry(key.workspace.clone()).or_default().push(AgentMoment {
                hearsay: true,
                in_flight,
                statistics,
                ..moment
            });
        }
    }
}

/// Adds what agents hold and have done for the shards of a coordinator that does not own theirs.
fn add(agents: &mut BTreeMap<Workspace, Vec<AgentMoment>>, shares: BTreeMap<Workspace, Vec<Share>>) {
    for (workspace, shares) in shares {
        let Some(agents) = agents.get_mut(&workspace) else { continue };
        for share in shares {
            let Ok(at) = agents.binary_search_by(|agent| agent.agent_id.cmp(&share.agent_id)) else {
                continue;
            };
            let agent = &mut agents[at];
            agent.in_flight = agent.in_flight.saturating_add(share.in_flight);
            if agent.in_flight > 0 && agent.status == AgentStatus::Idle {
                agent.status = AgentStatus::Running;
            }
            let (sum, more) = (&mut agent.statistics, share.statistics);
            sum.assigned += more.assigned;
            sum.completed += more.completed;
            sum.failed += more.failed;
            sum.lost += more.lost;
        }
    }
}
