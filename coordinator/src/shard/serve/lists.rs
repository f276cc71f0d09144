//! What of a shard a list shows: one page of it, in order of the ids.

use super::Serving;
use crate::shard::{NegotiationFilter, TaskFilter};
use serde::Serialize;
use synod_ledger::Answer;
use synod_protocol::{Code, Error, Json};

impl Serving<'_> {
    pub(super) fn negotiations(&self, filter: &NegotiationFilter) -> Answer {
        let negotiations = self
            .owner
            .state()
            .negotiations_after(&filter.after)
            .take_while(|(key, _)| key.workspace == filter.after.workspace)
            .filter(|(_, it)| filter.status.is_none_or(|status| it.status == status))
            .filter(|(_, it)| filter.protocol.as_ref().is_none_or(|protocol| it.opened.protocol == *protocol))
            .take(filter.limit)
            .map(|(key, it)| it.brief(&key.workspace))
            .collect::<Vec<_>>();
        listed(&negotiations)
    }

    pub(super) fn list(&self, filter: &TaskFilter) -> Answer {
        let tasks = self
            .owner
            .state()
            .tasks_after(&filter.after)
            .take_while(|(key, _)| key.workspace == filter.after.workspace)
            .filter(|(_, task)| filter.status.is_none_or(|status| task.status == status))
            .filter(|(_, task)| {
                let capability = task.submitted.capability.as_ref().map(|c| c.as_str());
                filter.capability.is_none() || capability == filter.capability.as_deref()
            })
            .filter(|(_, task)| {
                let wanted = filter.agent.as_deref();
                wanted.is_none() || task.attempts.last().map(|a| a.seen.agent_id.as_str()) == wanted
            })
            .take(filter.limit)
            .map(|(key, task)| task.view(&key.workspace))
            .collect::<Vec<_>>();
        listed(&tasks)
    }
}

fn listed<T: Serialize>(items: &[T]) -> Answer {
    let json = Json::of(items);
    json.map(|json| (json, false)).map_err(|e| Error::new(Code::Internal, e.to_string()))
}
