//! `synod workflow …`: look at a definition before anything runs, which needs no mesh; define it, and run it.

mod mesh;

use super::place::Place;
use super::text;
use crate::output::{Format, Output, Stop};
use crate::settings::Flags;
use clap::Subcommand;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;
use synod_workflow::definition::Definition;
use synod_workflow::source::SOURCE_BYTES;
use synod_workflow::{Problems, Workflow, draw, explain, source};

/// Arguments of `synod workflow`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say everything that is wrong with a definition; exit status 1 where something is
    Check(Which),
    /// Show which step waits for which, and what can go at once
    Graph(Graph),
    /// Say of each step when it starts, what it reads, and what its failure does
    Explain(Explain),
    /// Write the JSON Schema of definitions, for editors
    Schema,
    /// Define a workflow, or give it a new version
    Define(mesh::Define),
    /// List the workflows that are defined
    List(mesh::List),
    /// Show the newest version of one
    Get(mesh::Get),
    /// Run one
    Run(Box<mesh::Run>),
}

#[derive(Debug, clap::Args)]
struct Which {
    /// The definition, in YAML or JSON; `-` is stdin
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Graph {
    #[command(flatten)]
    which: Which,
    /// As a Mermaid flowchart
    #[arg(long)]
    mermaid: bool,
}

#[derive(Debug, clap::Args)]
struct Explain {
    #[command(flatten)]
    which: Which,
    /// This step alone
    #[arg(value_name = "STEP")]
    step: Option<String>,
}

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    let of_mesh = |asked, output| mesh::run(asked, &args.place.quiet_settings(flags)?, output);
    match args.verb {
        Verb::Define(define) => of_mesh(mesh::Asked::Define(define), output),
        Verb::List(list) => of_mesh(mesh::Asked::List(list), output),
        Verb::Get(get) => of_mesh(mesh::Asked::Get(get), output),
        Verb::Run(run) => of_mesh(mesh::Asked::Run(run), output),
        Verb::Check(which) => check(&which, output),
        Verb::Graph(graph) => {
            let workflow = checked(&graph.which)?;
            match (graph.mermaid, output.format()) {
                (true, _) => output.text(&draw::mermaid(&workflow)),
                (false, Format::Table) => output.text(&draw::text(&workflow)),
                (false, _) => output.structured(&drawn(&workflow)),
            }
        }
        Verb::Explain(asked) => {
            let mut steps = explain::steps(&checked(&asked.which)?);
            if let Some(wanted) = &asked.step {
                steps.retain(|step| step.id == *wanted);
                if steps.is_empty() {
                    let missing = synod_protocol::Error::new(
                        synod_protocol::Code::NotFound,
                        format!("there is no step {wanted:?}"),
                    );
                    return Err(missing.into());
                }
            }
            match output.format() {
                Format::Table => output.text(&explain::text(&steps)),
                _ => output.structured(&steps),
            }
        }
        Verb::Schema => output.structured(&Definition::schema()),
    }
}

fn check(which: &Which, output: &mut Output<impl Write>) -> Result<(), Stop> {
    match read(which)? {
        Ok(workflow) => output.entity(&json!({
            "workflow_id": workflow.definition().id,
            "hash": workflow.hash(),
            "steps": workflow.len(),
            "groups": workflow.parallel_groups().len(),
        })),
        Err(problems) => {
            match output.format() {
                Format::Table => output.text(&listed(which, &problems))?,
                _ => output.structured(&problems.iter().map(problem).collect::<Vec<_>>())?,
            }
            let many = problems.iter().count();
            Err(Stop::Failed(format!("{many} {} found", if many == 1 { "problem" } else { "problems" })))
        }
    }
}

/// The definition, or its first problem as the failure that it is.
fn checked(which: &Which) -> Result<Workflow, Stop> {
    read(which)?.map_err(|problems| {
        let first = problems.iter().next().map(ToString::to_string).unwrap_or_default();
        let many = problems.iter().count();
        let file = which.file.display();
        Stop::Failed(format!("{file}:{first} ({many} in all: `synod workflow check` tells them)"))
    })
}

fn read(which: &Which) -> Result<Result<Workflow, Problems>, Stop> {
    let (text, format) = source(which)?;
    Ok(Workflow::parse_as(&text, format))
}

/// The text, and how it is written.
fn source(which: &Which) -> Result<(String, source::Format), Stop> {
    let text = text::read("the definition", &which.file, SOURCE_BYTES as u64)?;
    let format = match which.file.extension().and_then(|extension| extension.to_str()) {
        Some("json") => source::Format::Json,
        Some("yaml" | "yml") => source::Format::Yaml,
        _ => source::Format::of(&text),
    };
    Ok((text, format))
}

/// `file:line:column: what`, as editors read it, and the mend on a line of its own.
fn listed(which: &Which, problems: &Problems) -> String {
    let file = which.file.display();
    let lines = problems.iter().map(|p| format!("{file}:{}: {}\n    {}", p.spot, p.what, p.mend));
    lines.map(|line| line + "\n").collect()
}

fn problem(problem: &synod_workflow::Problem) -> Value {
    json!({
        "line": problem.spot.line,
        "column": problem.spot.column,
        "field": problem.pointer,
        "problem": problem.what,
        "mend": problem.mend,
    })
}

fn drawn(workflow: &Workflow) -> Value {
    let name = |number: usize| workflow.place(number).map(|place| place.id.to_string());
    let edges: Vec<_> = (0..workflow.len())
        .flat_map(|from| {
            workflow.graph().after(from).iter().map(move |to| json!({ "from": name(from), "to": name(*to) }))
        })
        .collect();
    json!({
        "workflow_id": workflow.definition().id,
        "order": workflow.topological_order(),
        "groups": workflow.parallel_groups(),
        "edges": edges,
    })
}
