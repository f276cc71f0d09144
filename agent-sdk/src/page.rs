//! Lists, page by page.

use serde::Deserialize;

/// One page of a list.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// Where the next page begins; absent on the last one.
    #[serde(default)]
    pub next_cursor: Option<String>,
    /// So many more are kept no longer: of an execution that ended long ago the first 200 doings of steps are.
    #[serde(default)]
    pub left_out: Option<u64>,
}
