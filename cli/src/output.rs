//! What a command says to the world: data on stdout as a table, JSON or YAML, everything else on
//! stderr, and an exit status.
//!
//! A command makes [`Value`]s and names [`Column`]s; it never prints by itself.

use crate::terminal::{Screen, harmless};
use comfy_table::CellAlignment;
use serde::Serialize;
use serde_json::Value;
use std::io::{self, Write};
use std::process::ExitCode;
use synod_protocol::{Code, Error};

/// How to write data.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: one JSON value.
    Json,
    /// For both: one YAML document.
    Yaml,
}

/// How a command ended, as its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it did what was asked.
    Done,
    /// 1: it tried, and it failed.
    Failed,
    /// 2: what was asked makes no sense.
    Usage,
    /// 3: there is no such thing.
    NotFound,
    /// 4: the mesh said no.
    Refused,
    /// 5: the mesh cannot be reached.
    Unavailable,
}

impl Exit {
    /// The exit status for a refusal of this kind.
    pub fn of(code: Code) -> Exit {
        match code {
            Code::InvalidArgument => Exit::Usage,
            Code::NotFound => Exit::NotFound,
            Code::Unauthenticated
            | Code::PermissionDenied
            | Code::AlreadyExists
            | Code::Conflict
            | Code::InvalidTransition
            | Code::Fenced
            | Code::PayloadTooLarge
            | Code::PositionLost
            | Code::Unprocessable
            | Code::Overloaded => Exit::Refused,
            Code::Unavailable => Exit::Unavailable,
            Code::DeadlineExceeded | Code::Internal => Exit::Failed,
        }
    }

    /// The number.
    pub fn status(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::NotFound => 3,
            Exit::Refused => 4,
            Exit::Unavailable => 5,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.status())
    }
}

/// Why a command did not do what was asked. `main` prints it and exits with [`Stop::exit`].
#[derive(Debug, thiserror::Error)]
pub enum Stop {
    /// The mesh refused, or could not be reached.
    #[error("{0}")]
    Mesh(Box<Error>),
    /// The command line or the configuration makes no sense.
    #[error("{0}")]
    Usage(String),
    /// Something on this machine went wrong.
    #[error("{0}")]
    Failed(String),
    /// A signal asked this process to end before it was done.
    #[error("ended by {0}")]
    Signal(&'static str),
    /// stdout cannot be written. Not made by `?`: another pipe that breaks is a failure.
    #[error("cannot write to stdout: {0}")]
    Stdout(io::Error),
}

impl From<Error> for Stop {
    fn from(error: Error) -> Stop {
        Stop::Mesh(Box::new(error))
    }
}

impl Stop {
    /// The exit status. A reader of stdout that went away (`synod … | head`) had enough: done.
    pub fn exit(&self) -> Exit {
        match self {
            Stop::Mesh(error) => Exit::of(error.code),
            Stop::Usage(_) => Exit::Usage,
            Stop::Failed(_) | Stop::Signal(_) => Exit::Failed,
            Stop::Stdout(_) if self.is_silent() => Exit::Done,
            Stop::Stdout(_) => Exit::Failed,
        }
    }

    /// Whether there is nobody left to tell.
    pub fn is_silent(&self) -> bool {
        matches!(self, Stop::Stdout(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// One column of a table of entities.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    title: &'static str,
    pointer: &'static str,
    right: bool,
}

impl Column {
    /// Shows what the JSON pointer finds in each entity (`/task_id`).
    pub const fn new(title: &'static str, pointer: &'static str) -> Column {
        Column { title, pointer, right: false }
    }

    /// The same column, with its figures to the right.
    pub const fn right(self) -> Column {
        Column { right: true, ..self }
    }
}

/// Where data goes: a writer (stdout), the asked format, the screen.
#[derive(Debug)]
pub struct Output<W> {
    writer: W,
    format: Format,
    screen: Screen,
}

impl Output<io::Stdout> {
    /// To stdout, as that is.
    pub fn stdout(format: Format) -> Self {
        Output::new(io::stdout(), format, Screen::of_stdout())
    }
}

impl<W: Write> Output<W> {
    /// To any writer.
    pub fn new(writer: W, format: Format, screen: Screen) -> Self {
        Output { writer, format, screen }
    }

    /// The asked format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What the screen can take.
    pub fn screen(&self) -> Screen {
        self.screen
    }

    /// Writes entities of one kind: a row each, or an array.
    ///
    /// # Errors
    /// The writer's.
    pub fn list(&mut self, items: &[Value], columns: &[Column]) -> Result<(), Stop> {
        if self.format != Format::Table {
            return self.structured(&items);
        }
        let titles: Vec<&str> = columns.iter().map(|column| column.title).collect();
        let mut table = self.screen.table(&titles);
        for item in items {
            table.add_row(columns.iter().map(|column| cell(item.pointer(column.pointer))));
        }
        for (index, column) in columns.iter().enumerate() {
            if let (true, Some(shown)) = (column.right, table.column_mut(index)) {
                shown.set_cell_alignment(CellAlignment::Right);
            }
        }
        self.text(&(table.trim_fmt() + "\n"))
    }

    /// Writes one entity: its fields one below the other, or an object.
    ///
    /// # Errors
    /// The writer's.
    pub fn entity(&mut self, entity: &Value) -> Result<(), Stop> {
        if self.format != Format::Table {
            return self.structured(entity);
        }
        let mut table = self.screen.table(&[]);
        let mut rows = Vec::new();
        fields("", entity, &mut rows);
        table.add_rows(rows);
        self.text(&(table.trim_fmt() + "\n"))
    }

    /// Writes any data as JSON or YAML; as JSON where a table was asked for.
    ///
    /// # Errors
    /// The writer's.
    pub fn structured<T: Serialize + ?Sized>(&mut self, data: &T) -> Result<(), Stop> {
        let text = match self.format {
            Format::Yaml => serde_yaml_ng::to_string(data).map_err(|e| Stop::Failed(e.to_string()))?,
            Format::Json | Format::Table => {
                serde_json::to_string_pretty(data).map_err(|e| Stop::Failed(e.to_string()))? + "\n"
            }
        };
        self.text(&text)
    }

    /// Writes text as it is.
    ///
    /// # Errors
    /// The writer's.
    pub fn text(&mut self, text: &str) -> Result<(), Stop> {
        let written = self.writer.write_all(text.as_bytes()).and_then(|()| self.writer.flush());
        written.map_err(Stop::Stdout)
    }
}

/// One value in one cell.
fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => harmless(text),
        Some(Value::Array(items)) if items.iter().all(|item| !item.is_array() && !item.is_object()) => {
            items.iter().map(|item| cell(Some(item))).collect::<Vec<_>>().join(", ")
        }
        Some(other) => harmless(&other.to_string()),
    }
}

/// An entity's fields, nested ones as `outer.inner`; lists of objects numbered from 1.
fn fields(name: &str, value: &Value, rows: &mut Vec<[String; 2]>) {
    let inner = |key: &str| if name.is_empty() { harmless(key) } else { format!("{name}.{}", harmless(key)) };
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().for_each(|(key, value)| fields(&inner(key), value, rows));
        }
        Value::Array(items) if items.iter().any(|item| item.is_object() || item.is_array()) => {
            items.iter().zip(1..).for_each(|(item, number)| fields(&inner(&number.to_string()), item, rows));
        }
        value => rows.push([name.to_owned(), cell(Some(value))]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: [Column; 3] = [
        Column::new("TASK", "/task_id"),
        Column::new("BY", "/attempts/0/agent_id"),
        Column::new("MS", "/ms").right(),
    ];

    fn written(format: Format, write: impl FnOnce(&mut Output<&mut Vec<u8>>)) -> String {
        let mut bytes = Vec::new();
        write(&mut Output::new(&mut bytes, format, Screen::PLAIN));
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_list_is_a_table_or_an_array() {
        let items = [
            json!({"task_id": "a", "attempts": [{"agent_id": "x"}], "ms": 12345}),
            json!({"task_id": "b\u{1b}[2J\n", "ms": null}),
        ];
        let table = written(Format::Table, |out| out.list(&items, &COLUMNS).unwrap());
        assert_eq!(
            table.lines().map(str::trim_end).collect::<Vec<_>>(),
            [
                " TASK           BY      MS",
                "\u{2500}".repeat(27).as_str(),
                " a              x    12345",
                " b\\u{1b}[2J\\n   -        -"
            ]
        );
        let parse: Value =
            serde_json::from_str(&written(Format::Json, |out| out.list(&items, &COLUMNS).unwrap())).unwrap();
        assert_eq!(parse, json!(items));
        let yaml = written(Format::Yaml, |out| out.list(&items, &COLUMNS).unwrap());
        assert_eq!(serde_yaml_ng::from_str::<Value>(&yaml).unwrap(), json!(items));
    }

    #[test]
    fn one_entity_shows_its_fields_one_below_the_other() {
        let task = json!({"task_id": "a", "labels": ["x", "y"], "attempts": [{"attempt": 1}, {"attempt": 2}], "error": {}});
        let table = written(Format::Table, |out| out.entity(&task).unwrap());
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
        for row in [
            &["task_id", "a"][..],
            &["labels", "x,", "y"],
            &["attempts.1.attempt", "1"],
            &["attempts.2.attempt", "2"],
        ] {
            assert!(rows.iter().any(|r| r == row), "{row:?} is missing in {rows:?}");
        }
    }

    #[test]
    fn every_code_has_its_exit_status() {
        let check = |code, status| assert_eq!(Exit::of(code).status(), status, "{code:?}");
        check(Code::InvalidArgument, 2);
        check(Code::NotFound, 3);
        check(Code::PermissionDenied, 4);
        check(Code::InvalidTransition, 4);
        check(Code::Conflict, 4);
        check(Code::Unavailable, 5);
        check(Code::DeadlineExceeded, 1);
        check(Code::Internal, 1);
    }

    #[test]
    fn a_refusal_of_the_mesh_ends_with_its_exit_status() {
        let stop = Stop::from(Error::new(Code::NotFound, "there is no task \"t1\""));
        assert_eq!(stop.exit(), Exit::NotFound);
        assert!(stop.to_string().contains("there is no task"), "{stop}");
    }

    #[test]
    fn a_reader_that_has_had_enough_is_no_failure() {
        let gone = Stop::Stdout(io::ErrorKind::BrokenPipe.into());
        assert_eq!((gone.exit(), gone.is_silent()), (Exit::Done, true));
        let full = Stop::Stdout(io::ErrorKind::StorageFull.into());
        assert_eq!((full.exit(), full.is_silent()), (Exit::Failed, false));
    }
}
