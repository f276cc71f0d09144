//! Retries held back: those whose back-off is over, and for which there is no room yet.
//!
//! Of each capability in a workspace only so many attempts may be retries ([`Budget`]), so that a fleet which struggles is not
//! given several times the work that broke it. Beside the state, like the queue: a new owner's budgets begin full.

use crate::state::TaskKey;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use synod_fleet::retry::{Budget, BudgetSettings};
use synod_protocol::{Capability, Workspace};

/// Budgets that are kept; beyond that those with nobody held back begin anew.
const KEPT: usize = 10_000;

/// Whose retries count together; tasks that name their agent have one budget in a workspace.
type Scope = (Workspace, Option<Capability>);

#[derive(Debug)]
pub(crate) struct Retries {
    settings: BudgetSettings,
    budgets: BTreeMap<Scope, Budget>,
    held: BTreeMap<Scope, VecDeque<TaskKey>>,
    who: BTreeSet<TaskKey>,
}

impl Retries {
    pub(crate) fn new(settings: BudgetSettings) -> Retries {
        Retries { settings, budgets: BTreeMap::new(), held: BTreeMap::new(), who: BTreeSet::new() }
    }

    /// A first attempt was given.
    pub(crate) fn first(&mut self, key: &TaskKey, capability: Option<&Capability>, now_ms: u64) {
        if let Some(budget) = self.budget(&(key.workspace.clone(), capability.cloned()), now_ms) {
            budget.deposit(now_ms);
        }
    }

    /// A back-off is over.
    pub(crate) fn hold(&mut self, key: TaskKey, capability: Option<&Capability>) {
        if self.who.insert(key.clone()) {
            let scope = (key.workspace.clone(), capability.cloned());
            self.held.entry(scope).or_default().push_back(key);
        }
    }

    /// It waits no longer, or has not to be held back.
    pub(crate) fn forget(&mut self, key: &TaskKey) {
        self.who.remove(key);
    }

    /// Whether it is held back.
    pub(crate) fn holds(&self, key: &TaskKey) -> bool {
        self.who.contains(key)
    }

    /// Those for which there is room now, the longest held of each scope first. Who does not wait any more takes no room.
    pub(crate) fn let_go(&mut self, now_ms: u64, waits: impl Fn(&TaskKey) -> bool) -> Vec<TaskKey> {
        let mut gone = Vec::new();
        let scopes: Vec<Scope> = self.held.keys().cloned().collect();
        for scope in scopes {
            let Some(mut held) = self.held.remove(&scope) else { continue };
            while let Some(key) = held.front() {
                if waits(key) && !self.budget(&scope, now_ms).is_none_or(|budget| budget.withdraw(now_ms)) {
                    break;
                }
                if let Some(key) = held.pop_front() {
                    self.who.remove(&key);
                    gone.push(key);
                }
            }
            if !held.is_empty() {
                self.held.insert(scope, held);
            }
        }
        gone
    }

    /// `None`: settings that are none, which limit nothing.
    fn budget(&mut self, scope: &Scope, now_ms: u64) -> Option<&mut Budget> {
        if !self.budgets.contains_key(scope) {
            if self.budgets.len() >= KEPT {
                self.budgets.retain(|known, _| self.held.contains_key(known));
            }
            let budget = Budget::new(self.settings, now_ms).ok()?;
            self.budgets.insert(scope.clone(), budget);
        }
        self.budgets.get_mut(scope)
    }
}
