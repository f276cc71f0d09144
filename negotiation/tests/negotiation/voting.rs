//! Votes beside pref_voting, abcvoting and published elections; what the largest cost.

#![allow(clippy::unwrap_used)] // a test's way to fail

use serde::Deserialize;
use serde_json::{Value, json};
use synod_negotiation::voting::{
    Elimination, Outcome, Pairwise, Profile, Roll, Rules, Strength, Voter, first_places, instant_runoff,
    outcome, schulze_paths, undefeated,
};

#[derive(Deserialize)]
struct Vectors {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    m: usize,
    ballots: Vec<(Vec<usize>, i64)>,
    #[serde(default)]
    margins: Option<Vec<Vec<i64>>>,
    result: Value,
}

/// The names of so many candidates; they sort otherwise than they stand.
fn names(m: usize) -> Vec<String> {
    (0..m).map(|i| format!("c{}", (i + 3) % m)).collect()
}

impl Case {
    /// The outcome by this method.
    fn by(&self, method: &Value, kind: &str) -> Outcome {
        let names = names(self.m);
        let rules = json!({ "candidates": names, "method": method });
        let voters: Vec<Voter> = (self.ballots.iter().enumerate())
            .map(|(i, (ballot, weight))| {
                let ballot: Vec<&String> = ballot.iter().map(|&c| &names[c]).collect();
                let voter =
                    json!({ "participant": format!("v{i}"), "weight": weight, "ballot": { kind: ballot } });
                serde_json::from_value(voter).unwrap()
            })
            .collect();
        let entitled: i64 = self.ballots.iter().map(|(_, weight)| weight).sum();
        decide(&rules, &voters, &json!({ "entitled": entitled }))
    }

    /// The winners by index.
    fn winners(&self, outcome: &Outcome) -> Value {
        let names = names(self.m);
        json!(outcome.winners.iter().map(|w| names.iter().position(|n| n == w)).collect::<Vec<_>>())
    }

    fn check(&self, method: &Value, kind: &str, expected: &Value, at: &str) {
        let outcome = self.by(method, kind);
        let got = self.winners(&outcome);
        let (winners, scores) = match expected {
            Value::Object(both) => {
                (&both["winners"], both.get("scores").or(both.get("scores_win_minus_loss")))
            }
            winners => (winners, None),
        };
        assert_eq!(&got, winners, "{} {at}", self.name);
        if let Some(scores) = scores {
            let got: Vec<_> = outcome.tally.scores.iter().map(|score| &score.score).collect();
            assert_eq!(&json!(got), scores, "{} {at}", self.name);
        }
        if let (Some(margins), false) = (&self.margins, outcome.tally.margins.is_empty()) {
            assert_eq!(json!(outcome.tally.margins), json!(margins), "{}", self.name);
        }
    }

    fn check_all(&self) {
        if self.kind == "approval" {
            return self.check(&json!("approval"), "approved", &self.result, "approval");
        }
        for (at, expected) in self.result.as_object().unwrap() {
            let method = match at.as_str() {
                "plurality" | "copeland" => json!(at),
                "borda" => json!({ "borda": {} }),
                "borda_symmetric" => json!({ "borda": { "truncated": "symmetric" } }),
                "borda_domination" => json!({ "borda": { "truncated": "domination" } }),
                "irv_simultaneous" => json!({ "instant_runoff": { "elimination": "simultaneous" } }),
                "irv_put" => json!({ "instant_runoff": { "elimination": "parallel_universes" } }),
                "irv_tb_low_index_out_first" => {
                    json!({ "instant_runoff": { "elimination": "lowest_index_out_first" } })
                }
                "irv_tb_high_index_out_first" => {
                    json!({ "instant_runoff": { "elimination": "highest_index_out_first" } })
                }
                "schulze_margins" => json!({ "schulze": { "strength": "margins" } }),
                "schulze_winning_votes" => json!({ "schulze": { "strength": "winning_votes" } }),
                "condorcet_winner" => {
                    let winner = if expected.is_null() { json!([]) } else { json!([expected]) };
                    self.check(&json!("condorcet"), "ranking", &winner, at);
                    continue;
                }
                "weak_condorcet_winners" => {
                    let outcome = self.by(&json!("condorcet"), "ranking");
                    let names = names(self.m);
                    let weak = &outcome.tally.weak_condorcet_winners;
                    let weak: Vec<_> = weak.iter().map(|w| names.iter().position(|n| n == w)).collect();
                    assert_eq!(&json!(weak), expected, "{} {at}", self.name);
                    continue;
                }
                other => panic!("{other} is no method of ours"),
            };
            self.check(&method, "ranking", expected, at);
        }
    }
}

pub(crate) fn decide(rules: &Value, voters: &[Voter], roll: &Value) -> Outcome {
    let rules: Rules = serde_json::from_value(rules.clone()).unwrap();
    let roll: Roll = serde_json::from_value(roll.clone()).unwrap();
    outcome(&rules, voters, &roll).unwrap()
}

/// Voters as they are written.
pub(crate) fn voters(voters: Value) -> Vec<Voter> {
    serde_json::from_value(voters).unwrap()
}

#[test]
fn as_pref_voting_and_abcvoting_count() {
    let vectors: Vectors = serde_json::from_str(include_str!("../vectors/voting.json")).unwrap();
    assert!(vectors.cases.len() >= 45);
    vectors.cases.iter().for_each(Case::check_all);
}

/// `ABCDE` is a ranking; the weights are counts.
fn ranked(m: usize, ballots: &[(&str, i128)]) -> Profile {
    let ballots = ballots.iter().map(|(ranking, weight)| {
        (ranking.bytes().map(|letter| usize::from(letter - b'A')).collect::<Vec<_>>(), *weight)
    });
    Profile::new(m, ballots).unwrap()
}

/// Schulze 2011, section 3.1 in the numbers of 45 voters: the paths are published, E wins.
#[test]
fn the_example_of_schulze() {
    let profile = ranked(
        5,
        &[
            ("ACBED", 5),
            ("ADECB", 5),
            ("BEDAC", 8),
            ("CABED", 3),
            ("CAEBD", 7),
            ("CBADE", 2),
            ("DCEBA", 7),
            ("EBADC", 8),
        ],
    );
    let paths = schulze_paths(&Pairwise::count(&profile), Strength::WinningVotes);
    let published = [
        vec![0, 28, 28, 30, 24],
        vec![25, 0, 28, 33, 24],
        vec![25, 29, 0, 29, 24],
        vec![25, 28, 28, 0, 24],
        vec![25, 28, 28, 31, 0],
    ];
    assert_eq!(paths, published);
    assert_eq!(undefeated(&paths), [4]);
}

/// The Tennessee example of many textbooks: four methods, two winners, and the favourite of plurality is last of the duels.
#[test]
fn the_capital_of_tennessee() {
    let profile = ranked(4, &[("ABCD", 42), ("BCDA", 26), ("CDBA", 15), ("DCBA", 17)]);
    let runoff = instant_runoff(&profile, Elimination::Simultaneous).unwrap();
    let eliminated: Vec<_> = runoff.rounds.iter().map(|round| round.eliminated.as_slice()).collect();
    assert_eq!(eliminated, [&[2][..], &[1], &[]]);
    assert_eq!((runoff.winners.as_slice(), first_places(&profile)), (&[3][..], vec![42, 26, 15, 17]));
    assert_eq!(Pairwise::count(&profile).condorcet_winner(), Some(1));
}

/// The run-off for mayor of Burlington, Vermont, 2009 (Kiss, Montroll, Wright; truncated ballots as published by
/// electology): Montroll beats both others in duels and Kiss is elected.
#[test]
fn the_mayor_of_burlington() {
    let profile = ranked(
        3,
        &[
            ("BAC", 1332),
            ("BCA", 767),
            ("B", 455),
            ("ABC", 2043),
            ("ACB", 371),
            ("A", 568),
            ("CBA", 1513),
            ("CAB", 495),
            ("C", 1289),
        ],
    );
    let runoff = instant_runoff(&profile, Elimination::Simultaneous).unwrap();
    assert_eq!(
        (runoff.winners.as_slice(), runoff.rounds.len()),
        (&[0][..], 2),
        "a majority of the live ballots"
    );
    assert_eq!(runoff.rounds[1].votes, [(0, 4314), (2, 4064)]);
    assert_eq!(runoff.rounds[1].exhausted, 455);
    let duels = Pairwise::count(&profile);
    assert_eq!(duels.condorcet_winner(), Some(1));
    assert_eq!((duels.above(1, 0), duels.above(0, 1)), (4067, 3477));
}

/// 10,000 different ballots over 20 candidates; what is printed is the goal's measurement.
#[test]
fn schulze_goal() {
    let mut state = 1_u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let mut ballots = Vec::new();
    for _ in 0..10_000 {
        let mut ranking: Vec<usize> = (0..20).collect();
        (1..20).rev().for_each(|i| ranking.swap(i, next(i + 1)));
        ballots.push((ranking, 1));
    }
    #[expect(clippy::disallowed_methods, reason = "a measurement")]
    let begun = std::time::Instant::now();
    let profile = Profile::new(20, ballots).unwrap();
    let duels = Pairwise::count(&profile);
    let winners = undefeated(&schulze_paths(&duels, Strength::WinningVotes));
    println!("schulze, 10,000 ballots over 20 candidates: {:?}", begun.elapsed());
    assert!(!winners.is_empty());
    assert!(winners.iter().all(|&w| w < 20) && duels.condorcet_winner().is_none_or(|c| winners == [c]));
}

/// The largest vote there is, with weights as floats are written: by every method, and what is printed is what it costs.
#[test]
fn the_largest_vote_is_counted() {
    let names: Vec<String> = (0..100).map(|i| format!("candidate {i}")).collect();
    let ranking =
        |voter: usize| (0..100).map(|place| &names[(voter * 37 + place * 31) % 100]).collect::<Vec<_>>();
    let cast: Vec<_> = (0..1_000)
        .map(|i| {
            let weight = 0.123_456_789_012_345_68 * f64::from(i);
            json!({ "participant": i.to_string(), "weight": weight, "ballot": { "ranking": ranking(i as usize) } })
        })
        .collect();
    let cast = voters(json!(cast));
    for method in [
        json!("plurality"),
        json!({ "borda": { "truncated": "symmetric" } }),
        json!({ "instant_runoff": { "elimination": "lowest_index_out_first" } }),
        json!("copeland"),
        json!({ "schulze": {} }),
    ] {
        let rules = json!({ "candidates": names, "method": method, "ties": "order" });
        #[expect(clippy::disallowed_methods, reason = "a measurement")]
        let begun = std::time::Instant::now();
        let outcome = decide(&rules, &cast, &json!({ "entitled": 1_000_000 }));
        println!("{method}: {:?}", begun.elapsed());
        assert!(outcome.decided.is_some());
    }
}
