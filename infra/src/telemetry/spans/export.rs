//! The exporter's own thread: it sorts what came, and sends it. A receiver that hangs holds up nothing but the sending.

use super::config::SpanConfig;
use super::hold::{Hold, Sorted};
use super::span::Span;
use super::wire;
use crate::telemetry::{TelemetryError, names};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

/// The thread's name, by which one sees that there is none.
const THREAD: &str = "otlp";
/// How often what has come is sorted.
const SORT_EVERY: Duration = Duration::from_millis(200);
/// Spans of one request.
const BATCH: usize = 512;
/// The waits before a request is sent again; after the last its spans are given up.
const WAITS: [Duration; 3] = [Duration::from_millis(500), Duration::from_secs(1), Duration::from_secs(2)];

/// Where spans are put by whoever has ended one.
#[derive(Debug)]
pub(super) struct Inbox {
    spans: Mutex<Vec<Span>>,
    limit: usize,
    closed: CancellationToken,
}

impl Inbox {
    pub(super) fn new(limit: usize) -> Inbox {
        Inbox { spans: Mutex::default(), limit: limit.max(64), closed: CancellationToken::new() }
    }

    /// Whether there was room.
    pub(super) fn put(&self, span: Span) -> bool {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let has_room = spans.len() < self.limit;
        if has_room {
            spans.push(span);
        }
        has_room
    }

    pub(super) fn close(&self) {
        self.closed.cancel();
    }

    fn drain(&self) -> Vec<Span> {
        std::mem::take(&mut *self.spans.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What is to be sent.
#[derive(Default)]
struct Ready {
    spans: Mutex<(VecDeque<Span>, bool)>,
    more: Notify,
}

impl Ready {
    /// How many did not fit.
    fn put(&self, new: Vec<Span>, limit: usize) -> usize {
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let room = limit.saturating_sub(spans.0.len()).min(new.len());
        let left = new.len() - room;
        spans.0.extend(new.into_iter().take(room));
        drop(spans);
        self.more.notify_one();
        left
    }

    fn close(&self) {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.more.notify_one();
    }

    /// The next of them; `None` when there are none and none will come.
    async fn next(&self) -> Option<Vec<Span>> {
        loop {
            {
                let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
                let (waiting, closed) = &mut *spans;
                if !waiting.is_empty() {
                    let many = waiting.len().min(BATCH);
                    return Some(waiting.drain(..many).collect());
                }
                if *closed {
                    return None;
                }
            }
            self.more.notified().await;
        }
    }
}

/// Starts the thread; it tells `ended` when all has been sent after the inbox was closed.
pub(super) fn start(
    config: SpanConfig,
    inbox: Arc<Inbox>,
    ended: oneshot::Sender<()>,
) -> Result<JoinHandle<()>, TelemetryError> {
    let failed = |error: &dyn std::fmt::Display| TelemetryError::Spans(error.to_string());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| failed(&e))?;
    // A proxy of the surroundings is for what leaves the machine; a collector is named as it is.
    let http =
        reqwest::Client::builder().no_proxy().timeout(config.timeout).build().map_err(|e| failed(&e))?;
    let run = move || {
        let ready = Ready::default();
        runtime.block_on(async {
            tokio::join!(sort(&config, &inbox, &ready), send(&config, &http, &ready, &inbox.closed));
        });
        // Nobody may wait for it any more.
        let _ = ended.send(());
    };
    std::thread::Builder::new().name(THREAD.to_owned()).spawn(run).map_err(|e| failed(&e))
}

async fn sort(config: &SpanConfig, inbox: &Inbox, ready: &Ready) {
    let mut hold = Hold::new(config.slow);
    loop {
        let closed = inbox.closed.is_cancelled();
        let (mut sorted, now) = (Sorted::default(), Instant::now());
        for span in inbox.drain() {
            hold.take(span, now, &mut sorted);
        }
        hold.look(now, &mut sorted);
        count("unsampled", sorted.gone);
        if !sorted.kept.is_empty() {
            count("dropped", ready.put(sorted.kept, config.queue));
        }
        if closed {
            ready.close();
            return;
        }
        tokio::select! {
            () = tokio::time::sleep(SORT_EVERY) => {}
            () = inbox.closed.cancelled() => {}
        }
    }
}

async fn send(config: &SpanConfig, http: &reqwest::Client, ready: &Ready, ending: &CancellationToken) {
    let mut well = true;
    while let Some(spans) = ready.next().await {
        let many = spans.len();
        let body = wire::request(config, spans);
        let began = Instant::now();
        match sent(config, http, &body, ending).await {
            Ok(refused) => {
                metrics::histogram!(names::SPAN_EXPORT_SECONDS).record(began.elapsed().as_secs_f64());
                count("exported", many.saturating_sub(refused));
                count("refused", refused.min(many));
                if !std::mem::replace(&mut well, true) {
                    tracing::info!(endpoint = config.endpoint, "the OTLP receiver takes spans again");
                }
            }
            Err(why) => {
                count("failed", many);
                if std::mem::replace(&mut well, false) {
                    tracing::warn!(
                        endpoint = config.endpoint,
                        why,
                        "the OTLP receiver takes no spans; they are lost, and counted in {}",
                        names::SPANS_TOTAL
                    );
                }
            }
        }
    }
}

/// One request until it is taken; how many spans of it were refused. Who ends does not try again.
async fn sent(
    config: &SpanConfig,
    http: &reqwest::Client,
    body: &[u8],
    ending: &CancellationToken,
) -> Result<usize, String> {
    let mut waits = WAITS.into_iter();
    loop {
        let mut request = http.post(&config.endpoint).header("content-type", "application/x-protobuf");
        for (name, value) in &config.headers {
            request = request.header(name, value);
        }
        let why = match request.body(body.to_vec()).send().await {
            Ok(answer) if answer.status().is_success() => {
                let told = answer.bytes().await.unwrap_or_default();
                let told = ExportTraceServiceResponse::decode(told).unwrap_or_default();
                let refused = told.partial_success.map_or(0, |partial| partial.rejected_spans);
                return Ok(usize::try_from(refused).unwrap_or(0));
            }
            // Which answers are worth another try: https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
            Ok(answer) if !matches!(answer.status().as_u16(), 429 | 502 | 503 | 504) => {
                return Err(format!("it answers {}", answer.status()));
            }
            Ok(answer) => format!("it answers {}", answer.status()),
            Err(error) => error.without_url().to_string(),
        };
        let Some(wait) = waits.next() else { return Err(why) };
        tokio::select! {
            () = tokio::time::sleep(wait) => {} // the backoff itself
            () = ending.cancelled() => return Err(why),
        }
    }
}

fn count(outcome: &'static str, many: usize) {
    if many > 0 {
        metrics::counter!(names::SPANS_TOTAL, "outcome" => outcome).increment(many as u64);
    }
}
