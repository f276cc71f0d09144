//! What is kept of runs: a JSON file for each scenario in a folder, with what it was run on and when.
//!
//! Each file is written when its scenario is over, so that a run that was cut off keeps what it has.

use crate::Trouble;
use crate::ground::root;
use crate::report::{self, Told};
use crate::scenarios::Scenario;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Command;

/// What a scenario was run on, and when.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Around {
    /// When it began, UTC.
    pub(crate) at: String,
    /// Cores, processor, memory.
    pub(crate) machine: String,
    /// The machine's load average of the minute before.
    pub(crate) load: String,
    pub(crate) kafka: String,
    pub(crate) redis: String,
    /// Of this repository.
    pub(crate) commit: String,
    /// How all of it was built.
    pub(crate) profile: String,
    /// Tasks a second that clients asked for.
    pub(crate) rate: u32,
}

impl Around {
    /// This machine, now.
    pub(crate) fn now(rate: u32) -> Result<Around, Trouble> {
        let load = std::fs::read_to_string("/proc/loadavg")?;
        let redis = said(Command::new("redis-server").arg("--version"))?;
        let redis = redis.split_whitespace().find_map(|word| word.strip_prefix("v="));
        let git = |words: &[&str]| said(Command::new("git").arg("-C").arg(root()).args(words));
        let commit = git(&["rev-parse", "--short", "HEAD"])?;
        let is_clean = git(&["status", "--porcelain", "--untracked-files=no"])?.is_empty();
        Ok(Around {
            at: format!("{:.0}", jiff::Timestamp::now()),
            machine: machine()?,
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            kafka: kafka()?,
            redis: redis.unwrap_or("of an unknown version").to_owned(),
            commit: if is_clean { commit } else { format!("{commit} with changes") },
            profile: if cfg!(debug_assertions) { "dev" } else { "release" }.to_owned(),
            rate,
        })
    }
}

fn machine() -> Result<String, Trouble> {
    let field = |file: &str, name: &str| -> Result<String, Trouble> {
        let text = std::fs::read_to_string(file)?;
        let value = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split_once(':'));
        Ok(value.map(|(_, value)| value.trim().to_owned()).unwrap_or_default())
    };
    let cores = std::thread::available_parallelism()?;
    let memory = field("/proc/meminfo", "MemTotal")?;
    let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or(0);
    Ok(format!("{cores} cores of {}, {} GiB of memory", field("/proc/cpuinfo", "model name")?, kib >> 20))
}

/// The version that `scripts/services` starts.
fn kafka() -> Result<String, Trouble> {
    let pom = std::fs::read_to_string(root().join("deploy/kafka/pom.xml"))?;
    let version = pom.split_once("<artifactId>kafka_").and_then(|(_, rest)| rest.split_once("<version>"));
    let version = version.and_then(|(_, rest)| rest.split_once("</version>"));
    version.map(|(version, _)| version.to_owned()).ok_or_else(|| Trouble::wrong("pom.xml names no Kafka"))
}

fn said(command: &mut Command) -> Result<String, Trouble> {
    let output = command.output().map_err(|e| Trouble::Start(format!("{command:?}"), e))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(Trouble::Wrong(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

/// A folder of results.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    /// Opens one, and makes it if need be.
    pub(crate) fn open(path: &Path) -> Result<Folder, Trouble> {
        std::fs::create_dir_all(path)?;
        Ok(Folder(path.to_owned()))
    }

    fn file(&self, scenario: Scenario, is_control: bool) -> PathBuf {
        let control = if is_control { "-control" } else { "" };
        self.0.join(format!("{}{control}.json", report::name(scenario)))
    }

    /// Keeps one, in the place of an earlier one.
    pub(crate) fn put(&self, told: &Told) -> Result<(), Trouble> {
        let file = self.file(told.scenario, told.off.is_some());
        let new = file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(told)?)?;
        Ok(std::fs::rename(new, file)?)
    }

    /// What was kept of it.
    pub(crate) fn get(&self, scenario: Scenario, is_control: bool) -> Result<Option<Told>, Trouble> {
        match std::fs::read(self.file(scenario, is_control)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// All that was kept: the scenarios as they are, then the control runs.
    pub(crate) fn all(&self) -> Result<Vec<Told>, Trouble> {
        let mut all = Vec::new();
        for is_control in [false, true] {
            for scenario in Scenario::value_variants() {
                all.extend(self.get(*scenario, is_control)?);
            }
        }
        Ok(all)
    }
}
