//! A mesh of up to five with a Redis, a ledger and delays, in virtual time: whatever happens to it, it comes to rest.

use super::{SHARDS, id};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use synod_ledger::tenure::{Orders, Row, Table, Tenure, Terms, rendezvous};
use synod_protocol::Id;

/// What can happen to a mesh.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Start(usize),
    Leave(usize),
    Kill(usize),
    /// As SIGSTOP does, for so many ms.
    Pause(usize, u64),
    Wipe,
    /// Redis is away for so many ms, and its data are gone.
    Away(u64),
    Wait(u64),
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        4 => (0..5usize).prop_map(Fate::Start),
        2 => (0..5usize).prop_map(Fate::Leave),
        3 => (0..5usize).prop_map(Fate::Kill),
        2 => (0..5usize, 100..6_000u64).prop_map(|(n, ms)| Fate::Pause(n, ms)),
        1 => Just(Fate::Wipe),
        1 => (100..4_000u64).prop_map(Fate::Away),
        6 => (0..3_000u64).prop_map(Fate::Wait),
    ]
}

/// Something that is under way.
#[derive(Clone, Debug)]
enum Due {
    Look,
    Seen(Box<Table>),
    NoAnswer,
    Lease { row: Box<Row>, began: u64 },
    Claimed(u32),
    Serves(u32, u64),
    Append(u32),
    Released(u32),
}

struct Node {
    name: Id,
    start: u64,
    tenure: Tenure,
    leaving: bool,
    paused_until: u64,
    renewed: u64,
    beat: u64,
    /// The epochs that it believes in.
    epochs: BTreeMap<u32, u64>,
}

/// A mesh of up to five with a Redis, a ledger and delays.
struct World {
    now: u64,
    nodes: BTreeMap<usize, Node>,
    starts: u64,
    leases: BTreeMap<Id, (Row, u64)>,
    era: (u64, u64),
    redis_back: u64,
    /// The newest epoch of each shard.
    ledger: BTreeMap<u32, u64>,
    epochs: u64,
    due: BTreeMap<(u64, u64), (usize, u64, Due)>,
    next: u64,
    claims: Vec<(u64, u32, Id)>,
    seed: u64,
}

impl World {
    fn new(seed: u64) -> World {
        World {
            now: 100_000,
            nodes: BTreeMap::new(),
            starts: 0,
            leases: BTreeMap::new(),
            era: (1, 0),
            redis_back: 0,
            ledger: BTreeMap::new(),
            epochs: 0,
            due: BTreeMap::new(),
            next: 0,
            claims: Vec::new(),
            seed,
        }
    }

    fn node(&mut self, n: usize) -> &mut Node {
        self.nodes.get_mut(&n).expect("what is due is that of one who lives")
    }

    /// splitmix64
    fn draw(&mut self, below: u64) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.seed;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    fn later(&mut self, ms: u64, node: usize, due: Due) {
        let Some(start) = self.nodes.get(&node).map(|n| n.start) else { return };
        self.next += 1;
        self.due.insert((self.now + ms, self.next), (node, start, due));
    }

    fn meet(&mut self, fate: Fate) {
        match fate {
            Fate::Start(n) if !self.nodes.contains_key(&n) => {
                self.starts += 1;
                let name = id(&format!("c{n}-{}", self.starts));
                let tenure = Tenure::new(name.clone(), "h", SHARDS, Terms::default());
                let node = Node {
                    name,
                    start: self.starts,
                    tenure,
                    leaving: false,
                    paused_until: 0,
                    renewed: 0,
                    beat: 0,
                    epochs: BTreeMap::new(),
                };
                self.nodes.insert(n, node);
                self.node(n).tenure.join();
                self.later(0, n, Due::Look);
            }
            Fate::Leave(n) => {
                if let Some(node) = self.nodes.get_mut(&n) {
                    node.leaving = true;
                    node.tenure.leave();
                }
            }
            Fate::Kill(n) => {
                self.nodes.remove(&n);
            }
            Fate::Pause(n, ms) => {
                let until = self.now + ms;
                if let Some(node) = self.nodes.get_mut(&n) {
                    node.paused_until = until;
                }
            }
            Fate::Wipe => {
                self.leases.clear();
                self.era = (self.era.0, self.now);
            }
            Fate::Away(ms) => {
                self.leases.clear();
                self.redis_back = self.now + ms;
                self.era = (self.era.0 + 1, self.redis_back);
            }
            Fate::Wait(ms) => self.run(ms),
            Fate::Start(_) => {}
        }
    }

    fn run(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(((at, n), _)) = self.due.first_key_value()
            && *at <= end
        {
            let key = (*at, *n);
            let (node, start, due) = self.due.remove(&key).expect("the first");
            self.now = self.now.max(key.0);
            let Some(it) = self.nodes.get(&node).filter(|it| it.start == start) else { continue };
            if it.paused_until > self.now {
                let left = it.paused_until - self.now;
                self.later(left, node, due);
                continue;
            }
            self.step(node, due);
        }
        self.now = end;
    }

    fn step(&mut self, n: usize, due: Due) {
        let now = self.now;
        match due {
            Due::Look => {
                let delay = self.draw(40);
                if now < self.redis_back {
                    self.later(delay, n, Due::NoAnswer);
                } else {
                    let seen = self.look();
                    self.later(delay, n, Due::Seen(Box::new(seen)));
                }
                let every = 120 + self.draw(60);
                self.later(every, n, Due::Look);
                let node = self.node(n);
                if now - node.renewed >= 400 && !node.tenure.has_lapsed(now) {
                    self.lease(n);
                }
            }
            Due::Seen(table) => {
                self.node(n).tenure.read(*table);
                self.obey(n);
                if self.nodes.get(&n).is_some_and(|node| node.tenure.has_lapsed(now)) {
                    self.lease(n);
                }
            }
            Due::NoAnswer => self.node(n).tenure.unread(),
            Due::Lease { row, began } => {
                // One coordinator's calls are answered in their order.
                let older = self.leases.get(&row.id).is_some_and(|(known, _)| known.beat > row.beat);
                if now >= self.redis_back && !older {
                    self.leases.insert(row.id.clone(), (*row, now + 1_800));
                    self.node(n).tenure.renewed(began);
                }
            }
            Due::Claimed(shard) => {
                self.epochs += 1;
                let epoch = self.epochs;
                self.ledger.insert(shard, epoch);
                self.node(n).epochs.insert(shard, epoch);
                let fold = 20 + self.draw(300);
                self.later(fold, n, Due::Serves(shard, epoch));
            }
            Due::Serves(shard, epoch) => {
                let node = self.node(n);
                if node.epochs.get(&shard) == Some(&epoch) {
                    node.tenure.serving(shard, true);
                    self.later(10, n, Due::Append(shard));
                    self.lease(n);
                }
            }
            Due::Append(shard) => {
                let jitter = self.draw(256) as u8;
                let every = 50 + self.draw(400);
                let newest = self.ledger[&shard];
                let node = self.node(n);
                match node.epochs.get(&shard) {
                    Some(epoch) if *epoch == newest => self.later(every, n, Due::Append(shard)),
                    Some(_) => {
                        node.epochs.remove(&shard);
                        node.tenure.lost(shard, now, jitter);
                    }
                    None => {}
                }
            }
            Due::Released(shard) => {
                let node = self.node(n);
                node.epochs.remove(&shard);
                node.tenure.released(shard, now);
                self.lease(n);
                // Who listens looks at once.
                for other in self.nodes.keys().copied().collect::<Vec<_>>() {
                    let seen = self.look();
                    let delay = 2 + self.draw(8);
                    if now >= self.redis_back {
                        self.later(delay, other, Due::Seen(Box::new(seen)));
                    }
                }
                let node = &self.nodes[&n];
                if node.leaving && node.tenure.held().is_empty() {
                    self.leases.remove(&node.name);
                    self.nodes.remove(&n);
                }
            }
        }
    }

    fn look(&mut self) -> Table {
        let now = self.now;
        self.leases.retain(|_, (_, until)| *until > now);
        let mut rows: Vec<Row> = self.leases.values().map(|(row, _)| row.clone()).collect();
        for row in &mut rows {
            // Now and then a subscription is just being renewed.
            let there = self.nodes.values().any(|node| node.name == row.id);
            row.present = Some(there && self.draw(100) > 0);
        }
        let (run, era) = self.era;
        Table {
            at_ms: now,
            run_id: run.to_string(),
            connection: run,
            era: era.to_string(),
            age_ms: now.saturating_sub(era),
            rows,
        }
    }

    fn lease(&mut self, n: usize) {
        let (now, delay) = (self.now, self.draw(20));
        let Some(node) = self.nodes.get_mut(&n) else { return };
        (node.renewed, node.beat) = (now, node.beat + 1);
        let row = Row {
            id: node.name.clone(),
            holder: "h".into(),
            address: String::new(),
            takes: node.tenure.takes(),
            held: node.tenure.held(),
            serving: node.tenure.served(),
            beat: node.beat,
            present: None,
        };
        self.later(delay, n, Due::Lease { row: Box::new(row), began: now });
    }

    fn obey(&mut self, n: usize) {
        let now = self.now;
        let node = self.node(n);
        let (name, orders) = (node.name.clone(), node.tenure.orders(now));
        let changed = orders != Orders::default();
        for shard in orders.claim {
            self.claims.push((now, shard, name.clone()));
            let delay = 2 + self.draw(40);
            self.later(delay, n, Due::Claimed(shard));
        }
        for shard in orders.hand_over.into_iter().chain(orders.stand_down) {
            let delay = 5 + self.draw(100);
            self.later(delay, n, Due::Released(shard));
        }
        if changed {
            self.lease(n);
        }
        let node = &self.nodes[&n];
        if node.leaving && node.tenure.held().is_empty() && node.epochs.is_empty() {
            self.leases.remove(&node.name);
            self.nodes.remove(&n);
        }
    }

    /// Who serves a shard with the newest epoch.
    fn owners(&self, shard: u32) -> Vec<&Id> {
        let newest = self.ledger.get(&shard).copied();
        let owns = |node: &&Node| {
            node.tenure.served().contains(&shard) && node.epochs.get(&shard).copied() == newest
        };
        self.nodes.values().filter(owns).map(|node| &node.name).collect()
    }

    fn check_at_rest(&self, since: u64) {
        let live: BTreeSet<Id> = self.nodes.values().map(|node| node.name.clone()).collect();
        for shard in 0..SHARDS {
            let belongs: Vec<&Id> = rendezvous(shard, &live).into_iter().collect();
            assert_eq!(self.owners(shard), belongs, "shard {shard} at rest");
            let others: Vec<_> = self
                .nodes
                .values()
                .filter(|n| n.tenure.holds(shard) && Some(&&n.name) != belongs.first())
                .collect();
            assert!(others.is_empty(), "shard {shard} is held twice");
        }
        let late: Vec<_> = self.claims.iter().filter(|(at, ..)| *at >= since).collect();
        assert!(late.is_empty(), "it does not rest: {late:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_it_comes_to_rest_with_one_owner_each(seed: u64, fates in proptest::collection::vec(fate(), 1..25)) {
        let mut world = World::new(seed);
        world.meet(Fate::Start(0));
        for fate in fates {
            world.meet(fate);
        }
        world.run(30_000);
        let since = world.now;
        let before = world.claims.len();
        world.run(10_000);
        world.check_at_rest(since);
        prop_assert_eq!(world.claims.len(), before);
    }

    #[test]
    fn a_kill_moves_what_was_his_within_two_leases(seed: u64, nodes in 2..5usize) {
        let mut world = World::new(seed);
        (0..nodes).for_each(|n| world.meet(Fate::Start(n)));
        world.run(20_000);
        let (killed, name) = (world.now, world.nodes[&0].name.clone());
        let his: Vec<u32> = (0..SHARDS).filter(|s| world.owners(*s) == [&name]).collect();
        let claims = world.claims.len();
        world.meet(Fate::Kill(0));
        world.run(3_000);
        for shard in 0..SHARDS {
            prop_assert_eq!(world.owners(shard).len(), 1);
        }
        let moved: Vec<u32> = world.claims[claims..].iter().map(|(_, shard, _)| *shard).collect();
        prop_assert_eq!(moved.iter().copied().collect::<BTreeSet<_>>(), his.iter().copied().collect::<BTreeSet<_>>());
        prop_assert_eq!(moved.len(), his.len(), "each is claimed once");
        let last = world.claims[claims..].iter().map(|(at, ..)| at - killed).max().unwrap_or(0);
        prop_assert!(last <= 1_300, "the last was claimed after {} ms", last);
    }

    #[test]
    fn who_joins_takes_what_is_his_a_few_at_a_time(seed: u64, nodes in 1..5usize) {
        let mut world = World::new(seed);
        (0..nodes).for_each(|n| world.meet(Fate::Start(n)));
        world.run(20_000);
        let claims = world.claims.len();
        world.meet(Fate::Start(nodes));
        for _ in 0..500 {
            world.run(20);
            let unserved = (0..SHARDS).filter(|s| world.owners(*s).is_empty()).count();
            prop_assert!(unserved <= 2 * nodes, "{} are served by nobody", unserved);
        }
        let new = world.nodes[&nodes].name.clone();
        let all: BTreeSet<Id> = world.nodes.values().map(|n| n.name.clone()).collect();
        let his: BTreeSet<u32> = (0..SHARDS).filter(|s| rendezvous(*s, &all) == Some(&new)).collect();
        let moved = &world.claims[claims..];
        prop_assert!(moved.iter().all(|(_, _, to)| *to == new));
        prop_assert_eq!(moved.iter().map(|(_, s, _)| *s).collect::<BTreeSet<_>>(), his);
        prop_assert_eq!(moved.len(), moved.iter().map(|(_, s, _)| *s).collect::<BTreeSet<_>>().len());
    }
}
