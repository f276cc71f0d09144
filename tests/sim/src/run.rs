//! From a seed to an outcome.

use crate::bug::Bug;
use crate::tally::Tally;
use crate::world::World;

/// What a run amounted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Happenings in the queue.
    pub happenings: u64,
    /// Steps that counted.
    pub counted: u64,
    /// Images that counted.
    pub images: u64,
    /// Ledger records that were trimmed away.
    pub trimmed: u64,
    /// Ledger records that did not, claims left out.
    pub void: u64,
    /// Claims.
    pub claims: u64,
    /// Answers and replies that reached somebody.
    pub told: u64,
    /// Shards whose commands were deleted before they were handled.
    pub data_lost: u64,
    /// Virtual milliseconds.
    pub virtual_ms: u64,
    /// What befell the world.
    pub tally: Tally,
    /// What distinguishes this history from every other: all records of all ledgers.
    pub print: u64,
}

/// Something that must hold did not.
#[derive(Clone, Debug)]
pub struct Failure {
    /// By which it comes again.
    pub seed: u64,
    /// What is wrong.
    pub why: String,
    /// Of which shard, if of one.
    pub shard: Option<u32>,
    /// The last lines of what happened, of that shard and of the world.
    pub timeline: Vec<String>,
}

/// Runs a seed.
///
/// # Errors
/// What did not hold, with its timeline.
pub fn run(seed: u64, bug: Option<Bug>) -> Result<Figures, Failure> {
    Bug::plant(bug);
    let mut world = World::new(seed, bug, false);
    world.run();
    if world.broken.is_none() {
        return Ok(world.figures());
    }
    // Once more, with every line written down.
    let first = world.broken.take();
    let mut world = World::new(seed, bug, true);
    world.run();
    let again = world.broken.clone();
    let mut timeline = world.timeline();
    if again.as_ref().map(|b| &b.why) != first.as_ref().map(|b| &b.why) {
        timeline.push(format!("NOT THE SAME HISTORY TWICE: the second time {:?}", again.map(|b| b.why)));
    }
    let (shard, why) = first.map_or((None, String::new()), |broken| (broken.shard, broken.why));
    Err(Failure { seed, why, shard, timeline })
}

/// Runs a seed twice: the same history must come of it.
///
/// # Errors
/// What did not hold, or that the histories differ.
pub fn run_twice(seed: u64, bug: Option<Bug>) -> Result<Figures, Failure> {
    let first = run(seed, bug)?;
    let second = run(seed, bug)?;
    if first == second {
        return Ok(first);
    }
    let why = format!("the same seed gave two histories: {first:?} and {second:?}");
    Err(Failure { seed, why, shard: None, timeline: Vec::new() })
}

impl World {
    fn figures(&self) -> Figures {
        let mut figures = Figures {
            happenings: self.happened,
            told: self.watch.told,
            virtual_ms: self.now / 1_000,
            tally: self.tally,
            ..Figures::default()
        };
        for shard in 0..self.plan.shards {
            let watched = self.watch.shard(shard);
            let (claims, steps, images, void) = watched.ledger.counts();
            figures.claims += claims;
            figures.counted += steps;
            figures.images += images;
            figures.void += void;
            let log = &self.shards[shard as usize].ledger;
            figures.trimmed += log.start();
            figures.data_lost += u64::from(watched.data_lost);
            for offset in 0..log.end() {
                if let Some((_, bytes)) = log.ever(offset) {
                    figures.print = crate::print::lineage(figures.print, bytes);
                }
            }
        }
        figures
    }
}
