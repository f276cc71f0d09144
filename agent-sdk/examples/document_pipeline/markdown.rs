//! What a Markdown text has in it, and a page about several of them.

use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// What one document has in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Outline {
    pub(crate) file: String,
    pub(crate) title: String,
    pub(crate) headings: Vec<String>,
    /// Text and address.
    pub(crate) links: Vec<(String, String)>,
    /// Without code, and without the addresses of links.
    pub(crate) words: usize,
}

/// How people want the page, as the data of a decision says.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Wishes {
    pub(crate) with_links: bool,
    pub(crate) longest_first: bool,
}

/// Reads a document; `None` where it has no title.
pub(crate) fn outline(file: &str, text: &str) -> Option<Outline> {
    let (mut title, mut headings, mut links, mut words, mut in_code) =
        (None, Vec::new(), Vec::new(), 0, false);
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            in_code = !in_code;
        } else if !in_code {
            let (plain, found) = without_addresses(line);
            links.extend(found);
            words += plain.split_whitespace().filter(|word| word.contains(char::is_alphanumeric)).count();
            match plain.strip_prefix("# ") {
                Some(heading) => title = title.or_else(|| Some(heading.to_owned())),
                None => headings.extend(plain.strip_prefix("## ").map(str::to_owned)),
            }
        }
    }
    Some(Outline { file: file.to_owned(), title: title?, headings, links, words })
}

/// A line with links as their texts alone, and the links in it.
fn without_addresses(line: &str) -> (String, Vec<(String, String)>) {
    let (mut plain, mut links, mut rest) = (String::new(), Vec::new(), line);
    while let Some((before, (text, (address, after)))) = rest.split_once('[').and_then(|(before, inside)| {
        let (text, more) = inside.split_once("](")?;
        Some((before, (text, more.split_once(')')?)))
    }) {
        plain.push_str(before);
        plain.push_str(text);
        links.push((text.to_owned(), address.to_owned()));
        rest = after;
    }
    (plain + rest, links)
}

/// The page about all of them.
pub(crate) fn page(mut outlines: Vec<Outline>, wishes: Wishes) -> String {
    if wishes.longest_first {
        outlines.sort_by_key(|outline| std::cmp::Reverse(outline.words));
    }
    let words: usize = outlines.iter().map(|outline| outline.words).sum();
    let mut page = format!("# {} documents, {words} words\n", outlines.len());
    for Outline { file, title, headings, links, words } in outlines {
        // Writing into a text does not fail.
        let _ = write!(page, "\n## [{title}]({file})\n\n{words} words: {}.\n", headings.join(", "));
        for (text, address) in links.iter().filter(|_| wishes.with_links) {
            let _ = writeln!(page, "- leads to [{text}]({address})");
        }
    }
    page
}
