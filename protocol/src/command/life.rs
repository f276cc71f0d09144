//! What is asked of an agent's own life beyond the plain changes, and of the fleet as a whole.

use super::{check_range, check_text};
use crate::error::Error;
use crate::id::{Capability, Id, Incarnation};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The longest that an agent in error may wait before it resumes by itself, in ms.
const RESUME_AFTER_MOST_MS: u64 = 3_600_000;
/// How long it waits where nothing is said, in ms.
pub const RESUME_AFTER_MS: u64 = 1_000;

/// How an agent that reported an error is to come back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Recovery {
    /// By itself, `resume_after_ms` later.
    Resume,
    /// As a new process start, which registers anew; what the old one holds is given to others.
    Restart,
    /// Not before somebody starts it.
    #[default]
    Park,
}

/// `synod.agent.report_error`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportError {
    /// Who.
    pub agent_id: Id,
    /// Only this incarnation; any by default.
    #[serde(default)]
    pub incarnation: Option<Incarnation>,
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
    /// How it is to come back; `park` by default.
    #[serde(default)]
    pub recovery: Option<Recovery>,
    /// With `resume`: after so long, 1 ms to 1 h; 1,000 by default.
    #[serde(default)]
    pub resume_after_ms: Option<u64>,
}

impl ReportError {
    pub(super) fn check(&self) -> Result<(), Error> {
        check_text("/reason", self.reason.as_deref())?;
        let Some(after) = self.resume_after_ms else { return Ok(()) };
        if self.recovery != Some(Recovery::Resume) {
            return Err(Error::invalid("resume_after_ms goes with recovery resume alone")
                .with_field("/resume_after_ms"));
        }
        check_range("/resume_after_ms", "resume_after_ms", after, 1, RESUME_AFTER_MOST_MS)
    }
}

/// What becomes of the attempts that run when a part of the fleet is paused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PauseMode {
    /// They may finish.
    #[default]
    Drain,
    /// They are taken back: handlers are told to stop, and the tasks wait.
    Halt,
}

/// `synod.fleet.pause`: nothing of this is assigned until it is resumed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseFleet {
    /// Tasks that ask for this alone; all by default.
    #[serde(default)]
    pub capability: Option<Capability>,
    /// In every workspace; only in the caller's by default.
    #[serde(default)]
    pub everything: Option<bool>,
    /// What becomes of what runs; `drain` by default.
    #[serde(default)]
    pub mode: Option<PauseMode>,
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `synod.fleet.resume`: takes back the pause of the very same scope.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeFleet {
    /// As it was paused.
    #[serde(default)]
    pub capability: Option<Capability>,
    /// As it was paused.
    #[serde(default)]
    pub everything: Option<bool>,
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
}
