//! What Kafka refuses, and what we refuse of Kafka.

use crate::site::Site;

/// The name of a password that is none.
const WRONG: &str = "not-the-password-of-anybody";

#[tokio::test]
async fn a_wrong_password() {
    let site = Site::new().await;
    let changed = [("SYNOD_KAFKA_PASSWORD_FILE", ""), ("SYNOD_KAFKA_PASSWORD", WRONG)];
    let said = ["Kafka refused the connection", "invalid credentials", "kafka_password"];
    site.refused(&["coordinator"], &changed, &said).await;
    // Whoever only reads is told the same.
    site.refused(
        &["ledger", "show", "task_x"],
        &changed,
        &["Kafka refused the connection", "kafka_password"],
    )
    .await;
}

#[tokio::test]
async fn an_unknown_authority() {
    let site = Site::new().await;
    let stranger = site.file("stranger.crt");
    let said = ["Kafka's certificate at 127.0.0.1", "an authority that we do not know", "kafka_ca"];
    site.refused(&["coordinator"], &[("SYNOD_KAFKA_CA", &stranger)], &said).await;
}

#[tokio::test]
async fn certificates_that_have_expired() {
    let site = Site::new().await;
    let brokers = site.kafka(2);
    let said = ["Kafka's certificate at 127.0.0.1", "has expired"];
    site.refused(&["coordinator"], &[("SYNOD_KAFKA_BROKERS", &brokers)], &said).await;

    let (cert, key) = (site.file("synod-expired.crt"), site.file("synod-expired.key"));
    let ours = mtls(&site, &cert, &key);
    site.refused(&["coordinator"], &ours.each(), &["synod-expired.crt has expired"]).await;
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_the_broker_does_not_know() {
    let site = Site::new().await;
    let (cert, key) = (site.file("synod-strange.crt"), site.file("synod-strange.key"));
    let strange = mtls(&site, &cert, &key);
    site.refused(&["coordinator"], &strange.each(), &["Kafka refused the connection", "kafka_cert"]).await;
    let none = mtls(&site, "", "");
    site.refused(&["coordinator"], &none.each(), &["Kafka refused the connection", "kafka_cert"]).await;
}

#[tokio::test]
async fn a_topic_that_may_not_be_written() {
    let site = Site::new().await;
    let said = ["Kafka refused to write to topic synod.ledger.v1", "allow it to User:narrow"];
    site.refused(&["coordinator"], &[("SYNOD_KAFKA_USERNAME", "narrow")], &said).await;
}

/// Settings for the listener that asks for certificates.
pub(crate) struct Mtls([(&'static str, String); 6]);

pub(crate) fn mtls(site: &Site, cert: &str, key: &str) -> Mtls {
    Mtls([
        ("SYNOD_KAFKA_BROKERS", site.kafka(1)),
        ("SYNOD_KAFKA_SECURITY_PROTOCOL", "ssl".to_owned()),
        ("SYNOD_KAFKA_USERNAME", String::new()),
        ("SYNOD_KAFKA_PASSWORD_FILE", String::new()),
        ("SYNOD_KAFKA_CERT", cert.to_owned()),
        ("SYNOD_KAFKA_KEY", key.to_owned()),
    ])
}

impl Mtls {
    pub(crate) fn each(&self) -> Vec<(&str, &str)> {
        self.0.iter().map(|(name, value)| (*name, value.as_str())).collect()
    }
}
