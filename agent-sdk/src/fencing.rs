//! The other half of a lock: what it guards refuses a stale token.

use std::sync::atomic::{AtomicU64, Ordering};
use synod_protocol::Error;

/// How any resource refuses a holder that does not know that it has lost: it remembers the greatest token it has seen,
/// and takes nothing under a smaller one. Keep one per resource, with the resource.
///
/// ```
/// use agent_sdk::FencingGate;
///
/// let gate = FencingGate::default();
/// assert!(gate.admit(33).is_ok());
/// assert!(gate.admit(34).is_ok(), "the next holder");
/// assert!(gate.admit(33).is_err(), "the one before, who was paused and does not know");
/// ```
#[derive(Debug, Default)]
pub struct FencingGate {
    greatest: AtomicU64,
}

impl FencingGate {
    /// A gate of a resource that has seen this token already: as read from where the resource keeps it.
    pub fn since(greatest: u64) -> FencingGate {
        FencingGate { greatest: AtomicU64::new(greatest) }
    }

    /// Lets a holder in. Ask under the same lock or transaction as the write itself: what is asked before may have
    /// changed by then.
    ///
    /// # Errors
    /// `fenced`: a greater token was seen.
    pub fn admit(&self, token: u64) -> Result<(), Error> {
        let greatest = self.greatest.fetch_max(token, Ordering::SeqCst);
        if token >= greatest {
            return Ok(());
        }
        Err(Error::fenced(format!("token {token} is stale: {greatest} was seen")))
    }

    /// The greatest token that was let in; 0 at first.
    pub fn greatest(&self) -> u64 {
        self.greatest.load(Ordering::SeqCst)
    }
}
