//! Sealed bids: the highest win, and pay what they bid or what the best loser bid.
//!
//! [`combinatorial`] is for bids on several things together.
//!
//! | pricing | what each winner pays | what it is wise to bid |
//! |---|---|---|
//! | `first_price` | its own bid | less than it is worth, by a guess at the others |
//! | `second_price` | the best losing bid, at least the reserve | what it is worth (Vickrey, *Counterspeculation, Auctions, and Competitive Sealed Tenders*, 1961) |
//!
//! Of several equal units each bidder wants one; with `second_price` all winners pay the same, the bid after the last winning
//! one. Equal bids go by the order of the bidders in the rules; when they came decides nothing.

pub mod combinatorial;

use crate::roster::{PARTICIPANTS_MAX, answers, places};
use crate::scale;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Error, Exact};

/// What is sold, to whom and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuctionRules {
    /// Who may bid, 1 to 1,000. Of equal bids that of the first here is the better.
    pub bidders: Vec<String>,
    /// What the winners pay.
    #[serde(default)]
    pub pricing: Pricing,
    /// How many equal units there are, 1 to 1,000; each bidder gets one at most.
    #[serde(default = "one")]
    pub units: u32,
    /// What must be bid at least, and paid at least: 0 or more.
    #[serde(default = "Exact::zero")]
    #[schema(value_type = serde_json::Value)]
    pub reserve: Exact,
}

fn one() -> u32 {
    1
}

/// What the winners pay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Pricing {
    /// What each bid.
    FirstPrice,
    /// The best losing bid that reaches the reserve, else the reserve: the same for all.
    #[default]
    SecondPrice,
}

/// One bid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuctionBid {
    /// Whose.
    pub bidder: String,
    /// How much for one unit: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub amount: Exact,
}

/// Who gets a unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuctionWinner {
    /// Who.
    pub bidder: String,
    /// What it bid.
    #[schema(value_type = serde_json::Value)]
    pub bid: Exact,
    /// What it pays: never more.
    #[schema(value_type = serde_json::Value)]
    pub price: Exact,
}

/// Who wins, and at what price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuctionOutcome {
    /// The highest bid first, of equal ones the first in the rules.
    pub winners: Vec<AuctionWinner>,
    /// Who that is, where it is one.
    pub winner: Option<String>,
    /// `second_price`: what each winner pays; nothing where there is none, and with `first_price`.
    #[schema(value_type = serde_json::Value)]
    pub price_each: Option<Exact>,
    /// The best bid that reached the reserve and did not win.
    #[schema(value_type = serde_json::Value)]
    pub best_losing_bid: Option<Exact>,
    /// Whether that one is as high as the last that won, so that the order of the rules decided.
    pub tie_at_the_line: bool,
    /// Units that nobody gets.
    pub unsold: u32,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
}

/// What [`award`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Awarded {
    /// The bids that win, by number: the highest first, of equal ones the first.
    pub winners: Vec<usize>,
    /// The best bid that reached the reserve and did not win.
    pub best_losing: Option<usize>,
}

impl AuctionRules {
    /// Whether these rules can be opened.
    ///
    /// # Errors
    /// `invalid_argument` for no bidder or more than 1,000, a repeated one, no unit or more than 1,000, a negative reserve.
    pub fn check(&self) -> Result<(), Error> {
        self.places().map(drop)
    }

    fn places(&self) -> Result<BTreeMap<&str, usize>, Error> {
        let bidders = self.bidders.iter().map(String::as_str);
        let bidders = places("bidder", "/rules/bidders", bidders, PARTICIPANTS_MAX)?;
        if self.units == 0 || self.units as usize > PARTICIPANTS_MAX {
            let message = format!("there are {} units, there must be 1 to {PARTICIPANTS_MAX}", self.units);
            return Err(Error::invalid(message).with_field("/rules/units"));
        }
        scale::amount("the reserve", &self.reserve, || "/rules/reserve".into())?;
        Ok(bidders)
    }
}

/// Sells by these rules. Who did not answer does not bid.
///
/// # Errors
/// `invalid_argument` for rules that [`AuctionRules::check`] refuses, an unknown or repeated bidder, a negative bid.
pub fn outcome(rules: &AuctionRules, inputs: &[AuctionBid]) -> Result<AuctionOutcome, Error> {
    let bidders = rules.places()?;
    let who = answers("bidder", &bidders, inputs.iter().map(|i| i.bidder.as_str()), "/inputs", "bidder")?;
    for (number, input) in inputs.iter().enumerate() {
        scale::amount("the bid", &input.amount, || format!("/inputs/{number}/amount"))?;
    }
    let bids: Vec<Option<Exact>> = who.iter().map(|n| n.map(|n| inputs[n].amount.clone())).collect();
    let awarded = award(&bids, rules.units as usize, &rules.reserve);
    let best_losing_bid = awarded.best_losing.and_then(|b| bids[b].clone());
    let price = best_losing_bid.clone().unwrap_or_else(|| rules.reserve.clone());
    let winners = awarded.winners.iter().filter_map(|&bidder| {
        let bid = bids[bidder].clone()?;
        let price = match rules.pricing {
            Pricing::FirstPrice => bid.clone(),
            Pricing::SecondPrice => price.clone(),
        };
        Some(AuctionWinner { bidder: rules.bidders[bidder].clone(), bid, price })
    });
    let winners: Vec<AuctionWinner> = winners.collect();
    let last = winners.last().map(|w| &w.bid);
    let outcome = AuctionOutcome {
        tie_at_the_line: last.is_some() && last == best_losing_bid.as_ref(),
        price_each: (rules.pricing == Pricing::SecondPrice && !winners.is_empty()).then_some(price),
        unsold: rules.units - winners.len() as u32,
        best_losing_bid,
        winner: match &winners[..] {
            [one] => Some(one.bidder.clone()),
            _ => None,
        },
        winners,
        explanation: Vec::new(),
    };
    Ok(AuctionOutcome { explanation: explain(rules, &outcome), ..outcome })
}

/// Who gets a unit: the highest bids that reach the reserve, as many as there are units, of equal ones the first.
pub fn award(bids: &[Option<Exact>], units: usize, reserve: &Exact) -> Awarded {
    let reaching = bids.iter().enumerate().filter_map(|(place, bid)| Some((bid.as_ref()?, place)));
    let mut reaching: Vec<(&Exact, usize)> = reaching.filter(|(bid, _)| *bid >= reserve).collect();
    reaching.sort_by(|(one, a), (other, b)| other.cmp(one).then(a.cmp(b)));
    let best_losing = reaching.get(units).map(|(_, place)| *place);
    Awarded { winners: reaching.into_iter().take(units).map(|(_, place)| place).collect(), best_losing }
}

fn explain(rules: &AuctionRules, outcome: &AuctionOutcome) -> Vec<String> {
    let reserve = scale::told(&rules.reserve);
    if outcome.winners.is_empty() {
        return vec![format!("No bid reaches the reserve of {reserve}: nothing is sold.")];
    }
    let mut told = vec![format!(
        "{} of {} units are sold, to the highest bids of {reserve} or more.",
        outcome.winners.len(),
        rules.units
    )];
    told.push(match (&outcome.price_each, &outcome.best_losing_bid) {
        (None, _) => "Each winner pays what it bid.".into(),
        (Some(price), Some(_)) => format!("Each winner pays the best losing bid, {}.", scale::told(price)),
        (Some(_), None) => format!("No bid of {reserve} or more loses, so each winner pays the reserve."),
    });
    if outcome.tie_at_the_line {
        told.push(
            "The best losing bid is as high as the last that wins: the order of the bidders decides.".into(),
        );
    }
    told
}
