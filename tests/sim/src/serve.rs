//! Serving a shard: the shell around the real owner, as the coordinator's loop is around it. First the commands up to
//! the end as seen after the claim, then whatever else.

use crate::broker::Produced;
use crate::bug::Bug;
use crate::node::{Action, Waits};
use crate::party::Asking;
use crate::plan::MS;
use crate::seat::Phase;
use crate::tally::Met;
use crate::world::{Pid, What, World, stamp};
use std::collections::{BTreeMap, VecDeque};
use synod_fleet::AgentKey;
use synod_ledger::{Input, Meta, Owner, Released, Subject, Ticket};
use synod_protocol::{Error, Timestamp};

/// The offset under which effects are performed that no step owes.
pub(crate) const NO_STEP: u64 = u64::MAX;

/// What is asked of an owner that is no input of its topic's.
#[derive(Debug)]
pub(crate) enum Ask {
    /// A command or a read through the quick door.
    Request(Asking),
    /// A read for an answer that was looked for in the archive.
    Read { subject: Subject, waits: Waits, until: u64 },
}

/// A record of the commands topic, in its order.
enum Queued {
    /// Read at this time of the shard's.
    Ready(Box<Input>, Timestamp),
    Passing {
        offset: u64,
        partition: u32,
        done: bool,
    },
}

/// One epoch of one shard at one coordinator.
pub(crate) struct Serving {
    pub(crate) owner: Owner,
    /// The shard's time at the claim, and our own.
    began: (Timestamp, u64),
    /// The next offset to be read.
    next: u64,
    /// The end of the commands as seen after the claim, until it is reached.
    pub(crate) until: Option<u64>,
    queue: VecDeque<Queued>,
    pub(crate) tickets: BTreeMap<Ticket, Waits>,
    next_ticket: Ticket,
    pub(crate) asks: VecDeque<Ask>,
    /// It is given up in good order, by then at the latest.
    pub(crate) finishing: Option<u64>,
    pub(crate) wake_at: u64,
    pub(crate) appended_at: u64,
    /// A floor that a proven step carried some time ago: what lies below it is trimmed next.
    pub(crate) floor: u64,
    pub(crate) lineage: u64,
}

/// Why an epoch ends.
pub(crate) enum Over {
    Doubt(String),
    Finished,
    DataLost(String),
}

impl Serving {
    pub(crate) fn new(owner: Owner, began: (Timestamp, u64), lineage: u64, now: u64) -> Serving {
        Serving {
            owner,
            began,
            next: 0,
            until: None,
            queue: VecDeque::new(),
            tickets: BTreeMap::new(),
            next_ticket: 0,
            asks: VecDeque::new(),
            finishing: None,
            wake_at: u64::MAX,
            appended_at: now,
            floor: 0,
            lineage,
        }
    }

    /// The shard's time: that of the claim, and our own since.
    pub(crate) fn now(&self, now: u64) -> Timestamp {
        self.began.0.plus_millis((now - self.began.1) / MS)
    }

    pub(crate) fn ticket(&mut self, waits: Waits) -> Ticket {
        self.next_ticket += 1;
        self.tickets.insert(self.next_ticket, waits);
        self.next_ticket
    }

    pub(crate) fn passed_on(&mut self, offset: u64, landed: bool) -> Result<(), Over> {
        if !landed {
            return Err(Over::Doubt("a misplaced command could not be passed on".into()));
        }
        for queued in &mut self.queue {
            if let Queued::Passing { offset: at, done, .. } = queued
                && *at == offset
            {
                *done = true;
            }
        }
        Ok(())
    }
}

impl World {
    /// Does something with a seat that serves, and then all that follows; nothing if it does not serve (this epoch).
    pub(crate) fn with_serving(
        &mut self,
        node: usize,
        shard: u32,
        epoch: Option<u64>,
        act: impl FnOnce(&mut World, &mut Serving) -> Result<(), Over>,
    ) {
        let seat = &mut self.nodes[node].seats[shard as usize];
        let mut serving = match std::mem::replace(&mut seat.phase, Phase::Claiming) {
            Phase::Serving(serving) if epoch.is_none_or(|epoch| epoch == serving.owner.epoch()) => serving,
            other => {
                seat.phase = other;
                return;
            }
        };
        let result = act(self, &mut serving).and_then(|()| self.go_on(node, shard, &mut serving));
        match result {
            Ok(()) => self.nodes[node].seats[shard as usize].phase = Phase::Serving(serving),
            Err(over) => self.epoch_is_over(node, shard, *serving, over),
        }
    }

    fn epoch_is_over(&mut self, node: usize, shard: u32, serving: Serving, over: Over) {
        let Serving { owner, mut tickets, asks, .. } = serving;
        let epoch = owner.epoch();
        for ticket in owner.abandoned() {
            if tickets.remove(&ticket).is_none() {
                self.breaks(
                    Some(shard),
                    format!("ticket {ticket} was abandoned by epoch {epoch}, and nobody waits under it"),
                );
            }
        }
        if let Some(ticket) = tickets.keys().next() {
            self.breaks(
                Some(shard),
                format!("ticket {ticket} of epoch {epoch} was never answered nor abandoned"),
            );
        }
        for ask in asks {
            // A reply is the next owner's to give.
            let asking = match ask {
                Ask::Request(asking) => asking,
                Ask::Read { waits: Waits::Asking(asking), .. } => *asking,
                Ask::Read { waits: Waits::Reply(_), .. } => continue,
            };
            let answer = Err(Error::unavailable("the shard has changed hands"));
            self.depart(node, Action::Answer { asking, answer });
        }
        match over {
            Over::Doubt(why) => {
                self.note(Some(shard), || format!("node {node}: epoch {epoch} is over: {why}"));
                self.become_idle(node, shard, false);
            }
            Over::Finished => {
                self.met(Met::HandedOver);
                self.note(Some(shard), || format!("node {node}: epoch {epoch} was finished"));
                self.become_idle(node, shard, true);
            }
            Over::DataLost(why) => {
                self.met(Met::DataLost);
                self.nodes[node].fleet.forget_shard(shard);
                if !self.watch.shard(shard).data_lost {
                    self.breaks(Some(shard), format!("node {node} calls data lost that is there: {why}"));
                }
                self.nodes[node].seats[shard as usize].phase = Phase::DataLost;
            }
        }
    }

    /// The fold is done: what was owed is issued again, the commands are read from their position on.
    pub(crate) fn begins(
        &mut self,
        node: usize,
        shard: u32,
        s: &mut Serving,
        owed: Vec<Released>,
    ) -> Result<(), Over> {
        self.nodes[node].fleet.forget_shard(shard);
        self.count_held(node, shard, s);
        self.release(node, shard, s, owed);
        let commands = &self.shards[shard as usize].commands;
        let position = s.owner.state().position();
        if position > commands.end() || position < commands.start() {
            // Somebody who has claimed since may have handled what is gone: lost is what nobody has.
            let epoch = s.owner.epoch();
            if self.watch.shard(shard).ledger.epoch() != Some(epoch) {
                return Err(Over::Doubt(format!(
                    "position {position} is gone, and somebody has claimed since {epoch}"
                )));
            }
            let commands = &self.shards[shard as usize].commands;
            return Err(Over::DataLost(format!(
                "position {position}, topic {} to {}",
                commands.start(),
                commands.end()
            )));
        }
        if let Some(last) = s.owner.state().last_input() {
            let found = commands.get(last.offset).and_then(|produced| produced.ce_id());
            if last.offset >= commands.start() && found != Some(&last.ce_id) {
                return Err(Over::DataLost(format!(
                    "command {} is {found:?} and was {}",
                    last.offset, last.ce_id
                )));
            }
        }
        s.next = position.max(commands.start());
        s.until = Some(commands.end()).filter(|end| *end > s.next);
        match self.bug {
            Some(Bug::OneLate) => s.next += 1,
            Some(Bug::OneEarly) => s.next = s.next.saturating_sub(1),
            Some(Bug::TimersFirst) => s.until = None,
            _ => {}
        }
        if s.until.is_none() {
            s.owner.caught_up();
        } else {
            self.met(Met::Backlog);
        }
        self.mend_directory(node, shard, s);
        let (delay, pid) = (self.latency(), Pid { node, life: self.nodes[node].life });
        self.after(delay, What::Node(pid, crate::node::Doing::Poll { shard }));
        Ok(())
    }

    fn count_held(&mut self, node: usize, shard: u32, s: &Serving) {
        let fleet = &mut self.nodes[node].fleet;
        for (key, task) in s.owner.state().tasks() {
            if let Some((agent, incarnation)) = task.holder() {
                let agent = AgentKey { workspace: key.workspace.clone(), agent: agent.clone() };
                fleet.given(&agent, incarnation, shard);
            }
        }
    }

    /// Rewrites what the directory says of this shard's agents where it is not what the ledger says.
    fn mend_directory(&mut self, node: usize, shard: u32, s: &Serving) {
        for (key, agent) in s.owner.state().agents() {
            let entry = agent.directory_entry(key);
            let known = self.nodes[node].fleet.get(key).map(|member| member.entry.clone());
            if known.as_ref() == Some(&entry) || (known.is_none() && entry.gone) {
                continue;
            }
            let offset = s.owner.epoch();
            self.nodes[node].fleet.learn(entry.clone(), offset);
            self.depart(node, Action::Mend { shard, offset, entry: Box::new(entry) });
        }
    }

    pub(crate) fn is_full(&self, s: &Serving) -> bool {
        s.owner.in_flight() >= self.plan.in_flight_limit || s.owner.owed() >= self.plan.owed_limit
    }

    /// All that follows from whatever has happened.
    fn go_on(&mut self, node: usize, shard: u32, s: &mut Serving) -> Result<(), Over> {
        if let Some(by) = s.finishing {
            if (s.owner.in_flight() == 0 && s.owner.owed() == 0) || self.now >= by {
                return Err(Over::Finished);
            }
            self.wakes(node, shard, s, by);
            return Ok(());
        }
        self.advance(node, shard, s)?;
        if s.until.is_some_and(|until| s.next >= until) && s.queue.is_empty() {
            s.until = None;
            s.owner.caught_up();
        }
        self.turn(node, shard, s)?;
        if s.until.is_none() {
            while let Some(ask) = s.asks.pop_front() {
                self.serve_ask(node, shard, s, ask)?;
            }
            self.turn(node, shard, s)?;
            let due = s.owner.state().next_deadline().map(|at| at.millis_since(s.now(self.now)) * MS);
            if let Some(due) = due {
                let at = self.now + due.min(500 * MS) + MS;
                self.wakes(node, shard, s, at);
            }
        }
        if !self.is_full(s) && s.queue.is_empty() && s.next < self.shards[shard as usize].commands.end() {
            self.polls(node, shard);
        }
        Ok(())
    }

    /// A read of the commands is on its way, unless one is already.
    pub(crate) fn polls(&mut self, node: usize, shard: u32) {
        if std::mem::replace(&mut self.nodes[node].seats[shard as usize].polling, true) {
            return;
        }
        let (delay, pid) = (self.latency(), Pid { node, life: self.nodes[node].life });
        self.after(delay, What::Node(pid, crate::node::Doing::Poll { shard }));
    }

    pub(crate) fn wakes(&mut self, node: usize, shard: u32, s: &mut Serving, at: u64) {
        if at >= s.wake_at {
            return;
        }
        s.wake_at = at;
        let (pid, epoch) = (Pid { node, life: self.nodes[node].life }, s.owner.epoch());
        self.after(at.saturating_sub(self.now), What::Node(pid, crate::node::Doing::Wake { shard, epoch }));
    }

    /// Reads commands from the log.
    pub(crate) fn poll(&mut self, shard: u32, s: &mut Serving) -> Result<(), Over> {
        if self.is_full(s) || s.finishing.is_some() {
            return Ok(());
        }
        for _ in 0..16 {
            let commands = &self.shards[shard as usize].commands;
            if s.next < commands.start() {
                // Lost, or handled by a newer owner while we stood still: only a new fold can tell.
                return Err(Over::Doubt(format!("reading at {}, topic from {}", s.next, commands.start())));
            }
            let Some(produced) = commands.get(s.next).cloned() else { break };
            let (offset, read_at) = (s.next, s.now(self.now));
            s.next += 1;
            let queued = match produced {
                Produced::Poison { meta } => {
                    let meta = meta.map(|meta| Meta { offset: Some(offset), ..meta });
                    let error = Error::invalid("it is no JSON");
                    Queued::Ready(Box::new(Input::Poison { offset, error: Box::new(error), meta }), read_at)
                }
                Produced::Command { command, meta, asked_at, came_at } => match self.shard_of(command.root())
                {
                    here if here == shard => {
                        let age_ms = stamp(came_at).millis_since(stamp(asked_at));
                        let waited_ms = read_at.millis_since(stamp(came_at));
                        let meta = Meta { offset: Some(offset), age_ms, waited_ms, ..meta };
                        {
                            let command = Box::new((*command).clone());
                            Queued::Ready(Box::new(Input::Command { command, meta }), read_at)
                        }
                    }
                    there => Queued::Passing { offset, partition: there, done: false },
                },
            };
            s.queue.push_back(queued);
        }
        Ok(())
    }

    fn advance(&mut self, node: usize, shard: u32, s: &mut Serving) -> Result<(), Over> {
        let epoch = s.owner.epoch();
        let fresh: Vec<u64> = s
            .queue
            .iter()
            .filter_map(|queued| match queued {
                Queued::Passing { offset, done: false, .. }
                    if !self.nodes[node].seats[shard as usize].is_passing(epoch, *offset) =>
                {
                    Some(*offset)
                }
                _ => None,
            })
            .collect();
        for offset in fresh {
            self.nodes[node].seats[shard as usize].passing.insert((epoch, offset));
            self.depart(node, Action::PassOn { shard, epoch, offset });
        }
        while !self.is_full(s) {
            match s.queue.front() {
                None | Some(Queued::Passing { done: false, .. }) => break,
                Some(Queued::Ready(..) | Queued::Passing { done: true, .. }) => {}
            }
            match s.queue.pop_front() {
                Some(Queued::Ready(mut input, read_at)) => {
                    input.has_waited(s.now(self.now).millis_since(read_at));
                    self.decide(node, shard, s, &input, None)?;
                }
                Some(Queued::Passing { offset, partition, .. }) => {
                    self.decide(node, shard, s, &Input::PassedOn { offset, partition }, None)?;
                }
                None => break,
            }
        }
        Ok(())
    }
}

/// The time of a moment, for submissions with a deadline.
pub(crate) fn deadline(now: u64, after: u64) -> Timestamp {
    stamp(now + after)
}
