//! Whole lives of negotiations, from a script, as material for certificates; and a certificate lived again.

#![allow(clippy::unwrap_used)] // a test's way to fail

use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use synod_negotiation::{
    Call, Certificate, Decision, Known, Negotiation, Next, Opening, Protocol, Protocols, Table, certificate,
    open,
};
use synod_protocol::event::What;
use synod_protocol::negotiation::{ClosedBy, OnTimeout, OpenNegotiation, RespondNegotiation, Round, Seat};
use synod_protocol::{Error, Id, Incarnation, Json, Timestamp};

/// Several rounds: everyone, then the first two alone for half a second, and so on; a `stop` settles a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk;

impl Talk {
    fn call(table: &Table<'_>, round: usize) -> Call {
        let some = table.participants.iter().take(2).map(|one| one.id.clone()).collect();
        Call {
            kind: format!("say{}", round % 2),
            content: Json::from(json!({ "round": round, "of": table.participants.len() })),
            asked: round.is_multiple_of(2).then_some(some),
            limit_ms: round.is_multiple_of(2).then_some(500),
        }
    }

    fn said(table: &Table<'_>) -> Vec<String> {
        table.rounds.iter().flat_map(|round| round.responses()).map(|(_, said)| said.to().unwrap()).collect()
    }
}

impl Protocol for Talk {
    fn name(&self) -> &'static str {
        "talk"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        table.rules::<BTreeMap<String, usize>>()?;
        Ok(Talk::call(table, 1))
    }

    fn check(&self, _: &Table<'_>, _: &Id, response: &Json) -> Result<(), Error> {
        synod_negotiation::answer::<String>(response).map(|_| ())
    }

    fn settles_early(&self) -> bool {
        true
    }

    fn settled(&self, table: &Table<'_>) -> bool {
        table.round().is_some_and(|round| round.responses().any(|(_, said)| said.as_str() == "\"stop\""))
    }

    fn close(&self, table: &Table<'_>) -> Next {
        let rules: BTreeMap<String, usize> = table.rules().unwrap();
        let (rounds, said) = (rules.get("rounds").copied().unwrap_or(1), Talk::said(table));
        if table.rounds.len() < rounds {
            return Next::Round(Talk::call(table, table.rounds.len() + 1));
        }
        let outcome = Json::from(json!({ "said": said, "seed": table.seed, "tied": [], "x": 0.1 }));
        match said.len() % 3 {
            0 => Next::Failed { reason: "nobody said enough".into(), outcome: Some(outcome) },
            _ => Next::Decided(Decision { outcome, explanation: vec![format!("{} were said.", said.len())] }),
        }
    }
}

pub(crate) fn protocols() -> Protocols {
    Protocols::standard().clone().with(Talk)
}

/// A negotiation, its clock and its ledger.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) it: Negotiation,
    pub(crate) now: Timestamp,
    pub(crate) position: u64,
}

impl Life {
    pub(crate) fn open(
        command: &OpenNegotiation,
        seed: &str,
        invited: Vec<Id>,
        now: Timestamp,
        position: u64,
    ) -> Result<Life, Error> {
        let opening = Opening {
            now,
            seed: seed.into(),
            invited,
            correlation_id: "work".into(),
            traceparent: None,
            known: Known::default(),
        };
        let whats = open(&protocols(), command, opening)?;
        let What::NegotiationOpened(opened) = &whats[0] else { panic!("{whats:?}") };
        let mut life = Life { it: Negotiation::new(opened, now, position), now, position };
        life.apply_here(&whats[1..]);
        Ok(life)
    }

    fn apply_here(&mut self, whats: &[What]) {
        for what in whats {
            self.it.apply(what, self.now, self.position);
        }
        let everyone = self.it.round().map(|round| round.silent().cloned().collect::<Vec<_>>());
        let seats = everyone.into_iter().flatten().map(|id| (id, seat(1))).collect();
        for what in self.it.ask(seats) {
            self.it.apply(&what, self.now, self.position);
        }
    }

    fn apply(&mut self, whats: &[What]) {
        self.position += 1;
        self.apply_here(whats);
    }

    pub(crate) fn over(&self) -> bool {
        self.it.status.is_final()
    }

    pub(crate) fn wait(&mut self, ms: u64) {
        self.now = self.now.plus_millis(ms);
    }

    /// Answers, or abstains; whether it was taken.
    pub(crate) fn respond(&mut self, by: &Id, response: Option<Json>) -> bool {
        let abstain = response.is_none().then_some(true);
        let negotiation_id = self.it.opened.negotiation_id.clone();
        let command =
            RespondNegotiation { negotiation_id, participant: by.clone(), round: None, response, abstain };
        let whats = self.it.respond(&protocols(), &command, self.now);
        self.apply(whats.as_deref().unwrap_or_default());
        whats.is_ok()
    }

    pub(crate) fn gone(&mut self, id: &Id, why: &str, instead: Option<Id>) {
        let asked = self.it.asked.get(id).map(|seat| seat.incarnation.clone());
        let Some(incarnation) = asked else { return };
        let whats = self.it.gone(&protocols(), id, &incarnation, why, instead, self.now);
        self.apply(&whats);
    }

    pub(crate) fn back(&mut self, id: &Id, start: u8) {
        let whats = self.it.ask([(id.clone(), seat(start))].into());
        self.apply(&whats);
    }

    pub(crate) fn due(&mut self) {
        self.due_by(&protocols());
    }

    pub(crate) fn due_by(&mut self, protocols: &Protocols) {
        let whats = self.it.due(protocols, self.now);
        self.apply(&whats);
    }

    pub(crate) fn run_out(&mut self) {
        while let Some(at) = self.it.timer() {
            self.now = self.now.max(at).plus_millis(1);
            self.due();
        }
    }
}

fn seat(start: u8) -> Seat {
    serde_json::from_value(json!({ "incarnation": incarnation(start), "delivery": "redis" })).unwrap()
}

fn incarnation(start: u8) -> Incarnation {
    format!("00000000-0000-0000-0000-0000000000{start:02x}").parse().unwrap()
}

pub(crate) fn id(name: &str) -> Id {
    name.parse().unwrap()
}

/// What happens to one.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    Respond(usize, usize),
    Abstain(usize),
    Gone(usize, bool),
    Back(usize),
    Wait(u64),
    Due,
}

/// A whole life, before it is lived.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) command: OpenNegotiation,
    invited: Vec<Id>,
    answers: Vec<Value>,
    acts: Vec<Act>,
}

impl Script {
    pub(crate) fn live(&self) -> Option<Life> {
        let mut life = Life::open(
            &self.command,
            "5eed",
            self.invited.clone(),
            Timestamp::from_millis(1_800_000_000_000),
            7,
        )
        .ok()?;
        for act in &self.acts {
            if life.over() {
                break;
            }
            let who = |n: usize| life.it.participants[n % life.it.participants.len()].id.clone();
            match *act {
                Act::Respond(by, what) => {
                    let answer = &self.answers[what % self.answers.len()];
                    life.respond(&who(by), Some(Json::from(answer.clone())));
                }
                Act::Abstain(by) => {
                    life.respond(&who(by), None);
                }
                Act::Gone(by, replace) => {
                    let instead = format!("new{}", life.it.participants.len());
                    let of = who(by);
                    let instead = (replace && life.it.replaces(&of).is_some()).then(|| id(&instead));
                    life.gone(&of, "its lease ended", instead);
                }
                Act::Back(by) => life.back(&who(by), 2),
                Act::Wait(ms) => life.wait(ms),
                Act::Due => life.due(),
            }
        }
        life.run_out();
        Some(life)
    }
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0..6usize, 0..6usize).prop_map(|(by, what)| Act::Respond(by, what)),
        2 => (0..6usize).prop_map(Act::Abstain),
        2 => (0..6usize, any::<bool>()).prop_map(|(by, replace)| Act::Gone(by, replace)),
        1 => (0..6usize).prop_map(Act::Back),
        3 => (0..700u64).prop_map(Act::Wait),
        1 => Just(Act::Due),
    ]
}

/// Rules, and answers that fit them.
fn matter() -> impl Strategy<Value = (&'static str, Value, Vec<Value>)> {
    let candidates = || json!(["a", "b", "c"]);
    let methods = prop::sample::select(vec![
        json!("plurality"),
        json!({ "borda": {} }),
        json!({ "instant_runoff": { "elimination": "simultaneous" } }),
        json!({ "instant_runoff": { "elimination": "parallel_universes" } }),
        json!("condorcet"),
        json!("copeland"),
        json!({ "schulze": {} }),
    ]);
    let ties =
        || prop::sample::select(vec![json!("order"), json!("seed"), json!("fail"), json!({ "chair": "p0" })]);
    let support = prop::sample::select(vec![
        json!("any"),
        json!({ "threshold": { "share": "1/2", "of": "entitled" } }),
    ]);
    let ranked = (methods, ties(), support).prop_map(move |(method, ties, support)| {
        let rules = json!({ "candidates": candidates(), "method": method, "ties": ties, "support": support, "veto": ["p1"] });
        let answers = json!([{ "choice": "a" }, "b", { "ranking": ["c", "a"] }, { "ranking": ["b", "a", "c"] }, { "veto": true }, "a"]);
        ("vote", rules, answers.as_array().unwrap().clone())
    });
    let approved = ties().prop_map(|ties| {
        let rules = json!({ "candidates": ["a", "b", "c"], "method": "approval", "ties": ties });
        let answers = json!([{ "approved": ["a"] }, { "approved": ["b", "c"] }, { "approved": [] }, { "approved": ["a", "b"] }]);
        ("vote", rules, answers.as_array().unwrap().clone())
    });
    let scored = ties().prop_map(|ties| {
        let method = json!({ "score": { "min": 0, "max": 5, "grades": "mean" } });
        let rules = json!({ "candidates": ["a", "b", "c"], "method": method, "ties": ties });
        let answers = json!([{ "scores": { "a": 0.1, "b": "9/2" } }, { "scores": { "c": 5 } }, { "scores": { "a": 2.25 } }]);
        ("vote", rules, answers.as_array().unwrap().clone())
    });
    let agreed =
        Just(("consensus", json!({ "threshold": "2/3" }), vec![json!("yes"), json!("no"), json!("yes")]));
    let talked = (1..5usize).prop_map(|rounds| {
        ("talk", json!({ "rounds": rounds }), vec![json!("x"), json!("é \"y\"\n"), json!("stop"), json!("z")])
    });
    prop_oneof![3 => ranked, 2 => approved, 1 => scored, 2 => agreed, 3 => talked]
}

pub(crate) fn script() -> impl Strategy<Value = Script> {
    let quorum = prop::sample::select(vec![json!(null), json!({ "count": 2 }), json!({ "share": "2/3" })]);
    let repeated = prop::sample::select(vec![json!("first"), json!("last"), json!("refused")]);
    let on_timeout = prop::sample::select(vec![
        json!("decide"),
        json!("extend"),
        json!("fail"),
        json!({ "default": { "b": 1, "a": [1.50, null] } }),
        json!({ "default": null }),
    ]);
    let people = (1..5usize, 0..3usize, any::<bool>(), prop::collection::vec(0..4u32, 6));
    let with = (quorum, repeated, on_timeout, any::<bool>(), prop::option::of(1_500..4_000u64), 0..3usize);
    (matter(), people, with, prop::collection::vec(act(), 0..24)).prop_map(
        |((protocol, rules, answers), (named, found, replace, weights), with, acts)| {
            let (quorum, repeated, on_timeout, sealed, deadline, known) = with;
            let ids: Vec<String> = (0..named).map(|n| format!("p{n}")).collect();
            let weights: BTreeMap<_, _> = ids.iter().cloned().zip(weights).collect();
            let known: BTreeMap<_, _> =
                ids.iter().cloned().zip(&answers).take(known).map(|(id, a)| (id, a.clone())).collect();
            let deadline = deadline.map(|ms| Timestamp::from_millis(1_800_000_000_000 + ms as i64));
            let command = json!({
                "negotiation_id": "n:1", "protocol": protocol, "rules": rules, "participants": ids,
                "question": { "what": "now?", "among": [1.0, 2e3, 12345678901234567890123u128 as f64] },
                "weights": weights, "roles": { "p0": "chair" }, "answers": known, "round_ms": 1_000,
                "deadline": deadline, "quorum": quorum, "repeated": repeated, "on_timeout": on_timeout,
                "sealed": sealed, "replace": replace && found > 0,
                "invite": (found > 0).then(|| json!({ "capability": "judge", "max": 5 })),
            });
            let command = serde_json::from_value(command).unwrap();
            Script { command, invited: (0..found).map(|n| id(&format!("i{n}"))).collect(), answers, acts }
        },
    )
}

/// Lives what a certificate tells, by the session alone, and certifies it: what can be lived so is a valid run.
pub(crate) fn lived_again(told: &Certificate) -> Vec<String> {
    // When somebody was replaced is not on record: as late as can be, as early, or early and it came back in between.
    [(false, false), (true, false), (true, true)].into_iter().filter_map(|how| lived(told, how)).collect()
}

fn lived(told: &Certificate, (early, back): (bool, bool)) -> Option<String> {
    let came: usize = told.rounds.iter().map(|round| round.replaced.len()).sum();
    let people = &told.participants[..told.participants.len() - came];
    let known = known(told);
    let named = people.iter().filter(|one| !one.invited).map(|one| &one.id).collect::<Vec<_>>();
    let command = json!({
        "negotiation_id": told.negotiation_id, "protocol": told.protocol, "rules": told.rules,
        "question": told.question, "participants": named, "round_ms": told.round_ms, "deadline": told.deadline,
        "weights": people.iter().map(|one| (one.id.as_str(), &one.weight)).collect::<BTreeMap<_, _>>(),
        "roles": people.iter().filter_map(|one| Some((one.id.as_str(), one.role.as_ref()?))).collect::<BTreeMap<_, _>>(),
        "answers": known, "quorum": told.quorum, "sealed": told.sealed, "repeated": told.repeated,
        "on_timeout": told.on_timeout, "invite": told.replace, "replace": told.replace.is_some(),
    });
    let mut command: OpenNegotiation = serde_json::from_value(command).ok()?;
    if let OnTimeout::Default(stated) = &told.on_timeout {
        command.on_timeout = Some(OnTimeout::Default(stated.clone()));
    }
    let invited = people.iter().map(|one| one.id.clone()).collect();
    let first = told.rounds[0].answers.values().map(|a| a.position);
    let first = first.chain(told.uncounted.iter().map(|one| one.position)).min().unwrap_or_default();
    let place = if known.is_empty() { 0 } else { first };
    let mut life = Life::open(&command, &told.seed, invited, told.opened_at, place).ok()?;
    for round in &told.rounds {
        if life.over() || life.it.rounds.last().unwrap().round > round.round {
            continue;
        }
        round_again(&mut life, told, round, if round.round == 1 { &known } else { &NOBODY }, (early, back));
    }
    Some(certificate(&told.workspace, &life.it).ok()?.text())
}

static NOBODY: BTreeMap<Id, Json> = BTreeMap::new();

/// All that stands where the opening stands: several at one place, or one before anything else.
fn known(told: &Certificate) -> BTreeMap<Id, Json> {
    let in_first = told.uncounted.iter().filter(|one| one.round == 1);
    let counted = told.rounds[0].answers.iter().map(|(id, a)| (a.position, id, a.response.as_ref()));
    let all: Vec<_> =
        counted.chain(in_first.map(|one| (one.position, &one.participant, one.response.as_ref()))).collect();
    let Some(first) = all.iter().map(|(position, ..)| *position).min() else { return BTreeMap::new() };
    let there: Vec<_> = all.into_iter().filter(|(position, ..)| *position == first).collect();
    let is_alone = there.len() < 2;
    there
        .into_iter()
        .filter(|_| !is_alone)
        .map(|(_, id, response)| (id.clone(), response.cloned().unwrap_or_default()))
        .collect()
}

/// Answers at their places and times; who is gone goes as late as possible.
fn round_again(
    life: &mut Life,
    told: &Certificate,
    round: &Round,
    known: &BTreeMap<Id, Json>,
    (early, back): (bool, bool),
) {
    let end = round.closed_at.unwrap_or(told.ended_at);
    let mut steps: Vec<(u64, Timestamp, &Id, Option<Json>)> = round
        .answers
        .iter()
        .map(|(id, a)| (a.position, a.at, id, a.response.clone()))
        .chain(
            told.uncounted
                .iter()
                .filter(|one| one.round == round.round)
                .map(|one| (one.position, told.opened_at, &one.participant, one.response.clone())),
        )
        .collect();
    steps.sort_by_key(|step| step.0);
    let known_at = steps.first().map(|step| step.0).filter(|_| !known.is_empty());
    steps.retain(|step| Some(step.0) != known_at);
    let new = |id: &Id| round.replaced.contains_key(id) || round.replaced.values().any(|of| of == id);
    let counts = |step: &(u64, Timestamp, &Id, Option<Json>)| {
        round.answers.get(step.2).is_some_and(|a| a.position == step.0)
    };
    let last_counts = steps.iter().rposition(counts).unwrap_or(0);
    let is_first = |steps: &[(u64, Timestamp, &Id, Option<Json>)]| {
        steps.iter().filter(|step| Some(step.2) == steps.last().map(|s| s.2)).count() == 1
    };
    let ends_by_answer = round.closed_at.is_some()
        && round.closed_by != Some(ClosedBy::Time)
        && steps.last().is_some_and(counts)
        && (round.closed_by == Some(ClosedBy::Settled)
            || steps.last().is_some_and(|step| !known.contains_key(step.2) && is_first(&steps)))
        && steps.last().is_some_and(|step| step.1 == end);
    let replaced_before = steps.iter().position(|step| new(step.2)).unwrap_or(steps.len());
    let gone_before = if ends_by_answer { last_counts } else { steps.len() };
    let replaced_before = if early { 0 } else { replaced_before.min(gone_before) };
    let mut extended = round.extended_at.is_none();
    for (at, (position, time, by, response)) in steps.iter().enumerate() {
        if at == replaced_before {
            replace(life, told, round, back);
        }
        if at == gone_before {
            go(life, round);
        }
        let time = life.now.max(*time);
        if let Some(when) = round.extended_at.filter(|when| !extended && *when <= time) {
            (life.now, extended) = (when, true);
            life.due();
        }
        (life.now, life.position) = (time, position - 1);
        life.respond(by, response.clone());
    }
    if let Some(when) = round.extended_at.filter(|_| !extended) {
        life.now = when;
        life.due();
    }
    let by_time = round.closed_by == Some(ClosedBy::Time);
    let is_open = |life: &Life| !life.over() && life.it.rounds.last().unwrap().round == round.round;
    if is_open(life) {
        if !by_time {
            life.now = life.now.max(end);
        }
        if replaced_before >= steps.len() {
            replace(life, told, round, back);
        }
        if gone_before >= steps.len() {
            go(life, round);
        }
    }
    if is_open(life) {
        life.now = life.now.max(end);
        let unknown = told.reason.as_ref().is_some_and(|reason| reason.starts_with("protocol "));
        life.due_by(&if unknown && round.closed_at.is_none() { Protocols::none() } else { protocols() });
    }
}

/// Those who were replaced go, whether or not they came back.
fn replace(life: &mut Life, told: &Certificate, round: &Round, back: bool) {
    for one in &told.participants {
        let Some(of) = round.replaced.get(&one.id) else { continue };
        let start = (life.position % 200) as u8 + 3;
        if life.it.round().is_some_and(|open| open.gone.contains_key(of)) {
            life.back(of, start);
        }
        let why = round.gone.get(of).map_or("came back", String::as_str);
        life.gone(of, why, Some(one.id.clone()));
        if back || !round.gone.contains_key(of) {
            life.back(of, start + 1);
        }
    }
}

/// Those who are gone at the end of the round go.
fn go(life: &mut Life, round: &Round) {
    for (id, why) in &round.gone {
        life.gone(id, why, None);
    }
}
