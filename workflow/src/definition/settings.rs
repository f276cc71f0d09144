//! Settings of steps and runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a run may use up. Tokens and money are as agents report them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Budget {
    /// Steps that are started, attempts counted each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<u64>,
    /// Tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Money in millionths of its unit, so that sums are exact.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub money_micros: Option<u64>,
}

/// What happens after a failed attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// Attempts in all, 1 to 100; 3 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Before the second attempt; 200 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_backoff_ms: Option<u64>,
    /// Never longer than this; 30,000 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_backoff_ms: Option<u64>,
    /// From one wait to the next, 1 to 100; 2 by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub multiplier: Option<f64>,
}

impl Retry {
    /// Attempts in all.
    pub fn attempts(&self) -> u32 {
        self.max_attempts.unwrap_or(3)
    }

    /// Milliseconds to wait after so many attempts (from 1) have failed, without jitter.
    pub fn backoff_ms(&self, failed: u32) -> u64 {
        let (first, most) = (self.initial_backoff_ms.unwrap_or(200), self.max_backoff_ms.unwrap_or(30_000));
        let mut wait = first as f64;
        for _ in 1..failed.min(100) {
            wait *= self.multiplier.unwrap_or(2.0);
        }
        if wait >= most as f64 { most } else { wait as u64 }
    }
}

/// What a step's failure does to the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The run fails.
    #[default]
    Fail,
    /// What depends on it goes on; its output is null, and `steps.<id>.error` says why.
    Continue,
}

/// When an expert is asked besides. Its answer joins the context: `steps.<id>.advice`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consult {
    /// The expert's capability.
    pub capability: String,
    /// Ask where the result's confidence is lower, 0 to 1; what says none has 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub below: Option<f64>,
    /// Ask where this CEL expression gives true; it may read `output` and `confidence` besides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when: Option<String>,
    /// What the expert is given: JSON with expressions; the step's input and output by default.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub input: Value,
}
