//! Where records come from: the brokers, or a file.

use super::{Entry, Line, LineError};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;
use synod_infra::kafka::{ReadError, Readers};
use synod_protocol::{Code, Error, topics};

/// How long Kafka may be silent.
const STALL: Duration = Duration::from_secs(10);
/// The longest line of a file, in bytes: a largest record in base64, and what stands around it.
const LINE_BYTES: u64 = 4 * 1024 * 1024;

/// A ledger that can be read.
#[derive(Debug)]
pub enum Source {
    /// The topic itself.
    Kafka(Readers),
    /// A file, and where each shard begins in it.
    File {
        /// Which.
        path: PathBuf,
        /// In the order in which they stand in it.
        parts: Vec<Part>,
    },
}

/// A shard's part of a file.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    extent: Extent,
    /// Bytes before it.
    at: u64,
}

/// Which shards are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// This one.
    One(u32),
    /// Every one.
    All,
}

/// What there is of a shard: offsets `from` up to `to`, which is not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// The shard.
    pub shard: u32,
    /// The oldest offset.
    pub from: u64,
    /// The offset after the newest.
    pub to: u64,
}

impl Extent {
    /// Whether there is no record.
    pub fn is_empty(self) -> bool {
        self.from >= self.to
    }

    /// Without what comes after this offset.
    pub fn until(self, last: Option<u64>) -> Extent {
        Extent { to: last.map_or(self.to, |last| self.to.min(last.saturating_add(1))), ..self }
    }
}

/// Why a ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Kafka's.
    #[error("Kafka: {0}")]
    Kafka(#[from] ReadError),
    /// There is no ledger.
    #[error("Kafka has no topic {}: is this a mesh?", topics::LEDGER)]
    NoLedger,
    /// There is no such shard.
    #[error("there is no shard {shard}; there are {known}")]
    NoShard {
        /// Which.
        shard: u32,
        /// What there is.
        known: String,
    },
    /// The file's.
    #[error("{}: {why}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong.
        why: io::Error,
    },
    /// A line that is none of ours.
    #[error("{} line {number}: {why}", path.display())]
    Line {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        number: u64,
        /// What is wrong with it.
        why: LineError,
    },
    /// A shard's records do not stand together.
    #[error("{} line {number}: shard {shard} begins a second time; export it again, or sort the file by shard", path.display())]
    Scattered {
        /// Which file.
        path: PathBuf,
        /// Which line, from 1.
        number: u64,
        /// Which shard.
        shard: u32,
    },
}

impl From<SourceError> for crate::output::Stop {
    fn from(error: SourceError) -> Self {
        let said = error.to_string();
        match error {
            SourceError::Kafka(ReadError::PositionLost { .. }) => Error::new(Code::PositionLost, said).into(),
            SourceError::Kafka(_) | SourceError::NoLedger => Error::unavailable(said).into(),
            SourceError::NoShard { .. } => Error::new(Code::NotFound, said).into(),
            SourceError::File { why, .. } if why.kind() == io::ErrorKind::NotFound => Self::Usage(said),
            SourceError::File { .. } | SourceError::Line { .. } | SourceError::Scattered { .. } => {
                Self::Failed(said)
            }
        }
    }
}

impl Source {
    /// An exported file. It is read once, to find where each shard begins.
    ///
    /// # Errors
    /// It cannot be read, or is no exported ledger.
    pub fn file(path: &Path) -> Result<Source, SourceError> {
        let mut parts: Vec<Part> = Vec::new();
        lines(path, 0, |at, number, text| {
            let bad = |why| SourceError::Line { path: path.to_owned(), number, why };
            let Line { shard, offset, .. } = Line::read(text).map_err(bad)?;
            let before = parts.iter().position(|part| part.extent.shard == shard);
            let newest = parts.len();
            match before.map(|index| (index + 1 == newest, &mut parts[index])) {
                None => parts.push(Part { extent: Extent { shard, from: offset, to: offset + 1 }, at }),
                Some((true, part)) => part.extent.to = offset + 1,
                Some((false, _)) => {
                    return Err(SourceError::Scattered { path: path.to_owned(), number, shard });
                }
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(Source::File { path: path.to_owned(), parts })
    }

    /// How many shards the mesh has; a file does not say.
    ///
    /// # Errors
    /// Kafka does not answer, or has no ledger.
    pub async fn shards(&self) -> Result<Option<u32>, SourceError> {
        match self {
            Source::Kafka(readers) => match readers.partitions(topics::LEDGER, STALL).await? {
                Some(count) => Ok(Some(count)),
                None => Err(SourceError::NoLedger),
            },
            Source::File { .. } => Ok(None),
        }
    }

    /// What there is now of these shards. What Kafka is given later is not in it.
    ///
    /// # Errors
    /// Kafka does not answer; there is no such shard.
    pub async fn extents(&self, which: Which) -> Result<Vec<Extent>, SourceError> {
        let extents = match self {
            Source::Kafka(readers) => {
                let count = self.shards().await?.unwrap_or(0);
                let mut extents = Vec::new();
                for shard in
                    (0..count).filter(|shard| matches!(which, Which::All) || which == Which::One(*shard))
                {
                    let log = readers.watermarks(topics::LEDGER, shard.cast_signed(), STALL).await?;
                    extents.push(Extent { shard, from: log.low.unsigned_abs(), to: log.high.unsigned_abs() });
                }
                extents
            }
            Source::File { parts, .. } => {
                let wanted = |part: &&Part| which == Which::All || which == Which::One(part.extent.shard);
                parts.iter().filter(wanted).map(|part| part.extent).collect()
            }
        };
        match which {
            Which::One(shard) if extents.is_empty() => {
                Err(SourceError::NoShard { shard, known: self.known().await? })
            }
            _ => Ok(extents),
        }
    }

    async fn known(&self) -> Result<String, SourceError> {
        Ok(match self {
            Source::Kafka(_) => {
                format!("shards 0 to {}", self.shards().await?.unwrap_or(1).saturating_sub(1))
            }
            Source::File { parts, .. } if parts.is_empty() => "none in this file".to_owned(),
            Source::File { parts, .. } => {
                let all: Vec<String> = parts.iter().map(|part| part.extent.shard.to_string()).collect();
                format!("in this file: {}", all.join(", "))
            }
        })
    }

    /// Hands over what there is in this extent, in order, until `each` has had enough. Gaps are the caller's to judge.
    ///
    /// # Errors
    /// Kafka's, and `PositionLost` where it was trimmed meanwhile; the file's.
    pub async fn read(
        &self,
        extent: Extent,
        mut each: impl FnMut(Entry) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        if extent.is_empty() {
            return Ok(());
        }
        match self {
            Source::Kafka(readers) => {
                let take = |record: synod_infra::kafka::RawRecord| {
                    let offset = record.offset.unsigned_abs();
                    if offset >= extent.to {
                        return ControlFlow::Break(());
                    }
                    let (key, value) = (record.key, record.payload);
                    each(Entry { offset, timestamp_ms: record.timestamp_ms, key, value })
                };
                let (shard, from) = (extent.shard.cast_signed(), extent.from.cast_signed());
                let last = extent.to.cast_signed() - 1;
                readers.read_through(topics::LEDGER, shard, from, last, STALL, take).await?;
                Ok(())
            }
            Source::File { path, parts } => {
                let at =
                    parts.iter().find(|part| part.extent.shard == extent.shard).map_or(0, |part| part.at);
                lines(path, at, |_, number, text| {
                    let bad = |why| SourceError::Line { path: path.clone(), number, why };
                    let line = Line::read(text).map_err(bad)?;
                    match line.shard == extent.shard && line.offset < extent.to {
                        true if line.offset < extent.from => Ok(ControlFlow::Continue(())),
                        true => Ok(each(line.entry().map_err(bad)?)),
                        false => Ok(ControlFlow::Break(())),
                    }
                })
            }
        }
    }
}

type Each<'a> = dyn FnMut(u64, u64, &[u8]) -> Result<ControlFlow<()>, SourceError> + 'a;

/// Every line of a file from byte `at` on: where it begins, its number (counted from there), its text.
fn lines(
    path: &Path,
    at: u64,
    mut each: impl FnMut(u64, u64, &[u8]) -> Result<ControlFlow<()>, SourceError>,
) -> Result<(), SourceError> {
    let bad = |why| SourceError::File { path: path.to_owned(), why };
    let each: &mut Each<'_> = &mut each;
    let mut file = File::open(path).map_err(bad)?;
    file.seek(SeekFrom::Start(at)).map_err(bad)?;
    let (mut reader, mut text, mut at) = (BufReader::with_capacity(1 << 16, file), Vec::new(), at);
    for number in 1.. {
        text.clear();
        let read = reader.by_ref().take(LINE_BYTES).read_until(b'\n', &mut text).map_err(bad)?;
        if read == 0 {
            break;
        }
        if text.last() != Some(&b'\n') && read as u64 == LINE_BYTES {
            let why = format!("line {number} has more than {LINE_BYTES} bytes: not an exported ledger");
            return Err(bad(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        if each(at, number, text.trim_ascii_end())?.is_break() {
            break;
        }
        at += read as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(lines: &[(u32, u64)]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let line = |(shard, offset): &(u32, u64)| {
            format!("{{\"shard\":{shard},\"offset\":{offset},\"value\":{{}}}}\n")
        };
        std::fs::write(file.path(), lines.iter().map(line).collect::<String>()).unwrap();
        file
    }

    async fn offsets(source: &Source, extent: Extent) -> Vec<u64> {
        let mut seen = Vec::new();
        let each = |entry: Entry| {
            seen.push(entry.offset);
            ControlFlow::Continue(())
        };
        source.read(extent, each).await.unwrap();
        seen
    }

    #[tokio::test]
    async fn a_file_gives_each_shard_its_own_records() {
        let file = file(&[(2, 5), (2, 6), (0, 0), (0, 1), (0, 2), (7, 9)]);
        let source = Source::file(file.path()).unwrap();
        let extents = source.extents(Which::All).await.unwrap();
        let said: Vec<_> = extents.iter().map(|e| (e.shard, e.from, e.to)).collect();
        assert_eq!(said, [(2, 5, 7), (0, 0, 3), (7, 9, 10)]);
        assert_eq!(offsets(&source, extents[1]).await, [0, 1, 2]);
        assert_eq!(offsets(&source, extents[1].until(Some(1))).await, [0, 1]);
        assert_eq!(offsets(&source, Extent { from: 1, ..extents[1] }).await, [1, 2]);
        let absent = source.extents(Which::One(3)).await.unwrap_err();
        assert_eq!(absent.to_string(), "there is no shard 3; there are in this file: 2, 0, 7");
    }

    #[test]
    fn a_file_that_is_no_ledger_is_told_with_its_line() {
        let check = |text: &str, says: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let error = Source::file(file.path()).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        };
        check("{\"shard\":0,\"offset\":0}\nhello\n", "line 2: not a line of an exported ledger");
        check(
            "{\"shard\":0,\"offset\":0}\n{\"shard\":1,\"offset\":0}\n{\"shard\":0,\"offset\":1}\n",
            "a second time",
        );
        check(&"x".repeat(LINE_BYTES as usize + 1), "more than 4194304 bytes");
        // Cut off in the middle of a line: not passed over.
        check("{\"shard\":0,\"offset\":0}\n{\"shard\":0,\"off", "line 2");
    }
}
