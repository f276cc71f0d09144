//! What the commands that talk to a running mesh have in common: where it is, and their logs.

use crate::output::Stop;
use crate::settings::{Flags, LogFormat, Settings, Source};
use std::path::PathBuf;
use synod_infra::telemetry::{self, TelemetryConfig};

/// Where the mesh is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Place {
    /// Endpoints of a running mesh, as `synod up --endpoints FILE` writes them [env: SYNOD_ENDPOINTS]
    #[arg(long, global = true, value_name = "FILE")]
    endpoints: Option<PathBuf>,
}

impl Place {
    /// The settings in force.
    pub(super) fn settings(self, flags: Flags) -> Result<Settings, Stop> {
        Settings::load(&Flags { endpoints: self.endpoints, ..flags })
            .map_err(|error| Stop::Usage(error.to_string()))
    }

    /// The settings of a command whose own words are enough: only warnings are logged, unless more is asked
    /// for.
    pub(super) fn quiet_settings(self, flags: Flags) -> Result<Settings, Stop> {
        let settings = self.settings(flags)?;
        logs(&settings, Some("warn"))?;
        Ok(settings)
    }
}

/// Whether the settings name a mesh, rather than fall back to where one usually is.
pub(super) fn names_a_mesh(settings: &Settings) -> bool {
    settings.http_url.source != Source::Default
}

/// Installs this process' logs, on stderr; `unless_said` is the filter where nobody chose one.
pub(super) fn logs(settings: &Settings, unless_said: Option<&str>) -> Result<(), Stop> {
    let filter = match (&settings.log.source, unless_said) {
        (Source::Default, Some(filter)) => filter.to_owned(),
        _ => settings.log.value.clone(),
    };
    let format = match settings.log_format.value {
        LogFormat::Text => telemetry::LogFormat::Pretty,
        LogFormat::Json => telemetry::LogFormat::Json,
    };
    telemetry::init(&TelemetryConfig { format, filter }).map_err(|error| Stop::Usage(error.to_string()))
}
