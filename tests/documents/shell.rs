//! A shell that types what a document says, at the pace of a person.

use super::blocks::Block;
use serde_json::json;
use std::fs::File;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use synod_tests::{synod, without_settings};

/// Where the mesh is that the documents speak with.
pub(crate) struct Endpoints {
    /// Its HTTP API.
    pub(crate) http: String,
    /// Its brokers.
    pub(crate) kafka: String,
    /// Its Redis.
    pub(crate) redis: String,
}

/// How long the blocks of one document may take.
const LIMIT: Duration = Duration::from_secs(120);

/// What stands before the blocks. A person goes on once a mesh that was started says that it is ready, and reads
/// `localhost:7700` as where the mesh is.
const BEFORE: &str = r#"set -euo pipefail
synod() {
    if [[ $1 != up && -n ${SYNOD_ENDPOINTS:-} ]]; then
        for ((tries = 0; tries < 1200; tries++)); do
            [[ ! -s $SYNOD_ENDPOINTS ]] || break
            command sleep 0.05
        done
    fi
    command synod "$@"
}
curl() { command curl -sS --fail-with-body "${@//localhost:7700/$AT}"; }
"#;

/// Runs the blocks of one document, in an empty folder, and ends all that they have started.
pub(crate) fn run(page: &str, blocks: &[Block], mesh: &Endpoints) {
    let folder = tempfile::tempdir().expect("a folder");
    let (commands, work, log) =
        (folder.path().join("bin"), folder.path().join("work"), folder.path().join("log"));
    std::fs::create_dir_all(&commands).expect("a folder");
    std::fs::create_dir_all(&work).expect("a folder");
    symlink(synod(), commands.join("synod")).expect("a link");

    let mut script = BEFORE.to_owned();
    for block in blocks {
        script.push_str(&format!("echo; echo '--- {}'\n{}", block.place, block.text));
    }
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new("bash");
    without_settings(&mut command);
    command.args(["-c", &script]).current_dir(&work).process_group(0);
    command.env("PATH", format!("{}:{path}", commands.display()));
    // A mesh that the document itself starts is nobody's in the way.
    command.envs([("SYNOD_HTTP_LISTEN", "127.0.0.1:0"), ("AT", mesh.http.trim_start_matches("http://"))]);
    let endpoints = folder.path().join("endpoints.json");
    let known = json!({"http": mesh.http, "kafka": mesh.kafka, "redis": mesh.redis});
    std::fs::write(&endpoints, known.to_string()).expect("it can be written");
    command.env("SYNOD_ENDPOINTS", &endpoints);
    // Not a pipe: what runs on behind would hold it open.
    let file = File::create(&log).expect("the log can be written");
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("a second handle")).stderr(file);

    let mut shell = command.spawn().expect("bash runs");
    let until = Instant::now() + LIMIT;
    let ended = loop {
        match shell.try_wait().expect("a child can be asked") {
            Some(status) => break Some(status),
            None if Instant::now() >= until => break None,
            None => std::thread::sleep(Duration::from_millis(20)),
        }
    };
    let group = format!("-{}", shell.id());
    // Nothing is left of it where it started nothing that runs on.
    let _ = Command::new("kill").args(["-KILL", "--", &group]).stderr(Stdio::null()).status();
    let said = std::fs::read_to_string(&log).unwrap_or_default();
    let last: String = said
        .lines()
        .rev()
        .take(40)
        .collect::<Vec<_>>()
        .into_iter()
        .rev()
        .fold(String::new(), |all, l| all + l + "\n");
    match ended {
        Some(status) => assert!(status.success(), "{page}: {status}\n{last}"),
        None => panic!("{page}: not done within {LIMIT:?}\n{last}"),
    }
}
