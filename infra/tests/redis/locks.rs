//! Locks: one holder, first come first served, fenced by tokens.

use super::process::Actor;
use super::{Bench, SECOND, ask, until};
use std::time::Duration;
use synod_infra::primitives::keys;
use synod_infra::primitives::leases::{Ask, Grant, Held, Locks, Told};
use synod_infra::redis::{Once, Redis, RedisConfig};
use synod_protocol::primitives::locks::Lease;
use synod_protocol::{Code, Error, Name, Workspace};
use tokio::task::JoinHandle;

pub(super) const LONG_MS: u64 = 60_000;
pub(super) const SOON: Duration = Duration::from_secs(20);

pub(super) fn by(owner: &str, ttl_ms: u64, wait: Duration) -> Ask {
    Ask { owner: owner.parse().unwrap(), ttl_ms, wait, watched: false }
}

pub(super) fn name(text: &str) -> Name {
    text.parse().unwrap()
}

impl Bench {
    pub(super) fn locks(&self) -> Locks {
        Locks::new(self.redis.clone())
    }

    pub(super) async fn take(&self, lock: &str, owner: &str, ttl_ms: u64) -> Result<Lease, Error> {
        self.acquire(lock, &by(owner, ttl_ms, Duration::ZERO)).await.map(|grant| grant.lease)
    }

    async fn acquire(&self, lock: &str, asks: &Ask) -> Result<Grant, Error> {
        self.locks().acquire(&self.workspace, &name(lock), asks, None).await
    }

    /// Stands in line, behind those who do already.
    async fn line_up(&self, lock: &str, owner: &str, ttl_ms: u64) -> JoinHandle<Result<Grant, Error>> {
        let before = self.waiters(lock).await;
        let (locks, workspace, lock) = (self.locks(), self.workspace.clone(), lock.to_owned());
        let (ask, named) = (by(owner, ttl_ms, SOON), name(&lock));
        let waits = tokio::spawn(async move { locks.acquire(&workspace, &named, &ask, None).await });
        until("one more waits", SOON, async || self.waiters(&lock).await == before + 1).await;
        waits
    }

    async fn waiters(&self, lock: &str) -> u64 {
        self.locks().get(&self.workspace, &name(lock)).await.map_or(0, |held| held.waiters)
    }

    pub(super) async fn give_back(&self, lease: &Lease) -> Result<(), Error> {
        self.locks().release(&self.workspace, Held::from(lease), None).await
    }

    async fn is_free(&self, lock: &str) -> bool {
        self.locks().get(&self.workspace, &name(lock)).await.is_err_and(|error| error.code == Code::NotFound)
    }
}

fn refused<T: std::fmt::Debug>(answer: Result<T, Error>, code: Code) -> Error {
    let error = answer.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    error
}

#[tokio::test]
async fn one_holds_it_and_only_that_one_renews_and_releases() {
    let bench = Bench::start().await;
    let (a, locks, w) = (bench.take("l", "a", LONG_MS).await.unwrap(), bench.locks(), &bench.workspace);
    let error = refused(bench.take("l", "b", LONG_MS).await, Code::Conflict);
    assert_eq!((error.holder.as_deref(), error.expires_at), (Some("a"), Some(a.expires_at)));
    refused(bench.take("l", "a", LONG_MS).await, Code::Conflict);
    let stranger = Lease { owner: name("b"), ..a.clone() };
    let stale = Lease { token: a.token - 1, ..a.clone() };
    for other in [&stranger, &stale] {
        refused(bench.give_back(other).await, Code::Fenced);
        refused(locks.renew(w, Held::from(other), LONG_MS, None).await, Code::Fenced);
    }
    let (renewed, _) = locks.renew(w, Held::from(&a), 2 * LONG_MS, None).await.unwrap();
    assert!(renewed.expires_at > a.expires_at && renewed.token == a.token);
    bench.give_back(&a).await.unwrap();
    refused(bench.give_back(&a).await, Code::Fenced);
    refused(locks.renew(w, Held::from(&a), LONG_MS, None).await, Code::Fenced);
    let b = bench.take("l", "b", LONG_MS).await.unwrap();
    assert!(b.token > a.token, "{b:?} after {a:?}");
    // Another workspace, another lock.
    let other: Workspace = "w-2".parse().unwrap();
    locks.acquire(&other, &name("l"), &by("c", LONG_MS, Duration::ZERO), None).await.unwrap();
}

/// What shared state checks as a precondition.
#[tokio::test]
async fn the_record_says_owner_token_and_until() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let key = keys::lock(&bench.workspace, &name("a}b"));
    let lease = bench.take("a}b", "me", LONG_MS).await.unwrap();
    let fields: Vec<String> = ask(&mut raw, &["HMGET", &key, "owner", "token", "until"]).await;
    let until_ms = lease.expires_at.as_millis().to_string();
    assert_eq!(fields, ["me".to_owned(), lease.token.to_string(), until_ms]);
    bench.give_back(&lease).await.unwrap();
    let fields: Vec<String> = ask(&mut raw, &["HMGET", &key, "token", "until"]).await;
    assert_eq!(fields, [lease.token.to_string(), "0".to_owned()]);
    // A clock that was set back gives no token twice.
    let later = (lease.token + 3_600_000_000).to_string();
    ask::<()>(&mut raw, &["HSET", &key, "token", &later]).await;
    assert_eq!(bench.take("a}b", "me", LONG_MS).await.unwrap().token, lease.token + 3_600_000_001);
}

#[tokio::test]
async fn a_lease_that_runs_out_is_the_next_ones_and_the_late_holder_is_fenced() {
    let bench = Bench::start().await;
    let late = bench.take("l", "late", 30).await.unwrap();
    let next = bench.acquire("l", &by("next", LONG_MS, SOON)).await.unwrap().lease;
    assert!(next.token > late.token);
    refused(bench.give_back(&late).await, Code::Fenced);
    refused(bench.locks().renew(&bench.workspace, Held::from(&late), LONG_MS, None).await, Code::Fenced);
}

/// Redis comes back empty: what was held is lost, its holder learns so, and no token comes twice.
#[tokio::test]
async fn what_redis_has_lost_is_known_to_be_lost() {
    let bench = Bench::start().await;
    let (mut raw, mut last) = (bench.raw().await, 0);
    for _ in 0..3 {
        let held = bench.take("l", "a", LONG_MS).await.unwrap();
        assert!(held.token > last);
        last = held.token;
        ask::<()>(&mut raw, &["FLUSHALL"]).await;
        refused(bench.locks().renew(&bench.workspace, Held::from(&held), LONG_MS, None).await, Code::Fenced);
        refused(bench.give_back(&held).await, Code::Fenced);
        ask::<()>(&mut raw, &["SCRIPT", "FLUSH"]).await;
    }
}

#[tokio::test]
async fn first_come_first_served_woken_by_the_release() {
    let bench = Bench::start().await;
    let mut holder = bench.take("l", "0", LONG_MS).await.unwrap();
    let mut line = Vec::new();
    for owner in ["1", "2", "3", "4"] {
        line.push(bench.line_up("l", owner, LONG_MS).await);
    }
    for (n, waits) in line.into_iter().enumerate() {
        // Nobody pushes in.
        refused(bench.take("l", "pushes in", LONG_MS).await, Code::Conflict);
        bench.give_back(&holder).await.unwrap();
        let next = waits.await.unwrap().unwrap();
        assert_eq!(next.lease.owner.as_str(), (n + 1).to_string());
        assert!(next.lease.token > holder.token && next.held_until > tokio::time::Instant::now());
        holder = next.lease;
    }
    bench.give_back(&holder).await.unwrap();
    assert!(bench.is_free("l").await);
}

#[tokio::test]
async fn who_no_longer_waits_has_left_the_line() {
    let bench = Bench::start().await;
    let holder = bench.take("l", "0", LONG_MS).await.unwrap();
    let gone = bench.line_up("l", "gone", LONG_MS).await;
    let stays = bench.line_up("l", "stays", LONG_MS).await;
    gone.abort();
    until("one has left", SOON, async || bench.waiters("l").await == 1).await;
    // One who may not wait for longer.
    let short = by("short", LONG_MS, Duration::from_millis(20));
    refused(bench.acquire("l", &short).await, Code::Conflict);
    assert_eq!(bench.waiters("l").await, 1);
    bench.give_back(&holder).await.unwrap();
    assert_eq!(stays.await.unwrap().unwrap().lease.owner.as_str(), "stays");
}

/// The release and the end of the wait at the same moment: whoever was given it in vain gives it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_granted_to_one_who_has_gone_is_given_back() {
    let bench = Bench::start().await;
    for n in 0..150u32 {
        let lock = format!("l{n}");
        let holder = bench.take(&lock, "0", LONG_MS).await.unwrap();
        let waits = bench.line_up(&lock, "gone", LONG_MS).await;
        let releasing = tokio::spawn({
            let (locks, workspace) = (bench.locks(), bench.workspace.clone());
            async move { locks.release(&workspace, Held::from(&holder), None).await }
        });
        for _ in 0..n % 30 {
            tokio::task::yield_now().await;
        }
        waits.abort();
        releasing.await.unwrap().unwrap();
        // Either it was handed to the caller, who dropped it, or it comes back: here nobody looks at what it got.
        if let Ok(Ok(grant)) = waits.await {
            bench.give_back(&grant.lease).await.unwrap();
        }
        until("it is free again", SOON, async || bench.is_free(&lock).await).await;
    }
}

pub(super) async fn wait_for_lock(argument: &str) {
    let words: Vec<&str> = argument.split(' ').collect();
    let redis = Redis::new(RedisConfig::new(words[0])).unwrap();
    let (locks, workspace) = (Locks::new(redis), words[1].parse().unwrap());
    if words[3] == "holds" {
        let mine = locks
            .acquire(&workspace, &name(words[2]), &by("dead", 1_500, Duration::ZERO), None)
            .await
            .unwrap();
        println!("say:{}", mine.lease.token);
    }
    let _ = locks.acquire(&workspace, &name(words[2]), &by("dead too", LONG_MS, SOON), None).await;
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_waiter_is_passed_over() {
    let bench = Bench::start().await;
    let holder = bench.take("l", "0", LONG_MS).await.unwrap();
    let mut dead =
        Actor::start("wait_for_lock", &format!("{} {} l waits", bench.server.url(), bench.workspace));
    until("it waits", SOON, async || bench.waiters("l").await == 1).await;
    let next = bench.line_up("l", "next", LONG_MS).await;
    dead.kill();
    until("who is gone does not count", SOON, async || bench.waiters("l").await == 1).await;
    bench.give_back(&holder).await.unwrap();
    assert_eq!(next.await.unwrap().unwrap().lease.owner.as_str(), "next");
}

/// One process holds it and is first in line; both end with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_holder_and_the_first_in_line_die_together_the_next_finds_out() {
    let bench = Bench::start().await;
    let mut dead =
        Actor::start("wait_for_lock", &format!("{} {} l holds", bench.server.url(), bench.workspace));
    dead.hear();
    until("it waits for itself", SOON, async || bench.waiters("l").await == 1).await;
    let next = bench.line_up("l", "next", LONG_MS).await;
    dead.kill();
    assert_eq!(next.await.unwrap().unwrap().lease.owner.as_str(), "next");
}

#[tokio::test]
async fn a_lease_made_shorter_wakes_the_first_in_line_when_it_ends() {
    let bench = Bench::start().await;
    let holder = bench.take("l", "0", 24 * 3600 * 1000).await.unwrap();
    let next = bench.line_up("l", "next", LONG_MS).await;
    bench.locks().renew(&bench.workspace, Held::from(&holder), 20, None).await.unwrap();
    assert_eq!(next.await.unwrap().unwrap().lease.owner.as_str(), "next");
}

/// The word that it was granted goes nowhere: the waiter finds out by itself, and loses at most its place.
#[tokio::test]
async fn a_broken_subscription_costs_nobody_the_lock() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    for _ in 0..5 {
        let holder = bench.take("l", "0", LONG_MS).await.unwrap();
        let waits = bench.line_up("l", "1", LONG_MS).await;
        ask::<u64>(&mut raw, &["CLIENT", "KILL", "TYPE", "pubsub"]).await;
        bench.give_back(&holder).await.unwrap();
        let granted = tokio::time::timeout(SOON, waits).await.unwrap().unwrap().unwrap();
        bench.give_back(&granted.lease).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_with_a_key_is_granted_once() {
    let bench = Bench::start().await;
    let (locks, w) = (bench.locks(), bench.workspace.clone());
    let once = |said: &str| Once { key: "k".repeat(64), said: said.to_owned() };
    let holder = bench.take("l", "0", LONG_MS).await.unwrap();
    let asks = by("me", LONG_MS, SOON);
    let waits = tokio::spawn({
        let (locks, w, asks, once) = (locks.clone(), w.clone(), asks.clone(), once("a"));
        async move { locks.acquire(&w, &name("l"), &asks, Some(&once)).await }
    });
    until("it waits", SOON, async || bench.waiters("l").await == 1).await;
    bench.give_back(&holder).await.unwrap();
    let first = waits.await.unwrap().unwrap().lease;
    let again = async || locks.acquire(&w, &name("l"), &asks, Some(&once("a"))).await.unwrap().lease;
    assert_eq!(again().await, first);
    bench.give_back(&first).await.unwrap();
    assert_eq!(again().await, first, "the answer, not another grant");
    assert!(bench.is_free("l").await);
    let other = locks.acquire(&w, &name("l"), &asks, Some(&once("b"))).await;
    assert_eq!(refused(other, Code::Unprocessable).code, Code::Unprocessable);
}

/// A client that hung up and asks again at once: the first request's end does not cost the second its place.
#[tokio::test]
async fn a_repeat_keeps_its_place_when_the_first_gives_up() {
    let bench = Bench::start().await;
    let once = Once { key: "k".repeat(64), said: "a".to_owned() };
    let holder = bench.take("l", "0", 24 * 3600 * 1000).await.unwrap();
    let waits = || {
        let (locks, w, once) = (bench.locks(), bench.workspace.clone(), once.clone());
        tokio::spawn(
            async move { locks.acquire(&w, &name("l"), &by("me", LONG_MS, SOON), Some(&once)).await },
        )
    };
    let mut raw = bench.raw().await;
    let entry = format!("{}:waiters", keys::lock(&bench.workspace, &name("l")));
    let mut stands = async || ask::<Option<String>>(&mut raw, &["HGET", &entry, &once.key]).await;
    let first = waits();
    let mut before = None;
    until("it stands in line", SOON, async || {
        before = stands().await;
        before.is_some()
    })
    .await;
    let again = waits();
    until("the repeat stands there", SOON, async || stands().await != before).await;
    first.abort();
    let _ = first.await;
    // Another request's leaving comes after that of the first.
    let other = bench.line_up("l", "other", LONG_MS).await;
    bench.give_back(&holder).await.unwrap();
    let granted = tokio::time::timeout(SOON / 2, again).await.unwrap().unwrap().unwrap();
    assert_eq!(granted.lease.owner.as_str(), "me");
    bench.give_back(&granted.lease).await.unwrap();
    assert_eq!(other.await.unwrap().unwrap().lease.owner.as_str(), "other");
}

#[tokio::test]
async fn what_is_broken_goes_to_the_next_and_its_holder_is_told() {
    let bench = Bench::start().await;
    let (locks, w) = (bench.locks(), &bench.workspace);
    refused(locks.break_open(w, &name("l"), None, None).await, Code::NotFound);
    let asks = Ask { watched: true, ..by("held", LONG_MS, SOON) };
    let mut held = locks.acquire(w, &name("l"), &asks, None).await.unwrap();
    let next = bench.line_up("l", "next", LONG_MS).await;
    let stale = Some(held.lease.token - 1);
    refused(locks.break_open(w, &name("l"), stale, None).await, Code::NotFound);
    let was = locks.break_open(w, &name("l"), Some(held.lease.token), None).await.unwrap();
    assert_eq!((was.owner.as_str(), was.token, was.waiters), ("held", held.lease.token, 1));
    assert_eq!(tokio::time::timeout(SOON, held.told()).await.unwrap(), Told::Broken);
    refused(locks.renew(w, Held::from(&held.lease), LONG_MS, None).await, Code::Fenced);
    assert_eq!(next.await.unwrap().unwrap().lease.owner.as_str(), "next");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn so_many_wait_and_no_more() {
    let bench = Bench::start().await;
    let holder = bench.take("l", "0", LONG_MS).await.unwrap();
    let mut line = Vec::new();
    for n in 0..1_000 {
        let (locks, workspace) = (bench.locks(), bench.workspace.clone());
        let asks = by(&n.to_string(), LONG_MS, SOON * 2);
        line.push(tokio::spawn(async move { locks.acquire(&workspace, &name("l"), &asks, None).await }));
    }
    until("all wait", SOON, async || bench.waiters("l").await == 1_000).await;
    let error = refused(bench.acquire("l", &by("more", LONG_MS, SECOND)).await, Code::Overloaded);
    assert!(error.retry_after_ms.is_some(), "{error:?}");
    line.iter().for_each(JoinHandle::abort);
    until("all have left", SOON, async || bench.waiters("l").await == 0).await;
    bench.give_back(&holder).await.unwrap();
    assert!(bench.is_free("l").await);
}

#[tokio::test]
async fn what_is_out_of_range_is_refused() {
    let bench = Bench::start().await;
    for ttl_ms in [0, 9, 86_400_001, u64::MAX] {
        let error = refused(bench.take("l", "me", ttl_ms).await, Code::InvalidArgument);
        assert_eq!(error.field.as_deref(), Some("/ttl_ms"));
    }
    let lease = bench.take("l", "me", 10).await.unwrap();
    for token in [0, u64::MAX] {
        let held = Held { token, ..Held::from(&lease) };
        refused(bench.locks().release(&bench.workspace, held, None).await, Code::InvalidArgument);
    }
    for owner in ["me and you", "{a}", "100 200 300 x", "ü"] {
        let mine = bench.take("owners", owner, LONG_MS).await.unwrap();
        let next = bench.line_up("owners", owner, LONG_MS).await;
        bench.give_back(&mine).await.unwrap();
        bench.give_back(&next.await.unwrap().unwrap().lease).await.unwrap();
    }
}

#[tokio::test]
async fn while_redis_is_away_it_is_said_within_the_limit() {
    let redis = Redis::new(RedisConfig::new("redis://127.0.0.1:1")).unwrap();
    let locks = Locks::new(redis);
    for wait in [Duration::ZERO, SOON] {
        let began = std::time::Instant::now();
        let asks = by("me", LONG_MS, wait);
        let answer = locks.acquire(&Workspace::default_name(), &name("l"), &asks, None).await;
        refused(answer, Code::Unavailable);
        assert!(began.elapsed() < 3 * SECOND);
    }
}
