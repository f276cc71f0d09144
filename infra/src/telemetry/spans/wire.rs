//! Spans as OTLP has them.

use super::config::SpanConfig;
use super::span::{Kind, Span, Value};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{self as otlp, ResourceSpans, ScopeSpans, Status};
use prost::Message;
use std::time::{SystemTime, UNIX_EPOCH};

/// The body of one request.
pub(super) fn request(config: &SpanConfig, spans: Vec<Span>) -> Vec<u8> {
    let resource = Resource {
        attributes: vec![
            text("service.name", config.service.clone()),
            text("service.namespace", "synod".to_owned()),
            text("service.instance.id", config.instance.clone()),
            text("service.version", env!("CARGO_PKG_VERSION").to_owned()),
            text("telemetry.sdk.name", "synod".to_owned()),
            text("telemetry.sdk.language", "rust".to_owned()),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope { name: "synod".to_owned(), ..InstrumentationScope::default() };
    let spans = spans.into_iter().map(one).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
    let resource_spans =
        vec![ResourceSpans { resource: Some(resource), scope_spans, schema_url: String::new() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

fn one(span: Span) -> otlp::Span {
    let ended = span.ended.unwrap_or(span.began);
    let status = span.error.map(|message| Status { message, code: StatusCode::Error.into() });
    let event = |(at, name): (SystemTime, std::borrow::Cow<'static, str>)| Event {
        time_unix_nano: nanos(at),
        name: name.into_owned(),
        ..Event::default()
    };
    let link = |to: super::TraceContext| Link {
        trace_id: to.trace_id.to_vec(),
        span_id: to.span_id.to_vec(),
        flags: u32::from(to.flags),
        ..Link::default()
    };
    otlp::Span {
        trace_id: span.context.trace_id.to_vec(),
        span_id: span.context.span_id.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.to_vec()).unwrap_or_default(),
        flags: u32::from(span.context.flags),
        name: span.name.into_owned(),
        kind: kind(span.kind).into(),
        start_time_unix_nano: nanos(span.began),
        end_time_unix_nano: nanos(ended),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        events: span.events.into_iter().map(event).collect(),
        links: span.links.into_iter().map(link).collect(),
        status,
        ..otlp::Span::default()
    }
}

fn kind(kind: Kind) -> SpanKind {
    match kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
        Kind::Producer => SpanKind::Producer,
        Kind::Consumer => SpanKind::Consumer,
    }
}

fn text(name: &'static str, value: String) -> KeyValue {
    attribute((name.into(), value.into()))
}

fn attribute((name, value): (std::borrow::Cow<'static, str>, Value)) -> KeyValue {
    let value = match value {
        Value::Text(text) => any_value::Value::StringValue(text.into_owned()),
        Value::Whole(number) => any_value::Value::IntValue(number),
        Value::Number(number) => any_value::Value::DoubleValue(number),
        Value::Bool(it) => any_value::Value::BoolValue(it),
    };
    KeyValue { key: name.into_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanos(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
