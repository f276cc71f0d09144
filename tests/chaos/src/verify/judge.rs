//! The judgement: every accepted piece of work done once, nothing twice, nothing by a word that was stale.

use super::book::{Book, TaskBook};
use super::published::Published;
use super::scripted;
use crate::journal::{AgentLine, ClientLine};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap, HashSet};
use synod_protocol::view::TaskStatus;

/// What came out of an inbox is noted so much later at most, and Redis forgets so much later than it is told to.
const NOTED_MS: u64 = 2_000;
/// Found things shown of each kind; all are counted.
const SHOWN: usize = 5;

/// What clients and agents noted.
#[derive(Clone, Debug, Default)]
pub struct Noted {
    /// By client.
    pub clients: BTreeMap<String, Vec<ClientLine>>,
    /// By client, of those that open negotiations: a negotiation stands where a task does for others.
    pub openers: BTreeMap<String, Vec<ClientLine>>,
    /// By client, of those that start runs of workflows: a run stands where a task does for others.
    pub starters: BTreeMap<String, Vec<ClientLine>>,
    /// Of people: `<approval>!<person>` or `<run>!<signal>` stands where a task does for others.
    pub people: BTreeMap<String, Vec<ClientLine>>,
    /// By agent.
    pub agents: BTreeMap<String, Vec<AgentLine>>,
    /// Moments, Unix ms, at which Redis forgot which epochs inboxes have seen. What an inbox takes in afterwards is
    /// stale only if the agent itself, which remembers, takes it to heart.
    pub wiped_ms: Vec<u64>,
    /// Agents died, so that work may have ended with them; otherwise everything that was accepted completes.
    pub agents_died: bool,
    /// Whatever else happened, every agent lived and could be heard: none may be given up.
    pub agents_lived: bool,
}

/// What kind of wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Accepted, and not brought to an end.
    Lost,
    /// Applied, done or ended more than once.
    Doubled,
    /// A deposed owner's word was taken by one who had heard the new owner's.
    Stale,
    /// Whatever else should not be.
    Strange,
}

/// One thing found wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// A sentence.
    pub what: String,
}

/// All that was found, and what was looked at.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Findings {
    /// Tasks accepted.
    pub accepted: u64,
    /// Of these, by how they ended.
    pub ends: BTreeMap<String, u64>,
    /// Why one of those that did not complete ended so, by how it ended.
    pub why: BTreeMap<String, String>,
    /// Doings noted by agents.
    pub done: u64,
    /// Bodies taken from inboxes.
    pub taken: u64,
    /// What there was of negotiations.
    #[serde(default)]
    pub negotiations: super::Talked,
    /// What there was of runs of workflows.
    #[serde(default)]
    pub runs: super::Ran,
    /// How often each kind was found.
    pub counts: BTreeMap<Kind, u64>,
    /// The first few of each kind.
    pub shown: Vec<Finding>,
}

impl Findings {
    /// How often this kind was found.
    pub fn of(&self, kind: Kind) -> u64 {
        self.counts.get(&kind).copied().unwrap_or(0)
    }

    /// Whether nothing was found.
    pub fn is_clean(&self) -> bool {
        self.counts.is_empty()
    }

    pub(super) fn found(&mut self, kind: Kind, what: impl FnOnce() -> String) {
        let count = self.counts.entry(kind).or_default();
        *count += 1;
        if *count <= SHOWN as u64 {
            self.shown.push(Finding { kind, what: what() });
        }
    }
}

/// Holds what was noted against what stands in the ledger and the events topic.
pub fn judge(noted: &Noted, book: &Book, published: &Published) -> Findings {
    let mut findings = Findings::default();
    clients(&mut findings, noted, book);
    negotiations(&mut findings, noted, book);
    scripted::awaited(&mut findings, noted, book.runs());
    scripted::kept(&mut findings, noted, book.runs());
    positions(&mut findings, book);
    agents(&mut findings, noted, book);
    stale(&mut findings, noted);
    events(&mut findings, book, published);
    for what in book.strange() {
        findings.found(Kind::Strange, || what);
    }
    findings
}

/// How many promises are not kept yet, of those that may need no more than time.
pub(crate) fn outstanding(noted: &Noted, book: &Book, published: &Published) -> u64 {
    let mut findings = Findings::default();
    clients(&mut findings, noted, book);
    negotiations(&mut findings, noted, book);
    scripted::awaited(&mut findings, noted, book.runs());
    positions(&mut findings, book);
    events(&mut findings, book, published);
    findings.of(Kind::Lost)
}

/// Every accepted task was submitted once and ended once; nobody's task stands there; each key was done once.
fn clients(findings: &mut Findings, noted: &Noted, book: &Book) {
    let none = TaskBook::default();
    let (mut asked, mut accepted) = (HashSet::new(), HashSet::new());
    for line in noted.clients.values().flatten() {
        match line {
            ClientLine::Asked { task, .. } => {
                asked.insert(task.as_str());
            }
            ClientLine::Acked { task, place } => {
                accepted.insert(task.as_str());
                if let Some((shard, offset)) = place
                    && book.handled(*shard, *offset) == 0
                {
                    findings.found(Kind::Lost, || {
                        format!("the command of {task} at {shard}:{offset} was never handled")
                    });
                }
            }
            ClientLine::Refused { task, why } => {
                findings.found(Kind::Strange, || format!("{task} was refused: {why}"));
            }
        }
    }
    for task in &accepted {
        let told = book.tasks().get(*task).unwrap_or(&none);
        if told.submitted == 0 {
            findings.found(Kind::Lost, || format!("{task} was accepted and is not in the ledger"));
        } else if told.ended == 0 {
            findings.found(Kind::Lost, || format!("{task} was accepted and has not ended"));
        } else if let Some(status) = told.status {
            *findings.ends.entry(status.as_str().to_owned()).or_default() += 1;
            if status != TaskStatus::Completed && !noted.agents_died {
                findings.found(Kind::Strange, || {
                    let (how, why) = (status.as_str(), told.why.as_deref().unwrap_or("no reason"));
                    format!("no agent died, and {task} ended as {how}: {why}")
                });
            }
            if let Some(why) = &told.why {
                findings.why.entry(status.as_str().to_owned()).or_insert_with(|| format!("{task}: {why}"));
            }
        }
    }
    for (agent, why) in book.lost().iter().filter(|_| noted.agents_lived) {
        findings.found(Kind::Strange, || format!("agent {agent} lived and was given up: {why}"));
    }
    findings.accepted = accepted.len() as u64;
    let mut keys: HashMap<&str, &str> = HashMap::new();
    for (task, told) in book.tasks() {
        if told.submitted > 1 {
            findings.found(Kind::Doubled, || format!("{task} was submitted {} times", told.submitted));
        }
        if told.ended > 1 {
            findings.found(Kind::Doubled, || format!("{task} ended {} times", told.ended));
        }
        if let Some(other) = told.key.as_deref().and_then(|key| keys.insert(key, task)) {
            findings.found(Kind::Doubled, || format!("{task} and {other} are one piece of work"));
        }
        // What a decision starts is judged with the negotiation, what a run asks for with the run.
        let root = task.split(':').next().unwrap_or_default();
        let is_step = root != task && book.runs().all().contains_key(root);
        if !asked.contains(task.as_str()) && !task.ends_with(":then") && !is_step {
            findings.found(Kind::Strange, || format!("{task} stands in the ledger and nobody asked for it"));
        }
    }
}

/// Each negotiation that was accepted is over, and was decided once; never were two awards in force; what a decision starts
/// was started once, and has ended.
fn negotiations(findings: &mut Findings, noted: &Noted, book: &Book) {
    let talks = book.talks();
    findings.negotiations = talks.talked();
    let mut asked: HashSet<&str> = HashSet::new();
    for line in noted.openers.values().flatten() {
        match line {
            ClientLine::Asked { task, .. } => {
                asked.insert(task);
            }
            ClientLine::Acked { task, .. } => match talks.all().get(task) {
                None => findings.found(Kind::Lost, || {
                    format!("negotiation {task} was accepted and is not in the ledger")
                }),
                Some(told) if told.ended == 0 => {
                    findings
                        .found(Kind::Lost, || format!("negotiation {task} was accepted and has not ended"));
                }
                Some(_) => {}
            },
            ClientLine::Refused { task, why } => {
                findings.found(Kind::Strange, || format!("negotiation {task} was refused: {why}"));
            }
        }
    }
    for (id, told) in talks.all() {
        if told.opened > 1 || told.ended > 1 || told.started > 1 {
            let (opened, ended, started) = (told.opened, told.ended, told.started);
            findings.found(Kind::Doubled, || {
                format!("negotiation {id} was opened {opened} times, ended {ended} times and started {started} tasks")
            });
        }
        if !asked.contains(id.as_str()) {
            findings.found(Kind::Strange, || {
                format!("negotiation {id} stands in the ledger and nobody asked for it")
            });
        }
        let wants = told.starts && told.is_decided();
        if wants != (told.started > 0) {
            findings.found(Kind::Lost, || format!("the decision of {id} starts {} tasks", told.started));
        }
        let then = book.tasks().get(&format!("{id}:then"));
        if then.is_some_and(|then| then.ended == 0) {
            findings.found(Kind::Lost, || format!("what the decision of {id} started has not ended"));
        }
    }
    for what in talks.doubled() {
        findings.found(Kind::Doubled, || what.clone());
    }
    for what in talks.strange() {
        findings.found(Kind::Strange, || what.clone());
    }
}

/// Each position of the commands topic was handled once.
fn positions(findings: &mut Findings, book: &Book) {
    for (shard, position, times) in book.mishandled() {
        let at = format!("{shard}:{position}");
        match times {
            0 => findings.found(Kind::Lost, || format!("the command at {at} was passed over")),
            _ => findings.found(Kind::Doubled, || format!("the command at {at} was handled {times} times")),
        }
    }
}

/// Each attempt was done once; what the ledger has as a result is what its agent did.
fn agents(findings: &mut Findings, noted: &Noted, book: &Book) {
    let mut doings: HashMap<(&str, u32), Vec<(&str, &str)>> = HashMap::new();
    for (agent, lines) in &noted.agents {
        for line in lines {
            match line {
                AgentLine::Did { task, attempt, nonce, .. } => {
                    findings.done += 1;
                    doings.entry((task, *attempt)).or_default().push((agent, nonce));
                }
                AgentLine::Took { .. } => findings.taken += 1,
            }
        }
    }
    for ((task, attempt), by) in &doings {
        if by.len() > 1 {
            findings.found(Kind::Doubled, || {
                format!("attempt {attempt} of {task} was done {} times: {by:?}", by.len())
            });
        }
    }
    let completed = book.tasks().iter().filter(|(_, told)| told.status == Some(TaskStatus::Completed));
    for (task, told) in completed {
        let Some((agent, attempt)) = &told.by else { continue };
        let did = doings.get(&(task.as_str(), *attempt)).into_iter().flatten();
        let matches = did.into_iter().any(|(by, nonce)| by == agent && told.nonce.as_deref() == Some(*nonce));
        if !matches {
            findings.found(Kind::Strange, || {
                format!("{task} was completed by {agent}, which never did its attempt {attempt}")
            });
        }
    }
}

/// No inbox took a lower epoch than one that it had seen of that shard.
fn stale(findings: &mut Findings, noted: &Noted) {
    for (agent, lines) in &noted.agents {
        let mut newest: HashMap<u32, (u64, u64)> = HashMap::new();
        for line in lines {
            let AgentLine::Took { shard, epoch, task, attempt, kept, at_ms } = line else { continue };
            let (seen, since_ms) = newest.entry(*shard).or_insert((*epoch, *at_ms));
            if epoch >= seen {
                (*seen, *since_ms) = (*epoch, *at_ms);
                continue;
            }
            let forgotten =
                noted.wiped_ms.iter().any(|wiped| *since_ms <= wiped + NOTED_MS && *at_ms >= *wiped);
            if *kept || !forgotten {
                let (seen, shard) = (*seen, *shard);
                findings.found(Kind::Stale, || {
                    format!("{agent} took attempt {attempt} of {task} from epoch {epoch} of shard {shard} after {seen}")
                });
            }
        }
    }
}

/// Every event stands in a record that counts, and every end of a task was told.
fn events(findings: &mut Findings, book: &Book, published: &Published) {
    for what in published.strange() {
        findings.found(Kind::Strange, || what.clone());
    }
    for (shard, offset, index) in published.places() {
        match book.told(*shard, *offset) {
            Some(told) if *index < told => {}
            Some(told) => findings.found(Kind::Strange, || {
                format!("event {shard}-{offset}-{index} was published; its record tells {told}")
            }),
            None => findings.found(Kind::Stale, || {
                format!("event {shard}-{offset}-{index} was published; its record does not count")
            }),
        }
    }
    for (shard, offset, index) in book.ends() {
        if !published.has((shard, offset, index)) {
            findings.found(Kind::Lost, || {
                format!("the end told at {shard}-{offset}-{index} was never published")
            });
        }
    }
}
