//! What waits for somebody is asked for page by page, and not without end.

use super::SOON;
use agent_sdk::{Mesh, MeshConfig};
use axum::extract::Query;
use axum::routing::get;
use axum::{Json as Body, Router};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// One page of four hundred, and always one more behind it.
fn page(number: usize) -> Value {
    let approval = |n: usize| {
        json!({
            "workspace": "default", "approval_id": format!("{:06}", number * 400 + n), "status": "pending", "title": "t",
            "show": null, "shown": "s", "approvers": ["ann"], "need": "any", "expires_at": "2026-01-01T00:00:00Z",
            "revision": 1, "max_revisions": 3, "correlation_id": "c", "created_at": "2026-01-01T00:00:00Z", "decisions": []
        })
    };
    json!({"items": (0..400).map(approval).collect::<Vec<_>>(), "next_cursor": (number + 1).to_string()})
}

#[tokio::test]
async fn at_most_a_thousand_are_asked_for() {
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let heard = asked.clone();
    let list = move |Query(query): Query<HashMap<String, String>>| {
        let number = query.get("cursor").map_or(0, |cursor| cursor.parse().unwrap());
        let mut all: Vec<_> = query.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        all.sort();
        heard.lock().unwrap().push(all.join(" "));
        async move { Body(page(number)) }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let routes = Router::new().route("/v1/approvals", get(list));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let client = Mesh::connect(MeshConfig::http(url)).unwrap().client();
    let pending = client.pending_approvals("ann & bob", &["chief editor"]);
    let pending = tokio::time::timeout(SOON, pending).await.expect("it ends").unwrap();
    assert_eq!((pending.len(), pending[999].approval_id.as_str()), (1_000, "000999"));
    let first = "approver=ann & bob role=chief editor status=pending";
    let cursor = |number: usize| first.replace(" role", &format!(" cursor={number} role"));
    assert_eq!(*asked.lock().unwrap(), [first.to_owned(), cursor(1), cursor(2)]);
}
