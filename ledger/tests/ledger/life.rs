//! An agent's life beyond the plain changes: errors and how it comes back, being forgotten, many registrations; and
//! what of the fleet is paused.

use crate::shard::{Shard, agent_key, refused, registration, start, taken, task_key};
use serde_json::{Value, json};
use synod_fleet::AgentKey;
use synod_ledger::{Input, Released, Subject};
use synod_protocol::Code;
use synod_protocol::event::What;

impl Shard {
    fn report(&mut self, more: &Value) -> synod_ledger::Answer {
        let mut body = json!({"agent_id": "a"});
        for (name, value) in more.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        self.ask("synod.agent.report_error", &body)
    }

    fn status(&self) -> &'static str {
        self.owner.state().agent(&agent_key("a")).unwrap().status.as_str()
    }

    fn forget(&mut self, number: u64, kept_ms: u64) -> Option<u64> {
        let (agent, incarnation) = (agent_key("a"), start(number));
        self.happen(&Input::Forget { agent, incarnation, kept_ms }, None)
    }

    /// The last change that the agent was told of, by its revision.
    fn heard(&self) -> Option<u64> {
        let mut notices = self.notices.iter().rev().filter(|(_, ty, _)| ty == "synod.agent.status_changed");
        notices.next().map(|(_, _, revision)| *revision)
    }
}

#[test]
fn one_that_resumes_comes_back_at_its_time_and_not_before() {
    let mut shard = Shard::with(&["a"]);
    shard.report(&json!({"recovery": "resume", "resume_after_ms": 5_000, "reason": "no disk"})).unwrap();
    shard.wait(4_999);
    assert_eq!(shard.status(), "error");
    shard.wait(1);
    assert_eq!((shard.status(), shard.owner.state().next_deadline()), ("idle", None));
    shard.report(&json!({"recovery": "resume"})).unwrap();
    shard.wait(1_000);
    assert_eq!(shard.status(), "idle", "a second by default");
    assert_eq!(shard.story("a"), "status_changed ".repeat(4).trim());
}

#[test]
fn a_timer_outlives_its_owner() {
    let mut shard = Shard::with(&["a"]);
    shard.report(&json!({"recovery": "resume", "resume_after_ms": 5_000})).unwrap();
    shard.succeed();
    shard.wait(5_000);
    assert_eq!(shard.status(), "idle");
}

#[test]
fn one_that_is_parked_waits_for_a_start_and_a_change_takes_the_timer_away() {
    let mut shard = Shard::with(&["a"]);
    shard.report(&json!({})).unwrap();
    shard.wait(24 * 3_600_000);
    assert_eq!(shard.status(), "error");
    shard.ask("synod.agent.start", &json!({"agent_id": "a"})).unwrap();
    for (change, status) in [("start", "idle"), ("stop", "completed")] {
        shard.report(&json!({"recovery": "resume"})).unwrap();
        shard.ask(&format!("synod.agent.{change}"), &json!({"agent_id": "a"})).unwrap();
        let told = shard.told.len();
        shard.wait(10_000);
        assert_eq!((shard.status(), shard.told.len()), (status, told), "after {change}");
        let (view, _) = taken(&shard.read(&Subject::Agent(agent_key("a"))));
        assert_eq!((&view["recovery"], &view["resume_at"]), (&Value::Null, &Value::Null), "after {change}");
    }
    assert_eq!(refused(&shard.report(&json!({}))), (Code::InvalidTransition, Some("completed")));
}

#[test]
fn an_error_that_is_reported_again_goes_by_the_newest_word() {
    let mut shard = Shard::with(&["a"]);
    shard.report(&json!({"recovery": "resume"})).unwrap();
    shard.report(&json!({"recovery": "park"})).unwrap();
    shard.wait(10_000);
    assert_eq!(shard.status(), "error");
    let told = shard.told.len();
    let (view, _) = taken(&shard.report(&json!({"recovery": "park"})));
    assert_eq!((shard.told.len(), &view["recovery"]), (told, &json!("park")), "nothing new");
    shard.report(&json!({"recovery": "restart"})).unwrap();
    let What::AgentStatusChanged(event) = &shard.told.last().unwrap().what else { panic!("a change") };
    assert_eq!(serde_json::to_value(event.recovery).unwrap(), "restart");
    shard.ask("synod.agent.register", &registration("a", 2, &json!({}))).unwrap();
    assert_eq!(shard.status(), "idle");
    assert_eq!(shard.owner.state().agent(&agent_key("a")).unwrap().restarts, 1);
}

#[test]
fn an_agent_is_told_of_each_change_unless_it_is_lost_or_has_left() {
    let mut shard = Shard::with(&["a"]);
    assert_eq!(shard.heard(), None, "it knows that it registered");
    shard.ask("synod.agent.pause", &json!({"agent_id": "a"})).unwrap();
    assert_eq!(shard.heard(), Some(2));
    let (agent, incarnation) = (agent_key("a"), start(1));
    shard.happen(&Input::Judged { agent, incarnation, lost: true, reason: "silent".into() }, None);
    shard.ask("synod.agent.resume", &json!({"agent_id": "a"})).unwrap();
    assert_eq!(shard.heard(), Some(2), "its inbox is not filled while it is away");
    let (agent, incarnation) = (agent_key("a"), start(1));
    shard.happen(&Input::Judged { agent, incarnation, lost: false, reason: "beats".into() }, None);
    assert_eq!(shard.heard(), Some(5));
    shard.ask("synod.agent.deregister", &json!({"agent_id": "a"})).unwrap();
    assert_eq!(shard.heard(), Some(5));
}

#[test]
fn who_is_long_gone_is_forgotten_and_nobody_else() {
    let mut shard = Shard::with(&["a"]);
    let key: AgentKey = agent_key("a");
    shard.wait(100_000);
    assert_eq!(shard.forget(1, 10_000), None, "it is here");
    shard.ask("synod.agent.deregister", &json!({"agent_id": "a"})).unwrap();
    shard.wait(9_999);
    assert_eq!(shard.forget(1, 10_000), None, "not long enough");
    shard.wait(1);
    assert_eq!(shard.forget(2, 10_000), None, "another process start");
    assert!(shard.forget(1, 10_000).is_some());
    assert_eq!(shard.story("a"), "deregistered removed");
    assert!(shard.owner.state().agent(&key).is_none() && shard.fleet.get(&key).is_none());
    assert_eq!(refused(&shard.read(&Subject::Agent(key.clone()))), (Code::NotFound, None));
    assert_eq!(shard.forget(1, 10_000), None, "once");

    // The fold forgets it too, and a base that nobody needs holds no floor back.
    shard.succeed();
    assert!(shard.owner.state().agent(&key).is_none());
    shard.ask("synod.agent.register", &registration("a", 3, &json!({}))).unwrap();
    assert_eq!((shard.status(), shard.fleet.get(&key).is_some()), ("idle", true));

    let (agent, incarnation) = (agent_key("a"), start(3));
    shard.happen(&Input::Judged { agent, incarnation, lost: true, reason: "silent".into() }, None);
    shard.wait(5_000);
    shard.ask("synod.agent.pause", &json!({"agent_id": "a"})).unwrap();
    shard.wait(5_000);
    assert!(shard.forget(3, 10_000).is_some(), "lost since the loss, whatever was asked of it meanwhile");
}

#[test]
fn a_superseded_start_stays_out_for_as_long_as_the_agent_is_kept() {
    let mut shard = Shard::with(&["a"]);
    shard.ask("synod.agent.register", &registration("a", 2, &json!({}))).unwrap();
    shard.ask("synod.agent.deregister", &json!({"agent_id": "a"})).unwrap();
    shard.wait(9_999);
    assert_eq!(shard.forget(2, 10_000), None);
    let old = registration("a", 1, &json!({}));
    assert_eq!(refused(&shard.ask("synod.agent.register", &old)), (Code::Fenced, None));
}

/// What a removal owes is not owed to one that has come again meanwhile.
#[test]
fn a_removal_that_is_issued_again_takes_nobody_s_entry_away() {
    let mut shard = Shard::with(&["a"]);
    shard.ask("synod.agent.deregister", &json!({"agent_id": "a"})).unwrap();
    shard.wait(10);
    let (agent, incarnation) = (agent_key("a"), start(1));
    let (append, _) = shard.decide(&Input::Forget { agent, incarnation, kept_ms: 10 }, None);
    let append = append.unwrap();
    let offset = shard.log.append(shard.now, append.bytes);
    // Proven, but what it owes is not performed; the agent comes back; the owner dies.
    let removal = shard.owner.acked(append.n, Ok(Some(offset))).unwrap();
    let owed = |released: &[Released]| {
        let effects = released.iter().flat_map(|one| match one {
            Released::Effects { effects, .. } => effects.as_slice(),
            _ => &[],
        });
        effects.filter(|effect| matches!(effect, synod_ledger::Effect::DirectoryRemoval(_))).count()
    };
    assert_eq!(owed(&removal), 1);
    shard.ask("synod.agent.register", &registration("a", 2, &json!({}))).unwrap();
    let again = shard.succeed();
    assert_eq!(owed(&again), 0);
    shard.perform(again);
    assert!(shard.fleet.get(&agent_key("a")).is_some());
}

#[test]
fn only_so_many_registrations_a_second_change_anything() {
    let mut shard = Shard::new();
    let capacity = |n: u32| registration("a", 1, &json!({"max_concurrency": n}));
    for n in 1..=50 {
        shard.ask("synod.agent.register", &capacity(n)).unwrap();
    }
    for n in 51..=1_000 {
        let error = shard.ask("synod.agent.register", &capacity(n)).unwrap_err();
        assert_eq!((error.code, error.retry_after_ms), (Code::Overloaded, Some(1_000)));
    }
    assert_eq!(shard.story("a"), "registered ".repeat(50).trim());
    shard.ask("synod.agent.register", &capacity(50)).unwrap();
    shard.ask("synod.agent.register", &registration("b", 1, &json!({}))).unwrap();
    shard.wait(1_000);
    shard.ask("synod.agent.register", &capacity(51)).unwrap();
}

#[test]
fn process_starts_that_end_each_other_are_reported_by_name() {
    let warning = |shard: &mut Shard, number: u64| {
        let (view, _) = taken(&shard.ask("synod.agent.register", &registration("a", number, &json!({}))));
        view["warning"].as_str().map(str::to_owned)
    };
    let mut shard = Shard::new();
    for number in 1..=3 {
        assert_eq!(warning(&mut shard, number), None, "start {number}");
        shard.wait(1_000);
    }
    let told = warning(&mut shard, 4).expect("it is odd");
    assert!(told.contains(start(3).as_str()) && told.contains(start(4).as_str()), "{told}");
    assert_eq!(warning(&mut shard, 4), Some(told), "the same start again");
    shard.wait(120_000);
    assert_eq!(warning(&mut shard, 5), None, "long after");

    // One that was lost each time before it came again just crashes, and that is noticed otherwise.
    let mut shard = Shard::new();
    for number in 1..=10 {
        assert_eq!(warning(&mut shard, number), None);
        let (agent, incarnation) = (agent_key("a"), start(number));
        shard.happen(&Input::Judged { agent, incarnation, lost: true, reason: "silent".into() }, None);
    }
}

/// The pauses that the directory has, in short.
fn pauses(shard: &Shard) -> Vec<String> {
    let name = |pause: &synod_protocol::view::Pause| {
        let workspace = pause.workspace.as_ref().map_or("*", |w| w.as_str()).to_owned();
        let capability = pause.capability.as_ref().map_or("*", |c| c.as_str());
        format!("{workspace}/{capability} {}", serde_json::to_value(pause.mode).unwrap().as_str().unwrap())
    };
    shard.pauses.pauses.iter().map(name).collect()
}

#[test]
fn each_scope_is_paused_and_resumed_by_itself() {
    let mut shard = Shard::new();
    let (pause, resume) = ("synod.fleet.pause", "synod.fleet.resume");
    for scope in [json!({}), json!({"capability": "c"}), json!({"everything": true})] {
        assert_eq!(refused(&shard.ask(resume, &scope)), (Code::InvalidTransition, Some("running")));
        shard.ask(pause, &scope).unwrap();
        shard.ask(pause, &scope).unwrap();
    }
    assert_eq!(shard.story("synod.fleet"), "paused paused paused", "the same again is nothing new");
    assert_eq!(pauses(&shard), ["*/* drain", "default/* drain", "default/c drain"]);
    shard.ask(pause, &json!({"capability": "c", "mode": "halt"})).unwrap();
    shard.ask(pause, &json!({"capability": "c", "mode": "drain"})).unwrap();
    assert_eq!(pauses(&shard), ["*/* drain", "default/* drain", "default/c halt"], "a halt stays one");
    shard.ask(resume, &json!({})).unwrap();
    assert_eq!(pauses(&shard), ["*/* drain", "default/c halt"]);
    // What is decided here is there after a fold, from the beginning or from an image.
    shard.succeed();
    let before = shard.owner.state().pauses().clone();
    assert_eq!(before.view().pauses.len(), 2);
    let image = shard.owner.sign_of_life().unwrap();
    assert!(String::from_utf8_lossy(&image.bytes).contains("\"pauses\":[{"));
    let offset = shard.log.append(shard.now, image.bytes);
    shard.owner.acked(image.n, Ok(Some(offset))).unwrap();
    shard.succeed();
    assert_eq!(*shard.owner.state().pauses(), before);
}

#[test]
fn pauses_have_a_limit() {
    let mut shard = Shard::new();
    for n in 0..128 {
        shard.ask("synod.fleet.pause", &json!({"capability": format!("c{n}")})).unwrap();
    }
    let one_more = json!({"capability": "one-more"});
    assert_eq!(refused(&shard.ask("synod.fleet.pause", &one_more)), (Code::Unprocessable, None));
    shard.ask("synod.fleet.pause", &json!({"capability": "c5", "mode": "halt"})).unwrap();
}

/// A fleet of which a part is halted.
struct Halted<'a>(&'a synod_fleet::Registry);

impl synod_fleet::Fleet for Halted<'_> {
    fn choose(&self, _: &synod_fleet::Need<'_>) -> Option<synod_fleet::Choice> {
        None
    }

    fn check_rule(&self, name: &str) -> Result<(), synod_fleet::RuleError> {
        self.0.check_rule(name)
    }

    fn gone(
        &self,
        agent: &AgentKey,
        incarnation: &synod_protocol::Incarnation,
    ) -> Option<synod_fleet::Departure> {
        self.0.gone(agent, incarnation)
    }

    fn suspected(&self, agent: &AgentKey, incarnation: &synod_protocol::Incarnation) -> Option<&str> {
        self.0.suspected(agent, incarnation)
    }

    fn halted(
        &self,
        _: &synod_protocol::Workspace,
        capability: Option<&synod_protocol::Capability>,
    ) -> Option<String> {
        (capability.map(|c| c.as_str()) == Some("c")).then(|| "it was halted: fire".to_owned())
    }

    fn present(
        &self,
        agent: &AgentKey,
    ) -> Option<(synod_protocol::Incarnation, synod_protocol::command::Delivery)> {
        self.0.present(agent)
    }

    fn able(
        &self,
        workspace: &synod_protocol::Workspace,
        capability: Option<&synod_protocol::Capability>,
        labels: &std::collections::BTreeMap<String, String>,
    ) -> Vec<synod_protocol::Id> {
        self.0.able(workspace, capability, labels)
    }

    fn track_record(
        &self,
        agent: &AgentKey,
        kind: &synod_protocol::WorkKind,
    ) -> Option<synod_protocol::track::WorkRecord> {
        self.0.track_record(agent, kind)
    }
}

#[test]
fn what_is_halted_is_taken_back_at_no_cost_and_waits() {
    let mut shard = Shard::with(&["a", "b"]);
    shard.submit("t", &json!({"retry": {"max_attempts": 1}})).unwrap();
    shard.submit("direct", &json!({"capability": null, "agent_id": "b"})).unwrap();
    assert_eq!(
        (shard.story("t"), shard.story("direct")),
        ("submitted assigned".into(), "submitted assigned".into())
    );
    shard.owner.fleet_changed();
    let registry = std::mem::take(&mut shard.fleet);
    while let synod_ledger::Next::Input(input) = shard.owner.next(shard.now, &Halted(&registry), true) {
        let mut released = Vec::new();
        let cx = synod_ledger::Context {
            now: shard.now,
            seed: [9; 16],
            fleet: &Halted(&registry),
            protocols: synod_negotiation::Protocols::standard(),
            definitions: &synod_ledger::NoDefinitions,
        };
        let Some(append) = shard.owner.handle(&cx, &input, None, &mut released) else { continue };
        let offset = shard.log.append(shard.now, append.bytes);
        let released = shard.owner.acked(append.n, Ok(Some(offset))).unwrap();
        shard.perform(released);
    }
    assert_eq!(
        shard.notices,
        [("a".into(), "synod.task.withdrawn".into(), 1)],
        "the handler is told to stop"
    );
    let task = shard.owner.state().task(&task_key("t")).unwrap();
    assert_eq!((task.status.as_str(), task.failures, task.losses), ("waiting", 0, 0));
    assert!(shard.owner.state().task(&task_key("direct")).unwrap().current().is_some(), "it is not covered");
}
