//! What has left memory: named here, so that the shell can find it in a view or in the ledger. A step is named by its
//! place ([`Step::place`](crate::Step::place)), and stands there or a little behind.

use crate::state::TaskKey;

/// An answer that memory cannot give.
#[derive(Clone, Debug, PartialEq)]
pub enum Past {
    /// What the command of the step with this place came to, which a repeat is answered with.
    Command {
        /// The step.
        at: u64,
    },
    /// A task as it ended.
    Task {
        /// Which.
        key: TaskKey,
        /// The step by which it was submitted, if that is still known.
        at: Option<u64>,
    },
    /// A task that was submitted again: with this body it is answered with the task, with another it is refused.
    Submitted {
        /// Which.
        key: TaskKey,
        /// The step by which it was submitted.
        at: u64,
        /// Fingerprint of the body of the one that came again.
        body: String,
    },
    /// Something was asked of a task that has ended: refused as `invalid_transition`, with how it ended.
    Ended {
        /// Which.
        key: TaskKey,
        /// The step by which it was submitted.
        at: u64,
    },
}
