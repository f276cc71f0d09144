//! A mesh under load, with everything that is needed to hurt it. `closing` holds it to account.

mod closing;

use crate::Trouble;
use crate::coordinator::Coordinator;
use crate::ground::Ground;
use crate::plan::{AgentPlan, ClientPlan, Doors, Off, PeoplePlan};
use crate::process::{Process, now_ms};
use crate::script::DEFINITIONS;
use crate::verify::{Awarded, Book, Findings, Moment, Published, Turn, Turned, WentOn, recovery};
use futures::future::try_join_all;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use synod_infra::kafka::{KafkaConfig, Readers};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Partitions: the default.
pub(crate) const SHARDS: u32 = 8;
/// What every task here asks for.
pub(crate) const CAPABILITY: &str = "chaos";
/// A coordinator may take so long until it serves.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// A run of a workflow is started where so many tasks would be.
const RUN: u32 = 5;
/// A small disk: a minute's load and room for more.
const DISK_MIB: u32 = 1_024;
/// No round is added after so long.
const PLAYED: Duration = Duration::from_secs(600);

/// What a scenario is played on.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) brokers: u32,
    pub(crate) coordinators: u32,
    pub(crate) agents: u32,
    pub(crate) concurrency: u32,
    pub(crate) work_ms: u64,
    /// One client for each.
    pub(crate) clients: Vec<Doors>,
    /// The limit of one attempt.
    pub(crate) attempt_ms: u64,
    /// Tasks a second of all clients together.
    pub(crate) rate: u32,
    /// The first coordinator's way to Kafka and Redis leads through links.
    pub(crate) linked: bool,
    /// The brokers' logs are on a small disk of their own.
    pub(crate) small_disk: bool,
    /// Rounds are added until so many tasks have ended.
    pub(crate) share: u64,
}

impl Default for Setting {
    fn default() -> Setting {
        Setting {
            brokers: 1,
            coordinators: 1,
            agents: 6,
            concurrency: 16,
            work_ms: 2,
            clients: vec![Doors::Http, Doors::Kafka],
            attempt_ms: 600_000,
            rate: 150,
            linked: false,
            small_disk: false,
            share: 0,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) seconds: f64,
    pub(crate) faults: u64,
    pub(crate) findings: Findings,
    /// Every moment after which shards had to go on, and how soon each did.
    pub(crate) recoveries: Vec<(Moment, Vec<WentOn>)>,
    pub(crate) steps: u64,
    pub(crate) void: u64,
    pub(crate) events: u64,
    pub(crate) events_repeated: u64,
    /// What the mesh's data, journals and logs took on disk at the end, MiB.
    pub(crate) disk_mib: u64,
    /// The most memory that this program took for it, MiB.
    pub(crate) memory_mib: u64,
}

/// The mesh. Dropping it ends everything.
pub(crate) struct Stage {
    pub(crate) coordinators: Vec<Coordinator>,
    pub(crate) agents: Vec<Process>,
    clients: Vec<Process>,
    people: Option<Process>,
    pub(crate) ground: Ground,
    pub(crate) links: Option<crate::scenarios::Links>,
    /// What goes on beside the scenario until the end.
    pub(crate) beside: JoinSet<()>,
    pub(crate) setting: Setting,
    pub(crate) off: Option<Off>,
    folder: TempDir,
    book: Book,
    published: Published,
    events_from: Vec<u64>,
    moments: Vec<Moment>,
    faults: u64,
    wiped_ms: Vec<u64>,
    agents_died: bool,
    agents_live: bool,
    rounds: usize,
    pub(crate) readers: Readers,
    began: Instant,
    born: u32,
}

impl Stage {
    /// Starts everything but the load, and waits until it serves.
    pub(crate) async fn set(setting: Setting, off: Option<Off>) -> Result<Stage, Trouble> {
        // The most memory counts from here.
        std::fs::write("/proc/self/clear_refs", "5")?;
        let folder = tempfile::Builder::new().prefix("synod-chaos-").tempdir()?;
        for name in ["clients", "openers", "starters", "people", "agents", "logs"] {
            std::fs::create_dir_all(folder.path().join(name))?;
        }
        let mut ground = Ground::up(folder.path().join("services"), setting.brokers).await?;
        if setting.small_disk {
            ground.small_disk(DISK_MIB).await?;
        }
        let config = KafkaConfig::new(&ground.kafka, "synod-chaos");
        let readers = Readers::new(&config).map_err(Trouble::wrong)?;
        let replication = if off == Some(Off::Copies) { 1 } else { setting.brokers };
        let logs = folder.path().join("logs");
        let coordinators = (1..=setting.coordinators)
            .map(|n| Coordinator::new(&format!("c{n}"), &ground, &logs, replication))
            .collect::<Result<_, _>>()?;
        let mut stage = Stage {
            coordinators,
            agents: Vec::new(),
            clients: Vec::new(),
            people: None,
            links: None,
            beside: JoinSet::new(),
            off,
            book: Book::new(SHARDS),
            published: Published::default(),
            events_from: vec![0; SHARDS as usize],
            moments: Vec::new(),
            faults: 0,
            wiped_ms: Vec::new(),
            agents_died: false,
            agents_live: false,
            rounds: 0,
            readers,
            began: Instant::now(),
            born: 0,
            ground,
            setting,
            folder,
        };
        if stage.setting.linked {
            let links = crate::scenarios::Links::open(&stage.ground).await?;
            stage.coordinators[0].through(Some(links.kafka.clone()), Some(links.redis.clone()));
            stage.links = Some(links);
        }
        Ok(stage)
    }

    /// Starts the coordinators, the agents and, once these are known, the clients.
    pub(crate) async fn open(&mut self) -> Result<(), Trouble> {
        for coordinator in &mut self.coordinators {
            coordinator.start()?;
        }
        try_join_all(self.coordinators.iter_mut().map(|c| c.ready(READY))).await?;
        self.hire(self.setting.agents).await?;
        let doors = self.setting.clients.clone();
        if doors.contains(&Doors::Workflows) {
            self.define().await?;
        }
        self.began = Instant::now();
        let rate = (self.setting.rate / doors.len().max(1) as u32).max(1);
        for (n, doors) in doors.iter().enumerate() {
            let rate = if *doors == Doors::Workflows { rate / RUN } else { rate };
            self.client(&format!("client{n}"), CAPABILITY, *doors, rate.max(1), 0)?;
        }
        match doors.is_empty() {
            true => Ok(()),
            false => self.until_ended(20, Duration::from_secs(40)).await,
        }
    }

    /// Starts a client; `tasks` 0: until it is asked to end.
    pub(crate) fn client(
        &mut self,
        name: &str,
        capability: &str,
        doors: Doors,
        rate: u32,
        tasks: u64,
    ) -> Result<(), Trouble> {
        let kind = match doors {
            Doors::Negotiations => "openers",
            Doors::Workflows => "starters",
            _ => "clients",
        };
        let plan = ClientPlan {
            name: name.to_owned(),
            journal: self.folder.path().join(kind).join(name),
            http: self.urls(),
            kafka: self.ground.kafka.clone(),
            capability: capability.to_owned(),
            doors,
            rate,
            attempt_ms: self.setting.attempt_ms,
            tasks,
            off: self.off,
        };
        let client = self.child("client", name, &plan)?;
        self.clients.push(client);
        Ok(())
    }

    /// Makes the workflows known to every coordinator, and people who decide what their runs ask.
    async fn define(&mut self) -> Result<(), Trouble> {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build();
        let http = http.map_err(Trouble::wrong)?;
        for (name, text) in DEFINITIONS {
            let url = format!("{}/v1/workflows/definitions", self.coordinators[0].url());
            let sent = http.post(url).header("content-type", "application/yaml").body(text).send().await;
            let answer = sent.map_err(Trouble::wrong)?;
            if !answer.status().is_success() {
                let why = answer.text().await.unwrap_or_default();
                return Err(Trouble::Wrong(format!("workflow {name} is refused: {why}")));
            }
        }
        let began = Instant::now();
        for coordinator in &self.coordinators {
            loop {
                let asked = http.get(format!("{}/v1/workflows", coordinator.url())).send().await;
                let answer = asked.map_err(Trouble::wrong)?;
                let known: serde_json::Value = answer.json().await.map_err(Trouble::wrong)?;
                if known["items"].as_array().is_some_and(|items| items.len() == DEFINITIONS.len()) {
                    break;
                }
                if began.elapsed() > READY {
                    let what = format!("{} knows the workflows", coordinator.id());
                    return Err(Trouble::Late(what, READY));
                }
                tokio::time::sleep(Duration::from_millis(25)).await; // the condition is asked again
            }
        }
        let plan = PeoplePlan { journal: self.folder.path().join("people/people"), http: self.urls() };
        self.people = Some(self.child("people", "people", &plan)?);
        Ok(())
    }

    /// Whether every client has submitted what it was told to, and heard that it was taken.
    pub(crate) fn clients_have_ended(&mut self) -> bool {
        self.clients.iter_mut().all(Process::has_ended)
    }

    /// Ends everything without a judgement.
    pub(crate) async fn leave(mut self) -> Result<(), Trouble> {
        for process in self.clients.iter_mut().chain(&mut self.agents).chain(&mut self.people) {
            process.kill().await?;
        }
        for coordinator in &mut self.coordinators {
            coordinator.kill().await?;
        }
        self.ground.down().await
    }

    fn urls(&self) -> Vec<String> {
        self.coordinators.iter().map(Coordinator::url).collect()
    }

    fn child(&self, what: &str, name: &str, plan: &impl Serialize) -> Result<Process, Trouble> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(what).arg(serde_json::to_string(plan)?).current_dir(self.folder.path().join("logs"));
        Process::start(name, &self.folder.path().join("logs"), command)
    }

    /// Starts so many agents more and waits until the mesh knows them.
    pub(crate) async fn hire(&mut self, count: u32) -> Result<(), Trouble> {
        let many = count > 32;
        for n in self.born..self.born + count {
            let plan = AgentPlan {
                name: format!("agent{n}"),
                journal: self.folder.path().join(format!("agents/agent{n}")),
                http: self.urls(),
                redis: self.ground.redis.clone(),
                kafka: (!many).then(|| self.ground.kafka.clone()),
                capability: CAPABILITY.to_owned(),
                concurrency: self.setting.concurrency,
                work_ms: self.setting.work_ms,
                off: self.off,
            };
            let agent = self.child("agent", &plan.name, &plan)?;
            self.agents.push(agent);
        }
        self.born += count;
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build();
        let (http, began, limit) = (http.map_err(Trouble::wrong)?, Instant::now(), Duration::from_secs(90));
        let mut known = self.born - count;
        while known < self.born {
            let asked =
                http.get(format!("{}/v1/agents/agent{known}", self.coordinators[0].url())).send().await;
            match asked {
                Ok(answer) if answer.status().is_success() => known += 1,
                _ if began.elapsed() > limit => {
                    return Err(Trouble::Late(format!("agent{known} is known"), limit));
                }
                _ => tokio::time::sleep(Duration::from_millis(25)).await, // the condition is asked again
            }
        }
        Ok(())
    }

    /// The next round's number, if there is to be one: there are at least so many, and more until this run's share of
    /// tasks has ended.
    pub(crate) fn round(&mut self, least: usize) -> Option<usize> {
        let has_share = self.off.is_some() || self.book.ended() >= self.setting.share;
        if self.rounds >= least && (has_share || self.began.elapsed() > PLAYED) {
            return None;
        }
        self.rounds += 1;
        Some(self.rounds - 1)
    }

    /// Notes a fault.
    pub(crate) fn fault(&mut self, what: &str) {
        self.faults += 1;
        eprintln!("  {:7.2} s  {what}", self.began.elapsed().as_secs_f64());
    }

    /// While something else is out of reach the first coordinator is killed and started again: what it had in memory
    /// alone is gone, and was promised to nobody.
    pub(crate) async fn lose_memory(&mut self) -> Result<(), Trouble> {
        self.coordinators[0].kill().await?;
        self.fault("SIGKILL of the coordinator meanwhile");
        self.coordinators[0].start()
    }

    /// From this moment on every shard has to go on.
    pub(crate) fn go_on(&mut self, what: &str, at_ms: i64) {
        self.moments.push(Moment { what: what.to_owned(), at_ms, victim: None });
    }

    /// From this moment on others have to take over what this owner had.
    pub(crate) fn take_over(&mut self, what: &str, at_ms: i64, victim: String) {
        self.moments.push(Moment { what: what.to_owned(), at_ms, victim: Some(victim) });
    }

    /// Agents died: what they held may end with them.
    pub(crate) fn agents_died(&mut self) {
        self.agents_died = true;
    }

    /// Nothing is done to any agent: none may be given up.
    pub(crate) fn agents_live(&mut self) {
        self.agents_live = true;
    }

    /// Redis forgets what inboxes have seen, from now on.
    pub(crate) fn wiped(&mut self) {
        self.wiped_ms.push(now_ms().unsigned_abs());
    }

    /// Lets the load run, and reads the ledger meanwhile.
    pub(crate) async fn run_for(&mut self, time: Duration) -> Result<(), Trouble> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.look().await;
            let left = until.saturating_duration_since(Instant::now());
            tokio::time::sleep(left.min(Duration::from_millis(250))).await; // the run itself
        }
        for client in &mut self.clients {
            if client.has_ended() {
                return Err(Trouble::Ended(client.name.clone(), client.last_words()));
            }
        }
        Ok(())
    }

    /// Waits until so many more tasks have ended.
    pub(crate) async fn until_ended(&mut self, more: u64, limit: Duration) -> Result<(), Trouble> {
        let (began, want) = (Instant::now(), self.book.ended() + more);
        while self.book.ended() < want {
            if began.elapsed() > limit {
                return Err(Trouble::Late(format!("{more} more tasks end"), limit));
            }
            self.look().await;
            tokio::time::sleep(Duration::from_millis(50)).await; // the condition is asked again
        }
        Ok(())
    }

    /// Waits for an award that is given after this is asked.
    pub(crate) async fn until_awarded(&mut self, limit: Duration) -> Result<Awarded, Trouble> {
        self.look().await;
        let (began, had) = (Instant::now(), self.book.negotiations().1.awards);
        loop {
            self.look().await;
            if let (Some(award), talked) = self.book.negotiations()
                && talked.awards > had
            {
                return Ok(award.clone());
            }
            if began.elapsed() > limit {
                return Err(Trouble::Late("an award".to_owned(), limit));
            }
            tokio::time::sleep(Duration::from_millis(10)).await; // the condition is asked again
        }
    }

    /// Waits for a turn of this kind that a run takes after this is asked.
    pub(crate) async fn until_turned(&mut self, turn: Turn, limit: Duration) -> Result<Turned, Trouble> {
        self.look().await;
        let (began, had) = (Instant::now(), self.book.turned(turn).0);
        loop {
            self.look().await;
            if let (count, Some(turned)) = self.book.turned(turn)
                && count > had
            {
                return Ok(turned.clone());
            }
            if began.elapsed() > limit {
                return Err(Trouble::Late(format!("a run's {turn:?}"), limit));
            }
            tokio::time::sleep(Duration::from_millis(10)).await; // the condition is asked again
        }
    }

    /// Who claimed a shard last, as it calls itself.
    pub(crate) fn owner_of(&self, shard: u32) -> Option<String> {
        self.book.claims(shard).last().map(|claim| claim.owner.clone())
    }

    /// Waits until each shard that the last moment concerns goes on; after the limit that is for the report to tell.
    pub(crate) async fn until_going_on(&mut self, limit: Duration) {
        let Some(moment) = self.moments.last().cloned() else { return };
        let began = Instant::now();
        while began.elapsed() < limit {
            self.look().await;
            if recovery(&self.book, &moment).iter().all(|shard| shard.after_ms.is_some()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await; // the condition is asked again
        }
        eprintln!("            not every shard goes on {limit:?} after: {}", moment.what);
    }
}
