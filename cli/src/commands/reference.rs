//! `synod reference`: the interfaces as documents, made of the code itself.

use crate::output::{Column, Output, Stop};
use crate::reference;
use serde_json::Value;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Arguments of `synod reference`.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub struct Args {
    /// Which
    #[arg(value_enum)]
    what: Option<What>,
    /// Write the pages on metrics, settings, error codes and commands into this folder instead
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// The HTTP interface: OpenAPI 3.1
    Openapi,
    /// The Kafka interface: AsyncAPI 3.0
    Asyncapi,
    /// A JSON Schema for the value of every message
    Schemas,
    /// What `/metrics` tells
    Metrics,
    /// Every setting, its default and where it may be said
    Configuration,
    /// Every error code, its HTTP status and when it is answered
    Errors,
    /// Every command of this program
    Commands,
}

const METRICS: [Column; 3] =
    [Column::new("METRIC", "/name"), Column::new("KIND", "/kind"), Column::new("WHAT", "/says")];
const SETTINGS: [Column; 4] = [
    Column::new("SETTING", "/name"),
    Column::new("ENVIRONMENT", "/environment"),
    Column::new("DEFAULT", "/default"),
    Column::new("WHAT", "/says"),
];
const ERRORS: [Column; 5] = [
    Column::new("CODE", "/code"),
    Column::new("HTTP", "/http"),
    Column::new("EXIT", "/exit"),
    Column::new("REPEAT", "/retryable"),
    Column::new("WHEN", "/says"),
];
const COMMANDS: [Column; 2] = [Column::new("COMMAND", "/command"), Column::new("WHAT", "/says")];

pub(super) fn run(args: Args, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if let Some(folder) = args.write {
        return write(&folder);
    }
    let Some(what) = args.what else { return Ok(()) };
    match what {
        What::Openapi => document(&synod_coordinator::reference::openapi(), output),
        What::Asyncapi => document(&synod_coordinator::reference::asyncapi(), output),
        What::Schemas => document(&synod_coordinator::reference::schemas(), output),
        What::Metrics => output.list(&reference::metrics(), &METRICS),
        What::Configuration => output.list(&reference::settings(), &SETTINGS),
        What::Errors => output.list(&reference::errors(), &ERRORS),
        What::Commands => output.list(&reference::commands(), &COMMANDS),
    }
}

fn document(text: &str, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let document: Value = serde_json::from_str(text).map_err(|error| Stop::Failed(error.to_string()))?;
    output.structured(&document)
}

fn write(folder: &Path) -> Result<(), Stop> {
    let failed = |path: &Path, error: std::io::Error| {
        Stop::Failed(format!("cannot write {}: {error}", path.display()))
    };
    std::fs::create_dir_all(folder).map_err(|error| failed(folder, error))?;
    for page in reference::pages() {
        let path = folder.join(page.file);
        std::fs::write(&path, page.text).map_err(|error| failed(&path, error))?;
    }
    Ok(())
}
