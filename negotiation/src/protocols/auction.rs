//! Auctions: every participant is asked for its sealed bid, once.

use super::said;
use crate::auction::combinatorial::{
    self, BUNDLES_MAX, CombinatorialBids, CombinatorialBundle, CombinatorialRules,
};
use crate::auction::{self, AuctionBid, AuctionRules, Pricing};
use crate::protocol::{Call, Next, Protocol, Table, answer};
use crate::scale;
use serde::{Deserialize, Serialize};
use synod_protocol::{Error, Exact, Id, Json};

/// What participants are asked for.
const BID: &str = "bid";

/// `auction`: rules are [`AuctionTerms`], an answer is a [`Bid`] or its number alone; the outcome is an
/// [`AuctionOutcome`](auction::AuctionOutcome).
#[derive(Clone, Copy, Debug)]
pub struct Auction;

/// `auction_bundles`: rules are [`BundleTerms`], an answer is [`Bundles`]; the outcome is a
/// [`CombinatorialOutcome`](combinatorial::CombinatorialOutcome).
#[derive(Clone, Copy, Debug)]
pub struct AuctionBundles;

/// What is sold, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuctionTerms {
    /// What the winners pay; `second_price` by default.
    #[serde(default)]
    pub pricing: Pricing,
    /// How many equal units there are, 1 to 1,000; each bidder gets one at most. 1 by default.
    #[serde(default = "one")]
    pub units: u32,
    /// What must be bid at least, and paid at least: 0 or more; 0 by default.
    #[serde(default = "Exact::zero")]
    #[schema(value_type = serde_json::Value)]
    pub reserve: Exact,
}

fn one() -> u32 {
    1
}

/// What a participant answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bid {
    /// How much for one unit: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub bid: Exact,
}

/// What is sold together or apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BundleTerms {
    /// 1 to 16 items.
    pub items: Vec<String>,
}

/// What a participant answers: one of these at most is what it wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Bundles {
    /// What it wants together, and what each is worth to it; as many as 200 divided by the number of participants.
    pub bundles: Vec<CombinatorialBundle>,
}

impl Protocol for Auction {
    fn name(&self) -> &'static str {
        "auction"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        table.rules::<AuctionTerms>()?.of(table).check()?;
        Ok(Call { kind: BID.to_owned(), ..Call::default() })
    }

    fn check(&self, _table: &Table<'_>, _by: &Id, response: &Json) -> Result<(), Error> {
        bid(response).map(drop)
    }

    fn close(&self, table: &Table<'_>) -> Next {
        let found = table.rules().and_then(|terms: AuctionTerms| {
            let bids = said::read(table, |participant, response| {
                Ok(AuctionBid { bidder: participant.id.to_string(), amount: bid(response)? })
            })?;
            auction::outcome(&terms.of(table), &bids)
        });
        said::decided_unless(
            found,
            |outcome| &outcome.explanation,
            |outcome| {
                outcome.winners.is_empty().then(|| "nothing is sold: no bid reaches the reserve".to_owned())
            },
        )
    }
}

fn bid(response: &Json) -> Result<Exact, Error> {
    said::amount(response, "bid", |given: Bid| given.bid)
}

impl AuctionTerms {
    /// The rules of the room, with the participants as bidders.
    fn of(&self, table: &Table<'_>) -> AuctionRules {
        let (pricing, units, reserve) = (self.pricing, self.units, self.reserve.clone());
        AuctionRules { bidders: bidders(table), pricing, units, reserve }
    }
}

fn bidders(table: &Table<'_>) -> Vec<String> {
    table.participants.iter().map(|participant| participant.id.to_string()).collect()
}

impl Protocol for AuctionBundles {
    fn name(&self) -> &'static str {
        "auction_bundles"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        table.rules::<BundleTerms>()?.of(table).check()?;
        let count = table.participants.len();
        if count > BUNDLES_MAX {
            let message = format!("{count} participants are too many: at most {BUNDLES_MAX} bid on bundles");
            return Err(Error::invalid(message).with_field("/participants"));
        }
        Ok(Call { kind: BID.to_owned(), ..Call::default() })
    }

    fn check(&self, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error> {
        let terms: BundleTerms = table.rules()?;
        let own = bundles(by, response)?;
        check_items(&terms, &own)?;
        let (count, there) = (own.bundles.len(), table.participants.len());
        let each = (BUNDLES_MAX / there.max(1)).max(1);
        let mut all = count;
        for (other, response) in said::others(table, by) {
            all += bundles(&other.id, response)?.bundles.len();
        }
        if count <= each && all <= BUNDLES_MAX {
            return Ok(());
        }
        let message = format!(
            "{count} bundles are too many: each of {there} participants may name {each}, and all together {BUNDLES_MAX}"
        );
        Err(Error::invalid(message).with_field("/response/bundles"))
    }

    fn close(&self, table: &Table<'_>) -> Next {
        let found = table.rules().and_then(|terms: BundleTerms| {
            let bids = said::read(table, |participant, response| bundles(&participant.id, response))?;
            combinatorial::outcome(&terms.of(table), &bids)
        });
        said::decided_unless(
            found,
            |outcome| &outcome.explanation,
            |outcome| {
                outcome.winners.is_empty().then(|| "nothing is sold: no bundle is worth anything".to_owned())
            },
        )
    }
}

impl BundleTerms {
    fn of(&self, table: &Table<'_>) -> CombinatorialRules {
        CombinatorialRules { bidders: bidders(table), items: self.items.clone() }
    }
}

/// What a participant bids, its values as they can be counted.
fn bundles(by: &Id, response: &Json) -> Result<CombinatorialBids, Error> {
    let mut given: Bundles = answer(response)?;
    for (place, bundle) in given.bundles.iter_mut().enumerate() {
        let at = || format!("/response/bundles/{place}/value");
        bundle.value = said::together("the value", &bundle.value, at)?;
        scale::amount("the value", &bundle.value, at)?;
    }
    Ok(CombinatorialBids { bidder: by.to_string(), bundles: given.bundles })
}

/// Looks at the items as the room does, which has nothing to search where no bundle is worth anything.
fn check_items(terms: &BundleTerms, own: &CombinatorialBids) -> Result<(), Error> {
    let worthless = |bundle: &CombinatorialBundle| CombinatorialBundle {
        items: bundle.items.clone(),
        value: Exact::zero(),
    };
    let bundles = own.bundles.iter().map(worthless).collect();
    let rules = CombinatorialRules { bidders: vec![own.bidder.clone()], items: terms.items.clone() };
    let bids = CombinatorialBids { bidder: own.bidder.clone(), bundles };
    said::own_fault(combinatorial::outcome(&rules, &[bids]), "/inputs/0")
}
