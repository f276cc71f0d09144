//! A workflow as a text for a terminal and as a Mermaid flowchart for a page.

use crate::definition::{Kind, Step, Wait};
use crate::workflow::{Role, Workflow};
use std::fmt::Write;

/// The steps in the order of the document, blocks indented, each with what it is and what it waits for; then the groups that
/// can go at once.
pub fn text(workflow: &Workflow) -> String {
    let mut lines = String::new();
    for number in 0..workflow.len() {
        let (Some(place), Some(step)) = (workflow.place(number), workflow.step(number)) else { continue };
        let _ = write!(lines, "{}{}  {}", "  ".repeat(place.depth), place.id, summary(step));
        if !step.depends_on.is_empty() {
            let names: Vec<&str> = step.depends_on.iter().map(|id| id.as_str()).collect();
            let _ = write!(lines, "  ← {}", names.join(", "));
        }
        match place.role {
            Role::Fallback => lines.push_str("  (fallback)"),
            Role::Body => lines.push_str("  (for each item)"),
            Role::Top | Role::Member | Role::Next => {}
        }
        if let Some(when) = &step.when {
            let _ = write!(lines, "  when {}", one_line(when));
        }
        lines.push('\n');
    }
    lines.push('\n');
    for (i, group) in workflow.parallel_groups().iter().enumerate() {
        let names: Vec<&str> = group.iter().map(|id| id.as_str()).collect();
        let _ = writeln!(lines, "{:>3}. {}", i + 1, names.join(", "));
    }
    lines
}

/// A Mermaid flowchart: blocks are subgraphs, arrows are what was written as dependencies and what follows from blocks in
/// line. Every text is escaped, so that no name or expression can end a label.
pub fn mermaid(workflow: &Workflow) -> String {
    let mut out = String::from("flowchart TD\n");
    for top in workflow.children(None) {
        nodes(workflow, top, 1, &mut out);
    }
    for number in 0..workflow.len() {
        let (Some(place), Some(step)) = (workflow.place(number), workflow.step(number)) else { continue };
        for on in &step.depends_on {
            let _ = writeln!(out, "  s_{on} --> s_{}", place.id);
        }
        match (place.role, place.parent.and_then(|parent| workflow.place(parent))) {
            (Role::Fallback, Some(of)) => drop(writeln!(out, "  s_{} -. fails .-> s_{}", of.id, place.id)),
            (Role::Next, _) => {
                let before = workflow.children(place.parent).take_while(|other| *other < number).last();
                if let Some(before) = before.and_then(|before| workflow.place(before)) {
                    let _ = writeln!(out, "  s_{} --> s_{}", before.id, place.id);
                }
            }
            _ => {}
        }
    }
    out
}

/// Recursion as deep as blocks may be nested. A fallback is drawn beside what it replaces.
fn nodes(workflow: &Workflow, number: usize, depth: usize, out: &mut String) {
    let (Some(place), Some(step)) = (workflow.place(number), workflow.step(number)) else { return };
    let indent = "  ".repeat(depth);
    let label = escaped(&format!("{}: {}", place.id, summary(step)));
    let is_fallback = |child: &usize| workflow.role(*child) == Role::Fallback;
    let (fallbacks, members): (Vec<usize>, Vec<usize>) =
        workflow.children(Some(number)).partition(is_fallback);
    if members.is_empty() {
        let (open, close) = match step.kind {
            Kind::Approval(_) => ("{{", "}}"),
            Kind::Wait(_) => ("([", "])"),
            Kind::Negotiation(_) => ("[[", "]]"),
            _ => ("[", "]"),
        };
        let _ = writeln!(out, "{indent}s_{}{open}\"{label}\"{close}", place.id);
    } else {
        let _ = writeln!(out, "{indent}subgraph s_{}[\"{label}\"]", place.id);
        for member in members {
            nodes(workflow, member, depth + 1, out);
        }
        let _ = writeln!(out, "{indent}end");
    }
    for fallback in fallbacks {
        nodes(workflow, fallback, depth, out);
    }
}

/// What a step is, in one line.
pub fn summary(step: &Step) -> String {
    match &step.kind {
        Kind::Task(task) => format!("task {}", one_line(&task.capability)),
        Kind::Agent(agent) => format!("agent {}", one_line(&agent.agent_id)),
        Kind::Condition(condition) => format!("condition {}", one_line(&condition.r#if)),
        Kind::Parallel(_) => "parallel".into(),
        Kind::Sequential(_) => "sequential".into(),
        Kind::Map(map) => format!("map {}", one_line(&map.items)),
        Kind::Negotiation(negotiation) => format!("negotiation {}", one_line(&negotiation.protocol)),
        Kind::Approval(approval) => format!("approval by {}", one_line(&approval.approvers.join(", "))),
        Kind::Wait(Wait::ForMs(time)) => format!("wait {time} ms"),
        Kind::Wait(Wait::Until(time)) => format!("wait until {}", one_line(time)),
        Kind::Wait(Wait::Signal(name)) => format!("wait for signal {}", one_line(name)),
    }
}

/// Without control characters and line ends, and not too long.
fn one_line(text: &str) -> String {
    let plain: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    crate::expression::shortened(plain.trim())
}

fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '"' | '#' | '<' | '>' | '&' | '`' | '[' | ']' | '{' | '}' | '|' | '\\' => {
                let _ = write!(out, "#{};", c as u32);
            }
            plain => out.push(plain),
        }
    }
    out
}
