//! Offers and counter-offers: one offer after the other is put on the table, until one has enough support.
//!
//! ```text
//!   offer --> on the table: accept, counter, reject --enough--> agreement
//!               ^                 |
//!               +-- next offer ---+--none left, rounds used up--> mediator --silent--> default --none--> failed
//! ```
//!
//! Who makes an offer supports it, and so does who accepts it; support is not withdrawn. Which of the offers that wait comes
//! next is a rule that everyone can apply: most supporters first, then who came first.

use crate::bounds;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use synod_protocol::{Error, Exact, Id, Json};

/// Bytes of one offer.
pub const OFFER_MAX: usize = 16 * 1024;
/// Offers that may be put on the table, one after the other.
pub const TABLED_MAX: u32 = 50;
/// Offers that a mediator is shown.
pub const SHOWN: usize = 50;
/// How many are put on the table where nothing is said.
const TABLED: u32 = 5;

/// What the opener sets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// How many have to support an offer; all by default.
    #[serde(default)]
    pub accept: Option<Accept>,
    /// How many offers are put on the table, one after the other, 1 to 50; 5 by default.
    #[serde(default)]
    pub max_rounds: Option<u32>,
    /// Who decides where there is no agreement: a participant, who is no party then.
    #[serde(default)]
    pub mediator: Option<Id>,
    /// What holds where there is no agreement and no mediator's offer.
    #[serde(default)]
    pub default: Option<Json>,
    /// The first offer, nobody's; without it somebody is asked for one.
    #[serde(default)]
    pub initial: Option<Json>,
    /// Who is asked for the first offer: a party; the first one by default.
    #[serde(default)]
    pub proposer: Option<Id>,
}

/// How many have to support an offer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Accept {
    /// At least this share of the parties, more than 0, at most 1.
    #[schema(value_type = f64)]
    Share(Exact),
    /// So many parties, at least 1.
    Count(u32),
}

/// What a party says of the offer on the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Say {
    /// It accepts it; `true`.
    Accept(bool),
    /// It would rather have this.
    Counter(Json),
    /// It does not want it, and why, in at most 1,000 bytes.
    Reject(String),
}

/// What happened in a round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Turn {
    /// A party was asked for the first offer.
    First {
        /// Who.
        by: Id,
        /// Its offer.
        offer: Option<Json>,
    },
    /// An offer was on the table.
    Tabled {
        /// Which.
        offer: Json,
        /// What the parties said of it; who is not there was silent or abstained.
        said: BTreeMap<Id, Say>,
    },
    /// The mediator was asked.
    Mediated {
        /// Its offer.
        offer: Option<Json>,
    },
}

/// By whom it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DecidedBy {
    /// Enough support it.
    Agreement,
    /// The mediator said so.
    Mediator,
    /// It is the default.
    Default,
}

/// An offer, and who is for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Offered {
    /// The offer.
    pub offer: Json,
    /// Who made it first; nobody, if it is the opener's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Id>,
    /// How many support it.
    pub support: usize,
    /// How many are needed.
    pub needed: usize,
}

/// What became of an offer on the table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Tabled {
    /// Who made it first; nobody, if it is the opener's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Id>,
    /// How many supported it in the end.
    pub support: usize,
    /// How many made a counter-offer.
    pub countered: usize,
    /// How many rejected it.
    pub rejected: usize,
}

/// What was agreed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Outcome {
    /// The offer.
    pub offer: Json,
    /// Who made it first; nobody, if it is the opener's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<Id>,
    /// Who supports it, in the order of participants.
    pub accepted_by: Vec<Id>,
    /// How many offers were on the table.
    pub rounds: usize,
    /// By whom it was decided.
    pub decided_by: DecidedBy,
    /// How many had to support an offer.
    pub needed: usize,
    /// The offers that were on the table, in their order.
    pub tabled: Vec<Tabled>,
    /// How it came to that, in sentences.
    pub explanation: Vec<String>,
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// This party is to be asked for the first offer.
    Propose(Id),
    /// This offer comes on the table; these parties are for it already.
    Table(Offered, BTreeSet<Id>),
    /// The mediator is to be asked; the offers so far, those with the most support first.
    Mediate(Id, Vec<Offered>),
    /// There is an outcome.
    Decided(Box<Outcome>),
    /// There is none, and why.
    Failed(String),
}

impl Rules {
    /// Whether these participants can negotiate by them.
    ///
    /// # Errors
    /// `invalid_argument`, with the place in the rules.
    pub fn check(&self, participants: &[Id]) -> Result<(), Error> {
        for (name, id) in [("mediator", &self.mediator), ("proposer", &self.proposer)] {
            if let Some(id) = id.as_ref().filter(|id| !participants.contains(id)) {
                let message = format!("{id} is to be the {name} and is no participant");
                return Err(Error::invalid(message).with_field(format!("/{name}")));
            }
        }
        let parties = self.parties(participants).len();
        if parties == 0 {
            let message = "there is no party: somebody beside the mediator has to take part";
            return Err(Error::invalid(message).with_field("/mediator"));
        }
        if self.proposer.is_some() && self.proposer == self.mediator {
            let message = "the mediator is no party, and cannot be the proposer";
            return Err(Error::invalid(message).with_field("/proposer"));
        }
        if self.proposer.is_some() && self.initial.is_some() {
            let message = "there is an initial offer; nobody is asked for one as the proposer";
            return Err(Error::invalid(message).with_field("/proposer"));
        }
        bounds::within("/max_rounds", self.max_rounds.unwrap_or(TABLED).into(), 1, TABLED_MAX.into())?;
        match &self.accept {
            Some(Accept::Count(count)) => {
                bounds::within("/accept/count", (*count).into(), 1, parties as u64)?;
            }
            Some(Accept::Share(share)) if *share <= Exact::zero() || *share > Exact::one() => {
                let message = format!("share is {share}, it must be more than 0 and at most 1");
                return Err(Error::invalid(message).with_field("/accept/share"));
            }
            _ => {}
        }
        let known = [("/initial", &self.initial), ("/default", &self.default)];
        known
            .into_iter()
            .try_for_each(|(at, offer)| offer.as_ref().map_or(Ok(()), |offer| check_offer(at, offer)))
    }

    /// Who has to agree: everyone but the mediator.
    pub fn parties<'a>(&self, participants: &'a [Id]) -> Vec<&'a Id> {
        participants.iter().filter(|id| self.mediator.as_ref() != Some(*id)).collect()
    }

    /// How many of so many parties have to support an offer: a share is rounded up.
    pub fn needed(&self, parties: usize) -> usize {
        match &self.accept {
            None => parties,
            Some(Accept::Count(count)) => *count as usize,
            Some(Accept::Share(share)) => {
                let of = share * &Exact::from(parties as u64);
                usize::try_from(of.ceil()).unwrap_or(usize::MAX)
            }
        }
    }
}

impl Say {
    /// Whether this can be said of that offer.
    ///
    /// # Errors
    /// `invalid_argument`, with the place in what is said.
    pub fn check(&self, tabled: &Json) -> Result<(), Error> {
        match self {
            Say::Accept(true) => Ok(()),
            Say::Accept(false) => {
                let message = "accept is true; who does not accept says counter, or reject";
                Err(Error::invalid(message).with_field("/accept"))
            }
            Say::Counter(offer) if offer == tabled => {
                let message = "this is the offer on the table: it can be accepted";
                Err(Error::invalid(message).with_field("/counter"))
            }
            Say::Counter(offer) => check_offer("/counter", offer),
            Say::Reject(why) => bounds::text("/reject", why, 0, 1_000),
        }
    }
}

/// Whether this can be an offer; `at` is where it stands.
///
/// # Errors
/// `invalid_argument`: it is too long.
pub fn check_offer(at: &str, offer: &Json) -> Result<(), Error> {
    bounds::text(at, offer.as_str(), 0, OFFER_MAX)
}

/// Follows the turns so far, in their order, among participants in theirs.
///
/// # Errors
/// `invalid_argument`: the rules make no sense for these participants, or an offer was on the table that nobody had made.
pub fn follow(rules: &Rules, participants: &[Id], turns: &[Turn]) -> Result<Standing, Error> {
    rules.check(participants)?;
    let mut course = Course::new(rules, participants);
    for turn in turns {
        match turn {
            Turn::First { by, offer } => {
                course.proposed = true;
                if let Some(offer) = offer {
                    course.made(offer, Some(by));
                }
            }
            Turn::Tabled { offer, said } => course.on_the_table(offer, said)?,
            Turn::Mediated { offer } => return Ok(course.mediated(offer.as_ref())),
        }
    }
    Ok(course.stands())
}

/// The offers of a negotiation.
struct Course<'a> {
    rules: &'a Rules,
    parties: Vec<&'a Id>,
    needed: usize,
    /// In the order in which they were made first.
    offers: Vec<Pending>,
    /// Where each is, by its value.
    index: BTreeMap<String, usize>,
    /// Whether somebody was asked for the first offer.
    proposed: bool,
    /// The offer that was on the table last.
    last: Option<usize>,
    tabled: Vec<Tabled>,
}

struct Pending {
    offer: Json,
    by: Option<Id>,
    supporters: BTreeSet<Id>,
    waits: bool,
}

impl<'a> Course<'a> {
    fn new(rules: &'a Rules, participants: &'a [Id]) -> Course<'a> {
        let parties = rules.parties(participants);
        let needed = rules.needed(parties.len());
        let (offers, index, tabled) = (Vec::new(), BTreeMap::new(), Vec::new());
        let mut course =
            Course { rules, parties, needed, offers, index, proposed: false, last: None, tabled };
        if let Some(initial) = &rules.initial {
            course.made(initial, None);
        }
        course
    }

    /// Somebody makes an offer. One that is made again waits again, if whoever makes it was not for it before.
    fn made(&mut self, offer: &Json, by: Option<&Id>) {
        let next = self.offers.len();
        let at = *self.index.entry(offer.canonical()).or_insert(next);
        if at == next {
            let (offer, by) = (offer.clone(), by.cloned());
            self.offers.push(Pending { offer, by, supporters: BTreeSet::new(), waits: true });
        }
        let Some(pending) = self.offers.get_mut(at) else { return };
        if by.is_some_and(|by| pending.supporters.insert(by.clone())) {
            pending.waits = true;
        }
    }

    fn on_the_table(&mut self, offer: &Json, said: &BTreeMap<Id, Say>) -> Result<(), Error> {
        let at = self.index.get(&offer.canonical()).copied();
        let Some((at, pending)) = at.and_then(|at| Some((at, self.offers.get_mut(at)?))) else {
            return Err(Error::invalid("an offer was on the table that nobody had made"));
        };
        pending.waits = false;
        let accepted = said.iter().filter(|(_, say)| matches!(say, Say::Accept(true)));
        pending.supporters.extend(accepted.map(|(id, _)| id.clone()));
        let count = |is: fn(&Say) -> bool| said.values().filter(|say| is(say)).count();
        self.tabled.push(Tabled {
            by: pending.by.clone(),
            support: pending.supporters.len(),
            countered: count(|say| matches!(say, Say::Counter(_))),
            rejected: count(|say| matches!(say, Say::Reject(_))),
        });
        self.last = Some(at);
        for party in self.parties.clone() {
            if let Some(Say::Counter(offer)) = said.get(party) {
                self.made(offer, Some(party));
            }
        }
        Ok(())
    }

    /// The offer that is next: most supporters first, then the one that was made first.
    fn next(&self) -> Option<&Pending> {
        let waiting = self.offers.iter().enumerate().filter(|(_, offer)| offer.waits);
        waiting.min_by_key(|(at, offer)| (std::cmp::Reverse(offer.supporters.len()), *at)).map(|(_, o)| o)
    }

    fn stands(self) -> Standing {
        if self.rules.initial.is_none() && !self.proposed {
            let first = self.rules.proposer.as_ref().or_else(|| self.parties.first().copied());
            if let Some(first) = first {
                return Standing::Propose(first.clone());
            }
        }
        let last = self.last.and_then(|at| self.offers.get(at));
        let next = self.next();
        if let Some(agreed) = [last, next].into_iter().flatten().find(|o| o.supporters.len() >= self.needed) {
            return self.agreed(agreed);
        }
        let max = self.rules.max_rounds.unwrap_or(TABLED) as usize;
        match (next, &self.rules.mediator) {
            (Some(next), _) if self.tabled.len() < max => {
                Standing::Table(self.offered(next), next.supporters.clone())
            }
            (_, Some(mediator)) => Standing::Mediate(mediator.clone(), self.best()),
            _ => self.by_default(),
        }
    }

    fn offered(&self, pending: &Pending) -> Offered {
        let (offer, by) = (pending.offer.clone(), pending.by.clone());
        Offered { offer, by, support: pending.supporters.len(), needed: self.needed }
    }

    /// The offers so far, as a mediator is shown them.
    fn best(&self) -> Vec<Offered> {
        let mut all: Vec<&Pending> = self.offers.iter().collect();
        all.sort_by_key(|offer| std::cmp::Reverse(offer.supporters.len()));
        all.into_iter().take(SHOWN).map(|offer| self.offered(offer)).collect()
    }

    fn agreed(&self, agreed: &Pending) -> Standing {
        let (offer, by) = (agreed.offer.clone(), agreed.by.as_ref());
        self.decided(offer, by, &agreed.supporters, DecidedBy::Agreement)
    }

    fn mediated(&self, offer: Option<&Json>) -> Standing {
        match (offer, &self.rules.mediator) {
            (Some(offer), Some(mediator)) => {
                let at = self.index.get(&offer.canonical());
                let supporters = at.and_then(|at| self.offers.get(*at)).map(|known| known.supporters.clone());
                let supporters = supporters.unwrap_or_default();
                self.decided(offer.clone(), Some(mediator), &supporters, DecidedBy::Mediator)
            }
            _ => self.by_default(),
        }
    }

    fn by_default(&self) -> Standing {
        match &self.rules.default {
            Some(offer) => self.decided(offer.clone(), None, &BTreeSet::new(), DecidedBy::Default),
            None => {
                let tried = format!("no agreement on {} offers", self.tabled.len());
                let needed = format!("{} of {} parties were needed", self.needed, self.parties.len());
                Standing::Failed(format!("{tried}: {needed}, and there is no default"))
            }
        }
    }

    fn decided(
        &self,
        offer: Json,
        by: Option<&Id>,
        for_it: &BTreeSet<Id>,
        decided_by: DecidedBy,
    ) -> Standing {
        let accepted_by: Vec<Id> =
            self.parties.iter().filter(|id| for_it.contains(**id)).map(|id| (*id).clone()).collect();
        let (rounds, needed, parties) = (self.tabled.len(), self.needed, self.parties.len());
        let whose = by.map_or_else(|| "the opener".to_owned(), Id::to_string);
        let how = match decided_by {
            DecidedBy::Agreement => {
                let supported = accepted_by.len();
                format!("The offer of {whose} is supported by {supported} of {parties} parties.")
            }
            DecidedBy::Mediator => format!("There was no agreement; {whose} decided as the mediator."),
            DecidedBy::Default => "There was no agreement; this is the default.".to_owned(),
        };
        let explanation = vec![
            format!("{rounds} offers were on the table; {needed} of {parties} parties had to support one."),
            how,
        ];
        let (by, tabled) = (by.cloned(), self.tabled.clone());
        let outcome = Outcome { offer, by, accepted_by, rounds, decided_by, needed, tabled, explanation };
        Standing::Decided(Box::new(outcome))
    }
}
