//! The compose file is right without Docker being there to say so.
//!
//! Docker is not needed to run Synod's tests, so a mistake in `docker-compose-communication.yml` would
//! go unnoticed until somebody starts it. What can be known without an engine is checked here: that it
//! is a compose file at all (the specification's own schema), that what it mounts is in the tree and is
//! what `scripts/services` runs with, that its images are exact, and that nothing is open to the network.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use serde_json::{Value, json};

const COMPOSE_FILE: &str = "docker-compose-communication.yml";

/// Mounted by the compose file alone: what listens to Synod's telemetry runs nowhere else.
const COMPOSE_ONLY: [&str; 3] = ["deploy/otel/collector.yaml", "deploy/prometheus", "deploy/grafana"];
/// Where `scripts/secrets` puts what it makes.
const SECRETS: &str = "deploy/secrets/";

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

/// What `scripts/secrets` makes, in a folder of its own.
fn secrets() -> &'static Path {
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, folder) = MADE.get_or_init(|| {
        let above = tempfile::tempdir().expect("a folder");
        let folder = above.path().join("secrets");
        assert!(make_secrets(&folder).status.success());
        (above, folder)
    });
    folder
}

fn make_secrets(folder: &Path) -> Output {
    Command::new(root().join("scripts/secrets")).arg(folder).output().expect("scripts/secrets runs")
}

/// The names in the env file that it makes.
fn env_names() -> Vec<String> {
    let text = std::fs::read_to_string(secrets().join("env")).expect("an env file");
    let names = text.lines().filter_map(|line| line.split_once('='));
    names.filter(|(_, value)| !value.is_empty()).map(|(name, _)| name.to_owned()).collect()
}

/// What of a text would be taken from the environment: the name, and whether it has to be there.
fn variables(text: &str) -> Vec<(String, bool)> {
    let text = text.replace("$$", "");
    let inside = text.split("${").skip(1).map(|rest| rest.split('}').next().unwrap_or_default().to_owned());
    inside
        .map(|inside| {
            let name = inside.split([':', '-', '?']).next().unwrap_or_default().to_owned();
            (name, !inside.contains(":-"))
        })
        .collect()
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
        for limit in ["memory", "cpus"] {
            if service["deploy"]["resources"]["limits"][limit].is_null() {
                faults.push(format!("{name}: has no limit of {limit}"));
            }
        }
        if strings(service, "cap_drop") != ["ALL"] || service["privileged"] == json!(true) {
            faults.push(format!("{name}: may do more than it needs"));
        }
        if strings(service, "networks").is_empty() {
            faults.push(format!("{name}: is in compose's own network, which has a way out"));
        }
        for (variable, value) in service["environment"].as_object().into_iter().flatten() {
            let value = value.as_str().unwrap_or_default();
            let is_secret =
                (variable.ends_with("PASSWORD") || variable.ends_with("_KEY")) && !variable.ends_with("FILE");
            if is_secret && !(value.starts_with("${") && value.contains(":?")) {
                faults.push(format!("{name}: {variable} is no variable that the env file must have"));
            }
        }
        for (other, how) in service["depends_on"].as_object().into_iter().flatten() {
            let (ours, theirs) = (&service["profiles"], &document["services"][other]["profiles"]);
            if how["condition"].is_null() || document["services"][other].is_null() {
                faults.push(format!("{name}: waits for '{other}' without a condition, or it is not there"));
            }
            if !theirs.is_null() && ours != theirs {
                faults.push(format!("{name}: waits for '{other}', which its profile does not start"));
            }
        }
        for port in strings(service, "ports").iter().filter(|port| !port.starts_with("127.0.0.1:")) {
            faults.push(format!("{name}: port '{port}' is open beyond loopback"));
        }
        for mount in strings(service, "volumes") {
            let Some((file, rest)) = mount.strip_prefix("./").and_then(|mount| mount.split_once(':')) else {
                continue;
            };
            if let Some(made) = file.strip_prefix(SECRETS) {
                if !secrets().join(made).exists() {
                    faults.push(format!("{name}: mounts '{file}', which scripts/secrets does not make"));
                }
                continue;
            }
            if !root().join(file).exists() {
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
    let made = env_names();
    for (name, is_wanted) in variables(&document.to_string()) {
        if is_wanted && !made.contains(&name) {
            faults.push(format!("'{name}' is wanted, and scripts/secrets does not make it"));
        }
    }
    for (name, secret) in document["secrets"].as_object().into_iter().flatten() {
        if !secret["environment"].as_str().is_some_and(|variable| made.iter().any(|made| made == variable)) {
            faults.push(format!("the secret '{name}' is not one of scripts/secrets"));
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
    assert!(published("coordinator-2").ends_with(":7700"));
    let in_profile = |name: &str| strings(&document["services"][name], "profiles").join(" ");
    for (name, profile) in [
        ("kafka-2", "brokers3"),
        ("kafka-3", "brokers3"),
        ("kafka-secured", "secured"),
        ("redis-secured", "secured"),
        ("coordinator-secured", "secured"),
        ("otel-collector", "telemetry"),
        ("prometheus", "telemetry"),
        ("grafana", "telemetry"),
        ("phoenix", "telemetry"),
        ("sentinel-3", ""),
        ("redis-replica", ""),
        ("coordinator-2", ""),
    ] {
        assert_eq!(in_profile(name), profile, "{name}");
        assert!(document["services"][name].is_object(), "{name}");
    }
    assert_eq!(document["networks"]["backend"]["internal"], json!(true));
    let mounts = document.to_string();
    let services = files_of_services();
    let files = services.iter().map(String::as_str).filter(|file| *file != "deploy/kafka/pom.xml");
    for file in files.chain(COMPOSE_ONLY) {
        assert!(mounts.contains(&format!("./{file}:")), "{file} is mounted nowhere");
    }
}

#[test]
fn secrets_are_for_their_owner_alone_and_never_drawn_over() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = secrets();
    let mode = |name: &str| folder.join(name).metadata().expect("it is there").permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("env"), mode("ca.key")), (0o700, 0o600, 0o600));
    let before = std::fs::read(folder.join("env")).expect("an env file");
    let again = make_secrets(folder);
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(!again.status.success() && said.contains("is there already"), "{said}");
    assert_eq!(std::fs::read(folder.join("env")).expect("an env file"), before);
}

#[test]
fn the_configuration_of_telemetry_reads() {
    for file in [
        "deploy/otel/collector.yaml",
        "deploy/prometheus/prometheus.yaml",
        "deploy/grafana/provisioning/datasources/prometheus.yaml",
        "deploy/grafana/provisioning/dashboards/synod.yaml",
    ] {
        let text = std::fs::read_to_string(root().join(file)).expect("it is in the tree");
        let read = serde_yaml_ng::from_str::<serde_yaml_ng::Value>(&text);
        assert!(read.is_ok_and(|value| value.is_mapping()), "{file}");
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
    check_broken(&format!("{kafka}/deploy/resources/limits"), json!({"cpus": "1"}), "no limit of memory");
    check_broken(&format!("{kafka}/cap_drop"), json!([]), "may do more");
    check_broken(&format!("{kafka}/networks"), json!([]), "compose's own network");
    check_broken("/services/redis/environment/SYNOD_REDIS_PASSWORD", json!("hunter2"), "must have");
    check_broken("/services/redis/environment/SYNOD_REDIS_PASSWORD", json!("${X:?}"), "does not make it");
    check_broken("/secrets/api_key/environment", json!("OTHER"), "not one of scripts/secrets");
    check_broken(
        "/services/redis-replica/depends_on",
        json!({"kafka-2": {"condition": "service_started"}}),
        "does not start",
    );
    check_broken("/services/redis-replica/depends_on", json!({"redis": {}}), "without a condition");
    check_broken(
        "/services/kafka-secured/volumes",
        json!(["./deploy/secrets/tls/no.pem:/x:ro"]),
        "does not make",
    );
    check_broken(
        &format!("{kafka}/volumes"),
        json!(["./deploy/kafka/no.properties:/x:ro"]),
        "not in the tree",
    );
    check_broken(&format!("{kafka}/volumes"), json!(["./README.md:/x:ro"]), "scripts/services does not use");
    check_broken(&format!("{kafka}/volumes"), json!(["./deploy/redis/redis.conf:/x"]), "may write");
}
