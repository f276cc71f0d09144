//! The demo's agents: processes of this very program, so that one can be killed like any process.
//!
//! An agent holds the read end of a pipe to us and ends when that closes: however we end, SIGKILL
//! included, none stays behind.

use crate::mesh::{Api, Dialling, this_program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use synod_protocol::{Code, Error, Id};
use tokio::process::{Child, ChildStdin, Command};

/// How long an agent may take from its start to its registration.
const READY_WITHIN: Duration = Duration::from_secs(20);
/// How long an agent may take to end in good order.
const END_WITHIN: Duration = Duration::from_secs(5);
/// Between two looks at something that must come true.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// All agents of one demo.
#[derive(Debug)]
pub struct Agents {
    processes: Vec<AgentProcess>,
    api: Api,
}

/// One of them.
#[derive(Debug)]
pub struct AgentProcess {
    id: Id,
    child: Child,
    /// Held here, since waiting for a child closes what it holds of its stdin.
    _lifeline: Option<ChildStdin>,
}

/// What one agent is for, in its own process.
#[derive(Clone, Debug)]
pub struct Post {
    /// The tree's root.
    pub root: PathBuf,
    /// Its id.
    pub id: Id,
    /// The demo's name.
    pub run: String,
    /// Attempts that it has at a time.
    pub concurrency: u32,
}

/// What the agents are for.
#[derive(Clone, Copy, Debug)]
pub struct Job<'a> {
    /// The tree's root.
    pub root: &'a Path,
    /// The demo's name, unique in the mesh; the agents' ids begin with it.
    pub run: &'a str,
    /// How many agents.
    pub agents: usize,
    /// Attempts that one has at a time.
    pub concurrency: u32,
}

/// Who takes part in a scene, in its own process.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The scene's name.
    pub scene: &'a str,
    /// The run's name, unique in the mesh; the members' ids begin with it.
    pub run: &'a str,
    /// Its name in the scene.
    pub name: &'a str,
}

/// The fleet is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum AgentsError {
    /// A process could not be started.
    #[error("an agent could not be started: {0}")]
    Start(#[from] io::Error),
    /// It ended by itself.
    #[error("agent {id} ended at once ({status}); its last words are above")]
    Ended {
        /// Which.
        id: Id,
        /// How.
        status: std::process::ExitStatus,
    },
    /// It runs, and the mesh does not know it.
    #[error("agent {id} is not registered after {} s", READY_WITHIN.as_secs())]
    NotRegistered {
        /// Which.
        id: Id,
    },
    /// The mesh said no, or nothing.
    #[error(transparent)]
    Mesh(#[from] Error),
}

impl Agents {
    /// Starts the agents, and waits until the mesh knows them all.
    ///
    /// # Errors
    /// See [`AgentsError`]; none is left running then.
    pub async fn start(job: Job<'_>, mesh: &Dialling, api: &Api) -> Result<Agents, AgentsError> {
        let processes = (1..=job.agents).map(|number| AgentProcess::start(job, number, mesh));
        Agents::registered(processes.collect::<Result<_, _>>()?, api).await
    }

    /// Starts the members of a scene, and waits until the mesh knows them all.
    ///
    /// # Errors
    /// See [`AgentsError`]; none is left running then.
    pub async fn members(all: &[Member<'_>], mesh: &Dialling, api: &Api) -> Result<Agents, AgentsError> {
        let processes = all.iter().map(|member| AgentProcess::member(*member, mesh));
        Agents::registered(processes.collect::<Result<_, _>>()?, api).await
    }

    async fn registered(processes: Vec<AgentProcess>, api: &Api) -> Result<Agents, AgentsError> {
        let mut agents = Agents { processes, api: api.clone() };
        for process in &mut agents.processes {
            process.registered(api).await?;
        }
        Ok(agents)
    }

    /// The agents that were started, dead ones included.
    pub fn ids(&self) -> impl Iterator<Item = &Id> {
        self.processes.iter().map(|process| &process.id)
    }

    /// One of them.
    pub fn get(&self, id: &Id) -> Option<&AgentProcess> {
        self.processes.iter().find(|process| process.id == *id)
    }

    /// Ends those that live, and takes all out of the fleet. What cannot be done is left to the mesh: it
    /// loses whoever does not answer.
    pub async fn end(mut self) {
        for process in &self.processes {
            process.signal(Signal::SIGTERM);
        }
        for process in &mut self.processes {
            if tokio::time::timeout(END_WITHIN, process.child.wait()).await.is_err() {
                tracing::warn!(agent = %process.id, "the agent does not end: it is killed");
                process.signal(Signal::SIGKILL);
            }
            match self.api.delete(&format!("/v1/agents/{}", process.id)).await {
                Ok(_) => {}
                Err(error) if matches!(error.code, Code::NotFound | Code::InvalidTransition) => {}
                Err(error) => tracing::warn!(agent = %process.id, %error, "the agent stays in the fleet"),
            }
        }
    }
}

impl AgentProcess {
    fn start(job: Job<'_>, number: usize, mesh: &Dialling) -> Result<AgentProcess, AgentsError> {
        let id: Id = format!("{}-{number}", job.run).parse()?;
        let mut command = this_program(mesh)?;
        command
            .arg("demo-agent")
            .args(["--id", id.as_str(), "--run", job.run])
            .args(["--concurrency", &job.concurrency.to_string()])
            .arg("--root")
            .arg(job.root);
        AgentProcess::run(id, command)
    }

    fn member(member: Member<'_>, mesh: &Dialling) -> Result<AgentProcess, AgentsError> {
        let id: Id = format!("{}-{}", member.run, member.name).parse()?;
        let mut command = this_program(mesh)?;
        command.arg("demo-member").args(["--id", id.as_str(), "--run", member.run]);
        command.args(["--scene", member.scene, "--name", member.name]);
        AgentProcess::run(id, command)
    }

    fn run(id: Id, mut command: Command) -> Result<AgentProcess, AgentsError> {
        let mut child = command.spawn()?;
        let lifeline = child.stdin.take();
        Ok(AgentProcess { id, child, _lifeline: lifeline })
    }

    async fn registered(&mut self, api: &Api) -> Result<(), AgentsError> {
        let deadline = Instant::now() + READY_WITHIN;
        let path = format!("/v1/agents/{}", self.id);
        loop {
            match api.get(&path, &[], Duration::ZERO).await {
                Ok(_) => return Ok(()),
                Err(error) if error.code == Code::NotFound || error.code.is_retryable() => {}
                Err(error) => return Err(error.into()),
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(AgentsError::Ended { id: self.id.clone(), status });
            }
            if Instant::now() >= deadline {
                return Err(AgentsError::NotRegistered { id: self.id.clone() });
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Sends it a signal. That it is gone already is no failure.
    pub fn signal(&self, signal: Signal) {
        // Until it is waited for, nobody else can have its number; afterwards tokio gives none.
        if let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}
