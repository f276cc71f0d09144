//! Each balancing rule beside a single shared queue, in a simulation that is the same each time.
//!
//! ```sh
//! cargo run --release -p synod-fleet --example balance
//! ```
//!
//! Agents of three speeds, one of them ten times slower, one failing three attempts in ten; tasks of exponential length come at
//! random at 80 % of what all can do. Once the agents say truly how much they bear, so that what is too much waits before the fleet; then
//! they take four times, and sixteen times as much, and let it wait in their inboxes, where a wrong choice costs most.

mod simulation;

use simulation::{Outcome, Plan, run};

const RULES: [&str; 7] = [
    simulation::SHARED_QUEUE,
    "round_robin",
    "weighted_round_robin",
    "least_connections",
    "performance",
    "resources",
    "random",
];

fn main() {
    let seeds: u64 = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(5);
    println!("{seeds} seeds of {} tasks, 80 % load; median over the seeds", Plan::default().tasks);
    for (hands, inbox) in [(4, 1), (4, 4), (1, 16)] {
        for agents in [10, 20, 50, 100] {
            println!("\n{agents} agents, each works on {hands} at a time and takes {}", hands * inbox);
            println!(
                "{:22} {:>9} {:>9} {:>9} {:>9} {:>14}",
                "rule", "mean ms", "p50 ms", "p99 ms", "× shared", "max/mean load"
            );
            let mut shared = 0.0;
            for rule in RULES {
                let plan = Plan { agents, hands, inbox, ..Plan::default() };
                let all: Vec<Outcome> = (0..seeds).map(|seed| run(&plan, rule, seed)).collect();
                let median = |of: fn(&Outcome) -> f64| {
                    let mut figures: Vec<f64> = all.iter().map(of).collect();
                    figures.sort_by(f64::total_cmp);
                    figures[figures.len() / 2]
                };
                let p99 = median(|o| o.p99_ms);
                if rule == simulation::SHARED_QUEUE {
                    shared = p99;
                }
                println!(
                    "{rule:22} {:9.1} {:9.1} {p99:9.1} {:9.2} {:14.2}",
                    median(|o| o.mean_ms),
                    median(|o| o.p50_ms),
                    p99 / shared,
                    median(|o| o.imbalance),
                );
            }
        }
    }
}
