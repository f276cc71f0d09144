//! Workflows run: by agents of this crate, on a mesh of its own.

use super::{SOON, mesh, run};
use agent_sdk::approval::Verdict;
use agent_sdk::workflow::{
    DefineError, ExecutionError, ExecutionHandle, ExecutionStatus, IntoWorkflow, ShareAndAnalyse, StepStatus,
    Workflow, execution, execution_of, patterns,
};
use agent_sdk::{Agent, AgentBuilder, Code, Context, Json, TaskError, What};
use serde_json::{Value, json};
use std::time::Duration;

async fn double(_: Context, n: u64) -> Result<u64, TaskError> {
    Ok(n * 2)
}

/// Fails on odd numbers, for good.
async fn halve(_: Context, n: u64) -> Result<u64, TaskError> {
    match n % 2 {
        0 => Ok(n / 2),
        _ => Err(TaskError::permanent("odd", format!("{n} is odd"))),
    }
}

fn doubler(id: &str) -> AgentBuilder {
    Agent::builder(id).capability("double", double).concurrency(8)
}

fn of(text: &str) -> Workflow {
    text.into_workflow().unwrap()
}

/// Doubles, waits for `go`, and doubles again.
fn with_a_signal() -> Workflow {
    of("
id: signalled
steps:
  - {id: first, task: {capability: double, input: '${{ input }}'}}
  - {id: gate, depends_on: [first], wait: {signal: go}}
  - {id: second, depends_on: [gate], task: {capability: double, input: '${{ steps.gate.output }}'}}
output: ['${{ steps.first.output }}', '${{ steps.second.output }}']
")
}

/// Waits until a step stands like this.
async fn until(handle: &ExecutionHandle, step: &str, status: StepStatus) {
    let stands = async {
        loop {
            let now = handle.get().await.unwrap();
            if now.steps.iter().any(|doing| doing.step == step && doing.status == status) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await; // between two looks at the condition
        }
    };
    tokio::time::timeout(SOON, stands).await.unwrap_or_else(|_| panic!("{step} is not {status:?} in time"));
}

#[tokio::test]
async fn one_that_is_defined_is_run() {
    let mesh = mesh().await;
    let agent = run(&mesh, doubler("a")).await;
    let client = mesh.client();
    let stages = [("one", "double"), ("two", "double"), ("three", "double")];
    let defined = client.define_workflow(&patterns::pipeline("eightfold", &stages).unwrap()).await.unwrap();
    let known = client.workflow(&"eightfold".parse().unwrap()).await.unwrap();
    assert_eq!((known.version, known.hash.as_str()), (1, defined.hash()));

    let asked = execution("eightfold").id("e").input(5).label("team", "x");
    let done = client.clone().correlated("sums").execute::<u64>(asked.clone(), SOON).await.unwrap();
    assert_eq!(done.output, 40);
    let shown = &done.execution;
    assert_eq!((shown.status, shown.correlation_id.as_str()), (ExecutionStatus::Completed, "sums"));
    assert_eq!((shown.hash.as_str(), shown.labels["team"].as_str()), (defined.hash(), "x"));
    let steps: Vec<_> =
        shown.steps.iter().map(|step| (step.step.as_str(), step.status, step.attempts)).collect();
    assert_eq!(steps, ["one", "two", "three"].map(|step| (step, StepStatus::Completed, 1)));
    assert!(shown.steps.iter().all(|step| step.agent_id.as_ref().is_some_and(|agent| agent.as_str() == "a")));
    let page = client.execution("e".parse().unwrap()).steps(None).await.unwrap();
    assert_eq!((page.items.len(), page.next_cursor), (3, None));

    // The same again is the same execution; with another input it is refused.
    assert_eq!(client.execute::<u64>(asked.clone(), SOON).await.unwrap().execution.ended_at, shown.ended_at);
    let other = client.start(asked.input(6)).await.unwrap_err();
    assert_eq!(other.code(), Some(Code::AlreadyExists));
    // The same definition again is no new version; another one is.
    client.define_workflow(&defined).await.unwrap();
    assert_eq!(client.workflow(&"eightfold".parse().unwrap()).await.unwrap().version, 1);
    client.define_workflow(&patterns::pipeline("eightfold", &stages[..2]).unwrap()).await.unwrap();
    assert_eq!(client.workflow(&"eightfold".parse().unwrap()).await.unwrap().version, 2);
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_is_told_before_and_after() {
    let mesh = mesh().await;
    let client = mesh.client();
    match client.define_workflow("id: w\nsteps: [{id: a, tusk: {}}]").await.unwrap_err() {
        DefineError::Problems(problems) => assert_eq!(problems.iter().next().unwrap().spot.line, 2),
        DefineError::Door(error) => panic!("{error}"),
    }
    let unknown = client.start(execution("nobody-defined")).await.unwrap_err();
    assert_eq!(unknown.code(), Some(Code::NotFound));
    let w = of(
        "{id: w, input_schema: {type: integer}, steps: [{id: a, task: {capability: double, input: '${{ input }}'}}]}",
    );
    let refused = client.start(execution_of(&w).input("text")).await.unwrap_err();
    assert_eq!(refused.code(), Some(Code::InvalidArgument), "{refused}");
    client.define_workflow(&w).await.unwrap();
    let other = client.start(execution("w").hash("0".repeat(64)).input(1)).await.unwrap_err();
    assert_eq!(other.code(), Some(Code::NotFound), "{other}");
    let missing = client.execution("nobody-started".parse().unwrap()).get().await.unwrap_err();
    assert_eq!(missing.code(), Some(Code::NotFound));
}

#[tokio::test]
async fn it_is_paused_resumed_signalled_and_watched() {
    let mesh = mesh().await;
    let agent = run(&mesh, doubler("a")).await;
    let handle = mesh.client().start(execution_of(&with_a_signal()).input(1)).await.unwrap();
    until(&handle, "gate", StepStatus::Running).await;
    handle.pause("lunch").await.unwrap();
    assert_eq!(handle.get().await.unwrap().paused_because.as_deref(), Some("lunch"));
    handle.signal("go", Json::of(&21).unwrap()).await.unwrap();
    let soon = handle.wait::<Value>(Duration::from_millis(300)).await.unwrap_err();
    assert!(
        matches!(soon, ExecutionError::NotInTime { .. }),
        "{soon}: nothing is started while it is paused"
    );
    handle.resume().await.unwrap();
    assert_eq!(handle.wait::<Value>(SOON).await.unwrap().output, json!([2, 42]));
    let over = handle.cancel("too late").await.unwrap_err();
    assert_eq!(over.code(), Some(Code::InvalidTransition));

    let mut told = Vec::new();
    let mut monitor = handle.monitor();
    let all = async {
        while let Some(progress) = monitor.next_progress().await.unwrap() {
            told.push((progress.what, progress.completed, progress.under_way));
        }
    };
    tokio::time::timeout(SOON, all).await.expect("the monitor ends with the execution");
    let position = |what: &str| {
        told.iter().position(|(told, ..)| told == what).unwrap_or_else(|| panic!("{what}: {told:?}"))
    };
    let order = [
        position("paused: lunch"),
        position("the signal go came"),
        position("resumed"),
        position("completed"),
    ];
    assert!(order.is_sorted(), "{told:?}");
    assert_eq!(told.last().map(|(_, completed, under_way)| (*completed, *under_way)), Some((3, 0)));
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_is_cancelled_takes_back_what_is_under_way() {
    let mesh = mesh().await;
    let agent = run(&mesh, doubler("a")).await;
    let handle = mesh.client().start(execution_of(&with_a_signal()).input(1)).await.unwrap();
    until(&handle, "gate", StepStatus::Running).await;
    handle.cancel("no longer wanted").await.unwrap();
    match handle.wait::<Value>(SOON).await.unwrap_err() {
        ExecutionError::Ended { execution } => {
            assert_eq!(execution.status, ExecutionStatus::Cancelled);
            assert!(execution.steps.iter().all(|step| step.status.is_final()), "{:?}", execution.steps);
        }
        other => panic!("{other}"),
    }
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn a_step_that_failed_is_done_once_more() {
    let mesh = mesh().await;
    let client = mesh.client();
    let agent = run(&mesh, Agent::builder("a").capability("halve", halve)).await;
    let w = of("
id: halved
steps:
  - {id: got, task: {capability: halve, input: '${{ input }}'}}
  - {id: then, depends_on: [got], task: {capability: halve, input: 8}}
");
    let handle = client.start(execution_of(&w).input(3)).await.unwrap();
    let error = handle.wait::<Value>(SOON).await.unwrap_err();
    assert!(error.to_string().contains("3 is odd"), "{error}");
    agent.stop().await.unwrap();
    // Who does not mind.
    let agent =
        run(&mesh, Agent::builder("b").capability("halve", |_: Context, n: u64| async move { Ok(n / 2) }))
            .await;
    assert_eq!(handle.retry("nothing", &[]).await.unwrap_err().code(), Some(Code::NotFound));
    handle.retry("got", &[]).await.unwrap();
    assert_eq!(handle.wait::<Value>(SOON).await.unwrap().output, json!({"then": 4}));
    let mut watch = handle.watch();
    let mut ends = Vec::new();
    while let Some(watched) = tokio::time::timeout(SOON, watch.next_event()).await.unwrap().unwrap() {
        if watched.event.what.is_end() {
            ends.push(watched.event.what.ce_type());
        }
    }
    assert_eq!(
        ends,
        ["synod.execution.failed", "synod.execution.completed"],
        "a watch goes on after the first end"
    );
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn people_decide_in_it_and_what_they_want_reaches_the_agent() {
    let mesh = mesh().await;
    let client = mesh.client();
    let draft = |context: Context, _: Value| async move {
        let feedback: Value = context.feedback().map_or(Value::Null, |json| json.to().unwrap());
        Ok(json!({"text": format!("draft for {}", feedback["comment"])}))
    };
    let agent = run(&mesh, Agent::builder("a").capability("draft", draft)).await;
    let w = of("
id: released
steps:
  - {id: draft, task: {capability: draft}}
  - id: release
    depends_on: [draft]
    approval: {title: 'Release?', show: '${{ steps.draft.output }}', approvers: [ann], revise: {step: draft, max_revisions: 2}}
output: {text: '${{ steps.draft.output.text }}', by: '${{ steps.release.output.approver }}'}
");
    let handle = client.start(execution_of(&w).id("e")).await.unwrap();
    let mut watch = handle.watch();
    let mut seen = Vec::new();
    while let Some(watched) = tokio::time::timeout(SOON, watch.next_event()).await.unwrap().unwrap() {
        let What::ExecutionStepStarted(step) = &watched.event.what else { continue };
        if step.step != "release" {
            continue;
        }
        let waiting = client.pending_approvals("ann", &[]).await.unwrap();
        assert_eq!(waiting.len(), 1, "{waiting:?}");
        let asked = &waiting[0];
        assert_eq!(
            (Some(&asked.approval_id), asked.execution_id.as_ref()),
            (step.child.as_ref(), Some(handle.execution_id()))
        );
        seen.push((asked.revision, asked.show.to::<Value>().unwrap()["text"].as_str().unwrap().to_owned()));
        let verdict = match asked.revision {
            1 => Verdict::request_changes("ann", "shorter"),
            _ => Verdict::approve("ann"),
        };
        client.approval(asked.approval_id.clone()).decide(verdict.shown(asked.shown.clone())).await.unwrap();
    }
    assert_eq!(seen, [(1, "draft for null".to_owned()), (2, "draft for \"shorter\"".to_owned())]);
    let done = handle.wait::<Value>(SOON).await.unwrap();
    assert_eq!(done.output, json!({"text": "draft for \"shorter\"", "by": "ann"}));
    let resubmitted = client.approval("e:release".parse().unwrap()).resubmit(None, 1).await.unwrap_err();
    assert_eq!(resubmitted.code(), Some(Code::Unprocessable), "the workflow itself asks again");
    agent.stop().await.unwrap();
}

#[tokio::test]
async fn an_expert_is_asked_where_somebody_is_not_sure() {
    let mesh = mesh().await;
    let client = mesh.client();
    let guess = |context: Context, sure: f64| async move {
        context.set_confidence(sure);
        Ok("a guess")
    };
    let agents = [
        run(&mesh, Agent::builder("a").capability("guess", guess)).await,
        run(&mesh, Agent::builder("b").capability("know", |_: Context, _: Value| async { Ok("it is so") }))
            .await,
    ];
    let w = (&patterns::consult_expert("asked", "guess", "know", 0.7).unwrap()).into_workflow().unwrap();
    for (sure, advice) in [(0.7, Value::Null), (0.6, json!("it is so"))] {
        let done = client.execute::<Value>(execution_of(&w).input(sure), SOON).await.unwrap();
        assert_eq!(done.output, json!({"answer": "a guess", "advice": advice}), "at {sure}");
    }
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn parts_are_done_by_many_and_put_together() {
    let mesh = mesh().await;
    let add = |_: Context, given: Value| async move {
        Ok(given["parts"].as_array().unwrap().iter().map(|part| part.as_u64().unwrap()).sum::<u64>())
    };
    let split = |_: Context, n: u64| async move { Ok((0..n).collect::<Vec<u64>>()) };
    let agents = [
        run(&mesh, doubler("a").capability("split", split).capability("add", add)).await,
        run(&mesh, doubler("b")).await,
    ];
    let made = patterns::master_and_workers("sums", ["split", "double", "add"], 4).unwrap();
    let w = (&made).into_workflow().unwrap();
    let done = mesh.client().execute::<u64>(execution_of(&w).input(300), SOON).await.unwrap();
    assert_eq!(done.output, 300 * 299);
    let counts = &done.execution.step_counts;
    assert_eq!(counts[&StepStatus::Completed], 303, "300 parts, and three steps: {counts:?}");
    // A view has the first 200; the others are read page by page.
    let handle = mesh.client().execution(done.execution.execution_id.clone());
    let (mut all, mut cursor) = (0, None);
    loop {
        let page = handle.steps(cursor.as_deref()).await.unwrap();
        all += page.items.len();
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((done.execution.steps.len(), all), (200, 303));
    for agent in agents {
        agent.stop().await.unwrap();
    }
}

#[tokio::test]
async fn data_is_shared_and_analysed_in_one_call() {
    let mesh = mesh().await;
    let state = mesh.state();
    let count = move |_: Context, asked: agent_sdk::workflow::Analysis| {
        let state = state.clone();
        async move {
            let shared = state
                .get::<Vec<u64>>(&asked.key)
                .await
                .map_err(|e| TaskError::retryable("state", e.to_string()))?;
            Ok(shared.map(|held| (held.version == asked.version, held.value.len())))
        }
    };
    let sum = |_: Context, given: Value| async move { Ok(given["analyses"]["counted"][1].clone()) };
    let fail = |_: Context, _: Value| async { Err::<(), _>(TaskError::permanent("blind", "cannot see it")) };
    let agent =
        Agent::builder("a").capability("count", count).capability("sum", sum).capability("fail", fail);
    let agent = run(&mesh, agent).await;
    let asked = ShareAndAnalyse::new("figures/1", [1, 2, 3])
        .analyst("counted", "count")
        .analyst("seen", "fail")
        .combined_by("sum");
    let analysed = mesh.client().share_and_analyse(asked, SOON).await.unwrap();
    let shared = mesh.state().get::<Vec<u64>>("figures/1").await.unwrap().unwrap();
    assert_eq!((analysed.version, shared.value), (shared.version, vec![1, 2, 3]));
    assert_eq!(analysed.analyses["counted"].to::<Value>().unwrap(), json!([true, 3]));
    assert_eq!(analysed.analyses["seen"], Json::null(), "one that fails stops nobody");
    assert_eq!(analysed.combined.unwrap().to::<u64>().unwrap(), 3);
    agent.stop().await.unwrap();
}
