//! Offers and counter-offers: each offer on the table is a round.

use crate::offers::{Offered, Rules, Say, Standing, Turn, check_offer, follow};
use crate::protocol::{Call, Decision, Next, Protocol, Table, answer};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::negotiation::Round;
use synod_protocol::{Error, Id, Json};

/// What participants are asked for.
const OFFER: &str = "offer";
const COUNTER: &str = "counter";
const MEDIATE: &str = "mediate";

/// `offers`: rules are [`Rules`]; answers are a [`Proposal`], a [`Say`]; the outcome is an [`crate::offers::Outcome`].
#[derive(Clone, Copy, Debug)]
pub struct Offers;

/// An offer, of who makes the first one, or of the mediator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The offer: any JSON.
    pub offer: Json,
}

/// What a mediator is shown.
#[derive(Serialize)]
struct Shown<'a> {
    offers: &'a [Offered],
}

impl Protocol for Offers {
    fn name(&self) -> &'static str {
        "offers"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        let rules: Rules = table.rules()?;
        let under = |error: Error| {
            let field = format!("/rules{}", error.field.as_deref().unwrap_or_default());
            error.with_field(field)
        };
        let standing = follow(&rules, &ids(table), &[]).map_err(under)?;
        match follows(standing, &rules, table) {
            Next::Round(call) => Ok(call),
            _ => Err(Error::invalid("there is nothing to negotiate").with_field("/rules")),
        }
    }

    fn check(&self, table: &Table<'_>, _by: &Id, response: &Json) -> Result<(), Error> {
        let Some(round) = table.round() else { return Ok(()) };
        if round.kind != COUNTER {
            let proposal: Proposal = answer(response)?;
            return check_offer("/response/offer", &proposal.offer);
        }
        let say: Say = answer(response)?;
        let tabled: Offered = answer(&round.content)?;
        say.check(&tabled.offer).map_err(|error| {
            let field = format!("/response{}", error.field.as_deref().unwrap_or_default());
            error.with_field(field)
        })
    }

    /// Enough are for the offer on the table.
    fn settles_early(&self) -> bool {
        true
    }

    fn settled(&self, table: &Table<'_>) -> bool {
        let Some(round) = table.round().filter(|round| round.kind == COUNTER) else { return false };
        let accepted = round.responses().filter(|(_, said)| matches!(answer(said), Ok(Say::Accept(true))));
        round.content.to().is_ok_and(|tabled: Offered| tabled.support + accepted.count() >= tabled.needed)
    }

    fn close(&self, table: &Table<'_>) -> Next {
        match stands(table) {
            Ok((rules, standing)) => follows(standing, &rules, table),
            Err(error) => Next::Failed { reason: error.message, outcome: None },
        }
    }
}

fn ids(table: &Table<'_>) -> Vec<Id> {
    table.participants.iter().map(|participant| participant.id.clone()).collect()
}

fn stands(table: &Table<'_>) -> Result<(Rules, Standing), Error> {
    let rules: Rules = table.rules()?;
    let participants = ids(table);
    let mut turns: Vec<Turn> = table.rounds.iter().map(turn).collect::<Result<_, _>>()?;
    let mut standing = follow(&rules, &participants, &turns)?;
    // Whoever is to be asked cannot be: it ends with what there is, as if the mediator had been silent.
    if !matches!(standing, Standing::Decided(_) | Standing::Failed(_)) && !table.may_go_on() {
        turns.push(Turn::Mediated { offer: None });
        standing = follow(&rules, &participants, &turns)?;
    }
    Ok((rules, standing))
}

fn turn(round: &Round) -> Result<Turn, Error> {
    let one = || round.responses().next().map(|(_, said)| answer::<Proposal>(said)).transpose();
    match round.kind.as_str() {
        OFFER => {
            let by = round.asked.first().cloned().ok_or_else(|| Error::invalid("nobody was asked"))?;
            Ok(Turn::First { by, offer: one()?.map(|said| said.offer) })
        }
        MEDIATE => Ok(Turn::Mediated { offer: one()?.map(|said| said.offer) }),
        _ => {
            let tabled: Offered = answer(&round.content)?;
            let read = |(id, said): (&Id, &Json)| Ok((id.clone(), answer(said)?));
            let said = round.responses().map(read).collect::<Result<BTreeMap<_, _>, Error>>()?;
            Ok(Turn::Tabled { offer: tabled.offer, said })
        }
    }
}

fn follows(standing: Standing, rules: &Rules, table: &Table<'_>) -> Next {
    let call = |kind: &str, content, asked| {
        Next::Round(Call { kind: kind.to_owned(), content, asked: Some(asked), limit_ms: None })
    };
    match standing {
        Standing::Decided(outcome) => {
            let explanation = outcome.explanation.clone();
            Next::Decided(Decision { outcome: Json::of(&outcome).unwrap_or_default(), explanation })
        }
        Standing::Failed(reason) => Next::Failed { reason, outcome: None },
        Standing::Propose(first) => call(OFFER, Json::null(), BTreeSet::from([first])),
        Standing::Mediate(mediator, offers) => {
            let content = Json::of(&Shown { offers: &offers }).unwrap_or_default();
            call(MEDIATE, content, BTreeSet::from([mediator]))
        }
        Standing::Table(offered, for_it) => {
            let gone = table.round().map(|round| &round.gone);
            let is_asked = |id: &Id| {
                !for_it.contains(id)
                    && rules.mediator.as_ref() != Some(id)
                    && gone.is_none_or(|gone| !gone.contains_key(id))
            };
            let asked = table.participants.iter().map(|p| &p.id).filter(|id| is_asked(id)).cloned().collect();
            call(COUNTER, Json::of(&offered).unwrap_or_default(), asked)
        }
    }
}
