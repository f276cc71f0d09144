//! Regular expressions: the syntax of RE2 as CEL has it, matched by the `regex` crate in time that is linear in the text.
//!
//! Linear is not cheap: a step of matching may look at every state that a pattern has, and `(a{1000}){1000}` has a million.
//! So a pattern is weighed before it is compiled, by its own text alone, so that the cost does not depend on the version of
//! a crate; compiling costs steps by its weight, and matching by its weight and the text together.
//!
//! RE2 and the crate differ in few places, and the crate's way is translated: `\d`, `\w`, `\s` and `\b` go by ASCII; within
//! `[…]`, `[`, `&&` and `~~` are characters; `{` that opens no count is a character; a count is at most 1,000.

use regex::{Regex, RegexBuilder};
use std::iter::Peekable;
use std::str::Chars;

/// Bytes of one pattern: 4,096.
pub const PATTERN_BYTES: usize = 4096;
/// The weight of one pattern, about its states: 50,000. A character weighs 4, `[…]` 16 and more, `.` 24, `\pL` 1,500; what
/// is repeated weighs as often as it may be counted.
pub const PATTERN_WEIGHT: u64 = 50_000;
/// The largest count: `a{1000}`.
const COUNT: u64 = 1_000;
/// Levels of groups and repetitions.
const NESTING: u32 = 64;
/// Bytes of the states that are remembered while it matches. The compiled pattern itself has the crate's own limit, 10 MiB,
/// which the weight keeps far from.
const REMEMBERED_BYTES: usize = 256 * 1024;

/// The names that stand within `[[:…:]]`.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space",
    "upper", "word", "xdigit",
];

/// A pattern as the crate has it, weighed, not compiled.
pub(super) struct Draft {
    shown: String,
    translated: String,
    weight: u64,
}

/// A compiled pattern.
pub(super) struct Pattern {
    regex: Regex,
    weight: u64,
}

impl Draft {
    /// Translates, weighs and parses a pattern in time linear in its bytes; what only the tables of Unicode know (that there
    /// is no `\p{Klingon}`) shows when it is compiled. What is wrong comes back as a text.
    pub(super) fn of(text: &str) -> Result<Draft, String> {
        let wrong = |why: &str| format!("the pattern {:?} is refused: {why}", super::shortened(text));
        if text.len() > PATTERN_BYTES {
            return Err(wrong(&format!("it has {} bytes, the limit is {PATTERN_BYTES}", text.len())));
        }
        let mut reader =
            Reader { rest: text.chars().peekable(), written: String::new(), groups: vec![Group::default()] };
        reader.all().map_err(|why| wrong(&why))?;
        let weight = reader.groups.iter().fold(0u64, |sum, group| sum.saturating_add(group.weight()));
        if weight > PATTERN_WEIGHT {
            return Err(wrong(&format!(
                "it weighs {weight}, counts and classes taken together, the limit is {PATTERN_WEIGHT}"
            )));
        }
        let mut parser = regex_syntax::ast::parse::ParserBuilder::new();
        match parser.nest_limit(NESTING).build().parse(&reader.written) {
            Ok(_) => Ok(Draft { shown: super::shortened(text), translated: reader.written, weight }),
            Err(error) => Err(wrong(&error.kind().to_string())),
        }
    }

    /// Steps that compiling takes.
    pub(super) fn cost(&self) -> usize {
        // A step is about 100 ns; the smallest pattern takes 20 µs.
        usize::try_from(self.weight.saturating_add(200)).unwrap_or(usize::MAX)
    }

    /// The pattern, ready to match.
    pub(super) fn compiled(&self) -> Result<Pattern, String> {
        let mut builder = RegexBuilder::new(&self.translated);
        builder.nest_limit(NESTING).dfa_size_limit(REMEMBERED_BYTES);
        match builder.build() {
            Ok(regex) => Ok(Pattern { regex, weight: self.weight }),
            Err(error) => {
                let said = error.to_string();
                // The crate draws the pattern with a mark first.
                let why = said.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Err(format!("the pattern {:?} is refused: {why}", self.shown))
            }
        }
    }
}

impl Pattern {
    /// Steps that matching so many bytes takes.
    pub(super) fn cost(&self, bytes: usize) -> usize {
        // At worst every state is looked at for every byte, some 256 within a step; at best it goes as fast as any text.
        let weight = usize::try_from(self.weight).unwrap_or(usize::MAX);
        bytes.saturating_mul(weight.saturating_add(16)) / 256 + 1
    }

    /// Whether it is found anywhere in the text.
    pub(super) fn is_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// What has been read between two brackets.
#[derive(Default)]
struct Group {
    before: u64,
    /// The last part, which a count would multiply.
    last: u64,
}

impl Group {
    fn part(&mut self, weight: u64) {
        self.before = self.before.saturating_add(self.last);
        self.last = weight;
    }

    fn weight(&self) -> u64 {
        self.before.saturating_add(self.last)
    }
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    written: String,
    /// The innermost last; never empty.
    groups: Vec<Group>,
}

type Read = Result<(), String>;

impl Reader<'_> {
    fn all(&mut self) -> Read {
        while let Some(c) = self.rest.next() {
            match c {
                '\\' => self.escape(false)?,
                '[' => self.class()?,
                '(' => self.open()?,
                ')' => {
                    self.written.push(c);
                    // One too many is for the parser to refuse.
                    if self.groups.len() > 1
                        && let Some(group) = self.groups.pop()
                    {
                        self.part(group.weight().saturating_add(2));
                    }
                }
                '{' => self.count()?,
                '*' | '+' | '?' => {
                    self.written.push(c);
                    self.group().last = self.group().last.saturating_add(2);
                }
                '|' | '^' | '$' => {
                    self.written.push(c);
                    self.part(2);
                }
                c => {
                    self.written.push(c);
                    self.part(if c == '.' { 24 } else { 4 });
                }
            }
        }
        Ok(())
    }

    fn group(&mut self) -> &mut Group {
        if self.groups.is_empty() {
            self.groups.push(Group::default());
        }
        let last = self.groups.len() - 1;
        &mut self.groups[last]
    }

    fn part(&mut self, weight: u64) {
        self.group().part(weight);
    }

    /// Copies characters as long as they fit; which they were.
    fn copy(&mut self, fits: impl Fn(char) -> bool) -> String {
        let mut copied = String::new();
        while let Some(c) = self.rest.next_if(|c| fits(*c)) {
            copied.push(c);
        }
        self.written.push_str(&copied);
        copied
    }

    /// `(`, `(?:`, `(?i:`, `(?P<name>`; `(?i)` is no group.
    fn open(&mut self) -> Read {
        self.written.push('(');
        if self.rest.next_if_eq(&'?').is_some() {
            self.written.push('?');
            let flags = self.copy(|c| c.is_ascii_alphabetic() || c == '-');
            if flags.contains(['x', 'R', 'u']) {
                return Err(format!("there are no flags `{flags}`, only i, m, s and U"));
            }
            if self.rest.next_if_eq(&')').is_some() {
                self.written.push(')');
                return Ok(());
            }
        }
        self.groups.push(Group::default());
        Ok(())
    }

    /// `{2}`, `{2,}` or `{2,5}`; else a brace is a character.
    fn count(&mut self) -> Read {
        let inside: String = self.rest.clone().take_while(|c| c.is_ascii_digit() || *c == ',').collect();
        let closed = self.rest.clone().nth(inside.len()) == Some('}');
        let (least, most) = inside.split_once(',').unwrap_or((&inside, &inside));
        if !closed || least.is_empty() || most.contains(',') {
            self.written.push_str("\\{");
            self.part(4);
            return Ok(());
        }
        let counted = |digits: &str| match digits.parse::<u64>() {
            Ok(count) if count <= COUNT => Ok(count),
            _ if digits.is_empty() => Ok(0),
            _ => Err(format!("a count of {}, the limit is {COUNT}", super::shortened(digits))),
        };
        let times = counted(least)?.max(counted(most)?).max(1);
        self.written.push('{');
        self.copy(|c| c != '}');
        let group = self.group();
        group.last = group.last.saturating_mul(times).saturating_add(2);
        self.written.extend(self.rest.next());
        Ok(())
    }

    /// What follows a backslash.
    fn escape(&mut self, in_class: bool) -> Read {
        let Some(c) = self.rest.next() else { return Err("`\\` with nothing after it".into()) };
        let ascii = match c {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            's' => "[\\t\\n\\f\\r ]",
            'S' => "[^\\t\\n\\f\\r ]",
            'b' if !in_class => "(?-u:\\b)",
            'B' if !in_class => "(?-u:\\B)",
            _ => "",
        };
        if !ascii.is_empty() {
            self.written.push_str(ascii);
            self.part(if c.is_uppercase() { 40 } else { 16 });
            return Ok(());
        }
        self.written.push('\\');
        self.written.push(c);
        self.part(if matches!(c, 'p' | 'P') { 1_500 } else { 4 });
        if matches!(c, 'x' | 'p' | 'P') && self.rest.next_if_eq(&'{').is_some() {
            self.written.push('{');
            self.copy(|c| c != '}');
            if self.rest.next().is_none() {
                return Err("`{` without its `}`".into());
            }
            self.written.push('}');
        } else if matches!(c, 'p' | 'P') {
            // `\pL`: the letter belongs to it, so that a count multiplies the whole.
            self.written.extend(self.rest.next());
        }
        Ok(())
    }

    /// `[…]`, one part however much stands in it.
    fn class(&mut self) -> Read {
        self.written.push('[');
        self.groups.push(Group { before: 16, last: 0 });
        if self.rest.next_if_eq(&'^').is_some() {
            self.written.push('^');
        }
        if self.rest.next_if_eq(&']').is_some() {
            self.written.push_str("\\]");
        }
        loop {
            let Some(c) = self.rest.next() else { return Err("`[` without its `]`".into()) };
            match c {
                ']' => break,
                '\\' => self.escape(true)?,
                '[' if self.rest.peek() == Some(&':') => {
                    let name: String = self.rest.clone().skip(1).take_while(|c| *c != ':').collect();
                    if !CLASSES.contains(&name.trim_start_matches('^')) {
                        let there = CLASSES.join(", ");
                        return Err(format!("there is no `[:{}:]`, only {there}", super::shortened(&name)));
                    }
                    self.written.push('[');
                    self.copy(|c| c != ']');
                    self.written.extend(self.rest.next());
                    self.part(16);
                }
                '-' if self.rest.peek() == Some(&'-') => {
                    return Err("`--` within `[…]`; write `\\-` for the character".into());
                }
                '[' | '&' | '~' => {
                    self.written.push('\\');
                    self.written.push(c);
                    self.part(4);
                }
                c => {
                    self.written.push(c);
                    self.part(4);
                }
            }
        }
        self.written.push(']');
        if let Some(class) = self.groups.pop() {
            self.part(class.weight());
        }
        Ok(())
    }
}
