//! `synod dlq …`: what could not be handled, and why; a fresh try of it, or its end.
//!
//! Letters are read from `dlq.<topic>`, where they stay as they are until they are too old; what became of them is
//! said beside them ([`marks`]).

mod letters;
mod marks;
mod redrive;

use super::place::Place;
use crate::mesh::{Dialling, run as on_runtime};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use letters::{Letter, find, newest, source, summary, whole};
use marks::Marks;
use redrive::Deed;
use std::io::Write;
use synod_infra::kafka::{ReadError, Readers};
use synod_protocol::{Error, topics};

/// Letters that are dealt with at once at most.
const LIMIT: usize = 10_000;

/// Arguments of `synod dlq`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// The topic whose dead letters are meant
    #[arg(long, global = true, value_name = "TOPIC", default_value = topics::COMMANDS, value_parser = topic)]
    topic: String,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List the newest dead letters, oldest first
    List {
        /// At most so many, 1 to 10,000
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=LIMIT as i64))]
        limit: u32,
        /// Those too that were redriven or discarded
        #[arg(long)]
        closed: bool,
    },
    /// Show one dead letter, whole
    Show {
        /// Which, as `list` names it
        #[arg(value_name = "PARTITION:OFFSET")]
        letter: Letter,
    },
    /// Produce records again to the topic that they came from, under the same ids; at least once
    Redrive(Chosen),
    /// Say that nobody wants them: they are no longer listed
    Discard(Chosen),
}

/// Which letters.
#[derive(Debug, clap::Args)]
struct Chosen {
    /// Which, as `list` names them
    #[arg(value_name = "PARTITION:OFFSET", required_unless_present = "all", conflicts_with = "all")]
    letters: Vec<Letter>,
    /// Every one that is listed, up to 10,000
    #[arg(long)]
    all: bool,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

fn topic(name: &str) -> Result<String, String> {
    match topics::is_topic_name(name) {
        true => Ok(name.to_owned()),
        false => Err("a topic's name has 1 to 249 of A-Z a-z 0-9 . _ -".to_owned()),
    }
}

const COLUMNS: [Column; 6] = [
    Column::new("LETTER", "/letter"),
    Column::new("TIME", "/time"),
    Column::new("STATE", "/state"),
    Column::new("TYPE", "/type"),
    Column::new("KEY", "/key"),
    Column::new("WHY", "/error/message"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.quiet_settings(flags)?;
    let topic = topics::dlq(&args.topic);
    on_runtime(async {
        let mesh = Dialling::of(&settings, "synod-dlq");
        let readers = Readers::new(&mesh.kafka).map_err(|error| Stop::Usage(error.to_string()))?;
        match args.verb {
            Verb::List { limit, closed } => {
                let marks = Marks::read(&readers, &topic).await?;
                let wanted = |record: &_| closed || marks.closed(source(record)).is_none();
                let letters = newest(&readers, &topic, limit as usize, wanted).await?;
                let rows: Vec<_> = letters.iter().map(|letter| summary(letter, &marks)).collect();
                output.list(&rows, &COLUMNS)
            }
            Verb::Show { letter } => {
                let marks = Marks::read(&readers, &topic).await?;
                output.entity(&whole(&find(&readers, &topic, letter).await?, &marks))
            }
            Verb::Redrive(chosen) => {
                redrive::run(&mesh, &readers, &args.topic, chosen, Deed::Redrive, output).await
            }
            Verb::Discard(chosen) => {
                redrive::run(&mesh, &readers, &args.topic, chosen, Deed::Discard, output).await
            }
        }
    })
}

#[allow(clippy::needless_pass_by_value)] // for `map_err`
fn unavailable(error: ReadError) -> Stop {
    Error::unavailable(format!("Kafka: {error}")).into()
}
