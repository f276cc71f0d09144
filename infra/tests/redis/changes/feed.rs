//! Who follows changes: each once, wherever it goes on, however slow it is, whatever became of Redis.

use super::{RANGE, all_opened, change, entry, key_in, named, relay, soon, tombstone};
use crate::{Bench, SECOND, ask, until};
use std::collections::BTreeSet;
use std::time::Duration;
use synod_infra::primitives::feed::{Feed, FollowError, Following};
use synod_infra::primitives::keys;
use synod_infra::primitives::mirror::{Outbox, Standing};
use synod_infra::primitives::state::{State, Writer};
use synod_protocol::primitives::changes::{Interest, Place, Position};
use synod_protocol::primitives::state::{Condition, Put, range};
use tokio::time::Instant;

fn interest(pattern: &str) -> Interest {
    Interest { workspace: "w-1".parse().unwrap(), pattern: pattern.parse().unwrap() }
}

/// The versions of what comes, until there are so many.
async fn told(following: &mut Following, count: usize) -> Vec<(String, u64)> {
    let mut all = Vec::new();
    while all.len() < count {
        let told = following
            .next(soon())
            .await
            .unwrap()
            .unwrap_or_else(|| panic!("{} of {count} came: {all:?}", all.len()));
        let event = told.frame().event;
        all.push((event.key.to_string(), event.version.unwrap()));
    }
    all
}

async fn now(feed: &Feed) -> Position {
    feed.ends().await.unwrap().unwrap().newest
}

#[tokio::test]
async fn a_follower_sees_each_change_once_wherever_it_goes_on() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let feed = Feed::new(bench.redis.clone());
    assert_eq!(feed.ends().await.unwrap(), None, "nothing is served yet");
    let _outboxes = all_opened(&bench.redis).await;
    let begin = now(&feed).await;
    let mut following = feed.follow(interest("jobs/*"), begin);
    let mut put = async |version: u64, workspace: &str, key: &str| {
        let range = range(&workspace.parse().unwrap(), &named(key));
        change(&mut raw, range, workspace, key, ("written", &entry("1", version))).await;
    };
    let mut wanted = BTreeSet::new();
    for version in 1..=300u64 {
        let key = format!("jobs/{}", version % 40);
        put(version, "w-1", &key).await;
        put(version, "w-2", &key).await;
        put(version, "w-1", "other").await;
        wanted.insert((key, version));
    }
    // Resumed after every seventh, from the position that came with it, by another process' hub.
    let (mut seen, mut position) = (Vec::new(), begin);
    'all: loop {
        let other = Feed::new(bench.redis.clone());
        let mut following = other.follow(interest("jobs/*"), position.to_string().parse().unwrap());
        for _ in 0..7 {
            let Some(told) = following.next(soon()).await.unwrap() else { break 'all };
            let event = told.frame().event;
            seen.push((event.key.to_string(), event.version.unwrap()));
            position = told.position;
            if seen.len() == wanted.len() {
                break 'all;
            }
        }
    }
    assert_eq!(seen.iter().cloned().collect::<BTreeSet<_>>(), wanted);
    assert_eq!(seen.len(), wanted.len(), "none twice");
    for key in 0..40 {
        let key = format!("jobs/{key}");
        let versions: Vec<u64> = seen.iter().filter(|(k, _)| *k == key).map(|(_, v)| *v).collect();
        assert!(versions.is_sorted(), "{key}: {versions:?}");
    }
    // One that stayed all the time saw the same.
    let stayed = told(&mut following, wanted.len()).await;
    assert_eq!(stayed.into_iter().collect::<BTreeSet<_>>(), wanted);
    // What is of no interest moves its position all the same.
    let before = following.position();
    for version in 301..=310 {
        put(version, "w-1", "other").await;
    }
    let end = now(&feed).await;
    until("it passes over the others", 5 * SECOND, async || {
        following.next(Instant::now() + Duration::from_millis(20)).await.unwrap();
        following.position() == end
    })
    .await;
    assert_ne!(before, end);
}

#[tokio::test]
async fn what_lost_is_told_to_nobody_and_what_is_gone_to_everybody() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let _outboxes = all_opened(&bench.redis).await;
    let feed = Feed::new(bench.redis.clone());
    let begin = now(&feed).await;
    let at = range(&bench.workspace, &named("k"));
    let lost = r#"{"version":null,"value":1,"op":"put","outcome":"lost","updated_ms":2,"updated_by":"me"}"#;
    change(&mut raw, at, "w-1", "k", ("lost", lost)).await;
    change(&mut raw, at, "w-1", "k", ("gone", &tombstone(5, "delete"))).await;
    change(&mut raw, at, "w-1", "k", ("gone", &tombstone(6, "expire"))).await;
    let mut following = feed.follow(interest("k"), begin);
    for ty in ["synod.state.deleted", "synod.state.expired"] {
        assert_eq!(following.next(soon()).await.unwrap().unwrap().frame().event.ty, ty);
    }
}

#[tokio::test]
async fn a_slow_follower_is_bounded_and_misses_nothing() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let _outboxes = all_opened(&bench.redis).await;
    let feed = Feed::new(bench.redis.clone());
    let begin = now(&feed).await;
    let mut following = feed.follow(interest("*"), begin);
    assert!(following.next(Instant::now() + Duration::from_millis(300)).await.unwrap().is_none());
    assert_eq!(feed.followers(), 1);
    let at = range(&bench.workspace, &named("k"));
    for version in 1..=400 {
        change(&mut raw, at, "w-1", "k", ("written", &entry("1", version))).await;
    }
    until("it is cut off", 5 * SECOND, async || feed.followers() == 0).await;
    let versions: Vec<u64> =
        told(&mut following, 400).await.into_iter().map(|(_, version)| version).collect();
    assert_eq!(versions, (1..=400).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_position_whose_changes_are_gone_is_lost_and_says_where_to_go_on() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let mut outboxes = all_opened(&bench.redis).await;
    let feed = Feed::new(bench.redis.clone());
    let begin = now(&feed).await;
    let key = key_in(RANGE, &bench.workspace, "k");
    for version in 1..=1_000 {
        change(&mut raw, RANGE, "w-1", key.as_str(), ("written", &entry("1", version))).await;
    }
    relay(&mut outboxes[RANGE as usize], 1_000).await;
    let error = feed.follow(interest("*"), begin).next(soon()).await.unwrap_err();
    let FollowError::Lost { oldest: Some(oldest) } = error else { panic!("{error}") };
    let left: u64 = ask(&mut raw, &["XLEN", &keys::state_changes(RANGE)]).await;
    let kept = told(&mut feed.follow(interest("*"), *oldest), left as usize).await;
    assert_eq!((kept[0].1, kept[kept.len() - 1].1), (1_001 - left, 1_000), "all that is kept");

    // Emptied: nobody can say what came between, even where later places are there again.
    let end = now(&feed).await;
    let mut following = feed.follow(interest("*"), end);
    assert!(following.next(Instant::now() + Duration::from_millis(300)).await.unwrap().is_none());
    ask::<()>(&mut raw, &["FLUSHALL"]).await;
    for outbox in &mut outboxes {
        let Standing::Closed(run_id) = outbox.check().await.unwrap() else { panic!("still open") };
        outbox.open(&run_id, 8, false).await.unwrap();
    }
    change(&mut raw, RANGE, "w-1", key.as_str(), ("written", &entry("1", 1_001))).await;
    let error = following.next(soon()).await.unwrap_err();
    assert!(matches!(error, FollowError::Lost { .. }), "who followed all the time");
    let error = feed.follow(interest("*"), end).next(soon()).await.unwrap_err();
    assert!(matches!(error, FollowError::Lost { oldest: Some(_) }), "who comes back");
}

#[tokio::test]
async fn positions_outlive_a_restart_that_lost_nothing_and_no_other() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let mut outboxes = all_opened(&bench.redis).await;
    let feed = Feed::new(bench.redis.clone());
    let key = key_in(RANGE, &bench.workspace, "k");
    change(&mut raw, RANGE, "w-1", key.as_str(), ("written", &entry("1", 1))).await;
    let good = now(&feed).await;
    let mut beyond = good;
    beyond.advance(RANGE, Place { ms: good.mark(RANGE).place.ms + 1, n: 0 });
    let restart = async |raw: &mut _, outboxes: &mut Vec<Outbox>, intact: bool, era: u32| {
        for outbox in outboxes {
            ask::<()>(raw, &["SET", &keys::state_era(outbox.range()), &format!("00ff:{}", era - 1)]).await;
            let Standing::Closed(run_id) = outbox.check().await.unwrap() else { panic!("still open") };
            outbox.open(&run_id, era, intact).await.unwrap();
        }
    };
    restart(&mut raw, &mut outboxes, true, 8).await;
    change(&mut raw, RANGE, "w-1", key.as_str(), ("written", &entry("1", 2))).await;
    assert_eq!(told(&mut feed.follow(interest("*"), good), 1).await[0].1, 2);
    // What it had been told beyond the end was lost.
    let error = feed.follow(interest("*"), beyond).next(soon()).await.unwrap_err();
    assert!(matches!(error, FollowError::Lost { .. }));
    restart(&mut raw, &mut outboxes, false, 9).await;
    let error = feed.follow(interest("*"), good).next(soon()).await.unwrap_err();
    assert!(matches!(error, FollowError::Lost { .. }));
}

/// The middle and the highest but one of a hundred.
fn quantiles(mut all: Vec<Duration>) -> (Duration, Duration) {
    all.sort_unstable();
    (all[all.len() / 2], all[all.len() * 99 / 100])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_followers_of_distinct_prefixes_hear_their_own_and_cost_a_put_little() {
    const FOLLOWERS: usize = 10_000;
    const PUTS: usize = 1_000;
    let bench = Bench::start().await;
    let _outboxes = all_opened(&bench.redis).await;
    let (feed, state) = (Feed::new(bench.redis.clone()), State::new(bench.redis.clone()));
    let writer = Writer::new(bench.workspace.clone(), "me");
    let put = async |key: &str| {
        let began = std::time::Instant::now();
        let put = Put::of(synod_protocol::Json::of("value").unwrap());
        state.put(&writer, &named(key), put, Condition::None).await.unwrap();
        began.elapsed()
    };
    let mut alone = Vec::new();
    for n in 0..PUTS {
        alone.push(put(&format!("p{n}/alone")).await);
    }
    let begin = now(&feed).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for n in 0..FOLLOWERS {
        let (mut following, tell) = (feed.follow(interest(&format!("p{n}/*")), begin), tell.clone());
        tokio::spawn(async move {
            while let Ok(came) = following.next(Instant::now() + 60 * SECOND).await {
                let Some(came) = came else { continue };
                if tell.send((n, came.frame().event.key, std::time::Instant::now())).is_err() {
                    return;
                }
            }
        });
    }
    until("all follow", 60 * SECOND, async || feed.followers() == FOLLOWERS).await;
    let (mut watched, mut heard) = (Vec::new(), Vec::new());
    for n in 0..PUTS {
        let key = format!("p{n}/x");
        let began = std::time::Instant::now();
        watched.push(put(&key).await);
        let (who, what, at) = told.recv().await.unwrap();
        assert_eq!((who, what.as_str()), (n, key.as_str()));
        heard.push(at - began);
    }
    assert_eq!(feed.followers(), FOLLOWERS, "none was cut off");
    let ((alone, _), (watched, _), (p50, p99)) = (quantiles(alone), quantiles(watched), quantiles(heard));
    println!(
        "a put takes {alone:?}, with {FOLLOWERS} followers {watched:?}; from the call to being told: p50 {p50:?}, p99 {p99:?}"
    );
}
