//! Semaphores: as many holders as there are permits.

use super::locks::{LONG_MS, SOON, by, name};
use super::{Bench, until};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;
use synod_infra::primitives::leases::{Held, Semaphores};
use synod_protocol::{Code, Error};

impl Bench {
    fn semaphores(&self) -> Semaphores {
        Semaphores::new(self.redis.clone())
    }
}

#[tokio::test]
async fn permits_are_counted_and_their_number_stands_while_any_is_out() {
    let bench = Bench::start().await;
    let (all, w, s) = (bench.semaphores(), &bench.workspace, name("s {x}"));
    let take = async |owner: &str, permits: u32, ttl_ms: u64| {
        all.acquire(w, &s, permits, &by(owner, ttl_ms, Duration::ZERO), None).await.map(|grant| grant.lease)
    };
    let refused = |answer: Result<_, Error>, code: Code| {
        let error: Error = answer.map(|_: synod_protocol::primitives::locks::Lease| ()).unwrap_err();
        assert_eq!(error.code, code, "{error}");
        error
    };
    let (a, b) = (take("a", 2, LONG_MS).await.unwrap(), take("a", 2, LONG_MS).await.unwrap());
    assert!(b.token > a.token, "one owner may hold several");
    assert_eq!(refused(take("c", 2, LONG_MS).await, Code::Conflict).holder.as_deref(), Some("a"));
    for other in [1, 3] {
        assert_eq!(
            refused(take("c", other, LONG_MS).await, Code::Conflict).field.as_deref(),
            Some("/permits")
        );
    }
    for wrong in [0, 1_001] {
        refused(take("c", wrong, LONG_MS).await, Code::InvalidArgument);
    }
    let shown = all.get(w, &s).await.unwrap();
    assert_eq!((shown.permits, shown.available, shown.holders.len()), (2, 0, 2));
    let stranger = name("b");
    let wrong = Held { owner: &stranger, ..Held::from(&a) };
    assert_eq!(all.release(w, wrong, None).await.unwrap_err().code, Code::Fenced);
    all.release(w, Held::from(&a), None).await.unwrap();
    assert_eq!(all.release(w, Held::from(&a), None).await.unwrap_err().code, Code::Fenced);
    let c = take("c", 2, 20).await.unwrap();
    // One runs out, one is broken; then there may be another number.
    until("it runs out", SOON, async || all.get(w, &s).await.unwrap().available == 1).await;
    assert_eq!(all.renew(w, Held::from(&c), LONG_MS, None).await.unwrap_err().code, Code::Fenced);
    let broken = all.break_open(w, &s, Some(b.token), None).await.unwrap();
    assert_eq!((broken.broken.len(), broken.broken[0].token), (1, b.token));
    let d = take("d", 5, LONG_MS).await.unwrap();
    assert!(d.token > c.token);
    let (found, next) = all.list(w, "s ", None, 10).await.unwrap();
    assert_eq!((found.len(), found[0].permits, next), (1, 5, None));
}

/// Many at once, some of whom never give back: never more inside than there are permits, and everyone has a turn.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_contention_no_more_are_inside_than_may_be() {
    let bench = Bench::start().await;
    let (inside, worst) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let mut workers = Vec::new();
    for worker in 0..12u32 {
        let (all, w) = (bench.semaphores(), bench.workspace.clone());
        let (inside, worst) = (inside.clone(), worst.clone());
        workers.push(tokio::spawn(async move {
            for round in 0..10u32 {
                let dies = (worker + round) % 6 == 0;
                let asks = by(&worker.to_string(), if dies { 60 } else { LONG_MS }, SOON);
                let grant = all.acquire(&w, &name("s"), 3, &asks, None).await.unwrap();
                let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                worst.fetch_max(now, Ordering::SeqCst);
                tokio::task::yield_now().await;
                inside.fetch_sub(1, Ordering::SeqCst);
                if !dies {
                    all.release(&w, Held::from(&grant.lease), None).await.unwrap();
                }
            }
        }));
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let worst = worst.load(Ordering::SeqCst);
    assert!((1..=3).contains(&worst), "{worst} were inside");
    until("none is out", SOON, async || bench.semaphores().get(&bench.workspace, &name("s")).await.is_err())
        .await;
}
