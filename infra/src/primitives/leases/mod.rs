//! Leases: locks and semaphores, first come first served, each grant under a token greater than every earlier one.
//!
//! Who waits stands in a line in Redis. Whoever gives a lease back hands it, in the same script, to the first in line whose
//! process still listens, and that script's word wakes him: a hand-over is one call of the one and one word to the other.
//! Where a lease simply runs out, the first in line looks when it ends: he is told when that is, each time it changes for
//! him; the others look now and then, in case that he is gone.
//!
//! ```text
//! acquire --script--> granted
//!      \--> in line --(word)--------------------> granted
//!             |--(the lease's end)--> looks: the script hands over what is free, then answers
//!             |--(limit)------------> looks once more and leaves
//!             `--(future dropped)---> leaves; what came just then goes to the next
//! ```
//!
//! Redis' clock is the only one. A holder counts its lease on its own monotonic clock from before it asked, so it
//! believes to hold for no longer than Redis does.

mod index;
mod locks;
mod place;
mod semaphores;
mod wait;

pub use locks::Locks;
pub use semaphores::Semaphores;

use crate::redis::{Call, Once, Redis, RedisError, Repeatable, Ring, Script, Word};
use redis::{FromRedisValue as _, Value};
use std::time::Duration;
use synod_protocol::primitives::locks::{Lease, check_token, check_ttl};
use synod_protocol::{Code, Error, Name, Timestamp, Workspace};
use tokio::time::Instant;

/// The longest that a call may wait.
pub const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Who is to hold it.
    pub owner: Name,
    /// How long, from the grant, in ms.
    pub ttl_ms: u64,
    /// How long to wait for it, up to [`LONGEST_WAIT`].
    pub wait: Duration,
    /// Whether the holder is to be told when the lease is broken ([`Grant::told`]).
    pub watched: bool,
}

/// A lease that was granted.
pub struct Grant {
    /// What is held.
    pub lease: Lease,
    /// It is held until then at least, unless it is broken: on this process' monotonic clock, from before it was asked.
    pub held_until: Instant,
    ring: Option<Ring>,
}

/// What a holder is told while it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// The lease was taken from it.
    Broken,
    /// Words may have been missed: renew, to see whether it still holds.
    Doubt,
}

impl Grant {
    /// The next thing that the holder is told; never, if it does not watch. Dropping the future loses nothing.
    pub async fn told(&mut self) -> Told {
        let Some(ring) = &mut self.ring else { return std::future::pending().await };
        loop {
            match ring.next().await {
                Word::Said(words) if words == "broken" => return Told::Broken,
                Word::Said(_) => {}
                Word::Again => return Told::Doubt,
            }
        }
    }
}

impl std::fmt::Debug for Grant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Grant").field(&self.lease).finish()
    }
}

/// What locks and semaphores differ in.
pub(super) struct Kind {
    /// `lock`, `semaphore`.
    what: &'static str,
    keys: fn(&Workspace, &Name) -> Vec<String>,
    index: fn(&Workspace) -> String,
    acquire: Repeatable,
    renew: Repeatable,
    give_back: Repeatable,
    break_open: Repeatable,
    leave: Script,
    show: Script,
}

/// One script over what a kind knows of itself.
macro_rules! text {
    ($kind:literal, $script:literal) => {
        concat!(
            include_str!(concat!("../scripts/lease_", $kind, ".lua")),
            include_str!("../scripts/lease_waiting.lua"),
            include_str!(concat!("../scripts/", $script, ".lua"))
        )
    };
}

macro_rules! kind {
    ($kind:literal, $keys:expr, $index:expr) => {
        super::Kind {
            what: $kind,
            keys: $keys,
            index: $index,
            acquire: Repeatable::new("acquire_lease", text!($kind, "acquire_lease")),
            renew: Repeatable::new("renew_lease", text!($kind, "renew_lease")),
            give_back: Repeatable::new("give_back_lease", text!($kind, "give_back_lease")),
            break_open: Repeatable::new("break_lease", text!($kind, "break_lease")),
            leave: Script::new("leave_lease", text!($kind, "leave_lease")),
            show: Script::new("show_lease", text!($kind, "show_lease")),
        }
    };
}
use {kind, text};

/// The leases of one kind; a cheap clone.
#[derive(Clone)]
struct Leases {
    redis: Redis,
    kind: &'static Kind,
}

/// Who holds what, as Redis says.
struct Shown {
    total: u32,
    waiters: u64,
    leases: Vec<(Lease, u64)>,
}

impl Leases {
    /// Makes a lease last `ttl_ms` from now. `held_until` is on this process' clock, from before it was asked.
    async fn renew(
        &self,
        workspace: &Workspace,
        held: &Held<'_>,
        ttl_ms: u64,
        once: Option<&Once>,
    ) -> Result<(Lease, Instant), Error> {
        check_ttl(ttl_ms)?;
        let call = self.held_call(workspace, held, Some(ttl_ms))?;
        let asked = Instant::now();
        let said = words(self.kind.renew.run(&self.redis, call, once).await?)?;
        match said.as_slice() {
            [word, ends] if word == "renewed" => {
                Ok((held.lease(ends)?, asked + Duration::from_millis(ttl_ms)))
            }
            _ => Err(self.refused(held, &said)),
        }
    }

    /// Gives a lease back, to the first who waits.
    async fn give_back(
        &self,
        workspace: &Workspace,
        held: &Held<'_>,
        once: Option<&Once>,
    ) -> Result<(), Error> {
        let call = self.held_call(workspace, held, None)?;
        let said = words(self.kind.give_back.run(&self.redis, call, once).await?)?;
        match said.as_slice() {
            [word] if word == "released" => Ok(()),
            _ => Err(self.refused(held, &said)),
        }
    }

    /// Takes it from who holds it, all of them or the one with that token.
    async fn break_open(
        &self,
        workspace: &Workspace,
        name: &Name,
        token: Option<u64>,
        once: Option<&Once>,
    ) -> Result<Shown, Error> {
        token.map_or(Ok(()), check_token)?;
        let args = vec![token.map_or(String::new(), |token| token.to_string())];
        let call = Call { keys: (self.kind.keys)(workspace, name), args };
        let said = words(self.kind.break_open.run(&self.redis, call, once).await?)?;
        shown(name, &said)?.ok_or_else(|| self.not_held(name))
    }

    async fn show(&self, workspace: &Workspace, name: &Name) -> Result<Shown, Error> {
        let call = Call { keys: (self.kind.keys)(workspace, name), args: Vec::new() };
        let said = words(self.kind.show.run(&self.redis, call).await?)?;
        shown(name, &said)?.ok_or_else(|| self.not_held(name))
    }

    fn held_call(&self, workspace: &Workspace, held: &Held<'_>, ttl_ms: Option<u64>) -> Result<Call, Error> {
        check_token(held.token)?;
        let mut args = vec![held.owner.to_string(), held.token.to_string()];
        args.extend(ttl_ms.map(|ms| ms.to_string()));
        Ok(Call { keys: (self.kind.keys)(workspace, held.name), args })
    }

    fn refused(&self, held: &Held<'_>, said: &[String]) -> Error {
        if said != ["fenced"] {
            return unexpected(said);
        }
        let Held { name, owner, token } = held;
        Error::fenced(format!(
            "{} {name} is not held by {owner} under token {token}, or not any more",
            self.kind.what
        ))
    }

    fn not_held(&self, name: &Name) -> Error {
        Error::new(Code::NotFound, format!("nobody holds {} {name} in this workspace", self.kind.what))
    }
}

/// What a caller says that it holds.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// The lock's or semaphore's name.
    pub name: &'a Name,
    /// Who holds it.
    pub owner: &'a Name,
    /// Under which token.
    pub token: u64,
}

impl Held<'_> {
    fn lease(&self, ends: &str) -> Result<Lease, RedisError> {
        let (name, owner) = (self.name.clone(), self.owner.clone());
        Ok(Lease { name, owner, token: self.token, expires_at: moment(ends)? })
    }
}

impl<'a> From<&'a Lease> for Held<'a> {
    fn from(lease: &'a Lease) -> Held<'a> {
        Held { name: &lease.name, owner: &lease.owner, token: lease.token }
    }
}

/// `held`, `broken`: total, waiters, now, then token, owner, end and since of each; `None` for `none`.
fn shown(name: &Name, said: &[String]) -> Result<Option<Shown>, RedisError> {
    let [_, total, waiters, now, rest @ ..] = said else { return Ok(None) };
    let now = moment(now)?;
    let each = rest.chunks_exact(4).map(|four| {
        let owner = four[1].parse().map_err(|_| RedisError::Unexpected(four[1].clone()))?;
        let lease =
            Lease { name: name.clone(), owner, token: number(&four[0])?, expires_at: moment(&four[2])? };
        Ok((lease, now.millis_since(moment(&four[3])?)))
    });
    let leases = each.collect::<Result<Vec<_>, RedisError>>()?;
    let total = u32::try_from(number(total)?).unwrap_or(u32::MAX);
    Ok(Some(Shown { total, waiters: number(waiters)?, leases }))
}

pub(in crate::primitives) fn words(value: Value) -> Result<Vec<String>, RedisError> {
    Ok(Vec::<String>::from_redis_value(value)?)
}

pub(in crate::primitives) fn number(text: &str) -> Result<u64, RedisError> {
    text.parse().map_err(|_| RedisError::Unexpected(format!("{text:?} is no number")))
}

fn moment(text: &str) -> Result<Timestamp, RedisError> {
    Ok(Timestamp::from_millis(i64::try_from(number(text)?).unwrap_or(i64::MAX)))
}

pub(in crate::primitives) fn unexpected(said: &[String]) -> Error {
    RedisError::Unexpected(format!("a script answered {said:?}")).into()
}
