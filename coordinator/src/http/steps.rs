//! The steps of an execution, page by page: from memory, or of one that has left it, as many as its view has kept.

use super::answer::{self, Problem, Refusal};
use super::kind::EXECUTION;
use super::request::{Caller, Params, Segments, named, page_limit};
use crate::Shared;
use crate::door::{self, Came};
use crate::shard::{Ask, StepsAfter};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use synod_ledger::EntityKey;
use synod_protocol::workflow::{Execution, StepDoing};
use synod_protocol::{Code, EntityId, Error, Json, topics};
use tokio::time::Instant;
use utoipa::{IntoParams, ToSchema};

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct StepParams {
    /// Items of a page, 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Steps of an execution that have begun, in the order of the definition.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(crate) struct StepPage {
    /// Each doing of a step: in a map there is one for each item.
    items: Vec<StepDoing>,
    /// Where the next page begins; absent after the last.
    next_cursor: Option<String>,
    /// So many more are kept no longer: it ended long ago, and of such ones the first 200 are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left_out: Option<u64>,
}

/// The steps of an execution that have begun, in the order of the definition.
#[utoipa::path(get, path = "/v1/executions/{id}/steps", params(StepParams, ("id" = String, Path, description = "The execution's id")), responses(
    (status = 200, description = "One page of them", body = StepPage),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_steps(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    Params(params): Params<StepParams>,
) -> Result<Response, Refusal> {
    let execution: EntityId = named(&id)?;
    let limit = page_limit(params.limit)?;
    let after = params.cursor.as_deref().map(read_cursor).transpose()?;
    let mut path = format!("{}/steps?limit={limit}", EXECUTION.location(&execution));
    if let Some(cursor) = &params.cursor {
        path.push_str(&format!("&cursor={}", door::escaped(cursor)));
    }
    let workspace = &caller.workspace;
    let key = EntityKey::of(workspace, &execution);
    let shard = topics::partition(execution.root().as_bytes(), shared.config.partitions);
    let here = || in_memory(&shared, shard, &key, after.clone(), limit);
    match door::of_owner(&shared, shard, workspace, &path, caller.came, here).await {
        Err(error) if error.code == Code::NotFound && caller.came == Came::FromClient => {
            let view = EXECUTION.read(&shared, &caller, &execution, Duration::ZERO).await?;
            let view = view.to::<Execution>().map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            Ok(answer::shown(StatusCode::OK, &of_view(view, after.as_ref(), limit)?)?)
        }
        told => Ok(answer::entity(StatusCode::OK, &told?, None)),
    }
}

async fn in_memory(
    shared: &Shared,
    shard: u32,
    key: &EntityKey,
    after: Option<StepsAfter>,
    limit: usize,
) -> Result<Json, Error> {
    door::certain(shared, shard).await?;
    let (execution, limit) = (key.clone(), limit + 1);
    let ask = |answer| Ask::Steps { execution, after, limit, answer };
    let steps = shared.shards[shard as usize].ask(Instant::now() + door::ANSWER, ask).await?.0;
    let steps = steps.to().map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    answer::as_json(&page(steps, limit - 1))
}

/// A page of those that are there, which are one more where there is another page.
fn page(mut items: Vec<StepDoing>, limit: usize) -> StepPage {
    let more = items.len() > limit;
    items.truncate(limit);
    let next_cursor = items.last().filter(|_| more).map(cursor);
    StepPage { items, next_cursor, left_out: None }
}

fn of_view(view: Execution, after: Option<&StepsAfter>, limit: usize) -> Result<StepPage, Error> {
    let left_out = view.step_counts.values().sum::<u64>().saturating_sub(view.steps.len() as u64);
    let mut steps = view.steps;
    if let Some(StepsAfter { step, items }) = after {
        let at = steps.iter().position(|doing| doing.step == *step && doing.items == *items);
        steps.drain(..=at.ok_or_else(no_cursor)?);
    }
    let page = page(steps, limit);
    let left_out = Some(left_out).filter(|left_out| *left_out > 0 && page.next_cursor.is_none());
    Ok(StepPage { left_out, ..page })
}

/// A step's id has letters, digits and `_`: a dot before each item's number cannot be taken for a part of it.
fn cursor(doing: &StepDoing) -> String {
    doing.items.iter().fold(doing.step.clone(), |cursor, item| format!("{cursor}.{item}"))
}

fn read_cursor(cursor: &str) -> Result<StepsAfter, Error> {
    let mut parts = cursor.split('.');
    let step = parts.next().unwrap_or_default().to_owned();
    let items: Result<Vec<u32>, _> = parts.map(str::parse).collect();
    Ok(StepsAfter { step, items: items.map_err(|_| no_cursor())? })
}

fn no_cursor() -> Error {
    Error::invalid("this cursor is not of these steps").with_field("/cursor")
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_protocol::Timestamp;
    use synod_protocol::workflow::{ExecutionStatus, StepStatus, Usage};

    fn doing(step: &str, items: &[u32]) -> StepDoing {
        StepDoing {
            step: step.to_owned(),
            items: items.to_vec(),
            kind: "task".into(),
            status: StepStatus::Completed,
            attempts: 1,
            revision: 1,
            child: None,
            input: None,
            output: None,
            confidence: None,
            advice: None,
            error: None,
            agent_id: None,
            earlier: Vec::new(),
            started_at: Timestamp::from_millis(0),
            ended_at: None,
        }
    }

    fn view(steps: Vec<StepDoing>, in_all: u64) -> Execution {
        Execution {
            execution_id: "e".parse().unwrap(),
            workspace: synod_protocol::Workspace::default_name(),
            workflow_id: "w".parse().unwrap(),
            hash: String::new(),
            status: ExecutionStatus::Completed,
            paused_because: None,
            input: Json::null(),
            output: None,
            output_left_out: false,
            error: None,
            steps,
            step_counts: [(StepStatus::Completed, in_all)].into(),
            usage: Usage::default(),
            labels: std::collections::BTreeMap::new(),
            started_at: Timestamp::from_millis(0),
            ended_at: None,
            correlation_id: String::new(),
        }
    }

    #[test]
    fn a_view_is_read_page_by_page_and_says_what_it_has_not_kept() {
        let steps = || vec![doing("a", &[]), doing("m", &[]), doing("b", &[0]), doing("b", &[1])];
        let check = |after: Option<&str>, in_all: u64, want: (&[&str], Option<&str>, Option<u64>)| {
            let after = after.map(|cursor| read_cursor(cursor).unwrap());
            let page = of_view(view(steps(), in_all), after.as_ref(), 2).unwrap();
            let shown: Vec<String> = page.items.iter().map(cursor).collect();
            assert_eq!(
                (shown, page.next_cursor.as_deref(), page.left_out),
                (want.0.iter().map(ToString::to_string).collect(), want.1, want.2)
            );
        };
        check(None, 4, (&["a", "m"], Some("m"), None));
        check(Some("m"), 4, (&["b.0", "b.1"], None, None));
        check(Some("m"), 9, (&["b.0", "b.1"], None, Some(5)));
        check(Some("b.1"), 9, (&[], None, Some(5)));
        let unknown = read_cursor("b.7").unwrap();
        assert_eq!(
            of_view(view(steps(), 4), Some(&unknown), 2).unwrap_err().field.as_deref(),
            Some("/cursor")
        );
        assert!(read_cursor("b.x").is_err());
    }
}
