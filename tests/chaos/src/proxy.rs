//! A TCP proxy that does to connections what a bad network does.
//!
//! ```text
//!   coordinator --up--> [Link: pass, delay, stall, drop, refuse] --> broker or Redis
//!               <-down-
//! ```
//!
//! Each direction by itself. A stalled direction holds what it has and passes it on later; a dropped one loses it,
//! and the connection is reset when it would pass again, as bytes are missing. While it is refused, nobody connects.

use crate::Trouble;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What happens to one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nothing.
    Pass,
    /// Each piece is held for so long.
    Delay(Duration),
    /// Everything is held.
    Stall,
    /// Everything is lost.
    Drop,
}

/// What happens to a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Weather {
    up: Way,
    down: Way,
    /// New connections are refused.
    refuses: bool,
    /// Counted up to reset every connection.
    resets: u64,
}

/// A proxy for one address; dropping it ends every connection through it.
#[derive(Debug)]
pub(crate) struct Link {
    weather: watch::Sender<Weather>,
    /// Bytes passed, both ways.
    passed: Arc<AtomicU64>,
    _accepting: JoinSet<()>,
}

impl Link {
    /// Listens at `port` of loopback (0: a free one) and passes on to `target`, a port of loopback.
    pub(crate) async fn open(port: u16, target: u16) -> Result<(Link, u16), Trouble> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let port = listener.local_addr()?.port();
        let calm = Weather { up: Way::Pass, down: Way::Pass, refuses: false, resets: 0 };
        let (weather, seen) = watch::channel(calm);
        let passed = Arc::new(AtomicU64::new(0));
        let mut accepting = JoinSet::new();
        accepting.spawn(accept(listener, target, seen, passed.clone()));
        Ok((Link { weather, passed, _accepting: accepting }, port))
    }

    /// What happens from now on to what goes up (to the service) and down (from it).
    pub(crate) fn set(&self, up: Way, down: Way) {
        self.weather.send_modify(|w| (w.up, w.down) = (up, down));
    }

    /// Nobody connects any more, or again.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.weather.send_modify(|w| w.refuses = refuses);
    }

    /// Resets every connection.
    pub(crate) fn reset(&self) {
        self.weather.send_modify(|w| w.resets += 1);
    }

    /// Bytes passed so far.
    pub(crate) fn passed(&self) -> u64 {
        self.passed.load(Ordering::Relaxed)
    }
}

async fn accept(
    listener: TcpListener,
    target: u16,
    weather: watch::Receiver<Weather>,
    passed: Arc<AtomicU64>,
) {
    let mut connections = JoinSet::new();
    loop {
        let near = match listener.accept().await {
            Ok((near, _)) => near,
            Err(error) => {
                eprintln!("proxy: {error}");
                tokio::time::sleep(Duration::from_millis(20)).await; // out of descriptors, for a moment
                continue;
            }
        };
        if weather.borrow().refuses {
            reset(&near);
            continue;
        }
        connections.spawn(connection(near, target, weather.clone(), passed.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// The peer sees a reset, not an end.
fn reset(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        eprintln!("proxy: {error}");
    }
}

async fn connection(
    near: TcpStream,
    target: u16,
    mut weather: watch::Receiver<Weather>,
    passed: Arc<AtomicU64>,
) {
    let Ok(far) = TcpStream::connect(("127.0.0.1", target)).await else {
        return reset(&near);
    };
    let resets = weather.borrow().resets;
    if near.set_nodelay(true).and(far.set_nodelay(true)).is_err() {
        return;
    }
    let is_reset = {
        let up = pass(&near, &far, weather.clone(), |w| w.up, &passed);
        let down = pass(&far, &near, weather.clone(), |w| w.down, &passed);
        tokio::select! {
            is_reset = up => is_reset,
            is_reset = down => is_reset,
            _ = weather.wait_for(|w| w.resets != resets) => true,
        }
    };
    if is_reset {
        reset(&near);
        reset(&far);
    }
}

/// Until one side ends (`false`), or bytes are missing (`true`).
async fn pass(
    from: &TcpStream,
    to: &TcpStream,
    mut weather: watch::Receiver<Weather>,
    way: impl Fn(&Weather) -> Way,
    passed: &AtomicU64,
) -> bool {
    let mut buffer = vec![0; 64 * 1024];
    let mut is_missing = false;
    loop {
        let Some(count) = read(from, &mut buffer).await else { return is_missing };
        loop {
            let now = way(&weather.borrow_and_update());
            match now {
                Way::Pass if is_missing => return true,
                Way::Pass => break,
                Way::Delay(by) => {
                    tokio::time::sleep(by).await; // the delay itself
                    break;
                }
                Way::Drop => {
                    is_missing = true;
                    break;
                }
                Way::Stall => {
                    if weather.changed().await.is_err() {
                        return false;
                    }
                }
            }
        }
        if is_missing {
            continue;
        }
        passed.fetch_add(count as u64, Ordering::Relaxed);
        if !write(to, &buffer[..count]).await {
            return false;
        }
    }
}

async fn read(from: &TcpStream, buffer: &mut [u8]) -> Option<usize> {
    loop {
        from.readable().await.ok()?;
        match from.try_read(buffer) {
            Ok(0) => return None,
            Ok(count) => return Some(count),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return None,
        }
    }
}

async fn write(to: &TcpStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        if to.writable().await.is_err() {
            return false;
        }
        match to.try_write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
    }
    true
}
