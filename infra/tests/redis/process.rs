//! Other processes: this test binary again, in a role that an environment variable names.

use super::{Bench, SECOND};
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use synod_infra::redis::presence::PresenceHold;
use synod_infra::redis::{EmbeddedRedis, EmbeddedRedisError, Redis, RedisConfig};
use synod_infra::telemetry;

const ROLE: &str = "SYNOD_TEST_ROLE";
const ARGUMENT: &str = "SYNOD_TEST_ARGUMENT";

/// A process in a role, and what it prints.
pub(super) struct Actor {
    pub(super) child: Child,
    lines: std::io::Lines<BufReader<ChildStdout>>,
}

/// Sends a process a signal, such as `-STOP`.
pub(super) fn signal(process_id: u32, name: &str) {
    assert!(Command::new("kill").args([name, &process_id.to_string()]).status().unwrap().success());
}

impl Actor {
    pub(super) fn start(role: &str, argument: &str) -> Actor {
        Actor::start_with(role, argument, |command| command)
    }

    pub(super) fn start_with(
        role: &str,
        argument: &str,
        set: impl FnOnce(&mut Command) -> &mut Command,
    ) -> Actor {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "process::play", "--nocapture", "--test-threads", "1"]);
        command.env(ROLE, role).env(ARGUMENT, argument).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = set(&mut command).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Actor { child, lines }
    }

    /// Sends it a signal, such as `-STOP`.
    pub(super) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// The rest of the next line that begins with `say:`.
    pub(super) fn hear(&mut self) -> String {
        self.hear_more().expect("the actor ended without saying anything")
    }

    /// The same, or `None` when the actor has ended.
    pub(super) fn hear_more(&mut self) -> Option<String> {
        for line in self.lines.by_ref() {
            // The test harness may print the test's name in front, on the same line.
            if let Some((_, said)) = line.ok()?.split_once("say:") {
                return Some(said.to_owned());
            }
        }
        None
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does nothing in a normal run; in a process that [`Actor`] started it plays the role.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn play() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let argument = std::env::var(ARGUMENT).unwrap();
    match role.as_str() {
        "keep_a_server" => {
            let server = EmbeddedRedis::start().await.unwrap();
            println!("say:{} {}", server.process_id(), server.url());
            std::future::pending::<()>().await;
        }
        "start_without_a_path" => match EmbeddedRedis::start().await {
            Err(error @ EmbeddedRedisError::NotInstalled) => println!("say:{error}"),
            other => println!("say:{other:?}"),
        },
        "be_present" => {
            let (url, who) = argument.split_once(' ').unwrap();
            let mut who = who.split(' ');
            let mut part = || who.next().unwrap();
            let redis = Redis::new(RedisConfig::new(url)).unwrap();
            let (workspace, agent, incarnation) = (part().parse(), part().parse(), part().parse());
            let hold =
                PresenceHold::start(redis, &workspace.unwrap(), &agent.unwrap(), &incarnation.unwrap());
            println!("say:{}", hold.wait_held(SECOND).await);
            std::future::pending::<()>().await;
        }
        "write_state" => super::state::concurrent::play(&argument).await,
        "wait_for_lock" => super::locks::wait_for_lock(&argument).await,
        "hold_locks" => super::lock_histories::hold_locks(&argument).await,
        "count" => super::counters::count(&argument).await,
        "spend" => super::budgets::spend(&argument).await,
        "log" => {
            let config = telemetry::TelemetryConfig {
                format: telemetry::LogFormat::Json,
                filter: "info,synod_infra=debug".into(),
            };
            let logs = telemetry::init(&config).unwrap();
            let again = telemetry::init(&config).unwrap_err();
            let metrics = telemetry::Metrics::install().unwrap();
            let metrics_again = telemetry::Metrics::install().err().unwrap();
            super::telemetry::speak(&logs).await;
            let bench = Bench::start().await;
            bench.redis.ready().await.unwrap();
            println!(
                "say:{}",
                serde_json::json!([again.to_string(), metrics_again.to_string(), metrics.render()])
            );
        }
        "consume" => super::queue_history::consume(&argument).await,
        other => panic!("no such role: {other}"),
    }
}
