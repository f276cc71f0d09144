//! What is done to the mesh. Each scenario says what it is played on, how it hurts, and with which guard off its
//! check has to find something.

mod brokers;
mod coordinators;
mod fleet;
mod links;
mod negotiations;
mod network;
mod redis;
mod strikes;
mod workflows;

pub(crate) use links::Links;

use crate::Trouble;
use crate::plan::{Doors, Off};
use crate::stage::{Setting, Stage};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How long and how hard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Scale {
    /// Seconds each: for every change.
    Quick,
    /// Minutes each: for the record.
    Long,
}

impl Scale {
    /// One of two figures.
    pub(crate) fn of<T>(self, quick: T, long: T) -> T {
        match self {
            Scale::Quick => quick,
            Scale::Long => long,
        }
    }

    /// The load's time between two faults.
    pub(crate) fn between(self) -> Duration {
        self.of(Duration::from_secs(2), Duration::from_secs(6))
    }
}

/// All scenarios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Scenario {
    /// The only coordinator is killed and started again, again and again
    CoordinatorKilled,
    /// Of three coordinators one after the other is killed
    OneOfThreeKilled,
    /// A coordinator is stopped past its lease; another takes over; it goes on
    CoordinatorStopped,
    /// The same, and Redis is wiped after the take-over: inboxes know no epoch when it goes on
    StoppedAndWiped,
    /// Three coordinators are ended and started in turn
    RollingRestart,
    /// Redis: FLUSHALL
    RedisWiped,
    /// Redis is killed and comes back with its data
    RedisKilled,
    /// Redis comes back with a file of some time ago
    RedisOld,
    /// Redis comes back with nothing
    RedisEmpty,
    /// Redis refuses every write for lack of memory
    RedisFull,
    /// Of three brokers each is killed in turn: the leader of some shards, a follower of the others
    BrokerKilled,
    /// All brokers are gone for a while
    BrokersGone,
    /// A coordinator is cut from Kafka alone
    CutFromKafka,
    /// A coordinator is cut from Redis alone
    CutFromRedis,
    /// The disk under the broker's log is full
    DiskFull,
    /// A coordinator's clock is an hour off
    ClockOff,
    /// Very many agents are killed at once
    AgentsKilled,
    /// Every core is busy, twice over, and no agent may be given up by that
    CpuFull,
    /// A client repeats each command three times, out of order, through both doors
    Thrice,
    /// Contract nets and votes; owners and holders are killed or stopped between award and commitment
    Negotiations,
    /// Runs of workflows; owners, agents and Redis are killed or stopped at their turns
    Workflows,
}

/// Those of `./scripts/test`.
pub(crate) const QUICK: [Scenario; 8] = [
    Scenario::CoordinatorKilled,
    Scenario::RedisWiped,
    Scenario::BrokersGone,
    Scenario::CutFromKafka,
    Scenario::CpuFull,
    Scenario::Thrice,
    Scenario::Negotiations,
    Scenario::Workflows,
];

impl Scenario {
    /// What it is played on.
    pub(crate) fn setting(self, scale: Scale, rate: u32) -> Setting {
        let usual = Setting { rate, ..Setting::default() };
        match self {
            Scenario::OneOfThreeKilled | Scenario::RollingRestart => Setting { coordinators: 3, ..usual },
            Scenario::CoordinatorStopped | Scenario::ClockOff => Setting { coordinators: 2, ..usual },
            Scenario::StoppedAndWiped => Setting { coordinators: 2, work_ms: 200, concurrency: 64, ..usual },
            Scenario::BrokerKilled => Setting { brokers: 3, ..usual },
            Scenario::CutFromKafka => Setting { linked: true, ..usual },
            // Work that lasts, so that agents hold some of it whenever Redis forgets.
            Scenario::CutFromRedis => Setting { linked: true, work_ms: 200, concurrency: 64, ..usual },
            Scenario::RedisWiped
            | Scenario::RedisKilled
            | Scenario::RedisOld
            | Scenario::RedisEmpty
            | Scenario::RedisFull => Setting { work_ms: 200, concurrency: 64, ..usual },
            Scenario::DiskFull => Setting { small_disk: true, ..usual },
            Scenario::AgentsKilled => {
                let agents = scale.of(40, 200);
                Setting { agents, concurrency: 4, work_ms: 400, ..usual }
            }
            // Enough that coordinators and agents have work, and not more than a machine that is full can take.
            Scenario::CpuFull => Setting { rate: rate / 10, agents: 8, ..usual },
            Scenario::Thrice => Setting { clients: vec![Doors::Thrice], ..usual },
            Scenario::Negotiations => {
                let clients = vec![Doors::Http, Doors::Negotiations];
                Setting { coordinators: 2, rate: rate / 5, agents: 8, clients, ..usual }
            }
            // Steps that last, so that agents hold some of them at any moment.
            Scenario::Workflows => {
                let clients = vec![Doors::Http, Doors::Workflows];
                Setting { coordinators: 2, rate: rate / 5, agents: 8, work_ms: 100, clients, ..usual }
            }
            _ => usual,
        }
    }

    /// The guard that is off in its control run.
    pub(crate) fn guard(self) -> Off {
        match self {
            Scenario::CoordinatorKilled
            | Scenario::OneOfThreeKilled
            | Scenario::RollingRestart
            | Scenario::BrokersGone
            | Scenario::CutFromKafka
            | Scenario::DiskFull
            | Scenario::Negotiations
            | Scenario::Workflows
            | Scenario::ClockOff => Off::Answers,
            Scenario::CoordinatorStopped => Off::Inboxes,
            Scenario::StoppedAndWiped
            | Scenario::RedisWiped
            | Scenario::RedisKilled
            | Scenario::RedisOld
            | Scenario::RedisEmpty
            | Scenario::CutFromRedis => Off::Memory,
            Scenario::RedisFull => Off::Canary,
            Scenario::BrokerKilled => Off::Copies,
            Scenario::AgentsKilled => Off::Loss,
            Scenario::CpuFull => Off::Life,
            Scenario::Thrice => Off::Ids,
        }
    }

    /// Hurts.
    pub(crate) async fn play(self, stage: &mut Stage, scale: Scale) -> Result<(), Trouble> {
        match self {
            Scenario::CoordinatorKilled => coordinators::killed(stage, scale).await,
            Scenario::OneOfThreeKilled => coordinators::one_of_three(stage, scale).await,
            Scenario::CoordinatorStopped => coordinators::stopped(stage, scale).await,
            Scenario::StoppedAndWiped => coordinators::stopped_and_wiped(stage, scale).await,
            Scenario::RollingRestart => coordinators::rolling(stage, scale).await,
            Scenario::ClockOff => coordinators::clock_off(stage, scale).await,
            Scenario::RedisWiped => redis::wiped(stage, scale).await,
            Scenario::RedisKilled => redis::killed(stage, scale).await,
            Scenario::RedisOld => redis::old(stage, scale).await,
            Scenario::RedisEmpty => redis::empty(stage, scale).await,
            Scenario::RedisFull => redis::full(stage, scale).await,
            Scenario::BrokerKilled => brokers::killed(stage, scale).await,
            Scenario::BrokersGone => brokers::gone(stage, scale).await,
            Scenario::DiskFull => brokers::disk_full(stage, scale).await,
            Scenario::CutFromKafka => network::from_kafka(stage, scale).await,
            Scenario::CutFromRedis => network::from_redis(stage, scale).await,
            Scenario::AgentsKilled => fleet::killed(stage, scale).await,
            Scenario::CpuFull => fleet::cpu_full(stage, scale).await,
            Scenario::Thrice => fleet::thrice(stage, scale).await,
            Scenario::Negotiations => negotiations::struck(stage, scale).await,
            Scenario::Workflows => workflows::struck(stage, scale).await,
        }
    }
}
