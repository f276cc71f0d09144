//! What can be known to be wrong without running anything.
//!
//! Every check looks at everything and goes on after what it finds, so that an author hears of all mistakes at once. What
//! would only repeat a mistake (a reference to a step that could not be read) is left out.

mod expressions;
mod limits;
mod order;

pub(crate) use limits::step as limits_of;

use crate::definition::Definition;
use crate::graph::Graph;
use crate::problem::Finds;
use crate::workflow::Outline;

pub(crate) fn all(definition: &Definition, outline: &Outline, graph: &Graph, finds: &mut Finds<'_>) {
    // Limits of steps were looked at while reading.
    finds.limits(|finds| limits::run(definition, finds));
    // Where a step could not be read, references to it would be called unknown.
    if !finds.is_read() {
        return;
    }
    order::all(definition, outline, graph, finds);
    expressions::all(definition, outline, graph, finds);
}
