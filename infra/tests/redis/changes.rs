//! What becomes of changes of shared state, on a real Redis: owed once to the mirror, told once to who follows, and read
//! back only where it is newer.

use super::{Bench, SECOND, ask, until};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use synod_infra::primitives::feed::{Feed, FollowError, Following};
use synod_infra::primitives::keys;
use synod_infra::primitives::mirror::{Ahead, Kept, Mirrored, Outbox, Restoring, Standing};
use synod_infra::primitives::state::{State, Writer};
use synod_infra::redis::Redis;
use synod_protocol::primitives::changes::{Interest, Place, Position};
use synod_protocol::primitives::state::{Condition, Put, RANGES, range};
use synod_protocol::{Applied, Code, Name, Workspace};
use tokio::time::Instant;

const RANGE: u32 = 3;
const KEPT: u64 = 500;

fn entry(value: &str, version: u64) -> String {
    format!(
        r#"{{"value":{value},"version":{version},"created_ms":1,"updated_ms":2,"expires_ms":null,"updated_by":"me","metadata":{{}}}}"#
    )
}

fn tombstone(version: u64, op: &str) -> String {
    format!(
        r#"{{"version":{version},"value":null,"op":"{op}","outcome":"written","updated_ms":2,"updated_by":"me"}}"#
    )
}

fn named(text: &str) -> Name {
    text.parse().unwrap()
}

/// A key of this range.
fn key_in(wanted: u32, workspace: &Workspace, stem: &str) -> Name {
    let names = (0..).map(|n| named(&format!("{stem}{n}")));
    names.into_iter().find(|name| range(workspace, name) == wanted).unwrap()
}

/// What a put writes, as far as changes go.
async fn change(
    redis: &mut redis::aio::MultiplexedConnection,
    range: u32,
    ws: &str,
    key: &str,
    what: (&str, &str),
) -> Place {
    let stream = keys::state_changes(range);
    let place: String =
        ask(redis, &["XADD", &stream, "*", "w", ws, "k", key, "c", what.0, "e", what.1]).await;
    place.parse().unwrap()
}

async fn opened(redis: &Redis, range: u32) -> Outbox {
    let mut outbox = Outbox::new(redis.clone(), range, KEPT);
    outbox.take().await.unwrap();
    let Standing::Closed(run_id) = outbox.check().await.unwrap() else {
        panic!("it was open before anybody opened it")
    };
    assert_eq!(outbox.open(&run_id, 7, false).await.unwrap(), Standing::Open(Place::default()));
    outbox
}

async fn all_opened(redis: &Redis) -> Vec<Outbox> {
    let mut all = Vec::new();
    for range in 0..RANGES {
        all.push(opened(redis, range).await);
    }
    all
}

fn soon() -> Instant {
    Instant::now() + 5 * SECOND
}

/// Reads what is owed and says that the mirror has it, until it has `count`.
async fn relay(outbox: &mut Outbox, count: usize) -> Vec<Place> {
    let mut places = Vec::new();
    while places.len() < count {
        let after = outbox.read();
        let owed = outbox.next(soon()).await.unwrap();
        assert!(!owed.is_empty(), "{} of {count} came", places.len());
        let these: Vec<Place> = owed.iter().map(|one| one.place).collect();
        assert!(outbox.mirrored(after, &these).await.unwrap());
        places.extend(these);
    }
    places
}

#[tokio::test]
async fn each_change_is_owed_once_in_order_and_the_next_relay_goes_on_behind() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let mut outbox = opened(&bench.redis, RANGE).await;
    let mut wanted = Vec::new();
    for version in 1..=250 {
        wanted.push(change(&mut raw, RANGE, "w-1", "k", ("written", &entry("1", version))).await);
    }
    assert_eq!(relay(&mut outbox, 250).await, wanted);
    // What cannot be read is passed over, not in the way.
    wanted.push(change(&mut raw, RANGE, "w-1", "k", ("nonsense", "{}")).await);
    let odd = outbox.next(soon()).await.unwrap();
    assert!(odd.len() == 1 && odd[0].change.is_none());

    // It was not said to be mirrored, so the next relay has it first.
    let mut next = Outbox::new(bench.redis.clone(), RANGE, KEPT);
    next.take().await.unwrap();
    assert_eq!(next.check().await.unwrap(), Standing::Open(wanted[249]));
    assert_eq!(relay(&mut next, 1).await, wanted[250..]);
    assert_eq!(outbox.check().await.unwrap(), Standing::Superseded);
}

#[tokio::test]
async fn a_superseded_relay_moves_nothing_and_has_its_successor_mirror_again() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let mut old = opened(&bench.redis, RANGE).await;
    let mut places = Vec::new();
    for version in 1..=3 {
        places.push(change(&mut raw, RANGE, "w-1", "k", ("written", &entry("1", version))).await);
    }
    let held: Vec<Place> = old.next(soon()).await.unwrap().iter().map(|one| one.place).collect();
    let mut new = Outbox::new(bench.redis.clone(), RANGE, KEPT);
    new.take().await.unwrap();
    new.check().await.unwrap();
    relay(&mut new, 3).await;
    assert!(
        !old.mirrored(Place::default(), &held).await.unwrap(),
        "the old one learns that it is superseded"
    );
    // Its records may stand behind the new one's: they are mirrored once more.
    new.check().await.unwrap();
    assert_eq!(relay(&mut new, 3).await, places);
    new.check().await.unwrap();
    assert_eq!(new.next(Instant::now() + Duration::from_millis(50)).await.unwrap().len(), 0, "and only once");
}

#[tokio::test]
async fn only_what_is_mirrored_and_old_is_trimmed() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let mut outbox = opened(&bench.redis, RANGE).await;
    let length = async |raw: &mut _| ask::<u64>(raw, &["XLEN", &keys::state_changes(RANGE)]).await;
    for version in 1..=1_000 {
        change(&mut raw, RANGE, "w-1", "k", ("written", &entry("1", version))).await;
    }
    relay(&mut outbox, 300).await;
    assert_eq!(length(&mut raw).await, 1_000, "700 are owed to the mirror");
    relay(&mut outbox, 700).await;
    let begun = length(&mut raw).await;
    assert!((KEPT..=KEPT + 100).contains(&begun), "{begun}");
    // Another relay that starts in the middle does not know what the first mirrored.
    for version in 1..=900 {
        change(&mut raw, RANGE, "w-1", "k", ("written", &entry("1", version))).await;
    }
    let mut next = Outbox::new(bench.redis.clone(), RANGE, KEPT);
    next.take().await.unwrap();
    next.check().await.unwrap();
    relay(&mut next, 400).await;
    assert_eq!(length(&mut raw).await, begun + 900, "500 are owed to the mirror");
    relay(&mut next, 500).await;
    let end = length(&mut raw).await;
    assert!((KEPT..=KEPT + 100).contains(&end), "{end}");
}

#[tokio::test]
async fn another_process_of_redis_is_not_served_before_it_is_opened() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let mut outbox = opened(&bench.redis, RANGE).await;
    change(&mut raw, RANGE, "w-1", "k", ("written", &entry("1", 1))).await;
    relay(&mut outbox, 1).await;
    // As it stands after Redis came back from its file: another process, the same data.
    ask::<()>(&mut raw, &["SET", &keys::state_era(RANGE), "00ff:7"]).await;
    let Standing::Closed(run_id) = outbox.check().await.unwrap() else { panic!("it is open") };
    assert_eq!(ask::<u64>(&mut raw, &["EXISTS", &keys::state_open(RANGE)]).await, 0);
    assert_eq!(
        outbox.open("0123", 8, true).await.unwrap(),
        Standing::Closed(run_id.clone()),
        "not the one that was read back"
    );
    assert!(
        matches!(outbox.open(&run_id, 8, true).await.unwrap(), Standing::Open(place) if place > Place::default())
    );
    // Emptied, it is closed by that.
    ask::<()>(&mut raw, &["FLUSHALL"]).await;
    assert!(matches!(outbox.check().await.unwrap(), Standing::Closed(_)));
}

#[tokio::test]
async fn who_waits_for_the_mirror_is_told_and_what_was_lost_is_not_taken_for_mirrored() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let mut outbox = opened(&bench.redis, RANGE).await;
    let mirrored = Mirrored::new(bench.redis.clone());
    let place = change(&mut raw, RANGE, "w-1", "k", ("written", &entry("1", 1))).await;
    let waits = tokio::spawn({
        let mirrored = mirrored.clone();
        async move { mirrored.wait(RANGE, &place.to_string(), 5 * SECOND).await }
    });
    relay(&mut outbox, 1).await;
    waits.await.unwrap().unwrap();

    let late = change(&mut raw, RANGE, "w-1", "k", ("written", &entry("1", 2))).await;
    let error = mirrored.wait(RANGE, &late.to_string(), Duration::from_millis(100)).await.unwrap_err();
    assert_eq!((error.code, error.applied), (Code::Unavailable, Some(Applied::Unknown)));

    // Lost with Redis before it was mirrored; what is written afterwards has a later place, and is mirrored.
    ask::<()>(&mut raw, &["FLUSHALL"]).await;
    let mut outbox = opened(&bench.redis, RANGE).await;
    change(&mut raw, RANGE, "w-1", "k", ("written", &entry("1", 3))).await;
    relay(&mut outbox, 1).await;
    let error = mirrored.wait(RANGE, &late.to_string(), 5 * SECOND).await.unwrap_err();
    assert_eq!((error.code, error.applied), (Code::Unavailable, Some(Applied::Unknown)));
}

#[tokio::test]
async fn only_what_is_newer_is_read_back_and_what_redis_has_besides_is_owed() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    let w = &bench.workspace;
    let [a, b, c, d] = ["a/", "b/", "c/", "d/"].map(|stem| key_in(RANGE, w, stem));
    let mut restoring = Restoring::new(bench.redis.clone(), RANGE);
    let take = |restoring: &mut Restoring, key: &Name, kept| drop(restoring.take(w, key, &kept));
    take(&mut restoring, &a, Kept::Written(entry(r#"{"x": "ü"}"#, 5)));
    take(&mut restoring, &a, Kept::Written(entry("0", 4)));
    take(&mut restoring, &b, Kept::Written(entry("1", 5)));
    take(&mut restoring, &b, Kept::Gone(tombstone(9, "delete")));
    take(&mut restoring, &key_in(RANGE + 1, w, "other"), Kept::Written(entry("1", 5)));
    restoring.write().await.unwrap();
    let restored = restoring.restored();
    assert_eq!((restored.read, restored.written), (4, 3));

    let of = |key: &Name| keys::state_entry(RANGE, w, key);
    let entry_of = async |raw: &mut _, key: &Name| -> BTreeMap<String, String> {
        ask(raw, &["HGETALL", &of(key)]).await
    };
    let found = entry_of(&mut raw, &a).await;
    assert_eq!((found["v"].as_str(), found["n"].as_str()), ("5", "11"));
    assert_eq!(entry_of(&mut raw, &b).await, BTreeMap::from([("v".to_owned(), "9".to_owned())]));
    let index: Vec<String> = ask(&mut raw, &["ZRANGE", &keys::state_index(RANGE, w), "0", "-1"]).await;
    assert_eq!(index, [a.to_string()]);
    let figures: BTreeMap<String, i64> = ask(&mut raw, &["HGETALL", &keys::state_counts(RANGE, w)]).await;
    assert_eq!((figures["k:a"], figures["b:a"], figures["k:b"], figures["b:b"]), (1, 11, 0, 0));

    // Nothing older is written, and what Redis has besides is told.
    ask::<()>(&mut raw, &["HSET", &of(&a), "v", "6", "e", &entry("6", 6), "n", "1", "x", "", "c", "1"]).await;
    ask::<()>(&mut raw, &["HSET", &of(&c), "v", "2", "e", &entry("2", 2), "n", "1", "x", "", "c", "1"]).await;
    ask::<()>(&mut raw, &["HSET", &of(&d), "v", "3"]).await;
    ask::<()>(
        &mut raw,
        &["XADD", &keys::state_past(RANGE, w, &d), "3-0", "h", &tombstone(3, "expire"), "m", ""],
    )
    .await;
    let mut again = Restoring::new(bench.redis.clone(), RANGE);
    take(&mut again, &a, Kept::Written(entry(r#"{"x": "ü"}"#, 5)));
    take(&mut again, &b, Kept::Gone(tombstone(9, "delete")));
    again.write().await.unwrap();
    assert_eq!(again.restored().written, 0);
    assert_eq!(entry_of(&mut raw, &a).await["v"], "6");
    let (mut ahead, mut cursor) = (BTreeMap::new(), "0".to_owned());
    loop {
        let (next, some) = again.ahead(&cursor).await.unwrap();
        ahead.extend(some.into_iter().map(|one| (one.key.to_string(), one)));
        cursor = next;
        if cursor == "0" {
            break;
        }
    }
    let ahead: Vec<Ahead> = ahead.into_values().collect();
    let one = |key: &Name, kept| Ahead { workspace: w.clone(), key: key.clone(), kept };
    let expected = [
        one(&a, Kept::Written(entry("6", 6))),
        one(&c, Kept::Written(entry("2", 2))),
        one(&d, Kept::Gone(tombstone(3, "expire"))),
    ];
    assert_eq!(ahead, expected);
}

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
    let kept = told(&mut feed.follow(interest("*"), oldest), left as usize).await;
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
