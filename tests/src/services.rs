//! Kafka and Redis of a test's own (`scripts/services`), to be taken away and given back.

use crate::process::root;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Weak};
use tempfile::TempDir;
use tokio::sync::Mutex;

/// One broker and one Redis on free ports. Dropping the last handle ends them and removes their data.
pub struct Services {
    folder: TempDir,
    /// The broker.
    pub kafka: String,
    /// The Redis.
    pub redis: String,
    /// All settings that they are reached with.
    pub settings: BTreeMap<String, String>,
}

static OWN: Mutex<Weak<Services>> = Mutex::const_new(Weak::new());
static SECURED: Mutex<Weak<Services>> = Mutex::const_new(Weak::new());

impl Services {
    /// Those that the tests of outages take in turn.
    pub async fn own() -> Arc<Services> {
        Services::of(&OWN, &["up"]).await
    }

    /// Those that ask who comes, for the tests of that.
    pub async fn secured() -> Arc<Services> {
        Services::of(&SECURED, &["up", "--secured"]).await
    }

    async fn of(slot: &Mutex<Weak<Services>>, words: &'static [&'static str]) -> Arc<Services> {
        let mut slot = slot.lock().await;
        if let Some(services) = slot.upgrade() {
            return services;
        }
        let started = tokio::task::spawn_blocking(|| Services::start(words));
        let services = Arc::new(started.await.expect("services start"));
        *slot = Arc::downgrade(&services);
        services
    }

    /// Where they keep what they have.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn start(words: &[&str]) -> Services {
        let folder = tempfile::tempdir().expect("a folder");
        let mut services =
            Services { folder, kafka: String::new(), redis: String::new(), settings: BTreeMap::new() };
        let exports = services.run(words);
        for line in exports.lines() {
            let said = line.strip_prefix("export ").and_then(|line| line.split_once('='));
            services.settings.extend(said.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let at = |name: &str| services.settings.get(name).cloned().unwrap_or_default();
        (services.kafka, services.redis) = (at("SYNOD_KAFKA_BROKERS"), at("SYNOD_REDIS_URL"));
        assert!(!services.kafka.is_empty() && !services.redis.is_empty(), "services said: {exports}");
        services
    }

    /// `scripts/services WORDS…`, such as `kill redis`; returns when it is done.
    pub async fn act(self: &Arc<Self>, words: &'static [&'static str]) {
        let services = self.clone();
        tokio::task::spawn_blocking(move || services.run(words)).await.expect("services act");
    }

    fn run(&self, words: &[&str]) -> String {
        let output = Command::new(root().join("scripts/services"))
            .args(words)
            .env("SYNOD_SERVICES_DIR", self.folder.path())
            .env("SYNOD_KAFKA_PORT", "free")
            .env("SYNOD_REDIS_PORT", "free")
            .output()
            .expect("scripts/services runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/services {words:?}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // A second panic would hide the first.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.run(&["down", "--wipe"])));
        } else {
            self.run(&["down", "--wipe"]);
        }
    }
}
