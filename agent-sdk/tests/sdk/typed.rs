//! An application's own events, on a real protocol.

use super::SOON;
use agent_sdk::{EventError, EventReceived, GroupOptions, HandlerError, Mesh, MeshConfig, TypedEvent};
use serde::{Deserialize, Serialize};
use synod_infra::kafka::{EmbeddedKafka, Outgoing, Producer};
use synod_protocol::Envelope;
use tokio::sync::mpsc;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OrderShipped {
    order: String,
}

impl TypedEvent for OrderShipped {
    const TOPIC: &'static str = "shop.orders.v1";
    const TYPE: &'static str = "shop.order.shipped";
    fn key(&self) -> String {
        self.order.clone()
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Intruder;

impl TypedEvent for Intruder {
    const TOPIC: &'static str = "synod.events.v1";
    const TYPE: &'static str = "shop.intruder";
    fn key(&self) -> String {
        String::new()
    }
}

fn placed(order: &str, amount: u64) -> OrderPlaced {
    OrderPlaced { order: order.into(), amount }
}

struct Bed {
    kafka: EmbeddedKafka,
    mesh: Mesh,
}

impl Bed {
    fn start() -> Bed {
        let kafka = EmbeddedKafka::start(2, 1).unwrap();
        let config = MeshConfig { kafka: Some(kafka.config("test").unwrap()), ..MeshConfig::default() };
        Bed { mesh: Mesh::connect(config).unwrap(), kafka }
    }
}

#[tokio::test]
async fn a_subscriber_sees_every_event_of_its_type_from_then_on() {
    let bed = Bed::start();
    bed.mesh.publish(&placed("before", 1)).await.unwrap();
    let mut orders = bed.mesh.subscribe::<OrderPlaced>().await.unwrap();
    let mut all_the_same = bed.mesh.subscribe::<OrderPlaced>().await.unwrap();
    bed.mesh.publish(&OrderShipped { order: "o".into() }).await.unwrap();
    for n in 0..50 {
        bed.mesh.publish(&placed("o", n)).await.unwrap();
    }
    for stream in [&mut orders, &mut all_the_same] {
        for n in 0..50 {
            let next = tokio::time::timeout(SOON, stream.next_event()).await.expect("in time").unwrap();
            assert_eq!(next.event, placed("o", n), "in order per key");
            assert_eq!(next.envelope.ty, OrderPlaced::TYPE);
        }
    }
}

#[tokio::test]
async fn a_bad_record_is_told_and_the_next_one_comes() {
    let bed = Bed::start();
    let mut orders = bed.mesh.subscribe::<OrderPlaced>().await.unwrap();
    let envelope = Envelope::new("1", "/test", OrderPlaced::TYPE);
    let bad =
        Outgoing::to(OrderPlaced::TOPIC).key("o").envelope(&envelope).payload(br#"{"order":1}"#.to_vec());
    let producer = Producer::new(&bed.kafka.config("bad").unwrap()).unwrap();
    producer.send(bad, |delivery| assert!(delivery.is_ok())).unwrap();
    producer.flush(SOON).await.unwrap();
    bed.mesh.publish(&placed("o", 1)).await.unwrap();
    let first = tokio::time::timeout(SOON, orders.next_event()).await.expect("in time");
    assert!(matches!(first, Err(EventError::Malformed { .. })), "{first:?}");
    let second = tokio::time::timeout(SOON, orders.next_event()).await.expect("in time").unwrap();
    assert_eq!(second.event, placed("o", 1));
}

#[tokio::test]
async fn a_group_handles_each_event_and_retries_what_fails() {
    let bed = Bed::start();
    bed.mesh.publish(&placed("o", 1)).await.unwrap();
    bed.mesh.publish(&OrderShipped { order: "o".into() }).await.unwrap();
    let (tell, mut told) = mpsc::unbounded_channel();
    let handler = move |received: EventReceived<OrderPlaced>| {
        let tell = tell.clone();
        async move {
            tell.send(received.event.amount).unwrap();
            match received.event.amount {
                2 => Err(HandlerError::Poison("I do not do twos".into())),
                _ => Ok(()),
            }
        }
    };
    let group = bed.mesh.consume("billing", GroupOptions::default(), handler).await.unwrap();
    for amount in [2, 3] {
        bed.mesh.publish(&placed("o", amount)).await.unwrap();
    }
    for amount in 1..=3 {
        let handled = tokio::time::timeout(SOON, told.recv()).await.expect("in time");
        assert_eq!(handled, Some(amount));
    }
    group.stop(SOON).await.unwrap();
}

#[tokio::test]
async fn the_meshs_own_topics_are_not_an_applications() {
    let bed = Bed::start();
    assert!(matches!(bed.mesh.publish(&Intruder).await, Err(EventError::Topic(..))));
    assert!(matches!(bed.mesh.subscribe::<Intruder>().await, Err(EventError::Topic(..))));
    let without = Mesh::connect(MeshConfig::default()).unwrap();
    assert!(matches!(without.publish(&placed("o", 1)).await, Err(EventError::Kafka(_))));
}
