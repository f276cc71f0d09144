//! What an agent has to do, on its way to the agent.
//!
//! The coordinator's side puts bodies into an agent's inbox, at most once per attempt and never for a
//! deposed owner. The agent's side moves them to the list of its own incarnation as it takes them, so that
//! an answer lost on the way loses nothing, and removes them from there when they are settled.
//!
//! ```text
//! deliver --> inbox --take--> taken:<incarnation> --settle--> gone
//!    fenced by issuing epoch, once per attempt        drained again after every reconnect
//! ```
//!
//! It never decides whose attempt counts: the ledger does. An attempt may be handed out twice after an hour
//! or a wipe of Redis.

use super::client::Redis;
use super::error::RedisError;
use super::keys;
use super::script::{Call, Script};
use redis::Value;
use std::sync::LazyLock;
use std::time::Duration;
use synod_protocol::{Id, Incarnation, Workspace};

pub use super::inbox_reader::{InboxReader, Taken};

/// Entries that an inbox may hold; more are refused as `Full`.
pub const INBOX_LIMIT: u64 = 10_000;
/// Entries that it may hold besides, where what comes is urgent.
pub const URGENT_ROOM: u64 = 1_000;
/// How long a delivered attempt is remembered.
pub const SEEN_FOR: Duration = Duration::from_secs(3600);
/// How many delivered attempts are remembered per agent.
pub const SEEN_LIMIT: u64 = 10_000;
/// How long the newest epochs outlive the last delivery to an agent.
const GUARD_FOR: Duration = Duration::from_secs(7 * 24 * 3600);

static DELIVER: LazyLock<Script> =
    LazyLock::new(|| Script::new("deliver", include_str!("scripts/deliver.lua")));

static TAKE_BACK: LazyLock<Script> =
    LazyLock::new(|| Script::new("take_back", include_str!("scripts/take_back.lua")));

/// Entries of an inbox among which attempts to be taken back are looked for, from the oldest on.
const LOOKED_THROUGH: u64 = 1_000;

/// Attempts that one agent is to give back if it has not taken them.
#[derive(Clone, Debug)]
pub struct TakeBack {
    /// The agent's workspace.
    pub workspace: Workspace,
    /// The agent.
    pub agent: Id,
    /// The shard whose owner asks.
    pub shard: u32,
    /// The owner's epoch; below 2^53.
    pub epoch: u64,
    /// `<task>#<n>` each.
    pub attempt_ids: Vec<String>,
}

/// One body for one agent.
#[derive(Clone, Debug)]
pub struct Delivery {
    /// The agent's workspace.
    pub workspace: Workspace,
    /// The agent.
    pub agent: Id,
    /// The shard whose owner issues it.
    pub shard: u32,
    /// The epoch of the **issuing** owner, not of the record; below 2^53.
    pub epoch: u64,
    /// `<task>#<n>` for an attempt, delivered once; `None` for a notice, delivered as often as it is issued.
    pub attempt_id: Option<String>,
    /// Whether it is taken before all that waits, the newest such first. A full inbox has some room left for it.
    pub urgent: bool,
    /// What the agent reads.
    pub body: String,
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It is in the inbox now.
    Accepted,
    /// The agent had this attempt before; nothing was added. Counts as confirmed, also for a deposed owner.
    AlreadyThere,
    /// A newer owner of that shard has delivered here; nothing was added.
    Fenced {
        /// Its epoch.
        newest: u64,
    },
}

/// The coordinator's side of all inboxes; a cheap clone.
#[derive(Clone, Debug)]
pub struct Inboxes {
    redis: Redis,
}

impl Inboxes {
    /// All inboxes of this Redis.
    pub fn new(redis: Redis) -> Inboxes {
        Inboxes { redis }
    }

    /// Delivers each, pipelined; the results stand in the order of the batch.
    ///
    /// Bodies for one agent keep their order, except across a moment at which Redis has forgotten the script.
    ///
    /// # Errors
    /// Per delivery: `Full`, or those of any call. After `Unavailable` or `Timeout` it may be there all the
    /// same: deliver again.
    pub async fn deliver(&self, batch: Vec<Delivery>) -> Vec<Result<Delivered, RedisError>> {
        let calls: Vec<Call> = batch.into_iter().map(call).collect();
        let answers = DELIVER.run_all(&self.redis, &calls).await;
        answers.into_iter().map(|answer| answer.and_then(delivered)).collect()
    }

    /// How many bodies wait for an agent.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn waiting(&self, workspace: &Workspace, agent: &Id) -> Result<u64, RedisError> {
        self.redis.query(redis::cmd("LLEN").arg(keys::inbox(workspace, agent))).await
    }

    /// Takes back what still waits in an agent's inbox; which it was. Nobody has had it then, and nobody will take it.
    ///
    /// Of an inbox with more than 1,000 entries only the oldest are looked at.
    ///
    /// # Errors
    /// Those of any call; it may have been taken back all the same. A deposed owner takes nothing back, without an error.
    pub async fn take_back(&self, back: TakeBack) -> Result<Vec<String>, RedisError> {
        let TakeBack { workspace, agent, shard, epoch, attempt_ids } = back;
        let mut args = vec![shard.to_string(), epoch.to_string(), LOOKED_THROUGH.to_string()];
        args.extend(attempt_ids);
        let keys = vec![
            keys::inbox(&workspace, &agent),
            keys::guard(&workspace, &agent),
            keys::seen(&workspace, &agent),
        ];
        let answer = TAKE_BACK.run(&self.redis, Call { keys, args }).await?;
        let mut words: Vec<String> = redis::from_redis_value(answer)?;
        match words.first().map(String::as_str) {
            Some("taken") => Ok(words.split_off(1)),
            Some("fenced") => Ok(Vec::new()),
            _ => Err(RedisError::Unexpected(format!("taking back answered {words:?}"))),
        }
    }

    /// Removes what an ended incarnation had taken.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn forget(
        &self,
        workspace: &Workspace,
        agent: &Id,
        incarnation: &Incarnation,
    ) -> Result<(), RedisError> {
        self.redis.query(redis::cmd("UNLINK").arg(keys::taken(workspace, agent, incarnation))).await
    }

    /// Removes what waits for an agent that has left, and what it is remembered to have had. The guard
    /// stays until it ends by itself: a deposed owner must not reach the agent's next life either.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn forget_agent(&self, workspace: &Workspace, agent: &Id) -> Result<(), RedisError> {
        let both = [keys::inbox(workspace, agent), keys::seen(workspace, agent)];
        self.redis.query(redis::cmd("UNLINK").arg(&both)).await
    }
}

fn call(delivery: Delivery) -> Call {
    let Delivery { workspace, agent, shard, epoch, attempt_id, urgent, body } = delivery;
    let limit = if urgent { INBOX_LIMIT + URGENT_ROOM } else { INBOX_LIMIT };
    Call {
        keys: vec![
            keys::inbox(&workspace, &agent),
            keys::guard(&workspace, &agent),
            keys::seen(&workspace, &agent),
        ],
        args: vec![
            shard.to_string(),
            epoch.to_string(),
            attempt_id.unwrap_or_default(),
            body,
            SEEN_FOR.as_millis().to_string(),
            SEEN_LIMIT.to_string(),
            limit.to_string(),
            GUARD_FOR.as_millis().to_string(),
            // The agent takes from the left.
            if urgent { "LPUSH" } else { "RPUSH" }.to_owned(),
        ],
    }
}

fn delivered(value: Value) -> Result<Delivered, RedisError> {
    let words: Vec<String> = redis::from_redis_value(value)?;
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["accepted"] => Ok(Delivered::Accepted),
        ["already_there"] => Ok(Delivered::AlreadyThere),
        ["fenced", newest] => match newest.parse() {
            Ok(newest) => Ok(Delivered::Fenced { newest }),
            Err(_) => Err(RedisError::Unexpected(format!("the guard of an inbox holds {newest:?}"))),
        },
        ["full"] => Err(RedisError::Full { what: "an inbox", limit: INBOX_LIMIT }),
        other => Err(RedisError::Unexpected(format!("a delivery answered {other:?}"))),
    }
}
