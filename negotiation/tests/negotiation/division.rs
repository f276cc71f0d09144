//! Divisions: reference cases, the published examples, what holds for any, and what is refused.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Instant;
use synod_negotiation::division::drf::{self, DrfDemand, DrfEnd, DrfOutcome, DrfRules, Filling, Tasks};
use synod_negotiation::division::{maxmin, tiers};
use synod_protocol::{Code, Exact};

fn read<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

fn list<T: serde::de::DeserializeOwned>(value: &Value) -> Vec<T> {
    read(value)
}

fn whole(number: i64) -> Exact {
    Exact::from(number)
}

fn cases(kind: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../vectors/fairdivision.json")).unwrap();
    file["cases"].as_array().unwrap().iter().filter(|case| case["kind"] == kind).cloned().collect()
}

#[test]
fn max_min_of_the_reference_cases() {
    for case in cases("maxmin") {
        let (demands, weights): (Vec<Exact>, Vec<Exact>) = (read(&case["demands"]), read(&case["weights"]));
        let filled = maxmin::fill(&read(&case["capacity"]), &demands, &weights).unwrap();
        assert_eq!(filled.amounts, read::<Vec<Exact>>(&case["allocation"]), "{}", case["name"]);
    }
}

#[test]
fn drf_of_the_reference_cases() {
    for case in cases("drf") {
        let tasks = Tasks {
            capacity: read(&case["capacity"]),
            per_task: read(&case["demand_per_task"]),
            weights: read(&case["weights"]),
            max_tasks: read(&case["max_tasks"]),
        };
        let name = &case["name"];
        let divided = drf::fill(&tasks, Filling::Divisible, None).unwrap();
        assert_eq!(divided.tasks, read::<Vec<Exact>>(&case["divisible_tasks"]), "{name}");
        assert_eq!(divided.shares, read::<Vec<Exact>>(&case["dominant_shares"]), "{name}");
        for (filling, key) in
            [(Filling::DiscreteStop, "discrete_stop"), (Filling::DiscreteSkip, "discrete_skip")]
        {
            let filled = drf::fill(&tasks, filling, None).unwrap();
            assert_eq!(filled.tasks, read::<Vec<Exact>>(&case[key]), "{name}: {key}");
        }
    }
}

fn max_min(capacity: i64, users: &Value, demands: &[(&str, Value)]) -> Value {
    let rules = read(&json!({"capacity": capacity, "users": users}));
    let inputs: Vec<_> =
        demands.iter().map(|(user, demand)| json!({"user": user, "demand": demand})).collect();
    serde_json::to_value(maxmin::outcome(&rules, &list(&json!(inputs))).unwrap()).unwrap()
}

/// Keshav, An Engineering Approach to Computer Networking, 9.2: capacity 10 of demands 2, 2.6, 4, 5; and capacity 16 of demands
/// 4, 2, 10, 4 with weights 2.5, 4, 0.5, 1.
#[test]
fn keshavs_examples() {
    let users = json!([{"name": "a"}, {"name": "b"}, {"name": "c"}, {"name": "d"}]);
    let all = [("d", json!(5)), ("c", json!(4)), ("b", json!(2.6)), ("a", json!(2))];
    let outcome = max_min(10, &users, &all);
    let amounts: Vec<&Value> = outcome["users"].as_array().unwrap().iter().map(|u| &u["amount"]).collect();
    assert_eq!(json!(amounts), json!([2, "13/5", "27/10", "27/10"]));
    assert_eq!(outcome["level"], json!("27/10"));
    assert_eq!(outcome["left"], json!(0));

    let weights = [2.5, 4.0, 0.5, 1.0].map(|w| Exact::from_f64(w).unwrap());
    let filled = maxmin::fill(&whole(16), &[4, 2, 10, 4].map(whole), &weights).unwrap();
    assert_eq!(
        json!(filled.amounts),
        json!([4, 2, 6, 4]),
        "10/3 and 20/3 where the third's 6 is all that is left"
    );
}

#[test]
fn everyone_has_all_or_there_is_nothing() {
    let users = json!([{"name": "a"}, {"name": "b", "weight": "1/3"}, {"name": "silent"}]);
    let all = [("a", json!(3)), ("b", json!(7))];
    let outcome = max_min(10, &users, &all);
    assert_eq!((&outcome["level"], &outcome["left"]), (&Value::Null, &json!(0)), "just enough");
    assert_eq!(outcome["users"][2], json!({"user": "silent", "demand": 0, "amount": 0, "satisfied": true}));
    let outcome = max_min(0, &users, &all);
    assert_eq!(outcome["level"], json!(0));
    assert_eq!(outcome["users"][1], json!({"user": "b", "demand": 7, "amount": 0, "satisfied": false}));
}

#[test]
fn minima_first_then_tier_after_tier() {
    let rules: tiers::TierRules = read(&json!({"capacity": 100, "users": [
        {"name": "batch", "tier": 2, "minimum": 10},
        {"name": "web", "tier": 1, "minimum": 20, "weight": 2},
        {"name": "api", "tier": 1},
        {"name": "idle", "tier": 1, "minimum": 50},
    ]}));
    let divide = |web: i64, api: i64| {
        let inputs = json!([
            {"user": "batch", "demand": 40}, {"user": "web", "demand": web},
            {"user": "api", "demand": api}, {"user": "idle", "demand": 5},
        ]);
        let outcome = tiers::outcome(&rules, &list(&inputs)).unwrap();
        (outcome.users.iter().map(|u| u.amount.clone()).collect::<Vec<_>>(), outcome)
    };
    // 35 to the minima that are wanted; 65 are left: web still wants 30, api 20, and batch gets the 15 beyond.
    let (amounts, outcome) = divide(50, 20);
    assert_eq!(json!(amounts), json!([25, 50, 20, 5]));
    assert_eq!(json!(outcome.tiers[1]), json!({"tier": 2, "available": 15, "given": 15, "level": 15}));
    // Two thirds of the 65 on top of 20, and one third.
    let (amounts, outcome) = divide(500, 500);
    assert_eq!(json!(amounts), json!([10, "190/3", "65/3", 5]));
    assert_eq!(json!(outcome.tiers[1]), json!({"tier": 2, "available": 0, "given": 0, "level": 0}));

    let short: tiers::TierRules = read(&json!({"capacity": 5, "users": [
        {"name": "a", "minimum": 3}, {"name": "b", "minimum": 4},
    ]}));
    let inputs = list(&json!([{"user": "a", "demand": 9}, {"user": "b", "demand": 3}]));
    let refused = tiers::outcome(&short, &inputs).unwrap_err();
    assert_eq!(refused.code, Code::Unprocessable);
    assert!(refused.message.contains("come to 6 and there is 5: 1 is missing"), "{}", refused.message);
}

fn paper(filling: &str, more: Value) -> (DrfRules, Vec<DrfDemand>) {
    let rules = json!({
        "resources": [{"name": "cpu", "capacity": 9}, {"name": "memory", "capacity": 18}],
        "users": [{"name": "a"}, {"name": "b"}, {"name": "c"}],
        "filling": filling,
    });
    let mut inputs = vec![
        json!({"user": "b", "per_task": [{"resource": "cpu", "amount": 3}, {"resource": "memory", "amount": 1}]}),
        json!({"user": "a", "per_task": [{"resource": "cpu", "amount": 1}, {"resource": "memory", "amount": 4}]}),
    ];
    if !more.is_null() {
        inputs.push(more);
    }
    (read(&rules), read(&json!(inputs)))
}

fn ends(outcome: &DrfOutcome) -> Vec<(DrfEnd, Option<&str>)> {
    outcome.users.iter().map(|u| (u.end, u.full.as_deref())).collect()
}

/// Ghodsi et al. 2011, 4.1: 9 CPUs, 18 GB; tasks of 1 CPU and 4 GB get 3, tasks of 3 CPUs and 1 GB get 2.
#[test]
fn the_papers_example() {
    for filling in ["divisible", "discrete_stop", "discrete_skip"] {
        let (rules, inputs) = paper(filling, Value::Null);
        let outcome = drf::outcome(&rules, &inputs).unwrap();
        let tasks: Vec<_> = outcome.users.iter().map(|u| (&u.tasks, &u.dominant_share)).collect();
        assert_eq!(json!(tasks), json!([[3, "2/3"], [2, "2/3"], [0, 0]]), "{filling}");
        assert_eq!(outcome.users[0].dominant_resource.as_deref(), Some("memory"));
        let used: Vec<_> = outcome.resources.iter().map(|r| &r.used).collect();
        assert_eq!(json!(used), json!([9, 14]));
        let b = if filling == "discrete_stop" { DrfEnd::Ended } else { DrfEnd::Resource };
        let full = (b == DrfEnd::Resource).then_some("cpu");
        let expected = [(DrfEnd::Resource, Some("cpu")), (b, full), (DrfEnd::NoAnswer, None)];
        assert_eq!(ends(&outcome), expected, "{filling}");
    }
}

#[test]
fn parts_of_tasks_are_rounded_down() {
    let (mut rules, inputs) =
        paper("divisible", json!({"user": "c", "per_task": [{"resource": "cpu", "amount": 1}]}));
    let tasks = |rules: &DrfRules| {
        let outcome = drf::outcome(rules, &inputs).unwrap();
        let users: Vec<_> =
            outcome.users.iter().map(|u| (u.tasks.clone(), u.dominant_share.clone())).collect();
        let used: Vec<_> = outcome.resources.iter().map(|r| r.used.clone()).collect();
        json!([users, used])
    };
    assert_eq!(tasks(&rules), json!([[["9/5", "2/5"], ["6/5", "2/5"], ["18/5", "2/5"]], [9, "42/5"]]));
    rules.decimals = Some(1);
    assert_eq!(tasks(&rules), json!([[["9/5", "2/5"], ["6/5", "2/5"], ["18/5", "2/5"]], [9, "42/5"]]));
    rules.decimals = Some(0);
    assert_eq!(tasks(&rules), json!([[[1, "2/9"], [1, "1/3"], [3, "1/3"]], [7, 5]]));
    rules.decimals = Some(19);
    assert_eq!(drf::outcome(&rules, &inputs).unwrap_err().field.as_deref(), Some("/rules/decimals"));
}

#[test]
fn who_needs_nothing_and_what_there_is_nothing_of() {
    for filling in ["divisible", "discrete_skip", "discrete_stop"] {
        let nothing = json!({"user": "c", "per_task": [], "max_tasks": 1_000_000_000});
        let (rules, inputs) = paper(filling, nothing);
        let outcome = drf::outcome(&rules, &inputs).unwrap();
        assert_eq!(
            json!(outcome.users[2]),
            json!({"user": "c", "tasks": 1_000_000_000, "dominant_resource": null,
            "dominant_share": 0, "end": "max_tasks", "full": null})
        );
        let (rules, inputs) =
            paper(filling, json!({"user": "c", "per_task": [{"resource": "cpu", "amount": 0}]}));
        let outcome = drf::outcome(&rules, &inputs).unwrap();
        assert_eq!((json!(outcome.users[2].tasks), outcome.users[2].end), (json!(0), DrfEnd::NeedsNothing));

        let (mut rules, inputs) = paper(filling, Value::Null);
        rules.resources[1].capacity = Exact::zero();
        let outcome = drf::outcome(&rules, &inputs).unwrap();
        assert!(outcome.users.iter().all(|u| u.tasks.is_zero() && u.dominant_share.is_zero()));
        assert_eq!(outcome.users[0].dominant_resource.as_deref(), Some("memory"));
        assert_eq!(ends(&outcome)[0], (DrfEnd::Resource, Some("memory")));
    }
}

#[test]
fn what_is_no_division_is_refused() {
    let users = json!([{"name": "a"}, {"name": "b"}]);
    let crowd: Vec<Value> = (0..1_001).map(|n| json!({"name": n.to_string()})).collect();
    for (capacity, users, inputs, field) in [
        (json!(1), json!([]), json!([]), "/rules/users"),
        (json!(1), json!(crowd), json!([]), "/rules/users"),
        (json!(1), json!([{"name": "a"}, {"name": "a"}]), json!([]), "/rules/users/1"),
        (json!(1), json!([{"name": ""}]), json!([]), "/rules/users/0"),
        (json!(1), json!([{"name": "a", "weight": 0}]), json!([]), "/rules/users/0/weight"),
        (json!(1), json!([{"name": "a", "weight": -1}]), json!([]), "/rules/users/0/weight"),
        (json!(-1), users.clone(), json!([]), "/rules/capacity"),
        (json!("1e60"), users.clone(), json!([]), "/rules/capacity"),
        (json!(1), users.clone(), json!([{"user": "c", "demand": 1}]), "/inputs/0/user"),
        (
            json!(1),
            users.clone(),
            json!([{"user": "a", "demand": 1}, {"user": "a", "demand": 1}]),
            "/inputs/1/user",
        ),
        (json!(1), users, json!([{"user": "a", "demand": -1}]), "/inputs/0/demand"),
    ] {
        let rules = json!({"capacity": capacity, "users": users});
        let refused = maxmin::outcome(&read(&rules), &list(&inputs)).unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), (Code::InvalidArgument, Some(field)));
        let refused = tiers::outcome(&read(&rules), &list(&inputs)).unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), (Code::InvalidArgument, Some(field)));
    }
    let unknown = json!({"capacity": 1, "users": [], "level": 3});
    assert!(serde_json::from_value::<maxmin::MaxMinRules>(unknown).is_err());
}

#[test]
fn what_is_no_division_of_several_is_refused() {
    let needs = |needs: Value| json!([{"user": "a", "per_task": needs}]);
    let cpu = json!([{"name": "cpu", "capacity": 1_000_000_000}]);
    let many: Vec<Value> = (0..17).map(|n| json!({"name": n.to_string(), "capacity": 1})).collect();
    for (resources, inputs, field) in [
        (json!([]), json!([]), "/rules/resources"),
        (json!(many), json!([]), "/rules/resources"),
        (json!([{"name": "cpu", "capacity": -1}]), json!([]), "/rules/resources/0/capacity"),
        (cpu.clone(), needs(json!([{"resource": "gpu", "amount": 1}])), "/inputs/0/per_task/0/resource"),
        (cpu.clone(), needs(json!([{"resource": "cpu", "amount": "-1/9"}])), "/inputs/0/per_task/0/amount"),
        (
            cpu.clone(),
            needs(json!([{"resource": "cpu", "amount": 1}, {"resource": "cpu", "amount": 1}])),
            "/inputs/0/per_task/1/resource",
        ),
        (cpu, needs(json!([{"resource": "cpu", "amount": 1}])), "/inputs"),
    ] {
        let rules = json!({"resources": resources, "users": [{"name": "a"}], "filling": "discrete_stop"});
        let refused = drf::outcome(&read(&rules), &list(&inputs)).unwrap_err();
        assert_eq!(
            (refused.code, refused.field.as_deref()),
            (Code::InvalidArgument, Some(field)),
            "{}",
            refused.message
        );
    }
}

/// Numbers without a common measure are refused, and not reckoned with for minutes.
#[test]
fn numbers_that_go_on_and_on_are_refused() {
    let odd = |n: i64| Exact::ratio(1, (1 << 40) + 2 * n + 1).unwrap();
    let demands: Vec<Exact> = (0..1_000).map(odd).collect();
    let ones = vec![Exact::one(); 1_000];
    let tasks = Tasks {
        capacity: vec![Exact::one()],
        per_task: demands.iter().map(|n| vec![&(n * n) * n]).collect(),
        weights: ones.clone(),
        max_tasks: vec![None; 1_000],
    };
    let refused = drf::fill(&tasks, Filling::Divisible, Some(3)).unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("/inputs"));
    assert_eq!(maxmin::fill(&Exact::one(), &demands, &ones).unwrap_err().field.as_deref(), Some("/inputs"));
    assert_eq!(
        maxmin::fill(&Exact::one(), &ones, &demands).unwrap_err().field.as_deref(),
        Some("/rules/users")
    );
}

#[test]
fn whole_tasks_with_long_numbers_are_the_same_as_with_short_ones() {
    let tasks = |scale: &str| {
        let scaled = |n: i64| &whole(n) * &scale.parse().unwrap();
        Tasks {
            capacity: [177, 144, 110].map(scaled).into(),
            per_task: [[1, 4, 5], [0, 3, 2], [6, 0, 5], [2, 2, 2]].map(|n| n.map(scaled).into()).into(),
            weights: ["2", "1", "3/7", "1"].map(|w| w.parse().unwrap()).into(),
            max_tasks: vec![None, None, None, Some(9)],
        }
    };
    for filling in [Filling::DiscreteStop, Filling::DiscreteSkip, Filling::Divisible] {
        let short = drf::fill(&tasks("1"), filling, None).unwrap();
        let long =
            drf::fill(&tasks("1000000000000000000000000000001/1000000000000007"), filling, None).unwrap();
        assert_eq!(
            (short.tasks, short.shares, short.ends),
            (long.tasks, long.shares, long.ends),
            "{filling:?}"
        );
    }
}

fn weight() -> impl Strategy<Value = Exact> {
    (1_i64..6, 1_i64..4).prop_map(|(a, b)| Exact::ratio(a, b).unwrap())
}

prop_compose! {
    fn division()(users in prop::collection::vec(((0_i64..60, 1_i64..4), weight()), 1..12), capacity in 0_i64..200)
        -> (Exact, Vec<Exact>, Vec<Exact>) {
        let demands = users.iter().map(|((a, b), _)| Exact::ratio(*a, *b).unwrap()).collect();
        (whole(capacity), demands, users.into_iter().map(|(_, weight)| weight).collect())
    }
}

prop_compose! {
    fn any_tasks(equal: bool, limits: bool)(resources in 1_usize..4, users in 1_usize..7)(
        capacity in prop::collection::vec(0_i64..60, resources),
        per_task in prop::collection::vec(prop::collection::vec(0_i64..7, resources), users),
        weights in prop::collection::vec(weight(), users),
        max_tasks in prop::collection::vec(prop::option::of(0_u64..9), users),
    ) -> Tasks {
        Tasks {
            capacity: capacity.into_iter().map(whole).collect(),
            weights: if equal { vec![Exact::one(); per_task.len()] } else { weights },
            max_tasks: if limits { max_tasks } else { vec![None; per_task.len()] },
            per_task: per_task.into_iter().map(|n| n.into_iter().map(whole).collect()).collect(),
        }
    }
}

/// What so many tasks of this user take of each resource.
fn taken(tasks: &Tasks, user: usize, count: &Exact) -> Vec<Exact> {
    tasks.per_task[user].iter().map(|need| need * count).collect()
}

/// How many tasks of this user so much of each resource is good for; nothing where it needs nothing.
fn good_for(tasks: &Tasks, user: usize, of: &[Exact]) -> Option<Exact> {
    of.iter().zip(&tasks.per_task[user]).filter_map(|(have, need)| have.checked_div(need)).min()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn max_min_is_feasible_and_nobody_can_grow((capacity, demands, weights) in division()) {
        let filled = maxmin::fill(&capacity, &demands, &weights).unwrap();
        let given: Exact = filled.amounts.iter().sum();
        prop_assert!(given <= capacity);
        for ((amount, demand), weight) in filled.amounts.iter().zip(&demands).zip(&weights) {
            prop_assert!(amount <= demand && !amount.is_negative());
            if amount < demand {
                // It could grow only at the cost of others; none of them has more over its weight.
                prop_assert_eq!(&given, &capacity);
                let mine = amount / weight;
                prop_assert_eq!(Some(&mine), filled.level.as_ref());
                prop_assert!(filled.amounts.iter().zip(&weights).all(|(other, w)| (other / w) <= mine));
            }
        }
    }

    #[test]
    fn tiers_never_give_more_than_there_is(
        (capacity, demands, weights) in division(),
        more in prop::collection::vec((0_u32..3, 0_i64..20), 12),
    ) {
        let users: Vec<Value> = weights.iter().zip(&more).enumerate()
            .map(|(n, (weight, (tier, minimum)))| json!({"name": n.to_string(), "tier": tier, "minimum": minimum, "weight": weight}))
            .collect();
        let inputs: Vec<Value> = demands.iter().enumerate()
            .map(|(n, demand)| json!({"user": n.to_string(), "demand": demand})).collect();
        let rules = read(&json!({"capacity": capacity, "users": users}));
        match tiers::outcome(&rules, &list(&json!(inputs))) {
            Err(refused) => prop_assert_eq!(refused.code, Code::Unprocessable),
            Ok(outcome) => {
                let given: Exact = outcome.users.iter().map(|u| &u.amount).sum();
                prop_assert_eq!(&given + &outcome.left, capacity);
                for user in &outcome.users {
                    prop_assert!(user.amount <= user.demand && user.amount >= user.minimum);
                    let served_later = |other: &&tiers::TierAmount| other.tier > user.tier;
                    prop_assert!(user.satisfied || outcome.users.iter().filter(served_later).all(|o| o.amount == o.minimum));
                }
            }
        }
    }

    #[test]
    fn drf_is_feasible_and_efficient(tasks in any_tasks(false, true)) {
        for filling in [Filling::Divisible, Filling::DiscreteStop, Filling::DiscreteSkip] {
            let filled = drf::fill(&tasks, filling, None).unwrap();
            let all = 0..tasks.capacity.len();
            for resource in all.clone() {
                let used: Exact = (0..filled.tasks.len()).map(|u| &tasks.per_task[u][resource] * &filled.tasks[u]).sum();
                prop_assert_eq!(&used, &filled.used[resource]);
                prop_assert!(used <= tasks.capacity[resource]);
            }
            for (user, count) in filled.tasks.iter().enumerate() {
                prop_assert!(tasks.max_tasks[user].is_none_or(|max| count <= &Exact::from(max)));
                let free = |r: usize| &tasks.capacity[r] - &filled.used[r];
                let (limit, needs) = (filled.ends[user].0, &tasks.per_task[user]);
                match (filling, limit) {
                    (_, DrfEnd::MaxTasks) => prop_assert_eq!(Some(count.clone()), tasks.max_tasks[user].map(Exact::from)),
                    // Nobody can have more without another having less.
                    (Filling::Divisible, DrfEnd::Resource) =>
                        prop_assert!(all.clone().any(|r| !needs[r].is_zero() && free(r).is_zero())),
                    (Filling::DiscreteSkip, DrfEnd::Resource) =>
                        prop_assert!(all.clone().any(|r| needs[r] > free(r))),
                    _ => {}
                }
            }
        }
    }

    /// Each is at least as well off as with an equal part of everything, and nobody has a use for more of what another has.
    #[test]
    fn drf_shares_and_is_not_envied(tasks in any_tasks(true, false)) {
        let filled = drf::fill(&tasks, Filling::Divisible, None).unwrap();
        let part = Exact::ratio(1, filled.tasks.len() as i64).unwrap();
        let equal: Vec<Exact> = tasks.capacity.iter().map(|c| c * &part).collect();
        for (user, count) in filled.tasks.iter().enumerate() {
            let Some(alone) = good_for(&tasks, user, &equal) else { continue };
            prop_assert!(count >= &alone, "sharing incentive");
            for (other, theirs) in filled.tasks.iter().enumerate() {
                prop_assert!(Some(count) >= good_for(&tasks, user, &taken(&tasks, other, theirs)).as_ref(), "envy");
            }
        }
    }

    #[test]
    fn drf_cut_off_is_what_is_exact_less_its_last_digits(tasks in any_tasks(false, true), decimals in 0_u32..5) {
        let exact = drf::fill(&tasks, Filling::Divisible, None).unwrap();
        let cut = drf::fill(&tasks, Filling::Divisible, Some(decimals)).unwrap();
        let unit = whole(10_i64.pow(decimals));
        for (exact, cut) in exact.tasks.iter().zip(&cut.tasks) {
            let missing = &(exact - cut) * &unit;
            prop_assert!((cut * &unit).as_rational().is_integer() && !missing.is_negative() && missing < Exact::one());
        }
        for resource in 0..tasks.capacity.len() {
            let used: Exact = (0..cut.tasks.len()).map(|u| &tasks.per_task[u][resource] * &cut.tasks[u]).sum();
            prop_assert_eq!(&used, &cut.used[resource]);
        }
        for (user, share) in cut.shares.iter().enumerate() {
            let of_one = exact.shares[user].checked_div(&exact.tasks[user]);
            prop_assert_eq!(share, &of_one.map_or_else(Exact::zero, |of_one| &of_one * &cut.tasks[user]));
        }
        prop_assert_eq!(exact.ends, cut.ends);
    }

    #[test]
    fn drf_does_not_go_by_the_order_of_users(tasks in any_tasks(false, true), turn in 0_usize..7) {
        let turn = turn % tasks.weights.len();
        let mut turned = tasks.clone();
        turned.per_task.rotate_left(turn);
        turned.weights.rotate_left(turn);
        turned.max_tasks.rotate_left(turn);
        let (mut one, other) = (drf::fill(&tasks, Filling::Divisible, None).unwrap(), drf::fill(&turned, Filling::Divisible, None).unwrap());
        one.tasks.rotate_left(turn);
        one.ends.rotate_left(turn);
        prop_assert_eq!((one.tasks, one.ends, one.used), (other.tasks, other.ends, other.used));
    }
}

/// 1,000 users and 8 resources: printed, not asserted.
#[test]
fn goal_of_drf() {
    let number =
        |user: usize, resource: usize| (user * 7_919 + resource * 104_729 + user * user * 31) % 1_009;
    for (name, most, limits, all) in [
        ("few sizes, all needed", 16, false, true),
        ("few sizes", 16, false, false),
        ("limits", 16, true, false),
        ("1 to 1,000, all needed", 1_000, false, true),
        ("1 to 1,000", 1_000, false, false),
    ] {
        let need = |user: usize, r: usize| match number(user, r) {
            n if all || n % 3 > 0 => whole((n % most + 1) as i64),
            _ => Exact::zero(),
        };
        let tasks = Tasks {
            capacity: (0..8).map(|r| whole((most * 5_000 + r * 977) as i64)).collect(),
            per_task: (0..1_000).map(|user| (0..8).map(|r| need(user, r)).collect()).collect(),
            weights: (0..1_000_i64).map(|user| whole(1 + user % 3)).collect(),
            max_tasks: (0..1_000_u64).map(|user| limits.then_some(1 + user % 20)).collect(),
        };
        for filling in [Filling::Divisible, Filling::DiscreteStop, Filling::DiscreteSkip] {
            let (mut best, mut handed_out) = (f64::MAX, Exact::zero());
            for _ in 0..3 {
                #[expect(clippy::disallowed_methods, reason = "what is measured is time")]
                let begun = Instant::now();
                let filled = drf::fill(&tasks, filling, None).unwrap();
                best = best.min(begun.elapsed().as_secs_f64());
                handed_out = filled.used[0].clone();
            }
            assert!(handed_out <= tasks.capacity[0]);
            println!("drf, 1,000 users, 8 resources, {name}, {filling:?}: {:.2} ms", best * 1e3);
        }
    }
}
