//! What is wrong with a mesh's surroundings, and what to do about it: Kafka, Redis, the coordinators, and the clocks of all of them.
//!
//! ```text
//! examine ── coordinators (HTTP) ── how many shards ──> kafka ──> topics, copies, an append, its clock
//!                                                  └──> redis ──> role, eviction, persistence, leases, its clock
//! ```
//!
//! Every area has a limit of its own and stands for itself: what is away is told as such, and the others are looked at all the same.
//! Nothing is mended here, and nothing is written but one record to [`TOPIC`], which is made for that.

mod area;
mod clock;
mod coordinators;
mod kafka;
mod redis;

pub use area::{Finding, State};
pub use kafka::TOPIC;

use crate::mesh::{Api, Dialling};
use crate::settings::{Settings, Source};
use area::Area;
use serde::Serialize;
use std::time::Duration;
use synod_protocol::Error;

/// Everything that was looked at.
#[derive(Clone, Debug, Serialize)]
pub struct Examination {
    /// The worst of it.
    pub state: State,
    /// One thing after the other.
    pub checks: Vec<Finding>,
    /// Whether anything at all answered.
    #[serde(skip)]
    pub reached: bool,
}

/// What is to be looked at.
#[derive(Clone, Debug)]
pub struct Patient {
    /// Where Kafka and Redis are.
    pub dialling: Dialling,
    /// Where a coordinator is.
    pub api: Api,
    /// Shards, where no coordinator tells.
    pub partitions: u32,
    /// Copies that topics are to have.
    pub replication: u32,
    /// Kafka and Redis are those of an embedded mesh: they keep nothing, and are not asked to.
    pub embedded: bool,
    /// Whether an append may be tried.
    pub write: bool,
    /// The longest that one area may take.
    pub limit: Duration,
}

impl Patient {
    /// As the settings say.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub fn of(settings: &Settings, write: bool, limit: Duration) -> Result<Patient, Error> {
        Ok(Patient {
            dialling: Dialling::of(settings, "synod-doctor"),
            api: Api::of(settings)?,
            partitions: settings.partitions.value,
            replication: u32::from(settings.replication.value),
            embedded: matches!(settings.kafka_brokers.source, Source::Endpoints(_)),
            write,
            limit,
        })
    }

    /// The limit of one question: an area asks a few of them.
    fn ask(&self) -> Duration {
        self.limit / 4
    }
}

/// Looks at everything; takes two limits at most, and ends whatever hangs.
pub async fn examine(patient: &Patient) -> Examination {
    let (mut coordinators, mut kafka, mut redis) =
        (Area::new("coordinators"), Area::new("kafka"), Area::new("redis"));
    let looked = tokio::time::timeout(patient.limit, coordinators::examine(patient, &mut coordinators)).await;
    // They know how many shards there are; whoever asks may be set otherwise.
    let partitions = looked.as_ref().ok().copied().flatten().unwrap_or(patient.partitions);
    if looked.is_err() {
        coordinators.late(patient.limit);
    }
    let known = Patient { partitions, ..patient.clone() };
    let (in_kafka, in_redis) = tokio::join!(
        tokio::time::timeout(patient.limit, kafka::examine(&known, &mut kafka)),
        tokio::time::timeout(patient.limit, redis::examine(&known, &mut redis)),
    );
    if in_kafka.is_err() {
        kafka.late(patient.limit);
    }
    if in_redis.is_err() {
        redis.late(patient.limit);
    }
    let areas = [kafka, redis, coordinators];
    let reached = areas.iter().any(|area| area.reached);
    let checks: Vec<Finding> = areas.into_iter().flat_map(|area| area.findings).collect();
    let state = checks.iter().map(|finding| finding.state).max().unwrap_or(State::Ok);
    Examination { state, checks, reached }
}
