//! Forgets agents that are long gone: those that have left, and those that were lost and never came back.
//!
//! ```text
//!   every owner, of its own shards:  away for `agents_kept`?
//!     --> Redis: inbox, what it took and had, its heartbeat          (again if anything fails)
//!     --> ledger: AgentRemoved  --> directory: tombstone --> every coordinator forgets it
//! ```
//!
//! Redis first: while the ledger still says that it is away nobody is given work there. With an agent goes what is known of its
//! earlier process starts; one of those that tries again after `agents_kept` is taken for a new agent.

use crate::shard::Ask;
use crate::{Shared, duties};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use synod_fleet::AgentKey;
use synod_infra::redis::inbox::Inboxes;
use synod_infra::redis::presence::Heartbeats;
use synod_protocol::{Error, Id, Incarnation, Workspace};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// How often it is looked for them, where they are kept for long.
const EVERY: Duration = Duration::from_secs(60);
/// The most often.
const AT_MOST_EVERY: Duration = Duration::from_millis(200);
/// How long a shard may take to answer.
const ASK: Duration = Duration::from_secs(5);
/// Agents of one shard that are forgotten in one go.
pub(crate) const BATCH: usize = 256;

/// One that is away for long enough.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Away {
    pub(crate) workspace: Workspace,
    pub(crate) agent: Id,
    pub(crate) incarnation: Incarnation,
}

/// Looks until `stop`.
pub(crate) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let Some(kept) = shared.config.agents_kept else { return };
    let every = (kept / 10).clamp(AT_MOST_EVERY, EVERY);
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => return,
        }
        let outcome = look(&shared, kept).await;
        let said = outcome.map(|forgotten| format!("{forgotten} agents forgotten"));
        if let Err(error) = &said {
            tracing::info!(error, "agents that are long gone are not forgotten yet");
        }
        shared.duties.ran(duties::CLEANUP, said);
    }
}

async fn look(shared: &Shared, kept: Duration) -> Result<usize, String> {
    let kept_ms = u64::try_from(kept.as_millis()).unwrap_or(u64::MAX);
    let (mut forgotten, mut trouble) = (0, None);
    for shard in 0..shared.config.partitions {
        if !shared.tenures.holds(shard) {
            continue;
        }
        let handle = &shared.shards[shard as usize];
        let asked = handle.ask(Instant::now() + ASK, |answer| Ask::Away { kept_ms, answer }).await;
        let away: Vec<Away> = match asked.map_err(Error::from) {
            Ok((json, _)) => json.to().map_err(|e| e.to_string())?,
            Err(error) => {
                trouble = Some(format!("shard {shard}: {error}"));
                continue;
            }
        };
        for Away { workspace, agent, incarnation } in away {
            let key = AgentKey { workspace, agent };
            match forget_in_redis(shared, &key, &incarnation).await {
                Ok(()) => {
                    handle.forget(key, incarnation, kept_ms);
                    forgotten += 1;
                }
                Err(error) => trouble = Some(format!("agent {}: {error}", key.agent)),
            }
        }
    }
    trouble.map_or(Ok(forgotten), Err)
}

async fn forget_in_redis(
    shared: &Shared,
    key: &AgentKey,
    incarnation: &Incarnation,
) -> Result<(), synod_infra::redis::RedisError> {
    let inboxes = Inboxes::new(shared.redis.clone());
    inboxes.forget(&key.workspace, &key.agent, incarnation).await?;
    inboxes.forget_agent(&key.workspace, &key.agent).await?;
    Heartbeats::new(shared.redis.clone()).forget(&key.workspace, &key.agent).await
}
