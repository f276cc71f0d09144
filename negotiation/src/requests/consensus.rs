//! Decide this by consensus.

use super::{Asking, Common, Request, given, read};
use crate::protocols::ConsensusRules;
use crate::voting::{Base, Outcome};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::negotiation::OpenNegotiation;
use synod_protocol::{EntityId, Error, Exact, Id, Json};

/// Yes or no, where enough agree.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecideByConsensus {
    /// The negotiation's id; made where there is none.
    #[serde(default)]
    pub negotiation_id: Option<EntityId>,
    /// What those who are asked are shown.
    #[serde(default)]
    pub question: Json,
    /// By voter what it has said already: `"yes"` or `"no"`.
    #[serde(default)]
    pub ballots: BTreeMap<Id, Json>,
    /// Who is asked for a ballot.
    #[serde(default)]
    pub ask: Option<Asking>,
    /// The share that has to agree, more than 0, at most 1; two thirds by default.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub threshold: Option<Exact>,
    /// Of whom; of the ballots cast by default.
    #[serde(default)]
    pub of: Option<Base>,
    /// Whether it has to be more than that; false by default.
    #[serde(default)]
    pub strictly: bool,
    /// How much each counts; 1 by default.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub weights: BTreeMap<Id, Exact>,
}

impl DecideByConsensus {
    /// By those who are asked, two thirds of whose ballots have to agree.
    pub fn asking(question: Json, ask: Asking) -> DecideByConsensus {
        DecideByConsensus { question, ask: Some(ask), ..DecideByConsensus::default() }
    }

    /// By ballots that are known: `"yes"` or `"no"`.
    ///
    /// # Errors
    /// A voter's name is none.
    pub fn of<'a>(ballots: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<DecideByConsensus, Error> {
        Ok(DecideByConsensus { ballots: given(ballots, "ballots")?, ..DecideByConsensus::default() })
    }

    fn common(&self) -> Common<'_> {
        Common {
            protocol: "consensus",
            question: &self.question,
            ask: self.ask.as_ref(),
            given: ("ballots", &self.ballots),
            weights: &self.weights,
        }
    }
}

impl Request for DecideByConsensus {
    type Outcome = Outcome;

    fn named(&self) -> Option<&EntityId> {
        self.negotiation_id.as_ref()
    }

    fn open(&self, negotiation_id: EntityId) -> Result<OpenNegotiation, Error> {
        let (threshold, of, strictly) = (self.threshold.clone(), self.of, self.strictly);
        self.common().open(negotiation_id, &ConsensusRules { threshold, of, strictly })
    }

    fn placed(&self, error: Error) -> Error {
        self.common().placed(
            error,
            &[("/rules/support/threshold/share", "/threshold"), ("/rules/support", "/threshold")],
        )
    }

    fn outcome(&self, outcome: &Json) -> Result<Outcome, serde_json::Error> {
        read(outcome)
    }
}
