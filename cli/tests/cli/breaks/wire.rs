//! Stands between `synod validate` and Kafka or Redis, and changes what passes.
//!
//! ```text
//! validate ──> [Wire: one Change, up or down] ──> broker, or Redis
//! ```
//!
//! Kafka's answers name the broker's address: it becomes ours, so that nobody goes past. A record batch that was changed
//! gets the checksum that it has then: it is the record that is wrong, not its transport.

use super::Told;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What happens to what passes.
#[derive(Clone, Copy)]
pub(super) enum Change {
    /// In what is sent, these bytes become those.
    Up(&'static str, &'static str),
    /// In what is answered.
    Down(&'static str, &'static str),
    /// Each piece of an answer is late by so much.
    Late(Duration),
}

/// Which of the two is behind it.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Kafka,
    Redis,
}

/// A frame of Kafka's protocol has its length before it.
const LENGTH_BYTES: usize = 4;
/// Of a record batch, by Kafka's documentation of message format 2: what comes before its length, up to its checksum, and
/// up to what the checksum is of.
const BATCH_LENGTH_AT: usize = 8;
const BATCH_MAGIC_AT: usize = 16;
const BATCH_SUM_AT: usize = 17;
const BATCH_SUMMED_FROM: usize = 21;
const BATCH_HEAD: usize = BATCH_LENGTH_AT + LENGTH_BYTES;

/// Changes what passes from now on; the address where.
pub(super) async fn wire(target: String, kind: Kind, change: Change, told: Told) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let ours = listener.local_addr().unwrap();
    let ports = (port(&target), ours.port());
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let Ok(far) = TcpStream::connect(&target).await else { continue };
            near.set_nodelay(true).and(far.set_nodelay(true)).unwrap();
            let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
            let up = match change {
                Change::Up(truth, instead) => Some((truth, instead)),
                _ => None,
            };
            let down = match change {
                Change::Down(truth, instead) => Some((truth, instead)),
                _ => None,
            };
            let late = match change {
                Change::Late(by) => by,
                _ => Duration::ZERO,
            };
            let way = |change, late, ports| Way { kind, change, late, ports, told: told.clone() };
            tokio::spawn(way(up, Duration::ZERO, None).pass(near_in, far_out));
            tokio::spawn(way(down, late, Some(ports)).pass(far_in, near_out));
        }
    });
    ours.to_string()
}

fn port(address: &str) -> u16 {
    address.rsplit(':').next().unwrap().parse().unwrap()
}

/// One direction of one connection.
struct Way {
    kind: Kind,
    change: Option<(&'static str, &'static str)>,
    late: Duration,
    /// The broker's port, and ours.
    ports: Option<(u16, u16)>,
    told: Told,
}

impl Way {
    /// Until either side ends; that ends the other too.
    async fn pass(self, mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin) {
        while let Some(mut piece) = self.next(&mut from).await {
            if !self.late.is_zero() {
                self.told.once_more();
                tokio::time::sleep(self.late).await; // the break itself
            }
            if let Some((truth, instead)) = self.change {
                self.put(&mut piece, truth.as_bytes(), instead.as_bytes());
            }
            if let (Kind::Kafka, Some((theirs, ours))) = (self.kind, self.ports) {
                let address = |port: u16| [&b"127.0.0.1"[..], &u32::from(port).to_be_bytes()].concat();
                replace(&mut piece, &address(theirs), &address(ours));
            }
            if to.write_all(&piece).await.is_err() {
                return;
            }
        }
    }

    /// A frame of Kafka's, or whatever there is of Redis'.
    async fn next(&self, from: &mut (impl AsyncRead + Unpin)) -> Option<Vec<u8>> {
        if self.kind == Kind::Redis {
            let mut piece = vec![0; 64 * 1024];
            let count = from.read(&mut piece).await.ok().filter(|count| *count > 0)?;
            piece.truncate(count);
            return Some(piece);
        }
        let mut frame = vec![0; LENGTH_BYTES];
        from.read_exact(&mut frame).await.ok()?;
        frame.resize(LENGTH_BYTES + number(&frame, 0)?, 0);
        from.read_exact(&mut frame[LENGTH_BYTES..]).await.ok()?;
        Some(frame)
    }

    fn put(&self, piece: &mut Vec<u8>, truth: &[u8], instead: &[u8]) {
        let batches = match self.kind {
            Kind::Kafka => batches(piece),
            Kind::Redis => Vec::new(),
        };
        if replace(piece, truth, instead) {
            self.told.once_more();
        }
        for (at, end) in batches {
            let sum = crc32c(&piece[at + BATCH_SUMMED_FROM..end]);
            piece[at + BATCH_SUM_AT..at + BATCH_SUMMED_FROM].copy_from_slice(&sum.to_be_bytes());
        }
    }
}

/// Whether it was there.
fn replace(piece: &mut Vec<u8>, truth: &[u8], instead: &[u8]) -> bool {
    let mut from = 0;
    while let Some(at) = piece[from..].windows(truth.len()).position(|part| part == truth) {
        let at = from + at;
        piece.splice(at..at + truth.len(), instead.iter().copied());
        from = at + instead.len();
    }
    from > 0
}

/// Where the record batches of a frame begin and end: there, and only there, a checksum is right.
fn batches(frame: &[u8]) -> Vec<(usize, usize)> {
    let batch = |at: usize| {
        let is_of_our_format = frame.get(at + BATCH_MAGIC_AT) == Some(&2);
        let end = at + BATCH_HEAD + number(frame, at + BATCH_LENGTH_AT).filter(|_| is_of_our_format)?;
        let summed = frame.get(at + BATCH_SUMMED_FROM..end)?;
        (number(frame, at + BATCH_SUM_AT)? == crc32c(summed) as usize).then_some((at, end))
    };
    let mut found = Vec::new();
    let mut at = LENGTH_BYTES;
    while at + BATCH_SUMMED_FROM < frame.len() {
        match batch(at) {
            Some(it) => {
                found.push(it);
                at = it.1;
            }
            None => at += 1,
        }
    }
    found
}

fn number(bytes: &[u8], at: usize) -> Option<usize> {
    let four = bytes.get(at..at + LENGTH_BYTES)?;
    Some(u32::from_be_bytes(four.try_into().unwrap()) as usize)
}

/// Castagnoli's checksum, as RFC 3720 has it in its appendix B.4.
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |sum: u32, byte: &u8| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    };
    !bytes.iter().fold(u32::MAX, step)
}

#[test]
fn the_checksum_is_castagnoli_s() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
