//! An agent that counts, is killed (SIGKILL), and goes on counting in its next process: it saves its context after
//! each task and begins with the last good one.
//!
//! `SYNOD_BIN=target/debug/synod cargo run -p agent-sdk --example checkpoints`

use agent_sdk::testing::TestMesh;
use agent_sdk::{Agent, Checkpoint, CheckpointPolicy, Context, Mesh, MeshConfig, TaskError, task};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

async fn count() -> Result<(), Box<dyn std::error::Error>> {
    let seen = Arc::new(AtomicU64::new(0));
    let (counts, saved, found) = (seen.clone(), seen.clone(), seen);
    let next = move |context: Context, (): ()| {
        let seen = counts.fetch_add(1, Ordering::Relaxed) + 1;
        async move {
            let kept = context.save_checkpoint().await;
            kept.map_err(|error| TaskError::retryable("not_saved", error.to_string()))?;
            Ok::<_, TaskError>(seen)
        }
    };
    let agent = Agent::builder("counter")
        .capability("count", next)
        .checkpoint(CheckpointPolicy::default(), move || Checkpoint::json(&saved.load(Ordering::Relaxed)))
        .restore(move |last| last.json().map(|count| found.store(count, Ordering::Relaxed)))
        .build(&Mesh::connect(MeshConfig::from_env()?)?)?;
    agent.run(std::future::pending()).await?;
    Ok(())
}

fn process(mesh: &TestMesh) -> std::io::Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env_remove("SYNOD_KAFKA_BROKERS").env_remove("SYNOD_REDIS_URL");
    command.arg("count").env("SYNOD_ENDPOINTS", mesh.endpoints()).spawn()
}

async fn four(mesh: &TestMesh) -> Result<Vec<u64>, agent_sdk::WaitError> {
    let client = mesh.client();
    let one = || client.call::<u64>(task("count"), Duration::from_secs(20));
    Ok(vec![one().await?.output, one().await?.output, one().await?.output, one().await?.output])
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    if std::env::args().nth(1).as_deref() == Some("count") {
        return count().await;
    }
    let mesh = TestMesh::start().await?;
    for process_start in 0..3 {
        let mut child = process(&mesh)?;
        let counted = four(&mesh).await;
        child.kill()?;
        child.wait()?;
        assert_eq!(counted?, [1, 2, 3, 4].map(|n| process_start * 4 + n));
    }
    Ok(())
}
