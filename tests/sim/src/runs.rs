//! What must hold of executions, by the steps of a ledger alone: a step starts only when what it waits for is done, each end of a
//! child counts once, parent and child never disagree, one that is over does nothing more; and each ends as it would have,
//! undisturbed.
//!
//! A reader with [books](crate::book) of its own. Of the core it uses `Run` alone, to have an execution done once more.

use crate::alone::undisturbed;
use crate::book::Book;
use crate::checks::ensure;
use crate::decisions::Decisions;
use crate::tally::Met;
use std::collections::{BTreeMap, BTreeSet};
use synod_ledger::{EntityKey, State, Step, Window, read_definition};
use synod_protocol::event::{Event, What};
use synod_protocol::workflow::ExecutionStatus;
use synod_protocol::{EntityId, Id, Json, Timestamp, Workspace};
use synod_workflow::Workflow;

/// See the module.
#[derive(Debug)]
pub(crate) struct Runs {
    window: Window,
    all: BTreeMap<EntityKey, Book>,
    decisions: Decisions,
    /// Definitions that have been read, by their hashes.
    workflows: BTreeMap<String, Workflow>,
    met: Vec<Met>,
}

impl Runs {
    /// A reader of a shard that remembers so much.
    pub(crate) fn new(window: Window) -> Runs {
        let (all, workflows, met) = Default::default();
        Runs { window, all, decisions: Decisions::new(window), workflows, met }
    }

    /// Takes in a step that counts, with the state after it.
    ///
    /// # Errors
    /// What does not hold.
    pub(crate) fn see(&mut self, step: &Step, state: &State) -> Result<(), String> {
        self.decisions.see(step, state, &mut self.met)?;
        let Some(workspace) = &step.workspace else { return Ok(()) };
        let mut touched = BTreeSet::new();
        for event in &step.events {
            let Ok(id) = event.entity.root().parse() else { continue };
            let key = EntityKey { workspace: workspace.clone(), id };
            let wrong = |why: String| format!("execution {}: {why}", key.id);
            self.event(&key, event, step).map_err(wrong)?;
            touched.insert(key);
        }
        for key in touched {
            let Some(book) = self.all.get_mut(&key) else { continue };
            let wrong = |why: String| format!("execution {}: {why}", key.id);
            book.settles().map_err(wrong)?;
            // It may have left memory in this very step.
            let known = state.execution(&key).map(synod_workflow::run::Run::status);
            ensure(known.is_none_or(|known| known == book.status), || {
                wrong(format!("the fold's state is {known:?}, and the events say {}", book.status()))
            })?;
            let ends = |e: &Event| e.entity == key.id && e.what.is_end();
            if step.events.iter().any(ends) {
                self.as_undisturbed(&key).map_err(wrong)?;
            }
        }
        Ok(())
    }

    fn event(&mut self, key: &EntityKey, event: &Event, step: &Step) -> Result<(), String> {
        let Event { entity, what } = event;
        if let What::ExecutionStarted(started) = what {
            let ended = self.all.get(key).map(|book| book.ended_at);
            ensure(may_come_again(ended, step.now, self.window), || "it starts a second time".to_owned())?;
            self.all.insert(key.clone(), Book::new(started, step.now)?);
            self.met.push(Met::RunStarted);
            return Ok(());
        }
        let Some(book) = self.all.get_mut(key) else {
            let is_of_one = what.ce_type().starts_with("synod.execution.");
            return ensure(!is_of_one, || "something happens to it, and it was never started".to_owned());
        };
        if *entity == key.id {
            self.met.extend(book.event(what, step)?);
            return Ok(());
        }
        let makes =
            matches!(what, What::TaskSubmitted(_) | What::NegotiationOpened(_) | What::ApprovalRequired(_));
        if makes { book.made(entity, what) } else { book.of_child(entity, what) }
    }

    /// Whether it has ended as it would have, undisturbed; of one that people have ended, or time, nothing can be said.
    fn as_undisturbed(&mut self, key: &EntityKey) -> Result<(), String> {
        let Some(book) = self.all.get(key) else { return Ok(()) };
        if book.status == ExecutionStatus::Cancelled || book.by_hand || book.out_of_time {
            return Ok(());
        }
        let hash = &book.started.hash;
        if !self.workflows.contains_key(hash) {
            let workflow = read_definition(&book.started.definition).map_err(|error| error.to_string())?;
            self.workflows.insert(hash.clone(), workflow);
        }
        let Some(workflow) = self.workflows.get(hash) else { return Ok(()) };
        let (status, output) = undisturbed(book, workflow)?;
        let value = |json: &Option<Json>| json.as_ref().map(Json::canonical);
        let same = status == book.status && value(&output) == value(&book.output);
        ensure(same, || {
            format!(
                "it has ended as {} with {:?}; undisturbed it ends as {} with {output:?}",
                book.status(),
                book.output,
                status.as_str()
            )
        })?;
        self.met.push(Met::AsUndisturbed);
        Ok(())
    }

    /// What was met since this was asked last.
    pub(crate) fn met(&mut self) -> Vec<Met> {
        std::mem::take(&mut self.met)
    }

    /// Executions that go on.
    pub(crate) fn under_way(&self) -> usize {
        self.all.values().filter(|book| !book.status.is_final()).count()
    }

    /// Approvals.
    pub(crate) fn decisions(&self) -> &Decisions {
        &self.decisions
    }

    /// The first that goes on and does not rest: nothing but time, or what is on its way, keeps it from its end.
    pub(crate) fn first_live(&self) -> Option<&EntityId> {
        let goes_on = |book: &Book| !book.status.is_final() && book.rests().is_none();
        let live = self.all.iter().find(|(_, book)| goes_on(book)).map(|(key, _)| &key.id);
        live.or(self.decisions.first_live())
    }

    /// Those that rest, by what they wait for.
    pub(crate) fn resting(&self) -> impl Iterator<Item = Met> {
        self.all.values().filter_map(Book::rests)
    }

    /// How one has ended for good: one that failed may be taken up again.
    pub(crate) fn ended(&self, key: &EntityKey) -> Option<(ExecutionStatus, Option<&Json>)> {
        let book = self.all.get(key).filter(|book| book.status.is_final())?;
        Some((book.status, book.output.as_ref()))
    }

    /// The tasks of one that are under way.
    pub(crate) fn live_tasks_of(&self, id: &Id) -> Vec<EntityId> {
        let Some(book) = self.all.get(&key_of(id)) else { return Vec::new() };
        let live = book.kids.iter().filter(|(_, kid)| kid.is_live && kid.is_task);
        live.map(|(id, _)| id.clone()).collect()
    }

    /// A step of one that failed for good, and for which items.
    pub(crate) fn failed_step(&self, id: &Id) -> Option<(String, Vec<u32>)> {
        self.all.get(&key_of(id))?.failed_step()
    }
}

/// An id that is forgotten may be used again; nothing: it was never used. `ended`: when it ended, if it has.
pub(crate) fn may_come_again(ended: Option<Option<Timestamp>>, now: Timestamp, window: Window) -> bool {
    let is_forgotten = |ended| now.millis_since(ended) >= window.ms && window != Window::default();
    ended.is_none_or(|ended| ended.is_some_and(is_forgotten))
}

fn key_of(id: &Id) -> EntityKey {
    EntityKey { workspace: Workspace::default_name(), id: id.clone().into() }
}
