//! Loss by silence: who has not been heard of for too long.
//!
//! Two ways to judge, by how an agent is served. Through **Redis** its own rhythm is learnt (the accrual detector of
//! [`crate::accrual`]): from a phi on it is suspected, and with a pause on top lost; never later than the ceiling.
//! Through **Kafka**, where brokers have pauses of their own, only the ceiling counts: three heartbeats missed.

use crate::AgentKey;
use crate::accrual::{Detector, Policy, Settings, SettingsError};
use std::collections::BTreeMap;
use std::sync::Arc;
use synod_protocol::Incarnation;

/// How silence is judged.
#[derive(Clone, Debug)]
pub struct SilenceTerms {
    /// Milliseconds between two heartbeats, as agents are told to send them; 1,000 by default.
    pub interval_ms: u64,
    /// Phi from which on an agent served through Redis is suspected, and with the pause lost; 8 by default.
    pub phi: f64,
    /// Milliseconds that are forgiven before a suspicion becomes a loss; 1,000 by default.
    pub pause_ms: u64,
    /// Milliseconds of silence after which an agent served through Redis is lost whatever its rhythm was; 2,600 by
    /// default, so that a frozen one is lost within three heartbeats, looks included.
    pub ceiling_ms: u64,
    /// The same of an agent served through Kafka; 3,300 by default: three heartbeats missed.
    pub kafka_ceiling_ms: u64,
}

impl Default for SilenceTerms {
    fn default() -> SilenceTerms {
        SilenceTerms {
            interval_ms: 1_000,
            phi: 8.0,
            pause_ms: 1_000,
            ceiling_ms: 2_600,
            kafka_ceiling_ms: 3_300,
        }
    }
}

/// What a silence means.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    /// Nothing: it speaks, or its time is not over.
    Well,
    /// It may be gone. The evidence, in words.
    Suspected(String),
    /// It is given up. The evidence, in words.
    Lost(String),
}

/// When each agent was last heard of, in milliseconds of the caller's monotonic time.
#[derive(Debug)]
pub struct Silence {
    terms: SilenceTerms,
    policy: Arc<Policy>,
    known: BTreeMap<AgentKey, Known>,
}

#[derive(Debug)]
struct Known {
    incarnation: Incarnation,
    /// Silence counts from here: a sign of life, or the moment from which one was expected.
    from_ms: u64,
    /// The last real sign of life.
    heard_ms: Option<u64>,
    rhythm: Detector,
}

impl Default for Silence {
    fn default() -> Silence {
        let policy = Arc::new(Policy::default());
        Silence { terms: SilenceTerms::default(), policy, known: BTreeMap::new() }
    }
}

impl Silence {
    /// Judges by these terms.
    ///
    /// # Errors
    /// They make no detector.
    pub fn new(terms: SilenceTerms) -> Result<Silence, SettingsError> {
        let settings = Settings {
            threshold: terms.phi,
            acceptable_pause_ms: terms.pause_ms,
            first_heartbeat_estimate_ms: terms.interval_ms,
            ..Settings::default()
        };
        Ok(Silence { terms, policy: Arc::new(Policy::try_from(settings)?), known: BTreeMap::new() })
    }

    /// A sign of life. Returns whether this process start is new here.
    pub fn heard(&mut self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) -> bool {
        let is_new = self.expect(key, incarnation, now_ms);
        if let Some(known) = self.known.get_mut(key) {
            if known.heard_ms.is_some_and(|heard_ms| known.from_ms > heard_ms) {
                // A pardon lies between: what passed says nothing of its rhythm.
                known.rhythm = Detector::new(self.policy.clone());
            }
            known.rhythm.heartbeat(now_ms);
            known.from_ms = now_ms.max(known.from_ms);
            known.heard_ms = Some(now_ms);
        }
        is_new
    }

    /// Begins to expect signs of life of a process start of which nothing is known yet. Returns whether that is so.
    pub fn expect(&mut self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) -> bool {
        let is_new = self.known.get(key).is_none_or(|known| known.incarnation != *incarnation);
        if is_new {
            let rhythm = Detector::new(self.policy.clone());
            let known = Known { incarnation: incarnation.clone(), from_ms: now_ms, heard_ms: None, rhythm };
            self.known.insert(key.clone(), known);
        }
        is_new
    }

    /// What the silence of this process start means; `through_kafka`: it is heard through Kafka.
    pub fn judge(
        &self,
        key: &AgentKey,
        incarnation: &Incarnation,
        through_kafka: bool,
        now_ms: u64,
    ) -> Heard {
        let Some(known) = self.known.get(key).filter(|known| known.incarnation == *incarnation) else {
            return Heard::Well;
        };
        let silent_ms = now_ms.saturating_sub(known.from_ms);
        let (by, ceiling_ms) = match through_kafka {
            true => ("Kafka", self.terms.kafka_ceiling_ms),
            false => ("Redis", self.terms.ceiling_ms),
        };
        if silent_ms > ceiling_ms {
            return Heard::Lost(format!(
                "no heartbeat through {by} for {silent_ms} ms, the limit is {ceiling_ms} ms"
            ));
        }
        if through_kafka {
            return Heard::Well;
        }
        // As if the last heartbeat had come when silence began to count.
        let as_of_ms = known.heard_ms.map(|heard_ms| heard_ms.saturating_add(silent_ms));
        let evidence = |at_ms: u64| known.rhythm.evidence(at_ms);
        let told = |phi: f64, mean_ms: f64, deviation_ms: f64| {
            let words = "no heartbeat through Redis for";
            format!(
                "{words} {silent_ms} ms; they come every {mean_ms:.0} ms, give or take {deviation_ms:.0} (phi {phi:.1})"
            )
        };
        let pause_ms = self.terms.pause_ms;
        let lost = as_of_ms.and_then(evidence).filter(|e| e.phi >= e.threshold);
        if let Some(e) = lost {
            return Heard::Lost(told(e.phi, e.mean_ms - pause_ms as f64, e.std_deviation_ms));
        }
        let soon = as_of_ms.and_then(|at_ms| evidence(at_ms.saturating_add(pause_ms)));
        match soon.filter(|e| e.phi >= e.threshold) {
            Some(e) => Heard::Suspected(told(e.phi, e.mean_ms - pause_ms as f64, e.std_deviation_ms)),
            None => Heard::Well,
        }
    }

    /// Milliseconds since the last real sign of life of this process start; `None` if there was none.
    pub fn since_heard(&self, key: &AgentKey, incarnation: &Incarnation, now_ms: u64) -> Option<u64> {
        let known = self.known.get(key).filter(|known| known.incarnation == *incarnation)?;
        known.heard_ms.map(|at| now_ms.saturating_sub(at))
    }

    /// Expects nothing of it any more.
    pub fn forget(&mut self, key: &AgentKey) {
        self.known.remove(key);
    }

    /// Gives everyone of these the whole time again, since they could not speak or we not hear. No sign of life for
    /// anyone.
    pub fn pardon(&mut self, now_ms: u64, whom: impl Fn(&AgentKey) -> bool) {
        for (_, known) in self.known.iter_mut().filter(|(key, _)| whom(key)) {
            known.from_ms = now_ms.max(known.from_ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10";
    const SECOND: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c11";

    fn key() -> AgentKey {
        AgentKey { workspace: "w".parse().unwrap(), agent: "a".parse().unwrap() }
    }

    fn start(text: &str) -> Incarnation {
        text.parse().unwrap()
    }

    fn word(silence: &Silence, incarnation: &str, through_kafka: bool, now_ms: u64) -> &'static str {
        match silence.judge(&key(), &start(incarnation), through_kafka, now_ms) {
            Heard::Well => "well",
            Heard::Suspected(_) => "suspected",
            Heard::Lost(_) => "lost",
        }
    }

    /// One heartbeat a second, thirty of them, the last at 30,000.
    fn steady() -> Silence {
        let mut silence = Silence::default();
        for n in 1..=30 {
            silence.heard(&key(), &start(FIRST), n * 1_000);
        }
        silence
    }

    #[test]
    fn a_steady_agent_is_suspected_soon_and_lost_a_pause_later() {
        let silence = steady();
        let first = |wanted: &str| {
            (0..10_000).find(|ms| word(&silence, FIRST, false, 30_000 + ms) == wanted).unwrap()
        };
        let (suspected, lost) = (first("suspected"), first("lost"));
        assert!((1_500..1_700).contains(&suspected), "{suspected}");
        assert_eq!(lost, suspected + 1_000, "the pause");
        let Heard::Lost(why) = silence.judge(&key(), &start(FIRST), false, 33_000) else { panic!("lost") };
        assert_eq!(why, "no heartbeat through Redis for 3000 ms, the limit is 2600 ms");
    }

    #[test]
    fn the_default_terms_are_those_of_the_default_detector() {
        let (said, meant) = (Silence::new(SilenceTerms::default()).unwrap(), Silence::default());
        assert_eq!(said.policy, meant.policy);
        assert!(Silence::new(SilenceTerms { phi: f64::NAN, ..SilenceTerms::default() }).is_err());
    }

    #[test]
    fn a_wilder_rhythm_is_given_more_time_up_to_the_ceiling() {
        let mut silence = Silence::default();
        let mut now_ms = 0;
        for n in 0..40 {
            now_ms += if n % 2 == 0 { 500 } else { 1_500 };
            silence.heard(&key(), &start(FIRST), now_ms);
        }
        assert_eq!(word(&silence, FIRST, false, now_ms + 2_600), "well");
        assert_eq!(word(&silence, FIRST, false, now_ms + 2_601), "lost");
        assert_eq!(word(&silence, FIRST, true, now_ms + 3_300), "well", "through Kafka three may be missed");
        assert_eq!(word(&silence, FIRST, true, now_ms + 3_301), "lost");
    }

    #[test]
    fn who_never_spoke_has_the_whole_time_and_another_start_its_own() {
        let mut silence = Silence::default();
        assert_eq!(word(&silence, FIRST, false, 0), "well", "nothing is expected of it");
        silence.expect(&key(), &start(FIRST), 100);
        silence.expect(&key(), &start(FIRST), 900);
        assert_eq!(word(&silence, FIRST, false, 2_700), "well");
        assert_eq!(word(&silence, FIRST, false, 2_701), "lost");
        assert_eq!(silence.since_heard(&key(), &start(FIRST), 2_701), None);
        assert!(silence.heard(&key(), &start(SECOND), 2_800));
        assert_eq!(word(&silence, FIRST, false, 9_000), "well", "it is over");
        assert_eq!(word(&silence, SECOND, false, 5_401), "lost");
    }

    #[test]
    fn a_pardon_gives_the_whole_time_again_and_teaches_nothing() {
        let mut silence = steady();
        silence.pardon(40_000, |_| false);
        assert_eq!(word(&silence, FIRST, false, 40_001), "lost", "another was pardoned");
        silence.pardon(40_000, |pardoned| *pardoned == key());
        assert_eq!(word(&silence, FIRST, false, 41_400), "well");
        assert_eq!(word(&silence, FIRST, false, 41_700), "suspected");
        assert_eq!(
            silence.since_heard(&key(), &start(FIRST), 40_001),
            Some(10_001),
            "a pardon is no sign of life"
        );
        silence.heard(&key(), &start(FIRST), 42_000);
        for n in 43..=70 {
            silence.heard(&key(), &start(FIRST), n * 1_000);
        }
        assert_eq!(word(&silence, FIRST, false, 71_700), "suspected", "its rhythm is what it was");
    }
}
