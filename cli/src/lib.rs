//! The `synod` command line, as a library so that its tests can reach it; `main.rs` only calls
//! [`run`].
//!
//! ```text
//! main ── run ── commands/<noun>.rs   one file per noun: arguments, what it does, its exit status
//!                  │
//!                  ├─ settings.rs     what is in force: flag over environment over file over default
//!                  ├─ output.rs       data on stdout as table, JSON or YAML; exit statuses
//!                  ├─ terminal.rs     width, colour, and names made harmless for a screen
//!                  ├─ mesh/           a mesh of our own in this process, or the way to one that runs
//!                  ├─ program/        any program as an agent: one process group per attempt
//!                  ├─ ledger/         a shard's records from Kafka or a file: exported, read as one entity's life
//!                  ├─ dlq/            dead letters, and what operators did about them
//!                  ├─ doctor/         what is wrong with Kafka, Redis or the coordinators
//!                  ├─ top/            the mesh to look at, live
//!                  ├─ demo/           a tree's files analysed by three agents, one of them killed; scenes
//!                  ├─ reference.rs    metrics, settings, error codes, commands: as rows and as pages of docs/reference
//!                  └─ validate/       one small check per promise
//! ```
//!
//! A new command is a file in `commands/` and a variant of [`commands::Command`]; nothing is listed
//! there before it does its work.

pub mod bench;
pub mod commands;
pub mod demo;
pub mod dlq;
pub mod doctor;
mod explanation;
pub mod ledger;
pub mod mesh;
pub mod output;
pub mod program;
pub mod reference;
pub mod settings;
pub mod terminal;
pub mod top;
pub mod validate;

pub use commands::run;
