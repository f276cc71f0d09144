//! An agent's own life, on a real mesh: what it asks of itself, what others ask of it, and what it hears.

use super::{SOON, mesh, run};
use agent_sdk::protocol::view::{AgentStatus, Health};
use agent_sdk::{
    Agent, AgentBuilder, AgentError, Code, Context, Recover, StatusChange, TaskError, TaskStatus, task,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Semaphore;

type Heard = Arc<Mutex<Vec<StatusChange>>>;

fn listening(builder: AgentBuilder) -> (AgentBuilder, Heard) {
    let heard = Heard::default();
    let notes = heard.clone();
    let builder = builder.on_status_change(move |change| {
        notes.lock().unwrap().push(change);
        std::future::ready(())
    });
    (builder, heard)
}

/// Runs until it is let.
fn gated(
    gate: &Arc<Semaphore>,
) -> impl Fn(Context, ()) -> futures::future::BoxFuture<'static, Result<String, TaskError>> + use<> {
    let gate = gate.clone();
    move |context, ()| {
        let gate = gate.clone();
        Box::pin(async move {
            tokio::select! {
                permit = gate.acquire() => permit.map_err(|e| TaskError::permanent("gate", e.to_string()))?.forget(),
                () = context.cancelled() => return Err(TaskError::retryable("cancelled", "told to stop")),
            }
            Ok(context.agent_id().to_string())
        })
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looking = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
        }
    };
    tokio::time::timeout(SOON, looking).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

fn statuses(heard: &Heard) -> Vec<AgentStatus> {
    heard.lock().unwrap().iter().map(|change| change.status).collect()
}

async fn until_status(mesh: &agent_sdk::Mesh, id: &agent_sdk::EntityId, status: TaskStatus) {
    let looking = async {
        while mesh.client().get(id).await.unwrap().status != status {
            tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
        }
    };
    tokio::time::timeout(SOON, looking)
        .await
        .unwrap_or_else(|_| panic!("{id} is not {} in time", status.as_str()));
}

#[tokio::test]
async fn a_paused_agent_keeps_what_runs_and_begins_nothing_until_it_is_resumed() {
    let mesh = mesh().await;
    let gate = Arc::new(Semaphore::new(0));
    let (builder, heard) = listening(Agent::builder("a").concurrency(2));
    let agent = run(&mesh, builder.capability("x", gated(&gate))).await;
    let client = mesh.client();
    let runs = client.submit(task("x")).await.unwrap();
    until_status(&mesh, runs.task_id(), TaskStatus::Running).await;
    agent.pause("lunch").await.unwrap();
    until("it has heard of it", || agent.status() == AgentStatus::Paused).await;
    let waits = client.submit(task("x")).await.unwrap();
    gate.add_permits(1);
    assert_eq!(runs.wait::<String>(SOON).await.unwrap().output, "a", "what ran has finished");
    assert_eq!(client.get(waits.task_id()).await.unwrap().status, TaskStatus::Waiting);
    let refused = agent.report_error("x", Recover::ResumeAfter(Duration::ZERO)).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::InvalidArgument));
    agent.resume().await.unwrap();
    gate.add_permits(1);
    assert_eq!(waits.wait::<String>(SOON).await.unwrap().output, "a");
    let refused = agent.resume().await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::InvalidTransition));
    assert_eq!(agent.stop().await.unwrap().completed, 2);
    use AgentStatus::{Completed, Idle, Paused, Running};
    let told = statuses(&heard);
    assert_eq!(told.first(), Some(&Running));
    assert_eq!(told.last(), Some(&Completed));
    let paused = told.iter().position(|status| *status == Paused).expect("it heard of the pause");
    assert!(told[paused + 1..].contains(&Idle), "and of its end: {told:?}");
    let heard = heard.lock().unwrap();
    assert_eq!(heard[paused].reason.as_deref(), Some("lunch"));
    assert!(heard.windows(2).all(|two| two[0].status == two[1].old_status), "{told:?}");
}

#[tokio::test]
async fn an_agent_hears_what_an_operator_asks_and_ends_when_it_is_stopped() {
    let mesh = mesh().await;
    let (builder, heard) = listening(Agent::builder("a"));
    let agent = run(&mesh, builder.capability("x", |_, (): ()| async { Ok(()) })).await;
    let http = reqwest::Client::new();
    let base = mesh.config().http.first().unwrap().clone();
    let ask = |change: &'static str| {
        let asked =
            http.post(format!("{base}/v1/agents/a/{change}")).json(&serde_json::json!({"reason": change}));
        async move { assert_eq!(asked.send().await.unwrap().status(), 200, "{change}") }
    };
    for (change, status, health) in [
        ("drain", AgentStatus::Idle, Health::Draining),
        ("pause", AgentStatus::Paused, Health::Draining),
        ("start", AgentStatus::Idle, Health::Healthy),
        ("report_error", AgentStatus::Error, Health::Healthy),
        ("start", AgentStatus::Idle, Health::Healthy),
    ] {
        ask(change).await;
        until(change, || (agent.status(), agent.health()) == (status, health)).await;
        assert_eq!(heard.lock().unwrap().last().unwrap().reason.as_deref(), Some(change));
    }
    ask("stop").await;
    tokio::time::timeout(SOON, agent.ended()).await.expect("it ends in time").unwrap();
    assert_eq!(statuses(&heard).last(), Some(&AgentStatus::Completed));
}

#[tokio::test]
async fn one_in_error_comes_back_by_itself() {
    let mesh = mesh().await;
    let (builder, heard) = listening(Agent::builder("a"));
    let agent = run(&mesh, builder.capability("x", |_, (): ()| async { Ok(()) })).await;
    agent.report_error("no disk", Recover::ResumeAfter(Duration::from_millis(300))).await.unwrap();
    mesh.client().call::<()>(task("x"), SOON).await.unwrap();
    let told = statuses(&heard);
    assert_eq!(told[..2], [AgentStatus::Error, AgentStatus::Idle], "{told:?}");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_restarts_is_another_process_start_and_its_work_is_done_again() {
    let mesh = mesh().await;
    let (builder, heard) = listening(Agent::builder("a"));
    // The first attempt reports that its agent cannot go on; the next one, under another process start, can.
    let handler = |context: Context, (): ()| async move {
        if context.attempt() == 1 {
            context
                .agent()
                .report_error("leaks", Recover::Restart)
                .await
                .map_err(|e| TaskError::permanent("refused", e.to_string()))?;
            context.cancelled().await;
        }
        Ok(context.agent().incarnation().to_string())
    };
    let agent = run(&mesh, builder.capability("x", handler)).await;
    let first = agent.incarnation().clone();
    let answer = mesh.client().call::<String>(task("x"), SOON).await.unwrap();
    assert_eq!(answer.task.attempts.len(), 2);
    assert_eq!(answer.task.attempts[0].incarnation, first);
    assert_eq!(answer.output, agent.control().incarnation().to_string());
    assert_ne!(answer.output, first.to_string());
    let seen = mesh.client().agent("a").await.unwrap();
    assert_eq!((seen.restarts, seen.health), (1, Health::Healthy));
    assert!(statuses(&heard).contains(&AgentStatus::Error));
    let report = agent.stop().await.unwrap();
    assert_eq!((report.completed, report.moot), (1, 1), "the counts of both");
}

#[tokio::test]
async fn the_older_of_two_processes_gives_back_what_is_the_newers_and_ends() {
    let mesh = mesh().await;
    let who = |name: &'static str| move |_: Context, (): ()| async move { Ok(name) };
    let older = run(&mesh, Agent::builder("a").concurrency(8).capability("x", who("older"))).await;
    let newer = run(&mesh, Agent::builder("a").concurrency(8).capability("x", who("newer"))).await;
    // Both read one inbox: whatever the older one takes is the newer one's, and none of it is lost.
    for _ in 0..20 {
        let told = mesh.client().call::<String>(task("x").max_attempts(1), SOON).await.unwrap();
        assert_eq!((told.output.as_str(), told.task.attempts.len()), ("newer", 1));
    }
    let ended = tokio::time::timeout(SOON, older.ended()).await.expect("it learns so in time");
    match ended {
        Err(AgentError::Superseded { by, .. }) => assert_eq!(by, *newer.incarnation()),
        other => panic!("{other:?}"),
    }
    newer.stop().await.unwrap();
}

#[tokio::test]
async fn a_command_for_another_process_start_is_fenced() {
    let mesh = mesh().await;
    let agent = run(&mesh, Agent::builder("a").capability("x", |_, (): ()| async { Ok(()) })).await;
    let control = agent.control();
    agent.kill();
    let newer = run(&mesh, Agent::builder("a").capability("x", |_, (): ()| async { Ok(()) })).await;
    let refused = control.pause("too late").await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::Fenced));
    newer.stop().await.unwrap();
}
