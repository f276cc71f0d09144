//! An agent as an entity of its shard: what is durable of its life.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_fleet::AgentKey;
use synod_protocol::breaker::{BreakerOrdered, OrderBreaker, StandingOrder};
use synod_protocol::command::{
    AgentChange, ChangeAgent, RESUME_AFTER_MS, Recovery, RegisterAgent, ReportError,
};
use synod_protocol::event::{AgentChanged, AgentRegistered, What};
use synod_protocol::track::{self, AgentAppraised, AppraiseAgent, WorkRecords};
use synod_protocol::view::{Agent, AgentStatistics, AgentStatus, Breaker, DirectoryEntry, Health};
use synod_protocol::{Code, Error, Incarnation, Timestamp};

/// Process starts that are remembered as over, so that none of them comes back.
const SUPERSEDED_LIMIT: usize = 32;
/// So often may an agent's registration change something within a second: each writes the directory.
const REGISTRATIONS_A_SECOND: u32 = 50;
/// So many living process starts ended by newer ones, within so long, are odd.
const ODD: (usize, u64) = (3, 60_000);

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
    /// How many changes of its life there have been.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub revision: u64,
    /// Process starts after its first.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: u64,
    /// How it is to come back from its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    recovery: Option<Recovery>,
    /// When it comes back by itself from its error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    resume_at: Option<Timestamp>,
    /// Since when it is lost, or has left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    away_since: Option<Timestamp>,
    /// When the second began in which it last registered, and how often it has since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pace: Option<(Timestamp, u32)>,
    /// When newer process starts ended ones that lived, the latest few.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ousted: Vec<Timestamp>,
    /// What became of its promises, by kind of work, whichever process start made them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    track_records: WorkRecords,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(count: &u64) -> bool {
    *count == 0
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
            revision: event.revision,
            restarts: 0,
            recovery: None,
            resume_at: None,
            away_since: None,
            pace: Some((now, 1)),
            ousted: Vec::new(),
            track_records: WorkRecords::new(),
        }
    }

    /// When something is due by itself.
    pub fn timer(&self) -> Option<Timestamp> {
        self.resume_at
    }

    /// Since when it is lost, or has left.
    pub fn away_since(&self) -> Option<Timestamp> {
        let is_away = self.gone || self.health == Health::Lost;
        is_away.then(|| self.away_since.unwrap_or(self.registered_at))
    }

    /// Whether its process start lives and works, as far as the ledger knows.
    fn lives(&self) -> bool {
        !self.gone && self.health != Health::Lost && self.status != AgentStatus::Completed
    }

    /// How often it has registered in this second.
    fn registrations(&self, now: Timestamp) -> u32 {
        self.pace.filter(|(began, _)| now.millis_since(*began) < 1_000).map_or(0, |(_, times)| times)
    }

    /// The state after an event; total.
    pub(crate) fn apply(&mut self, what: &What, now: Timestamp) {
        match what {
            What::AgentRegistered(event) => {
                self.pace = match self.registrations(now) {
                    0 => Some((now, 1)),
                    times => self.pace.map(|(began, _)| (began, times.saturating_add(1))),
                };
                if event.incarnation != self.registered.incarnation {
                    self.restarts += 1;
                    self.ousted.retain(|at| now.millis_since(*at) <= ODD.1);
                    if self.lives() && self.ousted.len() < ODD.0 {
                        self.ousted.push(now);
                    }
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
                if event.status == AgentStatus::Error && event.recovery.is_some() {
                    (self.recovery, self.resume_at) = (event.recovery, event.resume_at);
                }
            }
            What::AgentBreakerOrdered(event) => {
                self.breaker_orders.retain(|standing| standing.capability != event.capability);
                let (capability, order) = (event.capability.clone(), event.order);
                self.breaker_orders.push(StandingOrder { capability, order, at: now });
            }
            What::AgentAppraised(event) => {
                track::keep(&mut self.track_records, event.kind.clone(), event.record.clone());
            }
            _ => {}
        }
        self.revision = match what {
            What::AgentRegistered(event) => event.revision.max(self.revision),
            What::AgentDeregistered(event) | What::AgentLost(event) | What::AgentStatusChanged(event) => {
                event.revision.max(self.revision)
            }
            _ => self.revision,
        };
        if self.status != AgentStatus::Error {
            (self.recovery, self.resume_at) = (None, None);
        }
        let is_away = self.gone || self.health == Health::Lost;
        self.away_since = is_away.then(|| self.away_since.unwrap_or(now));
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
            revision: self.revision,
            restarts: self.restarts,
            recovery: self.recovery,
            resume_at: self.resume_at,
            warning: r.warning.clone(),
            track_records: self.track_records.clone(),
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
            revision: entry.revision,
            restarts: entry.restarts,
            recovery: entry.recovery,
            resume_at: entry.resume_at,
            warning: entry.warning,
            track_records: entry.track_records,
        }
    }

    fn changed(&self, status: AgentStatus, health: Health, reason: Option<String>) -> AgentChanged {
        AgentChanged {
            agent_id: self.registered.agent_id.clone(),
            incarnation: self.registered.incarnation.clone(),
            status,
            health,
            reason,
            revision: self.revision + 1,
            recovery: None,
            resume_at: None,
        }
    }

    /// What a newer process start says of those that it ends, if that happens oddly often.
    fn oddity(&self, by: &Incarnation, now: Timestamp) -> Option<String> {
        let lately = self.ousted.iter().filter(|at| now.millis_since(**at) <= ODD.1).count();
        let times = lately + usize::from(self.lives());
        (times >= ODD.0).then(|| {
            format!(
                "{times} process starts or more that lived were ended by newer ones within {} s, {} by {by} the last time: two processes share this id, or one restarts all the time",
                ODD.1 / 1_000,
                self.incarnation()
            )
        })
    }
}

/// What a registration does.
pub(crate) fn register(
    known: Option<&AgentState>,
    command: &RegisterAgent,
    now: Timestamp,
) -> Result<Vec<What>, Error> {
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
        revision: known.map_or(0, |known| known.revision) + 1,
        warning: None,
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
        event.warning = known.oddity(&command.incarnation, now);
    } else if !known.gone {
        // The same process start again: it lives, may have changed what it can do, and undoes no command to it.
        (event.status, event.health) = (known.status, known.alive());
        event.superseded.clone_from(&known.registered.superseded);
        event.warning.clone_from(&known.registered.warning);
        let (status, health, revision) = (event.status, event.health, event.revision);
        let says_the_same = AgentRegistered { status, health, revision, ..known.registered.clone() } == event;
        if says_the_same && known.health == health {
            return Ok(Vec::new());
        }
    }
    if known.registrations(now) >= REGISTRATIONS_A_SECOND {
        let why = format!(
            "agent {} has registered {REGISTRATIONS_A_SECOND} times within a second",
            command.agent_id
        );
        return Err(Error::overloaded(why, 1_000));
    }
    Ok(vec![What::AgentRegistered(event)])
}

/// The agent that a change is meant for.
fn meant<'a>(
    known: Option<&'a AgentState>,
    agent_id: &synod_protocol::Id,
    incarnation: Option<&Incarnation>,
) -> Result<&'a AgentState, Error> {
    let Some(known) = known.filter(|k| !k.gone) else {
        return Err(Error::not_found("agent", agent_id.as_str()));
    };
    if let Some(meant) = incarnation.filter(|meant| *meant != known.incarnation()) {
        return Err(Error::fenced(format!(
            "incarnation {meant} of agent {agent_id} is not the newest, which is {}",
            known.incarnation()
        )));
    }
    Ok(known)
}

fn illegal(known: &AgentState, what: &str) -> Error {
    let (agent, status) = (&known.registered.agent_id, known.status.as_str());
    Error::invalid_transition(format!("agent {agent} is {status}, which does not allow {what}"), status)
}

/// What a change of an agent's life does: one match, every illegal pair typed.
pub(crate) fn change(
    known: Option<&AgentState>,
    change: AgentChange,
    command: &ChangeAgent,
) -> Result<Vec<What>, Error> {
    use AgentStatus::{Completed, Error as Failed, Idle, Paused, Running};
    let known = meant(known, &command.agent_id, command.incarnation.as_ref())?;
    let to = |status, health| {
        if (status, health) == (known.status, known.health) {
            return Ok(Vec::new());
        }
        Ok(vec![What::AgentStatusChanged(known.changed(status, health, command.reason.clone()))])
    };
    let illegal = || Err(illegal(known, change.ce_type()));
    match (change, known.status) {
        (AgentChange::Deregister, _) => {
            Ok(vec![What::AgentDeregistered(known.changed(Completed, known.health, command.reason.clone()))])
        }
        (AgentChange::Stop, _) => to(Completed, known.health),
        (AgentChange::Drain, Idle | Running | Paused) => to(known.status, Health::Draining),
        (AgentChange::Pause, Idle | Running | Paused) => to(Paused, known.health),
        (AgentChange::Resume, Paused) => to(Idle, known.health),
        (AgentChange::Start, Idle | Running | Paused | Failed) => to(Idle, Health::Healthy),
        (AgentChange::Resume, Idle | Running | Failed | Completed)
        | (AgentChange::Drain, Failed | Completed)
        | (AgentChange::Pause, Failed | Completed)
        | (AgentChange::Start, Completed) => illegal(),
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

/// What a word about one of its promises does, whether or not it is there now: who leaves does not leave its record behind.
pub(crate) fn appraise(
    known: Option<&AgentState>,
    command: &AppraiseAgent,
    now: Timestamp,
) -> Result<Vec<What>, Error> {
    let Some(known) = known else {
        return Err(Error::not_found("agent", command.agent_id.as_str()));
    };
    let told = command.told();
    let record = known.track_records.get(&command.kind).cloned().unwrap_or_default().with(&told, now);
    Ok(vec![What::AgentAppraised(AgentAppraised {
        agent_id: command.agent_id.clone(),
        incarnation: known.incarnation().clone(),
        status: known.status,
        health: known.health,
        kind: command.kind.clone(),
        time_ratio: told.time,
        price_ratio: told.price,
        kept: command.kept,
        record,
    })])
}

/// What an agent's word that it cannot work does.
pub(crate) fn report_error(
    known: Option<&AgentState>,
    command: &ReportError,
    now: Timestamp,
) -> Result<Vec<What>, Error> {
    let known = meant(known, &command.agent_id, command.incarnation.as_ref())?;
    if known.status == AgentStatus::Completed {
        return Err(illegal(known, "synod.agent.report_error"));
    }
    let recovery = command.recovery.unwrap_or_default();
    let after_ms = command.resume_after_ms.unwrap_or(RESUME_AFTER_MS);
    let resume_at = (recovery == Recovery::Resume).then(|| now.plus_millis(after_ms));
    if known.recovery == Some(Recovery::Park) && recovery == Recovery::Park {
        return Ok(Vec::new());
    }
    let changed = known.changed(AgentStatus::Error, known.health, command.reason.clone());
    Ok(vec![What::AgentStatusChanged(AgentChanged { recovery: Some(recovery), resume_at, ..changed })])
}

/// What its timer does: it comes back from its error.
pub(crate) fn due(known: Option<&AgentState>, now: Timestamp) -> Vec<What> {
    let Some(known) = known.filter(|known| known.resume_at.is_some_and(|at| at <= now)) else {
        return Vec::new();
    };
    let reason = Some("it resumes by itself after its error".to_owned());
    vec![What::AgentStatusChanged(known.changed(AgentStatus::Idle, known.health, reason))]
}

/// What having been gone for longer than `kept_ms` does: it is forgotten, and with it which process starts are over.
pub(crate) fn forgotten(
    known: Option<&AgentState>,
    incarnation: &Incarnation,
    kept_ms: u64,
    now: Timestamp,
) -> Vec<What> {
    let Some(known) = known.filter(|known| known.incarnation() == incarnation) else { return Vec::new() };
    let Some(since) = known.away_since() else { return Vec::new() };
    let away_ms = now.millis_since(since);
    if away_ms < kept_ms {
        return Vec::new();
    }
    let how = if known.gone { "left" } else { "lost" };
    let reason = Some(format!("{how} for {} s", away_ms / 1_000));
    vec![What::AgentRemoved(known.changed(AgentStatus::Completed, known.health, reason))]
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
