//! Where a setting's value may be said, and which of those is heard.

use super::{Environment, KEYS, Key, Setting, SettingsError};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};

/// Bytes that a configuration or endpoints file may have.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// How alike (0 to 1) a misspelt name must be to a valid one for that to be suggested.
const NEAR: f64 = 0.75;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A flag of this command.
    Flag,
    /// An endpoints file, as `synod up --endpoints FILE` writes it.
    Endpoints(PathBuf),
    /// This environment variable.
    Environment(&'static str),
    /// This configuration file.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Flag => f.write_str("flag"),
            Source::Endpoints(path) => write!(f, "endpoints {}", path.display()),
            Source::Environment(name) => write!(f, "environment {name}"),
            Source::File(path) => write!(f, "file {}", path.display()),
            Source::Default => f.write_str("default"),
        }
    }
}

/// The settings as flags; every command takes them.
#[derive(Clone, Default, clap::Args)]
#[command(next_help_heading = "Settings")]
pub struct Flags {
    /// Configuration file [default: synod.toml, if there is one] [env: SYNOD_CONFIG]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Kafka's bootstrap servers [env: SYNOD_KAFKA_BROKERS]
    #[arg(long, global = true, value_name = "HOST:PORT,…")]
    pub kafka_brokers: Option<String>,
    /// Redis [env: SYNOD_REDIS_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub redis_url: Option<String>,
    /// Where a coordinator listens [env: SYNOD_HTTP_LISTEN]
    #[arg(long, global = true, value_name = "IP:PORT")]
    pub http_listen: Option<String>,
    /// Where a client finds a coordinator [env: SYNOD_HTTP_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub http_url: Option<String>,
    /// What is spoken with the brokers: plaintext, ssl, sasl_plaintext or sasl_ssl [env: SYNOD_KAFKA_SECURITY_PROTOCOL]
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub kafka_security_protocol: Option<String>,
    /// How a password is proven: PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512 [env: SYNOD_KAFKA_SASL_MECHANISM]
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub kafka_sasl_mechanism: Option<String>,
    /// The user at the brokers [env: SYNOD_KAFKA_USERNAME]
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub kafka_username: Option<String>,
    /// Its password; others on this machine see flags, so rather a file [env: SYNOD_KAFKA_PASSWORD]
    #[arg(long, global = true, value_name = "TEXT", hide_short_help = true)]
    pub kafka_password: Option<String>,
    /// File with its password [env: SYNOD_KAFKA_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub kafka_password_file: Option<String>,
    /// File with the authorities that the brokers' certificates may be of [env: SYNOD_KAFKA_CA]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub kafka_ca: Option<String>,
    /// File with our certificate for the brokers [env: SYNOD_KAFKA_CERT]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub kafka_cert: Option<String>,
    /// File with its key [env: SYNOD_KAFKA_KEY]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub kafka_key: Option<String>,
    /// File with the password of Redis, where the URL has none [env: SYNOD_REDIS_PASSWORD_FILE]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub redis_password_file: Option<String>,
    /// File with the authorities that Redis' certificate may be of [env: SYNOD_REDIS_CA]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub redis_ca: Option<String>,
    /// File with our certificate for Redis [env: SYNOD_REDIS_CERT]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub redis_cert: Option<String>,
    /// File with its key [env: SYNOD_REDIS_KEY]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub redis_key: Option<String>,
    /// Listen beyond loopback without asking for an API key: yes or no [env: SYNOD_HTTP_OPEN]
    #[arg(long, global = true, value_name = "YES|NO", hide_short_help = true)]
    pub http_open: Option<String>,
    /// SHA-256 of the API keys that are let in; `synod key` makes one [env: SYNOD_HTTP_KEYS]
    #[arg(long, global = true, value_name = "HASH,…", hide_short_help = true)]
    pub http_keys: Option<String>,
    /// File of these, one a line [env: SYNOD_HTTP_KEYS_FILE]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub http_keys_file: Option<String>,
    /// The API key to send; others on this machine see flags, so rather a file [env: SYNOD_API_KEY]
    #[arg(long, global = true, value_name = "KEY", hide_short_help = true)]
    pub api_key: Option<String>,
    /// File with the API key to send [env: SYNOD_API_KEY_FILE]
    #[arg(long, global = true, value_name = "FILE", hide_short_help = true)]
    pub api_key_file: Option<String>,
    /// The workspace to work in [env: SYNOD_WORKSPACE]
    #[arg(long, global = true, value_name = "NAME")]
    pub workspace: Option<String>,
    /// Partitions of new topics [env: SYNOD_PARTITIONS]
    #[arg(long, global = true, value_name = "N")]
    pub partitions: Option<String>,
    /// Copies of each partition of new topics [env: SYNOD_REPLICATION]
    #[arg(long, global = true, value_name = "N")]
    pub replication: Option<String>,
    /// Records of a shard's ledger that a take-over reads at most, about [env: SYNOD_IMAGE_WITHIN]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub image_within: Option<String>,
    /// MiB that a shard's tasks may weigh before they end [env: SYNOD_LIVE_MIB]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub live_mib: Option<String>,
    /// How long ended tasks stay in memory, as 10m [env: SYNOD_ENDED_KEPT]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub ended_kept: Option<String>,
    /// How long ended executions and approvals stay in memory, as 1d [env: SYNOD_RUNS_KEPT]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub runs_kept: Option<String>,
    /// How long the views of ended tasks stay in Redis, as 1h or forever [env: SYNOD_VIEW_KEPT]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub view_kept: Option<String>,
    /// MiB that the views of a shard's ended tasks may take in Redis [env: SYNOD_VIEW_MIB]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub view_mib: Option<String>,
    /// How long the ledger keeps what nobody needs to fold it, as 7d or forever [env: SYNOD_LEDGER_KEPT]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub ledger_kept: Option<String>,
    /// Balancing rule by default, and of capabilities, as `performance, ocr=resources` [env: SYNOD_BALANCE]
    #[arg(long, global = true, value_name = "RULES", hide_short_help = true)]
    pub balance: Option<String>,
    /// Circuit breakers, as `window=50 failures=50 wait=10s` or off [env: SYNOD_BREAKER]
    #[arg(long, global = true, value_name = "SETTINGS", hide_short_help = true)]
    pub breaker: Option<String>,
    /// How long a new agent among others takes to its whole share of the work, as 10s [env: SYNOD_RAMP]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub ramp: Option<String>,
    /// How often a snapshot of the mesh is taken by itself, as 10m or off [env: SYNOD_SNAPSHOT_EVERY]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub snapshot_every: Option<String>,
    /// How long snapshots of the mesh are kept, as 7d [env: SYNOD_SNAPSHOT_KEPT]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub snapshot_kept: Option<String>,
    /// How many snapshots of the mesh are kept [env: SYNOD_SNAPSHOT_COUNT]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub snapshot_count: Option<String>,
    /// MiB that snapshots of the mesh may take in Redis [env: SYNOD_SNAPSHOT_MIB]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub snapshot_mib: Option<String>,
    /// Messages that one queue may hold [env: SYNOD_QUEUE_MESSAGES]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub queue_messages: Option<String>,
    /// MiB of payload that one queue may hold [env: SYNOD_QUEUE_MIB]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub queue_mib: Option<String>,
    /// Entries that one agent's memory may hold [env: SYNOD_MEMORY_ENTRIES]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub memory_entries: Option<String>,
    /// MB that one agent's memory may hold [env: SYNOD_MEMORY_MB]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub memory_mb: Option<String>,
    /// How long an entry of a memory lives that does not say, as 24h [env: SYNOD_MEMORY_KEPT]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub memory_kept: Option<String>,
    /// How long agents that have left or are lost are kept, as 24h or forever [env: SYNOD_AGENTS_KEPT]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub agents_kept: Option<String>,
    /// Private addresses that webhooks may go to, as 127.0.0.1:8080,hooks.lan:80 or none [env: SYNOD_WEBHOOK_ALLOW]
    #[arg(long, global = true, value_name = "HOST:PORT,…", hide_short_help = true)]
    pub webhook_allow: Option<String>,
    /// Attempts at a time in a workspace: 20,acme=5 or none [env: SYNOD_QUOTA]
    #[arg(long, global = true, value_name = "N,NAME=N,…", hide_short_help = true)]
    pub quota: Option<String>,
    /// Attempts at a time for a capability, in each workspace or one: ocr=4,acme/ocr=2 [env: SYNOD_LIMITS]
    #[arg(long, global = true, value_name = "NAME=N,…", hide_short_help = true)]
    pub limits: Option<String>,
    /// Tasks of one concurrency key at a time [env: SYNOD_PER_KEY]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub per_key: Option<String>,
    /// What a level of priority is worth in waiting, as 10s [env: SYNOD_AGING]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub aging: Option<String>,
    /// Retries as a share of first attempts, and so many a second besides: 20% + 10/s, or unlimited [env: SYNOD_RETRIES]
    #[arg(long, global = true, value_name = "N% + N/s", hide_short_help = true)]
    pub retries: Option<String>,
    /// Weights of workspaces, 1 if not named: acme=3 [env: SYNOD_WEIGHTS]
    #[arg(long, global = true, value_name = "NAME=N,…", hide_short_help = true)]
    pub weights: Option<String>,
    /// Tasks that may wait in a shard [env: SYNOD_WAITING]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub waiting: Option<String>,
    /// Tasks of a workspace that may wait in a shard [env: SYNOD_WAITING_PER_WORKSPACE]
    #[arg(long, global = true, value_name = "N", hide_short_help = true)]
    pub waiting_per_workspace: Option<String>,
    /// Where spans are told by OTLP, as http://127.0.0.1:4318 or off [env: SYNOD_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, global = true, value_name = "URL", hide_short_help = true)]
    pub otlp_endpoint: Option<String>,
    /// The share of traces that are kept whatever comes of them, as 0.1 [env: SYNOD_OTLP_SAMPLE]
    #[arg(long, global = true, value_name = "0..1", hide_short_help = true)]
    pub otlp_sample: Option<String>,
    /// Work that takes longer is kept all the same, as 5s [env: SYNOD_OTLP_SLOW]
    #[arg(long, global = true, value_name = "TIME", hide_short_help = true)]
    pub otlp_slow: Option<String>,
    /// Whether spans carry what tasks are given and return: on or off [env: SYNOD_OTLP_PAYLOADS]
    #[arg(long, global = true, value_name = "SWITCH", hide_short_help = true)]
    pub otlp_payloads: Option<String>,
    /// What is logged, as `info,synod_coordinator=debug` [env: SYNOD_LOG]
    #[arg(long, global = true, value_name = "FILTER")]
    pub log: Option<String>,
    /// How it is logged: text or json [env: SYNOD_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Endpoints file of a running mesh; not a global flag, since `synod up` writes one: a client's
    /// command sets it from its own `--endpoints`.
    #[arg(skip)]
    pub endpoints: Option<PathBuf>,
}

/// Which are said, not what: some are secrets.
impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(KEYS.iter().map(|key| key.name).filter(|name| self.get(name).is_some()))
            .finish()
    }
}

impl Flags {
    fn get(&self, name: &str) -> Option<&str> {
        let flag = match name {
            "kafka_brokers" => &self.kafka_brokers,
            "redis_url" => &self.redis_url,
            "http_listen" => &self.http_listen,
            "http_url" => &self.http_url,
            "kafka_security_protocol" => &self.kafka_security_protocol,
            "kafka_sasl_mechanism" => &self.kafka_sasl_mechanism,
            "kafka_username" => &self.kafka_username,
            "kafka_password" => &self.kafka_password,
            "kafka_password_file" => &self.kafka_password_file,
            "kafka_ca" => &self.kafka_ca,
            "kafka_cert" => &self.kafka_cert,
            "kafka_key" => &self.kafka_key,
            "redis_password_file" => &self.redis_password_file,
            "redis_ca" => &self.redis_ca,
            "redis_cert" => &self.redis_cert,
            "redis_key" => &self.redis_key,
            "http_open" => &self.http_open,
            "http_keys" => &self.http_keys,
            "http_keys_file" => &self.http_keys_file,
            "api_key" => &self.api_key,
            "api_key_file" => &self.api_key_file,
            "workspace" => &self.workspace,
            "partitions" => &self.partitions,
            "replication" => &self.replication,
            "image_within" => &self.image_within,
            "live_mib" => &self.live_mib,
            "ended_kept" => &self.ended_kept,
            "runs_kept" => &self.runs_kept,
            "view_kept" => &self.view_kept,
            "view_mib" => &self.view_mib,
            "balance" => &self.balance,
            "breaker" => &self.breaker,
            "ramp" => &self.ramp,
            "ledger_kept" => &self.ledger_kept,
            "snapshot_every" => &self.snapshot_every,
            "snapshot_kept" => &self.snapshot_kept,
            "snapshot_count" => &self.snapshot_count,
            "snapshot_mib" => &self.snapshot_mib,
            "queue_messages" => &self.queue_messages,
            "queue_mib" => &self.queue_mib,
            "memory_entries" => &self.memory_entries,
            "memory_mb" => &self.memory_mb,
            "memory_kept" => &self.memory_kept,
            "agents_kept" => &self.agents_kept,
            "webhook_allow" => &self.webhook_allow,
            "quota" => &self.quota,
            "limits" => &self.limits,
            "per_key" => &self.per_key,
            "aging" => &self.aging,
            "retries" => &self.retries,
            "weights" => &self.weights,
            "waiting" => &self.waiting,
            "waiting_per_workspace" => &self.waiting_per_workspace,
            "otlp_endpoint" => &self.otlp_endpoint,
            "otlp_sample" => &self.otlp_sample,
            "otlp_slow" => &self.otlp_slow,
            "otlp_payloads" => &self.otlp_payloads,
            "log" => &self.log,
            "log_format" => &self.log_format,
            _ => &None,
        };
        flag.as_deref()
    }
}

/// Everything that was said, by setting; the first that said it is heard.
pub(super) struct Sources<'a> {
    flags: &'a Flags,
    environment: &'a Environment,
    endpoints_flag: Option<Written>,
    endpoints_environment: Option<Written>,
    file: Option<Written>,
}

/// What a file says.
struct Written {
    path: PathBuf,
    values: BTreeMap<&'static str, String>,
}

impl<'a> Sources<'a> {
    pub(super) fn read(
        flags: &'a Flags,
        environment: &'a Environment,
        default_file: PathBuf,
    ) -> Result<Sources<'a>, SettingsError> {
        let named = flags.config.clone().or_else(|| path_in(environment, "SYNOD_CONFIG"));
        let file = named.or_else(|| default_file.exists().then_some(default_file));
        Ok(Sources {
            flags,
            environment,
            endpoints_flag: flags.endpoints.clone().map(endpoints).transpose()?,
            endpoints_environment: path_in(environment, "SYNOD_ENDPOINTS").map(endpoints).transpose()?,
            file: file.map(toml_file).transpose()?,
        })
    }

    /// The value of one setting, checked.
    pub(super) fn get<T>(
        &self,
        name: &'static str,
        check: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Setting<T>, SettingsError> {
        let (text, source) = self.find(name)?;
        match check(text.trim()) {
            Ok(value) => Ok(Setting { value, source }),
            Err(why) => Err(SettingsError::Value { name, from: source, why }),
        }
    }

    fn find(&self, name: &'static str) -> Result<(&str, Source), SettingsError> {
        // Every name that is asked for stands in the table; a test asks for all.
        let Some(Key { environment: variable, default, .. }) = KEYS.iter().find(|key| key.name == name)
        else {
            return Ok(("", Source::Default));
        };
        if let Some(text) = self.flags.get(name) {
            return Ok((text, Source::Flag));
        }
        if let Some((written, text)) = within(&self.endpoints_flag, name) {
            return Ok((text, Source::Endpoints(written.path.clone())));
        }
        // What every OpenTelemetry program is told, is heard too; our own name goes before it.
        let of_all = (name == "otlp_endpoint").then_some("OTEL_EXPORTER_OTLP_ENDPOINT");
        let variables = [Some(*variable), of_all].into_iter().flatten();
        if let Some((variable, text)) =
            variables.filter_map(|variable| Some((variable, set(self.environment, variable)?))).next()
        {
            let source = Source::Environment(variable);
            let utf8 = text.to_str().ok_or_else(|| SettingsError::Value {
                name,
                from: source.clone(),
                why: "not UTF-8".to_owned(),
            })?;
            return Ok((utf8, source));
        }
        if let Some((written, text)) = within(&self.endpoints_environment, name) {
            return Ok((text, Source::Endpoints(written.path.clone())));
        }
        if let Some((written, text)) = within(&self.file, name) {
            return Ok((text, Source::File(written.path.clone())));
        }
        Ok((default, Source::Default))
    }
}

fn within<'w>(written: &'w Option<Written>, name: &str) -> Option<(&'w Written, &'w str)> {
    let written = written.as_ref()?;
    Some((written, written.values.get(name)?.as_str()))
}

/// An empty variable is as good as none.
fn set<'e>(environment: &'e Environment, name: &str) -> Option<&'e OsString> {
    environment.get(OsStr::new(name)).filter(|value| !value.is_empty())
}

fn path_in(environment: &Environment, name: &str) -> Option<PathBuf> {
    set(environment, name).map(PathBuf::from)
}

fn read_text(path: &Path) -> Result<String, SettingsError> {
    let unreadable = |why: String| SettingsError::Unreadable { path: path.to_owned(), why };
    let file = std::fs::File::open(path).map_err(|e| unreadable(e.to_string()))?;
    let mut text = String::new();
    let read =
        file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|e| unreadable(e.to_string()))?;
    if read as u64 > MAX_FILE_BYTES {
        return Err(unreadable(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

fn toml_file(path: PathBuf) -> Result<Written, SettingsError> {
    let text = read_text(&path)?;
    let table: toml::Table = toml::from_str(&text).map_err(|e| SettingsError::Unreadable {
        path: path.clone(),
        // Not the text around it: that may hold a password.
        why: format!(
            "{}{}",
            e.message(),
            e.span().map_or_else(String::new, |span| line_of(&text, span.start))
        ),
    })?;
    let mut values = BTreeMap::new();
    for (name, value) in table {
        let Some(key) = KEYS.iter().find(|key| key.name == name) else {
            return Err(SettingsError::UnknownName { meant: near(&name), path, name });
        };
        let text = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(number) => number.to_string(),
            other => {
                let why = format!("a text or a whole number is wanted, not a TOML {}", other.type_str());
                return Err(SettingsError::Value { name: key.name, from: Source::File(path), why });
            }
        };
        values.insert(key.name, text);
    }
    Ok(Written { path, values })
}

fn line_of(text: &str, offset: usize) -> String {
    let line = text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1;
    format!(", in line {line}")
}

/// The valid name nearest to this one, with either kind of dash.
fn near(name: &str) -> Option<&'static str> {
    let name = name.to_lowercase().replace(['-', '.'], "_");
    let alike = |key: &Key| {
        let plain = strsim::jaro_winkler(&name, key.name);
        // `brokers` and `kafka` are meant to be found as well.
        let part = key.name.split('_').any(|part| part.len() > 3 && part == name);
        if part { 1.0 } else { plain }
    };
    let best = KEYS.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)))?;
    (alike(best) >= NEAR).then_some(best.name)
}

/// `{"http","kafka","redis"}`, each optional here.
fn endpoints(path: PathBuf) -> Result<Written, SettingsError> {
    #[derive(Deserialize)]
    struct Endpoints {
        http: Option<String>,
        kafka: Option<String>,
        redis: Option<String>,
    }
    let text = match read_text(&path) {
        Err(SettingsError::Unreadable { path, why }) if !path.exists() => {
            let file = path.display();
            let why = format!(
                "{why}; `synod up --endpoints {file}` writes it once its mesh is ready, and removes it at its end"
            );
            return Err(SettingsError::Unreadable { path, why });
        }
        read => read?,
    };
    let Endpoints { http, kafka, redis } = serde_json::from_str(&text).map_err(|e| {
        let why = format!("not an endpoints file ({{\"http\",\"kafka\",\"redis\"}}), line {}", e.line());
        SettingsError::Unreadable { path: path.clone(), why }
    })?;
    let said = [("http_url", http), ("kafka_brokers", kafka), ("redis_url", redis)];
    let values = said.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
    Ok(Written { path, values })
}
