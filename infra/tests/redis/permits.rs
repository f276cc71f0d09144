//! Permits on a real Redis: never more out than there are, whoever dies; all back in the end.

use super::{Bench, SECOND, ask, until};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use synod_infra::redis::permits::{GRACE, Held, Hold, Holder, Permits, Take, Taken};

fn holder(shard: u32, epoch: u64, name: &str) -> Holder {
    Holder { shard, epoch, name: name.to_owned() }
}

fn take(name: &str, permits: &[(&str, u32)], for_ms: u64) -> Take {
    let permits = permits.iter().map(|(name, most)| ((*name).to_owned(), *most)).collect();
    Take { holder: holder(0, 1, name), permits, for_ms }
}

fn hold(name: &str, permits: &[&str], for_ms: u64) -> Hold {
    Hold { holder: holder(0, 1, name), permits: permits.iter().map(|p| (*p).to_owned()).collect(), for_ms }
}

impl Bench {
    /// Semaphores whose data are old enough.
    async fn permits(&self) -> Permits {
        let permits = Permits::new(self.redis.clone());
        permits.era().await.unwrap();
        let mut raw = self.raw().await;
        let era = format!("{}:7", self.redis.run_id().await.unwrap());
        ask::<()>(&mut raw, &["SET", "synod:{permits}:era", &era]).await;
        permits
    }
}

async fn one(permits: &Permits, take: Take) -> Taken {
    permits.take(&[take]).await.remove(0).unwrap()
}

async fn back(permits: &Permits, name: &str, of: &[&str]) {
    let of = of.iter().map(|p| (*p).to_owned()).collect();
    permits.give_back(&[(holder(0, 1, name), of)]).await.remove(0).unwrap();
}

#[tokio::test]
async fn all_or_none_is_taken_and_a_holder_holds_once() {
    let bench = Bench::start().await;
    let permits = bench.permits().await;
    let (both, granted) = ([("a", 2), ("b", 1)], |out: &[u32]| Taken::Granted { era: 7, out: out.to_vec() });
    assert_eq!(one(&permits, take("x", &both, 60_000)).await, granted(&[1, 1]));
    assert_eq!(one(&permits, take("x", &both, 60_000)).await, granted(&[1, 1]), "the same once more");
    let refused = Taken::Refused { era: 7, which: 1, out: 1 };
    assert_eq!(one(&permits, take("y", &both, 60_000)).await, refused);
    assert_eq!((permits.out("a").await.unwrap(), permits.out("b").await.unwrap()), (1, 1), "none was taken");
    assert_eq!(one(&permits, take("y", &both[..1], 60_000)).await, granted(&[2]));
    assert_eq!(
        one(&permits, take("z", &both[..1], 60_000)).await,
        Taken::Refused { era: 7, which: 0, out: 2 }
    );
    for _ in 0..2 {
        back(&permits, "x", &["a", "b"]).await;
        assert_eq!((permits.out("a").await.unwrap(), permits.out("b").await.unwrap()), (1, 0));
    }
    assert_eq!(
        one(&permits, take("z", &[("c", 0)], 60_000)).await,
        Taken::Refused { era: 7, which: 0, out: 0 }
    );
}

#[tokio::test]
async fn what_is_not_held_comes_back_and_what_is_held_stays() {
    let bench = Bench::start().await;
    let permits = bench.permits().await;
    one(&permits, take("gone", &[("a", 2)], 50)).await;
    one(&permits, take("held", &[("a", 2)], 50)).await;
    let outcome = permits.hold(&[hold("held", &["a"], 60_000)]).await.remove(0).unwrap();
    assert_eq!(outcome, Held::Held { era: 7 });
    // A late repeat of the question does not shorten it.
    one(&permits, take("held", &[("a", 2)], 1)).await;
    until("one comes back", SECOND, async || {
        matches!(one(&permits, take("next", &[("a", 2)], 60_000)).await, Taken::Granted { .. })
    })
    .await;
    let full = Taken::Refused { era: 7, which: 0, out: 2 };
    assert_eq!(one(&permits, take("third", &[("a", 2)], 60_000)).await, full);
    // What nobody holds any more leaves nothing in Redis.
    one(&permits, take("short", &[("b", 1)], 30)).await;
    let mut raw = bench.raw().await;
    until("the set goes", SECOND, async || {
        !ask::<bool>(&mut raw, &["EXISTS", "synod:{permits}:out:b"]).await
    })
    .await;
}

#[tokio::test]
async fn a_deposed_owner_takes_and_holds_nothing() {
    let bench = Bench::start().await;
    let permits = bench.permits().await;
    let by = |epoch, name: &str| Take { holder: holder(3, epoch, name), ..take(name, &[("a", 9)], 60_000) };
    assert!(matches!(one(&permits, by(10, "x")).await, Taken::Granted { .. }));
    assert!(matches!(one(&permits, by(20, "y")).await, Taken::Granted { .. }));
    assert_eq!(one(&permits, by(10, "z")).await, Taken::Fenced { newest: 20 });
    let late = Hold { holder: holder(3, 10, "z"), ..hold("z", &["a"], 60_000) };
    assert_eq!(permits.hold(&[late]).await.remove(0).unwrap(), Held::Fenced { newest: 20 });
    assert_eq!(permits.out("a").await.unwrap(), 2);
    // Nor does it hold again what its successor has given back, whose first word this is.
    let by = |shard, epoch| Hold { holder: holder(shard, epoch, "w"), ..hold("w", &["b"], 60_000) };
    assert!(matches!(permits.hold(&[by(4, 10)]).await.remove(0), Ok(Held::Held { .. })));
    permits.give_back(&[(holder(4, 20, "w"), vec!["b".to_owned()])]).await.remove(0).unwrap();
    assert_eq!(permits.hold(&[by(4, 10)]).await.remove(0).unwrap(), Held::Fenced { newest: 20 });
    assert_eq!(permits.out("b").await.unwrap(), 0);
}

/// What a deposed owner took in vain a newer one may have taken since, for the same attempt.
#[tokio::test]
async fn what_was_taken_in_vain_is_not_given_up_for_a_newer_owner() {
    let bench = Bench::start().await;
    let permits = bench.permits().await;
    let of = |epoch| Take { holder: holder(0, epoch, "x"), ..take("x", &[("a", 1)], 60_000) };
    let up = async |epoch| {
        permits.give_up(&[(holder(0, epoch, "x"), vec!["a".to_owned()])]).await.remove(0).unwrap();
    };
    one(&permits, of(10)).await;
    up(10).await;
    assert_eq!(permits.out("a").await.unwrap(), 0);
    one(&permits, of(10)).await;
    one(&permits, of(11)).await;
    up(10).await;
    assert_eq!(permits.out("a").await.unwrap(), 1, "it is the newer owner's");
    up(11).await;
    assert_eq!(permits.out("a").await.unwrap(), 0);
    // An end is on record: whoever says it.
    one(&permits, of(12)).await;
    permits.give_back(&[(holder(0, 10, "x"), vec!["a".to_owned()])]).await.remove(0).unwrap();
    assert_eq!(permits.out("a").await.unwrap(), 0);
}

/// An old file is as good as none: the server is another, and who holds says so first.
#[tokio::test]
async fn another_start_of_the_server_is_another_era() {
    let bench = Bench::start().await;
    let permits = bench.permits().await;
    let mut raw = bench.raw().await;
    let another = format!("{}:7", "0".repeat(40));
    ask::<()>(&mut raw, &["SET", "synod:{permits}:era", &another]).await;
    assert!(matches!(one(&permits, take("x", &[("a", 1)], 60_000)).await, Taken::Young { .. }));
}

#[tokio::test]
async fn after_redis_came_back_empty_those_who_hold_say_so_first() {
    let bench = Bench::start().await;
    let permits = bench.permits().await;
    one(&permits, take("held", &[("a", 1)], 60_000)).await;
    let mut raw = bench.raw().await;
    ask::<()>(&mut raw, &["FLUSHALL"]).await;
    let Taken::Young { era, left_ms } = one(&permits, take("greedy", &[("a", 1)], 60_000)).await else {
        panic!("granted by data that have just begun")
    };
    assert!(era > 7 && left_ms <= GRACE.as_millis() as u64);
    assert_eq!(permits.era().await.unwrap(), era, "by which everyone learns of it");
    permits.hold(&[hold("held", &["a"], 60_000)]).await.remove(0).unwrap();
    let mut last = Taken::Young { era, left_ms };
    until("the data are old enough", GRACE + SECOND, async || {
        last = one(&permits, take("greedy", &[("a", 1)], 60_000)).await;
        !matches!(last, Taken::Young { .. })
    })
    .await;
    assert_eq!(last, Taken::Refused { era, which: 0, out: 1 });
}

/// Many take and give back at once; some die in between, and what they held comes back by itself. At no moment do more
/// hold a permit than there are of it, and at the end none is out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_contention_and_deaths_no_limit_is_passed() {
    const DEAD_FOR_MS: u64 = 50;
    let bench = Bench::start().await;
    let permits = bench.permits().await;
    let names = ["a", "b", "c"];
    let most = BTreeMap::from([("a", 1u32), ("b", 2), ("c", 5)]);
    let inside: Arc<Vec<AtomicI64>> = Arc::new((0..3).map(|_| AtomicI64::new(0)).collect());
    let (worst, granted) = (Arc::new(Mutex::new([0i64; 3])), Arc::new(AtomicU64::new(0)));
    let mut all = Vec::new();
    for worker in 0..24u64 {
        let (permits, most, inside) = (permits.clone(), most.clone(), inside.clone());
        let (worst, granted) = (worst.clone(), granted.clone());
        all.push(tokio::spawn(async move {
            for round in 0..8u64 {
                let wants = |n: &usize| ((worker + round) % 7 + 1) >> n & 1 == 1;
                let mine: Vec<usize> = (0..3).filter(wants).collect();
                let wanted: Vec<(&str, u32)> = mine.iter().map(|n| (names[*n], most[names[*n]])).collect();
                let (name, dies) = (format!("{worker}#{round}"), (worker + round).is_multiple_of(10));
                let for_ms = if dies { DEAD_FOR_MS } else { 60_000 };
                let began = Instant::now();
                while !matches!(one(&permits, take(&name, &wanted, for_ms)).await, Taken::Granted { .. }) {
                    assert!(began.elapsed() < 20 * SECOND, "{name} has no turn");
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                granted.fetch_add(1, Ordering::Relaxed);
                for n in &mine {
                    let now = inside[*n].fetch_add(1, Ordering::SeqCst) + 1;
                    let mut worst = worst.lock().unwrap();
                    worst[*n] = worst[*n].max(now);
                }
                // The work.
                tokio::time::sleep(Duration::from_millis(1)).await;
                for n in &mine {
                    inside[*n].fetch_sub(1, Ordering::SeqCst);
                }
                if !dies {
                    let of: Vec<&str> = mine.iter().map(|n| names[*n]).collect();
                    back(&permits, &name, &of).await;
                }
            }
        }));
    }
    for worker in all {
        worker.await.unwrap();
    }
    let worst = *worst.lock().unwrap();
    assert!(names.iter().zip(worst).all(|(name, worst)| worst <= i64::from(most[name])), "{worst:?}");
    assert_eq!(granted.load(Ordering::Relaxed), 24 * 8, "everyone has had a turn");
    assert!(worst[..2] == [1, 2] && worst[2] > 2, "as many at a time as may: {worst:?}");
    until("all are back", 5 * SECOND, async || {
        let mut out = 0;
        for name in names {
            // What has ended is swept by whoever asks next.
            one(&permits, take("sweep", &[(name, 0)], 1)).await;
            out += permits.out(name).await.unwrap();
        }
        out == 0
    })
    .await;
}
