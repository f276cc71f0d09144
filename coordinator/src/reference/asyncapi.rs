//! The topics of the mesh as AsyncAPI 3.0.

use super::{Channel, channels, components};
use serde_json::{Map, Value, json};
use synod_protocol::Envelope;
use synod_protocol::catalogue::Shape;
use synod_protocol::retry::{self, Retry};

/// Headers that every record of ours has.
const REQUIRED: [&str; 4] = ["ce_specversion", "ce_id", "ce_source", "ce_type"];

pub(super) fn document() -> Value {
    let (mut all, mut operations, mut messages) = (Map::new(), Map::new(), Map::new());
    for channel in channels() {
        all.insert(channel.name.to_owned(), described(&channel));
        let action = if channel.is_read { "receive" } else { "send" };
        let reference = json!({ "$ref": format!("#/channels/{}", channel.name) });
        let operation = json!({ "action": action, "channel": reference, "summary": channel.says });
        operations.insert(format!("{action}_{}", channel.name), operation);
        for shape in &channel.messages {
            messages.insert(named(&channel, shape.ty), message(&channel, shape));
        }
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Synod",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What the mesh receives from Kafka and sends to it. Every record but those of applications is a CloudEvent in binary mode.",
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": {
            "kafka": {
                "host": "{brokers}",
                "protocol": "kafka",
                "description": "The Kafka that the coordinators are set to",
                "variables": { "brokers": { "default": "127.0.0.1:9092" } },
            },
        },
        "channels": all,
        "operations": operations,
        "components": { "messages": messages, "schemas": components() },
    })
}

fn described(channel: &Channel) -> Value {
    let refer = |shape: &Shape| {
        let reference = format!("#/components/messages/{}", named(channel, shape.ty));
        (shape.ty.to_owned(), json!({ "$ref": reference }))
    };
    let messages: Map<String, Value> = channel.messages.iter().map(refer).collect();
    let mut described =
        json!({ "address": channel.address, "description": channel.says, "messages": messages });
    if let Some((name, says)) = channel.parameter {
        described["parameters"] = json!({ name: { "description": says } });
    }
    described
}

/// The same type may stand in several topics with another value.
fn named(channel: &Channel, ty: &str) -> String {
    format!("{}.{ty}", channel.name)
}

fn message(channel: &Channel, shape: &Shape) -> Value {
    json!({
        "name": shape.ty,
        "title": shape.ty,
        "summary": shape.says,
        "contentType": "application/json",
        "headers": headers(channel, shape),
        "payload": payload(&channel.messages, shape.ty),
        "bindings": { "kafka": { "key": { "type": "string", "description": channel.key } } },
    })
}

/// The schema of what has this type: where it comes in several shapes, any of them.
pub(super) fn payload(messages: &[Shape], ty: &str) -> Value {
    let of_type = messages.iter().filter(|shape| shape.ty == ty);
    let mut shapes: Vec<Value> =
        of_type.map(|shape| json!({ "$ref": format!("#/components/schemas/{}", shape.schema) })).collect();
    match shapes.len() {
        1 => shapes.remove(0),
        _ => json!({ "anyOf": shapes }),
    }
}

fn headers(channel: &Channel, shape: &Shape) -> Value {
    let describe = |(name, says): (&str, &str)| {
        let mut header = json!({ "type": "string", "description": says });
        match name {
            "ce_specversion" => header["const"] = "1.0".into(),
            "ce_type" if !shape.is_any() => header["const"] = shape.ty.into(),
            "ce_time" | "synod-deadline" => header["format"] = "date-time".into(),
            _ => {}
        }
        (name.to_owned(), header)
    };
    let mut properties: Map<String, Value> = Envelope::headers().map(describe).collect();
    // Of records that are not ours we know what stands in headers of ours.
    let required: &[&str] = match channel.name {
        "dead_letters" => {
            let dlq = ["topic", "partition", "offset", "group", "delivery.count", "message"];
            let of_dlq = dlq.map(|name| (format!("__dlq.errors.{name}"), json!({ "type": "string" })));
            properties.extend(of_dlq);
            &[]
        }
        "retries" => {
            properties.extend(Retry::described().map(describe));
            &[retry::TO]
        }
        _ => &REQUIRED,
    };
    json!({ "type": "object", "properties": properties, "required": required })
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_protocol::Command;
    use synod_protocol::event::What;

    #[test]
    fn every_command_and_every_event_is_in_it_with_a_schema_that_is_there() {
        let document = document();
        let commands = Command::shapes().into_iter().map(|shape| format!("commands.{}", shape.ty));
        let events = What::TYPES.iter().map(|ty| format!("events.{ty}"));
        for name in commands.chain(events) {
            let message = &document["components"]["messages"][&name];
            let reference =
                message["payload"]["$ref"].as_str().unwrap_or_else(|| panic!("{name}: {message}"));
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{name}: {reference}");
        }
    }

    #[test]
    fn a_record_to_be_handed_back_says_in_its_headers_where_it_comes_again() {
        let document = document();
        let headers = &document["components"]["messages"]["retries.any"]["headers"];
        assert_eq!(headers["required"], json!([retry::TO]));
        let retry = Retry {
            to: "orders".into(),
            number: 1,
            limit: 1,
            group: Some("g".into()),
            reason: Some("r".into()),
        };
        for (name, _) in retry.headers() {
            assert!(headers["properties"][name]["description"].is_string(), "{name}: {headers}");
        }
        let letters = &document["components"]["messages"]["dead_letters.any"]["headers"];
        assert_eq!(letters["required"], json!([]));
        assert!(letters["properties"]["__dlq.errors.message"].is_object(), "{letters}");
    }

    #[test]
    fn nothing_refers_to_what_is_not_there() {
        fn walk(value: &Value, root: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                        let pointer = reference.strip_prefix('#').unwrap();
                        assert!(root.pointer(pointer).is_some(), "{reference}");
                    }
                    members.values().for_each(|member| walk(member, root));
                }
                Value::Array(items) => items.iter().for_each(|item| walk(item, root)),
                _ => {}
            }
        }
        let document = document();
        walk(&document, &document);
        let schemas: Value = serde_json::from_str(&super::super::schemas()).unwrap();
        walk(&schemas, &schemas);
        let openapi: Value = serde_json::from_str(&super::super::openapi()).unwrap();
        walk(&openapi, &openapi);
    }
}
