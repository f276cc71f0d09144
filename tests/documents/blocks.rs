//! The blocks of code in the documents.

use std::path::{Path, PathBuf};
use synod_tests::root;

/// A block between fences.
pub(crate) struct Block {
    /// The document, from the root.
    pub(crate) page: String,
    /// `<document>:<line>`
    pub(crate) place: String,
    /// What stands behind the opening fence.
    pub(crate) language: String,
    /// What is in it.
    pub(crate) text: String,
    /// Why it is not run.
    pub(crate) not_run: Option<String>,
}

/// README.md and all below docs/, in order.
pub(crate) fn documents() -> Vec<PathBuf> {
    let mut all = vec![root().join("README.md")];
    below(&root().join("docs"), "md", &mut all);
    all.sort();
    all
}

/// The files with this ending in a folder and all below it.
pub(crate) fn below(folder: &Path, ending: &str, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("the folder is there") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            below(&path, ending, all);
        } else if path.extension().is_some_and(|found| found == ending) {
            all.push(path);
        }
    }
}

/// The blocks of one document. A fence that nothing closes fails.
pub(crate) fn blocks(path: &Path) -> Vec<Block> {
    let page = path.strip_prefix(root()).expect("below the root").display().to_string();
    let text = std::fs::read_to_string(path).expect("it can be read");
    let (mut all, mut open, mut before) = (Vec::new(), None::<Block>, "");
    for (index, line) in text.lines().enumerate() {
        match (&mut open, line.trim_start().strip_prefix("```")) {
            (None, Some(language)) => {
                let not_run =
                    before.strip_prefix("<!-- not run: ").and_then(|rest| rest.strip_suffix(" -->"));
                open = Some(Block {
                    page: page.clone(),
                    place: format!("{page}:{}", index + 1),
                    language: language.to_owned(),
                    text: String::new(),
                    not_run: not_run.map(str::to_owned),
                });
            }
            (Some(_), Some(_)) => all.extend(open.take()),
            (Some(block), None) => block.text.extend([line, "\n"]),
            (None, None) => {}
        }
        before = line;
    }
    assert!(open.is_none(), "{page}: the last block is not closed");
    all
}
