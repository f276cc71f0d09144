//! A workflow in sentences: for each step when it starts, what it reads, how often it is tried, and what its failure does.

use crate::definition::{Join, Kind, Need, OnFailure, Step, Wait};
use crate::draw::summary;
use crate::expression::{Expression, Template};
use crate::workflow::{Role, Workflow};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt::Write;

/// What is known of one step without running it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StepExplained {
    /// Its name.
    pub id: String,
    /// What it is, in one line.
    pub summary: String,
    /// Levels of blocks around it.
    pub depth: usize,
    /// The steps that have to be completed or skipped before it starts.
    pub starts_after: Vec<String>,
    /// What its expressions read.
    pub reads: Vec<String>,
    /// What else there is to know, one sentence each.
    pub notes: Vec<String>,
}

/// Every step, in the order of the document.
pub fn steps(workflow: &Workflow) -> Vec<StepExplained> {
    (0..workflow.len()).filter_map(|number| explained(workflow, number)).collect()
}

/// The same as a text.
pub fn text(steps: &[StepExplained]) -> String {
    let mut out = String::new();
    for step in steps {
        let indent = "  ".repeat(step.depth);
        let _ = writeln!(out, "{indent}{}: {}", step.id, step.summary);
        let _ = match step.starts_after.as_slice() {
            [] => writeln!(out, "{indent}  starts at once"),
            before => writeln!(out, "{indent}  starts after {}", before.join(", ")),
        };
        if !step.reads.is_empty() {
            let _ = writeln!(out, "{indent}  reads {}", step.reads.join(", "));
        }
        for note in &step.notes {
            let _ = writeln!(out, "{indent}  {note}");
        }
    }
    out
}

fn explained(workflow: &Workflow, number: usize) -> Option<StepExplained> {
    let (place, step) = (workflow.place(number)?, workflow.step(number)?);
    let id_of = |number| workflow.place(number).map(|place| place.id.to_string());
    let mut notes = Vec::new();
    let parent = place.parent.and_then(id_of).unwrap_or_default();
    match place.role {
        Role::Fallback => notes
            .push(format!("only where {parent} has failed for good; its output becomes that of {parent}")),
        Role::Body => notes.push(format!("once for each item of {parent}")),
        Role::Top | Role::Member | Role::Next => {}
    }
    settings(step, &mut notes);
    Some(StepExplained {
        id: place.id.to_string(),
        summary: summary(step),
        depth: place.depth,
        starts_after: workflow.starts_after(number).into_iter().filter_map(id_of).collect(),
        reads: reads(step).into_iter().collect(),
        notes,
    })
}

fn settings(step: &Step, notes: &mut Vec<String>) {
    if let Some(when) = &step.when {
        notes.push(format!("skipped unless {}", when.trim()));
    }
    match &step.kind {
        Kind::Map(map) => {
            let (wide, most) =
                (map.concurrency.unwrap_or(16), map.max_items.unwrap_or(crate::definition::MAP_ITEMS_MAX));
            notes.push(format!("{wide} items at once, {most} at most, {}", joined(map.join)));
        }
        Kind::Parallel(parallel) => notes.push(joined(parallel.join)),
        Kind::Approval(approval) => {
            let need = match approval.need {
                None | Some(Need::Any) => "one of them".to_owned(),
                Some(Need::All) => "all of them".to_owned(),
                Some(Need::Quorum(many)) => format!("{many} of them"),
            };
            let must = if approval.required.is_empty() {
                String::new()
            } else {
                format!(", {} among them", approval.required.join(", "))
            };
            notes.push(format!(
                "{need} have to approve{must}, within {} ms",
                approval.expires_after_ms.unwrap_or(86_400_000)
            ));
            if let Some(revise) = &approval.revise {
                notes.push(format!(
                    "a request for changes begins anew at {}, with {} revisions in all at most",
                    revise.step,
                    revise.max_revisions.unwrap_or(3)
                ));
            }
        }
        Kind::Wait(Wait::Signal(_)) if step.timeout_ms.is_none() => {
            notes.push("waits without a limit of its own".into());
        }
        _ => {}
    }
    if let Some(time) = step.timeout_ms {
        notes.push(format!("{time} ms in all"));
    }
    if let Some(retry) = &step.retry {
        let most = retry.max_backoff_ms.unwrap_or(30_000);
        notes.push(format!(
            "{} attempts, the second after {} ms, never more than {most} ms apart",
            retry.attempts(),
            retry.backoff_ms(1)
        ));
    }
    if step.output_schema.is_some() {
        notes.push("its output has to fit a schema; what does not is a failed attempt".into());
    }
    if let Some(consult) = &step.consult {
        let below = consult.below.map(|below| format!("its confidence is below {below}"));
        let when = consult.when.as_ref().map(|when| when.trim().to_owned());
        let reasons: Vec<String> = below.into_iter().chain(when).collect();
        notes.push(format!("{} is asked where {}", consult.capability, reasons.join(" or ")));
    }
    match (&step.fallback, step.on_failure.unwrap_or_default()) {
        (Some(fallback), _) => notes.push(format!("where it fails for good, {} is done", fallback.id)),
        (None, OnFailure::Continue) => notes.push("where it fails, what depends on it goes on".into()),
        (None, OnFailure::Fail) => {}
    }
    if let Some(key) = &step.save_as {
        notes.push(format!("its output is kept in shared state under {key}"));
    }
}

fn joined(join: Option<Join>) -> String {
    match join {
        None | Some(Join::All) => "all have to be completed".into(),
        Some(Join::Any) => "the first to be completed ends the others".into(),
        Some(Join::AtLeast(many)) => format!("{many} have to be completed"),
        Some(Join::Partial) => "failures are listed, and fail nothing".into(),
    }
}

/// The paths that a step's own expressions read.
fn reads(step: &Step) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let texts = match &step.kind {
        Kind::Condition(condition) => vec![&condition.r#if],
        Kind::Map(map) => vec![&map.items],
        Kind::Wait(Wait::Until(time)) => vec![time],
        _ => Vec::new(),
    };
    for text in texts.into_iter().chain(&step.when) {
        // A checked workflow has no expression that does not parse.
        if let Ok(expression) = Expression::parse(text) {
            note(&expression, &mut all);
        }
    }
    let text = |text: &String| Value::String(text.clone());
    let templates: Vec<Value> = match &step.kind {
        Kind::Task(task) => vec![task.input.clone()],
        Kind::Agent(agent) => vec![text(&agent.agent_id), agent.input.clone()],
        Kind::Negotiation(n) => vec![n.question.clone(), n.rules.clone(), n.participants.clone()],
        Kind::Approval(approval) => vec![text(&approval.title), approval.show.clone()],
        _ => Vec::new(),
    };
    for template in templates.iter().filter_map(|json| Template::parse(json).ok()) {
        template.expressions().for_each(|placed| note(&placed.expression, &mut all));
    }
    all
}

fn note(expression: &Expression, all: &mut BTreeSet<String>) {
    all.extend(expression.reads().iter().map(|read| read.path.join(".")));
}
