//! `synod dlq …`: what could not be handled, and why; a fresh try of it, or its end.

use super::place::Place;
use crate::dlq::{Deed, Letter, Marks, find, newest, settle, source, summary, whole};
use crate::mesh::{Dialling, run as on_runtime};
use crate::output::{Column, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use std::io::{BufRead as _, IsTerminal as _, Write};
use synod_infra::kafka::{RawRecord, Readers};
use synod_protocol::{Code, Error, topics};

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
            Verb::Redrive(chosen) => done(&mesh, &readers, &args.topic, chosen, Deed::Redrive, output).await,
            Verb::Discard(chosen) => done(&mesh, &readers, &args.topic, chosen, Deed::Discard, output).await,
        }
    })
}

const SETTLED: [Column; 3] =
    [Column::new("LETTER", "/letter"), Column::new("RESULT", "/result"), Column::new("NOW AT", "/now_at")];

/// Settles the chosen letters of `dlq.<of>`.
async fn done(
    mesh: &Dialling,
    readers: &Readers,
    of: &str,
    chosen: Chosen,
    deed: Deed,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let topic = topics::dlq(of);
    let marks = Marks::read(readers, &topic).await?;
    let letters = match chosen.letters.is_empty() {
        true => newest(readers, &topic, LIMIT, |record| marks.closed(source(record)).is_none()).await?,
        false => named(readers, &topic, &chosen.letters, &marks).await?,
    };
    if letters.is_empty() {
        return output.list(&[], &SETTLED);
    }
    if !chosen.yes {
        confirmed(letters.len(), &topic, deed)?;
    }
    let (rows, stop) = settle(&mesh.kafka, readers, of, &letters, deed).await;
    output.list(&rows, &SETTLED)?;
    stop.map_or(Ok(()), Err)
}

/// Every letter that was named; none of them may be done with already.
async fn named(
    readers: &Readers,
    topic: &str,
    letters: &[Letter],
    marks: &Marks,
) -> Result<Vec<RawRecord>, Stop> {
    let mut found = Vec::with_capacity(letters.len());
    for letter in letters {
        let record = find(readers, topic, *letter).await?;
        if let Some(mark) = marks.closed(source(&record)) {
            let message = format!("dead letter {letter} was {} at {}", mark.said.as_str(), mark.at);
            let error = Error::new(Code::InvalidTransition, message);
            return Err(Error { status: Some(mark.said.as_str().to_owned()), ..error }.into());
        }
        found.push(record);
    }
    Ok(found)
}

/// Asks a person; a program must have said `--yes`.
fn confirmed(count: usize, topic: &str, deed: Deed) -> Result<(), Stop> {
    let verb = match deed {
        Deed::Redrive => "redrive",
        Deed::Discard => "discard",
    };
    if !std::io::stdin().is_terminal() {
        return Err(Stop::Usage(format!(
            "{verb} {count} of {topic}? Say --yes: there is nobody here to ask"
        )));
    }
    let mut answer = String::new();
    // A question belongs to people, and stands alone on its line; if it cannot be shown, the answer is not yes.
    let asked = write!(std::io::stderr(), "{verb} {count} of {topic}? [y/N] ");
    let answered = asked.and_then(|()| std::io::stdin().lock().read_line(&mut answer));
    answered.map_err(|error| Stop::Failed(error.to_string()))?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Stop::Failed("nothing was done".to_owned())),
    }
}
