//! Serving a shard: the shell around the real owner, as the coordinator's loop is around it. First the commands up to
//! the end as seen after the claim, then whatever else.

use crate::broker::Produced;
use crate::bug::Bug;
use crate::node::{Action, agent_key, is_admission, subject};
use crate::party::Asking;
use crate::plan::MS;
use crate::seat::Phase;
use crate::watch::{lineage, print_of};
use crate::world::{Ghost, Issued, Pid, What, World, stamp};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use synod_fleet::AgentKey;
use synod_ledger::{
    Append, Context, Effect, Input, Line, Meta, Owner, Released, TaskKey, Ticket, invariants,
};
use synod_protocol::event::What as Event;
use synod_protocol::view::{Health, Outcome};
use synod_protocol::{Error, Incarnation, Timestamp, Workspace};

/// Lines of waiting tasks that one turn looks at.
const LINES_A_TURN: usize = 64;

/// A record of the commands topic, in its order.
enum Queued {
    Ready(Box<Input>),
    Passing { offset: u64, partition: u32, done: bool },
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
    tickets: BTreeMap<Ticket, Asking>,
    next_ticket: Ticket,
    pub(crate) asks: VecDeque<Asking>,
    /// It is given up in good order, by then at the latest.
    pub(crate) finishing: Option<u64>,
    pub(crate) dispatch_wanted: bool,
    pub(crate) must_check: bool,
    last_line: Option<Line>,
    pub(crate) wake_at: u64,
    lineage: u64,
}

/// Why an epoch ends.
pub(crate) enum Over {
    Doubt(String),
    Finished,
    DataLost(String),
}

impl Serving {
    pub(crate) fn new(owner: Owner, began: (Timestamp, u64), lineage: u64) -> Serving {
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
            dispatch_wanted: true,
            must_check: true,
            last_line: None,
            wake_at: u64::MAX,
            lineage,
        }
    }

    /// The shard's time: that of the claim, and our own since.
    fn now(&self, now: u64) -> Timestamp {
        self.began.0.plus_millis((now - self.began.1) / MS)
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
        for asking in asks {
            let answer = Err(Error::unavailable("the shard has changed hands"));
            self.depart(node, Action::Answer { asking, answer });
        }
        self.become_idle(node, shard);
        match over {
            Over::Doubt(why) => {
                self.note(Some(shard), || format!("node {node}: epoch {epoch} is over: {why}"));
            }
            Over::Finished => self.note(Some(shard), || format!("node {node}: epoch {epoch} was finished")),
            Over::DataLost(why) => {
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
        let position = s.owner.state().position;
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
        s.next = position.max(commands.start());
        s.until = Some(commands.end()).filter(|end| *end > s.next);
        match self.bug {
            Some(Bug::OneLate) => s.next += 1,
            Some(Bug::OneEarly) => s.next = s.next.saturating_sub(1),
            Some(Bug::TimersFirst) => s.until = None,
            _ => {}
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
        if s.until.is_none() && std::mem::take(&mut s.must_check) {
            self.check_holders(node, shard, s)?;
        }
        self.advance(node, shard, s)?;
        if s.until.is_some_and(|until| s.next >= until) && s.queue.is_empty() {
            s.until = None;
            s.dispatch_wanted = true;
            return self.go_on(node, shard, s);
        }
        if s.until.is_none() {
            self.turn(node, shard, s)?;
            while let Some(asking) = s.asks.pop_front() {
                self.serve_ask(node, shard, s, asking)?;
            }
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
            let offset = s.next;
            s.next += 1;
            let queued = match produced {
                Produced::Poison { meta } => {
                    let meta = meta.map(|meta| Meta { offset: Some(offset), ..meta });
                    Queued::Ready(Box::new(Input::Poison {
                        offset,
                        error: Error::invalid("it is no JSON"),
                        meta,
                    }))
                }
                Produced::Command { command, meta } => match self.shard_of(command.root()) {
                    here if here == shard => {
                        let meta = Meta { offset: Some(offset), ..meta };
                        Queued::Ready(Box::new(Input::Command {
                            command: Box::new((*command).clone()),
                            meta,
                        }))
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
                Some(Queued::Ready(_) | Queued::Passing { done: true, .. }) => {}
            }
            match s.queue.pop_front() {
                Some(Queued::Ready(input)) => self.decide(node, shard, s, &input, None)?,
                Some(Queued::Passing { offset, partition, .. }) => {
                    self.decide(node, shard, s, &Input::PassedOn { offset, partition }, None)?;
                }
                None => break,
            }
        }
        Ok(())
    }

    /// A request through the quick door has its turn.
    fn serve_ask(&mut self, node: usize, shard: u32, s: &mut Serving, asking: Asking) -> Result<(), Over> {
        if is_admission(&asking) && self.is_full(s) {
            let answer = Err(Error::overloaded("too much is in flight", 100));
            self.depart(node, Action::Answer { asking, answer });
            return Ok(());
        }
        s.next_ticket += 1;
        let ticket = s.next_ticket;
        s.tickets.insert(ticket, asking.clone());
        if let Some(subject) = subject(&asking) {
            let mut released = Vec::new();
            s.owner.read(ticket, subject, &mut released);
            self.release(node, shard, s, released);
            return Ok(());
        }
        let Some(command) = &asking.command else { return Ok(()) };
        let meta = Meta { offset: None, reply_to: None, ..asking.meta.clone() };
        let input = Input::Command { command: Box::new((**command).clone()), meta };
        self.decide(node, shard, s, &input, Some(ticket))
    }

    /// Fires what is due and gives out what waits.
    fn turn(&mut self, node: usize, shard: u32, s: &mut Serving) -> Result<(), Over> {
        let now = s.now(self.now);
        while let Some(key) = s.owner.state().due(now).cloned() {
            self.decide(node, shard, s, &Input::Due(key.clone()), None)?;
            s.dispatch_wanted = true;
            if s.owner.state().due(now) == Some(&key) {
                self.breaks(Some(shard), format!("the timer of task {} does not go away", key.task));
                return Ok(());
            }
        }
        let waiting = s.owner.state().waiting();
        s.owner.wake_retries(now);
        s.dispatch_wanted |= s.owner.state().waiting() != waiting;
        if !std::mem::take(&mut s.dispatch_wanted) {
            return Ok(());
        }
        let mut from_the_first = s.last_line.is_none();
        for _ in 0..LINES_A_TURN {
            let line = s.owner.state().line_after(s.last_line.as_ref()).cloned();
            s.last_line = line;
            let Some(line) = s.last_line.clone() else {
                if from_the_first {
                    return Ok(());
                }
                from_the_first = true;
                continue;
            };
            while let Some(key) = s.owner.state().first_in(&line) {
                if self.is_full(s) {
                    // Nothing else will say that there is room again.
                    s.dispatch_wanted = true;
                    return Ok(());
                }
                let before = s.owner.state().waiting();
                self.decide(node, shard, s, &Input::Dispatch(key), None)?;
                if s.owner.state().waiting() == before {
                    break;
                }
            }
        }
        s.dispatch_wanted = true;
        Ok(())
    }

    /// Takes tasks back from process starts that are gone.
    fn check_holders(&mut self, node: usize, shard: u32, s: &mut Serving) -> Result<(), Over> {
        let mut gone = Vec::new();
        for holder in s.owner.state().holders() {
            let member = self.nodes[node].fleet.get(holder);
            for (task, incarnation) in s.owner.state().held_by(holder) {
                let (lost, how) = match member {
                    None => (false, "has left"),
                    Some(m) if m.entry.incarnation != *incarnation => (true, "was started anew"),
                    Some(m) if m.entry.health == Health::Lost => (true, "was lost"),
                    Some(_) => continue,
                };
                let reason = format!("agent {} {how}", holder.agent);
                gone.push(Input::HolderGone {
                    task: task.clone(),
                    incarnation: incarnation.clone(),
                    lost,
                    reason,
                });
            }
        }
        for input in gone {
            self.decide(node, shard, s, &input, None)?;
        }
        Ok(())
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
            s.dispatch_wanted |= append
                .events
                .iter()
                .any(|e| matches!(e.what, Event::TaskSubmitted(_) | Event::TaskReassigned(_)));
            self.append(node, shard, s, append);
        }
        self.release(node, shard, s, released);
        Ok(())
    }

    fn append(&mut self, node: usize, shard: u32, s: &mut Serving, append: Append) {
        s.lineage = lineage(s.lineage, &append.bytes);
        let compared = self.rng.happens(self.plan.compared);
        if compared {
            self.must(shard, invariants(s.owner.state()));
        }
        let ghost = Ghost { lineage: Some(s.lineage), print: compared.then(|| print_of(s.owner.state())) };
        let (epoch, n) = (s.owner.epoch(), append.n);
        self.note(Some(shard), || format!("node {node} decides {}", short(&append.bytes)));
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
                    s.dispatch_wanted = true;
                }
            }
        }
    }

    /// An owner that appends nothing would never learn that it is one no more: it looks whether the log has grown
    /// without it.
    pub(crate) fn is_alone(&self, shard: u32, s: &Serving) -> Result<(), Over> {
        let ours = s.owner.epoch() + 1 + s.owner.proven();
        if s.owner.in_flight() == 0 && self.shards[shard as usize].ledger.end() > ours {
            return Err(Over::Doubt(format!("the ledger has grown beyond {ours} without us")));
        }
        Ok(())
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
        let outcome = match outcome {
            Ok(Some(_)) if self.bug == Some(Bug::OffsetUnchecked) => Ok(Some(epoch + n)),
            other => other,
        };
        self.with_serving(node, shard, Some(epoch), |world, s| {
            let released = s.owner.acked(n, outcome).map_err(|doubt| Over::Doubt(doubt.to_string()))?;
            world.release(node, shard, s, released);
            Ok(())
        });
    }

    /// What is proven leaves.
    fn release(&mut self, node: usize, shard: u32, s: &mut Serving, released: Vec<Released>) {
        let (epoch, pid) = (s.owner.epoch(), Pid { node, life: self.nodes[node].life });
        for one in released {
            match one {
                Released::Answer(ticket, answer) => match s.tickets.remove(&ticket) {
                    Some(asking) => self.depart(node, Action::Answer { asking, answer }),
                    None => self.breaks(
                        Some(shard),
                        format!("ticket {ticket} was answered, and nobody waits under it"),
                    ),
                },
                Released::Effects { offset, effects } => {
                    let ids: BTreeSet<_> = effects.iter().map(|effect| id_of(offset, effect)).collect();
                    if ids.len() != effects.len() {
                        self.breaks(Some(shard), format!("two effects of record {offset} have the same id"));
                    }
                    let issued = self.watch.issued(shard, offset, ids);
                    self.must(shard, issued);
                    if self.bug == Some(Bug::DoneEarly) {
                        s.owner.confirmed(offset, effects.len());
                    }
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
        | Effect::Reply { envelope, .. } => envelope.id.clone(),
        Effect::Directory(entry) => format!("{offset}-directory-{}", entry.agent_id),
        Effect::DeadLetter { offset: at, .. } => format!("{offset}-letter-{at}"),
    }
}

/// The time of a moment, for submissions with a deadline.
pub(crate) fn deadline(now: u64, after: u64) -> Timestamp {
    stamp(now + after)
}

/// The beginning of a record, for a timeline.
pub(crate) fn short(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix("{\"v\":1,\"kind\":\"step\",").unwrap_or(&text);
    text.chars().take(420).collect()
}
