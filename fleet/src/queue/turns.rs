//! Whose turn it is among the workspaces, and in a workspace among its lines.

use super::line::{Due, Standing};
use std::collections::{BTreeMap, BTreeSet};
use synod_protocol::Workspace;

/// A turn of weight 1 is so long.
const TURN: u128 = 1 << 64;

#[derive(Clone, Debug, Default)]
pub(super) struct Turns {
    numbers: BTreeMap<Workspace, u32>,
    all: Vec<Space>,
    free: Vec<u32>,
    weights: BTreeMap<Workspace, u32>,
    /// Workspaces with a line on its feet, by whose turn it is.
    ready: BTreeSet<(u128, u32)>,
    /// Workspaces without any line, until the others have caught up with them.
    resting: BTreeSet<(u128, u32)>,
    aside: BTreeSet<u32>,
    /// Up to here all have had their turns.
    now: u128,
    /// The last turn that anyone has been given.
    latest: u128,
}

#[derive(Clone, Debug)]
struct Space {
    workspace: Workspace,
    /// When it is its turn.
    turn: u128,
    ready: BTreeSet<(Due, u32)>,
    lines: usize,
    waiting: usize,
}

impl Turns {
    /// The number of a workspace.
    pub(super) fn space(&mut self, workspace: &Workspace) -> u32 {
        if let Some(number) = self.numbers.get(workspace) {
            return *number;
        }
        let space = Space {
            workspace: workspace.clone(),
            turn: self.now,
            ready: BTreeSet::new(),
            lines: 0,
            waiting: 0,
        };
        let number = match self.free.pop() {
            Some(number) => {
                self.all[number as usize] = space;
                number
            }
            None => {
                self.all.push(space);
                (self.all.len() - 1) as u32
            }
        };
        self.numbers.insert(workspace.clone(), number);
        number
    }

    /// It has one line more.
    pub(super) fn hold(&mut self, number: u32) {
        let space = &mut self.all[number as usize];
        space.lines += 1;
        self.resting.remove(&(space.turn, number));
    }

    /// It has one line less. With the last it rests: what it has had is not forgotten before the others have had as much.
    pub(super) fn release(&mut self, number: u32) {
        let space = &mut self.all[number as usize];
        space.lines -= 1;
        if space.lines == 0 {
            self.resting.insert((space.turn, number));
        }
        while let Some((turn, rested)) = self.resting.first().copied().filter(|(turn, _)| *turn <= self.now) {
            self.resting.remove(&(turn, rested));
            self.numbers.remove(&self.all[rested as usize].workspace);
            self.free.push(rested);
        }
    }

    pub(super) fn count(&mut self, number: u32, change: isize) {
        let waiting = &mut self.all[number as usize].waiting;
        *waiting = waiting.saturating_add_signed(change);
    }

    pub(super) fn waiting(&self, workspace: &Workspace) -> usize {
        self.numbers.get(workspace).map_or(0, |number| self.all[*number as usize].waiting)
    }

    pub(super) fn set_weight(&mut self, workspace: &Workspace, weight: u32) {
        if weight <= 1 {
            self.weights.remove(workspace);
        } else {
            self.weights.insert(workspace.clone(), weight);
        }
    }

    /// The most urgent line of the workspace whose turn it is.
    pub(super) fn first(&self) -> Option<u32> {
        let (_, space) = self.ready.first()?;
        self.all[*space as usize].ready.first().map(|(_, line)| *line)
    }

    /// A workspace has had a turn.
    pub(super) fn took(&mut self, number: u32) {
        let space = &mut self.all[number as usize];
        let weight = self.weights.get(&space.workspace).copied().unwrap_or(1);
        let before = space.turn;
        // Not beyond whose turn it really is: it may be told of one that was not offered.
        let first = self.ready.first().map_or(before, |(turn, _)| *turn);
        self.now = self.now.max(before.min(first));
        space.turn += TURN / u128::from(weight);
        self.latest = self.latest.max(space.turn);
        if self.ready.remove(&(before, number)) {
            self.ready.insert((space.turn, number));
        }
    }

    /// Lines for which nobody was found.
    pub(super) fn aside(&self) -> Vec<u32> {
        self.aside.iter().copied().collect()
    }

    /// A line stands elsewhere, or its first is another.
    pub(super) fn moved(&mut self, number: u32, line: u32, from: (Standing, Due), to: (Standing, Due)) {
        let space = &mut self.all[number as usize];
        if self.ready.remove(&(space.turn, number)) {
            space.ready.remove(&(from.1, line));
        } else {
            // What it did not use while it could not is not made up for.
            space.turn = space.turn.max(self.now);
        }
        if from.0 == Standing::Aside {
            self.aside.remove(&line);
        }
        match to.0 {
            Standing::Ready => {
                space.ready.insert((to.1, line));
            }
            Standing::Aside => {
                self.aside.insert(line);
            }
            Standing::Asleep(_) | Standing::Asking | Standing::Off | Standing::Gone => {}
        }
        if !space.ready.is_empty() {
            self.ready.insert((space.turn, number));
        }
        if self.ready.is_empty() {
            // Nothing is left that could start: all begin even again.
            self.now = self.latest;
        }
    }
}
