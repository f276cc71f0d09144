//! Who we are to Kafka, Redis and the coordinators, as settings. No secret is printed, wherever it came from.

use super::{Setting, Settings, SettingsError, Source};
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use synod_coordinator::ApiKeys;
use synod_infra::Tls;
use synod_infra::kafka::KafkaSecurity;
use synod_infra::redis::RedisConfig;

/// How the absence of something is written.
const NONE: &str = "none";
/// Bytes that a file with a secret, or with hashes of keys, may have.
const MAX_BYTES: u64 = 256 * 1024;

/// Something that need not be: `none` where it is not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Named<T>(pub Option<T>);

impl<T: FromStr> FromStr for Named<T>
where
    T::Err: fmt::Display,
{
    type Err = String;

    fn from_str(text: &str) -> Result<Named<T>, String> {
        match text {
            NONE => Ok(Named(None)),
            text => text.parse().map(|value| Named(Some(value))).map_err(|error: T::Err| error.to_string()),
        }
    }
}

impl fmt::Display for Named<String> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or(NONE))
    }
}

impl fmt::Display for Named<PathBuf> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(path) => write!(f, "{}", path.display()),
            None => f.write_str(NONE),
        }
    }
}

/// A secret, or `none`; shown as `***`.
#[derive(Clone, Default)]
pub struct Secret(Option<SecretString>);

impl FromStr for Secret {
    type Err = String;

    fn from_str(text: &str) -> Result<Secret, String> {
        Ok(Secret((text != NONE).then(|| SecretString::from(text))))
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "***" } else { NONE })
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({self})")
    }
}

/// `yes` or `no`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct YesNo(pub bool);

impl FromStr for YesNo {
    type Err = String;

    fn from_str(text: &str) -> Result<YesNo, String> {
        match text {
            "yes" | "true" | "1" => Ok(YesNo(true)),
            "no" | "false" | "0" => Ok(YesNo(false)),
            other => Err(format!("yes or no is wanted, not {other:?}")),
        }
    }
}

impl fmt::Display for YesNo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "yes" } else { "no" })
    }
}

/// What is kept of API keys. Shown as how many they are.
#[derive(Clone, Debug, Default)]
pub struct KeyHashes(pub ApiKeys);

impl FromStr for KeyHashes {
    type Err = String;

    fn from_str(text: &str) -> Result<KeyHashes, String> {
        match text {
            NONE => Ok(KeyHashes::default()),
            text => ApiKeys::of_hashes(text.split(',')).map(KeyHashes).map_err(|error| error.to_string()),
        }
    }
}

impl fmt::Display for KeyHashes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.count() {
            0 => f.write_str(NONE),
            count => write!(f, "{count}, hashed"),
        }
    }
}

/// What the settings come to, with the files that they name read: once, so that what was checked is what is used.
#[derive(Clone, Debug, Default)]
pub(super) struct Secured {
    kafka: KafkaSecurity,
    redis_password: Option<SecretString>,
    redis_tls: Tls,
    key: Option<SecretString>,
    keys: ApiKeys,
}

impl Settings {
    /// How the connections to Kafka are secured. Brokers that an endpoints file names are an embedded mesh's: plain.
    pub fn kafka_security(&self) -> KafkaSecurity {
        match self.kafka_brokers.source {
            Source::Endpoints(_) => KafkaSecurity::default(),
            _ => self.secured.kafka.clone(),
        }
    }

    /// How Redis is reached. One that an endpoints file names is an embedded mesh's: plain, without a password.
    pub fn redis(&self) -> RedisConfig {
        let config = RedisConfig::new(self.redis_url.value.expose());
        let Secured { redis_password, redis_tls, .. } = &self.secured;
        match self.redis_url.source {
            Source::Endpoints(_) => config,
            _ => RedisConfig { password: redis_password.clone(), tls: redis_tls.clone(), ..config },
        }
    }

    /// The key to send to coordinators.
    pub fn key(&self) -> Option<SecretString> {
        self.secured.key.clone()
    }

    /// The keys that a coordinator lets in.
    pub fn keys(&self) -> ApiKeys {
        self.secured.keys.clone()
    }

    /// For a mesh of our own that nobody else reaches: no key is asked for, and none is sent.
    pub(crate) fn without_keys(mut self) -> Settings {
        (self.secured.key, self.secured.keys) = (None, ApiKeys::default());
        self
    }

    /// Reads the files, and looks whether all of it goes together.
    pub(super) fn secure(&mut self) -> Result<(), SettingsError> {
        let files =
            |ca: &Setting<Named<PathBuf>>, cert: &Setting<Named<PathBuf>>, key: &Setting<Named<PathBuf>>| {
                Tls { ca: ca.value.0.clone(), cert: cert.value.0.clone(), key: key.value.0.clone() }
            };
        let none = Secret::default();
        let kafka = KafkaSecurity {
            protocol: self.kafka_security_protocol.value,
            mechanism: self.kafka_sasl_mechanism.value,
            username: self.kafka_username.value.0.clone(),
            password: secret("kafka_password", &self.kafka_password.value, &self.kafka_password_file.value)?,
            tls: files(&self.kafka_ca, &self.kafka_cert, &self.kafka_key),
        };
        self.secured = Secured {
            kafka,
            redis_password: secret("redis_password", &none, &self.redis_password_file.value)?,
            redis_tls: files(&self.redis_ca, &self.redis_cert, &self.redis_key),
            key: secret("api_key", &self.api_key.value, &self.api_key_file.value)?,
            keys: self.read_keys()?,
        };
        let wrong = |error: String| SettingsError::Security(error);
        self.kafka_security().check().map_err(|error| wrong(error.to_string()))?;
        self.redis().check().map_err(|error| wrong(error.to_string()))?;
        let is_sendable =
            |key: &SecretString| key.expose_secret().bytes().all(|byte| byte.is_ascii_graphic());
        match self.secured.key.as_ref().is_none_or(is_sendable) {
            true => Ok(()),
            false => {
                Err(wrong("api_key: a key has printable ASCII characters only, without spaces".to_owned()))
            }
        }
    }

    fn read_keys(&self) -> Result<ApiKeys, SettingsError> {
        let said = self.http_keys.value.0.clone();
        let Some(path) = &self.http_keys_file.value.0 else { return Ok(said) };
        let text = read("http_keys_file", path)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let filed = ApiKeys::of_hashes(lines).map_err(|error| {
            SettingsError::Security(format!("http_keys_file {}: {error}", path.display()))
        })?;
        Ok(said.and(&filed))
    }
}

fn secret(
    name: &'static str,
    said: &Secret,
    file: &Named<PathBuf>,
) -> Result<Option<SecretString>, SettingsError> {
    match (&said.0, &file.0) {
        (Some(_), Some(_)) => Err(SettingsError::Security(format!(
            "{name} and {name}_file are both given: one of them is wanted"
        ))),
        (Some(secret), None) => Ok(Some(secret.clone())),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let text = read(name, path)?;
            match text.trim_end_matches(['\r', '\n']) {
                "" => Err(SettingsError::Security(format!("{name}_file {} is empty", path.display()))),
                secret => Ok(Some(SecretString::from(secret))),
            }
        }
    }
}

fn read(name: &'static str, path: &Path) -> Result<String, SettingsError> {
    let unreadable =
        |why: String| SettingsError::Security(format!("{name}: cannot read {}: {why}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut text = String::new();
    let read = file.take(MAX_BYTES + 1).read_to_string(&mut text);
    match read.map_err(|error| unreadable(error.to_string()))? as u64 > MAX_BYTES {
        true => Err(unreadable(format!("it has more than {MAX_BYTES} bytes"))),
        false => Ok(text),
    }
}
