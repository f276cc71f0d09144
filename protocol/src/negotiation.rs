//! The words of negotiations: what is asked of one, what happens to it, and how it is shown.

mod then;

pub use then::{STARTS_BYTES, Starts, Then, ThenEvent, ThenState, ThenTask, task_id};

use crate::command::{Delivery, check_labels, check_range, check_text};
use crate::error::Error;
use crate::exact::Exact;
use crate::id::{Capability, EntityId, Id, Incarnation, Workspace};
use crate::json::Json;
use crate::time::Timestamp;
use crate::track::AppraiseAgent;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use utoipa::ToSchema;

/// Participants of one negotiation.
pub const PARTICIPANTS: usize = 1_000;
/// Rounds of one negotiation.
pub const ROUNDS: usize = 100;
/// How long a round lasts where nothing is said, in milliseconds.
pub const ROUND_MS: u64 = 30_000;
/// What all answers to one negotiation may weigh together, in bytes: it has to fit into one record of the ledger.
pub const ANSWERS_BYTES: usize = 512 * 1024;

/// `synod.negotiation.open`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenNegotiation {
    /// Its id, chosen by who opens it.
    pub negotiation_id: EntityId,
    /// How it is decided, such as `vote`.
    pub protocol: String,
    /// What is to be decided, as every participant is shown it.
    #[serde(default)]
    pub question: Json,
    /// The protocol's own settings; `{}` by default.
    #[serde(default)]
    pub rules: Option<Json>,
    /// Who is asked, by name; an agent of the fleet through its inbox, anyone else answers by itself.
    #[serde(default)]
    pub participants: Option<Vec<Id>>,
    /// Who is asked besides: agents of the fleet, by what they can do, by labels, or all of them.
    #[serde(default)]
    pub invite: Option<Invite>,
    /// How much each counts, where the protocol weighs; 1 by default.
    #[serde(default)]
    #[schema(value_type = Option<BTreeMap<String, Exact>>)]
    pub weights: Option<BTreeMap<Id, Exact>>,
    /// What each is in it, where the protocol has roles.
    #[serde(default)]
    pub roles: Option<BTreeMap<Id, String>>,
    /// Answers to the first round that are known already; whoever has given one is not asked.
    #[serde(default)]
    pub answers: Option<BTreeMap<Id, Json>>,
    /// How long a round lasts at most, 10 ms to 7 days; 30,000 by default.
    #[serde(default)]
    pub round_ms: Option<u64>,
    /// When it has to be over.
    #[serde(default)]
    pub deadline: Option<Timestamp>,
    /// How many have to answer a round, an abstention included; one by default.
    #[serde(default)]
    pub quorum: Option<Quorum>,
    /// Whether answers are secret until their round closes; true by default.
    #[serde(default)]
    pub sealed: Option<bool>,
    /// What a second, different answer to a round does; `first` by default.
    #[serde(default)]
    pub repeated: Option<Repeated>,
    /// What happens when a round's time is up and somebody is silent; `decide` by default.
    #[serde(default)]
    pub on_timeout: Option<OnTimeout>,
    /// Whether an invited participant that dies before it has answered is replaced by another; false by default.
    #[serde(default)]
    pub replace: Option<bool>,
    /// What the decision starts.
    #[serde(default)]
    pub then: Option<Then>,
    /// Whether what is asked goes ahead of ordinary work; by default as the protocol says: true for `emergency`, else false.
    #[serde(default)]
    pub urgent: Option<bool>,
    /// Free labels to find it by.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
}

impl Eq for OpenNegotiation {}

/// Agents of the fleet that are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Invite {
    /// Whoever can do this; any agent by default.
    #[serde(default)]
    pub capability: Option<Capability>,
    /// Each with exactly this value.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// At least so many, or it is refused; 1 by default.
    #[serde(default)]
    pub min: Option<u32>,
    /// At most so many, by id; 1,000 by default.
    #[serde(default)]
    pub max: Option<u32>,
}

/// How many have to answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Quorum {
    /// So many.
    Count(u32),
    /// At least this share of those who are asked, more than 0, at most 1.
    Share(Exact),
}

/// What a second answer to the same round does that differs from the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Repeated {
    /// Nothing: the first counts.
    #[default]
    First,
    /// It counts instead of the first.
    Last,
    /// It is refused as `already_exists`.
    Refused,
}

/// What happens when a round's time is up and somebody is silent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum OnTimeout {
    /// It is decided on what is there, if that is a quorum.
    #[default]
    Decide,
    /// The round goes on once for the same time; then as `decide`.
    Extend,
    /// It fails.
    Fail,
    /// This is the outcome.
    Default(Json),
}

/// `synod.negotiation.respond`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RespondNegotiation {
    /// Which.
    pub negotiation_id: EntityId,
    /// Who answers.
    pub participant: Id,
    /// Which round is answered; the one that is open by default.
    #[serde(default)]
    pub round: Option<u32>,
    /// The answer, as the protocol wants it; or `abstain`.
    #[serde(default)]
    pub response: Option<Json>,
    /// Whether it abstains, which is not the same as being silent.
    #[serde(default)]
    pub abstain: Option<bool>,
}

/// `synod.negotiation.cancel`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CancelNegotiation {
    /// Which.
    pub negotiation_id: EntityId,
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// Where a negotiation stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NegotiationStatus {
    /// Participants are asked, and none has answered yet.
    Open,
    /// Answers come in.
    Collecting,
    /// Over, with an outcome.
    Decided,
    /// Over, without one.
    Failed,
    /// Over: somebody cancelled it.
    Cancelled,
}

impl NegotiationStatus {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            NegotiationStatus::Open => "open",
            NegotiationStatus::Collecting => "collecting",
            NegotiationStatus::Decided => "decided",
            NegotiationStatus::Failed => "failed",
            NegotiationStatus::Cancelled => "cancelled",
        }
    }

    /// Whether it is over.
    pub fn is_final(self) -> bool {
        matches!(self, NegotiationStatus::Decided | NegotiationStatus::Failed | NegotiationStatus::Cancelled)
    }
}

/// One who may answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Participant {
    /// Who.
    pub id: Id,
    /// How much it counts.
    pub weight: Exact,
    /// What it is in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// Whether it was found by what it can do, rather than named.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub invited: bool,
}

/// A question to participants, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Round {
    /// From 1.
    pub round: u32,
    /// What is asked for, such as `ballot` or `bid`: which of an agent's answers is wanted.
    pub kind: String,
    /// What is asked beside the question of all rounds.
    #[serde(default)]
    pub content: Json,
    /// Who is asked.
    pub asked: BTreeSet<Id>,
    /// How many have to answer it, an abstention included.
    pub quorum: u32,
    /// When it began.
    pub opened_at: Timestamp,
    /// Its time is up then.
    pub closes_at: Timestamp,
    /// When its time was up and it was given as much again, where that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub extended_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_at: Option<Timestamp>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed_by: Option<ClosedBy>,
    /// Answers by participant.
    #[serde(default)]
    pub answers: BTreeMap<Id, Answer>,
    /// Who will not answer any more, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub gone: BTreeMap<Id, String>,
    /// Who came into it in place of whom.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub replaced: BTreeMap<Id, Id>,
}

/// An answer that counts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// What was answered; none: an abstention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Json>,
    /// When.
    pub at: Timestamp,
    /// Where it stands in the ledger: the epoch and number of its record, added.
    pub position: u64,
}

/// An answer that does not count, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Uncounted {
    /// Whose.
    pub participant: Id,
    /// To which round.
    pub round: u32,
    /// What was answered; none: an abstention.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Json>,
    /// Where it stands in the ledger.
    pub position: u64,
    /// Why it does not count.
    pub reason: String,
}

/// Why a round ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ClosedBy {
    /// Everyone had answered, or could not any more.
    Complete,
    /// Nobody who was still to answer could have changed it.
    Settled,
    /// Its time was up.
    Time,
}

/// How a new round is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NextRound {
    /// From 1.
    pub round: u32,
    /// What is asked for.
    pub kind: String,
    /// What is asked beside the question of all rounds.
    #[serde(default)]
    pub content: Json,
    /// Who is asked.
    pub asked: BTreeSet<Id>,
    /// How many have to answer it, an abstention included.
    pub quorum: u32,
    /// Its time is up then.
    pub closes_at: Timestamp,
}

/// `synod.negotiation.opened`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NegotiationOpened {
    /// Which.
    pub negotiation_id: EntityId,
    /// Its status after this.
    pub status: NegotiationStatus,
    /// How it is decided.
    pub protocol: String,
    /// Which version of that: the same inputs are decided alike by the same version.
    pub version: u32,
    /// What is to be decided.
    #[serde(default)]
    pub question: Json,
    /// The protocol's own settings.
    #[serde(default)]
    pub rules: Json,
    /// Who may answer.
    pub participants: Vec<Participant>,
    /// Whom to ask in place of one that dies, where that is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<Invite>,
    /// How long a round lasts, in milliseconds.
    pub round_ms: u64,
    /// When it has to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// How many have to answer a round.
    pub quorum: Quorum,
    /// Whether answers are secret until their round closes.
    pub sealed: bool,
    /// What a second answer does.
    pub repeated: Repeated,
    /// What happens when time is up.
    pub on_timeout: OnTimeout,
    /// What the decision starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// Whether what is asked goes ahead of ordinary work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The piece of work that it belongs to.
    pub correlation_id: String,
    /// The trace that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<String>,
    /// BLAKE3 of the seed by which ties may be broken, in hex: the seed itself is shown when it is decided.
    pub seed_digest: String,
    /// The first round.
    pub first: NextRound,
    /// Fingerprint of the command, by which a repeat is told from another with the same id.
    pub body: String,
    /// Never published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<NegotiationSecret>,
}

/// What of an opened negotiation only the coordinators may know.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NegotiationSecret {
    /// The seed by which ties may be broken, in hex.
    pub seed: String,
    /// Answers that were known from the beginning.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub answers: BTreeMap<Id, Json>,
}

/// `synod.negotiation.responded`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NegotiationResponded {
    /// Which.
    pub negotiation_id: EntityId,
    /// Its status after this.
    pub status: NegotiationStatus,
    /// Which round.
    pub round: u32,
    /// Who answered.
    pub participant: Id,
    /// Whether it abstained.
    pub abstained: bool,
    /// Why it does not count, if it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncounted: Option<String>,
    /// The answer; not published while it is secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Json>,
    /// Whether it is secret until the round closes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sealed: bool,
}

/// `synod.negotiation.asked`: a participant's process is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NegotiationAsked {
    /// Which.
    pub negotiation_id: EntityId,
    /// Its status after this.
    pub status: NegotiationStatus,
    /// Which round.
    pub round: u32,
    /// Who, and which process start of each.
    pub asked: BTreeMap<Id, Seat>,
}

/// A participant's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Seat {
    /// Which process start.
    pub incarnation: Incarnation,
    /// How what it is asked reaches it.
    pub delivery: Delivery,
}

/// `synod.negotiation.participant_gone`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ParticipantGone {
    /// Which.
    pub negotiation_id: EntityId,
    /// Its status after this.
    pub status: NegotiationStatus,
    /// Which round.
    pub round: u32,
    /// Who.
    pub participant: Id,
    /// Why it is thought to be gone.
    pub reason: String,
    /// Who is asked in its place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced_by: Option<Id>,
}

/// `synod.negotiation.extended`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NegotiationExtended {
    /// Which.
    pub negotiation_id: EntityId,
    /// Its status after this.
    pub status: NegotiationStatus,
    /// Which round.
    pub round: u32,
    /// Its time is up then.
    pub closes_at: Timestamp,
}

/// `synod.negotiation.round_closed`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RoundClosed {
    /// Which.
    pub negotiation_id: EntityId,
    /// Its status after this.
    pub status: NegotiationStatus,
    /// Which round.
    pub round: u32,
    /// Why.
    pub closed_by: ClosedBy,
    /// How many answered.
    pub answers: u32,
    /// The round that follows at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<NextRound>,
}

/// `synod.negotiation.decided`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NegotiationDecided {
    /// Which.
    pub negotiation_id: EntityId,
    /// Its status after this.
    pub status: NegotiationStatus,
    /// What was decided, as the protocol says.
    pub outcome: Json,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
    /// Whether it is the default that was stated for when time is up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_default: bool,
    /// The seed by which ties were to be broken, in hex.
    pub seed: String,
    /// From its opening to this.
    pub deciding_ms: u64,
    /// What it starts, where that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<Starts>,
    /// What it tells of promises of agents; each is a `synod.agent.appraise` of its own after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub appraisals: Vec<AppraiseAgent>,
}

/// `synod.negotiation.failed`, `.cancelled`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NegotiationEnded {
    /// Which.
    pub negotiation_id: EntityId,
    /// Its status after this.
    pub status: NegotiationStatus,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was found all the same, such as a count without a winner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Json>,
    /// What it tells of promises of agents; each is a `synod.agent.appraise` of its own after it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub appraisals: Vec<AppraiseAgent>,
}

/// What a participant is asked, as it comes into its inbox (`synod.negotiation.asked`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Ask {
    /// Which.
    pub negotiation_id: EntityId,
    /// How it is decided.
    pub protocol: String,
    /// Which round.
    pub round: u32,
    /// What is asked for.
    pub kind: String,
    /// What is to be decided.
    #[serde(default)]
    pub question: Json,
    /// The protocol's own settings.
    #[serde(default)]
    pub rules: Json,
    /// What is asked beside the question of all rounds.
    #[serde(default)]
    pub content: Json,
    /// Who is asked.
    pub participant: Id,
    /// The process start that is asked.
    pub incarnation: Incarnation,
    /// The round's time is up then.
    pub closes_at: Timestamp,
    /// Whether it goes ahead of ordinary work.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
}

/// A negotiation as a reader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NegotiationView {
    /// Which.
    pub negotiation_id: EntityId,
    /// Its workspace.
    pub workspace: Workspace,
    /// Where it stands.
    pub status: NegotiationStatus,
    /// How it is decided.
    pub protocol: String,
    /// Which version of that.
    pub version: u32,
    /// What is to be decided.
    #[serde(default)]
    pub question: Json,
    /// The protocol's own settings.
    #[serde(default)]
    pub rules: Json,
    /// Who may answer.
    pub participants: Vec<Participant>,
    /// The rounds so far; what was answered to one that is open and sealed is `null`.
    pub rounds: Vec<Round>,
    /// Answers that do not count.
    #[serde(default)]
    pub uncounted: Vec<Uncounted>,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Json>,
    /// How it came to that, in sentences.
    #[serde(default)]
    pub explanation: Vec<String>,
    /// Whether it is the default that was stated for when time is up.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_default: bool,
    /// What the decision starts, where that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub starts: Option<Starts>,
    /// Why it has no outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it has to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How many have to answer a round.
    pub quorum: Quorum,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The piece of work that it belongs to.
    pub correlation_id: String,
}

/// A negotiation in short: what whoever answers it is told, and what lists show.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NegotiationBrief {
    /// Which.
    pub negotiation_id: EntityId,
    /// Its workspace.
    pub workspace: Workspace,
    /// Where it stands.
    pub status: NegotiationStatus,
    /// How it is decided.
    pub protocol: String,
    /// The round that is open, or was last.
    pub round: u32,
    /// How many have answered that.
    pub answers: u32,
    /// How many are still to answer it.
    pub awaited: u32,
    /// What was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Json>,
    /// Why it has no outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Free labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl OpenNegotiation {
    /// Asks these participants by this protocol; everything else by default.
    pub fn new(negotiation_id: EntityId, protocol: &str, question: Json) -> OpenNegotiation {
        OpenNegotiation {
            negotiation_id,
            protocol: protocol.to_owned(),
            question,
            rules: None,
            participants: None,
            invite: None,
            weights: None,
            roles: None,
            answers: None,
            round_ms: None,
            deadline: None,
            quorum: None,
            sealed: None,
            repeated: None,
            on_timeout: None,
            replace: None,
            then: None,
            urgent: None,
            labels: None,
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        check_protocol(&self.protocol)?;
        let named = self.participants.as_deref().unwrap_or_default();
        if named.is_empty() && self.invite.is_none() && self.answers.as_ref().is_none_or(BTreeMap::is_empty) {
            let message = "a negotiation needs somebody to ask: participants by name, or invite";
            return Err(Error::invalid(message).with_field("/participants"));
        }
        check_range(
            "/participants",
            "the number of participants",
            named.len() as u64,
            0,
            PARTICIPANTS as u64,
        )?;
        let mut once = BTreeSet::new();
        if let Some((at, twice)) = named.iter().enumerate().find(|(_, id)| !once.insert(*id)) {
            let message = format!("participant {twice} is named twice");
            return Err(Error::invalid(message).with_field(format!("/participants/{at}")));
        }
        if let Some(invite) = &self.invite {
            invite.check()?;
        }
        for (id, weight) in self.weights.iter().flatten() {
            if weight.is_negative() {
                let message = format!("the weight of {id} is {weight}, it must not be negative");
                return Err(Error::invalid(message).with_field(format!("/weights/{id}")));
            }
        }
        for (id, role) in self.roles.iter().flatten() {
            check_range("/roles", "the length of a role", role.len() as u64, 1, 128)
                .map_err(|error| error.with_field(format!("/roles/{id}")))?;
        }
        let answers = self.answers.as_ref().map_or(0, BTreeMap::len);
        check_range("/answers", "the number of answers", answers as u64, 0, PARTICIPANTS as u64)?;
        check_range("/round_ms", "round_ms", self.round_ms.unwrap_or(ROUND_MS), 10, 7 * 24 * 3_600_000)?;
        match &self.quorum {
            Some(Quorum::Count(0)) => {
                return Err(Error::invalid("quorum is 0, it must be at least 1").with_field("/quorum/count"));
            }
            Some(Quorum::Share(share)) if *share <= Exact::zero() || *share > Exact::one() => {
                let message = format!("the quorum's share is {share}, it must be more than 0 and at most 1");
                return Err(Error::invalid(message).with_field("/quorum/share"));
            }
            _ => {}
        }
        if self.replace == Some(true) && self.invite.is_none() {
            let message = "who is to replace a participant that dies is found by invite, which is missing";
            return Err(Error::invalid(message).with_field("/replace"));
        }
        if let Some(then) = &self.then {
            then.check(&self.negotiation_id)?;
        }
        check_labels("/labels", self.labels.as_ref())
    }
}

/// Which protocols there are, the coordinator knows: an embedder may have added some.
fn check_protocol(name: &str) -> Result<(), Error> {
    let is_name = (1..=64).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
    if is_name {
        return Ok(());
    }
    let message = format!("protocol {} is no name of one: 1 to 64 of a-z, 0-9 and _", crate::id::shown(name));
    Err(Error::invalid(message).with_field("/protocol"))
}

impl Invite {
    fn check(&self) -> Result<(), Error> {
        check_labels("/invite/labels", self.labels.as_ref())?;
        let most = PARTICIPANTS as u64;
        let (min, max) = (u64::from(self.min.unwrap_or(1)), u64::from(self.max.unwrap_or(1_000)));
        check_range("/invite/min", "min", min, 0, most)?;
        check_range("/invite/max", "max", max, min.max(1), most)
    }
}

impl RespondNegotiation {
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.response.is_some() == (self.abstain == Some(true)) {
            let message = "an answer is a response or an abstention, not both and not neither";
            return Err(Error::invalid(message).with_field("/response"));
        }
        check_range("/round", "round", self.round.unwrap_or(1).into(), 1, ROUNDS as u64)
    }
}

impl CancelNegotiation {
    pub(crate) fn check(&self) -> Result<(), Error> {
        check_text("/reason", self.reason.as_deref())
    }
}

impl Round {
    /// A round that begins.
    pub fn begins(next: &NextRound, now: Timestamp) -> Round {
        Round {
            round: next.round,
            kind: next.kind.clone(),
            content: next.content.clone(),
            asked: next.asked.clone(),
            quorum: next.quorum,
            opened_at: now,
            closes_at: next.closes_at,
            extended_at: None,
            closed_at: None,
            closed_by: None,
            answers: BTreeMap::new(),
            gone: BTreeMap::new(),
            replaced: BTreeMap::new(),
        }
    }

    /// How many are still to answer.
    pub fn awaited(&self) -> usize {
        self.asked.len().saturating_sub(self.answers.len() + self.gone.len())
    }

    /// Whether this one is still to answer.
    pub fn awaits(&self, id: &Id) -> bool {
        self.asked.contains(id) && !self.answers.contains_key(id) && !self.gone.contains_key(id)
    }

    /// Who is still to answer.
    pub fn silent(&self) -> impl Iterator<Item = &Id> {
        self.asked.iter().filter(|id| self.awaits(id))
    }

    /// What was answered, abstentions left out, by participant.
    pub fn responses(&self) -> impl Iterator<Item = (&Id, &Json)> {
        self.answers.iter().filter_map(|(id, answer)| Some((id, answer.response.as_ref()?)))
    }
}

impl Quorum {
    /// How many that is, of so many who are asked.
    pub fn of(&self, asked: usize) -> u32 {
        match self {
            Quorum::Count(count) => *count,
            Quorum::Share(share) => {
                let asked = u64::try_from(asked).unwrap_or(u64::MAX);
                u32::try_from((share * &Exact::from(asked)).ceil()).unwrap_or(u32::MAX)
            }
        }
    }
}
