//! Means, medians and quantiles of exact numbers: no rounding, so no order matters and a tie is a tie.

use synod_protocol::Exact;

/// The sum.
pub fn total<'a>(each: impl IntoIterator<Item = &'a Exact>) -> Exact {
    each.into_iter().sum()
}

/// The mean of `(value, weight)`; nothing where the weights add up to 0.
pub fn weighted_mean(each: &[(Exact, Exact)]) -> Option<Exact> {
    let weighted: Exact = each.iter().map(|(value, weight)| value * weight).sum();
    weighted.checked_div(&total(each.iter().map(|(_, weight)| weight)))
}

/// The mean; nothing of nothing.
pub fn mean(values: &[Exact]) -> Option<Exact> {
    total(values).checked_div(&Exact::from(values.len() as u64))
}

/// The mean square of the distances of `(value, weight)` from `centre`, by weight (the population's, not the sample's);
/// nothing where the weights add up to 0.
pub fn weighted_square(each: &[(Exact, Exact)], centre: &Exact) -> Option<Exact> {
    let squares: Vec<(Exact, Exact)> = each
        .iter()
        .map(|(value, weight)| {
            let distance = value - centre;
            (&distance * &distance, weight.clone())
        })
        .collect();
    weighted_mean(&squares)
}

/// The median of values in any order: the middle one, or the mean of the two in the middle. Nothing of nothing.
pub fn median(values: &[Exact]) -> Option<Exact> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    quantile(&sorted, &Exact::ratio(1, 2)?)
}

/// The weighted median of `(value, weight)` in any order, weights not below 0: the least value up to which more than
/// half of the weight lies. Where exactly half lies up to a value, the mean of that one and the next one that has weight.
/// With equal weights it is the median. Nothing where the weights add up to 0.
pub fn weighted_median(each: &[(Exact, Exact)]) -> Option<Exact> {
    let mut sorted: Vec<&(Exact, Exact)> = each.iter().filter(|(_, weight)| !weight.is_zero()).collect();
    sorted.sort_unstable();
    let two = Exact::from(2_u64);
    let all = total(sorted.iter().map(|(_, weight)| weight));
    let mut below = Exact::zero();
    for (i, (value, weight)) in sorted.iter().enumerate() {
        below = &below + weight;
        let twice = &below * &two;
        if twice == all {
            let (next, _) = sorted.get(i + 1)?;
            return (value + next).checked_div(&two);
        }
        if twice > all {
            return Some(value.clone());
        }
    }
    None
}

/// The quantile `q` (0 to 1) of values in ascending order, between two of them in proportion: type 7 of Hyndman and Fan
/// (1996), the default of numpy and R. Nothing of nothing.
pub fn quantile(sorted: &[Exact], q: &Exact) -> Option<Exact> {
    let last = sorted.len().checked_sub(1)?;
    let position = &Exact::from(last as u64) * q;
    let whole = usize::try_from(position.as_rational().to_integer()).ok()?;
    let part = &position - &Exact::from(whole as u64);
    let low = sorted.get(whole)?;
    let high = sorted.get(whole + 1).unwrap_or(low);
    Some(low + &(&(high - low) * &part))
}

/// The distance between two numbers.
pub fn distance(a: &Exact, b: &Exact) -> Exact {
    if a > b { a - b } else { b - a }
}

/// The median of the distances from `centre` (MAD); nothing of nothing.
pub fn median_distance(values: &[Exact], centre: &Exact) -> Option<Exact> {
    median(&values.iter().map(|value| distance(value, centre)).collect::<Vec<_>>())
}

/// The modified z-score `0.6745 (value - median) / MAD` of Iglewicz and Hoaglin (1993); nothing where MAD is 0.
pub fn modified_z_score(value: &Exact, median: &Exact, mad: &Exact) -> Option<Exact> {
    (&Exact::ratio(6_745, 10_000)? * &(value - median)).checked_div(mad)
}
