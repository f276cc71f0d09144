//! Cursors: where a page ended, bound to what was asked for.

use crate::error::Error;

/// Bytes of the digest that binds a cursor to its question.
const DIGEST: usize = 8;

/// The cursor behind `last`, for the question that `scope` names.
pub fn cursor(scope: &str, last: &str) -> String {
    let hash = blake3::hash(scope.as_bytes());
    let bytes = hash.as_bytes()[..DIGEST].iter().chain(last.as_bytes());
    bytes.map(|b| format!("{b:02x}")).collect()
}

/// Reads a cursor that the same question was answered with.
///
/// # Errors
/// `invalid_argument`: it is none, or another question's.
pub fn read_cursor(scope: &str, text: &str) -> Result<String, Error> {
    let foreign = || {
        let said = "cursor was not given by this list; pass next_cursor of the page before, or none";
        Error::invalid(said).with_field("/cursor")
    };
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return Err(foreign());
    }
    let byte = |at: usize| u8::from_str_radix(&text[at..at + 2], 16).ok();
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    let bytes = bytes.filter(|b| b.len() > DIGEST).ok_or_else(foreign)?;
    if bytes[..DIGEST] != blake3::hash(scope.as_bytes()).as_bytes()[..DIGEST] {
        return Err(foreign());
    }
    String::from_utf8(bytes[DIGEST..].to_vec()).map_err(|_| foreign())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_where_it_was_given_and_nowhere_else() {
        let given = cursor("w\0a/", "a/ключ");
        assert_eq!(read_cursor("w\0a/", &given).unwrap(), "a/ключ");
        for foreign in [&given[2..], "", "0", "zz", "+f+f+f+f+f+f+f+f+f+f", "ключ", &given[..16]] {
            assert!(read_cursor("w\0a/", foreign).is_err(), "{foreign}");
        }
        assert!(read_cursor("w\0b/", &given).is_err());
    }
}
