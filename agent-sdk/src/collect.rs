//! Fan-out and fan-in: many tasks, N at a time, each with a time limit, and one result for all.

use crate::client::Client;
use crate::door::{DoorError, Origin};
use crate::handle::WaitError;
use crate::task::{TaskRequest, TaskResult};
use futures::StreamExt;
use serde::de::DeserializeOwned;
use std::time::Duration;
use synod_infra::telemetry::trace;
use synod_protocol::{EntityId, Id};
use tokio::time::Instant;
use uuid::Uuid;

/// How long the mesh is asked who was late, and told that it is no longer wanted.
const AFTERWORD: Duration = Duration::from_secs(2);

/// A fan-out that has not begun.
#[derive(Debug)]
pub struct Collect<I> {
    client: Client,
    requests: I,
    workers: usize,
    each: Duration,
    cancel_late: bool,
}

/// What a fan-out came to. Everything carries the place of its request in what was given.
#[derive(Debug)]
pub struct Collected<T> {
    /// Those that completed, in the order of the requests.
    pub successes: Vec<Success<T>>,
    /// Those that ended otherwise or were refused, in the order of the requests.
    pub failures: Vec<Failure>,
    /// Those that had not ended in time, in the order of the requests.
    pub late: Vec<Late>,
    /// From the first submission to the last end.
    pub elapsed: Duration,
}

/// A task that completed in time.
#[derive(Debug)]
pub struct Success<T> {
    /// Which request, from 0.
    pub index: usize,
    /// From its submission to its result, as seen here.
    pub took: Duration,
    /// What it came to.
    pub result: TaskResult<T>,
}

/// A task that came to nothing.
#[derive(Debug)]
pub struct Failure {
    /// Which request, from 0.
    pub index: usize,
    /// Its task.
    pub task_id: EntityId,
    /// From its submission to that, as seen here.
    pub took: Duration,
    /// Why.
    pub error: WaitError,
}

/// A task that had not ended in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// Which request, from 0.
    pub index: usize,
    /// Its task.
    pub task_id: EntityId,
    /// Who had it, if anybody had.
    pub agent_id: Option<Id>,
}

/// How long the successes took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timings {
    /// The quickest.
    pub min: Duration,
    /// The mean.
    pub mean: Duration,
    /// Half of them took no longer.
    pub p50: Duration,
    /// 95 of a hundred took no longer.
    pub p95: Duration,
    /// The slowest.
    pub max: Duration,
}

impl Client {
    /// Submits many tasks and collects what they come to. They belong to one piece of work and one trace.
    /// Begins with [`Collect::run`]; by default 16 at a time, 30 s for each, and what is late is cancelled.
    pub fn collect<I>(&self, requests: I) -> Collect<I>
    where
        I: IntoIterator<Item = TaskRequest>,
    {
        let client = self.clone();
        Collect { client, requests, workers: 16, each: Duration::from_secs(30), cancel_late: true }
    }
}

impl<I: IntoIterator<Item = TaskRequest>> Collect<I> {
    /// So many tasks at a time, at least 1.
    #[must_use]
    pub fn workers(mut self, workers: usize) -> Collect<I> {
        self.workers = workers.max(1);
        self
    }

    /// The time limit of each, from its submission.
    #[must_use]
    pub fn each_within(mut self, limit: Duration) -> Collect<I> {
        self.each = limit;
        self
    }

    /// Leaves running what is late.
    #[must_use]
    pub fn keep_late(mut self) -> Collect<I> {
        self.cancel_late = false;
        self
    }

    /// Submits, waits, collects. It takes at most about the limit of each, times requests per worker.
    pub async fn run<T: DeserializeOwned>(self) -> Collected<T> {
        let began = Instant::now();
        let client = self.client.for_one_piece_of_work();
        let (client, each, cancel_late) = (&client, self.each, self.cancel_late);
        let ends = futures::stream::iter(self.requests.into_iter().enumerate())
            .map(|(index, request)| one::<T>(client, index, request, each, cancel_late))
            .buffer_unordered(self.workers);
        let mut collected = Collected {
            successes: Vec::new(),
            failures: Vec::new(),
            late: Vec::new(),
            elapsed: began.elapsed(),
        };
        futures::pin_mut!(ends);
        while let Some(end) = ends.next().await {
            match end {
                End::Success(success) => collected.successes.push(*success),
                End::Failure(failure) => collected.failures.push(*failure),
                End::Late(late) => collected.late.push(late),
            }
        }
        collected.successes.sort_by_key(|success| success.index);
        collected.failures.sort_by_key(|failure| failure.index);
        collected.late.sort_by_key(|late| late.index);
        collected.elapsed = began.elapsed();
        collected
    }
}

enum End<T> {
    Success(Box<Success<T>>),
    Failure(Box<Failure>),
    Late(Late),
}

async fn one<T: DeserializeOwned>(
    client: &Client,
    index: usize,
    request: TaskRequest,
    each: Duration,
    cancel_late: bool,
) -> End<T> {
    let began = Instant::now();
    let task_id = request.task_id().clone();
    let called = client.call::<T>(request, each).await;
    let took = began.elapsed();
    match called {
        Ok(result) => End::Success(Box::new(Success { index, took, result })),
        Err(WaitError::NotInTime { .. }) => {
            let agent_id = who_has(client, &task_id).await;
            if cancel_late {
                cancel(client, &task_id).await;
            }
            End::Late(Late { index, task_id, agent_id })
        }
        Err(error) => End::Failure(Box::new(Failure { index, task_id, took, error })),
    }
}

async fn who_has(client: &Client, task_id: &EntityId) -> Option<Id> {
    let asked = tokio::time::timeout(AFTERWORD, client.get(task_id)).await;
    asked.ok()?.ok()?.attempts.last().map(|attempt| attempt.agent_id.clone())
}

async fn cancel(client: &Client, task_id: &EntityId) {
    match tokio::time::timeout(AFTERWORD, client.cancel(task_id, "its result came too late")).await {
        // It may have ended at this very moment, or never have arrived.
        Ok(Ok(()) | Err(DoorError::Refused(_))) => {}
        Ok(Err(error)) => tracing::warn!(%task_id, %error, "a late task could not be cancelled"),
        Err(_) => tracing::warn!(%task_id, "a late task could not be cancelled in time"),
    }
}

impl Client {
    /// The same client; all that it submits shares a trace and a correlation id, new ones where it has none.
    fn for_one_piece_of_work(&self) -> Client {
        let origin = self.origin();
        let traceparent = origin.traceparent.clone().unwrap_or_else(|| trace::begin().to_string());
        let correlation_id = origin.correlation_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string());
        let origin =
            Origin { traceparent: Some(traceparent), correlation_id: Some(correlation_id), ..origin.clone() };
        Client::new(self.mesh().clone(), origin)
    }
}

impl<T> Collected<T> {
    /// How many tasks there were.
    pub fn total(&self) -> usize {
        self.successes.len() + self.failures.len() + self.late.len()
    }

    /// Successes among all, 0 to 1; 1 when there were none at all.
    pub fn success_rate(&self) -> f64 {
        match self.total() {
            0 => 1.0,
            total => self.successes.len() as f64 / total as f64,
        }
    }

    /// The outputs of the successes, in the order of the requests.
    pub fn outputs(&self) -> impl Iterator<Item = &T> {
        self.successes.iter().map(|success| &success.result.output)
    }

    /// How long the successes took; `None` when there were none.
    pub fn timings(&self) -> Option<Timings> {
        let mut took: Vec<Duration> = self.successes.iter().map(|success| success.took).collect();
        took.sort();
        let (min, max) = (*took.first()?, *took.last()?);
        // Nearest rank: the smallest value that so many of a hundred do not exceed.
        let at = |percent: usize| took[(took.len() * percent).div_ceil(100).saturating_sub(1)];
        let mean = took.iter().sum::<Duration>() / u32::try_from(took.len()).unwrap_or(u32::MAX);
        Some(Timings { min, mean, p50: at(50), p95: at(95), max })
    }
}
