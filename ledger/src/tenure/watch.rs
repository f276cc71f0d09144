//! Who is live, by his lease and by what was seen of his process.
//!
//! A lease that stands may be a dead process' last one. Its presence ends with the process, milliseconds later;
//! where besides the lease is not renewed any more, the rest of it need not be waited for. Presence alone says
//! little (a connection may break), a late renewal alone as well (a machine may be busy).

use super::table::{Table, Terms};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::Id;

/// Absences in a row that are believed.
const LOOKS: u32 = 2;

/// What was seen of everyone over time.
#[derive(Clone, Debug, Default)]
pub(super) struct Watch {
    seen: BTreeMap<Id, Seen>,
    /// The server and our connection to it at the last look.
    looked_through: Option<(String, u64)>,
}

#[derive(Clone, Debug)]
struct Seen {
    holder: String,
    beat: u64,
    changed_ms: u64,
    absent_looks: u32,
}

impl Watch {
    /// Takes in a table and says who is live besides `me`.
    pub(super) fn live(&mut self, table: &Table, me: &Id, terms: &Terms) -> BTreeSet<Id> {
        let through = Some((table.run_id.clone(), table.connection));
        // After a restart or a reconnect they may just not be back yet.
        let looks_compare = std::mem::replace(&mut self.looked_through, through.clone()) == through;
        self.seen.retain(|id, _| table.rows.iter().any(|row| row.id == *id));
        let mut live = BTreeSet::new();
        for row in table.rows.iter().filter(|row| row.id != *me) {
            let new = || Seen {
                holder: row.holder.clone(),
                beat: row.beat,
                changed_ms: table.at_ms,
                absent_looks: 0,
            };
            let seen = self.seen.entry(row.id.clone()).or_insert_with(new);
            if (&seen.holder, seen.beat) != (&row.holder, row.beat) {
                *seen = new();
            }
            seen.absent_looks = match row.present {
                Some(false) if looks_compare => seen.absent_looks + 1,
                Some(false) => 1,
                _ => 0,
            };
            let silent_ms = table.at_ms.saturating_sub(seen.changed_ms);
            if seen.absent_looks < LOOKS || silent_ms < 2 * terms.renew_ms {
                live.insert(row.id.clone());
            }
        }
        live
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tenure::Row;

    /// Looks at one other, at these times: (ms, server, connection, beat, present). Whether it is live after each.
    #[track_caller]
    fn check(what: &str, looks: &[(u64, &str, u64, u64, bool)], want: &[bool]) {
        let (me, other): (Id, Id) = ("me".parse().unwrap(), "other".parse().unwrap());
        let mut watch = Watch::default();
        let mut live = Vec::new();
        for (at_ms, run_id, connection, beat, present) in looks {
            let row = Row {
                id: other.clone(),
                holder: "h".into(),
                address: "o:1".into(),
                takes: true,
                held: BTreeSet::new(),
                serving: BTreeSet::new(),
                beat: *beat,
                present: Some(*present),
            };
            let (run_id, era) = ((*run_id).to_owned(), String::new());
            let table =
                Table { at_ms: *at_ms, run_id, connection: *connection, era, age_ms: 0, rows: vec![row] };
            live.push(watch.live(&table, &me, &Terms::default()).contains(&other));
        }
        assert_eq!(live, want, "{what}");
    }

    #[test]
    fn dead_is_absent_twice_and_silent() {
        check(
            "killed",
            &[
                (0, "s", 1, 7, true),
                (150, "s", 1, 7, false),
                (700, "s", 1, 7, false),
                (800, "s", 1, 7, false),
            ],
            &[true, true, true, false],
        );
        check("silent but there: starved", &[(0, "s", 1, 7, true), (1_500, "s", 1, 7, true)], &[true, true]);
        check(
            "absent but renewing: its connection broke",
            &[
                (0, "s", 1, 7, true),
                (500, "s", 1, 8, false),
                (900, "s", 1, 9, false),
                (1_300, "s", 1, 10, false),
            ],
            &[true; 4],
        );
        check("one look is none", &[(0, "s", 1, 7, true), (900, "s", 1, 7, false)], &[true, true]);
        check(
            "we have connected anew",
            &[(0, "s", 1, 7, true), (900, "s", 1, 7, false), (1_000, "s", 2, 7, false)],
            &[true; 3],
        );
        check(
            "the server is another",
            &[(0, "s", 1, 7, true), (900, "s", 1, 7, false), (1_000, "t", 1, 7, false)],
            &[true; 3],
        );
        check(
            "back again",
            &[(0, "s", 1, 7, false), (900, "s", 1, 7, false), (1_000, "s", 1, 8, true)],
            &[true, false, true],
        );
    }
}
