//! Assess this risk.

use super::{Asking, Common, Request, given, read};
use crate::risk::{Centre, Outcome, Rules, Scale, Thresholds};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::negotiation::OpenNegotiation;
use synod_protocol::{EntityId, Error, Id, Json};

/// Rounds where agents are asked and nothing is said.
const ROUNDS: u32 = 3;

/// Estimates become one level of risk, in rounds where agents are asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AssessRisk {
    /// The negotiation's id; made where there is none.
    #[serde(default)]
    pub negotiation_id: Option<EntityId>,
    /// What those who are asked are shown.
    #[serde(default)]
    pub question: Json,
    /// By participant what it has estimated for the first round: a number or `{"value", "impact", "confidence", "rationale"}`.
    #[serde(default)]
    pub estimates: BTreeMap<Id, Json>,
    /// Who is asked for an estimate.
    #[serde(default)]
    pub ask: Option<Asking>,
    /// What an estimate may be, and how close is close enough; 0 to 1 and 0.1 by default.
    #[serde(default)]
    pub scale: Option<Scale>,
    /// The same of the impact, where it is asked for: then the estimate is the likelihood.
    #[serde(default)]
    pub impact: Option<Scale>,
    /// The most rounds, 1 to 20; 3 by default, 1 where nobody is asked.
    #[serde(default)]
    pub rounds_max: Option<u32>,
    /// How many arbitrary answers must not matter; 0 by default.
    #[serde(default)]
    pub faults: u32,
    /// What is taken of those that are left; `median` by default.
    #[serde(default)]
    pub centre: Centre,
    /// Where the levels begin; the quarters of the scale by default.
    #[serde(default)]
    pub thresholds: Option<Thresholds>,
}

impl AssessRisk {
    /// By those who are asked.
    pub fn asking(question: Json, ask: Asking) -> AssessRisk {
        AssessRisk { question, ask: Some(ask), ..AssessRisk::default() }
    }

    /// Of estimates that are known: a number, or all that there is to say of one.
    ///
    /// # Errors
    /// A participant's name is none.
    pub fn of<'a, E: Serialize>(
        estimates: impl IntoIterator<Item = (&'a str, E)>,
    ) -> Result<AssessRisk, Error> {
        Ok(AssessRisk { estimates: given(estimates, "estimates")?, ..AssessRisk::default() })
    }

    fn common(&self) -> Common<'_> {
        const NONE: &BTreeMap<Id, synod_protocol::Exact> = &BTreeMap::new();
        Common {
            protocol: "assess_risk",
            question: &self.question,
            ask: self.ask.as_ref(),
            given: ("estimates", &self.estimates),
            weights: NONE,
        }
    }
}

impl Request for AssessRisk {
    type Outcome = Outcome;

    fn named(&self) -> Option<&EntityId> {
        self.negotiation_id.as_ref()
    }

    fn open(&self, negotiation_id: EntityId) -> Result<OpenNegotiation, Error> {
        let rounds = if self.ask.is_some() { ROUNDS } else { 1 };
        let rounds_max = self.rounds_max.unwrap_or(rounds);
        if self.ask.is_none() && rounds_max > 1 {
            let message =
                format!("nobody is asked, so there cannot be {rounds_max} rounds: one, or ask says whom");
            return Err(Error::invalid(message).with_field("/rounds_max"));
        }
        let scale = self.scale.unwrap_or(Scale { min: 0.0, max: 1.0, epsilon: 0.1 });
        let (impact, faults, centre) = (self.impact, self.faults, self.centre);
        let rules = Rules { scale, impact, rounds_max, faults, centre, thresholds: self.thresholds };
        self.common().open(negotiation_id, &rules)
    }

    fn placed(&self, error: Error) -> Error {
        self.common().placed(error, &[])
    }

    fn outcome(&self, outcome: &Json) -> Result<Outcome, serde_json::Error> {
        read(outcome)
    }
}
