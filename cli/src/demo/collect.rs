//! What comes back, task by task, and the figures that follow from it.
//!
//! Everything is counted once, when a task has ended, from what the mesh says of it: a coordinator that
//! was killed in between, or an answer that was asked for twice, changes no figure.

use super::analyse::FileFacts;
use super::path::FilePath;
use super::report::{FailedFile, MeshFigures, Takeover};
use super::takeover::Killed;
use agent_sdk::{TaskResult, WaitError};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use synod_protocol::view::{Outcome, Task};

/// One task that has ended, or was given up.
#[derive(Debug)]
pub struct Ended {
    /// Its file.
    pub path: FilePath,
    /// What came of it.
    pub result: Result<TaskResult<FileFacts>, WaitError>,
    /// From its first submission to this answer.
    pub took: Duration,
}

/// Everything so far.
#[derive(Debug)]
pub struct Collector {
    began: Instant,
    facts: BTreeMap<FilePath, FileFacts>,
    failed: Vec<FailedFile>,
    mesh: MeshFigures,
    killed: Option<(Killed, Takeover)>,
    last: Instant,
}

impl Collector {
    /// For so many tasks, from now on.
    pub fn new(tasks: usize) -> Collector {
        let began = Instant::now();
        let mesh = MeshFigures { tasks: tasks as u64, ..MeshFigures::default() };
        Collector { began, facts: BTreeMap::new(), failed: Vec::new(), mesh, killed: None, last: began }
    }

    /// How many tasks have completed.
    pub fn completed(&self) -> u64 {
        self.mesh.completed
    }

    /// An agent was killed.
    pub fn killed(&mut self, killed: Killed) {
        let takeover = Takeover {
            agent_id: killed.agent_id.to_string(),
            completed_before: self.mesh.completed,
            held: killed.held,
            ..Takeover::default()
        };
        self.killed = Some((killed, takeover));
    }

    /// None was, and why.
    pub fn not_killed(&mut self, why: &str) {
        self.mesh.not_killed = Some(why.to_owned());
    }

    /// The mesh has called the killed agent lost.
    pub fn noticed(&mut self, after: Duration) {
        self.mesh.agents_lost = 1;
        if let Some((_, takeover)) = &mut self.killed {
            takeover.lost_after = Some(after);
        }
    }

    /// Whether the mesh has called the killed agent lost, or there is none.
    pub fn is_settled(&self) -> bool {
        self.killed.as_ref().is_none_or(|(_, takeover)| takeover.lost_after.is_some())
    }

    /// A task has ended.
    pub fn ended(&mut self, ended: Ended) {
        self.last = Instant::now();
        let Ended { path, result, took } = ended;
        match result {
            Ok(TaskResult { output, task, .. }) => {
                self.mesh.completed += 1;
                self.mesh.latency.record(took);
                if let Some(last) = task.attempts.last() {
                    *self.mesh.completed_by.entry(last.agent_id.to_string()).or_default() += 1;
                }
                self.attempts(&task);
                self.made_good(&task);
                self.facts.insert(path, output);
            }
            Err(error) => {
                if let WaitError::Ended { task, .. } | WaitError::Output { task, .. } = &error {
                    self.attempts(task);
                }
                self.failed.push(FailedFile { path, why: error.to_string() });
            }
        }
    }

    fn attempts(&mut self, task: &Task) {
        self.mesh.attempts += task.attempts.len() as u64;
        // Each attempt but the last was followed by another: why says what became of it.
        let before_last = task.attempts.split_last().map_or(&[][..], |(_, before)| before);
        for attempt in before_last {
            match attempt.outcome {
                Some(Outcome::Failed | Outcome::TimedOut) => self.mesh.retries += 1,
                Some(Outcome::Lost | Outcome::Withdrawn | Outcome::Declined) => self.mesh.reassigned += 1,
                Some(Outcome::Completed | Outcome::Cancelled) | None => {}
            }
        }
        let Some((killed, takeover)) = &mut self.killed else { return };
        if task.attempts.iter().any(|attempt| is_loss(attempt, killed)) {
            takeover.lost_with_it += 1;
        }
    }

    /// A task that the killed agent had, completed by another.
    fn made_good(&mut self, task: &Task) {
        let Some((killed, takeover)) = &mut self.killed else { return };
        let Some(last) = task.attempts.last().filter(|last| last.agent_id != killed.agent_id) else { return };
        if task.attempts.iter().any(|attempt| is_loss(attempt, killed)) {
            *takeover.taken_over_by.entry(last.agent_id.to_string()).or_default() += 1;
            takeover.made_good_after = Some(killed.at.elapsed());
        }
    }

    /// What there is to report: facts, failures (those never answered included), figures.
    pub fn finish(
        mut self,
        unanswered: impl IntoIterator<Item = FilePath>,
        why: &str,
    ) -> (BTreeMap<FilePath, FileFacts>, Vec<FailedFile>, MeshFigures) {
        self.failed.extend(unanswered.into_iter().map(|path| FailedFile { path, why: why.to_owned() }));
        self.mesh.elapsed = self.last.duration_since(self.began);
        self.mesh.takeover = self.killed.map(|(_, takeover)| takeover);
        (self.facts, self.failed, self.mesh)
    }
}

fn is_loss(attempt: &synod_protocol::view::Attempt, killed: &Killed) -> bool {
    attempt.outcome == Some(Outcome::Lost) && attempt.agent_id == killed.agent_id
}
