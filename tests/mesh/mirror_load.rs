//! A load on shared state, over a Redis of its own, and what its history must be.

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use synod_infra::primitives::mirror::Mirrored;
use synod_infra::primitives::state::{State, Writer};
use synod_infra::redis::Redis;
use synod_protocol::primitives::state::{Condition, Put, range};
use synod_protocol::{Json, Name, Workspace, topics};
use synod_tests::{Client, eventually, fresh};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(super) const WAIT: Duration = Duration::from_secs(30);
pub(super) const WRITERS: usize = 4;
const KEYS_EACH: usize = 3;

/// A Redis of the test's own, with a file that it writes only when told.
pub(super) struct OwnRedis {
    folder: tempfile::TempDir,
    port: u16,
    child: Mutex<Child>,
}

impl OwnRedis {
    pub(super) async fn start() -> OwnRedis {
        let folder = tempfile::tempdir().expect("a folder");
        let port = {
            let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
            free.local_addr().expect("an address").port()
        };
        let child = Mutex::new(OwnRedis::child(folder.path(), port));
        let redis = OwnRedis { folder, port, child };
        redis.answers().await;
        redis
    }

    fn child(folder: &std::path::Path, port: u16) -> Child {
        let mut command = Command::new("redis-server");
        command.args([
            "--port",
            &port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        command.arg("--dir").arg(folder).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().expect("redis-server is installed")
    }

    async fn answers(&self) {
        eventually("Redis answers", WAIT, || async { (self.say("PING").await? == "+PONG").then_some(()) })
            .await;
    }

    /// One inline command; its answer's first line.
    pub(super) async fn say(&self, command: &str) -> Option<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        socket.write_all(format!("{command}\r\n").as_bytes()).await.ok()?;
        let mut bytes = [0; 256];
        let count = socket.read(&mut bytes).await.ok()?;
        String::from_utf8_lossy(&bytes[..count]).lines().next().map(str::to_owned)
    }

    /// SIGKILL, and then again from its file.
    pub(super) async fn restart(&self) {
        {
            let mut child = self.child.lock().expect("no panic");
            child.kill().expect("it is killed");
            child.wait().expect("it ends");
            *child = OwnRedis::child(self.folder.path(), self.port);
        }
        self.answers().await;
    }

    pub(super) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for OwnRedis {
    fn drop(&mut self) {
        if let Ok(child) = self.child.get_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An acknowledged write, by the one writer of its key.
#[derive(Clone, Debug)]
pub(super) struct Acked {
    key: String,
    version: u64,
    value: u64,
    at: Instant,
    mirrored: bool,
}

/// A value that was seen under a version, wherever.
pub(super) type Seen = (String, u64, u64);

/// What came of it.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Loss {
    pub(super) writes: usize,
    pub(super) window: Duration,
}

/// Checks a history: `acked` in each writer's order, `seen` in any, `end` what each key has in the end, `broke` when Redis
/// lost what it had.
pub(super) fn check(
    acked: &[Acked],
    seen: &[Seen],
    end: &BTreeMap<String, (u64, u64)>,
    broke: Instant,
) -> Result<Loss, String> {
    let mut values: BTreeMap<(&str, u64), u64> = BTreeMap::new();
    let all = acked.iter().map(|a| (a.key.as_str(), a.version, a.value));
    let all = all.chain(seen.iter().map(|(key, version, value)| (key.as_str(), *version, *value)));
    for (key, version, value) in all {
        if *values.entry((key, version)).or_insert(value) != value {
            return Err(format!("version {version} of {key} was seen with two values"));
        }
    }
    let mut last: BTreeMap<&str, &Acked> = BTreeMap::new();
    for write in acked {
        if last.get(write.key.as_str()).is_some_and(|before| before.version >= write.version) {
            return Err(format!("the versions of {} do not grow: {write:?}", write.key));
        }
        last.insert(&write.key, write);
    }
    // What stands for a key right after the loss is what the mirror had; everything acknowledged before the loss that is
    // newer than the newest one that anybody saw of it afterwards, or that the mirror has, is lost.
    let mut loss = Loss::default();
    let mirrored: BTreeMap<&str, u64> = seen.iter().fold(BTreeMap::new(), |mut all, (key, version, _)| {
        let newest: &mut u64 = all.entry(key.as_str()).or_default();
        *newest = (*newest).max(*version);
        all
    });
    for write in acked.iter().filter(|write| write.at <= broke) {
        let known = seen.iter().any(|(key, version, _)| *key == write.key && *version == write.version);
        if known || !mirrored.contains_key(write.key.as_str()) {
            if !known {
                return Err(format!("nothing of {} is left", write.key));
            }
            continue;
        }
        if write.mirrored {
            return Err(format!("a write that Kafka was said to have is lost: {write:?}"));
        }
        loss.writes += 1;
        loss.window = loss.window.max(broke - write.at);
    }
    for write in last.values() {
        if write.at > broke && end.get(&write.key) != Some(&(write.version, write.value)) {
            return Err(format!(
                "the last write was after the loss and is not there: {write:?}, {:?}",
                end.get(&write.key)
            ));
        }
    }
    Ok(loss)
}

pub(super) struct Load {
    pub(super) state: State,
    mirrored: Mirrored,
    pub(super) workspace: Workspace,
    pub(super) names: Vec<Name>,
    stop: Arc<AtomicBool>,
    acked: Arc<Mutex<Vec<Acked>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
}

impl Load {
    pub(super) fn on(redis: &Redis) -> Load {
        let run = fresh("mirror");
        let names = (0..WRITERS * KEYS_EACH).map(|n| format!("{run}/{n}").parse().expect("a name")).collect();
        Load {
            state: State::new(redis.clone()),
            mirrored: Mirrored::new(redis.clone()),
            workspace: Workspace::default_name(),
            names,
            stop: Arc::default(),
            acked: Arc::default(),
            seen: Arc::default(),
        }
    }

    pub(super) fn start(&self) -> Vec<tokio::task::JoinHandle<()>> {
        let writers = self.names.chunks(KEYS_EACH).map(|names| {
            let (state, mirrored, names) = (self.state.clone(), self.mirrored.clone(), names.to_vec());
            let (stop, acked, workspace) = (self.stop.clone(), self.acked.clone(), self.workspace.clone());
            tokio::spawn(async move {
                let writer = Writer::new(workspace.clone(), "writer");
                for value in 1u64.. {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let name = &names[value as usize % names.len()];
                    let put = Put::of(Json::of(&value).expect("a number"));
                    let Ok(written) = state.put(&writer, name, put, Condition::None).await else {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                        continue;
                    };
                    let mut write = Acked {
                        key: name.to_string(),
                        version: written.entry.version,
                        value,
                        at: Instant::now(),
                        mirrored: false,
                    };
                    if value % 10 == 0 {
                        let place = &written.place;
                        write.mirrored =
                            mirrored.wait(place.range, &place.place, Duration::from_secs(2)).await.is_ok();
                        write.at = Instant::now();
                    }
                    acked.lock().expect("no panic").push(write);
                }
            })
        });
        let (state, names, stop, seen, workspace) = (
            self.state.clone(),
            self.names.clone(),
            self.stop.clone(),
            self.seen.clone(),
            self.workspace.clone(),
        );
        let reader = tokio::spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                for name in &names {
                    if let Ok(Some(entry)) = state.get(&workspace, name).await {
                        let value = entry.value.to().expect("a number");
                        seen.lock().expect("no panic").push((name.to_string(), entry.version, value));
                    }
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
        writers.chain([reader]).collect()
    }

    /// So many more writes are acknowledged, however slowly they come.
    pub(super) async fn more(&self, count: usize) {
        let acked = || self.acked.lock().expect("no panic").len();
        let until = acked() + count;
        while acked() < until {
            let from = acked();
            eventually("a write is acknowledged", WAIT, || async { (acked() > from).then_some(()) }).await;
        }
    }

    /// What the mirror has, all of it.
    pub(super) async fn mirror(&self, client: &Client) -> Vec<Seen> {
        let mut all = Vec::new();
        for record in client.all(topics::STATE).await {
            let Some(key) = record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()) else {
                continue;
            };
            let Some(name) =
                key.strip_prefix("default/").filter(|name| self.names.iter().any(|n| n.as_str() == *name))
            else {
                continue;
            };
            assert_eq!(record.partition as u32, range(&self.workspace, &name.parse().expect("a name")) % 8);
            let value: serde_json::Value =
                serde_json::from_slice(record.payload.as_deref().expect("a value")).expect("JSON");
            all.push((
                name.to_owned(),
                value["version"].as_u64().expect("a version"),
                value["value"].as_u64().expect("a value"),
            ));
        }
        all
    }

    /// Stops, lets the mirror come up, and checks everything.
    pub(super) async fn checked(
        &self,
        client: &Client,
        work: Vec<tokio::task::JoinHandle<()>>,
        broke: Instant,
    ) -> Loss {
        self.stop.store(true, Ordering::Relaxed);
        for one in work {
            one.await.expect("no panic");
        }
        let mut end = BTreeMap::new();
        for name in &self.names {
            let entry =
                self.state.get(&self.workspace, name).await.expect("it is served").expect("it is there");
            end.insert(name.to_string(), (entry.version, entry.value.to().expect("a number")));
        }
        let mirror = eventually("the mirror has the newest of each key", WAIT, || async {
            let mirror = self.mirror(client).await;
            // The last record of a key is the one that compaction keeps.
            let last: BTreeMap<_, _> =
                mirror.iter().map(|(key, version, value)| (key.clone(), (*version, *value))).collect();
            (last == end).then_some(mirror)
        })
        .await;
        let acked = self.acked.lock().expect("no panic").clone();
        let mut read = self.seen.lock().expect("no panic").clone();
        // The versions of reads are checked too, but a read before the loss does not say that a write has survived it.
        let twice = check(
            &acked,
            &[read.clone(), mirror.clone()].concat(),
            &end,
            Instant::now() - Duration::from_secs(3600),
        );
        twice.expect("no version has two values");
        read.clear();
        check(&acked, &mirror, &end, broke).expect("the history is right")
    }
}

#[test]
fn the_checker_catches_what_it_is_for() {
    let begin = Instant::now();
    let at = |ms| begin + Duration::from_millis(ms);
    let write =
        |version, value, ms, mirrored| Acked { key: "k".into(), version, value, at: at(ms), mirrored };
    let seen = |version, value| ("k".to_owned(), version, value);
    let end = |version, value| BTreeMap::from([("k".to_owned(), (version, value))]);
    let good = [write(1, 1, 1, false), write(2, 2, 2, true), write(3, 3, 8, false), write(5, 4, 20, false)];
    let kept = [seen(1, 1), seen(2, 2), seen(5, 4)];
    let loss = check(&good, &kept, &end(5, 4), at(10));
    assert_eq!(loss, Ok(Loss { writes: 1, window: Duration::from_millis(2) }));
    let bad =
        |acked: &[Acked], seen: &[Seen], end: &BTreeMap<_, _>| check(acked, seen, end, at(10)).unwrap_err();
    assert!(bad(&good, &[seen(1, 1), seen(2, 2), seen(5, 9)], &end(5, 4)).contains("two values"));
    let mut back = good.clone();
    back[3].version = 3;
    assert!(bad(&back, &kept[..2], &end(3, 4)).contains("two values"));
    back[3].version = 2;
    back[3].value = 2;
    assert!(bad(&back, &kept[..2], &end(2, 2)).contains("do not grow"));
    assert!(bad(&good, &[seen(1, 1), seen(5, 4)], &end(5, 4)).contains("said to have"));
    assert!(bad(&good, &kept, &end(2, 2)).contains("not there"));
    assert!(bad(&good, &[], &end(5, 4)).contains("nothing"));
}
