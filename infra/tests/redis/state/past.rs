//! History, earlier versions, and writing one again.

use super::*;
use std::time::Duration;
use synod_infra::primitives::keys;
use synod_infra::primitives::state::Retention;
use synod_protocol::Code;
use synod_protocol::primitives::state::Metadata;

#[tokio::test]
async fn an_earlier_version_is_read_and_written_again() {
    let room = Room::open().await;
    let metadata = Metadata { tags: vec!["first".to_owned()], ..Metadata::default() };
    let full = Put { metadata: Some(metadata), ttl_ms: Some(3_600_000), ..put(r#"{"n":1.0}"#) };
    let first = room.try_put("a", full, Condition::None).await.unwrap().entry;
    let second = room.put("a", "2").await;
    let gone = room.delete("a").await.unwrap().tombstone.version;
    let at = async |version| room.state.at(room.workspace(), &name("a"), version).await.unwrap();
    assert_eq!(at(first.version).await.as_ref(), Some(&first));
    assert_eq!(at(second.version).await.as_ref(), Some(&second));
    assert_eq!((at(gone).await, at(first.version + 1).await), (None, None));
    let restored = room.state.restore(&room.writer, &name("a"), first.version).await.unwrap();
    assert!(restored.made && restored.entry.version > gone);
    assert_eq!((&restored.entry.value, &restored.entry.metadata), (&first.value, &first.metadata));
    assert_eq!(restored.entry.expires_at, None);
    assert_eq!(room.get("a").await, Some(restored.entry.clone()));
    assert_eq!(at(restored.entry.version).await, Some(restored.entry));
    assert_eq!(
        told(&room.history("a").await),
        [r#"restore {"n":1.0}"#, "delete null", "put 2", r#"put {"n":1.0}"#]
    );
    for version in [gone, 1, u64::MAX] {
        let refused = room.state.restore(&room.writer, &name("a"), version).await.unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), (Code::NotFound, Some("/version")));
    }
}

#[tokio::test]
async fn history_is_kept_by_count() {
    let room = Room::open().await;
    for n in 0..=100 {
        room.put("a", &n.to_string()).await;
    }
    room.delete("a").await.unwrap();
    let history = room.history("a").await;
    assert_eq!(history.len(), 100);
    assert_eq!((history[0].op, history[99].value.as_str()), (Op::Delete, "2"));
    assert!(history.is_sorted_by(|a, b| a.version > b.version));
    assert_eq!(room.state.history(room.workspace(), &name("never"), 10, None).await.unwrap(), None);
}

/// The lines' age is their number's, which is Redis' time in µs: an old one is put there by hand.
#[tokio::test]
async fn history_is_kept_by_age() {
    let room = Room::open().await;
    let state =
        State::keeping(room.bench.redis.clone(), Retention { entries: 100, age: Duration::from_secs(60) });
    let past = keys::state_past(range(room.workspace(), &name("a")), room.workspace(), &name("a"));
    let mut raw = room.bench.raw().await;
    let time: (u64, u64) = redis::cmd("TIME").query_async(&mut raw).await.unwrap();
    let line = r#"{"version":1,"value":1,"op":"put","outcome":"written","updated_ms":0,"updated_by":"x"}"#;
    let old = format!("{}-0", (time.0 - 61) * 1_000_000);
    ask::<()>(&mut raw, &["XADD", &past, &old, "h", line, "m", ""]).await;
    assert_eq!(state.history(room.workspace(), &name("a"), 10, None).await.unwrap(), None, "not shown");
    state.put(&room.writer, &name("a"), put("2"), Condition::None).await.unwrap();
    assert_eq!(ask::<u64>(&mut raw, &["XLEN", &past]).await, 1, "and trimmed by the next write");
}

#[tokio::test]
async fn large_values_make_short_pages_of_history() {
    let room = Room::open().await;
    let large = format!("\"{}\"", "x".repeat(500_000));
    for _ in 0..30 {
        room.put("a", &large).await;
    }
    let page = room.state.history(room.workspace(), &name("a"), 100, None).await.unwrap().unwrap();
    assert!(page.next_cursor.is_some() && page.lines.len() < 30);
    assert_eq!(room.history("a").await.len(), 30);
}
