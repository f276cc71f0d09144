//! Deduplication: the commands that a shard has had, within a window of time and of count.
//!
//! A command is kept for the longer of the two, so the memory is bounded by the rate within the time.

use crate::decide::Subject;
use std::collections::{BTreeMap, VecDeque};
use synod_protocol::{Error, Timestamp, Workspace};

/// For how long a command is remembered at least.
pub const WINDOW_MS: u64 = 3_600_000;
/// How many of the last commands are remembered at least.
pub const WINDOW_COUNT: usize = 100_000;

/// 16 bytes of BLAKE3 of workspace and `ce_id`: two commands that collide are less likely than a broken disk.
type Print = [u8; 16];

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Had {
    /// It was taken; a repeat is answered with this entity as it is now.
    Taken(Subject),
    /// It was refused; a repeat is refused alike.
    Refused(Box<Error>),
}

/// The commands that a shard has had.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    had: BTreeMap<Print, Had>,
    order: VecDeque<(Timestamp, Print)>,
}

fn print(workspace: &Workspace, ce_id: &str) -> Print {
    let mut hash = blake3::Hasher::new();
    hash.update(workspace.as_str().as_bytes()).update(&[0]).update(ce_id.as_bytes());
    let mut print = [0; 16];
    print.copy_from_slice(&hash.finalize().as_bytes()[..16]);
    print
}

impl Seen {
    /// What this command came to, if it was had.
    pub fn get(&self, workspace: &Workspace, ce_id: &str) -> Option<&Had> {
        self.had.get(&print(workspace, ce_id))
    }

    /// Remembers it, and forgets what is outside both windows.
    pub fn insert(&mut self, now: Timestamp, workspace: &Workspace, ce_id: &str, had: Had) {
        let print = print(workspace, ce_id);
        if self.had.insert(print, had).is_none() {
            self.order.push_back((now, print));
        }
        while self.order.len() > WINDOW_COUNT {
            match self.order.front() {
                Some((at, old)) if now.millis_since(*at) > WINDOW_MS => {
                    self.had.remove(old);
                    self.order.pop_front();
                }
                _ => break,
            }
        }
    }

    /// Whether what is remembered and the order in which it is to be forgotten agree.
    pub(crate) fn consistent(&self) -> Result<(), String> {
        let known = self.order.iter().all(|(_, print)| self.had.contains_key(print));
        let sorted = self.order.iter().is_sorted_by_key(|(at, _)| *at);
        match known && sorted && self.order.len() == self.had.len() {
            true => Ok(()),
            false => Err(format!("{} commands had, {} to be forgotten", self.had.len(), self.order.len())),
        }
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.order.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_kept_for_the_longer_of_time_and_count() {
        let (mut seen, ws) = (Seen::default(), Workspace::default_name());
        let at = |ms: u64| Timestamp::from_millis(ms as i64);
        let refused = || Had::Refused(Box::new(Error::invalid("x")));
        for i in 0..WINDOW_COUNT {
            seen.insert(at(0), &ws, &i.to_string(), refused());
        }
        seen.insert(at(WINDOW_MS), &ws, "young", refused());
        assert_eq!(seen.len(), WINDOW_COUNT + 1);
        seen.insert(at(WINDOW_MS + 1), &ws, "old", refused());
        assert_eq!(seen.len(), WINDOW_COUNT);
        assert!(seen.get(&ws, "0").is_none());
        assert!(seen.get(&ws, "young").is_some());
        assert!(seen.get(&"other".parse().unwrap(), "young").is_none());
    }
}
