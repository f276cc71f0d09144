//! What may grow, and how far. Checked on the bytes, before anything is allocated for them.

use crate::error::Error;

/// Limits on what comes in. The defaults are the contract's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one command's payload: 262,144.
    pub payload_bytes: usize,
    /// Levels of nested JSON arrays and objects: 64.
    pub nesting: usize,
    /// Bytes of one ledger record: 921,600.
    pub record_bytes: usize,
}

/// Levels of nested JSON arrays and objects that are taken, by default.
pub const NESTING: usize = 64;
/// Entries of one list or map inside a command (capabilities, labels, resources).
pub const LIST_ENTRIES: usize = 256;
/// Bytes of one free text inside a command (a reason, a note, a description, a label's value).
pub const TEXT_BYTES: usize = 4096;
/// Bytes of one header value.
pub const HEADER_BYTES: usize = 4096;

impl Default for Limits {
    fn default() -> Self {
        Limits { payload_bytes: 256 * 1024, nesting: NESTING, record_bytes: 900 * 1024 }
    }
}

impl Limits {
    /// Refuses what is too long.
    ///
    /// # Errors
    /// `payload_too_large`, with the limit and the figure.
    pub fn check_size(&self, bytes: usize) -> Result<(), Error> {
        if bytes <= self.payload_bytes {
            return Ok(());
        }
        Err(Error::new(
            crate::Code::PayloadTooLarge,
            format!(
                "the payload has {bytes} bytes, the limit is {}; pass larger data by reference",
                self.payload_bytes
            ),
        ))
    }
}

/// Refuses JSON text nested deeper than `limit`, without recursion and without parsing it.
///
/// # Errors
/// `invalid_argument`, with the limit and the byte at which it is passed.
pub fn check_nesting(text: &[u8], limit: usize) -> Result<(), Error> {
    let (mut depth, mut in_string, mut escaped) = (0usize, false, false);
    for (at, byte) in text.iter().enumerate() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > limit {
                    return Err(Error::invalid(format!(
                        "the JSON is nested deeper than {limit} levels (at byte {at}); flatten it or pass it as text"
                    )));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nesting_counts_brackets_outside_strings() {
        let check =
            |text: &str, limit, ok| assert_eq!(check_nesting(text.as_bytes(), limit).is_ok(), ok, "{text}");
        check("[[1]]", 2, true);
        check("[[[1]]]", 2, false);
        check(r#"["[[[[", "\"[[["]"#, 1, true);
        check("[][][]", 1, true);
        check(&"[".repeat(10_000), 64, false);
    }
}
