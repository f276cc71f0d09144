//! Whether a recorded history is one that some order of its operations explains, in which none stands before another that
//! had been answered when it was asked (Herlihy and Wing's linearizability; the search is Wing and Gong's, with Lowe's
//! memory of what was tried).
//!
//! An operation without an answer may have happened at any time after it was asked, or never. Of the crates that offer
//! this none knows such operations and is looked after (todc-utils: last release in 2023), so here it is.

use std::collections::HashSet;
use std::hash::Hash;

/// An operation, when it was asked and when it was answered, in ns of one clock.
#[derive(Clone, Debug)]
pub(crate) struct Timed<O> {
    pub(crate) called: u64,
    /// `None`: it is not known whether it happened.
    pub(crate) answered: Option<u64>,
    pub(crate) op: O,
}

/// So many situations are looked at before the search gives up.
const LOOKED_AT: usize = 4_000_000;

/// Checks a history, in the order in which its operations were asked, against what it should be: `step` is every state that an operation with its answer can lead to.
///
/// # Errors
/// How many operations the longest order explains.
pub(crate) fn check<O, S: Clone + Eq + Hash>(
    history: &[Timed<O>],
    start: &S,
    step: impl Fn(&S, &O) -> Vec<S>,
) -> Result<(), usize> {
    assert!(history.is_sorted_by_key(|timed| timed.called));
    let known = history.iter().filter(|timed| timed.answered.is_some()).count();
    let mut done = vec![0u64; history.len().div_ceil(64)];
    let mut tried: HashSet<(Vec<u64>, S)> = HashSet::new();
    let mut taken: Vec<usize> = Vec::new();
    let (mut explained, mut longest) = (0, 0);
    // What may come next, and what it leads to, after each operation that is taken.
    let mut frames = vec![candidates(history, &done, start, &step)];
    while explained < known {
        assert!(tried.len() < LOOKED_AT, "undecided: too many orders are possible; record fewer operations");
        let Some(next) = frames.last_mut() else { return Err(longest) };
        let Some((at, state)) = next.pop() else {
            frames.pop();
            if let Some(at) = taken.pop() {
                done[at / 64] &= !(1 << (at % 64));
                explained -= usize::from(history[at].answered.is_some());
            }
            continue;
        };
        done[at / 64] |= 1 << (at % 64);
        if !tried.insert((done.clone(), state.clone())) {
            done[at / 64] &= !(1 << (at % 64));
            continue;
        }
        explained += usize::from(history[at].answered.is_some());
        longest = longest.max(explained);
        taken.push(at);
        frames.push(candidates(history, &done, &state, &step));
    }
    Ok(())
}

/// What may come next: asked before any that is left was answered. Those that were answered first are tried first.
fn candidates<O, S>(
    history: &[Timed<O>],
    done: &[u64],
    state: &S,
    step: &impl Fn(&S, &O) -> Vec<S>,
) -> Vec<(usize, S)> {
    let (mut possible, mut end) = (Vec::new(), u64::MAX);
    let left =
        (0..done.len()).filter(|word| done[*word] != u64::MAX).flat_map(|word| word * 64..word * 64 + 64);
    for at in left.filter(|at| *at < history.len() && done[at / 64] >> (at % 64) & 1 == 0) {
        // They are in the order in which they were asked.
        if history[at].called > end {
            break;
        }
        end = end.min(history[at].answered.unwrap_or(u64::MAX));
        possible.push(at);
    }
    possible.retain(|at| history[*at].called <= end);
    possible.sort_by_key(|at| std::cmp::Reverse(history[*at].answered.unwrap_or(u64::MAX)));
    let lead = |at: usize| step(state, &history[at].op).into_iter().map(move |state| (at, state));
    possible.into_iter().flat_map(lead).collect()
}
