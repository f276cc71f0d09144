//! Who waits for whom: a directed graph over `0..n`, and what follows from it.
//!
//! Semantics are those of networkx (`topological_generations`, `lexicographical_topological_sort`, `ancestors`,
//! `dag_longest_path`); `tests/vectors/dag.json` holds its results. All orders are by number where they are free, so that the
//! same graph gives the same answers everywhere. Nothing here recurses: a chain of a million is as good as one of ten.

use std::collections::{BTreeSet, VecDeque};

/// A directed graph over `0..len`. An edge `a → b` says that `b` waits for `a`; edges are kept once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    after: Vec<Vec<usize>>,
    before: Vec<Vec<usize>>,
}

/// Some wait for each other.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} wait for each other")]
pub struct Cycle(
    /// Each is before the next, the last before the first; one that waits for itself is alone.
    pub Vec<usize>,
);

/// The heaviest path and its weight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Longest {
    /// From its beginning to its end.
    pub path: Vec<usize>,
    /// The sum of its weights.
    pub weight: u64,
}

impl Graph {
    /// A graph of `len` nodes, `edges` as `(before, after)`. Edges to what is not there are left out, repeated ones kept once.
    pub fn new(len: usize, edges: impl IntoIterator<Item = (usize, usize)>) -> Graph {
        let mut graph = Graph { after: vec![Vec::new(); len], before: vec![Vec::new(); len] };
        let edges: BTreeSet<_> = edges.into_iter().filter(|(a, b)| *a < len && *b < len).collect();
        for (a, b) in edges {
            graph.after[a].push(b);
            graph.before[b].push(a);
        }
        graph
    }

    /// How many nodes.
    pub fn len(&self) -> usize {
        self.after.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.after.is_empty()
    }

    /// What waits for a node itself, ascending.
    pub fn after(&self, node: usize) -> &[usize] {
        &self.after[node]
    }

    /// What a node itself waits for, ascending.
    pub fn before(&self, node: usize) -> &[usize] {
        &self.before[node]
    }

    /// An order in which each comes after all that it waits for: the first such order by number.
    ///
    /// # Errors
    /// A cycle.
    pub fn topological_order(&self) -> Result<Vec<usize>, Cycle> {
        let mut waits: Vec<usize> = self.before.iter().map(Vec::len).collect();
        let mut ready: BTreeSet<usize> = (0..self.len()).filter(|node| waits[*node] == 0).collect();
        let mut order = Vec::with_capacity(self.len());
        while let Some(node) = ready.pop_first() {
            order.push(node);
            for &next in &self.after[node] {
                waits[next] -= 1;
                if waits[next] == 0 {
                    ready.insert(next);
                }
            }
        }
        if order.len() == self.len() { Ok(order) } else { Err(self.first_cycle()) }
    }

    /// Groups that can go at once: first those that wait for nothing, then those that wait for these alone, and so on.
    ///
    /// # Errors
    /// A cycle.
    pub fn parallel_groups(&self) -> Result<Vec<Vec<usize>>, Cycle> {
        let order = self.topological_order()?;
        let mut level = vec![0; self.len()];
        let mut groups: Vec<Vec<usize>> = Vec::new();
        for node in order {
            level[node] = self.before[node].iter().map(|before| level[*before] + 1).max().unwrap_or(0);
            if groups.len() <= level[node] {
                groups.push(Vec::new());
            }
            groups[level[node]].push(node);
        }
        groups.iter_mut().for_each(|group| group.sort_unstable());
        Ok(groups)
    }

    /// Everything that a node waits for, directly or not, ascending; itself only on a cycle.
    pub fn ancestors(&self, node: usize) -> BTreeSet<usize> {
        let mut seen = BTreeSet::new();
        let mut left: Vec<usize> = self.before[node].clone();
        while let Some(before) = left.pop() {
            if seen.insert(before) {
                left.extend(&self.before[before]);
            }
        }
        seen
    }

    /// For each node when it is over at the earliest, with as many hands as there is work: its duration after the last that
    /// it waits for. Sums stop at the greatest number there is.
    ///
    /// # Errors
    /// A cycle.
    pub fn earliest_finish(&self, duration: impl Fn(usize) -> u64) -> Result<Vec<u64>, Cycle> {
        let mut finish = vec![0u64; self.len()];
        for node in self.topological_order()? {
            let start = self.before[node].iter().map(|before| finish[*before]).max().unwrap_or(0);
            finish[node] = start.saturating_add(duration(node));
        }
        Ok(finish)
    }

    /// The path that takes longest: what has to be made shorter for the whole to be shorter. Of several, the one whose end,
    /// then whose next to last and so on, has the least number.
    ///
    /// # Errors
    /// A cycle.
    pub fn critical_path(&self, duration: impl Fn(usize) -> u64) -> Result<Longest, Cycle> {
        self.longest(duration, |_, _| 0)
    }

    /// The path with the greatest sum of the weights of its nodes and edges.
    ///
    /// # Errors
    /// A cycle.
    pub fn longest(
        &self,
        node_weight: impl Fn(usize) -> u64,
        edge_weight: impl Fn(usize, usize) -> u64,
    ) -> Result<Longest, Cycle> {
        let order = self.topological_order()?;
        let mut best: Vec<(u64, Option<usize>)> = vec![(0, None); self.len()];
        for &node in &order {
            let mut here = (0, None);
            for &before in &self.before[node] {
                let so_far = best[before].0.saturating_add(edge_weight(before, node));
                if here.1.is_none() || so_far > here.0 {
                    here = (so_far, Some(before));
                }
            }
            best[node] = (here.0.saturating_add(node_weight(node)), here.1);
        }
        let Some(end) = (0..self.len()).rev().max_by_key(|node| best[*node].0) else {
            return Ok(Longest::default());
        };
        let mut path = vec![end];
        while let Some(before) = path.last().and_then(|node| best[*node].1) {
            path.push(before);
        }
        path.reverse();
        Ok(Longest { path, weight: best[end].0 })
    }

    /// One cycle of each knot of nodes that wait for each other: a shortest through the knot's least node, beginning there.
    pub fn cycles(&self) -> Vec<Cycle> {
        self.knots().into_iter().filter_map(|knot| self.cycle_through(&knot)).collect()
    }

    /// The nodes that stand on some cycle, ascending.
    pub fn nodes_on_cycles(&self) -> Vec<usize> {
        self.knots().into_iter().flatten().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// The nodes whose turn never comes: those on cycles and all that wait for them, ascending.
    pub fn nodes_never_ready(&self) -> Vec<usize> {
        let mut never: BTreeSet<usize> = self.nodes_on_cycles().into_iter().collect();
        let mut left: Vec<usize> = never.iter().copied().collect();
        while let Some(node) = left.pop() {
            left.extend(self.after[node].iter().copied().filter(|next| never.insert(*next)));
        }
        never.into_iter().collect()
    }

    fn first_cycle(&self) -> Cycle {
        self.cycles().into_iter().next().unwrap_or(Cycle(Vec::new()))
    }

    /// A shortest way from the knot's least node back to it.
    fn cycle_through(&self, knot: &[usize]) -> Option<Cycle> {
        let start = *knot.first()?;
        let inside: BTreeSet<usize> = knot.iter().copied().collect();
        let mut came_from = vec![None; self.len()];
        let mut left = VecDeque::from([start]);
        while let Some(node) = left.pop_front() {
            for &next in self.after[node].iter().filter(|next| inside.contains(next)) {
                if next == start {
                    let mut path = vec![node];
                    while let Some(before) = path.last().and_then(|node: &usize| came_from[*node]) {
                        path.push(before);
                    }
                    path.reverse();
                    return Some(Cycle(path));
                }
                if came_from[next].is_none() {
                    came_from[next] = Some(node);
                    left.push_back(next);
                }
            }
        }
        None
    }

    /// The strongly connected components that have a cycle, each ascending, ordered by their least nodes. Kosaraju's way with
    /// stacks of its own.
    fn knots(&self) -> Vec<Vec<usize>> {
        let mut finished = Vec::with_capacity(self.len());
        let mut seen = vec![false; self.len()];
        for root in 0..self.len() {
            let mut stack = vec![(root, 0)];
            if std::mem::replace(&mut seen[root], true) {
                continue;
            }
            while let Some((node, next)) = stack.last_mut() {
                match self.after[*node].get(*next) {
                    Some(&after) => {
                        *next += 1;
                        if !std::mem::replace(&mut seen[after], true) {
                            stack.push((after, 0));
                        }
                    }
                    None => {
                        finished.push(*node);
                        stack.pop();
                    }
                }
            }
        }
        let mut taken = vec![false; self.len()];
        let mut knots = Vec::new();
        for &root in finished.iter().rev() {
            let (mut knot, mut left) = (Vec::new(), vec![root]);
            while let Some(node) = left.pop() {
                if !std::mem::replace(&mut taken[node], true) {
                    knot.push(node);
                    left.extend(self.before[node].iter().filter(|before| !taken[**before]));
                }
            }
            if knot.len() > 1 || knot.first().is_some_and(|node| self.after[*node].contains(node)) {
                knot.sort_unstable();
                knots.push(knot);
            }
        }
        knots.sort();
        knots
    }
}
