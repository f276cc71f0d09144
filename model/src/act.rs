//! Everything that may happen next.

use crate::config::{Config, Guard};
use crate::owner::{Mode, Owner};
use crate::record::{Flight, Kind, NONE, Record, SHARD, had, has};
use crate::state::State;

/// One thing that happens; the first number is the owner that it happens to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// It sends a claim.
    Claim(usize),
    /// Its flight lands.
    Land(usize, usize),
    /// Its second flight lands before the first.
    LandAhead(usize, usize),
    /// Its flight is acknowledged.
    Ack(usize, usize),
    /// It gives up on its flights.
    GiveUp(usize),
    /// Planted: it takes a refused record's number back.
    Refused(usize),
    /// Its flight is sent a second time.
    Resend(usize, usize),
    /// A wandering request lands.
    LandLate(usize),
    /// It folds.
    Fold(usize),
    /// It handles the next command of the topic.
    Kafka(usize),
    /// It passes a command that it has had.
    Skip(usize),
    /// It handles a command of the quick door.
    Direct(usize, u8),
    /// It answers a command that it has had.
    AnswerRepeat(usize, u8),
    /// It sends an image.
    Image(usize),
    /// It trims the log.
    Trim(usize),
    /// It performs the effect of the step at this offset.
    Perform(usize, u8),
    /// It crashes.
    Crash(usize),
    /// It refuses a command without a record.
    Reject(usize, u8),
}

impl Act {
    /// Whether it is something that goes wrong, or a claim.
    pub(crate) fn is_trouble(self) -> bool {
        matches!(
            self,
            Act::GiveUp(_)
                | Act::Crash(_)
                | Act::Resend(..)
                | Act::LandAhead(..)
                | Act::LandLate(_)
                | Act::Refused(_)
                | Act::Claim(_)
        )
    }
}

/// Collects what may happen.
pub(crate) struct Successors<'a> {
    state: &'a State,
    config: &'a Config,
    /// The budgets are lifted: for asking whether a state can still be finished.
    free: bool,
    out: &'a mut Vec<(Act, State)>,
}

impl State {
    /// All states that may follow, and by what; `out` is added to.
    pub(crate) fn successors(&self, config: &Config, free: bool, out: &mut Vec<(Act, State)>) {
        let mut successors = Successors { state: self, config, free, out };
        for who in 0..2 {
            successors.claim(who);
            successors.flights(who);
            successors.troubles(who);
            successors.effects(who);
            if self.owners[who].mode == Mode::Ready {
                successors.commands(who);
                successors.housekeeping(who);
            }
        }
        successors.late();
    }
}

impl Successors<'_> {
    fn owner(&self, who: usize) -> &Owner {
        &self.state.owners[who]
    }

    fn push(&mut self, act: Act, change: impl FnOnce(&mut State)) {
        let mut next = self.state.clone();
        change(&mut next);
        self.out.push((act, next));
    }

    fn is_full(&self) -> bool {
        !self.free && self.state.log.len() >= self.config.max_log
    }

    fn may_fail(&self) -> bool {
        !self.free && self.state.faults < self.config.max_faults
    }

    fn claim(&mut self, who: usize) {
        let (config, free, old) = (self.config, self.free, *self.owner(who));
        if old.mode != Mode::Out || !(free || self.state.claims < config.max_claims) {
            return;
        }
        self.push(Act::Claim(who), |next| {
            next.claims += u8::from(!free);
            let mut owner = Owner::new(Mode::Claiming);
            (owner.undone, owner.epoch, owner.told) = (old.undone, old.epoch, old.told);
            if !config.fold_through_claim {
                owner.seen_end = next.log.len() as u8;
            }
            owner.send(Record { kind: Kind::Claim, epoch: NONE, ..Flight::EMPTY.record }, who, config);
            next.owners[who] = owner;
        });
    }

    /// What becomes of the records in flight.
    fn flights(&mut self, who: usize) {
        let (config, fault) = (self.config, self.may_fail());
        let flights = self.owner(who).flights;
        for (index, flight) in flights.into_iter().enumerate().filter(|(_, flight)| !flight.is_empty()) {
            let earlier = &flights[..index];
            if flight.at == NONE && !self.is_full() {
                let ahead = earlier.iter().any(|flight| flight.at == NONE);
                if !ahead || fault {
                    let act = if ahead { Act::LandAhead(who, index) } else { Act::Land(who, index) };
                    self.push(act, |next| {
                        next.owners[who].flights[index].at = next.append(flight.record);
                        next.faults += u8::from(ahead);
                    });
                }
            }
            let in_turn = !config.acks_in_order || earlier.iter().all(|flight| flight.acked);
            if flight.at != NONE && !flight.acked && in_turn {
                self.push(Act::Ack(who, index), |next| next.acknowledge(who, index, config));
            }
            if fault && flight.at == NONE && self.state.wandering.len() < config.max_wandering {
                self.push(Act::Resend(who, index), |next| {
                    next.faults += 1;
                    next.let_wander(flight.record, config);
                });
            }
        }
    }

    fn troubles(&mut self, who: usize) {
        let (config, owner) = (self.config, *self.owner(who));
        let [first, second] = owner.flights;
        if self.may_fail() && !first.is_empty() {
            self.push(Act::GiveUp(who), |next| {
                next.faults += 1;
                next.doubt(who, false, config);
            });
            let alone = owner.mode == Mode::Ready && first.at == NONE && second.is_empty();
            if config.reuse_n && alone && first.record.kind == Kind::Step {
                self.push(Act::Refused(who), |next| {
                    next.faults += 1;
                    next.let_wander(first.record, config);
                    let owner = &mut next.owners[who];
                    owner.flights[0] = Flight::EMPTY;
                    owner.sent -= 1;
                    owner.entities[usize::from(first.record.entity)] >>= 3;
                    if first.record.position > 0 {
                        owner.position = first.record.position - 1;
                    }
                });
            }
        }
        let is_there = owner.mode != Mode::Out || owner.undone != 0;
        if !self.free && self.state.crashes < config.max_crashes && is_there {
            self.push(Act::Crash(who), |next| {
                next.crashes += 1;
                next.doubt(who, true, config);
            });
        }
        if owner.mode == Mode::Claimed {
            self.push(Act::Fold(who), |next| next.fold_own(who, config));
        }
    }

    /// Each released effect may be performed now, or later, or after its owner was deposed.
    fn effects(&mut self, who: usize) {
        let (config, owner) = (self.config, *self.owner(who));
        for at in 0..self.state.log.len() as u8 {
            if !has(owner.undone, at) || config.perform_in_order && at > owner.first_undone() {
                continue;
            }
            let record = self.state.log[usize::from(at)];
            let stamp = match config.guard {
                Guard::None => 0,
                Guard::RecordOffset => at + 1,
                Guard::RecordEpoch => record.epoch + 1,
                Guard::IssuerEpoch => owner.epoch + 1,
            };
            let refused = stamp < self.state.guard_seen;
            if refused && config.guard == Guard::IssuerEpoch {
                // Not confirmed: the newer owner issues it again.
                continue;
            }
            self.push(Act::Perform(who, at), |next| {
                let issuer = &mut next.owners[who];
                issuer.undone &= !(1 << at);
                if issuer.mode != Mode::Ready && issuer.undone == 0 {
                    issuer.epoch = if owner.mode == Mode::Claimed { owner.epoch } else { NONE };
                }
                if !refused {
                    next.performed |= 1 << at;
                    next.guard_seen = stamp;
                    if config.direct.contains(&record.command) {
                        next.answered |= 1 << record.command;
                        next.rejected |= record.image << record.command;
                    }
                }
            });
        }
    }

    fn has_room(&self, who: usize) -> bool {
        let limit = if self.free { usize::MAX } else { self.config.max_log };
        self.owner(who).has_room() && self.state.log.len() < limit
    }

    fn commands(&mut self, who: usize) {
        let (config, owner, room) = (self.config, *self.owner(who), self.has_room(who));
        if let Some(&command) = config.kafka.get(usize::from(owner.position)) {
            if had(&owner.entities, command) {
                self.push(Act::Skip(who), |next| next.owners[who].position += 1);
            } else if room {
                let position = owner.position + 1;
                self.push(Act::Kafka(who), |next| next.owners[who].decide(command, position, who, config));
            }
        }
        for &command in &config.direct {
            let answered = has(self.state.answered, command);
            if answered && !config.late_requests {
                continue;
            }
            if command == 3 && !config.rejects_recorded && owner.entities[1] == 0 {
                self.push(Act::Reject(who, command), |next| {
                    next.rejected |= 1 << command;
                    next.answered |= 1 << command;
                });
            } else if !had(&owner.entities, command) {
                if room {
                    let act = Act::Direct(who, command);
                    self.push(act, |next| next.owners[who].decide(command, 0, who, config));
                }
            } else if !answered && (!config.repeat_waits || has(u32::from(owner.had), command)) {
                self.push(Act::AnswerRepeat(who, command), |next| next.answered |= 1 << command);
            }
        }
    }

    /// Images of what has gone longest without one, and trimming.
    fn housekeeping(&mut self, who: usize) {
        let (config, owner) = (self.config, *self.owner(who));
        if self.has_room(who) && !self.free && self.state.images < config.max_images {
            let oldest =
                (0..3).filter(|thing| owner.bases[*thing] != NONE).min_by_key(|thing| owner.bases[*thing]);
            if let Some(thing) = oldest {
                let image = if thing == SHARD { u32::from(owner.position) } else { owner.entities[thing] };
                let record = Record { kind: Kind::Image, entity: thing as u8, image, ..Flight::EMPTY.record };
                self.push(Act::Image(who), |next| {
                    next.images += 1;
                    next.owners[who].send(record, who, config);
                });
            }
        }
        let trim_to = owner.trim_to;
        if config.trim && trim_to > self.state.start && usize::from(trim_to) < self.state.log.len() {
            self.push(Act::Trim(who), |next| next.start = trim_to);
        }
    }

    /// Requests that their authors gave up land after all.
    fn late(&mut self) {
        if self.is_full() || self.free {
            return;
        }
        for index in 0..self.state.wandering.len() {
            if index > 0 && self.state.wandering[index] == self.state.wandering[index - 1] {
                continue;
            }
            self.push(Act::LandLate(index), |next| {
                let record = next.wandering.remove(index);
                next.append(record);
            });
        }
    }
}
