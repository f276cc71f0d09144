//! A text from a file, or from stdin; a JSON value as it is given on a command line.

use crate::output::Stop;
use std::io::Read;
use std::path::Path;
use synod_protocol::Json;

/// Bytes of a JSON value that are read: more than any mesh takes, little enough to hold.
const JSON_BYTES: u64 = 64 * 1024 * 1024;

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

/// Reads `what`, one JSON value; `@FILE` is what stands in that file, `@-` what comes from stdin. Its text stays as it is.
///
/// # Errors
/// It cannot be read, or is not one JSON value.
pub(super) fn json(what: &str, given: &str) -> Result<Json, Stop> {
    let text = match given.strip_prefix('@') {
        Some(file) => read(what, Path::new(file), JSON_BYTES)?,
        None => given.to_owned(),
    };
    Json::parse(text.trim()).map_err(|error| {
        Stop::Usage(format!("{what} is not one JSON value ({error}); a text is written \"like this\""))
    })
}

/// A label on a command line: `name:value`, or `name=value`.
///
/// # Errors
/// It has neither colon nor equals sign.
pub(super) fn label(given: &str) -> Result<(String, String), String> {
    let (name, value) = given.split_once([':', '=']).ok_or("a label is NAME:VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}
