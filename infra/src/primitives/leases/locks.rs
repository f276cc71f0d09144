//! Locks: one holder at a time.

use super::{Ask, Grant, Held, Kind, Leases, Shown, kind, text};
use crate::primitives::keys;
use crate::redis::{Once, Redis, Repeatable, Script};
use std::sync::LazyLock;
use synod_protocol::primitives::locks::{HeldLock, Lease};
use synod_protocol::{Error, Name, Workspace};
use tokio::time::Instant;

static LOCK: LazyLock<Kind> = LazyLock::new(|| kind!("lock", keys_of, keys::locks));

fn keys_of(workspace: &Workspace, name: &Name) -> Vec<String> {
    let lock = keys::lock(workspace, name);
    let (queue, waiters) = (format!("{lock}:queue"), format!("{lock}:waiters"));
    vec![lock, queue, waiters]
}

/// The locks of this Redis; a cheap clone.
///
/// A lock of name N is the hash [`keys::lock`]: who else writes under it checks, in the same script, that `token` is the one
/// it was told and that `until` is later than Redis' time in ms.
#[derive(Clone)]
pub struct Locks {
    leases: Leases,
}

impl Locks {
    /// All of this Redis.
    pub fn new(redis: Redis) -> Locks {
        Locks { leases: Leases { redis, kind: &LOCK } }
    }

    /// Takes a lock, or waits for it: first come first served. Dropping the future leaves the line.
    ///
    /// It is not re-entrant: whoever holds it waits for it like anyone else. With `once` a repeat gets the same grant.
    ///
    /// # Errors
    /// `conflict`, with `holder` and `expires_at`: not free in time. `overloaded`: 1,000 wait. `invalid_argument`;
    /// those of any call.
    pub async fn acquire(
        &self,
        workspace: &Workspace,
        name: &Name,
        ask: &Ask,
        once: Option<&Once>,
    ) -> Result<Grant, Error> {
        self.leases.acquire(workspace, name, ask, None, once).await
    }

    /// Makes it last `ttl_ms` from now; with until when it is held at least, on this process' clock.
    ///
    /// # Errors
    /// `fenced`: not held by that owner under that token. `invalid_argument`; those of any call.
    pub async fn renew(
        &self,
        workspace: &Workspace,
        held: Held<'_>,
        ttl_ms: u64,
        once: Option<&Once>,
    ) -> Result<(Lease, Instant), Error> {
        self.leases.renew(workspace, &held, ttl_ms, once).await
    }

    /// Gives it back, to the first who waits.
    ///
    /// # Errors
    /// `fenced`: not held by that owner under that token. `invalid_argument`; those of any call.
    pub async fn release(
        &self,
        workspace: &Workspace,
        held: Held<'_>,
        once: Option<&Once>,
    ) -> Result<(), Error> {
        self.leases.give_back(workspace, &held, once).await
    }

    /// Takes it from whoever holds it (or only under that token), and gives it to the first who waits; as it was.
    ///
    /// # Errors
    /// `not_found`: nobody holds it. Those of any call.
    pub async fn break_open(
        &self,
        workspace: &Workspace,
        name: &Name,
        token: Option<u64>,
        once: Option<&Once>,
    ) -> Result<HeldLock, Error> {
        let shown = self.leases.break_open(workspace, name, token, once).await?;
        held(shown).ok_or_else(|| self.leases.not_held(name))
    }

    /// Who holds it.
    ///
    /// # Errors
    /// `not_found`: nobody. Those of any call.
    pub async fn get(&self, workspace: &Workspace, name: &Name) -> Result<HeldLock, Error> {
        held(self.leases.show(workspace, name).await?).ok_or_else(|| self.leases.not_held(name))
    }

    /// A page of those that are held, by name, and after which name the next one begins. A page may be short, or
    /// empty, before the end.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn list(
        &self,
        workspace: &Workspace,
        prefix: &str,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<(Vec<HeldLock>, Option<Name>), Error> {
        let (found, next) = self.leases.list(workspace, prefix, after, limit).await?;
        Ok((found.into_iter().filter_map(|(_, shown)| held(shown)).collect(), next))
    }
}

fn held(shown: Shown) -> Option<HeldLock> {
    let waiters = shown.waiters;
    let (Lease { name, owner, token, expires_at }, age_ms) = shown.leases.into_iter().next()?;
    Some(HeldLock { name, owner, token, expires_at, age_ms, waiters })
}
