//! A failover under load, by itself and by hand. Redis replicates asynchronously, so writes that were acknowledged last may
//! be lost: they must be one block of neighbours, told exactly, and nothing else may be lost or seen twice.

use super::SECOND;
use super::locks::name;
use super::sentinel::Guarded;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use synod_infra::primitives::budgets::Budgets;
use synod_infra::primitives::counters::Counters;
use synod_infra::primitives::leases::{Ask, Held, Locks};
use synod_infra::primitives::queues::Queues;
use synod_infra::primitives::state::{State, Writer};
use synod_infra::redis::Redis;
use synod_protocol::primitives::counters::{Add, Reserve, SetBudget, Spend};
use synod_protocol::primitives::queue::{LeaseRequest, NewMessage};
use synod_protocol::primitives::state::{Condition, Put};
use synod_protocol::{Json, Name, Workspace};

/// What was acknowledged, in the order in which one client was told.
#[derive(Default)]
struct Told {
    /// Keys that were written, under which version.
    written: Vec<(Name, u64)>,
    /// Values that a counter had after each addition; `None` where no answer came.
    counted: Vec<Option<i64>>,
    /// What a budget had left after each unit that was reserved and spent of it.
    left: Vec<i64>,
    /// When a lock was asked for and given, and under which token.
    granted: Vec<(Instant, Instant, u64)>,
    /// Messages that were put in.
    enqueued: Vec<String>,
    /// Messages that were settled.
    settled: Vec<String>,
}

/// Clients at work until they are told to stop.
struct Load {
    redis: Redis,
    workspace: Workspace,
    stop: AtomicBool,
    done: AtomicU64,
}

impl Load {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Acquire)
    }

    fn did(&self) {
        self.done.fetch_add(1, Ordering::AcqRel);
    }

    async fn write(self: Arc<Self>, client: usize) -> Told {
        let state = State::new(self.redis.clone());
        let (writer, mut told) = (Writer::new(self.workspace.clone(), format!("c{client}")), Told::default());
        for n in 0.. {
            if !self.goes_on() {
                break;
            }
            let key = name(&format!("k{client}/{n}"));
            let value = Json::parse(&n.to_string()).unwrap();
            let put = Put::of(value).checked().unwrap();
            if let Ok(written) = state.put(&writer, &key, put, Condition::None).await {
                told.written.push((key, written.entry.version));
                self.did();
            }
        }
        told
    }

    async fn count(self: Arc<Self>) -> Told {
        let (counters, mut told) = (Counters::new(self.redis.clone()), Told::default());
        let add = Add { add: 1, floor: None, ceiling: None, operation_id: None };
        while self.goes_on() {
            let answer = counters.add(&self.workspace, &name("counter"), &add, None).await;
            told.counted.push(answer.ok().map(|counter| counter.value));
            self.did();
        }
        told
    }

    async fn spend(self: Arc<Self>) -> Told {
        let (budgets, mut told) = (Budgets::new(self.redis.clone()), Told::default());
        let budget = name("budget");
        while self.goes_on() {
            let reserve = Reserve { amount: 1, ttl_ms: 60_000, operation_id: None };
            let Ok(reserved) = budgets.reserve(&self.workspace, &budget, &reserve, None).await else {
                continue;
            };
            let spend = Spend { reservation: reserved.reservation, amount: 1, operation_id: None };
            if let Ok(spent) = budgets.spend(&self.workspace, &budget, &spend, None).await {
                told.left.push(spent.remaining);
                self.did();
            }
        }
        told
    }

    async fn lock(self: Arc<Self>, owner: &'static str) -> Told {
        let (locks, mut told) = (Locks::new(self.redis.clone()), Told::default());
        let ask = Ask { owner: name(owner), ttl_ms: 200, wait: Duration::from_millis(500), watched: false };
        while self.goes_on() {
            let asked = Instant::now();
            let Ok(grant) = locks.acquire(&self.workspace, &name("lock"), &ask, None).await else { continue };
            told.granted.push((asked, Instant::now(), grant.lease.token));
            let lock = name("lock");
            let held = Held { name: &lock, owner: &ask.owner, token: grant.lease.token };
            // Refused where the failover has taken it: that is what a token is for.
            let _ = locks.release(&self.workspace, held, None).await;
            self.did();
        }
        told
    }

    async fn enqueue(self: Arc<Self>) -> Told {
        let (queues, mut told) = (Queues::new(self.redis.clone()), Told::default());
        for n in 0.. {
            if !self.goes_on() {
                break;
            }
            let id = format!("m{n:06}");
            let message = serde_json::json!({"payload": n, "message_id": id});
            let message: NewMessage = serde_json::from_value(message).unwrap();
            if queues.enqueue(&self.workspace, &name("queue"), &[message], None).await.is_ok() {
                told.enqueued.push(id);
                self.did();
            }
        }
        told
    }

    /// Settles what comes, and at the end what is left.
    async fn settle(self: Arc<Self>) -> Told {
        let (queues, mut told) = (Queues::new(self.redis.clone()), Told::default());
        let ask = serde_json::json!({"consumer": "c", "visibility_ms": 300, "limit": 10, "wait_ms": 500});
        let ask: LeaseRequest = serde_json::from_value(ask).unwrap();
        loop {
            let stopped = !self.goes_on();
            let leased = queues.lease(&self.workspace, &name("queue"), &ask, None).await;
            let Ok(leased) = leased else { continue };
            if leased.is_empty() && stopped {
                return told;
            }
            for message in leased {
                let id = name(&message.message_id);
                let acked = queues.ack(&self.workspace, &name("queue"), &id, &message.receipt, None).await;
                if acked.is_ok() {
                    told.settled.push(message.message_id);
                }
            }
        }
    }
}

/// Plays a failover under load, then says what was lost.
async fn play(fail_over: impl AsyncFnOnce(&mut Guarded)) -> String {
    let mut guarded = Guarded::start().await;
    let load = Arc::new(Load {
        redis: guarded.redis(),
        workspace: "w-1".parse().unwrap(),
        stop: AtomicBool::new(false),
        done: AtomicU64::new(0),
    });
    State::new(load.redis.clone()).open_all().await.unwrap();
    let budgets = Budgets::new(load.redis.clone());
    budgets.set(&load.workspace, &name("budget"), &SetBudget { limit: 1_000_000 }, None).await.unwrap();
    let mut clients = tokio::task::JoinSet::new();
    for client in 0..3 {
        clients.spawn(load.clone().write(client));
    }
    clients.spawn(load.clone().count());
    clients.spawn(load.clone().spend());
    clients.spawn(load.clone().lock("a"));
    clients.spawn(load.clone().lock("b"));
    clients.spawn(load.clone().enqueue());
    clients.spawn(load.clone().settle());
    at_work(&load, 500).await;
    fail_over(&mut guarded).await;
    at_work(&load, 500).await;
    load.stop.store(true, Ordering::Release);
    let mut all = Vec::new();
    while let Some(told) = clients.join_next().await {
        all.push(told.unwrap());
    }
    let lost_writes = writes(&load, &all).await;
    let (lost_counts, lost_units) = (counts(&all), units(&all));
    tokens(&all);
    let (lost_messages, twice) = messages(&all);
    format!(
        "lost {lost_writes} writes, {lost_counts} additions, {lost_units} units spent, {lost_messages} messages; {twice} settled twice"
    )
}

/// Waits until so much more is done.
async fn at_work(load: &Load, more: u64) {
    let from = load.done.load(Ordering::Acquire);
    super::until("the load goes on", 60 * SECOND, async || load.done.load(Ordering::Acquire) >= from + more)
        .await;
}

/// What was written under a version has it still, or is lost; what is lost are neighbours.
async fn writes(load: &Load, all: &[Told]) -> usize {
    let state = State::new(load.redis.clone());
    let mut by_version = BTreeMap::new();
    for (key, version) in all.iter().flat_map(|told| &told.written) {
        let found = state.get(&load.workspace, key).await.unwrap();
        let is_there = found.is_some_and(|entry| {
            assert_eq!(entry.version, *version, "{key} was acknowledged under another version");
            true
        });
        by_version.insert((*version, key.clone()), is_there);
    }
    neighbours("writes", by_version.values().copied())
}

/// Of what was acknowledged in this order, `true` is still there: what is not must be one block.
fn neighbours(what: &str, is_there: impl Iterator<Item = bool>) -> usize {
    let all: Vec<bool> = is_there.collect();
    let lost: Vec<usize> = (0..all.len()).filter(|n| !all[*n]).collect();
    if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
        assert_eq!(
            last - first + 1,
            lost.len(),
            "{what} {lost:?} of {} are lost, with others between",
            all.len()
        );
    }
    lost.len()
}

/// A counter goes back once at most: by what was lost.
fn counts(all: &[Told]) -> i64 {
    let counted: Vec<i64> = all.iter().flat_map(|told| &told.counted).flatten().copied().collect();
    let back: Vec<i64> =
        counted.windows(2).filter(|pair| pair[1] <= pair[0]).map(|pair| pair[0] + 1 - pair[1]).collect();
    assert!(back.len() <= 1, "the counter went back {} times: {back:?}", back.len());
    back.first().copied().unwrap_or(0)
}

/// A budget has more again once at most: what was lost with the spending of it. Otherwise each unit is counted once.
fn units(all: &[Told]) -> i64 {
    let left: Vec<i64> = all.iter().flat_map(|told| &told.left).copied().collect();
    let more: Vec<i64> =
        left.windows(2).filter(|pair| pair[1] >= pair[0]).map(|pair| pair[1] - pair[0]).collect();
    assert!(more.len() <= 1, "the budget had more again {} times: {more:?}", more.len());
    more.first().map_or(0, |more| more + 1)
}

/// Whoever was given the lock after another was has the greater token, on whichever server.
fn tokens(all: &[Told]) {
    let grants: Vec<_> = all.iter().flat_map(|told| &told.granted).collect();
    let tokens: BTreeSet<u64> = grants.iter().map(|(_, _, token)| *token).collect();
    assert_eq!(tokens.len(), grants.len(), "a token was given twice");
    for (asked, _, token) in &grants {
        let before = grants.iter().filter(|(_, given, _)| given < asked).map(|(_, _, token)| *token).max();
        assert!(before.is_none_or(|before| before < *token), "{token} was given after {before:?}");
    }
}

/// What was put in is settled, or lost; what was settled twice had been settled just before the failover.
fn messages(all: &[Told]) -> (usize, usize) {
    let settled: Vec<&String> = all.iter().flat_map(|told| &told.settled).collect();
    let done: BTreeSet<&String> = settled.iter().copied().collect();
    let enqueued = all.iter().flat_map(|told| &told.enqueued);
    let lost = neighbours("messages", enqueued.map(|id| done.contains(id)));
    // The first settling of what was settled again is what was lost.
    let mut seen = BTreeSet::new();
    let mut again: BTreeSet<&String> = settled.iter().filter(|id| !seen.insert(**id)).copied().collect();
    let twice = again.len();
    let kept: Vec<bool> = settled.iter().map(|id| !again.remove(*id)).collect();
    let lost_settlings = neighbours("settlings", kept.into_iter());
    assert_eq!(lost_settlings, twice, "no message is settled three times");
    (lost, twice)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_with_a_killed_master_is_told_exactly() {
    let lost = play(async |guarded: &mut Guarded| guarded.kill_master()).await;
    println!("the master was killed: {lost}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_lost_in_a_failover_by_hand_is_told_exactly() {
    let lost = play(async |guarded: &mut Guarded| guarded.fail_over().await).await;
    println!("by hand: {lost}");
}
