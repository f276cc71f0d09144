//! `synod events tail`: events as they happen, from whichever coordinator is there.

use super::Filter;
use crate::commands::event_line;
use crate::mesh::{Api, Dialling, Ending};
use crate::output::{Format, Output, Stop};
use agent_sdk::{EventsFrom, EventsWanted, HeardEvent, Mesh};
use serde_json::Value;
use std::io::Write;
use std::time::Duration;

/// Arguments of `synod events tail`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    filter: Filter,
    /// Begin with so many of the newest records of each shard
    #[arg(long, value_name = "N", default_value_t = 0, conflicts_with = "after")]
    last: u32,
    /// Go on after this position (`after` of an event in JSON), or with the oldest
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// End after so many events
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// End after so many seconds [default: at Ctrl-C]
    #[arg(long, value_name = "SECONDS")]
    limit: Option<u64>,
}

pub(super) async fn run(
    api: &Api,
    mesh: &Dialling,
    args: Args,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
    // Once it has begun it waits for a coordinator to come back; that there is none to begin with is an answer.
    api.get("/livez", &[], Duration::ZERO).await?;
    let connected = Mesh::connect(mesh.sdk()).map_err(|error| Stop::Usage(error.to_string()))?;
    let mut events = connected.client().events(wanted(&args));
    let limit = args.limit.map_or(Duration::MAX, Duration::from_secs);
    let mut over = std::pin::pin!(tokio::time::sleep(limit.min(Duration::from_secs(10 * 365 * 86_400))));
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 {
        let heard = tokio::select! {
            biased;
            _ = ending.asked() => return Ok(()),
            () = &mut over => return Ok(()),
            heard = events.next_event() => heard?,
        };
        let Some(heard) = heard else { return Ok(()) };
        output.text(&line(&heard, output.format())?)?;
        left -= 1;
    }
    Ok(())
}

fn wanted(args: &Args) -> EventsWanted {
    let from = match (args.after.as_deref(), args.last) {
        (Some("oldest"), _) => EventsFrom::Oldest,
        (Some("now"), _) | (None, 0) => EventsFrom::Now,
        (Some(position), _) => EventsFrom::After(position.to_owned()),
        (None, last) => EventsFrom::Last(last),
    };
    EventsWanted { types: args.filter.ty.clone(), entity: args.filter.entity.clone(), from }
}

/// A line for people; in JSON and YAML with where to go on after it.
fn line(heard: &HeardEvent, format: Format) -> Result<String, Stop> {
    let mut event: Value =
        serde_json::to_value(&heard.event).map_err(|error| Stop::Failed(error.to_string()))?;
    if format != Format::Table {
        event["after"] = heard.position.as_str().into();
    }
    Ok(event_line::line(&event, format))
}
