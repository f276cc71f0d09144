//! What rules and ballots must be, before anything is counted.

use super::{
    Ballot, Base, CANDIDATES_MAX, Elimination, Method, NAME_MAX, Roll, Rules, Support, Threshold, Ties,
    UNIVERSE_CANDIDATES_MAX, VOTERS_MAX, Voter, runoff,
};
use crate::protocols::escaped;
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::{Error, Exact};

impl Rules {
    /// Yes or no: `yes` and `no` by plurality, the winner with at least `share` of `of`, or more where `strictly`. Nobody has
    /// a veto and there is no quorum; a tie decides nothing.
    pub fn consensus(share: Exact, of: Base, strictly: bool) -> Rules {
        Rules {
            candidates: vec!["yes".into(), "no".into()],
            method: Method::Plurality,
            support: Support::Threshold(Threshold { share, of, strictly }),
            quorum: None,
            veto: Vec::new(),
            ties: Ties::Fail,
        }
    }

    /// Whether a vote can be held by them.
    ///
    /// # Errors
    /// `invalid_argument`, with the place in the rules.
    pub fn check(&self) -> Result<(), Error> {
        if self.candidates.is_empty() || self.candidates.len() > CANDIDATES_MAX {
            let message =
                format!("a vote has 1 to {CANDIDATES_MAX} candidates, not {}", self.candidates.len());
            return Err(Error::invalid(message).with_field("/candidates"));
        }
        all_different("candidate", &self.candidates, "/candidates")?;
        if self.veto.len() > VOTERS_MAX {
            let message =
                format!("at most {VOTERS_MAX} participants may have a veto, not {}", self.veto.len());
            return Err(Error::invalid(message).with_field("/veto"));
        }
        all_different("participant", &self.veto, "/veto")?;
        if let Ties::Chair(chair) = &self.ties {
            named("participant", chair, "/ties/chair")?;
        }
        self.support.check()?;
        self.quorum.as_ref().map_or(Ok(()), |quorum| quorum.check())?;
        self.check_method()
    }

    fn check_method(&self) -> Result<(), Error> {
        match &self.method {
            Method::Score { min, max, .. } if min >= max => {
                let message = format!("scores go from min up to max; {min} is not below {max}");
                Err(Error::invalid(message).with_field("/method/score/min"))
            }
            Method::InstantRunoff { elimination: Elimination::ParallelUniverses }
                if self.candidates.len() > UNIVERSE_CANDIDATES_MAX =>
            {
                Err(runoff::too_many_universes(self.candidates.len()))
            }
            _ => Ok(()),
        }
    }

    /// Whether this voter can stand in this vote: name, weight, veto, ballot.
    ///
    /// # Errors
    /// `invalid_argument`, with the place in the voter, or in the rules as of [`Rules::check`].
    pub fn check_voter(&self, voter: &Voter) -> Result<(), Error> {
        self.check()?;
        let index = self.index();
        self.parse(voter, &index, "").map(|_| ())
    }

    /// Each candidate's place by its name.
    pub(super) fn index(&self) -> BTreeMap<&str, usize> {
        self.candidates.iter().enumerate().map(|(i, name)| (name.as_str(), i)).collect()
    }

    /// What a voter says, in indices; `at` is where he stands.
    pub(super) fn parse<'v>(
        &self,
        voter: &'v Voter,
        index: &BTreeMap<&str, usize>,
        at: &str,
    ) -> Result<Option<Said<'v>>, Error> {
        named("participant", &voter.participant, &format!("{at}/participant"))?;
        not_negative(&voter.weight, &format!("{at}/weight"))?;
        if voter.veto && !self.veto.contains(&voter.participant) {
            let message =
                format!("{} has no veto in this vote; those named in the rules have one", voter.participant);
            return Err(Error::invalid(message).with_field(format!("{at}/veto")));
        }
        let parsed = voter.ballot.as_ref().map(|ballot| self.parse_ballot(ballot, index, at));
        parsed.transpose()
    }

    fn parse_ballot<'v>(
        &self,
        ballot: &'v Ballot,
        index: &BTreeMap<&str, usize>,
        at: &str,
    ) -> Result<Said<'v>, Error> {
        match (ballot, &self.method) {
            (Ballot::Choice(name), method) if method.is_ranked() => {
                let at = || format!("{at}/ballot/choice");
                Ok(Said::Ranking(vec![candidate(name, index).map_err(|e| e.with_field(at()))?]))
            }
            (Ballot::Ranking(names), method) if method.is_ranked() => {
                candidates(names, index, at, "ranking").map(Said::Ranking)
            }
            (Ballot::Approved(names), Method::Approval) => {
                candidates(names, index, at, "approved").map(Said::Approved)
            }
            (Ballot::Scores(scores), Method::Score { min, max, .. }) => {
                let given = scores.iter().map(|(name, score)| {
                    let refused = |e: Error| e.with_field(format!("{at}/ballot/scores/{}", escaped(name)));
                    let candidate = candidate(name, index).map_err(refused)?;
                    if score < min || score > max {
                        let message = format!("a score is from {min} to {max}, not {score}");
                        return Err(refused(Error::invalid(message)));
                    }
                    Ok((candidate, score))
                });
                Ok(Said::Scores(given.collect::<Result<_, Error>>()?))
            }
            (_, method) => {
                let message = format!("a ballot of this vote is {}", method.ballots());
                Err(Error::invalid(message).with_field(format!("{at}/ballot")))
            }
        }
    }
}

impl Method {
    fn is_ranked(&self) -> bool {
        !matches!(self, Method::Approval | Method::Score { .. })
    }

    fn ballots(&self) -> &'static str {
        match self {
            Method::Approval => "{\"approved\": [...]}, those that are good enough",
            Method::Score { .. } => "{\"scores\": {...}}, a number for each candidate scored",
            _ => "{\"choice\": ...}, one candidate, or {\"ranking\": [...]}, best first",
        }
    }
}

impl Roll {
    /// Whether the record is complete for these rules.
    pub(super) fn check(&self, rules: &Rules) -> Result<(), Error> {
        not_negative(&self.entitled, "/entitled")?;
        if rules.ties == Ties::Seed && self.seed.is_none() {
            let message = "ties are broken by lot in this vote, so it needs a seed on record";
            return Err(Error::invalid(message).with_field("/seed"));
        }
        Ok(())
    }
}

/// What a voter says, by the places of the candidates.
pub(super) enum Said<'v> {
    /// Best first.
    Ranking(Vec<usize>),
    /// Those approved.
    Approved(Vec<usize>),
    /// Those scored.
    Scores(Vec<(usize, &'v Exact)>),
}

impl Said<'_> {
    /// How high this ballot holds each candidate: the more the higher, 0 for those that it does not name.
    pub(super) fn levels(&self, candidates: usize) -> Vec<usize> {
        let mut levels = vec![0; candidates];
        match self {
            Said::Ranking(ranking) => {
                for (above, &candidate) in ranking.iter().enumerate() {
                    levels[candidate] = candidates - above;
                }
            }
            Said::Approved(approved) => approved.iter().for_each(|&candidate| levels[candidate] = 1),
            Said::Scores(scores) => {
                for (candidate, score) in scores {
                    levels[*candidate] = 1 + scores.iter().filter(|(_, other)| other < score).count();
                }
            }
        }
        levels
    }
}

fn candidate(name: &str, index: &BTreeMap<&str, usize>) -> Result<usize, Error> {
    index.get(name).copied().ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        Error::invalid(format!("{shown:?} is no candidate of this vote"))
    })
}

fn candidates(
    names: &[String],
    index: &BTreeMap<&str, usize>,
    at: &str,
    kind: &str,
) -> Result<Vec<usize>, Error> {
    let mut seen = 0_u128;
    let mut found = Vec::with_capacity(names.len().min(index.len()));
    for (place, name) in names.iter().enumerate() {
        let refused = |e: Error| e.with_field(format!("{at}/ballot/{kind}/{place}"));
        let i = candidate(name, index).map_err(refused)?;
        if seen & (1 << i) != 0 {
            return Err(refused(Error::invalid(format!("{name:?} stands twice; each may stand once"))));
        }
        seen |= 1 << i;
        found.push(i);
    }
    Ok(found)
}

/// A name is a text of 1 to [`NAME_MAX`] bytes.
pub(super) fn named(what: &str, name: &str, at: &str) -> Result<(), Error> {
    if name.is_empty() || name.len() > NAME_MAX {
        let message = format!("the name of a {what} has 1 to {NAME_MAX} bytes, not {}", name.len());
        return Err(Error::invalid(message).with_field(at));
    }
    Ok(())
}

pub(super) fn not_negative(weight: &Exact, at: &str) -> Result<(), Error> {
    if weight.is_negative() {
        return Err(Error::invalid(format!("a weight is 0 or more, not {weight}")).with_field(at));
    }
    Ok(())
}

fn all_different(what: &str, names: &[String], at: &str) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for (place, name) in names.iter().enumerate() {
        let at = format!("{at}/{place}");
        named(what, name, &at)?;
        if !seen.insert(name) {
            let message = format!("{name:?} stands twice; each may stand once");
            return Err(Error::invalid(message).with_field(at));
        }
    }
    Ok(())
}
