//! Bugs that are planted on purpose, to see that they are caught. Without the feature `planted` none can be chosen.
//! Those of the core are planted in the core itself; the rest live in what the simulation has in place of the shell.

use std::fmt;
use std::str::FromStr;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// Every record counts.
    FencingOff,
    /// A record counts by its number alone.
    EpochUnchecked,
    /// A record counts by its epoch alone.
    NumberUnchecked,
    /// An acknowledgement's offset is not looked at.
    OffsetUnchecked,
    /// Released on its own acknowledgement while an earlier one is missing.
    ReleasedAlone,
    /// The number of a record whose append has failed is given to the next.
    NumberGivenTwice,
    /// The fold stops at the end seen before the claim.
    FoldBeforeClaim,
    /// The reader of commands starts one too late after a fold.
    OneLate,
    /// It starts one too early.
    OneEarly,
    /// A command is not known again by its id.
    DeduplicationOff,
    /// A repeat, or a read, is answered from unproven state.
    AnsweredUnproven,
    /// What is refused is not recorded.
    RefusalUnrecorded,
    /// An image counts, whoever wrote it.
    OldImageBelieved,
    /// The floor passes steps whose effects are not confirmed.
    FloorPastOwed,
    /// The floor passes things that live.
    FloorPastLive,
    /// `done` passes steps whose effects are not confirmed.
    DoneEarly,
    /// An inbox compares record offsets instead of the issuer's epoch.
    InboxByRecord,
    /// Timers and dispatch do not wait for the commands seen at the claim.
    TimersFirst,
    /// The core goes through an unordered map.
    UnorderedMap,
    /// Permits are granted however many are out.
    PermitsUncounted,
    /// What an attempt held is not given back.
    PermitsKept,
    /// Who waits does not become more urgent by it.
    AgeUncounted,
    /// A new owner takes an award that waits for its commitment for one that has lapsed.
    AwardAgain,
    /// A commitment counts after its award has lapsed.
    LateCommitment,
    /// A second answer to a round counts, whatever was agreed.
    AnswerCountedTwice,
    /// An answer that comes after the decision is decided on once more.
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
}

impl Bug {
    /// Every bug, with its name on the command line.
    pub const ALL: &'static [(Bug, &'static str)] = &[
        (Bug::FencingOff, "fencing-off"),
        (Bug::EpochUnchecked, "epoch-unchecked"),
        (Bug::NumberUnchecked, "number-unchecked"),
        (Bug::OffsetUnchecked, "offset-unchecked"),
        (Bug::ReleasedAlone, "released-alone"),
        (Bug::NumberGivenTwice, "number-given-twice"),
        (Bug::FoldBeforeClaim, "fold-before-claim"),
        (Bug::OneLate, "one-late"),
        (Bug::OneEarly, "one-early"),
        (Bug::DeduplicationOff, "deduplication-off"),
        (Bug::AnsweredUnproven, "answered-unproven"),
        (Bug::RefusalUnrecorded, "refusal-unrecorded"),
        (Bug::OldImageBelieved, "old-image-believed"),
        (Bug::FloorPastOwed, "floor-past-owed"),
        (Bug::FloorPastLive, "floor-past-live"),
        (Bug::DoneEarly, "done-early"),
        (Bug::InboxByRecord, "inbox-by-record"),
        (Bug::TimersFirst, "timers-first"),
        (Bug::UnorderedMap, "unordered-map"),
        (Bug::PermitsUncounted, "permits-uncounted"),
        (Bug::PermitsKept, "permits-kept"),
        (Bug::AgeUncounted, "age-uncounted"),
        (Bug::AwardAgain, "award-again"),
        (Bug::LateCommitment, "late-commitment"),
        (Bug::AnswerCountedTwice, "answer-counted-twice"),
        (Bug::DecidedTwice, "decided-twice"),
        (Bug::AskForgotten, "ask-forgotten"),
        (Bug::ThenForgotten, "then-forgotten"),
        (Bug::TimerForEver, "timer-for-ever"),
        (Bug::EndUntold, "end-untold"),
        (Bug::NotTakenBack, "not-taken-back"),
        (Bug::DecidedLate, "decided-late"),
        (Bug::AskedTwice, "asked-twice"),
        (Bug::ResultChanged, "result-changed"),
    ];

    /// Plants it, if it is one of the core's, for what this thread does from now on.
    #[cfg(feature = "planted")]
    pub(crate) fn plant(bug: Option<Bug>) {
        use synod_ledger::planted::{Bug as Core, plant};
        plant(bug.and_then(|bug| match bug {
            Bug::FencingOff => Some(Core::FencingOff),
            Bug::EpochUnchecked => Some(Core::EpochUnchecked),
            Bug::NumberUnchecked => Some(Core::NumberUnchecked),
            Bug::OffsetUnchecked => Some(Core::OffsetUnchecked),
            Bug::ReleasedAlone => Some(Core::ReleasedAlone),
            Bug::NumberGivenTwice => Some(Core::NumberGivenTwice),
            Bug::DeduplicationOff => Some(Core::DeduplicationOff),
            Bug::AnsweredUnproven => Some(Core::AnsweredUnproven),
            Bug::RefusalUnrecorded => Some(Core::RefusalUnrecorded),
            Bug::OldImageBelieved => Some(Core::OldImageBelieved),
            Bug::FloorPastOwed => Some(Core::FloorPastOwed),
            Bug::FloorPastLive => Some(Core::FloorPastLive),
            Bug::DoneEarly => Some(Core::DoneEarly),
            Bug::UnorderedMap => Some(Core::UnorderedMap),
            Bug::AwardAgain => Some(Core::AwardAgain),
            Bug::LateCommitment => Some(Core::LateCommitment),
            Bug::AnswerCountedTwice => Some(Core::AnswerCountedTwice),
            Bug::DecidedTwice => Some(Core::DecidedTwice),
            Bug::AskForgotten => Some(Core::AskForgotten),
            Bug::ThenForgotten => Some(Core::ThenForgotten),
            Bug::TimerForEver => Some(Core::TimerForEver),
            Bug::EndUntold => Some(Core::EndUntold),
            Bug::NotTakenBack => Some(Core::NotTakenBack),
            Bug::DecidedLate => Some(Core::DecidedLate),
            Bug::AskedTwice => Some(Core::AskedTwice),
            Bug::ResultChanged => Some(Core::ResultChanged),
            Bug::FoldBeforeClaim
            | Bug::OneLate
            | Bug::OneEarly
            | Bug::InboxByRecord
            | Bug::TimersFirst
            | Bug::PermitsUncounted
            | Bug::PermitsKept
            | Bug::AgeUncounted => None,
        }));
    }

    /// There is none to plant.
    #[cfg(not(feature = "planted"))]
    pub(crate) fn plant(_: Option<Bug>) {}
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Bug::ALL.iter().find(|(bug, _)| bug == self).map_or("?", |(_, name)| name);
        f.write_str(name)
    }
}

/// No bug of this name can be planted.
#[derive(Debug, thiserror::Error)]
#[error("no planted bug {0:?}; there are: {1}")]
pub struct NoSuchBug(String, String);

impl FromStr for Bug {
    type Err = NoSuchBug;

    fn from_str(name: &str) -> Result<Bug, NoSuchBug> {
        let found = Bug::ALL.iter().find(|(_, known)| *known == name && cfg!(feature = "planted"));
        found.map(|(bug, _)| *bug).ok_or_else(|| {
            let names: Vec<_> = Bug::ALL.iter().map(|(_, name)| *name).collect();
            let names = if cfg!(feature = "planted") {
                names.join(", ")
            } else {
                "none without the feature planted".into()
            };
            NoSuchBug(name.to_owned(), names)
        })
    }
}
