//! How late what is due fires: deadlines of tasks that nobody takes, beside the shard's time at which they ended.
//!
//! Both times are the shard's and stand in the task, so that nothing of the asking is in the figure.

use super::figures::{Outcome, Samples, Side, Verdict};
use super::site::Site;
use super::{BenchError, Effort};
use agent_sdk::task;
use futures::future::try_join_all;
use std::time::Duration;
use synod_protocol::{EntityId, Timestamp};
use tokio::time::Instant;

/// How long after the first deadline of a round the last one is.
const SPREAD: Duration = Duration::from_secs(4);
/// Time for all of a round to be taken before the first is due.
const AHEAD: Duration = Duration::from_secs(3);
/// Tasks submitted at a time.
const AT_A_TIME: usize = 32;
/// What is due and has not fired so long after is an error.
const STUCK: Duration = Duration::from_secs(10);

pub(super) async fn measure(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, count) = effort.of((5, 2_000), (2, 200));
    let (mut late, mut worst) = (Samples::default(), Samples::default());
    for _ in 0..rounds {
        let all = round(site, count).await?;
        let mut one = Samples::default();
        one.round(all.clone());
        worst.one(one.row("timers", "", "ms").p99);
        late.round(all);
    }
    Ok(Outcome {
        rows: vec![late.row("timers", "deadlines: late by", "ms")],
        verdicts: vec![Verdict::goal("timers: p99 of lateness in ms", worst.spread(), Side::AtMost, 20.0)],
    })
}

/// How late each of so many deadlines was, in milliseconds.
async fn round(site: &Site, count: usize) -> Result<Vec<f64>, BenchError> {
    let capability = site.named("timers");
    let (begin, now) = (Instant::now() + AHEAD, Timestamp::from_millis(wall_ms()?));
    let due =
        |n: usize| now.plus_millis((AHEAD + SPREAD.mul_f64(n as f64 / count as f64)).as_millis() as u64);
    let mut tasks: Vec<EntityId> = Vec::with_capacity(count);
    // In an order in which neighbours are not due one after the other.
    let order: Vec<usize> = (0..count).map(|n| n * 7_919 % count).collect();
    for some in order.chunks(AT_A_TIME) {
        let asked = some.iter().map(|n| site.client.submit(task(&capability).deadline(due(*n))));
        tasks.extend(try_join_all(asked).await?.iter().map(|handle| handle.task_id().clone()));
    }
    if Instant::now() > begin {
        return Err(BenchError::Missing(format!(
            "{count} tasks were not taken within {} s",
            AHEAD.as_secs()
        )));
    }
    // The time is what is measured.
    tokio::time::sleep_until(begin + SPREAD).await;
    let until = Instant::now() + STUCK;
    let mut late = Vec::with_capacity(count);
    for id in tasks {
        late.push(loop {
            let task = site.client.get(&id).await?;
            if let Some(at) = task.completed_at {
                break at.millis_since(task.deadline) as f64;
            }
            if Instant::now() > until {
                return Err(BenchError::Missing(format!("task {id} was due and has not ended")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // the condition is asked again
        });
    }
    Ok(late)
}

fn wall_ms() -> Result<i64, BenchError> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let since = since.map_err(|error| BenchError::Missing(format!("a wall clock after 1970: {error}")))?;
    Ok(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
