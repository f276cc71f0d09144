//! Retries by time: a record handed back by its consumer, and the relay that puts it on its topic again when it is due.
//!
//! ```text
//!   worker --handed_back()--> synod.retry.<tier> --relay, a group of its own--> its topic   (or dlq.<its topic>)
//! ```
//!
//! Nothing is held in memory: what waits stands in Kafka, and the relay's group stores an offset only after the record is
//! acknowledged elsewhere. So a record comes again at least once, with all its headers, whoever ends meanwhile.

use super::config::KafkaConfig;
use super::dlq::dead_letter;
use super::group::{GroupConsumer, GroupError, GroupOptions};
use super::maker::{TopicError, TopicMaker};
use super::producer::{Producer, SendError};
use super::readers::Readers;
use super::record::{DeliveryError, Outgoing, RawRecord};
use super::topics::{dead_letters, retries};
use super::worker::HandlerError;
use crate::telemetry::names;
use futures::FutureExt;
use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use synod_protocol::retry::{self, Retry, Tier};
use tokio::sync::oneshot;

/// The limit of one question to the brokers.
const ASK: Duration = Duration::from_secs(10);
/// How long an acknowledgement may take before the record is sent once more.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(600);
/// Topics that are remembered as there.
const KNOWN_LIMIT: usize = 1_000;
/// Of what is not due yet so much is read ahead from each partition, in KiB.
const AHEAD_KIB: u32 = 256;

/// How often it has come again; 0 for one that has not.
pub(super) fn returns(record: &RawRecord) -> u32 {
    Retry::of(record.header_pairs()).map_or(0, |retry| retry.number)
}

/// Whether it comes again for another group.
pub(super) fn is_for_another(record: &RawRecord, group: &str) -> bool {
    let named = record.headers.iter().find(|(name, _)| name == retry::GROUP);
    named.and_then(|(_, value)| value.as_deref()).is_some_and(|named| named != group.as_bytes())
}

/// The record as it goes to the tier's topic: key, value and headers as they are, and where and for whom it comes again.
pub(super) fn handed_back(record: &RawRecord, tier: Tier, group: &str, limit: u32, why: &str) -> Outgoing {
    let retry = Retry {
        to: record.topic.clone(),
        number: returns(record) + 1,
        limit,
        group: Some(group.to_owned()),
        reason: Some(why.to_owned()),
    };
    let mut out = as_it_is(record, tier.topic(), |name| !name.starts_with(retry::HEADERS));
    let said = retry.headers().into_iter();
    out.headers.extend(said.map(|(name, value)| (Cow::Borrowed(name), Some(value.into_bytes()))));
    out
}

fn as_it_is(record: &RawRecord, topic: String, keeps: impl Fn(&str) -> bool) -> Outgoing {
    let kept = record.headers.iter().filter(|(name, _)| keeps(name));
    Outgoing {
        topic,
        partition: None,
        key: record.key.clone(),
        headers: kept.map(|(name, value)| (Cow::Owned(name.clone()), value.clone())).collect(),
        payload: record.payload.clone(),
    }
}

/// Puts one tier's records on their topics again when they are due, together with every other coordinator that does:
/// they are one group. Needs the tier's topic.
///
/// # Errors
/// As [`GroupConsumer::start`].
pub async fn relay(
    config: &KafkaConfig,
    tier: Tier,
    producer: Producer,
    readers: Readers,
    maker: &TopicMaker,
    replication: u32,
) -> Result<GroupConsumer, GroupError> {
    let topic = tier.topic();
    let mut config = config.named(format!("{}-{topic}", config.client_id));
    // What lies for an hour must not lie in memory.
    let ahead =
        [("queued.max.messages.kbytes", AHEAD_KIB.to_string()), ("queued.min.messages", "100".to_owned())];
    config.extra.extend(ahead.map(|(name, value)| (name.to_owned(), value)));
    let options = GroupOptions {
        // A record is not given up because a broker is away.
        attempts: u32::MAX,
        handler_limit: ACKNOWLEDGED_WITHIN + ASK,
        hold: tier.delay(),
        session: Duration::from_secs(6),
        replication,
        ..GroupOptions::default()
    };
    let known = Mutex::default();
    let relay =
        Arc::new(Relay { producer: producer.clone(), readers, maker: maker.clone(), replication, known });
    let handle = move |record: &RawRecord, _| {
        let (relay, record) = (relay.clone(), record.clone());
        let seen_on = async move {
            let went = relay.pass_on(&record).await;
            count(tier, &went);
            went.map(drop)
        };
        Ok(seen_on.boxed())
    };
    GroupConsumer::of_raw(&config, &topic, &[&topic], producer, maker, options, Box::new(handle)).await
}

/// Where a record went.
enum Went {
    /// To its topic.
    On,
    /// To the dead letters of its topic.
    ToDeadLetters,
}

fn count(tier: Tier, went: &Result<Went, HandlerError>) {
    let outcome = match went {
        Ok(Went::On) => "passed_on",
        Ok(Went::ToDeadLetters) | Err(HandlerError::Poison(_)) => "dead_lettered",
        // It is still here.
        Err(HandlerError::Retry(_) | HandlerError::Later { .. }) => return,
    };
    metrics::counter!(names::RETRIES_TOTAL, "tier" => tier.name(), "outcome" => outcome).increment(1);
}

struct Relay {
    producer: Producer,
    readers: Readers,
    maker: TopicMaker,
    replication: u32,
    known: Mutex<BTreeSet<String>>,
}

impl Relay {
    async fn pass_on(&self, record: &RawRecord) -> Result<Went, HandlerError> {
        let retry = Retry::of(record.header_pairs()).map_err(|error| HandlerError::Poison(error.message))?;
        let (out, went) = if retry.is_used_up() {
            let letters = dead_letters(&retry.to, self.replication);
            let made = self.maker.ensure(std::slice::from_ref(&letters), ASK).await;
            made.map_err(|error| HandlerError::Retry(error.to_string()))?;
            let why = retry.reason.as_deref().unwrap_or("no reason was given");
            let why = format!("it has come again {} times, which is the limit: {why}", retry.limit);
            let group = retry.group.as_deref().unwrap_or_default();
            let mut letter = dead_letter(record, group, retry.number, &why);
            letter.topic = letters.name;
            // It stood in our topic, not in that of which this is the dead letter: its place here would mislead.
            letter.headers.retain(|(name, _)| !super::dlq::is_place(name));
            (letter, Went::ToDeadLetters)
        } else {
            self.there(&retry.to).await?;
            (as_it_is(record, retry.to, |_| true), Went::On)
        };
        self.send(out).await.map(|()| went)
    }

    /// Whether the topic is there: a record for one that is not would hold up all that are behind it.
    async fn there(&self, topic: &str) -> Result<(), HandlerError> {
        if self.known().contains(topic) {
            return Ok(());
        }
        let found = self.readers.partitions(topic, ASK).await;
        if found.map_err(|error| HandlerError::Retry(error.to_string()))?.is_none() {
            return Err(HandlerError::Poison(format!("there is no topic {topic} for it to come again on")));
        }
        let mut known = self.known();
        if known.len() >= KNOWN_LIMIT {
            known.clear();
        }
        known.insert(topic.to_owned());
        Ok(())
    }

    fn known(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, out: Outgoing) -> Result<(), HandlerError> {
        let topic = out.topic.clone();
        let (tell, told) = oneshot::channel();
        let sent = self.producer.send(out, move |delivery| {
            // Nobody waits any more: it comes again.
            let _ = tell.send(delivery);
        });
        let lasting = |why: String| HandlerError::Poison(format!("{topic} does not take it: {why}"));
        sent.map_err(|error| match error {
            SendError::QueueFull(_) => HandlerError::Retry("the producer's queue is full".into()),
            SendError::TooLarge { .. } | SendError::Refused { .. } => lasting(error.to_string()),
        })?;
        match tokio::time::timeout(ACKNOWLEDGED_WITHIN, told).await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(error))) => {
                self.known().remove(&topic);
                Err(match error {
                    DeliveryError::Refused(why) => lasting(why),
                    DeliveryError::NotSent(why) | DeliveryError::Unknown(why) => HandlerError::Retry(why),
                })
            }
            Ok(Err(_)) => Err(HandlerError::Retry("the producer ended".into())),
            Err(_) => Err(HandlerError::Retry("no acknowledgement".into())),
        }
    }
}

/// Makes a tier's topic unless it is there, as the group does whose handler is the first to say
/// [`HandlerError::Later`]. `replication`: 0 for the brokers' default.
///
/// # Errors
/// As [`TopicMaker::ensure`].
pub async fn ensure(maker: &TopicMaker, tier: Tier, replication: u32) -> Result<(), TopicError> {
    maker.ensure(&[retries(tier, replication)], ASK).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(headers: &[(&str, &str)]) -> RawRecord {
        RawRecord {
            topic: "orders".into(),
            partition: 3,
            offset: 42,
            key: Some(b"k".to_vec()),
            headers: headers.iter().map(|(n, v)| ((*n).to_owned(), Some(v.as_bytes().to_vec()))).collect(),
            unreadable_headers: 0,
            payload: Some(b"{}".to_vec()),
            timestamp_ms: None,
        }
    }

    #[test]
    fn a_record_that_is_handed_back_says_where_for_whom_and_how_often() {
        let again = |record: &RawRecord| {
            let out = handed_back(record, Tier::of(Duration::from_secs(5)), "billing", 7, "busy");
            assert_eq!(out.topic, "synod.retry.10s");
            assert_eq!((out.key.as_deref(), out.payload.as_deref()), (Some(&b"k"[..]), Some(&b"{}"[..])));
            let text = |(n, v): &(Cow<'static, str>, Option<Vec<u8>>)| {
                (n.to_string(), String::from_utf8(v.clone().unwrap()).unwrap())
            };
            out.headers.iter().map(text).collect::<Vec<_>>()
        };
        let first = again(&record(&[("ce_id", "7")]));
        let said = [
            ("ce_id", "7"),
            ("synod-retry-to", "orders"),
            ("synod-retry-return", "1"),
            ("synod-retry-limit", "7"),
            ("synod-retry-group", "billing"),
            ("synod-retry-reason", "busy"),
        ];
        assert_eq!(first, said.map(|(n, v)| (n.to_owned(), v.to_owned())));
        // As it comes again: nothing stands twice, and the count goes on.
        let back: Vec<(&str, &str)> = first.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        let came = record(&back);
        assert_eq!((returns(&came), is_for_another(&came, "billing")), (1, false));
        assert!(is_for_another(&came, "shipping") && !is_for_another(&record(&[]), "shipping"));
        let second = again(&came);
        assert_eq!(second.len(), first.len());
        assert_eq!(second[2].1, "2");
    }
}
