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
