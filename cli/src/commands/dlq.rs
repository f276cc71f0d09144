//! `synod dlq …`: what could not be handled, and why. Read from `dlq.<topic>`; nothing is changed here.

use super::place::Place;
use crate::mesh::{Dialling, run as on_runtime};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::collections::VecDeque;
use std::io::Write;
use std::ops::ControlFlow;
use std::str::FromStr;
use std::time::Duration;
use synod_infra::kafka::{RawRecord, ReadError, Readers};
use synod_protocol::{Code, Error, Timestamp, topics};

/// How long Kafka may be silent.
const STALL: Duration = Duration::from_secs(10);
/// What our own headers on a dead letter begin with.
const SAID: &str = "__dlq.errors.";

/// Arguments of `synod dlq`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// The topic whose dead letters are meant
    #[arg(long, global = true, value_name = "TOPIC", default_value = topics::COMMANDS, value_parser = topic)]
    topic: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the newest dead letters, oldest first
    List {
        /// At most so many, 1 to 10,000
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=10_000))]
        limit: u32,
    },
    /// Show one dead letter, whole
    Show {
        /// Which, as `list` names it
        #[arg(value_name = "PARTITION:OFFSET")]
        letter: Letter,
    },
}

/// A dead letter's place in its topic.
#[derive(Clone, Copy, Debug)]
struct Letter {
    partition: i32,
    offset: i64,
}

impl FromStr for Letter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Letter, &'static str> {
        let parts = text.split_once(':').and_then(|(p, o)| Some((p.parse().ok()?, o.parse().ok()?)));
        match parts {
            Some((partition, offset)) if partition >= 0 && offset >= 0 => Ok(Letter { partition, offset }),
            _ => Err("a dead letter is named by partition and offset, such as 0:17"),
        }
    }
}

fn topic(name: &str) -> Result<String, String> {
    match topics::is_topic_name(name) {
        true => Ok(name.to_owned()),
        false => Err("a topic's name has 1 to 249 of A-Z a-z 0-9 . _ -".to_owned()),
    }
}

const COLUMNS: [Column; 5] = [
    Column::new("LETTER", "/letter"),
    Column::new("TIME", "/time"),
    Column::new("TYPE", "/type"),
    Column::new("KEY", "/key"),
    Column::new("WHY", "/error/message"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    let topic = topics::dlq(&args.topic);
    on_runtime(async {
        let mesh = Dialling::of(&settings, "synod-dlq");
        let readers = Readers::new(&mesh.kafka).map_err(|error| Stop::Usage(error.to_string()))?;
        match args.verb {
            Verb::List { limit } => {
                let letters = newest(&readers, &topic, limit as usize).await?;
                output.list(&letters.iter().map(summary).collect::<Vec<_>>(), &COLUMNS)
            }
            Verb::Show { letter } => output.entity(&whole(&find(&readers, &topic, letter).await?)),
        }
    })
}

/// The newest of all partitions, by time.
async fn newest(readers: &Readers, topic: &str, limit: usize) -> Result<Vec<RawRecord>, Stop> {
    let count = readers.partitions(topic, STALL).await.map_err(unavailable)?;
    let mut all = Vec::new();
    for partition in 0..count.unwrap_or(0).cast_signed() {
        let mut last = VecDeque::with_capacity(limit);
        let keep = |record| {
            if last.len() == limit {
                last.pop_front();
            }
            last.push_back(record);
            ControlFlow::Continue(())
        };
        readers.read_to_end(topic, partition, STALL, keep).await.map_err(unavailable)?;
        all.extend(last);
    }
    all.sort_by_key(|record| (record.timestamp_ms, record.partition, record.offset));
    all.drain(..all.len().saturating_sub(limit));
    Ok(all)
}

async fn find(readers: &Readers, topic: &str, letter: Letter) -> Result<RawRecord, Stop> {
    let Letter { partition, offset } = letter;
    let missing = || {
        let message = format!("there is no dead letter {partition}:{offset} in {topic}");
        Stop::from(Error::new(Code::NotFound, message))
    };
    let count = readers.partitions(topic, STALL).await.map_err(unavailable)?;
    if partition >= count.unwrap_or(0).cast_signed() {
        return Err(missing());
    }
    let kept = readers.watermarks(topic, partition, STALL).await.map_err(unavailable)?;
    if !(kept.low..kept.high).contains(&offset) {
        return Err(missing());
    }
    let mut found = None;
    let take = |record: RawRecord| {
        found = Some(record);
        ControlFlow::Break(())
    };
    readers.read_through(topic, partition, offset, offset, STALL, take).await.map_err(unavailable)?;
    found.filter(|record| record.offset == offset).ok_or_else(missing)
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn unavailable(error: ReadError) -> Stop {
    Error::unavailable(format!("Kafka: {error}")).into()
}

fn summary(record: &RawRecord) -> Value {
    let mut error = Map::new();
    let mut ty = Value::Null;
    for (name, value) in &record.headers {
        match name.strip_prefix(SAID) {
            Some(what) => {
                error.insert(what.to_owned(), text(value.as_deref()));
            }
            None if name == "ce_type" => ty = text(value.as_deref()),
            None => {}
        }
    }
    json!({
        "letter": format!("{}:{}", record.partition, record.offset),
        "time": record.timestamp_ms.map(|ms| Timestamp::from_millis(ms).to_string()),
        "type": ty,
        "key": text(record.key.as_deref()),
        "error": error,
    })
}

fn whole(record: &RawRecord) -> Value {
    let mut letter = summary(record);
    let kept = record.headers.iter().filter(|(name, _)| !name.starts_with(SAID));
    // Pairs, since a header may stand twice; that may be why it is here.
    letter["headers"] = kept.map(|(name, value)| json!([name, text(value.as_deref())])).collect();
    letter["value"] = text(record.payload.as_deref());
    letter
}

/// Text as it is, other bytes as `hex:…`.
fn text(bytes: Option<&[u8]>) -> Value {
    match bytes.map(std::str::from_utf8) {
        None => Value::Null,
        Some(Ok(text)) => Value::from(text),
        Some(Err(_)) => {
            let hex: String = bytes.unwrap_or_default().iter().map(|byte| format!("{byte:02x}")).collect();
            Value::from(format!("hex:{hex}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_is_named_by_its_place() {
        let check = |text: &str, ok| assert_eq!(text.parse::<Letter>().is_ok(), ok, "{text}");
        check("0:17", true);
        check("0", false);
        check("-1:3", false);
        check("a:b", false);
    }

    #[test]
    fn a_letter_shows_why_and_all_that_it_was() {
        let header = |name: &str, value: &[u8]| (name.to_owned(), Some(value.to_vec()));
        let record = RawRecord {
            topic: "dlq.t".into(),
            partition: 0,
            offset: 3,
            key: Some(b"\xff".to_vec()),
            headers: vec![
                header("ce_type", b"x"),
                header("ce_type", b"y"),
                header("__dlq.errors.message", b"ce_type stands twice"),
            ],
            unreadable_headers: 0,
            payload: Some(b"{}".to_vec()),
            timestamp_ms: Some(0),
        };
        let shown = whole(&record);
        assert_eq!(shown["error"]["message"], "ce_type stands twice");
        assert_eq!(shown["headers"], json!([["ce_type", "x"], ["ce_type", "y"]]));
        assert_eq!((&shown["key"], &shown["value"]), (&json!("hex:ff"), &json!("{}")));
    }
}
