//! How fast a ledger is folded: records of real tasks, read from Kafka beforehand and folded from memory.
//!
//! Each round folds every shard from its first record and, beside that, only reads the records as JSON: what is
//! between the two is the state's.

use super::figures::{Outcome, Samples, Side, Verdict};
use super::site::{LIMIT, Site, end};
use super::{BenchError, Effort};
use agent_sdk::task;
use futures::future::try_join_all;
use std::ops::ControlFlow;
use std::time::Instant;
use synod_infra::kafka::{RawRecord, Readers};
use synod_ledger::{Fold, Keep, Record};
use synod_protocol::{Json, Timestamp, topics};

/// Calls at a time while the ledger is written.
const AT_A_TIME: usize = 64;

pub(super) async fn measure(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, wanted) = effort.of((9, 100_000), (2, 2_000));
    let ledger = written(site, wanted).await?;
    let (mut folded, mut read) = (Samples::default(), Samples::default());
    for round in 0..=rounds {
        let count = ledger.iter().map(Vec::len).sum::<usize>() as f64;
        let began = Instant::now();
        for shard in &ledger {
            let mut fold = Fold::whole(Keep::default());
            for record in shard {
                let at = record.timestamp_ms.map(Timestamp::from_millis);
                let bytes = record.payload.as_deref().unwrap_or_default();
                let taken = fold.record(record.offset.unsigned_abs(), at, bytes);
                taken.map_err(|error| BenchError::Missing(format!("a ledger that folds: {error}")))?;
            }
            std::hint::black_box(fold.state().position());
        }
        let fold_rate = count / began.elapsed().as_secs_f64();
        let began = Instant::now();
        for record in ledger.iter().flatten() {
            std::hint::black_box(Record::read(record.payload.as_deref().unwrap_or_default()).is_ok());
        }
        // The first was for warming up.
        if round > 0 {
            folded.one(fold_rate);
            read.one(count / began.elapsed().as_secs_f64());
        }
    }
    Ok(Outcome {
        rows: vec![folded.row("fold", "folded", "1/s"), read.row("fold", "only read as JSON", "1/s")],
        verdicts: vec![Verdict::goal(
            "records folded per second and core",
            folded.spread(),
            Side::AtLeast,
            200_000.0,
        )],
    })
}

/// The ledger's records by shard, at least so many; tasks are done until there are.
async fn written(site: &Site, wanted: usize) -> Result<Vec<Vec<RawRecord>>, BenchError> {
    let readers = Readers::new(&site.dialling.kafka)?;
    let ledger = all(&readers, site.partitions).await?;
    if ledger.iter().map(Vec::len).sum::<usize>() >= wanted {
        return Ok(ledger);
    }
    let capability = site.named("fold");
    let agents = site.echoes(&capability, 2, 64).await?;
    // A task takes three records: submitted and assigned, started, completed.
    for _ in 0..wanted.div_ceil(2 * AT_A_TIME) {
        let input = "x".repeat(200);
        let calls = (0..AT_A_TIME).map(|_| site.client.call::<Json>(task(&capability).input(&input), LIMIT));
        try_join_all(calls).await?;
    }
    end(agents).await?;
    all(&readers, site.partitions).await
}

async fn all(readers: &Readers, partitions: u32) -> Result<Vec<Vec<RawRecord>>, BenchError> {
    let mut ledger = Vec::new();
    for shard in 0..partitions {
        let mut records = Vec::new();
        let each = |record| {
            records.push(record);
            ControlFlow::Continue(())
        };
        readers.read_to_end(topics::LEDGER, shard as i32, LIMIT, each).await?;
        ledger.push(records);
    }
    Ok(ledger)
}
