//! What has left memory, found in a view or read again from the ledger: as `coordinator/src/shard/archive.rs` does it.

use crate::broker::Log;
use crate::node::{Action, Doing, Waits};
use crate::plan::SECOND;
use crate::redis::Redis;
use crate::seat::Phase;
use crate::serve::Ask;
use crate::tally::Met;
use crate::world::{Issued, Pid, What as Happens, World};
use synod_ledger::{
    Answer, Effect, Fold, Had, Keep, NEGOTIATION, NegotiationKey, Past, Search, State, Step, Subject, TASK,
    TaskKey, TaskState, life_from, negotiation_from, submission,
};
use synod_negotiation::Negotiation;
use synod_protocol::view::Task;
use synod_protocol::{Code, Error, Json, Timestamp};

/// How long an owner may take to say what it knows.
const LIMIT: u64 = 5 * SECOND;

/// What is found.
pub(crate) enum Found {
    /// The answer.
    Answer(Answer),
    /// The owner knows.
    Ask(Subject),
}

/// One ledger and Redis, as far as they can be read.
pub(crate) struct Archive<'a> {
    pub(crate) ledger: &'a Log<(Timestamp, Vec<u8>)>,
    /// `None` while it cannot be reached.
    pub(crate) redis: Option<&'a Redis>,
}

impl Archive<'_> {
    /// The answer to a question about what has left memory.
    pub(crate) fn look(&self, past: Past) -> Found {
        let past = match past {
            Past::Command { at } => match self.step(at).map(|(_, step)| Had::of(&step)) {
                Ok(Some(Had::Refused(error))) => return Found::Answer(Err(*error)),
                Ok(Some(Had::Taken(subject))) => return Found::Ask(subject),
                Ok(Some(Had::Submitted(past))) => past,
                Ok(None) => {
                    return Found::Answer(Err(gone(format!("the step with place {at} had no command"))));
                }
                Err(error) => return Found::Answer(Err(error)),
            },
            past => past,
        };
        Found::Answer(self.answer(past))
    }

    fn answer(&self, past: Past) -> Answer {
        match past {
            Past::Command { .. } => Err(Error::new(Code::Internal, "a command that was had by a repeat")),
            Past::Task { key, at } => self.task(&key, at).map(|json| (json, false)),
            Past::Submitted { key, at, body } => {
                let (offset, step) = self.step(at)?;
                let first = match submission(&step, &key) {
                    Some(submitted) => submitted.body.clone(),
                    None => self.life(&key, offset, &step)?.submitted.body.clone(),
                };
                if first != body {
                    return Err(Error::new(Code::AlreadyExists, "it was submitted with another body"));
                }
                self.task(&key, Some(at)).map(|json| (json, false))
            }
            Past::Ended { key, at } => {
                let ended: Task =
                    self.task(&key, Some(at))?.to().map_err(|e| Error::new(Code::Internal, e.to_string()))?;
                let status = ended.status.as_str();
                Err(Error::invalid_transition(format!("task {} has ended as {status}", key.task), status))
            }
            Past::Negotiation { key, at } => {
                let id = (NEGOTIATION, key.workspace.clone(), key.negotiation.clone());
                if let Some(view) = self.redis.and_then(|redis| redis.view(&id)) {
                    return Ok((view, false));
                }
                let at = at.ok_or_else(|| Error::not_found("negotiation", key.negotiation.as_str()))?;
                shown(&self.negotiation(&key, at)?, &key)
            }
            Past::Certificate { .. } => Err(Error::new(Code::Internal, "nobody asks for a certificate here")),
            Past::Opened { key, at, body } => {
                let found = self.negotiation(&key, at)?;
                if found.opened.body != body {
                    return Err(Error::new(Code::AlreadyExists, "it was opened with another body"));
                }
                shown(&found, &key)
            }
            Past::NegotiationEnded { key, at } => {
                let status = self.negotiation(&key, at)?.status.as_str();
                let message = format!("negotiation {} is {status}", key.negotiation);
                Err(Error::invalid_transition(message, status))
            }
        }
    }

    /// A negotiation as it ended, by the step under which its id is known.
    fn negotiation(&self, key: &NegotiationKey, at: u64) -> Result<Negotiation, Error> {
        let (offset, step) = self.step(at)?;
        let is_over = |state: &State| state.negotiation(key).is_some_and(|it| it.status.is_final());
        let state = self.folded(negotiation_from(offset, &step, key), is_over)?;
        let found = state.negotiation(key).filter(|it| it.status.is_final());
        found
            .cloned()
            .ok_or_else(|| gone(format!("negotiation {} has no end in the ledger", key.negotiation)))
    }

    /// What a fold from `first` knows once this is so.
    fn folded(&self, first: u64, enough: impl Fn(&State) -> bool) -> Result<State, Error> {
        let keep = Keep { ended_ms: u64::MAX, ended_bytes: usize::MAX, ..Keep::default() };
        let mut fold = Fold::from_floor(keep, first);
        for offset in first..self.ledger.end() {
            let Some((_, bytes)) = self.ledger.get(offset) else { break };
            fold.record(offset, None, bytes).map_err(|e| Error::new(Code::Internal, e.to_string()))?;
            if enough(fold.state()) {
                break;
            }
        }
        Ok(fold.state().clone())
    }

    fn task(&self, key: &TaskKey, at: Option<u64>) -> Result<Json, Error> {
        if let Some(view) =
            self.redis.and_then(|redis| redis.view(&(TASK, key.workspace.clone(), key.task.clone())))
        {
            return Ok(view);
        }
        let (offset, step) = self.step(at.ok_or_else(|| Error::not_found("task", key.task.as_str()))?)?;
        let found = self.life(key, offset, &step)?;
        Json::of(&found.view(&key.workspace)).map_err(|e| Error::new(Code::Internal, e.to_string()))
    }

    /// A task as it ended, by the step under which its id is known.
    fn life(&self, key: &TaskKey, offset: u64, step: &Step) -> Result<TaskState, Error> {
        let is_over = |state: &State| state.task(key).is_some_and(|task| task.status.is_final());
        let state = self.folded(life_from(offset, step, key), is_over)?;
        let found = state.task(key).filter(|task| task.status.is_final());
        found.cloned().ok_or_else(|| gone(format!("task {} has no end in the ledger", key.task)))
    }

    /// The step with this place, and where it stands.
    fn step(&self, at: u64) -> Result<(u64, Step), Error> {
        let mut search = Search::of(at);
        // Behind a trimmed place only what never counted may be left of it.
        for offset in at..self.ledger.end() {
            let Some((_, bytes)) = self.ledger.get(offset) else { break };
            if search.record(offset, bytes).is_break() {
                break;
            }
        }
        search.found().ok_or_else(|| gone(format!("no step with place {at} stands in the ledger")))
    }
}

impl World {
    /// Has an answer looked for that has left memory; nobody else waits for that.
    pub(crate) fn looks_for(&mut self, pid: Pid, shard: u32, past: Past, waits: Waits) {
        let delay = self.latency() + self.latency();
        self.after(delay, Happens::Node(pid, Doing::LookUp { shard, past, waits }));
    }

    /// It is looked for.
    pub(crate) fn look_up(&mut self, node: usize, shard: u32, past: Past, waits: Waits) {
        let redis = (self.redis.down_until <= self.now).then_some(&self.redis);
        let ledger = &self.shards[shard as usize].ledger;
        match (Archive { ledger, redis }).look(past) {
            Found::Answer(answer) => {
                let gone = matches!(&answer, Err(error) if error.code == Code::Internal);
                self.met(if gone { Met::TrimmedAway } else { Met::LookedUp });
                self.tells(node, waits, answer);
            }
            // It may be in memory all the same: the owner knows.
            Found::Ask(subject) => {
                let until = self.now + LIMIT;
                let pid = Pid { node, life: self.nodes[node].life };
                match &mut self.nodes[node].seats[shard as usize].phase {
                    Phase::Serving(s) => s.asks.push_back(Ask::Read { subject, waits, until }),
                    _ => {
                        return self.tells(
                            node,
                            waits,
                            Err(Error::unavailable("the shard has changed hands")),
                        );
                    }
                }
                self.after(LIMIT, Happens::Node(pid, Doing::Gone { shard }));
                self.with_serving(node, shard, None, |_, _| Ok(()));
            }
        }
    }

    /// Who has waited too long for the owner is told so.
    pub(crate) fn gone(&mut self, node: usize, shard: u32) {
        let now = self.now;
        let Phase::Serving(s) = &mut self.nodes[node].seats[shard as usize].phase else { return };
        let mut late = Vec::new();
        s.asks.retain(|ask| match ask {
            Ask::Read { waits, until, .. } if *until <= now => {
                late.push(waits.clone());
                false
            }
            _ => true,
        });
        for waits in late {
            self.tells(node, waits, Err(Error::unavailable("it was not found again in time")));
        }
    }

    /// Tells whoever waits.
    pub(crate) fn tells(&mut self, node: usize, waits: Waits, answer: Answer) {
        let issued = match waits {
            Waits::Asking(asking) => return self.depart(node, Action::Answer { asking: *asking, answer }),
            Waits::Reply(issued) => issued,
        };
        let Effect::ReplyPast { to, mut envelope, .. } = issued.effect else { return };
        let value = match answer {
            Ok((value, _)) => value,
            Err(error) => {
                envelope.ty = "synod.rejected".to_owned();
                Json::of(&error).unwrap_or_default()
            }
        };
        self.depart(
            node,
            Action::Effect(Issued { effect: Effect::Reply { to, envelope, value }, ..*issued }),
        );
    }
}

/// Trimmed away, or else a defect: the watch knows which.
fn gone(why: String) -> Error {
    Error::new(Code::Internal, why)
}

fn shown(it: &Negotiation, key: &NegotiationKey) -> Answer {
    let json = Json::of(&it.view(&key.workspace));
    json.map(|json| (json, false)).map_err(|e| Error::new(Code::Internal, e.to_string()))
}
