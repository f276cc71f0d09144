//! The events topic as Kafka has it: its ends, and pages of it.

use super::{BACK, Happened, Sieve};
use futures::future::try_join_all;
use std::ops::ControlFlow;
use std::time::Duration;
use synod_infra::kafka::{RawRecord, ReadError, Readers, Watermarks};
use synod_protocol::event_stream::EventPosition;
use synod_protocol::{Code, Error, topics};

/// How long one read of the topic may stall.
const STALL: Duration = Duration::from_secs(3);
/// What one page holds at most.
const PAGE_RECORDS: usize = 500;
const PAGE_BYTES: usize = 2 << 20;

pub(super) fn away(error: &ReadError) -> Error {
    Error::unavailable(format!("Kafka: {error}"))
}

/// What each partition holds.
pub(super) async fn ends(readers: &Readers, partitions: u32) -> Result<Vec<Watermarks>, Error> {
    let asked = (0..partitions).map(|partition| end(readers, partition));
    try_join_all(asked).await.map_err(|error| away(&error))
}

pub(super) async fn end(readers: &Readers, partition: u32) -> Result<Watermarks, ReadError> {
    readers.watermarks(topics::EVENTS, partition as i32, STALL).await
}

pub(super) fn position(ends: &[Watermarks], of: impl Fn(&Watermarks) -> i64) -> EventPosition {
    EventPosition(ends.iter().map(|log| of(log).max(0).cast_unsigned()).collect())
}

/// Refuses a position of which something is no longer kept, or that the log has not reached; says where it could go on,
/// with as little lost as possible.
pub(super) fn check(position: &EventPosition, ends: &[Watermarks], only: Option<u32>) -> Result<(), Error> {
    if position.0.len() != ends.len() {
        let said =
            format!("this position is of {} partitions, the mesh has {}", position.0.len(), ends.len());
        return Err(Error::invalid(format!("{said}: it came from another mesh")).with_field("/after"));
    }
    let kept = |offset: u64, log: &Watermarks| {
        i64::try_from(offset).is_ok_and(|offset| (log.low..=log.high).contains(&offset))
    };
    let marks = position.0.iter().zip(ends).enumerate();
    let mut concerned = marks.filter(|(partition, _)| only.is_none_or(|only| *partition == only as usize));
    if concerned.all(|(_, (offset, log))| kept(*offset, log)) {
        return Ok(());
    }
    let nearest = |(offset, log): (&u64, &Watermarks)| {
        if kept(*offset, log) { *offset } else { log.low.max(0).cast_unsigned() }
    };
    let oldest = EventPosition(position.0.iter().zip(ends).map(nearest).collect());
    Err(lost(&oldest))
}

pub(super) fn lost(oldest: &EventPosition) -> Error {
    Error {
        oldest: Some(oldest.to_string()),
        ..Error::new(
            Code::PositionLost,
            "events after this position are no longer kept; `oldest` says where to go on",
        )
    }
}

/// A way through one partition, page by page.
pub(super) struct Paging {
    partition: u32,
    sieve: Sieve,
    /// The records before this are only there to know repeats by.
    from: u64,
    /// `None` until it is known how far back those reach.
    next: Option<u64>,
}

/// Some of it.
pub(super) struct Page {
    pub(super) events: Vec<Happened>,
    /// All before this offset was read.
    pub(super) next: u64,
}

impl Paging {
    /// From this offset on.
    pub(super) fn new(partition: u32, from: u64) -> Paging {
        Paging { partition, sieve: Sieve::default(), from, next: None }
    }

    /// The next page, before `end`; `None` when all was read.
    ///
    /// # Errors
    /// `PositionLost` where the log no longer reaches back so far; what Kafka says.
    pub(super) async fn page(&mut self, readers: &Readers, end: u64) -> Result<Option<Page>, ReadError> {
        let begin = match self.next {
            Some(next) => next,
            None => self.begin(readers).await?,
        };
        if begin >= end {
            return Ok(None);
        }
        let (mut events, mut bytes, mut records) = (Vec::new(), 0, 0);
        let (sieve, from, mut next) = (&mut self.sieve, self.from, begin);
        let each = |record: RawRecord| {
            let offset = record.offset.max(0).cast_unsigned();
            next = offset + 1;
            let event = sieve.take(&record);
            if offset >= from {
                records += 1;
                bytes += record.payload.as_ref().map_or(0, Vec::len);
                events.extend(event);
            }
            let is_full = records >= PAGE_RECORDS || bytes >= PAGE_BYTES;
            if is_full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        let (begin, last) = (begin.cast_signed(), (end - 1).cast_signed());
        readers.read_through(topics::EVENTS, self.partition as i32, begin, last, STALL, each).await?;
        self.next = Some(next);
        Ok(Some(Page { events, next }))
    }

    /// Where the records begin that repeats are known by.
    async fn begin(&mut self, readers: &Readers) -> Result<u64, ReadError> {
        let log = end(readers, self.partition).await?;
        let low = log.low.max(0).cast_unsigned();
        if self.from < low {
            return Err(ReadError::PositionLost {
                topic: topics::EVENTS.to_owned(),
                partition: self.partition as i32,
                wanted: self.from.cast_signed(),
                oldest: log.low,
                newest: log.high,
            });
        }
        Ok(self.from.saturating_sub(BACK as u64).max(low))
    }

    /// What knows repeats from here on.
    pub(super) fn into_sieve(self) -> Sieve {
        self.sieve
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_within_the_log_or_lost() {
        let ends = [Watermarks { low: 5, high: 9 }, Watermarks { low: 0, high: 0 }];
        let check = |offsets: &[u64], only, answer: Result<(), Option<&[u64]>>| {
            let checked = check(&EventPosition(offsets.to_vec()), &ends, only);
            let answered = checked.map_err(|error| error.oldest);
            let oldest = |offsets: &[u64]| EventPosition(offsets.to_vec()).to_string();
            assert_eq!(answered, answer.map_err(|offsets| offsets.map(oldest)), "{offsets:?}");
        };
        check(&[5, 0], None, Ok(()));
        check(&[9, 0], None, Ok(()));
        check(&[4, 0], None, Err(Some(&[5, 0])));
        check(&[7, 1], None, Err(Some(&[7, 0])));
        check(&[4, 0], Some(1), Ok(()));
        check(&[4, 0], Some(0), Err(Some(&[5, 0])));
        check(&[5], None, Err(None));
    }
}
