//! From what participants said to what a room reads, and from what a room found to what follows.

use crate::protocol::{Decision, Next, Table, answer};
use crate::scale;
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use serde::{Deserialize, Serialize};
use synod_protocol::negotiation::Participant;
use synod_protocol::{Error, Exact, Id, Json};

/// What was answered to the round that is open, or closes, in the order in which participants were named; abstentions are left
/// out.
pub(super) fn responses<'a>(table: &Table<'a>) -> impl Iterator<Item = (&'a Participant, &'a Json)> {
    let answers = table.round().map(|round| &round.answers);
    table
        .participants
        .iter()
        .filter_map(move |participant| Some((participant, answers?.get(&participant.id)?.response.as_ref()?)))
}

/// The same without this participant's own: what a new answer of it has to go together with.
pub(super) fn others<'a>(table: &Table<'a>, by: &'a Id) -> impl Iterator<Item = (&'a Participant, &'a Json)> {
    responses(table).filter(move |(participant, _)| participant.id != *by)
}

/// Each of them as what the room reads.
pub(super) fn read<T>(
    table: &Table<'_>,
    one: impl Fn(&Participant, &Json) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    responses(table).map(|(participant, response)| one(participant, response)).collect()
}

/// What follows where the room always decides.
pub(super) fn decided<T: Serialize>(found: Result<T, Error>, explanation: impl Fn(&T) -> &[String]) -> Next {
    decided_unless(found, explanation, |_| None)
}

/// What follows; `why_not`: why the outcome is none that could be acted on.
pub(super) fn decided_unless<T: Serialize>(
    found: Result<T, Error>,
    explanation: impl Fn(&T) -> &[String],
    why_not: impl Fn(&T) -> Option<String>,
) -> Next {
    let found = match found {
        Ok(found) => found,
        Err(error) => return Next::Failed { reason: error.message, outcome: None },
    };
    let outcome = Json::of(&found).unwrap_or_default();
    match why_not(&found) {
        Some(reason) => Next::Failed { reason, outcome: Some(outcome) },
        None => Next::Decided(Decision { outcome, explanation: explanation(&found).to_vec() }),
    }
}

/// The error, whose place is below this one.
pub(super) fn under(place: &str, error: Error) -> Error {
    let field = format!("{place}{}", error.field.as_deref().unwrap_or_default());
    error.with_field(field)
}

/// The error, at `to` where it was at `from` or below.
pub(super) fn moved(error: Error, from: &str, to: &str) -> Error {
    match below(&error, from).map(|rest| format!("{to}{rest}")) {
        Some(field) => error.with_field(field),
        None => error,
    }
}

/// What is wrong with the one answer that stands at `from`, under `/response`. What is wrong with all together, such as that
/// none of them counts, is no fault of one.
pub(super) fn own_fault<T>(found: Result<T, Error>, from: &str) -> Result<(), Error> {
    match found {
        Err(error) if below(&error, from).is_some() => Err(moved(error, from, "/response")),
        _ => Ok(()),
    }
}

/// What is wrong with the rules, at `to`; of the answers there is nothing to be said yet.
pub(super) fn rules_fault<T>(found: Result<T, Error>, to: &str) -> Result<(), Error> {
    match found {
        Err(error) if below(&error, "/rules").is_some() => Err(moved(error, "/rules", to)),
        _ => Ok(()),
    }
}

/// The rest of the place of an error, from `from` on.
pub(super) fn below<'e>(error: &'e Error, from: &str) -> Option<&'e str> {
    let rest = error.field.as_deref()?.strip_prefix(from)?;
    (rest.is_empty() || rest.starts_with('/')).then_some(rest)
}

/// Whose is the place `/0/weight` in a list of all participants, and what is left of it: `/weight`.
pub(super) fn whose<'a, 'e>(table: &Table<'a>, place: &'e str) -> Option<(&'a Id, &'e str)> {
    let (number, rest) = place.strip_prefix('/')?.split_once('/')?;
    let participant = table.participants.get(number.parse::<usize>().ok()?)?;
    Some((&participant.id, rest))
}

/// These are participants; `at` is where they are named.
pub(super) fn known<'i>(
    table: &Table<'_>,
    ids: impl IntoIterator<Item = &'i str>,
    at: &str,
) -> Result<(), Error> {
    for id in ids {
        if !table.participants.iter().any(|participant| participant.id.as_str() == id) {
            let message = format!("{} is no participant", id.chars().take(80).collect::<String>());
            return Err(Error::invalid(message).with_field(format!("{at}/{}", escaped(id))));
        }
    }
    Ok(())
}

/// A JSON answer that is an object; other ones are short for the member that matters.
pub(super) fn is_object(response: &Json) -> bool {
    response.as_str().starts_with('{')
}

/// An amount, 0 or more: a number alone, or the member of an object that `T` reads.
pub(super) fn amount<T: for<'de> Deserialize<'de>>(
    response: &Json,
    member: &str,
    of: impl Fn(T) -> Exact,
) -> Result<Exact, Error> {
    let (value, at) = match is_object(response) {
        true => (of(answer(response)?), format!("/response/{member}")),
        false => (answer(response)?, "/response".to_owned()),
    };
    scale::amount(&format!("the {member}"), &value, || at.clone())?;
    Ok(value)
}

/// The greatest magnitude of a number that is counted together with those of others.
const TOGETHER_MAX: u64 = 1_000_000_000_000;
/// Ten to the power of as many digits after the point as are counted of one.
const TOGETHER_PARTS: u64 = 10_000_000_000_000_000;

/// A number that can be counted together with whatever others answer, so that nobody can spoil it for all: from -1e12 to 1e12,
/// rounded to 16 digits after the point, half away from 0. The 2e28 such parts between them are 95 bits.
pub(super) fn together(what: &str, value: &Exact, at: impl Fn() -> String) -> Result<Exact, Error> {
    let most = Exact::from(TOGETHER_MAX);
    if *value > most || *value < &Exact::zero() - &most {
        let message = format!("{what} is {}, it must be from -1e12 to 1e12", scale::told(value));
        return Err(Error::invalid(message).with_field(at()));
    }
    let (number, parts) = (value.as_rational(), BigInt::from(TOGETHER_PARTS));
    if parts.is_multiple_of(number.denom()) {
        return Ok(value.clone());
    }
    let whole = (number * &parts).round().to_integer();
    Ok(Exact::from(BigRational::new(whole, parts)))
}

/// A key as a JSON pointer writes it.
pub(crate) fn escaped(key: &str) -> String {
    key.chars().take(80).collect::<String>().replace('~', "~0").replace('/', "~1")
}
