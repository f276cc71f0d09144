//! A good ledger is clean; each kind of damage is found at its record, and told with what stands around it.

use super::*;
use std::io::Write as _;
use synod_ledger::{Claim, Fold};

/// A file with a claim and this many tasks' lives, two steps each, through the quick door.
struct Ledger(Vec<String>);

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
    fn of(tasks: usize) -> Ledger {
        let claim = Claim::by("one", synod_protocol::Timestamp::parse(NOW).unwrap()).to_bytes().unwrap();
        let mut lines = vec![String::from_utf8(claim).unwrap()];
        for task in 0..tasks {
            let name = format!("t-{task}");
            lines.push(step(lines.len(), &format!("s-{task}"), &submitted(&name)));
            lines.push(step(lines.len(), &format!("c-{task}"), &cancelled(&name)));
        }
        Ledger(lines)
    }

    fn but(mut self, offset: usize, line: String) -> Ledger {
        self.0[offset] = line;
        self
    }

    async fn replayed(&self, schedule: Schedule, until: Option<u64>) -> Replayed {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        for (offset, value) in self.0.iter().enumerate() {
            let entry = Entry {
                offset: offset as u64,
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
    let mut run = Run::new(0, Schedule::Affordable);
    let entry =
        |offset: u64, line: &str| Entry { offset, timestamp_ms: None, key: None, value: Some(line.into()) };
    let lines = Ledger::of(2).0;
    assert!(run.take(entry(0, &lines[0])).is_continue() && run.take(entry(2, &lines[2])).is_continue());
    assert!(run.end().violation.unwrap().what.contains("jumps from offset Some(0) to 2"));
    // The same that an owner would say.
    assert!(Fold::default().record(1, None, lines[1].as_bytes()).is_err());
}
