//! A key's history: what was written, and what lost, newest first.

use super::changes::StoredPast;
use super::{State, keys, shut, unexpected, unreadable, words};
use crate::redis::{Call, Script};
use std::sync::LazyLock;
use synod_protocol::primitives::state::{Past, cursor, range, read_cursor};
use synod_protocol::{Error, Name, Workspace};

static LIST: LazyLock<Script> =
    LazyLock::new(|| Script::new("list_past", include_str!("../scripts/list_past.lua")));

/// A page ends behind so many bytes, so that one answer does not hold up everyone else.
const PAGE_BYTES: usize = 4 << 20;

/// A page of a key's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Newest first; at least one, where there is more.
    pub lines: Vec<Past>,
    /// Where the next page begins.
    pub next_cursor: Option<String>,
}

impl State {
    /// A page of a key's history, of at most so many lines; `None` for a key of which nothing is known.
    ///
    /// # Errors
    /// `invalid_argument`: the cursor; `unavailable`.
    pub async fn history(
        &self,
        workspace: &Workspace,
        key: &Name,
        limit: usize,
        after: Option<&str>,
    ) -> Result<Option<HistoryPage>, Error> {
        let scope = format!("history\0{workspace}\0{key}");
        let before = after.map(|text| read_cursor(&scope, text)).transpose()?.unwrap_or_default();
        let at = range(workspace, key);
        let keys = vec![
            keys::state_open(at),
            keys::state_entry(at, workspace, key),
            keys::state_past(at, workspace, key),
        ];
        let age = self.retention.age.as_millis().to_string();
        let args = vec![before, limit.to_string(), PAGE_BYTES.to_string(), age];
        let said = words(LIST.run(&self.redis, Call { keys, args }).await?)?;
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        match said.as_slice() {
            ["shut"] => Err(shut()),
            ["none"] => Ok(None),
            ["page", more, lines @ ..] => {
                let read = |pair: &[&str]| {
                    let line =
                        serde_json::from_str::<StoredPast>(pair[1]).map_err(|e| unreadable(key, &e))?;
                    Ok(line.past())
                };
                let last = lines.chunks_exact(2).next_back().map(|pair| pair[0]);
                let next_cursor = last.filter(|_| *more == "1").map(|last| cursor(&scope, last));
                let lines = lines.chunks_exact(2).map(read).collect::<Result<_, Error>>()?;
                Ok(Some(HistoryPage { lines, next_cursor }))
            }
            other => Err(unexpected("list_past", other)),
        }
    }
}
