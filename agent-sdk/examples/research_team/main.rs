//! A team over three documents: one gathers what belongs to a question, one answers from it, and where he is not sure, an expert is
//! asked besides. Nobody here is a language model: they count words.

mod agents;
mod text;

use agent_sdk::testing::TestMesh;
use agent_sdk::workflow::{ExecutionResult, execution};
use agents::Answer;
use serde_json::json;
use std::time::Duration;

const WORKFLOW: &str = include_str!("../../../examples/workflows/research-team.yaml");

/// Whether an expert was asked on the step.
fn was_advised(done: &ExecutionResult<Answer>) -> bool {
    done.execution.steps.iter().any(|step| step.step == "research" && step.advice.is_some())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = TestMesh::start().await?;
    let running = agents::start(&mesh).await?;
    let (client, limit) = (mesh.client(), Duration::from_secs(30));
    client.define_workflow(WORKFLOW).await?;
    let ask = |question: &str| {
        let input = json!({"question": question, "documents": ["bread.md", "yeast.md", "ovens.md"]});
        client.execute::<Answer>(execution("research-team").input(input), limit)
    };

    // Every word of it stands in one sentence: nobody else has to be asked.
    let sure = ask("why does dough rises in the net of gluten").await?;
    println!("{:?}", sure.output);
    assert_eq!((sure.output.source.as_str(), sure.output.by.as_str()), ("yeast.md", "researcher"));
    assert!(!was_advised(&sure));

    // The documents do not know bakers' word for it; the expert does.
    let unsure = ask("what is oven spring of a loaf").await?;
    println!("{:?}", unsure.output);
    assert_eq!((unsure.output.source.as_str(), unsure.output.by.as_str()), ("ovens.md", "expert"));
    assert!(was_advised(&unsure));
    assert!(unsure.output.text.contains("the loaf grows by a third"), "{unsure:?}");
    for agent in running {
        agent.stop().await?;
    }
    Ok(())
}
