//! The dashboard and the alert rules ask for metrics that there are, by labels that they have.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use synod_infra::telemetry::names;
use synod_tests::root;

/// Labels that Prometheus adds.
const ADDED: [&str; 2] = ["job", "instance"];
/// Metrics that Prometheus itself makes.
const MADE: [&str; 1] = ["up"];
/// Words of the language that stand where a metric could.
const WORDS: [&str; 14] = [
    "sum",
    "max",
    "min",
    "avg",
    "count",
    "topk",
    "rate",
    "increase",
    "histogram_quantile",
    "by",
    "without",
    "and",
    "or",
    "unless",
];

/// What an expression asks for: metrics with how each is used, and labels.
#[derive(Debug, Default, PartialEq)]
struct Asked {
    /// Each with whether it stands directly in `rate` or `increase`.
    metrics: Vec<(String, bool)>,
    /// Of matchers and of groupings.
    labels: BTreeSet<String>,
}

/// Reads so much of PromQL as is needed to know every metric and every label in it.
fn read(expression: &str) -> Result<Asked, String> {
    let mut asked = Asked::default();
    let (mut rest, mut calls, mut grouping) = (expression, Vec::new(), false);
    let mut word = String::new();
    while let Some(first) = rest.chars().next() {
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        if end > 0 && !first.is_ascii_digit() {
            word = rest[..end].to_owned();
            rest = &rest[end..];
            let called = rest.trim_start().starts_with('(');
            if WORDS.contains(&word.as_str()) {
                grouping = matches!(word.as_str(), "by" | "without");
            } else if called {
                return Err(format!("{word} is no function that is known here"));
            } else if calls.last().is_some_and(|call: &String| call == "by") {
                asked.labels.insert(word.clone());
            } else {
                let counted = calls.last().is_some_and(|call| call == "rate" || call == "increase");
                asked.metrics.push((word.clone(), counted));
            }
            continue;
        }
        match first {
            '(' => calls.push(if std::mem::take(&mut grouping) {
                "by".to_owned()
            } else {
                std::mem::take(&mut word)
            }),
            ')' => drop(calls.pop().ok_or("a parenthesis is closed that was not opened")?),
            '{' => {
                let end = rest.find('}').ok_or("a brace is not closed")?;
                for matcher in rest[1..end].split(',') {
                    let name = matcher.split(['=', '!']).next().unwrap_or_default().trim();
                    asked.labels.insert(name.to_owned());
                }
                rest = &rest[end..];
            }
            '[' => rest = &rest[rest.find(']').ok_or("a bracket is not closed")?..],
            '0'..='9' => {
                rest = rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
                continue;
            }
            ' ' | ',' | '/' | '*' | '+' | '-' | '<' | '>' | '=' | '!' => {}
            other => return Err(format!("{other:?} is not understood")),
        }
        rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
    }
    if calls.is_empty() { Ok(asked) } else { Err("a parenthesis is not closed".to_owned()) }
}

/// What is wrong with an expression.
fn wrong(expression: &str) -> Result<(), String> {
    let known: BTreeMap<&str, (&str, &[&str])> =
        names::all().map(|(name, kind, labels, _)| (name, (kind, labels))).collect();
    let asked = read(expression)?;
    let mut labels: BTreeSet<&str> = ADDED.into();
    for (metric, counted) in &asked.metrics {
        if MADE.contains(&metric.as_str()) {
            continue;
        }
        let base = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| metric.strip_suffix(suffix));
        let (kind, has) = match (known.get(metric.as_str()), base.and_then(|base| known.get(base))) {
            (Some(("histogram", _)), _) => {
                return Err(format!("{metric} is a histogram: it has _bucket, _sum, _count"));
            }
            (Some(found), _) => *found,
            (None, Some(("histogram", labels))) => ("counter", *labels),
            (None, _) => return Err(format!("there is no metric {metric}")),
        };
        if counted != &(kind == "counter") {
            return Err(format!("{metric} is a {kind}"));
        }
        labels.extend(has);
        labels.extend(metric.ends_with("_bucket").then_some("le"));
    }
    if asked.metrics.is_empty() {
        return Err("it asks for nothing".to_owned());
    }
    match asked.labels.iter().find(|label| !labels.contains(label.as_str())) {
        Some(label) => Err(format!("none of its metrics has the label {label}")),
        None => Ok(()),
    }
}

fn file(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every expression of the dashboard with its panel's title, and the labels of its legend.
fn panels() -> Vec<(String, String, Vec<String>)> {
    let dashboard: Value = serde_json::from_str(&file("deploy/grafana/synod.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| {
        let title = panel["title"].as_str().expect("a title").to_owned();
        let targets = panel["targets"].as_array().cloned().unwrap_or_default();
        targets.into_iter().map(move |target| {
            let text = |name: &str| target[name].as_str().expect("text").to_owned();
            let legend = text("legendFormat");
            let named =
                legend.split("{{").skip(1).filter_map(|part| part.split("}}").next()).map(str::to_owned);
            (title.clone(), text("expr"), named.collect())
        })
    });
    targets.collect()
}

#[test]
fn the_reader_finds_what_is_wrong() {
    let check = |expression: &str, want: Option<&str>| match (wrong(expression), want) {
        (Ok(()), None) => {}
        (Err(why), Some(part)) if why.contains(part) => {}
        (got, _) => panic!("{expression}: {got:?}, and not {want:?}"),
    };
    check("sum by (status) (rate(synod_tasks_ended_total{status!=\"x\"}[5m])) / 2 > 0.1", None);
    check("histogram_quantile(0.9, sum by (le) (rate(synod_task_seconds_bucket[5m])))", None);
    check("up{job=\"synod\"} == 0", None);
    check("sum(rate(synod_tasks_finished_total[5m]))", Some("there is no metric"));
    check("sum(rate(synod_task_seconds[5m]))", Some("is a histogram"));
    check("sum(synod_tasks_ended_total)", Some("is a counter"));
    check("rate(synod_agents[5m])", Some("is a gauge"));
    check("sum by (agent) (rate(synod_tasks_ended_total[5m]))", Some("label agent"));
    check("synod_agents{kind=\"x\"}", Some("label kind"));
    check("sum by (le) (synod_agents)", Some("label le"));
    check("sum(synod_agents", Some("not closed"));
    check("deriv(synod_agents)", Some("no function"));
    check("1", Some("asks for nothing"));
}

#[test]
fn the_dashboard_shows_metrics_that_there_are() {
    let panels = panels();
    for (title, expression, legend) in &panels {
        wrong(expression).unwrap_or_else(|why| panic!("{title}: {expression}: {why}"));
        let asked = read(expression).expect("it was read");
        let missing = legend.iter().find(|label| !asked.labels.contains(*label) && *label != "instance");
        assert_eq!(missing, None, "{title}: the legend names what {expression} does not keep");
    }
    // Everything that there is, is shown.
    let shown: String = panels.into_iter().map(|(_, expression, _)| expression + "\n").collect();
    let not_shown: Vec<&str> =
        names::all().map(|(name, ..)| name).filter(|name| !shown.contains(name)).collect();
    assert_eq!(not_shown, [""; 0]);
}

#[test]
fn the_alerts_are_rules_on_metrics_that_there_are() {
    let rules: Value = serde_yaml_ng::from_str(&file("deploy/prometheus/alerts.yml")).expect("YAML");
    let mut names = BTreeSet::new();
    for group in rules["groups"].as_array().expect("groups") {
        assert!(group["name"].is_string());
        for rule in group["rules"].as_array().expect("rules") {
            let members: BTreeSet<&str> =
                rule.as_object().expect("a rule").keys().map(String::as_str).collect();
            let allowed = BTreeSet::from(["alert", "expr", "for", "labels", "annotations"]);
            assert!(members.is_subset(&allowed), "{members:?}");
            let name = rule["alert"].as_str().expect("a name");
            assert!(name.starts_with("Synod") && names.insert(name.to_owned()), "{name} is one of its own");
            let expression = rule["expr"].as_str().expect("an expression");
            wrong(expression).unwrap_or_else(|why| panic!("{name}: {expression}: {why}"));
            assert!(["==", ">", "<"].iter().any(|sign| expression.contains(sign)), "{name} compares");
            if let Some(span) = rule.get("for") {
                let span = span.as_str().expect("a time").trim_end_matches(['s', 'm', 'h']);
                assert!(span.parse::<u32>().is_ok(), "{name}: for {span}");
            }
            assert!(matches!(rule["labels"]["severity"].as_str(), Some("critical" | "warning")), "{name}");
            let asked = read(expression).expect("it was read");
            for part in ["summary", "description"] {
                let text = rule["annotations"][part].as_str().unwrap_or_else(|| panic!("{part} of {name}"));
                for label in text.split("$labels.").skip(1) {
                    let label =
                        label.split(|c: char| !(c.is_alphanumeric() || c == '_')).next().unwrap_or_default();
                    assert!(asked.labels.contains(label) || label == "instance", "{name} names {label}");
                }
            }
        }
    }
    assert!(names.len() >= 10, "{names:?}");
}

#[test]
fn the_documentation_tells_of_every_metric() {
    let told = file("docs/telemetry.md");
    for (name, kind, labels, help) in names::all() {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        let row = format!("| `{name}` | {kind} | {} | {help} |", labels.join(", "));
        assert!(told.contains(&row), "docs/telemetry.md lacks\n{row}");
    }
    let rows = told.lines().filter(|line| line.starts_with("| `synod_")).count();
    assert_eq!(rows, names::all().count(), "and of none that there is not");
}
