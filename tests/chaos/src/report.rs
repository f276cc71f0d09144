//! What is told of a run: a table for people, JSON for programs.

use crate::plan::Off;
use crate::record::Around;
use crate::scenarios::{Scale, Scenario};
use crate::stage::Outcome;
use crate::verify::Kind;
use comfy_table::{CellAlignment, Table, presets};
use serde::{Deserialize, Serialize};

/// One scenario's run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) scenario: Scenario,
    pub(crate) scale: Scale,
    /// The guard that was off: a control run.
    pub(crate) off: Option<Off>,
    pub(crate) outcome: Outcome,
    /// Time to go on in ms over all faults and shards; absent where none was measured.
    pub(crate) recovery: Option<Spread>,
    /// Shards that had to go on and did not.
    pub(crate) stuck: u64,
    /// What it was run on, and when.
    pub(crate) around: Around,
    /// Whether it came out as it should: nothing found, or something in a control run.
    pub(crate) is_right: bool,
}

/// Of many figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spread {
    pub(crate) count: usize,
    pub(crate) p50: u64,
    pub(crate) p99: u64,
    pub(crate) max: u64,
}

impl Spread {
    /// Nearest rank; `None` of nothing.
    pub(crate) fn of(mut figures: Vec<u64>) -> Option<Spread> {
        figures.sort_unstable();
        let max = *figures.last()?;
        let rank = |percent: usize| figures[(figures.len() * percent).div_ceil(100).max(1) - 1];
        Some(Spread { count: figures.len(), p50: rank(50), p99: rank(99), max })
    }
}

impl Told {
    pub(crate) fn new(
        scenario: Scenario,
        scale: Scale,
        off: Option<Off>,
        around: Around,
        outcome: Outcome,
    ) -> Told {
        let shards = || outcome.recoveries.iter().flat_map(|(_, shards)| shards);
        let recovery = Spread::of(shards().filter_map(|shard| shard.after_ms).collect());
        let stuck = shards().filter(|shard| shard.after_ms.is_none()).count() as u64;
        let clean = outcome.findings.is_clean();
        let is_right = if off.is_some() { !clean } else { clean && stuck == 0 };
        Told { scenario, scale, off, recovery, stuck, around, is_right, outcome }
    }
}

/// The table.
pub(crate) fn table(told: &[Told]) -> String {
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header([
        "scenario",
        "off",
        "s",
        "tasks",
        "completed",
        "faults",
        "lost",
        "doubled",
        "stale",
        "strange",
        "go on p50",
        "p99",
        "max ms",
        "stuck",
        "result",
    ]);
    for one in told {
        let findings = &one.outcome.findings;
        let spread = |figure: fn(&Spread) -> u64| {
            one.recovery.as_ref().map_or("-".to_owned(), |s| figure(s).to_string())
        };
        table.add_row([
            name(one.scenario),
            one.off.map_or(String::new(), |off| format!("{off:?}").to_lowercase()),
            format!("{:.0}", one.outcome.seconds),
            findings.accepted.to_string(),
            findings.ends.get("completed").copied().unwrap_or(0).to_string(),
            one.outcome.faults.to_string(),
            findings.of(Kind::Lost).to_string(),
            findings.of(Kind::Doubled).to_string(),
            findings.of(Kind::Stale).to_string(),
            findings.of(Kind::Strange).to_string(),
            spread(|s| s.p50),
            spread(|s| s.p99),
            spread(|s| s.max),
            one.stuck.to_string(),
            match (one.off.is_some(), one.is_right) {
                (false, true) => "clean",
                (false, false) => "WRONG",
                (true, true) => "red, as it should be",
                (true, false) => "NOT RED",
            }
            .to_owned(),
        ]);
    }
    for column in 2..14 {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// As on the command line.
pub(crate) fn name(scenario: Scenario) -> String {
    use clap::ValueEnum;
    scenario.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        let of = |figures: &[u64]| Spread::of(figures.to_vec()).map(|s| (s.p50, s.p99, s.max));
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[7]), Some((7, 7, 7)));
        assert_eq!(of(&(1..=200).rev().collect::<Vec<_>>()), Some((100, 198, 200)));
    }
}
