//! What an agent is, before it runs.

use super::checkpoint::{Checkpoint, CheckpointError, CheckpointPolicy, Checkpointing, Restore, Restored};
use super::handler::{Handler, TaskError, erased};
use super::seat::{Answers, Question, answering};
use super::standing::{Callback, StatusChange};
use super::{Agent, Context};
use crate::mesh::Mesh;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use synod_protocol::command::{Delivery, RegisterAgent};
use synod_protocol::{Capability, Command, Error, Id, Incarnation};
use uuid::Uuid;

/// An agent in the making. What is wrong is told by [`AgentBuilder::build`].
pub struct AgentBuilder {
    agent_id: Result<Id, Error>,
    handlers: BTreeMap<Capability, Handler>,
    direct: Option<Handler>,
    invited: BTreeSet<Capability>,
    answers: Answers,
    concurrency: u32,
    labels: BTreeMap<String, String>,
    resources: BTreeMap<String, f64>,
    description: Option<String>,
    drain: Duration,
    grace: Duration,
    checkpointing: Option<Checkpointing>,
    restore: Option<Restore>,
    callbacks: Vec<Callback>,
    wrong: Option<Error>,
}

/// Why an agent cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Something that was said is not valid.
    #[error(transparent)]
    Invalid(#[from] Error),
    /// It can do nothing.
    #[error("agent {0} has no capability")]
    NoCapability(Id),
    /// Its work comes through Redis.
    #[error("an agent needs Redis: set SYNOD_REDIS_URL, or MeshConfig::redis")]
    NoRedis,
}

impl AgentBuilder {
    pub(super) fn new(agent_id: Result<Id, Error>) -> AgentBuilder {
        AgentBuilder {
            agent_id,
            handlers: BTreeMap::new(),
            direct: None,
            invited: BTreeSet::new(),
            answers: Answers::default(),
            concurrency: 1,
            labels: BTreeMap::new(),
            resources: BTreeMap::new(),
            description: None,
            drain: Duration::from_secs(30),
            grace: Duration::from_secs(5),
            checkpointing: None,
            restore: None,
            callbacks: Vec::new(),
            wrong: None,
        }
    }

    /// Can do this, and how: the handler takes the task's input and returns its output, both as JSON on the
    /// wire. An input that does not read as `I` fails the task for good.
    ///
    /// A handler must not block its thread for long: heartbeats share it. Work that does belongs into
    /// `tokio::task::spawn_blocking`.
    #[must_use]
    pub fn capability<I, O, H, F>(mut self, name: impl AsRef<str>, handler: H) -> AgentBuilder
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize,
        H: Fn(Context, I) -> F + Send + Sync + 'static,
        F: Future<Output = Result<O, TaskError>> + Send + 'static,
    {
        match name.as_ref().parse::<Capability>() {
            Ok(capability) => {
                if self.handlers.insert(capability, erased(handler)).is_some() {
                    self.refuse(Error::invalid(format!("capability {} has two handlers", name.as_ref())));
                }
            }
            Err(error) => self.refuse(error),
        }
        self
    }

    /// What to do with tasks that name this agent itself. Without it, the handler of its only capability
    /// does them; with several, they are declined.
    #[must_use]
    pub fn direct<I, O, H, F>(mut self, handler: H) -> AgentBuilder
    where
        I: DeserializeOwned + Send + 'static,
        O: Serialize,
        H: Fn(Context, I) -> F + Send + Sync + 'static,
        F: Future<Output = Result<O, TaskError>> + Send + 'static,
    {
        self.direct = Some(erased(handler));
        self
    }

    /// What to answer when a negotiation asks this agent for such a thing: `ballot`, `bid`, …. `None` abstains; an error is
    /// logged and leaves the round without an answer of this agent. It runs beside the work and takes none of its room, until
    /// the round closes.
    #[must_use]
    pub fn answers<O, H, F>(mut self, kind: impl Into<String>, handler: H) -> AgentBuilder
    where
        O: Serialize,
        H: Fn(Question) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<O>, TaskError>> + Send + 'static,
    {
        if let Err(error) = self.answers.put(kind.into(), None, answering(handler)) {
            self.refuse(error);
        }
        self
    }

    /// Answers in a role, to whatever protocol asks for this `kind`, or to one alone.
    pub(crate) fn role<R, O, H, F>(
        mut self,
        (kind, protocol): (&str, Option<&'static str>),
        role: &Arc<R>,
        ask: H,
    ) -> AgentBuilder
    where
        R: Send + Sync + 'static,
        O: Serialize,
        H: Fn(Arc<R>, Question) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Option<O>, TaskError>> + Send + 'static,
    {
        let role = role.clone();
        let handler = answering(move |question| ask(role.clone(), question));
        if let Err(error) = self.answers.put(kind.to_owned(), protocol, handler) {
            self.refuse(error);
        }
        self
    }

    /// Can be invited to negotiations by this capability, and does no tasks for it: those are declined. Whoever has a handler
    /// for a capability is invited by it anyway.
    #[must_use]
    pub fn invited_by(mut self, capability: impl AsRef<str>) -> AgentBuilder {
        match capability.as_ref().parse::<Capability>() {
            Ok(capability) => _ = self.invited.insert(capability),
            Err(error) => self.refuse(error),
        }
        self
    }

    /// Attempts at a time, 1 to 10,000; 1 by default.
    #[must_use]
    pub fn concurrency(mut self, attempts: u32) -> AgentBuilder {
        self.concurrency = attempts;
        self
    }

    /// With a label to be matched by.
    #[must_use]
    pub fn label(mut self, name: impl Into<String>, value: impl Into<String>) -> AgentBuilder {
        self.labels.insert(name.into(), value.into());
        self
    }

    /// With these labels.
    #[must_use]
    pub fn labels<N, V>(mut self, labels: impl IntoIterator<Item = (N, V)>) -> AgentBuilder
    where
        N: Into<String>,
        V: Into<String>,
    {
        self.labels.extend(labels.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// With so much of something, such as 1 `gpu`.
    #[must_use]
    pub fn resource(mut self, name: impl Into<String>, amount: f64) -> AgentBuilder {
        self.resources.insert(name.into(), amount);
        self
    }

    /// For people.
    #[must_use]
    pub fn description(mut self, text: impl Into<String>) -> AgentBuilder {
        self.description = Some(text.into());
        self
    }

    /// How long what runs may take to finish when the agent is asked to end; 30 s by default. What has not
    /// finished then is given to others.
    #[must_use]
    pub fn drain_limit(mut self, limit: Duration) -> AgentBuilder {
        self.drain = limit;
        self
    }

    /// How long a cancelled handler may take to end by itself before it is aborted; 5 s by default.
    #[must_use]
    pub fn cancel_grace(mut self, grace: Duration) -> AgentBuilder {
        self.grace = grace;
        self
    }

    /// Saves the agent's own context by this policy; `capture` yields it, as bytes or as JSON. It runs beside the work, on a
    /// thread of its own, and may block for up to 10 s.
    #[must_use]
    pub fn checkpoint(
        mut self,
        policy: CheckpointPolicy,
        capture: impl Fn() -> Result<Checkpoint, CheckpointError> + Send + Sync + 'static,
    ) -> AgentBuilder {
        if let Err(error) = policy.check() {
            self.refuse(error);
        }
        self.checkpointing = Some(Checkpointing { policy, capture: Arc::new(capture), restore: None });
        self
    }

    /// Takes in the last good context of an earlier process start, before the agent is given any work; not called where
    /// there is none. A context that it refuses is skipped for the one before, as a damaged one is.
    #[must_use]
    pub fn restore<E: Display>(
        mut self,
        restore: impl Fn(&Restored) -> Result<(), E> + Send + Sync + 'static,
    ) -> AgentBuilder {
        self.restore = Some(Arc::new(move |restored| restore(restored).map_err(|error| error.to_string())));
        self
    }

    /// Called for every change of its status or health, whoever asked for it: an operator, the agent itself, the mesh. One
    /// after the other, in their order, beside its work; up to 256 wait, and a change that finds no place is left out and
    /// counted in the next. Several callbacks are called in the order in which they were given.
    #[must_use]
    pub fn on_status_change<C, F>(mut self, callback: C) -> AgentBuilder
    where
        C: Fn(StatusChange) -> F + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        self.callbacks.push(Arc::new(move |change| Box::pin(callback(change))));
        self
    }

    /// The agent, not yet running.
    ///
    /// # Errors
    /// See [`BuildError`].
    pub fn build(self, mesh: &Mesh) -> Result<Agent, BuildError> {
        let agent_id = self.agent_id?;
        if let Some(wrong) = self.wrong {
            return Err(wrong.into());
        }
        let capabilities: BTreeSet<Capability> = self.handlers.keys().cloned().chain(self.invited).collect();
        if capabilities.is_empty() {
            return Err(BuildError::NoCapability(agent_id));
        }
        let checkpointing = match (self.checkpointing, self.restore) {
            (Some(what), restore) => Some(Checkpointing { restore, ..what }),
            (None, Some(_)) => return Err(Error::invalid("restore needs a checkpoint to be said too").into()),
            (None, None) => None,
        };
        let redis = mesh.redis().ok_or(BuildError::NoRedis)?.clone();
        let some = |map: BTreeMap<_, _>| (!map.is_empty()).then_some(map);
        let register = RegisterAgent {
            agent_id,
            // Another one is drawn with each start.
            incarnation: Incarnation::from(Uuid::now_v7()),
            capabilities: capabilities.into_iter().collect(),
            max_concurrency: Some(self.concurrency),
            labels: some(self.labels),
            resources: (!self.resources.is_empty()).then_some(self.resources),
            delivery: Some(Delivery::Redis),
            description: self.description,
        };
        Command::RegisterAgent(register.clone()).check()?;
        let only = self.handlers.values().next().filter(|_| self.handlers.len() == 1).cloned();
        Ok(Agent {
            mesh: mesh.clone(),
            redis,
            register,
            direct: self.direct.or(only),
            handlers: self.handlers,
            answers: Arc::new(self.answers),
            drain: self.drain,
            grace: self.grace,
            checkpointing,
            callbacks: self.callbacks,
        })
    }

    fn refuse(&mut self, error: Error) {
        self.wrong.get_or_insert(error);
    }
}
