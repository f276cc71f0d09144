//! `synod up`: there when it says so, and gone without a trace, however it ends.

use crate::binary::synod;
use crate::running::{Running, Up, children, is_alive, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

#[test]
fn it_is_ready_when_the_file_is_there_and_gone_within_two_seconds() {
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("endpoints.json");
        let mut command = Up::command(&file);
        // As in a shell that has named its mesh and starts it anew: the file is this process' to write.
        command.env("SYNOD_ENDPOINTS", &file);
        let mut up = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
        until("the endpoints file", || file.exists());
        let endpoints: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let names: Vec<&String> = endpoints.as_object().unwrap().keys().collect();
        assert_eq!(names, ["http", "kafka", "redis"]);
        let status = synod(&["status"]).env("SYNOD_ENDPOINTS", &file).output().unwrap();
        assert!(status.status.success(), "ready means that it answers at once: {status:?}");
        let servers = children(up.id());
        assert_eq!(servers.len(), 1, "redis-server");

        up.signal(signal);
        let (status, took) = up.ended();
        assert!(status.success() && took < Duration::from_secs(2), "{signal}: {status} after {took:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(!is_alive(servers[0]));
        let (mut stdout, mut stderr) = (String::new(), String::new());
        up.child().stdout.take().unwrap().read_to_string(&mut stdout).unwrap();
        up.child().stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        for said in ["http", "kafka", "redis"] {
            assert!(stdout.contains(endpoints[said].as_str().unwrap()), "{said} is not in {stdout}");
        }
        assert!(stderr.contains("NOTHING SURVIVES"), "{stderr}");
    }
}

#[test]
fn killed_it_leaves_no_process() {
    let mut up = Up::start();
    let servers = children(up.process.id());
    up.process.signal(Signal::SIGKILL);
    up.process.ended();
    until("the end of redis-server", || servers.iter().all(|server| !is_alive(*server)));
    // The file stays; the next mesh takes its place.
    assert!(up.file.exists());
    let next = Running::start(Up::command(&up.file).stdout(Stdio::null()).stderr(Stdio::null()));
    until("the new mesh's file", || {
        fs::read(&up.file).is_ok_and(|text| !text.is_empty())
            && synod(&["status"]).env("SYNOD_ENDPOINTS", &up.file).output().unwrap().status.success()
    });
    drop(next);
}

fn refused(command: &mut std::process::Command, status: i32, said: &str) {
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(status), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains(said), "{said:?} is not in {output:?}");
    assert!(output.stdout.is_empty(), "{output:?}");
}

#[test]
fn what_keeps_it_from_starting_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("endpoints.json");
    refused(Up::command(&file).env("PATH", dir.path()), 5, "Debian package `redis-server`");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    refused(&mut synod(&["up", "--http-listen", &address]), 1, &format!("cannot listen on {address}"));

    fs::write(&file, "[package]").unwrap();
    refused(&mut Up::command(&file), 1, "is no endpoints file");
    assert_eq!(fs::read(&file).unwrap(), b"[package]");
    refused(&mut Up::command(&dir.path().join("absent/e.json")), 1, "absent/e.json");
}

#[test]
fn without_a_mesh_a_command_says_how_to_get_one() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{free}");
    refused(&mut synod(&["task", "list", "--http-url", &url]), 5, "`synod up` starts a mesh");
}
