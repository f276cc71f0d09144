//! An agent's own context as it is kept: bytes or JSON that the agent saved, in versions.
//!
//! The mesh never looks into it. The checksum is there to notice damage, so that a new process start begins with a
//! version that is whole.

use crate::id::{Id, Incarnation};
use crate::time::Timestamp;
use crate::view::{AgentStatus, Health};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a context was saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckpointCause {
    /// The agent's own code asked.
    Hand,
    /// It was time.
    Interval,
    /// A task had ended.
    Task,
    /// A task had failed.
    Error,
    /// The agent was ending.
    Leaving,
}

impl CheckpointCause {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            CheckpointCause::Hand => "hand",
            CheckpointCause::Interval => "interval",
            CheckpointCause::Task => "task",
            CheckpointCause::Error => "error",
            CheckpointCause::Leaving => "leaving",
        }
    }
}

/// How to read a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContextForm {
    /// JSON text.
    Json,
    /// Bytes that only the agent can read.
    Bytes,
}

/// What is noted with the bytes of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextNote {
    /// The process start that saved it.
    pub incarnation: Incarnation,
    /// Why.
    pub cause: CheckpointCause,
    /// How to read it.
    pub form: ContextForm,
    /// Its length.
    pub bytes: u64,
    /// See [`checksum`].
    pub checksum: String,
}

/// One version of an agent's context, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContextVersion {
    /// From 1; it only grows.
    pub version: u64,
    /// When, by Redis' clock.
    pub saved_at: Timestamp,
    /// The process start that saved it.
    pub incarnation: Incarnation,
    /// Why.
    pub cause: CheckpointCause,
    /// How to read it.
    pub form: ContextForm,
    /// Its length.
    pub bytes: u64,
    /// The first 16 bytes of BLAKE3 over it, in hexadecimal.
    pub checksum: String,
}

impl ContextVersion {
    /// Whether these bytes are the ones that were saved.
    pub fn is_of(&self, bytes: &[u8]) -> bool {
        self.bytes == bytes.len() as u64 && self.checksum == checksum(bytes)
    }
}

/// The first 16 bytes of BLAKE3, in hexadecimal: against damage, not against forgery.
pub fn checksum(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().as_str()[..32].to_owned()
}

/// The `ce_type` of the event that an agent's context has a new version. No ledger record stands behind it. Its value is a
/// [`ContextUpdated`].
pub const CONTEXT_UPDATED: &str = "synod.agent.context_updated";

/// `synod.agent.context_updated`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ContextUpdated {
    /// Who.
    pub agent_id: Id,
    /// Which process start.
    pub incarnation: Incarnation,
    /// Its status, as the publishing coordinator knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<AgentStatus>,
    /// Its health, as the publishing coordinator knows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The version of its context.
    pub version: u64,
    /// Its length.
    pub bytes: u64,
    /// Why it was saved.
    pub cause: CheckpointCause,
    /// When, by Redis' clock.
    pub saved_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_noticed() {
        let saved = b"{\"seen\":7}".to_vec();
        let version = ContextVersion {
            version: 3,
            saved_at: Timestamp::from_millis(0),
            incarnation: "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10".parse().unwrap(),
            cause: CheckpointCause::Task,
            form: ContextForm::Json,
            bytes: saved.len() as u64,
            checksum: checksum(&saved),
        };
        assert!(version.is_of(&saved));
        assert!(!version.is_of(&saved[1..]), "cut");
        assert!(!version.is_of(b"{\"seen\":8}"), "changed");
    }
}
