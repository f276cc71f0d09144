//! Progressive filling of parts of tasks, without rounding.
//!
//! Everybody who is still served has `tasks = mark * pace`, all paces being whole numbers of one common measure, so that the
//! mark alone moves. It moves from one event to the next: somebody has its `max_tasks`, or a resource is full.
//!
//! ```text
//!   what resource r has left for those who are served = room[r] / over  -  mark * pull[r]
//! ```
//!
//! All of these are whole numbers; `over` is the common denominator of the rooms, and grows with each resource that is full.
//! Nothing is reduced on the way: that takes longer than all the rest, and is done once, for what is handed out exactly.

use super::units::{Units, User};
use super::{COMMON_BITS_MAX, DrfEnd, Filled};
use crate::scale;
use num_bigint::BigInt;
use num_integer::Integer;
use num_rational::BigRational;
use num_traits::{One, Zero};
use synod_protocol::{Error, Exact};

/// Bits of the common denominator of what is left of the resources, where parts of tasks stay exact.
pub const EXACT_BITS_MAX: u64 = 131_072;
/// The same where they are cut off after some decimals.
pub const CUT_BITS_MAX: u64 = 1_048_576;

/// Everybody's tasks and shares.
///
/// # Errors
/// `invalid_argument` where numbers come to too many bits.
pub(super) fn fill(units: &Units, decimals: Option<u32>) -> Result<Filled, Error> {
    let mut course = Course::new(units)?;
    let (bits_max, way_out) = match decimals {
        None => (EXACT_BITS_MAX, "set decimals"),
        Some(_) => (CUT_BITS_MAX, "use coarser needs"),
    };
    let limited = course.by_limit();
    let mut limited = limited.into_iter().peekable();
    loop {
        while let Some(&user) = limited.peek() {
            if course.stop[user].is_none() && !course.reaches_limit(user) {
                break;
            }
            limited.next();
            course.end_at_limit(user);
        }
        let Some(fullest) = course.fullest() else { break };
        course.end_at_full(fullest);
        if course.over.bits() > bits_max {
            let message = format!(
                "the shares would have more than {bits_max} bits: {way_out}, or hand out whole tasks"
            );
            return Err(Error::invalid(message).with_field("/inputs"));
        }
    }
    Ok(course.filled(decimals))
}

/// Where a user ended.
#[derive(Clone, Copy)]
enum Stop {
    /// With a number of its own.
    At { tasks: u64, end: DrfEnd },
    /// When this resource was full, at the level of this number.
    Full { level: usize, resource: usize },
}

struct Course<'a> {
    units: &'a Units,
    /// One unit of `dominant share / weight` is so many units of the mark.
    common: BigInt,
    /// Tasks of each user per unit of the mark; 0 where it has none.
    pace: Vec<BigInt>,
    /// What those who are served take of each resource per unit of the mark.
    pull: Vec<BigInt>,
    /// What those who have ended leave of each resource, times `over`.
    room: Vec<BigInt>,
    over: BigInt,
    stop: Vec<Option<Stop>>,
    /// `dominant share / weight` at which resources became full, not reduced.
    levels: Vec<BigRational>,
}

impl<'a> Course<'a> {
    fn new(units: &'a Units) -> Result<Course<'a>, Error> {
        let paces = units.users.iter().filter_map(|u| u.pace.as_ref());
        let Some(common) = scale::common(paces.map(BigRational::denom), COMMON_BITS_MAX) else {
            let message = format!(
                "the exact shares would have more than {COMMON_BITS_MAX} bits: use coarser needs, or whole tasks"
            );
            return Err(Error::invalid(message).with_field("/inputs"));
        };
        let stop = units.users.iter().map(|user| match (&user.pace, user.max_tasks, user.dominant) {
            (Some(_), _, _) => None,
            (None, Some(0), _) => Some(Stop::At { tasks: 0, end: DrfEnd::MaxTasks }),
            (None, _, Some(resource)) => Some(Stop::Full { level: 0, resource }),
            (None, Some(tasks), None) => Some(Stop::At { tasks, end: DrfEnd::MaxTasks }),
            (None, None, None) => Some(Stop::At { tasks: 0, end: DrfEnd::NeedsNothing }),
        });
        let stop: Vec<Option<Stop>> = stop.collect();
        let pace = units.users.iter().map(|user| match &user.pace {
            Some(pace) => pace.numer() * (&common / pace.denom()),
            None => BigInt::zero(),
        });
        let pace: Vec<BigInt> = pace.collect();
        let mut pull = vec![BigInt::zero(); units.capacity.len()];
        for (user, pace) in units.users.iter().zip(&pace) {
            for (pull, need) in pull.iter_mut().zip(&user.need).filter(|(_, need)| !need.is_zero()) {
                *pull += pace * need;
            }
        }
        let (room, over) = (units.capacity.clone(), BigInt::one());
        // Level 0 is that of those who never begin.
        Ok(Course { units, common, pace, pull, room, over, stop, levels: vec![BigRational::zero()] })
    }

    /// Those who have a limit, the first to reach it first.
    fn by_limit(&self) -> Vec<usize> {
        let limit = |user: usize| {
            let user = &self.units.users[user];
            user.max_tasks.zip(user.pace.as_ref()).map(|(tasks, pace)| (pace.denom() * tasks, pace.numer()))
        };
        let mut by_limit: Vec<(BigInt, &BigInt, usize)> =
            (0..self.stop.len()).filter_map(|u| limit(u).map(|(a, b)| (a, b, u))).collect();
        by_limit.sort_by(|(a, b, _), (c, d, _)| (a * *d).cmp(&(c * *b)));
        by_limit.into_iter().map(|(_, _, user)| user).collect()
    }

    /// Whether no resource is full before this user has its limit.
    fn reaches_limit(&self, user: usize) -> bool {
        let (tasks, pace) = (self.units.users[user].max_tasks.unwrap_or(u64::MAX), &self.pace[user]);
        let scaled = &self.over * tasks;
        let all = self.room.iter().zip(&self.pull);
        all.filter(|(_, pull)| !pull.is_zero()).all(|(room, pull)| room * pace >= pull * &scaled)
    }

    fn end_at_limit(&mut self, user: usize) {
        let Some(tasks) = self.units.users[user].max_tasks.filter(|_| self.stop[user].is_none()) else {
            return;
        };
        self.stop[user] = Some(Stop::At { tasks, end: DrfEnd::MaxTasks });
        let scaled = &self.over * tasks;
        for (r, need) in self.units.users[user].need.iter().enumerate().filter(|(_, need)| !need.is_zero()) {
            self.pull[r] -= &self.pace[user] * need;
            self.room[r] -= &scaled * need;
        }
    }

    /// The resource that is full first; nothing where nobody is served any more.
    fn fullest(&self) -> Option<usize> {
        let mut fullest: Option<usize> = None;
        for r in (0..self.pull.len()).filter(|&r| !self.pull[r].is_zero()) {
            let sooner = |f: usize| &self.room[r] * &self.pull[f] < &self.room[f] * &self.pull[r];
            if fullest.is_none_or(sooner) {
                fullest = Some(r);
            }
        }
        fullest
    }

    /// Ends whoever needs this resource, and any other that is full at the same mark.
    fn end_at_full(&mut self, fullest: usize) {
        let (room, pull) = (self.room[fullest].clone(), self.pull[fullest].clone());
        let full = |r: usize| !self.pull[r].is_zero() && &self.room[r] * &pull == &room * &self.pull[r];
        let full: Vec<usize> = (0..self.pull.len()).filter(|&r| full(r)).collect();
        let mut released = vec![BigInt::zero(); self.pull.len()];
        let units = self.units;
        for (place, user) in units.users.iter().enumerate() {
            let needed = full.iter().find(|&&r| !user.need[r].is_zero());
            let Some(&resource) = needed.filter(|_| self.stop[place].is_none()) else { continue };
            self.stop[place] = Some(Stop::Full { level: self.levels.len(), resource });
            for (released, need) in released.iter_mut().zip(&user.need).filter(|(_, need)| !need.is_zero()) {
                *released += &self.pace[place] * need;
            }
        }
        for (r, released) in released.iter().enumerate() {
            self.room[r] *= &pull;
            self.room[r] -= &room * released;
            self.pull[r] -= released;
        }
        self.over *= pull;
        self.levels.push(BigRational::new_raw(room * &self.common, self.over.clone()));
    }

    fn filled(mut self, decimals: Option<u32>) -> Filled {
        let unit = decimals.map(|decimals| BigInt::from(10).pow(decimals));
        if unit.is_none() {
            self.levels = self.levels.into_iter().map(|level| level.reduced()).collect();
        }
        let users = || self.units.users.iter().zip(&self.stop);
        let tasks: Vec<Exact> = users().map(|(user, stop)| self.tasks(user, *stop, unit.as_ref())).collect();
        let shares = self.units.users.iter().zip(&tasks).map(|(user, tasks)| match user.share.is_zero() {
            true => Exact::zero(),
            false => scale::times(tasks.as_rational(), user.share.numer(), user.share.denom()),
        });
        let ends = self.stop.iter().map(|stop| match *stop {
            Some(Stop::Full { resource, .. }) => (DrfEnd::Resource, Some(resource)),
            Some(Stop::At { end, .. }) => (end, None),
            None => (DrfEnd::NeedsNothing, None),
        });
        Filled {
            shares: shares.collect(),
            dominant: self.units.users.iter().map(|u| u.dominant).collect(),
            ends: ends.collect(),
            used: (0..self.room.len()).map(|r| self.used(r, &tasks, unit.as_ref()).into()).collect(),
            tasks,
        }
    }

    /// The tasks of who stopped there: exact, or so many whole `1 / unit`.
    fn tasks(&self, user: &User, stop: Option<Stop>, unit: Option<&BigInt>) -> Exact {
        match (stop, &user.pace, unit) {
            (Some(Stop::At { tasks, .. }), _, _) => Exact::from(tasks),
            (Some(Stop::Full { level, .. }), Some(pace), None) => {
                scale::times(&self.levels[level], pace.numer(), pace.denom())
            }
            (Some(Stop::Full { level, .. }), Some(pace), Some(unit)) => {
                let (above, below) = (self.levels[level].numer(), self.levels[level].denom());
                let units = (above * (pace.numer() * unit)).div_floor(&(below * pace.denom()));
                BigRational::new(units, unit.clone()).into()
            }
            _ => Exact::zero(),
        }
    }

    /// How much of a resource these tasks take; where they are exact, what no room is left of.
    fn used(&self, resource: usize, tasks: &[Exact], unit: Option<&BigInt>) -> BigRational {
        let (capacity, measure) = (&self.units.capacity[resource], &self.units.measure[resource]);
        let Some(unit) = unit else {
            let room = &self.room[resource];
            if room.is_zero() {
                return BigRational::new(capacity.clone(), measure.clone());
            }
            return BigRational::new(capacity * &self.over - room, &self.over * measure);
        };
        let needs = self.units.users.iter().map(|u| &u.need[resource]);
        let used: BigInt = needs.zip(tasks).map(|(need, count)| need * scale::whole(count, unit)).sum();
        BigRational::new(used, unit * measure)
    }
}
