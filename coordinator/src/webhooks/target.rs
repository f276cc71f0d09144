//! Where a webhook may go: nowhere that only this machine, or its network, can reach.
//!
//! The address is looked at when the webhook is made and again at each delivery, and the one that was looked at is the one
//! that is connected to: a name that is pointed elsewhere in between leads nowhere else.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use synod_protocol::Error;
use synod_protocol::primitives::changes::URL_BYTES;

/// How long a name may take to be looked up.
const LOOK_UP: Duration = Duration::from_secs(5);

/// A URL, and the addresses that were looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) url: reqwest::Url,
    pub(crate) host: String,
    pub(crate) addresses: Vec<SocketAddr>,
}

/// Reads the URL, looks its host up, and refuses what must not be reached from here; `allowed` are `host:port`.
///
/// # Errors
/// `invalid_argument` at `/webhook/url`.
pub(crate) async fn check(url: &str, allowed: &[String]) -> Result<Target, Error> {
    let (url, host, port) = read(url)?;
    let is_allowed = allowed.iter().any(|one| *one == format!("{host}:{port}"));
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let addresses: Vec<SocketAddr> = match plain.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => look_up(&host, port).await?,
    };
    if let Some(bad) = addresses.iter().find(|address| !is_allowed && !is_public(address.ip())) {
        return Err(refused(format!(
            "webhooks do not go to {}: it is not a public address; SYNOD_WEBHOOK_ALLOW={host}:{port} would allow it",
            bad.ip()
        )));
    }
    Ok(Target { url, host, addresses })
}

fn refused(said: impl Into<String>) -> Error {
    Error::invalid(said).with_field("/webhook/url")
}

fn read(text: &str) -> Result<(reqwest::Url, String, u16), Error> {
    if text.len() > URL_BYTES {
        return Err(refused(format!("the URL has {} bytes, the limit is {URL_BYTES}", text.len())));
    }
    let url = reqwest::Url::parse(text).map_err(|error| refused(format!("this is no URL: {error}")))?;
    if url.scheme() != "http" {
        return Err(refused(format!(
            "webhooks go to http:// URLs, not to {}://: there is no TLS in this build yet",
            url.scheme()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refused("the URL must not carry a user or a password; the signature says who sends"));
    }
    let host =
        url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| refused("the URL names no host"))?;
    let (host, port) = (host.to_owned(), url.port_or_known_default().unwrap_or(80));
    Ok((url, host, port))
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let unknown =
        |why: &dyn std::fmt::Display| refused(format!("the host {host:?} cannot be looked up: {why}"));
    let found = match tokio::time::timeout(LOOK_UP, tokio::net::lookup_host((host, port))).await {
        Ok(found) => found.map_err(|error| unknown(&error))?,
        Err(_) => return Err(unknown(&"no answer in time")),
    };
    let found: Vec<SocketAddr> = found.collect();
    if found.is_empty() { Err(unknown(&"it has no address")) } else { Ok(found) }
}

/// Whether anybody on the internet could have this address, and nobody else.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(v4),
        IpAddr::V6(v6) => is_public_v6(v6),
    }
}

/// IANA's registry of special-purpose addresses, all of it.
fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0 // this network
        || address.is_private()
        || (a == 100 && (64..128).contains(&b)) // shared, RFC 6598
        || address.is_loopback()
        || address.is_link_local()
        || (a, b, c) == (192, 0, 0) // protocol assignments
        || address.is_documentation()
        || (a, b, c) == (192, 88, 99) // 6to4 relays
        || (a, b, c) == (192, 31, 196)
        || (a, b, c) == (192, 52, 193)
        || (a, b, c) == (192, 175, 48)
        || (a == 198 && (b == 18 || b == 19)) // benchmarks
        || a >= 224; // multicast, reserved, broadcast
    !special
}

/// Global unicast is 2000::/3; what carries an IPv4 address inside it, or is set apart, is not for us.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let s = address.segments();
    let global = s[0] & 0xe000 == 0x2000;
    // Protocol assignments, Teredo, benchmarks, ORCHID; documentation.
    let special = (s[0] == 0x2001 && (s[1] < 0x0200 || s[1] == 0x0db8))
        || s[0] == 0x2002 // 6to4
        || (s[0] == 0x3fff && s[1] < 0x1000) // documentation
        || (s[0] == 0x2620 && s[1] == 0x004f && s[2] == 0x8000);
    global && !special
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_that_only_this_network_can_reach_is_reached() {
        let check = async |url: &str, good: bool| {
            let checked = super::check(url, &["127.0.0.1:81".to_owned(), "[::1]:81".to_owned()]).await;
            assert_eq!(checked.is_ok(), good, "{url}: {checked:?}");
        };
        for bad in [
            "http://127.0.0.1/",
            "http://127.1/",
            "http://2130706433/",
            "http://0x7f.0.0.1/",
            "http://0177.0.0.1/",
            "http://0.0.0.0/",
            "http://10.0.0.1/",
            "http://172.16.0.1/",
            "http://192.168.1.1/",
            "http://169.254.169.254/",
            "http://100.64.0.1/",
            "http://192.0.2.1/",
            "http://198.51.100.1/",
            "http://203.0.113.9/",
            "http://198.18.0.1/",
            "http://224.0.0.1/",
            "http://255.255.255.255/",
            "http://240.0.0.1/",
            "http://192.0.0.8/",
            "http://[::1]/",
            "http://[::]/",
            "http://[fe80::1]/",
            "http://[fc00::1]/",
            "http://[ff02::1]/",
            "http://[::ffff:127.0.0.1]/",
            "http://[::ffff:8.8.8.8]/",
            "http://[::127.0.0.1]/",
            "http://[64:ff9b::7f00:1]/",
            "http://[64:ff9b:1::1]/",
            "http://[2002:7f00:1::]/",
            "http://[2001::1]/",
            "http://[2001:db8::1]/",
            "http://[3fff::1]/",
            "http://localhost/",
            "http://127.0.0.1:82/",
            "https://8.8.8.8/",
            "ftp://8.8.8.8/",
            "file:///etc/passwd",
            "http://u:p@8.8.8.8/",
            "http:///x",
            "nonsense",
        ] {
            check(bad, false).await;
        }
        for good in [
            "http://8.8.8.8/hook",
            "http://[2606:4700::1111]:8080/",
            "http://127.0.0.1:81/",
            "http://[::1]:81/",
        ] {
            check(good, true).await;
        }
        check(&format!("http://8.8.8.8/{}", "x".repeat(URL_BYTES)), false).await;
    }
}
