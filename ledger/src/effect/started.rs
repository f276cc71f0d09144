//! What a decision or a step of an execution owes besides its own event: a write of shared state, and the event that a
//! decision starts.
//!
//! They stand whole in the record, or follow from what is in memory as long as they are owed.

use super::{Effect, Writer};
use crate::subject::EntityKey;
use synod_negotiation::event_value;
use synod_protocol::Workspace;
use synod_protocol::event::Event;
use synod_protocol::negotiation::NegotiationDecided;
use synod_protocol::primitives::state::Put;
use synod_protocol::workflow::StepCompleted;

impl Writer<'_> {
    pub(super) fn started(
        &self,
        index: usize,
        decided: &NegotiationDecided,
        workspace: &Workspace,
    ) -> Vec<Effect> {
        let Some(starts) = &decided.starts else { return Vec::new() };
        let negotiation = &decided.negotiation_id;
        let mut out = Vec::new();
        // Checked when it was decided; a build with lower limits leaves out what it cannot write.
        if let Some(state) = &starts.state
            && let Ok(put) = state.put(&decided.outcome)
        {
            let (workspace, key, put) = (workspace.clone(), state.key.clone(), Box::new(put));
            let (by, request) = (negotiation.clone(), self.request(index));
            out.push(Effect::PutState { workspace, key, put, by, request });
        }
        if let Some(event) = &starts.event
            && let Ok(value) = event_value(decided, event)
        {
            let id = format!("{}-{}-{index}-then", self.shard, self.offset);
            let mut envelope = self.envelope(id.clone(), &event.ty, workspace, &id);
            envelope.subject = Some(negotiation.to_string());
            let root = negotiation.root().to_owned();
            out.push(Effect::Publish { root, envelope: Box::new(envelope), value });
        }
        out
    }

    /// A step's result, put into shared state where that is wanted.
    pub(super) fn saved(
        &self,
        index: usize,
        step: &StepCompleted,
        event: &Event,
        workspace: &Workspace,
    ) -> Option<Effect> {
        let key = step.saved_as.as_ref()?.parse().ok()?;
        let execution = EntityKey::of(workspace, &event.entity);
        let run = self.state.execution(&execution);
        let value = step.output.clone().or_else(|| run?.result_of(&step.step, &step.items))?;
        let put = Box::new(Put::of(value));
        let (by, request) = (event.entity.clone(), self.request(index));
        Some(Effect::PutState { workspace: workspace.clone(), key, put, by, request })
    }

    /// By which a write is known again: its place in the ledger.
    fn request(&self, index: usize) -> String {
        format!("{}-{}-{index}", self.shard, self.offset)
    }
}
