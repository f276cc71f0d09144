//! `synod validate`: does a mesh keep its promises? The checks are in [`crate::validate`].

use super::demo::{say_where, stop};
use super::place::{Place, logs};
use crate::mesh::{Ending, Ground, run as on_runtime};
use crate::output::{Column, Format, Output, Stop};
use crate::settings::{Flags, Settings};
use crate::validate::{Mark, Row, Site, run_all};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::Write;
use std::time::Duration;

/// Arguments of `synod validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// The same as --output json
    #[arg(long)]
    json: bool,
}

/// What an embedded mesh has begun may take so long at its end.
const FINISH_WITHIN: Duration = Duration::from_secs(1);

const COLUMNS: [Column; 4] = [
    Column::new("CHECK", "/check"),
    Column::new("RESULT", "/result"),
    Column::new("MS", "/duration_ms").right(),
    Column::new("WHY", "/why"),
];

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = args.place.settings(flags)?;
    // A mesh of our own warns of what the checks do wrong on purpose.
    logs(&settings, Some("error"))?;
    let rows = on_runtime(async {
        let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
        tokio::select! {
            rows = rows(&settings) => rows,
            // What was started ends as it is dropped.
            signal = ending.asked() => Err(Stop::Failed(format!("ended by {signal}"))),
        }
    })?;
    let values = rows.iter().map(serde_json::to_value).collect::<Result<Vec<_>, _>>();
    let values = values.map_err(|error| Stop::Failed(error.to_string()))?;
    match (args.json, output.format()) {
        (true, Format::Table) => output.text(&(serde_json::json!(values).to_string() + "\n"))?,
        _ => output.list(&values, &COLUMNS)?,
    }
    match rows.iter().filter(|row| row.result == Mark::Fail).count() {
        0 => Ok(()),
        failed => Err(Stop::Failed(format!("{failed} of {} checks failed", rows.len()))),
    }
}

async fn rows(settings: &Settings) -> Result<Vec<Row>, Stop> {
    say_where(settings);
    let ground = Ground::of(settings, "synod-validate").await.map_err(stop)?;
    let site = Site::open(ground).map_err(|error| Stop::Failed(error.to_string()))?;
    let bar = ProgressBar::new_spinner();
    let bar = match ProgressStyle::with_template("{spinner} {pos} checks  {elapsed}  {msg}") {
        Ok(style) => bar.with_style(style),
        // The template is a constant that reads; without it the bar is only plainer.
        Err(_) => bar,
    };
    let rows = run_all(&site, |row: &Row| {
        bar.set_message(row.check);
        bar.inc(1);
    })
    .await;
    bar.finish_and_clear();
    site.leave(FINISH_WITHIN).await;
    Ok(rows)
}
