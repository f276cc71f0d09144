//! Counters: whole numbers that many add to at once, within bounds, each operation once.
//!
//! Without bounds and operation id an addition is Redis' own INCRBY.

use super::leases::{unexpected, words};
use super::{keys, operations};
use crate::redis::{Call, Once, Redis, RedisError, Repeatable};
use std::sync::LazyLock;
use synod_protocol::primitives::counters::{Add, Counter, OPERATIONS};
use synod_protocol::{Code, Error, Name, Workspace};

static ADD: LazyLock<Repeatable> = LazyLock::new(|| {
    let text = concat!(include_str!("scripts/operations.lua"), include_str!("scripts/add_counter.lua"));
    Repeatable::new("add_counter", text)
});

/// The counters of this Redis; a cheap clone.
#[derive(Clone, Debug)]
pub struct Counters {
    redis: Redis,
    operations: u32,
}

impl Counters {
    /// All of this Redis.
    pub fn new(redis: Redis) -> Counters {
        Counters { redis, operations: OPERATIONS }
    }

    /// The same, each remembering so many operation ids of the last 24 h at most.
    #[must_use]
    pub fn remembering(mut self, operations: u32) -> Counters {
        self.operations = operations;
        self
    }

    /// Adds, within bounds.
    ///
    /// # Errors
    /// `conflict`, with `value`: it would be outside; nothing is changed. `invalid_argument`: it would be beyond an i64.
    /// `overloaded`: too many operation ids. Those of any call.
    pub async fn add(
        &self,
        workspace: &Workspace,
        name: &Name,
        add: &Add,
        once: Option<&Once>,
    ) -> Result<Counter, Error> {
        let key = keys::counter(workspace, name);
        let Add { add: by, floor, ceiling, operation_id } = add;
        if floor.is_none() && ceiling.is_none() && operation_id.is_none() && once.is_none() {
            let added = self.redis.query::<i64>(redis::cmd("INCRBY").arg(&key).arg(*by)).await;
            return match added {
                Ok(value) => Ok(Counter { name: name.clone(), value }),
                Err(RedisError::Refused(said)) if said.contains("overflow") => Err(overflow(name, *by, None)),
                Err(error) => Err(error.into()),
            };
        }
        let bound = |bound: Option<i64>| bound.map_or(String::new(), |bound| bound.to_string());
        let mut args = operations::args(operation_id.as_ref(), self.operations);
        args.extend([by.to_string(), bound(*floor), bound(*ceiling)]);
        let [hash, order] = operations::keys(&key);
        let said = words(ADD.run(&self.redis, Call { keys: vec![key, hash, order], args }, once).await?)?;
        let value = said.get(1).and_then(|value| value.parse::<i64>().ok());
        match (said.first().map(String::as_str), value) {
            (Some("value"), Some(value)) => Ok(Counter { name: name.clone(), value }),
            (Some("overflow"), Some(value)) => Err(overflow(name, *by, Some(value))),
            (Some("outside"), Some(value)) => {
                let shown = |bound: &Option<i64>| bound.map_or("none".to_owned(), |bound| bound.to_string());
                let said = format!(
                    "counter {name} is {value}; with {by} added it would be outside (floor {}, ceiling {})",
                    shown(floor),
                    shown(ceiling)
                );
                Err(Error { value: Some(value), ..Error::new(Code::Conflict, said) })
            }
            (Some("again"), None) => Err(operations::full("counter", name, self.operations)),
            _ => Err(unexpected(&said)),
        }
    }

    /// Its value; 0 if nobody has added to it.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get(&self, workspace: &Workspace, name: &Name) -> Result<Counter, Error> {
        let ask = redis::cmd("GET").arg(keys::counter(workspace, name)).clone();
        let value = self.redis.query::<Option<i64>>(&ask).await?.unwrap_or(0);
        Ok(Counter { name: name.clone(), value })
    }

    /// Forgets it, and what was answered to its operation ids: it is 0 again.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn remove(&self, workspace: &Workspace, name: &Name) -> Result<(), Error> {
        let key = keys::counter(workspace, name);
        let [hash, order] = operations::keys(&key);
        Ok(self.redis.query(redis::cmd("UNLINK").arg(key).arg(hash).arg(order)).await?)
    }
}

fn overflow(name: &Name, by: i64, value: Option<i64>) -> Error {
    let said = format!("with {by} added counter {name} would be beyond {} to {}", i64::MIN, i64::MAX);
    Error { value, ..Error::invalid(said).with_field("/add") }
}
