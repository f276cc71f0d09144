//! What the demo found out: sums over all files, and what the mesh did to get there.
//!
//! A report is data; [`super::screen`] draws it and `--output json|yaml` writes it as it is.

use super::analyse::{ContentHash, FileFacts};
use super::language::Language;
use super::path::FilePath;
use super::tree::LeftOut;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many of the largest files a report names.
pub const LARGEST: usize = 10;

/// Everything that the demo has to say.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// The tree's root, made fit for a screen.
    pub input: String,
    /// Over all files that were read.
    pub totals: Totals,
    /// By language, most bytes first.
    pub languages: Vec<LanguageTotals>,
    /// The [`LARGEST`] largest files, largest first.
    pub largest: Vec<LargeFile>,
    /// Files with the same content as another; most bytes to be saved first.
    pub duplicates: Vec<Duplicates>,
    /// Files that no agent could read, sorted by path.
    pub failed: Vec<FailedFile>,
    /// What else the tree holds.
    pub left_out: LeftOut,
    /// What the mesh did.
    pub mesh: MeshFigures,
}

/// Sums over files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Totals {
    /// How many files.
    pub files: u64,
    /// Their sizes.
    pub bytes: u64,
    /// Their lines.
    pub lines: u64,
    /// Their words.
    pub words: u64,
    /// Their TODO markers.
    pub todos: u64,
}

/// One language's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct LanguageTotals {
    /// Which.
    pub language: Language,
    /// Its sums.
    pub totals: Totals,
}

/// One of the largest files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LargeFile {
    /// Which.
    pub path: FilePath,
    /// Its size.
    pub bytes: u64,
    /// Its lines.
    pub lines: u64,
    /// Its language.
    pub language: Language,
}

/// Files with one content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Duplicates {
    /// Of that content.
    pub sha256: ContentHash,
    /// The size of one of them.
    pub bytes: u64,
    /// Two or more, sorted.
    pub paths: Vec<FilePath>,
}

/// A file whose task ended without its facts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct FailedFile {
    /// Which.
    pub path: FilePath,
    /// What the mesh said.
    pub why: String,
}

/// What the mesh did for a demo. The collector fills it in.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct MeshFigures {
    /// Tasks submitted.
    pub tasks: u64,
    /// Of those, completed.
    pub completed: u64,
    /// Attempts started, over all tasks.
    pub attempts: u64,
    /// Attempts that were another try after a failure or a time-out.
    pub retries: u64,
    /// Agents lost.
    pub agents_lost: u64,
    /// Attempts taken from one agent and given to another.
    pub reassigned: u64,
    /// From the first submission to the last result.
    #[serde(rename = "elapsed_ms", serialize_with = "as_ms")]
    pub elapsed: Duration,
    /// From a task's submission to its completion.
    pub latency: Latency,
    /// Tasks completed, by agent.
    pub completed_by: BTreeMap<String, u64>,
    /// The agent that was killed, if one was.
    pub takeover: Option<Takeover>,
    /// Why none was killed.
    pub not_killed: Option<String>,
}

/// How a killed agent's work went on.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Takeover {
    /// Who was killed.
    pub agent_id: String,
    /// How many of all tasks were done when it was killed.
    pub completed_before: u64,
    /// Tasks that it held in that moment, as the mesh had it.
    pub held: u64,
    /// Tasks that were lost with it: those, less what it had just finished, and what was given to it
    /// before its loss was known.
    pub lost_with_it: u64,
    /// Who completed those.
    pub taken_over_by: BTreeMap<String, u64>,
    /// From the kill until the mesh called the agent lost.
    #[serde(rename = "lost_after_ms", serialize_with = "as_optional_ms")]
    pub lost_after: Option<Duration>,
    /// From the kill until the last of its tasks was completed by another.
    #[serde(rename = "made_good_after_ms", serialize_with = "as_optional_ms")]
    pub made_good_after: Option<Duration>,
}

fn as_ms<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(ms(*duration))
}

fn as_optional_ms<S: serde::Serializer>(
    duration: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    duration.map(ms).serialize(serializer)
}

/// To the microsecond.
fn ms(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}

/// How long things took: a histogram in microseconds, exact to three digits, in constant memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Latency(Histogram<u64>);

/// The longest that is told apart: an hour. What takes longer counts as that.
const LONGEST_US: u64 = 3_600_000_000;

impl Default for Latency {
    fn default() -> Self {
        // The bounds are constants that the histogram takes: low is 1, high over twice that, and
        // 3 digits are at most 5.
        #[expect(clippy::unwrap_used)]
        Latency(Histogram::new_with_bounds(1, LONGEST_US, 3).unwrap())
    }
}

impl Latency {
    /// Counts one.
    pub fn record(&mut self, took: Duration) {
        self.0.saturating_record(u64::try_from(took.as_micros()).unwrap_or(LONGEST_US));
    }

    /// How many were counted.
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// Within which `percentile` (0 to 100) of them ended; none if there are none.
    pub fn percentile(&self, percentile: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_percentile(percentile)))
    }

    /// The longest; none if there are none.
    pub fn max(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.max()))
    }
}

/// `{count, p50_ms, p99_ms, max_ms}`
impl Serialize for Latency {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Figures {
            count: u64,
            p50_ms: Option<f64>,
            p99_ms: Option<f64>,
            max_ms: Option<f64>,
        }
        let figures = Figures {
            count: self.count(),
            p50_ms: self.percentile(50.0).map(ms),
            p99_ms: self.percentile(99.0).map(ms),
            max_ms: self.max().map(ms),
        };
        figures.serialize(serializer)
    }
}

impl Totals {
    fn add(&mut self, facts: &FileFacts) {
        self.files += 1;
        self.bytes += facts.bytes;
        self.lines += facts.lines;
        self.words += facts.words;
        self.todos += facts.todos;
    }
}

impl Duplicates {
    /// Bytes that would be saved if the content were there once.
    pub fn to_be_saved(&self) -> u64 {
        self.bytes * (self.paths.len() as u64).saturating_sub(1)
    }
}

impl Report {
    /// Sums up. The result does not depend on the order in which the facts came.
    pub fn new(
        input: impl Into<String>,
        facts: &BTreeMap<FilePath, FileFacts>,
        mut failed: Vec<FailedFile>,
        left_out: LeftOut,
        mesh: MeshFigures,
    ) -> Report {
        let mut totals = Totals::default();
        let mut languages: BTreeMap<Language, Totals> = BTreeMap::new();
        let mut contents: BTreeMap<ContentHash, Vec<(&FilePath, u64)>> = BTreeMap::new();
        for (path, facts) in facts {
            totals.add(facts);
            languages.entry(facts.language).or_default().add(facts);
            contents.entry(facts.sha256).or_default().push((path, facts.bytes));
        }
        failed.sort_unstable();
        Report {
            input: input.into(),
            totals,
            languages: by_bytes(languages),
            largest: largest(facts),
            duplicates: duplicates(contents),
            failed,
            left_out,
            mesh,
        }
    }
}

fn by_bytes(languages: BTreeMap<Language, Totals>) -> Vec<LanguageTotals> {
    let mut rows: Vec<LanguageTotals> =
        languages.into_iter().map(|(language, totals)| LanguageTotals { language, totals }).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.totals.bytes));
    rows
}

fn largest(facts: &BTreeMap<FilePath, FileFacts>) -> Vec<LargeFile> {
    let mut by_size: Vec<(&FilePath, &FileFacts)> = facts.iter().collect();
    // Stable: files of one size stay sorted by path.
    by_size.sort_by_key(|(_, facts)| std::cmp::Reverse(facts.bytes));
    let large = by_size.into_iter().take(LARGEST);
    large
        .map(|(path, facts)| LargeFile {
            path: path.clone(),
            bytes: facts.bytes,
            lines: facts.lines,
            language: facts.language,
        })
        .collect()
}

fn duplicates(contents: BTreeMap<ContentHash, Vec<(&FilePath, u64)>>) -> Vec<Duplicates> {
    let several = contents.into_iter().filter(|(_, files)| files.len() > 1);
    let mut groups: Vec<Duplicates> = several
        .map(|(sha256, files)| Duplicates {
            sha256,
            bytes: files.first().map_or(0, |(_, bytes)| *bytes),
            paths: files.into_iter().map(|(path, _)| path.clone()).collect(),
        })
        .collect();
    groups.sort_by_key(|group| std::cmp::Reverse((group.to_be_saved(), group.paths.len())));
    groups
}

#[cfg(test)]
mod tests {
    use super::super::language::language_of;
    use super::*;

    fn facts(files: &[(&str, &str, u64)]) -> BTreeMap<FilePath, FileFacts> {
        let of = |(name, digit, bytes): &(&str, &str, u64)| {
            let path = FilePath::new(*name).unwrap();
            let sha256 = digit.repeat(64).parse().unwrap();
            let language = language_of(&path);
            (path, FileFacts { bytes: *bytes, lines: 2, words: 3, language, sha256, todos: 1 })
        };
        files.iter().map(of).collect()
    }

    fn report(files: &[(&str, &str, u64)]) -> Report {
        Report::new("in", &facts(files), Vec::new(), LeftOut::default(), MeshFigures::default())
    }

    #[test]
    fn sums_are_over_all_files_and_by_language() {
        let report = report(&[("a.rs", "0", 10), ("b.rs", "1", 20), ("c.py", "2", 100)]);
        assert_eq!(report.totals, Totals { files: 3, bytes: 130, lines: 6, words: 9, todos: 3 });
        let rows: Vec<_> = report.languages.iter().map(|r| (r.language.as_str(), r.totals.bytes)).collect();
        assert_eq!(rows, [("Python", 100), ("Rust", 30)]);
    }

    #[test]
    fn duplicates_are_files_of_one_content_the_most_wasteful_first() {
        let report = report(&[
            ("a", "0", 10),
            ("b", "1", 50),
            ("c", "0", 10),
            ("d", "1", 50),
            ("e", "2", 1),
            ("f", "3", 0),
            ("g", "3", 0),
        ]);
        let groups: Vec<_> = report
            .duplicates
            .iter()
            .map(|g| (g.to_be_saved(), g.paths.iter().map(|p| p.to_string()).collect::<Vec<_>>().join(" ")))
            .collect();
        assert_eq!(groups, [(50, "b d".into()), (10, "a c".into()), (0, "f g".to_owned())]);
    }

    #[test]
    fn the_largest_are_ten_and_equal_ones_are_sorted() {
        let names: Vec<String> = (0..12).map(|i| format!("f{i:02}")).collect();
        let files: Vec<(&str, &str, u64)> = names.iter().map(|n| (n.as_str(), "0", 7)).collect();
        let report = report(&files);
        assert_eq!(report.largest.len(), LARGEST);
        assert_eq!(report.largest[0].path.to_string(), "f00");
    }

    #[test]
    fn latency_is_in_milliseconds_and_absent_where_nothing_was_measured() {
        let mut latency = Latency::default();
        assert_eq!(
            serde_json::to_string(&latency).unwrap(),
            r#"{"count":0,"p50_ms":null,"p99_ms":null,"max_ms":null}"#
        );
        for i in 1..=100 {
            latency.record(Duration::from_micros(i * 10));
        }
        latency.record(Duration::from_secs(100_000));
        assert_eq!(latency.percentile(50.0), Some(Duration::from_micros(510)));
        assert!(latency.max().unwrap() >= Duration::from_secs(3_599));
    }
}
