//! Loss by silence: who has not been heard of for too long.

use crate::AgentKey;
use std::collections::BTreeMap;
use synod_protocol::Incarnation;

/// When each agent was last heard of, in milliseconds of the caller's monotonic time.
#[derive(Debug, Default)]
pub struct Silence {
    known: BTreeMap<AgentKey, Known>,
}

#[derive(Debug)]
struct Known {
    incarnation: Incarnation,
    /// Silence counts from here: a sign of life, or the moment from which one was expected.
    from_ms: u64,
    /// The last real sign of life.
    heard_ms: Option<u64>,
}

impl Silence {
    /// A sign of life. Returns whether this process start is new here.
    pub fn heard(&mut self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) -> bool {
        let is_new = self.expect(key, incarnation, now_ms);
        if let Some(known) = self.known.get_mut(key) {
            known.from_ms = now_ms.max(known.from_ms);
            known.heard_ms = Some(now_ms);
        }
        is_new
    }

    /// Begins to expect signs of life of a process start of which nothing is known yet. Returns whether that is so.
    pub fn expect(&mut self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) -> bool {
        let is_new = self.known.get(key).is_none_or(|known| known.incarnation != *incarnation);
        if is_new {
            let known = Known { incarnation: incarnation.clone(), from_ms: now_ms, heard_ms: None };
            self.known.insert(key.clone(), known);
        }
        is_new
    }

    /// Milliseconds for which this process start has been silent; `None` if nothing is expected of it.
    pub fn since(&self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) -> Option<u64> {
        let known = self.known.get(key).filter(|known| known.incarnation == *incarnation)?;
        Some(now_ms.saturating_sub(known.from_ms))
    }

    /// Milliseconds since the last real sign of life of this process start; `None` if there was none.
    pub fn since_heard(&self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) -> Option<u64> {
        let known = self.known.get(key).filter(|known| known.incarnation == *incarnation)?;
        known.heard_ms.map(|at| now_ms.saturating_sub(at))
    }

    /// Expects nothing of it any more.
    pub fn forget(&mut self, key: &AgentKey) {
        self.known.remove(key);
    }

    /// Gives everyone of these the whole time again, since they could not speak or we not hear. No sign of life for
    /// anyone.
    pub fn pardon(&mut self, now_ms: u64, whom: impl Fn(&AgentKey) -> bool) {
        for (_, known) in self.known.iter_mut().filter(|(key, _)| whom(key)) {
            known.from_ms = now_ms.max(known.from_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_counts_from_the_last_sign_of_the_same_process_start() {
        let key = AgentKey { workspace: "w".parse().unwrap(), agent: "a".parse().unwrap() };
        let first: Incarnation = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10".parse().unwrap();
        let second: Incarnation = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c11".parse().unwrap();
        let mut silence = Silence::default();
        assert_eq!(silence.since(&key, &first, 0), None);
        silence.expect(&key, &first, 100);
        silence.expect(&key, &first, 900);
        assert_eq!(silence.since(&key, &first, 1_000), Some(900));
        assert!(!silence.heard(&key, &first, 950));
        assert_eq!(silence.since(&key, &first, 1_000), Some(50));
        assert!(silence.heard(&key, &second, 960));
        assert_eq!(silence.since(&key, &first, 1_000), None);
        silence.pardon(5_000, |_| false);
        assert_eq!(silence.since(&key, &second, 5_001), Some(4_041), "another was pardoned");
        silence.pardon(5_000, |pardoned| *pardoned == key);
        assert_eq!(silence.since(&key, &second, 5_001), Some(1));
        assert_eq!(silence.since_heard(&key, &second, 5_001), Some(4_041), "a pardon is no sign of life");
    }
}
