//! The newest version of every workflow of the mesh, as the directory tells it: an execution may be started in any shard.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use synod_ledger::{Definitions, EntityKey, read_definition};
use synod_protocol::Workspace;
use synod_protocol::workflow::Workflow as View;
use synod_workflow::Workflow;
use tokio::sync::watch;
use tokio::time::Instant;

/// What is known of one.
#[derive(Clone)]
struct Known {
    /// The ledger offset that it stands for.
    offset: u64,
    view: View,
    /// Parsed once; `None` where this build cannot read it.
    workflow: Option<Workflow>,
}

/// The workflows that this coordinator has heard of.
#[derive(Clone)]
pub(crate) struct Catalogue {
    all: Arc<RwLock<BTreeMap<EntityKey, Known>>>,
    heard: watch::Sender<()>,
}

impl Default for Catalogue {
    fn default() -> Catalogue {
        Catalogue { all: Arc::default(), heard: watch::Sender::new(()) }
    }
}

impl Catalogue {
    /// A version that stands for the ledger's record at `offset` of its shard; an older one than is known changes nothing.
    pub(crate) fn learn(&self, view: View, offset: u64) {
        let key = EntityKey { workspace: view.workspace.clone(), id: view.workflow_id.clone().into() };
        let is_news = |known: &Known| known.offset < offset;
        if !self.read(|all| all.get(&key).is_none_or(is_news)) {
            return;
        }
        let workflow = match read_definition(&view.definition) {
            Ok(workflow) => Some(workflow),
            Err(error) => {
                tracing::error!(workflow = %key.id, %error, "a workflow that this build cannot read");
                None
            }
        };
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if all.get(&key).is_none_or(is_news) {
            all.insert(key, Known { offset, view, workflow });
        }
        drop(all);
        self.heard.send_replace(());
    }

    /// The newest version that is known.
    pub(crate) fn get(&self, key: &EntityKey) -> Option<View> {
        self.read(|all| all.get(key).map(|known| known.view.clone()))
    }

    /// The same of all of a workspace behind this id, at most so many, in the order of their ids.
    pub(crate) fn after(&self, after: &EntityKey, limit: usize) -> Vec<View> {
        use std::ops::Bound::{Excluded, Unbounded};
        let of = |workspace: &Workspace| *workspace == after.workspace;
        self.read(|all| {
            let behind =
                all.range((Excluded(after.clone()), Unbounded)).take_while(|(key, _)| of(&key.workspace));
            behind.take(limit).map(|(_, known)| known.view.clone()).collect()
        })
    }

    /// Waits until this version is known here, or until then; whether it is.
    pub(crate) async fn hears_of(&self, key: &EntityKey, hash: &str, until: Instant) -> bool {
        let mut heard = self.heard.subscribe();
        loop {
            if self.get(key).is_some_and(|view| view.hash == hash) {
                return true;
            }
            if !matches!(tokio::time::timeout_at(until, heard.changed()).await, Ok(Ok(()))) {
                return false;
            }
        }
    }

    fn read<T>(&self, look: impl FnOnce(&BTreeMap<EntityKey, Known>) -> T) -> T {
        look(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Definitions for Catalogue {
    fn find(&self, workflow: &EntityKey, hash: Option<&str>) -> Option<Workflow> {
        let fits = |known: &&Known| hash.is_none_or(|hash| known.view.hash == hash);
        self.read(|all| all.get(workflow).filter(fits).and_then(|known| known.workflow.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use synod_protocol::{Json, Timestamp};

    fn version(version: u32, capability: &str) -> View {
        let text = format!(
            "{{\"id\":\"w\",\"steps\":[{{\"id\":\"a\",\"task\":{{\"capability\":\"{capability}\"}}}}]}}"
        );
        View {
            workflow_id: "w".parse().unwrap(),
            workspace: Workspace::default_name(),
            version,
            hash: Workflow::parse(&text).unwrap().hash().to_owned(),
            definition: Json::parse(&text).unwrap(),
            created_at: Timestamp::from_millis(0),
            updated_at: Timestamp::from_millis(0),
        }
    }

    #[tokio::test]
    async fn the_newest_version_stays_whatever_comes_after_it() {
        let catalogue = Catalogue::default();
        let key = EntityKey { workspace: Workspace::default_name(), id: "w".parse().unwrap() };
        let (one, two) = (version(1, "a"), version(2, "b"));
        catalogue.learn(two.clone(), 7);
        catalogue.learn(one.clone(), 3);
        assert_eq!(catalogue.get(&key).unwrap().version, 2);
        assert!(catalogue.find(&key, Some(&one.hash)).is_none());
        assert_eq!(catalogue.find(&key, None).unwrap().hash(), two.hash);
        assert!(catalogue.hears_of(&key, &two.hash, Instant::now()).await);
        assert!(!catalogue.hears_of(&key, &one.hash, Instant::now()).await);
    }
}
