//! Every kind of broken definition, each with its golden message: `tests/broken/<name>.yaml` and `<name>.txt`.
//!
//! `UPDATE_BROKEN=1` writes the messages anew; then look at the difference.

use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};
use synod_workflow::Workflow;

fn told(text: &str) -> String {
    let problems = Workflow::parse(text).expect_err("a broken definition was taken");
    problems.iter().fold(String::new(), |mut out, problem| {
        let _ = writeln!(out, "{} {}\n    {}", problem.spot, problem.what, problem.mend);
        out
    })
}

#[test]
fn each_broken_definition_is_told_its_places_and_mends() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|ext| ext != "txt"));
    files.sort();
    assert!(files.len() >= 20, "{}", files.len());
    let mut wrong = Vec::new();
    for file in files {
        let started = Instant::now();
        let told = told(&std::fs::read_to_string(&file).unwrap());
        assert!(started.elapsed() < Duration::from_secs(20), "{file:?} took {:?}", started.elapsed());
        let golden = file.with_extension("txt");
        if std::env::var_os("UPDATE_BROKEN").is_some() {
            std::fs::write(&golden, &told).unwrap();
        }
        if std::fs::read_to_string(&golden).unwrap_or_default() != told {
            wrong.push(format!("{}:\n{told}", file.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_thousand_steps_are_taken_and_one_more_is_not() {
    let steps = |many: usize| {
        (0..many).fold("id: wide\nsteps:\n".to_owned(), |mut text, i| {
            let _ = writeln!(text, "  - {{id: s{i}, task: {{capability: a}}}}");
            text
        })
    };
    assert_eq!(Workflow::parse(&steps(1_000)).unwrap().len(), 1_000);
    let told = told(&steps(1_001));
    assert!(told.starts_with("1003:5 this is step 1001, the limit is 1000 in one definition"), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn a_hundred_problems_are_told() {
    let text = (0..300).fold("id: bad\nsteps:\n".to_owned(), |mut text, i| {
        let _ = writeln!(text, "  - {{id: s{i}, task: {{capability: a}}, depends_on: [x{i}]}}");
        text
    });
    let problems = Workflow::parse(&text).unwrap_err();
    assert_eq!(problems.iter().count(), 100);
    assert!(problems.iter().last().unwrap().mend.ends_with("there is more, not listed"));
}

#[test]
fn hostile_texts_end_soon() {
    let check = |name: &str, text: String| {
        let started = Instant::now();
        let told = told(&text);
        assert!(started.elapsed() < Duration::from_secs(20), "{name} took {:?}", started.elapsed());
        told
    };
    check("deep lists", "[".repeat(200_000));
    check("deep blocks", (0..300).fold(String::new(), |text, i| text + &" ".repeat(i) + "a:\n"));
    check("deep JSON", format!("{{\"a\":{}", "[".repeat(200_000)));
    let many = (0..49_000).fold("id: x\n".to_owned(), |text, i| format!("{text}k{i}: 1\n"));
    check("many members", many);
    let large = check("large", format!("id: {}", "x".repeat(1024 * 1024)));
    assert!(large.contains("the limit is 1048576"), "{large}");
    check("open quotes", format!("id: {}", "\"".repeat(100_000)));
    check("questions", "? ".repeat(100_000));
}
