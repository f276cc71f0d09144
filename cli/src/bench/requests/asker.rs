//! A process that asks in its own language, and what is said to it.
//!
//! ```text
//!   started            --> {"ready": true}                                                  once it has been answered once
//!   {"in_flight", …}   --> {"done": 8000, "asked": 9900, "took_s": 4.0, "p50_us": …, "p99_us": …}     once for each line
//!   its stdin is closed -> it ends its workers, and itself
//!   at any time        --> {"error": "why it cannot go on"}
//! ```
//!
//! One line of JSON each. `done` are those that ended while it was counted, `asked` all; see [`Order`].

use super::super::BenchError;
use super::super::process::Process;
use super::super::site::LIMIT;
use super::beside::Peer;
use serde::{Deserialize, Serialize};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// It may take so long until it has been answered once.
const START: Duration = Duration::from_secs(90);
/// It may take so long to end with its workers.
const END: Duration = Duration::from_secs(20);

/// What is to be asked: so many at a time, for `warm_up_ms` without counting, then for `window_ms`; and for longer, up to the 30 s
/// that a single request may take, until as many have ended as are in flight. Each is checked: the reply is what was sent.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Order {
    pub(super) in_flight: usize,
    pub(super) warm_up_ms: u64,
    pub(super) window_ms: u64,
    /// Of the text that is sent.
    pub(super) bytes: usize,
}

impl Order {
    /// The longest that following it may take: another request each before and after, and some room.
    fn limit(&self) -> Duration {
        Duration::from_millis(self.warm_up_ms + self.window_ms) + LIMIT * 4
    }
}

/// What it came to.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Figures {
    /// Requests that ended while it was counted.
    pub(super) done: u64,
    /// All that have ended, those of the warm-up and those after the end too.
    pub(super) asked: u64,
    /// How long it was counted.
    pub(super) took_s: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Said {
    Error { error: String },
    Ready { ready: bool },
    Figures(Figures),
}

/// A running one.
#[derive(Debug)]
pub(super) struct Asker {
    name: String,
    child: Child,
    stdin: ChildStdin,
    stdout: Lines<BufReader<ChildStdout>>,
    process: Process,
}

impl Asker {
    /// Starts it, and waits until it has been answered once.
    ///
    /// # Errors
    /// It does not start, ends, or is not ready in time.
    pub(super) async fn start(peer: &Peer) -> Result<Asker, BenchError> {
        let wrong = |why: &str| BenchError::Missing(format!("{}: {why}", peer.name));
        let (program, args) = peer.asker.split_first().ok_or_else(|| wrong("no program"))?;
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| wrong(&format!("{program} does not start: {error}")))?;
        let pid = child.id().ok_or_else(|| wrong("it ended at once"))?;
        let stdin = child.stdin.take().ok_or_else(|| wrong("no way to say anything to it"))?;
        let stdout = child.stdout.take().ok_or_else(|| wrong("no way to hear it"))?;
        let stdout = BufReader::new(stdout).lines();
        let name = peer.name.clone();
        let mut asker = Asker { name, child, stdin, stdout, process: Process::of(pid) };
        match asker.hear(START).await? {
            Said::Ready { ready: true } => Ok(asker),
            other => Err(asker.wrong(&format!("it should say that it is ready, not {other:?}"))),
        }
    }

    /// Lets it ask.
    ///
    /// # Errors
    /// It ends, says why it cannot, or does not answer in time.
    pub(super) async fn ask(&mut self, order: &Order) -> Result<Figures, BenchError> {
        let mut line = serde_json::to_vec(order)?;
        line.push(b'\n');
        self.stdin.write_all(&line).await?;
        self.stdin.flush().await?;
        match self.hear(order.limit()).await? {
            Said::Figures(figures) => Ok(figures),
            other => Err(self.wrong(&format!("it should say its figures, not {other:?}"))),
        }
    }

    /// The process; its workers are beneath it.
    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    /// Lets it end its workers and itself.
    ///
    /// # Errors
    /// It does not in time, or not well.
    pub(super) async fn end(self) -> Result<(), BenchError> {
        let Asker { name, mut child, stdin, .. } = self;
        drop(stdin);
        let why = match timeout(END, child.wait()).await {
            Ok(Ok(status)) if status.success() => return Ok(()),
            Ok(Ok(status)) => status.to_string(),
            Ok(Err(error)) => error.to_string(),
            Err(_) => {
                child.kill().await?;
                format!("it had to be killed after {} s", END.as_secs())
            }
        };
        Err(BenchError::Missing(format!("{name} did not end well: {why}")))
    }

    async fn hear(&mut self, limit: Duration) -> Result<Said, BenchError> {
        let line = timeout(limit, self.stdout.next_line()).await;
        let line = line.map_err(|_| self.wrong(&format!("silent for {} s", limit.as_secs())))??;
        let line = line.ok_or_else(|| self.wrong("it ended (what it said last is above)"))?;
        match serde_json::from_str(&line) {
            Ok(Said::Error { error }) => Err(self.wrong(&error)),
            Ok(said) => Ok(said),
            Err(_) => Err(self.wrong(&format!("said what is no answer: {line}"))),
        }
    }

    fn wrong(&self, why: &str) -> BenchError {
        BenchError::Missing(format!("{}: {why}", self.name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(script: &str) -> Peer {
        let asker = ["sh", "-c", script].map(str::to_owned).to_vec();
        Peer { name: "a peer".to_owned(), asker, uses: Vec::new() }
    }

    const ORDER: Order = Order { in_flight: 1, warm_up_ms: 0, window_ms: 1, bytes: 200 };

    #[tokio::test]
    async fn it_is_asked_line_by_line_and_ends_when_nothing_more_is_said() {
        let script = r#"echo '{"ready": true}'
            while read -r line; do
                case $line in *'"bytes":200'*) echo '{"done": 2, "asked": 3, "took_s": 0.5, "p50_us": 7, "p99_us": 9}' ;; esac
            done"#;
        let mut asker = Asker::start(&peer(script)).await.unwrap();
        for _ in 0..2 {
            let figures = asker.ask(&ORDER).await.unwrap();
            assert_eq!(figures, Figures { done: 2, asked: 3, took_s: 0.5, p50_us: 7.0, p99_us: 9.0 });
        }
        asker.end().await.unwrap();
    }

    #[tokio::test]
    async fn who_cannot_go_on_is_told_of_by_name_and_reason() {
        let check = async |script: &str, said: &str| {
            let told = match Asker::start(&peer(script)).await {
                Err(error) => error.to_string(),
                Ok(mut asker) => match asker.ask(&ORDER).await {
                    Err(error) => error.to_string(),
                    Ok(figures) => format!("{figures:?}, {:?}", asker.end().await),
                },
            };
            assert!(told.contains("a peer") && told.contains(said), "{script}: {told}");
        };
        check("exit 3", "it ended").await;
        check(r#"echo '{"error": "no broker"}'"#, "no broker").await;
        check("echo what", "no answer: what").await;
        check(r#"echo '{"ready": true}'; read -r line; echo '{"error": "another reply"}'"#, "another reply")
            .await;
        check(r#"echo '{"ready": true}'; read -r line; exec <&-; exit 1"#, "it ended").await;
        let figures = r#"{"done": 2, "asked": 3, "took_s": 0.5, "p50_us": 7, "p99_us": 9}"#;
        check(
            &format!("echo '{{\"ready\": true}}'; read -r line; echo '{figures}'; exit 4"),
            "exit status: 4",
        )
        .await;
    }
}
