//! What of the board is looked at, and what each key changes of that.

use super::board::Pane;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Letters that a filter may have.
const FILTER: usize = 64;

/// What is looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct View {
    /// Which list.
    pub pane: Pane,
    /// The first row that is shown, from 0; never beyond the last one where it is drawn.
    pub scroll: usize,
    /// Only rows with this text.
    pub filter: String,
    /// Whether keys go into the filter.
    pub typing: bool,
}

/// What follows from a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It goes on.
    Stay,
    /// It ends.
    Quit,
}

impl View {
    /// A key was pressed; `rows` are in the list, of which `page` fit on the screen.
    pub fn key(&mut self, key: KeyEvent, rows: usize, page: usize) -> Next {
        let last = rows.saturating_sub(page);
        if key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c') {
            return Next::Quit;
        }
        if self.typing {
            self.typed(key.code);
            return Next::Stay;
        }
        match key.code {
            KeyCode::Char('q') => return Next::Quit,
            KeyCode::Tab => self.turn(1),
            KeyCode::BackTab => self.turn(Pane::ALL.len() - 1),
            KeyCode::Char(digit @ '1'..='4') => self.show(digit as usize - '1' as usize),
            KeyCode::Up => self.scroll = self.scroll.min(last).saturating_sub(1),
            KeyCode::Down => self.scroll = (self.scroll + 1).min(last),
            KeyCode::PageUp => self.scroll = self.scroll.min(last).saturating_sub(page),
            KeyCode::PageDown => self.scroll = (self.scroll + page).min(last),
            KeyCode::Home => self.scroll = 0,
            KeyCode::End => self.scroll = last,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.filtered(String::new()),
            _ => {}
        }
        Next::Stay
    }

    fn typed(&mut self, key: KeyCode) {
        match key {
            KeyCode::Enter => self.typing = false,
            KeyCode::Esc => {
                self.typing = false;
                self.filtered(String::new());
            }
            KeyCode::Backspace => {
                let mut filter = std::mem::take(&mut self.filter);
                filter.pop();
                self.filtered(filter);
            }
            KeyCode::Char(c) if self.filter.chars().count() < FILTER => {
                let filter = format!("{}{c}", self.filter);
                self.filtered(filter);
            }
            _ => {}
        }
    }

    fn filtered(&mut self, filter: String) {
        (self.filter, self.scroll) = (filter, 0);
    }

    fn turn(&mut self, by: usize) {
        let now = Pane::ALL.iter().position(|pane| *pane == self.pane).unwrap_or(0);
        self.show((now + by) % Pane::ALL.len());
    }

    fn show(&mut self, number: usize) {
        if let Some(pane) = Pane::ALL.get(number) {
            (self.pane, self.scroll) = (*pane, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Twenty rows, of which eight fit.
    fn after(view: &View, keys: &[KeyCode]) -> (View, Next) {
        let mut view = view.clone();
        let mut next = Next::Stay;
        for key in keys {
            next = view.key(KeyEvent::from(*key), 20, 8);
        }
        (view, next)
    }

    #[test]
    fn keys_turn_the_panes() {
        let check =
            |keys: &[KeyCode], pane: Pane| assert_eq!(after(&View::default(), keys).0.pane, pane, "{keys:?}");
        check(&[KeyCode::Tab], Pane::Shards);
        check(&[KeyCode::Tab; 4], Pane::Fleet);
        check(&[KeyCode::BackTab], Pane::Work);
        check(&[KeyCode::Char('3')], Pane::Queues);
        check(&[KeyCode::Char('5')], Pane::Fleet);
    }

    #[test]
    fn scrolling_ends_with_the_rows() {
        let check = |keys: &[KeyCode], scroll: usize| {
            assert_eq!(after(&View::default(), keys).0.scroll, scroll, "{keys:?}");
        };
        check(&[KeyCode::Up], 0);
        check(&[KeyCode::Down; 3], 3);
        check(&[KeyCode::Down; 30], 12);
        check(&[KeyCode::PageDown], 8);
        check(&[KeyCode::End, KeyCode::Up], 11);
        check(&[KeyCode::End, KeyCode::PageUp], 4);
        check(&[KeyCode::End, KeyCode::Home], 0);
        check(&[KeyCode::End, KeyCode::Tab], 0);
        // The list has become shorter since.
        assert_eq!(after(&View { scroll: 500, ..View::default() }, &[KeyCode::Up]).0.scroll, 11);
    }

    #[test]
    fn a_filter_is_typed_and_taken_back() {
        let check = |keys: &[KeyCode], filter: &str, typing: bool, next: Next| {
            let (view, then) = after(&View::default(), keys);
            assert_eq!((view.filter.as_str(), view.typing, then), (filter, typing, next), "{keys:?}");
        };
        let (slash, q, a) = (KeyCode::Char('/'), KeyCode::Char('q'), KeyCode::Char('a'));
        check(&[q], "", false, Next::Quit);
        check(&[slash, q, a], "qa", true, Next::Stay);
        check(&[slash, q, a, KeyCode::Backspace], "q", true, Next::Stay);
        check(&[slash, a, KeyCode::Enter], "a", false, Next::Stay);
        check(&[slash, a, KeyCode::Enter, q], "a", false, Next::Quit);
        check(&[slash, a, KeyCode::Esc], "", false, Next::Stay);
        check(&[slash, a, KeyCode::Enter, KeyCode::Esc], "", false, Next::Stay);
        check(&[&[slash][..], &[a; 100]].concat(), &"a".repeat(FILTER), true, Next::Stay);
        let mut typing = View { typing: true, ..View::default() };
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(typing.key(ctrl_c, 1, 1), Next::Quit);
    }
}
