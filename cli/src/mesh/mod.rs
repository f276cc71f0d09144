//! A mesh as the command line meets it: one of its own in this process, or one that runs already.
//!
//! ```text
//! Embedded ── Kafka's mock, a redis-server child, a coordinator, all ended together
//! Endpoints ─ where a mesh is, as a file that others find it by
//! Api ─────── the HTTP contract: asks, and turns every refusal into `synod_protocol::Error`
//! Ground ──── the mesh that a command works on: the one that is named, or one of its own
//! Dialling ── Kafka and Redis clients for what only they can tell
//! Ending ──── Ctrl-C, SIGTERM, SIGHUP
//! ```

mod api;
mod child;
mod dialling;
mod embedded;
mod ending;
mod endpoints;
mod ground;
mod lifeline;
mod runtime;

pub use api::{Api, Query, segment};
pub use child::this_program;
pub use dialling::Dialling;
pub use embedded::{Embedded, EmbeddedError, EmbeddedOptions};
pub use ending::Ending;
pub use endpoints::{Endpoints, EndpointsFile, EndpointsFileError};
pub use ground::{Ground, GroundError};
pub use lifeline::abandoned;
pub use runtime::{run, tell_at_the_end};
