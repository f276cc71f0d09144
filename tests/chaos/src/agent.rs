//! An agent: the SDK's, with a journal of what came out of its inbox and of what it did. A process of its own
//! (`synod-chaos agent`).

use crate::Trouble;
use crate::journal::{AgentLine, Journal};
use crate::plan::{AgentPlan, Off};
use crate::process::{now_ms, stdin_ends};
use crate::script::{self, AT_FIRST, Answer, NEVER, SAYS_SO};
use crate::stage::SHARDS;
use agent_sdk::{Agent, Context, Mesh, MeshConfig, TaskError};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;
use synod_protocol::topics;
use tracing::field::{Field, Visit};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

/// Where the SDK logs what comes out of an inbox.
const INBOX: &str = "synod::inbox";

/// Runs one until stdin ends. One thread, so that what it notes stands in the order in which it came.
pub(crate) async fn run(plan: AgentPlan) -> Result<(), Trouble> {
    let journal = Arc::new(Journal::<AgentLine>::open(&plan.journal)?);
    let listen =
        Listener { journal: journal.clone(), does_all: matches!(plan.off, Some(Off::Memory | Off::Inboxes)) };
    let words = fmt::layer().with_writer(std::io::stderr).with_filter(LevelFilter::WARN);
    let inbox = listen.with_filter(Targets::new().with_target(INBOX, LevelFilter::TRACE));
    tracing_subscriber::registry().with(words).with(inbox).init();
    let mut config = MeshConfig { http: plan.http, ..MeshConfig::default() }.with_redis(plan.redis);
    if let Some(kafka) = plan.kafka {
        config = config.with_kafka(kafka);
    }
    let mesh = Mesh::connect(config).map_err(Trouble::wrong)?;
    let (name, work) = (plan.name.clone(), Duration::from_millis(plan.work_ms));
    let handler = move |context: Context, input: Value| {
        let (journal, name) = (journal.clone(), name.clone());
        async move {
            let nonce = format!("{name}-{}", uuid::Uuid::new_v4().simple());
            let did = AgentLine::Did {
                task: context.task_id().to_string(),
                attempt: context.attempt(),
                key: input["key"].as_str().unwrap_or_default().to_owned(),
                nonce: nonce.clone(),
            };
            journal.note(&[did]).map_err(|error| TaskError::retryable("journal", error.to_string()))?;
            if !work.is_zero() {
                tokio::time::sleep(work).await; // the work itself
            }
            let feedback = context.feedback().and_then(|feedback| feedback.to::<Value>().ok());
            match script::answer(context.task_id().as_str(), &input, feedback.as_ref()) {
                None => Ok(json!({"nonce": nonce})),
                Some(Answer::Value(value)) => Ok(json!({"value": value, "nonce": nonce})),
                Some(Answer::Fails) => Err(TaskError::retryable(AT_FIRST, SAYS_SO)),
                Some(Answer::Never) => Err(TaskError::permanent(NEVER, SAYS_SO)),
            }
        }
    };
    let agent = Agent::builder(&plan.name)
        .capability(&plan.capability, handler)
        .answers("ballot", |_| hesitates(json!(["x", "y"][random(2)])))
        .answers("bid", |_| hesitates(json!({"price": random(100), "time_ms": 500 + random(1_000)})))
        .answers("commit", |_| hesitates(json!({"accept": random(100) < 85})))
        .answers("result", |_| hesitates(json!({"result": random(1_000)})))
        .concurrency(plan.concurrency)
        .drain_limit(Duration::from_secs(5))
        .build(&mesh)
        .map_err(Trouble::wrong)?;
    agent.run(stdin_ends()).await.map(drop).map_err(Trouble::wrong)
}

/// An answer after some hesitation, in which whoever asked may die; now and then none, or none in time.
async fn hesitates(answer: Value) -> Result<Option<Value>, TaskError> {
    let takes = match random(100) {
        0..5 => Duration::from_secs(60),
        5..8 => return Err(TaskError::permanent("at_a_loss", "it has no answer")),
        8..11 => return Ok(None),
        _ => Duration::from_millis(50 + random(250) as u64),
    };
    tokio::time::sleep(takes).await; // the hesitation itself
    Ok(Some(answer))
}

fn random(limit: usize) -> usize {
    uuid::Uuid::new_v4().as_u64_pair().0 as usize % limit
}

/// Notes what the SDK says of each attempt that comes out of the inbox.
struct Listener {
    journal: Arc<Journal<AgentLine>>,
    /// The guard that is off: whatever comes is done.
    does_all: bool,
}

#[derive(Default)]
struct Taken {
    task: String,
    attempt: u32,
    epoch: u64,
    kept: bool,
}

impl Visit for Taken {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == "task_id" {
            self.task = format!("{value:?}");
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "attempt" => self.attempt = value as u32,
            "epoch" => self.epoch = value,
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "kept" {
            self.kept = value;
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        let mut taken = Taken::default();
        event.record(&mut taken);
        let Taken { task, attempt, epoch, kept } = taken;
        // Where it lives, which says whose epoch it is: what is handed over once more names no place in the ledger.
        let root = task.split(':').next().unwrap_or_default();
        let shard = topics::partition(root.as_bytes(), SHARDS);
        let at_ms = now_ms().unsigned_abs();
        let mut lines = vec![AgentLine::Took { shard, epoch, task: task.clone(), attempt, kept, at_ms }];
        if self.does_all && !kept {
            let nonce = uuid::Uuid::new_v4().simple().to_string();
            lines.push(AgentLine::Did { task, attempt, key: String::new(), nonce });
        }
        if let Err(error) = self.journal.note(&lines) {
            eprintln!("the journal: {error}");
        }
    }
}
