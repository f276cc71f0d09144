//! What is kept of one doing of a step.

use crate::expression::Value;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::sync::{Arc, OnceLock};
use synod_protocol::approval::DecisionMade;
use synod_protocol::command::Failure;
use synod_protocol::workflow::{RevisionDone, StepStatus};
use synod_protocol::{EntityId, Id, Json, Timestamp};

/// Revisions of one doing that are kept for readers; the oldest goes first.
pub(super) const EARLIER: usize = 20;

/// One doing of a step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Doing {
    pub(super) status: StepStatus,
    /// The latest attempt, from 1; 0 for a block.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) attempt: u32,
    /// Attempts before it began anew: they do not count for `retry`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(super) attempts_before: u32,
    /// What it has from earlier doings.
    #[serde(default, skip_serializing_if = "Anew::is_first")]
    pub(super) anew: Anew,
    /// What came from outside; of a block nothing, since its output follows from its steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) output: Option<Held>,
    /// Its output is its fallback's.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) fell_back: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) confidence: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agent_id: Option<Id>,
    /// What an expert said, or `{"error": …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<Held>,
    /// Why it failed, or why its latest attempt did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<Failure>,
    pub(super) started_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ended_at: Option<Timestamp>,
    /// Of a condition: which way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) branch: Option<bool>,
    /// Of a map: what it goes over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) items: Option<Items>,
    /// When a wait is over, or the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) wake_at: Option<Timestamp>,
    /// When its time is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) due_at: Option<Timestamp>,
    /// Of a wait: its signal has come, and its end is still to be said.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) signalled: bool,
    /// It ended because something around it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) left: Option<Left>,
    /// Of a block: its steps that are under way, over and good, over and bad. They follow from the other doings.
    #[serde(skip)]
    pub(super) open: u32,
    #[serde(skip)]
    pub(super) good: u32,
    #[serde(skip)]
    pub(super) bad: u32,
    /// The output of a block once it was asked for.
    #[serde(skip)]
    pub(super) joined: Joined,
}

/// How a doing was left over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Left {
    /// It was under way.
    Open,
    /// It had not begun.
    Unbegun,
}

/// What a doing has from those before it, after a revision or a retry by hand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Anew {
    /// Times that it was begun anew for a revision.
    pub(super) revised: u32,
    /// What became of the revisions before.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) earlier: Vec<RevisionDone>,
    /// What people want otherwise; of the step from which on a revision is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) feedback: Option<Json>,
    /// Of an approval: which one it is a revision of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) asked: Option<Asked>,
}

/// Of which approval another is a revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Asked {
    pub(super) parent: EntityId,
    /// From 2.
    pub(super) number: u32,
    pub(super) feedback: DecisionMade,
}

/// What is kept of a doing that begins anew, until it has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    pub(super) attempt: u32,
    pub(super) anew: Anew,
    /// Why it failed, where it is retried by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<Failure>,
}

impl Anew {
    fn is_first(&self) -> bool {
        *self == Anew::default()
    }

    /// Bytes of what is kept of the revisions before.
    pub(super) fn held(&self) -> usize {
        let earlier: usize = self.earlier.iter().map(|one| 200 + one.output.as_ref().map_or(0, len)).sum();
        earlier + self.feedback.as_ref().map_or(0, len)
    }
}

impl Past {
    /// What it takes in memory, in bytes, about.
    pub(super) fn weight(&self) -> usize {
        size_of::<Past>() + NODE + self.anew.held()
    }
}

/// What an entry of a tree takes besides: its node, its key, its counts.
pub(super) const NODE: usize = 160;

impl Doing {
    pub(super) fn new(status: StepStatus, at: Timestamp) -> Doing {
        Doing {
            status,
            attempt: 0,
            attempts_before: 0,
            anew: Anew::default(),
            output: None,
            fell_back: false,
            confidence: None,
            agent_id: None,
            advice: None,
            failure: None,
            started_at: at,
            ended_at: None,
            branch: None,
            items: None,
            wake_at: None,
            due_at: None,
            signalled: false,
            left: None,
            open: 0,
            good: 0,
            bad: 0,
            joined: Joined::default(),
        }
    }

    /// One that has begun before, in another revision or before a retry by hand.
    pub(super) fn after(past: Past, at: Timestamp) -> Doing {
        Doing {
            attempt: past.attempt,
            attempts_before: past.attempt,
            anew: past.anew,
            failure: past.failure,
            ..Doing::new(StepStatus::Running, at)
        }
    }

    /// It is over.
    pub(super) fn end(&mut self, status: StepStatus, at: Timestamp) {
        self.status = status;
        self.ended_at = Some(at);
        (self.wake_at, self.due_at, self.signalled) = (None, None, false);
    }

    /// It is under way again.
    pub(super) fn reopen(&mut self) {
        self.status = StepStatus::Running;
        (self.ended_at, self.left, self.failure, self.fell_back) = (None, None, None, false);
        (self.output, self.confidence, self.agent_id) = (None, None, None);
        self.joined = Joined::default();
    }

    /// Bytes of results and of what maps go over.
    pub(super) fn held(&self) -> usize {
        let of = |held: &Option<Held>| held.as_ref().map_or(0, |held| len(held.json()));
        of(&self.output)
            + of(&self.advice)
            + self.items.as_ref().map_or(0, |items| items.bytes)
            + self.anew.held()
    }

    /// What it takes in memory, in bytes, about.
    pub(super) fn weight(&self) -> usize {
        let failure = self.failure.as_ref().map_or(0, |failure| failure.message.len());
        size_of::<Doing>() + NODE + self.held() + failure
    }
}

pub(super) fn len(json: &Json) -> usize {
    json.as_str().len()
}

/// JSON that expressions read, as a value once the first has. A copy shares both.
#[derive(Clone)]
pub(super) struct Held(Arc<(Json, OnceLock<Value>)>);

impl Held {
    pub(super) fn new(json: Json) -> Held {
        Held(Arc::new((json, OnceLock::new())))
    }

    pub(super) fn json(&self) -> &Json {
        &self.0.0
    }

    /// For expressions. Whatever comes into a run was looked at by [`readable`], so that nothing is lost here.
    pub(super) fn value(&self) -> Value {
        let read = || readable(self.json()).map_or(Value::Null, |json| Value::of(&json));
        self.0.1.get_or_init(read).clone()
    }
}

/// JSON as expressions and schemas read it.
///
/// # Errors
/// A number in it is larger than any that can be counted with.
pub(super) fn readable(json: &Json) -> Result<serde_json::Value, String> {
    json.to().map_err(|error| format!("it cannot be read: {error}"))
}

impl PartialEq for Held {
    fn eq(&self, other: &Held) -> bool {
        self.json() == other.json()
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.json(), f)
    }
}

impl Serialize for Held {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.json().serialize(s)
    }
}

impl<'de> Deserialize<'de> for Held {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Held, D::Error> {
        let json = Json::deserialize(d)?;
        readable(&json).map_err(de::Error::custom)?;
        Ok(Held::new(json))
    }
}

/// What a map goes over. A copy shares it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Items {
    pub(super) all: Arc<Vec<Held>>,
    bytes: usize,
}

impl Items {
    pub(super) fn new(all: &[Json]) -> Items {
        let bytes = all.iter().map(|item| NODE + len(item)).sum();
        Items { all: Arc::new(all.iter().cloned().map(Held::new).collect()), bytes }
    }
}

impl Serialize for Items {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        self.all.as_slice().serialize(s)
    }
}

impl<'de> Deserialize<'de> for Items {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Items, D::Error> {
        let all = Vec::<Json>::deserialize(d)?;
        all.iter().try_for_each(|item| readable(item).map(drop)).map_err(de::Error::custom)?;
        Ok(Items::new(&all))
    }
}

/// The output of a block, once somebody has asked for it. It follows from the rest and counts for nothing in comparisons.
#[derive(Clone, Default)]
pub(super) struct Joined(pub(super) Arc<OnceLock<Held>>);

impl PartialEq for Joined {
    fn eq(&self, _: &Joined) -> bool {
        true
    }
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Joined")
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_false(is: &bool) -> bool {
    !is
}
