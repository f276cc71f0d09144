//! What of librdkafka's errors is a refusal, and how it is told. Called on its threads: nothing here blocks.

use super::config::KafkaConfig;
use crate::tls;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// What the brokers' answers about rights end with, in librdkafka's words.
const NOT_ALLOWED: &str = "authorization failed";

/// The connection was not allowed: a password, a certificate.
pub(super) fn of_connection(config: &KafkaConfig, reason: &str) {
    if config.refusals.first().is_some() {
        return;
    }
    let (config, reason) = (config.clone(), reason.to_owned());
    let tell = move || {
        let line = match distrusted(&config, &reason) {
            Some(line) => line,
            None => config.security.refused_connection(&reason),
        };
        config.refusals.tell(line);
    };
    // Asking for the reason blocks. Without a thread it is asked for with the next attempt.
    if let Err(error) = std::thread::Builder::new().name("kafka-refusal".to_owned()).spawn(tell) {
        tracing::warn!(%error, "no thread to ask why Kafka refused us");
    }
}

/// Why the broker's certificate is not trusted.
fn distrusted(config: &KafkaConfig, reason: &str) -> Option<String> {
    if !reason.contains("certificate verify failed") {
        return None;
    }
    // As in `ssl://host:port/bootstrap: SSL handshake failed: …`.
    let address = reason.split_once("://")?.1.split('/').next()?;
    let (host, port) = address.rsplit_once(':')?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let why = tls::why_not_trusted(host, port.parse().ok()?, config.security.tls.ca.as_deref()?)?;
    let why = why.replace("as the ca", "as kafka_ca");
    Some(format!("Kafka's certificate at {address} was refused: it {why}"))
}

/// Of an error of a whole client: some are about rights, as that to write at all.
pub(super) fn of_reason(config: &KafkaConfig, reason: &str) {
    if reason.contains(NOT_ALLOWED) {
        config.refusals.tell(config.security.refused_right("to let us write at all", reason));
    } else if reason.contains("SSL alert")
        || reason.contains("sslv3 alert")
        || reason.contains("tlsv1 alert")
        || reason.contains("tlsv13 alert")
    {
        // TLS 1.3: the other side looks at our certificate after the handshake is over for us.
        of_connection(config, reason);
    }
}

/// Something that may not be done; `what` says what.
pub(super) fn of_right(config: &KafkaConfig, error: &KafkaError, what: impl FnOnce() -> String) {
    if let Some(code) = error.rdkafka_error_code() {
        of_code(config, code, what);
    }
}

/// The same of a bare code.
pub(super) fn of_code(config: &KafkaConfig, code: RDKafkaErrorCode, what: impl FnOnce() -> String) {
    use RDKafkaErrorCode as E;
    if let E::TopicAuthorizationFailed | E::GroupAuthorizationFailed | E::ClusterAuthorizationFailed = code {
        config.refusals.tell(config.security.refused_right(&what(), &code.to_string()));
    }
}
