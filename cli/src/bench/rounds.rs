//! Negotiations: a round beside what it is made of, a thousand participants, and a hundred negotiations at once.
//!
//! ```text
//!   one durable request and its reply:  a task, from Client::call to its result, of an agent that answers at once
//!   the cost of one message:            300 answers given by hand, all at once, from the first sent to the last accepted, over 300
//!   a round:                            Client::decide, from the opening to the decision that every participant has answered
//! ```
//!
//! The protocol is `fuse` by the median: it waits for every participant, so that nobody's answer is saved.

use super::figures::{Outcome, Samples, Side, Verdict};
use super::process::Process;
use super::publish::micros;
use super::site::{LIMIT, Site, end};
use super::{BenchError, Effort};
use agent_sdk::{Agent, Question, RunningAgent, TaskError, task};
use futures::future::try_join_all;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use serde_json::json;
use std::time::{Duration, Instant};
use synod_protocol::negotiation::OpenNegotiation;
use synod_protocol::{Id, Json};

/// Participants of the rounds that are held against their parts.
const SIZES: [usize; 3] = [3, 30, 300];
/// How many phases the protocol has: each is one durable request and its reply.
const PHASES: f64 = 1.0;
/// Answers that are given at once to find what one costs.
const BY_HAND: usize = 300;
/// The most that may be asked.
const MANY: usize = 1_000;
/// Negotiations at once, and the participants of each; nobody is in two of them.
const AT_ONCE: (usize, usize) = (100, 10);
/// Agents that start at a time.
const STARTING: usize = 50;

pub(super) async fn measure(site: &Site, effort: Effort) -> Result<Outcome, BenchError> {
    let agents = participants(site, MANY).await?;
    let stage = Stage { site, ids: agents.iter().map(|agent| agent.id().clone()).collect() };
    let parts = parts(&stage, effort).await?;
    let many = many(&stage, effort).await?;
    let at_once = at_once(&stage, effort).await?;
    end(agents).await?;
    let mut whole = Outcome::default();
    for outcome in [parts, many, at_once] {
        whole.rows.extend(outcome.rows);
        whole.verdicts.extend(outcome.verdicts);
    }
    Ok(whole)
}

/// Agents that answer at once, all in this process.
async fn participants(site: &Site, count: usize) -> Result<Vec<RunningAgent>, BenchError> {
    let capability = site.named("rounds");
    let start = |n: usize| {
        let capability = capability.clone();
        async move {
            let signal = move |_: Question| async move { Ok::<_, TaskError>(Some(n)) };
            let agent = Agent::builder(format!("{capability}-{n}"))
                .invited_by(&capability)
                .answers("signal", signal)
                .build(&site.mesh)?;
            Ok::<_, BenchError>(agent.start().await?)
        }
    };
    stream::iter(0..count).map(start).buffered(STARTING).try_collect().await
}

struct Stage<'a> {
    site: &'a Site,
    ids: Vec<Id>,
}

impl Stage<'_> {
    fn open(&self, participants: &[Id]) -> Result<OpenNegotiation, BenchError> {
        let id = format!("{}.{}", self.site.named("round"), uuid::Uuid::now_v7().simple());
        let mut open = OpenNegotiation::new(id.parse()?, "fuse", Json::of(&"how much?")?);
        open.rules = Some(Json::of(&json!({"numeric": {"method": "median"}}))?);
        open.participants = Some(participants.to_vec());
        Ok(open)
    }

    /// From the opening to the decision, in microseconds, with every answer counted.
    async fn round(&self, participants: &[Id]) -> Result<f64, BenchError> {
        let open = self.open(participants)?;
        let began = Instant::now();
        let view = self.site.client.decide(open, LIMIT).await?;
        let took = micros(began);
        let answers = view.rounds.first().map_or(0, |round| round.answers.len());
        if answers != participants.len() {
            let expected = participants.len();
            return Err(BenchError::Missing(format!("{answers} of {expected} participants have answered")));
        }
        Ok(took)
    }

    /// What one answer costs among many that are given at once.
    async fn message(&self) -> Result<Message, BenchError> {
        let nobodies: Vec<Id> =
            (0..BY_HAND).map(|n| format!("by-hand-{n}").parse()).collect::<Result<_, _>>()?;
        let handle = self.site.client.negotiate(self.open(&nobodies)?).await?;
        let answer = Json::of(&1)?;
        let used = Used::so_far(self.site)?;
        let began = Instant::now();
        try_join_all(nobodies.iter().map(|id| handle.respond(id, Some(answer.clone())))).await?;
        let took = micros(began);
        let (coordinator_us, own_us) = used.each_us(self.site, BY_HAND)?;
        handle.wait(LIMIT).await?;
        Ok(Message { took_us: took / BY_HAND as f64, coordinator_us, own_us })
    }
}

/// What one message costs.
struct Message {
    took_us: f64,
    coordinator_us: f64,
    own_us: f64,
}

/// Processor time that the coordinator, and this process with its agents and client, have used.
struct Used {
    coordinator: Duration,
    own: Duration,
}

impl Used {
    fn so_far(site: &Site) -> Result<Used, BenchError> {
        Ok(Used { coordinator: site.coordinator.cpu()?, own: Process::own().cpu()? })
    }

    /// Since then, for each of so many, in microseconds.
    fn each_us(&self, site: &Site, count: usize) -> Result<(f64, f64), BenchError> {
        let now = Used::so_far(site)?;
        let each = |used: Duration| used.as_secs_f64() * 1e6 / count as f64;
        Ok((each(now.coordinator - self.coordinator), each(now.own - self.own)))
    }
}

/// A round beside its parts, in turns.
async fn parts(stage: &Stage<'_>, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, calls) = effort.of((20, 10), (2, 3));
    let capability = stage.site.named("reply");
    let agents = stage.site.echoes(&capability, 1, 8).await?;
    let [mut replies, mut messages, mut coordinator, mut own] = <[Samples; 4]>::default();
    let [mut ours, mut parts, mut with_asks] = <[[Samples; 3]; 3]>::default();
    for round in 0..=rounds {
        let (mut reply, mut took) = (Vec::new(), <[Vec<f64>; 3]>::default());
        let message = stage.message().await?;
        for _ in 0..calls {
            for (took, size) in took.iter_mut().zip(SIZES) {
                let began = Instant::now();
                stage.site.client.call::<Json>(task(&capability).input(1), LIMIT).await?;
                reply.push(micros(began));
                took.push(stage.round(stage.ids.get(..size).unwrap_or(&stage.ids)).await?);
            }
        }
        // The first was for warming up.
        if round == 0 {
            continue;
        }
        for (n, (took, size)) in took.into_iter().zip(SIZES).enumerate() {
            let of = |messages: f64| reply.iter().map(|r| PHASES * r + messages * message.took_us).collect();
            parts[n].round(of(size as f64));
            with_asks[n].round(of(2.0 * size as f64));
            ours[n].round(took);
        }
        replies.round(reply);
        messages.one(message.took_us);
        coordinator.one(message.coordinator_us);
        own.one(message.own_us);
    }
    end(agents).await?;
    let mut rows = vec![
        replies.row("rounds", "one durable request and its reply (a task)", "us"),
        messages.row("rounds", format!("one answer, of {BY_HAND} given at once"), "us"),
        coordinator.row("rounds", "one answer: coordinator", "CPU us"),
        own.row("rounds", "one answer: client", "CPU us"),
    ];
    let mut verdicts = Vec::new();
    for (n, size) in SIZES.into_iter().enumerate() {
        rows.push(ours[n].row("rounds", format!("a round with {size}"), "us"));
        let what = format!("a round with {size} over its phase and {size} messages");
        verdicts.push(Verdict::goal(what, ours[n].over(&parts[n]), Side::AtMost, 1.3));
        let what = "the same, if the asking of each is a message too".to_owned();
        verdicts.push(Verdict::told(what, ours[n].over(&with_asks[n])));
    }
    Ok(Outcome { rows, verdicts })
}

/// As many as may be asked.
async fn many(stage: &Stage<'_>, effort: Effort) -> Result<Outcome, BenchError> {
    let (rounds, calls) = effort.of((8, 3), (2, 1));
    let [mut took, mut coordinator, mut own] = <[Samples; 3]>::default();
    for round in 0..=rounds {
        let mut all = Vec::new();
        let used = Used::so_far(stage.site)?;
        for _ in 0..calls {
            all.push(stage.round(&stage.ids).await? / 1e3);
        }
        let each = used.each_us(stage.site, calls * MANY)?;
        // The first was for warming up.
        if round > 0 {
            took.round(all);
            coordinator.one(each.0);
            own.one(each.1);
        }
    }
    let name = |what: &str| format!("{MANY} participants{what}");
    Ok(Outcome {
        rows: vec![
            took.row("rounds", name(""), "ms"),
            coordinator.row("rounds", name(": coordinator, each"), "CPU us"),
            own.row("rounds", name(": agents and client, each"), "CPU us"),
        ],
        verdicts: vec![Verdict::goal(
            format!("{MANY} participants, from the opening to the decision, p50 in ms"),
            took.spread(),
            Side::AtMost,
            1_000.0,
        )],
    })
}

/// Many small ones.
async fn at_once(stage: &Stage<'_>, effort: Effort) -> Result<Outcome, BenchError> {
    let rounds = effort.of(20, 2);
    let (negotiations, size) = AT_ONCE;
    let [mut rate, mut coordinator, mut own] = <[Samples; 3]>::default();
    for round in 0..=rounds {
        let (used, began) = (Used::so_far(stage.site)?, Instant::now());
        let all = stage.ids.chunks(size).take(negotiations).map(|some| stage.round(some));
        let decided = try_join_all(all).await?.len();
        let seconds = began.elapsed().as_secs_f64();
        let each = used.each_us(stage.site, decided)?;
        // The first was for warming up.
        if round > 0 {
            rate.one(decided as f64 / seconds);
            coordinator.one(each.0);
            own.one(each.1);
        }
    }
    let name = |what: &str| format!("{negotiations} at once, {size} in each{what}");
    Ok(Outcome {
        rows: vec![
            rate.row("rounds", name(""), "1/s"),
            coordinator.row("rounds", name(": coordinator, each"), "CPU us"),
            own.row("rounds", name(": agents and client, each"), "CPU us"),
        ],
        verdicts: vec![Verdict::goal(
            format!("decisions per second, {negotiations} at once with {size} participants each"),
            rate.spread(),
            Side::AtLeast,
            200.0,
        )],
    })
}
