//! Many clients at once, some killed, some paused, some whose answers are lost: every key's history is linearizable.

use super::*;
use crate::linear::{Timed, check};
use crate::process::Actor;
use nix::sys::signal::{Signal, kill};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use std::io::Write as _;
use std::path::Path;
use synod_infra::redis::{Redis, RedisConfig};
use synod_protocol::{Applied, Code};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Keys that all write.
const KEYS: u64 = 3;

/// What a writer demands; a version that it has seen.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Demand {
    Nothing,
    Version(u64),
    Absent,
}

/// An operation and its answer, where there is one: a version, or the one in force.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
enum Did {
    Read(Option<Option<(u64, u64)>>),
    Put(u64, Demand, Option<Result<u64, u64>>),
    Delete(Demand, Option<Result<Option<u64>, u64>>),
}

/// What a key is: its value and version, if it is there. The version of a write without an answer is not known before
/// somebody sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Model {
    there: Option<(u64, Option<u64>)>,
    last: u64,
}

impl Model {
    /// The state in which this is the version in force, 0: not there.
    fn at(&self, version: u64) -> Option<Model> {
        match self.there {
            None => (version == 0).then(|| self.clone()),
            Some((_, Some(known))) => (known == version).then(|| self.clone()),
            Some((value, None)) => {
                (version > self.last).then_some(Model { there: Some((value, Some(version))), last: version })
            }
        }
    }

    /// The states in which the demand is met.
    fn meeting(&self, demand: Demand) -> Option<Model> {
        match demand {
            Demand::Nothing => Some(self.clone()),
            Demand::Version(version) => self.at(version),
            Demand::Absent => self.at(0),
        }
    }

    fn refused(&self, demand: Demand, current: u64) -> Option<Model> {
        let wrong = match demand {
            Demand::Nothing => false,
            Demand::Version(version) => version != current,
            Demand::Absent => current != 0,
        };
        self.at(current).filter(|_| wrong)
    }

    fn step(&self, did: &Did) -> Vec<Model> {
        let stays = || Some(self.clone());
        let after = |version: u64, value: Option<u64>| {
            move |before: Model| {
                let there = value.map(|value| (value, Some(version)));
                (version > before.last).then_some(Model { there, last: version })
            }
        };
        let next = match *did {
            Did::Read(None) => stays(),
            Did::Read(Some(None)) => self.at(0),
            Did::Read(Some(Some((version, value)))) => {
                self.at(version).filter(|model| model.there.is_some_and(|(there, _)| there == value))
            }
            Did::Put(value, demand, Some(Ok(version))) => {
                self.meeting(demand).and_then(after(version, Some(value)))
            }
            Did::Put(value, demand, None) => {
                self.meeting(demand).map(|before| Model { there: Some((value, None)), last: before.last })
            }
            Did::Put(_, demand, Some(Err(current))) | Did::Delete(demand, Some(Err(current))) => {
                self.refused(demand, current)
            }
            Did::Delete(demand, Some(Ok(Some(version)))) => {
                self.meeting(demand).filter(|m| m.there.is_some()).and_then(after(version, None))
            }
            Did::Delete(demand, Some(Ok(None))) => self.meeting(demand).and_then(|m| m.at(0)),
            Did::Delete(demand, None) => {
                self.meeting(demand).map(|before| Model { there: None, last: before.last })
            }
        };
        next.into_iter().collect()
    }
}

/// The time by a clock that all processes share and that never runs back, in ns.
fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).unwrap();
    time.tv_sec() as u64 * 1_000_000_000 + time.tv_nsec() as u64
}

/// A client: what it does, and what it writes down of it, each line at once.
struct Client {
    state: State,
    writer: Writer,
    number: u64,
    record: std::fs::File,
    /// Ignores versions, as a put that looks first and then writes would.
    broken: bool,
}

#[derive(Serialize, Deserialize)]
struct Line {
    client: u64,
    n: u64,
    key: u64,
    at: u64,
    /// Not there yet: it is asked. Answered with nothing: it is not known. `None` within: it was not done.
    did: Did,
    answered: bool,
    void: bool,
}

impl Client {
    fn of(state: State, number: u64, record: &Path) -> Client {
        let writer = Writer::new("w-1".parse().unwrap(), format!("client-{number}"));
        Client { state, writer, number, record: std::fs::File::create(record).unwrap(), broken: false }
    }

    fn note(&mut self, line: &Line) {
        let text = serde_json::to_string(line).unwrap() + "\n";
        self.record.write_all(text.as_bytes()).unwrap();
    }

    /// Does so many operations, by a chance that its number decides.
    async fn work(mut self, count: u64) {
        let mut seen = [0u64; KEYS as usize];
        let mut chance = self.number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        for n in 0..count {
            chance ^= chance << 13;
            chance ^= chance >> 7;
            chance ^= chance << 17;
            let (key, kind) = (chance % KEYS, chance / KEYS % 10);
            let known = seen[key as usize];
            let demand = if known == 0 { Demand::Absent } else { Demand::Version(known) };
            let value = self.number * 1_000_000 + n;
            let asked = match kind {
                0..3 => Did::Read(None),
                3..5 => Did::Put(value, Demand::Nothing, None),
                5..9 => Did::Put(value, demand, None),
                _ => Did::Delete(if chance & 1 << 40 == 0 { Demand::Nothing } else { demand }, None),
            };
            let client = self.number;
            let line = |at, did, answered, void| Line { client, n, key, at, did, answered, void };
            let before = line(now(), asked, false, false);
            self.note(&before);
            let result = self.ask(key, asked).await;
            let at = now();
            let after = match result {
                Ok(did) => line(at, did, true, false),
                Err(error) if error.applied == Some(Applied::Unknown) => line(at, asked, false, false),
                Err(_) => line(at, asked, false, true),
            };
            match after.did {
                _ if !after.answered => {}
                Did::Read(Some(found)) => seen[key as usize] = found.map_or(0, |(version, _)| version),
                Did::Put(_, _, Some(Ok(version) | Err(version))) => seen[key as usize] = version,
                _ => seen[key as usize] = 0,
            }
            self.note(&after);
        }
    }

    async fn ask(&self, key: u64, did: Did) -> Result<Did, Error> {
        let key = name(&format!("shared/{key}"));
        let condition = |demand| match demand {
            Demand::Nothing => Condition::None,
            Demand::Version(version) => Condition::Version(version),
            Demand::Absent => Condition::Absent,
        };
        let refused = |error: Error| match (error.code, error.current_version) {
            (Code::Conflict, Some(current)) => Ok(current),
            _ => Err(error),
        };
        match did {
            Did::Read(_) => {
                let found = self.state.get(&self.writer.workspace, &key).await?;
                Ok(Did::Read(Some(found.map(|e| (e.version, e.value.to().unwrap())))))
            }
            Did::Put(value, demand, _) => {
                let mut condition = condition(demand);
                if let (true, Condition::Version(version)) = (self.broken, condition) {
                    let there = self.state.get(&self.writer.workspace, &key).await?.map_or(0, |e| e.version);
                    if there != version {
                        return Ok(Did::Put(value, demand, Some(Err(there))));
                    }
                    condition = Condition::None;
                }
                match self.state.put(&self.writer, &key, put(&value.to_string()), condition).await {
                    Ok(written) => Ok(Did::Put(value, demand, Some(Ok(written.entry.version)))),
                    Err(error) => refused(error).map(|current| Did::Put(value, demand, Some(Err(current)))),
                }
            }
            Did::Delete(demand, _) => match self.state.delete(&self.writer, &key, condition(demand)).await {
                Ok(removed) => Ok(Did::Delete(demand, Some(Ok(removed.map(|r| r.tombstone.version))))),
                Err(error) => refused(error).map(|current| Did::Delete(demand, Some(Err(current)))),
            },
        }
    }
}

/// The role of another process: `<url> <number> <file>`.
pub(crate) async fn play(argument: &str) {
    let [url, number, file] = argument.split(' ').collect::<Vec<_>>()[..] else { panic!("{argument}") };
    let state = State::new(Redis::new(RedisConfig::new(url)).unwrap());
    println!("say:begun");
    Client::of(state, number.parse().unwrap(), Path::new(file)).work(u64::MAX).await;
}

/// The histories of the keys, from what all clients wrote down.
fn histories(folder: &Path) -> Vec<Vec<Timed<Did>>> {
    let mut keys: Vec<Vec<Timed<Did>>> = (0..KEYS).map(|_| Vec::new()).collect();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        // The last line of one that was killed may be half a line.
        let mut lines = text.lines().map_while(|line| serde_json::from_str::<Line>(line).ok()).peekable();
        while let Some(asked) = lines.next() {
            let after = lines.next_if(|after| after.n == asked.n);
            if after.as_ref().is_some_and(|after| after.void) {
                continue;
            }
            let answered = after.as_ref().filter(|after| after.answered).map(|after| after.at);
            // What was only read and not answered says nothing.
            if answered.is_none() && matches!(asked.did, Did::Read(_)) {
                continue;
            }
            let did = after.filter(|after| after.answered).map_or(asked.did, |after| after.did);
            keys[asked.key as usize].push(Timed { called: asked.at, answered, op: did });
        }
    }
    keys.iter_mut().for_each(|history| history.sort_by_key(|timed| timed.called));
    keys
}

fn explained(folder: &Path) -> Result<usize, String> {
    let mut operations = 0;
    for (key, history) in histories(folder).iter().enumerate() {
        operations += history.len();
        let all = history.len();
        check(history, &Model::default(), Model::step)
            .map_err(|longest| format!("key {key}: {longest} of {all} operations are explained"))?;
    }
    Ok(operations)
}

async fn clients(room: &Room, folder: &Path, count: u64, broken: bool) {
    let mut all = tokio::task::JoinSet::new();
    for number in 0..8 {
        let state = State::new(Redis::new(RedisConfig::new(room.bench.server.url())).unwrap());
        let client = Client { broken, ..Client::of(state, number, &folder.join(number.to_string())) };
        all.spawn(client.work(count));
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
}

#[test]
fn the_checker_knows_right_from_wrong() {
    let known = |called, answered, op| Timed { called, answered: Some(answered), op };
    let unknown = |called, op| Timed { called, answered: None, op };
    let put = |value, demand, version| Did::Put(value, demand, Some(Ok(version)));
    let read = |version, value| Did::Read(Some(Some((version, value))));
    let nothing = Demand::Nothing;
    let check = |what: &str, history: &[Timed<Did>], right: bool| {
        assert_eq!(check(history, &Model::default(), Model::step).is_ok(), right, "{what}");
    };
    check("one after the other", &[known(0, 1, put(1, nothing, 5)), known(2, 3, read(5, 1))], true);
    check(
        "an old value",
        &[known(0, 1, put(1, nothing, 5)), known(2, 3, put(2, nothing, 6)), known(4, 5, read(5, 1))],
        false,
    );
    check(
        "at the same time",
        &[known(0, 9, put(1, nothing, 5)), known(1, 3, Did::Read(Some(None))), known(4, 5, read(5, 1))],
        true,
    );
    check(
        "back again",
        &[known(0, 9, put(1, nothing, 5)), known(1, 3, read(5, 1)), known(4, 5, Did::Read(Some(None)))],
        false,
    );
    check("a version twice", &[known(0, 1, put(1, nothing, 5)), known(2, 3, put(2, nothing, 5))], false);
    check("a version that falls", &[known(0, 1, put(1, nothing, 5)), known(2, 3, put(2, nothing, 4))], false);
    let both = [
        known(0, 1, put(1, nothing, 5)),
        known(2, 9, put(2, Demand::Version(5), 6)),
        known(2, 9, put(3, Demand::Version(5), 7)),
    ];
    check("two who knew the same version", &both, false);
    let told = [
        known(0, 1, put(1, nothing, 5)),
        known(2, 9, put(2, Demand::Version(5), 6)),
        known(2, 9, Did::Put(3, Demand::Version(5), Some(Err(6)))),
    ];
    check("one of them told", &told, true);
    let lost = Did::Put(1, nothing, None);
    check("without an answer, done", &[unknown(0, lost), known(5, 6, read(9, 1))], true);
    check("without an answer, not done", &[unknown(0, lost), known(5, 6, Did::Read(Some(None)))], true);
    check(
        "done late",
        &[unknown(0, lost), known(5, 6, Did::Read(Some(None))), known(7, 8, read(9, 1))],
        true,
    );
    check(
        "and undone",
        &[unknown(0, lost), known(5, 6, read(9, 1)), known(7, 8, Did::Read(Some(None)))],
        false,
    );
    check("before it was asked", &[known(0, 1, read(9, 1)), unknown(5, lost)], false);
    let gone = Did::Delete(nothing, Some(Ok(Some(6))));
    check(
        "removed",
        &[known(0, 1, put(1, nothing, 5)), known(2, 3, gone), known(4, 5, put(1, Demand::Absent, 7))],
        true,
    );
    check(
        "a version again",
        &[known(0, 1, put(1, nothing, 5)), known(2, 3, gone), known(4, 5, put(1, Demand::Absent, 6))],
        false,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_at_once_are_linearizable() {
    let (room, folder) = (Room::open().await, tempfile::tempdir().unwrap());
    clients(&room, folder.path(), 150, false).await;
    assert_eq!(explained(folder.path()), Ok(8 * 150));
}

/// The planted bug: a put that looks at the version and then writes whatever is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_ignores_the_version_is_caught() {
    for round in 0..20 {
        let (room, folder) = (Room::open().await, tempfile::tempdir().unwrap());
        clients(&room, folder.path(), 60, true).await;
        if let Err(why) = explained(folder.path()) {
            println!("caught in round {round}: {why}");
            return;
        }
    }
    panic!("never caught");
}

/// Carries what passes, and cuts each connection instead of carrying one of its first answers.
async fn cutting(port: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut answers = 0u64;
        while let Ok((mut client, _)) = listener.accept().await {
            answers += 5;
            let lives = 5 + answers % 11;
            tokio::spawn(async move {
                let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
                let (mut from_client, mut from_server) = (vec![0; 65_536], vec![0; 65_536]);
                let mut passed = 0;
                loop {
                    tokio::select! {
                        n = client.read(&mut from_client) => match n {
                            Ok(n) if n > 0 => server.write_all(&from_client[..n]).await.unwrap(),
                            _ => return,
                        },
                        n = server.read(&mut from_server) => match n {
                            // The server has done it, and nobody hears of it.
                            Ok(n) if n > 0 && passed < lives => {
                                passed += 1;
                                if client.write_all(&from_server[..n]).await.is_err() {
                                    return;
                                }
                            }
                            _ => return,
                        },
                    }
                }
            });
        }
    });
    url
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_whose_answers_are_lost_are_linearizable() {
    let (room, folder) = (Room::open().await, tempfile::tempdir().unwrap());
    let url = cutting(room.bench.server.port()).await;
    let mut all = tokio::task::JoinSet::new();
    for number in 0..4 {
        let through = State::new(Redis::new(RedisConfig::new(&url)).unwrap());
        let client = Client::of(through, number, &folder.path().join(number.to_string()));
        all.spawn(client.work(80));
    }
    while let Some(ended) = all.join_next().await {
        ended.unwrap();
    }
    let unknown = histories(folder.path()).iter().flatten().filter(|timed| timed.answered.is_none()).count();
    assert!(unknown > 5, "few answers were lost: {unknown}");
    println!("{unknown} operations without an answer");
    explained(folder.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_that_are_killed_and_paused_are_linearizable() {
    let (room, folder) = (Room::open().await, tempfile::tempdir().unwrap());
    let start = |number: u64| {
        let file = folder.path().join(number.to_string());
        Actor::start("write_state", &format!("{} {number} {}", room.bench.server.url(), file.display()))
    };
    let mut actors: Vec<Actor> = (0..4).map(start).collect();
    actors.iter_mut().for_each(|actor| assert_eq!(actor.hear(), "begun"));
    let count = |number: u64| {
        std::fs::read_to_string(folder.path().join(number.to_string())).map_or(0, |text| text.lines().count())
    };
    let grown = async |number: u64, by: usize| {
        let before = count(number);
        until("the client writes on", 10 * SECOND, async || count(number) > before + by).await;
    };
    for round in 0..3u64 {
        // One is paused in the middle of its work while the others write, another is killed and a new one comes.
        let paused = &actors[(round % 2) as usize].child;
        let pid = Pid::from_raw(paused.id() as i32);
        kill(pid, Signal::SIGSTOP).unwrap();
        grown(2, 20).await;
        actors.last_mut().unwrap().kill();
        actors.push(start(4 + round));
        assert_eq!(actors.last_mut().unwrap().hear(), "begun");
        grown(4 + round, 20).await;
        kill(pid, Signal::SIGCONT).unwrap();
        grown(round % 2, 20).await;
    }
    actors.iter_mut().for_each(|actor| drop((actor.child.kill(), actor.child.wait())));
    let histories = histories(folder.path());
    let unknown = histories.iter().flatten().filter(|timed| timed.answered.is_none()).count();
    println!("{} operations, {unknown} without an answer", histories.iter().map(Vec::len).sum::<usize>());
    explained(folder.path()).unwrap();
}
