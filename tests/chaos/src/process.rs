//! Programs that the harness starts: their logs in files, their ends in its hand.

use crate::Trouble;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, ChildStdin, Command};

/// A running program. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) name: String,
    child: Child,
    /// Closing it asks a child of ours to end.
    stdin: Option<ChildStdin>,
    log: PathBuf,
}

impl Process {
    /// Starts it, both outputs appended to `<folder>/<name>.log`, with none of the surroundings' `SYNOD_*` settings.
    pub(crate) fn start(name: &str, folder: &Path, mut command: Command) -> Result<Process, Trouble> {
        let log = folder.join(format!("{name}.log"));
        let file = OpenOptions::new().create(true).append(true).open(&log)?;
        for (setting, _) in std::env::vars_os() {
            let given = command.as_std().get_envs().any(|(key, value)| key == setting && value.is_some());
            if !given && setting.to_str().is_some_and(|s| s.starts_with("SYNOD_")) {
                command.env_remove(setting);
            }
        }
        command.stdin(Stdio::piped()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| Trouble::Start(name.to_owned(), error))?;
        let stdin = child.stdin.take();
        Ok(Process { name: name.to_owned(), child, stdin, log })
    }

    /// Its pid, while it has not been waited for.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.child.id().and_then(|pid| i32::try_from(pid).ok())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<(), Trouble> {
        let pid = self.pid().ok_or_else(|| Trouble::Ended(self.name.clone(), self.last_words()))?;
        kill(Pid::from_raw(pid), signal).map_err(|error| Trouble::Io(error.into()))
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<(), Trouble> {
        Ok(self.child.kill().await?)
    }

    /// Closes its stdin, which ends what is ours.
    pub(crate) fn ask_to_end(&mut self) {
        self.stdin = None;
    }

    /// Waits until it ends; after the limit it is killed, and that is an error.
    pub(crate) async fn end(&mut self, limit: Duration) -> Result<(), Trouble> {
        match tokio::time::timeout(limit, self.child.wait()).await {
            Ok(status) => match status?.success() {
                true => Ok(()),
                false => Err(Trouble::Ended(self.name.clone(), self.last_words())),
            },
            Err(_) => {
                self.child.kill().await?;
                Err(Trouble::Late(format!("{} does not end", self.name), limit))
            }
        }
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// The end of its log.
    pub(crate) fn last_words(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(2_000)..]).into_owned()
    }
}

/// A process' resident memory in KiB, as the kernel counts it, and the most that it ever was.
pub(crate) fn memory_kib(pid: &str) -> Result<(u64, u64), Trouble> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let figure = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kib.ok_or_else(|| Trouble::Wrong(format!("/proc/{pid}/status has no {name}")))
    };
    Ok((figure("VmRSS:")?, figure("VmHWM:")?))
}

/// Unix time in ms, by this machine's clock, which the brokers here share.
pub(crate) fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Ends when stdin does: who started us wants us to end, or is gone.
pub(crate) async fn stdin_ends() {
    let (tell, told) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        // Nothing is ever written there: it ends, or cannot be read, and either way it is over.
        drop(std::io::copy(&mut std::io::stdin(), &mut std::io::sink()));
        drop(tell);
    });
    drop(told.await);
}
