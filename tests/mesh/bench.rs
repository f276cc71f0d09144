//! `synod bench` comes to its figures. How fast anything is is no test's business; how many records a run leaves is.

use serde_json::Value;
use std::process::Command;
use synod_tests::process::{synod, without_settings};

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
    bench.args(["--redis-url", &services.redis]);
    let ended = tokio::task::spawn_blocking(move || bench.output()).await.expect("it is waited for");
    let ended = ended.expect("synod runs");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&ended.stdout).expect("a report");
    let rows = report["rows"].as_array().expect("rows");
    let median = |arm: &str, unit: &str| {
        let row = rows.iter().find(|row| row["arm"] == arm && row["unit"] == unit);
        row.unwrap_or_else(|| panic!("no arm {arm}, {unit}: {rows:#?}"))["median"].as_f64().expect("a figure")
    };
    for in_flight in [1, 64, 512] {
        assert!(median(&format!("{in_flight} in flight, synod, a task for each step"), "runs/s") > 0.0);
    }
    assert!(median("one run of 1000 steps side by side", "ms") > 0.0);
    assert!(median("500 runs waiting: started", "1/s") > 0.0);
    for in_flight in [1, 64] {
        let records = median(&format!("a run, {in_flight} in flight: synod.ledger.v1"), "records");
        assert!((LEDGER_RECORDS..LEDGER_RECORDS + BESIDES).contains(&records), "{records} records in a run");
        assert!(median(&format!("a run, {in_flight} in flight: coordinator's Produce"), "requests") > 0.0);
    }
}
