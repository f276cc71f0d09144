//! Puts, deletes, versions, conditions, locks; what the stream is told.

use super::*;
use std::time::Duration;
use synod_infra::primitives::keys;
use synod_infra::redis::{Once, Redis, RedisConfig};
use synod_protocol::primitives::state::{LockHeld, Metadata, VERSION_LIMIT};
use synod_protocol::{Applied, Code};

#[tokio::test]
async fn a_value_is_written_read_replaced_and_removed() {
    let room = Room::open().await;
    assert_eq!(room.get("a").await, None);
    let metadata = Metadata {
        content_type: Some("text/plain".to_owned()),
        tags: vec!["x\"y".to_owned()],
        more: [("k\\".to_owned(), "\n".to_owned())].into(),
    };
    let full = Put {
        metadata: Some(metadata.clone()),
        ttl_ms: Some(60_000),
        ..put(r#"{"n":12345678901234567890123,"f":1.10}"#)
    };
    let made = room.try_put("a", full, Condition::None).await.unwrap();
    assert!(made.made && made.applied);
    let first = made.entry;
    assert_eq!(first.value.as_str(), r#"{"n":12345678901234567890123,"f":1.10}"#, "to the letter");
    assert_eq!((&first.metadata, first.updated_by.as_str()), (&metadata, "agent-1"));
    assert_eq!(first.expires_at, Some(first.updated_at.plus_millis(60_000)));
    assert_eq!(room.get("a").await.as_ref(), Some(&first), "what is answered is what is read");
    // Value, metadata and end are replaced whole; when it was made stays.
    let second = room.try_put("a", put("null"), Condition::None).await.unwrap();
    assert!(!second.made);
    let second = second.entry;
    assert!(second.version > first.version);
    assert_eq!((second.created_at, second.expires_at), (first.created_at, None));
    assert_eq!(second.metadata, Metadata::default());
    assert_eq!(room.get("a").await.as_ref(), Some(&second));
    let removed = room.delete("a").await.unwrap();
    assert!(removed.tombstone.version > second.version);
    assert_eq!((room.get("a").await, room.delete("a").await), (None, None));
    let again = room.put("a", "1").await;
    assert!(again.version > removed.tombstone.version, "a version outlives the key");
}

#[tokio::test]
async fn every_change_stands_in_the_stream_in_order() {
    let room = Room::open().await;
    let first = room.put("a", "1").await;
    let second = room.try_put("a", by(Strategy::LastWriteWins, "2"), Condition::Version(9)).await.unwrap();
    let removed = room.delete("a").await.unwrap();
    let changes = room.changes("a").await;
    assert_eq!(changes.last().map(|c| &c.place), Some(&removed.place.place));
    assert!(changes.iter().all(|c| c.key == name("a") && &c.workspace == room.workspace()));
    match changes.into_iter().map(|c| c.what).collect::<Vec<_>>().as_slice() {
        [Changed::Written(a), Changed::Lost(lost), Changed::Written(b), Changed::Gone(gone)] => {
            assert_eq!((a, b), (&first, &second.entry));
            assert_eq!(
                (lost.version, lost.value.as_str(), lost.base_version),
                (None, "1", Some(first.version))
            );
            assert_eq!((gone.version, gone.op), (Some(removed.tombstone.version), Op::Delete));
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn conditions_hold_or_nothing_is_done() {
    let room = Room::open().await;
    let check = async |condition, current: Option<u64>| {
        let result = room.try_put("a", put("1"), condition).await;
        let refused = result.as_ref().err().map(|e| (e.code, e.current_version));
        assert_eq!(refused, current.map(|v| (Code::Conflict, Some(v))), "{condition:?}: {result:?}");
    };
    check(Condition::Present, Some(0)).await;
    check(Condition::Version(5), Some(0)).await;
    check(Condition::Absent, None).await;
    let version = room.get("a").await.unwrap().version;
    check(Condition::Absent, Some(version)).await;
    check(Condition::Version(version + 1), Some(version)).await;
    check(Condition::Version(version - 1), Some(version)).await;
    check(Condition::Version(0), Some(version)).await;
    check(Condition::Present, None).await;
    let version = room.get("a").await.unwrap().version;
    check(Condition::Version(version), None).await;
    assert_eq!(room.history("a").await.len(), 3, "what was refused is not kept");
    let version = room.get("a").await.unwrap().version;
    let refused = room.state.delete(&room.writer, &name("a"), Condition::Version(1)).await.unwrap_err();
    assert_eq!((refused.code, refused.current_version, refused.field), (Code::Conflict, Some(version), None));
    assert!(
        room.state.delete(&room.writer, &name("a"), Condition::Version(version)).await.unwrap().is_some()
    );
}

/// Redis' clock is behind: versions grow all the same, and at the last one the key takes no more.
#[tokio::test]
async fn versions_only_grow_and_end_at_the_last() {
    let room = Room::open().await;
    room.put("a", "1").await;
    let entry = keys::state_entry(range(room.workspace(), &name("a")), room.workspace(), &name("a"));
    let mut raw = room.bench.raw().await;
    let ahead = VERSION_LIMIT - 3;
    ask::<()>(&mut raw, &["HSET", &entry, "v", &ahead.to_string()]).await;
    assert_eq!(room.put("a", "2").await.version, ahead + 1);
    assert_eq!(room.delete("a").await.unwrap().tombstone.version, ahead + 2);
    assert_eq!(room.put("a", "3").await.version, VERSION_LIMIT);
    let refused = room.try_put("a", put("4"), Condition::None).await.unwrap_err();
    assert_eq!(refused.code, Code::Unprocessable);
    assert_eq!(room.get("a").await.unwrap().value.as_str(), "3");
}

#[tokio::test]
async fn odd_names_are_plain_text_and_workspaces_are_apart() {
    let room = Room::open().await;
    let long = "ключ".repeat(64);
    let names =
        ["{", "}", "{}", "a}b{c", "*", "a?[b]", "%2F", "w-2/a", "a/b", "default/a", "🦀", " ", long.as_str()];
    for (n, key) in names.iter().enumerate() {
        room.put(key, &n.to_string()).await;
    }
    for (n, key) in names.iter().enumerate() {
        assert_eq!(room.get(key).await.unwrap().value.as_str(), n.to_string(), "{key}");
    }
    for bad in ["", ".", "..", "a\nb", "\0", "a\0", "\u{7f}", &"x".repeat(513)] {
        assert!(bad.parse::<Name>().is_err(), "{bad:?}");
    }
    // No name reaches into another workspace.
    let other: Workspace = "w-2".parse().unwrap();
    assert_eq!(room.state.get(&other, &name("a")).await.unwrap(), None);
    assert_eq!(room.state.list(&other, "", 100, None).await.unwrap().entries, []);
    let listed = room.state.list(room.workspace(), "", 100, None).await.unwrap().entries;
    assert_eq!(listed.len(), names.len());
}

#[tokio::test]
async fn a_write_under_a_lock_counts_while_the_lock_is_held() {
    let room = Room::open().await;
    let lock = keys::lock(room.workspace(), &name("l"));
    let mut raw = room.bench.raw().await;
    let with = |token| Put { lock: Some(LockHeld { name: name("l"), token }), ..put("1") };
    let refused = |result: Result<Written, Error>| result.err().map(|e| e.code);
    assert_eq!(refused(room.try_put("a", with(7), Condition::None).await), Some(Code::Fenced), "no lock");
    let time: (u64, u64) = redis::cmd("TIME").query_async(&mut raw).await.unwrap();
    let until = (time.0 * 1000 + 60_000).to_string();
    ask::<()>(&mut raw, &["HSET", &lock, "owner", "x", "token", "7", "until", &until]).await;
    assert_eq!(
        refused(room.try_put("a", with(6), Condition::None).await),
        Some(Code::Fenced),
        "an older token"
    );
    assert_eq!(refused(room.try_put("a", with(7), Condition::None).await), None);
    ask::<()>(&mut raw, &["HSET", &lock, "until", &(time.0 * 1000 - 1).to_string()]).await;
    assert_eq!(refused(room.try_put("a", with(7), Condition::None).await), Some(Code::Fenced), "it is over");
    assert_eq!(room.history("a").await.len(), 1);
}

#[tokio::test]
async fn the_same_request_writes_once_and_is_answered_the_same() {
    let room = Room::open().await;
    let once = Once { key: "k".to_owned(), said: "s".to_owned() };
    let writer = Writer { once: Some(once.clone()), ..room.writer.clone() };
    let merge = by(Strategy::Merge, r#"{"n":1}"#);
    let rules = serde_json::from_str(r#"{"/n":"sum"}"#).unwrap();
    let merge = Put { rules: Some(rules), ..merge };
    room.put("a", r#"{"n":1}"#).await;
    let first = room.state.put(&writer, &name("a"), merge.clone(), Condition::None).await.unwrap();
    // Meanwhile the value is one that the rule no longer fits: it was done, and is not made again.
    room.put("a", r#"{"n":"x"}"#).await;
    let second = room.state.put(&writer, &name("a"), merge.clone(), Condition::None).await.unwrap();
    assert_eq!((&first, first.entry.value.as_str()), (&second, r#"{"n":2}"#));
    assert_eq!(room.get("a").await.unwrap().value.as_str(), r#"{"n":"x"}"#);
    let fresh = Writer { once: Some(Once { key: "k2".to_owned(), ..once.clone() }), ..room.writer.clone() };
    let refused = room.state.put(&fresh, &name("a"), merge.clone(), Condition::None).await.unwrap_err();
    assert_eq!((refused.code, refused.field.as_deref()), (Code::Unprocessable, Some("/rules/~1n")));
    let other = Writer { once: Some(Once { said: "other".to_owned(), ..once }), ..room.writer.clone() };
    let refused = room.state.put(&other, &name("a"), merge, Condition::None).await.unwrap_err();
    assert_eq!(refused.code, Code::Unprocessable);
}

#[tokio::test]
async fn a_range_that_is_not_open_is_not_served() {
    let room = Room::open().await;
    room.put("a", "1").await;
    let mut raw = room.bench.raw().await;
    ask::<()>(&mut raw, &["FLUSHALL"]).await;
    let refused = |error: Error| (error.code, error.applied);
    let shut = (Code::Unavailable, Some(Applied::No));
    let (ws, a) = (room.workspace(), name("a"));
    assert_eq!(refused(room.state.get(ws, &a).await.unwrap_err()), shut);
    assert_eq!(refused(room.state.list(ws, "", 1, None).await.unwrap_err()), shut);
    assert_eq!(refused(room.state.history(ws, &a, 1, None).await.unwrap_err()), shut);
    assert_eq!(refused(room.try_put("a", put("2"), Condition::None).await.unwrap_err()), shut);
    assert_eq!(refused(room.state.delete(&room.writer, &a, Condition::None).await.unwrap_err()), shut);
    assert_eq!(refused(room.state.sweep(0, 1).await.unwrap_err()), shut);
    assert_eq!(ask::<u64>(&mut raw, &["DBSIZE"]).await, 0, "nothing was written");
    room.state.open_all().await.unwrap();
    assert_eq!(room.get("a").await, None);
}

#[tokio::test]
async fn a_full_stream_refuses_writes_and_not_reads() {
    let room = Room::open().await;
    room.put("a", "1").await;
    let stream = keys::state_changes(range(room.workspace(), &name("a")));
    let fill =
        format!("for i = 2, {} do redis.call('XADD', KEYS[1], '*', 'x', '') end", changes::CHANGES_LIMIT);
    let mut raw = room.bench.raw().await;
    ask::<()>(&mut raw, &["EVAL", &fill, "1", &stream]).await;
    let refused = room.try_put("a", put("2"), Condition::None).await.unwrap_err();
    assert_eq!((refused.code, refused.applied), (Code::Overloaded, Some(Applied::No)));
    assert_eq!(room.get("a").await.unwrap().value.as_str(), "1");
    ask::<()>(&mut raw, &["XTRIM", &stream, "MAXLEN", &(changes::CHANGES_LIMIT - 1).to_string()]).await;
    room.put("a", "2").await;
}

#[tokio::test]
async fn while_redis_is_away_a_call_fails_at_once() {
    let room = Room::open().await;
    let away = Redis::new(RedisConfig::new("redis://127.0.0.1:1")).unwrap();
    let state = State::new(away);
    let began = std::time::Instant::now();
    let refused = state.put(&room.writer, &name("a"), put("1"), Condition::None).await.unwrap_err();
    assert_eq!((refused.code, refused.applied), (Code::Unavailable, Some(Applied::No)));
    assert!(began.elapsed() < SECOND + Duration::from_millis(500));
}
