//! `synod lock …`: one holder at a time, with a fencing token.

use super::place::Place;
use crate::mesh::{Api, run as on_runtime, segment};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use synod_protocol::Name;

/// Arguments of `synod lock`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Take one, or wait for it: first come first served
    Acquire(Acquire),
    /// Make it last from now
    Renew(Renew),
    /// Give it back
    Release(Held),
    /// List those that are held
    List(List),
    /// Show who holds one, and how many wait
    Get(Which),
    /// Take it from whoever holds it
    Break(Break),
}

/// Which lock or semaphore.
#[derive(Debug, clap::Args)]
pub(super) struct Which {
    /// Its name
    #[arg(value_name = "NAME")]
    pub(super) name: Name,
}

/// Who takes, for how long, how long to wait.
#[derive(Debug, clap::Args)]
pub(super) struct Acquire {
    #[command(flatten)]
    pub(super) which: Which,
    /// Who is to hold it
    #[arg(long, value_name = "WHO")]
    pub(super) owner: Name,
    /// How long it is held, 10 to 86,400,000 ms
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    pub(super) ttl_ms: u64,
    /// How long to wait for it, up to 60,000 ms
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub(super) wait_ms: u64,
}

/// What is held.
#[derive(Debug, clap::Args)]
pub(super) struct Held {
    #[command(flatten)]
    pub(super) which: Which,
    /// Who holds it
    #[arg(long, value_name = "WHO")]
    pub(super) owner: Name,
    /// Under which token
    #[arg(long)]
    pub(super) token: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct Renew {
    #[command(flatten)]
    pub(super) held: Held,
    /// How long from now, 10 to 86,400,000 ms
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    pub(super) ttl_ms: u64,
}

#[derive(Debug, clap::Args)]
pub(super) struct List {
    /// Only names that begin so
    #[arg(long, value_name = "TEXT")]
    pub(super) prefix: Option<String>,
    /// At most so many, 1 to 10,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(super) limit: u32,
}

#[derive(Debug, clap::Args)]
pub(super) struct Break {
    #[command(flatten)]
    pub(super) which: Which,
    /// Only this grant
    #[arg(long)]
    pub(super) token: Option<u64>,
}

const COLUMNS: [Column; 6] = [
    Column::new("LOCK", "/name"),
    Column::new("HOLDER", "/owner"),
    Column::new("TOKEN", "/token").right(),
    Column::new("AGE ms", "/age_ms").right(),
    Column::new("EXPIRES", "/expires_at"),
    Column::new("WAITERS", "/waiters").right(),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        let locks = Leases { api: &api, room: "locks" };
        match args.verb {
            Verb::Acquire(acquire) => output.entity(&locks.acquire(&acquire, None).await?),
            Verb::Renew(renew) => output.entity(&locks.renew(&renew).await?),
            Verb::Release(held) => locks.release(&held).await,
            Verb::List(list) => output.list(&locks.list(list).await?, &COLUMNS),
            Verb::Get(which) => output.entity(&locks.get(&which).await?),
            Verb::Break(which) => output.entity(&locks.break_open(&which).await?),
        }
    })
}

/// Locks or semaphores, over HTTP.
pub(super) struct Leases<'a> {
    pub(super) api: &'a Api,
    /// `locks` or `semaphores`.
    pub(super) room: &'static str,
}

impl Leases<'_> {
    fn path(&self, which: &Which) -> String {
        format!("/v1/{}/{}", self.room, segment(which.name.as_str()))
    }

    pub(super) async fn acquire(&self, acquire: &Acquire, permits: Option<u32>) -> Result<Value, Stop> {
        let Acquire { which, owner, ttl_ms, wait_ms } = acquire;
        let mut body = json!({ "owner": owner, "ttl_ms": ttl_ms, "wait_ms": wait_ms });
        if let Some(permits) = permits {
            body["permits"] = permits.into();
        }
        let wait = Duration::from_millis(*wait_ms);
        Ok(self.api.post(&self.path(which), &[], &body, wait).await?.1)
    }

    pub(super) async fn renew(&self, renew: &Renew) -> Result<Value, Stop> {
        let Held { which, owner, token } = &renew.held;
        let body = json!({ "owner": owner, "token": token, "ttl_ms": renew.ttl_ms });
        Ok(self.api.put(&self.path(which), &body).await?)
    }

    pub(super) async fn release(&self, held: &Held) -> Result<(), Stop> {
        let query = [("owner", held.owner.to_string()), ("token", held.token.to_string())];
        self.api.delete_where(&self.path(&held.which), &query).await?;
        Ok(())
    }

    pub(super) async fn list(&self, list: List) -> Result<Vec<Value>, Stop> {
        let mut query = vec![("limit", list.limit.min(100).to_string())];
        query.extend(list.prefix.map(|prefix| ("prefix", prefix)));
        pages(self.api, &format!("/v1/{}", self.room), &query, list.limit as usize).await
    }

    pub(super) async fn get(&self, which: &Which) -> Result<Value, Stop> {
        Ok(self.api.get(&self.path(which), &[], Duration::ZERO).await?)
    }

    pub(super) async fn break_open(&self, which: &Break) -> Result<Value, Stop> {
        let path = format!("{}/break", self.path(&which.which));
        let body = json!({ "token": which.token });
        Ok(self.api.post(&path, &[], &body, Duration::ZERO).await?.1)
    }
}

/// All pages: one of these may be empty before the end.
async fn pages(api: &Api, path: &str, query: &[(&str, String)], limit: usize) -> Result<Vec<Value>, Stop> {
    let mut all: Vec<Value> = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let mut query = query.to_vec();
        query.extend(cursor.take().map(|cursor| ("cursor", cursor)));
        let page = api.get(path, &query, Duration::ZERO).await?;
        all.extend_from_slice(super::items(&page));
        cursor = page["next_cursor"].as_str().map(str::to_owned);
        if cursor.is_none() || all.len() >= limit {
            all.truncate(limit);
            return Ok(all);
        }
    }
}
