//! Each check of `synod validate` has a break of the mesh that turns it red, and for a reason that is about what was broken.
//!
//! ```text
//! synod validate --only CHECK ──> something that lies or changes (http.rs, wire.rs) ──> one mesh for all of them
//! ```

mod http;
mod table;
mod wire;

use crate::binary::synod;
use crate::running::Up;
use http::{Lie, Route};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use table::{BREAKS, DISRUPTIVE, MEASURED};
use wire::{Change, Kind};

/// Breaks at a time: most of them wait for something.
const AT_A_TIME: usize = 8;

/// One check, what is broken for it, and how that is seen.
struct Break {
    check: &'static str,
    by: By,
    red: Red,
}

/// What has to be red.
enum Red {
    /// The check and no other, for a reason that has this in it.
    Reason(&'static str),
    /// The figure of this name, and its value is so. Others may be red too: this machine does more than one thing.
    Figure(&'static str, fn(f64) -> bool),
}

/// What is broken.
enum By {
    Http(Route, Lie),
    Wire(Kind, Change),
}

/// How often the break was met with.
#[derive(Clone, Default)]
struct Told(Arc<AtomicUsize>);

impl Told {
    fn once_more(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn times(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Where a mesh is, as its file says it.
#[derive(Clone)]
struct Whereabouts {
    http: String,
    kafka: String,
    redis: String,
}

impl Whereabouts {
    fn of(up: &Up) -> Whereabouts {
        let file: Value = serde_json::from_slice(&std::fs::read(&up.file).unwrap()).unwrap();
        let text = |name: &str| file[name].as_str().unwrap().to_owned();
        Whereabouts { http: text("http"), kafka: text("kafka"), redis: text("redis") }
    }

    /// The same, broken.
    async fn broken(mut self, by: &By, told: Told) -> Whereabouts {
        match by {
            By::Http(route, lie) => self.http = http::lie(self.http, route.clone(), *lie, told).await,
            By::Wire(Kind::Kafka, change) => {
                self.kafka = wire::wire(self.kafka, Kind::Kafka, *change, told).await;
            }
            By::Wire(Kind::Redis, change) => {
                let address = self.redis.trim_start_matches("redis://").to_owned();
                self.redis = format!("redis://{}", wire::wire(address, Kind::Redis, *change, told).await);
            }
        }
        self
    }

    fn write(&self, file: &std::path::Path) {
        let text = json!({ "http": self.http, "kafka": self.kafka, "redis": self.redis }).to_string();
        std::fs::write(file, text).unwrap();
    }
}

impl Break {
    /// Nothing, if it turns its check red, and no other; else what was seen.
    fn not_seen(&self, up: &Up, runtime: &tokio::runtime::Runtime, more: &[&str]) -> Option<String> {
        let folder = tempfile::tempdir().unwrap();
        let (file, told) = (folder.path().join("endpoints.json"), Told::default());
        runtime.block_on(Whereabouts::of(up).broken(&self.by, told.clone())).write(&file);
        let mut command = synod(&["validate", "--json", "--only", self.check]);
        let output = command.args(more).env("SYNOD_ENDPOINTS", &file).output().unwrap();
        let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let red: Vec<&Value> = rows.iter().filter(|row| row["result"] == "fail").collect();
        let is_seen = match (&self.red, red.as_slice()) {
            (Red::Reason(says), [row]) => {
                row["check"] == self.check && row["why"].as_str().unwrap().contains(says)
            }
            (Red::Reason(_), _) => false,
            (Red::Figure(name, is_so), rows) => rows
                .iter()
                .any(|row| row["check"] == *name && is_so(row["figure"]["value"].as_f64().unwrap())),
        };
        let is_seen = is_seen && output.status.code() == Some(1) && told.times() > 0;
        let met = told.times();
        (!is_seen)
            .then(|| format!("{}, whose break was met {met} times: {red:?}, {}", self.check, output.status))
    }
}

/// All of them, some at a time.
fn each_is_seen(breaks: &[Break], at_a_time: usize, more: &[&str]) {
    let up = Up::start();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let next = AtomicUsize::new(0);
    let not_seen = std::thread::scope(|scope| {
        let some = || {
            let mine = std::iter::from_fn(|| breaks.get(next.fetch_add(1, Ordering::Relaxed)));
            mine.filter_map(|it| it.not_seen(&up, &runtime, more)).collect::<Vec<String>>()
        };
        let workers: Vec<_> = (0..at_a_time).map(|_| scope.spawn(some)).collect();
        workers.into_iter().flat_map(|worker| worker.join().unwrap()).collect::<Vec<String>>()
    });
    assert!(not_seen.is_empty(), "\n{}", not_seen.join("\n"));
}

#[test]
fn each_check_turns_red_when_what_it_is_about_is_broken() {
    each_is_seen(&BREAKS, AT_A_TIME, &["--figures", "off"]);
}

/// What kills a coordinator or wipes Redis has a mesh of its own.
#[test]
fn each_disruptive_check_turns_red_when_what_it_is_about_is_broken() {
    each_is_seen(&DISRUPTIVE, 1, &["--figures", "off", "--disruptive"]);
}

#[test]
fn each_figure_is_judged_by_its_goal() {
    each_is_seen(&MEASURED, MEASURED.len(), &["--figures", "judged"]);
}

#[test]
fn no_check_is_without_a_break() {
    let output = synod(&["validate", "--list"]).output().unwrap();
    let names = String::from_utf8(output.stdout).unwrap();
    let all = BREAKS.iter().chain(&DISRUPTIVE).chain(&MEASURED);
    assert_eq!(names.lines().collect::<BTreeSet<_>>(), all.map(|it| it.check).collect());
}
