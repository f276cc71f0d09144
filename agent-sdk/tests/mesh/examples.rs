//! Every example runs by itself, asserts its own result, and is short.

use super::{binary, built};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn every_example_is_short_and_runs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut ran = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue; // a larger one, see `teams`
        }
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let lines = std::fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines < 60, "{name} has {lines} lines");
        let program = built().join("examples").join(&name);
        let mut command = tokio::process::Command::new(program);
        let command = command.env("SYNOD_BIN", binary()).kill_on_drop(true);
        let output = tokio::time::timeout(LIMIT, command.output()).await.expect(&name).expect(&name);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {}\n{said}", output.status);
        ran += 1;
    }
    assert!(ran >= 5, "{ran} examples");
}
