//! What one file is: the work of one task of the demo.
//!
//! The figures are those of the tools that everyone has, so that anyone can check them:
//!
//! | here | there |
//! |---|---|
//! | `bytes`, `lines`, `words` | `LC_ALL=C wc -c`, `-l`, `-w` of GNU coreutils 9.1 |
//! | `sha256` | `sha256sum` |
//! | `todos` | `LC_ALL=C grep -aowE 'TODO\|FIXME' \| wc -l` |
//!
//! Words are counted in the C locale whatever the user's is, so that a total does not depend on
//! who asks: they are separated by ASCII white space, a byte that is not printable ASCII neither
//! begins a word nor ends one, and what has no printable byte at all is no word. (In a UTF-8 locale `wc`
//! counts a free-standing `é` as a word, and which characters it takes for printable differs
//! between systems. Newer versions of `wc` count any run of bytes that are not white space.)
//!
//! A file is read once, in pieces, in memory that does not depend on its size.

use super::counts::{Counter, Counts};
use super::language::{Language, language_of};
use super::path::FilePath;
use nix::fcntl::OFlag;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// What stands for work still to be done.
pub const TODO_MARKERS: [&str; 2] = ["TODO", "FIXME"];

/// Bytes read at once.
const PIECE: usize = 64 * 1024;

/// A task's input: which file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileTask {
    /// Within the tree that the agent was started for.
    pub path: FilePath,
}

/// A task's output: what the file is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileFacts {
    /// Its size.
    pub bytes: u64,
    /// Line feeds in it.
    pub lines: u64,
    /// Words, as the C locale has them.
    pub words: u64,
    /// By its name.
    pub language: Language,
    /// Of its content.
    pub sha256: ContentHash,
    /// [`TODO_MARKERS`] in it, as words of their own.
    pub todos: u64,
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentHash([u8; 32]);

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum AnalyseError {
    /// It cannot be opened.
    #[error("cannot open {path}: {source}")]
    Open {
        /// Which, made fit for a screen.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It can, but not read to its end.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which, made fit for a screen.
        path: String,
        /// What the system said.
        source: io::Error,
    },
    /// It has become something else than a regular file since it was listed.
    #[error("{path} is not a regular file")]
    NotAFile {
        /// Which, made fit for a screen.
        path: String,
    },
}

impl AnalyseError {
    /// Whether trying once more may help: not where the file is gone or forbidden.
    pub fn is_retryable(&self) -> bool {
        use io::ErrorKind::{IsADirectory, NotADirectory, NotFound, PermissionDenied};
        match self {
            AnalyseError::Open { source, .. } | AnalyseError::Read { source, .. } => {
                !matches!(source.kind(), NotFound | PermissionDenied | NotADirectory | IsADirectory)
                    && source.raw_os_error() != Some(nix::errno::Errno::ELOOP as i32)
            }
            AnalyseError::NotAFile { .. } => false,
        }
    }
}

/// Reads the file `path` of the tree at `root` once and says what it is. Blocks: call it where
/// that is allowed.
///
/// # Errors
/// The file cannot be read, or is (no longer) a regular one. A symbolic link is not followed, and
/// a pipe is not waited for.
pub fn analyse(root: &Path, path: &FilePath) -> Result<FileFacts, AnalyseError> {
    let mut file = open(root, path)?;
    let mut counter = Counter::default();
    let mut digest = Sha256::new();
    let mut piece = vec![0; PIECE];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => return Err(AnalyseError::Read { path: path.on_screen(), source }),
        };
        let bytes = piece.get(..read).unwrap_or_default();
        digest.update(bytes);
        counter.feed(bytes);
    }
    let Counts { bytes, lines, words, todos } = counter.finish();
    let sha256 = ContentHash(digest.finalize().into());
    Ok(FileFacts { bytes, lines, words, language: language_of(path), sha256, todos })
}

fn open(root: &Path, path: &FilePath) -> Result<File, AnalyseError> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let failed = |source| AnalyseError::Open { path: path.on_screen(), source };
    let file =
        OpenOptions::new().read(true).custom_flags(flags.bits()).open(path.under(root)).map_err(failed)?;
    match file.metadata().map_err(failed)?.is_file() {
        true => Ok(file),
        false => Err(AnalyseError::NotAFile { path: path.on_screen() }),
    }
}

impl ContentHash {
    /// The first twelve digits: enough to tell files apart by eye.
    pub fn short(&self) -> String {
        let mut written = self.to_string();
        written.truncate(12);
        written
    }
}

impl fmt::Display for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentHash({self})")
    }
}

impl std::str::FromStr for ContentHash {
    type Err = NotAHash;

    fn from_str(written: &str) -> Result<ContentHash, NotAHash> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(NotAHash),
        };
        let mut hash = [0; 32];
        if written.len() != 2 * hash.len() {
            return Err(NotAHash);
        }
        for (byte, pair) in hash.iter_mut().zip(written.as_bytes().as_chunks::<2>().0) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Ok(ContentHash(hash))
    }
}

/// The text is no [`ContentHash`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a SHA-256 digest is 64 lower-case hexadecimal digits")]
pub struct NotAHash;

impl Serialize for ContentHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ContentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ContentHash, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_come_back_from_json() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("a.rs"), "fn main() {} // TODO\n").unwrap();
        let facts = analyse(dir.path(), &FilePath::new("a.rs").unwrap()).unwrap();
        assert_eq!((facts.bytes, facts.lines, facts.words, facts.todos), (21, 1, 5, 1));
        assert_eq!(facts.language.as_str(), "Rust");
        let json = serde_json::to_string(&facts).unwrap();
        assert_eq!(serde_json::from_str::<FileFacts>(&json).unwrap(), facts);
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting_for_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("file"), "").unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        std::fs::create_dir(dir.path().join("dir")).unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        for name in ["link", "dir", "pipe", "absent"] {
            let error = analyse(dir.path(), &FilePath::new(name).unwrap()).unwrap_err();
            assert!(!error.is_retryable(), "{name}: {error}");
        }
    }
}
