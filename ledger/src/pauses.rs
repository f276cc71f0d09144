//! What of the fleet gets no work: durable facts of one shard, that of [`topics::FLEET_ROOT`], which every coordinator
//! follows through the directory.
//!
//! A pause is known by its scope: a workspace or all of them, a capability or all. Each is taken back by itself; a task
//! that several cover waits for the last of them.

use serde::{Deserialize, Serialize};
use synod_protocol::command::{PauseFleet, PauseMode, ResumeFleet};
use synod_protocol::event::{FleetChanged, FleetStatus, What};
use synod_protocol::view::{Pause, Pauses};
use synod_protocol::{Capability, Code, Error, Timestamp, Workspace};

/// Pauses in force at a time.
const LIMIT: usize = 128;

/// Every pause in force, in order of their scopes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PausesInForce(Vec<Pause>);

type Scope<'a> = (Option<&'a Workspace>, Option<&'a Capability>);

fn scope(pause: &Pause) -> Scope<'_> {
    (pause.workspace.as_ref(), pause.capability.as_ref())
}

impl PausesInForce {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As readers and the directory see them.
    pub fn view(&self) -> Pauses {
        Pauses { pauses: self.0.clone() }
    }

    fn find(&self, wanted: Scope<'_>) -> Result<usize, usize> {
        self.0.binary_search_by(|pause| scope(pause).cmp(&wanted))
    }

    /// The state after an event; total.
    pub(crate) fn apply(&mut self, what: &What, now: Timestamp) {
        match what {
            What::FleetPaused(e) => {
                let found = self.find((e.workspace.as_ref(), e.capability.as_ref()));
                let since = found.ok().map_or(now, |at| self.0[at].since);
                let pause = Pause {
                    workspace: e.workspace.clone(),
                    capability: e.capability.clone(),
                    mode: e.mode,
                    reason: e.reason.clone(),
                    since,
                };
                match found {
                    Ok(at) => self.0[at] = pause,
                    Err(at) => self.0.insert(at, pause),
                }
            }
            What::FleetResumed(e) => {
                if let Ok(at) = self.find((e.workspace.as_ref(), e.capability.as_ref())) {
                    self.0.remove(at);
                }
            }
            _ => {}
        }
    }

    /// What asking for a pause does. A halt is not weakened by asking for less.
    pub(crate) fn pause(&self, workspace: &Workspace, asked: &PauseFleet) -> Result<Vec<What>, Error> {
        let workspace = (!asked.everything.unwrap_or(false)).then(|| workspace.clone());
        let mode = asked.mode.unwrap_or_default();
        let capability = asked.capability.clone();
        if let Ok(at) = self.find((workspace.as_ref(), capability.as_ref())) {
            let known = &self.0[at];
            if known.mode == mode || known.mode == PauseMode::Halt {
                return Ok(Vec::new());
            }
        } else if self.0.len() >= LIMIT {
            return Err(Error::new(
                Code::Unprocessable,
                format!(
                    "{LIMIT} pauses are in force, which is the limit; resume one, or pause a wider scope"
                ),
            ));
        }
        let reason = asked.reason.clone();
        let status = FleetStatus::Paused;
        Ok(vec![What::FleetPaused(FleetChanged { workspace, capability, status, mode, reason })])
    }

    /// What taking a pause back does.
    pub(crate) fn resume(&self, workspace: &Workspace, asked: &ResumeFleet) -> Result<Vec<What>, Error> {
        let workspace = (!asked.everything.unwrap_or(false)).then(|| workspace.clone());
        let capability = asked.capability.clone();
        let Ok(at) = self.find((workspace.as_ref(), capability.as_ref())) else {
            let whose = workspace.as_ref().map_or("everything".to_owned(), |w| format!("workspace {w}"));
            let which = capability.as_ref().map_or(String::new(), |c| format!(", capability {c}"));
            let why =
                format!("no pause of {whose}{which} is in force; a pause is taken back by its own scope");
            return Err(Error::invalid_transition(why, "running"));
        };
        let (status, mode) = (FleetStatus::Running, self.0[at].mode);
        let reason = asked.reason.clone();
        Ok(vec![What::FleetResumed(FleetChanged { workspace, capability, status, mode, reason })])
    }
}
