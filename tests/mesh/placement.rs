//! Commands of clients whose partitioner is another one.

use serde_json::json;
use synod_infra::kafka::Outgoing;
use synod_protocol::{Envelope, ReplyTo, topics};
use synod_tests::{Agent, Client, Ground, Manner, Mesh, fresh};

async fn check(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Echo).await;
    for keyed in [true, false] {
        let (id, ce_id, replies) = (fresh("task"), fresh("ce"), format!("synod.reply.{}", fresh("r")));
        let right = topics::partition(id.as_bytes(), 8);
        let wrong = (right + 3) % 8;
        let envelope = Envelope {
            reply_to: Some(ReplyTo::Kafka(replies.clone())),
            ..Envelope::new(ce_id.as_str(), "/tests", "synod.task.submit")
        };
        let value = json!({"task_id": id, "capability": agent.capability, "input": keyed});
        let record = Client::record(&id, &envelope, &value).partition(wrong as i32);
        let record = if keyed { record } else { Outgoing { key: None, ..record } };
        let at = client.append(record.clone()).await;
        assert_eq!(at.partition, wrong as i32);
        assert_eq!(client.reply(&replies, &ce_id).await.value["task_id"], json!(id));
        assert_eq!(client.ended(&id).await["output"], json!(keyed));

        // Once, and unchanged.
        let there = client.partition(topics::COMMANDS, right).await;
        let passed: Vec<_> = there
            .into_iter()
            .filter(|r| r.envelope().is_ok_and(|e| e.id == ce_id))
            .map(|r| (r.key, r.payload, r.headers.len()))
            .collect();
        assert_eq!(passed, [(record.key, record.payload, record.headers.len())]);
        // Both shards have it on record: the one that it passed through, and its own.
        let ledger = client.partition(topics::LEDGER, wrong).await;
        let noted = ledger.iter().any(|r| {
            let text = String::from_utf8_lossy(r.payload.as_deref().unwrap_or_default()).into_owned();
            text.contains(&format!("\"passed_on_to\":{right}"))
                && text.contains(&format!("\"offset\":{}", at.offset))
        });
        assert!(noted, "the ledger of shard {wrong} does not say where offset {} went", at.offset);
        let history = client.history(&id, "task.completed").await;
        assert_eq!(history, ["synod.task.submitted", "synod.task.assigned", "synod.task.completed"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misplaced_command_is_passed_on_once_in_an_embedded_mesh() {
    check(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_misplaced_command_is_passed_on_once_on_real_brokers() {
    check(Ground::Real).await;
}
