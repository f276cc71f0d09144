//! `synod subscription …`: hear of changes of shared state, as a stream or by webhook; of events by webhook.

use super::place::Place;
use crate::mesh::{Api, Ending, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;
use std::time::Duration;
use synod_protocol::event_stream::EventTypes;
use synod_protocol::{EntityId, Error, Id};

/// Arguments of `synod subscription`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Make one: a stream, or a webhook
    Make(Make),
    /// List them
    List(List),
    /// Show one
    Get(Which),
    /// Show changes as they happen; goes on by itself when the connection breaks
    Watch(Watch),
    /// Have a webhook sent again that was disabled after too many failures
    Enable(Which),
    /// List what could not be delivered to a webhook
    Dead(Which),
    /// Have it sent again
    Redrive(Redrive),
    /// Remove one
    Delete(Which),
}

#[derive(Debug, clap::Args)]
struct Make {
    /// Which keys: * any run of characters, ? one, \ takes the next as it is
    #[arg(value_name = "PATTERN", required_unless_present = "events", conflicts_with = "events")]
    pattern: Option<String>,
    /// Or which events: a type, or how types begin and *, as in 'synod.approval.*'; may be said again
    #[arg(long, value_name = "TYPE", requires = "webhook")]
    events: Vec<EventTypes>,
    /// Only events of this entity, or of its children
    #[arg(long, value_name = "ID", requires = "events")]
    entity: Option<EntityId>,
    /// Send them there
    #[arg(long, value_name = "URL", requires = "secret")]
    webhook: Option<String>,
    /// What they are signed with: whsec_ and base64 of 24 to 64 bytes [env: SYNOD_WEBHOOK_SECRET]
    #[arg(long, value_name = "SECRET", env = "SYNOD_WEBHOOK_SECRET", hide_env = true)]
    secret: Option<String>,
    /// From this position on [default: from now on]
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// At most so many, 1 to 100,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    limit: u32,
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The subscription's id
    #[arg(value_name = "SUBSCRIPTION")]
    id: Id,
}

#[derive(Debug, clap::Args)]
struct Watch {
    #[command(flatten)]
    which: Which,
    /// After this position, or now or oldest [default: from where the subscription began]
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// End after so many changes [default: at Ctrl-C]
    #[arg(long, value_name = "N")]
    count: Option<u64>,
}

#[derive(Debug, clap::Args)]
struct Redrive {
    #[command(flatten)]
    which: Which,
    /// Only this one [default: all]
    #[arg(long, value_name = "MESSAGE")]
    message: Option<String>,
}

const COLUMNS: [Column; 8] = [
    Column::new("SUBSCRIPTION", "/subscription_id"),
    Column::new("PATTERN", "/pattern"),
    Column::new("EVENTS", "/events"),
    Column::new("DELIVERY", "/delivery"),
    Column::new("URL", "/url"),
    Column::new("STATUS", "/status"),
    Column::new("FAILURES", "/failures").right(),
    Column::new("MADE", "/created_at"),
];

const DEAD: [Column; 7] = [
    Column::new("MESSAGE", "/message_id"),
    Column::new("TYPE", "/event/type"),
    Column::new("KEY", "/event/key"),
    Column::new("ENTITY", "/event/entity"),
    Column::new("ATTEMPTS", "/attempts").right(),
    Column::new("DEAD", "/dead_at"),
    Column::new("REASON", "/reason"),
];

/// The pause before a broken stream is opened again.
const AGAIN: Duration = Duration::from_millis(500);

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        let api = Api::of(&settings)?;
        let post = async |path: String, body: Value| api.post(&path, &[], &body, Duration::ZERO).await;
        match args.verb {
            Verb::Make(make) => output.entity(&post("/v1/subscriptions".to_owned(), body(make)).await?.1),
            Verb::List(List { limit }) => {
                let query = [("limit", limit.min(1_000).to_string())];
                let all = super::pages(&api, "/v1/subscriptions", &query, limit as usize).await?;
                output.list(&all, &COLUMNS)
            }
            Verb::Get(which) => output.entity(&api.get(&path(&which), &[], Duration::ZERO).await?),
            Verb::Watch(watch) => watched(&api, watch, output).await,
            Verb::Enable(which) => {
                output.entity(&post(format!("{}/enable", path(&which)), json!({})).await?.1)
            }
            Verb::Dead(which) => {
                let page = api.get(&format!("{}/dead", path(&which)), &[], Duration::ZERO).await?;
                output.list(super::items(&page), &DEAD)
            }
            Verb::Redrive(Redrive { which, message }) => {
                let body = message.map_or_else(|| json!({}), |message| json!({ "message_id": message }));
                output.entity(&post(format!("{}/redrive", path(&which)), body).await?.1)
            }
            Verb::Delete(which) => api.delete(&path(&which)).await.map(drop).map_err(Stop::from),
        }
    })
}

fn path(which: &Which) -> String {
    format!("/v1/subscriptions/{}", which.id)
}

fn body(make: Make) -> Value {
    let mut body = match make.webhook {
        Some(url) => json!({"webhook": {"url": url, "secret": make.secret}}),
        None => json!({"stream": true}),
    };
    match make.pattern {
        Some(pattern) => body["pattern"] = pattern.into(),
        None => body["events"] = json!(make.events),
    }
    if let Some(entity) = make.entity {
        body["entity"] = json!(entity);
    }
    if let Some(after) = make.after {
        body["after"] = after.into();
    }
    body
}

async fn watched(api: &Api, watch: Watch, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
    let path = format!("{}/stream", path(&watch.which));
    let (mut after, mut left) = (watch.after, watch.count.unwrap_or(u64::MAX));
    let mut has_begun = false;
    while left > 0 {
        let opened = tokio::select! {
            biased;
            _ = ending.asked() => return Ok(()),
            opened = api.events(&path, after.as_deref()) => opened,
        };
        let mut stream = match opened {
            Ok(stream) => stream,
            // What cannot be reached now may be again; what is refused stays so.
            Err(error) if has_begun && error.code.is_retryable() => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        has_begun = true;
        loop {
            let event = tokio::select! {
                biased;
                _ = ending.asked() => return Ok(()),
                event = stream.next() => event,
            };
            let Some(event) = event else { break };
            after = event.id.or(after);
            let Some(data) = event.data else { continue };
            let data: Value = serde_json::from_str(&data).map_err(|error| Stop::Failed(error.to_string()))?;
            if event.name.as_deref() == Some("error") {
                let error: Error =
                    serde_json::from_value(data).map_err(|error| Stop::Failed(error.to_string()))?;
                return Err(error.into());
            }
            output.text(&line(&data, after.as_deref(), output.format()))?;
            left -= 1;
            if left == 0 {
                return Ok(());
            }
        }
        tokio::time::sleep(AGAIN).await;
    }
    Ok(())
}

/// One change: a line for people, or JSON with its position.
fn line(event: &Value, position: Option<&str>, format: Format) -> String {
    if format != Format::Table {
        return format!("{}\n", json!({ "position": position, "event": event }));
    }
    let text = |name: &str| event[name].as_str().unwrap_or_default();
    let ty = text("type").trim_start_matches("synod.state.");
    let (at, key, by) = (text("updated_at"), text("key"), text("updated_by"));
    format!("{at}  {ty:<8} {key} = {} (version {}, by {by})\n", event["value"], event["version"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_a_line() {
        let event = json!({"type": "synod.state.changed", "key": "k", "value": {"a": 1}, "version": 7,
            "updated_at": "2026-01-01T00:00:00Z", "updated_by": "me"});
        let check = |format, shown: &str| assert_eq!(line(&event, Some("p"), format), shown);
        check(Format::Table, "2026-01-01T00:00:00Z  changed  k = {\"a\":1} (version 7, by me)\n");
        assert!(line(&event, Some("p"), Format::Json).contains("\"position\":\"p\""));
    }
}
