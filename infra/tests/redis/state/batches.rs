//! All of it or nothing.

use super::*;
use synod_infra::primitives::state::Done;
use synod_protocol::Code;
use synod_protocol::primitives::state::Batch;

fn batch(text: &str) -> Batch {
    serde_json::from_str::<Batch>(&format!("{{\"operations\":[{text}]}}")).unwrap().checked().unwrap()
}

#[tokio::test]
async fn operations_are_done_in_order_and_each_is_answered() {
    let room = Room::open().await;
    room.put("{t}old", "0").await;
    let (done, place) = room
        .state
        .batch(&room.writer, batch(
            r#"{"op":"get","key":"{t}a"},{"op":"put","key":"{t}a","value":null},{"op":"get","key":"{t}a"},
               {"op":"put","key":"{t}old","value":1},{"op":"delete","key":"{t}none"},{"op":"delete","key":"t"},
               {"op":"put","key":"{t}m","value":{"x":1},"strategy":"merge"}"#,
        ))
        .await
        .unwrap();
    let [
        Done::Absent,
        Done::Made(made),
        Done::Found(found),
        Done::Changed(_),
        Done::Absent,
        Done::Absent,
        Done::Made(m),
    ] = done.as_slice()
    else {
        panic!("{done:?}")
    };
    assert_eq!((made, m.value.as_str()), (found, r#"{"x":1}"#));
    assert_eq!(room.changes("t").await.last().map(|c| c.place.clone()), place.map(|p| p.place));
}

#[tokio::test]
async fn one_condition_that_fails_undoes_all() {
    let room = Room::open().await;
    let old = room.put("{t}old", "0").await;
    let check = async |text: &str, field: &str, code: Code, current: Option<u64>| {
        let refused = room.state.batch(&room.writer, batch(text)).await.unwrap_err();
        assert_eq!((refused.code, refused.current_version), (code, current), "{text}");
        assert_eq!(refused.field.as_deref(), Some(field), "{text}");
        assert_eq!((room.get("{t}a").await, room.get("{t}old").await.as_ref()), (None, Some(&old)), "{text}");
    };
    let a = r#"{"op":"put","key":"{t}a","value":1},{"op":"delete","key":"{t}old"}"#;
    let version = old.version;
    check(
        &format!(r#"{a},{{"op":"put","key":"{{t}}b","value":1,"if_version":7}}"#),
        "/operations/2",
        Code::Conflict,
        Some(0),
    )
    .await;
    let a = r#"{"op":"put","key":"{t}a","value":1}"#;
    check(
        &format!(r#"{a},{{"op":"put","key":"{{t}}old","value":1,"if_version":0}}"#),
        "/operations/1",
        Code::Conflict,
        Some(version),
    )
    .await;
    check(
        &format!(r#"{a},{{"op":"delete","key":"{{t}}old","if_version":7}}"#),
        "/operations/1",
        Code::Conflict,
        Some(version),
    )
    .await;
    check(
        &format!(r#"{a},{{"op":"delete","key":"{{t}}old","lock":{{"name":"l","token":1}}}}"#),
        "/operations/1",
        Code::Fenced,
        None,
    )
    .await;
    check(
        &format!(
            r#"{a},{{"op":"put","key":"{{t}}old","value":"x","strategy":"merge","rules":{{"":"sum"}}}}"#
        ),
        "/operations/1/rules/",
        Code::Unprocessable,
        None,
    )
    .await;
    assert_eq!(room.history("{t}old").await.len(), 1);
}

#[tokio::test]
async fn each_operation_has_its_strategy() {
    let room = Room::open().await;
    for key in ["{t}a", "{t}b", "{t}c"] {
        room.put(key, "0").await;
    }
    let (done, _) = room
        .state
        .batch(
            &room.writer,
            batch(
                r#"{"op":"put","key":"{t}a","value":1,"if_version":1,"strategy":"first_write_wins"},
               {"op":"put","key":"{t}b","value":1,"if_version":1,"strategy":"last_write_wins"},
               {"op":"delete","key":"{t}c","if_version":1,"strategy":"last_write_wins"}"#,
            ),
        )
        .await
        .unwrap();
    assert!(matches!(done.as_slice(), [Done::Stands(_), Done::Changed(_), Done::Gone(_)]), "{done:?}");
    assert_eq!(told(&room.history("{t}a").await), ["put 1 lost", "put 0"]);
    assert_eq!(told(&room.history("{t}b").await), ["put 1", "put 0 lost", "put 0"]);
    assert_eq!(told(&room.history("{t}c").await), ["delete null", "put 0 lost", "put 0"]);
}
