//! The schemas of the reference hold for values that were really written.

use serde_json::Value;
use std::collections::BTreeSet;
use std::process::Command;
use synod_tests::{root, synod};

/// The schemas of all messages, as `synod reference schemas` prints them.
fn schemas() -> Value {
    let output = Command::new(synod()).args(["reference", "schemas"]).output().expect("synod runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn every_event_of_the_ledgers_golden_files_fits_its_schema() {
    let schemas = schemas();
    let mut seen = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("ledger/tests/golden/v1")).expect("the golden files") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !name.starts_with("event-") {
            continue;
        }
        let step: Value =
            serde_json::from_slice(&std::fs::read(&path).expect("it can be read")).expect("JSON");
        for event in step["events"].as_array().expect("events") {
            seen.insert(fitting(&schemas, event, &name));
        }
    }
    assert!(seen.len() >= 50, "{} events", seen.len());
}

/// The event's type, whose schema its value fits.
fn fitting(schemas: &Value, event: &Value, name: &str) -> String {
    let ty = event["type"].as_str().expect("a type");
    let mut schema = schemas["events"][ty].clone();
    assert!(schema.is_object(), "{ty} has no schema");
    schema["components"] = schemas["components"].clone();
    let validator = jsonschema::draft202012::new(&schema).expect("a schema");
    let wrong: Vec<String> =
        validator.iter_errors(&event["data"]).map(|e| format!("{}: {e}", e.instance_path())).collect();
    assert!(wrong.is_empty(), "{name}: {wrong:?}");
    ty.to_owned()
}
