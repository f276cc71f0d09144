//! What people want most, in one short body each, as the negotiation that it opens.
//!
//! | request | opens |
//! |---|---|
//! | [`FuseSignals`] | `fuse`: one value or label from signals |
//! | [`AssessRisk`] | `assess_risk`: one level of risk |
//! | [`DivideResources`] | `divide`: who gets how much |
//! | [`DecideByConsensus`] | `consensus`: yes or no |
//! | [`DeclareEmergency`] | `emergency`: who comes |
//!
//! What is known already is given, and agents are asked for the rest. Where nobody is asked it is decided at once. The SDK and
//! HTTP both take these bodies, so that they open the same; whatever else a negotiation can do, its own opening does.

mod consensus;
mod divide;
mod emergency;
mod fuse;
mod risk;

pub use consensus::DecideByConsensus;
pub use divide::{DivideResources, Divided};
pub use emergency::DeclareEmergency;
pub use fuse::{FuseMethod, FuseSignals, Fused};
pub use risk::AssessRisk;

use crate::protocols::escaped;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::negotiation::{Invite, OpenNegotiation, Quorum};
use synod_protocol::{Capability, EntityId, Error, Exact, Id, Json};

/// A body that opens a negotiation.
pub trait Request {
    /// What is decided, as a program reads it.
    type Outcome;

    /// The id that the body names.
    fn named(&self) -> Option<&EntityId>;

    /// The negotiation that it opens, under this id.
    ///
    /// # Errors
    /// What cannot be opened, with the field of this body.
    fn open(&self, negotiation_id: EntityId) -> Result<OpenNegotiation, Error>;

    /// An error of what it opened, with the field of this body.
    fn placed(&self, error: Error) -> Error;

    /// What was decided.
    ///
    /// # Errors
    /// The outcome is none of such a negotiation.
    fn outcome(&self, outcome: &Json) -> Result<Self::Outcome, serde_json::Error>;
}

/// Which agents are asked: by name, by what they can do, or both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Asking {
    /// These, by name.
    #[serde(default)]
    pub agents: Vec<Id>,
    /// Whoever can do this.
    #[serde(default)]
    pub capability: Option<Capability>,
    /// Of those who can, the ones with exactly these labels.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Of those who can, at least so many, or it is refused; 1 by default.
    #[serde(default)]
    pub min: Option<u32>,
    /// Of those who can, at most so many; 1,000 by default.
    #[serde(default)]
    pub max: Option<u32>,
    /// How long a round lasts at most, 10 ms to 7 days; 30,000 by default. Then it is decided on what is there.
    #[serde(default)]
    pub within_ms: Option<u64>,
    /// How many have to answer, an abstention included; one by default.
    #[serde(default)]
    pub quorum: Option<Quorum>,
}

impl Asking {
    /// These agents, by name.
    ///
    /// # Errors
    /// That is no name of an agent.
    pub fn agents<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Asking, Error> {
        let agents = names.into_iter().map(str::parse).collect::<Result<_, Error>>()?;
        Ok(Asking { agents, ..Asking::default() })
    }

    /// Whoever can do this.
    ///
    /// # Errors
    /// That is no capability.
    pub fn capability(capability: &str) -> Result<Asking, Error> {
        Ok(Asking { capability: Some(capability.parse()?), ..Asking::default() })
    }

    fn invite(&self) -> Result<Option<Invite>, Error> {
        let (labels, min, max) = (self.labels.clone(), self.min, self.max);
        let set = [("labels", labels.is_some()), ("min", min.is_some()), ("max", max.is_some())];
        match (&self.capability, set.iter().find(|(_, is_set)| *is_set)) {
            (None, Some((name, _))) => {
                let message = format!("{name} is said of those with a capability, which is missing");
                Err(Error::invalid(message).with_field(format!("/ask/{name}")))
            }
            (None, None) => Ok(None),
            (Some(capability), _) => Ok(Some(Invite { capability: capability.clone(), labels, min, max })),
        }
    }
}

/// What all bodies but that of an emergency open alike.
struct Common<'a> {
    protocol: &'a str,
    question: &'a Json,
    ask: Option<&'a Asking>,
    /// By source, voter or user what it has answered already, and under which name that stands in the body.
    given: (&'a str, &'a BTreeMap<Id, Json>),
    weights: &'a BTreeMap<Id, Exact>,
}

impl Common<'_> {
    fn open<R: Serialize>(&self, negotiation_id: EntityId, rules: &R) -> Result<OpenNegotiation, Error> {
        let (name, given) = self.given;
        if given.is_empty() && self.ask.is_none() {
            let message =
                format!("nobody is asked and no {name} are given: ask says whom, by name or capability");
            return Err(Error::invalid(message).with_field("/ask"));
        }
        let mut open = OpenNegotiation::new(negotiation_id, self.protocol, self.question.clone());
        open.rules = Some(written(rules)?);
        open.answers = some(given);
        open.weights = some(self.weights);
        if let Some(ask) = self.ask {
            if ask.agents.is_empty() && ask.capability.is_none() {
                let message = "ask names nobody: agents by name, a capability, or both";
                return Err(Error::invalid(message).with_field("/ask"));
            }
            open.participants = Some(ask.agents.clone()).filter(|agents| !agents.is_empty());
            open.invite = ask.invite()?;
            open.round_ms = ask.within_ms;
            open.quorum = ask.quorum.clone();
        }
        Ok(open)
    }

    /// The error of the opened negotiation where the body has it; `rules`: where the members of the body stand among the rules.
    fn placed(&self, error: Error, rules: &[(&str, &str)]) -> Error {
        let given = format!("/{}", self.given.0);
        let alike = [
            ("/answers", given.as_str()),
            ("/participants", "/ask/agents"),
            ("/invite", "/ask"),
            ("/round_ms", "/ask/within_ms"),
            ("/quorum", "/ask/quorum"),
            ("/rules", ""),
        ];
        self.whole(moved(error, rules.iter().chain(&alike)))
    }

    /// What is given as a number or a text alone has no members: an error of one is its own.
    fn whole(&self, error: Error) -> Error {
        let (name, given) = self.given;
        let field = error.field.as_deref().and_then(|field| field.strip_prefix(&format!("/{name}/")));
        let Some((id, _)) = field.and_then(|place| place.split_once('/')) else { return error };
        if given.get(id).is_none_or(|answer| answer.as_str().starts_with('{')) {
            return error;
        }
        let whole = format!("/{name}/{id}");
        error.with_field(whole)
    }
}

/// The error at the first of these places that is its own: in place of the left the right.
fn moved<'a>(error: Error, places: impl IntoIterator<Item = &'a (&'a str, &'a str)>) -> Error {
    let Some(field) = error.field.clone() else { return error };
    let own = |(from, to): &(&str, &str)| {
        let rest = field.strip_prefix(from)?;
        (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
    };
    match places.into_iter().find_map(own) {
        Some(place) => error.with_field(place),
        None => error,
    }
}

fn some<K: Clone + Ord, V: Clone>(map: &BTreeMap<K, V>) -> Option<BTreeMap<K, V>> {
    Some(map.clone()).filter(|map| !map.is_empty())
}

fn written<T: Serialize>(rules: &T) -> Result<Json, Error> {
    Json::of(rules).map_err(|error| Error::invalid(error.to_string()))
}

/// What each has answered already, from anything that is an answer.
fn given<'a, A: Serialize>(
    answers: impl IntoIterator<Item = (&'a str, A)>,
    field: &str,
) -> Result<BTreeMap<Id, Json>, Error> {
    let one = |(id, answer): (&str, A)| {
        let at = |error: Error| error.with_field(format!("/{field}/{}", escaped(id)));
        Ok((id.parse().map_err(at)?, written(&answer).map_err(at)?))
    };
    answers.into_iter().map(one).collect()
}

fn read<T: DeserializeOwned>(outcome: &Json) -> Result<T, serde_json::Error> {
    outcome.to()
}
