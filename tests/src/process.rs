//! A program under test: its log in a file, its end with its handle.

use std::fs::File;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The most of a log that a failed test shows, in bytes.
const SHOWN: usize = 6_000;

/// A running program. Dropping it kills it.
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    _folder: TempDir,
}

impl Process {
    /// Starts it with both outputs in a file, nothing on stdin, and none of the surroundings' `SYNOD_*`
    /// settings but those given.
    pub fn start(mut command: Command, settings: &[(&str, &str)]) -> Process {
        let folder = tempfile::tempdir().expect("a folder for the log");
        let log = folder.path().join("log");
        let file = File::create(&log).expect("the log can be written");
        without_settings(&mut command);
        let name = command.get_program().to_string_lossy().into_owned();
        command.envs(settings.iter().copied()).stdin(Stdio::null());
        command.stdout(file.try_clone().expect("a second handle")).stderr(file);
        let child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        Process { name, child, log, _folder: folder }
    }

    /// Ends it as `kill -9` does, and waits until it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").args(["-s", name, &self.child.id().to_string()]).status();
        assert!(status.expect("kill runs").success(), "{} was not sent {name}", self.name);
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be asked")
    }

    /// What it has said.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The end of what it has said.
    pub fn last_words(&self) -> String {
        let log = self.log();
        let mut from = log.len().saturating_sub(SHOWN);
        while !log.is_char_boundary(from) {
            from += 1;
        }
        format!("--- {} said:\n{}", self.name, &log[from..])
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("{}", self.last_words());
        }
    }
}

/// The repository.
pub fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// The built `synod`: `SYNOD_BIN`, or beside the test executable.
///
/// # Panics
/// It is not there.
pub fn synod() -> PathBuf {
    if let Some(path) = std::env::var_os("SYNOD_BIN") {
        return path.into();
    }
    let test = std::env::current_exe().expect("the test knows itself");
    let built = test.parent().and_then(Path::parent).expect("target/<profile>/deps").join("synod");
    assert!(
        built.is_file(),
        "{} is not built; `cargo build -p synod` first, or name it in SYNOD_BIN",
        built.display()
    );
    built
}

/// None of the surroundings' `SYNOD_*` settings: they precede what a command finds by itself.
pub fn without_settings(command: &mut Command) {
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|n| n.starts_with("SYNOD_")) {
            command.env_remove(name);
        }
    }
}

/// Asks again until there is an answer.
///
/// # Panics
/// There is none within `limit`; says what was waited for.
pub async fn eventually<T, F>(what: &str, limit: Duration, mut ask: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let began = Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(began.elapsed() < limit, "{what}: not within {limit:?}");
        // The condition is asked again; this only keeps the loop from spinning.
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
