//! A second coordinator for the time of the scene, as a process of its own: it takes its share of the shards, so that one that owns
//! a workflow can be killed while the mesh goes on.

use super::PeopleError;
use crate::mesh::{Dialling, Ending, Ground, abandoned, this_program};
use crate::output::Stop;
use crate::settings::Settings;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use synod_coordinator::{Coordinator, CoordinatorConfig};
use synod_infra::kafka::KafkaConfig;
use synod_protocol::{Id, topics};
use tokio::process::{Child, ChildStdin};

/// It joins, is handed its shards, and serves them within this.
const SERVES_WITHIN: Duration = Duration::from_secs(20);
/// Others take over what it held within this.
const TAKEN_OVER_WITHIN: Duration = Duration::from_secs(20);
/// Between two looks at something that must come true.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Names that are tried until one falls into a shard that it serves: with one shard of sixteen, all of these miss less than once in 10^27.
const NAMES: u32 = 1_000;
/// What it has begun may take so long when it is asked to end.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

/// The process; killed when dropped, and it ends by itself when we are gone.
pub(super) struct Second {
    id: Id,
    child: Child,
    _lifeline: Option<ChildStdin>,
}

/// What is looked at of `GET /v1/status`.
#[derive(Deserialize)]
struct Shown {
    shards: Vec<ShardShown>,
}

#[derive(Deserialize)]
struct ShardShown {
    shard: u32,
    phase: String,
    owner: Option<String>,
}

impl Second {
    /// Starts it on an embedded mesh, and waits until it serves a shard.
    pub(super) async fn join(ground: &Ground, run: &str) -> Result<Second, PeopleError> {
        let partitions = shards(ground).await?.len().to_string();
        let id: Id = format!("{run}-coordinator").parse()?;
        let mut command = this_program(&ground.dialling)?;
        command.args(["demo-coordinator", "--id", id.as_str(), "--partitions", &partitions]);
        let mut child = command.spawn()?;
        let second = Second { id, _lifeline: child.stdin.take(), child };
        until("a second coordinator that serves a shard", SERVES_WITHIN, async || {
            Ok(second.served(ground).await?.first().copied())
        })
        .await?;
        Ok(second)
    }

    /// A name, beginning so, of something that it owns; and its shard.
    pub(super) async fn owned(&self, ground: &Ground, begins: &str) -> Result<(Id, u32), PeopleError> {
        let served = self.served(ground).await?;
        let partitions = u32::try_from(shards(ground).await?.len()).unwrap_or(u32::MAX);
        let name = |n| format!("{begins}-{n}");
        let shard = |name: &str| topics::partition(name.as_bytes(), partitions);
        let found = (1..=NAMES).map(name).find(|name| served.contains(&shard(name)));
        let found = found
            .ok_or_else(|| PeopleError::unexpected("the second coordinator serves no shard any more"))?;
        let shard = shard(&found);
        Ok((found.parse()?, shard))
    }

    /// Kills it (SIGKILL) and waits until another serves that shard. Who that is, and how long it took.
    pub(super) async fn killed(
        mut self,
        ground: &Ground,
        shard: u32,
    ) -> Result<(String, Duration), PeopleError> {
        if !self.served(ground).await?.contains(&shard) {
            return Err(PeopleError::unexpected(format!(
                "{} was to own shard {shard}, and does not",
                self.id
            )));
        }
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok());
        let pid = pid.ok_or_else(|| PeopleError::unexpected("the second coordinator ended by itself"))?;
        kill(Pid::from_raw(pid), Signal::SIGKILL).map_err(std::io::Error::from)?;
        let at = Instant::now();
        self.child.wait().await?;
        let heir = until("another owner of the shard", TAKEN_OVER_WITHIN, async || {
            let all = shards(ground).await?;
            let serves = |one: &&ShardShown| one.shard == shard && one.phase == "serving";
            let owner = all.iter().find(serves).and_then(|one| one.owner.clone());
            Ok(owner.filter(|owner| *owner != self.id.as_str()))
        })
        .await?;
        Ok((heir, at.elapsed()))
    }

    async fn served(&self, ground: &Ground) -> Result<Vec<u32>, PeopleError> {
        let ours =
            |one: &ShardShown| one.phase == "serving" && one.owner.as_deref() == Some(self.id.as_str());
        Ok(shards(ground).await?.into_iter().filter(ours).map(|one| one.shard).collect())
    }
}

async fn shards(ground: &Ground) -> Result<Vec<ShardShown>, PeopleError> {
    let status = ground.api.get("/v1/status", &[], Duration::ZERO).await?;
    Ok(serde_json::from_value::<Shown>(status)?.shards)
}

/// Looks until there is something.
pub(super) async fn until<T>(
    what: &str,
    limit: Duration,
    look: impl AsyncFn() -> Result<Option<T>, PeopleError>,
) -> Result<T, PeopleError> {
    let deadline = Instant::now() + limit;
    loop {
        match look().await? {
            Some(found) => return Ok(found),
            None if Instant::now() < deadline => tokio::time::sleep(LOOK_EVERY).await,
            None => {
                return Err(PeopleError::unexpected(format!("{what}: not within {} s", limit.as_secs())));
            }
        }
    }
}

/// The process itself, until it is asked to end, or until whoever started it is gone.
///
/// # Errors
/// It cannot begin.
pub async fn serve(settings: &Settings, id: Id) -> Result<(), Stop> {
    let failed = |error: &dyn std::fmt::Display| Stop::Failed(error.to_string());
    let mut ending = Ending::listen().map_err(|e| failed(&e))?;
    let mesh = Dialling::of(settings, id.as_str());
    // There is one for embedded meshes only: its Kafka is the mock in the process that has started this one.
    let kafka = KafkaConfig::embedded(mesh.kafka.brokers, id.as_str());
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = settings.configure(CoordinatorConfig::new(id, kafka, mesh.redis, listen));
    let coordinator = Coordinator::start(config).await.map_err(|e| failed(&e))?;
    tokio::select! {
        _ = ending.asked() => {}
        () = abandoned() => {}
    }
    coordinator.shutdown(FINISH_WITHIN).await;
    Ok(())
}
