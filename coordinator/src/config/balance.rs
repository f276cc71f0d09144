//! By which rules agents are chosen where a task does not say.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use synod_fleet::balance::Rule;
use synod_fleet::{Registry, RuleError};
use synod_protocol::Capability;

/// The rule by default, those of single capabilities, and rules of the embedder's own.
///
/// As text: `performance`, or `performance, translate=round_robin, ocr=resources`.
#[derive(Clone, Debug, Default)]
pub struct Balance {
    /// For tasks that name none; `least_connections` if this does not.
    pub by_default: Option<String>,
    /// For tasks that name none, by what they need.
    pub by_capability: BTreeMap<Capability, String>,
    /// Rules besides those that come with Synod; a task names one as its `strategy`.
    pub more: Vec<Arc<dyn Rule>>,
}

impl Balance {
    /// An empty registry that chooses so.
    ///
    /// # Errors
    /// A rule that is not known, or is known twice.
    pub fn registry(&self) -> Result<Registry, RuleError> {
        let mut registry = Registry::default();
        for rule in &self.more {
            registry.add_rule(rule.clone())?;
        }
        if let Some(name) = &self.by_default {
            registry.set_default_rule(name)?;
        }
        for (capability, name) in &self.by_capability {
            registry.prefer_rule(capability, Some(name))?;
        }
        Ok(registry)
    }
}

impl FromStr for Balance {
    type Err = String;

    fn from_str(text: &str) -> Result<Balance, String> {
        let mut balance = Balance::default();
        for part in text.split(',').map(str::trim) {
            match part.split_once('=') {
                Some((capability, rule)) => {
                    let capability = capability.trim().parse::<Capability>().map_err(|e| e.to_string())?;
                    if balance.by_capability.insert(capability.clone(), rule.trim().to_owned()).is_some() {
                        return Err(format!("capability {capability} has two rules"));
                    }
                }
                None if balance.by_default.is_some() => {
                    return Err(format!(
                        "{part:?} would be a second rule by default; `capability=rule` names one for a capability"
                    ));
                }
                None => balance.by_default = Some(part.to_owned()),
            }
        }
        balance.registry().map_err(|e| e.to_string())?;
        Ok(balance)
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.by_default.as_deref().unwrap_or(synod_fleet::LEAST_CONNECTIONS))?;
        self.by_capability.iter().try_for_each(|(capability, rule)| write!(f, ", {capability}={rule}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_named_by_default_and_by_capability() {
        let text = "performance, ocr=resources, translate=round_robin";
        assert_eq!(text.parse::<Balance>().unwrap().to_string(), text);
        assert_eq!("ocr=random".parse::<Balance>().unwrap().to_string(), "least_connections, ocr=random");
        for (text, why) in [
            ("fastest", "rule \"fastest\" is not known; there are least_connections,"),
            ("random, performance", "second rule by default"),
            ("a=random,a=random", "has two rules"),
            ("A!=random", "capability"),
            ("", "rule \"\" is not known"),
        ] {
            let error = text.parse::<Balance>().unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
