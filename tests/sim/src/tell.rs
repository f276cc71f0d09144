//! A record in one readable line, for timelines.

use synod_ledger::{Imaged, Record, Step};

/// What a record says, short.
pub(crate) fn told(bytes: &[u8]) -> String {
    match Record::read(bytes) {
        Ok(Record::Claim(claim)) => format!("a claim by {}", claim.owner),
        Ok(Record::Step(step)) => of_step(&step),
        Ok(Record::Image(image)) => format!("{}/{} image of {}", image.epoch, image.n, imaged(&image.of)),
        Err(_) => format!("foreign: {}", cut(&String::from_utf8_lossy(bytes), 60)),
    }
}

fn of_step(step: &Step) -> String {
    let input = &step.input;
    let mut line = format!("{}/{} {}", step.epoch, step.n, input.door.as_str());
    let mut say = |part: String| {
        line.push(' ');
        line.push_str(&part);
    };
    if let Some(offset) = input.offset {
        say(format!("@{offset}"));
    }
    for part in [&input.ce_id, &input.ty].into_iter().flatten() {
        say(part.trim_start_matches("synod.").to_owned());
    }
    if input.poison {
        say("poison".into());
    }
    if let Some(partition) = input.passed_on_to {
        say(format!("passed on to {partition}"));
    }
    if let Some(at) = input.repeats {
        say(format!("repeats {at}"));
    }
    if let Some(error) = &step.rejected {
        say(format!("refused: {}", error.code.as_str()));
    }
    let events = step
        .events
        .iter()
        .map(|event| format!("{} {}", event.what.ce_type().trim_start_matches("synod."), event.entity));
    let events: Vec<_> = events.collect();
    say(format!("=> [{}] floor {} done {}", events.join(", "), step.floor, step.done));
    line
}

fn imaged(of: &Imaged) -> String {
    match of {
        Imaged::Shard(shard) => format!("the shard at position {}", shard.position),
        Imaged::Seen(seen) => format!("commands had, block {}", seen.block),
        Imaged::Task(task) => format!("task {}: {}", task.id, task.state.status.as_str()),
        Imaged::Agent(agent) => format!("agent {}", agent.id),
        Imaged::Negotiation(it) => format!("negotiation {}: {}", it.id, it.state.status.as_str()),
        Imaged::Workflow(it) => format!("workflow {}: version {}", it.id, it.state.defined.version),
        Imaged::Execution(it) => format!("execution {}: {}", it.id, it.state.status().as_str()),
        Imaged::Approval(it) => format!("approval {}: {}", it.id, it.state.status.as_str()),
    }
}

/// The beginning of a text.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    text.chars().take(limit).collect()
}
