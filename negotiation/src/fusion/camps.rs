//! Where the values of disagreeing sources lie apart: an exact split of a line of values at its widest gaps.
//!
//! ```text
//!    x x  x          xx x                  x
//!    +----+ <------> +--+ <--------------> +     every gap that is cut is more than `gap` times the widest group,
//!                                                where a group is at least `tolerance` wide
//! ```

use std::ops::Range;
use synod_protocol::Exact;

/// When values lie apart.
pub(super) struct Criterion {
    /// How many times as wide as the widest group each gap between groups must be at the least, itself excluded.
    pub(super) gap: Exact,
    /// How wide a group is counted at the least.
    pub(super) tolerance: Exact,
    /// The share of the weight that makes a group a camp.
    pub(super) share: Exact,
}

/// What the gaps say.
#[derive(Debug, PartialEq)]
pub(super) enum Split {
    /// The values hold together, or nothing can be told.
    Whole,
    /// All but less than a camp's share is in one group, and the rest lies apart from it.
    Apart(Range<usize>),
    /// These groups, two or more of which are camps.
    Camps(Vec<Range<usize>>),
}

/// Splits values in ascending order, with the share of each (together 1).
///
/// For every width of gap that occurs, all gaps at least as wide are cut. A cut counts if the narrowest gap that is
/// cut is wider than `gap` times the widest group, and if some group has two sources (with two sources in all, none need).
/// Of those that count the one with the most camps is taken, of several the one with the widest gaps.
pub(super) fn split(values: &[Exact], shares: &[Exact], criterion: &Criterion) -> Split {
    let mut apart = None;
    let mut camps: Option<(usize, Vec<Range<usize>>)> = None;
    for cut in cuts(values, criterion) {
        let groups = groups(values, &cut);
        let weight = |group: &Range<usize>| -> Exact { shares[group.clone()].iter().sum() };
        let weights: Vec<Exact> = groups.iter().map(weight).collect();
        let count = weights.iter().filter(|weight| **weight >= criterion.share).count();
        // The cuts come from the narrowest to the widest: a later one of as many camps is taken, and the first main group.
        if count >= 2 && camps.as_ref().is_none_or(|(most, _)| count >= *most) {
            camps = Some((count, groups));
        } else if apart.is_none() {
            let is_main = |weight: &Exact| &Exact::one() - weight < criterion.share;
            apart = weights.iter().position(is_main).map(|main| groups[main].clone());
        }
    }
    match (camps, apart) {
        (Some((_, groups)), _) => Split::Camps(groups),
        (None, Some(main)) => Split::Apart(main),
        (None, None) => Split::Whole,
    }
}

/// The widths of gap at which a cut counts, ascending.
fn cuts(values: &[Exact], criterion: &Criterion) -> Vec<Exact> {
    let mut gaps: Vec<(Exact, usize)> =
        values.windows(2).enumerate().map(|(i, pair)| (&pair[1] - &pair[0], i)).collect();
    gaps.sort_unstable();
    // The other end of the group that begins or ends here.
    let mut end: Vec<usize> = (0..values.len()).collect();
    let mut widest = criterion.tolerance.clone();
    let mut cuts = Vec::new();
    for (i, (gap, at)) in gaps.iter().enumerate() {
        let is_first_of_width = i == 0 || gaps[i - 1].0 != *gap;
        let has_company = i > 0 || values.len() == 2;
        if is_first_of_width && has_company && *gap > &criterion.gap * &widest {
            cuts.push(gap.clone());
        }
        // Then it is closed: what lies on both sides becomes one group.
        let (first, last) = (end[*at], end[*at + 1]);
        end[first] = last;
        end[last] = first;
        widest = widest.max(&values[last] - &values[first]);
    }
    cuts
}

/// The groups when every gap at least as wide as `cut` is cut.
fn groups(values: &[Exact], cut: &Exact) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let mut start = 0;
    for i in 1..=values.len() {
        if i == values.len() || &(&values[i] - &values[i - 1]) >= cut {
            groups.push(start..i);
            start = i;
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(values: &[i64], tolerance: i64, want: &Split) {
        let exact: Vec<Exact> = values.iter().map(|&v| v.into()).collect();
        let shares = vec![Exact::ratio(1, values.len() as i64).unwrap(); values.len()];
        let criterion =
            Criterion { gap: 3_i64.into(), tolerance: tolerance.into(), share: Exact::ratio(3, 10).unwrap() };
        assert_eq!(&split(&exact, &shares, &criterion), want, "{values:?} within {tolerance}");
    }

    #[test]
    fn a_line_is_cut_where_it_is_wide() {
        check(&[5], 0, &Split::Whole);
        check(&[5, 5], 0, &Split::Whole);
        check(&[5, 6], 0, &Split::Camps(vec![0..1, 1..2]));
        check(&[5, 8], 1, &Split::Whole);
        check(&[5, 9], 1, &Split::Camps(vec![0..1, 1..2]));
        check(&[1, 2, 3], 0, &Split::Whole);
        check(&[0, 1, 4], 0, &Split::Whole);
        check(&[0, 1, 5], 0, &Split::Camps(vec![0..2, 2..3]));
        check(&[0, 1, 100, 101, 200, 201], 0, &Split::Camps(vec![0..2, 2..4, 4..6]));
        check(&[0, 1, 2, 100, 101, 102, 9_000], 0, &Split::Camps(vec![0..3, 3..6, 6..7]));
        check(&[0, 1, 2, 100], 0, &Split::Apart(0..3));
        check(&[0, 2, 2, 2, 2], 0, &Split::Apart(1..5));
        check(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], 0, &Split::Whole);
    }
}
