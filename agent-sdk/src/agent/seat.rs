//! A participant's seat in negotiations: what it is asked, and how its answer reaches the mesh.
//!
//! ```text
//!   inbox --Ask--> the handler for its kind, until the round closes --response, or none--> synod.negotiation.respond
//! ```

use super::handler::TaskError;
use super::span::WorkSpan;
use crate::door::{DoorError, Origin};
use crate::mesh::Mesh;
use futures::FutureExt;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::telemetry::spans::Scope;
use synod_protocol::negotiation::{Ask, RespondNegotiation};
use synod_protocol::{Command, EntityId, Envelope, Error, Id, Json};

/// What a participant is asked in a round.
#[derive(Clone, Debug)]
pub struct Question {
    ask: Ask,
    left: Duration,
}

impl Question {
    /// Which negotiation.
    pub fn negotiation_id(&self) -> &EntityId {
        &self.ask.negotiation_id
    }

    /// How it is decided, such as `vote`.
    pub fn protocol(&self) -> &str {
        &self.ask.protocol
    }

    /// Which round, from 1.
    pub fn round(&self) -> u32 {
        self.ask.round
    }

    /// What is asked for, such as `ballot`.
    pub fn kind(&self) -> &str {
        &self.ask.kind
    }

    /// Who is asked.
    pub fn participant(&self) -> &Id {
        &self.ask.participant
    }

    /// How much of the round's time was left when this was asked.
    pub fn time_left(&self) -> Duration {
        self.left
    }

    /// What is to be decided.
    ///
    /// # Errors
    /// It is no such thing: permanent.
    pub fn question<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        read(self.ask.question.as_str(), "the question")
    }

    /// The protocol's settings; absent ones are `{}`.
    ///
    /// # Errors
    /// They are no such thing: permanent.
    pub fn rules<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        let text = if self.ask.rules == Json::null() { "{}" } else { self.ask.rules.as_str() };
        read(text, "the rules")
    }

    /// What is asked in this round beside the question.
    ///
    /// # Errors
    /// It is no such thing: permanent.
    pub fn content<T: DeserializeOwned>(&self) -> Result<T, TaskError> {
        read(self.ask.content.as_str(), "what is asked")
    }
}

fn read<T: DeserializeOwned>(json: &str, what: &str) -> Result<T, TaskError> {
    serde_json::from_str(json)
        .map_err(|e| TaskError::permanent("invalid_input", format!("{what} does not read: {e}")))
}

pub(crate) type Answering =
    Arc<dyn Fn(Question) -> BoxFuture<'static, Result<Option<Json>, TaskError>> + Send + Sync>;

/// The answers that an agent has, by what is asked for: to whatever protocol asks for it, or to one alone.
#[derive(Default)]
pub(crate) struct Answers(BTreeMap<(String, Option<&'static str>), Answering>);

impl Answers {
    /// One more; `protocol`: to this one alone.
    ///
    /// # Errors
    /// There is one already.
    pub(crate) fn put(
        &mut self,
        kind: String,
        protocol: Option<&'static str>,
        answering: Answering,
    ) -> Result<(), Error> {
        let is_taken = |(taken, of): &(String, Option<&'static str>)| {
            *taken == kind && (*of == protocol || of.is_none() || protocol.is_none())
        };
        if self.0.keys().any(is_taken) {
            return Err(Error::invalid(format!("there are two answers to a question for a {kind}")));
        }
        self.0.insert((kind, protocol), answering);
        Ok(())
    }

    fn get(&self, ask: &Ask) -> Option<&Answering> {
        let answers_it = |(kind, of): &(String, Option<&'static str>)| {
            *kind == ask.kind && of.is_none_or(|protocol| protocol == ask.protocol)
        };
        self.0.iter().find(|(key, _)| answers_it(key)).map(|(_, answering)| answering)
    }
}

/// Runs the handler, writes its answer.
pub(crate) fn answering<O, H, F>(handler: H) -> Answering
where
    O: Serialize,
    H: Fn(Question) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Option<O>, TaskError>> + Send + 'static,
{
    let handler = Arc::new(handler);
    Arc::new(move |question| {
        let handler = handler.clone();
        async move {
            let answer = handler(question).await?;
            let write = |answer| Json::of(&answer);
            answer.map(write).transpose().map_err(|e| {
                TaskError::permanent("invalid_output", format!("the answer cannot be written: {e}"))
            })
        }
        .boxed()
    })
}

/// One thing that was asked, as it was taken.
pub(crate) struct Asked {
    pub(crate) ask: Ask,
    pub(crate) envelope: Envelope,
    pub(crate) body: String,
    pub(crate) left: Duration,
}

/// Answers, or says nothing where the handler could not or had no time. Whoever has no handler for it abstains: the others
/// need not wait for it.
pub(crate) async fn answer(mesh: &Mesh, answers: &Answers, asked: &Asked) {
    let (ask, left) = (asked.ask.clone(), asked.left);
    let (negotiation_id, round, kind) = (&asked.ask.negotiation_id, asked.ask.round, &asked.ask.kind);
    let mut span = WorkSpan::of_answer(asked);
    let response = match answers.get(&asked.ask) {
        None => {
            tracing::info!(%negotiation_id, round, kind, "asked for what this agent has no answer to: it abstains");
            None
        }
        Some(answering) => {
            // On a task of its own: its panic is its own.
            let working = tokio::spawn(answering(Question { ask, left }));
            match tokio::time::timeout(left, Aborted(working)).await {
                Ok(Ok(Ok(response))) => response,
                Ok(Ok(Err(error))) => {
                    span.fail(error.to_string());
                    tracing::warn!(%negotiation_id, round, kind, %error, "no answer: the handler failed");
                    return;
                }
                Ok(Err(error)) => {
                    span.fail("the handler panicked");
                    tracing::error!(%negotiation_id, round, kind, %error, "no answer: the handler panicked");
                    return;
                }
                Err(_) => {
                    span.fail("the round's time is over");
                    tracing::info!(%negotiation_id, round, kind, "no answer: the round's time is over");
                    return;
                }
            }
        }
    };
    let respond = RespondNegotiation {
        negotiation_id: negotiation_id.clone(),
        participant: asked.ask.participant.clone(),
        round: Some(round),
        abstain: response.is_none().then_some(true),
        response,
    };
    let origin = Origin {
        inner_of: span.traceparent().map(|_| Scope::Agent),
        traceparent: span.traceparent().or_else(|| asked.envelope.traceparent.clone()),
        correlation_id: asked.envelope.correlation_id.clone(),
        causation_id: Some(asked.envelope.id.clone()),
        ..Origin::default()
    };
    // As long as it could count, and a little longer to hear that it did not.
    let limit = left + Duration::from_secs(1);
    match mesh.command(&Command::RespondNegotiation(respond), &origin, limit).await {
        Ok(_) => {}
        Err(DoorError::Refused(error)) => {
            tracing::info!(%negotiation_id, round, kind, %error, "an answer was not taken");
        }
        Err(error) => tracing::warn!(%negotiation_id, round, kind, %error, "an answer could not be given"),
    }
}

/// A task that ends with whoever waits for it.
struct Aborted(tokio::task::JoinHandle<Result<Option<Json>, TaskError>>);

impl Future for Aborted {
    type Output = Result<Result<Option<Json>, TaskError>, tokio::task::JoinError>;

    fn poll(
        mut self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Self::Output> {
        self.0.poll_unpin(cx)
    }
}

impl Drop for Aborted {
    fn drop(&mut self) {
        self.0.abort();
    }
}
