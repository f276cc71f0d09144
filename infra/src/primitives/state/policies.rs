//! Policies: what becomes of writes of keys that begin with a prefix, in a conflict.
//!
//! Every range has a copy of them with a version of its own, under its own hash tag. A writer decides by what it has read,
//! and the script refuses one who has read another version: a policy that is set holds for every later write.

use super::{State, keys, unexpected, words};
use crate::redis::{Call, RedisError, Script};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, PoisonError};
use synod_protocol::primitives::state::{POLICIES_LIMIT, Policy, RANGES};
use synod_protocol::{Code, Error, Name, Workspace};

static SET: LazyLock<Script> =
    LazyLock::new(|| Script::new("set_policy", include_str!("../scripts/set_policy.lua")));

/// Policies that are remembered, of so many ranges and workspaces; then all are forgotten.
const REMEMBERED: usize = 4_096;

/// The policies of a workspace as one range has them.
#[derive(Debug, Default)]
pub(super) struct Policies {
    pub(super) version: String,
    by_prefix: BTreeMap<String, Policy>,
}

impl Policies {
    /// The one of the longest prefix that the key begins with.
    pub(super) fn of(&self, key: &Name) -> Option<&Policy> {
        let fitting = self.by_prefix.iter().filter(|(prefix, _)| key.as_str().starts_with(prefix.as_str()));
        fitting.max_by_key(|(prefix, _)| prefix.len()).map(|(_, policy)| policy)
    }
}

impl State {
    /// The policies of a workspace by prefix.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn policies(&self, workspace: &Workspace) -> Result<BTreeMap<String, Policy>, Error> {
        Ok(self.policies_of(0, workspace, true).await?.by_prefix.clone())
    }

    /// Sets the policy of a prefix; every write that begins afterwards follows it. If it fails some keys may follow it
    /// already: repeat it.
    ///
    /// # Errors
    /// `overloaded`: the workspace has too many; `unavailable`.
    pub async fn set_policy(
        &self,
        workspace: &Workspace,
        prefix: &Name,
        policy: &Policy,
    ) -> Result<(), Error> {
        let text = serde_json::to_string(policy).map_err(|e| Error::invalid(e.to_string()))?;
        self.change_policy(workspace, prefix, text).await.map(drop)
    }

    /// Takes the policy of a prefix away; whether there was one.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn remove_policy(&self, workspace: &Workspace, prefix: &Name) -> Result<bool, Error> {
        self.change_policy(workspace, prefix, String::new()).await
    }

    async fn change_policy(&self, workspace: &Workspace, prefix: &Name, text: String) -> Result<bool, Error> {
        let call = |range| Call {
            keys: vec![
                keys::state_policies(range, workspace),
                keys::state_policies_version(range, workspace),
            ],
            args: vec![prefix.to_string(), text.clone(), POLICIES_LIMIT.to_string()],
        };
        let calls: Vec<Call> = (0..RANGES).map(call).collect();
        let mut had = false;
        for answer in SET.run_all(&self.redis, &calls).await {
            let said = words(answer?)?;
            match said.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
                ["set"] => had = true,
                ["absent"] => {}
                ["full"] => {
                    let said = format!(
                        "the workspace has {POLICIES_LIMIT} policies, which is the limit; remove one"
                    );
                    return Err(Error::new(Code::Unprocessable, said));
                }
                other => return Err(unexpected("set_policy", other)),
            }
        }
        Ok(had)
    }

    /// The policies as a range has them: those remembered, or read again.
    pub(super) async fn policies_of(
        &self,
        range: u32,
        workspace: &Workspace,
        fresh: bool,
    ) -> Result<Arc<Policies>, Error> {
        let at = (range, workspace.clone());
        if !fresh {
            let remembered = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(policies) = remembered.get(&at) {
                return Ok(policies.clone());
            }
        }
        let read = Arc::new(self.read_policies(range, workspace).await?);
        let mut remembered = self.policies.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= REMEMBERED {
            remembered.clear();
        }
        remembered.insert(at, read.clone());
        Ok(read)
    }

    /// The version first: if both change in between, the version read is too old, and the script says so.
    async fn read_policies(&self, range: u32, workspace: &Workspace) -> Result<Policies, Error> {
        let mut both = redis::Pipeline::with_capacity(2);
        both.cmd("GET").arg(keys::state_policies_version(range, workspace));
        both.cmd("HGETALL").arg(keys::state_policies(range, workspace));
        let mut values = self.redis.pipeline(&both).await?.values.into_iter();
        let mut next = || -> Result<redis::Value, RedisError> {
            let value = values.next().unwrap_or(redis::Value::Nil);
            Ok(value.extract_error()?)
        };
        let version: Option<String> = redis::from_redis_value(next()?).map_err(RedisError::from)?;
        let texts: BTreeMap<String, String> = redis::from_redis_value(next()?).map_err(RedisError::from)?;
        let read = |(prefix, text): (String, String)| match serde_json::from_str(&text) {
            Ok(policy) => Ok((prefix, policy)),
            Err(error) => {
                Err(RedisError::Unexpected(format!("the policy of {prefix:?} does not read: {error}")))
            }
        };
        let by_prefix = texts.into_iter().map(read).collect::<Result<_, _>>()?;
        Ok(Policies { version: version.unwrap_or_else(|| "0".to_owned()), by_prefix })
    }
}
