//! The larger examples: each in a folder of its own, each runs by itself and asserts its own result.

use super::{binary, built};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

async fn runs(name: &str) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 130, "{} has {lines} lines", path.display());
    }
    let mut command = tokio::process::Command::new(built().join("examples").join(name));
    let command = command.env("SYNOD_BIN", binary()).kill_on_drop(true);
    let output = tokio::time::timeout(LIMIT, command.output()).await.expect("in time").unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{name}: {}\n{}\n{said}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
}

#[tokio::test]
async fn a_document_pipeline_with_a_person_in_it() {
    runs("document_pipeline").await;
}

#[tokio::test]
async fn a_research_team_with_an_expert() {
    runs("research_team").await;
}
