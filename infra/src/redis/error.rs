//! What can go wrong with Redis, in words that a caller can act on.
//!
//! The driver's own error stays inside this crate: its text is kept, its type is not.

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
    /// The server refused a command: out of memory, no permission, a key of another type.
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

/// Whether the connection that gave this error must be replaced: it broke, or its server lost its role.
pub(crate) fn breaks_connection(error: &redis::RedisError) -> bool {
    error.is_unrecoverable_error()
        || matches!(error.kind(), ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown))
}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> RedisError {
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
