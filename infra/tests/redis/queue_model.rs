//! A queue against the simplest queue there can be: the same acts, the same answers.

use super::queues::{Line, is_fenced};
use super::{Bench, SECOND};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::collections::BTreeSet;
use std::time::Duration;
use synod_protocol::primitives::queue::{Leased, Nack, Place};

/// What one client does.
#[derive(Clone, Debug)]
enum Act {
    /// Puts in a message of this id, priority and number of deliveries, at once or much later.
    Put(u8, u8, u64, bool),
    Lease(u64),
    /// Of the receipts ever given, this one.
    Ack(usize),
    Nack(usize, bool),
    Redrive(u8),
}

#[derive(Clone, Debug)]
struct Message {
    id: u8,
    priority: u8,
    came: usize,
    deliveries: u64,
    most: u64,
    /// The receipt that it is leased under, as its place among all.
    held: Option<usize>,
}

#[derive(Default)]
struct Model {
    ready: Vec<Message>,
    leased: Vec<Message>,
    delayed: Vec<Message>,
    dead: Vec<Message>,
    seen: BTreeSet<u8>,
    acked: BTreeSet<usize>,
    nacked: Vec<(usize, Place)>,
    count: usize,
}

impl Model {
    fn put(&mut self, id: u8, priority: u8, most: u64, later: bool) -> bool {
        if !self.seen.insert(id) {
            return true;
        }
        self.count += 1;
        let message = Message { id, priority, came: self.count, deliveries: 0, most, held: None };
        if later {
            self.delayed.push(message);
        } else {
            self.ready.push(message);
        }
        false
    }

    fn lease(&mut self, limit: u64, first_receipt: usize) -> Vec<(u8, u64)> {
        self.ready.sort_by_key(|m| (std::cmp::Reverse(m.priority), m.came));
        let count = self.ready.len().min(limit as usize);
        let taken: Vec<Message> = self.ready.drain(..count).collect();
        let mut shown = Vec::new();
        for (n, mut message) in taken.into_iter().enumerate() {
            message.deliveries += 1;
            message.held = Some(first_receipt + n);
            shown.push((message.id, message.deliveries));
            self.leased.push(message);
        }
        shown
    }

    fn take_held(&mut self, receipt: usize) -> Option<Message> {
        let at = self.leased.iter().position(|m| m.held == Some(receipt))?;
        Some(self.leased.remove(at))
    }

    fn ack(&mut self, receipt: usize) -> bool {
        if self.take_held(receipt).is_some() {
            self.acked.insert(receipt);
        }
        self.acked.contains(&receipt)
    }

    fn nack(&mut self, receipt: usize, later: bool) -> Option<Place> {
        if let Some(message) = self.take_held(receipt) {
            let (place, list) = if message.deliveries >= message.most {
                (Place::Dead, &mut self.dead)
            } else if later {
                (Place::Delayed, &mut self.delayed)
            } else {
                (Place::Ready, &mut self.ready)
            };
            list.push(message);
            self.nacked.push((receipt, place));
        }
        self.nacked.iter().find(|(r, _)| *r == receipt).map(|(_, place)| *place)
    }

    fn redrive(&mut self, id: u8) -> bool {
        let Some(at) = self.dead.iter().position(|m| m.id == id) else { return false };
        let message = self.dead.remove(at);
        self.count += 1;
        self.ready.push(Message { came: self.count, deliveries: 0, ..message });
        true
    }

    fn counts(&self) -> [u64; 4] {
        [&self.ready, &self.leased, &self.delayed, &self.dead].map(|list| list.len() as u64)
    }
}

async fn agrees(line: &Line, acts: &[Act]) {
    let (mut model, mut given) = (Model::default(), Vec::<Leased>::new());
    let hour = 3600 * SECOND;
    for act in acts {
        match act {
            Act::Put(id, priority, most, later) => {
                let duplicate = line
                    .put(&id.to_string(), |m| {
                        (m.priority, m.max_deliveries) = (Some((*priority).into()), Some(*most));
                        m.delay_ms = later.then_some(3_600_000);
                    })
                    .await;
                assert_eq!(duplicate, model.put(*id, *priority, *most, *later), "{act:?} of {acts:?}");
            }
            Act::Lease(limit) => {
                let items = line.ask(hour, *limit, Duration::ZERO).await;
                let shown: Vec<(u8, u64)> =
                    items.iter().map(|m| (m.message_id.parse().unwrap(), m.delivery)).collect();
                assert_eq!(shown, model.lease(*limit, given.len()), "{act:?} of {acts:?}");
                given.extend(items);
            }
            Act::Ack(n) if !given.is_empty() => {
                let n = n % given.len();
                let done = line.ack(&given[n]).await;
                if model.ack(n) { done.unwrap() } else { is_fenced(done) }
            }
            Act::Nack(n, later) if !given.is_empty() => {
                let n = n % given.len();
                let delay_ms = later.then_some(3_600_000);
                let nack = Nack { receipt: given[n].receipt.clone(), delay_ms, reason: None };
                let id = given[n].message_id.parse().unwrap();
                let place = line.queues.nack(&line.workspace, &line.name, &id, &nack, None).await;
                assert_eq!(place.ok(), model.nack(n, *later), "{act:?} of {acts:?}");
            }
            Act::Redrive(id) => {
                let id_text = id.to_string().parse().unwrap();
                let done = line.queues.redrive(&line.workspace, &line.name, &id_text, None).await;
                assert_eq!(done.is_ok(), model.redrive(*id), "{act:?} of {acts:?}");
            }
            Act::Ack(_) | Act::Nack(..) => {}
        }
        assert_eq!(line.counts().await, model.counts(), "{act:?} of {acts:?}");
    }
}

#[tokio::test]
async fn a_queue_does_what_a_plain_model_says() {
    let bench = Bench::start().await;
    let act = prop_oneof![
        4 => (0u8..40, 0u8..10, 1u64..4, prop::bool::weighted(0.1)).prop_map(|(i, p, d, l)| Act::Put(i, p, d, l)),
        3 => (1u64..5).prop_map(Act::Lease),
        2 => any::<usize>().prop_map(Act::Ack),
        3 => (any::<usize>(), prop::bool::weighted(0.2)).prop_map(|(n, l)| Act::Nack(n, l)),
        1 => (0u8..40).prop_map(Act::Redrive),
    ];
    let lives = proptest::collection::vec(act, 1..80);
    let mut runner = TestRunner::deterministic();
    for round in 0..150 {
        let acts = lives.new_tree(&mut runner).unwrap().current();
        agrees(&Line::of(&bench, &format!("q{round}")), &acts).await;
    }
}
