//! A team that bids for a stream of work. One of them is killed (SIGKILL) while it holds an award: the award is revoked, the next best
//! does the work, and the rest of the stream goes to those who are left.

use super::stage::{Opened, SceneError, Stage};
use super::told::{Decided, Told, word};
use super::{bad, lines};
use agent_sdk::{AgentBuilder, Award, Bid, Bidder, Json, Question, TaskError, WorkReport};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use synod_negotiation::contract_net::Outcome;
use synod_protocol::negotiation::Invite;

/// Invoices of one week in batches, to be added up quickly or cheaply: made up, with the names of no firm.
const INVOICES: &str = include_str!("input/invoices.csv");
/// What each bookkeeper takes for a line, in cents and milliseconds.
const BOOKKEEPERS: &str = include_str!("input/bookkeepers.csv");
/// Who dies, and over which batch.
const DIES: (&str, &str) = ("cem", "wednesday");
/// Between two looks at who has the award.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// The award that is waited for is there sooner.
const AWARDED_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Batch {
    name: String,
    wanted: String,
    cents: Vec<u64>,
}

impl Batch {
    fn total_cents(&self) -> u64 {
        self.cents.iter().sum()
    }
}

/// In the order of the file.
fn batches() -> Result<Vec<Batch>, SceneError> {
    let mut batches: Vec<Batch> = Vec::new();
    for line in lines(INVOICES) {
        let [name, wanted, _supplier, cents] = line[..] else {
            return Err(bad("an invoice has four fields"));
        };
        let cents = cents.parse().map_err(|e| bad(&format!("{cents}: {e}")))?;
        match batches.last_mut().filter(|batch| batch.name == name) {
            Some(batch) => batch.cents.push(cents),
            None => {
                let (name, wanted) = (name.to_owned(), wanted.to_owned());
                batches.push(Batch { name, wanted, cents: vec![cents] });
            }
        }
    }
    Ok(batches)
}

/// Bids by the line, and takes the time that it has promised.
#[derive(Clone, Copy, Debug)]
struct Bookkeeper {
    cents_a_line: u64,
    ms_a_line: u64,
}

fn bookkeepers() -> Result<BTreeMap<String, Bookkeeper>, SceneError> {
    let read = |line: Vec<&'static str>| {
        let [name, cents, ms] = line[..] else { return Err(bad("a bookkeeper has three fields")) };
        let number = |text: &str| text.parse::<u64>().map_err(|e| bad(&format!("{text}: {e}")));
        let (cents_a_line, ms_a_line) = (number(cents)?, number(ms)?);
        Ok((name.to_owned(), Bookkeeper { cents_a_line, ms_a_line }))
    };
    lines(BOOKKEEPERS).map(read).collect()
}

pub(super) fn members() -> Result<Vec<String>, SceneError> {
    Ok(bookkeepers()?.into_keys().collect())
}

/// What becomes of a batch.
#[derive(Serialize, Deserialize)]
struct Sum {
    lines: usize,
    total_cents: u64,
}

impl Bidder for Bookkeeper {
    async fn bid(&self, question: &Question) -> Result<Option<Bid>, TaskError> {
        let lines = question.question::<Batch>()?.cents.len() as u64;
        Ok(Some(Bid { time_ms: Some(self.ms_a_line * lines), ..Bid::at(self.cents_a_line * lines) }))
    }

    async fn result(&self, question: &Question, award: &Award) -> Result<Option<WorkReport>, TaskError> {
        let batch: Batch = question.question()?;
        tokio::time::sleep(Duration::from_millis(award.time_ms.unwrap_or(0))).await; // the work itself
        let sum = Sum { lines: batch.cents.len(), total_cents: batch.total_cents() };
        let sum = Json::of(&sum).map_err(|e| TaskError::permanent("invalid_output", e.to_string()))?;
        Ok(Some(WorkReport::Result(sum)))
    }
}

pub(super) fn member(name: &str, agent: AgentBuilder) -> Result<AgentBuilder, SceneError> {
    Ok(agent.bidder(bookkeepers()?.remove(name).ok_or_else(|| bad(name))?))
}

pub(super) async fn play(stage: &Stage) -> Result<Told, SceneError> {
    let mut decisions = Vec::new();
    let mut notes = Vec::new();
    for batch in batches()? {
        let utility = match batch.wanted.as_str() {
            "quickly" => json!({"time": 1}),
            _ => json!({"price": 3, "time": 1}),
        };
        let rules = json!({"utility": utility, "result": true, "result_ms": 30_000});
        let mut open = stage.ask(&batch.name, "contract_net", &batch, &rules)?;
        // Whoever of the team is there, by what it can do: who has died is not asked for the next batch.
        open.invite = Some(Invite {
            capability: Some(stage.capability()?),
            labels: Some(stage.label()),
            min: Some(1),
            max: None,
        });
        let opened = stage.open(open).await?;
        let dies = batch.name == DIES.1;
        let killed = if dies { Some(killed(stage, &opened).await?) } else { None };
        let decided = in_short(stage.decided(opened).await?, &batch, !dies)?;
        if let Some(at) = killed {
            let (who, over) = DIES;
            notes.push(format!(
                "{who} was killed (SIGKILL) while it held the award for {over}; the next best was done with it {:.1} s later.",
                at.elapsed().as_secs_f64()
            ));
        }
        decisions.push(decided);
    }
    Ok(Told {
        scene: "team",
        about: "Four bookkeepers, each a process, bid for six batches of invoices by price and time; the best bidder that commits \
                itself adds the batch up. One of them dies over its work."
            .to_owned(),
        decisions,
        notes,
        run: stage.run.clone(),
        took_ms: stage.took_ms(),
    })
}

/// Kills the member as soon as it works on its award; when that was.
async fn killed(stage: &Stage, opened: &Opened) -> Result<Instant, SceneError> {
    let id = stage.id(DIES.0)?;
    let until = Instant::now() + AWARDED_WITHIN;
    loop {
        let view = opened.handle.get().await?;
        let round = view.rounds.last().filter(|round| round.kind == "result" && round.awaits(&id));
        if let (Some(_), Some(process)) = (round, stage.members.get(&id)) {
            process.signal(Signal::SIGKILL);
            return Ok(Instant::now());
        }
        if view.status.is_final() || Instant::now() > until {
            return Err(SceneError::Unexpected(format!("{} was to have the award for {}", DIES.0, DIES.1)));
        }
        tokio::time::sleep(LOOK_EVERY).await; // the condition is asked again
    }
}

fn in_short(decided: Decided, batch: &Batch, brief: bool) -> Result<Decided, SceneError> {
    let outcome: Outcome = serde_json::from_value(decided.outcome.clone())?;
    let (Some(award), Some(result)) = (&outcome.award, &outcome.result) else {
        return Err(SceneError::Unexpected(format!("nobody has done {}", batch.name)));
    };
    let Sum { lines, total_cents } = result.to()?;
    let mut said = vec![format!(
        "{:<10} {lines:>2} lines, {}: {} for {} cents, promised {} ms, took {} ms; total {}.{:02}",
        batch.name,
        batch.wanted,
        award.participant,
        award.price,
        award.time_ms.unwrap_or(0),
        outcome.actual_ms.unwrap_or(0),
        total_cents / 100,
        total_cents % 100,
    )];
    for one in &outcome.revoked {
        said.push(format!("the award to {} was revoked: {}", one.participant, word(&one.why)?));
    }
    Ok(Decided { brief, ..decided.in_short(said) })
}
