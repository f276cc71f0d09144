//! A client of a mesh: plain HTTP, and Kafka records made by hand where they are to be wrong.

use crate::mesh::{Ground, Mesh};
use crate::process::eventually;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::time::Duration;
use synod_infra::kafka::{Acked, KafkaConfig, Outgoing, Producer, RawRecord, Readers};
use synod_protocol::{Envelope, topics};

/// Partitions of every mesh here: the default.
const PARTITIONS: u32 = 8;
/// Whatever is waited for here comes within it.
const SOON: Duration = Duration::from_secs(20);

/// An id that no other test has.
pub fn fresh(what: &str) -> String {
    format!("{what}-{}", uuid::Uuid::new_v4().simple())
}

/// An HTTP client that waits a minute and a half at most.
pub fn plain() -> reqwest::Client {
    let builder = reqwest::Client::builder().timeout(Duration::from_secs(90)).no_proxy();
    builder.build().expect("an HTTP client")
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// The body, `null` where it is not JSON.
    pub body: Value,
}

impl Answer {
    /// A header, empty if absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// Checks that it is a problem (RFC 9457) with this status and code.
    #[track_caller]
    pub fn is_problem(&self, status: u16, code: &str) -> &Answer {
        assert_eq!((self.status, self.body["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.header("content-type"), "application/problem+json", "{self:?}");
        assert_eq!(self.body["status"], status, "{self:?}");
        for member in ["type", "title", "detail"] {
            assert!(self.body[member].is_string(), "{member} is missing: {self:?}");
        }
        self
    }

    /// Checks the status.
    #[track_caller]
    pub fn is(&self, status: u16) -> &Answer {
        assert_eq!(self.status, status, "{self:?}");
        self
    }
}

/// A CloudEvent from Kafka.
#[derive(Clone, Debug)]
pub struct Message {
    /// Its headers.
    pub envelope: Envelope,
    /// Its value.
    pub value: Value,
}

/// A client.
pub struct Client {
    /// Where the API is.
    pub base: String,
    http: reqwest::Client,
    producer: Producer,
    /// Readers of topics.
    pub readers: Readers,
}

impl Client {
    /// Connects to a mesh.
    pub fn of(mesh: &Mesh) -> Client {
        let mut config = match mesh.ground() {
            Ground::Embedded => KafkaConfig::embedded(&mesh.kafka, "mesh-tests"),
            Ground::Real => KafkaConfig::new(&mesh.kafka, "mesh-tests"),
        };
        config.max_message_bytes = 4 << 20;
        Client {
            base: mesh.http.clone(),
            http: plain(),
            producer: Producer::new(&config).expect("a producer"),
            readers: Readers::new(&config).expect("readers"),
        }
    }

    /// A request, to be sent by [`Client::send`].
    pub fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = method.parse().expect("a method");
        self.http.request(method, format!("{}{path}", self.base))
    }

    /// Sends it.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        let answer = request.send().await.expect("an answer");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let bytes = answer.bytes().await.expect("a body");
        Answer { status, headers, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request("POST", path).json(body)).await
    }

    /// Gets.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request("GET", path)).await
    }

    /// Posts a command in structured mode under this `ce_id`.
    pub async fn command(&self, ce_id: &str, ty: &str, data: &Value) -> Answer {
        let event = json!({"specversion": "1.0", "id": ce_id, "source": "/tests", "type": ty, "data": data});
        let request = self.request("POST", "/v1/commands");
        self.send(request.header("content-type", "application/cloudevents+json").body(event.to_string()))
            .await
    }

    /// A task once it has ended. One submitted through Kafka is not known before it is decided.
    pub async fn ended(&self, id: &str) -> Value {
        let path = format!("/v1/tasks/{id}?wait_ms=20000");
        let answer = eventually(&format!("task {id} is known"), SOON, || async {
            Some(self.get(&path).await).filter(|answer| answer.status != 404)
        })
        .await;
        assert_eq!(answer.status, 200, "task {id} has not ended: {answer:?}");
        answer.body
    }

    /// Appends a record as it is and waits for its acknowledgement.
    pub async fn append(&self, out: Outgoing) -> Acked {
        let (tell, told) = tokio::sync::oneshot::channel();
        let sent = self.producer.send(out, move |delivery| drop(tell.send(delivery)));
        sent.expect("the producer takes it");
        let delivery = tokio::time::timeout(SOON, told).await.expect("acknowledged in time");
        delivery.expect("the producer lives").expect("acknowledged")
    }

    /// Appends a record whose acknowledgement nobody waits for.
    pub fn throw(&self, out: Outgoing) {
        let sent = self.producer.send(out, |delivery| {
            if let Err(error) = delivery {
                eprintln!("a record was not acknowledged: {error}");
            }
        });
        sent.expect("the producer takes it");
    }

    /// A command as it should be.
    pub fn record(key: &str, envelope: &Envelope, value: &Value) -> Outgoing {
        Outgoing::to(topics::COMMANDS).key(key).envelope(envelope).payload(value.to_string())
    }

    /// All that a topic holds now; nothing if it is not there.
    pub async fn all(&self, topic: &str) -> Vec<RawRecord> {
        let found = self.readers.partitions(topic, SOON).await.expect("Kafka answers");
        let mut records = Vec::new();
        for partition in 0..found.unwrap_or(0) {
            records.append(&mut self.partition(topic, partition).await);
        }
        records
    }

    /// All that one partition holds now.
    pub async fn partition(&self, topic: &str, partition: u32) -> Vec<RawRecord> {
        let mut records = Vec::new();
        let read = self.readers.read_to_end(topic, partition as i32, SOON, |record| {
            records.push(record);
            ControlFlow::Continue(())
        });
        read.await.expect("the topic can be read");
        records
    }

    /// The reply to a command.
    pub async fn reply(&self, topic: &str, ce_id: &str) -> Message {
        eventually(&format!("a reply to {ce_id}"), SOON, || async {
            let mut records = self.all(topic).await.into_iter().map(|record| message(&record));
            records.find(|m| m.envelope.causation_id.as_deref() == Some(ce_id))
        })
        .await
    }

    /// Every record of an entity's events as published, repeats too.
    pub async fn events(&self, entity: &str) -> Vec<Message> {
        let root = entity.split(':').next().unwrap_or(entity);
        let partition = topics::partition(root.as_bytes(), PARTITIONS);
        let records = self.partition(topics::EVENTS, partition).await;
        let messages = records.iter().map(message);
        messages.filter(|m| m.envelope.subject.as_deref() == Some(entity)).collect()
    }

    /// The same, types alone, repeats dropped by `ce_id`; waits until the one named is there.
    pub async fn history(&self, entity: &str, until: &str) -> Vec<String> {
        let ends = format!("synod.{until}");
        eventually(&format!("{ends} of {entity}"), SOON, || async {
            let mut events = self.events(entity).await;
            events.sort_by_key(|e| e.envelope.position);
            events.dedup_by(|a, b| a.envelope.id == b.envelope.id);
            let types: Vec<String> = events.into_iter().map(|e| e.envelope.ty).collect();
            types.contains(&ends).then_some(types)
        })
        .await
    }

    /// The dead letter of the command that stands there.
    pub async fn dead_letter(&self, source: Acked) -> RawRecord {
        let what = format!("a dead letter of {}:{}", source.partition, source.offset);
        eventually(&what, SOON, || async {
            let letters = self.all(&topics::dlq(topics::COMMANDS)).await;
            letters.into_iter().find(|letter| {
                let said = |name: &str| text(letter, &format!("__dlq.errors.{name}"));
                said("partition") == source.partition.to_string()
                    && said("offset") == source.offset.to_string()
            })
        })
        .await
    }
}

fn text(record: &RawRecord, name: &str) -> String {
    let value = record.headers.iter().find(|(n, _)| n == name).and_then(|(_, v)| v.clone());
    String::from_utf8(value.unwrap_or_default()).expect("UTF-8")
}

/// Reads a record as a CloudEvent.
pub(crate) fn message(record: &RawRecord) -> Message {
    let envelope = record.envelope().expect("a CloudEvent");
    let payload = record.payload.as_deref().unwrap_or_default();
    Message { envelope, value: serde_json::from_slice(payload).expect("JSON") }
}
