//! The only code that touches Kafka, Redis and telemetry.

pub mod kafka;
pub mod primitives;
pub mod redis;
pub mod telemetry;
