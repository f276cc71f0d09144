//! Who waits for whom: names, scopes, cycles.

use crate::definition::Definition;
use crate::graph::Graph;
use crate::problem::{Finds, nearest_of};
use crate::workflow::{Outline, Role};
use std::collections::BTreeSet;

pub(super) fn all(definition: &Definition, outline: &Outline, graph: &Graph, finds: &mut Finds<'_>) {
    for (number, place) in outline.places.iter().enumerate() {
        if let Some(&first) = outline.numbers.get(&place.id).filter(|first| **first != number) {
            let pointer = format!("{}/id", place.pointer);
            let what =
                format!("`{}` is the name of another step, at `{}`", place.id, outline.places[first].pointer);
            finds.at(pointer, what, "give each step a name of its own");
        }
        let Some(step) = outline.step(definition, number) else { continue };
        if place.role == Role::Fallback && !step.depends_on.is_empty() {
            let what = format!("`{}` is a fallback: it starts when its step has failed", place.id);
            finds.at(format!("{}/depends_on", place.pointer), what, "leave `depends_on` out");
            continue;
        }
        let mut had = BTreeSet::new();
        for (i, on) in step.depends_on.iter().enumerate() {
            let pointer = format!("{}/depends_on/{i}", place.pointer);
            if !had.insert(on) {
                finds.at(pointer, format!("`{on}` stands here twice"), "keep one of them");
                continue;
            }
            match outline.numbers.get(on) {
                None => {
                    let names = outline.places.iter().map(|place| place.id.as_str());
                    finds.at(pointer, format!("there is no step `{on}`"), nearest_of(on.as_str(), names));
                }
                Some(&to) => {
                    if let Err((what, mend)) = visible(outline, number, to) {
                        finds.at(pointer, what, mend);
                    }
                }
            }
        }
    }
    cycles(outline, graph, finds);
}

/// Whether one step may speak of another: what a map does for each item, and a fallback, are not there from outside.
///
/// # Errors
/// What is wrong with it, and the mend.
pub(super) fn visible(outline: &Outline, from: usize, to: usize) -> Result<(), (String, String)> {
    let inside = std::iter::once(from).chain(outline.around(from)).collect();
    visible_within(outline, &inside, to)
}

/// As [`visible`], for what stands outside every step.
///
/// # Errors
/// As there.
pub(super) fn visible_from_outside(outline: &Outline, to: usize) -> Result<(), (String, String)> {
    visible_within(outline, &BTreeSet::new(), to)
}

fn visible_within(outline: &Outline, inside: &BTreeSet<usize>, to: usize) -> Result<(), (String, String)> {
    for at in std::iter::once(to).chain(outline.around(to)) {
        let place = &outline.places[at];
        let Some(parent) = place.parent.map(|parent| &outline.places[parent].id) else { break };
        let to = &outline.places[to].id;
        match place.role {
            Role::Body if !inside.contains(&at) => {
                let what = format!(
                    "`{to}` is done once for each item of `{parent}`, so that from outside there is no one `{to}`"
                );
                return Err((what, format!("use `{parent}`, whose output is the list of them")));
            }
            Role::Fallback if !inside.contains(&at) => {
                let what = format!("`{to}` is only done where `{parent}` fails");
                return Err((what, format!("use `{parent}`: its output is that of its fallback then")));
            }
            _ => {}
        }
    }
    Ok(())
}

fn cycles(outline: &Outline, graph: &Graph, finds: &mut Finds<'_>) {
    let never: BTreeSet<usize> = graph.nodes_never_ready().into_iter().collect();
    let on_cycles: BTreeSet<usize> = graph.nodes_on_cycles().into_iter().collect();
    let behind: Vec<String> = never
        .difference(&on_cycles)
        .take(10)
        .map(|number| format!("`{}`", outline.places[*number].id))
        .collect();
    for cycle in graph.cycles() {
        let Some(&first) = cycle.0.first() else { continue };
        let names: Vec<String> = cycle
            .0
            .iter()
            .chain([&first])
            .map(|number| format!("`{}`", outline.places[*number].id))
            .collect();
        let what = match cycle.0.as_slice() {
            [_] => format!("{} waits for itself", names[0]),
            _ => {
                format!("these steps wait for each other, each for the one before it: {}", names.join(" → "))
            }
        };
        let mut mend = "take one of these dependencies away".to_owned();
        if !behind.is_empty() {
            mend.push_str(&format!("; unreachable behind it: {}", behind.join(", ")));
        }
        let pointer = &outline.places[first].pointer;
        finds.at(format!("{pointer}/depends_on"), what, mend);
    }
}
