//! The names of what is held: listed in order, and forgotten with what they name.

use super::locks::LONG_MS;
use super::{Bench, ask};
use synod_infra::primitives::keys;

#[tokio::test]
async fn lists_show_what_is_held_and_forget_what_is_not() {
    let bench = Bench::start().await;
    let (locks, w) = (bench.locks(), &bench.workspace);
    let mut raw = bench.raw().await;
    let mut wanted: Vec<String> = ["a", "a/1", "a/2", "a/{x}", "a/*", "a/ü", "b"].map(str::to_owned).to_vec();
    for lock in &wanted {
        bench.take(lock, "me", LONG_MS).await.unwrap();
    }
    for n in 0..40 {
        let gone = bench.take(&format!("a/gone{n}"), "me", LONG_MS).await.unwrap();
        bench.give_back(&gone).await.unwrap();
    }
    wanted.sort();
    let listed = async |prefix: &str, limit: usize| {
        let (mut all, mut after) = (Vec::new(), None);
        loop {
            let (page, next) = locks.list(w, prefix, after.as_ref(), limit).await.unwrap();
            assert!(page.len() <= limit);
            all.extend(page.into_iter().map(|held| held.name.to_string()));
            match next {
                Some(next) => after = Some(next),
                None => return all,
            }
        }
    };
    for limit in [1, 2, 7, 1000] {
        assert_eq!(listed("", limit).await, wanted);
        assert_eq!(
            listed("a/", limit).await,
            wanted.iter().filter(|n| n.starts_with("a/")).cloned().collect::<Vec<_>>()
        );
    }
    assert_eq!(listed("a/*", 10).await, ["a/*"]);
    assert_eq!(listed("c", 10).await, Vec::<String>::new());
    assert_eq!(ask::<u64>(&mut raw, &["ZCARD", &keys::locks(w)]).await, wanted.len() as u64, "swept");
}

/// Nobody lists; names are used once each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_names_do_not_pile_up() {
    let bench = Bench::start().await;
    let mut raw = bench.raw().await;
    for n in 0..4_000 {
        let lease = bench.take(&format!("once-{n}"), "me", LONG_MS).await.unwrap();
        bench.give_back(&lease).await.unwrap();
    }
    let known: u64 = ask(&mut raw, &["ZCARD", &keys::locks(&bench.workspace)]).await;
    assert!(known < 2_000, "{known} of 4,000 names are still known");
}
