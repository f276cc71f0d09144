//! Signs of life of agents that have Redis.
//!
//! - **Presence** is a subscription that an agent's process holds: the kernel closes it when the process
//!   ends, so its absence is known within milliseconds. It says nothing about a process that hangs.
//! - **Heartbeats** are written now and then with what the agent holds. Their silence says what presence
//!   cannot.
//!
//! Neither judges: what a look or a missing beat means is decided by the failure detector.

use super::client::{Redis, counted, run_id_in};
use super::error::RedisError;
use super::keys;
use super::listener::Heard;
use super::script::{Call, Script};
use redis::{Cmd, Pipeline, Value};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;
use synod_protocol::view::{Held, Load};
use synod_protocol::{Id, Incarnation, Workspace};
use tokio::sync::watch;
use tokio::task::JoinHandle;

static BEAT: LazyLock<Script> = LazyLock::new(|| Script::new("beat", include_str!("scripts/beat.lua")));

/// Channels asked about in one `PUBSUB NUMSUB`.
const CHANNELS_PER_ASK: usize = 1000;
/// Up to so many heartbeats are read in one go; more are scanned in pages.
const BEATS_AT_ONCE: u64 = 1000;
/// A probe stays for so long: nobody reads it.
const PROBE_KEPT: Duration = Duration::from_secs(60);

/// A heartbeat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Beat {
    /// The agent's workspace.
    pub workspace: Workspace,
    /// The agent.
    pub agent_id: Id,
    /// Which process start.
    pub incarnation: Incarnation,
    /// Counts this incarnation's beats; a reader compares it with the one it saw before, not with a clock.
    pub beat: u64,
    /// The attempts that it holds.
    pub in_flight: Vec<Held>,
    /// How busy it is.
    #[serde(default)]
    pub load: Option<Load>,
    /// Whether it holds its presence subscription: of one that ends before anybody has looked for it, this says that its
    /// absence means something.
    #[serde(default)]
    pub present: bool,
}

/// The heartbeats of all agents that have Redis; a cheap clone.
#[derive(Clone, Debug)]
pub struct Heartbeats {
    redis: Redis,
}

impl Heartbeats {
    /// All heartbeats of this Redis.
    pub fn new(redis: Redis) -> Heartbeats {
        Heartbeats { redis }
    }

    /// Replaces an agent's heartbeat, unless that of a newer process start stands there, which is the answer then: an
    /// older one that has not heard yet that it is over would else be all that is heard of the agent.
    ///
    /// `passed` is what the last beat was answered with. If just that stands there still, the newer start does not beat,
    /// and its heartbeat is replaced.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn beat(&self, beat: &Beat, passed: Option<&str>) -> Result<Option<String>, RedisError> {
        let text = serde_json::to_string(beat).map_err(|e| RedisError::Unexpected(e.to_string()))?;
        let field = keys::heartbeat_field(&beat.workspace, &beat.agent_id);
        let passed = passed.unwrap_or_default().to_owned();
        let call = Call {
            keys: vec![keys::HEARTBEATS.to_owned()],
            args: vec![field, text, beat.incarnation.to_string(), passed],
        };
        Ok(redis::from_redis_value(BEAT.run(&self.redis, call).await?)?)
    }

    /// Writes something of this coordinator's own: whether Redis takes writes at all just now. Where it does not,
    /// no agent can be heard.
    ///
    /// # Errors
    /// Those of any call; any of them says no.
    pub async fn probe(&self, coordinator: &Id) -> Result<(), RedisError> {
        self.redis.query(&probe(coordinator)).await
    }

    /// Every agent's newest heartbeat. What does not read as one is logged and left out.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn beats(&self) -> Result<Vec<Beat>, RedisError> {
        let count: u64 = self.redis.query(redis::cmd("HLEN").arg(keys::HEARTBEATS)).await?;
        let fields: BTreeMap<String, String> = if count <= BEATS_AT_ONCE {
            self.redis.query(redis::cmd("HGETALL").arg(keys::HEARTBEATS)).await?
        } else {
            self.scan().await?
        };
        Ok(fields.into_iter().filter_map(|(field, text)| read(&field, &text)).collect())
    }

    /// The newest heartbeats of these agents, in any order; of one that has none, nothing.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn of(&self, agents: &[(&Workspace, &Id)]) -> Result<Vec<Beat>, RedisError> {
        if agents.is_empty() {
            return Ok(Vec::new());
        }
        let mut ask = redis::cmd("HMGET");
        ask.arg(keys::HEARTBEATS);
        for (workspace, agent) in agents {
            ask.arg(keys::heartbeat_field(workspace, agent));
        }
        let found: Vec<Option<String>> = self.redis.query(&ask).await?;
        Ok(found.iter().flatten().filter_map(|text| serde_json::from_str(text).ok()).collect())
    }

    /// Removes an agent's heartbeat.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn forget(&self, workspace: &Workspace, agent: &Id) -> Result<(), RedisError> {
        let field = keys::heartbeat_field(workspace, agent);
        self.redis.query(redis::cmd("HDEL").arg(keys::HEARTBEATS).arg(field)).await
    }

    /// All fields, page by page; one that a rehash shows twice counts once.
    async fn scan(&self) -> Result<BTreeMap<String, String>, RedisError> {
        let mut conversation = self.redis.conversation().await?;
        let mut fields = BTreeMap::new();
        let mut cursor = 0u64;
        loop {
            let mut page = redis::cmd("HSCAN");
            page.arg(keys::HEARTBEATS).arg(cursor).arg("COUNT").arg(BEATS_AT_ONCE);
            let (next, found): (u64, Vec<(String, String)>) = conversation.query(&page).await?;
            fields.extend(found);
            if next == 0 {
                return Ok(fields);
            }
            cursor = next;
        }
    }
}

/// The heartbeats for one who looks at all of them again and again.
#[derive(Debug)]
pub struct Listening {
    heartbeats: Heartbeats,
    /// What stood there at the last look, unless it was too many: what stands there still is not read again.
    known: BTreeMap<String, (String, Arc<Beat>)>,
    many: bool,
}

impl Listening {
    /// Nothing has been heard yet.
    pub fn new(redis: Redis) -> Listening {
        Listening { heartbeats: Heartbeats::new(redis), known: BTreeMap::new(), many: false }
    }

    /// Whether Redis takes writes ([`Heartbeats::probe`]), and every agent's newest heartbeat ([`Heartbeats::beats`]): in one
    /// exchange, unless there were too many for that the last time.
    ///
    /// # Errors
    /// Those of any call, for each of the two.
    pub async fn look(
        &mut self,
        coordinator: &Id,
    ) -> (Result<(), RedisError>, Result<Vec<Arc<Beat>>, RedisError>) {
        if self.many {
            let taken = self.heartbeats.probe(coordinator).await;
            let beats = self.heartbeats.beats().await;
            self.many = !beats.as_ref().is_ok_and(|beats| beats.len() as u64 <= BEATS_AT_ONCE);
            return (taken, beats.map(|beats| beats.into_iter().map(Arc::new).collect()));
        }
        let mut pipeline = Pipeline::with_capacity(2);
        pipeline.add_command(probe(coordinator)).cmd("HGETALL").arg(keys::HEARTBEATS);
        let values = match self.heartbeats.redis.pipeline(&pipeline).await {
            Ok(answers) => answers.values,
            Err(error) => return (Err(error.clone()), Err(error)),
        };
        let Ok([taken, fields]) = <[Value; 2]>::try_from(values) else {
            let error = RedisError::Unexpected("two commands, another number of answers".to_owned());
            return (Err(error.clone()), Err(error));
        };
        let taken = taken.extract_error().map(drop).map_err(|error| counted(error.into()));
        let fields = fields.extract_error().map_err(|error| counted(error.into()));
        let fields =
            fields.and_then(|fields| Ok(redis::from_redis_value::<BTreeMap<String, String>>(fields)?));
        (taken, fields.map(|fields| self.heard(fields)))
    }

    fn heard(&mut self, fields: BTreeMap<String, String>) -> Vec<Arc<Beat>> {
        self.many = fields.len() as u64 > BEATS_AT_ONCE;
        let mut before = std::mem::take(&mut self.known);
        let mut beats = Vec::with_capacity(fields.len());
        for (field, text) in fields {
            let known = before.remove(&field).filter(|(known, _)| *known == text);
            let Some((text, beat)) = known.or_else(|| Some((text.clone(), Arc::new(read(&field, &text)?))))
            else {
                continue;
            };
            beats.push(beat.clone());
            if !self.many {
                self.known.insert(field, (text, beat));
            }
        }
        beats
    }
}

fn probe(coordinator: &Id) -> Cmd {
    let mut probe = redis::cmd("SET");
    probe.arg(keys::probe(coordinator)).arg("").arg("PX").arg(PROBE_KEPT.as_millis() as u64);
    probe
}

/// What stands under a name; what does not read, or claims to be another's, is logged.
fn read(field: &str, text: &str) -> Option<Beat> {
    match serde_json::from_str::<Beat>(text) {
        Ok(beat) if keys::heartbeat_field(&beat.workspace, &beat.agent_id) != field => {
            tracing::warn!(%field, workspace = %beat.workspace, agent = %beat.agent_id,
                "a heartbeat that claims to be another's");
            None
        }
        Ok(beat) => Some(beat),
        Err(error) => {
            tracing::warn!(%field, %error, "a heartbeat does not read");
            None
        }
    }
}

/// Who was subscribed at one moment.
///
/// An absence means something only against another look with the same `run_id` and `connection`: after a
/// restart or a reconnect the agents may just not be back yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// The server's id, drawn at its start.
    pub run_id: String,
    /// Counts our own connections.
    pub connection: u64,
    /// For each channel asked about, whether anyone is subscribed.
    pub present: Vec<bool>,
}

/// Which agents' processes run, asked of Redis.
#[derive(Debug)]
pub struct Presence {
    redis: Redis,
    /// The connection that was used last, and the id of the server behind it: one connection leads to one server start.
    server: Mutex<Option<(u64, String)>>,
}

impl Presence {
    /// All presence channels of this Redis.
    pub fn new(redis: Redis) -> Presence {
        Presence { redis, server: Mutex::default() }
    }

    /// Looks at these channels ([`keys::presence`]), in one exchange unless the connection is another than before.
    ///
    /// # Errors
    /// Those of any call.
    pub async fn present(&self, channels: &[String]) -> Result<Look, RedisError> {
        loop {
            let known = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
            let known = known.filter(|_| !channels.is_empty());
            let mut pipeline = Pipeline::new();
            if known.is_none() {
                pipeline.cmd("INFO").arg("server");
            }
            for some in channels.chunks(CHANNELS_PER_ASK) {
                pipeline.cmd("PUBSUB").arg("NUMSUB").arg(some);
            }
            let answers = self.redis.pipeline(&pipeline).await?;
            let connection = answers.generation;
            let mut values = answers.values.into_iter().map(Value::extract_error);
            let run_id = match known {
                Some((same, run_id)) if same == connection => run_id,
                // Who answered is asked for, together with all else.
                Some(_) => continue,
                None => {
                    let info: String =
                        redis::from_redis_value(values.next().transpose()?.unwrap_or(Value::Nil))?;
                    run_id_in(&info)?
                }
            };
            let mut present = Vec::with_capacity(channels.len());
            for value in values {
                let counts: Vec<(String, u64)> = redis::from_redis_value(value?)?;
                present.extend(counts.into_iter().map(|(_, subscribers)| subscribers > 0));
            }
            if present.len() != channels.len() {
                let text = format!("{} channels asked about, {} answered", channels.len(), present.len());
                return Err(RedisError::Unexpected(text));
            }
            let who = Some((connection, run_id.clone()));
            *self.server.lock().unwrap_or_else(PoisonError::into_inner) = who;
            return Ok(Look { run_id, connection, present });
        }
    }
}

/// A subscription that says "this process start runs", held until dropped and renewed after every reconnect.
pub struct PresenceHold {
    held: watch::Receiver<bool>,
    task: JoinHandle<()>,
}

impl PresenceHold {
    /// Subscribes in the background, on a connection of its own.
    pub fn start(redis: Redis, workspace: &Workspace, agent: &Id, incarnation: &Incarnation) -> PresenceHold {
        let (publish, held) = watch::channel(false);
        let channel = keys::presence(workspace, agent, incarnation);
        // Nobody says anything on these channels.
        let task = tokio::spawn(async move {
            let hold = redis.listener().listen(vec![channel], |heard| match heard {
                Heard::Stands => drop(publish.send_replace(true)),
                Heard::Broke => drop(publish.send_replace(false)),
                Heard::Said { .. } => {}
            });
            match hold.await {}
        });
        PresenceHold { held, task }
    }

    /// Whether the subscription stands, as far as is known here.
    pub fn is_held(&self) -> bool {
        *self.held.borrow()
    }

    /// Waits until the subscription stands; whether it does within `limit`.
    pub async fn wait_held(&self, limit: Duration) -> bool {
        let mut held = self.held.clone();
        matches!(tokio::time::timeout(limit, held.wait_for(|h| *h)).await, Ok(Ok(_)))
    }
}

impl Drop for PresenceHold {
    fn drop(&mut self) {
        self.task.abort();
    }
}
