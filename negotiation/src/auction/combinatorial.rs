//! Bids on bundles: who wants things together says so, and gets all of a bundle or nothing of it.
//!
//! Each bidder may bid on several bundles and wins one of them at most (XOR). No item is sold twice; an item may stay unsold
//! (free disposal). Those bundles win whose values together are the greatest, found exactly by going through all sets of items
//! (Rothkopf, Pekeč and Harstad, *Computationally Manageable Combinational Auctions*, Management Science 44, 1998). Each winner
//! pays what the others lose through it (Vickrey, Clarke and Groves): the greatest value without it, less what the others have.
//!
//! ```text
//!   best[bidders from k on][items] = max( best[from k+1 on][items],  value + best[from k+1 on][items - bundle] )
//! ```
//!
//! Of several greatest choices the first: the first bidder wins if it can in any of them, with the first of its bundles that it
//! can, then the second bidder, and so on. A bundle of value 0 never wins.

use crate::roster::{PARTICIPANTS_MAX, answers, places};
use crate::scale;
use num_bigint::BigInt;
use num_traits::ToPrimitive;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::{Error, Exact};

/// Most items: all sets of them are gone through.
pub const ITEMS_MAX: usize = 16;
/// Most bundles in all.
pub const BUNDLES_MAX: usize = 200;
/// Bits of the values as whole numbers of a common measure, and of that measure.
pub const VALUE_BITS_MAX: u64 = 110;

/// What is sold, and to whom.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CombinatorialRules {
    /// Who may bid, 1 to 1,000. Their order decides between choices of equal value.
    pub bidders: Vec<String>,
    /// What is sold, 1 to 16 items.
    pub items: Vec<String>,
}

/// What one bidder bids: one of these at most is what it wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CombinatorialBids {
    /// Who.
    pub bidder: String,
    /// What it wants together, and what each is worth to it. At most 200 of all bidders.
    pub bundles: Vec<CombinatorialBundle>,
}

/// Several items together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CombinatorialBundle {
    /// Which, at least one.
    pub items: Vec<String>,
    /// What they are worth together: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub value: Exact,
}

/// Who gets what.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CombinatorialWinner {
    /// Who.
    pub bidder: String,
    /// What it gets, in the order of the rules.
    pub items: Vec<String>,
    /// What it bid for that.
    #[schema(value_type = serde_json::Value)]
    pub value: Exact,
    /// What it pays, 0 to that: what the others lose through it.
    #[schema(value_type = serde_json::Value)]
    pub price: Exact,
}

/// Who wins what, and at what price.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CombinatorialOutcome {
    /// In the order of the bidders in the rules.
    pub winners: Vec<CombinatorialWinner>,
    /// What all of them bid together: the greatest that can be.
    #[schema(value_type = serde_json::Value)]
    pub value: Exact,
    /// What all of them pay together.
    #[schema(value_type = serde_json::Value)]
    pub revenue: Exact,
    /// Items that nobody gets.
    pub unsold: Vec<String>,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
}

/// One bid on a bundle, by numbers.
#[derive(Clone, Debug, PartialEq)]
pub struct BundleBid {
    /// Whose.
    pub bidder: usize,
    /// Which items.
    pub items: Vec<usize>,
    /// What they are worth together: 0 or more.
    pub value: Exact,
}

/// What [`award`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Awarded {
    /// The bids that win, by number, in the order of their bidders.
    pub winners: Vec<usize>,
    /// What the bidder of each of them pays.
    pub prices: Vec<Exact>,
    /// What they bid together.
    pub value: Exact,
}

impl CombinatorialRules {
    /// Whether these rules can be opened.
    ///
    /// # Errors
    /// `invalid_argument` for no bidder or more than 1,000, no item or more than 16, a repeated one of either.
    pub fn check(&self) -> Result<(), Error> {
        self.places().map(drop)
    }

    fn places(&self) -> Result<[BTreeMap<&str, usize>; 2], Error> {
        let bidders = self.bidders.iter().map(String::as_str);
        let items = self.items.iter().map(String::as_str);
        let bidders = places("bidder", "/rules/bidders", bidders, PARTICIPANTS_MAX)?;
        Ok([bidders, places("item", "/rules/items", items, ITEMS_MAX)?])
    }
}

/// Sells by these rules. Who did not answer does not bid.
///
/// # Errors
/// `invalid_argument` for rules that [`CombinatorialRules::check`] refuses, an unknown or repeated bidder, an unknown item, one
/// that stands twice in a bundle, an empty bundle, a negative value, and whatever [`award`] refuses.
pub fn outcome(
    rules: &CombinatorialRules,
    inputs: &[CombinatorialBids],
) -> Result<CombinatorialOutcome, Error> {
    let [bidders, items] = rules.places()?;
    let who = answers("bidder", &bidders, inputs.iter().map(|i| i.bidder.as_str()), "/inputs", "bidder")?;
    let mut bids = Vec::new();
    for (bidder, number) in who.into_iter().enumerate().filter_map(|(b, n)| Some((b, n?))) {
        for (place, bundle) in inputs[number].bundles.iter().enumerate() {
            let field = format!("/inputs/{number}/bundles/{place}");
            bids.push(bundle_bid(&items, bidder, bundle, &field)?);
        }
    }
    let awarded = award(items.len(), &bids)?;
    let mut sold = vec![false; items.len()];
    let winners = awarded.winners.iter().zip(&awarded.prices).map(|(&winner, price)| {
        let bid = &bids[winner];
        bid.items.iter().for_each(|&item| sold[item] = true);
        CombinatorialWinner {
            bidder: rules.bidders[bid.bidder].clone(),
            items: bid.items.iter().map(|&item| rules.items[item].clone()).collect(),
            value: bid.value.clone(),
            price: price.clone(),
        }
    });
    let winners: Vec<CombinatorialWinner> = winners.collect();
    let unsold = rules.items.iter().zip(sold).filter(|(_, sold)| !sold).map(|(item, _)| item.clone());
    let revenue: Exact = awarded.prices.iter().sum();
    let explanation = vec![
        format!(
            "{} of {} bundles win, one of each bidder at most; no other choice is worth more than {}.",
            winners.len(),
            bids.len(),
            scale::told(&awarded.value)
        ),
        format!("Each winner pays what the others lose through it: {} in all.", scale::told(&revenue)),
    ];
    Ok(CombinatorialOutcome { winners, value: awarded.value, revenue, unsold: unsold.collect(), explanation })
}

/// By numbers, what stands there by names.
fn bundle_bid(
    items: &BTreeMap<&str, usize>,
    bidder: usize,
    bundle: &CombinatorialBundle,
    field: &str,
) -> Result<BundleBid, Error> {
    scale::amount("the value", &bundle.value, || format!("{field}/value"))?;
    let mut numbers = Vec::with_capacity(bundle.items.len());
    for (place, item) in bundle.items.iter().enumerate() {
        let number = items.get(item.as_str()).copied().filter(|number| !numbers.contains(number));
        let Some(number) = number else {
            let shown: String = item.chars().take(80).collect();
            let message = format!("{shown} is no item of this negotiation, or stands in the bundle twice");
            return Err(Error::invalid(message).with_field(format!("{field}/items/{place}")));
        };
        numbers.push(number);
    }
    if numbers.is_empty() {
        let message = "the bundle is empty, it must have at least one item";
        return Err(Error::invalid(message).with_field(format!("{field}/items")));
    }
    numbers.sort_unstable();
    Ok(BundleBid { bidder, items: numbers, value: bundle.value.clone() })
}

/// One bundle as the search has it.
struct Bundle {
    bid: usize,
    items: usize,
    value: i128,
}

/// Which bids win, and what their bidders pay. Bidders go by their number, the bids of each by their order.
///
/// # Errors
/// `invalid_argument` for more than [`ITEMS_MAX`] items or [`BUNDLES_MAX`] bids, an item that there is not, an empty bundle, a
/// negative value, and values that are, in a common measure, no whole numbers of [`VALUE_BITS_MAX`] bits.
pub fn award(items: usize, bids: &[BundleBid]) -> Result<Awarded, Error> {
    let (bundles, measure) = bundles(items, bids)?;
    let by_bidder: Vec<&[Bundle]> = bundles.values().map(Vec::as_slice).collect();
    let mut choices = vec![Vec::new(); by_bidder.len()];
    let greatest = greatest(items, &by_bidder, None, Some(&mut choices));
    let mut left = (1 << items) - 1;
    let mut won: Vec<(usize, &Bundle)> = Vec::new();
    for (bidder, choices) in choices.iter().enumerate() {
        let Some(chosen) = usize::from(choices[left]).checked_sub(1) else { continue };
        let bundle = &by_bidder[bidder][chosen];
        left &= !bundle.items;
        won.push((bidder, bundle));
    }
    let exact = |value: i128| Exact::from(num_rational::BigRational::new(value.into(), measure.clone()));
    let price = |&(bidder, bundle): &(usize, &Bundle)| {
        let without = self::greatest(items, &by_bidder, Some(bidder), None);
        exact(without - (greatest - bundle.value))
    };
    Ok(Awarded {
        winners: won.iter().map(|(_, bundle)| bundle.bid).collect(),
        prices: won.iter().map(price).collect(),
        value: exact(greatest),
    })
}

/// The greatest value of all items without the bidder `without`; what each bidder chooses of each set of items goes to
/// `choices`: 0 nothing, else the number of its bundle and 1.
fn greatest(
    items: usize,
    by_bidder: &[&[Bundle]],
    without: Option<usize>,
    mut choices: Option<&mut Vec<Vec<u8>>>,
) -> i128 {
    let sets = 1 << items;
    let mut best = vec![0; sets];
    for (bidder, bundles) in by_bidder.iter().enumerate().rev().filter(|(b, _)| Some(*b) != without) {
        let mut chosen = vec![0; sets];
        // From the greatest set down: what is left of a set is a lesser one, and still without this bidder.
        for set in (0..sets).rev() {
            for (number, bundle) in bundles.iter().enumerate().filter(|(_, b)| b.items & !set == 0) {
                let value = best_of(&best, set, bundle);
                // Of equals, winning before not winning, and the first bundle before the others.
                if value > best[set] || (value == best[set] && chosen[set] == 0) {
                    best[set] = value;
                    chosen[set] = number as u8 + 1;
                }
            }
        }
        if let Some(choices) = choices.as_deref_mut() {
            choices[bidder] = chosen;
        }
    }
    best[sets - 1]
}

/// What this bundle and the best of the rest of the set are worth.
fn best_of(best: &[i128], set: usize, bundle: &Bundle) -> i128 {
    bundle.value + best[set & !bundle.items]
}

/// The bundles by bidder, without those of value 0, and the measure of their values.
fn bundles(items: usize, bids: &[BundleBid]) -> Result<(BTreeMap<usize, Vec<Bundle>>, BigInt), Error> {
    if items > ITEMS_MAX || bids.len() > BUNDLES_MAX {
        let message = format!(
            "there are {items} items and {} bundles, at most {ITEMS_MAX} and {BUNDLES_MAX} are allowed",
            bids.len()
        );
        return Err(Error::invalid(message).with_field("/inputs"));
    }
    let measure = scale::measure(bids.iter().map(|b| &b.value), VALUE_BITS_MAX, "/inputs")?;
    let mut bundles: BTreeMap<usize, Vec<Bundle>> = BTreeMap::new();
    for (place, bid) in bids.iter().enumerate() {
        scale::amount("the value", &bid.value, || format!("/bids/{place}/value"))?;
        if bid.items.is_empty() || bid.items.iter().any(|&item| item >= items) {
            let message = format!("a bundle has at least one item, of the {items} that there are");
            return Err(Error::invalid(message).with_field(format!("/bids/{place}/items")));
        }
        let whole = scale::whole(&bid.value, &measure);
        let Some(value) = whole.to_i128().filter(|_| whole.bits() <= VALUE_BITS_MAX) else {
            let message = format!(
                "the value is more than 2^{VALUE_BITS_MAX} times the common measure: use coarser ones"
            );
            return Err(Error::invalid(message).with_field(format!("/bids/{place}/value")));
        };
        if value > 0 {
            let items = bid.items.iter().fold(0, |set, item| set | 1 << item);
            bundles.entry(bid.bidder).or_default().push(Bundle { bid: place, items, value });
        }
    }
    Ok((bundles, measure))
}
