//! What a setting's value must look like; a secret in it cannot be printed.

use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::str::FromStr;
use std::time::Duration;
use synod_infra::redis::RedisConfig;

/// Where Redis is. Printed with its password hidden.
#[derive(Clone)]
pub struct RedisUrl(SecretString);

impl RedisUrl {
    /// The whole URL, for the client that connects; never for a log.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }
}

/// `host:port` that webhooks may go to although the address is not public; `none` for none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowed(pub Vec<String>);

impl FromStr for Allowed {
    type Err = String;

    fn from_str(text: &str) -> Result<Allowed, String> {
        if text == "none" {
            return Ok(Allowed::default());
        }
        let one = |part: &str| {
            let (host, port) = part.rsplit_once(':').unwrap_or((part, ""));
            match port.parse::<u16>() {
                Ok(port) if port > 0 && !host.is_empty() => Ok(part.to_owned()),
                _ => Err(format!("host:port, separated by commas, or none is wanted; {part:?} is neither")),
            }
        };
        text.split(',').map(|part| one(part.trim())).collect::<Result<_, _>>().map(Allowed)
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { f.write_str("none") } else { f.write_str(&self.0.join(",")) }
    }
}

/// Schemes that a Redis URL may have.
const REDIS_SCHEMES: [&str; 4] = ["redis", "rediss", "redis-sentinel", "rediss-sentinel"];
/// What the URL of Redis behind Sentinels begins with: several hosts, which is no URL by the standard.
const SENTINELS: [&str; 2] = ["redis-sentinel://", "rediss-sentinel://"];

impl FromStr for RedisUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<RedisUrl, String> {
        // What is wrong is said without the text, which may hold a password.
        if SENTINELS.iter().any(|begin| text.starts_with(begin)) {
            let usable = RedisConfig::new(text).check();
            return usable.map(|()| RedisUrl(SecretString::from(text))).map_err(|error| error.to_string());
        }
        let wanted = "a URL such as redis://[[user]:password@]host:port[/database] is wanted";
        let url = Url::parse(text).map_err(|e| format!("{wanted} ({e})"))?;
        if !REDIS_SCHEMES.contains(&url.scheme()) {
            return Err(format!("{wanted}; the schemes are {}", REDIS_SCHEMES.join(", ")));
        }
        if !url.has_host() {
            return Err(format!("{wanted}; this one has no host"));
        }
        Ok(RedisUrl(SecretString::from(text)))
    }
}

/// With `***` for the password, and for one in the query.
impl fmt::Display for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.expose();
        if let Some((begin, rest)) =
            SENTINELS.iter().find_map(|begin| Some((begin, url.strip_prefix(begin)?)))
        {
            let hosts = rest.rsplit_once('@').map_or(rest, |(_, hosts)| hosts);
            let hidden = if hosts.len() < rest.len() { "***@" } else { "" };
            return write!(f, "{begin}{hidden}{hosts}");
        }
        let Ok(mut url) = Url::parse(self.expose()) else { return f.write_str("***") };
        if url.password().is_some() && url.set_password(Some("***")).is_err() {
            return f.write_str("***");
        }
        let hidden: Vec<(String, String)> = url
            .query_pairs()
            .map(|(name, value)| match name.contains("pass") {
                true => (name.into_owned(), "***".to_owned()),
                false => (name.into_owned(), value.into_owned()),
            })
            .collect();
        if !hidden.is_empty() {
            url.query_pairs_mut().clear().extend_pairs(hidden);
        }
        f.write_str(url.as_str())
    }
}

impl fmt::Debug for RedisUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RedisUrl({self})")
    }
}

/// Where a coordinator answers: `http://host[:port]`, without a `/` at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(String);

impl HttpUrl {
    /// The URL; a path such as `/v1/tasks` can be put behind it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HttpUrl {
    type Err = String;

    fn from_str(text: &str) -> Result<HttpUrl, String> {
        let wanted = "a URL such as http://127.0.0.1:7700 is wanted";
        let url = Url::parse(text).map_err(|e| format!("{wanted} ({e})"))?;
        if url.scheme() != "http" {
            return Err(format!("{wanted}; the scheme is http"));
        }
        if url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(format!("{wanted}, without user, query and fragment"));
        }
        Ok(HttpUrl(url.as_str().trim_end_matches('/').to_owned()))
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<LogFormat, String> {
        match text {
            "text" => Ok(LogFormat::Text),
            "json" => Ok(LogFormat::Json),
            other => Err(format!("text or json is wanted, not {other:?}")),
        }
    }
}

impl fmt::Display for LogFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        })
    }
}

/// A length of time such as `500ms`, `30s`, `10m`, `1h` or `7d`; `None` for `forever`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub Option<Duration>);

/// Milliseconds of each unit, the largest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Span {
    /// As read, no longer than this.
    pub(super) fn of_at_most(text: &str, most: Duration) -> Result<Span, String> {
        let span: Span = text.parse()?;
        match span.0 {
            Some(time) if time <= most => Ok(span),
            _ => Err(format!("at most {} is wanted, not {text:?}", Span(Some(most)))),
        }
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Span, String> {
        if text == "forever" {
            return Ok(Span(None));
        }
        let wanted = || format!("a time such as 500ms, 30s, 10m, 1h, 7d or forever is wanted, not {text:?}");
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wanted)?;
        let (number, unit) = text.split_at(digits);
        let (_, ms) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(wanted)?;
        let ms = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*ms)).ok_or_else(wanted)?;
        // What is longer than a century is meant to be for ever, and adds up to no date.
        if ms > 100 * 366 * 86_400_000 {
            return Err(wanted());
        }
        Ok(Span(Some(Duration::from_millis(ms))))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(time) = self.0 else { return f.write_str("forever") };
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let whole = UNITS.iter().find(|(_, unit)| ms >= *unit && ms.is_multiple_of(*unit));
        match whole {
            Some((name, unit)) => write!(f, "{}{name}", ms / unit),
            None => write!(f, "{ms}ms"),
        }
    }
}

/// How often something is done by itself: a time of 1 s and more, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Every(pub Option<Duration>);

impl FromStr for Every {
    type Err = String;

    fn from_str(text: &str) -> Result<Every, String> {
        if text == "off" {
            return Ok(Every(None));
        }
        match text.parse() {
            Ok(Span(Some(time))) if time >= Duration::from_secs(1) => Ok(Every(Some(time))),
            _ => Err(format!("a time of 1s and more, such as 30s or 10m, or off is wanted, not {text:?}")),
        }
    }
}

impl fmt::Display for Every {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(time) => Span(Some(time)).fmt(f),
            None => f.write_str("off"),
        }
    }
}

/// `host:port`, comma-separated, each checked; written without spaces.
pub(super) fn brokers(text: &str) -> Result<String, String> {
    let each: Vec<&str> = text.split(',').map(str::trim).collect();
    for broker in &each {
        let good = broker.rsplit_once(':').is_some_and(|(host, port)| {
            let named = !host.is_empty() && !host.contains(|c: char| c.is_whitespace() || c == '/');
            named && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        if !good {
            return Err(format!("brokers are host:port, comma-separated; {broker:?} is none"));
        }
    }
    Ok(each.join(","))
}

/// `ip:port`, or `localhost:port`; port 0 takes a free one.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    let wanted = || format!("an address such as 127.0.0.1:7700 or [::1]:7700 is wanted, not {text:?}");
    match text.strip_prefix("localhost:") {
        Some(_) => text.to_socket_addrs().ok().and_then(|mut found| found.next()).ok_or_else(wanted),
        None => text.parse().map_err(|_| wanted()),
    }
}

/// A whole number from `least` to `most`.
pub(super) fn within<N: FromStr + PartialOrd + Copy + fmt::Display>(
    text: &str,
    least: N,
    most: N,
) -> Result<N, String> {
    let number = text.parse::<N>().ok().filter(|number| (&least..=&most).contains(&number));
    number.ok_or_else(|| format!("a whole number from {least} to {most} is wanted, not {text:?}"))
}

/// A share, 0 to 1.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let share = text.parse::<f64>().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("a number from 0 to 1 is wanted, such as 0.1, not {text:?}"))
}

/// A filter; what reads it says more about one that is wrong.
pub(super) fn log(text: &str) -> Result<String, String> {
    match text.is_empty() {
        true => Err("a filter such as info or info,synod_coordinator=debug is wanted".to_owned()),
        false => Ok(text.to_owned()),
    }
}
