//! Drives a negotiation through its life: what happens is applied, so that the next thing finds it.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use synod_negotiation::{Known, Negotiation, Opening, Protocols, open};
use synod_protocol::event::What;
use synod_protocol::negotiation::{OpenNegotiation, RespondNegotiation, Seat};
use synod_protocol::{Error, Id, Incarnation, Json, Timestamp};

/// A negotiation and the time.
pub(crate) struct Life {
    pub(crate) it: Negotiation,
    pub(crate) now: Timestamp,
    position: u64,
}

impl Life {
    /// Opened with these members of the command.
    pub(crate) fn open(command: Value) -> Result<Life, Error> {
        Life::with(command, &[])
    }

    /// Opened with these members of the command, and these agents found.
    pub(crate) fn with(mut command: Value, invited: &[&str]) -> Result<Life, Error> {
        command["negotiation_id"] = json!("n1");
        let command: OpenNegotiation = serde_json::from_value(command).unwrap();
        let now = Timestamp::from_millis(1_800_000_000_000);
        let with = Opening {
            now,
            seed: "00ff".into(),
            invited: invited.iter().map(|id| id.parse().unwrap()).collect(),
            correlation_id: "c1".into(),
            traceparent: None,
            known: Known::default(),
        };
        let mut events = open(Protocols::standard(), &command, with)?.into_iter();
        let Some(What::NegotiationOpened(opened)) = events.next() else { panic!("it opens first") };
        let mut life = Life { it: Negotiation::new(&opened, now, 1), now, position: 1 };
        life.apply(events.collect());
        life.ask();
        Ok(life)
    }

    fn apply(&mut self, events: Vec<What>) {
        for what in events {
            self.position += 1;
            self.it.apply(&what, self.now, self.position);
        }
    }

    /// Everyone who is awaited runs as one process start.
    fn ask(&mut self) {
        let seat = Seat { incarnation: incarnation(), delivery: Default::default() };
        let ids: BTreeMap<Id, Seat> =
            self.it.participants.iter().map(|p| (p.id.clone(), seat.clone())).collect();
        self.apply(self.it.ask(ids));
    }

    /// An answer; null abstains. A millisecond passes.
    pub(crate) fn answer(&mut self, who: &str, response: &Value) -> Result<(), Error> {
        self.now = self.now.plus_millis(1);
        let abstain = response.is_null().then_some(true);
        let response = (!response.is_null()).then(|| Json::from(response.clone()));
        let command = RespondNegotiation {
            negotiation_id: self.it.opened.negotiation_id.clone(),
            participant: who.parse().unwrap(),
            round: None,
            response,
            abstain,
        };
        let events = self.it.respond(Protocols::standard(), &command, self.now)?;
        self.apply(events);
        self.ask();
        Ok(())
    }

    /// All of these answer.
    pub(crate) fn answers(&mut self, all: &Value) -> Result<(), Error> {
        all.as_object().unwrap().iter().try_for_each(|(who, response)| self.answer(who, response))
    }

    /// The round's time is up, if one is open.
    pub(crate) fn time_is_up(&mut self) {
        if let Some(at) = self.it.timer() {
            self.now = at;
            self.apply(self.it.due(Protocols::standard(), at));
            self.ask();
        }
    }

    /// This one dies, and that one stands in for it.
    pub(crate) fn dies(&mut self, who: &str, instead: Option<&str>) {
        let instead = instead.map(|id| id.parse().unwrap());
        let who: Id = who.parse().unwrap();
        let events = self.it.gone(Protocols::standard(), &who, &incarnation(), "died", instead, self.now);
        assert!(!events.is_empty(), "{who} was awaited");
        self.apply(events);
        self.ask();
    }

    /// Its status by name.
    pub(crate) fn status(&self) -> &'static str {
        self.it.status.as_str()
    }

    /// What was decided, or was found.
    pub(crate) fn outcome(&self) -> Value {
        self.it.outcome().map_or(Value::Null, |outcome| outcome.to().unwrap())
    }

    /// What is asked beside the question in the last round.
    pub(crate) fn content(&self) -> Value {
        self.it.rounds.last().unwrap().content.to().unwrap()
    }
}

fn incarnation() -> Incarnation {
    serde_json::from_value(json!("00000000-0000-4000-8000-000000000001")).unwrap()
}

/// Whether all that `part` says is in `whole`: members of objects, and lists of the same length.
pub(crate) fn holds(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| holds(whole.get(name).unwrap_or(&Value::Null), part))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| holds(whole, part))
        }
        (Value::Number(whole), Value::Number(part)) => whole.as_f64() == part.as_f64(),
        _ => whole == part,
    }
}
