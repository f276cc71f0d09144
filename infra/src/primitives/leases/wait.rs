//! Acquiring: at once, or after standing in line.

use super::place::Place;
use super::{Ask, Grant, LONGEST_WAIT, Leases, moment, number, unexpected, words};
use crate::redis::{Call, Once, RedisError, Ring, Word};
use std::time::Duration;
use synod_protocol::primitives::locks::{Lease, WAITERS, check_ttl};
use synod_protocol::{Applied, Code, Error, Name, Workspace};
use tokio::time::Instant;

/// Who is not first in line looks this often all the same: the first may be gone when the lease runs out.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// For each who is before him a little later, so that not all look at once.
const LATER_PER_PLACE: Duration = Duration::from_millis(5);
/// Redis counts whole milliseconds: a lease that ends in n is over after n + 1.
const ROUNDING: Duration = Duration::from_millis(1);
/// When to try again where too many wait.
const RETRY_AFTER_MS: u64 = 1_000;

/// One call of the script, as it came out.
enum Looked {
    Granted { token: u64, ends_ms: u64, now_ms: u64 },
    InLine { now_ms: u64, ends_ms: u64, before: u32 },
    Not(Error),
}

/// A moment on both clocks: Redis' was read after ours.
#[derive(Clone, Copy)]
struct Both {
    ours: Instant,
    redis_ms: u64,
}

impl Both {
    /// A moment of Redis' time on our clock, never later than it is.
    fn ours_at(self, redis_ms: u64) -> Instant {
        self.ours + Duration::from_millis(redis_ms.saturating_sub(self.redis_ms))
    }
}

impl Leases {
    /// Takes a lease, or waits for it.
    ///
    /// # Errors
    /// `conflict`, with `holder` and `expires_at`: not free in time; or, of a semaphore, another number of permits.
    /// `overloaded`: too many wait. `invalid_argument`; those of any call.
    pub(super) async fn acquire(
        &self,
        workspace: &Workspace,
        name: &Name,
        ask: &Ask,
        permits: Option<u32>,
        once: Option<&Once>,
    ) -> Result<Grant, Error> {
        check_ttl(ask.ttl_ms)?;
        if ask.wait > LONGEST_WAIT {
            let said = format!("a wait may be {} s long at most", LONGEST_WAIT.as_secs());
            return Err(Error::invalid(said).with_field("/wait_ms"));
        }
        let deadline = Instant::now() + ask.wait;
        let id = uuid::Uuid::new_v4();
        // A repeat under the same key is the same request: it finds the lease, or the place, that it has.
        let call = id.simple().to_string();
        let request = once.map_or_else(|| call.clone(), |once| once.key.clone());
        let mut ring = (ask.watched || !ask.wait.is_zero()).then(|| self.redis.bell().ring(&request));
        if let Some(ring) = ring.as_mut().filter(|_| !ask.wait.is_zero()) {
            ring.ready(Instant::now() + self.redis.command_timeout()).await?;
        }
        let keys = (self.kind.keys)(workspace, name);
        let over = deadline + Duration::from_millis(ask.ttl_ms);
        let mut place = Place::new(self.redis.clone(), self.kind, keys, (&request, &call), once, over);
        self.sweep_now_and_then(id, workspace);

        let asking =
            Asking { leases: self, workspace, name, ask, permits, request: &request, call: &call, once };
        let granted = asking.until(deadline, ring.as_mut()).await;
        if !matches!(&granted, Err(error) if error.applied == Some(Applied::Unknown)) {
            place.settled();
        }
        let (token, expires_at, held_until) = granted?;
        let lease = Lease { name: name.clone(), owner: ask.owner.clone(), token, expires_at };
        Ok(Grant { lease, held_until, ring: ring.filter(|_| ask.watched) })
    }
}

/// One request.
struct Asking<'a> {
    leases: &'a Leases,
    workspace: &'a Workspace,
    name: &'a Name,
    ask: &'a Ask,
    permits: Option<u32>,
    request: &'a str,
    call: &'a str,
    once: Option<&'a Once>,
}

type Granted = (u64, synod_protocol::Timestamp, Instant);

impl Asking<'_> {
    async fn until(&self, deadline: Instant, mut ring: Option<&mut Ring>) -> Result<Granted, Error> {
        let mut stood = false;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let ours = Instant::now();
            let channel = ring.as_ref().map_or("-", |ring| ring.channel());
            let looked = self.look(channel, left, !stood).await.map_err(|error| match stood {
                // What stood in line may have been granted meanwhile.
                true => Error { applied: Some(Applied::Unknown), ..Error::from(error) },
                false => error.into(),
            })?;
            let (now_ms, ends_ms, before) = match looked {
                Looked::Granted { token, ends_ms, now_ms } => {
                    let held_until = Both { ours, redis_ms: now_ms }.ours_at(ends_ms);
                    return Ok((token, moment(&ends_ms.to_string())?, held_until));
                }
                Looked::Not(error) => return Err(error),
                Looked::InLine { now_ms, ends_ms, before } => (now_ms, ends_ms, before),
            };
            let Some(ring) = ring.as_deref_mut() else { return Err(unexpected(&["again".to_owned()])) };
            stood = true;
            let clock = Both { ours, redis_ms: now_ms };
            let ends = clock.ours_at(ends_ms) + ROUNDING;
            if let Some(granted) = self.stand(ring, clock, ends, before, deadline).await? {
                return Ok(granted);
            }
        }
    }

    /// Waits for the word; `None`: it is time to look.
    async fn stand(
        &self,
        ring: &mut Ring,
        clock: Both,
        ends: Instant,
        before: u32,
        deadline: Instant,
    ) -> Result<Option<Granted>, Error> {
        let net = Instant::now() + LOOK_EVERY;
        let mut look = if before == 0 { ends } else { ends.min(net) + LATER_PER_PLACE * before };
        loop {
            let word = tokio::select! {
                word = ring.next() => word,
                () = tokio::time::sleep_until(look.min(deadline)) => return Ok(None),
            };
            let Word::Said(said) = word else { return Ok(None) };
            let said: Vec<&str> = said.split(' ').collect();
            match said.as_slice() {
                // With a key the script must keep the answer for a repeat.
                ["granted", _, _] if self.once.is_some() => return Ok(None),
                ["granted", token, ends] => {
                    let held_until = clock.ours_at(number(ends)?);
                    return Ok(Some((number(token)?, moment(ends)?, held_until)));
                }
                ["ends", in_ms] => {
                    look = Instant::now() + Duration::from_millis(number(in_ms)?) + ROUNDING;
                }
                _ => return Ok(None),
            }
        }
    }

    /// Asks the script once; `left` is how long to stand in line from now.
    async fn look(&self, channel: &str, left: Duration, first: bool) -> Result<Looked, RedisError> {
        let Asking { leases, ask, .. } = self;
        let mut call =
            Call { keys: (leases.kind.keys)(self.workspace, self.name), args: Vec::with_capacity(7) };
        // Whole milliseconds, and 0 only when the wait is over.
        let left_ms = left.as_micros().div_ceil(1000);
        call.args.extend([self.request.to_owned(), channel.to_owned(), ask.owner.to_string()]);
        call.args.extend([ask.ttl_ms.to_string(), left_ms.to_string()]);
        call.args.extend([self.permits.unwrap_or(1).to_string(), self.call.to_owned()]);
        let script = &leases.kind.acquire;
        let value = match first {
            true => {
                let mut known = redis::cmd("ZADD");
                known.arg((leases.kind.index)(self.workspace)).arg(0).arg(self.name.as_str());
                script.run_after(&leases.redis, known, call, self.once).await?
            }
            false => script.run(&leases.redis, call, self.once).await?,
        };
        self.read(&words(value)?)
    }

    fn read(&self, said: &[String]) -> Result<Looked, RedisError> {
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        let (what, name) = (self.leases.kind.what, self.name);
        Ok(match said.as_slice() {
            ["granted", token, ends, now] => {
                Looked::Granted { token: number(token)?, ends_ms: number(ends)?, now_ms: number(now)? }
            }
            ["again", "wait", now, ends, before] => Looked::InLine {
                now_ms: number(now)?,
                ends_ms: number(ends)?,
                before: u32::try_from(number(before)?).unwrap_or(WAITERS),
            },
            ["again", "full"] => {
                let said = format!("{WAITERS} wait for {what} {name} already, which is the limit");
                Looked::Not(Error::overloaded(said, RETRY_AFTER_MS))
            }
            ["held", holder, ends] => {
                let ends = moment(ends)?;
                let said = format!("{what} {name} is held by {holder} until {ends}");
                let error = Error::new(Code::Conflict, said);
                Looked::Not(Error { holder: Some((*holder).to_owned()), expires_at: Some(ends), ..error })
            }
            ["total", permits] => {
                let said = format!(
                    "{what} {name} has {permits} permits while any is out, not {}",
                    self.permits.unwrap_or(1)
                );
                Looked::Not(Error::new(Code::Conflict, said).with_field("/permits"))
            }
            other => return Err(RedisError::Unexpected(format!("a script answered {other:?}"))),
        })
    }
}
