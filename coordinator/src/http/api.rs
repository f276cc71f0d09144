//! The routes with their description (OpenAPI 3.1), which follows from them.
//!
//! What is true of many routes is said here once: the headers that say who asks, the limits of `limit` and `wait_ms`, the tag.

use super::WAIT_LIMIT;
use crate::Shared;
use axum::Router;
use std::collections::BTreeMap;
use std::sync::Arc;
use synod_protocol::{Id, Workspace};
use utoipa::OpenApi as _;
use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::schema::{ObjectBuilder, Schema, SchemaType, Type};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::server::Server;
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{OpenApi, RefOr, Required};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Synod",
        description = "Coordination mesh for software agents: tasks, agents, events. Errors are problem+json (RFC 9457) with `code`."
    ),
    // What parameters alone refer to is not gathered from the routes.
    components(schemas(super::agent_list::Sort, super::agent_list::Order))
)]
struct Description;

/// What each tag is about: the first segment of the paths after `/v1`, or `process`.
const TAGS: [(&str, &str); 26] = [
    ("agents", "Who does the work"),
    ("approvals", "People decide"),
    ("budgets", "Budgets that all share"),
    ("commands", "The quick door for CloudEvents"),
    ("counters", "Counters that all share"),
    ("events", "What happened"),
    ("executions", "Runs of workflows"),
    ("fleet", "All agents together"),
    ("limits", "Rate limits that all share"),
    ("locks", "Locks with fencing tokens"),
    ("log-level", "What this coordinator logs"),
    ("memory", "What agents remember"),
    ("negotiations", "Agents and others decide together"),
    ("process", "This coordinator, for an orchestrator"),
    ("queues", "Messages that wait for a consumer"),
    ("semaphores", "So many permits at a time"),
    ("snapshots", "The mesh at a moment"),
    ("state", "Values under keys that all hold in common"),
    ("state-policies", "How conflicts of writes are resolved"),
    ("state-statistics", "How much shared state there is"),
    ("statistics", "Counts and latencies"),
    ("status", "Shards, owners, dependencies"),
    ("subscriptions", "Hear of changes of shared state"),
    ("tasks", "Work"),
    ("tools", "One-shot, nothing durable"),
    ("workflows", "Definitions of workflows"),
];

/// Routes, and the schemas that they name.
pub(crate) struct Api {
    router: OpenApiRouter<Arc<Shared>>,
    schemas: BTreeMap<String, RefOr<Schema>>,
    /// Names that stand for more than one schema, of which only one would be shown.
    ambiguous: Vec<String>,
}

impl Api {
    /// No routes.
    pub(crate) fn new() -> Api {
        let router = OpenApiRouter::with_openapi(OpenApi::default());
        Api { router, schemas: BTreeMap::new(), ambiguous: Vec::new() }
    }

    /// One more path.
    pub(crate) fn routes(mut self, routes: UtoipaMethodRouter<Arc<Shared>>) -> Api {
        self.note(&routes.0);
        Api { router: self.router.routes(routes), ..self }
    }

    /// The routes of another room.
    pub(crate) fn merge(mut self, other: Api) -> Api {
        let theirs: Vec<_> = other.schemas.into_iter().collect();
        self.note(&theirs);
        self.ambiguous.extend(other.ambiguous);
        Api { router: self.router.merge(other.router), ..self }
    }

    fn note(&mut self, schemas: &[(String, RefOr<Schema>)]) {
        for (name, schema) in schemas {
            match self.schemas.get(name) {
                Some(known) if known != schema => self.ambiguous.push(name.clone()),
                Some(_) => {}
                None => {
                    self.schemas.insert(name.clone(), schema.clone());
                }
            }
        }
    }

    /// The routes to serve, and their description.
    pub(crate) fn split(self) -> (Router<Arc<Shared>>, OpenApi) {
        let (router, paths) = self.router.split_for_parts();
        let mut description = Description::openapi();
        description.merge(paths);
        description.info.version = env!("CARGO_PKG_VERSION").to_owned();
        description.servers = Some(vec![Server::new("/")]);
        // Nothing is asked of who is not known: who says who he is, is believed.
        description.security = Some(vec![SecurityRequirement::default()]);
        for (path, item) in &mut description.paths.paths {
            let tag = tag_of(path);
            for (method, operation) in operations(item) {
                operation.tags = Some(vec![tag.to_owned()]);
                finish(path, &method, operation);
            }
        }
        let used = |tag: &str| description.paths.paths.keys().any(|path| tag_of(path) == tag);
        let tags = TAGS.into_iter().filter(|(name, _)| used(name));
        let tags = tags.map(|(name, says)| TagBuilder::new().name(name).description(Some(says)).build());
        description.tags = Some(tags.collect());
        (router, description)
    }
}

fn tag_of(path: &str) -> &str {
    let first = path.strip_prefix("/v1/").map(|rest| rest.split(['/', ':']).next().unwrap_or(rest));
    first.unwrap_or("process")
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (HttpMethod, &mut Operation)> {
    let all = [
        (HttpMethod::Get, &mut item.get),
        (HttpMethod::Put, &mut item.put),
        (HttpMethod::Post, &mut item.post),
        (HttpMethod::Delete, &mut item.delete),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

/// Says of one operation what is true of all alike.
fn finish(path: &str, method: &HttpMethod, operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    for parameter in parameters.iter_mut() {
        if let RefOr::T(parameter) = parameter {
            place(path, parameter);
            bound(parameter);
        }
    }
    if path.starts_with("/v1/") && !["/v1/commands", "/v1/status"].contains(&path) {
        parameters.extend(caller(method).map(RefOr::T));
    }
}

/// What the path does not name is in the query: utoipa knows that of axum's own extractors alone.
fn place(path: &str, parameter: &mut Parameter) {
    if parameter.parameter_in == ParameterIn::Path && !path.contains(&format!("{{{}}}", parameter.name)) {
        parameter.parameter_in = ParameterIn::Query;
    }
    if parameter.parameter_in != ParameterIn::Path {
        // Left out or not, it is never `null`.
        if let Some(schema) = &mut parameter.schema {
            never_null(schema);
        }
    }
}

fn never_null(schema: &mut RefOr<Schema>) {
    match schema {
        RefOr::T(Schema::Object(object)) => {
            if let SchemaType::Array(types) = &object.schema_type {
                let other = types.iter().find(|one| **one != Type::Null).cloned();
                object.schema_type = other.map_or(SchemaType::AnyValue, SchemaType::Type);
            }
        }
        RefOr::T(Schema::OneOf(one)) => {
            let is_null = |item: &RefOr<Schema>| matches!(item, RefOr::T(Schema::Object(object)) if object.schema_type == SchemaType::Type(Type::Null));
            one.items.retain(|item| !is_null(item));
            if let [only] = one.items.as_slice() {
                *schema = only.clone();
            }
        }
        _ => {}
    }
}

/// The bounds of what stands in many queries under one name.
fn bound(parameter: &mut Parameter) {
    let (least, most) = match parameter.name.as_str() {
        "limit" => (1, 1_000),
        "wait_ms" => (0, WAIT_LIMIT.as_millis() as usize),
        _ => return,
    };
    let bounded = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(least)).maximum(Some(most));
    if parameter.parameter_in == ParameterIn::Query {
        parameter.schema = Some(bounded.into());
    }
}

/// The headers that say who asks, and the one that makes a repeat harmless.
fn caller(method: &HttpMethod) -> impl Iterator<Item = Parameter> {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let workspace = text().pattern(Some(Workspace::PATTERN));
    let agent = text().pattern(Some(Id::PATTERN));
    let key = text().pattern(Some("^[!-~]{1,255}$"));
    let writes = *method != HttpMethod::Get;
    let all = [
        ("Synod-Workspace", "Whose; `default` by default", workspace, true),
        ("Synod-Agent", "The agent that asks, if one does", agent, true),
        ("Idempotency-Key", "The same request again, and not another one, if it is the same", key, writes),
    ];
    all.into_iter().filter(|(.., wanted)| *wanted).map(|(name, says, schema, _)| {
        let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header);
        header.required(Required::False).description(Some(says)).schema(Some(schema)).build()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn each_name_of_a_schema_means_one_thing() {
        assert_eq!(super::super::api().ambiguous, Vec::<String>::new());
    }

    #[test]
    fn every_operation_has_a_name_of_its_own_a_tag_that_is_explained_and_parameters_where_they_are() {
        let (_, mut description) = super::super::api().split();
        let tags: BTreeSet<String> =
            description.tags.take().unwrap().into_iter().map(|tag| tag.name).collect();
        let mut names = BTreeSet::new();
        for (path, item) in &mut description.paths.paths {
            for (_, operation) in operations(item) {
                assert!(
                    names.insert(operation.operation_id.clone().unwrap()),
                    "{path} {:?}",
                    operation.operation_id
                );
                assert!(operation.tags.iter().flatten().all(|tag| tags.contains(tag)), "{path}");
                let mut in_path = 0;
                for parameter in operation.parameters.iter().flatten() {
                    let RefOr::T(parameter) = parameter else { panic!("{path}: a reference") };
                    in_path += usize::from(parameter.parameter_in == ParameterIn::Path);
                }
                assert_eq!(in_path, path.matches('{').count(), "{path}: what it names is described");
            }
        }
    }
}
