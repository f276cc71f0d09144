//! A Redis server of our own, for embedded mode and tests: a child on loopback that keeps nothing.
//!
//! It dies with this process, even when that is killed with SIGKILL: `setpriv` sets the parent-death signal,
//! which the kernel sends when the *thread* that forked ends. So one thread spawns the child, stays with it
//! to its end, and ends only with it.
//!
//! ```text
//! start --spawn--> thread: spawn child, wait for its end or for "stop" --kill--> reaped
//!       --PING until it is our child that answers-->
//! ```

use super::client::{Redis, run_id_in};
use super::config::RedisConfig;
use super::error::RedisError;
use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::time::Instant;

/// How long a server may take to answer its first PING.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Ports tried when another process takes the one just found.
const PORTS_TRIED: usize = 5;
/// How often a child's unexpected end is looked for; an ordered one is not waited for this long.
const CHECK_CHILD_EVERY: Duration = Duration::from_millis(20);
/// Lines of the server's output kept for an error message.
const LINES_KEPT: usize = 10;

/// Why there is no embedded Redis.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedRedisError {
    /// There is no `redis-server` on the path.
    #[error(
        "redis-server is not installed: install the Debian package `redis-server`, or name a Redis that runs"
    )]
    NotInstalled,
    /// The process could not be started.
    #[error("redis-server could not be started: {0}")]
    Spawn(#[source] std::io::Error),
    /// It ended before it answered; its last lines say why.
    #[error("redis-server ended at once: {0}")]
    Ended(String),
    /// It runs and does not answer.
    #[error("redis-server does not answer: {0}")]
    NotReady(#[source] RedisError),
}

/// A running `redis-server`, ended with [`EmbeddedRedis::shutdown`], on drop, or with this process.
#[derive(Debug)]
pub struct EmbeddedRedis {
    port: u16,
    process_id: u32,
    stop: mpsc::Sender<()>,
    keeper: Option<JoinHandle<()>>,
}

/// What the keeper tells about its child.
enum Told {
    Spawned(u32),
    Failed(EmbeddedRedisError),
    Ended(String),
}

impl EmbeddedRedis {
    /// Starts a server on a free loopback port and waits until it answers.
    ///
    /// # Errors
    /// See [`EmbeddedRedisError`].
    pub async fn start() -> Result<EmbeddedRedis, EmbeddedRedisError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match EmbeddedRedis::start_on(free_port().map_err(EmbeddedRedisError::Spawn)?).await {
                Err(EmbeddedRedisError::Ended(why)) if tries < PORTS_TRIED => {
                    tracing::debug!(%why, "trying another port");
                }
                result => return result,
            }
        }
    }

    /// Starts a server on this loopback port and waits until it answers.
    ///
    /// # Errors
    /// See [`EmbeddedRedisError`]; `Ended` when the port is taken.
    pub async fn start_on(port: u16) -> Result<EmbeddedRedis, EmbeddedRedisError> {
        let (stop, stopped) = mpsc::channel();
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let keeper = std::thread::Builder::new()
            .name("redis-server".to_owned())
            .spawn(move || keep(port, &stopped, &tell))
            .map_err(EmbeddedRedisError::Spawn)?;
        let process_id = match told.recv().await {
            Some(Told::Spawned(process_id)) => process_id,
            Some(Told::Failed(error)) => return Err(error),
            Some(Told::Ended(why)) => return Err(EmbeddedRedisError::Ended(why)),
            None => return Err(EmbeddedRedisError::Ended("its keeper ended".to_owned())),
        };
        // From here on, dropping `server` ends the child.
        let server = EmbeddedRedis { port, process_id, stop, keeper: Some(keeper) };
        tokio::select! {
            ready = server.wait_ready() => ready.map(|()| server),
            end = told.recv() => match end {
                Some(Told::Ended(why)) => Err(EmbeddedRedisError::Ended(why)),
                _ => Err(EmbeddedRedisError::Ended("for no reason known".to_owned())),
            },
        }
    }

    /// `redis://127.0.0.1:<port>`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The server's process id.
    pub fn process_id(&self) -> u32 {
        self.process_id
    }

    /// Ends the server and waits until it is gone, well under a second. It has nothing to save, so it is killed.
    pub async fn shutdown(mut self) {
        let keeper = self.order_end();
        // The keeper cannot panic with anything worth telling; its end is what counts.
        let joined = tokio::task::spawn_blocking(move || keeper.map(JoinHandle::join)).await;
        tracing::debug!(ok = joined.is_ok(), "redis-server ended");
    }

    fn order_end(&mut self) -> Option<JoinHandle<()>> {
        // Fails only when the keeper has ended already, which is what is asked for.
        let _ = self.stop.send(());
        self.keeper.take()
    }

    /// Waits until this very child answers: another server may hold the port.
    async fn wait_ready(&self) -> Result<(), EmbeddedRedisError> {
        let redis = Redis::new(RedisConfig::new(self.url())).map_err(EmbeddedRedisError::NotReady)?;
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            // A call waits for the connection, so this goes round about once a second at most.
            let last = match redis.query::<String>(redis::cmd("INFO").arg("server")).await {
                Ok(info) if info.contains(&format!("process_id:{}\r\n", self.process_id)) => {
                    return run_id_in(&info).map(drop).map_err(EmbeddedRedisError::NotReady);
                }
                Ok(_) => RedisError::Unavailable("another server answers on its port".to_owned()),
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                return Err(EmbeddedRedisError::NotReady(last));
            }
            tokio::time::sleep(CHECK_CHILD_EVERY).await;
        }
    }
}

impl Drop for EmbeddedRedis {
    fn drop(&mut self) {
        if let Some(keeper) = self.order_end() {
            // The child is killed and reaped at once; a panic of the keeper has nothing to add.
            let _ = keeper.join();
        }
    }
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// The keeper thread: everything that happens to the child from first to last.
fn keep(port: u16, stopped: &mpsc::Receiver<()>, tell: &tokio::sync::mpsc::UnboundedSender<Told>) {
    let mut child = match spawn(port) {
        Ok(child) => child,
        Err(error) => {
            let _ = tell.send(Told::Failed(error));
            return;
        }
    };
    let _ = tell.send(Told::Spawned(child.id()));
    let output =
        child.stdout.take().map(|stdout| std::thread::spawn(move || last_lines(BufReader::new(stdout))));
    let unexpected = loop {
        match stopped.recv_timeout(CHECK_CHILD_EVERY) {
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Ok(()) | Err(mpsc::RecvTimeoutError::Disconnected) => break false,
        }
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(_)) | Err(_) => break true,
        }
    };
    // Both fail only when it is gone already.
    let _ = child.kill();
    let _ = child.wait();
    let lines = output.and_then(|reader| reader.join().ok()).unwrap_or_default();
    if unexpected {
        tracing::warn!(port, %lines, "redis-server ended by itself");
        let _ = tell.send(Told::Ended(lines));
    }
}

fn spawn(port: u16) -> Result<Child, EmbeddedRedisError> {
    let mut settings: Vec<String> = vec!["--port".to_owned(), port.to_string()];
    for (name, value) in [
        ("--bind", "127.0.0.1"),
        ("--protected-mode", "yes"),
        ("--save", ""),
        ("--appendonly", "no"),
        ("--loglevel", "warning"),
        ("--logfile", ""),
    ] {
        settings.extend([name.to_owned(), value.to_owned()]);
    }
    // Nothing is written unless someone asks for it by command; then not into the caller's folder.
    settings.extend(["--dir".to_owned(), std::env::temp_dir().to_string_lossy().into_owned()]);
    if !on_path("redis-server") {
        return Err(EmbeddedRedisError::NotInstalled);
    }
    let mut command = if on_path("setpriv") {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "redis-server"]);
        command
    } else {
        tracing::warn!(
            "setpriv (package util-linux) is missing: a SIGKILL of this process leaves redis-server behind"
        );
        Command::new("redis-server")
    };
    // A process group of its own, so that Ctrl-C at a terminal does not end it before we are done with it.
    command.args(settings).process_group(0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().map_err(EmbeddedRedisError::Spawn)
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Reads to the end, so that the pipe never fills, and keeps the last lines.
fn last_lines(output: impl BufRead) -> String {
    let mut kept = VecDeque::with_capacity(LINES_KEPT);
    for line in output.lines().map_while(Result::ok) {
        tracing::debug!(%line, "redis-server");
        if kept.len() == LINES_KEPT {
            kept.pop_front();
        }
        kept.push_back(line);
    }
    kept.into_iter().collect::<Vec<_>>().join("; ")
}
