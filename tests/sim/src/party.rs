//! Clients and agents: whoever asks something of the mesh, hears or does not hear, and asks again. Each keeps its own
//! journal of what was acknowledged to it, which is the watch's `accepted`.

use crate::agent::Agent;
use crate::broker::Produced;
use crate::client::Client;
use crate::node::Doing;
use crate::plan::MS;
use crate::redis::Body;
use crate::tell::cut;
use crate::world::{Back, Pid, Request, What, World};
use std::collections::BTreeMap;
use std::rc::Rc;
use synod_ledger::{Answer, Meta, Subject};
use synod_protocol::{Code, Command, Id, Incarnation, ReplyTo, Workspace};

/// Tries after which a client may give up while there are faults.
const TRIES: u32 = 6;

/// A request through the quick door.
#[derive(Clone, Debug)]
pub(crate) struct Asking {
    pub(crate) party: usize,
    pub(crate) life: u32,
    pub(crate) ask: u64,
    pub(crate) shard: u32,
    pub(crate) command: Option<Rc<Command>>,
    pub(crate) read: Option<Subject>,
    pub(crate) meta: Meta,
    pub(crate) asked_at: u64,
}

/// Something that a party waits to hear about.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    pub(crate) ce_id: String,
    pub(crate) command: Rc<Command>,
    pub(crate) shard: u32,
    /// When it was asked for first, under this `ce_id`.
    asked_at: u64,
    tries: u32,
    pub(crate) purpose: Purpose,
}

/// What was sent.
#[derive(Clone, Debug)]
pub(crate) struct Sent {
    pub(crate) ce_id: String,
    pub(crate) command: Rc<Command>,
    pub(crate) shard: u32,
    pub(crate) asked_at: u64,
}

/// What for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Register,
    Submit,
    Other,
}

/// Something that happens to a party.
#[derive(Debug)]
pub(crate) enum PartyDoing {
    /// A client does something.
    Deed,
    /// It has not heard.
    Silence { ask: u64, tries: u32 },
    /// It hears.
    Heard { ask: u64, shard: u32, ce_id: Option<String>, answer: Box<Answer> },
    /// Its record is in the topic, or it does not know.
    Produced { ask: u64, landed: bool },
    /// An agent looks for work.
    Look,
    /// What it took out of its inbox.
    Took(Option<Body>),
    /// What came to it through Kafka.
    Handed(Body),
    /// It is done with this.
    Done(Box<crate::agent::Work>),
    /// It answers what it was asked in a negotiation.
    Replies(Box<crate::answers::Reply>),
    /// A client says this.
    Says(Box<Command>),
    /// A client asks how a negotiation has ended.
    AsksForTheEnd(synod_protocol::EntityId),
}

/// Who it is.
#[derive(Debug)]
pub(crate) enum Role {
    Client(Client),
    Agent(Agent),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Party {
    pub(crate) role: Role,
    pub(crate) life: u32,
    pub(crate) up: bool,
    pub(crate) paused_until: u64,
    /// Since when nothing was heard of it.
    pub(crate) silent_from: u64,
    pub(crate) pending: BTreeMap<u64, Pending>,
    pub(crate) next_ask: u64,
    /// What it has sent, to be sent again.
    pub(crate) sent: Vec<Sent>,
}

impl Party {
    pub(crate) fn new(role: Role) -> Party {
        Party {
            role,
            life: 0,
            up: true,
            paused_until: 0,
            silent_from: 0,
            pending: BTreeMap::new(),
            next_ask: 0,
            sent: Vec::new(),
        }
    }

    pub(crate) fn is_agent(&self, id: &Id) -> bool {
        matches!(&self.role, Role::Agent(agent) if agent.id == *id)
    }

    pub(crate) fn agent(&mut self) -> Option<&mut Agent> {
        match &mut self.role {
            Role::Agent(agent) => Some(agent),
            Role::Client(_) => None,
        }
    }

    /// How long a process start of an agent has given no sign of life.
    pub(crate) fn silent_for(&self, incarnation: &Incarnation, now: u64) -> u64 {
        let Role::Agent(agent) = &self.role else { return u64::MAX };
        if agent.incarnation(self.life) != *incarnation {
            return u64::MAX;
        }
        if self.up && self.paused_until <= now { 0 } else { now.saturating_sub(self.silent_from) }
    }

    /// The agent that it is, if that is up and known to the mesh.
    pub(crate) fn is_there(&self) -> Option<Id> {
        match &self.role {
            Role::Agent(agent) if self.up && agent.is_registered() => Some(agent.id.clone()),
            _ => None,
        }
    }

    /// What it still waits for.
    pub(crate) fn why_not_quiet(&self) -> Option<String> {
        let open = self.pending.values().next()?;
        Some(format!("nobody has answered {} ({})", open.ce_id, open.command.ce_type()))
    }
}

impl World {
    /// Something happens to a party, unless it stands still (then later) or is another by then (then not).
    pub(crate) fn party_does(&mut self, party: usize, life: u32, doing: PartyDoing) {
        // What was said is checked even if nobody is left to hear it.
        if let PartyDoing::Heard { shard, ce_id, answer, ask } = &doing {
            let (shard, ce_id, ask) = (Some(*shard), ce_id.as_deref().unwrap_or("a read"), *ask);
            self.note(shard, || match &**answer {
                Ok((shown, _)) => {
                    format!("told p{party}, ask {ask}: {ce_id} is taken: {}", cut(shown.as_str(), 160))
                }
                Err(error) => format!("told p{party}, ask {ask}: {ce_id} is refused: {error}"),
            });
        }
        if let PartyDoing::Heard { shard, ce_id, answer, .. } = &doing {
            let told = self.watch.told(*shard, &Workspace::default_name(), ce_id.as_deref(), answer);
            self.must(*shard, told);
        }
        let who = &self.parties[party];
        if who.life != life || !who.up {
            return;
        }
        if who.paused_until > self.now {
            let later = who.paused_until - self.now;
            return self.after(later, What::Party(party, life, doing));
        }
        match doing {
            PartyDoing::Deed => self.deed(party),
            PartyDoing::Silence { ask, tries } => self.silence(party, ask, tries),
            PartyDoing::Heard { ask, answer, .. } => {
                self.hears_of_the_end(party, ask, &answer);
                self.heard(party, ask, &answer);
            }
            PartyDoing::Produced { ask, landed } => self.has_produced(party, ask, landed),
            PartyDoing::Look => self.look(party),
            PartyDoing::Took(body) => self.took(party, body),
            PartyDoing::Handed(body) => self.handed(party, body),
            PartyDoing::Done(work) => self.done(party, *work),
            PartyDoing::Replies(reply) => self.replies(party, *reply),
            PartyDoing::Says(command) => self.ask(party, *command, Purpose::Other),
            PartyDoing::AsksForTheEnd(negotiation) => self.asks_for_the_end(party, negotiation),
        }
    }

    /// A party asks for something, under a `ce_id` of its own.
    pub(crate) fn ask(&mut self, party: usize, command: Command, purpose: Purpose) {
        let who = &self.parties[party];
        let ce_id = format!("p{party}-{}-{}", who.life, who.next_ask);
        let (shard, asked_at) = (self.shard_of(command.root()), self.now);
        self.ask_as(party, Sent { ce_id, command: Rc::new(command), shard, asked_at }, purpose);
    }

    /// The same, under a `ce_id` that was perhaps used before.
    pub(crate) fn ask_as(&mut self, party: usize, sent: Sent, purpose: Purpose) {
        let who = &mut self.parties[party];
        who.next_ask += 1;
        let ask = who.next_ask;
        who.sent.push(sent.clone());
        let Sent { ce_id, command, shard, asked_at } = sent;
        who.pending.insert(ask, Pending { ce_id, command, shard, asked_at, tries: 0, purpose });
        self.send(party, ask);
    }

    fn send(&mut self, party: usize, ask: u64) {
        let who = &mut self.parties[party];
        let life = who.life;
        let Some(pending) = who.pending.get_mut(&ask) else { return };
        pending.tries += 1;
        let Pending { ce_id, command, shard, asked_at, tries, purpose } = pending.clone();
        let through_kafka = self.rng.happens(4_500);
        let meta = Meta {
            ce_id,
            workspace: Workspace::default_name(),
            age_ms: 0,
            waited_ms: 0,
            offset: None,
            reply_to: self.reply_to(party, life, ask, purpose),
            correlation_id: None,
            traceparent: None,
        };
        if through_kafka {
            let shards = u64::from(self.plan.shards);
            let misplaced = self.rng.happens(self.plan.misplaced);
            let to = if misplaced { self.rng.below(shards) as u32 } else { shard };
            let produced = Produced::Command { command, meta, asked_at, came_at: 0 };
            let delay = self.latency();
            let back = Back::Party { party, life, ask };
            self.after(delay, What::Broker(Request::Produce { shard: to, produced, back }));
        } else {
            let asking =
                Asking { party, life, ask, shard, command: Some(command), read: None, meta, asked_at };
            self.knock(&asking);
        }
        let patience = self.rng.between(150, 800) * MS;
        self.after(patience, What::Party(party, life, PartyDoing::Silence { ask, tries }));
    }

    fn reply_to(&mut self, party: usize, life: u32, ask: u64, purpose: Purpose) -> Option<ReplyTo> {
        match self.rng.below(3) {
            0 if purpose != Purpose::Register => None,
            1 => Some(ReplyTo::Kafka(format!("synod.reply.{party}-{life}-{ask}"))),
            _ => Some(ReplyTo::Redis(format!("synod:reply:{party}-{life}-{ask}"))),
        }
    }

    /// A request goes to any coordinator.
    pub(crate) fn knock(&mut self, asking: &Asking) {
        let rates = self.plan.messages.clone();
        let copies = match () {
            () if self.rng.happens(rates.request_lost) => 0,
            () if self.rng.happens(rates.request_doubled) => 2,
            () => 1,
        };
        for _ in 0..copies {
            let node = self.rng.index(self.nodes.len());
            let (delay, pid) = (self.latency(), Pid { node, life: self.nodes[node].life });
            self.after(delay, What::Node(pid, Doing::Asked { asking: asking.clone(), passed_on: false }));
        }
    }

    fn silence(&mut self, party: usize, ask: u64, tries: u32) {
        let Some(pending) = self.parties[party].pending.get(&ask).filter(|p| p.tries == tries) else {
            return;
        };
        let gives_up = tries >= TRIES && pending.purpose != Purpose::Register && !self.calm;
        if gives_up && self.rng.happens(5_000) {
            self.parties[party].pending.remove(&ask);
            return;
        }
        self.send(party, ask);
    }

    fn heard(&mut self, party: usize, ask: u64, answer: &Answer) {
        let Some(pending) = self.parties[party].pending.get(&ask) else { return };
        if let Err(error) = answer
            && matches!(error.code, Code::Unavailable | Code::Overloaded)
        {
            // It will be said again after the silence that follows.
            return;
        }
        let pending = pending.clone();
        self.parties[party].pending.remove(&ask);
        if answer.is_ok() {
            self.journal(party, &pending);
        }
        if pending.purpose == Purpose::Register {
            self.registered(party, answer.as_ref().err().map(|error| error.code));
        }
    }

    fn has_produced(&mut self, party: usize, ask: u64, landed: bool) {
        let Some(pending) = self.parties[party].pending.get(&ask).cloned() else { return };
        if !landed {
            return;
        }
        self.journal(party, &pending);
        if pending.purpose != Purpose::Register {
            self.parties[party].pending.remove(&ask);
        }
    }

    /// It was accepted, and the party knows.
    fn journal(&mut self, party: usize, pending: &Pending) {
        self.note(Some(pending.shard), || {
            format!("{} ({}) was accepted", pending.ce_id, pending.command.ce_type())
        });
        self.watch.accepted(pending.shard, &pending.ce_id);
        if let Command::OpenNegotiation(opens) = &*pending.command {
            self.awaits_the_end(party, &opens.negotiation_id, &pending.ce_id);
        }
    }

    /// After the last fault.
    pub(crate) fn parties_become_calm(&mut self) {
        for party in 0..self.parties.len() {
            self.parties[party].paused_until = self.now;
            if !self.parties[party].up {
                self.after(0, What::Mishap(crate::mishap::Mishap::AgentStarts { party }));
            } else if self.parties[party].agent().is_some() {
                self.register(party);
            }
        }
    }
}
