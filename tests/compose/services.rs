//! `scripts/services` ends only what it started.
//!
//! A pid file outlives its process, and the kernel gives the number to somebody else. These tests put a
//! process that `scripts/services` did not start behind a pid file of its own, and one that it might have.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

/// A process that ends only when it is told to: it waits for a line that never comes.
fn bystander() -> Child {
    Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat is there")
}

/// The time at which the process started, in clock ticks since boot, as the pid file keeps it.
fn start_time(child: &Child) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).expect("the process is there");
    let after_name = stat.rsplit_once(") ").expect("a name in brackets").1;
    after_name.split(' ').nth(19).and_then(|field| field.parse().ok()).expect("the 22nd field is a number")
}

/// An instance's folder as after `up`, whose Redis is said to be the given process.
fn instance(folder: &Path, pid: u32, started: u64) {
    fs::write(folder.join("settings"), "brokers=1\nkafka_port=1024\nredis_port=1025\ncluster_id=x\n")
        .expect("written");
    fs::write(folder.join("formatted"), "").expect("written");
    fs::create_dir(folder.join("redis")).expect("made");
    fs::write(folder.join("redis/pid"), format!("{pid} {started}\n")).expect("written");
}

fn services(folder: &Path, words: &[&str]) -> Output {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/services");
    Command::new(script)
        .args(words)
        .env("SYNOD_SERVICES_DIR", folder)
        .output()
        .expect("scripts/services runs")
}

#[track_caller]
fn check(words: &[&str], another_start: u64, ends: bool) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = bystander();
    instance(folder.path(), child.id(), start_time(&child) + another_start);
    let output = services(folder.path(), words);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    // Only a signal ends it: nothing is ever written to it, and its input stays open until here.
    let ended = child.try_wait().expect("the process can be asked").is_some();
    child.kill().expect("it can be ended");
    child.wait().expect("it has ended");
    assert!(output.status.success(), "{words:?}: {said}");
    assert_eq!(ended, ends, "{words:?} with the start time {another_start} off: {said}");
    assert!(!folder.path().join("redis/pid").exists(), "{words:?} leaves its pid file behind");
}

#[test]
fn what_it_started_is_ended() {
    check(&["stop", "redis"], 0, true);
    check(&["kill", "redis"], 0, true);
    check(&["down"], 0, true);
}

#[test]
fn a_process_that_only_has_the_same_number_is_left_alone() {
    check(&["stop", "redis"], 1, false);
    check(&["kill", "redis"], 1, false);
    check(&["down"], 1, false);
}

#[test]
fn wrong_words_are_refused_with_usage() {
    let folder = tempfile::tempdir().expect("a folder");
    instance(folder.path(), 1, 0);
    for words in [
        &["restart"][..],
        &["stop"],
        &["stop", "zookeeper"],
        &["kill", "kafka", "2"],
        &["up", "--brokers", "2"],
    ] {
        let output = services(folder.path(), words);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        assert!(output.stdout.is_empty(), "{words:?} says something on stdout");
    }
}
