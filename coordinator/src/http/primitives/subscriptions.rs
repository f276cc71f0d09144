//! Subscriptions on keys of shared state, and webhooks on events: made, listed, removed; webhooks enabled again and their dead letters sent again.
//! The streams themselves are in `changes_stream`.

use super::super::answer::{self, Page, Problem, Refusal};
use super::super::api::Api;
use super::super::request::{Caller, JsonBody, Params, Segments, named, now, page_limit};
use super::changes_stream;
use crate::Shared;
use crate::webhooks::target;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use synod_infra::primitives::subscriptions::{Kept, Progress, Subscriptions, shown};
use synod_protocol::event_stream::{EventFilter, TYPES_LIMIT};
use synod_protocol::primitives::changes::{
    DeadDelivery, MakeSubscription, Position, Sought, Spot, Subscription,
};
use synod_protocol::{Applied, Code, ContentType, Error, Id, Json, codec};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

/// The routes of subscriptions.
pub(crate) fn routes() -> Api {
    Api::new()
        .routes(routes!(make_subscription, list_subscriptions))
        .routes(routes!(get_subscription, delete_subscription))
        .routes(routes!(changes_stream::stream))
        .routes(routes!(enable_subscription))
        .routes(routes!(list_dead))
        .routes(routes!(redrive))
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// 1 to 1,000; 100 by default.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What to send again.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Redrive {
    /// One dead letter; absent: all of them.
    #[serde(default)]
    message_id: Option<String>,
}

/// How many will be sent again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Redriven {
    redriven: u64,
}

/// Makes a subscription on the keys that a pattern means: a stream, which is then read, or a webhook, which is sent; or a
/// webhook on types of events.
#[utoipa::path(post, path = "/v1/subscriptions", request_body = MakeSubscription, responses(
    (status = 200, description = "It was there already: a repeat under the same `Idempotency-Key`", body = Subscription),
    (status = 201, description = "Made; everything after `position` is told", body = Subscription),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn make_subscription(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let asked: MakeSubscription = codec::decode(ContentType::Json, &body, &shared.config.limits)?;
    let (sought, after) = sought(&asked)?;
    match (&asked.webhook, asked.stream, &sought) {
        (Some(webhook), None | Some(false), _) => {
            webhook.key()?;
            target::check(&webhook.url, &shared.config.webhook_allow).await?;
        }
        (None, Some(true), Sought::Keys { .. }) => {}
        (None, _, Sought::Events { .. }) => {
            let said = "events are sent to a \"webhook\"; GET /v1/events/stream tells them as a stream";
            return Err(Error::invalid(said).with_field("/webhook").into());
        }
        _ => {
            return Err(Error::invalid("give either \"stream\": true or a \"webhook\"")
                .with_field("/stream")
                .into());
        }
    }
    let id = match &caller.idempotency_key {
        Some(key) => Id::derived("sub_", &caller.workspace, key),
        None => Id::made("sub_", uuid::Uuid::now_v7()),
    };
    let all = Subscriptions::new(shared.redis.clone());
    let before = match caller.idempotency_key {
        Some(_) => all.get(&caller.workspace, &id).await.map_err(Error::from)?,
        None => None,
    };
    let position = match (after, &sought) {
        (Some(position), _) => position,
        (None, Sought::Keys { .. }) => Spot::Keys(Box::new(newest(&shared).await?)),
        (None, Sought::Events { .. }) => Spot::Events(shared.event_feed.newest().await?),
    };
    if let (Sought::Events { events }, Spot::Events(position)) = (&sought, &position) {
        shared.event_feed.check(events, position).await?;
    }
    let kept = Kept { subscription_id: id, sought, webhook: asked.webhook, position, created_at: now() };
    let once = caller.once("POST /v1/subscriptions", &body);
    all.make(&caller.workspace, &kept, once.as_ref()).await?;
    let status = if before.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    let kept = before.unwrap_or(kept);
    let location = format!("/v1/subscriptions/{}", kept.subscription_id);
    Ok(answer::entity(status, &answer::as_json(&shown(kept, None))?, Some(location)))
}

/// What was asked for, and from where on, if that is said.
fn sought(asked: &MakeSubscription) -> Result<(Sought, Option<Spot>), Error> {
    let refused = |said: &str, field: &str| Err(Error::invalid(said).with_field(field));
    let sought = match (&asked.pattern, &asked.events) {
        (Some(_), Some(_)) => return refused("give either a pattern of keys or types of events", "/events"),
        (None, None) => {
            return refused("give a \"pattern\" of keys, or \"events\" with types of events", "/pattern");
        }
        (Some(_), None) if asked.entity.is_some() => {
            return refused("only events have an entity", "/entity");
        }
        (Some(pattern), None) => Sought::Keys { pattern: pattern.clone() },
        (None, Some(types)) if !(1..=TYPES_LIMIT).contains(&types.len()) => {
            let said = format!("there are {} types of events, there may be 1 to {TYPES_LIMIT}", types.len());
            return refused(&said, "/events");
        }
        (None, Some(types)) => {
            let events = EventFilter { types: types.clone(), entity: asked.entity.clone() };
            Sought::Events { events }
        }
    };
    match (&sought, &asked.after) {
        (Sought::Keys { .. }, Some(Spot::Events(_))) => {
            refused("this position is one of events, not of shared state", "/after")
        }
        (Sought::Events { .. }, Some(Spot::Keys(_))) => {
            refused("this position is one of shared state, not of events", "/after")
        }
        (_, after) => Ok((sought, after.clone())),
    }
}

/// After all that there is now.
async fn newest(shared: &Shared) -> Result<Position, Error> {
    let ends = shared.feed.ends().await?;
    let closed = || {
        let said = "Redis: the mirror of shared state is being read back; try again in a moment";
        Error { applied: Some(Applied::No), ..Error::unavailable(said) }
    };
    Ok(ends.ok_or_else(closed)?.newest)
}

/// The subscriptions of the workspace, in order of their ids.
#[utoipa::path(get, path = "/v1/subscriptions", params(ListParams), responses(
    (status = 200, description = "A page of subscriptions", body = Page<Subscription>),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_subscriptions(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<Response, Refusal> {
    let limit = page_limit(params.limit)?;
    let foreign = |_| Error::invalid("this cursor is not of this list").with_field("/cursor");
    let after: Option<Id> = params.cursor.as_deref().map(str::parse).transpose().map_err(foreign)?;
    if after.as_ref().is_some_and(|id| !id.as_str().starts_with("sub_")) {
        return Err(foreign(Error::invalid("")).into());
    }
    let all = Subscriptions::new(shared.redis.clone());
    let found = all.list(&caller.workspace, after.as_ref(), limit + 1).await.map_err(Error::from)?;
    let next = (found.len() > limit).then(|| found[limit - 1].subscription_id.to_string());
    let items: Vec<Json> = found.iter().take(limit).map(answer::as_json).collect::<Result<_, _>>()?;
    Ok(answer::page(&items, next.as_deref()))
}

/// One subscription.
#[utoipa::path(get, path = "/v1/subscriptions/{id}", params(("id" = String, Path, description = "The subscription's id")), responses(
    (status = 200, description = "The subscription; never with its secret", body = Subscription),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn get_subscription(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, Refusal> {
    let kept = found(&shared, &caller, &id).await?;
    let all = Subscriptions::new(shared.redis.clone());
    let progress = match kept.webhook {
        Some(_) => all.progress(&caller.workspace, &kept.subscription_id).await.map_err(Error::from)?,
        None => None,
    };
    Ok(answer::entity(StatusCode::OK, &answer::as_json(&shown(kept, progress.as_ref()))?, None))
}

/// The subscription of this id.
pub(super) async fn found(shared: &Shared, caller: &Caller, id: &str) -> Result<Kept, Refusal> {
    let named: Id = named(id)?;
    let all = Subscriptions::new(shared.redis.clone());
    let kept = all.get(&caller.workspace, &named).await.map_err(Error::from)?;
    Ok(kept.ok_or_else(|| Error::not_found("subscription", id))?)
}

/// Removes a subscription and its dead letters.
#[utoipa::path(delete, path = "/v1/subscriptions/{id}", params(("id" = String, Path, description = "The subscription's id")), responses(
    (status = 204, description = "Removed"),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn delete_subscription(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, Refusal> {
    let named: Id = named(&id)?;
    let once = caller.once(&format!("DELETE /v1/subscriptions/{named}"), b"");
    let all = Subscriptions::new(shared.redis.clone());
    match all.delete(&caller.workspace, &named, once.as_ref()).await.map_err(Error::from)? {
        true => Ok(StatusCode::NO_CONTENT.into_response()),
        false => Err(Error::not_found("subscription", &id).into()),
    }
}

/// Has a webhook sent again that was disabled after too many failures. What happened meanwhile is sent, as far as it is kept.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/enable", params(("id" = String, Path, description = "The webhook's id")), responses(
    (status = 200, description = "It is enabled", body = Subscription),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn enable_subscription(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, Refusal> {
    let kept = webhook(&shared, &caller, &id).await?;
    let all = Subscriptions::new(shared.redis.clone());
    let progress: Option<Progress> =
        all.enable(&caller.workspace, &kept.subscription_id).await.map_err(Error::from)?;
    let progress = progress.ok_or_else(|| Error::not_found("subscription", &id))?;
    Ok(answer::entity(StatusCode::OK, &answer::as_json(&shown(kept, Some(&progress)))?, None))
}

async fn webhook(shared: &Shared, caller: &Caller, id: &str) -> Result<Kept, Refusal> {
    let kept = found(shared, caller, id).await?;
    if kept.webhook.is_none() {
        let said = format!("subscription {id} is a stream; only webhooks are enabled and have dead letters");
        return Err(Error::new(Code::Unprocessable, said).into());
    }
    Ok(kept)
}

/// What could not be delivered to a webhook: the newest hundred, the oldest of them first.
#[utoipa::path(get, path = "/v1/subscriptions/{id}/dead", operation_id = "list_dead_deliveries", params(("id" = String, Path, description = "The webhook's id")), responses(
    (status = 200, description = "`{\"items\": [dead delivery], \"next_cursor\": null}`", body = DeadDelivery),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn list_dead(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
) -> Result<Response, Refusal> {
    let kept = webhook(&shared, &caller, &id).await?;
    let all = Subscriptions::new(shared.redis.clone());
    let dead = all.dead(&caller.workspace, &kept.subscription_id).await.map_err(Error::from)?;
    let items: Vec<Json> = dead.iter().map(answer::as_json).collect::<Result<_, _>>()?;
    Ok(answer::page(&items, None))
}

/// Has dead letters sent again, under their old `webhook-id`: one, or all of them.
#[utoipa::path(post, path = "/v1/subscriptions/{id}/redrive", operation_id = "redrive_deliveries", request_body = Redrive, params(("id" = String, Path, description = "The webhook's id")), responses(
    (status = 200, description = "How many will be sent again", body = Redriven),
    (status = "4XX", description = "Refused", body = Problem, content_type = "application/problem+json"),
    (status = "5XX", description = "Not now", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn redrive(
    State(shared): State<Arc<Shared>>,
    caller: Caller,
    Segments(id): Segments<String>,
    JsonBody(body): JsonBody,
) -> Result<Response, Refusal> {
    let asked: Redrive = match body.is_empty() {
        true => Redrive::default(),
        false => codec::decode(ContentType::Json, &body, &shared.config.limits)?,
    };
    let kept = webhook(&shared, &caller, &id).await?;
    let once = caller.once(&format!("POST /v1/subscriptions/{id}/redrive"), &body);
    let all = Subscriptions::new(shared.redis.clone());
    let moved = all
        .redrive(&caller.workspace, &kept.subscription_id, asked.message_id.as_deref(), once.as_ref())
        .await
        .map_err(Error::from)?;
    match (moved, asked.message_id) {
        (Some(0), Some(message)) => {
            Err(Error::not_found("dead letter", &message).with_field("/message_id").into())
        }
        (Some(redriven), _) => {
            Ok(answer::entity(StatusCode::OK, &answer::as_json(&Redriven { redriven })?, None))
        }
        (None, _) => Err(Error::not_found("subscription", &id).into()),
    }
}
