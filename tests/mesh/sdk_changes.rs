//! Changes of shared state through the SDK: from now on, and again from a position.

use agent_sdk::MeshConfig;
use std::time::Duration;
use synod_tests::{Ground, Mesh, fresh};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_follows_keys_and_resumes() {
    let mesh = Mesh::shared(Ground::Embedded).await;
    let config = MeshConfig::http(&mesh.http).with_redis(&mesh.redis);
    let connected = agent_sdk::Mesh::connect(config).expect("the settings can be");
    let (state, stem) = (connected.state(), fresh("sdk"));
    assert!(connected.state_changes("", None).is_err(), "no pattern");
    let mut changes = connected.state_changes(&format!("{stem}/*"), None).expect("a pattern");
    // From when it is first polled on.
    assert!(tokio::time::timeout(Duration::from_millis(500), changes.next_change()).await.is_err());
    let mut versions = Vec::new();
    for value in 0..5 {
        versions.push(state.put(&format!("{stem}/{value}"), &value).await.expect("a put"));
    }
    let next = async |changes: &mut agent_sdk::StateChanges| {
        let next = tokio::time::timeout(SOON, changes.next_change()).await.expect("in time");
        next.expect("no error").expect("it goes on")
    };
    let mut positions = Vec::new();
    for version in &versions {
        let change = next(&mut changes).await;
        assert_eq!(change.event.version, Some(*version));
        positions.push(change.position);
    }
    let mut again = connected.state_changes(&format!("{stem}/*"), Some(positions[3])).expect("a pattern");
    assert_eq!(next(&mut again).await.event.version, Some(versions[4]));
}
