//! The documents do what they say: every block of README.md and docs/ is run, checked, or says why not.
//!
//! | block | what is done with it |
//! |---|---|
//! | `sh` | run, all of a document in their order by one shell, against an embedded mesh |
//! | `json` | read as one JSON value; a negotiation that is to be opened is opened |
//! | `yaml` | `synod workflow check` |
//! | `rust` | compiled: `agent-sdk/tests/documents.rs` |
//! | `text` | nothing: it is for people |
//! | a row `topic`, what, `filter` | the filter, asked of every record that such a topic holds (`filters.rs`) |
//!
//! A block that cannot be run has the comment `<!-- not run: why -->` in the line before it.

mod blocks;
mod filters;
mod packages;
mod shell;
mod values;

use blocks::{Block, blocks, documents};
use serde_json::Value;
use shell::Endpoints;
use std::collections::BTreeMap;
use std::process::Command;
use synod_tests::{Client, Ground, Mesh, root, synod};

fn in_language(language: &str) -> Vec<Block> {
    documents().iter().flat_map(|page| blocks(page)).filter(|block| block.language == language).collect()
}

#[test]
fn every_block_says_what_it_is_and_only_shells_are_left_out() {
    let all: Vec<Block> = documents().iter().flat_map(|page| blocks(page)).collect();
    for block in &all {
        let known = ["sh", "json", "yaml", "rust", "text"].contains(&block.language.as_str());
        assert!(known, "{}: a block of {:?}", block.place, block.language);
        assert!(block.not_run.is_none() || block.language == "sh", "{}: it is not run anyway", block.place);
        assert!(
            block.not_run.as_ref().is_none_or(|why| why.len() >= 10),
            "{}: why is it not run?",
            block.place
        );
    }
    let left_out = all.iter().filter(|block| block.not_run.is_some()).count();
    assert!(left_out <= 10, "{left_out} blocks are not run");
    assert!(all.len() >= 70, "{} blocks", all.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_block_of_a_shell_does_what_it_says() {
    let mesh = Mesh::own(&[]).await;
    let mut pages: BTreeMap<String, Vec<Block>> = BTreeMap::new();
    for block in in_language("sh").into_iter().filter(|block| block.not_run.is_none()) {
        pages.entry(block.page.clone()).or_default().push(block);
    }
    let endpoints =
        Endpoints { http: mesh.http.clone(), kafka: mesh.kafka.clone(), redis: mesh.redis.clone() };
    let ran = tokio::task::spawn_blocking(move || {
        for (page, blocks) in &pages {
            shell::run(page, blocks, &endpoints);
        }
        pages.values().map(Vec::len).sum::<usize>()
    });
    let ran = ran.await.expect("the documents do what they say");
    assert!(ran >= 20, "{ran}");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_block_of_json_reads_and_what_opens_a_negotiation_opens_one() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let mut opened = 0;
    for block in in_language("json") {
        let value: Value =
            serde_json::from_str(&block.text).unwrap_or_else(|e| panic!("{}: {e}", block.place));
        let to_open = value["question"] != Value::Null && value["participants"] != Value::Null;
        if to_open && value["rounds"] == Value::Null {
            let answer = client.post("/v1/negotiations", &value).await;
            assert_eq!(answer.status, 201, "{}: {}", block.place, answer.body);
            opened += 1;
        }
    }
    assert!(opened >= 3, "{opened}");
}

#[test]
fn every_block_of_yaml_is_a_workflow() {
    let all = in_language("yaml");
    assert!(!all.is_empty());
    for block in all {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("block.yaml");
        std::fs::write(&file, &block.text).expect("it can be written");
        let output =
            Command::new(synod()).args(["workflow", "check"]).arg(&file).current_dir(root()).output();
        let output = output.expect("synod runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {said}", block.place);
    }
}
