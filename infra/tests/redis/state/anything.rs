//! Whatever is written in whatever order: versions only grow, and whoever loses is in the history.

use super::*;
use synod_infra::primitives::keys;
use synod_protocol::Code;

/// Numbers by chance, the same for the same seed (xorshift).
struct Chance(u64);

impl Chance {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// What the key should be, and every value that has lost.
#[derive(Default)]
struct Model {
    there: Option<Entry>,
    last: u64,
    lost: Vec<String>,
    written: Vec<(u64, String)>,
}

impl Model {
    fn now(&mut self, version: u64, there: Option<Entry>) {
        assert!(version > self.last, "{version} after {}", self.last);
        self.last = version;
        let value = there.as_ref().map_or("null".to_owned(), |entry| entry.value.as_str().to_owned());
        self.written.push((version, value));
        self.there = there;
    }

    fn value(&self) -> String {
        self.there.as_ref().map_or("null".to_owned(), |entry| entry.value.as_str().to_owned())
    }
}

async fn put_something(room: &Room, chance: &mut Chance, model: &mut Model, n: u64, what: &str) {
    let strategies = [Strategy::Reject, Strategy::LastWriteWins, Strategy::FirstWriteWins, Strategy::Merge];
    let strategy = strategies[chance.below(4) as usize];
    let current = model.there.as_ref().map_or(0, |entry| entry.version);
    let condition = match chance.below(3) {
        0 => Condition::None,
        1 => Condition::Version(current),
        _ => Condition::Version(current + 1 + chance.below(9)),
    };
    let stale = matches!(condition, Condition::Version(version) if version != current)
        || (condition == Condition::None && strategy == Strategy::FirstWriteWins && current != 0);
    let before = model.value();
    let result = room.try_put("a", by(strategy, &format!("\"{n}\"")), condition).await;
    match result {
        Err(error) => {
            let told = strategy == Strategy::Reject || (strategy == Strategy::FirstWriteWins && current == 0);
            assert!(stale && told, "{what}: {error}");
            assert_eq!((error.code, error.current_version), (Code::Conflict, Some(current)), "{what}");
        }
        Ok(written) if !written.applied => {
            assert!(stale && strategy == Strategy::FirstWriteWins, "{what}");
            assert_eq!(Some(&written.entry), model.there.as_ref(), "{what}");
            model.lost.push(format!("\"{n}\""));
        }
        Ok(written) => {
            assert!(!(stale && matches!(strategy, Strategy::Reject | Strategy::FirstWriteWins)), "{what}");
            assert_eq!(
                (written.made, written.entry.value.as_str()),
                (current == 0, &*format!("\"{n}\"")),
                "{what}"
            );
            if stale && current != 0 {
                model.lost.push(before);
            }
            model.now(written.entry.version, Some(written.entry));
        }
    }
}

async fn expire(room: &Room, model: &mut Model) {
    let short = Put { ttl_ms: Some(1), strategy: Some(Strategy::Reject), ..put("\"short\"") };
    let written = room.try_put("a", short, Condition::None).await.unwrap();
    model.now(written.entry.version, Some(written.entry));
    until("it is over", SECOND, async || room.get("a").await.is_none()).await;
    room.state.sweep(range(room.workspace(), &name("a")), 10).await.unwrap();
    let line = &room.state.history(room.workspace(), &name("a"), 1, None).await.unwrap().unwrap().lines[0];
    assert_eq!(line.op, Op::Expire);
    model.now(line.version.unwrap(), None);
}

#[tokio::test]
async fn whatever_is_done_versions_grow_and_what_loses_is_kept() {
    let room = Room::open().await;
    for seed in 1..=40u64 {
        let (mut chance, mut model) = (Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)), Model::default());
        ask::<()>(&mut room.bench.raw().await, &["FLUSHALL"]).await;
        room.state.open_all().await.unwrap();
        for n in 0..30u64 {
            let what = format!("seed {seed}, operation {n}");
            match chance.below(12) {
                0..8 => put_something(&room, &mut chance, &mut model, n, &what).await,
                8..10 => {
                    let removed = room.delete("a").await;
                    assert_eq!(removed.is_some(), model.there.is_some(), "{what}");
                    if let Some(removed) = removed {
                        model.now(removed.tombstone.version, None);
                    }
                }
                10 => {
                    let values: Vec<_> = model.written.iter().filter(|(_, v)| v != "null").cloned().collect();
                    if !values.is_empty() {
                        let (version, value) = &values[chance.below(values.len() as u64) as usize];
                        let restored = room.state.restore(&room.writer, &name("a"), *version).await.unwrap();
                        assert_eq!(restored.entry.value.as_str(), value, "{what}");
                        model.now(restored.entry.version, Some(restored.entry));
                    }
                }
                _ => expire(&room, &mut model).await,
            }
            assert_eq!(room.get("a").await, model.there, "{what}");
        }
        let history = room.history("a").await;
        let mut lost: Vec<&str> = history
            .iter()
            .filter(|past| past.outcome == Outcome::Lost)
            .map(|past| past.value.as_str())
            .collect();
        lost.reverse();
        assert_eq!(lost, model.lost, "seed {seed}");
        let mut written: Vec<(u64, String)> =
            history.iter().filter_map(|past| Some((past.version?, past.value.as_str().to_owned()))).collect();
        written.reverse();
        assert_eq!(written, model.written, "seed {seed}");
        // The stream has the same, in the same order, with each loser once.
        let told: Vec<(Option<u64>, Outcome)> = room.changes("a").await.iter().map(of).collect();
        let kept: Vec<_> = history.iter().rev().map(|past| (past.version, past.outcome)).collect();
        assert_eq!(told, kept, "seed {seed}");
        let figures = room.state.statistics(room.workspace()).await.unwrap().total;
        let bytes = model.there.as_ref().map_or(0, |entry| entry.value.as_str().len() as u64);
        assert_eq!((figures.keys, figures.bytes), (u64::from(model.there.is_some()), bytes), "seed {seed}");
        assert_eq!(figures.lost, model.lost.len() as u64, "seed {seed}");
    }
    let left: u64 = ask(&mut room.bench.raw().await, &["ZCARD", &keys::state_expiring(0)]).await;
    assert_eq!(left, 0);
}

fn of(change: &Change) -> (Option<u64>, Outcome) {
    match &change.what {
        Changed::Written(entry) => (Some(entry.version), Outcome::Written),
        Changed::Gone(past) => (past.version, Outcome::Written),
        Changed::Lost(past) => (past.version, past.outcome),
    }
}
