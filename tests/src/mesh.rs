//! A mesh as its users start it: `synod up`, or `synod coordinator` on real brokers.

use crate::process::{Process, eventually, synod};
use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Mutex;

/// What a mesh stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground {
    /// `synod up`
    Embedded,
    /// `synod coordinator` on the brokers of the surroundings (`SYNOD_KAFKA_BROKERS`, `SYNOD_REDIS_URL`).
    Real,
}

/// A running mesh.
pub struct Mesh {
    process: std::sync::Mutex<Process>,
    ground: Ground,
    /// Its HTTP API.
    pub http: String,
    /// Its brokers.
    pub kafka: String,
    /// Its Redis.
    pub redis: String,
    /// What else it was set to.
    settings: Vec<(&'static str, String)>,
}

/// The meshes that tests of this process share, one for each ground.
static SHARED: [Mutex<Weak<Mesh>>; 2] = [Mutex::const_new(Weak::new()), Mutex::const_new(Weak::new())];

impl Mesh {
    /// The shared mesh on this ground, ready. Tests keep out of each other's way by their ids.
    pub async fn shared(ground: Ground) -> Arc<Mesh> {
        let mut slot = SHARED[ground as usize].lock().await;
        if let Some(mesh) = slot.upgrade() {
            return mesh;
        }
        let mesh = Arc::new(match ground {
            Ground::Embedded => Mesh::own(&[]).await,
            Ground::Real => {
                let mesh = Mesh::coordinator(&named("SYNOD_KAFKA_BROKERS"), &named("SYNOD_REDIS_URL"));
                mesh.ready(Duration::from_secs(30)).await;
                mesh
            }
        });
        *slot = Arc::downgrade(&mesh);
        mesh
    }

    /// An embedded mesh of a test's own, with more arguments for `synod up`.
    pub async fn own(more: &[&str]) -> Mesh {
        Mesh::own_set(more, &[]).await
    }

    /// The same with these settings, as environment variables.
    pub async fn own_set(more: &[&str], settings: &[(&str, &str)]) -> Mesh {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("endpoints.json");
        let mut command = Command::new(synod());
        command.args(["up", "--http-listen", "127.0.0.1:0", "--endpoints"]).arg(&file).args(more);
        let mut process = Process::start(command, settings);
        let endpoints: serde_json::Value = eventually("synod up", Duration::from_secs(30), || {
            if let Some(status) = process.ended() {
                panic!("synod up ended ({status})\n{}", process.last_words());
            }
            let read = std::fs::read(&file).ok();
            std::future::ready(read.and_then(|text| serde_json::from_slice(&text).ok()))
        })
        .await;
        let at = |name: &str| endpoints[name].as_str().expect("an endpoint").to_owned();
        let (http, kafka, redis) = (at("http"), at("kafka"), at("redis"));
        Mesh { process: process.into(), ground: Ground::Embedded, http, kafka, redis, settings: Vec::new() }
    }

    /// One coordinator on these brokers; not waited for.
    pub fn coordinator(kafka: &str, redis: &str) -> Mesh {
        Mesh::coordinator_set(kafka, redis, &[])
    }

    /// The same with these settings, as environment variables.
    pub fn coordinator_set(kafka: &str, redis: &str, settings: &[(&'static str, &str)]) -> Mesh {
        // Chosen here, so that it is at the same place when it is started again.
        let free = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port");
        let mesh = |process| Mesh {
            process,
            ground: Ground::Real,
            http: format!("http://{free}"),
            kafka: kafka.to_owned(),
            redis: redis.to_owned(),
            settings: settings.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        };
        mesh(Mesh::process(&free.to_string(), kafka, redis, settings).into())
    }

    fn process(listen: &str, kafka: &str, redis: &str, more: &[(&'static str, &str)]) -> Process {
        let mut command = Command::new(synod());
        command.arg("coordinator");
        let mut settings =
            vec![("SYNOD_HTTP_LISTEN", listen), ("SYNOD_KAFKA_BROKERS", kafka), ("SYNOD_REDIS_URL", redis)];
        settings.extend(more);
        Process::start(command, &settings)
    }

    /// What it stands on.
    pub fn ground(&self) -> Ground {
        self.ground
    }

    /// Waits until `/readyz` says yes.
    pub async fn ready(&self, limit: Duration) {
        let http = crate::client::plain();
        eventually("/readyz is 200", limit, || {
            if let Some(status) = self.lock().ended() {
                panic!("the coordinator ended ({status})\n{}", self.lock().last_words());
            }
            let asked = http.get(format!("{}/readyz", self.http)).send();
            async { asked.await.ok().filter(|answer| answer.status() == 200) }
        })
        .await;
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.lock().pid()
    }

    /// `kill -9`
    pub fn kill(&self) {
        self.lock().kill();
    }

    /// Sends it a signal, such as `TERM` or `STOP`.
    pub fn signal(&self, name: &str) {
        self.lock().signal(name);
    }

    /// Waits until it has ended by itself, in good order.
    pub async fn ended(&self, limit: Duration) {
        let status =
            eventually("the coordinator ends", limit, || std::future::ready(self.lock().ended())).await;
        assert!(status.success(), "the coordinator ended with {status}\n{}", self.lock().last_words());
    }

    /// Starts a coordinator again where the last one was.
    pub fn start_again(&self) {
        let listen = self.http.trim_start_matches("http://");
        let more: Vec<(&str, &str)> = self.settings.iter().map(|(name, value)| (*name, &**value)).collect();
        let process = Mesh::process(listen, &self.kafka, &self.redis, &more);
        *self.lock() = process;
    }

    /// What its log says.
    pub fn log(&self) -> String {
        self.lock().log()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// A setting of the surroundings. Its absence fails the test: it is never skipped in silence.
fn named(setting: &str) -> String {
    std::env::var(setting).unwrap_or_else(|_| {
        panic!("{setting} is not set; `eval \"$(scripts/services up)\"` first (scripts/test does)")
    })
}
