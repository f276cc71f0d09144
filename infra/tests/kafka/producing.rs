//! Appending.

use crate::bed::{Bed, SOON, Seen, put, unique, until};
use serde::Deserialize;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::kafka::{
    Acked, DeliveryError, KafkaConfig, MAX_RECORD_BYTES, Outgoing, Producer, PublishError, SendError, Start,
};
use synod_protocol::{Envelope, topics};

pub(crate) async fn acknowledgements_carry_consecutive_offsets(bed: &Bed) {
    let topic = bed.topic(1).await;
    let producer = bed.producer();
    let seen = Arc::new(Seen::default());
    for n in 0..20_000_i64 {
        let seen = seen.clone();
        let out = Outgoing::to(&topic).partition(0).payload(n.to_string());
        producer.send(out, move |delivery| seen.push((n, delivery.unwrap()))).unwrap();
    }
    producer.flush(SOON).await.unwrap();
    let expected: Vec<_> = (0..20_000).map(|n| (n, Acked { partition: 0, offset: n })).collect();
    assert_eq!(seen.all(), expected);
    assert_eq!(producer.waiting(), 0);
    assert_eq!(producer.fatal(), None);
}

pub(crate) async fn headers_round_trip(bed: &Bed) {
    let topic = bed.topic(1).await;
    let producer = bed.producer();
    let mut envelope = Envelope::new("id-🔑", "/tests/ж", "synod.test");
    envelope.subject = Some("задача/鍵".into());
    envelope.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    envelope.tracestate = Some("synod=1".into());
    let mut out = Outgoing::to(&topic).key("ключ").envelope(&envelope).header("x-鍵", "").payload("");
    out.headers.push(("nothing".into(), None));
    out.headers.push(("twice".into(), Some(b"1".to_vec())));
    out.headers.push(("twice".into(), Some(vec![0xff])));
    put(&producer, out.clone()).await.unwrap();

    let mut reader = bed.readers().open(&topic, 0, Start::Beginning).unwrap();
    let record = reader.next(SOON).await.unwrap().expect("the record");
    let sent: Vec<_> = out.headers.iter().map(|(n, v)| (n.to_string(), v.clone())).collect();
    assert_eq!(record.headers, sent);
    assert_eq!(record.envelope().unwrap(), envelope);
    assert_eq!(record.key.as_deref(), Some("ключ".as_bytes()));
    assert_eq!(record.payload.as_deref(), Some(&b""[..]));
    assert!(record.timestamp_ms.is_some());
    assert_eq!(record.unreadable_headers, 0);
}

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    hex: String,
    murmur2: i32,
    /// For 1, 8, 12 and 64 partitions.
    p: [u32; 4],
}

impl Case {
    fn key(&self) -> Vec<u8> {
        let digits = self.hex.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).unwrap());
        digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }
}

pub(crate) async fn keys_land_where_the_java_client_puts_them(bed: &Bed) {
    let vectors: Vectors = serde_json::from_str(include_str!("murmur2.json")).unwrap();
    assert!(vectors.cases.iter().any(|case| case.hex.is_empty()), "the empty key is a case of its own");
    let (twelve, eight) = (bed.topic(12).await, bed.topic(8).await);
    let producer = bed.producer();
    for case in &vectors.cases {
        let key = case.key();
        assert_eq!(topics::murmur2(&key), case.murmur2, "{}", case.hex);
        assert_eq!([1, 8, 12, 64].map(|n| topics::partition(&key, n)), case.p, "{}", case.hex);
        let in_twelve = put(&producer, Outgoing::to(&twelve).key(key.clone())).await.unwrap();
        let in_eight = put(&producer, Outgoing::to(&eight).key(key)).await.unwrap();
        let landed = [in_eight, in_twelve].map(|acked| acked.partition.unsigned_abs());
        assert_eq!(landed, [case.p[1], case.p[2]], "key {}", case.hex);
    }
}

pub(crate) async fn too_large_is_refused_with_the_record(bed: &Bed) {
    let topic = bed.topic(1).await;
    let producer = bed.producer();
    let out = Outgoing::to(&topic).key("k").payload(vec![b'x'; MAX_RECORD_BYTES]);
    match producer.send(out.clone(), |_| panic!("it was not taken")) {
        Err(SendError::TooLarge { size, limit, out: back }) => {
            assert!(size > limit && limit == MAX_RECORD_BYTES);
            assert_eq!(*back, out);
        }
        other => panic!("{other:?}"),
    }
    let envelope = Envelope::new("1", "/tests", "t");
    let payload = "x".repeat(MAX_RECORD_BYTES);
    let refused = producer.publish(&topic, "k", &envelope, &payload, SOON).await.unwrap_err();
    assert!(matches!(refused, PublishError::TooLarge { .. }) && !refused.may_have_landed(), "{refused}");
}

pub(crate) async fn the_largest_record_goes_through(bed: &Bed) {
    let topic = bed.topic(1).await;
    let producer = bed.producer();
    let out = Outgoing::to(&topic).partition(0).key("k").payload(vec![b'x'; producer.room(1, 0)]);
    assert_eq!(out.wire_bytes(), MAX_RECORD_BYTES);
    assert_eq!(put(&producer, out.clone()).await.unwrap().offset, 0);
    let mut reader = bed.readers().open(&topic, 0, Start::Beginning).unwrap();
    assert_eq!(reader.next(SOON).await.unwrap().unwrap().payload, out.payload);
}

pub(crate) async fn a_panicking_callback_stops_nothing(bed: &Bed) {
    let topic = bed.topic(1).await;
    let producer = bed.producer();
    producer.send(Outgoing::to(&topic).payload("1"), |_| panic!("a callback's own fault")).unwrap();
    assert_eq!(put(&producer, Outgoing::to(&topic).payload("2")).await.unwrap().offset, 1);
}

pub(crate) async fn statistics_tell_of_the_broker(bed: &Bed) {
    let mut config = bed.config.clone();
    config.statistics_every = Duration::from_millis(50);
    let producer = Producer::new(&config).unwrap();
    let topic = bed.topic(1).await;
    put(&producer, Outgoing::to(&topic).payload("1")).await.unwrap();
    let up = || {
        producer
            .stats()
            .is_some_and(|s| s.client_id == "test" && s.brokers.values().any(|b| b.up && s.tx > 0))
    };
    until("a broker that is up", up).await;
}

pub(crate) async fn a_broker_that_comes_back_gets_everything_once(bed: &Bed) {
    let kafka = bed.kafka.as_ref().unwrap();
    let topic = bed.topic(1).await;
    let producer = bed.producer();
    put(&producer, Outgoing::to(&topic).partition(0).payload("0")).await.unwrap();
    kafka.set_down(true).unwrap();
    let seen = Arc::new(Seen::default());
    for n in 1..=500_i64 {
        let seen = seen.clone();
        let out = Outgoing::to(&topic).partition(0).payload(n.to_string());
        producer.send(out, move |delivery| seen.push((n, delivery))).unwrap();
    }
    assert!(producer.flush(Duration::from_millis(300)).await.is_err());
    assert_eq!(seen.len(), 0, "nothing is reported as failed while it waits");
    kafka.set_down(false).unwrap();
    producer.flush(SOON).await.unwrap();
    let expected: Vec<_> = (1..=500).map(|n| (n, Ok(Acked { partition: 0, offset: n }))).collect();
    assert_eq!(seen.all(), expected);
}

fn nowhere() -> KafkaConfig {
    KafkaConfig::new("127.0.0.1:1", "nowhere")
}

pub(crate) async fn a_full_queue_gives_the_record_back() {
    let producer = Producer::new(&KafkaConfig { queue_records: 10, ..nowhere() }).unwrap();
    let topic = unique("none");
    for _ in 0..10 {
        producer.send(Outgoing::to(&topic).payload("x"), |_| {}).unwrap();
    }
    let out = Outgoing::to(&topic).key("k").header("h", "v").payload("the eleventh");
    match producer.send(out.clone(), |_| panic!("it was not taken")) {
        Err(SendError::QueueFull(back)) => assert_eq!(*back, out),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn no_acknowledgement_in_time_is_an_unknown_outcome() {
    let producer = Producer::new(&nowhere()).unwrap();
    let envelope = Envelope::new("1", "/tests", "t");
    let wait = Duration::from_millis(50);
    let error = producer.publish("none", "k", &envelope, "payload", wait).await.unwrap_err();
    assert!(matches!(error, PublishError::UnknownOutcome(_)) && error.may_have_landed(), "{error}");
    let left = producer.flush(Duration::from_millis(50)).await.unwrap_err().left;
    assert_eq!(left, 1, "it is still to be sent");
}

pub(crate) async fn a_dropped_producer_tells_its_callbacks() {
    let producer = Producer::new(&nowhere()).unwrap();
    let seen = Arc::new(Seen::default());
    // The callback holds a handle on its own producer: the last one goes on the polling thread.
    let (told, own) = (seen.clone(), producer.clone());
    let callback = move |delivery| {
        drop(own);
        told.push(delivery);
    };
    producer.send(Outgoing::to("none").payload("x"), callback).unwrap();
    producer.purge();
    drop(producer);
    until("the callback", || seen.len() == 1).await;
    assert!(matches!(seen.all()[..], [Err(DeliveryError::NotSent(_))]), "{:?}", seen.all());
}
