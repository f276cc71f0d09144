//! A contract net: everyone is asked for a bid, then the best bidder alone to commit itself, and perhaps for its result.

use super::said::under;
use crate::bounds;
use crate::contract_net::{Bid, Bidder, Outcome, Reply, Rules, Stage, Standing, Why, follow};
use crate::protocol::{Call, Decision, Next, Protocol, Table, answer};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use synod_protocol::negotiation::Round;
use synod_protocol::{Error, Id, Json};

/// What participants are asked for.
const BID: &str = "bid";
const COMMIT: &str = "commit";
const RESULT: &str = "result";
/// Bytes of what is said of a refusal or a failure.
const SAID_MAX: usize = 1_000;

/// `contract_net`: rules are [`Rules`]; answers are a [`Bid`], a [`Commitment`], a [`Report`]; the outcome is an [`Outcome`].
#[derive(Clone, Copy, Debug)]
pub struct ContractNet;

/// Whether a bidder commits itself to an award.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Commitment {
    /// Whether it does.
    pub accept: bool,
    /// Which award it answers; where it is said it has to be the one in force.
    #[serde(default)]
    pub award: Option<u32>,
    /// Why not, in at most 1,000 bytes.
    #[serde(default)]
    pub why: Option<String>,
}

impl Commitment {
    /// It commits itself.
    pub fn accept() -> Commitment {
        Commitment { accept: true, award: None, why: None }
    }

    /// It does not, and why, in at most 1,000 bytes.
    pub fn refuse(why: impl Into<String>) -> Commitment {
        Commitment { accept: false, award: None, why: Some(why.into()) }
    }
}

/// What became of the work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The result.
    Result(Json),
    /// There is none, and why, in 1 to 1,000 bytes.
    Failed(String),
}

/// Whose award a round is about.
#[derive(Deserialize)]
struct Held {
    award: u32,
    participant: Id,
}

impl Protocol for ContractNet {
    fn name(&self) -> &'static str {
        "contract_net"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        let rules: Rules = table.rules()?;
        rules.check().map_err(|error| under("/rules", error))?;
        Ok(Call { kind: BID.to_owned(), ..Call::default() })
    }

    fn check(&self, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error> {
        let Some(round) = table.round() else { return Ok(()) };
        match round.kind.as_str() {
            COMMIT => check_commitment(&answer(response)?, round, by),
            RESULT => check_report(&answer(response)?),
            _ => {
                let rules: Rules = table.rules()?;
                rules.check_bid(&answer(response)?).map_err(|error| under("/response", error))
            }
        }
    }

    fn close(&self, table: &Table<'_>) -> Next {
        match stands(table) {
            Ok((rules, standing)) => follows(&rules, standing, table),
            Err(error) => Next::Failed { reason: error.message, outcome: None },
        }
    }
}

fn check_commitment(said: &Commitment, round: &Round, by: &Id) -> Result<(), Error> {
    let held: Option<Held> = round.content.to().ok();
    let Some(held) = held.filter(|held| held.participant == *by) else {
        return Err(Error::invalid(format!("{by} holds no award")).with_field("/participant"));
    };
    if let Some(award) = said.award.filter(|award| *award != held.award) {
        let message = format!("award {award} is not in force, award {} is", held.award);
        return Err(Error::invalid(message).with_field("/response/award"));
    }
    said.why.as_ref().map_or(Ok(()), |why| bounds::text("/response/why", why, 0, SAID_MAX))
}

fn check_report(report: &Report) -> Result<(), Error> {
    match report {
        Report::Result(_) => Ok(()),
        Report::Failed(why) => bounds::text("/response/failed", why, 1, SAID_MAX),
    }
}

/// Where it stands after all rounds so far.
fn stands(table: &Table<'_>) -> Result<(Rules, Standing), Error> {
    let rules: Rules = table.rules()?;
    let (first, later) = table.rounds.split_first().ok_or_else(|| Error::invalid("no round was asked"))?;
    let mut bidders = Vec::new();
    for participant in table.participants {
        let given = first.answers.get(&participant.id).and_then(|given| given.response.as_ref());
        if let Some(response) = given {
            let bid: Bid = answer(response)?;
            bidders.push(Bidder { participant: participant.id.clone(), bid });
        }
    }
    let replies: Vec<Reply> = later.iter().map(reply).collect::<Result<_, _>>()?;
    let standing = follow(&rules, &bidders, &replies)?;
    Ok((rules, standing))
}

/// What came back from the one whom this round asked.
fn reply(round: &Round) -> Result<Reply, Error> {
    let held: Held = answer(&round.content)?;
    let lost = |why, said| Ok(Reply::Lost { why, said });
    let Some(given) = round.answers.get(&held.participant) else {
        return match round.gone.get(&held.participant) {
            Some(reason) => lost(Why::Gone, Some(reason.clone())),
            None => lost(Why::Silent, None),
        };
    };
    let Some(response) = &given.response else { return lost(Why::Abstained, None) };
    if round.kind == COMMIT {
        let said: Commitment = answer(response)?;
        return if said.accept { Ok(Reply::Accepted) } else { lost(Why::Refused, said.why) };
    }
    match answer(response)? {
        Report::Failed(why) => lost(Why::Failed, Some(why)),
        Report::Result(result) => {
            Ok(Reply::Done { result, actual_ms: given.at.millis_since(round.opened_at) })
        }
    }
}

fn follows(rules: &Rules, standing: Standing, table: &Table<'_>) -> Next {
    match standing {
        Standing::Won(outcome) => {
            let explanation = outcome.explanation.clone();
            Next::Decided(Decision { outcome: json(&outcome), explanation })
        }
        Standing::Nobody(reason, outcome) => Next::Failed { reason, outcome: Some(json(&outcome)) },
        Standing::Asks { award, so_far, .. } if !table.may_go_on() => {
            let asked = format!("{} cannot be asked any more", award.participant);
            let reason = format!("there is no time or no round left: {asked}");
            Next::Failed { reason, outcome: Some(json(&so_far)) }
        }
        Standing::Asks { award, stage, .. } => {
            let (kind, limit_ms) = match stage {
                Stage::Commit => (COMMIT, rules.commit_ms()),
                Stage::Result => (RESULT, rules.result_ms(award.time_ms)),
            };
            let content = Json::of(&award).unwrap_or_default();
            let asked = Some(BTreeSet::from([award.participant]));
            Next::Round(Call { kind: kind.to_owned(), content, asked, limit_ms: Some(limit_ms) })
        }
    }
}

fn json(outcome: &Outcome) -> Json {
    Json::of(outcome).unwrap_or_default()
}
