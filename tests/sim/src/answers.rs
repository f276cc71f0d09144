//! How agents answer what they are asked in negotiations: as they should; twice, with something else; late; to a round
//! that is closed, or has not begun; with what is no answer; not at all; or they die of it.

use crate::party::{PartyDoing, Purpose};
use crate::plan::MS;
use crate::tally::Met;
use crate::world::{What, World};
use serde_json::{Value, json};

use synod_protocol::negotiation::{Ask, RespondNegotiation};
use synod_protocol::{Command, Json};

/// An answer that an agent is going to give.
#[derive(Debug)]
pub(crate) struct Reply {
    ask: Ask,
    round: Option<u32>,
    kind: String,
}

impl World {
    /// An agent is asked something, and makes up its mind how to answer.
    pub(crate) fn is_asked(&mut self, party: usize, ask: &Ask) {
        let life = self.parties[party].life;
        let Some(agent) = self.parties[party].agent() else { return };
        if ask.incarnation != agent.incarnation(life) {
            // To somebody who is no more.
            return;
        }
        let rates = self.plan.answers.clone();
        let is_holder = ask.kind != "bid" && ask.kind != "ballot";
        if is_holder && self.rng.happens(rates.dying) {
            self.met(Met::HolderDied);
            return self.kill_agent(party);
        }
        if self.rng.happens(rates.silent) {
            return self.met(Met::Unanswered);
        }
        let mut takes = self.rng.between(1, if self.calm { 30 } else { 250 }) * MS;
        let is_late = self.rng.happens(rates.late);
        if is_late {
            let left = ask.closes_at.millis_since(self.timestamp()) * MS;
            takes = left + self.rng.between(1, 400) * MS;
            self.met(Met::RepliedLate);
        }
        let open = Some(ask.round);
        if ask.round > 1 && self.rng.happens(rates.old) {
            self.met(Met::RepliedToOld);
            self.will_reply(party, ask, Some(ask.round - 1), "commit", takes / 2);
        }
        if self.rng.happens(rates.early) {
            self.met(Met::RepliedEarly);
            self.will_reply(party, ask, Some(ask.round + 1), "commit", takes / 2);
        }
        if self.rng.happens(rates.twice) {
            // Before the other, or after it.
            self.met(Met::RepliedTwice);
            let other = self.rng.between(1, 250) * MS;
            self.will_reply(party, ask, open, &ask.kind, other);
        }
        // One that is late says which round it means, or it would be an answer to another.
        let round = if is_late || !self.rng.happens(2_000) { open } else { None };
        self.will_reply(party, ask, round, &ask.kind, takes);
    }

    fn will_reply(&mut self, party: usize, ask: &Ask, round: Option<u32>, kind: &str, takes: u64) {
        let reply = Box::new(Reply { ask: ask.clone(), round, kind: kind.to_owned() });
        let life = self.parties[party].life;
        self.after(takes, What::Party(party, life, PartyDoing::Replies(reply)));
    }

    /// It answers.
    pub(crate) fn replies(&mut self, party: usize, reply: Reply) {
        let Reply { ask, round, kind } = reply;
        let abstains = self.rng.happens(self.plan.answers.abstaining);
        let response = (!abstains).then(|| self.response(&ask, &kind));
        let respond = RespondNegotiation {
            negotiation_id: ask.negotiation_id,
            participant: ask.participant,
            round,
            response: response.and_then(|response| Json::of(&response).ok()),
            abstain: abstains.then_some(true),
        };
        self.ask(party, Command::RespondNegotiation(respond), Purpose::Other);
    }

    fn response(&mut self, ask: &Ask, kind: &str) -> Value {
        let (rng, calm) = (&mut self.rng, self.calm);
        if rng.happens(self.plan.answers.unreadable) {
            return json!({"price": -1, "what": "is no answer"});
        }
        match kind {
            "bid" => json!({"price": rng.between(1, 100), "time_ms": rng.between(50, 800)}),
            "commit" => {
                let award = ask.content.to::<Value>().ok().and_then(|held| held.get("award").cloned());
                let award = award.filter(|_| ask.kind == "commit" && rng.happens(5_000));
                let accept = calm || rng.happens(8_000);
                award.map_or(json!({"accept": accept}), |award| json!({"accept": accept, "award": award}))
            }
            "result" if !calm && rng.happens(1_500) => json!({"failed": "it did not work"}),
            "result" => json!({"result": rng.below(1_000)}),
            _ => json!(["x", "y"][rng.index(2)]),
        }
    }
}
