//! Where spans go, and which.

use std::collections::BTreeMap;
use std::time::Duration;

/// Spans that may wait to be sorted, and as many to be sent.
const QUEUE: usize = 16_384;
/// What one request may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Work that takes longer is kept whatever the ratio says.
pub(super) const SLOW: Duration = Duration::from_secs(5);
/// The share of traces that are kept where nothing is said.
pub(super) const SAMPLE: f64 = 0.1;

/// What an exporter is told.
#[derive(Clone)]
pub struct SpanConfig {
    /// Where the receiver takes traces: an `http` URL with its path, such as `http://127.0.0.1:4318/v1/traces`.
    pub endpoint: String,
    /// Names and values of HTTP headers besides, such as a key; never shown.
    pub headers: BTreeMap<String, String>,
    /// The share of traces that are kept whatever comes of them, 0 to 1. A trace that begins elsewhere keeps what was decided there.
    pub sample: f64,
    /// A part of a piece of work that takes longer is kept all the same, like one that fails.
    pub slow: Duration,
    /// Whether spans carry what tasks are given and return: they may be anybody's secrets.
    pub payloads: bool,
    /// The service's name, by OpenTelemetry's conventions.
    pub service: String,
    /// Which of its instances.
    pub instance: String,
    /// Spans that may wait to be sorted, and as many to be sent: 64 and more. What does not fit is dropped, and counted.
    pub queue: usize,
    /// What one request may take.
    pub timeout: Duration,
}

/// Why spans go nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpanConfigError {
    /// It is no address.
    #[error(
        "the OTLP endpoint {0:?} is no http URL; right would be http://127.0.0.1:4318 (there is no TLS in this \
         version: a collector on this machine passes on what goes further)"
    )]
    Endpoint(String),
    /// It is no share.
    #[error("OTEL_TRACES_SAMPLER_ARG is the share of traces that are kept, 0 to 1; {0:?} is not")]
    Sample(String),
    /// It is no list of headers.
    #[error(
        "OTLP headers are name=value, comma-separated; what was given is not (not shown: it may be a secret)"
    )]
    Headers,
}

impl SpanConfig {
    /// For a receiver of OTLP over HTTP; `base` is its address without `/v1/traces`, which is added unless it ends so.
    ///
    /// # Errors
    /// It is no `http` URL.
    pub fn new(base: &str, service: &str, instance: &str) -> Result<SpanConfig, SpanConfigError> {
        let base = base.trim().trim_end_matches('/');
        let wrong = || SpanConfigError::Endpoint(base.to_owned());
        let url = reqwest::Url::parse(base).map_err(|_| wrong())?;
        if url.scheme() != "http" || url.host_str().is_none() {
            return Err(wrong());
        }
        let endpoint =
            if base.ends_with("/v1/traces") { base.to_owned() } else { format!("{base}/v1/traces") };
        Ok(SpanConfig {
            endpoint,
            headers: BTreeMap::new(),
            sample: SAMPLE,
            slow: SLOW,
            payloads: false,
            service: service.to_owned(),
            instance: instance.to_owned(),
            queue: QUEUE,
            timeout: TIMEOUT,
        })
    }

    /// As the surroundings say, by OpenTelemetry's variables: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, `OTEL_EXPORTER_OTLP_ENDPOINT`,
    /// `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER_ARG`. `None` where no endpoint is named.
    ///
    /// # Errors
    /// A variable does not read.
    pub fn from_env(service: &str, instance: &str) -> Result<Option<SpanConfig>, SpanConfigError> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        let endpoint =
            set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT").or_else(|| set("OTEL_EXPORTER_OTLP_ENDPOINT"));
        let Some(endpoint) = endpoint else { return Ok(None) };
        let mut config = SpanConfig::new(&endpoint, service, instance)?.as_surrounded()?;
        if let Some(sample) = set("OTEL_TRACES_SAMPLER_ARG") {
            let ratio = sample.trim().parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
            config.sample = ratio.ok_or(SpanConfigError::Sample(sample))?;
        }
        Ok(Some(config))
    }

    /// The same with what the surroundings say of headers and of the service's name.
    ///
    /// # Errors
    /// A variable does not read.
    pub fn as_surrounded(mut self) -> Result<SpanConfig, SpanConfigError> {
        let set = |name: &str| std::env::var(name).ok().filter(|value| !value.trim().is_empty());
        self.service = set("OTEL_SERVICE_NAME").unwrap_or(self.service);
        match set("OTEL_EXPORTER_OTLP_HEADERS") {
            Some(headers) => self.with_headers(&headers),
            None => Ok(self),
        }
    }

    /// The same with these headers, as `OTEL_EXPORTER_OTLP_HEADERS` has them: `name=value`, comma-separated, percent-encoded.
    ///
    /// # Errors
    /// They are no such list.
    pub fn with_headers(mut self, text: &str) -> Result<SpanConfig, SpanConfigError> {
        for pair in text.split(',').filter(|pair| !pair.trim().is_empty()) {
            let (name, value) = pair.split_once('=').ok_or(SpanConfigError::Headers)?;
            let (name, value) = (name.trim(), decoded(value.trim()).ok_or(SpanConfigError::Headers)?);
            let is_header = reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && reqwest::header::HeaderValue::from_str(&value).is_ok();
            if !is_header {
                return Err(SpanConfigError::Headers);
            }
            self.headers.insert(name.to_owned(), value);
        }
        Ok(self)
    }
}

/// A text without its percent-encoding.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        rest = after;
        bytes.push(match first {
            b'%' => {
                let digits = std::str::from_utf8(after.get(..2)?).ok()?;
                rest = &after[2..];
                u8::from_str_radix(digits, 16).ok()?
            }
            byte => *byte,
        });
    }
    String::from_utf8(bytes).ok()
}

impl std::fmt::Debug for SpanConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SpanConfig").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_checked_and_completed() {
        let check = |base: &str, want: Option<&str>| {
            assert_eq!(SpanConfig::new(base, "s", "i").ok().map(|c| c.endpoint).as_deref(), want, "{base}");
        };
        check("http://127.0.0.1:4318", Some("http://127.0.0.1:4318/v1/traces"));
        check(" http://phoenix:6006/ ", Some("http://phoenix:6006/v1/traces"));
        check("http://c:4318/v1/traces", Some("http://c:4318/v1/traces"));
        check("https://c:4318", None);
        check("127.0.0.1:4318", None);
        check("", None);
    }

    #[test]
    fn headers_are_read_and_never_shown() {
        let config = || SpanConfig::new("http://c", "s", "i").unwrap();
        let read = config().with_headers("authorization=Bearer%20geheim, x=1").unwrap();
        assert_eq!(read.headers["authorization"], "Bearer geheim");
        assert!(!format!("{read:?}").contains("geheim"));
        for bad in ["geheim", "a b=geheim", "a=geheim%4", "a=%0Ageheim"] {
            let error = config().with_headers(bad).unwrap_err();
            assert!(!error.to_string().contains("geheim"), "{error}");
        }
    }
}
