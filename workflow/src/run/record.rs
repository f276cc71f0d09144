//! What the ledger asks of a run besides: what it writes of it, and what becomes of one of which no step fits into a record.

use super::Run;
use synod_protocol::Json;
use synod_protocol::command::Failure;
use synod_protocol::event::What;
use synod_protocol::workflow::{ExecutionEnded, ExecutionStatus};

impl Run {
    /// The result of a step's doing, also where it follows from those of others.
    pub fn result_of(&self, step: &str, items: &[u32]) -> Option<Json> {
        self.step(&self.key(step, items)?)?.output
    }

    /// How it ends where what is due would not fit into one record of the ledger: refused, it would be due for ever. None where
    /// it is over.
    pub fn does_not_fit(&self) -> Option<What> {
        if self.status.is_final() {
            return None;
        }
        let message =
            "what it does next does not fit into one record of the ledger; pass larger results by reference";
        let error = Failure { code: "payload_too_large".into(), message: message.into(), retryable: false };
        Some(What::ExecutionFailed(ExecutionEnded {
            execution_id: self.started.execution_id.clone(),
            status: ExecutionStatus::Failed,
            output: None,
            output_left_out: false,
            error: Some(error),
        }))
    }
}
