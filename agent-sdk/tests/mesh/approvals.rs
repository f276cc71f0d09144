//! People are asked and decide, through the SDK's own doors.

use super::{SOON, mesh};
use agent_sdk::approval::{ApprovalError, ApprovalHandle, ApprovalStatus, Decision, Need, Verdict, approval};
use agent_sdk::testing::TestMesh;
use agent_sdk::{Client, Code, DoorError, Mesh, MeshConfig};
use serde_json::{Value, json};
use std::time::Duration;

/// Asked of Ann and all editors, under this id.
async fn asked(client: &Client, id: &str) -> ApprovalHandle {
    let request = approval("Release 7?", ["ann", "role:editor"]).id(id).show(json!({"notes": [1, 2]}));
    client.request_approval(request).await.unwrap()
}

fn code(refused: Result<(), DoorError>) -> Option<Code> {
    refused.unwrap_err().code()
}

fn ended(result: Result<agent_sdk::approval::Approval, ApprovalError>) -> agent_sdk::approval::Approval {
    match result.unwrap_err() {
        ApprovalError::Ended { approval } => *approval,
        other => panic!("{other}"),
    }
}

/// Those that wait for a person, by id.
async fn waiting(client: &Client, approver: &str, roles: &[&str]) -> Vec<String> {
    let pending = client.pending_approvals(approver, roles).await.unwrap();
    let mut ids: Vec<String> = pending.into_iter().map(|it| it.approval_id.to_string()).collect();
    ids.sort();
    ids
}

#[tokio::test]
async fn whoever_may_is_shown_what_waits_and_decides() {
    let mesh = mesh().await;
    let client = mesh.client();
    let handle = asked(&client, "a").await;
    let of_all = approval("Both?", ["ann", "bob"]).id("b").need(Need::All).label("team", "x");
    let both = client.request_approval(of_all).await.unwrap();
    assert_eq!(waiting(&client, "ann", &[]).await, ["a", "b"]);
    assert_eq!(waiting(&client, "bob", &[]).await, ["b"]);
    assert_eq!(waiting(&client, "cleo", &["cook", "editor"]).await, ["a"]);
    assert_eq!(waiting(&client, "ann", &["cook", "editor"]).await, ["a", "b"]);
    assert_eq!(waiting(&client, "cleo", &["cook"]).await, [""; 0]);

    // Who is none of them is refused, and so is who saw something else.
    assert_eq!(code(handle.decide(Verdict::approve("eve")).await), Some(Code::PermissionDenied));
    let other = Verdict::approve("ann").shown("of something else");
    assert_eq!(code(handle.decide(other).await), Some(Code::Conflict));
    let shown = handle.get().await.unwrap().shown;
    let yes =
        Verdict::approve("cleo").role("editor").comment("fine").meaning("reviewed").shown(shown.clone());
    handle.decide(yes).await.unwrap();
    let approved = handle.wait(SOON).await.unwrap();
    let made = &approved.decisions[0];
    assert_eq!((made.approver.as_deref(), made.comment.as_deref()), (Some("cleo"), Some("fine")));
    assert_eq!((made.meaning.as_deref(), &made.shown), (Some("reviewed"), &shown));
    assert!(made.roles.contains("editor"));
    assert_eq!(code(handle.decide(Verdict::reject("ann")).await), Some(Code::InvalidTransition));

    // One signature of two waits for the other one alone.
    both.decide(Verdict::approve("ann")).await.unwrap();
    assert_eq!(waiting(&client, "ann", &[]).await, [""; 0]);
    assert_eq!(waiting(&client, "bob", &[]).await, ["b"]);
    assert!(matches!(
        client.wait_for_approval(both.approval_id().clone(), Duration::from_millis(50)).await,
        Err(ApprovalError::NotInTime { .. })
    ));
    let signed = both.clone();
    let decided = tokio::spawn(async move { signed.wait(SOON).await });
    both.decide(Verdict::approve("bob")).await.unwrap();
    assert_eq!(decided.await.unwrap().unwrap().decisions.len(), 2);
}

#[tokio::test]
async fn the_same_again_is_one_approval_and_something_else_is_refused() {
    let mesh = mesh().await;
    let client = mesh.client();
    let first = asked(&client, "a").await.get().await.unwrap();
    let again = asked(&client, "a").await.get().await.unwrap();
    assert_eq!(first, again);
    let other = approval("Release 8?", ["ann"]).id("a");
    assert_eq!(client.request_approval(other).await.unwrap_err().code(), Some(Code::AlreadyExists));
    let nobody = approval("Who?", [""; 0]);
    match client.request_approval(nobody).await.unwrap_err() {
        DoorError::Refused(error) => assert_eq!(error.field.as_deref(), Some("/approvers"), "{error}"),
        other => panic!("{other}"),
    }
    let missing = client.approval("nobody-asked".parse().unwrap()).get().await.unwrap_err();
    assert_eq!(missing.code(), Some(Code::NotFound));
}

#[tokio::test]
async fn changes_are_requested_and_the_next_revision_keeps_them() {
    let mesh = mesh().await;
    let client = mesh.client();
    let request = approval("Release 7?", ["ann"]).id("a").show("draft 1").max_revisions(2);
    let first = client.request_approval(request).await.unwrap();
    let early = first.resubmit(None, "draft 2").await.unwrap_err();
    assert_eq!(early.code(), Some(Code::InvalidTransition), "nobody has asked for it");
    let changes = Verdict::request_changes("ann", "shorter").data(json!({"words": 100}));
    first.decide(changes).await.unwrap();
    let over = ended(first.wait(SOON).await);
    assert_eq!(over.status, ApprovalStatus::ChangesRequested);

    let second = first.resubmit(Some("Release 7 now?".into()), "draft 2").await.unwrap();
    assert_eq!(
        first.resubmit(Some("Release 7 now?".into()), "draft 2").await.unwrap().approval_id(),
        second.approval_id()
    );
    let other = first.resubmit(None, "draft 3").await.unwrap_err();
    assert_eq!(other.code(), Some(Code::AlreadyExists));
    let shown = second.get().await.unwrap();
    assert_eq!((shown.revision, shown.parent.as_ref()), (2, Some(first.approval_id())));
    assert_eq!(
        (shown.title.as_str(), shown.show.to::<String>().unwrap().as_str()),
        ("Release 7 now?", "draft 2")
    );
    let feedback = shown.feedback.unwrap();
    assert_eq!((feedback.decision, feedback.comment.as_deref()), (Decision::RequestChanges, Some("shorter")));
    assert_eq!(feedback.response_data.unwrap().to::<Value>().unwrap(), json!({"words": 100}));
    let last = second.decide(Verdict::request_changes("ann", "once more")).await;
    assert_eq!(code(last), Some(Code::Unprocessable), "the second of two is the last");
    second.decide(Verdict::reject("ann").comment("no more")).await.unwrap();
    let rejected = second.wait(SOON).await.unwrap_err();
    assert_eq!(rejected.to_string(), "approval a:r2 is rejected: no more");
}

#[tokio::test]
async fn what_nobody_decides_is_over_in_its_time() {
    let mesh = mesh().await;
    let client = mesh.client();
    let short = || approval("Quick?", ["ann"]).expires_after(Duration::from_millis(200));
    let late = client.request_approval(short()).await.unwrap();
    let over = ended(late.wait(SOON).await);
    assert_eq!((over.status, over.decisions.len()), (ApprovalStatus::TimedOut, 0));
    assert_eq!(waiting(&client, "ann", &[]).await, [""; 0]);
    let by_itself = short().auto_approve_after(Duration::from_millis(100));
    let approved = client.request_approval(by_itself).await.unwrap().wait(SOON).await.unwrap();
    assert_eq!(approved.decisions[0].approver, None);
}

#[tokio::test]
async fn data_has_to_be_what_was_asked_for() {
    let mesh = mesh().await;
    let schema =
        json!({"type": "object", "required": ["copies"], "properties": {"copies": {"type": "integer"}}});
    let request = approval("How many?", ["ann"]).response_schema(schema);
    let handle = mesh.client().request_approval(request).await.unwrap();
    for wrong in [Verdict::approve("ann"), Verdict::approve("ann").data(json!({"copies": "two"}))] {
        assert_eq!(code(handle.decide(wrong).await), Some(Code::InvalidArgument));
    }
    handle.decide(Verdict::approve("ann").data(json!({"copies": 2}))).await.unwrap();
    let approved = handle.wait(SOON).await.unwrap();
    assert_eq!(
        approved.decisions[0].response_data.clone().unwrap().to::<Value>().unwrap(),
        json!({"copies": 2})
    );
}

#[tokio::test]
async fn a_watch_shows_all_of_it() {
    let mesh = mesh().await;
    let request = approval("Both?", ["ann", "bob"]).need(Need::All);
    let handle = mesh.client().request_approval(request).await.unwrap();
    let live = tokio::spawn(types(handle.clone()));
    handle.decide(Verdict::approve("ann")).await.unwrap();
    handle.decide(Verdict::approve("bob")).await.unwrap();
    let all = ["synod.approval.required", "synod.approval.signed", "synod.approval.granted"];
    assert_eq!(live.await.unwrap(), all);
    assert_eq!(types(handle).await, all, "from the history");
}

async fn types(handle: ApprovalHandle) -> Vec<&'static str> {
    let all = async {
        let (mut watch, mut types) = (handle.watch(), Vec::new());
        while let Some(watched) = watch.next_event().await.unwrap() {
            types.push(watched.event.what.ce_type());
        }
        types
    };
    tokio::time::timeout(SOON, all).await.expect("the watch ends with the approval")
}

#[tokio::test]
async fn one_who_has_nothing_but_kafka_can_ask() {
    let mesh = mesh().await;
    let handle = asked(&kafka_only(&mesh).client(), "a").await;
    // The topic has it; it is decided once a coordinator has read it.
    let elsewhere = mesh.client().approval(handle.approval_id().clone());
    let there = async {
        while elsewhere.get().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await; // between two looks at the condition
        }
    };
    tokio::time::timeout(SOON, there).await.expect("it is read in time");
    elsewhere.decide(Verdict::approve("ann")).await.unwrap();
    elsewhere.wait(SOON).await.unwrap();
}

fn kafka_only(mesh: &TestMesh) -> Mesh {
    let config = MeshConfig { kafka: mesh.config().kafka.clone(), ..MeshConfig::default() };
    Mesh::connect(config).unwrap()
}
