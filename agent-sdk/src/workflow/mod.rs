//! Workflows: define them, run them, watch them, hand work over by them.
//!
//! A definition is a document ([`Definition`], or a text of YAML or JSON); an execution is one run of it. Both are in the ledger:
//! an execution goes on whatever becomes of the process that started it.
//!
//! | you want to | use |
//! |---|---|
//! | write a definition in Rust | [`build`], or a ready one of [`patterns`] |
//! | have it known to the mesh | [`Client::define_workflow`](crate::Client::define_workflow) |
//! | run it | [`execution`], [`execution_of`]; [`Client::start`](crate::Client::start), [`Client::execute`](crate::Client::execute) |
//! | wait, watch, pause, signal, retry | [`ExecutionHandle`], [`Monitor`] |
//! | hand a piece of work to somebody else | [`Context::hand_off`](crate::Context::hand_off), [`Handoff`] |
//! | have several agents analyse the same data | [`Client::share_and_analyse`](crate::Client::share_and_analyse) |
//!
//! ```no_run
//! use agent_sdk::workflow::{execution, patterns};
//! use agent_sdk::{Mesh, MeshConfig};
//! use std::time::Duration;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Mesh::connect(MeshConfig::from_env()?)?.client();
//! client.define_workflow(&patterns::pipeline("digest", &[("read", "text.read"), ("sum_up", "text.sum")])?).await?;
//! let digest = execution("digest").input("report.md").label("team", "docs");
//! let done = client.execute::<String>(digest, Duration::from_secs(60)).await?;
//! println!("{} after {} steps", done.output, done.execution.steps.len());
//! # Ok(())
//! # }
//! ```

mod define;
mod error;
mod handle;
mod handoff;
mod monitor;
pub mod patterns;
mod request;
mod share;

pub use define::{DefineError, IntoWorkflow};
pub use error::ExecutionError;
pub use handle::{ExecutionHandle, ExecutionResult};
pub use handoff::{Contract, Handed, HandedBy, Handoff, HandoffError};
pub use monitor::{Monitor, Progress};
pub use request::{ExecutionRequest, execution, execution_of};
pub use share::{Analysed, Analysis, ShareAndAnalyse, ShareError};

pub use synod_protocol::workflow::{
    Execution, ExecutionBrief, ExecutionStatus, StepDoing, StepStatus, Usage,
};
pub use synod_workflow::definition::{Definition, build};
pub use synod_workflow::{Problem, Problems, Workflow};
