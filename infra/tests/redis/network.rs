//! A network that lies: connections that go silent, or that end on our side alone.

use super::{Bench, SECOND, ask, until};
use std::sync::Arc;
use std::time::{Duration, Instant};
use synod_infra::redis::inbox::{InboxReader, Inboxes};
use synod_infra::redis::{Redis, RedisConfig, RedisError, keys};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What happens to the connections that go through at the moment it is ordered; later ones are not touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Nothing passes any more in either direction, and neither side is told.
    Silence,
    /// The client's side is closed; the server believes that its client is still there.
    HalfClose,
}

/// A way to a server, through which faults can be ordered.
pub(super) struct Network {
    pub(super) url: String,
    faults: Arc<watch::Sender<Fault>>,
}

impl Network {
    pub(super) async fn to(port: u16) -> Network {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        let faults = Arc::new(watch::Sender::new(Fault::None));
        let orders = Arc::clone(&faults);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let mut order = orders.subscribe();
                order.mark_unchanged();
                let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                tokio::spawn(carry(client, server, order));
            }
        });
        Network { url, faults }
    }

    pub(super) fn order(&self, fault: Fault) {
        self.faults.send_replace(fault);
    }
}

async fn carry(mut client: TcpStream, mut server: TcpStream, mut order: watch::Receiver<Fault>) {
    let (mut from_client, mut from_server) = ([0u8; 4096], [0u8; 4096]);
    loop {
        tokio::select! {
            n = client.read(&mut from_client) => match n {
                Ok(n) if n > 0 => server.write_all(&from_client[..n]).await.unwrap(),
                _ => return,
            },
            n = server.read(&mut from_server) => match n {
                Ok(n) if n > 0 => client.write_all(&from_server[..n]).await.unwrap(),
                _ => return,
            },
            changed = order.changed() => {
                if changed.is_err() {
                    return;
                }
                if *order.borrow() == Fault::HalfClose {
                    drop(client);
                    return std::future::pending().await;
                }
                let _keep = client;
                return std::future::pending().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_goes_silent_is_replaced() {
    let bench = Bench::start().await;
    let network = Network::to(bench.server.port()).await;
    let redis = Redis::new(RedisConfig::new(&network.url)).unwrap();
    redis.ready().await.unwrap();
    network.order(Fault::Silence);
    assert!(matches!(redis.ready().await, Err(RedisError::Timeout { .. })));
    until("calls go on over another connection", SECOND / 2, || async { redis.ready().await.is_ok() }).await;
}

impl Bench {
    async fn deliver(&self, body: &str) {
        Inboxes::new(self.redis.clone()).deliver(vec![self.notice(body.into())]).await.remove(0).unwrap();
    }

    fn reader_through(&self, network: &Network) -> InboxReader {
        let redis = Redis::new(RedisConfig::new(&network.url)).unwrap();
        InboxReader::new(redis, &self.workspace, &self.agent, &self.incarnation)
    }
}

/// Everything that comes until `count` bodies have, errors aside.
async fn take_all(reader: &mut InboxReader, count: usize, limit: Duration) -> Vec<String> {
    let (began, mut bodies) = (Instant::now(), Vec::new());
    while bodies.len() < count {
        assert!(began.elapsed() < limit, "{bodies:?} came within {limit:?}");
        bodies.extend(reader.take(Duration::from_millis(300)).await.unwrap_or_default());
    }
    bodies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_moved_for_a_silent_connection_is_found() {
    let bench = Bench::start().await;
    let network = Network::to(bench.server.port()).await;
    let mut reader = bench.reader_through(&network);
    assert_eq!(reader.take(Duration::from_millis(100)).await, Ok(None));
    bench.deliver("before").await;
    assert_eq!(take_all(&mut reader, 1, SECOND).await, ["before"]);
    // A read waits at the server when the silence begins, and is given what comes next.
    let waiting = tokio::time::timeout(Duration::from_millis(50), reader.take(2 * SECOND)).await;
    assert!(waiting.is_err());
    network.order(Fault::Silence);
    bench.deliver("into the silence").await;
    assert_eq!(take_all(&mut reader, 1, 5 * SECOND).await, ["into the silence"]);
    assert_eq!(reader.take(SECOND / 10).await, Ok(None), "what was handed out before is not repeated");
}

/// The server gives what comes next to the connection that it believes to be waiting first: the dead one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_moved_for_a_dead_connection_after_the_reconnect_is_found() {
    let bench = Bench::start().await;
    let network = Network::to(bench.server.port()).await;
    let mut reader = bench.reader_through(&network);
    let waiting = tokio::time::timeout(Duration::from_millis(200), reader.take(2 * SECOND)).await;
    assert!(waiting.is_err());
    network.order(Fault::HalfClose);
    assert!(reader.take(SECOND).await.is_err(), "the end of the connection is reported");
    // The new connection has drained, and waits behind the dead one.
    assert_eq!(reader.take(Duration::from_millis(300)).await, Ok(None));
    bench.deliver("for the dead").await;
    let key = keys::taken(&bench.workspace, &bench.agent, &bench.incarnation);
    let mut raw = bench.raw().await;
    let moved: u64 = ask(&mut raw, &["LLEN", &key]).await;
    assert_eq!(moved, 1, "the server gave it to the dead connection, or to ours, which did not answer yet");
    assert_eq!(take_all(&mut reader, 1, 4 * SECOND).await, ["for the dead"]);
    assert_eq!(reader.take(SECOND / 10).await, Ok(None));
}
