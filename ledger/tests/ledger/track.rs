//! Track records: what becomes of promises is told, kept with the agent, known to the fleet, and counted once.

use crate::shard::{Shard, agent_key, refused, registration, start, taken};
use serde_json::{Value, json};
use synod_ledger::{Effect, Input, Released};
use synod_protocol::Code;

const APPRAISE: &str = "synod.agent.appraise";

fn late(agent: &str) -> Value {
    json!({"agent_id": agent, "kind": "translate", "promised_ms": 100, "actual_ms": 300, "kept": true})
}

fn record(shard: &Shard, agent: &str) -> Value {
    let key = agent_key(agent);
    let view = shard.owner.state().agent(&key).expect("an agent").view(&key);
    serde_json::to_value(&view.track_records).unwrap()["translate"].clone()
}

fn known(shard: &Shard, agent: &str) -> Value {
    let member = shard.fleet.get(&agent_key(agent)).expect("a member");
    serde_json::to_value(&member.entry.track_records).unwrap()["translate"].clone()
}

#[test]
fn a_record_is_of_the_agent_whatever_process_it_runs_as() {
    let mut shard = Shard::with(&["a"]);
    let (view, _) = taken(&shard.ask(APPRAISE, &late("a")));
    let told_at = shard.now.to_string();
    let one = json!({"results": 1, "time_ratio": 3, "time_results": 1, "kept": 1, "kept_results": 1, "told_at": told_at});
    assert_eq!(view["track_records"]["translate"], one);
    assert_eq!(known(&shard, "a"), one, "the directory carries it");

    shard.ask("synod.agent.register", &registration("a", 2, &json!({}))).unwrap();
    assert_eq!((record(&shard, "a"), known(&shard, "a")), (one.clone(), one), "a new process start");
    shard.ask("synod.agent.deregister", &json!({"agent_id": "a"})).unwrap();
    let broken = json!({"agent_id": "a", "kind": "translate", "promised_ms": 100, "kept": false});
    taken(&shard.ask(APPRAISE, &broken));
    shard.ask("synod.agent.register", &registration("a", 3, &json!({}))).unwrap();
    let both = known(&shard, "a");
    assert_eq!((&both["results"], &both["time_ratio"], &both["kept"]), (&json!(2), &json!(3), &json!("1/2")));
    assert_eq!(both["time_results"], 1);
    assert_eq!(shard.story("a"), "appraised registered deregistered appraised registered");
}

#[test]
fn who_is_not_known_is_not_found_and_who_is_forgotten_begins_anew() {
    let mut shard = Shard::with(&["a"]);
    assert_eq!(refused(&shard.ask(APPRAISE, &late("b"))).0, Code::NotFound);
    taken(&shard.ask(APPRAISE, &late("a")));
    shard.ask("synod.agent.deregister", &json!({"agent_id": "a"})).unwrap();
    shard.wait(60_000);
    let (agent, incarnation) = (agent_key("a"), start(1));
    shard.happen(&Input::Forget { agent, incarnation, kept_ms: 60_000 }, None);
    assert_eq!(refused(&shard.ask(APPRAISE, &late("a"))).0, Code::NotFound);
    shard.ask("synod.agent.register", &registration("a", 2, &json!({}))).unwrap();
    assert_eq!(record(&shard, "a"), Value::Null);
}

#[test]
fn a_successor_finds_the_records() {
    let mut shard = Shard::with(&["a"]);
    taken(&shard.ask_as("once", APPRAISE, &late("a")));
    let before = record(&shard, "a");
    shard.succeed();
    assert_eq!(record(&shard, "a"), before);
    taken(&shard.ask_as("once", APPRAISE, &late("a")));
    assert_eq!(record(&shard, "a"), before, "the same command again counts once");
}

fn says(who: &str, response: &Value) -> Value {
    json!({"negotiation_id": "n", "participant": who, "response": response})
}

/// a promises 100 ms and fails, b promises 200 and takes 50.
fn net(shard: &mut Shard) {
    let open = json!({"negotiation_id": "n", "protocol": "contract_net", "participants": ["a", "b"],
        "rules": {"utility": {"time": 1}, "result": true, "track": "translate"}});
    taken(&shard.ask("synod.negotiation.open", &open));
    let respond = "synod.negotiation.respond";
    for (who, response) in [
        ("a", json!({"price": 1, "time_ms": 100})),
        ("b", json!({"price": 1, "time_ms": 200})),
        ("a", json!({"accept": true})),
        ("a", json!({"failed": "no disk"})),
        ("b", json!({"accept": true})),
    ] {
        taken(&shard.ask(respond, &says(who, &response)));
    }
    shard.wait(50);
    taken(&shard.ask(respond, &says("b", &json!({"result": 1}))));
}

#[test]
fn the_end_of_a_net_is_told_once_whoever_owns_the_shard() {
    let mut shard = Shard::with(&["a", "b"]);
    net(&mut shard);
    let told: Vec<Value> = shard
        .commands
        .iter()
        .map(|(_, v)| json!([v["agent_id"], v["kind"], v["actual_ms"], v["kept"]]))
        .collect();
    assert_eq!(json!(told), json!([["a", "translate", null, false], ["b", "translate", 50, true]]));
    for (envelope, _) in &shard.commands {
        assert_eq!(envelope.ty, APPRAISE);
        assert_eq!((envelope.time, &envelope.position), (Some(shard.now), &None));
    }
    let first = shard.commands.clone();
    let again: Vec<Effect> = shard
        .succeed()
        .into_iter()
        .flat_map(|one| match one {
            Released::Again(effects) | Released::Effects { effects, .. } => effects,
            _ => Vec::new(),
        })
        .filter(|effect| matches!(effect, Effect::Command { .. }))
        .collect();
    let ids = |effect: &Effect| match effect {
        Effect::Command { envelope, root, .. } => (envelope.id.clone(), root.clone()),
        _ => (String::new(), String::new()),
    };
    let issued: Vec<(String, String)> = first
        .iter()
        .map(|(envelope, value)| (envelope.id.clone(), value["agent_id"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(again.iter().map(ids).collect::<Vec<_>>(), issued, "the same ids, to the same shards");
    // Each comes as often as it was issued, and a few times more.
    for _ in 0..2 {
        for (at, (envelope, value)) in first.iter().enumerate() {
            taken(&shard.ask_as(&envelope.id, &envelope.ty, value));
            assert_eq!(record(&shard, issued[at].1.as_str())["results"], 1);
        }
    }
    assert_eq!(record(&shard, "b")["time_ratio"], "1/4");
    // The next net begins with what is known.
    let open = json!({"negotiation_id": "m", "protocol": "contract_net", "participants": ["a", "b", "c"],
        "rules": {"track": "translate"}});
    let (view, _) = taken(&shard.ask("synod.negotiation.open", &open));
    let filled = json!({"a": {"results": 1, "kept": 0}, "b": {"results": 1, "time_ratio": "1/4", "kept": 1}});
    assert_eq!(view["rules"]["track_records"], filled);
    // What was asked is compared, not what it was filled with.
    taken(&shard.ask("synod.negotiation.open", &open));
}
