//! Counters: exact, within bounds, each operation once, linearizable. Rate limits: never more than the bucket has.

use super::lock_histories::now_us;
use super::locks::name;
use super::network::{Fault, Network};
use super::process::Actor;
use super::{Bench, ask, raw, until};
use proptest::prelude::{Strategy, any, prop};
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;
use synod_infra::primitives::counters::Counters;
use synod_infra::primitives::limits::RateLimits;
use synod_infra::redis::{Once, Redis, RedisConfig};
use synod_protocol::primitives::counters::{Add, Take};
use synod_protocol::{Applied, Code, Error};

const SOON: Duration = Duration::from_secs(30);

fn plus(add: i64) -> Add {
    Add { add, floor: None, ceiling: None, operation_id: None }
}

impl Bench {
    fn counters(&self) -> Counters {
        Counters::new(self.redis.clone())
    }

    async fn add(&self, counter: &str, add: &Add) -> Result<i64, Error> {
        self.counters().add(&self.workspace, &name(counter), add, None).await.map(|counter| counter.value)
    }

    async fn value(&self, counter: &str) -> i64 {
        self.counters().get(&self.workspace, &name(counter)).await.unwrap().value
    }
}

/// A bound as a number, or as how far it is from what an addition would make.
#[derive(Clone, Copy, Debug)]
enum Bound {
    At(i64),
    Beside(i128),
}

/// Against arithmetic that has room: any sequence of additions within any bounds, at the ends of i64 too.
#[tokio::test]
async fn bounds_are_exact_over_the_whole_of_i64() {
    let bench = Bench::start().await;
    let edges = prop::sample::select(vec![
        0,
        1,
        -1,
        9,
        10,
        -10,
        (1 << 53) - 1,
        1 << 53,
        (1 << 53) + 1,
        -(1 << 53) - 1,
        i64::MAX,
        i64::MAX - 1,
        i64::MIN,
        i64::MIN + 1,
    ]);
    let number = proptest::prop_oneof![edges, any::<i64>(), -200i64..200];
    // Anywhere, or right beside what the addition would make: there a number that is rounded shows.
    let bound = proptest::prop_oneof![
        proptest::strategy::Just(None),
        number.clone().prop_map(|n| Some(Bound::At(n))),
        (-2i128..=2).prop_map(|n| Some(Bound::Beside(n)))
    ];
    let steps = prop::collection::vec((number, bound.clone(), bound), 1..12);
    let mut runner = TestRunner::deterministic();
    for case in 0..300 {
        let (counter, mut value) = (format!("c{case}"), 0i128);
        for (add, floor, ceiling) in steps.new_tree(&mut runner).unwrap().current() {
            let wanted = value + i128::from(add);
            let at = |bound: Option<Bound>| match bound? {
                Bound::At(n) => Some(n),
                Bound::Beside(n) => i64::try_from(wanted + n).ok(),
            };
            let (floor, ceiling) = (at(floor), at(ceiling));
            let outside =
                floor.is_some_and(|f| wanted < f.into()) || ceiling.is_some_and(|c| wanted > c.into());
            let answer = bench.add(&counter, &Add { floor, ceiling, ..plus(add) }).await;
            let said = format!("{value} + {add} within {floor:?} {ceiling:?}: {answer:?}");
            if i64::try_from(wanted).is_err() {
                assert_eq!(answer.unwrap_err().code, Code::InvalidArgument, "{said}");
            } else if outside {
                let error = answer.unwrap_err();
                assert_eq!(
                    (error.code, error.value.map(i128::from)),
                    (Code::Conflict, Some(value)),
                    "{said}"
                );
            } else {
                assert_eq!(answer.map(i128::from), Ok(wanted), "{said}");
                value = wanted;
            }
            assert_eq!(i128::from(bench.value(&counter).await), value, "{said}");
        }
    }
}

#[tokio::test]
async fn an_operation_is_done_once_and_refused_once() {
    let bench = Bench::start().await;
    let op =
        |id: &str, add: i64, ceiling: Option<i64>| Add { operation_id: Some(name(id)), ceiling, ..plus(add) };
    assert_eq!(bench.value("c").await, 0);
    for _ in 0..3 {
        assert_eq!(bench.add("c", &op("{x} y/é", 5, None)).await, Ok(5));
    }
    assert_eq!(bench.add("c", &op("z", 5, Some(9))).await.unwrap_err().value, Some(5));
    assert_eq!(bench.add("c", &plus(-5)).await, Ok(0));
    // It would fit by now; and it says what it said.
    assert_eq!(bench.add("c", &op("z", 5, Some(9))).await.unwrap_err().value, Some(5));
    assert_eq!(bench.add("c", &op("{x} y/é", 5, None)).await, Ok(5));
    assert_eq!(bench.value("c").await, 0);
    assert_eq!(bench.add("max", &op("o", i64::MAX, None)).await, Ok(i64::MAX));
    for _ in 0..2 {
        assert_eq!(bench.add("max", &op("p", 1, None)).await.unwrap_err().code, Code::InvalidArgument);
    }
    bench.counters().remove(&bench.workspace, &name("c")).await.unwrap();
    assert_eq!(bench.add("c", &op("{x} y/é", 0, None)).await, Ok(0), "forgotten with its operations");
    let once = Once { key: "k".repeat(64), said: "s".to_owned() };
    for _ in 0..2 {
        let added = bench.counters().add(&bench.workspace, &name("c"), &plus(7), Some(&once)).await;
        assert_eq!(added.unwrap().value, 7);
    }
}

/// None is forgotten before its time: rather a new one is refused. Those that are over make room.
#[tokio::test]
async fn so_many_operations_are_remembered() {
    let bench = Bench::start().await;
    let counters = bench.counters().remembering(3);
    let (w, c, mut raw) = (&bench.workspace, name("c"), bench.raw().await);
    let op = |id: &str| Add { operation_id: Some(name(id)), ..plus(1) };
    for id in ["a", "b", "c"] {
        counters.add(w, &c, &op(id), None).await.unwrap();
    }
    let error = counters.add(w, &c, &op("d"), None).await.unwrap_err();
    assert_eq!((error.code, error.retry_after_ms.is_some()), (Code::Overloaded, true));
    assert_eq!(counters.add(w, &c, &op("a"), None).await.unwrap().value, 1, "an old one is answered");
    assert_eq!(counters.add(w, &c, &plus(1), None).await.unwrap().value, 4, "without an id it goes on");
    let key = format!("{}:operations", synod_infra::primitives::keys::counter(w, &c));
    // A day later.
    ask::<u64>(&mut raw, &["HSET", &key, "a", "1 value 1"]).await;
    ask::<()>(&mut raw, &["LSET", &format!("{key}:order"), "0", "1 a"]).await;
    assert_eq!(counters.add(w, &c, &op("d"), None).await.unwrap().value, 5);
    assert_eq!(ask::<u64>(&mut raw, &["HLEN", &key]).await, 3);
}

/// What a client asked and heard; the place in the list is the time.
#[derive(Clone, Debug)]
struct Asked {
    from: usize,
    /// `None`: no answer came.
    to: Option<usize>,
    add: i64,
    ceiling: i64,
    /// The value after it, or (refused) the one that stood.
    heard: Option<Result<i64, i64>>,
}

/// `ask <client> <add> <ceiling>`, then `ok <client> <value>` or `no <client> <value>`, if an answer came.
fn read(lines: &[String]) -> Vec<Vec<Asked>> {
    let mut clients: BTreeMap<String, Vec<Asked>> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate() {
        let words: Vec<&str> = line.split(' ').collect();
        let (client, number) =
            (clients.entry(words[1].to_owned()).or_default(), |n: usize| words[n].parse().unwrap());
        match words[0] {
            "ask" => {
                client.push(Asked { from: at, to: None, add: number(2), ceiling: number(3), heard: None });
            }
            heard => {
                let last = client.last_mut().unwrap();
                last.to = Some(at);
                last.heard = Some(if heard == "ok" { Ok(number(2)) } else { Err(number(2)) });
            }
        }
    }
    clients.into_values().collect()
}

/// Whether there is an order, true to time, in which a single counter would have answered so, and ended at `value`.
fn is_linearizable(clients: &[Vec<Asked>], value: i64) -> bool {
    let mut seen = HashSet::new();
    let mut open = vec![(vec![0usize; clients.len()], 0i64)];
    while let Some((done, now)) = open.pop() {
        if !seen.insert((done.clone(), now)) {
            continue;
        }
        let next = |client: usize| clients[client].get(done[client]);
        if now == value && (0..clients.len()).all(|c| next(c).is_none_or(|asked| asked.heard.is_none())) {
            return true;
        }
        let first_end = (0..clients.len()).filter_map(|c| next(c)?.to).min().unwrap_or(usize::MAX);
        for client in 0..clients.len() {
            let Some(asked) = next(client).filter(|asked| asked.from < first_end) else { continue };
            let after = now + asked.add;
            let would: Result<i64, i64> = if after > asked.ceiling { Err(now) } else { Ok(after) };
            let mut further = done.clone();
            further[client] += 1;
            if asked.heard.is_none() {
                // Not done, or done unheard.
                open.push((further.clone(), now));
            }
            if asked.heard.is_none_or(|heard| heard == would) {
                open.push((further, would.unwrap_or(now)));
            }
        }
    }
    false
}

const HISTORY: &str = "test:history";

/// Adds again and again, and repeats under the same operation id until it hears an answer.
pub(super) async fn count(argument: &str) {
    let words: Vec<&str> = argument.split(' ').collect();
    let config = RedisConfig { command_timeout: Duration::from_millis(200), ..RedisConfig::new(words[0]) };
    let (counters, workspace) = (Counters::new(Redis::new(config).unwrap()), words[1].parse().unwrap());
    let (mut notes, me) = (raw(words[2]).await, uuid::Uuid::new_v4().simple().to_string());
    for n in 0u64.. {
        let draw = now_us() + n;
        let (add, ceiling) = (i64::try_from(draw % 9).unwrap() - 4, i64::try_from(draw % 17).unwrap());
        ask::<u64>(&mut notes, &["RPUSH", HISTORY, &format!("ask {me} {add} {ceiling}")]).await;
        let asked =
            Add { ceiling: Some(ceiling), operation_id: Some(name(&format!("{me}-{n}"))), ..plus(add) };
        let heard = loop {
            match counters.add(&workspace, &name("c"), &asked, None).await {
                Ok(counter) => break format!("ok {me} {}", counter.value),
                Err(Error { code: Code::Conflict, value: Some(value), .. }) => {
                    break format!("no {me} {value}");
                }
                Err(_) => {}
            }
        };
        ask::<u64>(&mut notes, &["RPUSH", HISTORY, &heard]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn additions_are_linearizable_whoever_is_killed_stopped_or_cut_off() {
    let bench = Bench::start().await;
    let network = Network::to(bench.server.port()).await;
    let direct = bench.server.url();
    let worker = |url: &str| Actor::start("count", &format!("{url} {} {direct}", bench.workspace));
    let mut workers = vec![worker(&direct), worker(&direct), worker(&network.url)];
    let mut notes = bench.raw().await;
    let mut seen = 0u64;
    for round in 0..12usize {
        let more = seen + 40;
        until("it goes on", SOON, async || {
            seen = ask::<u64>(&mut notes, &["LLEN", HISTORY]).await;
            seen >= more
        })
        .await;
        match round % 4 {
            0 => {
                workers[round % 2].kill();
                workers[round % 2] = worker(&direct);
            }
            1 => workers[round % 2].signal("-STOP"),
            2 => network.order(Fault::Silence),
            _ => workers.iter().for_each(|worker| worker.signal("-CONT")),
        }
    }
    drop(workers);
    let lines: Vec<String> = ask(&mut notes, &["LRANGE", HISTORY, "0", "-1"]).await;
    let (clients, value) = (read(&lines), bench.value("c").await);
    assert!(is_linearizable(&clients, value), "{value} after {lines:?}");
    // One answer that is another is enough.
    let mut bent = clients.clone();
    let asked = bent.iter_mut().flatten().filter(|asked| matches!(asked.heard, Some(Ok(_)))).nth(20).unwrap();
    asked.heard = asked.heard.map(|heard| heard.map(|value| value + 1));
    assert!(!is_linearizable(&bent, value));
    assert!(!is_linearizable(&clients, value + 1_000));
}

/// The check sees what a counter without its guard does: look, then write, in two steps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_check_catches_a_counter_that_looks_before_it_writes() {
    let bench = Bench::start().await;
    let mut workers = Vec::new();
    for client in 0..4 {
        let mut raw = bench.raw().await;
        workers.push(tokio::spawn(async move {
            for _ in 0..40 {
                ask::<u64>(&mut raw, &["RPUSH", HISTORY, &format!("ask {client} 1 1000")]).await;
                let after = ask::<Option<i64>>(&mut raw, &["GET", "planted"]).await.unwrap_or(0) + 1;
                ask::<()>(&mut raw, &["SET", "planted", &after.to_string()]).await;
                ask::<u64>(&mut raw, &["RPUSH", HISTORY, &format!("ok {client} {after}")]).await;
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let mut raw = bench.raw().await;
    let lines: Vec<String> = ask(&mut raw, &["LRANGE", HISTORY, "0", "-1"]).await;
    let value: i64 = ask(&mut raw, &["GET", "planted"]).await;
    assert!(!is_linearizable(&read(&lines), value));
}

/// Whatever is asked, by many at once: within any stretch no more is taken than the burst and what came in since.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_never_gives_more_than_it_has() {
    let bench = Bench::start().await;
    let (rate_per_s, burst) = (700.5, 40);
    let mut workers = Vec::new();
    for worker in 0..4u64 {
        let (limits, w) = (RateLimits::new(bench.redis.clone()), bench.workspace.clone());
        workers.push(tokio::spawn(async move {
            let mut taken = Vec::new();
            for n in 0..300u64 {
                let take = Take { take: (worker + n) % 5, rate_per_s, burst };
                let before = now_us();
                let answer = limits.take(&w, &name("l"), &take, None).await.unwrap();
                assert_eq!(answer.allowed, answer.retry_after_ms == 0, "{answer:?}");
                if answer.allowed {
                    taken.push((before, now_us(), take.take));
                }
            }
            taken
        }));
    }
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.await.unwrap());
    }
    all.sort_unstable();
    let total: u64 = all.iter().map(|(.., n)| n).sum();
    assert!(total > burst, "it is refilled: {total}");
    for (i, (from, ..)) in all.iter().enumerate() {
        let (mut sum, mut last) = (0, *from);
        for (_, to, n) in &all[i..] {
            (sum, last) = (sum + n, last.max(*to));
            let may = burst as f64 + rate_per_s * (last - from) as f64 / 1e6;
            assert!(sum as f64 <= may + 1e-6, "{sum} within {} µs, {may} at most", last - from);
        }
    }
}

#[tokio::test]
async fn a_bucket_is_full_at_first_and_says_when_to_come_again() {
    let bench = Bench::start().await;
    let limits = RateLimits::new(bench.redis.clone());
    let take = async |limit: &str, take: u64, rate_per_s: f64, burst: u64| {
        limits.take(&bench.workspace, &name(limit), &Take { take, rate_per_s, burst }, None).await.unwrap()
    };
    let first = take("l", 10, 0.001, 10).await;
    assert_eq!((first.allowed, first.remaining), (true, 0));
    let second = take("l", 1, 0.001, 10).await;
    assert!(!second.allowed && (990_000..=1_000_000).contains(&second.retry_after_ms), "{second:?}");
    // The call's own numbers count: a greater burst gives nothing at once, a greater rate does from now on.
    assert!(!take("l", 5, 0.001, 1_000).await.allowed);
    until("it is refilled at the new rate", SOON, async || {
        take("l", 1_000, 1_000_000.0, 1_000).await.allowed
    })
    .await;
    // A smaller burst caps what is there.
    take("m", 0, 0.001, 100).await;
    assert_eq!(take("m", 0, 0.001, 7).await.remaining, 7);
    // The largest numbers there are.
    let large = take("n", 1_000_000, 1_000_000.0, 1_000_000).await;
    assert_eq!((large.allowed, large.remaining), (true, 0));
    // Two different limits, and a bucket that is full again leaves nothing behind.
    take("o", 1, 1_000.0, 1).await;
    let key = synod_infra::primitives::keys::limit(&bench.workspace, &name("o"));
    let mut raw = bench.raw().await;
    until("it is forgotten", SOON, async || !ask::<bool>(&mut raw, &["EXISTS", &key]).await).await;
}

#[tokio::test]
async fn a_plain_addition_says_whether_it_was_done() {
    let redis = Redis::new(RedisConfig::new("redis://127.0.0.1:1")).unwrap();
    let w = synod_protocol::Workspace::default_name();
    let error = Counters::new(redis).add(&w, &name("c"), &plus(1), None).await.unwrap_err();
    assert_eq!((error.code, error.applied), (Code::Unavailable, Some(Applied::No)));
}
