//! Which language a file is in, going by its name alone: its content is not looked at for this.

use super::path::FilePath;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;

/// The name of a language (or of what else a file is), one of the table's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Language(&'static str);

/// What no rule knows.
pub const OTHER: Language = Language("Other");

impl Language {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        self.0
    }
}

impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.0)
    }
}

impl fmt::Debug for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Serialize for Language {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for Language {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Language, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known = NAMES.iter().chain(EXTENSIONS).map(|(language, _)| *language).chain([OTHER.0]);
        let found = known.into_iter().find(|language| *language == name);
        found.map(Language).ok_or_else(|| de::Error::custom(format!("no language is called {name:?}")))
    }
}

/// The language of a file with this name: a well-known whole name first, then the extension (what
/// follows the last dot, upper case or lower), else [`OTHER`].
pub fn language_of(path: &FilePath) -> Language {
    let Some(name) = path.as_path().file_name().map(|name| name.as_bytes()) else { return OTHER };
    let lower = name.to_ascii_lowercase();
    find(NAMES, &lower)
        .or_else(|| match lower.iter().rposition(|byte| *byte == b'.') {
            // A hidden file (`.rs`) has a name, not an extension.
            None | Some(0) => None,
            Some(dot) => find(EXTENSIONS, lower.get(dot + 1..).unwrap_or_default()),
        })
        // `Dockerfile.test`, `Makefile.am`
        .or_else(|| find(NAMES_BEFORE_A_DOT, lower.split(|byte| *byte == b'.').next().unwrap_or_default()))
        .unwrap_or(OTHER)
}

fn find(table: &[(&'static str, &[&str])], name: &[u8]) -> Option<Language> {
    let hit = table.iter().find(|(_, names)| names.iter().any(|n| n.as_bytes() == name));
    hit.map(|(language, _)| Language(language))
}

const NAMES_BEFORE_A_DOT: &[(&str, &[&str])] =
    &[("Dockerfile", &["dockerfile"]), ("Makefile", &["makefile"])];

/// Whole names, in lower case.
const NAMES: &[(&str, &[&str])] = &[
    ("Bazel", &["build.bazel", "workspace", "workspace.bazel", "module.bazel"]),
    ("CMake", &["cmakelists.txt"]),
    ("Dockerfile", &["dockerfile", "containerfile"]),
    ("Git", &[".gitignore", ".gitattributes", ".gitmodules", ".gitkeep", ".mailmap"]),
    ("Go module", &["go.mod", "go.sum", "go.work"]),
    ("INI", &[".editorconfig", ".gitconfig", ".npmrc", ".pylintrc"]),
    ("JSON", &[".babelrc", ".eslintrc", ".prettierrc", "composer.lock"]),
    ("Just", &["justfile", ".justfile"]),
    (
        "Lock file",
        &["cargo.lock", "package-lock.json", "yarn.lock", "pnpm-lock.yaml", "poetry.lock", "uv.lock"],
    ),
    ("Makefile", &["makefile", "gnumakefile"]),
    ("Markdown", &["readme", "changelog"]),
    ("Nginx", &["nginx.conf"]),
    ("Ruby", &["gemfile", "rakefile", "vagrantfile", "podfile"]),
    ("Groovy", &["jenkinsfile"]),
    ("Shell", &[".bashrc", ".profile", ".zshrc", ".bash_profile", ".envrc"]),
    ("Text", &["license", "licence", "copying", "notice", "authors", "codeowners", "requirements.txt"]),
];

/// Extensions, in lower case.
const EXTENSIONS: &[(&str, &[&str])] = &[
    ("Ada", &["adb", "ads"]),
    ("Archive", &["zip", "tar", "gz", "tgz", "bz2", "xz", "zst", "7z", "jar", "whl", "crate"]),
    ("Assembly", &["s", "asm"]),
    ("Audio", &["mp3", "wav", "ogg", "flac"]),
    ("AWK", &["awk"]),
    ("Batch", &["bat", "cmd"]),
    ("Bazel", &["bzl", "bazel"]),
    ("C", &["c"]),
    ("C header", &["h"]),
    ("C#", &["cs", "csx"]),
    ("C++", &["cc", "cpp", "cxx", "c++", "hh", "hpp", "hxx", "ipp", "tpp"]),
    ("Clojure", &["clj", "cljs", "cljc", "edn"]),
    ("CMake", &["cmake"]),
    ("CSS", &["css"]),
    ("CSV", &["csv", "tsv"]),
    ("D", &["d"]),
    ("Dart", &["dart"]),
    ("Diff", &["diff", "patch"]),
    ("Dockerfile", &["dockerfile"]),
    ("Elixir", &["ex", "exs"]),
    ("Elm", &["elm"]),
    ("Erlang", &["erl", "hrl"]),
    ("F#", &["fs", "fsi", "fsx"]),
    ("Font", &["ttf", "otf", "woff", "woff2"]),
    ("Fortran", &["f", "f90", "f95", "f03", "for"]),
    ("Go", &["go"]),
    ("GraphQL", &["graphql", "gql"]),
    ("Groovy", &["groovy", "gradle"]),
    ("Haskell", &["hs", "lhs"]),
    ("HCL", &["hcl", "tf", "tfvars"]),
    ("HTML", &["html", "htm", "xhtml"]),
    ("Image", &["png", "jpg", "jpeg", "gif", "webp", "ico", "bmp", "tiff", "avif"]),
    ("INI", &["ini", "cfg", "conf", "properties", "service", "desktop"]),
    ("Java", &["java"]),
    ("JavaScript", &["js", "mjs", "cjs", "jsx"]),
    ("JSON", &["json", "jsonc", "json5", "jsonl", "ndjson", "geojson", "webmanifest"]),
    ("Julia", &["jl"]),
    ("Jupyter", &["ipynb"]),
    ("Just", &["just"]),
    ("Kotlin", &["kt", "kts"]),
    ("LaTeX", &["tex", "sty", "cls", "bib"]),
    ("Less", &["less"]),
    ("Lisp", &["lisp", "lsp", "el", "cl"]),
    ("Lock file", &["lock"]),
    ("Log", &["log"]),
    ("Lua", &["lua"]),
    ("Makefile", &["mk", "mak"]),
    ("Markdown", &["md", "markdown", "mdx"]),
    ("Nim", &["nim", "nims"]),
    ("Nix", &["nix"]),
    ("Objective-C", &["m", "mm"]),
    ("OCaml", &["ml", "mli"]),
    ("Pascal", &["pas", "pp"]),
    ("PDF", &["pdf"]),
    ("Perl", &["pl", "pm", "t"]),
    ("PHP", &["php", "phtml"]),
    ("PowerShell", &["ps1", "psm1", "psd1"]),
    ("Prolog", &["pro", "prolog"]),
    ("Protocol Buffers", &["proto"]),
    ("Python", &["py", "pyi", "pyw"]),
    ("R", &["r", "rmd"]),
    ("reStructuredText", &["rst"]),
    ("Ruby", &["rb", "rake", "gemspec", "erb"]),
    ("Rust", &["rs"]),
    ("Sass", &["sass", "scss"]),
    ("Scala", &["scala", "sc", "sbt"]),
    ("Scheme", &["scm", "ss", "rkt"]),
    ("Shell", &["sh", "bash", "zsh", "fish", "ksh", "bats"]),
    ("Solidity", &["sol"]),
    ("SQL", &["sql"]),
    ("Starlark", &["star"]),
    ("Svelte", &["svelte"]),
    ("SVG", &["svg"]),
    ("Swift", &["swift"]),
    ("Tcl", &["tcl"]),
    ("Text", &["txt", "text", "adoc", "asciidoc", "org"]),
    ("Thrift", &["thrift"]),
    ("TLA+", &["tla"]),
    ("TOML", &["toml"]),
    ("TypeScript", &["ts", "tsx", "mts", "cts"]),
    ("Verilog", &["v", "sv", "svh"]),
    ("VHDL", &["vhd", "vhdl"]),
    ("Video", &["mp4", "mkv", "webm", "mov", "avi"]),
    ("Vim script", &["vim"]),
    ("Visual Basic", &["vb", "vbs"]),
    ("Vue", &["vue"]),
    ("WebAssembly", &["wasm", "wat"]),
    ("XML", &["xml", "xsd", "xsl", "xslt", "plist", "csproj"]),
    ("YAML", &["yaml", "yml"]),
    ("Zig", &["zig", "zon"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::ffi::OsStr;

    #[test]
    fn a_file_is_known_by_its_name_or_its_extension() {
        let check = |name: &[u8], language: &str| {
            let path = FilePath::new(OsStr::from_bytes(name)).unwrap();
            assert_eq!(language_of(&path).as_str(), language, "{name:?}");
        };
        check(b"src/main.rs", "Rust");
        check(b"MAIN.RS", "Rust");
        check(b"a.b.py", "Python");
        check(b"Makefile", "Makefile");
        check(b"docker/Dockerfile", "Dockerfile");
        check(b"Dockerfile.test", "Dockerfile");
        check(b"Cargo.lock", "Lock file");
        check(b"CMakeLists.txt", "CMake");
        check(b".gitignore", "Git");
        check(b".rs", "Other");
        check(b"rs", "Other");
        check(b"dir.rs/noext", "Other");
        check(b"trailing.", "Other");
        check(b"\xff\xfe.md", "Markdown");
        check(b"odd\nname.toml", "TOML");
    }

    #[test]
    fn no_name_stands_twice_in_the_table() {
        for table in [NAMES, EXTENSIONS] {
            let mut seen = BTreeSet::new();
            for name in table.iter().flat_map(|(_, names)| *names) {
                assert!(seen.insert(name), "{name}");
                assert_eq!(*name, name.to_ascii_lowercase());
            }
        }
        assert!(EXTENSIONS.len() >= 60);
    }
}
