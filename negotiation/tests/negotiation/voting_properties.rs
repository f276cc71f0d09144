//! What holds of every vote.

#![allow(clippy::unwrap_used)] // a test's way to fail

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::json;
use std::collections::BTreeMap;
use synod_negotiation::voting::{
    Ballot, Base, Counting, Elimination, Grades, Method, Outcome, Outstanding, Pairwise, Profile, Quorum,
    Roll, Rules, Strength, Support, Threshold, Ties, Truncated, Voter, approval, borda, first_places,
    outcome, schulze_paths, settled, undefeated,
};
use synod_protocol::Exact;

type Ranked = Vec<(Vec<usize>, i128)>;

fn name(candidate: usize) -> String {
    format!("c{candidate}")
}

fn methods() -> Vec<Method> {
    let runoff = |elimination| Method::InstantRunoff { elimination };
    vec![
        Method::Plurality,
        Method::Approval,
        Method::Score { min: Exact::zero(), max: 5_i64.into(), grades: Grades::Sum },
        Method::Score { min: Exact::zero(), max: 5_i64.into(), grades: Grades::Mean },
        Method::Borda { truncated: Truncated::Domination },
        Method::Borda { truncated: Truncated::Symmetric },
        runoff(Elimination::Simultaneous),
        runoff(Elimination::LowestIndexOutFirst),
        runoff(Elimination::HighestIndexOutFirst),
        runoff(Elimination::ParallelUniverses),
        Method::Condorcet,
        Method::Copeland,
        Method::Schulze { strength: Strength::Margins },
        Method::Schulze { strength: Strength::WinningVotes },
    ]
}

/// The ballot of this method that says what the ranking says.
fn ballot(method: &Method, ranking: &[usize]) -> Ballot {
    let names: Vec<String> = ranking.iter().map(|&candidate| name(candidate)).collect();
    match method {
        Method::Approval => Ballot::Approved(names),
        Method::Score { .. } => {
            let scores = names.into_iter().zip((0..=5_i64).rev().map(Exact::from));
            Ballot::Scores(scores.collect::<BTreeMap<_, _>>())
        }
        _ => Ballot::Ranking(names),
    }
}

fn rules(m: usize, method: Method) -> Rules {
    let (support, quorum, veto, ties) = (Support::Any, None, Vec::new(), Ties::Fail);
    Rules { candidates: (0..m).map(name).collect(), method, support, quorum, veto, ties }
}

fn voters(method: &Method, ballots: &Ranked) -> Vec<Voter> {
    (ballots.iter().enumerate())
        .map(|(i, (ranking, weight))| Voter {
            participant: format!("p{i}"),
            weight: Exact::from(*weight as i64),
            ballot: Some(ballot(method, ranking)),
            veto: false,
        })
        .collect()
}

fn roll() -> Roll {
    Roll { entitled: 1_000_i64.into(), seed: Some("on record".into()) }
}

/// Some of so many candidates, best first.
fn ranking(m: usize) -> impl Strategy<Value = Vec<usize>> {
    subsequence((0..m).collect::<Vec<_>>(), 0..=m).prop_shuffle()
}

fn ballots(least: usize) -> impl Strategy<Value = (usize, Ranked)> {
    (1..=6_usize)
        .prop_flat_map(move |m| (Just(m), prop::collection::vec((ranking(m), 0..=4_i128), least..=9)))
}

fn method() -> impl Strategy<Value = Method> {
    select(methods())
}

/// What does not name voters or candidates' places: the outcome without its sentences.
fn bare(mut outcome: Outcome) -> Outcome {
    outcome.explanation.clear();
    outcome
}

/// Winners of the monotone methods, in the order of [`MONOTONE`].
fn monotone_winners(m: usize, ballots: &Ranked) -> Vec<Vec<usize>> {
    let profile = Profile::new(m, ballots.clone()).unwrap();
    let duels = Pairwise::count(&profile);
    let best = |scores: Vec<i128>| {
        let most = scores.iter().max().copied();
        (0..m).filter(|&c| Some(scores[c]) == most).collect::<Vec<_>>()
    };
    vec![
        best(first_places(&profile)),
        best(approval(m, ballots.iter().map(|(ranking, weight)| (ranking.as_slice(), *weight)))),
        best(borda(&profile, Truncated::Domination)),
        best(borda(&profile, Truncated::Symmetric)),
        duels.copeland_winners(),
        undefeated(&schulze_paths(&duels, Strength::Margins)),
        undefeated(&schulze_paths(&duels, Strength::WinningVotes)),
    ]
}

const MONOTONE: [&str; 7] =
    ["plurality", "approval", "borda", "borda symmetric", "copeland", "schulze", "schulze winning votes"];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_order_of_voters_does_not_matter((m, cast) in ballots(0), method in method(), turn in 0..9_usize) {
        let rules = rules(m, method);
        let mut voters = voters(&rules.method, &cast);
        let before = outcome(&rules, &voters, &roll()).unwrap();
        let turn = turn.min(voters.len());
        voters.rotate_left(turn);
        voters.reverse();
        let after = outcome(&rules, &voters, &roll()).unwrap();
        prop_assert_eq!(serde_json::to_vec(&before).unwrap(), serde_json::to_vec(&after).unwrap());
        let read: Outcome = serde_json::from_slice(&serde_json::to_vec(&after).unwrap()).unwrap();
        prop_assert_eq!(read, before);
    }

    /// Candidates in another order, and so under other names: the same win. One at a time goes by the order, so not that.
    #[test]
    fn no_candidate_is_special((m, cast) in ballots(0), method in method(), turn in 0..6_usize) {
        let by_order = matches!(&method, Method::InstantRunoff { elimination:
            Elimination::LowestIndexOutFirst | Elimination::HighestIndexOutFirst });
        prop_assume!(!by_order);
        let turned = |candidate: usize| (m - 1 - candidate + turn) % m;
        let renamed = cast.iter().map(|(ranking, w)| (ranking.iter().map(|&c| turned(c)).collect(), *w));
        let rules = rules(m, method);
        let before = outcome(&rules, &voters(&rules.method, &cast), &roll()).unwrap();
        let after = outcome(&rules, &voters(&rules.method, &renamed.collect()), &roll()).unwrap();
        let index = |names: &[String]| names.iter().map(|n| n[1..].parse().unwrap()).collect::<Vec<usize>>();
        let mut expected: Vec<usize> = index(&before.winners).into_iter().map(turned).collect();
        expected.sort_unstable();
        prop_assert_eq!(index(&after.winners), expected);
    }

    #[test]
    fn a_factor_on_all_weights_changes_nothing((m, cast) in ballots(0), method in method(), by in 1..50_i64, of in 1..50_i64) {
        let mut rules = rules(m, method);
        rules.support = Support::Threshold(Threshold { share: "1/2".parse().unwrap(), of: Base::Cast, strictly: true });
        let mut voters = voters(&rules.method, &cast);
        let before = outcome(&rules, &voters, &roll()).unwrap();
        let factor = Exact::ratio(by, of).unwrap();
        voters.iter_mut().for_each(|voter| voter.weight = &voter.weight * &factor);
        let roll = Roll { entitled: &roll().entitled * &factor, ..roll() };
        let after = outcome(&rules, &voters, &roll).unwrap();
        prop_assert_eq!((before.decided, before.reason, before.winners), (after.decided, after.reason, after.winners));
    }

    #[test]
    fn who_beats_all_is_elected((m, cast) in ballots(1)) {
        let duels = Pairwise::count(&Profile::new(m, cast).unwrap());
        if let Some(winner) = duels.condorcet_winner() {
            prop_assert_eq!(duels.copeland_winners(), [winner]);
            for strength in [Strength::Margins, Strength::WinningVotes] {
                prop_assert_eq!(undefeated(&schulze_paths(&duels, strength)), [winner]);
            }
            prop_assert_eq!(duels.weak_condorcet_winners(), [winner]);
        }
    }

    /// A winner that one ballot holds higher than before still wins.
    #[test]
    fn more_support_never_harms((m, cast) in ballots(1), which in 0..9_usize) {
        let which = which % cast.len();
        for (rule, winners) in monotone_winners(m, &cast).into_iter().enumerate() {
            for winner in winners {
                let mut raised = cast.clone();
                let ranking = &mut raised[which].0;
                match ranking.iter().position(|&c| c == winner) {
                    Some(0) => continue,
                    Some(place) => ranking.swap(place, place - 1),
                    None => ranking.push(winner),
                }
                let after = monotone_winners(m, &raised);
                prop_assert!(after[rule].contains(&winner), "{} {}", MONOTONE[rule], winner);
            }
        }
    }

    #[test]
    fn the_favourite_of_all_wins((m, cast) in ballots(1), method in method(), favourite in 0..6_usize) {
        let favourite = favourite % m;
        let mut cast = cast;
        for (ranking, weight) in &mut cast {
            ranking.retain(|&c| c != favourite);
            ranking.insert(0, favourite);
            *weight += 1;
            if matches!(method, Method::Approval) {
                ranking.truncate(1);
            }
        }
        let mut rules = rules(m, method);
        rules.support = Support::Unanimity(Base::Cast);
        let outcome = outcome(&rules, &voters(&rules.method, &cast), &roll()).unwrap();
        // A mean may be equalled by one whom few scored, and only by one scored as high: here nobody is.
        prop_assert_eq!(outcome.decided, Some(name(favourite)));
    }
}

/// Silence, or a ballot or none, and a veto.
type Answer = Option<(Option<Vec<usize>>, bool)>;

/// A vote that is under way: its rules, who was heard, who is outstanding, and what these may say.
#[derive(Clone, Debug)]
struct UnderWay {
    rules: Rules,
    heard: Vec<Voter>,
    outstanding: Vec<Outstanding>,
    roll: Roll,
    /// Of each completion, the answers of those outstanding.
    completions: Vec<Vec<Answer>>,
}

fn support() -> impl Strategy<Value = Support> {
    let base = || select(vec![Base::Cast, Base::Present, Base::Entitled]);
    let share = select(vec!["1/2", "2/3", "1/3", "0.9"]);
    let threshold = (share, base(), any::<bool>()).prop_map(|(share, of, strictly)| {
        Support::Threshold(Threshold { share: share.parse().unwrap(), of, strictly })
    });
    prop_oneof![2 => Just(Support::Any), 3 => threshold, 1 => base().prop_map(Support::Unanimity)]
}

fn quorum() -> impl Strategy<Value = Option<Quorum>> {
    let counting = || select(vec![Counting::Cast, Counting::Present]);
    let voters =
        (1..6_u32, counting()).prop_map(|(at_least, counting)| Quorum::Voters { at_least, counting });
    let share = (select(vec!["1/2", "2/3", "1/5"]), counting())
        .prop_map(|(share, counting)| Quorum::Share { at_least: share.parse().unwrap(), counting });
    prop_oneof![4 => Just(None), 1 => voters.prop_map(Some), 1 => share.prop_map(Some)]
}

fn under_way() -> impl Strategy<Value = UnderWay> {
    let ties = select(vec![
        Ties::Order,
        Ties::Seed,
        Ties::Fail,
        Ties::Chair("p0".into()),
        Ties::Chair("q0".into()),
        Ties::Chair("nobody".into()),
    ]);
    let vetoes = select(vec![vec![], vec![], vec![], vec!["p1"], vec!["q1"]]);
    let set = (select(methods()[..2].to_vec()), support(), quorum(), vetoes, ties, 0..3_i64);
    (set, 1..=4_usize).prop_flat_map(|((method, support, quorum, vetoes, ties, silent), m)| {
        let said = move || prop::option::weighted(0.8, ranking(m));
        let heard = prop::collection::vec((0..=5_i64, said(), prop::bool::weighted(0.05)), 0..=6);
        let weights = prop::collection::vec(0..=2_i64, 1..=3);
        let answer = prop::option::weighted(0.8, (said(), prop::bool::weighted(0.1)));
        let completions = prop::collection::vec(prop::collection::vec(answer, 3), 30);
        let veto: Vec<String> = vetoes.iter().map(ToString::to_string).collect();
        let rules = Rules { support, quorum, veto, ties, ..rules(m, method) };
        (heard, weights, completions).prop_map(move |(heard, weights, completions)| {
            let voter = |(i, (weight, said, veto)): (usize, (i64, Option<Vec<usize>>, bool))| {
                let participant = format!("p{i}");
                let veto = veto && rules.veto.contains(&participant);
                let ballot = said.map(|ranking| ballot(&rules.method, &ranking));
                Voter { participant, weight: weight.into(), ballot, veto }
            };
            let heard: Vec<Voter> = heard.into_iter().enumerate().map(voter).collect();
            let outstanding: Vec<Outstanding> = (weights.iter().enumerate())
                .map(|(i, weight)| Outstanding { participant: format!("q{i}"), weight: (*weight).into() })
                .collect();
            let sum: Exact =
                heard.iter().map(|v| &v.weight).chain(outstanding.iter().map(|v| &v.weight)).sum();
            let roll = Roll { entitled: sum + silent.into(), ..roll() };
            UnderWay { rules: rules.clone(), heard, outstanding, roll, completions }
        })
    })
}

impl UnderWay {
    fn decided(&self, answers: &[Answer]) -> Option<String> {
        let mut voters = self.heard.clone();
        for (one, answer) in self.outstanding.iter().zip(answers) {
            let Some((said, veto)) = answer else { continue };
            voters.push(Voter {
                participant: one.participant.clone(),
                weight: one.weight.clone(),
                ballot: said.as_ref().map(|ranking| ballot(&self.rules.method, ranking)),
                veto: *veto && self.rules.veto.contains(&one.participant),
            });
        }
        outcome(&self.rules, &voters, &self.roll).unwrap().decided
    }

    /// What is decided where all are silent, abstain, cast nothing, stop it, or say the same candidate.
    fn extremes(&self) -> Vec<Option<String>> {
        let all = |answer: Answer| self.decided(&vec![answer; 3]);
        let m = self.rules.candidates.len();
        let mut extremes = vec![all(None), all(Some((None, false))), all(Some((Some(vec![]), false)))];
        extremes.push(all(Some((None, true))));
        extremes.extend((0..m).map(|candidate| all(Some((Some(vec![candidate]), false)))));
        extremes
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    /// Settled: no completion decides otherwise. Not settled: some of the extreme ones do.
    #[test]
    fn settled_is_settled(vote in under_way()) {
        let is_settled = settled(&vote.rules, &vote.heard, &vote.outstanding, &vote.roll).unwrap();
        let now = vote.decided(&[]);
        let extremes = vote.extremes();
        if is_settled {
            for answers in &vote.completions {
                prop_assert_eq!(&vote.decided(answers), &now, "{:?}", answers);
            }
            prop_assert!(extremes.iter().all(|extreme| *extreme == now));
        } else {
            prop_assert!(extremes.iter().any(|extreme| *extreme != now));
        }
    }
}

#[test]
fn settled_of_other_methods_waits_for_all() {
    let heard = voters(&Method::Copeland, &vec![(vec![0, 1], 9)]);
    let outstanding = [Outstanding { participant: "q".into(), weight: 1_i64.into() }];
    for method in methods().split_off(2) {
        let mut rules = rules(2, method);
        let heard = voters(&rules.method, &vec![(vec![0, 1], 9)]);
        assert!(!settled(&rules, &heard, &outstanding, &roll()).unwrap());
        assert!(settled(&rules, &heard, &[], &roll()).unwrap());
        rules.quorum = Some(Quorum::Voters { at_least: 3, counting: Counting::Present });
        assert!(settled(&rules, &heard, &outstanding, &roll()).unwrap(), "two cannot be three");
        rules.quorum = None;
        rules.veto = vec!["p0".into()];
        let mut stopped = heard.clone();
        stopped[0].veto = true;
        assert!(settled(&rules, &stopped, &outstanding, &roll()).unwrap());
    }
    let again = [Outstanding { participant: "p0".into(), weight: 1_i64.into() }];
    let refused = settled(&rules(2, Method::Plurality), &heard, &again, &roll()).unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("/outstanding/0/participant"));
}

#[test]
fn a_winner_is_settled_when_he_cannot_be_caught() {
    let rules = Rules::consensus("1/2".parse().unwrap(), Base::Cast, true);
    let yes = |weight: i64| Voter {
        participant: "p".into(),
        weight: weight.into(),
        ballot: Some(Ballot::Choice("yes".into())),
        veto: false,
    };
    let outstanding = [Outstanding { participant: "q".into(), weight: 2_i64.into() }];
    let at = |weight| settled(&rules, &[yes(weight)], &outstanding, &roll()).unwrap();
    assert_eq!((at(2), at(3)), (false, true));
    let shown = json!(outcome(&rules, &[yes(3)], &roll()).map(bare).unwrap());
    assert_eq!(
        (&shown["decided"], &shown["support"], &shown["turnout"]["silent"]),
        (&json!("yes"), &json!(3), &json!(997))
    );
}
