//! Which entities of a shard a list is to show.

use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::approval::ApprovalStatus;
use synod_protocol::negotiation::NegotiationStatus;
use synod_protocol::view::TaskStatus;
use synod_protocol::workflow::ExecutionStatus;
use synod_protocol::{EntityId, Error, Id, Timestamp, Workspace};

/// A part of a list: at most so many of one kind in a workspace, after an id, in the order of their ids.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) workspace: Workspace,
    pub(crate) after: EntityId,
    pub(crate) limit: usize,
    pub(crate) wanted: Wanted,
}

/// Of which kind, and of those only the ones for which all holds that is said.
#[derive(Clone, Debug)]
pub(crate) enum Wanted {
    /// `agent`: that the last attempt went to.
    Tasks { status: Option<TaskStatus>, capability: Option<String>, agent: Option<String> },
    /// In short.
    Negotiations { status: Option<NegotiationStatus>, protocol: Option<String> },
    /// In short.
    Executions(WantedExecutions),
    /// Whole.
    Approvals(WantedApprovals),
}

/// Which executions.
#[derive(Clone, Debug)]
pub(crate) struct WantedExecutions {
    pub(crate) status: Option<ExecutionStatus>,
    pub(crate) workflow: Option<Id>,
    pub(crate) label: Option<Label>,
    pub(crate) started_after: Option<Timestamp>,
    pub(crate) started_before: Option<Timestamp>,
}

/// Which approvals; `approver` and `roles` find what waits for such a person.
#[derive(Clone, Debug)]
pub(crate) struct WantedApprovals {
    pub(crate) status: Option<ApprovalStatus>,
    pub(crate) approver: Option<String>,
    pub(crate) roles: BTreeSet<String>,
    pub(crate) execution: Option<Id>,
    pub(crate) label: Option<Label>,
}

/// After which doing of a step: in each map around it, from the outside in, for which item.
#[derive(Clone, Debug)]
pub(crate) struct StepsAfter {
    pub(crate) step: String,
    pub(crate) items: Vec<u32>,
}

/// A label with exactly this value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Label {
    /// Reads `name:value`, or `name=value`; the name ends at the first of the two.
    ///
    /// # Errors
    /// `invalid_argument` at `/label`: there is neither.
    pub(crate) fn read(text: &str) -> Result<Label, Error> {
        let Some((name, value)) = text.split_once([':', '=']) else {
            return Err(Error::invalid("label has no ':'; it is name:value").with_field("/label"));
        };
        Ok(Label { name: name.to_owned(), value: value.to_owned() })
    }

    /// Whether it stands among these.
    pub(crate) fn is_among(&self, labels: &BTreeMap<String, String>) -> bool {
        labels.get(&self.name) == Some(&self.value)
    }
}
