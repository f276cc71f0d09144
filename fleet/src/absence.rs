//! Loss by absence: whose process has ended, told by a subscription that it held.
//!
//! A killed process drops its subscription within milliseconds; a reconnecting one is back soon. So absence on two
//! looks is a suspicion, and a longer one, without any heartbeat meanwhile, a loss. An absence says something only of who
//! was seen present before by the same connection to the same server, and nothing while most vanish at once: then it is
//! the server or the network, and the silence of heartbeats has to judge.
//!
//! ```text
//! a look --look()--> away since … --verdicts()--> Suspected (two looks) --> Lost (lost_after_ms)
//! ```

use crate::AgentKey;
use std::collections::BTreeMap;
use synod_protocol::Incarnation;

/// When an absence says what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbsenceTerms {
    /// Milliseconds of absence, without a heartbeat meanwhile, after which an agent is lost; 200 by default.
    pub lost_after_ms: u64,
    /// Looks in a row that have to miss it before it is suspected; 2 by default.
    pub looks: u32,
    /// So many that vanish within [`AbsenceTerms::at_once_ms`], if they are more than half of those that were present,
    /// are not judged by their absence; 3 by default.
    pub many: usize,
    /// See [`AbsenceTerms::many`]; 250 by default.
    pub at_once_ms: u64,
    /// After a pause of our own of so many milliseconds absences are counted anew; 500 by default.
    pub pause_ms: u64,
}

impl Default for AbsenceTerms {
    fn default() -> AbsenceTerms {
        AbsenceTerms { lost_after_ms: 200, looks: 2, many: 3, at_once_ms: 250, pause_ms: 500 }
    }
}

/// What is to be thought of a process start now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Missed on several looks, the first so many milliseconds ago: no new work.
    Suspected {
        /// Looks that missed it.
        looks: u32,
        /// For so long.
        away_ms: u64,
    },
    /// Away for too long, without a heartbeat: its work goes to others.
    Lost {
        /// For so long, since its last heartbeat if one came meanwhile.
        away_ms: u64,
    },
}

/// What a look saw of a process start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sight {
    /// It is there.
    There,
    /// It is not; that means something if it was seen before.
    Absent,
    /// It is not, and is looked for for the first time; but when it came it said itself that it was there.
    Left,
}

/// One look at some agents.
#[derive(Clone, Copy, Debug)]
pub struct Looked<'a> {
    /// Which server answered: it draws this at its start.
    pub server: &'a str,
    /// Counts our connections to it.
    pub connection: u64,
    /// Who was looked for, and what was seen of that process start.
    pub agents: &'a [(AgentKey, Incarnation, Sight)],
}

/// Who is present, and since when the others are not. At most one entry for each agent that is looked for.
#[derive(Debug, Default)]
pub struct Absence {
    terms: AbsenceTerms,
    seen_by: Option<(String, u64)>,
    looked_ms: u64,
    known: BTreeMap<AgentKey, Known>,
    away: BTreeMap<AgentKey, Away>,
    /// How many of `known` were seen present by this connection and are not lost.
    here: usize,
}

#[derive(Debug)]
struct Known {
    incarnation: Incarnation,
    /// Seen present by this connection, so that its absence means something.
    here: bool,
    told: Told,
}

/// The worst that was said of it since it was last present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Told {
    Nothing,
    Suspected,
    Lost,
}

#[derive(Clone, Copy, Debug)]
struct Away {
    first_ms: u64,
    looks: u32,
    /// It vanished together with most: only its heartbeats judge it.
    with_most: bool,
}

impl Absence {
    /// Judges by these terms.
    pub fn new(terms: AbsenceTerms) -> Absence {
        Absence { terms, ..Absence::default() }
    }

    /// Takes a look in; who is back by it.
    pub fn look(&mut self, now_ms: u64, look: &Looked<'_>) -> Vec<(AgentKey, Incarnation)> {
        self.begin(now_ms, look);
        let mut back = Vec::new();
        for (key, incarnation, sight) in look.agents {
            let new = || Known { incarnation: incarnation.clone(), here: false, told: Told::Nothing };
            let known = self.known.entry(key.clone()).or_insert_with(new);
            if known.incarnation != *incarnation {
                self.here -= usize::from(known.here);
                self.away.remove(key);
                *known = new();
            }
            if *sight != Sight::Absent {
                self.here += usize::from(!known.here);
                known.here = true;
            }
            if *sight == Sight::There {
                self.away.remove(key);
                if std::mem::replace(&mut known.told, Told::Nothing) != Told::Nothing {
                    back.push((key.clone(), incarnation.clone()));
                }
            } else if known.here {
                let new = Away { first_ms: now_ms, looks: 0, with_most: false };
                let away = self.away.entry(key.clone()).or_insert(new);
                away.looks = away.looks.saturating_add(1);
            }
        }
        self.mark_most(now_ms);
        back
    }

    /// Another server or connection has seen nobody yet; after a pause of our own absences are counted anew.
    fn begin(&mut self, now_ms: u64, look: &Looked<'_>) {
        let paused = now_ms.saturating_sub(self.looked_ms) >= self.terms.pause_ms;
        self.looked_ms = now_ms;
        let same = self
            .seen_by
            .as_ref()
            .is_some_and(|(server, connection)| server == look.server && *connection == look.connection);
        if paused || !same {
            self.away.clear();
        }
        if !same {
            self.seen_by = Some((look.server.to_owned(), look.connection));
            self.known.values_mut().for_each(|known| known.here = false);
            self.here = 0;
        }
    }

    fn mark_most(&mut self, now_ms: u64) {
        let from_ms = now_ms.saturating_sub(self.terms.at_once_ms);
        let vanished = self.away.values().filter(|away| away.first_ms >= from_ms).count();
        if vanished >= self.terms.many && 2 * vanished > self.here {
            self.away
                .values_mut()
                .filter(|away| away.first_ms >= from_ms)
                .for_each(|away| away.with_most = true);
        }
    }

    /// Who is away just now, whatever that means: to be looked for again soon.
    pub fn away(&self) -> impl Iterator<Item = (&AgentKey, &Incarnation)> {
        self.away.keys().filter_map(|key| Some((key, &self.known.get(key)?.incarnation)))
    }

    /// Of how many who are away nothing is said, because most vanished with them.
    pub fn with_most(&self) -> usize {
        self.away.values().filter(|away| away.with_most).count()
    }

    /// What follows from the looks so far, each verdict once. `heard_ms`: when a heartbeat of a process start was last
    /// found to have come.
    pub fn verdicts(
        &mut self,
        now_ms: u64,
        heard_ms: impl Fn(&AgentKey, &Incarnation) -> Option<u64>,
    ) -> Vec<(AgentKey, Incarnation, Verdict)> {
        let mut verdicts = Vec::new();
        for (key, away) in &self.away {
            let Some(known) = self.known.get_mut(key).filter(|_| !away.with_most) else { continue };
            if away.looks < self.terms.looks {
                continue;
            }
            let from_ms = heard_ms(key, &known.incarnation).unwrap_or(0).max(away.first_ms);
            let away_ms = now_ms.saturating_sub(from_ms);
            let verdict = if away_ms >= self.terms.lost_after_ms {
                (Told::Lost, Verdict::Lost { away_ms })
            } else {
                (Told::Suspected, Verdict::Suspected { looks: away.looks, away_ms })
            };
            if verdict.0 > known.told {
                known.told = verdict.0;
                verdicts.push((key.clone(), known.incarnation.clone(), verdict.1));
            }
        }
        for (key, _, _) in verdicts.iter().filter(|(_, _, verdict)| matches!(verdict, Verdict::Lost { .. })) {
            // Looked for on: its presence would be news, its absence is none.
            self.away.remove(key);
            if let Some(known) = self.known.get_mut(key) {
                self.here -= usize::from(known.here);
                known.here = false;
            }
        }
        verdicts
    }

    /// Looks for it no more.
    pub fn forget(&mut self, key: &AgentKey) {
        self.away.remove(key);
        if let Some(known) = self.known.remove(key) {
            self.here -= usize::from(known.here);
        }
    }

    /// Looks for these alone.
    pub fn retain(&mut self, is_wanted: impl Fn(&AgentKey) -> bool) {
        let gone: Vec<AgentKey> = self.known.keys().filter(|key| !is_wanted(key)).cloned().collect();
        gone.iter().for_each(|key| self.forget(key));
    }

    /// How many agents are known here.
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether nobody is.
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10";
    const SECOND: &str = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c11";

    fn sight(there: bool) -> Sight {
        if there { Sight::There } else { Sight::Absent }
    }

    fn key(n: usize) -> AgentKey {
        AgentKey { workspace: "w".parse().unwrap(), agent: format!("a{n}").parse().unwrap() }
    }

    /// Looks at agents 0 to `present.len()`, then what is said: `(agent, word)`.
    fn look(
        absence: &mut Absence,
        now_ms: u64,
        connection: u64,
        present: &[bool],
    ) -> Vec<(String, &'static str)> {
        look_at(absence, now_ms, connection, present, FIRST, None)
    }

    fn look_at(
        absence: &mut Absence,
        now_ms: u64,
        connection: u64,
        present: &[bool],
        start: &str,
        heard_ms: Option<u64>,
    ) -> Vec<(String, &'static str)> {
        let agents: Vec<_> = present
            .iter()
            .enumerate()
            .map(|(n, there)| (key(n), start.parse().unwrap(), sight(*there)))
            .collect();
        let back = absence.look(now_ms, &Looked { server: "s", connection, agents: &agents });
        let said = absence.verdicts(now_ms, |_, _| heard_ms);
        let word = |verdict: &Verdict| match verdict {
            Verdict::Suspected { .. } => "suspected",
            Verdict::Lost { .. } => "lost",
        };
        let back = back.iter().map(|(key, _)| (key.agent.to_string(), "back"));
        back.chain(said.iter().map(|(key, _, verdict)| (key.agent.to_string(), word(verdict)))).collect()
    }

    fn of(words: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
        words.iter().map(|(agent, word)| ((*agent).to_owned(), *word)).collect()
    }

    #[test]
    fn who_is_missed_twice_is_suspected_and_lost_when_the_time_is_over() {
        let mut absence = Absence::default();
        assert_eq!(look(&mut absence, 0, 1, &[true, true]), []);
        assert_eq!(look(&mut absence, 25, 1, &[false, true]), [], "missed once");
        assert_eq!(look(&mut absence, 50, 1, &[false, true]), of(&[("a0", "suspected")]));
        assert_eq!(look(&mut absence, 224, 1, &[false, true]), [], "said once");
        assert_eq!(look(&mut absence, 225, 1, &[false, true]), of(&[("a0", "lost")]));
        assert_eq!(look(&mut absence, 1_000, 1, &[false, true]), []);
        assert_eq!(look(&mut absence, 1_025, 1, &[true, true]), of(&[("a0", "back")]));
        assert_eq!(look(&mut absence, 1_050, 1, &[true, true]), []);
    }

    #[test]
    fn a_reconnect_is_no_loss() {
        let mut absence = Absence::default();
        look(&mut absence, 0, 1, &[true]);
        assert_eq!(look(&mut absence, 25, 1, &[false]), []);
        assert_eq!(look(&mut absence, 50, 1, &[false]), of(&[("a0", "suspected")]));
        assert_eq!(look(&mut absence, 200, 1, &[true]), of(&[("a0", "back")]));
        assert_eq!(look(&mut absence, 300, 1, &[false]), [], "it begins anew");
    }

    #[test]
    fn a_heartbeat_gives_the_whole_time_again() {
        let mut absence = Absence::default();
        look(&mut absence, 0, 1, &[true]);
        look(&mut absence, 25, 1, &[false]);
        assert_eq!(
            look_at(&mut absence, 230, 1, &[false], FIRST, Some(25)),
            of(&[("a0", "lost")]),
            "heard before"
        );
        let mut absence = Absence::default();
        look(&mut absence, 0, 1, &[true]);
        look(&mut absence, 25, 1, &[false]);
        assert_eq!(look_at(&mut absence, 230, 1, &[false], FIRST, Some(100)), of(&[("a0", "suspected")]));
        assert_eq!(look_at(&mut absence, 299, 1, &[false], FIRST, Some(100)), []);
        assert_eq!(look_at(&mut absence, 300, 1, &[false], FIRST, Some(100)), of(&[("a0", "lost")]));
    }

    #[test]
    fn who_ends_before_the_first_look_is_missed_by_its_own_word() {
        let at = |absence: &mut Absence, now_ms, sight| {
            let agents = [(key(0), FIRST.parse().unwrap(), sight)];
            absence.look(now_ms, &Looked { server: "s", connection: 1, agents: &agents });
            absence
                .verdicts(now_ms, |_, _| None)
                .into_iter()
                .map(|(_, _, verdict)| verdict)
                .collect::<Vec<_>>()
        };
        let mut absence = Absence::default();
        assert_eq!(at(&mut absence, 0, Sight::Left), [], "missed once");
        assert_eq!(at(&mut absence, 25, Sight::Absent), [Verdict::Suspected { looks: 2, away_ms: 25 }]);
        assert_eq!(at(&mut absence, 200, Sight::Absent), [Verdict::Lost { away_ms: 200 }]);
    }

    #[test]
    fn absence_means_nothing_of_who_was_not_seen_by_the_same_connection() {
        let mut absence = Absence::default();
        for now_ms in [0, 25, 50, 400] {
            assert_eq!(look(&mut absence, now_ms, 1, &[false]), [], "never there");
        }
        look(&mut absence, 425, 1, &[true]);
        look(&mut absence, 450, 1, &[false]);
        for now_ms in [475, 500, 900] {
            assert_eq!(look(&mut absence, now_ms, 2, &[false]), [], "another connection");
        }
        assert_eq!(look(&mut absence, 925, 2, &[true]), []);
        look(&mut absence, 950, 2, &[false]);
        assert_eq!(look(&mut absence, 975, 2, &[false]), of(&[("a0", "suspected")]));
    }

    #[test]
    fn most_at_once_is_not_judged_until_they_are_back() {
        let mut absence = Absence::default();
        look(&mut absence, 0, 1, &[true; 6]);
        let most = [false, false, false, false, true, true];
        for now_ms in [25, 50, 300, 5_000, 5_025] {
            assert_eq!(look(&mut absence, now_ms, 1, &most), [], "at {now_ms}");
        }
        assert_eq!(absence.away().count(), 4);
        look(&mut absence, 5_050, 1, &[true; 6]);
        let half = [false, false, false, true, true, true];
        look(&mut absence, 5_075, 1, &half);
        assert_eq!(look(&mut absence, 5_300, 1, &half).len(), 3, "half are not most");
        let mut absence = Absence::default();
        look(&mut absence, 0, 1, &[true; 2]);
        look(&mut absence, 25, 1, &[false; 2]);
        assert_eq!(look(&mut absence, 230, 1, &[false; 2]).len(), 2, "two are not many");
    }

    #[test]
    fn one_after_another_is_not_at_once() {
        let mut absence = Absence::default();
        look(&mut absence, 0, 1, &[true; 5]);
        let mut lost = 0;
        for gone in 1..=5 {
            let present: Vec<bool> = (0..5).map(|n| n >= gone).collect();
            for step in 0..60 {
                let said = look(&mut absence, gone as u64 * 1_500 + step * 25, 1, &present);
                lost += said.iter().filter(|(_, word)| *word == "lost").count();
            }
        }
        assert_eq!(lost, 5);
    }

    #[test]
    fn our_own_pause_says_nothing_of_them() {
        let mut absence = Absence::default();
        look(&mut absence, 0, 1, &[true]);
        look(&mut absence, 25, 1, &[false]);
        assert_eq!(look(&mut absence, 600, 1, &[false]), [], "counted anew");
        assert_eq!(look(&mut absence, 625, 1, &[false]), of(&[("a0", "suspected")]));
    }

    #[test]
    fn another_process_start_begins_anew() {
        let mut absence = Absence::default();
        look(&mut absence, 0, 1, &[true]);
        look(&mut absence, 25, 1, &[false]);
        for now_ms in [50, 75, 400] {
            assert_eq!(look_at(&mut absence, now_ms, 1, &[false], SECOND, None), [], "not seen yet");
        }
        assert_eq!((absence.here, absence.away.len()), (0, 0));
        absence.forget(&key(0));
        assert!(absence.is_empty());
    }
}
