//! The outbox of a range, who waits for the mirror, and what is read back from it.

use super::{KEPT, RANGE, change, entry, key_in, opened, relay, soon, tombstone};
use crate::{Bench, SECOND, ask};
use std::collections::BTreeMap;
use std::time::Duration;
use synod_infra::primitives::keys;
use synod_infra::primitives::mirror::{Ahead, Kept, Mirrored, Outbox, Restoring, Standing};
use synod_protocol::primitives::changes::Place;
use synod_protocol::{Applied, Code, Name};
use tokio::time::Instant;

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
    let take = |restoring: &mut Restoring, key: &Name, kept| {
        restoring.take(w, key, &kept);
    };
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
