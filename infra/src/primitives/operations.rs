//! Operation ids: what was answered to one is kept for 24 h, and answered again.

use synod_protocol::{Error, Name};

/// When to try again where too many operation ids are remembered.
const RETRY_AFTER_MS: u64 = 60_000;

/// The keys of what was done to `key`, which they follow.
pub(super) fn keys(key: &str) -> [String; 2] {
    [format!("{key}:operations"), format!("{key}:operations:order")]
}

/// The first arguments of a script that knows of operations.
pub(super) fn args(operation: Option<&Name>, most: u32) -> Vec<String> {
    vec![operation.map_or(String::new(), Name::to_string), most.to_string()]
}

/// `overloaded`: as many as may be are remembered.
pub(super) fn full(what: &str, name: &Name, most: u32) -> Error {
    let said = format!(
        "{what} {name} remembers {most} operation ids of the last 24 h, which is the limit; without operation_id it goes on"
    );
    Error::overloaded(said, RETRY_AFTER_MS)
}
