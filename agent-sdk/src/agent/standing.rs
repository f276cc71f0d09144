//! How an agent stands with the mesh: its status and health as it last heard, and who is told when they change.
//!
//! ```text
//!   inbox: synod.agent.status_changed --+
//!   GET /v1/agents/{id}, every 5 s -----+--> Standing --watch--> the run: pauses, ends, restarts
//!   its own attempts: idle, running ----+        `--queue of 256--> on_status_change, one after the other
//! ```
//!
//! What the ledger says carries a revision; an older one changes nothing. The loop that takes work never waits for a
//! callback: when the queue is full the change is left out, and the next that is told says how many were.

use futures::future::BoxFuture;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use synod_protocol::Incarnation;
use synod_protocol::command::Recovery;
use synod_protocol::event::AgentChanged;
use synod_protocol::view::{Agent, AgentStatus, Health};
use tokio::sync::{mpsc, watch};

/// Changes that may wait for the callbacks.
const QUEUE: usize = 256;

/// A change of an agent's status or health.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StatusChange {
    /// What it did before.
    pub old_status: AgentStatus,
    /// What it does now.
    pub status: AgentStatus,
    /// How it stood before.
    pub old_health: Health,
    /// How it stands now.
    pub health: Health,
    /// Why, where somebody said so.
    pub reason: Option<String>,
    /// Changes between the one told before and this, that were left out because the callbacks were too slow.
    pub missed: u64,
}

/// Called for each change.
pub(super) type Callback = Arc<dyn Fn(StatusChange) -> BoxFuture<'static, ()> + Send + Sync>;

/// What the run must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Now {
    /// By the ledger: never `Running`.
    pub(super) status: AgentStatus,
    /// Whether it is in error and to be started anew.
    pub(super) restarts: bool,
}

impl Now {
    /// Whether it may begin with what it was given.
    pub(super) fn may_begin(self) -> bool {
        matches!(self.status, AgentStatus::Idle | AgentStatus::Running)
    }
}

/// How one agent stands, over all its process starts in this process; a cheap clone.
#[derive(Clone)]
pub(super) struct Standing {
    inside: Arc<Mutex<Inside>>,
    now: watch::Sender<Now>,
}

struct Inside {
    incarnation: Incarnation,
    /// Of the newest word of the ledger that was heard.
    revision: u64,
    status: AgentStatus,
    health: Health,
    recovery: Option<Recovery>,
    busy: bool,
    /// As it was last told.
    told: (AgentStatus, Health),
    missed: u64,
    queue: Option<mpsc::Sender<StatusChange>>,
}

impl Standing {
    /// A standing of an agent that is about to register, and the task that calls back; it ends when the standing is closed.
    pub(super) fn new(incarnation: Incarnation, callbacks: Vec<Callback>) -> (Standing, Option<Listening>) {
        let (queue, changes) = mpsc::channel(QUEUE);
        let listening = (!callbacks.is_empty()).then(|| Listening(tokio::spawn(call(callbacks, changes))));
        let inside = Inside {
            incarnation,
            revision: 0,
            status: AgentStatus::Idle,
            health: Health::Healthy,
            recovery: None,
            busy: false,
            told: (AgentStatus::Idle, Health::Healthy),
            missed: 0,
            queue: listening.is_some().then_some(queue),
        };
        let now = watch::channel(Now { status: AgentStatus::Idle, restarts: false }).0;
        (Standing { inside: Arc::new(Mutex::new(inside)), now }, listening)
    }

    /// Held for a few assignments only.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes when what the run must know does.
    pub(super) fn watch(&self) -> watch::Receiver<Now> {
        self.now.subscribe()
    }

    /// The process start in force.
    pub(super) fn incarnation(&self) -> Incarnation {
        self.lock().incarnation.clone()
    }

    /// What it does, and how it stands.
    pub(super) fn seen(&self) -> (AgentStatus, Health) {
        self.lock().seen()
    }

    /// A new process start begins: as the ledger has it, idle and healthy once it is registered.
    pub(super) fn restarted(&self, incarnation: Incarnation) {
        let mut inside = self.lock();
        (inside.incarnation, inside.busy) = (incarnation, false);
        inside.set(AgentStatus::Idle, Health::Healthy, None);
        inside.tell(Some("it was started anew".to_owned()));
        self.publish(&inside);
    }

    /// A word of the ledger from the inbox.
    pub(super) fn heard(&self, changed: &AgentChanged) {
        let mut inside = self.lock();
        if changed.incarnation != inside.incarnation || changed.revision < inside.revision {
            return;
        }
        inside.revision = changed.revision;
        let recovery = changed.recovery.or(inside.recovery);
        inside.set(changed.status, changed.health, recovery);
        inside.tell(changed.reason.clone());
        self.publish(&inside);
    }

    /// The mesh's picture of it.
    pub(super) fn saw(&self, agent: &Agent) {
        let mut inside = self.lock();
        if agent.incarnation != inside.incarnation || agent.revision < inside.revision {
            return;
        }
        inside.revision = agent.revision;
        // At work is what we know better ourselves.
        let status = if agent.status == AgentStatus::Running { AgentStatus::Idle } else { agent.status };
        inside.set(status, agent.health, agent.recovery);
        inside.tell(None);
        self.publish(&inside);
    }

    /// Whether it holds any work.
    pub(super) fn busy(&self, busy: bool) {
        let mut inside = self.lock();
        if inside.busy != busy {
            inside.busy = busy;
            let reason = if busy { "it is at work" } else { "it has nothing more to do" };
            inside.tell(Some(reason.to_owned()));
        }
    }

    /// It has left in good order.
    pub(super) fn left(&self) {
        let mut inside = self.lock();
        let health = inside.health;
        inside.busy = false;
        inside.set(AgentStatus::Completed, health, None);
        inside.tell(Some("it has left".to_owned()));
    }

    /// Nothing more is told.
    pub(super) fn close(&self) {
        self.lock().queue = None;
    }

    fn publish(&self, inside: &Inside) {
        let restarts = inside.status == AgentStatus::Error && inside.recovery == Some(Recovery::Restart);
        let now = Now { status: inside.status, restarts };
        self.now.send_if_modified(|known| std::mem::replace(known, now) != now);
    }
}

impl Inside {
    fn set(&mut self, status: AgentStatus, health: Health, recovery: Option<Recovery>) {
        (self.status, self.health) = (status, health);
        self.recovery = recovery.filter(|_| status == AgentStatus::Error);
    }

    fn seen(&self) -> (AgentStatus, Health) {
        let at_work = self.busy && self.status == AgentStatus::Idle;
        (if at_work { AgentStatus::Running } else { self.status }, self.health)
    }

    fn tell(&mut self, reason: Option<String>) {
        let (seen, told) = (self.seen(), self.told);
        if seen == told {
            return;
        }
        self.told = seen;
        let Some(queue) = &self.queue else { return };
        let change = StatusChange {
            old_status: told.0,
            status: seen.0,
            old_health: told.1,
            health: seen.1,
            reason,
            missed: self.missed,
        };
        match queue.try_send(change) {
            Ok(()) => self.missed = 0,
            Err(_) => self.missed += 1,
        }
    }
}

/// The task that calls back.
pub(super) struct Listening(tokio::task::JoinHandle<()>);

impl Listening {
    /// Waits until all that was told has been heard, no longer than `limit`. The standing must be closed.
    pub(super) async fn end(mut self, limit: std::time::Duration) {
        if tokio::time::timeout(limit, &mut self.0).await.is_err() {
            tracing::warn!("a callback on a change of status did not end in time");
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn call(callbacks: Vec<Callback>, mut changes: mpsc::Receiver<StatusChange>) {
    while let Some(change) = changes.recv().await {
        for callback in &callbacks {
            // On a task of its own: its panic is its own.
            if let Err(error) = tokio::spawn(callback(change.clone())).await {
                tracing::error!(%error, ?change, "a callback on a change of status panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::sync::Semaphore;

    const OURS: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10";
    const OTHER: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c11";

    fn changed(incarnation: &str, revision: u64, status: AgentStatus) -> AgentChanged {
        AgentChanged {
            agent_id: "a".parse().unwrap(),
            incarnation: incarnation.parse().unwrap(),
            status,
            health: Health::Healthy,
            reason: Some(format!("r{revision}")),
            revision,
            recovery: None,
            resume_at: None,
        }
    }

    /// A standing whose callback notes what it hears, once it is let.
    fn listened() -> (Standing, Listening, Arc<Mutex<Vec<StatusChange>>>, Arc<Semaphore>) {
        let (heard, gate) = (Arc::new(Mutex::new(Vec::new())), Arc::new(Semaphore::new(0)));
        let (notes, waits) = (heard.clone(), gate.clone());
        let callback: Callback = Arc::new(move |change| {
            let (notes, waits) = (notes.clone(), waits.clone());
            Box::pin(async move {
                waits.acquire().await.unwrap().forget();
                notes.lock().unwrap().push(change);
            })
        });
        let (standing, listening) = Standing::new(OURS.parse().unwrap(), vec![callback]);
        (standing, listening.unwrap(), heard, gate)
    }

    #[tokio::test]
    async fn changes_are_told_in_order_and_older_words_change_nothing() {
        let (standing, listening, heard, gate) = listened();
        gate.add_permits(100);
        let watch = standing.watch();
        standing.busy(true);
        standing.heard(&changed(OURS, 3, AgentStatus::Paused));
        standing.heard(&changed(OURS, 2, AgentStatus::Idle));
        standing.heard(&changed(OTHER, 9, AgentStatus::Completed));
        assert!(!watch.borrow().may_begin());
        standing.busy(false);
        standing.heard(&changed(OURS, 4, AgentStatus::Idle));
        assert!(watch.borrow().may_begin());
        standing.close();
        listening.end(Duration::from_secs(10)).await;
        let told: Vec<_> = heard.lock().unwrap().iter().map(|c| (c.old_status, c.status)).collect();
        use AgentStatus::{Idle, Paused, Running};
        assert_eq!(told, [(Idle, Running), (Running, Paused), (Paused, Idle)]);
    }

    #[tokio::test]
    async fn a_slow_callback_holds_nobody_up_and_hears_how_many_it_missed() {
        let (standing, listening, heard, gate) = listened();
        let flips = QUEUE as u64 + 100;
        for n in 0..flips {
            standing.busy(n % 2 == 0);
        }
        gate.add_permits(QUEUE + 200);
        let waiting = async {
            while heard.lock().unwrap().is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), waiting).await.expect("the first is heard");
        standing.heard(&changed(OURS, 1, AgentStatus::Paused));
        standing.close();
        listening.end(Duration::from_secs(10)).await;
        let heard = heard.lock().unwrap();
        let last = heard.last().unwrap();
        assert_eq!(last.status, AgentStatus::Paused);
        assert_eq!(last.missed + heard.len() as u64, flips + 1, "each was told or counted");
        assert!(last.missed > 0);
    }

    #[tokio::test]
    async fn a_callback_that_panics_is_called_again() {
        let count = Arc::new(Mutex::new(0));
        let calls = count.clone();
        let callback: Callback = Arc::new(move |_| {
            let calls = calls.clone();
            Box::pin(async move {
                *calls.lock().unwrap() += 1;
                panic!("as planned");
            })
        });
        let (standing, listening) = Standing::new(OURS.parse().unwrap(), vec![callback]);
        standing.busy(true);
        standing.busy(false);
        standing.close();
        listening.unwrap().end(Duration::from_secs(10)).await;
        assert_eq!(count.lock().map_or_else(|e| *e.into_inner(), |n| *n), 2);
    }

    #[tokio::test]
    async fn a_restart_is_asked_for_once() {
        let (standing, _) = Standing::new(OURS.parse().unwrap(), Vec::new());
        let watch = standing.watch();
        let error =
            AgentChanged { recovery: Some(Recovery::Restart), ..changed(OURS, 1, AgentStatus::Error) };
        standing.heard(&error);
        assert!(watch.borrow().restarts);
        standing.restarted(OTHER.parse().unwrap());
        standing.heard(&error);
        assert!(!watch.borrow().restarts, "it was about the process start before");
    }
}
