//! What is wrong with a definition: where, what, and how to mend it. All of it at once, up to a limit.

use crate::source::{Node, Shape, Spot, Unreadable};
use std::fmt;

/// Problems that are told of one definition: 100.
pub const PROBLEMS_MAX: usize = 100;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// Where, in the text.
    pub spot: Spot,
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// What is wrong, without a full stop.
    pub what: String,
    /// How to mend it, without a full stop.
    pub mend: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", self.spot, self.what, self.mend)
    }
}

/// All that is wrong with a definition, in the order of the text; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", listed(.0))]
pub struct Problems(Vec<Problem>);

fn listed(problems: &[Problem]) -> String {
    problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("\n")
}

impl Problems {
    /// Each, at most [`PROBLEMS_MAX`].
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl From<Unreadable> for Problems {
    fn from(unreadable: Unreadable) -> Problems {
        let Unreadable { spot, what, mend } = unreadable;
        Problems(vec![Problem { spot, pointer: String::new(), what, mend }])
    }
}

/// Problems as they are found, with the tree in which they stand.
pub(crate) struct Finds<'a> {
    root: &'a Node,
    found: Vec<Problem>,
    /// Of those found, the values out of their limits: all else can be checked in spite of them.
    out_of_limits: usize,
}

impl<'a> Finds<'a> {
    pub(crate) fn new(root: &'a Node) -> Finds<'a> {
        Finds { root, found: Vec::new(), out_of_limits: 0 }
    }

    /// Something is wrong at a pointer.
    pub(crate) fn at(
        &mut self,
        pointer: impl Into<String>,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let pointer = pointer.into();
        let spot = self.root.nearest(&pointer).spot;
        self.note(Problem { spot, pointer, what: what.into(), mend: mend.into() });
    }

    /// Something is wrong within the text at a pointer, so many characters in. Where the text is folded or escaped in the
    /// source, the place is where the text begins.
    pub(crate) fn within(
        &mut self,
        pointer: &str,
        at: usize,
        what: impl Into<String>,
        mend: impl Into<String>,
    ) {
        let node = self.root.nearest(pointer);
        let mut spot = node.spot;
        if let Shape::Text { inset: Some(inset), .. } = node.shape {
            spot.column += inset + at;
        }
        self.note(Problem { spot, pointer: pointer.to_owned(), what: what.into(), mend: mend.into() });
    }

    /// Something is wrong with the name of a member, so that the place is that of the name.
    pub(crate) fn named(&mut self, spot: Spot, pointer: String, what: String, mend: String) {
        self.note(Problem { spot, pointer, what, mend });
    }

    fn note(&mut self, problem: Problem) {
        // One more than are told: the last line says that there are more.
        if self.found.len() <= PROBLEMS_MAX && !self.found.contains(&problem) {
            self.found.push(problem);
        }
    }

    /// Looks for values out of their limits.
    pub(crate) fn limits(&mut self, look: impl FnOnce(&mut Self)) {
        let before = self.found.len();
        look(self);
        self.out_of_limits += self.found.len() - before;
    }

    /// Whether everything could be read, be it within its limits or not.
    pub(crate) fn is_read(&self) -> bool {
        self.found.len() == self.out_of_limits
    }

    /// What was found, in the order of the text.
    pub(crate) fn end(mut self) -> Result<(), Problems> {
        if self.found.is_empty() {
            return Ok(());
        }
        let more = self.found.len() > PROBLEMS_MAX;
        self.found.truncate(PROBLEMS_MAX);
        self.found.sort();
        if let (true, Some(last)) = (more, self.found.last_mut()) {
            last.mend.push_str("; there is more, not listed");
        }
        Err(Problems(self.found))
    }
}

/// "did you mean …", or what there is.
pub(crate) fn nearest_of<'a>(meant: &str, there: impl IntoIterator<Item = &'a str>) -> String {
    let there: Vec<&str> = there.into_iter().collect();
    let nearest = there.iter().map(|name| (strsim::osa_distance(meant, name), *name)).min();
    match nearest {
        Some((distance, name)) if distance <= 2 && distance < meant.chars().count() => {
            format!("did you mean `{name}`?")
        }
        _ if there.is_empty() => "leave it out".into(),
        _ if there.len() > 24 => format!("there are {} others, none like it", there.len()),
        _ => format!("there is {}", there.join(", ")),
    }
}
