//! Who wants to hear of a key, found by what every key that they mean begins with.
//!
//! A key is looked up once for each length that any of the workspace's prefixes has: ten thousand followers of distinct
//! prefixes of one length cost one look, not ten thousand comparisons.

use std::collections::{BTreeMap, HashMap};
use synod_protocol::primitives::changes::Interest;

/// A follower, by number.
pub(super) type Number = u64;

#[derive(Debug, Default)]
pub(super) struct Index {
    workspaces: HashMap<String, Prefixes>,
}

#[derive(Debug, Default)]
struct Prefixes {
    followers: HashMap<String, Vec<Number>>,
    /// How many distinct prefixes have this length, in bytes.
    lengths: BTreeMap<usize, usize>,
}

impl Index {
    pub(super) fn add(&mut self, interest: &Interest, number: Number) {
        let prefix = interest.pattern.literal_prefix();
        let here = self.workspaces.entry(interest.workspace.to_string()).or_default();
        if !here.followers.contains_key(&prefix) {
            *here.lengths.entry(prefix.len()).or_default() += 1;
        }
        here.followers.entry(prefix).or_default().push(number);
    }

    pub(super) fn remove(&mut self, interest: &Interest, number: Number) {
        let prefix = interest.pattern.literal_prefix();
        let Some(here) = self.workspaces.get_mut(interest.workspace.as_str()) else { return };
        let Some(followers) = here.followers.get_mut(&prefix) else { return };
        followers.retain(|n| *n != number);
        if followers.is_empty() {
            here.followers.remove(&prefix);
            if let Some(count) = here.lengths.get_mut(&prefix.len()) {
                *count -= 1;
                if *count == 0 {
                    here.lengths.remove(&prefix.len());
                }
            }
        }
        if here.followers.is_empty() {
            self.workspaces.remove(interest.workspace.as_str());
        }
    }

    /// Those whose prefix this key has; whether they mean it is theirs to say.
    pub(super) fn candidates(&self, workspace: &str, key: &str) -> Vec<Number> {
        let Some(here) = self.workspaces.get(workspace) else { return Vec::new() };
        let lengths = here.lengths.range(..=key.len()).map(|(length, _)| *length);
        let prefixes = lengths.filter_map(|length| key.get(..length));
        prefixes.filter_map(|prefix| here.followers.get(prefix)).flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interest(workspace: &str, pattern: &str) -> Interest {
        Interest { workspace: workspace.parse().unwrap(), pattern: pattern.parse().unwrap() }
    }

    #[test]
    fn a_key_finds_those_whose_prefix_it_has_and_nothing_is_left_behind() {
        let mut index = Index::default();
        let all = [("a", "x/*"), ("a", "x/*"), ("a", "*"), ("a", "xü"), ("b", "x/*"), ("a", "y?")];
        for (number, (workspace, pattern)) in all.iter().enumerate() {
            index.add(&interest(workspace, pattern), number as u64);
        }
        let check = |index: &Index, workspace: &str, key: &str, found: &[u64]| {
            let mut candidates = index.candidates(workspace, key);
            candidates.sort_unstable();
            assert_eq!(candidates, found, "{workspace} {key}");
        };
        check(&index, "a", "x/1", &[0, 1, 2]);
        check(&index, "a", "xü", &[2, 3]);
        check(&index, "a", "x", &[2]);
        check(&index, "b", "x/1", &[4]);
        check(&index, "c", "x/1", &[]);
        index.remove(&interest("a", "x/*"), 0);
        check(&index, "a", "x/1", &[1, 2]);
        for (number, (workspace, pattern)) in all.iter().enumerate() {
            index.remove(&interest(workspace, pattern), number as u64);
        }
        assert!(index.workspaces.is_empty());
    }
}
