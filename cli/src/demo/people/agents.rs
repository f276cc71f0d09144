//! Who works in the scene, in this process: each really does its work over the shipped documents. Nobody is a language model; they
//! count words.

use super::PeopleError;
use super::markdown::{Outline, Wishes, outline, page};
use super::text::{Found, Passage, best, passages, words};
use agent_sdk::{Agent, AgentBuilder, Context, Mesh, RunningAgent, TaskError};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// The documents, by the names that the workflows know them by: short texts about baking, written for these examples.
pub(super) const DOCUMENTS: [(&str, &str); 3] = [
    ("bread.md", include_str!("given/bread.md")),
    ("yeast.md", include_str!("given/yeast.md")),
    ("ovens.md", include_str!("given/ovens.md")),
];

/// What bakers say, and what the documents say for it: all that the expert knows.
const JARGON: [(&str, &str); 3] = [("spring", "grows"), ("proof", "rises"), ("poolish", "sourdough")];

fn document(name: &str) -> Result<&'static str, TaskError> {
    let found = DOCUMENTS.iter().find(|(shipped, _)| *shipped == name);
    let missing =
        || TaskError::permanent("no_such_document", format!("{name:?} is not among the shipped documents"));
    found.map(|(_, text)| *text).ok_or_else(missing)
}

/// What people said to the revision before.
#[derive(Default, Deserialize)]
struct Feedback {
    #[serde(default)]
    response_data: Option<Wishes>,
}

#[derive(Deserialize)]
struct Drafting {
    outlines: Vec<Outline>,
}

#[derive(Deserialize)]
struct Publication {
    page: String,
    text: String,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Published {
    pub(super) file: PathBuf,
    pub(super) bytes: usize,
}

async fn read(_: Context, name: String) -> Result<Outline, TaskError> {
    let untitled = || TaskError::permanent("untitled", format!("{name} has no title"));
    outline(&name, document(&name)?).ok_or_else(untitled)
}

async fn draft(context: Context, drafting: Drafting) -> Result<String, TaskError> {
    let unreadable = |e: serde_json::Error| TaskError::permanent("feedback", e.to_string());
    let feedback: Feedback =
        context.feedback().map_or(Ok(Feedback::default()), |json| json.to()).map_err(unreadable)?;
    Ok(page(drafting.outlines, feedback.response_data.unwrap_or_default()))
}

fn publish(pages: &Path, publication: &Publication) -> Result<Published, TaskError> {
    let no_file =
        || TaskError::permanent("no_such_file", format!("{:?} is no name of a file", publication.page));
    let name = Path::new(&publication.page).file_name().filter(|name| *name == publication.page.as_str());
    let file = pages.join(name.ok_or_else(no_file)?);
    let unusable = |e: std::io::Error| TaskError::retryable("file", format!("{}: {e}", file.display()));
    // Whole or not at all, also where it is published once more.
    let draft = file.with_extension("draft");
    std::fs::write(&draft, &publication.text).map_err(unusable)?;
    std::fs::rename(&draft, &file).map_err(unusable)?;
    Ok(Published { bytes: publication.text.len(), file })
}

#[derive(Deserialize)]
struct Gathering {
    question: String,
    documents: Vec<String>,
}

#[derive(Deserialize)]
struct Researching {
    question: String,
    passages: Vec<Passage>,
}

/// What the expert is given: what was found counts less than what he knows.
#[derive(Deserialize)]
struct Consulting {
    question: String,
    documents: Vec<String>,
    found: Found,
}

#[derive(Deserialize)]
struct Answering {
    found: Found,
    advice: Option<Found>,
}

/// The answer, and whose it is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Answer {
    pub(super) text: String,
    pub(super) source: String,
    pub(super) by: String,
}

fn all_passages(documents: &[String]) -> Result<Vec<Passage>, TaskError> {
    let mut all = Vec::new();
    for name in documents {
        all.extend(passages(name, document(name)?));
    }
    Ok(all)
}

async fn gather(_: Context, asked: Gathering) -> Result<Vec<Passage>, TaskError> {
    let wanted = words(&asked.question);
    let has_any = |passage: &Passage| words(&passage.text).iter().any(|word| wanted.contains(word));
    Ok(all_passages(&asked.documents)?.into_iter().filter(has_any).collect())
}

/// As sure as the question is covered by the best passage.
async fn research(context: Context, asked: Researching) -> Result<Found, TaskError> {
    let found = best(&words(&asked.question), &asked.passages);
    context.set_confidence(found.share);
    Ok(found)
}

/// The same question in the documents' words, over all of them.
async fn advise(_: Context, asked: Consulting) -> Result<Found, TaskError> {
    let known = |word: String| {
        let meant = JARGON.iter().find(|(said, _)| *said == word);
        meant.map_or(word, |(_, meant)| (*meant).to_owned())
    };
    let wanted: Vec<String> = words(&asked.question).into_iter().map(known).collect();
    let found = best(&wanted, &all_passages(&asked.documents)?);
    Ok(if found.share > asked.found.share { found } else { asked.found })
}

async fn answer(_: Context, said: Answering) -> Result<Answer, TaskError> {
    let by = if said.advice.is_some() { "expert" } else { "researcher" };
    let nothing = || TaskError::permanent("nothing_found", "the documents say nothing about it");
    let passage = said.advice.unwrap_or(said.found).passage.ok_or_else(nothing)?;
    Ok(Answer { text: passage.text, source: passage.file, by: by.to_owned() })
}

/// Starts all of them; what they can do begins with the run's name, so that nobody else on the mesh is given it.
pub(super) async fn start(mesh: &Mesh, run: &str, pages: &Path) -> Result<Vec<RunningAgent>, PeopleError> {
    let pages = pages.to_owned();
    let publish =
        move |_: Context, publication: Publication| std::future::ready(publish(&pages, &publication));
    let agent = |name: &str| Agent::builder(format!("{run}-{name}")).description("synod demo --scene people");
    let can = |what: &str| format!("{run}.{what}");
    let agents: [AgentBuilder; 7] = [
        agent("reader").capability(can("document.outline"), read).concurrency(4),
        agent("drafter").capability(can("document.draft"), draft),
        agent("publisher").capability(can("document.publish"), publish),
        agent("gatherer").capability(can("team.gather"), gather),
        agent("researcher").capability(can("team.research"), research),
        agent("expert").capability(can("team.expert"), advise),
        agent("writer").capability(can("team.answer"), answer),
    ];
    let mut running = Vec::new();
    for agent in agents {
        running.push(agent.build(mesh)?.start().await?);
    }
    Ok(running)
}
