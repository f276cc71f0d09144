//! A client: submits tasks at its rate and notes what was accepted. A process of its own (`synod-chaos client`).
//!
//! It knows nothing but the contract: plain HTTP, plain records. What is not answered is repeated under the same
//! ids, by any coordinator that listens.

use crate::Trouble;
use crate::journal::{ClientLine, Journal};
use crate::plan::{ClientPlan, Doors, Off};
use crate::process::stdin_ends;
use crate::script::Script;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;
use synod_infra::kafka::{KafkaConfig, Outgoing, Producer};
use synod_protocol::{Envelope, topics};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Commands sent together.
const BATCH: u64 = 32;
/// Batches under way at a time.
const UNDER_WAY: usize = 48;
/// One request may take so long.
const REQUEST: Duration = Duration::from_secs(8);
/// What is under way at the end is waited for so long.
const AFTER: Duration = Duration::from_secs(90);
/// A repeated command comes within this.
const SPREAD_MS: u64 = 1_500;

/// One command.
#[derive(Clone, Debug)]
struct Order {
    task: String,
    key: String,
}

#[derive(Debug)]
struct Client {
    plan: ClientPlan,
    journal: Arc<Journal<ClientLine>>,
    http: reqwest::Client,
    producer: Option<Producer>,
    next_url: AtomicUsize,
    unacked: Arc<AtomicU64>,
}

/// Runs one until stdin ends or it has submitted all that it was told to.
pub(crate) async fn run(plan: ClientPlan) -> Result<(), Trouble> {
    let config = KafkaConfig::new(&plan.kafka, &plan.name);
    let producer = match plan.doors {
        Doors::Http | Doors::Negotiations | Doors::Workflows => None,
        Doors::Kafka | Doors::Thrice => Some(Producer::new(&config).map_err(Trouble::wrong)?),
    };
    let client = Arc::new(Client {
        journal: Arc::new(Journal::open(&plan.journal)?),
        http: reqwest::Client::builder().timeout(REQUEST).no_proxy().build().map_err(Trouble::wrong)?,
        producer,
        next_url: AtomicUsize::new(0),
        unacked: Arc::default(),
        plan,
    });
    let mut ends = std::pin::pin!(stdin_ends());
    let (mut sending, room) = (JoinSet::new(), Arc::new(Semaphore::new(UNDER_WAY)));
    let began = Instant::now();
    let (mut submitted, mut tick) = (0, tokio::time::interval(Duration::from_millis(20)));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (all, rate) = (client.plan.tasks, f64::from(client.plan.rate));
    // What could not be sent in time is not made up for: a mesh that comes back must not find a flood.
    let (mut last, mut owed) = (began, 0.0);
    while all == 0 || submitted < all {
        tokio::select! {
            () = &mut ends => break,
            _ = tick.tick() => {}
        }
        let now = Instant::now();
        owed = (owed + (now - last).as_secs_f64() * rate).min(rate);
        last = now;
        let due = owed as u64;
        owed -= due as f64;
        let mut left = if all == 0 { due } else { due.min(all - submitted) };
        while left > 0 {
            let count = left.min(BATCH);
            left -= count;
            let Ok(permit) = room.clone().try_acquire_owned() else { break };
            let orders = (submitted..submitted + count).map(|n| client.order(n)).collect();
            submitted += count;
            let client = client.clone();
            sending.spawn(async move {
                let sent = client.submit(orders).await;
                drop(permit);
                sent
            });
        }
        while let Some(sent) = sending.try_join_next() {
            sent.map_err(Trouble::wrong)??;
        }
    }
    let finish = async {
        while let Some(sent) = sending.join_next().await {
            sent.map_err(Trouble::wrong)??;
        }
        while client.unacked.load(Ordering::Acquire) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await; // the condition is asked again
        }
        Ok::<(), Trouble>(())
    };
    match tokio::time::timeout(AFTER, finish).await {
        Ok(finished) => finished?,
        // What was not accepted is no promise; the journal says what was.
        Err(_) => eprintln!("{}: not everything was answered in time", client.plan.name),
    }
    client.journal.sync()
}

impl Client {
    fn order(&self, n: u64) -> Order {
        let task = format!("{}-{n}", self.plan.name);
        Order { key: task.clone(), task }
    }

    /// Notes what is going to be asked for, and asks until it is accepted.
    async fn submit(&self, orders: Vec<Order>) -> Result<(), Trouble> {
        let asked = |o: &Order| ClientLine::Asked { task: o.task.clone(), key: o.key.clone() };
        self.journal.note(&orders.iter().map(asked).collect::<Vec<_>>())?;
        match self.plan.doors {
            Doors::Kafka => self.produce(&orders),
            Doors::Thrice => self.thrice(&orders).await,
            _ if self.plan.off == Some(Off::Answers) => self.hope(&orders).await,
            Doors::Http | Doors::Negotiations | Doors::Workflows => self.post(orders).await,
        }
    }

    /// The guard that is off: one try, and whatever comes of it is taken for a yes.
    async fn hope(&self, orders: &[Order]) -> Result<(), Trouble> {
        if let Err(why) = self.ask(orders).await {
            eprintln!("{}: {why}", self.plan.name);
        }
        self.journal.note(&orders.iter().map(|o| accepted(o, None)).collect::<Vec<_>>())
    }

    async fn post(&self, mut orders: Vec<Order>) -> Result<(), Trouble> {
        let mut wait = Duration::from_millis(25);
        loop {
            let mut lines = Vec::new();
            match self.ask(&orders).await {
                Ok(items) => {
                    let mut left = Vec::new();
                    for order in orders {
                        let item = items.iter().find(|item| item["ce_id"] == format!("ce-{}", order.task));
                        match item.and_then(|item| item["status"].as_u64()) {
                            Some(200 | 202) => lines.push(accepted(&order, None)),
                            None | Some(429 | 500 | 503 | 504) => left.push(order),
                            Some(_) => {
                                let why = item.map(|item| item["error"].to_string()).unwrap_or_default();
                                lines.push(ClientLine::Refused { task: order.task, why });
                            }
                        }
                    }
                    orders = left;
                }
                Err(_) => {
                    self.next_url.fetch_add(1, Ordering::Relaxed);
                }
            }
            self.journal.note(&lines)?;
            if orders.is_empty() {
                return Ok(());
            }
            if !lines.is_empty() {
                wait = Duration::from_millis(25);
            }
            tokio::time::sleep(wait).await; // the backoff itself
            wait = (wait * 2).min(Duration::from_millis(400));
        }
    }

    /// One batch to one coordinator.
    async fn ask(&self, orders: &[Order]) -> Result<Vec<Value>, String> {
        let event = |o: &Order| {
            let (ty, data) = match self.plan.doors {
                Doors::Negotiations => ("synod.negotiation.open", self.negotiation(o)),
                Doors::Workflows => ("synod.execution.start", start(o)),
                _ => ("synod.task.submit", self.command(o)),
            };
            json!({"specversion": "1.0", "id": format!("ce-{}", o.task), "source": "/chaos",
                "type": ty, "data": data})
        };
        let body = Value::from(orders.iter().map(event).collect::<Vec<_>>()).to_string();
        let url = &self.plan.http[self.next_url.load(Ordering::Relaxed) % self.plan.http.len()];
        let request = self.http.post(format!("{url}/v1/commands"));
        let request = request.header("content-type", "application/cloudevents-batch+json").body(body);
        let answer = request.send().await.map_err(|e| e.to_string())?;
        match answer.status().is_success() {
            true => answer.json().await.map_err(|e| e.to_string()),
            false => Err(format!("{url}: {}", answer.status())),
        }
    }

    fn command(&self, order: &Order) -> Value {
        json!({"task_id": order.task, "capability": self.plan.capability, "timeout_ms": self.plan.attempt_ms,
            "input": {"key": order.key}})
    }

    /// Two of three are contract nets; what some decide starts a task. The same each time that it is asked for.
    fn negotiation(&self, order: &Order) -> Value {
        let n: u64 = order.task.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or_default();
        let mut body = json!({"negotiation_id": order.task, "round_ms": 1_500, "replace": true,
            "invite": {"capability": self.plan.capability, "max": 3 + n % 3}});
        if n.is_multiple_of(3) {
            body["protocol"] = json!("vote");
            body["rules"] = json!({"candidates": ["x", "y"], "method": "plurality", "ties": "seed"});
            body["quorum"] = json!({"count": 1 + n % 2});
            body["on_timeout"] = json!("extend");
        } else {
            body["protocol"] = json!("contract_net");
            body["rules"] = json!({"commit_ms": 1_500, "result": n.is_multiple_of(2)});
        }
        if n.is_multiple_of(4) {
            body["then"] =
                json!({"task": {"capability": self.plan.capability, "timeout_ms": self.plan.attempt_ms}});
        }
        body
    }

    fn produce(&self, orders: &[Order]) -> Result<(), Trouble> {
        let producer = self.producer.as_ref().ok_or_else(|| Trouble::wrong("no producer"))?;
        for order in orders {
            let envelope = Envelope::new(format!("ce-{}", order.task), "/chaos", "synod.task.submit");
            let record = Outgoing::to(topics::COMMANDS).key(order.task.as_str()).envelope(&envelope);
            let (journal, line, unacked) = (self.journal.clone(), order.clone(), self.unacked.clone());
            unacked.fetch_add(1, Ordering::AcqRel);
            let sent = producer.send(record.payload(self.command(order).to_string()), move |delivery| {
                // Without an acknowledgement nothing was promised.
                if let Ok(acked) = delivery {
                    let place = acked.known_offset().map(|offset| (acked.partition.unsigned_abs(), offset));
                    if let Err(error) = journal.note(&[accepted(&line, place)]) {
                        eprintln!("the journal: {error}");
                    }
                }
                unacked.fetch_sub(1, Ordering::AcqRel);
            });
            if let Err(error) = sent {
                self.unacked.fetch_sub(1, Ordering::AcqRel);
                eprintln!("{}: not sent: {error}", self.plan.name);
            }
        }
        Ok(())
    }

    /// Each three times, the copies in an order of their own, each copy through a door of its own.
    async fn thrice(&self, orders: &[Order]) -> Result<(), Trouble> {
        let mut copies: Vec<(u64, bool, Vec<Order>)> = Vec::new();
        for copy in 0..3 {
            let mut some: Vec<Order> = orders.to_vec();
            some.sort_by_cached_key(|_| random());
            if self.plan.off == Some(Off::Ids) {
                some.iter_mut().for_each(|o| o.task = format!("{}.{copy}", o.task));
                let asked = |o: &Order| ClientLine::Asked { task: o.task.clone(), key: o.key.clone() };
                self.journal.note(&some.iter().map(asked).collect::<Vec<_>>())?;
            }
            copies.push((random() % SPREAD_MS, random().is_multiple_of(2), some));
        }
        let one = |(after_ms, is_http, some): (u64, bool, Vec<Order>)| async move {
            tokio::time::sleep(Duration::from_millis(after_ms)).await; // out of order, that is the test
            match is_http {
                true => self.post(some).await,
                false => self.produce(&some),
            }
        };
        futures::future::try_join_all(copies.into_iter().map(one)).await.map(drop)
    }
}

/// The run whose script its id names.
fn start(order: &Order) -> Value {
    Script::of(&order.task).map_or(Value::Null, |script| script.start(&order.task))
}

fn accepted(order: &Order, place: Option<(u32, u64)>) -> ClientLine {
    ClientLine::Acked { task: order.task.clone(), place }
}

fn random() -> u64 {
    uuid::Uuid::new_v4().as_u64_pair().0
}
