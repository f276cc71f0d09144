//! What an agent does with what it is given.

use super::stand_in::Fault;
use super::{Bed, SOON};
use agent_sdk::{Agent, Context, TaskError, WaitError, task, task_for};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use synod_infra::redis::keys;
use synod_protocol::Error;
use synod_protocol::view::TaskStatus;
use tokio::sync::Semaphore;

async fn echo(_: Context, input: Value) -> Result<Value, TaskError> {
    Ok(input)
}

#[tokio::test]
async fn a_short_task_costs_no_more_than_its_result() {
    let bed = Bed::start().await;
    let agent = bed.run(Agent::builder("a").capability("echo", echo)).await;
    let result = bed.mesh.client().call::<Value>(task("echo").id("t").input([1, 2]), SOON).await.unwrap();
    assert_eq!(result.output, json!([1, 2]));
    assert_eq!(result.agent_id(), Some(agent.id()));
    assert_eq!(bed.coordinator.done_about("t"), ["synod.task.submit", "synod.task.complete"]);
    let report = agent.stop().await.unwrap();
    assert_eq!((report.completed, report.failed, report.moot), (1, 0, 0));
    let about = bed.coordinator.done_about("a");
    assert_eq!((about[0], about[about.len() - 1]), ("synod.agent.register", "synod.agent.deregister"));
}

#[tokio::test]
async fn what_a_handler_says_is_what_the_task_becomes() {
    let bed = Bed::start().await;
    let agent = Agent::builder("a")
        .capability("permanent", |_, (): ()| async {
            Err::<(), _>(TaskError::permanent("broken", "for good"))
        })
        .capability("panics", |_, (): ()| async { if true { panic!("boom") } else { Ok(()) } })
        .capability("typed", |_, n: u8| async move { Ok(n) })
        .capability("sure", |context: Context, (): ()| async move {
            context.set_confidence(0.75);
            Ok(())
        });
    let agent = bed.run(agent).await;
    let client = bed.mesh.client();
    let ended = async |capability: &str, input: Value| match client
        .call::<Value>(task(capability).input(input), SOON)
        .await
    {
        Ok(result) => result.task,
        Err(WaitError::Ended { task, .. }) => *task,
        Err(other) => panic!("{capability}: {other}"),
    };
    let check = async |capability, input, status, attempts, says: &str| {
        let task = ended(capability, input).await;
        assert_eq!((task.status, task.attempts.len()), (status, attempts), "{capability}");
        let error = task.error.map(|error| error.message).unwrap_or_default();
        assert!(error.contains(says), "{capability}: {error}");
        task.confidence
    };
    check("permanent", Value::Null, TaskStatus::Failed, 1, "broken: for good").await;
    check("panics", Value::Null, TaskStatus::DeadLettered, 3, "panic: the handler panicked: boom").await;
    check("typed", json!(300), TaskStatus::Failed, 1, "invalid_input").await;
    check("typed", json!(3), TaskStatus::Completed, 1, "").await;
    let confidence = check("sure", Value::Null, TaskStatus::Completed, 1, "").await;
    assert_eq!(confidence, Some(0.75));
    assert_eq!(agent.stop().await.unwrap().failed, 5);
}

#[tokio::test]
async fn what_is_declined_goes_to_another() {
    let bed = Bed::start().await;
    let shy = |_, (): ()| async { Err::<String, _>(TaskError::decline("shy", "not me")) };
    let shy = bed.run(Agent::builder("a").capability("x", shy)).await;
    let bold = bed.run(Agent::builder("b").capability("x", |_, (): ()| async { Ok("b".to_owned()) })).await;
    let result = bed.mesh.client().call::<String>(task("x"), SOON).await.unwrap();
    assert_eq!((result.output.as_str(), result.task.attempts.len()), ("b", 2));
    assert_eq!(shy.stop().await.unwrap().declined, 1);
    assert_eq!(bold.stop().await.unwrap().completed, 1);
}

#[tokio::test]
async fn a_task_that_names_the_agent_reaches_its_only_handler() {
    let bed = Bed::start().await;
    let agent = bed.run(Agent::builder("a").capability("echo", echo)).await;
    let result = bed.mesh.client().call::<u32>(task_for("a").input(7), SOON).await.unwrap();
    assert_eq!(result.output, 7);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn progress_partial_output_and_start_are_told() {
    let bed = Bed::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let opened = gate.clone();
    let work = move |context: Context, (): ()| {
        let gate = opened.clone();
        async move {
            context.progress(0.5, "half").await?;
            context.partial(json!({"first": 1})).await?;
            gate.acquire().await.unwrap().forget();
            Ok(context.correlation_id().unwrap_or_default().to_owned())
        }
    };
    let slow = gate.clone();
    let silent = move |_, (): ()| {
        let gate = slow.clone();
        async move {
            gate.acquire().await.unwrap().forget();
            Ok(())
        }
    };
    let agent = Agent::builder("a").concurrency(2).capability("work", work).capability("silent", silent);
    let agent = bed.run(agent).await;
    let client = bed.mesh.client().correlated("one-piece");
    let told = client.submit(task("work").id("told")).await.unwrap();
    let untold = client.submit(task("silent").id("untold")).await.unwrap();
    // The silent one is reported as started once it lasts; the other one has spoken already.
    bed.coordinator
        .until("both are known to run", |memory| {
            ["told", "untold"].iter().all(|id| memory.tasks[*id].status == TaskStatus::Running)
        })
        .await;
    bed.coordinator.until("progress", |memory| memory.tasks["told"].progress == Some(0.5)).await;
    gate.add_permits(2);
    assert_eq!(told.wait::<String>(SOON).await.unwrap().output, "one-piece");
    untold.wait::<()>(SOON).await.unwrap();
    let [submit, progress, complete] = ["submit", "progress", "complete"].map(|w| format!("synod.task.{w}"));
    let expected = [submit.clone(), progress.clone(), progress, complete.clone()];
    assert_eq!(bed.coordinator.done_about("told"), expected);
    assert_eq!(bed.coordinator.done_about("untold"), [submit, "synod.task.start".into(), complete]);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_cancelled_task_stops_its_handler_even_when_the_agent_is_full() {
    let bed = Bed::start().await;
    let stopped = Arc::new(Semaphore::new(0));
    let tell = stopped.clone();
    let endless = move |context: Context, (): ()| {
        let tell = tell.clone();
        async move {
            context.cancelled().await;
            tell.add_permits(1);
            Ok(())
        }
    };
    let agent = bed.run(Agent::builder("a").capability("endless", endless).concurrency(1)).await;
    let client = bed.mesh.client();
    let running = client.submit(task("endless").id("running")).await.unwrap();
    let waiting = client.submit(task("endless").id("waiting")).await.unwrap();
    bed.coordinator.until("it runs", |memory| memory.tasks["running"].status == TaskStatus::Running).await;
    // The one behind it is taken back before it ever begins.
    waiting.cancel("not needed").await.unwrap();
    running.cancel("enough").await.unwrap();
    let permit = tokio::time::timeout(SOON, stopped.acquire()).await.expect("the handler was told to stop");
    permit.unwrap().forget();
    assert!(matches!(
        running.wait::<()>(SOON).await,
        Err(WaitError::Ended { status: TaskStatus::Cancelled, .. })
    ));
    let report = agent.stop().await.unwrap();
    assert_eq!((report.completed, report.moot), (0, 1), "the waiting one never ran, no result is reported");
    assert_eq!(stopped.available_permits(), 0);
}

#[tokio::test]
async fn an_attempt_ends_with_its_time() {
    let bed = Bed::start().await;
    let forever = |_, (): ()| std::future::pending::<Result<(), TaskError>>();
    let agent = bed.run(Agent::builder("a").capability("forever", forever)).await;
    let request = task("forever").timeout(Duration::from_millis(150));
    let error = bed.mesh.client().call::<()>(request, SOON).await.unwrap_err();
    assert!(error.to_string().contains("deadline_exceeded"), "{error}");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn the_same_attempt_twice_is_done_once_and_a_lost_answer_too() {
    let bed = Bed::start().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = runs.clone();
    let count = move |_, (): ()| {
        let counted = counted.clone();
        async move { Ok(counted.fetch_add(1, Ordering::SeqCst)) }
    };
    let agent = bed.run(Agent::builder("a").capability("count", count)).await;
    // Both the submission's answer and the result's are lost; each is repeated under its id.
    bed.coordinator.misbehave([Fault::LoseAnswer, Fault::LoseAnswer]);
    let handle = bed.mesh.client().submit(task("count").id("t")).await.unwrap();
    handle.wait::<usize>(SOON).await.unwrap();
    bed.coordinator.repeat("t").await;
    bed.coordinator.repeat("t").await;
    let after = bed.mesh.client().call::<usize>(task("count").id("after"), SOON).await.unwrap();
    assert_eq!(after.output, 1, "the repeats stood before it in the inbox and were not run");
    assert_eq!(bed.coordinator.done_about("t"), ["synod.task.submit", "synod.task.complete"]);
    let report = agent.stop().await.unwrap();
    assert_eq!(report.completed, 2);
}

#[tokio::test]
async fn what_is_settled_leaves_the_taken_list() {
    let bed = Bed::start().await;
    let agent = bed.run(Agent::builder("a").capability("echo", echo)).await;
    for n in 0..3 {
        bed.mesh.client().call::<u32>(task("echo").input(n), SOON).await.unwrap();
    }
    let workspace = &bed.config.workspace;
    let taken = synod_infra::redis::inbox::InboxReader::new(
        bed.coordinator.redis().clone(),
        workspace,
        agent.id(),
        agent.incarnation(),
    )
    .taken();
    agent.stop().await.unwrap();
    assert_eq!(taken.list().await.unwrap(), Vec::<String>::new());
    let beats = synod_infra::redis::presence::Heartbeats::new(bed.coordinator.redis().clone());
    assert_eq!(beats.beats().await.unwrap(), [], "{}", keys::HEARTBEATS);
}

#[tokio::test]
async fn an_output_that_is_refused_is_a_failure_for_good() {
    let bed = Bed::start().await;
    let huge = |_, (): ()| async { Ok("x".repeat(300 * 1024)) };
    let agent = bed.run(Agent::builder("a").capability("huge", huge)).await;
    let error = bed.mesh.client().call::<String>(task("huge"), SOON).await.unwrap_err();
    let WaitError::Ended { status, task } = error else { panic!("{error}") };
    assert_eq!((status, task.attempts.len()), (TaskStatus::Failed, 1));
    assert!(task.error.unwrap().message.contains("payload_too_large"));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_result_that_nobody_waits_for_is_dropped() {
    let bed = Bed::start().await;
    let agent = bed.run(Agent::builder("a").capability("echo", echo)).await;
    bed.mesh.client().call::<Value>(task("echo"), SOON).await.unwrap();
    bed.coordinator.misbehave([Fault::RefuseEach(Error::fenced("another attempt is in force"))]);
    // Its submission goes through POST /v1/tasks, so the result meets the fault.
    let lost = bed.mesh.client().call::<Value>(task("echo"), Duration::from_millis(500)).await;
    assert!(matches!(lost, Err(WaitError::NotInTime { .. })), "{lost:?}");
    let report = agent.stop().await.unwrap();
    assert_eq!((report.completed, report.moot), (1, 1));
}
