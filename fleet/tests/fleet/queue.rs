//! The queue before the fleet: nobody waits for ever, nobody takes another's share, no limit is passed.

use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use std::collections::{BTreeMap, BTreeSet};
use synod_fleet::balance::Seeded;
use synod_fleet::queue::{Permit, Queue, Refused, Settings, Waiting, Why};
use synod_protocol::Workspace;

type Lines = Queue<u8, u64>;

fn workspace(n: usize) -> Workspace {
    format!("w{n}").parse().unwrap()
}

fn key(of: usize, n: usize) -> Permit {
    Permit::Key(workspace(of), format!("k{n}"))
}

fn waiting(of: usize, line: u8, priority: u8, since_ms: u64, arrival: u64) -> Waiting<u8> {
    Waiting { workspace: workspace(of), line, permits: Vec::new(), priority, since_ms, arrival }
}

fn quick(aging_ms: u64) -> Lines {
    Queue::new(Settings { aging_ms, ..Settings::default() })
}

/// Starts the next; says which.
fn start(queue: &mut Lines, now_ms: u64) -> Option<u64> {
    let task = *queue.first()?.0;
    assert!(queue.started(&task, now_ms));
    Some(task)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn in_a_workspace_the_order_is_that_of_priority_and_age(
        tasks in proptest::collection::vec((0u8..3, any::<u8>(), 0u64..100_000), 1..60),
        aging_ms in 0u64..20_000,
    ) {
        let mut queue = quick(aging_ms);
        let mut order = Vec::new();
        for (n, (line, priority, since)) in tasks.iter().enumerate() {
            queue.push(n as u64, waiting(0, *line, *priority, *since, n as u64));
            order.push((since + u64::from(9 - (*priority).min(9)) * aging_ms, n as u64));
        }
        order.sort_unstable();
        for (_, task) in order {
            prop_assert_eq!(start(&mut queue, 0), Some(task));
        }
        prop_assert!(queue.is_empty() && queue.first().is_none());
    }

    /// The bound that the module states.
    #[test]
    fn waiting_is_bounded(weights in proptest::collection::vec(1u32..6, 1..6), seed: u64) {
        let (mut queue, mut seeded) = (quick(100), Seeded::new(seed));
        for (n, weight) in weights.iter().enumerate() {
            queue.set_weight(&workspace(n), *weight);
        }
        let (mut starts, mut now) = (0u64, 0u64);
        let mut pushed: BTreeMap<u64, (usize, u64, u64)> = BTreeMap::new();
        let mut started_in = vec![0u64; weights.len()];
        for task in 0..600u64 {
            let of = seeded.below(weights.len());
            let priority = if seeded.below(4) == 0 { 0 } else { 9 };
            queue.push(task, waiting(of, seeded.below(3) as u8, priority, now, task));
            pushed.insert(task, (of, starts, started_in[of]));
            while seeded.below(5) > 2 {
                now += seeded.below(40) as u64;
                let Some(task) = start(&mut queue, now) else { break };
                let (of, at, own) = pushed[&task];
                let before = started_in[of] - own;
                let (sum, weight): (u32, u32) = (weights.iter().sum(), weights[of]);
                let bound = (before + 1) as f64 * f64::from(sum) / f64::from(weight) + weights.len() as f64;
                starts += 1;
                started_in[of] += 1;
                prop_assert!((starts - at) as f64 <= bound, "{task} after {} starts, {bound} allowed", starts - at);
            }
        }
    }

    /// Permits are never passed, and none is left lying while somebody could use it.
    #[test]
    fn limits_hold_and_nobody_waits_in_vain(seed: u64, steps in 1usize..400) {
        let mut queue: Lines = Queue::new(Settings { aging_ms: 100, per_key: 2, ..Settings::default() });
        let (mut seeded, mut next) = (Seeded::new(seed), 0u64);
        let mut tasks: BTreeMap<u64, Waiting<u8>> = BTreeMap::new();
        let mut running: BTreeMap<u64, Vec<Permit>> = BTreeMap::new();
        let mut aside: BTreeSet<(Workspace, u8, BTreeSet<Permit>)> = BTreeSet::new();
        let mut limits: BTreeMap<Permit, u32> = BTreeMap::new();
        let line_of = |w: &Waiting<u8>| (w.workspace.clone(), w.line, w.permits.iter().cloned().collect());
        for now in 0..steps as u64 {
            match seeded.below(10) {
                0..=3 => {
                    let of = seeded.below(2);
                    let mut task = waiting(of, seeded.below(2) as u8, seeded.below(10) as u8, now, next);
                    task.permits = (0..seeded.below(3)).map(|_| key(of, seeded.below(3))).collect();
                    if seeded.below(2) == 0 {
                        task.permits.push(Permit::Workspace(workspace(of)));
                    }
                    queue.push(next, task.clone());
                    tasks.insert(next, task);
                    next += 1;
                }
                4 => {
                    let of = seeded.below(2);
                    let permit = [Permit::Workspace(workspace(of)), key(of, 0)][seeded.below(2)].clone();
                    let most = [None, Some(0), Some(1), Some(3)][seeded.below(4)];
                    queue.set_limit(&permit, most);
                    match most {
                        Some(most) => limits.insert(permit, most),
                        None => limits.remove(&permit),
                    };
                }
                5 => {
                    let line = seeded.below(2) as u8;
                    queue.room(|known| *known == line);
                    aside.retain(|(_, known, _)| *known != line);
                }
                6 => {
                    let any = tasks.keys().nth(seeded.below(tasks.len())).copied();
                    let removed = any.and_then(|task| Some((task, tasks.remove(&task)?)));
                    if let Some((task, removed)) = removed {
                        prop_assert!(queue.remove(&task) && !queue.remove(&task));
                        if !tasks.values().any(|w| line_of(w) == line_of(&removed)) {
                            aside.remove(&line_of(&removed));
                        }
                    }
                }
                _ => {
                    let any = running.keys().nth(seeded.below(running.len())).copied();
                    if let Some(task) = any {
                        prop_assert!(queue.ended(&task) && !queue.ended(&task));
                        running.remove(&task);
                    }
                }
            }
            let most = |permit: &Permit| match (limits.get(permit), permit) {
                (Some(most), _) => *most,
                (None, Permit::Key(..)) => 2,
                (None, _) => u32::MAX,
            };
            let out = |permit: &Permit| running.values().filter(|held| held.contains(permit)).count() as u32;
            for permit in limits.keys().chain([&key(0, 1), &key(1, 2)]) {
                prop_assert_eq!(queue.in_use(permit), out(permit));
            }
            let free = |w: &Waiting<u8>| w.permits.iter().all(|permit| out(permit) < most(permit));
            for (task, w) in &tasks {
                let why = queue.why(task).unwrap();
                match why {
                    Why::Nobody => prop_assert!(aside.contains(&line_of(w))),
                    Why::Limit(permit) => prop_assert!(out(&permit) >= most(&permit) && w.permits.contains(&permit)),
                    Why::Turn => prop_assert!(free(w)),
                    Why::Unknown => prop_assert!(false, "nobody was asked elsewhere"),
                }
            }
            let could = tasks.iter().any(|(_, w)| free(w) && !aside.contains(&line_of(w)));
            let offered = queue.first().map(|(task, _)| *task);
            prop_assert_eq!(offered.is_some(), could, "{:?} of {:?}", offered, tasks);
            let Some(task) = offered else { continue };
            prop_assert!(free(&tasks[&task]) && !aside.contains(&line_of(&tasks[&task])));
            if seeded.below(3) == 0 {
                queue.nobody(&task);
                aside.insert(line_of(&tasks[&task]));
            } else if seeded.below(4) > 0 {
                prop_assert!(queue.started(&task, now));
                let started = tasks.remove(&task).unwrap();
                if !tasks.values().any(|w| line_of(w) == line_of(&started)) {
                    aside.remove(&line_of(&started));
                }
                running.insert(task, started.permits.into_iter().collect::<BTreeSet<_>>().into_iter().collect());
            }
            prop_assert_eq!(queue.len(), tasks.len());
        }
    }
}

/// However many urgent ones come, one that may wait waits no longer than nine levels are worth.
#[test]
fn nothing_starves() {
    let mut queue = quick(1_000);
    queue.push(0, waiting(0, 0, 0, 0, 0));
    let started = (1..20_000u64).find(|now| {
        queue.push(*now, waiting(0, 0, 9, *now, *now));
        start(&mut queue, *now) == Some(0)
    });
    assert_eq!(started, Some(9_000));
}

#[test]
fn workspaces_share_by_weight_however_much_one_asks() {
    let mut queue = quick(1_000);
    queue.set_weight(&workspace(1), 3);
    for task in 0..4_000 {
        queue.push(task, waiting(usize::from(task >= 3_000), 0, if task < 3_000 { 9 } else { 0 }, 0, task));
    }
    let of_one = (0..400).filter(|_| start(&mut queue, 0).is_some_and(|task| task >= 3_000)).count();
    assert!((299..=301).contains(&of_one), "{of_one} of 400");
}

#[test]
fn to_come_one_at_a_time_is_no_advantage_and_to_be_away_no_credit() {
    let mut queue = quick(0);
    let mut next = 0;
    let mut push = |queue: &mut Lines, of| {
        queue.push(next, waiting(of, 0, 5, 0, next));
        next += 1;
    };
    (0..1_000).for_each(|_| push(&mut queue, 0));
    let mut had = [0, 0];
    for _ in 0..200 {
        if queue.waiting_in(&workspace(1)) == 0 {
            push(&mut queue, 1);
        }
        let of = usize::from(queue.waiting_in(&workspace(1)) == 1 && start(&mut queue, 0) >= Some(1_000));
        had[of] += 1;
    }
    assert!(had[1] <= 101, "{had:?}");
    // It was away for 300 starts, and does not get them now.
    (0..300).for_each(|_| assert!(start(&mut queue, 0).is_some()));
    (0..100).for_each(|_| push(&mut queue, 1));
    let of_one = (0..100).filter(|_| start(&mut queue, 0) >= Some(1_000)).count();
    assert!((49..=51).contains(&of_one), "{of_one} of 100");
}

/// To start what was not offered counts for its workspace, and sets nobody else back.
#[test]
fn what_is_started_out_of_turn_is_its_own_workspaces_turn() {
    let mut queue = quick(0);
    (0..400).for_each(|task| queue.push(task, waiting(task as usize % 2, 0, 5, 0, task)));
    (0..100).for_each(|n| assert!(queue.started(&(2 * n + 1), 0)));
    (400..500).for_each(|task| queue.push(task, waiting(2, 0, 5, 0, task)));
    let newcomer = (0..40).filter(|_| start(&mut queue, 0) >= Some(400)).count();
    assert!((19..=21).contains(&newcomer), "{newcomer} of 40");
}

#[test]
fn a_line_for_which_nobody_is_found_holds_up_no_other() {
    let mut queue = quick(1_000);
    queue.push(1, waiting(0, 7, 9, 0, 1));
    queue.push(2, waiting(0, 7, 9, 0, 2));
    queue.push(3, waiting(0, 8, 0, 0, 3));
    assert_eq!(queue.first(), Some((&1, &7)));
    queue.nobody(&1);
    assert_eq!((queue.why(&2), queue.why(&3), queue.why(&9)), (Some(Why::Nobody), Some(Why::Turn), None));
    assert_eq!(start(&mut queue, 0), Some(3));
    queue.push(4, waiting(0, 7, 9, 0, 4));
    assert_eq!(queue.first(), None, "who joins that line waits as well");
    queue.room(|line| *line == 8);
    assert_eq!(queue.first(), None);
    queue.room(|_| true);
    assert_eq!(start(&mut queue, 0), Some(1));
}

#[test]
fn a_task_that_runs_elsewhere_counts_and_one_that_comes_back_gives_back() {
    let mut queue = quick(1_000);
    let with_key = |arrival| Waiting { permits: vec![key(0, 0), key(0, 0)], ..waiting(0, 0, 5, 0, arrival) };
    queue.running(1, vec![key(0, 0)]);
    queue.running(2, vec![key(0, 0)]);
    assert_eq!(queue.in_use(&key(0, 0)), 2, "more than there are: they were given before");
    queue.push(3, with_key(3));
    assert_eq!(queue.first(), None);
    assert_eq!(queue.why(&3), Some(Why::Limit(key(0, 0))));
    assert!(queue.ended(&1));
    assert_eq!(queue.first(), None);
    // Failed, and waits again.
    queue.push(2, with_key(2));
    assert_eq!((start(&mut queue, 0), queue.in_use(&key(0, 0))), (Some(2), 1));
    assert!(queue.ended(&2));
    assert_eq!(start(&mut queue, 0), Some(3));
    // Told twice, it counts once.
    queue.running(3, vec![key(0, 0)]);
    assert_eq!(queue.in_use(&key(0, 0)), 1);
    assert!(queue.ended(&3) && !queue.ended(&3) && queue.in_use(&key(0, 0)) == 0);
}

#[test]
fn what_would_wait_in_vain_is_refused() {
    let mut queue: Lines =
        Queue::new(Settings { waiting: 40, waiting_per_workspace: 30, ..Settings::default() });
    let newcomer = waiting(0, 0, 5, 1_000, 99);
    assert_eq!(queue.admit(&newcomer, 1_000, Some(1_000)), Ok(()), "nothing is known of the line");
    for task in 0..30 {
        queue.push(task, waiting(0, 0, if task < 20 { 5 } else { 1 }, task, task));
    }
    let full = Refused::WorkspaceFull { waiting: 30, limit: 30 };
    assert_eq!(queue.admit(&newcomer, 1_000, None), Err(full));
    for n in 1..=10 {
        start(&mut queue, n * 100).unwrap();
    }
    let refused = queue.admit(&newcomer, 1_000, Some(1_900)).unwrap_err();
    assert_eq!(refused, Refused::TooLate { ahead: 10, gap_ms: 100.0, wait_ms: 1_000, left_ms: 900 });
    assert_eq!(
        refused.to_string(),
        "10 tasks are before it, and at one every 100.0 ms they take 1000 ms; its deadline is in 900 ms"
    );
    assert_eq!(queue.admit(&newcomer, 1_000, Some(2_000)), Ok(()));
    assert_eq!(queue.admit(&Waiting { priority: 6, ..newcomer.clone() }, 1_000, Some(1_001)), Ok(()));
    assert!(queue.admit(&Waiting { priority: 0, ..newcomer.clone() }, 1_000, Some(2_900)).is_err());
    assert_eq!(queue.admit(&Waiting { line: 1, ..newcomer.clone() }, 1_000, Some(1_001)), Ok(()));
    // The fleet is away for an hour: that is no pace.
    assert_eq!(queue.admit(&newcomer, 3_601_000, Some(3_603_000)), Ok(()));
    (0..20).for_each(|task| queue.push(100 + task, waiting(1, 0, 5, 0, task)));
    assert_eq!(queue.admit(&newcomer, 0, None), Err(Refused::Full { waiting: 40, limit: 40 }));
}

#[test]
fn no_number_is_too_great() {
    let mut queue = quick(u64::MAX);
    queue.set_weight(&workspace(0), u32::MAX);
    queue.set_weight(&workspace(1), 0);
    for (task, since) in [(0, u64::MAX), (1, 0), (2, u64::MAX)] {
        queue.push(task, waiting(task as usize % 2, 0, 255, since, u64::MAX - task));
    }
    queue.push(3, waiting(0, 0, 0, u64::MAX, 0));
    assert_eq!(queue.admit(&waiting(0, 0, 255, u64::MAX, 0), u64::MAX, Some(0)), Ok(()));
    let mut all: Vec<u64> = (0..4).map(|n| start(&mut queue, u64::MAX - n).unwrap()).collect();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3]);
    assert_eq!(start(&mut queue, 0), None);
}
