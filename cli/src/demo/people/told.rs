//! What the scene has to tell, and how a person reads it.

use super::PeopleError;
use super::pipeline::PERSON;
use super::team::SURE;
use crate::terminal::{Screen, harmless, thousands};
use agent_sdk::approval::Approval;
use agent_sdk::workflow::{Execution, StepDoing, StepStatus};
use comfy_table::CellAlignment;
use serde::Serialize;
use std::fmt::Write as _;

/// Of a fingerprint so many letters are shown to people.
const FINGERPRINT_SHOWN: usize = 16;
/// Of a page so many lines are shown to people.
const LINES_SHOWN: usize = 7;

/// What was seen.
#[derive(Clone, Debug, Serialize)]
pub struct PeopleReport {
    /// The run's name: the ids of its agents and executions begin with it.
    pub run: String,
    /// Documents become a page.
    pub pipeline: Pipeline,
    /// Questions are answered.
    pub team: Vec<Answered>,
    /// From the start of the first process to the last answer, in milliseconds.
    pub took_ms: u64,
}

/// The pipeline's run.
#[derive(Clone, Debug, Serialize)]
pub struct Pipeline {
    /// Which.
    pub execution_id: String,
    /// What was read.
    pub documents: Vec<String>,
    /// What was shown first, and was wanted otherwise.
    pub first: Page,
    /// What was approved and published.
    pub second: Page,
    /// The owner that was killed while the approval was pending; absent on a mesh that is not the demo's own.
    pub takeover: Option<Takeover>,
    /// Every doing of a step.
    pub steps: Vec<Step>,
    /// What was decided, in order.
    pub decisions: Vec<Decided>,
    /// From its start to its end, by the shard's time, in milliseconds.
    pub took_ms: u64,
}

/// A page as a person was shown it.
#[derive(Clone, Debug, Serialize)]
pub struct Page {
    /// Which revision.
    pub revision: u32,
    /// The text.
    pub text: String,
    /// The fingerprint of what was shown: blake3, in hexadecimal.
    pub shown: String,
}

/// A coordinator was killed, and another took over.
#[derive(Clone, Debug, Serialize)]
pub struct Takeover {
    /// Whose owner it was.
    pub shard: u32,
    /// Who has it now.
    pub heir: String,
    /// From the kill until the shard was served again, in milliseconds.
    pub took_ms: u64,
}

/// One doing of a step.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    /// The step, with the item's number where it is in a map.
    pub step: String,
    /// Such as `task`.
    pub kind: String,
    /// How it stands.
    pub status: StepStatus,
    /// Which revision, from 1.
    pub revision: u32,
    /// Attempts so far, those of earlier revisions included; 0 for a block.
    pub attempts: u32,
    /// Who did it, without the run's name.
    pub agent: Option<String>,
    /// Since the execution's start, in milliseconds.
    pub began_ms: u64,
    /// In milliseconds.
    pub took_ms: Option<u64>,
    /// How sure, 0 to 1.
    pub confidence: Option<f64>,
}

/// One decision.
#[derive(Clone, Debug, Serialize)]
pub struct Decided {
    /// About which revision.
    pub revision: u32,
    /// What, as `request_changes`.
    pub decision: String,
    /// By whom.
    pub approver: Option<String>,
    /// In words.
    pub comment: Option<String>,
    /// What it stands for.
    pub meaning: Option<String>,
    /// After she was asked, in milliseconds.
    pub after_ms: u64,
    /// The fingerprint of what was shown; computed anew from the page, it was the same.
    pub shown: String,
}

/// A question's run.
#[derive(Clone, Debug, Serialize)]
pub struct Answered {
    /// What was asked.
    pub question: String,
    /// How sure the researcher was, 0 to 1.
    pub confidence: f64,
    /// Whether the expert was asked besides.
    pub consulted: bool,
    /// What came of it.
    pub answer: String,
    /// Where that stands.
    pub source: String,
    /// Whose it is.
    pub by: String,
    /// Every doing of a step.
    pub steps: Vec<Step>,
    /// From its start to its end, by the shard's time, in milliseconds.
    pub took_ms: u64,
}

impl Page {
    pub(super) fn of(approval: &Approval) -> Result<Page, PeopleError> {
        let (text, shown) = (approval.show.to()?, approval.shown.clone());
        Ok(Page { revision: approval.revision, text, shown })
    }
}

impl Step {
    pub(super) fn all(execution: &Execution, run: &str) -> Vec<Step> {
        let began = execution.started_at;
        let short = |id: &str| id.strip_prefix(&format!("{run}-")).unwrap_or(id).to_owned();
        let one = |doing: &StepDoing| {
            let item: String = doing.items.iter().map(|n| format!("[{n}]")).collect();
            Step {
                step: format!("{}{item}", doing.step),
                kind: doing.kind.clone(),
                status: doing.status,
                revision: doing.revision,
                attempts: doing.attempts,
                agent: doing.agent_id.as_ref().map(|id| short(id.as_str())),
                began_ms: doing.started_at.millis_since(began),
                took_ms: doing.ended_at.map(|at| at.millis_since(doing.started_at)),
                confidence: doing.confidence,
            }
        };
        execution.steps.iter().map(one).collect()
    }
}

impl Decided {
    pub(super) fn all(approval: &Approval) -> Vec<Decided> {
        let one = |made: &agent_sdk::approval::DecisionMade| Decided {
            revision: approval.revision,
            decision: name(&made.decision),
            approver: made.approver.clone(),
            comment: made.comment.clone(),
            meaning: made.meaning.clone(),
            after_ms: made.at.millis_since(approval.created_at),
            shown: made.shown.clone(),
        };
        approval.decisions.iter().map(one).collect()
    }
}

/// For people.
pub fn draw(report: &PeopleReport, screen: Screen) -> String {
    let mut out = String::new();
    // Writing into a text does not fail.
    let _ = writeln!(
        out,
        "\nWORKFLOWS WITH PEOPLE IN THEM\n\n\
         1. Three documents are read side by side, a page about them is drafted, {PERSON} releases it, it is published.\n\
         \x20  {PERSON} is played by this demo: her decisions are written below, and are the same each time.\n"
    );
    draw_pipeline(&mut out, &report.pipeline, screen);
    let _ = writeln!(
        out,
        "\n2. A team answers from the same documents; below a confidence of {SURE} it asks its expert.\n   \
         Nobody in it is a language model: they count words."
    );
    for answered in &report.team {
        draw_answered(&mut out, answered, screen);
    }
    let _ = writeln!(
        out,
        "\nAll of this was checked as it happened; {:.1} s in all, the start of every process included.",
        report.took_ms as f64 / 1e3
    );
    out
}

fn draw_pipeline(out: &mut String, pipeline: &Pipeline, screen: Screen) {
    let _ = writeln!(out, "   {PERSON} is shown revision {}:", pipeline.first.revision);
    draw_page(out, &pipeline.first);
    for decided in pipeline.decisions.iter().filter(|decided| decided.revision == pipeline.first.revision) {
        let _ = writeln!(out, "   {}", said(decided));
    }
    let _ = writeln!(
        out,
        "\n   The draft is made anew with that. {PERSON} is shown revision {}:",
        pipeline.second.revision
    );
    draw_page(out, &pipeline.second);
    match &pipeline.takeover {
        Some(Takeover { shard, took_ms, .. }) => {
            let _ = writeln!(
                out,
                "   While that waits for her, the coordinator that owns the workflow (shard {shard}) is KILLED (SIGKILL).\n   \
                 Another serves the shard {took_ms} ms later. The same approval waits; nobody was asked anew.\n"
            );
        }
        None => out.push_str(
            "   No coordinator was killed: this mesh is not the demo's own. Without --http-url it makes one, and does.\n\n",
        ),
    }
    for decided in pipeline.decisions.iter().filter(|decided| decided.revision == pipeline.second.revision) {
        let _ = writeln!(out, "   {}", said(decided));
    }
    let _ = writeln!(
        out,
        "   What she approved is published, byte by byte.\n\n   Steps ({} ms in all):",
        thousands(pipeline.took_ms)
    );
    draw_steps(out, &pipeline.steps, screen);
    out.push_str(
        "\n   Decisions, and the fingerprint of what was shown (computed anew here, it is the same):\n",
    );
    for decided in &pipeline.decisions {
        let who = harmless(decided.approver.as_deref().unwrap_or("nobody"));
        let _ = writeln!(
            out,
            "     revision {}  {:<16} by {who:<5} {:>7} after {} ms",
            decided.revision,
            harmless(&decided.decision),
            cut(&decided.shown),
            thousands(decided.after_ms)
        );
    }
}

fn draw_answered(out: &mut String, answered: &Answered, screen: Screen) {
    let Answered { question, confidence, consulted, answer, source, by, steps, took_ms } = answered;
    let asked = if *consulted { "so the expert is asked" } else { "so nobody else is asked" };
    let _ = writeln!(
        out,
        "\n   \"{}?\"\n   The researcher is sure by {confidence:.2}, {asked}. From {} ({}):\n     {}\n\n   Steps ({} ms in all):",
        harmless(question),
        harmless(source),
        harmless(by),
        harmless(answer),
        thousands(*took_ms)
    );
    draw_steps(out, steps, screen);
}

fn draw_page(out: &mut String, page: &Page) {
    let lines: Vec<&str> = page.text.lines().filter(|line| !line.is_empty()).collect();
    for line in lines.iter().take(LINES_SHOWN) {
        let _ = writeln!(out, "   | {}", harmless(line));
    }
    if lines.len() > LINES_SHOWN {
        let _ = writeln!(out, "   | … and {} lines more", lines.len() - LINES_SHOWN);
    }
    out.push('\n');
}

/// `ann requests changes: "why?"`
fn said(decided: &Decided) -> String {
    let who = harmless(decided.approver.as_deref().unwrap_or("nobody"));
    let what = match decided.decision.as_str() {
        "approve" => "approves it".to_owned(),
        "request_changes" => "wants it otherwise".to_owned(),
        other => harmless(other),
    };
    let comment =
        decided.comment.as_deref().map(|why| format!(": \"{}\"", harmless(why))).unwrap_or_default();
    let meaning = decided.meaning.as_deref().map(|why| format!(" ({})", harmless(why))).unwrap_or_default();
    format!("{who} {what}{comment}{meaning}.")
}

fn draw_steps(out: &mut String, steps: &[Step], screen: Screen) {
    let titles = ["STEP", "KIND", "STATUS", "REVISION", "ATTEMPTS", "BY", "BEGAN MS", "TOOK MS", "SURE"];
    let mut table = screen.table(&titles);
    let dash = || "-".to_owned();
    for step in steps {
        table.add_row([
            harmless(&step.step),
            harmless(&step.kind),
            name(&step.status),
            step.revision.to_string(),
            step.attempts.to_string(),
            step.agent.as_deref().map_or_else(dash, harmless),
            thousands(step.began_ms),
            step.took_ms.map_or_else(dash, thousands),
            step.confidence.map_or_else(dash, |sure| format!("{sure:.2}")),
        ]);
    }
    for figures in [3, 4, 6, 7, 8] {
        if let Some(column) = table.column_mut(figures) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.trim_fmt().lines() {
        let _ = writeln!(out, "   {line}");
    }
}

/// As it is called on the wire.
fn name(value: &impl Serialize) -> String {
    // Both kinds that come here are words; anything else would be shown as nothing.
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn cut(fingerprint: &str) -> String {
    format!("{}…", harmless(fingerprint.get(..FINGERPRINT_SHOWN).unwrap_or(fingerprint)))
}
