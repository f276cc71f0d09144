//! What is played in runs of workflows: four definitions of twenty steps each, and what agents and people do in them.
//!
//! All of it is a function of the run's number and of what a step is given, so that the end of a run that nothing disturbed is
//! known beforehand ([`Undisturbed`]).

mod undisturbed;

pub use undisturbed::{Doing, Undisturbed};

use serde_json::{Value, json};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::LazyLock;
use synod_protocol::approval::Decision;
use synod_workflow::Workflow;

/// The definitions: name and text.
pub const DEFINITIONS: [(&str, &str); 4] = [
    ("chain", include_str!("../../workflows/chain.yaml")),
    ("fan", include_str!("../../workflows/fan.yaml")),
    ("review", include_str!("../../workflows/review.yaml")),
    ("gate", include_str!("../../workflows/gate.yaml")),
];

/// The code of a failure that may be tried again.
pub(crate) const AT_FIRST: &str = "at_first";
/// The code of a failure for good.
pub(crate) const NEVER: &str = "never";
/// Why a step fails.
pub(crate) const SAYS_SO: &str = "the script says so";

/// One run's script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    n: u64,
}

/// What a person does about an approval.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deciding {
    /// Who.
    pub person: &'static str,
    /// In which roles.
    pub roles: &'static [&'static str],
    /// What.
    pub decision: Decision,
}

impl Script {
    /// Of the run with this id, which ends in `-<number>`; none where it does not.
    pub fn of(run: &str) -> Option<Script> {
        Some(Script { n: run.rsplit('-').next()?.parse().ok()? })
    }

    /// Which definition, by its name, and its text.
    pub fn definition(self) -> (&'static str, &'static str) {
        DEFINITIONS[(self.n % 4) as usize]
    }

    /// The same, checked.
    ///
    /// # Errors
    /// All that is wrong with the definition.
    fn workflow(self) -> Result<Workflow, String> {
        static CHECKED: LazyLock<Vec<Result<Workflow, String>>> = LazyLock::new(|| {
            let check = |text| Workflow::parse(text).map_err(|problems| problems.to_string());
            DEFINITIONS.iter().map(|(_, text)| check(text)).collect()
        });
        CHECKED[(self.n % 4) as usize].clone()
    }

    /// What its steps read as `input`.
    pub fn input(self) -> Value {
        json!({"n": self.n, "items": [self.n, self.n + 1, self.n + 2]})
    }

    /// The command that starts it. Every other one brings its definition along; the others need the mesh to know it.
    pub fn start(self, run: &str) -> Value {
        let (name, text) = self.definition();
        let mut start = json!({"execution_id": run, "workflow_id": name, "input": self.input()});
        if (self.n / 4).is_multiple_of(2) {
            start["definition"] = json!(text);
        }
        start
    }

    /// Who decides what about a revision (from 1) of an approval, in this order.
    pub fn decides(self, step: &str, revision: u32) -> Vec<Deciding> {
        let by = |person, roles, decision| Deciding { person, roles, decision };
        let changes = match step {
            "review" => self.n / 4 % 3,
            "close" => self.n / 4 % 2,
            _ => 0,
        };
        if u64::from(revision) <= changes {
            return vec![by("carl", &["editor", "keeper"], Decision::RequestChanges)];
        }
        match step {
            "review" if self.n % 40 == 38 => vec![by("ann", &[], Decision::Reject)],
            "review" => vec![by("ann", &[], Decision::Approve)],
            "legal" => vec![by("ann", &[], Decision::Approve), by("bob", &[], Decision::Approve)],
            "finance" => vec![by("dora", &["finance"], Decision::Approve)],
            _ => vec![by("carl", &["keeper"], Decision::Approve)],
        }
    }

    /// What a person says with it.
    pub fn comment(self, step: &str, revision: u32) -> String {
        format!("{step} {revision} of {}", self.n)
    }

    /// The signal that comes when this approval is asked: name and payload.
    pub fn signal(self, step: &str) -> Option<(&'static str, Value)> {
        (step == "opened").then(|| ("go", json!({"from": self.n})))
    }
}

/// The step, and whether it is the first attempt, of a child's id: `<run>:<step>[i]:<attempt>`.
pub fn step_of(child: &str) -> (&str, bool) {
    let path = child.split_once(':').map_or(child, |(_, path)| path);
    let (place, again) = path.split_once(':').map_or((path, false), |(place, _)| (place, true));
    (&place[..place.find('[').unwrap_or(place.len())], !again)
}

/// What an agent makes of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A result.
    Value(Value),
    /// A failure that may be tried again.
    Fails,
    /// A failure for good.
    Never,
}

/// What comes of a child task: by its step, what it was given and what people wanted otherwise; which attempt it is matters only
/// to what fails at first. None where its input is no step's.
pub fn answer(child: &str, input: &Value, feedback: Option<&Value>) -> Option<Answer> {
    let of = input.get("of")?;
    let (step, is_first) = step_of(child);
    match input["fails"].as_str() {
        Some("always") => return Some(Answer::Never),
        Some("first") if is_first => return Some(Answer::Fails),
        Some("shape") if is_first => return Some(Answer::Value(json!("no number"))),
        _ => {}
    }
    let wanted = feedback.map(|feedback| (&feedback["revision"], &feedback["comment"]));
    let mut hasher = DefaultHasher::new();
    (step, of.to_string(), wanted.map(|(revision, comment)| format!("{revision} {comment}")))
        .hash(&mut hasher);
    Some(Answer::Value(json!(hasher.finish() % 1_000_000)))
}
