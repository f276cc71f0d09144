//! What decisions and results of steps put into shared state. It goes the way of every other write of shared state, with its policies and its
//! mirror; what it is refused for good is logged and counted, and not tried for ever.

use super::{PAUSE, Performing};
use synod_infra::primitives::state::Writer;
use synod_infra::redis::Once;
use synod_infra::telemetry::names;
use synod_ledger::Effect;
use synod_protocol::primitives::state::{Condition, Put};
use synod_protocol::{Code, EntityId, Name, Workspace};

impl Performing {
    /// Writes what the ledger puts into shared state; others do not wait for it. The request follows from the record, so that
    /// a repeat, by the next owner too, writes nothing.
    pub(super) fn put_state(
        &self,
        offset: u64,
        (workspace, key): (Workspace, Name),
        put: Box<Put>,
        by: EntityId,
        request: String,
    ) {
        let (state, confirmed, back) =
            (self.shared.state.clone(), self.confirmed.clone(), self.again.clone());
        tokio::spawn(async move {
            let id = format!("{workspace}\0ledger\0{request}");
            let once = Once {
                key: blake3::hash(id.as_bytes()).to_hex().to_string(),
                said: blake3::hash(put.value.as_str().as_bytes()).to_hex().to_string(),
            };
            let writer = Writer { workspace, by: by.to_string(), once: Some(once) };
            match state.put(&writer, &key, (*put).clone(), Condition::None).await {
                Ok(_) => confirmed.add(offset, "state"),
                Err(error) if is_passing(error.code) => {
                    tracing::debug!(%error, %key, "what the ledger puts into shared state is written later");
                    metrics::counter!(names::EFFECTS_TOTAL, "kind" => "state", "outcome" => "failed")
                        .increment(1);
                    tokio::time::sleep(PAUSE.1).await;
                    // The performer ends with the epoch; the next owner issues it again.
                    let workspace = writer.workspace;
                    let _ = back.send((offset, Effect::PutState { workspace, key, put, by, request }));
                }
                Err(error) => {
                    tracing::error!(%error, %key, by = %by, "what the ledger puts into shared state is refused and not written");
                    confirmed.refused(offset, "state");
                }
            }
        });
    }
}

/// Whether it may go better later; anything else would be refused again.
fn is_passing(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::Overloaded | Code::DeadlineExceeded)
}
