//! A mesh to look at: fleet, shards, queues, and what waits for people, drawn anew every second.
//!
//! ```text
//! Board::fetch (HTTP) ──┐
//! keys ── View::key ────┴──> frame::draw(board, link, view) ──> cells      nothing is drawn but from these three
//! ```
//!
//! Nothing here changes the mesh, and nothing but [`Board::fetch`] asks it anything.

mod board;
mod frame;
mod view;

pub use board::{Board, Listed, Listing, Pane};
pub use frame::{Link, draw, page};
pub use view::{Next, View};
