//! Which bid is the best: figures, calibrated by what became of earlier promises, in one number.

use super::{BIDS_MAX, Bid, Rules};
use crate::calibration::Calibration;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use synod_protocol::{Error, Exact, Id};

/// A bid, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bidder {
    /// Whose.
    pub participant: Id,
    /// The bid.
    pub bid: Bid,
}

/// What a bid says in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Figures {
    /// The price.
    #[schema(value_type = f64)]
    pub price: Exact,
    /// The time, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub time_ms: Option<Exact>,
    /// How sure the bidder is; 1 where it does not say.
    #[schema(value_type = f64)]
    pub confidence: Exact,
}

/// How good each calibrated figure is among those of the acceptable bids: 0, the worst, to 1, the best; all 1 where all are equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Scores {
    /// Of the price.
    #[schema(value_type = f64)]
    pub price: Exact,
    /// Of the time, where it was stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>)]
    pub time: Option<Exact>,
    /// Of the confidence.
    #[schema(value_type = f64)]
    pub confidence: Exact,
}

/// An acceptable bid, and what it is worth.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ranked {
    /// Whose.
    pub participant: Id,
    /// As it was made.
    pub stated: Figures,
    /// What that is multiplied by, from the bidder's track record.
    pub calibration: Calibration,
    /// What is expected of it.
    pub calibrated: Figures,
    /// How that compares.
    pub scores: Scores,
    /// The weighted mean of the scores, 0 to 1.
    #[schema(value_type = f64)]
    pub utility: Exact,
}

/// A bid that is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Excluded {
    /// Whose.
    pub participant: Id,
    /// Why, in a sentence.
    pub why: String,
}

/// The bids of a round.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Ranking {
    /// Those that are acceptable, the best first; of equal utility in the order in which they were given.
    pub ranked: Vec<Ranked>,
    /// Those that are not.
    pub excluded: Vec<Excluded>,
}

/// The worst and the best of one figure.
struct Span(Exact, Exact);

/// Ranks bids, given in the order of participants.
///
/// # Errors
/// `invalid_argument`: the rules or a bid make no sense, a participant bids twice, or there are over 1,000 bids.
pub fn rank(rules: &Rules, bidders: &[Bidder]) -> Result<Ranking, Error> {
    rules.check()?;
    check(rules, bidders)?;
    let (mut acceptable, mut excluded) = (Vec::new(), Vec::new());
    for bidder in bidders {
        let record = rules.track_records.get(&bidder.participant);
        let calibration = record.map(|record| record.calibration()).unwrap_or_default();
        let stated = Figures::of(&bidder.bid);
        let calibrated = stated.times(&calibration);
        let participant = bidder.participant.clone();
        match not_acceptable(rules, &bidder.bid, &calibrated) {
            Some(why) => excluded.push(Excluded { participant, why }),
            None => acceptable.push((participant, stated, calibration, calibrated)),
        }
    }
    let figures = || acceptable.iter().map(|(_, _, _, figures)| figures);
    let Some(price) = Span::of(figures().map(|f| &f.price), false) else {
        return Ok(Ranking { ranked: Vec::new(), excluded });
    };
    let time = Span::of(figures().filter_map(|f| f.time_ms.as_ref()), false);
    let confidence = Span::of(figures().map(|f| &f.confidence), true);
    let weights = rules.weights();
    let all = [&weights.price, &weights.time, &weights.confidence].into_iter().sum();
    let mut ranked: Vec<Ranked> = Vec::new();
    for (participant, stated, calibration, calibrated) in acceptable {
        let scores = Scores {
            price: price.score(&calibrated.price),
            time: calibrated.time_ms.as_ref().zip(time.as_ref()).map(|(ms, span)| span.score(ms)),
            confidence: confidence
                .as_ref()
                .map_or_else(Exact::one, |span| span.score(&calibrated.confidence)),
        };
        let none = Exact::zero();
        let sum = &weights.price * &scores.price
            + &weights.time * scores.time.as_ref().unwrap_or(&none)
            + &weights.confidence * &scores.confidence;
        let utility = sum.checked_div(&all).unwrap_or_else(Exact::zero);
        ranked.push(Ranked { participant, stated, calibration, calibrated, scores, utility });
    }
    ranked.sort_by(|a, b| b.utility.cmp(&a.utility));
    Ok(Ranking { ranked, excluded })
}

fn check(rules: &Rules, bidders: &[Bidder]) -> Result<(), Error> {
    if bidders.len() > BIDS_MAX {
        let message = format!("there are {} bids, there may be {BIDS_MAX}", bidders.len());
        return Err(Error::invalid(message).with_field("/bids"));
    }
    let mut once = BTreeSet::new();
    for (at, bidder) in bidders.iter().enumerate() {
        if !once.insert(&bidder.participant) {
            let message = format!("{} bids twice, each bids once", bidder.participant);
            return Err(Error::invalid(message).with_field(format!("/bids/{at}/participant")));
        }
        rules.check_bid(&bidder.bid).map_err(|error| {
            let field = format!("/bids/{at}/bid{}", error.field.as_deref().unwrap_or_default());
            error.with_field(field)
        })?;
    }
    Ok(())
}

/// Why this bid cannot be taken, by what is expected of it.
fn not_acceptable(rules: &Rules, bid: &Bid, calibrated: &Figures) -> Option<String> {
    if let Some(reserve) = rules.reserve.as_ref().filter(|reserve| calibrated.price > **reserve) {
        return Some(format!("its price is {}, the reserve is {reserve}", calibrated.price));
    }
    let most = rules.max_time_ms.map(Exact::from);
    if let Some((time, most)) = calibrated.time_ms.as_ref().zip(most).filter(|(time, most)| *time > most) {
        return Some(format!("it takes {time} ms, at most {most} ms are acceptable"));
    }
    let none = Exact::zero();
    rules.needs.iter().find_map(|(name, need)| {
        let has = bid.resources.get(name).unwrap_or(&none);
        (has < need).then(|| format!("it has {has} of {name}, {need} is needed"))
    })
}

impl Figures {
    fn of(bid: &Bid) -> Figures {
        Figures {
            price: bid.price.clone(),
            time_ms: bid.time_ms.map(Exact::from),
            confidence: bid.confidence.clone().unwrap_or_else(Exact::one),
        }
    }

    fn times(&self, by: &Calibration) -> Figures {
        Figures {
            price: &self.price * &by.price,
            time_ms: self.time_ms.as_ref().map(|ms| ms * &by.time),
            confidence: &self.confidence * &by.confidence,
        }
    }
}

impl Span {
    /// `more_is_better`: the best is the greatest.
    fn of<'a>(values: impl Iterator<Item = &'a Exact> + Clone, more_is_better: bool) -> Option<Span> {
        let (least, most) = (values.clone().min()?.clone(), values.max()?.clone());
        Some(if more_is_better { Span(least, most) } else { Span(most, least) })
    }

    /// `(worst - x) / (worst - best)`, and 1 where all are equal.
    fn score(&self, value: &Exact) -> Exact {
        let Span(worst, best) = self;
        (worst - value).checked_div(&(worst - best)).unwrap_or_else(Exact::one)
    }
}
