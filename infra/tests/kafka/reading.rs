//! Reading partitions that we assign ourselves.

use crate::bed::{Bed, SOON, fill, put};
use std::ops::ControlFlow;
use std::time::Duration;
use synod_infra::kafka::{Outgoing, PartitionReader, ReadError, Start};
use tokio::task::JoinSet;

async fn numbers(reader: &mut PartitionReader, count: usize) -> Vec<String> {
    let mut read = Vec::new();
    while read.len() < count {
        let batch = reader.next_batch(count - read.len(), SOON).await.unwrap();
        assert!(!batch.is_empty(), "only {} of {count} came", read.len());
        read.extend(batch.into_iter().map(|r| String::from_utf8(r.payload.unwrap()).unwrap()));
    }
    read
}

pub(crate) async fn readers_begin_where_they_are_told(bed: &Bed) {
    let topic = bed.topic(2).await;
    let producer = bed.producer();
    fill(&producer, &topic, 1, 10).await;
    let readers = bed.readers();
    for (start, first) in
        [(Start::Beginning, 0), (Start::Offset(4), 4), (Start::Tail(3), 7), (Start::Offset(0), 0)]
    {
        let mut reader = readers.open(&topic, 1, start).unwrap();
        let expected: Vec<String> = (first..10).map(|n| n.to_string()).collect();
        assert_eq!(numbers(&mut reader, expected.len()).await, expected, "{start:?}");
        assert_eq!(reader.position(), Some(10));
        assert_eq!(reader.next(Duration::from_millis(20)).await.unwrap(), None);
    }
    let mut reader = readers.open(&topic, 1, Start::End).unwrap();
    // Where the end is, is asked after `open`: nothing may be sent before the answer is there.
    assert_eq!(reader.next(Duration::from_millis(500)).await.unwrap(), None);
    fill(&producer, &topic, 1, 1).await;
    assert_eq!(reader.next(SOON).await.unwrap().unwrap().offset, 10);
    reader.seek(Start::Offset(8)).unwrap();
    assert_eq!(numbers(&mut reader, 3).await, ["8", "9", "0"]);
}

pub(crate) async fn a_fold_ends_at_its_offset(bed: &Bed) {
    let topic = bed.topic(1).await;
    fill(&bed.producer(), &topic, 0, 20_000).await;
    let readers = bed.readers();
    let mut live = readers.open(&topic, 0, Start::Offset(0)).unwrap();
    let mut read = Vec::new();
    let keep = |record: synod_infra::kafka::RawRecord| {
        read.push(record.offset);
        ControlFlow::Continue(())
    };
    let count = readers.read_through(&topic, 0, 100, 15_000, SOON, keep).await.unwrap();
    assert_eq!(count, 14_901);
    assert_eq!(read, (100..=15_000).collect::<Vec<_>>());
    assert_eq!(live.next(SOON).await.unwrap().unwrap().offset, 0, "the live reader goes its own way");
    let stopped = readers.read_through(&topic, 0, 0, 15_000, SOON, |_| ControlFlow::Break(())).await.unwrap();
    assert_eq!(stopped, 1);
}

pub(crate) async fn a_fold_waits_for_its_offset(bed: &Bed) {
    let topic = bed.topic(1).await;
    let producer = bed.producer();
    fill(&producer, &topic, 0, 3).await;
    let readers = bed.readers();
    let quiet = Duration::from_millis(200);
    let error =
        readers.read_through(&topic, 0, 0, 3, quiet, |_| ControlFlow::Continue(())).await.unwrap_err();
    assert!(matches!(error, ReadError::Stalled { after: Some(2), through: 3, .. }), "{error}");
    let folding = readers.read_through(&topic, 0, 0, 3, SOON, |_| ControlFlow::Continue(()));
    let (folded, ()) = tokio::join!(folding, fill(&producer, &topic, 0, 1));
    assert_eq!(folded.unwrap(), 4);
}

pub(crate) async fn to_the_end_and_no_further(bed: &Bed) {
    let topic = bed.topic(2).await;
    fill(&bed.producer(), &topic, 0, 5).await;
    let readers = bed.readers();
    let mut count = 0;
    let each = |_| {
        count += 1;
        ControlFlow::Continue(())
    };
    assert_eq!(readers.read_to_end(&topic, 0, SOON, each).await.unwrap(), 5);
    assert_eq!(count, 5);
    assert_eq!(readers.read_to_end(&topic, 1, SOON, |_| panic!("it is empty")).await.unwrap(), 0);
    let log = readers.watermarks(&topic, 0, SOON).await.unwrap();
    assert_eq!((log.low, log.high, log.is_empty()), (0, 5, false));
    assert!(readers.watermarks(&topic, 1, SOON).await.unwrap().is_empty());
    assert_eq!(readers.ends(&topic, &[0, 1], SOON).await.unwrap(), [(0, 5), (1, 0)]);
    assert_eq!(readers.ends(&topic, &[], SOON).await.unwrap(), []);
    assert_eq!(readers.partitions(&topic, SOON).await.unwrap(), Some(2));
    assert_eq!(readers.partitions("no-such-topic", SOON).await.unwrap(), None);
}

pub(crate) async fn many_partitions_over_one_set_of_connections(bed: &Bed) {
    let topics = [bed.topic(32).await, bed.topic(32).await, bed.topic(32).await];
    let readers = bed.readers();
    let producer = bed.producer();
    let mut reading = JoinSet::new();
    for topic in &topics {
        for partition in 0..32 {
            let mut reader = readers.open(topic, partition, Start::Offset(0)).unwrap();
            reading.spawn(async move {
                for n in 0..50 {
                    let record = reader.next(SOON).await.unwrap().expect("a record in time");
                    assert_eq!((record.offset, record.partition), (n, partition));
                }
            });
        }
    }
    for topic in &topics {
        for partition in 0..32 {
            fill(&producer, topic, partition, 50).await;
        }
    }
    while let Some(read) = reading.join_next().await {
        read.unwrap();
    }
}

pub(crate) async fn a_partition_has_one_reader(bed: &Bed) {
    let topic = bed.topic(1).await;
    fill(&bed.producer(), &topic, 0, 3).await;
    let readers = bed.readers();
    for _ in 0..5 {
        let mut reader = readers.open(&topic, 0, Start::Beginning).unwrap();
        assert!(matches!(readers.open(&topic, 0, Start::End), Err(ReadError::AlreadyOpen { .. })));
        assert_eq!(numbers(&mut reader, 3).await, ["0", "1", "2"]);
    }
    // Folds take turns, and those who give up in the middle are no hindrance.
    let fold = || readers.read_through(&topic, 0, 0, 2, SOON, |_| ControlFlow::Continue(()));
    let given_up = tokio::time::timeout(Duration::from_millis(1), fold());
    let (_, first, second, third) = tokio::join!(given_up, fold(), fold(), fold());
    assert_eq!((first, second, third), (Ok(3), Ok(3), Ok(3)));
}

pub(crate) async fn a_dropped_wait_loses_nothing(bed: &Bed) {
    let topic = bed.topic(1).await;
    let producer = bed.producer();
    let mut reader = bed.readers().open(&topic, 0, Start::Offset(0)).unwrap();
    let sending = tokio::spawn(async move { fill(&producer, &topic, 0, 2_000).await });
    let mut next = 0;
    while next < 2_000 {
        tokio::select! {
            biased;
            record = reader.next(SOON) => {
                assert_eq!(record.unwrap().unwrap().offset, next);
                next += 1;
            }
            () = tokio::task::yield_now() => {}
        }
    }
    sending.await.unwrap();
}

pub(crate) async fn beyond_the_end_is_a_lost_position(bed: &Bed) {
    let topic = bed.topic(1).await;
    fill(&bed.producer(), &topic, 0, 3).await;
    let mut reader = bed.readers().open(&topic, 0, Start::Offset(100)).unwrap();
    let lost =
        ReadError::PositionLost { topic: topic.clone(), partition: 0, wanted: 100, oldest: 0, newest: 3 };
    assert_eq!(reader.next(SOON).await, Err(lost.clone()));
    assert_eq!(reader.next(SOON).await, Err(lost), "it stays lost");
    reader.seek(Start::Offset(1)).unwrap();
    assert_eq!(numbers(&mut reader, 2).await, ["1", "2"]);
}

pub(crate) async fn what_the_mock_dropped_is_a_lost_position(bed: &Bed) {
    let topic = bed.topic(1).await;
    let producer = bed.producer();
    // It keeps 5 MiB of a partition.
    for _ in 0..12 {
        put(&producer, Outgoing::to(&topic).partition(0).payload(vec![b'x'; 700_000])).await.unwrap();
    }
    loses_what_is_older(bed, &topic, 12).await;
}

pub(crate) async fn what_was_trimmed_is_a_lost_position(bed: &Bed) {
    let topic = bed.topic(1).await;
    fill(&bed.producer(), &topic, 0, 100).await;
    assert_eq!(bed.maker.trim(&topic, 0, 42, SOON).await.unwrap(), 42);
    let low = loses_what_is_older(bed, &topic, 100).await;
    assert_eq!(low, 42);
    assert!(bed.maker.trim(&topic, 0, 1000, SOON).await.is_err(), "there is nothing to trim up to there");
}

async fn loses_what_is_older(bed: &Bed, topic: &str, end: i64) -> i64 {
    let readers = bed.readers();
    let low = readers.watermarks(topic, 0, SOON).await.unwrap().low;
    assert!(low > 0);
    let mut reader = readers.open(topic, 0, Start::Offset(0)).unwrap();
    match reader.next(SOON).await {
        Err(ReadError::PositionLost { wanted: 0, oldest, newest, .. }) => {
            assert_eq!((oldest, newest), (low, end));
        }
        other => panic!("{other:?}"),
    }
    let folded = readers.read_through(topic, 0, 0, end - 1, SOON, |_| ControlFlow::Continue(())).await;
    assert!(matches!(folded, Err(ReadError::PositionLost { oldest, .. }) if oldest == low), "{folded:?}");
    reader.seek(Start::Offset(low)).unwrap();
    assert_eq!(reader.next(SOON).await.unwrap().unwrap().offset, low);
    low
}
