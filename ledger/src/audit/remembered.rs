//! What is over, remembered for the window within which it must not come again.

use super::Print;
use crate::seen::Window;
use std::collections::{BTreeMap, VecDeque};
use synod_protocol::Timestamp;

/// What is over, for as long as the window.
#[derive(Clone, Debug)]
pub(super) struct Remembered<T> {
    known: BTreeMap<Print, T>,
    order: VecDeque<(Timestamp, Print)>,
}

impl<T> Default for Remembered<T> {
    fn default() -> Remembered<T> {
        Remembered { known: BTreeMap::new(), order: VecDeque::new() }
    }
}

impl<T> Remembered<T> {
    pub(super) fn knows(&self, print: &Print) -> bool {
        self.known.contains_key(print)
    }

    pub(super) fn get(&self, print: &Print) -> Option<&T> {
        self.known.get(print)
    }

    pub(super) fn insert(&mut self, now: Timestamp, print: Print, what: T) {
        if self.known.insert(print, what).is_none() {
            self.order.push_back((now, print));
        }
    }

    /// It goes on after all.
    pub(super) fn remove(&mut self, print: &Print) {
        if self.known.remove(print).is_some() {
            self.order.retain(|(_, known)| known != print);
        }
    }

    pub(super) fn forget(&mut self, now: Timestamp, window: Window) {
        while self.order.len() > window.count
            && let Some((_, print)) = self.order.front().filter(|(at, _)| now.millis_since(*at) > window.ms)
        {
            self.known.remove(print);
            self.order.pop_front();
        }
    }
}
