//! What stands in the ledger: readable JSON, kept for years.

use crate::agent::AgentState;
use crate::seen::SeenImage;
use crate::state::ShardImage;
use crate::task::TaskState;
use crate::workflows::WorkflowState;
use serde::{Deserialize, Serialize};
use synod_negotiation::Negotiation;
use synod_protocol::{Code, EntityId, Error, Event, Id, ReplyTo, Timestamp, Workspace};
use synod_workflow::approval::Approval;
use synod_workflow::run::Run;

/// The version that this build writes; it reads every version up to it.
pub const VERSION: u32 = 1;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Somebody takes the shard; the record's offset is the epoch of all that its author appends after it.
    Claim(Claim),
    /// What one input did.
    Step(Box<Step>),
    /// One thing as it is, so that a fold need not begin at its birth.
    Image(Box<Image>),
}

/// A claim: who and when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Claim {
    /// Version.
    pub v: u32,
    /// `claim`
    pub kind: Kind,
    /// The coordinator.
    pub owner: String,
    /// Its own wall clock, for people; nothing is computed from it.
    pub at: Timestamp,
}

/// A step: one input, everything that it did, whole or absent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Version.
    pub v: u32,
    /// `step`
    pub kind: Kind,
    /// The offset of its author's claim.
    pub epoch: u64,
    /// Its author's how-manieth record of this epoch, from 1.
    pub n: u64,
    /// The shard's time.
    pub now: Timestamp,
    /// The root's workspace; absent where the input could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<Workspace>,
    /// The root's id; absent where the input could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<String>,
    /// What it was.
    pub input: InputRef,
    /// What it did.
    pub events: Vec<Event>,
    /// Why it did nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<Error>,
    /// A fold may begin here.
    pub floor: u64,
    /// Below this, every step's effects are confirmed.
    pub done: u64,
}

/// The whole state of one thing, under the same epoch and count as steps, without `floor` or `done`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Version.
    pub v: u32,
    /// `image`
    pub kind: Kind,
    /// The offset of its author's claim.
    pub epoch: u64,
    /// Its author's how-manieth record of this epoch, from 1.
    pub n: u64,
    /// What it shows.
    pub of: Imaged,
}

/// What an image shows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Imaged {
    /// The shard itself.
    Shard(ShardImage),
    /// A block of the commands had.
    Seen(SeenImage),
    /// A task.
    Task(TaskImage),
    /// An agent.
    Agent(AgentImage),
    /// A negotiation.
    Negotiation(Box<NegotiationImage>),
    /// A workflow.
    Workflow(Box<EntityImage<WorkflowState>>),
    /// An execution.
    Execution(Box<EntityImage<Run>>),
    /// An approval.
    Approval(Box<EntityImage<Approval>>),
}

/// A task in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskImage {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub id: EntityId,
    /// The place of the step by which it was submitted, and its own in every line.
    pub arrival: u64,
    /// All of it.
    pub state: TaskState,
}

/// A negotiation in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NegotiationImage {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub id: EntityId,
    /// The place of the step by which it was opened.
    pub arrival: u64,
    /// All of it.
    pub state: Negotiation,
}

/// An entity of one of the newer kinds in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EntityImage<T> {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub id: EntityId,
    /// The place of the step by which it came.
    pub arrival: u64,
    /// All of it.
    pub state: T,
}

/// An agent in an image.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentImage {
    /// Its workspace.
    pub workspace: Workspace,
    /// Its id.
    pub id: Id,
    /// The place of the step by which it first came.
    pub arrival: u64,
    /// All of it.
    pub state: AgentState,
}

impl Step {
    /// By which what it brought is known in memory and in images: the offset at which its author expects it. It may
    /// stand a little behind that, and count, where something foreign came between; no two that count share it.
    pub fn place(&self) -> u64 {
        self.epoch.saturating_add(self.n)
    }

    /// Whether its command is remembered by its id. One for which there was no room may come again as it is.
    pub fn is_had(&self) -> bool {
        let input = &self.input;
        let repeats = input.repeats.is_some() && input.body.is_none();
        let had_no_room = self.rejected.as_ref().is_some_and(|error| error.code == Code::Overloaded);
        input.passed_on_to.is_none() && !input.poison && !repeats && !had_no_room
    }
}

/// Where an input came from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InputRef {
    /// Through which door.
    pub door: Door,
    /// A command's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ce_id: Option<String>,
    /// A command's offset in `synod.commands.v1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// A command's type.
    #[serde(default, skip_serializing_if = "Option::is_none", rename = "type")]
    pub ty: Option<String>,
    /// The entity that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entity: Option<EntityId>,
    /// Where its answer goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<ReplyTo>,
    /// The piece of work that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub correlation_id: Option<String>,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// It belonged to this other partition and was passed on, unchanged, before this was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passed_on_to: Option<u32>,
    /// It changed nothing, for it was had before: the place of the step that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeats: Option<u64>,
    /// Where a task was submitted again after it had left memory: the fingerprint of this submission's body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// It could not be read, or the core could not decide it; it goes to the dead-letter topic.
    #[serde(default, skip_serializing_if = "is_false")]
    pub poison: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// The ways in which something can happen to a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// The commands topic.
    Kafka,
    /// `POST /v1/commands` and its kin.
    Http,
    /// Something was due.
    Timer,
    /// Something changed in the fleet.
    Fleet,
}

impl InputRef {
    /// An input that is no command.
    pub fn of(door: Door) -> InputRef {
        InputRef {
            door,
            ce_id: None,
            offset: None,
            ty: None,
            entity: None,
            reply_to: None,
            correlation_id: None,
            traceparent: None,
            passed_on_to: None,
            repeats: None,
            body: None,
            poison: false,
        }
    }
}

/// The kinds of record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// See [`Claim`].
    Claim,
    /// See [`Step`].
    Step,
    /// See [`Image`].
    Image,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer build, which must not be guessed at.
    #[error(
        "a record of version {found} (kind {kind}) was written by a newer Synod; this one reads up to {VERSION}"
    )]
    Newer {
        /// Its version.
        found: u32,
        /// Its kind.
        kind: String,
    },
    /// A record of ours with something in it that this build does not know. If it counts, it must not be passed over.
    #[error("record {n} of epoch {epoch} cannot be read: {why}")]
    Unknown {
        /// Its epoch.
        epoch: u64,
        /// Its number.
        n: u64,
        /// What is wrong with it.
        why: serde_json::Error,
    },
    /// Not a record of ours at all.
    #[error("not a ledger record: {0}")]
    Foreign(serde_json::Error),
}

/// What every record of any version says first.
#[derive(Deserialize)]
struct Head {
    v: u32,
    kind: String,
}

/// What decides whether a record counts.
#[derive(Deserialize)]
struct Place {
    epoch: u64,
    n: u64,
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// It is newer than this build, or none of ours.
    pub fn read(bytes: &[u8]) -> Result<Record, RecordError> {
        let head: Head = serde_json::from_slice(bytes).map_err(RecordError::Foreign)?;
        match head.kind.as_str() {
            _ if head.v > VERSION => Err(RecordError::Newer { found: head.v, kind: head.kind }),
            "claim" => serde_json::from_slice(bytes).map(Record::Claim).map_err(RecordError::Foreign),
            "step" => serde_json::from_slice(bytes).map(Record::Step).map_err(|why| ours(bytes, why)),
            "image" => serde_json::from_slice(bytes).map(Record::Image).map_err(|why| ours(bytes, why)),
            _ => Err(RecordError::Newer { found: head.v, kind: head.kind }),
        }
    }
}

/// A record that says its place is one of ours.
fn ours(bytes: &[u8], why: serde_json::Error) -> RecordError {
    match serde_json::from_slice(bytes) {
        Ok(Place { epoch, n }) => RecordError::Unknown { epoch, n, why },
        Err(_) => RecordError::Foreign(why),
    }
}

/// The floor that a record names, if it is a step: an offset that no record after it, nor it itself, can be below.
/// A recorded floor is valid whether or not the step counts.
pub fn floor_of(offset: u64, bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    struct Floor {
        v: u32,
        kind: String,
        epoch: u64,
        floor: u64,
    }
    let step: Floor = serde_json::from_slice(bytes).ok()?;
    let ours = step.kind == "step" && step.v <= VERSION && step.epoch < offset && step.floor < offset;
    ours.then_some(step.floor)
}

impl Claim {
    /// A claim by `owner`.
    pub fn by(owner: impl Into<String>, at: Timestamp) -> Claim {
        Claim { v: VERSION, kind: Kind::Claim, owner: owner.into(), at }
    }

    /// Its bytes.
    ///
    /// # Errors
    /// None in practice: every field has a JSON form.
    pub fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_record_is_told_from_a_foreign_one() {
        assert!(matches!(
            Record::read(br#"{"v":2,"kind":"step"}"#),
            Err(RecordError::Newer { found: 2, .. })
        ));
        assert!(matches!(Record::read(br#"{"v":1,"kind":"riddle"}"#), Err(RecordError::Newer { .. })));
        assert!(matches!(Record::read(b"hello"), Err(RecordError::Foreign(_))));
        assert!(matches!(Record::read(br#"{"v":1,"kind":"step"}"#), Err(RecordError::Foreign(_))));
    }

    #[test]
    fn a_claim_is_golden() {
        let bytes = Claim::by("coord-1", Timestamp::from_millis(0)).to_bytes().unwrap();
        let text = r#"{"v":1,"kind":"claim","owner":"coord-1","at":"1970-01-01T00:00:00.000Z"}"#;
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), text);
        assert!(matches!(Record::read(&bytes), Ok(Record::Claim(_))));
    }

    #[test]
    fn a_step_of_version_1_is_read_for_ever() {
        let text = r#"{"v":1,"kind":"step","epoch":3,"n":1,"now":"2026-11-21T08:00:00.000Z","workspace":"default","root":"t","input":{"door":"kafka","ce_id":"c","offset":7,"type":"synod.task.cancel"},"events":[{"entity":"t","type":"synod.task.cancelled","data":{"task_id":"t","status":"cancelled"}}],"floor":0,"done":4}"#;
        let Record::Step(step) = Record::read(text.as_bytes()).unwrap() else { panic!("a step") };
        assert_eq!(serde_json::to_string(&step).unwrap(), text);
    }
}
