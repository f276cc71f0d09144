//! Work in other hands: what may be passed, what has to come back, and the memory that goes along.

use super::{SOON, mesh, run};
use agent_sdk::testing::TestMesh;
use agent_sdk::workflow::{Contract, Handed, Handoff};
use agent_sdk::{Agent, Context, Json, RunningAgent, TaskError, WaitError, task};
use serde_json::{Value, json};

fn contract() -> Contract {
    Contract { passes: json!({"type": "string"}), returns: json!({"type": "object", "required": ["text"]}) }
}

/// An agent that hands over whatever it is given, in that way, and returns what came back, with the execution's id.
async fn giver(mesh: &TestMesh, handoff: impl Fn(Value) -> Handoff + Send + Sync + 'static) -> RunningAgent {
    let give = move |context: Context, work: Value| {
        let handoff = handoff(work);
        async move {
            let done = context.hand_off_and_wait::<Value>(handoff, context.remaining()).await?;
            Ok(
                json!({"id": done.execution.execution_id, "labels": done.execution.labels, "output": done.output}),
            )
        }
    };
    run(mesh, Agent::builder("giver").capability("give", give)).await
}

/// Says what it was handed, and what of the giver's memory is in its own.
async fn taker(mesh: &TestMesh) -> RunningAgent {
    let take = |context: Context, handed: Handed<Value>| async move {
        let memory = context.client().mesh().memory(context.agent_id());
        let own: Option<Value> =
            memory.get("style").await.map_err(|e| TaskError::retryable("memory", e.to_string()))?;
        Ok(json!({"text": handed.work, "by": handed.context, "memory": handed.memory, "own": own}))
    };
    run(mesh, Agent::builder("taker").capability("take", take)).await
}

async fn given(mesh: &TestMesh, work: Value) -> Result<Value, WaitError> {
    let request = task("give").id("t").input(work).max_attempts(1);
    mesh.client().correlated("all-of-it").call::<Value>(request, SOON).await.map(|done| done.output)
}

#[tokio::test]
async fn an_agent_that_is_named_finds_the_memory_in_its_own() {
    let mesh = mesh().await;
    mesh.memory(&"giver".parse().unwrap()).put("style", "terse").await.unwrap();
    let handoff = |work| Handoff::to_agent("taker").work(work).memory(["style"]).contract(contract());
    let agents = [taker(&mesh).await, giver(&mesh, handoff).await];
    let back = given(&mesh, json!("a page")).await.unwrap();
    assert_eq!(back["labels"], json!({"handoff.from": "giver", "handoff.task": "t"}));
    let output = &back["output"];
    assert_eq!(
        (&output["text"], &output["own"], &output["memory"]),
        (&json!("a page"), &json!("terse"), &json!({}))
    );
    let by = json!({"agent_id": "giver", "task_id": "t", "attempt": 1, "correlation_id": "all-of-it", "memory_keys": ["style"]});
    assert_eq!(output["by"], by);
    // It is on record like any other execution.
    let recorded =
        mesh.client().execution(back["id"].as_str().unwrap().parse().unwrap()).get().await.unwrap();
    assert_eq!((recorded.workflow_id.as_str(), recorded.correlation_id.as_str()), ("handoff", "all-of-it"));
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn whoever_can_is_given_the_memory_with_the_work() {
    let mesh = mesh().await;
    mesh.memory(&"giver".parse().unwrap()).put("style", "terse").await.unwrap();
    let handoff = |work| Handoff::to_capability("take").work(work).memory(["style"]);
    let agents = [taker(&mesh).await, giver(&mesh, handoff).await];
    let back = given(&mesh, json!([1])).await.unwrap();
    let output = &back["output"];
    assert_eq!((&output["memory"], &output["own"]), (&json!({"style": "terse"}), &Value::Null));
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

/// How a task that hands over fails.
async fn fails(mesh: &TestMesh, work: Value) -> String {
    match given(mesh, work).await.unwrap_err() {
        WaitError::Ended { task, .. } => task.error.unwrap().to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_the_contract_does_not_allow_is_not_passed() {
    let mesh = mesh().await;
    let handoff = |work| Handoff::to_capability("take").work(work).contract(contract());
    let agents = [taker(&mesh).await, giver(&mesh, handoff).await];
    let why = fails(&mesh, json!(7)).await;
    assert!(why.contains("invalid_argument") && why.contains("the input does not fit"), "{why}");
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn what_comes_back_has_to_be_what_was_agreed() {
    let mesh = mesh().await;
    // The first answer is none of an object; told so, it mends it.
    let take = |context: Context, handed: Handed<String>| async move {
        Ok(match context.feedback() {
            None => json!("only a text"),
            Some(why) => json!({"text": handed.work, "told": why}),
        })
    };
    let handoff = |work| Handoff::to_capability("take").work(work).contract(contract()).max_attempts(2);
    let agents =
        [run(&mesh, Agent::builder("taker").capability("take", take)).await, giver(&mesh, handoff).await];
    let back = given(&mesh, json!("a page")).await.unwrap();
    assert_eq!(back["output"]["text"], "a page");
    let told = &back["output"]["told"];
    assert_eq!((&told["attempt"], &told["error"]["code"]), (&json!(1), &json!("output_schema")), "{back}");
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_started_where_the_memory_is_not_there() {
    let mesh = mesh().await;
    let handoff = |work| Handoff::to_agent("taker").id("h").work(work).memory(["style"]);
    let agents = [taker(&mesh).await, giver(&mesh, handoff).await];
    let why = fails(&mesh, json!(1)).await;
    assert!(why.contains("memory_not_found"), "{why}");
    let missing = mesh.client().execution("h".parse().unwrap()).get().await.unwrap_err();
    assert_eq!(missing.code(), Some(agent_sdk::Code::NotFound));
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn so_much_memory_goes_along_and_no_more() {
    let mesh = mesh().await;
    let handoff =
        |work| Handoff::to_capability("take").work(work).memory((0..101).map(|n| format!("key-{n}")));
    let agents = [taker(&mesh).await, giver(&mesh, handoff).await];
    let why = fails(&mesh, json!(1)).await;
    assert!(why.contains("101 memory entries are named, the limit is 100"), "{why}");
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn under_an_id_of_its_own_it_is_one_handoff_however_often_it_is_begun() {
    let mesh = mesh().await;
    let give = |context: Context, work: Value| async move {
        let handoff = || Handoff::to_capability("take").id("h").work(&work);
        let first = context.hand_off(handoff()).await?;
        let again = context.hand_off(handoff()).await?;
        let (first, again) =
            (first.wait::<Json>(context.remaining()).await?, again.wait::<Json>(context.remaining()).await?);
        Ok(first.execution.started_at == again.execution.started_at && first.output == again.output)
    };
    let agents = [taker(&mesh).await, run(&mesh, Agent::builder("giver").capability("give", give)).await];
    assert_eq!(given(&mesh, json!(1)).await.unwrap(), json!(true));
    for agent in agents {
        agent.stop().await.unwrap();
    }
}
