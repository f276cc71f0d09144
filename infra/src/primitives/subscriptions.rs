//! Subscriptions: who wants to hear of which keys or events, and how far each webhook is.
//!
//! ```text
//!   all    <ws>/<id> -> Kept        what was asked for; never changed
//!   ids    <ws>/<id>                in order, for pages
//!   hooks  <ws>/<id> -> Progress    of webhooks: position, failures, whether it is sent; written by whoever delivers,
//!                                   and by `enable`, each only over what it has read
//!   dead   letters                  the newest hundred; `redrive` moves them to `again`, which is sent first
//! ```
//!
//! They are as durable as Redis is.

use super::keys;
use crate::redis::{Call, Once, Redis, RedisError, Repeatable, Script};
use redis::Value;
use serde::{Deserialize, Serialize};
use std::sync::LazyLock;
use synod_protocol::primitives::changes::{
    DeadDelivery, Delivery, SUBSCRIPTIONS_LIMIT, Sought, Spot, Subscription, SubscriptionStatus,
    WEBHOOKS_LIMIT, Webhook,
};
use synod_protocol::{Error, Id, Timestamp, Workspace};

/// Dead letters of one webhook that are kept; older ones go.
pub const DEAD_LIMIT: usize = 100;

static MAKE: LazyLock<Repeatable> =
    LazyLock::new(|| Repeatable::new("subscription_make", include_str!("scripts/subscription_make.lua")));
static DELETE: LazyLock<Repeatable> =
    LazyLock::new(|| Repeatable::new("subscription_delete", include_str!("scripts/subscription_delete.lua")));
static PROGRESS: LazyLock<Script> =
    LazyLock::new(|| Script::new("subscription_progress", include_str!("scripts/subscription_progress.lua")));
static REDRIVE: LazyLock<Repeatable> = LazyLock::new(|| {
    Repeatable::new("subscription_redrive", include_str!("scripts/subscription_redrive.lua"))
});

/// What was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// Its id.
    pub subscription_id: Id,
    /// Which keys, or which events.
    #[serde(flatten)]
    pub sought: Sought,
    /// Where to; `None` for a stream.
    pub webhook: Option<Webhook>,
    /// Where it begins; of the kind of what is sought.
    pub position: Spot,
    /// When it was made.
    pub created_at: Timestamp,
}

/// How far a webhook is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// All up to here was delivered or given up; `None` before the first.
    #[serde(default)]
    pub position: Option<Spot>,
    /// Deliveries that failed one after the other.
    #[serde(default)]
    pub failures: u32,
    /// Nothing is sent until somebody enables it.
    #[serde(default)]
    pub disabled: bool,
    /// Counts how often it was enabled, so that one who delivers notices.
    #[serde(default)]
    pub enabled: u32,
}

/// What became of noting a webhook's progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Noted {
    /// It is noted.
    Yes,
    /// Somebody else noted this meanwhile.
    Changed(Box<Progress>),
    /// The subscription is gone.
    Gone,
}

/// All subscriptions; a cheap clone.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    redis: Redis,
}

impl Subscriptions {
    /// Those of this Redis.
    pub fn new(redis: Redis) -> Subscriptions {
        Subscriptions { redis }
    }

    /// Makes one.
    ///
    /// # Errors
    /// `overloaded` when there are as many as there may be; those of any call.
    pub async fn make(&self, workspace: &Workspace, kept: &Kept, once: Option<&Once>) -> Result<(), Error> {
        let text = serde_json::to_string(kept).map_err(|e| RedisError::Unexpected(e.to_string()))?;
        let keys = [keys::SUBSCRIPTIONS, keys::SUBSCRIPTION_IDS, keys::SUBSCRIPTION_HOOKS].map(str::to_owned);
        let args = vec![
            named(workspace, &kept.subscription_id),
            format!("{workspace}/"),
            format!("{workspace}0"),
            text,
            SUBSCRIPTIONS_LIMIT.to_string(),
            u8::from(kept.webhook.is_some()).to_string(),
            WEBHOOKS_LIMIT.to_string(),
        ];
        let answer = MAKE.run(&self.redis, Call { keys: keys.to_vec(), args }, once).await?;
        let full = |what: &str, limit: u64| {
            let said = format!("there are {limit} {what} already; delete some first");
            Err(Error::overloaded(said, 60_000))
        };
        match first_word(answer)?.as_str() {
            "made" => Ok(()),
            "full" => full("subscriptions in this workspace", SUBSCRIPTIONS_LIMIT),
            _ => full("webhooks", WEBHOOKS_LIMIT),
        }
    }

    /// One of them.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn get(&self, workspace: &Workspace, id: &Id) -> Result<Option<Kept>, RedisError> {
        let named = named(workspace, id);
        let text: Option<String> =
            self.redis.query(redis::cmd("HGET").arg(keys::SUBSCRIPTIONS).arg(&named)).await?;
        text.map(|text| read(&text)).transpose()
    }

    /// How far a webhook is; `None` if there is no such webhook.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn progress(&self, workspace: &Workspace, id: &Id) -> Result<Option<Progress>, RedisError> {
        let named = named(workspace, id);
        let text: Option<String> =
            self.redis.query(redis::cmd("HGET").arg(keys::SUBSCRIPTION_HOOKS).arg(&named)).await?;
        text.map(|text| read(&text)).transpose()
    }

    /// A page of a workspace's, by id, after the one of this id.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn list(
        &self,
        workspace: &Workspace,
        after: Option<&Id>,
        limit: usize,
    ) -> Result<Vec<Subscription>, RedisError> {
        let from = after.map_or(format!("[{workspace}/"), |id| format!("({}", named(workspace, id)));
        let mut page = redis::cmd("ZRANGE");
        page.arg(keys::SUBSCRIPTION_IDS).arg(from).arg(format!("({workspace}0")).arg("BYLEX");
        page.arg("LIMIT").arg(0).arg(limit);
        let names: Vec<String> = self.redis.query(&page).await?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let texts: Vec<Option<String>> =
            self.redis.query(redis::cmd("HMGET").arg(keys::SUBSCRIPTIONS).arg(&names)).await?;
        let hooks: Vec<Option<String>> =
            self.redis.query(redis::cmd("HMGET").arg(keys::SUBSCRIPTION_HOOKS).arg(&names)).await?;
        let both = texts.iter().zip(&hooks).filter_map(|(text, hook)| Some((text.as_deref()?, hook)));
        both.map(|(text, hook)| {
            let progress = hook.as_deref().map(read::<Progress>).transpose()?;
            Ok(shown(read::<Kept>(text)?, progress.as_ref()))
        })
        .collect()
    }

    /// Removes one; whether it was there.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn delete(
        &self,
        workspace: &Workspace,
        id: &Id,
        once: Option<&Once>,
    ) -> Result<bool, RedisError> {
        let named = named(workspace, id);
        let keys = [keys::SUBSCRIPTIONS, keys::SUBSCRIPTION_IDS, keys::SUBSCRIPTION_HOOKS].map(str::to_owned);
        let keys = keys
            .into_iter()
            .chain([keys::subscription_dead(&named), keys::subscription_again(&named)])
            .collect();
        let answer = DELETE.run(&self.redis, Call { keys, args: vec![named] }, once).await?;
        Ok(first_word(answer)? == "deleted")
    }

    /// Every webhook there is, with its workspace.
    ///
    /// # Errors
    /// Those of any call. One that does not read is logged and left out.
    pub async fn webhooks(&self) -> Result<Vec<(Workspace, Id)>, RedisError> {
        let names: Vec<String> = self.redis.query(redis::cmd("HKEYS").arg(keys::SUBSCRIPTION_HOOKS)).await?;
        let parts = |name: String| {
            let (workspace, id) = name.split_once('/')?;
            Some((workspace.parse().ok()?, id.parse().ok()?))
        };
        Ok(names.into_iter().filter_map(parts).collect())
    }

    /// Notes how far a webhook is, over what was read; with a dead letter, if one was given up.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn note(
        &self,
        workspace: &Workspace,
        id: &Id,
        (was, is): (&Progress, &Progress),
        dead: Option<&DeadDelivery>,
    ) -> Result<Noted, RedisError> {
        let named = named(workspace, id);
        let keys = vec![keys::SUBSCRIPTION_HOOKS.to_owned(), keys::subscription_dead(&named)];
        // A new one is noted as `{}`, which reads as the default.
        let was = if *was == Progress::default() { "{}".to_owned() } else { written(was)? };
        let dead = dead.map(written).transpose()?.unwrap_or_default();
        let args = vec![named, was, written(is)?, dead, DEAD_LIMIT.to_string()];
        let answer: Vec<String> =
            redis::from_redis_value(PROGRESS.run(&self.redis, Call { keys, args }).await?)?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["noted"] => Ok(Noted::Yes),
            ["changed", now] => Ok(Noted::Changed(Box::new(read(now)?))),
            _ => Ok(Noted::Gone),
        }
    }

    /// Has a webhook sent again after it was disabled; `None` if there is no such webhook.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn enable(&self, workspace: &Workspace, id: &Id) -> Result<Option<Progress>, RedisError> {
        let Some(mut was) = self.progress(workspace, id).await? else { return Ok(None) };
        loop {
            let is = Progress {
                disabled: false,
                failures: 0,
                enabled: was.enabled.wrapping_add(1),
                ..was.clone()
            };
            match self.note(workspace, id, (&was, &is), None).await? {
                Noted::Yes => return Ok(Some(is)),
                Noted::Changed(now) => was = *now,
                Noted::Gone => return Ok(None),
            }
        }
    }

    /// The dead letters of a webhook, the oldest first.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn dead(&self, workspace: &Workspace, id: &Id) -> Result<Vec<DeadDelivery>, RedisError> {
        let key = keys::subscription_dead(&named(workspace, id));
        let texts: Vec<String> = self.redis.query(redis::cmd("LRANGE").arg(key).arg(0).arg(-1)).await?;
        texts.iter().map(|text| read(text)).collect()
    }

    /// Has dead letters sent again: one, or all. How many; `None` if there is no such webhook.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn redrive(
        &self,
        workspace: &Workspace,
        id: &Id,
        message: Option<&str>,
        once: Option<&Once>,
    ) -> Result<Option<u64>, RedisError> {
        let named = named(workspace, id);
        let keys = vec![
            keys::SUBSCRIPTION_HOOKS.to_owned(),
            keys::subscription_dead(&named),
            keys::subscription_again(&named),
        ];
        let args = vec![named, message.unwrap_or_default().to_owned()];
        let answer: Vec<String> =
            redis::from_redis_value(REDRIVE.run(&self.redis, Call { keys, args }, once).await?)?;
        Ok(answer.get(1).and_then(|count| count.parse().ok()))
    }

    /// The first letter that is to be sent again; it stays until it is [done](Self::again_done).
    ///
    /// # Errors
    /// Those of any call.
    pub async fn again(&self, workspace: &Workspace, id: &Id) -> Result<Option<DeadDelivery>, RedisError> {
        let key = keys::subscription_again(&named(workspace, id));
        let text: Option<String> = self.redis.query(redis::cmd("LINDEX").arg(key).arg(0)).await?;
        text.map(|text| read(&text)).transpose()
    }

    /// It was sent, or given up once more.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn again_done(
        &self,
        workspace: &Workspace,
        id: &Id,
        letter: &DeadDelivery,
        dead: bool,
    ) -> Result<(), RedisError> {
        let named = named(workspace, id);
        let again = keys::subscription_again(&named);
        if dead {
            let text = written(letter)?;
            let key = keys::subscription_dead(&named);
            self.redis.query::<()>(redis::cmd("RPUSH").arg(&key).arg(text)).await?;
            self.redis.query::<()>(redis::cmd("LTRIM").arg(&key).arg(-(DEAD_LIMIT as i64)).arg(-1)).await?;
        }
        self.redis.query::<()>(redis::cmd("LPOP").arg(again)).await
    }
}

/// As it is shown.
pub fn shown(kept: Kept, progress: Option<&Progress>) -> Subscription {
    let disabled = progress.is_some_and(|progress| progress.disabled);
    let (pattern, events, entity) = match kept.sought {
        Sought::Keys { pattern } => (Some(pattern), None, None),
        Sought::Events { events } => (None, Some(events.types), events.entity),
    };
    Subscription {
        subscription_id: kept.subscription_id,
        pattern,
        events,
        entity,
        delivery: if kept.webhook.is_some() { Delivery::Webhook } else { Delivery::Stream },
        url: kept.webhook.map(|webhook| webhook.url),
        status: if disabled { SubscriptionStatus::Disabled } else { SubscriptionStatus::Enabled },
        failures: progress.map(|progress| progress.failures),
        position: progress.and_then(|progress| progress.position.clone()).unwrap_or(kept.position),
        created_at: kept.created_at,
    }
}

fn named(workspace: &Workspace, id: &Id) -> String {
    format!("{workspace}/{id}")
}

fn first_word(answer: Value) -> Result<String, RedisError> {
    let words: Vec<String> = redis::from_redis_value(answer)?;
    Ok(words.into_iter().next().unwrap_or_default())
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, RedisError> {
    serde_json::from_str(text)
        .map_err(|e| RedisError::Unexpected(format!("a subscription does not read: {e}")))
}

fn written<T: Serialize>(value: &T) -> Result<String, RedisError> {
    serde_json::to_string(value).map_err(|e| RedisError::Unexpected(e.to_string()))
}
