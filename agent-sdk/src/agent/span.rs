//! Spans of what an agent does, as OpenTelemetry and OpenInference name things: what Phoenix draws as a graph of agents.

use super::context::Context;
use super::desk::Job;
use super::handler::TaskError;
use super::seat::Asked;
use synod_infra::telemetry::TraceContext;
use synod_infra::telemetry::spans::{self, Kind, Scope, Span, Value};
use synod_protocol::{Id, Json};

/// What is done within an attempt (`openinference.span.kind`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// A tool is called.
    Tool,
    /// A model is asked.
    Llm,
    /// Something is looked up.
    Retriever,
    /// Steps one after the other.
    Chain,
}

impl WorkKind {
    fn as_str(self) -> &'static str {
        match self {
            WorkKind::Tool => "TOOL",
            WorkKind::Llm => "LLM",
            WorkKind::Retriever => "RETRIEVER",
            WorkKind::Chain => "CHAIN",
        }
    }

    /// `gen_ai.operation.name`, where there is one.
    fn operation(self) -> Option<&'static str> {
        match self {
            WorkKind::Tool => Some("execute_tool"),
            WorkKind::Llm => Some("chat"),
            WorkKind::Retriever | WorkKind::Chain => None,
        }
    }
}

/// A span within an attempt; ended when it is dropped. Where nobody listens it does nothing.
///
/// ```no_run
/// use agent_sdk::{Context, TaskError, WorkKind};
///
/// async fn handler(context: Context, question: String) -> Result<String, TaskError> {
///     let mut span = context.span(WorkKind::Llm, "chat small-model");
///     span.set("gen_ai.request.model", "small-model");
///     let answer = format!("what {question}?");
///     span.tokens(12, 4);
///     Ok(answer)
/// }
/// ```
#[derive(Debug)]
pub struct WorkSpan {
    span: Option<Span>,
}

impl WorkSpan {
    pub(super) fn begin(parent: Option<TraceContext>, kind: WorkKind, name: String) -> WorkSpan {
        let parent = parent.filter(|_| spans::on());
        let span = parent.map(|parent| {
            Span::child(&parent, Scope::Agent, Kind::Internal, name)
                .with("openinference.span.kind", kind.as_str())
                .with_some("gen_ai.operation.name", kind.operation())
        });
        WorkSpan { span }
    }

    /// The span of an answer as a participant of a negotiation; it does nothing where the question came without a trace.
    pub(super) fn of_answer(asked: &Asked) -> WorkSpan {
        let parent = asked.envelope.traceparent.as_deref().filter(|_| spans::on());
        let span = parent.and_then(TraceContext::parse).map(|parent| {
            Span::child(&parent, Scope::Agent, Kind::Consumer, format!("answer {}", asked.ask.kind))
                .with("openinference.span.kind", "AGENT")
                .with("gen_ai.agent.id", asked.ask.participant.to_string())
                .with("graph.node.id", asked.ask.participant.to_string())
                .with("graph.node.parent_id", asked.ask.protocol.clone())
                .with("synod.id", asked.ask.negotiation_id.to_string())
                .with("synod.round", asked.ask.round)
                .with_some("session.id", asked.envelope.correlation_id.clone())
                .ends_its_part()
        });
        WorkSpan { span }
    }

    /// One attribute more: at most 64, texts of at most 8,192 bytes.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.span {
            span.set(name, value);
        }
    }

    /// What it was given, if spans may carry that.
    pub fn input(&mut self, input: &Json) {
        self.payload("input.value", "input.mime_type", input);
    }

    /// What it came to, if spans may carry that.
    pub fn output(&mut self, output: &Json) {
        self.payload("output.value", "output.mime_type", output);
    }

    fn payload(&mut self, value: &'static str, mime: &'static str, json: &Json) {
        if let Some(span) = self.span.as_mut().filter(|_| spans::payloads()) {
            span.set(value, json.as_str().to_owned());
            span.set(mime, "application/json");
        }
    }

    /// What a model was given and returned, in tokens.
    pub fn tokens(&mut self, input: u64, output: u64) {
        self.set("gen_ai.usage.input_tokens", input);
        self.set("gen_ai.usage.output_tokens", output);
        self.set("llm.token_count.prompt", input);
        self.set("llm.token_count.completion", output);
    }

    /// It came to nothing: by this its trace is kept.
    pub fn fail(&mut self, why: impl Into<String>) {
        self.span = self.span.take().map(|span| span.failed(why));
    }

    /// The `traceparent` to hand on, to what is asked of others in it.
    pub fn traceparent(&self) -> Option<String> {
        self.span.as_ref().map(|span| span.context().to_string())
    }
}

impl Drop for WorkSpan {
    fn drop(&mut self) {
        if let Some(span) = self.span.take() {
            span.end();
        }
    }
}

/// The span of an attempt, begun; none where nobody listens or it came without a trace.
pub(super) fn of_attempt(agent: &Id, job: &Job) -> Option<Span> {
    let parent = job.envelope.traceparent.as_deref().filter(|_| spans::on()).and_then(TraceContext::parse)?;
    let work = &job.assignment;
    let what = work.capability.as_ref().map_or_else(|| "for one agent".to_owned(), ToString::to_string);
    let mut span = Span::child(&parent, Scope::Agent, Kind::Consumer, format!("process {what}"))
        .with("openinference.span.kind", "AGENT")
        .with("gen_ai.operation.name", "invoke_agent")
        .with("gen_ai.agent.id", agent.to_string())
        .with("gen_ai.agent.name", agent.to_string())
        .with("agent.name", agent.to_string())
        .with("graph.node.id", agent.to_string())
        .with("graph.node.parent_id", step_of(work.task_id.as_str()).unwrap_or(&what).to_owned())
        .with("messaging.operation.type", "process")
        .with("messaging.system", "redis")
        .with("messaging.destination.name", format!("inbox of {agent}"))
        .with("messaging.message.id", format!("{}#{}", work.task_id, work.attempt))
        .with("synod.id", work.task_id.to_string())
        .with("synod.attempt", work.attempt)
        .with_some("session.id", job.envelope.correlation_id.clone())
        .ends_its_part();
    if spans::payloads() {
        span.set("input.value", work.input.as_str().to_owned());
        span.set("input.mime_type", "application/json");
    }
    Some(span)
}

/// Which step of a workflow a task does, by its id: `<execution>:<step>`, then `[item]`, `:<attempt>`, `/advice`.
fn step_of(task: &str) -> Option<&str> {
    task.split_once(':')?.1.split(['[', ':', '/']).next()
}

/// Ends the span of an attempt; `None`: nobody waits for its result any more.
pub(super) fn end_attempt(context: &Context, result: Option<&Result<Json, TaskError>>) {
    let Some(mut span) = context.take_span() else { return };
    if let Some(usage) = context.usage() {
        span.set("llm.token_count.total", usage.tokens);
        span.set("synod.usage.money_micros", usage.money_micros);
    }
    let span = match result {
        Some(Ok(output)) if spans::payloads() => {
            span.with("output.value", output.as_str().to_owned()).with("output.mime_type", "application/json")
        }
        Some(Ok(_)) => span,
        Some(Err(error)) => {
            let failure = error.failure();
            span.with("error.type", failure.code).failed(failure.message)
        }
        None => span.with("synod.outcome", "moot"),
    };
    span.end();
}

#[cfg(test)]
mod tests {
    use super::step_of;

    #[test]
    fn a_task_s_id_says_which_step_it_does() {
        let check = |task: &str, step: Option<&str>| assert_eq!(step_of(task), step, "{task}");
        check("exec_1:ocr", Some("ocr"));
        check("exec_1:ocr[3][0]:2/advice", Some("ocr"));
        check("exec_1:ocr/advice", Some("ocr"));
        check("task_1", None);
    }
}
