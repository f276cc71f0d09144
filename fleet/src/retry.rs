//! When a failed attempt is made again, and whether there is room for that.
//!
//! Two rules. **Back-off**: the wait before the next attempt is drawn evenly from 0 to a ceiling that grows from failure
//! to failure ("full jitter"; Brooker, "Exponential Backoff And Jitter", 2015), so that what failed together does not
//! come back together. **Budget**: retries may be only a share of first attempts, plus a few a second (as in Finagle's
//! and tower's `RetryBudget`), so that a struggling fleet is not given several times the work that broke it.
//!
//! The random number and the time are the caller's.
//!
//! ```text
//!    first attempt ---- deposit ----> Budget <---- withdraw? ---- a retry that is due
//!                                       |  yes: it is made         no: it waits for the next look
//! ```

use synod_protocol::event::Retry;

const MILLI: i64 = 1_000;
/// The window's parts: what was deposited is forgotten in so many steps.
const SLOTS: usize = 10;

/// The longest wait before the attempt after the `failures`-th failure (from 1), in milliseconds: `initial_backoff_ms`
/// times `multiplier` for each failure before, at most `max_backoff_ms`. A multiplier below 1, or none (not a number),
/// counts as 1, and failures beyond the thousandth as no more of them.
pub fn ceiling_ms(retry: &Retry, failures: u32) -> u64 {
    let max_ms = retry.max_backoff_ms as f64;
    let multiplier = retry.multiplier.max(1.0);
    let mut ceiling_ms = retry.initial_backoff_ms as f64;
    // One multiplication at a time: `powi` may differ in its last digit from platform to platform.
    for _ in 1..failures.min(1_000) {
        ceiling_ms *= multiplier;
    }
    if ceiling_ms >= max_ms { retry.max_backoff_ms } else { ceiling_ms as u64 }
}

/// The wait before the attempt after the `failures`-th failure (from 1), in milliseconds: evenly from 0 up to and with
/// [`ceiling_ms`], by `random`, whose 64 bits are all random.
pub fn backoff_ms(retry: &Retry, failures: u32, random: u64) -> u64 {
    let choices = u128::from(ceiling_ms(retry, failures)) + 1;
    ((u128::from(random) * choices) >> 64) as u64
}

/// Whether there is another attempt after the `failures`-th failure.
pub fn is_exhausted(retry: &Retry, failures: u32) -> bool {
    failures >= retry.max_attempts
}

/// What a budget allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BudgetSettings {
    /// Retries for each first attempt, 0 to 10 (thousandths count); 0.2 by default.
    pub ratio: f64,
    /// Retries a second besides, 0 to 100,000, so that a quiet fleet may retry at all; 10 by default.
    pub min_per_second: u32,
    /// For how long a first attempt counts, 1 to 3,600 s; 10 by default.
    pub window_s: u32,
}

impl Default for BudgetSettings {
    fn default() -> BudgetSettings {
        BudgetSettings { ratio: 0.2, min_per_second: 10, window_s: 10 }
    }
}

/// A setting that a budget cannot have.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum BudgetError {
    /// No ratio.
    #[error("ratio is {0}, it must be 0 to 10")]
    Ratio(f64),
    /// Too many.
    #[error("min_per_second is {0}, it must be at most 100,000")]
    MinPerSecond(u32),
    /// Too short or too long.
    #[error("window_s is {0}, it must be 1 to 3,600")]
    Window(u32),
}

/// Room for retries, for one fleet, capability or workspace. A retry is allowed if those within the last `window_s` (by
/// whole tenths of it), with this one, are no more than `ratio` of the first attempts within it and `min_per_second`
/// times `window_s`.
#[derive(Clone, Debug)]
pub struct Budget {
    deposit_milli: i64,
    reserve_milli: i64,
    slot_ms: u64,
    /// Deposits less withdrawals, in thousandths of a retry, by tenths of the window.
    slots: [i64; SLOTS],
    /// Which tenth of all time is the newest.
    newest: u64,
    refused: u64,
}

impl Budget {
    /// A budget that begins with what `min_per_second` gives for one window.
    ///
    /// # Errors
    /// A setting outside its range.
    pub fn new(settings: BudgetSettings, now_ms: u64) -> Result<Budget, BudgetError> {
        if !(0.0..=10.0).contains(&settings.ratio) {
            return Err(BudgetError::Ratio(settings.ratio));
        }
        if settings.min_per_second > 100_000 {
            return Err(BudgetError::MinPerSecond(settings.min_per_second));
        }
        if !(1..=3_600).contains(&settings.window_s) {
            return Err(BudgetError::Window(settings.window_s));
        }
        let slot_ms = u64::from(settings.window_s) * 1_000 / SLOTS as u64;
        Ok(Budget {
            deposit_milli: (settings.ratio * MILLI as f64).round() as i64,
            reserve_milli: i64::from(settings.min_per_second) * i64::from(settings.window_s) * MILLI,
            slot_ms,
            slots: [0; SLOTS],
            newest: now_ms / slot_ms,
            refused: 0,
        })
    }

    /// A first attempt was made.
    pub fn deposit(&mut self, now_ms: u64) {
        self.move_to(now_ms);
        let slot = self.slot();
        self.slots[slot] = self.slots[slot].saturating_add(self.deposit_milli);
    }

    /// Whether there is room for a retry now; if so, it is taken.
    pub fn withdraw(&mut self, now_ms: u64) -> bool {
        self.move_to(now_ms);
        let is_room = self.balance_milli() >= MILLI;
        if is_room {
            let slot = self.slot();
            self.slots[slot] = self.slots[slot].saturating_sub(MILLI);
        } else {
            self.refused = self.refused.saturating_add(1);
        }
        is_room
    }

    /// Retries that there is room for at `now_ms`.
    pub fn available(&self, now_ms: u64) -> u64 {
        let mut then = self.clone();
        then.move_to(now_ms);
        u64::try_from(then.balance_milli() / MILLI).unwrap_or(0)
    }

    /// Retries that there was no room for, since the beginning.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    fn slot(&self) -> usize {
        (self.newest % SLOTS as u64) as usize
    }

    fn balance_milli(&self) -> i64 {
        self.slots.iter().fold(self.reserve_milli, |sum, slot| sum.saturating_add(*slot))
    }

    /// Forgets what is older than the window. A clock that has run back counts as standing still.
    fn move_to(&mut self, now_ms: u64) {
        let now = (now_ms / self.slot_ms).max(self.newest);
        for passed in 1..=(now - self.newest).min(SLOTS as u64) {
            self.slots[((self.newest + passed) % SLOTS as u64) as usize] = 0;
        }
        self.newest = now;
    }
}
