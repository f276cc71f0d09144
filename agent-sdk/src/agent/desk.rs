//! What an agent has on its desk: what waits, what runs, and what was there lately.
//!
//! Bodies are taken off the inbox a little ahead of the room that there is, so that a cancellation behind them is
//! seen while all handlers are busy; what waits here counts as not held and can be withdrawn like what
//! waits in Redis.

use super::seat::Asked;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use synod_protocol::event::AgentChanged;
use synod_protocol::http::Message;
use synod_protocol::negotiation::Ask;
use synod_protocol::view::{Assignment, Held, Withdrawal};
use synod_protocol::{EntityId, Envelope, Error, Incarnation, Limits, Timestamp};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Attempts taken beyond what runs.
const AHEAD: usize = 64;
/// Attempts that are remembered after their end, to know a repeat by.
const REMEMBERED: usize = 10_000;
/// The target under which each attempt that comes out of the inbox is logged, with who issued it.
const TAKEN: &str = "synod::inbox";

/// Which attempt.
pub(crate) type Key = (EntityId, u32);

/// An attempt on the desk.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) assignment: Assignment,
    pub(crate) envelope: Envelope,
    /// As it was taken, to settle it by.
    pub(crate) body: String,
    /// When its time is over, on our own clock.
    pub(crate) until: Instant,
    /// Cancelled when it is no longer wanted.
    pub(crate) cancelled: CancellationToken,
}

impl Job {
    pub(crate) fn key(&self) -> Key {
        (self.assignment.task_id.clone(), self.assignment.attempt)
    }

    fn is(&self, (task_id, attempt): &Key) -> bool {
        self.assignment.attempt == *attempt && self.assignment.task_id == *task_id
    }
}

/// What to do with a body that was taken.
pub(crate) enum Word {
    /// It waits here now.
    Kept,
    /// Nothing is left to do: settle it.
    Settle(&'static str),
    /// It took back what waited: settle both.
    TookBack(Box<Job>),
    /// The agent is a participant of a negotiation and is asked something.
    Asked(Box<Asked>),
    /// The agent's own status or health has changed: settle it.
    Told(Box<AgentChanged>),
    /// It is for a newer process start of this agent, which should have it.
    ForANewerStart,
}

pub(crate) struct Desk {
    incarnation: Incarnation,
    room: usize,
    waiting: VecDeque<Job>,
    running: Running,
    lately: Lately,
    /// Rounds of negotiations that were answered.
    answered: Lately,
    /// Nothing new begins.
    is_paused: bool,
}

/// What runs, for whoever asks; a cheap clone.
#[derive(Clone, Default)]
pub(crate) struct Running(Arc<Mutex<BTreeMap<Key, CancellationToken>>>);

impl Running {
    /// What is held, for the heartbeat.
    pub(crate) fn held(&self) -> Vec<Held> {
        let held = |(task_id, attempt): &Key| Held { task_id: task_id.clone(), attempt: *attempt };
        self.map().keys().map(held).collect()
    }

    /// Held for map operations only; a panic leaves nothing half done.
    fn map(&self) -> MutexGuard<'_, BTreeMap<Key, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    pub(crate) fn new(incarnation: Incarnation, room: usize) -> Desk {
        Desk {
            incarnation,
            room,
            waiting: VecDeque::new(),
            running: Running::default(),
            lately: Lately::default(),
            answered: Lately::default(),
            is_paused: false,
        }
    }

    /// Begins nothing new, or does again; what runs goes on either way.
    pub(crate) fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Whether more should be taken.
    pub(crate) fn takes(&self) -> bool {
        self.waiting.len() < AHEAD
    }

    /// What runs, for the heartbeat to look at.
    pub(crate) fn running(&self) -> Running {
        self.running.clone()
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.running.map().is_empty()
    }

    /// Reads a body and puts it where it belongs.
    ///
    /// # Errors
    /// It is nothing that an inbox should hold.
    pub(crate) fn take(&mut self, body: String, limits: &Limits, now: Instant) -> Result<Word, Error> {
        // What the mesh sends may be a little larger than what it takes: the input with its envelope.
        let limits =
            Limits { payload_bytes: limits.payload_bytes * 2, nesting: limits.nesting + 1, ..*limits };
        let message = Message::from_structured(body.as_bytes(), &limits)?;
        let read = |e: serde_json::Error| Error::invalid(format!("{}: {e}", message.envelope.ty));
        match message.envelope.ty.as_str() {
            "synod.task.assigned" => {
                let assignment: Assignment = serde_json::from_slice(&message.data).map_err(read)?;
                let (task_id, attempt) = (assignment.task_id.clone(), assignment.attempt);
                let (epoch, position) = (message.envelope.epoch, message.envelope.position);
                let word = self.assigned(assignment, message.envelope, body, now);
                tracing::trace!(target: TAKEN, %task_id, attempt, epoch = epoch.unwrap_or_default(),
                    shard = position.map(|p| p.shard), kept = matches!(word, Word::Kept), "taken");
                Ok(word)
            }
            "synod.task.cancelled" | "synod.task.withdrawn" => {
                let withdrawal: Withdrawal = serde_json::from_slice(&message.data).map_err(read)?;
                Ok(self.taken_back(&withdrawal))
            }
            "synod.negotiation.asked" => {
                let ask: Ask = serde_json::from_slice(&message.data).map_err(read)?;
                Ok(self.asked(ask, message.envelope, body))
            }
            "synod.agent.status_changed" => {
                serde_json::from_slice(&message.data).map(|told| Word::Told(Box::new(told))).map_err(read)
            }
            other => Err(Error::invalid(format!("{other} is nothing that an inbox should hold"))),
        }
    }

    fn assigned(&mut self, assignment: Assignment, envelope: Envelope, body: String, now: Instant) -> Word {
        if assignment.incarnation > self.incarnation {
            return Word::ForANewerStart;
        }
        if assignment.incarnation != self.incarnation {
            return Word::Settle("it is for another process start");
        }
        let until = now + time_left(assignment.deadline, envelope.time);
        let job = Job { assignment, envelope, body, until, cancelled: CancellationToken::new() };
        let key = job.key();
        let waits = self.waiting.iter().any(|other| other.is(&key));
        if waits || self.running.map().contains_key(&key) {
            // The body is the same one, settled with its first copy; a repeat after a wipe has another.
            return Word::Settle("it is here already");
        }
        if self.lately.had(&key) {
            return Word::Settle("it was here and has ended");
        }
        self.waiting.push_back(job);
        Word::Kept
    }

    fn asked(&mut self, ask: Ask, envelope: Envelope, body: String) -> Word {
        if ask.incarnation > self.incarnation {
            return Word::ForANewerStart;
        }
        if ask.incarnation != self.incarnation {
            return Word::Settle("it was asked of another process start");
        }
        let key = (ask.negotiation_id.clone(), ask.round);
        if self.answered.had(&key) {
            return Word::Settle("it was asked already");
        }
        self.answered.remember(key);
        let left = time_left(ask.closes_at, envelope.time);
        Word::Asked(Box::new(Asked { ask, envelope, body, left }))
    }

    fn taken_back(&mut self, withdrawal: &Withdrawal) -> Word {
        let key = (withdrawal.task_id.clone(), withdrawal.attempt);
        if let Some(cancelled) = self.running.map().get(&key) {
            cancelled.cancel();
            return Word::Settle("its handler was told to stop");
        }
        self.lately.remember(key.clone());
        match self.waiting.iter().position(|job| job.is(&key)).and_then(|at| self.waiting.remove(at)) {
            Some(job) => Word::TookBack(Box::new(job)),
            None => Word::Settle("it took back what is not here"),
        }
    }

    /// The next attempt to run, if there is one and room for it.
    pub(crate) fn start(&mut self) -> Option<Job> {
        if self.is_paused || self.running.map().len() >= self.room {
            return None;
        }
        let job = self.waiting.pop_front()?;
        self.running.map().insert(job.key(), job.cancelled.clone());
        Some(job)
    }

    /// What waits, room or not: when the agent is about to leave.
    pub(crate) fn clear(&mut self) -> Vec<Job> {
        let left: Vec<Job> = self.waiting.drain(..).collect();
        left.iter().for_each(|job| self.lately.remember(job.key()));
        left
    }

    /// It has ended; whether a repeat of it is to be run again.
    pub(crate) fn ended(&mut self, key: Key, again: bool) {
        self.running.map().remove(&key);
        if !again {
            self.lately.remember(key);
        }
    }

    /// Tells every handler to stop.
    pub(crate) fn cancel_all(&self) {
        self.running.map().values().for_each(CancellationToken::cancel);
    }
}

/// The time that an attempt has, by the clock that set it: ours may be wrong by hours.
fn time_left(deadline: Timestamp, sent: Option<Timestamp>) -> Duration {
    Duration::from_millis(deadline.millis_since(sent.unwrap_or_else(crate::door::now)))
}

/// The newest so many keys.
#[derive(Default)]
struct Lately {
    order: VecDeque<Key>,
    known: HashSet<Key>,
}

impl Lately {
    fn remember(&mut self, key: Key) {
        if self.known.insert(key.clone()) {
            self.order.push_back(key);
        }
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn had(&self, key: &Key) -> bool {
        self.known.contains(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_protocol::Json;

    const OURS: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10";
    const OLDER: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c0f";
    const NEWER: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c11";

    fn assigned(task: &str, attempt: u32, incarnation: &str) -> String {
        let envelope = Envelope {
            time: Some(Timestamp::from_millis(1_000)),
            ..Envelope::new(format!("0-1-{task}"), "/synod", "synod.task.assigned")
        };
        let assignment = Assignment {
            task_id: task.parse().unwrap(),
            attempt,
            attempt_token: "secret".into(),
            capability: Some("c".parse().unwrap()),
            input: Json::null(),
            feedback: None,
            deadline: Timestamp::from_millis(31_000),
            incarnation: incarnation.parse().unwrap(),
        };
        Message::structured(&envelope, &Json::of(&assignment).unwrap())
    }

    fn withdrawn(task: &str, attempt: u32) -> String {
        let withdrawal = Withdrawal { task_id: task.parse().unwrap(), attempt, reason: "r".into() };
        let envelope = Envelope::new("0-2-0", "/synod", "synod.task.withdrawn");
        Message::structured(&envelope, &Json::of(&withdrawal).unwrap())
    }

    fn desk() -> Desk {
        Desk::new(OURS.parse().unwrap(), 1)
    }

    fn take(desk: &mut Desk, body: String) -> &'static str {
        match desk.take(body, &Limits::default(), Instant::now()).unwrap() {
            Word::Kept => "kept",
            Word::Settle(why) => why,
            Word::TookBack(_) => "took back",
            Word::Told(_) => "told",
            Word::Asked(_) => "asked",
            Word::ForANewerStart => "for a newer start",
        }
    }

    #[test]
    fn an_attempt_is_run_once_however_often_it_comes() {
        let mut desk = desk();
        assert_eq!(take(&mut desk, assigned("t", 1, OURS)), "kept");
        assert_eq!(take(&mut desk, assigned("t", 1, OURS)), "it is here already");
        let job = desk.start().unwrap();
        assert_eq!(take(&mut desk, assigned("t", 1, OURS)), "it is here already");
        desk.ended(job.key(), false);
        assert_eq!(take(&mut desk, assigned("t", 1, OURS)), "it was here and has ended");
        assert_eq!(take(&mut desk, assigned("t", 2, OURS)), "kept");
        assert_eq!(take(&mut desk, assigned("t", 3, OLDER)), "it is for another process start");
        assert_eq!(take(&mut desk, assigned("t", 3, NEWER)), "for a newer start");
    }

    #[test]
    fn no_more_run_than_there_is_room_for() {
        let mut desk = desk();
        for task in ["a", "b"] {
            take(&mut desk, assigned(task, 1, OURS));
        }
        let first = desk.start().unwrap();
        assert!(desk.start().is_none());
        assert_eq!(desk.running().held().len(), 1, "what waits is not held");
        desk.ended(first.key(), false);
        assert!(desk.start().is_some());
        for task in 0..AHEAD {
            assert!(desk.takes());
            take(&mut desk, assigned(&format!("w{task}"), 1, OURS));
        }
        assert!(!desk.takes());
    }

    #[test]
    fn a_pause_begins_nothing_and_keeps_what_runs() {
        let mut desk = desk();
        take(&mut desk, assigned("runs", 1, OURS));
        let running = desk.start().unwrap();
        desk.pause(true);
        take(&mut desk, assigned("waits", 1, OURS));
        assert!(!running.cancelled.is_cancelled());
        desk.ended(running.key(), false);
        assert!(desk.start().is_none(), "there is room, but it is paused");
        desk.pause(false);
        assert_eq!(desk.start().unwrap().key().0.as_str(), "waits");
    }

    #[test]
    fn what_is_taken_back_stops_or_never_starts() {
        let mut desk = desk();
        take(&mut desk, assigned("runs", 1, OURS));
        take(&mut desk, assigned("waits", 1, OURS));
        let running = desk.start().unwrap();
        assert_eq!(take(&mut desk, withdrawn("runs", 2)), "it took back what is not here");
        assert!(!running.cancelled.is_cancelled(), "another attempt's withdrawal is not ours");
        assert_eq!(take(&mut desk, withdrawn("runs", 1)), "its handler was told to stop");
        assert!(running.cancelled.is_cancelled());
        assert_eq!(take(&mut desk, withdrawn("waits", 1)), "took back");
        assert_eq!(take(&mut desk, assigned("waits", 1, OURS)), "it was here and has ended");
        assert!(desk.take("{}".into(), &Limits::default(), Instant::now()).is_err());
    }

    #[test]
    fn time_is_counted_from_the_senders_clock() {
        let mut desk = desk();
        let now = Instant::now();
        take(&mut desk, assigned("t", 1, OURS));
        let until = desk.start().unwrap().until;
        // By our clock the deadline, in 1970, is long past; by the sender's it is 30 s away.
        assert!(until >= now + Duration::from_secs(29), "{:?}", until - now);
    }

    #[test]
    fn memory_of_what_ended_is_bounded() {
        let mut lately = Lately::default();
        let key = |n: u32| ("t".parse().unwrap(), n);
        for n in 0..=REMEMBERED as u32 {
            lately.remember(key(n));
        }
        assert!(!lately.had(&key(0)) && lately.had(&key(1)));
        assert_eq!((lately.known.len(), lately.order.len()), (REMEMBERED, REMEMBERED));
    }
}
