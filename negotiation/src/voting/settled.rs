//! Whether a vote is over before all have answered.

use super::ballots::Poll;
use super::outcome::{Count, lots};
use super::threshold::Standing;
use super::{Method, Roll, Rules, Voter};
use serde::{Deserialize, Serialize};
use synod_protocol::{Error, Exact};

/// One who may vote and was not heard yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Outstanding {
    /// Who.
    pub participant: String,
    /// How much his ballot would count: 0 or more.
    #[schema(value_type = serde_json::Value)]
    pub weight: Exact,
}

/// Whether nothing that those outstanding can do (any ballot, abstaining, a veto, silence) changes what
/// [`super::outcome`] decides: which candidate, or that none.
///
/// Of plurality and approval it is told exactly: `false` means that some of their answers would change it. Of the other
/// methods it is `true` only where nobody is outstanding, a veto stands or the quorum is out of reach; `false` says nothing.
///
/// The test is short, because each candidate has a best case, in which all those outstanding vote for it alone: there its
/// score, its support and the quorum are the highest, and the others' scores the lowest. Who does not win in his best case
/// never wins. If just one does, it must also win when all are silent (quorum), in the best case of every other one (lead,
/// tie, threshold), and when all cast empty ballots.
///
/// # Errors
/// As [`super::outcome`]; also where somebody is outstanding who has voted.
pub fn settled(
    rules: &Rules,
    voters: &[Voter],
    outstanding: &[Outstanding],
    roll: &Roll,
) -> Result<bool, Error> {
    let poll = Poll::read(rules, voters, outstanding, roll)?;
    let count = Count::of(rules, &poll)?;
    let mut now = poll.standing.clone();
    (now.winners, now.support) = (count.winners, count.support);
    if outstanding.is_empty() || now.vetoed {
        return Ok(true);
    }
    let lots = lots(rules, roll);
    let joined = |favourite| joined(rules, outstanding, &poll, &now, favourite);
    if !joined(None).has_quorum(rules) {
        return Ok(true);
    }
    if !matches!(rules.method, Method::Plurality | Method::Approval) {
        return Ok(false);
    }
    let decided = |standing: &Standing| standing.verdict(rules, &lots).decided();
    let best_cases: Vec<_> =
        (0..poll.candidates).map(|candidate| decided(&joined(Some(candidate)))).collect();
    let mut can_win = (0..poll.candidates).filter(|&candidate| best_cases[candidate] == Some(candidate));
    let Some(only) = can_win.next() else { return Ok(true) };
    let vetoed = outstanding.iter().any(|voter| rules.veto.contains(&voter.participant));
    Ok(!vetoed
        && best_cases.iter().all(|case| *case == Some(only))
        && decided(&now) == Some(only)
        && decided(&joined(None)) == Some(only))
}

/// The standing once all those outstanding have voted for this one alone, or cast empty ballots.
fn joined(
    rules: &Rules,
    outstanding: &[Outstanding],
    poll: &Poll<'_>,
    now: &Standing,
    favourite: Option<usize>,
) -> Standing {
    let mut then = now.clone();
    let units: i128 = poll.outstanding.iter().sum();
    then.cast += units;
    then.voters_cast += outstanding.len() as u32;
    let mut levels = vec![0; poll.candidates];
    if let Some(favourite) = favourite {
        then.support[favourite] += units;
        levels[favourite] = 1;
    }
    then.winners = super::profile::greatest(&then.support);
    if outstanding.iter().any(|voter| rules.ties.is_chair(&voter.participant)) {
        then.chair = Some(levels);
    }
    then
}
