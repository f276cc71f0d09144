//! Dead letters: redriven, discarded, by two operators at once; on the embedded mesh and on real brokers.

use crate::running::{Up, json, until};
use serde_json::{Value, json};
use std::fs;
use std::ops::ControlFlow;
use std::process::{Command, Stdio};
use std::time::Duration;
use synod_infra::kafka::{KafkaConfig, Outgoing, Producer, RawRecord, Readers, TopicMaker, TopicSpec};

const WAIT: Duration = Duration::from_secs(20);

/// Kafka, by whose side a command line works.
pub(crate) struct Bench<'a> {
    pub(crate) kafka: KafkaConfig,
    pub(crate) synod: &'a dyn Fn(&[&str]) -> Command,
}

impl Bench<'_> {
    fn json(&self, status: i32, args: &[&str]) -> Value {
        json(status, &mut (self.synod)(args))
    }

    /// An application's topic and that of its dead letters, with names that nobody else has.
    async fn topics(&self) -> String {
        let name = format!("orders-{}", uuid::Uuid::now_v7().simple());
        let specs = [TopicSpec::new(&name, 3, 0), TopicSpec::new(format!("dlq.{name}"), 1, 0)];
        TopicMaker::new(&self.kafka).ensure(&specs, WAIT).await.unwrap();
        name
    }

    async fn append(&self, records: Vec<Outgoing>) {
        let producer = Producer::new(&self.kafka).unwrap();
        for record in records {
            producer.send(record, |delivery| assert!(delivery.is_ok(), "{delivery:?}")).unwrap();
        }
        producer.flush(WAIT).await.unwrap();
    }

    async fn all(&self, topic: &str) -> Vec<RawRecord> {
        let readers = Readers::new(&self.kafka).unwrap();
        let mut all = Vec::new();
        for partition in 0..readers.partitions(topic, WAIT).await.unwrap().unwrap() {
            let each = |record| {
                all.push(record);
                ControlFlow::Continue(())
            };
            readers.read_to_end(topic, partition.cast_signed(), WAIT, each).await.unwrap();
        }
        all
    }
}

/// A dead letter as a consumer leaves it, for the record at this place of the source.
fn letter(of: &str, offset: u32, headers: &[(&'static str, String)], value: &str) -> Outgoing {
    let key = format!("k-{offset}");
    let out =
        headers.iter().fold(Outgoing::to(format!("dlq.{of}")).partition(0).key(key), |out, (name, value)| {
            out.header(*name, value.clone().into_bytes())
        });
    out.header("__dlq.errors.topic", of.as_bytes())
        .header("__dlq.errors.partition", "0")
        .header("__dlq.errors.offset", offset.to_string().into_bytes())
        .header("__dlq.errors.message", "it was too early")
        .payload(value)
}

fn header<'a>(record: &'a RawRecord, name: &str) -> &'a str {
    let value =
        record.headers.iter().find(|(header, _)| header == name).and_then(|(_, value)| value.as_deref());
    std::str::from_utf8(value.unwrap_or(b"none")).unwrap()
}

/// One is redriven, a copy of it goes with it, one is discarded; each once.
pub(crate) async fn check_round_trip(bench: &Bench<'_>) {
    let of = bench.topics().await;
    let letters =
        [5, 6, 5].map(|offset| letter(&of, offset, &[("ce_id", format!("c-{offset}"))], "{\"a\":1}"));
    bench.append(letters.to_vec()).await;
    let listed = |args: &[&str]| bench.json(0, &[&["dlq", "--topic", of.as_str(), "list"], args].concat());
    // Two letters about one record are one; the newer stands for both.
    assert_eq!(listed(&[]).as_array().unwrap().len(), 2);
    assert_eq!(bench.json(2, &["dlq", "--topic", &of, "redrive", "0:0"]), Value::Null, "nobody was asked");
    bench.json(3, &["dlq", "--topic", &of, "redrive", "0:99", "--yes"]);
    bench.json(2, &["dlq", "--topic", &of, "redrive", "--yes"]);
    assert_eq!(bench.all(&of).await.len(), 0);

    let redriven = bench.json(0, &["dlq", "--topic", &of, "redrive", "0:0", "--yes"]);
    assert_eq!(redriven[0]["result"], "redriven");
    let again = bench.all(&of).await;
    let [record] = &again[..] else { panic!("one record, not {again:?}") };
    assert_eq!(
        (record.key.as_deref(), record.payload.as_deref()),
        (Some(&b"k-5"[..]), Some(&b"{\"a\":1}"[..]))
    );
    assert_eq!((header(record, "ce_id"), header(record, "__dlq.errors.message")), ("c-5", "none"));
    assert_eq!(header(record, "__dlq.redriven.from"), format!("dlq.{of}:0:0"));
    assert_eq!(redriven[0]["now_at"], format!("{of} {}:{}", record.partition, record.offset));

    // It is done with, and so is its copy.
    assert_eq!(listed(&[])[0]["letter"], "0:1");
    bench.json(4, &["dlq", "--topic", &of, "redrive", "0:2", "--yes"]);
    let discarded = bench.json(0, &["dlq", "--topic", &of, "discard", "--all", "--yes"]);
    assert_eq!(discarded, json!([{"letter": "0:1", "result": "discarded"}]));
    assert_eq!(listed(&[]), json!([]));
    assert_eq!(bench.json(0, &["dlq", "--topic", &of, "redrive", "--all", "--yes"]), json!([]));
    let states: Vec<Value> =
        listed(&["--closed"]).as_array().unwrap().iter().map(|l| l["state"].clone()).collect();
    assert_eq!(states, ["discarded", "redriven"]);
    assert_eq!(bench.all(&of).await.len(), 1);
}

/// Two at the same time: each letter is produced again once.
pub(crate) async fn check_two_operators(bench: &Bench<'_>) {
    let of = bench.topics().await;
    let letters = (0..100).map(|offset| letter(&of, offset, &[("ce_id", format!("c-{offset}"))], "{}"));
    bench.append(letters.collect()).await;
    let args = ["dlq", "--topic", of.as_str(), "redrive", "--all", "--yes", "--output", "json"];
    let operators: Vec<_> = (0..3)
        .map(|_| (bench.synod)(&args).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap())
        .collect();
    let mut redriven = 0;
    for operator in operators {
        let output = operator.wait_with_output().unwrap();
        assert!(matches!(output.status.code(), Some(0 | 4)), "{output:?}");
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        redriven +=
            rows.iter().filter(|row| row["result"] == "redriven" && row["now_at"].is_string()).count();
    }
    assert_eq!((redriven, bench.all(&of).await.len()), (100, 100));
    assert_eq!(bench.json(0, &["dlq", "--topic", &of, "list"]), json!([]));
}

/// What somebody took and never ended is in doubt, and not to be had for a while.
pub(crate) async fn check_doubt(bench: &Bench<'_>) {
    let of = bench.topics().await;
    bench.append(vec![letter(&of, 7, &[], "{}"), letter(&of, 8, &[], "{}")]).await;
    // So that the topic of marks is there.
    bench.json(0, &["dlq", "--topic", &of, "discard", "0:1", "--yes"]);
    let died = Outgoing::to("synod.dlq.v1")
        .partition(0)
        .key(format!("dlq.{of}/0:7/died"))
        .payload(r#"{"v":1,"said":"taken","at":"2026-11-21T08:00:00.000Z"}"#);
    bench.append(vec![died]).await;
    assert_eq!(bench.json(0, &["dlq", "--topic", &of, "list"])[0]["state"], "in doubt");
    let refused = bench.json(4, &["dlq", "--topic", &of, "redrive", "0:0", "--yes"]);
    assert_eq!(refused[0]["result"], "taken by another");
    assert_eq!(bench.all(&of).await.len(), 0);
}

fn on_embedded(check: &impl AsyncFn(&Bench<'_>)) {
    let up = Up::start();
    let endpoints: Value = serde_json::from_slice(&fs::read(&up.file).unwrap()).unwrap();
    let kafka = KafkaConfig::embedded(endpoints["kafka"].as_str().unwrap(), "test-dlq");
    let synod = |args: &[&str]| up.synod(args);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(check(&Bench { kafka, synod: &synod }));
}

#[test]
fn a_letter_is_redriven_or_discarded_once() {
    on_embedded(&check_round_trip);
}

#[test]
fn of_operators_at_the_same_time_one_has_each_letter() {
    on_embedded(&check_two_operators);
}

#[test]
fn what_was_taken_and_never_ended_is_in_doubt() {
    on_embedded(&check_doubt);
}

#[test]
fn a_command_gets_a_fresh_try_under_its_own_id() {
    on_embedded(&async |bench: &Bench<'_>| {
        // As though an earlier build could not read it, long ago.
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_id", "c-1"),
            ("ce_source", "/test"),
            ("ce_type", "synod.task.submit"),
            ("ce_time", "2026-01-01T00:00:00Z"),
        ];
        let headers = headers.map(|(name, value)| (name, value.to_owned()));
        let of = "synod.commands.v1";
        let good = letter(of, 3, &headers, r#"{"task_id":"t-1","capability":"echo"}"#).key("t-1");
        let bad = letter(of, 4, &headers[..4], "{").key("t-2");
        bench.append(vec![good, bad]).await;
        bench.json(0, &["dlq", "redrive", "0:0", "0:1", "--yes"]);
        let taken = || (bench.synod)(&["task", "get", "t-1"]).output().unwrap().status.success();
        until("the task of the letter", taken);
        // What is still wrong comes back, as a letter of its own.
        until("the second letter", || !bench.json(0, &["dlq", "list"]).as_array().unwrap().is_empty());
        let back = bench.json(0, &["dlq", "show", "0:2"]);
        assert_eq!(
            (&back["key"], &back["value"], &back["state"]),
            (&json!("t-2"), &json!("{"), &json!("open"))
        );
        assert!(back["headers"].to_string().contains("__dlq.redriven.count\",\"1"), "{back}");
    });
}
