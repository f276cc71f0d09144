//! Which traces are kept that the ratio does not: those that failed, and those that were slow.
//!
//! Spans of a trace that is not sampled are held until its part of the work in this process has ended. A span that failed, a
//! part that took longer than `slow`, or one that has not ended by then: the trace is kept, and what of it comes later too. All
//! is bounded; what has to make room is the oldest.

use super::span::{Scope, Span};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Spans that are held at a time.
const MOST_HELD: usize = 16_384;
/// Spans of one trace that are held.
const MOST_OF_ONE: usize = 512;
/// Traces of which it is remembered what was decided.
const MOST_DECIDED: usize = 8_192;

type TraceId = [u8; 16];

/// The spans held, and what was decided of late.
pub(super) struct Hold {
    slow: Duration,
    held: HashMap<(TraceId, Scope), Held>,
    /// In the order in which they began to be held; those that are gone by now included.
    order: VecDeque<(Instant, TraceId, Scope)>,
    spans: usize,
    kept: BTreeMap<TraceId, bool>,
    decided: VecDeque<TraceId>,
}

struct Held {
    since: Instant,
    spans: Vec<Span>,
}

/// What came of spans.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sorted {
    /// To be sent.
    pub(super) kept: Vec<Span>,
    /// Let go.
    pub(super) gone: usize,
}

impl Hold {
    pub(super) fn new(slow: Duration) -> Hold {
        Hold {
            slow,
            held: HashMap::new(),
            order: VecDeque::new(),
            spans: 0,
            kept: BTreeMap::new(),
            decided: VecDeque::new(),
        }
    }

    /// One span that has ended.
    pub(super) fn take(&mut self, span: Span, now: Instant, to: &mut Sorted) {
        if span.is_sampled() {
            to.kept.push(span);
            return;
        }
        let (id, scope) = (span.context.trace_id, span.scope);
        let ends = span.ends_its_part;
        let is_kept = span.error.is_some() || (ends && span.took() >= self.slow);
        match (self.kept.get(&id).copied(), is_kept) {
            (Some(true), _) => to.kept.push(span),
            (_, true) => {
                self.keep(id, to);
                to.kept.push(span);
            }
            // What comes after its part has ended well.
            (Some(false), false) if !self.held.contains_key(&(id, scope)) && !ends => to.gone += 1,
            _ => {
                self.hold(span, now, to);
                if ends {
                    to.gone += self.remove(id, scope).len();
                    self.decide(id, false);
                }
            }
        }
    }

    /// What has been held for long is slow.
    pub(super) fn look(&mut self, now: Instant, to: &mut Sorted) {
        while let Some((since, id, scope)) = self.order.front().copied() {
            if now.duration_since(since) < self.slow {
                break;
            }
            self.order.pop_front();
            if self.is_held_since(id, scope, since) {
                self.keep(id, to);
            }
        }
    }

    /// Spans that are held.
    #[cfg(test)]
    fn len(&self) -> usize {
        self.spans
    }

    fn is_held_since(&self, id: TraceId, scope: Scope, since: Instant) -> bool {
        self.held.get(&(id, scope)).is_some_and(|held| held.since == since)
    }

    fn hold(&mut self, span: Span, now: Instant, to: &mut Sorted) {
        let key = (span.context.trace_id, span.scope);
        let held = self.held.entry(key).or_insert_with(|| {
            self.order.push_back((now, key.0, key.1));
            Held { since: now, spans: Vec::new() }
        });
        if held.spans.len() >= MOST_OF_ONE {
            to.gone += 1;
            return;
        }
        held.spans.push(span);
        self.spans += 1;
        while self.spans > MOST_HELD || self.order.len() > 2 * MOST_HELD {
            let Some((since, id, scope)) = self.order.pop_front() else { break };
            if self.is_held_since(id, scope, since) {
                to.gone += self.remove(id, scope).len();
            }
        }
    }

    fn remove(&mut self, id: TraceId, scope: Scope) -> Vec<Span> {
        let spans = self.held.remove(&(id, scope)).map(|held| held.spans).unwrap_or_default();
        self.spans -= spans.len();
        spans
    }

    fn keep(&mut self, id: TraceId, to: &mut Sorted) {
        for scope in [Scope::Client, Scope::Coordinator, Scope::Agent] {
            to.kept.append(&mut self.remove(id, scope));
        }
        self.decide(id, true);
    }

    fn decide(&mut self, id: TraceId, keep: bool) {
        if self.kept.insert(id, keep).is_none() {
            self.decided.push_back(id);
        }
        if self.decided.len() > MOST_DECIDED
            && let Some(oldest) = self.decided.pop_front()
        {
            self.kept.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::span::Kind;
    use super::*;
    use crate::telemetry::trace::TraceContext;
    use std::time::SystemTime;

    const SLOW: Duration = Duration::from_secs(1);

    fn span(trace: u16, flags: u8, scope: Scope) -> Span {
        let mut trace_id = [1; 16];
        trace_id[..2].copy_from_slice(&trace.to_be_bytes());
        Span::new(TraceContext { trace_id, span_id: [1; 8], flags }, scope, Kind::Internal, "x")
    }

    fn held(trace: u16) -> Span {
        span(trace, 0, Scope::Coordinator)
    }

    fn ending(trace: u16, took: Duration) -> Span {
        let at = SystemTime::UNIX_EPOCH + SLOW;
        held(trace).lasted(at, at + took).ends_its_part()
    }

    /// How many are kept and gone after each of these, all at one time.
    fn check(spans: Vec<Span>, want: &[(usize, usize)]) {
        let (mut hold, now) = (Hold::new(SLOW), Instant::now());
        let mut got = Vec::new();
        for span in spans {
            let mut sorted = Sorted::default();
            hold.take(span, now, &mut sorted);
            got.push((sorted.kept.len(), sorted.gone));
        }
        assert_eq!(got, want);
    }

    #[test]
    fn what_failed_or_was_slow_is_kept_and_the_rest_let_go() {
        let quick = Duration::from_millis(1);
        check(vec![span(1, 1, Scope::Agent)], &[(1, 0)]);
        check(vec![held(1), held(1), ending(1, quick), held(1)], &[(0, 0), (0, 0), (0, 3), (0, 1)]);
        check(vec![held(1), ending(1, quick).failed("no"), held(1)], &[(0, 0), (2, 0), (1, 0)]);
        check(vec![held(1), held(1).failed("no"), ending(1, quick)], &[(0, 0), (2, 0), (1, 0)]);
        check(vec![held(1), ending(1, SLOW)], &[(0, 0), (2, 0)]);
        check(vec![held(1), held(2), ending(1, SLOW), ending(2, quick)], &[(0, 0), (0, 0), (2, 0), (0, 2)]);
    }

    #[test]
    fn each_part_ends_by_itself_and_is_kept_with_the_others() {
        let agent = |span: Span| Span { scope: Scope::Agent, ..span };
        let quick = Duration::from_millis(1);
        check(
            vec![held(1), agent(held(1)), agent(ending(1, quick)), ending(1, SLOW)],
            &[(0, 0), (0, 0), (0, 2), (2, 0)],
        );
        check(vec![held(1), agent(held(1)).failed("no"), ending(1, quick)], &[(0, 0), (2, 0), (1, 0)]);
    }

    #[test]
    fn what_does_not_end_is_slow() {
        let (mut hold, now) = (Hold::new(SLOW), Instant::now());
        let mut sorted = Sorted::default();
        hold.take(held(1), now, &mut sorted);
        hold.look(now + SLOW / 2, &mut sorted);
        assert_eq!(sorted.kept.len(), 0);
        hold.look(now + SLOW, &mut sorted);
        assert_eq!((sorted.kept.len(), hold.len()), (1, 0));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let (mut hold, now) = (Hold::new(SLOW), Instant::now());
        let mut sorted = Sorted::default();
        (0..60_000).for_each(|n| hold.take(held(n), now, &mut sorted));
        (0..2_000).for_each(|_| hold.take(held(60_000), now, &mut sorted));
        assert!(hold.len() <= MOST_HELD && sorted.gone == 62_000 - hold.len(), "{}", hold.len());
        assert!(hold.held.values().all(|held| held.spans.len() <= MOST_OF_ONE));
        (0..60_000).for_each(|n| hold.take(ending(n, Duration::ZERO), now, &mut sorted));
        assert!(hold.kept.len() <= MOST_DECIDED && hold.decided.len() <= MOST_DECIDED);
        assert!(hold.order.len() <= 2 * MOST_HELD, "{}", hold.order.len());
    }
}
