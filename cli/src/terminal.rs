//! What the screen can take: its width, whether colour is wanted, and text made harmless.
//!
//! A file name or a task's error is data from elsewhere. Printed raw it could move the cursor or
//! rewrite what was said before, so nothing from outside reaches a terminal without [`harmless`].

use comfy_table::{Attribute, Cell, ContentArrangement, LineStyle, Table, TableStyle};
use std::fmt::Write as _;
use std::io::IsTerminal as _;

/// The widest that a table grows; wider is harder to read.
pub const MAX_WIDTH: u16 = 100;
/// The narrowest that a table is squeezed to.
pub const MIN_WIDTH: u16 = 40;

/// How to print for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// Columns that a line may take, [`MIN_WIDTH`] to [`MAX_WIDTH`].
    pub width: u16,
    /// Whether to colour.
    pub colour: bool,
}

impl Screen {
    /// No colour and the full width: for a file, a pipe or a test.
    pub const PLAIN: Screen = Screen { width: MAX_WIDTH, colour: false };

    /// As this process' stdout is: colour only on a terminal, and not where `NO_COLOR` is set to
    /// anything (<https://no-color.org>) or `TERM` is `dumb`.
    pub fn of_stdout() -> Screen {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let terminal = std::io::stdout().is_terminal();
        let width = match terminal {
            // Asked of the terminal by comfy-table, which looks at stdout.
            true => Table::new().width().unwrap_or(MAX_WIDTH),
            false => MAX_WIDTH,
        };
        Screen { width: width.clamp(MIN_WIDTH, MAX_WIDTH), colour: terminal && !dumb && !set("NO_COLOR") }
    }
}

/// A rule below the header, and no other lines.
const RULED: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('\u{2500}').junction('\u{2500}'));

impl Screen {
    /// An empty table in the one style that all have. Without titles it has no header.
    pub fn table(self, titles: &[&str]) -> Table {
        let mut table = Table::new();
        table.load_style(RULED).set_content_arrangement(ContentArrangement::Dynamic).set_width(self.width);
        match self.colour {
            true => table.enforce_styling(),
            false => table.force_no_tty(),
        };
        if !titles.is_empty() {
            table.set_header(titles.iter().map(|title| Cell::new(title).add_attribute(Attribute::Bold)));
        }
        table
    }
}

/// The text with everything escaped that a terminal would act upon: control characters, and those
/// that turn the direction of what follows. Line breaks too: one name stays on one line.
pub fn harmless(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if acts(c) => {
                // Writing into a String cannot fail.
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// As [`harmless`], for a path or other bytes: what is not UTF-8 shows as `\xNN`.
pub fn harmless_bytes(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        out.push_str(&harmless(chunk.valid()));
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{061c}')
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_terminal_acts_upon_gets_through() {
        let check = |bytes: &[u8], shown: &str| assert_eq!(harmless_bytes(bytes), shown);
        check(b"plain name.rs", "plain name.rs");
        check("d\u{e9}j\u{e0} \u{1f980}".as_bytes(), "d\u{e9}j\u{e0} \u{1f980}");
        check(b"two\nlines\tand\r", "two\\nlines\\tand\\r");
        check(b"\x1b[2Jgone", "\\u{1b}[2Jgone");
        check("\u{9b}31m".as_bytes(), "\\u{9b}31m");
        check("exe\u{202e}gpj".as_bytes(), "exe\\u{202e}gpj");
        check(b"\xff\xfe.bin", "\\xff\\xfe.bin");
    }

    #[test]
    fn numbers_are_grouped() {
        let check = |number, shown: &str| assert_eq!(thousands(number), shown);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
    }
}
