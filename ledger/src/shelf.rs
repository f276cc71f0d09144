//! Entities of one kind that have timers and end: which there are, when each is due, and which may be forgotten.

use crate::memory::{Kept, Moved};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use synod_protocol::Timestamp;

/// What a shelf asks of what stands in it. Each answer takes no time worth a word: it is asked before and after every change.
pub(crate) trait Shelved: Clone + PartialEq {
    /// When something is due by itself.
    fn timer(&self) -> Option<Timestamp>;
    /// When it ended.
    fn ended_at(&self) -> Option<Timestamp>;
    /// About what it takes in memory, in bytes.
    fn weight(&self) -> usize;
    /// Whether there is more to do for it at once.
    fn goes_on(&self) -> bool {
        false
    }
}

/// Entities of a shard by their keys, and the indexes over them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Shelf<K, T> {
    all: BTreeMap<K, Kept<T>>,
    timers: BTreeSet<(Timestamp, K)>,
    going: BTreeSet<K>,
    ended: BTreeSet<(Timestamp, K)>,
    ended_weight: usize,
    live_weight: usize,
}

impl<K, T> Default for Shelf<K, T> {
    fn default() -> Self {
        Shelf {
            all: BTreeMap::new(),
            timers: BTreeSet::new(),
            going: BTreeSet::new(),
            ended: BTreeSet::new(),
            ended_weight: 0,
            live_weight: 0,
        }
    }
}

impl<K: Ord + Clone, T: Shelved> Shelf<K, T> {
    pub(crate) fn get(&self, key: &K) -> Option<&T> {
        self.all.get(key).map(|kept| &kept.state)
    }

    pub(crate) fn kept(&self, key: &K) -> Option<&Kept<T>> {
        self.all.get(key)
    }

    /// How many have not ended.
    pub(crate) fn live(&self) -> usize {
        self.all.len() - self.ended.len()
    }

    /// All in memory, in the order of their keys.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&K, &T)> {
        self.all.iter().map(|(key, kept)| (key, &kept.state))
    }

    /// Those after this one, for paging.
    pub(crate) fn after(&self, key: &K) -> impl Iterator<Item = (&K, &T)> {
        self.all.range((Excluded(key.clone()), Unbounded)).map(|(key, kept)| (key, &kept.state))
    }

    /// Those that something is due for some day.
    pub(crate) fn timed(&self) -> impl Iterator<Item = (&K, &T)> {
        self.timers.iter().filter_map(|(_, key)| Some((key, self.get(key)?)))
    }

    /// What is due next, and when.
    pub(crate) fn first_due(&self) -> Option<&(Timestamp, K)> {
        self.timers.first()
    }

    /// One for which there is more to do at once.
    pub(crate) fn first_going(&self) -> Option<&K> {
        self.going.first()
    }

    /// What those that have not ended weigh, in bytes.
    pub(crate) fn live_weight(&self) -> usize {
        self.live_weight
    }

    /// Lets go of those that ended so long ago, and of so much of it.
    /// Each with its base.
    pub(crate) fn forget(&mut self, now: Timestamp, ended_ms: u64, ended_bytes: usize) -> Vec<(K, u64, T)> {
        let mut gone = Vec::new();
        while let Some((at, key)) = self.ended.first() {
            if now.millis_since(*at) <= ended_ms && self.ended_weight <= ended_bytes {
                break;
            }
            let key = key.clone();
            let Some(Kept { base, state, .. }) = self.take(&key) else { break };
            gone.push((key, base, state));
        }
        gone
    }

    /// Each with its base.
    pub(crate) fn bases(&self) -> impl Iterator<Item = (u64, &K)> {
        self.all.iter().map(|(key, kept)| (kept.base, key))
    }

    /// Where its newest image will stand; where the one before stood.
    pub(crate) fn rebase(&mut self, key: &K, base: u64) -> Option<u64> {
        self.all.get_mut(key).map(|kept| std::mem::replace(&mut kept.base, base))
    }

    /// The base of the one that it takes the place of.
    pub(crate) fn insert(&mut self, key: K, kept: Kept<T>) -> Option<u64> {
        let before = self.remove(&key);
        self.index(&key, &kept.state);
        self.all.insert(key, kept);
        before
    }

    /// Forgets one; the base that it had.
    pub(crate) fn remove(&mut self, key: &K) -> Option<u64> {
        self.take(key).map(|kept| kept.base)
    }

    /// Takes one out for a while, with its place among the bases, to be [put back](Shelf::put_back).
    pub(crate) fn set_aside(&mut self, key: Option<K>) -> Option<(K, Kept<T>)> {
        let key = key?;
        let kept = self.take(&key)?;
        Some((key, kept))
    }

    /// What was set aside is there again.
    pub(crate) fn put_back(&mut self, aside: Option<(K, Kept<T>)>) {
        if let Some((key, kept)) = aside {
            self.index(&key, &kept.state);
            self.all.insert(key, kept);
        }
    }

    fn take(&mut self, key: &K) -> Option<Kept<T>> {
        let kept = self.all.remove(key)?;
        self.unindex(key, &kept.state);
        Some(kept)
    }

    /// Changes one; what is not there is left alone.
    pub(crate) fn change(&mut self, key: &K, change: impl FnOnce(&mut T)) {
        let Some(mut kept) = self.all.remove(key) else { return };
        self.unindex(key, &kept.state);
        change(&mut kept.state);
        self.index(key, &kept.state);
        self.all.insert(key.clone(), kept);
    }

    fn index(&mut self, key: &K, it: &T) {
        if let Some(at) = it.timer() {
            self.timers.insert((at, key.clone()));
        }
        if it.goes_on() {
            self.going.insert(key.clone());
        }
        match it.ended_at() {
            Some(at) => {
                self.ended.insert((at, key.clone()));
                self.ended_weight += it.weight();
            }
            None => self.live_weight += it.weight(),
        }
    }

    fn unindex(&mut self, key: &K, it: &T) {
        if let Some(at) = it.timer() {
            self.timers.remove(&(at, key.clone()));
        }
        self.going.remove(key);
        match it.ended_at() {
            Some(at) => {
                self.ended.remove(&(at, key.clone()));
                self.ended_weight -= it.weight();
            }
            None => self.live_weight -= it.weight(),
        }
    }

    /// Whether the indexes are those of what stands there.
    pub(crate) fn is_consistent(&self) -> bool {
        let mut want = Shelf::default();
        for (key, kept) in &self.all {
            want.insert(key.clone(), kept.clone());
        }
        want == *self
    }
}

/// What was let go of has no base any more.
pub(crate) fn gone(base: u64) -> Moved {
    Moved { from: Some(base), to: None }
}
