//! Subscriptions from outside: a WebSocket and server-sent events that resume without a gap, webhooks that are signed,
//! repeated, disabled, redriven, and led nowhere they should not go.

use futures::StreamExt as _;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use synod_tests::{Answer, Client, Ground, Mesh, eventually, fresh};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

pub(crate) const WAIT: Duration = Duration::from_secs(40);
pub(crate) const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async fn put(client: &Client, key: &str, value: &Value) -> u64 {
    let key = key.replace('/', "%2F");
    let request = client.request("PUT", &format!("/v1/state/{key}")).json(&json!({ "value": value }));
    let answer = client.send(request).await;
    assert!(answer.status == 200 || answer.status == 201, "{answer:?}");
    answer.body["version"].as_u64().expect("a version")
}

/// Asks again while nothing was done: a busy machine is no finding.
async fn make(client: &Client, body: &Value) -> Answer {
    eventually("an answer", Duration::from_secs(30), || async {
        let answer = client.post("/v1/subscriptions", body).await;
        (answer.status != 503 || answer.body["applied"] != "no").then_some(answer)
    })
    .await
}

async fn made(client: &Client, body: &Value) -> (String, String) {
    let answer = make(client, body).await;
    let text = |name: &str| answer.is(201).body[name].as_str().expect(name).to_owned();
    (text("subscription_id"), text("position"))
}

pub(crate) struct Socket(
    pub(crate) tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>,
);

impl Socket {
    async fn open(client: &Client, id: &str, after: Option<&str>) -> Socket {
        let url = client.base.replacen("http", "ws", 1);
        let after = after.map(|after| format!("?after={after}")).unwrap_or_default();
        let url = format!("{url}/v1/subscriptions/{id}/stream{after}");
        Socket(tokio_tungstenite::connect_async(url).await.expect("a WebSocket").0)
    }

    pub(crate) async fn next(&mut self) -> Value {
        loop {
            let frame = tokio::time::timeout(WAIT, self.0.next()).await.expect("a frame comes");
            match frame.expect("it goes on").expect("a frame") {
                Message::Text(text) => return serde_json::from_str(&text).expect("JSON"),
                Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// It is closed from there, with these words; what comes before is of no interest.
    pub(crate) async fn closed(&mut self, code: u16, reason: &str) {
        loop {
            let frame = tokio::time::timeout(WAIT, self.0.next()).await.expect("a frame comes");
            match frame.expect("it is closed").expect("a frame") {
                Message::Close(Some(close)) => {
                    assert_eq!((u16::from(close.code), close.reason.as_str()), (code, reason));
                    return;
                }
                Message::Text(_) | Message::Ping(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_socket_resumes_from_any_position_without_a_gap() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, stem) = (Client::of(&mesh), fresh("s"));
    let (id, position) = made(&client, &json!({"pattern": format!("{stem}/*"), "stream": true})).await;
    let mut socket = Socket::open(&client, &id, None).await;
    let mut versions = Vec::new();
    for value in 0..20 {
        versions.push(put(&client, &format!("{stem}/{}", value % 3), &json!(value)).await);
        put(&client, &format!("{stem}-other"), &json!(value)).await;
    }
    let mut positions = vec![position];
    for (value, version) in versions.iter().enumerate() {
        let frame = socket.next().await;
        let event = &frame["event"];
        assert_eq!((&event["value"], &event["version"]), (&json!(value), &json!(version)), "{frame}");
        assert_eq!(
            (&event["type"], &event["updated_by"]),
            (&json!("synod.state.changed"), &json!("anonymous"))
        );
        positions.push(frame["position"].as_str().expect("a position").to_owned());
    }
    drop(socket);
    for (at, position) in positions.iter().enumerate().step_by(6).filter(|(at, _)| *at < versions.len()) {
        let mut again = Socket::open(&client, &id, Some(position)).await;
        let (mut left, mut seen) = (versions[at..].to_vec(), Vec::new());
        for _ in at..versions.len() {
            seen.push(again.next().await["event"]["version"].as_u64().expect("a version"));
        }
        // Keys of different ranges have no order among them after a resume.
        left.sort_unstable();
        seen.sort_unstable();
        assert_eq!(seen, left, "after change {at}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_told_and_resumed_by_their_last_id() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, key) = (Client::of(&mesh), fresh("k"));
    let (id, _) = made(&client, &json!({"pattern": key, "stream": true})).await;
    let path = format!("/v1/subscriptions/{id}/stream");
    let first = put(&client, &key, &json!({"a": "b\nc"})).await;
    let second = put(&client, &key, &json!(2)).await;
    let open = async |last: Option<&str>| {
        let mut request = client.request("GET", &path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let answer = request.send().await.expect("an answer");
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        answer
    };
    let event = async |answer: &mut reqwest::Response, text: &mut String| {
        while !text.contains("\n\n") {
            text.push_str(
                std::str::from_utf8(&answer.chunk().await.expect("a chunk").expect("it goes on"))
                    .expect("UTF-8"),
            );
        }
        let (block, rest) = text.split_once("\n\n").expect("a block");
        let field = |name: &str| {
            block.lines().find_map(|line| line.strip_prefix(name)).expect(name).trim().to_owned()
        };
        let found = (field("id:"), serde_json::from_str::<Value>(&field("data:")).expect("JSON"));
        *text = rest.to_owned();
        found
    };
    let (mut answer, mut text) = (open(None).await, String::new());
    let (position, data) = event(&mut answer, &mut text).await;
    assert_eq!((&data["version"], &data["value"]), (&json!(first), &json!({"a": "b\nc"})));
    let (mut answer, mut text) = (open(Some(&position)).await, String::new());
    assert_eq!(event(&mut answer, &mut text).await.1["version"], json!(second));
    // Neither of the two is asked for.
    client.get(&path).await.is_problem(400, "invalid_argument");
    client.get(&format!("{path}?after=nonsense")).await.is_problem(400, "invalid_argument");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_subscription_is_made_once_and_only_its_workspace_has_it() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let (client, mine, key) = (Client::of(&mesh), fresh("w"), fresh("key"));
    let ask = async |method: &str, path: &str, workspace: &str, body: &Value| {
        let request = client.request(method, path).header("synod-workspace", workspace);
        client.send(request.header("idempotency-key", &key).json(body)).await
    };
    let body = json!({"pattern": "a*", "stream": true});
    let first = ask("POST", "/v1/subscriptions", &mine, &body).await;
    let id = first.is(201).body["subscription_id"].as_str().expect("an id").to_owned();
    assert_eq!(first.header("location"), format!("/v1/subscriptions/{id}"));
    assert!(id.starts_with("sub_"));
    assert_eq!(ask("POST", "/v1/subscriptions", &mine, &body).await.is(200).body, first.body);
    let other = json!({"pattern": "b*", "stream": true});
    ask("POST", "/v1/subscriptions", &mine, &other).await.is_problem(422, "unprocessable");
    let path = format!("/v1/subscriptions/{id}");
    let seen = async |method: &str, path: &str, workspace: &str| {
        client.send(client.request(method, path).header("synod-workspace", workspace)).await
    };
    seen("GET", &path, "default").await.is_problem(404, "not_found");
    seen("GET", &format!("{path}/stream"), "default").await.is_problem(404, "not_found");
    for _ in 0..3 {
        let request =
            client.request("POST", "/v1/subscriptions").header("synod-workspace", &mine).json(&body);
        client.send(request).await.is(201);
    }
    let page = seen("GET", "/v1/subscriptions?limit=3", &mine).await;
    assert_eq!(page.is(200).body["items"].as_array().map(Vec::len), Some(3));
    let next = page.body["next_cursor"].as_str().expect("more");
    let rest = seen("GET", &format!("/v1/subscriptions?limit=3&cursor={next}"), &mine).await;
    assert_eq!(
        (rest.body["items"].as_array().map(Vec::len), &rest.body["next_cursor"]),
        (Some(1), &Value::Null)
    );
    seen("GET", "/v1/subscriptions?cursor=x", &mine).await.is_problem(400, "invalid_argument");
    seen("POST", &format!("{path}/enable"), &mine).await.is_problem(422, "unprocessable");
    seen("DELETE", &path, "default").await.is_problem(404, "not_found");
    seen("DELETE", &path, &mine).await.is(204);
    seen("DELETE", &path, &mine).await.is_problem(404, "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_a_subscription_is_refused() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let client = Client::of(&mesh);
    let check = async |body: Value, field: &str| {
        let answer = make(&client, &body).await;
        answer.is_problem(400, "invalid_argument");
        assert_eq!(answer.body["field"], field, "{body}: {answer:?}");
        // The code and the place have members of their own.
        let message = answer.body["message"].as_str().unwrap_or_default();
        assert!(!message.contains("invalid_argument") && !message.contains(" (at /"), "{message}");
    };
    let hook = |url: &str, secret: &str| json!({"pattern": "*", "webhook": {"url": url, "secret": secret}});
    check(json!({"pattern": "*"}), "/stream").await;
    check(
        json!({"pattern": "*", "stream": true, "webhook": {"url": "http://8.8.8.8", "secret": SECRET}}),
        "/stream",
    )
    .await;
    check(json!({"pattern": "", "stream": true}), "/pattern").await;
    check(json!({"pattern": "a\\", "stream": true}), "/pattern").await;
    check(json!({"pattern": "*", "stream": true, "after": "x"}), "/after").await;
    check(json!({"pattern": "*", "stream": true, "more": 1}), "/more").await;
    check(hook("http://8.8.8.8/", "secret"), "/webhook/secret").await;
    for url in [
        "http://127.0.0.1/",
        "http://localhost:80/",
        "http://169.254.169.254/latest",
        "http://[::ffff:10.0.0.1]/",
        "https://8.8.8.8/",
    ] {
        check(hook(url, SECRET), "/webhook/url").await;
    }
}

/// What a receiver was sent.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) id: String,
    pub(crate) body: Value,
}

#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16),
    /// Somewhere else, on this machine.
    Redirect(String),
    /// Ten megabytes, under 200.
    Large,
    /// Nothing.
    Hang,
}

/// A receiver of webhooks, which replies in turn and then for ever as the last.
pub(crate) struct Receiver {
    pub(crate) port: u16,
    received: Arc<Mutex<Vec<Received>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
}

impl Receiver {
    pub(crate) async fn start(replies: &[Reply]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        Receiver::on(listener, port, replies)
    }

    fn on(listener: TcpListener, port: u16, replies: &[Reply]) -> Receiver {
        let receiver = Receiver {
            port,
            received: Arc::default(),
            replies: Arc::new(Mutex::new(replies.iter().cloned().collect())),
        };
        let (received, replies) = (receiver.received.clone(), receiver.replies.clone());
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, received.clone(), replies.clone()));
            }
        });
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/hook", self.port)
    }

    fn all(&self) -> Vec<Received> {
        self.received.lock().expect("no panic").clone()
    }

    pub(crate) async fn has(&self, count: usize) -> Vec<Received> {
        eventually(&format!("{count} are received"), WAIT, || async {
            let all = self.all();
            (all.len() >= count).then_some(all)
        })
        .await
    }
}

async fn serve(
    mut socket: TcpStream,
    received: Arc<Mutex<Vec<Received>>>,
    replies: Arc<Mutex<VecDeque<Reply>>>,
) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    let (head, body) = loop {
        let Ok(count @ 1..) = socket.read(&mut chunk).await else { return };
        bytes.extend_from_slice(&chunk[..count]);
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let field =
            |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(|v| v.trim().to_owned());
        let length: usize = field("content-length:").and_then(|v| v.parse().ok()).unwrap_or(0);
        if bytes.len() >= end + 4 + length {
            break (
                String::from_utf8_lossy(&bytes[..end]).into_owned(),
                bytes[end + 4..end + 4 + length].to_vec(),
            );
        }
    };
    let field = |name: &str| {
        let line = head.lines().find(|line| line.to_lowercase().starts_with(name)).unwrap_or_default();
        line.split_once(':').map(|(_, value)| value.trim().to_owned()).unwrap_or_default()
    };
    assert!(field("webhook-signature").starts_with("v1,"), "{head}");
    let body = serde_json::from_slice(&body).unwrap_or_default();
    received.lock().expect("no panic").push(Received { id: field("webhook-id"), body });
    let reply = {
        let mut replies = replies.lock().expect("no panic");
        if replies.len() > 1 { replies.pop_front() } else { replies.front().cloned() }
    };
    let text = match reply.expect("a reply") {
        Reply::Status(status) => {
            format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        Reply::Redirect(to) => {
            format!("HTTP/1.1 307 X\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        }
        Reply::Large => {
            let head = format!("HTTP/1.1 200 X\r\ncontent-length: {}\r\n\r\n", 10 << 20);
            let _ = socket.write_all(head.as_bytes()).await;
            for _ in 0..160 {
                if socket.write_all(&[b'x'; 65_536]).await.is_err() {
                    return;
                }
            }
            return;
        }
        Reply::Hang => return std::future::pending().await,
    };
    let _ = socket.write_all(text.as_bytes()).await;
}

pub(crate) async fn hooks(receivers: &[&Receiver]) -> Mesh {
    let allow: Vec<String> =
        receivers.iter().map(|receiver| format!("127.0.0.1:{}", receiver.port)).collect();
    Mesh::own(&["--webhook-allow", &allow.join(",")]).await
}

fn hook(receiver: &Receiver, pattern: &str) -> Value {
    json!({"pattern": pattern, "webhook": {"url": receiver.url(), "secret": SECRET}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_repeated_under_its_id_and_follows_nothing() {
    let elsewhere = Receiver::start(&[Reply::Status(200)]).await;
    let steps = [
        Reply::Status(500),
        Reply::Redirect(elsewhere.url()),
        Reply::Status(204),
        Reply::Large,
        Reply::Status(200),
    ];
    let receiver = Receiver::start(&steps).await;
    let mesh = hooks(&[&receiver]).await;
    mesh.ready(WAIT).await;
    let client = Client::of(&mesh);
    let made = eventually("it is made", WAIT, || async {
        let answer = make(&client, &hook(&receiver, "h/*")).await;
        (answer.status == 201).then_some(answer)
    })
    .await;
    assert!(!made.body.to_string().contains("whsec_"), "{made:?}");
    let first = put(&client, "h/1", &json!(1)).await;
    put(&client, "other", &json!(0)).await;
    let all = receiver.has(3).await;
    assert!(all.iter().all(|one| one.id == all[0].id && one.body["version"] == json!(first)), "{all:?}");
    assert!(all[0].id.starts_with("msg_"));
    for value in 2..4 {
        put(&client, "h/1", &json!(value)).await;
    }
    let all = receiver.has(5).await;
    let values: Vec<&Value> = all.iter().map(|one| &one.body["value"]).collect();
    assert_eq!(values, [&json!(1), &json!(1), &json!(1), &json!(2), &json!(3)]);
    assert!(elsewhere.all().is_empty(), "a redirect was followed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_is_disabled_its_letters_kept_and_sent_again() {
    let receiver = Receiver::start(&[Reply::Status(500)]).await;
    let mesh = hooks(&[&receiver]).await;
    mesh.ready(WAIT).await;
    let client = Client::of(&mesh);
    let (id, _) = eventually("it is made", WAIT, || async {
        let answer = make(&client, &hook(&receiver, "*")).await;
        (answer.status == 201)
            .then(|| (answer.body["subscription_id"].as_str().expect("an id").to_owned(), ()))
    })
    .await;
    let path = format!("/v1/subscriptions/{id}");
    for value in 0..5 {
        put(&client, "k", &json!(value)).await;
    }
    let limit = Duration::from_secs(150);
    eventually("it is disabled", limit, || async {
        (client.get(&path).await.body["status"] == json!("disabled")).then_some(())
    })
    .await;
    assert_eq!(client.get(&path).await.body["failures"], json!(20));
    assert_eq!(receiver.all().len(), 20, "nothing is sent after that");
    let dead = client.get(&format!("{path}/dead")).await.body["items"].as_array().expect("items").clone();
    let values: Vec<&Value> = dead.iter().map(|letter| &letter["event"]["value"]).collect();
    assert_eq!(values, [&json!(0), &json!(1)], "8 attempts each");
    assert!(dead[0]["reason"].as_str().expect("a reason").contains("500"), "{dead:?}");

    receiver.replies.lock().expect("no panic").push_back(Reply::Status(200));
    receiver.replies.lock().expect("no panic").pop_front();
    client
        .post(&format!("{path}/redrive"), &json!({"message_id": "msg_none"}))
        .await
        .is_problem(404, "not_found");
    let redriven = client.post(&format!("{path}/redrive"), &json!({})).await;
    assert_eq!(redriven.is(200).body, json!({"redriven": 2}));
    assert_eq!(client.post(&format!("{path}/enable"), &json!({})).await.is(200).body["status"], "enabled");
    let all = receiver.has(25).await;
    let values: Vec<&Value> = all[20..].iter().map(|one| &one.body["value"]).collect();
    assert_eq!(
        values,
        [&json!(0), &json!(1), &json!(2), &json!(3), &json!(4)],
        "the letters first, then what waited"
    );
    assert_eq!(all[20].id, all[0].id, "under its old id");
    assert_eq!(client.get(&format!("{path}/dead")).await.body["items"], json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_never_answers_holds_up_itself_alone() {
    let (hangs, good) = (
        Receiver::start(&[Reply::Hang, Reply::Status(200)]).await,
        Receiver::start(&[Reply::Status(200)]).await,
    );
    let mesh = hooks(&[&hangs, &good]).await;
    mesh.ready(WAIT).await;
    let client = Client::of(&mesh);
    eventually("both are made", WAIT, || async {
        (make(&client, &hook(&hangs, "*")).await.status == 201).then_some(())
    })
    .await;
    make(&client, &hook(&good, "*")).await.is(201);
    put(&client, "k", &json!(1)).await;
    let began = Instant::now();
    good.has(1).await;
    hangs.has(1).await;
    // It is asked again after the ten seconds that it may take.
    let all = hangs.has(2).await;
    assert!(began.elapsed() >= Duration::from_secs(9) && all[0].id == all[1].id);
}
