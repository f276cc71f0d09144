//! What Redis refuses, and what we refuse of Redis.

use crate::site::Site;
use std::process::Command;
use std::time::Duration;
use synod_tests::{Process, eventually};

#[tokio::test]
async fn a_wrong_password() {
    let site = Site::new().await;
    let url = site.redis().replace("synod@", "synod:not-the-password-of-anybody@");
    let changed = [("SYNOD_REDIS_URL", url.as_str()), ("SYNOD_REDIS_PASSWORD_FILE", "")];
    let said = ["Redis refused the password", "redis_password_file"];
    site.refused(&["coordinator"], &changed, &said).await;
    let agent = ["agent", "run", "--capability", "x", "--", "true"];
    site.refused(&agent, &changed, &said).await;
}

#[tokio::test]
async fn an_unknown_authority() {
    let site = Site::new().await;
    let stranger = site.file("stranger.crt");
    let said = ["Redis refused the connection", "an authority that we do not know", "redis_ca"];
    site.refused(&["coordinator"], &[("SYNOD_REDIS_CA", &stranger)], &said).await;
}

#[tokio::test]
async fn a_certificate_that_has_expired() {
    let site = Site::new().await;
    let (_redis, port) = another_redis(&site, "expired", "no").await;
    let url = format!("rediss://synod@127.0.0.1:{port}/");
    let said = ["Redis refused the connection", "its certificate has expired"];
    site.refused(&["coordinator"], &[("SYNOD_REDIS_URL", &url)], &said).await;
}

#[tokio::test]
async fn no_certificate_where_one_is_asked_for() {
    let site = Site::new().await;
    let (_redis, port) = another_redis(&site, "server", "yes").await;
    let url = format!("rediss://synod@127.0.0.1:{port}/");
    let said = [
        "Redis refused the connection",
        "it asks for a certificate of ours and was shown none",
        "redis_cert",
    ];
    site.refused(&["coordinator"], &[("SYNOD_REDIS_URL", &url)], &said).await;
}

/// A Redis that shows this certificate, and asks for one of ours or not, with its port.
async fn another_redis(site: &Site, certificate: &str, asks: &str) -> (Process, u16) {
    // The port that was just free may be taken by somebody else.
    for _ in 0..5 {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--tls-port", &port.to_string()]);
        command.args(["--tls-auth-clients", asks, "--tls-ca-cert-file", &site.file("ca.crt")]);
        command.args(["--tls-cert-file", &site.file(&format!("{certificate}.crt"))]);
        command.args(["--tls-key-file", &site.file(&format!("{certificate}.key"))]);
        let mut redis = Process::start(command, &[]);
        let up = eventually("it listens, or has ended", Duration::from_secs(10), || {
            let up = std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
            std::future::ready(match redis.ended() {
                Some(_) => Some(false),
                None => up.then_some(true),
            })
        });
        if up.await {
            return (redis, port);
        }
    }
    panic!("no Redis began on any of five ports")
}

#[tokio::test]
async fn keys_and_commands_that_are_not_allowed() {
    let site = Site::new().await;
    let narrow = site.redis().replace("synod@", "narrow@");
    let said = ["Redis refused a command", "ACL SETUSER"];
    site.refused(&["coordinator"], &[("SYNOD_REDIS_URL", &narrow)], &said).await;
    let mute = site.redis().replace("synod@", "mute@");
    site.refused(
        &["coordinator"],
        &[("SYNOD_REDIS_URL", &mute)],
        &["Redis refused a command", "evalsha", "ACL SETUSER"],
    )
    .await;
}
