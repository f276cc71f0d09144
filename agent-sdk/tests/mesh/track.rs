//! Bidders whose promises are remembered: the mesh keeps what became of them, and weighs the next bids by it.

use super::{SOON, mesh, run};
use agent_sdk::protocol::Exact;
use agent_sdk::protocol::id::WorkKind;
use agent_sdk::protocol::negotiation::{NegotiationStatus, NegotiationView, OpenNegotiation};
use agent_sdk::protocol::track::WorkRecord;
use agent_sdk::testing::TestMesh;
use agent_sdk::{Agent, AgentBuilder, Context, Json, TaskError};
use serde_json::{Value, json};
use std::time::Duration;

async fn nothing(_: Context, _: Value) -> Result<(), TaskError> {
    Ok(())
}

/// One who promises so many milliseconds, takes what it is given, and needs so long.
fn bidder(id: &str, promises_ms: u64, needs: Duration) -> AgentBuilder {
    Agent::builder(id)
        .capability("translate", nothing)
        .answers("bid", move |_| async move { Ok(Some(json!({"price": 1, "time_ms": promises_ms}))) })
        .answers("commit", |_| async { Ok(Some(json!({"accept": true}))) })
        .answers("result", move |_| async move {
            tokio::time::sleep(needs).await; // the work
            Ok(Some(json!({"result": "done"})))
        })
}

async fn net(mesh: &TestMesh, id: &str) -> (NegotiationView, Value) {
    let rules = json!({"utility": {"time": 1}, "result": true, "result_ms": 20_000, "track": "translate"});
    let open = OpenNegotiation {
        rules: Some(Json::of(&rules).unwrap()),
        round_ms: Some(20_000),
        participants: Some(["late", "punctual"].map(|id| id.parse().unwrap()).to_vec()),
        ..OpenNegotiation::new(id.parse().unwrap(), "contract_net", Json::of("a page").unwrap())
    };
    let view = mesh.client().decide(open, SOON).await.unwrap();
    assert_eq!(view.status, NegotiationStatus::Decided, "{view:?}");
    let outcome = view.outcome.as_ref().unwrap().to().unwrap();
    (view, outcome)
}

/// What the mesh remembers of an agent, once it remembers so many results.
async fn remembered(mesh: &TestMesh, agent: &str, results: u64) -> WorkRecord {
    let kind: WorkKind = "translate".parse().unwrap();
    let told = async {
        loop {
            let agent = mesh.client().agent(agent).await.unwrap();
            let record = agent.track_records.get(&kind).filter(|record| record.results >= results);
            if let Some(record) = record {
                return record.clone();
            }
            tokio::time::sleep(Duration::from_millis(10)).await; // between two looks at the condition
        }
    };
    tokio::time::timeout(SOON, told).await.expect("it is remembered in time")
}

#[tokio::test]
async fn who_was_late_loses_to_who_promises_less() {
    let mesh = mesh().await;
    let late = run(&mesh, bidder("late", 100, Duration::from_millis(400))).await;
    let punctual = run(&mesh, bidder("punctual", 120, Duration::ZERO)).await;
    let (view, outcome) = net(&mesh, "n1").await;
    assert_eq!(outcome["winner"], "late", "nothing is known yet: {view:?}");
    let record = remembered(&mesh, "late", 1).await;
    assert!(record.time_ratio.clone().unwrap() >= Exact::from(4_i64), "{record:?}");
    assert_eq!(record.kept, Some(Exact::one()));

    let (view, outcome) = net(&mesh, "n2").await;
    assert_eq!(outcome["winner"], "punctual", "{view:?}");
    let rules: Value = view.rules.to().unwrap();
    assert_eq!(rules["track_records"]["late"]["time_ratio"], json!(record.time_ratio), "on record: {rules}");
    assert!(
        view.explanation
            .iter()
            .any(|said| said.starts_with("The bid of late was weighed by 1 earlier results")),
        "{:?}",
        view.explanation
    );
    let record = remembered(&mesh, "punctual", 1).await;
    assert_eq!((record.kept_results, record.kept), (1, Some(Exact::one())));

    // Another process start is the same bidder.
    late.stop().await.unwrap();
    let late = run(&mesh, bidder("late", 100, Duration::ZERO)).await;
    assert_eq!(remembered(&mesh, "late", 1).await.results, 1);
    for agent in [late, punctual] {
        agent.stop().await.unwrap();
    }
}
