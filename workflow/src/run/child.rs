//! The ids of what a run asks of others: `<execution>:<step>`, then `[i][j]` for the items of the maps around it, `:<attempt>` from
//! the second attempt on, and `/advice` where it is an expert's.
//!
//! Attempts count on over revisions and retries by hand, so that no id comes twice.

use super::Key;
use crate::definition::Kind;
use crate::workflow::Workflow;
use synod_protocol::{EntityId, Id};

/// Something that a run has asked of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// Its id.
    pub id: EntityId,
    /// What it is.
    pub kind: ChildKind,
    /// Which doing of a step it is for.
    pub key: Key,
    /// For which attempt, from 1.
    pub attempt: u32,
    /// Whether an expert is asked.
    pub advice: bool,
}

/// What a child is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChildKind {
    /// A task.
    Task,
    /// A negotiation.
    Negotiation,
    /// An approval.
    Approval,
}

impl Child {
    /// The child of an attempt; none where the step asks nothing of others.
    pub(super) fn of(
        workflow: &Workflow,
        execution: &Id,
        key: &Key,
        attempt: u32,
        advice: bool,
    ) -> Option<Child> {
        let kind = match &workflow.step(key.step)?.kind {
            Kind::Task(_) | Kind::Agent(_) => ChildKind::Task,
            Kind::Negotiation(_) if !advice => ChildKind::Negotiation,
            Kind::Approval(_) if !advice => ChildKind::Approval,
            _ => return None,
        };
        let mut id = format!("{execution}:{}", workflow.place(key.step)?.id);
        key.items.iter().for_each(|item| id.push_str(&format!("[{item}]")));
        if attempt > 1 {
            id.push_str(&format!(":{attempt}"));
        }
        if advice {
            id.push_str("/advice");
        }
        // 128 bytes of the execution, 64 of the step, 88 of eight items, 18 of the rest: always an id.
        let id = id.parse().ok()?;
        Some(Child { id, kind, key: key.clone(), attempt, advice })
    }

    /// Which child an id names; none where no attempt has such an id.
    pub(super) fn read(workflow: &Workflow, execution: &Id, id: &EntityId) -> Option<Child> {
        let path = id.as_str().strip_prefix(execution.as_str())?.strip_prefix(':')?;
        let (path, advice) = path.strip_suffix("/advice").map_or((path, false), |path| (path, true));
        let (path, attempt) =
            path.split_once(':').map_or((path, Some(1)), |(path, n)| (path, n.parse().ok()));
        let (step, mut rest) = path.split_at(path.find('[').unwrap_or(path.len()));
        let step = workflow.number(step)?;
        let mut items = Vec::new();
        while let Some((item, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            items.push(item.parse().ok()?);
            rest = after;
        }
        let key = Key { step, items };
        // Whatever is written otherwise than it would be here names none.
        let is_whole = rest.is_empty() && key.items.len() == workflow.maps_around(step);
        Child::of(workflow, execution, &key, attempt?, advice).filter(|child| is_whole && child.id == *id)
    }
}
