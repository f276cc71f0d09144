//! Kafka and Redis of a test's own (`scripts/services`), to be taken away and given back.

use crate::process::root;
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
}

static OWN: Mutex<Weak<Services>> = Mutex::const_new(Weak::new());

impl Services {
    /// Those that the tests of outages take in turn.
    pub async fn own() -> Arc<Services> {
        let mut own = OWN.lock().await;
        if let Some(services) = own.upgrade() {
            return services;
        }
        let services = tokio::task::spawn_blocking(Services::start).await.expect("services start");
        let services = Arc::new(services);
        *own = Arc::downgrade(&services);
        services
    }

    fn start() -> Services {
        let folder = tempfile::tempdir().expect("a folder");
        let mut services = Services { folder, kafka: String::new(), redis: String::new() };
        let exports = services.run(&["up"]);
        for line in exports.lines() {
            match line.split_once('=') {
                Some(("export SYNOD_KAFKA_BROKERS", value)) => services.kafka = value.to_owned(),
                Some(("export SYNOD_REDIS_URL", value)) => services.redis = value.to_owned(),
                _ => {}
            }
        }
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
