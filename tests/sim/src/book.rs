//! What the judge of executions knows of one: a book kept by the events in the ledger alone, in which each has to be
//! allowed by those before it.

use crate::checks::ensure;
use crate::shape::{Doing, Kind, Shape};
use crate::tally::Met;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use synod_ledger::Step;
use synod_protocol::approval::{ApprovalEnded, ApprovalStatus};
use synod_protocol::command::Failure;
use synod_protocol::event::What;
use synod_protocol::workflow::{
    ExecutionEnded, ExecutionStarted, ExecutionStatus, StepAdvised, StepCompleted, StepConsulted, StepFailed,
    StepLeft, StepRetried, StepRevised, StepStarted, StepStatus,
};
use synod_protocol::{Code, EntityId, Json, Timestamp};

/// How a child has ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// A task or a negotiation has a result.
    Done(Json, Option<f64>),
    /// It has none.
    Failed(Failure),
    /// An approval is over.
    Decided(ApprovalEnded),
}

/// A task, a negotiation or an approval that does a step, or an expert's task.
#[derive(Debug)]
pub(crate) struct Kid {
    of: Doing,
    pub(crate) is_task: bool,
    pub(crate) is_live: bool,
    /// Why its latest attempt failed, by the step of the ledger that is being read.
    error: Option<Failure>,
    pub(crate) end: Option<End>,
    /// Its end has counted for its step.
    pub(crate) counted: bool,
}

/// How a doing stands that has begun.
#[derive(Debug)]
struct Now {
    status: StepStatus,
    began: Timestamp,
    child: Option<EntityId>,
    /// When a wait is over, or the next attempt is due.
    wake_at: Option<Timestamp>,
    branch: Option<bool>,
    over: Vec<Value>,
    output: Option<Value>,
    advice: Option<Value>,
    signalled: bool,
    failures: u32,
    /// What is around it is over.
    left: bool,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Book {
    pub(crate) started: ExecutionStarted,
    since: Timestamp,
    shape: Shape,
    pub(crate) status: ExecutionStatus,
    doings: BTreeMap<Doing, Now>,
    attempts: BTreeMap<Doing, u32>,
    pub(crate) kids: BTreeMap<EntityId, Kid>,
    /// Children that are asked by the step of the ledger that is being read, and not made yet.
    asked: BTreeSet<EntityId>,
    /// A step was done once more by hand.
    pub(crate) by_hand: bool,
    /// Some time limit of its own has passed.
    pub(crate) out_of_time: bool,
    pub(crate) signalled: bool,
    pub(crate) output: Option<Json>,
    pub(crate) ended_at: Option<Timestamp>,
}

type Held<T = ()> = Result<T, String>;

impl Book {
    pub(crate) fn new(started: &ExecutionStarted, now: Timestamp) -> Held<Book> {
        let definition = started.definition.to().map_err(|error| error.to_string())?;
        Ok(Book {
            started: started.clone(),
            since: now,
            shape: Shape::of(&definition)?,
            status: ExecutionStatus::Running,
            doings: BTreeMap::new(),
            attempts: BTreeMap::new(),
            kids: BTreeMap::new(),
            asked: BTreeSet::new(),
            by_hand: false,
            out_of_time: false,
            signalled: false,
            output: None,
            ended_at: None,
        })
    }

    /// An event of its own.
    pub(crate) fn event(&mut self, what: &What, step: &Step) -> Held<Option<Met>> {
        let now = step.now;
        ensure(!self.status.is_final() || matches!(what, What::ExecutionRetried(_)), || {
            format!("{} after it has ended as {}", what.ce_type(), self.status.as_str())
        })?;
        Ok(match what {
            What::ExecutionStepStarted(e) => {
                let anew = e.attempt > 1;
                self.begins(e, now)?;
                anew.then_some(Met::StepTriedAgain)
            }
            What::ExecutionStepCompleted(e) => self.completed(e, now)?,
            What::ExecutionStepConsulted(e) => self.consulted(e)?,
            What::ExecutionStepAdvised(e) => self.advised(e, now)?,
            What::ExecutionStepFailed(e) => self.failed(e, now)?,
            What::ExecutionStepDue(e) => {
                let at = self.open(&(e.step.clone(), e.items.clone()))?;
                ensure(at.status == StepStatus::Retrying && at.wake_at.is_some_and(|at| at <= now), || {
                    format!("{} is due, and is not", e.step)
                })?;
                None
            }
            What::ExecutionStepSkipped(e) => self.left_out(e, StepStatus::Skipped, now)?,
            What::ExecutionStepCancelled(e) => self.left_out(e, StepStatus::Cancelled, now)?,
            What::ExecutionRevised(e) => self.revised(e)?,
            What::ExecutionRetried(e) => self.retried(e)?,
            What::ExecutionSignalled(e) => {
                let payload = value(&e.payload)?;
                let waits = |(key, at): (&Doing, &mut Now)| {
                    let is_it =
                        self.shape.node(&key.0).is_ok_and(|n| n.kind == Kind::Signal && n.signal == e.name);
                    let waits = is_it && at.status == StepStatus::Running && !at.left && !at.signalled;
                    if waits {
                        (at.signalled, at.output) = (true, Some(payload.clone()));
                    }
                    waits
                };
                let taken = self.doings.iter_mut().map(waits).filter(|waits| *waits).count();
                ensure(taken > 0, || format!("the signal {} is taken, and nobody waits for it", e.name))?;
                self.signalled = true;
                Some(Met::Signalled)
            }
            What::ExecutionPaused(e) | What::ExecutionResumed(e) => {
                self.status = e.status;
                Some(if e.status == ExecutionStatus::Paused { Met::RunPaused } else { Met::RunResumed })
            }
            What::ExecutionCompleted(e) | What::ExecutionFailed(e) | What::ExecutionCancelled(e) => {
                Some(self.ended(e, step)?)
            }
            other => return Err(format!("{} is no event that the judge knows", other.ce_type())),
        })
    }

    // --- its children -----------------------------------------------------------------------------------------------

    /// A child of it was made: one that was asked for by this very step, and was given what the step says.
    pub(crate) fn made(&mut self, id: &EntityId, what: &What) -> Held {
        ensure(self.asked.remove(id), || format!("{id} is made, and no step of it asks for that"))?;
        let of = self.doing_of(id)?;
        let given = match what {
            What::TaskSubmitted(e) => value(&e.input)?,
            What::NegotiationOpened(e) => value(&e.question)?,
            What::ApprovalRequired(e) => value(&e.show)?,
            other => return Err(format!("{} makes a child", other.ce_type())),
        };
        let wanted = self.filled(&of, &self.shape.node(&of.0)?.given);
        let is_advice = id.as_str().ends_with("/advice");
        ensure(is_advice || wanted.as_ref().is_none_or(|wanted| *wanted == given), || {
            format!("{id} is given {given}, and its step says {wanted:?}")
        })?;
        let is_task = matches!(what, What::TaskSubmitted(_));
        let kid = Kid { of, is_task, is_live: true, error: None, end: None, counted: false };
        self.kids.insert(id.clone(), kid);
        Ok(())
    }

    /// Something happened to a child of it.
    pub(crate) fn of_child(&mut self, id: &EntityId, what: &What) -> Held {
        let Some(kid) = self.kids.get_mut(id) else {
            return Err(format!("{} of {id}, which nobody has made", what.ce_type()));
        };
        ensure(kid.is_live, || format!("{} of {id}, which is over", what.ce_type()))?;
        if let What::TaskAttemptFailed(e) = what {
            kid.error = Some(e.error.clone());
        }
        let Some(end) = end_of(what, kid.error.as_ref()) else { return Ok(()) };
        (kid.is_live, kid.end) = (false, Some(end));
        Ok(())
    }

    /// The end of the child by which a doing is done counts, once.
    fn counts(&mut self, id: Option<&EntityId>) -> Held<End> {
        let id = id.ok_or("nobody does it")?;
        let kid = self.kids.get_mut(id).ok_or_else(|| format!("{id} was never made"))?;
        let end = kid.end.clone().filter(|_| !kid.counted);
        kid.counted = true;
        end.ok_or_else(|| format!("the end of {id} counts again, or before it has ended"))
    }

    /// After all events of a step of the ledger: parent and child say the same.
    pub(crate) fn settles(&mut self) -> Held {
        for kid in self.kids.values_mut() {
            kid.error = None;
        }
        for (id, kid) in &self.kids {
            let waits = self.waits(&kid.of, id);
            ensure(waits == kid.is_live, || match waits {
                true => format!("{id} is over, and its execution waits for it"),
                false => format!("{id} is under way, and its execution ({}) wants it no more", self.status()),
            })?;
        }
        for id in std::mem::take(&mut self.asked) {
            let of = self.doing_of(&id)?;
            ensure(!self.waits(&of, &id), || format!("{id} is asked for, and is not made"))?;
        }
        Ok(())
    }

    fn waits(&self, of: &Doing, child: &EntityId) -> bool {
        let under_way = |at: &&Now| matches!(at.status, StepStatus::Running | StepStatus::Consulting);
        let at = self.doings.get(of).filter(under_way);
        !self.status.is_final() && at.is_some_and(|at| !at.left && at.child.as_ref() == Some(child))
    }

    pub(crate) fn status(&self) -> &'static str {
        self.status.as_str()
    }

    fn doing_of(&self, id: &EntityId) -> Held<Doing> {
        let path = id.as_str().split_once(':').map_or("", |(_, path)| path);
        let path = path.split([':', '/']).next().unwrap_or_default();
        let (step, items) = path.split_once('[').unwrap_or((path, ""));
        let items = items.split(['[', ']']).filter(|item| !item.is_empty()).map(str::parse);
        let items = items.collect::<Result<_, _>>().map_err(|_| format!("{id} names no doing"))?;
        Ok((step.to_owned(), items))
    }

    fn child_of(&self, (step, items): &Doing, attempt: u32, advice: bool) -> Option<EntityId> {
        let mut id = format!("{}:{step}", self.started.execution_id);
        items.iter().for_each(|item| id += &format!("[{item}]"));
        if attempt > 1 {
            id += &format!(":{attempt}");
        }
        if advice {
            id += "/advice";
        }
        id.parse().ok()
    }

    // --- its steps --------------------------------------------------------------------------------------------------

    fn begins(&mut self, e: &StepStarted, now: Timestamp) -> Held {
        let key = (e.step.clone(), e.items.clone());
        ensure(self.status == ExecutionStatus::Running, || {
            format!("{key:?} starts while it is {}", self.status())
        })?;
        let kind = self.shape.node(&key.0)?.kind;
        let failures = match self.doings.get(&key) {
            None => {
                self.may_begin(&key)?;
                0
            }
            Some(at) => {
                let is_due = at.wake_at.is_some_and(|at| at <= now);
                ensure(at.status == StepStatus::Retrying && !at.left && is_due, || {
                    format!("{key:?} starts, and is {:?} until {:?}", at.status, at.wake_at)
                })?;
                at.failures
            }
        };
        let attempt = self.attempts.get(&key).map_or(1, |before| before + 1);
        let is_block = matches!(kind, Kind::Condition | Kind::Parallel | Kind::Sequential | Kind::Map);
        ensure(e.attempt == if is_block { 0 } else { attempt }, || {
            format!("{key:?} is at attempt {}, and {attempt} is next", e.attempt)
        })?;
        let is_asked = matches!(kind, Kind::Task | Kind::Negotiation | Kind::Approval);
        let child = if is_asked { self.child_of(&key, attempt, false) } else { None };
        ensure(e.child == child, || format!("{key:?} is done by {:?}, and not by {child:?}", e.child))?;
        if !is_block {
            self.attempts.insert(key.clone(), attempt);
        }
        self.asked.extend(child.clone());
        let began = self.doings.get(&key).map_or(now, |at| at.began);
        let over = e.over.iter().flatten().map(value).collect::<Held<_>>()?;
        let at = Now { child, failures, wake_at: e.wake_at, branch: e.branch, over, ..Now::new(began) };
        self.doings.insert(key, at);
        Ok(())
    }

    /// What is around it is open and has room, and all that it waits for is over, and good.
    fn may_begin(&self, key: &Doing) -> Held {
        let node = self.shape.node(&key.0)?;
        let parent = node.parent.as_ref().map(|parent| self.shape.seen_from(parent, &key.1));
        if let Some(parent) = &parent {
            let at =
                self.doings.get(parent).ok_or_else(|| format!("{key:?} starts before what is around it"))?;
            let wanted = if node.is_fallback { StepStatus::FallingBack } else { StepStatus::Running };
            ensure(at.status == wanted && !at.left, || {
                format!("{key:?} starts, and what is around it is {:?}", at.status)
            })?;
            let around = self.shape.node(&parent.0)?;
            let open = self
                .members(parent)
                .into_iter()
                .filter(|member| self.doings.get(member).is_some_and(|at| !at.left && !at.status.is_final()));
            let offered = node.is_fallback || self.members(parent).contains(key);
            ensure(offered && open.count() < around.width, || {
                format!("{key:?} starts, and {parent:?} has no room for it")
            })?;
        }
        for need in self.needs(key) {
            ensure(self.is_good(&need) == Some(true), || {
                format!("{key:?} starts before {need:?}, for which it waits, is done")
            })?;
        }
        Ok(())
    }

    fn needs(&self, key: &Doing) -> Vec<Doing> {
        let all = std::iter::once(key.clone()).chain(self.shape.around(key));
        let needs = all.filter_map(|at| self.shape.node(&at.0).ok()).flat_map(|node| &node.needs);
        needs.map(|need| self.shape.seen_from(need, &key.1)).collect()
    }

    /// Whether what waits for it may go on; nothing where it is not over.
    fn is_good(&self, key: &Doing) -> Option<bool> {
        let at = self.doings.get(key)?;
        match at.status {
            _ if at.left => Some(false),
            StepStatus::Completed | StepStatus::Skipped => Some(true),
            StepStatus::Failed => Some(self.shape.node(&key.0).is_ok_and(|node| node.continues)),
            StepStatus::Cancelled => Some(false),
            _ => None,
        }
    }

    /// What a block consists of.
    fn members(&self, key: &Doing) -> Vec<Doing> {
        let (Ok(node), Some(at)) = (self.shape.node(&key.0), self.doings.get(key)) else { return Vec::new() };
        let seen = |id: &String| self.shape.seen_from(id, &key.1);
        match (node.kind, at.branch) {
            (Kind::Map, _) => {
                let item = |item| key.1.iter().copied().chain([item]).collect();
                (0..at.over.len() as u32).map(|i| (node.members[0].clone(), item(i))).collect()
            }
            (Kind::Condition, Some(true)) => node.members[..node.then].iter().map(seen).collect(),
            (Kind::Condition, _) => node.members[node.then..].iter().map(seen).collect(),
            _ => node.members.iter().map(seen).collect(),
        }
    }

    /// Whether a block has what it needs, or never will; nothing while it may.
    fn joined(&self, key: &Doing) -> Option<bool> {
        let members = self.members(key);
        let many = |wanted| members.iter().filter(|member| self.is_good(member) == Some(wanted)).count();
        let (all, good, bad) = (members.len(), many(true), many(false));
        let wanted = self.shape.node(&key.0).ok()?.at_least.unwrap_or(all);
        match () {
            () if bad > all - wanted.min(all) => Some(false),
            () if good >= wanted => Some(true),
            () => None,
        }
    }

    fn open(&mut self, key: &Doing) -> Held<&mut Now> {
        let at = self.doings.get_mut(key).filter(|at| !at.left && !at.status.is_final());
        at.ok_or_else(|| format!("something happens to {key:?}, which is not under way"))
    }

    /// It is over, and so is what is within it.
    fn ends(&mut self, key: &Doing, status: StepStatus) -> Held {
        self.open(key)?.status = status;
        self.leave_inside(key);
        Ok(())
    }

    fn leave_inside(&mut self, key: &Doing) {
        for (other, at) in &mut self.doings {
            let is_inside =
                other.0 != key.0 && self.shape.is_within(&other.0, &key.0) && other.1.starts_with(&key.1);
            at.left |= is_inside && !at.status.is_final();
        }
    }

    fn completed(&mut self, e: &StepCompleted, now: Timestamp) -> Held<Option<Met>> {
        let key = (e.step.clone(), e.items.clone());
        let node = self.shape.node(&key.0)?;
        let (kind, fallback) = (node.kind, node.fallback.clone());
        let at = self.open(&key)?;
        let (status, child, signalled, wake_at) = (at.status, at.child.clone(), at.signalled, at.wake_at);
        let mut met = None;
        match (status, kind) {
            (StepStatus::FallingBack, _) => {
                let fallback = fallback.map(|fallback| self.shape.seen_from(&fallback, &key.1));
                let good = fallback.as_ref().and_then(|fallback| self.is_good(fallback));
                ensure(good == Some(true), || format!("{key:?} is done, and what is done instead is not"))?;
                let output = fallback.map_or(Value::Null, |fallback| self.output(&fallback));
                self.open(&key)?.output = Some(output);
                met = Some(Met::FellBack);
            }
            (StepStatus::Consulting, _) => {
                ensure(self.open(&key)?.advice.is_some(), || format!("{key:?} is done before its expert"))?;
            }
            (StepStatus::Running, Kind::Task | Kind::Negotiation | Kind::Approval) => {
                let (output, told) =
                    (self.counts(child.as_ref())?, e.output.as_ref().map(value).transpose()?);
                let output = result(&output).ok_or_else(|| format!("{key:?} is done by what has failed"))?;
                ensure(told.as_ref() == Some(&output), || {
                    format!("{key:?} has the result {told:?}, and {child:?} gave {output}")
                })?;
                self.open(&key)?.output = Some(output);
            }
            (StepStatus::Running, Kind::Nap) => {
                ensure(wake_at.is_some_and(|at| at <= now), || {
                    format!("{key:?} is over, and was to wait until {wake_at:?}")
                })?;
            }
            (StepStatus::Running, Kind::Signal) => {
                ensure(signalled, || format!("{key:?} is over without its signal"))?;
            }
            (StepStatus::Running, _) => {
                ensure(self.joined(&key) == Some(true), || format!("{key:?} is done before what is in it"))?;
            }
            (status, _) => return Err(format!("{key:?} is done, and was {status:?}")),
        }
        self.ends(&key, StepStatus::Completed)?;
        Ok(met)
    }

    fn consulted(&mut self, e: &StepConsulted) -> Held<Option<Met>> {
        let key = (e.step.clone(), e.items.clone());
        let child = self.open(&key)?.child.clone();
        let end = self.counts(child.as_ref())?;
        let (output, told) = (result(&end), value(&e.output)?);
        ensure(output.as_ref() == Some(&told), || {
            format!("{key:?} has the result {told}, and {child:?} {output:?}")
        })?;
        let expert = self.child_of(&key, e.attempt, true);
        ensure(expert.as_ref() == Some(&e.child), || format!("{} is no expert's task of {key:?}", e.child))?;
        self.asked.insert(e.child.clone());
        let at = self.open(&key)?;
        (at.status, at.output, at.child) = (StepStatus::Consulting, output, expert);
        Ok(Some(Met::Consulted))
    }

    fn advised(&mut self, e: &StepAdvised, now: Timestamp) -> Held<Option<Met>> {
        let key = (e.step.clone(), e.items.clone());
        let at = self.open(&key)?;
        ensure(at.status == StepStatus::Consulting, || format!("{key:?} is advised, and asked nobody"))?;
        let child = at.child.clone();
        if self.is_late(&key, e.error.as_ref(), child.as_ref(), now)? {
            // Without him; nothing is left that waits for him.
            self.open(&key)?.child = None;
        } else {
            let end = self.counts(child.as_ref())?;
            let told = e.advice.as_ref().map(value).transpose()?;
            ensure(told == result(&end), || {
                format!("{key:?} is told {told:?}, and its expert said {end:?}")
            })?;
        }
        let why = e.error.as_ref().map(|why| json!({"error": {"code": why.code, "message": why.message}}));
        self.open(&key)?.advice = e.advice.as_ref().map(value).transpose()?.or(why);
        Ok(None)
    }

    /// Whether this is the failure of a doing whose own time is up, while its child was under way or not there.
    fn is_late(
        &mut self,
        key: &Doing,
        error: Option<&Failure>,
        child: Option<&EntityId>,
        now: Timestamp,
    ) -> Held<bool> {
        let is_over = child.and_then(|child| self.kids.get(child)).is_some_and(|kid| !kid.is_live);
        let says_so = error.is_some_and(|why| why.code == Code::DeadlineExceeded.as_str());
        self.out_of_time |= says_so;
        let under_way = matches!(self.open(key)?.status, StepStatus::Running | StepStatus::Consulting);
        if !says_so || (is_over && under_way) {
            return Ok(false);
        }
        let limit = self.shape.node(&key.0)?.timeout_ms;
        let began = self.open(key)?.began;
        // What is asked when the time of the execution is up ends at once, and says so before the timer does.
        let all = self.shape.deadline_ms.is_some_and(|ms| self.since.plus_millis(ms) <= now);
        ensure(all || limit.is_some_and(|limit| began.plus_millis(limit) <= now), || {
            format!("the time of {key:?} is said to be up, which had {limit:?} ms from {began}")
        })?;
        Ok(true)
    }

    fn failed(&mut self, e: &StepFailed, now: Timestamp) -> Held<Option<Met>> {
        let key = (e.step.clone(), e.items.clone());
        let node = self.shape.node(&key.0)?;
        let (kind, attempts, has_fallback) = (node.kind, node.attempts, node.fallback.is_some());
        let limit = node.timeout_ms;
        let at = self.open(&key)?;
        // What fails behind its time, for whatever reason, is not tried again and has no fallback.
        let behind = limit.is_some_and(|limit| at.began.plus_millis(limit) <= now);
        let (status, child, failures) = (at.status, at.child.clone(), at.failures + 1);
        self.out_of_time |= behind;
        let mut retries = false;
        if self.is_late(&key, Some(&e.error), child.as_ref(), now)? {
            // Whatever came of it counts no more.
        } else if status == StepStatus::FallingBack {
            let fallback = self.shape.node(&key.0)?.fallback.clone().unwrap_or_default();
            let fallback = self.shape.seen_from(&fallback, &key.1);
            ensure(self.is_good(&fallback) == Some(false), || {
                format!("{key:?} fails, and what is done instead has not")
            })?;
        } else if child.as_ref().is_some_and(|child| self.asked.remove(child)) {
            // What was to be asked could not be.
        } else if matches!(kind, Kind::Task | Kind::Negotiation | Kind::Approval) {
            let end = self.counts(child.as_ref())?;
            let can_be_retried = match &end {
                End::Done(..) => e.error.code == "output_schema",
                End::Failed(why) => why.retryable,
                End::Decided(_) => false,
            };
            let misfits = e.error.code == "output_schema";
            ensure(result(&end).is_none() || misfits, || format!("{key:?} fails by what is done: {end:?}"))?;
            retries = can_be_retried && failures < attempts;
        } else {
            ensure(self.joined(&key) == Some(false), || format!("{key:?} fails, and could still be done"))?;
        }
        ensure(e.retry_at.is_some() == retries, || {
            format!("{key:?} fails for the {failures}. time of {attempts}: tried again at {:?}", e.retry_at)
        })?;
        let at = self.open(&key)?;
        at.failures = failures;
        if retries {
            (at.status, at.wake_at) = (StepStatus::Retrying, e.retry_at);
            return Ok(Some(Met::StepToRetry));
        }
        ensure(!e.falls_back || (has_fallback && status != StepStatus::FallingBack), || {
            format!("{key:?} falls back on nothing")
        })?;
        self.ends(&key, if e.falls_back { StepStatus::FallingBack } else { StepStatus::Failed })?;
        Ok((!e.falls_back).then_some(Met::StepFailed))
    }

    fn left_out(&mut self, e: &StepLeft, status: StepStatus, now: Timestamp) -> Held<Option<Met>> {
        let key = (e.step.clone(), e.items.clone());
        ensure(!self.doings.contains_key(&key), || format!("{key:?} is left out, and has begun"))?;
        if status == StepStatus::Skipped {
            self.may_begin(&key)?;
        } else {
            let bad = self.needs(&key).iter().any(|need| self.is_good(need) == Some(false));
            ensure(bad, || format!("{key:?} is cancelled, and nothing that it needs has failed"))?;
        }
        self.doings.insert(key, Now { status, ..Now::new(now) });
        Ok(Some(Met::StepLeftOut))
    }

    // --- what begins anew -------------------------------------------------------------------------------------------

    fn revised(&mut self, e: &StepRevised) -> Held<Option<Met>> {
        let key = (e.step.clone(), e.items.clone());
        let (child, from) = (self.open(&key)?.child.clone(), self.shape.node(&key.0)?.revises.clone());
        let end = self.counts(child.as_ref())?;
        let wants = matches!(&end, End::Decided(e) if e.status == ApprovalStatus::ChangesRequested);
        ensure(wants && from.as_deref() == Some(&e.from), || {
            format!("{key:?} has all done again from {} on, after {end:?}", e.from)
        })?;
        let shape = &self.shape;
        let between = |id: &str| shape.waits_for(id, &e.from) && (id == key.0 || shape.waits_for(&key.0, id));
        let again = |id: &str| {
            let around = shape.around(&(id.to_owned(), Vec::new()));
            let mut all = around.iter().map(|(id, _)| id.as_str()).chain([id]);
            all.any(|id| id == e.from || between(id))
        };
        self.doings.retain(|(id, _), _| !again(id));
        Ok(Some(Met::Revised))
    }

    /// A step that failed for good is done once more, and so is what it kept from being done.
    fn retried(&mut self, e: &StepRetried) -> Held<Option<Met>> {
        let key = (e.step.clone(), e.items.clone());
        let was = self.doings.get(&key).filter(|at| !at.left).map(|at| at.status);
        ensure(was == Some(StepStatus::Failed), || {
            format!("{key:?} is done once more, and is {was:?}, not failed")
        })?;
        let may = matches!(
            self.status,
            ExecutionStatus::Failed | ExecutionStatus::Running | ExecutionStatus::Paused
        );
        ensure(may, || format!("{key:?} is done once more, and the execution is {}", self.status()))?;
        self.by_hand = true;
        if self.status == ExecutionStatus::Failed {
            self.status = ExecutionStatus::Running;
            (self.output, self.ended_at) = (None, None);
            for top in self.shape.top.clone() {
                self.begins_left(&(top, Vec::new()));
            }
        }
        for around in self.shape.around(&key).into_iter().rev() {
            self.reopens(&around);
        }
        self.drops(&key);
        // What was cancelled for want of what is to be done again may begin.
        loop {
            let free = |key: &&Doing| {
                let is_cancelled = self.doings.get(*key).is_some_and(|at| at.status == StepStatus::Cancelled);
                is_cancelled && self.needs(key).iter().all(|need| self.is_good(need) != Some(false))
            };
            let Some(key) = self.doings.keys().find(free).cloned() else { break };
            self.shape.around(&key).into_iter().rev().for_each(|around| self.reopens(&around));
            self.drops(&key);
        }
        Ok(Some(Met::RetriedStep))
    }

    /// A block that failed goes on.
    fn reopens(&mut self, block: &Doing) {
        let Some(at) = self.doings.get_mut(block).filter(|at| at.status == StepStatus::Failed) else {
            return;
        };
        (at.status, at.left) = (StepStatus::Running, false);
        let members = self.members(block);
        members.iter().for_each(|member| self.begins_left(member));
    }

    /// Something that was left over when what is around it was over goes on if it is a block, and begins anew if not.
    fn begins_left(&mut self, key: &Doing) {
        let Some(at) = self.doings.get_mut(key).filter(|at| at.left) else { return };
        let is_block = self.shape.node(&key.0).is_ok_and(|node| !node.members.is_empty());
        if !is_block || at.status != StepStatus::Running {
            return self.drops(key);
        }
        at.left = false;
        let members = self.members(key);
        members.iter().for_each(|member| self.begins_left(member));
    }

    fn drops(&mut self, key: &Doing) {
        let shape = &self.shape;
        self.doings.retain(|(id, items), _| !(shape.is_within(id, &key.0) && items.starts_with(&key.1)));
    }

    // --- its end ----------------------------------------------------------------------------------------------------

    fn ended(&mut self, e: &ExecutionEnded, step: &Step) -> Held<Met> {
        let top: Vec<Doing> = self.shape.top.iter().map(|id| (id.clone(), Vec::new())).collect();
        let met = match e.status {
            ExecutionStatus::Completed => {
                let open = top.iter().find(|key| self.is_good(key) != Some(true));
                ensure(open.is_none(), || format!("it is completed, and {open:?} is not done"))?;
                let (told, own) = (e.output.as_ref().map(value).transpose()?, self.result());
                ensure(own.is_none() || told == own, || format!("its output is {told:?}, and not {own:?}"))?;
                Met::RunCompleted
            }
            ExecutionStatus::Cancelled => {
                let asked = step.input.ty.as_deref() == Some("synod.execution.cancel");
                ensure(asked, || "it is cancelled, and nobody has said so".to_owned())?;
                Met::RunCancelled
            }
            _ => {
                let is_up = self.shape.deadline_ms.is_some_and(|ms| self.since.plus_millis(ms) <= step.now);
                let code = e.error.as_ref().map(|why| why.code.as_str());
                let bad = top.iter().any(|key| self.is_good(key) == Some(false));
                let out_of_time = is_up && code == Some(Code::DeadlineExceeded.as_str());
                let too_long = code == Some(Code::PayloadTooLarge.as_str());
                ensure(bad || out_of_time || too_long, || format!("it has failed, and may go on: {code:?}"))?;
                self.out_of_time |= out_of_time || too_long;
                if out_of_time { Met::RunOutOfTime } else { Met::RunFailed }
            }
        };
        (self.status, self.output, self.ended_at) = (e.status, e.output.clone(), Some(step.now));
        for at in self.doings.values_mut() {
            at.left |= !at.status.is_final();
        }
        Ok(met)
    }

    fn result(&self) -> Option<Value> {
        let nowhere = (String::new(), Vec::new());
        if let Some(output) = &self.shape.output {
            return self.filled(&nowhere, output);
        }
        let last = self.shape.top.iter().filter(|id| !self.shape.is_needed(id));
        Some(last.map(|id| (id.clone(), self.output(&(id.clone(), Vec::new())))).collect())
    }

    /// The output of a doing; null where it has none.
    fn output(&self, key: &Doing) -> Value {
        let (Ok(node), Some(at)) = (self.shape.node(&key.0), self.doings.get(key)) else {
            return Value::Null;
        };
        if at.status != StepStatus::Completed && at.status != StepStatus::Consulting {
            return Value::Null;
        }
        if let Some(output) = &at.output {
            return output.clone();
        }
        let members = self.members(key);
        match node.kind {
            Kind::Map => members.iter().map(|member| self.output(member)).collect(),
            Kind::Parallel => members.iter().map(|member| (member.0.clone(), self.output(member))).collect(),
            _ => {
                let done =
                    |key: &&Doing| self.doings.get(*key).is_some_and(|at| at.status == StepStatus::Completed);
                members.iter().rev().find(done).map_or(Value::Null, |member| self.output(member))
            }
        }
    }

    /// A template filled in, where it is a value or one path.
    fn filled(&self, key: &Doing, template: &Value) -> Option<Value> {
        let Some(text) = template.as_str().filter(|text| text.contains("${{")) else {
            return Some(template.clone());
        };
        let mut path = text.strip_prefix("${{")?.strip_suffix("}}")?.trim().split('.');
        let mut found = match path.next()? {
            "input" => value(&self.started.input).ok()?,
            "item" => {
                let map = self.shape.around(key).into_iter().next()?;
                self.doings.get(&map)?.over.get(*key.1.last()? as usize)?.clone()
            }
            "steps" => {
                let step = self.shape.seen_from(path.next()?, &key.1);
                match path.next()? {
                    "output" => self.output(&step),
                    "advice" => self.doings.get(&step)?.advice.clone().unwrap_or_default(),
                    _ => return None,
                }
            }
            _ => return None,
        };
        for member in path {
            found = found.get_mut(member)?.take();
        }
        Some(found)
    }

    // --- what others ask of it --------------------------------------------------------------------------------------

    /// Where it has not ended and nothing is under way of which an end could come: what it waits for, if that may be for ever.
    pub(crate) fn rests(&self) -> Option<Met> {
        let open = |at: &&Now| !at.left && !at.status.is_final();
        let is_kid = self.kids.values().any(|kid| kid.is_live);
        if is_kid || self.status.is_final() {
            return None;
        }
        if self.status == ExecutionStatus::Paused {
            let timed = self.shape.deadline_ms.is_some();
            let naps = self.doings.values().filter(open).any(|at| at.wake_at.is_some());
            return (!timed && !naps).then_some(Met::LeftPaused);
        }
        let waits = |key: &Doing, at: &Now| {
            let kind = self.shape.node(&key.0).map(|node| node.kind);
            kind == Ok(Kind::Signal) && !at.signalled
        };
        let mut under_way = self.doings.iter().filter(|(_, at)| open(at)).peekable();
        let some = under_way.peek().is_some();
        (some && under_way.all(|(key, at)| waits(key, at))).then_some(Met::LeftWaiting)
    }

    /// A step that failed for good.
    pub(crate) fn failed_step(&self) -> Option<Doing> {
        let mut failed = self.doings.iter().filter(|(key, at)| {
            let is_plain =
                self.shape.node(&key.0).is_ok_and(|node| node.members.is_empty() && !node.is_fallback);
            at.status == StepStatus::Failed && !at.left && is_plain
        });
        failed.next().map(|(key, _)| key.clone())
    }
}

impl Now {
    fn new(began: Timestamp) -> Now {
        Now {
            status: StepStatus::Running,
            began,
            child: None,
            wake_at: None,
            branch: None,
            over: Vec::new(),
            output: None,
            advice: None,
            signalled: false,
            failures: 0,
            left: false,
        }
    }
}

/// The end of a child, if this is one.
fn end_of(what: &What, error: Option<&Failure>) -> Option<End> {
    let failed = |code: &str, retryable| {
        let (code, message) = (code.to_owned(), String::new());
        End::Failed(error.cloned().unwrap_or(Failure { code, message, retryable }))
    };
    Some(match what {
        What::TaskCompleted(e) => End::Done(e.output.clone(), e.confidence),
        What::TaskFailed(e) | What::TaskDeadLettered(e) => failed(e.error.code.as_str(), false),
        What::TaskCancelled(_) | What::NegotiationCancelled(_) => {
            End::Failed(Failure { code: "cancelled".into(), message: String::new(), retryable: false })
        }
        What::NegotiationDecided(e) => End::Done(e.outcome.clone(), None),
        What::NegotiationFailed(_) => failed("negotiation_failed", true),
        What::ApprovalGranted(e)
        | What::ApprovalRejected(e)
        | What::ApprovalChangesRequested(e)
        | What::ApprovalCancelled(e)
        | What::ApprovalTimedOut(e) => End::Decided(e.clone()),
        _ => return None,
    })
}

/// What an end gives, if it gives anything.
fn result(end: &End) -> Option<Value> {
    match end {
        End::Done(output, _) => value(output).ok(),
        End::Failed(_) => None,
        End::Decided(e) if e.status == ApprovalStatus::Approved => {
            let decision = e.decision.as_ref();
            let data =
                decision.and_then(|made| made.response_data.as_ref()).and_then(|data| value(data).ok());
            Some(json!({
                "status": "approved",
                "approver": decision.and_then(|made| made.approver.as_ref()),
                "comment": decision.and_then(|made| made.comment.as_ref()),
                "response_data": data,
                "revision": e.revision,
            }))
        }
        End::Decided(_) => None,
    }
}

fn value(json: &Json) -> Held<Value> {
    json.to().map_err(|error| format!("a value cannot be read: {error}"))
}
