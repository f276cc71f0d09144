//! Every message that this protocol knows, with the schema of its value: what the reference is made of.
//!
//! Commands and the events of the ledger come from the lists by which they are read, so none can be missing. What stands
//! here by itself is what no such list has: events behind which no record stands, and what goes to agents and to those
//! who asked.

use crate::checkpoint::{CONTEXT_UPDATED, ContextUpdated};
use crate::error::Error;
use crate::event::{
    AGENT_SUSPECTED, AgentChanged, BREAKER_CLOSED, BREAKER_HALF_OPENED, BREAKER_OPENED, BreakerChanged, What,
};
use crate::json::Json;
use crate::negotiation::Ask;
use crate::primitives::changes::{STATE_CHANGED, STATE_CONFLICTED, STATE_DELETED, STATE_EXPIRED, StateEvent};
use crate::primitives::memory::MemoryUpdated;
use crate::view::{Assignment, DirectoryEntry, Heartbeat, Pauses, Withdrawal};
use crate::workflow::Workflow;
use std::collections::BTreeMap;
use utoipa::ToSchema;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::Schema;

/// Schemas by name, each once.
pub type Schemas = BTreeMap<String, RefOr<Schema>>;

/// Instead of a `ce_type`: messages of any type.
pub const ANY: &str = "any";

/// One kind of message, as the reference shows it.
#[derive(Clone)]
pub struct Shape {
    /// Its `ce_type`.
    pub ty: &'static str,
    /// What it says, in a sentence without a full stop.
    pub says: String,
    /// The name of its value's schema.
    pub schema: String,
    collect: fn() -> Vec<(String, RefOr<Schema>)>,
}

impl Shape {
    /// The shape of a message whose value is a `T`.
    pub fn of<T: ToSchema>(ty: &'static str, says: impl Into<String>) -> Shape {
        Shape { ty, says: says.into(), schema: T::name().into_owned(), collect: collected::<T> }
    }

    /// Whether it stands for messages of any type.
    pub fn is_any(&self) -> bool {
        self.ty == ANY
    }

    /// The schema of its value and all that it refers to, by name; the same name may stand more than once.
    pub fn schemas(&self) -> Vec<(String, RefOr<Schema>)> {
        (self.collect)()
    }
}

fn collected<T: ToSchema>() -> Vec<(String, RefOr<Schema>)> {
    let mut all = vec![(T::name().into_owned(), T::schema())];
    T::schemas(&mut all);
    all
}

/// The schemas of these messages, and the names that mean more than one thing: there must be none.
pub fn schemas<'s>(shapes: impl IntoIterator<Item = &'s Shape>) -> (Schemas, Vec<String>) {
    let (mut all, mut ambiguous) = (Schemas::new(), Vec::new());
    for (name, schema) in shapes.into_iter().flat_map(Shape::schemas) {
        match all.get(&name) {
            Some(known) if *known != schema => ambiguous.push(name),
            Some(_) => {}
            None => {
                all.insert(name, schema);
            }
        }
    }
    (all, ambiguous)
}

/// What stands in `synod.events.v1`: what the ledger has, and what has no record behind it. One type has two shapes, which `op`
/// and `version` tell apart.
pub fn events() -> Vec<Shape> {
    let mut shapes = What::shapes();
    shapes.extend([
        Shape::of::<AgentChanged>(AGENT_SUSPECTED, "An agent may be gone; no new work goes there"),
        Shape::of::<ContextUpdated>(CONTEXT_UPDATED, "An agent has saved its own context"),
        Shape::of::<MemoryUpdated>(CONTEXT_UPDATED, "An agent's memory was written"),
        Shape::of::<BreakerChanged>(BREAKER_OPENED, "A breaker lets nothing through"),
        Shape::of::<BreakerChanged>(BREAKER_HALF_OPENED, "A breaker lets a few attempts through, on trial"),
        Shape::of::<BreakerChanged>(BREAKER_CLOSED, "A breaker lets everything through"),
    ]);
    shapes.extend(state_changes());
    shapes
}

/// What becomes of shared state; the mirror has the first three.
pub fn state_changes() -> Vec<Shape> {
    vec![
        Shape::of::<StateEvent>(STATE_CHANGED, "A value was written"),
        Shape::of::<StateEvent>(STATE_DELETED, "A value was deleted"),
        Shape::of::<StateEvent>(STATE_EXPIRED, "A value's time was up"),
        Shape::of::<StateEvent>(STATE_CONFLICTED, "A write lost against another"),
    ]
}

/// What comes into an agent's inbox.
pub fn inbox() -> Vec<Shape> {
    vec![
        Shape::of::<Assignment>("synod.task.assigned", "Work for this agent"),
        Shape::of::<Withdrawal>("synod.task.cancelled", "It is wanted no more: stop"),
        Shape::of::<Withdrawal>("synod.task.withdrawn", "It is somebody else's now: stop"),
        Shape::of::<Ask>("synod.negotiation.asked", "This agent is asked to decide something"),
        Shape::of::<AgentChanged>("synod.agent.status_changed", "How the agent itself stands now"),
    ]
}

/// What is answered to who named a `synod-reply-to`.
pub fn replies() -> Vec<Shape> {
    vec![
        Shape::of::<Json>("synod.reply", "The entity as it was then"),
        Shape::of::<Error>("synod.rejected", "Why the command was refused"),
    ]
}

/// An agent's sign of life.
pub fn heartbeats() -> Vec<Shape> {
    vec![Shape::of::<Heartbeat>("synod.agent.heartbeat", "An agent lives, and what it holds")]
}

/// What every coordinator knows, by its key.
pub fn directory() -> Vec<Shape> {
    vec![
        Shape::of::<DirectoryEntry>("synod.agent.entry", "An agent"),
        Shape::of::<Pauses>("synod.fleet.pauses", "What of the fleet is paused, under `:pauses`"),
        Shape::of::<Workflow>(
            "synod.workflow.newest",
            "A workflow's newest version, under `:workflow:<workspace>/<id>`",
        ),
    ]
}

/// What stands among the dead letters: whatever could not be handled.
pub fn dead_letters() -> Vec<Shape> {
    vec![Shape::of::<Json>(ANY, "A record that could not be handled, as it came; its value need not be JSON")]
}

/// What stands in the topics of retries: an application's records.
pub fn retries() -> Vec<Shape> {
    vec![Shape::of::<Json>(
        ANY,
        "A record that its consumer handed back, as it came; its value need not be JSON",
    )]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Command;
    use std::collections::BTreeSet;

    #[test]
    fn each_name_of_a_schema_means_one_thing() {
        let all = [
            Command::shapes(),
            events(),
            inbox(),
            replies(),
            heartbeats(),
            directory(),
            dead_letters(),
            retries(),
        ]
        .concat();
        let (schemas, ambiguous) = schemas(&all);
        assert_eq!(ambiguous, Vec::<String>::new());
        assert!(all.iter().all(|shape| schemas.contains_key(&shape.schema)));
    }

    #[test]
    fn every_event_of_the_ledger_is_in_the_reference() {
        let known: BTreeSet<&str> = events().iter().map(|shape| shape.ty).collect();
        for ty in What::TYPES {
            assert!(known.contains(ty), "{ty}");
        }
    }
}
