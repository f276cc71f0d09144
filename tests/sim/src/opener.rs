//! Clients open negotiations, and ask until they are told how each has ended.

use crate::agent::CAPABILITIES;
use crate::party::{Asking, PartyDoing, Purpose, Role};
use crate::plan::{MS, SECOND};
use crate::serve::deadline;
use crate::tally::Met;
use crate::world::{What, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use synod_ledger::{Answer, NegotiationKey, Subject};

use synod_protocol::negotiation::{
    CancelNegotiation, Invite, NegotiationStatus, OnTimeout, OpenNegotiation, Quorum, Repeated,
    RespondNegotiation, Then, ThenTask,
};
use synod_protocol::{Code, Command, EntityId, Id, Json, Workspace};

/// One who may be named as a participant and is no agent: it is silent, but for what others say in its name.
const STRANGER: &str = "stranger";

/// What a client has to do with negotiations.
#[derive(Debug, Default)]
pub(crate) struct Opener {
    opened: Vec<EntityId>,
    /// Those that were accepted and of whose end it has not been told yet, with the `ce_id` by which each was opened.
    awaits: BTreeMap<EntityId, String>,
    /// Reads on their way, by their number.
    reads: BTreeMap<u64, EntityId>,
}

impl World {
    /// A client has to do with a negotiation: it opens one, mostly.
    pub(crate) fn negotiates(&mut self, party: usize) {
        let Role::Client(client) = &self.parties[party].role else { return };
        let known = client.opener.opened.len();
        let which = self.rng.index(known.max(1));
        let Role::Client(client) = &self.parties[party].role else { return };
        match (client.opener.opened.get(which).cloned(), self.rng.below(10)) {
            (Some(negotiation_id), 0) => {
                let cancel = CancelNegotiation { negotiation_id, reason: None };
                self.ask(party, Command::CancelNegotiation(cancel), Purpose::Other);
            }
            (Some(negotiation_id), 1 | 2) => self.meddles(party, negotiation_id),
            _ => {
                let deeds = known as u64;
                let opens = self.negotiation(party, deeds);
                self.opens(party, opens);
            }
        }
    }

    fn opens(&mut self, party: usize, opens: Option<OpenNegotiation>) {
        let Some(opens) = opens else { return };
        let Role::Client(client) = &mut self.parties[party].role else { return };
        client.opener.opened.push(opens.negotiation_id.clone());
        self.ask(party, Command::OpenNegotiation(Box::new(opens)), Purpose::Other);
    }

    /// One among those who are there, when nothing goes wrong any more: everybody is asked, and there is time.
    pub(crate) fn opens_in_calm(&mut self) {
        let party = self.plan.agents;
        let Ok(negotiation_id) = "calm".parse() else { return };
        let rules = json!({"commit_ms": 3_000, "result": true, "result_ms": 3_000});
        let mut opens = OpenNegotiation::new(negotiation_id, "contract_net", Json::null());
        opens.rules = Json::of(&rules).ok();
        opens.round_ms = Some(3_000);
        opens.participants = Some((0..self.plan.agents).filter_map(agent).collect());
        self.opens(party, Some(opens));
    }

    fn negotiation(&mut self, party: usize, number: u64) -> Option<OpenNegotiation> {
        let rng = &mut self.rng;
        let negotiation_id = format!("n{party}-{number}").parse().ok()?;
        let is_contract = rng.happens(6_500);
        // Some last so long that whoever dies meanwhile is missed.
        let longest = if rng.happens(2_500) { 2_000 } else { 600 };
        let (protocol, rules) = if is_contract {
            let mut rules = json!({"commit_ms": rng.between(60, longest), "result": rng.happens(4_000)});
            if rules["result"] == Value::Bool(true) {
                rules["result_ms"] = json!(rng.between(60, 800));
            }
            if rng.happens(3_000) {
                rules["reserve"] = json!(rng.between(20, 100));
            }
            ("contract_net", rules)
        } else {
            let ties = ["order", "seed", "fail"][rng.index(3)];
            ("vote", json!({"candidates": ["x", "y"], "method": "plurality", "ties": ties}))
        };
        let mut opens = OpenNegotiation::new(negotiation_id, protocol, Json::null());
        opens.rules = Json::of(&rules).ok();
        let mut named: Vec<Id> = (0..self.plan.agents).filter_map(agent).collect();
        let has_stranger = rng.happens(1_500);
        named.extend(has_stranger.then(|| STRANGER.parse().ok()).flatten());
        if !has_stranger && rng.happens(3_500) {
            let capability = CAPABILITIES[0].parse().ok();
            let max = rng.happens(6_000).then_some(1);
            opens.invite = Some(Invite { capability, labels: None, min: None, max });
            opens.replace = Some(rng.happens(7_000));
        } else {
            opens.participants = Some(named.clone());
        }
        opens.round_ms = Some(rng.between(100, longest + 200));
        opens.quorum = match rng.below(4) {
            0 => Some(Quorum::Count(rng.between(1, named.len() as u64) as u32)),
            1 => "0.5".parse().ok().map(Quorum::Share),
            _ => None,
        };
        opens.repeated =
            Some([Repeated::First, Repeated::First, Repeated::Last, Repeated::Refused][rng.index(4)]);
        opens.on_timeout = match rng.below(6) {
            0 | 1 => Some(OnTimeout::Extend),
            2 => Some(OnTimeout::Fail),
            3 => Json::of(&json!({"decided": "by default"})).ok().map(OnTimeout::Default),
            _ => None,
        };
        opens.sealed = Some(rng.happens(7_000));
        if rng.happens(4_000) {
            let winner = (is_contract && !has_stranger && rng.happens(6_000)).then_some(true);
            let capability = if winner.is_some() { None } else { CAPABILITIES[0].parse().ok() };
            let timeout_ms = Some(rng.between(200, 1_500));
            opens.then = Some(Then {
                task: Some(ThenTask { capability, winner, timeout_ms, ..ThenTask::default() }),
                ..Then::default()
            });
        }
        if rng.happens(1_000) {
            opens.deadline = Some(deadline(self.now, rng.below(2_000) * MS));
        }
        Some(opens)
    }

    /// Somebody answers in another's name, or was not asked at all.
    fn meddles(&mut self, party: usize, negotiation_id: EntityId) {
        let rng = &mut self.rng;
        let someone = [agent(rng.index(self.plan.agents)), STRANGER.parse().ok(), "nobody".parse().ok()];
        let Some(participant) = someone[rng.index(3)].clone() else { return };
        let response = match rng.below(3) {
            0 => json!({"price": rng.between(1, 100), "time_ms": 100}),
            1 => json!({"accept": true}),
            _ => json!("x"),
        };
        let round = rng.happens(5_000).then(|| rng.between(1, 3) as u32);
        let response = Json::of(&response).ok();
        let respond = RespondNegotiation { negotiation_id, participant, round, response, abstain: None };
        self.met(Met::Meddled);
        self.ask(party, Command::RespondNegotiation(respond), Purpose::Other);
    }

    // --- how it ended ----------------------------------------------------------------------------------------------

    /// A negotiation was accepted: from now on its opener asks how it has ended.
    pub(crate) fn awaits_the_end(&mut self, party: usize, negotiation: &EntityId, ce_id: &str) {
        let Role::Client(client) = &mut self.parties[party].role else { return };
        if client.opener.awaits.insert(negotiation.clone(), ce_id.to_owned()).is_none() {
            self.asks_for_the_end(party, negotiation.clone());
        }
    }

    /// Asks, and will ask again.
    pub(crate) fn asks_for_the_end(&mut self, party: usize, negotiation: EntityId) {
        let who = &mut self.parties[party];
        let Role::Client(client) = &mut who.role else { return };
        if !client.opener.awaits.contains_key(&negotiation) {
            return;
        }
        who.next_ask += 1;
        let ask = who.next_ask;
        client.opener.reads.insert(ask, negotiation.clone());
        let key = NegotiationKey { workspace: Workspace::default_name(), negotiation: negotiation.clone() };
        let meta = crate::client::meta(format!("end-{party}-{ask}"));
        let shard = self.shard_of(negotiation.root());
        let read = Some(Subject::Negotiation(key));
        let asking = Asking { party, life: 0, ask, shard, command: None, read, meta, asked_at: self.now };
        self.knock(&asking);
        let again = self.rng.between(400, 1_200) * MS;
        self.after(again, What::Party(party, 0, PartyDoing::AsksForTheEnd(negotiation)));
    }

    /// The answer to such a read.
    pub(crate) fn hears_of_the_end(&mut self, party: usize, ask: u64, answer: &Answer) {
        #[derive(serde::Deserialize)]
        struct Head {
            status: NegotiationStatus,
        }
        let Role::Client(client) = &mut self.parties[party].role else { return };
        let Some(negotiation) = client.opener.reads.remove(&ask) else { return };
        let Some(ce_id) = client.opener.awaits.get(&negotiation).cloned() else { return };
        let is_over = match answer {
            Ok((shown, _)) => shown.to::<Head>().is_ok_and(|head| head.status.is_final()),
            Err(error) => {
                let ledger = &self.watch.shard(self.shard_of(negotiation.root())).ledger;
                let workspace = Workspace::default_name();
                let never = !ledger.talks().knows(&NegotiationKey {
                    workspace: workspace.clone(),
                    negotiation: negotiation.clone(),
                }) && (ledger.came(&workspace, &ce_id).is_some()
                    || ledger.was_turned_away(&workspace, &ce_id));
                // It was refused, or so long ago that nothing is left of it.
                match error.code {
                    Code::Internal => true,
                    Code::NotFound => never || ledger.state().forgotten().is_some(),
                    _ => false,
                }
            }
        };
        if is_over {
            let Role::Client(client) = &mut self.parties[party].role else { return };
            client.opener.awaits.remove(&negotiation);
            self.met(if answer.is_ok() { Met::EndTold } else { Met::EndUntold });
        }
    }

    /// A negotiation whose end somebody still asks for.
    pub(crate) fn first_awaited(&self) -> Option<&EntityId> {
        self.parties.iter().find_map(|party| match &party.role {
            Role::Client(client) => client.opener.awaits.keys().next(),
            Role::Agent(_) => None,
        })
    }

    /// How long after the last fault everything has come to rest.
    pub(crate) fn rests_after(&self) -> u64 {
        3 * SECOND + 2 * self.plan.lease
    }
}

/// An agent's id.
fn agent(number: usize) -> Option<Id> {
    format!("a{number}").parse().ok()
}
