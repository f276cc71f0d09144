//! An agent that has parts of its task done by others: one trace and one correlation id for all of it.

use agent_sdk::testing::TestMesh;
use agent_sdk::{Agent, Context, TaskError, task};
use std::time::Duration;

async fn count(context: Context, text: String) -> Result<(usize, String), TaskError> {
    let work = context.correlation_id().unwrap_or_default().to_owned();
    Ok((text.split_whitespace().count(), work))
}

/// Cuts a text into lines, has their words counted side by side, and adds up.
async fn total(context: Context, text: String) -> Result<(usize, bool), TaskError> {
    let ours = context.correlation_id().unwrap_or_default().to_owned();
    let lines: Vec<_> = text.lines().map(|line| task("count").input(line)).collect();
    let counted = context
        .client()
        .collect(lines)
        .workers(8)
        .each_within(context.remaining())
        .run::<(usize, String)>()
        .await;
    if counted.success_rate() < 1.0 {
        return Err(TaskError::retryable("incomplete", "not every line was counted"));
    }
    let one_piece_of_work = counted.outputs().all(|(_, work)| *work == ours);
    Ok((counted.outputs().map(|(words, _)| words).sum(), one_piece_of_work))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = TestMesh::start().await?;
    let counter = Agent::builder("counter").capability("count", count).concurrency(8).build(&mesh)?;
    let adder = Agent::builder("adder").capability("total", total).build(&mesh)?;
    let agents = [counter.start().await?, adder.start().await?];

    let text = "to be or not to be\nthat is the question";
    let client = mesh.client().correlated("hamlet");
    let answer = client.call::<(usize, bool)>(task("total").input(text), Duration::from_secs(10)).await?;
    println!("{} words", answer.output.0);
    assert_eq!(answer.output, (10, true));
    assert_eq!(answer.task.correlation_id, "hamlet");
    for agent in agents {
        agent.stop().await?;
    }
    Ok(())
}
