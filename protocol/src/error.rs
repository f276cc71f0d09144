//! One error for every door: HTTP problem+json, Kafka replies, SDK and command line.

use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// What kind of refusal it is; the list is closed and the same everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// Malformed, an unknown field, a failed check.
    InvalidArgument,
    /// Who you are is not known.
    Unauthenticated,
    /// You may not.
    PermissionDenied,
    /// No such entity in this workspace.
    NotFound,
    /// The id is taken by something different.
    AlreadyExists,
    /// A version mismatch.
    Conflict,
    /// The entity's state does not allow it.
    InvalidTransition,
    /// A stale token, epoch, attempt or incarnation.
    Fenced,
    /// Over a limit.
    PayloadTooLarge,
    /// A stream position that is no longer kept.
    PositionLost,
    /// Well formed but impossible.
    Unprocessable,
    /// Admission refused for now.
    Overloaded,
    /// Kafka or Redis cannot be reached.
    Unavailable,
    /// Not done in time.
    DeadlineExceeded,
    /// A defect of ours.
    Internal,
}

impl Code {
    /// All of them.
    pub const ALL: [Code; 15] = [
        Code::InvalidArgument,
        Code::Unauthenticated,
        Code::PermissionDenied,
        Code::NotFound,
        Code::AlreadyExists,
        Code::Conflict,
        Code::InvalidTransition,
        Code::Fenced,
        Code::PayloadTooLarge,
        Code::PositionLost,
        Code::Unprocessable,
        Code::Overloaded,
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::Internal,
    ];

    /// When it is answered, for the reference.
    pub fn says(self) -> &'static str {
        match self {
            Code::InvalidArgument => "malformed, an unknown field, a failed check",
            Code::Unauthenticated => "who you are is not known",
            Code::PermissionDenied => "you may not",
            Code::NotFound => "no such entity in this workspace",
            Code::AlreadyExists => "the id is taken by something different",
            Code::Conflict => {
                "a version mismatch; carries `current_version`. Of a lock: `holder` and `expires_at`; of a counter: `value`"
            }
            Code::InvalidTransition => {
                "the entity's state does not allow it; carries `status` (over HTTP: `entity_status`)"
            }
            Code::Fenced => "a stale token, epoch, attempt or incarnation",
            Code::PayloadTooLarge => "over a limit",
            Code::PositionLost => "a stream position that is no longer kept; carries the oldest one that is",
            Code::Unprocessable => {
                "well formed but impossible: a cycle, an unknown dependency, an `Idempotency-Key` with another body"
            }
            Code::Overloaded => "admission is refused for now; carries `retry_after_ms`",
            Code::Unavailable => "Kafka or Redis cannot be reached; says which",
            Code::DeadlineExceeded => "not done in time",
            Code::Internal => "a defect of ours; carries `error_id` to find it in the logs",
        }
    }

    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::InvalidArgument => "invalid_argument",
            Code::Unauthenticated => "unauthenticated",
            Code::PermissionDenied => "permission_denied",
            Code::NotFound => "not_found",
            Code::AlreadyExists => "already_exists",
            Code::Conflict => "conflict",
            Code::InvalidTransition => "invalid_transition",
            Code::Fenced => "fenced",
            Code::PayloadTooLarge => "payload_too_large",
            Code::PositionLost => "position_lost",
            Code::Unprocessable => "unprocessable",
            Code::Overloaded => "overloaded",
            Code::Unavailable => "unavailable",
            Code::DeadlineExceeded => "deadline_exceeded",
            Code::Internal => "internal",
        }
    }

    /// The HTTP status that carries it.
    pub fn http_status(self) -> u16 {
        match self {
            Code::InvalidArgument => 400,
            Code::Unauthenticated => 401,
            Code::PermissionDenied => 403,
            Code::NotFound => 404,
            Code::AlreadyExists | Code::Conflict | Code::InvalidTransition | Code::Fenced => 409,
            Code::PositionLost => 410,
            Code::PayloadTooLarge => 413,
            Code::Unprocessable => 422,
            Code::Overloaded => 429,
            Code::Internal => 500,
            Code::Unavailable => 503,
            Code::DeadlineExceeded => 504,
        }
    }

    /// Whether the same request, repeated with the same ids, may succeed later.
    pub fn is_retryable(self) -> bool {
        matches!(self, Code::Overloaded | Code::Unavailable | Code::DeadlineExceeded | Code::Internal)
    }
}

/// Whether what was asked was done all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Applied {
    /// It was not: repeat it freely.
    No,
    /// It may have been: repeat only what may be done twice, or under the same `Idempotency-Key`.
    Unknown,
}

/// A refusal: what was wrong and what would be right, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Error {
    /// The kind.
    pub code: Code,
    /// One sentence: what was wrong and what would be right.
    pub message: String,
    /// The offending place, as a JSON pointer into the payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// `invalid_transition`: the entity's status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// `conflict`: the version in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current_version: Option<u64>,
    /// `overloaded`: when to try again, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// `position_lost`: the oldest position still kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// `internal`: what to look for in the logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_id: Option<String>,
    /// `unavailable`, `deadline_exceeded`, `internal` of a write on Redis: whether it was done all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<Applied>,
    /// `conflict` of a lock: who holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// `conflict` of a lock: when the holder's lease ends.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// `conflict` of a counter: its value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<i64>,
}

impl Error {
    /// A refusal of this kind.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error {
            code,
            message: message.into(),
            field: None,
            status: None,
            current_version: None,
            retry_after_ms: None,
            oldest: None,
            error_id: None,
            applied: None,
            holder: None,
            expires_at: None,
            value: None,
        }
    }

    /// `invalid_argument`.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidArgument, message)
    }

    /// `unavailable`; the message says which of Kafka and Redis.
    pub fn unavailable(message: impl Into<String>) -> Error {
        Error::new(Code::Unavailable, message)
    }

    /// `not_found`.
    pub fn not_found(what: &str, id: &str) -> Error {
        Error::new(Code::NotFound, format!("there is no {what} {id} in this workspace"))
    }

    /// `fenced`.
    pub fn fenced(message: impl Into<String>) -> Error {
        Error::new(Code::Fenced, message)
    }

    /// `invalid_transition`, with the status that stands in the way.
    pub fn invalid_transition(message: impl Into<String>, status: &str) -> Error {
        Error { status: Some(status.to_owned()), ..Error::new(Code::InvalidTransition, message) }
    }

    /// `conflict`, with the version in force: 0 where there is none.
    pub fn conflict(message: impl Into<String>, current_version: u64) -> Error {
        Error { current_version: Some(current_version), ..Error::new(Code::Conflict, message) }
    }

    /// `overloaded`, with when to try again.
    pub fn overloaded(message: impl Into<String>, retry_after_ms: u64) -> Error {
        Error { retry_after_ms: Some(retry_after_ms), ..Error::new(Code::Overloaded, message) }
    }

    /// The same, with the offending place.
    #[must_use]
    pub fn with_field(mut self, pointer: impl Into<String>) -> Error {
        self.field = Some(pointer.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.message)?;
        self.field.as_ref().map_or(Ok(()), |field| write!(f, " (at {field})"))
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use utoipa::PartialSchema as _;

    #[test]
    fn all_codes_are_all_codes() {
        let schema = serde_json::to_value(Code::schema()).unwrap();
        let declared: BTreeSet<&str> =
            schema["enum"].as_array().unwrap().iter().filter_map(|c| c.as_str()).collect();
        assert_eq!(Code::ALL.map(Code::as_str).into_iter().collect::<BTreeSet<&str>>(), declared);
    }
}
