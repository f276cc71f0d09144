//! Performance: power of two choices on a peak-sensitive average of latency.

use super::{Candidate, Figures, Method, Moment, Rank, Rule};

/// The average forgets what is so old by 1 - 1/e, in ms; Finagle's default.
const MEMORY_MS: f64 = 10_000.0;

/// One end of an attempt moves the average of successes by this part of the way.
const SUCCESS_STEP: f32 = 1.0 / 16.0;

/// However badly it fails, it is taken to succeed so often, so that its cost stays a number.
const LEAST_SUCCESS: f64 = 0.001;

/// The longest time that is counted, in µs: 7 days, the longest time limit of an attempt.
const LONGEST_US: f64 = 7.0 * 86_400e6;

/// Of two drawn at random, the one that costs less: latency × (attempts in flight + 1) ÷ success rate.
///
/// The latency is the peak-sensitive average of Finagle's and tower's `PeakEwma`: a slower answer counts in full at once, faster
/// ones bring it down by and by, with a memory of 10 s. In two things it differs from theirs, because attempts take seconds here, not
/// milliseconds. It fades, so that a slow agent is tried again, only while the agent has nothing to do: to hear
/// nothing from one that is at work is no sign of speed. And what fails counts as no faster than before, so that failing at
/// once looks no better than working. Divided by the success rate it is the time until a success, repeats included.
#[derive(Clone, Copy, Debug)]
pub struct Performance;

/// What a candidate is thought to be like now.
struct Estimate {
    cost_us: f64,
    latency_us: f64,
    success: f64,
}

fn estimate(candidate: &Candidate, moment: &Moment) -> Estimate {
    // How much of what is known is still to be believed, 0 to 1.
    let (known_us, fresh) = match candidate.heard_ms() {
        None => (moment.typical_us, 1.0),
        Some(_) if candidate.in_flight > 0 => (candidate.latency_us, 1.0),
        Some(at) => (candidate.latency_us, fading(moment.now_ms.saturating_sub(at))),
    };
    let latency_us = (known_us * fresh).max(1.0);
    let success = (1.0 - (1.0 - f64::from(candidate.success)) * fresh).max(LEAST_SUCCESS);
    let busy = f64::from(candidate.in_flight) + 1.0;
    Estimate { cost_us: latency_us * busy / success, latency_us, success }
}

impl Rule for Performance {
    fn name(&self) -> &'static str {
        "performance"
    }

    fn method(&self) -> Method {
        Method::Draw(2)
    }

    fn rank(&self, candidate: &Candidate, moment: &Moment) -> Rank {
        Rank::cost(estimate(candidate, moment).cost_us, candidate.assigned)
    }

    fn figures(&self, candidate: &Candidate, moment: &Moment) -> Figures {
        let estimate = estimate(candidate, moment);
        Figures::of([
            ("cost_us", estimate.cost_us),
            ("latency_us", estimate.latency_us),
            ("in_flight", f64::from(candidate.in_flight)),
            ("success_rate", estimate.success),
        ])
    }
}

fn fading(passed_ms: u64) -> f64 {
    if passed_ms == 0 { 1.0 } else { (-(passed_ms as f64) / MEMORY_MS).exp() }
}

/// Takes the end of an attempt into what is known of an agent.
///
/// Returns whether it did: a time that is no number or below zero is refused; one above 7 days counts as 7 days.
pub(super) fn observe(candidate: &mut Candidate, took_us: f64, success: bool, now_ms: u64) -> bool {
    if !took_us.is_finite() || took_us < 0.0 {
        return false;
    }
    let took_us = took_us.min(LONGEST_US);
    candidate.latency_us = match candidate.heard_ms() {
        None => took_us,
        Some(_) if took_us > candidate.latency_us => took_us,
        Some(_) if !success => candidate.latency_us,
        Some(at) => {
            let kept = fading(now_ms.saturating_sub(at));
            candidate.latency_us * kept + took_us * (1.0 - kept)
        }
    };
    candidate.success += (f32::from(u8::from(success)) - candidate.success) * SUCCESS_STEP;
    candidate.hear(now_ms);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new() -> Candidate {
        Candidate::new(0)
    }

    #[test]
    fn a_candidate_is_one_line_of_the_cache() {
        assert_eq!(size_of::<Candidate>(), 64);
    }

    fn after(ends: &[(f64, bool, u64)]) -> Candidate {
        let mut candidate = new();
        for (took, success, at) in ends {
            observe(&mut candidate, *took, *success, *at);
        }
        candidate
    }

    fn at(now_ms: u64) -> Moment {
        Moment { now_ms, typical_us: 500.0 }
    }

    fn close(is: f64, should: f64) {
        assert!((is - should).abs() <= should.abs() * 1e-12, "{is} instead of {should}");
    }

    #[test]
    fn a_slower_answer_counts_at_once_and_faster_ones_by_and_by() {
        close(after(&[(100.0, true, 0), (900.0, true, 1)]).latency_us, 900.0);
        let kept = (-1.0f64).exp();
        close(
            after(&[(900.0, true, 0), (100.0, true, 10_000)]).latency_us,
            900.0 * kept + 100.0 * (1.0 - kept),
        );
        close(after(&[(900.0, true, 5), (100.0, true, 5)]).latency_us, 900.0);
    }

    #[test]
    fn failing_at_once_looks_no_better_than_working() {
        let failed = after(&[(900.0, true, 0), (1.0, false, 60_000)]);
        close(failed.latency_us, 900.0);
        close(f64::from(failed.success), 1.0 - 1.0 / 16.0);
        close(after(&[(900.0, true, 0), (2_000.0, false, 1)]).latency_us, 2_000.0);
        let busy = |candidate| estimate(&Candidate { in_flight: 1, ..candidate }, &at(60_000)).cost_us;
        assert!(busy(failed) > busy(after(&[(900.0, true, 60_000)])));
        let never: Vec<_> = (0..10_000).map(|_| (5.0, false, 0)).collect();
        assert!(estimate(&after(&never), &at(0)).cost_us.is_finite());
    }

    #[test]
    fn what_is_known_fades_only_while_there_is_nothing_to_do() {
        let idle = after(&[(1e6, false, 0)]);
        close(estimate(&idle, &at(10_000)).latency_us, 1e6 * (-1.0f64).exp());
        close(estimate(&Candidate { in_flight: 1, ..idle }, &at(10_000)).latency_us, 1e6);
        close(estimate(&idle, &at(10_000_000)).success, 1.0);
        close(estimate(&idle, &at(10_000_000)).latency_us, 1.0);
        close(estimate(&new(), &at(7)).latency_us, 500.0);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0] {
            let mut candidate = new();
            assert!(!observe(&mut candidate, bad, true, 1));
            assert_eq!(candidate, new());
        }
        close(after(&[(1e300, true, 0)]).latency_us, LONGEST_US);
        assert_eq!(after(&[(1.0, true, 9), (1.0, true, 3)]).heard_ms(), Some(9), "time does not run back");
    }
}
