//! A coordinator's memory: at rest, with tasks that wait, after tasks that have ended.

use crate::Trouble;
use crate::plan::Doors;
use crate::stage::{CAPABILITY, READY, Setting, Stage};
use std::time::Duration;
use tokio::time::Instant;

/// Tasks asked for at a time.
const PORTION: u64 = 10_000;
/// Figures told on the way to the end.
const MARKS: u64 = 10;
/// Times that the coordinator is killed and started again, after the first portion and at the end.
const TAKE_OVERS: usize = 3;
/// No task ends, or none is taken, for so long: it is stuck.
const STUCK: Duration = Duration::from_secs(60);

/// `synod-chaos memory`
#[derive(Debug, clap::Args)]
pub(crate) struct Memory {
    /// Tasks that end
    #[arg(long, default_value_t = 100_000)]
    tasks: u64,
    /// Tasks that wait for an agent that never comes, on a mesh of their own
    #[arg(long, default_value_t = 100_000)]
    waiting: u64,
    /// Tasks a second that clients ask for
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
}

impl Memory {
    /// Measures, and prints a line for each mark.
    pub(crate) async fn measure(self) -> Result<(), Trouble> {
        println!("{:>10} {:>14} {:>10} {:>10} {:>8}", "tasks", "state", "RSS MiB", "most MiB", "s");
        if self.waiting > 0 {
            self.wait().await?;
        }
        if self.tasks > 0 {
            self.end().await?;
        }
        Ok(())
    }

    async fn wait(&self) -> Result<(), Trouble> {
        let mut stage = empty(0).await?;
        let began = Instant::now();
        tell(&stage, 0, "at rest", began)?;
        stage.client("waiting", "nobody", Doors::Http, self.rate, self.waiting)?;
        let limit = Duration::from_secs(60 + self.waiting / 100);
        while !stage.clients_have_ended() {
            if began.elapsed() > limit {
                return Err(Trouble::Late(format!("{} tasks are taken", self.waiting), limit));
            }
            tokio::time::sleep(Duration::from_millis(250)).await; // the condition is asked again
        }
        tell(&stage, self.waiting, "waiting", began)?;
        stage.leave().await
    }

    async fn end(&self) -> Result<(), Trouble> {
        let mut stage = empty(6).await?;
        let began = Instant::now();
        tell(&stage, 0, "at rest", began)?;
        let all = self.tasks.div_ceil(PORTION) * PORTION;
        let (mut ended, mut moved, mut mark, mut asked, mut early) = (0, Instant::now(), 1, 0, true);
        while ended < all {
            // The next portion when the last has ended: what waits is measured apart.
            if ended >= asked && asked < all {
                let doors = if (asked / PORTION).is_multiple_of(2) { Doors::Http } else { Doors::Kafka };
                let name = format!("client{}", asked / PORTION);
                stage.client(&name, CAPABILITY, doors, self.rate, PORTION)?;
                asked += PORTION;
            }
            tokio::time::sleep(Duration::from_millis(250)).await; // the condition is asked again
            let now = stage.coordinators[0].completed().await?;
            if now > ended {
                (ended, moved) = (now, Instant::now());
            } else if moved.elapsed() > STUCK {
                return Err(Trouble::Late(format!("more than {ended} tasks end"), STUCK));
            }
            if ended * MARKS >= all * mark {
                tell(&stage, ended, "ended", began)?;
                mark = ended * MARKS / all + 1;
            }
            if ended >= all || (early && ended >= PORTION) {
                early = false;
                take_over(&mut stage, ended, began).await?;
            }
        }
        stage.leave().await
    }
}

/// Kills the coordinator and starts it again: how long that takes must not depend on how much the ledger holds.
async fn take_over(stage: &mut Stage, tasks: u64, began: Instant) -> Result<(), Trouble> {
    for _ in 0..TAKE_OVERS {
        stage.coordinators[0].kill().await?;
        let killed = Instant::now();
        stage.coordinators[0].start()?;
        stage.coordinators[0].ready(READY).await?;
        tell(stage, tasks, &format!("again {} ms", killed.elapsed().as_millis()), began)?;
    }
    Ok(())
}

async fn empty(agents: u32) -> Result<Stage, Trouble> {
    let setting = Setting { agents, concurrency: 64, work_ms: 0, clients: Vec::new(), ..Setting::default() };
    let mut stage = Stage::set(setting, None).await?;
    stage.open().await?;
    Ok(stage)
}

fn tell(stage: &Stage, tasks: u64, state: &str, began: Instant) -> Result<(), Trouble> {
    let (now, most) = stage.coordinators[0].memory_kib()?;
    let mib = |kib: u64| format!("{:.1}", kib as f64 / 1024.0);
    let seconds = began.elapsed().as_secs_f64();
    println!("{tasks:>10} {state:>14} {:>10} {:>10} {seconds:>8.1}", mib(now), mib(most));
    Ok(())
}
