//! A text from a file, or from stdin.

use crate::output::Stop;
use std::io::Read;
use std::path::Path;

/// Reads `what`; `-` is stdin.
///
/// # Errors
/// It cannot be read, or has more than `limit` bytes.
pub(super) fn read(what: &str, path: &Path, limit: u64) -> Result<String, Stop> {
    let failed = |error: std::io::Error| Stop::Usage(format!("cannot read {what} {path:?}: {error}"));
    let mut text = String::new();
    let read = match path.as_os_str().as_encoded_bytes() {
        b"-" => std::io::stdin().take(limit + 1).read_to_string(&mut text),
        _ => std::fs::File::open(path).map_err(failed)?.take(limit + 1).read_to_string(&mut text),
    };
    match read.map_err(failed)? as u64 {
        bytes if bytes > limit => Err(Stop::Usage(format!("{what} has more than {limit} bytes"))),
        _ => Ok(text),
    }
}
