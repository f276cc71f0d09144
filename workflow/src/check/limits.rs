//! Figures within their ranges, names that are names, settings where they mean something.

use crate::definition::{
    Approval, Definition, Join, Kind, MAP_ITEMS_MAX, Need, STEPS_MAX, Step, TIME_MAX_MS, Wait,
};
use crate::problem::Finds;
use crate::schema::Schema;
use serde_json::Value;
use std::fmt::Display;
use std::ops::RangeInclusive;
use synod_protocol::approval::{APPROVERS, ROLE, SIGNATURES};
use synod_protocol::{Capability, Id};

/// Milliseconds that a time limit may have.
const TIME: RangeInclusive<u64> = 1..=TIME_MAX_MS;

pub(super) fn run(definition: &Definition, finds: &mut Finds<'_>) {
    if !definition.id.is_empty() && definition.id.parse::<Id>().is_err() {
        let what = format!("{:?} is no id", crate::expression::shortened(&definition.id));
        finds.at("/id", what, "use 1 to 128 of A-Z, a-z, 0-9, `.`, `_` and `-`");
    }
    within(finds, "/deadline_ms", definition.deadline_ms, TIME);
    within(finds, "/concurrency", definition.concurrency, 1..=STEPS_MAX as u32);
    if let Some(budget) = &definition.budget {
        within(finds, "/budget/steps", budget.steps, 1..=u64::MAX);
        if budget.steps.is_none() && budget.tokens.is_none() && budget.money_micros.is_none() {
            finds.at("/budget", "this budget bounds nothing", "write `steps`, `tokens` or `money_micros`");
        }
    }
    if definition.labels.len() > 64 {
        finds.at("/labels", format!("{} labels, the limit is 64", definition.labels.len()), "use fewer");
    }
    schema(finds, "/input_schema", definition.input_schema.as_ref());
}

pub(crate) fn step(step: &Step, pointer: &str, finds: &mut Finds<'_>) {
    let at = |name: &str| format!("{pointer}/{name}");
    within(finds, &at("timeout_ms"), step.timeout_ms, TIME);
    within(finds, &at("priority"), step.priority, 0..=9);
    if let Some(retry) = &step.retry {
        within(finds, &at("retry/max_attempts"), retry.max_attempts, 1..=100);
        within(finds, &at("retry/initial_backoff_ms"), retry.initial_backoff_ms, 0..=TIME_MAX_MS);
        within(finds, &at("retry/max_backoff_ms"), retry.max_backoff_ms, 0..=TIME_MAX_MS);
        within(finds, &at("retry/multiplier"), retry.multiplier, 1.0..=100.0);
    }
    schema(finds, &at("output_schema"), step.output_schema.as_ref());
    if let Some(consult) = &step.consult {
        capability(finds, &at("consult/capability"), &consult.capability);
        within(finds, &at("consult/below"), consult.below, 0.0..=1.0);
        if consult.below.is_none() && consult.when.is_none() {
            finds.at(at("consult"), "it is not said when the expert is asked", "write `below:` or `when:`");
        }
    }
    let kind = step.kind.name();
    let is_work = matches!(step.kind, Kind::Task(_) | Kind::Agent(_));
    let misplaced = [
        ("retry", step.retry.is_some(), is_work || matches!(step.kind, Kind::Negotiation(_))),
        ("priority", step.priority.is_some(), is_work),
        ("consult", step.consult.is_some(), is_work),
    ];
    for (name, is_there, is_meant) in misplaced {
        if is_there && !is_meant {
            finds.at(
                at(name),
                format!("`{name}` means nothing for a step of kind `{kind}`"),
                "write it at the tasks within, or leave it out",
            );
        }
    }
    inside(&step.kind, &at(kind), finds);
}

fn inside(kind: &Kind, pointer: &str, finds: &mut Finds<'_>) {
    let at = |name: &str| format!("{pointer}/{name}");
    match kind {
        Kind::Task(task) => capability(finds, &at("capability"), &task.capability),
        Kind::Agent(agent) => {
            if !agent.agent_id.contains("${{") && agent.agent_id.parse::<Id>().is_err() {
                finds.at(
                    at("agent_id"),
                    "this is no agent's id",
                    "use 1 to 128 of A-Z, a-z, 0-9, `.`, `_` and `-`",
                );
            }
        }
        Kind::Parallel(parallel) => {
            within(finds, &at("concurrency"), parallel.concurrency, 1..=STEPS_MAX as u32);
            join(finds, &at("join"), parallel.join, Some(parallel.steps.len()));
        }
        Kind::Map(map) => {
            within(finds, &at("concurrency"), map.concurrency, 1..=1_000);
            within(finds, &at("max_items"), map.max_items, 1..=MAP_ITEMS_MAX);
            join(finds, &at("join"), map.join, None);
            if let Some(name) = map.r#as.as_deref() {
                let taken = ["input", "steps", "run", "index", "output", "confidence"];
                if !crate::definition::is_name(name) || taken.contains(&name) {
                    let what = format!("`{name}` cannot name an item");
                    finds.at(
                        at("as"),
                        what,
                        format!("use letters, digits and `_`, and none of {}", taken.join(", ")),
                    );
                }
            }
        }
        Kind::Negotiation(negotiation) => {
            if let Some(invite) = &negotiation.invite {
                if let Some(name) = &invite.capability {
                    capability(finds, &at("invite/capability"), name);
                }
                within(finds, &at("invite/min"), invite.min, 1..=1_000);
                within(finds, &at("invite/max"), invite.max, invite.min.unwrap_or(1).clamp(1, 1_000)..=1_000);
            }
            within(finds, &at("round_ms"), negotiation.round_ms, 10..=7 * 24 * 3_600_000);
            if negotiation.participants.is_null() && negotiation.invite.is_none() {
                finds.at(pointer, "nobody is asked", "write `participants:` or `invite:`");
            }
        }
        Kind::Approval(approval) => people(approval, pointer, finds),
        Kind::Wait(Wait::ForMs(time)) => within(finds, &at("for_ms"), Some(*time), TIME),
        Kind::Wait(Wait::Signal(name)) => {
            if name.parse::<Id>().is_err() {
                finds.at(
                    at("signal"),
                    "this is no name of a signal",
                    "use 1 to 128 of A-Z, a-z, 0-9, `.`, `_` and `-`",
                );
            }
        }
        Kind::Condition(_) | Kind::Sequential(_) | Kind::Wait(Wait::Until(_)) => {}
    }
}

fn people(approval: &Approval, pointer: &str, finds: &mut Finds<'_>) {
    let at = |name: &str| format!("{pointer}/{name}");
    if approval.approvers.is_empty() || approval.approvers.len() > APPROVERS {
        let what = format!("{} approvers, there have to be 1 to {APPROVERS}", approval.approvers.len());
        finds.at(at("approvers"), what, "name people, or roles as `role:<name>`");
    }
    for (i, name) in
        approval.required.iter().enumerate().filter(|(_, name)| !approval.approvers.contains(name))
    {
        let what = format!("`{name}` is required and is no approver");
        finds.at(at(&format!("required/{i}")), what, "add it to `approvers`");
    }
    for (i, name) in approval.approvers.iter().enumerate() {
        let plain = name.strip_prefix("role:").unwrap_or(name);
        if !plain.contains("${{")
            && (plain.is_empty() || plain.len() > 128 || plain.chars().any(char::is_control))
        {
            finds.at(
                at(&format!("approvers/{i}")),
                "this names nobody",
                "use a name or `role:<name>`, 128 bytes at most",
            );
        }
        if approval.approvers[..i].contains(name) {
            finds.at(
                at(&format!("approvers/{i}")),
                format!("`{name}` stands here twice"),
                "keep one of them",
            );
        }
    }
    // How many people a role has is not known here.
    let roles = approval.approvers.iter().any(|name| name.starts_with(ROLE));
    let most = if roles { SIGNATURES } else { approval.approvers.len().max(1) };
    if let Some(Need::Quorum(many)) = approval.need {
        within(finds, &at("need/quorum"), Some(many), 1..=most as u32);
    }
    within(finds, &at("expires_after_ms"), approval.expires_after_ms, TIME);
    let expiry = approval.expires_after_ms.unwrap_or(24 * 3_600_000).clamp(2, TIME_MAX_MS);
    within(finds, &at("auto_approve_after_ms"), approval.auto_approve_after_ms, 1..=expiry - 1);
    schema(finds, &at("response_schema"), approval.response_schema.as_ref());
    if let Some(revise) = &approval.revise {
        within(finds, &at("revise/max_revisions"), revise.max_revisions, 1..=20);
    }
}

fn join(finds: &mut Finds<'_>, pointer: &str, join: Option<Join>, of: Option<usize>) {
    if let Some(Join::AtLeast(many)) = join {
        let most = of.map_or(MAP_ITEMS_MAX, |of| u32::try_from(of).unwrap_or(u32::MAX)).max(1);
        within(finds, &format!("{pointer}/at_least"), Some(many), 1..=most);
    }
}

fn capability(finds: &mut Finds<'_>, pointer: &str, name: &str) {
    if name.parse::<Capability>().is_err() {
        let what = format!("{:?} is no capability", crate::expression::shortened(name));
        finds.at(pointer, what, "use a-z, 0-9, `.`, `_` and `-`, 128 at most, a letter or digit first");
    }
}

fn schema(finds: &mut Finds<'_>, pointer: &str, schema: Option<&Value>) {
    if let Some(Err(bad)) = schema.map(Schema::new) {
        finds.at(format!("{pointer}{}", bad.pointer), bad.what, bad.mend);
    }
}

fn within<T: PartialOrd + Display>(
    finds: &mut Finds<'_>,
    pointer: &str,
    value: Option<T>,
    range: RangeInclusive<T>,
) {
    if let Some(value) = value.filter(|value| !range.contains(value)) {
        let (low, high) = (range.start(), range.end());
        finds.at(pointer, format!("{value} is outside {low} to {high}"), "use a figure within it");
    }
}
