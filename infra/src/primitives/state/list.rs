//! The keys that begin with a prefix, page by page, in order of their bytes.
//!
//! Each range has an index of its own; a page is merged of all. The cursor is the last key looked at, so a key that is
//! there throughout stands on exactly one page, whatever is written or removed meanwhile.

use super::{State, keys, shut, unexpected, words};
use crate::redis::{Call, Script};
use std::sync::LazyLock;
use synod_protocol::primitives::state::{Entry, RANGES, cursor, read_cursor};
use synod_protocol::{Error, Name, Workspace};

static PAGE: LazyLock<Script> =
    LazyLock::new(|| Script::new("page_state", include_str!("../scripts/page_state.lua")));

/// Entries that are read in one write on the connection.
const READ_AT_ONCE: usize = 32;
/// A page ends behind so many bytes of values.
const PAGE_BYTES: usize = 4 << 20;
/// How often a page is filled up because what it named was gone.
const ROUNDS: usize = 8;
/// Bytes of a prefix.
const PREFIX_BYTES: usize = 512;

/// A page of entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// In order of their keys.
    pub entries: Vec<Entry>,
    /// Where the next page begins; a page may be short and yet not the last.
    pub next_cursor: Option<String>,
}

impl State {
    /// A page of the entries whose keys begin with a prefix, at most so many.
    ///
    /// # Errors
    /// `invalid_argument`: the prefix, or a cursor of another workspace or prefix; `unavailable`.
    pub async fn list(
        &self,
        workspace: &Workspace,
        prefix: &str,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Page, Error> {
        if prefix.len() > PREFIX_BYTES || prefix.chars().any(char::is_control) {
            let said = format!("prefix must have up to {PREFIX_BYTES} bytes and no control character");
            return Err(Error::invalid(said).with_field("/prefix"));
        }
        let scope = format!("state\0{workspace}\0{prefix}");
        let mut last = after.map(|text| read_cursor(&scope, text)).transpose()?.unwrap_or_default();
        let (mut entries, mut bytes) = (Vec::new(), 0);
        for _ in 0..ROUNDS {
            let wanted = limit - entries.len();
            let (names, more) = self.names(workspace, prefix, &last, wanted).await?;
            for some in names.chunks(READ_AT_ONCE) {
                let which: Vec<_> = some.iter().map(|name| (workspace, name)).collect();
                for entry in self.read(&which, None).await?.into_iter().flatten() {
                    bytes += entry.value.as_str().len();
                    entries.push(entry);
                }
                if let Some(name) = some.last() {
                    last = name.to_string();
                }
                if bytes >= PAGE_BYTES && (more || names.last().is_some_and(|name| name.as_str() != last)) {
                    return Ok(Page { entries, next_cursor: Some(cursor(&scope, &last)) });
                }
            }
            if !more {
                return Ok(Page { entries, next_cursor: None });
            }
            if entries.len() >= limit {
                break;
            }
        }
        Ok(Page { entries, next_cursor: Some(cursor(&scope, &last)) })
    }

    /// The next keys, and whether there are more behind them.
    async fn names(
        &self,
        workspace: &Workspace,
        prefix: &str,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<Name>, bool), Error> {
        let call = |range| Call {
            keys: vec![keys::state_open(range), keys::state_index(range, workspace)],
            args: vec![prefix.to_owned(), after.to_owned(), limit.to_string()],
        };
        let calls: Vec<Call> = (0..RANGES).map(call).collect();
        let (mut names, mut more) = (Vec::new(), false);
        for answer in PAGE.run_all(&self.redis, &calls).await {
            let said = words(answer?)?;
            match said.first().map(String::as_str) {
                Some("page") => {
                    more |= said.len() > limit;
                    for name in &said[1..] {
                        names.push(name.parse::<Name>()?);
                    }
                }
                Some("shut") => return Err(shut()),
                _ => return Err(unexpected("page_state", &[])),
            }
        }
        names.sort_unstable();
        more |= names.len() > limit;
        names.truncate(limit);
        Ok((names, more))
    }
}
