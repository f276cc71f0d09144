//! Which shards this coordinator owns: the lease kept, the others' leases read, orders given to the shards.
//!
//! ```text
//!   Redis: leases, presence, news --look--> Tenure (pure) --orders--> claim: a grant to the shard's life
//!          ^                                  ^                       hand over: the grant is taken back
//!          +---- hold: what we hold, serve    +---- word of the shard: released, lost
//! ```
//!
//! The rules are in `synod_ledger::tenure`; here are the clock, the calls and the waiting. Redis that hangs holds
//! this loop up and no shard.

use crate::health::Phase;
use crate::{CoordinatorConfig, Shared};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use synod_infra::redis::Redis;
use synod_infra::redis::lease::{self, Held, Lease, Part};
use synod_infra::redis::leases::{Leases, Look, Presence};
use synod_ledger::tenure::{Route, Row, Table, Tenure, Terms};
use synod_protocol::Id;
use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// The right to claim a shard once; over when it is cancelled.
pub(crate) type Grant = CancellationToken;

/// What a shard's life says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Word {
    /// It was let go of in good order.
    Released(u32),
    /// Its epoch is over, or it could not be taken.
    Lost(u32),
}

/// Ownership as the rest of the coordinator sees it. Never held across an await.
pub(crate) struct Tenures {
    inside: Mutex<Tenure>,
    began: Instant,
    changed: watch::Sender<()>,
    words: mpsc::UnboundedSender<Word>,
}

impl Tenures {
    /// With the receiver of the shards' words, for [`keep`].
    pub(crate) fn new(
        me: Id,
        holder: &str,
        shards: u32,
        terms: Terms,
    ) -> (Tenures, mpsc::UnboundedReceiver<Word>) {
        let (words, heard) = mpsc::unbounded_channel();
        let inside = Mutex::new(Tenure::new(me, holder, shards, terms));
        (Tenures { inside, began: Instant::now(), changed: watch::channel(()).0, words }, heard)
    }

    fn lock(&self) -> MutexGuard<'_, Tenure> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_ms(&self) -> u64 {
        millis(self.began.elapsed())
    }

    /// This coordinator makes the mesh.
    pub(crate) fn is_first(&self) {
        self.lock().is_first();
    }

    /// Says what became of a grant.
    pub(crate) fn say(&self, word: Word) {
        // The loop ends only after the shards.
        let _ = self.words.send(word);
    }

    /// Where a request for a shard goes now.
    pub(crate) fn route(&self, shard: u32) -> Route {
        self.lock().route(shard)
    }

    /// Whether it belongs to us, held or not: one who asks may wait for us to take it.
    pub(crate) fn is_ours(&self, shard: u32) -> bool {
        let inside = self.lock();
        inside.belongs_to(shard) == Some(inside.me())
    }

    /// Whether we hold it.
    pub(crate) fn holds(&self, shard: u32) -> bool {
        self.lock().holds(shard)
    }

    /// Whether nobody else can have claimed it since, as far as the leases tell.
    pub(crate) fn is_sure(&self, shard: u32) -> bool {
        let now = self.now_ms();
        self.lock().is_sure(shard, now)
    }

    /// Changes when a route may have changed.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// The other coordinators that are live: id and `host:port`.
    pub(crate) fn others(&self) -> BTreeMap<Id, String> {
        self.lock().others().map(|row| (row.id.clone(), row.address.clone())).collect()
    }
}

/// Keeps the lease, and the shards as the leases say, until `stop` and until all shards are handed over.
pub(crate) async fn keep(
    shared: Arc<Shared>,
    lease: Lease,
    grants: Vec<mpsc::UnboundedSender<Grant>>,
    words: mpsc::UnboundedReceiver<Word>,
    joined: CancellationToken,
    stop: CancellationToken,
) {
    let presence = Presence::start(shared.redis.clone(), &shared.config.id, lease.holder());
    let leases = Leases::new(shared.redis.clone());
    let mut keeping = Keeping {
        shared,
        lease,
        leases,
        grants,
        words,
        given: BTreeMap::new(),
        told: Part::default(),
        held_at: None,
        news_owed: false,
        has_held: false,
    };
    keeping.run(presence, joined, stop).await;
    keeping.end().await;
}

/// The lease of this coordinator, not yet held.
pub(crate) fn lease_of(redis: Redis, config: &CoordinatorConfig, bound: SocketAddr) -> Lease {
    let me = lease::Coordinator { id: config.id.clone(), address: config.advertised(bound) };
    Lease::new(redis, me, config.lease)
}

struct Keeping {
    shared: Arc<Shared>,
    lease: Lease,
    leases: Leases,
    grants: Vec<mpsc::UnboundedSender<Grant>>,
    words: mpsc::UnboundedReceiver<Word>,
    given: BTreeMap<u32, Grant>,
    /// What our lease says of us, and when it was last written.
    told: Part,
    held_at: Option<Instant>,
    /// Shards were let go of, and the others have not been told to look.
    news_owed: bool,
    /// Whether the lease was ours before.
    has_held: bool,
}

impl Keeping {
    async fn run(&mut self, mut presence: Presence, joined: CancellationToken, stop: CancellationToken) {
        let config = self.shared.config.clone();
        let mut phases = self.shared.status.changes();
        let (mut has_joined, mut leaves) = (false, false);
        let mut look_at = Instant::now();
        loop {
            let lapsed = self.tenure().has_lapsed(self.shared.tenures.now_ms());
            if !lapsed {
                self.hold(config.renew_every).await;
            }
            if Instant::now() >= look_at {
                self.look().await;
                look_at = Instant::now() + config.look_every;
                self.obey();
                if self.hold(config.renew_every).await == Some(Held::Taken) {
                    // It counts once it is seen in the table.
                    look_at = Instant::now();
                    continue;
                }
            } else {
                self.obey();
            }
            if leaves && self.given.is_empty() {
                return;
            }
            let renew_at = self.held_at.map_or(look_at, |at| at + config.renew_every);
            tokio::select! {
                () = tokio::time::sleep_until(look_at.min(renew_at)) => {}
                () = presence.news() => look_at = Instant::now(),
                Some(word) = self.words.recv() => {
                    self.heard(word);
                    while let Ok(word) = self.words.try_recv() {
                        self.heard(word);
                    }
                }
                Ok(()) = phases.changed() => {}
                () = joined.cancelled(), if !has_joined => {
                    has_joined = true;
                    self.tenure().join();
                }
                () = stop.cancelled(), if !leaves => {
                    leaves = true;
                    self.tenure().leave();
                }
            }
            self.show();
        }
    }

    fn tenure(&self) -> MutexGuard<'_, Tenure> {
        self.shared.tenures.lock()
    }

    fn heard(&mut self, word: Word) {
        let now = self.shared.tenures.now_ms();
        let jitter = uuid::Uuid::new_v4().as_bytes()[0];
        match word {
            Word::Released(shard) => {
                self.given.remove(&shard);
                self.tenure().released(shard, now);
                self.news_owed = true;
            }
            Word::Lost(shard) => {
                self.given.remove(&shard);
                self.tenure().lost(shard, now, jitter);
                self.news_owed = true;
            }
        }
        self.shared.tenures.changed.send_replace(());
    }

    /// Reads everyone's leases.
    async fn look(&mut self) {
        let at_ms = self.shared.tenures.now_ms();
        match self.leases.look().await {
            Ok(look) => {
                self.tenure().read(table(at_ms, look));
                self.shared.status.redis(Ok(()));
            }
            Err(error) => {
                self.tenure().unread();
                self.shared.status.redis(Err(error.to_string()));
            }
        }
    }

    /// Takes or renews our lease, if that is due or what it says has changed.
    async fn hold(&mut self, renew_every: Duration) -> Option<Held> {
        let part = self.part();
        let is_due = self.held_at.is_none_or(|at| at.elapsed() >= renew_every);
        if !is_due && part == self.told && !self.news_owed {
            return None;
        }
        let began_ms = self.shared.tenures.now_ms();
        let held = self.lease.hold(&part).await;
        // Who hands us shards a few at a time waits for us to serve the last.
        self.news_owed |= !part.serving.is_subset(&self.told.serving);
        // Also after a failure: Redis is asked again when the next renewal is due, not at once.
        (self.held_at, self.told) = (Some(Instant::now()), part);
        match held {
            Ok(held @ (Held::Taken | Held::Renewed)) => {
                self.tenure().renewed(began_ms);
                if held == Held::Taken && std::mem::replace(&mut self.has_held, true) {
                    // Redis has lost our lease, and with it perhaps all that it held.
                    tracing::info!("the lease had gone; work in force is handed over once more");
                    self.given.keys().for_each(|shard| self.shared.shards[*shard as usize].redeliver());
                }
                self.has_held = true;
                if std::mem::take(&mut self.news_owed)
                    && let Err(error) = self.leases.tell().await
                {
                    tracing::debug!(%error, "the others are not told to look; they will by themselves");
                }
                Some(held)
            }
            Ok(held @ Held::ByAnother { remaining }) => {
                tracing::warn!(?remaining, "another process holds the lease of this coordinator's id");
                Some(held)
            }
            Err(error) => {
                self.shared.status.redis(Err(error.to_string()));
                None
            }
        }
    }

    fn part(&self) -> Part {
        let mut tenure = self.tenure();
        for (shard, status) in self.shared.status.shards().into_iter().enumerate() {
            tenure.serving(shard as u32, status.phase == Phase::Serving);
        }
        Part { takes: tenure.takes(), held: tenure.held(), serving: tenure.served() }
    }

    /// Has the shards do what the tenure orders.
    fn obey(&mut self) {
        let now = self.shared.tenures.now_ms();
        let orders = self.tenure().orders(now);
        for shard in orders.claim {
            let grant = Grant::new();
            self.given.insert(shard, grant.clone());
            if let Some(life) = self.grants.get(shard as usize) {
                tracing::debug!(shard, "to be claimed");
                // A shard's life ends after us.
                let _ = life.send(grant);
            }
        }
        for (shards, why) in [(orders.hand_over, "handed over"), (orders.stand_down, "given up: in doubt")] {
            for shard in shards {
                tracing::info!(shard, "the shard is {why}");
                if let Some(grant) = self.given.get(&shard) {
                    grant.cancel();
                }
            }
        }
        self.shared.tenures.changed.send_replace(());
    }

    /// Says whose the shards are that we do not hold.
    fn show(&self) {
        for shard in 0..self.shared.config.partitions {
            let (holds, owner) = {
                let tenure = self.tenure();
                (tenure.holds(shard), tenure.owner(shard).map(ToString::to_string))
            };
            if holds {
                self.shared.status.shard(shard, |s| s.owner = owner);
            } else {
                if let Some(owner) = &owner {
                    self.shared.snapshots.owned_by(shard, owner);
                }
                self.shared.status.elsewhere(shard, owner);
            }
        }
    }

    async fn end(&mut self) {
        if let Err(error) = self.lease.release().await {
            tracing::debug!(%error, "the lease was not released and ends by itself");
        }
        if let Err(error) = self.leases.tell().await {
            tracing::debug!(%error, "the others were not told");
        }
    }
}

fn table(at_ms: u64, look: Look) -> Table {
    let row = |lease: lease::Standing| Row {
        id: lease.coordinator.id,
        holder: lease.holder,
        address: lease.coordinator.address,
        takes: lease.part.takes,
        held: lease.part.held,
        serving: lease.part.serving,
        beat: lease.beat,
        present: Some(lease.present),
    };
    Table {
        at_ms,
        run_id: look.run_id,
        connection: look.connection,
        era: look.era_us.to_string(),
        age_ms: millis(look.age),
        rows: look.standing.into_iter().map(row).collect(),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
