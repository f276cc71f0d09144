//! What can go wrong with Redis, in words that a caller can act on.
//!
//! The driver's own error stays inside this crate: its text is kept, its type is not.

use crate::tls;
use redis::{ErrorKind, ServerErrorKind};
use std::time::Duration;
use synod_protocol as protocol;
use synod_protocol::Applied;

/// A call to Redis that did not do what was asked.
///
/// [`RedisError::applied`] says whether Redis may have done it all the same: repeat only what may be done twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// The configuration cannot be used. Never carries the password.
    #[error("the Redis configuration is not usable: {0}")]
    InvalidConfig(String),
    /// No connection, or a server that does not serve (loading, read only, no master): nothing was done.
    #[error("Redis is unavailable: {0}")]
    Away(String),
    /// A connection that broke before the answer came: it may have been done.
    #[error("Redis is unavailable: {0}")]
    Unavailable(String),
    /// No answer within the limit.
    #[error("Redis did not answer within {} ms", limit.as_millis())]
    Timeout {
        /// The limit that passed.
        limit: Duration,
    },
    /// A script failed, or was forgotten by the server as often as it was loaded.
    #[error("Redis script {script} failed: {message}")]
    Script {
        /// The script's file name, without `.lua`.
        script: &'static str,
        /// What Redis said.
        message: String,
    },
    /// The server does not let us in, or not do this: a password, a certificate, a permission. Nothing was done, and
    /// nothing will be until somebody changes it; says what.
    #[error("Redis refused {0}")]
    Denied(String),
    /// The server refused a command: out of memory, a key of another type.
    #[error("Redis refused a command: {0}")]
    Refused(String),
    /// An answer, or something stored, that does not read as what it should be.
    #[error("Redis holds or answered something unexpected: {0}")]
    Unexpected(String),
    /// A key that this crate does not touch.
    #[error("not a key that may be used here: {0}")]
    InvalidKey(String),
    /// A request was repeated under the `Idempotency-Key` of another one: nothing was done.
    #[error("this Idempotency-Key was used for another request")]
    Reused,
    /// What may grow is at its limit.
    #[error("{what} in Redis is full, the limit is {limit}")]
    Full {
        /// Which list.
        what: &'static str,
        /// Its limit, in entries.
        limit: u64,
    },
}

impl RedisError {
    /// Whether the same call may succeed a little later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            RedisError::Away(_)
                | RedisError::Unavailable(_)
                | RedisError::Timeout { .. }
                | RedisError::Full { .. }
        )
    }

    /// Whether what was asked may have been done all the same.
    pub fn applied(&self) -> Applied {
        match self {
            RedisError::InvalidConfig(_)
            | RedisError::Away(_)
            | RedisError::Denied(_)
            | RedisError::Refused(_)
            | RedisError::InvalidKey(_)
            | RedisError::Reused
            | RedisError::Full { .. } => Applied::No,
            RedisError::Unavailable(_)
            | RedisError::Timeout { .. }
            | RedisError::Script { .. }
            | RedisError::Unexpected(_) => Applied::Unknown,
        }
    }

    /// The variant's name, as metrics label it.
    pub fn kind(&self) -> &'static str {
        match self {
            RedisError::InvalidConfig(_) => "invalid_config",
            RedisError::Away(_) => "away",
            RedisError::Denied(_) => "denied",
            RedisError::Unavailable(_) => "unavailable",
            RedisError::Timeout { .. } => "timeout",
            RedisError::Script { .. } => "script",
            RedisError::Refused(_) => "refused",
            RedisError::Unexpected(_) => "unexpected",
            RedisError::InvalidKey(_) => "invalid_key",
            RedisError::Reused => "reused",
            RedisError::Full { .. } => "full",
        }
    }
}

/// What a script's command that its caller may not run is answered with: no code tells it from a script's own errors.
const SCRIPT_DENIED: &str = "The user executing the script can't";
/// What to do about a permission that is missing.
const ALLOW: &str = "allow it with ACL SETUSER (docs/security.md lists what is needed)";

impl RedisError {
    /// A connection that the server did not allow, or that we did not: `None` for any other reason.
    pub(crate) fn denied_at(
        address: &impl std::fmt::Display,
        error: &redis::RedisError,
    ) -> Option<RedisError> {
        if let Some(why) = tls::distrust_in(error) {
            let why =
                why.replace("as the ca", "as redis_ca").replace("cert and key", "redis_cert and redis_key");
            return Some(RedisError::Denied(format!("the connection to {address}: {why}")));
        }
        match error.kind() {
            ErrorKind::AuthenticationFailed => Some(RedisError::Denied(format!(
                "the password at {address}; check user and password of redis_url, or redis_password_file"
            ))),
            _ => match denied(error)? {
                RedisError::Denied(why) => Some(RedisError::Denied(format!("{why} (at {address})"))),
                other => Some(other),
            },
        }
    }
}

/// A command that we may not run, or not on these keys.
fn denied(error: &redis::RedisError) -> Option<RedisError> {
    let text = error.to_string();
    let code = error.code();
    if code == Some("NOAUTH") {
        return Some(RedisError::Denied(
            "to answer before a password is given: put user and password into redis_url, or name a redis_password_file".to_owned(),
        ));
    }
    if code == Some("NOPERM") || text.contains(SCRIPT_DENIED) {
        let said = error.detail().map_or(text.as_str(), |said| said);
        return Some(RedisError::Denied(format!("a command: {said}; {ALLOW}")));
    }
    None
}

/// Whether the connection that gave this error must be replaced: it broke, or its server lost its role.
pub(crate) fn breaks_connection(error: &redis::RedisError) -> bool {
    error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> RedisError {
        if let Some(denied) = denied(&error) {
            return denied;
        }
        let text = error.to_string();
        match error.kind() {
            ErrorKind::Server(
                ServerErrorKind::BusyLoading
                | ServerErrorKind::ReadOnly
                | ServerErrorKind::MasterDown
                | ServerErrorKind::ClusterDown
                | ServerErrorKind::TryAgain,
            ) => RedisError::Away(text),
            ErrorKind::Io => RedisError::Unavailable(text),
            ErrorKind::InvalidClientConfig | ErrorKind::Client => RedisError::InvalidConfig(text),
            ErrorKind::AuthenticationFailed | ErrorKind::Server(_) | ErrorKind::Extension => {
                RedisError::Refused(text)
            }
            _ if error.is_unrecoverable_error() => RedisError::Unavailable(text),
            _ => RedisError::Unexpected(text),
        }
    }
}

impl From<redis::ParsingError> for RedisError {
    fn from(error: redis::ParsingError) -> RedisError {
        RedisError::Unexpected(error.to_string())
    }
}

impl From<RedisError> for protocol::Error {
    fn from(error: RedisError) -> protocol::Error {
        let (text, applied) = (error.to_string(), error.applied());
        let shown = match error {
            RedisError::InvalidKey(_) => return protocol::Error::invalid(text),
            RedisError::Reused => return protocol::Error::new(protocol::Code::Unprocessable, text),
            RedisError::Unexpected(_) => protocol::Error::new(protocol::Code::Internal, text),
            _ => protocol::Error::unavailable(text),
        };
        protocol::Error { applied: Some(applied), ..shown }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_door_says_redis_and_a_fitting_code() {
        let check = |error: RedisError, code: protocol::Code| {
            let shown = protocol::Error::from(error);
            assert_eq!(shown.code, code, "{shown}");
            assert!(code == protocol::Code::InvalidArgument || shown.message.contains("Redis"), "{shown}");
        };
        check(RedisError::Unavailable("refused".into()), protocol::Code::Unavailable);
        check(RedisError::Timeout { limit: Duration::from_secs(1) }, protocol::Code::Unavailable);
        check(RedisError::Script { script: "s", message: "m".into() }, protocol::Code::Unavailable);
        check(RedisError::Full { what: "an inbox", limit: 1 }, protocol::Code::Unavailable);
        check(RedisError::Unexpected("x".into()), protocol::Code::Internal);
        check(RedisError::InvalidKey("x".into()), protocol::Code::InvalidArgument);
    }
}
