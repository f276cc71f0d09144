//! `synod doctor`: what is wrong with Kafka, Redis or the coordinators, and what to do. What is looked at is in [`crate::doctor`].

use super::place::Place;
use crate::doctor::{Examination, Finding, Patient, State, examine};
use crate::mesh::{Ending, run as on_runtime};
use crate::output::{Format, Output, Stop};
use crate::settings::Flags;
use crate::terminal::{Screen, harmless};
use std::io::Write;
use std::time::Duration;
use synod_protocol::Error;

/// Arguments of `synod doctor`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Append nothing: leaves out the append to synod.doctor.v1 and with it the brokers' clock
    #[arg(long)]
    read_only: bool,
    /// Give up on Kafka, Redis or the coordinators after so many seconds each
    #[arg(long, value_name = "SECONDS", default_value_t = 12, value_parser = clap::value_parser!(u64).range(1..=600))]
    limit: u64,
}

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    // The client libraries' own words on what is away would only stand in between.
    let settings = args.place.settings(flags)?;
    super::place::logs(&settings, Some("off"))?;
    let patient = Patient::of(&settings, !args.read_only, Duration::from_secs(args.limit))?;
    let found = on_runtime(async {
        let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
        tokio::select! {
            found = examine(&patient) => Ok(found),
            signal = ending.asked() => Err(Stop::Signal(signal)),
        }
    })?;
    match output.format() {
        Format::Table => output.text(&draw(&found, output.screen()))?,
        Format::Json | Format::Yaml => output.structured(&found)?,
    }
    if !found.reached {
        return Err(Error::unavailable("neither Kafka nor Redis nor a coordinator is reached").into());
    }
    match found.checks.iter().filter(|finding| finding.state == State::Wrong).count() {
        0 => Ok(()),
        1 => Err(Stop::Failed("one thing is wrong".to_owned())),
        some => Err(Stop::Failed(format!("{some} things are wrong"))),
    }
}

/// One line each.
fn draw(found: &Examination, screen: Screen) -> String {
    let wide = found.checks.iter().map(|finding| finding.check.chars().count()).max().unwrap_or(0);
    let mut out = String::new();
    for Finding { area, check, state, says, mend } in &found.checks {
        let (word, colour) = match state {
            State::Ok => ("ok     ", "32"),
            State::Warning => ("warning", "33"),
            State::Wrong => ("WRONG  ", "31"),
        };
        let word = if screen.colour { format!("\x1b[{colour}m{word}\x1b[0m") } else { word.to_owned() };
        let mend = mend.as_deref().map(|mend| format!("; {}", harmless(mend))).unwrap_or_default();
        out.push_str(&format!("{word}  {area:<12}  {:<wide$}  {}{mend}\n", harmless(check), harmless(says)));
    }
    let count = |state| found.checks.iter().filter(|finding| finding.state == state).count();
    let (ok, warnings, wrong) = (count(State::Ok), count(State::Warning), count(State::Wrong));
    out.push_str(&format!("\n{ok} ok, {warnings} to be known, {wrong} wrong\n"));
    out
}
