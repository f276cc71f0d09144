//! The accept loop: how many may be connected, how much of a header they may send, and how long they may take over it and over
//! a body.
//!
//! ```text
//!   accept --one of `connections` free--> serve: each header within `header_within`, of `header_bytes` at most,
//!          `-none--> 503, closed                 a body without a longer pause than `body_pause`
//! ```

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::timeout::RequestBodyTimeoutLayer;

/// What is said to who comes when all connections are taken.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 1\r\n\
    content-type: application/problem+json\r\ncontent-length: 160\r\n\r\n\
    {\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,\"code\":\"overloaded\",\
    \"detail\":\"all connections are taken\",\"message\":\"all connections are taken\"}";
/// The wait after a connection that could not be accepted: out of file descriptors, mostly.
const AGAIN: Duration = Duration::from_millis(50);

/// What HTTP clients may take up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpLimits {
    /// Connections at a time; one more is answered 503 and closed.
    pub connections: usize,
    /// From the begin of a connection, or the end of the answer before, to the end of a header: also how long a connection
    /// may be idle. More than the 30 s for which our own clients keep one.
    pub header_within: Duration,
    /// Headers of one request.
    pub headers: usize,
    /// Their bytes, the first line among them; at least 8 KiB.
    pub header_bytes: usize,
    /// The longest pause within a body.
    pub body_pause: Duration,
}

impl Default for HttpLimits {
    fn default() -> HttpLimits {
        HttpLimits {
            connections: 4_096,
            header_within: Duration::from_secs(40),
            headers: 64,
            header_bytes: 64 * 1024,
            body_pause: Duration::from_secs(30),
        }
    }
}

/// Serves until `close`, then lets those finish who are being answered.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    limits: HttpLimits,
    close: CancellationToken,
) {
    let router = router.layer(RequestBodyTimeoutLayer::new(limits.body_pause));
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_within)
        .max_headers(limits.headers)
        .max_header_size(limits.header_bytes)
        .half_close(false);
    let places = Arc::new(Semaphore::new(limits.connections));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = close.cancelled() => break,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        // An answer is one small write: it must not wait for the acknowledgement of the one before.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let Ok(place) = places.clone().try_acquire_owned() else {
            turn_away(socket);
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let connection = server.serve_connection(TokioIo::new(socket), service).with_upgrades();
        let close = close.clone();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = close.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection broke, or took too long");
            }
            drop(place);
        });
    }
    drop(listener);
    // Every place is given back by its connection. Closed is the semaphore never.
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = places.acquire_many(all).await;
}

/// Says why, as far as that goes in one write, and closes.
fn turn_away(mut socket: TcpStream) {
    tracing::warn!("all HTTP connections are taken: one more is turned away");
    if let Ok(written) = socket.try_write(FULL)
        && written == FULL.len()
    {
        tokio::spawn(async move {
            // What it has sent meanwhile would turn our end into a reset, and lose the words.
            let _ = socket.shutdown().await;
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::routing::get;
    use std::net::SocketAddr;
    use tokio::io::AsyncReadExt as _;

    const REQUEST: &str = "GET / HTTP/1.1\r\nhost: x\r\n";
    /// Everything here may take so long on a busy machine.
    const LIMIT: Duration = Duration::from_secs(20);

    async fn served(limits: HttpLimits) -> (SocketAddr, CancellationToken) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, close) = (listener.local_addr().unwrap(), CancellationToken::new());
        let whole = async |body: axum::body::Body| match axum::body::to_bytes(body, 1 << 20).await {
            Ok(bytes) => format!("all {} bytes", bytes.len()),
            Err(error) => format!("gave up: {error}"),
        };
        let router = Router::new().route("/", get(|| async { "ok" }).post(whole));
        tokio::spawn(serve(listener, router, limits, close.clone()));
        (address, close)
    }

    /// Sends that much, and reads to the end of the connection.
    async fn said(address: SocketAddr, sent: &str) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        let _ = socket.write_all(sent.as_bytes()).await;
        let mut answer = Vec::new();
        // An end by a reset is as good.
        let ended = tokio::time::timeout(LIMIT, socket.read_to_end(&mut answer)).await;
        assert!(ended.is_ok(), "the connection stays open");
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn who_does_not_end_a_header_is_ended() {
        let limits = HttpLimits { header_within: Duration::from_millis(100), ..HttpLimits::default() };
        let (address, _close) = served(limits).await;
        assert!(said(address, &format!("{REQUEST}\r\n")).await.starts_with("HTTP/1.1 200"));
        said(address, REQUEST).await;
        said(address, "").await;
    }

    #[tokio::test]
    async fn who_pauses_within_a_body_is_given_up() {
        let limits = HttpLimits { body_pause: Duration::from_millis(100), ..HttpLimits::default() };
        let (address, _close) = served(limits).await;
        let post = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 4\r\n\r\n";
        assert!(said(address, &format!("{post}word")).await.ends_with("all 4 bytes"));
        let answer = said(address, &format!("{post}wo")).await;
        assert!(answer.contains("gave up: "), "{answer}");
    }

    #[tokio::test]
    async fn one_connection_more_is_turned_away_until_another_ends() {
        let (address, _close) = served(HttpLimits { connections: 1, ..HttpLimits::default() }).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(format!("{REQUEST}\r\n").as_bytes()).await.unwrap();
        let mut begin = [0; 12];
        first.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        let turned_away = said(address, "").await;
        let (head, body) = turned_away.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 503") && head.contains(&format!("content-length: {}", body.len())),
            "{head}"
        );
        assert_eq!(serde_json::from_str::<serde_json::Value>(body).unwrap()["code"], "overloaded");
        drop(first);
        let close = format!("{REQUEST}connection: close\r\n\r\n");
        let again = async { while !said(address, &close).await.starts_with("HTTP/1.1 200") {} };
        tokio::time::timeout(LIMIT, again).await.unwrap();
    }

    #[tokio::test]
    async fn it_ends_when_those_are_answered_who_are_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, close) = (listener.local_addr().unwrap(), CancellationToken::new());
        let serving = tokio::spawn(serve(listener, Router::new(), HttpLimits::default(), close.clone()));
        let idle = TcpStream::connect(address).await.unwrap();
        close.cancel();
        tokio::time::timeout(LIMIT, serving).await.unwrap().unwrap();
        drop(idle);
    }
}
