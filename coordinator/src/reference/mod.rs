//! The interfaces of the mesh as documents that tools read, made of the same types that the mesh runs on.

mod asyncapi;

use crate::http;
use serde_json::{Map, Value, json};
use synod_protocol::catalogue::{self, Shape};
use synod_protocol::{Command, topics};

/// The HTTP interface: OpenAPI 3.1 in JSON.
pub fn openapi() -> String {
    let (_, description) = http::api().split();
    // A description is plain data.
    let mut description = serde_json::to_value(&description).unwrap_or_default();
    any_is_null_too(&mut description);
    written(&description)
}

/// The Kafka interface: AsyncAPI 3.0 in JSON.
pub fn asyncapi() -> String {
    written(&asyncapi::document())
}

/// A JSON Schema for the value of every message, in one document: by where it is found and its type, each a reference
/// into `components/schemas`.
pub fn schemas() -> String {
    let mut document = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Synod: values of its messages",
        "components": { "schemas": components() },
    });
    for channel in channels() {
        let mut of_channel = Map::new();
        for shape in &channel.messages {
            of_channel.insert(shape.ty.to_owned(), asyncapi::payload(&channel.messages, shape.ty));
        }
        document[channel.name] = of_channel.into();
    }
    written(&document)
}

fn written(document: &Value) -> String {
    format!("{document:#}\n")
}

fn components() -> Value {
    let all: Vec<Shape> = channels().into_iter().flat_map(|channel| channel.messages).collect();
    let (schemas, _) = catalogue::schemas(&all);
    let mut schemas = serde_json::to_value(schemas).unwrap_or_default();
    any_is_null_too(&mut schemas);
    schemas
}

/// "Any JSON, or else null" is fitted twice by null, which `oneOf` does not allow: it becomes any JSON.
fn any_is_null_too(value: &mut Value) {
    match value {
        Value::Object(members) => {
            let either = members.get("oneOf").and_then(Value::as_array);
            let any = either.and_then(|items| {
                let is_null = items.iter().any(|item| item["type"] == "null");
                items.iter().find(|item| is_null && item["$ref"] == "#/components/schemas/Json").cloned()
            });
            if let Some(Value::Object(any)) = any {
                members.remove("oneOf");
                members.extend(any);
            }
            members.values_mut().for_each(any_is_null_too);
        }
        Value::Array(items) => items.iter_mut().for_each(any_is_null_too),
        _ => {}
    }
}

/// One kind of topic.
struct Channel {
    /// What the documents call it.
    name: &'static str,
    /// The topic, or the pattern of many.
    address: &'static str,
    says: &'static str,
    /// Of what is between braces in the address.
    parameter: Option<(&'static str, &'static str)>,
    /// What the record's key is; none: it has none that says anything.
    key: &'static str,
    /// Whether the mesh reads it.
    is_read: bool,
    messages: Vec<Shape>,
}

fn channels() -> Vec<Channel> {
    vec![
        Channel {
            name: "commands",
            address: topics::COMMANDS,
            says: "What is asked of the mesh. Partition: murmur2 of the key, as Kafka's Java client does",
            parameter: None,
            key: "The id of the root that the command is about: of the task, agent, execution, …",
            is_read: true,
            messages: Command::shapes(),
        },
        Channel {
            name: "heartbeats",
            address: topics::HEARTBEATS,
            says: "Signs of life of agents that are served through Kafka, one a second",
            parameter: None,
            key: "The agent's id",
            is_read: true,
            messages: catalogue::heartbeats(),
        },
        Channel {
            name: "events",
            address: topics::EVENTS,
            says: "What happened. At least once each: drop what you had by `ce_id`",
            parameter: None,
            key: "The id of the root that it happened to; `<workspace>/<key>` for shared state",
            is_read: false,
            messages: catalogue::events(),
        },
        Channel {
            name: "inboxes",
            address: "synod.inbox.{agent}",
            says: "Work for one agent, where it asked for a Kafka topic of its own. At least once each",
            parameter: Some(("agent", "What the agent chose when it registered, such as its id")),
            key: "The id of the root",
            is_read: false,
            messages: catalogue::inbox(),
        },
        Channel {
            name: "replies",
            address: "synod.reply.{name}",
            says: "Answers to commands that name it in `synod-reply-to`. At least once each",
            parameter: Some(("name", "What the command named")),
            key: "The id of the root",
            is_read: false,
            messages: catalogue::replies(),
        },
        Channel {
            name: "directory",
            address: topics::AGENTS,
            says: "The agents as every coordinator knows them, compacted. Read it, never write it",
            parameter: None,
            key: "The agent's id; `<workspace>/<id>` outside of the workspace `default`",
            is_read: false,
            messages: catalogue::directory(),
        },
        Channel {
            name: "dead_letters",
            address: "dlq.{topic}",
            says: "What could not be handled: key, value and headers as they came, and `__dlq.…` headers",
            parameter: Some(("topic", "Where it stood")),
            key: "As it came",
            is_read: false,
            messages: catalogue::dead_letters(),
        },
        Channel {
            name: "retries",
            address: "synod.retry.{tier}",
            says: "What applications' consumers hand back: each record comes again on its topic once it has lain here for the tier's time. At least once each",
            parameter: Some(("tier", "How long a record lies: `1s`, `10s`, `1m`, `10m` or `1h`")),
            key: "As it came: those of one key come again in their order",
            is_read: true,
            messages: catalogue::retries(),
        },
    ]
}
