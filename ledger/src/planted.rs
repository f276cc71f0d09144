//! Bugs of the core that are planted on purpose, one at a time, to see that the simulation catches them.
//!
//! Only the feature `planted` makes them possible, and only the simulation's own build asks for that; without it
//! [`is`] is a constant and nothing is left of them.

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "planted"), expect(unreachable_pub, reason = "to be chosen where it can be"))]
pub enum Bug {
    /// Every record counts.
    FencingOff,
    /// A record counts by its number alone.
    EpochUnchecked,
    /// A record counts by its epoch alone.
    NumberUnchecked,
    /// An image counts, whoever wrote it.
    OldImageBelieved,
    /// An acknowledgement's offset is not looked at.
    OffsetUnchecked,
    /// A record is released on its own acknowledgement while an earlier one is missing.
    ReleasedAlone,
    /// The number of a record whose append has failed is given to the next.
    NumberGivenTwice,
    /// An answer does not wait for what it was read from to be proven.
    AnsweredUnproven,
    /// What is refused is not recorded.
    RefusalUnrecorded,
    /// A command is not known again by its id.
    DeduplicationOff,
    /// The floor passes steps whose effects are not confirmed.
    FloorPastOwed,
    /// The floor passes things that live.
    FloorPastLive,
    /// `done` passes steps whose effects are not confirmed.
    DoneEarly,
    /// Tasks of agents that are gone are taken back in the order of an unordered map.
    #[cfg(feature = "planted")]
    UnorderedMap,
}

#[cfg(feature = "planted")]
#[expect(clippy::disallowed_types, reason = "an order of its own each time is the bug")]
mod chosen {
    use super::Bug;
    use std::cell::Cell;
    use std::collections::HashMap;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a bug for all that this thread does from now on, in place of the one before.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    /// Whether this bug is planted.
    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }

    /// The same things in an order that is another each time.
    pub(crate) fn in_any_order<T>(things: impl IntoIterator<Item = T>) -> impl Iterator<Item = T> {
        things.into_iter().enumerate().collect::<HashMap<_, _>>().into_values()
    }
}

#[cfg(feature = "planted")]
pub use chosen::plant;
#[cfg(feature = "planted")]
pub(crate) use chosen::{in_any_order, is};

/// Never.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub(crate) const fn is(_: Bug) -> bool {
    false
}
