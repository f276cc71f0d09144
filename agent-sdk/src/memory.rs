//! An agent's memory: what it wants to know again, under keys, for a while.
//!
//! It lives in Redis, so it outlives the agent's process, and another agent can be handed a part of it. What was used least
//! recently goes first when it is full. Reads are answered from this process for up to [`MeshConfig::memory_staleness`].
//!
//! [`MeshConfig::memory_staleness`]: crate::MeshConfig::memory_staleness

use serde::Serialize;
use serde::de::DeserializeOwned;
use synod_infra::primitives::memory::{Listing, Memory, MemoryPage};
use synod_protocol::primitives::memory::{MemoryEntry, MemoryStatistics, PutMemory, Thread, key as key_of};
use synod_protocol::{Error, Id, Json};

/// One agent's memory; a cheap clone. All handles of a [`Mesh`](crate::Mesh) on the same one share what is kept here.
///
/// ```no_run
/// # async fn example(mesh: agent_sdk::Mesh) -> Result<(), agent_sdk::protocol::Error> {
/// let memory = mesh.memory(&"analyst".parse()?);
/// memory.put("seen/report-7", &["a", "b"]).await?;
/// let seen: Option<Vec<String>> = memory.get("seen/report-7").await?;
/// memory.thread(&"writer".parse()?, ["seen/report-7"]).await?;
/// # drop(seen); Ok(()) }
/// ```
///
/// Every call fails as `unavailable` where the configuration names no Redis, and where Redis cannot be reached.
#[derive(Clone, Debug)]
pub struct AgentMemory {
    memory: Option<Memory>,
}

impl AgentMemory {
    pub(crate) fn new(memory: Option<Memory>) -> AgentMemory {
        AgentMemory { memory }
    }

    /// Writes a value, to be kept for as long as is usual.
    ///
    /// # Errors
    /// `invalid_argument` for what is no key (1 to 512 bytes without control characters); `payload_too_large` over
    /// 512 KiB; those of any call.
    pub async fn put<T: Serialize + ?Sized>(&self, key: &str, value: &T) -> Result<MemoryEntry, Error> {
        self.put_entry(key, &PutMemory::new(json(value)?)).await
    }

    /// Writes an entry, with its tags and time to live.
    ///
    /// # Errors
    /// As [`AgentMemory::put`].
    pub async fn put_entry(&self, key: &str, put: &PutMemory) -> Result<MemoryEntry, Error> {
        Ok(self.there()?.put(&key_of(key, "/key")?, put, None).await?.0)
    }

    /// Reads a value; `None` where nothing is remembered under the key. This uses it.
    ///
    /// # Errors
    /// `invalid_argument` where the value is not a `T`; those of any call.
    pub async fn get<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>, Error> {
        let Some(entry) = self.entry(key).await? else { return Ok(None) };
        let odd = |e: serde_json::Error| Error::invalid(format!("what is remembered under {key:?}: {e}"));
        entry.value.to().map(Some).map_err(odd)
    }

    /// Reads an entry with its tags, times and provenance. This uses it.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn entry(&self, key: &str) -> Result<Option<MemoryEntry>, Error> {
        self.there()?.get(&key_of(key, "/key")?).await
    }

    /// Removes an entry; whether it was there.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn delete(&self, key: &str) -> Result<bool, Error> {
        self.there()?.delete(&key_of(key, "/key")?, None).await
    }

    /// One page of entries, newest written first. This uses none of them.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn list(&self, listing: &Listing) -> Result<MemoryPage, Error> {
        self.there()?.list(listing).await
    }

    /// Hands entries to another agent: copies of all of them, or none. How many.
    ///
    /// # Errors
    /// `not_found` where one is not there, its place in `field`; those of any call.
    pub async fn thread<K: Into<String>>(
        &self,
        to: &Id,
        keys: impl IntoIterator<Item = K>,
    ) -> Result<u64, Error> {
        let keys = keys.into_iter().map(Into::into).collect();
        self.there()?.thread(&Thread { to: to.clone(), keys }, None).await
    }

    /// What it is like.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn statistics(&self) -> Result<MemoryStatistics, Error> {
        self.there()?.statistics().await
    }

    /// Removes all entries.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn clear(&self) -> Result<(), Error> {
        self.there()?.clear(None).await
    }

    fn there(&self) -> Result<&Memory, Error> {
        self.memory
            .as_ref()
            .ok_or_else(|| Error::unavailable("Redis is not configured, and memory lives there"))
    }
}

fn json<T: Serialize + ?Sized>(value: &T) -> Result<Json, Error> {
    Json::of(value)
        .map_err(|e| Error::invalid(format!("the value has no JSON form: {e}")).with_field("/value"))
}
