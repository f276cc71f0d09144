//! Agents and clients on a real Redis and a real (embedded) Kafka; the coordinator is a stand-in that misbehaves
//! on order. They fail where there is no `redis-server`.
#![expect(clippy::unwrap_used, reason = "here a failed step is a failed test, in helper functions too")]

mod agents;
mod clients;
mod collecting;
mod leaving;
mod locks;
mod patterns;
mod pending;
mod stand_in;
mod starting;
mod typed;

use agent_sdk::{AgentBuilder, Mesh, MeshConfig, RunningAgent};
use stand_in::StandIn;
use std::time::Duration;
use synod_infra::redis::EmbeddedRedis;

/// The limit of anything that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(10);

/// A Redis and a coordinator of the test's own, and a handle on them.
pub(crate) struct Bed {
    pub(crate) coordinator: StandIn,
    pub(crate) mesh: Mesh,
    pub(crate) config: MeshConfig,
    /// Goes last.
    pub(crate) redis: EmbeddedRedis,
}

impl Bed {
    pub(crate) async fn start() -> Bed {
        let redis = EmbeddedRedis::start().await.expect("redis-server must be installed for these tests");
        let coordinator = StandIn::start(&redis).await;
        let config = MeshConfig::http(coordinator.url()).with_redis(redis.url());
        Bed { coordinator, mesh: Mesh::connect(config.clone()).unwrap(), config, redis }
    }

    pub(crate) async fn run(&self, agent: AgentBuilder) -> RunningAgent {
        let started = agent.build(&self.mesh).unwrap().start();
        tokio::time::timeout(SOON, started).await.expect("registered in time").unwrap()
    }
}
