//! A coordinator: the built `synod`, to be killed, stopped, continued, ended and started again.

use crate::Trouble;
use crate::ground::Ground;
use crate::process::{Process, memory_kib, now_ms};
use nix::sys::signal::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// It may take so long to end in good order.
const END: Duration = Duration::from_secs(20);

/// A coordinator's place: the same address and settings for each of its lives.
#[derive(Debug)]
pub(crate) struct Coordinator {
    name: String,
    lives: u32,
    port: u16,
    kafka: String,
    redis: String,
    replication: u32,
    /// How far its wall clock is off, in hours.
    clock_off_h: i32,
    folder: PathBuf,
    process: Option<Process>,
}

impl Coordinator {
    /// One that is not started yet; through other addresses than the ground's where they are given.
    pub(crate) fn new(
        name: &str,
        ground: &Ground,
        folder: &Path,
        replication: u32,
    ) -> Result<Coordinator, Trouble> {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        Ok(Coordinator {
            name: name.to_owned(),
            lives: 0,
            port,
            kafka: ground.kafka.clone(),
            redis: ground.redis.clone(),
            replication,
            clock_off_h: 0,
            folder: folder.to_owned(),
            process: None,
        })
    }

    /// From its next life on it reaches them here.
    pub(crate) fn through(&mut self, kafka: Option<String>, redis: Option<String>) {
        self.kafka = kafka.unwrap_or_else(|| self.kafka.clone());
        self.redis = redis.unwrap_or_else(|| self.redis.clone());
    }

    /// From its next life on its wall clock is wrong.
    pub(crate) fn clock_off(&mut self, hours: i32) {
        self.clock_off_h = hours;
    }

    /// Its HTTP API.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Its name in claims, in this life.
    pub(crate) fn id(&self) -> String {
        format!("{}.{}", self.name, self.lives)
    }

    /// Begins another life.
    pub(crate) fn start(&mut self) -> Result<(), Trouble> {
        self.lives += 1;
        let mut command = Command::new(synod()?);
        command
            .args(["coordinator", "--log", "warn", "--id", &self.id()])
            .env("SYNOD_HTTP_LISTEN", format!("127.0.0.1:{}", self.port))
            .env("SYNOD_KAFKA_BROKERS", &self.kafka)
            .env("SYNOD_REDIS_URL", &self.redis)
            .env("SYNOD_REPLICATION", self.replication.to_string())
            .current_dir(&self.folder);
        if self.clock_off_h != 0 {
            command
                .env("LD_PRELOAD", clock_off(&self.folder)?)
                .env("CLOCK_OFF_S", (self.clock_off_h * 3_600).to_string());
        }
        self.process = Some(Process::start(&self.name, &self.folder, command)?);
        Ok(())
    }

    fn process(&self) -> Result<&Process, Trouble> {
        self.process.as_ref().ok_or_else(|| Trouble::Wrong(format!("{} was not started", self.name)))
    }

    /// SIGKILL; answers when, Unix ms.
    pub(crate) async fn kill(&mut self) -> Result<i64, Trouble> {
        let at = now_ms();
        match &mut self.process {
            Some(process) => process.kill().await?,
            None => return Err(Trouble::Wrong(format!("{} was not started", self.name))),
        }
        Ok(at)
    }

    /// SIGSTOP; answers when.
    pub(crate) fn stop(&self) -> Result<i64, Trouble> {
        let at = now_ms();
        self.process()?.signal(Signal::SIGSTOP)?;
        Ok(at)
    }

    /// SIGCONT.
    pub(crate) fn go_on(&self) -> Result<(), Trouble> {
        self.process()?.signal(Signal::SIGCONT)
    }

    /// SIGTERM, and waits for its end; answers when it was asked.
    pub(crate) async fn end(&mut self) -> Result<i64, Trouble> {
        let at = now_ms();
        self.process()?.signal(Signal::SIGTERM)?;
        match &mut self.process {
            Some(process) => process.end(END).await?,
            None => return Err(Trouble::Wrong(format!("{} was not started", self.name))),
        }
        Ok(at)
    }

    /// Its resident memory in KiB, as the kernel counts it, and the most that it ever was.
    pub(crate) fn memory_kib(&self) -> Result<(u64, u64), Trouble> {
        let pid =
            self.process()?.pid().ok_or_else(|| Trouble::Wrong(format!("{} does not run", self.name)))?;
        memory_kib(&pid.to_string())
    }

    /// Tasks that have been completed since the mesh was made, of the shards that it serves now.
    pub(crate) async fn completed(&self) -> Result<u64, Trouble> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        let asked = http.map_err(Trouble::wrong)?.get(format!("{}/v1/status", self.url())).send().await;
        let status: serde_json::Value =
            asked.map_err(Trouble::wrong)?.json().await.map_err(Trouble::wrong)?;
        let shards = status["shards"].as_array().into_iter().flatten();
        Ok(shards.filter_map(|shard| shard["tasks"]["completed"].as_u64()).sum())
    }

    /// Waits until `/readyz` says yes.
    pub(crate) async fn ready(&mut self, limit: Duration) -> Result<(), Trouble> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
        let http = http.map_err(Trouble::wrong)?;
        let began = tokio::time::Instant::now();
        let mut why = String::new();
        while began.elapsed() < limit {
            if let Some(process) = self.process.as_mut()
                && process.has_ended()
            {
                return Err(Trouble::Ended(self.name.clone(), process.last_words()));
            }
            match http.get(format!("{}/readyz", self.url())).send().await {
                Ok(answer) if answer.status().is_success() => return Ok(()),
                Ok(answer) => why = answer.text().await.unwrap_or_default(),
                Err(error) => why = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(25)).await; // the condition is asked again
        }
        Err(Trouble::Late(format!("{} is ready ({why})", self.name), limit))
    }
}

/// The built `synod`: `SYNOD_BIN`, or beside this program.
pub(crate) fn synod() -> Result<PathBuf, Trouble> {
    if let Some(path) = std::env::var_os("SYNOD_BIN") {
        return Ok(path.into());
    }
    let built = std::env::current_exe()?.with_file_name("synod");
    match built.is_file() {
        true => Ok(built),
        false => {
            Err(Trouble::Wrong(format!("{} is not built, and SYNOD_BIN names no other", built.display())))
        }
    }
}

/// Compiles the library that lies to a process about the time (`clock_off.c` says why it is our own).
fn clock_off(folder: &Path) -> Result<PathBuf, Trouble> {
    let library = folder.join("clock_off.so");
    if !library.is_file() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("clock_off.c");
        let made = std::process::Command::new("cc")
            .args(["-shared", "-fPIC", "-O2", "-o"])
            .args([&library, &source])
            .arg("-ldl")
            .output()?;
        if !made.status.success() {
            let said = String::from_utf8_lossy(&made.stderr);
            return Err(Trouble::Wrong(format!("{} does not compile: {said}", source.display())));
        }
    }
    Ok(library)
}
