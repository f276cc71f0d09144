//! The results that the rates are taken from.
//!
//! Nothing is allocated before the first result. A window of calls takes two bits a call; one of seconds takes 24
//! bytes for each second in which there was a call, not for each second that it reaches back.

use super::kept::Results;
use super::policy;
use std::collections::VecDeque;

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const RESULTS_PER_WORD: u32 = 32;

/// How many results there are, and of which kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) calls: u32,
    pub(super) failed: u32,
    pub(super) slow: u32,
    pub(super) slow_failed: u32,
}

impl Counts {
    fn of(failed: bool, slow: bool) -> Counts {
        Counts { calls: 1, failed: failed.into(), slow: slow.into(), slow_failed: (failed && slow).into() }
    }

    /// Counts wrap, so that taking away what was added always leads back; four billion calls within one window are
    /// out of reach.
    fn add(&mut self, more: Counts) {
        self.calls = self.calls.wrapping_add(more.calls);
        self.failed = self.failed.wrapping_add(more.failed);
        self.slow = self.slow.wrapping_add(more.slow);
        self.slow_failed = self.slow_failed.wrapping_add(more.slow_failed);
    }

    fn take(&mut self, less: Counts) {
        self.calls = self.calls.wrapping_sub(less.calls);
        self.failed = self.failed.wrapping_sub(less.failed);
        self.slow = self.slow.wrapping_sub(less.slow);
        self.slow_failed = self.slow_failed.wrapping_sub(less.slow_failed);
    }
}

/// A sliding window and what is in it.
#[derive(Clone, Debug)]
pub(super) struct Window {
    counts: Counts,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    /// The last `size` results, each two bits: failed, slow. `next` is the place of the oldest once it is full.
    Calls { ring: Box<[u64]>, size: u32, next: u32 },
    /// The results of the seconds from `head - size + 1` to `head`; only those seconds that have any, oldest first.
    Seconds { seconds: VecDeque<Second>, size: u32, head: u64 },
}

#[derive(Clone, Copy, Debug)]
struct Second {
    second: u64,
    counts: Counts,
}

impl Window {
    /// An empty one, begun now.
    pub(super) fn new(window: policy::Window, now_ns: u64) -> Window {
        match window {
            policy::Window::Calls(size) => Window::of_calls(size),
            policy::Window::Seconds(size) => {
                let head = now_ns / NANOS_PER_SECOND;
                Window {
                    counts: Counts::default(),
                    kind: Kind::Seconds { seconds: VecDeque::new(), size, head },
                }
            }
        }
    }

    /// An empty one of so many calls; with 0 it never holds anything.
    pub(super) fn of_calls(size: u32) -> Window {
        Window { counts: Counts::default(), kind: Kind::Calls { ring: Box::default(), size, next: 0 } }
    }

    /// Takes a result in, and says what is there with it.
    pub(super) fn record(&mut self, failed: bool, slow: bool, now_ns: u64) -> Counts {
        match &mut self.kind {
            Kind::Calls { size: 0, .. } => {}
            Kind::Calls { ring, size, next } => {
                if ring.is_empty() {
                    *ring = vec![0; size.div_ceil(RESULTS_PER_WORD) as usize].into();
                }
                let oldest = exchange(ring, *next, failed, slow);
                if self.counts.calls == *size {
                    self.counts.take(oldest);
                }
                *next = (*next + 1) % *size;
                self.counts.add(Counts::of(failed, slow));
            }
            Kind::Seconds { seconds, size, head } => {
                *head = moved(*head, now_ns / NANOS_PER_SECOND);
                while let Some(oldest) = seconds.front().filter(|oldest| is_past(oldest.second, *size, *head))
                {
                    self.counts.take(oldest.counts);
                    seconds.pop_front();
                }
                let result = Counts::of(failed, slow);
                self.counts.add(result);
                match seconds.back_mut().filter(|newest| newest.second == *head) {
                    Some(newest) => newest.counts.add(result),
                    None => seconds.push_back(Second { second: *head, counts: result }),
                }
            }
        }
        self.counts
    }

    /// What is in it now. Looking moves nothing.
    pub(super) fn counts(&self, now_ns: u64) -> Counts {
        let mut counts = self.counts;
        if let Kind::Seconds { seconds, size, .. } = &self.kind {
            let now = now_ns / NANOS_PER_SECOND;
            for past in seconds.iter().take_while(|oldest| is_past(oldest.second, *size, now)) {
                counts.take(past.counts);
            }
        }
        counts
    }

    /// What is in it now, oldest first.
    pub(super) fn results(&self, now_ns: u64) -> Results {
        match &self.kind {
            Kind::Calls { ring, size, next } => {
                let first = if self.counts.calls == *size { *next } else { 0 };
                let places = (0..self.counts.calls).map(|n| (first + n) % (*size).max(1));
                Results::Calls(places.map(|place| char::from(b'0' + bits(ring, place) as u8)).collect())
            }
            Kind::Seconds { seconds, size, .. } => {
                let now = now_ns / NANOS_PER_SECOND;
                let still = seconds.iter().filter(|second| !is_past(second.second, *size, now));
                let told = |second: &Second| {
                    let Counts { calls, failed, slow, slow_failed } = second.counts;
                    (now.saturating_sub(second.second), [calls, failed, slow, slow_failed])
                };
                Results::Seconds(still.map(told).collect())
            }
        }
    }

    /// One with these results, which were there so many nanoseconds ago.
    pub(super) fn refilled(window: policy::Window, results: &Results, ago_ns: u64, now_ns: u64) -> Window {
        let mut refilled = Window::new(window, now_ns);
        match (&mut refilled.kind, results) {
            (Kind::Calls { .. }, Results::Calls(digits)) => {
                for digit in digits.bytes().map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 4) {
                    refilled.record(digit & 0b01 != 0, digit & 0b10 != 0, now_ns);
                }
            }
            (Kind::Seconds { seconds, size, head }, Results::Seconds(told)) => {
                let then = now_ns.saturating_sub(ago_ns) / NANOS_PER_SECOND;
                for (age, [calls, failed, slow, slow_failed]) in told {
                    let counts =
                        Counts { calls: *calls, failed: *failed, slow: *slow, slow_failed: *slow_failed };
                    let second = then.saturating_sub(*age);
                    let follows = seconds.back().is_none_or(|newest| newest.second < second);
                    if follows && !is_past(second, *size, *head) && then >= *age {
                        seconds.push_back(Second { second, counts });
                        refilled.counts.add(counts);
                    }
                }
            }
            _ => {}
        }
        refilled
    }

    /// Results without which no rate is known: in a window of calls never more than it holds.
    pub(super) fn minimum(&self, minimum_calls: u32) -> u32 {
        match self.kind {
            Kind::Calls { size, .. } => minimum_calls.min(size),
            Kind::Seconds { .. } => minimum_calls,
        }
    }

    /// Bytes that it takes beyond its own size.
    pub(super) fn heap_bytes(&self) -> usize {
        match &self.kind {
            Kind::Calls { ring, .. } => size_of_val::<[u64]>(ring),
            Kind::Seconds { seconds, .. } => seconds.capacity() * size_of::<Second>(),
        }
    }
}

/// Where the newest second is after a result at `now`. When the clock has run back, the reference moves on by one
/// second at each result until the clock has caught up; so does this.
fn moved(head: u64, now: u64) -> u64 {
    if now < head { head + 1 } else { now }
}

fn is_past(second: u64, size: u32, head: u64) -> bool {
    second + u64::from(size) <= head
}

/// The result at a place, two bits.
fn bits(ring: &[u64], place: u32) -> u64 {
    let word = ring.get((place / RESULTS_PER_WORD) as usize).copied().unwrap_or_default();
    (word >> (2 * (place % RESULTS_PER_WORD))) & 0b11
}

/// Puts a result into its place, and says what stood there.
fn exchange(ring: &mut [u64], place: u32, failed: bool, slow: bool) -> Counts {
    let word = &mut ring[(place / RESULTS_PER_WORD) as usize];
    let shift = 2 * (place % RESULTS_PER_WORD);
    let before = (*word >> shift) & 0b11;
    *word = (*word & !(0b11 << shift)) | ((u64::from(failed) | u64::from(slow) << 1) << shift);
    Counts::of(before & 0b01 != 0, before & 0b10 != 0)
}
