//! A coordinator's outside, as the contract has it, with its memory in a map: enough to let agents and clients
//! of this crate meet, and to misbehave on order. The real one is met in `tests/mesh`.

use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json as Body, Router};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use synod_infra::redis::inbox::{Delivery, Inboxes};
use synod_infra::redis::{EmbeddedRedis, Redis, RedisConfig};
use synod_protocol::command::{Delivery as How, FailTask, SubmitTask};
use synod_protocol::http::Message;
use synod_protocol::view::{
    Agent, AgentStatistics, AgentStatus, Assignment, Attempt, Breaker, Health, Task, TaskStatus, Withdrawal,
};
use synod_protocol::workflow::Workflow;
use synod_protocol::{Code, Command, Envelope, Error, Id, Json, Limits, Timestamp};
use tokio::sync::watch;

/// What the next request to `/v1/commands` meets.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// This refusal, for the whole request; nothing is done.
    Refuse(Error),
    /// It is done, and then the answer is lost.
    LoseAnswer,
    /// This refusal for each command in it; nothing is done.
    RefuseEach(Error),
}

#[derive(Clone)]
pub(crate) struct StandIn {
    inner: Arc<Inner>,
}

struct Inner {
    redis: Redis,
    inboxes: Inboxes,
    memory: Mutex<Memory>,
    changed: watch::Sender<u64>,
    address: Mutex<String>,
}

#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) tasks: BTreeMap<String, Task>,
    pub(crate) agents: BTreeMap<Id, Agent>,
    /// What other shards have, which the executions' own has not heard of.
    pub(crate) workflows: BTreeMap<Id, Workflow>,
    pub(crate) faults: VecDeque<Fault>,
    /// Everything that was done, in order; a repeated `ce_id` is not done again.
    pub(crate) done: Vec<(Envelope, Command)>,
    /// Commands per request.
    pub(crate) batches: Vec<usize>,
    bodies: HashMap<String, String>,
    owed: Vec<Delivery>,
}

impl StandIn {
    pub(crate) async fn start(redis: &EmbeddedRedis) -> StandIn {
        let redis = Redis::new(RedisConfig::new(redis.url())).unwrap();
        let inner = Inner {
            inboxes: Inboxes::new(redis.clone()),
            redis,
            memory: Mutex::default(),
            changed: watch::channel(0).0,
            address: Mutex::default(),
        };
        let stand_in = StandIn { inner: Arc::new(inner) };
        let routes = Router::new()
            .route("/v1/commands", post(commands))
            .route("/v1/tasks", post(submit))
            .route("/v1/tasks/{id}", get(task))
            .route("/v1/agents/{id}", get(agent))
            .route("/v1/workflows/{id}", get(workflow))
            .with_state(stand_in.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        *stand_in.inner.address.lock().unwrap() = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        stand_in
    }

    pub(crate) fn url(&self) -> String {
        self.inner.address.lock().unwrap().clone()
    }

    pub(crate) fn redis(&self) -> &Redis {
        &self.inner.redis
    }

    pub(crate) fn memory(&self) -> MutexGuard<'_, Memory> {
        self.inner.memory.lock().unwrap()
    }

    /// The types of the commands done about a task or an agent, in order.
    pub(crate) fn done_about(&self, root: &str) -> Vec<&'static str> {
        self.memory().done.iter().filter(|(_, c)| c.root() == root).map(|(_, c)| c.ce_type()).collect()
    }

    pub(crate) fn misbehave(&self, faults: impl IntoIterator<Item = Fault>) {
        self.memory().faults.extend(faults);
    }

    /// Puts a body into an agent's inbox, as a coordinator would.
    pub(crate) async fn deliver(&self, delivery: Delivery) {
        self.inner.inboxes.deliver(vec![delivery]).await.remove(0).unwrap();
    }

    /// Hands an attempt out once more, past the inbox' own memory: as after a wipe of Redis.
    pub(crate) async fn repeat(&self, task_id: &str) {
        let again = assignment(&self.memory(), task_id);
        self.deliver(Delivery { attempt_id: None, ..again }).await;
    }

    /// Waits until this holds of the memory; panics after ten seconds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl FnMut(&Memory) -> bool) {
        let mut changed = self.inner.changed.subscribe();
        let waiting = async {
            while !holds(&self.memory()) {
                changed.changed().await.unwrap();
            }
        };
        let limit = Duration::from_secs(10);
        tokio::time::timeout(limit, waiting).await.unwrap_or_else(|_| panic!("not in time: {what}"));
    }

    async fn decide(&self, envelope: &Envelope, command: Command) -> Result<Value, Error> {
        let (result, owed) = {
            let mut memory = self.memory();
            if memory.done.iter().all(|(done, _)| done.id != envelope.id) {
                memory.decide(envelope, &command)?;
                memory.done.push((envelope.clone(), command.clone()));
            }
            (memory.entity(&command), std::mem::take(&mut memory.owed))
        };
        for delivered in self.inner.inboxes.deliver(owed).await {
            delivered.unwrap();
        }
        self.inner.changed.send_modify(|n| *n += 1);
        Ok(result)
    }
}

impl Memory {
    fn decide(&mut self, envelope: &Envelope, command: &Command) -> Result<(), Error> {
        match command {
            Command::OpenNegotiation(_) | Command::RespondNegotiation(_) | Command::CancelNegotiation(_) => {
                return Err(Error::unavailable("the stand-in does not negotiate"));
            }
            Command::StartExecution(start) => {
                // Like an owner that has not heard of any workflow yet.
                let unknown = || Error::not_found("workflow", start.workflow_id.as_str());
                start.definition.as_ref().ok_or_else(unknown)?;
            }
            Command::DefineWorkflow(_)
            | Command::ChangeExecution(..)
            | Command::SignalExecution(_)
            | Command::RetryExecution(_) => {
                return Err(Error::invalid("the stand-in runs no workflows"));
            }
            Command::RequestApproval(_) | Command::DecideApproval(_) | Command::ResubmitApproval(_) => {
                return Err(Error::invalid("the stand-in asks nobody for approval"));
            }
            Command::RegisterAgent(r) => {
                let agent = Agent {
                    agent_id: r.agent_id.clone(),
                    workspace: envelope.workspace.clone(),
                    incarnation: r.incarnation.clone(),
                    status: AgentStatus::Idle,
                    health: Health::Healthy,
                    capabilities: r.capabilities.clone(),
                    max_concurrency: r.max_concurrency.unwrap_or(1),
                    in_flight: 0,
                    breaker: Breaker::Closed,
                    breakers: Vec::new(),
                    labels: r.labels.clone().unwrap_or_default(),
                    resources: r.resources.clone().unwrap_or_default(),
                    delivery: How::Redis,
                    description: None,
                    statistics: AgentStatistics::default(),
                    registered_at: Timestamp::default(),
                    last_seen_at: Timestamp::default(),
                    revision: 0,
                    track_records: std::collections::BTreeMap::new(),
                    restarts: 0,
                    recovery: None,
                    resume_at: None,
                    warning: None,
                };
                self.agents.insert(r.agent_id.clone(), agent);
                let waiting: Vec<String> = self.waiting();
                waiting.iter().for_each(|task_id| self.assign(task_id, None));
            }
            Command::AppraiseAgent(_) => return Err(Error::invalid("the stand-in remembers no promises")),
            Command::ReportError(_) | Command::PauseFleet(_) | Command::ResumeFleet(_) => {
                return Err(Error::invalid("the stand-in keeps no errors and pauses nothing"));
            }
            Command::ChangeAgent(change, c) => {
                use synod_protocol::command::AgentChange::{Deregister, Drain, Stop};
                let missing = || Error::not_found("agent", c.agent_id.as_str());
                let agent = self.agents.get_mut(&c.agent_id).ok_or_else(missing)?;
                match change {
                    Drain => agent.health = Health::Draining,
                    Stop => agent.status = AgentStatus::Completed,
                    Deregister => drop(self.agents.remove(&c.agent_id)),
                    _ => {}
                }
            }
            Command::OrderBreaker(c) => {
                return Err(Error::not_found("a breaker of agent", c.agent_id.as_str()));
            }
            Command::SubmitTask(submit) => self.submit(envelope, submit)?,
            Command::StartTask(c) | Command::ProgressTask(c) => {
                let task = self.authorised(c.task_id.as_str(), c.attempt, &c.attempt_token)?;
                task.status = TaskStatus::Running;
                task.progress = c.progress.or(task.progress);
            }
            Command::CompleteTask(c) => {
                let task = self.authorised(c.task_id.as_str(), c.attempt, &c.attempt_token)?;
                task.status = TaskStatus::Completed;
                task.output = Some(c.output.clone());
                task.confidence = c.confidence;
            }
            Command::FailTask(c) => {
                let task = self.authorised(c.task_id.as_str(), c.attempt, &c.attempt_token)?;
                task.error =
                    Some(Error::new(Code::Internal, format!("{}: {}", c.error.code, c.error.message)));
                match c.error.retryable {
                    false => task.status = TaskStatus::Failed,
                    true if task.attempts.len() >= 3 => task.status = TaskStatus::DeadLettered,
                    true => self.assign(c.task_id.as_str(), None),
                }
            }
            Command::DeclineTask(FailTask { task_id, attempt, attempt_token, .. }) => {
                let task = self.authorised(task_id.as_str(), *attempt, attempt_token)?;
                task.status = TaskStatus::Waiting;
                let decliner = task.attempts.last().map(|a| a.agent_id.clone());
                self.assign(task_id.as_str(), decliner.as_ref());
            }
            Command::CancelTask(c) => {
                let id = c.task_id.as_str();
                let task = self.tasks.get_mut(id).ok_or_else(|| Error::not_found("task", id))?;
                if task.status.is_final() {
                    return Err(Error::invalid_transition("it has ended", task.status.as_str()));
                }
                task.status = TaskStatus::Cancelled;
                self.take_back(id, "synod.task.cancelled");
            }
        }
        Ok(())
    }

    fn submit(&mut self, envelope: &Envelope, submit: &SubmitTask) -> Result<(), Error> {
        let id = submit.task_id.to_string();
        let body = Json::of(submit).unwrap().canonical();
        match self.bodies.insert(id.clone(), body.clone()) {
            Some(known) if known == body => return Ok(()),
            Some(_) => return Err(Error::new(Code::AlreadyExists, "the id is taken")),
            None => {}
        }
        let task = Task {
            task_id: submit.task_id.clone(),
            workspace: envelope.workspace.clone(),
            status: TaskStatus::Waiting,
            capability: submit.capability.clone(),
            agent_id: submit.agent_id.clone(),
            input: submit.input.clone(),
            output: None,
            error: None,
            confidence: None,
            progress: None,
            priority: submit.priority.unwrap_or(5),
            deadline: now().plus_millis(submit.timeout_ms.unwrap_or(30_000)),
            attempts: Vec::new(),
            labels: BTreeMap::new(),
            submitted_at: now(),
            completed_at: None,
            processing_ms: None,
            correlation_id: envelope.correlation_id.clone().unwrap_or_else(|| envelope.id.clone()),
            concurrency_key: None,
            waits_for: None,
        };
        self.tasks.insert(id.clone(), task);
        self.assign(&id, None);
        Ok(())
    }

    fn waiting(&self) -> Vec<String> {
        let waits = |task: &&Task| task.status == TaskStatus::Waiting;
        self.tasks.values().filter(waits).map(|task| task.task_id.to_string()).collect()
    }

    /// Hands it to any agent that may have it, except this one.
    fn assign(&mut self, task_id: &str, except: Option<&Id>) {
        let task = self.tasks.get_mut(task_id).unwrap();
        let may = |agent: &&Agent| {
            let able = task.capability.as_ref().is_none_or(|c| agent.capabilities.contains(c));
            let meant = task.agent_id.as_ref().is_none_or(|id| *id == agent.agent_id);
            able && meant && agent.health == Health::Healthy && Some(&agent.agent_id) != except
        };
        let Some(agent) = self.agents.values().find(may) else { return };
        task.status = TaskStatus::Assigned;
        task.attempts.push(Attempt {
            choice: None,
            escalated_to: None,
            adjusted: None,
            attempt: task.attempts.len() as u32 + 1,
            agent_id: agent.agent_id.clone(),
            incarnation: agent.incarnation.clone(),
            started_at: now(),
            ended_at: None,
            outcome: None,
            why: None,
        });
        let delivery = assignment(self, task_id);
        self.owed.push(delivery);
    }

    pub(crate) fn take_back(&mut self, task_id: &str, ty: &str) {
        let task = &self.tasks[task_id];
        let Some(last) = task.attempts.last() else { return };
        let withdrawal =
            Withdrawal { task_id: task.task_id.clone(), attempt: last.attempt, reason: "on order".into() };
        self.owed.push(delivery(task, &last.agent_id, ty, &Json::of(&withdrawal).unwrap(), None));
    }

    fn authorised(&mut self, task_id: &str, attempt: u32, token: &str) -> Result<&mut Task, Error> {
        let task = self.tasks.get_mut(task_id).ok_or_else(|| Error::not_found("task", task_id))?;
        if task.status.is_final() {
            return Err(Error::invalid_transition("it has ended", task.status.as_str()));
        }
        if task.attempts.len() as u32 != attempt || token != format!("token-{attempt}") {
            return Err(Error::fenced("another attempt is in force"));
        }
        Ok(task)
    }

    fn entity(&self, command: &Command) -> Value {
        let task = self.tasks.get(command.root()).map(|task| json!(task));
        task.or_else(|| self.agents.get(command.root()).map(|agent| json!(agent))).unwrap_or(Value::Null)
    }
}

fn assignment(memory: &Memory, task_id: &str) -> Delivery {
    let task = &memory.tasks[task_id];
    let last = task.attempts.last().unwrap();
    let assignment = Assignment {
        task_id: task.task_id.clone(),
        attempt: last.attempt,
        attempt_token: format!("token-{}", last.attempt),
        capability: task.capability.clone(),
        input: task.input.clone(),
        feedback: None,
        deadline: task.deadline,
        incarnation: last.incarnation.clone(),
    };
    let id = Some(format!("{task_id}#{}", last.attempt));
    delivery(task, &last.agent_id, "synod.task.assigned", &Json::of(&assignment).unwrap(), id)
}

fn delivery(task: &Task, agent: &Id, ty: &str, data: &Json, attempt_id: Option<String>) -> Delivery {
    let envelope = Envelope {
        time: Some(now()),
        workspace: task.workspace.clone(),
        correlation_id: Some(task.correlation_id.clone()),
        traceparent: Some("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".into()),
        ..Envelope::new(uuid::Uuid::now_v7().to_string(), "/synod", ty)
    };
    let body = Message::structured(&envelope, data);
    Delivery {
        workspace: task.workspace.clone(),
        agent: agent.clone(),
        shard: 0,
        epoch: 1,
        attempt_id,
        urgent: false,
        body,
    }
}

fn now() -> Timestamp {
    Timestamp::from_millis(jiff::Timestamp::now().as_millisecond())
}

fn refused(error: &Error) -> Response {
    let status = StatusCode::from_u16(error.code.http_status()).unwrap();
    let mut problem = json!(error);
    if let Some(entity_status) = problem.as_object_mut().unwrap().remove("status") {
        problem["entity_status"] = entity_status;
    }
    problem["status"] = json!(status.as_u16());
    (status, Body(problem)).into_response()
}

async fn commands(State(stand_in): State<StandIn>, body: Bytes) -> Response {
    let fault = stand_in.memory().faults.pop_front();
    if let Some(Fault::Refuse(error)) = &fault {
        return refused(error);
    }
    let batch = Message::from_batch(&body, &Limits::default()).unwrap();
    stand_in.memory().batches.push(batch.len());
    let mut items = Vec::new();
    for message in batch {
        let message = message.unwrap();
        let command = message.command(&Limits::default());
        let decided = match (&fault, command) {
            (Some(Fault::RefuseEach(error)), _) => Err(error.clone()),
            (_, Ok(command)) => stand_in.decide(&message.envelope, command).await,
            (_, Err(error)) => Err(error),
        };
        items.push(match decided {
            Ok(entity) => json!({"ce_id": message.envelope.id, "status": 200, "entity": entity}),
            Err(e) => json!({"ce_id": message.envelope.id, "status": e.code.http_status(), "error": e}),
        });
    }
    match fault {
        // A connection that breaks before the answer looks like this to a client.
        Some(Fault::LoseAnswer) => (StatusCode::BAD_GATEWAY, "lost").into_response(),
        _ => Body(items).into_response(),
    }
}

type Wait = Query<HashMap<String, u64>>;

async fn submit(
    State(stand_in): State<StandIn>,
    Query(wait): Wait,
    Body(body): Body<SubmitTask>,
) -> Response {
    let id = body.task_id.to_string();
    let envelope = Envelope::new(uuid::Uuid::now_v7().to_string(), "/http", "synod.task.submit");
    match stand_in.decide(&envelope, Command::SubmitTask(body)).await {
        Ok(_) => ended(&stand_in, &id, wait.get("wait_ms").copied(), StatusCode::ACCEPTED).await,
        Err(error) => refused(&error),
    }
}

async fn task(State(stand_in): State<StandIn>, Path(id): Path<String>, Query(wait): Wait) -> Response {
    ended(&stand_in, &id, wait.get("wait_ms").copied(), StatusCode::OK).await
}

async fn ended(stand_in: &StandIn, id: &str, wait_ms: Option<u64>, otherwise: StatusCode) -> Response {
    let mut changed = stand_in.inner.changed.subscribe();
    let until = tokio::time::Instant::now() + Duration::from_millis(wait_ms.unwrap_or(0));
    loop {
        let task = stand_in.memory().tasks.get(id).cloned();
        let Some(task) = task else { return refused(&Error::not_found("task", id)) };
        if task.status.is_final() {
            return Body(task).into_response();
        }
        if tokio::time::timeout_at(until, changed.changed()).await.is_err() {
            return (otherwise, Body(task)).into_response();
        }
    }
}

async fn workflow(State(stand_in): State<StandIn>, Path(id): Path<Id>) -> Response {
    match stand_in.memory().workflows.get(&id) {
        Some(workflow) => Body(workflow).into_response(),
        None => refused(&Error::not_found("workflow", id.as_str())),
    }
}

async fn agent(State(stand_in): State<StandIn>, Path(id): Path<Id>) -> Response {
    match stand_in.memory().agents.get(&id) {
        Some(agent) => Body(agent).into_response(),
        None => refused(&Error::not_found("agent", id.as_str())),
    }
}
