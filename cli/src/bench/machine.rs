//! On what a measurement was made: a figure without it says little.

use serde::Serialize;
use synod_infra::kafka::bare;

/// The machine, the versions, and what else ran.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Processors that this process may use.
    pub cores: usize,
    /// Their model.
    pub cpu: String,
    /// Memory, in MiB.
    pub memory_mib: u64,
    /// The kernel.
    pub kernel: String,
    /// Load averages of 1, 5 and 15 minutes at the start.
    pub load_average: String,
    /// This program.
    pub synod: &'static str,
    /// Whether it was compiled with optimisation.
    pub optimised: bool,
    /// The Kafka client beneath it.
    pub librdkafka: String,
    /// The services, as whoever started them says.
    pub services: String,
    /// When it began, RFC 3339.
    pub began_at: String,
}

impl Machine {
    /// This one, now. What cannot be found out is "unknown".
    pub fn now(services: Option<String>) -> Machine {
        let field = |file: &str, name: &str| {
            let text = std::fs::read_to_string(file).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
        };
        let unknown = || "unknown".to_owned();
        let kib = field("/proc/meminfo", "MemTotal")
            .and_then(|text| text.strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok()));
        let first = |file: &str, words: usize| {
            let text = std::fs::read_to_string(file).ok()?;
            Some(text.split_whitespace().take(words).collect::<Vec<_>>().join(" "))
        };
        Machine {
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(unknown),
            memory_mib: kib.unwrap_or(0) / 1024,
            kernel: first("/proc/sys/kernel/osrelease", 1).unwrap_or_else(unknown),
            load_average: load(),
            synod: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            librdkafka: bare::librdkafka_version(),
            services: services.unwrap_or_else(unknown),
            began_at: jiff::Timestamp::now().to_string(),
        }
    }
}

/// The load averages of 1, 5 and 15 minutes, as they are now.
pub(super) fn load() -> String {
    std::fs::read_to_string("/proc/loadavg")
        .map_or_else(|_| "unknown".to_owned(), |text| text.split(' ').take(3).collect::<Vec<_>>().join(" "))
}
