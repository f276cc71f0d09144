//! Snapshots of the mesh: taken on demand, on an interval, and by themselves at critical moments.
//!
//! ```text
//!   POST /v1/snapshots --------------------+
//!   interval: whose turn it is, by Redis --+--> collect (every owner tells its shards) --> Redis
//!   critical(cause): one per kind and 10 s +
//! ```
//!
//! Nothing waits for a snapshot and nothing is decided by one. A critical moment only leaves a note; what cannot be
//! taken in time (Redis away) is given up and said.

mod collect;
mod compare;

pub(crate) use collect::part_here;
pub(crate) use compare::{Comparison, compare};

use crate::Shared;
use crate::fleet::wall_clock;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use synod_fleet::AgentKey;
use synod_infra::redis::snapshots as store;
use synod_protocol::command::PauseMode;
use synod_protocol::snapshot::{AgentCounts, AgentMoment, CauseKind, SnapshotCause, SnapshotRecord};
use synod_protocol::view::{AgentStatus, DirectoryEntry, Pauses};
use synod_protocol::{Code, Error, Id, Workspace};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Agents in one field of a snapshot in Redis, and on one page of an answer at most.
pub(crate) const AGENTS_PER_FIELD: usize = 1_000;
/// One snapshot of each kind and workspace at most in this time.
const PAUSE: Duration = Duration::from_secs(10);
/// Kinds and workspaces that may wait for their snapshot.
const PENDING: usize = 256;
/// After a failure it is tried again so soon, and given up after so many tries.
const AGAIN: Duration = Duration::from_secs(1);
const TRIES: u32 = 30;

/// How much of snapshots is kept, and how often one is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotPolicy {
    /// One of everything so often; `None` for never. At least 1 s.
    pub every: Option<Duration>,
    /// How many are kept, of each workspace and of those that cover all: 1 to 1,000.
    pub count: u64,
    /// How many bytes they may take in Redis, about, of each workspace and of those that cover all.
    pub bytes: u64,
    /// For how long.
    pub kept: Duration,
}

impl Default for SnapshotPolicy {
    fn default() -> Self {
        let week = Duration::from_secs(7 * 24 * 3_600);
        SnapshotPolicy { every: None, count: 100, bytes: 64 << 20, kept: week }
    }
}

impl SnapshotPolicy {
    fn shelf(&self) -> store::Shelf {
        store::Shelf { count: self.count.clamp(1, 1_000), bytes: self.bytes, kept: self.kept }
    }
}

/// A critical moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// An agent's status became `error`.
    AgentError(AgentKey),
    /// A breaker of this agent opened; why, in a sentence.
    BreakerOpened(AgentKey, String),
    /// A shard was taken over from a coordinator that is gone.
    TakeOver { shard: u32, from: String },
    /// Everything was told to stop, in one workspace or in all.
    EmergencyStop(Option<Workspace>),
}

impl Cause {
    fn kind(&self) -> CauseKind {
        match self {
            Cause::AgentError(_) => CauseKind::AgentError,
            Cause::BreakerOpened(..) => CauseKind::BreakerOpened,
            Cause::TakeOver { .. } => CauseKind::TakeOver,
            Cause::EmergencyStop(_) => CauseKind::EmergencyStop,
        }
    }

    /// Whom it concerns: what happens to one workspace's agent is no other's business.
    fn workspace(&self) -> Option<&Workspace> {
        match self {
            Cause::AgentError(key) | Cause::BreakerOpened(key, _) => Some(&key.workspace),
            Cause::TakeOver { .. } => None,
            Cause::EmergencyStop(workspace) => workspace.as_ref(),
        }
    }

    fn detail(&self) -> String {
        match self {
            Cause::AgentError(key) => format!("agent {} is in error", key.agent),
            Cause::BreakerOpened(key, why) => format!("a breaker of agent {} opened: {why}", key.agent),
            Cause::TakeOver { shard, from } => format!("shard {shard} was taken over from {from}"),
            Cause::EmergencyStop(_) => "emergency stop".to_owned(),
        }
    }
}

/// Of which one snapshot is taken in a pause.
type Turn = (CauseKind, Option<Workspace>);

/// Reasons of one kind that came together.
struct Pending {
    detail: String,
    times: u64,
    due: Instant,
    /// Somebody else had just taken one when we asked first.
    waited: bool,
    tries: u32,
}

/// What is to be taken, and who owned which shard before us.
#[derive(Default)]
pub(crate) struct Snapshots {
    pending: Mutex<BTreeMap<Turn, Pending>>,
    wake: Notify,
    owners: Mutex<BTreeMap<u32, String>>,
}

impl Snapshots {
    /// Another coordinator is seen to own a shard.
    pub(crate) fn owned_by(&self, shard: u32, owner: &str) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.get(&shard).is_none_or(|known| known != owner) {
            owners.insert(shard, owner.to_owned());
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Turn, Pending>> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_due(&self) -> Option<Instant> {
        self.lock().values().map(|pending| pending.due).min()
    }

    fn take_due(&self, now: Instant) -> Vec<(Turn, Pending)> {
        self.lock().extract_if(.., |_, pending| pending.due <= now).collect()
    }

    /// Puts back what could not be taken now, with what has come meanwhile.
    fn put_back(&self, turn: Turn, mut pending: Pending) {
        let mut all = self.lock();
        if let Some(newer) = all.remove(&turn) {
            (pending.detail, pending.times) = (newer.detail, pending.times + newer.times);
            // What is newer than our first question is not covered by what was taken then.
            pending.waited = false;
        }
        all.insert(turn, pending);
    }
}

/// Notes a critical moment; its snapshot is taken in the background, together with others of its kind.
pub(crate) fn critical(shared: &Shared, cause: &Cause) {
    let turn = (cause.kind(), cause.workspace().cloned());
    let mut pending = shared.snapshots.lock();
    if pending.len() >= PENDING && !pending.contains_key(&turn) {
        tracing::warn!(kind = cause.kind().as_str(), "too many snapshots wait; none is taken of this moment");
        return;
    }
    let (detail, due) = (cause.detail(), Instant::now());
    let noted = pending.entry(turn).or_insert(Pending {
        detail: String::new(),
        times: 0,
        due,
        waited: false,
        tries: 0,
    });
    (noted.detail, noted.times) = (detail, noted.times + 1);
    drop(pending);
    shared.snapshots.wake.notify_one();
}

/// The ledger says what is paused: that everything halts, in a workspace or in all, is a critical moment.
pub(crate) fn halted(shared: &Shared, pauses: &Pauses) {
    let newest = pauses.pauses.iter().max_by_key(|pause| pause.since);
    if let Some(pause) = newest.filter(|pause| pause.mode == PauseMode::Halt && pause.capability.is_none()) {
        critical(shared, &Cause::EmergencyStop(pause.workspace.clone()));
    }
}

/// The ledger says something of an agent of ours: that it is in error is a critical moment.
pub(crate) fn heard(shared: &Shared, entry: &DirectoryEntry) {
    if entry.status != AgentStatus::Error || entry.gone {
        return;
    }
    let key = AgentKey { workspace: entry.workspace.clone(), agent: entry.agent_id.clone() };
    let before = shared.fleet.lock().registry.get(&key).map(|member| member.entry.status);
    if before != Some(AgentStatus::Error) {
        critical(shared, &Cause::AgentError(key));
    }
}

/// A shard is ours now: that its last owner is gone is a critical moment.
pub(crate) fn taken(shared: &Shared, shard: u32) {
    let from = shared.snapshots.owners.lock().unwrap_or_else(PoisonError::into_inner).remove(&shard);
    let Some(from) = from else { return };
    let is_there = shared.tenures.others().keys().any(|id| id.as_str() == from);
    if !is_there && from != shared.config.id.as_str() {
        critical(shared, &Cause::TakeOver { shard, from });
    }
}

/// Takes what is noted, and one on each interval, until `stop`.
pub(crate) async fn keep(shared: Arc<Shared>, stop: CancellationToken) {
    let every = shared.config.snapshots.every.map(|every| every.max(Duration::from_secs(1)));
    let far = Duration::from_secs(3_600);
    let mut tick_at = every.map(|every| Instant::now() + every);
    loop {
        let due = shared.snapshots.next_due().into_iter().chain(tick_at).min();
        tokio::select! {
            () = stop.cancelled() => return,
            () = shared.snapshots.wake.notified() => {}
            () = tokio::time::sleep_until(due.unwrap_or_else(|| Instant::now() + far)) => {}
        }
        let now = Instant::now();
        if let (Some(at), Some(every)) = (tick_at, every)
            && at <= now
        {
            tick_at = Some(now + every);
            interval(&shared, every).await;
        }
        for (turn, pending) in shared.snapshots.take_due(now) {
            attempt(&shared, turn, pending).await;
        }
    }
}

/// One of everything, if no other coordinator has just taken it.
async fn interval(shared: &Shared, every: Duration) {
    let store = store::Snapshots::new(shared.redis.clone());
    // A little less than the interval: who comes next is not to miss it by the time that this took.
    match store.turn(CauseKind::Interval.as_str(), every.mul_f64(0.9)).await {
        Ok(Some(_)) => return,
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(%error, "no snapshot on the interval");
            return;
        }
    }
    let cause = SnapshotCause { kind: CauseKind::Interval, detail: None, times: 1 };
    if let Err(error) = take(shared, Request::by_itself(None, cause)).await {
        tracing::warn!(%error, "no snapshot on the interval");
    }
}

async fn attempt(shared: &Shared, turn: Turn, mut pending: Pending) {
    let name = format!("{}/{}", turn.0.as_str(), turn.1.as_ref().map_or("*", Workspace::as_str));
    let store = store::Snapshots::new(shared.redis.clone());
    let why: Error = match store.turn(&name, PAUSE).await {
        Ok(Some(_)) if pending.waited => {
            tracing::debug!(name, "another coordinator has taken one since");
            return;
        }
        Ok(Some(wait)) => {
            (pending.due, pending.waited) = (Instant::now() + wait, true);
            shared.snapshots.put_back(turn, pending);
            return;
        }
        Ok(None) => {
            let detail = Some(pending.detail.clone());
            let cause = SnapshotCause { kind: turn.0, detail, times: pending.times };
            match take(shared, Request::by_itself(turn.1.clone(), cause)).await {
                Ok((taken, _)) => {
                    tracing::info!(name, id = %taken.snapshot_id, why = pending.detail, "a snapshot of a critical moment");
                    return;
                }
                Err(error) => error,
            }
        }
        Err(error) => error.into(),
    };
    pending.tries += 1;
    if pending.tries >= TRIES {
        tracing::warn!(name, error = %why, "no snapshot of a critical moment: {}", pending.detail);
        return;
    }
    pending.due = Instant::now() + AGAIN;
    shared.snapshots.put_back(turn, pending);
}

/// What is to be taken.
pub(crate) struct Request {
    pub(crate) id: Id,
    /// Whose agents; `None` for everybody's.
    pub(crate) workspace: Option<Workspace>,
    pub(crate) cause: SnapshotCause,
    pub(crate) label: Option<String>,
    /// Fingerprint of what was asked for, where it may be repeated.
    pub(crate) body: Option<String>,
}

impl Request {
    fn by_itself(workspace: Option<Workspace>, cause: SnapshotCause) -> Request {
        let id = Id::made("snap_", uuid::Uuid::now_v7());
        Request { id, workspace, cause, label: None, body: None }
    }
}

/// Takes a snapshot; `false` if one of this id was there before, which is answered then.
///
/// # Errors
/// `unavailable`: Redis. That an owner does not answer is no error: the snapshot says so.
pub(crate) async fn take(shared: &Shared, request: Request) -> Result<(SnapshotRecord, bool), Error> {
    let store = store::Snapshots::new(shared.redis.clone());
    let policy = shared.config.snapshots;
    let (taken_at, began) = (wall_clock(), Instant::now());
    let collected = collect::everything(shared, request.workspace.as_ref()).await;
    let span_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
    let (mut tasks, mut waiting) = (BTreeMap::new(), 0);
    for shard in &collected.shards {
        waiting += shard.waiting;
        for (status, count) in &shard.tasks {
            *tasks.entry(*status).or_insert(0) += count;
        }
    }
    let counted =
        |(workspace, agents): (&Workspace, &Vec<AgentMoment>)| (workspace.clone(), AgentCounts::of(agents));
    let record = SnapshotRecord {
        snapshot_id: request.id.clone(),
        workspace: request.workspace.clone(),
        cause: request.cause,
        label: request.label,
        taken_at,
        span_us,
        expires_at: taken_at.plus_millis(u64::try_from(policy.kept.as_millis()).unwrap_or(u64::MAX)),
        parts: collected.parts,
        missing: collected.missing,
        tasks,
        waiting,
        shards: collected.shards,
        agents: collected.agents.iter().map(counted).collect(),
        body: request.body,
    };
    let mut fields = Vec::new();
    for (workspace, agents) in &collected.agents {
        for (number, some) in agents.chunks(AGENTS_PER_FIELD).enumerate() {
            fields.push((workspace.clone(), number, AgentMoment::array(some).map_err(|e| internal(&e))?));
        }
    }
    let head = serde_json::to_string(&record).map_err(|e| internal(&e))?;
    let new = store::NewSnapshot { id: request.id.clone(), workspace: request.workspace, head, fields };
    match store.keep(&new, &policy.shelf()).await? {
        store::Kept::Now => Ok((record, true)),
        store::Kept::Before => {
            let before = read(shared, &request.id).await?;
            before.map(|before| (before, false)).ok_or_else(|| Error::unavailable("Redis: it has just gone"))
        }
    }
}

/// A snapshot without its agents, if it is there.
///
/// # Errors
/// `unavailable`; `internal` if it does not read.
pub(crate) async fn read(shared: &Shared, id: &Id) -> Result<Option<SnapshotRecord>, Error> {
    let head = store::Snapshots::new(shared.redis.clone()).head(id).await?;
    head.map(|head| serde_json::from_str(&head).map_err(|e| internal(&e))).transpose()
}

/// Some agents of a workspace in a snapshot, a field of [`AGENTS_PER_FIELD`] at a time.
///
/// # Errors
/// As [`read`].
pub(crate) async fn agents(
    shared: &Shared,
    id: &Id,
    workspace: &Workspace,
    number: usize,
) -> Result<Vec<AgentMoment>, Error> {
    let text = store::Snapshots::new(shared.redis.clone()).agents(id, workspace, number).await?;
    text.map_or(Ok(Vec::new()), |text| AgentMoment::of_array(&text).map_err(|e| internal(&e)))
}

fn internal(error: &serde_json::Error) -> Error {
    Error::new(Code::Internal, format!("a snapshot does not read, or cannot be written: {error}"))
}
