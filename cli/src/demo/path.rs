//! A file's path within the tree, as it travels in a task.
//!
//! On Linux a path is bytes: it may hold line breaks or be no UTF-8 at all, and JSON has neither.
//! So the written form percent-encodes `%`, control characters and what is not UTF-8, and leaves
//! everything else readable: `src/main.rs` is `src/main.rs`, the byte `0xff` is `%FF`.
//! Every path has one written form, and every written form is one path.

use crate::terminal::harmless_bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::ffi::OsStr;
use std::fmt;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// Bytes of the longest path that is taken: Linux's `PATH_MAX`.
pub const MAX_BYTES: usize = 4096;

/// A path relative to the tree's root that cannot lead out of it by its names: not empty, not
/// absolute, without `.`, `..`, empty parts and NUL, at most [`MAX_BYTES`] long.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(PathBuf);

/// Why something is no [`FilePath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilePathError {
    /// It has no parts, or too many bytes.
    #[error("a path has 1 to {MAX_BYTES} bytes, this one has {0}")]
    Length(usize),
    /// It could lead out of the tree, or says the same as a shorter one.
    #[error("a path within the tree is relative, without `.`, `..`, `//` or a `/` at its end: {0:?}")]
    NotWithin(String),
    /// No file can be called that.
    #[error("a path has no NUL byte")]
    Nul,
    /// A `%` that does not begin two upper-case hexadecimal digits of a byte that needs them.
    #[error("not the written form of a path (from byte {0} on)")]
    Escape(usize),
}

impl FilePath {
    /// Takes a path relative to the tree's root.
    ///
    /// # Errors
    /// It is no such path; see [`FilePathError`].
    pub fn new(path: impl Into<PathBuf>) -> Result<FilePath, FilePathError> {
        let path = path.into();
        let bytes = path.as_os_str().as_bytes();
        if bytes.is_empty() || bytes.len() > MAX_BYTES {
            return Err(FilePathError::Length(bytes.len()));
        }
        if bytes.contains(&0) {
            return Err(FilePathError::Nul);
        }
        // Components leave out `.` and `//` silently; what they spell must be what was given.
        let plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let spelt: PathBuf = path.components().collect();
        if !plain || spelt.as_os_str() != path.as_os_str() {
            return Err(FilePathError::NotWithin(harmless_bytes(bytes)));
        }
        Ok(FilePath(path))
    }

    /// The path as it is.
    pub fn as_path(&self) -> &Path {
        &self.0
    }

    /// Where the file is, if the tree is at `root`.
    pub fn under(&self, root: &Path) -> PathBuf {
        root.join(&self.0)
    }

    /// For a screen: control characters and foreign bytes escaped, not meant to be read back.
    pub fn on_screen(&self) -> String {
        harmless_bytes(self.0.as_os_str().as_bytes())
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FilePath({self})")
    }
}

/// The written form.
impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let escape = |f: &mut fmt::Formatter<'_>, byte: u8| write!(f, "%{byte:02X}");
        for chunk in self.0.as_os_str().as_bytes().utf8_chunks() {
            for c in chunk.valid().chars() {
                match is_escaped(c) {
                    true => c.encode_utf8(&mut [0; 4]).bytes().try_for_each(|byte| escape(f, byte))?,
                    false => f.write_char(c)?,
                }
            }
            chunk.invalid().iter().try_for_each(|byte| escape(f, *byte))?;
        }
        Ok(())
    }
}

fn is_escaped(c: char) -> bool {
    c == '%' || c.is_control()
}

impl FromStr for FilePath {
    type Err = FilePathError;

    fn from_str(written: &str) -> Result<FilePath, FilePathError> {
        if written.len() > 3 * MAX_BYTES {
            return Err(FilePathError::Length(written.len()));
        }
        let mut bytes = Vec::with_capacity(written.len());
        let mut rest = written.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            let at = written.len() - rest.len();
            rest = match byte {
                b'%' => {
                    let digit = |i: usize| tail.get(i).and_then(|d| hex_digit(*d));
                    let (Some(high), Some(low)) = (digit(0), digit(1)) else {
                        return Err(FilePathError::Escape(at));
                    };
                    bytes.push(high << 4 | low);
                    tail.get(2..).unwrap_or_default()
                }
                byte => {
                    bytes.push(byte);
                    tail
                }
            };
        }
        let path = FilePath::new(Path::new(OsStr::from_bytes(&bytes)))?;
        // One written form per path, so that two texts never name one file.
        let canonical = path.to_string();
        if canonical != written {
            let same = canonical.bytes().zip(written.bytes()).take_while(|(a, b)| a == b).count();
            return Err(FilePathError::Escape(same));
        }
        Ok(path)
    }
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<FilePath, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(bytes: &[u8]) -> Result<FilePath, FilePathError> {
        FilePath::new(OsStr::from_bytes(bytes))
    }

    #[test]
    fn common_names_stay_readable_and_odd_ones_are_escaped() {
        let check = |bytes: &[u8], written: &str| assert_eq!(of(bytes).unwrap().to_string(), written);
        check(b"src/main.rs", "src/main.rs");
        check(b"-rf", "-rf");
        check("\u{1f980} caf\u{e9}.txt".as_bytes(), "\u{1f980} caf\u{e9}.txt");
        check(b"two\nlines\t", "two%0Alines%09");
        check(b"100%", "100%25");
        check(b"\xff\xfe.bin", "%FF%FE.bin");
        check("\u{85}".as_bytes(), "%C2%85");
    }

    #[test]
    fn what_leads_out_of_the_tree_is_no_path_in_it() {
        let check = |bytes: &[u8]| assert!(of(bytes).is_err(), "{bytes:?}");
        check(b"");
        check(b"/etc/passwd");
        check(b"..");
        check(b"a/../../b");
        check(b"./a");
        check(b"a/./b");
        check(b"a//b");
        check(b"a/");
        check(b"a\0b");
        check(&[b'a'; MAX_BYTES + 1]);
    }

    #[test]
    fn a_text_that_no_path_is_written_as_is_refused() {
        let check =
            |written: &str, at| assert_eq!(written.parse::<FilePath>(), Err(FilePathError::Escape(at)));
        check("50%", 2);
        check("a%0", 1);
        check("a%0a", 1);
        check("%41", 0);
        check("x\ny", 1);
        check("caf%C3%A9", 3);
        assert_eq!("%2E%2E".parse::<FilePath>(), Err(FilePathError::NotWithin("..".into())));
    }

    proptest! {
        #[test]
        fn every_path_comes_back_from_json(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let Ok(path) = of(&bytes) else { return Ok(()) };
            let json = serde_json::to_string(&path).unwrap();
            let back: FilePath = serde_json::from_str(&json).unwrap();
            prop_assert_eq!(back.as_path().as_os_str().as_bytes(), &bytes[..]);
        }

        #[test]
        fn every_text_that_is_taken_is_the_written_form(text in "[a-c%0-9A-F/.\n\u{e9}]{0,12}") {
            if let Ok(path) = text.parse::<FilePath>() {
                prop_assert_eq!(path.to_string(), text);
            }
        }
    }
}
