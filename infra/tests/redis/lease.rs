//! Leases of coordinators.

use super::{Bench, SECOND, ask, until};
use std::time::Duration;
use synod_infra::redis::keys;
use synod_infra::redis::lease::{Coordinator, Held, Lease, Part, live};
use synod_infra::redis::leases::{Leases, Look, Presence};
use tokio::time::timeout;

fn coordinator(id: &str) -> Coordinator {
    Coordinator { id: id.parse().unwrap(), address: format!("{id}.example:7700") }
}

#[tokio::test]
async fn one_process_holds_a_lease_until_it_ends() {
    let bench = Bench::start().await;
    let lease = |ttl| Lease::new(bench.redis.clone(), coordinator("c1"), ttl);
    let (first, second) = (lease(Duration::from_millis(300)), lease(10 * SECOND));
    assert_eq!(first.hold(&Part::default()).await, Ok(Held::Taken));
    assert_eq!(first.hold(&Part::default()).await, Ok(Held::Renewed));
    assert!(
        matches!(second.hold(&Part::default()).await, Ok(Held::ByAnother { remaining }) if remaining <= 300 * SECOND / 1000)
    );
    assert_eq!(second.release().await, Ok(false), "not its own to end");
    assert_eq!(live(&bench.redis).await.unwrap(), [coordinator("c1")]);

    until("an unrenewed lease ends", SECOND, || async { live(&bench.redis).await.unwrap().is_empty() }).await;
    let members: u64 = ask(&mut bench.raw().await, &["SCARD", keys::COORDINATORS]).await;
    assert_eq!(members, 0, "the set is swept");
    assert_eq!(second.hold(&Part::default()).await, Ok(Held::Taken));
    assert!(matches!(first.hold(&Part::default()).await, Ok(Held::ByAnother { .. })));
    assert_eq!(first.release().await, Ok(false));
    assert_eq!(second.release().await, Ok(true));
    assert!(live(&bench.redis).await.unwrap().is_empty());
}

#[tokio::test]
async fn every_live_coordinator_is_seen_and_a_wipe_shows_as_taken_anew() {
    let bench = Bench::start().await;
    let leases: Vec<Lease> = ["c3", "c1", "c2"]
        .iter()
        .map(|id| Lease::new(bench.redis.clone(), coordinator(id), 10 * SECOND))
        .collect();
    for lease in &leases {
        assert_eq!(lease.hold(&Part::default()).await, Ok(Held::Taken));
    }
    assert_eq!(live(&bench.redis).await.unwrap(), [coordinator("c1"), coordinator("c2"), coordinator("c3")]);
    ask::<()>(&mut bench.raw().await, &["FLUSHALL"]).await;
    assert!(live(&bench.redis).await.unwrap().is_empty());
    assert_eq!(leases[0].hold(&Part::default()).await, Ok(Held::Taken));
    assert_eq!(live(&bench.redis).await.unwrap(), [coordinator("c3")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_shows_every_part_who_is_there_and_how_old_the_data_are() {
    let bench = Bench::start().await;
    let mut leases = Leases::new(bench.redis.clone());
    let empty = leases.look().await.unwrap();
    assert_eq!((empty.standing.len(), empty.age, empty.era_us), (0, Duration::ZERO, 0));
    let lease = |id| Lease::new(bench.redis.clone(), coordinator(id), 10 * SECOND);
    let (first, second) = (lease("c1"), lease("c2"));
    let part = Part { takes: true, held: [1, 2].into(), serving: [2].into() };
    first.hold(&part).await.unwrap();
    second.hold(&Part::default()).await.unwrap();
    let presence = Presence::start(bench.redis.clone(), &"c1".parse().unwrap(), first.holder());
    let seen = |look: &Look| -> Vec<(String, bool)> {
        look.standing.iter().map(|s| (s.coordinator.id.to_string(), s.present)).collect()
    };
    let mut look = leases.look().await.unwrap();
    until("one is there and one is not", SECOND, async || {
        look = leases.look().await.unwrap();
        seen(&look) == [("c1".to_owned(), true), ("c2".to_owned(), false)]
    })
    .await;
    assert_eq!(look.standing[0].part, part);
    assert_eq!(live(&bench.redis).await.unwrap(), [coordinator("c1"), coordinator("c2")]);

    let beat = look.standing[0].beat;
    first.hold(&Part::default()).await.unwrap();
    let after = leases.look().await.unwrap();
    assert!(after.standing[0].beat > beat && after.standing[0].part == Part::default());
    assert_eq!((&after.run_id, after.connection, after.era_us), (&look.run_id, look.connection, look.era_us));

    // The process ends: absent at once, while the lease stands.
    drop(presence);
    until("it is absent", SECOND, async || {
        seen(&leases.look().await.unwrap()) == [("c1".to_owned(), false), ("c2".to_owned(), false)]
    })
    .await;
    second.release().await.unwrap();
    assert_eq!(seen(&leases.look().await.unwrap()), [("c1".to_owned(), false)]);

    ask::<()>(&mut bench.raw().await, &["FLUSHALL"]).await;
    assert_eq!(leases.look().await.unwrap().era_us, 0);
    first.hold(&Part::default()).await.unwrap();
    let wiped = leases.look().await.unwrap();
    assert!(wiped.era_us > look.era_us && wiped.age < SECOND, "{wiped:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_subscribed_hears_of_news() {
    let bench = Bench::start().await;
    let mut presence = Presence::start(bench.redis.clone(), &"c1".parse().unwrap(), "h");
    assert!(timeout(SECOND, presence.news()).await.is_ok(), "that it has begun to listen is news");
    Leases::new(bench.redis.clone()).tell().await.unwrap();
    assert!(timeout(SECOND, presence.news()).await.is_ok());
}
