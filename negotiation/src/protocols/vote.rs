//! Votes: every participant is asked for a ballot, once.

use super::said::under;
use crate::protocol::{Call, Decision, Next, Protocol, Table, answer};
use crate::voting::{Ballot, Base, Outcome, Outstanding, Reason, Roll, Rules, Voter, outcome, settled};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Error, Exact, Id, Json};

/// What participants are asked for.
const BALLOT: &str = "ballot";

/// `vote`: rules are [`Rules`], an answer is a [`Say`] or a candidate's name alone; the outcome is an [`Outcome`].
#[derive(Clone, Copy, Debug)]
pub struct Vote;

/// `consensus`: yes or no, with a threshold; rules are [`ConsensusRules`], an answer is `"yes"`, `"no"` or a [`Say`].
#[derive(Clone, Copy, Debug)]
pub struct Consensus;

/// What a consensus needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConsensusRules {
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
}

/// What a voter answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// One candidate.
    Choice(String),
    /// Best first.
    Ranking(Vec<String>),
    /// All that are good enough.
    Approved(Vec<String>),
    /// A score for some or all.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    Scores(BTreeMap<String, Exact>),
    /// It stops the decision, where the rules let it; `true`.
    Veto(bool),
}

impl Say {
    /// This candidate.
    pub fn choice(candidate: impl Into<String>) -> Say {
        Say::Choice(candidate.into())
    }

    /// These candidates, the best first.
    pub fn ranking<C: Into<String>>(best_first: impl IntoIterator<Item = C>) -> Say {
        Say::Ranking(best_first.into_iter().map(Into::into).collect())
    }

    /// All that are good enough.
    pub fn approved<C: Into<String>>(candidates: impl IntoIterator<Item = C>) -> Say {
        Say::Approved(candidates.into_iter().map(Into::into).collect())
    }

    /// A score for some or all.
    pub fn scores<C: Into<String>, S: Into<Exact>>(scores: impl IntoIterator<Item = (C, S)>) -> Say {
        Say::Scores(scores.into_iter().map(|(candidate, score)| (candidate.into(), score.into())).collect())
    }

    /// What a JSON answer says: a text is a choice.
    ///
    /// # Errors
    /// It is no ballot.
    pub fn read(response: &Json) -> Result<Say, Error> {
        if response.as_str().starts_with('"') {
            return answer(response).map(Say::Choice);
        }
        answer(response)
    }

    /// The ballot, and whether it is a veto.
    pub(crate) fn said(self) -> (Option<Ballot>, bool) {
        match self {
            Say::Choice(candidate) => (Some(Ballot::Choice(candidate)), false),
            Say::Ranking(candidates) => (Some(Ballot::Ranking(candidates)), false),
            Say::Approved(candidates) => (Some(Ballot::Approved(candidates)), false),
            Say::Scores(scores) => (Some(Ballot::Scores(scores)), false),
            Say::Veto(veto) => (None, veto),
        }
    }

    fn voter(self, participant: &Id, weight: Exact) -> Voter {
        let (ballot, veto) = self.said();
        Voter { participant: participant.to_string(), weight, ballot, veto }
    }
}

impl Protocol for Vote {
    fn name(&self) -> &'static str {
        "vote"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        begin(&table.rules()?, table)
    }

    fn check(&self, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error> {
        check(&table.rules()?, table, by, response)
    }

    fn settles_early(&self) -> bool {
        true
    }

    fn settled(&self, table: &Table<'_>) -> bool {
        table.rules().is_ok_and(|rules| is_settled(&rules, table))
    }

    fn close(&self, table: &Table<'_>) -> Next {
        close(table.rules(), table)
    }
}

impl Protocol for Consensus {
    fn name(&self) -> &'static str {
        "consensus"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        begin(&consensus(table)?, table)
    }

    fn check(&self, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error> {
        check(&consensus(table)?, table, by, response)
    }

    fn settles_early(&self) -> bool {
        true
    }

    fn settled(&self, table: &Table<'_>) -> bool {
        consensus(table).is_ok_and(|rules| is_settled(&rules, table))
    }

    fn close(&self, table: &Table<'_>) -> Next {
        close(consensus(table), table)
    }
}

fn consensus(table: &Table<'_>) -> Result<Rules, Error> {
    let asked: ConsensusRules = table.rules()?;
    let two_thirds = || Exact::ratio(2, 3).unwrap_or_else(Exact::one);
    Ok(Rules::consensus(
        asked.threshold.unwrap_or_else(two_thirds),
        asked.of.unwrap_or(Base::Cast),
        asked.strictly,
    ))
}

fn begin(rules: &Rules, table: &Table<'_>) -> Result<Call, Error> {
    rules.check().map_err(|error| under("/rules", error))?;
    for (at, id) in rules.veto.iter().enumerate() {
        if !table.participants.iter().any(|participant| participant.id.as_str() == id) {
            let message = format!("{id} is to have a veto and is no participant");
            return Err(Error::invalid(message).with_field(format!("/rules/veto/{at}")));
        }
    }
    if table.participants.iter().all(|participant| participant.weight.is_zero()) {
        return Err(Error::invalid("all weights are 0: nobody's ballot would count").with_field("/weights"));
    }
    let content = Json::of(&Paper { candidates: &rules.candidates }).unwrap_or_default();
    Ok(Call { kind: BALLOT.to_owned(), content, ..Call::default() })
}

#[derive(Serialize)]
struct Paper<'a> {
    candidates: &'a [String],
}

fn check(rules: &Rules, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error> {
    let weight = table.participant(by).map_or_else(Exact::zero, |participant| participant.weight.clone());
    let voter = Say::read(response)?.voter(by, weight);
    rules.check_voter(&voter).map_err(|error| {
        // A text is the choice itself.
        let is_short = response.as_str().starts_with('"');
        let inside = error.field.as_deref().and_then(|field| field.strip_prefix("/ballot"));
        let inside = inside.filter(|_| !is_short).map(str::to_owned);
        error.with_field(format!("/response{}", inside.unwrap_or_default()))
    })
}

/// The voters, and the weight of all who may vote.
fn poll(table: &Table<'_>) -> Result<(Vec<Voter>, Vec<Outstanding>, Roll), Error> {
    let (mut voters, mut outstanding) = (Vec::new(), Vec::new());
    let answers = table.round().map(|round| &round.answers);
    for participant in table.participants {
        let weight = participant.weight.clone();
        match answers.and_then(|answers| answers.get(&participant.id)) {
            Some(given) => voters.push(match &given.response {
                Some(response) => Say::read(response)?.voter(&participant.id, weight),
                None => Voter { participant: participant.id.to_string(), weight, ballot: None, veto: false },
            }),
            None if table.round().is_some_and(|round| round.gone.contains_key(&participant.id)) => {}
            None => outstanding.push(Outstanding { participant: participant.id.to_string(), weight }),
        }
    }
    let entitled = table.participants.iter().map(|participant| &participant.weight).sum();
    Ok((voters, outstanding, Roll { entitled, seed: Some(table.seed.to_owned()) }))
}

fn is_settled(rules: &Rules, table: &Table<'_>) -> bool {
    poll(table)
        .and_then(|(voters, outstanding, roll)| settled(rules, &voters, &outstanding, &roll))
        .unwrap_or(false)
}

fn close(rules: Result<Rules, Error>, table: &Table<'_>) -> Next {
    let counted = rules.and_then(|rules| {
        let (voters, _, roll) = poll(table)?;
        outcome(&rules, &voters, &roll)
    });
    match counted {
        Ok(counted) => told(&counted),
        Err(error) => Next::Failed { reason: error.message, outcome: None },
    }
}

fn told(counted: &Outcome) -> Next {
    let (explanation, reason) = (counted.explanation.clone(), counted.reason);
    let outcome = Json::of(counted).unwrap_or_default();
    match reason {
        None => Next::Decided(Decision { outcome, explanation }),
        Some(reason) => {
            let why = match reason {
                Reason::Vetoed => format!("it was vetoed by {}", counted.vetoed_by.join(", ")),
                Reason::NoQuorum => "too few took part".to_owned(),
                Reason::NoBallots => "no ballot of any weight was cast".to_owned(),
                Reason::NoWinner => "the method elects nobody".to_owned(),
                Reason::Tie => format!("{} tie, and nothing breaks the tie", counted.tied.join(", ")),
                Reason::BelowThreshold => {
                    format!("{} wins, with less support than is needed", counted.winners.join(", "))
                }
            };
            Next::Failed { reason: why, outcome: Some(outcome) }
        }
    }
}
