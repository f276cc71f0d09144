//! Effects on their way: from the process to Redis or Kafka and back; and whatever else these two are asked.

use crate::broker::Produced;
use crate::node::{Action, Doing, Outcome, Waits};
use crate::party::{Asking, PartyDoing};
use crate::plan::MS;
use crate::redis::{Body, Delivered};
use crate::seat::Phase;
use crate::serve::{NO_STEP, Over};
use crate::tally::Met;
use crate::tell::told;
use crate::work::id_of;
use crate::world::{Back, Call, Issued, Pid, Request, What, World};
use std::rc::Rc;
use synod_ledger::{Answer, Effect, Meta};
use synod_protocol::command::Delivery;
use synod_protocol::negotiation::Ask;
use synod_protocol::view::{Assignment, DirectoryEntry};
use synod_protocol::{Command, ContentType, Envelope, Json, Limits, ReplyTo};

impl World {
    /// Whether the epoch that issued an effect is not over for its owner.
    pub(crate) fn is_in_force(&self, issued: &Issued) -> bool {
        let seat = &self.nodes[issued.pid.node].seats[issued.shard as usize];
        matches!(&seat.phase, Phase::Serving(s) if s.owner.epoch() == issued.epoch)
    }

    /// An effect departs, if the epoch that issued it is not over for its owner.
    pub(crate) fn effect_goes(&mut self, issued: Issued) {
        if !self.is_in_force(&issued) {
            return;
        }
        let delay = self.latency();
        match &issued.effect {
            Effect::ReplyPast { past, .. } => {
                let (pid, shard, past) = (issued.pid, issued.shard, past.clone());
                return self.looks_for(pid, shard, past, Waits::Reply(Box::new(issued)));
            }
            Effect::View { kind, workspace, id, offset, value } => {
                // Not tried again: the ledger has what it shows.
                let key = (*kind, workspace.clone(), id.clone());
                let (offset, value) = (*offset, value.clone());
                self.after(delay, What::Redis(Call::View { key, offset, value }));
                self.is_performed(&issued);
                return self.effect_done(issued.pid.node, issued, Outcome::Confirmed);
            }
            _ => {}
        }
        if let Effect::HoldPermits { by, .. } = &issued.effect {
            self.holding.insert((issued.pid.node, issued.shard, issued.epoch, by.clone(), issued.offset));
        }
        let what = match &issued.effect {
            Effect::Deliver { delivery: Delivery::Redis, .. }
            | Effect::HoldPermits { .. }
            | Effect::GiveBack { .. }
            | Effect::PutState { .. }
            | Effect::Reply { to: ReplyTo::Redis(_), .. } => What::Redis(Call::Effect(issued)),
            _ => What::Broker(Request::Effect(issued)),
        };
        self.after(delay, what);
    }

    /// What became of an effect reaches its owner.
    pub(crate) fn effect_done(&mut self, node: usize, issued: Issued, outcome: Outcome) {
        let (shard, epoch, offset) = (issued.shard, issued.epoch, issued.offset);
        if let (Effect::HoldPermits { by, .. }, Outcome::Confirmed) = (&issued.effect, outcome) {
            self.holding.remove(&(node, shard, epoch, by.clone(), offset));
        }
        self.with_serving(node, shard, Some(epoch), |world, s| match outcome {
            Outcome::Confirmed => {
                if let Effect::GiveBack { by, .. } = &issued.effect {
                    s.owner.given_back(by);
                }
                s.owner.confirmed(offset, 1);
                Ok(())
            }
            Outcome::Fenced => Err(Over::Doubt("a receiver has heard a newer owner".into())),
            Outcome::Failed => {
                let pause = (20 << issued.tries.min(5)) * MS;
                let (pid, again) = (issued.pid, Issued { tries: issued.tries + 1, ..issued });
                world.after(pause, What::Node(pid, Doing::Go(Box::new(Action::Effect(again)))));
                Ok(())
            }
        });
    }

    /// A call arrives at Redis.
    pub(crate) fn redis_gets(&mut self, call: Call) {
        let down = self.redis.down_until > self.now || self.rng.happens(self.plan.messages.redis_failed);
        let unheard = self.rng.happens(self.plan.messages.redis_unheard);
        let delay = self.latency();
        match call {
            Call::Look { pid, at_ms } => {
                let leases = (!down && !unheard).then(|| self.redis.leases(self.now));
                self.after(delay, What::Node(pid, Doing::LeasesRead { at_ms, leases }));
            }
            Call::Lease { pid, lease, began_ms } => {
                let held = if down { None } else { self.redis.hold_lease(pid.node, &lease, self.now) };
                let renewed = held.filter(|_| !unheard);
                self.after(delay, What::Node(pid, Doing::LeaseHeld { began_ms, renewed }));
            }
            Call::Release(pid) => {
                if !down {
                    self.redis.release_lease(pid.node, pid.life);
                }
            }
            Call::View { key, offset, value } => {
                if !down {
                    self.redis.put_view(&key, offset, &value);
                }
            }
            Call::Take { agent, life } => {
                // What was moved for an answer that is lost is found again in the taken list.
                let body = if down { None } else { self.redis.take(agent) };
                let delay = if unheard { delay + 100 * MS } else { delay };
                self.after(delay, What::Party(agent, life, PartyDoing::Took(body)));
            }
            Call::Permits { pid, shard, epoch, wanted } => {
                let answer = self.take_permits(shard, epoch, &wanted, down, unheard);
                self.after(delay, What::Node(pid, Doing::PermitsAnswered { shard, epoch, wanted, answer }));
            }
            Call::GiveUp { shard, epoch, wanted, at } => {
                if !down {
                    self.give_up_permits(shard, epoch, &wanted, at);
                }
            }
            Call::Effect(issued) => {
                let outcome = if down { Outcome::Failed } else { self.redis_performs(&issued) };
                let outcome = if unheard { Outcome::Failed } else { outcome };
                self.after(
                    delay,
                    What::Node(issued.pid, Doing::Effect { issued: Box::new(issued), outcome }),
                );
            }
        }
    }

    fn redis_performs(&mut self, issued: &Issued) -> Outcome {
        let (shard, offset) = (issued.shard, issued.offset);
        match &issued.effect {
            Effect::Deliver { agent, attempt_id, value, .. } => {
                let Some(party) = self.agent_of(agent.agent.as_str()) else { return Outcome::Confirmed };
                let body = Body { attempt_id: attempt_id.clone(), value: value.clone() };
                // What no step owes is nobody's record.
                let record = if offset == NO_STEP { issued.epoch } else { offset };
                let delivered = self.redis.deliver(party, shard, issued.epoch, record, body, self.bug);
                self.note(Some(shard), || {
                    let what = attempt_id.as_deref().unwrap_or("a withdrawal");
                    let of =
                        if offset == NO_STEP { "once more".into() } else { format!("of record {offset}") };
                    format!("inbox of {}: {what} {of} by epoch {}: {delivered:?}", agent.agent, issued.epoch)
                });
                match delivered {
                    Ok(Delivered::AlreadyThere) => self.met(Met::AlreadyThere),
                    Ok(Delivered::Fenced) => self.met(Met::StaleRefused),
                    _ => {}
                }
                match delivered {
                    Ok(Delivered::Accepted) => {
                        self.is_handed_out(issued, attempt_id.is_some(), value);
                        self.wakes_agent(party);
                        Outcome::Confirmed
                    }
                    Ok(Delivered::AlreadyThere) => {
                        self.is_performed(issued);
                        Outcome::Confirmed
                    }
                    Ok(Delivered::Fenced) => Outcome::Fenced,
                    Ok(Delivered::Full) => Outcome::Failed,
                    Err(why) => {
                        self.breaks(Some(shard), why);
                        Outcome::Confirmed
                    }
                }
            }
            Effect::Reply { envelope, value, to: ReplyTo::Redis(to) } => {
                self.is_performed(issued);
                self.reply(shard, to, envelope, value);
                Outcome::Confirmed
            }
            Effect::HoldPermits { by, permits, for_ms } => self.hold_permits(issued, by, permits, *for_ms),
            Effect::GiveBack { by, permits } => self.give_back_permits(issued, by, permits),
            Effect::PutState { .. } => {
                self.is_performed(issued);
                Outcome::Confirmed
            }
            _ => Outcome::Failed,
        }
    }

    pub(crate) fn is_performed(&mut self, issued: &Issued) {
        let (shard, offset) = (issued.shard, issued.offset);
        if offset == NO_STEP {
            return;
        }
        let performed = self.watch.performed(shard, offset, &id_of(offset, &issued.effect));
        self.must(shard, performed);
    }

    fn is_handed_out(&mut self, issued: &Issued, is_work: bool, value: &Json) {
        self.is_performed(issued);
        let (shard, workspace) = (issued.shard, synod_protocol::Workspace::default_name());
        if let Ok(ask) = value.to::<Ask>() {
            self.met(Met::AskReached);
            let right = self.watch.asked(shard, &ask);
            return self.must(shard, right);
        }
        match value.to::<Assignment>() {
            Ok(work) if is_work => {
                let right = self.watch.handed_out(&workspace, &work);
                self.must(shard, right);
            }
            Err(error) if is_work => self.breaks(Some(shard), format!("work that cannot be read: {error}")),
            _ => {}
        }
    }

    /// A request arrives at the broker.
    pub(crate) fn broker_gets(&mut self, request: Request) {
        match request {
            Request::Append { shard, bytes, ghost, ack } => {
                let at = self.timestamp();
                let commands_end = self.shards[shard as usize].commands.end();
                let log = &mut self.shards[shard as usize].ledger;
                let offset = log.append((at, bytes));
                let Some((_, bytes)) = self.shards[shard as usize].ledger.ever(offset) else { return };
                let landed = self.watch.landed(shard, (offset, at, bytes), &ghost, commands_end);
                let (what, met, right) = match landed {
                    Ok((what, met)) => (what, met, Ok(())),
                    Err(why) => ("is wrong", Vec::new(), Err(why)),
                };
                for met in met {
                    self.met(met);
                    if met == Met::Awarded {
                        self.strikes(shard, ack.map(|ack| ack.pid));
                    }
                }
                self.note_landing(shard, offset, what);
                if what == "counts" && self.watch.shard(shard).ledger.is_displaced() {
                    self.met(Met::CountsDisplaced);
                }
                self.must(shard, right);
                let limits = self.limits_hold();
                self.must(shard, limits);
                if let Some(ack) = ack {
                    self.acknowledge(ack, offset);
                }
            }
            Request::Produce { shard, produced, back } => self.produce(shard, &produced, back),
            Request::Effect(issued) => {
                let delay = self.latency();
                let failed = self.rng.happens(self.plan.messages.effect_failed);
                // Half of what fails is there all the same.
                if !failed || self.rng.happens(5_000) {
                    self.kafka_performs(&issued);
                }
                let outcome = if failed { Outcome::Failed } else { Outcome::Confirmed };
                self.after(
                    delay,
                    What::Node(issued.pid, Doing::Effect { issued: Box::new(issued), outcome }),
                );
            }
            Request::Mend { shard, offset, entry } => self.directory(shard, offset, &entry),
            Request::Trim { shard, below } => {
                let right = self.watch.trims(shard, below);
                self.must(shard, right);
                if self.shards[shard as usize].ledger.start() < below {
                    self.met(Met::Trim);
                    self.shards[shard as usize].ledger.trim(below);
                    self.note(Some(shard), || format!("the ledger is trimmed below {below}"));
                }
            }
        }
    }

    /// Whoever has just given an award is struck, perhaps: it dies soon, or stands still past its lease.
    fn strikes(&mut self, shard: u32, owner: Option<Pid>) {
        if self.nodes.iter().filter(|node| node.serving(shard).is_some()).count() > 1 {
            self.met(Met::TwoInAward);
        }
        let Some(pid) = owner else { return };
        if self.calm || !self.rng.happens(self.plan.struck_awards) {
            return;
        }
        self.met(Met::OwnerStruck);
        let (after, stands) = (self.rng.between(1, 12) as u32, self.rng.happens(3_000));
        let how_long = self.plan.lease + self.rng.below(self.plan.lease);
        let node = &mut self.nodes[pid.node];
        // Where the window is small, time must not stand still.
        if stands && self.plan.keep.window == synod_ledger::Window::default() {
            node.stands_after = Some((after, how_long));
        } else {
            node.dies_after = Some(after);
        }
    }

    fn note_landing(&mut self, shard: u32, offset: u64, what: &str) {
        if !self.is_traced() {
            return;
        }
        let bytes = self.shards[shard as usize].ledger.ever(offset).map(|(_, bytes)| bytes.clone());
        self.note(Some(shard), || format!("ledger {offset}: {what}: {}", told(&bytes.unwrap_or_default())));
    }

    fn kafka_performs(&mut self, issued: &Issued) {
        let (shard, offset) = (issued.shard, issued.offset);
        match &issued.effect {
            Effect::Publish { envelope, value, .. } => {
                self.is_performed(issued);
                let published = self.watch.published(&envelope.id, value);
                self.must(shard, published);
            }
            Effect::Command { root, envelope, value } => {
                self.is_performed(issued);
                self.asks_on(shard, root, envelope, value);
            }
            Effect::Directory(entry) => {
                self.is_performed(issued);
                self.directory(shard, offset, entry);
            }
            Effect::DeadLetter { .. }
            | Effect::DirectoryRemoval(_)
            | Effect::DirectoryWorkflow(_)
            | Effect::DirectoryPauses(_) => {
                self.is_performed(issued);
            }
            Effect::Deliver { agent, attempt_id, value, .. } => {
                self.is_handed_out(issued, attempt_id.is_some(), value);
                if let Some(party) = self.agent_of(agent.agent.as_str()) {
                    let body = Body { attempt_id: attempt_id.clone(), value: value.clone() };
                    let (delay, life) = (self.latency(), self.parties[party].life);
                    self.after(delay, What::Party(party, life, PartyDoing::Handed(body)));
                }
            }
            Effect::Reply { to: ReplyTo::Kafka(to) | ReplyTo::Redis(to), envelope, value } => {
                self.is_performed(issued);
                self.reply(shard, to, envelope, value);
            }
            Effect::ReplyPast { .. }
            | Effect::View { .. }
            | Effect::PutState { .. }
            | Effect::HoldPermits { .. }
            | Effect::GiveBack { .. } => {
                self.breaks(Some(shard), format!("a {} came to Kafka", issued.effect.kind()));
            }
        }
    }

    /// What one shard asks of an entity of another stands in that one's commands.
    fn asks_on(&mut self, shard: u32, root: &str, envelope: &Envelope, value: &Json) {
        let (ty, bytes) = (envelope.ty.as_str(), value.as_str().as_bytes());
        let command = match Command::decode(ty, ContentType::Json, bytes, &Limits::default()) {
            Ok(command) => Rc::new(command),
            Err(error) => return self.breaks(Some(shard), format!("a {ty} that cannot be read: {error}")),
        };
        let meta = Meta {
            ce_id: envelope.id.clone(),
            workspace: envelope.workspace.clone(),
            age_ms: 0,
            waited_ms: 0,
            offset: None,
            reply_to: None,
            correlation_id: envelope.correlation_id.clone(),
            traceparent: envelope.traceparent.clone(),
        };
        let produced = Produced::Command { command, meta, asked_at: self.now, came_at: self.now };
        self.produce(self.shard_of(root), &produced, Back::Nobody);
    }

    /// A reply reaches whoever asked for it, by the name that it gave.
    fn reply(&mut self, shard: u32, to: &str, envelope: &Envelope, value: &Json) {
        let answer: Answer = match (envelope.ty.as_str(), value.to()) {
            ("synod.reply", _) => Ok((value.clone(), false)),
            (_, Ok(error)) => Err(error),
            (_, Err(error)) => {
                return self.breaks(Some(shard), format!("a refusal that cannot be read: {error}"));
            }
        };
        let numbers: Vec<u64> = to
            .rsplit([':', '.'])
            .next()
            .unwrap_or_default()
            .split('-')
            .filter_map(|n| n.parse().ok())
            .collect();
        let (&[party, life, ask], Some(ce_id)) = (&numbers[..], envelope.causation_id.clone()) else {
            return self.breaks(Some(shard), format!("a reply to {to} that nobody asked for"));
        };
        let delay = self.latency();
        self.after(
            delay,
            What::Party(
                party as usize,
                life as u32,
                PartyDoing::Heard { ask, shard, ce_id: Some(ce_id), answer: Box::new(answer) },
            ),
        );
    }

    /// An entry stands in the directory; all coordinators read it.
    fn directory(&mut self, shard: u32, offset: u64, entry: &DirectoryEntry) {
        self.shards[shard as usize].directory.push((offset, entry.clone()));
        for node in 0..self.nodes.len() {
            let (delay, pid) = (self.latency(), Pid { node, life: self.nodes[node].life });
            let entry = Box::new(entry.clone());
            self.after(delay, What::Node(pid, Doing::Directory { offset, entry }));
        }
    }

    fn produce(&mut self, shard: u32, produced: &Produced, back: Back) {
        let rates = self.plan.messages.clone();
        if self.rng.happens(rates.produce_lost) {
            return self.produced(back, false);
        }
        let copies = if self.rng.happens(rates.produce_doubled) { 2 } else { 1 };
        for _ in 0..copies {
            let mut produced = produced.clone();
            if let Produced::Command { came_at, .. } = &mut produced {
                *came_at = self.now;
            }
            let offset = self.shards[shard as usize].commands.append(produced.clone());
            self.note(Some(shard), || match &produced {
                Produced::Command { command, meta, .. } => {
                    format!("command {offset}: {} {}", meta.ce_id, command.ce_type())
                }
                Produced::Poison { .. } => format!("command {offset}: poison"),
            });
            if matches!(produced, Produced::Poison { .. }) {
                self.met(Met::Poison);
            }
        }
        for node in 0..self.nodes.len() {
            if self.nodes[node].serving(shard).is_some() {
                self.polls(node, shard);
            }
        }
        let heard = !self.rng.happens(rates.produce_unheard);
        self.produced(back, heard);
    }

    /// Whoever produced a record hears that it is there, or that it may not be.
    fn produced(&mut self, back: Back, landed: bool) {
        let delay = self.latency();
        match back {
            Back::Nobody => {}
            Back::Party { party, life, ask } => {
                self.after(delay, What::Party(party, life, PartyDoing::Produced { ask, landed }));
            }
            Back::PassedOn { pid, shard, epoch, offset } => {
                self.after(delay, What::Node(pid, Doing::PassedOn { shard, epoch, offset, landed }));
            }
        }
    }

    /// A misplaced command leaves for its own partition.
    pub(crate) fn pass_on_goes(&mut self, pid: Pid, shard: u32, epoch: u64, offset: u64) {
        self.met(Met::Misplaced);
        let Some(produced) = self.shards[shard as usize].commands.ever(offset).cloned() else { return };
        let Produced::Command { command, .. } = &produced else { return };
        let to = self.shard_of(command.root());
        let (delay, back) = (self.latency(), Back::PassedOn { pid, shard, epoch, offset });
        self.after(delay, What::Broker(Request::Produce { shard: to, produced, back }));
    }

    /// An answer leaves for whoever asked through the quick door.
    pub(crate) fn answer_goes(&mut self, asking: Asking, answer: Answer) {
        if self.rng.happens(self.plan.messages.answer_lost) {
            return;
        }
        let Asking { party, life, ask, shard, meta, read, .. } = asking;
        let ce_id = if read.is_some() { None } else { Some(meta.ce_id) };
        let delay = self.latency();
        self.after(
            delay,
            What::Party(party, life, PartyDoing::Heard { ask, shard, ce_id, answer: Box::new(answer) }),
        );
    }
}
