//! Consuming as a member of a group.

use crate::bed::{Bed, SOON, Seen, put, unique, until};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use synod_infra::kafka::{
    GroupConsumer, GroupOptions, HandlerError, Outgoing, Producer, RawRecord, Received,
};
use synod_protocol::{ContentType, Envelope};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    n: u32,
    text: String,
}

fn note(n: u32) -> Note {
    Note { n, text: format!("№ {n}") }
}

fn envelope(id: &str) -> Envelope {
    Envelope::new(id, "/tests", "test.note")
}

async fn publish(producer: &Producer, topic: &str, key: &str, n: u32) {
    producer.publish(topic, key, &envelope(&n.to_string()), &note(n), SOON).await.unwrap();
}

/// Quick about failures.
fn options() -> GroupOptions {
    GroupOptions { attempts: 3, backoff: Duration::from_millis(10), ..GroupOptions::default() }
}

async fn join<F>(
    bed: &Bed,
    group: &str,
    topic: &str,
    options: GroupOptions,
    handler: impl Fn(Received<Note>) -> F + Send + Sync + 'static,
) -> GroupConsumer
where
    F: Future<Output = Result<(), HandlerError>> + Send + 'static,
{
    GroupConsumer::start(&bed.config, group, &[topic], bed.producer(), &bed.maker, options, handler)
        .await
        .unwrap()
}

pub(crate) async fn both_codecs_arrive_typed(bed: &Bed) {
    let (topic, group) = (bed.topic(2).await, unique("group"));
    let producer = bed.producer();
    let seen = Arc::new(Seen::default());
    let mut expected = Vec::new();
    for (n, content_type) in [(1, ContentType::Json), (2, ContentType::Bincode)] {
        let envelope = Envelope { content_type, ..envelope("юникод") };
        producer.publish(&topic, "k", &envelope, &note(n), SOON).await.unwrap();
        expected.push((envelope, note(n), Some(b"k".to_vec())));
    }
    let told = seen.clone();
    let member = join(bed, &group, &topic, options(), move |r| {
        told.push((r.envelope, r.payload, r.key));
        async { Ok(()) }
    })
    .await;
    until("both", || seen.len() == 2).await;
    assert_eq!(seen.all(), expected);
    until("both handled", || member.counts().handled == 2).await;
    member.stop(SOON).await.unwrap();

    // What was handled is stored: the next member goes on after it.
    publish(&producer, &topic, "k", 3).await;
    let later = Arc::new(Seen::default());
    let told = later.clone();
    let member = join(bed, &group, &topic, options(), move |r| {
        told.push(r.payload.n);
        async { Ok(()) }
    })
    .await;
    until("the third", || later.len() == 1).await;
    assert_eq!(later.all(), [3]);
    member.stop(SOON).await.unwrap();
}

fn header<'a>(record: &'a RawRecord, name: &str) -> &'a str {
    let values: Vec<_> = record.headers.iter().filter(|(n, _)| n == name).collect();
    assert_eq!(values.len(), 1, "{name} in {:?}", record.headers);
    std::str::from_utf8(values[0].1.as_deref().unwrap()).unwrap()
}

pub(crate) async fn poison_becomes_one_dead_letter(bed: &Bed) {
    let (topic, group) = (bed.topic(1).await, unique("group"));
    let producer = bed.producer();
    publish(&producer, &topic, "k", 1).await;
    let poison = [
        Outgoing::to(&topic).key("no envelope").payload("{}"),
        Outgoing::to(&topic).key("no note").envelope(&envelope("x")).payload("{\"n\":\"no\"}"),
        Outgoing::to(&topic).key("no value").envelope(&envelope("y")).header("x-é", "ü"),
    ];
    for out in &poison {
        put(&producer, out.clone()).await.unwrap();
    }
    publish(&producer, &topic, "k", 2).await;

    let seen = Arc::new(Seen::default());
    let told = seen.clone();
    let member = join(bed, &group, &topic, options(), move |r| {
        told.push(r.payload.n);
        async { Ok(()) }
    })
    .await;
    until("the records around", || seen.len() == 2).await;
    assert_eq!(seen.all(), [1, 2]);
    until("all told", || member.counts().handled == 2).await;
    assert_eq!((member.counts().dead_lettered, member.counts().retried), (3, 0));
    member.stop(SOON).await.unwrap();

    let letters = bed.holds(&format!("dlq.{topic}")).await;
    assert_eq!(letters.len(), 3, "once each");
    for (n, (letter, out)) in letters.iter().zip(&poison).enumerate() {
        assert_eq!((&letter.key, &letter.payload), (&out.key, &out.payload));
        let original: Vec<_> = out.headers.iter().map(|(n, v)| (n.to_string(), v.clone())).collect();
        assert_eq!(letter.headers[..original.len()], original);
        assert_eq!(header(letter, "__dlq.errors.topic"), topic);
        assert_eq!(header(letter, "__dlq.errors.partition"), "0");
        assert_eq!(header(letter, "__dlq.errors.offset"), (n + 1).to_string());
        assert_eq!(header(letter, "__dlq.errors.group"), group);
        assert_eq!(header(letter, "__dlq.errors.delivery.count"), "1");
        assert!(!header(letter, "__dlq.errors.message").is_empty());
    }
}

pub(crate) async fn a_failing_handler_stalls_only_its_partition(bed: &Bed) {
    let (topic, group) = (bed.topic(2).await, unique("group"));
    let producer = bed.producer();
    let to = |partition, n| {
        let out = Outgoing::to(&topic).partition(partition).key("k").envelope(&envelope("x"));
        out.payload(serde_json::to_vec(&note(n)).unwrap())
    };
    put(&producer, to(0, 100)).await.unwrap(); // fails until the other partition is through
    put(&producer, to(0, 101)).await.unwrap(); // panics
    put(&producer, to(0, 102)).await.unwrap();
    for n in 0..20 {
        put(&producer, to(1, n)).await.unwrap();
    }
    let seen = Arc::new(Seen::default());
    let through = Arc::new(AtomicBool::new(false));
    let (told, open) = (seen.clone(), through.clone());
    let one_at_a_time = GroupOptions { concurrency: 1, attempts: 10_000, ..options() };
    let patient = join(
        bed,
        &group,
        &topic,
        GroupOptions { max_backoff: Duration::from_millis(50), ..one_at_a_time },
        move |r| {
            let failing = r.payload.n == 100 && !open.load(Ordering::Relaxed);
            if !failing {
                told.push(r.payload.n);
            }
            async move {
                match (failing, r.payload.n) {
                    (true, _) => Err(HandlerError::Retry("not yet".into())),
                    (false, 101) => Err(HandlerError::Poison("never".into())),
                    (false, _) => Ok(()),
                }
            }
        },
    )
    .await;
    until("the other partition", || seen.len() == 20).await;
    assert_eq!(seen.all(), (0..20).collect::<Vec<_>>());
    until("the failing one is tried again", || patient.counts().retried >= 1).await;
    through.store(true, Ordering::Relaxed);
    until("the failing one, then the rest", || seen.len() == 23).await;
    assert_eq!(seen.all()[20..], [100, 101, 102]);
    until("all counted", || patient.counts().handled == 22).await;
    patient.stop(SOON).await.unwrap();

    // And bounded: another group gives up after three, whether the handler fails or panics.
    let group = unique("group");
    let member = join(bed, &group, &topic, options(), |r| async move {
        match r.payload.n {
            100 => Err(HandlerError::Retry("broken".into())),
            101 => panic!("a handler's own fault"),
            _ => Ok(()),
        }
    })
    .await;
    until("all seen through", || member.counts().handled == 21).await;
    assert_eq!((member.counts().retried, member.counts().dead_lettered), (4, 2));
    member.stop(SOON).await.unwrap();
    let letters = bed.holds(&format!("dlq.{topic}")).await;
    let ours: Vec<_> = letters.iter().filter(|l| header(l, "__dlq.errors.group") == group).collect();
    assert_eq!(ours.len(), 2);
    assert_eq!(header(ours[0], "__dlq.errors.delivery.count"), "3");
    assert_eq!(header(ours[0], "__dlq.errors.message"), "broken");
}

pub(crate) async fn an_offset_is_stored_only_after_its_effect(bed: &Bed) {
    let (topic, group) = (bed.topic(1).await, unique("group"));
    let producer = bed.producer();
    for n in 1..=3 {
        publish(&producer, &topic, "k", n).await;
    }
    let started = Arc::new(Seen::default());
    let told = started.clone();
    let hasty = GroupOptions {
        drain: Duration::from_millis(50),
        handler_limit: Duration::from_secs(3),
        attempts: 1_000_000,
        ..options()
    };
    let member = join(bed, &group, &topic, hasty, move |r| {
        told.push(r.payload.n);
        async move {
            if r.payload.n == 2 {
                std::future::pending::<()>().await; // its effect never comes
            }
            Ok(())
        }
    })
    .await;
    until("the second has begun", || started.len() >= 2).await;
    member.stop(SOON).await.unwrap();

    let seen = Arc::new(Seen::default());
    let told = seen.clone();
    let member = join(bed, &group, &topic, options(), move |r| {
        told.push(r.payload.n);
        async { Ok(()) }
    })
    .await;
    until("the second comes again", || seen.len() >= 2).await;
    assert_eq!(seen.all(), [2, 3]);
    member.stop(SOON).await.unwrap();
}

pub(crate) async fn handlers_are_bounded_and_partitions_in_order(bed: &Bed) {
    let (topic, group) = (bed.topic(8).await, unique("group"));
    let producer = bed.producer();
    for n in 0..160 {
        publish(&producer, &topic, &format!("key-{}", n % 16), n).await;
    }
    let seen = Arc::new(Seen::default());
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (told, peak) = (seen.clone(), most.clone());
    let three = GroupOptions { concurrency: 3, ..options() };
    let member = join(bed, &group, &topic, three, move |r| {
        let (told, peak, running) = (told.clone(), peak.clone(), running.clone());
        async move {
            peak.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            told.push((r.partition, r.offset));
            running.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    })
    .await;
    until("all", || seen.len() == 160).await;
    assert!((2..=3).contains(&most.load(Ordering::SeqCst)), "{most:?} at once");
    for partition in 0..8 {
        let offsets: Vec<i64> =
            seen.all().into_iter().filter(|(p, _)| *p == partition).map(|(_, o)| o).collect();
        assert_eq!(offsets, (0..offsets.len() as i64).collect::<Vec<_>>(), "partition {partition}");
    }
    member.stop(SOON).await.unwrap();
}

pub(crate) async fn a_second_member_takes_over_without_loss(bed: &Bed) {
    let (topic, group) = (bed.topic(4).await, unique("group"));
    let producer = bed.producer();
    let seen = Arc::new(Seen::default());
    let handler = |who: u32| {
        let told = seen.clone();
        move |r: Received<Note>| {
            told.push((who, r.payload.n));
            async { Ok(()) }
        }
    };
    let first = join(bed, &group, &topic, options(), handler(1)).await;
    for n in 0..40 {
        publish(&producer, &topic, &format!("key-{n}"), n).await;
    }
    until("the first has all", || seen.len() == 40).await;
    let second = join(bed, &group, &topic, options(), handler(2)).await;
    until("they share", || second.partitions().len() == 2 && first.partitions().len() == 2).await;
    for n in 40..80 {
        publish(&producer, &topic, &format!("key-{n}"), n).await;
    }
    until("both work", || seen.len() == 80).await;
    first.stop(SOON).await.unwrap();
    until("the second has all", || second.partitions().len() == 4).await;
    for n in 80..120 {
        publish(&producer, &topic, &format!("key-{n}"), n).await;
    }
    until("the second does all", || seen.len() == 120).await;
    let mut numbers: Vec<u32> = seen.all().into_iter().map(|(_, n)| n).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..120).collect::<Vec<_>>(), "an orderly handover neither loses nor repeats");
    assert!(seen.all().iter().any(|(who, n)| *who == 2 && (40..80).contains(n)));
    second.stop(SOON).await.unwrap();
}
