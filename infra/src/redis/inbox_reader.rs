//! The agent's side of its inbox: take, drain, settle.

use super::blocking::{BlockingReader, PIECE, Read, seconds};
use super::client::Redis;
use super::error::RedisError;
use super::keys;
use redis::{Pipeline, Value};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use synod_protocol::{Id, Incarnation, Workspace};
use tokio::time::Instant;

/// How long a taken list outlives its last use.
const TAKEN_FOR: Duration = Duration::from_secs(24 * 3600);
/// Bodies that may wait for Redis to hear that they are settled.
const OWED_LIMIT: usize = 1000;

/// Takes bodies out of one agent's inbox, for one incarnation, over a blocking connection of its own.
///
/// Nothing that Redis moved is lost: not when the caller stops waiting, not when the connection breaks
/// between the move and the answer. After every reconnect the taken list is read, and what was not handed
/// out before is; and read once more when a move by the lost connection can no longer happen.
pub struct InboxReader {
    reader: BlockingReader,
    inbox: String,
    taken: Taken,
    /// What was handed out when the taken list was last asked for; what is settled meanwhile stays known.
    known: HashMap<String, u32>,
    /// Found in the taken list, not yet handed out.
    found: VecDeque<String>,
    opened_before: bool,
    look_again_at: Option<Instant>,
}

impl InboxReader {
    /// A reader for this process start of an agent; it connects with the first `take`.
    ///
    /// A second reader of the same incarnation begins with everything in its taken list.
    pub fn new(redis: Redis, workspace: &Workspace, agent: &Id, incarnation: &Incarnation) -> InboxReader {
        let taken = Taken {
            redis: redis.clone(),
            key: keys::taken(workspace, agent, incarnation),
            inbox: keys::inbox(workspace, agent),
            held: Arc::default(),
        };
        let mut listing = redis::cmd("LRANGE");
        listing.arg(&taken.key).arg(0).arg(-1);
        InboxReader {
            reader: BlockingReader::new(redis, listing),
            inbox: keys::inbox(workspace, agent),
            taken,
            known: HashMap::new(),
            found: VecDeque::new(),
            opened_before: false,
            look_again_at: None,
        }
    }

    /// The next body, waited for up to `wait`; `None` when none came. Cancel-safe.
    ///
    /// # Errors
    /// Those of any call, at once; the next `take` reconnects, after a wait that grows with each failure.
    pub async fn take(&mut self, wait: Duration) -> Result<Option<String>, RedisError> {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(body) = self.found.pop_front() {
                self.taken.hand_out(&body);
                return Ok(Some(body));
            }
            if self.look_again_at.is_some_and(|at| at <= Instant::now()) {
                self.look_again_at = None;
                self.reader.look_again();
            }
            if self.reader.will_open() {
                self.known.clone_from(&self.taken.held().handed);
            }
            let (inbox, taken) = (&self.inbox, &self.taken.key);
            let blmove = |piece: Duration| {
                let mut commands = Pipeline::with_capacity(2);
                commands.cmd("BLMOVE").arg(inbox).arg(taken).arg("LEFT").arg("RIGHT").arg(seconds(piece));
                commands.cmd("PEXPIRE").arg(taken).arg(TAKEN_FOR.as_millis() as u64);
                commands
            };
            let until = self.look_again_at.map_or(deadline, |at| at.min(deadline));
            match self.reader.next(until, blmove).await? {
                None if Instant::now() >= deadline => return Ok(None),
                None => {}
                Some(Read::Opened(listing)) => self.drain(listing)?,
                Some(Read::Answer(Value::Nil)) if Instant::now() >= deadline => return Ok(None),
                Some(Read::Answer(Value::Nil)) => {}
                Some(Read::Answer(body)) => self.found.push_back(redis::from_redis_value(body)?),
            }
        }
    }

    /// A handle to settle what was taken, from any task.
    pub fn taken(&self) -> Taken {
        self.taken.clone()
    }

    /// As [`Taken::settle`].
    ///
    /// # Errors
    /// Those of any call.
    pub async fn settle(&self, body: &str) -> Result<(), RedisError> {
        self.taken.settle(body).await
    }

    /// Finds what is in the taken list and was not handed out.
    fn drain(&mut self, listing: Value) -> Result<(), RedisError> {
        let listed: Vec<String> = redis::from_redis_value(listing)?;
        for body in listed {
            match self.known.get_mut(&body) {
                Some(copies) if *copies > 0 => *copies -= 1,
                _ => self.found.push_back(body),
            }
        }
        if self.opened_before {
            self.look_again_at.get_or_insert(Instant::now() + PIECE);
        }
        self.opened_before = true;
        Ok(())
    }
}

/// The list of what one incarnation has taken and not settled; a cheap clone.
#[derive(Clone)]
pub struct Taken {
    redis: Redis,
    key: String,
    inbox: String,
    held: Arc<Mutex<Held>>,
}

#[derive(Default)]
struct Held {
    /// Handed out and not known to be gone from the list, with how many copies.
    handed: HashMap<String, u32>,
    /// Settled, and Redis has not confirmed hearing so; and whether somebody is telling it just now.
    owed: VecDeque<(String, bool)>,
}

/// What one `settle` is telling Redis. Given up or failed, it is owed to the next one.
struct Telling<'a> {
    taken: &'a Taken,
    bodies: Vec<String>,
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        if self.bodies.is_empty() {
            return;
        }
        let mut held = self.taken.held();
        for body in &self.bodies {
            if let Some(owed) = held.owed.iter_mut().find(|(b, is_told)| *is_told && b == body) {
                owed.1 = false;
            }
        }
    }
}

impl Taken {
    /// Removes a body that needs no repeat, whatever becomes of this process.
    ///
    /// # Errors
    /// Those of any call. It is then remembered, not handed out again, and sent with the next `settle`.
    pub async fn settle(&self, body: &str) -> Result<(), RedisError> {
        let mut telling = {
            let mut held = self.held();
            held.owed.push_back((body.to_owned(), false));
            while held.owed.len() > OWED_LIMIT {
                if let Some((dropped, _)) = held.owed.pop_front() {
                    held.let_go(&dropped);
                    tracing::warn!(key = %self.key, "Redis has been away too long to be told what is settled");
                }
            }
            let mut bodies = Vec::new();
            for (body, is_told) in held.owed.iter_mut().filter(|(_, is_told)| !*is_told) {
                *is_told = true;
                bodies.push(body.clone());
            }
            Telling { taken: self, bodies }
        };
        let mut pipeline = Pipeline::with_capacity(telling.bodies.len() + 1);
        for body in &telling.bodies {
            pipeline.cmd("LREM").arg(&self.key).arg(1).arg(body);
        }
        pipeline.cmd("PEXPIRE").arg(&self.key).arg(TAKEN_FOR.as_millis() as u64);
        for value in self.redis.pipeline(&pipeline).await?.values {
            value.extract_error()?;
        }
        let mut held = self.held();
        for body in std::mem::take(&mut telling.bodies) {
            if let Some(at) = held.owed.iter().position(|(b, is_told)| *is_told && *b == body) {
                held.owed.remove(at);
                held.let_go(&body);
            }
        }
        Ok(())
    }

    /// Puts a body back where it was taken from, ahead of all: it is for another process start of the same agent.
    ///
    /// # Errors
    /// Those of any call. It may be back all the same, or stay in the list.
    pub async fn give_back(&self, body: &str) -> Result<(), RedisError> {
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.atomic();
        pipeline.cmd("LREM").arg(&self.key).arg(1).arg(body);
        pipeline.cmd("LPUSH").arg(&self.inbox).arg(body);
        for value in self.redis.pipeline(&pipeline).await?.values {
            value.extract_error()?;
        }
        self.held().let_go(body);
        Ok(())
    }

    /// What Redis has in the list, oldest first.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn list(&self) -> Result<Vec<String>, RedisError> {
        self.redis.query(redis::cmd("LRANGE").arg(&self.key).arg(0).arg(-1)).await
    }

    fn hand_out(&self, body: &str) {
        *self.held().handed.entry(body.to_owned()).or_default() += 1;
    }

    /// The lock is held for map operations only; a panic in one of them leaves nothing half done.
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn let_go(&mut self, body: &str) {
        if let Some(copies) = self.handed.get_mut(body) {
            *copies -= 1;
            if *copies == 0 {
                self.handed.remove(body);
            }
        }
    }
}
