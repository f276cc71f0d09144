//! Retries by time: what an application's own consumer could not do now comes again later, on a topic of its own.
//!
//! ```text
//!   consumer --the record, and the headers below--> synod.retry.<tier>
//!       ^                                                 | once it has lain there for the tier's time
//!       `--------------- its topic again <--coordinator---+---- more often than its limit --> dlq.<its topic>
//! ```
//!
//! Any Kafka client can hand a record back: it produces it, key and value as they came, to the tier's topic.

use crate::error::Error;
use crate::topics;
use std::str::FromStr;
use std::time::Duration;

/// What every topic for retries begins with.
pub const PREFIX: &str = "synod.retry.";
/// What each header here begins with.
pub const HEADERS: &str = "synod-retry-";
/// The header that names the topic to come again on; needed.
pub const TO: &str = "synod-retry-to";
/// The header that says the how manieth return this is, from 1; absent: the first.
pub const RETURN: &str = "synod-retry-return";
/// The header that says how many returns there may be; absent: [`DEFAULT_LIMIT`].
pub const LIMIT: &str = "synod-retry-limit";
/// The header that names the group of consumers that it comes again for; others pass it over.
pub const GROUP: &str = "synod-retry-group";
/// The header that says why it was handed back, for people.
pub const REASON: &str = "synod-retry-reason";

/// Returns of a record whose consumer says nothing else.
pub const DEFAULT_LIMIT: u32 = 10;
/// The most returns that a record may have.
pub const MOST: u32 = 1_000;
/// Bytes that a reason may have.
pub const REASON_BYTES: usize = 1_024;

/// How long a record lies before it comes again: one topic for each, so that those before it in a partition are due earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tier {
    delay: Duration,
    name: &'static str,
}

/// All there are, the shortest first.
pub const TIERS: [Tier; 5] = [
    Tier { delay: Duration::from_secs(1), name: "1s" },
    Tier { delay: Duration::from_secs(10), name: "10s" },
    Tier { delay: Duration::from_secs(60), name: "1m" },
    Tier { delay: Duration::from_secs(600), name: "10m" },
    Tier { delay: Duration::from_secs(3_600), name: "1h" },
];

impl Tier {
    /// The shortest that lasts at least so long; the longest where none does.
    pub fn of(after: Duration) -> Tier {
        let enough = TIERS.into_iter().find(|tier| tier.delay >= after);
        enough.unwrap_or(TIERS[TIERS.len() - 1])
    }

    /// How long a record lies.
    pub fn delay(self) -> Duration {
        self.delay
    }

    /// Such as `10s`.
    pub fn name(self) -> &'static str {
        self.name
    }

    /// Its topic, such as `synod.retry.10s`.
    pub fn topic(self) -> String {
        format!("{PREFIX}{}", self.name)
    }
}

/// What the headers of a record in a tier's topic say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Where it comes again.
    pub to: String,
    /// The how manieth return it is, from 1.
    pub number: u32,
    /// How many there may be.
    pub limit: u32,
    /// For whom.
    pub group: Option<String>,
    /// Why.
    pub reason: Option<String>,
}

impl Retry {
    /// Reads the headers; others are passed over.
    ///
    /// # Errors
    /// `invalid_argument`, with the header: one is missing, stands twice, or says what cannot be.
    pub fn of<'a>(headers: impl IntoIterator<Item = (&'a str, Option<&'a [u8]>)>) -> Result<Retry, Error> {
        let (mut to, mut number, mut limit, mut group, mut reason) = (None, None, None, None, None);
        for (name, value) in headers {
            let slot = match name {
                TO => &mut to,
                RETURN => &mut number,
                LIMIT => &mut limit,
                GROUP => &mut group,
                REASON => &mut reason,
                _ => continue,
            };
            let text = value.and_then(|value| std::str::from_utf8(value).ok());
            let text = text.ok_or_else(|| Error::invalid(format!("header {name} is not UTF-8")))?;
            if slot.replace(text.to_owned()).is_some() {
                return Err(Error::invalid(format!("header {name} stands twice; it may stand once")));
            }
        }
        let to = to.ok_or_else(|| {
            Error::invalid(format!("header {TO} is missing: it names the topic to come again on"))
        })?;
        check_target(&to)?;
        let number = counted(RETURN, number)?.unwrap_or(1);
        let limit = counted(LIMIT, limit)?.unwrap_or(DEFAULT_LIMIT);
        Ok(Retry { to, number, limit, group, reason })
    }

    /// Whether it has come again as often as it may.
    pub fn is_used_up(&self) -> bool {
        self.number > self.limit
    }

    /// Every header that is read here, with what it says: for the reference.
    pub fn described() -> [(&'static str, &'static str); 5] {
        [
            (TO, "The topic to come again on; none that begins with `synod.` or `dlq.`"),
            (RETURN, "The how manieth return this is, from 1; absent: 1"),
            (
                LIMIT,
                "How many returns there may be, 1 to 1000; absent: 10. One beyond it goes to `dlq.<topic>`",
            ),
            (GROUP, "The consumer group that it comes again for; others pass it over"),
            (REASON, "Why it was handed back, for people"),
        ]
    }

    /// The headers that say it.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers =
            vec![(TO, self.to.clone()), (RETURN, self.number.to_string()), (LIMIT, self.limit.to_string())];
        headers.extend(self.group.clone().map(|group| (GROUP, group)));
        headers.extend(self.reason.as_deref().map(|reason| (REASON, shortened(reason))));
        headers
    }
}

/// Whether a record may come again on this topic.
///
/// # Errors
/// `invalid_argument`: it is no topic's name, or one of the mesh's own, which have doors of their own.
pub fn check_target(topic: &str) -> Result<(), Error> {
    if !topics::is_topic_name(topic) {
        let said = format!("header {TO}: {} is no topic's name", crate::id::shown(topic));
        return Err(Error::invalid(said));
    }
    if topic.starts_with("synod.") || topic.starts_with("dlq.") {
        let said = format!("header {TO}: {topic} is the mesh's own; name a topic of the application's");
        return Err(Error::invalid(said));
    }
    Ok(())
}

fn counted(name: &str, text: Option<String>) -> Result<Option<u32>, Error> {
    let Some(text) = text else { return Ok(None) };
    let number = u32::from_str(&text).ok().filter(|number| (1..=MOST).contains(number));
    let refused =
        || Error::invalid(format!("header {name} is {}, it must be 1 to {MOST}", crate::id::shown(&text)));
    number.ok_or_else(refused).map(Some)
}

fn shortened(text: &str) -> String {
    let mut end = text.len().min(REASON_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tier_lasts_at_least_as_long_as_was_asked() {
        let check = |ms: u64, topic: &str| {
            assert_eq!(Tier::of(Duration::from_millis(ms)).topic(), topic, "{ms}");
        };
        check(0, "synod.retry.1s");
        check(1_000, "synod.retry.1s");
        check(1_001, "synod.retry.10s");
        check(60_000, "synod.retry.1m");
        check(61_000, "synod.retry.10m");
        check(3_600_000, "synod.retry.1h");
        check(u64::MAX, "synod.retry.1h");
        assert!(TIERS.is_sorted());
    }

    fn read(headers: &[(&str, &str)]) -> Result<Retry, Error> {
        Retry::of(headers.iter().map(|(name, value)| (*name, Some(value.as_bytes()))))
    }

    #[test]
    fn what_is_written_is_read() {
        let first = read(&[(TO, "orders"), ("other", "x")]).unwrap();
        assert_eq!((first.number, first.limit, first.is_used_up()), (1, 10, false));
        let whole = Retry {
            to: "orders".into(),
            number: 4,
            limit: 3,
            group: Some("billing".into()),
            reason: Some("ж".repeat(600)),
        };
        let headers = whole.headers();
        let pairs: Vec<(&str, &str)> = headers.iter().map(|(n, v)| (*n, v.as_str())).collect();
        let again = read(&pairs).unwrap();
        assert!(again.is_used_up());
        assert_eq!(again.reason.as_ref().map(String::len), Some(REASON_BYTES));
        assert_eq!(Retry { reason: None, ..again }, Retry { reason: None, ..whole });
    }

    #[test]
    fn what_cannot_be_is_refused_with_its_header() {
        let check = |headers: &[(&str, &str)], says: &str| {
            let error = read(headers).unwrap_err();
            assert!(error.message.contains(says), "{error}");
        };
        check(&[], "synod-retry-to is missing");
        check(&[(TO, "a b")], "no topic's name");
        check(&[(TO, "synod.commands.v1")], "is the mesh's own");
        check(&[(TO, "dlq.orders")], "is the mesh's own");
        check(&[(TO, "orders"), (TO, "orders")], "stands twice");
        check(&[(TO, "orders"), (RETURN, "0")], "synod-retry-return is \"0\", it must be 1 to 1000");
        check(&[(TO, "orders"), (LIMIT, "many")], "synod-retry-limit");
        check(&[(TO, "orders"), (LIMIT, "1001")], "1 to 1000");
        assert!(Retry::of([(TO, Some(&[0xff][..]))]).unwrap_err().message.contains("not UTF-8"));
    }
}
