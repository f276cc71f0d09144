//! The binary itself: what goes to stdout and stderr, and the exit status.

use std::io::Read as _;
use std::process::{Command, Output, Stdio};

pub(crate) fn synod(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_synod"));
    command.args(args).current_dir(std::env::temp_dir()).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("SYNOD_") {
            command.env_remove(name);
        }
    }
    command
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

fn check(command: &mut Command, status: i32, stdout: &str, stderr: &str) -> Output {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(text(&output.stdout).contains(stdout), "{stdout:?} is not in {output:?}");
    assert!(text(&output.stderr).contains(stderr), "{stderr:?} is not in {output:?}");
    assert_eq!(output.stdout.is_empty(), stdout.is_empty(), "{output:?}");
    assert_eq!(output.stderr.is_empty(), stderr.is_empty(), "{output:?}");
    output
}

#[test]
fn help_is_data_and_wrong_usage_is_not() {
    check(&mut synod(&["--help"]), 0, "Exit status: 0 done", "");
    check(&mut synod(&["--version"]), 0, "synod ", "");
    check(&mut synod(&["no-such-noun"]), 2, "", "no-such-noun");
    check(&mut synod(&[]), 2, "", "Usage");
    check(&mut synod(&["config", "--output", "xml"]), 2, "", "xml");
}

#[test]
fn the_settings_in_force_are_shown_with_their_source() {
    let mut command = synod(&["config", "--workspace", "mine", "--output", "json"]);
    command.env("SYNOD_REDIS_URL", "redis://:s3cr3t@host:1/2");
    let output = check(&mut command, 0, "redis://:***@host:1/2", "");
    let rows: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let source = |name: &str| rows.iter().find(|row| row["name"] == name).unwrap()["source"].clone();
    assert_eq!(source("workspace"), "flag");
    assert_eq!(source("redis_url"), "environment SYNOD_REDIS_URL");
    assert_eq!(source("log"), "default");

    check(&mut synod(&["config"]), 0, "kafka_brokers", "");
    check(synod(&["config"]).env("SYNOD_PARTITIONS", "many"), 2, "", "SYNOD_PARTITIONS");
    check(&mut synod(&["config", "--config", "/absent/synod.toml"]), 2, "", "/absent/synod.toml");
}

#[test]
fn the_file_in_this_directory_is_read_and_misspelt_names_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("synod.toml");
    std::fs::write(&file, "workspace = 'filed'").unwrap();
    check(synod(&["config"]).current_dir(dir.path()), 0, "file synod.toml", "");
    std::fs::write(&file, "workspaces = 'filed'").unwrap();
    check(synod(&["config"]).current_dir(dir.path()), 2, "", "did you mean \"workspace\"?");
}

#[test]
fn every_shell_gets_its_completions() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = check(&mut synod(&["completions", shell]), 0, "completions", "");
        for word in
            ["redrive", "export", "replay", "--until", "doctor", "--read-only", "top", "--once", "people"]
        {
            let name = word.trim_start_matches('-');
            assert!(text(&output.stdout).contains(name), "{shell} does not know {word}");
        }
    }
    check(&mut synod(&["completions", "cmd.exe"]), 2, "", "cmd.exe");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child =
        synod(&["completions", "bash"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!((child.wait().unwrap().code(), said.as_str()), (Some(0), ""));
}

#[test]
fn output_that_is_no_terminal_has_no_colour() {
    let output = check(&mut synod(&["config"]), 0, "SETTING", "");
    assert!(!output.stdout.contains(&0x1b));
}
