//! The HTTP contract, asked from a shell: JSON in, JSON out, every refusal a `synod_protocol::Error`.
//!
//! Entities stay the JSON that they came as: a newer coordinator's fields are shown, not dropped. It
//! repeats nothing by itself; whoever may repeat (the demo, `agent run`) uses the SDK's client.

use crate::settings::{HttpUrl, Settings};
use agent_sdk::ServerEvents;
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use secrecy::SecretString;
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;
use synod_infra::telemetry::spans::{self, Kind, Scope, Span};
use synod_infra::telemetry::trace;
use synod_protocol::{Code, Error, Workspace};

/// The limit of a connection's making.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);
/// The limit of an answer that is not waited for on purpose.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);
/// Bytes of a foreign answer (a proxy's error page) that are shown.
const SHOWN_BYTES: usize = 200;

/// A coordinator's HTTP API, for one workspace. A cheap clone.
#[derive(Clone, Debug)]
pub struct Api {
    http: reqwest::Client,
    url: HttpUrl,
    workspace: Workspace,
}

/// Query parameters.
pub type Query<'a> = &'a [(&'a str, String)];

impl Api {
    /// The coordinator that the settings name.
    ///
    /// # Errors
    /// `internal`: no HTTP client can be made.
    pub fn of(settings: &Settings) -> Result<Api, Error> {
        Api::new(settings.http_url.value.clone(), settings.workspace.value.clone(), settings.key().as_ref())
    }

    /// The coordinator at this place, with the key that it asks for.
    ///
    /// # Errors
    /// `internal`: no HTTP client can be made.
    pub fn new(url: HttpUrl, workspace: Workspace, key: Option<&SecretString>) -> Result<Api, Error> {
        let headers =
            agent_sdk::key_header(key).map_err(|error| Error::invalid(format!("the API key: {error}")))?;
        let http = reqwest::Client::builder()
            .default_headers(headers)
            .connect_timeout(CONNECT_WITHIN)
            // A mesh on loopback is not reached by way of a proxy.
            .no_proxy()
            .build()
            .map_err(|error| Error::new(Code::Internal, format!("no HTTP client: {error}")))?;
        Ok(Api { http, url, workspace })
    }

    /// Another coordinator of the same mesh.
    #[must_use]
    pub fn at(&self, url: HttpUrl) -> Api {
        Api { url, ..self.clone() }
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        self.url.as_str()
    }

    /// Reads; `wait` is how long the coordinator is asked to hold the answer back.
    ///
    /// # Errors
    /// The coordinator's refusal, or `unavailable`.
    pub async fn get(&self, path: &str, query: Query<'_>, wait: Duration) -> Result<Value, Error> {
        Ok(self.answer(self.request(Method::GET, path, query)?, wait).await?.1)
    }

    /// Asks for something to be made or done; the answer's status tells finished (200, 201) from not yet (202).
    ///
    /// # Errors
    /// The coordinator's refusal, or `unavailable`.
    pub async fn post<T: Serialize + ?Sized>(
        &self,
        path: &str,
        query: Query<'_>,
        body: &T,
        wait: Duration,
    ) -> Result<(StatusCode, Value), Error> {
        let request = self.request(Method::POST, path, query)?.json(body);
        if !spans::on() {
            return self.answer(request, wait).await;
        }
        // The route without what it names: names are many.
        let route = path.split('/').take(3).collect::<Vec<&str>>().join("/");
        let span = Span::new(trace::begin(), Scope::Client, Kind::Client, format!("POST {route}"))
            .with("http.request.method", "POST")
            .with("url.path", path.to_owned())
            .ends_its_part();
        let answered = self.answer(request.header("traceparent", span.context().to_string()), wait).await;
        match &answered {
            Ok((status, _)) => span.with("http.response.status_code", u32::from(status.as_u16())).end(),
            Err(error) => span.failed(error.to_string()).end(),
        }
        answered
    }

    /// As [`Api::post`], with a body and headers as they are: for what is wrong on purpose.
    ///
    /// # Errors
    /// The coordinator's refusal, or `unavailable`.
    pub async fn post_raw(
        &self,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Vec<u8>>,
    ) -> Result<(StatusCode, Value), Error> {
        let request = self.request(Method::POST, path, &[])?.body(body.into());
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        self.answer(request, Duration::ZERO).await
    }

    /// Takes something away.
    ///
    /// # Errors
    /// The coordinator's refusal, or `unavailable`.
    pub async fn delete(&self, path: &str) -> Result<Value, Error> {
        Ok(self.answer(self.request(Method::DELETE, path, &[])?, Duration::ZERO).await?.1)
    }

    /// Opens a stream of server-sent events, to go on after one of them.
    ///
    /// # Errors
    /// The refusal, or `unavailable`.
    pub async fn events(&self, path: &str, after: Option<&str>) -> Result<ServerEvents, Error> {
        let query: Vec<(&str, String)> = after.map(|after| ("after", after.to_owned())).into_iter().collect();
        let request = self.request(Method::GET, path, &query)?.header("accept", "text/event-stream");
        let sent = request.send().await.map_err(|error| self.silent(&error))?;
        if sent.status().is_success() {
            return Ok(ServerEvents::new(sent));
        }
        let status = sent.status();
        let body = self.body(sent).await?;
        Err(match serde_json::from_slice::<Value>(&body) {
            Ok(value) => refusal(status, value),
            Err(_) => foreign(status, &body),
        })
    }

    /// Asks by any method, with headers and a body of JSON as it is written.
    ///
    /// # Errors
    /// The coordinator's refusal, or `unavailable`.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, String)],
        body: Option<String>,
    ) -> Result<(StatusCode, Value), Error> {
        let request = self.request(method, path, &[])?;
        let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
        let request = match body {
            Some(body) => request.header("content-type", "application/json").body(body),
            None => request,
        };
        self.answer(request, Duration::ZERO).await
    }

    /// Puts something in its place.
    ///
    /// # Errors
    /// The coordinator's refusal, or `unavailable`.
    pub async fn put<T: Serialize + ?Sized>(&self, path: &str, body: &T) -> Result<Value, Error> {
        Ok(self.answer(self.request(Method::PUT, path, &[])?.json(body), Duration::ZERO).await?.1)
    }

    /// Takes away what the query says.
    ///
    /// # Errors
    /// The coordinator's refusal, or `unavailable`.
    pub async fn delete_where(&self, path: &str, query: Query<'_>) -> Result<Value, Error> {
        Ok(self.answer(self.request(Method::DELETE, path, query)?, Duration::ZERO).await?.1)
    }

    fn request(&self, method: Method, path: &str, query: Query<'_>) -> Result<RequestBuilder, Error> {
        let text = format!("{}{path}", self.url);
        let mut url = Url::parse(&text).map_err(|error| Error::invalid(format!("{text:?}: {error}")))?;
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.http.request(method, url).header("synod-workspace", self.workspace.as_str()))
    }

    async fn answer(&self, request: RequestBuilder, wait: Duration) -> Result<(StatusCode, Value), Error> {
        let sent = request.timeout(ANSWER_WITHIN + wait).send().await.map_err(|error| self.silent(&error))?;
        let status = sent.status();
        let body = self.body(sent).await?;
        match serde_json::from_slice::<Value>(&body) {
            Ok(value) if status.is_success() => Ok((status, value)),
            Ok(value) => Err(refusal(status, value)),
            Err(_) if status.is_success() && body.is_empty() => Ok((status, Value::Null)),
            // Plain text, as `/readyz` answers.
            Err(_) if status.is_success() => Ok((status, String::from_utf8_lossy(&body).trim_end().into())),
            Err(_) => Err(foreign(status, &body)),
        }
    }

    async fn body(&self, response: Response) -> Result<Vec<u8>, Error> {
        response.bytes().await.map(Into::into).map_err(|error| self.silent(&error))
    }

    fn silent(&self, error: &reqwest::Error) -> Error {
        let url = &self.url;
        if error.is_timeout() && !error.is_connect() {
            return Error::unavailable(format!("the coordinator at {url} does not answer in time"));
        }
        Error::unavailable(format!(
            "no coordinator answers at {url} ({}); `synod up` starts a mesh, --endpoints or --http-url name one",
            innermost(error)
        ))
    }
}

/// A name as one segment of a path: everything but letters, digits, `-`, `_` and `~` percent-encoded, the dot too, since
/// `.` alone means something else in a path.
pub fn segment(name: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
    let encoded = |byte: u8| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    name.bytes().map(encoded).collect()
}

/// The last cause says most: `Connection refused (os error 111)`.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// problem+json: its `status` is HTTP's, the entity's own is `entity_status`.
fn refusal(status: StatusCode, mut problem: Value) -> Error {
    let shown = problem.to_string();
    if let Some(members) = problem.as_object_mut() {
        members.remove("status");
        if let Some(entity_status) = members.remove("entity_status") {
            members.insert("status".to_owned(), entity_status);
        }
    }
    serde_json::from_value(problem).unwrap_or_else(|_| foreign(status, shown.as_bytes()))
}

/// Something answered that does not speak the contract.
fn foreign(status: StatusCode, body: &[u8]) -> Error {
    let shown = String::from_utf8_lossy(body.get(..SHOWN_BYTES).unwrap_or(body));
    let code = match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        status if status.is_server_error() => Code::Unavailable,
        _ => Code::Internal,
    };
    Error::new(code, format!("an answer that is not understood: HTTP {status}, {shown:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_problem_becomes_the_error_that_it_carries() {
        let problem = json!({"type": "about:blank", "title": "Conflict", "status": 409, "code": "invalid_transition",
            "message": "the task has ended", "entity_status": "completed", "field": "/task_id"});
        let error = refusal(StatusCode::CONFLICT, problem);
        assert_eq!((error.code, error.status.as_deref()), (Code::InvalidTransition, Some("completed")));
        assert_eq!(error.field.as_deref(), Some("/task_id"));
    }

    #[test]
    fn an_answer_of_something_else_is_told_as_such() {
        let check = |status, code| {
            let error = refusal(status, json!({"oops": true}));
            assert_eq!(error.code, code);
            assert!(error.message.contains("oops"), "{error}");
        };
        check(StatusCode::BAD_GATEWAY, Code::Unavailable);
        check(StatusCode::NOT_FOUND, Code::NotFound);
        check(StatusCode::IM_A_TEAPOT, Code::Internal);
    }
}
