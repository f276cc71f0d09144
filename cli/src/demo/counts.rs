//! Counting bytes as they come in, in pieces of any size: lines and words as `wc` does in the C
//! locale, and marker words as `grep -w` does.

use super::analyse::TODO_MARKERS;

/// The figures so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) bytes: u64,
    pub(super) lines: u64,
    pub(super) words: u64,
    pub(super) todos: u64,
}

/// Counts what is fed to it; what it says does not depend on how the bytes are cut into pieces.
#[derive(Debug, Default)]
pub(super) struct Counter {
    counts: Counts,
    in_word: bool,
    name: Name,
}

impl Counter {
    pub(super) fn feed(&mut self, piece: &[u8]) {
        self.counts.bytes += piece.len() as u64;
        for &byte in piece {
            match byte {
                b'\n' | b'\r' | b'\x0c' | b'\t' | b' ' | b'\x0b' => {
                    self.counts.lines += u64::from(byte == b'\n');
                    self.counts.words += u64::from(self.in_word);
                    self.in_word = false;
                }
                b'!'..=b'~' => self.in_word = true,
                // Not printable: neither begins a word nor ends one.
                _ => {}
            }
            self.counts.todos += u64::from(self.name.next(byte));
        }
    }

    pub(super) fn finish(mut self) -> Counts {
        self.counts.words += u64::from(self.in_word);
        self.counts.todos += u64::from(self.name.next(b'\n'));
        self.counts
    }
}

/// Longest marker, in bytes.
const LONGEST: usize = 5;

/// The run of letters, digits and `_` that the last byte belongs to, as far as it can be a marker.
#[derive(Debug, Default)]
struct Name {
    start: [u8; LONGEST],
    length: usize,
}

impl Name {
    /// Whether `byte` ends a marker.
    fn next(&mut self, byte: u8) -> bool {
        if byte.is_ascii_alphanumeric() || byte == b'_' {
            if let Some(place) = self.start.get_mut(self.length) {
                *place = byte;
            }
            self.length = self.length.saturating_add(1);
            return false;
        }
        let name = self.start.get(..self.length);
        self.length = 0;
        name.is_some_and(|name| TODO_MARKERS.iter().any(|marker| marker.as_bytes() == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn count(pieces: &[&[u8]]) -> Counts {
        let mut counter = Counter::default();
        pieces.iter().for_each(|piece| counter.feed(piece));
        counter.finish()
    }

    #[test]
    fn lines_and_words_are_those_of_the_c_locale() {
        let check = |text: &[u8], lines, words| {
            let counts = count(&[text]);
            assert_eq!(
                (counts.lines, counts.words, counts.bytes),
                (lines, words, text.len() as u64),
                "{text:?}"
            );
        };
        check(b"", 0, 0);
        check(b"one", 0, 1);
        check(b"one two\r\nthree\n", 2, 3);
        check(b" \t\x0b\x0c\r\n", 1, 0);
        check(b"a\0b", 0, 1);
        check(b"\0\x01\xff", 0, 0);
        check("a \u{2014} b".as_bytes(), 0, 2);
        check("\u{a0}".as_bytes(), 0, 0);
    }

    #[test]
    fn a_marker_is_a_word_of_its_own() {
        let check = |text: &str, todos| assert_eq!(count(&[text.as_bytes()]).todos, todos, "{text}");
        check("// TODO: this, FIXME(that)", 2);
        check("TODO", 1);
        check("TODOS TODO_ _TODO TODO1 xTODO todo Todo", 0);
        check("TODO-TODO\nFIXME", 3);
        check("\u{e9}TODO\u{e9}", 1);
        check("FIXMEE TOD O", 0);
    }

    proptest! {
        #[test]
        fn how_a_file_is_cut_into_pieces_changes_nothing(text in "[ TODFIXME_\n\0\u{e9}]{0,60}", cut in 0usize..60) {
            let bytes = text.as_bytes();
            let (a, b) = bytes.split_at(cut.min(bytes.len()));
            prop_assert_eq!(count(&[a, b]), count(&[bytes]));
        }
    }
}
