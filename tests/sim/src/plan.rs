//! The plan of one run: how large the world is and how often what goes wrong, drawn from the seed. About half of all
//! rates are zero in any run, so that each fault is also met alone.

use crate::agent::CAPABILITIES;
use crate::rng::Rng;
use synod_fleet::queue::Settings;
use synod_ledger::{Keep, Rules, Window};

/// One millisecond in the simulation's time, which is counted in microseconds.
pub(crate) const MS: u64 = 1_000;
/// One second.
pub(crate) const SECOND: u64 = 1_000 * MS;

/// Rates are parts of ten thousand, times are in microseconds.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Coordinators, 2 or 3.
    pub(crate) nodes: usize,
    /// Partitions of each topic.
    pub(crate) shards: u32,
    /// Agents.
    pub(crate) agents: usize,
    /// Clients.
    pub(crate) clients: usize,
    /// What the clients do, all together, before faults stop.
    pub(crate) deeds: usize,
    /// When faults stop.
    pub(crate) calm_at: u64,
    /// How long a coordinator's lease lasts without being renewed.
    pub(crate) lease: u64,
    /// Records in flight over which an owner takes nothing more.
    pub(crate) in_flight_limit: usize,
    /// Steps with unconfirmed effects over which it does not.
    pub(crate) owed_limit: usize,
    /// Each live thing is imaged within about so many records.
    pub(crate) image_within: u64,
    /// What stays in memory.
    pub(crate) keep: Keep,
    /// What live tasks may weigh.
    pub(crate) live_bytes: usize,
    /// By which tasks wait, and what they take.
    pub(crate) rules: Rules,
    /// Of tasks, so many name a concurrency key.
    pub(crate) keyed: u32,
    /// The ledger is trimmed, now and then.
    pub(crate) trims: bool,
    /// Bytes of a ledger record.
    pub(crate) record_limit: usize,
    /// One way through the network takes up to this.
    pub(crate) latency: u64,
    /// Every so many messages one is late.
    pub(crate) late: u32,
    /// By up to this.
    pub(crate) late_by: u64,
    /// What happens to appends.
    pub(crate) appends: Appends,
    /// What happens to messages.
    pub(crate) messages: Messages,
    /// What happens to whole parts of the world, and how often in one run.
    pub(crate) mishaps: Mishaps,
    /// What clients do that they should not.
    pub(crate) poison: u32,
    /// Commands in a partition that is not theirs.
    pub(crate) misplaced: u32,
    /// Commands sent again after their answer.
    pub(crate) repeats: u32,
    /// Work on which an agent says nothing.
    pub(crate) silent_work: u32,
    /// Work that fails.
    pub(crate) failing_work: u32,
    /// Work that is declined.
    pub(crate) declined_work: u32,
    /// Results sent a second time, under another `ce_id`.
    pub(crate) second_results: u32,
    /// Of what clients do, so much has to do with negotiations.
    pub(crate) negotiating: u32,
    /// How participants answer.
    pub(crate) answers: Answers,
    /// Something befalls the owner that has just given an award.
    pub(crate) struck_awards: u32,
    /// Of what else clients do, so much has to do with executions.
    pub(crate) running: u32,
    /// How people decide what they are asked.
    pub(crate) people: People,
    /// Something befalls the owner that has just asked people.
    pub(crate) struck_askers: u32,
    /// One negotiation is held after the last fault.
    pub(crate) holds_one_in_calm: bool,
    /// The state after a record is compared with its author's, so often.
    pub(crate) compared: u32,
    /// A fold is judged record by record, so often.
    pub(crate) judged: u32,
}

/// Rates of what happens to appends to the ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Appends {
    /// Not in the log, and said so; later ones land.
    pub(crate) refused: u32,
    /// In the log, and reported as failed.
    pub(crate) failed_but_there: u32,
    /// Reported as failed, and in the log later.
    pub(crate) failed_and_late: u32,
    /// In the log twice.
    pub(crate) doubled: u32,
    /// Acknowledged without an offset.
    pub(crate) no_offset: u32,
    /// Lands after later ones.
    pub(crate) overtaken: u32,
    /// All that follow wait too.
    pub(crate) stalled: u32,
    /// Acknowledgements come in any order.
    pub(crate) acks_any_order: bool,
    /// Acknowledged late.
    pub(crate) late_ack: u32,
}

/// Rates of what happens to other messages.
#[derive(Clone, Debug, Default)]
pub(crate) struct Messages {
    /// A request through the quick door does not arrive.
    pub(crate) request_lost: u32,
    /// It arrives twice.
    pub(crate) request_doubled: u32,
    /// Its answer does not arrive.
    pub(crate) answer_lost: u32,
    /// A record produced by a client is not there.
    pub(crate) produce_lost: u32,
    /// It is there, and the client does not learn so.
    pub(crate) produce_unheard: u32,
    /// It is there twice.
    pub(crate) produce_doubled: u32,
    /// Redis did it, and its caller does not learn so.
    pub(crate) redis_unheard: u32,
    /// Redis did not do it.
    pub(crate) redis_failed: u32,
    /// A record of an effect was refused for now.
    pub(crate) effect_failed: u32,
}

/// Rates of how participants answer what they are asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answers {
    /// Not at all.
    pub(crate) silent: u32,
    /// After the round's time is up.
    pub(crate) late: u32,
    /// Twice, not the same.
    pub(crate) twice: u32,
    /// To the round before as well.
    pub(crate) old: u32,
    /// To the round after as well.
    pub(crate) early: u32,
    /// With what is no answer.
    pub(crate) unreadable: u32,
    /// They abstain.
    pub(crate) abstaining: u32,
    /// They die when they are asked to keep an award.
    pub(crate) dying: u32,
}

/// Rates of how people decide what they are asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct People {
    /// Nobody does.
    pub(crate) silent: u32,
    /// Just before its time is up, or just after.
    pub(crate) late: u32,
    /// Twice.
    pub(crate) twice: u32,
    /// Somebody else tries to, too.
    pub(crate) strangers: u32,
    /// An execution that failed is taken up again.
    pub(crate) retrying: u32,
}

/// How often something befalls the world in one run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mishaps {
    /// A coordinator dies.
    pub(crate) crashes: u64,
    /// A coordinator stands still.
    pub(crate) pauses: u64,
    /// A coordinator leaves in good order.
    pub(crate) leaves: u64,
    /// A coordinator claims what is not its own.
    pub(crate) rogues: u64,
    /// A claim by somebody who is gone.
    pub(crate) passers_by: u64,
    /// Something foreign in the ledger.
    pub(crate) junk: u64,
    /// Redis is wiped.
    pub(crate) wipes: u64,
    /// Redis comes back with an old file.
    pub(crate) old_files: u64,
    /// Redis cannot be reached.
    pub(crate) redis_outages: u64,
    /// An agent dies.
    pub(crate) agent_deaths: u64,
    /// An agent stands still.
    pub(crate) agent_pauses: u64,
    /// A coordinator's wall clock jumps.
    pub(crate) clock_jumps: u64,
    /// Retention passes what has not been handled.
    pub(crate) retention: bool,
}

impl Plan {
    /// The plan of a run.
    pub(crate) fn draw(rng: &mut Rng) -> Plan {
        let size = [1, 1, 2, 2, 4][rng.index(5)];
        let deeds = rng.between(6, 12) as usize * size;
        let mut plan = Plan {
            nodes: rng.between(2, 3) as usize,
            shards: [1, 1, 1, 2, 3][rng.index(5)],
            agents: rng.between(1, 3) as usize,
            clients: rng.between(1, 2) as usize,
            deeds,
            calm_at: rng.between(3, 8) * SECOND,
            lease: [600, 1_000, 2_000][rng.index(3)] * MS,
            in_flight_limit: [1, 2, 8, 64][rng.index(4)],
            owed_limit: [2, 8, 64, 1_000][rng.index(4)],
            image_within: [2, 5, 10, 30, 1_000][rng.index(5)],
            keep: Keep {
                ended_ms: [0, 200, 2_000, 600_000][rng.index(4)],
                runs_ms: [0, 200, 2_000, 600_000][rng.index(4)],
                window: window(rng),
                ..Keep::default()
            },
            live_bytes: if rng.happens(500) { 10_000 } else { 1 << 30 },
            rules: rules(rng),
            keyed: some(rng, 9_000),
            trims: rng.happens(6_000),
            record_limit: record_limit(rng),
            latency: [300, 1_000, 5_000, 20_000][rng.index(4)],
            late: some(rng, 300),
            late_by: rng.between(50, 2_000) * MS,
            appends: Appends::draw(rng),
            messages: Messages::draw(rng),
            mishaps: Mishaps::draw(rng),
            poison: some(rng, 1_000),
            misplaced: some(rng, 1_000),
            repeats: some(rng, 4_000),
            silent_work: some(rng, 2_000),
            failing_work: some(rng, 3_000),
            declined_work: some(rng, 1_000),
            second_results: some(rng, 2_000),
            negotiating: some(rng, 6_000),
            answers: Answers::draw(rng),
            struck_awards: some(rng, 9_000),
            running: some(rng, 8_000),
            people: People::draw(rng),
            struck_askers: some(rng, 6_000),
            holds_one_in_calm: rng.happens(1_000),
            compared: 500,
            judged: 3_000,
        };
        if plan.keep.window != Window::default() {
            // The shard's time may lag by no more than the core allows for, which is part of the window.
            plan.latency = plan.latency.min(20 * MS);
            (plan.late, plan.appends.late_ack, plan.mishaps.pauses) = (0, 0, 0);
            plan.appends.acks_any_order = false;
        }
        if plan.record_limit < RUNS_NEED {
            // Not even the definition would fit.
            plan.running = 0;
        }
        plan
    }
}

impl Appends {
    fn draw(rng: &mut Rng) -> Appends {
        // A run in which the ledger's log behaves is as useful as one in which everything goes wrong.
        if rng.happens(3_000) {
            return Appends::default();
        }
        Appends {
            refused: some(rng, 150),
            failed_but_there: some(rng, 150),
            failed_and_late: some(rng, 200),
            doubled: some(rng, 150),
            no_offset: some(rng, 100),
            overtaken: some(rng, 150),
            stalled: some(rng, 150),
            acks_any_order: rng.happens(5_000),
            late_ack: some(rng, 300),
        }
    }
}

impl Messages {
    fn draw(rng: &mut Rng) -> Messages {
        Messages {
            request_lost: some(rng, 1_000),
            request_doubled: some(rng, 1_000),
            answer_lost: some(rng, 1_000),
            produce_lost: some(rng, 1_000),
            produce_unheard: some(rng, 1_000),
            produce_doubled: some(rng, 1_000),
            redis_unheard: some(rng, 1_000),
            redis_failed: some(rng, 1_000),
            effect_failed: some(rng, 500),
        }
    }
}

impl Answers {
    fn draw(rng: &mut Rng) -> Answers {
        Answers {
            silent: some(rng, 2_000),
            late: some(rng, 3_000),
            twice: some(rng, 3_000),
            old: some(rng, 2_000),
            early: some(rng, 1_000),
            unreadable: some(rng, 1_000),
            abstaining: some(rng, 1_000),
            dying: some(rng, 3_000),
        }
    }
}

impl People {
    fn draw(rng: &mut Rng) -> People {
        People {
            silent: some(rng, 2_000),
            late: some(rng, 5_000),
            twice: some(rng, 3_000),
            strangers: some(rng, 2_000),
            retrying: some(rng, 9_000),
        }
    }
}

impl Mishaps {
    fn draw(rng: &mut Rng) -> Mishaps {
        let mut few = |limit| if rng.happens(4_500) { rng.between(1, limit) } else { 0 };
        Mishaps {
            crashes: few(5),
            pauses: few(4),
            leaves: few(2),
            rogues: few(3),
            passers_by: few(2),
            junk: few(4),
            wipes: few(2),
            old_files: few(2),
            redis_outages: few(2),
            agent_deaths: few(4),
            agent_pauses: few(3),
            clock_jumps: few(3),
            retention: rng.happens(300),
        }
    }
}

/// Bytes of a record with which executions can be run.
const RUNS_NEED: usize = 12_000;

/// In some runs hardly anything fits, in some nearly every negotiation does, but for how it ends, and in some an execution starts
/// only so much by one step.
fn record_limit(rng: &mut Rng) -> usize {
    match rng.below(20) {
        0 => 900,
        1 => rng.between(1_300, 2_600) as usize,
        2..=5 => RUNS_NEED,
        _ => 100_000,
    }
}

/// Which commands are remembered; in some runs hardly any.
fn window(rng: &mut Rng) -> Window {
    if !rng.happens(1_500) {
        return Window::default();
    }
    Window { ms: [1_000, 2_000][rng.index(2)], count: [0, 0, 10][rng.index(3)], ..Window::default() }
}

/// In half of all runs there is no limit but that of a key.
fn rules(rng: &mut Rng) -> Rules {
    let queue =
        Settings { aging_ms: rng.below(2_000), per_key: rng.between(1, 2) as u32, ..Settings::default() };
    let mut rules = Rules { queue, ..Rules::default() };
    if rng.happens(3_000) {
        rules.quota = Some(rng.between(1, 4) as u32);
    }
    if rng.happens(3_000) {
        let capability = CAPABILITIES[rng.index(CAPABILITIES.len())].parse().ok();
        rules.limits.extend(capability.map(|capability| (capability, rng.between(1, 2) as u32)));
    }
    rules
}

/// Zero in half of all runs, else up to `limit`.
fn some(rng: &mut Rng, limit: u64) -> u32 {
    if rng.happens(5_000) { 0 } else { rng.between(1, limit) as u32 }
}
