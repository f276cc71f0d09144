//! Locks and semaphores: guards that renew themselves, and say at once when they are lost.

use crate::mesh::Mesh;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::primitives::leases::{Ask, Grant, Held, Told};
use synod_infra::primitives::leases::{Locks as LocksOf, Semaphores as SemaphoresOf};
use synod_protocol::primitives::locks::{HeldLock, HeldSemaphore, Lease};
use synod_protocol::{Code, Error, Name, Workspace};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A lease is renewed whenever so much of it is over.
const RENEW_AT: u32 = 3;
/// After a renewal that failed the next one follows so soon, as long as the lease lasts.
const TRY_AGAIN: Duration = Duration::from_millis(50);

/// How to acquire: by whom, for how long, how long to wait.
#[derive(Clone, Debug)]
pub struct LockOptions {
    /// Who holds it, for people and for release over HTTP; by default a name that nobody else has.
    pub owner: Option<Name>,
    /// How long it outlives its holder's death: 10 ms to a day, 10 s by default. It is renewed at a third of it.
    pub ttl: Duration,
    /// How long to wait for it, first come first served: up to a day, not at all by default.
    pub wait: Duration,
}

impl Default for LockOptions {
    fn default() -> LockOptions {
        LockOptions { owner: None, ttl: Duration::from_secs(10), wait: Duration::ZERO }
    }
}

impl LockOptions {
    /// Waits so long.
    pub fn waiting(wait: Duration) -> LockOptions {
        LockOptions { wait, ..LockOptions::default() }
    }

    /// The same with another time to live.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> LockOptions {
        self.ttl = ttl;
        self
    }

    /// The same with this owner.
    #[must_use]
    pub fn owner(mut self, owner: Name) -> LockOptions {
        self.owner = Some(owner);
        self
    }
}

/// Why a guard no longer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    /// An operator broke it.
    #[error("the lock was broken")]
    Broken,
    /// It was refused when it was renewed: its lease had run out, or Redis has lost it.
    #[error("the lock is not held any more")]
    Fenced,
    /// Nobody answered until the lease's end: it may be held, but that cannot be known.
    #[error("the lock could not be renewed in time")]
    Unknown,
    /// It was released.
    #[error("the lock was released")]
    Released,
}

/// The locks of a mesh; a cheap clone.
///
/// ```no_run
/// use agent_sdk::{LockOptions, Mesh, MeshConfig};
/// use std::time::Duration;
///
/// # async fn rebuild() {}
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mesh = Mesh::connect(MeshConfig::from_env()?)?;
/// let guard = mesh.locks().acquire("index/rebuild", LockOptions::waiting(Duration::from_secs(30))).await?;
/// // Cancelled the moment the lock is lost.
/// guard.run(rebuild()).await?;
/// // What is written elsewhere carries the token, and is refused there if a newer one was seen.
/// println!("as {}", guard.token());
/// guard.release().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Locks {
    mesh: Mesh,
}

/// The semaphores of a mesh; a cheap clone.
///
/// ```no_run
/// # async fn example(mesh: agent_sdk::Mesh) -> Result<(), agent_sdk::protocol::Error> {
/// use agent_sdk::LockOptions;
/// // At most three at a time, in all processes together.
/// let guard = mesh.semaphores().acquire("gpu", 3, LockOptions::default()).await?;
/// guard.release().await
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Semaphores {
    mesh: Mesh,
}

impl Mesh {
    /// Locks: one holder at a time.
    pub fn locks(&self) -> Locks {
        Locks { mesh: self.clone() }
    }

    /// Semaphores: so many holders at a time.
    pub fn semaphores(&self) -> Semaphores {
        Semaphores { mesh: self.clone() }
    }
}

impl Locks {
    /// Takes a lock, or waits for it. Dropping the future leaves the line.
    ///
    /// # Errors
    /// `conflict`, with `holder`: not free in time. `overloaded`: too many wait. `unavailable`: Redis is away, or none is
    /// configured. `invalid_argument`.
    pub async fn acquire(&self, name: &str, options: LockOptions) -> Result<LockGuard, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        let (name, ask): (Name, Ask) = (name.parse()?, options.ask()?);
        let locks = LocksOf::new(redis);
        let grant = locks.acquire(&workspace, &name, &ask, None).await?;
        Ok(LockGuard::keep(Kind::Lock(locks), workspace, ask.ttl_ms, grant))
    }

    /// Who holds it.
    ///
    /// # Errors
    /// `not_found`: nobody. `unavailable`.
    pub async fn get(&self, name: &str) -> Result<HeldLock, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        LocksOf::new(redis).get(&workspace, &name.parse()?).await
    }
}

impl Semaphores {
    /// Takes one of `permits`, or waits for it. Dropping the future leaves the line.
    ///
    /// # Errors
    /// As [`Locks::acquire`]; `conflict` with `field` too where there is another number of permits.
    pub async fn acquire(&self, name: &str, permits: u32, options: LockOptions) -> Result<LockGuard, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        let (name, ask): (Name, Ask) = (name.parse()?, options.ask()?);
        let semaphores = SemaphoresOf::new(redis);
        let grant = semaphores.acquire(&workspace, &name, permits, &ask, None).await?;
        Ok(LockGuard::keep(Kind::Semaphore(semaphores), workspace, ask.ttl_ms, grant))
    }

    /// Who holds permits.
    ///
    /// # Errors
    /// `not_found`: nobody. `unavailable`.
    pub async fn get(&self, name: &str) -> Result<HeldSemaphore, Error> {
        let (redis, workspace) = self.mesh.primitives()?;
        SemaphoresOf::new(redis).get(&workspace, &name.parse()?).await
    }
}

impl LockOptions {
    fn ask(self) -> Result<Ask, Error> {
        let made = || format!("sdk-{}", uuid::Uuid::now_v7().simple()).parse();
        let owner = self.owner.map_or_else(made, Ok)?;
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        Ok(Ask { owner, ttl_ms, wait: self.wait, watched: true })
    }
}

#[derive(Clone)]
enum Kind {
    Lock(LocksOf),
    Semaphore(SemaphoresOf),
}

impl Kind {
    async fn renew(&self, workspace: &Workspace, lease: &Lease, ttl_ms: u64) -> Result<Instant, Error> {
        let held = Held::from(lease);
        Ok(match self {
            Kind::Lock(locks) => locks.renew(workspace, held, ttl_ms, None).await?.1,
            Kind::Semaphore(semaphores) => semaphores.renew(workspace, held, ttl_ms, None).await?.1,
        })
    }

    async fn release(&self, workspace: &Workspace, lease: &Lease) -> Result<(), Error> {
        match self {
            Kind::Lock(locks) => locks.release(workspace, Held::from(lease), None).await,
            Kind::Semaphore(semaphores) => semaphores.release(workspace, Held::from(lease), None).await,
        }
    }
}

/// A lock, or a permit of a semaphore, that is held: it renews itself until it is released, dropped or lost.
///
/// Its lease is counted on this process' monotonic clock from before it was asked for. A process that is stopped (SIGSTOP, a
/// paused machine) cannot know meanwhile that it has lost: what must never be done twice is guarded by [`token`] at the
/// place where it is done ([`FencingGate`](crate::FencingGate)).
///
/// Dropped, it is released in the background, if there is a runtime and Redis answers; else its lease runs out.
///
/// [`token`]: LockGuard::token
#[must_use = "dropped, it is released"]
pub struct LockGuard {
    kind: Kind,
    workspace: Workspace,
    lease: Lease,
    state: watch::Receiver<Known>,
    end: Arc<watch::Sender<Known>>,
    cancelled: CancellationToken,
    /// Ends the renewals.
    stop: CancellationToken,
}

#[derive(Clone, Copy, Debug)]
enum Known {
    HeldUntil(Instant),
    Lost(Lost),
}

impl LockGuard {
    fn keep(kind: Kind, workspace: Workspace, ttl_ms: u64, grant: Grant) -> LockGuard {
        let (end, state) = watch::channel(Known::HeldUntil(grant.held_until));
        let (end, cancelled, stop) = (Arc::new(end), CancellationToken::new(), CancellationToken::new());
        let lease = grant.lease.clone();
        let keeper = Keeper {
            kind: kind.clone(),
            workspace: workspace.clone(),
            ttl: Duration::from_millis(ttl_ms),
            held_until: grant.held_until,
            grant,
        };
        let (ended, said, stopped) = (end.clone(), cancelled.clone(), stop.clone());
        tokio::spawn(async move {
            let lost = tokio::select! {
                lost = keeper.renewing(&ended) => lost,
                () = stopped.cancelled() => Lost::Released,
            };
            ended.send_replace(Known::Lost(lost));
            said.cancel();
        });
        LockGuard { kind, workspace, lease, state, end, cancelled, stop }
    }

    /// What is held; `expires_at` as it was granted.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// Greater than that of every earlier holder.
    pub fn token(&self) -> u64 {
        self.lease.token
    }

    /// Whether it is held now for certain, as far as this process can know.
    pub fn is_held(&self) -> bool {
        matches!(*self.state.borrow(), Known::HeldUntil(until) if Instant::now() < until)
    }

    /// Waits until it is lost, or can no longer be known to be held.
    pub async fn lost(&self) -> Lost {
        self.cancelled.cancelled().await;
        self.why()
    }

    /// Cancelled when it is lost, released or dropped.
    pub fn cancellation(&self) -> CancellationToken {
        self.cancelled.clone()
    }

    /// Does the work for as long as it is held: the work is dropped the moment the lock is lost.
    ///
    /// # Errors
    /// Why it was lost. What the work had done by then, it had done.
    pub async fn run<F: Future>(&self, work: F) -> Result<F::Output, Lost> {
        tokio::select! {
            biased;
            lost = self.lost() => Err(lost),
            output = work => Ok(output),
        }
    }

    /// Gives it back, to the first who waits.
    ///
    /// # Errors
    /// `fenced`: it was not held any more: somebody else may have worked under it. `unavailable`: with `applied`.
    pub async fn release(self) -> Result<(), Error> {
        self.stop.cancel();
        let (kind, workspace, lease) = (self.kind.clone(), self.workspace.clone(), self.lease.clone());
        self.end.send_replace(Known::Lost(Lost::Released));
        self.cancelled.cancel();
        kind.release(&workspace, &lease).await
    }

    fn why(&self) -> Lost {
        match *self.state.borrow() {
            Known::Lost(lost) => lost,
            Known::HeldUntil(_) => Lost::Unknown,
        }
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.stop.cancel();
        // Already given back, or lost.
        if matches!(*self.state.borrow(), Known::Lost(_)) {
            return;
        }
        self.cancelled.cancel();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (kind, workspace, lease) = (self.kind.clone(), self.workspace.clone(), self.lease.clone());
            runtime.spawn(async move {
                if let Err(error) = kind.release(&workspace, &lease).await {
                    tracing::debug!(%error, name = %lease.name, "a dropped lock runs out by itself");
                }
            });
        }
    }
}

impl fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockGuard")
            .field("lease", &self.lease)
            .field("held", &self.is_held())
            .finish_non_exhaustive()
    }
}

/// Renews a lease.
struct Keeper {
    kind: Kind,
    workspace: Workspace,
    ttl: Duration,
    held_until: Instant,
    grant: Grant,
}

impl Keeper {
    /// Until it is lost.
    async fn renewing(mut self, known: &watch::Sender<Known>) -> Lost {
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX);
        let lease = self.grant.lease.clone();
        let mut next = self.next();
        loop {
            tokio::select! {
                () = tokio::time::sleep_until(next.min(self.held_until)) => {}
                told = self.grant.told() => match told {
                    Told::Broken => return Lost::Broken,
                    // It may have been broken unheard: renewing tells.
                    Told::Doubt => {}
                },
            }
            if Instant::now() >= self.held_until {
                return Lost::Unknown;
            }
            let renewal = self.kind.renew(&self.workspace, &lease, ttl_ms);
            match tokio::time::timeout_at(self.held_until, renewal).await {
                Ok(Ok(until)) => {
                    self.held_until = until;
                    known.send_replace(Known::HeldUntil(until));
                    next = self.next();
                }
                Ok(Err(error)) if error.code == Code::Fenced => return Lost::Fenced,
                Ok(Err(error)) => {
                    tracing::debug!(%error, name = %lease.name, "a lock was not renewed; it is tried again");
                    next = Instant::now() + TRY_AGAIN.min(self.ttl / 10);
                }
                Err(_) => return Lost::Unknown,
            }
        }
    }

    /// When a third of the lease is over.
    fn next(&self) -> Instant {
        self.held_until.checked_sub(self.ttl - self.ttl / RENEW_AT).unwrap_or_else(Instant::now)
    }
}
