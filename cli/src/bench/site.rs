//! Where it is measured: a coordinator in a process of its own, so that what it uses can be told apart from
//! what clients and agents use.

use super::BenchError;
use super::process::Process;
use crate::mesh::{Dialling, this_program};
use agent_sdk::{Agent, Client, Context, Mesh, RunningAgent, TaskError};
use std::time::Duration;
use synod_infra::kafka::{TopicMaker, TopicSpec};
use synod_protocol::Json;
use tokio::process::Child;
use tokio::time::Instant;

/// Anything that should come soon and does not is an error after this.
pub(super) const LIMIT: Duration = Duration::from_secs(30);
/// A coordinator may take so long until it serves every shard.
const READY: Duration = Duration::from_secs(60);
/// It may take so long to end when asked.
const END: Duration = Duration::from_secs(15);

/// A mesh to measure.
pub struct Site {
    pub(super) dialling: Dialling,
    pub(super) partitions: u32,
    pub(super) mesh: Mesh,
    pub(super) client: Client,
    pub(super) coordinator: Process,
    child: Child,
    run: String,
}

impl Site {
    /// Starts a coordinator on these brokers and this Redis, and waits until it serves.
    ///
    /// # Errors
    /// It does not start or does not get ready.
    pub async fn open(dialling: Dialling, partitions: u32) -> Result<Site, BenchError> {
        Site::open_with(dialling, partitions, &[]).await
    }

    /// As [`Site::open`], the coordinator with these in its environment.
    ///
    /// # Errors
    /// As [`Site::open`].
    pub(super) async fn open_with(
        mut dialling: Dialling,
        partitions: u32,
        settings: &[(&str, String)],
    ) -> Result<Site, BenchError> {
        let listen = free_address()?;
        dialling.http = format!("http://{listen}");
        let mut command = this_program(&dialling)?;
        command
            .args(["coordinator", "--log", "warn", "--http-listen", &listen.to_string()])
            .env("SYNOD_PARTITIONS", partitions.to_string())
            .envs(settings.iter().map(|(name, value)| (*name, value)));
        let mut child = command.spawn()?;
        let pid = child.id().ok_or_else(|| BenchError::Coordinator("it ended at once".to_owned()))?;
        let ready = wait_ready(&dialling.http);
        tokio::select! {
            ready = ready => ready?,
            ended = child.wait() => {
                return Err(BenchError::Coordinator(format!("it ended before it was ready: {}", ended?)));
            }
        }
        let mesh = Mesh::connect(dialling.sdk())?;
        let random = uuid::Uuid::now_v7().simple().to_string();
        let run = format!("bench-{}", random.get(20..).unwrap_or(&random));
        Ok(Site {
            client: mesh.client(),
            mesh,
            partitions,
            coordinator: Process::of(pid),
            child,
            dialling,
            run,
        })
    }

    /// A name that no other run has.
    pub(super) fn named(&self, what: &str) -> String {
        format!("{}.{what}", self.run)
    }

    /// Makes topics of one partition.
    pub(super) async fn topics(&self, names: &[&str]) -> Result<(), BenchError> {
        let specs: Vec<TopicSpec> = names.iter().map(|name| TopicSpec::new(*name, 1, 0)).collect();
        TopicMaker::new(&self.dialling.kafka).ensure(&specs, LIMIT).await?;
        Ok(())
    }

    /// Agents that hand back what they are given, all with one capability.
    pub(super) async fn echoes(
        &self,
        capability: &str,
        count: usize,
        concurrency: u32,
    ) -> Result<Vec<RunningAgent>, BenchError> {
        let starts = (0..count).map(|n| async move {
            let agent = Agent::builder(format!("{capability}-{n}"))
                .capability(capability, echo)
                .concurrency(concurrency)
                .build(&self.mesh)?;
            Ok::<_, BenchError>(agent.start().await?)
        });
        futures::future::try_join_all(starts).await
    }

    /// Ends the coordinator in good order.
    ///
    /// # Errors
    /// It does not end.
    pub async fn leave(mut self) -> Result<(), BenchError> {
        if let Some(pid) = self.child.id().and_then(|pid| i32::try_from(pid).ok()) {
            let pid = nix::unistd::Pid::from_raw(pid);
            nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).map_err(std::io::Error::from)?;
        }
        match tokio::time::timeout(END, self.child.wait()).await {
            Ok(ended) => ended.map(drop)?,
            Err(_) => self.child.kill().await?,
        }
        Ok(())
    }
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("run", &self.run).finish_non_exhaustive()
    }
}

/// Ends agents; they leave the fleet.
pub(super) async fn end(agents: Vec<RunningAgent>) -> Result<(), BenchError> {
    for ended in futures::future::join_all(agents.into_iter().map(RunningAgent::stop)).await {
        ended?;
    }
    Ok(())
}

async fn echo(_: Context, input: Json) -> Result<Json, TaskError> {
    Ok(input)
}

/// An address that nobody listens on now. The child cannot tell us which one it would take by itself.
fn free_address() -> std::io::Result<std::net::SocketAddr> {
    std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()
}

async fn wait_ready(url: &str) -> Result<(), BenchError> {
    let until = Instant::now() + READY;
    let http = reqwest::Client::builder().no_proxy().build()?;
    loop {
        let why = match http.get(format!("{url}/readyz")).timeout(LIMIT).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => error.to_string(),
        };
        if Instant::now() >= until {
            return Err(BenchError::Coordinator(format!(
                "it is not ready within {} s: {why}",
                READY.as_secs()
            )));
        }
        tokio::time::sleep(Duration::from_millis(50)).await; // the condition is asked again
    }
}
