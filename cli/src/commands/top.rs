//! `synod top`: the mesh to look at, live. What is shown, and how, is in [`crate::top`].

use super::place::{Place, logs};
use crate::mesh::{Api, Ending, run as on_runtime};
use crate::output::{Format, Output, Stop};
use crate::settings::Flags;
use crate::top::{Board, Link, Next, Pane, View, draw, page};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{Event, KeyEvent, KeyEventKind, poll, read};
use std::io::{IsTerminal as _, Write};
use std::time::{Duration, Instant};
use synod_protocol::{Code, Error};
use tokio::sync::mpsc;

/// Arguments of `synod top`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    place: Place,
    /// Print what there is now and end; so it is too where stdout is no terminal
    #[arg(long)]
    once: bool,
    /// A queue to show, of at most 50; once for each: the mesh keeps no list of them
    #[arg(long = "queue", value_name = "NAME")]
    queues: Vec<String>,
}

/// Each is a question of its own.
const QUEUES: usize = 50;

/// How often the mesh is asked, and the screen drawn if nothing else happens.
const EVERY: Duration = Duration::from_secs(1);
/// The longest that the thread of the keys stays when nobody listens any more.
const KEYS_CHECK: Duration = Duration::from_millis(100);
/// Keys and answers that may wait to be looked at.
const WAITING: usize = 64;

pub(super) fn run(args: Args, flags: Flags, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if args.queues.len() > QUEUES {
        return Err(Stop::Usage(format!("{} queues are named, the limit is {QUEUES}", args.queues.len())));
    }
    let settings = args.place.settings(flags)?;
    // A log line would stand in the middle of the screen.
    logs(&settings, Some("off"))?;
    let live = !args.once && output.format() == Format::Table && std::io::stdout().is_terminal();
    on_runtime(async {
        let api = Api::of(&settings)?;
        match live {
            true => watched(&api, args.queues).await,
            false => once(&Board::fetch(&api, &args.queues).await?, output),
        }
    })
}

/// Each pane one below the other; for programs all that was told.
fn once(board: &Board, output: &mut Output<impl Write>) -> Result<(), Stop> {
    if output.format() != Format::Table {
        return output.structured(board);
    }
    let mut text = board.summary() + "\n";
    for pane in Pane::ALL {
        let listing = board.listing(pane, "");
        let mut table = output.screen().table(&listing.titles);
        table.add_rows(&listing.rows);
        let more = if listing.more { " (there are more)" } else { "" };
        let count =
            if listing.rows.is_empty() { listing.none.to_owned() } else { listing.rows.len().to_string() };
        text.push_str(&format!("\n{}: {count}{more}\n", pane.title()));
        if !listing.rows.is_empty() {
            text.push_str(&(table.trim_fmt() + "\n"));
        }
    }
    output.text(&text)
}

/// What can happen here.
enum Happened {
    Told(Box<Result<Board, Error>>),
    Pressed(KeyEvent),
    Resized,
}

async fn watched(api: &Api, queues: Vec<String>) -> Result<(), Stop> {
    let failed = |error: std::io::Error| Stop::Failed(format!("the terminal: {error}"));
    let mut ending = Ending::listen().map_err(failed)?;
    let (tell, mut told) = mpsc::channel(WAITING);
    let asking = tokio::spawn(ask(api.clone(), queues, tell.clone()));
    keys(tell).map_err(failed)?;
    let mut terminal = ratatui::try_init().map_err(failed)?;
    let mut screen = Screen { url: api.url().to_owned(), board: None, away: None, view: View::default() };
    let result = loop {
        if let Err(error) = screen.show(&mut terminal) {
            break Err(failed(error));
        }
        let happened = tokio::select! {
            happened = told.recv() => happened,
            // The time since it is away grows by itself.
            () = tokio::time::sleep(EVERY) => continue,
            _ = ending.asked() => break Ok(()),
        };
        let height = terminal.size().map_or(0, |size| size.height);
        if happened.map(|happened| screen.take(happened, height)) != Some(Next::Stay) {
            break Ok(());
        }
    };
    asking.abort();
    // Whatever happened, the terminal is given back.
    ratatui::try_restore().map_err(failed)?;
    result
}

/// What is on the screen.
struct Screen {
    url: String,
    board: Option<Board>,
    away: Option<(Instant, Error)>,
    view: View,
}

impl Screen {
    fn take(&mut self, happened: Happened, height: u16) -> Next {
        match happened {
            Happened::Told(told) => {
                match *told {
                    Ok(board) => (self.board, self.away) = (Some(board), None),
                    Err(error) => {
                        let since = self.away.as_ref().map_or_else(Instant::now, |(since, _)| *since);
                        self.away = Some((since, error));
                    }
                }
                Next::Stay
            }
            Happened::Resized => Next::Stay,
            Happened::Pressed(key) => {
                let View { pane, filter, .. } = &self.view;
                let rows = self.board.as_ref().map_or(0, |board| board.listing(*pane, filter).rows.len());
                self.view.key(key, rows, page(height))
            }
        }
    }

    fn show(&self, terminal: &mut DefaultTerminal) -> std::io::Result<()> {
        let link = match (&self.away, &self.board) {
            (Some((since, error)), _) if error.code == Code::Unavailable => {
                Link::Away(since.elapsed(), error.message.clone())
            }
            (Some((since, error)), _) => Link::Refusing(since.elapsed(), error.message.clone()),
            (None, Some(_)) => Link::Here,
            (None, None) => Link::Asking,
        };
        terminal.draw(|frame| draw(frame, &self.url, self.board.as_ref(), &link, &self.view)).map(drop)
    }
}

/// Asks every second, as long as somebody listens.
async fn ask(api: Api, queues: Vec<String>, tell: mpsc::Sender<Happened>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        if tell.send(Happened::Told(Box::new(Board::fetch(&api, &queues).await))).await.is_err() {
            return;
        }
    }
}

/// Reads keys on a thread of its own, which ends when nobody listens any more.
fn keys(tell: mpsc::Sender<Happened>) -> std::io::Result<()> {
    let heard = move || {
        while !tell.is_closed() {
            let happened =
                match poll(KEYS_CHECK).and_then(|ready| if ready { read().map(Some) } else { Ok(None) }) {
                    Ok(Some(Event::Key(key))) if key.kind == KeyEventKind::Press => Happened::Pressed(key),
                    Ok(Some(Event::Resize(..))) => Happened::Resized,
                    Ok(_) => continue,
                    // There is no keyboard any more: a signal ends it.
                    Err(_) => return,
                };
            if tell.blocking_send(happened).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("keys".to_owned()).spawn(heard).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::Screen as Terminal;
    use crate::top::Listed;
    use serde_json::json;

    fn screen() -> Screen {
        Screen { url: String::new(), board: None, away: None, view: View::default() }
    }

    fn told(screen: &mut Screen, told: Result<Board, Error>) {
        assert_eq!(screen.take(Happened::Told(Box::new(told)), 24), Next::Stay);
    }

    #[test]
    fn who_is_away_is_so_since_the_first_time_and_what_was_stays() {
        let mut screen = screen();
        told(&mut screen, Ok(Board { status: json!({"ready": true}), ..Board::default() }));
        told(&mut screen, Err(Error::unavailable("first")));
        let began = screen.away.as_ref().unwrap().0;
        while Instant::now() == began {}
        told(&mut screen, Err(Error::unavailable("second")));
        let (since, error) = screen.away.as_ref().unwrap();
        assert_eq!((*since, error.message.as_str()), (began, "second"));
        assert_eq!(screen.board.as_ref().unwrap().status["ready"], true);
        told(&mut screen, Ok(Board::default()));
        assert!(screen.away.is_none());
    }

    #[test]
    fn a_list_that_is_cut_off_says_so() {
        let agent = json!({"agent_id": "a"});
        let says = |more| {
            let agents = Listed { items: vec![agent.clone()], more };
            let mut bytes = Vec::new();
            let mut output = Output::new(&mut bytes, Format::Table, Terminal::PLAIN);
            once(&Board { agents, ..Board::default() }, &mut output).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert!(says(true).contains("fleet: 1 (there are more)\n"), "{}", says(true));
        assert!(says(false).contains("fleet: 1\n"), "{}", says(false));
    }

    #[test]
    fn so_many_queues_are_shown_and_no_more() {
        let queues = vec!["q".to_owned(); QUEUES + 1];
        let args = Args { place: Place::default(), once: true, queues };
        let mut output = Output::new(Vec::<u8>::new(), Format::Table, Terminal::PLAIN);
        let refused = run(args, Flags::default(), &mut output).unwrap_err();
        assert!(
            matches!(&refused, Stop::Usage(why) if why.contains("51 queues are named, the limit is 50")),
            "{refused:?}"
        );
    }
}
