//! What may leave the owner, and when.

use crate::log::read;
use crate::shard::{
    CEILINGS, RECORD_LIMIT, Shard, command, meta, refused, registration, submission, taken, task_key,
};
use serde_json::{Value, json};
use synod_ledger::{
    Answer, Append, Doubt, Effect, Input, Limits, Meta, Next, Owner, Past, Released, Subject, Ticket,
};
use synod_protocol::Code;

fn submit(id: &str, ce_id: &str, offset: Option<u64>) -> Input {
    let command = Box::new(command("synod.task.submit", &submission(id, &json!({}))));
    Input::Command { command, meta: meta(ce_id, offset) }
}

/// What left, in short: `effects@<offset>`, `answer:<ticket>` and `past:<ticket>`; what is in force once more is not told.
fn short(released: &[Released]) -> Vec<String> {
    let one = |r: &Released| match r {
        Released::Effects { offset, .. } => Some(format!("effects@{offset}")),
        Released::Answer(ticket, _) => Some(format!("answer:{ticket}")),
        Released::Past(ticket, _) => Some(format!("past:{ticket}")),
        Released::Again(_) => None,
    };
    released.iter().filter_map(one).collect()
}

impl Shard {
    /// Submits a task for `ticket` and leaves its append on its way.
    fn send(&mut self, id: &str, ticket: Ticket) -> Append {
        let (append, released) = self.decide(&submit(id, &format!("ce-{id}"), None), Some(ticket));
        assert!(released.is_empty(), "nothing leaves before proof");
        append.expect("a record")
    }

    fn ack(&mut self, n: u64, offset: u64) -> Vec<String> {
        short(&self.owner.acked(n, Ok(Some(offset))).unwrap())
    }
}

#[test]
fn nothing_leaves_before_proof_and_all_in_order() {
    let mut shard = Shard::new();
    let sent: Vec<_> = (1..=4).map(|i| shard.send(&format!("t{i}"), i).n).collect();
    assert_eq!(sent, [1, 2, 3, 4]);
    assert_eq!((shard.owner.in_flight(), shard.owner.proven()), (4, 0));
    assert!(shard.ack(3, 3).is_empty(), "1 and 2 are not proven");
    assert!(shard.ack(2, 2).is_empty());
    assert_eq!(shard.ack(1, 1), ["effects@1", "answer:1", "effects@2", "answer:2", "effects@3", "answer:3"]);
    assert!(shard.ack(2, 2).is_empty(), "an acknowledgement twice");
    assert_eq!(shard.ack(4, 4), ["effects@4", "answer:4"]);
    assert_eq!((shard.owner.in_flight(), shard.owner.proven()), (0, 4));
}

/// With records 1 to 4 on their way and 1 proven, this acknowledgement of 3 ends the epoch, and nothing leaves after it.
fn check_doubt(outcome: Result<Option<u64>, String>, want: &Doubt) {
    let mut shard = Shard::new();
    for i in 1..=4 {
        shard.send(&format!("t{i}"), i);
    }
    shard.ack(1, 1);
    assert_eq!(&shard.owner.acked(3, outcome).unwrap_err(), want);
    for n in [2, 3, 4] {
        let after = shard.owner.acked(n, Ok(Some(n)));
        assert_eq!(&after.unwrap_err(), want, "a doubt is for good");
    }
    let mut released = Vec::new();
    shard.owner.read(5, &Subject::Task(task_key("t1")), &mut released);
    let (append, more) = shard.decide(&submit("t5", "ce-t5", None), Some(6));
    assert!(append.is_none(), "an epoch that is over appends nothing");
    let (append, again) = shard.decide(&submit("t1", "ce-t1", None), Some(7));
    assert!(append.is_none() && released.is_empty() && more.is_empty() && again.is_empty());
    let waiting: Vec<_> = shard.owner.abandoned().collect();
    assert_eq!(waiting, [2, 3, 4, 5, 6, 7], "whoever waits is told that this epoch cannot answer");
}

#[test]
fn every_doubt_ends_the_epoch() {
    let unexpected = |found| Doubt::UnexpectedOffset { n: 3, expected: 3, found };
    check_doubt(Ok(Some(4)), &unexpected(4));
    check_doubt(Ok(Some(2)), &unexpected(2));
    check_doubt(Ok(Some(u64::MAX)), &unexpected(u64::MAX));
    check_doubt(Ok(None), &Doubt::NoOffset(3));
    check_doubt(Err("timed out".into()), &Doubt::NotAppended(3, "timed out".into()));
}

#[test]
fn a_doubt_about_the_only_record_leaves_nothing_either() {
    let mut shard = Shard::new();
    shard.send("t1", 1);
    shard.ack(1, 1);
    assert!(shard.owner.acked(1, Ok(Some(2))).is_err(), "it cannot be in two places");
    let mut released = Vec::new();
    shard.owner.read(5, &Subject::Task(task_key("t1")), &mut released);
    assert!(released.is_empty());
}

#[test]
fn answers_that_need_no_record_wait_for_what_they_saw() {
    let mut shard = Shard::new();
    let mut released = Vec::new();
    shard.send("t", 1);
    let (append, more) = shard.decide(&submit("t", "ce-t", None), Some(2));
    assert!(append.is_none() && more.is_empty(), "a repeat of what is not proven");
    shard.owner.read(3, &Subject::Task(task_key("t")), &mut released);
    shard.owner.read(4, &Subject::Task(task_key("nobody")), &mut released);
    shard.owner.tell(5, Err(synod_protocol::Error::invalid("x")), &mut released);
    assert!(released.is_empty());
    shard.send("u", 6);
    let released = shard.owner.acked(1, Ok(Some(1))).unwrap();
    assert_eq!(short(&released), ["effects@1", "answer:1", "answer:2", "answer:3", "past:4", "answer:5"]);
    let answers: Vec<_> =
        released.iter().filter_map(|r| if let Released::Answer(_, a) = r { Some(a) } else { None }).collect();
    let made = |answer: &Answer| taken(answer).1;
    assert_eq!((made(answers[0]), made(answers[1]), made(answers[2])), (true, false, false));
    let past = released.iter().find_map(|r| if let Released::Past(_, past) = r { Some(past) } else { None });
    assert_eq!(
        past,
        Some(&Past::Entity { subject: Subject::Task(task_key("nobody")), at: None }),
        "memory cannot say that it never was"
    );
    assert_eq!(shard.ack(2, 2), ["effects@2", "answer:6"]);
    let mut released = Vec::new();
    shard.owner.read(7, &Subject::Task(task_key("t")), &mut released);
    assert_eq!(short(&released), ["answer:7"], "with all proven nothing waits");
}

#[test]
fn a_rejection_waits_like_an_effect_and_is_on_record() {
    let mut shard = Shard::new();
    shard.send("t", 1);
    let cancel = Box::new(command("synod.task.cancel", &json!({"task_id": "nobody"})));
    let input = Input::Command { command: cancel, meta: meta("x", None) };
    let (append, released) = shard.decide(&input, Some(2));
    let step = read(&append.expect("a record").bytes);
    assert_eq!((step.n, step.rejected.map(|e| e.code)), (2, Some(Code::NotFound)));
    let (append, more) = shard.decide(&input, Some(3));
    assert!(append.is_none() && released.is_empty() && more.is_empty());
    assert!(shard.ack(2, 2).is_empty());
    let released = shard.owner.acked(1, Ok(Some(1))).unwrap();
    assert_eq!(short(&released), ["effects@1", "answer:1", "answer:2", "answer:3"]);
    let [.., Released::Answer(_, first), Released::Answer(_, again)] = &released[..] else { panic!() };
    assert_eq!(first, again);
    assert_eq!(refused(again), (Code::NotFound, None));
}

#[test]
fn done_never_passes_what_is_not_confirmed() {
    let mut shard = Shard::new();
    let done = |append: &Append| {
        let step = read(&append.bytes);
        (step.floor, step.done)
    };
    let first = shard.send("t1", 1);
    let second = shard.send("t2", 2);
    assert_eq!((done(&first), done(&second)), ((0, 0), (0, 0)), "until there is something: the birth");
    shard.ack(1, 1);
    shard.ack(2, 2);
    assert_eq!(done(&shard.send("t3", 3)), (0, 1), "1 is not confirmed");
    shard.owner.confirmed(2, 1);
    assert_eq!(done(&shard.send("t4", 4)), (0, 1), "2 is, but 1 comes before it");
    shard.owner.confirmed(1, 1);
    assert_eq!(done(&shard.send("t5", 5)), (0, 3), "3 is not proven");
    shard.ack(4, 4);
    shard.owner.confirmed(4, 1);
    assert_eq!(done(&shard.send("t6", 6)), (0, 3), "nor is what lies behind it");
    shard.ack(3, 3);
    assert_eq!((done(&shard.send("t7", 7)), shard.owner.owed()), ((0, 3), 2));
    shard.owner.confirmed(3, 1);
    shard.owner.confirmed(4, 1);
    assert_eq!(done(&shard.send("t8", 8)), (0, 5));
}

#[test]
fn a_step_with_several_effects_is_done_when_all_are_confirmed() {
    let mut shard = Shard::with(&["a"]);
    let append = shard.send("t", 1);
    let offset = shard.log.append(shard.now, append.bytes);
    let released = shard.owner.acked(append.n, Ok(Some(offset))).unwrap();
    let Released::Effects { effects, .. } = &released[0] else { panic!("effects first") };
    let kinds: Vec<_> = effects.iter().map(Effect::kind).collect();
    assert_eq!(kinds, ["publish", "publish", "deliver"]);
    for left in (0..3).rev() {
        assert_eq!(read(&shard.send(&format!("u{left}"), 9).bytes).done, offset);
        shard.owner.confirmed(offset, 1);
    }
    assert_eq!(read(&shard.send("v", 9).bytes).done, offset + 1);
}

/// The first records after a takeover: `floor` and `done`.
#[test]
fn a_successor_begins_where_its_predecessors_left_off() {
    let mut shard = Shard::new();
    assert!(shard.succeed().is_empty());
    assert_eq!(shard.owner.epoch(), 1);
    let step = read(&shard.send("t", 1).bytes);
    assert_eq!((step.epoch, step.n, step.floor, step.done), (1, 1, 0, 0), "nothing has ever counted");

    let mut shard = Shard::with(&["a"]);
    assert!(short(&shard.succeed()).iter().all(|r| r.starts_with("effects@")));
    let epoch = shard.owner.epoch();
    let step = read(&shard.send("t", 1).bytes);
    assert_eq!(
        (step.epoch, step.n, step.floor, step.done),
        (epoch, 1, 0, 1),
        "the registration is owed again"
    );
    shard.owner.confirmed(1, 9);
    assert_eq!(read(&shard.send("u", 1).bytes).done, epoch + 1);
}

fn attempts_issued(released: &[Released]) -> Vec<String> {
    let effects = released
        .iter()
        .filter_map(|r| if let Released::Effects { effects, .. } = r { Some(effects) } else { None });
    let work = effects
        .flatten()
        .filter_map(|e| if let Effect::Deliver { attempt_id, .. } = e { attempt_id.clone() } else { None });
    work.collect()
}

#[test]
fn a_successor_issues_again_exactly_what_is_not_confirmed() {
    let mut shard = Shard::with(&["a", "b"]);
    shard.submit("done", &json!({})).unwrap();
    shard.result("complete", "done", &json!({})).unwrap();
    // From here on nothing is confirmed: t1 fails its first attempt and is given out again, t2 is completed.
    let mut owed = Vec::new();
    let act = |shard: &mut Shard, input: &Input| {
        let (append, _) = shard.decide(input, None);
        let append = append.expect("a record");
        let offset = shard.log.append(shard.now, append.bytes);
        let released = shard.owner.acked(append.n, Ok(Some(offset))).unwrap();
        let Some(Released::Effects { effects, .. }) = released.into_iter().next() else { panic!("effects") };
        (offset, effects)
    };
    let mut work: Vec<Value> = Vec::new();
    for id in ["t1", "t2"] {
        let (offset, effects) = act(&mut shard, &submit(id, &format!("ce-{id}"), None));
        work.extend(effects.iter().filter_map(|e| match e {
            Effect::Deliver { value, .. } => Some(value.to::<Value>().unwrap()),
            _ => None,
        }));
        owed.push((offset, effects));
    }
    for (verb, work, more) in [
        ("complete", &work[1], json!({"output": 1})),
        ("fail", &work[0], json!({"error": {"code": "c", "message": "m"}})),
    ] {
        let mut body =
            json!({"task_id": work["task_id"], "attempt": 1, "attempt_token": work["attempt_token"]});
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let command = Box::new(command(&format!("synod.task.{verb}"), &body));
        owed.push(act(&mut shard, &Input::Command { command, meta: meta(verb, None) }));
    }
    shard.now = shard.now.plus_millis(200);
    let Next::Input(input) = shard.owner.next(shard.now, &shard.fleet, true) else {
        panic!("t1 is to be tried again")
    };
    assert!(matches!(&input, Input::Dispatch(key) if *key == task_key("t1")));
    owed.push(act(&mut shard, &input));

    let released = shard.succeed();
    let issued: Vec<u64> = released
        .iter()
        .filter_map(|r| if let Released::Effects { offset, .. } = r { Some(*offset) } else { None })
        .collect();
    let want: Vec<u64> = owed.iter().map(|(offset, _)| *offset).collect();
    assert_eq!(issued, want, "each step not known to be confirmed, in order");
    assert_eq!(attempts_issued(&released), ["t1#2"], "no attempt that has been overtaken");
    // What is issued again is what was issued, but for those.
    for (offset, effects) in &owed {
        let again = released.iter().find_map(|r| match r {
            Released::Effects { offset: o, effects } if o == offset => Some(effects.clone()),
            _ => None,
        });
        let overtaken =
            |e: &&Effect| matches!(e, Effect::Deliver { attempt_id: Some(id), .. } if id != "t1#2");
        let want: Vec<_> = effects.iter().filter(|e| !overtaken(e)).cloned().collect();
        assert_eq!(again, Some(want), "at {offset}");
    }
    shard.perform(released);
    assert_eq!(shard.owner.owed(), 0);
    shard.submit("v", &json!({})).unwrap();
    let released = shard.succeed();
    assert_eq!(short(&released).len(), 1, "only the last step: {:?}", short(&released));
}

#[test]
fn a_record_over_the_limit_becomes_a_refusal_on_record() {
    let mut shard = Shard::with(&["a"]);
    let big = |id: &str| submission(id, &json!({"input": "x".repeat(RECORD_LIMIT)}));
    let answer = shard.ask_as("x", "synod.task.submit", &big("t"));
    assert_eq!(refused(&answer), (Code::PayloadTooLarge, None));
    let message = answer.as_ref().unwrap_err().message.clone();
    assert!(message.contains(&RECORD_LIMIT.to_string()), "{message}");
    let last = shard.log.step(shard.log.records.len() as u64 - 1);
    assert_eq!((last.events.len(), last.rejected.map(|e| e.code)), (0, Some(Code::PayloadTooLarge)));
    assert!(shard.log.records.iter().all(|(_, bytes)| bytes.len() <= RECORD_LIMIT));
    assert!(shard.owner.state().task(&task_key("t")).is_none());
    let records = shard.log.records.len();
    assert_eq!(shard.ask_as("x", "synod.task.submit", &big("t")), answer, "the repeat is refused alike");
    assert_eq!(shard.log.records.len(), records);
    shard.submit("t", &json!({})).unwrap();
    let (ty, value) = shard.ask_kafka("y", 0, "synod.task.submit", &big("u"));
    assert_eq!((ty.as_str(), value["code"].as_str()), ("synod.rejected", Some("payload_too_large")));
    let mut shard_after = shard;
    let released = shard_after.succeed();
    shard_after.perform(released);
    assert_eq!(shard_after.ask_as("x", "synod.task.submit", &big("t")), answer);
}

#[test]
fn what_could_not_be_read_is_on_record_and_owes_a_copy_and_a_reply() {
    let mut shard = Shard::new();
    let reply_to = Some("kafka:synod.reply.x".parse().unwrap());
    let error = synod_protocol::Error::invalid("no JSON");
    let meta = Some(Meta { reply_to, ..meta("x", Some(8)) });
    let (append, _) = shard.decide(&Input::Poison { offset: 8, error: Box::new(error.clone()), meta }, None);
    let step = read(&append.unwrap().bytes);
    assert_eq!((step.input.poison, step.input.offset, step.rejected), (true, Some(8), Some(error)));
    let released = shard.owner.acked(1, Ok(Some(1))).unwrap();
    let Released::Effects { effects, .. } = &released[0] else { panic!("effects") };
    assert_eq!(effects.iter().map(Effect::kind).collect::<Vec<_>>(), ["reply", "dead_letter"]);
}

#[test]
fn the_shards_time_never_runs_back() {
    let mut shard = Shard::new();
    shard.now = shard.now.plus_millis(1_000);
    let later = shard.now;
    shard.submit("t", &json!({})).unwrap();
    shard.now = crate::shard::at(0);
    let append = shard.send("u", 1);
    assert_eq!(read(&append.bytes).now, later);
    shard.log.append(later, append.bytes);
    shard.log.claim("with a slow clock", crate::shard::at(0));
    let folded = shard.log.fold();
    assert_eq!(folded.now, later, "nor after a claim that the broker dates earlier");
    drop(Owner::new(0, folded, CEILINGS));
    shard.log.claim("later", later.plus_millis(5));
    assert_eq!(shard.log.fold().now, later.plus_millis(5));
}

#[test]
fn the_same_inputs_give_the_same_bytes() {
    let run = || {
        let mut shard = Shard::with(&["a", "b"]);
        for id in ["t", "u", "v"] {
            shard.submit(id, &json!({"timeout_ms": 500})).unwrap();
        }
        shard.result("fail", "t", &json!({"error": {"code": "c", "message": "m"}})).unwrap();
        shard.lose_holder("u");
        shard.wait(5_000);
        shard.ask("synod.agent.register", &registration("a", 2, &json!({}))).unwrap();
        shard.log.records
    };
    let records = run();
    assert!(records.len() > 12, "{}", records.len());
    assert_eq!(records, run());
}

/// With room for two tasks a third is refused through either door, nothing is remembered of it, and all else passes.
#[test]
fn without_room_new_work_is_refused_and_may_come_again_as_it_is() {
    let mut shard = Shard::with(&["a"]);
    shard.log.claim("second", shard.now);
    (shard.owner, _) = Owner::new(0, shard.log.fold(), Limits { live_bytes: 3_000, ..CEILINGS });
    shard.owner.caught_up();
    let body = |id: &str| submission(id, &json!({}));
    let ask = |shard: &mut Shard, id: &str| shard.ask_as(&format!("ce-{id}"), "synod.task.submit", &body(id));
    ask(&mut shard, "t1").unwrap();
    ask(&mut shard, "t2").unwrap();
    let records = shard.log.records.len();
    let no_room = ask(&mut shard, "t3").unwrap_err();
    assert_eq!((no_room.code, no_room.retry_after_ms), (Code::Overloaded, Some(1_000)));
    assert_eq!(shard.log.records.len(), records, "nothing is on record of it");
    let (ty, error) = shard.ask_kafka("ce-k", 0, "synod.task.submit", &body("k"));
    assert_eq!((ty.as_str(), &error["code"]), ("synod.rejected", &json!("overloaded")));
    assert_eq!(shard.owner.state().position(), 1, "a position that was passed is on record");
    // Repeats, results and cancels pass.
    ask(&mut shard, "t1").unwrap();
    shard.result("complete", "t1", &json!({"output": 1})).unwrap();
    shard.ask("synod.task.cancel", &json!({"task_id": "t2"})).unwrap();
    ask(&mut shard, "t3").unwrap();
    let (ty, _) = shard.ask_kafka("ce-k", 1, "synod.task.submit", &body("k"));
    assert_eq!(ty, "synod.reply", "the same command, taken once there is room");
}
