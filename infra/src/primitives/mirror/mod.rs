//! The outbox of shared state, for the one relay that each range has: what is owed to the mirror, and up to where it has all.
//!
//! ```text
//!   put ----script----> entry, history, changes (a stream)
//!                                         |
//!   relay: next() <--XREAD BLOCK----------'      produce, wait for the acknowledgement
//!          mirrored() --script--> `mirrored` goes forward, `news` is told, what nobody needs is trimmed
//!          check()    --script--> is this the Redis that was opened? then it stays open a while longer
//!          open()     --script--> after the mirror was read back into it ([`restore`])
//! ```
//!
//! A range is served only while it is open, and it is open only for a while: a Redis that comes back from an old file
//! is closed by that age alone, one that comes back quickly as soon as its relay sees another `run_id`.

mod restore;
mod waiting;

pub use restore::{Ahead, Kept, Restored, Restoring};
pub use waiting::Mirrored;

use super::keys;
use super::state::changes;
use crate::redis::{BlockingReader, Call, PIECE, Read, Redis, RedisError, Script};
use redis::{Pipeline, Value};
use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;
use synod_protocol::primitives::changes::Place;
use synod_protocol::primitives::state::Change;
use tokio::time::{Instant, timeout_at};

/// For so long a range stays open without being renewed. Longer than a relay is ever away in good order; the age at which
/// a file that Redis comes back from is too old to be served before the mirror was read back.
pub const OPEN_FOR: Duration = Duration::from_secs(30);
/// Changes of a range that are kept for subscriptions, mirrored or not.
pub const KEPT: u64 = 10_000;
/// Changes read at a time: with the largest values that is 50 MB.
const BATCH: usize = 100;
/// Over so many too many, trimming begins.
const SLACK: u64 = 100;
/// Earlier eras of a stream that a position may still be of.
const ERAS: u64 = 32;

static KEEP_OPEN: LazyLock<Script> =
    LazyLock::new(|| Script::new("state_keep_open", include_str!("../scripts/state_keep_open.lua")));
static OPEN: LazyLock<Script> =
    LazyLock::new(|| Script::new("state_open", include_str!("../scripts/state_open.lua")));
static MIRRORED: LazyLock<Script> =
    LazyLock::new(|| Script::new("state_mirrored", include_str!("../scripts/state_mirrored.lua")));

/// Whether a range is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is, and the mirror has all up to here.
    Open(Place),
    /// It is not: Redis is empty, or another one than before. This is its id.
    Closed(String),
    /// Another relay has taken it.
    Superseded,
}

/// A change as it is owed to the mirror.
#[derive(Clone, Debug)]
pub struct Owed {
    /// Where it stands.
    pub place: Place,
    /// The change; `None` for what does not read as one, which is logged and passed over.
    pub change: Option<Change>,
    /// The entry or the line of history, as it lies in Redis: what the mirror gets.
    pub text: String,
}

/// What the outbox of one range owes.
pub struct Outbox {
    redis: Redis,
    range: u32,
    kept: u64,
    /// Which relay this is.
    relay: String,
    reader: BlockingReader,
    /// All up to here was read.
    read: Place,
    era: u32,
    /// What we have mirrored ourselves, the oldest of it first.
    mine: VecDeque<Place>,
}

impl Outbox {
    /// The outbox of this range. Nothing is read before [`Outbox::check`] has found it open, or [`Outbox::open`] has opened it.
    pub fn new(redis: Redis, range: u32, kept: u64) -> Outbox {
        let reader = reader(&redis);
        let relay = uuid::Uuid::new_v4().simple().to_string();
        Outbox { redis, range, kept, relay, reader, read: Place::default(), era: 0, mine: VecDeque::new() }
    }

    /// The range.
    pub fn range(&self) -> u32 {
        self.range
    }

    /// Takes the range from whichever relay had it.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn take(&mut self) -> Result<(), RedisError> {
        self.redis.query(redis::cmd("SET").arg(keys::state_relay(self.range)).arg(&self.relay)).await
    }

    /// Whether the range is served, by this Redis; if so it stays open for [`OPEN_FOR`].
    ///
    /// # Errors
    /// Those of any call.
    pub async fn check(&mut self) -> Result<Standing, RedisError> {
        let keys = vec![
            keys::state_open(self.range),
            keys::state_mirrored(self.range),
            keys::state_era(self.range),
            keys::state_relay(self.range),
            keys::state_again(self.range),
        ];
        let args = vec![OPEN_FOR.as_millis().to_string(), self.relay.clone()];
        let answer = KEEP_OPEN.run(&self.redis, Call { keys, args }).await?;
        self.standing(answer)
    }

    /// Opens the range, after what the mirror has was written into the Redis of this id. `fresh` is an era that this range
    /// never had; `intact` says that nothing had to be written, so that earlier positions stay good.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn open(&mut self, run_id: &str, fresh: u32, intact: bool) -> Result<Standing, RedisError> {
        let keys = vec![
            keys::state_open(self.range),
            keys::state_mirrored(self.range),
            keys::state_era(self.range),
            keys::state_eras(self.range),
            keys::state_changes(self.range),
            keys::state_relay(self.range),
        ];
        let args = vec![
            run_id.to_owned(),
            fresh.to_string(),
            if intact { "1" } else { "0" }.to_owned(),
            OPEN_FOR.as_millis().to_string(),
            ERAS.to_string(),
            self.relay.clone(),
        ];
        let answer = OPEN.run(&self.redis, Call { keys, args }).await?;
        self.standing(answer)
    }

    fn standing(&mut self, answer: Value) -> Result<Standing, RedisError> {
        let words: Vec<String> = redis::from_redis_value(answer)?;
        match words.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["closed", run_id] => Ok(Standing::Closed(run_id.to_owned())),
            ["superseded"] => Ok(Standing::Superseded),
            ["open", mirrored, era, again] => {
                let (mirrored, era) = (place(mirrored)?, number(era)?);
                if self.era != era {
                    // Another stream than the one that is being read: from where its mirror is.
                    self.reader = reader(&self.redis);
                    (self.era, self.read) = (era, mirrored);
                    self.mine.clear();
                }
                if !again.is_empty() {
                    tracing::info!(
                        range = self.range,
                        from = again,
                        "another relay wrote late: mirrored again"
                    );
                    self.again_after(place(again)?.min(self.read));
                }
                Ok(Standing::Open(mirrored))
            }
            _ => Err(RedisError::Unexpected(format!("a range of shared state stands as {words:?}"))),
        }
    }

    /// All up to here was read.
    pub fn read(&self) -> Place {
        self.read
    }

    /// The next changes after those read before, as soon as there are any; none when nothing came until `deadline`. May be
    /// dropped at any time without losing one.
    ///
    /// # Errors
    /// Those of any call; the next call goes on where this one was.
    pub async fn next(&mut self, deadline: Instant) -> Result<Vec<Owed>, RedisError> {
        let (stream, read) = (keys::state_changes(self.range), self.read.to_string());
        let blocking = |piece: Duration| {
            let mut pipeline = Pipeline::new();
            pipeline.cmd("XREAD").arg("COUNT").arg(BATCH).arg("BLOCK").arg(piece.as_millis() as u64);
            pipeline.arg("STREAMS").arg(&stream).arg(&read);
            pipeline
        };
        loop {
            // The server waits for longer than the caller does, and the next call goes on with the same wait: an idle range
            // is asked for every two seconds, however often its standing is looked at.
            let reading = self.reader.next(deadline + PIECE, blocking);
            let Ok(read) = timeout_at(deadline, reading).await else { return Ok(Vec::new()) };
            if let Some(Read::Answer(answer)) = read? {
                let owed = owed(answer)?;
                if let Some(last) = owed.last() {
                    self.read = last.place;
                    return Ok(owed);
                }
            }
        }
    }

    /// Goes back to after `place`: what was read since could not be mirrored.
    pub fn again_after(&mut self, place: Place) {
        self.reader = reader(&self.redis);
        self.read = place;
    }

    /// The mirror has these, which came after `after`, and all before them. Whether the range still stands: if not, it must be looked at again.
    ///
    /// # Errors
    /// Those of any call; nothing is lost by not having said so.
    pub async fn mirrored(&mut self, after: Place, places: &[Place]) -> Result<bool, RedisError> {
        let Some(last) = places.last() else { return Ok(true) };
        self.mine.extend(places);
        let too_many = self.mine.len().saturating_sub(usize::try_from(self.kept).unwrap_or(usize::MAX));
        self.mine.drain(..too_many);
        // Only once it has mirrored as many as are kept does it know what may go.
        let trim = (too_many > 0).then(|| self.mine.front().map(Place::to_string)).flatten();
        let keys = vec![
            keys::state_mirrored(self.range),
            keys::state_era(self.range),
            keys::state_changes(self.range),
            keys::state_trimmed(self.range),
            keys::state_relay(self.range),
            keys::state_again(self.range),
            keys::state_news(self.range),
        ];
        let args = vec![
            last.to_string(),
            self.era.to_string(),
            self.kept.to_string(),
            SLACK.to_string(),
            trim.unwrap_or_default(),
            self.relay.clone(),
            after.to_string(),
        ];
        let answer = MIRRORED.run(&self.redis, Call { keys, args }).await?;
        let words: Vec<String> = redis::from_redis_value(answer)?;
        Ok(words.first().is_some_and(|word| word == "ok"))
    }
}

fn reader(redis: &Redis) -> BlockingReader {
    BlockingReader::new(redis.clone(), redis::cmd("PING"))
}

/// `XREAD` of one stream: `[[key, [element, …]]]`, or nothing.
fn owed(answer: Value) -> Result<Vec<Owed>, RedisError> {
    let streams: Option<Vec<(String, Vec<Value>)>> = redis::from_redis_value(answer)?;
    streams.into_iter().flatten().flat_map(|(_, elements)| elements).map(one_owed).collect()
}

fn one_owed(element: Value) -> Result<Owed, RedisError> {
    let (id, fields): (String, Vec<(String, String)>) = redis::from_redis_value(element.clone())?;
    let text = fields.into_iter().find_map(|(name, text)| (name == "e").then_some(text));
    let change = changes::read(element).map_err(|error| {
        tracing::error!(place = id, %error, "a change of shared state is passed over by the mirror");
    });
    Ok(Owed { place: place(&id)?, change: change.ok(), text: text.unwrap_or_default() })
}

pub(super) fn place(text: &str) -> Result<Place, RedisError> {
    text.parse().map_err(|error: synod_protocol::Error| RedisError::Unexpected(error.message))
}

pub(super) fn number(text: &str) -> Result<u32, RedisError> {
    text.parse().map_err(|_| RedisError::Unexpected(format!("{text:?} is no era of a stream")))
}
