//! Leases of coordinators.

use super::{Bench, SECOND, ask, until};
use std::time::Duration;
use synod_infra::redis::keys;
use synod_infra::redis::lease::{Coordinator, Held, Lease, live};

fn coordinator(id: &str) -> Coordinator {
    Coordinator { id: id.parse().unwrap(), address: format!("{id}.example:7700") }
}

#[tokio::test]
async fn one_process_holds_a_lease_until_it_ends() {
    let bench = Bench::start().await;
    let lease = |ttl| Lease::new(bench.redis.clone(), coordinator("c1"), ttl);
    let (first, second) = (lease(Duration::from_millis(300)), lease(10 * SECOND));
    assert_eq!(first.hold().await, Ok(Held::Taken));
    assert_eq!(first.hold().await, Ok(Held::Renewed));
    assert!(
        matches!(second.hold().await, Ok(Held::ByAnother { remaining }) if remaining <= 300 * SECOND / 1000)
    );
    assert_eq!(second.release().await, Ok(false), "not its own to end");
    assert_eq!(live(&bench.redis).await.unwrap(), [coordinator("c1")]);

    until("an unrenewed lease ends", SECOND, || async { live(&bench.redis).await.unwrap().is_empty() }).await;
    let members: u64 = ask(&mut bench.raw().await, &["SCARD", keys::COORDINATORS]).await;
    assert_eq!(members, 0, "the set is swept");
    assert_eq!(second.hold().await, Ok(Held::Taken));
    assert!(matches!(first.hold().await, Ok(Held::ByAnother { .. })));
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
        assert_eq!(lease.hold().await, Ok(Held::Taken));
    }
    assert_eq!(live(&bench.redis).await.unwrap(), [coordinator("c1"), coordinator("c2"), coordinator("c3")]);
    ask::<()>(&mut bench.raw().await, &["FLUSHALL"]).await;
    assert!(live(&bench.redis).await.unwrap().is_empty());
    assert_eq!(leases[0].hold().await, Ok(Held::Taken));
    assert_eq!(live(&bench.redis).await.unwrap(), [coordinator("c3")]);
}
