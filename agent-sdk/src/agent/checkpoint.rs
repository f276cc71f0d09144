//! What an agent saves of its own context, and what a later process start finds of it.
//!
//! ```text
//!   capture (yours) --bytes or JSON--> a version in Redis --checksum is right--> restore (yours), before any work
//! ```
//!
//! It lives as long as Redis keeps it, and is no place for what a task must not lose: that is the task's output.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::redis::context::{CONTEXT_BYTES_LIMIT, CONTEXT_KEEP_LIMIT};
use synod_protocol::checkpoint::{CheckpointCause, ContextForm, ContextVersion};
use synod_protocol::{Error, Incarnation, Timestamp};

/// All versions of one agent's context together, in bytes.
const TOGETHER: usize = 64 << 20;
/// How often an interval may come, at most and at least.
const EVERY: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(100)..=Duration::from_secs(24 * 3_600);

/// When an agent's context is saved, and how much of it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointPolicy {
    /// So often, 100 ms to 24 h; `None` by default.
    pub every: Option<Duration>,
    /// When a handler has ended, well or not, and when the agent ends in good order; by default.
    pub after_task: bool,
    /// When a handler has failed; by default.
    pub on_error: bool,
    /// Versions that are kept, 1 to 50; 10 by default.
    pub keep: u32,
    /// Bytes of one version, up to 4 MiB; 1 MiB by default. All versions together: up to 64 MiB.
    pub max_bytes: usize,
}

impl Default for CheckpointPolicy {
    fn default() -> Self {
        CheckpointPolicy { every: None, after_task: true, on_error: true, keep: 10, max_bytes: 1 << 20 }
    }
}

impl CheckpointPolicy {
    /// Only by hand.
    pub fn by_hand() -> CheckpointPolicy {
        CheckpointPolicy { after_task: false, on_error: false, ..CheckpointPolicy::default() }
    }

    /// And so often besides.
    #[must_use]
    pub fn every(self, every: Duration) -> CheckpointPolicy {
        CheckpointPolicy { every: Some(every), ..self }
    }

    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |why: String| Err(Error::invalid(format!("the checkpoint policy: {why}")));
        match self {
            CheckpointPolicy { every: Some(every), .. } if !EVERY.contains(every) => {
                wrong(format!("every is {every:?}, it must be 100 ms to 24 h"))
            }
            CheckpointPolicy { keep, .. } if !(1..=CONTEXT_KEEP_LIMIT).contains(keep) => {
                wrong(format!("keep is {keep}, it must be 1 to {CONTEXT_KEEP_LIMIT}"))
            }
            CheckpointPolicy { max_bytes, .. } if !(1..=CONTEXT_BYTES_LIMIT).contains(max_bytes) => {
                wrong(format!("max_bytes is {max_bytes}, it must be 1 to {CONTEXT_BYTES_LIMIT}"))
            }
            CheckpointPolicy { keep, max_bytes, .. } if *keep as usize * max_bytes > TOGETHER => {
                wrong(format!("{keep} versions of {max_bytes} bytes are more than {TOGETHER} bytes together"))
            }
            _ => Ok(()),
        }
    }
}

/// What is saved: bytes or JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    pub(super) form: ContextForm,
    pub(super) bytes: Vec<u8>,
}

impl Checkpoint {
    /// Bytes that only the agent can read.
    pub fn bytes(bytes: impl Into<Vec<u8>>) -> Checkpoint {
        Checkpoint { form: ContextForm::Bytes, bytes: bytes.into() }
    }

    /// JSON, which operators can read as well.
    ///
    /// # Errors
    /// It cannot be written as JSON.
    pub fn json(value: &(impl Serialize + ?Sized)) -> Result<Checkpoint, CheckpointError> {
        let bytes = serde_json::to_vec(value).map_err(|error| CheckpointError::Capture(error.to_string()))?;
        Ok(Checkpoint { form: ContextForm::Json, bytes })
    }
}

/// Why a context was not saved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// The agent was built without a checkpoint.
    #[error("this agent has no checkpoint: build it with AgentBuilder::checkpoint")]
    None,
    /// What was to be saved could not be had.
    #[error("the agent's context could not be captured: {0}")]
    Capture(String),
    /// It is larger than the agent's policy allows.
    #[error("the agent's context has {bytes} bytes, the limit is {limit}")]
    TooLarge {
        /// How large.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// A newer process start of the same agent writes there now.
    #[error("fenced: the agent was started anew as {by}")]
    Fenced {
        /// Which.
        by: Incarnation,
    },
    /// Redis did not take it; it may be there all the same.
    #[error("{0}")]
    Redis(#[from] synod_infra::redis::RedisError),
}

/// A context that was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedCheckpoint {
    /// Its version; it only grows.
    pub version: u64,
    /// Its length.
    pub bytes: usize,
    /// When, by Redis' clock.
    pub saved_at: Timestamp,
}

/// The newest context that is whole, as a new process start finds it.
#[derive(Clone, Debug)]
pub struct Restored {
    pub(super) version: ContextVersion,
    pub(super) bytes: Vec<u8>,
    pub(super) skipped: Vec<SkippedCheckpoint>,
}

/// A version that a new process start could not begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SkippedCheckpoint {
    /// Which.
    pub version: u64,
    /// Why not.
    pub why: String,
}

impl Restored {
    /// Its version.
    pub fn version(&self) -> u64 {
        self.version.version
    }

    /// When it was saved, by Redis' clock.
    pub fn saved_at(&self) -> Timestamp {
        self.version.saved_at
    }

    /// Why it was saved.
    pub fn cause(&self) -> CheckpointCause {
        self.version.cause
    }

    /// The process start that saved it.
    pub fn saved_by(&self) -> &Incarnation {
        &self.version.incarnation
    }

    /// What was saved.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, read as JSON.
    ///
    /// # Errors
    /// It is no JSON of that shape.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.bytes)
    }

    /// Newer versions that are damaged or were not taken.
    pub fn skipped(&self) -> &[SkippedCheckpoint] {
        &self.skipped
    }
}

/// Yields what is saved.
pub(super) type Capture = Arc<dyn Fn() -> Result<Checkpoint, CheckpointError> + Send + Sync>;
/// Takes in what was saved, or says why not.
pub(super) type Restore = Arc<dyn Fn(&Restored) -> Result<(), String> + Send + Sync>;

/// What an agent was built with.
#[derive(Clone)]
pub(super) struct Checkpointing {
    pub(super) policy: CheckpointPolicy,
    pub(super) capture: Capture,
    pub(super) restore: Option<Restore>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_stays_within_the_hard_limits() {
        let good = CheckpointPolicy::default();
        let check = |policy: CheckpointPolicy, said: Option<&str>| {
            let error = policy.check().err().map(|error| error.message);
            assert_eq!(error.is_some(), said.is_some(), "{policy:?}: {error:?}");
            assert!(said.is_none_or(|said| error.is_some_and(|error| error.contains(said))), "{policy:?}");
        };
        check(good, None);
        check(good.every(Duration::from_millis(100)), None);
        check(good.every(Duration::from_millis(99)), Some("100 ms to 24 h"));
        check(good.every(Duration::from_secs(86_401)), Some("100 ms to 24 h"));
        check(CheckpointPolicy { keep: 0, ..good }, Some("1 to 50"));
        check(CheckpointPolicy { keep: 51, ..good }, Some("1 to 50"));
        check(CheckpointPolicy { max_bytes: 0, ..good }, Some("1 to 4194304"));
        check(CheckpointPolicy { max_bytes: (4 << 20) + 1, keep: 1, ..good }, Some("1 to 4194304"));
        check(CheckpointPolicy { max_bytes: 4 << 20, keep: 16, ..good }, None);
        check(CheckpointPolicy { max_bytes: 4 << 20, keep: 17, ..good }, Some("together"));
    }
}
