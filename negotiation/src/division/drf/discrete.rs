//! Whole tasks, one after the other, to whoever has the lowest `dominant share / weight`.
//!
//! Comparing two users is comparing `tasks * a / b` of each, by multiplying crosswise: in 128 bits where all of it fits,
//! in long numbers where not. Which of the two it is changes the time and nothing else.

use super::units::Units;
use super::{DrfEnd, Filled};
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::{NumRef, RefNum, ToPrimitive};
use std::cmp::Ordering;
use std::collections::BinaryHeap;
use synod_protocol::{Error, Exact};

/// Most whole tasks that are handed out in all. Tasks that need nothing do not count.
pub const TASKS_MAX: u64 = 1_000_000;
/// Bits of [`TASKS_MAX`].
const TASKS_BITS: u64 = 20;

/// Everybody's whole tasks: until one does not fit where `stop` says so, else until none does.
///
/// # Errors
/// `invalid_argument` where there would be more than [`TASKS_MAX`].
pub(super) fn fill(units: &Units, stop: bool) -> Result<Filled, Error> {
    let paces = || units.users.iter().filter_map(|u| u.pace.as_ref());
    let widest = |part: fn(&BigRational) -> &BigInt| paces().map(|p| part(p).bits()).max().unwrap_or(0);
    let compared = TASKS_BITS + widest(BigRational::numer) + widest(BigRational::denom);
    let counted = units.capacity.iter().chain(units.users.iter().flat_map(|u| &u.need));
    let counted = counted.map(BigInt::bits).max().unwrap_or(0);
    let ended = if compared.max(counted) < i128::BITS.into() {
        // Every number has been seen to fit.
        hand_out(units, stop, |n: &BigInt| n.to_i128().unwrap_or(i128::MAX))?
    } else {
        hand_out(units, stop, BigInt::clone)?
    };
    Ok(filled(units, &ended))
}

/// What became of one user.
struct Ended {
    tasks: u64,
    end: DrfEnd,
    full: Option<usize>,
}

/// Whose turn it is: the lowest `above / below`, of equals the first in the rules.
struct Turn<N> {
    above: N,
    below: N,
    user: usize,
}

impl<N: NumRef + Ord> Ord for Turn<N>
where
    for<'a> &'a N: RefNum<N>,
{
    fn cmp(&self, other: &Turn<N>) -> Ordering {
        // The heap hands out the greatest.
        let lower = (&other.above * &self.below).cmp(&(&self.above * &other.below));
        lower.then(other.user.cmp(&self.user))
    }
}

impl<N: NumRef + Ord> PartialOrd for Turn<N>
where
    for<'a> &'a N: RefNum<N>,
{
    fn partial_cmp(&self, other: &Turn<N>) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<N: NumRef + Ord> PartialEq for Turn<N>
where
    for<'a> &'a N: RefNum<N>,
{
    fn eq(&self, other: &Turn<N>) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<N: NumRef + Ord> Eq for Turn<N> where for<'a> &'a N: RefNum<N> {}

fn hand_out<N>(units: &Units, stop: bool, number: impl Fn(&BigInt) -> N) -> Result<Vec<Ended>, Error>
where
    N: NumRef + Ord + Clone,
    for<'a> &'a N: RefNum<N>,
{
    let mut left: Vec<N> = units.capacity.iter().map(&number).collect();
    let need: Vec<Vec<N>> = units.users.iter().map(|u| u.need.iter().map(&number).collect()).collect();
    // `dominant share / weight` of one task.
    let step = units.users.iter().map(|u| match &u.pace {
        Some(pace) => (number(pace.denom()), number(pace.numer())),
        None => (N::zero(), N::one()),
    });
    let step: Vec<(N, N)> = step.collect();
    let mut ended: Vec<Ended> =
        units.users.iter().map(|_| Ended { tasks: 0, end: DrfEnd::Ended, full: None }).collect();
    let mut turns = BinaryHeap::new();
    for (user, of) in units.users.iter().enumerate() {
        match of.max_tasks {
            Some(0) => ended[user].end = DrfEnd::MaxTasks,
            None if of.needs_nothing() => ended[user].end = DrfEnd::NeedsNothing,
            _ => turns.push(Turn { above: N::zero(), below: step[user].1.clone(), user }),
        }
    }
    let mut handed_out = 0;
    while let Some(mut turn) = turns.pop() {
        let user = turn.user;
        let (max_tasks, this) = (units.users[user].max_tasks, &mut ended[user]);
        if units.users[user].needs_nothing() {
            // Its share stays 0, so nobody comes between its tasks.
            (this.tasks, this.end) = (max_tasks.unwrap_or(0), DrfEnd::MaxTasks);
            continue;
        }
        if let Some(full) = (0..left.len()).find(|&r| need[user][r] > left[r]) {
            (this.end, this.full) = (DrfEnd::Resource, Some(full));
            if stop {
                break;
            }
            continue;
        }
        handed_out += 1;
        if handed_out > TASKS_MAX {
            let message = format!(
                "there are more than {TASKS_MAX} whole tasks to hand out: make a task greater, or divide"
            );
            return Err(Error::invalid(message).with_field("/inputs"));
        }
        this.tasks += 1;
        for (left, need) in left.iter_mut().zip(&need[user]) {
            *left = &*left - need;
        }
        if max_tasks == Some(this.tasks) {
            this.end = DrfEnd::MaxTasks;
            continue;
        }
        turn.above = &turn.above + &step[user].0;
        turns.push(turn);
    }
    Ok(ended)
}

fn filled(units: &Units, ended: &[Ended]) -> Filled {
    let tasks: Vec<Exact> = ended.iter().map(|e| Exact::from(e.tasks)).collect();
    let used = units.capacity.iter().zip(&units.measure).enumerate().map(|(r, (_, measure))| {
        let used: BigInt = units.users.iter().zip(ended).map(|(u, e)| &u.need[r] * e.tasks).sum();
        Exact::from(BigRational::new(used, measure.clone()))
    });
    Filled {
        shares: units
            .users
            .iter()
            .zip(ended)
            .map(|(u, e)| Exact::from(&u.share * BigInt::from(e.tasks)))
            .collect(),
        dominant: units.users.iter().map(|u| u.dominant).collect(),
        ends: ended.iter().map(|e| (e.end, e.full)).collect(),
        used: used.collect(),
        tasks,
    }
}
