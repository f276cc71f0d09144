//! A page of what all shards have: in order of the ids, a cursor to go on from.

use super::answer;
use super::gather::{Cover, gather};
use super::request::page_limit;
use crate::Shared;
use crate::door;
use crate::shard::{Ask, Listing, Wanted};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::FutureExt as _;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::time::Duration;
use synod_protocol::{Code, EntityId, Error, Json, Workspace};
use tokio::time::Instant;

/// How long a list may take.
const LIST: Duration = Duration::from_secs(5);

/// What is listed, and how much of it.
pub(crate) struct Paging<'a> {
    /// The path, such as `/v1/tasks`.
    pub(crate) path: &'static str,
    /// The member of an item that holds its id.
    pub(crate) id: &'static str,
    /// Whose.
    pub(crate) workspace: &'a Workspace,
    /// Items of a page; 100 by default.
    pub(crate) limit: Option<usize>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<&'a str>,
    /// The other parameters that were given.
    pub(crate) given: Vec<(&'static str, String)>,
}

/// What one owner has of a list: items in order, and whether there are more of its own.
struct Part {
    items: Vec<(EntityId, Json)>,
    more: bool,
}

impl Paging<'_> {
    /// Where the page begins. Every id sorts after "-", which no id begins with.
    fn after(&self) -> Result<EntityId, Error> {
        let wrong = |_| Error::invalid(format!("this cursor is not of {}", self.path)).with_field("/cursor");
        match self.cursor {
            Some(cursor) => cursor.parse().map_err(wrong),
            None => "-".parse(),
        }
    }

    /// The page of what is wanted, which the other parameters say once more.
    ///
    /// # Errors
    /// The cursor is not of such a list, or some shard was not reached in time.
    pub(crate) async fn page(
        &self,
        shared: &Shared,
        headers: &HeaderMap,
        wanted: Wanted,
    ) -> Result<Response, Error> {
        let limit = page_limit(self.limit).map_err(|refusal| refusal.0)?;
        // One more than is shown, so that it is seen whether there are more.
        let listing =
            Listing { workspace: self.workspace.clone(), after: self.after()?, limit: limit + 1, wanted };
        let cover = Cover::of(headers, shared.config.partitions)?;
        let until = Instant::now() + LIST;
        let path = self.query(limit);
        let (listing, path) = (&listing, path.as_str());
        let here = |shards| self.here(shared, shards, until, listing).boxed();
        let there = |address, shards| self.there(shared, address, shards, path).boxed();
        let mut items: Vec<(EntityId, Json)> = Vec::new();
        let mut more = false;
        for part in gather(shared, &cover, until, here, there).await? {
            more |= part.more;
            items.extend(part.items);
        }
        items.sort_by(|a, b| a.0.cmp(&b.0));
        more |= items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(|(id, _)| id.to_string()) } else { None };
        let items: Vec<Json> = items.into_iter().map(|(_, item)| item).collect();
        Ok(answer::page(&items, next.as_deref()))
    }

    fn part(&self, items: Vec<Json>, more: bool) -> Result<Part, Error> {
        let named = |item: Json| {
            let id =
                item.to::<BTreeMap<String, Json>>().ok().and_then(|members| members.get(self.id)?.to().ok());
            let nameless =
                || Error::new(Code::Internal, format!("an item of {} without {}", self.path, self.id));
            Ok((id.ok_or_else(nameless)?, item))
        };
        Ok(Part { items: items.into_iter().map(named).collect::<Result<_, Error>>()?, more })
    }

    async fn here(
        &self,
        shared: &Shared,
        shards: Vec<u32>,
        until: Instant,
        listing: &Listing,
    ) -> Result<Part, Error> {
        let asked = shards.into_iter().map(|shard| async move {
            door::certain(shared, shard).await?;
            let listing = Box::new(listing.clone());
            let listed =
                shared.shards[shard as usize].ask(until, |answer| Ask::List { listing, answer }).await?;
            listed.0.to::<Vec<Json>>().map_err(|e| Error::new(Code::Internal, e.to_string()))
        });
        let listed = futures::future::try_join_all(asked).await?;
        self.part(listed.concat(), false)
    }

    async fn there(
        &self,
        shared: &Shared,
        address: String,
        shards: Vec<u32>,
        path: &str,
    ) -> Result<Part, Error> {
        #[derive(Deserialize)]
        struct Page {
            items: Vec<Json>,
            next_cursor: Option<String>,
        }
        let body = shared.forward.get(&address, path, Some(self.workspace), Some(&shards), LIST).await?;
        let page: Page = serde_json::from_slice(&body)
            .map_err(|e| Error::unavailable(format!("the list of {address} does not read: {e}")))?;
        self.part(page.items, page.next_cursor.is_some())
    }

    fn query(&self, limit: usize) -> String {
        let mut query = format!("{}?limit={limit}", self.path);
        let cursor = self.cursor.map(|cursor| ("cursor", cursor.to_owned()));
        for (name, value) in self.given.iter().cloned().chain(cursor) {
            query.push_str(&format!("&{name}={}", door::escaped(&value)));
        }
        query
    }
}
