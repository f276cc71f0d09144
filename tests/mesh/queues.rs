//! Queues and agents' memories over HTTP, on an embedded mesh, and the same through the SDK and the command line.

use agent_sdk::{ConsumeOptions, LeaseRequest, MeshConfig};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use synod_tests::{Answer, Client, Ground, Mesh, eventually, fresh};

const SOON: Duration = Duration::from_secs(20);

async fn post(client: &Client, path: &str, body: Value) -> Answer {
    client.post(path, &body).await
}

async fn lease(client: &Client, queue: &str, more: Value) -> Vec<Value> {
    let mut body = json!({"consumer": "c", "visibility_ms": 60_000});
    body.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    let answer = post(client, &format!("/v1/queues/{queue}/lease"), body).await;
    answer.is(200).body["items"].as_array().expect("an array").clone()
}

fn settle(queue: &str, message: &Value, what: &str) -> String {
    let id = message["message_id"].as_str().expect("a text");
    format!("/v1/queues/{queue}/{id}/{what}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_its_way_over_http() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let queue = fresh("q");
    let path = format!("/v1/queues/{queue}");
    let one = post(&client, &path, json!({"payload": {"n": 1}, "message_id": "one"})).await;
    assert_eq!(one.is(201).body, json!({"message_id": "one", "duplicate": false}));
    let batch = json!({"messages": [{"payload": null, "message_id": "one"}, {"payload": 2, "priority": 9}]});
    let several = post(&client, &path, batch).await;
    let items = &several.is(201).body["items"];
    assert_eq!((&items[0]["duplicate"], &items[1]["duplicate"]), (&json!(true), &json!(false)));
    let got = lease(&client, &queue, json!({"limit": 5})).await;
    assert_eq!((got.len(), &got[0]["payload"], &got[1]["payload"]), (2, &json!(2), &json!({"n": 1})));
    assert_eq!(got[1]["delivery"], 1);
    let receipt = |n: usize| json!({"receipt": got[n]["receipt"]});
    post(&client, &settle(&queue, &got[1], "ack"), receipt(0)).await.is_problem(409, "fenced");
    for _ in 0..2 {
        let acked = post(&client, &settle(&queue, &got[1], "ack"), receipt(1)).await;
        assert_eq!(acked.is(200).body, json!({"message_id": "one"}));
    }
    let longer = json!({"receipt": got[0]["receipt"], "visibility_ms": 120_000});
    let extended = post(&client, &settle(&queue, &got[0], "extend"), longer).await;
    assert!(extended.is(200).body["leased_until"].as_str() > got[0]["leased_until"].as_str(), "{extended:?}");
    let back = json!({"receipt": got[0]["receipt"], "delay_ms": 60_000, "reason": "later"});
    assert_eq!(post(&client, &settle(&queue, &got[0], "nack"), back).await.is(200).body["now"], "delayed");
    let status = client.get(&path).await.is(200).body.clone();
    let counts = ["ready", "leased", "delayed", "dead"].map(|what| status[what].clone());
    assert_eq!(counts, [0, 0, 1, 0].map(Value::from), "{status}");
    assert!(status["rates"]["enqueued_per_s"].as_f64().unwrap() > 0.0, "{status}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_lease_over_http_is_answered_when_something_comes() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, queue) = (Client::of(&mesh), fresh("q"));
    let path = format!("/v1/queues/{queue}");
    let waiting = lease(&client, &queue, json!({"wait_ms": 60_000}));
    let (got, ()) = tokio::join!(waiting, async {
        eventually("it waits", SOON, || async {
            (client.get(&path).await.body["waiting_consumers"] == 1).then_some(())
        })
        .await;
        post(&client, &path, json!({"payload": 1, "max_deliveries": 1})).await.is(201);
    });
    let back = json!({"receipt": got[0]["receipt"], "reason": "no"});
    assert_eq!(post(&client, &settle(&queue, &got[0], "nack"), back).await.is(200).body["now"], "dead");
    let dead = client.get(&format!("{path}/dead?limit=1")).await.is(200).body.clone();
    assert_eq!((&dead["items"][0]["reason"], &dead["next_cursor"]), (&json!("no"), &Value::Null));
    client.get(&format!("{path}/dead?cursor=x")).await.is_problem(400, "invalid_argument");
    let id = dead["items"][0]["message_id"].as_str().expect("a text");
    post(&client, &format!("{path}/dead/{id}/redrive"), json!({})).await.is(200);
    post(&client, &format!("{path}/dead/{id}/redrive"), json!({})).await.is_problem(404, "not_found");
    assert_eq!(lease(&client, &queue, json!({})).await[0]["delivery"], 1);
    // A client that goes away while it waits leaves the line.
    let other = Client::of(&mesh);
    let gone = tokio::spawn({
        let queue = queue.clone();
        async move { lease(&other, &queue, json!({"wait_ms": 60_000})).await }
    });
    let waits = |n: u64| {
        let (client, path) = (&client, &path);
        async move {
            eventually("the line is as long", SOON, || async {
                (client.get(path).await.body["waiting_consumers"] == n).then_some(())
            })
            .await;
        }
    };
    waits(1).await;
    gone.abort();
    waits(0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_a_queue_is_refused() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, queue) = (Client::of(&mesh), fresh("q"));
    let path = format!("/v1/queues/{queue}");
    let text = |bytes: usize| "x".repeat(bytes - 2);
    post(&client, &path, json!({"payload": text(262_144)})).await.is(201);
    let check = async |path: &str, body: Value, status, code, field: &str| {
        let answer = post(&client, path, body).await;
        answer.is_problem(status, code);
        assert_eq!(answer.body["field"].as_str().unwrap_or_default(), field, "{answer:?}");
    };
    check(&path, json!({"payload": text(262_145)}), 413, "payload_too_large", "/payload").await;
    check(&path, json!({"payload": text(8 << 20)}), 413, "payload_too_large", "").await;
    check(&path, json!({"payload": 1, "priority": 10}), 400, "invalid_argument", "/priority").await;
    check(&path, json!({"payload": 1, "priority": -1}), 400, "invalid_argument", "/priority").await;
    check(&path, json!({"messages": []}), 400, "invalid_argument", "/messages").await;
    check(
        &path,
        json!({"messages": [{"payload": 1}, {"payload": 1, "message_id": "a\0"}]}),
        400,
        "invalid_argument",
        "/messages/1/message_id",
    )
    .await;
    post(&client, &path, json!({})).await.is_problem(400, "invalid_argument");
    post(&client, &path, json!([1])).await.is_problem(400, "invalid_argument");
    post(&client, &path, json!({"payload": 1, "x": 1})).await.is_problem(400, "invalid_argument");
    let to = format!("{path}/lease");
    let asked = |visibility: Value, limit: Value| json!({"consumer": "c", "visibility_ms": visibility, "limit": limit});
    check(&to, asked(json!(0), json!(1)), 400, "invalid_argument", "/visibility_ms").await;
    check(&to, asked(json!(-1), json!(1)), 400, "invalid_argument", "/visibility_ms").await;
    check(&to, asked(json!(1e15), json!(1)), 400, "invalid_argument", "/visibility_ms").await;
    check(&to, asked(json!(1_000), json!(0)), 400, "invalid_argument", "/limit").await;
    check(&to, asked(json!(1_000), json!(101)), 400, "invalid_argument", "/limit").await;
    for bad in ["a%0Ab", "a%00", &"x".repeat(513)] {
        post(&client, &format!("/v1/queues/{bad}"), json!({"payload": 1}))
            .await
            .is_problem(400, "invalid_argument");
    }
    let odd = format!("%7B{}%7D%2F%25%2A%20", fresh("q"));
    post(&client, &format!("/v1/queues/{odd}"), json!({"payload": 1, "message_id": "{a}/%"})).await.is(201);
    let got = lease(&client, &odd, json!({})).await;
    let receipt = json!({"receipt": got[0]["receipt"]});
    post(&client, &format!("/v1/queues/{odd}/%7Ba%7D%2F%25/ack"), receipt).await.is(200);
    // A repeat under one key has one effect.
    let request =
        || client.request("POST", &path).header("idempotency-key", "k").json(&json!({"payload": 7}));
    let first = client.send(request()).await;
    assert_eq!(client.send(request()).await.is(201).body, first.is(201).body);
    let other = client.request("POST", &path).header("idempotency-key", "k").json(&json!({"payload": 8}));
    client.send(other).await.is_problem(422, "unprocessable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_keeps_what_it_handles_and_gives_back_what_fails() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let config = MeshConfig::http(&mesh.http).with_redis(&mesh.redis);
    let sdk = agent_sdk::Mesh::connect(config).unwrap();
    let queue = sdk.queues().queue(&fresh("q")).unwrap();
    for n in 0..6u64 {
        queue.enqueue(&n).await.unwrap();
    }
    queue.enqueue("no number").await.unwrap();
    let visibility = Duration::from_millis(1_500); // longer than any stall of a busy machine
    let options = ConsumeOptions {
        visibility,
        concurrency: 4,
        retry_delay: Duration::from_millis(5),
        ..ConsumeOptions::named("c")
    };
    let (done, slow) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicU64::new(0)));
    let consumer = queue.consume(options, {
        let (done, slow) = (done.clone(), slow.clone());
        move |message, n: u64| {
            let (done, slow) = (done.clone(), slow.clone());
            async move {
                match (n, message.delivery) {
                    (1, 1) => return Err("not at once"),
                    (2, 1) => panic!("not at all"),
                    // Longer than its lease: it is extended meanwhile.
                    (3, _) => {
                        slow.fetch_add(1, Ordering::Relaxed);
                        tokio::time::sleep(visibility * 3).await;
                    }
                    _ => {}
                }
                done.lock().unwrap().push((n, message.delivery));
                Ok(())
            }
        }
    });
    eventually("all are settled", SOON, || async {
        let status = queue.status().await.unwrap();
        ([status.ready, status.leased, status.delayed, status.dead] == [0, 0, 0, 1]).then_some(())
    })
    .await;
    let consumed = consumer.stop().await.unwrap();
    assert_eq!((consumed.acked, consumed.nacked, consumed.lost), (6, 7, 0));
    let mut done = done.lock().unwrap().clone();
    done.sort_unstable();
    assert_eq!(done, [(0, 1), (1, 2), (2, 2), (3, 1), (4, 1), (5, 1)]);
    assert_eq!(slow.load(Ordering::Relaxed), 1, "nobody else had it");
    let dead = queue.dead(0, 9).await.unwrap();
    assert!(dead.items[0].reason.starts_with("the payload does not read"), "{dead:?}");
    // Stopped while it waits, it stops at once; nothing that comes after is taken.
    let idle = queue.consume(ConsumeOptions::named("idle"), |_, _: Value| async { Ok::<(), String>(()) });
    eventually("it waits", SOON, || async {
        (queue.status().await.unwrap().waiting_consumers == 1).then_some(())
    })
    .await;
    idle.stop().await.unwrap();
    queue.enqueue(&1).await.unwrap();
    assert_eq!(queue.lease(&LeaseRequest::new("c", visibility)).await.unwrap().len(), 1);
    // Without Redis there are no queues.
    let without = agent_sdk::Mesh::connect(MeshConfig::http(&mesh.http)).unwrap();
    assert_eq!(without.queues().queue("q").unwrap_err().code, agent_sdk::Code::Unavailable);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_memory_is_written_found_handed_over_and_told_of() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, agent, other) = (Client::of(&mesh), fresh("agent"), fresh("agent"));
    let path = format!("/v1/memory/{agent}");
    let put = async |key: &str, body: Value| {
        client.send(client.request("PUT", &format!("{path}/{key}")).json(&body)).await
    };
    let made = put("a%2Fb", json!({"value": {"n": 1}, "tags": ["t"]})).await;
    made.is(201);
    assert_eq!((&made.body["key"], &made.body["tags"]), (&json!("a/b"), &json!(["t"])));
    put("a%2Fb", json!({"value": {"n": 2}, "tags": ["t"]})).await.is(200);
    put("c", json!({"value": null})).await.is(201);
    assert_eq!(client.get(&format!("{path}/a%2Fb")).await.is(200).body["value"]["n"], 2);
    client.get(&format!("{path}/nothing")).await.is_problem(404, "not_found");
    let keys = async |query: &str| -> Vec<Value> {
        let page = client.get(&format!("{path}{query}")).await;
        page.is(200).body["items"]
            .as_array()
            .expect("an array")
            .iter()
            .map(|entry| entry["key"].clone())
            .collect()
    };
    assert_eq!(keys("").await, ["c", "a/b"]);
    assert_eq!((keys("?tag=t").await, keys("?prefix=c").await), (vec![json!("a/b")], vec![json!("c")]));
    let page = client.get(&format!("{path}?limit=1")).await.body.clone();
    let next = page["next_cursor"].as_str().expect("a text");
    assert_eq!(keys(&format!("?limit=1&cursor={next}")).await, ["a/b"]);
    client.get(&format!("{path}?cursor=x")).await.is_problem(400, "invalid_argument");
    client.get(&format!("{path}?limit=0")).await.is_problem(400, "invalid_argument");

    let thread = async |keys: Value| {
        post(&client, &format!("{path}/thread"), json!({"to": other, "keys": keys})).await
    };
    let refused = thread(json!(["c", "nothing"])).await;
    refused.is_problem(404, "not_found");
    assert_eq!(refused.body["field"], "/keys/1");
    client.get(&format!("/v1/memory/{other}/c")).await.is_problem(404, "not_found");
    assert_eq!(thread(json!(["c", "a/b"])).await.is(200).body["copied"], 2);
    let copy = client.get(&format!("/v1/memory/{other}/a%2Fb")).await;
    assert_eq!(copy.is(200).body["provenance"]["from"], json!(agent));
    let statistics = client.get(&format!("{path}/statistics")).await.is(200).body.clone();
    assert_eq!((&statistics["entries"], &statistics["misses"]), (&json!(2), &json!(1)), "{statistics}");

    let events = eventually("what was written is told", SOON, || async {
        let events = client.events(&agent).await;
        (events.len() >= 3).then_some(events)
    })
    .await;
    let told: Vec<_> = events.iter().map(|event| (&*event.envelope.ty, &event.value["op"])).collect();
    assert!(told.iter().all(|(ty, op)| *ty == "synod.agent.context_updated" && **op == "put"), "{told:?}");

    for (key, body) in [("statistics", json!({"value": 1})), ("thread", json!({"value": 1}))] {
        let answer = put(key, body).await;
        assert!([400, 405].contains(&answer.status), "{answer:?}");
    }
    put("x", json!({})).await.is_problem(400, "invalid_argument");
    put("x", json!({"value": 1, "ttl_ms": 0})).await.is_problem(400, "invalid_argument");
    put("x", json!({"value": "x".repeat(524_287)})).await.is_problem(413, "payload_too_large");
    put("x", json!({"value": "x".repeat(524_286)})).await.is(201);
    let delete = async |path: String| client.send(client.request("DELETE", &path)).await.status;
    assert_eq!([delete(format!("{path}/c")).await, delete(format!("{path}/c")).await], [204, 404]);
    assert_eq!(delete(path.clone()).await, 204);
    assert!(keys("").await.is_empty());
}
