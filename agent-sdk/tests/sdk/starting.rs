//! Executions that are started where nobody has heard of their workflow yet.

use super::Bed;
use agent_sdk::protocol::workflow::Workflow as View;
use agent_sdk::workflow::{IntoWorkflow, execution};
use agent_sdk::{Code, Json, Timestamp, Workspace};
use synod_protocol::Command;

const TEXT: &str = "{id: w, steps: [{id: a, task: {capability: c}}]}";

/// A bed in which another shard has the workflow; its hash.
async fn known_elsewhere() -> (Bed, String) {
    let bed = Bed::start().await;
    let workflow = TEXT.into_workflow().unwrap();
    let view = View {
        workflow_id: "w".parse().unwrap(),
        workspace: Workspace::default_name(),
        version: 1,
        hash: workflow.hash().to_owned(),
        definition: Json::from(workflow.definition().to_json()),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    };
    bed.coordinator.memory().workflows.insert(view.workflow_id.clone(), view);
    (bed, workflow.hash().to_owned())
}

#[tokio::test]
async fn the_definition_is_fetched_and_sent_along() {
    let (bed, hash) = known_elsewhere().await;
    for (id, request) in [("e1", execution("w")), ("e2", execution("w").hash(&hash))] {
        bed.mesh.client().start(request.id(id)).await.unwrap();
        let memory = bed.coordinator.memory();
        let (_, last) = memory.done.last().unwrap();
        let Command::StartExecution(start) = last else { panic!("{last:?}") };
        let sent = start.definition.as_ref().unwrap().as_str().into_workflow().unwrap();
        assert_eq!((start.execution_id.as_str(), sent.hash()), (id, hash.as_str()));
    }
}

#[tokio::test]
async fn another_version_than_is_wanted_is_not_sent() {
    let (bed, _) = known_elsewhere().await;
    for request in [execution("w").hash("of another version"), execution("nobody-defined")] {
        let refused = bed.mesh.client().start(request).await.unwrap_err();
        assert_eq!(refused.code(), Some(Code::NotFound), "{refused}");
    }
    assert!(bed.coordinator.memory().done.is_empty());
}
