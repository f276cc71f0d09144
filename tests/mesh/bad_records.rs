//! What should not be in the commands topic: answered with its code, kept in the dead-letter topic, and in
//! nobody's way.

use serde_json::{Value, json};
use synod_infra::kafka::Outgoing;
use synod_protocol::topics;
use synod_tests::{Agent, Client, Ground, Manner, Mesh, fresh};

/// A mesh with an agent that echoes, and where rejections go.
struct Stage {
    client: Client,
    agent: Agent,
    replies: String,
}

/// A good submission with its parts in the open, so that one can be spoilt.
struct Draft {
    key: Option<String>,
    headers: Vec<(&'static str, Vec<u8>)>,
    value: Option<Vec<u8>>,
}

impl Draft {
    fn set(&mut self, name: &'static str, value: impl Into<Vec<u8>>) {
        self.headers.retain(|(known, _)| *known != name);
        self.headers.push((name, value.into()));
    }
    fn change(&mut self, change: impl FnOnce(&mut Value)) {
        let mut value = serde_json::from_slice(self.value.as_deref().unwrap_or_default()).expect("JSON");
        change(&mut value);
        self.value = Some(value.to_string().into_bytes());
    }
}

impl Stage {
    async fn on(ground: Ground) -> (std::sync::Arc<Mesh>, Stage) {
        let mesh = Mesh::shared(ground).await;
        let agent = Agent::join(&mesh, Manner::Echo).await;
        let replies = format!("synod.reply.{}", fresh("bad"));
        let client = Client::of(&mesh);
        (mesh, Stage { client, agent, replies })
    }

    fn draft(&self, id: &str, ce_id: &str) -> Draft {
        let value = json!({"task_id": id, "capability": self.agent.capability, "input": {"n": 1}});
        let text = |t: &str| t.as_bytes().to_vec();
        let headers = vec![
            ("ce_specversion", text("1.0")),
            ("ce_id", text(ce_id)),
            ("ce_source", text("/tests")),
            ("ce_type", text("synod.task.submit")),
            ("content-type", text("application/json")),
            ("synod-reply-to", format!("kafka:{}", self.replies).into_bytes()),
        ];
        Draft { key: Some(id.to_owned()), headers, value: Some(value.to_string().into_bytes()) }
    }

    async fn append(&self, draft: Draft) -> synod_infra::kafka::Acked {
        let out = Outgoing {
            topic: topics::COMMANDS.into(),
            partition: None,
            key: draft.key.map(String::into_bytes),
            headers: draft.headers.into_iter().map(|(n, v)| (n.into(), Some(v))).collect(),
            payload: draft.value,
        };
        self.client.append(out).await
    }

    /// Spoils a good submission, and expects a rejection with this code, a dead letter that holds the record
    /// as it came, and a shard that goes on.
    async fn check(&self, what: &str, code: &str, spoil: impl FnOnce(&mut Draft)) {
        let (id, ce_id) = (fresh("task"), fresh("ce"));
        let mut draft = self.draft(&id, &ce_id);
        spoil(&mut draft);
        let (answered, value) = (draft.headers.iter().any(|(n, _)| *n == "ce_id"), draft.value.clone());
        let at = self.append(draft).await;
        let letter = self.client.dead_letter(at).await;
        assert!(letter.payload == value, "{what}: the dead letter has another value");
        let why = letter.headers.iter().find(|(name, _)| name == "__dlq.errors.message");
        let why = String::from_utf8(why.and_then(|(_, v)| v.clone()).unwrap_or_default()).expect("UTF-8");
        assert!(why.contains(code), "{what}: the dead letter says {why}");
        if answered {
            let reply = self.client.reply(&self.replies, &ce_id).await;
            assert_eq!(reply.envelope.ty, "synod.rejected", "{what}: {reply:?}");
            assert_eq!(reply.value["code"], code, "{what}: {reply:?}");
            assert!(!reply.value["message"].as_str().unwrap_or_default().is_empty(), "{what}: {reply:?}");
        }
        self.goes_on(what, at.partition).await;
    }

    /// A good task right behind it, in the same shard.
    async fn goes_on(&self, what: &str, partition: i32) {
        let id = loop {
            let id = fresh("good");
            if topics::partition(id.as_bytes(), 8) as i32 == partition {
                break id;
            }
        };
        let ce_id = fresh("ce");
        self.append(self.draft(&id, &ce_id)).await;
        let task = self.client.ended(&id).await;
        assert_eq!(
            (&task["status"], &task["output"]),
            (&json!("completed"), &json!({"n": 1})),
            "after {what}"
        );
    }
}

async fn check_all(ground: Ground) {
    const INVALID: &str = "invalid_argument";
    let (_mesh, stage) = Stage::on(ground).await;
    let at = &stage;
    at.check("malformed JSON", INVALID, |d| d.value = Some(b"{\"task_id\":".to_vec())).await;
    at.check("no JSON at all", INVALID, |d| d.value = Some(vec![0xff, 0x00, 0x80])).await;
    at.check("an unknown type", INVALID, |d| d.set("ce_type", "synod.task.explode")).await;
    at.check("an event's type", INVALID, |d| d.set("ce_type", "synod.task.completed")).await;
    at.check("an unknown field", INVALID, |d| d.change(|v| v["colour"] = json!("red"))).await;
    at.check("a wrong type", INVALID, |d| d.change(|v| v["priority"] = json!("high"))).await;
    at.check("an id with spaces", INVALID, |d| d.change(|v| v["task_id"] = json!("a b c"))).await;
    at.check("neither capability nor agent", INVALID, |d| {
        d.change(|v| drop(v.as_object_mut().expect("an object").remove("capability")));
    })
    .await;
    at.check("deep nesting", INVALID, |d| {
        let deep = format!("{{\"task_id\":\"t\",\"input\":{}{}}}", "[".repeat(10_000), "]".repeat(10_000));
        d.value = Some(deep.into_bytes());
    })
    .await;
    at.check("a list that says it is huge, in bincode", INVALID, |d| {
        d.set("content-type", "application/x-bincode");
        d.value = Some(vec![0xff; 16]);
    })
    .await;
    at.check("another content type", INVALID, |d| d.set("content-type", "text/plain")).await;
    at.check("no value", INVALID, |d| d.value = None).await;
    at.check("more than 256 KiB", "payload_too_large", |d| {
        d.change(|v| v["input"] = json!("x".repeat(257 * 1024)));
    })
    .await;
    at.check("a missing header", INVALID, |d| d.headers.retain(|(n, _)| *n != "ce_source")).await;
    at.check("no id", INVALID, |d| d.headers.retain(|(n, _)| *n != "ce_id")).await;
    at.check("a doubled header", INVALID, |d| d.headers.push(("ce_type", b"synod.task.submit".to_vec())))
        .await;
    at.check("a header that is not UTF-8", INVALID, |d| d.set("ce_subject", vec![0xff])).await;
    at.check("a version of CloudEvents that is none", INVALID, |d| d.set("ce_specversion", "0.3")).await;
    at.check("a time that is none", INVALID, |d| d.set("ce_time", "yesterday")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_answered_kept_and_passed_on_an_embedded_mesh() {
    check_all(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_answered_kept_and_passed_on_real_brokers() {
    check_all(Ground::Real).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_to_another_topic_is_refused_and_not_written() {
    let (_mesh, stage) = Stage::on(Ground::Real).await;
    for target in ["kafka:synod.ledger.v1", "kafka:synod.commands.v1", "kafka:dlq.x", "redis:synod:inbox:x"] {
        let (id, ce_id) = (fresh("task"), fresh("ce"));
        let mut draft = stage.draft(&id, &ce_id);
        draft.set("synod-reply-to", target);
        let at = stage.append(draft).await;
        let letter = stage.client.dead_letter(at).await;
        let why = format!("{:?}", letter.headers);
        assert!(letter.payload.is_some() && why.contains("__dlq.errors.message"), "{target}: {why}");
        assert_eq!(stage.client.get(&format!("/v1/tasks/{id}")).await.status, 404, "{target}");
        stage.goes_on(target, at.partition).await;
    }
    let ledger = stage.client.all(topics::LEDGER).await;
    let foreign = ledger.iter().filter(|r| r.headers.iter().any(|(n, _)| n == "ce_type")).count();
    assert_eq!(foreign, 0, "replies stand in the ledger");
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_delivered_to_inbox_topics_alone() {
    let (_mesh, stage) = Stage::on(Ground::Embedded).await;
    for topic in ["synod.ledger.v1", "synod.reply.x", "dlq.x", "orders", "synod.inbox."] {
        let (id, ce_id) = (fresh("agent"), fresh("ce"));
        let value = json!({"agent_id": id, "incarnation": uuid::Uuid::new_v4().to_string(), "capabilities": ["c"],
            "delivery": {"kafka": {"topic": topic}}});
        let answer = stage.client.command(&ce_id, "synod.agent.register", &value).await;
        answer.is_problem(400, "invalid_argument");
        assert_eq!(stage.client.get(&format!("/v1/agents/{id}")).await.status, 404, "{topic}");
    }
}
