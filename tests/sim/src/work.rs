//! What an owner does with what it is given: decides, appends, releases what is proven.

use crate::node::{Action, Waits, is_admission};
use crate::plan::{MS, SECOND};
use crate::print::lineage;
use crate::serve::{Ask, NO_STEP, Over, Serving};
use crate::tally::Met;
use crate::tell::told;
use crate::world::{Ghost, Issued, Pid, World, stamp};
use std::collections::BTreeSet;
use std::rc::Rc;
use synod_ledger::{Append, Context, Doubt, Effect, Holding, Input, Meta, Next, Released, Subject, Ticket};
use synod_negotiation::Protocols;
use synod_protocol::Error;
use synod_protocol::view::Outcome;

/// An owner that has appended nothing for so long appends a sign of life, by which it learns whether it still is one.
const IDLE: u64 = 2 * SECOND;

/// What an owner has to do of its own accord at one moment is far less than this.
const TURNS: u32 = 1_000;

impl World {
    /// A request through the quick door has its turn, or a read for the archive.
    pub(crate) fn serve_ask(
        &mut self,
        node: usize,
        shard: u32,
        s: &mut Serving,
        ask: Ask,
    ) -> Result<(), Over> {
        let asking = match ask {
            Ask::Read { subject, waits, .. } => {
                self.shows(node, shard, s, waits, &subject);
                return Ok(());
            }
            Ask::Request(asking) => asking,
        };
        if is_admission(&asking) && self.is_full(s) {
            let answer = Err(Error::overloaded("too much is in flight", 100));
            self.depart(node, Action::Answer { asking, answer });
            return Ok(());
        }
        if let Some(subject) = asking.read.clone() {
            self.shows(node, shard, s, Waits::Asking(Box::new(asking)), &subject);
            return Ok(());
        }
        let Some(command) = asking.command.clone() else { return Ok(()) };
        let age_ms = s.now(self.now).millis_since(stamp(asking.asked_at));
        let meta = Meta { offset: None, reply_to: None, age_ms, ..asking.meta.clone() };
        let ticket = s.ticket(Waits::Asking(Box::new(asking)));
        let input = Input::Command { command: Box::new((*command).clone()), meta };
        self.decide(node, shard, s, &input, Some(ticket))
    }

    fn shows(&mut self, node: usize, shard: u32, s: &mut Serving, waits: Waits, subject: &Subject) {
        let ticket = s.ticket(waits);
        let mut released = Vec::new();
        s.owner.read(ticket, subject, &mut released);
        self.release(node, shard, s, released);
    }

    /// What the shard does of its own accord, as far as there is room.
    pub(crate) fn turn(&mut self, node: usize, shard: u32, s: &mut Serving) -> Result<(), Over> {
        let mut turns = 0;
        loop {
            let (now, room) = (s.now(self.now), !self.is_full(s));
            turns += 1;
            if turns > TURNS {
                self.breaks(
                    Some(shard),
                    format!("it has done {TURNS} things of its own accord, one after the other"),
                );
                return Ok(());
            }
            match s.owner.next(now, &self.nodes[node].fleet, room) {
                Next::Input(input) => self.decide(node, shard, s, &input, None)?,
                Next::Permits(wanted) => self.wants(node, shard, s, wanted),
                Next::Nothing => return Ok(()),
                Next::Later => {
                    let at = self.now + MS;
                    self.wakes(node, shard, s, at);
                    return Ok(());
                }
                Next::Stuck(key) => {
                    self.breaks(Some(shard), format!("the timer of task {} does not go away", key.task));
                    return Ok(());
                }
            }
        }
    }

    /// An owner that appends nothing would never learn that it is one no more.
    pub(crate) fn gives_a_sign(&mut self, node: usize, shard: u32, s: &mut Serving) {
        if self.now - s.appended_at > IDLE
            && !s.owner.is_catching_up()
            && let Some(sign) = s.owner.sign_of_life()
        {
            self.append(node, shard, s, sign);
        }
    }

    /// Has trimmed what lies below a floor that has been one for a while.
    pub(crate) fn trims(&mut self, node: usize, shard: u32, s: &mut Serving) {
        if !self.plan.trims || !self.rng.happens(3_000) {
            return;
        }
        let newest = s.owner.trim_to();
        let below = std::mem::replace(&mut s.floor, newest);
        let below = if self.rng.happens(5_000) { newest } else { below };
        if below > 0 {
            self.depart(node, Action::Trim { shard, below });
        }
    }

    /// Decides one input; what it did is appended, what may leave is released.
    pub(crate) fn decide(
        &mut self,
        node: usize,
        shard: u32,
        s: &mut Serving,
        input: &Input,
        ticket: Option<Ticket>,
    ) -> Result<(), Over> {
        let seed = self.rng.bytes();
        let mut released = Vec::new();
        let cx = Context {
            now: s.now(self.now),
            seed,
            fleet: &self.nodes[node].fleet,
            protocols: Protocols::standard(),
            definitions: &synod_ledger::NoDefinitions,
        };
        if let Some(append) = s.owner.handle(&cx, input, ticket, &mut released) {
            self.counts_of(node, shard, s, &append);
            self.append(node, shard, s, append);
            if let Some(image) = s.owner.image() {
                self.append(node, shard, s, image);
            }
        }
        self.release(node, shard, s, released);
        Ok(())
    }

    fn append(&mut self, node: usize, shard: u32, s: &mut Serving, append: Append) {
        s.lineage = lineage(s.lineage, &append.bytes);
        s.appended_at = self.now;
        let compared = self.rng.happens(self.plan.compared);
        if compared {
            self.must(shard, s.owner.invariants());
        }
        let state = compared.then(|| Rc::new(s.owner.state().clone()));
        let ghost = Ghost { lineage: Some(s.lineage), state };
        let (epoch, n) = (s.owner.epoch(), append.n);
        self.note(Some(shard), || format!("node {node} decides {}", told(&append.bytes)));
        self.depart(node, Action::Append { shard, epoch, n, bytes: append.bytes, ghost });
    }

    /// Tells the fleet who was given work and who is done with it.
    fn counts_of(&mut self, node: usize, shard: u32, s: &mut Serving, append: &Append) {
        let Some(workspace) = &append.workspace else { return };
        for event in &append.events {
            let Some(holding) = s.owner.state().holding(workspace, event) else { continue };
            let Holding { agent, incarnation, end, .. } = holding;
            match end {
                None => self.nodes[node].fleet.given(&agent, &incarnation, shard),
                Some(end) => {
                    if end.outcome == Outcome::Withdrawn {
                        self.met(Met::Withdrawn);
                    }
                    self.nodes[node].fleet.ended(&agent, &incarnation, shard, end.outcome);
                    s.owner.there_is_room();
                }
            }
        }
    }

    /// An append's acknowledgement.
    pub(crate) fn acked(
        &mut self,
        node: usize,
        shard: u32,
        epoch: u64,
        n: u64,
        outcome: Result<Option<u64>, String>,
    ) {
        self.with_serving(node, shard, Some(epoch), |world, s| {
            let released = s.owner.acked(n, outcome).map_err(|doubt| {
                world.met(match doubt {
                    Doubt::UnexpectedOffset { .. } => Met::AckElsewhere,
                    Doubt::NoOffset(_) => Met::AckWithoutOffset,
                    Doubt::NotAppended(..) => Met::AckAsFailed,
                });
                Over::Doubt(doubt.to_string())
            })?;
            world.release(node, shard, s, released);
            Ok(())
        });
    }

    /// What is proven leaves.
    pub(crate) fn release(&mut self, node: usize, shard: u32, s: &mut Serving, released: Vec<Released>) {
        let (epoch, pid) = (s.owner.epoch(), Pid { node, life: self.nodes[node].life });
        for one in released {
            match one {
                Released::Answer(ticket, answer) => match s.tickets.remove(&ticket) {
                    Some(waits) => self.tells(node, waits, answer),
                    None => self.breaks(
                        Some(shard),
                        format!("ticket {ticket} was answered, and nobody waits under it"),
                    ),
                },
                Released::Past(ticket, past) => match s.tickets.remove(&ticket) {
                    Some(waits) => self.looks_for(pid, shard, past, waits),
                    None => self.breaks(
                        Some(shard),
                        format!("ticket {ticket} was sent to the archive, and nobody waits under it"),
                    ),
                },
                Released::Again(effects) => {
                    self.met(Met::Redelivered);
                    for effect in effects {
                        let issued = Issued { pid, shard, epoch, offset: NO_STEP, effect, tries: 0 };
                        self.depart(node, Action::Effect(issued));
                    }
                }
                Released::Effects { offset, effects } => {
                    let ids: BTreeSet<_> = effects.iter().map(|effect| id_of(offset, effect)).collect();
                    if ids.len() != effects.len() {
                        self.breaks(Some(shard), format!("two effects of record {offset} have the same id"));
                    }
                    let issued = self.watch.issued(shard, offset, ids);
                    self.must(shard, issued);
                    for effect in effects {
                        let issued = Issued { pid, shard, epoch, offset, effect, tries: 0 };
                        self.depart(node, Action::Effect(issued));
                    }
                }
            }
        }
    }
}

/// What an effect is known by.
pub(crate) fn id_of(offset: u64, effect: &Effect) -> String {
    match effect {
        Effect::Publish { envelope, .. }
        | Effect::Command { envelope, .. }
        | Effect::Deliver { envelope, .. }
        | Effect::Reply { envelope, .. }
        | Effect::ReplyPast { envelope, .. } => envelope.id.clone(),
        Effect::HoldPermits { by, .. } => format!("{offset}-hold-{}#{}", by.task.task, by.attempt),
        Effect::GiveBack { by, .. } => format!("{offset}-back-{}#{}", by.task.task, by.attempt),
        Effect::PutState { request, .. } => format!("state-{request}"),
        Effect::View { kind, id, .. } => format!("{offset}-view-{kind}-{id}"),
        Effect::Directory(entry) => format!("{offset}-directory-{}", entry.agent_id),
        Effect::DirectoryRemoval(key) => format!("{offset}-removal-{}", key.agent),
        Effect::DirectoryWorkflow(workflow) => format!("{offset}-workflow-{}", workflow.workflow_id),
        Effect::DirectoryPauses(_) => format!("{offset}-pauses"),
        Effect::DeadLetter { offset: at, .. } => format!("{offset}-letter-{at}"),
    }
}
