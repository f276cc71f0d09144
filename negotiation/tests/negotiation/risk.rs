//! Risk: rounds, liars, dissent, boundaries, and what is refused.

use crate::fusion::{check_refused, read};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};
use synod_negotiation::risk::{Estimate, Level, Next, Outcome, Rules, Verdict, next, outcome, summary};

fn round(values: &[f64]) -> Value {
    values.iter().enumerate().map(|(i, v)| json!({"participant": format!("p{i:03}"), "value": v})).collect()
}

fn ten(more: Value) -> Rules {
    let mut rules = json!({"scale": {"min": 0, "max": 10, "epsilon": 1}});
    if let (Value::Object(rules), Value::Object(more)) = (&mut rules, more) {
        rules.extend(more);
    }
    read(rules)
}

fn then(rules: &Rules, rounds: &[Value]) -> Next {
    next(rules, &read::<Vec<Vec<Estimate>>>(json!(rounds))).unwrap()
}

fn done(rules: &Rules, rounds: &[Value]) -> Outcome {
    match then(rules, rounds) {
        Next::Done(outcome) => outcome,
        Next::Ask(ask) => panic!("asks again: {ask:?}"),
    }
}

#[test]
fn rounds_go_on_until_all_are_close() {
    let rules = ten(json!({"faults": 1}));
    let Next::Ask(first) = then(&rules, &[]) else { panic!("nobody was asked") };
    assert_eq!((first.round, first.feedback), (1, None));
    let apart = json!([
        {"participant": "a", "value": 2, "rationale": "seen before"},
        {"participant": "b", "value": 4, "rationale": "no backup"},
        {"participant": "c", "value": 6, "confidence": 0.5},
        {"participant": "d", "value": 8, "rationale": "no backup", "confidence": 0.7},
        {"participant": "e", "value": 10},
    ]);
    let Next::Ask(second) = then(&rules, std::slice::from_ref(&apart)) else { panic!("not settled yet") };
    let feedback = second.feedback.unwrap();
    assert_eq!((second.round, feedback.round, feedback.answered), (2, 1, 5));
    assert_eq!((feedback.value.least, feedback.value.greatest, feedback.value.spread), (4.0, 8.0, 4.0));
    assert_eq!(
        (feedback.value.lower_quartile, feedback.value.median, feedback.value.upper_quartile),
        (5.0, 6.0, 7.0)
    );
    assert_eq!(
        (feedback.confidence, feedback.rationales),
        (Some(0.6), vec!["no backup".to_owned(), "seen before".to_owned()])
    );
    let close = json!([
        {"participant": "a", "value": 1, "rationale": "still not convinced"},
        {"participant": "b", "value": 6},
        {"participant": "c", "value": 6.5},
        {"participant": "d", "value": 7},
        {"participant": "e", "value": 7},
    ]);
    let told = done(&rules, &[apart, close]);
    assert_eq!((told.verdict, told.rounds_used, told.decided_in), (Verdict::Converged, 2, Some(2)));
    assert_eq!((told.risk, told.level), (Some(6.5), Some(Level::High)));
    assert_eq!(told.dissent.len(), 1);
    let dissent = &told.dissent[0];
    assert_eq!((dissent.participant.as_str(), dissent.beyond, dissent.from_result), ("a", 5.0, -5.5));
    assert_eq!(dissent.rationale.as_deref(), Some("still not convinced"));
}

#[test]
fn rounds_end_and_too_few_decide_nothing() {
    let rules = ten(json!({"rounds_max": 2, "faults": 1}));
    let (wide, few) = (round(&[0.0, 3.0, 5.0, 10.0]), round(&[1.0, 1.0, 1.0]));
    let told = done(&rules, &[wide.clone(), wide.clone()]);
    assert_eq!((told.verdict, told.rounds_used, told.risk), (Verdict::NotConverged, 2, Some(4.0)));
    // p001 and p002 are within what is left, and not farther than epsilon from 4.
    let who: Vec<&str> = told.dissent.iter().map(|d| d.participant.as_str()).collect();
    assert_eq!(who, ["p000", "p003"]);
    let told = done(&rules, &[wide, few.clone()]);
    assert_eq!((told.verdict, told.decided_in, told.answered), (Verdict::NotConverged, Some(1), 4));
    assert!(
        matches!(then(&rules, std::slice::from_ref(&few)), Next::Ask(ask) if ask.round == 2 && ask.feedback.is_none())
    );
    let told = done(&rules, &[few.clone(), few]);
    assert_eq!((told.verdict, told.level, told.risk), (Verdict::TooFew, None, None));
    assert_eq!((told.answered, told.needed), (3, 4));
    let nobody = outcome(&ten(json!({})), &[Vec::new()]).unwrap();
    assert_eq!((nobody.verdict, nobody.needed), (Verdict::TooFew, 1));
}

#[test]
fn epsilon_and_thresholds_are_reached_exactly() {
    let rules = |epsilon: f64| -> Rules { read(json!({"scale": {"min": 0, "max": 1, "epsilon": epsilon}})) };
    // In doubles 0.4 - 0.3 is more than 0.1.
    assert!(matches!(then(&rules(0.1), &[round(&[0.3, 0.4])]), Next::Done(_)));
    assert!(matches!(then(&rules(0.0999), &[round(&[0.3, 0.4])]), Next::Ask(_)));
    assert!(matches!(then(&rules(0.0), &[round(&[0.3, 0.3])]), Next::Done(_)));
    for (value, level) in [
        (0.2499, Level::Low),
        (0.25, Level::Medium),
        (0.5, Level::High),
        (0.75, Level::Critical),
        (1.0, Level::Critical),
    ] {
        assert_eq!(done(&rules(0.1), &[round(&[value])]).level, Some(level), "{value}");
    }
    let named = ten(json!({"thresholds": {"medium": 1, "high": 1, "critical": 9}}));
    assert_eq!(done(&named, &[round(&[1.0])]).level, Some(Level::High));
}

#[test]
fn likelihood_and_impact_are_multiplied() {
    let rules: Rules = read(json!({
        "scale": {"min": 0, "max": 1, "epsilon": 0.2},
        "impact": {"min": 0, "max": 5, "epsilon": 1},
        "thresholds": {"medium": 0.3, "high": 1, "critical": 3},
        "rounds_max": 1, "faults": 1, "centre": "mean",
    }));
    let answers = json!([
        {"participant": "a", "value": 0.1, "impact": 5},
        {"participant": "b", "value": 0.1, "impact": 3},
        {"participant": "c", "value": 0.1, "impact": 3},
        {"participant": "liar", "value": 1, "impact": 0, "rationale": "trust me"},
    ]);
    let told = done(&rules, &[answers]);
    assert_eq!((told.value.unwrap().result, told.impact.unwrap().result), (0.1, 3.0));
    // In doubles 0.1 times 3 is more than 0.3; it is exactly 0.3 here.
    assert_eq!((told.risk, told.level, told.verdict), (Some(0.3), Some(Level::Medium), Verdict::Converged));
    let who: Vec<(&str, f64, Option<f64>)> =
        told.dissent.iter().map(|d| (d.participant.as_str(), d.beyond, d.impact_beyond)).collect();
    assert_eq!(who, [("a", 0.0, Some(2.0)), ("liar", 0.9, Some(3.0))]);
}

#[test]
fn what_is_no_estimate_is_refused() {
    let check = |rules: Value, rounds: Value, field: &str, words: &str| {
        check_refused(next(&read(rules), &read::<Vec<Vec<Estimate>>>(rounds)), field, words);
    };
    let unit = || json!({"scale": {"min": 0, "max": 1, "epsilon": 0.1}});
    let with = |key: &str, value: Value| {
        let mut rules = unit();
        rules[key] = value;
        rules
    };
    check(json!({"scale": {"min": 1, "max": 1, "epsilon": 0}}), json!([]), "/rules/scale/max", "empty");
    check(
        json!({"scale": {"min": 0, "max": 1, "epsilon": -1}}),
        json!([]),
        "/rules/scale/epsilon",
        "between 0",
    );
    check(with("rounds_max", json!(0)), json!([]), "/rules/rounds_max", "between 1 and 20");
    check(with("faults", json!(334)), json!([]), "/rules/faults", "at most 333");
    let below = json!({"min": -1, "max": 1, "epsilon": 0});
    check(with("impact", below), json!([]), "/rules/impact/min", "0 or above");
    let levels = json!({"medium": 0.5, "high": 0.4, "critical": 0.9});
    check(with("thresholds", levels), json!([]), "/rules/thresholds/high", "ascend");
    check(unit(), json!([[], [], [], []]), "/rounds", "the rules allow 3");
    check(unit(), json!([round(&vec![0.5; 1_001])]), "/rounds/0", "at most 1000");
    check(unit(), json!([round(&[0.5, 1.1])]), "/rounds/0/1/value", "between 0 and 1");
    let twice = json!([[{"participant": "a", "value": 0}, {"participant": "a", "value": 1}]]);
    check(unit(), twice, "/rounds/0/1/participant", "twice");
    check(
        unit(),
        json!([[{"participant": "a", "value": 0, "impact": 1}]]),
        "/rounds/0/0/impact",
        "leave it out",
    );
    let scale = json!({"min": 0, "max": 1, "epsilon": 0});
    check(
        with("impact", scale),
        json!([[{"participant": "a", "value": 0}]]),
        "/rounds/0/0/impact",
        "missing",
    );
    check(
        unit(),
        json!([[{"participant": "a", "value": 0, "confidence": 2}]]),
        "/rounds/0/0/confidence",
        "between 0 and 1",
    );
    let long = "x".repeat(1_001);
    check(
        unit(),
        json!([[{"participant": "a", "value": 0, "rationale": long}]]),
        "/rounds/0/0/rationale",
        "at most 1000",
    );
    let nan = Estimate { participant: "a".into(), value: f64::NAN, ..Estimate::default() };
    check_refused(next(&read(unit()), &[vec![nan]]), "/rounds/0/0/value", "between 0 and 1");
    assert_eq!(summary(&[f64::NAN], 0), None);
    assert_eq!(summary(&[1.0, 2.0, 3.0], 1), None);
}

#[test]
fn feedback_shows_no_names_and_not_everything() {
    let each: Vec<Value> = (0..200)
        .map(|i| json!({"participant": format!("secret{i}"), "value": f64::from(i % 11), "rationale": format!("because {i}")}))
        .collect();
    let Next::Ask(ask) = then(&ten(json!({})), &[json!(each)]) else { panic!("not settled") };
    let text = serde_json::to_string(&ask).unwrap();
    assert!(!text.contains("secret"));
    assert_eq!(ask.feedback.unwrap().rationales.len(), 50);
}

proptest! {
    #[test]
    fn up_to_f_liars_do_not_matter(
        honest in vec(0.0..10.0_f64, 1..40),
        lies in vec(prop_oneof![Just(0.0), Just(10.0), 0.0..10.0_f64], 0..20),
        is_mean in any::<bool>(),
    ) {
        // n > 3f, for n = honest + f.
        let faults = lies.len().min((honest.len() - 1) / 2);
        let all: Vec<f64> = lies[..faults].iter().chain(&honest).copied().collect();
        let centre = if is_mean { "mean" } else { "median" };
        let rules = ten(json!({"faults": faults, "rounds_max": 1, "centre": centre}));
        let told = done(&rules, &[round(&all)]);
        let least = honest.iter().copied().fold(f64::INFINITY, f64::min);
        let greatest = honest.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let assessed = told.value.unwrap();
        for number in [assessed.result, assessed.summary.least, assessed.summary.lower_quartile,
            assessed.summary.upper_quartile, assessed.summary.greatest] {
            prop_assert!((least..=greatest).contains(&number), "{number} outside {least}..{greatest}");
        }
        // Who is honest and within what is left is told as dissenting only where far from the result.
        for dissent in &told.dissent {
            prop_assert!(dissent.beyond > 0.0 || dissent.from_result.abs() > 1.0);
        }
    }

    #[test]
    fn no_order_of_answers_matters((one, other) in vec(0.0..10.0_f64, 1..30).prop_flat_map(|v| {
        let each: Vec<Value> = v.iter().enumerate()
            .map(|(i, v)| json!({"participant": format!("p{i}"), "value": v, "rationale": format!("{}", i % 3)})).collect();
        (Just(each.clone()), Just(each).prop_shuffle())
    }), faults in 0..3_u32) {
        let rules = ten(json!({"faults": faults, "rounds_max": 2}));
        for rounds in 1..=2 {
            let (one, other) = (then(&rules, &vec![json!(one); rounds]), then(&rules, &vec![json!(other); rounds]));
            prop_assert_eq!(serde_json::to_string(&one).unwrap(), serde_json::to_string(&other).unwrap());
        }
    }
}
