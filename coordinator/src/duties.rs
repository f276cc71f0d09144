//! What a coordinator does in the background, and how it went the last time: a duty that has stopped running shows here
//! before anybody misses what it did.
//!
//! A duty only notes that it ran; nothing is decided by this. One that has never run is not listed.

use crate::fleet::wall_clock;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use synod_protocol::Timestamp;
use tokio::time::Instant;
use utoipa::ToSchema;

/// The directory's records are followed.
pub(crate) const DIRECTORY: &str = "directory";
/// Heartbeats through Redis are looked at.
pub(crate) const HEARTBEATS: &str = "heartbeats";
/// Heartbeats through Kafka are heard.
pub(crate) const HEARTBEATS_KAFKA: &str = "heartbeats_kafka";
/// The silent are judged.
pub(crate) const JUDGING: &str = "judging";
/// Presence is looked at.
pub(crate) const PRESENCE: &str = "presence";
/// The attempts of those who are gone are taken back.
pub(crate) const FAILOVER: &str = "failover";
/// How fast agents are is noted, and fades.
pub(crate) const PERFORMANCE: &str = "performance";
/// Agents that are long gone are forgotten.
pub(crate) const CLEANUP: &str = "cleanup";
/// Records that were handed back come again.
pub(crate) const RETRIES: &str = "retries";

/// Bytes of a result in words.
const WORDS: usize = 256;

/// A duty, as `/v1/status` shows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DutyView {
    /// Whose.
    pub(crate) coordinator: String,
    /// Which.
    pub(crate) duty: String,
    /// How often it has run since the coordinator started.
    pub(crate) runs: u64,
    /// How often of those it failed.
    pub(crate) failures: u64,
    /// When it last ran, by the coordinator's wall clock.
    pub(crate) last_run_at: Timestamp,
    /// How long ago that is, in ms, by its monotonic one.
    pub(crate) last_run_ms_ago: u64,
    /// Whether the last run went well.
    pub(crate) ok: bool,
    /// What came of it, in words.
    pub(crate) result: String,
}

#[derive(Debug)]
struct Duty {
    runs: u64,
    failures: u64,
    at: Instant,
    wall: Timestamp,
    outcome: Result<String, String>,
}

/// Every duty that has run.
#[derive(Debug, Default)]
pub(crate) struct Duties(Mutex<BTreeMap<&'static str, Duty>>);

impl Duties {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Duty>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A duty has run now, and this came of it.
    pub(crate) fn ran(&self, duty: &'static str, outcome: Result<String, String>) {
        let (at, wall) = (Instant::now(), wall_clock());
        let mut duties = self.lock();
        let noted = duties.entry(duty).or_insert_with(|| Duty {
            runs: 0,
            failures: 0,
            at,
            wall,
            outcome: Ok(String::new()),
        });
        noted.runs += 1;
        noted.failures += u64::from(outcome.is_err());
        (noted.at, noted.wall, noted.outcome) = (at, wall, outcome);
    }

    /// All of them, by name.
    pub(crate) fn views(&self, coordinator: &str) -> Vec<DutyView> {
        let view = |(duty, noted): (&&'static str, &Duty)| {
            let (Ok(words) | Err(words)) = &noted.outcome;
            DutyView {
                coordinator: coordinator.to_owned(),
                duty: (*duty).to_owned(),
                runs: noted.runs,
                failures: noted.failures,
                last_run_at: noted.wall,
                last_run_ms_ago: u64::try_from(noted.at.elapsed().as_millis()).unwrap_or(u64::MAX),
                ok: noted.outcome.is_ok(),
                result: words.chars().take(WORDS).collect(),
            }
        };
        self.lock().iter().map(view).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_run_counts_and_failures_are_remembered() {
        let duties = Duties::default();
        assert!(duties.views("c").is_empty());
        duties.ran(JUDGING, Ok("nobody".into()));
        duties.ran(JUDGING, Err("x".repeat(2 * WORDS)));
        duties.ran(CLEANUP, Ok("2 forgotten".into()));
        let views = duties.views("c");
        let names: Vec<_> = views.iter().map(|v| (v.duty.as_str(), v.runs, v.failures, v.ok)).collect();
        assert_eq!(names, [("cleanup", 1, 0, true), ("judging", 2, 1, false)]);
        assert_eq!((views[0].result.as_str(), views[1].result.len()), ("2 forgotten", WORDS));
        duties.ran(JUDGING, Ok("again".into()));
        assert_eq!(duties.views("c")[1].failures, 1);
        assert!(duties.views("c")[1].ok);
    }
}
