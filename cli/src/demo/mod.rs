//! The demo's own work: read a tree, find out about each file, report. What submits the tasks and
//! runs the agents is not in here; these pieces know nothing of the mesh.
//!
//! ```text
//! Tree ── one FilePath per task ──> analyse ── FileFacts ──> Report (+ MeshFigures) ──> screen
//! ```

pub mod analyse;
mod counts;
pub mod language;
pub mod path;
pub mod report;
pub mod screen;
pub mod tree;

pub use analyse::{AnalyseError, FileFacts, FileTask, analyse};
pub use path::FilePath;
pub use report::{MeshFigures, Report};
pub use tree::{Tree, TreeError};
