//! What is published holds all that it is built of, as far as that can be seen without `cargo package`, which builds everything
//! once more. What a link leads to is packed in its place.

use super::blocks::below;
use std::path::{Component, Path, PathBuf};
use synod_tests::root;

/// Where Rust names a file to be built in.
const NAMED: [&str; 4] = ["include_str!(\"", "include_bytes!(\"", "include!(\"", "#[path = \""];

fn published() -> Vec<PathBuf> {
    let root = root().canonicalize().expect("the root");
    let folders = std::fs::read_dir(root).expect("the root").map(|entry| entry.expect("an entry").path());
    let is_published = |folder: &PathBuf| {
        let manifest = std::fs::read_to_string(folder.join("Cargo.toml")).unwrap_or_default();
        manifest.contains("[package]") && !manifest.contains("publish = false")
    };
    folders.filter(is_published).collect()
}

/// Without `..`, and without asking where links lead.
fn plain(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::ParentDir => drop(plain.pop()),
            Component::CurDir => {}
            other => plain.push(other),
        }
        plain
    })
}

/// The files that this one names, as it names them.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let of = move |begin: &'static str| {
        text.match_indices(begin).filter_map(move |(at, _)| text[at + begin.len()..].split('"').next())
    };
    NAMED.into_iter().flat_map(of)
}

#[test]
fn no_crate_is_built_of_files_that_its_package_has_not() {
    let crates = published();
    assert_eq!(crates.len(), 9, "{crates:?}");
    let mut seen = 0;
    for folder in &crates {
        let mut files = Vec::new();
        below(&folder.join("src"), "rs", &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source");
            for name in named(&text) {
                let whole = plain(&file.with_file_name(name));
                assert!(whole.starts_with(folder), "{}: {name} is not in its package", file.display());
                assert!(whole.is_file(), "{}: there is no {name}", file.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "{seen} files are named");
}
