//! The binary as a process that runs: a mesh, an agent, a coordinator; ended with its test.

use crate::binary::synod;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

/// Longer than anything here takes, shorter than anybody's patience.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A process of ours; killed when dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Running {
        Running(command.spawn().unwrap())
    }

    pub(crate) fn id(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.0.id().cast_signed()), signal).unwrap();
    }

    /// Waits for its end; how it ended, and how long that took.
    pub(crate) fn ended(&mut self) -> (ExitStatus, Duration) {
        let began = Instant::now();
        let mut status = None;
        until("the end of a process", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap(), began.elapsed())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true");
        std::thread::sleep(Duration::from_millis(5)); // between two looks at the condition
    }
}

/// Running, not merely unburied.
pub(crate) fn is_alive(process: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{process}/stat")) else { return false };
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    !matches!(state, Some('Z' | 'X'))
}

/// The living processes whose command line names this, and that are not `but`.
pub(crate) fn processes_with(text: &str, but: &[u32]) -> Vec<u32> {
    let numbers =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.unwrap().file_name().to_str()?.parse().ok());
    numbers
        .filter(|number| !but.contains(number) && *number != std::process::id())
        .filter(|number| {
            let line = fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(text) && is_alive(*number)
        })
        .collect()
}

/// The children of a process.
pub(crate) fn children(parent: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).unwrap();
    let of = |task: fs::DirEntry| fs::read_to_string(task.path().join("children")).unwrap_or_default();
    let all: Vec<String> = tasks.map(|task| of(task.unwrap())).collect();
    all.iter().flat_map(|line| line.split_whitespace().map(|number| number.parse().unwrap())).collect()
}

/// An embedded mesh in a process of its own.
pub(crate) struct Up {
    pub(crate) process: Running,
    pub(crate) file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Up {
    pub(crate) fn start() -> Up {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("endpoints.json");
        let mut command = Up::command(&file);
        let process = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let mut up = Up { process, file, _folder: folder };
        until("a mesh", || up.file.exists() || up.process.child().try_wait().unwrap().is_some());
        assert!(up.file.exists(), "the mesh did not start");
        up
    }

    pub(crate) fn command(file: &Path) -> Command {
        let mut command = synod(&["up", "--http-listen", "127.0.0.1:0", "--endpoints"]);
        command.arg(file);
        command
    }

    /// A command line on this mesh.
    pub(crate) fn synod(&self, args: &[&str]) -> Command {
        let mut command = synod(args);
        command.env("SYNOD_ENDPOINTS", &self.file);
        command
    }

    /// Its answer as JSON; it must have ended so.
    pub(crate) fn json(&self, status: i32, args: &[&str]) -> Value {
        json(status, &mut self.synod(args))
    }
}

/// The answer of a command line as JSON; it must have ended so.
pub(crate) fn json(status: i32, command: &mut Command) -> Value {
    let output: Output = command.args(["--output", "json"]).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().rev().take(2_000).collect::<Vec<_>>();
    let end = |bytes: &[u8]| text(bytes).into_iter().rev().collect::<String>();
    let said = (end(&output.stdout), end(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{}\n{}", said.0, said.1);
    match output.stdout.is_empty() {
        true => Value::Null,
        false => serde_json::from_slice(&output.stdout).unwrap(),
    }
}
