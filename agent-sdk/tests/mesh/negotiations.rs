//! Agents that decide together, in processes' own time.

use super::{SOON, mesh, run};
use agent_sdk::protocol::negotiation::{Invite, NegotiationStatus, OpenNegotiation, Then, ThenTask};
use agent_sdk::{
    Agent, AgentBuilder, Context, Json, NegotiationError, NegotiationHandle, Question, TaskError,
};
use serde_json::{Value, json};
use std::time::Duration;

fn vote(id: &str, candidates: &[&str]) -> OpenNegotiation {
    let rules = json!({"candidates": candidates, "method": "plurality"});
    OpenNegotiation {
        rules: Some(Json::of(&rules).unwrap()),
        round_ms: Some(20_000),
        ..OpenNegotiation::new(id.parse().unwrap(), "vote", Json::of("where to?").unwrap())
    }
}

fn among(mut open: OpenNegotiation, participants: &[&str]) -> OpenNegotiation {
    open.participants = Some(participants.iter().map(|id| id.parse().unwrap()).collect());
    open
}

/// Whoever can `decide`.
fn invited(open: OpenNegotiation) -> OpenNegotiation {
    let capability = Some("decide".parse().unwrap());
    OpenNegotiation { invite: Some(Invite { capability, ..Invite::default() }), ..open }
}

async fn name(context: Context, _: Value) -> Result<String, TaskError> {
    Ok(context.agent_id().to_string())
}

/// One who answers every ballot with this; `None` abstains.
fn voter(id: &str, choice: Option<&'static str>) -> AgentBuilder {
    Agent::builder(id).capability("decide", name).answers("ballot", move |_| async move { Ok(choice) })
}

/// One who never answers.
fn mute(id: &str) -> AgentBuilder {
    let answer = |_: Question| async { std::future::pending::<Result<Option<String>, TaskError>>().await };
    Agent::builder(id).capability("decide", name).answers("ballot", answer)
}

/// The first round has an answer.
async fn somebody_answered(handle: &NegotiationHandle) {
    let answered = async {
        while handle.get().await.unwrap().rounds[0].answers.is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await; // between two looks at the condition
        }
    };
    tokio::time::timeout(SOON, answered).await.expect("somebody answers in time");
}

fn outcome(json: Option<&Json>) -> Value {
    json.map_or(Value::Null, |json| json.to().unwrap())
}

#[tokio::test]
async fn agents_are_asked_and_the_answers_decide() {
    let mesh = mesh().await;
    let a = run(&mesh, voter("a", Some("sea"))).await;
    let b = run(&mesh, voter("b", Some("sea"))).await;
    let c = run(&mesh, voter("c", None)).await;
    let asked = among(vote("n", &["sea", "hills"]), &["a", "b", "c"]);
    let view = mesh.client().decide(asked.clone(), SOON).await.unwrap();
    assert_eq!(outcome(view.outcome.as_ref())["decided"], "sea", "{view:?}");
    // The same again is answered with what it is.
    let again = mesh.client().decide(asked, SOON).await.unwrap();
    assert_eq!((again.ended_at, again.outcome), (view.ended_at, view.outcome));
    let other = mesh.client().negotiate(among(vote("n", &["sea", "moon"]), &["a"])).await.unwrap_err();
    assert_eq!(other.code(), Some(agent_sdk::Code::AlreadyExists));
    for agent in [a, b, c] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn whoever_dies_is_not_waited_for() {
    let mesh = mesh().await;
    let a = run(&mesh, voter("a", Some("sea"))).await;
    let b = run(&mesh, mute("b")).await;
    let handle = mesh.client().negotiate(invited(vote("n", &["sea", "hills"]))).await.unwrap();
    somebody_answered(&handle).await;
    b.kill();
    let view = handle.wait(SOON).await.unwrap();
    assert_eq!(outcome(view.outcome.as_ref())["decided"], "sea");
    let gone: Vec<_> = view.rounds[0].gone.keys().map(|id| id.as_str()).collect();
    assert_eq!(gone, ["b"], "{view:?}");
    a.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_dies_is_replaced_where_that_is_wanted() {
    let mesh = mesh().await;
    let a = run(&mesh, mute("a")).await;
    let open = invited(vote("n", &["sea", "hills"]));
    let handle = mesh.client().negotiate(OpenNegotiation { replace: Some(true), ..open }).await.unwrap();
    let b = run(&mesh, voter("b", Some("hills"))).await;
    a.kill();
    let view = handle.wait(SOON).await.unwrap();
    assert_eq!(outcome(view.outcome.as_ref())["decided"], "hills", "{view:?}");
    assert_eq!(view.participants.len(), 2);
    b.stop().await.unwrap();
}

#[tokio::test]
async fn a_process_that_comes_again_is_asked_again() {
    let mesh = mesh().await;
    let first = run(&mesh, mute("a")).await;
    let handle =
        mesh.client().negotiate(among(vote("n", &["sea", "hills"]), &["a", "somebody"])).await.unwrap();
    first.kill();
    let second = run(&mesh, voter("a", Some("sea"))).await;
    somebody_answered(&handle).await;
    // Whoever is no agent answers by itself.
    handle.respond(&"somebody".parse().unwrap(), Some(Json::of("sea").unwrap())).await.unwrap();
    assert_eq!(outcome(handle.wait(SOON).await.unwrap().outcome.as_ref())["decided"], "sea");
    second.stop().await.unwrap();
}

#[tokio::test]
async fn a_decision_starts_a_task_for_the_winner() {
    let mesh = mesh().await;
    let a = run(&mesh, voter("a", Some("b"))).await;
    let b = run(&mesh, voter("b", Some("b"))).await;
    let task = ThenTask { winner: Some(true), ..ThenTask::default() };
    let open = OpenNegotiation {
        then: Some(Then { task: Some(task), ..Then::default() }),
        ..among(vote("n", &["a", "b"]), &["a", "b"])
    };
    mesh.client().decide(open, SOON).await.unwrap();
    let done = mesh.client().task("n:then".parse().unwrap()).wait::<String>(SOON).await.unwrap();
    assert_eq!(done.output, "b");
    let input: Value = done.task.input.to().unwrap();
    assert_eq!((&input["negotiation_id"], &input["outcome"]["decided"]), (&json!("n"), &json!("b")));
    for agent in [a, b] {
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn without_a_quorum_there_is_no_decision_and_it_says_why() {
    let mesh = mesh().await;
    let a = run(&mesh, voter("a", Some("sea"))).await;
    let open = among(vote("n", &["sea"]), &["a", "nobody", "noone"]);
    let quorum = agent_sdk::protocol::negotiation::Quorum::Count(2);
    let open = OpenNegotiation { quorum: Some(quorum), round_ms: Some(300), ..open };
    match mesh.client().decide(open, SOON).await.unwrap_err() {
        NegotiationError::Ended { view } => {
            assert_eq!(view.status, NegotiationStatus::Failed);
            assert_eq!(view.reason.as_deref(), Some("no quorum: 1 answered, 2 were needed"));
        }
        other => panic!("{other}"),
    }
    a.stop().await.unwrap();
}
