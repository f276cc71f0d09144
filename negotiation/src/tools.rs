//! Decisions in one go: everything that was answered is there already, so nobody is asked and nothing is kept.
//!
//! | function | what it decides |
//! |---|---|
//! | [`coordinate`] | whatever one round of a protocol decides |
//! | [`aggregate_votes`] | a vote, from ballots in their shortest form |
//! | [`resolve_conflict`] | claims that contradict each other |

use crate::fusion::conflict::{self, Claim};
use crate::protocol::{Next, Protocols, Table};
use crate::protocols::{Say, escaped};
use crate::voting::{self, Base, Method, Outcome, Roll, Support, Threshold, Ties, VOTERS_MAX, Voter};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::negotiation::{
    Answer, NegotiationStatus, NextRound, PARTICIPANTS, Participant, ROUND_MS, Round,
};
use synod_protocol::{Code, Error, Exact, Id, Json, Timestamp};

/// What [`coordinate`] is asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Coordinate {
    /// How it is decided, such as `auction`.
    pub protocol: String,
    /// What is decided.
    #[serde(default)]
    pub question: Json,
    /// The protocol's own settings; `{}` by default.
    #[serde(default)]
    pub rules: Json,
    /// What each answers; null: it abstains. 1 to 1,000 with those who are silent.
    pub answers: BTreeMap<Id, Json>,
    /// Who may answer, in the order that decides ties; whoever gave no answer is silent. By default those who answer, in the
    /// order of their names.
    #[serde(default)]
    pub participants: Option<Vec<Id>>,
    /// How much each counts, where the protocol weighs; 1 by default.
    #[serde(default)]
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub weights: BTreeMap<Id, Exact>,
    /// From what lots are drawn; empty by default.
    #[serde(default)]
    pub seed: String,
    /// When it is decided, where age matters; the time of the call by default.
    #[serde(default)]
    pub now: Option<Timestamp>,
}

/// What [`coordinate`] answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Coordinated {
    /// `decided` or `failed`.
    pub status: NegotiationStatus,
    /// What was decided, or was found where nothing could be, as the protocol says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Json>,
    /// Why nothing was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How it came to that, in sentences.
    #[serde(default)]
    pub explanation: Vec<String>,
}

/// What [`aggregate_votes`] is asked; it answers an [`Outcome`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AggregateVotes {
    /// Between what is chosen; by default whatever a ballot names, in the order of the names.
    #[serde(default)]
    pub candidates: Option<Vec<String>>,
    /// How ballots are counted; `plurality` by default.
    #[serde(default)]
    pub method: Option<Method>,
    /// A list, or an object by participant. A ballot is a candidate's name, a list of names (a ranking, or with `approval` those
    /// that are good enough), an object such as `{"scores": {"a": 4}}`, or null: an abstention.
    pub ballots: Json,
    /// How much each counts, 1 by default: a list where `ballots` is one, else an object by participant.
    #[serde(default)]
    pub weights: Json,
    /// The share of the ballots cast that the winner needs, more than 0, at most 1; none by default.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    pub threshold: Option<Exact>,
    /// What breaks a tie; by default nothing does.
    #[serde(default)]
    pub ties: Ties,
    /// From what lots are drawn, where they break ties.
    #[serde(default)]
    pub seed: Option<String>,
}

/// What [`resolve_conflict`] is asked; it answers a [`conflict::Outcome`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolveConflict {
    /// What each source claims, 1 to 1,000.
    pub claims: Vec<Claim>,
    /// By what they are weighed and parted.
    #[serde(default)]
    pub rules: conflict::Rules,
    /// To which time ages are counted; the time of the call by default.
    #[serde(default)]
    pub now: Option<Timestamp>,
}

/// Decides by one round of a protocol; `input` is [`Coordinate`], and what it answers [`Coordinated`].
///
/// # Errors
/// The input does not read, the protocol is not known, its rules or an answer make no sense, more than 1,000 participants;
/// `unprocessable` where another round would be needed.
pub fn coordinate(protocols: &Protocols, input: &Json, now: Timestamp) -> Result<Json, Error> {
    let asked: Coordinate = read(input)?;
    let now = asked.now.unwrap_or(now);
    let protocol = protocols.get(&asked.protocol)?;
    let participants = asked.seats()?;
    let mut table = Table {
        question: &asked.question,
        rules: &asked.rules,
        participants: &participants,
        rounds: &[],
        seed: &asked.seed,
        opened_at: now,
        deadline: None,
        now,
    };
    let call = protocol.begin(&table)?;
    let everyone = || participants.iter().map(|participant| participant.id.clone()).collect();
    let next = NextRound {
        round: 1,
        kind: call.kind,
        content: call.content,
        asked: call.asked.unwrap_or_else(everyone),
        quorum: 0,
        closes_at: now.plus_millis(call.limit_ms.unwrap_or(ROUND_MS)),
    };
    let mut round = Round::begins(&next, now);
    for (id, answer) in &asked.answers {
        if !round.asked.contains(id) {
            let message = format!("{id} is not asked in the first round of {}", asked.protocol);
            return Err(Error::invalid(message).with_field(format!("/answers/{id}")));
        }
        let response = Some(answer.clone()).filter(|answer| *answer != Json::null());
        round.answers.insert(id.clone(), Answer { response, at: now, position: 0 });
    }
    let rounds = [round];
    table.rounds = &rounds;
    for (id, response) in rounds.iter().flat_map(Round::responses) {
        protocol.check(&table, id, response).map_err(|error| {
            let inside = error.field.as_deref().and_then(|field| field.strip_prefix("/response"));
            let field = format!("/answers/{id}{}", inside.unwrap_or_default());
            error.with_field(field)
        })?;
    }
    json(&asked.told(protocol.close(&table))?)
}

impl Coordinate {
    fn told(&self, next: Next) -> Result<Coordinated, Error> {
        Ok(match next {
            Next::Decided(decision) => Coordinated {
                status: NegotiationStatus::Decided,
                outcome: Some(decision.outcome),
                reason: None,
                explanation: decision.explanation,
            },
            Next::Failed { reason, outcome } => Coordinated {
                status: NegotiationStatus::Failed,
                outcome,
                reason: Some(reason),
                explanation: Vec::new(),
            },
            Next::Round(call) => {
                let message = format!(
                    "{} would ask another round, for {}: open a negotiation, where participants can be asked",
                    self.protocol, call.kind
                );
                return Err(Error::new(Code::Unprocessable, message).with_field("/answers"));
            }
        })
    }

    /// Who may answer, in order.
    fn seats(&self) -> Result<Vec<Participant>, Error> {
        let ids: Vec<&Id> = match &self.participants {
            Some(named) => named.iter().collect(),
            None => self.answers.keys().collect(),
        };
        if ids.is_empty() || ids.len() > PARTICIPANTS {
            let message = format!("{} participants, there must be 1 to {PARTICIPANTS}", ids.len());
            let field = if self.participants.is_some() { "/participants" } else { "/answers" };
            return Err(Error::invalid(message).with_field(field));
        }
        let mut known = BTreeSet::new();
        for (place, id) in ids.iter().enumerate() {
            if !known.insert(*id) {
                let message = format!("participant {id} is named twice");
                return Err(Error::invalid(message).with_field(format!("/participants/{place}")));
            }
        }
        let all = self.weights.keys().map(|id| ("weights", id));
        for (field, id) in all.chain(self.answers.keys().map(|id| ("answers", id))) {
            if !known.contains(id) {
                let message = format!("{id} is no participant");
                return Err(Error::invalid(message).with_field(format!("/{field}/{id}")));
            }
        }
        if let Some((id, weight)) = self.weights.iter().find(|(_, weight)| weight.is_negative()) {
            let message = format!("the weight of {id} is {weight}, it must not be negative");
            return Err(Error::invalid(message).with_field(format!("/weights/{id}")));
        }
        let seat = |id: &Id| Participant {
            id: id.clone(),
            weight: self.weights.get(id).cloned().unwrap_or_else(Exact::one),
            role: None,
            invited: false,
        };
        Ok(ids.into_iter().map(seat).collect())
    }
}

/// Counts a vote; `input` is [`AggregateVotes`], and what it answers an [`Outcome`]: `reason` says why nothing is decided, if so.
///
/// # Errors
/// The input does not read, the rules or a ballot make no sense, more than 1,000 ballots.
pub fn aggregate_votes(input: &Json) -> Result<Json, Error> {
    let asked: AggregateVotes = read(input)?;
    let method = asked.method.clone().unwrap_or(Method::Plurality);
    let voters = asked.voters(&method)?;
    let rules = voting::Rules {
        candidates: asked.candidates.unwrap_or_else(|| named(&voters)),
        method,
        support: asked.threshold.map_or(Support::Any, |share| {
            Support::Threshold(Threshold { share, of: Base::Cast, strictly: false })
        }),
        quorum: None,
        veto: Vec::new(),
        ties: asked.ties,
    };
    let entitled = voters.iter().map(|voter| &voter.weight).sum();
    let counted: Outcome = voting::outcome(&rules, &voters, &Roll { entitled, seed: asked.seed })
        .map_err(|error| placed(error, &voters, &asked.ballots))?;
    json(&counted)
}

/// The error of the room where it stands in [`AggregateVotes`].
fn placed(error: Error, voters: &[Voter], ballots: &Json) -> Error {
    let field = error.field.clone().unwrap_or_default();
    let of_voter = field.strip_prefix("/voters/").map(|place| place.split_once('/').unwrap_or((place, "")));
    if let Some((number, rest)) = of_voter {
        let voter = number.parse::<usize>().ok().and_then(|number| voters.get(number));
        let Some(voter) = voter else { return error };
        let who = escaped(&voter.participant);
        let given = keyed(ballots, "").ok().and_then(|ballots| ballots.get(&voter.participant).cloned());
        let is_short = given.is_some_and(|ballot| !ballot.as_str().starts_with('{'));
        // The room speaks of `ballot/ranking/2`; of a list that stands for a ranking it is `2`.
        let inside = rest.strip_prefix("ballot/").unwrap_or_default();
        let inside = if is_short { inside.split_once('/').map_or("", |(_, rest)| rest) } else { inside };
        let field = match inside {
            "" => format!("/ballots/{who}"),
            inside => format!("/ballots/{who}/{inside}"),
        };
        return error.with_field(field);
    }
    match field.as_str() {
        "/voters" => error.with_field("/ballots"),
        _ if field.starts_with("/support") => error.with_field("/threshold"),
        _ => error,
    }
}

impl AggregateVotes {
    /// Those who vote: by name, or by their place in the list, from 0.
    fn voters(&self, method: &Method) -> Result<Vec<Voter>, Error> {
        let ballots: BTreeMap<String, Json> = keyed(&self.ballots, "/ballots")?;
        if ballots.len() > VOTERS_MAX {
            let message = format!("{} ballots are too many: at most {VOTERS_MAX} are taken", ballots.len());
            return Err(Error::invalid(message).with_field("/ballots"));
        }
        let weights: BTreeMap<String, Json> = match self.weights.as_str() {
            "null" => BTreeMap::new(),
            _ => keyed(&self.weights, "/weights")?,
        };
        if let Some(who) = weights.keys().find(|who| !ballots.contains_key(*who)) {
            let message = format!("{} has a weight and no ballot", who.chars().take(80).collect::<String>());
            return Err(Error::invalid(message).with_field("/weights"));
        }
        let each = ballots.into_iter().map(|(participant, response)| {
            let given = weights.get(&participant);
            let weight = given.map_or(Ok(Exact::one()), |weight| weight_of(weight, &participant))?;
            let say = ballot(&response, method, &format!("/ballots/{}", escaped(&participant)))?;
            let (ballot, veto) = say.map_or((None, false), Say::said);
            Ok(Voter { participant, weight, ballot, veto })
        });
        each.collect()
    }
}

/// A weight: 0 or more.
fn weight_of(weight: &Json, who: &str) -> Result<Exact, Error> {
    let field = format!("/weights/{}", escaped(who));
    let weight: Exact = read_at(weight, &field)?;
    if weight.is_negative() {
        return Err(Error::invalid(format!("a weight is 0 or more, not {weight}")).with_field(field));
    }
    Ok(weight)
}

/// A list by the places in it, an object by its names. Their order decides nothing.
fn keyed(list_or_object: &Json, field: &str) -> Result<BTreeMap<String, Json>, Error> {
    if !list_or_object.as_str().starts_with('[') {
        return read_at(list_or_object, field);
    }
    let list: Vec<Json> = read_at(list_or_object, field)?;
    Ok(list.into_iter().enumerate().map(|(place, one)| (place.to_string(), one)).collect())
}

/// A ballot in its shortest form.
fn ballot(response: &Json, method: &Method, field: &str) -> Result<Option<Say>, Error> {
    match response.as_str().as_bytes().first() {
        Some(b'n') => Ok(None),
        Some(b'"') => read_at(response, field).map(Say::Choice).map(Some),
        Some(b'[') if *method == Method::Approval => read_at(response, field).map(Say::Approved).map(Some),
        Some(b'[') => read_at(response, field).map(Say::Ranking).map(Some),
        _ => read_at(response, field).map(Some),
    }
}

/// Every candidate that a ballot names, in the order of the names.
fn named(voters: &[Voter]) -> Vec<String> {
    let mut names = BTreeSet::new();
    for ballot in voters.iter().filter_map(|voter| voter.ballot.as_ref()) {
        match ballot {
            voting::Ballot::Choice(name) => _ = names.insert(name.clone()),
            voting::Ballot::Ranking(list) | voting::Ballot::Approved(list) => {
                names.extend(list.iter().cloned());
            }
            voting::Ballot::Scores(scores) => names.extend(scores.keys().cloned()),
        }
    }
    names.into_iter().collect()
}

/// What sources that contradict each other come to; `input` is [`ResolveConflict`], and what it answers a [`conflict::Outcome`].
///
/// # Errors
/// The input does not read, or as [`conflict::resolve`].
pub fn resolve_conflict(input: &Json, now: Timestamp) -> Result<Json, Error> {
    let asked: ResolveConflict = read(input)?;
    json(&conflict::resolve(&asked.rules, &asked.claims, asked.now.unwrap_or(now))?)
}

fn read<T: DeserializeOwned>(input: &Json) -> Result<T, Error> {
    read_at(input, "")
}

fn read_at<T: DeserializeOwned>(input: &Json, field: &str) -> Result<T, Error> {
    synod_protocol::codec::read_at(input.as_str(), field)
}

fn json<T: Serialize>(value: &T) -> Result<Json, Error> {
    Json::of(value).map_err(|error| Error::invalid(error.to_string()))
}
