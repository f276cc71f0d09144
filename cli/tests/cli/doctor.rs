//! What is wrong is found, named and mended in words: on services of its own, which are really set wrong.

use crate::binary::synod;
use crate::running::{Running, Up, until};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use synod_infra::kafka::{KafkaConfig, TopicMaker, TopicSpec, mesh_topics};
use synod_infra::redis::EmbeddedRedis;

/// Nothing may hang: each of two areas one after the other, and then some.
const ENDS_WITHIN: Duration = Duration::from_secs(30);

/// Its findings by area and check, each with `state: says; do`; it must have ended so, and in time.
fn found(status: i32, command: &mut Command) -> BTreeMap<String, String> {
    let (ended, found) = looked(command);
    assert_eq!(ended, Some(status), "{found:#?}");
    found
}

/// How it ended, which must be in time, and its findings.
fn looked(command: &mut Command) -> (Option<i32>, BTreeMap<String, String>) {
    let began = Instant::now();
    let output = command.args(["--output", "json"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(began.elapsed() < ENDS_WITHIN, "{:?}", began.elapsed());
    let value: Value = serde_json::from_str(&said)
        .unwrap_or_else(|_| panic!("{said}\n{}", String::from_utf8_lossy(&output.stderr)));
    let mut found: BTreeMap<String, String> = BTreeMap::new();
    for check in value["checks"].as_array().unwrap() {
        let text = |name: &str| check[name].as_str().unwrap_or_default();
        let line = format!("{}: {}; {}", text("state"), text("says"), text("do"));
        let of = found.entry(format!("{} {}", text("area"), text("check"))).or_default();
        of.push_str(&line);
    }
    (output.status.code(), found)
}

#[track_caller]
fn says(found: &BTreeMap<String, String>, check: &str, state: &str, words: &[&str]) {
    let line = found.get(check).unwrap_or_else(|| panic!("nothing is said of {check:?}: {found:#?}"));
    assert!(line.starts_with(state) && words.iter().all(|word| line.contains(word)), "{check}: {line}");
}

#[test]
fn an_embedded_mesh_is_well() {
    let up = Up::start();
    let found = found(0, &mut up.synod(&["doctor"]));
    assert!(found.values().all(|line| line.starts_with("ok")), "{found:#?}");
    says(&found, "coordinators shards", "ok", &["8 of 8", "1 coordinator;"]);
    says(&found, "redis leases", "ok", &["all 8 shards"]);
    says(&found, "kafka topics", "ok", &["7 of 7"]);
    says(&found, "coordinators version", "ok", &[env!("CARGO_PKG_VERSION")]);
    let output = up.synod(&["doctor"]).output().unwrap();
    let drawn = String::from_utf8(output.stdout).unwrap();
    assert!(drawn.contains("\n") && drawn.contains(" ok, 0 to be known, 0 wrong"), "{drawn}");
}

/// An address where nobody answers, and one where somebody takes connections and says nothing.
fn nobody() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

fn doctor(kafka: &str, redis: &str, http: &str) -> Command {
    let mut command = synod(&["doctor", "--kafka-brokers", kafka]);
    command.args(["--redis-url", &format!("redis://{redis}"), "--http-url", &format!("http://{http}")]);
    command
}

#[test]
fn where_nothing_is_reached_each_is_named() {
    let found = found(5, &mut doctor(&nobody(), &nobody(), &nobody()));
    says(&found, "kafka brokers", "wrong", &["no broker answers at 127.0.0.1", "--kafka-brokers"]);
    says(&found, "redis server", "wrong", &["127.0.0.1", "refused", "--redis-url"]);
    says(&found, "coordinators http", "wrong", &["no coordinator answers", "synod up"]);
}

#[test]
fn what_takes_connections_and_says_nothing_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = silent.local_addr().unwrap().to_string();
    let found = found(5, doctor(&at, &at, &at).args(["--limit", "4"]));
    says(&found, "kafka brokers", "wrong", &["no broker answers"]);
    says(&found, "redis server", "wrong", &["within"]);
    says(&found, "coordinators http", "wrong", &["does not answer within 1000 ms"]);
}

/// One command of Redis' in its inline form; its answer's first line.
fn redis(port: u16, command: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(format!("{command}\r\n").as_bytes()).unwrap();
    let mut answer = [0; 256];
    let count = stream.read(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[..count]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_evicts_keeps_nothing_or_takes_no_writes_is_told() {
    let server = EmbeddedRedis::start().await.unwrap();
    let at = format!("127.0.0.1:{}", server.port());
    let look = || found(1, &mut doctor(&nobody(), &at, &nobody()));
    let well = look();
    says(&well, "redis eviction", "ok", &["noeviction"]);
    says(&well, "redis persistence", "warning", &["none", "appendonly yes"]);
    says(&well, "redis role", "ok", &["master"]);
    says(&well, "redis clock", "ok", &[]);
    says(&well, "redis leases", "wrong", &["nobody serves"]);

    assert_eq!(redis(server.port(), "CONFIG SET maxmemory-policy allkeys-lru"), "+OK");
    assert_eq!(redis(server.port(), "CONFIG SET maxmemory 1100000"), "+OK");
    let evicts = look();
    says(&evicts, "redis eviction", "wrong", &["allkeys-lru", "CONFIG SET maxmemory-policy noeviction"]);
    says(&evicts, "redis memory", "warning", &["in use"]);

    let master = EmbeddedRedis::start().await.unwrap();
    assert_eq!(redis(server.port(), &format!("REPLICAOF 127.0.0.1 {}", master.port())), "+OK");
    until("the replica is connected", || {
        let role = look();
        role["redis role"].starts_with("wrong: a replica: it takes no writes")
    });
    master.shutdown().await;
    until("the replica has lost its master", || look()["redis role"].contains("has lost its master"));
}

/// Passes connections on to `to`, and changes what comes back from there.
fn between(to: &str, change: fn(&mut [u8])) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = listener.local_addr().unwrap().to_string();
    let to = to.to_owned();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, server) = (client.unwrap(), TcpStream::connect(&to).unwrap());
            let pass = |mut from: TcpStream, mut into: TcpStream, change: Option<fn(&mut [u8])>| {
                let mut buffer = vec![0; 1 << 16];
                while let Ok(count @ 1..) = from.read(&mut buffer) {
                    change.inspect(|change| change(&mut buffer[..count]));
                    if into.write_all(&buffer[..count]).is_err() {
                        break;
                    }
                }
                // Whoever is on the other side learns that it is over; that may be known there already.
                let _ = into.shutdown(std::net::Shutdown::Write);
            };
            let (from_client, to_client) = (client.try_clone().unwrap(), client);
            let (to_server, from_server) = (server.try_clone().unwrap(), server);
            std::thread::spawn(move || pass(from_client, to_server, None));
            std::thread::spawn(move || pass(from_server, to_client, Some(change)));
        }
    });
    at
}

/// Puts `then` where `after` ends.
fn put(bytes: &mut [u8], after: &[u8], then: &[u8]) {
    if let Some(found) = bytes.windows(after.len()).position(|window| window == after) {
        let at = found + after.len();
        bytes[at..at + then.len()].copy_from_slice(then);
    }
}

#[test]
fn a_clock_that_is_off_is_named_on_either_side() {
    let up = Up::start();
    let endpoints: Value = serde_json::from_slice(&std::fs::read(&up.file).unwrap()).unwrap();
    let at = |name: &str| {
        let url = endpoints[name].as_str().unwrap();
        let at = url.split_once("://").map_or(url, |(_, at)| at);
        at.trim_end_matches('/').to_owned()
    };
    // `TIME` answers two texts, of which the first is the seconds.
    let redis = between(&at("redis"), |bytes| put(bytes, b"*2\r\n$10\r\n", b"1000000000"));
    let http = between(&at("http"), |bytes| put(bytes, b"\"time\":\"", b"2999"));
    let found = found(1, &mut doctor(&nobody(), &redis, &http));
    let mend = "run NTP (chrony, systemd-timesyncd) on both machines";
    says(&found, "redis clock", "wrong", &["behind this machine's", "deadlines", mend]);
    says(&found, "coordinators clock", "wrong", &["ahead of this machine's", "deadlines", mend]);
    says(&found, "redis eviction", "ok", &[]);
}

/// Kafka and Redis of this test's own; ended with it.
struct Services {
    folder: tempfile::TempDir,
    kafka: String,
    redis: String,
}

impl Services {
    fn start() -> Services {
        let mut services =
            Services { folder: tempfile::tempdir().unwrap(), kafka: String::new(), redis: String::new() };
        for line in services.act(&["up"]).lines() {
            match line.split_once('=') {
                Some(("export SYNOD_KAFKA_BROKERS", value)) => value.clone_into(&mut services.kafka),
                Some(("export SYNOD_REDIS_URL", value)) => value.clone_into(&mut services.redis),
                _ => {}
            }
        }
        services
    }

    fn act(&self, words: &[&str]) -> String {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services");
        let mut command = Command::new(script);
        command.args(words).env("SYNOD_SERVICES_DIR", self.folder.path());
        let output =
            command.env("SYNOD_KAFKA_PORT", "free").env("SYNOD_REDIS_PORT", "free").output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn synod(&self, args: &[&str], http: &str) -> Command {
        let mut command = synod(args);
        command.env("SYNOD_KAFKA_BROKERS", &self.kafka).env("SYNOD_REDIS_URL", &self.redis);
        command.env("SYNOD_HTTP_LISTEN", http).env("SYNOD_HTTP_URL", format!("http://{http}"));
        command
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        self.act(&["down", "--wipe"]);
    }
}

#[test]
fn on_real_services_a_topic_that_is_set_wrong_is_named_with_its_mend() {
    let services = Services::start();
    let http = nobody();
    let look = |status: i32| found(status, &mut services.synod(&["doctor"], &http));
    let fresh = look(1);
    says(&fresh, "kafka topics", "wrong", &["none of the 7", "start a coordinator"]);
    says(&fresh, "kafka append", "ok", &["acknowledged by all"]);
    says(&fresh, "kafka clock", "ok", &[]);
    says(&fresh, "redis persistence", "ok", &["append-only"]);
    says(&fresh, "coordinators http", "wrong", &["no coordinator answers"]);
    let asked = found(1, &mut services.synod(&["doctor", "--read-only"], &http));
    says(&asked, "kafka append", "ok", &["not tried"]);
    assert!(!asked.contains_key("kafka clock"), "{asked:#?}");

    // The ledger as nobody should make it; all else as it should be.
    let wrongly = |spec: TopicSpec| match spec.name.as_str() {
        "synod.ledger.v1" => {
            spec.with("cleanup.policy", "compact").with("message.timestamp.type", "CreateTime")
        }
        "synod.events.v1" => spec.with("retention.ms", 1_000),
        _ => spec,
    };
    let specs: Vec<TopicSpec> = mesh_topics(8, 1).into_iter().map(wrongly).collect();
    let maker = TopicMaker::new(&KafkaConfig::new(services.kafka.clone(), "test-doctor"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(maker.ensure(&specs, Duration::from_secs(30))).unwrap();
    let set = look(1);
    let ledger =
        ["cleanup.policy is compact, should be delete", "message.timestamp.type", "kafka-configs --alter"];
    says(&set, "kafka synod.ledger.v1", "wrong", &ledger);
    says(&set, "kafka synod.events.v1", "warning", &["retention.ms is 1000"]);
    says(&set, "kafka topics", "ok", &["5 of 7"]);
}

#[test]
fn services_that_are_taken_away_are_named_by_doctor_and_coordinator() {
    let services = Services::start();
    let http = nobody();
    let mut coordinator = services.synod(&["coordinator"], &http);
    let _coordinator = Running::start(coordinator.stdout(Stdio::null()).stderr(Stdio::null()));
    let look = || looked(&mut services.synod(&["doctor", "--limit", "6"], &http));
    let well = || until("all is well", || look().0 == Some(0));
    let becomes = |check: &str, words: &[&str]| {
        let mut last = BTreeMap::new();
        until(&format!("{check} says {words:?}"), || {
            let (ended, found) = look();
            let line = found.get(check).is_some_and(|line| {
                ended == Some(1) && line.starts_with("wrong") && words.iter().all(|word| line.contains(word))
            });
            last = found;
            line
        });
        last
    };
    well();

    services.act(&["stop", "kafka"]);
    let seen = becomes("coordinators ready", &["Kafka", "mend what it names; it goes on by itself then"]);
    says(&seen, "kafka brokers", "wrong", &["no broker answers at", &services.kafka, "start it"]);
    says(&seen, "redis server", "ok", &[]);
    services.act(&["start", "kafka"]);
    well();

    services.act(&["stop", "redis"]);
    let seen = becomes("coordinators ready", &["Redis", "mend what it names; it goes on by itself then"]);
    says(&seen, "redis server", "wrong", &["not to be used at", "refused", "start it"]);
    says(&seen, "kafka brokers", "ok", &[]);
    services.act(&["start", "redis"]);
    well();

    // Who has been set wrong while all runs is found as well.
    let port = services.redis.trim_end_matches('/').rsplit_once(':').unwrap().1.parse().unwrap();
    assert_eq!(redis(port, "CONFIG SET maxmemory-policy volatile-lru"), "+OK");
    let seen = found(1, &mut services.synod(&["doctor"], &http));
    says(&seen, "redis eviction", "wrong", &["volatile-lru", "CONFIG SET maxmemory-policy noeviction"]);
}
