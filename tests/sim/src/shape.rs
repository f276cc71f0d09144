//! What a definition says of its steps, as the judge of executions reads it: by itself, from the document in the ledger.

use serde_json::Value;
use std::collections::BTreeMap;

/// One doing of a step: its name, and for which items of the maps around it.
pub(crate) type Doing = (String, Vec<u32>);

/// The kinds of steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Task,
    Negotiation,
    Approval,
    /// Time passes.
    Nap,
    /// A signal comes.
    Signal,
    Condition,
    Parallel,
    Sequential,
    Map,
}

/// A step.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) kind: Kind,
    pub(crate) parent: Option<String>,
    pub(crate) is_fallback: bool,
    /// What it waits for: its own dependencies, and the step before it.
    pub(crate) needs: Vec<String>,
    /// The steps within it, in their order; of a condition the first `then` are one way, the rest the other.
    pub(crate) members: Vec<String>,
    pub(crate) then: usize,
    pub(crate) fallback: Option<String>,
    /// Of its members, so many have to be done; all where nothing is said.
    pub(crate) at_least: Option<usize>,
    /// Of its members, so many may be under way.
    pub(crate) width: usize,
    pub(crate) attempts: u32,
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) continues: bool,
    /// What whoever does it is given, before it is filled in.
    pub(crate) given: Value,
    pub(crate) signal: String,
    pub(crate) revises: Option<String>,
    /// In how many maps it stands.
    pub(crate) maps: usize,
}

/// A definition.
#[derive(Debug)]
pub(crate) struct Shape {
    pub(crate) steps: BTreeMap<String, Node>,
    pub(crate) top: Vec<String>,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) output: Option<Value>,
}

impl Shape {
    /// Reads a document.
    ///
    /// # Errors
    /// What the judge has no rule for.
    pub(crate) fn of(definition: &Value) -> Result<Shape, String> {
        let (steps, top) = (BTreeMap::new(), Vec::new());
        let output = definition.get("output").cloned();
        let deadline_ms = definition["deadline_ms"].as_u64();
        let mut shape = Shape { steps, top, deadline_ms, output };
        for step in list(&definition["steps"]) {
            let id = shape.add(step, None, None, 0)?;
            shape.top.push(id);
        }
        Ok(shape)
    }

    /// Adds a step and what is within it; its name.
    fn add(
        &mut self,
        step: &Value,
        parent: Option<&str>,
        before: Option<&String>,
        maps: usize,
    ) -> Result<String, String> {
        let id = text(&step["id"]);
        let (kind, of) = kind_of(step).ok_or_else(|| format!("step {id} is of no kind that is known"))?;
        let inner = maps + usize::from(kind == Kind::Map);
        let ways = match kind {
            Kind::Parallel | Kind::Sequential => vec![list(&of["steps"])],
            Kind::Condition => vec![list(&of["then"]), list(&of["else"])],
            Kind::Map => vec![std::slice::from_ref(&of["step"])],
            _ => Vec::new(),
        };
        let mut members = Vec::new();
        for way in &ways {
            let mut before: Option<String> = None;
            for member in *way {
                let in_line = matches!(kind, Kind::Sequential | Kind::Condition);
                let added = self.add(member, Some(&id), before.as_ref().filter(|_| in_line), inner)?;
                before = Some(added.clone());
                members.push(added);
            }
        }
        let fallback = step.get("fallback").map(|fallback| self.add(fallback, Some(&id), None, maps));
        let fallback = fallback.transpose()?;
        if let Some(fallback) = fallback.as_ref().and_then(|fallback| self.steps.get_mut(fallback)) {
            fallback.is_fallback = true;
        }
        let needs = list(&step["depends_on"]).iter().map(text).chain(before.cloned()).collect();
        let all_at_once = if kind == Kind::Map { 16 } else { usize::MAX };
        let attempts = if step.get("retry").is_some() { 3 } else { 1 };
        let node = Node {
            kind,
            parent: parent.map(str::to_owned),
            is_fallback: false,
            needs,
            members,
            then: ways.first().map_or(0, |way| way.len()),
            fallback,
            at_least: of["join"]["at_least"].as_u64().map(|many| many as usize),
            width: of["concurrency"].as_u64().map_or(all_at_once, |width| width as usize),
            attempts: step["retry"]["max_attempts"].as_u64().map_or(attempts, |most| most as u32),
            timeout_ms: step["timeout_ms"].as_u64(),
            continues: step["on_failure"] == "continue",
            given: match kind {
                Kind::Negotiation => of["question"].clone(),
                Kind::Approval => of["show"].clone(),
                _ => of["input"].clone(),
            },
            signal: text(&of["signal"]),
            revises: of["revise"].get("step").map(text),
            maps,
        };
        self.steps.insert(id.clone(), node);
        Ok(id)
    }

    /// A step.
    ///
    /// # Errors
    /// There is none of this name.
    pub(crate) fn node(&self, id: &str) -> Result<&Node, String> {
        self.steps.get(id).ok_or_else(|| format!("there is no step {id}"))
    }

    /// A step, as one for these items sees it.
    pub(crate) fn seen_from(&self, id: &str, items: &[u32]) -> Doing {
        let maps = self.steps.get(id).map_or(0, |node| node.maps);
        (id.to_owned(), items[..maps.min(items.len())].to_vec())
    }

    /// What is around a doing, from the inside out.
    pub(crate) fn around(&self, (id, items): &Doing) -> Vec<Doing> {
        let parent = |id: &String| self.steps.get(id)?.parent.clone();
        let all = std::iter::successors(parent(id), parent);
        all.map(|id| self.seen_from(&id, items)).collect()
    }

    /// Whether a step is another, or stands within it.
    pub(crate) fn is_within(&self, id: &str, other: &str) -> bool {
        id == other || self.around(&(id.to_owned(), Vec::new())).iter().any(|(around, _)| around == other)
    }

    /// Whether a step waits for another, directly or not, by itself or by what is around it.
    pub(crate) fn waits_for(&self, id: &str, other: &str) -> bool {
        let around = self.around(&(id.to_owned(), Vec::new()));
        let all = std::iter::once(id.to_owned()).chain(around.into_iter().map(|(id, _)| id));
        let needs = all.filter_map(|id| self.steps.get(&id)).flat_map(|node| &node.needs);
        needs.into_iter().any(|need| self.is_within(other, need) || self.waits_for(need, other))
    }

    /// Whether anything waits for a step.
    pub(crate) fn is_needed(&self, id: &str) -> bool {
        self.steps.values().any(|node| node.needs.iter().any(|need| need == id))
    }
}

fn kind_of(step: &Value) -> Option<(Kind, &Value)> {
    let named = [
        ("task", Kind::Task),
        ("negotiation", Kind::Negotiation),
        ("approval", Kind::Approval),
        ("condition", Kind::Condition),
        ("parallel", Kind::Parallel),
        ("sequential", Kind::Sequential),
        ("map", Kind::Map),
    ];
    if let Some(wait) = step.get("wait") {
        let kind = if wait.get("signal").is_some() { Kind::Signal } else { Kind::Nap };
        return Some((kind, wait));
    }
    named.into_iter().find_map(|(name, kind)| Some((kind, step.get(name)?)))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
