//! Dead letters: what stands in `dlq.<topic>`, and what operators did about it.
//!
//! ```text
//! letters ── read from their topic, where they stay as they are until they are too old
//! marks ──── what became of them, said beside them
//! settle ─── redriven, or discarded
//! ```

mod letters;
mod marks;
mod settle;

pub use letters::{Letter, Source, find, newest, source, summary, whole};
pub use marks::{Mark, Marks, Said};
pub use settle::{Deed, settle};

use crate::output::Stop;
use synod_infra::kafka::ReadError;
use synod_protocol::Error;

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn unavailable(error: ReadError) -> Stop {
    Error::unavailable(format!("Kafka: {error}")).into()
}
