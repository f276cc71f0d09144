//! A sound run is found clean; each thing that can be wrong with one is found, as what it is.

use super::*;
use crate::journal::{AgentLine, ClientLine};
use serde_json::{Value, json};

const AT: i64 = 1_800_000_000_000;

/// One shard's run, written by hand.
struct World {
    noted: Noted,
    book: Book,
    published: Published,
    next: u64,
    epoch: u64,
    n: u64,
    position: u64,
}

impl World {
    fn new() -> World {
        let mut world = World {
            noted: Noted::default(),
            book: Book::new(1),
            published: Published::default(),
            next: 0,
            epoch: 0,
            n: 0,
            position: 0,
        };
        world.claim("c1");
        world
    }

    fn append(&mut self, record: &Value) -> u64 {
        let (offset, at) = (self.next, AT + 100 * self.next as i64);
        self.next += 1;
        self.book.record(0, offset, Some(at), record.to_string().as_bytes());
        offset
    }

    fn claim(&mut self, owner: &str) {
        let record = json!({"v": 1, "kind": "claim", "owner": owner, "at": "2027-01-15T08:00:00.000Z"});
        self.epoch = self.append(&record);
        self.n = 0;
    }

    /// A step that counts, its events published.
    fn step(&mut self, input: &Value, task: &str, events: &[Value]) -> u64 {
        self.n += 1;
        let offset = self.append(&step(self.epoch, self.n, input, task, events));
        self.publish(offset, task, events);
        offset
    }

    fn publish(&mut self, offset: u64, task: &str, events: &[Value]) {
        for (index, event) in events.iter().enumerate() {
            let (id, ty) = (format!("0-{offset}-{index}"), event["type"].as_str().unwrap());
            self.published.event(&id, Some((0, offset)), ty, task, event["data"].to_string().as_bytes());
        }
    }

    /// Asked for, accepted, assigned, done, completed.
    fn task(&mut self, task: &str) {
        self.asked(task);
        self.submit(task);
        self.done(task, "nonce");
        self.complete(task, "nonce");
    }

    fn asked(&mut self, task: &str) {
        let (task, place) = (task.to_owned(), Some((0, self.position)));
        let lines = self.noted.clients.entry("client".into()).or_default();
        lines.push(ClientLine::Asked { task: task.clone(), key: task.clone() });
        lines.push(ClientLine::Acked { task, place });
    }

    fn submit(&mut self, task: &str) -> u64 {
        let input = json!({"door": "kafka", "ce_id": format!("ce-{task}"), "offset": self.position,
            "type": "synod.task.submit", "entity": task});
        self.position += 1;
        self.step(&input, task, &[submitted(task, task), assigned(task)])
    }

    fn done(&mut self, task: &str, nonce: &str) {
        let lines = self.noted.agents.entry("a".into()).or_default();
        let (task, epoch, at_ms) = (task.to_owned(), self.epoch, AT as u64);
        lines.push(AgentLine::Took { shard: 0, epoch, task: task.clone(), attempt: 1, kept: true, at_ms });
        lines.push(AgentLine::Did { key: task.clone(), task, attempt: 1, nonce: nonce.to_owned() });
    }

    fn complete(&mut self, task: &str, nonce: &str) -> u64 {
        let input = json!({"door": "http", "ce_id": format!("r-{task}"), "type": "synod.task.complete", "entity": task});
        self.step(&input, task, &[completed(task, nonce)])
    }

    fn took(&mut self, epoch: u64, kept: bool, at_ms: u64) {
        let lines = self.noted.agents.entry("a".into()).or_default();
        lines.push(AgentLine::Took { shard: 0, epoch, task: "t".into(), attempt: 9, kept, at_ms });
    }

    fn findings(&self) -> Findings {
        judge(&self.noted, &self.book, &self.published)
    }
}

fn step(epoch: u64, n: u64, input: &Value, task: &str, events: &[Value]) -> Value {
    json!({"v": 1, "kind": "step", "epoch": epoch, "n": n, "now": "2027-01-15T08:00:00.000Z",
        "workspace": "default", "root": task, "input": input, "events": events, "floor": 0, "done": 0})
}

fn event(task: &str, ty: &str, data: &Value) -> Value {
    json!({"entity": task, "type": format!("synod.task.{ty}"), "data": data})
}

fn submitted(task: &str, key: &str) -> Value {
    let data = json!({"task_id": task, "status": "waiting", "capability": "c", "input": {"key": key}, "priority": 5,
        "timeout_ms": 30000, "deadline": "2027-01-16T08:00:00.000Z", "retry": {"max_attempts": 2,
        "initial_backoff_ms": 200, "max_backoff_ms": 30000, "multiplier": 2.0}, "strategy": "least_connections",
        "retry_on_suspect": false, "correlation_id": "t", "body": "1cb6f165064ed9d94ac1c30c274b22e5"});
    event(task, "submitted", &data)
}

fn assigned(task: &str) -> Value {
    let data = json!({"task_id": task, "status": "assigned", "attempt": 1, "agent_id": "a",
        "incarnation": "0190f7a2-7c3e-7cc1-8f5e-000000000001", "deadline": "2027-01-15T08:00:30.000Z",
        "choice": {"rule": "least_connections", "candidates": 1, "in_flight": 0},
        "secret": {"attempt_token": format!("token-{task}"), "delivery": "redis"}});
    event(task, "assigned", &data)
}

fn completed(task: &str, nonce: &str) -> Value {
    let data = json!({"task_id": task, "status": "completed", "attempt": 1, "agent_id": "a",
        "output": {"nonce": nonce}, "processing_ms": 0});
    event(task, "completed", &data)
}

/// A run of two sound tasks and a take-over, with this done to it, is found to have that and nothing else.
#[track_caller]
fn check(what: impl FnOnce(&mut World), wanted: &[(Kind, u64)]) {
    let mut world = World::new();
    world.task("t");
    world.claim("c2");
    world.task("u");
    what(&mut world);
    let findings = world.findings();
    // What is doubled breaks rules of the ledger's own besides: those are told as strange.
    let doubled = wanted.iter().any(|(kind, _)| *kind == Kind::Doubled);
    let counts = findings.counts.iter().filter(|(kind, _)| !doubled || **kind != Kind::Strange);
    let found: Vec<(Kind, u64)> = counts.map(|(kind, count)| (*kind, *count)).collect();
    assert_eq!(found, wanted, "{:#?}", findings.shown);
}

#[test]
fn a_sound_run_is_clean() {
    check(|_| {}, &[]);
    let mut world = World::new();
    world.task("t");
    let findings = world.findings();
    assert_eq!((findings.accepted, findings.done, findings.taken), (1, 1, 1));
    assert_eq!(findings.ends["completed"], 1);
    // Void records, repeats of events and of commands are no fault.
    check(
        |w| {
            let stale = step(0, 7, &json!({"door": "timer"}), "t", &[completed("t", "other")]);
            w.append(&stale);
            w.publish(3, "t", &[]);
            let again = json!({"door": "kafka", "ce_id": "ce-t", "offset": w.position, "type": "synod.task.submit", "entity": "t"});
            w.step(&again, "t", &[]);
        },
        &[],
    );
}

#[test]
fn what_was_accepted_and_is_nowhere_is_lost() {
    let acked = |task: &str, place| {
        let lines = [
            ClientLine::Asked { task: task.into(), key: task.into() },
            ClientLine::Acked { task: task.into(), place },
        ];
        move |w: &mut World| w.noted.clients.entry("client".into()).or_default().extend(lines)
    };
    check(acked("nowhere", None), &[(Kind::Lost, 1)]);
    // Neither it nor its command.
    check(acked("nowhere", Some((0, 99))), &[(Kind::Lost, 2)]);
    // Half way.
    check(
        |w| {
            w.asked("v");
            w.submit("v");
        },
        &[(Kind::Lost, 1)],
    );
    // A command that nobody waits for, passed over.
    check(
        |w| {
            w.position += 1;
            w.task("v");
        },
        &[(Kind::Lost, 1)],
    );
    // Ended, and nobody was told.
    check(
        |w| {
            w.asked("v");
            w.submit("v");
            w.done("v", "nonce");
            w.n += 1;
            let input = json!({"door": "http", "ce_id": "r-v", "type": "synod.task.complete", "entity": "v"});
            let untold = step(w.epoch, w.n, &input, "v", &[completed("v", "nonce")]);
            w.append(&untold);
        },
        &[(Kind::Lost, 1)],
    );
    // Asked for, never accepted: no promise.
    check(
        |w| {
            w.noted
                .clients
                .entry("client".into())
                .or_default()
                .push(ClientLine::Asked { task: "v".into(), key: "v".into() });
        },
        &[],
    );
}

#[test]
fn what_happened_twice_is_doubled() {
    check(
        |w| {
            w.complete("t", "nonce");
        },
        &[(Kind::Doubled, 1)],
    );
    // One position, two steps.
    check(
        |w| {
            w.position -= 1;
            let again = json!({"door": "kafka", "ce_id": "x", "offset": w.position, "type": "synod.task.submit", "entity": "t"});
            w.step(&again, "t", &[]);
        },
        &[(Kind::Doubled, 1)],
    );
    // One attempt, two doings; the ledger has one of them.
    check(|w| w.done("t", "again"), &[(Kind::Doubled, 1)]);
    // One piece of work under two names.
    check(
        |w| {
            w.noted
                .clients
                .entry("client".into())
                .or_default()
                .push(ClientLine::Asked { task: "v".into(), key: "t".into() });
            let input = json!({"door": "http", "ce_id": "ce-v", "type": "synod.task.submit", "entity": "v"});
            w.step(&input, "v", &[submitted("v", "t")]);
        },
        &[(Kind::Doubled, 1)],
    );
}

#[test]
fn a_deposed_owners_word_that_was_taken_is_stale() {
    check(|w| w.took(0, false, AT as u64 + 5), &[(Kind::Stale, 1)]);
    check(|w| w.took(0, true, AT as u64 + 5), &[(Kind::Stale, 1)]);
    // Redis forgot in between: its inbox could not know, and the agent did not take it to heart.
    let wiped = |at_ms: i64, kept| {
        move |w: &mut World| {
            w.noted.wiped_ms.push((AT + at_ms) as u64);
            w.took(0, kept, AT as u64 + 5);
        }
    };
    check(wiped(3, false), &[]);
    check(wiped(3, true), &[(Kind::Stale, 1)]);
    // What came before it is noted a little later; but not long after.
    check(wiped(-500, false), &[]);
    check(wiped(-5_000, false), &[(Kind::Stale, 1)]);
    check(wiped(6, false), &[(Kind::Stale, 1)]);
    // An event of a record that does not count.
    check(
        |w| {
            let void = step(0, 7, &json!({"door": "timer"}), "t", &[completed("t", "other")]);
            let offset = w.append(&void);
            w.publish(offset, "t", &[completed("t", "other")]);
        },
        &[(Kind::Stale, 1)],
    );
}

#[test]
fn what_cannot_be_is_strange() {
    // Two events under one id.
    check(|w| w.publish(1, "t", &[submitted("t", "other")]), &[(Kind::Strange, 1)]);
    // An event beyond what its record told.
    check(|w| w.published.event("0-1-7", Some((0, 1)), "x", "t", b"{}"), &[(Kind::Strange, 1)]);
    // One that says that it stands elsewhere.
    check(
        |w| {
            w.published.event(
                "0-1-0",
                Some((0, 2)),
                "synod.task.submitted",
                "t",
                submitted("t", "t")["data"].to_string().as_bytes(),
            );
        },
        &[(Kind::Strange, 1)],
    );
    // A result that nobody made.
    check(
        |w| {
            w.asked("v");
            w.submit("v");
            w.done("v", "nonce");
            w.complete("v", "forged");
        },
        &[(Kind::Strange, 1)],
    );
    // A task that nobody asked for.
    check(
        |w| {
            w.task("v");
            w.noted
                .clients
                .values_mut()
                .for_each(|lines| lines.retain(|l| !format!("{l:?}").contains("\"v\"")));
        },
        &[(Kind::Strange, 1)],
    );
    // An agent that was given up though nothing was done to it.
    let given_up_for_dead = |lived| {
        move |w: &mut World| {
            w.noted.agents_lived = lived;
            let lost = json!({"agent_id": "a", "incarnation": "0190f7a2-7c3e-7cc1-8f5e-2d1f2a6b9c10",
                "status": "idle", "health": "lost", "reason": "silent"});
            w.step(
                &json!({"door": "fleet"}),
                "a",
                &[json!({"entity": "a", "type": "synod.agent.lost", "data": lost})],
            );
        }
    };
    check(given_up_for_dead(true), &[(Kind::Strange, 1)]);
    check(given_up_for_dead(false), &[]);
    // Work that did not complete though every agent lived.
    let given_up = |died| {
        move |w: &mut World| {
            w.noted.agents_died = died;
            w.asked("v");
            w.position += 1;
            let input = json!({"door": "kafka", "ce_id": "ce-v", "offset": w.position - 1,
                "type": "synod.task.submit", "entity": "v"});
            w.step(&input, "v", &[submitted("v", "v")]);
            let lost = json!({"task_id": "v", "status": "dead_lettered",
                "error": {"code": "unprocessable", "message": "it may be what kills them"}});
            w.step(&json!({"door": "fleet"}), "v", &[event("v", "dead_lettered", &lost)]);
        }
    };
    check(given_up(false), &[(Kind::Strange, 1)]);
    check(given_up(true), &[]);
    // Records of the ledger are missing: what stands after the gap is not taken.
    let mut world = World::new();
    world.task("t");
    world.next += 1;
    world.claim("c2");
    assert_eq!(world.findings().of(Kind::Strange), 1);
}

#[test]
fn going_on_is_the_first_step_of_a_later_claim() {
    let mut world = World::new();
    world.task("t");
    let moment =
        |victim: Option<&str>, at_ms| Moment { what: String::new(), at_ms, victim: victim.map(Into::into) };
    // Records stand at 100 ms each: a claim at 0, steps at 100 and 200, a claim at 300, steps from 400 on.
    let fault = AT + 250;
    assert_eq!(went_on(&world, &moment(Some("c1"), fault)), [None]);
    world.claim("c2");
    world.task("u");
    assert_eq!(went_on(&world, &moment(Some("c1"), fault)), [Some(150)]);
    assert_eq!(went_on(&world, &moment(Some("c2"), fault)), [], "it owned nothing then");
    assert_eq!(went_on(&world, &moment(Some("c2"), AT + 450)), [None]);
    assert_eq!(went_on(&world, &moment(None, AT + 150)), [Some(50)]);
}

fn went_on(world: &World, moment: &Moment) -> Vec<Option<u64>> {
    recovery(&world.book, moment).iter().map(|shard| shard.after_ms).collect()
}
