//! Records that are handed back, and the relay that puts them on their topics again.

use crate::bed::{Bed, SOON, Seen, put, unique, until};
use std::sync::Arc;
use std::time::{Duration, Instant};
use synod_infra::kafka::{GroupConsumer, GroupOptions, HandlerError, Outgoing, Received, retry};
use synod_protocol::retry::Tier;
use synod_protocol::{Envelope, Json};

const LATER: Duration = Duration::from_secs(1);

fn tier() -> Tier {
    Tier::of(LATER)
}

async fn relay(bed: &Bed) -> GroupConsumer {
    bed.maker.ensure_one(&tier().topic(), 4, 1, SOON).await.unwrap();
    retry::relay(&bed.config, tier(), bed.producer(), bed.readers(), &bed.maker, 1).await.unwrap()
}

fn record(topic: &str, n: u32) -> Outgoing {
    let envelope = Envelope::new(format!("n-{n}"), "/tests", "test.number");
    Outgoing::to(topic).key("k").envelope(&envelope).payload(n.to_string())
}

/// What a member saw: which number, under which id, when.
type Told = Arc<Seen<(u32, String, Instant)>>;

async fn member(
    bed: &Bed,
    group: &str,
    topic: &str,
    returns: u32,
    later: impl Fn(u32, usize) -> bool + Send + Sync + 'static,
) -> (GroupConsumer, Told) {
    let seen: Told = Arc::default();
    let told = seen.clone();
    let handler = move |received: Received<Json>| {
        let n: u32 = received.payload.to().unwrap();
        told.push((n, received.envelope.id, Instant::now()));
        let times = told.all().iter().filter(|(other, ..)| *other == n).count();
        let later = later(n, times);
        async move {
            match later {
                true => Err(HandlerError::later(LATER, format!("{n} is not ready"))),
                false => Ok(()),
            }
        }
    };
    let options = GroupOptions { returns, ..GroupOptions::default() };
    let topics = [topic];
    let member =
        GroupConsumer::start(&bed.config, group, &topics, bed.producer(), &bed.maker, options, handler);
    (member.await.unwrap(), seen)
}

fn numbers(seen: &Told) -> Vec<u32> {
    seen.all().iter().map(|(n, ..)| *n).collect()
}

pub(crate) async fn what_is_handed_back_comes_again_in_order_for_its_group_alone(bed: &Bed) {
    let topic = bed.topic(2).await;
    let (ours, others) = (unique("ours"), unique("others"));
    let producer = bed.producer();
    for n in 1..=12 {
        put(&producer, record(&topic, n)).await.unwrap();
    }
    let relay = relay(bed).await;
    // Multiples of three are not ready the first time; what is behind them is not held up.
    let (member_of_ours, seen) = member(bed, &ours, &topic, 10, |n, times| n % 3 == 0 && times == 1).await;
    let (member_of_others, seen_by_others) = member(bed, &others, &topic, 10, |_, _| false).await;
    until("all, and four of them twice", || seen.len() == 16).await;
    let all: Vec<u32> = (1..=12).chain([3, 6, 9, 12]).collect();
    assert_eq!(numbers(&seen), all);
    for (n, id, at) in &seen.all()[12..] {
        let first = seen.all().into_iter().find(|(first, ..)| first == n).unwrap();
        assert_eq!(*id, first.1, "under the id that it had");
        let lay = at.duration_since(first.2);
        assert!(lay > LATER * 9 / 10, "{n} came again after {lay:?}");
    }
    assert_eq!((member_of_ours.counts().handed_back, member_of_ours.counts().dead_lettered), (4, 0));
    until("the others have passed what came again over", || member_of_others.counts().handled == 16).await;
    assert_eq!(numbers(&seen_by_others), (1..=12).collect::<Vec<_>>());
    for ended in [member_of_ours, member_of_others, relay] {
        ended.stop(SOON).await.unwrap();
    }
}

pub(crate) async fn what_comes_again_too_often_is_a_dead_letter(bed: &Bed) {
    let topic = bed.topic(1).await;
    let group = unique("group");
    let producer = bed.producer();
    put(&producer, record(&topic, 7)).await.unwrap();
    let relay = relay(bed).await;
    let (member, seen) = member(bed, &group, &topic, 2, |n, _| n == 7).await;
    until("given up", || member.counts().dead_lettered == 1).await;
    assert_eq!(numbers(&seen), [7, 7, 7]);
    let letters = bed.holds(&format!("dlq.{topic}")).await;
    assert_eq!(letters.len(), 1);
    let said = |letter: &synod_infra::kafka::RawRecord, name: &str| {
        let header = letter.headers.iter().find(|(n, _)| n == name);
        header.and_then(|(_, v)| v.clone()).map(|v| String::from_utf8(v).unwrap())
    };
    let why = said(&letters[0], "__dlq.errors.message").unwrap();
    assert_eq!(why, "it has come again 2 times, and there may be 2: 7 is not ready");

    // A plain client counts by itself, and the relay holds it to what it said.
    let plain = record(&tier().topic(), 8).header("synod-retry-to", topic.clone());
    let last = plain.clone().header("synod-retry-return", "3").header("synod-retry-limit", "3");
    put(&producer, last).await.unwrap();
    let over = plain.header("synod-retry-return", "4").header("synod-retry-limit", "3");
    put(&producer, over.header("synod-retry-reason", "no stock")).await.unwrap();
    until("the last return", || seen.len() == 4).await;
    // On real brokers others' relays are members of the same group: any of them may have had it.
    let letters = tokio::time::timeout(SOON, async {
        loop {
            let letters = bed.holds(&format!("dlq.{topic}")).await;
            if letters.len() > 1 {
                return letters;
            }
        }
    });
    let letters = letters.await.expect("one more letter in time");
    assert_eq!(letters.len(), 2);
    let why = said(&letters[1], "__dlq.errors.message").unwrap();
    assert_eq!(why, "it has come again 3 times, which is the limit: no stock");
    assert_eq!(said(&letters[1], "__dlq.errors.offset"), None, "it never stood in that topic");
    assert_eq!(
        (letters[1].key.as_deref(), letters[1].payload.as_deref()),
        (Some(&b"k"[..]), Some(&b"8"[..]))
    );

    // What says nowhere to come again on, or where nothing is, holds up nobody.
    let nowhere = unique("nowhere");
    put(&producer, record(&tier().topic(), 9)).await.unwrap();
    put(&producer, record(&tier().topic(), 10).header("synod-retry-to", nowhere.clone())).await.unwrap();
    put(&producer, record(&tier().topic(), 11).header("synod-retry-to", topic.clone())).await.unwrap();
    until("the one behind them", || numbers(&seen).contains(&11)).await;
    let letters = bed.holds(&format!("dlq.{}", tier().topic())).await;
    let why: Vec<String> = letters.iter().filter_map(|l| said(l, "__dlq.errors.message")).collect();
    assert!(why.iter().any(|why| why.contains("synod-retry-to is missing")), "{why:?}");
    assert!(why.iter().any(|why| why.contains(&format!("there is no topic {nowhere}"))), "{why:?}");
    for ended in [member, relay] {
        ended.stop(SOON).await.unwrap();
    }
}

pub(crate) async fn a_relay_that_ends_with_records_in_hand_loses_none(bed: &Bed) {
    let topic = bed.topic(1).await;
    let producer = bed.producer();
    let first = relay(bed).await;
    until("it has partitions", || !first.partitions().is_empty()).await;
    for n in 0..8 {
        let out = record(&tier().topic(), n).key(n.to_string()).header("synod-retry-to", topic.clone());
        put(&producer, out).await.unwrap();
    }
    // They are not due yet: nothing of them is stored, whatever it holds.
    drop(first);
    let second = relay(bed).await;
    let (member, seen) = member(bed, &unique("group"), &topic, 1, |_, _| false).await;
    until("all of them", || seen.len() >= 8).await;
    let mut all = numbers(&seen);
    all.sort_unstable();
    assert_eq!(all, (0..8).collect::<Vec<_>>());
    for ended in [member, second] {
        ended.stop(SOON).await.unwrap();
    }
}
