//! Permits that hold across queues: they are asked for elsewhere, and the answer takes a while.
//!
//! ```text
//! first --> ask --(elsewhere)--> granted: started | nobody
//!                         \----> refused: its line sleeps until one may be free
//!                          \---> unknown: its line is off until that place answers again
//! ```
//!
//! While one task of a line asks, the line has no turn, and what is asked for counts as taken; so no more is asked for than
//! is known to be free.

use super::line::Standing;
use super::{Permit, Queue};

impl<L: Ord + Clone, T: Ord + Clone> Queue<L, T> {
    /// What a task that waits takes while it runs.
    pub fn permits_of(&self, task: &T) -> Vec<Permit> {
        let Some((number, _)) = self.tasks.get(task) else { return Vec::new() };
        let permits = &self.lines[*number as usize].key.permits;
        permits.iter().map(|limit| self.limits.permit(*limit).clone()).collect()
    }

    /// Whether anyone who runs holds a permit.
    pub fn holds_any(&self) -> bool {
        self.running.values().any(|permits| !permits.is_empty())
    }

    /// What a task that waits waits for.
    pub fn line_of(&self, task: &T) -> Option<&L> {
        self.tasks.get(task).map(|(number, _)| &self.lines[*number as usize].key.what)
    }

    /// The permits of this task are asked for. Then say what came of it: [`Queue::started`], [`Queue::nobody`],
    /// [`Queue::refused`] or [`Queue::unknown`].
    pub fn ask(&mut self, task: &T) {
        let Some((number, _)) = self.tasks.get(task).copied() else { return };
        if self.lines[number as usize].standing != Standing::Ready {
            return;
        }
        let permits = self.lines[number as usize].key.permits.clone();
        self.limits.take(&permits);
        self.asking.insert(number, task.clone());
        self.stand(number, Standing::Asking);
    }

    /// Whether the permits of this task are being asked for.
    pub fn asks(&self, task: &T) -> bool {
        let line = self.tasks.get(task).map(|(number, _)| number);
        line.and_then(|number| self.asking.get(number)).is_some_and(|asking| asking == task)
    }

    /// A permit was refused to this task: so many of it are out. Its line sleeps until one may be free.
    pub fn refused(&mut self, task: &T, permit: &Permit, out: u32) {
        if !self.asks(task) {
            return;
        }
        let Some((number, _)) = self.tasks.get(task).copied() else { return };
        let permits = self.answered(number);
        // One at least is out elsewhere, or it would not have been refused.
        match self.limits.heard(permit, out.max(self.limits.in_use(permit) + 1)) {
            Some(limit) => self.stand(number, Standing::Asleep(limit)),
            None => self.stand(number, Standing::Ready),
        }
        self.wake(&permits);
    }

    /// Nothing is known of this task's permits: its line has no turn until they [can be asked for](Queue::may_ask).
    pub fn unknown(&mut self, task: &T) {
        let Some((number, _)) = self.tasks.get(task).copied() else { return };
        let permits = self.answered(number);
        self.stand(number, Standing::Off);
        self.wake(&permits);
    }

    /// Lines that are off may ask again: this many of them.
    pub fn may_ask(&mut self, lines: usize) {
        let some: Vec<u32> = self.off.iter().copied().take(lines).collect();
        for number in some {
            self.stand(number, Standing::Ready);
        }
    }

    /// How many lines are off.
    pub fn off(&self) -> usize {
        self.off.len()
    }

    /// So many of a permit are out in all, here and elsewhere.
    pub fn heard(&mut self, permit: &Permit, out: u32) {
        if let Some(limit) = self.limits.heard(permit, out) {
            self.wake(&[limit]);
        }
    }

    /// Whether a line waits for what may come back without a word: a permit that is out elsewhere, or a place that answers.
    pub fn looks(&self) -> bool {
        self.limits.hearsay() || !self.off.is_empty()
    }

    /// What was heard of permits that are out elsewhere is old. For each of this many of them, one line asks again, those
    /// after `after` first; returns where to go on.
    pub fn look_again(&mut self, after: u32, most: usize) -> u32 {
        let limits = self.limits.out_elsewhere(after, most);
        for limit in &limits {
            self.limits.one_may_be_free(*limit);
            self.wake(&[*limit]);
        }
        limits.last().copied().unwrap_or(after)
    }

    /// Whether this task would have to wait behind others: for a permit, or in its line.
    pub fn has_before(&self, waiting: &super::Waiting<L>) -> bool {
        let Some(permits) = self.limits.known(&waiting.permits) else { return false };
        let key =
            super::LineKey { workspace: waiting.workspace.clone(), what: waiting.line.clone(), permits };
        self.numbers.contains_key(&key)
    }

    /// The question of this line is answered, or nobody wants to know any more: what was asked for is no longer taken.
    pub(super) fn answered(&mut self, number: u32) -> Vec<u32> {
        if self.asking.remove(&number).is_none() {
            return Vec::new();
        }
        let permits = self.lines[number as usize].key.permits.clone();
        self.limits.untake(&permits);
        permits
    }
}
