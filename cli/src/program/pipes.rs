//! Reading a program's pipes to their end, whatever it prints, in bounded memory. A pipe that is no
//! longer read would stop the program; so what is over the limit is read and thrown away.

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::oneshot;

/// Bytes read at once.
const PIECE: usize = 16 * 1024;

/// The first bytes, and the word that there were more.
pub(super) struct Capped {
    bytes: Vec<u8>,
    limit: usize,
    total: u64,
    over: Option<oneshot::Sender<()>>,
}

impl Capped {
    /// `over` is told once there are more than `limit` bytes.
    pub(super) fn new(limit: usize, over: oneshot::Sender<()>) -> Capped {
        Capped { bytes: Vec::new(), limit, total: 0, over: Some(over) }
    }

    pub(super) async fn fill(&mut self, pipe: &mut (impl AsyncRead + Unpin)) {
        read_to_end(pipe, |piece| {
            self.total += piece.len() as u64;
            let room = self.limit.saturating_sub(self.bytes.len()).min(piece.len());
            self.bytes.extend(piece.iter().take(room));
            if self.is_over()
                && let Some(over) = self.over.take()
            {
                // Whoever does not listen any more has other reasons to end the program.
                let _ = over.send(());
            }
        })
        .await;
    }

    pub(super) fn is_over(&self) -> bool {
        self.total > self.limit as u64
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// The last bytes.
pub(super) struct Tail {
    bytes: Vec<u8>,
    limit: usize,
    cut: bool,
}

impl Tail {
    pub(super) fn new(limit: usize) -> Tail {
        Tail { bytes: Vec::new(), limit, cut: false }
    }

    pub(super) async fn fill(&mut self, pipe: &mut (impl AsyncRead + Unpin)) {
        read_to_end(pipe, |piece| {
            self.bytes.extend_from_slice(piece);
            let excess = self.bytes.len().saturating_sub(self.limit);
            self.bytes.drain(..excess);
            self.cut |= excess > 0;
        })
        .await;
    }

    /// As text, foreign bytes replaced, white space around it removed, `…` where the start is missing.
    pub(super) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let text = text.trim();
        if self.cut { format!("\u{2026}{text}") } else { text.to_owned() }
    }
}

/// A pipe that cannot be read any more has ended as well.
async fn read_to_end(pipe: &mut (impl AsyncRead + Unpin), mut take: impl FnMut(&[u8])) {
    let mut piece = vec![0; PIECE];
    while let Ok(read @ 1..) = pipe.read(&mut piece).await {
        take(piece.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_over_the_limit_is_read_reported_and_thrown_away() {
        let check = async |length: usize, limit: usize, over: bool| {
            let (tell, mut told) = oneshot::channel();
            let mut capped = Capped::new(limit, tell);
            let bytes = vec![b'x'; length];
            let mut pipe = bytes.as_slice();
            capped.fill(&mut pipe).await;
            assert!(pipe.is_empty());
            assert_eq!((capped.is_over(), told.try_recv().is_ok()), (over, over));
            assert_eq!(capped.into_bytes().len(), length.min(limit));
        };
        check(0, 10, false).await;
        check(10, 10, false).await;
        check(11, 10, true).await;
        check(100_000, 20_000, true).await;
    }

    #[tokio::test]
    async fn of_the_rest_the_end_is_kept() {
        let check = async |text: &str, limit: usize, kept: &str| {
            let mut tail = Tail::new(limit);
            tail.fill(&mut text.as_bytes()).await;
            assert_eq!(tail.text(), kept);
        };
        check("all of it\n", 10, "all of it").await;
        check("the end of it", 5, "\u{2026}of it").await;
        check("", 5, "").await;
    }
}
