//! Events as they happen, from outside: over a WebSocket and as server-sent events, resumed without a gap, within limits; and
//! as webhooks.

use super::outages::services;
use super::subscriptions::{Receiver, Reply, SECRET, Socket, WAIT, hooks};
use agent_sdk::{EventsFrom, EventsWanted, Mesh as Sdk, MeshConfig, ServerEvents};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use synod_infra::kafka::Outgoing;
use synod_protocol::Envelope;
use synod_protocol::event_stream::EventPosition;
use synod_protocol::topics;
use synod_tests::{Answer, Client, Ground, Mesh, eventually, fresh};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::MaybeTlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

async fn approval(client: &Client, workspace: &str, id: &str) {
    let body = json!({"approval_id": id, "title": "Go?", "approvers": ["ann"]});
    let request = client.request("POST", "/v1/approvals").header("synod-workspace", workspace);
    client.send(request.json(&body)).await.is(201);
}

async fn approved(client: &Client, id: &str) {
    let body = json!({"decision": "approve", "approver": "ann"});
    client.post(&format!("/v1/approvals/{id}/decisions"), &body).await.is(200);
}

/// An open stream, which has said where it begins.
async fn socket(client: &Client, workspace: &str, query: &str) -> (Socket, String) {
    let address = client.base.trim_start_matches("http://");
    socket_on(TcpStream::connect(address).await.expect("a connection"), client, workspace, query).await
}

/// One whose kernel keeps little for it: elsewhere a kernel may keep all that is sent to a reader that does not read.
async fn narrow_socket(client: &Client, workspace: &str, query: &str) -> (Socket, String) {
    let narrow = TcpSocket::new_v4().expect("a socket");
    narrow.set_recv_buffer_size(64 * 1024).expect("a size");
    let address = client.base.trim_start_matches("http://").parse().expect("an address");
    socket_on(narrow.connect(address).await.expect("a connection"), client, workspace, query).await
}

async fn socket_on(stream: TcpStream, client: &Client, workspace: &str, query: &str) -> (Socket, String) {
    let url = format!("{}/v1/events/stream?{query}", client.base.replacen("http", "ws", 1));
    let mut request = url.into_client_request().expect("a request");
    request.headers_mut().insert("synod-workspace", workspace.parse().expect("a header"));
    let stream = MaybeTlsStream::Plain(stream);
    let mut socket = Socket(tokio_tungstenite::client_async(request, stream).await.expect("a WebSocket").0);
    let begun = socket.next().await;
    assert_eq!(begun["event"], Value::Null, "{begun}");
    let position = begun["position"].as_str().expect("a position").to_owned();
    (socket, position)
}

/// The next event. On a busy machine any reader may be too slow: it goes on where it is told to.
async fn heard(socket: &mut Socket, client: &Client, workspace: &str) -> Value {
    loop {
        let frame = socket.next().await;
        if frame["lagged"] == json!(true) {
            let position = frame["position"].as_str().expect("where to go on");
            *socket = self::socket(client, workspace, &format!("after={position}")).await.0;
        } else if frame["event"] != Value::Null {
            return frame["event"].clone();
        } else {
            // A quiet stream says where it is.
            assert!(frame["position"].is_string(), "{frame}");
        }
    }
}

async fn ask(client: &Client, workspace: &str, query: &str, last: Option<&str>) -> reqwest::RequestBuilder {
    let request = client.request("GET", &format!("/v1/events/stream?{query}"));
    let request = request.header("accept", "text/event-stream").header("synod-workspace", workspace);
    last.into_iter().fold(request, |request, last| request.header("last-event-id", last))
}

struct Sse(ServerEvents);

impl Sse {
    async fn open(client: &Client, workspace: &str, query: &str, last: Option<&str>) -> Sse {
        let answer = ask(client, workspace, query, last).await.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        let mut events = ServerEvents::new(answer);
        let begun = events.next().await.expect("where it begins");
        assert!(begun.id.is_some() && begun.data.is_none(), "{begun:?}");
        Sse(events)
    }

    /// The next event, and the position after it; one that was too slow goes on where it is told to.
    async fn heard(&mut self, client: &Client, workspace: &str) -> (String, Value) {
        loop {
            let event = tokio::time::timeout(WAIT, self.0.next()).await.expect("an event comes");
            let event = event.expect("it goes on");
            match (event.name.as_deref(), event.id, event.data) {
                (Some("lagged"), Some(position), _) => {
                    *self = Sse::open(client, workspace, "", Some(&position)).await;
                }
                (None, Some(id), Some(data)) => return (id, serde_json::from_str(&data).expect("JSON")),
                (None, _, None) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// The next event, and the position after it.
    async fn next(&mut self) -> (String, Value) {
        loop {
            let event = tokio::time::timeout(WAIT, self.0.next()).await.expect("an event comes");
            let event = event.expect("it goes on");
            assert_eq!(event.name, None, "{event:?}");
            if let (Some(id), Some(data)) = (event.id, event.data) {
                return (id, serde_json::from_str(&data).expect("JSON"));
            }
        }
    }
}

fn is(event: &Value, ty: &str, entity: &str) {
    assert_eq!((&event["type"], &event["entity"]), (&json!(ty), &json!(entity)), "{event}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_approval_is_told_at_once_to_its_workspace_and_to_whom_it_concerns() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (id, other, elsewhere) = (fresh("told"), fresh("other"), fresh("w"));
    let (mut by_type, _) = socket(&client, "default", "type=synod.approval.*").await;
    let (mut foreign, _) = socket(&client, &elsewhere, "").await;
    let query = format!("entity={id}&type=synod.approval.granted");
    let mut by_both = Sse::open(&client, "default", &query, None).await;
    let mut by_entity = Sse::open(&client, "default", &format!("entity={id}"), None).await;
    client.post("/v1/tasks", &json!({"task_id": other, "capability": fresh("nobody")})).await.is(201);
    approval(&client, "default", &id).await;
    approved(&client, &id).await;
    let in_workspace = fresh("there");
    approval(&client, &elsewhere, &in_workspace).await;
    // Other tests of this mesh ask for approvals, too.
    for ty in ["synod.approval.required", "synod.approval.granted"] {
        let told = loop {
            let frame = by_type.next().await;
            let ty = frame["event"]["type"].as_str().unwrap_or_default();
            assert!(ty.is_empty() || ty.starts_with("synod.approval."), "{frame}");
            if frame["event"]["entity"] == json!(id) {
                break frame["event"].clone();
            }
        };
        is(&told, ty, &id);
        is(&by_entity.next().await.1, ty, &id);
    }
    is(&by_both.next().await.1, "synod.approval.granted", &id);
    is(&foreign.next().await["event"], "synod.approval.required", &in_workspace);

    // What is told is what history has, and history takes the same types.
    let page = client.get(&format!("/v1/events?entity={id}&type=synod.approval.*")).await;
    assert_eq!(page.is(200).body["items"].as_array().map(Vec::len), Some(2), "{page:?}");
    let mut again = Sse::open(&client, "default", &format!("entity={id}&after=oldest"), None).await;
    assert_eq!(again.next().await.1, page.body["items"][0]);
    client.post(&format!("/v1/tasks/{other}/cancel"), &json!({})).await;
}

/// Of the topic of events.
const PARTITIONS: u32 = 8;

/// An event made by hand in a partition; under the same id it is a repeat.
fn record(workspace: &str, id: &str, partition: u32, value: &Value) -> Outgoing {
    let envelope = Envelope {
        workspace: workspace.parse().expect("a workspace"),
        subject: Some("somebody".to_owned()),
        ..Envelope::new(id, "/tests", "tests.happened")
    };
    let out = Outgoing::to(topics::EVENTS).envelope(&envelope).key("somebody").payload(value.to_string());
    out.partition(partition.cast_signed())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resume_loses_and_doubles_nothing_while_events_flow() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, workspace) = (Client::of(&mesh), fresh("w"));
    const COUNT: usize = 1_000;
    let (_, begin) = socket(&client, &workspace, "").await;
    let writer = {
        let (client, workspace) = (Client::of(&mesh), workspace.clone());
        tokio::spawn(async move {
            for n in 0..COUNT {
                let id = format!("{workspace}-{n}");
                client.append(record(&workspace, &id, n as u32 % PARTITIONS, &json!(n))).await;
                if n % 7 == 0 {
                    // As a new owner does that does not know whether it was published.
                    client.append(record(&workspace, &id, n as u32 % PARTITIONS, &json!(n))).await;
                }
            }
        })
    };
    let (mut last, mut seen, mut cuts) = (begin, Vec::new(), 0);
    while seen.len() < COUNT {
        cuts += 1;
        // Sometimes one way, sometimes the other, for a while.
        let some = 1 + cuts * 7 % 40;
        if cuts % 2 == 0 {
            let mut stream = Sse::open(&client, &workspace, "", Some(&last)).await;
            for _ in 0..some.min(COUNT - seen.len()) {
                let (position, event) = stream.next().await;
                last = position;
                seen.push(event["data"].as_u64().expect("a number"));
            }
        } else {
            let (mut stream, _) = socket(&client, &workspace, &format!("after={last}")).await;
            for _ in 0..some.min(COUNT - seen.len()) {
                let frame = stream.next().await;
                last = frame["position"].as_str().expect("a position").to_owned();
                seen.push(frame["event"]["data"].as_u64().expect("a number"));
            }
        }
    }
    writer.await.expect("it writes");
    let distinct: BTreeSet<u64> = seen.iter().copied().collect();
    assert_eq!((seen.len(), distinct.len()), (COUNT, COUNT), "{cuts} cuts");
    for shard in 0..8 {
        let order: Vec<u64> = seen.iter().copied().filter(|n| n % 8 == shard).collect();
        assert!(order.is_sorted(), "shard {shard}: {order:?}");
    }
    // Nothing else comes: a repeat behind the last is none of what is told next.
    let (mut stream, _) = socket(&client, &workspace, &format!("after={last}")).await;
    client.append(record(&workspace, &format!("{workspace}-999"), 7, &json!(999))).await;
    client.append(record(&workspace, &format!("{workspace}-end"), 7, &json!("end"))).await;
    assert_eq!(stream.next().await["event"]["data"], json!("end"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_longer_at_hand_is_read_from_the_log() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, workspace) = (Client::of(&mesh), fresh("w"));
    let (mut live, begin) = socket(&client, &workspace, "").await;
    // More than twice what is at hand, each with a repeat far behind it, but within the window.
    const COUNT: u64 = 5_000;
    for n in 0..COUNT {
        client.throw(record(&workspace, &format!("{workspace}-{n}"), 5, &json!(n)));
        if n >= 600 && n % 2 == 0 {
            client.throw(record(&workspace, &format!("{workspace}-{}", n - 600), 5, &json!("repeat")));
        }
    }
    client.append(record(&workspace, &format!("{workspace}-end"), 5, &json!(COUNT))).await;
    let mut late = Sse::open(&client, &workspace, "", Some(&begin)).await;
    let mut middle = String::new();
    for n in 0..=COUNT {
        let (position, event) = late.heard(&client, &workspace).await;
        assert_eq!(event["data"], json!(n));
        if n == COUNT / 3 {
            middle = position;
        }
    }
    let (mut late, _) = socket(&client, &workspace, &format!("after={middle}")).await;
    for n in COUNT / 3 + 1..=COUNT {
        assert_eq!(heard(&mut late, &client, &workspace).await["data"], json!(n));
    }
    // Who was there all the time hears it all, or is told where to go on.
    for n in 0..=COUNT {
        assert_eq!(heard(&mut live, &client, &workspace).await["data"], json!(n));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_told_and_others_hear_everything() {
    // Brokers of our own: an embedded Kafka keeps less than a slow reader misses.
    let (services, _alone) = services().await;
    let mesh = Mesh::coordinator(&services.kafka, &services.redis);
    mesh.ready(WAIT).await;
    let (client, workspace) = (Client::of(&mesh), fresh("w"));
    let (mut slow, _) = narrow_socket(&client, &workspace, "type=tests.*").await;
    let (mut fast, _) = socket(&client, &workspace, "type=tests.*").await;
    // Who has heard of every partition has caught up: only then can he fall behind. Before that he is told from the log.
    for partition in 0..PARTITIONS {
        client.append(record(&workspace, &fresh("first"), partition, &json!({"n": partition}))).await;
    }
    for socket in [&mut slow, &mut fast] {
        for _ in 0..PARTITIONS {
            heard(socket, &client, &workspace).await;
        }
    }
    const COUNT: usize = 200;
    let text = "x".repeat(100_000);
    let writer = {
        let (client, workspace) = (Client::of(&mesh), workspace.clone());
        tokio::spawn(async move {
            for n in 0..COUNT {
                let value = json!({ "n": n, "text": text });
                client.append(record(&workspace, &format!("{workspace}-{n}"), 3, &value)).await;
            }
        })
    };
    for n in 0..COUNT {
        assert_eq!(heard(&mut fast, &client, &workspace).await["data"]["n"], json!(n));
    }
    writer.await.expect("it writes");
    let mut got = 0;
    let position = loop {
        let frame = slow.next().await;
        if frame["lagged"] == json!(true) {
            assert_eq!(frame["event"], Value::Null);
            break frame["position"].as_str().expect("where to go on").to_owned();
        }
        if frame["event"] != Value::Null {
            assert_eq!(frame["event"]["data"]["n"], json!(got));
            got += 1;
            assert!(got < COUNT, "it was too slow, and was not told");
        }
    };
    slow.closed(4000, "lagged").await;
    let (mut again, _) = socket(&client, &workspace, &format!("type=tests.*&after={position}")).await;
    for n in got..COUNT {
        assert_eq!(heard(&mut again, &client, &workspace).await["data"]["n"], json!(n));
    }
    // And who listens when the mesh ends hears that, too.
    mesh.signal("TERM");
    again.closed(1001, "this coordinator ends").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_is_not_kept_is_lost_and_bad_questions_are_answered() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let (_, now) = socket(&client, "default", "").await;
    let answer =
        async |query: &str| -> Answer { client.send(ask(&client, "default", query, None).await).await };
    let mut beyond: EventPosition = now.parse().expect("a position");
    beyond.0[2] += 1_000_000;
    let lost = answer(&format!("after={beyond}")).await;
    let oldest = lost.is_problem(410, "position_lost").body["oldest"].as_str().expect("oldest").to_owned();
    Sse::open(&client, "default", &format!("after={oldest}"), None).await;
    let check = async |query: &str, field: &str| {
        let refused = answer(query).await;
        refused.is_problem(400, "invalid_argument");
        assert_eq!(refused.body["field"], field, "{query}: {refused:?}");
    };
    check("after=nonsense", "/after").await;
    check("after=3:17", "/after").await;
    check(&format!("after={}", EventPosition(vec![0; 3])), "/after").await;
    check("type=a*b", "/type").await;
    check("type=", "/type").await;
    check("entity=%20", "/entity").await;
    check("last=100001", "/last").await;
    check("last=1&after=now", "/last").await;
    answer("colour=red").await.is_problem(400, "invalid_argument");
    client.get("/v1/events/stream").await.is_problem(400, "invalid_argument");
    client.get("/v1/events?type=a*b").await.is_problem(400, "invalid_argument");
    let check = async |body: Value, field: &str| {
        let refused = client.post("/v1/subscriptions", &body).await;
        refused.is_problem(400, "invalid_argument");
        assert_eq!(refused.body["field"], field, "{body}: {refused:?}");
    };
    let hook = json!({"url": "http://8.8.8.8/", "secret": SECRET});
    check(json!({"events": ["*"], "pattern": "*", "webhook": hook}), "/events").await;
    check(json!({"events": [], "webhook": hook}), "/events").await;
    check(json!({"events": vec!["a"; 33], "webhook": hook}), "/events").await;
    check(json!({"events": ["a*b"], "webhook": hook}), "/events/0").await;
    check(json!({"pattern": "*", "entity": "e", "webhook": hook}), "/entity").await;
    check(json!({"events": ["*"], "stream": true}), "/webhook").await;
    check(json!({"pattern": "*", "stream": true, "after": now}), "/after").await;
    check(json!({"webhook": hook}), "/pattern").await;
    let asked = json!({"events": ["*"], "webhook": hook, "after": beyond});
    client.post("/v1/subscriptions", &asked).await.is_problem(410, "position_lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_goes_on_by_itself_when_the_coordinator_is_killed() {
    let (services, _alone) = services().await;
    let mesh = Mesh::coordinator(&services.kafka, &services.redis);
    mesh.ready(WAIT).await;
    let (client, workspace) = (Client::of(&mesh), fresh("w"));
    let config = MeshConfig {
        http: vec![mesh.http.clone()],
        workspace: workspace.parse().expect("a workspace"),
        ..MeshConfig::default()
    };
    let (_, begin) = socket(&client, &workspace, "").await;
    let wanted = EventsWanted { from: EventsFrom::After(begin), ..EventsWanted::default() };
    let mut events = Sdk::connect(config).expect("a mesh").client().events(wanted);
    let mut seen = Vec::new();
    for n in 0..30u32 {
        client.append(record(&workspace, &format!("{workspace}-{n}"), n % 8, &json!(n))).await;
        match n {
            10 => mesh.kill(),
            20 => mesh.start_again(),
            _ => {}
        }
        if n < 10 {
            seen.push(events.next_event().await.expect("it goes on").expect("an event").event.id);
        }
    }
    while seen.len() < 30 {
        let heard = tokio::time::timeout(WAIT, events.next_event()).await.expect("an event comes");
        seen.push(heard.expect("it goes on").expect("an event").event.id);
    }
    let distinct: BTreeSet<&String> = seen.iter().collect();
    assert_eq!((seen.len(), distinct.len()), (30, 30), "{seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_told_of_an_approval_and_told_again_until_it_says_so() {
    let receiver = Receiver::start(&[Reply::Status(500), Reply::Status(200)]).await;
    let mesh = hooks(&[&receiver]).await;
    mesh.ready(WAIT).await;
    let client = Client::of(&mesh);
    let asked = json!({"events": ["synod.approval.required", "synod.approval.gran*"],
        "webhook": {"url": receiver.url(), "secret": SECRET}});
    let made = client.post("/v1/subscriptions", &asked).await;
    assert_eq!(made.is(201).body["events"], asked["events"], "{made:?}");
    assert!(!made.body.to_string().contains("whsec_"), "{made:?}");
    let (first, second) = (fresh("first"), fresh("second"));
    approval(&client, &fresh("elsewhere"), &fresh("foreign")).await;
    approval(&client, "default", &first).await;
    let all = receiver.has(2).await;
    assert_eq!(all[0].id, all[1].id, "the same again after 500");
    all.iter().for_each(|one| is(&one.body, "synod.approval.required", &first));
    approval(&client, "default", &second).await;
    let body = json!({"decision": "reject", "approver": "ann"});
    client.post(&format!("/v1/approvals/{second}/decisions"), &body).await.is(200);
    approved(&client, &first).await;
    let all = receiver.has(4).await;
    // Two entities, perhaps of two shards: between them there is no order.
    let mut told: Vec<(&Value, &Value)> =
        all[2..].iter().map(|one| (&one.body["type"], &one.body["entity"])).collect();
    told.sort_by_key(|(ty, _)| ty.as_str() == Some("synod.approval.granted"));
    let (required, granted) = (json!("synod.approval.required"), json!("synod.approval.granted"));
    assert_eq!(
        told,
        [(&required, &json!(second)), (&granted, &json!(first))],
        "what was rejected is not wanted"
    );
    let path = format!("/v1/subscriptions/{}", made.body["subscription_id"].as_str().expect("an id"));
    let shown = client.get(&path).await;
    assert_eq!(
        (&shown.body["failures"], &shown.body["delivery"]),
        (&json!(0), &json!("webhook")),
        "{shown:?}"
    );
    client.get(&format!("{path}/stream")).await.is_problem(422, "unprocessable");
    client.send(client.request("DELETE", &path)).await.is(204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_outlives_the_coordinator_between_delivery_and_note() {
    let (services, _alone) = services().await;
    let receiver = Receiver::start(&[Reply::Hang, Reply::Status(200)]).await;
    let allow = format!("127.0.0.1:{}", receiver.port);
    let allowing = [("SYNOD_WEBHOOK_ALLOW", allow.as_str())];
    let mesh = Mesh::coordinator_set(&services.kafka, &services.redis, &allowing);
    mesh.ready(WAIT).await;
    let client = Client::of(&mesh);
    let workspace = fresh("w");
    let asked = json!({"events": ["synod.approval.*"], "webhook": {"url": receiver.url(), "secret": SECRET}});
    let request = client.request("POST", "/v1/subscriptions").header("synod-workspace", &workspace);
    let made = client.send(request.json(&asked)).await;
    made.is(201);
    let (first, second) = (fresh("first"), fresh("second"));
    approval(&client, &workspace, &first).await;
    // It was delivered, and nothing is noted of that.
    let all = receiver.has(1).await;
    mesh.kill();
    mesh.start_again();
    mesh.ready(WAIT).await;
    let again = receiver.has(2).await;
    assert_eq!((&again[1].id, &again[1].body), (&all[0].id, &all[0].body));
    approval(&client, &workspace, &second).await;
    let all = receiver.has(3).await;
    is(&all[2].body, "synod.approval.required", &second);
    let path = format!("/v1/subscriptions/{}", made.body["subscription_id"].as_str().expect("an id"));
    // What was delivered and noted is not sent again by the next one.
    eventually("it is noted", WAIT, || async {
        let request = client.request("GET", &path).header("synod-workspace", &workspace);
        (client.send(request).await.body["position"] != made.body["position"]).then_some(())
    })
    .await;
    client.send(client.request("DELETE", &path).header("synod-workspace", &workspace)).await.is(204);
}
