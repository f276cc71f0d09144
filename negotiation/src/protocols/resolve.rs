//! Conflicts: every participant is asked for its claim, once, and is a source; what they come to may be that they disagree.

use super::said;
use crate::fusion::conflict::{self, Claim, Rules};
use crate::protocol::{Call, Next, Protocol, Table, answer};
use serde::{Deserialize, Serialize};
use synod_protocol::{Error, Id, Json, Timestamp};

/// What participants are asked for.
const CLAIM: &str = "claim";

/// `resolve`: rules are [`Rules`]; an answer is a [`Claimed`], or its number or label alone; the outcome is a
/// [`conflict::Outcome`]. Contested is decided, too: who stands against whom. Ages are those when the round closed.
#[derive(Clone, Copy, Debug)]
pub struct Resolve;

/// What a participant answers: a value or a label, the same kind for all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Claimed {
    /// The value, from -1e15 to 1e15.
    #[serde(default)]
    pub value: Option<f64>,
    /// The label, 1 to 128 characters.
    #[serde(default)]
    pub label: Option<String>,
    /// How sure it is: 0, or 1e-15 to 1; 1 where it does not say.
    #[serde(default)]
    pub confidence: Option<f64>,
    /// When it was observed; of no age where it does not say.
    #[serde(default)]
    pub observed_at: Option<Timestamp>,
}

impl Protocol for Resolve {
    fn name(&self) -> &'static str {
        "resolve"
    }

    fn begin(&self, table: &Table<'_>) -> Result<Call, Error> {
        // The room looks at the rules before it looks at the claims.
        said::rules_fault(conflict::resolve(&table.rules()?, &[], table.now), "/rules")?;
        Ok(Call { kind: CLAIM.to_owned(), ..Call::default() })
    }

    fn check(&self, table: &Table<'_>, by: &Id, response: &Json) -> Result<(), Error> {
        let rules: Rules = table.rules()?;
        let own = claim(by, response)?;
        said::own_fault(conflict::resolve(&rules, std::slice::from_ref(&own), table.now), "/claims/0")?;
        let Some((other, response)) = said::others(table, by).next() else { return Ok(()) };
        if claim(&other.id, response)?.value.is_some() == own.value.is_some() {
            return Ok(());
        }
        let (this, those) = if own.value.is_some() { ("value", "labels") } else { ("label", "values") };
        let message = format!("this is a {this} and the others claim {those}: all claims are of one kind");
        Err(Error::invalid(message).with_field("/response"))
    }

    fn close(&self, table: &Table<'_>) -> Next {
        let at = table.round().and_then(|round| round.closed_at).unwrap_or(table.now);
        let found = table.rules().and_then(|rules: Rules| {
            let claims = said::read(table, |participant, response| claim(&participant.id, response))?;
            conflict::resolve(&rules, &claims, at)
        });
        said::decided(found, |outcome| &outcome.explanation)
    }
}

fn claim(by: &Id, response: &Json) -> Result<Claim, Error> {
    let source = by.to_string();
    if response.as_str().starts_with('"') {
        return Ok(Claim { source, label: Some(answer(response)?), ..Claim::default() });
    }
    if !said::is_object(response) {
        return Ok(Claim { source, value: Some(answer(response)?), ..Claim::default() });
    }
    let Claimed { value, label, confidence, observed_at } = answer(response)?;
    Ok(Claim { source, value, label, confidence, observed_at })
}
