//! Which keys a subscription is about.

use super::changes::PATTERN_BYTES;
use crate::error::Error;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Which keys: `*` stands for any run of characters, none included, `?` for one, `\` takes what follows it as it is.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Part {
    Literal(char),
    One,
    Run,
}

impl Pattern {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a key is meant. Takes time in proportion to the key's length times the pattern's, at most.
    pub fn matches(&self, key: &str) -> bool {
        // The well-known walk with one place to go back to: a later `*` makes the earlier ones settled.
        let (mut part, mut rest) = (0, key.chars());
        let mut back: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            let here = rest.clone();
            match (self.parts.get(part), rest.next()) {
                (Some(Part::Run), _) => {
                    back = Some((part, here.clone()));
                    (part, rest) = (part + 1, here);
                }
                (Some(Part::One), Some(_)) => part += 1,
                (Some(Part::Literal(wanted)), Some(found)) if *wanted == found => part += 1,
                (None, None) => return true,
                _ => {
                    let Some((run, mut from)) = back.take() else { return false };
                    if from.next().is_none() {
                        return false;
                    }
                    back = Some((run, from.clone()));
                    (part, rest) = (run + 1, from);
                }
            }
        }
    }

    /// What every key that is meant begins with.
    pub fn literal_prefix(&self) -> String {
        let literal = |part: &Part| match part {
            Part::Literal(c) => Some(*c),
            Part::One | Part::Run => None,
        };
        self.parts.iter().map_while(literal).collect()
    }

    /// The pattern that means just this key.
    pub fn exactly(key: &str) -> Pattern {
        let parts = key.chars().map(Part::Literal).collect();
        let escaped = |c: char| matches!(c, '*' | '?' | '\\').then_some('\\').into_iter().chain([c]);
        Pattern { text: key.chars().flat_map(escaped).collect(), parts }
    }
}

impl FromStr for Pattern {
    type Err = Error;

    fn from_str(text: &str) -> Result<Pattern, Error> {
        let refused = |why: &str| Err(Error::invalid(format!("the pattern {why}")).with_field("/pattern"));
        if text.is_empty() || text.len() > PATTERN_BYTES {
            return refused(&format!("has {} bytes, it must have 1 to {PATTERN_BYTES}", text.len()));
        }
        if text.chars().any(char::is_control) {
            return refused("holds a control character, which no key does");
        }
        let (mut parts, mut chars) = (Vec::new(), text.chars());
        while let Some(c) = chars.next() {
            match c {
                // A run of runs is one.
                '*' if parts.last() == Some(&Part::Run) => {}
                '*' => parts.push(Part::Run),
                '?' => parts.push(Part::One),
                '\\' => match chars.next() {
                    Some(plain) => parts.push(Part::Literal(plain)),
                    None => return refused("ends in a backslash that escapes nothing"),
                },
                plain => parts.push(Part::Literal(plain)),
            }
        }
        Ok(Pattern { text: text.to_owned(), parts })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

impl Serialize for Pattern {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Pattern, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_pattern_means_what_it_says() {
        let check = |pattern: &str, key: &str, meant: bool, prefix: &str| {
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(key), meant, "{pattern} {key}");
            assert_eq!(pattern.literal_prefix(), prefix, "{pattern}");
        };
        check("a", "a", true, "a");
        check("a", "ab", false, "a");
        check("a*", "a", true, "a");
        check("a*b*c", "a-b-b-c", true, "a");
        check("a*b*c", "a-c-b", false, "a");
        check("?", "ü", true, "");
        check("?", "ab", false, "");
        check("jobs/?/*", "jobs/1/x", true, "jobs/");
        check(r"a\*b", "a*b", true, "a*b");
        check(r"a\*b", "axb", false, "a*b");
        check(r"\\*", r"\x", true, r"\");
        check("**", "anything/at{all}", true, "");
        check("*aab", "aaaaaaab", true, "");
        for bad in ["", "a\\", "a\nb"] {
            assert!(bad.parse::<Pattern>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(PATTERN_BYTES).parse::<Pattern>().is_ok());
        assert!("x".repeat(PATTERN_BYTES + 1).parse::<Pattern>().is_err());
    }

    /// The plainest way to say the same.
    fn plainly(pattern: &[Part], key: &[char]) -> bool {
        match (pattern.split_first(), key.split_first()) {
            (None, None) => true,
            (Some((Part::Run, rest)), _) => {
                plainly(rest, key) || key.split_first().is_some_and(|(_, less)| plainly(pattern, less))
            }
            (Some((Part::One, rest)), Some((_, less))) => plainly(rest, less),
            (Some((Part::Literal(c), rest)), Some((k, less))) => c == k && plainly(rest, less),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matching_is_what_the_plain_definition_says(text in r"[ab?*ü]{1,8}", key in "[abü]{0,10}") {
            let pattern: Pattern = text.parse().unwrap();
            let chars: Vec<char> = key.chars().collect();
            prop_assert_eq!(pattern.matches(&key), plainly(&pattern.parts, &chars));
            if pattern.matches(&key) {
                prop_assert!(key.starts_with(&pattern.literal_prefix()));
            }
        }

        #[test]
        fn an_exact_pattern_means_its_key_alone(key in r"[ab?*\\]{1,6}", other in r"[ab?*\\]{1,6}") {
            let pattern: Pattern = Pattern::exactly(&key).as_str().parse().unwrap();
            prop_assert!(pattern.matches(&key));
            prop_assert_eq!(pattern.matches(&other), key == other);
            prop_assert_eq!(pattern.literal_prefix(), key);
        }
    }
}
