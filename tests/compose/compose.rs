//! The compose file is right without Docker being there to say so.
//!
//! Docker is not needed to run Synod's tests, so a mistake in `docker-compose-communication.yml` would
//! go unnoticed until somebody starts it. What can be known without an engine is checked here: that it
//! is a compose file at all (the specification's own schema), that what it mounts is in the tree and is
//! what `scripts/services` runs with, that its images are exact, and that nothing is open to the network.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

const COMPOSE_FILE: &str = "docker-compose-communication.yml";

/// Mounted by the compose file alone: one machine's Redis has no Sentinels.
const COMPOSE_ONLY: [&str; 1] = ["deploy/redis/sentinel.conf"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The compose file as JSON, with YAML's merge keys carried out as compose does.
fn document() -> Value {
    let text = std::fs::read_to_string(root().join(COMPOSE_FILE)).expect("the compose file is in the tree");
    let mut yaml: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).expect("the compose file is YAML");
    // An anchor that itself merges another is carried out from the outside in, one level a turn.
    for _ in 0..4 {
        yaml.apply_merge().expect("the merge keys name mappings");
    }
    let json = serde_json::to_value(&yaml).expect("the compose file has no keys but strings");
    assert!(!json.to_string().contains("\"<<\""), "a merge key is left over");
    json
}

/// What `scripts/services` says it reads.
fn files_of_services() -> Vec<String> {
    let output =
        Command::new(root().join("scripts/services")).arg("files").output().expect("scripts/services runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").lines().map(str::to_owned).collect()
}

/// Kafka's version in the list of jars that `scripts/services` fetches.
fn kafka_version_of_services() -> String {
    let pom = std::fs::read_to_string(root().join("deploy/kafka/pom.xml"))
        .expect("the list of jars is in the tree");
    let after = pom.split("<artifactId>kafka_2.13</artifactId>").nth(1).expect("it names Kafka");
    let version = after.split("<version>").nth(1).and_then(|rest| rest.split("</version>").next());
    version.expect("with a version").to_owned()
}

fn strings<'a>(value: &'a Value, key: &str) -> Vec<&'a str> {
    value[key].as_array().map_or_else(Vec::new, |list| list.iter().filter_map(Value::as_str).collect())
}

/// A tag that names one release: three numbers with dots, perhaps with a `v` before or a variant behind.
fn is_exact(tag: &str) -> bool {
    let release = tag.strip_prefix('v').unwrap_or(tag).split('-').next().unwrap_or_default();
    let numbers: Vec<&str> = release.split('.').collect();
    numbers.len() == 3 && numbers.iter().all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
}

/// Every fault of the document, one sentence each; empty means it may be used.
fn faults(document: &Value) -> Vec<String> {
    let schema: Value = serde_json::from_str(include_str!("compose-spec.json")).expect("the schema is JSON");
    let validator = jsonschema::draft7::new(&schema).expect("the schema is a schema");
    let mut faults: Vec<String> = validator
        .iter_errors(document)
        .map(|error| format!("schema: {}: {error}", error.instance_path()))
        .collect();

    let used_by_services = files_of_services();
    for (name, service) in document["services"].as_object().into_iter().flatten() {
        let image = service["image"].as_str().unwrap_or_default();
        match image.rsplit_once(':') {
            Some((_, tag)) if is_exact(tag) => {}
            _ => faults.push(format!("{name}: image '{image}' is not one exact release")),
        }
        if image.starts_with("apache/kafka:")
            && !image.ends_with(&format!(":{}", kafka_version_of_services()))
        {
            faults.push(format!("{name}: '{image}' is not the Kafka of scripts/services"));
        }
        if image.starts_with("synod:") && image != format!("synod:{}", env!("CARGO_PKG_VERSION")) {
            faults.push(format!("{name}: '{image}' is not this version"));
        }
        if service["healthcheck"]["test"].is_null() {
            faults.push(format!("{name}: has no health check"));
        }
        for port in strings(service, "ports").iter().filter(|port| !port.starts_with("127.0.0.1:")) {
            faults.push(format!("{name}: port '{port}' is open beyond loopback"));
        }
        for mount in strings(service, "volumes") {
            let Some((file, rest)) = mount.strip_prefix("./").and_then(|mount| mount.split_once(':')) else {
                continue;
            };
            if !root().join(file).is_file() {
                faults.push(format!("{name}: mounts '{file}', which is not in the tree"));
            }
            if !used_by_services.iter().any(|used| used == file) && !COMPOSE_ONLY.contains(&file) {
                faults.push(format!("{name}: mounts '{file}', which scripts/services does not use"));
            }
            if !rest.ends_with(":ro") {
                faults.push(format!("{name}: may write to '{file}'"));
            }
        }
        if let Some(build) = service["build"].as_object() {
            let file = build.get("dockerfile").and_then(Value::as_str).unwrap_or("Dockerfile");
            if !root().join(file).is_file() {
                faults.push(format!("{name}: is built by '{file}', which is not in the tree"));
            }
        }
    }
    faults
}

#[test]
fn the_compose_file_is_right() {
    assert_eq!(faults(&document()), Vec::<String>::new());
}

#[test]
fn it_has_every_part_that_is_promised() {
    let document = document();
    let published = |name: &str| strings(&document["services"][name], "ports").join(" ");
    assert!(published("kafka").contains(":9092"));
    assert!(published("kafka-ui").ends_with(":8080"));
    assert!(published("redis-commander").ends_with(":8081"));
    assert!(published("coordinator").ends_with(":7700"));
    assert_eq!(document["networks"]["backend"]["internal"], json!(true));
    let mounts = document.to_string();
    for file in COMPOSE_ONLY.into_iter().chain(["deploy/kafka/server.properties", "deploy/redis/redis.conf"])
    {
        assert!(mounts.contains(&format!("./{file}:")), "{file} is mounted nowhere");
    }
}

/// Takes the sound document, puts `value` at `pointer`, and wants a fault that says `expected`.
fn check_broken(pointer: &str, value: Value, expected: &str) {
    let mut document = document();
    *document.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is in the document")) = value;
    let found = faults(&document);
    assert!(found.iter().any(|fault| fault.contains(expected)), "{pointer}: no '{expected}' among {found:?}");
}

#[test]
fn a_broken_document_is_refused() {
    let kafka = "/services/kafka";
    check_broken("/services", json!([]), "schema: /services");
    check_broken(&format!("{kafka}/ports"), json!("9092"), "schema: /services/kafka/ports");
    check_broken(
        &format!("{kafka}/healthcheck"),
        json!({"tset": "true"}),
        "schema: /services/kafka/healthcheck",
    );
    check_broken(&format!("{kafka}/healthcheck"), Value::Null, "no health check");
    check_broken(&format!("{kafka}/image"), json!("apache/kafka"), "not one exact release");
    check_broken(&format!("{kafka}/image"), json!("apache/kafka:latest"), "not one exact release");
    check_broken(&format!("{kafka}/image"), json!("apache/kafka:4.3"), "not one exact release");
    check_broken(&format!("{kafka}/image"), json!("apache/kafka:4.0.0"), "not the Kafka of scripts/services");
    check_broken("/services/coordinator/image", json!("synod:9.9.9"), "not this version");
    check_broken("/services/coordinator/build/dockerfile", json!("deploy/None"), "not in the tree");
    check_broken(&format!("{kafka}/ports"), json!(["9092:9092"]), "open beyond loopback");
    check_broken(
        &format!("{kafka}/volumes"),
        json!(["./deploy/kafka/no.properties:/x:ro"]),
        "not in the tree",
    );
    check_broken(&format!("{kafka}/volumes"), json!(["./README.md:/x:ro"]), "scripts/services does not use");
    check_broken(&format!("{kafka}/volumes"), json!(["./deploy/redis/redis.conf:/x"]), "may write");
}
