//! A long task tells how far it is, hands over parts of its output, and is cancelled half way.

use agent_sdk::testing::TestMesh;
use agent_sdk::{Agent, Context, TaskError, TaskStatus, WaitError, What, task};
use std::time::Duration;

async fn translate(context: Context, pages: Vec<String>) -> Result<usize, TaskError> {
    for (n, page) in pages.iter().enumerate() {
        context.partial(page.to_uppercase()).await?;
        context.progress((n + 1) as f64 / pages.len() as f64, &format!("page {}", n + 1)).await?;
        if n == 1 {
            // From here on it would take for ever; a good handler listens.
            context.cancelled().await;
            return Err(TaskError::permanent("cancelled", "told to stop"));
        }
    }
    Ok(pages.len())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = TestMesh::start().await?;
    let agent = Agent::builder("translator").capability("translate", translate).build(&mesh)?.start().await?;

    let handle = mesh.client().submit(task("translate").input(["one", "two", "three", "four"])).await?;
    let mut watch = handle.watch();
    let mut parts = Vec::new();
    while let Some(watched) = watch.next_event().await? {
        println!("{}", watched.event.what.ce_type());
        let What::TaskProgressed(progressed) = watched.event.what else { continue };
        parts.extend(progressed.partial.map(|part| part.to::<String>()).transpose()?);
        if progressed.progress == Some(0.5) {
            handle.cancel("half of it is enough").await?;
        }
    }
    // The stream has ended with the event that ended the task.
    assert_eq!(parts, ["ONE", "TWO"]);
    let ended = handle.wait::<usize>(Duration::from_secs(10)).await;
    assert!(matches!(ended, Err(WaitError::Ended { status: TaskStatus::Cancelled, .. })));
    agent.stop().await?;
    Ok(())
}
