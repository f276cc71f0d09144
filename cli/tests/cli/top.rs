//! `synod top`: once where there is no terminal, live where there is one, and told as such where the coordinator is gone.

use crate::binary::synod;
use crate::running::{PATIENCE, Up};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::io::{Read as _, Write as _};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

#[test]
fn where_there_is_no_terminal_it_prints_once_and_ends() {
    let up = Up::start();
    let output = up.synod(&["top", "--queue", "mail"]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && !told.contains('\u{1b}'), "{told}");
    for said in
        ["coordinators 1", "fleet: none", "shards: 8", "serving", "queues: 1", "mail", "workflows: none"]
    {
        assert!(told.contains(said), "{said:?} is not in\n{told}");
    }
    let board: Value = up.json(0, &["top", "--once"]);
    assert_eq!(board["status"]["shards"].as_array().unwrap().len(), 8);
    assert_eq!(board["agents"], json!({"items": [], "more": false}));
}

#[test]
fn where_there_is_no_mesh_once_is_unavailable() {
    let output = synod(&["top", "--once", "--http-url", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{output:?}");
}

/// `synod top` on a terminal of its own, 80 by 24, as `script` (util-linux) makes one.
struct Terminal {
    child: Child,
    said: mpsc::Receiver<Vec<u8>>,
    all: String,
}

impl Terminal {
    fn start(up: &Up) -> Terminal {
        let program = env!("CARGO_BIN_EXE_synod");
        let line = format!("stty cols 80 rows 24; exec {program} top");
        let mut command = std::process::Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        command.env("SYNOD_ENDPOINTS", &up.file).env("TERM", "xterm").current_dir(std::env::temp_dir());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (tell, said) = mpsc::channel();
        let mut out = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(count @ 1..) = out.read(&mut chunk) {
                if tell.send(chunk[..count].to_vec()).is_err() {
                    return;
                }
            }
        });
        Terminal { child, said, all: String::new() }
    }

    /// Waits until this was drawn.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.all.contains(text) {
            assert!(Instant::now() < deadline, "{text:?} was not drawn:\n{}", self.all);
            match self.said.recv_timeout(Duration::from_secs(1)) {
                Ok(bytes) => self.all.push_str(&String::from_utf8_lossy(&bytes)),
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(error) => panic!("{text:?} was not drawn: {error}\n{}", self.all),
            }
        }
    }

    fn press(&mut self, keys: &str) {
        self.child.stdin.as_mut().unwrap().write_all(keys.as_bytes()).unwrap();
    }
}

/// With it goes what runs on its terminal: that is hung up.
impl Drop for Terminal {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn at_a_terminal_it_is_live_and_ends_with_q() {
    let up = Up::start();
    let mut top = Terminal::start(&up);
    // Only cells that change are drawn: whole words, not whole lines, can be waited for.
    top.shows("workflows");
    top.shows("none");
    top.press("2");
    top.shows("OWNER");
    top.press("/");
    top.shows("enter");
    top.press("zzz");
    top.shows("that");
    // Enter ends the filter, q ends it all.
    top.press("\r");
    top.shows("[/zzz]");
    up.process.signal(Signal::SIGKILL);
    top.shows("UNREACHABLE");
    top.press("q");
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match top.child.try_wait().unwrap() {
            Some(status) => break status,
            None => assert!(Instant::now() < deadline, "it does not end"),
        }
        std::thread::sleep(Duration::from_millis(5)); // between two looks at the condition
    };
    assert!(status.success(), "{status}");
    // The other screen is left and the cursor is shown again.
    top.shows("\u{1b}[?1049l");
    top.shows("\u{1b}[?25h");
}
