//! Any program as an agent: JSON on stdin, JSON or text on stdout, exit status 0 for done.
//!
//! One attempt is one process group, so that what the program started ends with it:
//!
//! ```text
//! input ──> stdin │ program (leader of its group) │ stdout ──> output, at most OUTPUT_BYTES
//!                 │   └─ whatever it starts       │ stderr ──> its last STDERR_BYTES
//!
//! exits            ──────────────────────────────────> SIGKILL to what is left of the group
//! time limit, cancel, too much output ──> SIGTERM ──> ended, or `grace` is over ──> SIGKILL, alike
//! this process is killed ──> the program gets SIGKILL, where `setpriv` can arrange that
//! ```
//!
//! What leaves the group (`setsid`) is out of reach; it cannot hold up the answer, though.

mod group;
mod outcome;
mod pipes;

pub use outcome::{DATA_ERROR, Output, ProgramFailure};

use group::Launcher;
use nix::sys::signal::Signal;
use outcome::End;
use pipes::{Capped, Tail};
use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Bytes of output that a program may give, as JSON: a payload's 256 KiB, less what is written
/// around it (the task's id, the attempt's token).
pub const OUTPUT_BYTES: usize = 256 * 1024 - 1024;
/// Bytes of stderr that are kept, the last ones.
pub const STDERR_BYTES: usize = 8 * 1024;
/// From SIGTERM to SIGKILL, unless told otherwise.
pub const GRACE: Duration = Duration::from_secs(2);
/// How long a stdout is read that stays open though the whole group has ended.
const DRAIN: Duration = Duration::from_millis(500);
/// How long a process may take to go after SIGKILL.
const REAP: Duration = Duration::from_secs(5);

/// Runs one program, once per attempt; several at once are fine.
#[derive(Debug)]
pub struct ProgramRunner {
    program: PathBuf,
    args: Vec<OsString>,
    grace: Duration,
    launcher: Launcher,
}

/// The program cannot be run at all; said when the agent starts, not when work arrives.
#[derive(Debug, thiserror::Error)]
pub enum NoProgram {
    /// Nothing in `PATH` has this name.
    #[error("there is no program {0:?} in PATH")]
    NotInPath(OsString),
    /// It was named with a `/` and is not there, or no file, or must not be run.
    #[error("cannot run {path:?}: {why}")]
    NotExecutable {
        /// As named.
        path: PathBuf,
        /// What the system said.
        why: io::Error,
    },
    /// The thread that starts programs cannot be made.
    #[error("cannot start a thread: {0}")]
    Thread(io::Error),
}

/// What one attempt is given.
#[derive(Debug)]
pub struct Call<'a> {
    /// The task's input, one JSON value; the program reads it from stdin, with a line feed behind.
    pub input: &'a str,
    /// What else it may want to know, in its environment.
    pub variables: TaskVariables<'a>,
    /// How long it may take, without [`GRACE`].
    pub limit: Duration,
    /// Cancelled when the result is no longer wanted.
    pub cancel: &'a CancellationToken,
}

/// The task's circumstances, as environment variables of the program.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskVariables<'a> {
    /// `SYNOD_TASK_ID`
    pub task_id: &'a str,
    /// `SYNOD_ATTEMPT`, from 1
    pub attempt: u32,
    /// `SYNOD_CAPABILITY`
    pub capability: &'a str,
    /// `SYNOD_AGENT_ID`
    pub agent_id: &'a str,
    /// `SYNOD_WORKSPACE`
    pub workspace: &'a str,
    /// `SYNOD_DEADLINE`, RFC 3339, if there is one
    pub deadline: Option<&'a str>,
    /// `TRACEPARENT`, if the task is traced
    pub traceparent: Option<&'a str>,
}

impl ProgramRunner {
    /// Finds the program (in `PATH`, or as a path if it has a `/`).
    ///
    /// # Errors
    /// It is not there or cannot be run.
    pub fn new(program: &OsStr, args: Vec<OsString>) -> Result<ProgramRunner, NoProgram> {
        let program = group::find(program)?;
        let launcher = Launcher::start().map_err(NoProgram::Thread)?;
        Ok(ProgramRunner { program, args, grace: GRACE, launcher })
    }

    /// With another time between SIGTERM and SIGKILL.
    #[must_use]
    pub fn with_grace(self, grace: Duration) -> ProgramRunner {
        ProgramRunner { grace, ..self }
    }

    /// Where the program is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Whether the program is killed when this process is: `setpriv` of util-linux is there.
    pub fn dies_with_us(&self) -> bool {
        self.launcher.dies_with_us()
    }

    /// Runs the program once, to its end: when this returns, or its future is dropped, its process
    /// group is gone. Takes at most the limit, the grace and a few seconds. Must be called within a
    /// tokio runtime with I/O and time.
    ///
    /// # Errors
    /// The program failed, was ended, or gave no output that can be used; see [`ProgramFailure`].
    pub async fn run(&self, call: Call<'_>) -> Result<Output, ProgramFailure> {
        let mut group =
            self.launcher.launch(self.command(&call.variables)).await.map_err(ProgramFailure::NotStarted)?;
        let (mut stdin, mut stdout, mut stderr) = group.take_pipes().map_err(ProgramFailure::NotStarted)?;
        let (over, mut too_much) = oneshot::channel();
        let mut out = Capped::new(OUTPUT_BYTES, over);
        let mut err = Tail::new(STDERR_BYTES);

        let end = {
            let feed = async {
                // A program need not read its input: a pipe closed early is no failure.
                let _ = stdin.write_all(call.input.as_bytes()).await;
                let _ = stdin.write_all(b"\n").await;
                drop(stdin);
            };
            let mut pump = pin!(async { tokio::join!(feed, out.fill(&mut stdout), err.fill(&mut stderr)) });
            let mut pumped = false;
            let mut limit = pin!(tokio::time::sleep(call.limit));
            let end = loop {
                tokio::select! {
                    biased;
                    () = group.exited() => break End::Exited,
                    Ok(()) = &mut too_much => break End::TooMuch,
                    () = call.cancel.cancelled() => break End::Cancelled,
                    () = &mut limit => break End::TimeLimit,
                    _ = &mut pump, if !pumped => pumped = true,
                }
            };
            if end != End::Exited {
                group.signal(Signal::SIGTERM);
                // Ended in good order: the program is gone, and nobody holds its pipes.
                let orderly = async {
                    if !pumped {
                        pump.as_mut().await;
                        pumped = true;
                    }
                    group.exited().await;
                };
                let _ = timeout(self.grace, orderly).await;
            }
            group.signal(Signal::SIGKILL);
            if !pumped {
                let _ = timeout(DRAIN, pump).await;
            }
            end
        };
        let status = group.reap(REAP).await.map_err(ProgramFailure::NotEnded)?;
        outcome::judge(end, status, call.limit, out, &err)
    }

    fn command(&self, variables: &TaskVariables<'_>) -> Command {
        let mut command = self.launcher.command(&self.program);
        command.args(&self.args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
            .env("SYNOD_TASK_ID", variables.task_id)
            .env("SYNOD_ATTEMPT", variables.attempt.to_string())
            .env("SYNOD_CAPABILITY", variables.capability)
            .env("SYNOD_AGENT_ID", variables.agent_id)
            .env("SYNOD_WORKSPACE", variables.workspace);
        for (name, value) in [("SYNOD_DEADLINE", variables.deadline), ("TRACEPARENT", variables.traceparent)]
        {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    }
}
