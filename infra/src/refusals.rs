//! What Kafka or Redis refused us for good: a wrong password, a certificate, a permission.
//!
//! ```text
//!   clients' callbacks, answers --tell--> Refusals --first--> who starts up and would otherwise wait for ever
//! ```
//!
//! A service that is away comes back by itself, so that it is waited for. A refusal does not: somebody must change
//! something, and is told what in one line. No line may hold a secret.

use std::sync::Arc;
use tokio::sync::watch;

/// The refusals that clients of one configuration met. Clones share them.
#[derive(Clone, Debug)]
pub struct Refusals(Arc<watch::Sender<Option<String>>>);

impl Default for Refusals {
    fn default() -> Refusals {
        Refusals(Arc::new(watch::channel(None).0))
    }
}

impl Refusals {
    /// Notes one: a line that names what was refused and what to change. The first stays; of the others it is logged
    /// that they came, each once as long as no other comes between.
    pub(crate) fn tell(&self, line: String) {
        self.0.send_if_modified(|first| {
            if first.as_ref() == Some(&line) {
                return false;
            }
            tracing::error!("{line}");
            let is_first = first.is_none();
            if is_first {
                *first = Some(line);
            }
            is_first
        });
    }

    /// The first, if there was one.
    pub fn first(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits for the first.
    pub async fn wait(&self) -> String {
        let mut told = self.0.subscribe();
        let line = told.wait_for(Option::is_some).await.ok().and_then(|line| line.clone());
        match line {
            Some(line) => line,
            // Cannot be: we hold the sender. Nothing is refused then.
            None => std::future::pending().await,
        }
    }
}
