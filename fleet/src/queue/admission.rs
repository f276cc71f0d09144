//! Admission: refusing early what would only wait in vain.

use super::line::LineKey;
use super::{Queue, Waiting};

/// Why a task is not to be taken in.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum Refused {
    /// Too many wait already.
    #[error("{waiting} tasks wait, the limit is {limit}")]
    Full {
        /// How many wait.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// Too many wait already in its workspace.
    #[error("{waiting} tasks wait in this workspace, the limit is {limit}")]
    WorkspaceFull {
        /// How many wait there.
        waiting: usize,
        /// How many may.
        limit: usize,
    },
    /// Its deadline would pass before its turn.
    #[error(
        "{ahead} tasks are before it, and at one every {gap_ms:.1} ms they take {wait_ms} ms; its deadline is in {left_ms} ms"
    )]
    TooLate {
        /// Who are certainly before it.
        ahead: u64,
        /// What it takes from one start to the next where it would wait, in ms.
        gap_ms: f64,
        /// So long they would take, in ms.
        wait_ms: u64,
        /// So long it has, in ms.
        left_ms: u64,
    },
}

impl<L: Ord + Clone, T: Ord + Clone> Queue<L, T> {
    /// Whether a task is to be taken in; it is not taken in by that.
    ///
    /// With a deadline it is refused where those who are certainly before it (in its line, of its priority or a higher one)
    /// would take longer than it has, at the pace at which the line last moved. Where it has moved fewer than nine times, or nobody is
    /// before it, nothing is refused; and a standstill is no pace, so that what can wait a day is taken in while the fleet is away.
    ///
    /// # Errors
    /// [`Refused`], with the figures.
    pub fn admit(&self, waiting: &Waiting<L>, now_ms: u64, deadline_ms: Option<u64>) -> Result<(), Refused> {
        let (all, limit) = (self.len(), self.settings.waiting);
        if all >= limit {
            return Err(Refused::Full { waiting: all, limit });
        }
        let (here, limit) = (self.waiting_in(&waiting.workspace), self.settings.waiting_per_workspace);
        if here >= limit {
            return Err(Refused::WorkspaceFull { waiting: here, limit });
        }
        let Some(deadline_ms) = deadline_ms else { return Ok(()) };
        let left_ms = deadline_ms.saturating_sub(now_ms);
        let Some((ahead, gap_ms)) = self.ahead(waiting) else { return Ok(()) };
        let wait_ms = (ahead as f64 * gap_ms) as u64;
        if wait_ms > left_ms {
            return Err(Refused::TooLate { ahead, gap_ms, wait_ms, left_ms });
        }
        Ok(())
    }

    /// Who would be before it, and the pace of its line; `None`: there is none yet, or nothing is known.
    fn ahead(&self, waiting: &Waiting<L>) -> Option<(u64, f64)> {
        let permits = self.limits.known(&waiting.permits)?;
        let key = LineKey { workspace: waiting.workspace.clone(), what: waiting.line.clone(), permits };
        let line = &self.lines[*self.numbers.get(&key)? as usize];
        Some((line.ahead_of(waiting.priority), line.pace.gap_ms()?))
    }
}
