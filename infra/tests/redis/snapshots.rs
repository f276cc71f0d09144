//! Snapshots of the mesh, as they are kept.

use super::{Bench, SECOND, ask, until};
use std::time::Duration;
use synod_infra::redis::keys;
use synod_infra::redis::snapshots::{Kept, NewSnapshot, Shelf, Snapshots};
use synod_protocol::{Id, Workspace};

const WIDE: Shelf = Shelf { count: 100, bytes: 1 << 30, kept: Duration::from_secs(600) };

fn id(n: u32) -> Id {
    format!("snap_{n}").parse().unwrap()
}

fn new(n: u32, workspace: Option<&Workspace>, fields: &[&str]) -> NewSnapshot {
    let whose: Workspace = workspace.cloned().unwrap_or_default();
    let field = |(number, text): (usize, &&str)| (whose.clone(), number, (*text).to_owned());
    NewSnapshot {
        id: id(n),
        workspace: workspace.cloned(),
        head: format!("head {n}"),
        fields: fields.iter().enumerate().map(field).collect(),
    }
}

async fn listed(snapshots: &Snapshots, workspace: &Workspace, limit: usize) -> Vec<Vec<String>> {
    let (mut pages, mut from) = (Vec::new(), None);
    loop {
        let page = snapshots.list(workspace, from, limit).await.unwrap();
        assert!(page.heads.len() <= limit);
        pages.push(page.heads);
        from = page.next;
        if from.is_none() {
            return pages;
        }
    }
}

fn heads(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|n| format!("head {n}")).collect()
}

#[tokio::test]
async fn each_workspace_sees_its_own_and_those_of_all_newest_first_and_in_pages() {
    let bench = Bench::start().await;
    let snapshots = Snapshots::new(bench.redis.clone());
    let (mine, other): (Workspace, Workspace) = ("mine".parse().unwrap(), "other".parse().unwrap());
    for n in 0..9 {
        let whose = [Some(&mine), Some(&other), None][n as usize % 3];
        assert_eq!(snapshots.keep(&new(n, whose, &["a", "b"]), &WIDE).await, Ok(Kept::Now));
    }
    assert_eq!(listed(&snapshots, &mine, 100).await, [heads([8, 6, 5, 3, 2, 0])]);
    assert_eq!(listed(&snapshots, &mine, 4).await, [heads([8, 6, 5, 3]), heads([2, 0])]);
    assert_eq!(listed(&snapshots, &mine, 3).await, [heads([8, 6, 5]), heads([3, 2, 0])]);
    assert_eq!(listed(&snapshots, &"none".parse().unwrap(), 2).await, [heads([8, 5]), heads([2])]);
    assert_eq!(snapshots.head(&id(4)).await, Ok(Some("head 4".into())));
    assert_eq!(snapshots.agents(&id(4), &other, 1).await, Ok(Some("b".into())));
    assert_eq!(snapshots.agents(&id(4), &other, 2).await, Ok(None));
    assert_eq!(
        snapshots.agents(&id(4), &mine, 0).await,
        Ok(None),
        "another workspace's agents are not there"
    );
    // One that is removed in the middle of two pages leaves no gap.
    let page = snapshots.list(&mine, None, 2).await.unwrap();
    assert_eq!(snapshots.remove(&id(5), None).await, Ok(true));
    assert_eq!(snapshots.remove(&id(5), None).await, Ok(false));
    assert_eq!(snapshots.list(&mine, page.next, 2).await.unwrap().heads, heads([3, 2]));
}

#[tokio::test]
async fn more_than_one_look_is_taken_where_many_are_gone() {
    let bench = Bench::start().await;
    let snapshots = Snapshots::new(bench.redis.clone());
    let wide = Shelf { count: 1_000, ..WIDE };
    for n in 0..700 {
        snapshots.keep(&new(n, None, &[]), &wide).await.unwrap();
    }
    let mut raw = bench.raw().await;
    for n in 3..690 {
        let _: u64 = ask(&mut raw, &["DEL", &keys::snapshot(&id(n))]).await;
    }
    let pages = listed(&snapshots, &bench.workspace, 6).await;
    assert_eq!(pages, [heads([699, 698, 697, 696, 695, 694]), heads([693, 692, 691, 690, 2, 1]), heads([0])]);
}

#[tokio::test]
async fn an_id_is_taken_once_and_half_a_snapshot_is_none() {
    let bench = Bench::start().await;
    let snapshots = Snapshots::new(bench.redis.clone());
    assert_eq!(snapshots.keep(&new(1, None, &["first"]), &WIDE).await, Ok(Kept::Now));
    let again = NewSnapshot { head: "another".into(), ..new(1, None, &["second", "third"]) };
    assert_eq!(snapshots.keep(&again, &WIDE).await, Ok(Kept::Before));
    assert_eq!(snapshots.head(&id(1)).await, Ok(Some("head 1".into())));
    let default = Workspace::default_name();
    assert_eq!(snapshots.agents(&id(1), &default, 0).await, Ok(Some("first".into())));
    assert_eq!(snapshots.agents(&id(1), &default, 1).await, Ok(None));
    let mut raw = bench.raw().await;
    let drafts: Vec<String> = ask(&mut raw, &["KEYS", "*draft*"]).await;
    assert_eq!(drafts, Vec::<String>::new());
}

#[tokio::test]
async fn the_oldest_go_by_number_by_weight_and_by_age() {
    let bench = Bench::start().await;
    let snapshots = Snapshots::new(bench.redis.clone());
    let ws = bench.workspace.clone();
    let few = Shelf { count: 3, ..WIDE };
    for n in 0..5 {
        snapshots.keep(&new(n, Some(&ws), &["x"]), &few).await.unwrap();
    }
    assert_eq!(listed(&snapshots, &ws, 10).await, [heads([4, 3, 2])]);
    assert_eq!(snapshots.head(&id(1)).await, Ok(None), "it is removed, not only unlisted");
    // By weight: each weighs 500 bytes and its text.
    let text = "x".repeat(10_000);
    let light = Shelf { bytes: 25_000, ..WIDE };
    for n in 10..14 {
        snapshots.keep(&new(n, Some(&ws), &[&text]), &light).await.unwrap();
    }
    assert_eq!(listed(&snapshots, &ws, 10).await, [heads([13, 12])]);
    let huge = "x".repeat(40_000);
    snapshots.keep(&new(20, Some(&ws), &[&huge]), &light).await.unwrap();
    assert_eq!(listed(&snapshots, &ws, 10).await, [heads([20])], "the newest stays however large");
    // Another workspace's are not touched by that, nor those of all.
    let short = Shelf { kept: Duration::from_millis(300), ..WIDE };
    snapshots.keep(&new(30, None, &["x"]), &short).await.unwrap();
    assert_eq!(listed(&snapshots, &ws, 10).await, [heads([30, 20])]);
    until("it has gone by itself", SECOND * 5, async || snapshots.head(&id(30)).await == Ok(None)).await;
    assert_eq!(listed(&snapshots, &ws, 10).await, [heads([20])]);
    let mut raw = bench.raw().await;
    until("so has its index", SECOND * 5, async || {
        let (index, bytes) = keys::snapshots_of("*");
        ask::<u64>(&mut raw, &["EXISTS", &index, &bytes]).await == 0
    })
    .await;
}

#[tokio::test]
async fn one_has_the_turn_at_a_time() {
    let bench = Bench::start().await;
    let snapshots = Snapshots::new(bench.redis.clone());
    let every = Duration::from_millis(400);
    assert_eq!(snapshots.turn("a", every).await, Ok(None));
    let wait = snapshots.turn("a", every).await.unwrap().unwrap();
    assert!(wait <= every && !wait.is_zero(), "{wait:?}");
    assert_eq!(snapshots.turn("b", every).await, Ok(None), "another reason has its own");
    until("it is free again", SECOND * 5, async || snapshots.turn("a", every).await == Ok(None)).await;
}
