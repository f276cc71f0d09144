//! What is over goes: readers do not see it any more; here it becomes a tombstone, a line of history and a change.

use super::write::{Wanted, What, Writer};
use super::{State, keys, shut, unexpected, words};
use crate::redis::{Call, RedisError, Script};
use std::collections::BTreeMap;
use std::sync::LazyLock;
use synod_protocol::primitives::state::{BATCH_LIMIT, Condition};
use synod_protocol::{Error, Name, Workspace};

static DUE: LazyLock<Script> =
    LazyLock::new(|| Script::new("due_state", include_str!("../scripts/due_state.lua")));

impl State {
    /// Turns what is over in a range into tombstones, at most so many; how many there were. Where it is as many as the
    /// limit there may be more.
    ///
    /// # Errors
    /// `overloaded`: the range's stream is full; `unavailable`.
    pub async fn sweep(&self, range: u32, limit: usize) -> Result<usize, Error> {
        let keys = vec![keys::state_open(range), keys::state_expiring(range)];
        let said = words(DUE.run(&self.redis, Call { keys, args: vec![limit.to_string()] }).await?)?;
        match said.first().map(String::as_str) {
            Some("due") => {}
            Some("shut") => return Err(shut()),
            _ => return Err(unexpected("due_state", &[])),
        }
        let mut due: BTreeMap<Workspace, Vec<Wanted>> = BTreeMap::new();
        for member in &said[1..] {
            let (workspace, key) = read(member)?;
            let wanted = Wanted { key, what: What::Expire, condition: Condition::None, lock: None };
            due.entry(workspace).or_default().push(wanted);
        }
        for (workspace, wanted) in due {
            let writer = Writer::new(workspace, "synod");
            for some in wanted.chunks(BATCH_LIMIT) {
                self.run(&writer, some).await?;
            }
        }
        Ok(said.len() - 1)
    }
}

fn read(member: &str) -> Result<(Workspace, Name), Error> {
    let unreadable = || RedisError::Unexpected(format!("{member:?} stands among what ends by itself"));
    let (workspace, key) = member.split_once('/').ok_or_else(unreadable)?;
    Ok((workspace.parse()?, key.parse()?))
}
