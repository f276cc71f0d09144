//! The workflows that are run: small ones, of every kind of step; and how those who do their steps behave. What somebody
//! does follows from the child's id alone, so that each run can be done once more, alone and undisturbed.
//!
//! How a step behaves is in its name: a `shaky` one fails now and then, a `frail` one for good, what a `fitting` one gives does not
//! always fit its schema, a `doubtful` one is not sure. The name ends before the first digit.

use crate::rng::Rng;
use serde_json::{Value, json};
use synod_protocol::approval::Decision;
use synod_protocol::{EntityId, Json};

/// What the signals are called that runs wait for.
pub(crate) const SIGNAL: &str = "go";

/// One after another, with attempts and something to fall back on.
const LINE: &str = "
id: line
deadline_ms: 9000
steps:
  - {id: sure1, task: {capability: c, input: '${{ input }}'}}
  - id: shaky2
    depends_on: [sure1]
    retry: {max_attempts: 3, initial_backoff_ms: 40, max_backoff_ms: 200}
    task: {capability: d, input: '${{ steps.sure1.output }}'}
  - id: frail3
    depends_on: [shaky2]
    timeout_ms: 2500
    task: {capability: c, input: '${{ steps.shaky2.output }}'}
    fallback: {id: frail4, task: {capability: d, input: '${{ steps.shaky2.output }}'}}
  - {id: sure5, depends_on: [frail3], task: {capability: d, input: '${{ steps.frail3.output }}'}}
";

/// Two of three will do.
const SOME: &str = "
id: some
deadline_ms: 8000
steps:
  - id: group
    parallel:
      join: {at_least: 2}
      steps:
        - {id: frail1, task: {capability: c}}
        - {id: frail2, task: {capability: d}}
        - {id: shaky3, retry: {max_attempts: 2, initial_backoff_ms: 60}, task: {capability: c}}
  - {id: sure4, depends_on: [group], task: {capability: d, input: '${{ input }}'}}
output: '${{ steps.sure4.output }}'
";

/// Each of a list, two at a time.
const EACH: &str = "
id: each
deadline_ms: 12000
steps:
  - id: all
    map:
      items: input
      concurrency: 2
      step:
        id: shaky1
        retry: {max_attempts: 4, initial_backoff_ms: 30, max_backoff_ms: 100}
        task: {capability: c, input: '${{ item }}'}
  - {id: sure2, depends_on: [all], task: {capability: d, input: '${{ steps.all.output }}'}}
";

/// Each of a list, all at once: more than one record holds where records are short.
const WIDE: &str = "
id: wide
deadline_ms: 12000
steps:
  - id: all
    map:
      items: input
      concurrency: 1000
      step: {id: sure1, task: {capability: c, input: '${{ item }}'}}
output: '${{ steps.all.output }}'
";

/// One way or the other.
const EITHER: &str = "
id: either
deadline_ms: 9000
steps:
  - {id: sure1, task: {capability: c, input: '${{ input }}'}}
  - id: way
    depends_on: [sure1]
    condition:
      if: steps.sure1.output > 500
      then:
        - {id: sure2, task: {capability: d, input: '${{ steps.sure1.output }}'}}
        - {id: frail3, on_failure: continue, task: {capability: c, input: '${{ steps.sure2.output }}'}}
      else: [{id: nap, wait: {for_ms: 150}}]
  - {id: seldom, depends_on: [way], when: steps.sure1.output > 900, task: {capability: c, input: '${{ steps.sure1.output }}'}}
  - {id: sure4, depends_on: [seldom], task: {capability: d, input: '${{ steps.seldom.output }}'}}
output: '${{ steps.sure4.output }}'
";

/// Two people approve, or have it done again.
const ASKS: &str = "
id: asks
deadline_ms: 14000
steps:
  - {id: sure1, task: {capability: c, input: '${{ input }}'}}
  - id: ok2
    depends_on: [sure1]
    approval:
      title: 'Release?'
      show: '${{ steps.sure1.output }}'
      approvers: [anna, bob, 'role:legal']
      need: {quorum: 2}
      expires_after_ms: 2500
      revise: {step: sure1, max_revisions: 3}
  - {id: sure3, depends_on: [ok2], task: {capability: d, input: '${{ steps.ok2.output.revision }}'}}
";

/// Two are asked at once, one of which approves itself; nobody is asked again.
const ASKS_TWO: &str = "
id: asks-two
steps:
  - id: both
    parallel:
      steps:
        - id: yes1
          approval: {title: 'This?', approvers: [anna], auto_approve_after_ms: 700}
        - id: no2
          approval: {title: 'That?', show: '${{ input }}', approvers: [bob, 'role:legal'], expires_after_ms: 900}
          fallback: {id: sure3, timeout_ms: 4000, task: {capability: c}}
  - {id: sure4, depends_on: [both], timeout_ms: 4000, task: {capability: d, input: '${{ steps.yes1.output.status }}'}}
output: '${{ steps.sure4.output }}'
";

/// Time passes, a signal comes.
const WAITS: &str = "
id: waits
steps:
  - {id: nap, wait: {for_ms: 300}}
  - {id: signal, depends_on: [nap], wait: {signal: go}}
  - {id: sure1, timeout_ms: 3000, task: {capability: c, input: '${{ input }}'}}
  - {id: sure2, depends_on: [signal, sure1], timeout_ms: 4000, task: {capability: d, input: '${{ steps.signal.output.say }}'}}
";

/// Results have to fit, and experts are asked.
const FITS: &str = "
id: fits
deadline_ms: 10000
steps:
  - id: fitting1
    retry: {max_attempts: 4, initial_backoff_ms: 30, max_backoff_ms: 100}
    output_schema: {type: object, required: [n]}
    task: {capability: c, input: '${{ input }}'}
  - id: doubtful2
    depends_on: [fitting1]
    timeout_ms: 4000
    consult: {capability: d, below: 0.5}
    task: {capability: c, input: '${{ steps.fitting1.output.n }}'}
  - {id: sure3, depends_on: [doubtful2], task: {capability: d, input: '${{ steps.doubtful2.output }}'}}
";

/// Agents decide together.
const AGREES: &str = "
id: agrees
deadline_ms: 9000
steps:
  - id: vote1
    retry: {max_attempts: 2, initial_backoff_ms: 50}
    negotiation: {protocol: vote, rules: {candidates: [x, y], method: plurality, ties: order}, participants: '${{ input }}', round_ms: 600}
  - {id: sure2, depends_on: [vote1], task: {capability: c, input: '${{ steps.vote1.output.decided }}'}}
";

const ALL: [&str; 10] = [LINE, SOME, EACH, WIDE, EITHER, ASKS, ASKS_TWO, WAITS, FITS, AGREES];

/// One of the workflows: its id, its text and an input.
pub(crate) fn any(rng: &mut Rng, agents: usize) -> (&'static str, Json, Json) {
    let text = ALL[rng.index(ALL.len())];
    let id = id_of(text);
    let input = match id {
        "each" | "wide" => Value::from((0..rng.between(2, 7)).collect::<Vec<u64>>()),
        "agrees" => (0..agents).map(|agent| format!("a{agent}")).collect(),
        _ => json!(rng.below(1_000)),
    };
    (id, Json::of(text).unwrap_or_default(), input.into())
}

fn id_of(text: &'static str) -> &'static str {
    text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap_or_default()
}

/// Whether something is done for an execution: the id of each begins with an `e`.
pub(crate) fn is_of_one(id: &EntityId) -> bool {
    id.as_str().starts_with('e') && id.root() != id.as_str()
}

/// What becomes of a piece of work.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fate {
    /// It is done.
    Done { output: Value, confidence: Option<f64> },
    /// It fails.
    Fails { retryable: bool },
}

/// What becomes of a task of an execution.
pub(crate) fn fate(id: &EntityId) -> Fate {
    let (step, chance) = (step_of(id), drawn(id.as_str()));
    if id.as_str().ends_with("/advice") {
        return Fate::Done { output: json!({"advice": chance}), confidence: None };
    }
    let output = output_of(id);
    match step.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "shaky" if chance < 350 => Fate::Fails { retryable: true },
        "frail" if chance < 300 => Fate::Fails { retryable: false },
        "fitting" if chance < 400 => Fate::Done { output: json!("does not fit"), confidence: None },
        "fitting" => Fate::Done { output: json!({"n": output}), confidence: None },
        "doubtful" => Fate::Done { output: json!(output), confidence: (chance < 500).then_some(0.25) },
        _ => Fate::Done { output: json!(output), confidence: None },
    }
}

/// A result: the same for every attempt.
fn output_of(id: &EntityId) -> u64 {
    let (root, rest) = id.as_str().split_once(':').unwrap_or((id.as_str(), ""));
    drawn(&format!("{root} {}", rest.split(':').next().unwrap_or_default()))
}

/// What people decide on an approval, where they decide.
pub(crate) fn decision(id: &EntityId, may_revise: bool) -> Decision {
    let chance = drawn(&format!("decided {id}"));
    match step_of(id) {
        "yes1" => Decision::Approve,
        _ if chance < 150 => Decision::Reject,
        _ if chance < 550 && may_revise => Decision::RequestChanges,
        _ => Decision::Approve,
    }
}

/// What a signal brings.
pub(crate) fn payload() -> Json {
    json!({"say": "go on"}).into()
}

/// The step that a child's id names.
pub(crate) fn step_of(id: &EntityId) -> &str {
    let rest = id.as_str().split_once(':').map_or("", |(_, rest)| rest);
    rest.split(['[', ':', '/']).next().unwrap_or_default()
}

/// A number below a thousand, by a text alone.
fn drawn(text: &str) -> u64 {
    let hash = blake3::hash(text.as_bytes());
    hash.as_bytes().iter().take(6).fold(0, |number, byte| (number << 8) | u64::from(*byte)) % 1_000
}
