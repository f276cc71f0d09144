//! How a connection to Kafka is secured, and what a broker's refusal means to whoever set it up.
//!
//! The names are Kafka's own (`security.protocol`, `sasl.mechanism`), the mechanisms those that need no library beside
//! OpenSSL.

use crate::tls::{Tls, TlsError};
use rdkafka::config::ClientConfig;
use secrecy::{ExposeSecret, SecretString};
use std::fmt;
use std::str::FromStr;

/// What is spoken with the brokers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecurityProtocol {
    /// Neither encrypted nor authenticated.
    #[default]
    Plaintext,
    /// TLS; who we are is said by our certificate, if at all.
    Ssl,
    /// A user and a password, not encrypted: on a network of one's own.
    SaslPlaintext,
    /// A user and a password over TLS.
    SaslSsl,
}

/// How a password is proven.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SaslMechanism {
    /// It is sent.
    Plain,
    /// RFC 7677: it never leaves us.
    ScramSha256,
    /// The same with SHA-512.
    #[default]
    ScramSha512,
}

/// How the connections to the brokers are secured. Printing it shows no password.
#[derive(Clone, Debug, Default)]
pub struct KafkaSecurity {
    /// What is spoken.
    pub protocol: SecurityProtocol,
    /// With `sasl_*`: how the password is proven.
    pub mechanism: SaslMechanism,
    /// With `sasl_*`: the user.
    pub username: Option<String>,
    /// With `sasl_*`: its password.
    pub password: Option<SecretString>,
    /// With `ssl` and `sasl_ssl`: whom we trust, who we are.
    pub tls: Tls,
}

/// Settings that do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecurityError {
    /// A `sasl_*` protocol without a user or without a password.
    #[error("kafka_security_protocol {0} wants kafka_username and kafka_password (or kafka_password_file)")]
    NoUser(SecurityProtocol),
    /// A user or certificates for a protocol that does not use them: they would be taken for a protection.
    #[error("{what} is of no use with kafka_security_protocol {protocol}; set that to {wanted}")]
    Unused {
        /// What was set.
        what: &'static str,
        /// What is spoken.
        protocol: SecurityProtocol,
        /// What would use it.
        wanted: &'static str,
    },
    /// A file of certificates or a key.
    #[error("Kafka: {0}")]
    Tls(#[from] TlsError),
}

impl SecurityProtocol {
    const ALL: [(SecurityProtocol, &'static str); 4] = [
        (SecurityProtocol::Plaintext, "plaintext"),
        (SecurityProtocol::Ssl, "ssl"),
        (SecurityProtocol::SaslPlaintext, "sasl_plaintext"),
        (SecurityProtocol::SaslSsl, "sasl_ssl"),
    ];

    fn is_tls(self) -> bool {
        matches!(self, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl)
    }

    fn is_sasl(self) -> bool {
        matches!(self, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl)
    }
}

impl SaslMechanism {
    const ALL: [(SaslMechanism, &'static str); 3] = [
        (SaslMechanism::Plain, "PLAIN"),
        (SaslMechanism::ScramSha256, "SCRAM-SHA-256"),
        (SaslMechanism::ScramSha512, "SCRAM-SHA-512"),
    ];
}

fn named<T: Copy>(all: &[(T, &'static str)], text: &str) -> Result<T, String> {
    let found = all.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
    let names: Vec<&str> = all.iter().map(|(_, name)| *name).collect();
    found.map(|(value, _)| *value).ok_or_else(|| format!("{text:?} is none of {}", names.join(", ")))
}

fn name<T: Copy + PartialEq>(all: &[(T, &'static str)], value: T) -> &'static str {
    all.iter().find(|(other, _)| *other == value).map_or("", |(_, name)| *name)
}

impl FromStr for SecurityProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<SecurityProtocol, String> {
        named(&SecurityProtocol::ALL, text)
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(&SecurityProtocol::ALL, *self))
    }
}

impl FromStr for SaslMechanism {
    type Err = String;

    fn from_str(text: &str) -> Result<SaslMechanism, String> {
        named(&SaslMechanism::ALL, text)
    }
}

impl fmt::Display for SaslMechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(name(&SaslMechanism::ALL, *self))
    }
}

impl KafkaSecurity {
    /// Whether all of it goes together, and its files can be used.
    ///
    /// # Errors
    /// See [`SecurityError`].
    pub fn check(&self) -> Result<(), SecurityError> {
        let protocol = self.protocol;
        if protocol.is_sasl() && (self.username.is_none() || self.password.is_none()) {
            return Err(SecurityError::NoUser(protocol));
        }
        let unused = |what, wanted| Err(SecurityError::Unused { what, protocol, wanted });
        if !protocol.is_sasl() && (self.username.is_some() || self.password.is_some()) {
            return unused(
                "a user or password",
                if protocol.is_tls() { "sasl_ssl" } else { "sasl_ssl or sasl_plaintext" },
            );
        }
        if !protocol.is_tls() && !self.tls.is_empty() {
            return unused("a certificate", if protocol.is_sasl() { "sasl_ssl" } else { "ssl or sasl_ssl" });
        }
        Ok(self.tls.check()?)
    }

    /// Says it to librdkafka.
    pub(super) fn apply(&self, config: &mut ClientConfig) -> Result<(), SecurityError> {
        self.check()?;
        if self.protocol == SecurityProtocol::Plaintext {
            return Ok(());
        }
        config.set("security.protocol", self.protocol.to_string());
        if self.protocol.is_sasl() {
            config.set("sasl.mechanism", self.mechanism.to_string());
            config.set("sasl.username", self.username.as_deref().unwrap_or_default());
            config.set("sasl.password", self.password.as_ref().map_or("", |secret| secret.expose_secret()));
        }
        let files = [
            ("ssl.ca.location", &self.tls.ca),
            ("ssl.certificate.location", &self.tls.cert),
            ("ssl.key.location", &self.tls.key),
        ];
        for (setting, file) in files {
            if let Some(file) = file {
                config.set(setting, file.to_string_lossy());
            }
        }
        Ok(())
    }

    /// One line for a connection that a broker or its certificate did not allow.
    pub(super) fn refused_connection(&self, reason: &str) -> String {
        // librdkafka ends with where and when in its state machine.
        let reason = reason.split(" (after ").next().unwrap_or(reason);
        format!("Kafka refused the connection: {reason}; {}", self.mend(reason))
    }

    fn mend(&self, reason: &str) -> &'static str {
        let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
        if says(&["SASL", "Authentication failed"]) {
            return "check kafka_username, kafka_password and kafka_sasl_mechanism";
        }
        if says(&["expired"]) {
            return "a certificate has expired: renew it";
        }
        if says(&["certificate verify failed", "verify broker certificate"]) {
            return "the broker's certificate is of no authority in kafka_ca, has expired, or names another host";
        }
        if says(&["alert", "required"]) {
            return "the broker did not accept our certificate: check kafka_cert and kafka_key, and whether their authority is one of the broker's";
        }
        "check kafka_security_protocol, kafka_ca, kafka_cert and kafka_key"
    }

    /// One line for something that the user may not do.
    pub(super) fn refused_right(&self, what: &str, reason: &str) -> String {
        let user = self.username.as_ref().map_or("our user".to_owned(), |user| format!("User:{user}"));
        format!(
            "Kafka refused {what}: {reason}; allow it to {user} (kafka-acls.sh --add; docs/security.md lists what is needed)"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(security: &KafkaSecurity, said: &str) {
        let refused = security.check().expect_err(said).to_string();
        assert!(refused.contains(said), "{refused}");
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let user = || KafkaSecurity {
            username: Some("me".into()),
            password: Some("hunter2".into()),
            ..KafkaSecurity::default()
        };
        check(&user(), "set that to sasl_ssl or sasl_plaintext");
        check(&KafkaSecurity { protocol: SecurityProtocol::Ssl, ..user() }, "set that to sasl_ssl");
        let nobody = KafkaSecurity { protocol: SecurityProtocol::SaslSsl, ..KafkaSecurity::default() };
        check(&nobody, "wants kafka_username");
        let tls = Tls { ca: Some("/absent/ca.pem".into()), ..Tls::default() };
        check(&KafkaSecurity { tls: tls.clone(), ..KafkaSecurity::default() }, "set that to ssl or sasl_ssl");
        check(
            &KafkaSecurity { protocol: SecurityProtocol::SaslSsl, tls, ..user() },
            "/absent/ca.pem cannot be read",
        );
        let half = Tls { cert: Some("/x".into()), ..Tls::default() };
        check(
            &KafkaSecurity { protocol: SecurityProtocol::Ssl, tls: half, ..KafkaSecurity::default() },
            "the key",
        );
        assert!(!format!("{:?}", user()).contains("hunter2"));
    }

    #[test]
    fn names_are_read_as_kafka_writes_them() {
        for text in ["SASL_SSL", "sasl_ssl"] {
            assert_eq!(text.parse(), Ok(SecurityProtocol::SaslSsl));
        }
        assert_eq!("SCRAM-SHA-512".parse(), Ok(SaslMechanism::ScramSha512));
        assert!("GSSAPI".parse::<SaslMechanism>().unwrap_err().contains("PLAIN, SCRAM-SHA-256"));
    }
}
