//! What another coordinator owns is asked of him, once: a request that was passed on is never passed on again.
//!
//! ```text
//!   door --command--> lane (owner, shard) --one batch at a time, in order--> POST /v1/commands --> owner's door
//!   door --read-----> GET, as the client asked -------------------------------------------------> owner's door
//! ```
//!
//! Commands that come while a batch is on its way go together in the next: no waiting, few requests under load, and
//! the order within a shard is kept. Connections are kept open.

use crate::keys;
use secrecy::SecretString;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use synod_protocol::http::{BATCH, Message};
use synod_protocol::{Code, Envelope, Error, Json, Workspace};
use tokio::sync::{Semaphore, mpsc, oneshot};

/// The header of a request that another coordinator has passed on.
pub(crate) const FORWARDED: &str = "synod-forwarded";
/// The header that names the shards which the answer is to cover, with commas.
pub(crate) const SHARDS: &str = "synod-shards";

/// Commands that may wait for one owner and shard; more are refused as `overloaded`.
const LANE: usize = 4_096;
/// Commands, and bytes, of one batch.
const BATCH_COMMANDS: usize = 512;
const BATCH_BYTES: usize = 1 << 20;
/// Reads that may be under way at a time.
const READS: usize = 2_048;
/// A lane that nobody uses ends after this.
const IDLE: Duration = Duration::from_secs(30);
/// An owner is given so long to answer a batch; by then its door has given up on its shard.
const ANSWER: Duration = Duration::from_secs(6);

/// What an owner said to a command.
pub(crate) enum Told {
    /// The ledger has it; `made` if it made the entity.
    Decided { entity: Json, made: bool },
    /// A refusal.
    Refused(Error),
    /// It does not own the shard, or could not be reached: somebody else may do. The command may have been taken.
    NotThere(String),
}

/// The way to the other coordinators.
pub(crate) struct Forward {
    client: reqwest::Client,
    lanes: Mutex<BTreeMap<(String, u32), mpsc::Sender<Item>>>,
    reads: Semaphore,
}

struct Item {
    event: String,
    answer: oneshot::Sender<Told>,
}

/// One command of a batch, as the owner answers it.
#[derive(Deserialize)]
struct BatchItem {
    status: u16,
    #[serde(default)]
    entity: Option<Json>,
    #[serde(default)]
    error: Option<Error>,
}

impl Forward {
    /// By this key.
    pub(crate) fn new(key: Option<&SecretString>) -> Result<Forward, reqwest::Error> {
        let client = reqwest::Client::builder()
            .default_headers(keys::header(key))
            // Coordinators are inside: what the environment says of proxies is about the world outside.
            .no_proxy()
            .connect_timeout(Duration::from_millis(500))
            .pool_idle_timeout(IDLE)
            .tcp_nodelay(true)
            .build()?;
        Ok(Forward { client, lanes: Mutex::default(), reads: Semaphore::new(READS) })
    }

    /// Passes a command on to the owner of its shard at this address.
    pub(crate) async fn command(&self, address: &str, shard: u32, envelope: &Envelope, data: &Json) -> Told {
        let (answer, told) = oneshot::channel();
        let item = Item { event: Message::structured(envelope, data), answer };
        match self.lane(address, shard).try_send(item) {
            Ok(()) => told.await.unwrap_or_else(|_| Told::NotThere(format!("{address}: the lane has ended"))),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                Told::NotThere(format!("{address}: the lane has ended"))
            }
            Err(mpsc::error::TrySendError::Full(_)) => {
                let why = format!("{LANE} commands wait for the owner of shard {shard} already");
                Told::Refused(Error::overloaded(why, 100))
            }
        }
    }

    fn lane(&self, address: &str, shard: u32) -> mpsc::Sender<Item> {
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (address.to_owned(), shard);
        match lanes.get(&key).filter(|lane| !lane.is_closed()) {
            Some(lane) => lane.clone(),
            None => {
                lanes.retain(|_, lane| !lane.is_closed());
                let (lane, items) = mpsc::channel(LANE);
                tokio::spawn(run(self.client.clone(), address.to_owned(), items));
                lanes.insert(key, lane.clone());
                lane
            }
        }
    }

    /// Reads from another coordinator; `shards`, where given, are those that the answer is to cover.
    ///
    /// # Errors
    /// Its refusal; `Err(None)` inside is impossible: one that is not the owner, or not reached, is `unavailable`.
    pub(crate) async fn get(
        &self,
        address: &str,
        path: &str,
        workspace: Option<&Workspace>,
        shards: Option<&[u32]>,
        limit: Duration,
    ) -> Result<Vec<u8>, Error> {
        let Ok(_permit) = self.reads.try_acquire() else {
            return Err(Error::overloaded(format!("{READS} requests are passed on already"), 100));
        };
        let mut request =
            self.client.get(format!("http://{address}{path}")).header(FORWARDED, "1").timeout(limit);
        if let Some(workspace) = workspace {
            request = request.header("synod-workspace", workspace.as_str());
        }
        if let Some(shards) = shards {
            let list: Vec<String> = shards.iter().map(ToString::to_string).collect();
            request = request.header(SHARDS, list.join(","));
        }
        let silent = |error: reqwest::Error| {
            Error::unavailable(format!("the owner at {address} does not answer: {}", innermost(&error)))
        };
        let answer = request.send().await.map_err(silent)?;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.map_err(silent)?.to_vec();
        if status < 300 { Ok(body) } else { Err(refusal(address, status, &body)) }
    }
}

/// Sends what has come, batch after batch, until nobody has come for a while.
async fn run(client: reqwest::Client, address: String, mut items: mpsc::Receiver<Item>) {
    let mut next: Option<Item> = None;
    loop {
        let first = match next.take() {
            Some(item) => item,
            None => match tokio::time::timeout(IDLE, items.recv()).await {
                Ok(Some(item)) => item,
                Ok(None) => return,
                Err(_) => {
                    items.close();
                    // What came in between is still sent.
                    match items.recv().await {
                        Some(item) => item,
                        None => return,
                    }
                }
            },
        };
        let mut bytes = first.event.len();
        let mut batch = vec![first];
        while batch.len() < BATCH_COMMANDS
            && let Ok(item) = items.try_recv()
        {
            bytes += item.event.len();
            if bytes > BATCH_BYTES {
                next = Some(item);
                break;
            }
            batch.push(item);
        }
        // Who asked may have gone meanwhile; then it is not for us to ask.
        batch.retain(|item| !item.answer.is_closed());
        if !batch.is_empty() {
            send(&client, &address, batch).await;
        }
    }
}

async fn send(client: &reqwest::Client, address: &str, mut batch: Vec<Item>) {
    let mut body = String::with_capacity(batch.iter().map(|item| item.event.len() + 1).sum::<usize>() + 2);
    body.push('[');
    for (index, item) in batch.iter().enumerate() {
        if index > 0 {
            body.push(',');
        }
        body.push_str(&item.event);
    }
    body.push(']');
    let request = client.post(format!("http://{address}/v1/commands")).header(FORWARDED, "1");
    let request = request.header("content-type", BATCH).timeout(ANSWER).body(body);
    let count = batch.len();
    let answered = async {
        let answer = request.send().await.map_err(|e| innermost(&e))?;
        let (status, bytes) = (answer.status().as_u16(), answer.bytes().await.map_err(|e| innermost(&e))?);
        let items: Vec<BatchItem> =
            serde_json::from_slice(&bytes).map_err(|e| format!("HTTP {status}: {e}"))?;
        if items.len() == count { Ok(items) } else { Err(format!("{} answers", items.len())) }
    };
    // When nobody waits any more (each has turned to another owner), neither do we.
    let all_gone = async {
        for item in &mut batch {
            item.answer.closed().await;
        }
    };
    let answered: Result<Vec<BatchItem>, String> = tokio::select! {
        answered = answered => answered,
        () = all_gone => return,
    };
    match answered {
        Ok(answers) => {
            for (item, answer) in batch.into_iter().zip(answers) {
                // Who asked may have gone.
                let _ = item.answer.send(told(address, answer));
            }
        }
        Err(why) => {
            tracing::debug!(address, %why, "commands were not passed on");
            for item in batch {
                let _ = item.answer.send(Told::NotThere(format!("{address}: {why}")));
            }
        }
    }
}

fn told(address: &str, item: BatchItem) -> Told {
    match (item.status, item.entity, item.error) {
        (200 | 201, Some(entity), _) => Told::Decided { entity, made: item.status == 201 },
        (_, _, Some(error)) if error.code == Code::Unavailable => {
            Told::NotThere(format!("{address}: {error}"))
        }
        (_, _, Some(error)) => Told::Refused(error),
        (status, ..) => Told::NotThere(format!("{address}: status {status} without more")),
    }
}

/// The problem in a body.
fn refusal(address: &str, status: u16, body: &[u8]) -> Error {
    let problem = serde_json::from_slice::<serde_json::Map<String, serde_json::Value>>(body);
    let error = problem.ok().and_then(|mut members| {
        // HTTP's number; the entity's own is `entity_status`.
        members.remove("status");
        if let Some(status) = members.remove("entity_status") {
            members.insert("status".to_owned(), status);
        }
        serde_json::from_value(members.into()).ok()
    });
    error.unwrap_or_else(|| {
        Error::unavailable(format!("{address} answered HTTP {status} without a problem of ours"))
    })
}

/// The last cause says most: `Connection refused (os error 111)`.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}
