//! Killing one agent while it holds work, and seeing when the mesh notices.
//!
//! An agent works on a file for a moment only, so which one holds work changes faster than one can look
//! and kill. It is therefore stopped (SIGSTOP), looked at, and killed if the mesh says that it holds
//! something; else it goes on (SIGCONT) and another moment is waited for.

use super::agents::Agents;
use crate::mesh::Api;
use nix::sys::signal::Signal;
use std::time::{Duration, Instant};
use synod_protocol::{Error, Id};

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The deed.
#[derive(Clone, Debug)]
pub struct Killed {
    /// Who.
    pub agent_id: Id,
    /// What it held, as the mesh had it.
    pub held: u64,
    /// When.
    pub at: Instant,
}

/// Kills an agent, as soon as one is caught holding anything. Waits for such a moment without end: to be
/// dropped when the work is over. A mesh that does not answer is asked again.
pub async fn kill_one(agents: &Agents, api: &Api) -> Killed {
    loop {
        for id in agents.ids() {
            if let Some(killed) = kill_if_at_work(agents, id, api).await {
                return killed;
            }
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn kill_if_at_work(agents: &Agents, id: &Id, api: &Api) -> Option<Killed> {
    let process = agents.get(id)?;
    // Stopped, it finishes nothing: what it holds now it will hold when it is killed.
    let _stopped = Stopped::new(process);
    let held = holds(api, id).await.ok().filter(|held| *held > 0)?;
    process.signal(Signal::SIGKILL);
    Some(Killed { agent_id: id.clone(), held, at: Instant::now() })
}

/// A stopped process, which goes on whatever happens.
struct Stopped<'a>(&'a super::agents::AgentProcess);

impl<'a> Stopped<'a> {
    fn new(process: &'a super::agents::AgentProcess) -> Stopped<'a> {
        process.signal(Signal::SIGSTOP);
        Stopped(process)
    }
}

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::SIGCONT);
    }
}

async fn holds(api: &Api, id: &Id) -> Result<u64, Error> {
    let agent = api.get(&format!("/v1/agents/{id}"), &[], Duration::ZERO).await?;
    Ok(agent["in_flight"].as_u64().unwrap_or(0))
}

/// How long after the kill the mesh called the agent lost. Waits without end.
pub async fn noticed(killed: &Killed, api: &Api) -> Duration {
    let path = format!("/v1/agents/{}", killed.agent_id);
    loop {
        if let Ok(agent) = api.get(&path, &[], Duration::ZERO).await
            && agent["health"] == "lost"
        {
            return killed.at.elapsed();
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
