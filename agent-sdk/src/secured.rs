//! Who we are to Kafka, Redis and the coordinators, out of the environment.

use crate::config::ConfigError;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, InvalidHeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use std::str::FromStr;
use synod_infra::Tls;
use synod_infra::kafka::KafkaSecurity;
use synod_infra::redis::RedisConfig;

/// The header by which a coordinator knows that we may ask it; none without a key.
///
/// # Errors
/// The key has characters that no header may have.
pub fn key_header(key: Option<&SecretString>) -> Result<HeaderMap, InvalidHeaderValue> {
    let mut headers = HeaderMap::new();
    if let Some(key) = key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

pub(crate) fn kafka(get: &impl Fn(&str) -> Option<String>) -> Result<KafkaSecurity, ConfigError> {
    let security = KafkaSecurity {
        protocol: named("SYNOD_KAFKA_SECURITY_PROTOCOL", get)?,
        mechanism: named("SYNOD_KAFKA_SASL_MECHANISM", get)?,
        username: get("SYNOD_KAFKA_USERNAME"),
        password: secret("SYNOD_KAFKA_PASSWORD", "SYNOD_KAFKA_PASSWORD_FILE", get)?,
        tls: files(["SYNOD_KAFKA_CA", "SYNOD_KAFKA_CERT", "SYNOD_KAFKA_KEY"], get),
    };
    let checked = security.check();
    checked.map_err(|error| invalid("SYNOD_KAFKA_SECURITY_PROTOCOL", &error))?;
    Ok(security)
}

pub(crate) fn redis(url: String, get: &impl Fn(&str) -> Option<String>) -> Result<RedisConfig, ConfigError> {
    let config = RedisConfig {
        password: secret("", "SYNOD_REDIS_PASSWORD_FILE", get)?,
        tls: files(["SYNOD_REDIS_CA", "SYNOD_REDIS_CERT", "SYNOD_REDIS_KEY"], get),
        ..RedisConfig::new(url)
    };
    config.check().map_err(|error| invalid("SYNOD_REDIS_URL", &error))?;
    Ok(config)
}

/// A secret that is said, or the first line of the file that is named.
pub(crate) fn secret(
    said: &'static str,
    file: &'static str,
    get: &impl Fn(&str) -> Option<String>,
) -> Result<Option<SecretString>, ConfigError> {
    match (get(said), get(file)) {
        (Some(_), Some(_)) => Err(invalid(file, &format!("{said} is given as well: one of them is wanted"))),
        (Some(secret), None) => Ok(Some(SecretString::from(secret))),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(&path)
                .map_err(|error| invalid(file, &format!("{path} cannot be read: {error}")))?;
            match text.lines().next() {
                Some(secret) if !secret.is_empty() => Ok(Some(SecretString::from(secret))),
                _ => Err(invalid(file, &format!("{path} is empty"))),
            }
        }
    }
}

fn files([ca, cert, key]: [&str; 3], get: &impl Fn(&str) -> Option<String>) -> Tls {
    let file = |name: &str| get(name).map(Into::into);
    Tls { ca: file(ca), cert: file(cert), key: file(key) }
}

fn named<T: FromStr<Err = String> + Default>(
    name: &'static str,
    get: &impl Fn(&str) -> Option<String>,
) -> Result<T, ConfigError> {
    get(name).map_or_else(|| Ok(T::default()), |text| text.parse().map_err(|why: String| invalid(name, &why)))
}

fn invalid(name: &'static str, why: &dyn std::fmt::Display) -> ConfigError {
    ConfigError::Invalid { name, why: why.to_string() }
}
