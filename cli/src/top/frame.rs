//! The screen, from what is known and what is looked at: nothing is asked and nothing remembered here.

use super::board::{Board, Listing, Pane};
use super::view::View;
use crate::terminal::harmless;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Row, Table};
use std::time::Duration;

/// Lines over and under the rows: two of the mesh, the panes, the columns' titles, the keys.
const AROUND: u16 = 5;
/// The widest that a column becomes while there are others after it.
const WIDEST: usize = 28;
const KEYS: &str = "q quit  tab 1-4 pane  \u{2191}\u{2193} scroll  / filter";

/// How the coordinator that is asked stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// It has not answered yet.
    Asking,
    /// It answers.
    Here,
    /// It does not, for so long, and why.
    Away(Duration, String),
    /// It answers, and has refused to tell for so long, and why.
    Refusing(Duration, String),
}

/// How many rows fit on a screen of this height.
pub fn page(height: u16) -> usize {
    usize::from(height.saturating_sub(AROUND))
}

/// Draws all of it; `url` is where the coordinator is.
pub fn draw(frame: &mut Frame<'_>, url: &str, board: Option<&Board>, link: &Link, view: &View) {
    let lines = [1, 1, 1].map(Constraint::Length);
    let rows = Constraint::Min(0);
    let [head, summary, panes, list, keys] =
        Layout::vertical([lines[0], lines[1], lines[2], rows, Constraint::Length(1)]).areas(frame.area());
    frame.render_widget(headline(url, board, link), head);
    frame.render_widget(Line::raw(board.map(Board::summary).unwrap_or_default()), summary);
    frame.render_widget(tabs(view.pane), panes);
    let shown = board.map(|board| board.listing(view.pane, &view.filter));
    if let Some(listing) = &shown {
        listed(frame, listing, view, list);
    }
    footer(frame, shown.as_ref(), view, keys);
}

fn headline<'a>(url: &str, board: Option<&Board>, link: &Link) -> Paragraph<'a> {
    let bad = Style::new().fg(Color::Red).add_modifier(Modifier::BOLD);
    let url = harmless(url);
    let line = match (link, board.map(Board::troubles).unwrap_or_default().as_slice()) {
        (Link::Asking, _) => Line::raw(format!("synod top  {url}  asking\u{2026}")),
        (Link::Away(since, why) | Link::Refusing(since, why), _) => {
            let how = if matches!(link, Link::Away(..)) { "UNREACHABLE" } else { "REFUSES" };
            let old = if board.is_some() { "below is what was then; " } else { "" };
            Line::styled(format!("{how} for {} s: {old}{}", since.as_secs(), harmless(why)), bad)
        }
        (Link::Here, []) => Line::from(vec![
            Span::raw(format!("synod top  {url}  ")),
            Span::styled("ready", Style::new().fg(Color::Green)),
        ]),
        (Link::Here, [first, more @ ..]) => {
            let more = if more.is_empty() { String::new() } else { format!(" (and {} more)", more.len()) };
            Line::styled(format!("NOT READY{more}: {first}"), bad)
        }
    };
    Paragraph::new(line)
}

fn tabs<'a>(pane: Pane) -> Line<'a> {
    let tab = |(number, one): (usize, &Pane)| {
        let style = if *one == pane { Style::new().add_modifier(Modifier::REVERSED) } else { Style::new() };
        [Span::styled(format!(" {number} {} ", one.title()), style), Span::raw(" ")]
    };
    Line::from((1..).zip(Pane::ALL.iter()).flat_map(tab).collect::<Vec<_>>())
}

fn listed(frame: &mut Frame<'_>, listing: &Listing, view: &View, area: Rect) {
    let columns = listing.titles.len();
    let width = |column: usize| {
        let cells = listing.rows.iter().filter_map(|row| row.get(column)).map(String::as_str);
        let widest =
            cells.chain([listing.titles[column]]).map(|cell| cell.chars().count()).max().unwrap_or(0);
        // The last takes what is left.
        if column + 1 == columns { Constraint::Min(0) } else { Constraint::Length(clipped(widest)) }
    };
    let from = first_row(listing.rows.len(), view.scroll, usize::from(area.height.saturating_sub(1)));
    let rows = listing.rows.iter().skip(from).take(usize::from(area.height));
    let table = Table::new(rows.map(|row| Row::new(row.iter().map(String::as_str))), (0..columns).map(width))
        .header(Row::new(listing.titles.clone()).style(Style::new().add_modifier(Modifier::BOLD)));
    frame.render_widget(table, area);
}

fn clipped(width: usize) -> u16 {
    u16::try_from(width.min(WIDEST)).unwrap_or(u16::MAX)
}

/// The list may have become shorter since it was scrolled.
fn first_row(rows: usize, scroll: usize, page: usize) -> usize {
    scroll.min(rows.saturating_sub(page))
}

fn footer(frame: &mut Frame<'_>, listing: Option<&Listing>, view: &View, area: Rect) {
    let filter = harmless(&view.filter);
    let left = match (view.typing, filter.is_empty()) {
        (true, _) => format!("/{filter}\u{2581}  enter keeps it, esc takes it back"),
        (false, true) => KEYS.to_owned(),
        (false, false) => format!("{KEYS}  esc all  [/{filter}]"),
    };
    let page = page(frame.area().height);
    let right = listing.map_or_else(String::new, |listing| {
        let rows = listing.rows.len();
        let from = first_row(rows, view.scroll, page);
        let more = if listing.more { "+" } else { "" };
        match rows {
            0 if filter.is_empty() => listing.none.to_owned(),
            0 => "none with that".to_owned(),
            rows => format!("{}-{} of {rows}{more}", from + 1, rows.min(from + page)),
        }
    });
    let wide = u16::try_from(right.chars().count()).unwrap_or(0);
    let [start, end] = Layout::horizontal([Constraint::Min(0), Constraint::Length(wide)]).areas(area);
    frame.render_widget(Line::raw(left), start);
    frame.render_widget(Line::raw(right), end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::top::board::Listed;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::{Value, json};

    /// The screen as text.
    fn drawn(size: (u16, u16), board: Option<&Board>, link: &Link, view: &View) -> String {
        let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).unwrap();
        terminal.draw(|frame| draw(frame, "http://127.0.0.1:8700", board, link, view)).unwrap();
        terminal.backend().to_string()
    }

    fn list(items: Vec<Value>) -> Listed {
        Listed { items, more: false }
    }

    fn agent(n: u32) -> Value {
        json!({"agent_id": format!("translator-{n}"), "status": "running", "health": if n == 3 { "lost" } else { "healthy" },
            "breaker": "closed", "in_flight": n, "max_concurrency": 4, "last_seen_at": "2026-01-02T10:11:12.345Z",
            "capabilities": ["text.translate", "text.read"]})
    }

    fn board() -> Board {
        let shard = |n: u32| {
            json!({"shard": n, "owner": "coord_0190a", "phase": "serving", "lag": n * 7, "waiting": 2, "in_flight": 1, "owed": 0,
                "oldest_waiting_ms": if n > 0 { json!(1_500) } else { Value::Null }})
        };
        Board {
            status: json!({"ready": true, "troubles": [], "coordinators": {"coord_0190a": "h:1", "coord_0190b": "h:2"},
                "agents": {"healthy": 29, "lost": 1}, "tasks": {"running": 3, "completed": 12_345, "failed": 0},
                "shards": (0..8).map(shard).collect::<Vec<_>>()}),
            statistics: json!({"in_flight": 6, "capacity": 120}),
            agents: list((0..30).map(agent).collect()),
            queues: list(vec![
                json!({"name": "mail", "ready": 12, "leased": 3, "delayed": 0, "dead": 1, "oldest_age_ms": 61_000,
                "waiting_consumers": 2, "bytes": 12_000}),
            ]),
            executions: list(vec![
                json!({"execution_id": "baking", "workflow_id": "document-pipeline", "step_counts":
                {"completed": 5, "running": 1}, "started_at": "2026-01-02T10:11:12.345Z"}),
            ]),
            approvals: list(vec![
                json!({"approval_id": "baking:release:2", "title": "Publish baking.md?", "approvers":
                ["ann", "role:editor"], "created_at": "2026-01-02T10:12:00Z"}),
            ]),
        }
    }

    #[test]
    fn every_pane_fits_a_small_terminal() {
        let board = board();
        for pane in Pane::ALL {
            let view = View { pane, ..View::default() };
            insta::assert_snapshot!(
                format!("pane_{}", pane.title()),
                drawn((80, 24), Some(&board), &Link::Here, &view)
            );
        }
    }

    #[test]
    fn a_filter_leaves_what_has_it() {
        let view = View { filter: "LOST".to_owned(), typing: true, ..View::default() };
        insta::assert_snapshot!(drawn((80, 12), Some(&board()), &Link::Here, &view));
    }

    #[test]
    fn a_list_that_became_shorter_is_shown_to_its_end() {
        let view = View { scroll: 1_000, ..View::default() };
        let drawn = drawn((80, 12), Some(&board()), &Link::Here, &view);
        assert!(drawn.contains("translator-29") && drawn.contains("24-30 of 30"), "{drawn}");
    }

    #[test]
    fn a_list_of_which_there_is_more_says_so() {
        let mut board = board();
        let says = |board: &Board| drawn((80, 12), Some(board), &Link::Here, &View::default());
        assert!(says(&board).contains("1-7 of 30") && !says(&board).contains("30+"), "{}", says(&board));
        board.agents.more = true;
        assert!(says(&board).contains("1-7 of 30+"), "{}", says(&board));
    }

    #[test]
    fn a_coordinator_that_is_away_is_told_with_the_time_since() {
        let away = Link::Away(Duration::from_secs(42), "connection refused".to_owned());
        let view = View { pane: Pane::Queues, ..View::default() };
        insta::assert_snapshot!("away_with_what_was", drawn((80, 8), Some(&board()), &away, &view));
        insta::assert_snapshot!("away_from_the_first", drawn((80, 8), None, &away, &view));
        let refusing = Link::Refusing(Duration::from_secs(3), "no such workspace".to_owned());
        assert!(drawn((80, 8), None, &refusing, &view).contains("REFUSES for 3 s: no such workspace"));
        insta::assert_snapshot!("asking", drawn((80, 8), None, &Link::Asking, &view));
    }

    #[test]
    fn an_empty_list_says_how_to_fill_it() {
        let view = View { pane: Pane::Queues, ..View::default() };
        let drawn = drawn((80, 8), Some(&Board::default()), &Link::Here, &view);
        assert!(drawn.contains("none; name them with --queue"), "{drawn}");
    }

    #[test]
    fn a_mesh_that_is_not_ready_says_why() {
        let mut board = board();
        board.status["troubles"] = json!(["Kafka: no answer", "shard 3 is held by nobody"]);
        let drawn = drawn((80, 8), Some(&board), &Link::Here, &View::default());
        assert!(drawn.contains("NOT READY (and 1 more): Kafka: no answer"), "{drawn}");
    }

    #[test]
    fn a_screen_of_any_size_is_drawn() {
        for size in [(1, 1), (10, 3), (40, 5), (300, 100)] {
            for pane in Pane::ALL {
                drawn(size, Some(&board()), &Link::Here, &View { pane, scroll: 7, ..View::default() });
            }
        }
    }
}
