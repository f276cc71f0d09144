//! What the queue costs by how many wait.
//!
//! ```sh
//! cargo bench -p synod-fleet --bench queue
//! ```
//!
//! A hundred workspaces, twenty lines each, every other one with a concurrency key. One task comes, one that ran ends, the next
//! is offered and started; as many wait as before. The median of the bursts, and for a machine that is busy their best tenth.

use std::collections::VecDeque;
use std::time::Instant;
use synod_fleet::balance::Seeded;
use synod_fleet::queue::{Permit, Queue, Settings, Waiting};
use synod_protocol::Workspace;

const BURSTS: usize = 101;
const STEPS: u64 = 1_000;

fn main() {
    println!("{:>10} {:>12} {:>15}", "waiting", "ns, median", "ns, best tenth");
    for waiting in [1_000, 10_000, 100_000, 1_000_000] {
        let mut scene = Scene::new(waiting);
        let mut times: Vec<f64> = (0..BURSTS).map(|_| scene.burst()).collect();
        times.sort_by(f64::total_cmp);
        println!("{waiting:>10} {:12.0} {:15.0}", times[BURSTS / 2], times[BURSTS / 10]);
    }
}

struct Scene {
    queue: Queue<u8, u64>,
    workspaces: Vec<Workspace>,
    running: VecDeque<u64>,
    seeded: Seeded,
    next: u64,
}

impl Scene {
    fn new(waiting: u64) -> Scene {
        let settings = Settings {
            waiting: usize::MAX,
            waiting_per_workspace: usize::MAX,
            per_key: 4,
            ..Settings::default()
        };
        let workspaces = (0..100).map(|n| format!("w{n}").parse().expect("a workspace")).collect();
        let mut scene = Scene {
            queue: Queue::new(settings),
            workspaces,
            running: VecDeque::new(),
            seeded: Seeded::new(1),
            next: 0,
        };
        (0..waiting).for_each(|_| scene.push());
        scene
    }

    fn push(&mut self) {
        let workspace = self.workspaces[self.seeded.below(self.workspaces.len())].clone();
        let line = self.seeded.below(20) as u8;
        let key = line.is_multiple_of(2).then(|| Permit::Key(workspace.clone(), format!("key-{}", line / 4)));
        let waiting = Waiting {
            workspace,
            line,
            permits: key.into_iter().collect(),
            priority: self.seeded.below(10) as u8,
            since_ms: self.next / 10,
            arrival: self.next,
        };
        self.queue.push(self.next, waiting);
        self.next += 1;
    }

    #[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock; the crate does not")]
    fn burst(&mut self) -> f64 {
        let began = Instant::now();
        for _ in 0..STEPS {
            self.push();
            if self.running.len() >= 500
                && let Some(task) = self.running.pop_front()
            {
                self.queue.ended(&task);
            }
            if let Some(task) = self.queue.first().map(|(task, _)| *task) {
                self.queue.started(&task, self.next / 10);
                self.running.push_back(task);
            }
        }
        began.elapsed().as_nanos() as f64 / STEPS as f64
    }
}
