//! Answers that span shards: each owner is asked for its part, and the whole covers every shard or is no answer.

use crate::Shared;
use crate::door::{self, Came, Where};
use crate::forward::SHARDS;
use axum::http::HeaderMap;
use futures::future::{BoxFuture, join_all};
use std::collections::BTreeMap;
use synod_protocol::{Code, Error};
use tokio::time::Instant;

/// Which shards an answer is to cover, and who asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Cover {
    pub(crate) came: Came,
    pub(crate) shards: Vec<u32>,
}

impl Cover {
    /// All of them for a client; for another coordinator those that it names.
    ///
    /// # Errors
    /// `invalid_argument`: they do not read.
    pub(crate) fn of(headers: &HeaderMap, partitions: u32) -> Result<Cover, Error> {
        let came = Came::of(headers);
        let named = headers.get(SHARDS).filter(|_| came == Came::PassedOn);
        let Some(named) = named else { return Ok(Cover { came, shards: (0..partitions).collect() }) };
        let read = |text: &str| text.split(',').map(|s| s.parse().ok().filter(|s| *s < partitions)).collect();
        let shards: Option<Vec<u32>> = named.to_str().ok().and_then(read);
        let shards = shards
            .ok_or_else(|| Error::invalid(format!("header {SHARDS} is no list of shards of this mesh")))?;
        Ok(Cover { came, shards })
    }
}

/// Asks `here` for the shards that are ours and `there` for those of each other owner; what has moved meanwhile is
/// asked for again.
///
/// # Errors
/// `unavailable`: some shard was not covered until `until`. Any refusal.
pub(crate) async fn gather<'a, T>(
    shared: &Shared,
    cover: &Cover,
    until: Instant,
    here: impl Fn(Vec<u32>) -> BoxFuture<'a, Result<T, Error>>,
    there: impl Fn(String, Vec<u32>) -> BoxFuture<'a, Result<T, Error>>,
) -> Result<Vec<T>, Error> {
    let (mut parts, mut missing) = (Vec::new(), cover.shards.clone());
    loop {
        let mut groups: BTreeMap<Option<String>, Vec<u32>> = BTreeMap::new();
        for shard in missing.drain(..) {
            let group = match door::find(shared, shard, cover.came, until).await? {
                Where::Here => None,
                Where::There(address) => Some(address),
            };
            groups.entry(group).or_default().push(shard);
        }
        let asked = groups.into_iter().map(|(at, shards)| {
            let part = match at {
                None => here(shards.clone()),
                Some(address) => there(address, shards.clone()),
            };
            async move { (shards, part.await) }
        });
        let mut why = None;
        for (shards, part) in join_all(asked).await {
            match part {
                Ok(part) => parts.push(part),
                Err(error) if error.code == Code::Unavailable && cover.came == Came::FromClient => {
                    missing.extend(shards);
                    why = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        match why {
            None => return Ok(parts),
            Some(error) if Instant::now() >= until => return Err(error),
            Some(_) => door::a_moment(shared).await,
        }
    }
}
