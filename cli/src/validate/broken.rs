//! A promise that does not hold, or a check that could not even ask.

use agent_sdk::{ConnectError, DoorError, WaitError};
use synod_infra::kafka::{PublishError, ReadError, TopicError};
use synod_infra::redis::RedisError;
use synod_protocol::{Code, Error};

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It was seen, and it is not as promised.
    #[error("{0}")]
    Promise(String),
    /// The mesh refused what it should take.
    #[error("refused: {0}")]
    Refused(#[from] Error),
    /// A task did not come to its result.
    #[error("no result: {0}")]
    Wait(#[from] WaitError),
    /// A command was not taken.
    #[error("not taken: {0}")]
    Door(#[from] DoorError),
    /// No client.
    #[error("no client: {0}")]
    Connect(#[from] ConnectError),
    /// Kafka did not take a record.
    #[error("not published: {0}")]
    Publish(#[from] PublishError),
    /// Kafka did not give one.
    #[error("not read: {0}")]
    Read(#[from] ReadError),
    /// A topic could not be made or looked at.
    #[error("topics: {0}")]
    Topic(#[from] TopicError),
    /// Redis did not answer.
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
    /// This machine.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// An answer that is not what it should be.
    #[error("an answer does not read: {0}")]
    Json(#[from] serde_json::Error),
}

impl Broken {
    /// It was seen, and it is not as promised.
    pub fn promise(what: impl Into<String>) -> Broken {
        Broken::Promise(what.into())
    }
}

/// Holds if it was refused, and with this code.
pub(super) fn refused_as<T: std::fmt::Debug>(answer: Result<T, Error>, code: Code) -> Result<Error, Broken> {
    match answer {
        Err(error) if error.code == code => Ok(error),
        Err(error) => {
            Err(Broken::promise(format!("refused as {error}, where {} is promised", code.as_str())))
        }
        Ok(answer) => {
            Err(Broken::promise(format!("taken ({answer:?}), where {} is promised", code.as_str())))
        }
    }
}
