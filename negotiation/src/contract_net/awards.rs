//! To whom the work goes: one award after the other, until one is kept.

use super::{Bidder, Excluded, Ranked, Ranking, Rules, SHOWN, rank};
use crate::calibration::{Calibration, Past};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Error, Exact, Id, Json, WorkKind};

/// Bidders of whom the explanation says by what their bids were weighed.
const TOLD: usize = 10;

/// The work is this bidder's, on these terms: what it is asked to commit itself to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Award {
    /// From 1: a later award ends an earlier one.
    pub award: u32,
    /// Whose it is.
    pub participant: Id,
    /// The price that it bid.
    #[schema(value_type = f64)]
    pub price: Exact,
    /// The time that it bid.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// The confidence that it stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub confidence: Option<Exact>,
    /// What it said it has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, f64>)]
    pub resources: BTreeMap<String, Exact>,
}

/// What a bidder was asked when it lost an award.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// To commit itself.
    Commit,
    /// For its result.
    Result,
}

/// Why an award was revoked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// It did not want it.
    Refused,
    /// It abstained.
    Abstained,
    /// It did not answer in time.
    Silent,
    /// Its process is gone.
    Gone,
    /// It said that it failed.
    Failed,
}

/// What came back from the bidder who was asked last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// It commits itself.
    Accepted,
    /// Its result, and how long it took.
    Done {
        /// The result.
        result: Json,
        /// Milliseconds from being asked for the result to the result.
        actual_ms: u64,
    },
    /// Nothing that keeps the award.
    Lost {
        /// Why.
        why: Why,
        /// What was said of it.
        said: Option<String>,
    },
}

/// An award that was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Revoked {
    /// Which.
    pub award: u32,
    /// Whose it was.
    pub participant: Id,
    /// What it was asked then.
    pub stage: Stage,
    /// Why.
    pub why: Why,
    /// What was said of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
}

/// What became of the work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Outcome {
    /// Whose it is; absent where nobody took it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<Id>,
    /// On which terms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub award: Option<Award>,
    /// How many bid.
    pub bids: usize,
    /// The acceptable bids, the best first; at most 100 are shown.
    pub ranking: Vec<Ranked>,
    /// The others; at most 100 are shown.
    pub excluded: Vec<Excluded>,
    /// The awards that were revoked, in their order.
    pub revoked: Vec<Revoked>,
    /// The result, where one was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Json>,
    /// Milliseconds from being asked for the result to the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual_ms: Option<u64>,
    /// What became of the promises of those who had committed themselves and were asked for the result: a line for the history
    /// of each in later track records.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calibration: BTreeMap<Id, Past>,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
}

/// Where a contract net stands after so many replies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This award is in force, and its holder is to be asked this.
    Asks {
        /// The award.
        award: Award,
        /// What its holder is to be asked.
        stage: Stage,
        /// What there is so far.
        so_far: Box<Outcome>,
    },
    /// The work is somebody's.
    Won(Box<Outcome>),
    /// Nobody is left, and why.
    Nobody(String, Box<Outcome>),
}

/// Follows the awards: bids in the order of participants, and the replies to each question after them, in their order.
///
/// # Errors
/// As [`rank`]; or a reply is to something that was not asked.
pub fn follow(rules: &Rules, bidders: &[Bidder], replies: &[Reply]) -> Result<Standing, Error> {
    let ranking = rank(rules, bidders)?;
    let mut course = Course::new(rules, bidders, &ranking);
    for (at, reply) in replies.iter().enumerate() {
        let Some(award) = course.award().filter(|_| course.outcome.winner.is_none()) else {
            return Err(Error::invalid("nobody was asked any more").with_field(format!("/replies/{at}")));
        };
        match (course.stage, reply) {
            (Stage::Commit, Reply::Accepted) => course.accepted(&award),
            (Stage::Result, Reply::Done { result, actual_ms }) => course.done(&award, result, *actual_ms),
            (_, Reply::Lost { why, said }) => course.lost(&award, *why, said.clone()),
            (stage, _) => {
                let message = format!("the reply is none to what was asked, the {stage:?}");
                return Err(Error::invalid(message.to_lowercase()).with_field(format!("/replies/{at}")));
            }
        }
    }
    Ok(course.stands())
}

/// By what the bids were weighed, for the first few bidders of whose earlier promises something is known.
fn weighed(kind: &WorkKind, ranking: &Ranking) -> Vec<String> {
    let known = ranking.ranked.iter().filter(|ranked| ranked.calibration.results > 0);
    let mut said: Vec<String> = known.take(TOLD).map(|ranked| said_of(ranked, kind)).collect();
    if said.is_empty() {
        said.push(format!(
            "Nothing is known of earlier promises of {kind} by those whose bids are acceptable."
        ));
    }
    said
}

fn said_of(Ranked { participant, calibration, .. }: &Ranked, kind: &WorkKind) -> String {
    // For people: what was reckoned with stands in the ranking, exactly.
    let about = |factor: &Exact| factor.rounded(3).to_f64();
    let Calibration { results, price, time, confidence } = calibration;
    let (price, time, confidence) = (about(price), about(time), about(confidence));
    format!(
        "The bid of {participant} was weighed by {results} earlier results of {kind}: its price by {price}, its time by {time}, its confidence by {confidence}."
    )
}

/// The work on its way from bidder to bidder.
struct Course<'a> {
    rules: &'a Rules,
    bidders: &'a [Bidder],
    ranking: &'a Ranking,
    /// Place in the ranking.
    place: usize,
    stage: Stage,
    outcome: Outcome,
}

impl<'a> Course<'a> {
    fn new(rules: &'a Rules, bidders: &'a [Bidder], ranking: &'a Ranking) -> Course<'a> {
        let (bids, acceptable) = (bidders.len(), ranking.ranked.len());
        let mut explanation = vec![format!("{bids} bid, {acceptable} of the bids are acceptable.")];
        if let Some(best) = ranking.ranked.first() {
            let at = format!("utility {} and a price of {}", best.utility, best.stated.price);
            explanation.push(format!("The best bid is that of {}, with {at}.", best.participant));
        }
        if let Some(kind) = &rules.track {
            explanation.extend(weighed(kind, ranking));
        }
        let outcome = Outcome {
            winner: None,
            award: None,
            bids,
            ranking: ranking.ranked.iter().take(SHOWN).cloned().collect(),
            excluded: ranking.excluded.iter().take(SHOWN).cloned().collect(),
            revoked: Vec::new(),
            result: None,
            actual_ms: None,
            calibration: BTreeMap::new(),
            explanation,
        };
        Course { rules, bidders, ranking, place: 0, stage: Stage::Commit, outcome }
    }

    /// The award that is in force.
    fn award(&self) -> Option<Award> {
        let best = self.ranking.ranked.get(self.place)?;
        let bid = &self.bidders.iter().find(|bidder| bidder.participant == best.participant)?.bid;
        Some(Award {
            award: u32::try_from(self.place).unwrap_or(u32::MAX).saturating_add(1),
            participant: best.participant.clone(),
            price: bid.price.clone(),
            time_ms: bid.time_ms,
            confidence: bid.confidence.clone(),
            resources: bid.resources.clone(),
        })
    }

    fn accepted(&mut self, award: &Award) {
        self.outcome.explanation.push(format!("{} accepted award {}.", award.participant, award.award));
        if self.rules.result {
            self.stage = Stage::Result;
        } else {
            self.won(award);
        }
    }

    fn done(&mut self, award: &Award, result: &Json, actual_ms: u64) {
        let who = &award.participant;
        self.outcome.explanation.push(format!("{who} had the result after {actual_ms} ms."));
        self.outcome.result = Some(result.clone());
        self.outcome.actual_ms = Some(actual_ms);
        self.remember(award, Some(actual_ms));
        self.won(award);
    }

    fn won(&mut self, award: &Award) {
        self.outcome.winner = Some(award.participant.clone());
        self.outcome.award = Some(award.clone());
    }

    fn lost(&mut self, award: &Award, why: Why, said: Option<String>) {
        let (stage, participant) = (self.stage, award.participant.clone());
        let what = match why {
            Why::Refused => "it refused",
            Why::Abstained => "it abstained",
            Why::Silent => "it was silent",
            Why::Gone => "its process was gone",
            Why::Failed => "it failed",
        };
        let when = match stage {
            Stage::Commit => "asked to commit itself",
            Stage::Result => "asked for its result",
        };
        let sentence = format!("Award {} of {participant} was revoked: {when}, {what}.", award.award);
        self.outcome.explanation.push(sentence);
        if stage == Stage::Result {
            self.remember(award, None);
        }
        self.outcome.revoked.push(Revoked { award: award.award, participant, stage, why, said });
        self.place += 1;
        self.stage = Stage::Commit;
    }

    fn remember(&mut self, award: &Award, actual_ms: Option<u64>) {
        let kept = Some(actual_ms.is_some());
        let past = Past { promised_ms: award.time_ms, actual_ms, kept, ..Past::default() };
        self.outcome.calibration.insert(award.participant.clone(), past);
    }

    fn stands(self) -> Standing {
        if self.outcome.winner.is_some() {
            return Standing::Won(Box::new(self.outcome));
        }
        match self.award() {
            Some(award) => Standing::Asks { award, stage: self.stage, so_far: Box::new(self.outcome) },
            None => {
                let outcome = self.outcome;
                let reason = match (outcome.bids, outcome.revoked.len()) {
                    (0, _) => "nobody bid".to_owned(),
                    (bids, 0) => format!("none of {bids} bids is acceptable"),
                    (_, revoked) => format!("each of {revoked} awards was revoked, and no bidder is left"),
                };
                Standing::Nobody(reason, Box::new(outcome))
            }
        }
    }
}
