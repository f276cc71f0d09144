//! What becomes of changes of shared state, on a real Redis: owed once to the mirror, told once to who follows, and read
//! back only where it is newer.

mod feed;
mod mirror;

use super::{SECOND, ask};
use synod_infra::primitives::keys;
use synod_infra::primitives::mirror::{Outbox, Standing};
use synod_infra::redis::Redis;
use synod_protocol::primitives::changes::Place;
use synod_protocol::primitives::state::{RANGES, range};
use synod_protocol::{Name, Workspace};
use tokio::time::Instant;

pub(super) const RANGE: u32 = 3;
pub(super) const KEPT: u64 = 500;

pub(super) fn entry(value: &str, version: u64) -> String {
    format!(
        r#"{{"value":{value},"version":{version},"created_ms":1,"updated_ms":2,"expires_ms":null,"updated_by":"me","metadata":{{}}}}"#
    )
}

pub(super) fn tombstone(version: u64, op: &str) -> String {
    format!(
        r#"{{"version":{version},"value":null,"op":"{op}","outcome":"written","updated_ms":2,"updated_by":"me"}}"#
    )
}

pub(super) fn named(text: &str) -> Name {
    text.parse().unwrap()
}

/// A key of this range.
pub(super) fn key_in(wanted: u32, workspace: &Workspace, stem: &str) -> Name {
    let names = (0..).map(|n| named(&format!("{stem}{n}")));
    names.into_iter().find(|name| range(workspace, name) == wanted).unwrap()
}

/// What a put writes, as far as changes go.
pub(super) async fn change(
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

pub(super) async fn opened(redis: &Redis, range: u32) -> Outbox {
    let mut outbox = Outbox::new(redis.clone(), range, KEPT);
    outbox.take().await.unwrap();
    let Standing::Closed(run_id) = outbox.check().await.unwrap() else {
        panic!("it was open before anybody opened it")
    };
    assert_eq!(outbox.open(&run_id, 7, false).await.unwrap(), Standing::Open(Place::default()));
    outbox
}

pub(super) async fn all_opened(redis: &Redis) -> Vec<Outbox> {
    let mut all = Vec::new();
    for range in 0..RANGES {
        all.push(opened(redis, range).await);
    }
    all
}

pub(super) fn soon() -> Instant {
    Instant::now() + 5 * SECOND
}

/// Reads what is owed and says that the mirror has it, until it has `count`.
pub(super) async fn relay(outbox: &mut Outbox, count: usize) -> Vec<Place> {
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
