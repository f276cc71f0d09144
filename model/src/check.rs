//! What must hold in every state; every prefix of the log is the log of some state before.

use crate::config::Config;
use crate::fold::{Fold, find_floor, fold};
use crate::record::{below, has};
use crate::state::State;

/// The first thing that is wrong with a state.
pub(crate) fn wrong(state: &State, config: &Config) -> Option<&'static str> {
    let whole = fold(&state.log, 0, state.log.len(), config);
    if whole.wrong.is_some() {
        return whole.wrong;
    }
    let unapplied = |command: &u8| !has(whole.applied, *command);
    if config.kafka.iter().take(usize::from(whole.position)).any(unapplied) {
        return Some("I1 Kafka position passed a command that is not applied");
    }
    if state.answered & !whole.applied & !state.rejected != 0 {
        return Some("I1 answered, not applied");
    }
    if state.rejected & whole.accepted != 0 {
        return Some("I1 told rejected, then applied");
    }
    if state.released & !whole.counted != 0 {
        return Some("I2 released for a record that does not count");
    }
    let owed = whole.steps & !state.performed;
    if owed & below(whole.done) != 0 {
        return Some("I5 done passed an unperformed effect");
    }
    if state.log.is_empty() {
        return None;
    }
    match find_floor(&state.log, state.start, state.log.len(), config) {
        None => Some("I4 no floor can be found in the trimmed log"),
        Some(0) => None,
        Some(from) => from_floor(state, &whole, from, owed, config),
    }
}

/// The fold from the floor against the fold of the whole.
fn from_floor(state: &State, whole: &Fold, from: usize, owed: u32, config: &Config) -> Option<&'static str> {
    let floor = fold(&state.log, from, state.log.len(), config);
    if (floor.epoch, floor.n) != (whole.epoch, whole.n) {
        return Some("I4 fold from floor: epoch or n differs");
    }
    for entity in 0..2 {
        let (is, ought) = (floor.entities[entity], whole.entities[entity]);
        if ought != 0 && (!floor.known[entity] || is != ought) {
            return Some("I4 fold from floor: entity differs");
        }
        if ought == 0 && is != 0 {
            return Some("I4 fold from floor: entity that never was");
        }
    }
    if floor.position != whole.position {
        return Some("I4 fold from floor: Kafka position differs");
    }
    let known = if config.effects_need_state { !floor.blind } else { u32::MAX };
    if owed & !(floor.steps & !below(floor.done) & known) != 0 {
        return Some("I5 an owed effect lies below the floor or done");
    }
    None
}

/// Whether everything is done that there is to do.
pub(crate) fn is_goal(state: &State, config: &Config) -> bool {
    let whole = fold(&state.log, 0, state.log.len(), config);
    config.kafka.iter().chain(&config.direct).all(|command| has(whole.applied, *command))
        && config.direct.iter().all(|command| has(state.answered, *command))
        && whole.steps & !state.performed == 0
}
