//! A whole mesh in a test of yours, in a few lines: it starts `synod up` and ends it when it is dropped.
//!
//! ```no_run
//! use agent_sdk::testing::TestMesh;
//! use agent_sdk::{Agent, Context, task};
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mesh = TestMesh::start().await?;
//! let echo = |_: Context, text: String| async { Ok(text) };
//! let agent = Agent::builder("echo").capability("echo", echo).build(&mesh)?.start().await?;
//! let answer = mesh.client().call::<String>(task("echo").input("hello"), Duration::from_secs(10)).await?;
//! assert_eq!(answer.output, "hello");
//! agent.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! The binary is the one that `SYNOD_BIN` names, or `synod` on the path. Nothing survives the mesh. It dies with
//! this process even when that is killed, where `setpriv` is installed.

use crate::config::{ConfigError, MeshConfig};
use crate::mesh::{ConnectError, Mesh};
use std::ffi::OsString;
use std::io::Read;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// How long a mesh may take to be ready.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether it is.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes of its last words that are kept.
const LAST_WORDS: usize = 4096;

/// A mesh of this test's own. Use it as the [`Mesh`] that it is.
#[derive(Debug)]
pub struct TestMesh {
    mesh: Mesh,
    config: MeshConfig,
    stop: mpsc::Sender<()>,
    keeper: Option<JoinHandle<()>>,
    // The folder goes last, when nobody writes there any more.
    _folder: TempDir,
}

/// Why there is no mesh to test on.
#[derive(Debug, thiserror::Error)]
pub enum TestMeshError {
    /// There is no binary.
    #[error("there is no synod binary: set SYNOD_BIN to it, or put `synod` on the path")]
    NoBinary,
    /// It could not be started.
    #[error("{} could not be started: {source}", binary.display())]
    Spawn {
        /// What was started.
        binary: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It ended before it was ready; its last words.
    #[error("synod ended at once: {0}")]
    Ended(String),
    /// It is not ready in time.
    #[error("the mesh was not ready within {} s", .0.as_secs())]
    NotReady(Duration),
    /// What it says of itself does not read.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no handle on it.
    #[error(transparent)]
    Connect(#[from] ConnectError),
}

impl TestMesh {
    /// Starts a mesh on free loopback ports and waits until it is ready.
    ///
    /// # Errors
    /// See [`TestMeshError`].
    pub async fn start() -> Result<TestMesh, TestMeshError> {
        TestMesh::start_with(&[]).await
    }

    /// The same with more arguments for `synod up`.
    ///
    /// # Errors
    /// See [`TestMeshError`].
    pub async fn start_with(more: &[&str]) -> Result<TestMesh, TestMeshError> {
        TestMesh::start_binary(&binary().ok_or(TestMeshError::NoBinary)?, more).await
    }

    /// The same with a binary of your choice.
    ///
    /// # Errors
    /// See [`TestMeshError`].
    pub async fn start_binary(binary: &Path, more: &[&str]) -> Result<TestMesh, TestMeshError> {
        let spawn = |source| TestMeshError::Spawn { binary: binary.to_owned(), source };
        let folder = TempDir::with_prefix("synod-test-").map_err(spawn)?;
        let file = folder.path().join("endpoints.json");
        let mut arguments: Vec<OsString> = vec!["up".into(), "--endpoints".into(), file.clone().into()];
        arguments.extend(["--http-listen", "127.0.0.1:0"].map(OsString::from));
        arguments.extend(more.iter().map(OsString::from));
        let (stop, stopped) = mpsc::channel();
        let (tell, ended) = oneshot::channel();
        let program = binary.to_owned();
        // The kernel's parent-death signal follows the thread that forked: this one stays with the child.
        let keeper = std::thread::Builder::new()
            .name("synod-test-mesh".to_owned())
            .spawn(move || keep(&program, &arguments, &stopped, tell))
            .map_err(spawn)?;
        let config = ready(binary, &file, ended).await;
        let config = config.inspect_err(|_| {
            // It may have ended already.
            let _ = stop.send(());
        })?;
        let mesh = Mesh::connect(config.clone())?;
        Ok(TestMesh { mesh, config, stop, keeper: Some(keeper), _folder: folder })
    }

    /// How another process, or another handle, reaches it.
    pub fn config(&self) -> &MeshConfig {
        &self.config
    }

    /// The file that `SYNOD_ENDPOINTS` may name for another process.
    pub fn endpoints(&self) -> PathBuf {
        self._folder.path().join("endpoints.json")
    }
}

impl Deref for TestMesh {
    type Target = Mesh;

    fn deref(&self) -> &Mesh {
        &self.mesh
    }
}

impl Drop for TestMesh {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.stop.send(());
        if let Some(keeper) = self.keeper.take() {
            // The child is killed and reaped at once; a panic of the keeper has nothing to add.
            let _ = keeper.join();
        }
    }
}

/// `SYNOD_BIN`, or `synod` on the path.
fn binary() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("SYNOD_BIN").filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named));
    }
    on_path("synod")
}

fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

/// Waits for the file that says where the mesh is.
async fn ready(
    binary: &Path,
    file: &Path,
    mut ended: oneshot::Receiver<Result<String, std::io::Error>>,
) -> Result<MeshConfig, TestMeshError> {
    let deadline = Instant::now() + READY_WITHIN;
    loop {
        if file.exists() {
            match MeshConfig::from_endpoints(file) {
                // It may be half written.
                Err(ConfigError::Malformed { .. }) if Instant::now() < deadline => {}
                config => return Ok(config?),
            }
        }
        match ended.try_recv() {
            Ok(Ok(last_words)) => return Err(TestMeshError::Ended(last_words)),
            Ok(Err(source)) => return Err(TestMeshError::Spawn { binary: binary.to_owned(), source }),
            Err(_) => {}
        }
        if Instant::now() >= deadline {
            return Err(TestMeshError::NotReady(READY_WITHIN));
        }
        tokio::time::sleep(LOOK_EVERY).await; // between two looks
    }
}

/// The keeper thread: everything that happens to the child from first to last.
fn keep(
    binary: &Path,
    arguments: &[OsString],
    stopped: &mpsc::Receiver<()>,
    tell: oneshot::Sender<Result<String, std::io::Error>>,
) {
    let mut child = match spawn(binary, arguments) {
        Ok(child) => child,
        Err(error) => {
            // Whoever started it waits for this, or has given up.
            let _ = tell.send(Err(error));
            return;
        }
    };
    let words = child.stderr.take().map(|stderr| std::thread::spawn(move || last_words(stderr)));
    while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(LOOK_EVERY) {
        if !matches!(child.try_wait(), Ok(None)) {
            break;
        }
    }
    // Both fail only when it is gone already.
    let _ = child.kill();
    let _ = child.wait();
    let words = words.and_then(|reader| reader.join().ok()).unwrap_or_default();
    let _ = tell.send(Ok(words));
}

fn spawn(binary: &Path, arguments: &[OsString]) -> std::io::Result<Child> {
    let mut command = match on_path("setpriv") {
        Some(setpriv) => {
            let mut command = Command::new(setpriv);
            command.args(["--pdeathsig", "KILL"]).arg(binary);
            command
        }
        None => Command::new(binary),
    };
    // What this process talks to is none of the new mesh's business.
    for name in
        ["SYNOD_ENDPOINTS", "SYNOD_HTTP_LISTEN", "SYNOD_HTTP_URL", "SYNOD_REDIS_URL", "SYNOD_KAFKA_BROKERS"]
    {
        command.env_remove(name);
    }
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()
}

/// Reads to the end, so that the pipe never fills, and keeps the last of it.
fn last_words(mut stderr: impl Read) -> String {
    let (mut kept, mut chunk) = (Vec::new(), [0u8; 4096]);
    while let Ok(count @ 1..) = stderr.read(&mut chunk) {
        kept.extend_from_slice(&chunk[..count]);
        let over = kept.len().saturating_sub(LAST_WORDS);
        kept.drain(..over);
    }
    String::from_utf8_lossy(&kept).into_owned()
}
