//! Stands between `synod validate` and a coordinator, and lies about one kind of request.
//!
//! ```text
//! validate --http-url--> [Liar: one Lie, about one Route] --> coordinator
//! ```
//!
//! All else passes as it is, streams of events among it, piece by piece.

use super::Told;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use futures::stream;
use serde_json::Value;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Bytes that a request may have.
const REQUEST_BYTES: usize = 16 * 1024 * 1024;

/// Which requests are lied about.
#[derive(Clone)]
pub(super) struct Route {
    pub(super) method: Method,
    /// Segments, of which `*` stands for any one.
    pub(super) path: &'static str,
    /// Only those whose path or body has this in it.
    pub(super) with: &'static str,
}

/// What is done to such a request.
#[derive(Clone, Copy)]
pub(super) enum Lie {
    /// It never reaches the coordinator, and this is answered.
    Answers(u16, &'static str),
    /// The coordinator hears another body.
    Hears(fn(&mut Value)),
    /// The coordinator does not hear this header.
    Without(&'static str),
    /// The coordinator's answer is told otherwise.
    Tells(fn(&mut Value)),
    /// In what the coordinator tells, text or a stream, the first stands for the second.
    Says(&'static str, &'static str),
}

struct Liar {
    coordinator: String,
    http: reqwest::Client,
    route: Route,
    lie: Lie,
    told: Told,
}

impl Route {
    fn has(&self, method: &Method, path: &str, body: &[u8]) -> bool {
        let mut ours = self.path.split('/');
        let is_path = path.split('/').all(|part| ours.next().is_some_and(|it| it == "*" || it == part));
        let with = self.with.as_bytes();
        let is_with =
            with.is_empty() || path.contains(self.with) || body.windows(with.len()).any(|part| part == with);
        self.method == *method && is_path && ours.next().is_none() && is_with
    }
}

/// Lies from now on; where, as a URL.
pub(super) async fn lie(coordinator: String, route: Route, lie: Lie, told: Told) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let liar = Arc::new(Liar { coordinator, http, route, lie, told });
    let app = Router::new().fallback(pass).with_state(liar);
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

async fn pass(State(liar): State<Arc<Liar>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let mut body = to_bytes(body, REQUEST_BYTES).await.unwrap();
    let mut headers = head.headers;
    let lie = liar.route.has(&head.method, head.uri.path(), &body).then_some(liar.lie);
    if lie.is_some() {
        liar.told.once_more();
    }
    match lie {
        Some(Lie::Answers(status, text)) => return json(status, text.into()),
        Some(Lie::Hears(change)) => {
            let mut heard = serde_json::from_slice(&body).unwrap();
            change(&mut heard);
            body = heard.to_string().into();
        }
        Some(Lie::Without(name)) => {
            headers.remove(name);
        }
        Some(Lie::Tells(_) | Lie::Says(..)) | None => {}
    }
    let url = format!("{}{}", liar.coordinator, head.uri.path_and_query().unwrap());
    let asked = liar.http.request(head.method, url).headers(passed_on(headers)).body(body);
    let Ok(mut answer) = asked.send().await else { return json(502, "{}".into()) };
    let (status, headers) = (answer.status(), passed_on(std::mem::take(answer.headers_mut())));
    let body = match lie {
        Some(Lie::Tells(change)) => {
            let mut told = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
            change(&mut told);
            Body::from(told.to_string())
        }
        Some(Lie::Says(truth, instead)) => streamed(answer, truth, instead),
        _ => streamed(answer, "", ""),
    };
    let mut response = Response::new(body);
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}

/// Piece by piece, as it comes.
fn streamed(answer: reqwest::Response, truth: &'static str, instead: &'static str) -> Body {
    let pieces = stream::try_unfold(answer, move |mut answer| async move {
        let piece = answer.chunk().await?;
        let said = |piece: Bytes| match truth {
            "" => piece,
            _ => String::from_utf8(piece.to_vec()).unwrap().replace(truth, instead).into(),
        };
        Ok::<_, reqwest::Error>(piece.map(|piece| (said(piece), answer)))
    });
    Body::from_stream(pieces)
}

/// What is about the connection or the length is not passed on: both are others here.
fn passed_on(mut headers: HeaderMap) -> HeaderMap {
    for name in [header::HOST, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION] {
        headers.remove(name);
    }
    headers
}

fn json(status: u16, text: Body) -> Response {
    let mut response = Response::new(text);
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    response.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    response
}
