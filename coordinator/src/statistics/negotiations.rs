//! How negotiations have gone, by protocol: how many were decided, how long that took, and who took part.
//!
//! Counted as attempts are: by the coordinator that has the shard, from its start on, in memory. Who took part is counted
//! when a negotiation has ended, over all its rounds; a participant is asked once in each round.

use super::Latency;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use synod_negotiation::Negotiation;
use synod_protocol::negotiation::{NegotiationStatus, Round};
use utoipa::ToSchema;

/// Protocols that are counted each by itself; there are a dozen, and those that an embedder adds.
const PROTOCOLS_LIMIT: usize = 1_000;

/// What was counted of the negotiations of one protocol.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Tally {
    opened: u64,
    decided: u64,
    by_default: u64,
    failed: u64,
    cancelled: u64,
    rounds: u64,
    took_part: Participation,
    /// From the opening to the decision, of those that were decided, in ms.
    deciding_ms: u64,
    latency: Latency,
}

/// What was counted, by protocol.
pub(crate) type Tallies = BTreeMap<String, Tally>;

/// Who was asked, over all rounds of negotiations that have ended, and what came of it; the four others add up to `asked`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Participation {
    /// Asked to answer a round.
    pub(crate) asked: u64,
    /// With an answer.
    pub(crate) answered: u64,
    /// With an abstention.
    pub(crate) abstained: u64,
    /// Not, until the round had ended.
    pub(crate) silent: u64,
    /// Its process was gone.
    pub(crate) gone: u64,
}

impl Participation {
    /// Of these rounds.
    pub(crate) fn of(rounds: &[Round]) -> Participation {
        let count = |of: &dyn Fn(&Round) -> usize| rounds.iter().map(|round| of(round) as u64).sum::<u64>();
        let answered = count(&|round| round.responses().count());
        Participation {
            asked: count(&|round| round.asked.len()),
            answered,
            abstained: count(&|round| round.answers.len()).saturating_sub(answered),
            silent: count(&|round| round.silent().count()),
            gone: count(&|round| round.gone.keys().filter(|id| !round.answers.contains_key(*id)).count()),
        }
    }

    fn merge(&mut self, other: &Participation) {
        self.asked = self.asked.saturating_add(other.asked);
        self.answered = self.answered.saturating_add(other.answered);
        self.abstained = self.abstained.saturating_add(other.abstained);
        self.silent = self.silent.saturating_add(other.silent);
        self.gone = self.gone.saturating_add(other.gone);
    }
}

impl Tally {
    fn ended(&mut self, it: &Negotiation, took_part: &Participation) {
        match it.status {
            NegotiationStatus::Decided => self.decided += 1,
            NegotiationStatus::Cancelled => self.cancelled += 1,
            _ => self.failed += 1,
        }
        self.rounds = self.rounds.saturating_add(it.rounds.len() as u64);
        self.took_part.merge(took_part);
        let Some(decided) = &it.decided else { return };
        self.by_default += u64::from(decided.by_default);
        self.deciding_ms = self.deciding_ms.saturating_add(decided.deciding_ms);
        self.latency.add(Latency::bucket(decided.deciding_ms), 1);
    }

    fn merge(&mut self, other: &Tally) {
        let pairs = [
            (&mut self.opened, other.opened),
            (&mut self.decided, other.decided),
            (&mut self.by_default, other.by_default),
            (&mut self.failed, other.failed),
            (&mut self.cancelled, other.cancelled),
            (&mut self.rounds, other.rounds),
            (&mut self.deciding_ms, other.deciding_ms),
        ];
        for (ours, theirs) in pairs {
            *ours = ours.saturating_add(theirs);
        }
        self.took_part.merge(&other.took_part);
        self.latency.merge(&other.latency);
    }
}

/// One of this protocol was opened.
pub(super) fn opened(tallies: &mut Tallies, protocol: &str) {
    if let Some(tally) = of(tallies, protocol) {
        tally.opened += 1;
    }
}

/// One has ended.
pub(super) fn ended(tallies: &mut Tallies, it: &Negotiation, took_part: &Participation) {
    if let Some(tally) = of(tallies, &it.opened.protocol) {
        tally.ended(it, took_part);
    }
}

fn of<'a>(tallies: &'a mut Tallies, protocol: &str) -> Option<&'a mut Tally> {
    if !tallies.contains_key(protocol) && tallies.len() < PROTOCOLS_LIMIT {
        tallies.insert(protocol.to_owned(), Tally::default());
    }
    tallies.get_mut(protocol)
}

/// Adds what another coordinator has counted.
pub(crate) fn merge(ours: &mut Tallies, theirs: &Tallies) {
    for (protocol, tally) in theirs {
        if let Some(known) = of(ours, protocol) {
            known.merge(tally);
        }
    }
}

/// How negotiations of one protocol have gone since the coordinators started.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct NegotiationStatisticsView {
    /// Opened.
    pub(crate) opened: u64,
    /// Ended with an outcome.
    pub(crate) decided: u64,
    /// Of these, by the stated default.
    pub(crate) by_default: u64,
    /// Ended without an outcome.
    pub(crate) failed: u64,
    /// Somebody cancelled them.
    pub(crate) cancelled: u64,
    /// Of those that were decided or failed, the share that was decided, 0 to 1; absent while there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) success_rate: Option<f64>,
    /// The share that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) failure_rate: Option<f64>,
    /// From the opening to the decision; absent while none was decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deciding: Option<DecidingView>,
    /// Rounds of those that have ended.
    pub(crate) rounds: u64,
    /// Who took part in those that have ended.
    pub(crate) participation: Participation,
}

/// How long decisions took, from the opening on, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub(crate) struct DecidingView {
    /// On average.
    pub(crate) mean_ms: f64,
    /// Half of them at most so long; at most 9.1 % above.
    pub(crate) p50_ms: u64,
    /// Ninety-nine of a hundred.
    pub(crate) p99_ms: u64,
}

impl NegotiationStatisticsView {
    /// What was counted, by protocol.
    pub(crate) fn of(tallies: &Tallies) -> BTreeMap<String, NegotiationStatisticsView> {
        tallies.iter().map(|(protocol, tally)| (protocol.clone(), Self::of_one(tally))).collect()
    }

    fn of_one(tally: &Tally) -> NegotiationStatisticsView {
        let ended = tally.decided + tally.failed;
        let share = |part: u64| (ended > 0).then(|| part as f64 / ended as f64);
        let at = |share| tally.latency.percentile(share);
        let deciding = at(0.5).zip(at(0.99)).map(|(p50_ms, p99_ms)| DecidingView {
            mean_ms: tally.deciding_ms as f64 / tally.decided.max(1) as f64,
            p50_ms,
            p99_ms,
        });
        NegotiationStatisticsView {
            opened: tally.opened,
            decided: tally.decided,
            by_default: tally.by_default,
            failed: tally.failed,
            cancelled: tally.cancelled,
            success_rate: share(tally.decided),
            failure_rate: share(tally.failed),
            deciding,
            rounds: tally.rounds,
            participation: tally.took_part.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use synod_negotiation::{Known, Opening, Protocols, open};
    use synod_protocol::Timestamp;
    use synod_protocol::negotiation::CancelNegotiation;

    const OPENED_MS: i64 = 1_000_000;

    /// A vote of five, one of whom has answered already, that ends after so long.
    fn vote(after_ms: u64, end: &str) -> Negotiation {
        let command = serde_json::from_value(
            json!({"negotiation_id": "n", "protocol": "vote", "quorum": {"count": 2},
            "participants": ["a", "b", "c", "d", "e"], "rules": {"candidates": ["x", "y"], "method": "plurality"},
            "on_timeout": if end == "default" { json!({"default": 7}) } else { json!("decide") }}),
        );
        let now = Timestamp::from_millis(OPENED_MS);
        let (seed, invited, correlation_id) = ("00".to_owned(), Vec::new(), "n".to_owned());
        let known = Known::default();
        let opening = Opening { now, seed, invited, correlation_id, traceparent: None, known };
        let events = open(Protocols::standard(), &command.unwrap(), opening).unwrap();
        let synod_protocol::event::What::NegotiationOpened(opened) = &events[0] else { panic!("{events:?}") };
        let mut it = Negotiation::new(opened, now, 0);
        let mut answers = vec![json!({"negotiation_id": "n", "participant": "a", "response": "x"})];
        if end == "decided" {
            answers.push(json!({"negotiation_id": "n", "participant": "b", "abstain": true}));
        }
        for answer in answers {
            let answer = serde_json::from_value(answer).unwrap();
            let whats = it.respond(Protocols::standard(), &answer, now).unwrap();
            whats.iter().for_each(|what| it.apply(what, now, 0));
        }
        if let Some(round) = it.rounds.last_mut() {
            round.gone.insert("c".parse().unwrap(), "it has left".into());
            round.closes_at = now.plus_millis(after_ms);
        }
        let then = now.plus_millis(after_ms);
        let whats = match end {
            "cancelled" => {
                it.cancel(&CancelNegotiation { negotiation_id: "n".parse().unwrap(), reason: None }).unwrap()
            }
            _ => it.due(Protocols::standard(), then),
        };
        whats.iter().for_each(|what| it.apply(what, then, 0));
        it
    }

    #[test]
    fn what_became_of_them_is_counted_and_parts_add_up() {
        let (mut whole, mut parts) = (Tallies::new(), [Tallies::new(), Tallies::new()]);
        for (n, end) in ["decided", "decided", "default", "failed", "cancelled"].into_iter().enumerate() {
            let it = vote(100 * (n as u64 + 1), end);
            let took_part = Participation::of(&it.rounds);
            for tallies in [&mut whole, &mut parts[n % 2]] {
                opened(tallies, "vote");
                ended(tallies, &it, &took_part);
            }
        }
        let [mut sum, other] = parts;
        merge(&mut sum, &other);
        assert_eq!(sum, whole);
        let json = serde_json::to_string(&whole).unwrap();
        assert_eq!(serde_json::from_str::<Tallies>(&json).unwrap(), whole, "as it goes between coordinators");
        let view = NegotiationStatisticsView::of(&whole).remove("vote").unwrap();
        assert_eq!(
            (view.opened, view.decided, view.by_default, view.failed, view.cancelled),
            (5, 3, 1, 1, 1)
        );
        assert_eq!((view.success_rate, view.failure_rate, view.rounds), (Some(0.75), Some(0.25), 5));
        let deciding = view.deciding.unwrap();
        assert!((deciding.mean_ms - 200.0).abs() < 1e-9, "100, 200 and 300 ms: {deciding:?}");
        assert!(
            (200..=219).contains(&deciding.p50_ms) && (300..=328).contains(&deciding.p99_ms),
            "{deciding:?}"
        );
        // Five were asked each time: one answered, in two one abstained, one was gone, the rest said nothing.
        let want = Participation { asked: 25, answered: 5, abstained: 2, silent: 13, gone: 5 };
        assert_eq!(view.participation, want);
        let none = NegotiationStatisticsView::of_one(&Tally::default());
        assert_eq!((none.success_rate, none.deciding), (None, None));
    }
}
