//! Scripts that the server forgets: at any moment, also in the middle of a pipeline.

use super::{Bench, ask};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use synod_infra::redis::inbox::{Delivered, Delivery, Inboxes};

impl Bench {
    pub(super) fn notice(&self, body: String) -> Delivery {
        let (workspace, agent) = (self.workspace.clone(), self.agent.clone());
        Delivery { workspace, agent, shard: 0, epoch: 1, attempt_id: None, urgent: false, body }
    }
}

#[tokio::test]
async fn a_forgotten_script_is_loaded_again() {
    let bench = Bench::start().await;
    let inboxes = Inboxes::new(bench.redis.clone());
    let mut raw = bench.raw().await;
    for n in 0..3 {
        ask::<()>(&mut raw, &["SCRIPT", "FLUSH"]).await;
        let results = inboxes.deliver(vec![bench.notice(format!("{n}"))]).await;
        assert_eq!(results, [Ok(Delivered::Accepted)]);
    }
    assert_eq!(inboxes.waiting(&bench.workspace, &bench.agent).await, Ok(3));
}

/// Notices have no id that would hide a second run: each must be there exactly once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_pipeline_only_the_calls_that_did_not_run_are_redone() {
    const CALLS: u64 = 200;
    let bench = Bench::start().await;
    let inboxes = Inboxes::new(bench.redis.clone());
    let mut raw = bench.raw().await;
    // Bodies so large that the server reads the pipeline in many pieces, and the flush falls between them.
    let body = |round: u64, n: u64| format!("{round}:{n}:{}", "x".repeat(20_000));
    let (mut mixed, mut usual) = (0, Duration::ZERO);
    for round in 0..200 {
        let before = times_forgotten(&mut raw).await;
        let done = Arc::new(AtomicBool::new(false));
        let pause = usual.mul_f64((round % 10) as f64 / 10.0);
        let flusher = tokio::spawn({
            let (done, mut raw) = (Arc::clone(&done), raw.clone());
            async move {
                tokio::time::sleep(pause).await;
                if !done.load(Ordering::Acquire) {
                    ask::<()>(&mut raw, &["SCRIPT", "FLUSH"]).await;
                }
            }
        });
        let batch = (0..CALLS).map(|n| bench.notice(body(round, n))).collect();
        let began = Instant::now();
        let results = inboxes.deliver(batch).await;
        usual = began.elapsed();
        done.store(true, Ordering::Release);
        flusher.await.unwrap();
        assert!(results.iter().all(|r| *r == Ok(Delivered::Accepted)), "{results:?}");

        let key = synod_infra::redis::keys::inbox(&bench.workspace, &bench.agent);
        let there: Vec<String> = ask(&mut raw, &["LRANGE", &key, "0", "-1"]).await;
        assert_eq!(there.len() as u64, CALLS, "each once");
        assert_eq!(there.iter().collect::<BTreeSet<_>>().len() as u64, CALLS, "each one");
        ask::<()>(&mut raw, &["DEL", &key]).await;
        let redone = times_forgotten(&mut raw).await - before;
        mixed += u64::from(redone > 0 && redone < CALLS);
        if mixed >= 3 {
            println!("{mixed} pipelines were caught in the middle, in {} rounds", round + 1);
            return;
        }
    }
    panic!("no pipeline was caught in the middle; the test shows nothing");
}

async fn times_forgotten(raw: &mut redis::aio::MultiplexedConnection) -> u64 {
    let info: String = ask(raw, &["INFO", "errorstats"]).await;
    let count = info.lines().find_map(|l| l.strip_prefix("errorstat_NOSCRIPT:count="));
    count.map_or(0, |c| c.trim().parse().unwrap())
}
