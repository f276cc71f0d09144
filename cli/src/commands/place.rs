//! What the commands that talk to a running mesh have in common: where it is, and their logs.

use crate::mesh::tell_at_the_end;
use crate::output::Stop;
use crate::settings::{Flags, LogFormat, Settings, Source};
use std::path::PathBuf;
use synod_infra::telemetry::spans::{Exporter, SpanConfig};
use synod_infra::telemetry::{self, Logs, TelemetryConfig};

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
        self.quiet_settings_of("synod-cli", flags)
    }

    /// The same of a command that is a service of its own, by this name in traces.
    pub(super) fn quiet_settings_of(self, service: &str, flags: Flags) -> Result<Settings, Stop> {
        let settings = self.settings(flags)?;
        logs(&settings, Some("warn"))?;
        traces(&settings, service, None)?;
        Ok(settings)
    }
}

/// Whether the settings name a mesh, rather than fall back to where one usually is.
pub(super) fn names_a_mesh(settings: &Settings) -> bool {
    settings.http_url.source != Source::Default
}

/// Begins to tell of this process' spans, if a receiver is named; `service` and `instance` are its names there.
pub(super) fn traces(settings: &Settings, service: &str, instance: Option<&str>) -> Result<(), Stop> {
    let Some(address) = settings.otlp_endpoint.value.address() else { return Ok(()) };
    let process = format!("{}", std::process::id());
    let config = SpanConfig::new(address, service, instance.unwrap_or(&process));
    let config =
        config.and_then(SpanConfig::as_surrounded).map_err(|error| Stop::Usage(error.to_string()))?;
    let config = SpanConfig {
        sample: settings.otlp_sample.value,
        slow: settings.otlp_slow.value.0.unwrap_or(config.slow),
        payloads: settings.otlp_payloads.value.0,
        ..config
    };
    let exporter = Exporter::install(config).map_err(|error| Stop::Failed(error.to_string()))?;
    tell_at_the_end(exporter);
    Ok(())
}

/// Installs this process' logs, on stderr; `unless_said` is the filter where nobody chose one.
pub(super) fn logs(settings: &Settings, unless_said: Option<&str>) -> Result<Logs, Stop> {
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
