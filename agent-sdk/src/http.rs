//! HTTP with one coordinator at a time: a request, its answer, and what silence means.

use crate::coordinators::Coordinators;
use crate::server_events::ServerEvents;
use reqwest::header::HeaderMap;
use serde::de::DeserializeOwned;
use std::time::Duration;
use synod_infra::redis::Redis;
use synod_protocol::{Code, Error, Json, Workspace};

/// What a request came to.
pub(crate) enum Said {
    /// An answer below 300.
    Done(u16, Vec<u8>),
    /// A refusal.
    Refused(Error),
    /// Nobody answered; why.
    Silent(String),
}

/// What a request for a stream came to.
pub(crate) enum Opened {
    /// Its events, and whose they are.
    Events(String, ServerEvents),
    /// A refusal.
    Refused(Error),
    /// Nobody answered; why.
    Silent(String),
}

/// The connections to the coordinators.
pub(crate) struct Http {
    client: reqwest::Client,
    workspace: Workspace,
    pub(crate) coordinators: Coordinators,
}

impl Http {
    pub(crate) fn new(
        configured: &[String],
        redis: Option<Redis>,
        workspace: Workspace,
        key: HeaderMap,
    ) -> Result<Http, reqwest::Error> {
        let client = reqwest::Client::builder()
            .default_headers(key)
            // Coordinators are inside: what the environment says of proxies is about the world outside.
            .no_proxy()
            .connect_timeout(Duration::from_secs(1))
            .pool_idle_timeout(Duration::from_secs(30))
            .build()?;
        Ok(Http { client, workspace, coordinators: Coordinators::new(configured, redis) })
    }

    pub(crate) async fn get(&self, path: &str, limit: Duration) -> Said {
        self.exchange(|url| self.client.get(format!("{url}{path}")), limit).await
    }

    pub(crate) async fn post(
        &self,
        path: &str,
        headers: &[(&'static str, String)],
        body: Vec<u8>,
        limit: Duration,
    ) -> Said {
        let request = |url: &str| {
            let request = self.client.post(format!("{url}{path}")).body(body);
            headers.iter().fold(request, |request, (name, value)| request.header(*name, value))
        };
        self.exchange(request, limit).await
    }

    /// Opens a stream of server-sent events; `limit` is for the beginning of the answer.
    pub(crate) async fn events(&self, path: &str, limit: Duration) -> Opened {
        let Some(url) = self.coordinators.pick().await else {
            return Opened::Silent("no coordinator is known".to_owned());
        };
        let request = self.client.get(format!("{url}{path}")).header("accept", "text/event-stream");
        let sent = request.header("synod-workspace", self.workspace.as_str()).send();
        let why = match tokio::time::timeout(limit, sent).await {
            Ok(Ok(answer)) if answer.status().is_success() => {
                return Opened::Events(url, ServerEvents::new(answer));
            }
            Ok(Ok(answer)) => {
                let status = answer.status().as_u16();
                match tokio::time::timeout(limit, answer.bytes()).await {
                    Ok(Ok(body)) => {
                        let refusal = refusal(status, &body);
                        if refusal.code.is_retryable() {
                            self.coordinators.failed(&url);
                        }
                        return Opened::Refused(refusal);
                    }
                    Ok(Err(error)) => with_sources(&error),
                    Err(_) => format!("no answer within {} ms", limit.as_millis()),
                }
            }
            Ok(Err(error)) => with_sources(&error),
            Err(_) => format!("no answer within {} ms", limit.as_millis()),
        };
        self.coordinators.failed(&url);
        Opened::Silent(format!("{url}: {why}"))
    }

    async fn exchange(&self, request: impl FnOnce(&str) -> reqwest::RequestBuilder, limit: Duration) -> Said {
        let Some(url) = self.coordinators.pick().await else {
            return Said::Silent("no coordinator is known".to_owned());
        };
        let answered = async {
            let request = request(&url).header("synod-workspace", self.workspace.as_str());
            let answer = request.timeout(limit).send().await?;
            let status = answer.status().as_u16();
            Ok::<_, reqwest::Error>((status, answer.bytes().await?))
        };
        match answered.await {
            Ok((status, body)) if status < 300 => Said::Done(status, body.to_vec()),
            Ok((status, body)) => {
                let refusal = refusal(status, &body);
                if refusal.code == Code::Unavailable {
                    self.coordinators.failed(&url);
                }
                Said::Refused(refusal)
            }
            Err(error) => {
                self.coordinators.failed(&url);
                Said::Silent(format!("{url}: {}", with_sources(&error)))
            }
        }
    }
}

/// The problem in a body; where a proxy or a foreign server answered, what its status says.
pub(crate) fn refusal(status: u16, body: &[u8]) -> Error {
    if let Some(error) = problem(body) {
        return error;
    }
    let code = match status {
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::NotFound,
        409 => Code::Conflict,
        410 => Code::PositionLost,
        413 => Code::PayloadTooLarge,
        422 => Code::Unprocessable,
        429 => Code::Overloaded,
        502 | 503 => Code::Unavailable,
        504 => Code::DeadlineExceeded,
        400..=499 => Code::InvalidArgument,
        _ => Code::Internal,
    };
    let text: String = String::from_utf8_lossy(body).chars().take(200).collect();
    Error::new(code, format!("HTTP {status} without a problem of ours: {text:?}"))
}

/// problem+json: its `status` is HTTP's number; the entity's own is `entity_status`.
fn problem(body: &[u8]) -> Option<Error> {
    let mut members: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(body).ok()?;
    if members.get("status").is_some_and(serde_json::Value::is_number) {
        members.remove("status");
    }
    if let Some(status) = members.remove("entity_status") {
        members.insert("status".to_owned(), status);
    }
    serde_json::from_value(members.into()).ok()
}

/// Reads an answer's body.
pub(crate) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(|error| {
        Error::new(Code::Internal, format!("the coordinator's answer does not read: {error}"))
    })
}

/// One command's answer within a batch; what it says of the entity is not needed here.
#[derive(serde::Deserialize)]
pub(crate) struct BatchItem {
    pub(crate) ce_id: String,
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) error: Option<Json>,
}

/// A part of a path or query: everything but unreserved characters is percent-encoded.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

fn with_sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_reads_from_a_problem_or_from_the_status() {
        let problem = br#"{"type":"about:blank","status":409,"code":"invalid_transition","message":"m","entity_status":"completed"}"#;
        assert_eq!(refusal(409, problem), Error::invalid_transition("m", "completed"));
        assert_eq!(refusal(502, b"<html>").code, Code::Unavailable);
        assert_eq!(refusal(418, b"").code, Code::InvalidArgument);
    }

    #[test]
    fn ids_of_children_fit_into_a_path() {
        assert_eq!(encoded("wf_1:steps/3[0]"), "wf_1:steps%2F3%5B0%5D");
    }
}
