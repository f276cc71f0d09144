//! `synod up`: a whole mesh in this process, until it is asked to end.

use super::place::{logs, traces};
use crate::mesh::{
    Embedded, EmbeddedError, EmbeddedOptions, Ending, Endpoints, EndpointsFile, run as on_runtime,
};
use crate::output::{Format, Output, Stop};
use crate::settings::{Flags, Settings};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;
use synod_infra::telemetry::{Logs, Metrics};
use synod_protocol::Error;

/// Arguments of `synod up`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Write {"http","kafka","redis"} here once the mesh is ready; removed when it ends
    #[arg(long, value_name = "FILE")]
    endpoints: Option<PathBuf>,
}

/// What the coordinator has begun may take so long when the mesh is asked to end.
const FINISH_WITHIN: Duration = Duration::from_millis(1_000);
/// All of the end may take so long. What is left dies with this process, redis-server too.
const END_WITHIN: Duration = Duration::from_millis(1_700);

pub(super) fn run(args: Args, flags: &Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let settings = Settings::load_of_its_own(flags).map_err(|error| Stop::Usage(error.to_string()))?;
    // What a user is to know is said on its own account.
    let logs = logs(&settings, Some("warn"))?;
    traces(&settings, "synod-up", None)?;
    on_runtime(up(&settings, logs, args.endpoints, output))
}

async fn up(
    settings: &Settings,
    logs: Logs,
    file: Option<PathBuf>,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    let mut ending = Ending::listen().map_err(|error| Stop::Failed(error.to_string()))?;
    let failed = |error: &dyn std::fmt::Display| Stop::Failed(error.to_string());
    let mut file = file.map(|path| EndpointsFile::at(&path)).transpose().map_err(|e| failed(&e))?;
    let metrics = Metrics::install().map_err(|e| failed(&e))?;
    let options =
        EmbeddedOptions { metrics: Some(metrics), logs: Some(logs), ..EmbeddedOptions::of(settings) };
    let mesh = tokio::select! {
        started = Embedded::start(options) => started.map_err(stop)?,
        // Dropped half way, it takes back what it has started.
        _ = ending.asked() => return Ok(()),
    };
    // Whatever happens from here on, the mesh is ended in good order.
    let served = announce(mesh.endpoints(), file.as_mut(), output);
    let result = match served {
        Ok(()) => {
            let signal = ending.asked().await;
            super::note(&format!("{signal}: the mesh ends"));
            Ok(())
        }
        Err(stop) => Err(stop),
    };
    drop(file);
    tokio::select! {
        ended = tokio::time::timeout(END_WITHIN, mesh.shutdown(FINISH_WITHIN)) => {
            if ended.is_err() {
                tracing::warn!("the mesh did not end in good order within {} ms", END_WITHIN.as_millis());
            }
        }
        _ = ending.asked() => tracing::warn!("asked twice: the mesh ends at once"),
    }
    result
}

/// The endpoints on stdout and into the file; what is to be known of such a mesh on stderr.
fn announce(
    endpoints: &Endpoints,
    file: Option<&mut EndpointsFile>,
    output: &mut Output<impl Write>,
) -> Result<(), Stop> {
    if let Some(file) = file {
        file.publish(endpoints).map_err(|error| Stop::Failed(error.to_string()))?;
    }
    match output.format() {
        Format::Table => {
            let Endpoints { http, kafka, redis } = endpoints;
            output.text(&format!("http   {http}\nkafka  {kafka}\nredis  {redis}\n"))?;
            super::note(
                "The mesh is ready. It is embedded: NOTHING SURVIVES THIS PROCESS, neither tasks nor results. \
                 Ctrl-C ends it.",
            );
            Ok(())
        }
        Format::Json | Format::Yaml => output.structured(endpoints),
    }
}

/// What keeps a mesh from starting is for the user to mend: unavailable where something is missing.
pub(super) fn stop(error: EmbeddedError) -> Stop {
    match error {
        EmbeddedError::Redis(missing) => Error::unavailable(missing.to_string()).into(),
        other => Stop::Failed(other.to_string()),
    }
}
