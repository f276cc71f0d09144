//! The words about circuit breakers: how one stands, and what an operator may order.

use crate::id::{Capability, Id, Incarnation};
use crate::time::Timestamp;
use crate::view::{AgentStatus, Breaker, Health};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a breaker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerState {
    /// Work flows.
    Closed,
    /// No work, until its wait is over.
    Open,
    /// A few trials.
    HalfOpen,
    /// No work, until an operator says otherwise.
    ForcedOpen,
    /// Work flows whatever comes of it, until an operator says otherwise.
    ForcedClosed,
}

impl BreakerState {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerState::Closed => "closed",
            BreakerState::Open => "open",
            BreakerState::HalfOpen => "half_open",
            BreakerState::ForcedOpen => "forced_open",
            BreakerState::ForcedClosed => "forced_closed",
        }
    }

    /// Whether work flows, whoever wants it so.
    pub fn plain(self) -> Breaker {
        match self {
            BreakerState::Closed | BreakerState::ForcedClosed => Breaker::Closed,
            BreakerState::Open | BreakerState::ForcedOpen => Breaker::Open,
            BreakerState::HalfOpen => Breaker::HalfOpen,
        }
    }
}

/// A breaker of an agent, as one coordinator has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentBreaker {
    /// That for this capability alone; none: the one for all that the agent does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capability>,
    /// What it is doing.
    pub status: BreakerState,
    /// For how long, in milliseconds.
    pub since_ms: u64,
    /// Share of failed attempts in its window, in percent; none while there are too few to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_rate: Option<f32>,
    /// Share of slow attempts, likewise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slow_rate: Option<f32>,
    /// Attempts in its window.
    pub attempts: u32,
    /// How often it has opened since it was last closed.
    pub opened: u32,
    /// While it is open: in how many milliseconds a trial is let through.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_in_ms: Option<u64>,
    /// Which coordinator's.
    pub coordinator: Id,
}

/// What an operator may order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BreakerOrder {
    /// Let nothing through until told otherwise.
    ForceOpen,
    /// Let everything through until told otherwise.
    ForceClosed,
    /// Begin anew: closed, and with nothing counted.
    Reset,
}

impl BreakerOrder {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            BreakerOrder::ForceOpen => "force_open",
            BreakerOrder::ForceClosed => "force_closed",
            BreakerOrder::Reset => "reset",
        }
    }
}

/// `synod.agent.order_breaker`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderBreaker {
    /// Whose.
    pub agent_id: Id,
    /// Its breaker for this capability alone; the one for all that it does by default.
    #[serde(default)]
    pub capability: Option<Capability>,
    /// What.
    pub order: BreakerOrder,
    /// For people.
    #[serde(default)]
    pub reason: Option<String>,
}

/// `synod.agent.breaker_ordered`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct BreakerOrdered {
    /// Whose.
    pub agent_id: Id,
    /// Its newest process start.
    pub incarnation: Incarnation,
    /// Its status after this, which is as before.
    pub status: AgentStatus,
    /// Its health after this, which is as before.
    pub health: Health,
    /// Its breaker for this capability alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capability>,
    /// What.
    pub order: BreakerOrder,
    /// For people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The last order for one breaker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StandingOrder {
    /// The breaker for this capability alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capability: Option<Capability>,
    /// What.
    pub order: BreakerOrder,
    /// When the ledger took it.
    pub at: Timestamp,
}
