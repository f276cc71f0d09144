//! The outcome certificate: the record of a negotiation that has ended, in one text that proves itself.
//!
//! Whoever holds the text and knows the protocol can check it without asking anybody: what was asked of whom, what was
//! answered, what did not count and why, and that this decision follows. A certificate is consistent or it is not; that it is
//! the one of *this* negotiation, its digest says, where it is compared with the digest that a trusted coordinator tells.
//!
//! ```text
//!   Negotiation --certificate--> Certificate --text--> canonical JSON --verify--> findings, or none
//! ```

mod canonical;
mod explain;
mod rounds;
mod run;
mod verify;

pub use canonical::canonical;
pub use explain::{explain, explain_certificate};
pub use verify::{Finding, Verification, verify};

use crate::Negotiation;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeMap;
use synod_protocol::negotiation::{
    Invite, NegotiationStatus, OnTimeout, Participant, Quorum, Repeated, Round, Uncounted,
};
use synod_protocol::{EntityId, Json, Timestamp, Workspace};

/// The version of the format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;
/// The largest text that is read, in bytes: 4 MiB.
pub const CERTIFICATE_BYTES: usize = 4 * 1024 * 1024;

/// The record of a negotiation that was decided or has failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The version of this format: 1.
    pub format: u32,
    /// The workspace of the negotiation.
    pub workspace: Workspace,
    /// Which.
    pub negotiation_id: EntityId,
    /// How it was decided.
    pub protocol: String,
    /// Which version of that: the same inputs are decided alike by the same version.
    pub version: u32,
    /// What was to be decided.
    pub question: Json,
    /// The protocol's own settings.
    pub rules: Json,
    /// Who could answer; who came in place of another stands behind those who were there before.
    pub participants: Vec<Participant>,
    /// Whom to ask in place of one that died, where that was wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace: Option<Invite>,
    /// How many had to answer a round.
    pub quorum: Quorum,
    /// Whether answers were secret until their round closed. Those to a round that never closed are left out.
    pub sealed: bool,
    /// What a second answer did.
    pub repeated: Repeated,
    /// What was to happen when time was up.
    pub on_timeout: OnTimeout,
    /// How long a round lasted at most, in milliseconds, where the protocol did not say otherwise.
    pub round_ms: u64,
    /// When it had to be over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// Random bytes by which ties may be broken, in hex.
    pub seed: String,
    /// BLAKE3 of the text `seed`, in hex, as it was published when the negotiation was opened.
    pub seed_digest: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it was over.
    pub ended_at: Timestamp,
    /// `decided` or `failed`.
    pub status: NegotiationStatus,
    /// Every round, with the answers that count.
    pub rounds: Vec<Round>,
    /// Answers that do not count, and why; the first 200 of them.
    pub uncounted: Vec<Uncounted>,
    /// What was decided; of one that failed, what was found all the same.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Json>,
    /// Who tied, where the outcome names them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tie_break: Option<TieBreak>,
    /// How it came to that, in the sentences of the protocol.
    pub explanation: Vec<String>,
    /// Whether the outcome is the default that was stated for when time is up.
    pub by_default: bool,
    /// Why nothing was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// BLAKE3 of the canonical JSON of all other members, in hex.
    pub digest: String,
}

/// A tie, as the outcome tells it in its members `tied` and `broken_by`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TieBreak {
    /// Who tied.
    pub tied: Vec<String>,
    /// What chose among them; none where nothing did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub broken_by: Option<Json>,
}

/// There is no certificate of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("negotiation {id} is {}: a certificate is of one that was decided or has failed", status.as_str())]
pub struct NotOver {
    /// Which negotiation.
    pub id: EntityId,
    /// Where it stands.
    pub status: NegotiationStatus,
}

/// The certificate of a negotiation.
///
/// # Errors
/// It is not over, or was cancelled.
pub fn certificate(workspace: &Workspace, it: &Negotiation) -> Result<Certificate, NotOver> {
    let opened = &it.opened;
    let is_told = matches!(it.status, NegotiationStatus::Decided | NegotiationStatus::Failed);
    let Some(ended_at) = it.ended_at.filter(|_| is_told) else {
        return Err(NotOver { id: opened.negotiation_id.clone(), status: it.status });
    };
    let outcome = it.outcome().cloned();
    let mut made = Certificate {
        format: FORMAT,
        workspace: workspace.clone(),
        negotiation_id: opened.negotiation_id.clone(),
        protocol: opened.protocol.clone(),
        version: opened.version,
        question: opened.question.clone(),
        rules: opened.rules.clone(),
        participants: it.participants.clone(),
        replace: opened.replace.clone(),
        quorum: opened.quorum.clone(),
        sealed: opened.sealed,
        repeated: opened.repeated,
        on_timeout: opened.on_timeout.clone(),
        round_ms: opened.round_ms,
        deadline: opened.deadline,
        seed: opened.secret.as_ref().map(|secret| secret.seed.clone()).unwrap_or_default(),
        seed_digest: opened.seed_digest.clone(),
        opened_at: it.opened_at,
        ended_at,
        status: it.status,
        rounds: it.rounds.clone(),
        uncounted: it.uncounted.clone(),
        tie_break: outcome.as_ref().and_then(tie_of),
        outcome,
        explanation: it.decided.as_ref().map(|decided| decided.explanation.clone()).unwrap_or_default(),
        by_default: it.decided.as_ref().is_some_and(|decided| decided.by_default),
        reason: it.reason.clone(),
        digest: String::new(),
    };
    made.withhold();
    made.digest = made.digest_of_content();
    Ok(made)
}

impl Certificate {
    /// The canonical text: the same negotiation gives the same bytes.
    pub fn text(&self) -> String {
        canonical(&Json::of(self).unwrap_or_default())
    }

    /// What [`Certificate::digest`] has to be.
    pub fn digest_of_content(&self) -> String {
        let whole = Json::of(self).unwrap_or_default();
        digest_of(whole.to().unwrap_or_default())
    }

    /// The number of a sealed round that never closed: what was answered to it stays a secret.
    pub fn withheld(&self) -> Option<u32> {
        let last = self.rounds.last().filter(|round| self.sealed && round.closed_at.is_none());
        last.map(|round| round.round)
    }

    fn withhold(&mut self) {
        let Some(number) = self.withheld() else { return };
        if let Some(round) = self.rounds.last_mut() {
            round.answers.values_mut().for_each(|answer| answer.response = None);
        }
        let of_it = self.uncounted.iter_mut().filter(|one| one.round == number);
        of_it.for_each(|one| one.response = None);
    }
}

/// BLAKE3, in hex, of the canonical JSON of an object without its member `digest`.
fn digest_of(mut members: BTreeMap<String, Json>) -> String {
    members.remove("digest");
    let content = canonical(&Json::of(&members).unwrap_or_default());
    blake3::hash(content.as_bytes()).to_hex().to_string()
}

/// The tie that an outcome tells of.
fn tie_of(outcome: &Json) -> Option<TieBreak> {
    #[derive(Deserialize)]
    struct Told {
        tied: Vec<String>,
        #[serde(default)]
        broken_by: Option<Json>,
    }
    let Told { tied, broken_by } = outcome.to().ok()?;
    (!tied.is_empty()).then_some(TieBreak { tied, broken_by })
}

/// `null` is an outcome, and not the lack of one.
fn present<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Json>, D::Error> {
    Json::deserialize(d).map(Some)
}
