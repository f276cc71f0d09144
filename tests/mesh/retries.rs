//! Retries by time, from outside: an application's consumer hands records back, and whichever coordinators are there put them
//! on their topic again.

#![expect(clippy::unwrap_used, reason = "here a failed step is a failed test")]

use super::outages::services;
use super::sharing::start as start_coordinators;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use synod_infra::kafka::{
    GroupConsumer, GroupOptions, HandlerError, KafkaConfig, Outgoing, Producer, Received, TopicMaker,
};
use synod_protocol::{Envelope, Json};
use synod_tests::{Client, eventually, fresh};

const SOON: Duration = Duration::from_secs(30);
/// A group waits for members that died without a word, then for the tier's second.
const TAKEN_OVER: Duration = Duration::from_secs(60);

/// The numbers from `first` on that came twice, in the order in which they did for the second time.
fn again(seen: &Mutex<Vec<u32>>, first: u32) -> Vec<u32> {
    let (mut once, mut twice) = (BTreeSet::new(), Vec::new());
    for n in seen.lock().unwrap().iter().filter(|n| **n >= first) {
        if !once.insert(*n) && !twice.contains(n) {
            twice.push(*n);
        }
    }
    twice
}

/// As the coordinator's metrics say it.
async fn passed_on(client: &Client) -> f64 {
    let text = client.request("GET", "/metrics").send().await.unwrap().text().await.unwrap();
    let line = "synod_retries_total{tier=\"1s\",outcome=\"passed_on\"}";
    text.lines().find_map(|l| l.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0.0)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_handed_back_comes_again_though_every_coordinator_is_killed() {
    let (services, _turn) = services().await;
    let coordinators = start_coordinators(&services, 2).await;
    let client = Client::of(&coordinators[0]);
    let (topic, config) = (fresh("parcels"), KafkaConfig::new(services.kafka.clone(), "parcels"));
    let (maker, producer) = (TopicMaker::new(&config), Producer::new(&config).unwrap());
    maker.ensure_one(&topic, 1, 1, SOON).await.unwrap();
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    let told = seen.clone();
    let handler = move |received: Received<Json>| {
        let n: u32 = received.payload.to().unwrap();
        let mut told = told.lock().unwrap();
        let is_new = !told.contains(&n);
        told.push(n);
        let full = HandlerError::later(Duration::from_secs(1), "the lorry is full");
        std::future::ready(if is_new { Err(full) } else { Ok(()) })
    };
    let options = GroupOptions { replication: 1, ..GroupOptions::default() };
    let topics = [topic.as_str()];
    let depot = GroupConsumer::start(&config, "depot", &topics, producer, &maker, options, handler);
    let depot = depot.await.unwrap();
    let post = async |numbers: std::ops::Range<u32>| {
        for n in numbers {
            let envelope = Envelope::new(format!("parcel-{n}"), "/tests", "test.parcel");
            client.append(Outgoing::to(&topic).key("all").envelope(&envelope).payload(n.to_string())).await;
        }
    };
    let handed_back = async |count: u64| {
        let counts = || std::future::ready((depot.counts().handed_back >= count).then_some(()));
        eventually("all are handed back", SOON, counts).await;
    };
    let came_again = async |first: u32, last: u32, within: Duration| {
        let numbers: Vec<u32> = (first..last).collect();
        eventually("all come again", within, || {
            let again = again(&seen, first);
            std::future::ready((again.len() == numbers.len()).then_some(()))
        })
        .await;
        assert_eq!(again(&seen, first), numbers, "in their order");
    };

    post(0..20).await;
    handed_back(20).await;
    came_again(0, 20, TAKEN_OVER).await;
    eventually("those who passed them on have counted them", SOON, async || {
        let mut counted = 0.0;
        for coordinator in &coordinators {
            counted += passed_on(&Client::of(coordinator)).await;
        }
        (counted >= 20.0).then_some(())
    })
    .await;

    // Now the relays run, and all of them die while records lie.
    post(20..40).await;
    handed_back(40).await;
    coordinators.iter().for_each(synod_tests::Mesh::kill);
    let _another = start_coordinators(&services, 1).await;
    came_again(20, 40, TAKEN_OVER).await;
    assert_eq!(depot.counts().dead_lettered, 0);
}
