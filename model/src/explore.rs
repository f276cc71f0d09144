//! Going through the states: breadth first with the shortest way to what is found, or by random walks.

use crate::act::Act;
use crate::check::{is_goal, wrong};
use crate::config::Config;
use crate::fingerprint::{AsItIs, fingerprint};
use crate::state::State;
use std::collections::VecDeque;
use std::collections::hash_map::{Entry, HashMap};

/// Fingerprints that are kept at most: about 2 GB with the map around them.
const MOST_SEEN: usize = 60_000_000;
/// States that wait at most.
const MOST_WAITING: usize = 9_000_000;
/// A fault-free run gets everything done in fewer actions.
const LONGEST_FINISH: usize = 60;
const NOT_LIVE: &str = "I6 no fault-free continuation finishes";

/// Something wrong.
#[derive(Clone, Debug)]
pub struct Found {
    /// What.
    pub what: &'static str,
    /// The actions that lead there, from the beginning.
    pub actions: Vec<String>,
    /// The log then, a record a line.
    pub log: Vec<String>,
}

/// What an exploration came to.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// States looked at.
    pub states: usize,
    /// Transitions between them.
    pub transitions: usize,
    /// The most actions from the beginning.
    pub depth: usize,
    /// There are no others.
    pub complete: bool,
    /// The first thing that was wrong.
    pub found: Option<Found>,
    /// States from which it was tried whether all can still be done.
    pub live_checked: usize,
    /// States in which all is done.
    pub goals: usize,
}

type Seen = HashMap<u64, u64, AsItIs>;

/// Looks at every state, or at `max_states`; from one of `live_every` whether it can be finished.
pub(crate) fn search(config: &Config, max_states: usize, live_every: u64) -> Report {
    let mut seen = Seen::default();
    let first = State::new();
    let root = fingerprint(&first);
    seen.insert(root, 0);
    let mut queue = VecDeque::from([(first, 0)]);
    let (mut report, mut next) = (Report::default(), Vec::new());
    while let Some((state, depth)) = queue.pop_front() {
        let print = fingerprint(&state);
        report.states += 1;
        report.depth = depth;
        report.goals += usize::from(is_goal(&state, config));
        let mut bad = wrong(&state, config);
        if bad.is_none() && live_every > 0 && print.is_multiple_of(live_every) {
            report.live_checked += 1;
            bad = (!finishes(&state, config)).then_some(NOT_LIVE);
        }
        if let Some(what) = bad {
            report.found = Some(found(what, &way_to(config, &seen, print, root)));
            return report;
        }
        next.clear();
        state.successors(config, false, &mut next);
        for (_, state) in next.drain(..) {
            report.transitions += 1;
            if let Entry::Vacant(new) = seen.entry(fingerprint(&state)) {
                new.insert(print);
                queue.push_back((state, depth + 1));
            }
        }
        if report.states >= max_states || seen.len() > MOST_SEEN || queue.len() > MOST_WAITING {
            return report;
        }
    }
    report.complete = true;
    report
}

/// One owner without faults from here: does it get everything done?
fn finishes(state: &State, config: &Config) -> bool {
    let mut next = Vec::new();
    (0..2).any(|who| {
        let mut state = state.clone();
        for _ in 0..LONGEST_FINISH {
            if is_goal(&state, config) {
                return true;
            }
            next.clear();
            state.successors(config, true, &mut next);
            let ranked =
                next.iter().enumerate().filter_map(|(index, (act, _))| Some((rank(*act, who)?, index)));
            let Some((_, index)) = ranked.min() else { break };
            state = next.swap_remove(index).1;
        }
        is_goal(&state, config)
    })
}

/// What an owner that means well does first; `None` for what it does not do.
fn rank(act: Act, who: usize) -> Option<u8> {
    let (by, rank) = match act {
        Act::Ack(by, _) => (by, 0),
        Act::Land(by, _) => (by, 1),
        Act::Fold(by) => (by, 2),
        Act::Reject(by, _) => (by, 3),
        Act::Perform(by, _) => (by, 4),
        Act::AnswerRepeat(by, _) => (by, 5),
        Act::Skip(by) => (by, 6),
        Act::Kafka(by) => (by, 7),
        Act::Direct(by, _) => (by, 8),
        Act::Claim(by) => (by, 9),
        _ => return None,
    };
    (by == who).then_some(rank)
}

/// The actions from the beginning to this state, by going back through who was reached from whom.
fn way_to(config: &Config, seen: &Seen, mut print: u64, root: u64) -> Vec<(Act, State)> {
    let mut prints = Vec::new();
    while print != root {
        prints.push(print);
        print = seen.get(&print).copied().unwrap_or(root);
    }
    let (mut state, mut way, mut next) = (State::new(), Vec::new(), Vec::new());
    for wanted in prints.iter().rev() {
        next.clear();
        state.successors(config, false, &mut next);
        let Some(index) = next.iter().position(|(_, state)| fingerprint(state) == *wanted) else { break };
        let step = next.swap_remove(index);
        state = step.1.clone();
        way.push(step);
    }
    way
}

fn found(what: &'static str, way: &[(Act, State)]) -> Found {
    let last = way.last().map_or_else(State::new, |(_, state)| state.clone());
    Found {
        what,
        actions: way.iter().map(|(act, _)| format!("{act:?}")).collect(),
        log: last.log.iter().enumerate().map(|(offset, record)| record.shown(offset)).collect(),
    }
}

/// Random walks under larger budgets, so many actions in all: what breadth cannot reach.
pub(crate) fn walk(config: &Config, actions: usize, seed: u64) -> Report {
    let (mut report, mut next, mut random) = (Report::default(), Vec::new(), seed | 1);
    while report.transitions < actions {
        let (mut state, mut way) = (State::new(), Vec::new());
        for depth in 0.. {
            report.states += 1;
            report.depth = report.depth.max(depth);
            report.goals += usize::from(is_goal(&state, config));
            let mut bad = wrong(&state, config);
            if bad.is_none() && report.states.is_multiple_of(64) {
                report.live_checked += 1;
                bad = (!finishes(&state, config)).then_some(NOT_LIVE);
            }
            if let Some(what) = bad {
                report.found = Some(found(what, &way));
                return report;
            }
            next.clear();
            state.successors(config, false, &mut next);
            if next.is_empty() {
                break;
            }
            report.transitions += 1;
            let step = next.swap_remove(chosen(&next, &mut random));
            state = step.1.clone();
            way.push(step);
        }
    }
    report
}

/// One of these. Troubles are many among them: taken only now and then.
fn chosen(next: &[(Act, State)], random: &mut u64) -> usize {
    for _ in 0..3 {
        *random ^= *random << 13;
        *random ^= *random >> 7;
        *random ^= *random << 17;
    }
    let calm: Vec<usize> = (0..next.len()).filter(|index| !next[*index].0.is_trouble()).collect();
    let drawn = (*random >> 33) as usize;
    match calm.is_empty() || (*random >> 20) & 7 == 0 {
        true => drawn % next.len(),
        false => calm[drawn % calm.len()],
    }
}
