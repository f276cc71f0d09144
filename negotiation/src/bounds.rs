//! What numbers and texts may be, and what is said of those that may not.

use synod_protocol::{Error, Exact};

/// Seven days, in milliseconds: the longest that a round may last.
pub(crate) const LONGEST_MS: u64 = 7 * 24 * 3_600_000;

/// The name of a field is the last part of its place.
fn name(field: &str) -> &str {
    field.rsplit('/').next().unwrap_or(field)
}

pub(crate) fn within(field: &str, value: u64, low: u64, high: u64) -> Result<(), Error> {
    if (low..=high).contains(&value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{} is {value}, it must be {low} to {high}", name(field))).with_field(field))
}

/// A time of `low` to seven days, if there is one.
pub(crate) fn time(field: &str, value: Option<u64>, low: u64) -> Result<(), Error> {
    value.map_or(Ok(()), |value| within(field, value, low, LONGEST_MS))
}

pub(crate) fn not_negative(field: &str, value: &Exact) -> Result<(), Error> {
    if !value.is_negative() {
        return Ok(());
    }
    Err(Error::invalid(format!("{} is {value}, it must be 0 or more", name(field))).with_field(field))
}

/// A number of `low` to `high`.
pub(crate) fn between(field: &str, value: &Exact, low: i64, high: i64) -> Result<(), Error> {
    if (Exact::from(low)..=Exact::from(high)).contains(value) {
        return Ok(());
    }
    Err(Error::invalid(format!("{} is {value}, it must be {low} to {high}", name(field))).with_field(field))
}

/// A text of `low` to `high` bytes.
pub(crate) fn text(field: &str, value: &str, low: usize, high: usize) -> Result<(), Error> {
    if (low..=high).contains(&value.len()) {
        return Ok(());
    }
    let message = format!("{} has {} bytes, it must have {low} to {high}", name(field), value.len());
    Err(Error::invalid(message).with_field(field))
}

/// At most so many of something.
pub(crate) fn count(field: &str, count: usize, low: usize, high: usize) -> Result<(), Error> {
    if (low..=high).contains(&count) {
        return Ok(());
    }
    let message = format!("{} has {count} entries, it must have {low} to {high}", name(field));
    Err(Error::invalid(message).with_field(field))
}
