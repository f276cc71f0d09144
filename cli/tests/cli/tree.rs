//! The demo's figures are those of `find`, `wc`, `sha256sum`, `grep` and git, also on a nasty tree.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use synod::demo::report::{MeshFigures, Report};
use synod::demo::tree::LeftOut;
use synod::demo::{FileFacts, FilePath, Tree, TreeError, analyse};

/// Every odd name and content that came to mind.
pub(crate) fn nasty() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let put = |name: &[u8], content: &[u8]| {
        let path = dir.path().join(OsStr::from_bytes(name));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    put(b"plain.rs", b"fn main() {\n    // TODO: all of it\n}\n");
    put(b"copy of plain.rs", b"fn main() {\n    // TODO: all of it\n}\n");
    put(b"two\nlines.py", b"import this\nimport that\n");
    put(b"tab\there.md", b"# title\n");
    put(b"-rf", b"not an option\n");
    put(b"--help", b"");
    put(b" leading and trailing ", b"x");
    put("\u{1f980}/caf\u{e9}.txt".as_bytes(), "na\u{ef}ve \u{2014} \u{e9} \u{a0}\n".as_bytes());
    put(b"\xff\xfe\x80.bin", b"\xff\xfe\0\x01 \x02\n\x03");
    put(b"dir \xc3/\xc3\x28", b"half a character\xc3");
    put(b"100%25", b"percent\n");
    put(b"quote'\"\\$(id)`;|&", b"shell\n");
    put(b"*", b"glob\n");
    put(b"\x1b[31mred", b"escape\n");
    put(b"empty", b"");
    put(b"empty too", b"");
    put(b"no newline.txt", b"one two three");
    put(b"crlf.txt", b"one two\r\nFIXME three\r\n\r\n");
    put(b"white.txt", b" \t\x0b\x0c\r\n  \n");
    put(b".hidden/.file", b"TODO_LIST TODO FIXME: TODOS\n");
    put(b"every byte", &(0..=255).collect::<Vec<u8>>());
    let mut noise = Noise(1);
    put(b"binary", &noise.bytes(100_000, &(0..=255).collect::<Vec<u8>>()));
    put(b"large.log", &noise.bytes(5 * 1024 * 1024 + 17, b"abcdefgh TODO FIXME\n\t"));
    put(b"a/b/c/d/e/f/g/deep.c", b"int main;\n");
    fs::create_dir(dir.path().join("empty dir")).unwrap();

    let link = |to: &str, name: &str| symlink(to, dir.path().join(name)).unwrap();
    link("plain.rs", "link to file");
    link("a", "link to dir");
    link("..", "a/b/loop");
    link(".", "self");
    link("nowhere", "dangling");
    link("/etc", "outside");
    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    dir
}

/// Bytes that look random and are the same every time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize
    }

    fn bytes(&mut self, length: usize, from: &[u8]) -> Vec<u8> {
        (0..length).map(|_| from[self.next() % from.len()]).collect()
    }
}

/// stdout of a tool in the C locale, run in `dir`.
fn tool(dir: &Path, stdin: Option<&Path>, program: &str, args: &[&str]) -> Vec<u8> {
    let stdin = stdin.map_or_else(Stdio::null, |path| fs::File::open(path).unwrap().into());
    let mut command = Command::new(program);
    let output = command.args(args).current_dir(dir).env("LC_ALL", "C").stdin(stdin).output().unwrap();
    assert!(output.status.code().is_some_and(|status| status <= 1), "{program} {args:?}: {output:?}");
    output.stdout
}

fn numbers(bytes: &[u8]) -> Vec<u64> {
    String::from_utf8_lossy(bytes).split_whitespace().filter_map(|word| word.parse().ok()).collect()
}

/// coreutils 9.1, which the demo follows, sees no word in unprintable bytes; newer versions do.
fn wc_counts_printable_words() -> bool {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), b"\x01").unwrap();
    let same = numbers(&tool(dir.path(), None, "wc", &["-w", "x"]))[0] == 0;
    if !same {
        eprintln!("this wc counts unprintable words: figures of words are not compared");
    }
    same
}

fn facts(tree: &Tree) -> BTreeMap<FilePath, FileFacts> {
    tree.files.iter().map(|path| (path.clone(), analyse(&tree.root, path).unwrap())).collect()
}

fn found(dir: &Path) -> BTreeSet<OsString> {
    let names = tool(dir, None, "find", &[".", "-type", "f", "-printf", "%P\\0"]);
    names.split(|byte| *byte == 0).filter(|n| !n.is_empty()).map(|n| OsString::from_vec(n.to_vec())).collect()
}

fn names(tree: &Tree) -> BTreeSet<OsString> {
    tree.files.iter().map(|path| path.as_path().as_os_str().to_owned()).collect()
}

/// What the tools say of all files beneath a directory.
pub(crate) struct Totals {
    pub(crate) files: u64,
    pub(crate) lines: u64,
    /// None where this `wc` counts otherwise.
    pub(crate) words: Option<u64>,
    pub(crate) bytes: u64,
    pub(crate) todos: u64,
    /// The digests of contents that are there more than once, sorted.
    pub(crate) doubled: Vec<String>,
}

pub(crate) fn totals_by_tools(dir: &Path) -> Totals {
    let sh = |script: &str| tool(dir, None, "sh", &["-c", script]);
    let wc = numbers(&sh("find . -type f -print0 | wc -lwc --files0-from=- | tail -n 1"));
    let doubled = sh(DOUBLED);
    let todos = numbers(&sh("find . -type f -print0 | xargs -0 cat | grep -aowE 'TODO|FIXME' | wc -l"))[0];
    Totals {
        files: found(dir).len() as u64,
        lines: wc[0],
        words: wc_counts_printable_words().then_some(wc[1]),
        bytes: wc[2],
        todos,
        doubled: String::from_utf8(doubled).unwrap().lines().map(str::to_owned).collect(),
    }
}

const DOUBLED: &str =
    "find . -type f -print0 | xargs -0 sha256sum -z | cut -z -c -64 | sort -z | uniq -zd | tr '\\0' '\\n'";

#[test]
fn the_files_are_those_that_find_finds() {
    let dir = nasty();
    let tree = Tree::walk(dir.path()).unwrap();
    assert_eq!(names(&tree), found(dir.path()));
    assert_eq!(names(&tree).len(), tree.files.len());
    assert!(tree.files.len() >= 24);
    assert_eq!(tree.left_out, LeftOut { symlinks: 6, others: 1, ..LeftOut::default() });
}

#[test]
fn each_files_figures_are_those_of_wc_sha256sum_and_grep() {
    let dir = nasty();
    let words_compare = wc_counts_printable_words();
    for (path, facts) in facts(&Tree::walk(dir.path()).unwrap()) {
        let file = path.under(dir.path());
        let wc = numbers(&tool(dir.path(), Some(&file), "wc", &["-lwc"]));
        assert_eq!((facts.lines, facts.bytes), (wc[0], wc[2]), "{path}");
        if words_compare {
            assert_eq!(facts.words, wc[1], "words of {path}");
        }
        let sum = tool(dir.path(), Some(&file), "sha256sum", &[]);
        assert_eq!(facts.sha256.to_string().as_bytes(), &sum[..64], "{path}");
        let todos = tool(dir.path(), Some(&file), "grep", &["-aowE", "TODO|FIXME"]);
        assert_eq!(
            facts.todos as usize,
            todos.iter().filter(|b| **b == b'\n').count(),
            "TODO markers of {path}"
        );
    }
}

#[test]
fn words_are_counted_as_wc_does_whatever_the_bytes() {
    if !wc_counts_printable_words() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut noise = Noise(7);
    let alphabet = b"ab \t\n\x0b\x0c\r\0\x01\x1f\x7f\x80\x85\xa0\xc3\xa9\xff!~_";
    for i in 0..400 {
        let length = noise.next() % 24;
        fs::write(dir.path().join(format!("f{i:03}")), noise.bytes(length, alphabet)).unwrap();
    }
    let tree = Tree::walk(dir.path()).unwrap();
    let names: Vec<String> = tree.files.iter().map(|path| path.to_string()).collect();
    let mut args = vec!["-lwc"];
    args.extend(names.iter().map(String::as_str));
    let wc = String::from_utf8(tool(dir.path(), None, "wc", &args)).unwrap();
    for (line, path) in wc.lines().zip(&tree.files) {
        let facts = analyse(&tree.root, path).unwrap();
        let ours = [facts.lines, facts.words, facts.bytes];
        assert_eq!(numbers(line.as_bytes()), ours, "{:?}", fs::read(path.under(&tree.root)).unwrap());
    }
}

#[test]
fn totals_and_duplicates_are_those_of_the_tools() {
    let dir = nasty();
    let tree = Tree::walk(dir.path()).unwrap();
    let report = Report::new("nasty", &facts(&tree), Vec::new(), tree.left_out, MeshFigures::default());

    let tools = totals_by_tools(dir.path());
    let totals = report.totals;
    assert_eq!(
        [totals.files, totals.lines, totals.bytes, totals.todos],
        [tools.files, tools.lines, tools.bytes, tools.todos]
    );
    if let Some(words) = tools.words {
        assert_eq!(totals.words, words);
    }
    let ours: BTreeSet<String> = report.duplicates.iter().map(|group| group.sha256.to_string()).collect();
    assert_eq!(ours, tools.doubled.into_iter().collect());
    assert_eq!(ours.len(), 2);
}

#[test]
fn a_task_carries_every_path_through_json() {
    let dir = nasty();
    for path in Tree::walk(dir.path()).unwrap().files {
        let task = synod::demo::FileTask { path };
        let json = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<synod::demo::FileTask>(&json).unwrap(), task);
    }
}

#[test]
fn git_lists_what_is_tracked_and_still_there() {
    let dir = nasty();
    let root = dir.path();
    fs::create_dir(root.join("was a dir")).unwrap();
    fs::write(root.join("was a dir/file"), "x").unwrap();
    fs::write(root.join("was deleted"), "x").unwrap();
    fs::write(root.join("was a file"), "x").unwrap();
    fs::write(root.join(".gitignore"), "ignored\n").unwrap();
    tool(root, None, "git", &["init", "-q"]);
    tool(root, None, "git", &["add", "-A"]);
    let tracked = found_tracked(root);
    fs::remove_dir_all(root.join("was a dir")).unwrap();
    symlink("a", root.join("was a dir")).unwrap();
    fs::write(root.join("a/file"), "reached through a link").unwrap();
    fs::remove_file(root.join("was deleted")).unwrap();
    fs::remove_file(root.join("was a file")).unwrap();
    symlink("plain.rs", root.join("was a file")).unwrap();
    fs::write(root.join("ignored"), "x").unwrap();
    fs::write(root.join("untracked"), "x").unwrap();

    let tree = Tree::of_git(root).unwrap();
    let gone = ["was a dir/file", "was deleted", "was a file"].map(OsString::from);
    let expected: BTreeSet<OsString> = tracked.into_iter().filter(|name| !gone.contains(name)).collect();
    assert_eq!(names(&tree), expected);
    assert!(expected.contains(OsStr::new(".gitignore")) && expected.len() >= 25);
    // Six links of the tree's own, one that was a file, one path through a link.
    assert_eq!(tree.left_out, LeftOut { symlinks: 8, gone: 1, ..LeftOut::default() });
}

/// Regular files in the index: mode 100644 or 100755.
fn found_tracked(root: &Path) -> BTreeSet<OsString> {
    let staged = tool(root, None, "git", &["ls-files", "-z", "--stage"]);
    let files = staged.split(|byte| *byte == 0).filter(|entry| entry.starts_with(b"100"));
    files.map(|e| OsString::from_vec(e[e.iter().position(|b| *b == b'\t').unwrap() + 1..].to_vec())).collect()
}

#[test]
fn a_file_in_conflict_is_listed_once() {
    let dir = tempfile::tempdir().unwrap();
    let git = |args: &[&str]| tool(dir.path(), None, "git", args);
    git(&["init", "-q", "-b", "main"]);
    git(&["config", "user.email", "a@example.org"]);
    git(&["config", "user.name", "a"]);
    let commit = |content: &str| {
        fs::write(dir.path().join("file"), content).unwrap();
        git(&["add", "file"]);
        git(&["commit", "-q", "-m", "x", "--no-verify"]);
    };
    commit("base\n");
    git(&["checkout", "-q", "-b", "other"]);
    commit("theirs\n");
    git(&["checkout", "-q", "main"]);
    commit("ours\n");
    git(&["merge", "-q", "other"]);
    assert_eq!(numbers(&tool(dir.path(), None, "sh", &["-c", "git ls-files | wc -l"])), [3]);
    assert_eq!(Tree::of_git(dir.path()).unwrap().files.len(), 1);
}

#[test]
fn what_is_no_tree_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let at = |name: &str| dir.path().join(name);
    assert!(matches!(Tree::walk(&at("absent")), Err(TreeError::Root { .. })));
    assert!(matches!(Tree::walk(&at("file")), Err(TreeError::NotADirectory(_))));
    assert!(matches!(Tree::of_git(dir.path()), Err(TreeError::Git { .. })));
}

#[test]
fn the_directory_itself_may_be_a_link() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("real")).unwrap();
    fs::write(dir.path().join("real/file"), "").unwrap();
    symlink("real", dir.path().join("link")).unwrap();
    assert_eq!(Tree::walk(&dir.path().join("link")).unwrap().files.len(), 1);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_not_a_figure() {
    // Opens, and then fails at its first byte, for root as well.
    let error = analyse(Path::new("/proc/self"), &FilePath::new("mem").unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("cannot read mem"), "{error}");
}
