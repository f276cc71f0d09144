//! Fan-out and fan-in: a hundred tasks over three agents, sixteen at a time, each with a time limit.

use agent_sdk::testing::TestMesh;
use agent_sdk::{Agent, Context, TaskError, task};
use std::time::Duration;

async fn score(context: Context, document: u32) -> Result<u32, TaskError> {
    match document {
        13 => Err(TaskError::permanent("unreadable", "document 13 is torn")),
        // Never in time.
        42 => {
            context.cancelled().await;
            Ok(0)
        }
        _ => Ok(document * document % 100),
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = TestMesh::start().await?;
    let mut agents = Vec::new();
    for n in 1..=3 {
        let agent = Agent::builder(format!("scorer-{n}")).capability("score", score).concurrency(8);
        agents.push(agent.build(&mesh)?.start().await?);
    }

    let requests = (0..100u32).map(|document| task("score").input(document).max_attempts(1));
    let collected =
        mesh.client().collect(requests).workers(16).each_within(Duration::from_secs(2)).run::<u32>().await;

    let best = collected.successes.iter().max_by_key(|success| success.result.output);
    println!("{:.0} % succeeded in {:?}", collected.success_rate() * 100.0, collected.elapsed);
    println!("timings: {:?}", collected.timings());
    println!("best: document {:?}", best.map(|success| success.index));
    for failure in &collected.failures {
        println!("document {} failed: {}", failure.index, failure.error);
    }
    for late in &collected.late {
        println!("document {} was late with {:?}", late.index, late.agent_id);
    }
    assert_eq!(collected.successes.len(), 98);
    assert_eq!(collected.failures.iter().map(|failure| failure.index).collect::<Vec<_>>(), [13]);
    assert_eq!(collected.late.iter().map(|late| late.index).collect::<Vec<_>>(), [42]);
    for agent in agents {
        agent.stop().await?;
    }
    Ok(())
}
