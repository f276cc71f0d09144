//! What is told without being asked: replies and events.

use serde_json::{Value, json};
use std::process::Command;
use std::time::Duration;
use synod_protocol::{Envelope, Position, ReplyTo, topics};
use synod_tests::{Agent, Client, Ground, Manner, Mesh, eventually, fresh};

/// The answers in a Redis list, by a client that has nothing but Redis.
async fn in_redis(mesh: &Mesh, list: &str) -> Vec<Value> {
    let answers = eventually("an answer in the list", Duration::from_secs(20), || {
        let asked =
            Command::new("redis-cli").args(["-u", &mesh.redis, "--json", "lrange", list, "0", "-1"]).output();
        let output = asked.expect("redis-cli runs");
        assert!(output.status.success(), "{output:?}");
        let texts: Vec<String> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        std::future::ready(Some(texts).filter(|texts| !texts.is_empty()))
    })
    .await;
    answers.iter().map(|text| serde_json::from_str(text).expect("JSON")).collect()
}

async fn check_replies(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let capability = fresh("cap");
    for (good, ty) in [(true, "synod.reply"), (false, "synod.rejected")] {
        let (id, ce_id) = (fresh("task"), fresh("ce"));
        let list = format!("synod:reply:{}", fresh("r"));
        let correlation_id = Some(fresh("work"));
        let envelope = Envelope {
            reply_to: Some(ReplyTo::Redis(list.clone())),
            correlation_id: correlation_id.clone(),
            ..Envelope::new(ce_id.as_str(), "/tests", "synod.task.submit")
        };
        let mut value = json!({"task_id": id, "capability": capability, "input": 1});
        if !good {
            value["priority"] = json!(11);
        }
        client.append(Client::record(&id, &envelope, &value)).await;
        let answers = in_redis(&mesh, &list).await;
        let answer = answers.first().expect("an answer");
        assert_eq!((&answer["type"], &answer["synodcausationid"]), (&json!(ty), &json!(ce_id)), "{answer}");
        assert_eq!(answer["synodcorrelationid"], json!(correlation_id), "{answer}");
        if good {
            let told = (&answer["data"]["task_id"], &answer["data"]["status"]);
            assert_eq!(told, (&json!(id), &json!("waiting")), "{answer}");
            // After the answer everybody shows that state.
            client.get(&format!("/v1/tasks/{id}")).await.is(200);
        } else {
            let told = (&answer["data"]["code"], &answer["data"]["field"]);
            assert_eq!(told, (&json!("invalid_argument"), &json!("/priority")), "{answer}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_comes_through_redis_in_an_embedded_mesh() {
    check_replies(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_comes_through_redis_on_real_brokers() {
    check_replies(Ground::Real).await;
}

async fn check_events(ground: Ground) {
    let mesh = Mesh::shared(ground).await;
    let client = Client::of(&mesh);
    let agent = Agent::join(&mesh, Manner::Echo).await;
    let (id, ce_id) = (fresh("task"), fresh("ce"));
    let asked = json!({"task_id": id, "capability": agent.capability, "input": {"n": 1}});
    let done = client.command(&ce_id, "synod.task.submit", &asked).await;
    done.is(200);
    client.ended(&id).await;
    client.history(&id, "task.completed").await;
    let events = client.events(&id).await;
    let shard = topics::partition(id.as_bytes(), 8);
    let want = [("submitted", "waiting"), ("assigned", "assigned"), ("completed", "completed")];
    assert_eq!(events.len(), want.len(), "{events:?}");
    let mut before = None;
    for (event, (ty, status)) in events.iter().zip(want) {
        let envelope = &event.envelope;
        assert_eq!(envelope.ty, format!("synod.task.{ty}"));
        assert_eq!(
            (&event.value["task_id"], &event.value["status"]),
            (&json!(id), &json!(status)),
            "{event:?}"
        );
        let position: Position = envelope.position.expect("a position");
        assert_eq!(position.shard, shard);
        let begins = format!("{shard}-{}-", position.offset);
        assert!(envelope.id.starts_with(&begins) && before < Some(position), "{event:?}");
        if ty != "submitted" {
            assert_eq!(
                (&event.value["attempt"], &event.value["agent_id"]),
                (&json!(1), &json!(agent.id)),
                "{event:?}"
            );
            assert!(event.value.get("attempt_token").is_none(), "{event:?}");
        }
        before = Some(position).filter(|_| ty != "submitted");
    }
    assert_eq!(events[2].value["output"], json!({"n": 1}));
    assert_eq!(events[0].envelope.causation_id.as_deref(), Some(ce_id.as_str()));

    // The same over HTTP, and from a position on.
    let listed = client.get(&format!("/v1/events?entity={id}")).await;
    let ids = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items").iter();
        items.map(|item| item["id"].as_str().unwrap_or_default().to_owned()).collect()
    };
    let published: Vec<String> = events.iter().map(|e| e.envelope.id.clone()).collect();
    assert_eq!(ids(&listed.body), published);
    let last_but_one = events[1].envelope.position.expect("a position");
    let rest = client.get(&format!("/v1/events?entity={id}&after={last_but_one}")).await;
    assert_eq!(ids(&rest.body), published[2..]);
    let one = client.get(&format!("/v1/events?entity={id}&type=synod.task.assigned")).await;
    assert_eq!(ids(&one.body), published[1..2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn events_say_what_happened_in_order_in_an_embedded_mesh() {
    check_events(Ground::Embedded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn events_say_what_happened_in_order_on_real_brokers() {
    check_events(Ground::Real).await;
}
