//! The queue before the fleet: who of those that wait has the next turn.
//!
//! Tasks that wait for the very same thing stand in one **line**: where its first finds nobody, none of it does. A workspace
//! has its lines; the workspaces take turns.
//!
//! ```text
//! first: workspace whose turn it is --> its line with the most urgent first --> that task
//!         fair share, by weight          priority, raised by age
//! ```
//!
//! **Priority and age.** Each level of priority is worth `aging_ms` of waiting. So a task of priority p is overtaken, in its
//! workspace, by one of priority q only if that comes less than (q - p) × `aging_ms` later, and by nothing that comes 9 × `aging_ms`
//! later. How urgent two tasks are in relation to each other never changes, so nothing is ever sorted anew.
//!
//! **Fair share.** Start-time fair queueing (Goyal, Vin and Cheng 1996) with every start worth the same: of those workspaces
//! that could start something all the while, none is behind its due by more than one start of its own and one of each other. One that
//! had nothing to start does not save up.
//!
//! **So waiting is bounded**: with k tasks of its workspace before it (a finite number: those more urgent at its arrival and those
//! that may overtake it), a task has its turn after at most (k + 1) × (sum of weights ÷ own weight) + (number of
//! workspaces) starts, not counting the time in which nobody could take it.
//!
//! **Limits.** A task takes permits (capability, concurrency key, workspace) while it runs. Lines whose permit is out sleep;
//! when one comes back, one line is woken, the one with the most urgent first. Counts are of this queue alone; what holds
//! across shards is [asked for elsewhere](Queue::ask), and what is heard of it counts here.
//!
//! **Admission** ([`Queue::admit`]) refuses early what would only wait in vain.
//!
//! What is remembered of turns and speed is volatile: after a restart everyone begins even. So a queue is fed from a state that is
//! folded, and is no part of it. Every operation costs the logarithm of what
//! waits, amortised; [`Queue::room`] besides looks at each line for which nobody was found, and lines that take several
//! permits may move from one that is out to another that is.

mod admission;
mod elsewhere;
mod limits;
mod line;
mod turns;

pub use admission::Refused;
pub use limits::{NoPermit, Permit};

use limits::Limits;
use line::{Due, Line, LineKey, Standing};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::Workspace;
use turns::Turns;

/// The highest priority there is; what is above counts as this.
const TOP: u8 = 9;

/// How a queue behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What one level of priority is worth, in ms of waiting; 10,000 by default. 0: first come, first served. At most a year.
    pub aging_ms: u64,
    /// How many may wait in all; 1,000,000 by default.
    pub waiting: usize,
    /// How many may wait in one workspace; 100,000 by default.
    pub waiting_per_workspace: usize,
    /// How many of the same concurrency key may run at a time, where nothing else is set for that key; 1 by default.
    pub per_key: u32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { aging_ms: 10_000, waiting: 1_000_000, waiting_per_workspace: 100_000, per_key: 1 }
    }
}

/// A task that waits, as far as its turn depends on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting<L> {
    /// Whose.
    pub workspace: Workspace,
    /// What it waits for: those of one workspace that name the same and take the same permits stand in one line.
    pub line: L,
    /// What it takes while it runs.
    pub permits: Vec<Permit>,
    /// 0 (may wait) to 9 (goes first).
    pub priority: u8,
    /// When it came, in ms of the caller's time; it keeps that when it comes back after a failed attempt.
    pub since_ms: u64,
    /// Its number in order of arrival, which decides within a millisecond.
    pub arrival: u64,
}

/// Why a task that waits does so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// It has not yet been its turn.
    Turn,
    /// All permits of this kind are out.
    Limit(Permit),
    /// Nobody was found who could take it.
    Nobody,
    /// Its permits cannot be asked for.
    Unknown,
}

/// Those that wait, `T`, and what they wait for, `L`.
///
/// ```
/// use synod_fleet::queue::{Permit, Queue, Waiting};
/// use synod_protocol::Workspace;
///
/// let workspace = Workspace::default_name();
/// let mut queue = Queue::default();
/// for task in 1..=3 {
///     let permits = vec![Permit::Key(workspace.clone(), "customer-7".into())];
///     let waiting = Waiting {
///         workspace: workspace.clone(), line: "translate", permits, priority: 5, since_ms: 0, arrival: task
///     };
///     queue.admit(&waiting, 0, None)?;
///     queue.push(task, waiting);
/// }
/// while let Some((task, line)) = queue.first().map(|(task, line)| (*task, *line)) {
///     let somebody_takes_it = line == "translate";
///     if somebody_takes_it { queue.started(&task, 10) } else { queue.nobody(&task); false };
/// }
/// assert_eq!(queue.len(), 2, "one of that customer's at a time");
/// queue.ended(&1);
/// assert_eq!(queue.first(), Some((&2, &"translate")));
/// # Ok::<(), synod_fleet::queue::Refused>(())
/// ```
#[derive(Clone, Debug)]
pub struct Queue<L, T> {
    settings: Settings,
    lines: Vec<Line<L, T>>,
    free: Vec<u32>,
    numbers: BTreeMap<LineKey<L>, u32>,
    tasks: BTreeMap<T, (u32, Due)>,
    running: BTreeMap<T, Vec<u32>>,
    turns: Turns,
    limits: Limits,
    /// Lines whose permits are being asked for, and for whom.
    asking: BTreeMap<u32, T>,
    /// Lines whose permits cannot be asked for.
    off: BTreeSet<u32>,
}

impl<L: Ord + Clone, T: Ord + Clone> Default for Queue<L, T> {
    fn default() -> Self {
        Queue::new(Settings::default())
    }
}

impl<L: Ord + Clone, T: Ord + Clone> Queue<L, T> {
    /// An empty one.
    pub fn new(settings: Settings) -> Queue<L, T> {
        Queue {
            settings,
            lines: Vec::new(),
            free: Vec::new(),
            numbers: BTreeMap::new(),
            tasks: BTreeMap::new(),
            running: BTreeMap::new(),
            turns: Turns::default(),
            limits: Limits::new(settings.per_key),
            asking: BTreeMap::new(),
            off: BTreeSet::new(),
        }
    }

    /// A task waits from now on. One that waits already is moved; one that runs gives its permits back first.
    pub fn push(&mut self, task: T, waiting: Waiting<L>) {
        self.remove(&task);
        self.ended(&task);
        let due = Due::of(&waiting, self.settings.aging_ms);
        let priority = usize::from(waiting.priority.min(TOP));
        let permits = self.limits.numbers(waiting.permits);
        let key = LineKey { workspace: waiting.workspace, what: waiting.line, permits };
        let number = match self.numbers.get(&key) {
            Some(number) => {
                self.limits.let_go(&key.permits);
                *number
            }
            None => self.begin(key),
        };
        let line = &mut self.lines[number as usize];
        line.tasks.insert((due, task.clone()), priority as u8);
        line.by_priority[priority] += 1;
        self.turns.count(line.space, 1);
        self.tasks.insert(task, (number, due));
        self.head_changed(number);
    }

    fn begin(&mut self, key: LineKey<L>) -> u32 {
        let space = self.turns.space(&key.workspace);
        self.turns.hold(space);
        let line = Line::new(key.clone(), space);
        let number = match self.free.pop() {
            Some(number) => {
                self.lines[number as usize] = line;
                number
            }
            None => {
                self.lines.push(line);
                (self.lines.len() - 1) as u32
            }
        };
        self.numbers.insert(key, number);
        number
    }

    /// A task waits no longer: it is cancelled, or its time is over. Returns whether it did.
    pub fn remove(&mut self, task: &T) -> bool {
        let asked = self.asks(task);
        let Some((number, due)) = self.tasks.remove(task) else { return false };
        if asked {
            self.answered(number);
            self.stand(number, Standing::Ready);
        }
        let line = &mut self.lines[number as usize];
        if let Some(priority) = line.tasks.remove(&(due, task.clone())) {
            line.by_priority[usize::from(priority)] -= 1;
        }
        self.turns.count(line.space, -1);
        self.head_changed(number);
        true
    }

    /// Whose turn it is, and what it waits for. Then say what came of it: [`Queue::started`], [`Queue::nobody`] or
    /// [`Queue::remove`]; else it is offered again.
    pub fn first(&mut self) -> Option<(&T, &L)> {
        loop {
            let number = self.turns.first()?;
            let Some(limit) = self.limits.first_out(&self.lines[number as usize].key.permits) else {
                let line = &self.lines[number as usize];
                return line.tasks.first_key_value().map(|((_, task), _)| (task, &line.key.what));
            };
            self.stand(number, Standing::Asleep(limit));
        }
    }

    /// A task runs: it takes its permits, and its workspace has had a turn. Returns whether it had waited.
    pub fn started(&mut self, task: &T, now_ms: u64) -> bool {
        let Some((number, _)) = self.tasks.get(task).copied() else { return false };
        if self.asks(task) {
            self.answered(number);
            self.stand(number, Standing::Ready);
        }
        let line = &mut self.lines[number as usize];
        line.pace.moved(now_ms);
        let (space, permits) = (line.space, line.key.permits.clone());
        self.turns.took(space);
        self.limits.take(&permits);
        self.running.insert(task.clone(), permits);
        self.remove(task)
    }

    /// A task runs that did not wait here: it takes its permits, more than there are if need be.
    pub fn running(&mut self, task: T, permits: Vec<Permit>) {
        self.remove(&task);
        self.ended(&task);
        let permits = self.limits.numbers(permits);
        self.limits.take(&permits);
        self.limits.let_go(&permits);
        self.running.insert(task, permits);
    }

    /// A task no longer runs: its permits come back. Returns whether it did.
    pub fn ended(&mut self, task: &T) -> bool {
        let Some(permits) = self.running.remove(task) else { return false };
        self.limits.give_back(&permits);
        self.wake(&permits);
        self.limits.let_go(&permits);
        true
    }

    /// Nobody was found for this task, so nobody for any of its line: it is set aside until there is [`room`](Queue::room).
    pub fn nobody(&mut self, task: &T) {
        if let Some((number, _)) = self.tasks.get(task).copied() {
            let permits = self.answered(number);
            self.stand(number, Standing::Aside);
            self.wake(&permits);
        }
    }

    /// Whether this task waits.
    pub fn waits(&self, task: &T) -> bool {
        self.tasks.contains_key(task)
    }

    /// There may be room again for these lines.
    pub fn room(&mut self, whom: impl Fn(&L) -> bool) {
        for number in self.turns.aside() {
            if whom(&self.lines[number as usize].key.what) {
                self.stand(number, Standing::Ready);
            }
        }
    }

    /// How many permits of this kind there are; `None`: as many as are wanted, or for a key what the settings say.
    pub fn set_limit(&mut self, permit: &Permit, most: Option<u32>) {
        let number = self.limits.set(permit, most);
        self.wake(&[number]);
        self.limits.let_go(&[number]);
    }

    /// A workspace's weight in relation to others, 1 unless set; 0 counts as 1.
    pub fn set_weight(&mut self, workspace: &Workspace, weight: u32) {
        self.turns.set_weight(workspace, weight);
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.tasks.len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// How many wait in this workspace.
    pub fn waiting_in(&self, workspace: &Workspace) -> usize {
        self.turns.waiting(workspace)
    }

    /// How many permits of this kind are out.
    pub fn in_use(&self, permit: &Permit) -> u32 {
        self.limits.in_use(permit)
    }

    /// Why this task waits; `None`: it does not.
    pub fn why(&self, task: &T) -> Option<Why> {
        let (number, _) = self.tasks.get(task)?;
        let line = &self.lines[*number as usize];
        Some(match line.standing {
            Standing::Aside => Why::Nobody,
            Standing::Off => Why::Unknown,
            // What one of the line asks for counts as taken: it is not what the others wait for.
            Standing::Asking => Why::Turn,
            _ => match self.limits.first_out(&line.key.permits) {
                Some(limit) => Why::Limit(self.limits.permit(limit).clone()),
                None => Why::Turn,
            },
        })
    }

    /// The first of a line is another, or there is none: it stands where it now belongs.
    fn head_changed(&mut self, number: u32) {
        let line = &self.lines[number as usize];
        if !line.tasks.is_empty() {
            let is_new = line.standing == Standing::Gone;
            self.stand(number, if is_new { Standing::Ready } else { line.standing });
            return;
        }
        self.stand(number, Standing::Gone);
        let line = &mut self.lines[number as usize];
        let (space, permits) = (line.space, line.key.permits.clone());
        self.numbers.remove(&line.key);
        self.free.push(number);
        self.turns.release(space);
        self.limits.let_go(&permits);
    }

    /// Puts a line where it is to stand, with the rank of its first; and wakes others who may go where it could not.
    fn stand(&mut self, number: u32, standing: Standing) {
        let line = &mut self.lines[number as usize];
        let before = std::mem::replace(&mut line.standing, standing);
        let (due, now_due) = (line.due, line.first_due());
        line.due = now_due;
        self.turns.moved(line.space, number, (before, due), (standing, line.due));
        if let Standing::Asleep(limit) = before {
            self.limits.up(limit, due, number);
        }
        if let Standing::Asleep(limit) = standing {
            self.limits.down(limit, line.due, number);
        }
        if before == Standing::Off {
            self.off.remove(&number);
        }
        if standing == Standing::Off {
            self.off.insert(number);
        }
        let was_ready = i64::from(before == Standing::Ready);
        let change = i64::from(standing == Standing::Ready) - was_ready;
        if change != 0 {
            let permits = line.key.permits.clone();
            self.limits.ready(&permits, change);
            if change < 0 {
                self.wake(&permits);
            }
        }
    }

    /// Wakes as many lines as may find a permit now.
    fn wake(&mut self, permits: &[u32]) {
        for limit in permits {
            while let Some(number) = self.limits.to_wake(*limit) {
                self.stand(number, Standing::Ready);
            }
        }
    }
}
