//! Permits that several queues share: none is passed, and nobody waits for what is free.

use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};
use std::collections::{BTreeMap, BTreeSet};
use synod_fleet::balance::Seeded;
use synod_fleet::queue::{Permit, Queue, Settings, Waiting, Why};
use synod_protocol::Workspace;

/// The queues of several coordinators, and what all of them hold.
struct Shared {
    queues: Vec<Queue<u8, u64>>,
    held: BTreeMap<Permit, BTreeSet<(usize, u64)>>,
    /// Who has asked, and waits for the answer.
    asked: Vec<(usize, u64)>,
    running: Vec<(usize, u64, Vec<Permit>)>,
}

const MOST: u32 = 2;

fn permit(n: usize) -> Permit {
    Permit::Key(Workspace::default_name(), format!("k{n}"))
}

fn waiting(arrival: u64, line: u8, permits: Vec<Permit>) -> Waiting<u8> {
    Waiting { workspace: Workspace::default_name(), line, permits, priority: 5, since_ms: arrival, arrival }
}

impl Shared {
    fn new(queues: usize) -> Shared {
        let queue = Queue::new(Settings { per_key: MOST, ..Settings::default() });
        Shared { queues: vec![queue; queues], held: BTreeMap::new(), asked: Vec::new(), running: Vec::new() }
    }

    /// Everyone whose turn it is asks, or starts where there is nothing to ask for.
    fn turn(&mut self, of: usize) {
        while let Some(task) = self.queues[of].first().map(|(task, _)| *task) {
            if self.queues[of].permits_of(&task).is_empty() {
                self.queues[of].started(&task, 0);
                self.queues[of].ended(&task);
            } else {
                self.queues[of].ask(&task);
                self.asked.push((of, task));
            }
        }
    }

    /// One question is answered, as the place that all share knows it.
    fn answer(&mut self, n: usize, somebody: bool) {
        let (of, task) = self.asked.remove(n);
        let queue = &mut self.queues[of];
        if !queue.asks(&task) {
            return;
        }
        let wanted = queue.permits_of(&task);
        let out = |permit: &Permit| self.held.get(permit).map_or(0, BTreeSet::len) as u32;
        if let Some(none) = wanted.iter().find(|permit| out(permit) >= MOST) {
            queue.refused(&task, none, out(none));
        } else if somebody {
            assert!(queue.started(&task, 0));
            for permit in &wanted {
                self.held.entry(permit.clone()).or_default().insert((of, task));
            }
            self.running.push((of, task, wanted));
        } else {
            queue.nobody(&task);
        }
    }

    fn end(&mut self, n: usize) {
        let (of, task, permits) = self.running.remove(n);
        for permit in permits {
            assert!(self.held.get_mut(&permit).is_some_and(|held| held.remove(&(of, task))));
        }
        assert!(self.queues[of].ended(&task));
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(Queue::len).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_shared_is_never_passed_and_all_have_their_turn(seed: u64, steps in 1usize..300) {
        let (mut all, mut seeded) = (Shared::new(3), Seeded::new(seed));
        let mut cancelled = 0;
        for task in 0..steps as u64 {
            let of = seeded.below(3);
            match seeded.below(8) {
                0..=2 => {
                    let permits = (0..seeded.below(3)).map(|_| permit(seeded.below(3))).collect();
                    all.queues[of].push(task, waiting(task, seeded.below(2) as u8, permits));
                }
                3 => all.turn(of),
                4 if !all.asked.is_empty() => {
                    let n = seeded.below(all.asked.len());
                    all.answer(n, seeded.below(4) > 0);
                }
                5 if !all.running.is_empty() => {
                    let n = seeded.below(all.running.len());
                    all.end(n);
                }
                6 => {
                    let any = seeded.below(steps) as u64;
                    cancelled += usize::from(all.queues[of].remove(&any));
                }
                _ => {
                    all.queues[of].look_again(seeded.below(4) as u32, 2);
                    all.queues[of].room(|_| true);
                }
            }
            for (permit, held) in &all.held {
                prop_assert!(held.len() <= MOST as usize, "{permit}");
            }
            // Whoever is asked for counts as taken here: no more is asked for than there is.
            for queue in &all.queues {
                (0..3).for_each(|n| assert!(queue.in_use(&permit(n)) <= MOST));
            }
        }
        // With time, room and answers all of them run.
        for _ in 0..20 * steps {
            for of in 0..3 {
                all.queues[of].room(|_| true);
                if all.queues[of].looks() {
                    all.queues[of].look_again(0, 8);
                }
                all.turn(of);
            }
            (0..all.asked.len()).for_each(|_| all.answer(0, true));
            (0..all.running.len()).for_each(|_| all.end(0));
            if all.waiting() == 0 {
                break;
            }
        }
        prop_assert_eq!(all.waiting(), 0, "after {} were cancelled", cancelled);
        prop_assert!(all.held.values().all(BTreeSet::is_empty));
        prop_assert!((0..3).all(|n| all.queues.iter().all(|queue| queue.in_use(&permit(n)) == 0)));
    }
}

#[test]
fn one_of_a_line_asks_at_a_time_and_others_go_on() {
    let mut queue: Queue<u8, u64> = Queue::default();
    queue.push(1, waiting(1, 0, vec![permit(0)]));
    queue.push(2, waiting(2, 0, vec![permit(0)]));
    queue.push(3, waiting(3, 0, vec![]));
    assert_eq!((first(&mut queue), queue.permits_of(&1)), (Some(1), vec![permit(0)]));
    queue.ask(&1);
    assert_eq!(first(&mut queue), Some(3), "who needs none goes on");
    queue.remove(&3);
    assert_eq!((first(&mut queue), queue.in_use(&permit(0)), queue.asks(&1)), (None, 1, true));
    queue.refused(&1, &permit(0), 1);
    assert_eq!((first(&mut queue), queue.why(&2)), (None, Some(Why::Limit(permit(0)))));
    assert_eq!(queue.in_use(&permit(0)), 0, "what was not given is not in use here");
    assert!(queue.looks());
    queue.look_again(0, 8);
    assert_eq!(first(&mut queue), Some(1));
    queue.ask(&1);
    queue.remove(&1);
    assert!(!queue.asks(&1));
    assert_eq!((queue.in_use(&permit(0)), first(&mut queue)), (0, Some(2)), "nobody wants to know any more");
    queue.ask(&2);
    queue.unknown(&2);
    assert_eq!((queue.why(&2), first(&mut queue), queue.off()), (Some(Why::Unknown), None, 1));
    queue.may_ask(1);
    assert_eq!((first(&mut queue), queue.off()), (Some(2), 0));
    queue.ask(&2);
    assert!(queue.started(&2, 0) && queue.in_use(&permit(0)) == 1);
    // Others hold it by now as well, it is heard: nobody need ask.
    queue.push(4, waiting(4, 0, vec![permit(0)]));
    assert!(queue.ended(&2));
    queue.heard(&permit(0), 1);
    assert_eq!((first(&mut queue), queue.why(&4)), (None, Some(Why::Limit(permit(0)))));
    queue.heard(&permit(0), 0);
    assert_eq!(first(&mut queue), Some(4));
}

#[test]
fn a_permit_is_known_by_its_name() {
    let (workspace, capability) = ("w-1".parse().unwrap(), "ocr.fast".parse().unwrap());
    let Permit::Key(default, _) = permit(0) else { panic!("a key") };
    for (permit, name) in [
        (Permit::Workspace(default.clone()), "workspace/default"),
        (Permit::Capability(workspace, capability), "capability/w-1/ocr.fast"),
        (Permit::Key(default, "customer-7".into()), "key/default/customer-7"),
    ] {
        assert_eq!((permit.to_string().as_str(), name.parse()), (name, Ok(permit)));
    }
    for wrong in ["", "key/default", "workspace/", "workspace/A", "capability/w/", "other/w/x"] {
        assert!(wrong.parse::<Permit>().is_err(), "{wrong}");
    }
}

fn first(queue: &mut Queue<u8, u64>) -> Option<u64> {
    queue.first().map(|(task, _)| *task)
}
