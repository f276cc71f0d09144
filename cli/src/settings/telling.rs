//! Settings of what is told to an OTLP receiver.

use std::fmt;
use std::str::FromStr;
use synod_infra::telemetry::spans::SpanConfig;

/// Where spans are told, if anywhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receiver(Option<String>);

impl Receiver {
    /// Its address.
    pub fn address(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

impl FromStr for Receiver {
    type Err = String;

    fn from_str(text: &str) -> Result<Receiver, String> {
        if text == "off" {
            return Ok(Receiver(None));
        }
        SpanConfig::new(text, "synod", "synod").map_err(|error| error.to_string())?;
        Ok(Receiver(Some(text.to_owned())))
    }
}

impl fmt::Display for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_deref().unwrap_or("off"))
    }
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switch(pub bool);

impl FromStr for Switch {
    type Err = String;

    fn from_str(text: &str) -> Result<Switch, String> {
        match text {
            "on" => Ok(Switch(true)),
            "off" => Ok(Switch(false)),
            _ => Err(format!("{text:?} is neither on nor off")),
        }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 { "on" } else { "off" })
    }
}
