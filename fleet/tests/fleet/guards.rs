//! Breakers and ramps as the registry feels them.

use crate::world::{ask, capability, entry, key, start};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use synod_fleet::breaker::{Event, OpenWait, Order, Outcome, Policy, Settings, State, Window};
use synod_fleet::ramp::Ramp;
use synod_fleet::{AgentKey, AttemptKey, Call, Guards, Registry, Told};
use synod_protocol::view::{self, DirectoryEntry};

const MS: u64 = 1_000_000;
const HALF_OPEN: u32 = 3;

struct World {
    registry: Registry,
    guards: Guards,
    now_ns: u64,
    calls: u32,
}

fn world(agents: &[&str]) -> World {
    let settings = Settings {
        window: Window::Calls(4),
        minimum_calls: 4,
        open_wait: OpenWait::Fixed(Duration::from_millis(100)),
        half_open_calls: HALF_OPEN,
        ..Settings::default()
    };
    let guards = Guards::new(Policy::try_from(settings).unwrap(), Ramp::new(1_000, 1.0, 0.1).unwrap());
    let mut registry = Registry::default();
    for (n, agent) in agents.iter().enumerate() {
        registry.learn(entry(agent, 100), n as u64 + 1);
    }
    World { registry, guards, now_ns: 0, calls: 0 }
}

impl World {
    /// Gives one attempt to whom the registry chooses, or to nobody.
    fn give(&mut self) -> Option<Call> {
        let agent = ask("round_robin").of(&self.registry)?.member.entry.agent_id.clone();
        self.calls += 1;
        let attempt = AttemptKey {
            shard: self.calls % 3,
            workspace: synod_protocol::Workspace::default_name(),
            task: format!("t{}", self.calls).parse().unwrap(),
            attempt: 1,
        };
        let call = Call { attempt, agent: key(agent.as_str()), capability: Some(capability("c")) };
        self.registry.given(&call.agent, &start(1), call.attempt.shard);
        self.guards.given(&mut self.registry, &call, self.now_ns);
        Some(call)
    }

    fn end(&mut self, call: &Call, outcome: Option<Outcome>) -> Vec<Told> {
        let how = view::Outcome::Withdrawn;
        self.registry.ended(&call.agent, &start(1), call.attempt.shard, how);
        let end = outcome.map(|outcome| (outcome, MS));
        self.guards.ended(&mut self.registry, call, end, self.now_ns)
    }

    fn after(&mut self, ms: u64) -> Vec<Told> {
        self.now_ns += ms * MS;
        self.guards.tick(&mut self.registry, self.now_ns)
    }

    fn fail(&mut self, times: u32) -> Vec<Told> {
        let mut told = Vec::new();
        for _ in 0..times {
            let call = self.give().unwrap();
            told.extend(self.end(&call, Some(Outcome::Failure)));
        }
        told
    }

    fn share(&self, agent: &str) -> f64 {
        self.registry.get(&key(agent)).unwrap().share()
    }

    fn state(&self, agent: &str) -> Vec<(bool, State)> {
        let states = self.guards.of(&key(agent), self.now_ns);
        states.map(|(scope, status)| (scope.is_some(), status.state)).collect()
    }
}

fn transitions(told: &[Told]) -> Vec<(bool, State, State)> {
    let of = |told: &Told| match told.event {
        Event::Transition { from, to, .. } => Some((told.scope.is_some(), from, to)),
        _ => None,
    };
    told.iter().filter_map(of).collect()
}

#[test]
fn who_fails_is_left_alone_then_tried_then_used_little_by_little() {
    let mut world = world(&["a"]);
    let told = world.fail(4);
    let opened = |scope| (scope, State::Closed, State::Open);
    assert_eq!(transitions(&told), [opened(false), opened(true)]);
    assert_eq!(world.give(), None);
    world.after(100);
    assert_eq!(world.give(), None, "strictly after the wait");
    assert!(!world.guards.has_made_room());
    world.after(1);
    assert!(world.guards.has_made_room(), "though nothing has happened that would be told");
    assert!(!world.guards.has_made_room(), "once");
    let trial: Vec<Call> = (0..HALF_OPEN).map(|_| world.give().unwrap()).collect();
    assert_eq!(world.state("a"), [(false, State::HalfOpen), (true, State::HalfOpen)]);
    assert_eq!(world.give(), None, "no more than are permitted");
    // One that says nothing lets another be tried.
    world.end(&trial[0], None);
    let again = world.give().unwrap();
    assert_eq!(world.give(), None);
    for call in [&trial[1], &trial[2], &again] {
        world.end(call, Some(Outcome::Success));
    }
    assert_eq!(world.state("a"), [], "closed, and with nothing counted yet");
    assert_eq!(world.share("a"), 0.1);
    assert!(world.guards.has_made_room());
    world.after(500);
    assert!(world.guards.has_made_room());
    assert!((world.share("a") - 0.5).abs() < 1e-9);
    world.after(500);
    assert_eq!(world.share("a"), 1.0);
}

#[test]
fn another_coordinator_goes_on_with_what_was_kept() {
    let mut world_before = world(&["a", "b"]);
    let calls: Vec<Call> = std::iter::from_fn(|| world_before.give()).take(8).collect();
    for call in &calls {
        let outcome = if call.agent == key("a") { Outcome::Failure } else { Outcome::Success };
        world_before.end(call, Some(outcome));
    }
    let kept = world_before.guards.changed(10, world_before.now_ns);
    assert_eq!(kept.len(), 2);
    assert_eq!(world_before.guards.changed(10, world_before.now_ns), [], "each once");
    let mut world = world(&["a", "b"]);
    world.now_ns = 1_000 * MS;
    for (agent, kept) in &kept {
        world.guards.restore(&mut world.registry, agent, kept, 40 * MS, world.now_ns);
    }
    assert_eq!(world.state("a"), [(false, State::Open), (true, State::Open)]);
    assert_eq!(world.state("b"), [(false, State::Closed), (true, State::Closed)], "with what it has counted");
    assert!((0..4).all(|_| world.give().is_some_and(|call| call.agent == key("b"))));
    world.after(61);
    let tried: Vec<Call> = (0..8).filter_map(|_| world.give()).collect();
    assert!(tried.iter().any(|call| call.agent == key("a")), "what was left of its wait is over");
    let opened = world.state("a");
    for (agent, kept) in &kept {
        world.guards.restore(&mut world.registry, agent, kept, 0, world.now_ns);
    }
    assert_eq!(world.state("a"), opened, "what has counted something stays as it is");
}

#[test]
fn the_callers_fault_and_what_was_taken_back_do_not_count() {
    let mut world = world(&["a"]);
    for outcome in [None, Some(Outcome::Ignored)] {
        for _ in 0..20 {
            let call = world.give().unwrap();
            world.end(&call, outcome);
        }
    }
    assert_eq!(world.guards.count(), BTreeMap::new());
    world.fail(3);
    assert_eq!(world.guards.count(), BTreeMap::from([(State::Closed, 2)]));
    world.fail(1);
    assert_eq!(world.guards.count(), BTreeMap::from([(State::Open, 2)]));
}

#[test]
fn an_error_of_the_callers_begun_before_the_trial_gives_no_permit_back() {
    let mut world = world(&["a"]);
    let early = world.give().unwrap();
    world.fail(4);
    world.after(101);
    for _ in 0..HALF_OPEN {
        world.give().unwrap();
    }
    world.end(&early, Some(Outcome::Ignored));
    assert_eq!(world.give(), None);
}

#[test]
fn permits_of_a_shard_that_went_elsewhere_come_back() {
    let mut world = world(&["a"]);
    world.fail(4);
    world.after(101);
    let trial: Vec<Call> = (0..HALF_OPEN).map(|_| world.give().unwrap()).collect();
    let shard = trial[0].attempt.shard;
    world.guards.forget_shard(&mut world.registry, shard, world.now_ns);
    assert!(world.give().is_some());
    assert_eq!(world.give(), None);
}

#[test]
fn operators_force_and_reset() {
    let mut world = world(&["a"]);
    let agent = key("a");
    let order = |world: &mut World, order| {
        let (registry, now_ns) = (&mut world.registry, world.now_ns);
        world.guards.order(registry, &agent, &None, order, now_ns).unwrap()
    };
    order(&mut world, Some(Order::ForceOpen));
    assert_eq!(world.give(), None);
    world.after(1_000_000);
    assert_eq!(world.give(), None, "until told otherwise");
    order(&mut world, Some(Order::ForceClosed));
    world.fail(3);
    assert!(world.give().is_some());
    let told = order(&mut world, None);
    assert_eq!(transitions(&told), [(false, State::MetricsOnly, State::Closed)]);
    assert_eq!(world.share("a"), 1.0, "it was in use all the while");
    let unknown = world.guards.order(&mut world.registry, &key("nobody"), &None, None, 0).unwrap();
    assert_eq!(unknown, []);
}

#[test]
fn who_joins_others_ramps_up_and_who_is_alone_does_not() {
    let mut world = world(&["a", "b"]);
    world.guards.joined(&mut world.registry, &key("b"), 0);
    assert_eq!((world.share("a"), world.share("b")), (1.0, 0.1));
    world.after(1_000);
    assert_eq!(world.share("b"), 1.0);

    // Whoever comes first is alone, and spares the second.
    let mut alone = self::world(&[]);
    for (offset, agent) in [(1, "a"), (2, "b")] {
        alone.registry.learn(entry(agent, 100), offset);
        alone.guards.joined(&mut alone.registry, &key(agent), 0);
    }
    assert_eq!((alone.share("a"), alone.share("b")), (1.0, 0.1));
    // When it leaves, nobody is spared.
    alone.registry.learn(DirectoryEntry { gone: true, ..entry("a", 1) }, 10);
    alone.guards.left(&key("a"));
    alone.after(1);
    assert_eq!(alone.share("b"), 1.0);
}

#[test]
fn what_has_left_takes_no_memory() {
    let mut world = world(&["a"]);
    world.fail(4);
    world.guards.joined(&mut world.registry, &key("a"), world.now_ns);
    world.registry.learn(DirectoryEntry { gone: true, ..entry("a", 1) }, 10);
    world.guards.left(&key("a"));
    assert_eq!(world.guards.count(), BTreeMap::new());
    // What ends after that is nobody's any more.
    let call = Call {
        attempt: AttemptKey {
            shard: 0,
            workspace: synod_protocol::Workspace::default_name(),
            task: "late".parse().unwrap(),
            attempt: 1,
        },
        agent: key("a"),
        capability: None,
    };
    assert_eq!(world.end(&call, Some(Outcome::Failure)), []);
    assert_eq!(world.guards.count(), BTreeMap::new());
}

#[derive(Clone, Debug)]
enum Step {
    Give,
    End(prop::sample::Index, Option<bool>),
    Ignored(prop::sample::Index),
    Wait(u64),
    Forget(u32),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => Just(Step::Give),
        4 => (any::<prop::sample::Index>(), prop::option::of(any::<bool>())).prop_map(|(i, how)| Step::End(i, how)),
        1 => any::<prop::sample::Index>().prop_map(Step::Ignored),
        2 => (0u64..150).prop_map(Step::Wait),
        1 => (0u32..3).prop_map(Step::Forget),
    ]
}

proptest! {
    /// Of what was given on a trial and is neither ended nor elsewhere, never more than the permitted number is out.
    #[test]
    fn half_open_no_more_than_permitted_are_out(steps in prop::collection::vec(step(), 1..300)) {
        let mut world = world(&["a", "b"]);
        let mut out: Vec<(Call, Option<u64>)> = Vec::new();
        let trial = |world: &World, agent: &AgentKey| {
            let whole = world.guards.of(agent, world.now_ns).find(|(scope, _)| scope.is_none());
            whole.filter(|(_, status)| status.state == State::HalfOpen).map(|(_, status)| status.since_ns)
        };
        for step in steps {
            match step {
                Step::Give => {
                    if let Some(call) = world.give() {
                        let on = trial(&world, &call.agent);
                        out.push((call, on));
                    }
                }
                Step::End(..) | Step::Ignored(_) if out.is_empty() => {}
                Step::End(which, how) => {
                    let (call, _) = out.swap_remove(which.index(out.len()));
                    let how = how.map(|good| if good { Outcome::Success } else { Outcome::Failure });
                    world.end(&call, how);
                }
                Step::Ignored(which) => {
                    let (call, _) = out.swap_remove(which.index(out.len()));
                    world.end(&call, Some(Outcome::Ignored));
                }
                Step::Wait(ms) => drop(world.after(ms)),
                Step::Forget(shard) => {
                    out.retain(|(call, _)| call.attempt.shard != shard);
                    world.guards.forget_shard(&mut world.registry, shard, world.now_ns);
                    world.registry.forget_shard(shard);
                }
            }
            for agent in ["a", "b"].map(key) {
                let Some(since_ns) = trial(&world, &agent) else { continue };
                let on_it = out.iter().filter(|(call, on)| call.agent == agent && *on == Some(since_ns)).count();
                prop_assert!(on_it <= HALF_OPEN as usize, "{on_it} on a trial of {agent:?}");
            }
        }
    }
}
