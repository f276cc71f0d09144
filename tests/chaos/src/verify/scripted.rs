//! Runs of workflows held against their script: each ends as one does that nothing disturbs, each step counts as often as there, and
//! people are asked what they are asked there.

use super::judge::{Findings, Kind, Noted};
use super::runs::{RunBook, Runs};
use crate::journal::ClientLine;
use crate::script::{Doing, Script, Undisturbed};
use std::collections::{BTreeSet, HashMap};

/// Every run that was accepted is there and has ended; what people were told is taken stands there. What is missing may need no
/// more than time.
pub(super) fn awaited(findings: &mut Findings, noted: &Noted, runs: &Runs) {
    findings.runs = runs.ran();
    for line in noted.starters.values().flatten() {
        match line {
            ClientLine::Asked { .. } => {}
            ClientLine::Acked { task, .. } => match runs.all().get(task) {
                None => {
                    findings
                        .found(Kind::Lost, || format!("run {task} was accepted and is not in the ledger"));
                }
                Some(told) if told.ended == 0 => {
                    findings.found(Kind::Lost, || format!("run {task} was accepted and has not ended"));
                }
                Some(_) => {}
            },
            ClientLine::Refused { task, why } => {
                findings.found(Kind::Strange, || format!("run {task} was refused: {why}"));
            }
        }
    }
    for line in noted.people.values().flatten() {
        let (ClientLine::Acked { task, .. } | ClientLine::Refused { task, .. }) = line else { continue };
        let Some((of, by)) = task.split_once('!') else { continue };
        let said = match runs.approval(of) {
            Some(asked) => asked.decided.iter().any(|person| person == by),
            None => runs.all().get(of).is_some_and(|run| run.signals > 0),
        };
        match line {
            ClientLine::Refused { why, .. } => {
                findings.found(Kind::Strange, || format!("{task} was refused: {why}"));
            }
            _ if !said => findings.found(Kind::Lost, || format!("{task} was taken and is not in the ledger")),
            _ => {}
        }
    }
}

/// Each run is what its script makes of it, whatever was done to the mesh.
pub(super) fn kept(findings: &mut Findings, noted: &Noted, runs: &Runs) {
    let asked: BTreeSet<&str> = words(&noted.starters);
    let said: BTreeSet<&str> = words(&noted.people);
    for (run, told) in runs.all() {
        if told.started > 1 || told.ended > 1 {
            let (started, ended) = (told.started, told.ended);
            findings.found(Kind::Doubled, || {
                format!("run {run} was started {started} times and ended {ended} times")
            });
        }
        if !asked.contains(run.as_str()) {
            findings
                .found(Kind::Strange, || format!("run {run} stands in the ledger and nobody asked for it"));
        }
        if told.ended > 0 {
            held_against_script(findings, runs, run, told);
        }
        for (id, asked) in runs.approvals_of(run) {
            for by in &asked.decided {
                if !said.contains(format!("{id}!{by}").as_str()) {
                    findings.found(Kind::Strange, || format!("{by} decided {id}, and never said so"));
                }
            }
        }
    }
    for what in runs.doubled() {
        findings.found(Kind::Doubled, || what.clone());
    }
    for what in runs.strange() {
        findings.found(Kind::Strange, || what.clone());
    }
}

fn words(of: &std::collections::BTreeMap<String, Vec<ClientLine>>) -> BTreeSet<&str> {
    let asked = of.values().flatten().filter_map(|line| match line {
        ClientLine::Asked { task, .. } => Some(task.as_str()),
        _ => None,
    });
    asked.collect()
}

fn held_against_script(findings: &mut Findings, runs: &Runs, run: &str, told: &RunBook) {
    // The results that counted: where another one went into the run its output names that.
    let nonce = |doing: &Doing, k: usize| {
        let one = told.done.get(doing).and_then(|all| all.get(k)).cloned().flatten();
        one.unwrap_or_else(|| format!("no result {k} of {doing:?}"))
    };
    let undisturbed = match Undisturbed::play(run, &nonce) {
        Ok(undisturbed) => undisturbed,
        Err(why) => return findings.found(Kind::Strange, || format!("run {run} has no script: {why}")),
    };
    if let (Some(script), Some(input)) = (Script::of(run), &told.input)
        && input.to::<serde_json::Value>().ok() != Some(script.input())
    {
        findings.found(Kind::Strange, || format!("run {run} was started with {input:?}"));
    }
    steps(findings, run, told, &undisturbed);
    approvals(findings, runs, run, &undisturbed);
    let (is, ought) = (told.end.as_ref(), &undisturbed.end);
    let alike = is.is_some_and(|is| {
        let code = |of: &synod_protocol::workflow::ExecutionEnded| of.error.as_ref().map(|e| e.code.clone());
        is.status == ought.status && is.output == ought.output && code(is) == code(ought)
    });
    if !alike {
        findings.found(Kind::Strange, || format!("run {run} ended with {is:?}, undisturbed it is {ought:?}"));
    }
}

/// Each step was completed as often as there are revisions of it.
fn steps(findings: &mut Findings, run: &str, told: &RunBook, undisturbed: &Undisturbed) {
    let doings: BTreeSet<&Doing> = told.done.keys().chain(undisturbed.done.keys()).collect();
    for doing in doings {
        let is = told.done.get(doing).map_or(0, Vec::len);
        let ought = undisturbed.done.get(doing).copied().unwrap_or(0);
        let kind = if is > ought { Kind::Doubled } else { Kind::Lost };
        if is != ought {
            findings
                .found(kind, || format!("{doing:?} of {run} was completed {is} times, undisturbed {ought}"));
        }
    }
}

/// What was asked there was asked once, and ended once, in the same way; and nothing else was.
fn approvals(findings: &mut Findings, runs: &Runs, run: &str, undisturbed: &Undisturbed) {
    let is: HashMap<&String, _> = runs.approvals_of(run).collect();
    for (id, ought) in &undisturbed.approvals {
        let Some(asked) = is.get(id) else {
            findings.found(Kind::Lost, || format!("approval {id} was never asked"));
            continue;
        };
        if asked.required > 1 || asked.ended > 1 {
            let (required, ended) = (asked.required, asked.ended);
            findings.found(Kind::Doubled, || {
                format!("approval {id} was asked {required} times and ended {ended} times")
            });
        }
        if asked.status != Some(*ought) {
            let status = asked.status;
            findings
                .found(Kind::Strange, || format!("approval {id} ended as {status:?}, undisturbed {ought:?}"));
        }
        let people: BTreeSet<&String> = asked.decided.iter().collect();
        if people.len() < asked.decided.len() {
            let decided = &asked.decided;
            findings.found(Kind::Doubled, || format!("decisions on {id} counted twice: {decided:?}"));
        }
    }
    for id in is.keys().filter(|id| !undisturbed.approvals.contains_key(**id)) {
        findings.found(Kind::Doubled, || format!("approval {id} was asked, which nobody asks undisturbed"));
    }
}

#[cfg(test)]
mod tests;
