//! What it costs to tell a receiver of spans: tasks per second with OTLP export off, as it comes, and of every trace.
//!
//! ```text
//!   round by round: a coordinator of its own for each arm, one after the other --> load at 64 in flight --> ended
//!                   `--spans--> a receiver in this process that takes everything and looks at nothing
//! ```

use super::figures::{Outcome, Samples, Side, Verdict};
use super::load::Arm;
use super::site::{Site, end};
use super::{BenchError, Effort};
use crate::mesh::Dialling;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const AGENTS: usize = 8;
const CONCURRENCY: u32 = 64;
const IN_FLIGHT: usize = 64;
/// The share of the traces that is sent, of each arm; where there is none it is off.
const ARMS: [(&str, Option<&str>); 3] =
    [("off", None), ("on, a tenth of the traces", Some("0.1")), ("on, every trace", Some("1"))];
/// Throughput with export as it comes, over that without.
const GOAL: f64 = 0.95;
/// The longest head of a request that the receiver takes.
const HEAD_BYTES: usize = 16 * 1024;

pub(super) async fn measure(
    dialling: &Dialling,
    partitions: u32,
    effort: Effort,
) -> Result<Outcome, BenchError> {
    let (rounds, warm_up, window) = effort.of(
        (5, Duration::from_secs(2), Duration::from_secs(6)),
        (2, Duration::from_millis(300), Duration::from_secs(1)),
    );
    let receiver = Receiver::start().await?;
    let mut arms = <[Arm; ARMS.len()]>::default();
    let mut sent = <[Samples; ARMS.len()]>::default();
    for round in 0..rounds {
        // Who is first in one round is last in another.
        for turn in 0..ARMS.len() {
            let at = (round + turn) % ARMS.len();
            let settings = match ARMS[at].1 {
                Some(share) => vec![
                    ("SYNOD_OTLP_ENDPOINT", receiver.url.clone()),
                    ("SYNOD_OTLP_SAMPLE", share.to_owned()),
                ],
                None => vec![("SYNOD_OTLP_ENDPOINT", "off".to_owned())],
            };
            let site = Site::open_with(dialling.clone(), partitions, &settings).await?;
            let capability = site.named("telemetry");
            let agents = site.echoes(&capability, AGENTS, CONCURRENCY).await?;
            let before = receiver.bytes();
            arms[at].round(&site, &capability, IN_FLIGHT, warm_up, window).await?;
            end(agents).await?;
            // What it still holds it sends before it ends.
            site.leave().await?;
            let came = receiver.bytes() - before;
            if (came > 0) != ARMS[at].1.is_some() {
                return Err(BenchError::Missing(format!(
                    "export is {}, and the receiver got {came} bytes",
                    ARMS[at].0
                )));
            }
            sent[at].one(came as f64);
        }
    }
    Ok(told(&arms, &sent))
}

fn told(arms: &[Arm], sent: &[Samples]) -> Outcome {
    let (mut rows, mut verdicts) = (Vec::new(), Vec::new());
    for (n, (name, _)) in ARMS.iter().enumerate() {
        rows.push(arms[n].rate.row("telemetry", format!("export {name}"), "1/s"));
        rows.push(arms[n].latency_us.row("telemetry", format!("export {name}: p50"), "us"));
        rows.push(arms[n].coordinator_us.row("telemetry", format!("export {name}: coordinator"), "CPU us"));
        rows.push(sent[n].row("telemetry", format!("export {name}: to the receiver"), "bytes"));
        if n > 0 {
            let what = format!("tasks/s with export {name}, over those without, {IN_FLIGHT} in flight");
            let ratio = arms[n].rate.over(&arms[0].rate);
            verdicts.push(match n {
                1 => Verdict::goal(what, ratio, Side::AtLeast, GOAL),
                _ => Verdict::told(what, ratio),
            });
        }
    }
    Outcome { rows, verdicts }
}

/// Takes what it is sent, and counts it. Dropped, it is away.
struct Receiver {
    url: String,
    bytes: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl Receiver {
    async fn start() -> Result<Receiver, BenchError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = bytes.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let counted = counted.clone();
                tokio::spawn(async move {
                    if let Err(error) = take_all(stream, &counted).await {
                        tracing::warn!(%error, "a sender of spans is away");
                    }
                });
            }
        });
        Ok(Receiver { url, bytes, serving })
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// One request after the other, each answered as taken.
async fn take_all(mut stream: TcpStream, counted: &AtomicU64) -> std::io::Result<()> {
    let wrong = |why: &str| std::io::Error::new(std::io::ErrorKind::InvalidData, why.to_owned());
    let mut came = Vec::new();
    loop {
        let head = loop {
            if let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            if came.len() > HEAD_BYTES {
                return Err(wrong("a head that does not end"));
            }
            if stream.read_buf(&mut came).await? == 0 {
                return Ok(());
            }
        };
        let length = length_in(&came[..head]).ok_or_else(|| wrong("a request without its length"))?;
        let mut left = (head as u64 + length).saturating_sub(came.len() as u64);
        came.drain(..came.len().min(head + usize::try_from(length).unwrap_or(usize::MAX)));
        while left > 0 {
            came.clear();
            let more = stream.read_buf(&mut came).await?;
            if more == 0 {
                return Err(wrong("a body that ends early"));
            }
            let of_body = left.min(more as u64);
            left -= of_body;
            came.drain(..usize::try_from(of_body).unwrap_or(usize::MAX));
        }
        counted.fetch_add(length, Ordering::Relaxed);
        let answer = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).await?;
    }
}

fn length_in(head: &[u8]) -> Option<u64> {
    let head = std::str::from_utf8(head).ok()?;
    let length = |line: &str| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    };
    head.lines().find_map(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_receiver_takes_one_request_after_the_other() {
        let receiver = Receiver::start().await.unwrap();
        let mut sender = TcpStream::connect(receiver.url.trim_start_matches("http://")).await.unwrap();
        for length in [0, 300_000, 7] {
            let head = format!("POST /v1/traces HTTP/1.1\r\ncontent-length: {length}\r\n\r\n");
            sender.write_all(&[head.as_bytes(), &vec![b'x'; length]].concat()).await.unwrap();
        }
        sender.shutdown().await.unwrap();
        let mut answers = String::new();
        sender.read_to_string(&mut answers).await.unwrap();
        assert_eq!((answers.matches("HTTP/1.1 200 OK").count(), receiver.bytes()), (3, 300_007), "{answers}");
    }

    #[test]
    fn a_length_is_found_however_it_is_written() {
        assert_eq!(length_in(b"POST / HTTP/1.1\r\nContent-Length: 12\r\n\r\n"), Some(12));
        assert_eq!(length_in(b"POST / HTTP/1.1\r\nx: 1\r\n\r\n"), None);
    }
}
