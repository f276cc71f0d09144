//! What agent authors import: agents, clients, typed events on a Synod mesh.
//!
//! | you want to | use |
//! |---|---|
//! | do work | [`Agent::builder`], handlers `async fn(Context, Input) -> Result<Output, TaskError>` |
//! | begin where the last process start ended | [`AgentBuilder::checkpoint`], [`AgentBuilder::restore`] |
//! | have work done | [`Client::call`], [`Client::submit`] and its [`TaskHandle`], [`Client::collect`] |
//! | decide together | a role, such as [`AgentBuilder::voter`] ([`negotiate`]); [`Client::decide`], [`Client::fuse`] and its like |
//! | run steps in their order, by many agents | [`workflow`]: [`Client::define_workflow`], [`Client::start`], [`Context::hand_off`] |
//! | ask people | [`approval`]: [`Client::request_approval`], [`Client::pending_approvals`] |
//! | hear what happens in the mesh | [`Client::events`] |
//! | exchange events of your own | [`TypedEvent`], [`Mesh::publish`], [`Mesh::subscribe`], [`Mesh::consume`] |
//! | hold values in common | [`Mesh::state`]: [`State::put`], [`State::update`], [`State::merge`] |
//! | hear of changes of shared state | [`Mesh::state_changes`] |
//! | do something in one place at a time | [`Mesh::locks`], [`Mesh::semaphores`], [`FencingGate`] |
//! | count, spend and hold back together | [`Mesh::counters`], [`Mesh::budgets`], [`Mesh::limits`] |
//! | remember things for a while | [`Mesh::memory`] |
//! | hand messages from process to process | [`Mesh::queues`] |
//! | see what was done for what | [`SpanConfig::from_env`] and [`SpanExporter::install`] in a binary; [`Context::span`] |
//! | test all that | [`testing::TestMesh`] |
//!
//! ```text
//!   Mesh --+-- commands: POST /v1/commands, batched; the topic when no coordinator answers
//!          +-- questions: GET, long polls                    (http.rs, client.rs)
//!          +-- an agent's inbox, presence, heartbeats: Redis (agent/)
//!          `-- typed events: Kafka                           (typed.rs)
//! ```
//!
//! Whatever is repeated is repeated under the same id, so that it has one effect.

mod agent;
pub mod approval;
mod client;
mod collect;
mod config;
mod coordinators;
mod counters;
mod door;
mod events;
mod events_heard;
mod fencing;
mod handle;
mod http;
mod lanes;
mod locks;
mod memory;
mod mesh;
pub mod negotiate;
mod negotiation;
mod page;
mod queues;
mod secured;
mod server_events;
mod state;
mod state_changes;
mod task;
pub mod testing;
mod typed;
mod watch;
pub mod workflow;

pub use agent::Question;
pub use agent::{
    Agent, AgentBuilder, AgentControl, AgentError, AgentReport, BuildError, Context, Recover, RunningAgent,
    StatusChange, TaskError, WorkKind, WorkSpan,
};
pub use agent::{
    Checkpoint, CheckpointError, CheckpointPolicy, Restored, SavedCheckpoint, SkippedCheckpoint,
};
pub use client::Client;
pub use collect::{Collect, Collected, Failure, Late, Success, Timings};
pub use config::{ConfigError, MeshConfig};
pub use counters::{Addition, Budgets, Counters, Limits};
pub use door::DoorError;
pub use events_heard::{EventsFrom, EventsHeard, EventsWanted, HeardEvent};
pub use fencing::FencingGate;
pub use handle::{TaskHandle, WaitError};
pub use locks::{LockGuard, LockOptions, Locks, Lost, Semaphores};
pub use memory::AgentMemory;
pub use mesh::{ConnectError, KafkaUnusable, Mesh};
pub use negotiate::{
    Acknowledgement, Alarm, Assessor, AuctionBidder, Award, Ballot, Bid, Bidder, Claimant, Claimed,
    Commitment, Demand, Estimated, Estimator, Feedback, Labelled, Measured, Offered, Proposer, Reply,
    Responder, Signal, Source, Voter, WorkReport,
};
pub use negotiation::{NegotiationError, NegotiationHandle};
pub use page::Page;
pub use queues::{ConsumeOptions, Consumed, Consumer, Queue, Queues};
pub use secured::key_header;
pub use server_events::{ServerEvent, ServerEvents};
pub use state::{Held, Key, Merge, State};
pub use state_changes::{StateChange, StateChanges};
pub use task::{TaskRequest, TaskResult, task, task_for};
pub use typed::{EventError, EventReceived, EventStream, TypedEvent};
pub use watch::{Watch, Watched};

pub use synod_infra::Tls;
pub use synod_infra::kafka::{GroupConsumer, GroupOptions, GroupStart, HandlerError, KafkaConfig};
pub use synod_infra::kafka::{KafkaSecurity, SaslMechanism, SecurityProtocol};
pub use synod_infra::primitives::memory::{Listing, MemoryPage};
pub use synod_infra::primitives::queues::{DeadPage, QueueLimits};
pub use synod_infra::redis::RedisConfig;
pub use synod_infra::telemetry::spans::{Exporter as SpanExporter, SpanConfig, SpanConfigError};
pub use synod_protocol as protocol;
pub use synod_protocol::checkpoint::CheckpointCause;
pub use synod_protocol::command::RetryPolicy;
pub use synod_protocol::event::What;
pub use synod_protocol::event_stream::{EventTypes, ToldEvent};
pub use synod_protocol::primitives::memory::{MemoryEntry, MemoryLimits, MemoryStatistics, PutMemory};
pub use synod_protocol::primitives::queue::{Enqueued, LeaseRequest, Leased, NewMessage, Place, QueueStatus};
pub use synod_protocol::view::{Task, TaskStatus};
pub use synod_protocol::{Capability, Code, EntityId, Event, Exact, Id, Json, Timestamp, Workspace};
