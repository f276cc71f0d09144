//! A definition that was checked: its steps in one list, its graph, its expressions parsed.

use crate::check;
use crate::compiled::Compiled;
use crate::definition::{Definition, Kind, Step, StepId, read};
use crate::expression::Template;
use crate::graph::{Cycle, Graph, Longest};
use crate::problem::{Finds, Problems};
use crate::source::{Format, Node};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use synod_protocol::Json;

/// A checked workflow. Cheap to clone.
///
/// Each step is a node of its [`Graph`], blocks included. A block's steps wait for what the block waits for; the block itself
/// stands for its end, so that it waits for all of its steps. The same holds for a fallback and the step that has it.
#[derive(Clone, Debug)]
pub struct Workflow {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    definition: Definition,
    document: Json,
    hash: String,
    outline: Outline,
    graph: Graph,
    /// Of each step: the steps directly within it, what it waits for before it starts, what waits for that, the maps around.
    children: Vec<Vec<usize>>,
    top: Vec<usize>,
    gates: Vec<BTreeSet<usize>>,
    started_by: Vec<Vec<usize>>,
    maps: Vec<usize>,
    compiled: Vec<Compiled>,
    output: Option<Template>,
}

impl Inner {
    /// Of a definition in which nothing was found to be wrong.
    fn of(definition: Definition, outline: Outline, graph: Graph) -> Inner {
        let numbers = 0..outline.places.len();
        let gates: Vec<_> = numbers.clone().map(|number| outline.gate(&definition, number)).collect();
        let (mut children, mut started_by) = (vec![Vec::new(); gates.len()], vec![Vec::new(); gates.len()]);
        for number in numbers.clone() {
            outline.places[number].parent.into_iter().for_each(|parent| children[parent].push(number));
            gates[number].iter().for_each(|before| started_by[*before].push(number));
        }
        let bodies = |number| {
            let all = std::iter::once(number).chain(outline.around(number));
            all.filter(|at| outline.places[*at].role == Role::Body).count()
        };
        Inner {
            document: definition.to_json().into(),
            hash: definition.hash(),
            top: outline.children(None).collect(),
            maps: numbers.clone().map(bodies).collect(),
            compiled: numbers
                .filter_map(|number| outline.step(&definition, number))
                .map(Compiled::of)
                .collect(),
            output: definition.output.as_ref().and_then(|output| Template::parse(output).ok()),
            definition,
            outline,
            graph,
            children,
            gates,
            started_by,
        }
    }
}

/// What a step is to the block around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// It stands in no block.
    Top,
    /// It stands in a block, beside the others.
    Member,
    /// It stands in a block, behind another.
    Next,
    /// It is what a `map` does for each item.
    Body,
    /// It is done instead of its step.
    Fallback,
}

/// A step's place among the others.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its name.
    pub id: StepId,
    /// The block around it, or the step whose fallback it is.
    pub parent: Option<usize>,
    /// What it is to that.
    pub role: Role,
    /// Levels of blocks around it.
    pub depth: usize,
    /// In the document, as a JSON pointer.
    pub pointer: String,
    /// From the definition, at each level which of the children.
    route: Vec<usize>,
    /// The step before it where one follows another.
    previous: Option<usize>,
}

/// All steps, in the order of the document.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outline {
    pub(crate) places: Vec<Place>,
    pub(crate) numbers: BTreeMap<StepId, usize>,
}

impl Outline {
    pub(crate) fn of(definition: &Definition) -> Outline {
        let mut outline = Outline::default();
        for (i, step) in definition.steps.iter().enumerate() {
            outline.add(step, (None, Role::Top, None), &format!("/steps/{i}"), &[i]);
        }
        outline
    }

    /// Recursion as deep as blocks may be nested.
    fn add(
        &mut self,
        step: &Step,
        (parent, role, previous): (Option<usize>, Role, Option<usize>),
        pointer: &str,
        route: &[usize],
    ) -> usize {
        let number = self.places.len();
        let depth = route.len() - 1;
        self.numbers.entry(step.id.clone()).or_insert(number);
        let place = Place {
            id: step.id.clone(),
            parent,
            role,
            depth,
            pointer: pointer.to_owned(),
            route: route.to_vec(),
            previous,
        };
        self.places.push(place);
        let (mut previous, then) = (None, if let Kind::Condition(c) = &step.kind { c.then.len() } else { 0 });
        for (i, (below, child)) in step.children().into_iter().enumerate() {
            let in_line = matches!(step.kind, Kind::Sequential(_) | Kind::Condition(_));
            // The other branch begins anew.
            let before = if i == then && then > 0 { None } else { previous };
            let (role, before) = match &step.kind {
                _ if below == "/fallback" => (Role::Fallback, None),
                Kind::Map(_) => (Role::Body, None),
                _ if in_line && before.is_some() => (Role::Next, before),
                _ => (Role::Member, None),
            };
            let route: Vec<usize> = route.iter().copied().chain([i]).collect();
            previous =
                Some(self.add(child, (Some(number), role, before), &format!("{pointer}{below}"), &route));
        }
        number
    }

    /// Everything that is around a step, from the inside out.
    pub(crate) fn around(&self, number: usize) -> impl Iterator<Item = usize> {
        std::iter::successors(self.places[number].parent, |at| self.places[*at].parent)
    }

    /// What a step waits for before it starts: its own dependencies, the step before it, and what its block waits for.
    pub(crate) fn gate(&self, definition: &Definition, number: usize) -> BTreeSet<usize> {
        let mut gate = BTreeSet::new();
        for at in std::iter::once(number).chain(self.around(number)) {
            gate.extend(self.places[at].previous);
            let step = self.step(definition, at);
            gate.extend(step.iter().flat_map(|step| &step.depends_on).filter_map(|id| self.numbers.get(id)));
        }
        if self.places[number].role == Role::Fallback {
            let siblings = self.children(self.places[number].parent);
            gate.extend(siblings.filter(|sibling| *sibling != number));
        }
        if self.has_few_neighbours(definition, number) {
            gate.extend(self.needed_within(definition, number));
        }
        gate
    }

    /// Whether it stands in a `parallel` that has not room for all of its steps.
    fn has_few_neighbours(&self, definition: &Definition, number: usize) -> bool {
        let around = self.places[number].parent.and_then(|parent| self.step(definition, parent));
        matches!(around.map(|step| &step.kind), Some(Kind::Parallel(parallel)) if parallel.concurrency.is_some_and(|wide| (wide as usize) < parallel.steps.len()))
    }

    /// What the steps within one wait for outside it. Where there is room for few, a block that holds its place and waits for one
    /// that has none would wait for ever: so it waits for that before it starts.
    fn needed_within(&self, definition: &Definition, number: usize) -> BTreeSet<usize> {
        let depth = self.places[number].depth;
        let inside = number + 1..self.places.len();
        let inside = inside.take_while(|step| self.places[*step].depth > depth);
        let last = inside.clone().last().unwrap_or(number);
        let steps = inside.filter_map(|step| self.step(definition, step));
        let needed = steps.flat_map(|step| &step.depends_on).filter_map(|id| self.numbers.get(id).copied());
        needed.filter(|needed| !(number..=last).contains(needed)).collect()
    }

    /// The steps directly within one, or at the top.
    pub(crate) fn children(&self, parent: Option<usize>) -> impl Iterator<Item = usize> {
        (0..self.places.len()).filter(move |number| self.places[*number].parent == parent)
    }

    pub(crate) fn step<'d>(&self, definition: &'d Definition, number: usize) -> Option<&'d Step> {
        let (first, rest) = self.places.get(number)?.route.split_first()?;
        let top = definition.steps.get(*first)?;
        rest.iter().try_fold(top, |step, i| step.child(*i))
    }

    pub(crate) fn graph(&self, definition: &Definition) -> Graph {
        let mut edges = Vec::new();
        for number in 0..self.places.len() {
            edges.extend(self.gate(definition, number).into_iter().map(|before| (before, number)));
            edges.extend(self.places[number].parent.map(|parent| (number, parent)));
        }
        Graph::new(self.places.len(), edges)
    }
}

impl Workflow {
    /// Reads and checks a text.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place and its mend.
    pub fn parse(text: &str) -> Result<Workflow, Problems> {
        Workflow::parse_as(text, Format::of(text))
    }

    /// As [`Workflow::parse`], where the format is known.
    ///
    /// # Errors
    /// As there.
    pub fn parse_as(text: &str, format: Format) -> Result<Workflow, Problems> {
        let root = Node::read(text, format)?;
        let mut finds = Finds::new(&root);
        let Some(definition) = read::definition(&root, &mut finds) else {
            finds.end()?;
            return Err(Problems::from(root.unreadable()));
        };
        let outline = Outline::of(&definition);
        let graph = outline.graph(&definition);
        check::all(&definition, &outline, &graph, &mut finds);
        finds.end()?;
        Ok(Workflow { inner: Arc::new(Inner::of(definition, outline, graph)) })
    }

    /// The document.
    pub fn definition(&self) -> &Definition {
        &self.inner.definition
    }

    /// The document as JSON, written once: whoever keeps it shares it.
    pub fn document(&self) -> &Json {
        &self.inner.document
    }

    /// The document's fingerprint, to which runs are pinned.
    pub fn hash(&self) -> &str {
        &self.inner.hash
    }

    /// The graph; a step's number is its place in the document.
    pub fn graph(&self) -> &Graph {
        &self.inner.graph
    }

    /// How many steps, blocks included.
    pub fn len(&self) -> usize {
        self.inner.outline.places.len()
    }

    /// Never: a workflow has a step.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A step's number.
    pub fn number(&self, id: &str) -> Option<usize> {
        self.inner.outline.numbers.get(&id.parse::<StepId>().ok()?).copied()
    }

    /// A step's place, if there is such a number.
    pub fn place(&self, number: usize) -> Option<&Place> {
        self.inner.outline.places.get(number)
    }

    /// A step, if there is such a number.
    pub fn step(&self, number: usize) -> Option<&Step> {
        self.inner.outline.step(&self.inner.definition, number)
    }

    /// The steps directly within one, or those at the top.
    pub fn children(&self, parent: Option<usize>) -> impl Iterator<Item = usize> {
        let steps = match parent {
            None => self.inner.top.as_slice(),
            Some(parent) => self.inner.children.get(parent).map_or(&[][..], Vec::as_slice),
        };
        steps.iter().copied()
    }

    /// What a step waits for before it starts; its graph's edges say besides what it waits for before it ends.
    pub fn starts_after(&self, number: usize) -> BTreeSet<usize> {
        self.inner.gates.get(number).cloned().unwrap_or_default()
    }

    /// As [`Workflow::starts_after`], without a copy.
    pub(crate) fn gate(&self, number: usize) -> impl Iterator<Item = usize> {
        self.inner.gates.get(number).into_iter().flatten().copied()
    }

    /// A step and all that is within it, fallbacks included: they stand in the document one after another.
    pub(crate) fn within(&self, number: usize) -> Range<usize> {
        let places = &self.inner.outline.places;
        let depth = places.get(number).map_or(0, |place| place.depth);
        let inside = places.iter().skip(number + 1).take_while(|place| place.depth > depth).count();
        number..number + 1 + inside
    }

    /// The step that is done instead of one.
    pub(crate) fn fallback(&self, number: usize) -> Option<usize> {
        self.children(Some(number)).find(|step| self.role(*step) == Role::Fallback)
    }

    /// What a block consists of, without the fallback of the block.
    pub(crate) fn members(&self, number: Option<usize>) -> impl Iterator<Item = usize> {
        self.children(number).filter(|step| self.role(*step) != Role::Fallback)
    }

    /// The steps that wait for one before they start.
    pub(crate) fn started_by(&self, number: usize) -> &[usize] {
        self.inner.started_by.get(number).map_or(&[], Vec::as_slice)
    }

    /// How many maps are around a step.
    pub(crate) fn maps_around(&self, number: usize) -> usize {
        self.inner.maps.get(number).copied().unwrap_or(0)
    }

    /// A step's expressions.
    pub(crate) fn compiled(&self, number: usize) -> Option<&Compiled> {
        self.inner.compiled.get(number)
    }

    /// The run's output, where the definition says one.
    pub(crate) fn output_template(&self) -> Option<&Template> {
        self.inner.output.as_ref()
    }

    /// An order in which each step comes after all that it waits for; a block stands where it ends.
    pub fn topological_order(&self) -> Vec<&StepId> {
        self.ids(self.checked(self.graph().topological_order()))
    }

    /// Groups of steps that can end at once, with as many agents as there is work.
    pub fn parallel_groups(&self) -> Vec<Vec<&StepId>> {
        self.checked(self.graph().parallel_groups()).into_iter().map(|group| self.ids(group)).collect()
    }

    /// The steps that make the run as long as it is, where each takes as long as `weight` says (any unit; blocks are given
    /// nothing of their own), and how long that is.
    pub fn critical_path(&self, weight: impl Fn(&Step) -> u64) -> (Vec<&StepId>, u64) {
        let of = |number| match self.step(number) {
            Some(step) if self.children(Some(number)).all(|child| self.role(child) == Role::Fallback) => {
                weight(step)
            }
            _ => 0,
        };
        // A fallback is not what is meant to happen.
        let of = |number| if self.is_fallback(number) { 0 } else { of(number) };
        let Longest { path, weight } = self.checked(self.graph().critical_path(of));
        let path = path.into_iter().filter(|number| of(*number) > 0).collect();
        (self.ids(path), weight)
    }

    /// Whether a step could start now, given the steps that are completed or skipped.
    ///
    /// # Errors
    /// What it still waits for.
    pub fn can_execute_step_now(&self, step: &str, settled: &BTreeSet<StepId>) -> Result<(), Blocked> {
        let Some(number) = self.number(step) else { return Err(Blocked::Unknown(step.to_owned())) };
        let id = &self.inner.outline.places[number].id;
        if settled.contains(id) {
            return Err(Blocked::Settled(id.clone()));
        }
        let waits: Vec<StepId> = self
            .starts_after(number)
            .into_iter()
            .map(|before| self.inner.outline.places[before].id.clone())
            .filter(|before| !settled.contains(before))
            .collect();
        if waits.is_empty() { Ok(()) } else { Err(Blocked::Waits(waits)) }
    }

    /// Every step that could start now, given those that are completed or skipped, in the order of the document: blocks and
    /// what is in them. Fallbacks are not among them: whether their turn comes is for the run to say.
    pub fn next_executable_steps(&self, settled: &BTreeSet<StepId>) -> Vec<&StepId> {
        let ready = |number: &usize| {
            let id = &self.inner.outline.places[*number].id;
            !self.is_fallback(*number)
                && !self.inner.outline.around(*number).any(|around| self.is_settled(around, settled))
                && self.can_execute_step_now(id.as_str(), settled).is_ok()
        };
        self.ids((0..self.len()).filter(ready).collect())
    }

    fn is_settled(&self, number: usize, settled: &BTreeSet<StepId>) -> bool {
        settled.contains(&self.inner.outline.places[number].id)
    }

    pub(crate) fn role(&self, number: usize) -> Role {
        self.inner.outline.places[number].role
    }

    /// Whether it is a fallback or within one.
    pub(crate) fn is_fallback(&self, number: usize) -> bool {
        let mut all = std::iter::once(number).chain(self.inner.outline.around(number));
        all.any(|number| self.role(number) == Role::Fallback)
    }

    fn ids(&self, numbers: Vec<usize>) -> Vec<&StepId> {
        numbers.into_iter().map(|number| &self.inner.outline.places[number].id).collect()
    }

    /// A checked graph has no cycle: nothing else makes a [`Workflow`].
    fn checked<T: Default>(&self, answer: Result<T, Cycle>) -> T {
        debug_assert!(answer.is_ok(), "a checked workflow has no cycle");
        answer.unwrap_or_default()
    }
}

/// Why a step cannot start now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Blocked {
    /// There is no such step.
    #[error("there is no step `{0}`")]
    Unknown(String),
    /// It is over.
    #[error("`{0}` is over")]
    Settled(StepId),
    /// Others have to be completed or skipped first.
    #[error("it waits for {}", named(.0))]
    Waits(Vec<StepId>),
}

fn named(ids: &[StepId]) -> String {
    ids.iter().map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ")
}
