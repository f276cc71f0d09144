//! Agents that come, go and vanish.

use super::{SOON, mesh, run};
use agent_sdk::protocol::view::{Health, Outcome};
use agent_sdk::{Agent, AgentError, Context, TaskError, task};
use std::time::{Duration, Instant};

async fn stuck(context: Context, (): ()) -> Result<String, TaskError> {
    context.cancelled().await;
    Err(TaskError::retryable("cancelled", "told to stop"))
}

async fn done(context: Context, (): ()) -> Result<String, TaskError> {
    Ok(context.agent_id().to_string())
}

#[tokio::test]
async fn the_work_of_a_killed_agent_goes_to_another() {
    let mesh = mesh().await;
    let victim = run(&mesh, Agent::builder("victim").capability("x", stuck)).await;
    let handle = mesh.client().submit(task("x").timeout(Duration::from_secs(60))).await.unwrap();
    until_running(&mesh, &handle).await;
    let heir = run(&mesh, Agent::builder("heir").capability("x", done)).await;
    let killed = Instant::now();
    victim.kill();
    let result = handle.wait::<String>(SOON).await.unwrap();
    println!("reassigned and done {:?} after the kill", killed.elapsed());
    assert_eq!(result.output, "heir");
    let outcomes: Vec<_> = result.task.attempts.iter().map(|a| a.outcome).collect();
    assert_eq!(outcomes, [Some(Outcome::Lost), Some(Outcome::Completed)]);
    // Three missed heartbeats, and how often the mesh looks for them.
    assert!(killed.elapsed() < Duration::from_secs(6), "{:?}", killed.elapsed());
    heir.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_ends_leaves_its_work_to_others_at_no_cost() {
    let mesh = mesh().await;
    let limits =
        Agent::builder("leaver").drain_limit(Duration::ZERO).cancel_grace(Duration::from_millis(200));
    let leaver = run(&mesh, limits.capability("x", stuck)).await;
    let handle = mesh.client().submit(task("x").max_attempts(1)).await.unwrap();
    until_running(&mesh, &handle).await;
    let stays = run(&mesh, Agent::builder("stays").capability("x", done)).await;
    let report = leaver.stop().await.unwrap();
    assert_eq!((report.completed, report.failed), (0, 0));
    assert_eq!(handle.wait::<String>(SOON).await.unwrap().output, "stays", "its one attempt was not used up");
    stays.stop().await.unwrap();
}

#[tokio::test]
async fn a_newer_start_of_the_same_agent_ends_the_older() {
    let mesh = mesh().await;
    let older = run(&mesh, Agent::builder("a").capability("x", done)).await;
    let newer = run(&mesh, Agent::builder("a").capability("x", done)).await;
    let ended = tokio::time::timeout(SOON, older.ended()).await.expect("it learns so in time");
    assert!(matches!(ended, Err(AgentError::Superseded { .. })), "{ended:?}");
    let agent = mesh.client().agent("a").await.unwrap();
    assert_eq!((agent.health, &agent.incarnation), (Health::Healthy, newer.incarnation()));
    assert_eq!(mesh.client().call::<String>(task("x"), SOON).await.unwrap().output, "a");
    newer.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_and_its_work_outlive_a_wipe_of_redis() {
    let mesh = mesh().await;
    let agent = run(&mesh, Agent::builder("a").capability("x", done).concurrency(4)).await;
    let client = mesh.client();
    client.call::<String>(task("x"), SOON).await.unwrap();
    let redis = mesh.config().redis.clone().unwrap();
    let (host, port) = redis.endpoint().split_once(':').map(|(h, p)| (h.to_owned(), p.to_owned())).unwrap();
    let wiped = std::process::Command::new("redis-cli").args(["-h", &host, "-p", &port, "flushall"]).output();
    assert!(wiped.expect("redis-cli comes with redis-server").status.success());
    for _ in 0..20 {
        client.call::<String>(task("x"), SOON).await.unwrap();
    }
    let report = agent.stop().await.unwrap();
    assert_eq!(report.completed, 21);
}

/// A handler is at work on it.
async fn until_running(mesh: &agent_sdk::Mesh, handle: &agent_sdk::TaskHandle) {
    let looking = async {
        while mesh.client().get(handle.task_id()).await.unwrap().status != agent_sdk::TaskStatus::Running {
            tokio::time::sleep(Duration::from_millis(10)).await; // between two looks at the condition
        }
    };
    tokio::time::timeout(SOON, looking).await.expect("it runs in time");
}
