//! Points in time and spans of it, as CEL has them. They are read, computed with and written; no clock is asked, and no table
//! of time zones: a zone is an offset that is written out.

use super::evaluate::EvalError;
use std::fmt;

const NANOS: i128 = 1_000_000_000;
/// The first second of year 1, and the last of 9999.
const FIRST: i64 = -62_135_596_800;
const LAST: i64 = 253_402_300_799;
const DAY: i64 = 86_400;

type Result<T> = std::result::Result<T, EvalError>;

/// A point in time from year 1 to the end of 9999, in nanoseconds, as in `google.protobuf.Timestamp`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Timestamp {
    /// Whole seconds since the Unix epoch, rounded down.
    seconds: i64,
    nanos: u32,
}

/// A span of time that may be negative: nanoseconds within 64 bits, about 292 years.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Duration {
    nanos: i64,
}

impl Timestamp {
    /// From seconds since the Unix epoch.
    pub(super) fn of_seconds(seconds: i64) -> Result<Timestamp> {
        Timestamp::of_nanos(i128::from(seconds) * NANOS)
            .ok_or_else(|| EvalError::Range(format!("{seconds} seconds are beyond the years 1 to 9999")))
    }

    fn of_nanos(nanos: i128) -> Option<Timestamp> {
        let seconds = i64::try_from(nanos.div_euclid(NANOS)).ok()?;
        let nanos = u32::try_from(nanos.rem_euclid(NANOS)).ok()?;
        (FIRST..=LAST).contains(&seconds).then_some(Timestamp { seconds, nanos })
    }

    fn nanos(self) -> i128 {
        i128::from(self.seconds) * NANOS + i128::from(self.nanos)
    }

    /// Reads RFC 3339 with any offset; what is finer than a nanosecond is dropped.
    pub(super) fn parse(text: &str) -> Result<Timestamp> {
        let wrong = || {
            let shown = super::shortened(text);
            EvalError::Range(format!(
                "the text {shown:?} is no timestamp; write RFC 3339 of the years 1 to 9999, such as 2026-11-21T08:00:00Z"
            ))
        };
        read_rfc3339(text).and_then(Timestamp::of_nanos).ok_or_else(wrong)
    }

    /// Seconds since the Unix epoch, rounded down.
    pub(super) fn as_seconds(self) -> i64 {
        self.seconds
    }

    /// Milliseconds since the Unix epoch, rounded down.
    pub fn as_millis(self) -> i64 {
        self.seconds * 1000 + i64::from(self.nanos / 1_000_000)
    }

    pub(super) fn plus(self, span: Duration) -> Option<Timestamp> {
        Timestamp::of_nanos(self.nanos() + i128::from(span.nanos))
    }

    pub(super) fn minus(self, span: Duration) -> Option<Timestamp> {
        Timestamp::of_nanos(self.nanos() - i128::from(span.nanos))
    }

    pub(super) fn since(self, earlier: Timestamp) -> Option<Duration> {
        Duration::of_nanos(self.nanos() - earlier.nanos())
    }

    /// What `getMonth` and its like give, so many seconds east of UTC; nothing for another name. As the specification has
    /// it, `getDate` counts from 1, and months, days of the month, of the week (Sunday) and of the year from 0.
    pub(super) fn part(self, name: &str, offset: i64) -> Option<i64> {
        let local = self.seconds + offset;
        let (days, second) = (local.div_euclid(DAY), local.rem_euclid(DAY));
        let (year, month, day) = civil(days);
        Some(match name {
            "getFullYear" => year,
            "getMonth" => month - 1,
            "getDate" => day,
            "getDayOfMonth" => day - 1,
            // The epoch was a Thursday.
            "getDayOfWeek" => (days + 4).rem_euclid(7),
            "getDayOfYear" => days - days_to(year, 1, 1),
            "getHours" => second / 3600,
            "getMinutes" => second / 60 % 60,
            "getSeconds" => second % 60,
            "getMilliseconds" => i64::from(self.nanos / 1_000_000),
            _ => return None,
        })
    }
}

/// RFC 3339 in UTC, with as many digits after the second as there are.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.seconds.div_euclid(DAY));
        let second = self.seconds.rem_euclid(DAY);
        let (hour, minute) = (second / 3600, second / 60 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}", second % 60)?;
        write_fraction(f, self.nanos)?;
        f.write_str("Z")
    }
}

impl Duration {
    fn of_nanos(nanos: i128) -> Option<Duration> {
        i64::try_from(nanos).ok().map(|nanos| Duration { nanos })
    }

    /// Reads "1h30m", "-1.5s", "0": numbers with the units h, m, s, ms, us, ns; what is finer than a nanosecond is dropped.
    pub(super) fn parse(text: &str) -> Result<Duration> {
        let shown = || super::shortened(text);
        let Some(nanos) = read_duration(text) else {
            let mend = "write numbers with h, m, s, ms, us or ns, such as \"1h30m\" or \"-1.5s\"";
            return Err(EvalError::Range(format!("the text {:?} is no duration; {mend}", shown())));
        };
        Duration::of_nanos(nanos).ok_or_else(|| {
            EvalError::Range(format!("the duration {:?} is beyond the 292 years that one holds", shown()))
        })
    }

    pub(super) fn plus(self, other: Duration) -> Option<Duration> {
        self.nanos.checked_add(other.nanos).map(|nanos| Duration { nanos })
    }

    pub(super) fn minus(self, other: Duration) -> Option<Duration> {
        self.nanos.checked_sub(other.nanos).map(|nanos| Duration { nanos })
    }

    /// The whole of it in hours, minutes or seconds, towards 0; of `getMilliseconds` the part within the second.
    pub(super) fn part(self, name: &str) -> Option<i64> {
        let seconds = self.nanos / 1_000_000_000;
        Some(match name {
            "getHours" => seconds / 3600,
            "getMinutes" => seconds / 60,
            "getSeconds" => seconds,
            "getMilliseconds" => self.nanos / 1_000_000 % 1000,
            _ => return None,
        })
    }
}

/// Seconds, with as many digits after the point as there are: "3.5s".
impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, nanos) = (if self.nanos < 0 { "-" } else { "" }, self.nanos.unsigned_abs());
        write!(f, "{sign}{}", nanos / 1_000_000_000)?;
        write_fraction(f, (nanos % 1_000_000_000) as u32)?;
        f.write_str("s")
    }
}

fn write_fraction(f: &mut fmt::Formatter<'_>, nanos: u32) -> fmt::Result {
    if nanos == 0 {
        return Ok(());
    }
    let digits = format!("{nanos:09}");
    write!(f, ".{}", digits.trim_end_matches('0'))
}

/// Seconds east of UTC of "UTC", "+02:00", "-09:30".
pub(super) fn offset(zone: &str) -> Result<i64> {
    let wrong = || {
        EvalError::Range(format!(
            "the time zone {:?} is not known here: offsets are taken, such as \"+02:00\", and \"UTC\"",
            super::shortened(zone)
        ))
    };
    if zone == "UTC" {
        return Ok(0);
    }
    let (sign, digits) = match zone.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, zone.strip_prefix('+').unwrap_or(zone)),
    };
    let mut reader = Reader { rest: digits.as_bytes() };
    match reader.hours_and_minutes() {
        Some(seconds) if reader.rest.is_empty() => Ok(sign * seconds),
        _ => Err(wrong()),
    }
}

/// Days from the Unix epoch to a date of the Gregorian calendar, before it too.
/// <https://howardhinnant.github.io/date_algorithms.html#days_from_civil>
fn days_to(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

/// Year, month and day so many days from the Unix epoch; the reverse of [`days_to`].
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month, of_year - (153 * from_march + 2) / 5 + 1)
}

/// Nanoseconds since the Unix epoch of an RFC 3339 text, which may lie outside the range.
fn read_rfc3339(text: &str) -> Option<i128> {
    let mut reader = Reader { rest: text.as_bytes() };
    let year = reader.digits(4)?;
    reader.one_of(b"-")?;
    let month = reader.digits(2).filter(|month| (1..=12).contains(month))?;
    reader.one_of(b"-")?;
    let day = reader.digits(2)?;
    let next = if month == 12 { days_to(year + 1, 1, 1) } else { days_to(year, month + 1, 1) };
    if day < 1 || days_to(year, month, day) >= next {
        return None;
    }
    reader.one_of(b"Tt")?;
    let clock = reader.hours_and_minutes()?;
    reader.one_of(b":")?;
    let second = reader.digits(2).filter(|second| *second < 60)?;
    let (part, scale) = reader.fraction()?;
    let east = match reader.one_of(b"Zz+-")? {
        b'+' => reader.hours_and_minutes()?,
        b'-' => -reader.hours_and_minutes()?,
        _ => 0,
    };
    let seconds = days_to(year, month, day) * DAY + clock + second - east;
    reader.rest.is_empty().then(|| i128::from(seconds) * NANOS + part * NANOS / scale)
}

/// Nanoseconds of a duration's text, far beyond the range too.
fn read_duration(text: &str) -> Option<i128> {
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    let (mut reader, mut total) = (Reader { rest: rest.as_bytes() }, 0i128);
    loop {
        let number = reader.number()?;
        let (part, scale) = reader.fraction()?;
        let unit = reader.unit()?;
        total = total.saturating_add(number.saturating_mul(unit)).saturating_add(part * unit / scale);
        if reader.rest.is_empty() {
            return Some(sign * total);
        }
    }
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn one_of(&mut self, wanted: &[u8]) -> Option<u8> {
        let (first, rest) = self.rest.split_first().filter(|(first, _)| wanted.contains(first))?;
        self.rest = rest;
        Some(*first)
    }

    fn digit(&mut self) -> Option<i64> {
        self.one_of(b"0123456789").map(|digit| i64::from(digit - b'0'))
    }

    /// A number of so many digits.
    fn digits(&mut self, many: usize) -> Option<i64> {
        (0..many).try_fold(0, |number, _| Some(number * 10 + self.digit()?))
    }

    /// A whole number of any length, at least one digit, held to what an i128 holds.
    fn number(&mut self) -> Option<i128> {
        let mut number = i128::from(self.digit()?);
        while let Some(digit) = self.digit() {
            number = number.saturating_mul(10).saturating_add(digit.into());
        }
        Some(number)
    }

    /// A point and at least one digit, as a number and what it is to be divided by; 0 where there is no point.
    fn fraction(&mut self) -> Option<(i128, i128)> {
        if self.one_of(b".").is_none() {
            return Some((0, 1));
        }
        let (mut number, mut scale) = (i128::from(self.digit()?), 10);
        while let Some(digit) = self.digit() {
            // Eighteen digits decide the nanosecond, of hours too.
            if scale < 1_000_000_000_000_000_000 {
                (number, scale) = (number * 10 + i128::from(digit), scale * 10);
            }
        }
        Some((number, scale))
    }

    /// Seconds of "23:59".
    fn hours_and_minutes(&mut self) -> Option<i64> {
        let hours = self.digits(2).filter(|hours| *hours < 24)?;
        self.one_of(b":")?;
        let minutes = self.digits(2).filter(|minutes| *minutes < 60)?;
        Some(hours * 3600 + minutes * 60)
    }

    /// Nanoseconds of a unit.
    fn unit(&mut self) -> Option<i128> {
        // "m" last: "ms" begins with it.
        let units: [(&[u8], i128); 6] = [
            (b"ns", 1),
            (b"us", 1_000),
            (b"ms", 1_000_000),
            (b"s", NANOS),
            (b"m", 60 * NANOS),
            (b"h", 3600 * NANOS),
        ];
        let (name, nanos) = units.into_iter().find(|(name, _)| self.rest.starts_with(name))?;
        self.rest = &self.rest[name.len()..];
        Some(nanos)
    }
}
