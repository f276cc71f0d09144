//! The rules by which tasks wait: what each takes while it runs, how many there are of that, and whose turn it is.
//!
//! Settings, and no part of a shard's state: the same ledger folds to the same state under any rules. All coordinators of
//! a mesh must have the same, for the limits that hold across them are judged by each.

use crate::state::{Line, TaskKey};
use std::collections::BTreeMap;
use synod_fleet::queue::{Permit, Queue, Settings};
use synod_fleet::retry::BudgetSettings;
use synod_protocol::event::TaskSubmitted;
use synod_protocol::{Capability, Workspace};

/// The rules by which tasks wait. By default there is no limit but one task of each concurrency key at a time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    /// What a level of priority is worth, how many may wait, how many of one concurrency key may run.
    pub queue: Settings,
    /// Attempts of one workspace that may run at a time, where nothing else is said for it.
    pub quota: Option<u32>,
    /// The same for some workspaces.
    pub quotas: BTreeMap<Workspace, u32>,
    /// Attempts for a capability that may run at a time, in each workspace.
    pub limits: BTreeMap<Capability, u32>,
    /// The same in some workspaces.
    pub limits_in: BTreeMap<(Workspace, Capability), u32>,
    /// The weights of workspaces whose turn comes more than once in a round: 1 where nothing is said.
    pub weights: BTreeMap<Workspace, u32>,
    /// How many of the attempts may be retries, for each capability of a workspace in each shard.
    pub retries: BudgetSettings,
}

impl Rules {
    /// What a task takes while it runs: of those things alone of which there is a limit.
    pub fn permits(
        &self,
        workspace: &Workspace,
        capability: Option<&Capability>,
        task: &TaskSubmitted,
    ) -> Vec<Permit> {
        let mut permits = Vec::new();
        if self.quota.is_some() || self.quotas.contains_key(workspace) {
            permits.push(Permit::Workspace(workspace.clone()));
        }
        if let Some(capability) = capability
            && (self.limits.contains_key(capability)
                || self.limits_in.contains_key(&(workspace.clone(), capability.clone())))
        {
            permits.push(Permit::Capability(workspace.clone(), capability.clone()));
        }
        if let Some(key) = &task.concurrency_key {
            permits.push(Permit::Key(workspace.clone(), key.to_string()));
        }
        permits
    }

    /// How many there are of a permit; `None`: as many as are wanted.
    pub fn most(&self, permit: &Permit) -> Option<u32> {
        match permit {
            Permit::Workspace(workspace) => self.quotas.get(workspace).copied().or(self.quota),
            Permit::Capability(workspace, capability) => {
                let here = self.limits_in.get(&(workspace.clone(), capability.clone()));
                here.or_else(|| self.limits.get(capability)).copied()
            }
            Permit::Key(..) => Some(self.queue.per_key),
        }
    }

    /// An empty queue that keeps to these rules.
    pub(crate) fn queue(&self) -> Queue<Line, Try> {
        let mut queue = Queue::new(self.queue);
        for (workspace, weight) in &self.weights {
            queue.set_weight(workspace, *weight);
        }
        queue
    }
}

/// One attempt of a task, or the next one of a task that waits: what takes permits, and what they are given to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Try {
    /// Which task.
    pub task: TaskKey,
    /// Which attempt of it, from 1.
    pub attempt: u32,
}
