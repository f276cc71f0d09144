//! `synod completions SHELL`: a script for the shell to source.

use super::Cli;
use crate::output::{Output, Stop};
use clap::CommandFactory as _;
use std::io::Write;

/// Arguments of `synod completions`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Which shell
    shell: clap_complete::Shell,
}

pub(super) fn run(args: &Args, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "synod", &mut script);
    output.text(&String::from_utf8_lossy(&script))
}
