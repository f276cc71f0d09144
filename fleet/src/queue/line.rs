//! One line: those of a workspace that wait for the very same thing.

use super::{TOP, Waiting};
use std::collections::BTreeMap;
use synod_protocol::Workspace;

/// Starts that must have been seen before a line's pace says anything.
const STARTS: u32 = 8;

/// A start counts with 1 part in so many.
const MEMORY: f64 = 32.0;

/// A gap between two starts counts as no more than so many times the average: a standstill is no pace.
const LONG: f64 = 4.0;

/// The most that a level of priority is worth: a year, in ms.
const AGING_MS: u64 = 366 * 86_400_000;

/// When it is due; who is due earlier is more urgent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Due {
    at_ms: u64,
    arrival: u64,
}

impl Due {
    /// It came then, and each level of priority that it lacks puts it back as if it had come so much later.
    pub(super) fn of<L>(waiting: &Waiting<L>, aging_ms: u64) -> Due {
        let lacking = u64::from(TOP - waiting.priority.min(TOP));
        let at_ms = waiting.since_ms.saturating_add(lacking * aging_ms.min(AGING_MS));
        Due { at_ms, arrival: waiting.arrival }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LineKey<L> {
    pub(super) workspace: Workspace,
    pub(super) what: L,
    pub(super) permits: Vec<u32>,
}

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It takes part in the turns.
    Ready,
    /// This permit was out.
    Asleep(u32),
    /// Nobody was found.
    Aside,
    /// The permits of one of its tasks are being asked for.
    Asking,
    /// They cannot be asked for.
    Off,
    /// Nobody waits in it.
    Gone,
}

#[derive(Clone, Debug)]
pub(super) struct Line<L, T> {
    pub(super) key: LineKey<L>,
    pub(super) space: u32,
    /// With their priority.
    pub(super) tasks: BTreeMap<(Due, T), u8>,
    pub(super) by_priority: [u32; TOP as usize + 1],
    pub(super) standing: Standing,
    /// That of its first, where it stands.
    pub(super) due: Due,
    pub(super) pace: Pace,
}

impl<L, T: Ord> Line<L, T> {
    pub(super) fn new(key: LineKey<L>, space: u32) -> Line<L, T> {
        Line {
            key,
            space,
            tasks: BTreeMap::new(),
            by_priority: [0; TOP as usize + 1],
            // It becomes ready when its first comes.
            standing: Standing::Gone,
            due: Due::default(),
            pace: Pace::default(),
        }
    }

    pub(super) fn first_due(&self) -> Due {
        self.tasks.first_key_value().map_or(Due::default(), |((due, _), _)| *due)
    }

    /// Those who are certainly before a newcomer of this priority.
    pub(super) fn ahead_of(&self, priority: u8) -> u64 {
        self.by_priority[usize::from(priority.min(TOP))..].iter().map(|n| u64::from(*n)).sum()
    }
}

/// How fast a line moves.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    starts: u32,
    last_ms: u64,
    gap_ms: f64,
}

impl Pace {
    pub(super) fn moved(&mut self, now_ms: u64) {
        let gap = now_ms.saturating_sub(self.last_ms) as f64;
        self.last_ms = now_ms.max(self.last_ms);
        self.starts = self.starts.saturating_add(1);
        if self.starts == 1 {
            return;
        }
        let seen = f64::from(self.starts - 1);
        let gap = if self.starts > STARTS { gap.min(self.gap_ms * LONG + 1.0) } else { gap };
        self.gap_ms += (gap - self.gap_ms) / seen.min(MEMORY);
    }

    /// Milliseconds from one start to the next; `None` while too few were seen.
    pub(super) fn gap_ms(&self) -> Option<f64> {
        (self.starts > STARTS).then_some(self.gap_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standstill_is_no_pace_but_slowing_down_is() {
        let mut pace = Pace::default();
        let mut now = 0;
        for _ in 0..STARTS {
            now += 10;
            pace.moved(now);
        }
        assert_eq!(pace.gap_ms(), None);
        pace.moved(now + 10);
        assert_eq!(pace.gap_ms(), Some(10.0));
        now += 3_600_000;
        pace.moved(now);
        assert!(pace.gap_ms().unwrap() < 20.0);
        for _ in 0..200 {
            now += 100;
            pace.moved(now);
        }
        assert!((90.0..110.0).contains(&pace.gap_ms().unwrap()), "{pace:?}");
    }
}
