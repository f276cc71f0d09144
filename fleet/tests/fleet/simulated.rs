//! How well the rules balance, in the simulation of `examples/balance`.

#[path = "../../examples/balance/simulation.rs"]
mod simulation;

use simulation::{Plan, SHARED_QUEUE, run};

/// The p99 of a rule beside that of the shared queue.
fn p99_by(plan: &Plan, rule: &str) -> f64 {
    run(plan, rule, 1).p99_ms / run(plan, SHARED_QUEUE, 1).p99_ms
}

#[test]
fn least_connections_and_performance_are_close_to_one_shared_queue() {
    for inbox in [1, 4] {
        let plan = Plan { agents: 20, inbox, tasks: 30_000, ..Plan::default() };
        for rule in ["least_connections", "performance"] {
            let by = p99_by(&plan, rule);
            assert!(by < 1.3, "{rule}, an inbox of {inbox}: {by}");
        }
    }
    let plan = Plan { agents: 20, inbox: 4, tasks: 30_000, ..Plan::default() };
    let by = p99_by(&plan, "round_robin");
    assert!(by > 1.5, "round robin fills the inbox of the slow: {by}");
    let weighted = p99_by(&plan, "weighted_round_robin");
    assert!(weighted < by, "with weights it does so less: {weighted}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    let plan = Plan { agents: 10, tasks: 3_000, ..Plan::default() };
    let run = |seed| run(&plan, "performance", seed);
    let (once, again, other) = (run(1), run(1), run(2));
    let figures = |o: &simulation::Outcome| [o.mean_ms, o.p50_ms, o.p99_ms, o.imbalance];
    assert_eq!(figures(&once), figures(&again));
    assert_ne!(figures(&once), figures(&other));
}
