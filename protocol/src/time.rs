//! Points in time: whole milliseconds since the Unix epoch, written as RFC 3339 in UTC.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;

/// A point in time, in whole milliseconds; finer parts of what is read are dropped.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

/// Year 1 to the end of 9999: what RFC 3339 can write.
const RANGE: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_207_199_999;

impl Timestamp {
    /// Milliseconds since the Unix epoch, held to the years 1 to 9999.
    pub fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis.clamp(*RANGE.start(), *RANGE.end()))
    }

    /// Milliseconds since the Unix epoch.
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339 with any offset.
    ///
    /// # Errors
    /// The text is not an RFC 3339 time.
    pub fn parse(text: &str) -> Result<Timestamp, crate::Error> {
        text.parse::<jiff::Timestamp>().map(|t| Timestamp::from_millis(t.as_millisecond())).map_err(|_| {
            crate::Error::invalid(format!(
                "{} is not an RFC 3339 time such as 2026-11-21T08:00:00.000Z",
                crate::id::shown(text)
            ))
        })
    }

    /// This time plus so many milliseconds, held to the range.
    pub fn plus_millis(self, millis: u64) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_add(i64::try_from(millis).unwrap_or(i64::MAX)))
    }

    /// So many milliseconds earlier.
    pub fn minus_millis(self, millis: u64) -> Timestamp {
        Timestamp::from_millis(self.0.saturating_sub(i64::try_from(millis).unwrap_or(i64::MAX)))
    }

    /// Milliseconds from `earlier` to this; 0 if it is not later.
    pub fn millis_since(self, earlier: Timestamp) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t:.3}"),
            Err(_) => Err(fmt::Error),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        Timestamp::parse(&text).map_err(de::Error::custom)
    }
}

impl utoipa::PartialSchema for Timestamp {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::schema::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .format(Some(utoipa::openapi::SchemaFormat::KnownFormat(utoipa::openapi::KnownFormat::DateTime)))
            .into()
    }
}
impl utoipa::ToSchema for Timestamp {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_read_any_offset_and_write_utc() {
        let check =
            |text: &str, want: &str| assert_eq!(Timestamp::parse(text).unwrap().to_string(), want, "{text}");
        check("2026-11-21T08:00:00Z", "2026-11-21T08:00:00.000Z");
        check("2026-11-21T08:00:00.123456+02:00", "2026-11-21T06:00:00.123Z");
        check("1969-12-31T23:59:59.999Z", "1969-12-31T23:59:59.999Z");
        assert!(Timestamp::parse("yesterday").is_err());
        assert!(Timestamp::parse("2026-11-21").is_err());
    }

    #[test]
    fn every_time_can_be_written_and_read_again() {
        for ms in [i64::MIN, *RANGE.start(), -1, 0, 1_764_000_000_123, *RANGE.end(), i64::MAX] {
            let t = Timestamp::from_millis(ms);
            assert_eq!(Timestamp::parse(&t.to_string()).unwrap(), t);
        }
    }
}
