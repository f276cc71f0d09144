//! Plain text work: passages, the words of a question, and which passage has most of them.

use serde::{Deserialize, Serialize};

/// A piece of a document.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Passage {
    pub(crate) file: String,
    pub(crate) text: String,
}

/// What was found, and how much of the question is in it, 0 to 1.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Found {
    pub(crate) passage: Option<Passage>,
    pub(crate) share: f64,
}

/// Words that say nothing of what a question is about.
const EMPTY: [&str; 19] = [
    "a", "an", "and", "at", "does", "for", "how", "in", "is", "it", "of", "on", "so", "the", "to", "what",
    "when", "which", "why",
];

/// The words of a text that say something, in small letters.
pub(crate) fn words(text: &str) -> Vec<String> {
    let all =
        text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase);
    all.filter(|word| !EMPTY.contains(&word.as_str())).collect()
}

/// The sentences of a document, without headings.
pub(crate) fn passages(file: &str, text: &str) -> Vec<Passage> {
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    let sentences = lines.flat_map(|line| line.split_inclusive(". ")).map(str::trim);
    sentences.map(|text| Passage { file: file.to_owned(), text: text.to_owned() }).collect()
}

/// The first passage with the most of these words.
pub(crate) fn best(wanted: &[String], passages: &[Passage]) -> Found {
    let mut found = Found { passage: None, share: 0.0 };
    for passage in passages {
        let there = words(&passage.text);
        let hits = wanted.iter().filter(|word| there.contains(word)).count();
        let share = hits as f64 / wanted.len().max(1) as f64;
        if share > found.share {
            found = Found { passage: Some(passage.clone()), share };
        }
    }
    found
}
