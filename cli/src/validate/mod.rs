//! Does this mesh keep its promises? One small check per promise, each on its own, against a mesh that runs.
//!
//! ```text
//! Site (clients, an echo agent) ──> check, check, check … ──> Row (held, broken, not applicable; how long)
//!   └─ everything made in the mesh is named after this run and taken out again at the end
//! ```
//!
//! A check asks the way any client would: through HTTP, Kafka, Redis and the SDK, never by looking inside. Each has a break of
//! the mesh in `tests/cli/breaks` that turns it red.
//! What stays behind is what no mesh forgets at once: ended tasks in its history, and the topics
//! `synod.reply.validate`, `validate.retries` and `synod.retry.1s`, which all runs share.

mod breaker;
mod broken;
mod changes;
mod choice;
mod codecs;
mod doors;
mod figures;
mod happened;
mod history;
mod junit;
mod leases;
mod letters;
mod listening;
mod loss;
mod negotiations;
mod protocols;
mod queues;
mod reach;
mod refusals;
mod replies;
mod retries;
mod settings;
mod shards;
mod site;
mod staff;
mod state;
mod takeover;
mod tasks;
mod workflows;

pub use broken::Broken;
pub use figures::{Figure, Goal};
pub use junit::junit;
pub use site::Site;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use serde::Serialize;
use std::time::{Duration, Instant};

/// One check may take so long.
const CHECK_WITHIN: Duration = Duration::from_secs(60);

/// What a check that is not broken says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// It held; what was seen.
    Yes(String),
    /// It cannot be checked here; why.
    NotApplicable(String),
}

type Verdict = Result<Held, Broken>;

/// One promise.
struct Check {
    name: &'static str,
    run: for<'a> fn(&'a Site) -> BoxFuture<'a, Verdict>,
}

/// Whether there is a mesh at all.
const REACH: [Check; 3] = [
    Check { name: "http answers", run: |site| reach::http(site).boxed() },
    Check { name: "kafka answers", run: |site| reach::kafka(site).boxed() },
    Check { name: "redis answers", run: |site| reach::redis(site).boxed() },
];

/// What it promises, the plainest first: what a broken one means is easier to tell when those before it hold.
const PROMISES: [Check; 52] = [
    Check { name: "topics are as they should be", run: |site| settings::topics(site).boxed() },
    Check { name: "every shard has one owner and advances", run: |site| shards::owned(site).boxed() },
    Check { name: "typed messages in json", run: |site| codecs::json(site).boxed() },
    Check { name: "typed messages in bincode", run: |site| codecs::bincode(site).boxed() },
    Check { name: "quick door: submit, agent, result", run: |site| doors::quick(site).boxed() },
    Check { name: "kafka door: submit, agent, reply", run: |site| doors::kafka(site).boxed() },
    Check { name: "kafka door takes bincode", run: |site| doors::kafka_bincode(site).boxed() },
    Check { name: "one command through both doors is one task", run: |site| doors::twice(site).boxed() },
    Check { name: "malformed json is refused", run: |site| refusals::malformed(site).boxed() },
    Check { name: "an unknown type is refused", run: |site| refusals::unknown_type(site).boxed() },
    Check { name: "an unknown field is refused", run: |site| refusals::unknown_field(site).boxed() },
    Check { name: "an unknown task is not found", run: |site| refusals::unknown_task(site).boxed() },
    Check { name: "an id with another body is refused", run: |site| refusals::other_body(site).boxed() },
    Check { name: "a wrong token is fenced", run: |site| refusals::wrong_token(site).boxed() },
    Check { name: "a forbidden reply target is refused", run: |site| refusals::reply_target(site).boxed() },
    Check { name: "a cancelled task stays cancelled", run: |site| tasks::cancel(site).boxed() },
    Check { name: "what is done is not cancelled", run: |site| tasks::cancel_too_late(site).boxed() },
    Check { name: "a failure is tried again", run: |site| tasks::retried(site).boxed() },
    Check { name: "a deadline ends what nobody does", run: |site| tasks::deadline(site).boxed() },
    Check { name: "a choice is explained by its rule", run: |site| choice::explained(site).boxed() },
    Check { name: "who is shut out gets nothing", run: |site| choice::shut_out(site).boxed() },
    Check { name: "one task of a key runs at a time", run: |site| choice::one_at_a_time(site).boxed() },
    Check { name: "what is paused gets no work", run: |site| choice::paused(site).boxed() },
    Check { name: "a snapshot shows the fleet", run: |site| choice::snapshot(site).boxed() },
    Check { name: "a stale write of state is refused", run: |site| state::stale(site).boxed() },
    Check { name: "what loses in a conflict is kept", run: |site| state::lost(site).boxed() },
    Check { name: "a batch of state is whole or nothing", run: |site| state::batch(site).boxed() },
    Check { name: "a change of state is told", run: |site| changes::told(site).boxed() },
    Check { name: "a change of state is mirrored", run: |site| changes::mirrored(site).boxed() },
    Check {
        name: "a lock has one holder, and fences the last",
        run: |site| leases::one_holder(site).boxed(),
    },
    Check {
        name: "counters and budgets keep their bounds",
        run: |site| leases::shared_numbers(site).boxed(),
    },
    Check { name: "a queue delivers again, then buries", run: |site| queues::delivered(site).boxed() },
    Check { name: "a receipt that is over is fenced", run: |site| queues::fenced(site).boxed() },
    Check { name: "an agent's memory is handed over", run: |site| queues::remembered(site).boxed() },
    Check { name: "a vote is sealed, and decided once", run: |site| negotiations::vote(site).boxed() },
    Check { name: "every protocol decides as it says", run: |site| protocols::each(site).boxed() },
    Check { name: "without a quorum nothing is decided", run: |site| negotiations::quorum(site).boxed() },
    Check { name: "a certificate is recomputed", run: |site| negotiations::certificate(site).boxed() },
    Check { name: "a decision starts what it should", run: |site| negotiations::then(site).boxed() },
    Check { name: "a broken workflow is refused", run: |site| workflows::broken(site).boxed() },
    Check { name: "a workflow runs, with people in it", run: |site| workflows::with_people(site).boxed() },
    Check { name: "what is cancelled starts nothing", run: |site| workflows::cancelled(site).boxed() },
    Check {
        name: "who listens is told of an approval",
        run: |site| listening::told_of_approval(site).boxed(),
    },
    Check { name: "events are complete and in order", run: |site| happened::in_order(site).boxed() },
    Check { name: "the ledger tells a task's life", run: |site| history::life(site).boxed() },
    Check { name: "a dead letter is redriven, and put away", run: |site| letters::round_trip(site).boxed() },
    Check { name: "what is handed back comes again when due", run: |site| retries::come_again(site).boxed() },
    Check { name: "a killed agent's work goes to another", run: |site| loss::killed(site).boxed() },
    Check { name: "a breaker opens, tries, and closes", run: |site| breaker::cycle(site).boxed() },
    Check { name: "a killed coordinator's shards go on", run: |site| takeover::killed(site).boxed() },
    Check { name: "Redis is wiped, and all is there again", run: |site| takeover::wiped(site).boxed() },
    Check { name: "the ledger replays clean", run: |site| history::replays(site).boxed() },
];

/// What measures headline figures; those of some promises come with their check.
const MEASURES: [Check; 3] = [
    Check { name: "figures of the bus", run: |site| figures::bus(site).boxed() },
    Check { name: "figures of Redis", run: |site| figures::redis(site).boxed() },
    Check { name: "figures of a coordinator", run: |site| figures::coordinator(site).boxed() },
];

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// The promise held.
    Pass,
    /// It did not.
    Fail,
    /// It cannot be checked here.
    NotApplicable,
    /// A figure that nothing was to be judged by.
    Measured,
}

/// One line of the answer.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Which promise, or which figure.
    pub check: &'static str,
    /// How it came out.
    pub result: Mark,
    /// What was seen, or what was wrong.
    pub why: String,
    /// How long it took.
    pub duration_ms: f64,
    /// What was measured, where this is a figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub figure: Option<Figure>,
}

/// What is to be done with the headline figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Figures {
    /// One that is not as promised fails
    Judged,
    /// They are told
    Told,
    /// They are not measured
    Off,
}

/// Which checks are made.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Those whose names contain one of these; all, if there are none.
    pub only: Vec<String>,
    /// The figures.
    pub figures: Figures,
}

impl Wanted {
    fn has(&self, check: &Check) -> bool {
        self.only.is_empty() || self.only.iter().any(|part| check.name.contains(part.as_str()))
    }

    fn checks(&self) -> Vec<&'static Check> {
        let measures = MEASURES.iter().filter(|_| self.figures != Figures::Off);
        PROMISES.iter().chain(measures).filter(|check| self.has(check)).collect()
    }
}

/// The names of all checks, in their order.
pub fn names() -> impl Iterator<Item = &'static str> {
    REACH.iter().chain(&PROMISES).chain(&MEASURES).map(|check| check.name)
}

/// Runs the checks that are wanted, one after the other, and tells the figures; `each` is told as they come out. What cannot
/// be reached breaks every promise: the rest is not tried then.
pub async fn run_all(site: &Site, wanted: &Wanted, mut each: impl FnMut(&Row)) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    for check in &REACH {
        rows.push(run_one(check, site).await);
        rows.last().into_iter().for_each(&mut each);
    }
    let missing = rows.iter().find(|row| row.result == Mark::Fail).map(|row| row.check.to_owned());
    let unable = match missing {
        Some(check) => Some(format!("not checked, since this failed: {check}")),
        None => site.prepare().await.err().map(|broken| format!("not checked: {broken}")),
    };
    for check in wanted.checks() {
        rows.push(match &unable {
            None => run_one(check, site).await,
            Some(why) => Row::of(check.name, Mark::Fail, why.clone()),
        });
        rows.last().into_iter().for_each(&mut each);
    }
    let judged = wanted.figures == Figures::Judged;
    rows.extend(site.figures().into_iter().filter(|_| wanted.figures != Figures::Off).map(|figure| {
        let result = match (judged, figure.is_met()) {
            (false, _) => Mark::Measured,
            (true, true) => Mark::Pass,
            (true, false) => Mark::Fail,
        };
        Row { figure: Some(figure.clone()), ..Row::of(figure.name, result, figure.to_string()) }
    }));
    rows
}

impl Row {
    fn of(check: &'static str, result: Mark, why: String) -> Row {
        Row { check, result, why, duration_ms: 0.0, figure: None }
    }
}

async fn run_one(check: &Check, site: &Site) -> Row {
    let began = Instant::now();
    let verdict = tokio::time::timeout(CHECK_WITHIN, (check.run)(site)).await;
    let (result, why) = match verdict {
        Ok(Ok(Held::Yes(seen))) => (Mark::Pass, seen),
        Ok(Ok(Held::NotApplicable(why))) => (Mark::NotApplicable, why),
        Ok(Err(broken)) => (Mark::Fail, broken.to_string()),
        Err(_) => (Mark::Fail, format!("no result within {} s", CHECK_WITHIN.as_secs())),
    };
    let duration_ms = (began.elapsed().as_micros() / 100) as f64 / 10.0;
    Row { duration_ms, ..Row::of(check.name, result, why) }
}

/// Shorthand for a promise that held.
fn held(seen: impl Into<String>) -> Verdict {
    Ok(Held::Yes(seen.into()))
}
