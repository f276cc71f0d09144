//! Budgets: never overdrawn, and what nobody spends returns.

use super::lock_histories::now_us;
use super::locks::name;
use super::network::{Fault, Network};
use super::process::Actor;
use super::{Bench, ask, raw, until};
use std::collections::BTreeMap;
use std::time::Duration;
use synod_infra::primitives::budgets::Budgets;
use synod_infra::redis::{Once, Redis, RedisConfig};
use synod_protocol::primitives::counters::{AMOUNT_LIMIT, Budget, Reservation, Reserve, SetBudget, Spend};
use synod_protocol::{Code, Error, Id};

const SOON: Duration = Duration::from_secs(30);
const LONG_MS: u64 = 60_000;
const HISTORY: &str = "test:history";

impl Bench {
    fn budgets(&self) -> Budgets {
        Budgets::new(self.redis.clone())
    }

    async fn limit(&self, limit: u64) -> Result<Budget, Error> {
        self.budgets().set(&self.workspace, &name("b"), &SetBudget { limit }, None).await
    }

    async fn reserve(&self, amount: u64, ttl_ms: u64, operation: Option<&str>) -> Result<Reservation, Error> {
        let reserve = Reserve { amount, ttl_ms, operation_id: operation.map(name) };
        self.budgets().reserve(&self.workspace, &name("b"), &reserve, None).await
    }

    async fn spend(&self, from: &Id, amount: u64) -> Result<Reservation, Error> {
        let spend = Spend { reservation: from.clone(), amount, operation_id: None };
        self.budgets().spend(&self.workspace, &name("b"), &spend, None).await
    }

    async fn give_back_rest(&self, from: &Id) -> Result<Reservation, Error> {
        self.budgets().give_back(&self.workspace, &name("b"), from, None).await
    }

    /// Limit, spent, reserved, remaining, reservations.
    async fn stands(&self) -> (u64, u64, u64, i64, u64) {
        let b = self.budgets().get(&self.workspace, &name("b")).await.unwrap();
        (b.limit, b.spent, b.reserved, b.remaining, b.reservations)
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, code: Code, value: Option<i64>) {
    let error = answer.unwrap_err();
    assert_eq!((error.code, error.value), (code, value), "{error}");
}

#[tokio::test]
async fn a_reservation_is_spent_in_parts_and_its_rest_returned() {
    let bench = Bench::start().await;
    refused(bench.reserve(1, LONG_MS, None).await, Code::NotFound, None);
    refused(bench.budgets().get(&bench.workspace, &name("b")).await, Code::NotFound, None);
    assert_eq!(bench.limit(100).await.unwrap().remaining, 100);
    let a = bench.reserve(60, LONG_MS, None).await.unwrap();
    assert_eq!((a.left, a.remaining), (60, 40));
    refused(bench.reserve(41, LONG_MS, None).await, Code::Conflict, Some(40));
    let b = bench.reserve(40, LONG_MS, None).await.unwrap();
    assert_eq!(bench.stands().await, (100, 0, 100, 0, 2));
    assert_eq!(bench.spend(&a.reservation, 25).await.unwrap().left, 35);
    refused(bench.spend(&a.reservation, 36).await, Code::Conflict, Some(35));
    assert_eq!(bench.spend(&a.reservation, 35).await.unwrap().left, 0);
    assert_eq!(bench.give_back_rest(&a.reservation).await.unwrap().remaining, 0);
    assert_eq!(bench.give_back_rest(&b.reservation).await.unwrap().remaining, 40);
    for gone in [&a.reservation, &b.reservation, &"res_none".parse().unwrap()] {
        refused(bench.give_back_rest(gone).await, Code::Fenced, None);
        refused(bench.spend(gone, 0).await, Code::Fenced, None);
    }
    assert_eq!(bench.stands().await, (100, 60, 0, 40, 0));
}

#[tokio::test]
async fn what_runs_out_returns_and_cannot_be_spent() {
    let bench = Bench::start().await;
    bench.limit(10).await.unwrap();
    let short = bench.reserve(10, 20, None).await.unwrap();
    until("it returns", SOON, async || bench.stands().await == (10, 0, 0, 10, 0)).await;
    refused(bench.spend(&short.reservation, 1).await, Code::Fenced, None);
    assert_eq!(bench.reserve(10, LONG_MS, None).await.unwrap().remaining, 0);
}

#[tokio::test]
async fn a_lowered_limit_takes_nothing_back_and_gives_nothing_out() {
    let bench = Bench::start().await;
    bench.limit(100).await.unwrap();
    let mine = bench.reserve(80, LONG_MS, None).await.unwrap();
    bench.spend(&mine.reservation, 50).await.unwrap();
    assert_eq!(bench.limit(10).await.unwrap().remaining, -70);
    refused(bench.reserve(0, LONG_MS, None).await, Code::Conflict, Some(-70));
    assert_eq!(bench.spend(&mine.reservation, 30).await.unwrap().left, 0, "what was promised is kept");
    assert_eq!(bench.limit(81).await.unwrap().remaining, 1);
    // As large as numbers go.
    bench.limit(AMOUNT_LIMIT).await.unwrap();
    let rest = bench.reserve(AMOUNT_LIMIT - 80, LONG_MS, None).await.unwrap();
    assert_eq!(rest.remaining, 0);
    refused(bench.reserve(1, LONG_MS, None).await, Code::Conflict, Some(0));
    bench.spend(&rest.reservation, AMOUNT_LIMIT - 81).await.unwrap();
    assert_eq!(bench.stands().await, (AMOUNT_LIMIT, AMOUNT_LIMIT - 1, 1, 0, 2));
    refused(bench.limit(AMOUNT_LIMIT + 1).await, Code::InvalidArgument, None);
    refused(bench.reserve(AMOUNT_LIMIT + 1, LONG_MS, None).await, Code::InvalidArgument, None);
    refused(bench.reserve(1, 9, None).await, Code::InvalidArgument, None);
    refused(bench.spend(&rest.reservation, u64::MAX).await, Code::InvalidArgument, None);
}

#[tokio::test]
async fn an_operation_reserves_and_spends_once() {
    let bench = Bench::start().await;
    bench.limit(10).await.unwrap();
    let first = bench.reserve(6, LONG_MS, Some("r")).await.unwrap();
    assert_eq!(bench.reserve(6, LONG_MS, Some("r")).await.unwrap(), first);
    refused(bench.reserve(5, LONG_MS, Some("s")).await, Code::Conflict, Some(4));
    bench.limit(100).await.unwrap();
    refused(bench.reserve(5, LONG_MS, Some("s")).await, Code::Conflict, Some(4));
    let spend = Spend { reservation: first.reservation.clone(), amount: 2, operation_id: Some(name("t")) };
    for _ in 0..3 {
        let spent = bench.budgets().spend(&bench.workspace, &name("b"), &spend, None).await.unwrap();
        assert_eq!(spent.left, 4);
    }
    let once = Once { key: "k".repeat(64), said: "s".to_owned() };
    for _ in 0..2 {
        let back =
            bench.budgets().give_back(&bench.workspace, &name("b"), &first.reservation, Some(&once)).await;
        assert_eq!(back.unwrap().left, 0);
    }
    assert_eq!(bench.stands().await, (100, 2, 0, 98, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_reservations_are_open_and_no_more() {
    let bench = Bench::start().await;
    bench.limit(AMOUNT_LIMIT).await.unwrap();
    let many = (0..10_000).map(|_| bench.reserve(1, LONG_MS, None));
    let made = futures_in_batches(many).await;
    assert_eq!(made, 10_000);
    let error = bench.reserve(1, LONG_MS, None).await.unwrap_err();
    assert_eq!((error.code, error.retry_after_ms.is_some()), (Code::Overloaded, true));
}

async fn futures_in_batches(
    all: impl Iterator<Item = impl Future<Output = Result<Reservation, Error>>>,
) -> usize {
    use futures::StreamExt as _;
    futures::stream::iter(all)
        .buffer_unordered(200)
        .filter(|made| std::future::ready(made.is_ok()))
        .count()
        .await
}

/// What each wrote down, by the wall clock: how much is spent for certain, and how much is set aside for certain (from
/// the answer until the reservation is used, returned, or may have run out). Together never more than the limit.
fn check(lines: &[String], mut limit: u64) -> Result<u64, String> {
    let mut spent = 0u64;
    let mut open: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let number = |n: usize| words[n].parse::<u64>().unwrap();
        let now = number(1);
        open.retain(|_, (_, until)| *until > now);
        match words[0] {
            "limit" => limit = number(2),
            "reserved" => drop(open.insert(words[2], (number(3), number(4)))),
            "spent" => {
                spent += number(3);
                if let Some((left, _)) = open.get_mut(words[2]) {
                    *left = left.saturating_sub(number(3));
                }
            }
            _ => drop(open.remove(words[2])),
        }
        let aside: u64 = open.values().map(|(left, _)| left).sum();
        if spent + aside > limit {
            return Err(format!("{spent} spent and {aside} set aside of {limit}"));
        }
    }
    Ok(spent)
}

const TTL_MS: u64 = 400;

/// Reserves, spends a part, returns the rest, again and again. Each line is written in the one order of Redis' list.
pub(super) async fn spend(argument: &str) {
    let words: Vec<&str> = argument.split(' ').collect();
    let config = RedisConfig { command_timeout: Duration::from_millis(200), ..RedisConfig::new(words[0]) };
    let (budgets, w) = (Budgets::new(Redis::new(config).unwrap()), words[1].parse().unwrap());
    let (mut notes, me) = (raw(words[2]).await, uuid::Uuid::new_v4().simple().to_string());
    for n in 0u64.. {
        let asked = now_us();
        let amount = asked % 40 + 1;
        let reserve = Reserve { amount, ttl_ms: TTL_MS, operation_id: Some(name(&format!("{me}-{n}"))) };
        let reserved = loop {
            match budgets.reserve(&w, &name("b"), &reserve, None).await {
                Ok(reserved) => break Some(reserved.reservation),
                Err(Error { code: Code::Conflict, .. }) => break None,
                Err(_) => {}
            }
        };
        let Some(id) = reserved else { continue };
        let until = asked + TTL_MS * 1_000;
        let note = format!("reserved {} {id} {amount} {until}", now_us());
        ask::<u64>(&mut notes, &["RPUSH", HISTORY, &note]).await;
        let part = amount / 3;
        let spend =
            Spend { reservation: id.clone(), amount: part, operation_id: Some(name(&format!("{me}-{n}-s"))) };
        let spent = loop {
            match budgets.spend(&w, &name("b"), &spend, None).await {
                Ok(_) => break true,
                Err(Error { code: Code::Fenced, .. }) => break false,
                Err(_) => {}
            }
        };
        if spent {
            ask::<u64>(&mut notes, &["RPUSH", HISTORY, &format!("spent {} {id} {part}", now_us())]).await;
        }
        ask::<u64>(&mut notes, &["RPUSH", HISTORY, &format!("returning {} {id}", now_us())]).await;
        let _ = budgets.give_back(&w, &name("b"), &id, None).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_never_overdrawn_whoever_is_killed_stopped_or_cut_off() {
    const LIMIT: u64 = 100;
    let bench = Bench::start().await;
    let network = Network::to(bench.server.port()).await;
    let direct = bench.server.url();
    let mut limit = LIMIT;
    bench.limit(limit).await.unwrap();
    let worker = |url: &str| Actor::start("spend", &format!("{url} {} {direct}", bench.workspace));
    let mut workers = vec![worker(&direct), worker(&direct), worker(&direct), worker(&network.url)];
    let mut notes = bench.raw().await;
    let mut seen = 0u64;
    for round in 0..16usize {
        let more = seen + 30;
        until("it goes on", SOON, async || {
            seen = ask::<u64>(&mut notes, &["LLEN", HISTORY]).await;
            let stands = bench.stands().await;
            assert!(stands.1 + stands.2 <= stands.0, "{stands:?}");
            // What is spent is topped up, so that little is left at any time and they go on.
            if stands.1 + LIMIT / 2 > stands.0 {
                limit += LIMIT / 2;
                let note = format!("limit {} {limit}", now_us());
                ask::<u64>(&mut notes, &["RPUSH", HISTORY, &note]).await;
                bench.limit(limit).await.unwrap();
            }
            seen >= more
        })
        .await;
        match round % 4 {
            0 => {
                workers[round % 3].kill();
                workers[round % 3] = worker(&direct);
            }
            1 => workers[round % 3].signal("-STOP"),
            2 => network.order(Fault::Silence),
            _ => workers.iter().for_each(|worker| worker.signal("-CONT")),
        }
    }
    drop(workers);
    let lines: Vec<String> = ask(&mut notes, &["LRANGE", HISTORY, "0", "-1"]).await;
    let certain = check(&lines, LIMIT).unwrap();
    until("the reservations of the dead return", SOON, async || bench.stands().await.2 == 0).await;
    let spent = bench.stands().await.1;
    // Who died between spending and saying so: at most 13 each, one at a time.
    assert!(certain <= spent && spent <= limit && spent - certain <= 13 * 8, "{certain} of {spent}");
}

/// The check sees what a budget without its guard does: look, then set aside, in two steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_catches_a_budget_that_looks_before_it_sets_aside() {
    let bench = Bench::start().await;
    let mut workers = Vec::new();
    for worker in 0..5 {
        let mut raw = bench.raw().await;
        workers.push(tokio::spawn(async move {
            for n in 0..60 {
                let reserved = ask::<Option<u64>>(&mut raw, &["GET", "planted"]).await.unwrap_or(0);
                if reserved + 50 > 100 {
                    tokio::task::yield_now().await;
                    continue;
                }
                ask::<i64>(&mut raw, &["INCRBY", "planted", "50"]).await;
                let until = now_us() + 60_000_000;
                let note = format!("reserved {} {worker}-{n} 50 {until}", now_us());
                ask::<u64>(&mut raw, &["RPUSH", HISTORY, &note]).await;
                let note = format!("returning {} {worker}-{n}", now_us());
                ask::<u64>(&mut raw, &["RPUSH", HISTORY, &note]).await;
                ask::<i64>(&mut raw, &["DECRBY", "planted", "50"]).await;
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let lines: Vec<String> = ask(&mut bench.raw().await, &["LRANGE", HISTORY, "0", "-1"]).await;
    assert!(check(&lines, 100).is_err());
}
