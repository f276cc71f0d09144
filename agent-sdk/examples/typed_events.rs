//! An application's own events: published, seen by everyone who subscribes, shared out within a group.

use agent_sdk::testing::TestMesh;
use agent_sdk::{EventReceived, GroupOptions, TypedEvent};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::sync::mpsc;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct OrderPlaced {
    order: String,
    amount: u64,
}

impl TypedEvent for OrderPlaced {
    const TOPIC: &'static str = "shop.orders.v1";
    const TYPE: &'static str = "shop.order.placed";

    fn key(&self) -> String {
        self.order.clone()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mesh = TestMesh::start().await?;
    let limit = Duration::from_secs(20);

    // Sees all that comes from here on.
    let mut dashboard = mesh.subscribe::<OrderPlaced>().await?;
    // Shares the work with every other member of its group, from the oldest event on.
    let (bill, mut billed) = mpsc::unbounded_channel();
    let billing = move |received: EventReceived<OrderPlaced>| {
        let sent = bill.send(received.event.amount);
        async move { sent.map_err(|_| agent_sdk::HandlerError::Retry("nobody listens".into())) }
    };
    let group = mesh.consume("billing", GroupOptions::default(), billing).await?;

    for amount in 1..=3 {
        mesh.publish(&OrderPlaced { order: "o-1".into(), amount }).await?;
    }
    for amount in 1..=3 {
        let shown = tokio::time::timeout(limit, dashboard.next_event()).await??;
        println!("shown: {:?}", shown.event);
        assert_eq!(shown.event.amount, amount, "in order, since they have one key");
        assert_eq!(tokio::time::timeout(limit, billed.recv()).await?, Some(amount));
    }
    group.stop(limit).await?;
    Ok(())
}
