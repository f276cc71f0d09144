//! Approvals: ask people, decide in their name, wait for what they decide.
//!
//! ```no_run
//! use agent_sdk::approval::{Verdict, approval};
//! use agent_sdk::{Mesh, MeshConfig};
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Mesh::connect(MeshConfig::from_env()?)?.client();
//! let asked = client.request_approval(approval("Release 7?", ["ann", "role:editor"]).show("what is new")).await?;
//! // Wherever people see what waits for them:
//! for waiting in client.pending_approvals("bob", &["editor"]).await? {
//!     let yes = Verdict::approve("bob").role("editor").shown(&waiting.shown);
//!     client.approval(waiting.approval_id).decide(yes).await?;
//! }
//! println!("{:?}", asked.wait(Duration::from_secs(3600)).await?.decisions);
//! # Ok(())
//! # }
//! ```

mod handle;
mod request;
mod verdict;

pub use handle::{ApprovalError, ApprovalHandle};
pub use request::{ApprovalRequest, approval};
pub use verdict::Verdict;

pub use synod_protocol::approval::{Approval, ApprovalStatus, Decision, DecisionMade, Need};
