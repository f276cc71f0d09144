//! What several bodies check alike.

use crate::error::{Code, Error};
use crate::id::Name;
use crate::json::Json;
use crate::limits::{NESTING, TEXT_BYTES, check_nesting};
use std::ops::RangeInclusive;

/// Refuses a figure that is out of its range; `field` is its JSON pointer.
pub(super) fn within(field: &str, figure: u64, range: RangeInclusive<u64>) -> Result<(), Error> {
    if range.contains(&figure) {
        return Ok(());
    }
    let (name, least, most) = (field.rsplit('/').next().unwrap_or(field), range.start(), range.end());
    Err(Error::invalid(format!("{name} is {figure}, it must be {least} to {most}")).with_field(field))
}

/// Reads a name; `field` is its JSON pointer.
pub(super) fn name(field: &str, text: &str) -> Result<Name, Error> {
    text.parse::<Name>().map_err(|error| error.with_field(field))
}

/// Refuses a free text that is too long.
pub(super) fn free_text(field: &str, text: &str) -> Result<(), Error> {
    if text.len() <= TEXT_BYTES {
        return Ok(());
    }
    let name = field.rsplit('/').next().unwrap_or(field);
    Err(Error::invalid(format!("{name} has {} bytes, the limit is {TEXT_BYTES}", text.len()))
        .with_field(field))
}

/// The value without white space between its parts, if that and its nesting are within the limits.
pub(super) fn value(field: &str, value: &Json, bytes: usize) -> Result<String, Error> {
    let text = compact(value.as_str());
    if text.len() > bytes {
        let said = format!(
            "{} has {} bytes as compact JSON, the limit is {bytes}; pass larger data by reference",
            field.rsplit('/').next().unwrap_or(field),
            text.len()
        );
        return Err(Error::new(Code::PayloadTooLarge, said).with_field(field));
    }
    check_nesting(text.as_bytes(), NESTING).map_err(|error| error.with_field(field))?;
    Ok(text)
}

/// JSON text without white space between its parts; everything else stays as it is written, big numbers too.
fn compact(text: &str) -> String {
    let (mut kept, mut in_string, mut escaped) = (String::with_capacity(text.len()), false, false);
    for letter in text.chars() {
        if in_string {
            (in_string, escaped) = (escaped || letter != '"', !escaped && letter == '\\');
        } else if letter.is_ascii_whitespace() {
            continue;
        } else {
            in_string = letter == '"';
        }
        kept.push(letter);
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_goes_and_nothing_else() {
        let check = |text: &str, kept: &str| assert_eq!(compact(text), kept);
        check("{ \"a b\" : [ 1 ,\n2 ] }", "{\"a b\":[1,2]}");
        check(r#"[ "\" \\" , " ä\n " ]"#, r#"["\" \\"," ä\n "]"#);
        check(" 12345678901234567890.10 ", "12345678901234567890.10");
    }

    #[test]
    fn a_value_is_taken_up_to_its_limit() {
        let check = |text: &str, bytes, ok| {
            assert_eq!(value("/value", &Json::parse(text).unwrap(), bytes).is_ok(), ok, "{text}");
        };
        check("[1, 2]", 5, true);
        check("[1, 23]", 5, false);
        check(&format!("{}1{}", "[".repeat(64), "]".repeat(64)), 1_000, true);
        check(&format!("{}1{}", "[".repeat(65), "]".repeat(65)), 1_000, false);
    }
}
