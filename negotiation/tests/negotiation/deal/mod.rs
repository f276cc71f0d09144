//! Whole negotiations of contract nets, offers and emergencies, event by event.

#![allow(clippy::unwrap_used)] // a test's way to fail
#![allow(clippy::needless_pass_by_value)] // what is passed is written in place

mod awards;
mod bad_input;
mod bids;
mod emergency;
mod offers;
mod track;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use synod_negotiation::{Known, Negotiation, Opening, Protocols, open};
use synod_protocol::command::Delivery;
use synod_protocol::event::What;
use synod_protocol::negotiation::{NegotiationStatus, RespondNegotiation, Round, Seat};
use synod_protocol::{Error, Id, Incarnation, Timestamp};

/// A negotiation, its clock, and its ledger.
#[derive(Clone, Debug)]
struct Life {
    it: Negotiation,
    now: Timestamp,
    position: u64,
}

fn id(text: &str) -> Id {
    text.parse().unwrap()
}

fn incarnation() -> Incarnation {
    "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10".parse().unwrap()
}

/// Opens a negotiation of these participants by this protocol, with whatever else a command may say.
fn opened(protocol: &str, participants: &[&str], rules: Value, more: Value) -> Result<Life, Error> {
    opened_knowing(protocol, participants, rules, more, Known::default())
}

/// The same where the mesh knows something of earlier promises.
fn opened_knowing(
    protocol: &str,
    participants: &[&str],
    rules: Value,
    more: Value,
    known: Known<'_>,
) -> Result<Life, Error> {
    let mut command = json!({
        "negotiation_id": "n", "protocol": protocol, "participants": participants, "rules": rules, "round_ms": 1_000,
    });
    for (name, value) in more.as_object().into_iter().flatten() {
        command[name] = value.clone();
    }
    let command = serde_json::from_value(command).unwrap();
    let now = Timestamp::from_millis(1_000_000);
    let with = Opening {
        now,
        seed: "00ff".into(),
        invited: Vec::new(),
        correlation_id: "c".into(),
        traceparent: None,
        known,
    };
    let events = open(Protocols::standard(), &command, with)?;
    let Some(What::NegotiationOpened(first)) = events.first() else { panic!("{events:?}") };
    let mut life = Life { it: Negotiation::new(first, now, 1), now, position: 1 };
    life.apply(&events[1..]);
    Ok(life)
}

impl Life {
    fn new(protocol: &str, participants: &[&str], rules: Value) -> Life {
        opened(protocol, participants, rules, Value::Null).unwrap()
    }

    fn apply(&mut self, events: &[What]) {
        for what in events {
            self.position += 1;
            self.it.apply(what, self.now, self.position);
        }
    }

    fn answers(&mut self, round: Option<u32>, who: &str, response: Option<Value>) -> Result<(), Error> {
        let command = RespondNegotiation {
            negotiation_id: "n".parse().unwrap(),
            participant: id(who),
            round,
            abstain: response.is_none().then_some(true),
            response: response.map(Into::into),
        };
        let events = self.it.respond(Protocols::standard(), &command, self.now)?;
        self.apply(&events);
        Ok(())
    }

    /// Answers the round that is open.
    fn says(&mut self, who: &str, response: Value) -> &mut Life {
        self.answers(None, who, Some(response)).unwrap();
        self
    }

    fn abstains(&mut self, who: &str) -> &mut Life {
        self.answers(None, who, None).unwrap();
        self
    }

    fn refused(&mut self, who: &str, response: Value) -> String {
        let error = self.answers(None, who, Some(response)).unwrap_err();
        error.field.unwrap_or(error.message)
    }

    /// Time goes by.
    fn waits(&mut self, ms: u64) -> &mut Life {
        self.now = self.now.plus_millis(ms);
        let events = self.it.due(Protocols::standard(), self.now);
        self.apply(&events);
        self
    }

    /// The process of one who was asked dies.
    fn dies(&mut self, who: &str) -> &mut Life {
        let seat = Seat { incarnation: incarnation(), delivery: Delivery::default() };
        let events = self.it.ask(BTreeMap::from([(id(who), seat)]));
        self.apply(&events);
        let gone = self.it.gone(Protocols::standard(), &id(who), &incarnation(), "crash", None, self.now);
        self.apply(&gone);
        self
    }

    fn round(&self) -> &Round {
        self.it.round().unwrap()
    }

    /// Kind of the open round, and who is asked.
    fn asks(&self) -> (String, Vec<String>) {
        let round = self.round();
        (round.kind.clone(), round.asked.iter().map(Id::to_string).collect())
    }

    fn content(&self) -> Value {
        self.round().content.to().unwrap()
    }

    /// The outcome, once it is decided.
    fn decided(&self) -> Value {
        assert_eq!(self.it.status, NegotiationStatus::Decided, "{:?}", self.it.reason);
        self.it.outcome().unwrap().to().unwrap()
    }

    /// Why it failed, and what was found.
    fn failed(&self) -> (String, Value) {
        assert_eq!(self.it.status, NegotiationStatus::Failed);
        let found = self.it.outcome().map_or(Value::Null, |found| found.to().unwrap());
        (self.it.reason.clone().unwrap(), found)
    }
}

fn asks(kind: &str, who: &[&str]) -> (String, Vec<String>) {
    (kind.to_owned(), who.iter().map(|id| (*id).to_owned()).collect())
}

/// What of the objects of a list stands under a name.
fn each<'a>(list: &'a Value, name: &str) -> Vec<&'a Value> {
    list.as_array().unwrap().iter().map(|one| &one[name]).collect()
}
