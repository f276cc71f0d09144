//! What an agent cannot do now is tried again; what it does not want goes to another.

use agent_sdk::testing::TestMesh;
use agent_sdk::{Agent, Context, RetryPolicy, TaskError, task};
use std::time::Duration;

/// Fails on the first two tries, as a busy service would.
async fn fetch(context: Context, url: String) -> Result<String, TaskError> {
    match context.attempt() {
        1 | 2 => Err(TaskError::retryable("rate_limited", "the service is busy")),
        attempt => Ok(format!("{url} on attempt {attempt}")),
    }
}

async fn only_small(_: Context, size: u64) -> Result<&'static str, TaskError> {
    if size > 10 { Err(TaskError::decline("too_large", "I do small ones only")) } else { Ok("small") }
}

async fn any_size(_: Context, _: u64) -> Result<&'static str, TaskError> {
    Ok("large")
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = TestMesh::start().await?;
    let (client, limit) = (mesh.client(), Duration::from_secs(10));
    let fetcher = Agent::builder("fetcher").capability("fetch", fetch).build(&mesh)?.start().await?;

    let policy = RetryPolicy { max_attempts: Some(5), initial_backoff_ms: Some(50), ..Default::default() };
    let fetched = client.call::<String>(task("fetch").input("a/b").retry(policy), limit).await?;
    println!("{}", fetched.output);
    assert_eq!((fetched.output.as_str(), fetched.task.attempts.len()), ("a/b on attempt 3", 3));

    let small = Agent::builder("small").capability("pack", only_small).build(&mesh)?.start().await?;
    let declined = client.submit(task("pack").input(1_000)).await?;
    let large = Agent::builder("large").capability("pack", any_size).build(&mesh)?.start().await?;
    let packed = declined.wait::<String>(limit).await?;
    println!("packed by {:?}", packed.agent_id());
    assert_eq!(packed.output, "large");

    for agent in [fetcher, small, large] {
        agent.stop().await?;
    }
    Ok(())
}
