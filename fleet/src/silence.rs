//! Loss by silence: who has not been heard of for too long.

use crate::AgentKey;
use std::collections::BTreeMap;
use synod_protocol::Incarnation;

/// When each agent was last heard of, in milliseconds of the caller's monotonic time.
#[derive(Debug, Default)]
pub struct Silence {
    heard: BTreeMap<AgentKey, (Incarnation, u64)>,
}

impl Silence {
    /// A sign of life, or the moment from which one is expected. Returns whether this process start is new here.
    pub fn heard(&mut self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) -> bool {
        match self.heard.get_mut(key) {
            Some((known, at)) if known == incarnation => {
                *at = now_ms.max(*at);
                false
            }
            _ => {
                self.heard.insert(key.clone(), (incarnation.clone(), now_ms));
                true
            }
        }
    }

    /// Begins to expect signs of life from whom nothing is known yet.
    pub fn expect(&mut self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) {
        if self.heard.get(key).is_none_or(|(known, _)| known != incarnation) {
            self.heard.insert(key.clone(), (incarnation.clone(), now_ms));
        }
    }

    /// Milliseconds since this process start was heard of; `None` if it never was.
    pub fn since(&self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) -> Option<u64> {
        let (known, at) = self.heard.get(key)?;
        (known == incarnation).then(|| now_ms.saturating_sub(*at))
    }

    /// Expects nothing of it any more.
    pub fn forget(&mut self, key: &AgentKey) {
        self.heard.remove(key);
    }

    /// Begins anew: everyone is given the whole time again, since it was us who could not hear.
    pub fn pardon(&mut self, now_ms: u64) {
        for (_, at) in self.heard.values_mut() {
            *at = now_ms;
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
        silence.pardon(5_000);
        assert_eq!(silence.since(&key, &second, 5_001), Some(1));
    }
}
