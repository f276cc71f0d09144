//! What operators did with dead letters: marks in a compacted topic of Kafka.
//!
//! A dead-letter topic is read, kept for a time and never edited, so what was redriven or discarded is said beside
//! it. Not in Redis, which may be wiped: what was discarded would be back. The log's order settles who was first:
//!
//! ```text
//! take   <topic>/<source>/<run>   I am about to; of two, the one that stands first has it for TAKEN
//! close  <topic>/<source>         redriven, or discarded: for good
//! null   <topic>/<source>/<run>   done with it, one way or the other
//! ```
//!
//! Every take has a key of its own, so that compaction cannot remove the one that came first. A run that dies between
//! producing and its mark leaves its take: the letter is in doubt, and may be redriven again.

use super::Source;
use crate::output::Stop;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;
use synod_infra::kafka::{Acked, KafkaConfig, Outgoing, Producer, RawRecord, Readers, TopicMaker, TopicSpec};
use synod_protocol::{Error, Timestamp};
use tokio::sync::oneshot;

/// Where they stand.
pub(super) const TOPIC: &str = "synod.dlq.v1";
/// The one partition that is used: an order among all.
const PARTITION: i32 = 0;
/// How long Kafka may be silent.
const WAIT: Duration = Duration::from_secs(10);
/// How long a take holds, by the broker's time.
pub(super) const TAKEN: Duration = Duration::from_secs(60);
/// A day longer than dead letters are kept.
const KEPT_MS: u64 = 31 * 24 * 3_600_000;

/// What a mark says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Said {
    /// Somebody is about to.
    Taken,
    /// It was produced again.
    Redriven,
    /// Nobody wants it.
    Discarded,
}

impl Said {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Said::Taken => "taken",
            Said::Redriven => "redriven",
            Said::Discarded => "discarded",
        }
    }
}

/// A mark's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    v: u32,
    /// What it says.
    pub said: Said,
    /// The operator's own clock, for people.
    pub at: Timestamp,
}

/// A take that was not taken back.
#[derive(Clone, Debug)]
struct Take {
    run: String,
    offset: i64,
    broker_ms: i64,
    at: Timestamp,
}

/// Where every letter of one dead-letter topic stands.
#[derive(Debug, Default)]
pub struct Marks {
    prefix: String,
    closed: BTreeMap<Source, Mark>,
    takes: BTreeMap<Source, Vec<Take>>,
}

impl Marks {
    fn of(topic: &str) -> Marks {
        Marks { prefix: format!("{topic}/"), ..Marks::default() }
    }

    /// All that is said now about the letters of this dead-letter topic.
    ///
    /// # Errors
    /// Kafka cannot be read.
    pub async fn read(readers: &Readers, topic: &str) -> Result<Marks, Stop> {
        let mut marks = Marks::of(topic);
        if readers.partitions(TOPIC, WAIT).await.map_err(super::unavailable)?.is_some() {
            let each = |record| marks.each(&record);
            readers.read_to_end(TOPIC, PARTITION, WAIT, each).await.map_err(super::unavailable)?;
        }
        Ok(marks)
    }

    /// All that was said up to this offset, which was acknowledged.
    async fn read_through(readers: &Readers, topic: &str, offset: i64) -> Result<Marks, Stop> {
        let mut marks = Marks::of(topic);
        let log = readers.watermarks(TOPIC, PARTITION, WAIT).await.map_err(super::unavailable)?;
        let each = |record| marks.each(&record);
        let read = readers.read_through(TOPIC, PARTITION, log.low.min(offset), offset, WAIT, each).await;
        read.map(|_| marks).map_err(super::unavailable)
    }

    fn each(&mut self, record: &RawRecord) -> ControlFlow<()> {
        let key = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok());
        let Some(rest) = key.and_then(|key| key.strip_prefix(&self.prefix)) else {
            return ControlFlow::Continue(());
        };
        let (source, run) = rest.split_once('/').map_or((rest, None), |(source, run)| (source, Some(run)));
        let Ok(source) = source.parse::<Source>() else { return ControlFlow::Continue(()) };
        // Somebody else's words in our topic are not ours to act upon.
        let mark: Option<Mark> =
            record.payload.as_deref().and_then(|bytes| serde_json::from_slice(bytes).ok());
        match (run, mark) {
            (None, Some(mark)) if mark.said != Said::Taken => {
                // The first word counts: whoever came later has been told.
                self.closed.entry(source).or_insert(mark);
            }
            (Some(run), Some(mark)) if mark.said == Said::Taken => {
                let broker_ms = record.timestamp_ms.unwrap_or_default();
                let take = Take { run: run.to_owned(), offset: record.offset, broker_ms, at: mark.at };
                self.takes.entry(source).or_default().push(take);
            }
            (Some(run), None) if record.payload.is_none() => {
                if let Some(takes) = self.takes.get_mut(&source) {
                    takes.retain(|take| take.run != run);
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    /// Whether it is done with, and how.
    pub fn closed(&self, source: Source) -> Option<Mark> {
        self.closed.get(&source).copied()
    }

    /// When somebody took it who has not said what came of it.
    pub fn in_doubt(&self, source: Source) -> Option<Timestamp> {
        self.takes.get(&source)?.last().map(|take| take.at)
    }

    /// Whether the take at this offset has the letter; else who else has.
    fn has(&self, source: Source, offset: i64) -> Result<(), Taken> {
        if let Some(mark) = self.closed(source) {
            return Err(Taken::Closed(mark));
        }
        let takes = self.takes.get(&source).map_or(&[][..], Vec::as_slice);
        let Some(mine) = takes.iter().find(|take| take.offset == offset) else {
            return Err(Taken::ByAnother);
        };
        let holds = |take: &&Take| {
            take.offset < offset && mine.broker_ms.saturating_sub(take.broker_ms) < TAKEN.as_millis() as i64
        };
        match takes.iter().find(holds) {
            Some(_) => Err(Taken::ByAnother),
            None => Ok(()),
        }
    }
}

/// Why a letter cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is done with.
    Closed(Mark),
    /// Somebody was first, less than [`TAKEN`] ago.
    ByAnother,
}

/// Writes marks, under the name of one run.
pub(super) struct Marker {
    readers: Readers,
    producer: Producer,
    topic: String,
    run: String,
}

impl Marker {
    /// For the letters of this topic; makes the topic of marks if there is none.
    pub(super) async fn new(kafka: &KafkaConfig, readers: &Readers, topic: &str) -> Result<Marker, Stop> {
        let spec = TopicSpec::new(TOPIC, 1, 0)
            .with("cleanup.policy", "compact,delete")
            .with("retention.ms", KEPT_MS)
            .with("message.timestamp.type", "LogAppendTime");
        let made = TopicMaker::new(kafka).ensure(&[spec], WAIT).await;
        made.map_err(|error| Stop::from(Error::unavailable(format!("{TOPIC} cannot be made: {error}"))))?;
        let producer = Producer::new(kafka).map_err(|error| Stop::Usage(error.to_string()))?;
        let run = uuid::Uuid::now_v7().simple().to_string();
        Ok(Marker { readers: readers.clone(), producer, topic: topic.to_owned(), run })
    }

    /// Takes letters: for each, whether this run has it. Those that it does not have are let go again.
    pub(super) async fn take(&self, sources: &[Source]) -> Result<Vec<Result<(), Taken>>, Stop> {
        let mut offsets = Vec::with_capacity(sources.len());
        for source in sources {
            offsets.push(self.say(*source, true, Some(Said::Taken)).await?);
        }
        let Some(last) = offsets.iter().max() else { return Ok(Vec::new()) };
        let marks = Marks::read_through(&self.readers, &self.topic, *last).await?;
        let mut had = Vec::with_capacity(sources.len());
        for (source, offset) in sources.iter().zip(&offsets) {
            let has = marks.has(*source, *offset);
            if has.is_err() {
                self.let_go(*source).await?;
            }
            had.push(has);
        }
        Ok(had)
    }

    /// Says for good what became of a letter that this run has, and lets it go.
    pub(super) async fn close(&self, source: Source, said: Said) -> Result<(), Stop> {
        self.say(source, false, Some(said)).await?;
        self.let_go(source).await
    }

    /// Nothing came of it: others may take it.
    pub(super) async fn let_go(&self, source: Source) -> Result<(), Stop> {
        self.say(source, true, None).await.map(drop)
    }

    async fn say(&self, source: Source, own: bool, said: Option<Said>) -> Result<i64, Stop> {
        let key = match own {
            true => format!("{}/{source}/{}", self.topic, self.run),
            false => format!("{}/{source}", self.topic),
        };
        let mut out = Outgoing::to(TOPIC).partition(PARTITION).key(key);
        if let Some(said) = said {
            let at = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
            let mark = Mark { v: 1, said, at };
            out = out.payload(serde_json::to_vec(&mark).map_err(|error| Stop::Failed(error.to_string()))?);
        }
        Ok(acknowledged(&self.producer, out).await?.offset)
    }

    /// Appends any record and waits for its acknowledgement.
    pub(super) async fn produce(&self, out: Outgoing) -> Result<Acked, Stop> {
        acknowledged(&self.producer, out).await
    }
}

async fn acknowledged(producer: &Producer, out: Outgoing) -> Result<Acked, Stop> {
    let (tell, told) = oneshot::channel();
    let topic = out.topic.clone();
    let silent = |why: String| Stop::from(Error::unavailable(format!("Kafka: {topic}: {why}")));
    let sent = producer.send(out, move |delivery| {
        // Nobody listens any more: time was up.
        let _ = tell.send(delivery);
    });
    sent.map_err(|error| silent(error.to_string()))?;
    match tokio::time::timeout(WAIT, told).await {
        Ok(Ok(Ok(acked))) if acked.known_offset().is_some() => Ok(acked),
        Ok(Ok(Ok(_))) => Err(silent("acknowledged without an offset".to_owned())),
        Ok(Ok(Err(error))) => Err(silent(error.to_string())),
        Ok(Err(_)) => Err(silent("the producer ended".to_owned())),
        Err(_) => {
            Err(silent(format!("not acknowledged in {} s; it may be there all the same", WAIT.as_secs())))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: Source = Source { partition: 3, offset: 17 };

    /// The record at `offset`, `seconds` into the broker's time.
    fn record(offset: i64, seconds: i64, key: &str, said: Option<&str>) -> RawRecord {
        let value =
            |said| format!(r#"{{"v":1,"said":"{said}","at":"2026-11-21T08:00:00.000Z"}}"#).into_bytes();
        RawRecord {
            topic: TOPIC.into(),
            partition: 0,
            offset,
            key: Some(key.as_bytes().to_vec()),
            headers: Vec::new(),
            unreadable_headers: 0,
            payload: said.map(value),
            timestamp_ms: Some(seconds * 1_000),
        }
    }

    fn marks(records: &[(i64, &str, Option<&str>)]) -> Marks {
        let mut marks = Marks::of("dlq.t");
        for (offset, (seconds, key, said)) in records.iter().enumerate() {
            assert!(marks.each(&record(offset as i64, *seconds, key, *said)).is_continue());
        }
        marks
    }

    const ONE: &str = "dlq.t/3:17/one";
    const TWO: &str = "dlq.t/3:17/two";
    const TAKE: Option<&str> = Some("taken");

    #[test]
    fn of_two_operators_the_first_in_the_log_has_it() {
        let both = marks(&[(0, ONE, TAKE), (1, TWO, TAKE)]);
        assert_eq!(both.has(SOURCE, 0), Ok(()));
        assert_eq!(both.has(SOURCE, 1), Err(Taken::ByAnother));
        // The loser lets go; the winner had it all the same.
        let later = marks(&[(0, ONE, TAKE), (1, TWO, TAKE), (2, TWO, None)]);
        assert_eq!(later.has(SOURCE, 0), Ok(()));
        let other = marks(&[(0, "dlq.t/3:18/one", TAKE), (1, TWO, TAKE), (2, "dlq.u/3:17/x", TAKE)]);
        assert_eq!(other.has(SOURCE, 1), Ok(()));
    }

    #[test]
    fn a_take_that_nobody_ended_holds_for_its_time_and_leaves_the_letter_in_doubt() {
        let early = marks(&[(0, ONE, TAKE), (59, TWO, TAKE)]);
        assert_eq!(early.has(SOURCE, 1), Err(Taken::ByAnother));
        let late = marks(&[(0, ONE, TAKE), (60, TWO, TAKE)]);
        assert_eq!(late.has(SOURCE, 1), Ok(()));
        assert!(marks(&[(0, ONE, TAKE)]).in_doubt(SOURCE).is_some());
        let ended = marks(&[(0, ONE, TAKE), (1, ONE, None), (2, TWO, TAKE)]);
        assert_eq!(ended.has(SOURCE, 2), Ok(()));
        assert!(marks(&[(0, ONE, TAKE), (1, ONE, None)]).in_doubt(SOURCE).is_none());
    }

    #[test]
    fn what_is_closed_stays_as_it_was_first_closed() {
        let closed = marks(&[
            (0, ONE, TAKE),
            (1, "dlq.t/3:17", Some("redriven")),
            (2, ONE, None),
            (3, "dlq.t/3:17", Some("discarded")),
            (200, TWO, TAKE),
        ]);
        assert_eq!(closed.closed(SOURCE).unwrap().said, Said::Redriven);
        assert!(matches!(closed.has(SOURCE, 4), Err(Taken::Closed(mark)) if mark.said == Said::Redriven));
    }

    #[test]
    fn foreign_words_in_the_topic_close_nothing() {
        let junk = marks(&[
            (0, "dlq.t/3:17", Some("taken")),
            (0, "dlq.t/3:17/one", Some("redriven")),
            (0, "dlq.t/x", Some("redriven")),
            (0, "dlq.t/3:17", Some("eaten")),
        ]);
        assert!(junk.closed(SOURCE).is_none() && junk.in_doubt(SOURCE).is_none());
    }
}
