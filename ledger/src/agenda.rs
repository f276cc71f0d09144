//! What a shard does of its own accord, in order: timers that are due, tasks of agents that are gone, tasks that
//! wait. Nothing of it before the commands that stood in the topic at the claim have been handled.

use crate::decide::Input;
use crate::state::{Line, State, TaskKey};
use std::collections::VecDeque;
use synod_fleet::Fleet;
use synod_protocol::Timestamp;

/// Lines of waiting tasks that are looked at before other things have their turn.
const LINES_A_TURN: usize = 256;

/// What is to be done, and how far it has come.
#[derive(Debug)]
pub(crate) struct Agenda {
    catching_up: bool,
    check_holders: bool,
    dispatch: bool,
    gone: VecDeque<Input>,
    /// The timer that was fired last; one that does not go away by it must not be fired for ever.
    fired: Option<(Timestamp, TaskKey)>,
    /// The line that was looked at last, and how many waited then.
    line: Option<Line>,
    asked: Option<usize>,
    looked_at: usize,
    /// Lines that this round has still to look at.
    left: usize,
}

impl Default for Agenda {
    fn default() -> Agenda {
        Agenda {
            catching_up: true,
            check_holders: true,
            dispatch: true,
            gone: VecDeque::new(),
            fired: None,
            line: None,
            asked: None,
            looked_at: 0,
            left: 0,
        }
    }
}

/// What comes next.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "it is taken apart where it is made, and an input needs no box for that"
)]
pub enum Next {
    /// This input is to be handled; then ask again.
    Input(Input),
    /// Nothing until something else happens, or the next deadline.
    Nothing,
    /// There is more to do; other inputs may have their turn first.
    Later,
    /// Firing this task's timer changed nothing, which the core never does.
    Stuck(TaskKey),
}

impl Agenda {
    pub(crate) fn is_catching_up(&self) -> bool {
        self.catching_up
    }

    pub(crate) fn caught_up(&mut self) {
        self.catching_up = false;
    }

    pub(crate) fn fleet_changed(&mut self) {
        self.check_holders = true;
        self.dispatch = true;
    }

    pub(crate) fn there_is_room(&mut self) {
        self.dispatch = true;
    }

    /// `room`: whether more may be appended now; timers are fired all the same.
    pub(crate) fn next(&mut self, state: &mut State, now: Timestamp, fleet: &dyn Fleet, room: bool) -> Next {
        if self.catching_up {
            return Next::Nothing;
        }
        if let Some(due) = state.timers.first().filter(|(at, _)| *at <= now).cloned() {
            if self.fired.as_ref() == Some(&due) {
                return Next::Stuck(due.1);
            }
            self.fired = Some(due.clone());
            self.dispatch = true;
            return Next::Input(Input::Due(due.1));
        }
        self.fired = None;
        if let Some((_, key)) = state.agent_timers.first().filter(|(at, _)| *at <= now) {
            // Its event takes the timer away: it is fired once.
            return Next::Input(Input::AgentDue(key.clone()));
        }
        self.dispatch |= state.wake_retries(now);
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
        if room { self.dispatch(state) } else { Next::Nothing }
    }

    /// The first of the next line, as long as somebody is found; a turn looks at so many lines and the next goes on
    /// behind them, so that no line waits for ever behind those that nobody can serve.
    fn dispatch(&mut self, state: &State) -> Next {
        if std::mem::take(&mut self.dispatch) {
            self.left = state.waiting.len();
        }
        let waiting = state.waiting();
        let mut stay = self.asked.take().is_some_and(|before| waiting < before);
        while stay || self.left > 0 {
            if !std::mem::take(&mut stay) {
                if self.looked_at == LINES_A_TURN {
                    self.looked_at = 0;
                    return Next::Later;
                }
                (self.looked_at, self.left) = (self.looked_at + 1, self.left - 1);
                let next = state.line_after(self.line.as_ref()).or_else(|| state.line_after(None));
                self.line = next.cloned();
            }
            if let Some(key) = self.line.as_ref().and_then(|line| state.first_in(line)) {
                self.asked = Some(waiting);
                return Next::Input(Input::Dispatch(key));
            }
        }
        self.looked_at = 0;
        Next::Nothing
    }
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
            } else if let Some(why) = state
                .task(task)
                .and_then(|known| fleet.halted(&task.workspace, known.submitted.capability.as_ref()))
            {
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
    gone
}
