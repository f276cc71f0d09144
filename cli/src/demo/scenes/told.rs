//! What a scene has to tell, and how a person reads it.

use crate::terminal::harmless;
use serde::Serialize;
use serde_json::{Map, Value};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;
use synod_protocol::negotiation::{ClosedBy, NegotiationView, Round};

/// A scene that was played.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// Which.
    pub scene: &'static str,
    /// The run's name: on the mesh the ids of its negotiations and members begin with it, here they are told without.
    pub run: String,
    /// What it is about, and what the shipped input is.
    pub about: String,
    /// What was decided, in order.
    pub decisions: Vec<Decided>,
    /// What happened besides, and what to make of it.
    pub notes: Vec<String>,
    /// From the start of the first member to the last decision, in milliseconds.
    pub took_ms: u64,
}

/// One decision.
#[derive(Clone, Debug, Serialize)]
pub struct Decided {
    /// Which negotiation.
    pub negotiation_id: String,
    /// What was asked.
    pub question: Value,
    /// By which protocol.
    pub protocol: String,
    /// Who was asked what, and what they answered.
    pub rounds: Vec<RoundTold>,
    /// As the protocol says it.
    pub outcome: Value,
    /// The same in a few words.
    pub in_short: Vec<String>,
    /// How it came to that, in the protocol's own sentences.
    pub why: Vec<String>,
    /// What can be shown to anyone.
    pub certificate: Proof,
    /// From the opening until the decision was here, in milliseconds.
    pub took_ms: f64,
    /// Only the short form is for people.
    #[serde(skip)]
    pub brief: bool,
}

/// A round of one negotiation.
#[derive(Clone, Debug, Serialize)]
pub struct RoundTold {
    /// From 1.
    pub round: u32,
    /// What was asked for.
    pub kind: String,
    /// Who answered, by name.
    pub answers: Vec<Answered>,
    /// Who was asked and said nothing.
    pub silent: Vec<String>,
    /// Who was asked and died, and what the mesh saw of it.
    pub gone: Vec<(String, String)>,
    /// Why it ended.
    pub closed_by: Option<ClosedBy>,
    /// From its beginning to its end, in milliseconds.
    pub took_ms: u64,
}

/// One answer.
#[derive(Clone, Debug, Serialize)]
pub struct Answered {
    /// Whose.
    pub who: String,
    /// What; null: an abstention.
    pub said: Value,
}

/// The certificate of a decision, and what came of verifying it.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// How long it is.
    pub bytes: usize,
    /// Its digest.
    pub digest: String,
    /// Whether nothing in it contradicts anything.
    pub holds: bool,
    /// Whether the decision was recomputed from the answers.
    pub recomputed: bool,
}

impl Decided {
    /// What a reader of the negotiation sees.
    ///
    /// # Errors
    /// An answer does not read.
    pub fn of(
        view: &NegotiationView,
        took: Duration,
        certificate: Proof,
    ) -> Result<Decided, serde_json::Error> {
        Ok(Decided {
            negotiation_id: view.negotiation_id.to_string(),
            question: view.question.to()?,
            protocol: view.protocol.clone(),
            rounds: view.rounds.iter().map(RoundTold::of).collect::<Result<_, _>>()?,
            outcome: view.outcome.as_ref().map_or(Ok(Value::Null), |outcome| outcome.to())?,
            in_short: Vec::new(),
            why: view.explanation.clone(),
            certificate,
            took_ms: took.as_micros() as f64 / 1e3,
            brief: false,
        })
    }

    /// The same, told in these words.
    #[must_use]
    pub fn in_short(self, in_short: Vec<String>) -> Decided {
        Decided { in_short, ..self }
    }
}

impl RoundTold {
    fn of(round: &Round) -> Result<RoundTold, serde_json::Error> {
        let answer = |(id, answer): (&synod_protocol::Id, &synod_protocol::negotiation::Answer)| {
            let said = answer.response.as_ref().map_or(Ok(Value::Null), |said| said.to())?;
            Ok(Answered { who: id.to_string(), said })
        };
        Ok(RoundTold {
            round: round.round,
            kind: round.kind.clone(),
            answers: round.answers.iter().map(answer).collect::<Result<_, serde_json::Error>>()?,
            silent: round.silent().map(ToString::to_string).collect(),
            gone: round.gone.iter().map(|(id, why)| (id.to_string(), why.clone())).collect(),
            closed_by: round.closed_by,
            took_ms: round.closed_at.map_or(0, |at| at.millis_since(round.opened_at)),
        })
    }
}

impl Told {
    /// How many certificates do not hold.
    pub fn doubtful(&self) -> usize {
        self.decisions.iter().filter(|decided| !decided.certificate.holds).count()
    }
}

/// For people.
pub fn draw(told: &Told) -> String {
    let mut out = format!("\n{}\n", harmless(&told.about));
    for decided in &told.decisions {
        if decided.brief {
            decided.in_short.iter().for_each(|line| out.push_str(&format!("  {}\n", harmless(line))));
        } else {
            draw_decided(&mut out, decided);
        }
    }
    if !told.notes.is_empty() {
        out.push('\n');
    }
    for note in &told.notes {
        out.push_str(&format!("{}\n", harmless(note)));
    }
    let (all, hold) = (told.decisions.len(), told.decisions.len() - told.doubtful());
    let seconds = told.took_ms as f64 / 1e3;
    out.push_str(&format!(
        "\n{all} decided in {seconds:.1} s, the start of the members included; {hold} of {all} certificates hold.\n"
    ));
    out
}

fn draw_decided(out: &mut String, decided: &Decided) {
    // Writing into a text does not fail.
    let _ = writeln!(
        out,
        "\nAsked by `{}`: {}",
        harmless(&decided.protocol),
        harmless(&spoken(&decided.question))
    );
    let mut before = BTreeSet::new();
    for round in &decided.rounds {
        let ended = match round.closed_by {
            Some(ClosedBy::Complete) => "nobody was left to wait for",
            Some(ClosedBy::Settled) => "nothing could change it any more",
            Some(ClosedBy::Time) => "its time was up",
            None => "it never closed",
        };
        let _ = writeln!(
            out,
            "  Round {}: {} ({ended} after {} ms)",
            round.round,
            harmless(&round.kind),
            round.took_ms
        );
        let says = round.answers.iter().map(|answer| (&answer.who, spoken(&anew(answer, &mut before))));
        let silent = round.silent.iter().map(|who| (who, "... says nothing".to_owned()));
        let gone = round.gone.iter().map(|(who, why)| (who, format!("... is gone: {why}")));
        for (who, says) in says.chain(silent).chain(gone) {
            let _ = writeln!(out, "    {:<14} {}", harmless(who), harmless(&says));
        }
    }
    let _ = writeln!(out, "Decided in {:.0} ms:", decided.took_ms);
    decided.in_short.iter().for_each(|line| out.push_str(&format!("  {}\n", harmless(line))));
    out.push_str("Why:\n");
    decided.why.iter().for_each(|sentence| out.push_str(&format!("  {}\n", harmless(sentence))));
    let proof = &decided.certificate;
    let verdict = match (proof.holds, proof.recomputed) {
        (true, true) => "recomputed from it alone: the decision follows from what was answered",
        (true, false) => "it holds, but could not be recomputed here",
        (false, _) => "IT DOES NOT HOLD",
    };
    let digest = proof.digest.get(..16).unwrap_or(&proof.digest);
    let _ = writeln!(out, "Certificate: {} bytes, digest {}…; {verdict}.", proof.bytes, harmless(digest));
}

/// An answer without the words that the same one has said in an earlier round.
fn anew(answer: &Answered, before: &mut BTreeSet<(String, String)>) -> Value {
    let Value::Object(members) = &answer.said else { return answer.said.clone() };
    let mut is_new = |value: &Value| {
        value.as_str().is_none_or(|words| before.insert((answer.who.clone(), words.to_owned())))
    };
    let members = members.iter().filter(|(_, value)| is_new(value));
    Value::Object(members.map(|(name, value)| (name.clone(), value.clone())).collect())
}

/// What a name on the wire is in words.
pub(super) fn word(name: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_value(name)?.as_str().unwrap_or_default().replace('_', " "))
}

/// A value as one would say it: `value 3.42, confidence 0.95`.
fn spoken(value: &Value) -> String {
    match value {
        Value::Null => "abstains".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(all) if all.len() > 6 => format!("({} of them)", all.len()),
        Value::Array(all) => all.iter().map(spoken).collect::<Vec<_>>().join(" and "),
        Value::Object(members) => {
            let says = |value: &Value| {
                !(value.is_null()
                    || value.as_object().is_some_and(Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty))
            };
            let member = |(name, value): (&String, &Value)| match value {
                Value::Object(_) => format!("{name} ({})", spoken(value)),
                Value::Bool(true) => name.clone(),
                Value::Bool(false) => format!("not {name}"),
                _ => format!("{} {}", name.replace('_', " "), spoken(value)),
            };
            // What is said in words comes last, since it is the longest.
            let (words, figures): (Vec<_>, Vec<_>) =
                members.iter().filter(|(_, value)| says(value)).partition(|(_, value)| value.is_string());
            figures.into_iter().chain(words).map(member).collect::<Vec<_>>().join(", ")
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_answer_is_told_as_one_would_say_it() {
        let check = |value: Value, said: &str| assert_eq!(spoken(&value), said);
        check(json!({"value": 3.42, "confidence": 0.95}), "confidence 0.95, value 3.42");
        check(json!({"acknowledged": true, "note": "here"}), "acknowledged, note here");
        check(json!({"accept": false, "per_task": {"cpu": 4}}), "not accept, per_task (cpu 4)");
        check(json!({"because": "of rust", "value": 1}), "value 1, because of rust");
        check(json!({"price": 5, "resources": {}, "why": null}), "price 5");
        check(json!({"cents": [1, 2, 3, 4, 5, 6, 7]}), "cents (7 of them)");
        check(json!(null), "abstains");
        check(json!(5), "5");
    }

    #[test]
    fn a_certificate_that_does_not_hold_is_not_passed_over() {
        let proof = |holds| Proof { bytes: 1, digest: "d".to_owned(), holds, recomputed: holds };
        let decided = |holds| Decided {
            negotiation_id: "n".to_owned(),
            question: json!("where to?"),
            protocol: "vote".to_owned(),
            rounds: Vec::new(),
            outcome: Value::Null,
            in_short: Vec::new(),
            why: Vec::new(),
            certificate: proof(holds),
            took_ms: 1.0,
            brief: false,
        };
        let told = Told {
            scene: "signals",
            run: "run".to_owned(),
            about: String::new(),
            decisions: vec![decided(true), decided(false)],
            notes: Vec::new(),
            took_ms: 1,
        };
        assert_eq!(told.doubtful(), 1);
        let drawn = draw(&told);
        assert!(drawn.contains("IT DOES NOT HOLD") && drawn.contains("1 of 2 certificates hold"), "{drawn}");
    }

    #[test]
    fn words_are_told_once_and_figures_each_time() {
        let mut before = BTreeSet::new();
        let said = |who: &str, said: Value| Answered { who: who.to_owned(), said };
        let mut check = |answer: Answered, told: Value| assert_eq!(anew(&answer, &mut before), told);
        check(said("a", json!({"value": 1, "why": "x"})), json!({"value": 1, "why": "x"}));
        check(said("b", json!({"value": 1, "why": "x"})), json!({"value": 1, "why": "x"}));
        check(said("a", json!({"value": 1, "why": "x"})), json!({"value": 1}));
        check(said("a", json!("yes")), json!("yes"));
        check(said("a", json!("yes")), json!("yes"));
    }
}
