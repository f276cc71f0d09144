//! Which coordinator to talk to: the ones configured, and those whose lease stands in Redis.
//!
//! One is kept until it fails; then the next is taken. Who starts chooses at random, so that a fleet of
//! clients spreads. Any coordinator serves any request: it passes on what another owns.

use std::sync::{Mutex, PoisonError};
use synod_infra::redis::{Redis, lease};

pub(crate) struct Coordinators {
    configured: Vec<String>,
    redis: Option<Redis>,
    chosen: Mutex<Chosen>,
    /// One search at a time.
    searching: tokio::sync::Mutex<()>,
}

struct Chosen {
    url: Option<String>,
    /// Counts up with each failure; modulo the number of coordinators, who comes next.
    turn: usize,
}

impl Coordinators {
    pub(crate) fn new(configured: &[String], redis: Option<Redis>) -> Coordinators {
        let turn = usize::from(uuid::Uuid::now_v7().as_bytes()[15]);
        Coordinators {
            configured: configured.iter().map(|address| url(address)).collect(),
            redis,
            chosen: Mutex::new(Chosen { url: None, turn }),
            searching: tokio::sync::Mutex::new(()),
        }
    }

    /// Whether there is any way to find one.
    pub(crate) fn possible(&self) -> bool {
        self.redis.is_some() || !self.configured.is_empty()
    }

    /// The coordinator to ask now; `None` when none is known.
    pub(crate) async fn pick(&self) -> Option<String> {
        if let Some(url) = self.chosen().url.clone() {
            return Some(url);
        }
        let _one_at_a_time = self.searching.lock().await;
        if let Some(url) = self.chosen().url.clone() {
            return Some(url);
        }
        let mut known = self.configured.clone();
        if let Some(redis) = &self.redis {
            match lease::live(redis).await {
                Ok(live) => known.extend(live.iter().map(|coordinator| url(&coordinator.address))),
                Err(error) => tracing::debug!(%error, "no coordinators from Redis"),
            }
        }
        known.sort();
        known.dedup();
        let mut chosen = self.chosen();
        chosen.url = known.get(chosen.turn.checked_rem(known.len())?).cloned();
        chosen.url.clone()
    }

    /// This one did not answer, or cannot serve: ask another.
    pub(crate) fn failed(&self, url: &str) {
        let mut chosen = self.chosen();
        if chosen.url.as_deref() == Some(url) {
            chosen.url = None;
            chosen.turn = chosen.turn.wrapping_add(1);
        }
    }

    /// Held for plain assignments only; a panic leaves nothing half done.
    fn chosen(&self) -> std::sync::MutexGuard<'_, Chosen> {
        self.chosen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lease names `host:port`; people write URLs, with or without a slash at the end.
fn url(address: &str) -> String {
    let address = address.trim_end_matches('/');
    if address.contains("://") { address.to_owned() } else { format!("http://{address}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_is_kept_until_it_fails_and_then_the_next_is_taken() {
        let two = Coordinators::new(&["a:1".into(), "http://b:1/".into()], None);
        let first = two.pick().await.unwrap();
        assert_eq!(two.pick().await.unwrap(), first);
        two.failed(&first);
        let second = two.pick().await.unwrap();
        assert_ne!(second, first);
        two.failed(&first);
        assert_eq!(two.pick().await.unwrap(), second, "an old failure says nothing of the one chosen since");
        two.failed(&second);
        assert_eq!(two.pick().await.unwrap(), first);
    }

    #[tokio::test]
    async fn nobody_is_an_answer() {
        let none = Coordinators::new(&[], None);
        assert!(!none.possible());
        assert_eq!(none.pick().await, None);
    }
}
