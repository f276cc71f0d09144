//! What a writer demands of a key before its write counts.

use super::VERSION_LIMIT;
use crate::error::Error;

/// The condition of a write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Condition {
    /// None.
    #[default]
    None,
    /// The key has this version; 0 where it is not there. A write for which it fails *conflicts*.
    Version(u64),
    /// The key is there (`If-Match: *`).
    Present,
    /// The key is not there (`If-None-Match: *`).
    Absent,
}

impl Condition {
    /// Reads the headers of a request: `If-Match` (`"<version>"` or `*`) and `If-None-Match` (`*`), one of them at most.
    ///
    /// # Errors
    /// `invalid_argument`: both, a weak or unquoted tag, several, or no version.
    pub fn of_headers(if_match: Option<&str>, if_none_match: Option<&str>) -> Result<Condition, Error> {
        match (if_match.map(str::trim), if_none_match.map(str::trim)) {
            (None, None) => Ok(Condition::None),
            (Some("*"), None) => Ok(Condition::Present),
            (Some(tag), None) => version(tag).map(Condition::Version),
            (None, Some("*")) => Ok(Condition::Absent),
            (None, Some(other)) => Err(Error::invalid(format!(
                "If-None-Match is {}; on a write it may only be *: the key is not there",
                crate::id::shown(other)
            ))),
            (Some(_), Some(_)) => {
                Err(Error::invalid("If-Match and If-None-Match exclude each other; send one of them"))
            }
        }
    }
}

fn version(tag: &str) -> Result<u64, Error> {
    let digits = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let plain = digits.filter(|d| !d.is_empty() && d.bytes().all(|b| b.is_ascii_digit()));
    let read = plain.and_then(|d| d.parse::<u64>().ok()).filter(|v| (1..=VERSION_LIMIT).contains(v));
    read.ok_or_else(|| {
        Error::invalid(format!(
            "If-Match is {}, it must be one version in quotes, 1 to {VERSION_LIMIT}, as ETag gives it, or *",
            crate::id::shown(tag)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_one_version_or_a_star() {
        let check = |a: Option<&str>, b: Option<&str>, want: Option<Condition>| {
            assert_eq!(Condition::of_headers(a, b).ok(), want, "{a:?} {b:?}");
        };
        check(None, None, Some(Condition::None));
        check(Some("\"7\""), None, Some(Condition::Version(7)));
        check(Some("*"), None, Some(Condition::Present));
        check(None, Some("*"), Some(Condition::Absent));
        check(Some("\"9007199254740991\""), None, Some(Condition::Version(VERSION_LIMIT)));
        for bad in
            ["7", "\"\"", "\"0\"", "\"-1\"", "W/\"7\"", "\"1\", \"2\"", "\"9007199254740992\"", "\"1e3\""]
        {
            check(Some(bad), None, None);
        }
        check(None, Some("\"7\""), None);
        check(Some("*"), Some("*"), None);
    }
}
