//! Events as they happen, for any number of followers over one reader of the events topic.
//!
//! ```text
//!   synod.events.v1 --one reader per partition, while anybody follows--> hub: the newest records of each partition
//!                                                                          |
//!   a follower: reads Kafka's log from its position to where the hub's records begin, then takes those after its position;
//!               one that is behind the hub's records again is told so, or reads Kafka's log again
//! ```
//!
//! Nothing waits for a slow follower and nothing grows for it: a position is all that is kept of one. Nothing is read while
//! nobody follows. An event that is published again (after a change of owner) is told once: what has the id of one of the
//! [`BACK`] records before it in its partition is a repeat, whoever reads it and from wherever.

mod follow;
mod hub;
mod log;

pub(crate) use follow::{FollowError, Following};
pub(crate) use hub::EventFeed;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use synod_infra::kafka::RawRecord;
use synod_protocol::event_stream::ToldEvent;
use synod_protocol::{Json, Workspace};

/// Records before an event among which its id makes it a repeat; so many of a partition are also at hand in the hub.
const BACK: usize = 2048;

/// An event that is told.
#[derive(Debug)]
pub(crate) struct Happened {
    pub(crate) id: String,
    pub(crate) ty: String,
    /// As history shows it.
    pub(crate) shown: Json,
    workspace: Workspace,
    subject: String,
    offset: u64,
}

/// Tells repeats from what is new, in one partition.
#[derive(Debug, Default)]
struct Sieve {
    order: VecDeque<Arc<str>>,
    /// How often each stands in that.
    known: HashMap<Arc<str>, usize>,
}

impl Sieve {
    /// The event of a record; `None` for a repeat, and for what is no event. Records come in the order of their offsets.
    fn take(&mut self, record: &RawRecord) -> Option<Happened> {
        let envelope = record.envelope().map_err(|error| {
            tracing::debug!(offset = record.offset, %error, "a record of the events topic is told to nobody");
        });
        let (workspace, told) = ToldEvent::of(envelope.ok()?, record.payload.as_deref()?)?;
        if !self.is_new(&told.id) {
            return None;
        }
        Some(Happened {
            shown: Json::of(&told).ok()?,
            id: told.id,
            ty: told.ty,
            subject: told.entity,
            workspace,
            offset: u64::try_from(record.offset).ok()?,
        })
    }

    fn is_new(&mut self, id: &str) -> bool {
        let id: Arc<str> = id.into();
        self.order.push_back(id.clone());
        let count = self.known.entry(id).or_default();
        *count += 1;
        let is_new = *count == 1;
        if self.order.len() > BACK
            && let Some(oldest) = self.order.pop_front()
            && let Some(count) = self.known.get_mut(&oldest)
        {
            *count -= 1;
            if *count == 0 {
                self.known.remove(&oldest);
            }
        }
        is_new
    }
}

/// The newest events of a partition, within a number and a weight.
#[derive(Debug)]
struct Recent {
    events: VecDeque<Arc<Happened>>,
    bytes: usize,
    bytes_limit: usize,
    /// Every record from here on that is an event is here.
    from: u64,
    /// The offset that is read next.
    next: u64,
}

impl Recent {
    fn starting(at: u64, bytes_limit: usize) -> Recent {
        Recent { events: VecDeque::new(), bytes: 0, bytes_limit, from: at, next: at }
    }

    fn add(&mut self, offset: u64, event: Option<Happened>) {
        self.next = offset + 1;
        let Some(event) = event else { return };
        self.bytes += weight(&event);
        self.events.push_back(Arc::new(event));
        while self.events.len() > BACK || self.bytes > self.bytes_limit {
            let Some(gone) = self.events.pop_front() else { break };
            self.bytes -= weight(&gone);
            self.from = gone.offset + 1;
        }
    }

    /// Those from this offset on, at most so many.
    fn after(&self, offset: u64, most: usize) -> impl Iterator<Item = &Arc<Happened>> {
        let begin = self.events.partition_point(|event| event.offset < offset);
        self.events.range(begin..).take(most)
    }
}

fn weight(event: &Happened) -> usize {
    event.shown.as_str().len() + event.id.len() + event.ty.len() + event.subject.len() + 128
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happened(offset: u64, bytes: usize) -> Happened {
        Happened {
            id: offset.to_string(),
            ty: String::new(),
            shown: Json::of(&"x".repeat(bytes)).unwrap(),
            workspace: Workspace::default_name(),
            subject: String::new(),
            offset,
        }
    }

    #[test]
    fn a_repeat_is_known_within_the_window_and_no_longer() {
        let mut sieve = Sieve::default();
        assert!(sieve.is_new("a"));
        assert!(!sieve.is_new("a"));
        for n in 0..BACK - 1 {
            assert!(sieve.is_new(&n.to_string()));
        }
        assert!(!sieve.is_new("a"), "the window is counted from its last record");
        for n in 0..BACK {
            assert!(sieve.is_new(&format!("b{n}")));
        }
        assert!(sieve.is_new("a"));
        assert!(sieve.order.len() <= BACK && sieve.known.len() <= BACK);
    }

    #[test]
    fn recent_events_keep_within_number_and_weight_and_say_from_where() {
        let mut recent = Recent::starting(10, 10_000);
        (10..20).for_each(|offset| recent.add(offset, Some(happened(offset, 10))));
        recent.add(20, None);
        assert_eq!((recent.from, recent.next, recent.events.len()), (10, 21, 10));
        assert_eq!(recent.after(15, 3).map(|event| event.offset).collect::<Vec<_>>(), [15, 16, 17]);
        recent.add(21, Some(happened(21, 9_000)));
        assert!(recent.bytes <= 10_000 && recent.from > 10, "{}", recent.from);
        recent.add(22, Some(happened(22, 20_000)));
        assert_eq!(
            (recent.from, recent.bytes, recent.events.len()),
            (23, 0, 0),
            "larger than all that may be"
        );
        (23..23 + BACK as u64 + 5).for_each(|offset| recent.add(offset, None));
        assert_eq!(recent.from, 23);
    }
}
