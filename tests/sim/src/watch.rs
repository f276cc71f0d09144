//! The watch: it sees every record land, every effect arrive and every answer given, keeps its own account, and says
//! what must hold of them. Nobody in the world asks it anything.

use crate::checks::{Came, LedgerCheck, Seen, ensure, same_state};
use crate::print::{hash, lineage};
use crate::tally::Met;
use crate::turns::Turns;
use crate::world::Ghost;
use std::collections::{BTreeMap, BTreeSet};
use synod_ledger::{Answer, EntityKey, Folded, Keep, NegotiationKey, State, Step, TaskKey};
use synod_protocol::approval::ApprovalStatus;
use synod_protocol::event::What;
use synod_protocol::negotiation::{Ask, NegotiationStatus};
use synod_protocol::view::{Assignment, TaskStatus};
use synod_protocol::workflow::ExecutionStatus;
use synod_protocol::{Code, EntityId, Id, Json, Timestamp, Workspace};

/// What is known of one shard.
pub(crate) struct ShardWatch {
    turns: Turns,
    pub(crate) ledger: LedgerCheck,
    /// What distinguishes the history so far from every other.
    lineage: u64,
    /// By its offset: the history up to a claim, and the state there.
    claims: BTreeMap<u64, AtClaim>,
    /// The commands' end at the latest claim.
    backlog: u64,
    counts: BTreeSet<u64>,
    /// Counting steps that owe effects which have not all been performed.
    unsettled: BTreeMap<u64, Owed>,
    /// Floors that counting steps carry, and no other: where the log may begin.
    floors: BTreeSet<u64>,
    /// Where the log begins: what only stood before that is not to be found again.
    begins: u64,
    /// The retention of the commands topic has passed something that was not handled.
    pub(crate) data_lost: bool,
}

struct AtClaim {
    lineage: u64,
    state: State,
}

/// What a step owes, as its owners issued it, and what has been performed of it.
#[derive(Default)]
struct Owed {
    issued: Vec<BTreeSet<String>>,
    performed: BTreeSet<String>,
}

/// See the module.
pub(crate) struct Watch {
    shards: Vec<ShardWatch>,
    /// Every view that any entity ever had by records that count.
    views: BTreeSet<u64>,
    /// The token of every attempt that was ever given.
    tokens: BTreeMap<(Workspace, EntityId, u32), String>,
    /// What was published under each event's id.
    events: BTreeMap<String, u64>,
    /// Commands that were accepted, as those who sent them know.
    accepted: BTreeMap<String, u32>,
    /// Ends that somebody was told.
    told_ends: BTreeMap<EntityId, TaskStatus>,
    /// The same of negotiations, with the outcome.
    told_outcomes: BTreeMap<EntityId, (NegotiationStatus, Option<Json>)>,
    /// The same of executions and approvals.
    told_runs: BTreeMap<EntityId, (ExecutionStatus, Option<Json>)>,
    told_decisions: BTreeMap<EntityId, ApprovalStatus>,
    pub(crate) told: u64,
}

impl Watch {
    pub(crate) fn new(shards: u32, keep: &Keep, aging_ms: u64) -> Watch {
        let shard = || ShardWatch {
            ledger: LedgerCheck::new(keep.clone()),
            turns: Turns::new(aging_ms),
            lineage: 0,
            claims: BTreeMap::new(),
            backlog: 0,
            counts: BTreeSet::new(),
            unsettled: BTreeMap::new(),
            floors: BTreeSet::new(),
            begins: 0,
            data_lost: false,
        };
        Watch {
            shards: (0..shards).map(|_| shard()).collect(),
            views: BTreeSet::new(),
            tokens: BTreeMap::new(),
            events: BTreeMap::new(),
            accepted: BTreeMap::new(),
            told_ends: BTreeMap::new(),
            told_outcomes: BTreeMap::new(),
            told_runs: BTreeMap::new(),
            told_decisions: BTreeMap::new(),
            told: 0,
        }
    }

    pub(crate) fn shard(&self, shard: u32) -> &ShardWatch {
        &self.shards[shard as usize]
    }

    pub(crate) fn shard_mut(&mut self, shard: u32) -> &mut ShardWatch {
        &mut self.shards[shard as usize]
    }

    /// Whether commands were deleted before they were handled.
    pub(crate) fn has_lost_data(&self) -> bool {
        self.shards.iter().any(|shard| shard.data_lost)
    }

    /// A record lands in the ledger; what it is.
    pub(crate) fn landed(
        &mut self,
        shard: u32,
        record: (u64, Timestamp, &[u8]),
        ghost: &Ghost,
        commands_end: u64,
    ) -> Result<(&'static str, Vec<Met>), String> {
        let (offset, at, bytes) = record;
        let watched = &mut self.shards[shard as usize];
        let seen = watched.ledger.see(at, bytes)?;
        if matches!(seen, Seen::Counts(_) | Seen::Image) {
            watched.lineage = lineage(watched.lineage, bytes);
            watched.decided_on_this(offset, ghost)?;
        }
        match seen {
            Seen::Void => Ok(("VOID", Vec::new())),
            Seen::Image => Ok(("counts", Vec::new())),
            Seen::Claim => {
                watched.backlog = commands_end;
                let state = watched.ledger.state().clone();
                watched.claims.insert(offset, AtClaim { lineage: watched.lineage, state });
                let (talks, runs) = (watched.ledger.talks(), watched.ledger.runs());
                let during = [
                    (talks.awaiting_commitment() > 0, Met::ClaimInAward),
                    (runs.under_way() > 0, Met::ClaimInRun),
                    (runs.decisions().pending() > 0, Met::ClaimWhileAsked),
                ];
                Ok(("begins", during.into_iter().filter(|(is, _)| *is).map(|(_, met)| met).collect()))
            }
            Seen::Counts(step) => {
                watched.counts(offset, &step)?;
                watched.turns.see(&step, watched.ledger.state())?;
                self.remember_views(shard, &step);
                let mut met = self.shard_mut(shard).ledger.talks_mut().met();
                met.extend(self.shard_mut(shard).ledger.runs_mut().met());
                met.extend(self.of_note(shard, &step));
                Ok(("counts", met))
            }
        }
    }

    /// What a step shows to have happened.
    fn of_note(&self, shard: u32, step: &Step) -> Option<Met> {
        let (workspace, ce_id) = (step.workspace.as_ref()?, step.input.ce_id.as_ref()?);
        let code = step.rejected.as_ref().map(|error| error.code);
        match code {
            Some(Code::PayloadTooLarge) => Some(Met::TooLong),
            Some(Code::Overloaded) => Some(Met::TurnedAway),
            Some(Code::InvalidArgument) => {
                self.shard(shard).ledger.was_too_old(workspace, ce_id).then_some(Met::TooOld)
            }
            _ => step.input.repeats.map(|_| Met::Repeated),
        }
    }

    fn remember_views(&mut self, shard: u32, step: &Step) {
        let Some(workspace) = &step.workspace else { return };
        let state = self.shards[shard as usize].ledger.state();
        let mut last = None;
        for event in &step.events {
            if let What::TaskAssigned(e) = &event.what
                && let Some(secret) = &e.secret
            {
                let attempt = (workspace.clone(), e.task_id.clone(), e.attempt);
                self.tokens.insert(attempt, secret.attempt_token.clone());
            }
            if last == Some(&event.entity) {
                continue;
            }
            last = Some(&event.entity);
            if let What::ApprovalRequired(asked) = &event.what
                && let Some(parent) = &asked.parent
            {
                // Which is shown with the revision after it from now on.
                self.views.extend(views_of(state, workspace, parent).map(|view| hash(view.as_str())));
            }
            self.views.extend(views_of(state, workspace, &event.entity).map(|view| hash(view.as_str())));
        }
    }

    /// What a fold found, held against the claim that it folded through.
    pub(crate) fn folded(&self, shard: u32, epoch: u64, folded: &Folded) -> Result<u64, String> {
        let watched = self.shard(shard);
        let Some(at) = watched.claims.get(&epoch) else { return Err(format!("{epoch} is no claim")) };
        ensure(folded.epoch == epoch, || {
            format!("a fold through claim {epoch} found epoch {}", folded.epoch)
        })?;
        let wrong = |why: String| format!("the fold through claim {epoch} found another state: {why}");
        same_state(&folded.state, &at.state).map_err(wrong)?;
        synod_ledger::invariants(&folded.state).map_err(wrong)?;
        let first = watched.unsettled.range(..epoch).next().map(|(offset, _)| *offset);
        ensure(
            first.is_none_or(|first| folded.owed.front().is_some_and(|owed| owed.offset <= first)),
            || {
                format!(
                    "the fold through claim {epoch} finds owed {:?}, and the effects of {first:?} are not performed",
                    folded.owed.front().map(|o| o.offset)
                )
            },
        )?;
        Ok(at.lineage)
    }

    /// The ledger is about to be trimmed.
    pub(crate) fn trims(&mut self, shard: u32, below: u64) -> Result<(), String> {
        let watched = self.shard_mut(shard);
        watched.begins = watched.begins.max(below);
        ensure(watched.floors.contains(&below), || {
            format!("the ledger is trimmed below {below}, which no step that counts names as its floor")
        })
    }

    /// An owner issues the effects of a step.
    pub(crate) fn issued(&mut self, shard: u32, offset: u64, ids: BTreeSet<String>) -> Result<(), String> {
        let watched = self.shard_mut(shard);
        ensure(watched.counts.contains(&offset), || {
            format!("effects were released for record {offset}, which does not count")
        })?;
        if let Some(owed) = watched.unsettled.get_mut(&offset) {
            owed.issued.push(ids);
            watched.settle(offset);
        }
        Ok(())
    }

    /// A receiver has taken an effect, or has had it before.
    pub(crate) fn performed(&mut self, shard: u32, offset: u64, id: &str) -> Result<(), String> {
        let watched = self.shard_mut(shard);
        ensure(watched.counts.contains(&offset), || {
            format!("effect {id} of record {offset} was accepted, and the record does not count")
        })?;
        if let Some(owed) = watched.unsettled.get_mut(&offset) {
            owed.performed.insert(id.to_owned());
            watched.settle(offset);
        }
        Ok(())
    }

    /// An event is published: the same under each id.
    pub(crate) fn published(&mut self, id: &str, value: &Json) -> Result<(), String> {
        let print = hash(value.as_str());
        let first = *self.events.entry(id.to_owned()).or_insert(print);
        ensure(first == print, || format!("event {id} was published with two values"))
    }

    /// Work is accepted for an agent: it must be what the ledger says.
    pub(crate) fn handed_out(&self, workspace: &Workspace, work: &Assignment) -> Result<(), String> {
        let given = self.tokens.get(&(workspace.clone(), work.task_id.clone(), work.attempt));
        ensure(given == Some(&work.attempt_token), || {
            format!(
                "attempt {} of task {} was handed out, and the ledger knows no such attempt",
                work.attempt, work.task_id
            )
        })
    }

    /// A participant is handed what it is asked: it must be what the ledger asks.
    pub(crate) fn asked(&mut self, shard: u32, ask: &Ask) -> Result<(), String> {
        let Ask { negotiation_id, round, participant, incarnation, .. } = ask.clone();
        let talks = self.shard_mut(shard).ledger.talks_mut();
        talks.reaches(&(negotiation_id, round, participant, incarnation))
    }

    /// From now on nothing goes wrong, and these agents are there.
    pub(crate) fn steady(&mut self, now: Timestamp, there: &BTreeSet<Id>) {
        self.shards.iter_mut().for_each(|shard| shard.ledger.talks_mut().steady(now, there.clone()));
    }

    /// An agent dies.
    pub(crate) fn leaves(&mut self, agent: &Id) {
        self.shards.iter_mut().for_each(|shard| shard.ledger.talks_mut().leaves(agent));
    }

    /// A client's command was accepted: by Kafka's acknowledgement, or by an answer.
    pub(crate) fn accepted(&mut self, shard: u32, ce_id: &str) {
        self.accepted.insert(ce_id.to_owned(), shard);
    }

    /// Somebody was told what became of a command, or (without a `ce_id`) what an entity is like.
    pub(crate) fn told(
        &mut self,
        shard: u32,
        workspace: &Workspace,
        ce_id: Option<&str>,
        answer: &Answer,
    ) -> Result<(), String> {
        self.told += 1;
        let came = ce_id.map(|ce_id| (ce_id, self.shard(shard).ledger.came(workspace, ce_id)));
        match answer {
            Ok((shown, _)) => {
                if let Some((ce_id, came)) = came {
                    ensure(matches!(came, Some(Came::Taken | Came::Submitted)), || {
                        format!("{ce_id} was answered as taken, and the ledger says {came:?}")
                    })?;
                }
                ensure(self.views.contains(&hash(shown.as_str())), || {
                    format!("somebody was shown what never was: {}", shown.as_str())
                })?;
                self.remember_end(shown);
                Ok(())
            }
            Err(error) if matches!(error.code, Code::Unavailable | Code::Overloaded) => Ok(()),
            Err(error) if error.code == Code::Internal => ensure(self.shard(shard).begins > 0, || {
                format!("nothing was trimmed away, and somebody was told: {error}")
            }),
            Err(error) => match came {
                Some((_, Some(Came::Submitted))) => Ok(()),
                // Of what ended before the window not even the view need be left.
                Some((_, Some(Came::Taken)))
                    if error.code == Code::NotFound
                        && self.shard(shard).ledger.state().forgotten().is_some() =>
                {
                    Ok(())
                }
                Some((ce_id, _))
                    if error.code == Code::InvalidArgument
                        && self.shard(shard).ledger.was_too_old(workspace, ce_id) =>
                {
                    Ok(())
                }
                Some((ce_id, came)) => ensure(came == Some(Came::Refused(error.code)), || {
                    format!("{ce_id} was answered with {error}, and the ledger says {came:?}")
                }),
                None => Ok(()),
            },
        }
    }

    fn remember_end(&mut self, shown: &Json) {
        #[derive(serde::Deserialize)]
        struct Head {
            task_id: EntityId,
            status: TaskStatus,
        }
        if let Ok(head) = shown.to::<Head>()
            && head.status.is_final()
        {
            self.told_ends.insert(head.task_id, head.status);
        }
        #[derive(serde::Deserialize)]
        struct Over {
            negotiation_id: EntityId,
            status: NegotiationStatus,
            outcome: Option<Json>,
        }
        if let Ok(over) = shown.to::<Over>()
            && over.status.is_final()
        {
            self.told_outcomes.insert(over.negotiation_id, (over.status, over.outcome));
        }
        #[derive(serde::Deserialize)]
        struct Run {
            execution_id: EntityId,
            /// An approval names its execution too, and stands otherwise.
            approval_id: Option<EntityId>,
            status: ExecutionStatus,
            output: Option<Json>,
        }
        // One that failed may be taken up again.
        if let Ok(run) = shown.to::<Run>()
            && run.approval_id.is_none()
            && matches!(run.status, ExecutionStatus::Completed | ExecutionStatus::Cancelled)
        {
            self.told_runs.insert(run.execution_id, (run.status, run.output));
        }
        #[derive(serde::Deserialize)]
        struct Decided {
            approval_id: EntityId,
            status: ApprovalStatus,
        }
        if let Ok(decided) = shown.to::<Decided>()
            && decided.status.is_final()
        {
            self.told_decisions.insert(decided.approval_id, decided.status);
        }
    }

    /// Executions that will never end by themselves, by what they wait for.
    pub(crate) fn resting(&self) -> Vec<Met> {
        self.shards.iter().flat_map(|shard| shard.ledger.runs().resting()).collect()
    }

    /// The world is quiet: what was promised is kept.
    pub(crate) fn at_the_end(&self) -> Result<(), (u32, String)> {
        for (shard, watched) in self.shards.iter().enumerate() {
            watched.ledger.check_state().map_err(|why| (shard as u32, why))?;
        }
        let workspace = Workspace::default_name();
        let promised = self.accepted.iter().filter(|_| !self.has_lost_data());
        for (ce_id, shard) in promised {
            let ledger = &self.shard(*shard).ledger;
            let came = ledger.came(&workspace, ce_id);
            // The body that counts is that of the first to arrive, if somebody sent two under one id.
            let about = ledger.about(&workspace, ce_id).cloned();
            let task = about.map(|task| TaskKey { workspace: workspace.clone(), task });
            let status = task.as_ref().and_then(|task| ledger.state().task(task)).map(|task| task.status);
            let answered = came.is_some() || ledger.was_turned_away(&workspace, ce_id);
            let ends = ledger.talks().first_live().is_none() && ledger.runs().first_live().is_none();
            let kept = answered && status.is_none_or(TaskStatus::is_final) && ends;
            ensure(kept, || {
                format!("{ce_id} was accepted; the ledger says {came:?}, its task is {status:?}")
            })
            .map_err(|why| (*shard, why))?;
        }
        for (task, told) in &self.told_ends {
            let found =
                self.shards.iter().zip(0..).find_map(|(s, shard)| Some((shard, s.ledger.ended(task)?)));
            ensure(found.is_some_and(|(_, how)| how == told.as_str()), || {
                format!("somebody was told that task {task} had ended as {told:?}, and it is {found:?}")
            })
            .map_err(|why| (found.map_or(0, |(shard, _)| shard), why))?;
        }
        let mut ends = self.told_outcomes.iter();
        ends.try_for_each(|(id, told)| self.ended_so(id, told))?;
        self.runs_ended_so()
    }

    /// Executions and approvals have ended as somebody was told.
    fn runs_ended_so(&self) -> Result<(), (u32, String)> {
        let runs = |id: &EntityId| {
            let key = EntityKey { workspace: Workspace::default_name(), id: id.clone() };
            let of_root = self.shards.iter().zip(0..).map(move |(s, shard)| (shard, s.ledger.runs()));
            (key, of_root)
        };
        for (id, (status, output)) in &self.told_runs {
            let (key, mut all) = runs(id);
            let found = all.find_map(|(shard, runs)| Some((shard, runs.ended(&key)?)));
            let is_so = found.is_some_and(|(_, (is, had))| is == *status && had == output.as_ref());
            ensure(is_so, || {
                format!("somebody was told that execution {id} had ended as {status:?}, and it is {found:?}")
            })
            .map_err(|why| (found.map_or(0, |(shard, _)| shard), why))?;
        }
        for (id, status) in &self.told_decisions {
            let (key, mut all) = runs(id);
            let found = all.find_map(|(shard, runs)| Some((shard, runs.decisions().ended(&key)?)));
            ensure(found.is_some_and(|(_, is)| is == *status), || {
                format!("somebody was told that approval {id} had ended as {status:?}, and it is {found:?}")
            })
            .map_err(|why| (found.map_or(0, |(shard, _)| shard), why))?;
        }
        Ok(())
    }

    /// A negotiation has ended as somebody was told.
    fn ended_so(&self, id: &EntityId, told: &(NegotiationStatus, Option<Json>)) -> Result<(), (u32, String)> {
        let key = NegotiationKey { workspace: Workspace::default_name(), negotiation: id.clone() };
        let mut shards = self.shards.iter().zip(0..);
        let found = shards.find_map(|(s, shard)| Some((shard, s.ledger.talks().ended(&key)?)));
        let is_so = found.is_some_and(|(_, it)| it.status == told.0 && it.outcome() == told.1.as_ref());
        ensure(is_so, || {
            format!("somebody was told that negotiation {id} had ended as {told:?}, and it is {found:?}")
        })
        .map_err(|why| (found.map_or(0, |(shard, _)| shard), why))
    }
}

impl ShardWatch {
    /// A record that counts was decided on the history before it, and left its author with the state of its readers.
    fn decided_on_this(&self, offset: u64, ghost: &Ghost) -> Result<(), String> {
        ensure(ghost.lineage.is_none_or(|had| had == self.lineage), || {
            format!("record {offset} counts, but was decided on another history than the one before it")
        })?;
        // Where something foreign came between, places and offsets differ until the next fold.
        let Some(had) = ghost.state.as_ref().filter(|_| !self.ledger.is_displaced()) else { return Ok(()) };
        same_state(self.ledger.state(), had).map_err(|why| {
            format!("after record {offset} its author had another state than its readers: {why}")
        })?;
        self.ledger.check_state()
    }

    fn counts(&mut self, offset: u64, step: &Step) -> Result<(), String> {
        self.counts.insert(offset);
        self.floors.insert(step.floor);
        let owes = !step.events.is_empty() || step.input.reply_to.is_some() || step.input.poison;
        if let Some((first, _)) = self.unsettled.first_key_value() {
            ensure(step.done <= *first, || {
                format!(
                    "record {offset} says that effects are done below {}, and those of {first} are not",
                    step.done
                )
            })?;
        }
        if owes {
            self.unsettled.insert(offset, Owed::default());
        }
        let by_itself = matches!(step.input.door, synod_ledger::Door::Timer | synod_ledger::Door::Fleet);
        let position = self.ledger.next_position();
        ensure(!by_itself || position >= self.backlog, || {
            format!(
                "record {offset} is nobody's command, and commands {position} to {} wait since before the claim",
                self.backlog
            )
        })
    }

    fn settle(&mut self, offset: u64) {
        let settled = self
            .unsettled
            .get(&offset)
            .is_some_and(|owed| owed.issued.iter().any(|ids| ids.is_subset(&owed.performed)));
        if settled {
            self.unsettled.remove(&offset);
        }
    }

    /// The first counting step whose effects have not all been performed.
    pub(crate) fn first_unsettled(&self) -> Option<u64> {
        self.unsettled.first_key_value().map(|(offset, _)| *offset)
    }
}

/// All that is shown of an entity: of a negotiation in short as well.
fn views_of(state: &State, workspace: &Workspace, entity: &EntityId) -> impl Iterator<Item = Json> {
    let key = NegotiationKey { workspace: workspace.clone(), negotiation: entity.clone() };
    let negotiation = state.negotiation(&key);
    let brief = negotiation.and_then(|it| Json::of(&it.brief(workspace)).ok());
    let whole = negotiation.and_then(|it| Json::of(&it.view(workspace)).ok());
    let other = if negotiation.is_none() { view_of(state, workspace, entity) } else { None };
    brief.into_iter().chain(whole).chain(other)
}

fn view_of(state: &State, workspace: &Workspace, entity: &EntityId) -> Option<Json> {
    let key = TaskKey { workspace: workspace.clone(), task: entity.clone() };
    if let Some(task) = state.task(&key) {
        return Json::of(&task.view(workspace)).ok();
    }
    let key = EntityKey { workspace: workspace.clone(), id: entity.clone() };
    if let Some(run) = state.execution(&key) {
        return Json::of(&run.view(workspace)).ok();
    }
    if let Some(approval) = state.approval(&key) {
        return Json::of(&approval.view(workspace)).ok();
    }
    let agent = synod_fleet::AgentKey { workspace: workspace.clone(), agent: entity.as_str().parse().ok()? };
    Json::of(&state.agent(&agent)?.view(&agent)).ok()
}
