//! What has left memory, found in a view or read again from the ledger: as `coordinator/src/shard/archive.rs` does it.

use crate::broker::Log;
use crate::node::{Action, Doing, Waits};
use crate::plan::SECOND;
use crate::redis::Redis;
use crate::seat::Phase;
use crate::serve::Ask;
use crate::tally::Met;
use crate::world::{Issued, Pid, What as Happens, World};
use synod_ledger::{Answer, Effect, Fold, Had, Keep, Past, Search, State, Step, Subject, life_from};
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
                Ok(Some(Had::Again(past))) => past,
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
            Past::Entity { subject, at } => self.ended(&subject, at).map(|json| (json, false)),
            Past::Again { subject, at, body } => {
                let (offset, step) = self.step(at)?;
                let is_same = match subject.body_in(&step) {
                    Some(first) => first == body,
                    None => {
                        let state = self.life(&subject, offset, &step)?;
                        subject.standing(&state).is_some_and(|standing| standing.body == body)
                    }
                };
                if !is_same {
                    return Err(subject.made_otherwise());
                }
                self.ended(&subject, Some(at)).map(|json| (json, false))
            }
            Past::Over { subject, at } => {
                let (offset, step) = self.step(at)?;
                let state = self.life(&subject, offset, &step)?;
                let status = subject.standing(&state).map_or("", |standing| standing.status);
                Err(subject.is_over(status))
            }
        }
    }

    fn ended(&self, subject: &Subject, at: Option<u64>) -> Result<Json, Error> {
        let id = subject
            .view()
            .zip(subject.at())
            .and_then(|(kind, (workspace, id))| Some((kind, workspace.clone(), id.parse().ok()?)));
        if let Some(view) = id.and_then(|id| self.redis?.view(&id)) {
            return Ok(view);
        }
        let (offset, step) = self.step(at.ok_or_else(|| Error::not_found(subject.noun(), subject.id()))?)?;
        subject.shown(&self.life(subject, offset, &step)?)
    }

    /// A shard's state in which something has just ended, by the step under which its id is known.
    fn life(&self, subject: &Subject, offset: u64, step: &Step) -> Result<State, Error> {
        let first = life_from(offset, step, subject);
        let state = self.folded(first, |state| subject.is_met(state, first == offset))?;
        let is_over = subject.standing(&state).is_some_and(|standing| standing.is_over);
        let lost = || gone(format!("{} {} has no end in the ledger", subject.noun(), subject.id()));
        if is_over { Ok(state) } else { Err(lost()) }
    }

    /// What a fold from `first` knows once this is so.
    fn folded(&self, first: u64, enough: impl Fn(&State) -> bool) -> Result<State, Error> {
        let keep = Keep { ended_ms: u64::MAX, runs_ms: u64::MAX, ended_bytes: usize::MAX, ..Keep::default() };
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
