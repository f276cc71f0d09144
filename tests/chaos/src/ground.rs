//! What the mesh stands on: Kafka and Redis of this run's own, by `scripts/services`.

use crate::Trouble;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::process::Command;

/// A service may take so long to start or to end.
const ACT: Duration = Duration::from_secs(150);

/// Brokers and Redis. [`Ground::down`] ends them; so does dropping it, without being able to wait politely.
#[derive(Debug)]
pub(crate) struct Ground {
    folder: PathBuf,
    pub(crate) brokers: u32,
    /// `host:port`, comma separated.
    pub(crate) kafka: String,
    /// `redis://host:port/`
    pub(crate) redis: String,
    is_up: bool,
    /// Where a disk of its own is mounted.
    disk: Option<PathBuf>,
}

impl Ground {
    /// Starts them, with their data in `folder`.
    pub(crate) async fn up(folder: PathBuf, brokers: u32) -> Result<Ground, Trouble> {
        std::fs::create_dir_all(&folder)?;
        let (kafka, redis) = Default::default();
        let mut ground = Ground { folder, brokers, kafka, redis, is_up: true, disk: None };
        let exports = ground.act(&["up", "--brokers", &brokers.to_string(), "--second-listener"]).await?;
        for line in exports.lines() {
            match line.split_once('=') {
                Some(("export SYNOD_KAFKA_BROKERS", value)) => ground.kafka = value.to_owned(),
                Some(("export SYNOD_REDIS_URL", value)) => ground.redis = value.to_owned(),
                _ => {}
            }
        }
        match ground.kafka.is_empty() || ground.redis.is_empty() {
            true => Err(Trouble::Services(format!("scripts/services up said: {exports}"))),
            false => Ok(ground),
        }
    }

    /// `scripts/services WORDS…`; what it says on stdout.
    pub(crate) async fn act(&self, words: &[&str]) -> Result<String, Trouble> {
        let run = Command::new(root().join("scripts/services"))
            .args(words)
            .env("SYNOD_SERVICES_DIR", &self.folder)
            .env("SYNOD_KAFKA_PORT", "free")
            .env("SYNOD_REDIS_PORT", "free")
            .kill_on_drop(true)
            .output();
        let late = |_| Trouble::Late(format!("scripts/services {words:?}"), ACT);
        let output = tokio::time::timeout(ACT, run).await.map_err(late)??;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(Trouble::Services(format!("scripts/services {words:?}: {said}")))
            }
        }
    }

    /// A command to Redis.
    pub(crate) async fn redis(&self, words: &[&str]) -> Result<String, Trouble> {
        let run = Command::new("redis-cli")
            .args(["-e", "-u", self.redis.trim_end_matches('/')])
            .args(words)
            .output();
        let output = run.await?;
        match output.status.success() {
            true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
            false => {
                let said = String::from_utf8_lossy(&output.stderr);
                Err(Trouble::Services(format!("redis-cli {words:?}: {said}")))
            }
        }
    }

    /// Redis' data, for as long as it does not run.
    pub(crate) fn redis_data(&self) -> PathBuf {
        self.folder.join("redis/data")
    }

    /// A broker's folder; its log is in `data` there.
    pub(crate) fn broker(&self, n: u32) -> PathBuf {
        self.folder.join(format!("kafka-{n}"))
    }

    /// Port of Redis.
    pub(crate) fn redis_port(&self) -> u16 {
        let port = self.redis.trim_end_matches('/').rsplit(':').next();
        port.and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    /// First broker's port.
    pub(crate) fn kafka_port(&self) -> u16 {
        let first = self.kafka.split(',').next().and_then(|at| at.rsplit(':').next());
        first.and_then(|port| port.parse().ok()).unwrap_or_default()
    }

    /// Moves the first broker's log to a disk of its own, in memory, of so many MiB. Wants root.
    pub(crate) async fn small_disk(&mut self, mib: u32) -> Result<(), Trouble> {
        self.act(&["stop", "kafka", "1"]).await?;
        let (data, was) = (self.broker(1).join("data"), self.broker(1).join("data.was"));
        std::fs::rename(&data, &was)?;
        std::fs::create_dir(&data)?;
        let size = format!("size={mib}m");
        run("mount", &["-t", "tmpfs", "-o", &size, "synod-chaos"], &data)?;
        self.disk = Some(data.clone());
        run("cp", &["-a", "--no-target-directory", &was.to_string_lossy()], &data)?;
        self.act(&["start", "kafka", "1"]).await.map(drop)
    }

    /// Ends them and removes their data.
    pub(crate) async fn down(mut self) -> Result<(), Trouble> {
        if let Some(disk) = self.disk.take() {
            self.act(&["down"]).await?;
            run("umount", &[], &disk)?;
        }
        self.act(&["down", "--wipe"]).await?;
        self.is_up = false;
        Ok(())
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        if self.is_up {
            if let Some(disk) = self.disk.take()
                && let Err(error) = run("umount", &["--lazy"], &disk)
            {
                eprintln!("{error}");
            }
            let ended = std::process::Command::new(root().join("scripts/services"))
                .args(["down", "--wipe"])
                .env("SYNOD_SERVICES_DIR", &self.folder)
                .output();
            if !ended.is_ok_and(|output| output.status.success()) {
                eprintln!("the services in {} could not be ended", self.folder.display());
            }
        }
    }
}

/// `PROGRAM WORDS… PATH`
fn run(program: &str, words: &[&str], path: &Path) -> Result<(), Trouble> {
    let output = std::process::Command::new(program).args(words).arg(path).output()?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Trouble::Services(format!("{program} {words:?} {}: {said}", path.display())))
        }
    }
}

/// The repository.
pub(crate) fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
