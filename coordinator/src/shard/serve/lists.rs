//! What of a shard a list shows: one page of it, in order of the ids.

use super::Serving;
use crate::shard::{Listing, StepsAfter, Wanted, WantedApprovals, WantedExecutions};
use serde::Serialize;
use synod_ledger::{Answer, EntityKey, NegotiationKey, TaskKey};
use synod_protocol::{Code, Error, Json};
use synod_workflow::approval::Approval;
use synod_workflow::run::Run;

impl Serving<'_> {
    pub(super) fn listed(&self, listing: &Listing) -> Answer {
        let (state, Listing { workspace, after, limit, wanted }) = (self.owner.state(), listing);
        let (workspace, id) = (workspace.clone(), after.clone());
        match wanted {
            Wanted::Tasks { status, capability, agent } => {
                let after = TaskKey { workspace: workspace.clone(), task: id };
                let found = state
                    .tasks_after(&after)
                    .take_while(|(key, _)| key.workspace == workspace)
                    .filter(|(_, task)| is(status.as_ref(), Some(&task.status)))
                    .filter(|(_, task)| {
                        let asked_of = task.submitted.capability.as_ref().map(|c| c.as_str());
                        is(capability.as_deref(), asked_of)
                    })
                    .filter(|(_, task)| {
                        is(agent.as_deref(), task.attempts.last().map(|a| a.seen.agent_id.as_str()))
                    });
                page(found.map(|(key, task)| task.view(&key.workspace)), *limit)
            }
            Wanted::Negotiations { status, protocol } => {
                let after = NegotiationKey { workspace: workspace.clone(), negotiation: id };
                let found = state
                    .negotiations_after(&after)
                    .take_while(|(key, _)| key.workspace == workspace)
                    .filter(|(_, it)| is(status.as_ref(), Some(&it.status)))
                    .filter(|(_, it)| is(protocol.as_deref(), Some(&it.opened.protocol)));
                page(found.map(|(key, it)| it.brief(&key.workspace)), *limit)
            }
            Wanted::Executions(wanted) => {
                let after = EntityKey { workspace: workspace.clone(), id };
                let found = state
                    .executions_after(&after)
                    .take_while(|(key, _)| key.workspace == workspace)
                    .filter(|(_, run)| wanted.is_met_by(run));
                page(found.map(|(key, run)| run.brief(&key.workspace)), *limit)
            }
            Wanted::Approvals(wanted) => {
                let after = EntityKey { workspace: workspace.clone(), id };
                let found = state
                    .approvals_after(&after)
                    .take_while(|(key, _)| key.workspace == workspace)
                    .filter(|(_, it)| wanted.is_met_by(it));
                page(found.map(|(key, it)| it.view(&key.workspace)), *limit)
            }
        }
    }

    /// Steps of an execution that have begun.
    pub(super) fn steps(&self, execution: &EntityKey, after: Option<&StepsAfter>, limit: usize) -> Answer {
        let run = self.owner.state().execution(execution);
        let run = run.ok_or_else(|| Error::not_found("execution", execution.id.as_str()))?;
        let after = after.map(|StepsAfter { step, items }| {
            run.key(step, items)
                .ok_or_else(|| Error::invalid("this cursor is not of these steps").with_field("/cursor"))
        });
        page(run.steps(after.transpose()?.as_ref(), limit).into_iter(), limit)
    }
}

/// Whether it is what is wanted, where something is.
fn is<T: PartialEq + ?Sized>(wanted: Option<&T>, there: Option<&T>) -> bool {
    wanted.is_none() || wanted == there
}

impl WantedExecutions {
    fn is_met_by(&self, run: &Run) -> bool {
        is(self.status.as_ref(), Some(&run.status()))
            && is(self.workflow.as_ref(), Some(&run.started().workflow_id))
            && self.label.as_ref().is_none_or(|label| label.is_among(run.labels()))
            && self.started_after.is_none_or(|after| run.started_at() > after)
            && self.started_before.is_none_or(|before| run.started_at() < before)
    }
}

impl WantedApprovals {
    fn is_met_by(&self, it: &Approval) -> bool {
        let of_person = self.approver.is_some() || !self.roles.is_empty();
        is(self.status.as_ref(), Some(&it.status))
            && is(self.execution.as_ref(), it.required.execution_id.as_ref())
            && self.label.as_ref().is_none_or(|label| label.is_among(&it.required.labels))
            // No entry is the empty name: roles by themselves are nobody yet.
            && (!of_person || it.is_pending_for(self.approver.as_deref().unwrap_or_default(), &self.roles))
    }
}

fn page<T: Serialize>(found: impl Iterator<Item = T>, limit: usize) -> Answer {
    let items: Vec<T> = found.take(limit).collect();
    let json = Json::of(&items);
    json.map(|json| (json, false)).map_err(|e| Error::new(Code::Internal, e.to_string()))
}
