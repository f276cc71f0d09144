//! The words everyone speaks: ids, time, commands, events, the envelope, the codecs, the topics.
//!
//! This crate is pure. It never reads a clock, draws a random number or does I/O, and it knows
//! neither tokio nor Kafka nor Redis. A value of a type in here is valid: the limits are in the
//! constructors, and `Deserialize` goes through the same ones.
//!
//! ```text
//! headers + bytes --Envelope::from_headers--> Envelope --\
//!                 --Command::decode---------> Command  ---> a shard decides --> Event --> headers + bytes
//! ```

pub mod approval;
pub mod breaker;
pub mod catalogue;
pub mod checkpoint;
pub mod codec;
pub mod command;
pub mod envelope;
pub mod error;
pub mod event;
pub mod event_stream;
pub mod exact;
pub mod http;
pub mod id;
pub mod json;
pub mod limits;
pub mod negotiation;
pub mod primitives;
pub mod retry;
pub mod snapshot;
pub mod time;
pub mod topics;
pub mod trace;
pub mod track;
pub mod view;
pub mod workflow;

pub use codec::ContentType;
pub use command::Command;
pub use envelope::{Envelope, Position, ReplyTo};
pub use error::{Applied, Code, Error};
pub use event::Event;
pub use exact::{Exact, ExactError};

pub use id::{Capability, EntityId, Id, Incarnation, Name, WorkKind, Workspace};
pub use json::Json;
pub use limits::Limits;
pub use time::Timestamp;
