//! Who may ask over HTTP, and how much of it one client may take up.

use crate::site::Site;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output};
use std::time::Duration;
use synod_tests::{Mesh, eventually, synod, without_settings};

/// A key as `synod key` makes it, and its hash.
fn key() -> (String, String) {
    let mut command = Command::new(synod());
    without_settings(&mut command);
    let output = command.args(["key", "-o", "json"]).output().expect("synod key");
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let at = |name: &str| made[name].as_str().expect("a text").to_owned();
    (at("key"), at("hash"))
}

fn asked(mesh: &Mesh, key: Option<&str>, words: &[&str]) -> Output {
    let mut command = Command::new(synod());
    without_settings(&mut command);
    command.args(words).env("SYNOD_HTTP_URL", &mesh.http);
    if let Some(key) = key {
        command.env("SYNOD_API_KEY", key);
    }
    command.output().expect("synod runs")
}

#[tokio::test]
async fn only_who_shows_a_key_is_let_in() {
    let (key, hash) = key();
    let (own, own_hash) = self::key();
    let keys = format!("{hash},{own_hash}");
    let mesh = Mesh::own_set(&[], &[("SYNOD_HTTP_KEYS", &keys), ("SYNOD_API_KEY", &own)]).await;
    let http = synod_tests::plain();
    let status = async |name: &str, value: String, path: &str| {
        let request = http.get(format!("{}{path}", mesh.http));
        let request = if value.is_empty() { request } else { request.header(name, value) };
        request.send().await.expect("an answer").status().as_u16()
    };
    for free in ["/livez", "/readyz"] {
        assert_eq!(status("", String::new(), free).await, 200, "{free}");
    }
    for path in ["/v1/status", "/metrics", "/openapi.json", "/v1/tasks", "/nothing"] {
        assert_eq!(status("", String::new(), path).await, 401, "{path}");
    }
    let path = "/v1/status";
    assert_eq!(status("authorization", format!("Bearer {key}"), path).await, 200);
    assert_eq!(status("authorization", format!("bearer {own}"), path).await, 200);
    assert_eq!(status("x-api-key", key.clone(), path).await, 200);
    assert_eq!(status("x-api-key", hash, path).await, 401, "the hash is no key");
    assert_eq!(status("authorization", format!("Basic {key}"), path).await, 401);
    assert_eq!(status("authorization", format!("Bearer {}", &key[..key.len() - 1]), path).await, 401);

    assert!(asked(&mesh, Some(&key), &["status"]).status.success());
    let refused = asked(&mesh, None, &["status"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("an API key is wanted"), "{said}");
    assert!(!mesh.log().contains(&key) && !mesh.log().contains(&own), "{}", mesh.log());
}

#[tokio::test]
async fn coordinators_ask_each_other_by_a_key() {
    let site = Site::new().await;
    let (own, hash) = key();
    let url = |_| {
        let listen = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|l| l.local_addr())
            .expect("a port")
            .to_string();
        let set =
            [("SYNOD_HTTP_LISTEN", listen.as_str()), ("SYNOD_HTTP_KEYS", &hash), ("SYNOD_API_KEY", &own)];
        (site.start(&["coordinator"], &set), format!("http://{listen}"))
    };
    let both = [0, 1].map(url);
    let http = synod_tests::plain();
    for (_, url) in &both {
        eventually("both are ready", Duration::from_secs(60), || {
            let asked = http.get(format!("{url}/readyz")).send();
            async { asked.await.ok().filter(|answer| answer.status() == 200) }
        })
        .await;
    }
    // Enough ids that either owns some of them.
    for n in 0..16 {
        for (process, url) in &both {
            let body = serde_json::json!({"capability": "nobody-has-this", "input": n});
            let request = http.post(format!("{url}/v1/tasks")).bearer_auth(&own).json(&body);
            let answer = request.send().await.expect("an answer");
            let status = answer.status().as_u16();
            assert!(matches!(status, 200..=202), "{status}: {}", process.last_words());
        }
    }
    for (process, _) in &both {
        assert!(!process.log().contains(&own), "{}", process.last_words());
    }
}

#[tokio::test]
async fn nobody_listens_to_the_world_by_oversight() {
    let site = Site::new().await;
    let beyond = ("SYNOD_HTTP_LISTEN", "0.0.0.0:0");
    site.refused(
        &["coordinator"],
        &[beyond],
        &["refused to listen on 0.0.0.0:0 without an API key", "SYNOD_HTTP_OPEN=yes"],
    )
    .await;
    let (own, hash) = key();
    let said = ["SYNOD_API_KEY", "and is missing"];
    site.refused(&["coordinator"], &[beyond, ("SYNOD_HTTP_KEYS", &hash)], &said).await;
    let other = self::key().1;
    let set = [beyond, ("SYNOD_HTTP_KEYS", &other), ("SYNOD_API_KEY", &own)];
    site.refused(&["coordinator"], &set, &["and is none of them"]).await;
    // A key in the place of its hash is not shown.
    site.refused(&["coordinator"], &[("SYNOD_HTTP_KEYS", &own)], &["no SHA-256 of a key"]).await;
    let shown = site.start(&["coordinator"], &[beyond, ("SYNOD_HTTP_OPEN", "yes")]);
    eventually("it listens", Duration::from_secs(20), || {
        std::future::ready(shown.log().contains("the coordinator listens").then_some(()))
    })
    .await;
}

#[tokio::test]
async fn a_header_has_its_limits() {
    let mesh = Mesh::own(&[]).await;
    let address = mesh.http.trim_start_matches("http://").to_owned();
    let answer = |request: &str| {
        let mut socket = TcpStream::connect(&address).expect("connected");
        socket.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        socket.write_all(request.as_bytes()).expect("sent");
        let mut text = String::new();
        // An end by a reset is as good.
        let _ = socket.read_to_string(&mut text);
        text.lines().next().unwrap_or_default().to_owned()
    };
    let many: String = (0..100).map(|n| format!("x-{n}: 1\r\n")).collect();
    assert!(answer(&format!("GET /livez HTTP/1.1\r\n{many}\r\n")).contains("431"));
    let long = format!("x: {}\r\n", "y".repeat(80 * 1024));
    assert!(answer(&format!("GET /livez HTTP/1.1\r\n{long}\r\n")).contains("431"));
    assert!(answer("GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").contains("200"));
}
