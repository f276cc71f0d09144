//! One command until it is accepted: the quick door, again and again with the same id, then the topic.
//!
//! ```text
//!   POST /v1/commands --accepted, refused--> done
//!        |  429: wait as told
//!        |  500, 503, 504, silence: wait, ask another coordinator
//!        `- none answers for `fall_back_after` --> synod.commands.v1, key: the root's id
//! ```

use crate::lanes::Told;
use crate::mesh::Mesh;
use backon::BackoffBuilder;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::telemetry::spans::{self, Kind, Scope, Span};
use synod_infra::telemetry::{TraceContext, trace};
use synod_protocol::http::Message;
use synod_protocol::{Code, Command, ContentType, Envelope, Error, Json, Timestamp, topics};
use tokio::time::Instant;
use uuid::Uuid;

/// Why a command, or a question, came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DoorError {
    /// The mesh refused it.
    #[error(transparent)]
    Refused(#[from] Error),
    /// No answer in time, however often it was repeated. A command may have been accepted all the same:
    /// repeat it with the same ids.
    #[error("no answer within {} ms: {why}", within.as_millis())]
    NoAnswer {
        /// The limit that passed.
        within: Duration,
        /// What was last heard.
        why: String,
    },
    /// The configuration names nothing that could take it.
    #[error("no way to the mesh: configure {0}")]
    NoDoor(&'static str),
}

impl DoorError {
    /// The mesh's code, if it answered.
    pub fn code(&self) -> Option<Code> {
        match self {
            DoorError::Refused(error) => Some(error.code),
            DoorError::NoAnswer { .. } | DoorError::NoDoor(_) => None,
        }
    }
}

/// What a piece of work belongs to; what it causes carries it on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Origin {
    pub(crate) traceparent: Option<String>,
    pub(crate) tracestate: Option<String>,
    pub(crate) correlation_id: Option<String>,
    pub(crate) causation_id: Option<String>,
    /// Whose span it is caused by that has not ended, if that is one of this process.
    pub(crate) inner_of: Option<Scope>,
}

impl Origin {
    /// What was said of a request itself, before what its submitter belongs to.
    pub(crate) fn within(&self, outer: &Origin) -> Origin {
        let said = self.clone();
        Origin {
            tracestate: if said.traceparent.is_some() { None } else { outer.tracestate.clone() },
            traceparent: said.traceparent.or_else(|| outer.traceparent.clone()),
            correlation_id: said.correlation_id.or_else(|| outer.correlation_id.clone()),
            causation_id: outer.causation_id.clone(),
            inner_of: outer.inner_of,
        }
    }

    /// The trace that it belongs to.
    pub(crate) fn trace(&self) -> Option<TraceContext> {
        self.traceparent.as_deref().and_then(TraceContext::parse)
    }

    /// A span of what is asked of the mesh, begun, if anybody listens: in this trace, or the first of a new one.
    pub(crate) fn span(&self, kind: Kind, name: impl Into<Cow<'static, str>>) -> Option<Span> {
        let scope = self.inner_of.unwrap_or(Scope::Client);
        let name = name.into();
        let span = spans::on().then(|| match self.trace() {
            Some(parent) => Span::child(&parent, scope, kind, name),
            None => Span::new(trace::begin(), scope, kind, name),
        })?;
        Some(if self.inner_of.is_some() { span } else { span.ends_its_part() })
    }

    /// The `traceparent` of what is asked under this span. Where nobody listens it is what it came with: a span that nobody is
    /// told of is no parent. Where there is none, the mesh begins a trace.
    pub(crate) fn under(&self, span: Option<&Span>) -> Option<String> {
        span.map(|span| span.context().to_string()).or_else(|| self.traceparent.clone())
    }
}

/// That a command was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Accepted {
    /// The ledger has it.
    InLedger,
    /// Kafka has it; it will be decided.
    Queued,
}

/// The waits between two tries: 20 ms to 1 s, doubling, with jitter.
pub(crate) fn waits() -> impl Iterator<Item = Duration> {
    backon::ExponentialBuilder::default()
        .with_min_delay(Duration::from_millis(20))
        .with_max_delay(Duration::from_secs(1))
        .with_jitter()
        .without_max_times()
        .build()
}

pub(crate) fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

impl Mesh {
    /// Sends a command until it is accepted or refused, within `limit`.
    pub(crate) async fn command(
        &self,
        command: &Command,
        origin: &Origin,
        limit: Duration,
    ) -> Result<Accepted, DoorError> {
        command.check()?;
        let payload = command.encode(ContentType::Json)?;
        self.config().limits.check_size(payload.len())?;
        let span = origin.span(Kind::Producer, command.ce_type());
        let mut envelope = self.envelope(Uuid::now_v7().to_string(), command.ce_type(), origin);
        envelope.traceparent = origin.under(span.as_ref());
        let ce_id = span.as_ref().map(|_| envelope.id.clone());
        let told = Sending { mesh: self, root: command.root(), envelope, payload, limit }.run().await;
        if let Some(span) = span {
            let span = span
                .with("messaging.operation.type", "send")
                .with_some("messaging.message.id", ce_id)
                .with("messaging.destination.name", topics::COMMANDS)
                .with("synod.id", command.root().to_owned());
            match &told {
                // Through the topic, since no coordinator answered.
                Ok(Accepted::Queued) => span.with("messaging.system", "kafka").end(),
                Ok(Accepted::InLedger) => span.end(),
                Err(error) => span.failed(error.to_string()).end(),
            }
        }
        told
    }

    pub(crate) fn envelope(&self, id: String, ty: &str, origin: &Origin) -> Envelope {
        Envelope {
            time: Some(now()),
            workspace: self.config().workspace.clone(),
            traceparent: origin.traceparent.clone(),
            tracestate: origin.tracestate.clone(),
            correlation_id: origin.correlation_id.clone(),
            causation_id: origin.causation_id.clone(),
            ..Envelope::new(id, self.config().source.clone(), ty)
        }
    }
}

struct Sending<'a> {
    mesh: &'a Mesh,
    root: &'a str,
    envelope: Envelope,
    payload: Vec<u8>,
    limit: Duration,
}

impl Sending<'_> {
    async fn run(&self) -> Result<Accepted, DoorError> {
        let config = self.mesh.config();
        let deadline = Instant::now() + self.limit;
        if !self.mesh.http().coordinators.possible() {
            let door = "a coordinator's URL, Redis or Kafka";
            config.kafka.as_ref().ok_or(DoorError::NoDoor(door))?;
            return self.to_topic(deadline).await;
        }
        let text: Arc<str> = self.structured()?.into();
        let mut waits = waits();
        let mut silent_since: Option<Instant> = None;
        loop {
            let asked = self.mesh.lanes().ask(self.root, &self.envelope.id, text.clone());
            let told = tokio::time::timeout_at(deadline, asked)
                .await
                .unwrap_or_else(|_| Told::Silent("a coordinator that holds the request".to_owned()));
            let mut wait = waits.next().unwrap_or(Duration::from_secs(1));
            let why = match told {
                Told::InLedger => return Ok(Accepted::InLedger),
                Told::InKafka => return Ok(Accepted::Queued),
                Told::Refused(error) if !error.code.is_retryable() => return Err(error.into()),
                Told::Refused(error) if error.code == Code::Overloaded => {
                    // Admission is the coordinator's to give: the topic is no way around it.
                    silent_since = None;
                    wait += Duration::from_millis(error.retry_after_ms.unwrap_or(0));
                    error.to_string()
                }
                Told::Refused(error) => {
                    silent_since.get_or_insert_with(Instant::now);
                    error.to_string()
                }
                Told::Silent(why) => {
                    silent_since.get_or_insert_with(Instant::now);
                    why
                }
            };
            let silent = silent_since.is_some_and(|since| since.elapsed() >= config.fall_back_after);
            if silent && config.kafka.is_some() && Instant::now() < deadline {
                tracing::info!(ce_id = %self.envelope.id, %why, "no coordinator answers: through the topic");
                return self.to_topic(deadline).await;
            }
            if Instant::now() + wait >= deadline {
                return Err(DoorError::NoAnswer { within: self.limit, why });
            }
            tokio::time::sleep(wait).await; // the backoff itself
        }
    }

    fn structured(&self) -> Result<String, DoorError> {
        let unreadable = |e: &dyn std::fmt::Display| Error::new(Code::Internal, format!("a command: {e}"));
        let payload = std::str::from_utf8(&self.payload).map_err(|e| unreadable(&e))?;
        let data = Json::parse(payload).map_err(|e| unreadable(&e))?;
        Ok(Message::structured(&self.envelope, &data))
    }

    /// Durable once acknowledged; the producer repeats by itself.
    async fn to_topic(&self, deadline: Instant) -> Result<Accepted, DoorError> {
        let silence = |why: String| DoorError::NoAnswer { within: self.limit, why };
        let producer = self.mesh.producer().map_err(|error| silence(error.to_string()))?;
        let wait = deadline.saturating_duration_since(Instant::now());
        let put = producer.publish_bytes(topics::COMMANDS, self.root, &self.envelope, &self.payload, wait);
        match put.await {
            Ok(_) => Ok(Accepted::Queued),
            Err(error) => Err(silence(format!("through Kafka: {error}"))),
        }
    }
}
