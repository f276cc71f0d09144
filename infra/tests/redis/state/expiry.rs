//! What ends by itself.

use super::*;
use synod_infra::primitives::keys;
use synod_protocol::primitives::state::TTL_LIMIT_MS;

impl Room {
    async fn short(&self, key: &str) -> Entry {
        let short = Put { ttl_ms: Some(1), ..put("1") };
        let entry = self.try_put(key, short, Condition::None).await.unwrap().entry;
        until("it is over", SECOND, async || self.get(key).await.is_none()).await;
        entry
    }

    async fn sweep(&self) -> usize {
        let mut swept = 0;
        for range in 0..RANGES {
            swept += self.state.sweep(range, 10).await.unwrap();
        }
        swept
    }
}

#[tokio::test]
async fn what_is_over_is_absent_at_once_and_swept_into_history_once() {
    let room = Room::open().await;
    let entry = room.short("a").await;
    let listed = room.state.list(room.workspace(), "", 10, None).await.unwrap();
    assert_eq!((listed.entries.len(), listed.next_cursor), (0, None));
    assert_eq!(room.delete("b").await, None);
    assert_eq!(room.sweep().await, 1);
    assert_eq!(room.sweep().await, 0);
    let history = room.history("a").await;
    assert_eq!(told(&history), ["expire null", "put 1"]);
    assert!(history[0].version > Some(entry.version));
    let [.., Change { what: Changed::Gone(gone), .. }] = &room.changes("a").await[..] else { panic!() };
    assert_eq!((gone.op, gone.version), (Op::Expire, history[0].version));
    assert!(room.put("a", "2").await.version > gone.version.unwrap());
    assert_eq!(room.state.statistics(room.workspace()).await.unwrap().total.expired, 1);
}

#[tokio::test]
async fn a_write_to_what_is_over_ends_it_first() {
    let room = Room::open().await;
    let first = room.short("a").await;
    let stale = Condition::Version(first.version);
    assert!(room.try_put("a", put("2"), stale).await.is_err(), "it is not there any more");
    let second = room.try_put("a", put("2"), Condition::Absent).await.unwrap();
    assert!(second.made && second.entry.created_at > first.created_at);
    assert_eq!(told(&room.history("a").await), ["put 2", "expire null", "put 1"]);
    assert_eq!(room.sweep().await, 0);
    assert!(room.get("a").await.is_some());
    room.short("b").await;
    assert_eq!(room.delete("b").await, None, "there was nothing to delete");
    assert_eq!(told(&room.history("b").await), ["expire null", "put 1"]);
}

#[tokio::test]
async fn a_later_write_takes_the_end_away_or_moves_it() {
    let room = Room::open().await;
    let with = |ttl_ms| Put { ttl_ms, ..put("1") };
    let expiring = keys::state_expiring(range(room.workspace(), &name("a")));
    let mut raw = room.bench.raw().await;
    let moved = room.try_put("a", with(Some(TTL_LIMIT_MS)), Condition::None).await.unwrap().entry;
    let end = moved.expires_at.unwrap();
    assert_eq!(end, moved.updated_at.plus_millis(TTL_LIMIT_MS));
    let score: f64 = ask(&mut raw, &["ZSCORE", &expiring, "w-1/a"]).await;
    assert_eq!(score as i64, end.as_millis());
    room.try_put("a", with(None), Condition::None).await.unwrap();
    assert_eq!(ask::<u64>(&mut raw, &["ZCARD", &expiring]).await, 0);
}

/// A tombstone goes with its history; until then the key's versions go on from it.
#[tokio::test]
async fn a_tombstone_stays_as_long_as_the_history() {
    let room = Room::open().await;
    room.put("a", "1").await;
    room.delete("a").await.unwrap();
    let at = range(room.workspace(), &name("a"));
    let mut raw = room.bench.raw().await;
    let mut kept = async |key: String| ask::<i64>(&mut raw, &["PTTL", &key]).await;
    let (entry, past) = (
        keys::state_entry(at, room.workspace(), &name("a")),
        keys::state_past(at, room.workspace(), &name("a")),
    );
    let week = 7 * 24 * 3_600_000;
    assert!((week - 60_000..=week).contains(&kept(entry.clone()).await));
    assert!((week - 60_000..=week).contains(&kept(past).await));
    room.put("a", "2").await;
    assert_eq!(kept(entry).await, -1, "what is there stays");
}
