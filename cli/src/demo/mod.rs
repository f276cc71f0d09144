//! The demo: read a tree, have each file analysed by an agent on the mesh, kill an agent half way, report.
//!
//! ```text
//!              conduct ── tasks ──> mesh ──> agents (processes of ours): serve ── analyse
//! Tree ── one FilePath per task ──>  │                                              │
//!              collect <── results ──┴──────────────── FileFacts <──────────────────┘
//!                 └──> Report (+ MeshFigures) ──> screen
//! ```
//!
//! `fleet` is a scene of its own: breakers and balancing at work; so is `together`: state, locks, budgets and queues; `people`: workflows with people in
//! them; `scenes` has those in which agents decide together. `tree`, `path`, `analyse`, `report` and `screen` know nothing of the mesh.

pub mod agents;
pub mod analyse;
pub mod collect;
pub mod conduct;
mod counts;
pub mod fleet;
pub mod language;
pub mod path;
pub mod people;
pub mod report;
pub mod scenes;
pub mod screen;
pub mod serve;
pub mod takeover;
pub mod together;
pub mod tree;

pub use analyse::{AnalyseError, FileFacts, FileTask, analyse};
pub use conduct::conduct;
pub use path::FilePath;
pub use report::{MeshFigures, Report};
pub use tree::{Tree, TreeError};
