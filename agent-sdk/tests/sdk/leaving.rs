//! How an agent's life ends, and how it is taken up again.

use super::stand_in::Fault;
use super::{Bed, SOON};
use agent_sdk::{Agent, AgentError, Context, TaskError, task};
use std::sync::Arc;
use std::time::Duration;
use synod_infra::redis::presence::Presence;
use synod_infra::redis::{EmbeddedRedis, keys};
use synod_protocol::view::{AgentStatus, Health, TaskStatus};
use synod_protocol::{Error, Id};
use tokio::sync::Semaphore;

fn gated(
    gate: Arc<Semaphore>,
) -> impl Fn(Context, ()) -> futures::future::BoxFuture<'static, Result<(), TaskError>> {
    move |_, ()| {
        let gate = gate.clone();
        Box::pin(async move {
            gate.acquire().await.map_err(|e| TaskError::permanent("gate", e.to_string()))?.forget();
            Ok(())
        })
    }
}

#[tokio::test]
async fn an_agent_that_ends_finishes_what_runs_and_hands_over_what_waits() {
    let bed = Bed::start().await;
    let gate = Arc::new(Semaphore::new(0));
    let leaving = bed.run(Agent::builder("a").capability("x", gated(gate.clone()))).await;
    let client = bed.mesh.client();
    let running = client.submit(task("x").id("running")).await.unwrap();
    let waiting = client.submit(task("x").id("waiting")).await.unwrap();
    bed.coordinator.until("it runs", |memory| memory.tasks["running"].status == TaskStatus::Running).await;
    let other = bed.run(Agent::builder("b").capability("x", |_, (): ()| async { Ok(()) })).await;
    let left = tokio::spawn(leaving.stop());
    // The other one does what waited while the first still runs.
    let elsewhere = waiting.wait::<()>(SOON).await.unwrap();
    assert_eq!(elsewhere.agent_id(), Some(other.id()));
    assert!(!left.is_finished());
    bed.coordinator
        .until("it drains", |memory| memory.agents[&"a".parse::<Id>().unwrap()].health == Health::Draining)
        .await;
    gate.add_permits(1);
    running.wait::<()>(SOON).await.unwrap();
    let report = tokio::time::timeout(SOON, left).await.unwrap().unwrap().unwrap();
    assert_eq!((report.completed, report.declined), (1, 1));
    assert_eq!(bed.coordinator.done_about("a").last(), Some(&"synod.agent.deregister"));
    other.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_leaves_at_its_limit_whatever_runs() {
    let bed = Bed::start().await;
    let stuck = |_, (): ()| std::future::pending::<Result<(), TaskError>>();
    let limits =
        Agent::builder("a").drain_limit(Duration::from_millis(50)).cancel_grace(Duration::from_millis(50));
    let agent = bed.run(limits.capability("stuck", stuck)).await;
    bed.mesh.client().submit(task("stuck").id("t")).await.unwrap();
    bed.coordinator.until("it runs", |memory| memory.tasks["t"].status == TaskStatus::Running).await;
    let report = tokio::time::timeout(SOON, agent.stop()).await.expect("in time").unwrap();
    assert_eq!(report.moot, 1);
    // Not reported as a failure: being given to another uses up no attempt.
    assert_eq!(bed.coordinator.done_about("t"), ["synod.task.submit", "synod.task.start"]);
    assert!(bed.coordinator.memory().agents.is_empty());
}

#[tokio::test]
async fn a_killed_agent_is_no_longer_present() {
    let bed = Bed::start().await;
    let agent = bed.run(Agent::builder("a").capability("x", |_, (): ()| async { Ok(()) })).await;
    let channel = [keys::presence(&bed.config.workspace, agent.id(), agent.incarnation())];
    let presence = Presence::new(bed.coordinator.redis().clone());
    assert_eq!(presence.present(&channel).await.unwrap().present, [true]);
    agent.kill();
    let gone = async {
        while presence.present(&channel).await.unwrap().present == [true] {
            tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
        }
    };
    tokio::time::timeout(SOON, gone).await.expect("its presence ends with it");
    assert_eq!(bed.coordinator.done_about("a"), ["synod.agent.register"]);
}

#[tokio::test]
async fn registration_waits_for_the_mesh_and_tells_a_refusal() {
    let bed = Bed::start().await;
    let away = Error::unavailable("Kafka is away");
    bed.coordinator.misbehave([Fault::Refuse(away.clone()), Fault::Refuse(away)]);
    let agent = || Agent::builder("a").capability("x", |_, (): ()| async { Ok(()) });
    bed.run(agent()).await.stop().await.unwrap();
    bed.coordinator.misbehave([Fault::RefuseEach(Error::invalid("no such thing"))]);
    let refused = agent().build(&bed.mesh).unwrap().start().await.unwrap_err();
    assert!(matches!(refused, AgentError::Refused { .. }), "{refused}");
    bed.coordinator.misbehave([Fault::RefuseEach(Error::fenced("superseded"))]);
    let over = agent().build(&bed.mesh).unwrap().start().await.unwrap_err();
    assert!(matches!(over, AgentError::Superseded { .. }), "{over}");
}

#[tokio::test]
async fn a_lost_or_forgotten_agent_registers_again() {
    let bed = Bed::start().await;
    let agent = bed.run(Agent::builder("a").capability("x", |_, (): ()| async { Ok(()) })).await;
    let incarnation = agent.incarnation().clone();
    bed.coordinator.memory().agents.get_mut(agent.id()).unwrap().health = Health::Lost;
    let healthy = |memory: &super::stand_in::Memory| {
        memory.agents.values().any(|a| a.health == Health::Healthy && a.incarnation == incarnation)
    };
    bed.coordinator.until("it is back", healthy).await;
    bed.coordinator.memory().agents.clear();
    bed.coordinator.until("it is back again", healthy).await;
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_outlives_a_restart_of_redis() {
    let Bed { coordinator, mesh, redis, .. } = Bed::start().await;
    let agent = Agent::builder("a").capability("x", |_, (): ()| async { Ok(()) });
    let agent = agent.build(&mesh).unwrap().start().await.unwrap();
    let port = redis.port();
    redis.shutdown().await;
    let _redis = EmbeddedRedis::start_on(port).await.unwrap();
    let back = async {
        while coordinator.redis().ready().await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
        }
    };
    tokio::time::timeout(SOON, back).await.expect("the stand-in has Redis again");
    mesh.client().call::<()>(task("x"), SOON).await.unwrap();
    let channel = [keys::presence(&mesh.config().workspace, agent.id(), agent.incarnation())];
    let presence = Presence::new(coordinator.redis().clone());
    let present = async {
        while presence.present(&channel).await.unwrap().present == [false] {
            tokio::time::sleep(Duration::from_millis(5)).await; // between two looks
        }
    };
    tokio::time::timeout(SOON, present).await.expect("its presence stands again");
    assert_eq!(agent.stop().await.unwrap().completed, 1);
}

#[tokio::test]
async fn a_newer_start_of_the_same_agent_ends_the_older() {
    let bed = Bed::start().await;
    let older = bed.run(Agent::builder("a").capability("x", |_, (): ()| async { Ok("older") })).await;
    let newer = bed.run(Agent::builder("a").capability("x", |_, (): ()| async { Ok("newer") })).await;
    let by = newer.incarnation().clone();
    let agent_id = older.id().clone();
    let ended = tokio::time::timeout(SOON, older.ended()).await.expect("it learns so in time");
    assert_eq!(ended, Err(AgentError::Superseded { agent_id, by }));
    let result = bed.mesh.client().call::<String>(task("x"), SOON).await.unwrap();
    assert_eq!(result.output, "newer");
    // Ending, the older one said nothing about the agent: it is the newer one's now.
    assert_eq!(bed.coordinator.done_about("a"), ["synod.agent.register"; 2]);
    newer.stop().await.unwrap();
}

#[tokio::test]
async fn an_agent_that_is_stopped_by_order_ends() {
    let bed = Bed::start().await;
    let agent = bed.run(Agent::builder("a").capability("x", |_, (): ()| async { Ok(()) })).await;
    {
        let mut memory = bed.coordinator.memory();
        memory.agents.get_mut(agent.id()).unwrap().status = AgentStatus::Completed;
    }
    tokio::time::timeout(SOON, agent.ended()).await.expect("it learns so in time").unwrap();
}

#[test]
fn what_cannot_be_is_told_before_it_runs() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _inside = runtime.enter();
    let mesh = agent_sdk::Mesh::connect(agent_sdk::MeshConfig::http("http://127.0.0.1:1")).unwrap();
    let with_redis =
        agent_sdk::Mesh::connect(agent_sdk::MeshConfig::default().with_redis("redis://127.0.0.1:1")).unwrap();
    let unit = |_: Context, (): ()| async { Ok(()) };
    let check = |builder: agent_sdk::AgentBuilder, mesh, says: &str| {
        let error = builder.build(mesh).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    };
    check(Agent::builder("not an id").capability("x", unit), &with_redis, "not a valid id");
    check(Agent::builder("a"), &with_redis, "no capability");
    check(Agent::builder("a").capability("Not One", unit), &with_redis, "not a valid capability");
    check(Agent::builder("a").capability("x", unit).capability("x", unit), &with_redis, "two handlers");
    check(Agent::builder("a").capability("x", unit).concurrency(0), &with_redis, "max_concurrency");
    check(Agent::builder("a").capability("x", unit), &mesh, "needs Redis");
}
