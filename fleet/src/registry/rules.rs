//! Which rules there are, and which goes by default.

use super::Registry;
use crate::balance::{Method, Rule};
use std::sync::Arc;
use synod_protocol::Capability;

/// Rules in all.
const LIMIT: usize = 64;

/// What cannot be done about a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// There is none of that name.
    #[error("rule {name:?} is not known; there are {known}")]
    NotKnown {
        /// What was asked for.
        name: String,
        /// Those that there are.
        known: String,
    },
    /// There is one of that name.
    #[error("there is a rule {name:?} already")]
    Known {
        /// What was to be added.
        name: &'static str,
    },
    /// There are too many.
    #[error("there are {LIMIT} rules already")]
    TooMany,
    /// It would draw nobody.
    #[error("rule {name:?} draws {draws} agents; it may draw 1 to {limit}", limit = crate::balance::DRAWS)]
    Draws {
        /// What was to be added.
        name: &'static str,
        /// How many it would draw.
        draws: u8,
    },
}

impl Registry {
    /// Adds a rule of the embedder's.
    ///
    /// # Errors
    /// [`RuleError::Known`], [`RuleError::TooMany`] beyond 64, [`RuleError::Draws`].
    pub fn add_rule(&mut self, rule: Arc<dyn Rule>) -> Result<(), RuleError> {
        let name = rule.name();
        if self.rule_number(name).is_some() {
            return Err(RuleError::Known { name });
        }
        if self.rules.len() >= LIMIT {
            return Err(RuleError::TooMany);
        }
        if let Method::Draw(draws) = rule.method()
            && !(1..=crate::balance::DRAWS).contains(&usize::from(draws))
        {
            return Err(RuleError::Draws { name, draws });
        }
        self.rules.push(rule);
        Ok(())
    }

    /// The names of all rules.
    pub fn rules(&self) -> impl Iterator<Item = &'static str> {
        self.rules.iter().map(|rule| rule.name())
    }

    /// The rule for tasks that name none, where their capability has none of its own; `least_connections` unless set.
    ///
    /// # Errors
    /// [`RuleError::NotKnown`].
    pub fn set_default_rule(&mut self, name: &str) -> Result<(), RuleError> {
        self.default_rule = self.known_rule(name)?;
        Ok(())
    }

    /// The rule for tasks of this capability that name none; `None`: as for all others.
    ///
    /// # Errors
    /// [`RuleError::NotKnown`].
    pub fn prefer_rule(&mut self, capability: &Capability, name: Option<&str>) -> Result<(), RuleError> {
        match name {
            Some(name) => {
                let rule = self.known_rule(name)?;
                self.preferred.insert(capability.clone(), rule);
            }
            None => {
                self.preferred.remove(capability);
            }
        }
        Ok(())
    }

    pub(super) fn known_rule(&self, name: &str) -> Result<usize, RuleError> {
        self.rule_number(name).ok_or_else(|| RuleError::NotKnown {
            name: name.to_owned(),
            known: self.rules().collect::<Vec<_>>().join(", "),
        })
    }

    fn rule_number(&self, name: &str) -> Option<usize> {
        self.rules.iter().position(|rule| rule.name() == name)
    }

    /// The one asked for by name; else the capability's; else the default.
    pub(super) fn rule_for(&self, name: Option<&str>, capability: &Capability) -> usize {
        let named = name.and_then(|name| self.rule_number(name));
        named.or_else(|| self.preferred.get(capability).copied()).unwrap_or(self.default_rule)
    }
}
