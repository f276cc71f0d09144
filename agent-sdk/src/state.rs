//! What agents hold in common: versioned values under keys, typed.
//!
//! ```no_run
//! # async fn example(mesh: agent_sdk::Mesh) -> Result<(), agent_sdk::protocol::Error> {
//! use agent_sdk::Merge;
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize)]
//! struct Plan {
//!     step: u32,
//!     notes: Vec<String>,
//! }
//!
//! let state = mesh.state().by("planner-1");
//! state.put("plans/today", &Plan { step: 1, notes: vec![] }).await?;
//!
//! // Read, change, write; once more where somebody else was quicker.
//! state.update("plans/today", |plan: Option<Plan>| {
//!     let mut plan = plan?;
//!     plan.step += 1;
//!     Some(plan)
//! })
//! .await?;
//!
//! // Let Redis' side put together what many write at once.
//! let merge = Merge::new().sum("/step").union("/notes");
//! state.merge("plans/today", &Plan { step: 2, notes: vec!["late".into()] }, merge).await?;
//! # Ok(())
//! # }
//! ```

use crate::mesh::Mesh;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::marker::PhantomData;
use std::time::Duration;
use synod_infra::primitives::mirror::Mirrored;
use synod_infra::primitives::state::{self as infra, Done, HistoryPage, Writer, Written};
use synod_protocol::primitives::state::{
    Batch, Condition, Durability, Entry, Policy, Put, Rule, Rules, Statistics, Strategy, Tombstone,
};
use synod_protocol::{Code, Error, Json, Name, Timestamp, Workspace};

/// How long a write with durability `Ledger` waits for the mirror.
const MIRRORED_WITHIN: Duration = Duration::from_secs(10);
/// How often [`State::update`] begins again because somebody else was quicker.
const TRIES: usize = 64;

/// The shared state of a mesh's workspace; a cheap clone. Straight to Redis: no coordinator takes part.
#[derive(Clone, Debug)]
pub struct State {
    state: Option<infra::State>,
    mirrored: Option<Mirrored>,
    workspace: Workspace,
    by: String,
}

/// A value with its version.
#[derive(Clone, Debug)]
pub struct Held<T> {
    /// The value.
    pub value: T,
    /// Its version; for [`State::put_if`].
    pub version: u64,
    /// By whom it was written.
    pub updated_by: String,
    /// When.
    pub updated_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
}

/// Rules of a merge, by JSON pointer.
#[derive(Clone, Debug, Default)]
pub struct Merge(Rules);

impl Merge {
    /// RFC 7396 alone.
    pub fn new() -> Merge {
        Merge::default()
    }

    /// The greater number stays.
    #[must_use]
    pub fn max(self, pointer: &str) -> Merge {
        self.with(pointer, Rule::Max)
    }

    /// The lesser number stays.
    #[must_use]
    pub fn min(self, pointer: &str) -> Merge {
        self.with(pointer, Rule::Min)
    }

    /// Numbers are added.
    #[must_use]
    pub fn sum(self, pointer: &str) -> Merge {
        self.with(pointer, Rule::Sum)
    }

    /// What the array has not is added to it.
    #[must_use]
    pub fn union(self, pointer: &str) -> Merge {
        self.with(pointer, Rule::Union)
    }

    /// Everything is added to the array.
    #[must_use]
    pub fn append(self, pointer: &str) -> Merge {
        self.with(pointer, Rule::Append)
    }

    fn with(mut self, pointer: &str, rule: Rule) -> Merge {
        self.0.0.insert(pointer.to_owned(), rule);
        self
    }
}

impl Mesh {
    /// What agents hold in common in this workspace. Without Redis in the configuration every call is `unavailable`.
    pub fn state(&self) -> State {
        State {
            state: self.redis().cloned().map(infra::State::new),
            mirrored: self.mirrored(),
            workspace: self.config().workspace.clone(),
            by: "anonymous".to_owned(),
        }
    }
}

impl State {
    /// The same, written in the name of this agent.
    #[must_use]
    pub fn by(mut self, agent: impl Into<String>) -> State {
        self.by = agent.into();
        self
    }

    /// A view of one key whose values are of one type.
    ///
    /// # Errors
    /// `invalid_argument`: no name of a key.
    pub fn key<T: Serialize + DeserializeOwned>(&self, key: &str) -> Result<Key<T>, Error> {
        Ok(Key { state: self.clone(), key: key.parse()?, of: PhantomData })
    }

    /// The value, if there is one.
    ///
    /// # Errors
    /// `unprocessable`: it has another shape; `unavailable`.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<Held<T>>, Error> {
        self.entry(key).await?.map(held).transpose()
    }

    /// The entry as it is, with its metadata.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn entry(&self, key: &str) -> Result<Option<Entry>, Error> {
        self.infra()?.get(&self.workspace, &key.parse()?).await
    }

    /// The entry as it was at a version, if the history still has it.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn at(&self, key: &str, version: u64) -> Result<Option<Entry>, Error> {
        self.infra()?.at(&self.workspace, &key.parse()?, version).await
    }

    /// Writes a value, whatever is there, unless a policy says otherwise; its version.
    ///
    /// # Errors
    /// Those of [`State::write`].
    pub async fn put<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<u64, Error> {
        Ok(self.write(key, Put::of(json(value)?), Condition::None).await?.entry.version)
    }

    /// Writes a value if the key has this version (0: is not there); the new one.
    ///
    /// # Errors
    /// `conflict` with the version in force; those of [`State::write`].
    pub async fn put_if<T: Serialize + ?Sized>(
        &self,
        key: &str,
        value: &T,
        version: u64,
    ) -> Result<u64, Error> {
        let put = Put { strategy: Some(Strategy::Reject), ..Put::of(json(value)?) };
        Ok(self.write(key, put, Condition::Version(version)).await?.entry.version)
    }

    /// Merges a value into what is there: RFC 7396, then the rules.
    ///
    /// # Errors
    /// `unprocessable`: a rule does not fit; those of [`State::write`].
    pub async fn merge<T: Serialize + ?Sized>(
        &self,
        key: &str,
        patch: &T,
        rules: Merge,
    ) -> Result<Entry, Error> {
        let put = Put { strategy: Some(Strategy::Merge), rules: Some(rules.0), ..Put::of(json(patch)?) };
        Ok(self.write(key, put, Condition::None).await?.entry)
    }

    /// Writes with everything that a write may say.
    ///
    /// # Errors
    /// `conflict`, `fenced` (the lock), `invalid_argument`, `payload_too_large`, `overloaded`; `unavailable`, where
    /// `applied` says whether it may be done all the same.
    pub async fn write(&self, key: &str, put: Put, condition: Condition) -> Result<Written, Error> {
        let durability = put.durability;
        let written = self.infra()?.put(&self.writer(), &key.parse()?, put.checked()?, condition).await?;
        if let (Durability::Ledger, Some(mirrored)) = (durability, &self.mirrored) {
            mirrored.wait(written.place.range, &written.place.place, MIRRORED_WITHIN).await?;
        }
        Ok(written)
    }

    /// Reads a value, lets it be changed, and writes it if nobody has written meanwhile; else from the start. `None` leaves
    /// it as it is. What is there afterwards, if anything.
    ///
    /// # Errors
    /// `conflict` where somebody else was quicker each time; those of [`State::get`] and [`State::write`].
    pub async fn update<T: Serialize + DeserializeOwned>(
        &self,
        key: &str,
        mut change: impl FnMut(Option<T>) -> Option<T>,
    ) -> Result<Option<Held<T>>, Error> {
        let mut last = None;
        for _ in 0..TRIES {
            let entry = self.entry(key).await?;
            let version = entry.as_ref().map_or(0, |entry| entry.version);
            let before = entry.clone().map(held::<T>).transpose()?.map(|held| held.value);
            let Some(after) = change(before) else { return entry.map(held).transpose() };
            let put = Put { strategy: Some(Strategy::Reject), ..Put::of(json(&after)?) };
            match self.write(key, put, Condition::Version(version)).await {
                Ok(written) => return held(written.entry).map(Some),
                Err(error) if error.code == Code::Conflict => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::conflict("others were quicker each time", 0)))
    }

    /// Removes a key; what is left of it, if it was there.
    ///
    /// # Errors
    /// `conflict`; `unavailable`.
    pub async fn delete(&self, key: &str, condition: Condition) -> Result<Option<Tombstone>, Error> {
        let removed = self.infra()?.delete(&self.writer(), &key.parse()?, condition).await?;
        Ok(removed.map(|removed| removed.tombstone))
    }

    /// Does operations on keys of one hash tag, all or none.
    ///
    /// # Errors
    /// Those of [`State::write`], with the operation as `field`.
    pub async fn batch(&self, batch: Batch) -> Result<Vec<Done>, Error> {
        Ok(self.infra()?.batch(&self.writer(), batch.checked()?).await?.0)
    }

    /// A page of the entries whose keys begin with a prefix, in order of their keys, and where the next one begins.
    ///
    /// # Errors
    /// `invalid_argument`: the cursor; `unavailable`.
    pub async fn list(
        &self,
        prefix: &str,
        limit: usize,
        cursor: Option<&str>,
    ) -> Result<(Vec<Entry>, Option<String>), Error> {
        let page = self.infra()?.list(&self.workspace, prefix, limit.clamp(1, 1_000), cursor).await?;
        Ok((page.entries, page.next_cursor))
    }

    /// A page of a key's history, newest first; empty for a key of which nothing is known.
    ///
    /// # Errors
    /// `invalid_argument`: the cursor; `unavailable`.
    pub async fn history(&self, key: &str, limit: usize, cursor: Option<&str>) -> Result<HistoryPage, Error> {
        let limit = limit.clamp(1, 1_000);
        let page = self.infra()?.history(&self.workspace, &key.parse()?, limit, cursor).await?;
        Ok(page.unwrap_or(HistoryPage { lines: Vec::new(), next_cursor: None }))
    }

    /// Writes again what a key had at a version.
    ///
    /// # Errors
    /// `not_found`: its history no longer has it; those of [`State::write`].
    pub async fn restore(&self, key: &str, version: u64) -> Result<Entry, Error> {
        Ok(self.infra()?.restore(&self.writer(), &key.parse()?, version).await?.entry)
    }

    /// Sets what becomes of conflicting writes of keys with a prefix.
    ///
    /// # Errors
    /// `invalid_argument`; `unprocessable`: there are too many; `unavailable`.
    pub async fn set_policy(&self, prefix: &str, policy: Policy) -> Result<(), Error> {
        self.infra()?.set_policy(&self.workspace, &prefix.parse()?, &policy.checked()?).await
    }

    /// Keys, bytes, operations and conflicts, in all and by prefix.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn statistics(&self) -> Result<Statistics, Error> {
        self.infra()?.statistics(&self.workspace).await
    }

    fn infra(&self) -> Result<&infra::State, Error> {
        self.state
            .as_ref()
            .ok_or_else(|| Error::unavailable("Redis is not configured, and shared state is in Redis"))
    }

    fn writer(&self) -> Writer {
        Writer::new(self.workspace.clone(), self.by.clone())
    }
}

/// One key whose values are of one type.
#[derive(Clone, Debug)]
pub struct Key<T> {
    state: State,
    key: Name,
    of: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Key<T> {
    /// As [`State::get`].
    ///
    /// # Errors
    /// Those of [`State::get`].
    pub async fn get(&self) -> Result<Option<Held<T>>, Error> {
        self.state.get(self.key.as_str()).await
    }

    /// As [`State::put`].
    ///
    /// # Errors
    /// Those of [`State::put`].
    pub async fn put(&self, value: &T) -> Result<u64, Error> {
        self.state.put(self.key.as_str(), value).await
    }

    /// As [`State::put_if`].
    ///
    /// # Errors
    /// Those of [`State::put_if`].
    pub async fn put_if(&self, value: &T, version: u64) -> Result<u64, Error> {
        self.state.put_if(self.key.as_str(), value, version).await
    }

    /// As [`State::update`].
    ///
    /// # Errors
    /// Those of [`State::update`].
    pub async fn update(&self, change: impl FnMut(Option<T>) -> Option<T>) -> Result<Option<Held<T>>, Error> {
        self.state.update(self.key.as_str(), change).await
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<Json, Error> {
    Json::of(value)
        .map_err(|e| Error::invalid(format!("the value has no JSON form: {e}")).with_field("/value"))
}

fn held<T: DeserializeOwned>(entry: Entry) -> Result<Held<T>, Error> {
    let value = entry.value.to::<T>().map_err(|error| {
        let said = format!("the value of {:?} has another shape: {error}", entry.key.as_str());
        Error::new(Code::Unprocessable, said)
    })?;
    Ok(Held {
        value,
        version: entry.version,
        updated_by: entry.updated_by,
        updated_at: entry.updated_at,
        expires_at: entry.expires_at,
    })
}
