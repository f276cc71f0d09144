//! Fan-out and fan-in.

use super::{Bed, SOON};
use agent_sdk::{Agent, Context, TaskError, task};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use synod_protocol::Id;
use synod_protocol::view::TaskStatus;

#[tokio::test]
async fn successes_failures_and_who_was_late() {
    let bed = Bed::start().await;
    let work = |_: Context, n: u32| async move {
        match n % 10 {
            7 => Err(TaskError::permanent("seven", "I do not do sevens")),
            9 => std::future::pending().await,
            _ => Ok(n * 2),
        }
    };
    let agent = bed.run(Agent::builder("a").capability("double", work).concurrency(32)).await;
    let requests = (0..20u32).map(|n| task("double").id(format!("t{n}")).input(n));
    let collected = bed
        .mesh
        .client()
        .collect(requests)
        .workers(20)
        .each_within(Duration::from_millis(1500))
        .run::<u32>()
        .await;
    let indices = |of: Vec<usize>| of;
    assert_eq!(collected.total(), 20);
    assert_eq!(indices(collected.failures.iter().map(|f| f.index).collect()), [7, 17]);
    assert_eq!(indices(collected.late.iter().map(|l| l.index).collect()), [9, 19]);
    let who: Id = "a".parse().unwrap();
    assert!(collected.late.iter().all(|late| late.agent_id == Some(who.clone())));
    let outputs: Vec<u32> = collected.outputs().copied().collect();
    let expected: Vec<u32> = (0..20).filter(|n| n % 10 != 7 && n % 10 != 9).map(|n| n * 2).collect();
    assert_eq!(outputs, expected, "in the order of the requests");
    assert!((collected.success_rate() - 0.8).abs() < 1e-9);
    let timings = collected.timings().unwrap();
    assert!(timings.min <= timings.p50 && timings.p50 <= timings.p95 && timings.p95 <= timings.max);
    assert!(timings.max < Duration::from_millis(1500) && collected.elapsed >= Duration::from_millis(1500));
    // What came too late is no longer wanted; all of it is one piece of work.
    bed.coordinator
        .until("the late ones are cancelled", |memory| {
            ["t9", "t19"].iter().all(|id| memory.tasks[*id].status == TaskStatus::Cancelled)
        })
        .await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn no_more_than_so_many_at_a_time() {
    let bed = Bed::start().await;
    let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counting, highest) = (now.clone(), most.clone());
    let work = move |_: Context, (): ()| {
        let (counting, highest) = (counting.clone(), highest.clone());
        async move {
            highest.fetch_max(counting.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            counting.fetch_sub(1, Ordering::SeqCst);
            Ok(())
        }
    };
    let agent = bed.run(Agent::builder("a").capability("x", work).concurrency(32)).await;
    let requests = (0..60).map(|_| task("x"));
    let collected = bed.mesh.client().collect(requests).workers(3).each_within(SOON).run::<()>().await;
    assert_eq!((collected.successes.len(), collected.success_rate()), (60, 1.0));
    assert!(most.load(Ordering::SeqCst) <= 3, "{most:?}");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn nothing_asked_is_nothing_failed() {
    let bed = Bed::start().await;
    let collected = bed.mesh.client().collect([]).run::<()>().await;
    assert_eq!((collected.total(), collected.success_rate(), collected.timings()), (0, 1.0, None));
    let refused = bed.mesh.client().collect([task("Not One")]).run::<()>().await;
    assert_eq!((refused.failures.len(), refused.success_rate()), (1, 0.0));
}
