//! A vote: weighted ballots, counted by one of eight methods, and a decision that anyone can count again.
//!
//! ```text
//! Rules --+                      count             tie             quorum, support, veto
//!         +--> ballots in whole -------> winners -------> at most -----------------------> Outcome
//! Voters -+    units of weight   (method)         (rule)  one candidate
//! ```
//!
//! For equal ballots the winners and scores equal those of pref_voting 1.18.2 (ranked, score) and abcvoting 2.19.2
//! (approval). Both report every winner of a tie, and so does the count here; a tie is broken afterwards, by the rule that
//! the vote was opened with, and the outcome says so. Nothing is rounded: weights are scaled to whole numbers by their
//! common denominator and counted as such, so a tie is a tie.
//!
//! A voter who abstains is present and casts nothing; one who is silent is not among the voters at all, and only his
//! weight is known, as part of the entitled weight.

mod ballots;
mod condorcet;
mod explain;
mod outcome;
mod positional;
mod profile;
mod rules;
mod runoff;
mod settled;
mod threshold;
mod ties;

pub use condorcet::{Pairwise, Strength, schulze_paths, undefeated};
pub use outcome::{Outcome, Reason, Round, Score, Tally, Turnout, outcome};
pub use positional::{Grades, Truncated, approval, borda, first_places, means};
pub use profile::Profile;
pub use runoff::{Elimination, Runoff, RunoffRound, instant_runoff, parallel_universes};
pub use settled::{Outstanding, settled};
pub use threshold::{Base, Counting, Quorum, Support, Threshold};
pub use ties::{Ties, by_lot};

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_protocol::Exact;

/// Most candidates of a vote.
pub const CANDIDATES_MAX: usize = 100;
/// Most candidates of a run-off of parallel universes: what remains after some eliminations is one of 2^16 sets.
pub const UNIVERSE_CANDIDATES_MAX: usize = 16;
/// Most voters of a vote.
pub const VOTERS_MAX: usize = 1_000;
/// Most bytes of a candidate's or a participant's name.
pub const NAME_MAX: usize = 256;

/// How ballots are counted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Method {
    /// Who is first on the most ballots. Ballots: `choice` or `ranking`.
    Plurality,
    /// Who is approved on the most ballots. Ballots: `approved`.
    Approval,
    /// Who is scored highest. Ballots: `scores`.
    Score {
        /// The lowest score that may be given.
        #[schema(value_type = serde_json::Value)]
        min: Exact,
        /// The highest score that may be given, above `min`.
        #[schema(value_type = serde_json::Value)]
        max: Exact,
        /// How scores become one.
        #[serde(default)]
        grades: Grades,
    },
    /// Points by place. Ballots: `ranking` or `choice`.
    Borda {
        /// What a ranking says of those that it leaves out.
        #[serde(default)]
        truncated: Truncated,
    },
    /// The last of each round leave, until one has more than half. Ballots: `ranking` or `choice`.
    InstantRunoff {
        /// Who leaves where several are last.
        #[serde(default)]
        elimination: Elimination,
    },
    /// Who beats every other one in a duel, if there is one. Ballots: `ranking` or `choice`.
    Condorcet,
    /// Duels won less duels lost. Ballots: `ranking` or `choice`.
    Copeland,
    /// Beat paths. Ballots: `ranking` or `choice`.
    Schulze {
        /// How strong a won duel is.
        #[serde(default)]
        strength: Strength,
    },
}

/// What the opener of a vote sets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Between what is chosen: 1 to [`CANDIDATES_MAX`] different names. Their order counts where a rule says so.
    pub candidates: Vec<String>,
    /// How ballots are counted.
    pub method: Method,
    /// What the winner needs besides winning; nothing by default.
    #[serde(default)]
    pub support: Support,
    /// Who must have taken part; nobody by default.
    #[serde(default)]
    pub quorum: Option<Quorum>,
    /// Participants who may stop any decision; nobody by default.
    #[serde(default)]
    pub veto: Vec<String>,
    /// What breaks a tie; by default nothing does.
    #[serde(default)]
    pub ties: Ties,
}

/// What a voter says. The candidates of one ballot are different ones, and candidates of the vote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ballot {
    /// One candidate: the same as the ranking of this one alone.
    Choice(String),
    /// Best first. Those left out are equal to each other and below those named; an empty one prefers nobody.
    Ranking(Vec<String>),
    /// All that are good enough; none is an answer too.
    Approved(Vec<String>),
    /// A score for some or all.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    Scores(BTreeMap<String, Exact>),
}

/// A participant who took part, at most once in a vote.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Voter {
    /// Who.
    pub participant: String,
    /// How much his ballot counts: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub weight: Exact,
    /// What he says; none: he abstains.
    #[serde(default)]
    pub ballot: Option<Ballot>,
    /// Whether he stops the decision; only for those named in [`Rules::veto`].
    #[serde(default)]
    pub veto: bool,
}

/// What is on record about a vote beside its rules and its voters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Roll {
    /// The weight of all who may vote, the silent too: at least that of the voters together.
    #[schema(value_type = serde_json::Value)]
    pub entitled: Exact,
    /// What lots are drawn from; needed where [`Ties::Seed`] breaks ties.
    #[serde(default)]
    pub seed: Option<String>,
}
