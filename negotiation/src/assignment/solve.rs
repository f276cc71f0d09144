//! Shortest augmenting paths with potentials, over whole numbers.
//!
//! Tasks are rows, agents columns with as many places as they take tasks, and one more column, `nobody`, has a place for every
//! task at a price above all that can be saved elsewhere: so as many pairs as can be come first. One task after the other is
//! added, along the shortest path of changes (Dijkstra on reduced costs): O(tasks² · agents). Source: Jonker and Volgenant,
//! *A Shortest Augmenting Path Algorithm for Dense and Sparse Linear Assignment Problems* (Computing 38, 1987); for columns of
//! several places the path goes on from every task that stands there.
//!
//! ```text
//!   cost[t][a] >= row[t] + column[a]      with equality ("tight") wherever t is with a
//!   column[a] <= 0                        with equality wherever a has a place left
//! ```
//!
//! Whatever assignment keeps these two costs the least, and only such: so the best ones are those along tight pairs, and the one
//! that comes first is found among them by changing places in circles.

/// What each task costs with each agent; the last column is `nobody`.
pub(super) struct Grid {
    tasks: usize,
    columns: usize,
    cost: Vec<i128>,
}

/// No such pair.
const FORBIDDEN: i128 = i128::MAX;

impl Grid {
    /// Of `costs[agent][task]`, each from 0 to less than 2^95.
    pub(super) fn new(costs: &[Vec<Option<i128>>], tasks: usize) -> Grid {
        let greatest = costs.iter().flatten().flatten().max().copied().unwrap_or(0);
        let nobody = greatest * tasks as i128 + 1;
        let mut cost = Vec::with_capacity(tasks * (costs.len() + 1));
        for task in 0..tasks {
            cost.extend(costs.iter().map(|row| row[task].unwrap_or(FORBIDDEN)));
            cost.push(nobody);
        }
        Grid { tasks, columns: costs.len() + 1, cost }
    }

    fn row(&self, task: usize) -> &[i128] {
        &self.cost[task * self.columns..][..self.columns]
    }
}

/// Who does each task; of all best assignments the first, task by task in the order of the agents, nobody last.
pub(super) fn solve(grid: &Grid, places: &[usize]) -> Vec<Option<usize>> {
    let mut plan = Plan::new(grid, places);
    for task in 0..grid.tasks {
        plan.add(task);
    }
    plan.come_first();
    let nobody = places.len();
    plan.column_of.iter().map(|&column| (column < nobody).then_some(column)).collect()
}

/// Not yet anywhere.
const NOWHERE: usize = usize::MAX;

/// Where one task too many in a column goes.
#[derive(Clone, Copy)]
enum Way {
    /// It cannot.
    None,
    /// It fills the place that is to be filled.
    Here,
    /// A later task goes to another column instead.
    Task { later: usize, to: usize },
    /// It takes an empty place, and one comes empty in another column, which may have empty ones.
    Place { to: usize },
}

struct Plan<'a> {
    grid: &'a Grid,
    /// How many tasks may stand in each column.
    places: Vec<usize>,
    row: Vec<i128>,
    column: Vec<i128>,
    column_of: Vec<usize>,
    /// Which tasks stand in each column.
    stand: Vec<Vec<usize>>,
}

impl<'a> Plan<'a> {
    fn new(grid: &'a Grid, places: &[usize]) -> Plan<'a> {
        let mut places = places.to_vec();
        places.push(grid.tasks);
        Plan {
            grid,
            places,
            row: vec![0; grid.tasks],
            column: vec![0; grid.columns],
            column_of: vec![NOWHERE; grid.tasks],
            stand: vec![Vec::new(); grid.columns],
        }
    }

    fn has_place(&self, column: usize) -> bool {
        self.stand[column].len() < self.places[column]
    }

    /// Adds a task at the least cost of all changes that this takes.
    fn add(&mut self, task: usize) {
        let columns = self.grid.columns;
        let mut distance = vec![FORBIDDEN; columns];
        let mut via = vec![NOWHERE; columns];
        let mut open: Vec<usize> = (0..columns).collect();
        let mut closed: Vec<usize> = Vec::new();
        // Tasks on the way, each with how far it is.
        let mut reached = vec![(task, 0)];
        let mut looked_at = 0;
        let (end, length) = loop {
            for &(task, far) in &reached[looked_at..] {
                self.look(task, far, &open, &mut distance, &mut via);
            }
            looked_at = reached.len();
            // Nobody has a place for every task, so there is always one at a finite distance.
            // Of equally near ones one with a place ends the search at once.
            let near = |&n: &usize| (distance[open[n]], !self.has_place(open[n]), open[n]);
            let Some(nearest) = (0..open.len()).min_by_key(near) else { return };
            let column = open[nearest];
            if self.has_place(column) {
                break (column, distance[column]);
            }
            open.swap_remove(nearest);
            closed.push(column);
            reached.extend(self.stand[column].iter().map(|&task| (task, distance[column])));
        };
        for (task, far) in reached {
            self.row[task] += length - far;
        }
        for column in closed {
            self.column[column] -= length - distance[column];
        }
        let mut column = end;
        while column != NOWHERE {
            column = self.put(via[column], column);
        }
    }

    /// What is nearer by way of this task.
    fn look(&self, task: usize, far: i128, open: &[usize], distance: &mut [i128], via: &mut [usize]) {
        let (costs, so_far) = (self.grid.row(task), far - self.row[task]);
        for &column in open {
            if costs[column] == FORBIDDEN {
                continue;
            }
            let there = costs[column] + so_far - self.column[column];
            if there < distance[column] {
                distance[column] = there;
                via[column] = task;
            }
        }
    }

    /// Puts a task into a column; where it stood before.
    fn put(&mut self, task: usize, column: usize) -> usize {
        let before = std::mem::replace(&mut self.column_of[task], column);
        if before != NOWHERE {
            self.stand[before].retain(|&other| other != task);
        }
        self.stand[column].push(task);
        before
    }

    /// The columns in which this task can stand in some best assignment as far as costs go.
    fn tight(&self, task: usize) -> Vec<usize> {
        let (costs, row) = (self.grid.row(task), self.row[task]);
        let is_tight = |c: usize| costs[c] != FORBIDDEN && costs[c] == row + self.column[c];
        (0..self.grid.columns).filter(|&c| is_tight(c)).collect()
    }

    /// Of the assignments that cost the same, goes to the one that comes first.
    fn come_first(&mut self) {
        let columns_of: Vec<Vec<usize>> = (0..self.grid.tasks).map(|task| self.tight(task)).collect();
        let mut tasks_of = vec![Vec::new(); self.grid.columns];
        for (task, columns) in columns_of.iter().enumerate() {
            for &column in columns {
                tasks_of[column].push(task);
            }
        }
        for (task, columns) in columns_of.iter().enumerate() {
            let now = self.column_of[task];
            if columns.first() == Some(&now) {
                continue;
            }
            let ways = self.ways(task, &tasks_of);
            let leads = |column: usize| !matches!(ways[column], Way::None);
            let Some(&first) = columns.iter().take_while(|&&c| c != now).find(|&&c| leads(c)) else {
                continue;
            };
            self.put(task, first);
            let mut column = first;
            loop {
                column = match ways[column] {
                    Way::Task { later, to } => {
                        self.put(later, to);
                        to
                    }
                    Way::Place { to } => to,
                    Way::Here | Way::None => break,
                }
            }
        }
    }

    /// For each column, how one task too many there can be passed on until it fills the place that `task` leaves.
    fn ways(&self, task: usize, tasks_of: &[Vec<usize>]) -> Vec<Way> {
        let now = self.column_of[task];
        let mut ways = vec![Way::None; self.grid.columns];
        let mut queue = vec![now];
        ways[now] = Way::Here;
        let mut next = 0;
        while let Some(&to) = queue.get(next) {
            next += 1;
            let mut reach = |from: usize, way: Way| {
                if matches!(ways[from], Way::None) {
                    ways[from] = way;
                    queue.push(from);
                }
            };
            for &later in tasks_of[to].iter().filter(|&&other| other > task) {
                reach(self.column_of[later], Way::Task { later, to });
            }
            if self.column[to] == 0 {
                let empty = (0..self.grid.columns).filter(|&from| self.has_place(from));
                empty.for_each(|from| reach(from, Way::Place { to }));
            }
        }
        ways
    }
}
