//! Serving a shard: the shell around the real owner, as the coordinator's loop is around it. First the commands up to
//! the end as seen after the claim, then whatever else.

use crate::broker::Produced;
use crate::bug::Bug;
use crate::node::{Action, Waits, agent_key, is_admission};
use crate::party::Asking;
use crate::plan::{MS, SECOND};
use crate::seat::Phase;
use crate::tell::told;
use crate::watch::lineage;
use crate::world::{Ghost, Issued, Pid, What, World, stamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use synod_fleet::AgentKey;
use synod_ledger::{
    Append, Context, Effect, Input, Meta, Next, Owner, Released, Subject, TaskKey, Ticket, invariants,
};
use synod_protocol::event::What as Event;
use synod_protocol::view::Outcome;
use synod_protocol::{Error, Incarnation, Timestamp, Workspace};

/// An owner that has appended nothing for so long appends a sign of life, by which it learns whether it still is one.
const IDLE: u64 = 2 * SECOND;
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
    tickets: BTreeMap<Ticket, Waits>,
    next_ticket: Ticket,
    pub(crate) asks: VecDeque<Ask>,
    /// It is given up in good order, by then at the latest.
    pub(crate) finishing: Option<u64>,
    pub(crate) wake_at: u64,
    appended_at: u64,
    /// A floor that a proven step carried some time ago: what lies below it is trimmed next.
    floor: u64,
    lineage: u64,
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
    fn now(&self, now: u64) -> Timestamp {
        self.began.0.plus_millis((now - self.began.1) / MS)
    }

    fn ticket(&mut self, waits: Waits) -> Ticket {
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
                self.note(Some(shard), || format!("node {node}: epoch {epoch} was finished"));
                self.become_idle(node, shard, true);
            }
            Over::DataLost(why) => {
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

    fn is_full(&self, s: &Serving) -> bool {
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

    fn wakes(&mut self, node: usize, shard: u32, s: &mut Serving, at: u64) {
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
                    Queued::Ready(Box::new(Input::Poison { offset, error, meta }), read_at)
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

    /// A request through the quick door has its turn, or a read for the archive.
    fn serve_ask(&mut self, node: usize, shard: u32, s: &mut Serving, ask: Ask) -> Result<(), Over> {
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
    fn turn(&mut self, node: usize, shard: u32, s: &mut Serving) -> Result<(), Over> {
        loop {
            let (now, room) = (s.now(self.now), !self.is_full(s));
            match s.owner.next(now, &self.nodes[node].fleet, room) {
                Next::Input(input) => self.decide(node, shard, s, &input, None)?,
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
        let cx = Context { now: s.now(self.now), seed, fleet: &self.nodes[node].fleet };
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
            self.must(shard, invariants(s.owner.state()));
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
            let Some((agent, incarnation, outcome)) = attempt_of(s, workspace, event) else { continue };
            match outcome {
                None => self.nodes[node].fleet.given(&agent, &incarnation, shard),
                Some(outcome) => {
                    self.nodes[node].fleet.ended(&agent, &incarnation, shard, outcome);
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
            let released = s.owner.acked(n, outcome).map_err(|doubt| Over::Doubt(doubt.to_string()))?;
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

/// The attempt that an event begins (`None`) or ends.
fn attempt_of(
    s: &Serving,
    workspace: &Workspace,
    event: &synod_protocol::Event,
) -> Option<(AgentKey, Incarnation, Option<Outcome>)> {
    let key = TaskKey { workspace: workspace.clone(), task: event.entity.clone() };
    let task = s.owner.state().task(&key)?;
    let (attempt, outcome) = match &event.what {
        Event::TaskAssigned(e) => (e.attempt, None),
        Event::TaskCompleted(e) => (e.attempt, Some(Outcome::Completed)),
        Event::TaskAttemptFailed(e) => (e.attempt, Some(Outcome::Failed)),
        Event::TaskDeclined(e) => (e.attempt, Some(Outcome::Declined)),
        Event::TaskReassigned(e) if e.lost => (e.attempt, Some(Outcome::Lost)),
        Event::TaskCancelled(_) => {
            let last = task.attempts.last()?;
            (last.seen.attempt, Some(last.seen.outcome.filter(|o| *o == Outcome::Cancelled)?))
        }
        _ => return None,
    };
    let seen = &task.attempts.iter().find(|a| a.seen.attempt == attempt)?.seen;
    Some((agent_key(&seen.agent_id), seen.incarnation.clone(), outcome))
}

/// What an effect is known by.
pub(crate) fn id_of(offset: u64, effect: &Effect) -> String {
    match effect {
        Effect::Publish { envelope, .. }
        | Effect::Deliver { envelope, .. }
        | Effect::Reply { envelope, .. }
        | Effect::ReplyPast { envelope, .. } => envelope.id.clone(),
        Effect::View { key, .. } => format!("{offset}-view-{}", key.task),
        Effect::Directory(entry) => format!("{offset}-directory-{}", entry.agent_id),
        Effect::DeadLetter { offset: at, .. } => format!("{offset}-letter-{at}"),
    }
}

/// The time of a moment, for submissions with a deadline.
pub(crate) fn deadline(now: u64, after: u64) -> Timestamp {
    stamp(now + after)
}
