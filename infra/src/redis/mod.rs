//! Redis: the working memory. Nothing in here is the only copy of a durable fact.
//!
//! ```text
//!  coordinator: deliver --script--> inbox --BLMOVE--> taken:<incarnation>   agent: take, settle
//!               present <--NUMSUB-- presence channel <--SUBSCRIBE--         agent: while it runs
//!               beats   <--HSCAN--  heartbeats       <--HSET--              agent: now and then
//!               lease, views, replies, snapshots
//!               news    <--BLPOP-- contexts' news    <--script, RPUSH-- agent: saves its context
//! ```
//!
//! Every call has a time limit, every key is named in [`keys`], every rule that needs "look and then write"
//! is a Lua script in `scripts/`.

pub mod bare;
mod bell;
mod blocking;
pub mod breakers;
mod client;
mod config;
pub mod context;
mod error;
pub mod inbox;
mod inbox_reader;
pub mod keys;
pub mod lease;
pub mod leases;
mod link;
mod listener;
mod once;
pub mod permits;
mod place;
pub mod presence;
pub mod reply;
mod script;
mod server;
pub mod snapshots;
mod survey;
pub mod view;

pub use client::{PoolStanding, Redis};
pub use config::RedisConfig;
pub use error::RedisError;
pub use once::{ONCE_KEPT, Once};
pub use server::{EmbeddedRedis, EmbeddedRedisError};
pub use survey::Survey;

pub(crate) use bell::{Ring, Word};
pub(crate) use blocking::{BlockingReader, PIECE, Read};
pub(crate) use link::Backoff;
pub(crate) use listener::Heard;
pub(crate) use once::Repeatable;
pub(crate) use script::{Call, Script};
