//! What an agent has of each resource, and what of it is in use.

use std::collections::BTreeMap;

/// Amounts by name, in millionths, so that what is taken and given back leaves nothing behind.
pub(super) type Load = BTreeMap<String, u128>;

/// In millionths; below none is none. `None`: no number.
fn millionths(amount: f64) -> Option<u128> {
    // A cast stops at the ends of its type.
    (!amount.is_nan()).then(|| (amount * 1e6).round() as u128)
}

/// What an attempt takes; what is no number takes nothing.
pub(super) fn load_of(resources: &BTreeMap<String, f64>) -> Load {
    resources.iter().filter_map(|(name, amount)| Some((name.clone(), millionths(*amount)?))).collect()
}

#[derive(Clone, Debug, Default)]
pub(super) struct Stock {
    kinds: BTreeMap<String, Kind>,
    dominant: f64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Kind {
    has: Option<u128>,
    used: u128,
}

impl Kind {
    /// The share in use, 0 to 1.
    fn share(self, used: u128) -> f64 {
        let has = self.has.unwrap_or(0);
        match used {
            0 => 0.0,
            used if used >= has => 1.0,
            used => used as f64 / has as f64,
        }
    }
}

impl Stock {
    /// What the agent now says it has; what is in use stays in use. What is no number is not there.
    pub(super) fn set(&mut self, resources: &BTreeMap<String, f64>) {
        for kind in self.kinds.values_mut() {
            kind.has = None;
        }
        for (name, has) in load_of(resources) {
            self.kinds.entry(name).or_default().has = Some(has);
        }
        self.kinds.retain(|_, kind| kind.has.is_some() || kind.used > 0);
        self.weigh();
    }

    pub(super) fn take(&mut self, load: &Load) {
        for (name, amount) in load {
            let kind = self.kinds.entry(name.clone()).or_default();
            kind.used = kind.used.saturating_add(*amount);
        }
        self.weigh();
    }

    pub(super) fn give_back(&mut self, load: &Load) {
        for (name, amount) in load {
            if let Some(kind) = self.kinds.get_mut(name) {
                kind.used = kind.used.saturating_sub(*amount);
            }
        }
        self.kinds.retain(|_, kind| kind.has.is_some() || kind.used > 0);
        self.weigh();
    }

    /// The greatest share in use, 0 to 1.
    pub(super) fn dominant(&self) -> f64 {
        self.dominant
    }

    /// The greatest share that would be in use with this; `None` if it does not fit, is not all there, or is no number.
    pub(super) fn with(&self, resources: &BTreeMap<String, f64>) -> Option<f64> {
        let mut dominant = self.dominant;
        for (name, amount) in resources {
            let kind = self.kinds.get(name)?;
            let (has, more) = (kind.has?, millionths(*amount)?);
            let used = kind.used.saturating_add(more);
            if more > 0 && used > has {
                return None;
            }
            dominant = dominant.max(kind.share(used));
        }
        Some(dominant)
    }

    fn weigh(&mut self) {
        self.dominant = self.kinds.values().map(|kind| kind.share(kind.used)).fold(0.0, f64::max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(of: &[(&str, f64)]) -> BTreeMap<String, f64> {
        of.iter().map(|(name, amount)| ((*name).to_owned(), *amount)).collect()
    }

    #[test]
    fn what_is_taken_and_given_back_leaves_nothing_behind() {
        let mut stock = Stock::default();
        stock.set(&amounts(&[("gpu", 1.0), ("mem", 0.3)]));
        let loads = [0.1, 0.2].map(|mem| load_of(&amounts(&[("mem", mem)])));
        loads.iter().for_each(|load| stock.take(load));
        assert_eq!(stock.dominant(), 1.0);
        assert_eq!(stock.with(&amounts(&[("mem", 1e-6)])), None);
        loads.iter().for_each(|load| stock.give_back(load));
        assert_eq!(stock.dominant(), 0.0);
        assert_eq!(stock.with(&amounts(&[("mem", 0.3), ("gpu", 0.5)])), Some(1.0));
    }

    #[test]
    fn what_fits_is_what_is_there_and_free() {
        let mut stock = Stock::default();
        let all =
            amounts(&[("a", 4.0), ("zero", 0.0), ("nan", f64::NAN), ("less", -1.0), ("inf", f64::INFINITY)]);
        stock.set(&all);
        let check = |name: &str, amount, fits: Option<f64>| {
            assert_eq!(stock.with(&amounts(&[(name, amount)])), fits, "{name} {amount}");
        };
        check("a", 1.0, Some(0.25));
        check("a", 4.0, Some(1.0));
        check("a", 4.1, None);
        check("a", -7.0, Some(0.0));
        check("a", f64::NAN, None);
        check("a", f64::INFINITY, None);
        check("b", 0.0, None);
        check("zero", 0.0, Some(0.0));
        check("zero", 0.1, None);
        check("nan", 0.0, None);
        check("less", 0.0, Some(0.0));
        check("less", 1.0, None);
        check("inf", 1e30, Some(1e36 / u128::MAX as f64));
    }

    #[test]
    fn what_is_in_use_stays_so_when_it_is_no_longer_offered() {
        let mut stock = Stock::default();
        stock.set(&amounts(&[("a", 4.0)]));
        let load = load_of(&amounts(&[("a", 1.0)]));
        stock.take(&load);
        stock.set(&amounts(&[]));
        assert_eq!((stock.dominant(), stock.with(&amounts(&[("a", 0.0)]))), (1.0, None));
        stock.set(&amounts(&[("a", 2.0)]));
        assert_eq!(stock.dominant(), 0.5);
        stock.set(&amounts(&[]));
        stock.give_back(&load);
        assert_eq!((stock.dominant(), stock.kinds.len()), (0.0, 0));
    }
}
