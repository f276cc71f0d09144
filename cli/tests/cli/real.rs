//! On real brokers: a coordinator comes, is killed, comes back, and goes in good order.

use crate::binary::synod;
use crate::demo::check_takeover;
use crate::dlq::{Bench, check_doubt, check_round_trip, check_two_operators};
use crate::running::{Running, json, until};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::fs;
use std::net::TcpListener;
use std::process::{Command, Stdio};

/// The brokers that scripts/services or the like has started.
struct Real {
    kafka: String,
    redis: String,
    listen: String,
}

impl Real {
    fn new() -> Real {
        let set = |name: &str| {
            std::env::var(name)
                .unwrap_or_else(|_| panic!("{name} is missing: eval \"$(scripts/services up)\""))
        };
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Real { kafka: set("SYNOD_KAFKA_BROKERS"), redis: set("SYNOD_REDIS_URL"), listen: free.to_string() }
    }

    fn synod(&self, args: &[&str]) -> Command {
        let mut command = synod(args);
        command
            .env("SYNOD_KAFKA_BROKERS", &self.kafka)
            .env("SYNOD_REDIS_URL", &self.redis)
            .env("SYNOD_HTTP_LISTEN", &self.listen)
            .env("SYNOD_HTTP_URL", format!("http://{}", self.listen));
        command
    }

    /// A coordinator that is ready.
    fn coordinator(&self, id: &str) -> Running {
        let mut command = self.synod(&["coordinator", "--id", id]);
        let mut coordinator = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        until("a coordinator", || {
            assert!(coordinator.child().try_wait().unwrap().is_none(), "the coordinator ended");
            let status = self.synod(&["status", "--output", "json"]).output().unwrap();
            serde_json::from_slice(&status.stdout).is_ok_and(|status: Value| status["ready"] == true)
        });
        coordinator
    }

    fn completed(&self) -> u64 {
        let status = self.synod(&["status", "--output", "json"]).output().unwrap();
        let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
        status["tasks"]["completed"].as_u64().unwrap_or(0)
    }
}

#[test]
fn the_totals_are_right_though_the_coordinator_is_killed_too() {
    let real = Real::new();
    let dir = tempfile::tempdir().unwrap();
    let files = 3_000;
    for i in 0..files {
        fs::write(dir.path().join(i.to_string()), "one two\n".repeat(i % 9)).unwrap();
    }
    let mut first = real.coordinator("killed");
    let before = real.completed();
    let demo = std::thread::scope(|scope| {
        let demo =
            scope.spawn(|| json(0, real.synod(&["demo", "--limit", "120", "--input"]).arg(dir.path())));
        // In the middle: some are done, most are not.
        until("a part of the work", || real.completed() > before + 300);
        first.signal(Signal::SIGKILL);
        first.ended();
        let mut second = real.coordinator("killed");
        let report = demo.join().unwrap();
        crate::validate::holds(&mut real.synod(&["validate", "--disruptive", "--figures", "told"]));
        crate::ledger::is_clean(&json(0, &mut real.synod(&["replay"])));
        second.signal(Signal::SIGTERM);
        let (status, took) = second.ended();
        assert!(status.success(), "{status} after {took:?}");
        report
    });
    let lines: u64 = (0..files as u64).map(|i| i % 9).sum();
    assert_eq!((&demo["totals"]["files"], &demo["totals"]["lines"]), (&files.into(), &lines.into()));
    check_takeover(&demo["mesh"]);
}

#[test]
fn dead_letters_are_redriven_once_whoever_asks() {
    let real = Real::new();
    let kafka = synod_infra::kafka::KafkaConfig::new(real.kafka.clone(), "test-dlq");
    let synod = |args: &[&str]| real.synod(args);
    let bench = Bench { kafka, synod: &synod };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        check_round_trip(&bench).await;
        check_two_operators(&bench).await;
        check_doubt(&bench).await;
    });
}

#[test]
fn a_coordinator_waits_for_brokers_that_are_not_there() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let real = Real { kafka: free(), redis: format!("redis://{}", free()), listen: free() };
    let mut command = real.synod(&["coordinator"]);
    let mut coordinator = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
    until("its HTTP", || real.synod(&["status"]).output().unwrap().status.success());
    let status = json(0, &mut real.synod(&["status"]));
    assert!(status["ready"] == false && !status["troubles"].as_array().unwrap().is_empty(), "{status}");
    coordinator.signal(Signal::SIGTERM);
    assert!(coordinator.ended().0.success());
}
