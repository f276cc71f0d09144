//! Pages of keys, and figures.

use super::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use synod_protocol::Code;

async fn all(state: &State, workspace: &Workspace, prefix: &str, limit: usize) -> Vec<String> {
    let (mut keys, mut cursor) = (Vec::new(), None);
    loop {
        let page = state.list(workspace, prefix, limit, cursor.as_deref()).await.unwrap();
        assert!(page.entries.len() <= limit);
        keys.extend(page.entries.into_iter().map(|entry| entry.key.to_string()));
        assert!(keys.len() < 10_000, "the pages do not end");
        cursor = page.next_cursor;
        if cursor.is_none() {
            return keys;
        }
    }
}

#[tokio::test]
async fn a_prefix_is_literal_and_pages_are_in_order() {
    let room = Room::open().await;
    let keys = ["a", "a*", "a*b", "a/1", "a/10", "a/2", "a?", "aé", "aÿ", "a🦀", "b", "[a", "{a/}1", "\\a"];
    for key in keys {
        room.put(key, "0").await;
    }
    let check = async |prefix: &str| {
        let mut want: Vec<&str> = keys.into_iter().filter(|key| key.starts_with(prefix)).collect();
        want.sort_unstable();
        for limit in [1, 2, 3, 1000] {
            assert_eq!(all(&room.state, room.workspace(), prefix, limit).await, want, "{prefix} by {limit}");
        }
    };
    for prefix in ["", "a", "a*", "a/", "[", "{a/}", "aé", "c", "\\", "a🦀", "w-1/"] {
        check(prefix).await;
    }
}

#[tokio::test]
async fn a_cursor_of_another_question_is_refused() {
    let room = Room::open().await;
    for n in 0..5 {
        room.put(&format!("a/{n}"), "0").await;
    }
    let cursor = room.state.list(room.workspace(), "a/", 2, None).await.unwrap().next_cursor.unwrap();
    let other: Workspace = "w-2".parse().unwrap();
    let check = async |workspace: &Workspace, prefix: &str, cursor: &str| {
        let refused = room.state.list(workspace, prefix, 2, Some(cursor)).await.unwrap_err();
        assert_eq!((refused.code, refused.field.as_deref()), (Code::InvalidArgument, Some("/cursor")));
    };
    check(&other, "a/", &cursor).await;
    check(room.workspace(), "a", &cursor).await;
    check(room.workspace(), "a/", "x").await;
    assert!(room.state.history(room.workspace(), &name("a/1"), 2, Some(&cursor)).await.is_err());
    let refused = room.state.list(room.workspace(), &"x".repeat(513), 2, None).await.unwrap_err();
    assert_eq!(refused.field.as_deref(), Some("/prefix"));
    assert!(room.state.list(room.workspace(), "\0", 2, None).await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_there_throughout_is_listed_exactly_once() {
    let room = Room::open().await;
    for n in 0..200 {
        room.put(&format!("stays/{n}"), "0").await;
    }
    let stop = Arc::new(AtomicBool::new(false));
    let (state, writer, stopped) = (room.state.clone(), room.writer.clone(), stop.clone());
    let churn = tokio::spawn(async move {
        let mut n = 0u64;
        while !stopped.load(Ordering::Relaxed) {
            n += 1;
            let key = name(&format!("stays/{}x", n % 97));
            let short = Put { ttl_ms: n.is_multiple_of(3).then_some(1), ..put("0") };
            state.put(&writer, &key, short, Condition::None).await.unwrap();
            if n.is_multiple_of(2) {
                state.delete(&writer, &key, Condition::None).await.unwrap();
            }
            // Those that stay are written as well.
            let key = name(&format!("stays/{}", n % 200));
            state.put(&writer, &key, put("1"), Condition::None).await.unwrap();
        }
    });
    for limit in [1, 7, 64, 1000] {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let listed = all(&room.state, room.workspace(), "stays/", limit).await;
        assert!(listed.is_sorted(), "by {limit}");
        listed.into_iter().for_each(|key| *seen.entry(key).or_default() += 1);
        for n in 0..200 {
            assert_eq!(seen.get(&format!("stays/{n}")), Some(&1), "{n} by {limit}");
        }
    }
    stop.store(true, Ordering::Relaxed);
    churn.await.unwrap();
}

#[tokio::test]
async fn large_values_make_short_pages() {
    let room = Room::open().await;
    let large = format!("\"{}\"", "x".repeat(500_000));
    for n in 0..40 {
        room.put(&format!("{n:02}"), &large).await;
    }
    let page = room.state.list(room.workspace(), "", 1000, None).await.unwrap();
    assert!(page.next_cursor.is_some() && page.entries.len() < 40, "{}", page.entries.len());
    assert_eq!(all(&room.state, room.workspace(), "", 1000).await.len(), 40);
}

#[tokio::test]
async fn figures_are_of_what_is_there_and_of_what_was_done() {
    let room = Room::open().await;
    room.put("jobs/a", "12345").await;
    room.put("jobs/a", "123").await;
    room.put("jobs/b", "1").await;
    room.put("/odd", "1").await;
    room.put("plain", "\"é\"").await;
    room.put("gone/a", "1").await;
    room.delete("gone/a").await.unwrap();
    room.try_put("none/a", put("1"), Condition::Present).await.unwrap_err();
    let figures = room.state.statistics(room.workspace()).await.unwrap();
    let of = |prefix: &str| {
        figures.prefixes.iter().find(|p| p.prefix == prefix).map(|p| (p.keys, p.bytes, p.writes))
    };
    assert_eq!(of("jobs/"), Some((2, 4, 3)));
    assert_eq!((of("/"), of(""), of("gone/"), of("none/")), (Some((1, 1, 1)), Some((1, 4, 1)), None, None));
    let total = &figures.total;
    assert_eq!((total.keys, total.bytes), (4, 9));
    assert_eq!(
        (total.writes, total.deletes, total.conflicts),
        (6, 1, 1),
        "those of prefixes that are gone too"
    );
}
