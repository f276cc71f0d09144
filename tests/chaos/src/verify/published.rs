//! What stands in the events topic. The same event may stand there often; two different ones under one id never.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// The events, as far as they have been read.
#[derive(Debug, Default)]
pub struct Published {
    /// By shard, offset and index: a fingerprint of what was told.
    events: HashMap<(u32, u64, u32), u64>,
    strange: Vec<String>,
    repeats: u64,
}

impl Published {
    /// Takes a record: its `ce_id`, its `synod-position` if it has one, its type, subject and value.
    pub fn event(&mut self, id: &str, position: Option<(u32, u64)>, ty: &str, subject: &str, value: &[u8]) {
        let Some(position) = position else { return };
        let Some(place) = place(id) else {
            return self
                .strange
                .push(format!("event {id} stands in the ledger, but its id is no place there"));
        };
        if (place.0, place.1) != position {
            self.strange.push(format!("event {id} says that it stands at {}:{}", position.0, position.1));
        }
        let mut hasher = DefaultHasher::new();
        (ty, subject, value).hash(&mut hasher);
        let fingerprint = hasher.finish();
        match self.events.insert(place, fingerprint) {
            Some(before) if before != fingerprint => {
                self.strange.push(format!("two different events have the id {id}"));
            }
            Some(_) => self.repeats += 1,
            None => {}
        }
    }

    /// Whether this event was published.
    pub(super) fn has(&self, place: (u32, u64, u32)) -> bool {
        self.events.contains_key(&place)
    }

    pub(super) fn places(&self) -> impl Iterator<Item = &(u32, u64, u32)> {
        self.events.keys()
    }

    pub(super) fn strange(&self) -> &[String] {
        &self.strange
    }

    /// Different events, and how many records repeated one.
    pub fn counts(&self) -> (u64, u64) {
        (self.events.len() as u64, self.repeats)
    }
}

/// `<shard>-<offset>-<index>`
fn place(id: &str) -> Option<(u32, u64, u32)> {
    let mut parts = id.split('-');
    let place = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?);
    parts.next().is_none().then_some(place)
}
