//! What the requests of a task cost a process that makes them and does nothing else: below this no coordinator on the same machine comes.
//!
//! `cargo run --release -p synod-infra --example task_floor -- KAFKA_BROKERS REDIS_URL [TASKS_PER_S [SECONDS]]`
//!
//! Another process asks at an even pace and plays the agent. For each task this one reads a line, appends a record to Kafka and waits for
//! the acknowledgement, puts the work into a list in Redis, reads the agent's answer, appends a second record and waits for it, answers
//! both, and lets three events and a view go out beside that, gathered as a coordinator gathers them. No HTTP, no JSON, no ledger, no
//! fleet, no heartbeats.

use redis::AsyncCommands as _;
use std::error::Error;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use synod_infra::kafka::{KafkaConfig, Outgoing, Producer, TopicMaker};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

const TOPIC: &str = "task.floor";
const INBOX: &str = "task-floor:inbox";
const PARTITIONS: u32 = 16;
/// How long a coordinator gathers each of them.
const EVENTS_EVERY: Duration = Duration::from_millis(5);
const VIEWS_EVERY: Duration = Duration::from_millis(25);
/// About what a task of 200 bytes takes of each.
const RECORD: usize = 1_200;
const EVENT: usize = 800;
const WORK: usize = 900;
const VIEW: usize = 1_000;
/// How long an answer may take, or the next task.
const LIMIT: Duration = Duration::from_secs(10);

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Floor {
    ledger: Producer,
    redis: redis::aio::MultiplexedConnection,
    /// Tasks that have ended, of which three events and a view have still to go out.
    events: mpsc::Sender<u32>,
    views: mpsc::Sender<u32>,
}

impl Floor {
    /// One record, and its acknowledgement.
    async fn append(&self, task: u32) -> Outcome<()> {
        let (done, acked) = oneshot::channel();
        let out = Outgoing::to(TOPIC).partition((task % PARTITIONS) as i32).payload(vec![b'x'; RECORD]);
        self.ledger.send(out, move |delivery| {
            // Who waits goes only with the process.
            let _ = done.send(delivery.map(drop));
        })?;
        Ok(acked.await??)
    }

    /// A line that says `task ?…` is a task, answered when it stands in the ledger and in the inbox; one that says `task !…` is its
    /// result, answered when that stands in the ledger.
    async fn connection(self: Arc<Floor>, stream: TcpStream) -> Outcome<()> {
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Some(line) = lines.next_line().await? {
            let (task, said) = line.split_once(' ').ok_or("a line without a blank")?;
            let task: u32 = task.parse()?;
            self.append(task).await?;
            if said.starts_with('!') {
                self.events.send(task).await?;
                self.views.send(task).await?;
            } else {
                let work = format!("{task} {}", "x".repeat(WORK));
                let _: u64 = self.redis.clone().lpush(INBOX, work).await?;
            }
            write.write_all(b"ok\n").await?;
        }
        Ok(())
    }
}

async fn publish(producer: Producer, mut ended: mpsc::Receiver<u32>) -> Outcome<()> {
    while let Some(first) = ended.recv().await {
        tokio::time::sleep(EVENTS_EVERY).await;
        let more = std::iter::from_fn(|| ended.try_recv().ok());
        for task in std::iter::once(first).chain(more) {
            for _ in 0..3 {
                let partition = (task % PARTITIONS) as i32;
                let out = Outgoing::to(TOPIC).partition(partition).payload(vec![b'x'; EVENT]);
                producer.send(out, |delivery| {
                    if let Err(error) = delivery {
                        eprintln!("an event was not acknowledged: {error}");
                        std::process::exit(1);
                    }
                })?;
            }
        }
    }
    Ok(())
}

async fn show(mut redis: redis::aio::MultiplexedConnection, mut ended: mpsc::Receiver<u32>) -> Outcome<()> {
    while let Some(first) = ended.recv().await {
        tokio::time::sleep(VIEWS_EVERY).await;
        let more = std::iter::from_fn(|| ended.try_recv().ok());
        let mut views = redis::pipe();
        for task in std::iter::once(first).chain(more) {
            let view = format!("task-floor:view:{}", task % 1_000);
            views.set_ex(view, vec![b'x'; VIEW], 60).ignore();
        }
        views.query_async::<()>(&mut redis).await?;
    }
    Ok(())
}

/// The other process: asks at an even pace, and answers what it finds in the inbox. Ends well when each task has ended.
async fn drive(address: &str, redis: &str, per_s: u32, seconds: u32) -> Outcome<()> {
    let tasks = per_s * seconds;
    let mut inbox = redis::Client::open(redis)?.get_multiplexed_async_connection().await?;
    inbox.set_response_timeout(LIMIT * 2);
    let _: u64 = inbox.del(INBOX).await?;
    let agent = async {
        let (results, mut working) = (Pool::new(address), JoinSet::new());
        for _ in 0..tasks {
            let found: Option<(String, String)> = inbox.brpop(INBOX, LIMIT.as_secs_f64()).await?;
            let (_, work) = found.ok_or("a task does not come")?;
            let task = work.split_once(' ').ok_or("work without a blank")?.0.to_owned();
            let results = results.clone();
            working.spawn(async move { results.say(&format!("{task} !{}", "r".repeat(300))).await });
        }
        all(working).await
    };
    let client = async {
        let (asking, mut asked) = (Pool::new(address), JoinSet::new());
        let mut pace = tokio::time::interval(Duration::from_secs(1) / per_s);
        for task in 0..tasks {
            pace.tick().await;
            let asking = asking.clone();
            asked.spawn(async move { asking.say(&format!("{task} ?{}", "q".repeat(300))).await });
        }
        all(asked).await
    };
    tokio::try_join!(agent, client)?;
    Ok(())
}

async fn all(mut running: JoinSet<Outcome<()>>) -> Outcome<()> {
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    Ok(())
}

/// Connections that nobody uses just now.
#[derive(Clone)]
struct Pool {
    address: Arc<str>,
    idle: Arc<tokio::sync::Mutex<Vec<BufReader<TcpStream>>>>,
}

impl Pool {
    fn new(address: &str) -> Pool {
        Pool { address: address.into(), idle: Arc::default() }
    }

    /// Says a line, and waits for the answer.
    async fn say(&self, line: &str) -> Outcome<()> {
        let idle = self.idle.lock().await.pop();
        let mut stream = match idle {
            Some(stream) => stream,
            None => {
                let stream = TcpStream::connect(&*self.address).await?;
                stream.set_nodelay(true)?;
                BufReader::new(stream)
            }
        };
        stream.write_all(format!("{line}\n").as_bytes()).await?;
        let mut answer = String::new();
        tokio::time::timeout(LIMIT, stream.read_line(&mut answer)).await??;
        if answer != "ok\n" {
            return Err(format!("{answer:?} instead of an answer").into());
        }
        self.idle.lock().await.push(stream);
        Ok(())
    }
}

/// Processor time that this process has taken, in seconds.
fn cpu_s() -> Outcome<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let number = |n: usize, usual: u32| args.get(n).map_or(Ok(usual), |text| text.parse());
    if args.first().is_some_and(|first| first == "--drive") {
        return drive(&args[1], &args[2], number(3, 100)?, number(4, 10)?).await;
    }
    let [brokers, redis] = [0, 1].map(|n| args.get(n).cloned().ok_or("KAFKA_BROKERS REDIS_URL"));
    let (brokers, redis, per_s, seconds) = (brokers?, redis?, number(2, 100)?, number(3, 10)?);
    let config = KafkaConfig::new(brokers, "task-floor");
    TopicMaker::new(&config).ensure_one(TOPIC, PARTITIONS, 1, Duration::from_secs(20)).await?;
    let connection = redis::Client::open(redis.clone())?.get_multiplexed_async_connection().await?;
    let ((events, published), (views, shown)) = (mpsc::channel(1_024), mpsc::channel(1_024));
    let mut beside = JoinSet::new();
    beside.spawn(publish(Producer::new(&config.named("task-floor-events"))?, published));
    beside.spawn(show(connection.clone(), shown));
    let ledger = Producer::new(&config.named("task-floor-ledger"))?;
    let floor = Arc::new(Floor { ledger, redis: connection, events, views });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    beside.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                come = listener.accept() => drop(connections.spawn(floor.clone().connection(come?.0))),
                Some(ended) = connections.join_next() => ended??,
            }
        }
    });
    for round in 1..=3 {
        let (began, before) = (std::time::Instant::now(), cpu_s()?);
        let driver = tokio::process::Command::new(std::env::current_exe()?)
            .args(["--drive", &address, &redis, &per_s.to_string(), &seconds.to_string()])
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .status();
        let driven = tokio::select! {
            driven = driver => driven?,
            Some(ended) = beside.join_next() => return ended?.and(Err("a part has ended".into())),
        };
        if !driven.success() {
            return Err("the process that asks has failed".into());
        }
        let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_s()? - before);
        let share = 100.0 * cpu / took;
        println!(
            "round {round}: {} tasks, {per_s}/s: {share:.1} % of a core, {:.0} µs a task",
            per_s * seconds,
            1e6 * cpu / f64::from(per_s * seconds)
        );
    }
    Ok(())
}
