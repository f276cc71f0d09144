//! Samples, what they come to, and the goals that they are held against.

use serde::Serialize;

/// What one arm measured, round by round.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<Vec<f64>>);

impl Samples {
    /// Takes one round's samples.
    pub fn round(&mut self, samples: Vec<f64>) {
        self.0.push(samples);
    }

    /// Takes a round of one sample.
    pub fn one(&mut self, sample: f64) {
        self.round(vec![sample]);
    }

    fn sorted(&self) -> Vec<f64> {
        sorted(self.0.iter().flatten().copied().collect())
    }

    /// The median of all samples.
    pub fn median(&self) -> f64 {
        at(&self.sorted(), 0.5)
    }

    /// What they come to.
    pub fn row(&self, scene: &'static str, arm: impl Into<String>, unit: &'static str) -> Row {
        let all = self.sorted();
        Row {
            scene,
            arm: arm.into(),
            unit,
            rounds: self.0.len(),
            n: all.len(),
            min: at(&all, 0.0),
            q1: at(&all, 0.25),
            median: at(&all, 0.5),
            q3: at(&all, 0.75),
            p99: at(&all, 0.99),
            max: at(&all, 1.0),
        }
    }

    /// The ratio of the medians, ours to theirs, and how it varied from round to round.
    pub fn over(&self, theirs: &Samples) -> Spread {
        let middle = |round: &Vec<f64>| at(&sorted(round.clone()), 0.5);
        let rounds = self.0.iter().zip(&theirs.0).map(|(o, t)| middle(o) / middle(t)).collect();
        Spread::of(self.median() / theirs.median(), rounds)
    }

    /// The median, and how it varied.
    pub fn spread(&self) -> Spread {
        Spread::of(self.median(), self.0.iter().flatten().copied().collect())
    }
}

/// A figure and how it varied.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Spread {
    /// The figure.
    pub figure: f64,
    /// The smallest of all rounds.
    pub min: f64,
    /// The first quartile of the rounds.
    pub q1: f64,
    /// The third quartile of the rounds.
    pub q3: f64,
    /// The largest of all rounds.
    pub max: f64,
}

impl Spread {
    fn of(figure: f64, rounds: Vec<f64>) -> Spread {
        let rounds = sorted(rounds);
        let at = |share| at(&rounds, share);
        Spread { figure, min: at(0.0), q1: at(0.25), q3: at(0.75), max: at(1.0) }
    }
}

/// One arm of one scene.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which scene.
    pub scene: &'static str,
    /// Which arm.
    pub arm: String,
    /// What is counted.
    pub unit: &'static str,
    /// In how many rounds.
    pub rounds: usize,
    /// How many samples.
    pub n: usize,
    /// The smallest.
    pub min: f64,
    /// The first quartile.
    pub q1: f64,
    /// The median.
    pub median: f64,
    /// The third quartile.
    pub q3: f64,
    /// The 99th percentile.
    pub p99: f64,
    /// The largest.
    pub max: f64,
}

/// Which side of its limit a figure should be on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// At least the limit.
    AtLeast,
    /// At most the limit.
    AtMost,
}

/// A figure beside what it should be; without a limit it is only told.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// What is compared.
    pub what: String,
    /// The figure and how it varied.
    #[serde(flatten)]
    pub spread: Spread,
    /// On which side of the limit it should be.
    pub side: Option<Side>,
    /// The limit.
    pub limit: Option<f64>,
    /// Whether it is there.
    pub met: Option<bool>,
}

impl Verdict {
    /// A figure with a goal.
    pub fn goal(what: impl Into<String>, spread: Spread, side: Side, limit: f64) -> Verdict {
        let met = match side {
            Side::AtLeast => spread.figure >= limit,
            Side::AtMost => spread.figure <= limit,
        };
        Verdict { what: what.into(), spread, side: Some(side), limit: Some(limit), met: Some(met) }
    }

    /// A figure that is only told.
    pub fn told(what: impl Into<String>, spread: Spread) -> Verdict {
        Verdict { what: what.into(), spread, side: None, limit: None, met: None }
    }
}

/// What one scene came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Its arms.
    pub rows: Vec<Row>,
    /// Its figures beside what they should be.
    pub verdicts: Vec<Verdict>,
}

fn sorted(mut samples: Vec<f64>) -> Vec<f64> {
    samples.sort_unstable_by(f64::total_cmp);
    samples
}

/// The quantile of sorted samples, between two of them where it falls there; 0 where there are none.
fn at(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = share * last as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    low + (high - low) * place.fract()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(rounds: &[&[f64]]) -> Samples {
        let mut samples = Samples::default();
        rounds.iter().for_each(|round| samples.round(round.to_vec()));
        samples
    }

    #[test]
    fn quantiles_fall_between_samples() {
        let check = |all: &[f64], share, expected: f64| {
            assert!((at(all, share) - expected).abs() < 1e-9, "{all:?} at {share}");
        };
        check(&[], 0.5, 0.0);
        check(&[7.0], 0.99, 7.0);
        check(&[1.0, 2.0], 0.5, 1.5);
        check(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.25, 2.0);
        check(&[1.0, 2.0, 3.0, 4.0], 1.0, 4.0);
    }

    #[test]
    fn a_ratio_is_of_the_medians_of_all_and_its_spread_of_the_rounds() {
        let ours = samples(&[&[2.0, 2.0, 9.0], &[4.0, 4.0, 4.0]]);
        let theirs = samples(&[&[1.0, 1.0, 1.0], &[1.0, 1.0, 8.0]]);
        let ratio = ours.over(&theirs);
        assert_eq!((ratio.figure, ratio.min, ratio.max), (4.0, 2.0, 4.0));
    }

    #[test]
    fn a_goal_is_met_on_its_side_of_the_limit() {
        let check = |figure: f64, side, met| {
            let spread = samples(&[&[figure]]).spread();
            assert_eq!(Verdict::goal("x", spread, side, 1.0).met, Some(met), "{figure} {side:?}");
        };
        check(0.9, Side::AtMost, true);
        check(1.1, Side::AtMost, false);
        check(1.1, Side::AtLeast, true);
        check(0.9, Side::AtLeast, false);
        check(1.0, Side::AtLeast, true);
    }
}
