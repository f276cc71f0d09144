//! What came of one run: an output that the mesh can carry, or a failure that says why.

use super::OUTPUT_BYTES;
use super::pipes::{Capped, Tail};
use nix::sys::signal::Signal;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;
use synod_protocol::{Json, limits};

/// The exit status by which a program says that the input is wrong and will stay so:
/// `EX_DATAERR` of BSD's `sysexits.h`.
pub const DATA_ERROR: i32 = 65;

/// What a program gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its stdout if that is one JSON value; else the same as a JSON string, without the line feeds
    /// at its end; `null` if there was nothing.
    pub json: Json,
    /// The last bytes of its stderr, for the log.
    pub stderr: String,
}

/// Why an attempt has no output.
#[derive(Debug, thiserror::Error)]
pub enum ProgramFailure {
    /// It could not be started.
    #[error("the program could not be started: {0}")]
    NotStarted(io::Error),
    /// It said that it failed.
    #[error("the program exited with status {status}{}", said(.stderr))]
    Exited {
        /// Not 0.
        status: i32,
        /// The last bytes of its stderr.
        stderr: String,
    },
    /// Somebody else killed it, or it crashed.
    #[error("the program was ended by {signal}{}", said(.stderr))]
    Signalled {
        /// The signal's name.
        signal: String,
        /// The last bytes of its stderr.
        stderr: String,
    },
    /// It took too long and was ended.
    #[error("the program was ended after its time limit of {} ms{}", .limit.as_millis(), said(.stderr))]
    TimeLimit {
        /// What it was given.
        limit: Duration,
        /// The last bytes of its stderr.
        stderr: String,
    },
    /// The task was cancelled, and the program ended.
    #[error("the program was ended because its task was cancelled")]
    Cancelled,
    /// It printed too much, and was ended.
    #[error("the program's output has more than {OUTPUT_BYTES} bytes; pass larger data by reference")]
    OutputTooLarge,
    /// What it printed is neither JSON nor text.
    #[error("the program's output cannot be used: {why}")]
    OutputUnusable {
        /// What was wrong.
        why: String,
    },
    /// It could not even be killed.
    #[error("the program does not end, not even on SIGKILL: {0}")]
    NotEnded(io::Error),
}

fn said(stderr: &str) -> String {
    if stderr.is_empty() { String::new() } else { format!("; its stderr ends with: {stderr}") }
}

impl ProgramFailure {
    /// A short name for the kind, as a failed attempt carries it; one of Synod's where there is one.
    pub fn code(&self) -> &'static str {
        match self {
            ProgramFailure::NotStarted(_) => "not_started",
            ProgramFailure::Exited { .. } => "exit_status",
            ProgramFailure::Signalled { .. } => "signal",
            ProgramFailure::TimeLimit { .. } => "deadline_exceeded",
            ProgramFailure::Cancelled => "cancelled",
            ProgramFailure::OutputTooLarge => "payload_too_large",
            ProgramFailure::OutputUnusable { .. } => "invalid_output",
            ProgramFailure::NotEnded(_) => "not_ended",
        }
    }

    /// What happened, with the end of stderr, in no more bytes than a failure may carry.
    pub fn message(&self) -> String {
        let whole = self.to_string();
        let stderr = match self {
            ProgramFailure::Exited { stderr, .. }
            | ProgramFailure::Signalled { stderr, .. }
            | ProgramFailure::TimeLimit { stderr, .. } => stderr.as_str(),
            _ => "",
        };
        let excess = whole.len().saturating_sub(limits::TEXT_BYTES);
        if excess == 0 {
            return whole;
        }
        // What is too much goes from the start of stderr; the sentence before it stays.
        let before = whole.strip_suffix(stderr).unwrap_or_default();
        let mut start = (excess + '\u{2026}'.len_utf8()).min(stderr.len());
        while !stderr.is_char_boundary(start) {
            start += 1;
        }
        format!("{before}\u{2026}{}", stderr.get(start..).unwrap_or_default())
    }

    /// Whether another attempt may succeed: not if the program said that the input is wrong
    /// (exit status 65), nor if its output cannot be carried.
    pub fn is_retryable(&self) -> bool {
        match self {
            ProgramFailure::Exited { status, .. } => *status != DATA_ERROR,
            ProgramFailure::NotStarted(_)
            | ProgramFailure::Signalled { .. }
            | ProgramFailure::TimeLimit { .. }
            | ProgramFailure::NotEnded(_) => true,
            ProgramFailure::Cancelled
            | ProgramFailure::OutputTooLarge
            | ProgramFailure::OutputUnusable { .. } => false,
        }
    }
}

/// What ended a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Exited,
    TooMuch,
    Cancelled,
    TimeLimit,
}

pub(super) fn judge(
    end: End,
    status: ExitStatus,
    limit: Duration,
    out: Capped,
    err: &Tail,
) -> Result<Output, ProgramFailure> {
    let stderr = err.text();
    match end {
        End::Cancelled => return Err(ProgramFailure::Cancelled),
        End::TimeLimit => return Err(ProgramFailure::TimeLimit { limit, stderr }),
        End::TooMuch => return Err(ProgramFailure::OutputTooLarge),
        End::Exited => {}
    }
    match (status.code(), status.signal()) {
        (Some(0), _) if out.is_over() => Err(ProgramFailure::OutputTooLarge),
        (Some(0), _) => Ok(Output { json: as_json(out.into_bytes())?, stderr }),
        (Some(status), _) => Err(ProgramFailure::Exited { status, stderr }),
        (None, signal) => {
            let number = signal.unwrap_or_default();
            let name =
                Signal::try_from(number).map_or_else(|_| format!("signal {number}"), |s| s.to_string());
            Err(ProgramFailure::Signalled { signal: name, stderr })
        }
    }
}

/// JSON stays as it is, to the last digit; text becomes a JSON string.
fn as_json(bytes: Vec<u8>) -> Result<Json, ProgramFailure> {
    let unusable = |why: String| ProgramFailure::OutputUnusable { why };
    let text = String::from_utf8(bytes).map_err(|e| unusable(format!("not UTF-8 ({})", e.utf8_error())))?;
    if text.trim_ascii().is_empty() {
        return Ok(Json::null());
    }
    let json = match Json::parse(text.trim_ascii()) {
        Ok(json) => json,
        Err(_) => {
            let text = text.trim_end_matches(['\n', '\r']);
            Json::of(text).map_err(|e| unusable(e.to_string()))?
        }
    };
    limits::check_nesting(json.as_str().as_bytes(), limits::NESTING).map_err(|e| unusable(e.message))?;
    match json.as_str().len() <= OUTPUT_BYTES {
        true => Ok(json),
        // Escaped, a text is longer than it was.
        false => Err(ProgramFailure::OutputTooLarge),
    }
}

#[cfg(test)]
mod tests {
    use super::super::STDERR_BYTES;
    use super::*;

    #[test]
    fn stdout_is_json_or_else_text() {
        let check = |stdout: &str, json: &str| {
            assert_eq!(as_json(stdout.into()).unwrap().as_str(), json, "{stdout:?}");
        };
        check("{\"a\": 1}\n", "{\"a\": 1}");
        check(" 12345678901234567890123 ", "12345678901234567890123");
        check("hello world\r\n\n", "\"hello world\"");
        check("two\nlines\n", "\"two\\nlines\"");
        check("{\"a\": 1}{\"b\": 2}", "\"{\\\"a\\\": 1}{\\\"b\\\": 2}\"");
        check("", "null");
        check("\n", "null");
    }

    #[test]
    fn what_the_mesh_cannot_carry_is_a_failure_here() {
        let check = |stdout: Vec<u8>, code: &str| {
            let failure = as_json(stdout).unwrap_err();
            assert_eq!((failure.code(), failure.is_retryable()), (code, false));
        };
        check(vec![b'a', 0xff], "invalid_output");
        check(("[".repeat(65) + &"]".repeat(65)).into_bytes(), "invalid_output");
        check(vec![b'"'; OUTPUT_BYTES], "payload_too_large");
    }

    #[test]
    fn a_failure_fits_its_message_and_keeps_the_end_of_stderr() {
        let stderr = "\u{e9}".repeat(STDERR_BYTES / 2 - 10) + " the point";
        let failure = ProgramFailure::Exited { status: 3, stderr };
        let message = failure.message();
        assert!(message.len() <= limits::TEXT_BYTES && message.len() > limits::TEXT_BYTES - 8);
        assert!(
            message.starts_with("the program exited with status 3; its stderr ends with: \u{2026}\u{e9}")
        );
        assert!(message.ends_with("the point"));
    }

    #[test]
    fn wrong_input_is_not_tried_again() {
        let check = |status, retryable| {
            let failure = ProgramFailure::Exited { status, stderr: String::new() };
            assert_eq!(failure.is_retryable(), retryable);
        };
        check(1, true);
        check(DATA_ERROR, false);
        check(127, true);
    }
}
