//! Commands and questions, and what becomes of them when nobody answers.

use super::stand_in::Fault;
use super::{Bed, SOON};
use agent_sdk::{Agent, DoorError, Mesh, MeshConfig, WaitError, task};
use std::time::{Duration, Instant};
use synod_infra::kafka::{EmbeddedKafka, Readers};
use synod_infra::redis::lease::{Coordinator, Lease, Part};
use synod_protocol::{Code, Error, topics};

#[tokio::test]
async fn a_refusal_is_told_and_not_repeated() {
    let bed = Bed::start().await;
    let client = bed.mesh.client();
    client.submit(task("x").id("t").input(1)).await.unwrap();
    client.submit(task("x").id("t").input(1)).await.expect("the same again is the same task");
    let other = client.submit(task("x").id("t").input(2)).await.unwrap_err();
    assert_eq!(other.code(), Some(Code::AlreadyExists));
    let wrong = client.submit(task("x").priority(99)).await.unwrap_err();
    assert_eq!(wrong.code(), Some(Code::InvalidArgument));
    let missing = client.get(&"nothing".parse().unwrap()).await.unwrap_err();
    assert_eq!(missing.code(), Some(Code::NotFound));
    client.cancel(&"t".parse().unwrap(), "enough").await.unwrap();
    let twice = client.cancel(&"t".parse().unwrap(), "enough").await.unwrap_err();
    let DoorError::Refused(error) = twice else { panic!("{twice}") };
    assert_eq!((error.code, error.status.as_deref()), (Code::InvalidTransition, Some("cancelled")));
}

#[tokio::test]
async fn what_is_overloaded_is_asked_again_when_it_says() {
    let bed = Bed::start().await;
    bed.coordinator.misbehave([
        Fault::RefuseEach(Error::overloaded("too much", 150)),
        Fault::Refuse(Error::new(Code::Internal, "a defect")),
        Fault::Refuse(Error::unavailable("Kafka is away")),
    ]);
    let began = Instant::now();
    bed.mesh.client().submit(task("x").id("t")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(150), "{:?}", began.elapsed());
    let done = bed.coordinator.memory().done.len();
    assert_eq!(done, 1);
}

#[tokio::test]
async fn silence_ends_with_the_limit() {
    let config =
        MeshConfig { command_limit: Duration::from_millis(300), ..MeshConfig::http("http://127.0.0.1:1") };
    let client = Mesh::connect(config).unwrap().client();
    let silent = client.submit(task("x")).await.unwrap_err();
    assert!(matches!(silent, DoorError::NoAnswer { .. }), "{silent}");
    let called = client.call::<()>(task("x"), Duration::from_millis(300)).await.unwrap_err();
    assert!(
        matches!(called, WaitError::NotInTime { .. } | WaitError::Door(DoorError::NoAnswer { .. })),
        "{called}"
    );
    let nowhere = Mesh::connect(MeshConfig::default()).unwrap().client().submit(task("x")).await.unwrap_err();
    assert!(matches!(nowhere, DoorError::NoDoor(_)), "{nowhere}");
}

#[tokio::test]
async fn commands_that_wait_travel_together() {
    let bed = Bed::start().await;
    let client = bed.mesh.client();
    let submitted = (0..400).map(|n| client.submit(task("x").id(format!("t{n}"))));
    for handle in futures::future::join_all(submitted).await {
        handle.unwrap();
    }
    let memory = bed.coordinator.memory();
    assert_eq!(memory.batches.iter().sum::<usize>(), 400);
    assert!(memory.batches.len() < 200, "{} requests for 400 commands", memory.batches.len());
}

#[tokio::test]
async fn coordinators_are_found_by_their_leases_and_left_when_they_fall_silent() {
    let bed = Bed::start().await;
    let config = MeshConfig::default().with_redis(bed.redis.url());
    let lease = |id: &str, address: String| {
        let coordinator = Coordinator { id: id.parse().unwrap(), address };
        Lease::new(bed.coordinator.redis().clone(), coordinator, Duration::from_secs(60))
    };
    // Nobody listens on the address of the first.
    lease("dead", "http://127.0.0.1:1".into()).hold(&Part::default()).await.unwrap();
    lease("live", bed.coordinator.url().trim_start_matches("http://").into())
        .hold(&Part::default())
        .await
        .unwrap();
    for n in 0..4 {
        let client = Mesh::connect(config.clone()).unwrap().client();
        client.submit(task("x").id(format!("t{n}"))).await.unwrap();
    }
    assert_eq!(bed.coordinator.memory().tasks.len(), 4);
}

#[tokio::test]
async fn a_command_goes_to_the_topic_when_no_coordinator_answers() {
    let kafka = EmbeddedKafka::start(4, 1).unwrap();
    let config = MeshConfig {
        kafka: Some(kafka.config("test").unwrap()),
        fall_back_after: Duration::from_millis(100),
        ..MeshConfig::http("http://127.0.0.1:1")
    };
    let client = Mesh::connect(config).unwrap().client().correlated("c-1");
    let handle = client.submit(task("x").id("root:child")).await.unwrap();
    let partition = topics::partition(b"root", 4).cast_signed();
    let readers = Readers::new(&kafka.config("reader").unwrap()).unwrap();
    let mut records = Vec::new();
    let keep = |record| {
        records.push(record);
        std::ops::ControlFlow::Continue(())
    };
    readers.read_to_end(topics::COMMANDS, partition, SOON, keep).await.unwrap();
    assert_eq!((records.len(), records[0].key.as_deref()), (1, Some(&b"root"[..])));
    let envelope = records[0].envelope().unwrap();
    assert_eq!(
        (envelope.ty.as_str(), envelope.correlation_id.as_deref()),
        ("synod.task.submit", Some("c-1"))
    );
    assert!(envelope.time.is_some() && envelope.traceparent.is_none());
    assert_eq!(handle.task_id().as_str(), "root:child");
}

#[tokio::test]
async fn an_overloaded_mesh_is_not_gone_round_through_the_topic() {
    let kafka = EmbeddedKafka::start(1, 1).unwrap();
    let bed = Bed::start().await;
    let config = MeshConfig {
        kafka: Some(kafka.config("test").unwrap()),
        fall_back_after: Duration::ZERO,
        command_limit: Duration::from_millis(300),
        ..MeshConfig::http(bed.coordinator.url())
    };
    bed.coordinator.misbehave(vec![Fault::RefuseEach(Error::overloaded("too much", 10)); 100]);
    let refused = Mesh::connect(config).unwrap().client().submit(task("x")).await.unwrap_err();
    assert!(matches!(refused, DoorError::NoAnswer { .. }), "{refused}");
    let readers = Readers::new(&kafka.config("reader").unwrap()).unwrap();
    assert!(readers.watermarks(topics::COMMANDS, 0, SOON).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_wait_ends_with_the_task_or_with_its_limit() {
    let bed = Bed::start().await;
    let handle = bed.mesh.client().submit(task("late").id("t")).await.unwrap();
    let waiting = tokio::spawn(async move { handle.wait::<u8>(SOON).await });
    let agent = bed.run(Agent::builder("a").capability("late", |_, (): ()| async { Ok(7u8) })).await;
    assert_eq!(waiting.await.unwrap().unwrap().output, 7);
    let shape = bed.mesh.client().call::<String>(task("late"), SOON).await.unwrap_err();
    assert!(matches!(shape, WaitError::Output { .. }), "{shape}");
    agent.stop().await.unwrap();
    let nobody = bed.mesh.client().call::<u8>(task("late"), Duration::from_millis(50)).await.unwrap_err();
    assert!(matches!(nobody, WaitError::NotInTime { .. }), "{nobody}");
}
