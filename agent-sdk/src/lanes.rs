//! Commands on their way to a coordinator: what waits while a request is in flight goes with the next.
//!
//! ```text
//!   ask --by root id--> lane 0..8 --at most 2 requests in flight, up to 128 commands each--> POST /v1/commands
//! ```
//!
//! A quiet lane sends a command at once and alone; a busy one sends few large requests. Lanes are cut by the
//! same hash as shards, so that one shard without an owner holds up its own lane and not the others.

use crate::http::{self, BatchItem, Http, Said};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use synod_protocol::{Error, topics};
use tokio::sync::{Semaphore, mpsc, oneshot};

const LANES: u32 = 8;
/// Requests of one lane at a time.
const IN_FLIGHT: usize = 2;
/// Commands in one request.
const BATCH: usize = 128;
/// A request is sent once it has so many bytes.
const BATCH_BYTES: usize = 512 * 1024;
/// Commands that may wait in one lane; who brings more waits.
const WAITING: usize = 4096;
/// The limit of one request.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);

/// What became of one command in one request.
pub(crate) enum Told {
    /// The ledger has it.
    InLedger,
    /// Only Kafka has it so far.
    InKafka,
    /// A refusal.
    Refused(Error),
    /// Nobody answered; why.
    Silent(String),
}

struct Waiting {
    ce_id: String,
    /// A structured CloudEvent.
    text: Arc<str>,
    tell: oneshot::Sender<Told>,
}

pub(crate) struct Lanes {
    http: Arc<Http>,
    lanes: [OnceLock<mpsc::Sender<Waiting>>; LANES as usize],
}

impl Lanes {
    pub(crate) fn new(http: Arc<Http>) -> Lanes {
        Lanes { http, lanes: Default::default() }
    }

    /// Sends a command once; `text` is the structured CloudEvent, `root` the id that says where it lives.
    pub(crate) async fn ask(&self, root: &str, ce_id: &str, text: Arc<str>) -> Told {
        let lane = &self.lanes[topics::partition(root.as_bytes(), LANES) as usize];
        let lane = lane.get_or_init(|| {
            let (put, waiting) = mpsc::channel(WAITING);
            tokio::spawn(serve(waiting, self.http.clone()));
            put
        });
        let (tell, told) = oneshot::channel();
        let ended = || Told::Silent("the runtime that sent commands has ended".to_owned());
        match lane.send(Waiting { ce_id: ce_id.to_owned(), text, tell }).await {
            Ok(()) => told.await.unwrap_or_else(|_| ended()),
            Err(_) => ended(),
        }
    }
}

async fn serve(mut waiting: mpsc::Receiver<Waiting>, http: Arc<Http>) {
    let slots = Arc::new(Semaphore::new(IN_FLIGHT));
    // The slot comes first: what arrives while there is none travels together.
    while let Ok(slot) = slots.clone().acquire_owned().await {
        let Some(first) = waiting.recv().await else { return };
        let mut bytes = first.text.len();
        let mut batch = vec![first];
        while batch.len() < BATCH && bytes < BATCH_BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.text.len();
            batch.push(next);
        }
        // Who asked may have given up meanwhile.
        batch.retain(|one| !one.tell.is_closed());
        if batch.is_empty() {
            continue;
        }
        let http = http.clone();
        tokio::spawn(async move {
            post(&http, batch).await;
            drop(slot);
        });
    }
}

async fn post(http: &Http, batch: Vec<Waiting>) {
    let mut body = Vec::with_capacity(batch.iter().map(|one| one.text.len() + 1).sum::<usize>() + 1);
    for (n, one) in batch.iter().enumerate() {
        body.push(if n == 0 { b'[' } else { b',' });
        body.extend_from_slice(one.text.as_bytes());
    }
    body.push(b']');
    let headers = [("content-type", synod_protocol::http::BATCH.to_owned())];
    let items = match http.post("/v1/commands", &headers, body, REQUEST_LIMIT).await {
        Said::Done(_, body) => http::read::<Vec<BatchItem>>(&body),
        Said::Refused(error) => Err(error),
        Said::Silent(why) => {
            batch.into_iter().for_each(|one| answer(one, Told::Silent(why.clone())));
            return;
        }
    };
    match items {
        Ok(items) => {
            let mut items = items.into_iter();
            for one in batch {
                let told = match items.next() {
                    Some(item) if item.ce_id == one.ce_id => told(item),
                    _ => Told::Silent("the answer to the batch does not name this command".to_owned()),
                };
                answer(one, told);
            }
        }
        Err(error) => batch.into_iter().for_each(|one| answer(one, Told::Refused(error.clone()))),
    }
}

fn told(item: BatchItem) -> Told {
    match (item.status, item.error) {
        (status, Some(error)) => Told::Refused(http::refusal(status, error.as_str().as_bytes())),
        (202, None) => Told::InKafka,
        (_, None) => Told::InLedger,
    }
}

fn answer(one: Waiting, told: Told) {
    // Who asked may have given up meanwhile; a repeat has the same id.
    let _ = one.tell.send(told);
}
