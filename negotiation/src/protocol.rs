//! What a protocol is: rules for a question, for what counts as an answer, and for what follows from the answers.
//!
//! An embedder adds one by this trait; `examples/first_to_object.rs` shows how.
//!
//! ```text
//!   begin --Call--> the round is asked --answers: check--> settled? --> close --+--> Round(Call), again
//!                                                                               +--> Decided
//!                                                                               `--> Failed
//! ```

use crate::protocols::{
    AssessRisk, Assign, Auction, AuctionBundles, Consensus, ContractNet, Divide, Emergency, Fuse, Offers,
    Resolve, Vote,
};
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, LazyLock};
use synod_protocol::codec::read_at;
use synod_protocol::negotiation::{Participant, ROUNDS, Round};
use synod_protocol::track::{AppraiseAgent, WorkRecord};
use synod_protocol::{Error, Id, Json, Timestamp, WorkKind};

/// A negotiation as its protocol sees it.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    /// What is to be decided.
    pub question: &'a Json,
    /// The protocol's settings.
    pub rules: &'a Json,
    /// Who may answer, in the order in which they were named.
    pub participants: &'a [Participant],
    /// The rounds so far; the last is the one that is open, or closes. Empty in [`Protocol::begin`].
    pub rounds: &'a [Round],
    /// Random bytes on record, by which ties may be broken, in hex.
    pub seed: &'a str,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// When it has to be over.
    pub deadline: Option<Timestamp>,
    /// When this is asked: when the round closes, in [`Protocol::close`].
    pub now: Timestamp,
}

/// How a round is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Call {
    /// What is asked for, such as `ballot`: an agent answers it by the handler that it has for this.
    pub kind: String,
    /// What is asked beside the question.
    pub content: Json,
    /// These participants alone, whether or not a quorum of the others would be there, and nobody in place of one who dies;
    /// `None`: everyone who is not gone.
    pub asked: Option<BTreeSet<Id>>,
    /// How long the round lasts at most, in milliseconds; `None`: as the opener said.
    pub limit_ms: Option<u64>,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// As the protocol says.
    pub outcome: Json,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
}

/// What follows from a round that closes.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Another round.
    Round(Call),
    /// The outcome.
    Decided(Decision),
    /// There is none.
    Failed {
        /// Why.
        reason: String,
        /// What was found all the same, such as a count without a winner.
        outcome: Option<Json>,
    },
}

/// The record of one agent and kind of work, if there is one.
type Look<'a> = &'a dyn Fn(&Id, &WorkKind) -> Option<WorkRecord>;

/// What the mesh knows of how true the promises of agents have turned out, by kind of work.
#[derive(Clone, Copy, Default)]
pub struct Known<'a>(Option<Look<'a>>);

impl<'a> Known<'a> {
    /// What this function says.
    pub fn by(look: &'a dyn Fn(&Id, &WorkKind) -> Option<WorkRecord>) -> Known<'a> {
        Known(Some(look))
    }

    /// What is known of this agent's promises of this kind.
    pub fn of(&self, agent: &Id, kind: &WorkKind) -> Option<WorkRecord> {
        self.0.and_then(|look| look(agent, kind))
    }
}

impl fmt::Debug for Known<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Known")
    }
}

/// A way to decide. Pure: the same table gives the same answers, and the order of arrival is none of its business.
pub trait Protocol: fmt::Debug + Send + Sync {
    /// Its name, as openers say it: 1 to 64 of `a-z`, `0-9` and `_`.
    fn name(&self) -> &'static str;

    /// Grows when the same inputs may be decided otherwise.
    fn version(&self) -> u32 {
        1
    }

    /// Whether what it asks goes ahead of ordinary work where the opener does not say.
    fn urgent(&self) -> bool {
        false
    }

    /// The rules as they go on record, where they are not those that the opener gave: what is known of the participants at the
    /// opening is written into them, so that all that follows is decided by the record alone.
    ///
    /// # Errors
    /// The rules are none, with the field.
    fn fill(&self, _table: &Table<'_>, _known: Known<'_>) -> Result<Option<Json>, Error> {
        Ok(None)
    }

    /// The first round, if the rules and the question make sense for these participants.
    ///
    /// # Errors
    /// Why they do not, with the field.
    fn begin(&self, table: &Table<'_>) -> Result<Call, Error>;

    /// Whether this is an answer to the round that is open.
    ///
    /// # Errors
    /// Why it is none, with the field.
    fn check(&self, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error>;

    /// Whether [`Protocol::settled`] may ever say yes: where not, it is not asked after each answer.
    fn settles_early(&self) -> bool {
        false
    }

    /// Whether nobody who is still to answer can change what [`Protocol::close`] will say.
    fn settled(&self, _table: &Table<'_>) -> bool {
        false
    }

    /// What follows from the answers to the round that closes.
    fn close(&self, table: &Table<'_>) -> Next;

    /// What it says of the promises of agents that it has ended with this outcome, decided or found: the mesh remembers it.
    fn appraisals(&self, _table: &Table<'_>, _outcome: &Json) -> Vec<AppraiseAgent> {
        Vec::new()
    }
}

/// The protocols that are known.
#[derive(Clone, Debug, Default)]
pub struct Protocols(BTreeMap<&'static str, Arc<dyn Protocol>>);

impl Protocols {
    /// Those of Synod.
    pub fn standard() -> &'static Protocols {
        static STANDARD: LazyLock<Protocols> = LazyLock::new(|| {
            let votes = Protocols::none().with(Vote).with(Consensus);
            let deals = votes.with(ContractNet).with(Offers).with(Emergency);
            let divisions = deals.with(Divide).with(Assign).with(Auction).with(AuctionBundles);
            divisions.with(Fuse).with(Resolve).with(AssessRisk)
        });
        &STANDARD
    }

    /// None.
    pub fn none() -> Protocols {
        Protocols::default()
    }

    /// One more; the last of a name is the one that is meant by it.
    #[must_use]
    pub fn with(mut self, protocol: impl Protocol + 'static) -> Protocols {
        self.0.insert(protocol.name(), Arc::new(protocol));
        self
    }

    /// The one of this name.
    ///
    /// # Errors
    /// There is none; it names those that there are.
    pub fn get(&self, name: &str) -> Result<&dyn Protocol, Error> {
        self.0.get(name).map(|protocol| &**protocol).ok_or_else(|| {
            let known: Vec<&str> = self.names().collect();
            let message = format!("protocol {name} is not known; there are {}", known.join(", "));
            Error::invalid(message).with_field("/protocol")
        })
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.0.keys().copied()
    }
}

impl<'a> Table<'a> {
    /// The protocol's settings as what it takes them for; absent ones are `{}`.
    ///
    /// # Errors
    /// They are not that, with the place under `/rules`.
    pub fn rules<T: DeserializeOwned>(&self) -> Result<T, Error> {
        let text = if self.rules.as_str() == "null" { "{}" } else { self.rules.as_str() };
        read_at(text, "/rules")
    }

    /// The round that is open, or closes.
    pub fn round(&self) -> Option<&'a Round> {
        self.rounds.last()
    }

    /// Whether there is time for another round, and a round left: where there is not, `Next::Round` fails the negotiation.
    pub fn may_go_on(&self) -> bool {
        self.rounds.len() < ROUNDS && self.deadline.is_none_or(|deadline| deadline > self.now)
    }

    /// One of the participants.
    pub fn participant(&self, id: &Id) -> Option<&'a Participant> {
        self.participants.iter().find(|participant| participant.id == *id)
    }
}

/// An answer as what the protocol takes it for.
///
/// # Errors
/// It is not that, with the place under `/response`.
pub fn answer<T: DeserializeOwned>(response: &Json) -> Result<T, Error> {
    read_at(response.as_str(), "/response")
}
