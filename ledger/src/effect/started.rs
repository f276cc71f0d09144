//! What a decision owes besides its own event: the write of shared state and the event that it starts.
//!
//! Both stand whole in the record of the decision: it is issued again from there when the negotiation has left memory.

use super::{Effect, Writer};
use synod_negotiation::event_value;
use synod_protocol::Workspace;
use synod_protocol::negotiation::NegotiationDecided;

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
            out.push(Effect::PutState { workspace, key, put, by: negotiation.clone() });
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
}
