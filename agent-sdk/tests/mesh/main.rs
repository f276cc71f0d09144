//! The whole way: agents and clients of this crate on a mesh that the `synod` binary runs. The binary is the one
//! that `SYNOD_BIN` names, or the one built beside these tests; without one they fail.
#![expect(clippy::unwrap_used, reason = "here a failed step is a failed test, in helper functions too")]

mod approvals;
mod calls;
mod examples;
mod fleet;
mod handoffs;
mod life;
mod negotiations;
mod roles;
mod teams;
mod track;
mod work;
mod workflows;

use agent_sdk::testing::TestMesh;
use agent_sdk::{AgentBuilder, RunningAgent};
use std::path::PathBuf;
use std::time::Duration;

/// The limit of anything that should happen.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// `target/<profile>`, where both this test and the binary are built.
pub(crate) fn built() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_owned()
}

pub(crate) fn binary() -> PathBuf {
    let binary = std::env::var_os("SYNOD_BIN").map_or_else(|| built().join("synod"), PathBuf::from);
    assert!(binary.is_file(), "{} is missing: cargo build -p synod, or set SYNOD_BIN", binary.display());
    binary
}

pub(crate) async fn mesh() -> TestMesh {
    TestMesh::start_binary(&binary(), &[]).await.unwrap()
}

pub(crate) async fn run(mesh: &TestMesh, agent: AgentBuilder) -> RunningAgent {
    let started = agent.build(mesh).unwrap().start();
    tokio::time::timeout(SOON, started).await.expect("registered in time").unwrap()
}
