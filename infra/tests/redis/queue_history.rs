//! Recorded histories: processes that put in, take and settle, some killed, some stopped for longer than their leases,
//! some over connections that lose answers. What is recorded must be possible.

use super::process::{Actor, signal};
use super::queues::Line;
use super::{Bench, SECOND, until};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use synod_infra::primitives::queues::Queues;
use synod_infra::redis::{Redis, RedisConfig};
use synod_protocol::primitives::queue::{LeaseRequest, Leased, Nack, NewMessage};
use synod_protocol::{Code, Json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Short enough that who is stopped for a while has lost it.
const VISIBILITY: Duration = Duration::from_millis(250);

/// What one process saw or did, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    /// It was given this delivery under this receipt.
    Got(String, u64, String),
    /// It is about to acknowledge under this receipt: whether it does may never be known.
    Tries(String, String),
    /// It was told that this is acknowledged.
    Acked(String, String),
    /// It was told that this receipt counts no more.
    Fenced(String, String),
}

fn read(line: &str) -> Option<Seen> {
    let mut words = line.split(' ');
    let mut word = || words.next().unwrap_or_default().to_owned();
    match word().as_str() {
        "got" => Some(Seen::Got(word(), word().parse().ok()?, word())),
        "tries" => Some(Seen::Tries(word(), word())),
        "acked" => Some(Seen::Acked(word(), word())),
        "fenced" => Some(Seen::Fenced(word(), word())),
        _ => None,
    }
}

/// What cannot be, in what all processes recorded of messages of which each was put in once and none is left.
fn impossible(put: &BTreeSet<String>, seen: &[Seen]) -> Vec<String> {
    let mut wrong = Vec::new();
    let (mut given, mut receipts) =
        (BTreeMap::<(&str, u64), &str>::new(), BTreeMap::<&str, (&str, u64)>::new());
    for event in seen {
        if let Seen::Got(id, delivery, receipt) = event {
            if !put.contains(id) {
                wrong.push(format!("{id} was never put in"));
            }
            if let Some(other) = given.insert((id, *delivery), receipt) {
                wrong.push(format!("delivery {delivery} of {id} was given twice: {other}, {receipt}"));
            }
            if let Some(other) = receipts.insert(receipt, (id, *delivery)) {
                wrong.push(format!("{receipt} is of {other:?} and of {id}, {delivery}"));
            }
        }
    }
    let (mut acked, mut tried) = (BTreeMap::<&str, &str>::new(), BTreeSet::new());
    for event in seen {
        match event {
            Seen::Acked(id, receipt) => {
                if let Some(other) = acked.insert(id, receipt).filter(|other| other != receipt) {
                    wrong.push(format!("{id} was acknowledged twice: {other}, {receipt}"));
                }
                match receipts.get(receipt.as_str()) {
                    Some((of, delivery)) if of == id => {
                        if given.range((*of, delivery + 1)..=(*of, u64::MAX)).next().is_some() {
                            wrong.push(format!(
                                "{id} was acknowledged under {receipt}, and given to another after it"
                            ));
                        }
                    }
                    other => {
                        wrong.push(format!("{id} was acknowledged under {receipt}, which is of {other:?}"));
                    }
                }
            }
            Seen::Tries(id, _) => drop(tried.insert(id.as_str())),
            _ => {}
        }
    }
    // Whose end nobody saw, but somebody tried: the answer was lost.
    wrong.extend(
        put.iter()
            .filter(|id| !acked.contains_key(id.as_str()) && !tried.contains(id.as_str()))
            .map(|id| format!("{id} was lost")),
    );
    wrong
}

fn say(line: &str) {
    // In one write, so that a kill leaves it whole or not at all.
    println!("say:{line}");
}

/// The role of a consumer: `<url> <queue> <name>`. One called `thief` settles under whatever receipt is in force, as if
/// none were asked for.
pub(super) async fn consume(argument: &str) {
    let words: Vec<&str> = argument.split(' ').collect();
    let [url, queue, name] = words[..] else { panic!("{argument}") };
    let line = Line {
        queues: Queues::new(Redis::new(RedisConfig::new(url)).unwrap()),
        workspace: "w-1".parse().unwrap(),
        name: queue.parse().unwrap(),
    };
    say("ready");
    let mut turn = 0usize;
    loop {
        let request =
            LeaseRequest { limit: Some(3), wait_ms: Some(500), ..LeaseRequest::new(name, VISIBILITY) };
        // An answer that is lost has used up a delivery: others get it in time.
        let items = line.queues.lease(&line.workspace, &line.name, &request, None).await.unwrap_or_default();
        for message in &items {
            say(&format!("got {} {} {}", message.message_id, message.delivery, message.receipt));
        }
        for message in &items {
            turn += 1;
            match turn % 7 {
                // It forgets one, gives one back, and comes late with one.
                0 => continue,
                1 => give_back(&line, message).await,
                2 => {
                    tokio::time::sleep(VISIBILITY + Duration::from_millis(20)).await;
                    acknowledge(&line, message, url, name == "thief").await;
                }
                _ => acknowledge(&line, message, url, false).await,
            }
        }
    }
}

async fn give_back(line: &Line, message: &Leased) {
    let nack = Nack { receipt: message.receipt.clone(), delay_ms: Some(5), reason: None };
    let id = message.message_id.parse().unwrap();
    let _ = line.queues.nack(&line.workspace, &line.name, &id, &nack, None).await;
}

/// As often as it takes to hear what became of it, up to a limit.
async fn acknowledge(line: &Line, message: &Leased, url: &str, steals: bool) {
    let (id, receipt) = (&message.message_id, &message.receipt);
    say(&format!("tries {id} {receipt}"));
    for _ in 0..5 {
        let in_force = if steals { stolen(line, id, url).await } else { None };
        let used = in_force.as_ref().unwrap_or(receipt);
        let done = line.queues.ack(&line.workspace, &line.name, &id.parse().unwrap(), used, None).await;
        match done {
            Ok(()) => return say(&format!("acked {id} {receipt}")),
            Err(error) if error.code == Code::Fenced => return say(&format!("fenced {id} {receipt}")),
            Err(_) => {}
        }
    }
}

/// The receipt that a message is leased under now, read where no client reads it.
async fn stolen(line: &Line, id: &str, url: &str) -> Option<String> {
    let mut raw = super::raw(url).await;
    let key = format!("synod:{{{}/{}}}:queue:messages", line.workspace, line.name);
    let meta: Option<Vec<u8>> =
        redis::cmd("HGET").arg(key).arg(format!("m{id}")).query_async(&mut raw).await.ok()?;
    let text: String = meta?.iter().map(|b| if b.is_ascii_graphic() { *b as char } else { ' ' }).collect();
    // `<deliveries>-<32 hexadecimal digits>-<n>`, behind its length.
    let word = text.split(' ').find(|w| w.len() > 34 && w.contains('-'))?;
    let from = word.find('-')? - 1;
    Some(word[from..].chars().take_while(|c| c.is_ascii_hexdigit() || *c == '-').collect())
}

/// A way to the server on which every so manieth answer is lost together with the connection.
async fn losing(port: u16, every: usize) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let answers = Arc::new(AtomicUsize::new(0));
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
            let answers = answers.clone();
            tokio::spawn(async move {
                let (mut out, mut back) = ([0u8; 16_384], [0u8; 16_384]);
                loop {
                    let done = tokio::select! {
                        n = client.read(&mut out) => match n {
                            Ok(n) if n > 0 => server.write_all(&out[..n]).await,
                            _ => return,
                        },
                        n = server.read(&mut back) => match n {
                            Ok(n) if n > 0 && answers.fetch_add(1, Ordering::Relaxed) % every != every - 1 => {
                                client.write_all(&back[..n]).await
                            }
                            _ => return,
                        },
                    };
                    if done.is_err() {
                        return;
                    }
                }
            });
        }
    });
    url
}

/// A consumer in a process of its own, what it says recorded until it ends.
struct Consumer {
    actor: Actor,
    pid: u32,
}

fn start(url: &str, name: &str, seen: &Arc<Mutex<Vec<Seen>>>) -> (u32, std::thread::JoinHandle<()>) {
    let mut consumer = {
        let actor = Actor::start("consume", &format!("{url} q {name}"));
        Consumer { pid: actor.child.id(), actor }
    };
    assert_eq!(consumer.actor.hear(), "ready");
    let (pid, seen) = (consumer.pid, seen.clone());
    let recording = std::thread::spawn(move || {
        while let Some(line) = consumer.actor.hear_more() {
            seen.lock().unwrap().extend(read(&line));
        }
    });
    (pid, recording)
}

/// Puts messages in, each with an id: a call whose answer is lost is repeated.
async fn produce(line: Line, producer: usize, count: usize) -> Vec<String> {
    let mut put = Vec::new();
    for n in 0..count {
        let id = format!("p{producer}-{n}");
        let new = NewMessage {
            message_id: Some(id.clone()),
            delay_ms: (n % 9 == 0).then_some(30),
            priority: Some(n as u64 % 10),
            max_deliveries: Some(1_000),
            ..NewMessage::new(Json::of(&n).unwrap())
        };
        while line
            .queues
            .enqueue(&line.workspace, &line.name, std::slice::from_ref(&new), None)
            .await
            .is_err()
        {}
        put.push(id);
    }
    put
}

/// Everything above at once; what was put in and what was recorded.
async fn history(thieves: usize, count: usize) -> (BTreeSet<String>, Vec<Seen>) {
    let bench = Bench::start().await;
    let (direct, lossy) = (bench.server.url(), losing(bench.server.port(), 23).await);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut consumers =
        vec![start(&lossy, "c0", &seen), start(&direct, "c1", &seen), start(&direct, "c2", &seen)];
    consumers.extend((0..thieves).map(|_| start(&direct, "thief", &seen)));
    let producers: Vec<_> = [&direct, &lossy, &lossy]
        .into_iter()
        .enumerate()
        .map(|(n, url)| {
            let queues = Queues::new(Redis::new(RedisConfig::new(url)).unwrap());
            tokio::spawn(produce(Line { queues, ..Line::of(&bench, "q") }, n, count))
        })
        .collect();
    let line = Line::of(&bench, "q");
    for n in 0..4 {
        let got = |seen: &Vec<Seen>| seen.iter().filter(|s| matches!(s, Seen::Got(..))).count();
        let before = got(&seen.lock().unwrap());
        let more = async || got(&seen.lock().unwrap()) > before + 40 || line.counts().await == [0; 4];
        until("they work", 60 * SECOND, more).await;
        // One is stopped for longer than its leases, and one is killed and another takes its place.
        signal(consumers[n % 2].0, "-STOP");
        signal(consumers[2].0, "-KILL");
        consumers[2] = start(&direct, &format!("c{}", n + 3), &seen);
        tokio::time::sleep(2 * VISIBILITY).await; // the stop itself
        signal(consumers[n % 2].0, "-CONT");
    }
    let mut put = BTreeSet::new();
    for producer in producers {
        put.extend(producer.await.unwrap());
    }
    until("all is done", 120 * SECOND, async || line.counts().await == [0; 4]).await;
    for (pid, recording) in consumers {
        // What was answered is said before the end: an ack that is under way is among those tried.
        signal(pid, "-KILL");
        recording.join().unwrap();
    }
    let seen = seen.lock().unwrap().clone();
    (put, seen)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn through_kills_stops_and_lost_answers_each_message_is_done_once() {
    let (put, seen) = history(0, 120).await;
    let count = |what: fn(&Seen) -> bool| seen.iter().filter(|s| what(s)).count();
    let acked = count(|s| matches!(s, Seen::Acked(..)));
    let (got, fenced) = (count(|s| matches!(s, Seen::Got(..))), count(|s| matches!(s, Seen::Fenced(..))));
    println!("{} put in, {got} deliveries, {acked} acknowledged, {fenced} came too late", put.len());
    assert_eq!(impossible(&put, &seen), Vec::<String>::new());
    assert!(fenced > 0 && got > put.len(), "nothing was late: the history shows nothing");
}

/// The same with a consumer for which receipts do not count: this must be found.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ack_without_its_receipt_is_found_in_the_history() {
    let (put, seen) = history(2, 120).await;
    let wrong = impossible(&put, &seen);
    assert!(wrong.iter().any(|w| w.contains("given to another after it")), "{wrong:?}");
}

#[test]
fn what_is_impossible_is_found() {
    let check = |lines: &[&str], found: &[&str]| {
        let put = ["a".to_owned()].into();
        let seen: Vec<Seen> = lines.iter().filter_map(|line| read(line)).collect();
        let wrong = impossible(&put, &seen);
        assert!(
            wrong.len() == found.len() && wrong.iter().zip(found).all(|(w, f)| w.contains(f)),
            "{wrong:?}"
        );
    };
    check(&["got a 1 r1", "tries a r1", "acked a r1", "acked a r1"], &[]);
    check(&["got a 1 r1", "got a 2 r2", "tries a r1", "fenced a r1", "acked a r2"], &[]);
    check(&["got a 1 r1", "tries a r1"], &[]);
    check(&["got a 1 r1"], &["lost"]);
    check(&["got a 1 r1", "got a 1 r2", "acked a r2"], &["given twice"]);
    check(&["got a 1 r1", "got a 2 r1", "acked a r1"], &["is of"]);
    check(&["got a 1 r1", "acked a r1", "got a 2 r2"], &["given to another after it"]);
    check(
        &["got a 1 r1", "got a 2 r2", "acked a r2", "acked a r1"],
        &["acknowledged twice", "given to another"],
    );
    check(&["got a 1 r1", "acked a r9"], &["which is of None"]);
    check(&["got b 1 r1", "acked a r9"], &["never put in", "which is of None"]);
}
