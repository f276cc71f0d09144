//! Formats last: what any version has written into a ledger is read by this build, and what this build writes is what
//! stands in the golden files of its version, byte by byte.
//!
//! A golden file holds one record, and is never changed: a new version gets files of its own. A kind of record, a door, an
//! event or a field of a step without one is a failure here.

// Helpers of tests unwrap as tests do.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use synod_ledger::{Door, Imaged, Record, VERSION, Verdict};
use synod_protocol::event::What;

/// A record as it was written.
struct Golden {
    path: PathBuf,
    text: String,
}

impl Golden {
    fn record(&self) -> Record {
        Record::read(self.text.as_bytes())
            .unwrap_or_else(|why| panic!("{} is not read: {why}", self.path.display()))
    }

    fn value(&self) -> Value {
        serde_json::from_str(&self.text).unwrap()
    }

    fn version(&self) -> u64 {
        self.value()["v"].as_u64().unwrap()
    }
}

/// Every golden file of every version.
fn goldens() -> Vec<Golden> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let versions = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files =
        versions.flat_map(|version| std::fs::read_dir(version).unwrap().map(|entry| entry.unwrap().path()));
    let mut all: Vec<Golden> = files
        .map(|path| {
            let text = std::fs::read_to_string(&path).unwrap();
            Golden { path, text: text.strip_suffix('\n').expect("a line feed at the end").to_owned() }
        })
        .collect();
    all.sort_by(|one, other| one.path.cmp(&other.path));
    all
}

/// The bytes that this build writes for a record.
fn written(record: &Record) -> String {
    match record {
        Record::Claim(claim) => serde_json::to_string(claim).unwrap(),
        Record::Step(step) => serde_json::to_string(step).unwrap(),
        Record::Image(image) => serde_json::to_string(image).unwrap(),
    }
}

/// Everything that a golden file is there for.
fn shows(record: &Value) -> Vec<String> {
    let kind = record["kind"].as_str().unwrap();
    let mut all = vec![kind.to_owned()];
    if let Some(of) = record["of"].as_object() {
        all.extend(of.keys().map(|thing| format!("image {thing}")));
        let task = &of.get("task").map_or(Value::Null, |task| task["state"].clone());
        all.extend(task.as_object().into_iter().flat_map(|state| state.keys().map(|f| format!("task.{f}"))));
    }
    if kind == "step" {
        let input = record["input"].as_object().unwrap();
        all.push(format!("door {}", input["door"].as_str().unwrap()));
        all.extend(input.keys().map(|field| format!("input.{field}")));
        all.extend(record.as_object().unwrap().keys().map(|field| format!("step.{field}")));
        let events = record["events"].as_array().unwrap();
        all.extend(events.iter().map(|event| event["type"].as_str().unwrap().to_owned()));
        if events.is_empty() {
            all.push("a step without events".to_owned());
        }
    }
    all
}

#[test]
fn every_golden_file_is_read_and_stands_in_the_folder_of_its_version() {
    for golden in goldens() {
        golden.record();
        let folder = golden.path.parent().unwrap().file_name().unwrap().to_str().unwrap();
        assert_eq!(folder, format!("v{}", golden.version()), "{}", golden.path.display());
    }
}

#[test]
fn this_build_writes_what_stands_in_the_files_of_its_version() {
    let current = goldens().into_iter().filter(|golden| golden.version() == u64::from(VERSION));
    for golden in current {
        assert_eq!(written(&golden.record()), golden.text, "{}", golden.path.display());
    }
}

#[test]
fn nothing_that_this_build_writes_is_without_a_golden_file() {
    let shown: BTreeSet<String> = goldens()
        .iter()
        .filter(|golden| golden.version() == u64::from(VERSION))
        .flat_map(|golden| shows(&golden.value()))
        .collect();
    let kinds = ["claim", "step", "a step without events", "image"];
    let things = ["shard", "seen", "task", "agent", "negotiation", "workflow", "execution", "approval"]
        .map(|thing| format!("image {thing}"));
    let task = ["retry_at", "progress", "output", "confidence", "error", "completed_at"]
        .map(|f| format!("task.{f}"));
    let doors = ["door kafka", "door http", "door timer", "door fleet"];
    let step = ["workspace", "root", "rejected"].map(|field| format!("step.{field}"));
    let input = [
        "ce_id",
        "offset",
        "type",
        "entity",
        "reply_to",
        "correlation_id",
        "traceparent",
        "passed_on_to",
        "repeats",
        "body",
        "poison",
    ];
    let wanted = kinds.iter().chain(&doors).chain(What::TYPES).map(|name| (*name).to_owned());
    let wanted =
        wanted.chain(things).chain(task).chain(step).chain(input.map(|field| format!("input.{field}")));
    let missing: Vec<String> = wanted.filter(|name| !shown.contains(name)).collect();
    assert_eq!(missing, Vec::<String>::new(), "no golden file of version {VERSION} shows these");
}

/// A new kind of record, thing or door does not compile here until it is named above.
#[test]
fn the_lists_above_are_whole() {
    for golden in goldens() {
        let record = golden.record();
        let name = match &record {
            Record::Claim(_) => "claim".to_owned(),
            Record::Step(step) => match step.input.door {
                Door::Kafka => "door kafka".to_owned(),
                Door::Http => "door http".to_owned(),
                Door::Timer => "door timer".to_owned(),
                Door::Fleet => "door fleet".to_owned(),
            },
            Record::Image(image) => match image.of {
                Imaged::Shard(_) => "image shard".to_owned(),
                Imaged::Seen(_) => "image seen".to_owned(),
                Imaged::Task(_) => "image task".to_owned(),
                Imaged::Agent(_) => "image agent".to_owned(),
                Imaged::Negotiation(_) => "image negotiation".to_owned(),
                Imaged::Workflow(_) => "image workflow".to_owned(),
                Imaged::Execution(_) => "image execution".to_owned(),
                Imaged::Approval(_) => "image approval".to_owned(),
            },
        };
        assert!(shows(&golden.value()).contains(&name), "{}: {name}", golden.path.display());
    }
}

/// What has a file has a meaning too: the next number of the epoch counts, whatever the record is about.
#[test]
fn a_golden_record_counts_in_its_place() {
    for golden in goldens() {
        let record = golden.record();
        let mut counting = synod_ledger::Counting::default();
        if let Record::Step(step) = &record {
            counting.see(step.epoch, &claim());
            for n in 1..step.n {
                let before = Record::Step(Box::new(synod_ledger::Step { n, ..(**step).clone() }));
                counting.see(step.epoch + n, &before);
            }
            assert_eq!(
                counting.see(step.epoch + step.n, &record),
                Verdict::Counts,
                "{}",
                golden.path.display()
            );
        }
    }
}

fn claim() -> Record {
    goldens().iter().map(Golden::record).find(|record| matches!(record, Record::Claim(_))).unwrap()
}
