//! A stage is held to account: the ledger and the events are read, at first as they grow, at last all of them.

use super::{Outcome, SHARDS, Stage};
use crate::Trouble;
use crate::journal::{self, AgentLine, ClientLine};
use crate::process::{Process, memory_kib};
use crate::verify::{Moment, Noted, judge, outstanding, recovery};
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use synod_protocol::topics;
use tokio::time::Instant;

/// After the load what was accepted has to end; when nothing more of it has for so long, the rest is lost.
const SETTLE: Duration = Duration::from_secs(120);
/// A backlog that is worked off all the time has this long.
const SETTLE_AT_MOST: Duration = Duration::from_secs(900);
/// An answer of Kafka's may take so long.
const KAFKA: Duration = Duration::from_secs(20);
/// Clients may take so long to finish what they have begun.
const CLIENTS_END: Duration = Duration::from_secs(100);
/// Agents may take so long to leave.
const AGENTS_END: Duration = Duration::from_secs(40);
/// Stands in the folder of a run in which something was found.
const KEPT: &str = "kept";

impl Stage {
    /// Reads on in the ledger; where Kafka does not answer just now, later.
    pub(super) async fn look(&mut self) {
        for shard in 0..SHARDS {
            // A shard whose leader is away is read when it has another.
            drop(self.read_ledger(shard, Duration::from_millis(800)).await);
        }
    }

    async fn read_ledger(&mut self, shard: u32, wait: Duration) -> Result<(), Trouble> {
        let log =
            self.readers.watermarks(topics::LEDGER, shard as i32, wait).await.map_err(Trouble::wrong)?;
        let (from, book) = (self.book.next(shard), &mut self.book);
        if log.high.unsigned_abs() <= from {
            return Ok(());
        }
        let each = |record: synod_infra::kafka::RawRecord| {
            let bytes = record.payload.as_deref().unwrap_or_default();
            book.record(shard, record.offset.unsigned_abs(), record.timestamp_ms, bytes);
            ControlFlow::Continue(())
        };
        let read =
            self.readers.read_through(topics::LEDGER, shard as i32, from as i64, log.high - 1, wait, each);
        read.await.map(drop).map_err(Trouble::wrong)
    }

    async fn read_events(&mut self, shard: u32) -> Result<(), Trouble> {
        let log =
            self.readers.watermarks(topics::EVENTS, shard as i32, KAFKA).await.map_err(Trouble::wrong)?;
        let (from, published) = (self.events_from[shard as usize] as i64, &mut self.published);
        if log.high <= from {
            return Ok(());
        }
        let mut wrong = None;
        let each = |record: synod_infra::kafka::RawRecord| {
            match record.envelope() {
                Ok(envelope) => {
                    let position = envelope.position.map(|p| (p.shard, p.offset));
                    let subject = envelope.subject.as_deref().unwrap_or_default();
                    let value = record.payload.as_deref().unwrap_or_default();
                    published.event(&envelope.id, position, &envelope.ty, subject, value);
                }
                Err(error) => wrong = Some(error),
            }
            ControlFlow::Continue(())
        };
        let read = self.readers.read_through(topics::EVENTS, shard as i32, from, log.high - 1, KAFKA, each);
        read.await.map_err(Trouble::wrong)?;
        self.events_from[shard as usize] = log.high.unsigned_abs();
        wrong.map_or(Ok(()), |error| Err(Trouble::wrong(error)))
    }

    /// Ends the load, waits until what was accepted has ended, ends everything and judges.
    pub(crate) async fn close(mut self) -> Result<Outcome, Trouble> {
        self.clients.iter_mut().for_each(Process::ask_to_end);
        for client in &mut self.clients {
            client.end(CLIENTS_END).await?;
        }
        let seconds = self.began.elapsed().as_secs_f64();
        let clients = read_all::<ClientLine>(&self.folder.path().join("clients"))?;
        let mut noted = Noted {
            clients,
            openers: read_all::<ClientLine>(&self.folder.path().join("openers"))?,
            starters: read_all::<ClientLine>(&self.folder.path().join("starters"))?,
            wiped_ms: self.wiped_ms.clone(),
            agents_died: self.agents_died,
            agents_lived: self.agents_live,
            ..Noted::default()
        };
        let settle = if self.off.is_some() { SETTLE / 4 } else { SETTLE };
        let (began, mut left, mut moved) = (Instant::now(), u64::MAX, Instant::now());
        // The ends first, then what was told of them: the same check, so that it says what is missing if time is up.
        loop {
            for shard in 0..SHARDS {
                self.read_ledger(shard, KAFKA).await?;
                self.read_events(shard).await?;
            }
            let lost = outstanding(&noted, &self.book, &self.published);
            if lost < left {
                (left, moved) = (lost, Instant::now());
            }
            if lost == 0 || moved.elapsed() > settle || began.elapsed() > SETTLE_AT_MOST {
                break;
            }
            tokio::time::sleep(Duration::from_millis(250)).await; // the condition is asked again
        }
        // Of what was told meanwhile the records are there by now.
        for shard in 0..SHARDS {
            self.read_ledger(shard, KAFKA).await?;
        }
        eprintln!("  {:7.2} s  settled", self.began.elapsed().as_secs_f64());
        if let Some(people) = &mut self.people {
            people.ask_to_end();
            people.end(CLIENTS_END).await?;
        }
        noted.people = read_all::<ClientLine>(&self.folder.path().join("people"))?;
        self.agents.iter_mut().for_each(Process::ask_to_end);
        for agent in &mut self.agents {
            if let Err(error) = agent.end(AGENTS_END).await {
                eprintln!("{error}");
            }
        }
        for coordinator in &mut self.coordinators {
            if let Err(error) = coordinator.end().await {
                eprintln!("{error}");
            }
        }
        noted.agents = read_all::<AgentLine>(&self.folder.path().join("agents"))?;
        let findings = judge(&noted, &self.book, &self.published);
        let of = |moment: &Moment| (moment.clone(), recovery(&self.book, moment));
        let recoveries = self.moments.iter().map(of).collect();
        let ((steps, void), (events, events_repeated)) = (self.book.counts(), self.published.counts());
        let faults = self.faults;
        let (disk_mib, memory_mib) = (weigh(self.folder.path()) >> 20, memory_kib("self")?.1 >> 10);
        if !findings.is_clean() && self.off.is_none() {
            let kept = self.folder.keep();
            std::fs::write(kept.join(KEPT), "")?;
            eprintln!("  journals and logs are kept in {}", kept.display());
        }
        self.ground.down().await?;
        Ok(Outcome {
            seconds,
            faults,
            findings,
            recoveries,
            steps,
            void,
            events,
            events_repeated,
            disk_mib,
            memory_mib,
        })
    }
}

/// What a folder takes on disk, in bytes; what vanishes meanwhile weighs nothing.
fn weigh(folder: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let of = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(what) if what.is_dir() => weigh(&entry.path()),
        Ok(what) => what.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// Every journal of a folder, by its name.
fn read_all<L: serde::de::DeserializeOwned>(folder: &Path) -> Result<BTreeMap<String, Vec<L>>, Trouble> {
    let mut all = BTreeMap::new();
    for entry in std::fs::read_dir(folder)? {
        let path: PathBuf = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.insert(name, journal::read(&path)?);
    }
    Ok(all)
}
