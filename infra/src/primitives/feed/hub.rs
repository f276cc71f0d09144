//! The one reader of all ranges' streams, and who is told.

use super::follow::Following;
use super::index::{Index, Number};
use super::{PAGE, Page, about, ends, page, place_of};
use crate::primitives::keys;
use crate::primitives::state::changes;
use crate::redis::{Backoff, Redis, RedisError};
use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::{Pipeline, Value};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use synod_protocol::primitives::changes::{Interest, Place, Position};
use synod_protocol::primitives::state::{Change, RANGES};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

/// Changes that may wait for one follower; one that has more waiting is cut off, and reads them from Redis.
const WAITING: usize = 128;
/// How long the server is asked to wait for changes at a time.
const PIECE: Duration = Duration::from_secs(1);
/// Without anybody who follows, the hub goes on for so long.
const LINGER: Duration = Duration::from_secs(5);

/// Hands out followings. A cheap clone; clones share one connection.
#[derive(Clone)]
pub struct Feed {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    pub(super) redis: Redis,
    state: Mutex<State>,
    /// Counts how often the hub has begun to read.
    reads: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    /// All changes up to here were handed out; `None` while nothing is read.
    at: Option<Position>,
    index: Index,
    followers: HashMap<Number, Follower>,
    next: Number,
    task: Option<JoinHandle<()>>,
}

struct Follower {
    interest: Interest,
    channel: mpsc::Sender<Handed>,
}

/// A change on its way to a follower.
#[derive(Clone, Debug)]
pub(super) struct Handed {
    pub(super) range: u32,
    pub(super) place: Place,
    pub(super) change: Arc<Change>,
    /// All ranges up to here, this change included, were handed out.
    pub(super) at: Arc<Position>,
}

/// A follower's place at the hub; given up when it is dropped.
pub(super) struct Seat {
    shared: Arc<Shared>,
    number: Number,
    /// Everything after this comes through the channel.
    pub(super) start: Position,
    pub(super) channel: mpsc::Receiver<Handed>,
}

impl Seat {
    /// Up to where all was handed out, if nothing of it waits here.
    pub(super) fn idle_at(&self) -> Option<Position> {
        let state = self.shared.lock();
        // Nothing is handed out while this lock is held.
        state.at.filter(|_| self.channel.is_empty() && state.followers.contains_key(&self.number))
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.lock().leave(self.number);
    }
}

impl Feed {
    /// The changes of this Redis. Nothing is read before somebody follows. Needs a tokio runtime then.
    pub fn new(redis: Redis) -> Feed {
        Feed { shared: Arc::new(Shared { redis, state: Mutex::default(), reads: watch::channel(0).0 }) }
    }

    /// Everything of interest after `position`. Nothing is asked yet.
    pub fn follow(&self, interest: Interest, position: Position) -> Following {
        Following::new(self.shared.clone(), interest, position)
    }

    /// Where the changes are now; `None` while a range is not served.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn ends(&self) -> Result<Option<super::Ends>, RedisError> {
        ends(&self.shared.redis).await
    }

    /// Whether everything after this position is still there.
    ///
    /// # Errors
    /// See [`super::FollowError`]; `Redis` where it cannot be said now.
    pub async fn check(&self, position: &Position) -> Result<(), super::FollowError> {
        for range in 0..RANGES {
            match page(&self.shared.redis, range, position.mark(range), 1).await? {
                Page::Changes(..) => {}
                Page::Lost => {
                    let ends = ends(&self.shared.redis).await?;
                    return Err(super::FollowError::Lost { oldest: ends.map(|ends| Box::new(ends.oldest)) });
                }
                Page::Closed => {
                    let said = format!("range {range} of shared state is being read back from the mirror");
                    return Err(RedisError::Away(said).into());
                }
            }
        }
        Ok(())
    }

    /// How many follow now.
    pub fn followers(&self) -> usize {
        self.shared.lock().followers.len()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, as soon as the hub reads; `None` when it does not until `limit`.
    pub(super) async fn join(self: &Arc<Self>, interest: &Interest, limit: Duration) -> Option<Seat> {
        let mut reads = self.reads.subscribe();
        let until = Instant::now() + limit;
        loop {
            reads.borrow_and_update();
            {
                let mut state = self.lock();
                if state.task.as_ref().is_none_or(JoinHandle::is_finished) {
                    state.task = Some(tokio::spawn(run(self.clone())));
                }
                if let Some(start) = state.at {
                    let number = state.next;
                    state.next += 1;
                    let (channel, receiver) = mpsc::channel(WAITING);
                    state.index.add(interest, number);
                    state.followers.insert(number, Follower { interest: interest.clone(), channel });
                    drop(state);
                    return Some(Seat { shared: self.clone(), number, start, channel: receiver });
                }
            }
            if !matches!(tokio::time::timeout_at(until, reads.changed()).await, Ok(Ok(()))) {
                return None;
            }
        }
    }
}

impl State {
    fn leave(&mut self, number: Number) {
        if let Some(follower) = self.followers.remove(&number) {
            self.index.remove(&follower.interest, number);
        }
    }

    /// Nothing is read any more: everybody catches up when it is again.
    fn cut_off(&mut self) {
        self.at = None;
        self.followers.clear();
        self.index = Index::default();
    }

    fn hand_out(&mut self, range: u32, element: Value) {
        let (Some(at), Some(place)) = (&mut self.at, place_of(&element)) else { return };
        at.advance(range, place);
        let at = *at;
        let Some((workspace, key)) = about(&element) else { return };
        let candidates = self.index.candidates(workspace, key);
        if candidates.is_empty() {
            return;
        }
        let change = match changes::read(element) {
            Ok(change) => Arc::new(change),
            Err(error) => return tracing::error!(%error, "a change of shared state is told to nobody"),
        };
        let at = Arc::new(at);
        for number in candidates {
            let Some(follower) = self.followers.get(&number) else { continue };
            if !follower.interest.covers(&change) {
                continue;
            }
            let handed = Handed { range, place, change: change.clone(), at: at.clone() };
            if follower.channel.try_send(handed).is_err() {
                // Its channel closes by this, after what is in it: it catches up by itself.
                self.leave(number);
            }
        }
    }
}

/// Why reading ended.
enum Ended {
    /// Nobody has followed for a while.
    Unused,
    /// A range is not served, or no longer what it was.
    Anew,
}

/// Reads until nobody has followed for a while.
async fn run(shared: Arc<Shared>) {
    let mut backoff = Backoff::default();
    loop {
        let ended = read(&shared, &mut backoff).await;
        {
            let mut state = shared.lock();
            if matches!(ended, Ok(Ended::Unused)) && state.followers.is_empty() {
                state.cut_off();
                // Whoever comes next starts another.
                state.task = None;
                return;
            }
            state.cut_off();
        }
        if let Err(error) = ended {
            tracing::debug!(%error, "changes of shared state are not read");
        }
        tokio::time::sleep(backoff.next_wait()).await;
    }
}

/// Reads from now on.
async fn read(shared: &Shared, backoff: &mut Backoff) -> Result<Ended, RedisError> {
    let mut connection = shared.redis.open().await?;
    let Some(ends) = ends(&shared.redis).await? else { return Ok(Ended::Anew) };
    let mut at = ends.newest;
    shared.lock().at = Some(at);
    shared.reads.send_modify(|count| *count += 1);
    backoff.reset();
    let mut followed = Instant::now();
    loop {
        let (elements, eras) = exchange(&mut connection, &at, shared.redis.command_timeout()).await?;
        let same = |range: usize| eras.get(range).is_some_and(|era| *era == Some(at.0[range].era));
        if !(0..RANGES as usize).all(same) {
            tracing::info!("a range of shared state has begun anew: who follows looks for their place again");
            return Ok(Ended::Unused);
        }
        let mut state = shared.lock();
        for (range, element) in elements {
            if let Some(place) = place_of(&element) {
                at.advance(range, place);
            }
            state.hand_out(range, element);
        }
        if !state.followers.is_empty() {
            followed = Instant::now();
        } else if followed.elapsed() > LINGER {
            return Ok(Ended::Unused);
        }
    }
}

type Exchange = (Vec<(u32, Value)>, Vec<Option<u32>>);

/// Waits for changes, and then asks for the eras: what was read before an era ended is not told after it.
async fn exchange(
    connection: &mut MultiplexedConnection,
    at: &Position,
    limit: Duration,
) -> Result<Exchange, RedisError> {
    let streams: Vec<String> = (0..RANGES).map(keys::state_changes).collect();
    let mut pipeline = Pipeline::new();
    pipeline.cmd("XREAD").arg("COUNT").arg(PAGE).arg("BLOCK").arg(PIECE.as_millis() as u64).arg("STREAMS");
    pipeline.arg(&streams);
    for mark in &at.0 {
        pipeline.arg(mark.place.to_string());
    }
    for range in 0..RANGES {
        pipeline.cmd("GET").arg(keys::state_era(range));
    }
    let limit = limit + PIECE;
    let values = match timeout(limit, connection.req_packed_commands(&pipeline, 0, pipeline.len())).await {
        Ok(answers) => answers?,
        Err(_) => return Err(RedisError::Timeout { limit }),
    };
    let mut values = values.into_iter();
    let read = values.next().unwrap_or(Value::Nil).extract_error()?;
    let read: Option<Vec<(String, Vec<Value>)>> = redis::from_redis_value(read)?;
    let range_of = |name: &str| streams.iter().position(|stream| stream == name);
    let elements =
        read.into_iter().flatten().filter_map(|(name, elements)| Some((range_of(&name)?, elements)));
    let elements = elements.flat_map(|(range, all)| all.into_iter().map(move |one| (range as u32, one)));
    let elements = elements.collect();
    let era = |value: Value| -> Result<Option<u32>, RedisError> {
        let text: Option<String> = redis::from_redis_value(value.extract_error()?)?;
        Ok(text.and_then(|text| text.split_once(':').and_then(|(_, era)| era.parse().ok())))
    };
    Ok((elements, values.map(era).collect::<Result<_, _>>()?))
}
