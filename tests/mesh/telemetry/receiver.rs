//! An OTLP receiver: HTTP by axum, the protocol's own messages, nothing of ours.

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use prost::Message;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::task::JoinHandle;

/// What a receiver does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manner {
    Takes,
    /// Takes the request and never answers.
    Hangs,
}

/// One span, as far as a test looks.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) service: String,
    pub(super) trace: String,
    pub(super) id: String,
    pub(super) parent: String,
    pub(super) name: String,
    pub(super) kind: i32,
    pub(super) failed: bool,
    pub(super) took_ns: u64,
    pub(super) links: Vec<String>,
    attributes: Vec<(String, String)>,
}

impl Seen {
    /// An attribute as text; empty where there is none.
    pub(super) fn get(&self, name: &str) -> &str {
        self.attributes.iter().find(|(n, _)| n == name).map_or("", |(_, value)| value)
    }
}

struct Inner {
    manner: Manner,
    seen: Mutex<Vec<Seen>>,
    requests: AtomicUsize,
}

/// A receiver on a free port of this machine. Dropped, it is away.
pub(super) struct Receiver {
    pub(super) url: String,
    inner: Arc<Inner>,
    serving: JoinHandle<()>,
}

impl Receiver {
    pub(super) async fn start(manner: Manner) -> Receiver {
        let inner = Arc::new(Inner { manner, seen: Mutex::default(), requests: AtomicUsize::new(0) });
        let app = Router::new().route("/v1/traces", post(take)).with_state(inner.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let serving = tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
        Receiver { url, inner, serving }
    }

    /// Nobody listens there any more.
    pub(super) fn goes(&self) {
        self.serving.abort();
    }

    /// All spans so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().expect("no panic").clone()
    }

    /// Requests that came so far.
    pub(super) fn requests(&self) -> usize {
        self.inner.requests.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn take(State(inner): State<Arc<Inner>>, headers: HeaderMap, body: Bytes) -> (StatusCode, Vec<u8>) {
    inner.requests.fetch_add(1, Ordering::Relaxed);
    if inner.manner == Manner::Hangs {
        std::future::pending::<()>().await;
    }
    if headers.get("content-type").is_none_or(|media| media != "application/x-protobuf") {
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, Vec::new());
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body) else {
        return (StatusCode::BAD_REQUEST, Vec::new());
    };
    let mut seen = inner.seen.lock().expect("no panic");
    for of_resource in request.resource_spans {
        let resource = of_resource.resource.unwrap_or_default();
        let service = text(&resource.attributes, "service.name");
        for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            assert!(span.trace_id.len() == 16 && span.span_id.len() == 8, "ids as the protocol wants them");
            assert!(span.start_time_unix_nano > 0 && span.end_time_unix_nano >= span.start_time_unix_nano);
            seen.push(Seen {
                service: service.clone(),
                trace: hex(&span.trace_id),
                id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                name: span.name,
                kind: span.kind,
                failed: span.status.is_some_and(|status| status.code == 2),
                took_ns: span.end_time_unix_nano - span.start_time_unix_nano,
                links: span.links.iter().map(|link| hex(&link.trace_id)).collect(),
                attributes: span
                    .attributes
                    .iter()
                    .map(|it| (it.key.clone(), text(std::slice::from_ref(it), &it.key)))
                    .collect(),
            });
        }
    }
    (StatusCode::OK, ExportTraceServiceResponse::default().encode_to_vec())
}

fn text(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|it| it.key == name).and_then(|it| it.value.clone()?.value);
    match found {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(it)) => it.to_string(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
