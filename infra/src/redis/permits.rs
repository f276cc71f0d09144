//! Permits: how many of a kind may run at a time, over all shards and coordinators.
//!
//! A semaphore is one sorted set, its holders by when they end in Redis' time. Permits are taken before it is decided, for a
//! while only; the ledger's record of it makes them last as long as the attempt may run, and its end gives them back.
//! Every call may be repeated: a holder is a holder once.
//!
//! ```text
//! take(provisional) --> decided, recorded --> hold(as long as the attempt may run) --> give_back
//!         \--> nobody found --> give_back          \--> Redis has lost all: hold again
//! ```
//!
//! After Redis came back empty nothing is granted for [`GRACE`], in which those who hold say so; by the era, the moment
//! in which this start of the server was first asked, everyone learns that they are to. It never knows what a task is.

use super::client::Redis;
use super::error::RedisError;
use super::keys;
use super::script::{Call, Script};
use redis::{FromRedisValue as _, Value};
use std::sync::LazyLock;
use std::time::Duration;

/// So long nothing is granted after the data, or the server that has them, have begun.
pub const GRACE: Duration = Duration::from_secs(3);
/// How long the newest epochs outlive the last call of their shard.
const GUARD_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

static TAKE: LazyLock<Script> =
    LazyLock::new(|| Script::new("take_permits", include_str!("scripts/take_permits.lua")));
static HOLD: LazyLock<Script> =
    LazyLock::new(|| Script::new("hold_permits", include_str!("scripts/hold_permits.lua")));
static GIVE_BACK: LazyLock<Script> =
    LazyLock::new(|| Script::new("give_back_permits", include_str!("scripts/give_back_permits.lua")));

/// Who takes and holds: an attempt, in the name of its shard's owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The shard.
    pub shard: u32,
    /// The epoch of the owner that calls; below 2^53.
    pub epoch: u64,
    /// The attempt, the same for every owner.
    pub name: String,
}

/// Permits to be taken, all or none.
#[derive(Clone, Debug)]
pub struct Take {
    /// For whom.
    pub holder: Holder,
    /// The permits by name, and how many there are of each.
    pub permits: Vec<(String, u32)>,
    /// They come back by themselves after it.
    pub for_ms: u64,
}

/// Permits that are held.
#[derive(Clone, Debug)]
pub struct Hold {
    /// By whom.
    pub holder: Holder,
    /// The permits by name.
    pub permits: Vec<String>,
    /// They come back by themselves after it.
    pub for_ms: u64,
}

/// What became of [`Take`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// All are taken.
    Granted {
        /// The era of the data.
        era: u64,
        /// How many are out of each now, these included.
        out: Vec<u32>,
    },
    /// None is taken.
    Refused {
        /// The era of the data.
        era: u64,
        /// The place of the permit, in the call, of which there is none left.
        which: usize,
        /// How many of it are out.
        out: u32,
    },
    /// None is taken: the data have just begun, and others may hold what they do not show.
    Young {
        /// The era of the data.
        era: u64,
        /// For so much longer.
        left_ms: u64,
    },
    /// A newer owner of that shard has been here.
    Fenced {
        /// Its epoch.
        newest: u64,
    },
}

/// What became of [`Hold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// They are held.
    Held {
        /// The era of the data.
        era: u64,
    },
    /// A newer owner of that shard has been here.
    Fenced {
        /// Its epoch.
        newest: u64,
    },
}

/// The semaphores of this Redis; a cheap clone.
#[derive(Clone, Debug)]
pub struct Permits {
    redis: Redis,
}

impl Permits {
    /// All of this Redis.
    pub fn new(redis: Redis) -> Permits {
        Permits { redis }
    }

    /// Takes each, pipelined; the results stand in the order of the batch.
    ///
    /// # Errors
    /// Per call: those of any. After `Unavailable` or `Timeout` they may be taken all the same.
    pub async fn take(&self, batch: &[Take]) -> Vec<Result<Taken, RedisError>> {
        let call = |take: &Take| {
            let mut call = guarded(&take.holder, take.permits.iter().map(|(name, _)| name));
            let ms = [take.for_ms, ms(GRACE), ms(GUARD_FOR)];
            call.args.extend(ms.map(|ms| ms.to_string()));
            call.args.extend(take.permits.iter().map(|(_, most)| most.to_string()));
            call
        };
        let calls: Vec<Call> = batch.iter().map(call).collect();
        TAKE.run_all(&self.redis, &calls).await.into_iter().map(|answer| answer.and_then(taken)).collect()
    }

    /// Holds each, pipelined; the results stand in the order of the batch.
    ///
    /// # Errors
    /// Per call: those of any.
    pub async fn hold(&self, batch: &[Hold]) -> Vec<Result<Held, RedisError>> {
        let call = |hold: &Hold| {
            let mut call = guarded(&hold.holder, &hold.permits);
            call.args.extend([hold.for_ms, ms(GUARD_FOR)].map(|ms| ms.to_string()));
            call
        };
        let calls: Vec<Call> = batch.iter().map(call).collect();
        HOLD.run_all(&self.redis, &calls).await.into_iter().map(|answer| answer.and_then(held)).collect()
    }

    /// Gives back what each of these holders has of these permits, pipelined: its attempt is over, and that is on record.
    ///
    /// # Errors
    /// Per call: those of any.
    pub async fn give_back(&self, batch: &[(Holder, Vec<String>)]) -> Vec<Result<(), RedisError>> {
        self.release(batch, true).await
    }

    /// Gives up what each of these holders has taken in vain, pipelined. What a newer owner of its shard has taken for the
    /// same attempt stays.
    ///
    /// # Errors
    /// Per call: those of any.
    pub async fn give_up(&self, batch: &[(Holder, Vec<String>)]) -> Vec<Result<(), RedisError>> {
        self.release(batch, false).await
    }

    async fn release(
        &self,
        batch: &[(Holder, Vec<String>)],
        is_on_record: bool,
    ) -> Vec<Result<(), RedisError>> {
        let call = |(holder, permits): &(Holder, Vec<String>)| {
            let mut call = guarded(holder, permits);
            call.keys.remove(0);
            call.args.extend([ms(GUARD_FOR).to_string(), u8::from(!is_on_record).to_string()]);
            call
        };
        let calls: Vec<Call> = batch.iter().map(call).collect();
        GIVE_BACK.run_all(&self.redis, &calls).await.into_iter().map(|answer| answer.map(drop)).collect()
    }

    /// When the present data began, in ms of Redis' time: another era means that all that was held must be held again.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn era(&self) -> Result<u64, RedisError> {
        // Holding nothing, for nobody.
        let nobody = Hold {
            holder: Holder { shard: u32::MAX, epoch: 0, name: String::new() },
            permits: Vec::new(),
            for_ms: 0,
        };
        match self.hold(&[nobody]).await.pop() {
            Some(Ok(Held::Held { era })) => Ok(era),
            Some(Err(error)) => Err(error),
            other => Err(RedisError::Unexpected(format!("the era of permits: {other:?}"))),
        }
    }

    /// How many of a permit are out.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn out(&self, permit: &str) -> Result<u64, RedisError> {
        self.redis.query(redis::cmd("ZCARD").arg(keys::permits(permit))).await
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn guarded<'a>(holder: &Holder, permits: impl IntoIterator<Item = &'a String>) -> Call {
    let mut all = vec![keys::PERMITS_ERA.to_owned(), keys::PERMITS_GUARD.to_owned()];
    all.extend(permits.into_iter().map(|name| keys::permits(name)));
    Call { keys: all, args: vec![holder.shard.to_string(), holder.epoch.to_string(), holder.name.clone()] }
}

/// The words of an answer: what it is, and its figures.
fn words(value: Value) -> Result<(String, Vec<u64>), RedisError> {
    let words: Vec<String> = Vec::from_redis_value(value)?;
    let (what, figures) = words.split_first().ok_or_else(|| unexpected(&[]))?;
    let figures = figures.iter().map(|figure| figure.parse().map_err(|_| unexpected(&words)));
    Ok((what.clone(), figures.collect::<Result<_, _>>()?))
}

fn unexpected(words: &[String]) -> RedisError {
    RedisError::Unexpected(format!("a call for permits answered {words:?}"))
}

fn count(figure: u64) -> u32 {
    u32::try_from(figure).unwrap_or(u32::MAX)
}

fn taken(value: Value) -> Result<Taken, RedisError> {
    let (what, figures) = words(value)?;
    Ok(match (what.as_str(), &figures[..]) {
        ("granted", [era, out @ ..]) => {
            Taken::Granted { era: *era, out: out.iter().copied().map(count).collect() }
        }
        ("refused", [era, which, out]) => {
            Taken::Refused { era: *era, which: *which as usize, out: count(*out) }
        }
        ("young", [era, left_ms]) => Taken::Young { era: *era, left_ms: *left_ms },
        ("fenced", [newest]) => Taken::Fenced { newest: *newest },
        _ => return Err(unexpected(&[what, format!("{figures:?}")])),
    })
}

fn held(value: Value) -> Result<Held, RedisError> {
    let (what, figures) = words(value)?;
    Ok(match (what.as_str(), &figures[..]) {
        ("held", [era]) => Held::Held { era: *era },
        ("fenced", [newest]) => Held::Fenced { newest: *newest },
        _ => return Err(unexpected(&[what, format!("{figures:?}")])),
    })
}
