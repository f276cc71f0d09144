//! Values on a line: who lies apart, who is an outlier, and what the rest agree on.

use super::camps::{Criterion, Split, split};
use super::conflict::{Because, Camp, Outcome, Outlier, Rules, Verdict};
use super::{intake, statistics};
use std::collections::BTreeSet;
use std::ops::Range;
use synod_protocol::Exact;

/// The values in ascending order, of equal ones by source.
struct Line<'a> {
    sources: Vec<&'a str>,
    values: Vec<Exact>,
    shares: Vec<Exact>,
    median: Exact,
    mad: Exact,
}

/// What values, each with its source and its share of the weight (together 1), come to.
pub(super) fn of_values(rules: &Rules, each: &[(Exact, &str, Exact)]) -> Outcome {
    let line = Line::of(each);
    let share = intake::exact(rules.camp_share);
    let tolerance = intake::exact(rules.tolerance);
    let criterion =
        Criterion { gap: intake::exact(rules.camp_gap), tolerance: tolerance.clone(), share: share.clone() };
    let main = match split(&line.values, &line.shares, &criterion) {
        Split::Camps(groups) => return contested(&line, groups, &share),
        Split::Apart(main) => main,
        Split::Whole => 0..line.values.len(),
    };
    let has_score = |i: &usize| line.is_outlier(*i, &intake::exact(rules.outlier_score), &tolerance);
    let apart: BTreeSet<usize> = (0..line.values.len()).filter(|i| !main.contains(i)).collect();
    let scored: BTreeSet<usize> = (0..line.values.len()).filter(has_score).collect();
    let mut out: BTreeSet<usize> = apart.union(&scored).copied().collect();
    if line.share_of(&out) >= share {
        if apart.is_empty() {
            return parted(&line, &out);
        }
        out.clone_from(&apart);
    }
    let kept: Vec<usize> = (0..line.values.len()).filter(|i| !out.contains(i)).collect();
    let camp = line.camp(&kept);
    let value = camp.value;
    let mut told = vec![format!(
        "{} of {} agree on {}, with {} of the weight.",
        kept.len(),
        line.values.len(),
        value.unwrap_or_default(),
        camp.share
    )];
    let outliers = line.outliers(out.into_iter().map(|i| (i, apart.contains(&i))));
    if !outliers.is_empty() {
        let names: Vec<&str> = outliers.iter().take(10).map(|o| o.source.as_str()).collect();
        told.push(format!("{} outliers do not count, such as {}.", outliers.len(), names.join(", ")));
    }
    let first = told.remove(0);
    let mut outcome = Outcome { value, ..Outcome::of(Verdict::Agreed, vec![camp], outliers, first) };
    outcome.explanation.extend(told);
    outcome
}

/// Those groups that weigh enough are camps; who is in none of them is an outlier.
fn contested(line: &Line<'_>, groups: Vec<Range<usize>>, share: &Exact) -> Outcome {
    let mut camps = Vec::new();
    let mut others = Vec::new();
    for group in groups {
        let members: Vec<usize> = group.collect();
        if line.share_of(&members) >= *share {
            camps.push(members);
        } else {
            others.extend(members.into_iter().map(|i| (i, true)));
        }
    }
    let outliers = line.outliers(others.into_iter());
    opposed(line, &camps, outliers, "a wide gap parts them")
}

/// The outliers weigh too much to be left out: they are camps, below and above the rest.
fn parted(line: &Line<'_>, out: &BTreeSet<usize>) -> Outcome {
    let below: Vec<usize> = out.iter().copied().filter(|&i| line.values[i] < line.median).collect();
    let above = out.iter().copied().filter(|&i| line.values[i] > line.median).collect();
    let rest = (0..line.values.len()).filter(|i| !out.contains(i)).collect();
    let camps: Vec<Vec<usize>> = [below, rest, above].into_iter().filter(|c| !c.is_empty()).collect();
    opposed(line, &camps, Vec::new(), "the outliers weigh too much to be left out")
}

fn opposed(line: &Line<'_>, camps: &[Vec<usize>], outliers: Vec<Outlier>, why: &str) -> Outcome {
    // By value; the sort keeps that order among camps of the same weight.
    let mut weighed: Vec<(Exact, Camp)> =
        camps.iter().map(|members| (line.share_of(members), line.camp(members))).collect();
    weighed.sort_by(|a, b| b.0.cmp(&a.0));
    let camps: Vec<Camp> = weighed.into_iter().map(|(_, camp)| camp).collect();
    let each: Vec<String> = camps
        .iter()
        .map(|c| format!("{} (of {}, share {})", c.value.unwrap_or_default(), c.members.len(), c.share))
        .collect();
    let told = format!("Contested between {}: {why}.", each.join(" and "));
    Outcome::of(Verdict::Contested, camps, outliers, told)
}

impl<'a> Line<'a> {
    fn of(each: &[(Exact, &'a str, Exact)]) -> Line<'a> {
        let mut each = each.to_vec();
        each.sort_unstable();
        let values: Vec<Exact> = each.iter().map(|(value, ..)| value.clone()).collect();
        let median = statistics::median(&values).unwrap_or_else(Exact::zero);
        let mad = statistics::median_distance(&values, &median).unwrap_or_else(Exact::zero);
        let sources = each.iter().map(|(_, source, _)| *source).collect();
        let shares = each.into_iter().map(|(.., share)| share).collect();
        Line { sources, values, shares, median, mad }
    }

    fn share_of<'b>(&self, members: impl IntoIterator<Item = &'b usize>) -> Exact {
        members.into_iter().map(|&i| &self.shares[i]).sum()
    }

    fn is_outlier(&self, i: usize, limit: &Exact, tolerance: &Exact) -> bool {
        let distance = statistics::distance(&self.values[i], &self.median);
        let score = statistics::modified_z_score(&distance, &Exact::zero(), &self.mad);
        distance > *tolerance && score.is_none_or(|score| score > *limit)
    }

    fn camp(&self, members: &[usize]) -> Camp {
        let pairs: Vec<(Exact, Exact)> =
            members.iter().map(|&i| (self.values[i].clone(), self.shares[i].clone())).collect();
        let mut names: Vec<String> = members.iter().map(|&i| self.sources[i].to_owned()).collect();
        names.sort_unstable();
        let end = |i: Option<&usize>| i.map(|&i| self.values[i].to_f64());
        Camp {
            value: statistics::weighted_mean(&pairs).map(|value| value.to_f64()),
            least: end(members.first()),
            greatest: end(members.last()),
            label: None,
            members: names,
            share: self.share_of(members).to_f64(),
        }
    }

    /// Each with whether it lies apart.
    fn outliers(&self, each: impl Iterator<Item = (usize, bool)>) -> Vec<Outlier> {
        let mut outliers: Vec<Outlier> = each
            .map(|(i, is_apart)| {
                let score = statistics::modified_z_score(&self.values[i], &self.median, &self.mad);
                Outlier {
                    source: self.sources[i].to_owned(),
                    value: self.values[i].to_f64(),
                    because: match score {
                        _ if is_apart => Because::Apart,
                        Some(_) => Because::Score,
                        None => Because::NotTheSame,
                    },
                    score: score.map(|score| score.to_f64()),
                }
            })
            .collect();
        outliers.sort_by(|a, b| a.source.cmp(&b.source));
        outliers
    }
}
