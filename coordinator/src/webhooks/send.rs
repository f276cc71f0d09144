//! One delivery: signed, to the address that was looked at, and no further.

use super::target::{self, Target};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::time::Duration;
use synod_protocol::Json;
use synod_protocol::primitives::changes::Webhook;

/// How long a receiver may take, from the name's look-up to the last byte of its answer that is read.
const WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer that are read; the rest is not waited for.
const READ: usize = 64 << 10;

/// Sends it once.
///
/// # Errors
/// What came of it, in words.
pub(super) async fn send(
    webhook: &Webhook,
    allowed: &[String],
    id: &str,
    event: &Json,
    now_s: i64,
) -> Result<(), String> {
    match tokio::time::timeout(WITHIN, attempt(webhook, allowed, id, event, now_s)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("no answer within {} s", WITHIN.as_secs())),
    }
}

async fn attempt(
    webhook: &Webhook,
    allowed: &[String],
    id: &str,
    event: &Json,
    now_s: i64,
) -> Result<(), String> {
    let key = webhook.key().map_err(|error| error.message)?;
    let Target { url, host, addresses } =
        target::check(&webhook.url, allowed).await.map_err(|error| error.message)?;
    let body = event.as_str().as_bytes().to_vec();
    // A client of its own: it knows no address but these, no proxy, and follows nothing.
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .timeout(WITHIN)
        .resolve_to_addrs(&host, &addresses)
        .build()
        .map_err(|error| error.to_string())?;
    let signature = signature(&key, id, now_s, &body);
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .header("webhook-id", id)
        .header("webhook-timestamp", now_s.to_string())
        .header("webhook-signature", signature)
        .body(body);
    let mut answer = request.send().await.map_err(|error| words(&error))?;
    if let Some(peer) = answer.remote_addr()
        && !addresses.contains(&peer)
    {
        return Err(format!("it was connected to {peer}, which nobody has looked at"));
    }
    let status = answer.status();
    let mut read = 0;
    while read < READ {
        match answer.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            Ok(None) => break,
            Err(error) => return Err(words(&error)),
        }
    }
    if status.is_success() { Ok(()) } else { Err(format!("answered {status}")) }
}

/// The error and what is behind it, without the URL.
fn words(error: &reqwest::Error) -> String {
    let mut said = String::new();
    let mut source: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = source {
        said = error.to_string();
        source = error.source();
    }
    if said.is_empty() { "the request failed".to_owned() } else { said }
}

/// `webhook-signature` of Standard Webhooks: HMAC-SHA256 of `id.timestamp.body`.
fn signature(key: &[u8], id: &str, now_s: i64, body: &[u8]) -> String {
    let signed = [format!("{id}.{now_s}.").as_bytes(), body].concat();
    format!("v1,{}", STANDARD.encode(hmac_sha256(key, &signed)))
}

/// RFC 2104 over SHA-256, whose blocks have 64 bytes.
fn hmac_sha256(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let padded = |with: u8| block.map(|byte| byte ^ with);
    let inner = Sha256::new().chain_update(padded(0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(padded(0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_the_standard_says() {
        // The example of the Standard Webhooks specification's libraries.
        let webhook =
            Webhook { url: "http://h/".into(), secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into() };
        let made = signature(
            &webhook.key().unwrap(),
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(made, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn a_long_key_is_hashed_first() {
        // RFC 4231, test case 6.
        let made = hmac_sha256(&[0xaa; 131], b"Test Using Larger Than Block-Size Key - Hash Key First");
        let hex: String = made.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
    }
}
