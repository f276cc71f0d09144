//! How tasks wait, as settings: quotas, limits and weights are lists such as `20,acme=5`.

use super::{Settings, Span};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;
use synod_fleet::queue;
use synod_fleet::retry::BudgetSettings;
use synod_ledger::Rules;
use synod_protocol::{Capability, Workspace};

/// The longest that a level of priority may be worth.
pub(super) const AGING_MOST: Duration = Duration::from_secs(366 * 86_400);
/// The most of anything in such a list.
const MOST: u32 = 1_000_000;
/// Entries that a list may have.
const ENTRIES: usize = 1_000;

/// How many of each: `none`, or entries as `name=4`, comma-separated; one without a name is for all that are not named.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Each<N: Ord> {
    /// For all that are not named.
    pub all: Option<u32>,
    /// For these.
    pub named: BTreeMap<N, u32>,
}

/// A capability, in one workspace (`acme/ocr`) or in each (`ocr`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Somewhere {
    workspace: Option<Workspace>,
    capability: Capability,
}

impl FromStr for Somewhere {
    type Err = String;

    fn from_str(text: &str) -> Result<Somewhere, String> {
        let (workspace, capability) = match text.split_once('/') {
            Some((workspace, capability)) => {
                (Some(workspace.parse().map_err(|e| format!("{workspace}: {e}"))?), capability)
            }
            None => (None, text),
        };
        let capability = capability.parse().map_err(|e| format!("{capability}: {e}"))?;
        Ok(Somewhere { workspace, capability })
    }
}

impl fmt::Display for Somewhere {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.workspace {
            Some(workspace) => write!(f, "{workspace}/{}", self.capability),
            None => write!(f, "{}", self.capability),
        }
    }
}

impl<N: Ord + fmt::Display> fmt::Display for Each<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.all.iter().map(u32::to_string);
        let named = self.named.iter().map(|(name, most)| format!("{name}={most}"));
        let entries: Vec<String> = all.chain(named).collect();
        f.write_str(if entries.is_empty() { "none" } else { "" })?;
        f.write_str(&entries.join(","))
    }
}

/// Reads such a list, of numbers from `least` on; `for_all`: whether one may be without a name.
pub(super) fn each<N: Ord + FromStr>(text: &str, least: u32, for_all: bool) -> Result<Each<N>, String>
where
    N::Err: fmt::Display,
{
    let mut each = Each { all: None, named: BTreeMap::new() };
    if text == "none" {
        return Ok(each);
    }
    for entry in text.split(',').map(str::trim) {
        let (name, number) = match entry.split_once('=') {
            Some((name, number)) => (Some(name.trim()), number.trim()),
            None => (None, entry),
        };
        let number = super::value::within(number, least, MOST).map_err(|why| format!("{entry:?}: {why}"))?;
        let before = match name {
            Some(name) => each.named.insert(name.parse().map_err(|why| format!("{entry:?}: {why}"))?, number),
            None if for_all => each.all.replace(number),
            None => return Err(format!("{entry:?}: a name and a number are wanted, as name=4; or none")),
        };
        if before.is_some() {
            return Err(format!("{entry:?}: it is said twice"));
        }
        if each.named.len() > ENTRIES {
            return Err(format!("at most {ENTRIES} entries are wanted"));
        }
    }
    Ok(each)
}

/// How many of the attempts may be retries, as `20% + 10/s`, or `unlimited`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RetryBudget(pub BudgetSettings);

impl FromStr for RetryBudget {
    type Err = String;

    fn from_str(text: &str) -> Result<RetryBudget, String> {
        if text == "unlimited" {
            return Ok(RetryBudget(BudgetSettings {
                ratio: 10.0,
                min_per_second: 100_000,
                ..BudgetSettings::default()
            }));
        }
        let wanted = || {
            format!(
                "a share of the first attempts and a rate are wanted, as 20% + 10/s, or unlimited; not {text:?}"
            )
        };
        let (share, rate) = text.split_once('+').ok_or_else(wanted)?;
        let share = share.trim().strip_suffix('%').and_then(|share| share.parse::<u32>().ok());
        let rate = rate.trim().strip_suffix("/s").and_then(|rate| rate.parse::<u32>().ok());
        let (share, rate) = share.zip(rate).ok_or_else(wanted)?;
        if share > 1_000 || rate > 100_000 {
            return Err("at most 1000% + 100000/s is wanted".to_owned());
        }
        let ratio = f64::from(share) / 100.0;
        Ok(RetryBudget(BudgetSettings { ratio, min_per_second: rate, ..BudgetSettings::default() }))
    }
}

impl fmt::Display for RetryBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let BudgetSettings { ratio, min_per_second, .. } = self.0;
        if min_per_second == 100_000 {
            return f.write_str("unlimited");
        }
        write!(f, "{:.0}% + {min_per_second}/s", ratio * 100.0)
    }
}

impl Settings {
    /// The rules by which tasks wait.
    pub fn rules(&self) -> Rules {
        let Span(aging) = self.aging.value;
        let aging_ms = u64::try_from(aging.unwrap_or(AGING_MOST).as_millis()).unwrap_or(u64::MAX);
        let (mut limits, mut limits_in) = (BTreeMap::new(), BTreeMap::new());
        for (Somewhere { workspace, capability }, most) in &self.limits.value.named {
            match workspace {
                Some(workspace) => limits_in.insert((workspace.clone(), capability.clone()), *most),
                None => limits.insert(capability.clone(), *most),
            };
        }
        Rules {
            queue: queue::Settings {
                aging_ms,
                waiting: self.waiting.value,
                waiting_per_workspace: self.waiting_per_workspace.value,
                per_key: self.per_key.value,
            },
            retries: self.retries.value.0,
            quota: self.quota.value.all,
            quotas: self.quota.value.named.clone(),
            limits,
            limits_in,
            weights: self.weights.value.named.clone(),
        }
    }
}
