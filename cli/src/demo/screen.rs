//! A report for people: tables that fit the screen, no row that an odd file name could break.

use super::path::FilePath;
use super::report::{Duplicates, MeshFigures, Report, Takeover, Totals};
use crate::terminal::{Screen, harmless, thousands};
use comfy_table::{Attribute, Cell, CellAlignment, ColumnConstraint, Table, Width};
use std::collections::BTreeMap;
use std::time::Duration;

/// Languages that have a row of their own; the others share one.
const LANGUAGE_ROWS: usize = 15;
/// Groups of duplicates that are shown.
const DUPLICATE_ROWS: usize = 8;
/// Paths of one group that are shown.
const PATHS_SHOWN: usize = 3;
/// Failed files that are shown.
const FAILED_ROWS: usize = 10;

/// Draws the whole report. Every line ends with a line feed, and tables fit the screen's width.
pub fn draw(report: &Report, screen: Screen) -> String {
    let sections = [
        Some(by_language(report, screen)),
        Some(largest(report, screen)),
        duplicates(report, screen),
        failed(report, screen),
        Some(mesh(&report.mesh, screen)),
    ];
    let mut out = String::new();
    for (title, table) in sections.into_iter().flatten() {
        out.push('\n');
        out.push_str(&bold(&title, screen));
        out.push('\n');
        out.push_str(&table.trim_fmt());
        out.push('\n');
    }
    if let Some(takeover) = &report.mesh.takeover {
        out.push('\n');
        out.push_str(&took_over(takeover, report.mesh.tasks));
    }
    if let Some(why) = &report.mesh.not_killed {
        out.push_str(&format!("\nNo agent was killed: {}.\n", harmless(why)));
    }
    out.push('\n');
    out.push_str(&summary(report));
    out
}

fn bold(text: &str, screen: Screen) -> String {
    match screen.colour {
        true => format!("\x1b[1m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

/// These columns hold figures.
fn align_right(table: &mut Table, columns: impl IntoIterator<Item = usize>) {
    for index in columns {
        if let Some(column) = table.column_mut(index) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
}

fn figures(name: &str, totals: &Totals) -> Vec<String> {
    let Totals { files, bytes, lines, words, todos } = *totals;
    let mut row = vec![name.to_owned()];
    row.extend([files, lines, words, bytes, todos].map(thousands));
    row
}

fn by_language(report: &Report, screen: Screen) -> (String, Table) {
    let mut table = screen.table(&["Language", "Files", "Lines", "Words", "Bytes", "TODO"]);
    let (shown, rest) = report.languages.split_at(report.languages.len().min(LANGUAGE_ROWS));
    for row in shown {
        table.add_row(figures(row.language.as_str(), &row.totals));
    }
    if !rest.is_empty() {
        let sum = rest.iter().fold(Totals::default(), |sum, row| Totals {
            files: sum.files + row.totals.files,
            bytes: sum.bytes + row.totals.bytes,
            lines: sum.lines + row.totals.lines,
            words: sum.words + row.totals.words,
            todos: sum.todos + row.totals.todos,
        });
        table.add_row(figures(&format!("({} more)", rest.len()), &sum));
    }
    let total = figures("Total", &report.totals);
    table.add_row(total.into_iter().map(|text| Cell::new(text).add_attribute(Attribute::Bold)));
    align_right(&mut table, 1..6);
    ("By language".to_owned(), table)
}

fn largest(report: &Report, screen: Screen) -> (String, Table) {
    let mut table = screen.table(&["File", "Language", "Lines", "Bytes"]);
    for file in &report.largest {
        table.add_row([
            shortened(&file.path, screen),
            file.language.to_string(),
            thousands(file.lines),
            thousands(file.bytes),
        ]);
    }
    align_right(&mut table, 2..4);
    ("Largest files".to_owned(), table)
}

fn duplicates(report: &Report, screen: Screen) -> Option<(String, Table)> {
    let groups = &report.duplicates;
    if groups.is_empty() {
        return None;
    }
    let mut table = screen.table(&["Same content", "Copies", "Bytes each", "SHA-256"]);
    for group in groups.iter().take(DUPLICATE_ROWS) {
        table.add_row([
            copies(group, screen),
            thousands(group.paths.len() as u64),
            thousands(group.bytes),
            group.sha256.short(),
        ]);
    }
    align_right(&mut table, 1..3);
    let saved = thousands(groups.iter().map(Duplicates::to_be_saved).sum());
    let mut title =
        format!("Duplicates: {}, {saved} bytes more than needed", count(groups.len() as u64, "content"));
    if groups.len() > DUPLICATE_ROWS {
        title.push_str(&format!(" (the first {DUPLICATE_ROWS})"));
    }
    Some((title, table))
}

fn copies(group: &Duplicates, screen: Screen) -> String {
    let mut lines: Vec<String> =
        group.paths.iter().take(PATHS_SHOWN).map(|path| shortened(path, screen)).collect();
    if group.paths.len() > PATHS_SHOWN {
        lines.push(format!("and {} more", thousands((group.paths.len() - PATHS_SHOWN) as u64)));
    }
    lines.join("\n")
}

fn failed(report: &Report, screen: Screen) -> Option<(String, Table)> {
    let (shown, rest) = report.failed.split_at(report.failed.len().min(FAILED_ROWS));
    if shown.is_empty() {
        return None;
    }
    let mut table = screen.table(&["Not read", "Why"]);
    for file in shown {
        table.add_row([shortened(&file.path, screen), harmless(&file.why)]);
    }
    if !rest.is_empty() {
        table.add_row([format!("and {} more", thousands(rest.len() as u64)), String::new()]);
    }
    Some((count(report.failed.len() as u64, "file") + " not read", table))
}

fn mesh(mesh: &MeshFigures, screen: Screen) -> (String, Table) {
    let mut table = screen.table(&[]);
    let time = |duration: Option<Duration>| duration.map_or_else(|| "-".to_owned(), readable);
    let per_second = match mesh.elapsed.as_secs_f64() {
        0.0 => String::new(),
        seconds => format!(" ({:.0} tasks/s)", mesh.completed as f64 / seconds),
    };
    let rows = [
        ("Tasks", format!("{} submitted, {} completed", thousands(mesh.tasks), thousands(mesh.completed))),
        (
            "Attempts",
            format!(
                "{} ({} retried after a failure, {} reassigned)",
                thousands(mesh.attempts),
                thousands(mesh.retries),
                thousands(mesh.reassigned)
            ),
        ),
        ("Agents lost", thousands(mesh.agents_lost)),
        ("Completed by", shares(&mesh.completed_by)),
        (
            "Latency",
            format!(
                "p50 {}, p99 {}, longest {}",
                time(mesh.latency.percentile(50.0)),
                time(mesh.latency.percentile(99.0)),
                time(mesh.latency.max())
            ),
        ),
        ("Elapsed", readable(mesh.elapsed) + &per_second),
    ];
    for (what, figure) in rows {
        table.add_row([what.to_owned(), figure]);
    }
    table.set_constraints([ColumnConstraint::LowerBoundary(Width::Fixed(18))]);
    ("What the mesh did".to_owned(), table)
}

fn took_over(takeover: &Takeover, tasks: u64) -> String {
    let Takeover {
        agent_id,
        completed_before,
        held,
        lost_with_it,
        taken_over_by,
        lost_after,
        made_good_after,
    } = takeover;
    let mut out = format!(
        "{} was killed (SIGKILL) when {} of {} were completed.\n",
        harmless(agent_id),
        thousands(*completed_before),
        count(tasks, "task"),
    );
    if let Some(after) = lost_after {
        out.push_str(&format!("The mesh called it lost {} later.\n", readable(*after)));
    }
    out.push_str(&format!("It held {} in that moment.\n", count(*held, "task")));
    match (lost_with_it, taken_over_by.is_empty()) {
        (0, _) => out.push_str("None was lost with it: their results were out already.\n"),
        (lost, true) => {
            out.push_str(&format!("{} lost with it; nobody completed them.\n", were(*lost)));
        }
        (lost, false) => {
            // What was still given to it, before its loss was known, is lost with it as well.
            let others = shares(taken_over_by);
            out.push_str(&format!("{} lost with it and completed by: {others}.\n", were(*lost)));
        }
    }
    if let Some(after) = made_good_after {
        out.push_str(&format!("All of that was made good {} after the kill.\n", readable(*after)));
    }
    out
}

fn were(tasks: u64) -> String {
    format!("{} {}", count(tasks, "task"), if tasks == 1 { "was" } else { "were" })
}

fn summary(report: &Report) -> String {
    let Totals { files, bytes, lines, words, todos } = report.totals;
    let mut out = format!(
        "Input:  {}\nTotals: {}, {}, {}, {}, {}\n",
        harmless(&report.input),
        count(files, "file"),
        count(lines, "line"),
        count(words, "word"),
        count(bytes, "byte"),
        count(todos, "TODO marker"),
    );
    let left = &report.left_out;
    let besides: Vec<String> = [
        (left.symlinks, "symbolic link"),
        (left.others, "special file"),
        (left.gone, "deleted file"),
        (left.unreadable, "unreadable place"),
    ]
    .into_iter()
    .filter(|(number, _)| *number > 0)
    .map(|(number, what)| count(number, what))
    .collect();
    if !besides.is_empty() {
        out.push_str(&format!("Left out: {}\n", besides.join(", ")));
    }
    for place in &left.unreadable_named {
        out.push_str(&format!("  {}\n", harmless(place)));
    }
    out
}

fn shares(shares: &BTreeMap<String, u64>) -> String {
    let parts: Vec<String> =
        shares.iter().map(|(who, number)| format!("{} {}", harmless(who), thousands(*number))).collect();
    match parts.is_empty() {
        true => "-".to_owned(),
        false => parts.join(", "),
    }
}

fn count(number: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// Three digits or so, with the unit that fits.
fn readable(duration: Duration) -> String {
    let ms = duration.as_secs_f64() * 1_000.0;
    match ms {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms => format!("{:.2} s", ms / 1_000.0),
    }
}

/// A path in about half the screen; of a long one its end, which tells most.
fn shortened(path: &FilePath, screen: Screen) -> String {
    let shown = path.on_screen();
    let room = usize::from(screen.width) / 2;
    let length = shown.chars().count();
    match length <= room {
        true => shown,
        false => std::iter::once('\u{2026}').chain(shown.chars().skip(length - room + 1)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::analyse::FileFacts;
    use super::super::language::language_of;
    use super::super::report::FailedFile;
    use super::*;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt as _;

    fn example() -> Report {
        let long = "very/long/".repeat(20) + "name.rs";
        let names: [&[u8]; 6] = [
            b"src/main.rs",
            b"evil\x1b[2J\nname.py",
            b"\xff\xfe.bin",
            long.as_bytes(),
            b"copy.rs",
            b"wide-\xe6\xbc\xa2\xe5\xad\x97.md",
        ];
        let facts = names.iter().enumerate().map(|(i, name)| {
            let path = FilePath::new(OsStr::from_bytes(name)).unwrap();
            let digit = if i == 4 { 0 } else { i };
            let sha256 = digit.to_string().repeat(64).parse().unwrap();
            let language = language_of(&path);
            (
                path,
                FileFacts { bytes: 1_234_567 * i as u64, lines: 10, words: 30, language, sha256, todos: 1 },
            )
        });
        let mut mesh = MeshFigures {
            tasks: 6,
            completed: 5,
            attempts: 7,
            reassigned: 1,
            agents_lost: 1,
            elapsed: Duration::from_millis(1_500),
            completed_by: [("agent-a".to_owned(), 3), ("agent-b".to_owned(), 2)].into(),
            takeover: Some(Takeover {
                agent_id: "agent-c".to_owned(),
                completed_before: 3,
                held: 1,
                lost_with_it: 1,
                taken_over_by: [("agent-a".to_owned(), 1)].into(),
                lost_after: Some(Duration::from_millis(12)),
                made_good_after: Some(Duration::from_millis(45)),
            }),
            ..MeshFigures::default()
        };
        mesh.latency.record(Duration::from_micros(4_250));
        let failed = FailedFile { path: FilePath::new("locked").unwrap(), why: "cannot\nopen".to_owned() };
        Report::new("/some/tree", &facts.collect(), vec![failed], Default::default(), mesh)
    }

    #[test]
    fn no_line_is_wider_than_the_screen_and_none_carries_control_characters() {
        for width in [75, 80, 100] {
            let drawn = draw(&example(), Screen { width, colour: false });
            for line in drawn.lines() {
                let wide = line.chars().map(|c| if c > '\u{2e80}' { 2 } else { 1 }).sum::<usize>();
                assert!(wide <= usize::from(width), "{wide} > {width}: {line}");
            }
            assert!(!drawn.chars().any(|c| c.is_control() && c != '\n'), "{drawn:?}");
        }
    }

    #[test]
    fn the_report_says_who_was_killed_and_who_took_over() {
        let drawn = draw(&example(), Screen::PLAIN);
        for said in [
            "agent-c was killed (SIGKILL) when 3 of 6 tasks were completed.",
            "The mesh called it lost 12 ms later.",
            "It held 1 task in that moment.",
            "1 task was lost with it and completed by: agent-a 1.",
            "All of that was made good 45 ms after the kill.",
            "p50 4.25 ms",
            "Input:  /some/tree\nTotals: 6 files, 60 lines, 180 words,",
        ] {
            assert!(drawn.contains(said), "{said:?} is missing in\n{drawn}");
        }
    }

    #[test]
    fn colour_is_only_where_it_is_wanted() {
        assert!(draw(&example(), Screen { width: 100, colour: true }).contains('\x1b'));
        assert!(!draw(&example(), Screen::PLAIN).contains('\x1b'));
    }
}
