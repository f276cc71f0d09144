//! The same thing asked twice: by `ce_id`, by entity, through either door, before and after a new owner.

use crate::log::Log;
use crate::shard::{CEILINGS, Shard, at, command, meta, refused, registration, submission, taken, task_key};
use serde_json::{Value, json};
use synod_fleet::Registry;
use synod_ledger::{
    Context, Fold, Input, Keep, Limits, Meta, Owner, Past, Released, Subject, WINDOW_MS, Window, life_from,
};
use synod_protocol::event::What;
use synod_protocol::{Code, Command, Error, Timestamp};

const SUBMIT: &str = "synod.task.submit";

/// How a command reaches the owner.
#[derive(Clone, Copy, Debug)]
enum Through {
    Http,
    Kafka,
}

impl Shard {
    /// What the asker learns: whether it was taken, and the entity or the error.
    fn learn(&mut self, through: Through, ce_id: &str, ty: &str, body: &Value) -> (bool, Value) {
        match through {
            Through::Http => match self.ask_as(ce_id, ty, body) {
                Ok((entity, _)) => (true, entity.to().unwrap()),
                Err(error) => (false, serde_json::to_value(&error).unwrap()),
            },
            Through::Kafka => {
                let position = self.owner.state().position();
                let (ty, value) = self.ask_kafka(ce_id, position, ty, body);
                (ty == "synod.reply", value)
            }
        }
    }
}

#[test]
fn a_command_has_one_effect_through_whichever_doors_it_comes() {
    use Through::{Http, Kafka};
    for (first, again) in [(Http, Http), (Http, Kafka), (Kafka, Http), (Kafka, Kafka)] {
        for new_owner in [false, true] {
            let mut shard = Shard::with(&["a"]);
            shard.learn(first, "x", SUBMIT, &submission("t", &json!({})));
            if new_owner {
                let released = shard.succeed();
                shard.perform(released);
            }
            let told = shard.told.len();
            let same = shard.learn(again, "x", SUBMIT, &submission("t", &json!({})));
            assert_eq!(
                (same.0, &same.1["task_id"], &same.1["status"]),
                (true, &json!("t"), &json!("assigned"))
            );
            // Whatever its body: the answer is about what the command did.
            let other = shard.learn(again, "x", SUBMIT, &submission("u", &json!({})));
            assert_eq!(
                (other.0, &other.1["task_id"]),
                (true, &json!("t")),
                "{first:?} {again:?} {new_owner}"
            );
            let cancel = shard.learn(again, "x", "synod.task.cancel", &json!({"task_id": "t"}));
            assert_eq!((cancel.0, &cancel.1["status"]), (true, &json!("assigned")));
            let agent = shard.learn(again, "x", "synod.agent.register", &registration("b", 1, &json!({})));
            assert_eq!((agent.0, &agent.1["task_id"]), (true, &json!("t")));
            assert_eq!(shard.told.len(), told, "{first:?} {again:?} {new_owner}: no further effect");
        }
    }
}

#[test]
fn a_refusal_is_remembered_like_an_effect() {
    use Through::{Http, Kafka};
    for (first, again) in [(Http, Http), (Http, Kafka), (Kafka, Http), (Kafka, Kafka)] {
        let mut shard = Shard::with(&["a"]);
        let cancel = json!({"task_id": "t"});
        let refusal = shard.learn(first, "x", "synod.task.cancel", &cancel);
        assert_eq!((refusal.0, &refusal.1["code"]), (false, &json!("not_found")));
        shard.submit("t", &json!({})).unwrap();
        let released = shard.succeed();
        shard.perform(released);
        assert_eq!(shard.learn(again, "x", "synod.task.cancel", &cancel), refusal, "{first:?} {again:?}");
        assert_eq!(shard.task("t").status.as_str(), "assigned");
    }
}

#[test]
fn the_same_task_again_is_a_repeat_and_another_is_refused() {
    let mut shard = Shard::with(&["a"]);
    let body = submission("t", &json!({"input": {"p": 1, "q": 2}}));
    assert!(taken(&shard.ask(SUBMIT, &body)).1, "made");
    let told = shard.told.len();
    for same in [
        &body,
        &submission("t", &json!({"input": {"q": 2, "p": 1}})),
        &submission("t", &json!({"input": {"p": 1, "q": 2}, "priority": 5, "timeout_ms": 30_000})),
    ] {
        let (entity, made) = taken(&shard.ask(SUBMIT, same));
        assert_eq!((entity["task_id"].as_str(), made), (Some("t"), false), "{same}");
    }
    for other in [json!({"input": 2}), json!({"priority": 6}), json!({"capability": "d"})] {
        let answer = shard.ask(SUBMIT, &submission("t", &other));
        assert_eq!(refused(&answer), (Code::AlreadyExists, None), "{other}");
    }
    assert_eq!(shard.told.len(), told);
}

#[test]
fn a_repeat_by_entity_is_had_as_well() {
    use Through::{Http, Kafka};
    for through in [Http, Kafka] {
        let mut shard = Shard::with(&["a"]);
        shard.submit("t", &json!({})).unwrap();
        assert!(shard.learn(through, "x", SUBMIT, &submission("t", &json!({}))).0);
        shard.learn(through, "x", SUBMIT, &submission("u", &json!({})));
        assert_eq!(
            shard.story("u"),
            "",
            "{through:?}: `x` was answered and has had its effect, which was none"
        );
    }
}

#[test]
fn a_command_from_before_the_window_is_refused() {
    for (age_ms, want) in [(WINDOW_MS, Ok(())), (WINDOW_MS + 1, Err((Code::InvalidArgument, None)))] {
        let mut shard = Shard::new();
        let command = Box::new(command(SUBMIT, &submission("t", &json!({}))));
        shard.happen(&Input::Command { command, meta: Meta { age_ms, ..meta("x", None) } }, Some(0));
        let answer = &shard.answers[0].1;
        assert_eq!(answer.as_ref().map(drop).map_err(|_| refused(answer)), want, "{age_ms}");
        assert_eq!(shard.owner.state().task(&task_key("t")).is_some(), want.is_ok());
    }
}

#[test]
fn every_position_passed_is_on_record_and_none_goes_back() {
    let mut shard = Shard::new();
    let cancel = || Box::new(command("synod.task.cancel", &json!({"task_id": "t"})));
    let error = Error::invalid("no JSON");
    for (input, position) in [
        (Input::Poison { offset: 4, error: Box::new(error), meta: None }, 5),
        (Input::PassedOn { offset: 5, partition: 3 }, 6),
        (Input::Command { command: cancel(), meta: meta("x", Some(6)) }, 7),
        (Input::Command { command: cancel(), meta: meta("x", Some(9)) }, 10),
        (Input::Command { command: cancel(), meta: meta("x", Some(6)) }, 10),
    ] {
        let offset = shard.happen(&input, None).expect("on record");
        assert_eq!(shard.owner.state().position(), position);
        assert!(shard.log.step(offset).events.is_empty());
    }
    let released = shard.succeed();
    shard.perform(released);
    assert_eq!(shard.owner.state().position(), 10);
}

#[test]
fn workspaces_know_nothing_of_each_other() {
    let mut shard = Shard::with(&["a"]);
    shard.ask_as("x", SUBMIT, &submission("t", &json!({}))).unwrap();
    let other = Meta { workspace: "other".parse().unwrap(), ..meta("x", None) };
    let submit = Box::new(command(SUBMIT, &submission("t", &json!({"input": 2}))));
    shard.happen(&Input::Command { command: submit, meta: other.clone() }, Some(77));
    let (entity, made) = taken(&shard.answers.last().unwrap().1);
    assert_eq!(
        (made, entity["workspace"].as_str(), entity["status"].as_str()),
        (true, Some("other"), Some("waiting"))
    );
    let cancel = Box::new(command("synod.task.cancel", &json!({"task_id": "t"})));
    shard.happen(&Input::Command { command: cancel, meta: Meta { ce_id: "y".into(), ..other } }, None);
    assert_eq!(shard.task("t").status.as_str(), "assigned");
}

/// An ended task that has left memory: what is asked of it is answered from where memory says.
#[test]
fn what_has_left_memory_is_named_and_never_done_again() {
    let mut shard = Shard::with(&["a"]);
    shard.submit("t", &json!({})).unwrap();
    let submitted = shard.log.records.len() as u64 - 1;
    let completed = json!({"task_id": "t", "attempt": 1, "attempt_token": shard.work[0].1.attempt_token});
    shard.ask_as("done", "synod.task.complete", &json!({"output": 1}).merged(&completed)).unwrap();
    shard.wait(Keep::default().ended_ms);
    shard.submit("u", &json!({"capability": "nobody-can"})).unwrap();
    assert!(shard.owner.state().task(&task_key("t")).is_some(), "to the end of its time");
    shard.wait(1);
    shard.submit("v", &json!({})).unwrap();
    assert!(shard.owner.state().task(&task_key("t")).is_none(), "it has left memory");
    assert!(shard.owner.state().task(&task_key("u")).is_some(), "what lives never does");

    for new_owner in [false, true] {
        if new_owner {
            let before = format!("{:?}", shard.owner.state().settled());
            let released = shard.succeed();
            shard.perform(released);
            assert_eq!(
                format!("{:?}", shard.owner.state().settled()),
                before,
                "nor does a fold bring it back"
            );
        }
        let (told, key) = (shard.told.len(), task_key("t"));
        let check = |shard: &mut Shard, ce_id: &str, ty: &str, body: &Value, want: Past| {
            let input = Input::Command { command: Box::new(command(ty, body)), meta: meta(ce_id, None) };
            shard.happen(&input, Some(7));
            assert_eq!(shard.past.pop(), Some((7, want)), "{ce_id} {ty} {new_owner}");
        };
        let same = shard.owner.state().counts();
        let body = |shard: &mut Shard, ce_id: &str, body: &Value| {
            let input = Input::Command { command: Box::new(command(SUBMIT, body)), meta: meta(ce_id, None) };
            shard.happen(&input, Some(8));
            match shard.past.pop() {
                Some((8, Past::Again { subject: Subject::Task(key), at, body })) => {
                    assert_eq!((key, at), (task_key("t"), submitted));
                    body
                }
                other => panic!("{other:?}"),
            }
        };
        let recorded = match &shard.log.step(submitted).events[0].what {
            What::TaskSubmitted(e) => e.body.clone(),
            other => panic!("{other:?}"),
        };
        let ce_id = |n: u64| format!("again-{n}-{new_owner}");
        assert_eq!(body(&mut shard, &ce_id(1), &submission("t", &json!({}))), recorded);
        assert_ne!(body(&mut shard, &ce_id(2), &submission("t", &json!({"input": 2}))), recorded);
        let cancel = json!({"task_id": "t"});
        let ended = Past::Over { subject: Subject::Task(key.clone()), at: submitted };
        check(&mut shard, &ce_id(3), "synod.task.cancel", &cancel, ended.clone());
        check(&mut shard, &ce_id(4), "synod.task.complete", &json!({"output": 1}).merged(&completed), ended);
        // What the command came to is still at hand; the task itself is not.
        let input = Input::Command {
            command: Box::new(command("synod.task.complete", &json!({"output": 1}).merged(&completed))),
            meta: meta("done", None),
        };
        shard.happen(&input, Some(9));
        assert_eq!(
            shard.past.pop(),
            Some((9, Past::Entity { subject: Subject::Task(key), at: Some(submitted) }))
        );
        assert_eq!((shard.told.len(), shard.owner.state().counts()), (told, same), "nothing has happened");
    }
}

trait Merged {
    fn merged(self, other: &Value) -> Value;
}

impl Merged for Value {
    /// With the fields of another object.
    fn merged(mut self, other: &Value) -> Value {
        for (name, value) in other.as_object().into_iter().flatten() {
            self[name] = value.clone();
        }
        self
    }
}

/// Sends a command and has its record proven at once; the answer's code if it was refused.
fn quick(owner: &mut Owner, log: &mut Log, now: Timestamp, meta: Meta, id: &str) -> Option<Code> {
    let released = happens(owner, log, now, meta, command("synod.task.cancel", &json!({"task_id": id})));
    released.into_iter().find_map(|one| match one {
        Released::Answer(_, answer) => Some(answer.unwrap_err().code),
        _ => None,
    })
}

/// Has a command recorded and proven at once, and whatever is due to be imaged; what may leave by it.
fn happens(owner: &mut Owner, log: &mut Log, now: Timestamp, meta: Meta, command: Command) -> Vec<Released> {
    let command = Box::new(command);
    let (fleet, mut released) = (Registry::default(), Vec::new());
    let append = owner.handle(
        &Context {
            now,
            seed: [0; 16],
            fleet: &fleet,
            protocols: synod_negotiation::Protocols::standard(),
            definitions: &synod_ledger::NoDefinitions,
        },
        &Input::Command { command, meta },
        Some(1),
        &mut released,
    );
    let append = append.expect("a record");
    let offset = log.append(now, append.bytes);
    released.extend(owner.acked(append.n, Ok(Some(offset))).unwrap());
    while let Some(image) = owner.image() {
        let offset = log.append(now, image.bytes);
        released.extend(owner.acked(image.n, Ok(Some(offset))).unwrap());
    }
    for one in &released {
        if let Released::Effects { offset, effects } = one {
            owner.confirmed(*offset, effects.len());
        }
    }
    released
}

/// Where more commands come than are remembered, one that may be among the forgotten is refused by its time, and no other.
#[test]
fn a_command_that_may_have_been_forgotten_is_refused() {
    const BLOCK: u64 = 8_192;
    let keep = Keep { window: Window { most: 1, ..Window::default() }, ..Keep::default() };
    let mut log = Log::default();
    log.claim("first", at(0));
    let limits = Limits { image_within: 1_000, ..CEILINGS };
    let (mut owner, _) = Owner::new(0, log.fold_with(keep.clone()), limits);
    owner.caught_up();
    let mut last = 0;
    for n in 1..2 * BLOCK {
        if owner.state().forgotten().is_some() {
            break;
        }
        last = n;
        let code = quick(&mut owner, &mut log, at(n), meta(&n.to_string(), None), "t");
        assert_eq!(code, Some(Code::NotFound), "command {n}");
    }
    assert!((BLOCK - 1_000..BLOCK + 1_000).contains(&last), "{last} commands until the first block went");
    let forgotten = owner.state().forgotten().expect("a block was forgotten");
    // Clocks differ by ten seconds at most.
    let slack = 10_000;
    let now = at(last + 1 + slack);
    let age = now.millis_since(forgotten);
    for (offset, (ce_id, age_ms, waited_ms, want)) in [
        ("1", age, 0, Code::InvalidArgument),
        ("2", 0, age, Code::InvalidArgument),
        ("3", age - slack, 0, Code::InvalidArgument),
        ("new", age - slack - 1, 0, Code::NotFound),
        (&last.to_string(), 3_000_000, 0, Code::NotFound),
    ]
    .into_iter()
    .enumerate()
    {
        let meta = Meta { age_ms, waited_ms, ..meta(ce_id, Some(offset as u64)) };
        let code = quick(&mut owner, &mut log, now, meta, "t");
        assert_eq!(code, Some(want), "{ce_id}, {age_ms} ms old");
    }
    // Whoever folds it knows as much, from the beginning and from the floor.
    let claim = log.claim("second", now);
    for folded in [log.fold_with(keep.clone()), log.fold_from_floor(keep, claim).0] {
        assert_eq!(folded.state.forgotten(), Some(forgotten));
        assert_eq!(folded.state.settled(), owner.state().settled());
    }
}

/// The owner of a new shard that forgets its commands, and what has ended, as soon as a second is over.
fn forgetful(log: &mut Log, image_within: u64) -> (Owner, Keep) {
    let window = Window { ms: 1_000, count: 0, ..Window::default() };
    let keep = Keep { ended_ms: 0, window, ..Keep::default() };
    log.claim("first", at(0));
    let limits = Limits { image_within, ..CEILINGS };
    let (mut owner, _) = Owner::new(0, log.fold_with(keep.clone()), limits);
    owner.caught_up();
    (owner, keep)
}

/// A task that lives for longer than commands are remembered must not be submitted once more as soon as it has ended.
#[test]
fn a_tasks_id_stays_for_the_window_after_its_end() {
    let mut log = Log::default();
    let (mut owner, _) = forgetful(&mut log, 1_000);
    let submit = || command(SUBMIT, &submission("t", &json!({})));
    let cancel = |id: &str| command("synod.task.cancel", &json!({"task_id": id}));
    happens(&mut owner, &mut log, at(1), meta("first", None), submit());
    happens(&mut owner, &mut log, at(5_000), meta("another", None), cancel("nobody"));
    assert_eq!(owner.state().seen(), 1, "its submission is forgotten");
    happens(&mut owner, &mut log, at(5_001), meta("end", None), cancel("t"));
    let ended_at = log.records.len() as u64 - 1;
    happens(&mut owner, &mut log, at(5_400), meta("later", None), cancel("nobody"));
    assert!(owner.state().task(&task_key("t")).is_none(), "it has left memory");
    let released = happens(&mut owner, &mut log, at(5_500), meta("again", None), submit());
    let past = released.into_iter().find_map(|one| match one {
        Released::Past(_, Past::Again { subject, at, .. }) => Some((subject, at)),
        _ => None,
    });
    assert_eq!(past, Some((Subject::Task(task_key("t")), ended_at)));
    // Where it ended says where a fold has to begin that finds it whole.
    let step = log.step(ended_at);
    assert!(Subject::Task(task_key("t")).body_in(&step).is_none());
    let keep = Keep { ended_ms: u64::MAX, ..Keep::default() };
    let first = life_from(ended_at, &step, &Subject::Task(task_key("t")));
    let mut fold = Fold::from_floor(keep, first);
    for (offset, (_, bytes)) in
        log.records.iter().enumerate().skip(first as usize).take_while(|(o, _)| *o as u64 <= ended_at)
    {
        fold.record(offset as u64, None, bytes).unwrap();
    }
    assert!(fold.state().task(&task_key("t")).unwrap().status.is_final());
}

/// Until the shard's image tells of it, a fold has to begin where it finds out by itself that something was forgotten.
#[test]
fn no_fold_forgets_that_something_was_forgotten() {
    let mut compared = 0;
    for (image_within, pause_after) in (6..18).flat_map(|within| [(within, 5), (within, 7)]) {
        let mut log = Log::default();
        let (mut owner, keep) = forgetful(&mut log, image_within);
        for n in 0..40 {
            // A pause now and then, after which all that came before it is forgotten.
            let now = at(n + n / pause_after * 3_000);
            let cancel = command("synod.task.cancel", &json!({"task_id": "nobody"}));
            happens(&mut owner, &mut log, now, meta(&format!("c-{n}"), None), cancel);
            let mut log = log.clone();
            let claim = log.claim("second", now);
            let (near, floor) = log.fold_from_floor(keep.clone(), claim);
            let (found, had) = (near.state.forgotten(), owner.state().forgotten());
            assert_eq!(found, had, "from {floor}, after command {n}, imaged within {image_within}");
            compared += u64::from(floor > 0 && had.is_some());
        }
    }
    assert!(compared > 300, "only {compared} folds had something to find out");
}

/// A command's age goes on while it waits for room.
#[test]
fn a_command_that_waits_grows_older() {
    let mut input = Input::Command {
        command: Box::new(command("synod.task.cancel", &json!({"task_id": "t"}))),
        meta: Meta { waited_ms: 5, ..meta("c", Some(0)) },
    };
    input.has_waited(7);
    let Input::Command { meta, .. } = input else { panic!("a command") };
    assert_eq!(meta.waited_ms, 12);
}
