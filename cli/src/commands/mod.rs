//! The commands, one file per noun.
//!
//! A file has its arguments (`Args`, clap) and `run`, which returns data through [`Output`] or says
//! in a [`Stop`] why not. It neither prints nor exits by itself.

mod completions;
mod config;

use crate::output::{Exit, Format, Output, Stop};
use crate::settings::Flags;
use clap::{Parser, Subcommand};
use std::ffi::OsString;

/// Coordination mesh for software agents.
#[derive(Debug, Parser)]
#[command(name = "synod", version, propagate_version = true, after_help = EXIT_STATUSES)]
struct Cli {
    /// How to write data
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
    #[command(flatten)]
    flags: Flags,
    #[command(subcommand)]
    command: Command,
}

const EXIT_STATUSES: &str =
    "Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 unavailable";

/// What can be asked.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show the settings in force and where each was said; secrets are hidden
    Config(config::Args),
    /// Write the completions for a shell
    Completions(completions::Args),
}

/// Runs one command line. Data goes to stdout, everything else to stderr.
pub fn run(args: impl IntoIterator<Item = OsString>) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            // clap knows what is help (stdout) and what is an error (stderr). If neither can be
            // written, there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage } else { Exit::Done };
        }
    };
    match execute(cli) {
        Ok(()) => Exit::Done,
        Err(stop) => {
            if !stop.is_silent() {
                say(&stop);
            }
            stop.exit()
        }
    }
}

fn execute(cli: Cli) -> Result<(), Stop> {
    let mut output = Output::stdout(cli.output);
    match cli.command {
        Command::Config(args) => config::run(args, cli.flags, &mut output),
        Command::Completions(args) => completions::run(&args, &mut output),
    }
}

/// To stderr; if that is closed, there is nobody to tell.
fn say(stop: &Stop) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr(), "synod: {}", crate::terminal::harmless(&stop.to_string()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
