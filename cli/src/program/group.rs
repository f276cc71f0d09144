//! Process groups: start one, see its leader end, signal all of it, reap it.
//!
//! The order matters. A group may be signalled only while its leader is not reaped: as long as the
//! leader is at least a zombie, nobody else can have its number. So the end is *seen* with
//! `waitid(WNOWAIT)`, and the reaping comes last.

use super::NoProgram;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
use nix::unistd::{AccessFlags, Pid, access};
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

/// Starts programs, all from one thread that lives as long as this does: the kernel sends the
/// parent-death signal when the *thread* that started a process ends, and a runtime's threads may.
#[derive(Debug)]
pub(super) struct Launcher {
    requests: mpsc::Sender<Request>,
    setpriv: Option<PathBuf>,
}

struct Request {
    command: Command,
    runtime: Handle,
    started: oneshot::Sender<io::Result<Group>>,
}

impl Launcher {
    pub(super) fn start() -> io::Result<Launcher> {
        let (requests, inbox) = mpsc::channel::<Request>();
        std::thread::Builder::new().name("synod-launcher".to_owned()).spawn(move || {
            for Request { mut command, runtime, started } in inbox {
                let _runtime = runtime.enter();
                // Nobody waits any more: the group that comes back is dropped, and with that killed.
                let _ = started.send(Group::start(&mut command));
            }
        })?;
        Ok(Launcher { requests, setpriv: setpriv() })
    }

    pub(super) fn dies_with_us(&self) -> bool {
        self.setpriv.is_some()
    }

    /// A command that runs `program`, by way of `setpriv` where that is there.
    pub(super) fn command(&self, program: &Path) -> Command {
        let Some(setpriv) = &self.setpriv else { return Command::new(program) };
        let mut command = Command::new(setpriv);
        command.args(["--pdeathsig", "KILL", "--"]).arg(program);
        command
    }

    pub(super) async fn launch(&self, command: Command) -> io::Result<Group> {
        let (started, answer) = oneshot::channel();
        let gone = || io::Error::other("the thread that starts programs has ended");
        let request = Request { command, runtime: Handle::current(), started };
        self.requests.send(request).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// util-linux' `setpriv`, if it knows the parent-death signal (busybox' does not).
fn setpriv() -> Option<PathBuf> {
    let path = find(OsStr::new("setpriv")).ok()?;
    let mut trial = std::process::Command::new(&path);
    trial.args(["--pdeathsig", "KILL", "--", "true"]);
    let ran = trial.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success()).then_some(path)
}

/// Finds a program as a shell does, and makes sure that it may be run.
pub(super) fn find(program: &OsStr) -> Result<PathBuf, NoProgram> {
    if program.as_bytes().contains(&b'/') {
        let path = PathBuf::from(program);
        return match runnable(&path) {
            Ok(()) => Ok(path),
            Err(why) => Err(NoProgram::NotExecutable { path, why }),
        };
    }
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let found = std::env::split_paths(&path).map(|dir| dir.join(program)).find(|path| runnable(path).is_ok());
    found.filter(|_| !program.is_empty()).ok_or_else(|| NoProgram::NotInPath(program.to_owned()))
}

fn runnable(path: &Path) -> io::Result<()> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    Ok(access(path, AccessFlags::X_OK)?)
}

/// One process group with its leader, our child. Dropped before it is reaped, it is killed.
pub(super) struct Group {
    leader: Child,
    id: Pid,
    /// Wakes us whenever some child of ours has changed.
    children: tokio::signal::unix::Signal,
    reaped: bool,
}

impl Group {
    fn start(command: &mut Command) -> io::Result<Group> {
        // Before the start, so that no end is missed.
        let children = signal(SignalKind::child())?;
        let leader = command.process_group(0).kill_on_drop(true).spawn()?;
        let id = leader.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw);
        let id = id.ok_or_else(|| io::Error::other("a process without a number"))?;
        Ok(Group { leader, id, children, reaped: false })
    }

    pub(super) fn take_pipes(&mut self) -> io::Result<(ChildStdin, ChildStdout, ChildStderr)> {
        match (self.leader.stdin.take(), self.leader.stdout.take(), self.leader.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok((stdin, stdout, stderr)),
            _ => Err(io::Error::other("a process without pipes")),
        }
    }

    /// Waits until the leader has ended; it is not reaped by this. May be dropped and asked again.
    pub(super) async fn exited(&mut self) {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while let Ok(WaitStatus::StillAlive) = waitid(Id::Pid(self.id), look) {
            if self.children.recv().await.is_none() {
                return;
            }
        }
    }

    /// To every process of the group. That none is left but the zombie is no failure.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.reaped {
            let _ = killpg(self.id, signal);
        }
    }

    /// Takes the leader's exit status; from then on the group's number means nothing.
    pub(super) async fn reap(&mut self, limit: Duration) -> io::Result<ExitStatus> {
        let status = match tokio::time::timeout(limit, self.leader.wait()).await {
            Ok(status) => status?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        self.reaped = true;
        Ok(status)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
    }
}
