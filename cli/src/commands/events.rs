//! `synod events …`: what happened, and what happens now.

mod tail;

use super::place::Place;
use crate::mesh::{Api, Dialling, run as on_runtime};
use crate::output::{Format, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use std::io::Write;
use synod_protocol::EntityId;
use synod_protocol::event_stream::EventTypes;

/// Arguments of `synod events`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List what happened
    List(List),
    /// Show events as they happen; goes on by itself when the coordinator ends
    Tail(tail::Args),
}

/// Which events.
#[derive(Clone, Debug, Default, clap::Args)]
struct Filter {
    /// Only those of this entity, or of its children
    #[arg(long, value_name = "ID")]
    entity: Option<EntityId>,
    /// Only those of this type, such as synod.task.completed, or of all that begin so: 'synod.approval.*'
    #[arg(long = "type", value_name = "TYPE")]
    ty: Option<EventTypes>,
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    filter: Filter,
    /// Only those after this position
    #[arg(long, value_name = "POSITION")]
    after: Option<String>,
    /// At most so many, 1 to 10,000
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    limit: u32,
}

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    on_runtime(async {
        match args.verb {
            Verb::List(list) => listed(&Api::of(&settings)?, list, output).await,
            Verb::Tail(tail) => {
                let mesh = Dialling::of(&settings, "synod-events");
                tail::run(&Api::of(&settings)?, &mesh, tail, output).await
            }
        }
    })
}

async fn listed(api: &Api, list: List, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let List { filter, after, limit } = list;
    let mut query: Vec<(&str, String)> = vec![("limit", limit.min(100).to_string())];
    query.extend(filter.entity.map(|entity| ("entity", entity.to_string())));
    query.extend(filter.ty.map(|ty| ("type", ty.to_string())));
    query.extend(after.map(|after| ("after", after)));
    let events = super::pages(api, "/v1/events", &query, limit as usize).await?;
    match output.format() {
        Format::Table => {
            let rows: Vec<_> = events.iter().map(super::event_line::row).collect();
            output.list(&rows, &super::event_line::COLUMNS)
        }
        Format::Json | Format::Yaml => output.structured(&events),
    }
}
