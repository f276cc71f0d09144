//! Handlers: typed where they are written, JSON where they are called.

use super::context::Context;
use crate::door::DoorError;
use crate::handle::WaitError;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::sync::Arc;
use synod_protocol::Json;
use synod_protocol::command::Failure;
use synod_protocol::limits::TEXT_BYTES;

/// Why a handler has no output.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// The attempt failed; the task's retry policy says whether there is another.
    #[error("{code}: {message}")]
    Failed {
        /// Your own code, such as `rate_limited`.
        code: String,
        /// One sentence.
        message: String,
        /// Whether another attempt may succeed.
        retryable: bool,
    },
    /// This agent does not want it: another one gets it, and no attempt is used up.
    #[error("declined, {code}: {message}")]
    Declined {
        /// Your own code.
        code: String,
        /// One sentence.
        message: String,
    },
}

impl TaskError {
    /// Another attempt may succeed.
    pub fn retryable(code: impl Into<String>, message: impl Into<String>) -> TaskError {
        TaskError::Failed { code: code.into(), message: message.into(), retryable: true }
    }

    /// No attempt will succeed.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> TaskError {
        TaskError::Failed { code: code.into(), message: message.into(), retryable: false }
    }

    /// Somebody else should do it.
    pub fn decline(code: impl Into<String>, message: impl Into<String>) -> TaskError {
        TaskError::Declined { code: code.into(), message: message.into() }
    }

    /// As the mesh takes it, cut to its limits.
    pub(crate) fn failure(&self) -> Failure {
        let (code, message, retryable) = match self {
            TaskError::Failed { code, message, retryable } => (code, message, *retryable),
            TaskError::Declined { code, message } => (code, message, true),
        };
        Failure { code: cut(code), message: cut(message), retryable }
    }
}

/// The beginning of a text that fits into a command.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// A task that a handler itself submitted, or a word to the mesh, that came to nothing.
impl From<DoorError> for TaskError {
    fn from(error: DoorError) -> TaskError {
        let retryable = error.code().is_none_or(|code| code.is_retryable());
        let code = error.code().map_or("unavailable", |code| code.as_str()).to_owned();
        TaskError::Failed { code, message: error.to_string(), retryable }
    }
}

impl From<WaitError> for TaskError {
    fn from(error: WaitError) -> TaskError {
        let message = error.to_string();
        match error {
            WaitError::Door(error) => error.into(),
            WaitError::Ended { .. } => TaskError::retryable("subtask_ended", message),
            WaitError::NotInTime { .. } => TaskError::retryable("subtask_late", message),
            WaitError::Output { .. } => TaskError::permanent("subtask_output", message),
        }
    }
}

pub(crate) type Handler =
    Arc<dyn Fn(Context, Json) -> BoxFuture<'static, Result<Json, TaskError>> + Send + Sync>;

/// Reads the input, runs the handler, writes the output.
pub(crate) fn erased<I, O, H, F>(handler: H) -> Handler
where
    I: DeserializeOwned + Send + 'static,
    O: Serialize,
    H: Fn(Context, I) -> F + Send + Sync + 'static,
    F: Future<Output = Result<O, TaskError>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |context, input| {
        let handler = handler.clone();
        async move {
            let input = input.to::<I>().map_err(|e| {
                TaskError::permanent("invalid_input", format!("the input does not read: {e}"))
            })?;
            let output = handler(context, input).await?;
            Json::of(&output).map_err(|e| {
                TaskError::permanent("invalid_output", format!("the output cannot be written: {e}"))
            })
        }
        .boxed()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let failure = TaskError::permanent("c", format!("x{}", "ж".repeat(5000))).failure();
        assert_eq!(failure.message.len(), TEXT_BYTES - 1);
        assert!(!failure.retryable);
        assert!(TaskError::decline("c", "m").failure().retryable);
    }
}
