//! Who works in the pipeline: one reads, one drafts, one publishes.

use crate::markdown::{Outline, Wishes, outline, page};
use agent_sdk::{Agent, Context, Mesh, RunningAgent, TaskError};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::path::{Path, PathBuf};

/// What the drafting agent is given.
#[derive(Deserialize)]
struct Drafting {
    outlines: Vec<Outline>,
}

/// What people said to the revision before.
#[derive(Default, Deserialize)]
struct Feedback {
    #[serde(default)]
    response_data: Option<Wishes>,
}

/// What is to be published.
#[derive(Deserialize)]
struct Publication {
    page: String,
    text: String,
}

/// What was published.
#[derive(Serialize)]
struct Published {
    file: PathBuf,
    bytes: usize,
}

/// Only names of files in that folder.
fn within(folder: &Path, name: &str) -> Result<PathBuf, TaskError> {
    match Path::new(name).file_name() {
        Some(file) if file == name => Ok(folder.join(file)),
        _ => Err(TaskError::permanent("no_such_file", format!("{name:?} is no name of a file"))),
    }
}

fn unusable(file: &Path, error: &std::io::Error) -> TaskError {
    TaskError::retryable("file", format!("{}: {error}", file.display()))
}

async fn draft(context: Context, drafting: Drafting) -> Result<String, TaskError> {
    let unreadable = |e: serde_json::Error| TaskError::permanent("feedback", e.to_string());
    let feedback: Feedback =
        context.feedback().map_or(Ok(Feedback::default()), |json| json.to()).map_err(unreadable)?;
    Ok(page(drafting.outlines, feedback.response_data.unwrap_or_default()))
}

/// Starts all of them; documents are read from one folder, pages written into another.
pub(crate) async fn start(
    mesh: &Mesh,
    documents: &Path,
    pages: &Path,
) -> Result<Vec<RunningAgent>, Box<dyn Error>> {
    let (documents, pages) = (documents.to_owned(), pages.to_owned());
    let read = move |_: Context, name: String| {
        let file = within(&documents, &name);
        async move {
            let file = file?;
            let text = std::fs::read_to_string(&file).map_err(|e| unusable(&file, &e))?;
            let untitled = || TaskError::permanent("untitled", format!("{name} has no title"));
            outline(&name, &text).ok_or_else(untitled)
        }
    };
    let publish = move |_: Context, publication: Publication| {
        let file = within(&pages, &publication.page);
        async move {
            let file = file?;
            // Whole or not at all, also where it is published once more.
            let draft = file.with_extension("draft");
            std::fs::write(&draft, &publication.text).map_err(|e| unusable(&draft, &e))?;
            std::fs::rename(&draft, &file).map_err(|e| unusable(&file, &e))?;
            Ok(Published { file, bytes: publication.text.len() })
        }
    };
    let agents = [
        Agent::builder("reader").capability("document.outline", read).concurrency(4),
        Agent::builder("drafter").capability("document.draft", draft),
        Agent::builder("publisher").capability("document.publish", publish),
    ];
    let mut running = Vec::new();
    for agent in agents {
        running.push(agent.build(mesh)?.start().await?);
    }
    Ok(running)
}
