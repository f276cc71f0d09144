//! The harness of the cross-crate tests: meshes as their users start them, and clients that know nothing
//! but the contract.
//!
//! ```text
//!   Services  scripts/services: Kafka and Redis of a test's own, to be taken away and given back
//!   Mesh      the built `synod`, embedded or a coordinator on real brokers
//!   Client    HTTP and raw records;    Agent   a worker on nothing but Kafka
//! ```
//!
//! What is started here ends with its handle; when a test fails, the ends of the logs are shown.

mod agent;
mod client;
mod mesh;
mod process;
mod services;

pub use agent::{Agent, Assignment, Manner};
pub use client::{Answer, Client, Message, fresh, plain};
pub use mesh::{Ground, Mesh};
pub use process::{Process, eventually, root, synod, without_settings};
pub use services::Services;
