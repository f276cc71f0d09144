//! Figures of a workspace's shared state, added up over its ranges.

use super::{State, keys};
use crate::redis::RedisError;
use std::collections::{BTreeMap, HashMap};
use synod_protocol::primitives::state::{PrefixCounts, RANGES, Statistics};
use synod_protocol::{Error, Workspace};

/// Under this are the operations of prefixes that have no keys any more; a prefix ends with a slash or is empty.
const FOLDED: &str = "-";

impl State {
    /// Keys, bytes, operations and conflicts of a workspace, in all and of each prefix that has keys.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn statistics(&self, workspace: &Workspace) -> Result<Statistics, Error> {
        let mut commands = redis::Pipeline::with_capacity(RANGES as usize);
        for range in 0..RANGES {
            commands.cmd("HGETALL").arg(keys::state_counts(range, workspace));
        }
        let mut prefixes: BTreeMap<String, PrefixCounts> = BTreeMap::new();
        for value in self.redis.pipeline(&commands).await?.values {
            let value = value.extract_error().map_err(RedisError::from)?;
            let figures: HashMap<String, i64> = redis::from_redis_value(value).map_err(RedisError::from)?;
            for (field, figure) in figures {
                let Some((what, prefix)) = field.split_once(':') else { continue };
                let counts = prefixes.entry(prefix.to_owned()).or_default();
                add(counts, what, u64::try_from(figure).unwrap_or(0));
            }
        }
        let mut total = PrefixCounts::default();
        for (prefix, counts) in &mut prefixes {
            counts.prefix.clone_from(prefix);
            for (what, figure) in figures(counts) {
                add(&mut total, what, figure);
            }
        }
        prefixes.remove(FOLDED);
        let prefixes = prefixes.into_values().filter(|counts| counts.keys > 0).collect();
        Ok(Statistics { total, prefixes })
    }
}

fn add(counts: &mut PrefixCounts, what: &str, figure: u64) {
    match what {
        "k" => counts.keys += figure,
        "b" => counts.bytes += figure,
        "w" => counts.writes += figure,
        "d" => counts.deletes += figure,
        "x" => counts.expired += figure,
        "c" => counts.conflicts += figure,
        "l" => counts.lost += figure,
        _ => {}
    }
}

fn figures(counts: &PrefixCounts) -> [(&'static str, u64); 7] {
    [
        ("k", counts.keys),
        ("b", counts.bytes),
        ("w", counts.writes),
        ("d", counts.deletes),
        ("x", counts.expired),
        ("c", counts.conflicts),
        ("l", counts.lost),
    ]
}
