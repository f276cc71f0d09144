//! The only code that touches Kafka, Redis and telemetry.
