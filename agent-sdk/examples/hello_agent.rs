//! An agent and a client on a mesh of their own, in one process.
//!
//! `SYNOD_BIN=target/debug/synod cargo run -p agent-sdk --example hello_agent`

use agent_sdk::testing::TestMesh;
use agent_sdk::{Agent, Context, TaskError, task};
use std::time::Duration;

async fn greet(context: Context, name: String) -> Result<String, TaskError> {
    if name.is_empty() {
        return Err(TaskError::permanent("no_name", "somebody must be greeted"));
    }
    Ok(format!("Hello, {name}! I am {}.", context.agent_id()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // In an application: Mesh::connect(MeshConfig::from_env()?)?
    let mesh = TestMesh::start().await?;

    let agent = Agent::builder("greeter").capability("greet", greet).concurrency(4).build(&mesh)?;
    let agent = agent.start().await?;

    let limit = Duration::from_secs(10);
    let answer = mesh.client().call::<String>(task("greet").input("world"), limit).await?;
    println!("{} (in {:?})", answer.output, answer.took());
    assert_eq!(answer.output, "Hello, world! I am greeter.");

    let refused = mesh.client().call::<String>(task("greet").input(""), limit).await;
    println!("{}", refused.as_ref().map_or_else(ToString::to_string, |r| r.output.clone()));
    assert!(refused.is_err());

    let report = agent.stop().await?;
    assert_eq!((report.completed, report.failed), (1, 1));
    Ok(())
}
