//! Replies and views.

use super::{Bench, SECOND, ask, until};
use std::time::Duration;
use synod_infra::redis::RedisError;
use synod_infra::redis::keys;
use synod_infra::redis::reply::{Reply, ReplyReader, await_reply, reply};
use synod_infra::redis::view::{Put, View, ViewWrite, Views};

#[tokio::test]
async fn a_reply_reaches_who_waits_and_no_other_key_is_touched() {
    let bench = Bench::start().await;
    let to = |key: &str, body: &str| Reply { key: key.into(), body: body.into() };
    let mut reader = ReplyReader::new(bench.redis.clone(), "synod:reply:me").unwrap();
    assert_eq!(reader.next(Duration::from_millis(700)).await, Ok(None));
    let batch = vec![
        to("synod:reply:me", "1"),
        to("synod:heartbeats", "x"),
        to("synod:reply:", "x"),
        to("synod:reply:other", "2"),
        to("synod:{w/a}:inbox", "x"),
        to("synod:reply:me", "3"),
    ];
    let results = reply(&bench.redis, batch).await;
    let refused: Vec<bool> = results.iter().map(|r| matches!(r, Err(RedisError::InvalidKey(_)))).collect();
    assert_eq!(refused, [false, true, true, false, true, false], "{results:?}");
    assert_eq!(reader.next(SECOND).await.unwrap().as_deref(), Some("1"));
    assert_eq!(reader.next(SECOND).await.unwrap().as_deref(), Some("3"));
    let mut raw = bench.raw().await;
    let ttl: u64 = ask(&mut raw, &["TTL", "synod:reply:other"]).await;
    assert!((55..=60).contains(&ttl), "{ttl}");
    assert_eq!(await_reply(&bench.redis, "synod:reply:other", SECOND).await.unwrap().as_deref(), Some("2"));
    assert!(matches!(await_reply(&bench.redis, "other", SECOND).await, Err(RedisError::InvalidKey(_))));
    assert_eq!(ask::<Vec<String>>(&mut raw, &["KEYS", "*"]).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_view_never_goes_back() {
    let bench = Bench::start().await;
    let views = Views::new(bench.redis.clone());
    let id = "wf_1:step".parse().unwrap();
    let write = |offset: u64, body: &str, ttl| ViewWrite {
        workspace: bench.workspace.clone(),
        kind: "task",
        id: "wf_1:step".parse().unwrap(),
        offset,
        body: body.into(),
        ttl,
    };
    assert_eq!(views.get_view(&bench.workspace, "task", &id).await, Ok(None));
    let batch =
        vec![write(10, "a", None), write(9, "late", None), write(10, "a", None), write(200, "b", None)];
    let results: Vec<Put> = views.put_views(batch).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(results, [Put::Written, Put::Older { newest: 10 }, Put::Written, Put::Written]);
    let read = || async { views.get_view(&bench.workspace, "task", &id).await.unwrap() };
    assert_eq!(read().await, Some(View { offset: 200, body: "b".into() }));
    let unknown = "unknown".parse().unwrap();
    let both = views.get_views(&bench.workspace, "task", &[unknown, id.clone()]).await.unwrap();
    assert_eq!(both, [None, Some(View { offset: 200, body: "b".into() })]);

    let key = keys::view(&bench.workspace, "task", &id);
    let mut raw = bench.raw().await;
    assert_eq!(ask::<i64>(&mut raw, &["PTTL", &key]).await, -1, "kept");
    let soon = Some(Duration::from_millis(80));
    assert_eq!(views.put_views(vec![write(201, "ended", soon)]).await, [Ok(Put::Written)]);
    until("an ended view goes", SECOND, || async { read().await.is_none() }).await;
    ask::<()>(&mut raw, &["SET", &key, "a string"]).await;
    let error = views.put_views(vec![write(1, "x", None)]).await.remove(0).unwrap_err();
    assert!(
        matches!(&error, RedisError::Script { script: "put_view", message } if message.contains("WRONGTYPE")),
        "{error}"
    );
}

/// Views that are written one after the other for ever must not fill Redis: the oldest make room.
#[tokio::test]
async fn the_views_of_a_shard_stay_within_their_limit() {
    let bench = Bench::start().await;
    let views = Views::new(bench.redis.clone());
    let ttl = Some(Duration::from_secs(60));
    let write = |n: u64| ViewWrite {
        workspace: bench.workspace.clone(),
        kind: "task",
        id: format!("t{n}").parse().unwrap(),
        offset: n,
        body: "x".repeat(1_000),
        ttl,
    };
    // Bytes that ten of them take, and not eleven.
    let limit = 10 * (1_000 + 400 + keys::view(&bench.workspace, "task", &"t100".parse().unwrap()).len());
    let (shard, other) = (4_711, 4_712);
    for batch in 0..30 {
        let batch = (100 + batch * 20..120 + batch * 20).map(|n| (shard, write(n)));
        assert!(views.put_within(limit, batch).await.iter().all(|put| *put == Ok(Put::Written)));
    }
    let ids: Vec<_> = (100..700).map(|n| format!("t{n}").parse().unwrap()).collect();
    let read = views.get_views(&bench.workspace, "task", &ids).await.unwrap();
    let there: Vec<usize> = (0..600).filter(|n| read[*n].is_some()).collect();
    assert_eq!(there, (590..600).collect::<Vec<_>>(), "the newest ten");
    let mut raw = bench.raw().await;
    let (shelf, bytes) = keys::shelf(shard);
    assert_eq!(ask::<u64>(&mut raw, &["LLEN", &shelf]).await, 10);
    assert_eq!(ask::<usize>(&mut raw, &["GET", &bytes]).await, limit);
    for key in [&shelf, &bytes] {
        let left = ask::<i64>(&mut raw, &["PTTL", key]).await;
        assert!((1..=60_000).contains(&left), "{key} goes with the newest view: {left}");
    }
    // One that is larger than all may be is not kept, and harms nothing.
    let big = ViewWrite { body: "x".repeat(limit), ..write(9_000) };
    // Nor is it counted with what another shard has.
    let batch = [(shard, big), (other, write(9_001))];
    assert_eq!(views.put_within(limit, batch).await, [Ok(Put::Written), Ok(Put::Written)]);
    assert_eq!(ask::<u64>(&mut raw, &["LLEN", &keys::shelf(other).0]).await, 1);
    assert_eq!(ask::<Option<usize>>(&mut raw, &["GET", &bytes]).await, Some(0));
    let last = views.get_view(&bench.workspace, "task", &"t9000".parse().unwrap()).await;
    assert_eq!(last, Ok(None));
}
