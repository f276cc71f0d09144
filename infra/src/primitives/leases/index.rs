//! The names that are or were held: for lists. It is a hint, written before what it points to; who reads it looks.
//!
//! A name whose lease is over is taken out by whoever lists it, and some at random now and then by those who acquire:
//! faster than they are added, so that it stays about as large as what is held.

use super::{Leases, Shown, shown, words};
use crate::redis::{Call, RedisError};
use redis::{Cmd, Pipeline};
use synod_protocol::{Error, Name, Workspace};
use uuid::Uuid;

/// One acquisition in so many sweeps.
const SWEEP_ONE_IN: u128 = 64;
/// So many names are looked at then.
const SWEEP: usize = 128;
/// One page of a list looks at so many names at most; it may have fewer entries than asked for.
const LOOKED_AT: usize = 10_000;
/// Names that are looked at in one go.
const AT_ONCE: usize = 256;

impl Leases {
    /// What is held under names that begin with `prefix`, in their order, after a name; and where to go on.
    pub(super) async fn list(
        &self,
        workspace: &Workspace,
        prefix: &str,
        after: Option<&Name>,
        limit: usize,
    ) -> Result<(Vec<(Name, Shown)>, Option<Name>), Error> {
        let (mut found, mut looked, mut last) = (Vec::new(), 0, after.cloned());
        while found.len() < limit && looked < LOOKED_AT {
            let names = self.names(workspace, prefix, last.as_ref()).await?;
            let whole = names.len() < AT_ONCE;
            looked += names.len();
            let held = self.look_at(workspace, &names).await?;
            let dead = names.iter().zip(&held).filter(|(_, held)| held.is_none()).map(|(name, _)| name);
            self.forget(workspace, dead.cloned().collect()).await?;
            last = names.last().cloned().or(last);
            found.extend(names.into_iter().zip(held).filter_map(|(name, held)| Some((name, held?))));
            if whole && found.len() <= limit {
                return Ok((found, None));
            }
        }
        if found.len() > limit {
            found.truncate(limit);
            last = found.last().map(|(name, _)| name.clone());
        }
        Ok((found, last))
    }

    /// Sweeps, for one request in [`SWEEP_ONE_IN`].
    pub(super) fn sweep_now_and_then(&self, request: Uuid, workspace: &Workspace) {
        if request.as_u128().is_multiple_of(SWEEP_ONE_IN) {
            let (leases, workspace) = (self.clone(), workspace.clone());
            tokio::spawn(async move {
                if let Err(error) = leases.sweep(&workspace).await {
                    tracing::debug!(%error, kind = leases.kind.what, "the names of what is held were not swept");
                }
            });
        }
    }

    /// Looks at some names and forgets those that nobody holds.
    async fn sweep(&self, workspace: &Workspace) -> Result<(), RedisError> {
        let mut some = redis::cmd("ZRANDMEMBER");
        some.arg((self.kind.index)(workspace)).arg(SWEEP);
        let names: Vec<String> = self.redis.query(&some).await?;
        let names: Vec<Name> = names.iter().filter_map(|name| name.parse().ok()).collect();
        let held = self.look_at(workspace, &names).await?;
        let dead = names.into_iter().zip(held).filter(|(_, held)| held.is_none()).map(|(name, _)| name);
        self.forget(workspace, dead.collect()).await
    }

    async fn names(
        &self,
        workspace: &Workspace,
        prefix: &str,
        after: Option<&Name>,
    ) -> Result<Vec<Name>, RedisError> {
        let from = match after {
            Some(name) => format!("({name}"),
            None if prefix.is_empty() => "-".to_owned(),
            None => format!("[{prefix}"),
        };
        // No UTF-8 has this byte, so it comes after everything that begins with the prefix.
        let to = if prefix.is_empty() { b"+".to_vec() } else { [b"(", prefix.as_bytes(), b"\xff"].concat() };
        let mut ask = redis::cmd("ZRANGEBYLEX");
        ask.arg((self.kind.index)(workspace)).arg(from).arg(to).arg("LIMIT").arg(0).arg(AT_ONCE);
        let names: Vec<String> = self.redis.query(&ask).await?;
        let read =
            |name: &String| name.parse().map_err(|_| RedisError::Unexpected(format!("{name:?} is no name")));
        names.iter().map(read).collect()
    }

    async fn look_at(&self, workspace: &Workspace, names: &[Name]) -> Result<Vec<Option<Shown>>, RedisError> {
        let call = |name| Call { keys: (self.kind.keys)(workspace, name), args: Vec::new() };
        let calls: Vec<Call> = names.iter().map(call).collect();
        let answers = self.kind.show.run_all(&self.redis, &calls).await;
        names.iter().zip(answers).map(|(name, answer)| shown(name, &words(answer?)?)).collect()
    }

    /// Takes names out, and puts those back that were acquired in the same moment.
    async fn forget(&self, workspace: &Workspace, names: Vec<Name>) -> Result<(), RedisError> {
        if names.is_empty() {
            return Ok(());
        }
        let index = (self.kind.index)(workspace);
        let mut out = redis::cmd("ZREM");
        out.arg(&index).arg(names.iter().map(Name::as_str).collect::<Vec<_>>());
        self.redis.query::<u64>(&out).await?;
        let held = self.look_at(workspace, &names).await?;
        let back: Vec<Cmd> = names
            .iter()
            .zip(held)
            .filter(|(_, held)| held.is_some())
            .map(|(name, _)| redis::cmd("ZADD").arg(&index).arg(0).arg(name.as_str()).clone())
            .collect();
        if !back.is_empty() {
            let mut pipeline = Pipeline::with_capacity(back.len());
            back.into_iter().for_each(|command| {
                pipeline.add_command(command);
            });
            self.redis.pipeline(&pipeline).await?;
        }
        Ok(())
    }
}
