//! An agent as an entity of its shard: what is durable of its life.

use serde::{Deserialize, Serialize};
use synod_fleet::AgentKey;
use synod_protocol::breaker::{BreakerOrdered, OrderBreaker, StandingOrder};
use synod_protocol::command::{AgentChange, ChangeAgent, RegisterAgent};
use synod_protocol::event::{AgentChanged, AgentRegistered, What};
use synod_protocol::view::{Agent, AgentStatistics, AgentStatus, Breaker, DirectoryEntry, Health};
use synod_protocol::{Code, Error, Incarnation, Timestamp};

/// Process starts that are remembered as over, so that none of them comes back.
const SUPERSEDED_LIMIT: usize = 32;

/// What the ledger knows of an agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentState {
    /// Its newest registration.
    pub registered: AgentRegistered,
    /// When that was.
    pub registered_at: Timestamp,
    /// What it is doing; `Running` is never durable, it follows from the attempts it holds.
    pub status: AgentStatus,
    /// Whether it can be counted on.
    pub health: Health,
    /// Whether it left.
    pub gone: bool,
    /// Whether it was asked to take no more work; being lost for a while does not undo that.
    draining: bool,
    /// Earlier process starts, newest last.
    superseded: Vec<Incarnation>,
    /// What operators have ordered of its breakers, which no process start undoes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    breaker_orders: Vec<StandingOrder>,
}

impl AgentState {
    /// The state after a first registration.
    pub(crate) fn new(event: &AgentRegistered, now: Timestamp) -> AgentState {
        AgentState {
            registered: event.clone(),
            registered_at: now,
            status: event.status,
            health: event.health,
            gone: false,
            draining: event.health == Health::Draining,
            superseded: Vec::new(),
            breaker_orders: Vec::new(),
        }
    }

    /// The state after an event; total.
    pub(crate) fn apply(&mut self, what: &What, now: Timestamp) {
        match what {
            What::AgentRegistered(event) => {
                if event.incarnation != self.registered.incarnation {
                    self.superseded.push(self.registered.incarnation.clone());
                    let over = self.superseded.len().saturating_sub(SUPERSEDED_LIMIT);
                    self.superseded.drain(..over);
                }
                self.breaker_orders.retain(|standing| {
                    standing
                        .capability
                        .as_ref()
                        .is_none_or(|capability| event.capabilities.contains(capability))
                });
                self.registered = event.clone();
                self.registered_at = now;
                (self.status, self.health, self.gone) = (event.status, event.health, false);
            }
            What::AgentDeregistered(event) => {
                (self.status, self.health, self.gone) = (event.status, event.health, true);
            }
            What::AgentLost(event) | What::AgentStatusChanged(event) => {
                (self.status, self.health) = (event.status, event.health);
            }
            What::AgentBreakerOrdered(event) => {
                self.breaker_orders.retain(|standing| standing.capability != event.capability);
                let (capability, order) = (event.capability.clone(), event.order);
                self.breaker_orders.push(StandingOrder { capability, order, at: now });
            }
            _ => {}
        }
        match self.health {
            Health::Draining => self.draining = true,
            Health::Healthy => self.draining = false,
            Health::Suspected | Health::Lost => {}
        }
    }

    /// The health of an agent that is heard of.
    fn alive(&self) -> Health {
        if self.draining { Health::Draining } else { Health::Healthy }
    }

    /// Its process start.
    pub fn incarnation(&self) -> &Incarnation {
        &self.registered.incarnation
    }

    /// Whether this process start of it is over for good.
    pub fn is_superseded(&self, incarnation: &Incarnation) -> bool {
        self.superseded.contains(incarnation)
    }

    /// What the directory says of it.
    pub fn directory_entry(&self, key: &AgentKey) -> DirectoryEntry {
        let r = &self.registered;
        DirectoryEntry {
            agent_id: key.agent.clone(),
            workspace: key.workspace.clone(),
            incarnation: r.incarnation.clone(),
            status: self.status,
            health: self.health,
            capabilities: r.capabilities.clone(),
            max_concurrency: r.max_concurrency,
            labels: r.labels.clone(),
            resources: r.resources.clone(),
            delivery: r.delivery.clone(),
            description: r.description.clone(),
            registered_at: self.registered_at,
            breaker_orders: self.breaker_orders.clone(),
            gone: self.gone,
        }
    }

    /// As a reader sees it, without what is volatile.
    pub fn view(&self, key: &AgentKey) -> Agent {
        let entry = self.directory_entry(key);
        Agent {
            agent_id: entry.agent_id,
            workspace: entry.workspace,
            incarnation: entry.incarnation,
            status: entry.status,
            health: entry.health,
            capabilities: entry.capabilities,
            max_concurrency: entry.max_concurrency,
            in_flight: 0,
            breaker: Breaker::Closed,
            breakers: Vec::new(),
            labels: entry.labels,
            resources: entry.resources,
            delivery: entry.delivery,
            description: entry.description,
            statistics: AgentStatistics::default(),
            registered_at: entry.registered_at,
            last_seen_at: entry.registered_at,
        }
    }

    fn changed(&self, status: AgentStatus, health: Health, reason: Option<String>) -> AgentChanged {
        AgentChanged {
            agent_id: self.registered.agent_id.clone(),
            incarnation: self.registered.incarnation.clone(),
            status,
            health,
            reason,
        }
    }
}

/// What a registration does.
pub(crate) fn register(known: Option<&AgentState>, command: &RegisterAgent) -> Result<Vec<What>, Error> {
    let mut event = AgentRegistered {
        agent_id: command.agent_id.clone(),
        status: AgentStatus::Idle,
        health: Health::Healthy,
        incarnation: command.incarnation.clone(),
        superseded: None,
        capabilities: command.capabilities.clone(),
        max_concurrency: command.max_concurrency.unwrap_or(1),
        labels: command.labels.clone().unwrap_or_default(),
        resources: command.resources.clone().unwrap_or_default(),
        delivery: command.delivery.clone().unwrap_or_default(),
        description: command.description.clone(),
    };
    let Some(known) = known else { return Ok(vec![What::AgentRegistered(event)]) };
    if known.is_superseded(&command.incarnation) {
        return Err(Error::fenced(format!(
            "incarnation {} of agent {} was superseded by {}",
            command.incarnation,
            command.agent_id,
            known.incarnation()
        )));
    }
    if *known.incarnation() != command.incarnation {
        event.superseded = Some(known.incarnation().clone());
    } else if !known.gone {
        // The same process start again: it lives, may have changed what it can do, and undoes no command to it.
        (event.status, event.health) = (known.status, known.alive());
        event.superseded.clone_from(&known.registered.superseded);
        let (status, health) = (event.status, event.health);
        let says_the_same = AgentRegistered { status, health, ..known.registered.clone() } == event;
        if says_the_same && known.health == health {
            return Ok(Vec::new());
        }
    }
    Ok(vec![What::AgentRegistered(event)])
}

/// What a change of an agent's life does: one match, every illegal pair typed.
pub(crate) fn change(
    known: Option<&AgentState>,
    change: AgentChange,
    command: &ChangeAgent,
) -> Result<Vec<What>, Error> {
    use AgentStatus::{Completed, Error as Failed, Idle, Paused, Running};
    let Some(known) = known.filter(|k| !k.gone) else {
        return Err(Error::not_found("agent", command.agent_id.as_str()));
    };
    if let Some(meant) = command.incarnation.as_ref().filter(|meant| *meant != known.incarnation()) {
        return Err(Error::fenced(format!(
            "incarnation {meant} of agent {} is not the newest, which is {}",
            command.agent_id,
            known.incarnation()
        )));
    }
    let to = |status, health| {
        if (status, health) == (known.status, known.health) {
            return Ok(Vec::new());
        }
        Ok(vec![What::AgentStatusChanged(known.changed(status, health, command.reason.clone()))])
    };
    let illegal = || {
        Err(Error::invalid_transition(
            format!(
                "agent {} is {}, which does not allow {}",
                command.agent_id,
                known.status.as_str(),
                change.ce_type()
            ),
            known.status.as_str(),
        ))
    };
    match (change, known.status) {
        (AgentChange::Deregister, _) => {
            Ok(vec![What::AgentDeregistered(known.changed(Completed, known.health, command.reason.clone()))])
        }
        (AgentChange::Stop, _) => to(Completed, known.health),
        (AgentChange::Drain, Idle | Running | Paused) => to(known.status, Health::Draining),
        (AgentChange::Pause, Idle | Running | Paused) => to(Paused, known.health),
        (AgentChange::Resume, Paused) => to(Idle, known.health),
        (AgentChange::Start, Idle | Running | Paused | Failed) => to(Idle, Health::Healthy),
        (AgentChange::ReportError, Idle | Running | Paused | Failed) => to(Failed, known.health),
        (AgentChange::Resume, Idle | Running | Failed | Completed)
        | (AgentChange::Drain, Failed | Completed)
        | (AgentChange::Pause, Failed | Completed)
        | (AgentChange::Start | AgentChange::ReportError, Completed) => illegal(),
    }
}

/// What an order for one of its breakers does: a new one each time, since a reset may be wanted twice.
pub(crate) fn order_breaker(known: Option<&AgentState>, command: &OrderBreaker) -> Result<Vec<What>, Error> {
    let Some(known) = known.filter(|k| !k.gone) else {
        return Err(Error::not_found("agent", command.agent_id.as_str()));
    };
    if let Some(capability) = &command.capability
        && !known.registered.capabilities.contains(capability)
    {
        let message = format!("agent {} has no capability {capability}", command.agent_id);
        return Err(Error::new(Code::Unprocessable, message).with_field("/capability"));
    }
    Ok(vec![What::AgentBreakerOrdered(BreakerOrdered {
        agent_id: command.agent_id.clone(),
        incarnation: known.incarnation().clone(),
        status: known.status,
        health: known.health,
        capability: command.capability.clone(),
        order: command.order,
        reason: command.reason.clone(),
    })])
}

/// What a verdict of the fleet on an agent does: lost, or heard of again.
pub(crate) fn judged(
    known: Option<&AgentState>,
    incarnation: &Incarnation,
    lost: bool,
    reason: &str,
) -> Vec<What> {
    let Some(known) = known.filter(|k| !k.gone && k.incarnation() == incarnation) else { return Vec::new() };
    let reason = Some(reason.to_owned());
    match (lost, known.health) {
        (true, Health::Healthy | Health::Suspected | Health::Draining) => {
            vec![What::AgentLost(known.changed(known.status, Health::Lost, reason))]
        }
        (false, Health::Lost | Health::Suspected) => {
            vec![What::AgentStatusChanged(known.changed(known.status, known.alive(), reason))]
        }
        _ => Vec::new(),
    }
}
