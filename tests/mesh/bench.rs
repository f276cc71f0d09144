//! `synod bench` comes to its figures. How fast anything is is no test's business; how many records a run leaves is.

use serde_json::Value;
use std::process::Command;
use synod_tests::{synod, without_settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A run of three steps: it starts with the first task, and the end of each task is one record with what follows from it.
const LEDGER_RECORDS: f64 = 4.0;
/// Images and signs of life among them, over the twenty runs that are counted.
const BESIDES: f64 = 1.0;

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_workflows_are_measured() {
    let (services, _turn) = super::outages::services().await;
    let mut bench = Command::new(synod());
    without_settings(&mut bench);
    bench.args(["bench", "--quick", "--json", "--scene", "workflows", "--kafka-brokers", &services.kafka]);
    let beside = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let ingress = format!("http://{}", beside.local_addr().expect("an address"));
    bench.args(["--redis-url", &services.redis, "--restate", &ingress]);
    let beside = tokio::spawn(hands_back(beside));
    let ended = tokio::task::spawn_blocking(move || bench.output()).await.expect("it is waited for");
    let ended = ended.expect("synod runs");
    beside.abort();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&ended.stdout).expect("a report");
    let rows = report["rows"].as_array().expect("rows");
    let median = |arm: &str, unit: &str| {
        let row = rows.iter().find(|row| row["arm"] == arm && row["unit"] == unit);
        row.unwrap_or_else(|| panic!("no arm {arm}, {unit}: {rows:#?}"))["median"].as_f64().expect("a figure")
    };
    for in_flight in [1, 64, 512] {
        for who in ["synod, a task", "restate, a call", "restate, ctx.run"] {
            assert!(median(&format!("{in_flight} in flight, {who} for each step"), "runs/s") > 0.0);
        }
    }
    assert!(median("one run of 1000 steps side by side", "ms") > 0.0);
    assert!(median("500 runs waiting: started", "1/s") > 0.0);
    for in_flight in [1, 64] {
        let records = median(&format!("a run, {in_flight} in flight: synod.ledger.v1"), "records");
        assert!((LEDGER_RECORDS..LEDGER_RECORDS + BESIDES).contains(&records), "{records} records in a run");
        assert!(median(&format!("a run, {in_flight} in flight: coordinator's Produce"), "requests") > 0.0);
    }
}

/// Stands where Restate would: every run ends at once, with what it was given.
async fn hands_back(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answers(stream));
    }
}

async fn answers(mut stream: TcpStream) -> std::io::Result<()> {
    let mut came = Vec::new();
    while stream.read_buf(&mut came).await? > 0 {
        let text = String::from_utf8_lossy(&came).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        if length.is_some_and(|length: usize| body.len() < length) {
            continue;
        }
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(answer.as_bytes()).await?;
        came.clear();
    }
    Ok(())
}

/// One that asks as it is told to, and is answered at once.
const ASKER: &str = r#"
import json, sys
print(json.dumps({"ready": True}), flush=True)
for line in sys.stdin:
    order = json.loads(line)
    assert order["bytes"] == 200 and order["window_ms"] > 0, order
    figures = {"done": 1000000 * order["in_flight"], "asked": 2000000 * order["in_flight"], "took_s": 0.5, "p50_us": 7, "p99_us": 9}
    print(json.dumps(figures), flush=True)
"#;

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_measured_beside_others_and_written_into_a_document() {
    let (services, _turn) = super::outages::services().await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str| folder.path().join(name);
    let peers = serde_json::json!({
        "rounds": 1, "services": {"redis": std::process::id()},
        "peers": [{"name": "another", "asker": ["python3", "-c", ASKER], "uses": ["redis"]}],
    });
    std::fs::write(file("peers.json"), peers.to_string()).expect("it is written");
    let mut bench = Command::new(synod());
    without_settings(&mut bench);
    bench.args(["bench", "--quick", "--json", "--scene", "requests", "--kafka-brokers", &services.kafka]);
    bench.args(["--redis-url", &services.redis]).arg("--peers").arg(file("peers.json"));
    let ended = tokio::task::spawn_blocking(move || bench.output()).await.expect("it is waited for");
    let ended = ended.expect("synod runs");
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    let report: Value = serde_json::from_slice(&ended.stdout).expect("a report");
    let rows = report["rows"].as_array().expect("rows");
    let median = |arm: &str| {
        let row = rows.iter().find(|row| row["arm"] == arm);
        row.unwrap_or_else(|| panic!("no arm {arm}: {rows:#?}"))["median"].as_f64().expect("a figure")
    };
    for in_flight in [1, 64, 512] {
        assert!(median(&format!("{in_flight} in flight, synod")) > 0.0);
        assert!(median(&format!("{in_flight} in flight, synod: coordinator")) > 0.0);
        let others = median(&format!("{in_flight} in flight, another"));
        assert!((others - 2e6 * f64::from(in_flight)).abs() < 1e-3, "{others}");
    }
    std::fs::write(file("report.json"), &ended.stdout).expect("it is written");
    let document = "before\n<!-- requests: begin -->\nwhat was there\n<!-- requests: end -->\nafter\n";
    std::fs::write(file("document.md"), document).expect("it is written");
    let script = synod_tests::root().join("scripts/lib/peers/document.py");
    let mut write = Command::new("python3");
    write.arg(script).arg("requests").arg(file("report.json")).arg("--write").arg(file("document.md"));
    let written = write.output().expect("python3 runs");
    assert!(written.status.success(), "{}", String::from_utf8_lossy(&written.stderr));
    let document = std::fs::read_to_string(file("document.md")).expect("it reads");
    assert!(document.starts_with("before\n<!-- requests: begin -->\n**`--quick`"), "{document}");
    assert!(
        document.ends_with("<!-- requests: end -->\nafter\n") && !document.contains("what was there"),
        "{document}"
    );
    assert!(
        document.contains("| 64 | another | 128,000,000 | 128,000,000 to 128,000,000 | 7.00 µs | 9.00 µs |"),
        "{document}"
    );
    assert!(document.contains("| another | requests/s | **0.00** (0.00 to 0.00) |"), "{document}");
}
