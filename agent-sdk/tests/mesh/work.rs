//! Tasks from their submission to their end.

use super::{SOON, mesh, run};
use agent_sdk::testing::{TestMesh, TestMeshError};
use agent_sdk::{Agent, Context, Mesh, MeshConfig, TaskError, WaitError, Watch, task};
use std::path::Path;
use std::time::Duration;

async fn double(_: Context, n: u64) -> Result<u64, TaskError> {
    Ok(n * 2)
}

async fn types(mut watch: Watch) -> Vec<&'static str> {
    let all = async {
        let mut types = Vec::new();
        while let Some(watched) = watch.next_event().await.unwrap() {
            types.push(watched.event.what.ce_type());
        }
        types
    };
    tokio::time::timeout(SOON, all).await.expect("the watch ends with the task")
}

#[tokio::test]
async fn a_watch_shows_all_of_a_task_whenever_it_begins() {
    let mesh = mesh().await;
    let handle = mesh.client().submit(task("double").input(4)).await.unwrap();
    let from_the_start = tokio::spawn(types(handle.watch()));
    let agent = run(&mesh, Agent::builder("a").capability("double", double)).await;
    assert_eq!(handle.wait::<u64>(SOON).await.unwrap().output, 8);
    let all = ["synod.task.submitted", "synod.task.assigned", "synod.task.completed"];
    assert_eq!(from_the_start.await.unwrap(), all);
    assert_eq!(types(handle.watch()).await, all, "from the history");
    // Without Kafka the history is asked again and again.
    let http_only = Mesh::connect(MeshConfig::http(mesh.config().http[0].clone())).unwrap();
    assert_eq!(types(http_only.client().task(handle.task_id().clone()).watch()).await, all);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_client_that_has_nothing_but_kafka_is_served() {
    let mesh = mesh().await;
    let agent = run(&mesh, Agent::builder("a").capability("double", double)).await;
    let kafka_only = MeshConfig { kafka: mesh.config().kafka.clone(), ..MeshConfig::default() };
    let submitted =
        Mesh::connect(kafka_only).unwrap().client().submit(task("double").input(21)).await.unwrap();
    let elsewhere = mesh.client().task(submitted.task_id().clone());
    let waiting = async {
        loop {
            // The topic has it; the shard may not have read it yet.
            match elsewhere.wait::<u64>(SOON).await {
                Err(WaitError::Door(error)) if error.code() == Some(agent_sdk::Code::NotFound) => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                result => return result.unwrap().output,
            }
        }
    };
    assert_eq!(tokio::time::timeout(SOON, waiting).await.unwrap(), 42);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_workspace_is_served_by_its_own_agents_only() {
    let mesh = mesh().await;
    let theirs = mesh.config().clone().in_workspace("theirs".parse().unwrap());
    let theirs = Mesh::connect(theirs).unwrap();
    let agent =
        Agent::builder("a").capability("double", double).build(&theirs).unwrap().start().await.unwrap();
    assert_eq!(theirs.client().call::<u64>(task("double").input(1), SOON).await.unwrap().output, 2);
    let ours = mesh.client().call::<u64>(task("double").input(1), Duration::from_millis(300)).await;
    assert!(matches!(ours, Err(WaitError::NotInTime { .. })), "{ours:?}");
    assert_eq!(mesh.client().agent("a").await.unwrap_err().code(), Some(agent_sdk::Code::NotFound));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn one_trace_leads_from_the_client_through_the_handler() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let mesh = mesh().await;
    let who = |context: Context, (): ()| async move {
        let said =
            [context.traceparent(), context.correlation_id()].map(|text| text.unwrap_or_default().to_owned());
        Ok(said)
    };
    let agent = run(&mesh, Agent::builder("a").capability("who", who)).await;
    let client = mesh.client().traced(TRACE).correlated("one-piece");
    let called = client.call::<[String; 2]>(task("who"), SOON).await.unwrap().output;
    let submitted = client.submit(task("who")).await.unwrap().wait::<[String; 2]>(SOON).await.unwrap().output;
    for [traceparent, correlation_id] in [called, submitted] {
        assert_eq!(traceparent[..36], TRACE[..36], "the same trace");
        assert_ne!(traceparent, TRACE, "another span");
        assert_eq!(correlation_id, "one-piece");
    }
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn thousands_of_tasks_all_come_back() {
    let mesh = mesh().await;
    let mut agents = Vec::new();
    for n in 0..4 {
        let agent = Agent::builder(format!("a{n}")).capability("double", double).concurrency(64);
        agents.push(run(&mesh, agent).await);
    }
    let requests = (0..3000u64).map(|n| task("double").input(n));
    let collected = mesh.client().collect(requests).workers(128).each_within(SOON).run::<u64>().await;
    let rate = collected.total() as f64 / collected.elapsed.as_secs_f64();
    println!("{rate:.0} tasks/s, {:?}", collected.timings());
    assert!(collected.outputs().copied().eq((0..3000).map(|n| n * 2)), "{:?}", collected.failures.first());
    let mut completed = 0;
    for agent in agents {
        completed += agent.stop().await.unwrap().completed;
    }
    assert_eq!(completed, 3000, "each was done once");
}

#[tokio::test]
async fn a_binary_that_cannot_run_a_mesh_is_told_apart() {
    let missing = TestMesh::start_binary(Path::new("/nowhere/synod"), &[]).await.unwrap_err();
    // `setpriv` starts, and says that what it should run is not there.
    assert!(matches!(missing, TestMeshError::Spawn { .. } | TestMeshError::Ended(_)), "{missing}");
    let refused = TestMesh::start_binary(&super::binary(), &["--no-such-flag"]).await.unwrap_err();
    assert!(matches!(&refused, TestMeshError::Ended(why) if why.contains("no-such-flag")), "{refused}");
}
