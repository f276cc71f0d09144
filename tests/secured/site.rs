//! One Kafka and one Redis with secured listeners (`scripts/services up --secured`), shared by these tests, and programs
//! that are to be refused.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};
use synod_tests::{Process, Services, synod};

/// The longest that a refusal may take. Kafka answers a wrong password after a second on purpose.
const REFUSED_WITHIN: Duration = Duration::from_secs(60);

/// Where the services are, and with which settings the user `synod` reaches them.
pub(crate) struct Site {
    services: Arc<Services>,
    settings: BTreeMap<String, String>,
}

impl Site {
    pub(crate) async fn new() -> Site {
        let services = Services::secured().await;
        let settings = services.settings.clone();
        Site { services, settings }
    }

    /// A file of the folder with certificates and passwords.
    pub(crate) fn file(&self, name: &str) -> String {
        self.tls().join(name).to_str().expect("UTF-8").to_owned()
    }

    fn tls(&self) -> PathBuf {
        self.services.folder().join("tls")
    }

    /// The password of every user: what no output may show.
    pub(crate) fn password(&self) -> String {
        std::fs::read_to_string(self.tls().join("password")).expect("the password")
    }

    /// The broker's port for users, as the settings have it, and this many higher.
    pub(crate) fn kafka(&self, higher: u16) -> String {
        let (host, port) = self.settings["SYNOD_KAFKA_BROKERS"].rsplit_once(':').expect("host:port");
        format!("{host}:{}", port.parse::<u16>().expect("a port") + higher)
    }

    pub(crate) fn redis(&self) -> &str {
        &self.settings["SYNOD_REDIS_URL"]
    }

    /// The settings that work, with these changed; an empty one is taken away.
    pub(crate) fn settings(&self, changed: &[(&str, &str)]) -> Vec<(String, String)> {
        let mut settings = self.settings.clone();
        settings.insert("SYNOD_HTTP_LISTEN".to_owned(), "127.0.0.1:0".to_owned());
        settings.extend(changed.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        settings.retain(|_, value| !value.is_empty());
        settings.into_iter().collect()
    }

    /// Starts `synod WORDS…` with these settings.
    pub(crate) fn start(&self, words: &[&str], changed: &[(&str, &str)]) -> Process {
        let mut command = Command::new(synod());
        command.args(words);
        let settings = self.settings(changed);
        let settings: Vec<(&str, &str)> = settings.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        Process::start(command, &settings)
    }

    /// A command ends by itself, in time and not well; its last word says all of `said`, and nothing says a secret.
    pub(crate) async fn refused(&self, words: &[&str], changed: &[(&str, &str)], said: &[&str]) {
        let mut process = self.start(words, changed);
        let began = Instant::now();
        let status = loop {
            if let Some(status) = process.ended() {
                break status;
            }
            let log = || process.log();
            assert!(began.elapsed() < REFUSED_WITHIN, "{words:?} with {changed:?} goes on:\n{}", log());
            // It is looked again; this only keeps the loop from spinning.
            tokio::time::sleep(Duration::from_millis(25)).await;
        };
        let log = process.log();
        assert!(!status.success(), "{changed:?} should be refused:\n{log}");
        // Threads of clients may log until the very end: the command's own last word is meant.
        let line = log.lines().rev().find(|line| line.starts_with("synod: ")).unwrap_or_default();
        for word in said {
            assert!(line.contains(word), "{changed:?}: {word:?} is not in its last word:\n{log}");
        }
        let secrets =
            changed.iter().filter(|(name, _)| name.ends_with("PASSWORD") || name.ends_with("API_KEY"));
        for (_, secret) in secrets {
            assert!(!log.contains(secret), "a secret is shown:\n{log}");
        }
        assert!(!log.contains(&self.password()), "the password is shown:\n{log}");
    }
}
