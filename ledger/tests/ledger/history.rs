//! Random histories: both doors, duplicates, crashes, rivals, records lost, doubled, late and foreign. After each claim
//! the folded state is the one that was had, and nothing that was promised is ever taken back.

use crate::shard::{agent_key, registration, start, submission};
use crate::world::World;
use proptest::prelude::*;
use serde_json::json;

/// One thing that happens, to or by the seat `bool`.
#[derive(Clone, Debug)]
enum Op {
    Submit {
        who: bool,
        kafka: bool,
        task: u8,
        form: u8,
    },
    Register {
        who: bool,
        kafka: bool,
        agent: u8,
        start: u8,
        room: u8,
    },
    Change {
        who: bool,
        kafka: bool,
        agent: u8,
        change: u8,
    },
    Result {
        who: bool,
        kafka: bool,
        which: u8,
        verb: u8,
        guess: bool,
    },
    Cancel {
        who: bool,
        kafka: bool,
        task: u8,
    },
    Repeat {
        who: bool,
        kafka: bool,
        which: u8,
        body: u8,
        same: bool,
    },
    Poison {
        passed_on: bool,
    },
    Read {
        who: bool,
        count: u8,
    },
    Look {
        who: bool,
        task: u8,
    },
    Pass {
        ms: u16,
    },
    Tick {
        who: bool,
    },
    Hurry {
        who: bool,
        task: u8,
    },
    Judge {
        who: bool,
        agent: u8,
        start: u8,
        lost: bool,
    },
    Land {
        who: bool,
        count: u8,
        twice: bool,
    },
    Ack {
        who: bool,
        which: u8,
        fails: bool,
    },
    /// All of a seat's records land, are acknowledged, and what they owe is confirmed.
    Flush {
        who: bool,
        confirm: u8,
    },
    Confirm {
        who: bool,
        which: u8,
        count: u8,
    },
    Open {
        who: bool,
        kafka: bool,
        which: u8,
    },
    Respond {
        who: bool,
        kafka: bool,
        which: u8,
        by: u8,
        what: u8,
    },
    EndNegotiation {
        who: bool,
        kafka: bool,
        which: u8,
    },
    Junk {
        kind: u8,
    },
    Ghost,
    Crash {
        who: bool,
    },
    Claim {
        who: bool,
    },
    PasserBy,
}

const TASKS: u8 = 12;
const AGENTS: u8 = 3;
const NEGOTIATIONS: u8 = 6;

fn op() -> impl Strategy<Value = Op> {
    let (b, n) = (any::<bool>, any::<u8>);
    // Mostly one of the two, so that a history gets somewhere before it is contested.
    let seat = || prop::bool::weighted(0.2);
    prop_oneof![
        30 => (seat(), b(), 0..TASKS, 0..8u8).prop_map(|(who, kafka, task, form)| Op::Submit { who, kafka, task, form }),
        18 => (seat(), b(), 0..AGENTS, 0..3u8, 1..3u8)
            .prop_map(|(who, kafka, agent, start, room)| Op::Register { who, kafka, agent, start, room }),
        6 => (seat(), b(), 0..AGENTS, n()).prop_map(|(who, kafka, agent, change)| Op::Change { who, kafka, agent, change }),
        60 => (seat(), b(), 0..4u8, n(), prop::bool::weighted(0.1))
            .prop_map(|(who, kafka, which, verb, guess)| Op::Result { who, kafka, which, verb, guess }),
        3 => (seat(), b(), 0..TASKS).prop_map(|(who, kafka, task)| Op::Cancel { who, kafka, task }),
        16 => (seat(), b(), n(), n(), prop::bool::weighted(0.7))
            .prop_map(|(who, kafka, which, body, same)| Op::Repeat { who, kafka, which, body, same }),
        2 => b().prop_map(|passed_on| Op::Poison { passed_on }),
        30 => (seat(), 1..6u8).prop_map(|(who, count)| Op::Read { who, count }),
        5 => (seat(), 0..TASKS).prop_map(|(who, task)| Op::Look { who, task }),
        15 => (0..1_000u16).prop_map(|ms| Op::Pass { ms }),
        40 => seat().prop_map(|who| Op::Tick { who }),
        3 => (seat(), 0..TASKS).prop_map(|(who, task)| Op::Hurry { who, task }),
        5 => (seat(), 0..AGENTS, 0..3u8, prop::bool::weighted(0.4))
            .prop_map(|(who, agent, start, lost)| Op::Judge { who, agent, start, lost }),
        20 => (seat(), 1..4u8, prop::bool::weighted(0.01)).prop_map(|(who, count, twice)| Op::Land { who, count, twice }),
        20 => (seat(), n(), prop::bool::weighted(0.01)).prop_map(|(who, which, fails)| Op::Ack { who, which, fails }),
        50 => (seat(), 0..6u8).prop_map(|(who, confirm)| Op::Flush { who, confirm }),
        15 => (seat(), n(), 1..3u8).prop_map(|(who, which, count)| Op::Confirm { who, which, count }),
        12 => (seat(), b(), 0..NEGOTIATIONS).prop_map(|(who, kafka, which)| Op::Open { who, kafka, which }),
        24 => (seat(), b(), 0..NEGOTIATIONS, 0..4u8, 0..4u8)
            .prop_map(|(who, kafka, which, by, what)| Op::Respond { who, kafka, which, by, what }),
        2 => (seat(), b(), 0..NEGOTIATIONS).prop_map(|(who, kafka, which)| Op::EndNegotiation { who, kafka, which }),
        2 => n().prop_map(|kind| Op::Junk { kind }),
        3 => Just(Op::Ghost),
        4 => b().prop_map(|who| Op::Crash { who }),
        2 => b().prop_map(|who| Op::Claim { who }),
        1 => Just(Op::PasserBy),
    ]
}

impl World {
    fn happens(&mut self, op: &Op) {
        let task = |task: u8| format!("t{task}");
        let agent = |agent: u8| format!("a{agent}");
        match *op {
            Op::Submit { who, kafka, task: id, form } => {
                let more = match form {
                    0..4 => json!({"priority": form, "timeout_ms": 1_000}),
                    4 => json!({"retry": {"max_attempts": 2, "initial_backoff_ms": 500}}),
                    5 => json!({"capability": null, "agent_id": "a1"}),
                    6 => json!({"deadline": crate::shard::at(4_000).to_string()}),
                    _ => json!({"capability": "nobody-can"}),
                };
                self.send(who.into(), kafka, "synod.task.submit", &submission(&task(id), &more));
            }
            Op::Register { who, kafka, agent: id, start, room } => {
                let body = registration(&agent(id), start.into(), &json!({"max_concurrency": room}));
                self.send(who.into(), kafka, "synod.agent.register", &body);
            }
            Op::Change { who, kafka, agent: id, change } => {
                let changes = [
                    "drain",
                    "start",
                    "start",
                    "pause",
                    "resume",
                    "resume",
                    "report_error",
                    "deregister",
                    "appraise",
                ];
                let which = changes[usize::from(change) % changes.len()];
                let mut body = json!({"agent_id": agent(id)});
                if which == "appraise" {
                    body = json!({"agent_id": agent(id), "kind": format!("k{}", change % 2), "promised_ms": 7,
                        "actual_ms": change, "kept": change % 3 > 0});
                }
                self.send(who.into(), kafka, &format!("synod.agent.{which}"), &body);
            }
            Op::Result { who, kafka, which, verb, guess } => {
                self.result(who.into(), kafka, which.into(), verb.into(), guess);
            }
            Op::Cancel { who, kafka, task: id } => {
                self.send(who.into(), kafka, "synod.task.cancel", &json!({"task_id": task(id)}));
            }
            Op::Repeat { who, kafka, which, body, same } => {
                self.repeat(who.into(), kafka, which.into(), if same { which } else { body }.into());
            }
            Op::Poison { passed_on } => self.produce_poison(passed_on),
            Op::Read { who, count } => self.read(who.into(), count.into()),
            Op::Look { who, task: id } => self.look(who.into(), &task(id)),
            Op::Pass { ms } => self.pass(ms.into()),
            Op::Tick { who } => self.tick(who.into()),
            Op::Hurry { who, task: id } => self.hurry(who.into(), &task(id)),
            Op::Judge { who, agent: id, start: number, lost } => {
                self.judge(who.into(), &agent_key(&agent(id)), &start(number.into()), lost);
            }
            Op::Land { who, count, twice } => self.land(who.into(), count.into(), twice),
            Op::Ack { who, which, fails } => self.ack(who.into(), which.into(), fails),
            Op::Flush { who, confirm } => {
                self.land(who.into(), usize::MAX, false);
                self.ack_all(who.into());
                (0..confirm).for_each(|_| self.confirm(who.into(), 0, usize::MAX));
            }
            Op::Confirm { who, which, count } => self.confirm(who.into(), which.into(), count.into()),
            Op::Open { who, kafka, which } => {
                let on_timeout = ["decide", "extend", "fail"][usize::from(which) % 3];
                let body = json!({"negotiation_id": format!("n{which}"), "protocol": "vote", "round_ms": 500,
                    "rules": {"candidates": ["x", "y"], "method": "plurality"}, "on_timeout": on_timeout,
                    "participants": ["a0", "a1", "outsider"], "repeated": if which % 2 == 0 { "last" } else { "first" },
                    "then": {"task": {"capability": "c"}}});
                self.send(who.into(), kafka, "synod.negotiation.open", &body);
            }
            Op::Respond { who, kafka, which, by, what } => {
                let by = ["a0", "a1", "outsider", "stranger"][usize::from(by) % 4];
                let mut body = json!({"negotiation_id": format!("n{which}"), "participant": by});
                match what {
                    0 => body["abstain"] = json!(true),
                    1 => body["response"] = json!("x"),
                    2 => body["response"] = json!("y"),
                    _ => body["response"] = json!("z"),
                }
                self.send(who.into(), kafka, "synod.negotiation.respond", &body);
            }
            Op::EndNegotiation { who, kafka, which } => {
                let body = json!({"negotiation_id": format!("n{which}")});
                self.send(who.into(), kafka, "synod.negotiation.cancel", &body);
            }
            Op::Junk { kind } => self.junk(kind),
            Op::Ghost => self.ghost(),
            Op::Crash { who } => self.drop_owner(who.into()),
            Op::Claim { who } => self.claim(who.into()),
            Op::PasserBy => self.claim_and_vanish(),
        }
    }

    fn after(ops: &[Op], image_within: u64, ended_ms: u64) -> World {
        let mut world = World::new(image_within, ended_ms);
        for op in ops {
            world.happens(op);
        }
        world.end();
        world
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(100))]

    #[test]
    fn a_fold_finds_what_was_had(
        ops in prop::collection::vec(op(), 1..400),
        image_within in prop_oneof![4..20u64, 20..100u64, Just(1_000_000)],
        ended_ms in prop_oneof![Just(0u64), 0..2_000u64, Just(3_600_000)],
    ) {
        World::after(&ops, image_within, ended_ms);
    }
}

proptest! {
    #![proptest_config(config(20))]

    #[test]
    fn the_same_history_leaves_the_same_bytes(ops in prop::collection::vec(op(), 1..200)) {
        prop_assert_eq!(World::after(&ops, 10, 500).log.records, World::after(&ops, 10, 500).log.records);
    }
}
