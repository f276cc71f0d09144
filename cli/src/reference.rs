//! Metrics, settings, error codes and commands, as the code has them: rows for `synod reference`, and the pages of
//! `docs/reference`, which a test compares with this.

use crate::commands::command_line;
use crate::output::Exit;
use crate::settings::KEYS;
use clap::{Arg, Command};
use serde_json::{Value, json};
use std::fmt::Write as _;
use synod_infra::telemetry::names;
use synod_protocol::Code;

/// A page of the reference.
#[derive(Debug)]
pub struct Page {
    /// Its file's name.
    pub file: &'static str,
    /// Markdown.
    pub text: String,
}

/// What `/metrics` tells: `name`, `kind`, `says`.
pub fn metrics() -> Vec<Value> {
    names::all()
        .map(|(name, kind, labels, says)| json!({ "name": name, "kind": kind, "labels": labels, "says": says }))
        .collect()
}

/// Every setting: `name`, `environment`, `flag`, `default`, `says`.
pub fn settings() -> Vec<Value> {
    let root = command_line();
    let told = |name: &str| {
        let flag = root.get_arguments().find(|flag| flag.get_id() == name);
        // The variable has a column of its own.
        flag.map(|flag| help(flag).split(" [env: ").next().unwrap_or_default().to_owned())
    };
    let row = |key: &crate::settings::Key| {
        let flag = format!("--{}", key.name.replace('_', "-"));
        let says = told(key.name).unwrap_or_default();
        json!({ "name": key.name, "environment": key.environment, "flag": flag, "default": key.default, "says": says })
    };
    KEYS.iter().map(row).collect()
}

/// Every error code: `code`, `http`, `exit`, `retryable`, `says`.
pub fn errors() -> Vec<Value> {
    let row = |code: Code| {
        json!({
            "code": code.as_str(),
            "http": code.http_status(),
            "exit": Exit::of(code).status(),
            "retryable": code.is_retryable(),
            "says": code.says(),
        })
    };
    Code::ALL.into_iter().map(row).collect()
}

/// Every command: `command`, `says`, `usage`, `arguments` [{`name`, `says`}].
pub fn commands() -> Vec<Value> {
    let mut root = command_line();
    root.build();
    let mut all = Vec::new();
    gather(&root, "synod", &mut all);
    all
}

fn gather(command: &Command, path: &str, all: &mut Vec<Value>) {
    let inner = command.get_subcommands().filter(|inner| !inner.is_hide_set() && inner.get_name() != "help");
    let mut inner: Vec<&Command> = inner.collect();
    if inner.is_empty() || !command.is_subcommand_required_set() {
        all.push(described(command, path));
    }
    inner.sort_by_key(|inner| inner.get_display_order());
    for inner in inner {
        gather(inner, &format!("{path} {}", inner.get_name()), all);
    }
}

fn described(command: &Command, path: &str) -> Value {
    let own = |argument: &&Arg| {
        let common = argument.is_global_set() || ["help", "version"].contains(&argument.get_id().as_str());
        !common && !argument.is_hide_set()
    };
    let shown = |argument: &Arg| json!({ "name": named(argument), "says": help(argument) });
    let arguments: Vec<Value> = command.get_arguments().filter(own).map(shown).collect();
    let says = command.get_about().map(|about| about.to_string()).unwrap_or_default();
    let words: Vec<&str> = arguments.iter().filter_map(|argument| argument["name"].as_str()).collect();
    let usage = words.into_iter().filter(|word| !word.starts_with('-'));
    let usage = [path].into_iter().chain(usage).collect::<Vec<&str>>().join(" ");
    json!({ "command": path, "says": says, "usage": usage, "arguments": arguments })
}

/// As it is written on a command line: `--wait-ms MS`, `TASK`, `[REASON]`.
fn named(argument: &Arg) -> String {
    let takes = argument.get_action().takes_values();
    let value = match argument.get_value_names() {
        Some(names) if takes => names.iter().map(|name| name.to_string()).collect::<Vec<String>>().join(" "),
        _ => String::new(),
    };
    match (argument.get_long(), argument.get_short()) {
        (Some(long), _) if value.is_empty() => format!("--{long}"),
        (Some(long), _) => format!("--{long} {value}"),
        (None, Some(short)) => format!("-{short} {value}").trim_end().to_owned(),
        (None, None) if argument.is_required_set() => value,
        (None, None) => format!("[{value}]"),
    }
}

fn help(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help());
    help.map(|help| help.to_string().split_whitespace().collect::<Vec<&str>>().join(" ")).unwrap_or_default()
}

const MADE: &str = "Made by `synod reference --write docs/reference`: change the code, not this page.";

const METRICS: &str =
    "`GET /metrics` on a coordinator, in Prometheus' text format. Labels stand after \"by\".";
const SETTINGS: &str = "A flag (`--kafka-brokers`) is heard before the environment, that before `synod.toml` \
    (`kafka_brokers = \"…\"`), that before the default. `synod config` shows what is in force and who said so. A value that \
    cannot be is refused with its range and unit.";
const ERRORS: &str = "The same over HTTP (problem+json), in replies through Kafka and Redis, in the SDK and on the command line, \
    where it is the exit status. *Repeat*: the same request, with the same ids, may succeed later.";
const COMMANDS: &str = "Each takes `--output table|json|yaml`, `--help`, and the [settings](configuration.md) as flags; those that talk \
    to a mesh take `--endpoints FILE`. Exit status: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 refused, 5 unavailable.";

/// The pages of `docs/reference`.
pub fn pages() -> Vec<Page> {
    let page = |file, title: &str, says: &str, table: String| {
        let text = format!("# {title}\n\n{MADE}\n\n{says}\n\n{table}");
        Page { file, text }
    };
    let metrics = table(&[("name", "metric"), ("kind", "kind"), ("says", "what")], &metrics());
    let settings =
        [("name", "setting"), ("environment", "environment"), ("default", "default"), ("says", "what")];
    let errors =
        [("code", "code"), ("http", "HTTP"), ("exit", "exit"), ("retryable", "repeat"), ("says", "when")];
    vec![
        page("metrics.md", "Metrics", METRICS, metrics),
        page("configuration.md", "Configuration", SETTINGS, table(&settings, &self::settings())),
        page("errors.md", "Error codes", ERRORS, table(&errors, &self::errors())),
        page("commands.md", "Commands", COMMANDS, listed(&commands())),
    ]
}

/// Rows below one another; each column is a member of a row and its head.
fn table(columns: &[(&str, &str)], rows: &[Value]) -> String {
    let heads: Vec<&str> = columns.iter().map(|(_, head)| *head).collect();
    let mut text = format!("| {} |\n|{}\n", heads.join(" | "), "---|".repeat(heads.len()));
    for row in rows {
        let cell = |(member, _): &(&str, &str)| match &row[*member] {
            Value::String(said) if *member == "says" => in_cell(said),
            Value::String(said) => format!("`{}`", in_cell(said)),
            Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
            other => other.to_string(),
        };
        let cells: Vec<String> = columns.iter().map(cell).collect();
        // A text has no writer that could fail.
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

fn in_cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn listed(commands: &[Value]) -> String {
    let mut text = String::new();
    for command in commands {
        let (name, says) =
            (command["usage"].as_str().unwrap_or_default(), command["says"].as_str().unwrap_or_default());
        let _ = writeln!(text, "## `{name}`\n\n{says}.\n");
        let arguments = command["arguments"].as_array().map_or(&[] as &[Value], Vec::as_slice);
        if !arguments.is_empty() {
            let _ = writeln!(text, "{}", table(&[("name", "argument"), ("says", "what")], arguments));
        }
    }
    let ends = text.trim_end().len();
    text.truncate(ends);
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn the_pages_are_as_the_code_is() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
        for page in pages() {
            let kept = std::fs::read_to_string(folder.join(page.file)).unwrap_or_default();
            assert!(
                kept == page.text,
                "docs/reference/{} is stale: run `synod reference --write docs/reference`",
                page.file
            );
        }
    }

    #[test]
    fn every_setting_and_every_command_says_what_it_is_for() {
        for row in settings().iter().chain(&commands()).chain(&errors()).chain(&metrics()) {
            assert!(row["says"].as_str().is_some_and(|says| !says.is_empty()), "{row}");
        }
        for command in commands() {
            for argument in command["arguments"].as_array().unwrap() {
                assert!(
                    argument["says"].as_str().is_some_and(|says| !says.is_empty()),
                    "{} {argument}",
                    command["command"]
                );
            }
        }
    }
}
