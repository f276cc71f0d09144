//! What a snapshot costs: of a mesh of a thousand agents, over HTTP from question to answer; and of an agent's own context,
//! beside one SET of as many bytes.

use super::figures::{Outcome, Samples, Side, Verdict};
use super::site::{LIMIT, Site};
use super::{BenchError, Effort};
use futures::future::join_all;
use serde_json::{Value, json};
use std::time::Duration;
use synod_infra::redis::bare;
use synod_infra::redis::context::{ContextOf, Contexts, Saved};
use synod_infra::redis::presence::{Beat, Heartbeats};
use synod_infra::redis::{Redis, RedisError};
use synod_protocol::checkpoint::{CheckpointCause, ContextForm, ContextNote, checksum};
use synod_protocol::{Id, Incarnation, Workspace};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Agents of the mesh that is looked at.
const AGENTS: usize = 1_000;
/// Registrations in one request.
const AT_ONCE: usize = 200;
/// An agent's own context.
const CONTEXT: usize = 16 << 10;

pub(super) async fn measure(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let mut outcome = mesh(site, effort).await?;
    let context = context(site, effort).await?;
    outcome.rows.extend(context.rows);
    outcome.verdicts.extend(context.verdicts);
    Ok(outcome)
}

async fn mesh(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let http = reqwest::Client::builder().no_proxy().timeout(LIMIT).build()?;
    let redis = redis(site)?;
    // A workspace of its own: what else lives in the mesh is not in the figure.
    let workspace: Workspace = site.named("snapshots").replace('.', "-").parse()?;
    let agents: Vec<(Id, Incarnation)> = (0..AGENTS)
        .map(|n| Ok((site.named(&format!("agent-{n}")).parse()?, Incarnation::from(uuid::Uuid::now_v7()))))
        .collect::<Result<_, synod_protocol::Error>>()?;
    for some in agents.chunks(AT_ONCE) {
        register(site, &http, &workspace, some).await?;
    }
    // So that nobody is missed meanwhile.
    let mut beats = JoinSet::new();
    beats.spawn(beat(redis, workspace.clone(), agents));
    let (rounds, count) = effort.of((7, 30), (2, 3));
    let (mut whole, mut span) = (Samples::default(), Samples::default());
    let url = format!("{}/v1/snapshots", site.dialling.http);
    for _ in 0..rounds {
        let (mut answered, mut collected) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let began = Instant::now();
            let request = http.post(&url).header("synod-workspace", workspace.as_str());
            let taken: Value = request.send().await?.json().await?;
            answered.push(began.elapsed().as_secs_f64() * 1e3);
            let total = taken["agents"]["total"].as_u64().unwrap_or(0);
            if total != AGENTS as u64 || taken.get("missing").is_some() {
                return Err(BenchError::Missing(format!(
                    "a snapshot shows {total} of {AGENTS} agents: {taken}"
                )));
            }
            collected.push(taken["span_us"].as_f64().unwrap_or(0.0) / 1e3);
            let id = taken["snapshot_id"].as_str().unwrap_or_default();
            let request = http.delete(format!("{url}/{id}")).header("synod-workspace", workspace.as_str());
            request.send().await?.error_for_status()?;
        }
        whole.round(answered);
        span.round(collected);
    }
    Ok(Outcome {
        rows: vec![
            whole.row("snapshots", format!("mesh of {AGENTS} agents: taken, kept, answered"), "ms"),
            span.row("snapshots", format!("mesh of {AGENTS} agents: collected"), "ms"),
        ],
        verdicts: vec![Verdict::goal(
            format!("snapshots: a mesh of {AGENTS} agents in ms"),
            whole.spread(),
            Side::AtMost,
            5.0,
        )],
    })
}

async fn register(
    site: &Site,
    http: &reqwest::Client,
    workspace: &Workspace,
    some: &[(Id, Incarnation)],
) -> Result<(), BenchError> {
    let events: Vec<Value> = some
        .iter()
        .map(|(id, incarnation)| {
            let data = json!({"agent_id": id, "incarnation": incarnation.to_string(),
                "capabilities": [site.named("snapshots")], "max_concurrency": 4, "labels": {"zone": "a"}});
            json!({"specversion": "1.0", "id": format!("register-{incarnation}"), "source": "/bench",
                "type": "synod.agent.register", "synodworkspace": workspace, "data": data})
        })
        .collect();
    let body = serde_json::to_vec(&events)?;
    let request = http.post(format!("{}/v1/commands", site.dialling.http)).body(body);
    let answer = request.header("content-type", "application/cloudevents-batch+json").send().await?;
    let items: Vec<Value> = answer.error_for_status()?.json().await?;
    match items.iter().find(|item| item["status"].as_u64().is_none_or(|status| status >= 300)) {
        Some(item) => Err(BenchError::Missing(format!("an agent was not registered: {item}"))),
        None => Ok(()),
    }
}

async fn beat(redis: Redis, workspace: Workspace, agents: Vec<(Id, Incarnation)>) {
    let heartbeats = Heartbeats::new(redis);
    let mut every = tokio::time::interval(Duration::from_secs(1));
    for beat in 1.. {
        every.tick().await;
        let all = agents.iter().map(|(agent_id, incarnation)| {
            let beat = Beat {
                workspace: workspace.clone(),
                agent_id: agent_id.clone(),
                incarnation: incarnation.clone(),
                beat,
                in_flight: vec![],
                load: None,
                present: true,
            };
            let heartbeats = &heartbeats;
            async move { heartbeats.beat(&beat, None).await }
        });
        if let Some(error) = join_all(all).await.into_iter().find_map(Result::err) {
            tracing::warn!(%error, "heartbeats of the bench");
        }
    }
}

/// In turn, call by call, so that what else the machine does falls on both alike.
async fn context(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let redis = redis(site)?;
    let contexts = Contexts::new(redis.clone());
    let of = ContextOf {
        workspace: Workspace::default_name(),
        agent: site.named("context").parse()?,
        incarnation: Incarnation::from(uuid::Uuid::now_v7()),
        order: 1,
    };
    let key = format!("synod:{{bench}}:{}", site.named("set"));
    let bytes: Vec<u8> = (0..CONTEXT).map(|n| (n * 31 % 251) as u8).collect();
    let (rounds, count) = effort.of((9, 1_000), (2, 20));
    let (mut ours, mut theirs) = (Samples::default(), Samples::default());
    let mut known = 0;
    for _ in 0..rounds {
        let (mut saves, mut sets) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let began = Instant::now();
            bare::set(&redis, &key, &bytes).await.map_err(|error| away(&error))?;
            sets.push(began.elapsed().as_secs_f64() * 1e6);
            let began = Instant::now();
            let note = ContextNote {
                incarnation: of.incarnation.clone(),
                cause: CheckpointCause::Hand,
                form: ContextForm::Bytes,
                bytes: bytes.len() as u64,
                checksum: checksum(&bytes),
            };
            match contexts.save(&of, &note, &bytes, known, 10).await.map_err(|error| away(&error))? {
                Saved::Kept { version, .. } => known = version,
                Saved::Fenced { by } => return Err(BenchError::Missing(format!("fenced by {by}"))),
            }
            saves.push(began.elapsed().as_secs_f64() * 1e6);
        }
        ours.round(saves);
        theirs.round(sets);
    }
    Ok(Outcome {
        rows: vec![
            theirs.row("snapshots", "SET of 16 KiB", "µs"),
            ours.row("snapshots", "context of 16 KiB: checksum, fence, version, kept", "µs"),
        ],
        verdicts: vec![Verdict::goal(
            "snapshots: a context of 16 KiB over one SET",
            ours.over(&theirs),
            Side::AtMost,
            1.2,
        )],
    })
}

fn redis(site: &Site) -> Result<Redis, BenchError> {
    Redis::new(site.dialling.redis.clone()).map_err(|error| away(&error))
}

fn away(error: &RedisError) -> BenchError {
    BenchError::Missing(error.to_string())
}
