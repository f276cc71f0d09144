//! `synod validate`: does a mesh keep its promises? The checks are in [`crate::validate`].

use super::demo::{say_where, stop};
use super::place::{Place, logs};
use crate::mesh::{Ending, Ground, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::{Flags, Settings};
use crate::validate::{Figures, Mark, Row, Site, Wanted, junit, names, run_all};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

/// Arguments of `synod validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// The same as --output json
    #[arg(long)]
    json: bool,
    /// Write the same as a JUnit file besides
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Make only the checks whose names contain this; may be given more than once
    #[arg(long, value_name = "TEXT")]
    only: Vec<String>,
    /// Write the names of all checks, and make none
    #[arg(long)]
    list: bool,
    /// What becomes of the headline figures [default: judged; told on a mesh of its own]
    #[arg(long, value_enum)]
    figures: Option<Figures>,
    /// Kill a coordinator and wipe Redis as well: only where nobody else works on the mesh
    #[arg(long)]
    disruptive: bool,
}

/// What an embedded mesh has begun may take so long at its end.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

const COLUMNS: [Column; 4] = [
    Column::new("CHECK", "/check"),
    Column::new("RESULT", "/result"),
    Column::new("MS", "/duration_ms").right(),
    Column::new("WHY", "/why"),
];

pub(super) fn run(args: &Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if args.list {
        return output.text(&names().fold(String::new(), |text, name| text + name + "\n"));
    }
    let unknown = args.only.iter().find(|part| !names().any(|name| name.contains(part.as_str())));
    if let Some(part) = unknown {
        return Err(Stop::Usage(format!("no check has {part:?} in its name; --list shows them")));
    }
    let settings = args.place.clone().settings(flags)?;
    // A mesh of our own warns of what the checks do wrong on purpose.
    logs(&settings, Some("error"))?;
    let rows = on_runtime(async {
        let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
        tokio::select! {
            rows = rows(&settings, args) => rows,
            // What was started ends as it is dropped.
            signal = ending.asked() => Err(Stop::Failed(format!("ended by {signal}"))),
        }
    })?;
    if let Some(file) = &args.junit {
        let text = junit(&rows).map_err(|error| Stop::Failed(error.to_string()))?;
        std::fs::write(file, text).map_err(|error| Stop::Failed(format!("{}: {error}", file.display())))?;
    }
    let values = rows.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    let values = values.map_err(|error| Stop::Failed(error.to_string()))?;
    match (args.json, output.format()) {
        (true, Format::Table) => output.text(&(serde_json::json!(values).to_string() + "\n"))?,
        _ => output.list(&values, &COLUMNS)?,
    }
    match rows.iter().filter(|row| row.result == Mark::Fail).count() {
        0 => Ok(()),
        failed => Err(Stop::Failed(format!("{failed} of {} checks and figures failed", rows.len()))),
    }
}

async fn rows(settings: &Settings, args: &Args) -> Result<Vec<Row>, Stop> {
    say_where(settings);
    let ground = Ground::of(settings, "synod-validate").await.map_err(stop)?;
    // What this very process is slowed down by says nothing of a mesh.
    let unless_said = if ground.is_own() { Figures::Told } else { Figures::Judged };
    let wanted = Wanted { only: args.only.clone(), figures: args.figures.unwrap_or(unless_said) };
    let site = Site::open(ground, args.disruptive).map_err(|error| Stop::Failed(error.to_string()))?;
    let bar = ProgressBar::new_spinner();
    let bar = match ProgressStyle::with_template("{spinner} {pos} checks  {elapsed}  {msg}") {
        Ok(style) => bar.with_style(style),
        // The template is a constant that reads; without it the bar is only plainer.
        Err(_) => bar,
    };
    let rows = run_all(&site, &wanted, |row: &Row| {
        bar.set_message(row.check);
        bar.inc(1);
    })
    .await;
    bar.finish_and_clear();
    site.leave(FINISH_WITHIN).await;
    Ok(rows)
}
