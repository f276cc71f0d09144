//! What a shard does of its own accord, in order: timers that are due, tasks of agents that are gone, tasks that
//! wait. Nothing of it before the commands that stood in the topic at the claim have been handled.
//!
//! Those that wait stand in a [`Queue`] beside the state: it follows from the state who does, and the queue says whose turn it is. It
//! is no part of the ledger; a new owner's begins even.
//!
//! ```text
//!   state --fill, see--> queue --first--> no permits: Input::Dispatch ----------------> assigned | nobody
//!                          ^        \---> permits: Wanted --shell--> Input::Permitted -/
//!                          |                          \---> refused, unknown: asked again later
//!                          \--- given_back <---- effect of the attempt's end
//! ```

use crate::decide::Input;
use crate::negotiations::seats_of;
use crate::retries::Retries;
use crate::rules::{Rules, Try};
use crate::state::{Line, State, TaskKey};
use crate::task::TaskState;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use synod_fleet::queue::{Permit, Queue, Refused, Waiting, Why};
use synod_fleet::{AgentKey, Fleet};
use synod_protocol::Timestamp;
use synod_protocol::event::TaskSubmitted;
use synod_protocol::view::TaskStatus;

/// Lines of waiting tasks that find nobody before other things have their turn.
const LINES_A_TURN: usize = 256;

/// Tasks whose permits may be asked for at a time.
const ASKING_LIMIT: usize = 64;

/// Permits that are out elsewhere of which is asked again at a time.
const LOOKS: usize = 64;

/// What is to be done, and how far it has come.
#[derive(Debug)]
pub(crate) struct Agenda {
    catching_up: bool,
    check_holders: bool,
    /// There may be room for those for whom nobody was found.
    room: bool,
    gone: VecDeque<Input>,
    /// The timer that was fired last; one that does not go away by it must not be fired for ever.
    fired: Option<(Timestamp, TaskKey)>,
    rules: Rules,
    queue: Queue<Line, Try>,
    /// Those whose back-off is over, and who are not yet let into the queue.
    retries: Retries,
    /// Who was offered to the fleet last, and has not been heard of since.
    offered: Option<Try>,
    /// Lines for which nobody was found since there was room, and by whom: their permits need not be asked for.
    nobody: BTreeMap<Line, Try>,
    /// Whose permits are being asked for.
    asking: BTreeSet<Try>,
    /// Why permits cannot be asked for, while they cannot.
    no_permits: Option<String>,
    /// The permit of which was asked again last.
    looked: u32,
    looked_at: usize,
    /// What a planted bug takes for due.
    #[cfg(feature = "planted")]
    under_way: Vec<Input>,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// This input is to be handled; then ask again.
    Input(Input),
    /// These permits are to be taken, and the answer is for [`Owner::answered`](crate::Owner::answered); ask again at once.
    Permits(Wanted),
    /// Nothing until something else happens, or the next deadline.
    Nothing,
    /// There is more to do; other inputs may have their turn first.
    Later,
    /// Firing this task's timer changed nothing, which the core never does.
    Stuck(TaskKey),
}

/// Permits that a task wants, all or none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// For which attempt.
    pub by: Try,
    /// Which, and how many there are of each.
    pub permits: Vec<(Permit, u32)>,
}

/// What became of [`Wanted`] permits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// They are taken; so many are out of each now, these included.
    Granted(Vec<u32>),
    /// None is taken: of this one so many are out.
    Refused(Permit, u32),
    /// Nothing is known of them, for this reason. They may have been taken.
    Unknown(String),
}

impl Agenda {
    /// The agenda of an owner that has folded to this state.
    pub(crate) fn new(rules: Rules, state: &State) -> Agenda {
        let mut agenda = Agenda {
            catching_up: true,
            check_holders: true,
            room: false,
            gone: VecDeque::new(),
            fired: None,
            queue: rules.queue(),
            retries: Retries::new(rules.retries),
            rules,
            offered: None,
            nobody: BTreeMap::new(),
            asking: BTreeSet::new(),
            no_permits: None,
            looked: 0,
            looked_at: 0,
            #[cfg(feature = "planted")]
            under_way: crate::planted::under_way(state),
        };
        for (key, task) in state.tasks().filter(|(_, task)| !task.status.is_final()) {
            agenda.runs(key, task);
        }
        for key in state.who_waits() {
            agenda.joins(state, key);
        }
        agenda
    }

    pub(crate) fn is_catching_up(&self) -> bool {
        self.catching_up
    }

    pub(crate) fn caught_up(&mut self) {
        self.catching_up = false;
    }

    pub(crate) fn fleet_changed(&mut self) {
        self.check_holders = true;
        self.room = true;
    }

    pub(crate) fn there_is_room(&mut self) {
        self.room = true;
    }

    // --- who waits -------------------------------------------------------------------------------------------------

    /// Something has happened to a task: it joins its line, leaves it, or runs.
    pub(crate) fn see(&mut self, state: &State, key: &TaskKey) {
        let Some(task) = state.task(key) else { return };
        let attempts = task.attempts.len() as u32;
        let next = Try { task: key.clone(), attempt: attempts + 1 };
        if state.waits(key) {
            if !self.queue.waits(&next) && !self.retries.holds(key) {
                self.joins(state, key);
            }
            return;
        }
        self.retries.forget(key);
        if attempts == 1 && task.status == TaskStatus::Assigned {
            self.retries.first(key, task.submitted.capability.as_ref(), ms(state.now));
        }
        let given = Try { attempt: attempts, ..next.clone() };
        match task.current() {
            Some(current) if self.queue.started(&given, ms(state.now)) => {
                if current.permits.is_empty() {
                    self.queue.ended(&given);
                }
            }
            Some(_) => self.runs(key, task),
            None => {
                if !self.queue.remove(&next) {
                    return;
                }
                // It may have been offered in vain for a reason of its own, such as that its time was over.
                let line = line_of(key, task);
                if self.nobody.get(&line) == Some(&next) {
                    self.nobody.remove(&line);
                    self.queue.room(|other| *other == line);
                }
            }
        }
    }

    /// It holds what it was given permits for, until they are [given back](Agenda::given_back).
    fn runs(&mut self, key: &TaskKey, task: &TaskState) {
        if let Some(current) = task.current().filter(|current| !current.permits.is_empty()) {
            let by = Try { task: key.clone(), attempt: current.seen.attempt };
            // What is no name of a permit was never taken.
            let permits = current.permits.iter().filter_map(|name| name.parse().ok()).collect();
            self.queue.running(by, permits);
        }
    }

    fn joins(&mut self, state: &State, key: &TaskKey) {
        let Some((arrival, task)) = state.arrived(key) else { return };
        let waiting = self.waiting(key, Some(task), &task.submitted, (ms(task.submitted_at), arrival));
        for permit in &waiting.permits {
            if !matches!(permit, Permit::Key(..)) {
                self.queue.set_limit(permit, self.rules.most(permit));
            }
        }
        let by = Try { task: key.clone(), attempt: task.attempts.len() as u32 + 1 };
        self.queue.push(by, waiting);
    }

    fn waiting(
        &self,
        key: &TaskKey,
        known: Option<&TaskState>,
        task: &TaskSubmitted,
        (since_ms, arrival): (u64, u64),
    ) -> Waiting<Line> {
        let (capability, agent, avoid) = match known {
            Some(known) => (known.capability(), known.agent(), &known.avoid),
            None => (task.capability.as_ref(), task.agent_id.as_ref(), &BTreeSet::new()),
        };
        Waiting {
            workspace: key.workspace.clone(),
            line: Line::of(&key.workspace, (capability, agent), task, avoid),
            permits: self.rules.permits(&key.workspace, capability, task),
            priority: task.priority,
            since_ms,
            arrival,
        }
    }

    /// Whether a task may be given out in the very step by which it comes: it takes no permits, and nobody is before it.
    pub(crate) fn may_pass(&self, key: &TaskKey, task: &TaskState) -> bool {
        if !self.rules.permits(&key.workspace, task.capability(), &task.submitted).is_empty() {
            return false;
        }
        self.queue.is_empty()
            || !self.queue.has_before(&self.waiting(key, Some(task), &task.submitted, (0, 0)))
    }

    /// Whether a new task that would wait is to be taken in.
    pub(crate) fn admit(&self, key: &TaskKey, task: &TaskSubmitted, now: Timestamp) -> Result<(), Refused> {
        let waiting = self.waiting(key, None, task, (ms(now), u64::MAX));
        self.queue.admit(&waiting, ms(now), Some(ms(task.deadline)))
    }

    /// Why a task waits in the queue, and why permits cannot be asked for if that is it; `None`: it does not wait there.
    pub(crate) fn why(&self, key: &TaskKey, task: &TaskState) -> Option<(Why, Option<&str>)> {
        let by = Try { task: key.clone(), attempt: task.attempts.len() as u32 + 1 };
        let why = match self.queue.why(&by)? {
            // It is asked about all the while: what it waits for is the answer.
            Why::Turn if self.no_permits.is_some() && !self.queue.permits_of(&by).is_empty() => Why::Unknown,
            why => why,
        };
        let no_permits = self.no_permits.as_deref().filter(|_| why == Why::Unknown);
        Some((why, no_permits))
    }

    /// Whether too many others are tried again just now.
    pub(crate) fn holds_back(&self, key: &TaskKey) -> bool {
        self.retries.holds(key)
    }

    pub(crate) fn rules(&self) -> &Rules {
        &self.rules
    }

    // --- permits ---------------------------------------------------------------------------------------------------

    /// The answer to [`Next::Permits`]: what is to be handled now, if they were granted and are still wanted.
    pub(crate) fn answered(&mut self, wanted: &Wanted, answer: &Answered) -> Option<Input> {
        self.comes_of_the_offer();
        if !self.asking.remove(&wanted.by) {
            return None;
        }
        let still = self.queue.asks(&wanted.by);
        match answer {
            Answered::Granted(out) => {
                self.no_permits = None;
                self.queue.may_ask(ASKING_LIMIT);
                for ((permit, _), out) in wanted.permits.iter().zip(out) {
                    self.queue.heard(permit, *out);
                }
                if !still {
                    return None;
                }
                self.offered = Some(wanted.by.clone());
                let permits = wanted.permits.iter().map(|(permit, _)| permit.to_string()).collect();
                Some(Input::Permitted { task: wanted.by.task.clone(), permits })
            }
            Answered::Refused(permit, out) => {
                self.no_permits = None;
                self.queue.may_ask(ASKING_LIMIT);
                self.queue.refused(&wanted.by, permit, *out);
                None
            }
            Answered::Unknown(why) => {
                self.no_permits = Some(why.clone());
                if still {
                    self.queue.unknown(&wanted.by);
                }
                None
            }
        }
    }

    pub(crate) fn holds_permits(&self) -> bool {
        self.queue.holds_any()
    }

    /// Whether somebody waits for permits that may come back without a word to us.
    pub(crate) fn looks(&self) -> bool {
        self.queue.looks()
    }

    /// What an attempt held is given back.
    pub(crate) fn given_back(&mut self, by: &Try) {
        self.queue.ended(by);
    }

    /// Some time has passed: what was heard of permits that are out elsewhere is old.
    pub(crate) fn look_again(&mut self) {
        self.looked = self.queue.look_again(self.looked, LOOKS);
        // While nothing is known of permits, one finds out for all.
        self.queue.may_ask(if self.no_permits.is_some() { 1 } else { ASKING_LIMIT });
    }

    // --- what comes next -------------------------------------------------------------------------------------------

    /// `room`: whether more may be appended now; timers are fired all the same.
    pub(crate) fn next(&mut self, state: &mut State, now: Timestamp, fleet: &dyn Fleet, room: bool) -> Next {
        self.comes_of_the_offer();
        if self.catching_up {
            return Next::Nothing;
        }
        if let Some(due) = state.timers.first().filter(|(at, _)| *at <= now).cloned() {
            if self.fired.as_ref() == Some(&due) {
                return Next::Stuck(due.1);
            }
            self.fired = Some(due.clone());
            return Next::Input(Input::Due(due.1));
        }
        self.fired = None;
        if let Some((_, key)) = state.agent_timers.first().filter(|(at, _)| *at <= now) {
            // Its event takes the timer away: it is fired once.
            return Next::Input(Input::AgentDue(key.clone()));
        }
        #[cfg(feature = "planted")]
        if let Some(input) = self.under_way.pop() {
            return Next::Input(input);
        }
        if let Some(due) = state.negotiations.first_due().filter(|(at, _)| *at <= now) {
            // What it does takes the timer away or puts it off: it is fired once.
            return Next::Input(Input::NegotiationDue(due.1.clone()));
        }
        if let Some(due) = state.approvals.first_due().filter(|(at, _)| *at <= now) {
            return Next::Input(Input::ApprovalDue(due.1.clone()));
        }
        if let Some(due) = state.executions.first_due().filter(|(at, _)| *at <= now) {
            return Next::Input(Input::ExecutionDue(due.1.clone()));
        }
        // What it could not start by one step it starts by the next ones.
        if let Some(key) = state.executions.first_going().filter(|_| room) {
            return Next::Input(Input::ExecutionGoesOn(key.clone()));
        }
        for key in state.wake_retries(now) {
            let capability = state.task(&key).and_then(|task| task.capability().cloned());
            self.retries.hold(key, capability.as_ref());
        }
        for key in self.retries.let_go(ms(now), |key| state.waits(key)) {
            self.see(state, &key);
        }
        if std::mem::take(&mut self.check_holders) {
            self.gone = gone(state, fleet);
            #[cfg(feature = "planted")]
            if crate::planted::is(crate::planted::Bug::UnorderedMap) {
                self.gone = crate::planted::in_any_order(std::mem::take(&mut self.gone)).collect();
            }
        }
        if let Some(input) = self.gone.pop_front() {
            return Next::Input(input);
        }
        if room { self.dispatch() } else { Next::Nothing }
    }

    /// Who was offered and still waits found nobody, and so nobody of its line does.
    fn comes_of_the_offer(&mut self) {
        if let Some(offered) = self.offered.take() {
            self.finds_nobody(&offered);
        }
    }

    fn finds_nobody(&mut self, by: &Try) {
        if let Some(line) = self.queue.line_of(by) {
            self.nobody.insert(line.clone(), by.clone());
            self.queue.nobody(by);
            self.looked_at += 1;
        }
    }

    /// Whose turn it is; a turn of ours ends when so many lines have found nobody.
    fn dispatch(&mut self) -> Next {
        if std::mem::take(&mut self.room) {
            self.nobody.clear();
            self.queue.room(|_| true);
        }
        loop {
            if self.looked_at >= LINES_A_TURN {
                self.looked_at = 0;
                return Next::Later;
            }
            let Some((by, line)) = self.queue.first() else { break };
            let (by, found_nobody) = (by.clone(), self.nobody.contains_key(line));
            let permits = self.queue.permits_of(&by);
            if permits.is_empty() {
                self.offered = Some(by.clone());
                return Next::Input(Input::Dispatch(by.task));
            }
            if found_nobody {
                self.finds_nobody(&by);
            } else if self.asking.len() >= if self.no_permits.is_some() { 1 } else { ASKING_LIMIT } {
                // Those who need no permits do not wait for the answers.
                self.queue.unknown(&by);
                self.looked_at += 1;
            } else {
                self.queue.ask(&by);
                self.asking.insert(by.clone());
                let most = |permit: Permit| (self.rules.most(&permit)).map(|most| (permit, most));
                return Next::Permits(Wanted { by, permits: permits.into_iter().filter_map(most).collect() });
            }
        }
        self.looked_at = 0;
        Next::Nothing
    }

    /// Checks the queue against the state that it was fed from.
    ///
    /// # Errors
    /// How it differs.
    pub(crate) fn invariants(&self, state: &State) -> Result<(), String> {
        let mut held: BTreeMap<Permit, u32> = BTreeMap::new();
        for (key, task) in state.tasks() {
            let by = Try { task: key.clone(), attempt: task.attempts.len() as u32 + 1 };
            let (waits, stands) = (state.waits(key), self.queue.line_of(&by));
            if waits != (stands.is_some() || self.retries.holds(key)) {
                return Err(format!("task {} waits: {waits}; it stands in line {stands:?}", key.task));
            }
            let line = line_of(key, task);
            if stands.is_some_and(|stands| *stands != line) {
                return Err(format!("task {} stands in line {stands:?}, not in {line:?}", key.task));
            }
            for name in task.current().iter().flat_map(|current| &current.permits) {
                let permit = name.parse().map_err(|error| format!("task {} holds what {error}", key.task))?;
                *held.entry(permit).or_default() += 1;
            }
        }
        let held_back = state.who_waits().filter(|key| self.retries.holds(key)).count();
        if self.queue.len() + held_back != state.waiting() {
            let (stand, wait) = (self.queue.len(), state.waiting());
            return Err(format!("{stand} stand in line, {held_back} are held back, {wait} wait"));
        }
        // What has ended holds its permits until they are given back.
        match held.iter().find(|(permit, held)| self.queue.in_use(permit) < **held) {
            None => Ok(()),
            Some((permit, held)) => {
                Err(format!("{held} tasks hold {permit}, {} are counted", self.queue.in_use(permit)))
            }
        }
    }
}

fn line_of(key: &TaskKey, task: &TaskState) -> Line {
    Line::of(&key.workspace, (task.capability(), task.agent()), &task.submitted, &task.avoid)
}

/// Milliseconds of the shard's time, for the queue.
fn ms(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or_default()
}

/// Tasks that are held by process starts that are gone, and those whose submitter wants them elsewhere at the first
/// suspicion.
fn gone(state: &State, fleet: &dyn Fleet) -> VecDeque<Input> {
    let mut gone = VecDeque::new();
    for holder in state.holders() {
        for (task, incarnation) in state.held_by(holder) {
            if let Some(departure) = fleet.gone(holder, incarnation) {
                gone.push_back(Input::HolderGone {
                    task: task.clone(),
                    incarnation: incarnation.clone(),
                    lost: departure.lost,
                    reason: format!("agent {} {}", holder.agent, departure.how),
                });
            } else if let Some(why) = state.task(task).and_then(|known| {
                let asked_for = known.current().and_then(|current| known.asked_for(&current.seen));
                fleet.halted(&task.workspace, asked_for)
            }) {
                gone.push_back(Input::HolderGone {
                    task: task.clone(),
                    incarnation: incarnation.clone(),
                    lost: false,
                    reason: why,
                });
            } else if let Some(why) = fleet.suspected(holder, incarnation)
                && state.task(task).is_some_and(|known| known.submitted.retry_on_suspect)
            {
                gone.push_back(Input::HolderGone {
                    task: task.clone(),
                    incarnation: incarnation.clone(),
                    lost: false,
                    reason: format!("agent {} is suspected: {why}", holder.agent),
                });
            }
        }
    }
    gone.extend(participants(state, fleet));
    gone
}

/// Participants of negotiations that go on: whose process is gone, and who runs as what it was not asked as.
fn participants(state: &State, fleet: &dyn Fleet) -> Vec<Input> {
    let mut inputs = Vec::new();
    for (key, it) in state.negotiations.timed() {
        let Some(round) = it.round() else { continue };
        for id in round.silent() {
            let agent = AgentKey { workspace: key.workspace.clone(), agent: id.clone() };
            let Some(seat) = it.asked.get(id) else { continue };
            let Some(departure) = fleet.gone(&agent, &seat.incarnation) else { continue };
            // One that was started anew is asked again, and is not gone.
            if fleet.present(&agent).is_none() {
                inputs.push(Input::ParticipantGone {
                    negotiation: key.clone(),
                    participant: id.clone(),
                    incarnation: seat.incarnation.clone(),
                    reason: format!("agent {id} {}", departure.how),
                });
            }
        }
        if !it.ask(seats_of(it, key, fleet)).is_empty() {
            inputs.push(Input::ParticipantsThere(key.clone()));
        }
    }
    inputs
}
