//! A good ledger is clean; each kind of damage is found at its record, and told with what stands around it.

use super::*;
use std::io::Write as _;
use synod_fleet::Registry;
use synod_ledger::{Append, Claim, Context, Fold, Input, Keep, Limits, Meta, Owner, Released};
use synod_protocol::{Command, ContentType, Timestamp, Workspace};

/// A file with these records, from this offset on.
struct Ledger(Vec<String>, u64);

const NOW: &str = "2026-11-21T08:00:00.000Z";

fn step(offset: usize, ce_id: &str, events: &str) -> String {
    format!(
        r#"{{"v":1,"kind":"step","epoch":0,"n":{offset},"now":"{NOW}","workspace":"default","root":"t","input":{{"door":"http","ce_id":"{ce_id}","type":"synod.task.submit","entity":"t"}},"events":[{events}],"floor":0,"done":0}}"#
    )
}

fn submitted(task: &str) -> String {
    format!(
        r#"{{"entity":"{task}","type":"synod.task.submitted","data":{{"task_id":"{task}","status":"waiting","capability":"c","input":null,"priority":5,"timeout_ms":1000,"deadline":"2026-11-22T08:00:00.000Z","retry":{{"max_attempts":3,"initial_backoff_ms":1,"max_backoff_ms":1,"multiplier":1.0}},"strategy":"s","retry_on_suspect":false,"correlation_id":"k","body":"b"}}}}"#
    )
}

fn cancelled(task: &str) -> String {
    format!(
        r#"{{"entity":"{task}","type":"synod.task.cancelled","data":{{"task_id":"{task}","status":"cancelled"}}}}"#
    )
}

/// An attempt that was never given has ended with a result: no core of ours would write that.
fn conjured(task: &str) -> String {
    format!(
        r#"{{"entity":"{task}","type":"synod.task.completed","data":{{"task_id":"{task}","status":"completed","attempt":1,"agent_id":"a","output":1,"processing_ms":1}}}}"#
    )
}

impl Ledger {
    /// A claim and this many tasks' lives, two steps each, through the quick door.
    fn of(tasks: usize) -> Ledger {
        let claim = Claim::by("one", Timestamp::parse(NOW).unwrap()).to_bytes().unwrap();
        let mut lines = vec![String::from_utf8(claim).unwrap()];
        for task in 0..tasks {
            let name = format!("t-{task}");
            lines.push(step(lines.len(), &format!("s-{task}"), &submitted(&name)));
            lines.push(step(lines.len(), &format!("c-{task}"), &cancelled(&name)));
        }
        Ledger(lines, 0)
    }

    fn but(mut self, offset: usize, line: String) -> Ledger {
        self.0[offset] = line;
        self
    }

    async fn replayed(&self, schedule: Schedule, until: Option<u64>) -> Replayed {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (offset, value) in self.0.iter().enumerate() {
            let entry = Entry {
                offset: self.1 + offset as u64,
                timestamp_ms: Some(0),
                key: None,
                value: Some(value.clone().into_bytes()),
            };
            serde_json::to_writer(&mut file, &crate::ledger::Line::of(4, &entry)).unwrap();
            file.write_all(b"\n").unwrap();
        }
        let source = Source::file(file.path()).unwrap();
        let extent = source.extents(crate::ledger::Which::All).await.unwrap()[0];
        replay(&source, extent.until(until), schedule).await.unwrap()
    }

    async fn found(&self, schedule: Schedule) -> (u64, String) {
        let found = self.replayed(schedule, None).await.violation.expect("nothing was found");
        (found.offset, found.what)
    }
}

#[tokio::test]
async fn a_good_ledger_is_clean_and_counted() {
    let report = Ledger::of(10).replayed(Schedule::Every(1), None).await;
    assert!(report.violation.is_none(), "{report:?}");
    assert_eq!((report.shard, report.from, report.to, report.records), (4, Some(0), Some(20), 21));
    assert_eq!((report.counted, report.void, report.claims, report.epoch), (20, 0, 1, Some(0)));
    assert_eq!((report.tasks, report.states_checked), (BTreeMap::from([("cancelled", 10)]), 21));
}

#[tokio::test]
async fn it_stops_where_it_is_told_and_checks_what_it_was_told_to() {
    let ledger = Ledger::of(10);
    let report = ledger.replayed(Schedule::Every(8), Some(17)).await;
    assert_eq!((report.to, report.records), (Some(17), 18));
    assert_eq!(report.tasks, BTreeMap::from([("cancelled", 8), ("waiting", 1)]));
    // After the 8th, the 16th, and the last.
    assert_eq!(report.states_checked, 3);
    // With 400 things, not after each record any more.
    let many = Ledger::of(200).replayed(Schedule::Affordable, None).await;
    assert!((20..399).contains(&many.states_checked), "{}", many.states_checked);
}

#[tokio::test]
async fn damage_is_found_at_its_record() {
    let check = async |offset, line: String, says: &str| {
        for schedule in [Schedule::Every(1), Schedule::Every(1_000), Schedule::Affordable] {
            let (at, what) = Ledger::of(10).but(offset, line.clone()).found(schedule).await;
            assert!(at == offset as u64 && what.contains(says), "{schedule:?}: {at}: {what}");
        }
    };
    check(5, step(5, "s-0", &submitted("x")), "was had at offset 1").await;
    check(6, step(6, "x", &submitted("t-0")), "is submitted, and was at offset 2").await;
    check(7, step(7, "x", &cancelled("t-0")), "which ended as").await;
    check(8, step(8, "x", r#"{"entity":"t","type":"synod.task.dreamt","data":{}}"#), "synod.task.dreamt")
        .await;
    check(9, r#"{"v":7,"kind":"claim"}"#.to_owned(), "newer Synod").await;
    // What only the state shows: nothing is wrong with the record itself.
    check(4, step(4, "x", &conjured("t-1")), "its last attempt completed").await;
}

#[tokio::test]
async fn a_violation_is_told_with_what_stands_around_it() {
    let ledger = Ledger::of(10).but(12, step(12, "s-0", &submitted("x")));
    let found = ledger.replayed(Schedule::Affordable, None).await.violation.unwrap();
    let offsets: Vec<u64> = found.around.iter().map(|near| near.offset).collect();
    assert_eq!(offsets, (4..=16).collect::<Vec<_>>());
    assert_eq!(found.around[8].what, "step 0/12 by http, ce_id s-0; task.submitted x");
    assert_eq!(found.right_until, Some(11));
}

#[test]
fn the_fold_itself_says_when_records_are_missing() {
    let mut run = Run::new(0, None, Schedule::Affordable);
    let entry =
        |offset: u64, line: &str| Entry { offset, timestamp_ms: None, key: None, value: Some(line.into()) };
    let lines = Ledger::of(2).0;
    assert!(run.take(entry(0, &lines[0])).is_continue() && run.take(entry(2, &lines[2])).is_continue());
    assert!(run.end().violation.unwrap().what.contains("jumps from offset Some(0) to 2"));
    // The same that an owner would say.
    assert!(Fold::default().record(1, None, lines[1].as_bytes()).is_err());
}

/// A shard that lives: an owner of ours writes it, with an image every few records.
struct Living {
    lines: Vec<String>,
    owner: Option<Owner>,
    commands: u64,
}

impl Living {
    /// Two epochs, tasks submitted and some cancelled in each, and a last claim.
    fn through_three_claims() -> Ledger {
        let mut living = Living { lines: Vec::new(), owner: None, commands: 0 };
        for epoch in 0..2 {
            living.claim();
            for task in 0..30 {
                let id = format!("t-{epoch}-{task}");
                living.command("synod.task.submit", &format!(r#"{{"task_id":"{id}","capability":"c"}}"#));
                if task % 3 == 0 {
                    living.command("synod.task.cancel", &format!(r#"{{"task_id":"{id}"}}"#));
                }
            }
        }
        living.claim();
        Ledger(living.lines, 0)
    }

    fn claim(&mut self) {
        let claim = Claim::by("one", Timestamp::parse(NOW).unwrap()).to_bytes().unwrap();
        self.lines.push(String::from_utf8(claim).unwrap());
        let mut fold = Fold::whole(Keep::default());
        for (line, offset) in self.lines.iter().zip(0..) {
            fold.record(offset, Some(Timestamp::from_millis(0)), line.as_bytes()).unwrap();
        }
        let limits = Limits { record_bytes: 100_000, image_within: 40, ..Limits::default() };
        let (mut owner, owed) = Owner::new(4, fold.finish().unwrap(), limits);
        owner.caught_up();
        confirm(&mut owner, owed);
        self.owner = Some(owner);
    }

    fn command(&mut self, ty: &str, body: &str) {
        let command =
            Command::decode(ty, ContentType::Json, body.as_bytes(), &synod_protocol::Limits::default());
        self.commands += 1;
        let meta = Meta {
            ce_id: format!("c-{}", self.commands),
            workspace: Workspace::default_name(),
            age_ms: 0,
            waited_ms: 0,
            offset: Some(self.commands),
            reply_to: None,
            correlation_id: None,
            traceparent: None,
        };
        let input = Input::Command { command: Box::new(command.unwrap()), meta };
        let (fleet, now) = (Registry::default(), Timestamp::parse(NOW).unwrap());
        let mut seed = [0; 16];
        seed[..8].copy_from_slice(&self.commands.to_le_bytes());
        let mut released = Vec::new();
        let owner = self.owner.as_mut().unwrap();
        let append = owner.handle(
            &Context {
                now,
                seed,
                fleet: &fleet,
                protocols: synod_negotiation::Protocols::standard(),
                definitions: &synod_ledger::NoDefinitions,
            },
            &input,
            None,
            &mut released,
        );
        confirm(owner, released);
        self.lands(append.unwrap());
        if let Some(image) = self.owner.as_mut().unwrap().image() {
            self.lands(image);
        }
    }

    fn lands(&mut self, append: Append) {
        self.lines.push(String::from_utf8(append.bytes).unwrap());
        let owner = self.owner.as_mut().unwrap();
        let released = owner.acked(append.n, Ok(Some(self.lines.len() as u64 - 1))).unwrap();
        confirm(owner, released);
    }
}

fn confirm(owner: &mut Owner, released: Vec<Released>) {
    for released in released {
        if let Released::Effects { offset, effects } = released {
            owner.confirmed(offset, effects.len());
        }
    }
}

/// The floors that its steps name, in order.
fn floors(ledger: &Ledger) -> Vec<u64> {
    let named = ledger.0.iter().zip(0..).filter_map(|(line, offset)| floor_of(offset, line.as_bytes()));
    let mut floors: Vec<u64> = named.collect();
    floors.dedup();
    floors
}

#[tokio::test]
async fn from_every_recorded_floor_the_fold_is_the_same() {
    let ledger = Living::through_three_claims();
    let named = floors(&ledger);
    assert!(named.len() > 5, "{named:?}");
    let report = ledger.replayed(Schedule::Every(1), None).await;
    assert!(report.violation.is_none(), "{report:?}");
    assert_eq!((report.claims, report.floors_checked), (3, FLOORS_TRIED as u64));
}

#[tokio::test]
async fn a_trimmed_log_is_read_from_the_first_floor_that_it_names() {
    let check = async |trimmed: u64, begins: u64| {
        let Ledger(lines, _) = Living::through_three_claims();
        let report =
            Ledger(lines[trimmed as usize..].to_vec(), trimmed).replayed(Schedule::Every(1), None).await;
        assert!(report.violation.is_none(), "{report:?}");
        assert_eq!(report.from, Some(begins));
    };
    let named = floors(&Living::through_three_claims());
    let (one, next) = (named[named.len() / 2], named[named.len() / 2 + 1]);
    check(one, one).await;
    // Somebody cut off more than the owner did.
    check(one + 1, next).await;
}

#[tokio::test]
async fn a_floor_past_a_live_task_is_found() {
    let mut ledger = Living::through_three_claims();
    // The last step before the last claim says that a fold may begin right before it.
    let last = ledger.0.len() - 2;
    let at = (0..=last).rev().find(|at| floor_of(*at as u64, ledger.0[*at].as_bytes()).is_some()).unwrap();
    let was = floor_of(at as u64, ledger.0[at].as_bytes()).unwrap();
    let wrong = (0..at).rev().find(|at| ledger.0[*at].contains("\"kind\":\"step\"")).unwrap();
    ledger.0[at] = ledger.0[at].replace(&format!("\"floor\":{was},"), &format!("\"floor\":{wrong},"));
    let (offset, what) = ledger.found(Schedule::Affordable).await;
    assert!(offset == wrong as u64 && what.contains("another state"), "{offset}: {what}");
}
