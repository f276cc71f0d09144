//! What of an expression's text is code, what stands in quotes, what is a comment: seen before it is parsed, as the parser
//! will see it (`r'\'` is a whole literal, `'''it's'''` too), because limits are counted in the code alone.

/// What a character stands in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Within {
    Code,
    /// A literal or a name in quotes, the quotes included.
    Quotes,
    /// From `//` to the end of the line.
    Comment,
}

/// Each character with its byte offset and what it stands in.
pub(super) fn characters(text: &str) -> impl Iterator<Item = (usize, char, Within)> {
    let mut scan = Scan { text, inside: Inside::Code, word: 0, owed: 0 };
    text.char_indices().map(move |(at, c)| (at, c, scan.next(at, c)))
}

struct Scan<'a> {
    text: &'a str,
    inside: Inside,
    /// Where the word that ends here begins; here where there is none.
    word: usize,
    /// Characters of a delimiter of which the first has been seen.
    owed: usize,
}

#[derive(Clone, Copy)]
enum Inside {
    Code,
    Comment,
    Quotes { end: &'static str, raw: bool, escaped: bool },
}

impl Scan<'_> {
    fn next(&mut self, at: usize, c: char) -> Within {
        if self.owed > 0 {
            self.owed -= 1;
            self.word = at + c.len_utf8();
            return Within::Quotes;
        }
        match &mut self.inside {
            Inside::Code => self.code(at, c),
            Inside::Comment => {
                if c == '\n' {
                    self.inside = Inside::Code;
                    self.word = at + 1;
                }
                Within::Comment
            }
            Inside::Quotes { end, raw, escaped } => {
                if c == '\\' && !*raw {
                    *escaped = !*escaped;
                } else if !*escaped && self.text[at..].starts_with(*end) {
                    self.owed = end.len() - 1;
                    self.inside = Inside::Code;
                    self.word = at + 1;
                } else {
                    *escaped = false;
                }
                Within::Quotes
            }
        }
    }

    fn code(&mut self, at: usize, c: char) -> Within {
        let rest = &self.text[at..];
        if rest.starts_with("//") {
            self.inside = Inside::Comment;
            return Within::Comment;
        }
        let end = match c {
            '"' if rest.starts_with("\"\"\"") => "\"\"\"",
            '\'' if rest.starts_with("'''") => "'''",
            '"' => "\"",
            '\'' => "'",
            '`' => "`",
            _ => {
                if !c.is_ascii_alphanumeric() && c != '_' {
                    self.word = at + c.len_utf8();
                }
                return Within::Code;
            }
        };
        let before = &self.text[self.word..at];
        let raw = c == '`' || ["r", "br", "rb"].iter().any(|prefix| before.eq_ignore_ascii_case(prefix));
        self.owed = end.len() - 1;
        self.inside = Inside::Quotes { end, raw, escaped: false };
        Within::Quotes
    }
}
