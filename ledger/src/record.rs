//! What stands in the ledger: readable JSON, kept for years.

use serde::{Deserialize, Serialize};
use synod_protocol::{EntityId, Error, Event, ReplyTo, Timestamp, Workspace};

/// The version that this build writes; it reads every version up to it.
pub const VERSION: u32 = 1;

/// One record.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// Somebody takes the shard; the record's offset is the epoch of all that its author appends after it.
    Claim(Claim),
    /// What one input did.
    Step(Box<Step>),
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
    /// It could not be read; it goes to the dead-letter topic.
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
    /// A step of ours with something in it that this build does not know. If it counts, it must not be passed over.
    #[error("step {n} of epoch {epoch} cannot be read: {why}")]
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

/// What decides whether a step counts.
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
            "step" => serde_json::from_slice(bytes).map(Record::Step).map_err(|why| {
                match serde_json::from_slice(bytes) {
                    Ok(Place { epoch, n }) => RecordError::Unknown { epoch, n, why },
                    Err(_) => RecordError::Foreign(why),
                }
            }),
            _ => Err(RecordError::Newer { found: head.v, kind: head.kind }),
        }
    }
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
        assert!(matches!(Record::read(br#"{"v":1,"kind":"image"}"#), Err(RecordError::Newer { .. })));
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
