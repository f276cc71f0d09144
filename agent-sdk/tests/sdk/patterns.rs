//! The definitions to copy are what they say they are: checked, and the same as those that the SDK makes.

use agent_sdk::workflow::{IntoWorkflow, Problems, Workflow, patterns};
use std::path::{Path, PathBuf};

fn shipped() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/workflows");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let read = |file: PathBuf| {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(file).unwrap())
    };
    files.into_iter().map(read).collect()
}

#[test]
fn every_shipped_definition_is_right_and_is_called_as_its_file() {
    let all = shipped();
    assert!(all.len() >= 8, "{} definitions", all.len());
    for (name, text) in all {
        let workflow = Workflow::parse(&text).unwrap_or_else(|problems| panic!("{name}: {problems}"));
        assert_eq!(workflow.definition().id, name);
    }
}

#[test]
fn every_pattern_is_the_definition_that_is_shipped() {
    let patterns: [(&str, Result<_, Problems>); 6] = [
        (
            "master-and-workers",
            patterns::master_and_workers("master-and-workers", ["work.split", "work.do", "work.combine"], 8),
        ),
        (
            "pipeline",
            patterns::pipeline(
                "pipeline",
                &[("read", "text.read"), ("clean", "text.clean"), ("sum_up", "text.sum_up")],
            ),
        ),
        ("consensus", patterns::consensus("consensus", "decide", "2/3", 30_000)),
        ("pool", patterns::pool("pool", "work.do", "least_connections", 16)),
        ("consult-expert", patterns::consult_expert("consult-expert", "answer", "answer.expert", 0.7)),
        (
            "research-review-revise",
            patterns::research_review_revise("research-review-revise", ["research", "review", "revise"]),
        ),
    ];
    let shipped = shipped();
    for (name, made) in patterns {
        let made = made.unwrap_or_else(|problems| panic!("{name}: {problems}"));
        let text = &shipped.iter().find(|(file, _)| file == name).expect(name).1;
        let written = Workflow::parse(text).unwrap();
        assert_eq!(made.to_json(), written.definition().to_json(), "{name}");
        assert_eq!((&made).into_workflow().unwrap().hash(), written.hash());
    }
}

#[test]
fn a_pattern_can_be_changed_and_is_checked_again() {
    let mut made = patterns::pipeline("p", &[("a", "text.read")]).unwrap();
    made.steps[0].timeout_ms = Some(1_000);
    let changed = (&made).into_workflow().unwrap();
    assert_eq!(changed.definition().steps[0].timeout_ms, Some(1_000));
    made.steps[0].depends_on = vec!["nobody".parse().unwrap()];
    let problems = (&made).into_workflow().unwrap_err().to_string();
    assert!(problems.contains("nobody"), "{problems}");
}

#[test]
fn what_cannot_be_is_told_with_its_place() {
    let first =
        |made: Result<_, Problems>| made.map(drop).unwrap_err().iter().next().unwrap().pointer.clone();
    assert_eq!(first(patterns::pipeline("p", &[])), "/steps");
    assert_eq!(first(patterns::pipeline("p", &[("a b", "c")])), "/steps/0/id");
    assert_eq!(first(patterns::pool("p", "No Such", "random", 1)), "/steps/0/map/step/task/capability");
    assert_eq!(first(patterns::pool("p", "c", "random", 0)), "/steps/0/map/concurrency");
    assert_eq!(first(patterns::consult_expert("p", "c", "e", 1.5)), "/steps/0/consult/below");
    assert_eq!(first(patterns::analyses("p", &[("a", "c"), ("a", "d")], None)), "/steps/1/id");
    assert!(patterns::analyses("p", &[("a", "c"), ("b", "d")], Some("e")).is_ok());
}
