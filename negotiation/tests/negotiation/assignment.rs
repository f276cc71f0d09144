//! Assignments: reference cases, brute force, what holds for any, and what is refused.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Instant;
use synod_negotiation::assignment::{self, Assigned, assign};
use synod_protocol::{Code, Exact};

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<T> {
    read(value)
}

type Costs = Vec<Vec<Option<Exact>>>;

fn costs(of: &[Vec<Option<i64>>]) -> Costs {
    of.iter().map(|row| row.iter().map(|cost| cost.map(Exact::from)).collect()).collect()
}

#[test]
fn the_reference_cases() {
    let file: Value = serde_json::from_str(include_str!("../vectors/assignment.json")).unwrap();
    for case in file["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == "assignment") {
        let costs: Costs = read(&case["cost"]);
        let assigned = assign(&costs, &vec![1; costs.len()], case["maximize"].as_bool().unwrap()).unwrap();
        let name = &case["name"];
        assert_eq!(json!(assigned.feasible), case["feasible"], "{name}");
        let optimum = if assigned.feasible { &case["optimum"] } else { &case["optimum_at_max_pairs"] };
        assert_eq!(assigned.total, read::<Exact>(optimum), "{name}");
        let mut pairs: Vec<(usize, usize)> = assigned
            .agent_of
            .iter()
            .enumerate()
            .filter_map(|(task, agent)| Some(((*agent)?, task)))
            .collect();
        pairs.sort_unstable();
        if case["unique"] == true {
            assert_eq!(json!(pairs), case["one_assignment"], "{name}");
        }
        if !assigned.feasible {
            assert_eq!(json!(pairs.len()), case["max_pairs"], "{name}");
        }
    }
}

/// The example in the documentation of scipy's `linear_sum_assignment`, with names, and one agent that takes two tasks.
#[test]
fn by_names() {
    let rules = |capacity: u32| {
        json!({"tasks": ["t0", "t1", "t2"],
            "agents": [{"name": "a0", "capacity": capacity}, {"name": "a1"}, {"name": "a2"}]})
    };
    let said = |agent: &str, costs: [Value; 3]| {
        let costs: Vec<Value> = costs
            .iter()
            .enumerate()
            .map(|(t, cost)| json!({"task": format!("t{t}"), "cost": cost}))
            .collect();
        json!({"agent": agent, "costs": costs})
    };
    let all = json!([
        said("a2", [json!(3), json!(2), json!(2)]),
        said("a0", [json!(4), json!(1), json!(3)]),
        said("a1", [json!(2), json!(0), json!(5)])
    ]);
    let outcome = assignment::outcome(&read(&rules(1)), &list(&all)).unwrap();
    let pairs: Vec<_> = outcome.pairs.iter().map(|p| (p.task.as_str(), p.agent.as_str())).collect();
    assert_eq!(pairs, [("t0", "a1"), ("t1", "a0"), ("t2", "a2")]);
    assert_eq!((json!(outcome.total), outcome.feasible), (json!(5), true));

    let two = json!([said("a0", [json!(-1), json!(0), json!(null)]), {"agent": "a2", "costs": []}]);
    let outcome = assignment::outcome(&read(&rules(2)), &list(&two)).unwrap();
    assert_eq!(outcome.unassigned, ["t2"]);
    assert_eq!((json!(outcome.total), outcome.feasible), (json!(-1), false));
    assert!(outcome.explanation[1].starts_with("More pairs cannot be"));
}

#[test]
fn what_is_no_assignment_is_refused() {
    let agents = json!([{"name": "a"}, {"name": "b"}]);
    let said = |cost: Value| json!([{"agent": "a", "costs": [{"task": "t", "cost": cost}]}]);
    let many: Vec<String> = (0..1_000).map(|n| n.to_string()).collect();
    let crowd: Vec<Value> = (0..251).map(|n| json!({"name": n.to_string()})).collect();
    let twice = json!([{"agent": "a", "costs": [{"task": "t", "cost": 1}, {"task": "t", "cost": 1}]}]);
    for (tasks, agents, inputs, field) in [
        (json!([]), agents.clone(), json!([]), "/rules/tasks"),
        (json!(["t", "t"]), agents.clone(), json!([]), "/rules/tasks/1"),
        (json!(many), json!(crowd), json!([]), "/rules/tasks"),
        (json!(["t"]), json!([]), json!([]), "/rules/agents"),
        (json!(["t"]), json!([{"name": "a", "capacity": 1_001}]), json!([]), "/rules/agents/0/capacity"),
        (json!(["t"]), agents.clone(), json!([{"agent": "c", "costs": []}]), "/inputs/0/agent"),
        (json!(["u"]), agents.clone(), said(json!(1)), "/inputs/0/costs/0/task"),
        (json!(["t"]), agents.clone(), said(json!("1e60")), "/inputs/0/costs/0/cost"),
        (json!(["t"]), agents, twice, "/inputs/0/costs/1/task"),
    ] {
        let rules = json!({"tasks": tasks, "agents": agents});
        let refused = assignment::outcome(&read(&rules), &list(&inputs)).unwrap_err();
        assert_eq!(
            (refused.code, refused.field.as_deref()),
            (Code::InvalidArgument, Some(field)),
            "{}",
            refused.message
        );
    }
    let far = vec![vec!["1e35".parse().ok(), "1/1000000007".parse().ok()]];
    assert_eq!(assign(&far, &[1], false).unwrap_err().field.as_deref(), Some("/inputs"));
    assert_eq!(assign(&far, &[], false).unwrap_err().field.as_deref(), Some("/costs"));
}

/// As many pairs as can be, then the least sum, then the first by agent of the first task, of the second, …, nobody last.
fn brute(costs: &[Vec<Option<i64>>], places: &[u32]) -> (usize, i64, Vec<usize>) {
    fn go(
        costs: &[Vec<Option<i64>>],
        left: &mut [u32],
        so_far: &mut Vec<usize>,
        sum: i64,
        best: &mut Option<(usize, i64, Vec<usize>)>,
    ) {
        let tasks = costs.first().map_or(0, Vec::len);
        if so_far.len() == tasks {
            let nobody = so_far.iter().filter(|&&agent| agent == costs.len()).count();
            let this = (nobody, sum, so_far.clone());
            if best.as_ref().is_none_or(|best| this < *best) {
                *best = Some(this);
            }
            return;
        }
        for agent in 0..=costs.len() {
            let cost = match costs.get(agent) {
                None => 0,
                Some(row) => match row[so_far.len()].filter(|_| left[agent] > 0) {
                    Some(cost) => cost,
                    None => continue,
                },
            };
            if agent < costs.len() {
                left[agent] -= 1;
            }
            so_far.push(agent);
            go(costs, left, so_far, sum + cost, best);
            so_far.pop();
            if agent < costs.len() {
                left[agent] += 1;
            }
        }
    }
    let mut best = None;
    go(costs, &mut places.to_vec(), &mut Vec::new(), 0, &mut best);
    best.unwrap()
}

fn total(assigned: &Assigned) -> (usize, Exact) {
    (assigned.agent_of.iter().flatten().count(), assigned.total.clone())
}

prop_compose! {
    fn problem(spread: i64, most: usize)(agents in 1..=most, tasks in 1..=most)(
        costs in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.8, -spread..=spread), tasks), agents),
        places in prop::collection::vec(0_u32..4, agents),
    ) -> (Vec<Vec<Option<i64>>>, Vec<u32>) {
        (costs, places)
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn is_what_brute_force_finds((of, places) in problem(3, 5), maximize in any::<bool>()) {
        let signed: Vec<Vec<Option<i64>>> =
            of.iter().map(|row| row.iter().map(|c| c.map(|c| if maximize { -c } else { c })).collect()).collect();
        let ones = vec![1; of.len()];
        for places in [places, ones] {
            let (nobody, sum, first) = brute(&signed, &places);
            let assigned = assign(&costs(&of), &places, maximize).unwrap();
            let found: Vec<usize> = assigned.agent_of.iter().map(|agent| agent.unwrap_or(of.len())).collect();
            prop_assert_eq!(found, first, "the first of the best");
            prop_assert_eq!(assigned.total, Exact::from(if maximize { -sum } else { sum }));
            let most = (places.iter().sum::<u32>() as usize).min(of[0].len());
            prop_assert_eq!(assigned.feasible, of[0].len() - nobody == most);
        }
    }

    #[test]
    fn six_by_six_is_what_brute_force_finds(of in prop::collection::vec(prop::collection::vec(prop::option::weighted(0.9, 0_i64..50), 6), 6)) {
        let (nobody, sum, _) = brute(&of, &[1; 6]);
        prop_assert_eq!(total(&assign(&costs(&of), &[1; 6], false).unwrap()), (6 - nobody, Exact::from(sum)));
    }

    #[test]
    fn agents_may_change_places((of, places) in problem(1_000, 6), turn in 0_usize..6) {
        // Different pairs come to different sums, so that there is one best assignment.
        let unequal: Vec<Vec<Option<i64>>> = of.iter().enumerate().map(|(a, row)| row.iter().enumerate()
            .map(|(t, cost)| cost.map(|cost| (cost << 40) + (1 << (a * 6 + t)))).collect()).collect();
        let turn = turn % of.len();
        let (mut turned, mut turned_places) = (unequal.clone(), places.clone());
        turned.rotate_left(turn);
        turned_places.rotate_left(turn);
        let one = assign(&costs(&unequal), &places, false).unwrap();
        let other = assign(&costs(&turned), &turned_places, false).unwrap();
        let back: Vec<Option<usize>> = other.agent_of.iter().map(|agent| agent.map(|a| (a + turn) % of.len())).collect();
        prop_assert_eq!(&one.agent_of, &back);
        prop_assert_eq!(total(&one), total(&other));
    }

    #[test]
    fn a_constant_on_a_row_changes_nothing(
        of in prop::collection::vec(prop::collection::vec((0_i64..9).prop_map(Some), 7), 7),
        row in 0_usize..7,
        more in -1_000_000_i64..1_000_000,
    ) {
        let mut raised = of.clone();
        raised[row].iter_mut().for_each(|cost| *cost = cost.map(|c| c + more));
        let (one, other) = (assign(&costs(&of), &[1; 7], false).unwrap(), assign(&costs(&raised), &[1; 7], false).unwrap());
        prop_assert_eq!(one.agent_of, other.agent_of);
        prop_assert_eq!(one.total + Exact::from(more), other.total);
    }

    #[test]
    fn fractions_are_exact((of, places) in problem(40, 6)) {
        let third = Exact::ratio(1, 3).unwrap();
        let parts: Costs = costs(&of).into_iter().map(|row| row.into_iter().map(|c| c.map(|c| &c * &third)).collect()).collect();
        let (one, other) = (assign(&costs(&of), &places, false).unwrap(), assign(&parts, &places, false).unwrap());
        prop_assert_eq!(one.agent_of, other.agent_of);
        prop_assert_eq!(&one.total * &third, other.total);
    }
}

/// 200 agents and 200 tasks: printed, not asserted.
#[test]
fn goal_of_assignment() {
    let mut state = 1_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for (name, below) in
        [("1 to 1,000,000", 1_000_000), ("1 to 1,000", 1_000), ("1 to 10", 10), ("all equal", 1)]
    {
        let of: Costs =
            (0..200).map(|_| (0..200).map(|_| Some(Exact::from(1 + random(below)))).collect()).collect();
        let mut best = f64::MAX;
        for _ in 0..3 {
            #[expect(clippy::disallowed_methods, reason = "what is measured is time")]
            let begun = Instant::now();
            let assigned = assign(&of, &[1; 200], false).unwrap();
            best = best.min(begun.elapsed().as_secs_f64());
            assert!(assigned.feasible);
        }
        println!("assignment, 200 x 200, costs {name}: {:.2} ms", best * 1e3);
    }
    let of: Costs =
        (0..200_i64).map(|a| (0..200_i64).map(|t| Some(Exact::from((a + 1) * (t + 1)))).collect()).collect();
    #[expect(clippy::disallowed_methods, reason = "what is measured is time")]
    let begun = Instant::now();
    let assigned = assign(&of, &[1; 200], false).unwrap();
    println!("assignment, 200 x 200, costs (a+1)(t+1): {:.2} ms", begun.elapsed().as_secs_f64() * 1e3);
    assert!(assigned.agent_of.iter().enumerate().all(|(task, agent)| *agent == Some(199 - task)));
}
