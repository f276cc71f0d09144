//! `synod negotiation …`: open one, answer it, see how it stands.

use super::place::Place;
use super::text;
use crate::mesh::{Api, run as on_runtime, segment};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use crate::terminal::harmless;
use clap::Subcommand;
use serde_json::{Map, Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;
use synod_negotiation::{Protocols, explain, verify};
use synod_protocol::negotiation::NegotiationView;
use synod_protocol::{EntityId, Error, Id};

/// What a file may have.
const FILE_BYTES: u64 = 4 << 20;

/// Arguments of `synod negotiation`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Ask participants to decide something
    Open(Open),
    /// Show one: who was asked, who answered, what was decided and why
    Get(Get),
    /// List negotiations, live ones and those that ended lately
    List(List),
    /// Answer the round that is open, as a participant
    Respond(Respond),
    /// Want it no more
    Cancel(Cancel),
    /// Tell in sentences what was asked, who answered, and how the decision followed
    Explain(Which),
    /// Write the certificate of one that has ended, to be verified by anyone
    Certificate(Which),
    /// Recompute a certificate with nothing but its file, and say what does not hold
    Verify(Verify),
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// The file; - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Open {
    /// The file that says what, one JSON object as `POST /v1/negotiations` takes it; - is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Wait for the decision for so many milliseconds, up to 60,000
    #[arg(long, value_name = "MS", default_value_t = 0)]
    wait_ms: u64,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Its id
    #[arg(value_name = "ID")]
    id: EntityId,
}

#[derive(Debug, clap::Args)]
struct Get {
    #[command(flatten)]
    which: Which,
    /// Wait for the decision for so many milliseconds, up to 60,000
    #[arg(long, value_name = "MS", default_value_t = 0)]
    wait_ms: u64,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only those that stand so: open, collecting, decided, failed, cancelled
    #[arg(long)]
    status: Option<String>,
    /// Only those that are decided so, such as vote
    #[arg(long)]
    protocol: Option<String>,
    /// At most so many, 1 to 1,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Respond {
    #[command(flatten)]
    which: Which,
    /// As whom
    #[arg(long, value_name = "WHO")]
    participant: Id,
    /// JSON; what is not JSON is taken as text
    #[arg(value_name = "ANSWER", required_unless_present = "abstain")]
    response: Option<String>,
    /// Take part without an answer
    #[arg(long, conflicts_with = "response")]
    abstain: bool,
    /// Only this round
    #[arg(long, value_name = "N")]
    round: Option<u32>,
}

#[derive(Debug, clap::Args)]
struct Cancel {
    #[command(flatten)]
    which: Which,
    /// For people
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

const COLUMNS: [Column; 6] = [
    Column::new("NEGOTIATION", "/negotiation_id"),
    Column::new("PROTOCOL", "/protocol"),
    Column::new("STATUS", "/status"),
    Column::new("ROUND", "/round").right(),
    Column::new("ANSWERS", "/answers").right(),
    Column::new("OPENED", "/opened_at"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if let Verb::Verify(Verify { file }) = &args.verb {
        // It takes no mesh.
        return verified(&text::read("the certificate", file, FILE_BYTES)?, output);
    }
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        match args.verb {
            Verb::Open(open) => {
                let body = read(&open.file)?;
                let (query, wait) = waits(open.wait_ms);
                output.entity(&api.post("/v1/negotiations", &query, &body, wait).await?.1)
            }
            Verb::Get(get) => {
                let (query, wait) = waits(get.wait_ms);
                output.entity(&api.get(&path(&get.which, ""), &query, wait).await?)
            }
            Verb::List(List { status, protocol, limit }) => {
                let mut query = vec![("limit", limit.to_string())];
                query.extend(status.map(|status| ("status", status)));
                query.extend(protocol.map(|protocol| ("protocol", protocol)));
                let page = api.get("/v1/negotiations", &query, Duration::ZERO).await?;
                output.list(super::items(&page), &COLUMNS)
            }
            Verb::Respond(respond) => {
                let body = answer(&respond);
                let path = path(&respond.which, "/responses");
                output.entity(&api.post(&path, &[], &body, Duration::ZERO).await?.1)
            }
            Verb::Explain(which) => {
                let view = api.get(&path(&which, ""), &[], Duration::ZERO).await?;
                let view: NegotiationView = serde_json::from_value(view)
                    .map_err(|error| Error::unavailable(format!("the answer does not read: {error}")))?;
                explain(&view)
                    .iter()
                    .try_for_each(|sentence| output.text(&format!("{}\n", harmless(sentence))))
            }
            Verb::Certificate(which) => {
                let made = api.get(&path(&which, "/certificate"), &[], Duration::ZERO).await?;
                output.text(&format!("{made}\n"))
            }
            Verb::Verify(_) => Ok(()),
            Verb::Cancel(Cancel { which, reason }) => {
                let body = json!({ "reason": reason });
                output.entity(&api.post(&path(&which, "/cancel"), &[], &body, Duration::ZERO).await?.1)
            }
        }
    })
}

fn path(which: &Which, then: &str) -> String {
    format!("/v1/negotiations/{}{then}", segment(which.id.as_str()))
}

fn waits(wait_ms: u64) -> (Vec<(&'static str, String)>, Duration) {
    let query = if wait_ms == 0 { Vec::new() } else { vec![("wait_ms", wait_ms.to_string())] };
    (query, Duration::from_millis(wait_ms))
}

fn answer(respond: &Respond) -> Value {
    let mut body = Map::new();
    body.insert("participant".to_owned(), respond.participant.as_str().into());
    body.extend(respond.round.map(|round| ("round".to_owned(), round.into())));
    match &respond.response {
        Some(text) => {
            let response = serde_json::from_str(text).unwrap_or_else(|_| text.as_str().into());
            body.insert("response".to_owned(), response);
        }
        None => {
            body.insert("abstain".to_owned(), true.into());
        }
    }
    Value::Object(body)
}

/// One JSON value of a file, or of stdin.
fn read(file: &Path) -> Result<Value, Stop> {
    serde_json::from_str(&text::read("the negotiation", file, FILE_BYTES)?)
        .map_err(|error| Stop::Usage(format!("{}: no JSON: {error}", file.display())))
}

/// Says what does not hold, a line for each; that all of it does, in one.
fn verified(text: &str, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let verification = verify(text, Protocols::standard());
    for finding in &verification.findings {
        output.text(&harmless(&format!("{}: {}", finding.at, finding.what)))?;
        output.text("\n")?;
    }
    if let Some(note) = &verification.note {
        output.text(&format!("{}\n", harmless(note)))?;
    }
    if !verification.holds() {
        let count = verification.findings.len();
        return Err(Stop::Failed(format!(
            "the certificate does not hold: {count} things are not as they were"
        )));
    }
    let how = if verification.recomputed { ", and its decision follows from what was answered" } else { "" };
    output.text(&format!("The certificate is what was written{how}.\n"))
}
