//! What one coordinator alone thinks of a process start, until the ledger says so or it shows itself again.

use std::collections::BTreeMap;
use synod_protocol::view::Health;

/// What a doubt rests on; each is raised and dropped by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// Its presence subscription is missing.
    Absence,
    /// Its heartbeats are.
    Silence,
    /// It goes on with work past its time limit.
    Hung,
}

/// A doubt and its evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// Its work goes to others; else it only gets no more.
    pub lost: bool,
    /// When it arose, in milliseconds of the caller's monotonic time.
    pub since_ms: u64,
    /// The evidence, in words.
    pub why: String,
}

/// All doubts about one process start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doubts {
    by_cause: BTreeMap<Cause, Doubt>,
}

impl Doubts {
    /// Raises a doubt, or drops it. Returns whether the worst is another by that: whom to choose and what to take back
    /// depends on it.
    pub fn set(&mut self, cause: Cause, doubt: Option<Doubt>) -> bool {
        let before = self.lost();
        match doubt {
            Some(doubt) => self.by_cause.insert(cause, doubt),
            None => self.by_cause.remove(&cause),
        };
        before != self.lost()
    }

    /// The doubt of this cause.
    pub fn of(&self, cause: Cause) -> Option<&Doubt> {
        self.by_cause.get(&cause)
    }

    /// The worst of them, the first cause among equals.
    pub fn worst(&self) -> Option<&Doubt> {
        self.by_cause.values().find(|doubt| doubt.lost).or_else(|| self.by_cause.values().next())
    }

    fn lost(&self) -> Option<bool> {
        self.worst().map(|doubt| doubt.lost)
    }

    /// Its health, which by the ledger is this.
    pub fn health(&self, durable: Health) -> Health {
        match self.lost() {
            Some(true) => Health::Lost,
            Some(false) if durable == Health::Healthy => Health::Suspected,
            _ => durable,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_counts_and_each_cause_is_its_own() {
        let doubt = |lost, why: &str| Some(Doubt { lost, since_ms: 1, why: why.into() });
        let mut doubts = Doubts::default();
        assert_eq!(doubts.health(Health::Healthy), Health::Healthy);
        assert!(doubts.set(Cause::Silence, doubt(false, "silent")));
        assert!(!doubts.set(Cause::Hung, doubt(false, "hung")));
        assert_eq!(doubts.health(Health::Healthy), Health::Suspected);
        assert_eq!(doubts.health(Health::Draining), Health::Draining);
        assert_eq!(doubts.worst().map(|d| d.why.as_str()), Some("silent"));
        assert!(doubts.set(Cause::Hung, doubt(true, "hung")));
        assert_eq!(
            (doubts.health(Health::Draining), doubts.worst().unwrap().why.as_str()),
            (Health::Lost, "hung")
        );
        assert!(doubts.set(Cause::Hung, None));
        assert!(doubts.of(Cause::Hung).is_none() && doubts.of(Cause::Silence).is_some());
        assert!(doubts.set(Cause::Silence, None));
        assert_eq!(doubts, Doubts::default());
    }
}
