//! A run as it is kept in an image: what its events have said. The rest follows from it.

use super::doing::{Doing, Held, Past, readable};
use super::{Key, Run};
use crate::source::Format;
use crate::workflow::Workflow;
use rpds::RedBlackTreeMapSync;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::sync::Arc;
use synod_protocol::command::Failure;
use synod_protocol::workflow::{ExecutionStarted, ExecutionStatus, Usage};
use synod_protocol::{Json, Timestamp};

#[derive(Serialize, Deserialize)]
struct Image {
    started: Arc<ExecutionStarted>,
    started_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    status: ExecutionStatus,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    paused_because: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<Json>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    output_left_out: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<Failure>,
    attempts: u64,
    usage: Usage,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    budget_lifted: bool,
    doings: Vec<(Key, Doing)>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    past: Vec<(Key, Past)>,
}

impl Serialize for Run {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        let image = Image {
            started: Arc::clone(&self.started),
            started_at: self.started_at,
            ended_at: self.ended_at,
            status: self.status,
            paused_because: self.paused_because.clone(),
            output: self.output.clone(),
            output_left_out: self.output_left_out,
            failure: self.failure.clone(),
            attempts: self.attempts,
            usage: self.usage,
            budget_lifted: self.budget_lifted,
            doings: self.doings.iter().map(|(key, doing)| (key.clone(), doing.clone())).collect(),
            past: self.past.iter().map(|(key, past)| (key.clone(), past.clone())).collect(),
        };
        image.serialize(s)
    }
}

impl<'de> Deserialize<'de> for Run {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Run, D::Error> {
        let image = Image::deserialize(d)?;
        let id = &image.started.execution_id;
        let workflow =
            Workflow::parse_as(image.started.definition.as_str(), Format::Json).map_err(|problems| {
                de::Error::custom(format!("the definition of execution {id} cannot be read: {problems}"))
            })?;
        if workflow.hash() != image.started.hash {
            let (is, hash) = (workflow.hash(), &image.started.hash);
            let message = format!(
                "the definition of execution {id} has the hash {is}, and {hash} is what it was started with"
            );
            return Err(de::Error::custom(message));
        }
        readable(&image.started.input).map_err(de::Error::custom)?;
        let mut doings = RedBlackTreeMapSync::new_sync();
        for (key, doing) in image.doings {
            check(&workflow, &key).map_err(de::Error::custom)?;
            doings.insert_mut(key, doing);
        }
        let mut past = RedBlackTreeMapSync::new_sync();
        for (key, one) in image.past {
            check(&workflow, &key).map_err(de::Error::custom)?;
            past.insert_mut(key, one);
        }
        let mut run = Run {
            input: Held::new(image.started.input.clone()),
            started: image.started,
            started_at: image.started_at,
            ended_at: image.ended_at,
            status: image.status,
            paused_because: image.paused_because,
            output: image.output,
            output_left_out: image.output_left_out,
            failure: image.failure,
            attempts: image.attempts,
            usage: image.usage,
            budget_lifted: image.budget_lifted,
            doings,
            past,
            index: super::Index::default(),
            workflow,
        };
        run.rebuild();
        Ok(run)
    }
}

/// Whether a doing can be one of this workflow.
fn check(workflow: &Workflow, key: &Key) -> Result<(), String> {
    match key.step < workflow.len() && key.items.len() == workflow.maps_around(key.step) {
        true => Ok(()),
        false => Err(format!("the workflow has no step {} for {} items", key.step, key.items.len())),
    }
}
