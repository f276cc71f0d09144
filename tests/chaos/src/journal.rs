//! What clients and agents write down as it happens to them, one JSON line each.
//!
//! A line is one `write` to a file opened for appending: what was written is there, however the process
//! ends. It is the harness' only source about what was promised; the ledger is never asked for that.

use crate::Trouble;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// What a client notes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientLine {
    /// About to ask for it.
    Asked {
        /// The task.
        task: String,
        /// What it is for: however often it is asked for, it is to be done once.
        key: String,
    },
    /// It was accepted: answered over HTTP, or acknowledged by Kafka.
    Acked {
        /// The task.
        task: String,
        /// The place in the commands topic, where Kafka acknowledged it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        place: Option<(u32, u64)>,
    },
    /// It was refused for good.
    Refused {
        /// The task.
        task: String,
        /// Why.
        why: String,
    },
}

/// What an agent notes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentLine {
    /// Something came out of its inbox.
    Took {
        /// The shard whose owner issued it.
        shard: u32,
        /// That owner's epoch.
        epoch: u64,
        /// The task.
        task: String,
        /// Which try.
        attempt: u32,
        /// Whether the agent took it to heart; if not, it knew it already.
        kept: bool,
        /// When, Unix time in ms.
        at_ms: u64,
    },
    /// It did the work: the side effect itself.
    Did {
        /// The task.
        task: String,
        /// Which try.
        attempt: u32,
        /// What it is for.
        key: String,
        /// This doing and no other; the output carries it.
        nonce: String,
    },
}

/// A journal being written; lines of several threads do not mix.
#[derive(Debug)]
pub struct Journal<L> {
    file: Mutex<File>,
    kind: PhantomData<fn(L)>,
}

impl<L: Serialize> Journal<L> {
    /// Opens one, going on where an earlier one ended.
    ///
    /// # Errors
    /// The file cannot be opened.
    pub fn open(path: &Path) -> Result<Journal<L>, Trouble> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Journal { file: Mutex::new(file), kind: PhantomData })
    }

    /// Writes lines, in one `write`.
    ///
    /// # Errors
    /// They are not in the file.
    pub fn note(&self, lines: &[L]) -> Result<(), Trouble> {
        let mut bytes = Vec::with_capacity(lines.len() * 128);
        for line in lines {
            serde_json::to_writer(&mut bytes, line)?;
            bytes.push(b'\n');
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(file.write_all(&bytes)?)
    }

    /// Asks the disk to have it.
    ///
    /// # Errors
    /// It may not.
    pub fn sync(&self) -> Result<(), Trouble> {
        Ok(self.file.lock().unwrap_or_else(PoisonError::into_inner).sync_data()?)
    }
}

/// Reads a journal. A last line that a killed process left half written says nothing and is passed over; any other
/// that cannot be read is an error.
///
/// # Errors
/// It cannot be read.
pub fn read<L: DeserializeOwned>(path: &Path) -> Result<Vec<L>, Trouble> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut lines, mut line) = (Vec::new(), String::new());
    while reader.read_line(&mut line)? > 0 {
        if line.ends_with('\n') {
            lines.push(serde_json::from_str(&line)?);
        }
        line.clear();
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_noted_is_read_and_half_a_line_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("j");
        let asked = |n: u32| ClientLine::Asked { task: format!("t{n}"), key: format!("k{n}") };
        Journal::open(&path).unwrap().note(&[asked(1), asked(2)]).unwrap();
        Journal::open(&path).unwrap().note(&[asked(3)]).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(br#"{"asked":{"ta"#).unwrap();
        assert_eq!(read::<ClientLine>(&path).unwrap(), [asked(1), asked(2), asked(3)]);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"\n").unwrap();
        assert!(read::<ClientLine>(&path).is_err(), "a whole line that cannot be read is no journal's");
    }
}
