//! Which files there are. Regular files only; symbolic links are never followed, so a link cannot
//! name a file twice, leave the tree or make a loop.
//!
//! Two ways in: everything beneath a directory, as `find DIR -type f` lists it, or what git has in
//! its index, as far as it is still there.

use super::path::{FilePath, FilePathError};
use crate::terminal::harmless_bytes;
use serde::Serialize;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The most files that one tree may have.
pub const MAX_FILES: usize = 1_000_000;
/// How many of the places that could not be read are named; the others are only counted.
pub const MAX_UNREADABLE_NAMED: usize = 20;

/// The files of one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// The directory, absolute and with its own links resolved.
    pub root: PathBuf,
    /// Every regular file, sorted by its bytes, each once.
    pub files: Vec<FilePath>,
    /// What was there and is not in `files`.
    pub left_out: LeftOut,
}

/// What a tree holds besides its files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// Symbolic links, to whatever.
    pub symlinks: u64,
    /// Sockets, pipes, devices; in git's list also submodules.
    pub others: u64,
    /// In git's list, but no longer there.
    pub gone: u64,
    /// Places that could not be looked into.
    pub unreadable: u64,
    /// The first [`MAX_UNREADABLE_NAMED`] of those, and why.
    pub unreadable_named: Vec<String>,
}

/// Why there is no tree.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The directory cannot be read.
    #[error("cannot read the directory {path:?}: {source}")]
    Root {
        /// As given.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a file.
    #[error("{0:?} is not a directory")]
    NotADirectory(PathBuf),
    /// git cannot be started.
    #[error("cannot run git: {0}; name a directory with --input instead")]
    NoGit(io::Error),
    /// git can, and said no.
    #[error("git lists no files in {path:?}: {said}; name a directory with --input instead")]
    Git {
        /// Where it was asked.
        path: PathBuf,
        /// Its stderr.
        said: String,
    },
    /// A name that the system gave but that is none.
    #[error("an impossible file name: {0}")]
    Path(#[from] FilePathError),
    /// Over [`MAX_FILES`].
    #[error("more than {MAX_FILES} files; name a smaller directory with --input")]
    TooMany,
}

impl Tree {
    /// All regular files beneath `dir`, hidden ones too, as `find DIR -type f` lists them.
    /// `dir` itself may be a symbolic link; none beneath it is followed.
    ///
    /// # Errors
    /// `dir` cannot be read or holds too many files. A place further down that cannot be read is
    /// no error; it is in [`LeftOut`].
    pub fn walk(dir: &Path) -> Result<Tree, TreeError> {
        let mut tree = Tree::empty(dir)?;
        for entry in walkdir::WalkDir::new(&tree.root).min_depth(1).follow_links(false) {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) if error.depth() == 0 => {
                    return Err(TreeError::Root { path: dir.to_owned(), source: error.into() });
                }
                Err(error) => {
                    let at = error.path().unwrap_or(&tree.root);
                    let said = match error.io_error() {
                        Some(io) => io.to_string(),
                        None => "a directory within itself".to_owned(),
                    };
                    let named = format!("{}: {said}", harmless_bytes(at.as_os_str().as_bytes()));
                    tree.left_out.add_unreadable(named);
                    continue;
                }
            };
            let kind = entry.file_type();
            if kind.is_file() {
                // A path beneath the root begins with it.
                let within = entry.path().strip_prefix(&tree.root).unwrap_or(entry.path());
                tree.push(FilePath::new(within)?)?;
            } else if kind.is_symlink() {
                tree.left_out.symlinks += 1;
            } else if !kind.is_dir() {
                tree.left_out.others += 1;
            }
        }
        tree.files.sort_unstable();
        Ok(tree)
    }

    /// What `git ls-files` lists in `dir`, as far as it is there: regular files, each once (a file
    /// in conflict is listed three times), and none that is reached through a symbolic link.
    ///
    /// # Errors
    /// git cannot be run, `dir` is in no repository, or holds too many files.
    pub fn of_git(dir: &Path) -> Result<Tree, TreeError> {
        let mut tree = Tree::empty(dir)?;
        let listed = Command::new("git")
            .arg("-C")
            .arg(&tree.root)
            .args(["ls-files", "-z"])
            .stdin(Stdio::null())
            .output()
            .map_err(TreeError::NoGit)?;
        if !listed.status.success() {
            let said = harmless_bytes(listed.stderr.trim_ascii());
            return Err(TreeError::Git { path: dir.to_owned(), said });
        }
        let mut names: Vec<&[u8]> =
            listed.stdout.split(|byte| *byte == 0).filter(|n| !n.is_empty()).collect();
        names.sort_unstable();
        names.dedup();

        let mut through_links = Links::default();
        for name in names {
            let path = FilePath::new(OsStr::from_bytes(name))?;
            match std::fs::symlink_metadata(path.under(&tree.root)) {
                Ok(_) if through_links.leads(&tree.root, path.as_path()) => tree.left_out.symlinks += 1,
                Ok(found) if found.is_file() => tree.push(path)?,
                Ok(found) if found.is_symlink() => tree.left_out.symlinks += 1,
                Ok(_) => tree.left_out.others += 1,
                Err(error) if is_gone(&error) => tree.left_out.gone += 1,
                Err(error) => tree.left_out.add_unreadable(format!("{}: {error}", path.on_screen())),
            }
        }
        tree.files.sort_unstable();
        Ok(tree)
    }

    fn empty(dir: &Path) -> Result<Tree, TreeError> {
        let root = dir.canonicalize().map_err(|source| TreeError::Root { path: dir.to_owned(), source })?;
        if !root.is_dir() {
            return Err(TreeError::NotADirectory(dir.to_owned()));
        }
        Ok(Tree { root, files: Vec::new(), left_out: LeftOut::default() })
    }

    fn push(&mut self, path: FilePath) -> Result<(), TreeError> {
        if self.files.len() == MAX_FILES {
            return Err(TreeError::TooMany);
        }
        self.files.push(path);
        Ok(())
    }
}

impl LeftOut {
    fn add_unreadable(&mut self, named: String) {
        self.unreadable += 1;
        if self.unreadable_named.len() < MAX_UNREADABLE_NAMED {
            self.unreadable_named.push(named);
        }
    }
}

/// A directory that is no longer one makes everything in it gone as well.
fn is_gone(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Which directories are reached through a symbolic link; each is looked at once.
#[derive(Default)]
struct Links(BTreeMap<PathBuf, bool>);

impl Links {
    /// Whether a directory above `file` is a link. The index may say `a/b` where `a` has since
    /// become a link to another place.
    fn leads(&mut self, root: &Path, file: &Path) -> bool {
        let above = file.ancestors().skip(1).filter(|dir| !dir.as_os_str().is_empty());
        above.into_iter().any(|dir| match self.0.get(dir) {
            Some(link) => *link,
            None => {
                let link = root.join(dir).is_symlink();
                self.0.insert(dir.to_owned(), link);
                link
            }
        })
    }
}
