//! Each check, on a history that keeps it and on the same history with the one thing in it that it is there for.

use super::*;
use crate::counting::Counting;
use serde_json::{Value, json};

/// A shard's records, written down shortly.
#[derive(Clone)]
struct History(Vec<Value>);

fn at(ms: i64) -> String {
    Timestamp::from_millis(ms).to_string()
}

impl History {
    /// A claim at offset 0 and one task's life in four steps.
    fn good() -> History {
        History(vec![claim()])
            .step("c1", 10, &[submitted("t")])
            .step("c2", 11, &[assigned("t", 1)])
            .step("c3", 13, &[])
            .step("c4", 14, &[completed("t")])
    }

    /// One more step, by the newest claim, at a position of the commands topic.
    fn step(mut self, ce_id: &str, position: u64, events: &[Value]) -> History {
        let offset = self.0.len();
        let epoch = self.0.iter().rposition(|record| record["kind"] == "claim").unwrap_or(0);
        self.0.push(json!({
            "v": 1, "kind": "step", "epoch": epoch, "n": offset - epoch, "now": at(offset as i64), "workspace": "default",
            "root": "t", "input": {"door": "kafka", "ce_id": ce_id, "offset": position}, "events": events,
            "floor": 0, "done": epoch,
        }));
        self
    }

    fn claim(mut self) -> History {
        self.0.push(claim());
        self
    }

    /// The record at `offset` with something in it changed.
    fn but(mut self, offset: usize, pointer: &str, value: Value) -> History {
        match self.0[offset].pointer_mut(pointer) {
            Some(place) => *place = value,
            None => self.0[offset]["input"][pointer.trim_start_matches("/input/")] = value,
        }
        self
    }

    fn audited(&self, window: Window) -> Result<Audit, Violation> {
        let (mut audit, mut counting) = (Audit::new(window), Counting::default());
        for (offset, record) in self.0.iter().enumerate() {
            let record = Record::read(record.to_string().as_bytes()).unwrap();
            audit.record(offset as u64, &record, counting.see(offset as u64, &record))?;
        }
        Ok(audit)
    }

    #[track_caller]
    fn check(&self, says: &str) {
        match self.audited(Window::default()) {
            Ok(_) => assert_eq!(says, "", "nothing was found"),
            Err(violation) => assert_eq!(violation.to_string(), says),
        }
    }
}

fn claim() -> Value {
    json!({"v": 1, "kind": "claim", "owner": "x", "at": at(0)})
}

fn event(task: &str, name: &str, status: &str, mut data: Value) -> Value {
    data["task_id"] = task.into();
    data["status"] = status.into();
    json!({"entity": task, "type": format!("synod.task.{name}"), "data": data})
}

fn submitted(task: &str) -> Value {
    let retry = json!({"max_attempts": 3, "initial_backoff_ms": 1, "max_backoff_ms": 1, "multiplier": 1.0});
    let data = json!({"capability": "c", "input": null, "priority": 5, "timeout_ms": 1, "deadline": at(0), "retry": retry,
        "strategy": "s", "retry_on_suspect": false, "correlation_id": "k", "body": "b"});
    event(task, "submitted", "waiting", data)
}

fn assigned(task: &str, attempt: u32) -> Value {
    let choice = json!({"rule": "r", "candidates": 1, "in_flight": 0});
    let incarnation = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10";
    let data = json!({"attempt": attempt, "agent_id": "a", "incarnation": incarnation, "deadline": at(0), "choice": choice});
    event(task, "assigned", "assigned", data)
}

fn completed(task: &str) -> Value {
    event(
        task,
        "completed",
        "completed",
        json!({"attempt": 1, "agent_id": "a", "output": 7, "processing_ms": 1}),
    )
}

fn cancelled(task: &str) -> Value {
    event(task, "cancelled", "cancelled", json!({}))
}

#[test]
fn a_good_history_passes_with_void_records_and_claims_in_it() {
    History::good().check("");
    // A predecessor's late record, one that comes twice, and a claim in the middle.
    let mut history = History::good().claim().step("c5", 20, &[submitted("u")]);
    history.0.push(history.0[4].clone());
    history.0.push(history.0[6].clone());
    history.check("");
    let audit = history.audited(Window::default()).unwrap();
    assert_eq!((audit.live_tasks(), audit.oldest_live()), (1, Some(6)));
}

#[test]
fn records_follow_one_another() {
    let record = Record::read(claim().to_string().as_bytes()).unwrap();
    let mut audit = Audit::default();
    audit.record(7, &record, Verdict::Claim).unwrap();
    audit.foreign(8).unwrap();
    let jump = audit.record(10, &record, Verdict::Claim).unwrap_err();
    assert_eq!(jump.to_string(), "offset 10: it follows offset 8");
    assert_eq!(audit.foreign(10).unwrap_err().what, Wrong::Jump { after: 10 });
}

#[test]
fn what_counts_is_worked_out_again() {
    let step = |offset: usize| Record::read(History::good().0[offset].to_string().as_bytes()).unwrap();
    let check = |second: usize, taken, ought| {
        let mut audit = Audit::default();
        audit.record(0, &step(0), Verdict::Claim).unwrap();
        let wrong = audit.record(1, &step(second), taken).unwrap_err().what;
        assert_eq!(wrong, Wrong::Counting { taken, ought, epoch: Some(0), n: 0 });
    };
    check(1, Verdict::Void, Verdict::Counts);
    check(2, Verdict::Counts, Verdict::Void);
    // An epoch that is over, though its number would be the next.
    let mut audit = Audit::default();
    audit.record(0, &step(0), Verdict::Claim).unwrap();
    audit.record(1, &step(0), Verdict::Claim).unwrap();
    assert!(matches!(audit.record(2, &step(1), Verdict::Counts).unwrap_err().what, Wrong::Counting { .. }));
}

#[test]
fn positions_are_passed_once_and_in_order() {
    let good = History::good();
    good.clone()
        .but(3, "/input/offset", json!(11))
        .check("offset 3: it passes position 11 of the commands, and 11 was passed before it");
    good.clone()
        .but(3, "/input/offset", json!(9))
        .check("offset 3: it passes position 9 of the commands, and 11 was passed before it");
    // The broker's own records leave gaps.
    good.but(4, "/input/offset", json!(99)).check("");
}

#[test]
fn a_command_does_something_once() {
    let good = History::good();
    good.clone()
        .but(4, "/input/ce_id", json!("c1"))
        .check("offset 4: command \"c1\" does something, and was had at offset 1");
    // It was refused or came to nothing, and does something later.
    good.clone()
        .but(4, "/input/ce_id", json!("c3"))
        .check("offset 4: command \"c3\" does something, and was had at offset 3");
    // A repeat that does nothing is as it should be; so is the same id in another workspace.
    good.clone().step("c1", 20, &[]).check("");
    good.clone().step("c1", 20, &[submitted("t")]).but(5, "/workspace", json!("other")).check("");
    // What could not be read may come again under its id.
    good.clone().but(3, "/input/poison", json!(true)).but(4, "/input/ce_id", json!("c3")).check("");
    good.but(3, "/input/passed_on_to", json!(1)).but(4, "/input/ce_id", json!("c3")).check("");
}

#[test]
fn what_was_not_taken_does_nothing() {
    let good = History::good();
    let mut refused = good.clone();
    refused.0[4]["rejected"] = json!({"code": "fenced", "message": "x"});
    refused.check("offset 4: it is refused and has events all the same");
    good.clone()
        .but(4, "/input/poison", json!(true))
        .check("offset 4: it is unreadable and has events all the same");
    good.clone()
        .but(4, "/input/passed_on_to", json!(2))
        .check("offset 4: it is passed on and has events all the same");
    good.but(4, "/workspace", Value::Null)
        .check("offset 4: it is of no workspace and has events all the same");
}

#[test]
fn a_task_comes_to_one_end() {
    let good = History::good();
    good.clone()
        .step("c5", 20, &[cancelled("t")])
        .check("offset 5: synod.task.cancelled of task t, which ended as synod.task.completed at offset 4");
    good.clone()
        .step("c5", 20, &[submitted("t")])
        .check("offset 5: task t is submitted, and was at offset 4");
    good.clone()
        .but(2, "/events", json!([submitted("t")]))
        .check("offset 2: task t is submitted, and was at offset 1");
    good.clone()
        .but(1, "/events", json!([]))
        .check("offset 2: synod.task.assigned of task t, which nobody submitted");
    good.but(2, "/events", json!([assigned("t", 2)]))
        .check("offset 2: attempt 2 of task t is given after attempt 0");
}

#[test]
fn time_and_promises_do_not_run_back() {
    let good = History::good();
    good.clone()
        .but(3, "/now", json!(at(1)))
        .check("offset 3: its time 1970-01-01T00:00:00.001Z is before 1970-01-01T00:00:00.002Z");
    good.clone().but(3, "/done", json!(4)).check("offset 3: its done is 4, which is not within 0 to 3");
    good.clone()
        .but(2, "/done", json!(2))
        .but(3, "/done", json!(1))
        .check("offset 3: its done is 1, which is not within 2 to 3");
    good.but(3, "/floor", json!(4)).check("offset 3: its floor is 4, which is not within 0 to 3");
}

#[test]
fn what_is_over_is_forgotten_after_the_window_and_not_before() {
    // Long after its end, something else happens, and then the same command comes again.
    let again = |count| {
        let history = History::good().step("c5", 20, &[]).step("c1", 21, &[submitted("t")]);
        let history = history.but(5, "/now", json!(at(1_000))).but(6, "/now", json!(at(1_001)));
        history.audited(Window { ms: 500, count, ..Window::default() })
    };
    assert!(again(0).is_ok());
    assert!(matches!(again(9).unwrap_err().what, Wrong::Again { first: 1, .. }));
}

/// The history from this offset on, audited from there.
fn from_floor(history: &History, floor: usize) -> Result<Audit, Violation> {
    let (mut audit, mut counting) = (Audit::from_floor(Window::default(), floor as u64), None);
    for (offset, record) in history.0.iter().enumerate().skip(floor) {
        let record = Record::read(record.to_string().as_bytes()).unwrap();
        let counting = counting.get_or_insert_with(|| Counting::at_floor(&record));
        audit.record(offset as u64, &record, counting.see(offset as u64, &record))?;
    }
    Ok(audit)
}

/// An image by the newest claim.
fn image(mut history: History, of: &Value) -> History {
    history = history.step("", 0, &[]);
    let offset = history.0.len() - 1;
    let (epoch, n) = (history.0[offset]["epoch"].clone(), history.0[offset]["n"].clone());
    history.0[offset] = json!({"v": 1, "kind": "image", "epoch": epoch, "n": n, "of": of});
    history
}

fn task_image(task: &str, status: &str, attempts: u32) -> Value {
    let mut state = submitted(task)["data"].clone();
    state["status"] = "waiting".into();
    let incarnation = "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10";
    let attempt = |n: u32| {
        let seen = json!({"attempt": n, "agent_id": "a", "incarnation": incarnation, "started_at": at(0)});
        json!({"seen": seen, "token": n.to_string(), "delivery": "redis", "deadline": at(0)})
    };
    let attempts: Vec<Value> = (1..=attempts).map(attempt).collect();
    let state = json!({"submitted": state, "submitted_at": at(0), "status": status, "attempts": attempts, "avoid": [],
        "failures": 0, "losses": 0});
    json!({"task": {"workspace": "default", "id": task, "arrival": 1, "state": state}})
}

#[test]
fn an_image_shows_what_happened() {
    let running = || History(History::good().0[..3].to_vec());
    image(running(), &task_image("t", "assigned", 1)).check("");
    image(running(), &task_image("t", "assigned", 2))
        .check("offset 3: an image of task t shows assigned after 2 attempts, and it is live after 1");
    image(running(), &task_image("t", "completed", 1))
        .check("offset 3: an image of task t shows completed after 1 attempts, and it is live");
    image(running(), &task_image("u", "waiting", 0))
        .check("offset 3: an image of task u shows waiting after 0 attempts, and it is nobody's");
    image(History::good(), &task_image("t", "assigned", 1)).check(
        "offset 5: an image of task t shows assigned after 1 attempts, and it is over: synod.task.completed",
    );
    let shard = |position: u64| json!({"shard": {"position": position, "ended": {}}});
    image(History::good(), &shard(15)).check("");
    image(History::good(), &shard(14))
        .check("offset 5: an image of the shard shows position 14, and it is at 15");
}

#[test]
fn from_a_floor_on_what_is_not_known_is_taken_as_it_comes_and_then_held_to() {
    let good = History::good();
    assert_eq!(from_floor(&good, 2).unwrap().live_tasks(), 0);
    assert_eq!(from_floor(&good, 0).unwrap().live_tasks(), 0);
    // The second end is a second end all the same.
    let twice = good.clone().step("c5", 20, &[cancelled("t")]);
    assert!(matches!(from_floor(&twice, 2).unwrap_err().what, Wrong::AfterTheEnd { at: 4, .. }));
    // Once an attempt is known, the next is the next.
    let skips = History(good.0[..3].to_vec()).step("c3", 13, &[assigned("t", 3)]);
    assert!(matches!(from_floor(&skips, 2).unwrap_err().what, Wrong::Attempt { attempt: 3, before: 1, .. }));
    let imaged = image(History(good.0[..3].to_vec()), &task_image("t", "assigned", 1));
    let skips = imaged.step("c3", 13, &[assigned("t", 3)]);
    assert!(matches!(from_floor(&skips, 3).unwrap_err().what, Wrong::Attempt { attempt: 3, before: 1, .. }));
}

#[test]
fn a_floor_is_a_record_that_counts() {
    let void = |floor: u64| {
        let mut history = History::good();
        history.0.push(history.0[4].clone());
        history.claim().step("c5", 20, &[]).but(7, "/floor", json!(floor))
    };
    void(4).check("");
    void(0).check("");
    void(5).check("offset 7: its floor 5 is a record that does not count");
    // A later claim is no birth: a fold that begins there would miss what was before.
    void(6).check("offset 7: its floor 6 is a record that does not count");
}

#[test]
fn a_repeat_does_nothing() {
    History::good()
        .but(4, "/input/repeats", json!(1))
        .check("offset 4: it is a repeat and has events all the same");
    History::good().but(3, "/input/repeats", json!(1)).check("");
}
