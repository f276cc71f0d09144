//! The only code that touches Kafka, Redis and telemetry.

pub mod kafka;
pub mod primitives;
pub mod redis;
mod refusals;
pub mod telemetry;
mod tls;

pub use refusals::Refusals;
pub use tls::{Tls, TlsError};
