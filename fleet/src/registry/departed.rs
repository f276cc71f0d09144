//! Who has left, so that no older entry brings them back.

use super::AgentKey;
use std::collections::BTreeMap;

/// The latest so many are remembered.
const LIMIT: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Departed {
    /// By which offset, and when relative to the others.
    known: BTreeMap<AgentKey, (u64, u64)>,
    turns: BTreeMap<u64, AgentKey>,
}

impl Departed {
    pub(super) fn offset(&self, key: &AgentKey) -> Option<u64> {
        self.known.get(key).map(|(offset, _)| *offset)
    }

    pub(super) fn forget(&mut self, key: &AgentKey) {
        if let Some((_, turn)) = self.known.remove(key) {
            self.turns.remove(&turn);
        }
    }

    pub(super) fn remember(&mut self, key: AgentKey, offset: u64) {
        self.forget(&key);
        let turn = self.turns.last_key_value().map_or(0, |(last, _)| last + 1);
        self.turns.insert(turn, key.clone());
        self.known.insert(key, (offset, turn));
        if self.turns.len() > LIMIT
            && let Some((_, oldest)) = self.turns.pop_first()
        {
            self.known.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_protocol::Workspace;

    fn key(n: usize) -> AgentKey {
        AgentKey { workspace: Workspace::default_name(), agent: format!("a{n}").parse().unwrap() }
    }

    #[test]
    fn only_so_many_who_have_left_are_remembered() {
        let mut departed = Departed::default();
        for n in 0..=LIMIT {
            departed.remember(key(n), n as u64);
        }
        assert_eq!((departed.known.len(), departed.turns.len()), (LIMIT, LIMIT));
        assert_eq!((departed.offset(&key(0)), departed.offset(&key(1))), (None, Some(1)));
        for offset in 1..1_000 {
            departed.remember(key(5), 1_000_000 + offset);
        }
        assert_eq!((departed.known.len(), departed.turns.len()), (LIMIT, LIMIT));
        assert_eq!((departed.offset(&key(5)), departed.offset(&key(1))), (Some(1_000_999), Some(1)));
    }
}
