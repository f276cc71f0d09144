//! Semaphores: as many holders at a time as there are permits.

use super::{Ask, Grant, Held, Kind, Leases, Shown, kind, text};
use crate::primitives::keys;
use crate::redis::{Once, Redis, Repeatable, Script};
use std::sync::LazyLock;
use synod_protocol::primitives::locks::{BrokenSemaphore, HeldSemaphore, Lease, PERMITS, PermitHolder};
use synod_protocol::{Error, Name, Workspace};
use tokio::time::Instant;

static SEMAPHORE: LazyLock<Kind> = LazyLock::new(|| kind!("semaphore", keys_of, keys::semaphores));

fn keys_of(workspace: &Workspace, name: &Name) -> Vec<String> {
    let record = keys::semaphore(workspace, name);
    let more = ["queue", "waiters", "holders"].map(|part| format!("{record}:{part}"));
    [vec![record], more.to_vec()].concat()
}

/// The semaphores of this Redis; a cheap clone.
#[derive(Clone)]
pub struct Semaphores {
    leases: Leases,
}

impl Semaphores {
    /// All of this Redis.
    pub fn new(redis: Redis) -> Semaphores {
        Semaphores { leases: Leases { redis, kind: &SEMAPHORE } }
    }

    /// Takes one of `permits`, or waits for it: first come first served. Dropping the future leaves the line.
    ///
    /// One owner may hold several, each under its own token.
    ///
    /// # Errors
    /// `conflict`: none is free in time (with a `holder` and `expires_at`), or there is another number of permits (with
    /// `field`). `overloaded`: 1,000 wait. `invalid_argument`; those of any call.
    pub async fn acquire(
        &self,
        workspace: &Workspace,
        name: &Name,
        permits: u32,
        ask: &Ask,
        once: Option<&Once>,
    ) -> Result<Grant, Error> {
        if !PERMITS.contains(&permits) {
            let said = format!("permits is {permits}, it must be {} to {}", PERMITS.start(), PERMITS.end());
            return Err(Error::invalid(said).with_field("/permits"));
        }
        self.leases.acquire(workspace, name, ask, Some(permits), once).await
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

    /// Takes the permit with that token, or all of them, from who holds them; who held them.
    ///
    /// # Errors
    /// `not_found`: nobody holds one. Those of any call.
    pub async fn break_open(
        &self,
        workspace: &Workspace,
        name: &Name,
        token: Option<u64>,
        once: Option<&Once>,
    ) -> Result<BrokenSemaphore, Error> {
        let shown = self.leases.break_open(workspace, name, token, once).await?;
        Ok(BrokenSemaphore { name: name.clone(), broken: held(name.clone(), shown).holders })
    }

    /// Who holds permits of it.
    ///
    /// # Errors
    /// `not_found`: nobody. Those of any call.
    pub async fn get(&self, workspace: &Workspace, name: &Name) -> Result<HeldSemaphore, Error> {
        Ok(held(name.clone(), self.leases.show(workspace, name).await?))
    }

    /// A page of those of which permits are out, by name, and after which name the next one begins. A page may be
    /// short, or empty, before the end.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn list(
        &self,
        workspace: &Workspace,
        prefix: &str,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<(Vec<HeldSemaphore>, Option<Name>), Error> {
        let (found, next) = self.leases.list(workspace, prefix, after, limit).await?;
        Ok((found.into_iter().map(|(name, shown)| held(name, shown)).collect(), next))
    }
}

fn held(name: Name, shown: Shown) -> HeldSemaphore {
    let holder = |(lease, age_ms): (Lease, u64)| {
        let Lease { owner, token, expires_at, .. } = lease;
        PermitHolder { owner, token, expires_at, age_ms }
    };
    let holders: Vec<PermitHolder> = shown.leases.into_iter().map(holder).collect();
    let out = u32::try_from(holders.len()).unwrap_or(u32::MAX);
    HeldSemaphore {
        name,
        permits: shown.total,
        available: shown.total.saturating_sub(out),
        waiters: shown.waiters,
        holders,
    }
}
