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
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use synod_infra::kafka::{KafkaConfig, Outgoing, Producer, TopicMaker};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

const TOPIC: &str = "task.floor";
const INBOX: &str = "task-floor:inbox";
const PARTITIONS: u32 = 16;
const GATHERED: Duration = Duration::from_millis(25);
/// About what a task of 200 bytes takes of each.
const RECORD: usize = 1_200;
const EVENT: usize = 800;
const WORK: usize = 900;
const VIEW: usize = 1_000;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

struct Floor {
    ledger: Producer,
    events: Producer,
    redis: redis::aio::MultiplexedConnection,
    /// Tasks of which events and a view have still to go out.
    ended: Mutex<Vec<u32>>,
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

    /// A line that ends in `?` is a task and is answered when its result has come on another connection.
    async fn connection(self: Arc<Floor>, stream: TcpStream) -> Outcome<()> {
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        let mut lines = BufReader::new(read).lines();
        while let Some(line) = lines.next_line().await? {
            let (task, is_result) = line.split_once(' ').ok_or("a line without a blank")?;
            let task: u32 = task.parse()?;
            self.append(task).await?;
            if is_result.starts_with('!') {
                self.ended.lock().unwrap_or_else(PoisonError::into_inner).push(task);
            } else {
                let work = format!("{task} {}", "x".repeat(WORK));
                let _: u64 = self.redis.clone().lpush(INBOX, work).await?;
            }
            write.write_all(b"ok\n").await?;
        }
        Ok(())
    }

    async fn gather(self: Arc<Floor>) -> Outcome<()> {
        loop {
            tokio::time::sleep(GATHERED).await;
            let ended = std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner));
            let mut views = redis::pipe();
            for task in ended {
                for _ in 0..3 {
                    let partition = (task % PARTITIONS) as i32;
                    let out = Outgoing::to(TOPIC).partition(partition).payload(vec![b'x'; EVENT]);
                    self.events.send(out, drop)?;
                }
                let view = format!("task-floor:view:{}", task % 1_000);
                views.set_ex(view, vec![b'x'; VIEW], 60).ignore();
            }
            if !views.is_empty() {
                views.query_async::<()>(&mut self.redis.clone()).await?;
            }
        }
    }
}

/// The other process: asks at an even pace, and answers what it finds in the inbox.
async fn drive(address: &str, redis: &str, per_s: u64, seconds: u64) -> Outcome<()> {
    let client = redis::Client::open(redis)?;
    let mut inbox = client.get_multiplexed_async_connection().await?;
    let results = pooled(address).await?;
    let agent = tokio::spawn(async move {
        loop {
            let found: Option<(String, String)> = inbox.brpop(INBOX, 0.4).await.unwrap_or_default();
            let Some((_, work)) = found else { continue };
            let task = work.split(' ').next().unwrap_or_default().to_owned();
            let results = results.clone();
            tokio::spawn(async move { said(&results, &format!("{task} !{}", "r".repeat(300))).await });
        }
    });
    let asking = pooled(address).await?;
    let mut pace = tokio::time::interval(Duration::from_secs(1) / u32::try_from(per_s)?);
    for task in 0..per_s * seconds {
        pace.tick().await;
        let asking = asking.clone();
        tokio::spawn(async move { said(&asking, &format!("{task} ?{}", "q".repeat(300))).await });
    }
    agent.abort();
    Ok(())
}

type Pool = Arc<tokio::sync::Mutex<Vec<BufReader<TcpStream>>>>;

async fn pooled(address: &str) -> Outcome<Pool> {
    let mut all = Vec::new();
    for _ in 0..16 {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        all.push(BufReader::new(stream));
    }
    Ok(Arc::new(tokio::sync::Mutex::new(all)))
}

async fn said(pool: &Pool, line: &str) -> Outcome<()> {
    let mut stream = pool.lock().await.pop().ok_or("all connections are busy")?;
    stream.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = String::new();
    stream.read_line(&mut answer).await?;
    pool.lock().await.push(stream);
    Ok(())
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
    let number = |n: usize, usual: u64| args.get(n).map_or(Ok(usual), |text| text.parse());
    if args.first().is_some_and(|first| first == "--drive") {
        return drive(&args[1], &args[2], number(3, 100)?, number(4, 10)?).await;
    }
    let [brokers, redis] = [0, 1].map(|n| args.get(n).cloned().ok_or("KAFKA_BROKERS REDIS_URL"));
    let (brokers, redis, per_s, seconds) = (brokers?, redis?, number(2, 100)?, number(3, 10)?);
    let config = KafkaConfig::new(brokers, "task-floor");
    TopicMaker::new(&config).ensure_one(TOPIC, PARTITIONS, 1, Duration::from_secs(20)).await?;
    let floor = Arc::new(Floor {
        ledger: Producer::new(&config.named("task-floor-ledger"))?,
        events: Producer::new(&config.named("task-floor-events"))?,
        redis: redis::Client::open(redis.clone())?.get_multiplexed_async_connection().await?,
        ended: Mutex::default(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?.to_string();
    tokio::spawn(floor.clone().gather());
    let serving = floor.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serving.clone().connection(stream));
        }
    });
    for round in 1..=3 {
        let (began, before) = (std::time::Instant::now(), cpu_s()?);
        let driver = tokio::process::Command::new(std::env::current_exe()?)
            .args(["--drive", &address, &redis, &per_s.to_string(), &seconds.to_string()])
            .stdin(Stdio::null())
            .status();
        if !driver.await?.success() {
            return Err("the process that asks has failed".into());
        }
        let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_s()? - before);
        let share = 100.0 * cpu / took;
        println!(
            "round {round}: {per_s} tasks/s: {share:.1} % of a core, {:.0} µs a task",
            1e4 * share / per_s as f64
        );
    }
    Ok(())
}
