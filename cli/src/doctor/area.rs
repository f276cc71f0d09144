//! What was found in one area.

use serde::Serialize;
use std::time::Duration;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// As it should be.
    Ok,
    /// It works, and something is to be known.
    Warning,
    /// Something promised does not hold while it is so.
    Wrong,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `kafka`, `redis` or `coordinators`.
    pub area: &'static str,
    /// What was looked at.
    pub check: String,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub says: String,
    /// What to do about it.
    #[serde(rename = "do", skip_serializing_if = "Option::is_none")]
    pub mend: Option<String>,
}

/// One area: what was found so far, whatever becomes of the rest.
#[derive(Debug)]
pub(super) struct Area {
    name: &'static str,
    /// Whether anybody there answered.
    pub(super) reached: bool,
    pub(super) findings: Vec<Finding>,
}

impl Area {
    pub(super) fn new(name: &'static str) -> Area {
        Area { name, reached: false, findings: Vec::new() }
    }

    pub(super) fn ok(&mut self, check: &str, says: impl Into<String>) {
        self.found(check, State::Ok, says.into(), None);
    }

    pub(super) fn warning(&mut self, check: &str, says: impl Into<String>, mend: impl Into<String>) {
        self.found(check, State::Warning, says.into(), Some(mend.into()));
    }

    pub(super) fn wrong(&mut self, check: &str, says: impl Into<String>, mend: impl Into<String>) {
        self.found(check, State::Wrong, says.into(), Some(mend.into()));
    }

    /// The area's time is up.
    pub(super) fn late(&mut self, limit: Duration) {
        let says = format!("not all was answered within {} s", limit.as_secs());
        self.wrong("time", says, "see what is slow there, or give it longer with --limit");
    }

    fn found(&mut self, check: &str, state: State, says: String, mend: Option<String>) {
        self.findings.push(Finding { area: self.name, check: check.to_owned(), state, says, mend });
    }
}

/// So many of them, in words.
pub(super) fn coordinators(count: usize) -> String {
    format!("{count} coordinator{}", if count == 1 { "" } else { "s" })
}
