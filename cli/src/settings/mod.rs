//! What is in force, and why: flag over environment over file over default.
//!
//! ```text
//! --kafka-brokers X   >   --endpoints FILE   >   SYNOD_KAFKA_BROKERS   >   SYNOD_ENDPOINTS   >
//!   synod.toml (kafka_brokers = "X")   >   default
//! ```
//!
//! Every setting has one name in four spellings (`kafka_brokers` in the file and in `synod config`,
//! `--kafka-brokers`, `SYNOD_KAFKA_BROKERS`) and remembers where its value came from. Everything is
//! checked when it is read, wherever it came from; a password is never printed.

mod configure;
mod security;
mod source;
mod telling;
mod value;
mod waiting;

pub use security::{KeyHashes, Named, Secret, YesNo};
pub use source::{Flags, Source};
pub use telling::{Receiver, Switch};
pub use value::{Allowed, Every, HttpUrl, LogFormat, RedisUrl, Span};
pub use waiting::{Each, RetryBudget, Somewhere};

use security::Secured;
use source::Sources;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use synod_coordinator::{Balance, Breakers};
use synod_infra::kafka::{SaslMechanism, SecurityProtocol};
use synod_protocol::Workspace;

const DAY: Duration = Duration::from_secs(24 * 3_600);
const WEEK: Duration = Duration::from_secs(7 * 24 * 3_600);
const QUARTER: Duration = Duration::from_secs(90 * 24 * 3_600);

/// One value and where it came from.
#[derive(Clone, Debug)]
pub struct Setting<T> {
    /// The value in force.
    pub value: T,
    /// Where it was said.
    pub source: Source,
}

/// Everything that can be set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Kafka's bootstrap servers, `host:port`, comma-separated.
    pub kafka_brokers: Setting<String>,
    /// What is spoken with the brokers.
    pub kafka_security_protocol: Setting<SecurityProtocol>,
    /// How a password is proven to them.
    pub kafka_sasl_mechanism: Setting<SaslMechanism>,
    /// The user there.
    pub kafka_username: Setting<Named<String>>,
    /// Its password.
    pub kafka_password: Setting<Secret>,
    /// A file that holds it.
    pub kafka_password_file: Setting<Named<PathBuf>>,
    /// Certificates of the authorities that the brokers' may be of.
    pub kafka_ca: Setting<Named<PathBuf>>,
    /// Our certificate for them.
    pub kafka_cert: Setting<Named<PathBuf>>,
    /// Its key.
    pub kafka_key: Setting<Named<PathBuf>>,
    /// Redis.
    pub redis_url: Setting<RedisUrl>,
    /// A file that holds its password, where the URL does not.
    pub redis_password_file: Setting<Named<PathBuf>>,
    /// Certificates of the authorities that Redis' may be of.
    pub redis_ca: Setting<Named<PathBuf>>,
    /// Our certificate for it.
    pub redis_cert: Setting<Named<PathBuf>>,
    /// Its key.
    pub redis_key: Setting<Named<PathBuf>>,
    /// Where a coordinator listens.
    pub http_listen: Setting<SocketAddr>,
    /// Whether it may listen beyond loopback without asking for a key.
    pub http_open: Setting<YesNo>,
    /// What it keeps of the keys that it asks for: their SHA-256.
    pub http_keys: Setting<KeyHashes>,
    /// A file of these, one a line.
    pub http_keys_file: Setting<Named<PathBuf>>,
    /// The key that is sent with every request.
    pub api_key: Setting<Secret>,
    /// A file that holds it.
    pub api_key_file: Setting<Named<PathBuf>>,
    /// Where a client finds a coordinator.
    pub http_url: Setting<HttpUrl>,
    /// The workspace that commands are for.
    pub workspace: Setting<Workspace>,
    /// Partitions of the mesh's topics, when they are made: 1 to 1,024.
    pub partitions: Setting<u32>,
    /// Copies of each partition, when topics are made: 1 to 15.
    pub replication: Setting<u16>,
    /// Records within which each live thing of a shard is imaged, 100 to 1,000,000: a take-over reads no more of its
    /// ledger than about this.
    pub image_within: Setting<u64>,
    /// What one shard's tasks that have not ended may weigh in memory, in MiB, 1 to 65,536; new ones are refused as
    /// `overloaded` beyond it.
    pub live_mib: Setting<usize>,
    /// How long ended tasks stay in memory at most, up to a week.
    pub ended_kept: Setting<Span>,
    /// How long ended executions and approvals stay in memory at most, up to a week.
    pub runs_kept: Setting<Span>,
    /// How long the view of an ended task stays in Redis.
    pub view_kept: Setting<Span>,
    /// MiB that the views of one shard's ended tasks may take in Redis.
    pub view_mib: Setting<usize>,
    /// How long the ledger keeps what lies below a floor.
    pub ledger_kept: Setting<Span>,
    /// By which rules agents are chosen where a task does not say.
    pub balance: Setting<Balance>,
    /// What every circuit breaker is set to.
    pub breaker: Setting<Breakers>,
    /// How long an agent that joins others, or whose breaker has closed, takes to its whole share of the work, up to a day.
    pub ramp: Setting<Span>,
    /// How often a snapshot of the whole mesh is taken by itself: `off`, or 1 s and more.
    pub snapshot_every: Setting<Every>,
    /// How long snapshots of the mesh stay in Redis, up to 90 days.
    pub snapshot_kept: Setting<Span>,
    /// How many snapshots of the mesh are kept, of each workspace and of those that cover all: 1 to 1,000.
    pub snapshot_count: Setting<u64>,
    /// MiB that they may take in Redis, of each workspace and of those that cover all.
    pub snapshot_mib: Setting<u64>,
    /// Messages of one queue that are not done and not dead: 1 to 100,000,000.
    pub queue_messages: Setting<u64>,
    /// MiB of their payloads: 1 to 1,048,576.
    pub queue_mib: Setting<u64>,
    /// Entries of one agent's memory: 1 to 100,000.
    pub memory_entries: Setting<u64>,
    /// Their keys, tags and values in MB (1,000,000 bytes): 1 to 100,000.
    pub memory_mb: Setting<u64>,
    /// How long an entry of a memory lives that does not say.
    pub memory_kept: Setting<Span>,
    /// How long an agent that has left, or is lost, is kept.
    pub agents_kept: Setting<Span>,
    /// `host:port` that webhooks may go to although the address is not public.
    pub webhook_allow: Setting<Allowed>,
    /// Attempts that may run at a time in a workspace: for all, for some, or none.
    pub quota: Setting<Each<Workspace>>,
    /// Attempts for a capability that may run at a time in a workspace.
    pub limits: Setting<Each<Somewhere>>,
    /// Tasks of the same concurrency key that may run at a time, 1 to 1,000,000.
    pub per_key: Setting<u32>,
    /// What a level of priority is worth, in waiting; at most 366 days.
    pub aging: Setting<Span>,
    /// How many of the attempts for a capability may be retries, in each shard.
    pub retries: Setting<RetryBudget>,
    /// Workspaces whose turn comes more than once in a round.
    pub weights: Setting<Each<Workspace>>,
    /// Tasks that may wait in one shard, 1 to 100,000,000; more are refused as `overloaded`.
    pub waiting: Setting<usize>,
    /// The same in one shard of one workspace.
    pub waiting_per_workspace: Setting<usize>,
    /// Where spans are told, by OTLP over HTTP: `off`, or an `http` URL.
    pub otlp_endpoint: Setting<Receiver>,
    /// The share of traces that are kept whatever comes of them, 0 to 1.
    pub otlp_sample: Setting<f64>,
    /// Work that takes longer is kept all the same, up to a day.
    pub otlp_slow: Setting<Span>,
    /// Whether spans carry what tasks are given and return.
    pub otlp_payloads: Setting<Switch>,
    /// What is logged: a `tracing` filter such as `info,synod_coordinator=debug`.
    pub log: Setting<String>,
    /// How it is logged.
    pub log_format: Setting<LogFormat>,
    secured: Secured,
}

/// Why the configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read {path:?}: {why}")]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What was wrong.
        why: String,
    },
    /// The file says something that is no setting.
    #[error("{path:?}: there is no setting {name:?}{}", nearest(.meant))]
    UnknownName {
        /// Which file.
        path: PathBuf,
        /// What it says.
        name: String,
        /// The valid name that is nearest to it, if one is near.
        meant: Option<&'static str>,
    },
    /// Values that do not go together, or name a file that cannot be used. Says nothing secret.
    #[error("{0}")]
    Security(String),
    /// A value that its setting cannot have.
    #[error("{name} (from {from}): {why}")]
    Value {
        /// Which setting.
        name: &'static str,
        /// Where the value is.
        from: Source,
        /// What would be right.
        why: String,
    },
}

fn nearest(meant: &Option<&'static str>) -> String {
    match meant {
        Some(name) => format!("; did you mean {name:?}?"),
        None => format!("; there are {}", KEYS.map(|key| key.name).join(", ")),
    }
}

/// A setting's names and its default.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    pub(crate) environment: &'static str,
    pub(crate) default: &'static str,
}

const fn key(name: &'static str, environment: &'static str, default: &'static str) -> Key {
    Key { name, environment, default }
}

/// All settings, in the order in which they are shown.
pub(crate) const KEYS: [Key; 59] = [
    key("kafka_brokers", "SYNOD_KAFKA_BROKERS", "127.0.0.1:9092"),
    key("kafka_security_protocol", "SYNOD_KAFKA_SECURITY_PROTOCOL", "plaintext"),
    key("kafka_sasl_mechanism", "SYNOD_KAFKA_SASL_MECHANISM", "SCRAM-SHA-512"),
    key("kafka_username", "SYNOD_KAFKA_USERNAME", "none"),
    key("kafka_password", "SYNOD_KAFKA_PASSWORD", "none"),
    key("kafka_password_file", "SYNOD_KAFKA_PASSWORD_FILE", "none"),
    key("kafka_ca", "SYNOD_KAFKA_CA", "none"),
    key("kafka_cert", "SYNOD_KAFKA_CERT", "none"),
    key("kafka_key", "SYNOD_KAFKA_KEY", "none"),
    key("redis_url", "SYNOD_REDIS_URL", "redis://127.0.0.1:6379/0"),
    key("redis_password_file", "SYNOD_REDIS_PASSWORD_FILE", "none"),
    key("redis_ca", "SYNOD_REDIS_CA", "none"),
    key("redis_cert", "SYNOD_REDIS_CERT", "none"),
    key("redis_key", "SYNOD_REDIS_KEY", "none"),
    key("http_listen", "SYNOD_HTTP_LISTEN", "127.0.0.1:7700"),
    key("http_open", "SYNOD_HTTP_OPEN", "no"),
    key("http_keys", "SYNOD_HTTP_KEYS", "none"),
    key("http_keys_file", "SYNOD_HTTP_KEYS_FILE", "none"),
    key("api_key", "SYNOD_API_KEY", "none"),
    key("api_key_file", "SYNOD_API_KEY_FILE", "none"),
    key("http_url", "SYNOD_HTTP_URL", "http://127.0.0.1:7700"),
    key("workspace", "SYNOD_WORKSPACE", "default"),
    key("partitions", "SYNOD_PARTITIONS", "8"),
    key("replication", "SYNOD_REPLICATION", "1"),
    key("image_within", "SYNOD_IMAGE_WITHIN", "20000"),
    key("live_mib", "SYNOD_LIVE_MIB", "128"),
    key("ended_kept", "SYNOD_ENDED_KEPT", "10m"),
    key("runs_kept", "SYNOD_RUNS_KEPT", "1d"),
    key("view_kept", "SYNOD_VIEW_KEPT", "1h"),
    key("view_mib", "SYNOD_VIEW_MIB", "32"),
    key("ledger_kept", "SYNOD_LEDGER_KEPT", "7d"),
    key("balance", "SYNOD_BALANCE", "least_connections"),
    key("breaker", "SYNOD_BREAKER", Breakers::DEFAULT),
    key("ramp", "SYNOD_RAMP", "10s"),
    key("snapshot_every", "SYNOD_SNAPSHOT_EVERY", "off"),
    key("snapshot_kept", "SYNOD_SNAPSHOT_KEPT", "7d"),
    key("snapshot_count", "SYNOD_SNAPSHOT_COUNT", "100"),
    key("snapshot_mib", "SYNOD_SNAPSHOT_MIB", "64"),
    key("queue_messages", "SYNOD_QUEUE_MESSAGES", "1000000"),
    key("queue_mib", "SYNOD_QUEUE_MIB", "1024"),
    key("memory_entries", "SYNOD_MEMORY_ENTRIES", "1000"),
    key("memory_mb", "SYNOD_MEMORY_MB", "100"),
    key("memory_kept", "SYNOD_MEMORY_KEPT", "1d"),
    key("agents_kept", "SYNOD_AGENTS_KEPT", "1d"),
    key("webhook_allow", "SYNOD_WEBHOOK_ALLOW", "none"),
    key("quota", "SYNOD_QUOTA", "none"),
    key("limits", "SYNOD_LIMITS", "none"),
    key("per_key", "SYNOD_PER_KEY", "1"),
    key("aging", "SYNOD_AGING", "10s"),
    key("retries", "SYNOD_RETRIES", "20% + 10/s"),
    key("weights", "SYNOD_WEIGHTS", "none"),
    key("waiting", "SYNOD_WAITING", "1000000"),
    key("waiting_per_workspace", "SYNOD_WAITING_PER_WORKSPACE", "100000"),
    key("otlp_endpoint", "SYNOD_OTLP_ENDPOINT", "off"),
    key("otlp_sample", "SYNOD_OTLP_SAMPLE", "0.1"),
    key("otlp_slow", "SYNOD_OTLP_SLOW", "5s"),
    key("otlp_payloads", "SYNOD_OTLP_PAYLOADS", "off"),
    key("log", "SYNOD_LOG", "info"),
    key("log_format", "SYNOD_LOG_FORMAT", "text"),
];

/// One line of `synod config`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Row {
    /// The setting.
    pub name: &'static str,
    /// Its value, a secret in it hidden.
    pub value: String,
    /// Where that was said.
    pub source: String,
}

/// The environment as the settings see it.
pub type Environment = BTreeMap<OsString, OsString>;

impl Settings {
    /// Reads everything that this process was given.
    ///
    /// # Errors
    /// A file cannot be read or says what it cannot say, or a value is none; see [`SettingsError`].
    pub fn load(flags: &Flags) -> Result<Settings, SettingsError> {
        Settings::from(flags, &std::env::vars_os().collect(), PathBuf::from("synod.toml"))
    }

    /// As [`Settings::load`], for a process that is a mesh itself: where another one is (`SYNOD_ENDPOINTS`) is not heard, so that
    /// the file that it names need not be there before this process writes it.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn load_of_its_own(flags: &Flags) -> Result<Settings, SettingsError> {
        let mut environment: Environment = std::env::vars_os().collect();
        environment.remove(OsStr::new("SYNOD_ENDPOINTS"));
        Settings::from(flags, &environment, PathBuf::from("synod.toml"))
    }

    /// As [`Settings::load`], of any environment; `file` is read if no other is named and it exists.
    ///
    /// # Errors
    /// As [`Settings::load`].
    pub fn from(flags: &Flags, environment: &Environment, file: PathBuf) -> Result<Settings, SettingsError> {
        let sources = Sources::read(flags, environment, file)?;
        let mut settings = Settings {
            secured: Secured::default(),
            kafka_brokers: sources.get("kafka_brokers", value::brokers)?,
            kafka_security_protocol: sources.get("kafka_security_protocol", |text| text.parse())?,
            kafka_sasl_mechanism: sources.get("kafka_sasl_mechanism", |text| text.parse())?,
            kafka_username: sources.get("kafka_username", |text| text.parse())?,
            kafka_password: sources.get("kafka_password", |text| text.parse())?,
            kafka_password_file: sources.get("kafka_password_file", |text| text.parse())?,
            kafka_ca: sources.get("kafka_ca", |text| text.parse())?,
            kafka_cert: sources.get("kafka_cert", |text| text.parse())?,
            kafka_key: sources.get("kafka_key", |text| text.parse())?,
            redis_url: sources.get("redis_url", |text| text.parse())?,
            redis_password_file: sources.get("redis_password_file", |text| text.parse())?,
            redis_ca: sources.get("redis_ca", |text| text.parse())?,
            redis_cert: sources.get("redis_cert", |text| text.parse())?,
            redis_key: sources.get("redis_key", |text| text.parse())?,
            http_listen: sources.get("http_listen", value::listen)?,
            http_open: sources.get("http_open", |text| text.parse())?,
            http_keys: sources.get("http_keys", |text| text.parse())?,
            http_keys_file: sources.get("http_keys_file", |text| text.parse())?,
            api_key: sources.get("api_key", |text| text.parse())?,
            api_key_file: sources.get("api_key_file", |text| text.parse())?,
            http_url: sources.get("http_url", |text| text.parse())?,
            workspace: sources
                .get("workspace", |text| text.parse::<Workspace>().map_err(|e| e.to_string()))?,
            partitions: sources.get("partitions", |text| value::within(text, 1, 1_024))?,
            replication: sources.get("replication", |text| value::within(text, 1, 15))?,
            image_within: sources.get("image_within", |text| value::within(text, 100, 1_000_000))?,
            live_mib: sources.get("live_mib", |text| value::within(text, 1, 65_536))?,
            ended_kept: sources.get("ended_kept", |text| Span::of_at_most(text, WEEK))?,
            runs_kept: sources.get("runs_kept", |text| Span::of_at_most(text, WEEK))?,
            view_kept: sources.get("view_kept", |text| text.parse())?,
            view_mib: sources.get("view_mib", |text| value::within(text, 1, 65_536))?,
            ledger_kept: sources.get("ledger_kept", |text| text.parse())?,
            balance: sources.get("balance", |text| text.parse())?,
            breaker: sources.get("breaker", |text| text.parse())?,
            ramp: sources.get("ramp", |text| Span::of_at_most(text, DAY))?,
            snapshot_every: sources.get("snapshot_every", |text| text.parse())?,
            snapshot_kept: sources.get("snapshot_kept", |text| Span::of_at_most(text, QUARTER))?,
            snapshot_count: sources.get("snapshot_count", |text| value::within(text, 1, 1_000))?,
            snapshot_mib: sources.get("snapshot_mib", |text| value::within(text, 1, 65_536))?,
            queue_messages: sources.get("queue_messages", |text| value::within(text, 1, 100_000_000))?,
            queue_mib: sources.get("queue_mib", |text| value::within(text, 1, 1_048_576))?,
            memory_entries: sources.get("memory_entries", |text| value::within(text, 1, 100_000))?,
            memory_mb: sources.get("memory_mb", |text| value::within(text, 1, 100_000))?,
            memory_kept: sources.get("memory_kept", |text| Span::of_at_most(text, QUARTER))?,
            agents_kept: sources.get("agents_kept", |text| text.parse())?,
            webhook_allow: sources.get("webhook_allow", |text| text.parse())?,
            quota: sources.get("quota", |text| waiting::each(text, 0, true))?,
            limits: sources.get("limits", |text| waiting::each(text, 0, false))?,
            per_key: sources.get("per_key", |text| value::within(text, 1, 1_000_000))?,
            aging: sources.get("aging", |text| Span::of_at_most(text, waiting::AGING_MOST))?,
            retries: sources.get("retries", |text| text.parse())?,
            weights: sources.get("weights", |text| waiting::each(text, 1, false))?,
            waiting: sources.get("waiting", |text| value::within(text, 1, 100_000_000))?,
            waiting_per_workspace: sources
                .get("waiting_per_workspace", |text| value::within(text, 1, 100_000_000))?,
            otlp_endpoint: sources.get("otlp_endpoint", |text| text.parse())?,
            otlp_sample: sources.get("otlp_sample", value::share)?,
            otlp_slow: sources.get("otlp_slow", |text| Span::of_at_most(text, DAY))?,
            otlp_payloads: sources.get("otlp_payloads", |text| text.parse())?,
            log: sources.get("log", value::log)?,
            log_format: sources.get("log_format", |text| text.parse())?,
        };
        settings.secure()?;
        Ok(settings)
    }

    /// Every setting with its value and source, for people; secrets are hidden.
    pub fn rows(&self) -> Vec<Row> {
        fn row<T: std::fmt::Display>(name: &'static str, setting: &Setting<T>) -> Row {
            Row { name, value: setting.value.to_string(), source: setting.source.to_string() }
        }
        vec![
            row("kafka_brokers", &self.kafka_brokers),
            row("kafka_security_protocol", &self.kafka_security_protocol),
            row("kafka_sasl_mechanism", &self.kafka_sasl_mechanism),
            row("kafka_username", &self.kafka_username),
            row("kafka_password", &self.kafka_password),
            row("kafka_password_file", &self.kafka_password_file),
            row("kafka_ca", &self.kafka_ca),
            row("kafka_cert", &self.kafka_cert),
            row("kafka_key", &self.kafka_key),
            row("redis_url", &self.redis_url),
            row("redis_password_file", &self.redis_password_file),
            row("redis_ca", &self.redis_ca),
            row("redis_cert", &self.redis_cert),
            row("redis_key", &self.redis_key),
            row("http_listen", &self.http_listen),
            row("http_open", &self.http_open),
            row("http_keys", &self.http_keys),
            row("http_keys_file", &self.http_keys_file),
            row("api_key", &self.api_key),
            row("api_key_file", &self.api_key_file),
            row("http_url", &self.http_url),
            row("workspace", &self.workspace),
            row("partitions", &self.partitions),
            row("replication", &self.replication),
            row("image_within", &self.image_within),
            row("live_mib", &self.live_mib),
            row("ended_kept", &self.ended_kept),
            row("runs_kept", &self.runs_kept),
            row("view_kept", &self.view_kept),
            row("view_mib", &self.view_mib),
            row("ledger_kept", &self.ledger_kept),
            row("balance", &self.balance),
            row("breaker", &self.breaker),
            row("ramp", &self.ramp),
            row("snapshot_every", &self.snapshot_every),
            row("snapshot_kept", &self.snapshot_kept),
            row("snapshot_count", &self.snapshot_count),
            row("snapshot_mib", &self.snapshot_mib),
            row("queue_messages", &self.queue_messages),
            row("queue_mib", &self.queue_mib),
            row("memory_entries", &self.memory_entries),
            row("memory_mb", &self.memory_mb),
            row("memory_kept", &self.memory_kept),
            row("agents_kept", &self.agents_kept),
            row("webhook_allow", &self.webhook_allow),
            row("quota", &self.quota),
            row("limits", &self.limits),
            row("per_key", &self.per_key),
            row("aging", &self.aging),
            row("retries", &self.retries),
            row("weights", &self.weights),
            row("waiting", &self.waiting),
            row("waiting_per_workspace", &self.waiting_per_workspace),
            row("otlp_endpoint", &self.otlp_endpoint),
            row("otlp_sample", &self.otlp_sample),
            row("otlp_slow", &self.otlp_slow),
            row("otlp_payloads", &self.otlp_payloads),
            row("log", &self.log),
            row("log_format", &self.log_format),
        ]
    }
}

#[cfg(test)]
mod tests;
