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
    /// A new owner takes an award whose holder is still to commit itself for one that has lapsed.
    AwardAgain,
    /// A commitment counts after its award has lapsed.
    #[cfg(feature = "planted")]
    LateCommitment,
    /// A second answer to a round counts, whatever was agreed.
    #[cfg(feature = "planted")]
    AnswerCountedTwice,
    /// An answer that comes after the decision is decided on once more.
    #[cfg(feature = "planted")]
    DecidedTwice,
    /// Nobody is asked from the second round on.
    AskForgotten,
    /// What a decision starts is forgotten where time was up.
    ThenForgotten,
    /// A negotiation whose end is too large for a record is tried again, and again.
    TimerForEver,
    /// The end of a step's task for want of time is not told to its execution.
    EndUntold,
    /// What an execution wants no more goes on.
    NotTakenBack,
    /// A decision counts a minute behind an approval's time.
    DecidedLate,
    /// An approval whose time is up is asked for again.
    AskedTwice,
    /// An execution is told another result than its child had.
    ResultChanged,
    /// Tasks of agents that are gone are taken back in the order of an unordered map.
    #[cfg(feature = "planted")]
    UnorderedMap,
}

#[cfg(feature = "planted")]
#[expect(clippy::disallowed_types, reason = "an order of its own each time is the bug")]
mod chosen {
    use super::Bug;
    use crate::decide::Input;
    use crate::state::State;
    use std::borrow::Cow;
    use std::cell::Cell;
    use std::collections::HashMap;
    use synod_negotiation::Negotiation;
    use synod_protocol::negotiation::{NegotiationStatus, Repeated, RespondNegotiation, Round};

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

    /// A negotiation as an answer to it is decided on.
    pub(crate) fn as_answered<'a>(it: &'a Negotiation, command: &RespondNegotiation) -> Cow<'a, Negotiation> {
        let mut planted = Cow::Borrowed(it);
        let last = it.rounds.len() as u32;
        let reopens = |round: &mut Round| (round.closed_at, round.closed_by) = (None, None);
        match (PLANTED.get(), command.round) {
            (Some(Bug::AnswerCountedTwice), _) => planted.to_mut().opened.repeated = Repeated::Last,
            (Some(Bug::LateCommitment), Some(round @ 2..)) if round < last && !it.status.is_final() => {
                let rounds = &mut planted.to_mut().rounds;
                rounds.truncate(round as usize);
                rounds.last_mut().into_iter().for_each(reopens);
            }
            (Some(Bug::DecidedTwice), _) if it.is_decided() => {
                let it = planted.to_mut();
                (it.status, it.decided) = (NegotiationStatus::Collecting, None);
                it.rounds.last_mut().into_iter().for_each(reopens);
            }
            _ => {}
        }
        planted
    }

    /// Awards whose holders are still to commit themselves, for [`Bug::AwardAgain`].
    pub(crate) fn under_way(state: &State) -> Vec<Input> {
        let commits =
            state.negotiations.timed().filter(|(_, it)| it.round().is_some_and(|r| r.kind == "commit"));
        let keys = commits.filter(|_| is(Bug::AwardAgain)).map(|(key, _)| key.clone());
        keys.map(Input::NegotiationDue).collect()
    }
}

#[cfg(feature = "planted")]
pub use chosen::plant;
#[cfg(feature = "planted")]
pub(crate) use chosen::{as_answered, in_any_order, is, under_way};

/// Never.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub(crate) const fn is(_: Bug) -> bool {
    false
}

/// As it is.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub(crate) const fn as_answered<'a>(
    it: &'a synod_negotiation::Negotiation,
    _: &synod_protocol::negotiation::RespondNegotiation,
) -> &'a synod_negotiation::Negotiation {
    it
}
