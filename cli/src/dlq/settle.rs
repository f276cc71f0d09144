//! A dead letter is settled: a fresh try, or none.
//!
//! ```text
//! take ──> produce again to the source ──> mark as redriven
//!      └─────────── discard ─────────────> mark as discarded
//! ```
//!
//! At least once: a run that dies between the second and the third step leaves a letter in doubt, and who redrives it
//! then produces it a second time, under the same `ce_id`. For the mesh's own commands that does nothing twice; an
//! application's consumer must tell by itself.

use super::letters::{SAID, find, place, said, source};
use super::marks::{Marker, Said, TAKEN, Taken};
use crate::output::Stop;
use serde_json::{Value, json};
use std::borrow::Cow;
use std::time::Instant;
use synod_infra::kafka::{KafkaConfig, Outgoing, RawRecord, Readers};
use synod_protocol::{Code, Error, Timestamp, retry, topics};

/// What our headers on a record that was redriven begin with.
const REDRIVEN: &str = "__dlq.redriven.";
/// Letters taken at a time, so that each is dealt with long before its take is over.
const AT_A_TIME: usize = 64;

/// What is to be done with the letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// A fresh try.
    Redrive,
    /// None.
    Discard,
}

/// Does it to these letters of `dlq.<of>`. What became of each (`letter`, `result`, where it is now), and why not
/// all of them are among these, if they are not.
pub async fn settle(
    kafka: &KafkaConfig,
    readers: &Readers,
    of: &str,
    letters: &[RawRecord],
    deed: Deed,
) -> (Vec<Value>, Option<Stop>) {
    let mut rows = Vec::with_capacity(letters.len());
    let marker = match Marker::new(kafka, readers, &topics::dlq(of)).await {
        Ok(marker) => marker,
        Err(stop) => return (rows, Some(stop)),
    };
    for some in letters.chunks(AT_A_TIME) {
        if let Err(stop) = one_by_one(&marker, readers, of, some, deed, &mut rows).await {
            return (rows, Some(stop));
        }
    }
    let missed = missed(&rows);
    (rows, missed)
}

async fn one_by_one(
    marker: &Marker,
    readers: &Readers,
    of: &str,
    letters: &[RawRecord],
    deed: Deed,
    rows: &mut Vec<Value>,
) -> Result<(), Stop> {
    let taken_at = Instant::now();
    let sources: Vec<_> = letters.iter().map(source).collect();
    let had = marker.take(&sources).await?;
    for ((record, source), has) in letters.iter().zip(sources).zip(had) {
        let letter = place(record).to_string();
        match has {
            Err(Taken::Closed(mark)) => rows.push(json!({ "letter": letter, "result": mark.said.as_str() })),
            Err(Taken::ByAnother) => rows.push(json!({ "letter": letter, "result": "taken by another" })),
            Ok(()) if taken_at.elapsed() > TAKEN / 2 => {
                marker.let_go(source).await?;
                let slow = format!("Kafka is too slow: {letter} and what follows was let go untouched");
                return Err(Error::unavailable(slow).into());
            }
            Ok(()) if deed == Deed::Discard => {
                marker.close(source, Said::Discarded).await?;
                rows.push(json!({ "letter": letter, "result": "discarded" }));
            }
            Ok(()) => match again(readers, of, record).await? {
                Err(why) => {
                    marker.let_go(source).await?;
                    rows.push(json!({ "letter": letter, "result": "refused", "why": why }));
                }
                Ok(out) => {
                    // Not acknowledged is not known: the take stays, and the letter is in doubt.
                    let acked = marker.produce(out).await?;
                    marker.close(source, Said::Redriven).await?;
                    let now_at = format!("{of} {}:{}", acked.partition, acked.offset);
                    rows.push(json!({ "letter": letter, "result": "redriven", "now_at": now_at }));
                }
            },
        }
    }
    Ok(())
}

/// The record for its source topic; or why there is none to be had.
async fn again(readers: &Readers, of: &str, letter: &RawRecord) -> Result<Result<Outgoing, String>, Stop> {
    let now = Timestamp::from_millis(jiff::Timestamp::now().as_millisecond());
    if letter.payload.is_some() {
        return Ok(Ok(redriven(of, letter, letter.payload.clone(), now)));
    }
    // Too large for a dead letter, or there was none: its source may still have it.
    match find(readers, of, source(letter)).await {
        Ok(original) => Ok(Ok(redriven(of, letter, original.payload, now))),
        Err(Stop::Mesh(error)) if error.code == Code::NotFound => {
            Ok(Err(format!("the letter has no value, and its source is gone: {error}")))
        }
        Err(stop) => Err(stop),
    }
}

/// The original again: key, headers, value; and on it, that it was redriven.
fn redriven(of: &str, letter: &RawRecord, payload: Option<Vec<u8>>, now: Timestamp) -> Outgoing {
    let before = letter.headers.iter().find(|(name, _)| name.strip_prefix(REDRIVEN) == Some("count"));
    let before =
        before.and_then(|(_, value)| std::str::from_utf8(value.as_deref()?).ok()?.parse::<u32>().ok());
    let mut out = Outgoing { topic: of.to_owned(), key: letter.key.clone(), payload, ..Outgoing::default() };
    if letter.key.is_none() {
        out.partition = said(letter, "partition").and_then(|partition| partition.parse().ok());
    }
    let mut was = None;
    for (name, value) in &letter.headers {
        // How often it came again is counted anew; for whom it did stays, and where it is to come again needs it all.
        let of_retries =
            name.starts_with(retry::HEADERS) && name != retry::GROUP && !of.starts_with(retry::PREFIX);
        if name.starts_with(SAID) || name.starts_with("__dlq.") || of_retries {
            continue;
        }
        let mut value = value.clone();
        if of == topics::COMMANDS && name == "ce_time" {
            // A command is refused where its time is further back than what is remembered: this is a fresh try.
            was = value.replace(now.to_string().into_bytes());
        }
        out.headers.push((Cow::Owned(name.clone()), value));
    }
    let note = |name: &str, value: Vec<u8>| (Cow::Owned(format!("{REDRIVEN}{name}")), Some(value));
    out.headers.push(note("from", format!("{}:{}", letter.topic, place(letter)).into_bytes()));
    out.headers.push(note("at", now.to_string().into_bytes()));
    out.headers.push(note("count", (before.unwrap_or(0).saturating_add(1)).to_string().into_bytes()));
    out.headers.extend(was.map(|was| note("ce_time", was)));
    out
}

/// Some that were asked for were not to be had.
fn missed(rows: &[Value]) -> Option<Stop> {
    let not =
        rows.iter().filter(|row| row["result"] == "refused" || row["result"] == "taken by another").count();
    let message = format!("{not} of {} were not to be had", rows.len());
    (not > 0).then(|| Error::new(Code::Conflict, message).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(name: &str, value: &str) -> (String, Option<Vec<u8>>) {
        (name.to_owned(), Some(value.as_bytes().to_vec()))
    }

    fn letter(of: &str, key: Option<&[u8]>, headers: Vec<(String, Option<Vec<u8>>)>) -> RawRecord {
        RawRecord {
            topic: topics::dlq(of),
            partition: 0,
            offset: 17,
            key: key.map(<[u8]>::to_vec),
            headers,
            unreadable_headers: 0,
            payload: Some(b"{}".to_vec()),
            timestamp_ms: Some(0),
        }
    }

    fn headers(out: &Outgoing) -> Vec<(&str, &str)> {
        let text =
            |value: &Option<Vec<u8>>| std::str::from_utf8(value.as_deref().unwrap()).unwrap().to_owned();
        let pairs = out.headers.iter().map(|(name, value)| (name.as_ref(), text(value).leak() as &str));
        pairs.collect()
    }

    #[test]
    fn a_command_is_redriven_as_it_was_under_its_id_and_with_a_time_of_now() {
        let record = letter(
            topics::COMMANDS,
            Some(b"t"),
            vec![
                header("ce_id", "c"),
                header("ce_time", "2026-11-01T00:00:00Z"),
                (("x").to_owned(), Some(b"1".to_vec())),
                header("__dlq.errors.message", "why"),
                header("__dlq.redriven.count", "2"),
            ],
        );
        let out = redriven(topics::COMMANDS, &record, record.payload.clone(), Timestamp::from_millis(0));
        assert_eq!((out.topic.as_str(), out.partition), (topics::COMMANDS, None));
        assert_eq!((out.key.as_deref(), out.payload.as_deref()), (Some(&b"t"[..]), Some(&b"{}"[..])));
        assert_eq!(
            headers(&out),
            [
                ("ce_id", "c"),
                ("ce_time", "1970-01-01T00:00:00.000Z"),
                ("x", "1"),
                ("__dlq.redriven.from", "dlq.synod.commands.v1:0:17"),
                ("__dlq.redriven.at", "1970-01-01T00:00:00.000Z"),
                ("__dlq.redriven.count", "3"),
                ("__dlq.redriven.ce_time", "2026-11-01T00:00:00Z"),
            ]
        );
    }

    #[test]
    fn another_topic_s_record_keeps_its_time_and_without_a_key_its_partition() {
        let said = vec![header("ce_time", "2026-11-01T00:00:00Z"), header("__dlq.errors.partition", "5")];
        let record = letter("orders", None, said);
        let out = redriven("orders", &record, None, Timestamp::from_millis(0));
        assert_eq!((out.topic.as_str(), out.partition, out.payload.as_ref()), ("orders", Some(5), None));
        assert_eq!(headers(&out)[0], ("ce_time", "2026-11-01T00:00:00Z"));
        assert_eq!(headers(&out).len(), 4);
    }

    #[test]
    fn what_came_again_too_often_begins_anew_for_the_group_that_gave_it_up() {
        let said = [("ce_id", "c"), (retry::TO, "orders"), (retry::RETURN, "11"), (retry::GROUP, "billing")];
        let check = |of: &str, kept: &[(&str, &str)]| {
            let record = letter(of, None, said.map(|(name, value)| header(name, value)).to_vec());
            let out = redriven(of, &record, None, Timestamp::from_millis(0));
            assert_eq!(headers(&out)[..kept.len()], *kept, "{of}");
            assert_eq!(headers(&out).len(), kept.len() + 3, "{of}");
        };
        check("orders", &[("ce_id", "c"), (retry::GROUP, "billing")]);
        check("synod.retry.1s", &said);
    }

    #[test]
    fn what_was_not_to_be_had_is_an_exit_status() {
        let rows = |result: &str| vec![json!({"result": "redriven"}), json!({"result": result})];
        assert!(missed(&rows("discarded")).is_none());
        assert_eq!(missed(&rows("taken by another")).unwrap().exit(), crate::output::Exit::Refused);
        assert_eq!(missed(&rows("refused")).unwrap().exit(), crate::output::Exit::Refused);
    }
}
