//! One negotiation from its opening to its end: what each thing that happens does to it.
//!
//! Each function looks and says what happens, as events; [`Negotiation::apply`] changes the state by them, and does so
//! whenever the ledger is folded.

use crate::protocol::{Call, Known, Next, Protocol, Protocols, Table};
use crate::said;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::event::What;
use synod_protocol::negotiation::{
    ANSWERS_BYTES, Answer, CancelNegotiation, ClosedBy, Invite, NegotiationAsked, NegotiationBrief,
    NegotiationDecided, NegotiationEnded, NegotiationExtended, NegotiationOpened, NegotiationResponded,
    NegotiationSecret, NegotiationStatus, NegotiationView, NextRound, OnTimeout, OpenNegotiation,
    PARTICIPANTS, Participant, ParticipantGone, Quorum, ROUND_MS, ROUNDS, Repeated, RespondNegotiation,
    Round, RoundClosed, Seat, Uncounted,
};
use synod_protocol::track::AppraiseAgent;
use synod_protocol::{Code, EntityId, Error, Exact, Id, Incarnation, Json, Timestamp, Workspace};

/// Answers that do not count, of one negotiation, that are kept.
pub(crate) const UNCOUNTED: usize = 200;
/// With more participants than this it is not asked after every answer whether it is settled, but so many times.
pub(crate) const LOOKS: usize = 64;

/// All of one negotiation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Negotiation {
    /// As it was opened.
    pub opened: Box<NegotiationOpened>,
    /// When that was.
    pub opened_at: Timestamp,
    /// Where it stands.
    pub status: NegotiationStatus,
    /// Who may answer, those included who came in place of others.
    pub participants: Vec<Participant>,
    /// The rounds so far.
    pub rounds: Vec<Round>,
    /// Which process start of each participant has been asked in the round that is open.
    pub asked: BTreeMap<Id, Seat>,
    /// Answers that do not count.
    pub uncounted: Vec<Uncounted>,
    /// What was decided.
    pub decided: Option<NegotiationDecided>,
    /// Why it has no decision.
    pub reason: Option<String>,
    /// What was found where nothing was decided.
    pub found: Option<Json>,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
    /// What the answers weigh, in bytes.
    weight: usize,
}

/// What opening a negotiation may look at besides the command.
#[derive(Clone, Debug)]
pub struct Opening<'a> {
    /// The time.
    pub now: Timestamp,
    /// Random bytes for this negotiation alone, in hex.
    pub seed: String,
    /// Agents that the invitation found.
    pub invited: Vec<Id>,
    /// The piece of work that it belongs to.
    pub correlation_id: String,
    /// The trace that it belongs to.
    pub traceparent: Option<&'a str>,
    /// What is known of how true earlier promises of agents turned out.
    pub known: Known<'a>,
}

/// Opens a negotiation.
///
/// # Errors
/// The protocol is not known, its rules or a known answer make no sense, or too few can be asked.
pub fn open(protocols: &Protocols, command: &OpenNegotiation, with: Opening<'_>) -> Result<Vec<What>, Error> {
    let protocol = protocols.get(&command.protocol)?;
    let participants = participants(command, &with.invited)?;
    let round_ms = command.round_ms.unwrap_or(ROUND_MS);
    let (question, given) = (command.question.clone(), command.rules.clone().unwrap_or_default());
    let table = |rules| Table {
        question: &question,
        rules,
        participants: &participants,
        rounds: &[],
        seed: &with.seed,
        opened_at: with.now,
        deadline: command.deadline,
        now: with.now,
    };
    let rules = protocol.fill(&table(&given), with.known)?.unwrap_or_else(|| given.clone());
    let call = protocol.begin(&table(&rules))?;
    if command.deadline.is_some_and(|deadline| deadline <= with.now) {
        return Err(Error::invalid("the deadline has passed").with_field("/deadline"));
    }
    let quorum = command.quorum.clone().unwrap_or(Quorum::Count(1));
    let answers = command.answers.clone().unwrap_or_default();
    let first = next_round(
        &call,
        1,
        (&participants, &BTreeSet::new()),
        &quorum,
        round_ms,
        command.deadline,
        with.now,
    );
    if let Some(id) = answers.keys().find(|id| !first.asked.contains(*id)) {
        let message = format!("{id} has answered but is no participant of the first round");
        return Err(Error::invalid(message).with_field(format!("/answers/{id}")));
    }
    if first.quorum as usize > first.asked.len() {
        let message = format!("{} are asked, the quorum is {}", first.asked.len(), first.quorum);
        return Err(Error::new(Code::Unprocessable, message).with_field("/quorum"));
    }
    let body = fingerprint(command)?;
    let opened = NegotiationOpened {
        negotiation_id: command.negotiation_id.clone(),
        status: NegotiationStatus::Open,
        protocol: command.protocol.clone(),
        version: protocol.version(),
        question,
        rules,
        participants,
        replace: command.invite.clone().filter(|_| command.replace == Some(true)),
        round_ms,
        deadline: command.deadline,
        quorum,
        sealed: command.sealed.unwrap_or(true),
        repeated: command.repeated.unwrap_or_default(),
        on_timeout: command.on_timeout.clone().unwrap_or_default(),
        then: command.then.clone(),
        urgent: command.urgent.unwrap_or_else(|| protocol.urgent()),
        labels: command.labels.clone().unwrap_or_default(),
        correlation_id: with.correlation_id,
        traceparent: with.traceparent.map(str::to_owned),
        seed_digest: blake3::hash(with.seed.as_bytes()).to_hex().to_string(),
        first,
        body,
        secret: Some(NegotiationSecret { seed: with.seed, answers }),
    };
    let it = Negotiation::new(&opened, with.now, 0);
    fits(it.weight)?;
    let events = vec![What::NegotiationOpened(Box::new(opened))];
    let mut draft = Draft { it, events, protocol, now: with.now };
    draft.check_known_answers()?;
    draft.look(true);
    Ok(draft.events)
}

/// By which a command is told from another with the same id.
///
/// # Errors
/// A number in it is not finite.
pub fn fingerprint(command: &OpenNegotiation) -> Result<String, Error> {
    let body = serde_json::to_vec(command).map_err(|e| Error::invalid(e.to_string()))?;
    Ok(blake3::hash(&body).to_hex()[..32].to_owned())
}

/// Who may answer: those named, in that order, then those who have answered already, then those found, each once.
fn participants(command: &OpenNegotiation, invited: &[Id]) -> Result<Vec<Participant>, Error> {
    let named = command.participants.as_deref().unwrap_or_default();
    let answered = command.answers.iter().flat_map(BTreeMap::keys);
    let mut ids: Vec<(&Id, bool)> = Vec::new();
    let mut known = BTreeSet::new();
    for (id, is_invited) in
        named.iter().chain(answered).map(|id| (id, false)).chain(invited.iter().map(|id| (id, true)))
    {
        if known.insert(id) {
            ids.push((id, is_invited));
        }
    }
    if let Some(invite) = &command.invite {
        let (found, min) = (invited.len(), invite.min.unwrap_or(1) as usize);
        if found < min {
            let can =
                invite.capability.as_ref().map_or("are there".to_owned(), |what| format!("can do {what}"));
            let message = format!("{found} agents {can}, at least {min} are to be asked");
            return Err(Error::new(Code::Unprocessable, message).with_field("/invite/min"));
        }
    }
    if ids.is_empty() || ids.len() > PARTICIPANTS {
        let message = format!("{} participants, there must be 1 to {PARTICIPANTS}", ids.len());
        return Err(Error::invalid(message).with_field("/participants"));
    }
    for (field, id) in command
        .weights
        .iter()
        .flat_map(BTreeMap::keys)
        .map(|id| ("weights", id))
        .chain(command.roles.iter().flat_map(BTreeMap::keys).map(|id| ("roles", id)))
    {
        if !known.contains(id) {
            let message = format!("{id} is no participant");
            return Err(Error::invalid(message).with_field(format!("/{field}/{id}")));
        }
    }
    Ok(ids
        .into_iter()
        .map(|(id, invited)| Participant {
            id: id.clone(),
            weight: command.weights.as_ref().and_then(|all| all.get(id)).cloned().unwrap_or_else(Exact::one),
            role: command.roles.as_ref().and_then(|all| all.get(id)).cloned(),
            invited,
        })
        .collect())
}

/// How a round is asked that a protocol calls for.
pub(crate) fn next_round(
    call: &Call,
    round: u32,
    (participants, gone): (&[Participant], &BTreeSet<Id>),
    quorum: &Quorum,
    round_ms: u64,
    deadline: Option<Timestamp>,
    now: Timestamp,
) -> NextRound {
    let present = || participants.iter().map(|p| &p.id).filter(|id| !gone.contains(*id)).cloned().collect();
    let asked: BTreeSet<Id> = call.asked.clone().unwrap_or_else(present);
    let closes_at = now.plus_millis(call.limit_ms.unwrap_or(round_ms));
    NextRound {
        round,
        kind: call.kind.clone(),
        content: call.content.clone(),
        // Those who are gone count for the quorum: it is of all who were to decide.
        quorum: if call.asked.is_some() { 0 } else { quorum.of(participants.len()) },
        asked,
        closes_at: deadline.map_or(closes_at, |deadline| closes_at.min(deadline)),
    }
}

fn weight_of(response: &Json) -> usize {
    response.as_str().len()
}

fn fits(weight: usize) -> Result<(), Error> {
    if weight <= ANSWERS_BYTES {
        return Ok(());
    }
    let message =
        format!("the answers to this negotiation would have {weight} bytes, the limit is {ANSWERS_BYTES}");
    Err(Error::new(Code::PayloadTooLarge, message).with_field("/response"))
}

impl Negotiation {
    /// The state after the event that opened it, which stands at `position`.
    pub fn new(opened: &NegotiationOpened, now: Timestamp, position: u64) -> Negotiation {
        let mut round = Round::begins(&opened.first, now);
        let known = opened.secret.iter().flat_map(|secret| &secret.answers);
        for (id, response) in known {
            let answer = Answer { response: Some(response.clone()), at: now, position };
            round.answers.insert(id.clone(), answer);
        }
        let weight = round.responses().map(|(_, response)| weight_of(response)).sum();
        Negotiation {
            opened: Box::new(opened.clone()),
            opened_at: now,
            status: if round.answers.is_empty() {
                NegotiationStatus::Open
            } else {
                NegotiationStatus::Collecting
            },
            participants: opened.participants.clone(),
            rounds: vec![round],
            asked: BTreeMap::new(),
            uncounted: Vec::new(),
            decided: None,
            reason: None,
            found: None,
            ended_at: None,
            weight,
        }
    }

    /// The state after an event whose record stands at `position`; total.
    pub fn apply(&mut self, what: &What, now: Timestamp, position: u64) {
        match what {
            What::NegotiationResponded(e) => self.apply_response(e, now, position),
            What::NegotiationAsked(e) => {
                for (id, seat) in &e.asked {
                    self.asked.insert(id.clone(), seat.clone());
                    if let Some(round) = self.rounds.last_mut() {
                        round.gone.remove(id);
                    }
                }
            }
            What::NegotiationParticipantGone(e) => {
                let Some(round) = self.rounds.last_mut() else { return };
                round.gone.insert(e.participant.clone(), e.reason.clone());
                if let Some(id) = &e.replaced_by {
                    round.asked.insert(id.clone());
                    round.replaced.insert(id.clone(), e.participant.clone());
                    let weight = Exact::one();
                    self.participants.push(Participant { id: id.clone(), weight, role: None, invited: true });
                }
            }
            What::NegotiationExtended(e) => {
                if let Some(round) = self.rounds.last_mut() {
                    (round.closes_at, round.extended_at) = (e.closes_at, Some(now));
                }
            }
            What::NegotiationRoundClosed(e) => {
                if let Some(round) = self.rounds.last_mut() {
                    (round.closed_at, round.closed_by) = (Some(now), Some(e.closed_by));
                }
                if let Some(next) = &e.next {
                    self.rounds.push(Round::begins(next, now));
                    self.asked.clear();
                }
            }
            What::NegotiationDecided(e) => {
                (self.status, self.decided, self.ended_at) = (e.status, Some(e.clone()), Some(now));
            }
            What::NegotiationFailed(e) | What::NegotiationCancelled(e) => {
                (self.status, self.reason, self.ended_at) = (e.status, e.reason.clone(), Some(now));
                self.found.clone_from(&e.outcome);
            }
            _ => {}
        }
    }

    fn apply_response(&mut self, e: &NegotiationResponded, now: Timestamp, position: u64) {
        let mut uncounted = |response: Option<Json>, position, reason: &str| {
            if self.uncounted.len() < UNCOUNTED {
                let (participant, round, reason) = (e.participant.clone(), e.round, reason.to_owned());
                self.uncounted.push(Uncounted { participant, round, response, position, reason });
            }
        };
        if let Some(reason) = &e.uncounted {
            return uncounted(e.response.clone(), position, reason);
        }
        self.status = e.status;
        self.weight += e.response.as_ref().map_or(0, weight_of);
        let Some(round) = self.rounds.last_mut().filter(|round| round.round == e.round) else { return };
        round.gone.remove(&e.participant);
        let answer = Answer { response: e.response.clone(), at: now, position };
        if let Some(before) = round.answers.insert(e.participant.clone(), answer) {
            uncounted(before.response, before.position, said::REPLACED);
        }
    }

    /// When something is due by itself.
    pub fn timer(&self) -> Option<Timestamp> {
        self.rounds.last().filter(|_| !self.status.is_final()).map(|round| round.closes_at)
    }

    /// What it weighs in memory, in bytes, about.
    pub fn weight(&self) -> usize {
        let opened = self.opened.question.as_str().len() + self.opened.rules.as_str().len();
        1_000 + opened + self.weight + 100 * self.participants.len() * self.rounds.len()
    }

    /// What was decided, or was found where nothing could be.
    pub fn outcome(&self) -> Option<&Json> {
        self.decided.as_ref().map(|decided| &decided.outcome).or(self.found.as_ref())
    }

    /// Whether there is a decision.
    pub fn is_decided(&self) -> bool {
        self.status == NegotiationStatus::Decided
    }

    /// The round that is open.
    pub fn round(&self) -> Option<&Round> {
        self.rounds.last().filter(|_| !self.status.is_final())
    }

    /// One of the participants.
    pub fn participant(&self, id: &Id) -> Option<&Participant> {
        self.participants.iter().find(|participant| participant.id == *id)
    }

    /// As the protocol sees it.
    pub fn table(&self, now: Timestamp) -> Table<'_> {
        Table {
            question: &self.opened.question,
            rules: &self.opened.rules,
            participants: &self.participants,
            rounds: &self.rounds,
            seed: self.seed(),
            opened_at: self.opened_at,
            deadline: self.opened.deadline,
            now,
        }
    }

    fn seed(&self) -> &str {
        self.opened.secret.as_ref().map_or("", |secret| &secret.seed)
    }

    fn id(&self) -> &EntityId {
        &self.opened.negotiation_id
    }

    fn over(&self) -> Error {
        let status = self.status.as_str();
        Error::invalid_transition(format!("negotiation {} is {status}", self.id()), status)
    }

    /// What an answer does.
    ///
    /// # Errors
    /// Who answers was not asked, it comes late, or it is no answer.
    pub fn respond(
        &self,
        protocols: &Protocols,
        command: &RespondNegotiation,
        now: Timestamp,
    ) -> Result<Vec<What>, Error> {
        let by = &command.participant;
        if self.participant(by).is_none() {
            let message = format!("{by} is no participant of negotiation {}", self.id());
            return Err(Error::new(Code::PermissionDenied, message).with_field("/participant"));
        }
        let Some(round) = self.round() else { return Err(self.over()) };
        let wanted = command.round.unwrap_or(round.round);
        if wanted != round.round {
            let which = if wanted < round.round { "is closed" } else { "has not begun" };
            let message =
                format!("round {wanted} of negotiation {} {which}; round {} is open", self.id(), round.round);
            return Err(Error::invalid_transition(message, self.status.as_str()).with_field("/round"));
        }
        if !round.asked.contains(by) {
            let message = format!("{by} is not asked in round {wanted} of negotiation {}", self.id());
            return Err(Error::new(Code::PermissionDenied, message).with_field("/participant"));
        }
        let protocol = protocols.get(&self.opened.protocol)?;
        if let Some(response) = &command.response {
            protocol.check(&self.table(now), by, response)?;
        }
        let uncounted = match round.answers.get(by) {
            Some(before) if before.response == command.response => return Ok(Vec::new()),
            Some(_) => match self.opened.repeated {
                Repeated::Last => None,
                Repeated::First => Some(said::EARLIER_COUNTS.to_owned()),
                Repeated::Refused => {
                    let message = format!("{by} has answered round {wanted} of negotiation {}", self.id());
                    return Err(Error::new(Code::AlreadyExists, message));
                }
            },
            None => None,
        };
        fits(self.weight + command.response.as_ref().map_or(0, weight_of))?;
        if uncounted.is_some() && self.uncounted.len() >= UNCOUNTED {
            return Ok(Vec::new());
        }
        let responded = What::NegotiationResponded(NegotiationResponded {
            negotiation_id: self.id().clone(),
            status: NegotiationStatus::Collecting,
            round: wanted,
            participant: by.clone(),
            abstained: command.response.is_none(),
            response: command.response.clone(),
            sealed: self.opened.sealed,
            uncounted: uncounted.clone(),
        });
        let is_new = !round.answers.contains_key(by);
        if uncounted.is_some() || !self.may_end(protocol, round, is_new) {
            return Ok(vec![responded]);
        }
        let mut draft = Draft::of(self, protocol, now);
        draft.emit(responded);
        draft.look(true);
        Ok(draft.events)
    }

    /// Whether one more answer may end the round: it is asked after every one of few, and now and then of many.
    fn may_end(&self, protocol: &dyn Protocol, round: &Round, is_new: bool) -> bool {
        let answered = round.answers.len() + usize::from(is_new);
        let is_looked_at =
            || protocol.settles_early() && answered.is_multiple_of((round.asked.len() / LOOKS).max(1));
        round.awaited() <= usize::from(is_new) || is_looked_at()
    }

    /// A round's time is up.
    pub fn due(&self, protocols: &Protocols, now: Timestamp) -> Vec<What> {
        let (Some(round), Ok(protocol)) = (self.round(), protocols.get(&self.opened.protocol)) else {
            return self.unknown_protocol(now);
        };
        if round.closes_at > now {
            return Vec::new();
        }
        let mut draft = Draft::of(self, protocol, now);
        draft.time_is_up();
        draft.events
    }

    /// By a build that does not know the protocol, whose time is up all the same.
    fn unknown_protocol(&self, now: Timestamp) -> Vec<What> {
        let Some(round) = self.round().filter(|round| round.closes_at <= now) else { return Vec::new() };
        let reason = said::unknown_protocol(&self.opened.protocol, round.round);
        vec![What::NegotiationFailed(self.ended(NegotiationStatus::Failed, Some(reason)))]
    }

    /// What happens to one whose time is up and which cannot end as it should: that would be too large for the ledger.
    pub fn too_large(&self) -> Option<What> {
        let reason = said::too_large(self.round()?.round);
        Some(What::NegotiationFailed(self.ended(NegotiationStatus::Failed, Some(reason))))
    }

    fn ended(&self, status: NegotiationStatus, reason: Option<String>) -> NegotiationEnded {
        let (negotiation_id, appraisals) = (self.id().clone(), Vec::new());
        NegotiationEnded { negotiation_id, status, reason, outcome: None, appraisals }
    }

    /// A participant's process is gone; `instead`: whom to ask in its place.
    pub fn gone(
        &self,
        protocols: &Protocols,
        participant: &Id,
        incarnation: &Incarnation,
        reason: &str,
        instead: Option<Id>,
        now: Timestamp,
    ) -> Vec<What> {
        let Some(round) = self.round() else { return Vec::new() };
        if !round.awaits(participant)
            || self.asked.get(participant).is_none_or(|seat| seat.incarnation != *incarnation)
        {
            return Vec::new();
        }
        let Ok(protocol) = protocols.get(&self.opened.protocol) else { return Vec::new() };
        // Whom a protocol asks by name nobody stands in for.
        let is_for_all = round.quorum > 0;
        let may_replace =
            is_for_all && self.opened.replace.is_some() && self.participants.len() < PARTICIPANTS;
        let mut draft = Draft::of(self, protocol, now);
        draft.emit(What::NegotiationParticipantGone(ParticipantGone {
            negotiation_id: self.id().clone(),
            status: self.status,
            round: round.round,
            participant: participant.clone(),
            reason: reason.to_owned(),
            replaced_by: instead.filter(|id| may_replace && self.participant(id).is_none()),
        }));
        draft.look(false);
        draft.events
    }

    /// Whom a participant that is gone is replaced by, where that is wanted of it.
    pub fn replaces(&self, participant: &Id) -> Option<&Invite> {
        self.opened.replace.as_ref().filter(|_| self.participant(participant).is_some_and(|p| p.invited))
    }

    /// These process starts are asked: those who are awaited and have not been asked as which they run now.
    pub fn ask(&self, present: BTreeMap<Id, Seat>) -> Vec<What> {
        let Some(round) = self.round() else { return Vec::new() };
        let is_new = |id: &Id, seat: &Seat| {
            round.asked.contains(id)
                && !round.answers.contains_key(id)
                && self.asked.get(id).is_none_or(|asked| asked.incarnation != seat.incarnation)
        };
        let asked: BTreeMap<Id, Seat> = present.into_iter().filter(|(id, seat)| is_new(id, seat)).collect();
        if asked.is_empty() {
            return Vec::new();
        }
        let (negotiation_id, status, round) = (self.id().clone(), self.status, round.round);
        vec![What::NegotiationAsked(NegotiationAsked { negotiation_id, status, round, asked })]
    }

    /// Somebody wants it no more.
    ///
    /// # Errors
    /// It is over otherwise.
    pub fn cancel(&self, command: &CancelNegotiation) -> Result<Vec<What>, Error> {
        match self.status {
            NegotiationStatus::Cancelled => Ok(Vec::new()),
            status if status.is_final() => Err(self.over()),
            _ => {
                let ended = self.ended(NegotiationStatus::Cancelled, command.reason.clone());
                Ok(vec![What::NegotiationCancelled(ended)])
            }
        }
    }

    /// In short.
    pub fn brief(&self, workspace: &Workspace) -> NegotiationBrief {
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let round = self.rounds.last();
        NegotiationBrief {
            negotiation_id: self.id().clone(),
            workspace: workspace.clone(),
            status: self.status,
            protocol: self.opened.protocol.clone(),
            round: round.map_or(0, |round| round.round),
            answers: count(round.map_or(0, |round| round.answers.len())),
            awaited: self.round().map_or(0, |round| count(round.awaited())),
            outcome: self.outcome().cloned(),
            reason: self.reason.clone(),
            opened_at: self.opened_at,
            ended_at: self.ended_at,
            labels: self.opened.labels.clone(),
        }
    }

    /// As a reader sees it: what is secret is not shown.
    pub fn view(&self, workspace: &Workspace) -> NegotiationView {
        let (mut rounds, mut uncounted) = (self.rounds.clone(), self.uncounted.clone());
        // A round that never closed stays secret.
        if let Some(secret) =
            rounds.last_mut().filter(|round| self.opened.sealed && round.closed_at.is_none())
        {
            secret.answers.values_mut().for_each(|answer| answer.response = None);
            let of_it = uncounted.iter_mut().filter(|one| one.round == secret.round);
            of_it.for_each(|one| one.response = None);
        }
        NegotiationView {
            negotiation_id: self.id().clone(),
            workspace: workspace.clone(),
            status: self.status,
            protocol: self.opened.protocol.clone(),
            version: self.opened.version,
            question: self.opened.question.clone(),
            rules: self.opened.rules.clone(),
            participants: self.participants.clone(),
            rounds,
            uncounted,
            outcome: self.outcome().cloned(),
            explanation: self.decided.as_ref().map(|decided| decided.explanation.clone()).unwrap_or_default(),
            by_default: self.decided.as_ref().is_some_and(|decided| decided.by_default),
            starts: self.decided.as_ref().and_then(|decided| decided.starts.clone()),
            reason: self.reason.clone(),
            opened_at: self.opened_at,
            deadline: self.opened.deadline,
            ended_at: self.ended_at,
            quorum: self.opened.quorum.clone(),
            labels: self.opened.labels.clone(),
            correlation_id: self.opened.correlation_id.clone(),
        }
    }
}

/// A negotiation on which events are tried out, so that the second follows from the first.
struct Draft<'a> {
    it: Negotiation,
    events: Vec<What>,
    protocol: &'a dyn Protocol,
    now: Timestamp,
}

impl<'a> Draft<'a> {
    fn of(it: &Negotiation, protocol: &'a dyn Protocol, now: Timestamp) -> Draft<'a> {
        Draft { it: it.clone(), events: Vec::new(), protocol, now }
    }

    fn emit(&mut self, what: What) {
        self.it.apply(&what, self.now, 0);
        self.events.push(what);
    }

    fn check_known_answers(&self) -> Result<(), Error> {
        let Some(round) = self.it.round() else { return Ok(()) };
        for (id, response) in round.responses() {
            self.protocol.check(&self.it.table(self.now), id, response).map_err(|error| {
                let under = error.field.as_deref().and_then(|field| field.strip_prefix("/response"));
                let field = format!("/answers/{id}{}", under.unwrap_or_default());
                error.with_field(field)
            })?;
        }
        Ok(())
    }

    /// Ends the round that is open if there is nothing to wait for, and so on. `answered`: an answer has come.
    fn look(&mut self, answered: bool) {
        let Some(round) = self.it.round() else { return };
        let (answers, awaited, quorum) = (round.answers.len(), round.awaited(), round.quorum as usize);
        if answers + awaited < quorum {
            self.no_quorum(answers, quorum);
        } else if awaited == 0 {
            self.close(ClosedBy::Complete);
        } else if answered && answers >= quorum.max(1) && self.protocol.settled(&self.it.table(self.now)) {
            self.close(ClosedBy::Settled);
        }
    }

    fn no_quorum(&mut self, answers: usize, quorum: usize) {
        self.fail(said::no_quorum(answers, quorum));
    }

    fn fail(&mut self, reason: String) {
        let ended = self.it.ended(NegotiationStatus::Failed, Some(reason));
        self.emit(What::NegotiationFailed(ended));
    }

    fn time_is_up(&mut self) {
        let Some(round) = self.it.round() else { return };
        let (number, answers, quorum) = (round.round, round.answers.len(), round.quorum as usize);
        let (silent, length_ms) = (round.awaited(), round.closes_at.millis_since(round.opened_at));
        let was_extended = round.extended_at.is_some();
        match self.it.opened.on_timeout.clone() {
            // A protocol's own question to some is the protocol's own matter.
            _ if quorum == 0 => self.close(ClosedBy::Time),
            OnTimeout::Fail => {
                self.fail(said::time_was_up(number, silent));
            }
            OnTimeout::Default(outcome) => self.by_default(outcome, number),
            OnTimeout::Extend if !was_extended && !self.is_past_deadline() => {
                let later = self.now.plus_millis(length_ms);
                let closes_at = self.it.opened.deadline.map_or(later, |deadline| later.min(deadline));
                let (negotiation_id, status) = (self.it.id().clone(), self.it.status);
                let extended = NegotiationExtended { negotiation_id, status, round: number, closes_at };
                self.emit(What::NegotiationExtended(extended));
            }
            OnTimeout::Extend | OnTimeout::Decide if answers < quorum => self.no_quorum(answers, quorum),
            OnTimeout::Extend | OnTimeout::Decide => self.close(ClosedBy::Time),
        }
    }

    fn is_past_deadline(&self) -> bool {
        self.it.opened.deadline.is_some_and(|deadline| deadline <= self.now)
    }

    fn by_default(&mut self, outcome: Json, round: u32) {
        self.round_closed(ClosedBy::Time, None);
        let explanation = vec![said::by_default(round)];
        // It is the opener's word, and tells of nobody.
        self.decide(outcome, explanation, Vec::new(), true);
    }

    fn decide(
        &mut self,
        outcome: Json,
        explanation: Vec<String>,
        appraisals: Vec<AppraiseAgent>,
        by_default: bool,
    ) {
        let decided = NegotiationDecided {
            negotiation_id: self.it.id().clone(),
            status: NegotiationStatus::Decided,
            outcome,
            explanation,
            by_default,
            seed: self.it.seed().to_owned(),
            deciding_ms: self.now.millis_since(self.it.opened_at),
            starts: None,
            appraisals,
        };
        self.emit(What::NegotiationDecided(decided));
    }

    fn round_closed(&mut self, closed_by: ClosedBy, next: Option<NextRound>) {
        let Some(round) = self.it.round() else { return };
        let closed = RoundClosed {
            negotiation_id: self.it.id().clone(),
            status: self.it.status,
            round: round.round,
            closed_by,
            answers: u32::try_from(round.answers.len()).unwrap_or(u32::MAX),
            next,
        };
        self.emit(What::NegotiationRoundClosed(closed));
    }

    /// Ends the round, and those after it to which nobody is asked.
    fn close(&mut self, by: ClosedBy) {
        let mut by = by;
        loop {
            let next = self.protocol.close(&self.it.table(self.now));
            let number = self.it.rounds.len();
            match next {
                Next::Decided(decision) => {
                    let appraisals = self.protocol.appraisals(&self.it.table(self.now), &decision.outcome);
                    self.round_closed(by, None);
                    return self.decide(decision.outcome, decision.explanation, appraisals, false);
                }
                Next::Failed { reason, outcome } => {
                    let mut ended = self.it.ended(NegotiationStatus::Failed, Some(reason));
                    let of = |outcome| self.protocol.appraisals(&self.it.table(self.now), outcome);
                    ended.appraisals = outcome.as_ref().map(of).unwrap_or_default();
                    ended.outcome = outcome;
                    self.round_closed(by, None);
                    return self.emit(What::NegotiationFailed(ended));
                }
                Next::Round(_) if number >= ROUNDS => {
                    self.round_closed(by, None);
                    return self.fail(said::too_many_rounds(ROUNDS));
                }
                Next::Round(_) if self.is_past_deadline() => {
                    self.round_closed(by, None);
                    return self.fail(said::deadline_passed(number));
                }
                Next::Round(call) => {
                    let next = self.next(&call, number as u32 + 1);
                    let (asked, quorum) = (next.asked.len(), next.quorum as usize);
                    self.round_closed(by, Some(next));
                    if asked < quorum {
                        return self.no_quorum(0, quorum);
                    }
                    if asked > 0 {
                        return;
                    }
                    by = ClosedBy::Complete;
                }
            }
        }
    }

    fn next(&self, call: &Call, round: u32) -> NextRound {
        let gone =
            self.it.rounds.last().map(|round| round.gone.keys().cloned().collect()).unwrap_or_default();
        let opened = &self.it.opened;
        let among = (&self.it.participants[..], &gone);
        next_round(call, round, among, &opened.quorum, opened.round_ms, opened.deadline, self.now)
    }
}
