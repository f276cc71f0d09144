//! What may come in: each check says what was wrong, what would be right, and where.

use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::{Error, Exact};

/// The most signals, claims, weights or estimates of a round.
pub const SOURCES_MAX: usize = 1_000;
/// The greatest magnitude of a number that is given.
pub const NUMBER_MAX: f64 = 1e15;
/// A value of a smaller magnitude than this counts as 0; a variance must not be smaller.
pub const NUMBER_LEAST: f64 = 1e-30;
/// The least weight or confidence that is not 0.
pub const WEIGHT_LEAST: f64 = 1e-15;
/// Characters of the name of a source, participant or category.
const NAME_MAX: usize = 128;

/// A finite number of a sane magnitude, by its decimal digits.
pub(crate) fn number(value: f64, field: &str) -> Result<Exact, Error> {
    if !value.is_finite() || value.abs() > NUMBER_MAX {
        return Err(Error::invalid(format!(
            "{value} cannot be counted with: a finite number between -1e15 and 1e15 is needed"
        ))
        .with_field(field));
    }
    Ok(exact(value))
}

/// A number within limits, both included.
pub(crate) fn number_within(value: f64, least: f64, most: f64, field: &str) -> Result<Exact, Error> {
    if !(least..=most).contains(&value) {
        return Err(Error::invalid(format!(
            "{value} is out of range: it must be between {least} and {most}"
        ))
        .with_field(field));
    }
    Ok(exact(value))
}

/// A weight: 0, or from [`WEIGHT_LEAST`] to `most`.
pub(crate) fn weight(value: f64, most: f64, field: &str) -> Result<Exact, Error> {
    if value != 0.0 && !(WEIGHT_LEAST..=most).contains(&value) {
        return Err(Error::invalid(format!(
            "{value} is no weight: it must be 0 or between {WEIGHT_LEAST:e} and {most}"
        ))
        .with_field(field));
    }
    Ok(exact(value))
}

/// A confidence: 1 where none is given.
pub(crate) fn confidence(value: Option<f64>, field: &str) -> Result<Exact, Error> {
    value.map_or_else(|| Ok(Exact::one()), |value| weight(value, 1.0, &format!("{field}/confidence")))
}

/// A variance: more than 0.
pub(crate) fn variance(value: f64, field: &str) -> Result<f64, Error> {
    if !(NUMBER_LEAST..=NUMBER_MAX).contains(&value) {
        return Err(Error::invalid(format!(
            "{value} is no variance: it must be between {NUMBER_LEAST:e} and {NUMBER_MAX:e}"
        ))
        .with_field(format!("{field}/variance")));
    }
    Ok(value)
}

/// The decimal digits of a finite number; 0 where it is smaller than [`NUMBER_LEAST`].
pub(crate) fn exact(value: f64) -> Exact {
    if value.abs() < NUMBER_LEAST {
        return Exact::zero();
    }
    Exact::from_f64(value).unwrap_or_else(Exact::zero)
}

/// The name of a source, participant or category.
pub(crate) fn name(text: &str, field: &str) -> Result<(), Error> {
    if text.is_empty() || text.len() > NAME_MAX * 4 || text.chars().count() > NAME_MAX {
        return Err(
            Error::invalid(format!("a name has 1 to {NAME_MAX} characters")).with_field(field.to_owned())
        );
    }
    Ok(())
}

/// At least one of them, and no more than [`SOURCES_MAX`].
pub(crate) fn count(len: usize, what: &str, field: &str) -> Result<(), Error> {
    if len == 0 {
        return Err(Error::invalid(format!("there are no {what}: at least one is needed")).with_field(field));
    }
    few_enough(len, what, field)
}

/// No more than [`SOURCES_MAX`] of them.
pub(crate) fn few_enough(len: usize, what: &str, field: &str) -> Result<(), Error> {
    if len > SOURCES_MAX {
        return Err(Error::invalid(format!("{len} {what} are too many: at most {SOURCES_MAX} are taken"))
            .with_field(field));
    }
    Ok(())
}

/// Each name fit, and none given twice. `key` is the field that carries it.
pub(crate) fn distinct<'a>(names: impl Iterator<Item = &'a str>, list: &str, key: &str) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for (i, each) in names.enumerate() {
        let field = format!("{list}/{i}{key}");
        name(each, &field)?;
        if !seen.insert(each) {
            return Err(Error::invalid(format!("{each} is given twice: once each")).with_field(field));
        }
    }
    Ok(())
}

/// What the rules say of each source, as exact numbers: 0 to `most` each.
pub(crate) fn weights(
    given: &BTreeMap<String, f64>,
    most: f64,
    field: &str,
) -> Result<BTreeMap<String, Exact>, Error> {
    few_enough(given.len(), "weights", field)?;
    let mut read = BTreeMap::new();
    for (source, value) in given {
        let at = format!("{field}/{}", source.replace('~', "~0").replace('/', "~1"));
        name(source, &at)?;
        read.insert(source.clone(), weight(*value, most, &at)?);
    }
    Ok(read)
}
