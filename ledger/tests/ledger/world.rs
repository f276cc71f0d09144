//! Two coordinators, one shard, and everything that can go wrong between them: what `history` throws its dice at.
//!
//! The world keeps its own account of which records count, apart from the code that it tests.

use crate::log::{Log, read};
use crate::shard::{RECORD_LIMIT, at, command, meta, task_key};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use synod_fleet::{AgentKey, Registry};
use synod_ledger::{
    Answer, Context, Effect, Folded, Had, Image, Input, Keep, Limits, Meta, Next, Owed, Owner, Past, Record,
    Released, State, Step, Subject, TaskKey, invariants,
};
use synod_protocol::view::Assignment;
use synod_protocol::{Code, Error, Incarnation, Json, Timestamp};

/// What stands at an offset of the ledger.
#[derive(Clone, Debug)]
enum Stands {
    Claim,
    Step(Box<Step>),
    Image(Box<Image>),
    Junk,
}

/// A record of the commands topic.
#[derive(Clone, Debug)]
enum Produced {
    Command(Value, String, String),
    Poison,
    PassedOn,
}

/// One coordinator.
#[derive(Default)]
struct Seat {
    owner: Option<Owner>,
    fleet: Registry,
    /// Appended, and not in the log yet.
    on_way: VecDeque<(u64, Vec<u8>)>,
    /// In the log, and not acknowledged yet.
    acks: Vec<(u64, u64)>,
    /// Issued, and not confirmed yet: how many of which offset.
    issued: BTreeMap<u64, usize>,
    /// Who waits: the `ce_id` that each ticket asked under.
    tickets: BTreeMap<u64, String>,
}

/// See the module.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) log: Log,
    stands: Vec<Stands>,
    seats: [Seat; 2],
    topic: Vec<Produced>,
    /// Records of owners that are no more, which may yet land.
    ghosts: VecDeque<Vec<u8>>,
    /// The state that an author had after its n-th record of an epoch.
    memory: BTreeMap<(u64, u64), State>,
    now: u64,
    made: u64,
    /// Commands sent: `ce_id`, type, body.
    sent: Vec<(String, String, Value)>,
    /// Work that has reached agents.
    work: Vec<Assignment>,
    /// Offsets all of whose effects have been confirmed to one owner.
    confirmed: BTreeSet<u64>,
    released: BTreeSet<u64>,
    /// What was answered under each `ce_id`: an entity's id or a refusal.
    answered: BTreeMap<String, Result<String, Code>>,
    pub(crate) takeovers: u64,
    image_within: u64,
    ended_ms: u64,
    pub(crate) images: u64,
}

impl World {
    /// A world whose owners image every thing within so many records, and keep what has ended for so long.
    pub(crate) fn new(image_within: u64, ended_ms: u64) -> World {
        World { image_within, ended_ms, ..World::default() }
    }

    fn time(&self) -> Timestamp {
        at(self.now)
    }

    pub(crate) fn pass(&mut self, ms: u64) {
        self.now += ms;
    }

    /// The seat that is meant if it owns the shard (as far as it knows), or the other; if neither does, it claims.
    fn owning(&mut self, who: usize) -> usize {
        if self.seats[who].owner.is_some() {
            return who;
        }
        if self.seats[1 - who].owner.is_some() {
            return 1 - who;
        }
        self.claim(who);
        who
    }

    // --- the log -------------------------------------------------------------------------------------------------

    fn append(&mut self, bytes: Vec<u8>) -> u64 {
        self.stands.push(match Record::read(&bytes) {
            Ok(Record::Step(step)) => Stands::Step(step),
            Ok(Record::Image(image)) => Stands::Image(image),
            other => panic!("a step or an image, not {other:?}"),
        });
        self.log.append(self.time(), bytes)
    }

    /// Every record that counts, by the rule and not by the code: offset, epoch, n, step.
    pub(crate) fn counting(&self) -> Vec<(u64, u64, u64, &Step)> {
        let (mut latest, mut last_n, mut out) = (None, 0, Vec::new());
        for (offset, stands) in self.stands.iter().enumerate() {
            match stands {
                Stands::Claim => (latest, last_n) = (Some(offset as u64), 0),
                Stands::Step(step) if latest == Some(step.epoch) && step.n == last_n + 1 => {
                    last_n = step.n;
                    out.push((offset as u64, step.epoch, step.n, &**step));
                }
                Stands::Image(image) if latest == Some(image.epoch) && image.n == last_n + 1 => {
                    last_n = image.n;
                }
                Stands::Step(_) | Stands::Image(_) | Stands::Junk => {}
            }
        }
        out
    }

    /// Claims without folding: somebody who comes and is gone again.
    pub(crate) fn claim_and_vanish(&mut self) {
        self.log.claim("passer-by", self.time());
        self.stands.push(Stands::Claim);
    }

    pub(crate) fn junk(&mut self, kind: u8) {
        let last = self
            .stands
            .iter()
            .rev()
            .find_map(|s| if let Stands::Step(s) = s { Some(s.clone()) } else { None });
        match (kind % 3, last) {
            (0, _) | (_, None) => {
                self.log.append(self.time(), b"{\"not\":\"ours\"}".to_vec());
                self.stands.push(Stands::Junk);
            }
            (1, Some(mut step)) => {
                // Beyond whatever may stand behind it, so that it never counts.
                step.n += 100_000;
                self.append(serde_json::to_vec(&step).unwrap());
            }
            (_, Some(mut step)) => {
                step.epoch = step.epoch.wrapping_sub(1);
                self.append(serde_json::to_vec(&step).unwrap());
            }
        }
    }

    pub(crate) fn ghost(&mut self) {
        if let Some(bytes) = self.ghosts.pop_front() {
            self.append(bytes);
        }
    }

    /// The next `count` records of a seat reach the log, the first of them perhaps twice.
    pub(crate) fn land(&mut self, who: usize, count: usize, twice: bool) {
        for index in 0..count {
            let Some((n, bytes)) = self.seats[who].on_way.pop_front() else { return };
            let offset = self.append(bytes.clone());
            self.seats[who].acks.push((n, offset));
            if twice && index == 0 {
                self.append(bytes);
            }
        }
    }

    /// One of a seat's acknowledgements arrives, in any order, perhaps as a failure.
    pub(crate) fn ack(&mut self, who: usize, which: usize, fails: bool) {
        if self.seats[who].acks.is_empty() {
            return;
        }
        let (n, offset) = {
            let acks = &mut self.seats[who].acks;
            acks.remove(which % acks.len())
        };
        let outcome = if fails { Err("timed out".into()) } else { Ok(Some(offset)) };
        let Some(owner) = &mut self.seats[who].owner else { return };
        match owner.acked(n, outcome) {
            Ok(released) => self.release(who, released),
            Err(_) => self.drop_owner(who),
        }
    }

    pub(crate) fn ack_all(&mut self, who: usize) {
        while !self.seats[who].acks.is_empty() {
            self.ack(who, 0, false);
        }
    }

    // --- owners --------------------------------------------------------------------------------------------------

    /// A seat's owner is no more; what it had on its way may yet land.
    pub(crate) fn drop_owner(&mut self, who: usize) {
        let seat = std::mem::take(&mut self.seats[who]);
        self.ghosts.extend(seat.on_way.into_iter().map(|(_, bytes)| bytes));
        self.seats[who].fleet = seat.fleet;
    }

    /// A seat claims the shard and folds: it must find what the authors of the records that count had in memory.
    pub(crate) fn claim(&mut self, who: usize) {
        self.drop_owner(who);
        self.takeovers += 1;
        let epoch = self.log.claim("seat", self.time());
        self.stands.push(Stands::Claim);
        let folded = self.log.fold_with(self.keep());
        assert_eq!((folded.epoch, folded.born), (epoch, self.first_claim()));
        invariants(&folded.state).unwrap();

        let counting = self.counting();
        let had = self.last_counting().map(|at| self.memory[&at].clone());
        let awake = |state: &State| {
            let mut state = state.settled();
            state.wake_retries(self.time());
            format!("{state:#?}")
        };
        let found = awake(&folded.state);
        if let Some(had) = had.filter(|_| self.is_where_expected()) {
            let had = awake(&had);
            assert!(found == had, "the fold is not what was had:\n{}", first_difference(&found, &had));
        }
        // Nobody folds from the beginning once there is a floor: it comes to the same.
        let (near, floor) = self.log.fold_from_floor(self.keep(), epoch);
        invariants(&near.state).unwrap();
        let near_state = awake(&near.state);
        assert!(near_state == found, "from the floor:\n{}", first_difference(&near_state, &found));
        // Where no step behind the floor counts, the floor alone says that everything below it is done.
        assert_eq!(near.epoch, folded.epoch);
        let done = [folded.done, folded.done.max(floor)];
        assert!(done.contains(&near.done), "done below {}, which is none of {done:?}", near.done);
        // What is confirmed already needs nothing any more, though `done` may not tell.
        let owed = |folded: &Folded| -> Vec<(u64, Option<u64>)> {
            let needs =
                |o: &Owed| Some(o.needs).filter(|_| !self.confirmed.contains(&o.offset) && owes(&o.step));
            folded.owed.iter().map(|o| (o.offset, needs(o))).collect()
        };
        // The floor of a step that does not count is as valid: its author had confirmed what lies below.
        let (near_owed, all) = (owed(&near), owed(&folded));
        let skipped = &all[..all.len() - near_owed.len()];
        assert_eq!(near_owed, all[skipped.len()..]);
        for (offset, _) in skipped {
            let Stands::Step(step) = &self.stands[*offset as usize] else { panic!("no step at {offset}") };
            assert!(
                !owes(step) || self.confirmed.contains(offset),
                "{offset} lies below the floor and is not confirmed"
            );
        }
        let folded = near;

        let first = near_owed.first().map_or(u64::MAX, |(offset, _)| *offset);
        let owed = counting.iter().filter(|(offset, .., step)| *offset >= first && owes(step));
        let owed: Vec<u64> = owed.map(|(offset, ..)| *offset).collect();
        let limits =
            Limits { record_bytes: RECORD_LIMIT, image_within: self.image_within, ..Limits::default() };
        let (mut owner, released) = Owner::new(0, folded, limits);
        owner.caught_up();
        let issued: Vec<u64> = released
            .iter()
            .filter_map(|r| match r {
                Released::Effects { offset, .. } => Some(*offset),
                Released::Answer(..) | Released::Past(..) | Released::Again(_) => None,
            })
            .collect();
        assert_eq!(issued, owed, "what is issued again");
        self.memory.insert((epoch, 0), owner.state().clone());
        self.seats[who].owner = Some(owner);
        self.release(who, released);
    }

    /// Small: everything is imaged soon and forgotten soon.
    fn keep(&self) -> Keep {
        Keep { ended_ms: self.ended_ms, runs_ms: self.ended_ms, ended_bytes: 20_000, ..Keep::default() }
    }

    /// Epoch and number of the last record that counts.
    fn last_counting(&self) -> Option<(u64, u64)> {
        let mut counting = synod_ledger::Counting::default();
        for (offset, (_, bytes)) in self.log.records.iter().enumerate() {
            if let Ok(record) = Record::read(bytes) {
                counting.see(offset as u64, &record);
            }
        }
        // What was folded at a claim by which nothing has been appended is known under the claim itself.
        counting
            .epoch()
            .filter(|_| counting.n() > 0)
            .map(|epoch| (epoch, counting.n()))
            .or_else(|| self.before_last_claim())
    }

    fn before_last_claim(&self) -> Option<(u64, u64)> {
        let mut counting = synod_ledger::Counting::default();
        let mut last = None;
        for (offset, (_, bytes)) in self.log.records.iter().enumerate() {
            if let Ok(record) = Record::read(bytes)
                && counting.see(offset as u64, &record) == synod_ledger::Verdict::Counts
            {
                last = counting.epoch().map(|epoch| (epoch, counting.n()));
            }
        }
        last
    }

    /// Whether every record that counts landed where its author expected it; else offsets in memory are others.
    fn is_where_expected(&self) -> bool {
        let mut counting = synod_ledger::Counting::default();
        self.log.records.iter().enumerate().all(|(offset, (_, bytes))| {
            let Ok(record) = Record::read(bytes) else { return true };
            let counts = counting.see(offset as u64, &record) == synod_ledger::Verdict::Counts;
            !counts || counting.epoch().map(|epoch| epoch + counting.n()) == Some(offset as u64)
        })
    }

    fn first_claim(&self) -> u64 {
        self.stands.iter().position(|s| matches!(s, Stands::Claim)).unwrap() as u64
    }

    fn handle(&mut self, who: usize, input: &Input, ce_id: Option<&str>) {
        self.made += 1;
        let (now, ticket) = (self.time(), ce_id.map(|_| self.made));
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.made.to_le_bytes());
        let seat = &mut self.seats[who];
        let Some(owner) = &mut seat.owner else { return };
        seat.tickets.extend(ticket.zip(ce_id.map(str::to_owned)));
        seat.fleet.forget_shard(0);
        let holders: Vec<_> = owner.state().holders().cloned().collect();
        for agent in holders {
            for (_, incarnation) in owner.state().held_by(&agent) {
                seat.fleet.given(&agent, incarnation, 0);
            }
        }
        let mut released = Vec::new();
        let append = owner.handle(
            &Context {
                now,
                seed,
                fleet: &seat.fleet,
                protocols: synod_negotiation::Protocols::standard(),
                definitions: &synod_ledger::NoDefinitions,
            },
            input,
            ticket,
            &mut released,
        );
        if let Some(append) = append {
            owner.invariants().unwrap();
            self.memory.insert((owner.epoch(), append.n), owner.state().clone());
            let step = read(&append.bytes);
            seat.on_way.push_back((append.n, append.bytes));
            for (offset, .., earlier) in self.counting() {
                let open = offset < step.done && owes(earlier) && !self.confirmed.contains(&offset);
                assert!(!open, "done is {}, and {offset} is not confirmed", step.done);
            }
        }
        if let Some(owner) = &mut self.seats[who].owner
            && let Some(image) = owner.image()
        {
            owner.invariants().unwrap();
            self.memory.insert((owner.epoch(), image.n), owner.state().clone());
            self.images += 1;
            self.seats[who].on_way.push_back((image.n, image.bytes));
        }
        self.release(who, released);
    }

    fn release(&mut self, who: usize, released: Vec<Released>) {
        for one in released {
            match one {
                Released::Answer(ticket, answer) => self.answer(who, ticket, &answer),
                Released::Past(ticket, past) => self.past(who, ticket, &past),
                Released::Again(_) => {}
                Released::Effects { offset, effects } => {
                    self.released.insert(offset);
                    self.seats[who].issued.insert(offset, effects.len());
                    for effect in effects {
                        self.perform(offset, effect);
                    }
                }
            }
        }
    }

    fn perform(&mut self, offset: u64, effect: Effect) {
        match effect {
            Effect::Deliver { envelope, .. } if envelope.ty == "synod.negotiation.asked" => {}
            Effect::Deliver { attempt_id: Some(_), value, .. } => self.work.push(value.to().unwrap()),
            Effect::Directory(entry) => {
                self.seats[0].fleet.learn((*entry).clone(), offset);
                self.seats[1].fleet.learn(*entry, offset);
            }
            Effect::ReplyPast { envelope, past, .. } => {
                self.learn_past(&envelope.causation_id.unwrap(), &past);
            }
            Effect::Reply { envelope, value, .. } => {
                let answer = match envelope.ty.as_str() {
                    "synod.reply" => Ok((value, false)),
                    _ => Err(value.to().unwrap()),
                };
                self.learn(&envelope.causation_id.unwrap(), &answer);
            }
            _ => {}
        }
    }

    fn answer(&mut self, who: usize, ticket: u64, answer: &Answer) {
        let ce_id = self.seats[who].tickets.remove(&ticket).expect("somebody who waits");
        self.learn(&ce_id, answer);
    }

    /// What has left memory is found in the ledger, by the offset that memory names.
    fn past(&mut self, who: usize, ticket: u64, past: &Past) {
        let ce_id = self.seats[who].tickets.remove(&ticket).expect("somebody who waits");
        self.learn_past(&ce_id, past);
    }

    fn learn_past(&mut self, ce_id: &str, past: &Past) {
        let counting = self.counting();
        let step = |at: u64| {
            let found = counting.iter().find(|(.., step)| step.place() == at);
            found
                .map(|(.., step)| (*step).clone())
                .unwrap_or_else(|| panic!("no step that counts has place {at}"))
        };
        let named = |subject: &Subject| {
            let name = match subject {
                Subject::Fleet => panic!("nobody pauses here"),
                subject => format!("{}_id", subject.noun()),
            };
            Ok((Json::of(&BTreeMap::from([(name, subject.id())])).unwrap(), false))
        };
        // It was made by that step, or ended long after.
        let known = |at: u64, subject: &Subject| {
            let found = step(at);
            assert!(found.events.iter().any(|e| e.entity.as_str() == subject.id()), "{subject:?} at {at}");
        };
        let answer = match past {
            Past::Entity { at: None, .. } | Past::Entity { subject: Subject::Certificate(_), .. } => return,
            Past::Entity { subject, at: Some(at) } => {
                known(*at, subject);
                named(subject)
            }
            Past::Command { at } => match Had::of(&step(*at)).expect("a command") {
                Had::Refused(error) => Err(*error),
                Had::Again(past) => return self.learn_past(ce_id, &past),
                Had::Taken(subject) => named(&subject),
            },
            Past::Again { subject: subject @ Subject::Task(_), at, body } => {
                let made = step(*at);
                let first =
                    subject.body_in(&made).unwrap_or_else(|| panic!("{subject:?} was not made at {at}"));
                if first == body { named(subject) } else { Err(subject.made_otherwise()) }
            }
            Past::Again { subject, at, .. } => {
                known(*at, subject);
                named(subject)
            }
            Past::Over { subject, at } => {
                known(*at, subject);
                Err(Error::new(Code::InvalidTransition, "it has ended"))
            }
        };
        self.learn(ce_id, &answer);
    }

    /// However often and through whichever door: one `ce_id`, one answer.
    fn learn(&mut self, ce_id: &str, answer: &Answer) {
        let told = answer.clone().map_err(|error| error.code).map(|(entity, _)| {
            let entity: Value = entity.to().unwrap();
            let id = ["task_id", "agent_id", "negotiation_id"].iter().find_map(|id| entity[*id].as_str());
            id.unwrap().to_owned()
        });
        let first = self.answered.entry(ce_id.to_owned()).or_insert_with(|| told.clone());
        assert_eq!(*first, told, "under {ce_id}");
    }

    /// One effect reaches its receiver, and its owner hears of it.
    pub(crate) fn confirm(&mut self, who: usize, which: usize, count: usize) {
        let seat = &mut self.seats[who];
        let Some(owner) = &mut seat.owner else { return };
        let offsets: Vec<u64> = seat.issued.keys().copied().collect();
        if offsets.is_empty() {
            return;
        }
        let offset = offsets[which % offsets.len()];
        let left = seat.issued.get_mut(&offset).unwrap();
        let count = count.min(*left);
        *left -= count;
        owner.confirmed(offset, count);
        if *left == 0 {
            seat.issued.remove(&offset);
            self.confirmed.insert(offset);
        }
    }

    // --- what happens --------------------------------------------------------------------------------------------

    /// Somebody sends a command: to whoever thinks that it owns the shard, or to the topic.
    pub(crate) fn send(&mut self, who: usize, kafka: bool, ty: &str, body: &Value) {
        let ce_id = format!("ce-{}", self.sent.len());
        self.sent.push((ce_id.clone(), ty.to_owned(), body.clone()));
        self.send_as(who, kafka, &ce_id, ty, body);
    }

    fn send_as(&mut self, who: usize, kafka: bool, ce_id: &str, ty: &str, body: &Value) {
        if kafka {
            self.topic.push(Produced::Command(body.clone(), ce_id.to_owned(), ty.to_owned()));
            return;
        }
        let who = self.owning(who);
        let input = Input::Command { command: Box::new(command(ty, body)), meta: meta(ce_id, None) };
        self.handle(who, &input, Some(ce_id));
    }

    /// A command is sent again, perhaps with the body of another.
    pub(crate) fn repeat(&mut self, who: usize, kafka: bool, which: usize, body: usize) {
        let (len, sent) = (self.sent.len(), &self.sent);
        if len > 0 {
            let (ce_id, (_, ty, body)) = (sent[which % len].0.clone(), sent[body % len].clone());
            self.send_as(who, kafka, &ce_id, &ty, &body);
        }
    }

    pub(crate) fn produce_poison(&mut self, passed_on: bool) {
        self.topic.push(if passed_on { Produced::PassedOn } else { Produced::Poison });
    }

    /// What an agent says of work that it was given once: the `which`-th last, perhaps with a wrong token.
    pub(crate) fn result(&mut self, who: usize, kafka: bool, which: usize, verb: usize, guess: bool) {
        if self.work.is_empty() {
            return;
        }
        let work = &self.work[self.work.len() - 1 - which % self.work.len()];
        let token = if guess { "guess" } else { &work.attempt_token };
        let mut body = json!({"task_id": work.task_id, "attempt": work.attempt, "attempt_token": token});
        let verb = ["complete", "fail", "fail", "decline", "start", "progress"][verb % 6];
        if matches!(verb, "fail" | "decline") {
            body["error"] = json!({"code": "c", "message": "m", "retryable": !which.is_multiple_of(4)});
        }
        self.send(who, kafka, &format!("synod.task.{verb}"), &body);
    }

    /// An owner reads on in the commands topic, from its own position.
    pub(crate) fn read(&mut self, who: usize, count: usize) {
        let who = self.owning(who);
        for _ in 0..count {
            let offset = self.seats[who].owner.as_ref().unwrap().state().position();
            let Some(produced) = self.topic.get(offset as usize).cloned() else { return };
            let input = match produced {
                Produced::Poison => {
                    Input::Poison { offset, error: Box::new(Error::invalid("no JSON")), meta: None }
                }
                Produced::PassedOn => Input::PassedOn { offset, partition: 1 },
                Produced::Command(body, ce_id, ty) => {
                    let reply_to = Some("redis:synod:reply:x".parse().unwrap());
                    let meta = Meta { reply_to, ..meta(&ce_id, Some(offset)) };
                    Input::Command { command: Box::new(command(&ty, &body)), meta }
                }
            };
            self.handle(who, &input, None);
        }
    }

    /// A read of a task, which must never show what is not proven.
    pub(crate) fn look(&mut self, who: usize, task: &str) {
        let who = self.owning(who);
        self.made += 1;
        let ticket = self.made;
        let mut released = Vec::new();
        let Some(owner) = &mut self.seats[who].owner else { return };
        owner.read(ticket, &Subject::Task(task_key(task)), &mut released);
        let is_quiet = owner.in_flight() == 0;
        assert_eq!(released.len(), usize::from(is_quiet));
        self.seats[who].tickets.insert(ticket, format!("look-{ticket}"));
        self.release(who, released);
    }

    /// What is due by itself happens, and those who wait are given to whoever has room.
    pub(crate) fn tick(&mut self, who: usize) {
        let who = self.owning(who);
        let now = self.time();
        loop {
            let seat = &mut self.seats[who];
            let Some(owner) = &mut seat.owner else { return };
            owner.there_is_room();
            let before = owner.state().waiting();
            match owner.next(now, &seat.fleet, true) {
                Next::Input(input) => {
                    self.handle(who, &input, None);
                    let nobody = self.seats[who].owner.as_ref().is_none_or(|o| o.state().waiting() == before);
                    if matches!(input, Input::Dispatch(_)) && nobody {
                        return;
                    }
                }
                Next::Later | Next::Nothing => return,
                other => panic!("what is due is on record, and then no longer due: {other:?}"),
            }
        }
    }

    /// A word from the fleet about a task that may have moved on meanwhile.
    pub(crate) fn hurry(&mut self, who: usize, task: &str) {
        let who = self.owning(who);
        self.handle(who, &Input::Dispatch(task_key(task)), None);
    }

    /// An agent is judged lost, or heard of again; those who hold its tasks are gone with it.
    pub(crate) fn judge(&mut self, who: usize, agent: &AgentKey, incarnation: &Incarnation, lost: bool) {
        let who = self.owning(who);
        let (agent, incarnation, reason) = (agent.clone(), incarnation.clone(), "silent".to_owned());
        let held: Vec<TaskKey> = self.seats[who]
            .owner
            .as_ref()
            .unwrap()
            .state()
            .held_by(&agent)
            .map(|(key, _)| key.clone())
            .collect();
        let judged = Input::Judged { agent, incarnation: incarnation.clone(), lost, reason: reason.clone() };
        self.handle(who, &judged, None);
        for task in held.into_iter().filter(|_| lost) {
            let (incarnation, reason) = (incarnation.clone(), reason.clone());
            self.handle(who, &Input::HolderGone { task, incarnation, lost: true, reason }, None);
        }
    }

    /// At the end of all: one more takeover, and what must hold of the whole history.
    pub(crate) fn end(&mut self) {
        self.claim(0);
        let counting = self.counting();
        let state = self.seats[0].owner.as_ref().unwrap().state();
        let offsets: BTreeSet<u64> = counting.iter().map(|(offset, ..)| *offset).collect();
        assert!(self.released.is_subset(&offsets), "what has left belongs to records that count for ever");
        let (mut ends, mut applied, mut last) = (BTreeMap::new(), BTreeSet::new(), at(0));
        for (offset, .., step) in counting {
            assert!(step.now >= last, "the shard's time runs back at {offset}");
            last = step.now;
            for event in &step.events {
                let ty = event.what.ce_type().rsplit('.').next().unwrap();
                if matches!(ty, "completed" | "failed" | "cancelled" | "dead_lettered") {
                    let before = ends.insert(event.entity.clone(), ty);
                    assert_eq!(before, None, "task {} ended twice", event.entity);
                }
            }
            if let Some(ce_id) = step.input.ce_id.as_ref().filter(|_| !step.events.is_empty()) {
                assert!(applied.insert(ce_id.clone()), "{ce_id} was applied twice");
            }
        }
        for (key, task) in state.tasks() {
            assert_eq!(task.status.is_final(), ends.contains_key(&key.task));
        }
        for (ce_id, ty, body) in &self.sent {
            let made = matches!(self.answered.get(ce_id), Some(Ok(_))) && ty == "synod.task.submit";
            let id = body["task_id"].as_str().unwrap_or_default();
            if made && self.answered[ce_id] == Ok(id.to_owned()) {
                let known = state.task(&task_key(id)).is_some() || ends.contains_key(&task_key(id).task);
                assert!(known, "{id} was accepted and is gone");
            }
        }
    }
}

/// Whether a step owes the world anything.
fn owes(step: &Step) -> bool {
    !step.events.is_empty() || step.input.reply_to.is_some() || step.input.poison
}

fn first_difference(a: &str, b: &str) -> String {
    let (a, b): (Vec<_>, Vec<_>) = (a.lines().collect(), b.lines().collect());
    let at = a.iter().zip(&b).position(|(x, y)| x != y).unwrap_or(a.len().min(b.len()));
    let around =
        |lines: &[&str]| lines[at.saturating_sub(12).min(lines.len())..(at + 3).min(lines.len())].join("\n");
    format!("found\n{}\nhad\n{}", around(&a), around(&b))
}
