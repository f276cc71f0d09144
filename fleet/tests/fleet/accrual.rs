//! The accrual detector: against what Apache Pekko's computes, and odd input.

use proptest::prelude::*;
use serde::Deserialize;
use std::sync::Arc;
use synod_fleet::accrual::{Detector, Policy, SAMPLES_MAX, SPAN_MAX_MS, Settings};

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Case {
    name: String,
    threshold: f64,
    max_sample_size: u32,
    min_std_deviation_ms: u64,
    acceptable_heartbeat_pause_ms: u64,
    first_heartbeat_estimate_ms: u64,
    #[serde(rename = "phi_before_any")]
    phi_before_any: f64,
    #[serde(rename = "available_before_any")]
    available_before_any: u8,
    /// When, and phi and availability just before it.
    heartbeats: Vec<(u64, Figure, u8)>,
    /// How long after the last heartbeat, phi, availability.
    #[serde(rename = "probes_after_last")]
    probes_after_last: Vec<(u64, Figure, u8)>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Figure {
    Number(f64),
    Word(String),
}

impl Figure {
    fn value(&self) -> f64 {
        match self {
            Figure::Number(number) => *number,
            Figure::Word(word) if word == "inf" => f64::INFINITY,
            Figure::Word(word) => panic!("no figure is {word}"),
        }
    }
}

impl Case {
    fn detector(&self) -> Detector {
        detector(Settings {
            threshold: self.threshold,
            max_samples: self.max_sample_size,
            min_std_deviation_ms: self.min_std_deviation_ms,
            acceptable_pause_ms: self.acceptable_heartbeat_pause_ms,
            first_heartbeat_estimate_ms: self.first_heartbeat_estimate_ms,
        })
    }
}

fn detector(settings: Settings) -> Detector {
    Detector::new(Arc::new(Policy::try_from(settings).expect("settings that can be")))
}

/// Equal but for the last digits of the platforms' `exp` and `log10`, which near 0 are those of 1.
fn assert_close(ours: f64, theirs: f64, at: &str) {
    let is_close = ours == theirs || (ours - theirs).abs() <= 1e-12 * theirs.abs() + 1e-15;
    assert!(is_close, "{at}: {ours}, the reference {theirs}");
    assert!(!(ours == 0.0 && ours.is_sign_negative()), "{at}: no -0");
}

#[test]
fn computes_what_pekko_computes() {
    let vectors: Vectors = serde_json::from_str(include_str!("../vectors/phi.json")).unwrap();
    assert!(vectors.cases.len() >= 11);
    for case in vectors.cases {
        // Only differences of times count: any beginning will do.
        let begin_ms = 1_700_000_000_000;
        let mut detector = case.detector();
        assert_close(detector.phi(begin_ms), case.phi_before_any, &case.name);
        assert_eq!(u8::from(detector.is_available(begin_ms)), case.available_before_any);
        let mut last_ms = begin_ms;
        for (t_ms, phi, available) in &case.heartbeats {
            last_ms = begin_ms + t_ms;
            let at = format!("{}, heartbeat at {t_ms} ms", case.name);
            assert_close(detector.phi(last_ms), phi.value(), &at);
            assert_eq!(u8::from(detector.is_available(last_ms)), *available, "{at}");
            detector.heartbeat(last_ms);
        }
        for (after_ms, phi, available) in &case.probes_after_last {
            let at = format!("{}, {after_ms} ms after the last", case.name);
            assert_close(detector.phi(last_ms + after_ms), phi.value(), &at);
            assert_eq!(u8::from(detector.is_available(last_ms + after_ms)), *available, "{at}");
        }
    }
}

#[test]
fn settings_that_cannot_be_are_refused_by_name() {
    let check = |change: fn(&mut Settings), expected: Option<&str>| {
        let mut settings = Settings::default();
        change(&mut settings);
        let error = Policy::try_from(settings).err().map(|error| error.to_string());
        assert_eq!(error.as_deref(), expected);
    };
    check(|_| {}, None);
    check(|s| s.threshold = 0.0, Some("threshold is 0, it must be above 0 and finite"));
    check(|s| s.threshold = f64::NAN, Some("threshold is NaN, it must be above 0 and finite"));
    check(|s| s.threshold = f64::INFINITY, Some("threshold is inf, it must be above 0 and finite"));
    check(|s| s.max_samples = 0, Some("max_samples is 0, it must be 1 to 10000"));
    check(|s| s.max_samples = SAMPLES_MAX + 1, Some("max_samples is 10001, it must be 1 to 10000"));
    check(|s| s.min_std_deviation_ms = 0, Some("min_std_deviation_ms is 0, it must be 1 to 86400000"));
    check(|s| s.acceptable_pause_ms = 0, None);
    check(
        |s| s.acceptable_pause_ms = SPAN_MAX_MS + 1,
        Some("acceptable_pause_ms is 86400001, it must be 0 to 86400000"),
    );
    check(
        |s| s.first_heartbeat_estimate_ms = 0,
        Some("first_heartbeat_estimate_ms is 0, it must be 1 to 86400000"),
    );
}

#[test]
fn a_pause_that_was_too_long_teaches_no_patience() {
    let mut detector = detector(Settings { acceptable_pause_ms: 0, ..Settings::default() });
    assert!(!detector.is_monitoring());
    assert!(detector.heartbeat(0), "the first stands for two");
    for i in 1..20 {
        assert!(detector.heartbeat(i * 1_000));
    }
    let before = detector.evidence(19_500).unwrap();
    assert_eq!((before.samples, before.silent_ms), (21, 500));
    assert!(!detector.is_available(60_000));
    assert!(!detector.heartbeat(60_000));
    let after = detector.evidence(60_500).unwrap();
    assert_eq!(after, before, "heard of again, and nothing learnt");
}

#[test]
fn only_the_newest_intervals_count() {
    let settings = Settings { max_samples: 3, acceptable_pause_ms: 60_000, ..Settings::default() };
    let mut detector = detector(settings);
    for at_ms in [0, 5_000, 5_500, 6_000, 6_500] {
        assert!(detector.heartbeat(at_ms));
    }
    let evidence = detector.evidence(6_500).unwrap();
    assert_eq!((evidence.samples, evidence.mean_ms, evidence.std_deviation_ms), (3, 60_500.0, 100.0));
}

/// The reference checks the sum also without the oldest, before the new one is added.
#[test]
fn nothing_is_learnt_where_the_reference_throws() {
    let mut detector = detector(Settings { max_samples: 3, ..Settings::default() });
    for (at_ms, is_learnt) in [(10_000, true), (9_100, true), (9_110, true), (11_110, false), (11_120, false)]
    {
        assert_eq!(detector.heartbeat(at_ms), is_learnt, "{at_ms}");
    }
    assert_eq!(detector.evidence(11_120).unwrap().mean_ms, 1_000.0 + (1_250.0 - 900.0 + 10.0) / 3.0);
}

#[test]
fn a_clock_that_stands_or_runs_back_or_leaps_leaves_it_usable() {
    let mut detector = detector(Settings::default());
    detector.heartbeat(10_000);
    assert!(detector.heartbeat(10_000), "no time between them is an interval as well");
    assert!(detector.phi(9_000) < 1e-8);
    assert!(detector.heartbeat(9_500), "a little back is learnt as the reference learns it");
    assert_eq!(detector.evidence(9_500).unwrap().mean_ms, 1_000.0 + 1_500.0 / 4.0);
    assert!(!detector.heartbeat(1_000), "so far back that the sum would be below zero is not");
    assert_eq!(detector.evidence(1_400).unwrap().silent_ms, 400, "but counts as a sign of life");
    assert_eq!(detector.evidence(0).unwrap().silent_ms, 0);
    assert!(!detector.heartbeat(u64::MAX));
    assert_eq!(detector.phi(u64::MAX), detector.phi(u64::MAX), "a number");
    assert!(detector.is_available(u64::MAX));
}

/// Intervals of fifteen hours, a millisecond apart: their squares no longer fit a double, and the variance, 0.22 in
/// truth, comes out as -0.5. The reference's phi is no number from here on, and the agent lost for good.
#[test]
fn a_variance_below_zero_by_rounding_counts_as_none() {
    let settings = Settings {
        max_samples: 3,
        acceptable_pause_ms: SPAN_MAX_MS,
        first_heartbeat_estimate_ms: SPAN_MAX_MS,
        ..Settings::default()
    };
    let mut detector = detector(settings);
    let mut now_ms = 0;
    detector.heartbeat(now_ms);
    for interval_ms in [54_799_932, 54_799_932, 54_799_933] {
        now_ms += interval_ms;
        assert!(detector.heartbeat(now_ms));
    }
    let evidence = detector.evidence(now_ms + 1_000).unwrap();
    assert_eq!((evidence.phi, evidence.std_deviation_ms), (0.0, 100.0));
}

#[test]
fn it_takes_four_bytes_an_interval() {
    let mut detector = detector(Settings::default());
    assert!(size_of::<Detector>() <= 72, "{}", size_of::<Detector>());
    for i in 0..1_000 {
        detector.heartbeat(i * 1_000);
    }
    assert!(detector.bytes() <= size_of::<Detector>() + 256 * 4, "{}", detector.bytes());
}

proptest! {
    /// Phi is a number from 0 on, and grows with the silence.
    #[test]
    fn suspicion_grows_with_silence(
        threshold in 0.1..20.0_f64,
        max_samples in 1..50_u32,
        min_std_deviation_ms in 1..2_000_u64,
        acceptable_pause_ms in 0..5_000_u64,
        first_heartbeat_estimate_ms in 1..5_000_u64,
        intervals_ms in proptest::collection::vec(0..5_000_u64, 0..100),
        silences_ms in proptest::collection::vec(prop_oneof![0..20_000_u64, any::<u64>()], 2..20),
    ) {
        let mut detector = detector(Settings {
            threshold, max_samples, min_std_deviation_ms, acceptable_pause_ms, first_heartbeat_estimate_ms,
        });
        let mut now_ms = 0;
        detector.heartbeat(0);
        for interval_ms in intervals_ms {
            now_ms += interval_ms;
            detector.heartbeat(now_ms);
        }
        let mut silences_ms = silences_ms;
        silences_ms.sort_unstable();
        let phis: Vec<f64> =
            silences_ms.iter().map(|silence_ms| detector.phi(now_ms.saturating_add(*silence_ms))).collect();
        prop_assert!(phis.iter().all(|phi| *phi >= 0.0));
        // The two halves of the formula meet at the mean, but for their last digits.
        prop_assert!(phis.windows(2).all(|pair| pair[0] <= pair[1] + 1e-12));
    }

    #[test]
    fn any_clock_leaves_it_usable(times in proptest::collection::vec(any::<u64>(), 1..100), spread in 1..u64::MAX) {
        let mut detector = detector(Settings { max_samples: 5, ..Settings::default() });
        for now_ms in times {
            detector.heartbeat(now_ms % spread);
            prop_assert!(detector.phi(now_ms) >= 0.0);
            prop_assert!(detector.evidence(now_ms).unwrap().std_deviation_ms >= 100.0);
        }
    }
}
