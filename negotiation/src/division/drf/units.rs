//! The task of dividing in whole numbers: each resource in a unit in which its capacity and every need of it is whole.

use super::{RESOURCES_MAX, Tasks};
use crate::division::weights;
use crate::roster::PARTICIPANTS_MAX;
use crate::scale;
use num_bigint::BigInt;
use num_rational::BigRational;
use num_traits::Zero;
use synod_protocol::{Error, Exact};

/// Bits of the common denominator of the users' paces, and of all numbers of one resource. With whole needs, capacities and
/// weights below 2^63 no 1,000 users come to more.
pub const COMMON_BITS_MAX: u64 = 65_536;

/// Capacities and needs in whole units.
pub(super) struct Units {
    /// Of each resource.
    pub(super) capacity: Vec<BigInt>,
    /// So many units are one, of each resource.
    pub(super) measure: Vec<BigInt>,
    /// The users, in their order.
    pub(super) users: Vec<User>,
}

/// One of them.
pub(super) struct User {
    /// Units of each resource that one task takes.
    pub(super) need: Vec<BigInt>,
    /// The most tasks.
    pub(super) max_tasks: Option<u64>,
    /// The resource of which a task takes the greatest part.
    pub(super) dominant: Option<usize>,
    /// Tasks per unit of `dominant share / weight`; nothing where a task needs nothing, or something of which there is none.
    pub(super) pace: Option<BigRational>,
    /// The dominant share that one task is; 0 where there is no pace.
    pub(super) share: BigRational,
}

impl User {
    /// Whether its tasks need nothing at all.
    pub(super) fn needs_nothing(&self) -> bool {
        self.dominant.is_none()
    }
}

impl Units {
    /// # Errors
    /// See [`super::fill`].
    pub(super) fn of(tasks: &Tasks) -> Result<Units, Error> {
        check(tasks)?;
        let all = |r: usize| tasks.per_task.iter().map(move |needs| &needs[r]).chain([&tasks.capacity[r]]);
        let resources = 0..tasks.capacity.len();
        let measure = resources.map(|r| scale::measure(all(r), COMMON_BITS_MAX, "/inputs"));
        let measure: Vec<BigInt> = measure.collect::<Result<_, _>>()?;
        let whole =
            |of: &[Exact]| of.iter().zip(&measure).map(|(n, m)| scale::whole(n, m)).collect::<Vec<_>>();
        let capacity = whole(&tasks.capacity);
        let each = tasks.per_task.iter().zip(&tasks.weights).zip(&tasks.max_tasks);
        let users = each.map(|((needs, weight), &max_tasks)| {
            let need = whole(needs);
            let dominant = dominant(&need, &capacity);
            let rated = dominant.filter(|&r| !capacity[r].is_zero());
            let share = rated.map(|r| needs[r].as_rational() / tasks.capacity[r].as_rational());
            let pace = share.as_ref().map(|share| weight.as_rational() / share);
            User { need, max_tasks, dominant, pace, share: share.unwrap_or_else(BigRational::zero) }
        });
        let users = users.collect();
        Ok(Units { capacity, measure, users })
    }
}

/// The first resource of the greatest `need / capacity`; one of which there is none and of which some is needed is the greatest.
fn dominant(need: &[BigInt], capacity: &[BigInt]) -> Option<usize> {
    let mut greatest: Option<usize> = None;
    for r in (0..need.len()).filter(|&r| !need[r].is_zero()) {
        greatest = match greatest {
            Some(g) if capacity[g].is_zero() || &need[r] * &capacity[g] <= &need[g] * &capacity[r] => Some(g),
            _ => Some(r),
        };
    }
    greatest
}

fn check(tasks: &Tasks) -> Result<(), Error> {
    let (users, resources) = (tasks.per_task.len(), tasks.capacity.len());
    let even = tasks.weights.len() == users
        && tasks.max_tasks.len() == users
        && tasks.per_task.iter().all(|needs| needs.len() == resources);
    if !even || users > PARTICIPANTS_MAX || resources > RESOURCES_MAX {
        let message = format!(
            "each user has a weight, a limit and a need of each resource; \
             there are at most {PARTICIPANTS_MAX} users and {RESOURCES_MAX} resources"
        );
        return Err(Error::invalid(message).with_field("/per_task"));
    }
    weights(&tasks.weights, "/weights", "")?;
    for (place, capacity) in tasks.capacity.iter().enumerate() {
        scale::amount("the capacity", capacity, || format!("/capacity/{place}"))?;
    }
    for (user, needs) in tasks.per_task.iter().enumerate() {
        for (place, need) in needs.iter().enumerate() {
            scale::amount("what a task needs", need, || format!("/per_task/{user}/{place}"))?;
        }
    }
    Ok(())
}
