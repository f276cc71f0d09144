//! What the latest commands came to, so that their repeats are answered from memory. Not part of the state: older
//! ones are read again from the ledger.

use crate::past::Past;
use crate::record::Step;
use crate::subject::Subject;
use std::collections::BTreeMap;
use synod_protocol::Error;

/// How many are remembered.
const LIMIT: usize = 2_048;

/// What a command came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Had {
    /// It was taken; a repeat is answered with this entity as it is now.
    Taken(Subject),
    /// It was refused; a repeat is refused alike.
    Refused(Box<Error>),
    /// It made again what had left memory; see [`Past::Again`].
    Again(Past),
}

/// The latest commands, by the place of their step.
#[derive(Debug, Default)]
pub(crate) struct Recent(BTreeMap<u64, Had>);

impl Had {
    /// What the command of a step came to; `None` where it had none, or repeats an earlier one.
    pub fn of(step: &Step) -> Option<Had> {
        if step.input.ce_id.is_none() || step.input.poison {
            return None;
        }
        if let Some(at) = step.input.repeats {
            let body = step.input.body.clone()?;
            let subject = Subject::of(step).filter(Subject::ends)?;
            return Some(Had::Again(Past::Again { subject, at, body }));
        }
        match &step.rejected {
            Some(error) => Some(Had::Refused(Box::new(error.clone()))),
            None => Subject::of(step).map(Had::Taken),
        }
    }
}

impl Recent {
    pub(crate) fn step(&mut self, step: &Step) {
        let Some(had) = Had::of(step) else { return };
        self.0.insert(step.place(), had);
        if self.0.len() > LIMIT {
            self.0.pop_first();
        }
    }

    pub(crate) fn get(&self, place: u64) -> Option<&Had> {
        self.0.get(&place)
    }
}
