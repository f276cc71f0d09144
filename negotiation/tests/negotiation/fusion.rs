//! Fusion: worked examples, boundaries, what must hold of every input, and what is refused.

use proptest::collection::vec;
use proptest::prelude::*;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use synod_negotiation::fusion::conflict::{Because, Claim, Verdict, discount, resolve};
use synod_negotiation::fusion::numeric::{self, Method, Signal};
use synod_negotiation::fusion::{Reason, categorical, conflict};
use synod_protocol::{Code, Error, Timestamp};

/// What stands there, as the type that is wanted.
pub(crate) fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap_or_else(|e| panic!("{e}"))
}

/// Whether it is refused, where, and with which words.
pub(crate) fn check_refused<T>(result: Result<T, Error>, field: &str, words: &str) {
    let Err(error) = result else { panic!("{field} must be refused: {words}") };
    assert_eq!(error.code, Code::InvalidArgument, "{error}");
    assert_eq!(error.field.as_deref(), Some(field), "{error}");
    assert!(error.message.contains(words), "{error}: no {words:?}");
}

fn fused(rules: Value, signals: Value) -> numeric::Outcome {
    numeric::outcome(&read(rules), &read::<Vec<Signal>>(signals)).unwrap()
}

fn labelled(rules: Value, signals: Value) -> categorical::Outcome {
    categorical::outcome(&read(rules), &read::<Vec<_>>(signals)).unwrap()
}

const NOW: i64 = 1_764_000_000_000;

fn resolved(rules: Value, claims: Value) -> conflict::Outcome {
    resolve(&read(rules), &read::<Vec<Claim>>(claims), Timestamp::from_millis(NOW)).unwrap()
}

/// Sources `a`, `b`, ... with these values.
fn values(of: &[f64]) -> Value {
    of.iter().enumerate().map(|(i, v)| json!({"source": format!("s{i:03}"), "value": v})).collect()
}

#[test]
fn values_become_one() {
    let check = |rules: Value, signals: Value, value: f64, variance: Option<f64>| {
        let outcome = fused(rules.clone(), signals);
        assert_eq!((outcome.value, outcome.variance), (value, variance), "{rules}");
        assert!((outcome.weights.values().sum::<f64>() - 1.0).abs() < 1e-12);
    };
    let two = json!([
        {"source": "a", "value": 10, "variance": 4},
        {"source": "b", "value": 20, "variance": 1},
    ]);
    check(json!({"method": "inverse_variance"}), two.clone(), 18.0, Some(0.8));
    check(json!({"method": "covariance_intersection"}), two.clone(), 20.0, Some(1.0));
    check(json!({"method": "weighted_mean"}), two.clone(), 15.0, Some(1.25));
    check(json!({"method": "weighted_mean", "weights": {"a": 3}}), two, 12.5, Some(2.3125));
    let alike =
        json!([{"source": "a", "value": 1, "variance": 2}, {"source": "b", "value": 4, "variance": 2}]);
    check(json!({"method": "covariance_intersection"}), alike, 2.5, Some(2.0));
    // The example of scipy.stats.trim_mean: the mean of 0 to 19 without a tenth on each side.
    let twenty: Vec<f64> = (0..20).map(f64::from).collect();
    check(json!({"method": "trimmed_mean", "trim": 0.1}), values(&twenty), 9.5, None);
    check(json!({"method": "trimmed_mean", "trim": 0.25}), values(&[0.0, 1.0, 2.0, 3.0, 100.0]), 2.0, None);
    check(json!({"method": "trimmed_mean"}), values(&[0.0, 1.0, 2.0, 3.0, 4.0]), 2.0, None);
    check(json!({"method": "median"}), values(&[5.0, 1.0, 100.0]), 5.0, None);
    check(json!({"method": "median"}), values(&[5.0, 1.0, 100.0, 6.0]), 5.5, None);
    check(json!({"method": "weighted_mean"}), values(&[0.1, 0.1, 0.1]), 0.1, None);
    let third = json!({"method": "median", "weights": {"s000": 0.1, "s001": 0.2, "s002": 0.3}});
    check(third, values(&[1.0, 2.0, 4.0]), 3.0, None);
}

#[test]
fn a_trim_is_rounded_down_as_the_reference_does() {
    for (len, share, want) in
        [(10, 0.1, 1), (19, 0.1, 1), (9, 0.1, 0), (100, 0.29, 28), (5, 0.499, 2), (1, 0.4, 0)]
    {
        assert_eq!(numeric::trimmed(len, share), want, "{share} of {len}");
    }
}

#[test]
fn who_does_not_count_is_named() {
    let outcome = fused(
        json!({"method": "inverse_variance", "unit": "m", "not_before": "2026-01-01T00:00:00Z"}),
        json!([
            {"source": "g", "value": 7, "variance": 1, "unit": "m", "observed_at": "2026-01-01T00:00:00Z"},
            {"source": "f", "value": 6, "variance": 1, "confidence": 0},
            {"source": "e", "value": 5},
            {"source": "d", "value": 4, "variance": 1, "unit": "ft"},
            {"source": "c", "value": 3, "variance": 1, "observed_at": "2025-12-31T23:59:59.999Z"},
        ]),
    );
    let reasons: Vec<Reason> = outcome.left_out.iter().map(|l| l.reason).collect();
    assert_eq!(reasons, [Reason::TooOld, Reason::OtherUnit, Reason::NoVariance, Reason::ZeroConfidence]);
    assert_eq!((outcome.value, outcome.unit.as_deref()), (7.0, Some("m")));
    assert!(outcome.explanation.iter().any(|line| line.contains("d (other_unit)")), "{outcome:?}");
}

#[test]
fn errors_that_may_hang_together_have_a_bound() {
    let signals = json!([
        {"source": "a", "value": 0, "variance": 1},
        {"source": "b", "value": 0, "variance": 1},
    ]);
    let outcome = fused(json!({"method": "inverse_variance"}), signals);
    assert_eq!((outcome.variance, outcome.variance_bound), (Some(0.5), Some(1.0)));
}

#[test]
fn labels_become_one() {
    let check = |rules: Value, signals: Value, winner: Option<&str>, tied: &[&str], scores: &[f64]| {
        let outcome = labelled(rules.clone(), signals);
        assert_eq!(outcome.winner.as_deref(), winner, "{rules}");
        assert_eq!(outcome.tied, tied, "{rules}");
        let found: Vec<f64> = outcome.scores.iter().map(|s| s.score).collect();
        let are_equal = found.iter().zip(scores).all(|(a, b)| (a - b).abs() < 1e-12);
        assert!(are_equal && found.len() == scores.len(), "{rules}: {found:?}");
    };
    let votes = json!([
        {"source": "x", "label": "no", "confidence": 0.1},
        {"source": "y", "label": "no", "confidence": 0.2},
        {"source": "z", "label": "yes", "confidence": 0.3},
    ]);
    check(json!({"categories": ["yes", "no"]}), votes.clone(), Some("yes"), &["yes", "no"], &[0.5, 0.5]);
    check(json!({"categories": ["no", "yes"]}), votes, Some("no"), &["no", "yes"], &[0.5, 0.5]);

    let odds = json!([
        {"source": "x", "probabilities": {"a": 0.9, "b": 0.1}},
        {"source": "y", "probabilities": {"a": 0.5, "b": 0.5}},
    ]);
    let with = |method: &str| json!({"method": method, "categories": ["a", "b", "c"]});
    check(with("weighted_vote"), odds.clone(), Some("a"), &[], &[0.75, 0.25, 0.0]);
    check(with("linear_opinion_pool"), odds.clone(), Some("a"), &[], &[0.7, 0.3, 0.0]);
    // sqrt(0.9 0.5) : sqrt(0.1 0.5) = 3 : 1
    check(with("log_opinion_pool"), odds, Some("a"), &[], &[0.75, 0.25, 0.0]);

    let opposed = json!([{"source": "x", "label": "a"}, {"source": "y", "label": "b"}]);
    check(with("log_opinion_pool"), opposed.clone(), None, &[], &[0.0, 0.0, 0.0]);
    let floored = json!({"method": "log_opinion_pool", "categories": ["a", "b"], "floor": 0.01});
    check(floored, opposed, Some("a"), &["a", "b"], &[0.5, 0.5]);
    let veto = json!([
        {"source": "x", "probabilities": {"a": 0.9, "b": 0.1}},
        {"source": "y", "label": "b"},
        {"source": "z", "label": "a", "confidence": 0},
    ]);
    check(with("log_opinion_pool"), veto, Some("b"), &[], &[0.0, 1.0, 0.0]);
}

#[test]
fn an_outlier_is_named_and_left_out() {
    // The mass spectrometer's readings of Tietjen and Moore (1972), whose last one is the outlier.
    let readings = [199.31, 199.53, 200.19, 200.82, 201.92, 201.95, 202.18, 245.57];
    let outcome = resolved(json!({}), values(&readings));
    assert_eq!(outcome.verdict, Verdict::Agreed);
    assert_eq!(outcome.outliers.len(), 1);
    assert_eq!((outcome.outliers[0].value, outcome.outliers[0].because), (245.57, Because::Apart));
    assert!((outcome.outliers[0].score.unwrap() - 0.6745 * 44.2 / 0.995).abs() < 1e-9);
    assert!((outcome.value.unwrap() - 1_405.9 / 7.0).abs() < 1e-9);

    // No gap parts it, so the score decides: 17.5 has exactly 6.745, which is not above it.
    let scored = |x: f64| {
        resolved(json!({"outlier_score": 6.745, "camp_gap": 1000}), values(&[0.0, 1.0, 2.0, 3.0, 4.0, x]))
    };
    assert_eq!(scored(17.6).outliers[0].because, Because::Score);
    assert_eq!(scored(17.6).value, Some(2.0));
    assert_eq!(scored(17.5).outliers.len(), 0);

    // MAD is 0: most say the same, and one something else.
    let same = resolved(json!({"camp_gap": 1000, "tolerance": 0.1}), values(&[5.0, 5.0, 5.0, 5.05, 7.0]));
    assert_eq!((same.outliers[0].value, same.outliers[0].score), (7.0, None));
    assert_eq!(same.outliers.len(), 1);
    assert_eq!(same.outliers[0].because, Because::NotTheSame);
}

#[test]
fn camps_are_told_and_not_averaged() {
    let outcome = resolved(json!({}), values(&[10.0, 10.1, 10.2, 50.0, 50.1, 900.0]));
    assert_eq!((outcome.verdict, outcome.value), (Verdict::Contested, None));
    let camps: Vec<(Option<f64>, usize)> = outcome.camps.iter().map(|c| (c.value, c.members.len())).collect();
    assert_eq!(camps, [(Some(10.1), 3), (Some(50.05), 2)]);
    assert_eq!(outcome.outliers[0].value, 900.0);

    let check = |of: &[f64], rules: Value, want: Option<f64>| {
        assert_eq!(resolved(rules, values(of)).value, want, "{of:?}");
    };
    check(&[10.0], json!({}), Some(10.0));
    check(&[10.0, 12.0], json!({}), None);
    check(&[10.0, 12.0], json!({"tolerance": 1}), Some(11.0));
    check(&[10.0, 13.0], json!({"tolerance": 1}), Some(11.5));
    check(&[10.0, 13.5], json!({"tolerance": 1}), None);
    check(&[1.0, 2.0, 3.0], json!({}), Some(2.0));
    check(&[1.0, 1.0, 1.0, 9.0], json!({}), Some(1.0));
    check(&[1.0, 1.0, 9.0], json!({}), None);
    // One that weighs nearly all stands against three who say the same.
    let heavy = json!({"track_records": {"s001": 0.1, "s002": 0.1, "s003": 0.1}});
    check(&[0.0, 100.0, 100.0, 100.0], heavy, Some(0.0));
    // Wings that are as heavy as a camp together are not left out.
    let wings = resolved(json!({}), values(&[10.0, 10.05, 10.1, 10.2, 13.0, 15.0, 17.0]));
    assert_eq!((wings.verdict, wings.camps.len()), (Verdict::Contested, 2));
}

#[test]
fn labels_are_agreed_on_from_a_share_on() {
    let claims = |labels: &str| -> Value {
        let each = labels.chars().enumerate();
        each.map(|(i, l)| json!({"source": format!("s{i}"), "label": l.to_string()})).collect()
    };
    let check = |labels: &str, rules: Value, want: Option<&str>| {
        let outcome = resolved(rules, claims(labels));
        assert_eq!(outcome.label.as_deref(), want, "{labels}");
        assert_eq!(outcome.verdict == Verdict::Agreed, want.is_some());
    };
    check("xxxyy", json!({}), Some("x"));
    check("xxxyyz", json!({}), None);
    check("xy", json!({"agree_share": 0.5}), None);
    check("xxyz", json!({"agree_share": 0.5}), Some("x"));
    check("x", json!({"agree_share": 1}), Some("x"));
    check("xyx", json!({"track_records": {"s1": 0}, "agree_share": 1}), Some("x"));
}

#[test]
fn age_counts_by_half_lives() {
    for (age_ms, want) in
        [(0, 1.0), (1_000, 0.5), (2_000, 0.25), (500, 0.5_f64.sqrt()), (u64::MAX, 2.0_f64.powi(-60))]
    {
        assert!((discount(age_ms, 1_000) - want).abs() < 1e-15, "{age_ms}");
    }
    let at = |ms: i64| Timestamp::from_millis(NOW - ms).to_string();
    let outcome = resolved(
        json!({"half_life_ms": 1000, "tolerance": 5, "unknown_track_record": 0.8, "track_records": {"a": 0.4}}),
        json!([
            {"source": "a", "value": 1, "observed_at": at(0)},
            {"source": "b", "value": 2, "observed_at": at(1000)},
            {"source": "c", "value": 3, "observed_at": at(-5000), "confidence": 0.5},
            {"source": "d", "value": 4, "confidence": 0},
        ]),
    );
    for source in ["a", "b", "c"] {
        assert_eq!(outcome.weights[source].share, 1.0 / 3.0, "{source}");
    }
    assert_eq!(outcome.value, Some(2.0));
    assert_eq!(outcome.left_out[0].reason, Reason::ZeroConfidence);
}

#[test]
fn what_cannot_be_fused_is_refused() {
    let ok = json!([{"source": "a", "value": 1}]);
    let check = |rules: Value, signals: Value, field: &str, words: &str| {
        check_refused(numeric::outcome(&read(rules), &read::<Vec<Signal>>(signals)), field, words);
    };
    let one = |more: Value| {
        let mut signal = json!({"source": "a", "value": 1});
        signal.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([signal])
    };
    check(json!({}), json!([]), "/signals", "at least one");
    check(json!({}), values(&vec![1.0; 1_001]), "/signals", "at most 1000");
    check(
        json!({}),
        json!([{"source": "a", "value": 1}, {"source": "a", "value": 2}]),
        "/signals/1/source",
        "twice",
    );
    check(json!({}), one(json!({"source": ""})), "/signals/0/source", "1 to 128");
    check(json!({}), one(json!({"value": 1.1e15})), "/signals/0/value", "finite");
    check(json!({}), one(json!({"variance": 0})), "/signals/0/variance", "no variance");
    check(json!({}), one(json!({"confidence": 1.5})), "/signals/0/confidence", "no weight");
    check(json!({}), one(json!({"confidence": -0.1})), "/signals/0/confidence", "no weight");
    check(json!({}), one(json!({"confidence": 0})), "/signals", "a (zero_confidence)");
    check(json!({"method": "inverse_variance"}), ok.clone(), "/signals", "a (no_variance)");
    check(json!({"weights": {"a": 0}}), ok.clone(), "/signals", "a (zero_weight)");
    check(json!({"weights": {"a/b": -1}}), ok.clone(), "/rules/weights/a~1b", "no weight");
    check(json!({"trim": 0.1}), ok.clone(), "/rules/trim", "trimmed_mean only");
    check(json!({"method": "trimmed_mean", "trim": 0.5}), ok.clone(), "/rules/trim", "less than 0.5");
    check(json!({"method": "trimmed_mean", "weights": {"a": 1}}), ok, "/rules/weights", "leave them out");
    let units = json!([{"source": "a", "value": 1, "unit": "m"}, {"source": "b", "value": 1, "unit": "ft"}]);
    check(json!({}), units, "/signals/1/unit", "one unit");
    for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let signal = Signal { source: "a".into(), value: bad, ..Signal::default() };
        check_refused(numeric::outcome(&numeric::Rules::default(), &[signal]), "/signals/0/value", "finite");
        let signal = Signal { source: "a".into(), variance: Some(bad), ..Signal::default() };
        check_refused(
            numeric::outcome(&numeric::Rules::default(), &[signal]),
            "/signals/0/variance",
            "variance",
        );
    }
}

#[test]
fn what_is_no_label_is_refused() {
    let check = |rules: Value, signal: Value, field: &str, words: &str| {
        let signals = read::<Vec<_>>(json!([signal]));
        check_refused(categorical::outcome(&read(rules), &signals), field, words);
    };
    let ab = || json!({"categories": ["a", "b"]});
    let x = json!({"source": "x", "label": "a"});
    check(json!({"categories": []}), x.clone(), "/rules/categories", "at least one");
    check(json!({"categories": ["a", "a"]}), x.clone(), "/rules/categories/1", "twice");
    let many: Vec<String> = (0..101).map(|i| i.to_string()).collect();
    check(json!({"categories": many}), x.clone(), "/rules/categories", "at most 100");
    check(ab(), json!({"source": "x", "label": "c"}), "/signals/0/label", "none of the categories");
    check(ab(), json!({"source": "x"}), "/signals/0", "one of the two");
    check(
        ab(),
        json!({"source": "x", "label": "a", "probabilities": {"a": 1}}),
        "/signals/0",
        "one of the two",
    );
    let odds = |p: Value| json!({"source": "x", "probabilities": p});
    check(ab(), odds(json!({})), "/signals/0/probabilities", "must add up to 1");
    check(ab(), odds(json!({"a": 0.5, "b": 0.500_000_01})), "/signals/0/probabilities", "must add up to 1");
    check(ab(), odds(json!({"a": 1.5, "b": -0.5})), "/signals/0/probabilities/a", "between 0 and 1");
    check(ab(), odds(json!({"c": 1})), "/signals/0/probabilities/c", "none of the categories");
    check(json!({"categories": ["a"], "floor": 0.1}), x.clone(), "/rules/floor", "leave it out");
    let floor = json!({"categories": ["a", "b"], "method": "log_opinion_pool", "floor": 0.6});
    check(floor, x, "/rules/floor", "at most 0.5");
    let within = json!([{"source": "x", "probabilities": {"a": 0.5, "b": 0.500_000_000_1}}]);
    assert_eq!(labelled(ab(), within).winner.as_deref(), Some("b"));
}

#[test]
fn what_is_no_claim_is_refused() {
    let check = |rules: Value, claims: Value, field: &str, words: &str| {
        let now = Timestamp::from_millis(NOW);
        check_refused(resolve(&read(rules), &read::<Vec<Claim>>(claims), now), field, words);
    };
    check(json!({}), json!([]), "/claims", "at least one");
    check(json!({}), json!([{"source": "a"}]), "/claims/0", "either a value or a label");
    let mixed = json!([{"source": "a", "value": 1}, {"source": "b", "label": "x"}]);
    check(json!({}), mixed, "/claims/1", "either a value or a label");
    check(json!({}), json!([{"source": "a", "value": 1, "confidence": 0}]), "/claims", "zero_confidence");
    check(json!({"half_life_ms": 0}), values(&[1.0]), "/rules/half_life_ms", "between 1");
    check(json!({"camp_share": 0.6}), values(&[1.0]), "/rules/camp_share", "between 0.05 and 0.5");
    check(json!({"tolerance": -1}), values(&[1.0]), "/rules/tolerance", "between 0");
    check(json!({"track_records": {"a": 2}}), values(&[1.0]), "/rules/track_records/a", "no weight");
    check(json!({"unknown_track_record": 0}), values(&[1.0]), "/claims", "zero_weight");
}

#[test]
fn what_nobody_knows_is_not_read() {
    let more = |mut of: Value| {
        of["colour"] = json!(1);
        of
    };
    assert!(serde_json::from_value::<numeric::Rules>(more(json!({}))).is_err());
    assert!(serde_json::from_value::<Signal>(more(json!({"source": "a", "value": 1}))).is_err());
    assert!(serde_json::from_value::<categorical::Rules>(more(json!({"categories": ["a"]}))).is_err());
    assert!(serde_json::from_value::<conflict::Rules>(more(json!({}))).is_err());
    assert!(serde_json::from_value::<Claim>(more(json!({"source": "a"}))).is_err());
}

/// Signals with values that often coincide.
fn signals() -> impl Strategy<Value = Vec<Signal>> {
    let value = prop_oneof![(-5_i32..5).prop_map(f64::from), -1e6..1e6_f64, -1e15..1e15_f64];
    let one = (value, 0.001..1e3_f64, (1_u32..=100).prop_map(|c| f64::from(c) / 100.0));
    vec(one, 1..30).prop_map(|each| {
        let signal = |(i, (value, variance, confidence)): (usize, (f64, f64, f64))| Signal {
            source: format!("s{i}"),
            value,
            variance: Some(variance),
            confidence: Some(confidence),
            ..Signal::default()
        };
        each.into_iter().enumerate().map(signal).collect()
    })
}

fn methods() -> impl Strategy<Value = Method> {
    prop::sample::select(vec![
        Method::InverseVariance,
        Method::WeightedMean,
        Method::TrimmedMean,
        Method::Median,
        Method::CovarianceIntersection,
    ])
}

fn by(method: Method) -> numeric::Rules {
    numeric::Rules { method, ..numeric::Rules::default() }
}

/// As it goes on the wire.
fn bytes<T: serde::Serialize>(of: &T) -> String {
    serde_json::to_string(of).unwrap()
}

fn claims_of(signals: &[Signal]) -> Vec<Claim> {
    let claim = |s: &Signal| Claim {
        source: s.source.clone(),
        value: Some(s.value),
        confidence: s.confidence,
        ..Claim::default()
    };
    signals.iter().map(claim).collect()
}

proptest! {
    #[test]
    fn a_fused_value_lies_within_what_was_said(signals in signals(), method in methods()) {
        let outcome = numeric::outcome(&by(method), &signals).unwrap();
        let least = signals.iter().map(|s| s.value).fold(f64::INFINITY, f64::min);
        let greatest = signals.iter().map(|s| s.value).fold(f64::NEG_INFINITY, f64::max);
        prop_assert!((least..=greatest).contains(&outcome.value), "{outcome:?}");
        prop_assert_eq!(outcome.weights.len() + outcome.left_out.len(), signals.len());
        if let (Some(variance), Some(bound)) = (outcome.variance, outcome.variance_bound) {
            prop_assert!(variance <= bound * (1.0 + 1e-12));
        }
    }

    #[test]
    fn no_order_of_arrival_matters((signals, shuffled) in signals().prop_flat_map(|s| (Just(s.clone()), Just(s).prop_shuffle())), method in methods()) {
        let (one, other) = (numeric::outcome(&by(method), &signals), numeric::outcome(&by(method), &shuffled));
        prop_assert_eq!(bytes(&one.unwrap()), bytes(&other.unwrap()));
        let now = Timestamp::from_millis(NOW);
        let rules = conflict::Rules::default();
        let one = resolve(&rules, &claims_of(&signals), now).unwrap();
        prop_assert_eq!(bytes(&one), bytes(&resolve(&rules, &claims_of(&shuffled), now).unwrap()));
    }

    #[test]
    fn the_same_signals_twice_say_the_same(signals in signals()) {
        let again = signals.iter().map(|s| Signal { source: format!("{} again", s.source), ..s.clone() });
        let twice: Vec<Signal> = signals.iter().cloned().chain(again).collect();
        for method in [Method::WeightedMean, Method::Median, Method::InverseVariance, Method::CovarianceIntersection] {
            let (one, two) = (numeric::outcome(&by(method), &signals), numeric::outcome(&by(method), &twice));
            prop_assert_eq!(one.unwrap().value, two.unwrap().value);
        }
    }

    #[test]
    fn only_the_proportion_of_weights_counts(signals in signals(), weights in vec(1_u32..1_000, 30), times in 1_u32..1_000) {
        for method in [Method::WeightedMean, Method::Median] {
            let with = |times: u32| {
                let weight = |(s, w): (&Signal, &u32)| (s.source.clone(), f64::from(w * times));
                let weights = signals.iter().zip(&weights).map(weight).collect();
                numeric::outcome(&numeric::Rules { weights, ..by(method) }, &signals).unwrap()
            };
            prop_assert_eq!(bytes(&with(1)), bytes(&with(times)));
        }
    }

    #[test]
    fn who_is_surer_pulls_the_value(signals in signals(), at in any::<prop::sample::Index>()) {
        let at = at.index(signals.len());
        let mut surer = signals.clone();
        let own = signals[at].value;
        surer[at].confidence = Some(1.0);
        let value = |s: &[Signal]| numeric::outcome(&by(Method::WeightedMean), s).unwrap().value;
        prop_assert!((value(&surer) - own).abs() <= (value(&signals) - own).abs());
        surer[at].variance = Some(1e-4);
        let value = |s: &[Signal]| numeric::outcome(&by(Method::InverseVariance), s).unwrap().value;
        prop_assert!((value(&surer) - own).abs() <= (value(&signals) - own).abs());
    }

    #[test]
    fn camps_that_lie_apart_are_never_averaged(
        left in vec(0.0..1.0_f64, 2..12), right in vec(0.0..1.0_f64, 2..12), gap in 5.0..1e6_f64,
    ) {
        prop_assume!(left.len() * 10 >= (left.len() + right.len()) * 3);
        prop_assume!(right.len() * 10 >= (left.len() + right.len()) * 3);
        let all: Vec<f64> = left.iter().copied().chain(right.iter().map(|v| v + gap)).collect();
        let outcome = resolved(json!({"tolerance": 1}), values(&all));
        prop_assert_eq!((outcome.verdict, outcome.value), (Verdict::Contested, None));
        let mut sizes: Vec<usize> = outcome.camps.iter().map(|c| c.members.len()).collect();
        sizes.sort_unstable();
        let mut want = [left.len(), right.len()];
        want.sort_unstable();
        prop_assert_eq!(sizes, want);
    }

    #[test]
    fn an_agreed_value_lies_within_those_that_agree(signals in signals()) {
        let claims = claims_of(&signals);
        let outcome = resolve(&conflict::Rules::default(), &claims, Timestamp::from_millis(NOW)).unwrap();
        prop_assert_eq!(outcome.value.is_some(), outcome.verdict == Verdict::Agreed);
        let told: usize = outcome.camps.iter().map(|c| c.members.len()).sum();
        prop_assert_eq!(told + outcome.outliers.len(), claims.len());
        for camp in &outcome.camps {
            prop_assert!(camp.least <= camp.value && camp.value <= camp.greatest);
        }
    }

    #[test]
    fn pools_add_up_to_one(each in vec((vec(1_u32..50, 4), 1_u32..=100), 1..12)) {
        let signals: Vec<Value> = each.iter().enumerate().map(|(i, (odds, confidence))| {
            let all = f64::from(odds.iter().sum::<u32>());
            let probabilities: serde_json::Map<String, Value> = odds.iter().zip(["a", "b", "c", "d"])
                .map(|(o, c)| (c.to_owned(), json!(f64::from(*o) / all))).collect();
            json!({"source": format!("s{i}"), "probabilities": probabilities, "confidence": f64::from(*confidence) / 100.0})
        }).collect();
        let mut turned = signals.clone();
        turned.reverse();
        for method in ["weighted_vote", "linear_opinion_pool", "log_opinion_pool"] {
            let rules = json!({"method": method, "categories": ["a", "b", "c", "d"]});
            let outcome = labelled(rules.clone(), json!(signals));
            prop_assert!((outcome.scores.iter().map(|s| s.score).sum::<f64>() - 1.0).abs() < 1e-12);
            prop_assert_eq!(bytes(&outcome), bytes(&labelled(rules, json!(turned))));
        }
    }
}
