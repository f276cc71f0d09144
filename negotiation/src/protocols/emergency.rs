//! An emergency: all who have a role are asked to acknowledge, then one after the other of the list.

use crate::bounds;
use crate::emergency::{Report, Rules, Said, Seat, Standing, follow};
use crate::protocol::{Call, Decision, Next, Protocol, Table, answer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::negotiation::Round;
use synod_protocol::{Error, Id, Json, Timestamp};

/// What participants are asked for.
const ACKNOWLEDGE: &str = "acknowledge";
/// Bytes of a note, and of why somebody is unable.
const NOTE_MAX: usize = 500;

/// `emergency`: rules are [`Rules`], an answer is an [`Acknowledgement`]; the outcome is a [`Report`].
#[derive(Clone, Copy, Debug)]
pub struct Emergency;

/// What one who is called answers: one of `acknowledged` and `unable`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// It is on it; `true`.
    #[serde(default)]
    pub acknowledged: Option<bool>,
    /// What it says of it, in at most 500 bytes.
    #[serde(default)]
    pub note: Option<String>,
    /// It cannot, and why, in at most 500 bytes.
    #[serde(default)]
    pub unable: Option<String>,
}

impl Acknowledgement {
    /// It is on it.
    pub fn given() -> Acknowledgement {
        Acknowledgement { acknowledged: Some(true), ..Acknowledgement::default() }
    }

    /// It cannot, and why, in at most 500 bytes.
    pub fn unable(why: impl Into<String>) -> Acknowledgement {
        Acknowledgement { unable: Some(why.into()), ..Acknowledgement::default() }
    }
}

/// What those who are called are shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Alarm {
    /// The procedure.
    pub procedure: String,
    /// What everyone does.
    pub steps: Vec<String>,
    /// What each role does besides.
    pub role_steps: BTreeMap<String, Vec<String>>,
    /// Which roles are called, and their holders; on the way down the list: those whose place is to be taken.
    pub roles: BTreeMap<String, Vec<Id>>,
    /// How many of the list have been asked, with this one.
    pub escalation: usize,
}

impl Protocol for Emergency {
    fn name(&self) -> &'static str {
        "emergency"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        let rules: Rules = table.rules()?;
        let standing = follow(&rules, &participants(table), &[], false).map_err(|error| {
            let field = format!("/rules{}", error.field.as_deref().unwrap_or_default());
            error.with_field(field)
        })?;
        match follows(&rules, standing, table) {
            Next::Round(call) => Ok(call),
            _ => Err(Error::invalid("nobody has a role").with_field("/rules/roles")),
        }
    }

    fn check(&self, _table: &Table<'_>, _by: &Id, response: &Json) -> Result<(), Error> {
        let said: Acknowledgement = answer(response)?;
        let is_one = match (said.acknowledged, &said.unable) {
            (Some(true), None) => true,
            (None, Some(_)) => said.note.is_none(),
            _ => false,
        };
        if !is_one {
            let message = "an answer is acknowledged: true, with a note or without, or unable with why";
            return Err(Error::invalid(message).with_field("/response"));
        }
        for (field, text) in [("/response/note", &said.note), ("/response/unable", &said.unable)] {
            text.as_ref().map_or(Ok(()), |text| bounds::text(field, text, 0, NOTE_MAX))?;
        }
        Ok(())
    }

    fn close(&self, table: &Table<'_>) -> Next {
        match stands(table) {
            Ok((rules, standing)) => follows(&rules, standing, table),
            Err(error) => Next::Failed { reason: error.message, outcome: None },
        }
    }
}

fn participants(table: &Table<'_>) -> Vec<(Id, Option<String>)> {
    table.participants.iter().map(|participant| (participant.id.clone(), participant.role.clone())).collect()
}

fn stands(table: &Table<'_>) -> Result<(Rules, Standing), Error> {
    let rules: Rules = table.rules()?;
    let rounds =
        table.rounds.iter().map(|round| said(round, table.opened_at)).collect::<Result<Vec<_>, _>>()?;
    let standing = follow(&rules, &participants(table), &rounds, !table.may_go_on())?;
    Ok((rules, standing))
}

fn said(round: &Round, opened_at: Timestamp) -> Result<BTreeMap<Id, Said>, Error> {
    let of = |id: &Id| {
        let Some(given) = round.answers.get(id) else {
            return Ok(round.gone.get(id).map_or(Said::Silent, |reason| Said::Gone(reason.clone())));
        };
        let Some(response) = &given.response else { return Ok(Said::Unable(None)) };
        let answered: Acknowledgement = answer(response)?;
        let after_ms = given.at.millis_since(opened_at);
        Ok(match answered.unable {
            Some(why) => Said::Unable(Some(why)),
            None => Said::Acknowledged { after_ms, note: answered.note },
        })
    };
    round.asked.iter().map(|id| Ok((id.clone(), of(id)?))).collect()
}

fn follows(rules: &Rules, standing: Standing, table: &Table<'_>) -> Next {
    match standing {
        Standing::Call(seats) => {
            let asked = seats.iter().map(|seat| seat.holder.clone()).collect();
            Next::Round(call(rules, seats, asked, 0))
        }
        Standing::Escalate(id, seats) => {
            Next::Round(call(rules, seats, BTreeSet::from([id]), table.rounds.len()))
        }
        Standing::Over(report) => over(rules, &report),
    }
}

fn call(rules: &Rules, seats: Vec<Seat>, asked: BTreeSet<Id>, escalation: usize) -> Call {
    let mut roles: BTreeMap<String, Vec<Id>> = BTreeMap::new();
    for Seat { role, holder } in seats {
        roles.entry(role).or_default().push(holder);
    }
    let role_steps = rules.role_steps.iter().filter(|(role, _)| roles.contains_key(*role));
    let alarm = Alarm {
        procedure: rules.procedure.clone(),
        steps: rules.steps.clone(),
        role_steps: role_steps.map(|(role, steps)| (role.clone(), steps.clone())).collect(),
        roles,
        escalation,
    };
    let content = Json::of(&alarm).unwrap_or_default();
    Call { kind: ACKNOWLEDGE.to_owned(), content, asked: Some(asked), limit_ms: Some(rules.acknowledge_ms()) }
}

fn over(rules: &Rules, report: &Report) -> Next {
    let outcome = Json::of(report).unwrap_or_default();
    if rules.fail_when_incomplete && !report.complete {
        let reason = format!("the procedure {} is not complete", report.procedure);
        return Next::Failed { reason, outcome: Some(outcome) };
    }
    Next::Decided(Decision { outcome, explanation: report.explanation.clone() })
}
