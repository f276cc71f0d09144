//! `synod queue …`: messages that wait for a consumer, put in, taken and settled over HTTP.

use super::place::Place;
use crate::mesh::{Api, run as on_runtime, segment};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::time::Duration;
use synod_protocol::{Code, Error, Name};

/// Arguments of `synod queue`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Put a message in
    Enqueue(Enqueue),
    /// Take messages for a while
    Lease(Lease),
    /// Say that a message is done
    Ack(Ack),
    /// Give a message back
    Nack(Nack),
    /// Keep a message for longer
    Extend(Extend),
    /// Show what is in it and what goes through it
    Get(Which),
    /// List messages that have had their last delivery
    Dead(Dead),
    /// Make dead messages ready again
    Redrive(Redrive),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The queue's name
    #[arg(value_name = "QUEUE")]
    queue: Name,
}

#[derive(Debug, clap::Args)]
struct Enqueue {
    #[command(flatten)]
    which: Which,
    /// JSON; what is not JSON is taken as text
    #[arg(value_name = "PAYLOAD")]
    payload: String,
    /// A name by which it is taken once only, for 24 h
    #[arg(long, value_name = "ID")]
    id: Option<Name>,
    /// 0 to 9; 9 is handed out first
    #[arg(long, value_name = "N")]
    priority: Option<u64>,
    /// Not handed out for so many milliseconds
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// After so many deliveries it is dead
    #[arg(long, value_name = "N")]
    max_deliveries: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Lease {
    #[command(flatten)]
    which: Which,
    /// Who takes them
    #[arg(long, default_value = "synod-cli")]
    consumer: Name,
    /// For so many milliseconds
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    visibility_ms: u64,
    /// Messages at most, 1 to 100
    #[arg(long, value_name = "N", default_value_t = 1)]
    limit: u64,
    /// Wait for the first one for so many milliseconds, up to 60,000
    #[arg(long, value_name = "MS", default_value_t = 0)]
    wait_ms: u64,
}

#[derive(Debug, clap::Args)]
struct Held {
    #[command(flatten)]
    which: Which,
    /// The message's id
    #[arg(value_name = "MESSAGE")]
    message: Name,
    /// The receipt that the lease gave
    #[arg(value_name = "RECEIPT")]
    receipt: String,
}

#[derive(Debug, clap::Args)]
struct Ack {
    #[command(flatten)]
    held: Held,
}

#[derive(Debug, clap::Args)]
struct Nack {
    #[command(flatten)]
    held: Held,
    /// Not handed out again for so many milliseconds
    #[arg(long, value_name = "MS")]
    delay_ms: Option<u64>,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

#[derive(Debug, clap::Args)]
struct Extend {
    #[command(flatten)]
    held: Held,
    /// For so many milliseconds from now
    #[arg(long, value_name = "MS", default_value_t = 30_000)]
    visibility_ms: u64,
}

#[derive(Debug, clap::Args)]
struct Dead {
    #[command(flatten)]
    which: Which,
    /// At most so many, 1 to 10,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Redrive {
    #[command(flatten)]
    which: Which,
    /// The messages' ids
    #[arg(value_name = "MESSAGE", required_unless_present = "all")]
    messages: Vec<Name>,
    /// All that are dead now
    #[arg(long, conflicts_with = "messages")]
    all: bool,
}

const LEASED: [Column; 5] = [
    Column::new("MESSAGE", "/message_id"),
    Column::new("DELIVERY", "/delivery").right(),
    Column::new("RECEIPT", "/receipt"),
    Column::new("UNTIL", "/leased_until"),
    Column::new("PAYLOAD", "/payload"),
];

const DEAD: [Column; 5] = [
    Column::new("MESSAGE", "/message_id"),
    Column::new("DIED", "/dead_at"),
    Column::new("DELIVERIES", "/deliveries").right(),
    Column::new("WHY", "/reason"),
    Column::new("PAYLOAD", "/payload"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        let post = async |path: String, body: Value, wait_ms: u64| {
            api.post(&path, &[], &body, Duration::from_millis(wait_ms)).await.map(|(_, answer)| answer)
        };
        match args.verb {
            Verb::Enqueue(new) => output.entity(&post(path(&new.which, ""), message(&new), 0).await?),
            Verb::Lease(Lease { which, consumer, visibility_ms, limit, wait_ms }) => {
                let body = json!({ "consumer": consumer.as_str(), "visibility_ms": visibility_ms,
                    "limit": limit, "wait_ms": wait_ms });
                let answer = post(path(&which, "/lease"), body, wait_ms).await?;
                output.list(super::items(&answer), &LEASED)
            }
            Verb::Ack(Ack { held }) => {
                let body = json!({ "receipt": held.receipt });
                output.entity(&post(of_message(&held, "ack"), body, 0).await?)
            }
            Verb::Nack(Nack { held, delay_ms, reason }) => {
                let body = json!({ "receipt": held.receipt, "delay_ms": delay_ms, "reason": reason });
                output.entity(&post(of_message(&held, "nack"), body, 0).await?)
            }
            Verb::Extend(Extend { held, visibility_ms }) => {
                let body = json!({ "receipt": held.receipt, "visibility_ms": visibility_ms });
                output.entity(&post(of_message(&held, "extend"), body, 0).await?)
            }
            Verb::Get(which) => output.entity(&api.get(&path(&which, ""), &[], Duration::ZERO).await?),
            Verb::Dead(Dead { which, limit }) => {
                output.list(&dead(&api, &which, limit as usize).await?, &DEAD)
            }
            Verb::Redrive(wanted) => {
                let driven = redrive(&api, &wanted).await?;
                output.entity(&json!({ "queue": wanted.which.queue.as_str(), "redriven": driven }))
            }
        }
    })
}

fn message(new: &Enqueue) -> Value {
    let mut body = Map::new();
    body.insert("payload".to_owned(), super::json_or_text(&new.payload));
    let figures =
        [("priority", new.priority), ("delay_ms", new.delay_ms), ("max_deliveries", new.max_deliveries)];
    for (name, figure) in figures {
        body.extend(figure.map(|figure| (name.to_owned(), figure.into())));
    }
    body.extend(new.id.as_ref().map(|id| ("message_id".to_owned(), id.as_str().into())));
    body.into()
}

async fn dead(api: &Api, which: &Which, limit: usize) -> Result<Vec<Value>, Stop> {
    super::pages(api, &path(which, "/dead"), &[("limit", limit.min(100).to_string())], limit).await
}

/// How many are ready again. Of all, one that another has redriven meanwhile is no failure.
async fn redrive(api: &Api, wanted: &Redrive) -> Result<u64, Stop> {
    let ids: Vec<Name> = if wanted.all {
        let all = dead(api, &wanted.which, usize::MAX).await?;
        all.iter().filter_map(|letter| letter["message_id"].as_str()?.parse().ok()).collect()
    } else {
        wanted.messages.clone()
    };
    let mut driven = 0;
    for id in ids {
        let path = path(&wanted.which, &format!("/dead/{}/redrive", segment(id.as_str())));
        match api.post(&path, &[], &json!({}), Duration::ZERO).await {
            Ok(_) => driven += 1,
            Err(Error { code: Code::NotFound, .. }) if wanted.all => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(driven)
}

fn path(which: &Which, more: &str) -> String {
    format!("/v1/queues/{}{more}", segment(which.queue.as_str()))
}

fn of_message(held: &Held, what: &str) -> String {
    path(&held.which, &format!("/{}/{what}", segment(held.message.as_str())))
}
