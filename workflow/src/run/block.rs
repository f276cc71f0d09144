//! What a block consists of, how it is over, and what its output is.

use super::apply::is_null;
use super::doing::{Doing, Held};
use super::index::End;
use super::{Key, Run};
use crate::definition::{Join, Kind};
use serde_json::json;
use synod_protocol::Json;
use synod_protocol::workflow::StepStatus;

impl Run {
    /// What a block that is open consists of: its steps, those of the way that was taken, or the body for each item.
    pub(super) fn members(&self, key: &Key) -> Vec<Key> {
        let (Some(step), Some(doing)) = (self.workflow.step(key.step), self.doings.get(key)) else {
            return Vec::new();
        };
        let steps = self.workflow.members(Some(key.step));
        match &step.kind {
            Kind::Map(_) => {
                let all = doing.items.as_ref().map_or(0, |items| items.all.len());
                self.bodies(key, 0..u32::try_from(all).unwrap_or(u32::MAX))
            }
            Kind::Condition(condition) => {
                let then = condition.then.len();
                let all: Vec<usize> = steps.collect();
                let (then, or_else) = all.split_at(then.min(all.len()));
                let taken = if doing.branch == Some(true) { then } else { or_else };
                taken.iter().map(|step| self.key_for(*step, &key.items)).collect()
            }
            _ => steps.map(|step| self.key_for(step, &key.items)).collect(),
        }
    }

    /// How a block is over by its join, if it is; nothing for what is no block.
    pub(super) fn block_end(&self, key: &Key, doing: &Doing) -> Option<End> {
        let kind = &self.workflow.step(key.step)?.kind;
        let (join, all) = match kind {
            Kind::Map(map) => (map.join, doing.items.as_ref().map_or(0, |items| items.all.len())),
            Kind::Parallel(parallel) => (parallel.join, parallel.steps.len()),
            Kind::Sequential(sequential) => (None, sequential.steps.len()),
            Kind::Condition(condition) if doing.branch == Some(true) => (None, condition.then.len()),
            Kind::Condition(condition) => (None, condition.r#else.len()),
            _ => return None,
        };
        let (good, bad) = (doing.good as usize, doing.bad as usize);
        let (reached, lost) = match join.unwrap_or(Join::All) {
            Join::All => (good == all, bad > 0),
            Join::Any => (good > 0, bad == all),
            Join::AtLeast(many) => (good >= many as usize, all.saturating_sub(bad) < many as usize),
            Join::Partial => (good + bad == all, false),
        };
        match (lost, reached) {
            (true, _) => Some(End::Lost),
            (false, true) => Some(End::Reached),
            (false, false) => None,
        }
    }

    /// Why a block is lost.
    pub(super) fn lost_because(&self, key: &Key) -> String {
        let (bad, members) = (self.doings.get(key).map_or(0, |doing| doing.bad), self.members(key));
        let first = members.iter().filter_map(|member| self.doings.get(member).map(|doing| (member, doing)));
        let mut first =
            first.filter(|(member, doing)| doing.status.is_final() && !self.is_good(member.step, doing));
        let message = first.find_map(|(_, doing)| doing.failure.as_ref());
        let message = message.map_or("there was nothing to complete", |why| &why.message);
        let text = format!("{bad} of {} steps failed: {message}", members.len());
        super::start::shortened(&text)
    }

    /// The output of a doing that is over, or of one whose expert is asked; nothing where there is none.
    pub(super) fn output_of(&self, key: &Key) -> Option<Held> {
        let doing = self.doings.get(key)?;
        if doing.output.is_some() {
            return doing.output.clone();
        }
        if doing.status != StepStatus::Completed {
            return None;
        }
        if doing.fell_back {
            let fallback = self.workflow.fallback(key.step)?;
            return self.output_of(&self.key_for(fallback, &key.items));
        }
        self.workflow.members(Some(key.step)).next()?;
        Some(doing.joined.0.get_or_init(|| Held::new(self.block_output(key))).clone())
    }

    /// The same as JSON; nothing for null.
    pub(super) fn output_json(&self, key: &Key) -> Option<Json> {
        self.output_of(key).map(|output| output.json().clone()).filter(|output| !is_null(output))
    }

    /// The output of a block whose steps are over.
    pub(super) fn block_output(&self, key: &Key) -> Json {
        let Some(step) = self.workflow.step(key.step) else { return Json::null() };
        let members = self.members(key);
        let join = match &step.kind {
            Kind::Map(map) => map.join,
            Kind::Parallel(parallel) => parallel.join,
            _ => None,
        };
        let output = |key: &Key| self.output_json(key).unwrap_or_default();
        if join == Some(Join::Partial) {
            return self.partial_output(matches!(step.kind, Kind::Map(_)), &members);
        }
        match &step.kind {
            Kind::Map(_) => list(members.iter().map(output)),
            Kind::Parallel(_) => object(members.iter().map(|key| (self.name(key), output(key)))),
            _ => {
                let done = |key: &&Key| {
                    self.doings.get(key).is_some_and(|doing| doing.status == StepStatus::Completed)
                };
                members.iter().rev().find(done).map_or_else(Json::null, output)
            }
        }
    }

    /// `{"completed": […], "failed": […]}`, each with its place or its name.
    fn partial_output(&self, is_map: bool, members: &[Key]) -> Json {
        let (mut completed, mut failed) = (Vec::new(), Vec::new());
        for member in members {
            let Some(doing) = self.doings.get(member) else { continue };
            let name = match is_map {
                true => ("index", json!(member.items.last()).into()),
                false => ("id", json!(self.name(member)).into()),
            };
            match doing.status {
                StepStatus::Failed | StepStatus::Cancelled => {
                    failed.push(object([name, ("error", json!(doing.failure).into())]));
                }
                _ => completed.push(object([name, ("output", self.output_json(member).unwrap_or_default())])),
            }
        }
        object([("completed", list(completed)), ("failed", list(failed))])
    }
}

/// A list of JSON as JSON; each keeps its text.
pub(super) fn list(all: impl IntoIterator<Item = Json>) -> Json {
    // What is made of JSON is JSON.
    Json::of(&all.into_iter().collect::<Vec<_>>()).unwrap_or_default()
}

/// Names and JSON as JSON, in their order; each keeps its text.
pub(super) fn object<'n>(all: impl IntoIterator<Item = (&'n str, Json)>) -> Json {
    let mut text = String::from("{");
    for (name, value) in all {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(&serde_json::Value::from(name).to_string());
        text.push(':');
        text.push_str(value.as_str());
    }
    text.push('}');
    Json::parse(&text).unwrap_or_default()
}
