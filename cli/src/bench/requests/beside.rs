//! Who is measured beside: what `--peers` names, as scripts/bench-peers writes it.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// More arms than that in one run are a mistake: each takes its time in every round.
const MOST_PEERS: usize = 16;
/// More rounds than that too.
const MOST_ROUNDS: usize = 100;

/// The others, and what they run on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Beside {
    /// Rounds that count, 1 to 100, where not as many as usual.
    pub rounds: Option<usize>,
    /// Processes that several may use, by name, so that what a request takes of them can be told: their process ids. Synod uses
    /// `kafka` and `redis`.
    #[serde(default)]
    pub services: BTreeMap<String, u32>,
    /// At most 16.
    pub(super) peers: Vec<Peer>,
}

/// One of the others.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Peer {
    /// What it is called in the figures; no `:` in it, which divides a name from what is told of it.
    pub(super) name: String,
    /// The program that asks, and its arguments; it starts and ends its workers itself. What it has to say and to read is in
    /// `asker.rs`.
    pub(super) asker: Vec<String>,
    /// Which of the services it uses.
    #[serde(default)]
    pub(super) uses: Vec<String>,
}

/// Why the file says nothing that could be measured.
#[derive(Debug, thiserror::Error)]
pub enum BesideError {
    /// It cannot be read.
    #[error("{path}: {why}")]
    Read {
        /// Which file.
        path: String,
        /// What the system says.
        why: std::io::Error,
    },
    /// It is not JSON of this form.
    #[error("it does not read: {0}")]
    Json(#[from] serde_json::Error),
    /// It asks for what cannot be.
    #[error("{0}")]
    Wrong(String),
}

impl Beside {
    /// What is in this file.
    ///
    /// # Errors
    /// It cannot be read, or see [`BesideError`].
    pub fn read(path: &Path) -> Result<Beside, BesideError> {
        let text = std::fs::read_to_string(path)
            .map_err(|why| BesideError::Read { path: path.display().to_string(), why })?;
        Beside::parse(&text)
    }

    fn parse(text: &str) -> Result<Beside, BesideError> {
        let beside: Beside = serde_json::from_str(text)?;
        let wrong = |why: String| Err(BesideError::Wrong(why));
        if beside.rounds.is_some_and(|rounds| !(1..=MOST_ROUNDS).contains(&rounds)) {
            return wrong(format!("`rounds` is 1 to {MOST_ROUNDS}"));
        }
        if beside.peers.len() > MOST_PEERS {
            return wrong(format!("{} peers; at most {MOST_PEERS}", beside.peers.len()));
        }
        for Peer { name, asker, uses } in &beside.peers {
            if name.is_empty() || name.contains(':') {
                return wrong(format!("a peer's name is some text without a colon, not '{name}'"));
            }
            if asker.is_empty() {
                return wrong(format!("{name}: `asker` is a program and its arguments"));
            }
            if let Some(unknown) = uses.iter().find(|service| !beside.services.contains_key(*service)) {
                return wrong(format!("{name} uses '{unknown}', which is not among `services`"));
            }
        }
        Ok(beside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, said: &str) {
        match Beside::parse(text) {
            Ok(beside) => assert_eq!("", said, "{beside:?}"),
            Err(error) => {
                assert!(!said.is_empty() && error.to_string().contains(said), "{text}: {error}");
            }
        }
    }

    #[test]
    fn what_cannot_be_measured_is_refused_with_the_reason() {
        check(r#"{"peers": []}"#, "");
        check(r#"{"peers": [{"name": "a", "asker": ["x", "1"], "uses": ["r"]}], "services": {"r": 7}}"#, "");
        check(r#"{"peers": [{"name": "a", "asker": ["x"], "uses": ["r"]}]}"#, "a uses 'r'");
        check(r#"{"peers": [{"name": "a", "asker": []}]}"#, "a program and its arguments");
        check(r#"{"peers": [{"name": "a:b", "asker": ["x"]}]}"#, "without a colon, not 'a:b'");
        check(r#"{"peers": [], "rounds": 0}"#, "1 to 100");
        check(r#"{"peers": [], "round": 1}"#, "unknown field `round`");
        let many = vec![r#"{"name": "a", "asker": ["x"]}"#; MOST_PEERS + 1].join(",");
        check(&format!(r#"{{"peers": [{many}]}}"#), "at most 16");
    }
}
