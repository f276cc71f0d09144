//! Bugs that are planted on purpose, to see that they are caught. Without the feature `planted` none can be chosen.

use std::fmt;
use std::str::FromStr;

/// A planted bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// An acknowledgement's offset is not looked at.
    OffsetUnchecked,
    /// The fold stops at the end seen before the claim.
    FoldBeforeClaim,
    /// The reader of commands starts one too late after a fold.
    OneLate,
    /// It starts one too early.
    OneEarly,
    /// `done` moves when effects are issued, not when they are confirmed.
    DoneEarly,
    /// An inbox compares record offsets instead of the issuer's epoch.
    InboxByRecord,
    /// Timers and dispatch do not wait for the commands seen at the claim.
    TimersFirst,
}

impl Bug {
    /// Every bug, with its name on the command line.
    pub const ALL: &'static [(Bug, &'static str)] = &[
        (Bug::OffsetUnchecked, "offset-unchecked"),
        (Bug::FoldBeforeClaim, "fold-before-claim"),
        (Bug::OneLate, "one-late"),
        (Bug::OneEarly, "one-early"),
        (Bug::DoneEarly, "done-early"),
        (Bug::InboxByRecord, "inbox-by-record"),
        (Bug::TimersFirst, "timers-first"),
    ];
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
