//! A pipeline with a person in it: documents are read, a page about them is drafted, she wants it otherwise, and what is made of
//! that is published.

mod agents;
mod markdown;

use agent_sdk::approval::Verdict;
use agent_sdk::testing::TestMesh;
use agent_sdk::workflow::execution_of;
use agent_sdk::{Client, Mesh, What, protocol};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const WORKFLOW: &str = include_str!("../../../examples/workflows/document-pipeline.yaml");

/// Ann at her desk: the first page has no links, the next one will do.
async fn ann(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
    for waiting in client.pending_approvals("ann", &[]).await? {
        let shown: String = waiting.show.to()?;
        let verdict = match shown.contains("leads to") {
            true => Verdict::approve("ann").meaning("reviewed"),
            false => Verdict::request_changes("ann", "where do they lead? and the longest first")
                .data(json!({"with_links": true, "longest_first": true})),
        };
        client.approval(waiting.approval_id).decide(verdict.shown(waiting.shown)).await?;
    }
    Ok(())
}

/// What a step saved, which is put there right after it is on record.
async fn saved(mesh: &Mesh, key: &str) -> Result<Value, protocol::Error> {
    loop {
        if let Some(held) = mesh.state().get::<Value>(key).await? {
            return Ok(held.value);
        }
        tokio::time::sleep(Duration::from_millis(10)).await; // between two looks at the condition
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = TestMesh::start().await?;
    let pages = tempfile::tempdir()?;
    let documents = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/documents");
    let running = agents::start(&mesh, &documents, pages.path()).await?;

    let client = mesh.client();
    let workflow = client.define_workflow(WORKFLOW).await?;
    let input = json!({"documents": ["bread.md", "yeast.md", "ovens.md"], "page": "baking.md"});
    let handle = client.start(execution_of(&workflow).id("baking").input(input)).await?;
    let mut monitor = handle.monitor();
    while let Some(progress) = monitor.next_progress().await? {
        println!("{progress}");
        if matches!(&progress.watched.event.what, What::ExecutionStepStarted(step) if step.step == "release")
        {
            ann(&client).await?;
        }
    }

    let done = handle.wait::<Value>(Duration::from_secs(10)).await?;
    assert_eq!((&done.output["released_by"], &done.output["revision"]), (&json!("ann"), &json!(2)));
    let page = std::fs::read_to_string(pages.path().join("baking.md"))?;
    println!("\n{page}");
    assert!(page.starts_with("# 3 documents, "), "{page}");
    assert!(page.contains("- leads to [yeast](yeast.md)"), "with links, as she wanted");
    let saved = tokio::time::timeout(Duration::from_secs(10), saved(&mesh, "published/baking.md")).await??;
    assert_eq!(saved, done.output["published"]);
    assert_eq!(saved["bytes"], page.len());
    for agent in running {
        agent.stop().await?;
    }
    Ok(())
}
