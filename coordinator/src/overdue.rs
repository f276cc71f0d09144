//! Attempts whose time was over, and that their agents may still be at: an agent that beats but goes on with such work is
//! as good as hung.

use std::collections::BTreeMap;
use synod_fleet::{AgentKey, Doubt};
use synod_protocol::view::Held;
use synod_protocol::{EntityId, Incarnation};

/// An agent has so long to let go of work whose time is over: the SDK aborts a handler after five seconds, and the next
/// heartbeat tells.
const GRACE_MS: u64 = 7_000;
/// So many are remembered; more than that many agents do not hang at once.
const LIMIT: usize = 10_000;

/// What was taken back for its time limit, by who had it.
#[derive(Debug, Default)]
pub(crate) struct Overdue {
    by_agent: BTreeMap<AgentKey, Taken>,
    count: usize,
}

#[derive(Debug)]
struct Taken {
    incarnation: Incarnation,
    /// The attempt, and since when its time is over.
    attempts: BTreeMap<(EntityId, u32), u64>,
}

impl Overdue {
    /// The time of an attempt is over.
    pub(crate) fn add(
        &mut self,
        key: &AgentKey,
        incarnation: &Incarnation,
        held: (EntityId, u32),
        now_ms: u64,
    ) {
        if self.count >= LIMIT {
            return;
        }
        let new = || Taken { incarnation: incarnation.clone(), attempts: BTreeMap::new() };
        let taken = self.by_agent.entry(key.clone()).or_insert_with(new);
        if taken.incarnation != *incarnation {
            self.count -= taken.attempts.len();
            *taken = new();
        }
        self.count += usize::from(taken.attempts.insert(held, now_ms).is_none());
    }

    /// A heartbeat says what its agent holds: what it let go of is forgotten. `None` if nothing was known of it; else the
    /// doubt that follows, if one does.
    pub(crate) fn holds(
        &mut self,
        key: &AgentKey,
        incarnation: &Incarnation,
        held: &[Held],
        now_ms: u64,
    ) -> Option<Option<Doubt>> {
        let taken = self.by_agent.get_mut(key)?;
        let before = taken.attempts.len();
        let is_held = |task: &EntityId, attempt: u32| {
            held.iter().any(|held| held.task_id == *task && held.attempt == attempt)
        };
        if taken.incarnation == *incarnation {
            taken.attempts.retain(|(task, attempt), _| is_held(task, *attempt));
        } else {
            taken.attempts.clear();
        }
        self.count -= before - taken.attempts.len();
        let worst = taken.attempts.iter().min_by_key(|(_, since_ms)| **since_ms);
        let doubt =
            worst.map(|((task, attempt), since_ms)| (now_ms.saturating_sub(*since_ms), task, *attempt));
        let doubt = doubt.filter(|(over_ms, ..)| *over_ms > GRACE_MS).map(|(over_ms, task, attempt)| Doubt {
            lost: false,
            since_ms: now_ms,
            why: format!("it still holds attempt {attempt} of task {task}, {over_ms} ms past its time limit"),
        });
        if taken.attempts.is_empty() {
            self.by_agent.remove(key);
        }
        Some(doubt)
    }

    /// Nothing of it matters any more.
    pub(crate) fn forget(&mut self, key: &AgentKey) {
        if let Some(taken) = self.by_agent.remove(key) {
            self.count -= taken.attempts.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10";
    const SECOND: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c11";

    #[test]
    fn who_goes_on_past_the_grace_is_doubted_until_it_lets_go() {
        let key = AgentKey { workspace: "w".parse().unwrap(), agent: "a".parse().unwrap() };
        let start = |s: &str| s.parse::<Incarnation>().unwrap();
        let held = |attempt| Held { task_id: "t".parse().unwrap(), attempt };
        let mut overdue = Overdue::default();
        assert_eq!(overdue.holds(&key, &start(FIRST), &[held(1)], 0), None, "nothing is overdue");
        overdue.add(&key, &start(FIRST), ("t".parse().unwrap(), 1), 1_000);
        assert_eq!(
            overdue.holds(&key, &start(FIRST), &[held(1), held(2)], 8_000),
            Some(None),
            "within the grace"
        );
        let doubt = overdue.holds(&key, &start(FIRST), &[held(1)], 8_001).flatten().expect("a doubt");
        assert_eq!(doubt.why, "it still holds attempt 1 of task t, 7001 ms past its time limit");
        assert!(!doubt.lost);
        assert_eq!(overdue.holds(&key, &start(FIRST), &[held(2)], 9_000), Some(None), "it let go");
        assert_eq!((overdue.count, overdue.by_agent.len()), (0, 0));

        overdue.add(&key, &start(FIRST), ("t".parse().unwrap(), 1), 1_000);
        assert_eq!(
            overdue.holds(&key, &start(SECOND), &[held(1)], 9_000),
            Some(None),
            "another process start"
        );
        overdue.add(&key, &start(FIRST), ("t".parse().unwrap(), 1), 1_000);
        overdue.forget(&key);
        assert_eq!(overdue.count, 0);
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut overdue = Overdue::default();
        for n in 0..LIMIT + 5 {
            let key = AgentKey { workspace: "w".parse().unwrap(), agent: format!("a{n}").parse().unwrap() };
            overdue.add(&key, &FIRST.parse().unwrap(), ("t".parse().unwrap(), 1), 1);
        }
        assert_eq!((overdue.count, overdue.by_agent.len()), (LIMIT, LIMIT));
    }
}
