//! Ready definitions of what teams of agents do most. Each is a [`Definition`] like any other: to be read, changed, and given to
//! [`Client::define_workflow`](crate::Client::define_workflow), which checks it once more. `examples/workflows/` has each as
//! YAML to copy.
//!
//! | | what the agents do |
//! |---|---|
//! | [`master_and_workers`] | one cuts the work up, many do the parts, one puts them together |
//! | [`pipeline`] | one after another, each on what the one before made |
//! | [`consensus`] | all are asked, and a share of them has to agree |
//! | [`pool`] | many jobs, each to whoever has room |
//! | [`consult_expert`] | one does it; where it is not sure an expert is asked besides |
//! | [`research_review_revise`] | one does it, another one judges it, and it is mended where that is wanted |
//!
//! Each fails with [`Problems`] where an id or a capability is none.

use serde_json::{Value, json};
use synod_workflow::definition::Definition;
use synod_workflow::definition::build::{StepBuilder, WorkflowBuilder, map, negotiation, task, workflow};
use synod_workflow::{Problems, Workflow};

/// One agent cuts the run's input into a list of parts (`split`), one of many does each (`work`, at most `at_once` of them at a
/// time, 1 to 1,000, three attempts each), and one makes the whole of `{"parts": […]}`, in their order (`combine`).
///
/// # Errors
/// See the module.
pub fn master_and_workers(
    id: &str,
    [split, work, combine]: [&str; 3],
    at_once: u32,
) -> Result<Definition, Problems> {
    let part = task("part", work).input(json!("${{ item }}")).set("retry", json!({ "max_attempts": 3 }));
    checked(
        workflow(id)
            .step(task("split", split).input(input()).set("output_schema", json!({ "type": "array" })))
            .step(
                map("work", "steps.split.output", part)
                    .inside("concurrency", json!(at_once))
                    .after(["split"]),
            )
            .step(
                task("combine", combine)
                    .input(json!({ "parts": "${{ steps.work.output }}" }))
                    .after(["work"]),
            )
            .set("output", json!("${{ steps.combine.output }}")),
    )
}

/// Stages, each a step's id and a capability: the first is given the run's input, each other what the one before made. The
/// output is that of the last.
///
/// # Errors
/// See the module; one without stages is none.
pub fn pipeline(id: &str, stages: &[(&str, &str)]) -> Result<Definition, Problems> {
    let mut made = workflow(id);
    let mut before: Option<&str> = None;
    for (stage, capability) in stages {
        let step = task(stage, capability);
        made = made.step(match before {
            None => step.input(input()),
            Some(before) => step.input(output(before)).after([before]),
        });
        before = Some(stage);
    }
    checked(match before {
        Some(last) => made.set("output", output(last)),
        None => made,
    })
}

/// Everybody with the capability `voter` is asked the run's input, yes or no; it is decided by a share such as `"2/3"` of what
/// is said (more than 0, at most 1), within `round_ms` (10 ms to 7 days). The output is the decision, `{"decided": "yes", …}`; where neither
/// has the share, the run fails.
///
/// # Errors
/// See the module.
pub fn consensus(id: &str, voter: &str, threshold: &str, round_ms: u64) -> Result<Definition, Problems> {
    let decide = negotiation("decide", "consensus", input())
        .inside("rules", json!({ "threshold": threshold }))
        .inside("invite", json!({ "capability": voter }))
        .inside("round_ms", json!(round_ms));
    checked(workflow(id).step(decide).set("output", output("decide")))
}

/// Many jobs, `{"jobs": […]}`, at most `at_once` at a time (1 to 1,000), each to an agent chosen by a balancing rule such as
/// `least_connections`. What fails three times is listed and stops nobody: `{"completed": …, "failed": …}`.
///
/// # Errors
/// See the module.
pub fn pool(id: &str, worker: &str, rule: &str, at_once: u32) -> Result<Definition, Problems> {
    let job = task("job", worker)
        .input(json!("${{ item }}"))
        .inside("strategy", json!(rule))
        .set("retry", json!({ "max_attempts": 3 }));
    let jobs =
        map("all", "input.jobs", job).inside("concurrency", json!(at_once)).inside("join", json!("partial"));
    let schema = json!({
        "type": "object", "required": ["jobs"], "properties": { "jobs": { "type": "array" } }
    });
    checked(workflow(id).set("input_schema", schema).step(jobs).set("output", output("all")))
}

/// One agent answers the run's input (`answer`). Where its confidence is below `below` (0 to 1), an expert is given its input and its
/// answer. The output is `{"answer", "advice"}`, advice null where nobody had to be asked.
///
/// # Errors
/// See the module.
pub fn consult_expert(id: &str, worker: &str, expert: &str, below: f64) -> Result<Definition, Problems> {
    let answer =
        task("answer", worker).input(input()).set("consult", json!({ "capability": expert, "below": below }));
    let both = json!({
        "answer": output("answer"),
        "advice": "${{ has(steps.answer.advice) ? steps.answer.advice : null }}"
    });
    checked(workflow(id).step(answer).set("output", both))
}

/// One agent does the run's input (`research`), another one judges it (`review`: `{"accepted": bool, …}`), and where that is
/// false a third one mends it (`revise`), given `{"work", "review"}`. The output is what stands at the end.
///
/// # Errors
/// See the module.
pub fn research_review_revise(
    id: &str,
    [research, review, revise]: [&str; 3],
) -> Result<Definition, Problems> {
    let judged = json!({
        "type": "object", "required": ["accepted"], "properties": { "accepted": { "type": "boolean" } }
    });
    let given = json!({ "work": output("research"), "review": output("review") });
    checked(
        workflow(id)
            .step(task("research", research).input(input()))
            .step(
                task("review", review)
                    .input(output("research"))
                    .set("output_schema", judged)
                    .after(["research"]),
            )
            .step(task("revise", revise).input(given).when("!steps.review.output.accepted").after(["review"]))
            .set(
                "output",
                json!("${{ steps.review.output.accepted ? steps.research.output : steps.revise.output }}"),
            ),
    )
}

/// Several analyses of the same input side by side, each a step's id and a capability, and one that puts them together
/// (`combine`), given `{"input", "analyses"}`, the analyses by id. One that fails for good leaves null in its place.
///
/// # Errors
/// See the module; one without analyses is none.
pub fn analyses(id: &str, analysts: &[(&str, &str)], combine: Option<&str>) -> Result<Definition, Problems> {
    let each = |(step, capability): &(&str, &str)| -> StepBuilder {
        task(step, capability)
            .input(input())
            .set("retry", json!({ "max_attempts": 3 }))
            .set("on_failure", json!("continue"))
    };
    let ids = analysts.iter().map(|(step, _)| *step);
    let of_all: Value =
        ids.clone().map(|step| (step.to_owned(), output(step))).collect::<serde_json::Map<_, _>>().into();
    let mut made = analysts.iter().map(each).fold(workflow(id), WorkflowBuilder::step);
    made = match combine {
        None => made.set("output", json!({ "analyses": of_all })),
        Some(capability) => made
            .step(
                task("combine", capability).input(json!({ "input": input(), "analyses": of_all })).after(ids),
            )
            .set("output", json!({ "analyses": of_all, "combined": output("combine") })),
    };
    checked(made)
}

fn input() -> Value {
    json!("${{ input }}")
}

fn output(step: &str) -> Value {
    json!(format!("${{{{ steps.{step}.output }}}}"))
}

fn checked(made: WorkflowBuilder) -> Result<Definition, Problems> {
    made.build().map(|workflow: Workflow| workflow.definition().clone())
}
