//! The team: one gathers, one researches, one is an expert, one writes the answer.

use crate::text::{Found, Passage, best, passages, words};
use agent_sdk::{Agent, Context, Mesh, RunningAgent, TaskError};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::Path;

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
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) source: String,
    pub(crate) by: String,
}

/// What bakers say, and what the documents say for it.
const JARGON: [(&str, &str); 3] = [("spring", "grows"), ("proof", "rises"), ("poolish", "sourdough")];

/// What stands in these documents; names of files of the shipped folder, and no others.
fn read(documents: &[String]) -> Result<Vec<Passage>, TaskError> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/documents");
    let mut all = Vec::new();
    for name in documents {
        if Path::new(name).file_name().is_none_or(|file| file != name.as_str()) {
            return Err(TaskError::permanent("no_such_file", format!("{name:?} is no name of a file")));
        }
        let unusable = |e: std::io::Error| TaskError::retryable("file", format!("{name}: {e}"));
        all.extend(passages(name, &std::fs::read_to_string(folder.join(name)).map_err(unusable)?));
    }
    Ok(all)
}

/// The passages that have anything to do with the question.
async fn gather(_: Context, asked: Gathering) -> Result<Vec<Passage>, TaskError> {
    let wanted = words(&asked.question);
    let has_any = |passage: &Passage| words(&passage.text).iter().any(|word| wanted.contains(word));
    Ok(read(&asked.documents)?.into_iter().filter(has_any).collect())
}

/// The best of them; as sure as the question is covered by it.
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
    let found = best(&wanted, &read(&asked.documents)?);
    Ok(if found.share > asked.found.share { found } else { asked.found })
}

async fn answer(_: Context, said: Answering) -> Result<Answer, TaskError> {
    let by = if said.advice.is_some() { "expert" } else { "researcher" };
    let nothing = || TaskError::permanent("nothing_found", "the documents say nothing about it");
    let passage = said.advice.unwrap_or(said.found).passage.ok_or_else(nothing)?;
    Ok(Answer { text: passage.text, source: passage.file, by: by.to_owned() })
}

/// Starts all of them.
pub(crate) async fn start(mesh: &Mesh) -> Result<Vec<RunningAgent>, Box<dyn Error>> {
    let agents = [
        Agent::builder("gatherer").capability("team.gather", gather),
        Agent::builder("researcher").capability("team.research", research),
        Agent::builder("expert").capability("team.expert", advise),
        Agent::builder("writer").capability("team.answer", answer),
    ];
    let mut running = Vec::new();
    for agent in agents {
        running.push(agent.build(mesh)?.start().await?);
    }
    Ok(running)
}
